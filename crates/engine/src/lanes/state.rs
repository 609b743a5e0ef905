//! One lane with everything that belongs to its target: breaker, rate limiter, numbers for people.
//!
//! Pure: time is an argument.

use std::sync::Arc;

use posthaste_domain::delivery::{DeliveryState, PendingDelivery};
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::Order;
use posthaste_domain::policy::breaker::{Breaker, Effect, Settings as BreakerSettings, Snapshot, State};
use posthaste_domain::policy::lane::{Bound, Class, Entry, Finish, Lane, LaneLimits, Next, Scheduled};
use posthaste_domain::policy::limiter::RateLimiter;
use posthaste_domain::resource::TargetStatus;
use posthaste_store::PageLimit;

use super::budget::{Budget, OVERHEAD};
use super::{Arrival, How, LaneHealth, LaneSum, LaneVerdict, Page, Reread};
use crate::routing::LanePolicy;

/// What a queue holds at most when it reads back. Holding more of what is read anyway spares nothing, and is read in vain if the lane has to
/// give it back; new deliveries that are held spare reading them.
const PAGE: usize = 1 << 20;

/// For how long a success outweighs what another node says of the target.
const FRESH_SUCCESS_MS: i64 = 5_000;

/// A lane whose next delivery has waited longer than this does not keep up.
const LATE_MS: i64 = 1_000;

/// What to ask a lane for.
pub(super) type LaneNext = Next<PendingDelivery, DeliveryKey>;

/// A target's lane.
pub(super) struct LaneState {
    /// Owning workspace of the target.
    pub workspace: i64,
    lane: Lane<PendingDelivery, DeliveryKey>,
    budget: Arc<Budget>,
    /// Bytes borrowed from the budget.
    borrowed: usize,
    /// Bytes that pages may bring that are being read: fresh ones, scheduled ones.
    reading: (usize, usize),
    /// Weight of the last delivery that came in: pages are sized by it.
    typical: usize,
    breaker: Breaker,
    limiter: Option<RateLimiter>,
    policy: Option<LanePolicy>,
    status: TargetStatus,
    backlog: u64,
    last_success_ms: i64,
    last_failure_ms: i64,
    limited_until_ms: i64,
    class: Class,
}

impl LaneState {
    /// A lane whose target has nothing in the journal.
    pub fn new(workspace: i64, budget: Arc<Budget>, breaker: Breaker) -> Self {
        Self {
            workspace,
            lane: Lane::new(limits(budget.bound(0, usize::MAX), false)),
            budget,
            borrowed: 0,
            reading: (0, 0),
            typical: 2 * OVERHEAD,
            breaker,
            limiter: None,
            policy: None,
            status: TargetStatus::Active,
            backlog: 0,
            last_success_ms: 0,
            last_failure_ms: 0,
            limited_until_ms: 0,
            class: Class::Live,
        }
    }

    /// Goes on with what a start found in the journal.
    pub fn recover(&mut self, last_key: DeliveryKey, queued: u64, scheduled: u64) {
        self.lane = Lane::recovering(limits(self.budget.bound(0, usize::MAX), false), Some(last_key), queued > 0, scheduled > 0);
        self.account();
        self.backlog = queued + scheduled;
    }

    /// There is more in the journal than the lane was told of.
    pub fn reread(&mut self, more: Reread) {
        let Reread { count, lowest, last_key, .. } = more;
        // Of scheduled ones alone nothing is known but that they are there.
        let lowest = lowest.min(last_key);
        self.with(|lane| lane.reread(lowest.0.checked_sub(1).map(DeliveryKey), lowest, last_key));
        self.backlog += count;
    }

    /// Another node found that the target's health changed; answers whether that is news here. Who has just seen it succeed knows better.
    pub fn heard(&mut self, settings: BreakerSettings, snapshot: Snapshot, now_ms: i64) -> bool {
        let is_failing = snapshot.state != State::Active;
        let knows_better = is_failing && now_ms - self.last_success_ms < FRESH_SUCCESS_MS;
        let is_news = snapshot.state != self.breaker.state() && self.status == TargetStatus::Active && !knows_better;
        if is_news {
            self.breaker = Breaker::restore(settings, snapshot, now_ms);
        }
        is_news
    }

    /// How many deliveries are pending, as far as is known.
    fn pending(&self) -> u64 {
        if self.lane.is_empty() { 0 } else { self.backlog }
    }

    /// Adds its numbers to those of other lanes.
    pub fn add_to(&self, mut sum: LaneSum, now_ms: i64) -> LaneSum {
        sum.backlog += self.pending();
        sum.in_flight += u64::from(self.lane.unsettled());
        sum.oldest_ms = sum.oldest_ms.into_iter().chain(self.oldest_ms(now_ms)).min();
        sum
    }

    /// Since when the delivery that waits longest could have been sent.
    fn oldest_ms(&self, now_ms: i64) -> Option<i64> {
        let since = self.lane.first_fresh().map(|first| match first.delivery.state {
            // Released at its last change.
            DeliveryState::Queued => first.delivery.updated_ms,
            _ => first.delivery.due_ms,
        });
        let due = self.lane.first_due_ms().filter(|due_ms| *due_ms <= now_ms);
        since.into_iter().chain(due).min()
    }

    /// Lets something happen to the lane within the memory that it may hold now.
    fn with<R>(&mut self, change: impl FnOnce(&mut Lane<PendingDelivery, DeliveryKey>) -> R) -> R {
        self.fit(usize::MAX);
        let result = change(&mut self.lane);
        self.account();
        result
    }

    /// Bounds each queue by what the lane may borrow, which is nothing while nothing is sent, and by `most`. Answers the bounds.
    fn fit(&mut self, most: usize) -> (Bound, Bound) {
        let share = if self.sends() { self.budget.share(self.borrowed) } else { 0 };
        let (fresh, scheduled) = self.queues_borrowed();
        let bound = |other: usize| self.budget.bound(share.saturating_sub(other), most);
        let bounds = (bound(scheduled), bound(fresh));
        self.lane.set_bounds(bounds.0, bounds.1);
        bounds
    }

    /// Tells the budget what is borrowed.
    fn account(&mut self) {
        let (fresh, scheduled) = self.queues_borrowed();
        self.budget.changed(self.borrowed, fresh + scheduled);
        self.borrowed = fresh + scheduled;
    }

    /// What each queue has borrowed, for what it holds and for what is being read.
    fn queues_borrowed(&self) -> (usize, usize) {
        let (fresh, scheduled) = self.lane.weights();
        (self.budget.borrowed(fresh + self.reading.0), self.budget.borrowed(scheduled + self.reading.1))
    }

    fn sends(&self) -> bool {
        self.status == TargetStatus::Active && self.breaker.state() == State::Active
    }

    /// Gives back what is held above the lane's share.
    pub fn trim(&mut self) {
        if self.borrowed > 0 {
            self.with(Lane::trim);
        }
    }

    /// There is nothing to do for now. A lane that is held back needs no more memory than its own.
    pub fn rest(&mut self) {
        if !self.sends() {
            self.trim();
        }
    }

    /// How much to read back of what was asked for, at most so many deliveries.
    pub fn room(&mut self, asked: &LaneNext, most: usize) -> PageLimit {
        let (fresh, scheduled) = self.fit(PAGE);
        let weights = self.lane.weights();
        let (bound, held, reading) = match asked {
            Next::NeedScheduled { .. } => (scheduled, weights.1, &mut self.reading.1),
            _ => (fresh, weights.0, &mut self.reading.0),
        };
        let bytes = bound.bytes.saturating_sub(held);
        *reading = bytes;
        let items = (bytes / self.typical).min(most).max(1);
        self.account();
        PageLimit { items, bytes }
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
        self.typical = bytes;
        let _ = self.with(|lane| match how {
            How::Fresh => lane.push(delivery, key, bytes),
            How::Later(due_ms) => lane.schedule(delivery, key, bytes, due_ms),
            How::Again => lane.release(delivery, key, bytes),
        });
    }

    /// Follows the target's document. Answers what the breaker made of it.
    pub fn follow(&mut self, policy: LanePolicy, status: TargetStatus, now_ms: i64) {
        if self.policy != Some(policy) {
            match (&mut self.limiter, policy.rate) {
                (Some(limiter), Some(rate)) => limiter.set_rate(rate),
                (slot, rate) => *slot = rate.map(RateLimiter::new),
            }
            let (bound, _) = self.fit(usize::MAX);
            self.lane.set_limits(limits(bound, policy.fifo));
            self.account();
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
        self.fit(PAGE);
        let next = self.lane.next(now_ms, &mut self.breaker, self.limiter.as_mut(), policy.concurrency.min(most));
        self.account();
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
        // Not as a retry, which nothing may overtake.
        self.with(|lane| {
            lane.finished(key, Finish::Done);
            lane.schedule(item, key, bytes, due_ms)
        });
    }

    /// What to take out now that the target is gone; each counts as ended.
    pub fn next_of_deleted(&mut self, now_ms: i64) -> LaneNext {
        let (bound, _) = self.fit(PAGE);
        self.lane.set_limits(limits(bound, false));
        // Whatever is due some day is due now, and no breaker or limiter has a say.
        let mut breaker = Breaker::new(posthaste_domain::policy::breaker::Settings::default(), now_ms);
        let next = self.lane.next(i64::MAX, &mut breaker, None, u32::MAX);
        self.account();
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

    /// An outcome is on disk: of this attempt, if of any.
    pub fn settled(&mut self, key: DeliveryKey, attempt: u32, retry: Option<Box<PendingDelivery>>) {
        // Opened again before this was on disk, so this is what became of it.
        if self.lane.released(key).is_some_and(|again| again.delivery.attempts < attempt) {
            self.lane.withdraw(key);
        }
        let counted = !self.lane.is_cancelled(key);
        match retry {
            Some(delivery) => {
                let (bytes, due_ms) = (weight(&delivery), delivery.delivery.due_ms);
                self.with(|lane| lane.finished(key, Finish::Retry { item: *delivery, bytes, due_ms }));
            }
            None => {
                self.with(|lane| lane.finished(key, Finish::Done));
                self.backlog = self.backlog.saturating_sub(u64::from(counted));
                // What was told twice, or was here with another node before, is counted no longer than there is something.
                self.backlog = self.pending();
            }
        }
    }

    /// Somebody cancelled it.
    pub fn cancelled(&mut self, key: DeliveryKey) {
        let was_counted = self.lane.is_in_flight(key) && !self.lane.is_cancelled(key);
        let was_waiting = self.with(|lane| lane.cancel(key));
        // What is in the journal alone is counted. What is not even there was an open batch, or somebody else was first.
        if was_counted || was_waiting || (!self.lane.is_in_flight(key) && self.lane.spilled()) {
            self.backlog = self.backlog.saturating_sub(1);
        }
    }

    /// Queued deliveries from the journal; `None`: they could not be read.
    pub fn queued_page(&mut self, page: Option<Page>) {
        self.came(page.as_ref());
        self.reading.0 = 0;
        match page {
            Some((page, reached_end)) => self.lane.page_arrived(page.into_iter().map(entry).collect(), reached_end),
            None => self.lane.page_failed(),
        }
        self.account();
    }

    /// Scheduled deliveries from the journal; `None`: they could not be read.
    pub fn scheduled_page(&mut self, page: Option<Page>) {
        self.came(page.as_ref());
        self.reading.1 = 0;
        let scheduled = |delivery: PendingDelivery| {
            let (due_ms, retry) = (delivery.delivery.due_ms, delivery.delivery.attempts > 0);
            Scheduled { entry: entry(delivery), due_ms, retry }
        };
        match page {
            Some((page, reached_end)) => self.lane.scheduled_arrived(page.into_iter().map(scheduled).collect(), reached_end),
            None => self.lane.scheduled_failed(),
        }
        self.account();
    }

    /// Makes ready for a page, and learns how much deliveries weigh.
    fn came(&mut self, page: Option<&Page>) {
        self.fit(PAGE);
        if let Some(last) = page.and_then(|(page, _)| page.last()) {
            self.typical = weight(last);
        }
    }

    /// Whether the lane kept up when it was last looked at.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Looks whether the lane keeps up: its next delivery has not waited for long, and all that waits is in memory.
    pub fn classify(&mut self, now_ms: i64) -> Class {
        let is_late = self.lane.spilled() || self.oldest_ms(now_ms).is_some_and(|oldest_ms| now_ms - oldest_ms > LATE_MS);
        self.class = if is_late { Class::Late } else { Class::Live };
        self.class
    }

    /// Outcomes that are on their way to the disk.
    pub fn settling(&self) -> usize {
        self.lane.settling()
    }

    /// Whether nothing at all is left.
    pub fn is_empty(&self) -> bool {
        self.lane.is_empty()
    }

    /// Whether nothing is left that whoever sends to the target next would have to know: no delivery, no outcome on its way, and nothing that its
    /// rate still counts.
    pub fn is_idle(&self, now_ms: i64) -> bool {
        self.is_empty() && self.settling() == 0 && self.limiter.as_ref().is_none_or(|limiter| limiter.idle_at_ms() <= now_ms)
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
        LaneHealth {
            breaker: breaker.into(),
            backlog: self.pending(),
            in_flight: self.lane.unsettled(),
            oldest_ms: self.oldest_ms(now_ms),
            last_success_ms: self.last_success_ms,
            last_failure_ms: self.last_failure_ms,
            limited_until_ms: self.limited_until_ms,
        }
    }
}

impl Drop for LaneState {
    fn drop(&mut self) {
        self.budget.changed(self.borrowed, 0);
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use posthaste_domain::delivery::Delivery;
    use posthaste_domain::event::{Event, Source};
    use posthaste_domain::id::Sequence;

    use super::*;

    fn delivery(number: i64) -> PendingDelivery {
        let source = Arc::new(Source { via: "test".into(), key: None, ip: None });
        let payload = Bytes::from_static(&[b'x'; 300]);
        let event = Arc::new(Event { sequence: Sequence(number), workspace: 1, type_name: None, payload, source, received_ms: 0 });
        let delivery = Delivery {
            key: DeliveryKey::new(event.sequence, 0),
            workspace: 1,
            subscription: 1,
            target: 1,
            state: DeliveryState::Queued,
            attempts: 0,
            first_attempt_ms: 0,
            due_ms: 0,
            is_batch: false,
            updated_ms: 0,
            received_ms: 0,
        };
        PendingDelivery { delivery, event }
    }

    #[test]
    fn a_busy_lane_borrows_and_one_that_is_held_gives_back() {
        let budget = Arc::new(Budget::new(4 * (300 + OVERHEAD), 100_000));
        let policy = LanePolicy { concurrency: 1, rate: None, fifo: false };
        let mut lane = LaneState::new(1, Arc::clone(&budget), Breaker::new(Default::default(), 0));
        lane.follow(policy, TargetStatus::Active, 0);
        for number in 1..=500 {
            lane.arrived(Arrival { delivery: delivery(number), how: How::Fresh });
        }
        let lent = budget.lent();
        assert!((75_000..=80_000).contains(&lent), "four fifths of the pool, not {lent}");
        assert_eq!(lane.health(0).backlog, 500);
        // Another may still have its share of the rest, and both come to terms.
        let mut other = LaneState::new(1, Arc::clone(&budget), Breaker::new(Default::default(), 0));
        other.follow(policy, TargetStatus::Active, 0);
        for number in 501..=1000 {
            other.arrived(Arrival { delivery: delivery(number), how: How::Fresh });
            lane.trim();
        }
        assert!(budget.lent() < 100_000 && lane.borrowed.abs_diff(other.borrowed) < 40_000, "{} {}", lane.borrowed, other.borrowed);
        lane.follow(policy, TargetStatus::Paused, 0);
        assert!(matches!(lane.next(0, 9), Next::Idle));
        lane.rest();
        assert_eq!((lane.borrowed, budget.lent()), (0, other.borrowed));
        assert_eq!(lane.health(0).backlog, 500, "the rest is in the journal");
        drop((lane, other));
        assert_eq!(budget.lent(), 0);
    }

    #[test]
    fn what_was_told_twice_is_not_counted_for_ever() {
        let policy = LanePolicy { concurrency: 9, rate: None, fifo: true };
        let mut lane = LaneState::new(1, Arc::new(Budget::new(3 * (300 + OVERHEAD), 0)), Breaker::new(Default::default(), 0));
        lane.follow(policy, TargetStatus::Active, 0);
        lane.arrived(Arrival { delivery: delivery(1), how: How::Again });
        let key = delivery(1).delivery.key;
        lane.reread(Reread { workspace: 1, count: 1, lowest: key, last_key: key });
        assert_eq!(lane.health(0).backlog, 2, "as far as is known");
        assert!(matches!(lane.next(0, 9), Next::NeedScheduled { .. }));
        lane.scheduled_page(Some((Vec::new(), true)));
        assert!(matches!(lane.next(0, 9), Next::NeedPage { .. }));
        lane.queued_page(Some((Vec::new(), true)));
        let Next::Run { key, .. } = lane.next(0, 9) else { panic!("it is there") };
        let _ = lane.ended(key, LaneVerdict::Success, 0, 0);
        lane.settled(key, 1, None);
        assert_eq!((lane.health(0).backlog, lane.backlog), (0, 0));
    }

    #[test]
    fn a_lane_is_late_while_its_deliveries_waited() {
        let policy = LanePolicy { concurrency: 9, rate: None, fifo: false };
        let mut lane = LaneState::new(1, Arc::new(Budget::new(3 * (300 + OVERHEAD), 0)), Breaker::new(Default::default(), 0));
        lane.follow(policy, TargetStatus::Active, 0);
        assert_eq!(lane.classify(9_000), Class::Live, "nothing waits");
        for number in 1..=2 {
            lane.arrived(Arrival { delivery: delivery(number), how: How::Fresh });
        }
        assert_eq!(lane.classify(LATE_MS), Class::Live);
        assert_eq!((lane.classify(LATE_MS + 1), lane.class()), (Class::Late, Class::Late), "its first has waited");
        for number in 3..=20 {
            lane.arrived(Arrival { delivery: delivery(number), how: How::Fresh });
        }
        assert_eq!(lane.classify(0), Class::Late, "some are only in the journal");
        let asked = loop {
            match lane.next(0, 9) {
                Next::Run { key, .. } => {
                    let _ = lane.ended(key, LaneVerdict::Success, 0, 0);
                    lane.settled(key, 1, None);
                }
                other => break other,
            }
        };
        assert!(matches!(asked, Next::NeedPage { .. }));
        assert_eq!(lane.room(&asked, 1).items, 1, "what gives way is read in small bites");
        lane.queued_page(Some((Vec::new(), true)));
        assert_eq!(lane.classify(0), Class::Live, "it has caught up");
    }
}
