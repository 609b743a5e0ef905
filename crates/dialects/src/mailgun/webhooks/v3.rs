//! `/v3/domains/{domain}/webhooks`: a name has a list of URLs (section 5 of the documents).

use axum::extract::{Path, Request, State};
use axum::response::Response;
use posthaste_domain::resource::Scope;
use serde_json::{Value, json};

use super::super::MailgunState;
use super::super::answer::{self, Refusal, Service};
use super::super::names::Name;
use super::super::params::Params;
use super::store::{self, Hook, Level};
use super::{check_url, distinct, one, urls_of, urls_value, v4, webhooks_value, writable_name};

/// What is set.
pub(super) async fn list(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Read).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    Ok(answer::ok(&webhooks_value(&store::list(&state.shared.engine, call.workspace), &domain, false)))
}

/// The URLs of one name.
pub(super) async fn show(
    State(state): State<MailgunState>,
    Path((domain, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Read).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    let name = Name::of(&name).ok_or_else(Refusal::no_webhook)?;
    let urls = urls_of(&store::list(&state.shared.engine, call.workspace), &domain, name);
    if urls.is_empty() {
        return Err(Refusal::no_webhook());
    }
    Ok(answer::ok(&json!({ "webhook": urls_value(&urls) })))
}

/// Sets a name that is not set. The Python client sends the newer form here: `event_types` and no `id`.
pub(super) async fn create(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    if !call.form.has("id") && call.form.has("event_types") {
        return v4::add_to(&state, &call, domain).await;
    }
    let name = writable_name(one(&call.form.all("id"), "id")?).map_err(Refusal::bad)?;
    let urls = urls(&call.form, state.shared.settings.max_urls)?;
    let fresh = urls.clone();
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        if !urls_of(hooks, &domain, name).is_empty() {
            return Err(Refusal::bad("Webhook already exists"));
        }
        set(hooks, &domain, name, &fresh);
        Ok(())
    };
    store::change(&call.by, call.workspace, plan).await?;
    Ok(changed("Webhook has been created", &urls))
}

/// Replaces the URLs of a name that is set.
pub(super) async fn update(
    State(state): State<MailgunState>,
    Path((domain, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    let name = existing_name(&name)?;
    let urls = urls(&call.form, state.shared.settings.max_urls)?;
    let fresh = urls.clone();
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        if urls_of(hooks, &domain, name).is_empty() {
            return Err(Refusal::no_webhook());
        }
        set(hooks, &domain, name, &fresh);
        Ok(())
    };
    store::change(&call.by, call.workspace, plan).await?;
    Ok(changed("Webhook has been updated", &urls))
}

/// Takes a name off, and what waits to be tried again with it.
pub(super) async fn remove(
    State(state): State<MailgunState>,
    Path((domain, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    let name = existing_name(&name)?;
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        let urls = urls_of(hooks, &domain, name);
        if urls.is_empty() {
            return Err(Refusal::no_webhook());
        }
        hooks.retain(|hook| !(hook.is_of(&domain) && hook.name == name));
        Ok(urls)
    };
    let urls = store::change(&call.by, call.workspace, plan).await?;
    Ok(changed("Webhook has been deleted", &urls))
}

fn existing_name(text: &str) -> Result<Name, Refusal> {
    // A read-only name says which one to use; one that nobody knows is just not there.
    Name::of(text).ok_or_else(|| match super::successor(text) {
        Some(_) => writable_name(text).map_or_else(Refusal::bad, |_| Refusal::no_webhook()),
        None => Refusal::no_webhook(),
    })
}

/// One to `limit` good URLs, each once.
fn urls(form: &Params, limit: usize) -> Result<Vec<String>, Refusal> {
    let urls = distinct(form.all("url"));
    if urls.is_empty() {
        return Err(Refusal::bad("Missing parameter 'url'"));
    }
    if urls.len() > limit {
        return Err(Refusal::bad(format!("A webhook has at most {limit} URLs")));
    }
    urls.iter().try_for_each(|url| check_url(url)).map_err(Refusal::reason)?;
    Ok(urls.into_iter().map(str::to_owned).collect())
}

/// Makes the URLs of a name these, in this order. Those that stay keep their subscriptions.
fn set(hooks: &mut Vec<Hook>, domain: &str, name: Name, urls: &[String]) {
    hooks.retain(|hook| !(hook.is_of(domain) && hook.name == name) || urls.contains(&hook.url));
    for (position, url) in (0u32..).zip(urls) {
        match hooks.iter_mut().find(|hook| hook.is_of(domain) && hook.name == name && hook.url == *url) {
            Some(hook) => hook.position = position,
            None => hooks.push(Hook::new(Level::Domain { domain: domain.to_owned() }, name, url, position)),
        }
    }
}

fn changed(message: &str, urls: &[String]) -> Response {
    let body: Value = json!({ "message": message, "webhook": urls_value(urls) });
    answer::ok(&body)
}
