//! Settling: outcomes are stored in groups, and the lanes are told once they are on disk.
//!
//! An outcome that cannot be stored is kept and tried again until it can: its delivery is not sent a second time meanwhile, because
//! the lane holds its key until it is settled. What waits is bounded, so a broken disk stops sending instead of filling memory.
//! Only a damaged file is not waited for: no time mends it, and the outcomes of all other files would wait with it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use posthaste_domain::delivery::PendingDelivery;
use posthaste_store::{Journal, Settlement, StoreError};
use tokio::sync::mpsc;

use crate::lanes::{Lanes, Settled};
use crate::metrics::Metrics;

const GROUP: usize = 1024;
const PAUSE: Duration = Duration::from_millis(250);

/// An outcome, and the delivery as it is now if it will be tried again.
pub(crate) struct Unsettled {
    settlement: Settlement,
    retry: Option<Box<PendingDelivery>>,
}

/// Where outcomes go.
#[derive(Clone)]
pub(crate) struct Settler {
    queue: mpsc::Sender<Unsettled>,
}

/// Room for one outcome.
pub(crate) struct Room<'a> {
    permit: Option<mpsc::Permit<'a, Unsettled>>,
}

impl Settler {
    pub fn new() -> (Self, mpsc::Receiver<Unsettled>) {
        let (queue, receiver) = mpsc::channel(GROUP);
        (Self { queue }, receiver)
    }

    /// Waits while too many outcomes are not on disk yet.
    pub async fn room(&self) -> Room<'_> {
        // The receiver lives until the last sender is gone, or the store is closed; then outcomes are of no use any more.
        Room { permit: self.queue.reserve().await.ok() }
    }
}

impl Room<'_> {
    /// Hands an outcome over.
    pub fn settle(self, settlement: Settlement, retry: Option<Box<PendingDelivery>>) {
        if let Some(permit) = self.permit {
            permit.send(Unsettled { settlement, retry });
        }
    }
}

/// Stores outcomes until all senders are gone.
pub(crate) async fn run(journal: Arc<dyn Journal>, lanes: Lanes, metrics: Arc<Metrics>, mut queue: mpsc::Receiver<Unsettled>) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let mut settled = Vec::with_capacity(group.len());
        let mut outcomes = Vec::with_capacity(group.len());
        for Unsettled { settlement, retry } in group.drain(..) {
            settled.push(Settled { target: settlement.target, key: settlement.key, retry });
            outcomes.push(settlement);
        }
        let outcomes: Arc<[Settlement]> = outcomes.into();
        if !store(&*journal, Arc::clone(&outcomes)).await {
            return;
        }
        metrics.settled(&outcomes);
        lanes.settled(settled).await;
    }
}

/// Stores outcomes, trying again until that works. `false`: the store is closed.
async fn store(journal: &dyn Journal, outcomes: Arc<[Settlement]>) -> bool {
    loop {
        match journal.settle(Arc::clone(&outcomes)).await {
            Ok(()) => return true,
            Err(StoreError::Closed) => return false,
            Err(error @ StoreError::File { .. }) => {
                if let [outcome] = &*outcomes {
                    tracing::error!(%error, delivery = outcome.key.0, "an outcome is not stored; on disk its delivery is still pending");
                    return true;
                }
                // Together, so that they still share commits.
                let alone = outcomes.iter().map(|outcome| Box::pin(store(journal, [outcome.clone()].into())));
                return join_all(alone).await.into_iter().all(|stored| stored);
            }
            Err(error) => {
                tracing::error!(%error, outcomes = outcomes.len(), "outcomes could not be stored; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
