//! Reads of the delivery path: pages of lanes, idempotency keys.
//!
//! Only segments whose counts say that there is something to find are visited.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use posthaste_domain::delivery::{Delivery, DeliveryState, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use rusqlite::{OptionalExtension, params};

use super::readers::{Pool, Reader};
use super::rows;
use super::segments::{Segment, Segments};
use super::sql_count;
pub(super) use crate::page::Page;
use crate::{IdempotencyRecord, LaneSummary, PageLimit, Recovered, StoreError};

/// How long an idempotency key is remembered.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) const QUEUED: &str = "SELECT d.key, d.workspace, d.subscription, d.target, d.state, d.attempts, d.first_attempt_ms, d.due_ms, \
     d.is_batch, d.updated_ms, d.received_ms FROM delivery d INDEXED BY lane \
     WHERE d.target = ?1 AND d.state = 2 AND d.state < 4 AND d.key > ?2 ORDER BY d.key LIMIT ?3";
pub(super) const DUE_AT: &str = "SELECT due_ms, key FROM delivery INDEXED BY due \
     WHERE target = ?1 AND state = 3 AND due_ms = ?2 AND key > ?3 ORDER BY key LIMIT ?4";
pub(super) const DUE_AFTER: &str = "SELECT due_ms, key FROM delivery INDEXED BY due \
     WHERE target = ?1 AND state = 3 AND due_ms > ?2 AND due_ms <= ?3 ORDER BY due_ms, key LIMIT ?4";
pub(super) const IDEMPOTENT: &str = "SELECT hash, first, count, at_ms FROM idempotency WHERE workspace = ?1 AND key = ?2";

/// The event of a delivery; deliveries of one event that follow each other share it.
fn event_of(
    segment: &Arc<Segment>,
    pool: &Arc<Pool>,
    last: &mut Option<Arc<Event>>,
    delivery: &Delivery,
) -> Result<Option<Arc<Event>>, StoreError> {
    let sequence = delivery.key.sequence();
    if last.as_ref().is_none_or(|event| event.sequence != sequence) {
        *last = None;
        *last = rows::event(&mut *pool.take(segment)?, sequence).map_err(segment.failed())?;
    }
    Ok(last.clone())
}

/// Goes on without what a damaged file holds: everything else is not to wait until somebody mends it.
fn skip(error: StoreError) -> Result<(), StoreError> {
    if !matches!(error, StoreError::File { .. }) {
        return Err(error);
    }
    tracing::error!(%error, "pending deliveries cannot be read; they are left out");
    Ok(())
}

fn readable<T>(read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    read.or_else(|error| skip(error).map(|()| None))
}

/// See `Journal::queued`.
pub(super) fn queued(
    segments: &Segments,
    pool: &Arc<Pool>,
    target: i64,
    after: DeliveryKey,
    limit: PageLimit,
) -> Result<Vec<PendingDelivery>, StoreError> {
    let mut page = Page::new(limit);
    for segment in segments.matching(|s| s.pending_of(target).queued > 0 && s.with(|state| state.last_sequence >= after.sequence().0)) {
        let found = match queued_in(&segment, pool, target, after, page.room()) {
            Err(error) => skip(error).map(|()| Vec::new())?,
            Ok(found) => found,
        };
        let mut last = None;
        for delivery in found {
            let Some(event) = readable(event_of(&segment, pool, &mut last, &delivery))? else { continue };
            let bytes = event.payload.len();
            if !page.push(PendingDelivery { delivery, event }, bytes) {
                return Ok(page.items);
            }
        }
        if page.room() == 0 {
            break;
        }
    }
    Ok(page.items)
}

fn queued_in(segment: &Arc<Segment>, pool: &Arc<Pool>, target: i64, after: DeliveryKey, limit: usize) -> Result<Vec<Delivery>, StoreError> {
    let reader = pool.take(segment)?;
    let mut select = reader.conn.prepare_cached(QUEUED).map_err(segment.failed())?;
    let rows = select.query_map(params![target, after.0, sql_count(limit)], rows::delivery).map_err(segment.failed())?;
    rows.collect::<rusqlite::Result<_>>().map_err(segment.failed())
}

/// See `Journal::due`.
pub(super) fn due(
    segments: &Segments,
    pool: &Arc<Pool>,
    target: i64,
    mut after: (i64, DeliveryKey),
    until_ms: i64,
    limit: PageLimit,
) -> Result<Vec<PendingDelivery>, StoreError> {
    let mut page = Page::new(limit);
    loop {
        let mut found: Vec<(i64, DeliveryKey)> = Vec::new();
        for segment in segments.matching(|s| s.pending_of(target).scheduled > 0) {
            let read = pool
                .take(&segment)
                .and_then(|reader| due_in(&reader, target, after, until_ms, page.room(), &mut found).map_err(segment.failed()));
            read.or_else(skip)?;
        }
        found.sort_unstable();
        found.truncate(page.room());
        let Some(end) = found.last().copied() else { return Ok(page.items) };
        // Events are loaded once the order is known, so that no more than a page of payloads is in memory.
        for (due_ms, key) in found {
            let Some(pending) = readable(scheduled(segments, pool, key, due_ms))? else { continue };
            let bytes = pending.event.payload.len();
            if !page.push(pending, bytes) {
                return Ok(page.items);
            }
        }
        if !page.items.is_empty() {
            return Ok(page.items);
        }
        after = end;
    }
}

/// A delivery that was due then; `None` if it was settled since.
fn scheduled(segments: &Segments, pool: &Arc<Pool>, key: DeliveryKey, due_ms: i64) -> Result<Option<PendingDelivery>, StoreError> {
    let Some(segment) = segments.of(key.sequence()) else { return Ok(None) };
    let mut reader = pool.take(&segment)?;
    let delivery = rows::delivery_by_key(&reader, key).map_err(segment.failed())?;
    let Some(delivery) = delivery.filter(|found| found.state == DeliveryState::Scheduled && found.due_ms == due_ms) else {
        return Ok(None);
    };
    let event = rows::event(&mut reader, key.sequence()).map_err(segment.failed())?;
    Ok(event.map(|event| PendingDelivery { delivery, event }))
}

fn due_in(
    reader: &Reader,
    target: i64,
    after: (i64, DeliveryKey),
    until_ms: i64,
    limit: usize,
    found: &mut Vec<(i64, DeliveryKey)>,
) -> rusqlite::Result<()> {
    let start = found.len();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, DeliveryKey(row.get(1)?)));
    if after.0 <= until_ms {
        let mut select = reader.conn.prepare_cached(DUE_AT)?;
        for row in select.query_map(params![target, after.0, after.1.0, sql_count(limit)], read)? {
            found.push(row?);
        }
    }
    let mut select = reader.conn.prepare_cached(DUE_AFTER)?;
    for row in select.query_map(params![target, after.0, until_ms, sql_count(limit - (found.len() - start))], read)? {
        found.push(row?);
    }
    Ok(())
}

/// See `Journal::idempotent`.
pub(super) fn idempotent(
    segments: &Segments,
    pool: &Arc<Pool>,
    workspace: i64,
    key: &str,
    now_ms: i64,
) -> Result<Option<IdempotencyRecord>, StoreError> {
    let oldest_ms = now_ms - IDEMPOTENCY_MS;
    for segment in segments.all().into_iter().rev() {
        let reader = pool.take(&segment)?;
        let found = reader
            .conn
            .prepare_cached(IDEMPOTENT)
            .and_then(|mut select| {
                select
                    .query_row(params![workspace, key], |row| {
                        Ok(IdempotencyRecord {
                            workspace,
                            key: key.to_owned(),
                            body_hash: row.get(0)?,
                            first: Sequence(row.get(1)?),
                            count: row.get(2)?,
                            at_ms: row.get(3)?,
                        })
                    })
                    .optional()
            })
            .map_err(segment.failed())?;
        // The newest record of a key is the only one that counts.
        if let Some(found) = found {
            return Ok((found.at_ms >= oldest_ms).then_some(found));
        }
        // All that is in older segments was received before this.
        if segment.floor_ms < oldest_ms {
            break;
        }
    }
    Ok(None)
}

/// See `Journal::recover`.
pub(super) fn recover(segments: &Segments) -> Recovered {
    let (last_sequence, last_received_ms) = segments.last();
    let mut lanes: BTreeMap<i64, LaneSummary> = BTreeMap::new();
    for segment in segments.matching(|s| s.has_pending()) {
        for (target, pending) in segment.with(|state| state.pending.clone()) {
            let lane = lanes.entry(target).or_insert(LaneSummary { target, queued: 0, scheduled: 0 });
            lane.queued += pending.queued as u64;
            lane.scheduled += pending.scheduled as u64;
        }
    }
    Recovered { last_sequence, last_received_ms, lanes: lanes.into_values().collect() }
}

/// The events of deliveries, as far as they are still there.
pub(super) fn events_of(segments: &Segments, pool: &Arc<Pool>, keys: &[DeliveryKey]) -> Result<HashMap<Sequence, Arc<Event>>, StoreError> {
    let mut events = HashMap::new();
    for sequence in keys.iter().map(|key| key.sequence()) {
        if events.contains_key(&sequence) {
            continue;
        }
        let Some(segment) = segments.of(sequence) else { continue };
        let event = rows::event(&mut *pool.take(&segment)?, sequence).map_err(segment.failed())?;
        events.extend(event.map(|event| (sequence, event)));
    }
    Ok(events)
}
