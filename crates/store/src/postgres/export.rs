//! A database read from one end to the other, to be moved: pages of rows by their keys.
//!
//! No node may live, so what was read once stays true.
//!
//! Members of batches are put together anew: those of one chunk are one part, as of one commit. The streams of nodes overlap, and a data
//! directory knows one stream only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::{DeliveryKey, Sequence};
use tokio_postgres::Row;

use super::buckets::{Bucket, Buckets};
use super::error::{Failure, unknown};
use super::link::Conn;
use super::moving::Database;
use super::rows::{self, List};
use super::schema::BLOCK_BITS;
use super::settle::Places;
use super::words::{self, put, take};
use super::{bins, nodes, people};
use crate::migrate::Counts;
use crate::migrate::rows::{
    AuditRow, Body, Chunk, Cursor, Ends, Limits, PartRow, Phase, Position, ResourceRow, Start, Step, SuppressionRow,
};
use crate::secrets::MasterKeys;
use crate::{IdempotencyRecord, StoreError, varint};

/// Sizes of the documents behind a sequence, so that no more are read than are wanted.
const SIZES: &str = "SELECT sequence, octet_length(payload) FROM posthaste.event_$_ WHERE sequence > $1 ORDER BY sequence LIMIT $2";
const EVENTS: &str = "SELECT sequence, workspace, received_ms, type, source, payload, stream, deliveries FROM posthaste.event_$_
     WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence";
const ATTEMPT_SIZES: &str = "SELECT delivery, octet_length(body) FROM posthaste.attempt_$_ WHERE delivery BETWEEN $1 AND $2
     ORDER BY delivery LIMIT $3";
const ATTEMPTS: &str = "SELECT delivery, at_ms, duration_us, number, status, fault, error, message, request, response, body
     FROM posthaste.attempt_$_ WHERE delivery BETWEEN $1 AND $2 ORDER BY delivery, number";
const STREAMS: &str = "SELECT stream FROM posthaste.low WHERE bucket = $1 UNION SELECT 0";
/// Parts of commits that began in a range and reach behind its low end.
const PARTS: &str =
    "SELECT batch, members FROM posthaste.batch_part_$_ WHERE stream = ANY($1) AND first > $2 AND first <= $3 AND last > $4";
const SUBJECTS: &str = "SELECT hash, sequence FROM posthaste.subject_$_ WHERE block = $1";
const IDEMPOTENCY: &str = "SELECT workspace, key, hash, first, count, at_ms FROM posthaste.idempotency_$_ WHERE (workspace, key) > ($1, $2)
     ORDER BY workspace, key LIMIT $3";
const RESOURCES: &str = "SELECT number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed FROM posthaste.resource
     WHERE number > $1 ORDER BY number LIMIT $2";
const AUDIT: &str =
    "SELECT number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields FROM posthaste.audit
     WHERE number > $1 ORDER BY number LIMIT $2";
const SUPPRESSIONS: &str = "SELECT workspace, scope, address, reason, at_ms FROM posthaste.suppression
     WHERE (workspace, scope, address) > ($1, $2, $3) ORDER BY workspace, scope, address LIMIT $4";
const BINS: &str = "SELECT bin, last FROM posthaste.bin WHERE bin > $1 ORDER BY bin LIMIT $2";
const REQUEST_SIZES: &str = "SELECT bin, number, octet_length(body) FROM posthaste.request WHERE (bin, number) > ($1, $2)
     ORDER BY bin, number LIMIT $3";
const REQUESTS: &str = "SELECT number, at_ms, method, target, headers, body, ip, bin FROM posthaste.request
     WHERE (bin, number) > ($1, $2) AND (bin, number) <= ($3, $4) ORDER BY bin, number";
/// The last number that a table gave.
const LAST_NUMBER: &str = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, 'number')::regclass), 0)::int8";

/// What the store reads of the members of one batch that lie behind a chunk.
type Members = BTreeMap<DeliveryKey, BTreeSet<Sequence>>;

/// Hashes of what the events of a block of a bucket are about, by sequence.
struct Block {
    bucket: i32,
    block: i64,
    rows: Vec<(i64, i64)>,
}

/// An open database.
pub(crate) struct Export<'a> {
    database: &'a Database,
    limits: Limits,
    buckets: Buckets,
    types: HashMap<i32, Arc<str>>,
    /// Those that wrote to a bucket.
    streams: (i32, Vec<i32>),
    block: Option<Block>,
    /// Members behind the chunk that ended there, of parts that began before.
    open: Option<(i64, Members)>,
}

fn rows_limit(limits: &Limits) -> i64 {
    i64::try_from(limits.rows).unwrap_or(i64::MAX)
}

/// How many of these sizes are taken: as many as fit, but at least one.
fn fitting(sizes: impl Iterator<Item = i32>, bytes: usize) -> usize {
    let mut left = bytes;
    let fits = sizes.take_while(|size| {
        let is_left = left > 0;
        left = left.saturating_sub(usize::try_from(*size).unwrap_or_default());
        is_left
    });
    fits.count()
}

impl<'a> Export<'a> {
    /// Reads a database that nobody serves.
    pub(crate) async fn open(database: &'a Database, limits: Limits) -> Result<Self, StoreError> {
        let conn = database.side.conn()?;
        let buckets = Buckets::read(&conn).await?;
        let names = conn.keyed("SELECT id, name FROM posthaste.type", &[]).await?;
        let types = names.iter().map(|row| (row.get(0), words::shared(row.get(1)))).collect();
        Ok(Self { database, limits, buckets, types, streams: (0, Vec::new()), block: None, open: None })
    }

    /// Whether the keys open all secrets.
    pub(crate) async fn check_keys(&self, keys: &MasterKeys) -> Result<(), StoreError> {
        let conn = self.database.side.conn()?;
        for row in conn.keyed("SELECT id, sealed FROM posthaste.resource WHERE sealed IS NOT NULL", &[]).await? {
            keys.open(row.get(0), row.get(1))?;
        }
        Ok(())
    }

    /// The largest numbers there are.
    pub(crate) async fn ends(&self) -> Result<Ends, StoreError> {
        let conn = self.database.side.conn()?;
        let last = async |table: &str| -> Result<i64, StoreError> { Ok(conn.keyed(LAST_NUMBER, &[&table]).await?[0].get(0)) };
        let recovered = nodes::last(&conn, &self.buckets).await?;
        Ok(Ends {
            resource: last("posthaste.resource").await?,
            audit: last("posthaste.audit").await?,
            sequence: recovered.last_sequence,
            received_ms: recovered.last_received_ms,
        })
    }

    /// Where the first bucket begins.
    pub(crate) fn start(&self) -> Start {
        self.buckets.0.first().map_or_else(Start::default, |first| Start { first: first.first, floor_ms: first.floor_ms })
    }

    /// How much there is, all of it looked at only if `is_exact`; otherwise what counts for the progress.
    pub(crate) async fn counts(&self, is_exact: bool) -> Result<Counts, StoreError> {
        let conn = self.database.side.conn()?;
        let limit = std::time::Duration::from_secs(600);
        let count = async |what: &str| -> Result<u64, StoreError> {
            let rows = conn.query(limit, &format!("SELECT coalesce(sum(n), 0)::int8 FROM (SELECT {what}) c(n)"), &[]).await?;
            Ok(rows[0].get::<_, i64>(0).unsigned_abs())
        };
        let all = async |table: &str| count(&format!("count(*) FROM posthaste.{table}")).await;
        let mut counts = Counts {
            resources: all("resource").await?,
            audit: all("audit").await?,
            sessions: all("session").await?,
            suppressions: all("suppression").await?,
            bins: all("bin").await?,
            requests: all("request").await?,
            ..Counts::default()
        };
        for bucket in &self.buckets.0 {
            counts.events += count(&bucket.sql("count FROM posthaste.tally_$_")).await?;
            counts.idempotency += all(&bucket.sql("idempotency_$_")).await?;
            if is_exact {
                counts.deliveries += all(&bucket.sql("delivery_$_")).await?;
                counts.pending += all(&bucket.sql("delivery_$_ WHERE state < 2")).await?;
                counts.attempts += all(&bucket.sql("attempt_$_")).await?;
                counts.subjects += all(&bucket.sql("subject_$_")).await?;
                for row in conn.query(limit, &bucket.sql("SELECT members FROM posthaste.batch_part_$_"), &[]).await? {
                    counts.members += varint::unpack(row.get(0)).len() as u64;
                }
            }
        }
        Ok(counts)
    }

    /// The rows behind a position; `None` when there are no more.
    pub(crate) async fn read(&mut self, at: &Position) -> Result<Option<Step>, StoreError> {
        let conn = self.database.side.conn()?;
        let mut at = at.clone();
        loop {
            let found = match at.phase {
                // Nodes are stopped before their database is left.
                Phase::Ahead | Phase::KeysAhead | Phase::Changes => None,
                Phase::Resources => self.resources(&conn, &at.cursor).await?,
                Phase::Audit => self.audit(&conn, &at.cursor).await?,
                Phase::Sessions => self.sessions(&at.cursor).await?,
                Phase::Suppressions => self.suppressions(&conn, &at.cursor).await?,
                Phase::Bins => self.bins(&conn, &at.cursor).await?,
                Phase::Requests => self.requests(&conn, &at.cursor).await?,
                Phase::Events => self.chunk(&conn, at.cursor.a).await?,
                Phase::Idempotency => self.idempotency(&conn, &at.cursor).await?,
                Phase::Done => return Ok(None),
            };
            match found {
                Some((body, cursor)) => return Ok(Some(Step { body, next: at.at(cursor) })),
                None => at = at.before(at.phase.next()),
            }
        }
    }

    async fn resources(&self, conn: &Conn, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, Failure> {
        let read = |row: &Row| ResourceRow {
            number: row.get(0),
            id: row.get(1),
            kind: row.get(2),
            workspace: row.get(3),
            version: row.get(4),
            created_ms: row.get(5),
            updated_ms: row.get(6),
            deleted: row.get(7),
            doc: row.get(8),
            sealed: row.get(9),
        };
        let rows: Vec<ResourceRow> = conn.keyed(RESOURCES, &[&cursor.a, &rows_limit(&self.limits)]).await?.iter().map(read).collect();
        Ok(rows.last().map(|last| last.number).map(|a| (Body::Resources(rows), Cursor { a, ..Cursor::default() })))
    }

    async fn audit(&self, conn: &Conn, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, Failure> {
        let text = |row: &Row, place: usize| take(row.get(place)).into_owned();
        let read = |row: &Row| AuditRow {
            number: row.get(0),
            workspace: row.get(1),
            at_ms: row.get(2),
            actor_kind: row.get(3),
            actor_id: row.get::<_, Option<&str>>(4).map(|id| take(id).into_owned()),
            actor_label: text(row, 5),
            action: row.get(6),
            kind: text(row, 7),
            id: text(row, 8),
            name: text(row, 9),
            fields: row.get(10),
        };
        let rows: Vec<AuditRow> = conn.keyed(AUDIT, &[&cursor.a, &rows_limit(&self.limits)]).await?.iter().map(read).collect();
        Ok(rows.last().map(|last| last.number).map(|a| (Body::Audit(rows), Cursor { a, ..Cursor::default() })))
    }

    /// All at once: they are few.
    async fn sessions(&self, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, StoreError> {
        if cursor.a > 0 {
            return Ok(None);
        }
        let tx = self.database.alone().await?;
        let found = people::sessions(&tx).await;
        let rows = tx.finish(found).await?;
        Ok((!rows.is_empty()).then(|| (Body::Sessions(rows), Cursor { a: 1, ..Cursor::default() })))
    }

    async fn suppressions(&self, conn: &Conn, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, Failure> {
        let (scope, address) = (put(&cursor.text), put(&cursor.more));
        let found = conn.keyed(SUPPRESSIONS, &[&cursor.a, &scope, &address, &rows_limit(&self.limits)]).await?;
        let read = |row: &Row| SuppressionRow {
            workspace: row.get(0),
            scope: take(row.get(1)).into_owned(),
            address: take(row.get(2)).into_owned(),
            reason: row.get(3),
            at_ms: row.get(4),
        };
        let rows: Vec<SuppressionRow> = found.iter().map(read).collect();
        let behind = |last: &SuppressionRow| Cursor { a: last.workspace, b: 0, text: last.scope.clone(), more: last.address.clone() };
        Ok(rows.last().map(behind).map(|cursor| (Body::Suppressions(rows), cursor)))
    }

    async fn bins(&self, conn: &Conn, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, Failure> {
        let found = conn.keyed(BINS, &[&cursor.a, &rows_limit(&self.limits)]).await?;
        let rows: Vec<(i64, i64)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(rows.last().map(|last| last.0).map(|a| (Body::Bins(rows), Cursor { a, ..Cursor::default() })))
    }

    async fn requests(&self, conn: &Conn, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, Failure> {
        let sizes = conn.keyed(REQUEST_SIZES, &[&cursor.a, &cursor.b, &rows_limit(&self.limits)]).await?;
        let count = fitting(sizes.iter().map(|row| row.get(2)), self.limits.bytes);
        let Some(last) = sizes[..count].last() else { return Ok(None) };
        let behind = Cursor { a: last.get(0), b: last.get(1), ..Cursor::default() };
        let found = conn.keyed(REQUESTS, &[&cursor.a, &cursor.b, &behind.a, &behind.b]).await?;
        let rows = found.iter().map(|row| Ok((row.get(7), bins::request(row)?))).collect::<Result<_, Failure>>()?;
        Ok(Some((Body::Requests(rows), behind)))
    }

    /// Page by page through one bucket after the other.
    async fn idempotency(&self, conn: &Conn, cursor: &Cursor) -> Result<Option<(Body, Cursor)>, Failure> {
        let mut cursor = cursor.clone();
        let begun = cursor.a;
        for bucket in self.buckets.0.iter().filter(|bucket| bucket.first >= begun) {
            if bucket.first > cursor.a {
                // Workspaces have numbers from 1 on.
                cursor = Cursor { a: bucket.first, ..Cursor::default() };
            }
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&cursor.b, &put(&cursor.text), &rows_limit(&self.limits)];
            let found = conn.keyed(&bucket.sql(IDEMPOTENCY), &values).await?;
            let read = |row: &Row| {
                Ok(IdempotencyRecord {
                    workspace: row.get(0),
                    key: take(row.get(1)).into_owned(),
                    body_hash: row.get::<_, &[u8]>(2).try_into().map_err(|_| unknown("hash of a body"))?,
                    first: Sequence(row.get(3)),
                    count: row.get::<_, i32>(4).unsigned_abs(),
                    at_ms: row.get(5),
                })
            };
            let rows: Vec<IdempotencyRecord> = found.iter().map(read).collect::<Result<_, Failure>>()?;
            if let Some(last) = rows.last() {
                let behind = Cursor { a: cursor.a, b: last.workspace, text: last.key.clone(), more: String::new() };
                return Ok(Some((Body::Idempotency(rows), behind)));
            }
        }
        Ok(None)
    }

    /// The events behind a sequence, with all that lies with them.
    async fn chunk(&mut self, conn: &Conn, after: i64) -> Result<Option<(Body, Cursor)>, Failure> {
        for bucket in self.buckets.0.clone().into_iter().filter(|bucket| bucket.sequences().1 > after) {
            let sizes = conn.keyed(&bucket.sql(SIZES), &[&after, &rows_limit(&self.limits)]).await?;
            let count = fitting(sizes.iter().map(|row| row.get(1)), self.limits.bytes);
            if let Some(last) = sizes[..count].last() {
                let chunk = self.chunk_of(conn, &bucket, after, last.get(0)).await?;
                let cursor = Position::behind(chunk.end).cursor;
                return Ok(Some((Body::Chunk(Box::new(chunk)), cursor)));
            }
        }
        Ok(None)
    }

    async fn chunk_of(&mut self, conn: &Conn, bucket: &Bucket, after: i64, end: i64) -> Result<Chunk, Failure> {
        let mut chunk = Chunk { bucket: Start { first: bucket.first, floor_ms: bucket.floor_ms }, end, ..Chunk::default() };
        let rows = conn.keyed(&bucket.sql(EVENTS), &[&after, &end]).await?;
        let mut lists: Vec<(Sequence, List)> = Vec::with_capacity(rows.len());
        let mut last: Option<(&str, Arc<Source>)> = None;
        for row in &rows {
            let event = self.event(row, &mut last)?;
            lists.push((event.sequence, List::read(row.get(6), row.get(7))));
            chunk.events.push(Arc::new(event));
        }
        self.cut(conn, bucket, after, &lists, &mut chunk).await?;
        let mut places = Places::default();
        for (sequence, list) in lists.iter().filter(|(sequence, _)| sequence.0 <= chunk.end) {
            list.places(*sequence).for_each(|(key, place)| places.add(key, place));
        }
        chunk.deliveries = rows::deliveries(conn, bucket, &places).await?.into_values().collect();
        chunk.deliveries.sort_unstable_by_key(|delivery| delivery.key);
        let keys = keys(after, chunk.end);
        for row in conn.keyed(&bucket.sql(ATTEMPTS), &[&keys.0, &keys.1]).await? {
            chunk.attempts.push((DeliveryKey(row.get(0)), rows::attempt(&row)?));
        }
        self.parts(conn, bucket, after, &mut chunk).await?;
        self.subjects(conn, bucket, after, &mut chunk).await?;
        Ok(chunk)
    }

    fn event<'r>(&self, row: &'r Row, last: &mut Option<(&'r str, Arc<Source>)>) -> Result<Event, Failure> {
        let text: &str = row.get(4);
        let source = match last {
            Some((known, source)) if *known == text => source.clone(),
            _ => serde_json::from_str(&take(text)).map(Arc::new).map_err(|_| unknown("source of an event"))?,
        };
        *last = Some((text, source.clone()));
        let type_name = match row.get::<_, i32>(3) {
            0 => None,
            id => Some(self.types.get(&id).cloned().ok_or_else(|| unknown("type of an event"))?),
        };
        Ok(Event {
            sequence: Sequence(row.get(0)),
            workspace: row.get(1),
            type_name,
            payload: Bytes::copy_from_slice(row.get(5)),
            source,
            received_ms: row.get(2),
        })
    }

    /// Ends a chunk earlier if it has too many deliveries, or attempts.
    async fn cut(&self, conn: &Conn, bucket: &Bucket, after: i64, lists: &[(Sequence, List)], chunk: &mut Chunk) -> Result<(), Failure> {
        let mut count = 0;
        for (sequence, list) in lists {
            let own = list.places(*sequence).count();
            if count > 0 && count + own > self.limits.wide {
                chunk.cut(sequence.0 - 1);
                break;
            }
            count += own;
        }
        let (low, high) = keys(after, chunk.end);
        let most = i64::try_from(self.limits.wide).unwrap_or(i64::MAX);
        let sizes = conn.keyed(&bucket.sql(ATTEMPT_SIZES), &[&low, &high, &most]).await?;
        let fits = fitting(sizes.iter().map(|row| row.get(1)), self.limits.bytes);
        if fits == self.limits.wide || fits < sizes.len() {
            let of = |row: &Row| DeliveryKey(row.get(0)).sequence().0;
            let (first, last) = (of(&sizes[0]), of(&sizes[fits - 1]));
            // The last one may have more attempts; if it is the only one, all are taken.
            chunk.cut(if last > first { last - 1 } else { last });
        }
        Ok(())
    }

    /// What batches gained with the events of a chunk.
    async fn parts(&mut self, conn: &Conn, bucket: &Bucket, after: i64, chunk: &mut Chunk) -> Result<(), Failure> {
        if self.streams.0 != bucket.id {
            let rows = conn.keyed(STREAMS, &[&bucket.id]).await?;
            self.streams = (bucket.id, rows.iter().map(|row| row.get(0)).collect());
        }
        let streams = &self.streams.1;
        // Unless the chunk before it was read here, those that began earlier are looked for.
        let (mut members, from) = match self.open.take() {
            Some((end, members)) if end == after => (members, after),
            _ => (Members::new(), -1),
        };
        for row in conn.keyed(&bucket.sql(PARTS), &[streams, &from, &chunk.end, &after]).await? {
            let own = varint::unpack(row.get(1)).into_iter().filter(|member| member.0 > after);
            members.entry(DeliveryKey(row.get(0))).or_default().extend(own);
        }
        let Some(first) = chunk.events.first().map(|event| event.sequence.0) else { return Ok(()) };
        let mut behind = Members::new();
        for (batch, mut own) in members {
            let later = own.split_off(&Sequence(chunk.end + 1));
            if !own.is_empty() {
                chunk.parts.push(PartRow { batch, first, members: own.into_iter().collect() });
            }
            if !later.is_empty() {
                behind.insert(batch, later);
            }
        }
        self.open = Some((chunk.end, behind));
        Ok(())
    }

    async fn subjects(&mut self, conn: &Conn, bucket: &Bucket, after: i64, chunk: &mut Chunk) -> Result<(), Failure> {
        let first = chunk.events.first().map_or(after + 1, |event| event.sequence.0);
        for block in first >> BLOCK_BITS..=chunk.end >> BLOCK_BITS {
            if self.block.as_ref().is_none_or(|known| (known.bucket, known.block) != (bucket.id, block)) {
                let found = conn.keyed(&bucket.sql(SUBJECTS), &[&block]).await?;
                let mut rows: Vec<(i64, i64)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
                rows.sort_unstable_by_key(|row| row.1);
                self.block = Some(Block { bucket: bucket.id, block, rows });
            }
            let rows = self.block.as_ref().map_or(&[][..], |known| &known.rows);
            let (low, high) = (rows.partition_point(|row| row.1 <= after), rows.partition_point(|row| row.1 <= chunk.end));
            chunk.subjects.extend_from_slice(&rows[low..high]);
        }
        Ok(())
    }
}

/// The first and last key that the deliveries of events behind a sequence can have.
fn keys(after: i64, end: i64) -> (i64, i64) {
    (DeliveryKey::range_of(Sequence(after + 1)).0.0, DeliveryKey::range_of(Sequence(end)).1.0)
}
