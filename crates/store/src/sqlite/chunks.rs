//! Events of a journal, and all that lies with them, read from one end to the other, to be moved.

use std::sync::Arc;

use posthaste_domain::id::{DeliveryKey, Sequence};
use rusqlite::{Row, params};

use super::readers::{Lease, Pool};
use super::rows::{self, RawAttempt, RawEvent};
use super::schema::BLOCK_BITS;
use super::segments::Segment;
use super::{sql_count, varint};
use crate::migrate::rows::{Chunk, Cursor, Limits, PartRow, Start};
use crate::{IdempotencyRecord, StoreError};

const EVENTS: &str = "SELECT sequence, workspace, type, received_ms, source, payload FROM event WHERE sequence > ?1 AND sequence <= ?3 ORDER BY sequence LIMIT ?2";
pub(super) const DELIVERIES: &str = "SELECT key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch, updated_ms, \
     received_ms FROM delivery WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
pub(super) const FIRST_ATTEMPTS: &str = "SELECT 1, at_ms, duration_us, error, message, fault, status, request, request_values, response, \
     response_values, body, delivery FROM first_attempt WHERE delivery BETWEEN ?1 AND ?2 ORDER BY delivery";
pub(super) const LATER_ATTEMPTS: &str = "SELECT number, at_ms, duration_us, error, message, fault, status, request, request_values, response, \
     response_values, body, delivery FROM attempt WHERE delivery BETWEEN ?1 AND ?2 ORDER BY delivery, number";
const PARTS: &str =
    "SELECT batch, first, members FROM batch_part INDEXED BY batch_part_first WHERE first BETWEEN ?1 AND ?2 ORDER BY first, batch";
const SUBJECTS: &str = "SELECT hash, sequence FROM subject WHERE block = ?1";
const IDEMPOTENCY: &str = "SELECT workspace, key, hash, first, count, at_ms FROM idempotency WHERE (workspace, key) > (?1, ?2)
     ORDER BY workspace, key LIMIT ?3";

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

/// The journal.
pub(super) struct Chunks {
    /// Oldest first.
    segments: Vec<Arc<Segment>>,
    pool: Arc<Pool>,
    limits: Limits,
    /// Where buckets begin.
    starts: Vec<Start>,
    block: Option<Block>,
}

impl Chunks {
    /// Of these segments, oldest first.
    pub(super) fn new(segments: Vec<Arc<Segment>>, limits: Limits, buckets: Buckets) -> Self {
        let starts = starts(&segments, buckets);
        Self { segments, pool: Arc::default(), limits, starts, block: None }
    }

    /// The segments.
    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// How much is taken at once.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// A connection for reading.
    pub(super) fn reader(&self, segment: &Arc<Segment>) -> Result<Lease, StoreError> {
        self.pool.take(segment)
    }

    /// Where the first bucket begins.
    pub(super) fn start(&self) -> Start {
        self.starts.first().copied().unwrap_or_default()
    }

    /// The segment of the first event behind a sequence.
    pub(super) fn behind(&self, after: i64) -> Option<Arc<Segment>> {
        self.segments.iter().find(|segment| segment.with(|state| state.last_sequence > after)).cloned()
    }

    /// Page by page through one segment after the other.
    pub(super) fn idempotency(&self, cursor: &Cursor) -> Result<Option<(Vec<IdempotencyRecord>, Cursor)>, StoreError> {
        for segment in self.segments.iter().filter(|segment| i64::from(segment.id) >= cursor.a) {
            if let Some(found) = self.keys_of(segment, cursor)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A page of one segment.
    pub(super) fn keys_of(&self, segment: &Arc<Segment>, cursor: &Cursor) -> Result<Option<(Vec<IdempotencyRecord>, Cursor)>, StoreError> {
        let id = i64::from(segment.id);
        // Workspaces have numbers from 1 on.
        let (workspace, key) = if id == cursor.a { (cursor.b, &*cursor.text) } else { (0, "") };
        let reader = self.pool.take(segment)?;
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
            select.query_map(params![workspace, key, sql_count(self.limits.rows)], read)?.collect()
        };
        let rows = select().map_err(segment.failed())?;
        let behind = |last: &IdempotencyRecord| Cursor { a: id, b: last.workspace, text: last.key.clone(), more: String::new() };
        Ok(rows.last().map(behind).map(|cursor| (rows, cursor)))
    }

    /// The first events of a segment behind a sequence, and up to another, with all that lies with them.
    pub(super) fn read(&mut self, segment: &Arc<Segment>, after: i64, last: i64) -> Result<Option<Chunk>, StoreError> {
        let mut reader = self.pool.take(segment)?;
        let failed = segment.failed();
        let Some(mut chunk) = events(&mut reader, after, last, &self.limits).map_err(&failed)? else { return Ok(None) };
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
        Ok(Some(chunk))
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
fn events(reader: &mut Lease, after: i64, last: i64, limits: &Limits) -> rusqlite::Result<Option<Chunk>> {
    let mut raws: Vec<RawEvent> = Vec::new();
    {
        let mut select = reader.conn.prepare_cached(EVENTS)?;
        let mut rows = select.query([after, sql_count(limits.rows), last])?;
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

/// The first and last key that deliveries of events behind a sequence, up to another, can have.
pub(super) fn keys_between(after: i64, end: i64) -> [i64; 2] {
    [DeliveryKey::range_of(Sequence(after + 1)).0.0, DeliveryKey::range_of(Sequence(end)).1.0]
}

/// The first and last key that a chunk can have.
fn keys(after: i64, chunk: &Chunk) -> [i64; 2] {
    keys_between(after, chunk.end)
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
