//! What a node shares with the others of its cluster: sequences, work, the catalog, and the news of all that.
//!
//! An engine that is alone on its store has none of this.
//!
//! Words: a *node* is one opening of the store. Its *stream* is what it appends. A *claim* is the right to settle one part of a stream; a claim
//! whose holder is gone is *orphaned*, and others take it over. A target has an *owner* if one node alone may send to it: the holder of
//! the target's part of the stream that all nodes share.
//!
//! Invariants every implementation keeps:
//! 1. Only the database's clock decides who is gone. Who is gone can neither append nor settle any more, nor come back.
//! 2. All sequences of a claim that was taken over lie below those that are leased afterwards.
//! 3. What an owner was told of stays to be told to the next one until it is settled.
//! 4. An event for a batch with an owner is in one batch: it waits to be joined until the commit that puts it there.

use std::time::Duration;

use async_trait::async_trait;
use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::people::audit::Entry;
use tokio::sync::watch;

use crate::{BatchPart, CatalogError, Change, Join, Record, StoreError};

/// What a heartbeat hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Nodes that live, this one included.
    pub nodes: u32,
    /// Claims whose holder is gone.
    pub orphans: usize,
    /// Version of the catalog.
    pub catalog: i64,
    /// The last sequence that was leased to anybody.
    pub leased: i64,
    /// The database's clock, in milliseconds since the epoch.
    pub now_ms: i64,
    /// Whether somebody asked this node for something.
    pub has_calls: bool,
    /// Whether another node gave this one a claim that it does not know of yet: [`Cluster::adopt`] tells.
    pub has_gifts: bool,
    /// Whether this node owns more of the targets than its share.
    pub has_surplus: bool,
}

/// Deliveries of one target that were taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// The target.
    pub target: i64,
    /// How many are queued.
    pub queued: u64,
    /// How many are scheduled.
    pub scheduled: u64,
    /// No queued one has a smaller key.
    pub lowest: DeliveryKey,
}

/// Deliveries of one target for its owner, on disk since a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The target.
    pub target: i64,
    /// How many; 0: some may be scheduled.
    pub count: u64,
    /// The smallest key.
    pub first: DeliveryKey,
    /// The largest key.
    pub last: DeliveryKey,
}

/// Events for batches, as the owner of their target finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// To take them by.
    pub id: i64,
    /// The events.
    pub join: Join,
}

/// A batch that an owner opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its delivery: one of the [`Join`] that opens it.
    pub key: DeliveryKey,
    /// Owning workspace.
    pub workspace: i64,
    /// The subscription.
    pub subscription: i64,
    /// Its target.
    pub target: i64,
    /// When it closes if nothing else comes.
    pub due_ms: i64,
    /// When its first event was received.
    pub received_ms: i64,
}

/// What an owner does with events for batches. Atomic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Which it takes.
    pub ids: Vec<i64>,
    /// Batches that it opens.
    pub opened: Vec<Opened>,
    /// What batches gain, by target.
    pub parts: Vec<(i64, BatchPart)>,
}

/// What changed of the catalog.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CatalogNews {
    /// The version with these changes.
    pub version: i64,
    /// Records in their newest state, in the order in which they changed.
    pub records: Vec<Record>,
    /// Whether any session began or ended.
    pub sessions: bool,
}

/// How often somebody may do something, over all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisitRule {
    /// So often ...
    pub limit: u32,
    /// ... in this many milliseconds, which roll.
    pub per_ms: i64,
    /// Who does it more often is refused for so long.
    pub block_ms: i64,
}

/// What a node asks the one that holds a delivery for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Send finished deliveries again.
    Reopen,
    /// Cancel pending ones.
    Cancel,
}

/// Something that another node asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// To answer by.
    pub id: i64,
    /// What.
    pub kind: CallKind,
    /// Of which deliveries.
    pub keys: Vec<DeliveryKey>,
    /// Their target, where the caller knows it; otherwise 0.
    pub target: i64,
    /// The caller's time.
    pub at_ms: i64,
}

/// A node as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its number; never given twice.
    pub node: i64,
    /// What it is called.
    pub name: String,
    /// Its release.
    pub release: String,
    /// When it began, in milliseconds since the epoch.
    pub started_ms: i64,
    /// How long ago it was heard of, in milliseconds.
    pub silent_ms: i64,
    /// Whether it is gone: it closed, or its silence was too long.
    pub is_gone: bool,
    /// Whether it is the one that answers this.
    pub is_own: bool,
    /// Claims that it holds, of its own stream, of streams that it took over, and as an owner of targets.
    pub claims: [u32; 3],
    /// Version of the catalog that it works with.
    pub catalog: i64,
    /// What it says of itself, as JSON.
    pub report: String,
}

/// Rings when there may be something to do. What it is has to be looked up; a ring may be lost, so a heartbeat looks as well.
#[derive(Clone, Debug)]
pub struct Bells {
    /// There may be deliveries for this node as an owner.
    pub arrivals: watch::Receiver<u64>,
    /// The catalog changed, a node left, or somebody asks for something.
    pub news: watch::Receiver<u64>,
}

/// The right to change the catalog: one node at a time has it. Dropped, nothing was changed.
#[async_trait]
pub trait Pen: Send {
    /// What changed since the version that this node knew.
    fn news(&mut self) -> CatalogNews;

    /// See [`crate::Catalog::write`]; answers the new version as well.
    async fn write(self: Box<Self>, changes: Vec<Change>, entries: Vec<Entry>) -> Result<(i64, Vec<Record>), CatalogError>;

    /// Gives the right back unused.
    async fn put_back(self: Box<Self>);
}

/// The others, and what is shared with them.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Takes `count` sequences that no other node gets; answers the first. They lie above all that anybody took before.
    async fn lease(&self, count: u32) -> Result<Sequence, StoreError>;

    /// Says that this node lives, works with this version of the catalog, and `report`, which is JSON for people. To be called every second.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when others took it for gone: it has to begin anew.
    async fn beat(&self, catalog: i64, report: &str) -> Result<Beat, StoreError>;

    /// What was heard first, when this node recovered.
    fn met(&self) -> Option<Beat>;

    /// How long a node's silence is forgiven.
    fn lapse(&self) -> Duration;

    /// What rings.
    fn bells(&self) -> Bells;

    /// Answers with success once every append that this node began before is stored or undone, also those whose answer did not come.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while one is still under way: to be asked again.
    async fn decided(&self) -> Result<(), StoreError>;

    /// Whether this node is the owner of what has this number.
    fn owns(&self, number: i64) -> bool;

    /// Gives a part of what this node owns to one that owns less: one of which nothing is left to be sent. None of these `targets` that has
    /// deliveries for owners is of it, and none of these `others`; what queued deliveries it has is known here. Answers whether there was one.
    async fn give(&self, targets: Vec<i64>, others: Vec<i64>) -> Result<bool, StoreError>;

    /// Takes over at most `limit` orphaned claims, and what others gave.
    async fn adopt(&self, limit: usize) -> Result<Vec<Inherited>, StoreError>;

    /// Deliveries for this node as an owner that it was not told of yet. The bell rings when there are some; a heartbeat rings it, too.
    async fn arrivals(&self) -> Result<Vec<Arrived>, StoreError>;

    /// Whether [`Cluster::arrivals`] has something to do though the bell is silent: to let go of what was settled, or to find out what is in doubt.
    fn is_unsettled(&self) -> bool;

    /// Events for batches of targets that this node owns: some, those that were stored first before others.
    async fn joining(&self) -> Result<Vec<Joining>, StoreError>;

    /// Puts events into batches.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when this node does not own all of them any more, or another call took them.
    async fn join(&self, joined: Joined) -> Result<(), StoreError>;

    /// Batches that an owner opened, by target and delivery, as their lanes have them. What is not scheduled any more is left out.
    async fn gathered(&self, batches: Vec<(i64, DeliveryKey)>) -> Result<Vec<PendingDelivery>, StoreError>;

    /// What changed of the catalog since a version, in the order of versions.
    async fn news(&self, known: i64) -> Result<CatalogNews, StoreError>;

    /// Takes the right to change the catalog; waits while another node has it.
    async fn pen(&self, known: i64) -> Result<Box<dyn Pen>, StoreError>;

    /// Says that this node works with a version of the catalog.
    async fn seen(&self, version: i64) -> Result<(), StoreError>;

    /// Waits until every other node that lives works with the version that the catalog has now, or a later one.
    async fn confirmed(&self) -> Result<(), StoreError>;

    /// Has the nodes that hold these deliveries do something; answers the keys of those for which it was done. Deliveries that this node holds,
    /// or nobody, are left out.
    async fn call(&self, kind: CallKind, keys: Vec<DeliveryKey>, target: i64, at_ms: i64) -> Result<Vec<DeliveryKey>, StoreError>;

    /// What others ask this node for; each is answered here once.
    async fn calls(&self) -> Result<Vec<Call>, StoreError>;

    /// Answers a call: for these deliveries it was done.
    async fn answer(&self, call: i64, keys: Vec<DeliveryKey>) -> Result<(), StoreError>;

    /// Counts a visit of `visitor` to `place`, whichever node it comes to; answers for how many milliseconds more it is refused, 0 if it is not.
    async fn visit(&self, place: i64, visitor: &str, rule: VisitRule) -> Result<i64, StoreError>;

    /// All nodes that are not forgotten.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, StoreError>;
}
