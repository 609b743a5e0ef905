//! Settling: outcomes are stored in groups, and the lanes are told once they are on disk.
//!
//! An outcome that cannot be stored is kept and tried again until it can: its delivery is not sent a second time meanwhile, because
//! the lane holds its key until it is settled. What waits is bounded, so a broken disk stops sending instead of filling memory.

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::delivery::DeliveryState;
use posthaste_store::{Journal, Settlement, StoreError};
use tokio::sync::mpsc;

use crate::lanes::{Lanes, Settled};
use crate::metrics::Metrics;

const GROUP: usize = 1024;
const PAUSE: Duration = Duration::from_millis(250);

/// Where outcomes go.
#[derive(Clone)]
pub(crate) struct Settler {
    queue: mpsc::Sender<Settlement>,
}

impl Settler {
    pub fn new() -> (Self, mpsc::Receiver<Settlement>) {
        let (queue, receiver) = mpsc::channel(GROUP);
        (Self { queue }, receiver)
    }

    /// Hands an outcome over; waits while too many are not on disk yet.
    pub async fn settle(&self, settlement: Settlement) {
        // The receiver lives until the last sender is gone.
        let _ = self.queue.send(settlement).await;
    }
}

/// Stores outcomes until all senders are gone.
pub(crate) async fn run(journal: Arc<dyn Journal>, lanes: Lanes, metrics: Arc<Metrics>, mut queue: mpsc::Receiver<Settlement>) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let settled: Vec<Settled> = group
            .iter()
            .map(|s| Settled { target: s.target, key: s.key, due_ms: (s.state == DeliveryState::Scheduled).then_some(s.due_ms) })
            .collect();
        let outcomes = std::mem::take(&mut group);
        loop {
            match journal.settle(outcomes.clone()).await {
                Ok(()) => break,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, outcomes = outcomes.len(), "outcomes could not be stored; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        metrics.settled(&outcomes);
        lanes.settled(settled).await;
    }
}
