//! A database filled with what was moved from elsewhere.
//!
//! Each step is one transaction with the position behind it. What comes from there is of one stream, whose node is gone, and what is for targets
//! with an owner of the owners' stream: the first node that starts takes over what is pending, as of any node that is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use posthaste_domain::delivery::{Delivery, DeliveryState};

use super::amend::note;
use super::append::Sources;
use super::arrivals::OWNERS;
use super::buckets::{Bucket, Buckets};
use super::copy::Rows;
use super::error::Failure;
use super::link::Alone;
use super::moving::{Database, Filling};
use super::pending::{PARTS, chunk_of, part_of};
use super::schema::{self, BLOCK_BITS, TABLES};
use super::words;
use crate::migrate::rows::{AuditRow, Body, Chunk, Ends, Phase, Position, ResourceRow, Start, SuppressionRow};
use crate::{BinRequest, IdempotencyRecord, StoreError, varint};
use posthaste_domain::people::Session;

/// The version of the catalog that all of it has.
const CATALOG: i64 = 1;

const STEP: &str = "UPDATE posthaste.move SET position = $2 WHERE id = $1 AND position = $3 AND state = 'filling'";
const TALLY: &str = "INSERT INTO posthaste.tally_$_ AS t (workspace, type, stream, count)
     SELECT workspace, type, $1, count FROM unnest($2::int8[], $3::int4[], $4::int8[]) AS n(workspace, type, count)
     ON CONFLICT (workspace, type, stream) DO UPDATE SET count = t.count + excluded.count";
/// The newest record of a key is the one that counts.
const IDEMPOTENCY: &str = "INSERT INTO posthaste.idempotency_$_ AS i (workspace, key, hash, first, count, at_ms)
     SELECT DISTINCT ON (workspace, key) workspace, key, hash, first, count, at_ms
     FROM unnest($1::int8[], $2::text[], $3::bytea[], $4::int8[], $5::int4[], $6::int8[]) AS n(workspace, key, hash, first, count, at_ms)
     ORDER BY workspace, key, first DESC
     ON CONFLICT (workspace, key) DO UPDATE SET hash = excluded.hash, first = excluded.first, count = excluded.count, at_ms = excluded.at_ms
       WHERE i.first < excluded.first";
const LOW: &str = "INSERT INTO posthaste.low(bucket, stream, part, key) SELECT $1, $2, part, $3 FROM generate_series(0, $4) part";
const LOWER: &str = "UPDATE posthaste.low l SET key = least(l.key, n.key) FROM unnest($3::int2[], $4::int8[]) AS n(part, key)
     WHERE l.bucket = $1 AND l.stream = $2 AND l.part = n.part";

/// Another run of the same move was here.
#[derive(Debug, thiserror::Error)]
#[error("another `posthaste migrate` is filling it, or its mark is gone")]
struct Overtaken;

/// A delivery, by what nodes find it if it is pending.
pub(super) struct Waiting {
    pub(super) target: i64,
    pub(super) stream: i32,
    pub(super) key: i64,
    pub(super) state: DeliveryState,
    pub(super) due_ms: i64,
}

impl Waiting {
    fn of(delivery: &Delivery, stream: i32) -> Self {
        Self { target: delivery.target, stream, key: delivery.key.0, state: delivery.state, due_ms: delivery.due_ms }
    }
}

/// A database that is being filled.
pub(crate) struct Import<'a> {
    database: &'a Database,
    pub(super) filling: Filling,
    /// Targets that one node alone will send to.
    owned: BTreeSet<i64>,
    types: HashMap<Arc<str>, i32>,
    sources: Sources,
    pub(super) buckets: Buckets,
}

impl<'a> Import<'a> {
    /// Goes on with a database that was marked. What is for the `owned` targets goes to their owners' stream.
    pub(crate) async fn open(database: &'a Database, owned: BTreeSet<i64>) -> Result<Self, StoreError> {
        let filling = database.filling().await?;
        let conn = database.side.conn()?;
        let buckets = Buckets::read(&conn).await?;
        Ok(Self { database, filling, owned, types: HashMap::new(), sources: Sources::default(), buckets })
    }

    /// From now on these targets have owners.
    pub(crate) fn has_owners(&mut self, owned: BTreeSet<i64>) {
        self.owned = owned;
    }

    /// How far it is filled.
    pub(crate) fn position(&self) -> &Position {
        &self.filling.position
    }

    /// Writes rows, and how far that is. They are durable when something later is that [`Self::complete`] wrote.
    pub(crate) async fn write(&mut self, body: &Body, next: &Position) -> Result<(), StoreError> {
        let tx = self.database.alone().await?;
        let written = self.write_in(&tx, body, next).await;
        let buckets = tx.finish(written).await?;
        self.filling.position = next.clone();
        if let Some(buckets) = buckets {
            self.buckets = buckets;
        }
        Ok(())
    }

    /// Answers the buckets if there is a new one.
    async fn write_in(&mut self, tx: &Alone, body: &Body, next: &Position) -> Result<Option<Buckets>, Failure> {
        // After a crash of the database it goes on from what is there.
        tx.script("SET LOCAL synchronous_commit = off").await?;
        if tx.execute(STEP, &[&self.filling.id, &next.text(), &self.filling.position.text()]).await? != 1 {
            return Err(Failure::other(StoreError::Engine(Overtaken.into())));
        }
        match body {
            Body::Resources(rows) => resources(tx, rows).await?,
            Body::Audit(rows) => audit(tx, rows).await?,
            Body::Sessions(rows) => sessions(tx, rows).await?,
            Body::Suppressions(rows) => suppressions(tx, rows).await?,
            Body::Bins(rows) => bins(tx, rows).await?,
            Body::Requests(rows) => requests(tx, rows).await?,
            Body::Idempotency(rows) => self.idempotency(tx, rows).await?,
            Body::Changes(changes) => self.changes(tx, changes).await?,
            Body::Chunk(chunk) => {
                let (bucket, buckets) = self.chunk(tx, chunk).await?;
                self.pending(tx, &bucket, chunk.deliveries.iter().map(|delivery| Waiting::of(delivery, self.stream_of(delivery)))).await?;
                return Ok(buckets);
            }
            Body::Ahead(chunk, seen) => {
                // What is pending there is still the server's to send.
                let (_, buckets) = self.chunk(tx, chunk).await?;
                note(tx, seen).await?;
                return Ok(buckets);
            }
        }
        Ok(None)
    }

    /// Answers where it is, and the buckets if there is a new one.
    async fn chunk(&mut self, tx: &Alone, chunk: &Chunk) -> Result<(Bucket, Option<Buckets>), Failure> {
        // What is there already stays where it is, though a look at other segments would divide it in another way.
        let Position { phase, cursor, done } = &self.filling.position;
        let stored = if *phase == Phase::Events { cursor.a } else { done.events };
        let current = self.buckets.current().filter(|current| chunk.bucket.first <= current.first.max(stored));
        let (bucket, buckets) = match current {
            Some(current) => (current, None),
            None => {
                let buckets = begin(tx, &self.buckets, chunk.bucket, self.filling.stream).await?;
                (buckets.current().ok_or_else(|| super::error::unknown("bucket"))?, Some(buckets))
            }
        };
        self.learn_types(tx, chunk).await?;
        self.events(tx, chunk, &bucket).await?;
        self.deliveries(tx, chunk, &bucket).await?;
        attempts(tx, chunk, &bucket).await?;
        let mut rows = Rows::new(5);
        for part in &chunk.parts {
            let last = part.members.last().map_or(0, |last| last.0);
            rows.row().long(part.batch.0).long(part.first).int(self.filling.stream).long(last).bytes(&varint::pack(&part.members));
        }
        tx.copy(&bucket.sql("posthaste.batch_part_$_(batch, first, stream, last, members)"), rows).await?;
        let mut rows = Rows::new(3);
        for (hash, sequence) in &chunk.subjects {
            rows.row().long(sequence >> BLOCK_BITS).long(*hash).long(*sequence);
        }
        tx.copy(&bucket.sql("posthaste.subject_$_(block, hash, sequence)"), rows).await?;
        Ok((bucket, buckets))
    }

    /// Which stream a delivery is of.
    fn stream_of(&self, delivery: &Delivery) -> i32 {
        if self.owned.contains(&delivery.target) { OWNERS } else { self.filling.stream }
    }

    async fn learn_types(&mut self, tx: &Alone, chunk: &Chunk) -> Result<(), Failure> {
        let mut unknown: Vec<&str> = Vec::new();
        for name in chunk.events.iter().filter_map(|event| event.type_name.as_deref()) {
            if !self.types.contains_key(name) && !unknown.contains(&name) {
                unknown.push(name);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let stored: Vec<_> = unknown.iter().map(|name| words::put(name)).collect();
        let add = "INSERT INTO posthaste.type(name) SELECT name FROM unnest($1::text[]) name ON CONFLICT DO NOTHING";
        tx.execute(add, &[&stored]).await?;
        for row in tx.query("SELECT id, name FROM posthaste.type WHERE name = ANY($1)", &[&stored]).await? {
            self.types.insert(words::shared(row.get(1)), row.get(0));
        }
        Ok(())
    }

    async fn events(&mut self, tx: &Alone, chunk: &Chunk, bucket: &Bucket) -> Result<(), Failure> {
        let stream = self.filling.stream;
        let mut rows = Rows::new(8);
        let mut tally: BTreeMap<(i64, i32), i64> = BTreeMap::new();
        let mut list = Vec::new();
        for (event, deliveries) in chunk.with_deliveries() {
            let type_id = event.type_name.as_ref().and_then(|name| self.types.get(name)).copied().unwrap_or(0);
            list.clear();
            let mut last = 0;
            for delivery in deliveries {
                let ordinal = delivery.key.ordinal();
                varint::put(&mut list, u64::from(ordinal - last));
                varint::put(&mut list, (delivery.target as u64) << 1 | u64::from(self.stream_of(delivery) == OWNERS));
                last = ordinal;
            }
            rows.row().long(event.sequence.0).long(event.workspace).long(event.received_ms).int(type_id).int(stream);
            rows.text(&self.sources.text(&event.source)).bytes(&list).bytes(&event.payload);
            *tally.entry((event.workspace, type_id)).or_default() += 1;
        }
        let columns = "posthaste.event_$_(sequence, workspace, received_ms, type, stream, source, deliveries, payload)";
        tx.copy(&bucket.sql(columns), rows).await?;
        let (pairs, counts): (Vec<(i64, i32)>, Vec<i64>) = tally.into_iter().unzip();
        let (workspaces, types): (Vec<i64>, Vec<i32>) = pairs.into_iter().unzip();
        tx.execute(&bucket.sql(TALLY), &[&stream, &workspaces, &types, &counts]).await?;
        Ok(())
    }

    async fn deliveries(&self, tx: &Alone, chunk: &Chunk, bucket: &Bucket) -> Result<(), Failure> {
        let mut rows = Rows::new(14);
        for delivery in &chunk.deliveries {
            let state = words::state_code(delivery.state);
            rows.row().long(delivery.target).long(delivery.key.0).long(delivery.workspace).long(delivery.subscription);
            rows.long(delivery.first_attempt_ms).long(delivery.due_ms).long(0).long(delivery.updated_ms).long(delivery.received_ms);
            rows.int(self.stream_of(delivery)).int(i32::try_from(delivery.attempts).unwrap_or(i32::MAX));
            rows.small(state).small(state).flag(delivery.is_batch);
        }
        let columns = "posthaste.delivery_$_(target, key, workspace, subscription, first_attempt_ms, due_ms, prior_due_ms, updated_ms, \
                       received_ms, stream, attempts, state, prior, is_batch)";
        tx.copy(&bucket.sql(columns), rows).await
    }

    /// Has nodes find what waits, by ascending keys: when it is due, and where something is queued: from where on, or, of the owners' stream, in which
    /// chunks.
    pub(super) async fn pending(&self, tx: &Alone, bucket: &Bucket, waiting: impl Iterator<Item = Waiting>) -> Result<(), Failure> {
        let (mut due, mut arrivals) = (Rows::new(4), Rows::new(6));
        let mut lows: BTreeMap<i16, i64> = BTreeMap::new();
        let mut queued: BTreeMap<(i64, i64), (i64, i64, i32)> = BTreeMap::new();
        for Waiting { target, stream, key, state, due_ms } in waiting {
            // Keys ascend: the first one of a part, or of a chunk, is its lowest.
            match state {
                DeliveryState::Scheduled => drop(due.row().long(target).int(stream).long(due_ms).long(key)),
                DeliveryState::Queued if stream == OWNERS => {
                    let place = queued.entry((target, chunk_of(key))).or_insert((key, key, 0));
                    *place = (place.0, key, place.2 + 1);
                }
                DeliveryState::Queued => drop(lows.entry(part_of(target)).or_insert(key)),
                _ => {}
            }
        }
        for ((target, _), (first, last, count)) in queued {
            arrivals.row().small(part_of(target)).long(target).long(first).long(last).int(count).int(count);
        }
        tx.copy("posthaste.due(target, stream, due_ms, key)", due).await?;
        tx.copy("posthaste.arrival(part, target, first, last, pending, queued)", arrivals).await?;
        if !lows.is_empty() {
            let (parts, keys): (Vec<i16>, Vec<i64>) = lows.into_iter().unzip();
            tx.execute(LOWER, &[&bucket.id, &self.filling.stream, &parts, &keys]).await?;
        }
        Ok(())
    }

    async fn idempotency(&self, tx: &Alone, records: &[IdempotencyRecord]) -> Result<(), Failure> {
        for bucket in &self.buckets.0 {
            let of_bucket = |record: &&IdempotencyRecord| self.buckets.of(record.first.0).is_some_and(|of| of.id == bucket.id);
            let own: Vec<&IdempotencyRecord> = records.iter().filter(of_bucket).collect();
            if own.is_empty() {
                continue;
            }
            let workspaces: Vec<i64> = own.iter().map(|record| record.workspace).collect();
            let keys: Vec<_> = own.iter().map(|record| words::put(&record.key)).collect();
            let hashes: Vec<&[u8]> = own.iter().map(|record| &record.body_hash[..]).collect();
            let firsts: Vec<i64> = own.iter().map(|record| record.first.0).collect();
            let counts: Vec<i32> = own.iter().map(|record| i32::try_from(record.count).unwrap_or(i32::MAX)).collect();
            let times: Vec<i64> = own.iter().map(|record| record.at_ms).collect();
            tx.execute(&bucket.sql(IDEMPOTENCY), &[&workspaces, &keys, &hashes, &firsts, &counts, &times]).await?;
        }
        Ok(())
    }

    /// Has new rows be numbered from here, durably, as all before it. Doing it again changes nothing.
    pub(crate) async fn complete(&mut self, ends: &Ends, start: Start) -> Result<(), StoreError> {
        let tx = self.database.alone().await?;
        let completed = async {
            let buckets = match self.buckets.current() {
                Some(_) => None,
                None => Some(begin(&tx, &self.buckets, start, self.filling.stream).await?),
            };
            schema::make_ahead(&tx).await?;
            let values = [("sequence", ends.sequence + 1), ("catalog", CATALOG), ("session", CATALOG)];
            for (name, value) in values {
                tx.execute("UPDATE posthaste.counter SET value = $2 WHERE name = $1", &[&name, &value]).await?;
            }
            for (table, last) in [("posthaste.resource", ends.resource), ("posthaste.audit", ends.audit)] {
                let sql = "SELECT setval(pg_get_serial_sequence($1, 'number'), greatest($2::int8, 1), $2::int8 > 0)";
                tx.query(sql, &[&table, &last]).await?;
            }
            for bucket in buckets.as_ref().unwrap_or(&self.buckets).0.iter() {
                let tables: Vec<String> = TABLES.iter().map(|table| format!("posthaste.{table}_{}", bucket.id)).collect();
                tx.script(&format!("ANALYZE {}", tables.join(", "))).await?;
            }
            Ok::<_, Failure>(buckets)
        };
        let completed = completed.await;
        if let Some(buckets) = tx.finish(completed).await? {
            self.buckets = buckets;
        }
        Ok(())
    }
}

/// Begins a bucket.
async fn begin(tx: &Alone, known: &Buckets, start: Start, stream: i32) -> Result<Buckets, Failure> {
    let first = start.first.max(1);
    schema::make_ahead(tx).await?;
    if let Some(last) = known.current() {
        let bound = format!("ALTER TABLE posthaste.event_$_ ADD CONSTRAINT event_until_$_ CHECK (sequence < {first}) NOT VALID");
        tx.script(&last.sql(&bound)).await?;
        tx.execute("UPDATE posthaste.bucket SET until = $2 WHERE id = $1", &[&last.id, &first]).await?;
    }
    let sql = "UPDATE posthaste.bucket SET first = $1, floor_ms = $2 WHERE first IS NULL RETURNING id";
    let rows = tx.query(sql, &[&first, &start.floor_ms]).await?;
    let id: i32 = rows.first().map(|row| row.get(0)).ok_or_else(|| super::error::unknown("bucket"))?;
    tx.execute(LOW, &[&id, &stream, &i64::MAX, &(i32::from(PARTS) - 1)]).await?;
    let mut buckets = known.clone();
    if let Some(last) = buckets.0.last_mut() {
        last.until = Some(first);
    }
    buckets.0.push(Bucket { id, first, until: None, floor_ms: start.floor_ms });
    Ok(buckets)
}

async fn attempts(tx: &Alone, chunk: &Chunk, bucket: &Bucket) -> Result<(), Failure> {
    let mut rows = Rows::new(11);
    for (key, attempt) in &chunk.attempts {
        rows.row().long(key.0).long(attempt.at_ms).long(attempt.duration_us).int(i32::try_from(attempt.number).unwrap_or(i32::MAX));
        match attempt.status {
            Some(status) => rows.int(i32::from(status)),
            None => rows.null(),
        };
        match attempt.fault {
            Some(fault) => rows.small(words::fault_code(fault)),
            None => rows.null(),
        };
        rows.maybe_text(attempt.error.as_deref()).maybe_text(attempt.message.as_deref());
        rows.text(&attempt.request).text(&attempt.response).bytes(&attempt.response_body);
    }
    let columns = "posthaste.attempt_$_(delivery, at_ms, duration_us, number, status, fault, error, message, request, response, body)";
    tx.copy(&bucket.sql(columns), rows).await
}

async fn resources(tx: &Alone, resources: &[ResourceRow]) -> Result<(), Failure> {
    let mut rows = Rows::new(11);
    for row in resources {
        rows.row().long(row.number).bytes(row.id.as_bytes()).bytes(row.kind.as_bytes()).long(row.workspace).long(row.version);
        rows.long(row.created_ms).long(row.updated_ms).flag(row.deleted).bytes(row.doc.as_bytes()).long(CATALOG);
        match &row.sealed {
            Some(sealed) => rows.bytes(sealed),
            None => rows.null(),
        };
    }
    let columns = "posthaste.resource(number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, changed, sealed)";
    tx.copy(columns, rows).await
}

async fn audit(tx: &Alone, entries: &[AuditRow]) -> Result<(), Failure> {
    let mut rows = Rows::new(11);
    for row in entries {
        rows.row().long(row.number).long(row.workspace).long(row.at_ms).bytes(row.actor_kind.as_bytes());
        rows.maybe_text(row.actor_id.as_deref()).text(&row.actor_label).bytes(row.action.as_bytes());
        rows.text(&row.kind).text(&row.id).text(&row.name).bytes(row.fields.as_bytes());
    }
    let columns = "posthaste.audit(number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields)";
    tx.copy(columns, rows).await
}

async fn sessions(tx: &Alone, sessions: &[Session]) -> Result<(), Failure> {
    let mut rows = Rows::new(7);
    for Session { id, token_hash, member, user_agent, ip, created_ms, seen_ms } in sessions {
        rows.row().text(id).text(token_hash).text(member).text(user_agent).text(ip).long(*created_ms).long(*seen_ms);
    }
    tx.copy("posthaste.session(id, token_hash, member, user_agent, ip, created_ms, seen_ms)", rows).await
}

async fn suppressions(tx: &Alone, suppressions: &[SuppressionRow]) -> Result<(), Failure> {
    let mut rows = Rows::new(5);
    for row in suppressions {
        rows.row().long(row.workspace).text(&row.scope).text(&row.address).bytes(row.reason.as_bytes()).long(row.at_ms);
    }
    tx.copy("posthaste.suppression(workspace, scope, address, reason, at_ms)", rows).await
}

async fn bins(tx: &Alone, bins: &[(i64, i64)]) -> Result<(), Failure> {
    let mut rows = Rows::new(2);
    for (bin, last) in bins {
        rows.row().long(*bin).long(*last);
    }
    tx.copy("posthaste.bin(bin, last)", rows).await
}

async fn requests(tx: &Alone, requests: &[(i64, BinRequest)]) -> Result<(), Failure> {
    let mut rows = Rows::new(8);
    for (bin, request) in requests {
        let headers = serde_json::to_string(&request.headers).expect("headers are plain strings");
        rows.row().long(*bin).long(request.number).long(request.at_ms).text(&request.method).text(&request.target);
        rows.bytes(headers.as_bytes()).bytes(&request.body).maybe_text(request.ip.as_deref());
    }
    tx.copy("posthaste.request(bin, number, at_ms, method, target, headers, body, ip)", rows).await
}
