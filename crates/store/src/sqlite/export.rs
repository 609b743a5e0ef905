//! A data directory read from one end to the other, to be moved: pages of rows by their keys.
//!
//! No server may run on it, so what was read once stays true.

use std::path::Path;
use std::sync::Arc;

use posthaste_domain::id::{DeliveryKey, Sequence};
use rusqlite::{Row, params};

use super::bins::{self, BinsDb};
use super::catalog::CatalogDb;
use super::lock::DirectoryLock;
use super::readers::{Lease, Pool};
use super::rows::{self, RawAttempt, RawEvent};
use super::schema::BLOCK_BITS;
use super::segments::{Segment, Segments};
use super::{people, sql_count, varint};
use crate::StoreError;
use crate::migrate::Counts;
use crate::migrate::rows::{
    AuditRow, Body, Chunk, Cursor, Ends, Limits, PartRow, Phase, Position, ResourceRow, Start, Step, SuppressionRow,
};
use crate::{BinRequest, IdempotencyRecord, Record};

const EVENTS: &str =
    "SELECT sequence, workspace, type, received_ms, source, payload FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
const DELIVERIES: &str = "SELECT key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch, updated_ms, \
     received_ms FROM delivery WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
const FIRST_ATTEMPTS: &str = "SELECT 1, at_ms, duration_us, error, message, fault, status, request, request_values, response, \
     response_values, body, delivery FROM first_attempt WHERE delivery BETWEEN ?1 AND ?2 ORDER BY delivery";
const LATER_ATTEMPTS: &str = "SELECT number, at_ms, duration_us, error, message, fault, status, request, request_values, response, \
     response_values, body, delivery FROM attempt WHERE delivery BETWEEN ?1 AND ?2 ORDER BY delivery, number";
const PARTS: &str =
    "SELECT batch, first, members FROM batch_part INDEXED BY batch_part_first WHERE first BETWEEN ?1 AND ?2 ORDER BY first, batch";
const SUBJECTS: &str = "SELECT hash, sequence FROM subject WHERE block = ?1";
const IDEMPOTENCY: &str = "SELECT workspace, key, hash, first, count, at_ms FROM idempotency WHERE (workspace, key) > (?1, ?2)
     ORDER BY workspace, key LIMIT ?3";
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

/// When one bucket of the destination is followed by the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    pub(crate) bytes: u64,
    pub(crate) age_ms: i64,
}

/// Hashes of what the events of a block are about, by sequence.
struct Block {
    segment: u32,
    block: i64,
    rows: Vec<(i64, i64)>,
}

/// An open data directory.
pub(crate) struct Export {
    catalog: CatalogDb,
    bins: BinsDb,
    segments: Segments,
    pool: Arc<Pool>,
    limits: Limits,
    /// Where buckets begin.
    starts: Vec<Start>,
    block: Option<Block>,
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
        let segments = Segments::open(&journal)?;
        let starts = starts(&segments.all(), buckets);
        Ok(Self { catalog, bins, segments, pool: Arc::default(), limits, starts, block: None, _lock: lock })
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
        self.starts.first().copied().unwrap_or_default()
    }

    /// How much there is, all of it looked at only if `is_exact`; otherwise what counts for the progress.
    pub(crate) fn counts(&self, is_exact: bool) -> Result<Counts, StoreError> {
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
        for segment in self.segments.all() {
            let (events, pending) =
                segment.with(|state| (state.tally.total(), state.pending.values().map(|lane| lane.total()).sum::<i64>()));
            counts.pending += pending.unsigned_abs();
            let reader = self.pool.take(&segment)?;
            let count = |table: &str| -> Result<u64, StoreError> {
                let sql = format!("SELECT count(*) FROM {table}");
                let count: i64 = reader.conn.query_row(&sql, [], |row| row.get(0)).map_err(segment.failed())?;
                Ok(count.unsigned_abs())
            };
            counts.events += events.map_or_else(|| count("event"), |events| Ok(events.unsigned_abs()))?;
            counts.idempotency += count("idempotency")?;
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
                Phase::Resources => self.resources(&at.cursor)?,
                Phase::Audit => self.audit(&at.cursor)?,
                Phase::Sessions => self.sessions(&at.cursor)?,
                Phase::Suppressions => self.suppressions(&at.cursor)?,
                Phase::Bins => self.bins(&at.cursor)?,
                Phase::Requests => self.requests(&at.cursor)?,
                Phase::Events => self.chunk(at.cursor.a)?,
                Phase::Idempotency => self.idempotency(&at.cursor)?,
                Phase::Done => return Ok(None),
            };
            match found {
                Some((body, cursor)) => return Ok(Some(Step { body, next: Position { phase: at.phase, cursor } })),
                None => at = Position::of(at.phase.next()),
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

    /// Page by page through one segment after the other.
    fn idempotency(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        let mut cursor = cursor.clone();
        let begun = cursor.a;
        for segment in self.segments.all().into_iter().filter(|segment| i64::from(segment.id) >= begun) {
            if i64::from(segment.id) > cursor.a {
                // Workspaces have numbers from 1 on.
                cursor = Cursor { a: segment.id.into(), ..Cursor::default() };
            }
            let reader = self.pool.take(&segment)?;
            let read = |row: &Row<'_>| {
                Ok(IdempotencyRecord {
                    workspace: row.get(0)?,
                    key: row.get(1)?,
                    body_hash: row.get(2)?,
                    first: Sequence(row.get(3)?),
                    count: row.get(4)?,
                    at_ms: row.get(5)?,
                })
            };
            let select = || -> rusqlite::Result<Vec<IdempotencyRecord>> {
                let mut select = reader.conn.prepare_cached(IDEMPOTENCY)?;
                select.query_map(params![cursor.b, cursor.text, self.limit()], read)?.collect()
            };
            let rows = select().map_err(segment.failed())?;
            if let Some(last) = rows.last() {
                let behind = Cursor { a: cursor.a, b: last.workspace, text: last.key.clone(), more: String::new() };
                return Ok(Some((Body::Idempotency(rows), behind)));
            }
        }
        Ok(None)
    }

    /// The events behind a sequence, with all that lies with them.
    fn chunk(&mut self, after: i64) -> Result<Option<(Body, Cursor)>, StoreError> {
        let Some(segment) = self.segments.matching(|segment| segment.with(|state| state.last_sequence > after)).into_iter().next() else {
            return Ok(None);
        };
        let mut reader = self.pool.take(&segment)?;
        let failed = segment.failed();
        let Some(mut chunk) = events(&mut reader, after, &self.limits).map_err(&failed)? else { return Ok(None) };
        let before = self.starts.partition_point(|start| start.first <= chunk.end);
        chunk.bucket = before.checked_sub(1).map_or_else(Start::default, |place| self.starts[place]);
        deliveries(&reader, after, &mut chunk, &self.limits).map_err(&failed)?;
        attempts(&mut reader, after, &mut chunk, &self.limits).map_err(&failed)?;
        parts(&reader, after, &mut chunk).map_err(&failed)?;
        let first = chunk.events.first().map_or(after + 1, |event| event.sequence.0);
        for block in first >> BLOCK_BITS..=chunk.end >> BLOCK_BITS {
            if self.block.as_ref().is_none_or(|known| (known.segment, known.block) != (segment.id, block)) {
                self.block = Some(Block { segment: segment.id, block, rows: subjects(&reader, block).map_err(&failed)? });
            }
            let rows = self.block.as_ref().map_or(&[][..], |known| &known.rows);
            let (low, high) = (rows.partition_point(|row| row.1 <= after), rows.partition_point(|row| row.1 <= chunk.end));
            chunk.subjects.extend_from_slice(&rows[low..high]);
        }
        let cursor = Position::behind(chunk.end).cursor;
        Ok(Some((Body::Chunk(Box::new(chunk)), cursor)))
    }
}

/// Segments that follow each other are one bucket while they are small and young enough.
fn starts(segments: &[Arc<Segment>], buckets: Buckets) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    let (mut bytes, mut first_ms) = (0, 0);
    for segment in segments {
        let (own, own_first_ms, last_ms) =
            segment.with(|state| (segment.plain_bytes.unwrap_or(state.bytes), state.first_ms, state.last_ms));
        let fits = bytes + own <= buckets.bytes && last_ms.saturating_sub(first_ms) <= buckets.age_ms;
        if starts.is_empty() || !fits {
            starts.push(Start { first: segment.floor, floor_ms: segment.floor_ms });
            (bytes, first_ms) = (0, own_first_ms);
        }
        bytes += own;
    }
    starts
}

/// Events, and nothing else yet.
fn events(reader: &mut Lease, after: i64, limits: &Limits) -> rusqlite::Result<Option<Chunk>> {
    let mut raws: Vec<RawEvent> = Vec::new();
    {
        let mut select = reader.conn.prepare_cached(EVENTS)?;
        let mut rows = select.query([after, sql_count(limits.rows)])?;
        let mut bytes = 0;
        while bytes < limits.bytes
            && let Some(row) = rows.next()?
        {
            let raw = RawEvent::read(row)?;
            bytes += raw.bytes();
            raws.push(raw);
        }
    }
    let events = raws.into_iter().map(|raw| raw.resolve(reader)).collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(events.last().map(|last| last.sequence.0).map(|end| Chunk { end, events, ..Chunk::default() }))
}

/// The first and last key that a chunk can have.
fn keys(after: i64, chunk: &Chunk) -> [i64; 2] {
    [DeliveryKey::range_of(Sequence(after + 1)).0.0, DeliveryKey::range_of(Sequence(chunk.end)).1.0]
}

/// Adds deliveries; a chunk with too many ends earlier.
fn deliveries(reader: &Lease, after: i64, chunk: &mut Chunk, limits: &Limits) -> rusqlite::Result<()> {
    let mut select = reader.conn.prepare_cached(DELIVERIES)?;
    let mut rows = select.query(keys(after, chunk))?;
    while let Some(row) = rows.next()? {
        let delivery = rows::delivery(row)?;
        let sequence = delivery.key.sequence();
        if chunk.deliveries.len() >= limits.wide && chunk.deliveries.last().is_some_and(|last| last.key.sequence() != sequence) {
            chunk.cut(sequence.0 - 1);
            break;
        }
        chunk.deliveries.push(delivery);
    }
    Ok(())
}

/// Adds attempts; a chunk with too many ends earlier.
fn attempts(reader: &mut Lease, after: i64, chunk: &mut Chunk, limits: &Limits) -> rusqlite::Result<()> {
    let mut raws: Vec<(i64, RawAttempt)> = Vec::new();
    for sql in [FIRST_ATTEMPTS, LATER_ATTEMPTS] {
        let mut select = reader.conn.prepare_cached(sql)?;
        let mut rows = select.query(keys(after, chunk))?;
        let (mut count, mut bytes, mut last) = (0, 0, None);
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(12)?;
            let sequence = DeliveryKey(key).sequence().0;
            if (count >= limits.wide || bytes >= limits.bytes) && last.is_some_and(|last| last != sequence) {
                chunk.cut(sequence - 1);
                break;
            }
            let raw = RawAttempt::read(row)?;
            (count, bytes, last) = (count + 1, bytes + raw.bytes(), Some(sequence));
            raws.push((key, raw));
        }
    }
    // A segment of an earlier release has its first attempts among the others; one of them may have been told again since.
    raws.retain(|(key, _)| DeliveryKey(*key).sequence().0 <= chunk.end);
    raws.sort_by_key(|(key, raw)| (*key, raw.number()));
    raws.dedup_by_key(|(key, raw)| (*key, raw.number()));
    for (key, raw) in raws {
        chunk.attempts.push((DeliveryKey(key), raw.resolve(reader)?));
    }
    Ok(())
}

fn parts(reader: &Lease, after: i64, chunk: &mut Chunk) -> rusqlite::Result<()> {
    let mut select = reader.conn.prepare_cached(PARTS)?;
    let read = |row: &Row<'_>| {
        Ok(PartRow { batch: DeliveryKey(row.get(0)?), first: row.get(1)?, members: varint::unpack(row.get_ref(2)?.as_blob()?) })
    };
    for part in select.query_map([after + 1, chunk.end], read)? {
        chunk.parts.push(part?);
    }
    Ok(())
}

fn subjects(reader: &Lease, block: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut select = reader.conn.prepare_cached(SUBJECTS)?;
    let mut rows: Vec<(i64, i64)> = select.query_map([block], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    rows.sort_unstable_by_key(|row| row.1);
    Ok(rows)
}
