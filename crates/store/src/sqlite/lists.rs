//! Lists for people: key-range reads, one segment after the other in the order of the list.

use std::sync::Arc;

use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, MAX_ORDINAL, ORDINAL_BITS, Sequence};
use posthaste_domain::message::{OUTGOING_EMAIL, OUTGOING_SMS};
use rusqlite::{OptionalExtension, params};

use super::readers::{Pool, Reader};
use super::rows::{self, RawEvent};
use super::segments::{Segment, Segments};
use super::{sql_count, varint};
use crate::{DeliveryFilter, EventFilter, Order, Range, StoreError};

/// Keys that a merge of many runs holds before it looks which it needs.
const MERGED_KEYS: usize = 4096;

const ALL_STATES: [DeliveryState; 5] =
    [DeliveryState::Queued, DeliveryState::Scheduled, DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Cancelled];

/// The statements of all lists in one direction. Each walks one index in its own order; a test looks at their plans.
pub(super) struct Statements {
    /// Events of a workspace.
    pub(super) events: &'static str,
    /// Sequences of a type's events.
    pub(super) sequences_of_type: &'static str,
    /// Events of a type.
    pub(super) events_of_type: &'static str,
    /// Deliveries of a workspace, through its events.
    pub(super) deliveries: &'static str,
    /// Deliveries of a type, through its events.
    pub(super) deliveries_of_type: &'static str,
    /// Keys of a target and a state other than scheduled (those are ordered by due time there).
    pub(super) lane: &'static str,
    /// Keys of a target's scheduled deliveries.
    pub(super) waiting: &'static str,
    /// Keys of a workspace and a state other than queued.
    pub(super) outcome: &'static str,
}

macro_rules! statements {
    ($order:literal) => {
        Statements {
            events: concat!(
                "SELECT sequence, workspace, type, received_ms, source, payload FROM event INDEXED BY event_workspace \
                 WHERE workspace = ?1 AND sequence BETWEEN ?2 AND ?3 AND type IS NOT ?5 AND type IS NOT ?6 ORDER BY sequence ",
                $order,
                " LIMIT ?4"
            ),
            sequences_of_type: concat!(
                "SELECT sequence FROM event INDEXED BY event_type WHERE workspace = ?1 AND sequence BETWEEN ?2 AND ?3 AND type = ?5 \
                 ORDER BY sequence ",
                $order,
                " LIMIT ?4"
            ),
            events_of_type: concat!(
                "SELECT sequence, workspace, type, received_ms, source, payload FROM event INDEXED BY event_type \
                 WHERE workspace = ?1 AND sequence BETWEEN ?2 AND ?3 AND type IS ?5 ORDER BY sequence ",
                $order,
                " LIMIT ?4"
            ),
            deliveries: concat!(
                "SELECT d.key, d.workspace, d.subscription, d.target, d.state, d.attempts, d.first_attempt_ms, d.due_ms, d.is_batch, \
                 d.updated_ms, d.received_ms \
                 FROM event e INDEXED BY event_workspace CROSS JOIN delivery d ON d.key BETWEEN e.sequence << 20 AND e.sequence << 20 | 1048575 \
                 WHERE e.workspace = ?1 AND e.sequence BETWEEN ?2 >> 20 AND ?3 >> 20 AND +d.key BETWEEN ?2 AND ?3 \
                 ORDER BY e.sequence ",
                $order,
                ", d.key ",
                $order,
                " LIMIT ?4"
            ),
            deliveries_of_type: concat!(
                "SELECT d.key, d.workspace, d.subscription, d.target, d.state, d.attempts, d.first_attempt_ms, d.due_ms, d.is_batch, \
                 d.updated_ms, d.received_ms \
                 FROM event e INDEXED BY event_type CROSS JOIN delivery d ON d.key BETWEEN e.sequence << 20 AND e.sequence << 20 | 1048575 \
                 WHERE e.workspace = ?1 AND e.type = ?5 AND e.sequence BETWEEN ?2 >> 20 AND ?3 >> 20 AND +d.key BETWEEN ?2 AND ?3 \
                 AND ?6 >> d.state & 1 ORDER BY e.sequence ",
                $order,
                ", d.key ",
                $order,
                " LIMIT ?4"
            ),
            lane: concat!(
                "SELECT key FROM delivery INDEXED BY lane WHERE target = ?1 AND state = ?5 AND due_ms = 0 AND key BETWEEN ?2 AND ?3 \
                 ORDER BY key ",
                $order,
                " LIMIT ?4"
            ),
            waiting: concat!(
                "SELECT key FROM delivery INDEXED BY waiting WHERE target = ?1 AND state = 1 AND key BETWEEN ?2 AND ?3 ORDER BY key ",
                $order,
                " LIMIT ?4"
            ),
            outcome: concat!(
                "SELECT key FROM delivery INDEXED BY outcome WHERE workspace = ?1 AND state = ?5 AND state >= 1 AND key BETWEEN ?2 AND ?3 \
                 ORDER BY key ",
                $order,
                " LIMIT ?4"
            ),
        }
    };
}

/// The first event from a sequence on.
pub(super) const NEXT_EVENT: &str = "SELECT sequence, received_ms FROM event WHERE sequence >= ?1 ORDER BY sequence LIMIT 1";
pub(super) const TYPE_ID: &str = "SELECT id FROM type WHERE name = ?1";
pub(super) const HAS_TYPE: &str = "SELECT type IS ?2 FROM event WHERE sequence = ?1";
pub(super) const OWN_DELIVERIES: &str = "SELECT key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch, \
     updated_ms, received_ms FROM delivery WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
/// The commit that an event came with, if it brought a batch anything.
pub(super) const COMMIT_OF: &str = "SELECT max(first) FROM batch_part INDEXED BY batch_part_first WHERE first <= ?1";
pub(super) const PARTS_OF_COMMIT: &str = "SELECT batch, members FROM batch_part INDEXED BY batch_part_first WHERE first = ?1";

/// Oldest first.
pub(super) const ASCENDING: Statements = statements!("ASC");
/// Newest first.
pub(super) const DESCENDING: Statements = statements!("DESC");

fn statements(order: Order) -> &'static Statements {
    match order {
        Order::Asc => &ASCENDING,
        Order::Desc => &DESCENDING,
    }
}

/// Keys from `low` to `high`, both included.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Span {
    /// What follows `key` in an order.
    pub(super) fn after(self, order: Order, key: Option<i64>) -> Self {
        match (order, key) {
            (_, None) => self,
            (Order::Asc, Some(key)) => Self { low: self.low.max(key.saturating_add(1)), ..self },
            (Order::Desc, Some(key)) => Self { high: self.high.min(key.saturating_sub(1)), ..self },
        }
    }

    /// What does not come after `key` in an order.
    fn until(self, order: Order, key: Option<i64>) -> Self {
        match (order, key) {
            (_, None) => self,
            (Order::Asc, Some(key)) => Self { high: self.high.min(key), ..self },
            (Order::Desc, Some(key)) => Self { low: self.low.max(key), ..self },
        }
    }

    /// What lies from `low` to `high`.
    pub(super) fn within(self, low: i64, high: i64) -> Self {
        Self { low: self.low.max(low), high: self.high.min(high) }
    }

    pub(super) fn is_empty(self) -> bool {
        self.low > self.high
    }
}

/// The segments that a list visits, in its order.
pub(super) fn in_order(segments: &Segments, range: &Range) -> Vec<Arc<Segment>> {
    let from_ms = range.from_ms.unwrap_or(i64::MIN);
    let to_ms = range.to_ms.unwrap_or(i64::MAX);
    let mut list = segments.matching(|s| s.with(|state| state.last_sequence > 0 && state.last_ms >= from_ms && state.first_ms < to_ms));
    if range.order == Order::Desc {
        list.reverse();
    }
    list
}

/// The sequences of a segment that were received in the range.
pub(super) fn sequences(reader: &Reader, range: &Range) -> rusqlite::Result<Span> {
    let (first, last, first_ms, last_ms) =
        reader.segment.with(|state| (state.first_sequence, state.last_sequence, state.first_ms, state.last_ms));
    let low = match range.from_ms {
        Some(ms) if ms > first_ms => received_from(reader, first, last, ms)?,
        _ => first,
    };
    let high = match range.to_ms {
        Some(ms) if ms <= last_ms => received_from(reader, first, last, ms)? - 1,
        _ => last,
    };
    Ok(Span { low, high })
}

/// The first sequence received at or after a time, or one above the last. Times never decrease with sequences, so this bisects.
fn received_from(reader: &Reader, first: i64, last: i64, ms: i64) -> rusqlite::Result<i64> {
    let mut at = reader.conn.prepare_cached(NEXT_EVENT)?;
    let (mut low, mut high) = (first, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> = at.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((sequence, received_ms)) if received_ms < ms => low = sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The number of a type in a segment, if any event there has it.
pub(super) fn type_id(reader: &Reader, name: &str) -> rusqlite::Result<Option<i64>> {
    reader.conn.prepare_cached(TYPE_ID)?.query_row([name], |row| row.get(0)).optional()
}

/// See `History::events`.
pub(super) fn events(
    segments: &Segments,
    pool: &Arc<Pool>,
    workspace: i64,
    filter: &EventFilter,
    range: &Range,
) -> Result<Vec<Arc<Event>>, StoreError> {
    let mut events = Vec::new();
    for segment in in_order(segments, range) {
        if events.len() >= range.limit {
            break;
        }
        let mut reader = pool.take(&segment)?;
        let raws = events_in(&reader, workspace, filter, range, range.limit - events.len()).map_err(segment.failed())?;
        for raw in raws {
            events.push(raw.resolve(&mut reader).map_err(segment.failed())?);
        }
    }
    Ok(events)
}

fn events_in(reader: &Reader, workspace: i64, filter: &EventFilter, range: &Range, limit: usize) -> rusqlite::Result<Vec<RawEvent>> {
    let span = sequences(reader, range)?.after(range.order, range.after);
    if span.is_empty() {
        return Ok(Vec::new());
    }
    let sql = statements(range.order);
    if let Some(names) = &filter.type_names {
        let wanted = |name: &&String| filter.type_name.as_ref().is_none_or(|only| only.as_ref() == Some(*name));
        return events_of_types(reader, workspace, names.iter().filter(wanted), range.order, span, limit);
    }
    let limit = sql_count(limit);
    let Some(type_name) = &filter.type_name else {
        // No type has this number.
        let hidden = |name| type_id(reader, name).map(|id| id.unwrap_or(-1));
        let (mail, sms) = (hidden(OUTGOING_EMAIL)?, hidden(OUTGOING_SMS)?);
        let mut select = reader.conn.prepare_cached(sql.events)?;
        return select.query_map(params![workspace, span.low, span.high, limit, mail, sms], RawEvent::read)?.collect();
    };
    let id = match type_name {
        Some(name) => match type_id(reader, name)? {
            Some(id) => Some(id),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let mut select = reader.conn.prepare_cached(sql.events_of_type)?;
    select.query_map(params![workspace, span.low, span.high, limit, id], RawEvent::read)?.collect()
}

/// The first `limit` events among several types: each type's sequences are one range of its index, and only those events are read that
/// are among the first of all.
fn events_of_types<'a>(
    reader: &Reader,
    workspace: i64,
    names: impl Iterator<Item = &'a String>,
    order: Order,
    span: Span,
    limit: usize,
) -> rusqlite::Result<Vec<RawEvent>> {
    let mut sequences: Vec<i64> = Vec::new();
    let mut select = reader.conn.prepare_cached(statements(order).sequences_of_type)?;
    for name in names {
        let Some(id) = type_id(reader, name)? else { continue };
        let found = select.query_map(params![workspace, span.low, span.high, sql_count(limit), id], |row| row.get::<_, i64>(0))?;
        for sequence in found {
            sequences.push(sequence?);
        }
    }
    sequences.sort_unstable_by(|a, b| if order == Order::Asc { a.cmp(b) } else { b.cmp(a) });
    sequences.dedup();
    sequences.truncate(limit);
    let mut select = reader.conn.prepare_cached(rows::EVENT)?;
    sequences.into_iter().map(|sequence| select.query_row([sequence], RawEvent::read)).collect()
}

/// See `History::deliveries`.
pub(super) fn deliveries(
    segments: &Segments,
    pool: &Arc<Pool>,
    workspace: i64,
    filter: &DeliveryFilter,
    range: &Range,
) -> Result<Vec<Delivery>, StoreError> {
    let mut deliveries = Vec::new();
    for segment in in_order(segments, range) {
        if deliveries.len() >= range.limit {
            break;
        }
        let reader = pool.take(&segment)?;
        deliveries_in(&reader, workspace, filter, range, &mut deliveries).map_err(segment.failed())?;
    }
    Ok(deliveries)
}

fn deliveries_in(reader: &Reader, workspace: i64, filter: &DeliveryFilter, range: &Range, out: &mut Vec<Delivery>) -> rusqlite::Result<()> {
    let sequences = sequences(reader, range)?;
    let mut span = Span { low: sequences.low << ORDINAL_BITS, high: sequences.high << ORDINAL_BITS | i64::from(MAX_ORDINAL) };
    span = span.after(range.order, range.after);
    if span.is_empty() {
        return Ok(());
    }
    let type_id = match &filter.type_name {
        Some(name) => match type_id(reader, name)? {
            Some(id) => Some(id),
            None => return Ok(()),
        },
        None => None,
    };
    let room = sql_count(range.limit - out.len());
    let sql = statements(range.order);
    let mask = filter.states.iter().flatten().fold(0, |mask, state| mask | 1 << *state as i64);
    match (&filter.targets, &filter.states, type_id) {
        (None, None, None) => {
            let mut select = reader.conn.prepare_cached(sql.deliveries)?;
            for delivery in select.query_map(params![workspace, span.low, span.high, room], rows::delivery)? {
                out.push(delivery?);
            }
        }
        (None, states, Some(type_id)) => {
            let mask: i64 = if states.is_some() { mask } else { i64::MAX };
            let mut select = reader.conn.prepare_cached(sql.deliveries_of_type)?;
            for delivery in select.query_map(params![workspace, span.low, span.high, room, type_id, mask], rows::delivery)? {
                out.push(delivery?);
            }
        }
        (targets, _, type_id) => {
            let ranges = key_ranges(&reader.segment, workspace, targets.as_deref(), filter.states.as_deref());
            merge(reader, workspace, &ranges, type_id, span, range, out)?;
        }
    }
    Ok(())
}

/// One run of keys in an index.
enum KeyRange {
    Lane { target: i64, state: DeliveryState },
    Waiting { target: i64 },
    Outcome { state: DeliveryState },
}

/// The runs whose union are the deliveries with these targets and states.
fn key_ranges(segment: &Segment, workspace: i64, targets: Option<&[i64]>, states: Option<&[DeliveryState]>) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    for state in ALL_STATES.into_iter().filter(|state| states.is_none_or(|states| states.contains(state))) {
        match targets {
            Some(targets) => {
                let mut targets = targets.to_vec();
                targets.sort_unstable();
                targets.dedup();
                ranges.extend(targets.into_iter().map(|target| match state {
                    DeliveryState::Scheduled => KeyRange::Waiting { target },
                    state => KeyRange::Lane { target, state },
                }));
            }
            None if state == DeliveryState::Queued => segment.with(|known| {
                let with_work = known.pending.iter().filter(|(_, pending)| pending.workspace == workspace && pending.queued > 0);
                ranges.extend(with_work.map(|(target, _)| KeyRange::Lane { target: *target, state }));
            }),
            None => ranges.push(KeyRange::Outcome { state }),
        }
    }
    ranges
}

/// Puts keys in order and keeps the first of them.
fn first(keys: &mut Vec<i64>, count: usize, order: Order) {
    match order {
        Order::Asc => keys.sort_unstable(),
        Order::Desc => keys.sort_unstable_by(|a, b| b.cmp(a)),
    }
    keys.truncate(count);
}

/// Merges runs of keys, loads the deliveries, and keeps those of the workspace and type.
fn merge(
    reader: &Reader,
    workspace: i64,
    ranges: &[KeyRange],
    type_id: Option<i64>,
    mut span: Span,
    range: &Range,
    out: &mut Vec<Delivery>,
) -> rusqlite::Result<()> {
    while out.len() < range.limit && !span.is_empty() {
        let room = range.limit - out.len();
        let mut keys = Vec::new();
        let mut best = span;
        for run in ranges {
            keys_of(reader, workspace, run, best, range.order, room, &mut keys)?;
            // However many runs there are, few keys are held: none behind the last of those would be taken.
            if keys.len() > MERGED_KEYS.max(2 * room) {
                first(&mut keys, room, range.order);
                best = best.until(range.order, keys.last().copied());
            }
        }
        let complete = keys.len() < room;
        first(&mut keys, room, range.order);
        span = span.after(range.order, keys.last().copied());
        for key in keys.into_iter().map(DeliveryKey) {
            // It may have changed its state since the index was read: then it is told as it is now.
            let Some(delivery) = rows::delivery_by_key(reader, key)? else { continue };
            if delivery.workspace == workspace && type_id.is_none_or(|id| has_type(reader, key.sequence(), id).unwrap_or(false)) {
                out.push(delivery);
            }
        }
        if complete {
            break;
        }
    }
    Ok(())
}

fn keys_of(
    reader: &Reader,
    workspace: i64,
    run: &KeyRange,
    span: Span,
    order: Order,
    limit: usize,
    keys: &mut Vec<i64>,
) -> rusqlite::Result<()> {
    let sql = statements(order);
    let limit = sql_count(limit);
    let (text, values) = match run {
        KeyRange::Lane { target, state } => (sql.lane, vec![*target, span.low, span.high, limit, *state as i64]),
        KeyRange::Waiting { target } => (sql.waiting, vec![*target, span.low, span.high, limit]),
        KeyRange::Outcome { state } => (sql.outcome, vec![workspace, span.low, span.high, limit, *state as i64]),
    };
    let mut select = reader.conn.prepare_cached(text)?;
    for key in select.query_map(rusqlite::params_from_iter(values), |row| row.get(0))? {
        keys.push(key?);
    }
    Ok(())
}

fn has_type(reader: &Reader, sequence: Sequence, id: i64) -> rusqlite::Result<bool> {
    let mut select = reader.conn.prepare_cached(HAS_TYPE)?;
    Ok(select.query_row((sequence.0, id), |row| row.get(0)).optional()?.unwrap_or(false))
}

/// See `History::event`.
pub(super) fn event(segments: &Segments, pool: &Arc<Pool>, workspace: i64, sequence: Sequence) -> Result<Option<Arc<Event>>, StoreError> {
    let Some(segment) = segments.of(sequence) else { return Ok(None) };
    let event = rows::event(&mut *pool.take(&segment)?, sequence).map_err(segment.failed())?;
    Ok(event.filter(|event| event.workspace == workspace))
}

/// See `History::delivery`.
pub(super) fn delivery(segments: &Segments, pool: &Arc<Pool>, workspace: i64, key: DeliveryKey) -> Result<Option<Delivery>, StoreError> {
    let Some(segment) = segments.of(key.sequence()) else { return Ok(None) };
    let delivery = rows::delivery_by_key(&*pool.take(&segment)?, key).map_err(segment.failed())?;
    Ok(delivery.filter(|delivery| delivery.workspace == workspace))
}

/// See `History::deliveries_of`.
pub(super) fn deliveries_of(
    segments: &Segments,
    pool: &Arc<Pool>,
    workspace: i64,
    sequence: Sequence,
) -> Result<Vec<Delivery>, StoreError> {
    let Some(segment) = segments.of(sequence) else { return Ok(Vec::new()) };
    let (mut deliveries, joined) = {
        let reader = pool.take(&segment)?;
        (own_deliveries(&reader, sequence).map_err(segment.failed())?, joined_batches(&reader, sequence).map_err(segment.failed())?)
    };
    for key in joined {
        if deliveries.iter().any(|known| known.key == key) {
            continue;
        }
        let Some(home) = segments.of(key.sequence()) else { continue };
        deliveries.extend(rows::delivery_by_key(&*pool.take(&home)?, key).map_err(home.failed())?);
    }
    deliveries.retain(|delivery| delivery.workspace == workspace);
    deliveries.sort_unstable_by_key(|delivery| delivery.key);
    Ok(deliveries)
}

fn own_deliveries(reader: &Reader, sequence: Sequence) -> rusqlite::Result<Vec<Delivery>> {
    let (low, high) = DeliveryKey::range_of(sequence);
    let mut select = reader.conn.prepare_cached(OWN_DELIVERIES)?;
    select.query_map([low.0, high.0], rows::delivery)?.collect()
}

/// The batches that an event joined. All parts that one commit wrote share its first sequence, so there is one commit to look at.
fn joined_batches(reader: &Reader, sequence: Sequence) -> rusqlite::Result<Vec<DeliveryKey>> {
    let commit: Option<i64> = reader.conn.prepare_cached(COMMIT_OF)?.query_row([sequence.0], |row| row.get(0))?;
    let Some(commit) = commit else { return Ok(Vec::new()) };
    let mut select = reader.conn.prepare_cached(PARTS_OF_COMMIT)?;
    let mut rows = select.query([commit])?;
    let mut batches = Vec::new();
    while let Some(row) = rows.next()? {
        if varint::unpack(row.get_ref(1)?.as_blob()?).binary_search(&sequence).is_ok() {
            batches.push(DeliveryKey(row.get(0)?));
        }
    }
    Ok(batches)
}

/// See `History::attempts`.
pub(super) fn attempts(segments: &Segments, pool: &Arc<Pool>, key: DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
    let Some(segment) = segments.of(key.sequence()) else { return Ok(Vec::new()) };
    rows::attempts(&mut *pool.take(&segment)?, key).map_err(segment.failed())
}
