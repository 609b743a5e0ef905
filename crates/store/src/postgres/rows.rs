//! Rows as the nouns of the domain.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, Delivery};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::{DeliveryKey, Sequence};
use tokio_postgres::Row;

use super::arrivals::OWNERS;
use super::buckets::Bucket;
use super::error::{Failure, unknown};
use super::link::Conn;
use super::settle::{Place, Places};
use super::shared::Shared;
use super::words;
use crate::varint;

const EVENTS: &str = "SELECT sequence, workspace, received_ms, type, source, payload FROM posthaste.event_$_ WHERE sequence = ANY($1)";
const LISTS: &str = "SELECT sequence, stream, deliveries FROM posthaste.event_$_ WHERE sequence = ANY($1)";
const BY_PLACE: &str =
    "SELECT d.target, d.key, d.workspace, d.subscription, d.first_attempt_ms, d.due_ms, d.updated_ms, d.received_ms, d.attempts,
       d.state, d.is_batch
     FROM unnest($1::int8[], $2::int4[], $3::int8[]) AS i(target, stream, key)
     JOIN posthaste.delivery_$_ d ON d.target = i.target AND d.stream = i.stream AND d.key = i.key";

/// Reads the columns of [`BY_PLACE`].
pub(super) fn delivery(row: &Row) -> Result<Delivery, Failure> {
    Ok(Delivery {
        target: row.get(0),
        key: DeliveryKey(row.get(1)),
        workspace: row.get(2),
        subscription: row.get(3),
        first_attempt_ms: row.get(4),
        due_ms: row.get(5),
        updated_ms: row.get(6),
        received_ms: row.get(7),
        attempts: row.get::<_, i32>(8).unsigned_abs(),
        state: words::state(row.get(9))?,
        is_batch: row.get(10),
    })
}

/// Reads `at_ms, duration_us, number, status, fault, error, message, request, response, body`, from the second column on.
pub(super) fn attempt(row: &Row) -> Result<Attempt, Failure> {
    Ok(Attempt {
        at_ms: row.get(1),
        duration_us: row.get(2),
        number: row.get::<_, i32>(3).unsigned_abs(),
        status: row.get::<_, Option<i32>>(4).and_then(|status| status.try_into().ok()),
        fault: row.get::<_, Option<i16>>(5).map(words::fault).transpose()?,
        error: row.get::<_, Option<&str>>(6).map(words::shared),
        message: row.get::<_, Option<&str>>(7).map(words::shared),
        request: words::shared(row.get(8)),
        response: words::shared(row.get(9)),
        response_body: Bytes::copy_from_slice(row.get(10)),
    })
}

/// The events of a bucket with these sequences, as far as they are there.
pub(super) async fn events(
    shared: &Shared,
    conn: &Conn,
    bucket: &Bucket,
    sequences: &[i64],
) -> Result<HashMap<Sequence, Arc<Event>>, Failure> {
    if sequences.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = conn.keyed(&bucket.sql(EVENTS), &[&sequences]).await?;
    let names = shared.type_names(conn, rows.iter().map(|row| row.get(3))).await?;
    let mut last: Option<(&str, Arc<Source>)> = None;
    let mut events = HashMap::with_capacity(rows.len());
    for row in &rows {
        let text: &str = row.get(4);
        let source = match &last {
            Some((known, source)) if *known == text => source.clone(),
            _ => serde_json::from_str(&words::take(text)).map(Arc::new).map_err(|_| unknown("source of an event"))?,
        };
        last = Some((text, source.clone()));
        let event = Event {
            sequence: Sequence(row.get(0)),
            workspace: row.get(1),
            type_name: names.get(&row.get(3)).cloned(),
            payload: Bytes::copy_from_slice(row.get(5)),
            source,
            received_ms: row.get(2),
        };
        events.insert(event.sequence, Arc::new(event));
    }
    Ok(events)
}

/// The event at a sequence.
pub(super) async fn event(shared: &Shared, conn: &Conn, sequence: Sequence) -> Result<Option<Arc<Event>>, Failure> {
    let Some(bucket) = shared.buckets().of(sequence.0) else { return Ok(None) };
    Ok(events(shared, conn, &bucket, &[sequence.0]).await?.remove(&sequence))
}

/// An event's stream and deliveries, by ordinal.
pub(super) struct List {
    pub(super) stream: i32,
    deliveries: Vec<(u32, Place)>,
}

impl List {
    /// Reads what an event tells of its deliveries.
    pub(super) fn read(stream: i32, mut bytes: &[u8]) -> Self {
        let mut deliveries = Vec::new();
        let mut ordinal: u32 = 0;
        while let (Some(step), Some(target)) = (varint::take(&mut bytes), varint::take(&mut bytes)) {
            ordinal = ordinal.wrapping_add(step as u32);
            let stream = if target & 1 == 1 { OWNERS } else { stream };
            deliveries.push((ordinal, Place { target: (target >> 1) as i64, stream }));
        }
        Self { stream, deliveries }
    }

    /// Where the delivery with an ordinal is.
    pub(super) fn place(&self, ordinal: u32) -> Option<Place> {
        let at = self.deliveries.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal).ok()?;
        Some(self.deliveries[at].1)
    }

    /// Whether any is, or may be, for the owner of its target.
    pub(super) fn has_owners(&self) -> bool {
        self.deliveries.iter().any(|(_, place)| place.stream == OWNERS)
    }

    /// All of them, by key.
    pub(super) fn places(&self, sequence: Sequence) -> impl DoubleEndedIterator<Item = (DeliveryKey, Place)> {
        self.deliveries.iter().map(move |(ordinal, place)| (DeliveryKey::new(sequence, *ordinal), *place))
    }
}

/// The lists of events of a bucket.
pub(super) async fn lists(conn: &Conn, bucket: &Bucket, sequences: &[i64]) -> Result<HashMap<i64, List>, Failure> {
    if sequences.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = conn.keyed(&bucket.sql(LISTS), &[&sequences]).await?;
    Ok(rows.iter().map(|row| (row.get(0), List::read(row.get(1), row.get(2)))).collect())
}

/// The deliveries at these places, by key.
pub(super) async fn deliveries(conn: &Conn, bucket: &Bucket, places: &Places) -> Result<HashMap<DeliveryKey, Delivery>, Failure> {
    if places.key.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = conn.keyed(&bucket.sql(BY_PLACE), &[&places.target, &places.stream, &places.key]).await?;
    rows.iter().map(|row| delivery(row).map(|delivery| (delivery.key, delivery))).collect()
}

/// The keys of a list by their bucket; those of buckets that were dropped are left out.
pub(super) fn by_bucket(shared: &Shared, keys: impl IntoIterator<Item = DeliveryKey>) -> Vec<(Bucket, Vec<DeliveryKey>)> {
    let buckets = shared.buckets();
    let mut parts: Vec<(Bucket, Vec<DeliveryKey>)> = Vec::new();
    for key in keys {
        let Some(bucket) = buckets.of(key.sequence().0) else { continue };
        match parts.iter_mut().find(|(known, _)| known.id == bucket.id) {
            Some((_, part)) => part.push(key),
            None => parts.push((bucket, vec![key])),
        }
    }
    parts
}

/// The deliveries with these keys.
pub(super) async fn by_key(shared: &Shared, conn: &Conn, keys: &[DeliveryKey]) -> Result<HashMap<DeliveryKey, Delivery>, Failure> {
    let mut found = HashMap::with_capacity(keys.len());
    for (bucket, keys) in by_bucket(shared, keys.iter().copied()) {
        let mut sequences: Vec<i64> = keys.iter().map(|key| key.sequence().0).collect();
        sequences.dedup();
        let lists = lists(conn, &bucket, &sequences).await?;
        let mut places = Places::default();
        for key in keys {
            if let Some(place) = lists.get(&key.sequence().0).and_then(|list| list.place(key.ordinal())) {
                places.add(key, place);
            }
        }
        found.extend(deliveries(conn, &bucket, &places).await?);
    }
    Ok(found)
}
