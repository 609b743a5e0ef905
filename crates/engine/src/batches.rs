//! Open batches: which events gather where, and when a batch is handed to its lane.
//!
//! Invariants (incident 21 of the needs list: a window that closes while an event joins it):
//! - The committer alone adds members and closes batches. A lane gets a batch only after it is closed, so nothing joins a batch
//!   that may have been read to be sent, however long a commit takes.
//! - A lane may still meet an open batch in a page of the journal; [`Gate`] tells it to wait.
//! - After a restart no batch is open: those that were are sent when their time comes, and new events open new ones.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use posthaste_domain::delivery::{Delivery, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::Batch;
use posthaste_domain::policy::batch::Batcher;
use posthaste_store::{BatchPart, NewDelivery};

use crate::accept::pending;
use crate::lanes::{Arrival, How};
use crate::routing::SubscriptionRoute;

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

/// A batch's delivery on its way to its lane.
struct First {
    delivery: PendingDelivery,
    due_ms: i64,
    /// Whether a commit has stored it.
    durable: bool,
}

struct Open {
    batcher: Batcher,
    /// `None` when no batch is open.
    first: Option<First>,
}

/// The open batches of all subscriptions.
#[derive(Default)]
pub(crate) struct Batches {
    open: HashMap<i64, Open>,
    /// When the open ones close by time, with their subscriptions.
    due: BTreeSet<(i64, i64)>,
    gate: Gate,
}

/// What one group of commits does to batches.
#[derive(Default)]
pub(crate) struct Changes {
    /// For the journal.
    pub parts: Vec<BatchPart>,
    closed: Vec<First>,
    /// Subscriptions whose batches gained members.
    touched: HashSet<i64>,
}

impl Changes {
    /// What a batch gains in this group.
    fn part(&mut self, batch: DeliveryKey) -> &mut BatchPart {
        // Nearly always the one that was used last.
        let index = self.parts.iter().rposition(|part| part.batch == batch).unwrap_or_else(|| {
            self.parts.push(BatchPart { batch, members: Vec::new(), closed_due_ms: None });
            self.parts.len() - 1
        });
        &mut self.parts[index]
    }
}

impl Batches {
    /// Batches behind this gate.
    pub fn new(gate: Gate) -> Self {
        Self { gate, ..Self::default() }
    }

    /// Lets an event join its subscription's batch; answers the new batch's delivery when it opened one, under `key`.
    pub fn join(
        &mut self,
        changes: &mut Changes,
        subscription: &SubscriptionRoute,
        limits: Batch,
        event: &Arc<Event>,
        key: DeliveryKey,
        now_ms: i64,
    ) -> Option<NewDelivery> {
        let number = subscription.number;
        let gate = &self.gate;
        let open = self.open.entry(number).or_insert_with(|| Open { batcher: Batcher::new(limits), first: None });
        if let Some(cancelled) = open.first.take_if(|first| !gate.is_open(first.delivery.delivery.key)) {
            self.due.remove(&(cancelled.due_ms, number));
            open.batcher.close();
        }
        open.batcher.set_limits(limits);
        let bytes = event.payload.len().try_into().unwrap_or(u32::MAX);
        let joined = open.batcher.join(event.sequence.0 as u64, bytes, now_ms, || key.0 as u64);
        changes.touched.insert(number);
        if let Some(before) = joined.closed_before {
            changes.part(DeliveryKey(before.key as i64)).closed_due_ms = Some(now_ms);
            if let Some(first) = open.first.take() {
                self.due.remove(&(first.due_ms, number));
                changes.closed.push(first);
            }
        }
        let new = joined.opened.then(|| {
            let due_ms = Some(joined.due_ms);
            let new = NewDelivery {
                ordinal: key.ordinal(),
                subscription: number,
                target: subscription.target,
                due_ms,
                is_batch: true,
                for_owner: false,
            };
            self.gate.open.lock().insert(key);
            self.due.insert((joined.due_ms, number));
            open.first = Some(First { delivery: pending(event, &new, now_ms), due_ms: joined.due_ms, durable: false });
            new
        });
        let part = changes.part(DeliveryKey(joined.batch_key as i64));
        part.members.push(event.sequence);
        if joined.closed {
            part.closed_due_ms.get_or_insert(now_ms);
            if let Some(first) = open.first.take() {
                self.due.remove(&(first.due_ms, number));
                changes.closed.push(first);
            }
        }
        new
    }

    /// The group is on disk: answers the batches that it closed, for their lanes.
    pub fn committed(&mut self, changes: Changes, now_ms: i64) -> Vec<Arrival> {
        for subscription in changes.touched {
            if let Some(first) = self.open.get_mut(&subscription).and_then(|open| open.first.as_mut()) {
                first.durable = true;
            }
        }
        let closed = changes.closed.into_iter().map(|first| First { due_ms: now_ms, ..first });
        closed.filter_map(|first| self.handed(first)).collect()
    }

    /// The group is not on disk. Batches that were there before are closed without what they would have gained; the next events
    /// open new ones. Also answers those that were not there before: should they be stored after all, nobody has them.
    pub fn failed(&mut self, changes: Changes) -> (Vec<Arrival>, Vec<Delivery>) {
        let touched = changes.touched.iter().filter_map(|subscription| {
            let first = self.open.remove(subscription)?.first?;
            self.due.remove(&(first.due_ms, *subscription));
            Some(first)
        });
        let all: Vec<First> = touched.chain(changes.closed).collect();
        let (durable, lost): (Vec<First>, Vec<First>) = all.into_iter().partition(|first| first.durable);
        for first in &lost {
            self.gate.close(first.delivery.delivery.key);
        }
        let lost = lost.into_iter().map(|first| first.delivery.delivery).collect();
        (durable.into_iter().filter_map(|first| self.handed(first)).collect(), lost)
    }

    /// When [`Batches::close_due`] is to be called.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Closes the batches whose time has come, for their lanes.
    pub fn close_due(&mut self, now_ms: i64) -> Vec<Arrival> {
        let mut closed = Vec::new();
        while let Some(&(due_ms, subscription)) = self.due.first()
            && due_ms <= now_ms
        {
            self.due.pop_first();
            // A subscription without an open batch is no longer remembered: one that ended would be for ever.
            if let Some(first) = self.open.remove(&subscription).and_then(|open| open.first) {
                closed.extend(self.handed(first));
            }
        }
        closed
    }

    /// Closes the gate behind a batch; `None` if it was cancelled meanwhile.
    fn handed(&self, mut first: First) -> Option<Arrival> {
        first.delivery.delivery.due_ms = first.due_ms;
        self.gate.close(first.delivery.delivery.key).then_some(Arrival { delivery: first.delivery, how: How::Later(first.due_ms) })
    }
}
