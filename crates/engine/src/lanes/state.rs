//! One lane with everything that belongs to its target: breaker, rate limiter, numbers for people.
//!
//! Pure: time is an argument.

use posthaste_domain::delivery::{DeliveryState, PendingDelivery};
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::Order;
use posthaste_domain::policy::breaker::{Breaker, Effect, State};
use posthaste_domain::policy::lane::{Bound, Entry, Finish, Lane, LaneLimits, Next, Scheduled};
use posthaste_domain::policy::limiter::RateLimiter;
use posthaste_domain::resource::TargetStatus;

use super::{Arrival, How, LaneHealth, LaneVerdict, Page};
use crate::routing::LanePolicy;

/// What a delivery weighs in memory besides its payload.
const OVERHEAD: usize = 256;

/// What to ask a lane for.
pub(super) type LaneNext = Next<PendingDelivery, DeliveryKey>;

/// A target's lane.
pub(super) struct LaneState {
    /// Owning workspace of the target.
    pub workspace: i64,
    lane: Lane<PendingDelivery, DeliveryKey>,
    breaker: Breaker,
    limiter: Option<RateLimiter>,
    policy: Option<LanePolicy>,
    status: TargetStatus,
    backlog: u64,
    last_success_ms: i64,
    last_failure_ms: i64,
    limited_until_ms: i64,
}

impl LaneState {
    /// A lane whose target has nothing in the journal.
    pub fn new(workspace: i64, bound: Bound, breaker: Breaker) -> Self {
        Self {
            workspace,
            lane: Lane::new(limits(bound, false)),
            breaker,
            limiter: None,
            policy: None,
            status: TargetStatus::Active,
            backlog: 0,
            last_success_ms: 0,
            last_failure_ms: 0,
            limited_until_ms: 0,
        }
    }

    /// Goes on with what a start found in the journal.
    pub fn recover(&mut self, bound: Bound, last_key: DeliveryKey, queued: u64, scheduled: u64) {
        self.lane = Lane::recovering(limits(bound, false), Some(last_key), queued > 0, scheduled > 0);
        self.backlog = queued + scheduled;
    }

    /// Puts the target's health back.
    pub fn restore(&mut self, breaker: Breaker) {
        self.breaker = breaker;
    }

    /// Takes in what a commit brought.
    pub fn arrived(&mut self, arrival: Arrival) {
        let Arrival { delivery, how } = arrival;
        let (key, bytes) = (delivery.delivery.key, weight(&delivery));
        self.backlog += 1;
        let _ = match how {
            How::Fresh => self.lane.push(delivery, key, bytes),
            How::Later(due_ms) => self.lane.schedule(delivery, key, bytes, due_ms),
            How::Again => self.lane.release(delivery, key, bytes),
        };
    }

    /// Follows the target's document. Answers what the breaker made of it.
    pub fn follow(&mut self, bound: Bound, policy: LanePolicy, status: TargetStatus, now_ms: i64) {
        if self.policy != Some(policy) {
            match (&mut self.limiter, policy.rate) {
                (Some(limiter), Some(rate)) => limiter.set_rate(rate),
                (slot, rate) => *slot = rate.map(RateLimiter::new),
            }
            self.lane.set_limits(limits(bound, policy.fifo));
            self.policy = Some(policy);
        }
        if self.status != status {
            // The document is the truth and has told everybody; the breaker learns it so that resuming goes through its ramp.
            let _ = match status {
                TargetStatus::Active => self.breaker.resume(now_ms),
                TargetStatus::Paused => self.breaker.pause(now_ms),
                TargetStatus::Disabled => self.breaker.disable(now_ms),
            };
            self.status = status;
        }
    }

    /// What to do now; at most `most` attempts may be out.
    pub fn next(&mut self, now_ms: i64, most: u32) -> LaneNext {
        let Some(policy) = self.policy else { return Next::Idle };
        let next = self.lane.next(now_ms, &mut self.breaker, self.limiter.as_mut(), policy.concurrency.min(most));
        match &next {
            Next::WakeAt { at_ms, rate_notice: true } => self.limited_until_ms = *at_ms,
            Next::Run { .. } => self.limited_until_ms = 0,
            _ => {}
        }
        next
    }

    /// What was to run is not to be sent yet.
    pub fn postpone(&mut self, item: PendingDelivery, due_ms: i64) {
        self.breaker.cancelled();
        let (key, bytes) = (item.delivery.key, weight(&item));
        self.lane.finished(key, Finish::Retry { item, bytes, due_ms });
    }

    /// What to take out now that the target is gone; each counts as ended.
    pub fn next_of_deleted(&mut self, bound: Bound, now_ms: i64) -> LaneNext {
        self.lane.set_limits(limits(bound, false));
        // Whatever is due some day is due now, and no breaker or limiter has a say.
        let mut breaker = Breaker::new(posthaste_domain::policy::breaker::Settings::default(), now_ms);
        let next = self.lane.next(i64::MAX, &mut breaker, None, u32::MAX);
        if let Next::Run { key, .. } = &next {
            self.lane.ended(*key);
        }
        next
    }

    /// An attempt is over: another may take its place. Answers what the breaker makes of it.
    pub fn ended(&mut self, key: DeliveryKey, verdict: LaneVerdict, now_ms: i64, random: u64) -> Vec<Effect> {
        self.lane.ended(key);
        match verdict {
            LaneVerdict::Success => {
                self.last_success_ms = now_ms;
                self.breaker.success(now_ms)
            }
            LaneVerdict::Failure(failure) => {
                self.last_failure_ms = now_ms;
                self.breaker.failure(failure, self.lane.in_flight(), now_ms, random)
            }
            LaneVerdict::Gone => {
                self.last_failure_ms = now_ms;
                self.breaker.gone(now_ms)
            }
            LaneVerdict::Nothing => {
                self.breaker.cancelled();
                Vec::new()
            }
        }
    }

    /// An outcome is on disk.
    pub fn settled(&mut self, key: DeliveryKey, retry: Option<Box<PendingDelivery>>) {
        let counted = !self.lane.is_cancelled(key);
        match retry {
            Some(delivery) => {
                let (bytes, due_ms) = (weight(&delivery), delivery.delivery.due_ms);
                self.lane.finished(key, Finish::Retry { item: *delivery, bytes, due_ms });
            }
            None => {
                self.lane.finished(key, Finish::Done);
                self.backlog = self.backlog.saturating_sub(u64::from(counted));
            }
        }
    }

    /// Somebody cancelled it.
    pub fn cancelled(&mut self, key: DeliveryKey) {
        self.lane.cancel(key);
        self.backlog = self.backlog.saturating_sub(1);
    }

    /// Queued deliveries from the journal; `None`: they could not be read.
    pub fn queued_page(&mut self, page: Option<Page>) {
        match page {
            Some((page, reached_end)) => self.lane.page_arrived(page.into_iter().map(entry).collect(), reached_end),
            None => self.lane.page_failed(),
        }
    }

    /// Scheduled deliveries from the journal; `None`: they could not be read.
    pub fn scheduled_page(&mut self, page: Option<Page>) {
        let Some((page, reached_end)) = page else { return self.lane.scheduled_failed() };
        let scheduled = page.into_iter().map(|delivery| {
            let (due_ms, retry) = (delivery.delivery.due_ms, delivery.delivery.attempts > 0);
            Scheduled { entry: entry(delivery), due_ms, retry }
        });
        self.lane.scheduled_arrived(scheduled.collect(), reached_end);
    }

    /// Outcomes that are on their way to the disk.
    pub fn settling(&self) -> usize {
        self.lane.settling()
    }

    /// Whether nothing at all is left.
    pub fn is_empty(&self) -> bool {
        self.lane.is_empty()
    }

    /// The target's health, to be kept over restarts.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Numbers for people.
    pub fn health(&self, now_ms: i64) -> LaneHealth {
        let breaker = match self.breaker.state() {
            State::Active => "active",
            State::Probing => "probing",
            State::Paused => "paused",
            State::Disabled => "disabled",
        };
        let fresh = self.lane.first_fresh().map(|first| match first.delivery.state {
            // Released at its last change.
            DeliveryState::Queued => first.delivery.updated_ms,
            _ => first.delivery.due_ms,
        });
        let due = self.lane.first_due_ms().filter(|due_ms| *due_ms <= now_ms);
        LaneHealth {
            breaker: breaker.into(),
            backlog: self.backlog,
            in_flight: self.lane.unsettled(),
            oldest_ms: fresh.into_iter().chain(due).min(),
            last_success_ms: self.last_success_ms,
            last_failure_ms: self.last_failure_ms,
            limited_until_ms: self.limited_until_ms,
        }
    }
}

fn limits(bound: Bound, fifo: bool) -> LaneLimits {
    let order = if fifo { Order::Fifo } else { Order::None };
    LaneLimits { fresh: bound, scheduled: bound, order, head_blocks: true }
}

fn weight(delivery: &PendingDelivery) -> usize {
    delivery.event.payload.len() + OVERHEAD
}

fn entry(item: PendingDelivery) -> Entry<PendingDelivery, DeliveryKey> {
    Entry { key: item.delivery.key, bytes: weight(&item), item }
}
