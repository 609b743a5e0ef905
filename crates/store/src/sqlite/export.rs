//! A data directory read from one end to the other, to be moved: pages of rows by their keys.
//!
//! No server may run on it, so what was read once stays true.

use std::path::Path;

use rusqlite::{Row, params};

use super::beside::{Stamps, changes};
use super::bins::{self, BinsDb};
use super::catalog::CatalogDb;
use super::chunks::{Buckets, Chunks};
use super::lock::DirectoryLock;
use super::segments::Segments;
use super::{people, sql_count, varint};
use crate::StoreError;
use crate::migrate::Counts;
use crate::migrate::rows::{AuditRow, Body, Cursor, Done, Ends, Limits, Note, Phase, Position, ResourceRow, Start, Step, SuppressionRow};
use crate::{BinRequest, Record};

const RESOURCES: &str = "SELECT number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed FROM resource
     WHERE number > ?1 ORDER BY number LIMIT ?2";
const AUDIT: &str = "SELECT number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields FROM audit
     WHERE number > ?1 ORDER BY number LIMIT ?2";
const SUPPRESSIONS: &str = "SELECT workspace, scope, address, reason, at_ms FROM suppression
     WHERE (workspace, scope, address) > (?1, ?2, ?3) ORDER BY workspace, scope, address LIMIT ?4";
const BINS: &str = "SELECT bin, last FROM bin WHERE bin > ?1 ORDER BY bin LIMIT ?2";
const REQUESTS: &str = "SELECT number, at_ms, method, target, headers, body, ip, bin FROM request
     WHERE (bin, number) > (?1, ?2) ORDER BY bin, number LIMIT ?3";

/// What `sqlite_sequence` says of a table.
const LAST_NUMBER: &str = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0)";

/// An open data directory.
pub(crate) struct Export {
    catalog: CatalogDb,
    bins: BinsDb,
    segments: Segments,
    chunks: Chunks,
    limits: Limits,
    /// What was moved while a server ran.
    notes: Vec<Note>,
    stamps: Stamps,
    // Last: the directory is let go of when all files are closed.
    _lock: DirectoryLock,
}

impl Export {
    /// Takes a directory.
    pub(crate) fn open(dir: &Path, limits: Limits, buckets: Buckets) -> Result<Self, StoreError> {
        let lock = DirectoryLock::take(dir)?;
        let journal = dir.join("journal");
        let catalog = CatalogDb::open(dir, Segments::exist(&journal)?)?;
        let bins = BinsDb::open(dir)?;
        // Before the files are opened for writing, which changes some.
        let stamps = Stamps::of(&journal);
        let segments = Segments::open(&journal)?;
        let chunks = Chunks::new(segments.all(), limits, buckets);
        Ok(Self { catalog, bins, segments, chunks, limits, notes: Vec::new(), stamps, _lock: lock })
    }

    /// Tells what was moved while a server ran, so that it is looked at again.
    pub(crate) fn look_again_at(&mut self, notes: Vec<Note>) {
        self.notes = notes;
    }

    /// The catalog, secrets in place.
    pub(crate) fn records(&self) -> Result<Vec<Record>, StoreError> {
        self.catalog.load()
    }

    /// The largest numbers there are.
    pub(crate) fn ends(&self) -> Result<Ends, StoreError> {
        let last = |table: &str| self.catalog.beside(|conn| conn.query_row(LAST_NUMBER, [table], |row| row.get(0)));
        let (sequence, received_ms) = self.segments.last();
        Ok(Ends { resource: last("resource")?, audit: last("audit")?, sequence, received_ms })
    }

    /// Where the first bucket begins.
    pub(crate) fn start(&self) -> Start {
        self.chunks.start()
    }

    /// How much there is besides what is `done`, all of it looked at only if `is_exact`; otherwise what counts for the progress.
    pub(crate) fn counts(&self, is_exact: bool, done: &Done) -> Result<Counts, StoreError> {
        let beside = |table: &str| {
            let sql = format!("SELECT count(*) FROM {table}");
            self.catalog.beside(|conn| conn.query_row(&sql, [], |row| row.get::<_, i64>(0))).map(i64::unsigned_abs)
        };
        let bins = |table: &str| {
            let sql = format!("SELECT count(*) FROM {table}");
            self.bins.beside(|conn| conn.query_row(&sql, [], |row| row.get::<_, i64>(0))).map(i64::unsigned_abs)
        };
        let mut counts = Counts {
            resources: beside("resource")?,
            audit: beside("audit")?,
            sessions: beside("session")?,
            suppressions: beside("suppression")?,
            bins: bins("bin")?,
            requests: bins("request")?,
            ..Counts::default()
        };
        for segment in self.chunks.segments() {
            let (events, pending, first, last) = segment.with(|state| {
                let pending = state.pending.values().map(|lane| lane.total()).sum::<i64>();
                (state.tally.total(), pending, state.first_sequence, state.last_sequence)
            });
            counts.pending += pending.unsigned_abs();
            let reader = self.chunks.reader(segment)?;
            let count = |table: &str| -> Result<u64, StoreError> {
                let sql = format!("SELECT count(*) FROM {table}");
                let count: i64 = reader.conn.query_row(&sql, [], |row| row.get(0)).map_err(segment.failed())?;
                Ok(count.unsigned_abs())
            };
            counts.events += match events {
                _ if last <= done.events => 0,
                Some(events) if first > done.events => events.unsigned_abs(),
                _ => count(&format!("event WHERE sequence > {}", done.events))?,
            };
            if i64::from(segment.id) > done.keys.a {
                counts.idempotency += count("idempotency")?;
            }
            if is_exact {
                counts.deliveries += count("delivery")?;
                counts.attempts += count("first_attempt")? + count("attempt")?;
                counts.subjects += count("subject")?;
                let mut select = reader.conn.prepare("SELECT members FROM batch_part").map_err(segment.failed())?;
                let mut rows = select.query([]).map_err(segment.failed())?;
                while let Some(row) = rows.next().map_err(segment.failed())? {
                    let members = row.get_ref(0).and_then(|members| Ok(varint::unpack(members.as_blob()?).len()));
                    counts.members += members.map_err(segment.failed())? as u64;
                }
            }
        }
        Ok(counts)
    }

    /// The rows behind a position; `None` when there are no more.
    pub(crate) fn read(&mut self, at: &Position) -> Result<Option<Step>, StoreError> {
        let mut at = at.clone();
        loop {
            let found = match at.phase {
                // These were of an earlier run, or of this one before.
                Phase::Ahead | Phase::KeysAhead => None,
                Phase::Resources => self.resources(&at.cursor)?,
                Phase::Audit => self.audit(&at.cursor)?,
                Phase::Sessions => self.sessions(&at.cursor)?,
                Phase::Suppressions => self.suppressions(&at.cursor)?,
                Phase::Bins => self.bins(&at.cursor)?,
                Phase::Requests => self.requests(&at.cursor)?,
                Phase::Changes => self.changes(&at.cursor)?,
                Phase::Events => self.chunk(at.cursor.a)?,
                Phase::Idempotency => self.chunks.idempotency(&at.cursor)?.map(|(rows, cursor)| (Body::Idempotency(rows), cursor)),
                Phase::Done => return Ok(None),
            };
            match found {
                Some((body, cursor)) => return Ok(Some(Step { body, next: at.at(cursor) })),
                None => at = at.before(at.phase.next()),
            }
        }
    }

    fn limit(&self) -> i64 {
        sql_count(self.limits.rows)
    }

    fn resources(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(ResourceRow {
                number: row.get(0)?,
                id: row.get(1)?,
                kind: row.get(2)?,
                workspace: row.get(3)?,
                version: row.get(4)?,
                created_ms: row.get(5)?,
                updated_ms: row.get(6)?,
                deleted: row.get(7)?,
                doc: row.get(8)?,
                sealed: row.get(9)?,
            })
        };
        let rows: Vec<ResourceRow> =
            self.catalog.beside(|conn| conn.prepare_cached(RESOURCES)?.query_map([cursor.a, self.limit()], read)?.collect())?;
        Ok(rows.last().map(|last| last.number).map(|a| (Body::Resources(rows), Cursor { a, ..Cursor::default() })))
    }

    fn audit(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(AuditRow {
                number: row.get(0)?,
                workspace: row.get(1)?,
                at_ms: row.get(2)?,
                actor_kind: row.get(3)?,
                actor_id: row.get(4)?,
                actor_label: row.get(5)?,
                action: row.get(6)?,
                kind: row.get(7)?,
                id: row.get(8)?,
                name: row.get(9)?,
                fields: row.get(10)?,
            })
        };
        let rows: Vec<AuditRow> =
            self.catalog.beside(|conn| conn.prepare_cached(AUDIT)?.query_map([cursor.a, self.limit()], read)?.collect())?;
        Ok(rows.last().map(|last| last.number).map(|a| (Body::Audit(rows), Cursor { a, ..Cursor::default() })))
    }

    /// All at once: they are few.
    fn sessions(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let rows = if cursor.a == 0 { self.catalog.beside(people::sessions)? } else { Vec::new() };
        Ok((!rows.is_empty()).then(|| (Body::Sessions(rows), Cursor { a: 1, ..Cursor::default() })))
    }

    fn suppressions(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(SuppressionRow { workspace: row.get(0)?, scope: row.get(1)?, address: row.get(2)?, reason: row.get(3)?, at_ms: row.get(4)? })
        };
        let values = params![cursor.a, cursor.text, cursor.more, self.limit()];
        let rows: Vec<SuppressionRow> =
            self.catalog.beside(|conn| conn.prepare_cached(SUPPRESSIONS)?.query_map(values, read)?.collect())?;
        let behind = |last: &SuppressionRow| Cursor { a: last.workspace, b: 0, text: last.scope.clone(), more: last.address.clone() };
        Ok(rows.last().map(behind).map(|cursor| (Body::Suppressions(rows), cursor)))
    }

    fn bins(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<(i64, i64)> =
            self.bins.beside(|conn| conn.prepare_cached(BINS)?.query_map([cursor.a, self.limit()], read)?.collect())?;
        Ok(rows.last().map(|last| last.0).map(|a| (Body::Bins(rows), Cursor { a, ..Cursor::default() })))
    }

    fn requests(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let limits = self.limits;
        let rows = self.bins.beside(|conn| {
            let mut select = conn.prepare_cached(REQUESTS)?;
            let mut found = select.query([cursor.a, cursor.b, self.limit()])?;
            let (mut rows, mut bytes): (Vec<(i64, BinRequest)>, usize) = (Vec::new(), 0);
            while bytes < limits.bytes
                && let Some(row) = found.next()?
            {
                let request = bins::request(row)?;
                bytes += request.body.len();
                rows.push((row.get(7)?, request));
            }
            Ok(rows)
        })?;
        let behind = |last: &(i64, BinRequest)| Cursor { a: last.0, b: last.1.number, ..Cursor::default() };
        Ok(rows.last().map(behind).map(|cursor| (Body::Requests(rows), cursor)))
    }

    /// The events behind a sequence, with all that lies with them.
    fn chunk(&mut self, after: i64) -> Result<Option<(Body, Cursor)>, StoreError> {
        let Some(segment) = self.chunks.behind(after) else { return Ok(None) };
        let chunk = self.chunks.read(&segment, after, i64::MAX)?;
        Ok(chunk.map(|chunk| (Position::behind(chunk.end).cursor, chunk)).map(|(cursor, chunk)| (Body::Chunk(Box::new(chunk)), cursor)))
    }

    /// What changed, behind a note and a key, of what was moved while a server ran.
    fn changes(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let place = self.notes.partition_point(|note| note.end <= cursor.a);
        let mut after = place.checked_sub(1).map_or(0, |place| self.notes[place].end);
        let mut behind = cursor.b;
        for note in &self.notes[place..] {
            let found = changes(&self.chunks, &self.stamps, (after, behind), note)?;
            if let Some((changes, is_whole)) = found {
                let last = changes.deliveries.last().map_or(0, |delivery| delivery.key.0);
                let (a, b) = if is_whole { (note.end, 0) } else { (after, last) };
                return Ok(Some((Body::Changes(Box::new(changes)), Cursor { a, b, ..Cursor::default() })));
            }
            (after, behind) = (note.end, 0);
        }
        Ok(None)
    }
}
