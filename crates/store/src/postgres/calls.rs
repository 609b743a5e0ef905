//! What nodes ask each other for: a row for each node that is asked, and two bells.

use std::time::Duration;

use posthaste_domain::id::DeliveryKey;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::ToSql;

use super::append::HOLD;
use super::error::{Failure, Late, unknown};
use super::link::{BEGIN_KEYED, Conn};
use super::listen::Bell;
use super::pending::{Claim, part_of};
use super::rows;
use super::shared::Shared;
use crate::{Call, CallKind, StoreError};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked for where no bell rings.
const LOOK: Duration = Duration::from_millis(250);

const HOLDERS: &str = "SELECT c.stream, c.part, c.holder FROM unnest($2::int4[], $3::int2[]) AS i(stream, part)
     JOIN posthaste.claim c ON c.stream = i.stream AND c.part = i.part JOIN posthaste.node n ON n.id = c.holder
     WHERE c.holder <> $1 AND NOT n.closed";
const ASK: &str = "WITH old AS (DELETE FROM posthaste.call WHERE made < clock_timestamp() - interval '1 minute')
     INSERT INTO posthaste.call(node, kind, keys, at_ms, target) VALUES ($1, $2, $3, $4, $5) RETURNING id";
const ANSWERED: &str = "DELETE FROM posthaste.call WHERE id = ANY($1) AND answer IS NOT NULL RETURNING id, answer";
/// What nobody took will not be done any more.
const GIVE_UP: &str = "DELETE FROM posthaste.call WHERE id = ANY($1)";
const TAKE: &str = "UPDATE posthaste.call SET taken = true WHERE node = $1 AND NOT taken RETURNING id, kind, keys, at_ms, target";
const ANSWER: &str = "UPDATE posthaste.call SET answer = $2 WHERE id = $1";

fn code_of(kind: CallKind) -> i16 {
    match kind {
        CallKind::Reopen => 0,
        CallKind::Cancel => 1,
    }
}

/// Which living node, other than this one, holds which of these deliveries.
async fn holders(shared: &Shared, conn: &Conn, keys: Vec<DeliveryKey>) -> Result<Vec<(i64, Vec<i64>)>, Failure> {
    let mut wanted: Vec<(Claim, i64)> = Vec::new();
    for (bucket, keys) in rows::by_bucket(shared, keys) {
        let mut sequences: Vec<i64> = keys.iter().map(|key| key.sequence().0).collect();
        sequences.sort_unstable();
        sequences.dedup();
        let lists = rows::lists(conn, &bucket, &sequences).await?;
        let place = |key: &DeliveryKey| lists.get(&key.sequence().0)?.place(key.ordinal());
        wanted.extend(keys.iter().filter_map(|key| place(key).map(|at| ((at.stream, part_of(at.target)), key.0))));
    }
    let (streams, parts): (Vec<i32>, Vec<i16>) = wanted.iter().map(|(claim, _)| *claim).unzip();
    let mut asked: Vec<(i64, Vec<i64>)> = Vec::new();
    for row in conn.keyed(HOLDERS, &[&shared.identity.node, &streams, &parts]).await? {
        let (claim, holder): (Claim, i64) = ((row.get(0), row.get(1)), row.get(2));
        let theirs = wanted.iter().filter(|(of, _)| *of == claim).map(|(_, key)| *key);
        match asked.iter_mut().find(|(node, _)| *node == holder) {
            Some((_, known)) => known.extend(theirs),
            None => asked.push((holder, theirs.collect())),
        }
    }
    for (_, keys) in &mut asked {
        keys.sort_unstable();
        keys.dedup();
    }
    Ok(asked)
}

/// See `Cluster::call`.
pub(super) async fn call(
    shared: &Shared,
    kind: CallKind,
    keys: Vec<DeliveryKey>,
    target: i64,
    at_ms: i64,
) -> Result<Vec<DeliveryKey>, StoreError> {
    let (conn, own) = (shared.lane()?, shared.identity);
    let asked = holders(shared, &conn, keys).await?;
    let mut answers = shared.tower.hear(Bell::Answers);
    let mut open: Vec<i64> = Vec::new();
    for (node, keys) in &asked {
        let ask = conn.prepare(ASK).await?;
        let ring = conn.prepare(Bell::News.ring()).await?;
        // Who slept does not know what has been done meanwhile.
        let hold = (conn.prepare(HOLD).await?, vec![&own.stream as &(dyn ToSql + Sync), &own.node]);
        let code = code_of(kind);
        let queries = [hold, (ask, vec![node, &code, keys, &at_ms, &target]), (ring, Vec::new())];
        let made = conn.transaction(BEGIN_KEYED, &queries).await?;
        open.extend(made[1].iter().map(|row| row.get::<_, i64>(0)));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut done = Vec::new();
    while !open.is_empty() {
        for row in conn.keyed(ANSWERED, &[&open]).await? {
            let id: i64 = row.get(0);
            open.retain(|of| *of != id);
            done.extend(row.get::<_, Vec<i64>>(1).into_iter().map(DeliveryKey));
        }
        if !open.is_empty() && timeout_at(deadline, timeout(LOOK, answers.changed())).await.is_err() {
            conn.keyed(GIVE_UP, &[&open]).await?;
            if done.is_empty() {
                return Err(StoreError::Unavailable(Late(PATIENCE).into()));
            }
            break;
        }
    }
    Ok(done)
}

/// See `Cluster::calls`.
pub(super) async fn take(conn: &Conn, node: i64) -> Result<Vec<Call>, Failure> {
    let rows = conn.keyed(TAKE, &[&node]).await?;
    let call = |row: &tokio_postgres::Row| {
        let kind = match row.get::<_, i16>(1) {
            0 => CallKind::Reopen,
            1 => CallKind::Cancel,
            _ => return Err(unknown("kind of call")),
        };
        let keys = row.get::<_, Vec<i64>>(2).into_iter().map(DeliveryKey).collect();
        Ok(Call { id: row.get(0), kind, keys, target: row.get(4), at_ms: row.get(3) })
    };
    rows.iter().map(call).collect()
}

/// See `Cluster::answer`.
pub(super) async fn answer(conn: &Conn, call: i64, keys: &[DeliveryKey]) -> Result<(), Failure> {
    let keys: Vec<i64> = keys.iter().map(|key| key.0).collect();
    let (say, ring) = (conn.prepare(ANSWER).await?, conn.prepare(Bell::Answers.ring()).await?);
    conn.transaction(BEGIN_KEYED, &[(say, vec![&call, &keys]), (ring, Vec::new())]).await.map(drop)
}
