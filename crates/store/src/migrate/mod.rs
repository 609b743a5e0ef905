//! Moving an installation from one store to another: up from a data directory to a database, and back down.
//!
//! All that a store holds is moved with its numbers, keys and bytes: resources with their secrets as they are sealed, the audit log, sessions,
//! suppressed addresses, bins, events with their deliveries in all states, attempts, batches and subjects, idempotency keys.
//!
//! Invariants:
//! 1. Nobody serves either end meanwhile, nor the source afterwards: both have a mark ([`marker`]), which a server refuses. The source's last
//!    mark is there before the destination's goes. Before the source has its mark, a part may be moved beside a server that runs on it
//!    ([`beside`]).
//! 2. Rows are stored with the position behind them, in one transaction. A move that ended in any way goes on behind what is durable.
//! 3. What was read of the source stays true, because nobody may change it. What was read beside a server is looked at again.

mod beside;
mod down;
pub(crate) mod marker;
pub(crate) mod rows;
mod up;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub use beside::Server;
pub use down::{count_database, down};
pub use marker::{MoveState, Moving};
pub use up::{Owned, count_directory, up};

use crate::StoreError;
use rows::{Limits, Phase, Position};

/// Steps that are read ahead of those that are stored.
const AHEAD: usize = 2;

/// Why nothing, or not all, was moved.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is nothing to move.
    #[error("{0} is not a data directory: it has no catalog.db")]
    NoDirectory(String),
    /// There is nothing to move.
    #[error("{0} has no store: Posthaste never used it")]
    NoDatabase(String),
    /// The address of the database is none.
    #[error("the address of the database cannot be used: {0}")]
    Url(String),
    /// The database does not answer, or does not let anybody in.
    #[error("{place} cannot be opened")]
    Unreachable {
        /// The database.
        place: String,
        /// What it said.
        source: StoreError,
    },
    /// Nodes serve the source, or the destination.
    #[error("{place} is in use by {}", .nodes.join(", "))]
    Living {
        /// The database.
        place: String,
        /// The nodes' names, numbers, and when they were heard of.
        nodes: Vec<String>,
    },
    /// The destination holds something already.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// The two ends do not belong to the same move.
    #[error("{place} is marked for another move: {mark}")]
    Foreign {
        /// The end with the mark.
        place: String,
        /// What it says.
        mark: String,
    },
    /// The source was used after the move had begun.
    #[error("{from} may have changed since the move to {to} began: its mark is gone")]
    Restarted {
        /// The source.
        from: String,
        /// The destination.
        to: String,
    },
    /// All of it was moved before.
    #[error("{from} was moved to {to} already")]
    Done {
        /// The source.
        from: String,
        /// Where it is now.
        to: String,
    },
    /// The master key for a new directory is missing, or is none.
    #[error("the master key cannot be used: {0}")]
    Key(String),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How to move.
#[derive(Clone, Debug)]
pub struct MigrateOptions {
    /// Authorities that may vouch for the database, in PEM. Default: those of the system.
    pub authorities: Option<Vec<u8>>,
    /// A node whose last heartbeat is older is gone. Default 5 s.
    pub lapse: Duration,
    /// Rows, and events, of one transaction. Default 4,096.
    pub rows: usize,
    /// Bytes of documents of one transaction, unless one alone has more. Default 8 MiB.
    pub bytes: usize,
    /// A bucket of a database is followed by the next when it would have more bytes. Default 4 GiB.
    pub bucket_bytes: u64,
    /// A segment of a directory is followed by the next when it has so many bytes. Default 256 MiB.
    pub segment_bytes: u64,
    /// Both are followed by the next when they are this old. Default 1 day.
    pub age: Duration,
    /// How long the database may take for an answer. Default 10 minutes: tables are made, and large transactions stored.
    pub answer_timeout: Duration,
    /// Ends the move with an error after so many transactions; for tests. Default: never.
    #[doc(hidden)]
    pub give_up_after: Option<u64>,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self {
            authorities: None,
            lapse: Duration::from_secs(5),
            rows: 4096,
            bytes: 8 << 20,
            bucket_bytes: 4 << 30,
            segment_bytes: 256 << 20,
            age: Duration::from_secs(24 * 60 * 60),
            answer_timeout: Duration::from_secs(600),
            give_up_after: None,
        }
    }
}

impl MigrateOptions {
    fn limits(&self) -> Limits {
        Limits { rows: self.rows.max(1), wide: self.rows.max(1).saturating_mul(8), bytes: self.bytes.max(1) }
    }

    fn age_ms(&self) -> i64 {
        i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Rows by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Resources, deleted ones included.
    pub resources: u64,
    /// Entries of the audit log.
    pub audit: u64,
    /// Sessions.
    pub sessions: u64,
    /// Suppressed addresses.
    pub suppressions: u64,
    /// Bins that ever caught anything.
    pub bins: u64,
    /// Requests that bins caught.
    pub requests: u64,
    /// Events.
    pub events: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Those of them that are queued or scheduled.
    pub pending: u64,
    /// Attempts.
    pub attempts: u64,
    /// Members of batches.
    pub members: u64,
    /// What events are about.
    pub subjects: u64,
    /// Idempotency keys.
    pub idempotency: u64,
    /// Deliveries that were moved while a server ran, and once more because they changed or are pending.
    pub changes: u64,
}

impl Counts {
    /// Rows of all kinds.
    pub fn rows(&self) -> u64 {
        self.units() + self.deliveries + self.attempts + self.members + self.subjects
    }

    /// About how many of the rows by which the progress is counted lie before a position. Sequences may have gaps.
    fn before(&self, at: &Position, (first, last): (i64, i64)) -> u64 {
        let phases = [
            (Phase::Resources, self.resources),
            (Phase::Audit, self.audit),
            (Phase::Sessions, self.sessions),
            (Phase::Suppressions, self.suppressions),
            (Phase::Bins, self.bins),
            (Phase::Requests, self.requests),
            (Phase::Events, self.events),
            (Phase::Idempotency, self.idempotency),
        ];
        let done: u64 = phases.iter().filter(|(phase, _)| *phase < at.phase).map(|(_, rows)| rows).sum();
        if at.phase != Phase::Events || last < first {
            return done;
        }
        let (behind, all) = ((at.cursor.a - first + 1).max(0), last - first + 1);
        done + (self.events as f64 * (behind as f64 / all as f64)).min(self.events as f64) as u64
    }

    /// Adds others.
    fn add(&mut self, more: &Self) {
        let Self {
            resources,
            audit,
            sessions,
            suppressions,
            bins,
            requests,
            events,
            deliveries,
            pending,
            attempts,
            members,
            subjects,
            idempotency,
            changes,
        } = more;
        self.resources += resources;
        self.audit += audit;
        self.sessions += sessions;
        self.suppressions += suppressions;
        self.bins += bins;
        self.requests += requests;
        self.events += events;
        self.deliveries += deliveries;
        self.pending += pending;
        self.attempts += attempts;
        self.members += members;
        self.subjects += subjects;
        self.idempotency += idempotency;
        self.changes += changes;
    }

    /// Rows by which the progress is counted.
    fn units(&self) -> u64 {
        self.resources + self.audit + self.sessions + self.suppressions + self.bins + self.requests + self.events + self.idempotency
    }
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being moved.
    pub phase: &'static str,
    /// Of `total`: how much is there, what an earlier run had moved included, as far as that is known.
    pub done: u64,
    /// How much there is.
    pub total: u64,
    /// Rows of all kinds that this run has moved.
    pub rows: u64,
    /// The move waits for this server to end: little is left to do after it.
    pub waits_for: Option<Server>,
}

/// What a run of a move did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it moved.
    pub moved: Counts,
    /// Whether it went on with what an earlier run had begun.
    pub resumed: bool,
    /// Rows that it moved while a server ran on the source.
    pub ahead: u64,
    /// How long nobody could serve, from when that server was seen to have ended; `None` if there was none.
    pub stop: Option<Duration>,
}

/// Counts what is stored, and tells of it.
struct Meter<'a> {
    report: Report,
    total: u64,
    /// What earlier runs had moved.
    before: u64,
    told: &'a mut (dyn FnMut(Progress) + Send),
    give_up_after: Option<u64>,
    waits_for: Option<Server>,
}

impl<'a> Meter<'a> {
    /// Begins at a position of a source with so many rows, and sequences from one to another.
    fn new(
        counts: &Counts,
        sequences: (i64, i64),
        at: &Position,
        options: &MigrateOptions,
        told: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Self {
        let total = counts.units();
        let before = counts.before(at, sequences);
        let mut meter = Self { report: Report::default(), total, before, told, give_up_after: options.give_up_after, waits_for: None };
        meter.tell(at.phase);
        meter
    }

    /// A step is durable.
    fn stored(&mut self, step: &rows::Step) -> Result<(), MigrateError> {
        step.body.count(&mut self.report.moved);
        self.tell(step.next.phase);
        if let Some(left) = &mut self.give_up_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(StoreError::Closed.into());
            }
        }
        Ok(())
    }

    fn tell(&mut self, phase: Phase) {
        let done = (self.before + self.report.moved.units()).min(self.total);
        (self.told)(Progress { phase: phase.name(), done, total: self.total, rows: self.report.moved.rows(), waits_for: self.waits_for });
    }
}

/// One of the two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A data directory.
    Directory(PathBuf),
    /// The URL of a database.
    Database(String),
}

/// Text that is neither a directory nor the address of a Postgres.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{scheme}:// is neither a directory nor a Postgres: the address of one begins with postgres://")]
pub struct PlaceError {
    /// What the address begins with.
    scheme: String,
}

impl std::str::FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Self::Database(text.to_owned())),
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => Err(PlaceError { scheme: scheme.to_owned() }),
            _ => Ok(Self::Directory(text.into())),
        }
    }
}

/// How a directory is named to people, wherever they are.
fn path_name(dir: &Path) -> String {
    std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string()
}

/// Runs work that waits for files.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, MigrateError> + Send + 'static) -> Result<T, MigrateError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| Err(StoreError::Engine(panicked.into()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let place = |text: &str| text.parse::<Place>();
        assert_eq!(place("postgres://db/x"), Ok(Place::Database("postgres://db/x".into())));
        assert_eq!(place("postgresql://db/x"), Ok(Place::Database("postgresql://db/x".into())));
        assert_eq!(place("./data"), Ok(Place::Directory("./data".into())));
        assert_eq!(place("/mnt/a://b"), Ok(Place::Directory("/mnt/a://b".into())));
        let error = place("mysql://db/x").expect_err("another kind").to_string();
        assert_eq!(error, "mysql:// is neither a directory nor a Postgres: the address of one begins with postgres://");
    }
}
