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
        Self { last, leased: cluster.map(leased) }
    }

    /// Makes ready for `count` that follow each other. `is_fresh`: all of them lie above whatever any node was given before this call.
    pub async fn prepare(&mut self, count: usize, is_fresh: bool) -> Result<(), StoreError> {
        let Some(leased) = &mut self.leased else { return Ok(()) };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let is_old = leased.taken.elapsed() >= LIFE;
        if !is_fresh && !is_old && leased.end - self.last >= count {
            return Ok(());
        }
        // What was used up within its second was too small.
        let used = leased.size - (leased.end - self.last);
        let size = (2 * used).clamp(BLOCK.0, BLOCK.1);
        let size = if is_fresh { count } else { size.max(count) };
        let first = leased.cluster.lease(u32::try_from(size).unwrap_or(u32::MAX)).await?.0;
        (self.last, leased.end) = (first - 1, first - 1 + size);
        (leased.size, leased.taken) = (size, Instant::now());
        Ok(())
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
