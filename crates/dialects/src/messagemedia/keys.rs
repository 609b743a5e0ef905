//! Signature keys: make, list, show, delete, enable, disable (MessageMedia 4.6).

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use posthaste_engine::{Desk, ResourceError};
use serde_json::{Value, json};

use super::account::{SignatureKey, change_keys, has_signature_keys, keys};
use super::answer::{Refusal, empty_answer, json_answer};
use super::signer::{self, Digest};
use super::{Call, DIALECT, MessageMediaState, ids};

/// Default page of the list.
const PAGE_SIZE: usize = 100;
const ENTITY_NOT_FOUND: Refusal = Refusal::NotFound("Entity not found");

impl MessageMediaState {
    /// Whether the account has the feature.
    pub(super) fn has_signature_keys(&self, workspace: i64) -> bool {
        let account = self.engine.account(workspace, DIALECT);
        has_signature_keys(account.as_ref().map_or(&Value::Null, |entry| &entry.doc.settings), self.settings.signature_keys)
    }

    fn keys_of(&self, workspace: i64) -> Vec<SignatureKey> {
        self.engine.account(workspace, DIALECT).map(|entry| keys(&entry.doc.settings)).unwrap_or_default()
    }

    fn key_of(&self, workspace: i64, id: &str) -> Option<SignatureKey> {
        self.keys_of(workspace).into_iter().find(|key| key.key_id.eq_ignore_ascii_case(id))
    }

    pub(super) fn list_keys(&self, call: &Call) -> Result<Response, Refusal> {
        let (mut page, mut size) = (1, PAGE_SIZE);
        for (name, value) in form_urlencoded::parse(call.parts.uri.query().unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "page" => &mut page,
                "page_size" | "pageSize" => &mut size,
                _ => continue,
            };
            let number = value.parse::<usize>().ok().filter(|number| *number > 0);
            *place = number.ok_or_else(|| Refusal::detail(format!("{name} property value is invalid")))?;
        }
        let keys = self.keys_of(call.workspace);
        let shown = keys.iter().skip((page - 1).saturating_mul(size)).take(size).map(SignatureKey::shown);
        Ok(json_answer(StatusCode::OK, &shown.collect()))
    }

    pub(super) fn show_key(&self, call: &Call, id: &str) -> Result<Response, Refusal> {
        if !ids::is_uuid(id) {
            return Err(Refusal::detail("key_id property value is invalid"));
        }
        let key = self.key_of(call.workspace, id).ok_or(ENTITY_NOT_FOUND)?;
        Ok(json_answer(StatusCode::OK, &key.shown()))
    }

    pub(super) async fn create_key(&self, call: &Call) -> Result<Response, Refusal> {
        let body = document(&call.body)?;
        let mut details = Vec::new();
        let mut chosen = |field: &str, label: &str, is_good: &dyn Fn(&str) -> bool| match body.get(field) {
            None | Some(Value::Null) => details.push(format!("/{field}: {label} cannot be null")),
            Some(Value::String(text)) if is_good(text) => {}
            Some(Value::String(text)) => details.push(format!("/{field}: [{text}] is invalid")),
            Some(other) => details.push(format!("/{field}: [{other}] is invalid")),
        };
        chosen("digest", "Digest", &|name| Digest::from_name(name).is_some());
        chosen("cipher", "Cipher", &|name| name == "RSA");
        let digest = body.get("digest").and_then(Value::as_str).and_then(Digest::from_name);
        let (Some(digest), []) = (digest, &details[..]) else { return Err(Refusal::Details(details)) };
        let limit = self.settings.max_signature_keys;
        let too_many = || Refusal::detail(format!("An account has at most {limit} signature keys"));
        if self.keys_of(call.workspace).len() >= limit {
            return Err(too_many());
        }
        let pair = {
            let _turn = self.making_keys.acquire().await.map_err(|_| Refusal::Unavailable)?;
            tokio::task::spawn_blocking(signer::generate).await.map_err(|_| Refusal::Failed)?
        };
        let pair = pair.map_err(|error| {
            tracing::error!(%error, "a signature key could not be made");
            Refusal::Failed
        })?;
        let key = SignatureKey { key_id: ids::random(), digest, created_ms: self.engine.now_ms(), enabled: false };
        let mut shown = key.shown();
        shown["public_key"] = Value::from(pair.public);
        let plan = move |desk: &Desk<'_>| {
            change_keys(desk, |keys, private| {
                if keys.len() >= limit {
                    return Err(ResourceError::Limit { what: "signature keys in an account", limit });
                }
                private.insert(key.key_id.clone(), pair.private);
                keys.push(key);
                Ok(())
            })
        };
        match call.by.edit(call.workspace, plan).await {
            Ok(()) => Ok(json_answer(StatusCode::CREATED, &shown)),
            Err(ResourceError::Limit { .. }) => Err(too_many()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn delete_key(&self, call: &Call, id: String) -> Result<Response, Refusal> {
        let plan = move |desk: &Desk<'_>| {
            change_keys(desk, |keys, _| {
                let before = keys.len();
                keys.retain(|key| !key.key_id.eq_ignore_ascii_case(&id));
                if keys.len() < before { Ok(()) } else { Err(ResourceError::NotFound) }
            })
        };
        call.by.edit(call.workspace, plan).await.map_err(entity)?;
        Ok(empty_answer(StatusCode::OK))
    }

    pub(super) fn show_enabled_key(&self, call: &Call) -> Result<Response, Refusal> {
        let key = self.keys_of(call.workspace).into_iter().find(|key| key.enabled);
        key.map(|key| json_answer(StatusCode::OK, &key.shown())).ok_or(Refusal::NotFound("Currently no key is enabled"))
    }

    pub(super) async fn enable_key(&self, call: &Call) -> Result<Response, Refusal> {
        let id: Arc<str> = match document(&call.body)?.get("key_id") {
            None | Some(Value::Null) => return Err(Refusal::detail("/key_id: Key id cannot be null")),
            Some(Value::String(id)) => id.as_str().into(),
            Some(other) => return Err(Refusal::detail(format!("/key_id: [{other}] is invalid"))),
        };
        let wanted = Arc::clone(&id);
        let plan = move |desk: &Desk<'_>| {
            change_keys(desk, |keys, _| {
                for key in &mut *keys {
                    key.enabled = key.key_id.eq_ignore_ascii_case(&wanted);
                }
                if keys.iter().any(|key| key.enabled) { Ok(()) } else { Err(ResourceError::NotFound) }
            })
        };
        call.by.edit(call.workspace, plan).await.map_err(entity)?;
        let key = self.key_of(call.workspace, &id).ok_or(ENTITY_NOT_FOUND)?;
        Ok(json_answer(StatusCode::OK, &key.shown()))
    }

    pub(super) async fn disable_keys(&self, call: &Call) -> Result<Response, Refusal> {
        if self.keys_of(call.workspace).iter().any(|key| key.enabled) {
            let plan = |desk: &Desk<'_>| {
                change_keys(desk, |keys, _| {
                    keys.iter_mut().for_each(|key| key.enabled = false);
                    Ok(())
                })
            };
            call.by.edit(call.workspace, plan).await?;
        }
        Ok(empty_answer(StatusCode::NO_CONTENT))
    }
}

fn entity(error: ResourceError) -> Refusal {
    if matches!(error, ResourceError::NotFound) { ENTITY_NOT_FOUND } else { error.into() }
}

/// The JSON object of a request body; an empty body is one without members.
fn document(body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let document: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
    document.ok_or_else(|| Refusal::detail("The request body is not a JSON object"))
}
