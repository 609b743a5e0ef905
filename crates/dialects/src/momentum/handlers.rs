//! What each call does.

use posthaste_channels::{Outcome, Report};
use posthaste_engine::ResourceError;
use posthaste_store::StoreError;
use serde_json::{Map, Value, json};

use super::answer::{self, Refusal};
use super::api::{Call, Shared};
use super::document::{Auth, Webhook, refused_settings};
use super::outcomes::{Outcomes, Seen, local};
use super::webhooks::{self, Pair, Webhooks};
use super::{format, uuid};

/// What a test carries unless the caller says something else.
const EMPTY_BATCH: &[u8] = br#"[{"msys":{}}]"#;

/// How often an update is tried when others change the same webhook at once.
const TRIES: usize = 5;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Shared {
    fn webhooks(&self, call: &Call) -> Webhooks {
        Webhooks::of(&self.engine, call.workspace)
    }

    /// Refuses what the `webhook` channel could not send to.
    fn check(&self, webhook: &Webhook) -> Result<(), Refusal> {
        let channel =
            self.engine.channels().get("webhook").ok_or_else(|| Refusal::Unavailable("there is no webhook channel".to_owned()))?;
        channel.check(&webhook.settings())?;
        Ok(())
    }

    /// Fetches the access token of a webhook that needs one.
    async fn fetch_token(&self, webhook: &mut Webhook) -> Result<(), Refusal> {
        let settings = webhook.settings();
        let Auth::OAuth2 { token, .. } = &mut webhook.auth else { return Ok(()) };
        let channels = self.engine.channels();
        let channel = channels.webhook().ok_or_else(|| Refusal::Unavailable("there is no webhook channel".to_owned()))?;
        let timeout = self.settings.timeout;
        let fetched = channel.fetch_token(&settings, timeout, timeout).await;
        let access = fetched.map_err(|report| Refusal::Test { what: "tokens", report: Box::new(report) })?;
        *token = Some((access.token, access.expires_in));
        Ok(())
    }

    /// One POST to the target, exactly as a batch would be sent.
    async fn test(&self, webhook: &Webhook, body: Vec<u8>) -> Result<Report, Refusal> {
        let headers = format::headers(&uuid::random());
        let sent = self.engine.try_webhook(&webhook.settings(), body.into(), headers, self.settings.timeout).await;
        let report = sent.map_err(|error| match error {
            ResourceError::Invalid { field, reason } => refused_settings(&field, &reason),
            other => other.into(),
        })?;
        if report.status == Some(200) && report.outcome == Outcome::Answered {
            return Ok(report);
        }
        let no_token = matches!(&report.outcome, Outcome::Failed(failure) if failure.code.starts_with("token_"));
        Err(Refusal::Test { what: if no_token { "tokens" } else { "target" }, report: Box::new(report) })
    }

    async fn seen(&self, call: &Call, all: &Webhooks, pair: &Pair) -> Result<Seen, Refusal> {
        let outcomes = Outcomes::new(&self.engine, call.workspace, all.targets(pair.id()));
        Ok(outcomes.seen(pair.before()).await?)
    }

    /// A webhook as the API shows it, without links.
    async fn shown(&self, call: &Call, all: &Webhooks, pair: &Pair, zone: &jiff::tz::TimeZone) -> Result<Map<String, Value>, Refusal> {
        let webhook = pair.webhook();
        let (details, credentials) = match &webhook.auth {
            Auth::None => (json!({}), json!({})),
            Auth::Basic { username, password } => (json!({}), json!({ "username": username, "password": password })),
            Auth::OAuth2 { url, body, token } => {
                // The one in use, which may be newer than the one that was saved.
                let in_use = self.engine.channels().webhook().and_then(|channel| channel.token_in_use(pair.settings_key()));
                let token = in_use.map(|access| (access.token, access.expires_in)).or_else(|| token.clone());
                let credentials = token.map_or_else(
                    || json!({}),
                    |(token, expires_in)| {
                        let mut credentials = json!({ "access_token": token });
                        if let Some(seconds) = expires_in {
                            credentials["expires_in"] = seconds.into();
                        }
                        credentials
                    },
                );
                (json!({ "url": url, "body": body }), credentials)
            }
        };
        let headers: Map<String, Value> =
            webhook.custom_headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        put("id", pair.id().into());
        put("name", webhook.name.into());
        put("target", webhook.target.into());
        put("events", webhook.events.into());
        put("auth_type", webhook.auth.name().into());
        put("auth_request_details", details);
        put("auth_credentials", credentials);
        put("auth_token", webhook.auth_token.into());
        put("custom_headers", headers.into());
        put("active", webhook.active.into());
        let seen = self.seen(call, all, pair).await?;
        for (name, at_ms) in [("last_successful", seen.success_ms), ("last_failure", seen.failure_ms)] {
            if let Some(at_ms) = at_ms {
                put(name, local(at_ms, zone).into());
            }
        }
        if !call.sees_secrets {
            mask(&mut shown);
        }
        Ok(shown)
    }
}

/// Puts stars in the place of what a key that may only read must not see.
fn mask(shown: &mut Map<String, Value>) {
    const MASK: &str = "********";
    let hide = |value: &mut Value| {
        if value.as_str().is_some_and(|text| !text.is_empty()) {
            *value = MASK.into();
        }
    };
    shown.get_mut("auth_token").into_iter().for_each(hide);
    for place in ["custom_headers", "auth_credentials"] {
        let members = shown.get_mut(place).and_then(Value::as_object_mut).into_iter().flatten();
        members.filter(|(name, _)| *name != "username").for_each(|(_, value)| hide(value));
    }
    let body = shown.get_mut("auth_request_details").and_then(|details| details.get_mut("body")).and_then(Value::as_object_mut);
    body.into_iter().flatten().filter(|(name, _)| *name != "grant_type").for_each(|(_, value)| hide(value));
}

impl Call {
    fn href(&self, id: &str) -> String {
        format!("{}/api/v1/webhooks/{id}", self.base)
    }

    fn webhook_link(&self, id: &str) -> Value {
        json!({ "href": self.href(id), "rel": "urn.msys.webhooks.webhook", "method": ["GET", "PUT"] })
    }

    fn validate_link(&self, id: &str) -> Value {
        json!({ "href": format!("{}/validate", self.href(id)), "rel": "urn.msys.webhooks.validate", "method": ["POST"] })
    }

    fn batches_link(&self, id: &str) -> Value {
        json!({ "href": format!("{}/batch-status", self.href(id)), "rel": "urn.msys.webhooks.batches", "method": ["GET"] })
    }
}

/// `POST /api/v1/webhooks`
pub async fn create(shared: &Shared, call: &Call, body: &Map<String, Value>) -> Result<Value, Refusal> {
    let mut webhook = Webhook::create(body)?;
    shared.check(&webhook)?;
    shared.fetch_token(&mut webhook).await?;
    shared.test(&webhook, EMPTY_BATCH.to_vec()).await?;
    let id = webhooks::create(&call.by, call.workspace, webhook, &shared.settings).await?;
    Ok(json!({ "id": id, "links": [call.webhook_link(&id)] }))
}

/// `GET /api/v1/webhooks`
pub async fn list(shared: &Shared, call: &Call) -> Result<Value, Refusal> {
    let zone = call.time_zone()?;
    let all = shared.webhooks(call);
    let mut list = Vec::new();
    for pair in all.living() {
        let mut shown = shared.shown(call, &all, pair, &zone).await?;
        shown.insert("links".to_owned(), json!([call.webhook_link(pair.id())]));
        list.push(Value::Object(shown));
    }
    Ok(list.into())
}

/// `GET /api/v1/webhooks/{id}`
pub async fn retrieve(shared: &Shared, call: &Call, id: &str) -> Result<Value, Refusal> {
    let zone = call.time_zone()?;
    let all = shared.webhooks(call);
    let pair = all.get(id).ok_or(Refusal::NotFound)?;
    let mut shown = shared.shown(call, &all, pair, &zone).await?;
    shown.insert("links".to_owned(), json!([call.validate_link(id), call.batches_link(id)]));
    Ok(shown.into())
}

/// `PUT /api/v1/webhooks/{id}`
pub async fn update(shared: &Shared, call: &Call, id: &str, body: &Map<String, Value>) -> Result<Value, Refusal> {
    for _ in 0..TRIES {
        let all = shared.webhooks(call);
        let old = all.get(id).ok_or(Refusal::NotFound)?;
        let was = old.webhook();
        let mut new = was.update(body)?;
        if !new.sends_like(&was) {
            shared.check(&new)?;
            shared.fetch_token(&mut new).await?;
        }
        if new.target != was.target {
            shared.test(&new, EMPTY_BATCH.to_vec()).await?;
        }
        let before = shared.seen(call, &all, old).await?;
        match webhooks::update(&call.by, call.workspace, old.clone(), new, before, &shared.settings).await {
            Ok(()) => return Ok(json!({ "id": id, "links": [call.validate_link(id)] })),
            Err(ResourceError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Conflict)
}

/// `DELETE /api/v1/webhooks/{id}`
pub async fn delete(shared: &Shared, call: &Call, id: &str) -> Result<(), Refusal> {
    Ok(webhooks::delete(&call.by, call.workspace, id, &shared.settings).await?)
}

/// `POST /api/v1/webhooks/{id}/validate`
pub async fn validate(shared: &Shared, call: &Call, id: &str, body: Option<Value>) -> Result<Value, Refusal> {
    let all = shared.webhooks(call);
    let pair = all.get(id).ok_or(Refusal::NotFound)?;
    let batch = batch_of(body)?;
    let mut webhook = pair.webhook();
    if let Auth::OAuth2 { token, .. } = &mut webhook.auth
        && let Some(access) = shared.engine.channels().webhook().and_then(|channel| channel.token_in_use(pair.settings_key()))
    {
        *token = Some((access.token, access.expires_in));
    }
    let report = shared.test(&webhook, batch).await?;
    Ok(json!({ "msg": "Test POST to endpoint succeeded", "response": answer::response(&report) }))
}

/// The batch of a validation: `message` of an object, or the body itself if it is an array. An object becomes an array of one.
fn batch_of(body: Option<Value>) -> Result<Vec<u8>, Refusal> {
    let message = match body {
        Some(Value::Object(mut object)) => object.remove("message"),
        Some(array @ Value::Array(_)) => Some(array),
        Some(Value::Null) | None => None,
        Some(_) => return Err(Refusal::format("message", "must be an object or an array")),
    };
    match message {
        None | Some(Value::Null) => Ok(EMPTY_BATCH.to_vec()),
        Some(array @ Value::Array(_)) => Ok(array.to_string().into_bytes()),
        Some(object @ Value::Object(_)) => Ok(Value::Array(vec![object]).to_string().into_bytes()),
        Some(_) => Err(Refusal::format("message", "must be an object or an array")),
    }
}

/// `GET /api/v1/webhooks/{id}/batch-status`
pub async fn batch_status(shared: &Shared, call: &Call, id: &str) -> Result<Value, Refusal> {
    let limit = call.limit()?;
    let all = shared.webhooks(call);
    all.get(id).ok_or(Refusal::NotFound)?;
    let outcomes = Outcomes::new(&shared.engine, call.workspace, all.targets(id));
    Ok(outcomes.failed(id, limit, &shared.settings).await?.into())
}
