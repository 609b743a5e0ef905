//! Events: immutable facts.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{self, Sequence};

/// An event as it lies in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the journal.
    pub sequence: Sequence,
    /// Number of the owning workspace.
    pub workspace: i64,
    /// Name of the event type; `None` when an inbox event matched no event type.
    pub type_name: Option<Arc<str>>,
    /// One JSON document, byte for byte as received (or as merged by the inbox).
    pub payload: Bytes,
    /// Where it came from.
    pub source: Arc<Source>,
    /// Time of receipt.
    pub received_ms: i64,
}

impl Event {
    /// Public id, `evt_…`.
    pub fn id(&self) -> String {
        id::event_id(self.sequence, self.received_ms)
    }
}

/// How an event came in. Interned in the journal, so it should take few distinct values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The surface: `inbox`, `api`, `replay`, `system`, `demo`, …
    pub via: String,
    /// Id of the key that was presented, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Address of the client, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
}
