//! Who holds what: nodes, streams and claims.
//!
//! Each opening of the store is a node of its own with a stream of its own: what it appends is of that stream, and nobody else appends to it.
//! A *claim* is the right to settle, and to read what is pending of, one part of a stream: the deliveries to targets whose number ends in
//! these three bits. A node begins with all parts of its stream. When it closes, or its heartbeat is too old by the database's clock, others
//! take its claims, each with its fence raised by one.
//!
//! Invariants:
//! 1. An append locks its stream's row, and a settlement the claims that it needs, until it is durable. So a takeover waits for what is on its
//!    way, and what comes after it fails.
//! 2. No clock of a node decides anything.

use std::collections::BTreeMap;
use std::time::Duration;

use super::buckets::Buckets;
use super::error::Failure;
use super::link::{Alone, Conn};
use super::pending::{Claim, PARTS, Pending};
use crate::{LaneSummary, Recovered};

/// How long a scan over all that is pending may take.
const SCAN: Duration = Duration::from_secs(600);

/// A part of a stream that this node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The stream.
    pub stream: i32,
    /// The part: the last three bits of targets' numbers.
    pub part: i16,
    /// How many holders it had, this one included.
    pub fence: i64,
}

/// This opening of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of the node; never given twice.
    pub node: i64,
    /// The stream that it appends to.
    pub stream: i32,
}

/// What a takeover brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Streams and parts.
    pub claims: Vec<(i32, i16)>,
    /// What is pending in them.
    pub lanes: Vec<LaneSummary>,
}

/// Makes a node with a stream.
pub(super) async fn register(tx: &Alone<'_>, name: &str) -> Result<Identity, Failure> {
    let node: i64 = tx.query("INSERT INTO posthaste.node(name) VALUES ($1) RETURNING id", &[&name]).await?[0].get(0);
    let stream: i32 = tx.query("INSERT INTO posthaste.stream(node) VALUES ($1) RETURNING stream", &[&node]).await?[0].get(0);
    let claims = "INSERT INTO posthaste.claim(stream, part, holder) SELECT $1, part, $2 FROM generate_series(0, $3) part";
    tx.execute(claims, &[&stream, &node, &(i32::from(PARTS) - 1)]).await?;
    Ok(Identity { node, stream })
}

/// Says that the node lives. `false`: others took it for dead, and it cannot come back.
pub(super) async fn heartbeat(conn: &Conn, node: i64) -> Result<bool, Failure> {
    let sql = "UPDATE posthaste.node SET seen = clock_timestamp() WHERE id = $1 AND NOT closed RETURNING id";
    Ok(!conn.keyed(sql, &[&node]).await?.is_empty())
}

/// Says that the node is gone, and lets go of all that it held.
pub(super) async fn leave(tx: &Alone<'_>, node: i64) -> Result<(), Failure> {
    tx.execute("UPDATE posthaste.node SET closed = true WHERE id = $1", &[&node]).await?;
    tx.execute("UPDATE posthaste.stream SET is_open = false WHERE node = $1", &[&node]).await?;
    Ok(())
}

/// Takes over claims of nodes that are gone: at most so many of those that nobody else is taking over, or, without a limit, all.
pub(super) async fn take_over(tx: &Alone<'_>, node: i64, lapse: Duration, limit: Option<i64>) -> Result<Vec<Claim>, Failure> {
    let lapse_ms = i64::try_from(lapse.as_millis()).unwrap_or(i64::MAX);
    // From here on they can neither append nor come back.
    let lapsed = "UPDATE posthaste.node SET closed = true
                  WHERE NOT closed AND id <> $1 AND seen < clock_timestamp() - make_interval(secs => $2::float8 / 1000)";
    tx.execute(lapsed, &[&node, &(lapse_ms as f64)]).await?;
    let streams = "UPDATE posthaste.stream s SET is_open = false FROM posthaste.node n WHERE n.id = s.node AND n.closed AND s.is_open";
    tx.execute(streams, &[]).await?;
    let skip = if limit.is_some() { "SKIP LOCKED" } else { "" };
    let sql = format!(
        "WITH gone AS (
           SELECT c.stream, c.part FROM posthaste.claim c
           WHERE c.holder <> $1 AND NOT EXISTS (SELECT 1 FROM posthaste.node n WHERE n.id = c.holder AND NOT n.closed)
           ORDER BY c.stream, c.part LIMIT $2 FOR UPDATE OF c {skip})
         UPDATE posthaste.claim c SET holder = $1, fence = fence + 1 FROM gone g WHERE c.stream = g.stream AND c.part = g.part
         RETURNING c.stream, c.part"
    );
    let rows = tx.query(&sql, &[&node, &limit.unwrap_or(i64::MAX)]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Forgets streams of nodes that are gone, once all buckets that they wrote to are.
pub(super) async fn tidy(tx: &Alone<'_>) -> Result<(), Failure> {
    let streams =
        "DELETE FROM posthaste.stream s WHERE NOT s.is_open AND NOT EXISTS (SELECT 1 FROM posthaste.low l WHERE l.stream = s.stream)
                     AND NOT EXISTS (SELECT 1 FROM posthaste.node n WHERE n.id = s.node AND NOT n.closed)";
    tx.execute(streams, &[]).await?;
    let claims = "DELETE FROM posthaste.claim c WHERE NOT EXISTS (SELECT 1 FROM posthaste.stream s WHERE s.stream = c.stream)";
    tx.execute(claims, &[]).await?;
    let nodes = "DELETE FROM posthaste.node n WHERE n.closed AND NOT EXISTS (SELECT 1 FROM posthaste.stream s WHERE s.node = n.id)
                   AND NOT EXISTS (SELECT 1 FROM posthaste.claim c WHERE c.holder = n.id)";
    tx.execute(nodes, &[]).await?;
    Ok(())
}

/// What a node holds.
pub(super) async fn held(conn: &Conn, node: i64) -> Result<Vec<Held>, Failure> {
    let sql = "SELECT stream, part, fence FROM posthaste.claim WHERE holder = $1 ORDER BY stream, part";
    let rows = conn.keyed(sql, &[&node]).await?;
    Ok(rows.iter().map(|row| Held { stream: row.get(0), part: row.get(1), fence: row.get(2) }).collect())
}

/// Counts what is pending in these claims.
pub(super) async fn recover(conn: &Conn, claims: &[Claim], buckets: &Buckets) -> Result<(Vec<LaneSummary>, Pending), Failure> {
    let mut lanes: BTreeMap<i64, LaneSummary> = BTreeMap::new();
    let mut pending = Pending::default();
    claims.iter().for_each(|claim| pending.hold(*claim));
    let (streams, parts): (Vec<i32>, Vec<i16>) = claims.iter().copied().unzip();
    for bucket in &buckets.0 {
        let sql = bucket.sql(
            "WITH c AS MATERIALIZED (
               SELECT l.stream, l.part, l.key FROM unnest($1::int4[], $2::int2[]) AS u(stream, part)
               JOIN posthaste.low l ON l.bucket = $3 AND l.stream = u.stream AND l.part = u.part)
             SELECT d.target, d.stream, (d.target & 7)::int2, d.key >> 32, count(*)
             FROM posthaste.delivery_$_ d JOIN c ON c.stream = d.stream AND c.part = (d.target & 7)
             WHERE d.key >= (SELECT min(key) FROM c) AND d.key >= c.key AND d.state = 0
             GROUP BY GROUPING SETS ((d.target), (d.stream, (d.target & 7)::int2, d.key >> 32))",
        );
        for row in conn.query(SCAN, &sql, &[&streams, &parts, &bucket.id]).await? {
            let count: i64 = row.get(4);
            match row.get::<_, Option<i64>>(0) {
                Some(target) => lane(&mut lanes, target).queued += count.unsigned_abs(),
                None => pending.add((row.get(1), row.get(2)), row.get(3), count),
            }
        }
    }
    let due = "SELECT d.target, count(*) FROM posthaste.due d
               JOIN unnest($1::int4[], $2::int2[]) AS c(stream, part) ON c.stream = d.stream AND c.part = (d.target & 7) GROUP BY d.target";
    for row in conn.query(SCAN, due, &[&streams, &parts]).await? {
        lane(&mut lanes, row.get(0)).scheduled += row.get::<_, i64>(1).unsigned_abs();
    }
    Ok((lanes.into_values().collect(), pending))
}

fn lane(lanes: &mut BTreeMap<i64, LaneSummary>, target: i64) -> &mut LaneSummary {
    lanes.entry(target).or_insert(LaneSummary { target, queued: 0, scheduled: 0 })
}

/// The largest sequence and time of receipt there ever were.
pub(super) async fn last(conn: &Conn, buckets: &Buckets) -> Result<Recovered, Failure> {
    let mut recovered = Recovered::default();
    if let Some(bucket) = buckets.current() {
        let newest = bucket.sql("SELECT sequence, received_ms FROM posthaste.event_$_ ORDER BY sequence DESC LIMIT 1");
        let rows = conn.keyed(&newest, &[]).await?;
        (recovered.last_sequence, recovered.last_received_ms) =
            rows.first().map_or((bucket.first - 1, bucket.floor_ms), |row| (row.get(0), bucket.floor_ms.max(row.get(1))));
    }
    Ok(recovered)
}

/// Takes a block of sequences that no other node gets; answers its first.
pub(super) async fn lease(conn: &Conn, count: i64) -> Result<i64, Failure> {
    let sql = "UPDATE posthaste.counter SET value = value + $1 WHERE name = 'sequence' RETURNING value - $1";
    Ok(conn.keyed(sql, &[&count]).await?[0].get(0))
}

/// Has blocks of sequences begin behind this one.
pub(super) async fn raise(tx: &Alone<'_>, last: i64) -> Result<(), Failure> {
    tx.execute("UPDATE posthaste.counter SET value = $1 WHERE name = 'sequence' AND value < $1", &[&(last + 1)]).await?;
    Ok(())
}
