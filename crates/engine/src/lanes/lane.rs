//! The lane of one target: which of its deliveries is next, and what has to be fetched from the journal.
//!
//! Pure: time is an argument, pages are asked for and handed in.
//!
//! Invariants:
//! - A delivery is in at most one place: waiting here, in flight, or finished and not yet settled. `loaded` holds the keys of all
//!   three, so a page that shows one again is harmless.
//! - Memory is bounded by items and bytes; what does not fit stays in the journal (`spilled`) and is paged in by key order.
//! - First attempts go before retries, but one turn in eight is a retry's.
//! - In FIFO mode one delivery is in flight, and one that waits for its retry holds up those behind it.

use std::collections::{HashSet, VecDeque};

use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::breaker::{Breaker, Permit, Settings as BreakerSettings};
use posthaste_domain::policy::limiter::RateLimiter;
use posthaste_domain::resource::TargetStatus;

use crate::routing::LanePolicy;

/// Every so many starts, a retry goes first.
const RETRY_TURN: u32 = 8;

/// Bounds of a lane's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Deliveries waiting.
    pub items: usize,
    /// Their payload bytes.
    pub bytes: usize,
}

/// What a lane wants.
#[derive(Debug)]
pub(crate) enum Next {
    /// Start this one.
    Run(Box<PendingDelivery>),
    /// Nothing until something happens.
    Idle,
    /// Nothing until this time. `limited` is set once per episode of a rate limit.
    Wait { until_ms: i64, limited: bool },
}

/// Pages a lane lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Queued deliveries after this key.
    Queued { after: DeliveryKey, items: usize, bytes: usize },
    /// Scheduled deliveries due by now.
    Due { items: usize, bytes: usize },
}

pub(crate) struct Lane {
    pub workspace: i64,
    pub breaker: Breaker,
    pub in_flight: u32,
    /// When scheduled deliveries are due next; `i64::MAX` for never.
    pub next_due_ms: i64,
    /// Pending deliveries of the target, in memory or not.
    pub backlog: u64,
    pub last_success_ms: i64,
    pub last_failure_ms: i64,
    /// Until when the rate limit holds, 0 when it does not.
    pub limited_until_ms: i64,
    bounds: Bounds,
    policy: Option<LanePolicy>,
    limiter: Option<RateLimiter>,
    status: TargetStatus,
    fresh: VecDeque<PendingDelivery>,
    retries: VecDeque<PendingDelivery>,
    bytes: usize,
    loaded: HashSet<DeliveryKey>,
    cursor: DeliveryKey,
    tail: DeliveryKey,
    tail_at_request: DeliveryKey,
    paging_queued: bool,
    paging_due: bool,
    turn: u32,
    blocked_on: Option<DeliveryKey>,
}

impl Lane {
    pub fn new(workspace: i64, bounds: Bounds, settings: BreakerSettings, now_ms: i64) -> Self {
        Self {
            workspace,
            breaker: Breaker::new(settings, now_ms),
            in_flight: 0,
            next_due_ms: i64::MAX,
            backlog: 0,
            last_success_ms: 0,
            last_failure_ms: 0,
            limited_until_ms: 0,
            bounds,
            policy: None,
            limiter: None,
            status: TargetStatus::Active,
            fresh: VecDeque::new(),
            retries: VecDeque::new(),
            bytes: 0,
            loaded: HashSet::new(),
            cursor: DeliveryKey(0),
            tail: DeliveryKey(0),
            tail_at_request: DeliveryKey(0),
            paging_queued: false,
            paging_due: false,
            turn: 0,
            blocked_on: None,
        }
    }

    /// Work that a start found in the journal.
    pub fn recovered(&mut self, last_queued: DeliveryKey, next_due_ms: i64, backlog: u64) {
        self.tail = last_queued;
        self.next_due_ms = next_due_ms;
        self.backlog = backlog;
    }

    /// A delivery that was just committed or reopened.
    pub fn arrived(&mut self, delivery: PendingDelivery) {
        let key = delivery.delivery.key;
        if self.loaded.contains(&key) {
            return;
        }
        self.backlog += 1;
        let room = self.fresh.len() < self.bounds.items && self.bytes < self.bounds.bytes;
        if room && !self.spilled() {
            self.cursor = self.cursor.max(key);
            self.tail = self.tail.max(key);
            self.load(delivery, false);
        } else {
            self.tail = self.tail.max(key);
            // A reopened delivery may lie before the cursor: go back for it.
            self.cursor = self.cursor.min(DeliveryKey(key.0 - 1));
        }
    }

    /// A delivery of this target was scheduled.
    pub fn scheduled(&mut self, due_ms: i64) {
        self.next_due_ms = self.next_due_ms.min(due_ms);
    }

    /// Follows the target's document.
    pub fn follow(&mut self, policy: LanePolicy, status: TargetStatus, now_ms: i64) {
        if self.policy != Some(policy) {
            match (&mut self.limiter, policy.rate) {
                (Some(limiter), Some(rate)) => limiter.set_rate(rate),
                (slot, rate) => *slot = rate.map(RateLimiter::new),
            }
            self.policy = Some(policy);
        }
        if self.status != status {
            // The state is the document's; the breaker is told so that resuming goes through its ramp.
            let _ = match status {
                TargetStatus::Active => self.breaker.resume(now_ms),
                TargetStatus::Paused => self.breaker.pause(now_ms),
                TargetStatus::Disabled => self.breaker.disable(now_ms),
            };
            self.status = status;
        }
    }

    /// Whether the target holds its deliveries.
    pub fn held(&self) -> bool {
        self.status != TargetStatus::Active
    }

    /// A page that is missing, if any; marks it as under way.
    pub fn want(&mut self, now_ms: i64) -> Option<Want> {
        if self.held() {
            return None;
        }
        let low = self.fresh.len() <= self.bounds.items / 4 && self.bytes <= self.bounds.bytes / 2;
        if self.spilled() && low && !self.paging_queued {
            self.paging_queued = true;
            self.tail_at_request = self.tail;
            let items = (self.bounds.items - self.fresh.len()).max(1);
            return Some(Want::Queued { after: self.cursor, items, bytes: self.bounds.bytes / 2 });
        }
        if self.next_due_ms <= now_ms && self.retries.is_empty() && !self.paging_due {
            self.paging_due = true;
            // Those that are loaded still stand in the journal as due and take places in the page.
            let items = self.bounds.items / 2 + 1 + self.loaded.len();
            return Some(Want::Due { items, bytes: self.bounds.bytes / 2 });
        }
        None
    }

    /// A page of queued deliveries; `full` if the limit cut it.
    pub fn queued_page(&mut self, page: Vec<PendingDelivery>, full: bool) {
        self.paging_queued = false;
        for delivery in page {
            let key = delivery.delivery.key;
            self.cursor = self.cursor.max(key);
            if !self.loaded.contains(&key) {
                self.load(delivery, false);
            }
        }
        if !full {
            self.cursor = self.cursor.max(self.tail_at_request);
        }
    }

    /// A page of due deliveries and when the next one after it is due.
    pub fn due_page(&mut self, page: Vec<PendingDelivery>, next_due_ms: i64) {
        self.paging_due = false;
        self.next_due_ms = next_due_ms;
        for delivery in page {
            if !self.loaded.contains(&delivery.delivery.key) {
                self.load(delivery, true);
            }
        }
    }

    /// A page could not be read; it will be wanted again.
    pub fn page_failed(&mut self) {
        self.paging_queued = false;
        self.paging_due = false;
    }

    /// What to start now. `crowded` is set when the server as a whole has little room: then a lane takes little of it.
    pub fn next(&mut self, now_ms: i64, crowded: bool) -> Next {
        let Some(policy) = self.policy else { return Next::Idle };
        if self.held() || (self.fresh.is_empty() && self.retries.is_empty()) {
            return Next::Idle;
        }
        if policy.fifo && self.in_flight > 0 {
            return Next::Idle;
        }
        let limit = if crowded { policy.concurrency.min(4) } else { policy.concurrency };
        match self.breaker.permits(self.in_flight, limit, now_ms) {
            Permit::Now => {}
            Permit::Wait { until_ms: Some(until_ms) } => return Next::Wait { until_ms, limited: false },
            Permit::Wait { until_ms: None } | Permit::Held => return Next::Idle,
        }
        let Some(from_retries) = self.choose(policy.fifo) else { return Next::Idle };
        if let Some(limiter) = &mut self.limiter {
            if let Err(wait) = limiter.take(now_ms) {
                self.limited_until_ms = wait.until_ms;
                return Next::Wait { until_ms: wait.until_ms, limited: wait.notice };
            }
            self.limited_until_ms = 0;
        }
        let queue = if from_retries { &mut self.retries } else { &mut self.fresh };
        let Some(delivery) = queue.pop_front() else { return Next::Idle };
        self.bytes -= delivery.event.payload.len();
        self.turn = self.turn.wrapping_add(1);
        self.in_flight += 1;
        self.breaker.started(now_ms);
        Next::Run(Box::new(delivery))
    }

    /// Takes a waiting delivery without starting an attempt, to cancel it.
    pub fn take_any(&mut self) -> Option<PendingDelivery> {
        let delivery = self.fresh.pop_front().or_else(|| self.retries.pop_front())?;
        self.bytes -= delivery.event.payload.len();
        Some(delivery)
    }

    /// An attempt ended; its outcome is on its way to the journal. `retried` if it will be tried again.
    pub fn finished(&mut self, key: DeliveryKey, retried: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.policy.is_some_and(|p| p.fifo) {
            self.blocked_on = retried.then_some(key);
        }
    }

    /// FIFO after a restart: this one was waiting for its retry.
    pub fn block_on(&mut self, key: DeliveryKey) {
        self.blocked_on = Some(key);
    }

    /// The outcome is in the journal. `due_ms` if it is to be tried again.
    pub fn settled(&mut self, key: DeliveryKey, due_ms: Option<i64>) {
        self.loaded.remove(&key);
        match due_ms {
            Some(due_ms) => self.scheduled(due_ms),
            None => {
                self.backlog = self.backlog.saturating_sub(1);
                if self.blocked_on == Some(key) {
                    self.blocked_on = None;
                }
            }
        }
    }

    /// Oldest work in memory that waits, as its time of receipt.
    pub fn oldest_ms(&self) -> Option<i64> {
        let first = |queue: &VecDeque<PendingDelivery>| queue.front().map(|d| d.event.received_ms);
        [first(&self.fresh), first(&self.retries)].into_iter().flatten().min()
    }

    /// Deliveries waiting in memory.
    pub fn waiting(&self) -> usize {
        self.fresh.len() + self.retries.len()
    }

    /// Whether the journal holds queued deliveries that are not in memory.
    pub fn spilled(&self) -> bool {
        self.cursor < self.tail
    }

    fn load(&mut self, delivery: PendingDelivery, retry: bool) {
        self.bytes += delivery.event.payload.len();
        self.loaded.insert(delivery.delivery.key);
        if retry { self.retries.push_back(delivery) } else { self.fresh.push_back(delivery) }
    }

    /// `Some(true)` for a retry, `Some(false)` for a first attempt.
    fn choose(&mut self, fifo: bool) -> Option<bool> {
        if fifo {
            if let Some(key) = self.blocked_on {
                let at = self.retries.iter().position(|d| d.delivery.key == key)?;
                self.retries.swap(0, at);
                return Some(true);
            }
            // The older of the two heads, so that a scheduled delivery does not overtake nor starve.
            return Some(match (self.fresh.front(), self.retries.front()) {
                (Some(fresh), Some(retry)) => retry.delivery.key < fresh.delivery.key,
                (None, _) => true,
                (Some(_), None) => false,
            });
        }
        let retry_turn = self.turn % RETRY_TURN == RETRY_TURN - 1;
        Some(self.fresh.is_empty() || (retry_turn && !self.retries.is_empty()))
    }
}
