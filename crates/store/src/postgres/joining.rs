//! Events on their way into batches of targets with an owner.
//!
//! A commit with such events leaves a row in `joining` for each subscription, and rings. The holder of the target's part, and nobody else, puts
//! them into batches, in the order in which they were stored: the row goes, and the batches gain their members, in one transaction. What
//! a holder that is gone has not taken is still there for the next one.
//!
//! An event's list names the place of the batch that it may open. Where it opened none, there is no delivery at that place.
//!
//! Invariants:
//! 1. An event is taken once: the row is deleted by whoever takes it, and a transaction that does not delete all of its rows fails.
//! 2. Only the holder of a part takes its rows: the claim is locked until the transaction ends.
//! 3. Members of one row of `batch_part` lie in one chunk, so that the batch of an event is found among the few rows that begin in its chunk.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_domain::delivery::{Delivery, DeliveryState, PendingDelivery};
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::policy::Batch;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::append::{DeliveryRows, HOLD_NOW, PartRows};
use super::arrivals::OWNERS;
use super::buckets::{Bucket, Buckets};
use super::error::{Failure, Kind};
use super::group::of_bucket;
use super::link::{Alone, BEGIN_KEYED, Conn, Query};
use super::listen::Bell;
use super::pending::{PARTS as PARTS_OF_STREAM, chunk_of, keys_of};
use super::rows;
use super::settle::{CLOSE, Place, Places};
use super::shared::Shared;
use crate::{BatchPart, Join, Joined, Joiner, Joining, Opened, varint};

/// Rows, and events, that are taken together.
const TOGETHER: i64 = 256;
const MEMBERS: usize = 20_000;

const ADD: &str =
    "INSERT INTO posthaste.joining(part, target, subscription, workspace, events, bytes, wait_ms, is_ordered, at_ms, first, last, members)
     SELECT (target & 7)::int2, target, subscription, workspace, events, bytes, wait_ms, is_ordered, at_ms, first, last, members
     FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::bool[], $8::int8[], $9::int8[], $10::int8[],
                 $11::bytea[])
       AS n(target, subscription, workspace, events, bytes, wait_ms, is_ordered, at_ms, first, last, members)";
const LOOK: &str = "SELECT id, target, subscription, workspace, events, bytes, wait_ms, is_ordered, at_ms, members,
       (SELECT max(first) FROM posthaste.bucket)
     FROM posthaste.joining WHERE part = ANY($1) ORDER BY first, id LIMIT $2";
/// Divides by zero unless all of them were there, and of parts that this node holds.
const TAKE: &str = "WITH h AS MATERIALIZED (SELECT part FROM posthaste.claim
                     WHERE stream = 0 AND holder = $1 AND part IN (SELECT part FROM posthaste.joining WHERE id = ANY($2)) FOR SHARE),
       gone AS (DELETE FROM posthaste.joining j USING h WHERE j.id = ANY($2) AND j.part = h.part RETURNING 1)
     SELECT 1 / (count(*) = cardinality($2::int8[]))::int FROM gone";
/// The same where no node lives.
const TAKE_ALL: &str = "WITH gone AS (DELETE FROM posthaste.joining WHERE id = ANY($1) RETURNING 1)
     SELECT 1 / (count(*) = cardinality($1::int8[]))::int FROM gone";
/// Divides by zero unless all of these batches of a bucket are scheduled, and keeps them so.
const SCHEDULED: &str = "WITH b AS MATERIALIZED (
       SELECT d.key FROM unnest($1::int8[], $2::int8[]) AS i(target, key)
       JOIN posthaste.delivery_$_ d ON d.target = i.target AND d.stream = 0 AND d.key = i.key WHERE d.state = 1 FOR UPDATE OF d)
     SELECT 1 / (count(*) = cardinality($2::int8[]))::int FROM b";
const LAST_DUE: &str = "SELECT max(due_ms) FROM posthaste.due WHERE target = $1 AND stream = 0";
/// Parts that were written for owners with members of a chunk.
const PARTS: &str = "SELECT batch, members FROM posthaste.batch_part_$_ WHERE stream = 0 AND first BETWEEN $1 AND $2 AND last >= $3";

/// What a group of appends has for owners.
#[derive(Default)]
pub(super) struct Joins {
    target: Vec<i64>,
    subscription: Vec<i64>,
    workspace: Vec<i64>,
    events: Vec<i64>,
    bytes: Vec<i64>,
    wait_ms: Vec<i64>,
    is_ordered: Vec<bool>,
    at_ms: Vec<i64>,
    first: Vec<i64>,
    last: Vec<i64>,
    members: Vec<Vec<u8>>,
}

impl Joins {
    /// Adds the events of one subscription.
    pub(super) fn add(&mut self, join: &Join) {
        let (Some(first), Some(last)) = (join.members.first(), join.members.last()) else { return };
        self.target.push(join.target);
        self.subscription.push(join.subscription);
        self.workspace.push(join.workspace);
        self.events.push(join.limits.events.into());
        self.bytes.push(join.limits.bytes.try_into().unwrap_or(i64::MAX));
        self.wait_ms.push(join.limits.wait.as_millis().try_into().unwrap_or(i64::MAX));
        self.is_ordered.push(join.is_ordered);
        self.at_ms.push(join.at_ms);
        self.first.push(first.sequence.0);
        self.last.push(last.sequence.0);
        let mut bytes = Vec::with_capacity(join.members.len() * 4 + 8);
        let mut before = 0;
        for member in &join.members {
            varint::put(&mut bytes, (member.sequence.0 - before) as u64);
            varint::put(&mut bytes, member.ordinal.into());
            varint::put(&mut bytes, member.bytes.into());
            before = member.sequence.0;
        }
        self.members.push(bytes);
    }

    /// Targets with an owner that it has events for.
    pub(super) fn targets(&self) -> impl Iterator<Item = i64> {
        self.target.iter().copied()
    }

    /// The statements that store them.
    pub(super) async fn queries<'q>(&'q self, conn: &Conn, out: &mut Vec<Query<'q>>) -> Result<(), Failure> {
        if !self.target.is_empty() {
            let head: [&(dyn ToSql + Sync); 6] =
                [&self.target, &self.subscription, &self.workspace, &self.events, &self.bytes, &self.wait_ms];
            let tail: [&(dyn ToSql + Sync); 5] = [&self.is_ordered, &self.at_ms, &self.first, &self.last, &self.members];
            out.push((conn.prepare(ADD).await?, head.into_iter().chain(tail).collect()));
            out.push((conn.prepare(Bell::Arrivals.ring()).await?, Vec::new()));
        }
        Ok(())
    }
}

fn read(row: &Row) -> Joining {
    let count = |place: usize| row.get::<_, i64>(place).unsigned_abs();
    let limits = Batch { events: count(4).try_into().unwrap_or(u32::MAX), bytes: count(5), wait: Duration::from_millis(count(6)) };
    let mut members = Vec::new();
    let (mut bytes, mut last) = (row.get::<_, &[u8]>(9), 0i64);
    while let (Some(step), Some(ordinal), Some(size)) = (varint::take(&mut bytes), varint::take(&mut bytes), varint::take(&mut bytes)) {
        last = last.wrapping_add(step as i64);
        members.push(Joiner { sequence: Sequence(last), ordinal: ordinal as u32, bytes: size as u32 });
    }
    let join = Join {
        target: row.get(1),
        subscription: row.get(2),
        workspace: row.get(3),
        limits,
        is_ordered: row.get(7),
        at_ms: row.get(8),
        members,
    };
    Joining { id: row.get(0), join }
}

/// Some of what waits for these parts, and the first sequence of the bucket that was the last one then. At most [`MEMBERS`] events, but at least one
/// row.
async fn look(conn: &Conn, parts: &[i16]) -> Result<(Vec<Joining>, i64), Failure> {
    let rows = conn.keyed(LOOK, &[&parts, &TOGETHER]).await?;
    let newest = rows.first().and_then(|row| row.get::<_, Option<i64>>(10)).unwrap_or_default();
    let (mut found, mut members) = (Vec::with_capacity(rows.len()), 0);
    for joining in rows.iter().map(read) {
        members += joining.join.members.len();
        if members > MEMBERS && !found.is_empty() {
            break;
        }
        found.push(joining);
    }
    Ok((found, newest))
}

/// See `Cluster::joining`.
pub(super) async fn waiting(shared: &Shared, conn: &Conn) -> Result<Vec<Joining>, Failure> {
    let parts = shared.counted_parts();
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let (found, newest) = look(conn, &parts).await?;
    shared.knows(conn, newest).await?;
    Ok(found)
}

/// What is joined, by bucket.
struct Work {
    opened: Vec<(Bucket, DeliveryRows)>,
    parts: Vec<(Bucket, PartRows)>,
    closings: Vec<(Bucket, Places)>,
    /// Batches that were opened before: none of them may have been sent, or cancelled.
    gaining: Vec<(Bucket, Places)>,
}

impl Work {
    fn plan(joined: &Joined, buckets: &Buckets) -> Self {
        let mut work = Self { opened: Vec::new(), parts: Vec::new(), closings: Vec::new(), gaining: Vec::new() };
        let closed = |part: &BatchPart| Some((part.batch, part.closed_due_ms?));
        let closed: HashMap<DeliveryKey, i64> = joined.parts.iter().filter_map(|(_, part)| closed(part)).collect();
        for opened in &joined.opened {
            let due_ms = closed.get(&opened.key).copied().unwrap_or(opened.due_ms);
            if let Some(bucket) = buckets.of(opened.key.sequence().0) {
                of_bucket(&mut work.opened, bucket).add(opened, OWNERS, Some(due_ms), true);
            }
        }
        let opened: HashSet<DeliveryKey> = joined.opened.iter().map(|opened| opened.key).collect();
        for (target, part) in &joined.parts {
            let mut members = part.members.clone();
            members.sort_unstable();
            let chunk = |member: &Sequence| chunk_of(DeliveryKey::new(*member, 0).0);
            for run in members.chunk_by(|a, b| chunk(a) == chunk(b) && buckets.of(a.0).map(|b| b.id) == buckets.of(b.0).map(|b| b.id)) {
                if let Some(bucket) = buckets.of(run[0].0) {
                    of_bucket(&mut work.parts, bucket).add(part.batch, run[0].0, run);
                }
            }
            let Some(bucket) = buckets.of(part.batch.sequence().0).filter(|_| !opened.contains(&part.batch)) else { continue };
            let place = Place { target: *target, stream: OWNERS };
            of_bucket(&mut work.gaining, bucket).add(part.batch, place);
            if let Some(due_ms) = part.closed_due_ms {
                let places = of_bucket(&mut work.closings, bucket);
                places.add(part.batch, place);
                places.due_ms.push(due_ms);
            }
        }
        work
    }

    async fn queries<'q>(&'q self, conn: &Conn, node: &'q i64, out: &mut Vec<Query<'q>>) -> Result<(), Failure> {
        for (bucket, places) in &self.gaining {
            out.push((conn.prepare(&bucket.sql(SCHEDULED)).await?, vec![&places.target, &places.key]));
        }
        for (bucket, rows) in &self.opened {
            rows.queries(conn, bucket, out).await?;
        }
        for (bucket, rows) in &self.parts {
            rows.query(conn, bucket, &OWNERS, out).await?;
        }
        for (bucket, places) in &self.closings {
            let values: Query<'q> =
                (conn.prepare(&bucket.sql(CLOSE)).await?, vec![node, &places.target, &places.stream, &places.key, &places.due_ms]);
            out.push(values);
        }
        Ok(())
    }
}

/// See `Cluster::join`. Only the writer may ask for it: what is given away is so before or after it.
pub(super) async fn join(shared: &Shared, joined: &Joined) -> Result<(), Failure> {
    let conn = shared.writing.conn().map_err(Failure::other)?;
    let work = Work::plan(joined, &shared.buckets());
    let (identity, epoch) = (shared.identity, shared.epoch.load(Ordering::Acquire));
    let mut queries: Vec<Query<'_>> = vec![
        (conn.prepare(HOLD_NOW).await?, vec![&identity.stream, &identity.node, &epoch]),
        (conn.prepare(TAKE).await?, vec![&identity.node, &joined.ids]),
    ];
    work.queries(&conn, &identity.node, &mut queries).await?;
    // Also if the answer is lost: whoever settles them looks where they are.
    shared.owned.lock().extend(joined.parts.iter().map(|(target, _)| *target));
    match conn.transaction(BEGIN_KEYED, &queries).await {
        Err(failure) if failure.kind == Kind::Moved => {
            shared.refresh(&conn).await?;
            Err(failure)
        }
        other => other.map(drop),
    }
}

/// See `Cluster::gathered`.
pub(super) async fn gathered(shared: &Shared, conn: &Conn, batches: &[(i64, DeliveryKey)]) -> Result<Vec<PendingDelivery>, Failure> {
    let buckets = shared.buckets();
    let mut places: BTreeMap<i32, (Bucket, Places)> = BTreeMap::new();
    for (target, key) in batches {
        if let Some(bucket) = buckets.of(key.sequence().0) {
            let places = &mut places.entry(bucket.id).or_insert_with(|| (bucket, Places::default())).1;
            places.add(*key, Place { target: *target, stream: OWNERS });
        }
    }
    let mut found = Vec::with_capacity(batches.len());
    for (bucket, places) in places.into_values() {
        let deliveries: Vec<Delivery> = rows::deliveries(conn, &bucket, &places).await?.into_values().collect();
        let sequences: Vec<i64> = deliveries.iter().map(|delivery| delivery.key.sequence().0).collect();
        let events = rows::events(shared, conn, &bucket, &sequences).await?;
        let open = deliveries.into_iter().filter(|delivery| delivery.state == DeliveryState::Scheduled);
        found.extend(open.filter_map(|delivery| Some(PendingDelivery { event: events.get(&delivery.key.sequence())?.clone(), delivery })));
    }
    found.sort_unstable_by_key(|pending| pending.delivery.key);
    Ok(found)
}

/// The batches of owners that events of a bucket are in.
pub(super) async fn batches_of(conn: &Conn, bucket: &Bucket, sequences: &[i64]) -> Result<Vec<(Sequence, DeliveryKey)>, Failure> {
    let mut sequences = sequences.to_vec();
    sequences.sort_unstable();
    let chunk = |sequence: i64| chunk_of(DeliveryKey::new(Sequence(sequence), 0).0);
    let mut found = Vec::new();
    for run in sequences.chunk_by(|a, b| chunk(*a) == chunk(*b)) {
        let begin = DeliveryKey(keys_of(chunk(run[0])).0).sequence().0;
        for row in conn.keyed(&bucket.sql(PARTS), &[&begin, &run[run.len() - 1], &run[0]]).await? {
            let members = varint::unpack(row.get(1)).into_iter().filter(|member| run.binary_search(&member.0).is_ok());
            found.extend(members.map(|member| (member, DeliveryKey(row.get(0)))));
        }
    }
    Ok(found)
}

/// Whether events of a bucket wait to be joined.
pub(super) async fn has_events_of(tx: &Alone, bucket: &Bucket) -> Result<bool, Failure> {
    let (first, last) = bucket.sequences();
    let rows = tx.query("SELECT 1 FROM posthaste.joining WHERE first <= $2 AND last >= $1 LIMIT 1", &[&first, &last]).await?;
    Ok(!rows.is_empty())
}

/// Has every event that waits be in a batch, where no node lives that would do it: behind those of its target that are there, and within the limits.
pub(super) async fn join_all(conn: &Conn, buckets: &Buckets) -> Result<(), Failure> {
    let parts: Vec<i16> = (0..PARTS_OF_STREAM).collect();
    let mut last_due: HashMap<i64, i64> = HashMap::new();
    loop {
        let (found, _) = look(conn, &parts).await?;
        if found.is_empty() {
            return Ok(());
        }
        let mut joined = Joined::default();
        let mut subscriptions: BTreeMap<i64, Join> = BTreeMap::new();
        for Joining { id, mut join } in found {
            joined.ids.push(id);
            match subscriptions.get_mut(&join.subscription) {
                Some(known) => known.members.append(&mut join.members),
                None => drop(subscriptions.insert(join.subscription, join)),
            }
        }
        for join in subscriptions.into_values() {
            let Join { workspace, subscription, target, at_ms, .. } = join;
            if let Entry::Vacant(place) = last_due.entry(target) {
                let rows = conn.keyed(LAST_DUE, &[&target]).await?;
                place.insert(rows.first().and_then(|row| row.get::<_, Option<i64>>(0)).unwrap_or(at_ms - 1));
            }
            let batches = within(&join);
            for (place, members) in batches.iter().enumerate() {
                // The last one would still wait for others.
                let wait = if place + 1 == batches.len() { join.limits.wait } else { Duration::ZERO };
                let due_ms = at_ms.saturating_add(wait.as_millis().try_into().unwrap_or(i64::MAX));
                let due_ms = last_due.get(&target).map_or(due_ms, |last| due_ms.max(last + 1));
                last_due.insert(target, due_ms);
                let key = DeliveryKey::new(members[0].sequence, members[0].ordinal);
                joined.opened.push(Opened { key, workspace, subscription, target, due_ms, received_ms: at_ms });
                let members = members.iter().map(|member| member.sequence).collect();
                joined.parts.push((target, BatchPart { batch: key, members, closed_due_ms: None }));
            }
        }
        let work = Work::plan(&joined, buckets);
        let mut queries: Vec<Query<'_>> = vec![(conn.prepare(TAKE_ALL).await?, vec![&joined.ids])];
        work.queries(conn, &0, &mut queries).await?;
        conn.transaction(BEGIN_KEYED, &queries).await?;
    }
}

/// The events of a join as batches.
fn within(join: &Join) -> Vec<&[Joiner]> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0u64);
    for (place, member) in join.members.iter().enumerate() {
        let is_full = place - from >= join.limits.events as usize || bytes.saturating_add(member.bytes.into()) > join.limits.bytes;
        if place > from && is_full {
            batches.push(&join.members[from..place]);
            (from, bytes) = (place, 0);
        }
        bytes = bytes.saturating_add(member.bytes.into());
    }
    if from < join.members.len() {
        batches.push(&join.members[from..]);
    }
    batches
}
