//! The journal: events and their deliveries on the hot path.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, DeliveryState, PendingDelivery};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::policy::Batch;

use crate::StoreError;

/// Everything that one group commit adds. Atomic.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// New events, ascending by sequence, all greater than any sequence appended before.
    pub events: Vec<NewEvent>,
    /// What open batches gained in this group.
    pub batches: Vec<BatchPart>,
    /// Idempotency keys of the requests in this group.
    pub idempotency: Vec<IdempotencyRecord>,
    /// Events of this group for batches that the owners of their targets put together. A store of one node alone refuses them.
    pub joins: Vec<Join>,
}

/// Events of one group for the batches of one subscription, whose target has an owner; see [`crate::cluster`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Owning workspace of all of this.
    pub workspace: i64,
    /// The subscription.
    pub subscription: i64,
    /// Its target.
    pub target: i64,
    /// When a batch closes.
    pub limits: Batch,
    /// Whether batches have to be sent in the order in which they were opened.
    pub is_ordered: bool,
    /// When the events were received.
    pub at_ms: i64,
    /// The events, ascending.
    pub members: Vec<Joiner>,
}

/// An event on its way into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joiner {
    /// The event.
    pub sequence: Sequence,
    /// Ordinal of the batch's delivery, should this event open it.
    pub ordinal: u32,
    /// Bytes of its payload.
    pub bytes: u32,
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Position, given by the engine.
    pub sequence: Sequence,
    /// Owning workspace.
    pub workspace: i64,
    /// Type, if matched.
    pub type_name: Option<Arc<str>>,
    /// Time of receipt; never less than that of the event before.
    pub received_ms: i64,
    /// Where it came from.
    pub source: Arc<Source>,
    /// The document.
    pub payload: Bytes,
    /// What it is about ([`posthaste_domain::message::subjects`]): [`crate::History::about`] finds it by these.
    pub about: Vec<String>,
    /// Its deliveries (for a batching subscription, only of the event that opens a batch), ascending by ordinal.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to append with its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Ordinal among the event's deliveries.
    pub ordinal: u32,
    /// Subscription that asked for it.
    pub subscription: i64,
    /// Target it goes to.
    pub target: i64,
    /// `Some` makes it [`DeliveryState::Scheduled`], `None` [`DeliveryState::Queued`].
    pub due_ms: Option<i64>,
    /// Whether it is a batch (the event is its first member, and a [`BatchPart`] of the same append says so). One that is for an owner as well is only a
    /// place for a batch that this event may open there; [`Append::joins`] has the event too.
    pub is_batch: bool,
    /// Whether it is for the owner of the target, and not for the node that appends it; see [`crate::cluster`]. Where there is one node alone, it
    /// means nothing.
    pub for_owner: bool,
}

/// Members that one batch gained in one group commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPart {
    /// The batch's delivery.
    pub batch: DeliveryKey,
    /// Sequences of the new members, ascending; empty when the part only closes the batch.
    pub members: Vec<Sequence>,
    /// Set when the batch is full: pulls its due time to this.
    pub closed_due_ms: Option<i64>,
}

/// A remembered `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Workspace it belongs to.
    pub workspace: i64,
    /// The key as sent, at most 255 bytes.
    pub key: String,
    /// SHA-256 of the request body.
    pub body_hash: [u8; 32],
    /// First event of the request.
    pub first: Sequence,
    /// How many events the request had; they have consecutive sequences.
    pub count: u32,
    /// Time of the request; forgotten 24 h later.
    pub at_ms: i64,
}

/// The outcome of an attempt, or another change of a pending delivery.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Its target (saves the lookup).
    pub target: i64,
    /// The finished attempt, if there was one.
    pub attempt: Option<Attempt>,
    /// New state.
    pub state: DeliveryState,
    /// When it is due, for [`DeliveryState::Scheduled`]; otherwise 0.
    pub due_ms: i64,
    /// Now.
    pub at_ms: i64,
    /// Whether the next delivery waits for this to be on disk, as where order is kept. Other outcomes may wait for company.
    pub is_awaited: bool,
}

/// How much one page may hold; whichever is reached first, but always at least one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Items.
    pub items: usize,
    /// Payload bytes.
    pub bytes: usize,
}

/// Pending work of one target, as found at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSummary {
    /// The target.
    pub target: i64,
    /// Deliveries in [`DeliveryState::Queued`].
    pub queued: u64,
    /// Deliveries in [`DeliveryState::Scheduled`].
    pub scheduled: u64,
}

/// What a start finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Largest sequence ever appended; 0 when none.
    pub last_sequence: i64,
    /// Largest time of receipt ever appended; 0 when none.
    pub last_received_ms: i64,
    /// Targets with pending work.
    pub lanes: Vec<LaneSummary>,
}

/// How long and how much to keep. Whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Buckets whose newest event is older than this go.
    pub max_age_ms: i64,
    /// Oldest buckets go while all of them together are larger than this.
    pub max_bytes: u64,
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Whole buckets dropped.
    pub buckets: usize,
    /// Bytes given back to the file system.
    pub bytes: u64,
    /// Buckets that are past the rule but still hold pending deliveries.
    pub kept_for_pending: usize,
}

/// The hot path. All methods may be called at once from many tasks.
#[async_trait]
pub trait Journal: Send + Sync {
    /// What is there. Called once, before anything else.
    async fn recover(&self) -> Result<Recovered, StoreError>;

    /// Stores a group durably. Concurrent appends and settles share one flush.
    async fn append(&self, group: Append) -> Result<(), StoreError>;

    /// From how many requests in a group on those that are about to come are let go along with the next one: fewer where a group costs more. Fewer
    /// than that rather have their answer.
    fn crowd(&self) -> usize {
        16
    }

    /// How long a group may be waited for that is as large as the last one, when that took so long. Not at all where a small group costs little.
    fn company(&self, _took: Duration) -> Duration {
        Duration::ZERO
    }

    /// Stores outcomes durably. Settling a delivery that is already terminal, or whose bucket was dropped, is ignored (its attempt is
    /// still recorded when the bucket lives). After an error a part of them may be stored; settling all of them again does no harm.
    async fn settle(&self, outcomes: Arc<[Settlement]>) -> Result<(), StoreError>;

    /// Queued deliveries of a target with keys greater than `after`, ascending. What a damaged file holds is left out, here and in
    /// [`Journal::due`], so that nothing else waits for it; the log says so.
    async fn queued(&self, target: i64, after: DeliveryKey, limit: PageLimit) -> Result<Vec<PendingDelivery>, StoreError>;

    /// Scheduled deliveries of a target with `(due_ms, key) > after` and `due_ms <= until_ms`, ascending by `(due_ms, key)`.
    async fn due(
        &self,
        target: i64,
        after: (i64, DeliveryKey),
        until_ms: i64,
        limit: PageLimit,
    ) -> Result<Vec<PendingDelivery>, StoreError>;

    /// Members of a batch with sequences greater than `after`, ascending.
    async fn members(&self, batch: DeliveryKey, after: Sequence, limit: PageLimit) -> Result<Vec<Arc<Event>>, StoreError>;

    /// The record of an idempotency key, if it is not older than 24 h before `now_ms`.
    async fn idempotent(&self, workspace: i64, key: &str, now_ms: i64) -> Result<Option<IdempotencyRecord>, StoreError>;

    /// Puts terminal deliveries back to [`DeliveryState::Queued`] durably and answers those it changed; others are left alone. After a
    /// failure that came when some were changed already it answers those: ask again for the rest.
    async fn reopen(&self, keys: Vec<DeliveryKey>, at_ms: i64) -> Result<Vec<PendingDelivery>, StoreError>;

    /// Rolls to a new bucket where due and drops old ones whole. Buckets with pending deliveries stay.
    async fn retire(&self, rule: RetentionRule, now_ms: i64) -> Result<Retired, StoreError>;

    /// Flushes and closes. Later calls answer [`StoreError::Closed`].
    async fn close(&self);
}
