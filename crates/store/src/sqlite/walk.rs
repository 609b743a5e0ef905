//! Walking the blocks that a list has to look through, in the order of the list.

use std::collections::HashSet;
use std::ops::ControlFlow;

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::{MAX_ORDINAL, ORDINAL_BITS};
use rusqlite::Row;

use super::effort::Effort;
use super::marks::{self, BLOCK, NARROW, Name};
use super::readers::Reader;
use super::rows::state_code;
use super::span::{self, Span};
use super::sql_count;
use crate::Order;

/// Blocks of single events that are looked through at a time.
const NARROW_BLOCKS: usize = 256;

pub(super) const NEXT_MARK: &str =
    "SELECT at FROM mark WHERE epoch = ?1 AND kind = ?2 AND a = ?3 AND b = ?4 AND at >= ?5 ORDER BY at LIMIT 1";
pub(super) const LAST_MARK: &str =
    "SELECT at FROM mark WHERE epoch = ?1 AND kind = ?2 AND a = ?3 AND b = ?4 AND at <= ?5 ORDER BY at DESC LIMIT 1";
pub(super) const MARKS_ASCENDING: &str =
    "SELECT at FROM mark WHERE epoch = ?1 AND kind = ?2 AND a = ?3 AND b = ?4 AND at BETWEEN ?5 AND ?6 ORDER BY at LIMIT ?7";
pub(super) const MARKS_DESCENDING: &str =
    "SELECT at FROM mark WHERE epoch = ?1 AND kind = ?2 AND a = ?3 AND b = ?4 AND at BETWEEN ?5 AND ?6 ORDER BY at DESC LIMIT ?7";
pub(super) const IS_MARKED: &str = "SELECT 1 FROM mark WHERE epoch = ?1 AND kind = ?2 AND a = ?3 AND b = ?4 AND at = ?5";
pub(super) const STATES: &str = "SELECT key, workspace, target, state FROM delivery WHERE key BETWEEN ?1 AND ?2 ORDER BY key";

/// The marks of several names, merged: epoch by epoch.
struct Heads<'a> {
    reader: &'a Reader,
    effort: &'a Effort,
    order: Order,
    /// Each name, with its next mark in the epoch.
    names: Vec<(Name, Option<i64>)>,
    epoch: Option<i64>,
}

impl<'a> Heads<'a> {
    fn new(reader: &'a Reader, effort: &'a Effort, names: impl IntoIterator<Item = Name>, order: Order) -> Self {
        Self { reader, effort, order, names: names.into_iter().map(|name| (name, None)).collect(), epoch: None }
    }

    /// The first mark from `edge` on in the order, looked for as far as the epoch of `bound`.
    fn next(&mut self, edge: i64, bound: i64) -> rusqlite::Result<Option<i64>> {
        let Some((name, _)) = self.names.first() else { return Ok(None) };
        let (mut epoch, last) = (name.epoch(edge), name.epoch(bound));
        let is_before = |at: i64| if self.order == Order::Asc { at < edge } else { at > edge };
        let mut select = self.reader.conn.prepare_cached(if self.order == Order::Asc { NEXT_MARK } else { LAST_MARK })?;
        loop {
            let is_new = self.epoch.replace(epoch) != Some(epoch);
            let mut first: Option<i64> = None;
            for (name, head) in &mut self.names {
                if is_new || head.is_some_and(is_before) {
                    self.effort.seek();
                    let mut rows = select.query([epoch, name.kind, name.a, name.b, edge])?;
                    *head = rows.next()?.map(|row| row.get(0)).transpose()?;
                }
                if let Some(at) = *head {
                    first = Some(first.map_or(at, |first| if self.order == Order::Asc { first.min(at) } else { first.max(at) }));
                }
            }
            if first.is_some() || epoch == last {
                return Ok(first);
            }
            epoch += if self.order == Order::Asc { 1 } else { -1 };
        }
    }

    /// The names whose next mark lies in a span.
    fn within(&self, span: Span) -> impl Iterator<Item = Name> {
        self.names.iter().filter(move |(_, head)| head.is_some_and(|at| span.contains(at))).map(|(name, _)| *name)
    }
}

fn is_marked(reader: &Reader, name: Name, at: i64) -> rusqlite::Result<bool> {
    reader.conn.prepare_cached(IS_MARKED)?.exists([name.epoch(at), name.kind, name.a, name.b, at])
}

/// Shows the blocks of events that have one of these marks, as far as they lie in the span, until `visit` breaks with the last sequence that it looked
/// at, or no effort is left. Answers the last sequence that was looked at if that is not the end of the span.
pub(super) fn event_blocks(
    reader: &Reader,
    effort: &Effort,
    names: impl IntoIterator<Item = Name>,
    order: Order,
    mut span: Span,
    mut visit: impl FnMut(Span) -> rusqlite::Result<ControlFlow<i64>>,
) -> rusqlite::Result<Option<i64>> {
    let mut heads = Heads::new(reader, effort, names, order);
    while !span.is_empty() {
        let edge = if order == Order::Asc { marks::block_of(span.low) } else { span.high };
        let Some(at) = heads.next(edge, span.end(order))? else { break };
        let block = Span { low: at, high: at + BLOCK - 1 };
        if let ControlFlow::Break(last) = visit(span.within(block.low, block.high))? {
            return Ok(Some(last));
        }
        span = span.after(order, Some(block.end(order)));
        if effort.is_spent() && !span.is_empty() {
            return Ok(Some(block.end(order)));
        }
    }
    Ok(None)
}

/// Deliveries that came to a final state.
pub(super) struct Ended {
    pub(super) workspace: i64,
    /// Of these targets only.
    pub(super) targets: Option<HashSet<i64>>,
    /// In one of these states.
    pub(super) states: Vec<DeliveryState>,
    /// Of events of this type only; blocks without any are passed over, in the others each event is for the caller to look at.
    pub(super) type_id: Option<i64>,
}

impl Ended {
    /// The marks of their blocks.
    pub(super) fn names(&self) -> Vec<Name> {
        let of_state = |state: &DeliveryState| match &self.targets {
            Some(targets) => targets.iter().map(|target| Name::of_target(*target, *state)).collect(),
            None => vec![Name::of_outcome(self.workspace, *state)],
        };
        self.states.iter().flat_map(of_state).collect()
    }

    /// Adds their first keys in a span, at least `room` if there are so many and effort is left. Answers the last key that was looked at if effort was
    /// what ended it.
    pub(super) fn keys(
        &self,
        reader: &Reader,
        effort: &Effort,
        order: Order,
        mut span: Span,
        room: usize,
        keys: &mut Vec<i64>,
    ) -> rusqlite::Result<Option<i64>> {
        let codes: Vec<i64> = self.states.iter().map(|state| state_code(*state)).collect();
        let mut heads = Heads::new(reader, effort, self.names(), order);
        let enough = keys.len() + room;
        while keys.len() < enough && !span.is_empty() {
            // Blocks of single events lie between the events of a block: all that have to do with the same events are looked at together.
            let start = |key: i64| marks::block_of(key >> ORDINAL_BITS) << ORDINAL_BITS;
            let edge = if order == Order::Asc { start(span.low) } else { span.high };
            let Some(at) = heads.next(edge, span.end(order))? else { break };
            let low = start(at);
            let block = Span { low, high: low + (BLOCK << ORDINAL_BITS) - 1 };
            let mut part = span.within(block.low, block.high);
            let is_of_type = match self.type_id {
                Some(_) => is_marked(reader, Name::of_type(self.workspace, self.type_id), low >> ORDINAL_BITS)?,
                None => true,
            };
            if is_of_type {
                let mut is_wide = false;
                let mut narrow = Vec::new();
                for name in heads.within(block) {
                    is_wide = is_wide || is_marked(reader, name, low)?;
                    narrow_blocks(reader, name, order, part, &mut narrow)?;
                }
                span::sort(&mut narrow, order);
                narrow.dedup();
                if narrow.len() > NARROW_BLOCKS {
                    narrow.truncate(NARROW_BLOCKS);
                    let last = narrow.last().copied().expect("just cut to some");
                    part = part.until(order, Some(Span { low: last, high: last + NARROW - 1 }.end(order)));
                }
                if is_wide {
                    self.wide(reader, effort, &codes, part, keys)?;
                }
                for at in narrow {
                    self.narrow(reader, effort, &codes, part.within(at, at + NARROW - 1), keys)?;
                }
            }
            span = span.after(order, Some(part.end(order)));
            if effort.is_spent() && !span.is_empty() && keys.len() < enough {
                return Ok(Some(part.end(order)));
            }
        }
        Ok(None)
    }

    /// Looks at the first deliveries of each event; the others are jumped over.
    fn wide(&self, reader: &Reader, effort: &Effort, codes: &[i64], mut span: Span, keys: &mut Vec<i64>) -> rusqlite::Result<()> {
        let mut select = reader.conn.prepare_cached(STATES)?;
        'events: while !span.is_empty() {
            let mut rows = select.query([span.low, span.high])?;
            while let Some(row) = rows.next()? {
                effort.row();
                let key: i64 = row.get(0)?;
                if !marks::is_wide(key) {
                    span.low = (key | i64::from(MAX_ORDINAL)) + 1;
                    continue 'events;
                }
                if self.is_meant(row, codes)? {
                    keys.push(key);
                }
            }
            break;
        }
        Ok(())
    }

    /// Looks at a block of one event.
    fn narrow(&self, reader: &Reader, effort: &Effort, codes: &[i64], span: Span, keys: &mut Vec<i64>) -> rusqlite::Result<()> {
        let mut select = reader.conn.prepare_cached(STATES)?;
        let mut rows = select.query([span.low, span.high])?;
        while let Some(row) = rows.next()? {
            effort.row();
            if self.is_meant(row, codes)? {
                keys.push(row.get(0)?);
            }
        }
        Ok(())
    }

    fn is_meant(&self, row: &Row<'_>, codes: &[i64]) -> rusqlite::Result<bool> {
        let (workspace, target, state): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let is_of_target = self.targets.as_ref().is_none_or(|targets| targets.contains(&target));
        Ok(workspace == self.workspace && codes.contains(&state) && is_of_target)
    }
}

/// Adds the first blocks of single events that have a mark, more of them than are looked through at a time.
fn narrow_blocks(reader: &Reader, name: Name, order: Order, span: Span, blocks: &mut Vec<i64>) -> rusqlite::Result<()> {
    let mut select = reader.conn.prepare_cached(if order == Order::Asc { MARKS_ASCENDING } else { MARKS_DESCENDING })?;
    let low = if marks::is_wide(span.low) { span.low } else { marks::block_of_delivery(span.low) };
    let limit = sql_count(NARROW_BLOCKS + 2);
    for at in select.query_map([name.epoch(low), name.kind, name.a, name.b, low, span.high, limit], |row| row.get::<_, i64>(0))? {
        let at = at?;
        if !marks::is_wide(at) {
            blocks.push(at);
        }
    }
    Ok(())
}
