//! The memory of all lanes together: the one place that owns how much of what waits is held.
//!
//! Each queue of a lane has a small share of its own, so that there is always something to send. Beyond it, lanes borrow from one
//! pool: a lane may borrow at most [`SHARE`] times what is free. One busy lane gets four fifths of the pool, two get four ninths
//! each, a hundred about a hundredth each, and there is always something left for whoever comes next. What a lane does not hold is in
//! the journal, and is read back when its turn comes near.
//!
//! Invariants:
//! - What is lent is never more than the pool, but for one delivery of each queue that may be larger than any share, and moments in
//!   which shards look at the same time.
//! - Pages that are being read have borrowed what they may bring.

use std::sync::atomic::{AtomicUsize, Ordering};

use posthaste_domain::policy::lane::Bound;

/// How many times what is free a lane may hold.
const SHARE: usize = 4;
/// What a delivery weighs in memory besides its payload, about: itself, its place in the lane, its event.
pub(super) const OVERHEAD: usize = 320;

/// Memory for waiting deliveries.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes that each queue of each lane may hold without asking.
    own: usize,
    /// Bytes that lanes may borrow, over all of them.
    pool: usize,
    lent: AtomicUsize,
}

impl Budget {
    /// A pool of so many bytes beside each queue's own share.
    pub fn new(own: usize, pool: usize) -> Self {
        Self { own, pool, lent: AtomicUsize::new(0) }
    }

    /// The bound of a queue that may borrow so many bytes and hold at most so many; never less than its own share.
    pub(super) fn bound(&self, borrow: usize, most: usize) -> Bound {
        let bytes = (self.own + borrow).min(most).max(self.own);
        Bound { items: (bytes / OVERHEAD).max(1), bytes }
    }

    /// Bytes that are lent now.
    pub fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    /// Bytes that a lane that has borrowed so many may have borrowed in all.
    pub(super) fn share(&self, borrowed: usize) -> usize {
        let free = self.pool.saturating_sub(self.lent().saturating_sub(borrowed));
        free / (SHARE + 1) * SHARE
    }

    /// Whether so little is left that those who hold more than their share should give some back.
    pub(super) fn is_short(&self) -> bool {
        self.pool > 0 && self.pool.saturating_sub(self.lent()) < self.pool / (SHARE + 1)
    }

    /// A lane has borrowed `now` where it had borrowed `before`.
    pub(super) fn changed(&self, before: usize, now: usize) {
        if now > before {
            self.lent.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            self.lent.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// What of these bytes of a queue is borrowed.
    pub(super) fn borrowed(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lanes that each take all they may, in turns, until nothing changes.
    fn shares(pool: usize, lanes: usize) -> (Vec<usize>, Budget) {
        let budget = Budget::new(1000, pool);
        let mut held = vec![0; lanes];
        for _ in 0..2000 {
            for lane in &mut held {
                let now = budget.share(*lane);
                budget.changed(*lane, now);
                *lane = now;
            }
        }
        (held, budget)
    }

    /// A hundred come to a hundredth each in waves, which settle slowly: nobody is far from it.
    #[test]
    fn the_pool_is_shared_and_never_used_up() {
        for (lanes, most, least) in [(1, 800_000, 800_000), (2, 450_000, 440_000), (100, 20_000, 4_000)] {
            let (held, budget) = shares(1_000_000, lanes);
            assert!(held.iter().all(|lane| (least..=most).contains(lane)), "{lanes}: {held:?}");
            assert_eq!(held.iter().sum::<usize>(), budget.lent());
            assert!(budget.lent() < 1_000_000);
            assert_eq!(budget.is_short(), lanes > 1);
        }
    }

    #[test]
    fn without_a_pool_there_is_the_own_share() {
        let budget = Budget::new(1000, 0);
        assert_eq!((budget.share(0), budget.is_short()), (0, false));
        assert_eq!(budget.bound(0, usize::MAX), Bound { items: 3, bytes: 1000 });
        assert_eq!((budget.borrowed(900), budget.borrowed(1500)), (0, 500));
    }
}
