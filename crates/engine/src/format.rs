//! Wire formats: how a dialect writes and signs a delivery. Dialects implement, the binary registers, the engine calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use posthaste_domain::event::Event;
use posthaste_domain::policy::Policy;
use posthaste_domain::signature::SigningSecret;
use serde_json::Value;

/// One vendor's wire format. Pure: no I/O, no clock.
pub trait Format: Send + Sync {
    /// Its name in subscriptions.
    fn name(&self) -> &'static str;

    /// The policy that subscriptions of this format start from.
    fn default_policy(&self) -> Policy;

    /// The request body. The same input gives the same bytes, so every attempt sends what the first one sent.
    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError>;

    /// Headers of one attempt, `content-type` and signatures included.
    fn headers(&self, input: &SignInput<'_>, body: &[u8]) -> Vec<(HeaderName, HeaderValue)>;

    /// Refuses target settings that the format cannot serve.
    fn check(&self, _settings: &Value) -> Result<(), FormatError> {
        Ok(())
    }
}

/// What a body is made from.
pub struct FormatInput<'a> {
    /// The event, or the members of the batch in order.
    pub events: &'a [Arc<Event>],
    /// Whether it is a batch (perhaps of one).
    pub is_batch: bool,
    /// Public id of the delivery.
    pub delivery_id: &'a str,
    /// Method of the target, `POST` unless it says otherwise.
    pub method: &'a str,
}

/// A body and, for methods without one, query fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatBody {
    /// Bytes to send.
    pub body: Bytes,
    /// Encoded query to append to the target's URL.
    pub query: Option<String>,
}

/// What signatures are made from.
pub struct SignInput<'a> {
    /// Public id of the delivery.
    pub delivery_id: &'a str,
    /// Time of this attempt.
    pub attempt_ms: i64,
    /// The target's valid secrets, newest first.
    pub signing: &'a [SigningSecret],
    /// The event type's secret (MsgGO).
    pub event_type_secret: Option<&'a str>,
}

/// Why a format cannot write something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FormatError {
    /// What of the input.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// The formats at hand, by name.
#[derive(Clone, Default)]
pub struct Formats {
    by_name: BTreeMap<&'static str, Arc<dyn Format>>,
}

impl Formats {
    /// Adds one; the last of a name wins.
    pub fn with(mut self, format: impl Format + 'static) -> Self {
        self.by_name.insert(format.name(), Arc::new(format));
        self
    }

    /// The format of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Format>> {
        self.by_name.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }
}
