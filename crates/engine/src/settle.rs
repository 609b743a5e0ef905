//! Settling: outcomes are stored in groups, and the lanes are told once they are on disk.
//!
//! Outcomes are handed to the journal at once, also while earlier ones are on their way to the disk: so each is in the very next commit, beside
//! the events of the moment. What a crash can make happen twice is what is under way at targets and what is unsettled here; the latter has its
//! bound in this module ([`ROOM`]), the former in the policies and the shards.
//!
//! An outcome that cannot be stored is kept and tried again until it can: its delivery is not sent a second time meanwhile, because
//! the lane holds its key until it is settled. What waits is bounded, so a broken disk stops sending instead of filling memory.
//! Only a damaged file is not waited for: no time mends it, and the outcomes of all other files would wait with it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use posthaste_domain::delivery::{DeliveryState, PendingDelivery};
use posthaste_store::{Journal, Settlement, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::lanes::{Lanes, Settled};
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::seldom::Seldom;
use crate::series::Counts;

/// Outcomes that are not on disk yet, over all lanes.
const ROOM: usize = 1024;
/// Outcomes in one list, so that a commit can be given a part of what waits: an append must not wait for all of it.
const LIST: usize = 64;
/// Lists of outcomes that are on their way to the disk at once. Those beyond wait and become one list.
const UNDER_WAY: usize = 64;
const PAUSE: Duration = Duration::from_millis(250);
/// How often the log is told of outcomes that cannot be stored.
const COMPLAINT: Duration = Duration::from_secs(10);

/// An outcome, and the delivery as it is now if it will be tried again.
pub(crate) struct Unsettled {
    pub settlement: Settlement,
    /// The workspace of its delivery; `None` for what is not counted over time.
    pub workspace: Option<i64>,
    /// When its (first) event was received.
    pub received_ms: i64,
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

/// How many outcomes are not on disk yet. Holding it keeps nothing open.
pub(crate) struct Level(Arc<Semaphore>);

impl Level {
    /// That many, and how many there may be.
    pub fn read(&self) -> (usize, usize) {
        (ROOM.saturating_sub(self.0.available_permits()), ROOM)
    }
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

    /// Knows how many outcomes are not on disk yet.
    pub fn level(&self) -> Level {
        Level(Arc::clone(&self.room))
    }

    /// Hands outcomes over, and leaves the list empty.
    pub fn settle(&self, outcomes: &mut Vec<Unsettled>) {
        if !outcomes.is_empty() {
            // Refused only when the store is closed: then outcomes are of no use any more.
            let _ = self.queue.try_send(std::mem::take(outcomes));
        }
    }
}

/// Outcomes of one call of the journal.
struct Stored {
    settlements: Arc<[Settlement]>,
    settled: Vec<Settled>,
    /// Workspace, time of receipt and new state of what is counted over time.
    counted: Vec<(i64, i64, DeliveryState)>,
}

/// Stores outcomes until all senders are gone.
pub(crate) async fn run(
    journal: Arc<dyn Journal>,
    lanes: Lanes,
    metrics: Arc<Metrics>,
    counts: Arc<Counts>,
    membership: Membership,
    mut outcomes: Outcomes,
) {
    let complaint = Seldom::new(COMPLAINT);
    let mut lists = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !under_way.is_empty() {
        let first = tokio::select! {
            biased;
            Some(stored) = under_way.next() => stored,
            count = outcomes.queue.recv_many(&mut lists, ROOM), if is_open && under_way.len() < UNDER_WAY => {
                is_open = count > 0;
                let mut all = lists.drain(..).flatten().peekable();
                while all.peek().is_some() {
                    under_way.push(stored(&*journal, &membership, &complaint, all.by_ref().take(LIST)));
                }
                continue;
            }
        };
        let mut settled = Vec::new();
        let mut next = Some(first);
        // A commit stores several lists at once: their lanes hear of it together.
        while let Some(stored) = next {
            let Some(stored) = stored else { return };
            outcomes.room.add_permits(stored.settlements.len());
            metrics.settled(&stored.settlements);
            if let Some(last) = stored.settlements.last() {
                counts.settled(&stored.counted, last.at_ms);
            }
            settled.extend(stored.settled);
            next = under_way.next().now_or_never().flatten();
        }
        lanes.settled(settled).await;
    }
}

/// Hands outcomes to the journal. The future ends when they are on disk; `None`: the store is closed.
fn stored<'a>(
    journal: &'a dyn Journal,
    membership: &'a Membership,
    complaint: &'a Seldom,
    outcomes: impl Iterator<Item = Unsettled>,
) -> impl Future<Output = Option<Stored>> + 'a {
    let (mut settled, mut settlements, mut counted) = (Vec::new(), Vec::new(), Vec::new());
    for Unsettled { settlement, workspace, received_ms, retry, room } in outcomes {
        counted.extend(workspace.map(|workspace| (workspace, received_ms, settlement.state)));
        let attempt = settlement.attempt.as_ref().map_or(0, |attempt| attempt.number);
        settled.push(Settled { target: settlement.target, key: settlement.key, attempt, retry });
        settlements.push(settlement);
        room.0.forget();
    }
    let settlements: Arc<[Settlement]> = settlements.into();
    async move { store(journal, membership, complaint, Arc::clone(&settlements)).await.then_some(Stored { settlements, settled, counted }) }
}

/// Stores outcomes, trying again until that works. `false`: nothing is stored any more, the store is closed or the node is lost.
async fn store(journal: &dyn Journal, membership: &Membership, complaint: &Seldom, outcomes: Arc<[Settlement]>) -> bool {
    loop {
        match journal.settle(Arc::clone(&outcomes)).await {
            Ok(()) => return true,
            Err(StoreError::Closed) => return false,
            // Another node holds it, and sends it: its lane here goes no further.
            Err(StoreError::Fenced) => {
                membership.lose();
                return false;
            }
            Err(error @ StoreError::File { .. }) => {
                if let [outcome] = &*outcomes {
                    tracing::error!(%error, delivery = outcome.key.0, "an outcome is not stored; on disk its delivery is still pending");
                    return true;
                }
                // Together, so that they still share commits.
                let alone = outcomes.iter().map(|outcome| Box::pin(store(journal, membership, complaint, [outcome.clone()].into())));
                return join_all(alone).await.into_iter().all(|stored| stored);
            }
            Err(error) => {
                if let Some(unsaid) = complaint.turn() {
                    tracing::error!(%error, outcomes = outcomes.len(), unsaid, "outcomes could not be stored; they are tried again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
