//! Lists of deliveries and attempts for people.
//!
//! Of targets, deliveries are ranges of the primary key; of a whole workspace, they are found through its events.

use std::collections::HashMap;

use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState};
use posthaste_domain::id::{DeliveryKey, ORDINAL_BITS, Sequence};

use super::buckets::Bucket;
use super::error::Failure;
use super::joining;
use super::link::Conn;
use super::lists::{self, Types, ordered};
use super::rows::{self, List};
use super::settle::{Place, Places};
use super::shared::Shared;
use super::words;
use crate::span::Span;
use crate::{DeliveryFilter, Piece, Range, varint};

/// What it costs to turn to a bucket, in rows.
const BUCKET: i64 = 200;
/// Deliveries, and events, that are looked at together.
const TOGETHER: usize = 2048;

const ALL_STATES: [DeliveryState; 5] =
    [DeliveryState::Queued, DeliveryState::Scheduled, DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Cancelled];

/// Deliveries of the targets `$1` with keys from `$2` to `$3` in bucket `$5`, in order; `$4` are looked at.
const OF_TARGETS: &str = "WITH looked AS MATERIALIZED (
       SELECT d.* FROM unnest($1::int8[]) AS t(target) CROSS JOIN (SELECT stream FROM posthaste.low WHERE bucket = $5 UNION SELECT 0) AS s
       CROSS JOIN LATERAL (SELECT * FROM posthaste.delivery_$_ d
                           WHERE d.target = t.target AND d.stream = s.stream AND d.key BETWEEN $2 AND $3 ORDER BY d.key @ORDER LIMIT $4) d
       ORDER BY d.key @ORDER LIMIT $4)
     SELECT m.target, m.key, m.workspace, m.subscription, m.first_attempt_ms, m.due_ms, m.updated_ms, m.received_ms, m.attempts, m.state,
            m.is_batch, s.count, s.last
     FROM (SELECT count(*), @LAST(key) AS last FROM looked) s
     LEFT JOIN LATERAL (
       SELECT l.* FROM looked l
       WHERE l.workspace = $6 AND l.state = ANY($7) AND l.received_ms >= $8 AND l.received_ms < $9
         AND ($10::int4 IS NULL OR EXISTS (SELECT 1 FROM posthaste.event_$_ e WHERE e.sequence = l.key >> 20 AND e.type = $10))
       ORDER BY l.key @ORDER LIMIT $11) m ON true
     ORDER BY m.key @ORDER";
const ATTEMPTS: &str = "SELECT delivery, at_ms, duration_us, number, status, fault, error, message, request, response, body
     FROM posthaste.attempt_$_ WHERE delivery = $1 ORDER BY number";
const LAST_ATTEMPTS: &str = "SELECT a.* FROM unnest($1::int8[]) AS i(delivery)
     CROSS JOIN LATERAL (SELECT delivery, at_ms, duration_us, number, status, fault, error, message, request, response, body
                         FROM posthaste.attempt_$_ a WHERE a.delivery = i.delivery ORDER BY number DESC LIMIT 1) a";
/// Parts of the commit that an event came with. Commits of one stream do not overlap, so it is the last that began before.
const JOINED: &str = "SELECT batch, members FROM posthaste.batch_part_$_
     WHERE stream = $1 AND first = (SELECT max(first) FROM posthaste.batch_part_$_ WHERE stream = $1 AND first <= $2) AND last >= $2";

/// See `History::deliveries_piece`.
pub(super) async fn deliveries(
    shared: &Shared,
    conn: &Conn,
    workspace: i64,
    filter: &DeliveryFilter,
    range: &Range,
) -> Result<Piece<Delivery>, Failure> {
    let nothing = Piece { items: Vec::new(), rest: None };
    if range.limit == 0 {
        return Ok(Piece { rest: range.after, ..nothing });
    }
    let type_id = match &filter.type_name {
        Some(name) => match shared.type_id(conn, name).await? {
            Some(id) => Some(id),
            None => return Ok(nothing),
        },
        None => None,
    };
    let mut targets = filter.targets.clone();
    targets.iter_mut().for_each(|targets| {
        targets.sort_unstable();
        targets.dedup();
    });
    let states: Vec<i16> = filter.states.as_deref().unwrap_or(&ALL_STATES).iter().map(|state| words::state_code(*state)).collect();
    if states.is_empty() || targets.as_ref().is_some_and(Vec::is_empty) {
        return Ok(nothing);
    }
    let effort = i64::from(shared.options.piece_effort).max(1);
    let mut search = Search { conn, workspace, targets, states, type_id, range, effort, found: Vec::new() };
    let list = shared.buckets().in_order(range, range.after.map(|key| key >> ORDINAL_BITS));
    let count = list.len();
    for (place, bucket) in list.into_iter().enumerate() {
        let span = lists::keys_of_events(lists::sequences(&bucket, range, None)).after(range.order, range.after);
        if span.is_empty() {
            continue;
        }
        search.effort -= BUCKET;
        let rest = match search.targets.clone() {
            Some(targets) => search.of_targets(&bucket, &targets, span).await?,
            None => search.through_events(&bucket, span).await?,
        };
        if rest.is_some() {
            return Ok(Piece { items: search.found, rest });
        }
        if search.effort <= 0 && place + 1 < count {
            return Ok(Piece { items: search.found, rest: Some(span.end(range.order)) });
        }
    }
    Ok(Piece { items: search.found, rest: None })
}

/// What a list shows, and what was found so far.
struct Search<'a> {
    conn: &'a Conn,
    workspace: i64,
    targets: Option<Vec<i64>>,
    states: Vec<i16>,
    type_id: Option<i32>,
    range: &'a Range,
    effort: i64,
    found: Vec<Delivery>,
}

impl Search<'_> {
    fn room(&self) -> usize {
        self.range.limit - self.found.len()
    }

    fn is_in_time(&self, delivery: &Delivery) -> bool {
        self.range.from_ms.is_none_or(|from| delivery.received_ms >= from) && self.range.to_ms.is_none_or(|to| delivery.received_ms < to)
    }

    /// Those of some targets; answers the last key that was looked at if that is not the end of the bucket.
    async fn of_targets(&mut self, bucket: &Bucket, targets: &[i64], mut span: Span) -> Result<Option<i64>, Failure> {
        let order = self.range.order;
        // Streams of a bucket are few: one for each start of a node in its time.
        let runs = i64::try_from(targets.len()).unwrap_or(i64::MAX).max(1);
        let sql = bucket.sql(&ordered(OF_TARGETS, order));
        let (from_ms, to_ms) = (self.range.from_ms.unwrap_or(i64::MIN), self.range.to_ms.unwrap_or(i64::MAX));
        while !span.is_empty() {
            // As many rows of each run may be read.
            let look = (self.effort / runs).max(1);
            let room = self.room();
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
                &targets,
                &span.low,
                &span.high,
                &look,
                &bucket.id,
                &self.workspace,
                &self.states,
                &from_ms,
                &to_ms,
                &self.type_id,
                &i64::try_from(room).unwrap_or(i64::MAX),
            ];
            let rows = self.conn.keyed(&sql, &values).await?;
            let (looked, mut last): (i64, Option<i64>) = rows.first().map_or((0, None), |row| (row.get(11), row.get(12)));
            self.effort -= looked.saturating_mul(runs);
            for row in rows.iter().filter(|row| row.get::<_, Option<i64>>(1).is_some()) {
                self.found.push(rows::delivery(row)?);
            }
            if self.room() == 0 {
                last = self.found.last().map(|delivery| delivery.key.0);
            } else if looked < look {
                return Ok(None);
            }
            span = span.after(order, last);
            if self.room() == 0 || (self.effort <= 0 && !span.is_empty()) {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// All of the workspace, or of a type, through its events.
    async fn through_events(&mut self, bucket: &Bucket, mut span: Span) -> Result<Option<i64>, Failure> {
        let order = self.range.order;
        let types = Types::one_or_all(self.type_id);
        while !span.is_empty() {
            let sequences = Span { low: span.low >> ORDINAL_BITS, high: span.high >> ORDINAL_BITS };
            let look = self.effort.clamp(1, TOGETHER as i64);
            let picked = lists::pick(self.conn, bucket, self.workspace, &types, self.range, sequences, look, TOGETHER).await?;
            self.effort -= picked.looked;
            let mut end = picked.last.map(|sequence| lists::keys_of_events(Span { low: sequence, high: sequence }).end(order));
            let mut is_whole = picked.looked < look;
            let (mut places, mut keys) = (Places::default(), Vec::new());
            'events: for row in &picked.rows {
                let (sequence, list) = (Sequence(row.get(2)), List::read(row.get(4), row.get(5)));
                let mut own: Vec<(DeliveryKey, Place)> = list.places(sequence).collect();
                if order == crate::Order::Desc {
                    own.reverse();
                }
                for (key, place) in own.into_iter().filter(|(key, _)| span.contains(key.0)) {
                    if keys.len() >= TOGETHER.min(usize::try_from(self.effort.max(1)).unwrap_or(TOGETHER)) {
                        end = keys.last().map(|key: &DeliveryKey| key.0);
                        is_whole = false;
                        break 'events;
                    }
                    places.add(key, place);
                    keys.push(key);
                }
            }
            let mut found = rows::deliveries(self.conn, bucket, &places).await?;
            self.effort -= i64::try_from(keys.len()).unwrap_or(i64::MAX);
            for key in keys {
                let Some(delivery) = found.remove(&key) else { continue };
                if self.states.contains(&words::state_code(delivery.state)) && self.is_in_time(&delivery) {
                    self.found.push(delivery);
                    if self.room() == 0 {
                        return Ok(Some(key.0));
                    }
                }
            }
            if is_whole {
                return Ok(None);
            }
            span = span.after(order, end);
            if self.effort <= 0 && !span.is_empty() {
                return Ok(end);
            }
        }
        Ok(None)
    }
}

/// See `History::deliveries_of_each`.
pub(super) async fn deliveries_of_each(
    shared: &Shared,
    conn: &Conn,
    workspace: i64,
    sequences: &[Sequence],
) -> Result<Vec<Vec<Delivery>>, Failure> {
    let mut keys: HashMap<Sequence, Vec<DeliveryKey>> = HashMap::new();
    for (bucket, events) in rows::by_bucket(shared, sequences.iter().map(|sequence| DeliveryKey::new(*sequence, 0))) {
        let numbers: Vec<i64> = events.iter().map(|key| key.sequence().0).collect();
        let mut owned = Vec::new();
        for (sequence, list) in rows::lists(conn, &bucket, &numbers).await? {
            let own = keys.entry(Sequence(sequence)).or_default();
            own.extend(list.places(Sequence(sequence)).map(|(key, _)| key));
            if list.has_owners() {
                owned.push(sequence);
            }
            for row in conn.keyed(&bucket.sql(JOINED), &[&list.stream, &sequence]).await? {
                let batch = DeliveryKey(row.get(0));
                if varint::unpack(row.get(1)).binary_search(&Sequence(sequence)).is_ok() && !own.contains(&batch) {
                    own.push(batch);
                }
            }
        }
        for (sequence, batch) in joining::batches_of(conn, &bucket, &owned).await? {
            keys.entry(sequence).or_default().push(batch);
        }
    }
    let all: Vec<DeliveryKey> = keys.values().flatten().copied().collect();
    let found = rows::by_key(shared, conn, &all).await?;
    let of_one = |sequence: &Sequence| {
        let own = keys.get(sequence).into_iter().flatten();
        let mut own: Vec<Delivery> = own.filter_map(|key| found.get(key)).filter(|own| own.workspace == workspace).cloned().collect();
        own.sort_unstable_by_key(|delivery| delivery.key);
        own.dedup_by_key(|delivery| delivery.key);
        own
    };
    Ok(sequences.iter().map(of_one).collect())
}

/// See `History::attempts`.
pub(super) async fn attempts(shared: &Shared, conn: &Conn, key: DeliveryKey) -> Result<Vec<Attempt>, Failure> {
    let Some(bucket) = shared.buckets().of(key.sequence().0) else { return Ok(Vec::new()) };
    conn.keyed(&bucket.sql(ATTEMPTS), &[&key.0]).await?.iter().map(rows::attempt).collect()
}

/// See `History::last_attempts`.
pub(super) async fn last_attempts(shared: &Shared, conn: &Conn, keys: &[DeliveryKey]) -> Result<Vec<Option<Attempt>>, Failure> {
    let mut found = HashMap::new();
    for (bucket, keys) in rows::by_bucket(shared, keys.iter().copied()) {
        let numbers: Vec<i64> = keys.iter().map(|key| key.0).collect();
        for row in conn.keyed(&bucket.sql(LAST_ATTEMPTS), &[&numbers]).await? {
            found.insert(row.get::<_, i64>(0), rows::attempt(&row)?);
        }
    }
    Ok(keys.iter().map(|key| found.get(&key.0).cloned()).collect())
}
