//! What this node holds, and about where in it something is queued. In memory, derived.
//!
//! Queued deliveries are counted by *chunks* of 4,096 sequences, for each stream and part that is held. So a lane that has nothing
//! queued is answered without asking the database, and a scan begins where the first one can be.
//!
//! Invariant: the counts are never too small. What is being written is counted before, and what may have been settled or not stays counted;
//! [`super::nodes::recover`] counts anew. A place is counted anew while it is in use, too: what changes meanwhile is noticed, and it is
//! in doubt until it was counted undisturbed.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_domain::id::ORDINAL_BITS;

use super::buckets::Bucket;

/// Bits of a key below those that tell its chunk.
const CHUNK_BITS: u32 = ORDINAL_BITS + 12;
/// Parts of a stream.
pub(super) const PARTS: i16 = 8;

/// The part of a target in each stream.
pub(super) fn part_of(target: i64) -> i16 {
    (target & i64::from(PARTS - 1)) as i16
}

/// The chunk of a delivery.
pub(super) fn chunk_of(key: i64) -> i64 {
    key >> CHUNK_BITS
}

/// The first and the last key of a chunk.
pub(super) fn keys_of(chunk: i64) -> (i64, i64) {
    (chunk << CHUNK_BITS, ((chunk + 1) << CHUNK_BITS) - 1)
}

/// A stream and a part of it.
pub(super) type Claim = (i32, i16);
/// A claim and a chunk.
pub(super) type Place = (Claim, i64);

/// Counts by claim and chunk.
#[derive(Default)]
pub(super) struct Pending {
    held: BTreeSet<Claim>,
    queued: BTreeMap<Place, i64>,
    /// Where outcomes are being written, and in how many transactions.
    moving: BTreeMap<Place, u32>,
    /// What changed since [`Pending::watch`], until nobody counts any more.
    touched: Option<BTreeSet<Place>>,
    /// Counts that may be too large.
    doubtful: BTreeSet<Place>,
}

impl Pending {
    /// Holds one more.
    pub(super) fn hold(&mut self, claim: Claim) {
        self.held.insert(claim);
    }

    /// Another node has it now.
    pub(super) fn lose(&mut self, claim: Claim) {
        self.held.remove(&claim);
        self.forget(claim);
    }

    /// Whether it is held.
    pub(super) fn holds(&self, claim: Claim) -> bool {
        self.held.contains(&claim)
    }

    /// All that is held.
    pub(super) fn held(&self) -> Vec<Claim> {
        self.held.iter().copied().collect()
    }

    /// Counts queued deliveries of a chunk.
    pub(super) fn add(&mut self, claim: Claim, chunk: i64, by: i64) {
        if by == 0 || !self.held.contains(&claim) {
            return;
        }
        self.touch((claim, chunk));
        let count = self.queued.entry((claim, chunk)).or_default();
        *count += by;
        if *count <= 0 {
            self.queued.remove(&(claim, chunk));
        }
    }

    /// Whether anything of a chunk may be queued.
    pub(super) fn has(&self, claim: Claim, chunk: i64) -> bool {
        self.queued.contains_key(&(claim, chunk))
    }

    /// Forgets the counts of a claim, to count anew.
    pub(super) fn forget(&mut self, claim: Claim) {
        self.queued.retain(|(of, _), _| *of != claim);
        self.doubtful.retain(|(of, _)| *of != claim);
    }

    /// Outcomes of a chunk are about to be written.
    pub(super) fn moves(&mut self, place: Place) {
        *self.moving.entry(place).or_default() += 1;
        self.touch(place);
    }

    fn touch(&mut self, place: Place) {
        if let Some(touched) = &mut self.touched {
            touched.insert(place);
        }
    }

    /// They are written, or not, and that is counted.
    pub(super) fn moved(&mut self, place: Place) {
        if let Some(count) = self.moving.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.moving.remove(&place);
            }
        }
    }

    /// The count of a chunk may be too large.
    pub(super) fn doubt(&mut self, place: Place) {
        if self.held.contains(&place.0) {
            self.doubtful.insert(place);
        }
    }

    /// Chunks that are to be counted anew.
    pub(super) fn doubtful(&self) -> Vec<Place> {
        self.doubtful.iter().copied().collect()
    }

    /// What changes from now on is noticed.
    pub(super) fn watch(&mut self) {
        self.touched = Some(self.moving.keys().copied().collect());
    }

    /// Everything is counted.
    pub(super) fn counted(&mut self) {
        self.touched = None;
    }

    /// So many are queued, as was read since [`Pending::watch`]. Where something changed meanwhile they are counted on top, which
    /// is not too few, and the place is in doubt.
    pub(super) fn recount(&mut self, place: Place, count: i64) {
        if self.touched.as_ref().is_none_or(|touched| touched.contains(&place)) {
            self.add(place.0, place.1, count);
            self.doubt(place);
            return;
        }
        self.doubtful.remove(&place);
        self.queued.remove(&place);
        self.add(place.0, place.1, count);
    }

    /// So many are queued of what was counted before, as was read since [`Pending::watch`]. Where something changed meanwhile the count stays in
    /// doubt.
    pub(super) fn correct(&mut self, place: Place, count: i64) {
        if self.touched.as_ref().is_some_and(|touched| !touched.contains(&place)) {
            self.recount(place, count);
        }
    }

    /// All chunks of a claim where something is counted.
    pub(super) fn places(&self, claim: Claim) -> impl Iterator<Item = Place> {
        self.queued.range((claim, i64::MIN)..=(claim, i64::MAX)).map(|(place, _)| *place)
    }

    /// Takes over what was counted elsewhere.
    pub(super) fn merge(&mut self, other: Self) {
        self.held.extend(other.held);
        // Something may have been opened again meanwhile.
        other.queued.into_iter().for_each(|((claim, chunk), count)| self.add(claim, chunk, count));
    }

    /// The key from which on something may be queued.
    pub(super) fn low(&self, claim: Claim) -> Option<i64> {
        self.queued.range((claim, i64::MIN)..=(claim, i64::MAX)).next().map(|((_, chunk), _)| chunk << CHUNK_BITS)
    }

    /// Streams in which something of a target may be queued within a bucket behind a key, and the key to go on after.
    pub(super) fn streams(&self, target: i64, after: i64, bucket: &Bucket) -> Vec<(i32, i64)> {
        let part = part_of(target);
        let (first, last) = (chunk_of(bucket.keys().0.max(after)), chunk_of(bucket.keys().1));
        let streams = self.held.iter().filter(|claim| claim.1 == part).filter_map(|claim| {
            let ((_, chunk), _) = self.queued.range((*claim, first)..=(*claim, last)).next()?;
            Some((claim.0, after.max((chunk << CHUNK_BITS) - 1)))
        });
        if first > last { Vec::new() } else { streams.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: i64 = 1 << 12;

    #[test]
    fn what_changes_while_it_is_counted_is_counted_again() {
        let claim = (0, 3);
        let (still, busy) = ((claim, 1), (claim, 2));
        let mut pending = Pending::default();
        pending.hold(claim);
        pending.add(claim, 1, 5);
        pending.add(claim, 2, 5);
        pending.moves(busy);
        pending.watch();
        // One of its five was read as queued or not, and is settled while that is under way.
        pending.add(claim, 2, -1);
        pending.moved(busy);
        pending.recount(still, 2);
        pending.recount(busy, 4);
        assert_eq!((pending.queued[&still], pending.queued[&busy]), (2, 8), "too many rather than too few");
        assert_eq!(pending.doubtful(), [busy]);
        pending.counted();
        pending.watch();
        pending.recount(busy, 0);
        pending.counted();
        assert!(!pending.has(claim, 2) && pending.doubtful().is_empty());
        pending.add(claim, 1, 3);
        pending.doubt(still);
        pending.watch();
        pending.add(claim, 1, 1);
        pending.correct(still, 2);
        assert_eq!((pending.queued[&still], pending.doubtful()), (6, vec![still]), "what changed meanwhile stays in doubt");
        pending.counted();
        pending.watch();
        pending.correct(still, 3);
        pending.counted();
        assert_eq!((pending.queued[&still], pending.doubtful()), (3, vec![]));
        pending.doubt(still);
        pending.lose(claim);
        assert!(pending.doubtful().is_empty());
        pending.doubt(still);
        assert!(pending.doubtful().is_empty(), "what is not held is not counted");
    }

    #[test]
    fn lanes_are_found_where_something_may_be_queued() {
        let bucket = Bucket { id: 1, first: 1, until: Some(3 * CHUNK), floor_ms: 0 };
        let next = Bucket { id: 2, first: 3 * CHUNK, until: None, floor_ms: 0 };
        let mut pending = Pending::default();
        pending.add((1, 5), 2, 4);
        assert_eq!(pending.low((1, 5)), None, "what is not held is not counted");
        pending.hold((1, 5));
        pending.add((1, 5), 2, 4);
        pending.add((1, 5), 7, 1);
        assert_eq!(pending.streams(13, 0, &bucket), [(1, (2 << CHUNK_BITS) - 1)]);
        assert_eq!(pending.streams(12, 0, &bucket), []);
        assert_eq!(pending.streams(13, 0, &next), [(1, (7 << CHUNK_BITS) - 1)]);
        pending.add((1, 5), 2, -4);
        assert_eq!(pending.low((1, 5)), Some(7 << CHUNK_BITS));
        assert_eq!(pending.streams(13, 0, &bucket), []);
        pending.lose((1, 5));
        assert_eq!(pending.low((1, 5)), None);
    }
}
