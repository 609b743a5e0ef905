//! From which key on something may be queued, as the database knows it: where a start begins to look.

use std::collections::BTreeMap;

use posthaste_domain::id::{DeliveryKey, Sequence};

use super::append::HOLD_NOW;
use super::error::Failure;
use super::link::{BEGIN_KEYED, Conn, Query};
use super::nodes::Identity;
use super::pending::{Claim, PARTS, Pending};
use super::settle::SET_LOW;

const READ: &str =
    "SELECT l.bucket, l.stream, l.part, l.key FROM posthaste.low l JOIN posthaste.claim c USING (stream, part) WHERE c.holder = $1";

/// Keys by bucket and claim, of all claims that are held.
#[derive(Default)]
pub(super) struct Lows(BTreeMap<(i32, Claim), i64>);

impl Lows {
    /// Reads them anew.
    pub(super) async fn read(&mut self, conn: &Conn, node: i64) -> Result<(), Failure> {
        let rows = conn.keyed(READ, &[&node]).await?;
        self.0 = rows.iter().map(|row| ((row.get(0), (row.get(1), row.get(2))), row.get(3))).collect();
        Ok(())
    }

    /// Whether a stream has begun in a bucket.
    pub(super) fn has(&self, bucket: i32, stream: i32) -> bool {
        self.0.contains_key(&(bucket, (stream, 0)))
    }

    /// A stream begins in a bucket.
    pub(super) fn begin(&mut self, bucket: i32, stream: i32, first: i64) {
        for part in 0..PARTS {
            self.0.entry((bucket, (stream, part))).or_insert(DeliveryKey::new(Sequence(first), 0).0);
        }
    }

    /// Something is queued that was not.
    pub(super) fn lower(&mut self, bucket: i32, claim: Claim, key: i64) {
        if let Some(low) = self.0.get_mut(&(bucket, claim)) {
            *low = key.min(*low);
        }
    }

    /// A bucket went.
    pub(super) fn forget(&mut self, bucket: i32) {
        self.0.retain(|(of, _), _| *of != bucket);
    }

    /// Those that rose. Nothing will be appended to the own stream below `next`, and to no other at all. Of what was not counted yet nobody knows.
    pub(super) fn changed(&self, pending: &Pending, uncounted: &[Claim], own: i32, next: i64) -> Vec<((i32, Claim), i64)> {
        let raised = self.0.iter().filter_map(|(place, known)| {
            let (_, claim) = place;
            let end = if claim.0 == own { next } else { i64::MAX };
            let low = pending.low(*claim).unwrap_or(end);
            (pending.holds(*claim) && !uncounted.contains(claim) && low > *known).then_some((*place, low))
        });
        raised.collect()
    }

    /// Writes them, in this epoch of the node: late they would be too high for what was opened again since.
    pub(super) async fn write(
        &mut self,
        conn: &Conn,
        (own, epoch): (Identity, i64),
        changed: Vec<((i32, Claim), i64)>,
    ) -> Result<(), Failure> {
        if changed.is_empty() {
            return Ok(());
        }
        let (mut buckets, mut streams, mut parts, mut keys) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((bucket, (stream, part)), key) in &changed {
            buckets.push(*bucket);
            streams.push(*stream);
            parts.push(*part);
            keys.push(*key);
        }
        let (hold, set) = (conn.prepare(HOLD_NOW).await?, conn.prepare(SET_LOW).await?);
        let queries: [Query<'_>; 2] =
            [(hold, vec![&own.stream, &own.node, &epoch]), (set, vec![&own.node, &buckets, &streams, &parts, &keys])];
        conn.transaction(BEGIN_KEYED, &queries).await?;
        self.0.extend(changed);
        Ok(())
    }
}
