//! Compresses segments that nobody writes to any more, one at a time, on a thread that gives way to everything else.
//!
//! A new file takes the place of the old one. It has a name of its own: SQLite finds a write-ahead log by the name of its database, so a
//! file must never come to stand where another was while anyone may have that one open. The steps, and what a crash after each leaves:
//!
//! 1. `00000001.cold.tmp` is written and flushed, bit by bit. A start removes it.
//! 2. It is opened anew and compared with the old file: every column of every row, payloads decompressed; SQLite checks its trees.
//! 3. It is renamed to `00000001.cold.db`. The old file still counts; a start that finds both removes the new one.
//! 4. The writer, which alone changes segments, notes in the old file that it is superseded, unless it changed since step 1 began. That
//!    commit decides: from here on the new one counts, and a start that finds both removes the old one.
//! 5. The old file is removed when the last reader lets go of it.
//!
//! While it works, the thread rests for most of the time, and it is the last that the kernel gives a processor to.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode, Row};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cold::{Pack, Packer};
use super::command::Command;
use super::schema::{self, Access, file_error};
use super::segments::{PLAIN_BYTES, SUPERSEDED, Segment, beside, remove_files, unfinished};
use super::{CommitObserver, CompressStep};
use crate::StoreError;

/// How long is worked at a stretch, and how long rested after it: a fifth of one processor at most.
const WORK: Duration = Duration::from_millis(5);
const REST: Duration = Duration::from_millis(20);
/// After so many rests, what was written is flushed. Little at a time, so that a commit's flush beside it has little to wait for.
const RESTS_PER_FLUSH: u32 = 8;
/// Instructions of SQLite between two looks at the clock.
const INSTRUCTIONS: i32 = 2000;
/// The disk has to have room for this many times the old file: the new one must not be what fills it.
const ROOM: u64 = 2;

/// A segment to compress.
pub(super) struct Job {
    /// Not kept from being dropped while it waits.
    segment: Weak<Segment>,
    /// What [`Segment::writes`] told when the writer asked.
    writes: u64,
}

impl Job {
    /// To be made by the writer, so that no change is under way.
    pub(super) fn new(segment: &Arc<Segment>) -> Self {
        Self { segment: Arc::downgrade(segment), writes: segment.writes() }
    }
}

/// The writer's handle to the thread.
pub(super) struct Compressor {
    jobs: Option<SyncSender<Vec<Job>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Compressor {
    /// Starts the thread.
    pub(super) fn start(writer: mpsc::WeakSender<Command>, observer: Option<Arc<dyn CommitObserver>>) -> Result<Self, StoreError> {
        let (jobs, queue) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker { writer, observer, stop: stop.clone() };
        let thread = std::thread::Builder::new().name("posthaste-compress".into()).spawn(move || worker.run(queue)).map_err(file_error)?;
        Ok(Self { jobs: Some(jobs), stop, thread: Some(thread) })
    }

    /// Hands it segments, unless it has some left.
    pub(super) fn ask(&self, jobs: Vec<Job>) {
        if let Some(queue) = &self.jobs {
            queue.try_send(jobs).ok();
        }
    }

    /// Ends the thread; what it was at is given up.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the compressing thread panicked");
        }
    }
}

/// Why a segment was not compressed.
enum Failure {
    /// It has to go, or changed, or the store is being closed.
    GivenUp,
    /// Something that may pass, such as a full disk.
    Now(StoreError),
    /// Trying again would come to the same.
    Always(StoreError),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Now(file_error(error))
    }
}

/// The new file is not what it was made from.
#[derive(Debug, thiserror::Error)]
#[error("the compressed copy differs in {0}")]
struct Differs(String);

struct Worker {
    writer: mpsc::WeakSender<Command>,
    observer: Option<Arc<dyn CommitObserver>>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(self, queue: Receiver<Vec<Job>>) {
        // Of this thread only, on Linux. Without it the rests remain.
        if let Err(error) = rustix::process::nice(19) {
            tracing::debug!(%error, "the compressing thread keeps its priority");
        }
        for job in queue.into_iter().flatten() {
            let Some(segment) = job.segment.upgrade() else { continue };
            let rewrite = Rewrite { worker: &self, cold: segment.cold_path(), segment, writes: job.writes };
            if rewrite.is_off() {
                continue;
            }
            let id = rewrite.segment.id;
            let before = rewrite.segment.with(|state| state.bytes);
            match rewrite.run() {
                Ok(after) => {
                    // Usually the last to hold the old file.
                    drop(rewrite);
                    tracing::info!(segment = id, before, after, "compressed a journal segment");
                    self.tell(id, CompressStep::Done { before, after });
                }
                Err(failure) => {
                    remove_files(&unfinished(&rewrite.cold));
                    match failure {
                        Failure::GivenUp => tracing::debug!(segment = id, "a journal segment is not compressed now"),
                        Failure::Now(error) => tracing::warn!(%error, segment = id, "cannot compress a journal segment; it is tried again"),
                        Failure::Always(error) => {
                            rewrite.segment.leave_plain();
                            tracing::error!(%error, segment = id, "a journal segment cannot be compressed; it stays as it is");
                        }
                    }
                    self.tell(id, CompressStep::GivenUp);
                }
            }
        }
    }

    fn tell(&self, segment: u32, step: CompressStep) {
        if let Some(observer) = &self.observer {
            observer.compressing(segment, step);
        }
    }
}

/// One segment being compressed.
struct Rewrite<'a> {
    worker: &'a Worker,
    segment: Arc<Segment>,
    cold: PathBuf,
    writes: u64,
}

impl Rewrite<'_> {
    /// Answers the size of the new file, which has taken the place of the old one.
    fn run(&self) -> Result<u64, Failure> {
        self.check_room()?;
        let tmp = unfinished(&self.cold);
        remove_files(&tmp);
        self.write(&tmp)?;
        self.worker.tell(self.segment.id, CompressStep::Written);
        self.verify(&tmp)?;
        File::open(&tmp)?.sync_all()?;
        self.worker.tell(self.segment.id, CompressStep::Verified);
        let bytes = std::fs::metadata(&tmp)?.len();
        if self.is_off() {
            return Err(Failure::GivenUp);
        }
        std::fs::rename(&tmp, &self.cold)?;
        let replaced = self.dir().and_then(|dir| super::sync_dir(dir).map_err(Failure::Now)).and_then(|()| {
            self.worker.tell(self.segment.id, CompressStep::Renamed);
            self.replace(bytes)
        });
        match replaced {
            Ok(()) => {
                self.worker.tell(self.segment.id, CompressStep::Replaced);
                Ok(bytes)
            }
            Err(failure) => {
                remove_files(&self.cold);
                Err(failure)
            }
        }
    }

    fn dir(&self) -> Result<&Path, Failure> {
        self.cold.parent().ok_or(Failure::GivenUp)
    }

    /// Whether there is no use in going on.
    fn is_off(&self) -> bool {
        is_off(&self.worker.stop, &self.segment, self.writes)
    }

    fn check_room(&self) -> Result<(), Failure> {
        let disk = rustix::fs::statvfs(self.dir()?).map_err(std::io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < ROOM * self.segment.with(|state| state.bytes) {
            tracing::debug!(segment = self.segment.id, free, "no room on the disk to compress a segment");
            return Err(Failure::GivenUp);
        }
        Ok(())
    }

    /// Has the writer put the new file in the old one's place.
    fn replace(&self, bytes: u64) -> Result<(), Failure> {
        let writer = self.worker.writer.upgrade().ok_or(Failure::GivenUp)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Replace(Replacement { segment: self.segment.clone(), writes: self.writes, bytes }, reply);
        writer.blocking_send(command).map_err(|_| Failure::GivenUp)?;
        drop(writer);
        match answer.blocking_recv() {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) | Err(_) => Err(Failure::GivenUp),
            Ok(Err(error)) => Err(Failure::Now(error)),
        }
    }

    /// A connection to the new file, with the old one attached, that keeps the pace.
    fn connect(&self, tmp: &Path, mut pace: Pace, is_new: bool) -> Result<Connection, Failure> {
        let failed = self.failed();
        let mut conn =
            if is_new { Connection::open(tmp).map_err(&failed)? } else { schema::connect(tmp, Access::Write).map_err(Failure::Now)? };
        if is_new {
            // It is made in one go, and thrown away if that fails. Flushes are our own.
            conn.execute_batch(&format!(
                "PRAGMA page_size = {}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2048;",
                schema::PAGE_BYTES
            ))
            .map_err(&failed)?;
        }
        let old = self.segment.path.to_str().ok_or(Failure::GivenUp)?;
        conn.execute("ATTACH ?1 AS old", [old]).map_err(&failed)?;
        conn.progress_handler(INSTRUCTIONS, Some(move || pace.keep())).map_err(&failed)?;
        Ok(conn)
    }

    fn pace(&self, tmp: &Path) -> Result<Pace, Failure> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(tmp)?;
        let (stop, segment) = (self.worker.stop.clone(), self.segment.clone());
        Ok(Pace { stop, segment, writes: self.writes, file, since: Instant::now(), rests: 0 })
    }

    /// Makes the new file.
    fn write(&self, tmp: &Path) -> Result<(), Failure> {
        let failed = self.failed();
        let conn = self.connect(tmp, self.pace(tmp)?, true)?;
        conn.execute_batch(&format!("BEGIN; {}{}{}{}", schema::SEGMENT, schema::INDEXES, schema::ABOUT, schema::COLD)).map_err(&failed)?;
        self.write_events(&conn)?;
        for (table, sql) in tables(&conn).map_err(&failed)? {
            // Some are made when there is something for them.
            let find = "SELECT EXISTS(SELECT 1 FROM main.sqlite_schema WHERE name = ?1)";
            if !conn.query_row(find, [&table], |row| row.get::<_, bool>(0)).map_err(&failed)? {
                conn.execute_batch(&sql).map_err(&failed)?;
            }
            conn.execute_batch(&format!("INSERT INTO main.{table} SELECT * FROM old.{table}")).map_err(&failed)?;
        }
        conn.execute("UPDATE main.meta SET value = ?1 WHERE name = 'format'", [schema::COLD_FORMAT]).map_err(&failed)?;
        let plain_bytes = self.segment.with(|state| state.bytes);
        conn.execute("INSERT OR REPLACE INTO main.meta(name, value) VALUES (?1, ?2)", (PLAIN_BYTES, plain_bytes as i64))
            .map_err(&failed)?;
        conn.execute_batch("COMMIT").map_err(&failed)
    }

    fn write_events(&self, conn: &Connection) -> Result<(), Failure> {
        let mut packer = Packer::new()?;
        let mut write = || -> rusqlite::Result<()> {
            let mut select =
                conn.prepare("SELECT sequence, workspace, type, received_ms, source, payload FROM old.event ORDER BY sequence")?;
            let mut insert = conn.prepare(
                "INSERT INTO main.event(sequence, workspace, type, received_ms, source, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let sequence: i64 = row.get(0)?;
                let payload = row.get_ref(5)?.as_blob()?;
                if packer.is_full_for(sequence, payload) {
                    packer.flush(conn)?;
                }
                packer.add(sequence, payload);
                let (workspace, received_ms, source): (i64, i64, i64) = (row.get(1)?, row.get(3)?, row.get(4)?);
                insert.execute((sequence, workspace, row.get::<_, Option<i64>>(2)?, received_ms, source, payload.len() as i64))?;
            }
            packer.flush(conn)
        };
        write().map_err(self.failed())
    }

    /// Compares the new file with the old one, and makes it one that is written through a WAL.
    fn verify(&self, tmp: &Path) -> Result<(), Failure> {
        let failed = self.failed();
        let conn = self.connect(tmp, self.pace(tmp)?, false)?;
        let compare = || -> rusqlite::Result<Option<String>> {
            if let Some(sequence) = differing_event(&conn)? {
                return Ok(Some(format!("event {sequence}")));
            }
            for (table, _) in tables(&conn)? {
                if let Some(row) = differing_row(&conn, &table)? {
                    return Ok(Some(format!("row {row} of {table}")));
                }
            }
            let found: String = conn.query_row("PRAGMA main.integrity_check", [], |row| row.get(0))?;
            Ok((found != "ok").then_some(found))
        };
        if let Some(what) = compare().map_err(&failed)? {
            return Err(Failure::Always(StoreError::Engine(Differs(what).into())));
        }
        // With the last connection goes the WAL.
        drop(conn);
        if beside(tmp, "-wal").exists() {
            return Err(Failure::Always(StoreError::Engine(Differs("its log".into()).into())));
        }
        Ok(())
    }

    fn failed(&self) -> impl Fn(Error) -> Failure {
        let failed = self.segment.failed();
        move |error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Failure::GivenUp,
            _ => match failed(error) {
                error @ StoreError::File { .. } => Failure::Always(error),
                other => Failure::Now(other),
            },
        }
    }
}

/// What the writer is asked to put in the place of a segment: its compressed file.
pub(super) struct Replacement {
    /// The segment.
    pub(super) segment: Arc<Segment>,
    /// What [`Segment::writes`] told before the file was begun.
    pub(super) writes: u64,
    /// Size of the file.
    pub(super) bytes: u64,
}

fn is_off(stop: &AtomicBool, segment: &Segment, writes: u64) -> bool {
    stop.load(Ordering::Acquire) || segment.is_doomed() || segment.writes() != writes
}

/// Keeps the thread from taking more than its share.
struct Pace {
    stop: Arc<AtomicBool>,
    segment: Arc<Segment>,
    writes: u64,
    file: File,
    since: Instant,
    rests: u32,
}

impl Pace {
    /// Answers whether to end here.
    fn keep(&mut self) -> bool {
        if self.since.elapsed() >= WORK {
            self.rests += 1;
            // The last flush tells whether all went well.
            if self.rests.is_multiple_of(RESTS_PER_FLUSH) && self.file.sync_data().is_err() {
                return true;
            }
            std::thread::sleep(REST);
            self.since = Instant::now();
        }
        is_off(&self.stop, &self.segment, self.writes)
    }
}

/// All tables but that of the events and those that only the new file has, each with the statement that makes it.
fn tables(conn: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT name, sql FROM old.sqlite_schema WHERE type = 'table' AND name <> 'event' AND name NOT LIKE 'sqlite%'";
    conn.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The first event that is not in both files in the same way.
fn differing_event(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let select = |schema| format!("SELECT sequence, workspace, type, received_ms, source, payload FROM {schema}.event ORDER BY sequence");
    let (mut old, mut new) = (conn.prepare(&select("old"))?, conn.prepare(&select("main"))?);
    let (mut old, mut new) = (old.query([])?, new.query([])?);
    let mut pack: Option<Pack> = None;
    loop {
        let (old, new) = match (old.next()?, new.next()?) {
            (None, None) => return Ok(None),
            (Some(old), Some(new)) => (old, new),
            (Some(one), None) | (None, Some(one)) => return Ok(Some(one.get(0)?)),
        };
        let sequence = old.get(0)?;
        let (payload, length) = (old.get_ref(5)?.as_blob()?, new.get::<_, i64>(5)?);
        if !is_same(old, new, 5)? || payload.len() as i64 != length {
            return Ok(Some(sequence));
        }
        if pack.as_ref().is_none_or(|pack| pack.payload(sequence).is_none()) {
            pack = Some(Pack::read(conn, sequence)?);
        }
        if pack.as_ref().and_then(|pack| pack.payload(sequence)) != Some(payload) {
            return Ok(Some(sequence));
        }
    }
}

/// The number of the first row of a table that is not in both files in the same way.
fn differing_row(conn: &Connection, table: &str) -> rusqlite::Result<Option<u64>> {
    // What is noted of the file itself differs.
    let but = if table == "meta" { format!("WHERE name NOT IN ('format', '{PLAIN_BYTES}', '{SUPERSEDED}')") } else { String::new() };
    let select = |schema| format!("SELECT * FROM {schema}.{table} {but}");
    let (mut old, mut new) = (conn.prepare(&select("old"))?, conn.prepare(&select("main"))?);
    let columns = old.column_count();
    if columns != new.column_count() {
        return Ok(Some(0));
    }
    let (mut old, mut new) = (old.query([])?, new.query([])?);
    for number in 1.. {
        match (old.next()?, new.next()?) {
            (None, None) => break,
            (Some(old), Some(new)) if is_same(old, new, columns)? => {}
            _ => return Ok(Some(number)),
        }
    }
    Ok(None)
}

fn is_same(old: &Row<'_>, new: &Row<'_>, columns: usize) -> rusqlite::Result<bool> {
    for column in 0..columns {
        let (old, new): (ValueRef<'_>, ValueRef<'_>) = (old.get_ref(column)?, new.get_ref(column)?);
        if old != new {
            return Ok(false);
        }
    }
    Ok(true)
}
