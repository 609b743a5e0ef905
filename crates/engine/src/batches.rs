//! Open batches: which events gather where, and when a batch is handed to its lane.
//!
//! Invariants (incident 21 of the needs list: a window that closes while an event joins it):
//! - One task alone adds members and closes batches: the committer, or the [`Gatherer`](crate::gatherer) for targets with an owner. A lane gets a
//!   batch only after it is closed, so nothing joins a batch that may have been read to be sent, however long a commit takes.
//! - A lane may still meet an open batch in a page of the journal; [`Gate`] tells it to wait. Where order is kept it stays open until the lane has the
//!   batch: of several that are handed over at once none is sent from a page before the lane knows of all of them.
//! - After a restart no batch is open: those that were are sent when their time comes, and new events open new ones. Where order is kept, those
//!   wait for them, however full they are.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::Batch;
use posthaste_domain::policy::batch::Batcher;
use posthaste_store::BatchPart;

use crate::lanes::{Arrival, How};

/// How far the clocks of two nodes may be apart.
const SKEW_MS: i64 = 250;

/// Knows which batches are open. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    open: Arc<Mutex<HashSet<DeliveryKey>>>,
}

impl Gate {
    /// Whether events may still join this batch.
    pub fn is_open(&self, batch: DeliveryKey) -> bool {
        self.open.lock().contains(&batch)
    }

    /// Nothing joins this batch from now on. `false` if it was not open.
    pub fn close(&self, batch: DeliveryKey) -> bool {
        self.open.lock().remove(&batch)
    }
}

/// An event that joins the batch of its subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub subscription: i64,
    pub target: i64,
    /// When a batch closes.
    pub limits: Batch,
    /// Whether batches are sent in the order in which they were opened.
    pub is_ordered: bool,
    /// The batch's delivery, should this event open it.
    pub key: DeliveryKey,
    /// Bytes of its payload.
    pub bytes: usize,
}

/// A batch that takes no more members.
pub(crate) struct Full {
    pub key: DeliveryKey,
    pub target: i64,
    pub due_ms: i64,
    /// Its delivery, where it is in memory.
    pub delivery: Option<PendingDelivery>,
}

impl Full {
    /// For its lane, which closes the gate behind it.
    pub fn hand(self) -> Option<Arrival> {
        let mut delivery = self.delivery?;
        delivery.delivery.due_ms = self.due_ms;
        Some(Arrival { delivery, how: How::Later(self.due_ms) })
    }
}

/// The delivery of an open batch.
struct First {
    full: Full,
    /// Whether a commit has stored it.
    durable: bool,
}

struct Open {
    batcher: Batcher,
    /// `None` when no batch is open.
    first: Option<First>,
    /// Time and key of the last one that was closed by an event.
    last: (i64, DeliveryKey),
}

/// The open batches of all subscriptions.
pub(crate) struct Batches {
    open: HashMap<i64, Open>,
    /// When the open ones close by time, with their subscriptions.
    due: BTreeSet<(i64, i64)>,
    gate: Gate,
    /// Batches that were open then, and are not here, may not have been sent before their wait is over.
    since_ms: Option<i64>,
}

/// What one group of commits does to batches.
#[derive(Default)]
pub(crate) struct Changes {
    /// For the journal, by target.
    pub parts: Vec<(i64, BatchPart)>,
    closed: Vec<First>,
    /// Subscriptions whose batches gained members.
    touched: HashSet<i64>,
}

impl Changes {
    /// What a batch gains in this group.
    fn part(&mut self, target: i64, batch: DeliveryKey) -> &mut BatchPart {
        // Nearly always the one that was used last.
        let index = self.parts.iter().rposition(|(_, part)| part.batch == batch).unwrap_or_else(|| {
            self.parts.push((target, BatchPart { batch, members: Vec::new(), closed_due_ms: None }));
            self.parts.len() - 1
        });
        &mut self.parts[index].1
    }
}

/// What is left of batches when a group was not stored, or not surely.
#[derive(Default)]
pub(crate) struct Failed {
    /// They were there before, and are closed without what they would have gained.
    pub closed: Vec<Full>,
    /// What is stored of these, by target, has to be looked for. Until then nobody sends them: their gates are open.
    pub unsure: Vec<(i64, DeliveryKey)>,
}

impl Batches {
    /// Behind this gate. `since_ms`: when others may have been open that are not here, if so.
    pub fn new(gate: Gate, since_ms: Option<i64>) -> Self {
        Self { open: HashMap::new(), due: BTreeSet::new(), gate, since_ms }
    }

    /// There may be batches that were open elsewhere until now.
    pub fn took_over(&mut self, now_ms: i64) {
        self.since_ms = Some(now_ms);
    }

    /// Lets an event join its subscription's batch; answers when that is due if the event opened it. `delivery` is asked for its delivery then.
    pub fn join(
        &mut self,
        changes: &mut Changes,
        member: &Member,
        now_ms: i64,
        delivery: impl FnOnce(i64) -> Option<PendingDelivery>,
    ) -> Option<i64> {
        let Member { subscription, target, limits, is_ordered, key, bytes } = *member;
        let gate = &self.gate;
        let open =
            self.open.entry(subscription).or_insert_with(|| Open { batcher: Batcher::new(limits), first: None, last: (0, DeliveryKey(0)) });
        if let Some(cancelled) = open.first.take_if(|first| !gate.is_open(first.full.key)) {
            self.due.remove(&(cancelled.full.due_ms, subscription));
            open.batcher.close();
        }
        open.batcher.set_limits(limits);
        let bytes = bytes.try_into().unwrap_or(u32::MAX);
        let joined = open.batcher.join(key.sequence().0 as u64, bytes, now_ms, || key.0 as u64);
        // What is older goes first, and it is due when its wait is over.
        let wait_ms = i64::try_from(limits.wait.as_millis()).unwrap_or(i64::MAX);
        let others_ms = self.since_ms.filter(|_| is_ordered).map(|since| since.saturating_add(wait_ms).saturating_add(SKEW_MS));
        let earliest_ms = others_ms.map_or(now_ms, |others| now_ms.max(others));
        changes.touched.insert(subscription);
        let last = &mut open.last;
        let mut close = |changes: &mut Changes, first: &mut Option<First>, batch: u64| {
            let Some(mut first) = first.take() else { return };
            self.due.remove(&(first.full.due_ms, subscription));
            // It is not due later for being full.
            first.full.due_ms = if first.durable { earliest_ms.min(first.full.due_ms) } else { earliest_ms };
            // Of two that are due at once the smaller key goes first, which a late event has.
            if is_ordered && (first.full.due_ms, first.full.key) < *last {
                first.full.due_ms = last.0 + i64::from(first.full.key < last.1);
            }
            *last = (first.full.due_ms, first.full.key);
            changes.part(target, DeliveryKey(batch as i64)).closed_due_ms.get_or_insert(first.full.due_ms);
            changes.closed.push(first);
        };
        if let Some(before) = joined.closed_before {
            close(changes, &mut open.first, before.key);
        }
        // Nor is what is not full due before what is.
        let due_ms = if joined.closed { earliest_ms } else { joined.due_ms.max(others_ms.unwrap_or(joined.due_ms)) };
        if joined.opened {
            let full = Full { key, target, due_ms, delivery: delivery(due_ms) };
            self.gate.open.lock().insert(key);
            open.first = Some(First { full, durable: false });
        }
        changes.part(target, DeliveryKey(joined.batch_key as i64)).members.push(key.sequence());
        if joined.closed {
            close(changes, &mut open.first, joined.batch_key);
        } else if joined.opened {
            self.due.insert((due_ms, subscription));
        }
        joined.opened.then_some(due_ms)
    }

    /// The group is on disk: answers the batches that it closed.
    pub fn committed(&mut self, changes: Changes) -> Vec<Full> {
        for subscription in changes.touched {
            if let Some(first) = self.open.get_mut(&subscription).and_then(|open| open.first.as_mut()) {
                first.durable = true;
            }
        }
        changes.closed.into_iter().map(|first| first.full).collect()
    }

    /// The group is not on disk, or it `is_unsure` whether it is. The next events open new batches, which do not overtake these.
    pub fn failed(&mut self, changes: Changes, is_unsure: bool, now_ms: i64) -> Failed {
        let touched = changes.touched.iter().filter_map(|subscription| {
            let first = self.open.remove(subscription)?.first?;
            self.due.remove(&(first.full.due_ms, *subscription));
            Some(first)
        });
        let all: Vec<First> = touched.chain(changes.closed).collect();
        if is_unsure || all.iter().any(|first| first.durable) {
            self.since_ms = Some(now_ms);
        }
        if is_unsure {
            return Failed { unsure: all.iter().map(|first| (first.full.target, first.full.key)).collect(), ..Failed::default() };
        }
        let (durable, lost): (Vec<First>, Vec<First>) = all.into_iter().partition(|first| first.durable);
        for first in lost {
            self.gate.close(first.full.key);
        }
        Failed { closed: durable.into_iter().map(|first| first.full).collect(), ..Failed::default() }
    }

    /// When [`Batches::close_due`] is to be called.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Closes the batches whose time has come.
    pub fn close_due(&mut self, now_ms: i64) -> Vec<Full> {
        let mut closed = Vec::new();
        while let Some(&(due_ms, subscription)) = self.due.first()
            && due_ms <= now_ms
        {
            self.due.pop_first();
            // A subscription without an open batch is no longer remembered: one that ended would be for ever.
            closed.extend(self.open.remove(&subscription).and_then(|open| open.first).map(|first| first.full));
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthaste_domain::id::Sequence;

    use super::*;

    fn member(n: i64, is_ordered: bool) -> Member {
        let limits = Batch { events: 2, bytes: 1_000, wait: Duration::from_millis(500) };
        Member { subscription: 1, target: 7, limits, is_ordered, key: DeliveryKey::new(Sequence(n), 0), bytes: 10 }
    }

    fn join(batches: &mut Batches, changes: &mut Changes, n: i64, is_ordered: bool, now_ms: i64) -> Option<i64> {
        batches.join(changes, &member(n, is_ordered), now_ms, |_| None)
    }

    /// What was open elsewhere until the start is due 500 ms later at most: where order is kept, nothing goes before that.
    #[test]
    fn a_full_batch_waits_for_those_that_were_open_before() {
        for (is_ordered, since_ms, due_ms) in
            [(true, Some(1_000), 1_750), (false, Some(1_000), 1_200), (true, None, 1_200), (true, Some(400), 1_200)]
        {
            let mut batches = Batches::new(Gate::default(), since_ms);
            let mut changes = Changes::default();
            let opened = join(&mut batches, &mut changes, 1, is_ordered, 1_100);
            assert_eq!(opened, Some(if due_ms == 1_750 { 1_750 } else { 1_600 }));
            assert_eq!(join(&mut batches, &mut changes, 2, is_ordered, 1_200), None);
            assert_eq!(changes.parts[0].1.closed_due_ms, Some(due_ms), "{is_ordered}, {since_ms:?}");
            // The next one is not full, and not due before it.
            assert!(join(&mut batches, &mut changes, 3, is_ordered, 1_210).is_some_and(|next_ms| next_ms >= due_ms));
            assert!(batches.next_due_ms().is_some_and(|next_ms| next_ms >= due_ms));
            assert_eq!(batches.committed(changes).iter().map(|full| full.due_ms).collect::<Vec<_>>(), [due_ms]);
        }
    }

    /// Also one that is full with its first event, and one whose first event came late.
    #[test]
    fn batches_of_one_event_keep_their_order() {
        let mut batches = Batches::new(Gate::default(), Some(1_000));
        let mut changes = Changes::default();
        for n in [5, 3, 4] {
            let large = Member { bytes: 1_000, ..member(n, true) };
            assert!(batches.join(&mut changes, &large, 1_100, |_| None).is_some_and(|due_ms| due_ms >= 1_750));
        }
        let closed: Vec<(i64, i64)> = batches.committed(changes).iter().map(|full| (full.due_ms, full.key.sequence().0)).collect();
        assert_eq!(closed, [(1_750, 5), (1_751, 3), (1_751, 4)]);
    }

    /// A batch of which nobody knows what it has is not sent before somebody does, and gains nothing more.
    #[test]
    fn a_batch_in_doubt_stays_open() {
        for is_unsure in [true, false] {
            let gate = Gate::default();
            let mut batches = Batches::new(gate.clone(), None);
            let (mut first, mut second) = (Changes::default(), Changes::default());
            join(&mut batches, &mut first, 1, false, 0);
            assert!(batches.committed(first).is_empty());
            // Fills it, and opens another one.
            join(&mut batches, &mut second, 2, false, 1);
            join(&mut batches, &mut second, 3, false, 1);
            let failed = batches.failed(second, is_unsure, 1);
            let [stored, new] = [1, 3].map(|n| DeliveryKey::new(Sequence(n), 0));
            assert_eq!((gate.is_open(stored), gate.is_open(new)), (true, is_unsure));
            let keys: HashSet<(i64, DeliveryKey)> = failed.unsure.into_iter().collect();
            assert_eq!(keys, if is_unsure { [(7, stored), (7, new)].into() } else { HashSet::new() });
            assert_eq!(failed.closed.iter().map(|full| full.key).collect::<Vec<_>>(), if is_unsure { vec![] } else { vec![stored] });
            assert!(batches.next_due_ms().is_none());
            assert!(join(&mut batches, &mut Changes::default(), 4, false, 2).is_some(), "what comes next opens one");
        }
    }
}
