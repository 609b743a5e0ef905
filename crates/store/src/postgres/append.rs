//! Events and their deliveries as columns, and the statements that store them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::BytesMut;
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};

use super::arrivals::{Heralds, OWNERS};
use super::buckets::Bucket;
use super::error::{Failure, Refusal};
use super::link::{Conn, Query};
use super::pending::{Claim, chunk_of, part_of};
use super::{schema, words};
use crate::{Append, NewEvent, Opened, subject, varint};

/// Fails unless the stream is still this node's, and keeps it so until the transaction ends. It divides by the number of rows: that is
/// the one way to fail that all databases of this kind have.
pub(super) const HOLD: &str =
    "SELECT 1 / count(*) FROM (SELECT 1 FROM posthaste.stream WHERE stream = $1 AND node = $2 AND is_open FOR SHARE) own";
/// The same of what the writer does. What it began in an epoch that is over comes to nothing, however late it reaches the database.
pub(super) const HOLD_NOW: &str =
    "SELECT 1 / count(*) FROM (SELECT 1 FROM posthaste.stream WHERE stream = $1 AND node = $2 AND is_open AND epoch = $3 FOR SHARE) own";

const EVENTS: &str = "INSERT INTO posthaste.event_$_(sequence, workspace, received_ms, type, stream, source, deliveries, payload)
     SELECT sequence, workspace, received_ms, type, $1, source, deliveries, payload
     FROM unnest($2::int8[], $3::int8[], $4::int8[], $5::int4[], $6::text[], $7::bytea[], $8::bytea[])
       AS n(sequence, workspace, received_ms, type, source, deliveries, payload)";
const DELIVERIES: &str = "INSERT INTO posthaste.delivery_$_(target, key, workspace, subscription, first_attempt_ms, due_ms, prior_due_ms,
       updated_ms, received_ms, stream, attempts, state, prior, is_batch)
     SELECT target, key, workspace, subscription, 0, due_ms, 0, received_ms, received_ms, stream, 0, state, state, is_batch
     FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int2[], $9::bool[])
       AS n(stream, target, key, workspace, subscription, due_ms, received_ms, state, is_batch)";
const DUE: &str = "INSERT INTO posthaste.due(target, stream, due_ms, key)
     SELECT target, stream, due_ms, key FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::int8[]) AS n(stream, target, due_ms, key)";
const TALLY: &str = "INSERT INTO posthaste.tally_$_ AS t (workspace, type, stream, count)
     SELECT workspace, type, $1, count FROM unnest($2::int8[], $3::int4[], $4::int8[]) AS n(workspace, type, count)
     ON CONFLICT (workspace, type, stream) DO UPDATE SET count = t.count + excluded.count";
const SUBJECTS: &str = "INSERT INTO posthaste.subject_$_(block, hash, sequence)
     SELECT sequence >> $1, hash, sequence FROM unnest($2::int8[], $3::int8[]) AS n(hash, sequence) ON CONFLICT DO NOTHING";
const PARTS: &str = "INSERT INTO posthaste.batch_part_$_(batch, first, stream, last, members)
     SELECT batch, first, $1, last, members FROM unnest($2::int8[], $3::int8[], $4::int8[], $5::bytea[]) AS n(batch, first, last, members)";
const IDEMPOTENCY: &str = "INSERT INTO posthaste.idempotency_$_ AS i (workspace, key, hash, first, count, at_ms)
     SELECT DISTINCT ON (workspace, key) workspace, key, hash, first, count, at_ms
     FROM unnest($1::int8[], $2::text[], $3::bytea[], $4::int8[], $5::int4[], $6::int8[]) AS n(workspace, key, hash, first, count, at_ms)
     ORDER BY workspace, key, first DESC
     ON CONFLICT (workspace, key) DO UPDATE SET hash = excluded.hash, first = excluded.first, count = excluded.count, at_ms = excluded.at_ms";
/// Waits for other nodes that use the same keys, in an order that all have.
const CLAIM_KEYS: &str = "SELECT pg_advisory_xact_lock(key) FROM (
       SELECT DISTINCT hashtextextended(key, workspace) AS key FROM unnest($1::int8[], $2::text[]) AS n(workspace, key) ORDER BY 1) k";
/// Fails if a key was used less than a day before, by a cast that cannot be.
const FREE_KEYS: &str = "SELECT ('used' || count(*))::int4 FROM posthaste.idempotency_$_ i
     JOIN unnest($1::int8[], $2::text[], $3::int8[]) AS n(workspace, key, at_ms) ON i.workspace = n.workspace AND i.key = n.key
     WHERE i.at_ms >= n.at_ms - 86400000 HAVING count(*) > 0";
const LOW: &str = "INSERT INTO posthaste.low(bucket, stream, part, key) SELECT $1, $2, part, $3 FROM generate_series(0, 7) part
     ON CONFLICT DO NOTHING";

/// A shared text, stored so that any is taken.
#[derive(Debug)]
pub(super) struct Text(pub(super) Arc<str>);

impl ToSql for Text {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        (&*words::put(&self.0)).to_sql(kind, out)
    }

    accepts!(TEXT);
    to_sql_checked!();
}

/// Sources come in runs, so the last one is remembered.
#[derive(Default)]
pub(super) struct Sources(Option<(Arc<Source>, Arc<str>)>);

impl Sources {
    /// The JSON of a source.
    pub(super) fn text(&mut self, source: &Arc<Source>) -> Arc<str> {
        match &self.0 {
            Some((last, text)) if Arc::ptr_eq(last, source) || last == source => text.clone(),
            _ => {
                let text: Arc<str> = serde_json::to_string(source).expect("a source is plain strings").into();
                self.0 = Some((source.clone(), text.clone()));
                text
            }
        }
    }
}

#[derive(Default)]
struct EventRows<'a> {
    sequence: Vec<i64>,
    workspace: Vec<i64>,
    received_ms: Vec<i64>,
    type_id: Vec<i32>,
    source: Vec<Text>,
    deliveries: Vec<Vec<u8>>,
    payload: Vec<&'a [u8]>,
}

/// New deliveries of one bucket.
#[derive(Default)]
pub(super) struct DeliveryRows {
    stream: Vec<i32>,
    target: Vec<i64>,
    key: Vec<i64>,
    workspace: Vec<i64>,
    subscription: Vec<i64>,
    due_ms: Vec<i64>,
    received_ms: Vec<i64>,
    state: Vec<i16>,
    is_batch: Vec<bool>,
    due: Due,
}

#[derive(Default)]
struct IdempotencyRows<'a> {
    workspace: Vec<i64>,
    key: Vec<std::borrow::Cow<'a, str>>,
    hash: Vec<&'a [u8]>,
    first: Vec<i64>,
    count: Vec<i32>,
    at_ms: Vec<i64>,
}

/// What batches gain in one bucket.
#[derive(Default)]
pub(super) struct PartRows {
    batch: Vec<i64>,
    first: Vec<i64>,
    last: Vec<i64>,
    members: Vec<Vec<u8>>,
}

impl PartRows {
    /// Adds members of a batch, ascending and at least one, under the first sequence of what is written with them.
    pub(super) fn add(&mut self, batch: DeliveryKey, first: i64, members: &[Sequence]) {
        self.batch.push(batch.0);
        self.first.push(first);
        self.last.push(members.last().map_or(0, |last| last.0));
        self.members.push(varint::pack(members));
    }

    /// The statement that stores them.
    pub(super) async fn query<'q>(
        &'q self,
        conn: &Conn,
        bucket: &Bucket,
        stream: &'q i32,
        out: &mut Vec<Query<'q>>,
    ) -> Result<(), Failure> {
        if !self.batch.is_empty() {
            out.push((conn.prepare(&bucket.sql(PARTS)).await?, vec![stream, &self.batch, &self.first, &self.last, &self.members]));
        }
        Ok(())
    }
}

/// Columns of `due`.
#[derive(Default)]
struct Due {
    stream: Vec<i32>,
    target: Vec<i64>,
    due_ms: Vec<i64>,
    key: Vec<i64>,
}

impl DeliveryRows {
    /// Adds one, which is scheduled if it is due at a time.
    pub(super) fn add(&mut self, delivery: &Opened, stream: i32, due_ms: Option<i64>, is_batch: bool) {
        self.stream.push(stream);
        self.target.push(delivery.target);
        self.key.push(delivery.key.0);
        self.workspace.push(delivery.workspace);
        self.subscription.push(delivery.subscription);
        self.due_ms.push(due_ms.unwrap_or(0));
        self.received_ms.push(delivery.received_ms);
        let state = if due_ms.is_some() { DeliveryState::Scheduled } else { DeliveryState::Queued };
        self.state.push(words::state_code(state));
        self.is_batch.push(is_batch);
        if let Some(due_ms) = due_ms {
            self.due.stream.push(stream);
            self.due.target.push(delivery.target);
            self.due.due_ms.push(due_ms);
            self.due.key.push(delivery.key.0);
        }
    }

    /// The statements that store them.
    pub(super) async fn queries<'q>(&'q self, conn: &Conn, bucket: &Bucket, out: &mut Vec<Query<'q>>) -> Result<(), Failure> {
        if !self.key.is_empty() {
            let statement = conn.prepare(&bucket.sql(DELIVERIES)).await?;
            let head: [&(dyn ToSql + Sync); 5] = [&self.stream, &self.target, &self.key, &self.workspace, &self.subscription];
            let tail: [&(dyn ToSql + Sync); 4] = [&self.due_ms, &self.received_ms, &self.state, &self.is_batch];
            out.push((statement, head.into_iter().chain(tail).collect()));
        }
        if !self.due.key.is_empty() {
            out.push((conn.prepare(DUE).await?, vec![&self.due.stream, &self.due.target, &self.due.due_ms, &self.due.key]));
        }
        Ok(())
    }
}

/// What a group adds to one bucket.
#[derive(Default)]
pub(super) struct Addition<'a> {
    events: EventRows<'a>,
    deliveries: DeliveryRows,
    arrivals: Heralds,
    parts: PartRows,
    idempotency: IdempotencyRows<'a>,
    subjects: (Vec<i64>, Vec<i64>),
    tally: (Vec<i64>, Vec<i32>, Vec<i64>),
    batches: BTreeMap<DeliveryKey, Vec<Sequence>>,
    pub(super) first: i64,
    first_key: i64,
}

impl<'a> Addition<'a> {
    /// Adds an event.
    pub(super) fn event(&mut self, event: &'a NewEvent, own: i32, type_id: i32, sources: &mut Sources, closed: &HashMap<DeliveryKey, i64>) {
        let sequence = event.sequence.0;
        if self.events.sequence.is_empty() {
            (self.first, self.first_key) = (sequence, DeliveryKey::new(event.sequence, 0).0);
        }
        self.events.sequence.push(sequence);
        self.events.workspace.push(event.workspace);
        self.events.received_ms.push(event.received_ms);
        self.events.type_id.push(type_id);
        self.events.source.push(Text(sources.text(&event.source)));
        self.events.payload.push(&event.payload);
        let mut list = Vec::with_capacity(event.deliveries.len() * 4);
        let mut last = 0;
        for new in &event.deliveries {
            let key = DeliveryKey::new(event.sequence, new.ordinal);
            varint::put(&mut list, u64::from(new.ordinal.wrapping_sub(last)));
            varint::put(&mut list, (new.target as u64) << 1 | u64::from(new.for_owner));
            last = new.ordinal;
            if new.for_owner && new.is_batch {
                // Its owner opens it, perhaps.
                continue;
            }
            let stream = if new.for_owner { OWNERS } else { own };
            // A batch that is full within the group that opened it is due at once.
            let due_ms = new.due_ms.map(|due_ms| closed.get(&key).map_or(due_ms, |closed| due_ms.min(*closed)));
            let delivery = Opened {
                key,
                workspace: event.workspace,
                subscription: new.subscription,
                target: new.target,
                due_ms: due_ms.unwrap_or(0),
                received_ms: event.received_ms,
            };
            self.deliveries.add(&delivery, stream, due_ms, new.is_batch);
            if new.for_owner {
                self.arrivals.add(new.target, key, due_ms.is_none());
            }
        }
        self.events.deliveries.push(list);
        for subject in &event.about {
            self.subjects.0.push(subject::hash(subject));
            self.subjects.1.push(sequence);
        }
        let (workspaces, types, counts) = &mut self.tally;
        // Events of one type often come one after the other, and there are few types in a group.
        let known = workspaces.iter().zip(types.iter()).rposition(|pair| pair == (&event.workspace, &type_id));
        match known {
            Some(place) => counts[place] += 1,
            None => {
                workspaces.push(event.workspace);
                types.push(type_id);
                counts.push(1);
            }
        }
    }

    /// Adds a member of a batch.
    pub(super) fn member(&mut self, batch: DeliveryKey, member: Sequence) {
        self.batches.entry(batch).or_default().push(member);
    }

    /// Adds an idempotency key.
    pub(super) fn idempotency(&mut self, record: &'a crate::IdempotencyRecord) {
        let rows = &mut self.idempotency;
        rows.workspace.push(record.workspace);
        rows.key.push(words::put(&record.key));
        rows.hash.push(&record.body_hash);
        rows.first.push(record.first.0);
        rows.count.push(i32::try_from(record.count).unwrap_or(i32::MAX));
        rows.at_ms.push(record.at_ms);
    }

    /// Packs what was collected.
    pub(super) fn pack(&mut self) {
        for (batch, mut members) in std::mem::take(&mut self.batches) {
            members.sort_unstable();
            members.dedup();
            self.parts.add(batch, self.first, &members);
        }
    }

    /// Its sequences, as runs without gaps.
    pub(super) fn runs(&self) -> Vec<(i64, i64)> {
        let mut sequences = self.events.sequence.clone();
        sequences.sort_unstable();
        sequences.chunk_by(|a, b| a + 1 == *b).filter_map(|run| Some((*run.first()?, *run.last()?))).collect()
    }

    /// How many queued deliveries there are by claim and chunk. Those for owners are counted when they are heard of.
    pub(super) fn queued(&self, stream: i32) -> HashMap<(Claim, i64), i64> {
        let mut counts = HashMap::new();
        let rows = &self.deliveries;
        let of_own = rows.stream.iter().zip(&rows.state).map(|(of, state)| *of == stream && *state == 0);
        for ((target, key), _) in rows.target.iter().zip(&rows.key).zip(of_own).filter(|(_, counts)| *counts) {
            *counts.entry(((stream, part_of(*target)), chunk_of(*key))).or_default() += 1;
        }
        counts
    }

    /// Targets with an owner that it has deliveries for.
    pub(super) fn owned(&self) -> impl Iterator<Item = i64> {
        self.arrivals.targets()
    }

    /// The statements, in the order in which they have to be done.
    pub(super) async fn queries<'q>(
        &'q self,
        conn: &Conn,
        bucket: &'q Bucket,
        stream: &'q i32,
        is_new: bool,
        out: &mut Vec<Query<'q>>,
    ) -> Result<(), Failure> {
        if self.events.sequence.is_empty() {
            return Ok(());
        }
        let prepare = async |sql: &str| conn.prepare(&bucket.sql(sql)).await;
        if is_new {
            out.push((conn.prepare(LOW).await?, vec![&bucket.id, stream, &self.first_key]));
        }
        let rows = &self.events;
        let values: Query<'q> = (
            prepare(EVENTS).await?,
            vec![stream, &rows.sequence, &rows.workspace, &rows.received_ms, &rows.type_id, &rows.source, &rows.deliveries, &rows.payload],
        );
        out.push(values);
        self.deliveries.queries(conn, bucket, out).await?;
        self.arrivals.queries(conn, out).await?;
        out.push((prepare(TALLY).await?, vec![stream, &self.tally.0, &self.tally.1, &self.tally.2]));
        if !self.subjects.0.is_empty() {
            out.push((prepare(SUBJECTS).await?, vec![&BLOCK_BITS, &self.subjects.0, &self.subjects.1]));
        }
        self.parts.query(conn, bucket, stream, out).await?;
        let rows = &self.idempotency;
        if !rows.key.is_empty() {
            out.push((conn.prepare(CLAIM_KEYS).await?, vec![&rows.workspace, &rows.key]));
            out.push((prepare(FREE_KEYS).await?, vec![&rows.workspace, &rows.key, &rows.at_ms]));
            out.push((prepare(IDEMPOTENCY).await?, vec![&rows.workspace, &rows.key, &rows.hash, &rows.first, &rows.count, &rows.at_ms]));
        }
        Ok(())
    }
}

const BLOCK_BITS: i32 = schema::BLOCK_BITS as i32;

/// Why an append cannot be stored, if that is so: each member of a batch has to be an event of the same append.
pub(super) fn refusal(group: &Append) -> Option<Refusal> {
    let members = group.batches.iter().flat_map(|part| &part.members);
    let mut foreign = members.filter(|member| group.events.binary_search_by_key(member, |event| &event.sequence).is_err());
    foreign.next().map(|member| Refusal::ForeignMember(member.0))
}
