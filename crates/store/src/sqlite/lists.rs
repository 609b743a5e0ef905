//! Lists for people: key-range reads, one segment after the other in the order of the list, and in each the blocks that are marked.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, MAX_ORDINAL, ORDINAL_BITS, Sequence};
use posthaste_domain::message::{OUTGOING_EMAIL, OUTGOING_SMS};
use rusqlite::{OptionalExtension, params};

use super::effort::Effort;
use super::marks::Name;
use super::needle::Needle;
use super::pages::Page;
use super::readers::{Lent, Pool, Reader};
use super::rows::{self, RawEvent};
use super::segments::{Pending, Segment, SegmentState, Segments};
use super::span::{self, Span};
use super::walk::{self, Ended};
use super::{sql_count, varint};
use crate::{DeliveryFilter, EventFilter, Order, PageLimit, Piece, Range, StoreError};

/// Lanes that are merged. Where more have something for a list, it goes through the events.
const MERGED_LANES: usize = 256;
/// Keys that a merge of many runs holds before it looks which it needs.
const MERGED_KEYS: usize = 4096;

const ALL_STATES: [DeliveryState; 5] =
    [DeliveryState::Queued, DeliveryState::Scheduled, DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Cancelled];

/// The statements of all lists in one direction. Each walks keys in their own order; a test looks at their plans.
pub(super) struct Statements {
    /// Sequences of a block that are of a workspace, with their types.
    pub(super) events: &'static str,
    /// Deliveries of an event.
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
                 FROM delivery WHERE key BETWEEN ?1 AND ?2 ORDER BY key ",
                $order
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

/// Visits segments one after the other until one does not come to its end, or no effort is left. Answers the last key that was looked at if that is
/// not the end of the list; `ends` are the first and last key that a segment can have.
fn through(
    list: Vec<Arc<Segment>>,
    pool: &Arc<Pool>,
    effort: &Effort,
    range: &Range,
    ends: impl Fn(&SegmentState) -> Span,
    mut visit: impl FnMut(&mut Reader) -> rusqlite::Result<Option<i64>>,
) -> Result<Option<i64>, StoreError> {
    let mut list = list.into_iter().peekable();
    while let Some(segment) = list.next() {
        // Before it is read, because it may grow.
        let span = segment.with(|state| ends(state));
        if span.after(range.order, range.after).is_empty() {
            continue;
        }
        effort.segment();
        let rest = visit(&mut *pool.take(&segment)?).map_err(segment.failed())?;
        if rest.is_some() {
            return Ok(rest);
        }
        if effort.is_spent() && list.peek().is_some() {
            return Ok(Some(span.end(range.order)));
        }
    }
    Ok(None)
}

/// See `History::events_piece`.
pub(super) fn events(
    segments: &Segments,
    pool: &Arc<Pool>,
    effort: &Effort,
    workspace: i64,
    filter: &EventFilter,
    range: &Range,
    bytes: usize,
) -> Result<Piece<Arc<Event>>, StoreError> {
    if range.limit == 0 {
        return Ok(Piece { items: Vec::new(), rest: range.after });
    }
    let mut page = Page::new(PageLimit { items: range.limit, bytes });
    let list = in_order(segments, range, range.after, |state| state.summary.has_events(workspace, filter));
    let ends = |state: &SegmentState| Span { low: state.first_sequence, high: state.last_sequence };
    let rest = through(list, pool, effort, range, ends, |reader| events_in(reader, effort, workspace, filter, range, &mut page))?;
    Ok(Piece { items: page.items, rest })
}

/// Adds a segment's events; answers the last sequence that was looked at if that is not the end of the segment.
fn events_in(
    reader: &mut Reader,
    effort: &Effort,
    workspace: i64,
    filter: &EventFilter,
    range: &Range,
    page: &mut Page<Arc<Event>>,
) -> rusqlite::Result<Option<i64>> {
    let order = range.order;
    let span = sequences(reader, range)?.after(order, range.after);
    let Some(wanted) = Wanted::of(reader, filter)? else { return Ok(None) };
    let needle = filter.text.as_deref().map(Needle::new);
    let mut raws: Vec<RawEvent> = Vec::new();
    let (room, mut left) = (page.room(), page.bytes_left());
    let rest = {
        let mut select = reader.conn.prepare_cached(statements(order).events)?;
        walk::event_blocks(reader, effort, wanted.names(workspace), order, span, |block| {
            let mut rows = select.query([block.low, block.high, workspace])?;
            while let Some(row) = rows.next()? {
                effort.row();
                let sequence: i64 = row.get(0)?;
                // Payloads are read only of what is wanted.
                if wanted.has(row.get(1)?)
                    && let Some(mut raw) = rows::raw_event(reader, Sequence(sequence))?
                {
                    let is_meant = match &needle {
                        Some(needle) => {
                            effort.text(raw.bytes());
                            needle.is_in(raw.document(reader)?)
                        }
                        None => true,
                    };
                    if is_meant {
                        let is_first = raws.is_empty() && page.items.is_empty();
                        if (raw.bytes() > left || left == 0) && !is_first {
                            return Ok(ControlFlow::Break(span::before(order, sequence)));
                        }
                        left = left.saturating_sub(raw.bytes());
                        raws.push(raw);
                        if raws.len() == room {
                            return Ok(ControlFlow::Break(sequence));
                        }
                    }
                }
                if effort.is_spent() {
                    return Ok(ControlFlow::Break(sequence));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?
    };
    for raw in raws {
        let (bytes, event) = (raw.bytes(), raw.resolve(reader)?);
        page.push(event, bytes);
    }
    Ok(rest)
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

/// Which deliveries of a segment a list shows.
struct Shown<'a> {
    workspace: i64,
    targets: Option<HashSet<i64>>,
    states: &'a [DeliveryState],
    type_id: Option<i64>,
    range: &'a Range,
}

/// See `History::deliveries_piece`.
pub(super) fn deliveries(
    segments: &Segments,
    pool: &Arc<Pool>,
    effort: &Effort,
    workspace: i64,
    filter: &DeliveryFilter,
    range: &Range,
) -> Result<Piece<Delivery>, StoreError> {
    if range.limit == 0 {
        return Ok(Piece { items: Vec::new(), rest: range.after });
    }
    let mut items = Vec::new();
    let is_pending = |state: &DeliveryState| !state.is_terminal();
    let states = filter.states.as_deref().unwrap_or(&ALL_STATES);
    let (pending, ended): (Vec<_>, Vec<_>) = states.iter().copied().partition(is_pending);
    let may_have = |state: &SegmentState| {
        (!pending.is_empty() && state.may_have_pending(workspace, filter)) || state.summary.has_ended(workspace, filter, &ended)
    };
    let list = in_order(segments, range, range.after.map(|key| key >> ORDINAL_BITS), may_have);
    let ends = |state: &SegmentState| keys_of_events(Span { low: state.first_sequence, high: state.last_sequence });
    let rest = through(list, pool, effort, range, ends, |reader| deliveries_in(reader, effort, workspace, filter, range, &mut items))?;
    Ok(Piece { items, rest })
}

/// All keys of the deliveries of events.
fn keys_of_events(sequences: Span) -> Span {
    Span { low: sequences.low << ORDINAL_BITS, high: sequences.high << ORDINAL_BITS | i64::from(MAX_ORDINAL) }
}

/// Adds a segment's deliveries; answers the last key that was looked at if that is not the end of the segment.
fn deliveries_in(
    reader: &Reader,
    effort: &Effort,
    workspace: i64,
    filter: &DeliveryFilter,
    range: &Range,
    out: &mut Vec<Delivery>,
) -> rusqlite::Result<Option<i64>> {
    let span = keys_of_events(sequences(reader, range)?).after(range.order, range.after);
    if span.is_empty() {
        return Ok(None);
    }
    let type_id = match &filter.type_name {
        Some(name) => match type_id(reader, name)? {
            Some(id) => Some(id),
            None => return Ok(None),
        },
        None => None,
    };
    let targets: Option<HashSet<i64>> = filter.targets.as_ref().map(|targets| targets.iter().copied().collect());
    let states = filter.states.as_deref().unwrap_or(&ALL_STATES);
    let shown = Shown { workspace, targets, states, type_id, range };
    // Keys come from the lanes and from the marks of those that ended, or, where these tell little, from the events.
    let runs = if shown.targets.is_none() && filter.states.is_none() { None } else { shown.runs(&reader.segment) };
    match runs {
        Some(runs) => shown.merge(reader, effort, &runs, span, out),
        None => shown.through_events(reader, effort, span, out),
    }
}

/// Keys in an order.
enum Run {
    /// Those of a target and a pending state.
    Lane { target: i64, state: DeliveryState },
    /// Those that came to a final state.
    Ended(Ended),
}

impl Shown<'_> {
    /// All of them, through the events of the workspace, or of the type.
    fn through_events(&self, reader: &Reader, effort: &Effort, span: Span, out: &mut Vec<Delivery>) -> rusqlite::Result<Option<i64>> {
        let order = self.range.order;
        let wanted = self.type_id.map_or(Wanted::AllBut(Vec::new()), |id| Wanted::Only(vec![Some(id)]));
        let mut events = reader.conn.prepare_cached(statements(order).events)?;
        let mut select = reader.conn.prepare_cached(statements(order).deliveries)?;
        let sequences = Span { low: span.low >> ORDINAL_BITS, high: span.high >> ORDINAL_BITS };
        // Where a visit ended within an event.
        let mut within = None;
        let rest = walk::event_blocks(reader, effort, wanted.names(self.workspace), order, sequences, |block| {
            let mut rows = events.query([block.low, block.high, self.workspace])?;
            while let Some(row) = rows.next()? {
                effort.row();
                let sequence: i64 = row.get(0)?;
                if !wanted.has(row.get(1)?) {
                    continue;
                }
                effort.seek();
                let (low, high) = DeliveryKey::range_of(Sequence(sequence));
                let own = span.within(low.0, high.0);
                let mut found = select.query([own.low, own.high])?;
                while let Some(row) = found.next()? {
                    effort.row();
                    let delivery = rows::delivery(row)?;
                    let key = delivery.key.0;
                    if self.states.contains(&delivery.state) && self.targets.as_ref().is_none_or(|own| own.contains(&delivery.target)) {
                        out.push(delivery);
                    }
                    if out.len() >= self.range.limit || effort.is_spent() {
                        within = Some(key);
                        return Ok(ControlFlow::Break(sequence));
                    }
                }
                if effort.is_spent() {
                    return Ok(ControlFlow::Break(sequence));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rest.map(|sequence| within.unwrap_or(keys_of_events(Span { low: sequence, high: sequence }).end(order))))
    }

    /// The runs whose union are those with these targets and states, and perhaps some of other types; `None` when there are too many runs, or fewer
    /// events of the type than deliveries in the lanes.
    fn runs(&self, segment: &Segment) -> Option<Vec<Run>> {
        let mut runs = Vec::new();
        let mut in_lanes = 0;
        let events = segment.with(|known| {
            let is_meant = |target: &i64, pending: &Pending| match &self.targets {
                Some(targets) => targets.contains(target),
                None => pending.workspace == self.workspace,
            };
            for (target, pending) in known.pending.iter().filter(|(target, pending)| is_meant(target, pending)) {
                for (state, count) in [(DeliveryState::Queued, pending.queued), (DeliveryState::Scheduled, pending.scheduled)] {
                    if count > 0 && self.states.contains(&state) && runs.len() <= MERGED_LANES {
                        runs.push(Run::Lane { target: *target, state });
                        in_lanes += count;
                    }
                }
            }
            self.type_id.and_then(|id| known.tally.count(self.workspace, id))
        });
        if runs.len() > MERGED_LANES || events.is_some_and(|events| events < in_lanes) {
            return None;
        }
        let mut ended: Vec<DeliveryState> = self.states.iter().copied().filter(|state| state.is_terminal()).collect();
        ended.sort_unstable_by_key(|state| *state as i64);
        ended.dedup();
        if !ended.is_empty() {
            let Self { workspace, type_id, .. } = *self;
            runs.push(Run::Ended(Ended { workspace, targets: self.targets.clone(), states: ended, type_id }));
        }
        Some(runs)
    }

    /// Merges runs of keys, loads the deliveries, and keeps those of the workspace and type.
    fn merge(
        &self,
        reader: &Reader,
        effort: &Effort,
        runs: &[Run],
        mut span: Span,
        out: &mut Vec<Delivery>,
    ) -> rusqlite::Result<Option<i64>> {
        let Range { order, limit, .. } = *self.range;
        while !span.is_empty() {
            let room = limit - out.len();
            let mut keys = Vec::new();
            // What all runs were looked through for.
            let mut seen = span;
            let mut is_cut = false;
            for run in runs {
                if let Some(last) = keys_of(reader, effort, run, seen, order, room, &mut keys)? {
                    seen = seen.until(order, Some(last));
                    is_cut = true;
                }
                // However many runs there are, few keys are held: none behind the last of those would be taken.
                if keys.len() > MERGED_KEYS.max(2 * room) {
                    first(&mut keys, room, order);
                    seen = seen.until(order, keys.last().copied());
                }
            }
            keys.retain(|key| seen.contains(*key));
            first(&mut keys, room, order);
            let is_whole = keys.len() < room;
            let last = if is_whole { Some(seen.end(order)) } else { keys.last().copied() };
            for key in keys.into_iter().map(DeliveryKey) {
                effort.seek();
                // It may have changed its state since the index was read: then it is told as it is now.
                let Some(delivery) = rows::delivery_by_key(reader, key)? else { continue };
                let is_of_type = self.type_id.is_none_or(|id| has_type(reader, key.sequence(), id).unwrap_or(false));
                if delivery.workspace == self.workspace && is_of_type {
                    out.push(delivery);
                }
            }
            if is_whole && !is_cut {
                break;
            }
            if out.len() >= limit || effort.is_spent() {
                return Ok(last);
            }
            span = span.after(order, last);
        }
        Ok(None)
    }
}

/// Puts keys in order and keeps the first of them.
fn first(keys: &mut Vec<i64>, count: usize, order: Order) {
    span::sort(keys, order);
    // One that was settled meanwhile may be in two runs.
    keys.dedup();
    keys.truncate(count);
}

/// Adds the first keys of a run in a span. Answers the last key that was looked at if effort was what ended it.
fn keys_of(
    reader: &Reader,
    effort: &Effort,
    run: &Run,
    span: Span,
    order: Order,
    limit: usize,
    keys: &mut Vec<i64>,
) -> rusqlite::Result<Option<i64>> {
    let (target, state) = match run {
        Run::Lane { target, state } => (*target, *state),
        Run::Ended(ended) => return ended.keys(reader, effort, order, span, limit, keys),
    };
    effort.seek();
    let mut select = reader.conn.prepare_cached(statements(order).lane)?;
    let values = params![target, span.low, span.high, sql_count(limit), rows::state_code(state)];
    for key in select.query_map(values, |row| row.get(0))? {
        effort.row();
        keys.push(key?);
    }
    Ok(None)
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

/// See `History::deliveries_of_each`.
pub(super) fn deliveries_of_each(
    segments: &Segments,
    pool: &Arc<Pool>,
    workspace: i64,
    sequences: &[Sequence],
) -> Result<Vec<Vec<Delivery>>, StoreError> {
    let mut lent = Lent::new(pool);
    sequences.iter().map(|sequence| deliveries_of(segments, &mut lent, workspace, *sequence)).collect()
}

fn deliveries_of(segments: &Segments, lent: &mut Lent<'_>, workspace: i64, sequence: Sequence) -> Result<Vec<Delivery>, StoreError> {
    let Some(segment) = segments.of(sequence) else { return Ok(Vec::new()) };
    let (mut deliveries, joined) = {
        let reader = lent.of(&segment)?;
        (own_deliveries(reader, sequence).map_err(segment.failed())?, joined_batches(reader, sequence).map_err(segment.failed())?)
    };
    for key in joined {
        if deliveries.iter().any(|known| known.key == key) {
            continue;
        }
        let Some(home) = segments.of(key.sequence()) else { continue };
        deliveries.extend(rows::delivery_by_key(lent.of(&home)?, key).map_err(home.failed())?);
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

/// See `History::last_attempts`.
pub(super) fn last_attempts(segments: &Segments, pool: &Arc<Pool>, keys: &[DeliveryKey]) -> Result<Vec<Option<Attempt>>, StoreError> {
    let mut lent = Lent::new(pool);
    let mut last_attempt = |key: &DeliveryKey| match segments.of(key.sequence()) {
        Some(segment) => rows::last_attempt(lent.of(&segment)?, *key).map_err(segment.failed()),
        None => Ok(None),
    };
    keys.iter().map(&mut last_attempt).collect()
}
