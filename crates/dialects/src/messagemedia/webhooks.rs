//! Webhooks: create, list, show, change, delete (MessageMedia 4.1 to 4.5).

use std::sync::{Arc, OnceLock};

use axum::response::Response;
use http::StatusCode;
use posthaste_domain::resource::{Mark, Subscription, Target};
use posthaste_engine::{Desk, Edit, Entry, ResourceError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::{NOT_FOUND, Refusal, empty_answer, json_answer};
use super::event::EventKind;
use super::format::sendable;
use super::input::{Encoding, Given};
use super::{Call, DIALECT, MessageMediaSettings, MessageMediaState, ids};

/// Largest and default page of the list.
const PAGE_SIZE: usize = 100;

/// What the mark of a webhook's subscription holds. Method and headers are in the target, which seals what is secret of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Hook {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) encoding: Encoding,
    pub(super) events: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) template: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read_timeout: Option<u64>,
    #[serde(default)]
    pub(super) retries: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_delay: Option<u64>,
    /// Id of the workspace, for `$accountId`.
    pub(super) account_id: String,
}

/// A webhook as it is stored.
struct Stored {
    hook: Hook,
    subscription: Arc<Entry<Subscription>>,
    target: Arc<Entry<Target>>,
}

impl Stored {
    fn of(subscription: Arc<Entry<Subscription>>, target: impl FnOnce(&str) -> Option<Arc<Entry<Target>>>) -> Option<Self> {
        let mark = subscription.doc.dialect.as_ref().filter(|mark| mark.dialect == DIALECT)?;
        let hook = Hook::deserialize(&mark.data).ok()?;
        let target = target(&subscription.doc.target_id)?;
        Some(Self { hook, subscription, target })
    }

    fn shown(&self) -> Value {
        shown(&self.hook, &self.target.doc)
    }

    fn is_at(&self, url: &str, method: &str) -> bool {
        self.hook.url == url && method_of(&self.target.doc) == method
    }
}

fn all(desk: &Desk<'_>) -> Vec<Stored> {
    desk.list::<Subscription>().into_iter().filter_map(|entry| Stored::of(entry, |id| desk.get(id))).collect()
}

fn method_of(target: &Target) -> &str {
    target.settings.get("method").and_then(Value::as_str).unwrap_or("POST")
}

/// The webhook object.
fn shown(hook: &Hook, target: &Target) -> Value {
    let mut object = json!({
        "id": hook.id,
        "url": hook.url,
        "method": method_of(target),
        "encoding": hook.encoding,
        "headers": target.settings.get("headers").cloned().unwrap_or_else(|| json!({})),
        "events": hook.events,
    });
    let fields = object.as_object_mut().expect("it was made as an object");
    fields.extend(hook.template.as_ref().map(|template| ("template".to_owned(), Value::from(template.as_str()))));
    fields.extend(hook.read_timeout.map(|time| ("read_timeout".to_owned(), Value::from(time))));
    fields.insert("retries".to_owned(), Value::from(hook.retries));
    fields.extend(hook.retry_delay.filter(|_| hook.retries > 0).map(|delay| ("retry_delay".to_owned(), Value::from(delay))));
    object
}

/// What the webhook is for the engine.
fn documents(hook: &Hook, method: &str, headers: &Map<String, Value>, target_id: &str, before: Option<&Stored>) -> (Target, Subscription) {
    // The signature is over a request line of HTTP/1.1 (MessageMedia 7.1).
    let settings = json!({ "url": sendable(&hook.url), "method": method, "headers": headers, "http_version": "1.1" });
    let mark = Mark { dialect: DIALECT.to_owned(), data: json!({ "id": hook.id }) };
    let name = format!("{method} {}", hook.url).chars().filter(|c| !c.is_control()).take(250).collect::<String>();
    let target = match before {
        // Paused stays paused.
        Some(before) => Target { name, settings, ..before.target.doc.clone() },
        None => Target { dialect: Some(mark), ..Target::new(name, "webhook", settings) },
    };
    let mut event_types: Vec<String> = Vec::new();
    for name in hook.events.iter().filter_map(|name| EventKind::from_name(name)).flat_map(EventKind::types) {
        if !event_types.iter().any(|known| known == name) {
            event_types.push((*name).to_owned());
        }
    }
    let data = serde_json::to_value(hook).expect("texts and numbers are JSON");
    let subscription = Subscription {
        event_types,
        target_id: target_id.to_owned(),
        template_id: None,
        format: Some(DIALECT.to_owned()),
        filter: None,
        policy: None,
        description: String::new(),
        enabled: true,
        dialect: Some(Mark { dialect: DIALECT.to_owned(), data }),
        active_from_ms: None,
        once: None,
        notify: None,
    };
    (target, subscription)
}

/// Timeout and retries as a policy (MessageMedia 7).
fn policy(hook: &Hook, settings: &MessageMediaSettings) -> Value {
    let read_timeout = hook.read_timeout.map_or_else(|| settings.read_timeout.as_millis(), u128::from);
    let delay = hook.retry_delay.map_or_else(|| settings.retry_delay.as_millis(), |seconds| u128::from(seconds) * 1000);
    let delays: Vec<String> = (0..hook.retries).map(|_| format!("{delay}ms")).collect();
    json!({ "timeout": format!("{read_timeout}ms"), "retry": { "delays": delays } })
}

impl MessageMediaState {
    /// The webhooks of a workspace, oldest first.
    fn webhooks_of(&self, workspace: i64) -> impl Iterator<Item = Stored> + '_ {
        let subscriptions = self.engine.list::<Subscription>(workspace).into_iter();
        subscriptions.filter_map(move |entry| Stored::of(entry, |id| self.engine.get(workspace, id)))
    }

    pub(super) fn list_webhooks(&self, call: &Call) -> Result<Response, Refusal> {
        let (mut page, mut size) = (0, 0);
        for (name, value) in form_urlencoded::parse(call.parts.uri.query().unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "page" => &mut page,
                "pageSize" | "page_size" => &mut size,
                _ => continue,
            };
            *place = value.parse::<usize>().map_err(|_| Refusal::invalid(format!("{name} must be a whole number from 0.")))?;
        }
        let size = if size == 0 { PAGE_SIZE } else { size.min(PAGE_SIZE) };
        let data: Vec<Value> =
            self.webhooks_of(call.workspace).skip(page.saturating_mul(size)).take(size).map(|stored| stored.shown()).collect();
        Ok(json_answer(StatusCode::OK, &json!({ "page": page, "pageSize": size, "pageData": data })))
    }

    pub(super) fn show_webhook(&self, call: &Call, id: &str) -> Result<Response, Refusal> {
        let found = self.webhooks_of(call.workspace).find(|stored| stored.hook.id.eq_ignore_ascii_case(id));
        found.map(|stored| json_answer(StatusCode::OK, &stored.shown())).ok_or(NOT_FOUND)
    }

    pub(super) async fn create_webhook(&self, call: &Call) -> Result<Response, Refusal> {
        let given = Given::parse(&call.body)?;
        let missing = |field: &str| Refusal::invalid(format!("{field} is required."));
        let method = given.method.ok_or_else(|| missing("method"))?;
        let hook = Hook {
            id: ids::random(),
            url: given.url.ok_or_else(|| missing("url"))?,
            encoding: given.encoding.ok_or_else(|| missing("encoding"))?,
            events: names(&given.events.ok_or_else(|| missing("events"))?),
            template: given.template.filter(|template| !template.is_empty()),
            read_timeout: given.read_timeout,
            retries: given.retries.unwrap_or(0),
            retry_delay: given.retry_delay.or_else(|| {
                let seconds = self.settings.retry_delay.as_secs();
                (given.retries.unwrap_or(0) > 0 && seconds > 0).then_some(seconds)
            }),
            account_id: self.engine.id_of(call.workspace).unwrap_or_default(),
        };
        let headers = given.headers.unwrap_or_default();
        let policy = policy(&hook, &self.settings);
        let answer = Arc::new(OnceLock::new());
        let (told, limit) = (Arc::clone(&answer), self.settings.max_webhooks);
        let plan = move |desk: &Desk<'_>| {
            let others = all(desk);
            if others.len() >= limit {
                return Err(ResourceError::Limit { what: "webhooks in an account", limit });
            }
            if others.iter().any(|other| other.is_at(&hook.url, method)) {
                return Err(ResourceError::Duplicate { field: "url" });
            }
            let target_id = desk.new_id::<Target>();
            let (target, mut subscription) = documents(&hook, method, &headers, &target_id, None);
            subscription.policy = Some(policy);
            told.get_or_init(|| shown(&hook, &target));
            Ok(vec![Edit::target(target_id, target), Edit::subscription(desk.new_id::<Subscription>(), subscription)])
        };
        call.by.edit(call.workspace, plan).await?;
        Ok(json_answer(StatusCode::CREATED, answer.get().unwrap_or(&Value::Null)))
    }

    pub(super) async fn update_webhook(&self, call: &Call, id: String) -> Result<Response, Refusal> {
        // What does not exist is 404 whatever is asked of it.
        if !self.webhooks_of(call.workspace).any(|stored| stored.hook.id.eq_ignore_ascii_case(&id)) {
            return Err(NOT_FOUND);
        }
        let given = Given::parse(&call.body)?;
        if !given.changes_something() {
            return Err(Refusal::invalid("There is nothing to update: url, method, encoding, headers, events and template can change."));
        }
        let answer = Arc::new(OnceLock::new());
        let told = Arc::clone(&answer);
        let plan = move |desk: &Desk<'_>| {
            let mut others = all(desk);
            let place = others.iter().position(|stored| stored.hook.id.eq_ignore_ascii_case(&id)).ok_or(ResourceError::NotFound)?;
            let stored = others.remove(place);
            let mut hook = stored.hook.clone();
            let method = given.method.map_or_else(|| method_of(&stored.target.doc).to_owned(), str::to_owned);
            let kept = stored.target.doc.settings.get("headers").and_then(Value::as_object).cloned();
            let headers = given.headers.or(kept).unwrap_or_default();
            hook.url = given.url.unwrap_or(hook.url);
            hook.encoding = given.encoding.unwrap_or(hook.encoding);
            hook.events = given.events.as_deref().map_or(hook.events, names);
            hook.template = given.template.or(hook.template).filter(|template| !template.is_empty());
            if others.iter().any(|other| other.is_at(&hook.url, &method)) {
                return Err(ResourceError::Duplicate { field: "url" });
            }
            let (target, changed) = documents(&hook, &method, &headers, &stored.target.id, Some(&stored));
            let Subscription { event_types, dialect, .. } = changed;
            let subscription = Subscription { event_types, dialect, ..stored.subscription.doc.clone() };
            told.get_or_init(|| shown(&hook, &target));
            Ok(vec![Edit::target(stored.target.id.as_str(), target), Edit::subscription(stored.subscription.id.as_str(), subscription)])
        };
        call.by.edit(call.workspace, plan).await?;
        Ok(json_answer(StatusCode::OK, answer.get().unwrap_or(&Value::Null)))
    }

    pub(super) async fn delete_webhook(&self, call: &Call, id: String) -> Result<Response, Refusal> {
        let plan = move |desk: &Desk<'_>| {
            let found = all(desk).into_iter().find(|stored| stored.hook.id.eq_ignore_ascii_case(&id));
            let stored = found.ok_or(ResourceError::NotFound)?;
            let mut edits = vec![Edit::delete(stored.subscription.id.as_str())];
            let is_shared =
                |entry: &Arc<Entry<Subscription>>| entry.doc.target_id == stored.target.id && entry.id != stored.subscription.id;
            // A native subscription may use the target as well.
            if !desk.list::<Subscription>().iter().any(is_shared) {
                edits.push(Edit::delete(stored.target.id.as_str()));
            }
            Ok(edits)
        };
        call.by.edit(call.workspace, plan).await?;
        Ok(empty_answer(StatusCode::NO_CONTENT))
    }
}

fn names(events: &[EventKind]) -> Vec<String> {
    events.iter().map(|kind| kind.name().to_owned()).collect()
}
