//! The lane of one target: which of its deliveries is next.
//!
//! A lane holds two queues in bounded memory: *fresh* deliveries, ordered by key, and *scheduled*
//! ones (retries, sends for later, open batches), ordered by `(due, key)`. What does not fit stays in
//! the journal, where it is anyway, and is read back in pages. Besides, it knows what is in flight.
//!
//! The shell is a loop around [`Lane::next`]: it runs what it is given, reads the pages it is asked
//! for, sleeps until a time, or, at [`Next::Idle`], until something happens: a push, a finished
//! attempt, a page, a resumed target.
//!
//! # Which is next
//!
//! The breaker is asked first, the rate limiter last: a take that is not used would be a lost one. Fresh
//! deliveries go before scheduled ones that are due, except that after seven fresh in a row one that is
//! due goes first: a target that has just recovered must not bury its live traffic under old, nor the
//! old for ever. With [`Order::Fifo`] one is in flight, and while a retry waits nothing overtakes
//! it, unless [`LaneLimits::head_blocks`] is off: what is scheduled is read before anything is run. (After a restart with more of that than
//! memory holds, a retry that is due later may be overtaken.)
//!
//! # What the shell has to keep
//!
//! - [`Lane::push`] and [`Lane::schedule`] come after the commit and in the order of keys, from the one
//!   place that commits. Until then a page that shows the delivery is ahead of them: the lane
//!   passes over keys above all that it was told of.
//! - [`Lane::ended`] comes when the attempt is over, and before its outcome is settled in the journal: a place that waits for the disk is not held
//!   against the policy's concurrency. [`Lane::finished`] comes after that.
//! - A page is read after it is asked for, in order of position, from directly after the one given.
//!
//! Then: every delivery handed to the lane is run, none is run twice at once nor again after it is
//! done, memory stays within the bounds plus what is in flight, whatever the interleaving of
//! pages, pushes and outcomes. The ledger of `lane/tests.rs` checks just that.

mod fair;
mod pace;
mod queue;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet};

pub use fair::{Class, Fair, FairSettings};
pub use pace::{Pace, PaceSettings, Room};
pub use queue::Bound;
pub use types::{Entry, Finish, LaneLimits, Next, Pushed, Scheduled};

use self::queue::{Held, Queue};
use super::Order;
use super::breaker::{Breaker, Permit};
use super::limiter::RateLimiter;

/// Fresh deliveries that may start in a row while a scheduled one is due.
const FRESH_IN_A_ROW: u8 = 7;

/// State of one target's lane. See the module page.
#[derive(Debug)]
pub struct Lane<T, K = u64> {
    limits: LaneLimits,
    fresh: Queue<K, T>,
    scheduled: Queue<(i64, K), T>,
    /// Due time of each key in `scheduled`.
    due: BTreeMap<K, i64>,
    /// Retries that hold up the rest, with their due times.
    heads: BTreeMap<K, (i64, Held<T>)>,
    in_flight: BTreeMap<K, Flight<T>>,
    /// How many of `in_flight` have ended and are being settled.
    settling: usize,
    /// Keys that moved or left while a page of fresh ones was being read, which may show them where
    /// they were.
    gone_fresh: BTreeSet<K>,
    /// The same for a page of scheduled ones.
    gone_scheduled: BTreeSet<K>,
    /// The highest key that the lane was told of; its pushes are still to come for those above.
    horizon: Option<K>,
    fresh_in_a_row: u8,
}

impl<T, K: Ord + Copy> Lane<T, K> {
    /// An empty lane of a target that has nothing in the journal.
    #[must_use]
    pub fn new(limits: LaneLimits) -> Self {
        Self::recovering(limits, None, false, false)
    }

    /// An empty lane of a target that has, or may have, `queued` and `scheduled` deliveries in the
    /// journal: it begins by asking for pages. `last_key` is not below any of theirs; deliveries
    /// above it will be pushed.
    #[must_use]
    pub fn recovering(limits: LaneLimits, last_key: Option<K>, queued: bool, scheduled: bool) -> Self {
        Self {
            limits,
            fresh: Queue::new(limits.fresh, queued),
            scheduled: Queue::new(limits.scheduled, scheduled),
            due: BTreeMap::new(),
            heads: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            settling: 0,
            gone_fresh: BTreeSet::new(),
            gone_scheduled: BTreeSet::new(),
            horizon: last_key,
            fresh_in_a_row: 0,
        }
    }

    /// There are deliveries in the journal that nobody will push: those of a machine that is gone, say. None of their keys is below `lowest`, and
    /// `after` is a key below it. `last_key` is not below any of theirs, nor below any that was pushed; all that will be pushed lie above it.
    pub fn reread(&mut self, after: Option<K>, lowest: K, last_key: K) {
        self.horizon = self.horizon.max(Some(last_key));
        self.fresh.reread(after, lowest);
        // Their times are not known.
        self.scheduled.reread(None, (i64::MIN, lowest));
    }

    /// Follows a changed policy. Bounds take effect with the next delivery that comes in.
    pub fn set_limits(&mut self, limits: LaneLimits) {
        self.limits = limits;
        self.fresh.set_bound(limits.fresh);
        self.scheduled.set_bound(limits.scheduled);
        if !self.head_blocks() {
            for (key, (due_ms, held)) in std::mem::take(&mut self.heads) {
                self.put_scheduled(key, held, due_ms);
            }
        }
    }

    /// Follows a bound of memory that moves. It takes effect with the next delivery that comes in, or with [`Lane::trim`].
    pub fn set_bounds(&mut self, fresh: Bound, scheduled: Bound) {
        (self.limits.fresh, self.limits.scheduled) = (fresh, scheduled);
        self.fresh.set_bound(fresh);
        self.scheduled.set_bound(scheduled);
    }

    /// Leaves to the journal what is above the bounds; at least one of each queue stays.
    pub fn trim(&mut self) {
        self.fresh.trim();
        for (_, evicted) in self.scheduled.trim() {
            self.due.remove(&evicted);
        }
    }

    /// Takes in a delivery that has just been committed.
    pub fn push(&mut self, item: T, key: K, bytes: usize) -> Pushed {
        self.horizon = self.horizon.max(Some(key));
        self.put_fresh(key, Held { item, bytes })
    }

    /// Takes in a delivery that was put back to be sent now, whatever its age: a resend, or one
    /// whose time was moved to now. The journal has it as queued.
    pub fn release(&mut self, item: T, key: K, bytes: usize) -> Pushed {
        self.horizon = self.horizon.max(Some(key));
        self.left(key);
        if let Some(flight) = self.in_flight.get_mut(&key) {
            if std::mem::take(&mut flight.cancelled) && !flight.ended {
                // It was cancelled and put back while it is under way: that attempt is the one that was asked for, and settles it.
                return Pushed::Known;
            }
            // It was put back after its outcome was settled and before we were told of that.
            flight.released = Some(Held { item, bytes });
            return Pushed::Queued;
        }
        self.put_fresh(key, Held { item, bytes })
    }

    /// Takes in a delivery that is due at `due_ms`, or moves it there: a send for later, or a batch.
    /// The journal has it as scheduled for that time.
    pub fn schedule(&mut self, item: T, key: K, bytes: usize, due_ms: i64) -> Pushed {
        self.horizon = self.horizon.max(Some(key));
        self.left(key);
        if self.busy(&key) {
            return Pushed::Known;
        }
        self.unschedule(key);
        self.put_scheduled(key, Held { item, bytes }, due_ms)
    }

    /// What to do now. `concurrency` is the policy's.
    pub fn next(&mut self, now_ms: i64, breaker: &mut Breaker, limiter: Option<&mut RateLimiter>, concurrency: u32) -> Next<T, K> {
        let fifo = self.limits.order == Order::Fifo;
        if fifo && self.settling > 0 {
            // What is being settled may come back as the head.
            return Next::Idle;
        }
        match breaker.permits(self.in_flight(), if fifo { 1 } else { concurrency }, now_ms) {
            Permit::Now => {}
            Permit::Wait { until_ms: Some(at_ms) } => return Next::WakeAt { at_ms, rate_notice: false },
            Permit::Wait { until_ms: None } | Permit::Held => return Next::Idle,
        }
        if let Some(after) = self.scheduled.ask() {
            return Next::NeedScheduled { after };
        }
        if let Some(after_key) = self.fresh.ask() {
            return Next::NeedPage { after_key };
        }
        let from = match self.choose(now_ms) {
            Choice::At(at_ms) => return Next::WakeAt { at_ms, rate_notice: false },
            Choice::Nothing => return Next::Idle,
            Choice::Take(from) => from,
        };
        if let Some(Err(wait)) = limiter.map(|limiter| limiter.take(now_ms)) {
            return Next::WakeAt { at_ms: wait.until_ms, rate_notice: wait.notice };
        }
        let Some((key, item)) = self.take(from) else { return Next::Idle };
        breaker.started(now_ms);
        Next::Run { key, item }
    }

    fn choose(&self, now_ms: i64) -> Choice {
        if let Some((due_ms, _)) = self.heads.values().next() {
            return if *due_ms <= now_ms { Choice::Take(From::Heads) } else { Choice::At(*due_ms) };
        }
        if self.head_blocks() && self.scheduled.wants_more() {
            // A retry may be among what is being read, and go before all others, though it is due last.
            return Choice::Nothing;
        }
        let next_due_ms = self.scheduled.first().map(|(due_ms, _)| *due_ms);
        let due = next_due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        match next_due_ms {
            _ if !self.fresh.is_empty() && (!due || self.fresh_in_a_row < FRESH_IN_A_ROW) => Choice::Take(From::Fresh),
            Some(_) if due => Choice::Take(From::Scheduled),
            Some(due_ms) => Choice::At(due_ms),
            None => Choice::Nothing,
        }
    }

    fn take(&mut self, from: From) -> Option<(K, T)> {
        let (key, held, origin) = match from {
            From::Heads => {
                let (key, (due_ms, held)) = self.heads.pop_first()?;
                (key, held, Origin::Scheduled(due_ms))
            }
            From::Fresh => {
                self.fresh_in_a_row = self.fresh_in_a_row.saturating_add(1);
                let (key, held) = self.fresh.pop()?;
                (key, held, Origin::Fresh)
            }
            From::Scheduled => {
                self.fresh_in_a_row = 0;
                let ((due_ms, key), held) = self.scheduled.pop()?;
                self.due.remove(&key);
                (key, held, Origin::Scheduled(due_ms))
            }
        };
        self.in_flight.insert(key, Flight { origin, released: None, ended: false, cancelled: false });
        Some((key, held.item))
    }

    /// An attempt has ended and its outcome is about to be settled: another may start in its place. `false` if `key` was not in
    /// flight. Calling it before [`Lane::finished`] is a choice.
    pub fn ended(&mut self, key: K) -> bool {
        let Some(flight) = self.in_flight.get_mut(&key).filter(|flight| !flight.ended) else { return false };
        flight.ended = true;
        self.settling += 1;
        true
    }

    /// An attempt has ended and its outcome is settled. `false` if `key` was not in flight.
    pub fn finished(&mut self, key: K, finish: Finish<T>) -> bool {
        let Some(Flight { origin, released, ended, cancelled }) = self.in_flight.remove(&key) else { return false };
        self.settling -= usize::from(ended);
        self.left(key);
        let finish = if cancelled || released.is_some() { Finish::Done } else { finish };
        match (finish, origin) {
            (Finish::Done, _) => {
                if let Some(held) = released {
                    self.put_fresh(key, held);
                }
            }
            (Finish::Retry { item, bytes, due_ms }, _) | (Finish::Again { item, bytes }, Origin::Scheduled(due_ms)) => {
                self.put_retry(key, Held { item, bytes }, due_ms);
            }
            (Finish::Again { item, bytes }, Origin::Fresh) => {
                self.put_fresh(key, Held { item, bytes });
            }
        }
        true
    }

    /// A delivery is not to be sent any more. `false` if it is not waiting in memory: it may be only in the journal, or in flight,
    /// and is then not tried again.
    pub fn cancel(&mut self, key: K) -> bool {
        if let Some(flight) = self.in_flight.get_mut(&key) {
            flight.cancelled = true;
            flight.released = None;
        }
        let found = self.unschedule(key) | self.fresh.remove(&key) | self.heads.remove(&key).is_some();
        self.left(key);
        found
    }

    /// What was put back while its outcome was being settled, and waits for that.
    #[must_use]
    pub fn released(&self, key: K) -> Option<&T> {
        self.in_flight.get(&key).and_then(|flight| flight.released.as_ref()).map(|held| &held.item)
    }

    /// The outcome that is being settled came after it was put back, so it is the outcome of that: what waits for it is not sent once more.
    pub fn withdraw(&mut self, key: K) {
        if let Some(flight) = self.in_flight.get_mut(&key) {
            flight.released = None;
        }
    }

    /// Whether it is out, or its outcome is being settled.
    #[must_use]
    pub fn is_in_flight(&self, key: K) -> bool {
        self.in_flight.contains_key(&key)
    }

    /// Whether it was cancelled while it is in flight.
    #[must_use]
    pub fn is_cancelled(&self, key: K) -> bool {
        self.in_flight.get(&key).is_some_and(|flight| flight.cancelled)
    }

    /// Fresh deliveries were read, ascending by key. `reached_end`: the journal had no more (an empty
    /// page always means that).
    pub fn page_arrived(&mut self, page: Vec<Entry<T, K>>, reached_end: bool) {
        let reached_end = reached_end || page.is_empty();
        let Some(mut arrival) = self.fresh.arrival() else { return };
        for Entry { key, item, bytes } in page {
            let known = self.known(&key) || self.gone_fresh.contains(&key);
            if !self.fresh.admit(&mut arrival, key, Held { item, bytes }, known) {
                break;
            }
        }
        self.fresh.arrived(arrival, reached_end);
        self.gone_fresh.clear();
    }

    /// A page of fresh deliveries could not be read; [`Lane::next`] will ask again.
    pub fn page_failed(&mut self) {
        self.fresh.arrival();
        self.gone_fresh.clear();
    }

    /// Scheduled deliveries were read, ascending by `(due_ms, key)`. `reached_end` as for
    /// [`Lane::page_arrived`].
    pub fn scheduled_arrived(&mut self, page: Vec<Scheduled<T, K>>, reached_end: bool) {
        let reached_end = reached_end || page.is_empty();
        let Some(mut arrival) = self.scheduled.arrival() else { return };
        for Scheduled { entry: Entry { key, item, bytes }, due_ms, retry } in page {
            let known = self.known(&key) || self.gone_scheduled.contains(&key);
            let head = retry && !known && self.room_for_head();
            let mut held = Some(Held { item, bytes });
            if head {
                if !self.scheduled.cover(&mut arrival, (due_ms, key)) {
                    break;
                }
                self.heads.extend(held.take().map(|held| (key, (due_ms, held))));
            } else if let Some(held) = held {
                if !self.scheduled.admit(&mut arrival, (due_ms, key), held, known) {
                    break;
                }
                if !known {
                    self.due.insert(key, due_ms);
                }
            }
        }
        self.scheduled.arrived(arrival, reached_end);
        self.gone_scheduled.clear();
    }

    /// A page of scheduled deliveries could not be read; [`Lane::next`] will ask again.
    pub fn scheduled_failed(&mut self) {
        self.scheduled.arrival();
        self.gone_scheduled.clear();
    }

    /// How many attempts are out, without those that have ended and are being settled.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.in_flight.len() - self.settling).unwrap_or(u32::MAX)
    }

    /// How many outcomes are being settled.
    #[must_use]
    pub fn settling(&self) -> usize {
        self.settling
    }

    /// How many deliveries are out: their attempts run, or their outcomes are being settled. A crash now could make these happen twice.
    #[must_use]
    pub fn unsettled(&self) -> u32 {
        u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)
    }

    /// The fresh delivery in memory that is next.
    #[must_use]
    pub fn first_fresh(&self) -> Option<&T> {
        self.fresh.first_item()
    }

    /// When the first scheduled delivery in memory is due.
    #[must_use]
    pub fn first_due_ms(&self) -> Option<i64> {
        let head = self.heads.values().map(|(due_ms, _)| *due_ms).min();
        let scheduled = self.scheduled.first().map(|(due_ms, _)| *due_ms);
        head.into_iter().chain(scheduled).min()
    }

    /// How many deliveries wait in memory.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.fresh.len() + self.scheduled.len() + self.heads.len()
    }

    /// Weight of the fresh and of the scheduled deliveries in memory. Retries that hold up the rest, as a rule one, are not counted.
    #[must_use]
    pub fn weights(&self) -> (usize, usize) {
        (self.fresh.bytes(), self.scheduled.bytes())
    }

    /// Whether some deliveries are only in the journal.
    #[must_use]
    pub fn spilled(&self) -> bool {
        self.fresh.spilled() || self.scheduled.spilled()
    }

    /// Whether the lane has nothing at all: it can be dropped and made anew when something comes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.in_flight.is_empty() && !self.spilled()
    }

    fn head_blocks(&self) -> bool {
        self.limits.order == Order::Fifo && self.limits.head_blocks
    }

    /// One head is the rule; more are found when order is switched on while retries wait.
    fn room_for_head(&self) -> bool {
        self.head_blocks() && self.heads.len() < self.limits.scheduled.items.max(1)
    }

    fn put_retry(&mut self, key: K, held: Held<T>, due_ms: i64) {
        if self.room_for_head() {
            self.heads.insert(key, (due_ms, held));
        } else {
            self.put_scheduled(key, held, due_ms);
        }
    }

    fn put_scheduled(&mut self, key: K, held: Held<T>, due_ms: i64) -> Pushed {
        self.due.insert(key, due_ms);
        for (_, evicted) in self.scheduled.put((due_ms, key), held) {
            self.due.remove(&evicted);
        }
        if self.due.contains_key(&key) { Pushed::Queued } else { Pushed::Spilled }
    }

    fn unschedule(&mut self, key: K) -> bool {
        self.due.remove(&key).is_some_and(|due_ms| self.scheduled.remove(&(due_ms, key)))
    }

    fn put_fresh(&mut self, key: K, held: Held<T>) -> Pushed {
        if self.busy(&key) {
            return Pushed::Known;
        }
        self.unschedule(key);
        self.fresh.put(key, held);
        if self.fresh.contains(&key) { Pushed::Queued } else { Pushed::Spilled }
    }

    /// Running, or about to run.
    fn busy(&self, key: &K) -> bool {
        self.in_flight.contains_key(key) || self.fresh.contains(key) || self.heads.contains_key(key)
    }

    /// Not for a page to bring.
    fn known(&self, key: &K) -> bool {
        self.busy(key) || self.due.contains_key(key) || self.horizon.is_none_or(|horizon| *key > horizon)
    }

    /// `key` is no longer where a page that is being read may show it.
    fn left(&mut self, key: K) {
        if self.fresh.asked() {
            self.gone_fresh.insert(key);
        }
        if self.scheduled.asked() {
            self.gone_scheduled.insert(key);
        }
    }
}

enum Choice {
    Take(From),
    At(i64),
    Nothing,
}

#[derive(Clone, Copy)]
enum From {
    Heads,
    Fresh,
    Scheduled,
}

#[derive(Debug, Clone, Copy)]
enum Origin {
    Fresh,
    Scheduled(i64),
}

/// A delivery that is being run.
#[derive(Debug)]
struct Flight<T> {
    origin: Origin,
    /// It was put back meanwhile.
    released: Option<Held<T>>,
    /// Its outcome is being settled.
    ended: bool,
    /// It is not to be tried again.
    cancelled: bool,
}
