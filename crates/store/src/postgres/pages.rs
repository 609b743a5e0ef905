//! Reads of the delivery path: pages of lanes, members of batches, idempotency keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthaste_domain::delivery::{Delivery, DeliveryState, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};

use super::buckets::Bucket;
use super::error::Failure;
use super::link::Conn;
use super::pending::part_of;
use super::rows;
use super::settle::{Place, Places};
use super::shared::Shared;
use super::words;
use crate::page::Page;
use crate::{IdempotencyRecord, PageLimit, varint};

/// How long an idempotency key is remembered.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;
/// Rows that a page looks at before it knows how large their documents are.
const LOOK: usize = 1024;

/// Queued deliveries of a target in the streams `i`, each behind a key: one range of the primary key per stream.
pub(super) const QUEUED: &str =
    "SELECT d.target, d.key, d.workspace, d.subscription, d.first_attempt_ms, d.due_ms, d.updated_ms, d.received_ms,
       d.attempts, d.state, d.is_batch, octet_length(e.payload)
     FROM (SELECT d.* FROM unnest($2::int4[], $3::int8[]) AS i(stream, after)
           CROSS JOIN LATERAL (SELECT * FROM posthaste.delivery_$_ d
                               WHERE d.target = $1 AND d.stream = i.stream AND d.key > i.after AND d.state = 0
                               ORDER BY d.key LIMIT $4) d
           ORDER BY d.key LIMIT $4) d
     JOIN posthaste.event_$_ e ON e.sequence = d.key >> 20 ORDER BY d.key";
/// Scheduled ones, the same in the order of their times.
pub(super) const DUE: &str = "SELECT d.due_ms, d.key, d.stream FROM unnest($2::int4[]) AS i(stream)
     CROSS JOIN LATERAL (SELECT due_ms, key, stream FROM posthaste.due d
                         WHERE d.target = $1 AND d.stream = i.stream AND (d.due_ms, d.key) > ($3, $4) AND d.due_ms <= $5
                         ORDER BY d.due_ms, d.key LIMIT $6) d
     ORDER BY d.due_ms, d.key LIMIT $6";
const SIZES: &str = "SELECT sequence, octet_length(payload) FROM posthaste.event_$_ WHERE sequence = ANY($1)";
const PARTS: &str = "SELECT members FROM posthaste.batch_part_$_ WHERE batch = $1 AND last > $2";
const IDEMPOTENT: &str = "SELECT hash, first, count, at_ms FROM posthaste.idempotency_$_ WHERE workspace = $1 AND key = $2";

fn bytes_of(length: i32) -> usize {
    usize::try_from(length).unwrap_or_default()
}

/// See `Journal::queued`.
pub(super) async fn queued(
    shared: &Shared,
    conn: &Conn,
    target: i64,
    after: DeliveryKey,
    limit: PageLimit,
) -> Result<Vec<PendingDelivery>, Failure> {
    let mut page: Page<(Bucket, Delivery)> = Page::new(limit);
    'buckets: for bucket in &shared.buckets().0 {
        let mut after = after.0;
        loop {
            let (streams, behind): (Vec<i32>, Vec<i64>) = shared.pending.lock().streams(target, after, bucket).into_iter().unzip();
            let look = page.room().min(LOOK);
            if streams.is_empty() || look == 0 {
                break;
            }
            let rows = conn.keyed(&bucket.sql(QUEUED), &[&target, &streams, &behind, &(look as i64)]).await?;
            for row in &rows {
                let delivery = rows::delivery(row)?;
                after = delivery.key.0;
                if !page.push((*bucket, delivery), bytes_of(row.get(11))) {
                    break 'buckets;
                }
            }
            if rows.len() < look {
                break;
            }
        }
        if page.room() == 0 {
            break;
        }
    }
    with_events(shared, conn, page.items).await
}

/// Loads the documents of a page.
async fn with_events(shared: &Shared, conn: &Conn, page: Vec<(Bucket, Delivery)>) -> Result<Vec<PendingDelivery>, Failure> {
    let mut wanted: BTreeMap<i32, (Bucket, Vec<i64>)> = BTreeMap::new();
    for (bucket, delivery) in &page {
        wanted.entry(bucket.id).or_insert_with(|| (*bucket, Vec::new())).1.push(delivery.key.sequence().0);
    }
    let mut events = std::collections::HashMap::new();
    for (bucket, mut sequences) in wanted.into_values() {
        sequences.sort_unstable();
        sequences.dedup();
        events.extend(rows::events(shared, conn, &bucket, &sequences).await?);
    }
    let with_event =
        |(_, delivery): (Bucket, Delivery)| Some(PendingDelivery { event: events.get(&delivery.key.sequence())?.clone(), delivery });
    Ok(page.into_iter().filter_map(with_event).collect())
}

/// See `Journal::due`.
pub(super) async fn due(
    shared: &Shared,
    conn: &Conn,
    target: i64,
    mut after: (i64, DeliveryKey),
    until_ms: i64,
    limit: PageLimit,
) -> Result<Vec<PendingDelivery>, Failure> {
    let held = shared.pending.lock().held();
    let streams: Vec<i32> = held.into_iter().filter(|claim| claim.1 == part_of(target)).map(|claim| claim.0).collect();
    let mut page: Page<(Bucket, Delivery)> = Page::new(limit);
    while page.room() > 0 {
        let look = page.room().min(LOOK);
        let found = conn.keyed(DUE, &[&target, &streams, &after.0, &after.1.0, &until_ms, &(look as i64)]).await?;
        let mut places: BTreeMap<i32, (Bucket, Places)> = BTreeMap::new();
        let buckets = shared.buckets();
        for row in &found {
            let key = DeliveryKey(row.get(1));
            if let Some(bucket) = buckets.of(key.sequence().0) {
                let places = &mut places.entry(bucket.id).or_insert_with(|| (bucket, Places::default())).1;
                places.add(key, Place { target, stream: row.get(2) });
            }
        }
        let mut deliveries = BTreeMap::new();
        for (bucket, places) in places.into_values() {
            let mut sizes = BTreeMap::new();
            let sequences: Vec<i64> = places.key.iter().map(|key| DeliveryKey(*key).sequence().0).collect();
            for row in conn.keyed(&bucket.sql(SIZES), &[&sequences]).await? {
                sizes.insert(row.get::<_, i64>(0), bytes_of(row.get(1)));
            }
            for (key, delivery) in rows::deliveries(conn, &bucket, &places).await? {
                let bytes = sizes.get(&key.sequence().0).copied().unwrap_or_default();
                deliveries.insert(key, (bucket, delivery, bytes));
            }
        }
        for row in &found {
            after = (row.get(0), DeliveryKey(row.get(1)));
            // One that was settled since is passed over.
            let Some((bucket, delivery, bytes)) = deliveries.remove(&after.1) else { continue };
            if delivery.state == DeliveryState::Scheduled && delivery.due_ms == after.0 && !page.push((bucket, delivery), bytes) {
                return with_events(shared, conn, page.items).await;
            }
        }
        if found.len() < look {
            break;
        }
    }
    with_events(shared, conn, page.items).await
}

/// See `Journal::members`. A batch that was taken over has members of several streams, so its parts are put in order here.
pub(super) async fn members(
    shared: &Shared,
    conn: &Conn,
    batch: DeliveryKey,
    after: Sequence,
    limit: PageLimit,
) -> Result<Vec<Arc<Event>>, Failure> {
    let mut page = Page::new(limit);
    let buckets = shared.buckets();
    let Some(home) = buckets.of(batch.sequence().0) else { return Ok(Vec::new()) };
    // An event that was late may have joined a batch that was opened behind the end of its own bucket.
    let before = buckets.0.iter().rev().find(|bucket| bucket.first < home.first).map_or(home.first, |bucket| bucket.first);
    for bucket in buckets.0.iter().filter(|bucket| bucket.first >= before && bucket.sequences().1 > after.0) {
        let parts = conn.keyed(&bucket.sql(PARTS), &[&batch.0, &after.0]).await?;
        let members: BTreeSet<Sequence> =
            parts.iter().flat_map(|row| varint::unpack(row.get(0))).filter(|member| *member > after).collect();
        let members: Vec<i64> = members.into_iter().map(|member| member.0).collect();
        for run in members.chunks(page.room().clamp(1, LOOK)) {
            let mut sizes = BTreeMap::new();
            for row in conn.keyed(&bucket.sql(SIZES), &[&run]).await? {
                sizes.insert(row.get::<_, i64>(0), bytes_of(row.get(1)));
            }
            let mut fitting = Page::new(PageLimit { items: page.room(), bytes: page.bytes_left() });
            let mut is_whole = page.room() > 0;
            for (sequence, bytes) in sizes {
                // The first of a page is taken, however large.
                if !page.items.is_empty() && bytes > fitting.bytes_left() || !fitting.push(sequence, bytes) {
                    is_whole = false;
                    break;
                }
            }
            let mut events = rows::events(shared, conn, bucket, &fitting.items).await?;
            for event in fitting.items.iter().filter_map(|sequence| events.remove(&Sequence(*sequence))) {
                let bytes = event.payload.len();
                page.push(event, bytes);
            }
            if !is_whole || page.room() == 0 {
                return Ok(page.items);
            }
        }
    }
    Ok(page.items)
}

/// See `Journal::idempotent`.
pub(super) async fn idempotent(
    shared: &Shared,
    conn: &Conn,
    workspace: i64,
    key: &str,
    now_ms: i64,
) -> Result<Option<IdempotencyRecord>, Failure> {
    let oldest_ms = now_ms - IDEMPOTENCY_MS;
    let stored = words::put(key);
    for bucket in shared.buckets().0.iter().rev() {
        let rows = conn.keyed(&bucket.sql(IDEMPOTENT), &[&workspace, &stored]).await?;
        if let Some(row) = rows.first() {
            let record = IdempotencyRecord {
                workspace,
                key: key.to_owned(),
                body_hash: row.get::<_, &[u8]>(0).try_into().map_err(|_| super::error::unknown("hash of a body"))?,
                first: Sequence(row.get(1)),
                count: row.get::<_, i32>(2).unsigned_abs(),
                at_ms: row.get(3),
            };
            // The newest record of a key is the only one that counts.
            return Ok((record.at_ms >= oldest_ms).then_some(record));
        }
        // All that is in older buckets was received before this.
        if bucket.floor_ms < oldest_ms {
            break;
        }
    }
    Ok(None)
}
