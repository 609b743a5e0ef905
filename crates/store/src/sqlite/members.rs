//! Members of batches, page by page.
//!
//! Commits do not overlap, so the parts of a batch follow each other in the order of their first sequences and each is ascending: a page
//! reads the parts that it needs and no others. Members that lie close together are read in one walk over the table of events; a batch
//! of ten thousand that came in a row costs a few walks and not ten thousand lookups.

use std::sync::Arc;

use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};

use super::pages::Page;
use super::readers::{Pool, Reader};
use super::rows::{self, RawEvent};
use super::segments::Segments;
use super::varint;
use crate::{PageLimit, StoreError};

/// The part of a batch in which a member may lie, or after which it does.
pub(super) const PART_BEFORE: &str = "SELECT max(first) FROM batch_part WHERE batch = ?1 AND first <= ?2";
/// Parts of a batch from one on.
pub(super) const PARTS_FROM: &str = "SELECT members FROM batch_part WHERE batch = ?1 AND first >= ?2 ORDER BY first";
/// Events from one sequence to another.
pub(super) const EVENTS_BETWEEN: &str =
    "SELECT sequence, workspace, type, received_ms, source, payload FROM event WHERE sequence BETWEEN ?1 AND ?2 ORDER BY sequence";

/// Members at most this far apart are read in one walk: to pass over a row costs less than to find one.
const CLOSE: i64 = 8;

/// See `Journal::members`.
pub(super) fn members(
    segments: &Segments,
    pool: &Arc<Pool>,
    batch: DeliveryKey,
    after: Sequence,
    limit: PageLimit,
) -> Result<Vec<Arc<Event>>, StoreError> {
    let mut page = Page::new(limit);
    let Some(home) = segments.of(batch.sequence()) else { return Ok(Vec::new()) };
    let Some(delivery) = rows::delivery_by_key(&*pool.take(&home)?, batch).map_err(home.failed())? else { return Ok(Vec::new()) };
    // Nothing joins a batch after it was settled, so later segments need not be asked.
    let until_ms = if delivery.state.is_terminal() { delivery.updated_ms } else { i64::MAX };
    for segment in segments.matching(|s| s.id >= home.id && s.floor_ms <= until_ms && s.with(|state| state.last_sequence > after.0)) {
        let mut reader = pool.take(&segment)?;
        let members = members_in(&reader, batch, after, page.room()).map_err(segment.failed())?;
        for run in members.chunk_by(|a, b| b.0 - a.0 <= CLOSE) {
            if !read(&mut reader, run, &mut page).map_err(segment.failed())? {
                return Ok(page.items);
            }
        }
        if page.room() == 0 {
            break;
        }
    }
    Ok(page.items)
}

/// The next members of a batch that lie in a segment, ascending, at most `most`.
fn members_in(reader: &Reader, batch: DeliveryKey, after: Sequence, most: usize) -> rusqlite::Result<Vec<Sequence>> {
    let from: Option<i64> = reader.conn.prepare_cached(PART_BEFORE)?.query_row([batch.0, after.0], |row| row.get(0))?;
    let mut select = reader.conn.prepare_cached(PARTS_FROM)?;
    let mut rows = select.query([batch.0, from.unwrap_or(0)])?;
    let mut members = Vec::new();
    while members.len() < most
        && let Some(row) = rows.next()?
    {
        let part = varint::unpack(row.get_ref(0)?.as_blob()?);
        let skipped = part.partition_point(|member| *member <= after);
        members.extend_from_slice(&part[skipped..]);
    }
    members.truncate(most);
    Ok(members)
}

/// Reads members that lie close together; `false` when the page is complete.
fn read(reader: &mut Reader, run: &[Sequence], page: &mut Page<Arc<Event>>) -> rusqlite::Result<bool> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(true) };
    let mut raws = Vec::with_capacity(run.len());
    let mut is_whole = true;
    {
        let mut select = reader.conn.prepare_cached(EVENTS_BETWEEN)?;
        let mut rows = select.query([first.0, last.0])?;
        let mut wanted = run.iter().peekable();
        let mut left = page.bytes_left();
        while let Some(row) = rows.next()? {
            let sequence = Sequence(row.get(0)?);
            while wanted.next_if(|member| **member < sequence).is_some() {}
            if wanted.next_if_eq(&&sequence).is_none() {
                continue;
            }
            let raw = RawEvent::read(row)?;
            let bytes = raw.bytes();
            raws.push(raw);
            // The one that is too much is not taken below; the first of a page is, however large.
            if bytes > left {
                is_whole = false;
                break;
            }
            left -= bytes;
        }
    }
    for raw in raws {
        let event = raw.resolve(reader)?;
        let bytes = event.payload.len();
        if !page.push(event, bytes) {
            return Ok(false);
        }
    }
    Ok(is_whole)
}
