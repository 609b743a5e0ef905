//! A workspace's Mailgun account: the key that signs its webhooks.
//!
//! Invariant: once there is an account, it has a signing key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::resource::{Account, Scope};
use posthaste_domain::signature::hex;
use posthaste_engine::{Desk, Edit, Engine, Entry, ResourceError};
use serde_json::{Map, Value, json};

use super::answer::{self, Refusal, Service};
use super::format::{DIALECT, SIGNING_KEY};
use super::{MailgunSettings, MailgunState};
use crate::accounts::{AccountRules, refuse_unknown};

/// Characters of a signing key.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 8..=200;

/// `key-` and 32 hexadecimal characters.
fn new_key(random: &[u8; 16]) -> String {
    format!("key-{}", hex(random))
}

fn document(key: &str) -> Account {
    Account { dialect: DIALECT.to_owned(), settings: json!({ SIGNING_KEY: key }), secret_settings: vec![format!("/{SIGNING_KEY}")] }
}

/// The change that makes the account, if there is none.
pub(super) fn creation(desk: &Desk<'_>) -> Option<Edit> {
    let random: [u8; 16] = rand::random();
    desk.named::<Account>(DIALECT).is_none().then(|| Edit::account(desk.new_id::<Account>(), document(&new_key(&random))))
}

/// The account, made now if there was none.
pub(super) async fn ensure(engine: &Engine, workspace: i64) -> Result<Arc<Entry<Account>>, ResourceError> {
    if let Some(account) = engine.account(workspace, DIALECT) {
        return Ok(account);
    }
    engine.edit(workspace, |desk| Ok(creation(desk).into_iter().collect())).await?;
    engine.account(workspace, DIALECT).ok_or(ResourceError::NotFound)
}

fn key_of(account: &Entry<Account>) -> Value {
    account.doc.settings.get(SIGNING_KEY).cloned().unwrap_or_default()
}

fn refuse(error: ResourceError) -> Refusal {
    tracing::error!(%error, "the Mailgun signing key could not be had");
    Refusal::message(StatusCode::BAD_REQUEST, "could not get HSK for account")
}

/// `GET /v5/accounts/http_signing_key`. Only for keys that may manage: whoever knows it can forge webhooks.
pub(super) async fn show(State(state): State<MailgunState>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let account = ensure(&call.by, call.workspace).await.map_err(refuse)?;
    Ok(answer::ok(&json!({ "http_signing_key": key_of(&account) })))
}

/// `POST /v5/accounts/http_signing_key`: deliveries are signed with a new key from now on.
pub(super) async fn regenerate(State(state): State<MailgunState>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let random: [u8; 16] = rand::random();
    let key = new_key(&random);
    let fresh = document(&key);
    let plan = move |desk: &Desk<'_>| {
        let id = desk.named::<Account>(DIALECT).map_or_else(|| desk.new_id::<Account>(), |account| account.id.clone());
        Ok(vec![Edit::account(id, fresh)])
    };
    call.by.edit(call.workspace, plan).await.map_err(refuse)?;
    Ok(answer::ok(&json!({ "message": "regenerated HTTP signing key for account", "http_signing_key": key })))
}

/// How Mailgun accounts are read and written by the native API.
pub struct MailgunAccounts(pub MailgunSettings);

impl AccountRules for MailgunAccounts {
    fn dialect(&self) -> &'static str {
        DIALECT
    }

    fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// `signing_key`: absent keeps the stored one, `null` makes a new one, a text becomes it.
    fn write(&self, input: Map<String, Value>, stored: Option<&Value>, random: [u8; 32]) -> Result<Value, ResourceError> {
        refuse_unknown(&input, &[SIGNING_KEY])?;
        let kept = stored.and_then(|stored| stored.get(SIGNING_KEY)).and_then(Value::as_str);
        let made = || new_key(random.first_chunk().expect("32 bytes begin with 16"));
        let key = match input.get(SIGNING_KEY) {
            Some(Value::Null) => made(),
            Some(Value::String(text)) => {
                if !KEY_LENGTH.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(ResourceError::invalid(SIGNING_KEY, "must be 8 to 200 visible ASCII characters without spaces"));
                }
                text.clone()
            }
            None => kept.map_or_else(made, str::to_owned),
            Some(_) => return Err(ResourceError::invalid(SIGNING_KEY, "must be a text, or null for a new one")),
        };
        Ok(json!({ SIGNING_KEY: key }))
    }

    fn show(&self, stored: &Value) -> Value {
        json!({ SIGNING_KEY: stored.get(SIGNING_KEY) })
    }

    fn secrets(&self) -> &'static [&'static str] {
        &["/signing_key"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(input: Value, stored: Option<&Value>) -> Result<String, String> {
        let Value::Object(input) = input else { panic!("no object") };
        match MailgunAccounts(MailgunSettings::default()).write(input, stored, [0xAB; 32]) {
            Ok(document) => Ok(document[SIGNING_KEY].as_str().expect("a text").to_owned()),
            Err(ResourceError::Invalid { field, .. }) => Err(field),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_signing_key_is_kept_made_or_chosen() {
        let made = format!("key-{}", "ab".repeat(16));
        let stored = json!({ SIGNING_KEY: "old-key-old" });
        assert_eq!(write(json!({}), None), Ok(made.clone()));
        assert_eq!(write(json!({}), Some(&stored)), Ok("old-key-old".into()));
        assert_eq!(write(json!({ SIGNING_KEY: null }), Some(&stored)), Ok(made));
        assert_eq!(write(json!({ SIGNING_KEY: "chosen-key" }), Some(&stored)), Ok("chosen-key".into()));
        for bad in [json!("short"), json!("with a space in it"), json!(1)] {
            assert_eq!(write(json!({ SIGNING_KEY: bad }), None), Err(SIGNING_KEY.into()));
        }
        assert_eq!(write(json!({ "other": 1 }), None), Err("other".into()));
    }
}
