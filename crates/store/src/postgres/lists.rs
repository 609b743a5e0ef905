//! Lists of events for people: key ranges of an index, one bucket after the other in the order of the list.
//!
//! A piece looks at a bounded number of rows and answers with what it has found. Finding rows and what they hold are two statements, so
//! that no document is read that is not shown.

use std::collections::HashMap;
use std::sync::Arc;

use posthaste_domain::event::Event;
use posthaste_domain::id::{MAX_ORDINAL, ORDINAL_BITS, Sequence};
use posthaste_domain::message::{self, OUTGOING_EMAIL, OUTGOING_SMS};
use tokio_postgres::Row;

use super::buckets::Bucket;
use super::error::Failure;
use super::link::Conn;
use super::rows;
use super::schema::BLOCK_BITS;
use super::shared::Shared;
use crate::needle::Needle;
use crate::page::Page;
use crate::span::{self, Span};
use crate::{EventFilter, Order, PageLimit, Piece, Range, subject};

/// What it costs to turn to a bucket, in rows.
const BUCKET: i64 = 200;
/// Documents that are searched at a time.
const SEARCHED: i64 = 128;
/// Bytes of a document that are searched for the price of a row.
const TEXT_BYTES: usize = 1024;

/// Events of a workspace from `$4` to `$5`, in order: of the types `$2`, or, with `$3`, of all others. At most `$6` are looked at, and `$7` of
/// those that were received in time are told, each with how many were looked at and which was the last.
const PICK: &str = "WITH looked AS MATERIALIZED (
       SELECT e.sequence, e.received_ms
       FROM (SELECT DISTINCT type FROM posthaste.tally_$_ WHERE workspace = $1 AND (type = ANY($2)) <> $3) t
       CROSS JOIN LATERAL (SELECT e.sequence, e.received_ms FROM posthaste.event_$_ e
                           WHERE e.workspace = $1 AND e.type = t.type AND e.sequence BETWEEN $4 AND $5 ORDER BY e.sequence @ORDER LIMIT $6) e
       ORDER BY e.sequence @ORDER LIMIT $6)
     SELECT s.count, s.last, m.sequence, octet_length(m.payload), m.stream, m.deliveries
     FROM (SELECT count(*), @LAST(sequence) AS last FROM looked) s
     LEFT JOIN LATERAL (
       SELECT e.sequence, e.payload, e.stream, e.deliveries FROM looked l JOIN posthaste.event_$_ e ON e.sequence = l.sequence
       WHERE l.received_ms >= $8 AND l.received_ms < $9 ORDER BY l.sequence @ORDER LIMIT $7) m ON true
     ORDER BY m.sequence @ORDER";
const ABOUT: &str = "SELECT s.sequence FROM generate_series($1::int8, $2::int8) AS b(block)
     CROSS JOIN LATERAL (SELECT sequence FROM posthaste.subject_$_ s WHERE s.block = b.block AND s.hash = $3 AND s.sequence BETWEEN $4 AND $5) s
     ORDER BY s.sequence @ORDER LIMIT $6";
const ENDS: &str = "SELECT min(sequence), max(sequence) FROM posthaste.event_$_";
const COUNT: &str = "SELECT coalesce(sum(count), 0)::int8 FROM posthaste.tally_$_ WHERE workspace = $1 AND type = $2";

/// A statement in a direction.
pub(super) fn ordered(sql: &str, order: Order) -> String {
    match order {
        Order::Asc => sql.replace("@ORDER", "ASC").replace("@LAST", "max"),
        Order::Desc => sql.replace("@ORDER", "DESC").replace("@LAST", "min"),
    }
}

/// Which types.
pub(super) struct Types {
    ids: Vec<i32>,
    is_all_but: bool,
}

impl Types {
    /// Those of a filter; `None`: there are none.
    async fn of(shared: &Shared, conn: &Conn, filter: &EventFilter) -> Result<Option<Self>, Failure> {
        let mut ids = Vec::new();
        let is_all_but = filter.type_names.is_none() && filter.type_name.is_none();
        let names: Vec<&str> = match (&filter.type_names, &filter.type_name) {
            (None, None) => vec![OUTGOING_EMAIL, OUTGOING_SMS],
            (None, Some(None)) => {
                ids.push(0);
                Vec::new()
            }
            (None, Some(Some(name))) => vec![name],
            (Some(names), one) => {
                let is_wanted = |name: &&String| one.as_ref().is_none_or(|only| only.as_ref() == Some(*name));
                names.iter().filter(is_wanted).map(String::as_str).collect()
            }
        };
        for name in names {
            ids.extend(shared.type_id(conn, name).await?);
        }
        Ok((is_all_but || !ids.is_empty()).then_some(Self { ids, is_all_but }))
    }

    /// One of them, or all, the server's own documents included.
    pub(super) fn one_or_all(id: Option<i32>) -> Self {
        Self { is_all_but: id.is_none(), ids: id.into_iter().collect() }
    }
}

/// Events that were picked.
pub(super) struct Picked {
    pub(super) rows: Vec<Row>,
    /// How many were looked at.
    pub(super) looked: i64,
    /// The last one of those.
    pub(super) last: Option<i64>,
}

/// Picks events of a bucket. The rows have the sequence, the size of the document, the stream and the list of deliveries, from the third column on.
#[expect(clippy::too_many_arguments, reason = "the values of one statement")]
pub(super) async fn pick(
    conn: &Conn,
    bucket: &Bucket,
    workspace: i64,
    types: &Types,
    range: &Range,
    span: Span,
    look: i64,
    room: usize,
) -> Result<Picked, Failure> {
    let room = i64::try_from(room).unwrap_or(i64::MAX);
    let (from_ms, to_ms) = (range.from_ms.unwrap_or(i64::MIN), range.to_ms.unwrap_or(i64::MAX));
    let sql = bucket.sql(&ordered(PICK, range.order));
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
        [&workspace, &types.ids, &types.is_all_but, &span.low, &span.high, &look, &room, &from_ms, &to_ms];
    let mut rows = conn.keyed(&sql, &values).await?;
    let (looked, last) = rows.first().map_or((0, None), |row| (row.get(0), row.get(1)));
    rows.retain(|row| row.get::<_, Option<i64>>(2).is_some());
    Ok(Picked { rows, looked, last })
}

/// The sequences that a bucket may have, as far as they lie behind `after`.
pub(super) fn sequences(bucket: &Bucket, range: &Range, after: Option<i64>) -> Span {
    let (low, high) = bucket.sequences();
    Span { low, high }.after(range.order, after)
}

/// See `History::events_piece`.
pub(super) async fn events(
    shared: &Shared,
    conn: &Conn,
    workspace: i64,
    filter: &EventFilter,
    range: &Range,
    bytes: usize,
) -> Result<Piece<Arc<Event>>, Failure> {
    let nothing = Piece { items: Vec::new(), rest: None };
    if range.limit == 0 {
        return Ok(Piece { rest: range.after, ..nothing });
    }
    let Some(types) = Types::of(shared, conn, filter).await? else { return Ok(nothing) };
    let needle = filter.text.as_deref().map(Needle::new);
    let order = range.order;
    let mut page = Page::new(PageLimit { items: range.limit, bytes });
    let mut effort = i64::from(shared.options.piece_effort).max(1);
    let list = shared.buckets().in_order(range, range.after);
    let count = list.len();
    for (place, bucket) in list.into_iter().enumerate() {
        let mut span = sequences(&bucket, range, range.after);
        if span.is_empty() {
            continue;
        }
        let end = span.end(order);
        effort -= BUCKET;
        while !span.is_empty() {
            let look = if needle.is_some() { effort.clamp(1, SEARCHED) } else { effort.max(1) };
            let picked = pick(conn, &bucket, workspace, &types, range, span, look, page.room()).await?;
            effort -= picked.looked;
            let candidates: Vec<(i64, usize)> =
                picked.rows.iter().map(|row| (row.get(2), usize::try_from(row.get::<_, i32>(3)).unwrap_or_default())).collect();
            let is_cut = candidates.len() >= page.room();
            if let Some(last) = take(shared, conn, &bucket, &candidates, needle.as_ref(), order, &mut effort, &mut page).await? {
                return Ok(Piece { items: page.items, rest: Some(last) });
            }
            // Where those that were told are all that was asked for, there may be more among those that were looked at.
            let last = if is_cut { candidates.last().map(|(sequence, _)| *sequence) } else { picked.last };
            if picked.looked < look && !is_cut {
                break;
            }
            span = span.after(order, last);
            if effort <= 0 && !span.is_empty() {
                return Ok(Piece { items: page.items, rest: last });
            }
        }
        if effort <= 0 && place + 1 < count {
            return Ok(Piece { items: page.items, rest: Some(end) });
        }
    }
    Ok(Piece { items: page.items, rest: None })
}

/// Adds events to a page; when it is full, answers the last sequence that was looked at.
#[expect(clippy::too_many_arguments, reason = "what a piece is made with")]
async fn take(
    shared: &Shared,
    conn: &Conn,
    bucket: &Bucket,
    candidates: &[(i64, usize)],
    needle: Option<&Needle>,
    order: Order,
    effort: &mut i64,
    page: &mut Page<Arc<Event>>,
) -> Result<Option<i64>, Failure> {
    // Without a text, what does not fit is not read.
    let mut wanted = Vec::with_capacity(candidates.len());
    let mut left = page.bytes_left();
    let mut too_much = None;
    for (sequence, bytes) in candidates {
        let is_first = wanted.is_empty() && page.items.is_empty();
        if needle.is_none() && (*bytes > left || left == 0) && !is_first {
            too_much = Some(span::before(order, *sequence));
            break;
        }
        left = left.saturating_sub(*bytes);
        wanted.push(*sequence);
    }
    let mut events: HashMap<Sequence, Arc<Event>> = rows::events(shared, conn, bucket, &wanted).await?;
    for sequence in wanted {
        let Some(event) = events.remove(&Sequence(sequence)) else { continue };
        if let Some(needle) = needle {
            *effort -= i64::try_from(event.payload.len() / TEXT_BYTES).unwrap_or(i64::MAX);
            if !needle.is_in(&event.payload) {
                continue;
            }
        }
        let bytes = event.payload.len();
        if (page.bytes_left() == 0 && !page.items.is_empty()) || !page.push(event, bytes) {
            return Ok(Some(span::before(order, sequence)));
        }
        if page.room() == 0 {
            return Ok(Some(sequence));
        }
    }
    Ok(too_much)
}

/// See `History::about`.
pub(super) async fn about(
    shared: &Shared,
    conn: &Conn,
    workspace: Option<i64>,
    name: &str,
    range: &Range,
) -> Result<Vec<Arc<Event>>, Failure> {
    const PAGE: i64 = 256;
    let mut found = Vec::new();
    let hash = subject::hash(name);
    let is_in_time =
        |event: &Event| range.from_ms.is_none_or(|from| event.received_ms >= from) && range.to_ms.is_none_or(|to| event.received_ms < to);
    for bucket in shared.buckets().in_order(range, range.after) {
        let ends = conn.keyed(&bucket.sql(ENDS), &[]).await?;
        let ends = ends.first().and_then(|row| Some((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)));
        let Some((low, high)) = ends else { continue };
        let mut span = sequences(&bucket, range, range.after).within(low, high);
        let sql = bucket.sql(&ordered(ABOUT, range.order));
        while found.len() < range.limit && !span.is_empty() {
            let (first, last) = (span.low >> BLOCK_BITS, span.high >> BLOCK_BITS);
            let rows = conn.keyed(&sql, &[&first, &last, &hash, &span.low, &span.high, &PAGE]).await?;
            let page: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            let mut events = rows::events(shared, conn, &bucket, &page).await?;
            for event in page.iter().filter_map(|sequence| events.remove(&Sequence(*sequence))) {
                let type_name = event.type_name.as_deref().unwrap_or_default();
                let is_meant = message::subjects(type_name, &event.payload).iter().any(|own| own == name);
                if is_meant && is_in_time(&event) && workspace.is_none_or(|own| own == event.workspace) && found.len() < range.limit {
                    found.push(event);
                }
            }
            let is_full = page.len() as i64 == PAGE;
            span = span.after(range.order, page.last().copied().filter(|_| is_full).or(Some(span.end(range.order))));
        }
    }
    Ok(found)
}

/// See `History::count`.
pub(super) async fn count(shared: &Shared, conn: &Conn, workspace: i64, type_name: &str) -> Result<u64, Failure> {
    let Some(id) = shared.type_id(conn, type_name).await? else { return Ok(0) };
    let mut total = 0;
    for bucket in &shared.buckets().0 {
        total += conn.keyed(&bucket.sql(COUNT), &[&workspace, &id]).await?[0].get::<_, i64>(0).unsigned_abs();
    }
    Ok(total)
}

/// All keys of the deliveries of events.
pub(super) fn keys_of_events(sequences: Span) -> Span {
    Span { low: sequences.low << ORDINAL_BITS, high: sequences.high << ORDINAL_BITS | i64::from(MAX_ORDINAL) }
}
