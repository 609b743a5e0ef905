//! Wire formats: how a dialect writes and signs a delivery. Dialects implement, the binary registers, the engine calls.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

    /// The dialect whose account settings [`FormatInput::account`] holds.
    fn dialect(&self) -> &'static str {
        self.name()
    }

    /// The policy that subscriptions of this format start from.
    fn default_policy(&self) -> Policy;

    /// How long a delivery may wait to be tried, counted from its first attempt, or before that from when it was to be sent; after this it
    /// fails without another attempt. `None`: as long as it takes (a paused target holds what it has).
    fn keeps_for(&self) -> Option<Duration> {
        None
    }

    /// The policy that one subscription starts from, by what [`prepare`](Self::prepare) made of its settings.
    fn policy_for(&self, _prepared: &Prepared) -> Policy {
        self.default_policy()
    }

    /// Whether the owner is mailed when a delivery fails for good and the subscription does not say whom to tell.
    fn notifies_owner(&self) -> bool {
        false
    }

    /// Whether writing one event takes microseconds, whatever the event and the settings are. Others get a task of their own.
    fn is_quick(&self) -> bool {
        true
    }

    /// Checks what a subscription keeps for this format (its mark's data; null without one) against the target's settings, and compiles
    /// it. Called on save, and once per change of configuration.
    fn prepare(&self, _settings: &Value, _target: &Value) -> Result<Prepared, FormatError> {
        Ok(Prepared::none())
    }

    /// Whether an event is for a subscription of this format at all, beyond its types and filter. `document` parses the payload when it
    /// is first asked for.
    fn wants<'d>(&self, _prepared: &Prepared, _type_name: &str, _document: &mut dyn FnMut() -> Option<&'d Value>) -> bool {
        true
    }

    /// The request body for one event. Unless the vendor asks for more, the same event gives the same bytes in every attempt.
    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError>;

    /// What stands before the members of a batch, [`FormatInput::event`] being the first of them. Members are written page by page: a
    /// batch's events are never all in memory.
    fn open(&self, _input: &FormatInput<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.push(b'[');
        Ok(())
    }

    /// One member of a batch, the separator before it included.
    fn member(&self, _input: &FormatInput<'_>, event: &Event, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&event.payload);
    }

    /// What stands behind the members of a batch.
    fn close(&self, _input: &FormatInput<'_>, out: &mut Vec<u8>) {
        out.push(b']');
    }

    /// Headers of one attempt, `content-type` and signatures included. `made` is what is sent: its body is empty for `GET`.
    fn headers(&self, input: &FormatInput<'_>, made: &FormatBody) -> Vec<(HeaderName, HeaderValue)>;
}

/// What a format made of a subscription's settings.
#[derive(Clone, Default)]
pub struct Prepared(Option<Arc<dyn Any + Send + Sync>>);

impl Prepared {
    /// Something to find again in [`FormatInput::prepared`].
    pub fn new<T: Send + Sync + 'static>(made: T) -> Self {
        Self(Some(Arc::new(made)))
    }

    /// Nothing.
    pub const fn none() -> Self {
        Self(None)
    }

    /// What was put in, if it is of this type.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Prepared(..)" } else { "Prepared" })
    }
}

/// One attempt, as far as a format may know of it.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// From 1.
    pub number: u32,
    /// When it starts.
    pub at_ms: i64,
    /// Fresh randomness.
    pub nonce: [u8; 32],
}

/// What a request is made from.
pub struct FormatInput<'a> {
    /// The event; the first one of a batch.
    pub event: &'a Arc<Event>,
    /// Whether it is a batch (perhaps of one).
    pub is_batch: bool,
    /// Public id of the delivery.
    pub delivery_id: &'a str,
    /// Method of the target, `POST` unless it says otherwise.
    pub method: &'a str,
    /// URL of the target, empty for channels without one.
    pub url: &'a str,
    /// Where this server is reached from outside, without a trailing slash.
    pub base_url: &'a str,
    /// This attempt.
    pub attempt: Try,
    /// What [`Format::prepare`] made.
    pub prepared: &'a Prepared,
    /// The workspace's settings in the format's dialect; null without any.
    pub account: &'a Value,
    /// The target's valid secrets, newest first.
    pub signing: &'a [SigningSecret],
    /// The event type's secret (MsgGO).
    pub event_type_secret: Option<&'a str>,
}

impl<'a> FormatInput<'a> {
    /// The first attempt to `POST` one event, for a subscription and a target without anything of their own.
    pub fn of(event: &'a Arc<Event>) -> Self {
        static NOTHING: (Prepared, Value) = (Prepared::none(), Value::Null);
        Self {
            event,
            is_batch: false,
            delivery_id: "",
            method: "POST",
            url: "",
            base_url: "",
            attempt: Try { number: 1, at_ms: event.received_ms, nonce: [0; 32] },
            prepared: &NOTHING.0,
            account: &NOTHING.1,
            signing: &[],
            event_type_secret: None,
        }
    }
}

/// What to send beside headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatBody {
    /// Bytes to send.
    pub body: Bytes,
    /// Encoded query to append to the URL.
    pub query: Option<String>,
    /// Absolute URL to send to instead of the target's.
    pub url: Option<String>,
}

impl FormatBody {
    /// Just a body.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), query: None, url: None }
    }
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
