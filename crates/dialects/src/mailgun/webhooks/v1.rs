//! `/v1/webhooks`: webhooks of the whole account (section 7.2 of the documents). One has an id, a URL and some names.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::resource::Scope;
use posthaste_domain::signature::hex;
use serde_json::{Value, json};

use super::super::MailgunState;
use super::super::access::Call;
use super::super::answer::{self, Refusal, Service};
use super::super::names::Name;
use super::super::params::{self, Params};
use super::store::{self, AccountHook, Hook, Level};
use super::{check_url, too_many_urls};

/// Bytes of an id; it is written in twice as many characters.
const ID_BYTES: usize = 12;
/// Characters of a description.
const MAX_DESCRIPTION: usize = 500;

/// All webhooks, or those with the ids asked for.
pub(super) async fn list(State(state): State<MailgunState>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Read).await?;
    let wanted = ids(&call.query)?;
    let mut hooks = store::list(&state.shared.engine, call.workspace);
    hooks.sort_by_key(|hook| hook.account().map(|account| (account.created_ms, account.webhook_id.clone())));
    let mut known: Vec<&str> = hooks.iter().filter_map(|hook| Some(hook.account()?.webhook_id.as_str())).collect();
    known.dedup();
    let shown = known.into_iter().filter(|id| wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|other| other == id)));
    let webhooks: Vec<Value> = shown.filter_map(|id| object(&hooks, id)).collect();
    Ok(answer::ok(&json!({ "webhooks": webhooks })))
}

/// One webhook.
pub(super) async fn show(State(state): State<MailgunState>, Path(id): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Read).await?;
    let id = checked_id(&id)?;
    let object = object(&store::list(&state.shared.engine, call.workspace), id);
    object.map(|object| answer::ok(&object)).ok_or_else(not_found)
}

/// Makes a webhook.
pub(super) async fn create(State(state): State<MailgunState>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let wish = Wish::read(&call.form)?;
    let random: [u8; ID_BYTES] = rand::random();
    let id = hex(&random);
    let (limit, webhook_id) = (state.shared.settings.max_urls, id.clone());
    let plan = move |hooks: &mut Vec<Hook>, now_ms: i64| {
        let account = AccountHook { webhook_id, description: wish.description.clone(), created_ms: now_ms };
        wish.put(hooks, account, limit)
    };
    store::change(&call.by, call.workspace, plan).await?;
    Ok(answer::ok(&json!({ "webhook_id": id })))
}

/// Replaces URL, names and description of a webhook.
pub(super) async fn update(State(state): State<MailgunState>, Path(id): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let id = checked_id(&id)?.to_owned();
    let wish = Wish::read(&call.form)?;
    let limit = state.shared.settings.max_urls;
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        let old = hooks.iter().filter_map(Hook::account).find(|account| account.webhook_id == id).cloned().ok_or_else(not_found)?;
        let stays = |hook: &Hook| hook.url == wish.url && wish.names.contains(&hook.name);
        hooks.retain(|hook| hook.account().is_none_or(|account| account.webhook_id != id) || stays(hook));
        wish.put(hooks, AccountHook { description: wish.description.clone(), ..old }, limit)
    };
    store::change(&call.by, call.workspace, plan).await?;
    Ok(answer::no_content())
}

/// Takes one webhook off.
pub(super) async fn remove(State(state): State<MailgunState>, Path(id): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let id = checked_id(&id)?.to_owned();
    remove_ids(&call, vec![id]).await
}

/// Takes webhooks off: those with the ids given, else all.
pub(super) async fn remove_many(State(state): State<MailgunState>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    if let Some(ids) = ids(&call.query)? {
        return remove_ids(&call, ids).await;
    }
    if call.query.first("all").and_then(params::truth) != Some(true) {
        return Err(Refusal::bad("Missing parameter: webhook_ids or all"));
    }
    let plan = |hooks: &mut Vec<Hook>, _: i64| {
        let before = hooks.len();
        hooks.retain(|hook| hook.account().is_none());
        if hooks.len() == before {
            return Err(Refusal::description(StatusCode::NOT_FOUND, "no webhooks found for account"));
        }
        Ok(())
    };
    store::change(&call.by, call.workspace, plan).await?;
    Ok(answer::no_content())
}

async fn remove_ids(call: &Call, ids: Vec<String>) -> Result<Response, Refusal> {
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        for id in ids {
            let before = hooks.len();
            hooks.retain(|hook| hook.account().is_none_or(|account| account.webhook_id != id));
            if hooks.len() == before {
                return Err(Refusal::description(StatusCode::NOT_FOUND, format!("webhook_id not found: {id}")));
            }
        }
        Ok(())
    };
    store::change(&call.by, call.workspace, plan).await?;
    Ok(answer::no_content())
}

/// What a webhook is to be.
struct Wish {
    url: String,
    names: Vec<Name>,
    description: String,
}

impl Wish {
    fn read(form: &Params) -> Result<Self, Refusal> {
        let url = match form.all("url")[..] {
            [url] if !url.trim().is_empty() => url,
            [] | [_] => return Err(Refusal::field("url", None)),
            _ => return Err(Refusal::field("url", Some("only one URL is allowed"))),
        };
        check_url(url).map_err(|complaint| Refusal::field("url", Some(&complaint)))?;
        let mut names = Vec::new();
        for text in form.all("event_types") {
            let name =
                Name::of(text).ok_or_else(|| Refusal::description(StatusCode::NOT_FOUND, format!("event_type '{text}' is invalid")))?;
            if names.contains(&name) {
                return Err(Refusal::field("event_types", Some(&format!("duplicate event types: '{text}'"))));
            }
            names.push(name);
        }
        if names.is_empty() {
            return Err(Refusal::field("event_types", None));
        }
        let description = form.first("description").unwrap_or_default().to_owned();
        if description.chars().count() > MAX_DESCRIPTION {
            return Err(Refusal::field("description", Some(&format!("must be at most {MAX_DESCRIPTION} characters"))));
        }
        Ok(Self { url: url.to_owned(), names, description })
    }

    /// Puts the webhook among the others, unless a name then had too many URLs. Hooks of it that are there already stay.
    fn put(&self, hooks: &mut Vec<Hook>, account: AccountHook, limit: usize) -> Result<(), Refusal> {
        for (position, name) in (0u32..).zip(self.names.iter().copied()) {
            let is_own = |hook: &Hook| hook.name == name && hook.account().is_some_and(|own| own.webhook_id == account.webhook_id);
            if let Some(hook) = hooks.iter_mut().find(|hook| is_own(hook)) {
                (hook.position, hook.level) = (position, Level::Account(account.clone()));
                continue;
            }
            let mut urls: Vec<&str> =
                hooks.iter().filter(|hook| hook.account().is_some() && hook.name == name).map(|hook| hook.url.as_str()).collect();
            urls.sort_unstable();
            urls.dedup();
            if urls.len() >= limit && !urls.contains(&self.url.as_str()) {
                return Err(Refusal::description(StatusCode::CONFLICT, too_many_urls(limit, name)));
            }
            hooks.push(Hook::new(Level::Account(account.clone()), name, &self.url, position));
        }
        Ok(())
    }
}

fn not_found() -> Refusal {
    Refusal::description(StatusCode::NOT_FOUND, "webhook not found")
}

fn checked_id(id: &str) -> Result<&str, Refusal> {
    let good = id.len() == 2 * ID_BYTES && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if good { Ok(id) } else { Err(Refusal::field("webhook_id", Some("is not valid"))) }
}

/// The ids of `webhook_ids`, if it was sent.
fn ids(query: &Params) -> Result<Option<Vec<String>>, Refusal> {
    let given = query.all("webhook_ids");
    if given.is_empty() {
        return Ok(None);
    }
    let mut ids = Vec::new();
    for id in given.into_iter().flat_map(|value| value.split(',')) {
        if id.trim().is_empty() {
            return Err(Refusal::bad("Invalid parameter: webhook_ids malformed webhook_ids parameter: empty values not allowed"));
        }
        ids.push(checked_id(id.trim())?.to_owned());
    }
    Ok(Some(ids))
}

/// A webhook as clients see it.
fn object(hooks: &[Hook], id: &str) -> Option<Value> {
    let mut own: Vec<(&Hook, &AccountHook)> =
        hooks.iter().filter_map(|hook| Some((hook, hook.account()?))).filter(|(_, account)| account.webhook_id == id).collect();
    own.sort_by_key(|(hook, _)| hook.position);
    let (first, account) = *own.first()?;
    let names: Vec<&str> = own.iter().map(|(hook, _)| hook.name.text()).collect();
    let created = jiff::Timestamp::from_second(account.created_ms.div_euclid(1000)).unwrap_or_default();
    Some(json!({
        "webhook_id": id,
        "description": account.description,
        "url": first.url,
        "event_types": names,
        "created_at": created.to_string(),
    }))
}
