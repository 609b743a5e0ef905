//! A data directory filled with what was moved from elsewhere.
//!
//! Numbers and keys stay as they are. Rows of the catalog and of bins are written with the position behind them; how many events are there is
//! seen by the events. Idempotency keys lie with their events, so their position is noted after them: writing them again changes nothing.

use std::path::Path;
use std::sync::Arc;

use posthaste_domain::id::DeliveryKey;
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{self, Changes, Memory};
use super::bins::BinsDb;
use super::catalog::CatalogDb;
use super::checkpoint::Checkpointer;
use super::lock::DirectoryLock;
use super::marks::Marker;
use super::readers::Pool;
use super::schema::{self, Access};
use super::segments::{self, Segments};
use super::writer::{Limits, Writer};
use super::{people, rows, varint};
use crate::migrate::rows::{AuditRow, Body, Chunk, Ends, Phase, Position, ResourceRow, Start, SuppressionRow};
use crate::{BinRequest, IdempotencyRecord, StoreError, master};

/// Where the position is in a file's `meta`.
const MOVED: &str = "moved";

const DELIVERY: &str = "INSERT INTO delivery(key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch,
       updated_ms, received_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const EVENT: &str = "INSERT INTO event(sequence, workspace, type, received_ms, source, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const SUBJECT: &str = "INSERT OR IGNORE INTO subject(block, hash, sequence) VALUES (?1 >> 14, ?2, ?1)";
/// The newest record of a key is the one that counts.
const IDEMPOTENCY: &str = "INSERT INTO idempotency(workspace, key, hash, first, count, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT(workspace, key) DO UPDATE SET hash = ?3, first = ?4, count = ?5, at_ms = ?6 WHERE first < ?4";

/// When one segment is followed by the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rolls {
    pub(crate) bytes: u64,
    pub(crate) age_ms: i64,
}

/// A data directory that is being filled.
pub(crate) struct Import {
    catalog: CatalogDb,
    bins: BinsDb,
    writer: Writer,
    rolls: Rolls,
    // Last: the directory is let go of when all files are closed.
    lock: DirectoryLock,
}

/// Holds a directory.
pub(crate) type Lock = DirectoryLock;

/// Takes a directory for filling it, making it if it is not there.
pub(crate) fn take(dir: &Path) -> Result<DirectoryLock, StoreError> {
    super::create_dir(dir)?;
    DirectoryLock::take(dir)
}

/// Puts the master keys into a directory.
pub(crate) fn put_keys(dir: &Path, lines: &str) -> Result<(), StoreError> {
    master::write(&dir.join("master.key"), lines)
}

impl Import {
    /// Opens a directory that was taken and has its keys; sequences begin at `start`, if nothing is there yet.
    pub(crate) fn open(dir: &Path, lock: DirectoryLock, start: Start, rolls: Rolls) -> Result<Self, StoreError> {
        let journal = dir.join("journal");
        let catalog = CatalogDb::open(dir, Segments::exist(&journal)?)?;
        let bins = BinsDb::open(dir)?;
        let segments = begin(&journal, start)?;
        let limits = Limits { segment_bytes: rolls.bytes, segment_age_ms: rolls.age_ms, compress_after_ms: None };
        let writer = Writer::new(Arc::new(segments), Arc::<Pool>::default(), Checkpointer::start()?, None, None, limits);
        Ok(Self { catalog, bins, writer, rolls, lock })
    }

    /// How far it is filled.
    pub(crate) fn position(&self) -> Result<Position, StoreError> {
        let noted = |conn: &Connection| -> rusqlite::Result<Option<String>> {
            conn.query_row("SELECT value FROM meta WHERE name = ?1", [MOVED], |row| row.get(0)).optional()
        };
        let notes = [self.catalog.beside(noted)?, self.bins.beside(noted)?];
        let noted = notes.into_iter().flatten().filter_map(|text| serde_json::from_str::<Position>(&text).ok());
        let first = self.writer.segments.all().first().map_or(1, |first| first.floor);
        let last = self.writer.segments.last().0;
        let of_events = (last >= first).then(|| Position::behind(last));
        Ok(noted.chain(of_events).max().unwrap_or_else(Position::start))
    }

    /// Writes rows, durably, and how far that is.
    pub(crate) fn write(&mut self, body: &Body, next: &Position) -> Result<(), StoreError> {
        match body {
            Body::Resources(rows) => self.beside(next, |tx| resources(tx, rows)),
            Body::Audit(rows) => self.beside(next, |tx| audit(tx, rows)),
            Body::Sessions(rows) => self.beside(next, |tx| rows.iter().try_for_each(|session| people::put_session(tx, session))),
            Body::Suppressions(rows) => self.beside(next, |tx| suppressions(tx, rows)),
            Body::Bins(rows) => self.in_bins(next, |tx| {
                let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO bin(bin, last) VALUES (?1, ?2)")?;
                rows.iter().try_for_each(|(bin, last)| insert.execute([bin, last]).map(drop))
            }),
            Body::Requests(rows) => self.in_bins(next, |tx| requests(tx, rows)),
            Body::Chunk(chunk) => self.chunk(chunk),
            Body::Ahead(..) | Body::Changes(_) => unreachable!("nodes are stopped before their database is read"),
            Body::Idempotency(rows) => {
                self.idempotency(rows)?;
                self.beside(next, |_| Ok(()))
            }
        }
    }

    fn beside(&self, next: &Position, write: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), StoreError> {
        self.catalog.beside(|conn| with_position(conn, next, write))
    }

    fn in_bins(&self, next: &Position, write: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), StoreError> {
        self.bins.beside(|conn| with_position(conn, next, write))
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let current = self.writer.segments.current();
        let (bytes, first_ms, has_events) = current.with(|state| (state.bytes, state.first_ms, state.last_sequence > 0));
        let is_old = chunk.events.first().is_some_and(|first| first.received_ms.saturating_sub(first_ms) > self.rolls.age_ms);
        if has_events && (bytes >= self.rolls.bytes || is_old) {
            self.writer.roll();
        }
        let segment = self.writer.segments.current();
        let open = self.writer.open(&segment)?;
        let mut changes = Changes::default();
        let written = (|| {
            // Dropped without a commit, it rolls back.
            let tx = open.conn.unchecked_transaction()?;
            events(&tx, &mut open.memory, chunk, segment.floor, &mut changes)?;
            let bytes = segments::file_bytes(&tx)?;
            tx.commit()?;
            Ok(bytes)
        })();
        let bytes = written.map_err(segment.failed())?;
        changes.publish(&segment, bytes);
        self.writer.after_commit(&segment, false);
        Ok(())
    }

    /// Each record goes where its first event is.
    fn idempotency(&mut self, records: &[IdempotencyRecord]) -> Result<(), StoreError> {
        let mut by_segment: Vec<(Arc<segments::Segment>, Vec<&IdempotencyRecord>)> = Vec::new();
        for record in records {
            let Some(segment) = self.writer.segments.of(record.first) else { continue };
            match by_segment.iter_mut().find(|(known, _)| known.id == segment.id) {
                Some((_, own)) => own.push(record),
                None => by_segment.push((segment, vec![record])),
            }
        }
        for (segment, records) in by_segment {
            let open = self.writer.open(&segment)?;
            let write = || {
                let tx = open.conn.unchecked_transaction()?;
                {
                    let mut insert = tx.prepare_cached(IDEMPOTENCY)?;
                    for record in records {
                        let IdempotencyRecord { workspace, key, body_hash, first, count, at_ms } = record;
                        insert.execute(params![workspace, key, body_hash, first.0, count, at_ms])?;
                    }
                }
                tx.commit()
            };
            write().map_err(segment.failed())?;
            self.writer.after_commit(&segment, false);
        }
        Ok(())
    }

    /// Has new rows be numbered from here, lets go of all but the directory, and leaves files without a WAL behind. Doing it again changes
    /// nothing.
    pub(crate) fn finish(mut self, ends: &Ends) -> Result<Lock, StoreError> {
        self.catalog.beside(|conn| {
            let tx = conn.unchecked_transaction()?;
            for (table, last) in [("resource", ends.resource), ("audit", ends.audit)] {
                tx.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
                tx.execute("INSERT INTO sqlite_sequence(name, seq) VALUES (?1, ?2)", params![table, last])?;
            }
            // It stays: were it gone, a run that follows one which ended here would begin at the beginning.
            note(&tx, &Position::of(Phase::Done))?;
            tx.commit()
        })?;
        self.writer.close();
        let Self { catalog, bins, writer, lock, .. } = self;
        drop((catalog, bins, writer));
        Ok(lock)
    }
}

/// Opens the journal; the first segment of a new one begins where it is told.
fn begin(journal: &Path, start: Start) -> Result<Segments, StoreError> {
    let segments = Segments::open(journal)?;
    let first = segments.current();
    if segments.all().len() > 1 || first.with(|state| state.last_sequence > 0) {
        return Ok(segments);
    }
    let (floor, floor_ms) = (start.first.max(1), start.floor_ms);
    if (first.floor, first.floor_ms) == (floor, floor_ms) {
        return Ok(segments);
    }
    let conn = schema::connect(&first.path, Access::Write)?;
    let set = "UPDATE meta SET value = iif(name = 'floor', ?1, ?2) WHERE name IN ('floor', 'floor_ms')";
    conn.execute(set, [floor, floor_ms]).map_err(first.failed())?;
    drop((conn, segments));
    Segments::open(journal)
}

fn with_position(conn: &Connection, next: &Position, write: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    // Dropped without a commit, it rolls back.
    let tx = conn.unchecked_transaction()?;
    write(&tx)?;
    note(&tx, next)?;
    tx.commit()
}

fn note(tx: &Connection, next: &Position) -> rusqlite::Result<()> {
    tx.execute("INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)", params![MOVED, next.text()]).map(drop)
}

fn resources(tx: &Connection, rows: &[ResourceRow]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO resource(number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for row in rows {
        let ResourceRow { number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed } = row;
        insert.execute(params![number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed])?;
    }
    Ok(())
}

fn audit(tx: &Connection, rows: &[AuditRow]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO audit(number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for row in rows {
        let AuditRow { number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields } = row;
        insert.execute(params![number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields])?;
    }
    Ok(())
}

fn suppressions(tx: &Connection, rows: &[SuppressionRow]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached("INSERT INTO suppression(workspace, scope, address, reason, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for SuppressionRow { workspace, scope, address, reason, at_ms } in rows {
        insert.execute(params![workspace, scope, address, reason, at_ms])?;
    }
    Ok(())
}

fn requests(tx: &Connection, rows: &[(i64, BinRequest)]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO request(bin, number, at_ms, method, target, headers, body, ip) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (bin, request) in rows {
        let BinRequest { number, at_ms, method, target, headers, body, ip } = request;
        let headers = serde_json::to_string(headers).expect("headers are plain strings");
        insert.execute(params![bin, number, at_ms, method, target, headers, &body[..], ip])?;
    }
    Ok(())
}

/// As [`apply::append`] and [`apply::settle`] leave them.
fn events(tx: &Connection, memory: &mut Memory, chunk: &Chunk, floor: i64, changes: &mut Changes) -> rusqlite::Result<()> {
    let Memory { words, marks } = memory;
    let mut event_row = tx.prepare_cached(EVENT)?;
    let mut delivery_row = tx.prepare_cached(DELIVERY)?;
    let mut marker = Marker::new(tx)?;
    for (event, deliveries) in chunk.with_deliveries() {
        let type_id = event.type_name.as_ref().map(|name| words.type_id(tx, name, &mut changes.types)).transpose()?;
        let source = words.source(tx, &event.source)?;
        event_row.execute(params![event.sequence.0, event.workspace, type_id, event.received_ms, source, &event.payload[..]])?;
        changes.count_event((event.workspace, type_id.unwrap_or(0)));
        marks.event(&mut marker, event.workspace, type_id, event.sequence, &mut changes.marked)?;
        for delivery in deliveries {
            let first_attempt_ms = if delivery.attempts == 0 { delivery.received_ms } else { delivery.first_attempt_ms };
            delivery_row.execute(params![
                delivery.key.0,
                delivery.workspace,
                delivery.subscription,
                delivery.target,
                rows::state_code(delivery.state),
                delivery.attempts,
                first_attempt_ms,
                delivery.due_ms,
                delivery.is_batch,
                delivery.updated_ms,
                delivery.received_ms,
            ])?;
            changes.count(delivery.target, delivery.workspace, delivery.state, 1);
            marks.owned(delivery.target, delivery.workspace);
            if delivery.state.is_terminal() {
                marks.outcome(&mut marker, delivery.target, delivery.state, delivery.key, &mut changes.marked)?;
            }
        }
    }
    let mut first_row = tx.prepare_cached(apply::FIRST_ATTEMPT)?;
    let mut later_row = tx.prepare_cached(apply::LATER_ATTEMPT)?;
    for (key, attempt) in &chunk.attempts {
        let (row, number) = if attempt.number == 1 { (&mut first_row, None) } else { (&mut later_row, Some(attempt.number)) };
        apply::insert_attempt(tx, row, number, words, *key, attempt)?;
    }
    let mut subject_row = tx.prepare_cached(SUBJECT)?;
    for (hash, sequence) in &chunk.subjects {
        subject_row.execute([sequence, hash])?;
    }
    let mut part_row = tx.prepare_cached("INSERT INTO batch_part(batch, first, members) VALUES (?1, ?2, ?3)")?;
    for part in &chunk.parts {
        part_row.execute(params![part.batch.0, part.first, varint::pack(&part.members)])?;
        if part.batch < DeliveryKey(floor << posthaste_domain::id::ORDINAL_BITS) {
            changes.joined.insert(part.batch);
        }
    }
    if let (Some(first), Some(last)) = (chunk.events.first(), chunk.events.last()) {
        changes.first = Some((first.sequence.0, first.received_ms));
        changes.last = Some((last.sequence.0, last.received_ms));
    }
    Ok(())
}
