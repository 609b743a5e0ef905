//! What goes into a lane and what comes out.

use super::Bound;
#[cfg(doc)]
use super::Lane;
use crate::policy::Order;

/// How much a lane may hold and in which order it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Fresh deliveries in memory.
    pub fresh: Bound,
    /// Scheduled deliveries in memory.
    pub scheduled: Bound,
    /// Order of the policy.
    pub order: Order,
    /// With [`Order::Fifo`]: whether a delivery that waits for its retry holds up those behind it.
    pub head_blocks: bool,
}

impl Default for LaneLimits {
    /// 1024 deliveries and 4 MiB in each queue, no order.
    fn default() -> Self {
        let bound = Bound { items: 1024, bytes: 4 << 20 };
        Self { fresh: bound, scheduled: bound, order: Order::None, head_blocks: true }
    }
}

/// Where a delivery went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// Into memory.
    Queued,
    /// Left in the journal, to be paged in.
    Spilled,
    /// The lane had it already, waiting or in flight.
    Known,
}

/// A delivery read from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T, K = u64> {
    /// Its key.
    pub key: K,
    /// The delivery.
    pub item: T,
    /// Its weight in memory.
    pub bytes: usize,
}

/// A scheduled delivery read from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled<T, K = u64> {
    /// The delivery.
    pub entry: Entry<T, K>,
    /// When it is due.
    pub due_ms: i64,
    /// It was tried before. Only these hold up others, see [`LaneLimits::head_blocks`].
    pub retry: bool,
}

/// What the shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<T, K = u64> {
    /// Run it, and call [`Lane::finished`] in the end. The breaker and the limiter know of it.
    Run {
        /// Its key.
        key: K,
        /// The delivery.
        item: T,
    },
    /// Nothing until something happens.
    Idle,
    /// Nothing until then, or until something happens.
    WakeAt {
        /// When to ask again.
        at_ms: i64,
        /// The rate limit was met: tell the owner, once for this episode.
        rate_notice: bool,
    },
    /// Read fresh deliveries, then call [`Lane::page_arrived`] or [`Lane::page_failed`]. Ask again
    /// meanwhile: there may be something to run.
    NeedPage {
        /// Read keys above this one; `None`: from the first.
        after_key: Option<K>,
    },
    /// Read scheduled deliveries, then call [`Lane::scheduled_arrived`] or
    /// [`Lane::scheduled_failed`]. Ask again meanwhile.
    NeedScheduled {
        /// Read positions above this one; `None`: from the first.
        after: Option<(i64, K)>,
    },
}

/// How an attempt ended for its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish<T> {
    /// Delivered, given up or cancelled.
    Done,
    /// To be tried again.
    Retry {
        /// The delivery.
        item: T,
        /// Its weight in memory.
        bytes: usize,
        /// When.
        due_ms: i64,
    },
    /// Not tried after all: it goes back to where it was.
    Again {
        /// The delivery.
        item: T,
        /// Its weight in memory.
        bytes: usize,
    },
}
