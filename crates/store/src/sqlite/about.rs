//! Events found by what they are about, and counted by their type.
//!
//! The index holds hashes: it is small, whatever subjects are, and the events themselves tell which of them are meant. It is cut into blocks
//! of events that came one after the other, and a search asks block by block (`schema::ABOUT` says why).

use std::sync::Arc;

use posthaste_domain::event::Event;
use posthaste_domain::id::Sequence;
use posthaste_domain::message;
use rusqlite::params;
use sha2::{Digest, Sha256};

use super::lists::{in_order, sequences, type_id};
use super::readers::Pool;
use super::rows;
use super::schema::BLOCK_BITS;
use super::segments::Segments;
use crate::{Order, Range, StoreError};

pub(super) const ABOUT_ASCENDING: &str =
    "SELECT sequence FROM subject WHERE block = ?1 AND hash = ?2 AND sequence BETWEEN ?3 AND ?4 ORDER BY sequence ASC LIMIT ?5";
pub(super) const ABOUT_DESCENDING: &str =
    "SELECT sequence FROM subject WHERE block = ?1 AND hash = ?2 AND sequence BETWEEN ?3 AND ?4 ORDER BY sequence DESC LIMIT ?5";
pub(super) const COUNT: &str = "SELECT count(*) FROM event INDEXED BY event_type WHERE workspace = ?1 AND type = ?2";

pub(super) const INSERT: &str = "INSERT OR IGNORE INTO subject(block, hash, sequence) VALUES (?1 >> 14, ?2, ?1)";

/// Sequences that are looked up at a time.
const PAGE: i64 = 256;

/// What stands for a subject in the index.
pub(super) fn hash(subject: &str) -> i64 {
    let digest = Sha256::digest(subject.as_bytes());
    i64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

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
    for segment in in_order(segments, range) {
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
    for segment in segments.all() {
        let reader = pool.take(&segment)?;
        let failed = segment.failed();
        let Some(id) = type_id(&reader, type_name).map_err(&failed)? else { continue };
        let count: i64 =
            reader.conn.prepare_cached(COUNT).and_then(|mut count| count.query_row((workspace, id), |row| row.get(0))).map_err(&failed)?;
        total += count.unsigned_abs();
    }
    Ok(total)
}
