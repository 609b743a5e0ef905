//! Lists for people: key-range reads, one segment after the other in the order of the list, and in each the blocks that are marked.

use std::collections::HashSet;
use std::sync::Arc;

use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, MAX_ORDINAL, ORDINAL_BITS, Sequence};
use posthaste_domain::message::{OUTGOING_EMAIL, OUTGOING_SMS};
use rusqlite::{OptionalExtension, params};

use super::marks::Name;
use super::readers::{Pool, Reader};
use super::rows::{self, RawEvent};
use super::segments::{Pending, Segment, SegmentState, Segments};
use super::span::{self, Span};
use super::walk::{self, Ended};
use super::{sql_count, varint};
use crate::{DeliveryFilter, EventFilter, Order, Range, StoreError};

/// Keys that a merge of many runs holds before it looks which it needs.
const MERGED_KEYS: usize = 4096;

const ALL_STATES: [DeliveryState; 5] =
    [DeliveryState::Queued, DeliveryState::Scheduled, DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Cancelled];

/// The statements of all lists in one direction. Each walks keys in their own order; a test looks at their plans.
pub(super) struct Statements {
    /// Sequences of a block that are of a workspace, with their types.
    pub(super) events: &'static str,
    /// Deliveries of an event, in some states.
    pub(super) deliveries: &'static str,
    /// Keys of a target and a pending state.
    pub(super) lane: &'static str,
}

macro_rules! statements {
    ($order:literal) => {
        Statements {
            events: concat!(
                "SELECT sequence, type FROM event WHERE sequence BETWEEN ?1 AND ?2 AND workspace = ?3 ORDER BY sequence ",
                $order
            ),
            deliveries: concat!(
                "SELECT key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch, updated_ms, received_ms \
                 FROM delivery WHERE key BETWEEN ?1 AND ?2 AND ?3 >> state & 1 ORDER BY key ",
                $order,
                " LIMIT ?4"
            ),
            lane: concat!(
                "SELECT key FROM delivery INDEXED BY lane WHERE target = ?1 AND state = ?5 AND state < 4 AND key BETWEEN ?2 AND ?3 \
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

/// The segments that a list visits, in its order: those behind `after`, the last sequence of the page before, in which it may find anything.
pub(super) fn in_order(
    segments: &Segments,
    range: &Range,
    after: Option<i64>,
    may_have: impl Fn(&SegmentState) -> bool,
) -> Vec<Arc<Segment>> {
    let from_ms = range.from_ms.unwrap_or(i64::MIN);
    let to_ms = range.to_ms.unwrap_or(i64::MAX);
    let is_in_time = |state: &SegmentState| state.last_sequence > 0 && state.last_ms >= from_ms && state.first_ms < to_ms;
    let is_behind = |state: &SegmentState| match (after, range.order) {
        (None, _) => true,
        (Some(after), Order::Asc) => state.last_sequence >= after,
        (Some(after), Order::Desc) => state.first_sequence <= after,
    };
    let mut list = segments.matching(|s| s.with(|state| is_in_time(state) && is_behind(state) && may_have(state)));
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
    for segment in in_order(segments, range, range.after, |state| state.summary.has_events(workspace, filter)) {
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
    let Some(wanted) = Wanted::of(reader, filter)? else { return Ok(Vec::new()) };
    let sequences = sequences_of(reader, workspace, &wanted, range.order, span, limit)?;
    // Payloads are read only of what is shown.
    let mut select = reader.conn.prepare_cached(rows::EVENT)?;
    sequences.into_iter().map(|sequence| select.query_row([sequence], RawEvent::read)).collect()
}

/// Types of events, as numbers of a segment.
enum Wanted {
    /// One of these.
    Only(Vec<Option<i64>>),
    /// None of these.
    AllBut(Vec<Option<i64>>),
}

impl Wanted {
    /// `None` when the segment has no such type.
    fn of(reader: &Reader, filter: &EventFilter) -> rusqlite::Result<Option<Self>> {
        let ids = |names: &[&str]| -> rusqlite::Result<Vec<Option<i64>>> {
            let ids = names.iter().map(|name| type_id(reader, name));
            Ok(ids.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().map(Some).collect())
        };
        let only = match (&filter.type_names, &filter.type_name) {
            (None, None) => return Ok(Some(Self::AllBut(ids(&[OUTGOING_EMAIL, OUTGOING_SMS])?))),
            (None, Some(None)) => vec![None],
            (None, Some(Some(name))) => ids(&[name])?,
            (Some(names), one) => {
                let is_wanted = |name: &&String| one.as_ref().is_none_or(|only| only.as_ref() == Some(*name));
                ids(&names.iter().filter(is_wanted).map(String::as_str).collect::<Vec<_>>())?
            }
        };
        Ok((!only.is_empty()).then_some(Self::Only(only)))
    }

    fn has(&self, id: Option<i64>) -> bool {
        match self {
            Self::Only(ids) => ids.contains(&id),
            Self::AllBut(ids) => !ids.contains(&id),
        }
    }

    /// The marks of the blocks in which they are.
    fn names(&self, workspace: i64) -> Vec<Name> {
        match self {
            Self::Only(ids) => ids.iter().map(|id| Name::of_type(workspace, *id)).collect(),
            Self::AllBut(_) => vec![Name::of_events(workspace)],
        }
    }
}

/// The first events of some types.
fn sequences_of(reader: &Reader, workspace: i64, wanted: &Wanted, order: Order, span: Span, limit: usize) -> rusqlite::Result<Vec<i64>> {
    let mut sequences = Vec::new();
    let mut select = reader.conn.prepare_cached(statements(order).events)?;
    walk::event_blocks(reader, wanted.names(workspace), order, span, |block| {
        let mut rows = select.query([block.low, block.high, workspace])?;
        while sequences.len() < limit
            && let Some(row) = rows.next()?
        {
            if wanted.has(row.get(1)?) {
                sequences.push(row.get(0)?);
            }
        }
        Ok(sequences.len() < limit)
    })?;
    Ok(sequences)
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
    let is_pending = |state: &DeliveryState| !state.is_terminal();
    let states = filter.states.as_deref().unwrap_or(&ALL_STATES);
    let (pending, ended): (Vec<_>, Vec<_>) = states.iter().copied().partition(is_pending);
    let may_have =
        |state: &SegmentState| (!pending.is_empty() && !state.pending.is_empty()) || state.summary.has_ended(workspace, filter, &ended);
    for segment in in_order(segments, range, range.after.map(|key| key >> ORDINAL_BITS), may_have) {
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
    let states = filter.states.as_deref().unwrap_or(&ALL_STATES);
    let wants_pending = states.iter().any(|state| !state.is_terminal());
    if filter.targets.is_none() && wants_pending && (filter.states.is_none() || type_id.is_some()) {
        return deliveries_through_events(reader, workspace, type_id, states, span, range, out);
    }
    let runs = runs(&reader.segment, workspace, filter.targets.as_deref(), states, type_id);
    merge(reader, workspace, &runs, type_id, span, range, out)
}

/// All deliveries of a workspace, or of a type, through its events.
fn deliveries_through_events(
    reader: &Reader,
    workspace: i64,
    type_id: Option<i64>,
    states: &[DeliveryState],
    span: Span,
    range: &Range,
    out: &mut Vec<Delivery>,
) -> rusqlite::Result<()> {
    let mask = states.iter().fold(0, |mask, state| mask | 1 << rows::state_code(*state));
    let wanted = type_id.map_or(Wanted::AllBut(Vec::new()), |id| Wanted::Only(vec![Some(id)]));
    let mut events = reader.conn.prepare_cached(statements(range.order).events)?;
    let mut select = reader.conn.prepare_cached(statements(range.order).deliveries)?;
    let sequences = Span { low: span.low >> ORDINAL_BITS, high: span.high >> ORDINAL_BITS };
    walk::event_blocks(reader, wanted.names(workspace), range.order, sequences, |block| {
        let mut rows = events.query([block.low, block.high, workspace])?;
        while out.len() < range.limit
            && let Some(row) = rows.next()?
        {
            if !wanted.has(row.get(1)?) {
                continue;
            }
            let (low, high) = DeliveryKey::range_of(Sequence(row.get(0)?));
            let own = span.within(low.0, high.0);
            let room = sql_count(range.limit - out.len());
            for delivery in select.query_map(params![own.low, own.high, mask, room], rows::delivery)? {
                out.push(delivery?);
            }
        }
        Ok(out.len() < range.limit)
    })
}

/// Keys in an order.
enum Run {
    /// Those of a target and a pending state.
    Lane { target: i64, state: DeliveryState },
    /// Those that came to a final state.
    Ended(Ended),
}

/// The runs whose union are the deliveries with these targets and states, and perhaps some of other types.
fn runs(segment: &Segment, workspace: i64, targets: Option<&[i64]>, states: &[DeliveryState], type_id: Option<i64>) -> Vec<Run> {
    let targets: Option<HashSet<i64>> = targets.map(|targets| targets.iter().copied().collect());
    let mut runs = Vec::new();
    segment.with(|known| {
        let is_meant = |target: &i64, pending: &Pending| match &targets {
            Some(targets) => targets.contains(target),
            None => pending.workspace == workspace,
        };
        for (target, pending) in known.pending.iter().filter(|(target, pending)| is_meant(target, pending)) {
            for (state, count) in [(DeliveryState::Queued, pending.queued), (DeliveryState::Scheduled, pending.scheduled)] {
                if count > 0 && states.contains(&state) {
                    runs.push(Run::Lane { target: *target, state });
                }
            }
        }
    });
    let mut ended: Vec<DeliveryState> = states.iter().copied().filter(|state| state.is_terminal()).collect();
    ended.sort_unstable_by_key(|state| *state as i64);
    ended.dedup();
    if !ended.is_empty() {
        runs.push(Run::Ended(Ended { workspace, targets, states: ended, type_id }));
    }
    runs
}

/// Puts keys in order and keeps the first of them.
fn first(keys: &mut Vec<i64>, count: usize, order: Order) {
    span::sort(keys, order);
    // One that was settled meanwhile may be in two runs.
    keys.dedup();
    keys.truncate(count);
}

/// Merges runs of keys, loads the deliveries, and keeps those of the workspace and type.
fn merge(
    reader: &Reader,
    workspace: i64,
    runs: &[Run],
    type_id: Option<i64>,
    mut span: Span,
    range: &Range,
    out: &mut Vec<Delivery>,
) -> rusqlite::Result<()> {
    while out.len() < range.limit && !span.is_empty() {
        let room = range.limit - out.len();
        let mut keys = Vec::new();
        let mut best = span;
        for run in runs {
            keys_of(reader, run, best, range.order, room, &mut keys)?;
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

fn keys_of(reader: &Reader, run: &Run, span: Span, order: Order, limit: usize, keys: &mut Vec<i64>) -> rusqlite::Result<()> {
    let (target, state) = match run {
        Run::Lane { target, state } => (*target, *state),
        Run::Ended(ended) => return ended.keys(reader, order, span, limit, keys),
    };
    let mut select = reader.conn.prepare_cached(statements(order).lane)?;
    let values = params![target, span.low, span.high, sql_count(limit), rows::state_code(state)];
    for key in select.query_map(values, |row| row.get(0))? {
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
