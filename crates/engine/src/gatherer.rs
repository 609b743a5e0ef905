//! Batches of targets with an owner: this node puts together what all nodes accept for those that it owns.
//!
//! Whoever accepts an event leaves it to the owner, in the commit that stores the event. The owner takes what waits, in the order in which it was stored,
//! and puts it into batches with a commit of its own. So a target with an order gets batches in order, of events in order, and its limits and
//! few places are kept, whichever nodes the events came to.
//!
//! Invariants:
//! - An event that was taken is in a batch, and one that was not is taken by the next owner: both are one transaction of the store.
//! - A lane gets a batch once it is closed and what it has is stored, and closes its gate then: a lane that met it in a page does not send it meanwhile.
//! - Parts with an open batch stay where they are (`Cluster::give`): what is open here is of targets that this node owns, as long as it lives.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;
use posthaste_store::{Cluster, Joined, Joining, Opened, StoreError};
use tokio::sync::{Mutex, watch};
use tokio::time::MissedTickBehavior;

use crate::batches::{Batches, Changes, Full, Member};
use crate::cluster::PAUSE;
use crate::engine::Engine;
use crate::lanes::{Arrival, How};

/// When it is looked again, after that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// When this node took over work of another one, for the batches that were open there. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct TookOver(Arc<AtomicI64>);

impl TookOver {
    /// It did so now.
    pub fn note(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::Release);
    }

    /// When, if that was not asked for before.
    fn take(&self) -> Option<i64> {
        Some(self.0.swap(0, Ordering::AcqRel)).filter(|at_ms| *at_ms > 0)
    }
}

/// The task that does it.
pub(crate) struct Gatherer {
    pub engine: Engine,
    pub cluster: Arc<dyn Cluster>,
    pub batches: Batches,
    pub took_over: TookOver,
    /// Held while another one's work is taken over, until the lanes know of it: what comes later must not get there first.
    pub in_order: Arc<Mutex<()>>,
}

impl Gatherer {
    /// Runs until the engine's tasks are cancelled.
    pub async fn run(mut self, mut bell: watch::Receiver<u64>) {
        let cancelled = self.engine.tasks().cancelled();
        tokio::pin!(cancelled);
        let mut ticks = tokio::time::interval(AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_behind = true;
        loop {
            self.close_due().await;
            let now_ms = self.engine.now_ms();
            let next_due = self.batches.next_due_ms().map(|due_ms| Duration::from_millis((due_ms - now_ms).max(1) as u64));
            tokio::select! {
                () = &mut cancelled => return,
                () = tokio::time::sleep(next_due.unwrap_or_default()), if next_due.is_some() => continue,
                _ = ticks.tick() => if !is_behind { continue },
                Ok(()) = bell.changed() => {}
            }
            is_behind = loop {
                match self.step().await {
                    Ok(true) => self.close_due().await,
                    Ok(false) => break false,
                    Err(StoreError::Closed) => return,
                    // The next tick tries again.
                    Err(_) => break true,
                }
            };
        }
    }

    /// Takes some of what waits; `false`: nothing does.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let found = {
            let _order = self.in_order.lock().await;
            self.cluster.joining().await?
        };
        if found.is_empty() {
            return Ok(false);
        }
        if let Some(at_ms) = self.took_over.take() {
            self.batches.took_over(at_ms);
        }
        let now_ms = self.engine.now_ms();
        let (mut changes, mut joined) = (Changes::default(), Joined::default());
        for Joining { id, join } in found {
            joined.ids.push(id);
            for one in &join.members {
                let member = Member {
                    subscription: join.subscription,
                    target: join.target,
                    limits: join.limits,
                    is_ordered: join.is_ordered,
                    key: DeliveryKey::new(one.sequence, one.ordinal),
                    bytes: one.bytes as usize,
                };
                if let Some(due_ms) = self.batches.join(&mut changes, &member, now_ms, |_| None) {
                    let Member { subscription, target, key, .. } = member;
                    joined.opened.push(Opened { key, workspace: join.workspace, subscription, target, due_ms, received_ms: join.at_ms });
                }
            }
        }
        joined.parts = std::mem::take(&mut changes.parts);
        let answer = self.cluster.join(joined).await;
        let closed = match &answer {
            Ok(()) => self.batches.committed(changes),
            Err(error) => {
                let failed = self.batches.failed(changes, matches!(error, StoreError::Unavailable(_)), now_ms);
                // Until then nobody knows what they have, and nothing may go before them.
                self.decided(&failed.unsure).await;
                self.hand(failed.unsure).await;
                failed.closed
            }
        };
        self.hand_full(closed).await;
        answer.map(|()| true)
    }

    async fn close_due(&mut self) {
        let closed = self.batches.close_due(self.engine.now_ms());
        self.hand_full(closed).await;
    }

    /// Waits until what was begun is stored or undone.
    async fn decided(&self, unsure: &[(i64, DeliveryKey)]) {
        while !unsure.is_empty() && self.goes_on(&self.cluster.decided().await) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether something that was answered so has to be tried again.
    fn goes_on<T>(&self, answer: &Result<T, StoreError>) -> bool {
        let is_over = matches!(answer, Ok(_) | Err(StoreError::Closed | StoreError::Fenced));
        !is_over && !self.engine.tasks().is_cancelled()
    }

    async fn hand_full(&self, closed: Vec<Full>) {
        self.hand(closed.iter().map(|full| (full.target, full.key)).collect()).await;
    }

    /// Gives closed batches to their lanes, as they are stored; tries until the database answers.
    async fn hand(&self, closed: Vec<(i64, DeliveryKey)>) {
        if closed.is_empty() {
            return;
        }
        let found = loop {
            let found = self.cluster.gathered(closed.clone()).await;
            if !self.goes_on(&found) {
                break found.unwrap_or_default();
            }
            tokio::time::sleep(PAUSE).await;
        };
        let inner = self.engine.inner();
        // What was cancelled is not there any more.
        let found_keys: HashSet<DeliveryKey> = found.iter().map(|pending| pending.delivery.key).collect();
        closed.iter().map(|(_, key)| key).filter(|key| !found_keys.contains(key)).for_each(|key| _ = inner.gate.close(*key));
        let arrival = |delivery: PendingDelivery| Arrival { how: How::Later(delivery.delivery.due_ms), delivery };
        inner.lanes.arrived(found.into_iter().map(arrival).collect()).await;
    }
}
