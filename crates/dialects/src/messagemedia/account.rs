//! What a workspace keeps for MessageMedia: the features of its account, and its signature keys.
//!
//! Private keys are one JSON text under `private_keys`, which is sealed on disk and never shown.

use std::collections::BTreeMap;

use posthaste_domain::clock::rfc3339;
use posthaste_domain::resource::Account;
use posthaste_engine::{Desk, Edit, ResourceError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::facts::VENDOR;
use super::signer::Digest;
use super::{DIALECT, MessageMediaSettings};
use crate::accounts::{AccountRules, refuse_unknown};

const KEYS: &str = "keys";
const PRIVATE_KEYS: &str = "private_keys";
const SECRETS: [&str; 1] = ["/private_keys"];
const FEATURE: &str = "signature_keys";
/// Characters of an id that an account chooses.
const MAX_ID: usize = 100;

/// A signature key without its private part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SignatureKey {
    pub(super) key_id: String,
    pub(super) digest: Digest,
    pub(super) created_ms: i64,
    pub(super) enabled: bool,
}

impl SignatureKey {
    /// The key object of the API.
    pub(super) fn shown(&self) -> Value {
        json!({
            "key_id": self.key_id,
            "cipher": "RSA",
            "digest": self.digest,
            "created": rfc3339(self.created_ms),
            "enabled": self.enabled,
        })
    }
}

/// Whether the account has signature keys; `by_default` if it chose nothing.
pub(super) fn has_signature_keys(settings: &Value, by_default: bool) -> bool {
    settings.get(FEATURE).and_then(Value::as_bool).unwrap_or(by_default)
}

/// The signature keys, oldest first.
pub(super) fn keys(settings: &Value) -> Vec<SignatureKey> {
    settings.get(KEYS).and_then(|keys| Vec::deserialize(keys).ok()).unwrap_or_default()
}

/// The private key of an id.
pub(super) fn private_key(settings: &Value, key_id: &str) -> Option<String> {
    private_keys(settings).remove(key_id)
}

fn private_keys(settings: &Value) -> BTreeMap<String, String> {
    settings.get(PRIVATE_KEYS).and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Changes the keys of the account, which is made if there is none: `change` gets the keys and the private keys by id.
pub(super) fn change_keys(
    desk: &Desk<'_>,
    change: impl FnOnce(&mut Vec<SignatureKey>, &mut BTreeMap<String, String>) -> Result<(), ResourceError>,
) -> Result<Vec<Edit>, ResourceError> {
    let stored = desk.named::<Account>(DIALECT);
    let id = stored.as_ref().map_or_else(|| desk.new_id::<Account>(), |entry| entry.id.clone());
    let mut settings = stored.map_or_else(|| json!({}), |entry| entry.doc.settings.clone());
    let (mut all, mut private) = (keys(&settings), private_keys(&settings));
    change(&mut all, &mut private)?;
    private.retain(|id, _| all.iter().any(|key| key.key_id == *id));
    settings[KEYS] = serde_json::to_value(&all).expect("texts and numbers are JSON");
    settings[PRIVATE_KEYS] = Value::from(serde_json::to_string(&private).expect("texts are JSON"));
    let secret_settings = SECRETS.map(str::to_owned).to_vec();
    Ok(vec![Edit::account(id, Account { dialect: DIALECT.to_owned(), settings, secret_settings })])
}

/// How MessageMedia accounts are read and written.
pub struct MessageMediaAccounts(pub MessageMediaSettings);

impl AccountRules for MessageMediaAccounts {
    fn dialect(&self) -> &'static str {
        DIALECT
    }

    fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// `signature_keys` and `billing_units` are truths, `account_id` and `vendor_id` texts; what is absent or `null` goes back to the
    /// default. Keys are not changed here.
    fn write(&self, input: Map<String, Value>, stored: Option<&Value>, _random: [u8; 32]) -> Result<Value, ResourceError> {
        refuse_unknown(&input, &[FEATURE, "billing_units", "account_id", "vendor_id", KEYS])?;
        let mut document = Map::new();
        for (name, value) in input {
            let is_good = match (name.as_str(), &value) {
                (_, Value::Null) | (KEYS, _) => continue,
                (FEATURE | "billing_units", value) => value.is_boolean(),
                (_, Value::String(text)) => !text.is_empty() && text.chars().count() <= MAX_ID,
                _ => false,
            };
            if !is_good {
                let wanted = if matches!(name.as_str(), FEATURE | "billing_units") {
                    "must be true or false"
                } else {
                    "must be 1 to 100 characters"
                };
                return Err(ResourceError::invalid(name, wanted));
            }
            document.insert(name, value);
        }
        for name in [KEYS, PRIVATE_KEYS] {
            document.extend(stored.and_then(|stored| stored.get(name)).map(|value| (name.to_owned(), value.clone())));
        }
        // A secret that is pointed at must be there.
        document.entry(PRIVATE_KEYS).or_insert_with(|| Value::from("{}"));
        Ok(Value::Object(document))
    }

    fn show(&self, stored: &Value) -> Value {
        json!({
            FEATURE: has_signature_keys(stored, self.0.signature_keys),
            "billing_units": stored.get("billing_units").and_then(Value::as_bool).unwrap_or(false),
            "account_id": stored.get("account_id"),
            "vendor_id": stored.get("vendor_id").and_then(Value::as_str).unwrap_or(VENDOR),
            KEYS: keys(stored).iter().map(SignatureKey::shown).collect::<Vec<_>>(),
        })
    }

    fn secrets(&self) -> &'static [&'static str] {
        &SECRETS
    }
}
