//! The shared store: one Postgres for any number of nodes.
//!
//! Every opening of the store is a node with a stream of its own ([`nodes`]): what it appends is of that stream, and it alone settles it,
//! until it is gone and others take over. Events and deliveries lie in buckets, which are ranges of sequences with tables of their own
//! ([`buckets`], [`schema`]).
//!
//! Invariants:
//! 1. One task writes the journal, in transactions of one round trip that are flushed (`synchronous_commit`) before anyone is answered.
//! 2. Whoever lost a stream or a part of one can neither append nor settle there: both lock the row that says whose it is.
//! 3. Nothing is found by looking through what is settled: a lane is a range of the primary key behind the first key that may be queued.
//! 4. Only the database's clock decides who is gone.
//! 5. A call while the database is away fails at once; connections come back by themselves ([`link`]).
//! 6. No state of a session is used but prepared statements: a pool in transaction mode may stand between if it knows them (PgBouncer from
//!    1.21 on, with `max_prepared_statements` above zero). Older ones are not supported.
//!
//! Sequences: several nodes take them in blocks ([`crate::Cluster::lease`]). A node that is alone may count on from
//! [`crate::Journal::recover`]. After [`crate::StoreError::Unavailable`] an append may be stored or not: its sequences are not used again.

mod amend;
mod append;
mod arrivals;
mod bins;
mod buckets;
mod calls;
mod catalog;
mod cluster;
mod command;
mod copy;
mod deliveries;
mod error;
pub(crate) mod export;
mod group;
pub(crate) mod import;
mod joining;
mod link;
mod listen;
mod lists;
mod lows;
pub(crate) mod moving;
mod nodes;
mod pages;
mod pending;
mod people;
mod retire;
mod rows;
mod schema;
mod settle;
mod shared;
mod store;
mod suppressions;
mod tls;
mod visits;
mod words;
mod writer;

use std::time::Duration;

pub use nodes::{Held, Identity};
pub use store::PostgresStore;

use crate::secrets::MasterKeys;

/// How to open a store.
#[derive(Clone)]
pub struct PostgresOptions {
    /// What this node is called, for people.
    pub name: String,
    /// Seals the secrets of the catalog; the same on all nodes.
    pub master_keys: MasterKeys,
    /// Authorities that may vouch for the database, in PEM. Default: those of the system. Where TLS is used (`sslmode` in the URL), the
    /// certificate is always verified.
    pub authorities: Option<Vec<u8>>,
    /// A node whose last heartbeat is older is gone. Default 3.5 s: with a beat a second its work goes on within five.
    pub lapse: Duration,
    /// A bucket of this many bytes is followed by the next at the next `retire`. Default 4 GiB.
    pub bucket_bytes: u64,
    /// The same for one whose first event is this old. Default 1 day.
    pub bucket_age: Duration,
    /// Rows that one piece of a list may look at, about; see [`crate::Piece`]. Default 20,000.
    pub piece_effort: u32,
    /// Connections for lists; six more are used beside them, and one while a takeover is counted. Default 2, at least 1.
    pub list_connections: usize,
    /// How long connecting may take. Default 1 s.
    pub connect_timeout: Duration,
    /// How long an answer may take before the connection is given up. Default 10 s.
    pub answer_timeout: Duration,
}

impl PostgresOptions {
    /// The defaults.
    pub fn new(name: impl Into<String>, master_keys: MasterKeys) -> Self {
        Self {
            name: name.into(),
            master_keys,
            authorities: None,
            lapse: Duration::from_millis(3_500),
            bucket_bytes: 4 << 30,
            bucket_age: Duration::from_secs(24 * 60 * 60),
            piece_effort: 20_000,
            list_connections: 2,
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(10),
        }
    }
}
