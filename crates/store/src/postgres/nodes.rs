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
//! 3. Only a node whose own heartbeats were answered for as long as silence is forgiven says that another is gone: after the database was away,
//!    everybody has the time to be heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_domain::id::DeliveryKey;
use tokio_postgres::Row;

use super::arrivals::OWNERS;
use super::buckets::Buckets;
use super::error::Failure;
use super::link::{Alone, BEGIN_KEYED, Conn};
use super::listen::Bell;
use super::pending::{Claim, PARTS, Pending};
use super::shared::Shared;
use super::words;
use crate::{Beat, Inherited, NodeInfo, Recovered, StoreError};

/// What runs this node.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

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

/// What a heartbeat brings.
pub(super) struct Heard {
    pub(super) beat: Beat,
    /// Whether something waits for the node as an owner.
    pub(super) has_arrivals: bool,
    /// Another text whenever the buckets are others.
    pub(super) buckets: Option<String>,
}

/// Makes a node with a stream.
pub(super) async fn register(tx: &Alone, name: &str) -> Result<Identity, Failure> {
    let node: i64 =
        tx.query("INSERT INTO posthaste.node(name, release) VALUES ($1, $2) RETURNING id", &[&words::put(name), &RELEASE]).await?[0].get(0);
    let stream: i32 = tx.query("INSERT INTO posthaste.stream(node) VALUES ($1) RETURNING stream", &[&node]).await?[0].get(0);
    let claims = "INSERT INTO posthaste.claim(stream, part, holder) SELECT $1, part, $2 FROM generate_series(0, $3) part";
    tx.execute(claims, &[&stream, &node, &(i32::from(PARTS) - 1)]).await?;
    // The others are no longer as few as they think.
    tx.script(Bell::News.ring()).await?;
    Ok(Identity { node, stream })
}

/// For `make_interval`.
pub(super) fn seconds(lapse: Duration) -> f64 {
    lapse.as_secs_f64().min(1e9)
}

/// Says that the node lives; answers what there is to do. `None`: others took it for dead, and it cannot come back.
pub(super) async fn beat(conn: &Conn, shared: &Shared, catalog: i64, report: &str) -> Result<Option<Heard>, Failure> {
    const BEAT: &str = "WITH own AS (
           UPDATE posthaste.node SET seen = clock_timestamp(), catalog = $2, report = $3 WHERE id = $1 AND NOT closed RETURNING id),
         living AS MATERIALIZED (
           SELECT id FROM posthaste.node WHERE NOT closed AND (id = $1 OR seen >= clock_timestamp() - make_interval(secs => $4)))
       SELECT (SELECT count(*) FROM living), (SELECT count(*) FROM posthaste.claim WHERE holder NOT IN (SELECT id FROM living)),
         (SELECT value FROM posthaste.counter WHERE name = 'catalog'), (extract(epoch FROM clock_timestamp()) * 1000)::int8,
         EXISTS (SELECT 1 FROM posthaste.call WHERE node = $1 AND NOT taken),
         (SELECT value - 1 FROM posthaste.counter WHERE name = 'sequence'),
         (SELECT count(*) FROM posthaste.claim WHERE holder = $1 AND stream = 0),
         EXISTS (SELECT 1 FROM posthaste.arrival a JOIN posthaste.claim c ON c.stream = 0 AND c.part = a.part AND c.holder = $1 WHERE NOT a.taken)
           OR EXISTS (SELECT 1 FROM posthaste.joining j JOIN posthaste.claim c ON c.stream = 0 AND c.part = j.part AND c.holder = $1),
         (SELECT md5(string_agg(b::text, ',' ORDER BY id)) FROM posthaste.bucket b)
       FROM own";
    let known = shared.pending.lock().held().into_iter().filter(|(stream, _)| *stream == OWNERS).count();
    let rows = conn.keyed(BEAT, &[&shared.identity.node, &catalog, &words::put(report), &seconds(shared.options.lapse)]).await?;
    let beat = |row: &Row| {
        let beat = Beat {
            nodes: u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX),
            orphans: usize::try_from(row.get::<_, i64>(1)).unwrap_or(usize::MAX),
            catalog: row.get(2),
            now_ms: row.get(3),
            has_calls: row.get(4),
            leased: row.get(5),
            has_gifts: usize::try_from(row.get::<_, i64>(6)).is_ok_and(|held| held > known),
            has_surplus: row.get::<_, i64>(6) > (i64::from(PARTS) + row.get::<_, i64>(0) - 1) / row.get::<_, i64>(0).max(1),
        };
        Heard { beat, has_arrivals: row.get(7), buckets: row.get(8) }
    };
    Ok(rows.first().map(beat))
}

/// Says that a node that is still starting lives.
pub(super) async fn pulse(conn: &Conn, node: i64) -> Result<(), Failure> {
    conn.keyed("UPDATE posthaste.node SET seen = clock_timestamp() WHERE id = $1 AND NOT closed", &[&node]).await.map(drop)
}

/// Says which version of the catalog a node works with.
pub(super) async fn seen(conn: &Conn, node: i64, version: i64) -> Result<(), Failure> {
    let say = conn.prepare("UPDATE posthaste.node SET catalog = $2 WHERE id = $1 AND catalog <> $2").await?;
    let ring = conn.prepare(Bell::Seen.ring()).await?;
    conn.transaction(BEGIN_KEYED, &[(say, vec![&node, &version]), (ring, Vec::new())]).await.map(drop)
}

/// The version of the catalog, and how many other nodes do not work with it (or with `version`) yet. Those whose silence was too long
/// are gone from then on, if this node has been heard for long enough itself.
pub(super) async fn behind(conn: &Conn, shared: &Shared, version: Option<i64>) -> Result<(i64, i64), Failure> {
    const BEHIND: &str = "WITH late AS (
           UPDATE posthaste.node SET closed = true
           WHERE $4 AND NOT closed AND id <> $1 AND seen < clock_timestamp() - make_interval(secs => $2) RETURNING id),
         shut AS (UPDATE posthaste.stream SET is_open = false WHERE node IN (SELECT id FROM late)),
         v AS (SELECT value FROM posthaste.counter WHERE name = 'catalog')
       SELECT (SELECT value FROM v),
         (SELECT count(*) FROM posthaste.node WHERE NOT closed AND id <> $1 AND id NOT IN (SELECT id FROM late)
            AND catalog < coalesce($3, (SELECT value FROM v)))";
    let rows = conn.keyed(BEHIND, &[&shared.identity.node, &seconds(shared.options.lapse), &version, &shared.may_close()]).await?;
    rows.first().map(|row| (row.get(0), row.get(1))).ok_or_else(|| super::error::unknown("counter"))
}

/// All nodes.
pub(super) async fn all(conn: &Conn, shared: &Shared) -> Result<Vec<NodeInfo>, Failure> {
    const ALL: &str = "SELECT n.id, n.name, n.release, (extract(epoch FROM n.started) * 1000)::int8,
         greatest(0, extract(epoch FROM clock_timestamp() - n.seen) * 1000)::int8,
         n.closed OR n.seen < clock_timestamp() - make_interval(secs => $1), n.catalog, n.report,
         count(c.stream) FILTER (WHERE s.node = n.id), count(c.stream) FILTER (WHERE s.node <> n.id AND c.stream <> 0),
         count(c.stream) FILTER (WHERE c.stream = 0)
       FROM posthaste.node n LEFT JOIN posthaste.claim c ON c.holder = n.id LEFT JOIN posthaste.stream s ON s.stream = c.stream
       GROUP BY n.id ORDER BY n.id";
    let count = |row: &Row, place: usize| u32::try_from(row.get::<_, i64>(place)).unwrap_or(u32::MAX);
    let node = |row: &Row| NodeInfo {
        node: row.get(0),
        name: words::take(row.get(1)).into_owned(),
        release: row.get(2),
        started_ms: row.get(3),
        silent_ms: row.get(4),
        is_gone: row.get(5),
        is_own: row.get::<_, i64>(0) == shared.identity.node,
        catalog: row.get(6),
        report: words::take(row.get(7)).into_owned(),
        claims: [count(row, 8), count(row, 9), count(row, 10)],
    };
    Ok(conn.query(shared.options.answer_timeout, ALL, &[&seconds(shared.options.lapse)]).await?.iter().map(node).collect())
}

/// Says that the node is gone, and lets go of all that it held.
pub(super) async fn leave(tx: &Alone, node: i64) -> Result<(), Failure> {
    tx.execute("UPDATE posthaste.node SET closed = true WHERE id = $1", &[&node]).await?;
    tx.execute("UPDATE posthaste.stream SET is_open = false WHERE node = $1", &[&node]).await?;
    tx.script(Bell::News.ring()).await
}

/// Fails if others took this node for gone, and has them wait with that until the transaction ends.
pub(super) async fn living(tx: &Alone, node: i64) -> Result<(), Failure> {
    let rows = tx.query("SELECT 1 FROM posthaste.node WHERE id = $1 AND NOT closed FOR SHARE", &[&node]).await?;
    if rows.is_empty() { Err(Failure::other(StoreError::Fenced)) } else { Ok(()) }
}

/// The same without having them wait, for what changes often: a look at its stream, which no heartbeat writes to.
pub(super) async fn holding(tx: &Alone, own: Identity) -> Result<(), Failure> {
    const IS_OPEN: &str = "SELECT 1 FROM posthaste.stream WHERE stream = $1 AND node = $2 AND is_open";
    let rows = tx.query(IS_OPEN, &[&own.stream, &own.node]).await?;
    if rows.is_empty() { Err(Failure::other(StoreError::Fenced)) } else { Ok(()) }
}

/// Takes over at most so many claims of nodes that are gone, and forgets what is left of those; answers all claims of this node.
pub(super) async fn adopt(shared: &Shared, limit: i64) -> Result<Vec<Claim>, Failure> {
    let lapse = shared.may_close().then_some(shared.options.lapse);
    let tx = shared.keeping.alone().await.map_err(Failure::other)?;
    let worked = async {
        let claims = take_over(&tx, shared.identity.node, lapse, limit).await?;
        tidy(&tx).await?;
        Ok(claims)
    };
    let worked = worked.await;
    tx.finish(worked).await
}

/// Takes over claims of nodes that are gone: at most so many of those that nobody else is taking over. Nodes whose silence was longer than
/// `lapse` are gone from then on; without it, only those that are already. Answers all claims of this node: what an earlier takeover brought
/// whose answer was lost, too.
pub(super) async fn take_over(tx: &Alone, node: i64, lapse: Option<Duration>, limit: i64) -> Result<Vec<Claim>, Failure> {
    // Whoever was taken for gone itself takes nothing.
    living(tx, node).await?;
    if let Some(lapse) = lapse {
        // From here on they can neither append nor come back.
        let lapsed = "UPDATE posthaste.node SET closed = true
                      WHERE NOT closed AND id <> $1 AND seen < clock_timestamp() - make_interval(secs => $2)";
        tx.execute(lapsed, &[&node, &seconds(lapse)]).await?;
    }
    let streams = "UPDATE posthaste.stream s SET is_open = false FROM posthaste.node n WHERE n.id = s.node AND n.closed AND s.is_open";
    tx.execute(streams, &[]).await?;
    let claims = "WITH gone AS (
           SELECT c.stream, c.part FROM posthaste.claim c
           WHERE c.holder <> $1 AND NOT EXISTS (SELECT 1 FROM posthaste.node n WHERE n.id = c.holder AND NOT n.closed)
           ORDER BY c.stream, c.part LIMIT $2 FOR UPDATE OF c SKIP LOCKED)
         UPDATE posthaste.claim c SET holder = $1, fence = fence + 1 FROM gone g WHERE c.stream = g.stream AND c.part = g.part";
    tx.execute(claims, &[&node, &limit]).await?;
    // A gift whose answer was lost may still be on its way: it is waited for.
    let rows = tx.query("SELECT stream, part FROM posthaste.claim WHERE holder = $1 FOR SHARE", &[&node]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Gives one of these parts of the owners' stream to the living node that holds the fewest, if this one holds at least two more; answers it. One
/// with a scheduled delivery stays: whoever holds it waits for its time. Nodes of other releases may not look for gifts.
pub(super) async fn give(conn: &Conn, shared: &Shared, parts: &[i16]) -> Result<Option<i16>, Failure> {
    const GIVE: &str = "WITH now AS MATERIALIZED (SELECT 1 FROM posthaste.stream WHERE stream = $4 AND epoch = $5 FOR SHARE),
         living AS MATERIALIZED (
           SELECT n.id FROM posthaste.node n JOIN posthaste.node own ON own.id = $1 AND own.release = n.release
           WHERE NOT n.closed AND (n.id = $1 OR n.seen >= clock_timestamp() - make_interval(secs => $2))),
         held AS MATERIALIZED (
           SELECT l.id, count(c.part) AS parts FROM living l LEFT JOIN posthaste.claim c ON c.holder = l.id AND c.stream = 0 GROUP BY l.id),
         poorest AS (
           SELECT o.id FROM held o JOIN held own ON own.id = $1 AND own.parts > o.parts + 1 ORDER BY o.parts, o.id LIMIT 1),
         idle AS (
           SELECT p.part FROM unnest($3::int2[]) AS p(part) WHERE EXISTS (SELECT 1 FROM poorest) AND EXISTS (SELECT 1 FROM now)
             AND NOT EXISTS (SELECT 1 FROM posthaste.due d WHERE d.stream = 0 AND (d.target & 7)::int2 = p.part) LIMIT 1),
         given AS (
           UPDATE posthaste.claim c SET holder = poorest.id, fence = fence + 1 FROM poorest, idle
           WHERE c.stream = 0 AND c.part = idle.part AND c.holder = $1 RETURNING c.part)
       SELECT given.part, pg_notify('posthaste', 'news') FROM given";
    let (identity, epoch) = (shared.identity, shared.epoch.load(Ordering::Acquire));
    let rows = conn.keyed(GIVE, &[&identity.node, &seconds(shared.options.lapse), &parts.to_vec(), &identity.stream, &epoch]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Forgets streams of nodes that are gone, once all buckets that they wrote to are.
pub(super) async fn tidy(tx: &Alone) -> Result<(), Failure> {
    let streams =
        "DELETE FROM posthaste.stream s WHERE NOT s.is_open AND s.stream <> 0 AND NOT EXISTS (SELECT 1 FROM posthaste.low l WHERE l.stream = s.stream)
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

/// What is pending in some claims.
pub(super) type Counted = (BTreeMap<i64, Inherited>, Pending, BTreeSet<i64>);

/// Counts what is pending in these claims, but for what is queued for owners; names the targets that something is scheduled for in the owners' stream.
pub(super) async fn recover(conn: &Conn, claims: &[Claim], buckets: &Buckets) -> Result<Counted, Failure> {
    let mut lanes: BTreeMap<i64, Inherited> = BTreeMap::new();
    let mut pending = Pending::default();
    claims.iter().for_each(|claim| pending.hold(*claim));
    let (streams, parts): (Vec<i32>, Vec<i16>) = claims.iter().copied().unzip();
    for bucket in &buckets.0 {
        let sql = bucket.sql(
            "WITH c AS MATERIALIZED (
               SELECT l.stream, l.part, l.key FROM unnest($1::int4[], $2::int2[]) AS u(stream, part)
               JOIN posthaste.low l ON l.bucket = $3 AND l.stream = u.stream AND l.part = u.part)
             SELECT d.target, d.stream, (d.target & 7)::int2, d.key >> 32, count(*), min(d.key)
             FROM posthaste.delivery_$_ d JOIN c ON c.stream = d.stream AND c.part = (d.target & 7)
             WHERE d.key >= (SELECT min(key) FROM c) AND d.key >= c.key AND d.state = 0
             GROUP BY GROUPING SETS ((d.target), (d.stream, (d.target & 7)::int2, d.key >> 32))",
        );
        for row in conn.query(SCAN, &sql, &[&streams, &parts, &bucket.id]).await? {
            let count: i64 = row.get(4);
            match row.get::<_, Option<i64>>(0) {
                Some(target) => {
                    let lane = lane(&mut lanes, target);
                    lane.queued += count.unsigned_abs();
                    lane.lowest = lane.lowest.min(DeliveryKey(row.get(5)));
                }
                None => pending.add((row.get(1), row.get(2)), row.get(3), count),
            }
        }
    }
    let mut owned = BTreeSet::new();
    let due = "SELECT d.target, count(*), bool_or(d.stream = 0) FROM posthaste.due d
               JOIN unnest($1::int4[], $2::int2[]) AS c(stream, part) ON c.stream = d.stream AND c.part = (d.target & 7) GROUP BY d.target";
    for row in conn.query(SCAN, due, &[&streams, &parts]).await? {
        lane(&mut lanes, row.get(0)).scheduled += row.get::<_, i64>(1).unsigned_abs();
        if row.get(2) {
            owned.insert(row.get(0));
        }
    }
    Ok((lanes, pending, owned))
}

/// The lane of a target among those that were found.
pub(super) fn lane(lanes: &mut BTreeMap<i64, Inherited>, target: i64) -> &mut Inherited {
    lanes.entry(target).or_insert(Inherited { target, queued: 0, scheduled: 0, lowest: DeliveryKey(i64::MAX) })
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
pub(super) async fn raise(tx: &Alone, last: i64) -> Result<(), Failure> {
    tx.execute("UPDATE posthaste.counter SET value = $1 WHERE name = 'sequence' AND value < $1", &[&(last + 1)]).await?;
    Ok(())
}
