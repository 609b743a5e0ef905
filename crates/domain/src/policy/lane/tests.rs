//! Lanes against a ledger: a journal that knows the truth, a shell that is as slow and as shuffled as
//! a real one may be, and every delivery counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::Rate;
use crate::policy::breaker::Settings;

fn breaker() -> Breaker {
    Breaker::new(Settings::default(), 0)
}

fn limits(items: usize, bytes: usize, order: Order) -> LaneLimits {
    let bound = Bound { items, bytes };
    LaneLimits { fresh: bound, scheduled: bound, order, head_blocks: true }
}

fn lane(items: usize) -> Lane<u64> {
    Lane::new(limits(items, 1000, Order::None))
}

fn run(lane: &mut Lane<u64>, now_ms: i64) -> Option<u64> {
    match lane.next(now_ms, &mut breaker(), None, 1000) {
        Next::Run { key, item } => {
            assert_eq!(key, item);
            Some(key)
        }
        _ => None,
    }
}

fn retry(key: u64, due_ms: i64) -> Finish<u64> {
    Finish::Retry { item: key, bytes: 1, due_ms }
}

#[test]
fn scheduled_ones_are_not_starved() {
    let mut lane = lane(100);
    for key in 0..30 {
        assert_eq!(lane.push(key, key, 1), Pushed::Queued);
    }
    for key in 100..103 {
        assert_eq!(lane.schedule(key, key, 1, 5), Pushed::Queued);
    }
    let order: Vec<u64> = std::iter::from_fn(|| run(&mut lane, 5)).collect();
    let old: Vec<usize> = (0..order.len()).filter(|index| order[*index] >= 100).collect();
    assert_eq!(old, [7, 15, 23], "one of eight");
    assert_eq!(order.len(), 33);
}

// STDWH-58
#[test]
fn a_success_ends_the_schedule() {
    let mut lane = lane(10);
    lane.push(1, 1, 1);
    assert_eq!(run(&mut lane, 0), Some(1));
    assert!(lane.finished(1, retry(1, 5)));
    assert_eq!(run(&mut lane, 4), None);
    assert_eq!(run(&mut lane, 5), Some(1));
    assert!(lane.finished(1, Finish::Done));
    assert!(lane.is_empty());
    assert_eq!(lane.next(i64::MAX, &mut breaker(), None, 9), Next::Idle);
    assert!(!lane.finished(1, Finish::Done));
}

#[test]
fn in_order_a_waiting_retry_holds_up_the_rest() {
    let mut lane: Lane<u64> = Lane::new(limits(10, 1000, Order::Fifo));
    for key in 1..=3 {
        lane.push(key, key, 1);
    }
    assert_eq!(run(&mut lane, 0), Some(1));
    assert_eq!(run(&mut lane, 0), None, "one in flight");
    lane.finished(1, retry(1, 50));
    assert_eq!(lane.next(0, &mut breaker(), None, 9), Next::WakeAt { at_ms: 50, rate_notice: false });
    assert_eq!(run(&mut lane, 50), Some(1));
    lane.finished(1, Finish::Done);
    assert_eq!(run(&mut lane, 50), Some(2));
    // Unless the owner prefers pace.
    lane.finished(2, retry(2, 99));
    lane.set_limits(LaneLimits { head_blocks: false, ..limits(10, 1000, Order::Fifo) });
    assert_eq!(run(&mut lane, 50), Some(3));
    lane.finished(3, Finish::Done);
    assert_eq!(run(&mut lane, 99), Some(2));
}

/// A retry is due later than what was never tried, and is found in the last page.
#[test]
fn in_order_a_retry_is_looked_for_before_anything_is_run() {
    let mut lane: Lane<u64> = Lane::recovering(limits(10, 1000, Order::Fifo), Some(9), false, true);
    let scheduled = |key, due_ms, retry| Scheduled { entry: Entry { key, item: key, bytes: 1 }, due_ms, retry };
    assert_eq!(lane.next(9, &mut breaker(), None, 9), Next::NeedScheduled { after: None });
    lane.scheduled_arrived(vec![scheduled(2, 1, false), scheduled(3, 1, false)], false);
    assert_eq!(lane.next(9, &mut breaker(), None, 9), Next::NeedScheduled { after: Some((1, 3)) });
    assert_eq!(run(&mut lane, 9), None, "it is being read");
    lane.scheduled_arrived(vec![scheduled(1, 5, true)], false);
    assert_eq!(lane.next(9, &mut breaker(), None, 9), Next::NeedScheduled { after: Some((5, 1)) });
    lane.scheduled_arrived(Vec::new(), true);
    for key in [1, 2, 3] {
        assert_eq!(run(&mut lane, 9), Some(key));
        lane.finished(key, Finish::Done);
    }
}

#[test]
fn a_full_lane_leaves_the_rest_in_the_journal() {
    let mut lane = lane(4);
    for key in 1..=4 {
        assert_eq!(lane.push(key, key, 1), Pushed::Queued);
    }
    assert_eq!(lane.push(5, 5, 1), Pushed::Spilled);
    assert!(lane.spilled());
    assert_eq!(run(&mut lane, 0), Some(1));
    assert_eq!(run(&mut lane, 0), Some(2));
    // Half empty: a page is wanted, but work goes on.
    assert_eq!(lane.next(0, &mut breaker(), None, 9), Next::NeedPage { after_key: Some(4) });
    assert_eq!(run(&mut lane, 0), Some(3));
    assert_eq!(lane.push(6, 6, 1), Pushed::Spilled);
    // The page was read before 6 was committed, so it is not the end.
    lane.page_arrived(vec![Entry { key: 5, item: 5, bytes: 1 }], true);
    assert!(lane.spilled());
    assert_eq!(lane.next(0, &mut breaker(), None, 9), Next::NeedPage { after_key: Some(5) });
    lane.page_failed();
    assert_eq!(lane.next(0, &mut breaker(), None, 9), Next::NeedPage { after_key: Some(5) });
    // 7 is committed, and its push on the way.
    lane.page_arrived(vec![Entry { key: 6, item: 6, bytes: 1 }, Entry { key: 7, item: 7, bytes: 1 }], true);
    assert!(!lane.spilled());
    assert_eq!(lane.push(7, 7, 1), Pushed::Queued);
    assert_eq!(lane.push(7, 7, 1), Pushed::Known);
    assert_eq!(std::iter::from_fn(|| run(&mut lane, 0)).collect::<Vec<_>>(), [4, 5, 6, 7]);
    // Bytes count as well.
    let mut heavy: Lane<u64> = Lane::new(limits(100, 10, Order::None));
    assert_eq!(heavy.push(1, 1, 50), Pushed::Queued, "one is always held");
    assert_eq!(heavy.push(2, 2, 1), Pushed::Spilled);
}

#[test]
fn what_is_taken_over_is_read_even_when_memory_shrinks() {
    let mut lane = lane(4);
    lane.push(5, 5, 1);
    lane.push(9, 9, 1);
    lane.reread(Some(2), 3, 9);
    let one = Bound { items: 1, bytes: 1000 };
    lane.set_bounds(one, one);
    lane.trim();
    assert_eq!(lane.next(0, &mut breaker(), None, 9), Next::NeedScheduled { after: None });
    lane.scheduled_arrived(vec![], true);
    assert_eq!(run(&mut lane, 0), Some(5));
    assert_eq!(lane.next(0, &mut breaker(), None, 9), Next::NeedPage { after_key: Some(2) });
}

#[test]
fn breaker_and_limiter_are_obeyed() {
    let mut lane = lane(10);
    for key in 1..=3 {
        lane.push(key, key, 1);
    }
    let mut breaker = breaker();
    let mut limiter = RateLimiter::new(Rate { limit: 1, per: Duration::from_secs(1) });
    let _ = breaker.pause(0);
    assert_eq!(lane.next(0, &mut breaker, Some(&mut limiter), 9), Next::Idle, "paused holds");
    let _ = breaker.resume(0);
    assert_eq!(lane.next(0, &mut breaker, Some(&mut limiter), 9), Next::Run { key: 1, item: 1 });
    assert_eq!(lane.next(0, &mut breaker, Some(&mut limiter), 9), Next::Idle, "the ramp begins at one");
    lane.finished(1, Finish::Again { item: 1, bytes: 1 });
    breaker.cancelled();
    let limited = lane.next(0, &mut breaker, Some(&mut limiter), 9);
    assert_eq!(limited, Next::WakeAt { at_ms: 1000, rate_notice: true });
    let still = lane.next(1, &mut breaker, Some(&mut limiter), 9);
    assert_eq!(still, Next::WakeAt { at_ms: 1000, rate_notice: false });
    assert_eq!(lane.next(1000, &mut breaker, Some(&mut limiter), 9), Next::Run { key: 1, item: 1 });
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Commit { later: Option<i64> },
    Dispatch,
    Next,
    Settle { which: usize, retry: Option<i64> },
    Tell { which: usize },
    End { which: usize },
    CancelOut { which: usize },
    Read { scheduled: bool, most: usize },
    Deliver { scheduled: bool },
    Lose { scheduled: bool },
    Hasten { which: usize },
    Reopen { which: usize },
    Resize { items: usize, bytes: usize },
    Cancel { which: usize },
    Adopt { first: u64, count: u64, later: Option<i64> },
    Pass(i64),
    Restart,
}

fn steps(wild: bool) -> impl Strategy<Value = Vec<Step>> {
    let only_wild = move |step| if wild { step } else { Step::Next };
    let which = 0..64_usize;
    let step = prop_oneof![
        8 => (0..4, 0..50_i64)
            .prop_map(move |(kind, after)| Step::Commit { later: (wild && kind == 0).then_some(after) }),
        8 => Just(Step::Dispatch),
        14 => Just(Step::Next),
        6 => (which.clone(), proptest::option::of(0..60_i64)).prop_map(|(which, retry)| Step::Settle { which, retry }),
        6 => which.clone().prop_map(|which| Step::Tell { which }),
        4 => which.clone().prop_map(|which| Step::End { which }),
        1 => which.clone().prop_map(move |which| only_wild(Step::CancelOut { which })),
        5 => (any::<bool>(), 1..8_usize).prop_map(|(scheduled, most)| Step::Read { scheduled, most }),
        5 => any::<bool>().prop_map(|scheduled| Step::Deliver { scheduled }),
        1 => any::<bool>().prop_map(|scheduled| Step::Lose { scheduled }),
        1 => which.clone().prop_map(move |which| only_wild(Step::Hasten { which })),
        1 => which.clone().prop_map(move |which| only_wild(Step::Reopen { which })),
        1 => which.prop_map(move |which| only_wild(Step::Cancel { which })),
        1 => (0..40_u64, 1..5_u64, proptest::option::of(0..50_i64))
            .prop_map(move |(first, count, later)| only_wild(Step::Adopt { first, count, later })),
        2 => (1..6_usize, 1..30_usize).prop_map(|(items, bytes)| Step::Resize { items, bytes }),
        3 => (0..40_i64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..250)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Queued,
    Scheduled { due_ms: i64, retry: bool },
    Done,
}

type FreshPage = (Vec<Entry<u64>>, bool);
type ScheduledPage = (Vec<Scheduled<u64>>, bool);

/// The shell, with its journal.
struct World {
    limits: LaneLimits,
    lane: Lane<u64>,
    now_ms: i64,
    journal: BTreeMap<u64, Row>,
    undispatched: Vec<(u64, Row)>,
    /// Being run; `Some` when settled and not yet told.
    out: BTreeMap<u64, Option<Finish<u64>>>,
    /// Those whose attempt is over.
    ended: BTreeSet<u64>,
    /// Put back before their outcome was settled, which is then that of what was put back.
    early: BTreeSet<u64>,
    asked_fresh: Option<Option<u64>>,
    asked_scheduled: Option<Option<(i64, u64)>>,
    fresh_page: Option<FreshPage>,
    scheduled_page: Option<ScheduledPage>,
    done: Vec<u64>,
}

/// Deliveries differ in weight.
fn weight(key: u64) -> usize {
    usize::try_from(key % 5).unwrap() + 1
}

fn entry(key: u64) -> Entry<u64> {
    Entry { key, item: key, bytes: weight(key) }
}

fn pick<T: Copy>(all: &[T], which: usize) -> Option<T> {
    all.get(which % all.len().max(1)).copied()
}

impl World {
    fn new(limits: LaneLimits) -> Self {
        Self {
            limits,
            lane: Lane::new(limits),
            now_ms: 0,
            journal: BTreeMap::new(),
            undispatched: vec![],
            out: BTreeMap::new(),
            ended: BTreeSet::new(),
            early: BTreeSet::new(),
            asked_fresh: None,
            asked_scheduled: None,
            fresh_page: None,
            scheduled_page: None,
            done: vec![],
        }
    }

    fn last_key(&self) -> u64 {
        self.journal.keys().next_back().copied().unwrap_or_default()
    }

    fn busy(&self) -> BTreeSet<u64> {
        self.out.keys().copied().chain(self.undispatched.iter().map(|(key, _)| *key)).collect()
    }

    fn keys(&self, wanted: impl Fn(u64, Row) -> bool) -> Vec<u64> {
        self.journal.iter().filter(|(key, row)| wanted(**key, **row)).map(|(key, _)| *key).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit { later } => {
                // Some numbers are another machine's.
                let last = self.last_key();
                let key = last + 1 + last % 3;
                let row = match later {
                    Some(after) => Row::Scheduled { due_ms: self.now_ms + after, retry: false },
                    None => Row::Queued,
                };
                self.journal.insert(key, row);
                self.undispatched.push((key, row));
            }
            Step::Dispatch if !self.undispatched.is_empty() => match self.undispatched.remove(0) {
                (key, Row::Scheduled { due_ms, .. }) => {
                    self.lane.schedule(key, key, weight(key), due_ms);
                }
                (key, _) => {
                    self.lane.push(key, key, weight(key));
                }
            },
            Step::Next => {
                let _ = self.next();
            }
            Step::Resize { items, bytes } => {
                let bound = Bound { items, bytes };
                (self.limits.fresh, self.limits.scheduled) = (bound, bound);
                self.lane.set_bounds(bound, bound);
                self.lane.trim();
            }
            Step::Settle { which, retry } => {
                let running: Vec<u64> = self.out.iter().filter(|(_, told)| told.is_none()).map(|(key, _)| *key).collect();
                let Some(key) = pick(&running, which) else { return };
                if self.ended.insert(key) {
                    assert!(self.lane.ended(key));
                }
                let finish = match retry {
                    // The journal ignores outcomes of what is done.
                    Some(after) if self.journal[&key] == Row::Done => {
                        Finish::Retry { item: key, bytes: weight(key), due_ms: self.now_ms + after }
                    }
                    None => {
                        self.journal.insert(key, Row::Done);
                        self.done.push(key);
                        Finish::Done
                    }
                    Some(59) => Finish::Again { item: key, bytes: weight(key) },
                    Some(after) => {
                        let due_ms = self.now_ms + after;
                        self.journal.insert(key, Row::Scheduled { due_ms, retry: true });
                        Finish::Retry { item: key, bytes: weight(key), due_ms }
                    }
                };
                self.out.insert(key, Some(finish));
            }
            Step::Tell { which } => {
                let settled: Vec<u64> = self.out.iter().filter(|(_, told)| told.is_some()).map(|(key, _)| *key).collect();
                let Some(key) = pick(&settled, which) else { return };
                let finish = self.out.remove(&key).flatten().unwrap();
                self.ended.remove(&key);
                if self.early.remove(&key) {
                    self.lane.withdraw(key);
                }
                assert!(self.lane.finished(key, finish));
            }
            Step::End { which } => {
                let running: Vec<u64> = self.out.keys().copied().collect();
                let Some(key) = pick(&running, which) else { return };
                assert_eq!(self.lane.ended(key), self.ended.insert(key));
            }
            Step::CancelOut { which } => {
                // Committed while the attempt is out: whatever comes of that, it is done.
                let running: Vec<u64> = self.out.keys().copied().filter(|key| self.journal[key] != Row::Done).collect();
                let Some(key) = pick(&running, which) else { return };
                self.journal.insert(key, Row::Done);
                assert!(!self.lane.cancel(key));
            }
            Step::Read { scheduled: false, most } => {
                let Some(after) = self.asked_fresh.take() else { return };
                let all = self.keys(|key, row| row == Row::Queued && after.is_none_or(|after| key > after));
                let page = all.iter().take(most).map(|key| entry(*key)).collect();
                self.fresh_page = Some((page, all.len() <= most));
            }
            Step::Read { scheduled: true, most } => {
                let Some(after) = self.asked_scheduled.take() else { return };
                let mut all: Vec<Scheduled<u64>> = self
                    .journal
                    .iter()
                    .filter_map(|(key, row)| match row {
                        Row::Scheduled { due_ms, retry } => Some(Scheduled { entry: entry(*key), due_ms: *due_ms, retry: *retry }),
                        _ => None,
                    })
                    .filter(|row| after.is_none_or(|after| (row.due_ms, row.entry.key) > after))
                    .collect();
                all.sort_by_key(|row| (row.due_ms, row.entry.key));
                let end = all.len() <= most;
                all.truncate(most);
                self.scheduled_page = Some((all, end));
            }
            Step::Deliver { scheduled: false } => {
                if let Some((page, end)) = self.fresh_page.take() {
                    self.lane.page_arrived(page, end);
                }
            }
            Step::Deliver { scheduled: true } => {
                if let Some((page, end)) = self.scheduled_page.take() {
                    self.lane.scheduled_arrived(page, end);
                }
            }
            Step::Lose { scheduled: false } => {
                if self.fresh_page.take().is_some() {
                    self.lane.page_failed();
                }
            }
            Step::Lose { scheduled: true } => {
                if self.scheduled_page.take().is_some() {
                    self.lane.scheduled_failed();
                }
            }
            Step::Hasten { which } => {
                let busy = self.busy();
                let waiting = self.keys(|key, row| matches!(row, Row::Scheduled { retry: false, .. }) && !busy.contains(&key));
                let Some(key) = pick(&waiting, which) else { return };
                self.journal.insert(key, Row::Scheduled { due_ms: self.now_ms, retry: false });
                self.lane.schedule(key, key, weight(key), self.now_ms);
            }
            Step::Reopen { which } => {
                let done = self.keys(|_, row| row == Row::Done);
                let Some(key) = pick(&done, which) else { return };
                if self.out.get(&key).is_some_and(Option::is_none) {
                    self.early.insert(key);
                } else {
                    self.early.remove(&key);
                }
                self.journal.insert(key, Row::Queued);
                self.lane.release(key, key, weight(key));
            }
            Step::Cancel { which } => {
                let busy = self.busy();
                let waiting = self.keys(|key, row| row != Row::Done && !busy.contains(&key));
                let Some(key) = pick(&waiting, which) else { return };
                self.journal.insert(key, Row::Done);
                self.lane.cancel(key);
            }
            Step::Adopt { first, count, later } => {
                // Whoever takes something over has pushed all of its own before, and pushes above it from now on.
                while !self.undispatched.is_empty() {
                    self.step(Step::Dispatch);
                }
                let free: Vec<u64> = (first + 1..).filter(|key| !self.journal.contains_key(key)).take(count as usize).collect();
                let row = later.map_or(Row::Queued, |after| Row::Scheduled { due_ms: self.now_ms + after, retry: after % 2 == 0 });
                self.journal.extend(free.iter().map(|key| (*key, row)));
                let below = Some(free[0] - 1).filter(|below| *below > 0);
                self.lane.reread(below, free[0], self.last_key());
            }
            Step::Pass(millis) => self.now_ms += millis,
            Step::Restart => {
                let (journal, done) = (std::mem::take(&mut self.journal), std::mem::take(&mut self.done));
                let last = journal.keys().next_back().copied();
                let lane = Lane::recovering(self.limits, last, true, true);
                *self = Self { journal, done, now_ms: self.now_ms, lane, ..Self::new(self.limits) };
            }
            Step::Dispatch => {}
        }
        let (items, bytes) = (self.limits.scheduled.items, self.limits.scheduled.bytes + 5);
        assert!(self.lane.waiting() <= 3 * items.max(1), "{} wait", self.lane.waiting());
        let (fresh, scheduled) = self.lane.weights();
        assert!(fresh <= bytes && scheduled <= bytes, "{fresh} and {scheduled} bytes");
    }

    /// Whether something came of it; otherwise when to ask again.
    fn next(&mut self) -> Result<(), Option<i64>> {
        match self.lane.next(self.now_ms, &mut breaker(), None, 4) {
            Next::Run { key, item } => {
                assert_eq!(key, item);
                match self.journal[&key] {
                    Row::Queued => {}
                    Row::Scheduled { due_ms, .. } => assert!(due_ms <= self.now_ms, "{key} too early"),
                    Row::Done => panic!("{key} run again after it was done"),
                }
                assert!(self.out.insert(key, None).is_none(), "{key} run twice at once");
                assert!(self.out.len() - self.ended.len() <= 4);
                assert!(self.limits.order == Order::None || self.out.len() == 1, "out of order");
            }
            Next::NeedPage { after_key } => {
                assert!(self.asked_fresh.replace(after_key).is_none() && self.fresh_page.is_none(), "asked twice");
            }
            Next::NeedScheduled { after } => {
                assert!(self.asked_scheduled.replace(after).is_none() && self.scheduled_page.is_none(), "asked twice");
            }
            Next::WakeAt { at_ms, .. } => {
                assert!(at_ms > self.now_ms);
                return Err(Some(at_ms));
            }
            Next::Idle => return Err(None),
        }
        Ok(())
    }

    /// Lets everything happen that can.
    fn drain(&mut self) {
        for _ in 0..100_000 {
            if let Err(wake) = self.next() {
                let before = (self.undispatched.len(), self.out.len(), self.asked_fresh, self.asked_scheduled);
                let pages = self.fresh_page.is_some() || self.scheduled_page.is_some();
                self.step(Step::Dispatch);
                self.step(Step::Settle { which: 0, retry: None });
                self.step(Step::Tell { which: 0 });
                for scheduled in [false, true] {
                    self.step(Step::Read { scheduled, most: 3 });
                    self.step(Step::Deliver { scheduled });
                }
                if !pages && before == (0, 0, None, None) {
                    match wake {
                        Some(at_ms) => self.now_ms = at_ms,
                        None => return,
                    }
                }
            }
        }
        panic!("does not come to an end");
    }
}

fn any_limits(order: Order) -> impl Strategy<Value = LaneLimits> {
    (1..6_usize, 1..30_usize).prop_map(move |(items, bytes)| limits(items, bytes, order))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever the interleaving: nothing is lost, nothing run twice, memory is bounded.
    #[test]
    fn the_ledger_is_exact(limits in any_limits(Order::None), steps in steps(true)) {
        let mut world = World::new(limits);
        for step in steps {
            world.step(step);
        }
        world.drain();
        prop_assert_eq!(world.keys(|_, row| row != Row::Done), [] as [u64; 0], "lost");
        prop_assert!(world.lane.is_empty());
    }

    /// In order: deliveries end in the order of their keys, over retries, pages and restarts.
    #[test]
    fn fifo_is_in_order(limits in any_limits(Order::Fifo), steps in steps(false)) {
        let mut world = World::new(limits);
        for step in steps {
            world.step(step);
        }
        world.drain();
        let all: Vec<u64> = world.journal.keys().copied().collect();
        prop_assert_eq!(world.done, all);
    }
}
