//! What the owners of targets are told: deliveries that any node appended to the owners' stream.
//!
//! A commit that has such deliveries leaves a row in `arrival` for each target (and chunk of keys), and rings. The holder of the target's part
//! takes the row, counts what it tells of as pending, and hands it to the target's lane. The row goes when nothing of its part and chunk is
//! queued any more. So what the next holder has to look at is exactly what has a row, and no scan is needed to find it.
//!
//! Invariants:
//! 1. A queued delivery of the owners' stream has a row that covers it: made in the same commit, gone only after it was settled.
//! 2. A row is counted once by each holder.
//! 3. Only the holder of a part takes its rows: the claim is locked in the same statement.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_domain::id::DeliveryKey;

use super::buckets::Buckets;
use super::error::{Failure, Kind};
use super::link::{BEGIN_KEYED, Conn, Query};
use super::listen::Bell;
use super::nodes::Identity;
use super::pending::{Pending, Place, chunk_of, keys_of, part_of};
use crate::{Arrived, StoreError};

/// The stream of deliveries to targets with an owner.
pub(super) const OWNERS: i32 = 0;
/// Rows that are taken at once.
const TAKEN: i64 = 10_000;
/// Ranges of keys that are looked through at once.
const RANGES: usize = 4_096;

const ADD: &str = "INSERT INTO posthaste.arrival(part, target, first, last, pending, queued)
     SELECT (target & 7)::int2, target, first, last, pending, queued
     FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int4[], $5::int4[]) AS n(target, first, last, pending, queued)";
/// Divides by zero in an epoch that is over: what it would have taken is read anew since.
const TAKE: &str = "WITH h AS MATERIALIZED (SELECT part FROM posthaste.claim WHERE stream = 0 AND holder = $1 AND part = ANY($4)
                             AND (SELECT 1 / count(*) FROM posthaste.stream WHERE stream = $5 AND epoch = $6) = 1 FOR SHARE),
       gone AS (DELETE FROM posthaste.arrival a USING h WHERE a.id = ANY($2) AND a.part = h.part)
     UPDATE posthaste.arrival a SET taken = true FROM h
     WHERE a.part = h.part AND NOT a.taken AND a.id <> ALL($2)
       AND a.id IN (SELECT id FROM posthaste.arrival WHERE NOT taken AND part IN (SELECT part FROM h) ORDER BY part, id LIMIT $3)
     RETURNING a.id, a.target, a.first, a.last, a.pending, a.queued, (SELECT max(first) FROM posthaste.bucket)";
/// A page of all rows of some parts, for whoever holds them from now on; and how many of these parts this node holds.
const INHERIT: &str =
    "WITH h AS MATERIALIZED (SELECT part FROM posthaste.claim WHERE stream = 0 AND holder = $1 AND part = ANY($2) FOR SHARE),
       r AS MATERIALIZED (SELECT id, target, first, last, taken FROM posthaste.arrival
                          WHERE id > $3 AND part IN (SELECT part FROM h) ORDER BY id LIMIT $4),
       t AS (UPDATE posthaste.arrival a SET taken = true FROM r WHERE a.id = r.id AND NOT r.taken)
     SELECT n.held, r.id, r.target, r.first, r.last FROM (SELECT count(*) AS held FROM h) n LEFT JOIN r ON true ORDER BY r.id";

/// What the rows of a place tell of. What was opened again is counted already, and its row is taken later.
const TOLD: &str = "SELECT target, first, last FROM posthaste.arrival
     WHERE id = ANY($1) OR (part = $2 AND NOT taken AND queued = 0 AND first BETWEEN $3 AND $4)";

/// Deliveries of a group for owners, by target and chunk.
#[derive(Default)]
pub(super) struct Heralds {
    target: Vec<i64>,
    first: Vec<i64>,
    last: Vec<i64>,
    pending: Vec<i32>,
    queued: Vec<i32>,
}

impl Heralds {
    /// Adds one; keys ascend.
    pub(super) fn add(&mut self, target: i64, key: DeliveryKey, is_queued: bool) {
        let known = self.target.iter().zip(&self.last).rposition(|(of, last)| *of == target && chunk_of(*last) == chunk_of(key.0));
        let place = known.unwrap_or_else(|| {
            self.target.push(target);
            self.first.push(key.0);
            self.last.push(key.0);
            self.pending.push(0);
            self.queued.push(0);
            self.target.len() - 1
        });
        self.last[place] = key.0;
        self.pending[place] += 1;
        self.queued[place] += i32::from(is_queued);
    }

    /// Their targets.
    pub(super) fn targets(&self) -> impl Iterator<Item = i64> {
        self.target.iter().copied()
    }

    /// The statements that tell of them.
    pub(super) async fn queries<'q>(&'q self, conn: &Conn, out: &mut Vec<Query<'q>>) -> Result<(), Failure> {
        if !self.target.is_empty() {
            out.push((conn.prepare(ADD).await?, vec![&self.target, &self.first, &self.last, &self.pending, &self.queued]));
            out.push((conn.prepare(Bell::Arrivals.ring()).await?, Vec::new()));
        }
        Ok(())
    }
}

/// The rows that this node took, and which are still needed.
#[derive(Default)]
pub(super) struct Arrivals {
    taken: BTreeMap<(i16, i64), Vec<i64>>,
    /// An answer did not come: some rows may be taken that nobody knows of.
    is_unsure: bool,
    /// The first sequence of the last bucket there was when rows were taken.
    newest: i64,
}

impl Arrivals {
    fn note(&mut self, id: i64, target: i64, key: i64) {
        self.taken.entry((part_of(target), chunk_of(key))).or_default().push(id);
    }

    /// The first sequence of the last bucket that something was heard of in.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    /// What was taken was not told.
    pub(super) fn doubt(&mut self) {
        self.is_unsure = true;
    }

    /// Whether there is something to let go of.
    pub(super) fn has_settled(&self, pending: &Pending) -> bool {
        self.settled(pending).next().is_some()
    }

    /// Where rows were taken and nothing is queued any more.
    fn settled<'a>(&'a self, pending: &'a Pending) -> impl Iterator<Item = (i16, i64)> + 'a {
        self.taken.keys().copied().filter(|(part, chunk)| !pending.has((OWNERS, *part), *chunk))
    }

    /// Whether something may be taken that nobody knows of.
    pub(super) fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Another node has this part now, and its rows.
    pub(super) fn forget(&mut self, part: i16) {
        self.taken.retain(|(of, _), _| *of != part);
    }

    /// Takes what is new of these parts, and lets go of what is settled.
    pub(super) async fn take(
        &mut self,
        conn: &Conn,
        (own, epoch): (Identity, i64),
        held: Vec<i16>,
        buckets: &Buckets,
        pending: &parking_lot::Mutex<Pending>,
    ) -> Result<Vec<Arrived>, Failure> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_unsure {
            return self.inherit(conn, own.node, &held, buckets, pending).await;
        }
        self.recount(conn, buckets, pending).await?;
        let settled: Vec<(i16, i64)> = self.settled(&pending.lock()).collect();
        let gone: Vec<i64> = settled.iter().filter_map(|place| self.taken.get(place)).flatten().copied().collect();
        let statement = conn.prepare(TAKE).await?;
        let answers = conn.transaction(BEGIN_KEYED, &[(statement, vec![&own.node, &gone, &TAKEN, &held, &own.stream, &epoch])]).await;
        let answers = answers.inspect_err(|failure| self.is_unsure |= failure.kind == Kind::Uncertain)?;
        for place in settled {
            self.taken.remove(&place);
        }
        let mut arrived = Vec::new();
        for row in &answers[0] {
            let (id, target, first, last): (i64, i64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
            let (count, queued): (i32, i32) = (row.get(4), row.get(5));
            self.newest = self.newest.max(row.get::<_, Option<i64>>(6).unwrap_or_default());
            self.note(id, target, first);
            pending.lock().add((OWNERS, part_of(target)), chunk_of(first), i64::from(queued));
            arrived.push(Arrived { target, count: count.unsigned_abs().into(), first: DeliveryKey(first), last: DeliveryKey(last) });
        }
        arrived.sort_unstable_by_key(|one| one.first);
        Ok(arrived)
    }

    /// Counts anew where the count is in doubt.
    async fn recount(&self, conn: &Conn, buckets: &Buckets, pending: &parking_lot::Mutex<Pending>) -> Result<(), Failure> {
        let doubtful = {
            let mut pending = pending.lock();
            let doubtful: Vec<Place> = pending.doubtful().into_iter().filter(|((stream, _), _)| *stream == OWNERS).collect();
            if doubtful.is_empty() {
                return Ok(());
            }
            pending.watch();
            doubtful
        };
        let none = Vec::new();
        for (claim, chunk) in doubtful {
            // Without rows nothing is queued, but for what was opened again.
            let ids = self.taken.get(&(claim.1, chunk)).unwrap_or(&none);
            let (low, high) = keys_of(chunk);
            let mut ranges: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
            for row in conn.keyed(TOLD, &[ids, &claim.1, &low, &high]).await? {
                ranges.entry(row.get(0)).or_default().push((row.get(1), row.get(2)));
            }
            let mut keys = BTreeSet::new();
            for (target, ranges) in ranges {
                keys.extend(queued_in(conn, target, &ranges, buckets).await?);
            }
            pending.lock().recount((claim, chunk), i64::try_from(keys.len()).unwrap_or(i64::MAX));
        }
        pending.lock().counted();
        Ok(())
    }

    /// Takes all rows of these parts, counted anew by what is still queued; answers also those of which nothing is. Fails if another node holds one of them by now.
    pub(super) async fn inherit(
        &mut self,
        conn: &Conn,
        node: i64,
        parts: &[i16],
        buckets: &Buckets,
        pending: &parking_lot::Mutex<Pending>,
    ) -> Result<Vec<Arrived>, Failure> {
        let parts: Vec<i16> = parts.to_vec();
        self.taken.retain(|(part, _), _| !parts.contains(part));
        self.is_unsure = true;
        pending.lock().watch();
        let mut rows: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        let (mut after, mut found) = (0, TAKEN);
        while found == TAKEN {
            found = 0;
            for row in conn.keyed(INHERIT, &[&node, &parts, &after, &TAKEN]).await? {
                if usize::try_from(row.get::<_, i64>(0)) != Ok(parts.len()) {
                    return Err(Failure::other(StoreError::Fenced));
                }
                let Some(id) = row.get::<_, Option<i64>>(1) else { break };
                let (target, first, last): (i64, i64, i64) = (row.get(2), row.get(3), row.get(4));
                self.note(id, target, first);
                rows.entry(target).or_default().push((first, last));
                (after, found) = (id, found + 1);
            }
        }
        let mut counted = Vec::new();
        for (target, ranges) in rows {
            let keys = queued_in(conn, target, &ranges, buckets).await?;
            // Where nothing is queued any more, something may be scheduled.
            let told = || ranges.iter().flat_map(|(first, last)| [*first, *last]);
            let Some(first) = keys.first().copied().or_else(|| told().min()) else { continue };
            let Some(last) = keys.last().copied().or_else(|| told().max()) else { continue };
            let arrived = Arrived { target, count: keys.len() as u64, first: DeliveryKey(first), last: DeliveryKey(last) };
            counted.push((arrived, keys));
        }
        let mut counts: BTreeMap<Place, i64> = BTreeMap::new();
        for (one, keys) in &counted {
            keys.iter().for_each(|key| *counts.entry(((OWNERS, part_of(one.target)), chunk_of(*key))).or_default() += 1);
        }
        let mut pending = pending.lock();
        for part in parts {
            for place in pending.places((OWNERS, part)).collect::<Vec<_>>() {
                counts.entry(place).or_default();
            }
        }
        counts.into_iter().for_each(|(place, count)| pending.recount(place, count));
        pending.counted();
        self.is_unsure = false;
        Ok(counted.into_iter().map(|(arrived, _)| arrived).collect())
    }
}

/// Keys of deliveries to a target in these ranges that are queued.
async fn queued_in(conn: &Conn, target: i64, ranges: &[(i64, i64)], buckets: &Buckets) -> Result<BTreeSet<i64>, Failure> {
    const QUEUED: &str = "SELECT d.key FROM unnest($2::int8[], $3::int8[]) AS r(first, last)
         CROSS JOIN LATERAL (SELECT key FROM posthaste.delivery_$_
                             WHERE target = $1 AND stream = 0 AND key BETWEEN r.first AND r.last AND state = 0) d";
    let mut keys = BTreeSet::new();
    for bucket in &buckets.0 {
        let (low, high) = bucket.keys();
        let here: Vec<(i64, i64)> = ranges.iter().copied().filter(|(first, _)| (low..=high).contains(first)).collect();
        for some in here.chunks(RANGES) {
            let (first, last): (Vec<i64>, Vec<i64>) = some.iter().copied().unzip();
            let rows = conn.keyed(&bucket.sql(QUEUED), &[&target, &first, &last]).await?;
            keys.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        }
    }
    Ok(keys)
}
