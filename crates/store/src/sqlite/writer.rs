//! The one thread that writes the journal.
//!
//! It takes a group of what waits ([`crate::gathering`]), commits once per segment that it touches, and then answers all of it: appends and settlements of
//! the moment share one flush. Of several segments the newest goes first, and appends are answered when it is committed: what
//! settles old events makes no new one wait. A transaction that fails because of one command is rolled back and its commands are tried one
//! by one, so that a bad one fails alone (incident 22). Nothing of it is remembered across a failure: when space comes back, the next
//! commit succeeds (incident 10).

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_domain::delivery::Delivery;
use posthaste_domain::id::DeliveryKey;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ToSql};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::CommitObserver;
use super::apply::{self, ApplyError, Changes, Memory};
use super::checkpoint::{self, Checkpointer};
use super::command::Command;
use super::compress::Compressor;
use super::readers::Pool;
use super::schema::{self, Access};
use super::segments::{self, NEXT, Segment, Segments};
use super::wait::Wait;
use crate::gathering::{Gathering, Wanted, Work};
use crate::tell::teller;
use crate::{Append, Settlement, StoreError};

/// The size of a file is looked at when it grew by about this much.
const MEASURE: u64 = 64 << 10;
/// Segments that are kept open for writing.
const OPEN_SEGMENTS: usize = 8;
/// A WAL of this size is checkpointed by the writer itself, because a checkpoint beside a busy writer never comes to its end.
const WAL_LIMIT: u64 = 64 << 20;

/// The part of a command that concerns one segment.
enum Change<'a> {
    Append(&'a Append),
    CloseBatch(DeliveryKey, i64),
    Settle(Vec<&'a Settlement>),
    Reopen(Vec<DeliveryKey>, i64),
}

struct Part<'a> {
    command: usize,
    work: Change<'a>,
}

/// Why a transaction was not committed.
struct Failure {
    error: StoreError,
    /// Whether it may be the fault of one command, see [`ApplyError::is_of_one`].
    is_of_one: bool,
}

/// How the commands of a group went.
struct Outcome {
    errors: Vec<Option<StoreError>>,
    reopened: Vec<Vec<Delivery>>,
    rows: usize,
}

pub(super) struct OpenSegment {
    pub(super) conn: Connection,
    pub(super) memory: Memory,
    used: u64,
    /// About how much the file grew since its size was looked at.
    unmeasured: u64,
    /// Pages in the WAL after the last commit.
    wal_pages: Arc<AtomicU64>,
    /// WAL bytes when a checkpoint was last asked for.
    asked_at: u64,
    // Last, because the files of a dropped segment may go only after the connection.
    segment: Arc<Segment>,
}

/// When segments are sealed, and compressed.
pub(super) struct Limits {
    pub(super) segment_bytes: u64,
    pub(super) segment_age_ms: i64,
    /// Age of the last event; `None`: never.
    pub(super) compress_after_ms: Option<i64>,
}

/// The state of the writer thread.
pub(super) struct Writer {
    pub(super) segments: Arc<Segments>,
    pub(super) pool: Arc<Pool>,
    pub(super) checkpointer: Checkpointer,
    pub(super) observer: Option<Arc<dyn CommitObserver>>,
    pub(super) compressor: Option<Compressor>,
    pub(super) limits: Limits,
    pub(super) open: HashMap<u32, OpenSegment>,
    tick: u64,
    /// Whether room for the next segment was asked for.
    has_room: bool,
    page_cap: Option<u32>,
    /// Dropped segments that the newest one still names, see [`super::retire`].
    pub(super) unnamed: Vec<String>,
}

impl Writer {
    /// A writer for these segments.
    pub(super) fn new(
        segments: Arc<Segments>,
        pool: Arc<Pool>,
        checkpointer: Checkpointer,
        compressor: Option<Compressor>,
        observer: Option<Arc<dyn CommitObserver>>,
        limits: Limits,
    ) -> Self {
        Self {
            segments,
            pool,
            checkpointer,
            compressor,
            observer,
            limits,
            open: HashMap::new(),
            tick: 0,
            has_room: false,
            page_cap: None,
            unnamed: Vec::new(),
        }
    }

    /// Opens the newest segment, so that the first commit does not have to wait for it.
    pub(super) fn prepare(&mut self) {
        // What is wrong with the file is said when there is somebody to tell.
        let current = self.segments.current();
        if let Err(error) = self.open(&current) {
            tracing::warn!(%error, "the journal's newest segment cannot be opened for writing");
        }
    }

    /// Works until told to close, or until nobody can send any more.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let wait = Wait::new();
        let mut gathering = Gathering::new(Instant::now());
        let mut group = Vec::new();
        while gather(&mut gathering, &wait, &mut commands) {
            match gathering.take(&mut group) {
                // A bug fails the commands that met it. What it may have left half done is rolled back with its connection.
                Work::Group => {
                    if catch_unwind(AssertUnwindSafe(|| self.group(&mut group))).is_err() {
                        self.open.clear();
                        group.drain(..).for_each(Command::fail);
                    }
                }
                Work::Alone(Command::Close(reply)) => {
                    commands.close();
                    // Nobody waits for an answer any more, least of all the compressor.
                    while let Some(command) = commands.blocking_recv() {
                        drop(command);
                    }
                    self.close();
                    reply.send(()).ok();
                    return;
                }
                Work::Alone(command) => {
                    if catch_unwind(AssertUnwindSafe(|| self.alone(command))).is_err() {
                        self.open.clear();
                    }
                }
            }
        }
        self.close();
    }

    /// Does a command that is not part of groups.
    fn alone(&mut self, command: Command) {
        match command {
            Command::Retire(rule, now_ms, reply) => drop(reply.send(Ok(self.retire(rule, now_ms)))),
            Command::Replace(replacement, reply) => drop(reply.send(Ok(self.replace(&replacement)))),
            Command::CapPages(pages, reply) => drop(reply.send(self.cap_pages(pages))),
            _ => {}
        }
    }

    /// Commits a group and answers its commands.
    fn group(&mut self, commands: &mut Vec<Command>) {
        let started = Instant::now();
        if commands.iter().any(|command| matches!(command, Command::Append(..))) {
            self.roll_if_large();
        }
        let mut outcome = Outcome { errors: Vec::new(), reopened: Vec::new(), rows: 0 };
        outcome.errors.resize_with(commands.len(), || None);
        outcome.reopened.resize_with(commands.len(), Vec::new);
        let mut plan = self.plan(commands);
        let newest = plan.pop_last();
        let has_others = !plan.is_empty();
        if let Some((id, (segment, parts))) = newest {
            self.commit_parts(&segment, &parts, &mut outcome);
            if has_others {
                answer_appends(commands, &mut outcome.errors);
                for (segment, parts) in self.plan(commands).into_values().filter(|(segment, _)| segment.id != id) {
                    self.commit_parts(&segment, &parts, &mut outcome);
                }
            }
        }
        if let Some(observer) = &self.observer {
            observer.committed(commands.len(), outcome.rows, started.elapsed());
        }
        for ((command, error), reopened) in commands.drain(..).zip(outcome.errors).zip(outcome.reopened) {
            // A caller that went away needs no answer.
            match command {
                Command::Append(_, Some(reply)) | Command::Settle(_, reply) => drop(reply.send(error.map_or(Ok(()), Err))),
                // What was changed has to be told, whatever became of the rest.
                Command::Reopen(_, _, reply) => drop(reply.send(error.filter(|_| reopened.is_empty()).map_or(Ok(reopened), Err))),
                _ => {}
            }
        }
    }

    /// Sorts the work of a group by segment.
    fn plan<'a>(&self, commands: &'a [Command]) -> BTreeMap<u32, (Arc<Segment>, Vec<Part<'a>>)> {
        let mut plan: BTreeMap<u32, (Arc<Segment>, Vec<Part<'a>>)> = BTreeMap::new();
        let mut add = |segment: Arc<Segment>, command: usize, work: Change<'a>| {
            plan.entry(segment.id).or_insert_with(|| (segment, Vec::new())).1.push(Part { command, work });
        };
        for (command, wanted) in commands.iter().enumerate() {
            match wanted {
                Command::Append(group, _) => {
                    let current = self.segments.current();
                    add(current, command, Change::Append(group));
                    for part in &group.batches {
                        // After the append, because the batch may have been opened by it.
                        if let (Some(due_ms), Some(segment)) = (part.closed_due_ms, self.segments.of(part.batch.sequence())) {
                            add(segment, command, Change::CloseBatch(part.batch, due_ms));
                        }
                    }
                }
                Command::Settle(outcomes, _) => {
                    for (segment, outcomes) in self.by_segment(outcomes, |outcome| outcome.key) {
                        add(segment, command, Change::Settle(outcomes));
                    }
                }
                Command::Reopen(keys, at_ms, _) => {
                    for (segment, keys) in self.by_segment(keys, |key| *key) {
                        add(segment, command, Change::Reopen(keys.into_iter().copied().collect(), *at_ms));
                    }
                }
                _ => {}
            }
        }
        plan
    }

    fn by_segment<'a, T>(&self, items: &'a [T], key: impl Fn(&T) -> DeliveryKey) -> Vec<(Arc<Segment>, Vec<&'a T>)> {
        let mut parts: Vec<(Arc<Segment>, Vec<&'a T>)> = Vec::new();
        for item in items {
            // A dropped segment has nothing left to change.
            let Some(segment) = self.segments.of(key(item).sequence()) else { continue };
            match parts.iter_mut().find(|(known, _)| known.id == segment.id) {
                Some((_, part)) => part.push(item),
                None => parts.push((segment, vec![item])),
            }
        }
        parts
    }

    fn commit_parts(&mut self, segment: &Arc<Segment>, parts: &[Part<'_>], outcome: &mut Outcome) {
        match self.commit(segment, parts) {
            Ok(changes) => {
                outcome.rows += changes.rows;
                for (command, delivery) in changes.reopened {
                    outcome.reopened[command].push(delivery);
                }
            }
            Err(Failure { is_of_one: true, .. }) if parts.len() > 1 => {
                for part in parts {
                    self.commit_parts(segment, std::slice::from_ref(part), outcome);
                }
            }
            Err(Failure { error, .. }) => {
                let tell = teller(error);
                for part in parts {
                    let slot = &mut outcome.errors[part.command];
                    // Pulling a due time forward is only a hint: an append that is stored is not an error because of it.
                    if matches!(part.work, Change::CloseBatch(..)) {
                        tracing::debug!(error = %tell(), "could not pull a batch's due time forward");
                    } else if slot.is_none() {
                        *slot = Some(tell());
                    }
                }
            }
        }
    }

    /// One transaction.
    fn commit(&mut self, segment: &Arc<Segment>, parts: &[Part<'_>]) -> Result<Changes, Failure> {
        let floor = segment.floor;
        let open = self.open(segment).map_err(|error| Failure { error, is_of_one: false })?;
        let mut changes = Changes::default();
        let done = (|| -> Result<u64, ApplyError> {
            open.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for part in parts {
                match &part.work {
                    Change::Append(group) => apply::append(&open.conn, &mut open.memory, group, floor, &mut changes)?,
                    Change::CloseBatch(batch, due_ms) => apply::close_batch(&open.conn, *batch, *due_ms, &mut changes)?,
                    Change::Settle(outcomes) => apply::settle(&open.conn, &mut open.memory, outcomes, &mut changes)?,
                    Change::Reopen(keys, at_ms) => apply::reopen(&open.conn, part.command, keys, *at_ms, &mut changes)?,
                }
            }
            // To ask for the size costs as much as a row, so that is not done each time.
            let unmeasured = open.unmeasured + changes.bytes;
            let bytes = if unmeasured >= MEASURE { Some(segments::file_bytes(&open.conn)?) } else { None };
            open.conn.prepare_cached("COMMIT")?.execute([])?;
            open.unmeasured = if bytes.is_some() { 0 } else { unmeasured };
            Ok(bytes.unwrap_or_else(|| segment.with(|state| state.bytes) + changes.bytes))
        })();
        match done {
            Ok(bytes) => {
                let drained = changes.publish(segment, bytes);
                self.after_commit(segment, drained);
                Ok(changes)
            }
            Err(error) => {
                open.memory.forget();
                // Some failures have rolled back already.
                if !open.conn.is_autocommit() && open.conn.execute_batch("ROLLBACK").is_err() {
                    self.open.remove(&segment.id);
                }
                let is_of_one = error.is_of_one();
                let error = match error {
                    ApplyError::Sql(error) => segment.failed()(error),
                    ApplyError::Refused(refusal) => StoreError::Engine(refusal.into()),
                };
                Err(Failure { error, is_of_one })
            }
        }
    }

    pub(super) fn after_commit(&mut self, segment: &Arc<Segment>, drained: bool) {
        let Some(open) = self.open.get_mut(&segment.id) else { return };
        let wal = open.wal_pages.load(Ordering::Relaxed) * schema::PAGE_BYTES;
        if wal < open.asked_at {
            open.asked_at = 0;
        }
        if wal > WAL_LIMIT {
            // Only what was written since the last checkpoint beside us is left to copy. If one runs now, the next commit tries again.
            if let Err(error) = open.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
                tracing::warn!(%error, "checkpoint failed");
            }
        } else if wal - open.asked_at > Checkpointer::STEP && self.checkpointer.ask(segment) {
            open.asked_at = wal;
        }
        if drained && segment.id != self.segments.current().id {
            self.note_drained(segment);
        }
    }

    /// Notes in a sealed segment that nothing is pending in it, so that a start need not look. `reopen` removes the note.
    fn note_drained(&mut self, segment: &Arc<Segment>) {
        self.note(segment, "INSERT OR REPLACE INTO meta(name, value) VALUES ('drained', ?1)", &[&1]);
    }

    /// Changes a segment's `meta` on its own. Answers whether that worked; nothing depends on a single note.
    pub(super) fn note(&mut self, segment: &Arc<Segment>, sql: &str, values: &[&dyn ToSql]) -> bool {
        let noted = self.open(segment).and_then(|open| open.conn.execute(sql, values).map_err(segment.failed()));
        if let Err(error) = &noted {
            tracing::debug!(%error, segment = segment.id, sql, "could not take a note");
        }
        noted.is_ok()
    }

    /// A connection for writing to a segment, which it counts as changed.
    pub(super) fn open(&mut self, segment: &Arc<Segment>) -> Result<&mut OpenSegment, StoreError> {
        self.tick += 1;
        segment.about_to_write();
        if !self.open.contains_key(&segment.id) {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id);
            if self.open.len() >= OPEN_SEGMENTS
                && let Some(id) = oldest
            {
                self.open.remove(&id);
            }
            let mut conn = schema::connect(&segment.path, Access::Write)?;
            if segment.id == self.segments.current().id {
                checkpoint::make_room(segment);
            } else {
                schema::cache_little(&conn).map_err(segment.failed())?;
            }
            let wal_pages = Arc::new(AtomicU64::new(0));
            let pages_seen = wal_pages.clone();
            conn.wal_hook(Some(move |_: &mut Wal, pages: i32| {
                pages_seen.store(u64::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(segment.failed())?;
            if self.page_cap.is_some() {
                schema::cap(&conn, self.page_cap).map_err(segment.failed())?;
            }
            let open =
                OpenSegment { conn, memory: Memory::default(), used: 0, unmeasured: 0, wal_pages, asked_at: 0, segment: segment.clone() };
            self.open.insert(segment.id, open);
        }
        let open = self.open.get_mut(&segment.id).expect("inserted above");
        open.used = self.tick;
        Ok(open)
    }

    fn roll_if_large(&mut self) {
        let current = self.segments.current();
        let bytes = current.with(|state| state.bytes);
        if bytes >= self.limits.segment_bytes {
            self.roll();
        } else if bytes >= self.limits.segment_bytes / 4 * 3 {
            self.make_room_after(&current);
        }
    }

    /// Has room made for the next segment, once.
    pub(super) fn make_room_after(&mut self, current: &Arc<Segment>) {
        if !self.has_room {
            self.has_room = self.checkpointer.ask_for_room(current);
        }
    }

    /// Starts a new segment. If that fails, the current one simply goes on.
    pub(super) fn roll(&mut self) {
        let sealed = self.segments.current();
        match self.segments.roll() {
            Ok(next) => {
                self.has_room = false;
                // The new one does not name them.
                self.unnamed.clear();
                if let Some(open) = self.open.get(&sealed.id)
                    && let Err(error) = schema::cache_little(&open.conn)
                {
                    tracing::debug!(%error, segment = sealed.id, "could not give memory back");
                }
                self.note(&sealed, "INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)", &[&NEXT, &next.id]);
                if !sealed.has_pending() {
                    self.note_drained(&sealed);
                }
                if let Ok(open) = self.open(&sealed) {
                    sealed.keep_tally(&mut open.conn);
                }
                // If the thread is busy, retention asks again.
                self.checkpointer.ask_to_empty(&sealed);
            }
            Err(error) => tracing::warn!(%error, "cannot start a new journal segment; the current one goes on"),
        }
    }

    fn cap_pages(&mut self, pages: Option<u32>) -> Result<(), StoreError> {
        self.page_cap = pages;
        for open in self.open.values() {
            schema::cap(&open.conn, pages).map_err(open.segment.failed())?;
        }
        Ok(())
    }

    /// Leaves files without a WAL behind.
    pub(super) fn close(&mut self) {
        if let Some(compressor) = &mut self.compressor {
            compressor.stop();
        }
        self.checkpointer.stop();
        self.forget_unnamed();
        for (_, open) in self.open.drain() {
            if let Err(error) = open.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
                tracing::warn!(%error, segment = open.segment.id, "the last checkpoint failed; the next start does it");
            }
        }
    }
}

/// Waits for what is next; `false`: nobody can send any more, and everything was taken.
fn gather(gathering: &mut Gathering<Command>, wait: &Wait, commands: &mut mpsc::Receiver<Command>) -> bool {
    loop {
        let next = match gathering.wanted() {
            Wanted::First => match commands.blocking_recv() {
                None => return false,
                first => first,
            },
            Wanted::Until(at) => wait.until(at, commands),
            Wanted::Present => commands.try_recv().ok(),
            Wanted::Nothing => None,
        };
        let Some(command) = next else { return true };
        gathering.add(command, Instant::now());
    }
}

/// Answers the appends of a group, whose events are committed or failed. What is left of them are hints.
fn answer_appends(commands: &mut [Command], errors: &mut [Option<StoreError>]) {
    for (command, error) in commands.iter_mut().zip(errors) {
        if let Command::Append(_, reply) = command
            && let Some(reply) = reply.take()
        {
            // A caller that went away needs no answer.
            drop(reply.send(error.take().map_or(Ok(()), Err)));
        }
    }
}
