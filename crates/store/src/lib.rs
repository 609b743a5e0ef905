//! Storage: the three faces and their implementations.
//!
//! - [`Catalog`]: configuration documents. Few, small, loaded whole.
//! - [`Journal`]: the hot path. Append, settle, page in. Keys are ordered by time: the order on disk is the schedule.
//! - [`History`]: range scans for people. Never read on the delivery path.
//!
//! Where several machines share a store, [`Cluster`] is what they share besides. Beside them, [`Bins`] keeps caught requests and [`Suppressions`] the addresses that nothing more is sent to.
//!
//! Invariants every implementation keeps (the contract suite proves them):
//! 1. When `append` or `settle` returned `Ok`, its data survives `kill -9` and power loss.
//! 2. One `append` is atomic: all of it or nothing.
//! 3. A delivery is found by `pending` or `due` until it is settled into a terminal state.
//! 4. Payload bytes come back exactly.

pub mod catalog;
pub mod cluster;
#[cfg(feature = "contract")]
pub mod contract;
mod gathering;
pub mod history;
pub mod journal;
pub mod master;
pub mod migrate;
mod needle;
mod page;
pub mod postgres;
pub mod secrets;
mod span;
pub mod sqlite;
mod subject;
pub mod suppressions;
mod tell;
mod varint;

pub use catalog::{AuditFilter, AuditRecord, Catalog, CatalogError, Change, Record};
pub use cluster::{
    Arrived, Beat, Bells, Call, CallKind, CatalogNews, Cluster, Inherited, Joined, Joining, NodeInfo, Opened, Pen, VisitRule,
};
pub use history::{BinRequest, BinRoom, Bins, DeliveryFilter, EventFilter, History, Order, Piece, Range, StoreSize, WhenFull};
pub use journal::{
    Append, BatchPart, IdempotencyRecord, Join, Joiner, Journal, LaneSummary, NewDelivery, NewEvent, PageLimit, Recovered, RetentionRule,
    Retired, Settlement,
};
pub use suppressions::{Suppression, SuppressionReason, Suppressions};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process serves this data directory.
    #[error("the data directory {path} is in use by another Posthaste process{}", pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: String,
        /// The owner, when it could be read.
        pid: Option<u32>,
    },
    /// No space is left, or the file system refuses writes. Nothing was changed.
    #[error("the disk is full or not writable")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store was written by a newer release.
    #[error("a newer release wrote it, with format {found}; this release reads up to {known}")]
    TooNew {
        /// Format on disk.
        found: i64,
        /// Newest format this release knows.
        known: i64,
    },
    /// A secret cannot be decrypted with the master keys at hand.
    #[error("a secret in the catalog cannot be decrypted: the master key does not fit")]
    MasterKey,
    /// A file of the data directory is missing or damaged, or is a master key that anybody may read. It was left as it is.
    #[error("{file} cannot be used: {source}")]
    File {
        /// Its path.
        file: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database cannot be reached, or did not answer in time. What was being written may be stored or not; reaching for it goes on
    /// in the background.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another node took over what this was about: this one may not change it any more.
    #[error("another node took this over")]
    Fenced,
    /// An idempotency key of the append was used by another node since it was looked up: look again.
    #[error("an idempotency key was used by another node in the same moment")]
    Repeated,
    /// The store is being moved elsewhere, or was, or is not complete yet. Nobody may serve it.
    #[error(transparent)]
    Moving(#[from] migrate::Moving),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
    /// Anything else the engine below reported.
    #[error("storage failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}
