//! Limits on visitors that hold over all nodes: a row for each, updated in place, by the database's clock.

use super::error::{Failure, unknown};
use super::link::Conn;
use super::words;
use crate::VisitRule;

/// Rows that nobody needs any more go when others come, so many at a time.
const COUNT: &str = "WITH t AS MATERIALIZED (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now),
       old AS (
         DELETE FROM posthaste.visit WHERE ctid IN (
           SELECT v.ctid FROM posthaste.visit v, t
           WHERE v.visitor > $2 AND v.place = $1 AND v.until_ms <= t.now AND coalesce(v.times[cardinality(v.times)], 0) <= t.now - $4
           ORDER BY v.place, v.visitor LIMIT 2 FOR UPDATE OF v SKIP LOCKED))
     INSERT INTO posthaste.visit AS v (place, visitor, times, until_ms) SELECT $1, $2, ARRAY[now], 0 FROM t
     ON CONFLICT (place, visitor) DO UPDATE SET
       until_ms = CASE
         WHEN v.until_ms > excluded.times[1] THEN least(v.until_ms, excluded.times[1] + $5)
         WHEN (SELECT count(*) FROM unnest(v.times) x WHERE x > excluded.times[1] - $4) >= $3 THEN excluded.times[1] + $5
         ELSE 0 END,
       times = CASE
         WHEN v.until_ms > excluded.times[1] THEN '{}'::int8[]
         WHEN (SELECT count(*) FROM unnest(v.times) x WHERE x > excluded.times[1] - $4) >= $3 THEN '{}'::int8[]
         ELSE ARRAY(SELECT x FROM unnest(v.times) x WHERE x > excluded.times[1] - $4 ORDER BY x) || excluded.times END
     RETURNING greatest(0, until_ms - (SELECT now FROM t))";

/// See `Cluster::visit`.
pub(super) async fn count(conn: &Conn, place: i64, visitor: &str, rule: VisitRule) -> Result<i64, Failure> {
    let VisitRule { limit, per_ms, block_ms } = rule;
    let rows = conn.keyed(COUNT, &[&place, &words::put(visitor), &i64::from(limit), &per_ms, &block_ms]).await?;
    rows.first().map(|row| row.get(0)).ok_or_else(|| unknown("count of visits"))
}
