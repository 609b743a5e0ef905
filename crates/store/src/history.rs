//! History: what people look at. Range scans by key, never full scans, never on the delivery path.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Bytes of documents in one piece of a list that nobody set a limit for.
const PIECE_BYTES: usize = 8 << 20;

/// Direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Newest first.
    #[default]
    Desc,
    /// Oldest first.
    Asc,
}

/// Which part of a list. `after` is the last key of the page before, exclusive in the direction of `order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Direction.
    pub order: Order,
    /// Last key of the page before: a sequence or a delivery key; `None` at the start.
    pub after: Option<i64>,
    /// At most so many items.
    pub limit: usize,
    /// Received at or after this.
    pub from_ms: Option<i64>,
    /// Received before this.
    pub to_ms: Option<i64>,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only this type; `Some(None)` are the unmatched ones.
    pub type_name: Option<Option<String>>,
    /// Only these types.
    pub type_names: Option<Vec<String>>,
    /// Only those whose document has this text in it, as it was sent. Small and capital letters of ASCII are the same.
    pub text: Option<String>,
}

impl EventFilter {
    /// Events of one type.
    pub fn of_type(name: impl Into<String>) -> Self {
        Self { type_name: Some(Some(name.into())), ..Self::default() }
    }
}

/// Which deliveries. All that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only these targets (numbers).
    pub targets: Option<Vec<i64>>,
    /// Only these states.
    pub states: Option<Vec<DeliveryState>>,
    /// Only of events of this type.
    pub type_name: Option<String>,
}

/// A piece of a list: what was found with a bounded effort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<T> {
    /// What was found, in the order of the list; perhaps nothing.
    pub items: Vec<T>,
    /// The last key that was looked at: `Range::after` of the next piece. `None` when the end of the list was reached.
    pub rest: Option<i64>,
}

/// Size of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreSize {
    /// Buckets.
    pub buckets: usize,
    /// Bytes on disk.
    pub bytes: u64,
    /// Buckets whose payloads are compressed.
    pub compressed: usize,
    /// Bytes on disk of those.
    pub compressed_bytes: u64,
    /// Bytes that they took before.
    pub plain_bytes: u64,
}

/// Read model for lists, logs and the console.
#[async_trait]
pub trait History: Send + Sync {
    /// One event of a workspace.
    async fn event(&self, workspace: i64, sequence: Sequence) -> Result<Option<Arc<Event>>, StoreError>;

    /// Some events of a workspace: at most `range.limit` with at most `bytes` of documents (but one, however large), and fewer when finding them takes
    /// long. Outgoing messages, which are the server's own documents, are only among them if their type is asked for.
    async fn events_piece(&self, workspace: i64, filter: EventFilter, range: Range, bytes: usize) -> Result<Piece<Arc<Event>>, StoreError>;

    /// The same, however long it takes: fewer than `range.limit` only at the end of the list. Other reads come between its pieces.
    async fn events(&self, workspace: i64, filter: EventFilter, mut range: Range) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut events = Vec::new();
        while range.limit > 0 {
            let piece = self.events_piece(workspace, filter.clone(), range, PIECE_BYTES).await?;
            range.limit -= piece.items.len();
            events.extend(piece.items);
            let Some(rest) = piece.rest else { break };
            range.after = Some(rest);
        }
        Ok(events)
    }

    /// Events about a subject, in one workspace or in all. Only events that were appended with it are found.
    async fn about(&self, workspace: Option<i64>, subject: &str, range: Range) -> Result<Vec<Arc<Event>>, StoreError>;

    /// How many events of a type a workspace has.
    async fn count(&self, workspace: i64, type_name: &str) -> Result<u64, StoreError>;

    /// One delivery of a workspace.
    async fn delivery(&self, workspace: i64, key: DeliveryKey) -> Result<Option<Delivery>, StoreError>;

    /// Some deliveries of a workspace, by key: at most `range.limit`, and fewer when finding them takes long.
    async fn deliveries_piece(&self, workspace: i64, filter: DeliveryFilter, range: Range) -> Result<Piece<Delivery>, StoreError>;

    /// The same, however long it takes: fewer than `range.limit` only at the end of the list. Other reads come between its pieces.
    async fn deliveries(&self, workspace: i64, filter: DeliveryFilter, mut range: Range) -> Result<Vec<Delivery>, StoreError> {
        let mut deliveries = Vec::new();
        while range.limit > 0 {
            let piece = self.deliveries_piece(workspace, filter.clone(), range).await?;
            range.limit -= piece.items.len();
            deliveries.extend(piece.items);
            let Some(rest) = piece.rest else { break };
            range.after = Some(rest);
        }
        Ok(deliveries)
    }

    /// Deliveries of each of these events (batches that it joined included), ascending.
    async fn deliveries_of_each(&self, workspace: i64, events: Vec<Sequence>) -> Result<Vec<Vec<Delivery>>, StoreError>;

    /// Deliveries of one event.
    async fn deliveries_of(&self, workspace: i64, sequence: Sequence) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.deliveries_of_each(workspace, vec![sequence]).await?.pop().unwrap_or_default())
    }

    /// Attempts of a delivery, ascending.
    async fn attempts(&self, key: DeliveryKey) -> Result<Vec<Attempt>, StoreError>;

    /// The last attempt of each of these deliveries.
    async fn last_attempts(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<Attempt>>, StoreError>;

    /// Size on disk, from bookkeeping (no query).
    async fn size(&self) -> Result<StoreSize, StoreError>;
}

/// A request that a bin caught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinRequest {
    /// Ascending within the bin, from 1; given by the store on `put`.
    pub number: i64,
    /// When.
    pub at_ms: i64,
    /// Method.
    pub method: String,
    /// Path below the bin and query.
    pub target: String,
    /// Headers as sent.
    pub headers: Vec<(String, String)>,
    /// Body, capped by the surface.
    pub body: Bytes,
    /// Address of the sender.
    pub ip: Option<String>,
}

/// How much a bin holds. The newest request is always kept, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinRoom {
    /// Requests.
    pub requests: usize,
    /// Bytes of their bodies, headers and targets.
    pub bytes: u64,
    /// What a bin without room does.
    pub when_full: WhenFull,
}

/// What a bin without room does with one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It drops its oldest ones.
    DropOldest,
    /// It refuses the new one if it holds as many requests as it may; bytes do not count.
    Refuse,
}

/// Requests caught by bins.
#[async_trait]
pub trait Bins: Send + Sync {
    /// Keeps a request within `room`; answers its number, or `None` if the bin is full and refuses.
    async fn put(&self, bin: i64, request: BinRequest, room: BinRoom) -> Result<Option<i64>, StoreError>;

    /// Requests newest first with numbers below `before`.
    async fn list(&self, bin: i64, before: Option<i64>, limit: usize) -> Result<Vec<BinRequest>, StoreError>;

    /// Drops all requests of a bin.
    async fn clear(&self, bin: i64) -> Result<(), StoreError>;
}
