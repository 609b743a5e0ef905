//! Copies the WAL into the database files beside the writer, so that commits never wait for it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::schema::{self, Access, file_error};
use super::segments::{Segment, beside};
use crate::StoreError;

/// Bytes of a WAL before anything is in it: what is written between two checkpoints.
const ROOM: u64 = Checkpointer::STEP;

/// Gives a segment that is written to a WAL of [`ROOM`] bytes from the beginning. A flush of what lies within a file is much cheaper than one that
/// also makes it longer: the file system has nothing of its own to write.
///
/// SQLite takes zeros behind the last frame for what they are, the end. Only the thread that writes frames may call this.
pub(super) fn make_room(segment: &Segment) {
    let path = beside(&segment.path, "-wal");
    if let Err(error) = fill(&path) {
        // On a full disk, say: the WAL then grows as it is needed.
        tracing::debug!(%error, file = %path.display(), "could not make room in a WAL");
    }
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    if length >= ROOM {
        return Ok(());
    }
    // In small pieces: the kernel keeps what is written in large ones as large pages, and looks through a whole one at each flush.
    let zeros = [0; schema::PAGE_BYTES as usize];
    let filled = (|| {
        let mut left = ROOM - length;
        while left > 0 {
            let count = left.min(schema::PAGE_BYTES);
            file.write_all(&zeros[..count as usize])?;
            left -= count;
        }
        file.sync_all()
    })();
    if filled.is_err() {
        file.set_len(length)?;
    }
    filled
}

/// The writer's handle to the checkpoint thread.
pub(super) struct Checkpointer {
    requests: Option<SyncSender<Arc<Segment>>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// How many bytes the WAL grows between checkpoints.
    pub(super) const STEP: u64 = 16 << 20;

    /// Starts the thread.
    pub(super) fn start() -> Result<Self, StoreError> {
        let (requests, queue) = sync_channel(4);
        let thread = std::thread::Builder::new().name("posthaste-checkpoint".into()).spawn(|| run(queue)).map_err(file_error)?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Asks for a checkpoint; `false` when the thread is busy.
    pub(super) fn ask(&self, segment: &Arc<Segment>) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(segment.clone()).is_ok())
    }

    /// Waits for the running checkpoint and ends the thread.
    pub(super) fn stop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn run(queue: Receiver<Arc<Segment>>) {
    for segment in queue {
        if segment.is_doomed() {
            continue;
        }
        // The connection is not kept: it would keep the files of a segment that is dropped later.
        let done = schema::connect(&segment.path, Access::Write)
            .and_then(|conn| conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(segment.failed()));
        if let Err(error) = done {
            tracing::warn!(%error, segment = segment.id, "checkpoint failed");
        }
    }
}
