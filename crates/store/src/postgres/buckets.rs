//! Buckets: ranges of sequences with tables of their own.
//!
//! The next bucket's tables are made ahead. To begin it is to choose its first sequence, above all that were stored and all that nodes have
//! leased: so whatever is on its way still belongs to the bucket before. A constraint on the old table says so as well, and a node that
//! does not know of the new bucket fails there, looks the buckets up, and tries again.

use posthaste_domain::id::{DeliveryKey, ORDINAL_BITS, Sequence};

use super::error::Failure;
use super::joining;
use super::link::{Alone, Conn};
use super::schema::{self, LOCK, LOCK_SCHEMA, TABLES};
use crate::{Order, Range};

/// How long a table's lock is waited for, so that those who wait behind do not wait for long.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

const LIST: &str = "SELECT id, first, until, floor_ms FROM posthaste.bucket WHERE first IS NOT NULL ORDER BY first";

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) id: i32,
    /// Its first sequence.
    pub(super) first: i64,
    /// The first sequence of the next one.
    pub(super) until: Option<i64>,
    /// All of it was received at or after this.
    pub(super) floor_ms: i64,
}

impl Bucket {
    /// The first and last sequence it can have.
    pub(super) fn sequences(&self) -> (i64, i64) {
        (self.first, self.until.map_or(i64::MAX >> ORDINAL_BITS, |until| until - 1))
    }

    /// The first and last key of deliveries it can have.
    pub(super) fn keys(&self) -> (i64, i64) {
        let (first, last) = self.sequences();
        (DeliveryKey::range_of(Sequence(first)).0.0, DeliveryKey::range_of(Sequence(last)).1.0)
    }

    /// A statement about this bucket: `$_` stands for its number.
    pub(super) fn sql(&self, sql: &str) -> String {
        sql.replace("$_", &self.id.to_string())
    }
}

/// All buckets, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets(pub(super) Vec<Bucket>);

impl Buckets {
    /// Looks them up.
    pub(super) async fn read(conn: &Conn) -> Result<Self, Failure> {
        let rows = conn.keyed(LIST, &[]).await?;
        let bucket = |row: &tokio_postgres::Row| Bucket { id: row.get(0), first: row.get(1), until: row.get(2), floor_ms: row.get(3) };
        Ok(Self(rows.iter().map(bucket).collect()))
    }

    /// The one of a sequence.
    pub(super) fn of(&self, sequence: i64) -> Option<Bucket> {
        let behind = self.0.partition_point(|bucket| bucket.first <= sequence);
        let bucket = self.0.get(behind.checked_sub(1)?)?;
        bucket.until.is_none_or(|until| sequence < until).then_some(*bucket)
    }

    /// The one that is written to.
    pub(super) fn current(&self) -> Option<Bucket> {
        self.0.last().copied()
    }

    /// Those that a list visits, in its order; `after` is the last sequence of the page before.
    pub(super) fn in_order(&self, range: &Range, after: Option<i64>) -> Vec<Bucket> {
        let ends = self.0.iter().skip(1).map(|next| Some(next.floor_ms)).chain([None]);
        let is_meant = |(bucket, end_ms): &(&Bucket, Option<i64>)| {
            let (first, last) = bucket.sequences();
            let is_in_time =
                range.to_ms.is_none_or(|to| bucket.floor_ms < to) && range.from_ms.zip(*end_ms).is_none_or(|(from, end)| end >= from);
            is_in_time
                && match (after, range.order) {
                    (None, _) => true,
                    (Some(after), Order::Asc) => last >= after,
                    (Some(after), Order::Desc) => first <= after,
                }
        };
        let mut list: Vec<Bucket> = self.0.iter().zip(ends).filter(is_meant).map(|(bucket, _)| *bucket).collect();
        if range.order == Order::Desc {
            list.reverse();
        }
        list
    }
}

/// Begins the first bucket of a new database.
pub(super) async fn begin(tx: &Alone) -> Result<(), Failure> {
    schema::make_ahead(tx).await?;
    let sql =
        "UPDATE posthaste.bucket SET first = 1 WHERE first IS NULL AND NOT EXISTS (SELECT 1 FROM posthaste.bucket WHERE first IS NOT NULL)";
    if tx.execute(sql, &[]).await? > 0 {
        schema::make_ahead(tx).await?;
    }
    Ok(())
}

/// Begins the next bucket, unless another node did.
pub(super) async fn roll(tx: &Alone, current: &Bucket) -> Result<(), Failure> {
    tx.script(&format!("SELECT pg_advisory_xact_lock({LOCK}, {LOCK_SCHEMA});{LOCK_TIMEOUT}")).await?;
    let known = tx.query("SELECT until FROM posthaste.bucket WHERE id = $1 FOR UPDATE", &[&current.id]).await?;
    if known.first().is_none_or(|row| row.get::<_, Option<i64>>(0).is_some()) {
        return Ok(());
    }
    schema::make_ahead(tx).await?;
    // Whoever is writing to it is waited for; whoever comes later meets the constraint.
    tx.script(&current.sql("LOCK TABLE posthaste.event_$_ IN ACCESS EXCLUSIVE MODE")).await?;
    let leased = tx.query("SELECT value FROM posthaste.counter WHERE name = 'sequence' FOR UPDATE", &[]).await?;
    let newest = current.sql("SELECT sequence, received_ms FROM posthaste.event_$_ ORDER BY sequence DESC LIMIT 1");
    let (last, last_ms) = tx.query(&newest, &[]).await?.first().map_or((0, current.floor_ms), |row| (row.get(0), row.get(1)));
    let until = leased.first().map_or(1, |row| row.get::<_, i64>(0)).max(last + 1).max(current.first + 1);
    let bound = format!("ALTER TABLE posthaste.event_$_ ADD CONSTRAINT event_until_$_ CHECK (sequence < {until}) NOT VALID");
    tx.script(&current.sql(&bound)).await?;
    tx.execute("UPDATE posthaste.bucket SET until = $2 WHERE id = $1", &[&current.id, &until]).await?;
    let floor_ms: i64 = current.floor_ms.max(last_ms);
    tx.execute("UPDATE posthaste.bucket SET first = $1, floor_ms = $2 WHERE first IS NULL", &[&until, &floor_ms]).await?;
    Ok(())
}

/// Whether deliveries of a bucket are pending, or it holds what such a batch needs.
pub(super) async fn has_pending(tx: &Alone, bucket: &Bucket, buckets: &Buckets) -> Result<bool, Failure> {
    let (first, last) = bucket.keys();
    let due = "SELECT 1 FROM posthaste.due WHERE key BETWEEN $1 AND $2 LIMIT 1";
    if !tx.query(due, &[&first, &last]).await?.is_empty() {
        return Ok(true);
    }
    let owners = "SELECT 1 FROM posthaste.arrival WHERE first BETWEEN $1 AND $2 LIMIT 1";
    if !tx.query(owners, &[&first, &last]).await?.is_empty() {
        return Ok(true);
    }
    if joining::has_events_of(tx, bucket).await? {
        return Ok(true);
    }
    let queued = bucket.sql(
        "SELECT 1 FROM posthaste.delivery_$_ d JOIN posthaste.low l ON l.bucket = $1 AND l.stream = d.stream AND l.part = (d.target & 7)
         WHERE d.key >= (SELECT min(key) FROM posthaste.low WHERE bucket = $1) AND d.key >= l.key AND d.state = 0 LIMIT 1",
    );
    if !tx.query(&queued, &[&bucket.id]).await?.is_empty() {
        return Ok(true);
    }
    let joined = bucket.sql("SELECT DISTINCT batch FROM posthaste.batch_part_$_ WHERE batch NOT BETWEEN $1 AND $2");
    for row in tx.query(&joined, &[&first, &last]).await? {
        let batch = DeliveryKey(row.get(0));
        let Some(home) = buckets.of(batch.sequence().0) else { continue };
        // Batches are few among deliveries, and the index of keys finds this one's page.
        let pending = home.sql("SELECT 1 FROM posthaste.delivery_$_ WHERE key = $1 AND state < 2");
        if !tx.query(&pending, &[&batch.0]).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Drops a bucket, unless something in it is pending; answers whether it went.
pub(super) async fn drop_bucket(tx: &Alone, bucket: &Bucket, buckets: &Buckets) -> Result<bool, Failure> {
    if has_pending(tx, bucket, buckets).await? {
        return Ok(false);
    }
    // Between that look and this lock, something may have been opened again.
    tx.script(&format!("{LOCK_TIMEOUT};{}", bucket.sql("LOCK TABLE posthaste.delivery_$_ IN ACCESS EXCLUSIVE MODE"))).await?;
    if has_pending(tx, bucket, buckets).await? {
        return Ok(false);
    }
    let tables: Vec<String> = TABLES.iter().map(|table| format!("posthaste.{table}_{}", bucket.id)).collect();
    tx.script(&format!("DROP TABLE {}", tables.join(", "))).await?;
    tx.execute("DELETE FROM posthaste.low WHERE bucket = $1", &[&bucket.id]).await?;
    tx.execute("DELETE FROM posthaste.bucket WHERE id = $1", &[&bucket.id]).await?;
    Ok(true)
}

/// Bytes on disk by bucket.
pub(super) async fn sizes(conn: &Conn, limit: std::time::Duration) -> Result<Vec<(i32, u64)>, Failure> {
    let sql = "SELECT b.id, sum(pg_total_relation_size(c.oid))::int8
               FROM posthaste.bucket b
               JOIN pg_class c ON c.relnamespace = 'posthaste'::regnamespace AND c.relkind = 'r' AND c.relname ~ ('^[a-z_]+_' || b.id || '$')
               WHERE b.first IS NOT NULL GROUP BY b.id";
    let rows = conn.query(limit, sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_find_their_bucket() {
        let bucket = |id, first, until| Bucket { id, first, until, floor_ms: 0 };
        let buckets = Buckets(vec![bucket(4, 10, Some(20)), bucket(6, 30, Some(35)), bucket(7, 35, None)]);
        let found = |sequence| buckets.of(sequence).map(|bucket| bucket.id);
        assert_eq!([9, 10, 19, 20, 29, 30, 35, 1 << 40].map(found), [None, Some(4), Some(4), None, None, Some(6), Some(7), Some(7)]);
        assert!(buckets.current().is_some_and(|bucket| bucket.keys().1 > 1 << 60));
    }
}
