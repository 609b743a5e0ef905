//! Where the sequences of new events come from.
//!
//! An engine that is alone counts on. One of several takes blocks that nobody else gets: so large that asking is seldom, and given up after
//! a second, so that events of all nodes lie about in the order of time.

use std::sync::Arc;
use std::time::Duration;

use posthaste_store::{Cluster, StoreError};
use tokio::time::Instant;

/// How long a block is used.
const LIFE: Duration = Duration::from_secs(1);
/// The smallest and the largest block, unless one group needs more.
const BLOCK: (i64, i64) = (256, 1 << 20);

/// A source of sequences.
pub(crate) struct Sequences {
    /// The last that was given out.
    last: i64,
    /// The last that this node was ever given; the largest there is before it was given any.
    top: i64,
    leased: Option<Leased>,
}

struct Leased {
    cluster: Arc<dyn Cluster>,
    /// The last of the block.
    end: i64,
    /// The size of the block.
    size: i64,
    taken: Instant,
}

impl Sequences {
    /// Goes on behind the last one that there ever was.
    pub fn new(last: i64, cluster: Option<Arc<dyn Cluster>>) -> Self {
        let leased = |cluster| Leased { cluster, end: last, size: 0, taken: Instant::now() };
        Self { last, top: i64::MAX, leased: cluster.map(leased) }
    }

    /// Makes ready for `count` that follow each other. `is_fresh`: all of them lie above whatever any node was given before this call. Answers whether
    /// it shows that another node was given some since this one was.
    pub async fn prepare(&mut self, count: usize, is_fresh: bool) -> Result<bool, StoreError> {
        let Some(leased) = &mut self.leased else { return Ok(false) };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let is_old = leased.taken.elapsed() >= LIFE;
        if !is_fresh && !is_old && leased.end - self.last >= count {
            return Ok(false);
        }
        // What was used up within its second was too small.
        let used = leased.size - (leased.end - self.last);
        let size = (2 * used).clamp(BLOCK.0, BLOCK.1);
        let size = if is_fresh { count } else { size.max(count) };
        let first = leased.cluster.lease(u32::try_from(size).unwrap_or(u32::MAX)).await?.0;
        (self.last, leased.end) = (first - 1, first - 1 + size);
        (leased.size, leased.taken) = (size, Instant::now());
        Ok(self.given(first, size))
    }

    /// A block that this node was given; answers whether another node was given one in between.
    fn given(&mut self, first: i64, size: i64) -> bool {
        let had_others = first - 1 > self.top;
        self.top = first - 1 + size;
        had_others
    }

    /// The next one.
    pub fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// The last one that was given out.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Gives the rest of the block up: what comes next lies above all that was leased before.
    pub fn give_up(&mut self) {
        if let Some(leased) = &mut self.leased {
            leased.end = self.last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_blocks_shows_another_node() {
        let mut sequences = Sequences::new(10, None);
        assert!(!sequences.given(31, 5), "what was given before this node began tells nothing");
        assert!(!sequences.given(36, 100));
        sequences.give_up();
        assert!(!sequences.given(136, 4), "the rest of a block that was given up was its own");
        assert!(sequences.given(150, 4));
        assert!(!sequences.given(154, 4));
    }
}
