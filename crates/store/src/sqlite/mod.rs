//! The embedded store: SQLite files in one directory.
//!
//! ```text
//! lock                 who serves the directory (a process id; the lock itself is the operating system's)
//! master.key           seals the secrets of the catalog; keep it apart from backups of the rest, or not, but keep it
//! catalog.db           configuration, suppressed addresses
//! bins.db              requests that bins caught
//! journal/00000001.db  events, deliveries and attempts: one segment per day or 256 MiB, dropped whole by retention;
//!                      00000001.cold.db once its payloads are compressed
//! ```
//!
//! Invariants:
//! 1. One thread writes the journal, in transactions that are flushed (WAL, `synchronous=FULL`) before anyone is answered.
//! 2. Readers never wait for the writer nor it for them; checkpoints run beside both.
//! 3. Whatever is in memory is derived: counts of pending work and the list of segments are found again at each start.
//! 4. A row, once written, is found by its key: nothing but a whole segment is ever deleted.
//!
//! Connections and threads are this module's own; the async methods only pass messages, so that a runtime is never blocked.

mod about;
mod apply;
mod backup;
pub(crate) mod beside;
mod bins;
mod catalog;
mod checkpoint;
pub(crate) mod chunks;
mod cold;
mod command;
mod compress;
mod effort;
pub(crate) mod export;
pub(crate) mod import;
mod lists;
mod lock;
mod marks;
mod members;
mod pages;
mod people;
#[cfg(test)]
mod plans;
mod readers;
mod retire;
mod rows;
mod schema;
mod segments;
mod store;
mod summary;
mod suppressions;
mod tally;
mod upgrade;
mod wait;
mod walk;
mod words;
mod writer;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use backup::{BackupError, BackupProgress, backup};
pub(crate) use schema::file_error;
pub use store::SqliteStore;

use crate::{StoreError, needle, span, varint};

/// Told after each group commit; feeds metrics. Called on the writer thread, so it must be quick.
pub trait CommitObserver: Send + Sync {
    /// `commands` appends, settlements and reopenings were answered after writing `rows` rows in `duration`.
    fn committed(&self, commands: usize, rows: usize, duration: Duration);

    /// A journal segment that is being compressed came so far. Called on the compressing thread.
    fn compressing(&self, _segment: u32, _step: CompressStep) {}
}

/// How far the compression of a journal segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressStep {
    /// The new file is complete, under a name of no meaning.
    Written,
    /// It was compared with the old one and flushed.
    Verified,
    /// It has its name; the old file still counts.
    Renamed,
    /// It counts; the old file may still be there.
    Replaced,
    /// All is done.
    Done {
        /// Bytes of the old file.
        before: u64,
        /// Bytes of the new one.
        after: u64,
    },
    /// The old file stays, at least for now.
    GivenUp,
}

/// How to open a store.
#[derive(Clone)]
pub struct SqliteOptions {
    /// A journal segment of this many bytes is sealed. Default 256 MiB.
    pub segment_bytes: u64,
    /// A journal segment whose first event is this old is sealed by the next `retire`. Default 1 day.
    pub segment_age: Duration,
    /// Rows that one piece of a list may look at, about; see [`crate::Piece`]. Default 20,000, which takes some ten milliseconds.
    pub piece_effort: u32,
    /// A sealed journal segment without pending deliveries, whose last event is this old, is compressed after the next `retire`. Default:
    /// `None`, never.
    pub compress_after: Option<Duration>,
    /// Told after each group commit.
    pub observer: Option<Arc<dyn CommitObserver>>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            segment_age: Duration::from_secs(24 * 60 * 60),
            piece_effort: 20_000,
            compress_after: None,
            observer: None,
        }
    }
}

/// Creates a directory, and those above it, durably and for its owner alone; one that exists is left as it is.
fn create_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(above)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(schema::file_error)?;
    sync_dir(above)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(schema::file_error)
}

/// A count for SQL's `LIMIT`.
fn sql_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
