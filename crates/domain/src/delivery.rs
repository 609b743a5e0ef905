//! Deliveries and their attempts.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::id::{self, DeliveryKey};

/// Where a delivery stands in the journal.
///
/// The discriminants are the on-disk codes. `held` of the public API is no code of its own: a pending delivery is held while its
/// target is paused or disabled, which is a fact about the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Waits for its first attempt, or was released to be sent now.
    Queued = 0,
    /// Waits for a time: a retry, a `deliver_at`, or an open batch.
    Scheduled = 1,
    /// The target took it.
    Delivered = 2,
    /// Given up, or refused for good.
    Failed = 3,
    /// Will not be sent: its target or subscription went away, or someone cancelled it.
    Cancelled = 4,
}

impl DeliveryState {
    /// The states from which nothing more happens by itself.
    pub fn is_terminal(self) -> bool {
        self >= Self::Delivered
    }

    /// From the on-disk code.
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Queued, Self::Scheduled, Self::Delivered, Self::Failed, Self::Cancelled].into_iter().find(|s| *s as i64 == code)
    }
}

/// A delivery as it lies in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Identity.
    pub key: DeliveryKey,
    /// Number of the owning workspace.
    pub workspace: i64,
    /// Number of the subscription that asked for it.
    pub subscription: i64,
    /// Number of the target it goes to.
    pub target: i64,
    /// Where it stands.
    pub state: DeliveryState,
    /// Finished attempts.
    pub attempts: u32,
    /// Time of the first attempt; 0 before it.
    pub first_attempt_ms: i64,
    /// When it is to be tried next; 0 unless [`DeliveryState::Scheduled`].
    pub due_ms: i64,
    /// Whether it carries a batch of events: its members are then read with `Journal::members`.
    pub is_batch: bool,
    /// Last change of state.
    pub updated_ms: i64,
    /// Time of receipt of its (first) event; part of the public id.
    pub received_ms: i64,
}

impl Delivery {
    /// Public id, `dlv_…`; stable over retries and restarts.
    pub fn id(&self) -> String {
        id::delivery_id(self.key, self.received_ms)
    }
}

/// A pending delivery with the event it carries (the first one of a batch), as lanes hold it.
#[derive(Clone, Debug)]
pub struct PendingDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// Its (first) event.
    pub event: Arc<Event>,
}

/// Whose fault a failed attempt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// This server's.
    Ours,
    /// The target's or its owner's: a status, a refused request, a template or setting that does not work.
    Theirs,
    /// Nobody's in particular: name resolution, connections, time-outs.
    Network,
}

/// One finished try of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Start.
    pub at_ms: i64,
    /// Length in microseconds.
    pub duration_us: i64,
    /// Stable error code (a page in `docs/errors/`); `None` on success.
    pub error: Option<Arc<str>>,
    /// What the owner of the target may read about the failure.
    pub message: Option<Arc<str>>,
    /// Whose fault; `None` on success.
    pub fault: Option<Fault>,
    /// Status of the response, if one came (HTTP status, or SMTP code for e-mail).
    pub status: Option<u16>,
    /// Request line and headers as text, one a line, secrets masked.
    pub request: Arc<str>,
    /// Response headers as text, one a line.
    pub response: Arc<str>,
    /// At most the first 16 KiB of the response body.
    pub response_body: Bytes,
}
