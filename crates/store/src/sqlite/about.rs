//! Events found by what they are about, and counted by their type.
//!
//! The index holds hashes: it is small, whatever subjects are, and the events themselves tell which of them are meant. It is cut into blocks
//! of events that came one after the other, and a search asks block by block (`schema::ABOUT` says why).

use std::sync::Arc;

use posthaste_domain::event::Event;
use posthaste_domain::id::Sequence;
use posthaste_domain::message;
use rusqlite::params;

use super::lists::{in_order, sequences, type_id};
use super::marks::{BLOCK, Name};
use super::readers::{Pool, Reader};
use super::rows;
use super::schema::BLOCK_BITS;
use super::segments::Segments;
pub(super) use crate::subject::hash;
use crate::{Order, Range, StoreError};

pub(super) const ABOUT_ASCENDING: &str =
    "SELECT sequence FROM subject WHERE block = ?1 AND hash = ?2 AND sequence BETWEEN ?3 AND ?4 ORDER BY sequence ASC LIMIT ?5";
pub(super) const ABOUT_DESCENDING: &str =
    "SELECT sequence FROM subject WHERE block = ?1 AND hash = ?2 AND sequence BETWEEN ?3 AND ?4 ORDER BY sequence DESC LIMIT ?5";
pub(super) const COUNTS: &str = "SELECT at, count FROM mark WHERE epoch = ?1 AND kind = ?2 AND a = ?3 AND b = ?4";
pub(super) const COUNT_BLOCK: &str = "SELECT count(*) FROM event WHERE sequence BETWEEN ?1 AND ?2 AND workspace = ?3 AND type IS ?4";

pub(super) const INSERT: &str = "INSERT OR IGNORE INTO subject(block, hash, sequence) VALUES (?1 >> 14, ?2, ?1)";

/// Sequences that are looked up at a time.
const PAGE: i64 = 256;

/// See `History::about`.
pub(super) fn about(
    segments: &Segments,
    pool: &Arc<Pool>,
    workspace: Option<i64>,
    subject: &str,
    range: &Range,
) -> Result<Vec<Arc<Event>>, StoreError> {
    let mut events = Vec::new();
    let hash = hash(subject);
    let sql = if range.order == Order::Asc { ABOUT_ASCENDING } else { ABOUT_DESCENDING };
    for segment in in_order(segments, range, range.after, |_| true) {
        let mut reader = pool.take(&segment)?;
        let failed = segment.failed();
        let mut span = sequences(&reader, range).map_err(&failed)?.after(range.order, range.after);
        while events.len() < range.limit && !span.is_empty() {
            let next = if range.order == Order::Asc { span.low } else { span.high };
            let block = next >> BLOCK_BITS;
            let in_block = span.within(block << BLOCK_BITS, ((block + 1) << BLOCK_BITS) - 1);
            let page: Vec<i64> = {
                let mut select = reader.conn.prepare_cached(sql).map_err(&failed)?;
                let keys = params![block, hash, in_block.low, in_block.high, PAGE];
                let found = select.query_map(keys, |row| row.get(0)).map_err(&failed)?;
                found.collect::<Result<_, _>>().map_err(&failed)?
            };
            for sequence in &page {
                let Some(event) = rows::event(&mut reader, Sequence(*sequence)).map_err(&failed)? else { continue };
                let type_name = event.type_name.as_deref().unwrap_or_default();
                let is_meant = message::subjects(type_name, &event.payload).iter().any(|own| own == subject);
                if is_meant && workspace.is_none_or(|own| own == event.workspace) && events.len() < range.limit {
                    events.push(event);
                }
            }
            let is_full = page.len() as i64 == PAGE;
            let end = if range.order == Order::Asc { in_block.high } else { in_block.low };
            span = span.after(range.order, page.last().copied().filter(|_| is_full).or(Some(end)));
        }
    }
    Ok(events)
}

/// See `History::count`.
pub(super) fn count(segments: &Segments, pool: &Arc<Pool>, workspace: i64, type_name: &str) -> Result<u64, StoreError> {
    let mut total = 0;
    for segment in segments.matching(|segment| segment.with(|state| state.summary.has_type(workspace, type_name))) {
        if let Some(count) = segment.with(|state| state.count(workspace, type_name)) {
            total += count.unsigned_abs();
            continue;
        }
        let reader = pool.take(&segment)?;
        total += count_in(&reader, workspace, type_name).map_err(segment.failed())?.unsigned_abs();
    }
    Ok(total)
}

/// Adds what the marks tell, and counts the rows of blocks whose marks do not.
fn count_in(reader: &Reader, workspace: i64, type_name: &str) -> rusqlite::Result<i64> {
    let Some(id) = type_id(reader, type_name)? else { return Ok(0) };
    let name = Name::of_type(workspace, Some(id));
    let mut counts = reader.conn.prepare_cached(COUNTS)?;
    let mut block = reader.conn.prepare_cached(COUNT_BLOCK)?;
    let (first, last) = reader.segment.with(|state| (state.first_sequence, state.last_sequence));
    let mut total = 0;
    for epoch in name.epoch(first)..=name.epoch(last) {
        let mut rows = counts.query([epoch, name.kind, name.a, name.b])?;
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(0)?;
            total += match row.get::<_, Option<i64>>(1)? {
                Some(count) => count,
                None => block.query_row([at, at + BLOCK - 1, workspace, id], |row| row.get::<_, i64>(0))?,
            };
        }
    }
    Ok(total)
}
