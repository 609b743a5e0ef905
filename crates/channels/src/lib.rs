//! Channels: one file per kind of target, and the one guarded way out to the network.
//!
//! A channel takes a [`Dispatch`], makes exactly one try, and answers a [`Report`]; it never retries, never follows redirects, never
//! decides about states: that is policy, and the engine's. Adding a channel is one file and one line in [`Channels::standard`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::delivery::Fault;
use posthaste_domain::template::{Form, Rendered};
use serde_json::Value;

/// One try to make.
pub struct Dispatch<'a> {
    /// Public id of the delivery; stable over retries.
    pub delivery_id: &'a str,
    /// The target's settings, secrets in place.
    pub settings: &'a Value,
    /// Changes whenever the settings change: lets a channel keep what it prepared from them (numbers: target, version).
    pub settings_key: (i64, i64),
    /// What to send.
    pub content: Content,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for everything, connecting included.
    pub timeout: Duration,
}

/// What to send.
#[derive(Clone, Debug)]
pub enum Content {
    /// An exact HTTP request body with its headers, made and signed by a wire format (webhook-like channels only).
    Wire {
        /// Body bytes, sent as they are. Ignored for `GET`.
        body: Bytes,
        /// Format's headers, `content-type` included; the settings' own headers are added by the channel.
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
        /// Appended to the URL's query (MsgGO `GET` deliveries).
        query: Option<String>,
    },
    /// A rendered message, in the form that [`Channel::form`] asked for.
    Message(Rendered),
}

/// What came of a try.
#[derive(Clone, Debug)]
pub struct Report {
    /// The verdict as far as the channel can tell.
    pub outcome: Outcome,
    /// HTTP status or SMTP code of the answer.
    pub status: Option<u16>,
    /// Request line and headers as text, secrets masked. Shared between tries where it can be.
    pub request: Arc<str>,
    /// Response headers as text.
    pub response: Arc<str>,
    /// At most the first 16 KiB of the response body.
    pub response_body: Bytes,
    /// `Retry-After` as sent.
    pub retry_after: Option<String>,
    /// Length of the try.
    pub duration: Duration,
}

/// The verdict on one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP answer: the policy's `success` and `stop` lists decide about [`Report::status`].
    Answered,
    /// Taken, whatever the status (channels with a protocol of their own).
    Delivered,
    /// Not taken.
    Failed(SendError),
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// Stable code with a page in `docs/errors/`: `connect_refused`, `connect_timeout`, `dns_failed`, `tls_failed`, `timeout`,
    /// `address_blocked`, `connection_lost`, `response_invalid`, `smtp_rejected`, `smtp_deferred`, `slack_rejected`, `settings_invalid`, …
    pub code: &'static str,
    /// What the target's owner may read. Never a secret, never an internal address of a blocked target.
    pub message: String,
    /// Whose fault.
    pub fault: Fault,
    /// Whether another try can help.
    pub retryable: bool,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct SettingsError {
    /// Which, e.g. `settings.url`.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// Settings as checked on save.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedSettings {
    /// Normalised, defaults not filled in.
    pub settings: Value,
    /// JSON pointers within the settings that hold secrets.
    pub secrets: Vec<String>,
}

/// A kind of target.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its name in the API: `webhook`, `slack`, …
    fn name(&self) -> &'static str;

    /// Which form templates are rendered in for it.
    fn form(&self) -> Form;

    /// Whether it takes [`Content::Wire`] (then a wire format renders events that have no template).
    fn takes_wire(&self) -> bool;

    /// Checks settings on save; unknown fields are errors that name them.
    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError>;

    /// Makes one try within the given times. Cancel safe: dropping it closes what it opened.
    async fn send(&self, dispatch: Dispatch<'_>) -> Report;
}

/// The channels at hand, by name.
#[derive(Clone, Default)]
pub struct Channels {
    by_name: std::collections::BTreeMap<&'static str, Arc<dyn Channel>>,
}

impl Channels {
    /// Adds one; the last of a name wins.
    pub fn with(mut self, channel: impl Channel + 'static) -> Self {
        self.by_name.insert(channel.name(), Arc::new(channel));
        self
    }

    /// The channel of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.by_name.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }
}
