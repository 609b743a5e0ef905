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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::lanes::{Lanes, Settled};
use crate::metrics::Metrics;

/// Outcomes that are not on disk yet, over all lanes.
const ROOM: usize = 2048;
const PAUSE: Duration = Duration::from_millis(250);

/// An outcome, and the delivery as it is now if it will be tried again.
pub(crate) struct Unsettled {
    pub settlement: Settlement,
    pub retry: Option<Box<PendingDelivery>>,
    /// Given back when it is on disk.
    pub room: Room,
}

/// Where outcomes go.
#[derive(Clone)]
pub(crate) struct Settler {
    room: Arc<Semaphore>,
    queue: mpsc::Sender<Vec<Unsettled>>,
}

/// Room for one outcome.
pub(crate) struct Room(OwnedSemaphorePermit);

/// The end of the queue that [`run`] works off.
pub(crate) struct Outcomes {
    room: Arc<Semaphore>,
    queue: mpsc::Receiver<Vec<Unsettled>>,
}

impl Settler {
    pub fn new() -> (Self, Outcomes) {
        // Never full: what is in it has room.
        let (sender, queue) = mpsc::channel(ROOM);
        let room = Arc::new(Semaphore::new(ROOM));
        (Self { room: Arc::clone(&room), queue: sender }, Outcomes { room, queue })
    }

    /// Waits while too many outcomes are not on disk yet.
    pub async fn room(&self) -> Room {
        Room(Arc::clone(&self.room).acquire_owned().await.expect("it is never closed"))
    }

    /// Hands outcomes over, and leaves the list empty.
    pub fn settle(&self, outcomes: &mut Vec<Unsettled>) {
        if !outcomes.is_empty() {
            // Refused only when the store is closed: then outcomes are of no use any more.
            let _ = self.queue.try_send(std::mem::take(outcomes));
        }
    }
}

/// Stores outcomes until all senders are gone.
pub(crate) async fn run(journal: Arc<dyn Journal>, lanes: Lanes, metrics: Arc<Metrics>, mut outcomes: Outcomes) {
    let mut lists = Vec::new();
    while outcomes.queue.recv_many(&mut lists, ROOM).await > 0 {
        let count = lists.iter().map(Vec::len).sum();
        let mut settled = Vec::with_capacity(count);
        let mut settlements = Vec::with_capacity(count);
        for Unsettled { settlement, retry, room } in lists.drain(..).flatten() {
            settled.push(Settled { target: settlement.target, key: settlement.key, retry });
            settlements.push(settlement);
            room.0.forget();
        }
        let settlements: Arc<[Settlement]> = settlements.into();
        if !store(&*journal, Arc::clone(&settlements)).await {
            return;
        }
        outcomes.room.add_permits(count);
        metrics.settled(&settlements);
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
