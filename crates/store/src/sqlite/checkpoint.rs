//! Copies the WAL into the database files beside the writer, and makes room for the WAL of the next segment, so that commits never wait for
//! either. The WAL of a sealed segment is emptied too: it would stay as large as it ever was, and nothing counts it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::schema::{self, Access, file_error};
use super::segments::{Segment, beside};
use crate::StoreError;

/// Bytes of a WAL before anything is in it: what is written until it begins anew, beside a busy writer.
const ROOM: u64 = 16 << 20;
/// Bytes of room that are flushed at once beside a busy writer, and the pause after them.
const GENTLE_PIECE: u64 = 512 << 10;
const GENTLE_PAUSE: Duration = Duration::from_millis(10);
/// A sealed segment's WAL may be this large, in bytes: outcomes still come in.
const SEALED_ROOM: u64 = 1 << 20;

/// Gives a segment that is written to a WAL of [`ROOM`] bytes from the beginning. A flush of what lies within a file is much cheaper than one that
/// also makes it longer: the file system has nothing of its own to write.
///
/// SQLite takes zeros behind the last frame for what they are, the end. Only the thread that writes frames may call this.
pub(super) fn make_room(segment: &Segment) {
    let path = beside(&segment.path, "-wal");
    if let Err(error) = fill(&path, Pace::Fast) {
        // On a full disk, say: the WAL then grows as it is needed.
        tracing::debug!(%error, file = %path.display(), "could not make room in a WAL");
    }
}

/// Gives a segment that was just made, and that nobody else has seen yet, the room that was made beside the writer. Without such room the writer
/// makes it itself, see [`make_room`].
pub(super) fn give_spare_room(segment: &Path) {
    let spare = spare_beside(segment);
    if spare.metadata().is_ok_and(|file| file.len() >= ROOM)
        && let Err(error) = std::fs::rename(&spare, beside(segment, "-wal"))
    {
        tracing::debug!(%error, file = %spare.display(), "could not use the room that was made");
    }
}

/// Where room for the next segment's WAL is made.
fn spare_beside(segment: &Path) -> PathBuf {
    segment.with_file_name("spare-room")
}

fn fill(path: &Path, pace: Pace) -> std::io::Result<()> {
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
            if pace == Pace::Gentle && left.is_multiple_of(GENTLE_PIECE) {
                file.sync_data()?;
                std::thread::sleep(GENTLE_PAUSE);
            }
        }
        file.sync_all()
    })();
    if filled.is_err() {
        file.set_len(length)?;
    }
    filled
}

/// How fast room is made.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    /// Somebody waits for it.
    Fast,
    /// The disk has commits to flush meanwhile.
    Gentle,
}

enum Task {
    /// Copy this segment's WAL.
    Checkpoint(Arc<Segment>),
    /// Copy this sealed segment's WAL and give its space back.
    Empty(Arc<Segment>),
    /// Make room for the segment after this one.
    MakeRoom(Arc<Segment>),
}

/// The writer's handle to the checkpoint thread.
pub(super) struct Checkpointer {
    requests: Option<SyncSender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// How many bytes the WAL grows between checkpoints. Whoever commits beside one waits for its flush: few bytes are flushed in few
    /// milliseconds.
    pub(super) const STEP: u64 = 8 << 20;

    /// Starts the thread.
    pub(super) fn start() -> Result<Self, StoreError> {
        let (requests, queue) = sync_channel(4);
        let thread = std::thread::Builder::new().name("posthaste-checkpoint".into()).spawn(|| run(queue)).map_err(file_error)?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Asks for a checkpoint; `false` when the thread is busy.
    pub(super) fn ask(&self, segment: &Arc<Segment>) -> bool {
        self.send(Task::Checkpoint(segment.clone()))
    }

    /// Asks for a checkpoint of a sealed segment that leaves no WAL, if there is much of one; `false` when the thread is busy.
    pub(super) fn ask_to_empty(&self, sealed: &Arc<Segment>) -> bool {
        let length = beside(&sealed.path, "-wal").metadata().map_or(0, |file| file.len());
        length <= SEALED_ROOM || self.send(Task::Empty(sealed.clone()))
    }

    /// Asks for room for the segment after this one; `false` when the thread is busy.
    pub(super) fn ask_for_room(&self, segment: &Arc<Segment>) -> bool {
        self.send(Task::MakeRoom(segment.clone()))
    }

    fn send(&self, task: Task) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(task).is_ok())
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

fn run(queue: Receiver<Task>) {
    for task in queue {
        match task {
            Task::Checkpoint(segment) | Task::Empty(segment) if segment.is_doomed() => {}
            Task::Checkpoint(segment) => checkpoint(&segment, Mode::Copy),
            Task::Empty(segment) => checkpoint(&segment, Mode::Empty),
            Task::MakeRoom(segment) => {
                if let Err(error) = fill(&spare_beside(&segment.path), Pace::Gentle) {
                    tracing::debug!(%error, "could not make room for the next segment");
                }
            }
        }
    }
}

/// What a checkpoint leaves of the WAL.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// All of it, to be written over.
    Copy,
    /// Nothing.
    Empty,
}

fn checkpoint(segment: &Segment, mode: Mode) {
    // The connection is not kept: it would keep the files of a segment that is dropped later.
    let done = schema::connect(&segment.path, Access::Write).and_then(|conn| {
        let run = || {
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            if mode == Mode::Empty {
                // There is next to nothing left to copy, so the writer waits for the shortest time. Whoever reads now is not waited for: there
                // is another time.
                conn.busy_timeout(Duration::ZERO)?;
                conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            }
            Ok(())
        };
        run().map_err(segment.failed())
    });
    if let Err(error) = done {
        tracing::warn!(%error, segment = segment.id, "checkpoint failed");
    }
}

#[cfg(test)]
mod tests {
    use super::super::segments::Segments;
    use super::*;

    /// What the next segment writes goes into the room that was made for it, and is there when it is opened again.
    #[test]
    fn the_next_segment_takes_the_room_that_was_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let segments = Segments::open(dir.path()).expect("a journal");
        let spare = spare_beside(&segments.current().path);
        fill(&spare, Pace::Fast).expect("room");

        let next = segments.roll().expect("a new segment");
        assert!(!spare.exists());
        assert_eq!(beside(&next.path, "-wal").metadata().expect("a WAL").len(), ROOM);

        let writer = schema::connect(&next.path, Access::Write).expect("a connection");
        writer.execute("INSERT INTO word(text) VALUES ('kept')", []).expect("written");
        let reader = schema::connect(&next.path, Access::Write).expect("another");
        let read: String = reader.query_row("SELECT text FROM word", [], |row| row.get(0)).expect("a row");
        assert_eq!(read, "kept");
        assert_eq!(beside(&next.path, "-wal").metadata().expect("a WAL").len(), ROOM, "it lies in the room");
    }

    /// Whoever opens each segment as soon as it has a name, as a backup does, keeps nobody from writing to it.
    #[test]
    fn a_new_segment_may_be_opened_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let segments = Segments::open(dir.path()).expect("a journal");
        let ((stop, stopped), path) = (std::sync::mpsc::channel::<()>(), dir.path().to_owned());
        let looking = std::thread::spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let _looked = Segments::glance(&path).expect("a look");
            }
        });
        for _ in 0..30 {
            fill(&spare_beside(&segments.current().path), Pace::Fast).expect("room");
            let next = segments.roll().expect("a new segment");
            let writer = schema::connect(&next.path, Access::Write).expect("a connection");
            writer.execute("INSERT INTO word(text) VALUES ('kept')", []).expect("written");
            drop(writer);
            let reader = schema::connect(&next.path, Access::Write).expect("another");
            let read: String = reader.query_row("SELECT text FROM word", [], |row| row.get(0)).expect("a row");
            assert_eq!(read, "kept");
            let found: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
            assert_eq!(found, "ok");
        }
        drop(stop);
        looking.join().expect("it looked");
    }

    /// Half of the room, left by a crash, is not used; the rest is made later.
    #[test]
    fn half_a_room_waits_for_the_other_half() {
        let dir = tempfile::tempdir().expect("a directory");
        let segments = Segments::open(dir.path()).expect("a journal");
        let spare = spare_beside(&segments.current().path);
        std::fs::write(&spare, [0; 4096]).expect("written");
        let next = segments.roll().expect("a new segment");
        assert!(!beside(&next.path, "-wal").exists());
        fill(&spare, Pace::Fast).expect("room");
        assert_eq!(spare.metadata().expect("a file").len(), ROOM);
    }
}
