//! Lanes: who is sent what, when. One lane a target; lanes are spread over shards, each owned by one task, so there is no lock.
//!
//! What is next is decided by the pure [`posthaste_domain::policy::lane`]; here are the tasks around it.

mod attempts;
mod budget;
pub(crate) mod large;
mod shard;
mod state;
mod yielding;

use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::breaker::{Failure, Snapshot};
use posthaste_store::LaneSummary;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use attempts::Ended;
pub(crate) use budget::Budget;
pub(crate) use shard::{ShardParts, cancellation};
pub(crate) use yielding::Yielding;

/// A delivery that a commit brings to its lane.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub delivery: PendingDelivery,
    pub how: How,
}

/// How a delivery comes to its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// New, to be sent now. These come in the order of their keys.
    Fresh,
    /// New, due at this time.
    Later(i64),
    /// Finished before, to be sent again now.
    Again,
}

/// What an attempt says about the target.
#[derive(Debug)]
pub(crate) enum LaneVerdict {
    Success,
    Failure(Failure),
    /// It answered that it is gone.
    Gone,
    /// Nothing: the fault was ours, or the delivery's own (a template).
    Nothing,
}

/// An outcome that is on disk.
#[derive(Debug)]
pub(crate) struct Settled {
    pub target: i64,
    pub key: DeliveryKey,
    /// The number of the attempt; 0: none was made.
    pub attempt: u32,
    /// The delivery as it is now, if it will be tried again at its `due_ms`.
    pub retry: Option<Box<PendingDelivery>>,
}

/// Deliveries read from the journal, and whether it has no more.
pub(crate) type Page = (Vec<PendingDelivery>, bool);

pub(crate) enum Command {
    /// Deliveries that are on disk since this time.
    Arrivals(Vec<Arrival>, Instant),
    Ended(Box<Ended>),
    Settled(Vec<Settled>),
    /// Somebody cancelled it, and that is on disk.
    Cancelled {
        target: i64,
        key: DeliveryKey,
    },
    QueuedPage {
        target: i64,
        page: Option<Page>,
    },
    ScheduledPage {
        target: i64,
        page: Option<Page>,
    },
    /// The target's document changed.
    Refresh {
        target: i64,
    },
    /// What a start found in the journal. `last_key` is not below any delivery's.
    Recover {
        workspace: i64,
        summary: LaneSummary,
        last_key: DeliveryKey,
    },
    /// There is more in the journal than the lane was told of.
    Reread {
        target: i64,
        lane: Reread,
    },
    /// Another node found that the target's health changed.
    Heard {
        workspace: i64,
        target: i64,
        snapshot: Snapshot,
    },
    /// The target's health when the process before this one ended.
    Restore {
        workspace: i64,
        target: i64,
        snapshot: Snapshot,
    },
    Health {
        target: i64,
        answer: oneshot::Sender<Option<LaneHealth>>,
    },
    HealthOfAll {
        answer: oneshot::Sender<Vec<(i64, LaneHealth)>>,
    },
    /// Targets whose lanes are not idle.
    Busy {
        answer: oneshot::Sender<Vec<i64>>,
    },
    /// All lanes together.
    Sum {
        answer: oneshot::Sender<LaneSum>,
    },
    /// What could not start may start now.
    Wake,
    /// Start nothing more; answer when everything that was started is on disk.
    Drain {
        answer: oneshot::Sender<()>,
    },
}

/// What a lane knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneHealth {
    /// The breaker's state: `active`, `probing`, `paused`, `disabled`.
    pub breaker: String,
    /// Pending deliveries, in memory or not.
    pub backlog: u64,
    /// Deliveries whose attempt is under way, or has ended and is not on disk yet: what a crash could make arrive twice.
    pub in_flight: u32,
    /// Since when the delivery that waits longest could have been sent; `None` when none waits.
    pub oldest_ms: Option<i64>,
    /// Last success; 0 for none since the start.
    pub last_success_ms: i64,
    /// Last failure; 0 for none since the start.
    pub last_failure_ms: i64,
    /// Until when the rate limit holds back; 0 when it does not.
    pub limited_until_ms: i64,
}

/// What to read from the journal: what another node left or accepted, or what may be there after a commit of which nobody knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reread {
    /// The target's workspace.
    pub workspace: i64,
    /// How many deliveries more there are, as far as is known.
    pub count: u64,
    /// None of them has a smaller key.
    pub lowest: DeliveryKey,
    /// None of them has a larger key.
    pub last_key: DeliveryKey,
}

/// All lanes together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaneSum {
    /// Pending deliveries.
    pub backlog: u64,
    /// Attempts under way or not settled.
    pub in_flight: u64,
    /// Since when the delivery that waits longest could have been sent.
    pub oldest_ms: Option<i64>,
}

/// Handle to all shards.
#[derive(Clone)]
pub(crate) struct Lanes {
    shards: Arc<[mpsc::Sender<Command>]>,
}

impl Lanes {
    /// Channels for `count` shards; the receivers go to [`ShardParts::run`].
    pub fn new(count: usize) -> (Self, Vec<mpsc::Receiver<Command>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count.max(1)).map(|_| mpsc::channel(4096)).unzip();
        (Self { shards: senders.into() }, receivers)
    }

    fn index_of(&self, target: i64) -> usize {
        target as usize % self.shards.len()
    }

    fn split<T>(&self, all: Vec<T>, target: impl Fn(&T) -> i64) -> impl Iterator<Item = (usize, Vec<T>)> {
        let mut parts: Vec<Vec<T>> = self.shards.iter().map(|_| Vec::new()).collect();
        for one in all {
            parts[self.index_of(target(&one))].push(one);
        }
        parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty())
    }

    /// Hands a commit's deliveries over.
    pub async fn arrived(&self, arrivals: Vec<Arrival>) {
        let now = Instant::now();
        for (shard, part) in self.split(arrivals, |arrival| arrival.delivery.delivery.target) {
            self.tell(shard, Command::Arrivals(part, now)).await;
        }
    }

    /// Tells the lanes what is on disk.
    pub async fn settled(&self, settled: Vec<Settled>) {
        for (shard, part) in self.split(settled, |one| one.target) {
            self.tell(shard, Command::Settled(part)).await;
        }
    }

    /// Sends a command to the shard of a target.
    pub async fn send(&self, target: i64, command: Command) {
        self.tell(self.index_of(target), command).await;
    }

    async fn tell(&self, shard: usize, command: Command) {
        // Shards outlive everyone who sends; at shutdown nobody listens and that is fine.
        let _ = self.shards[shard].send(command).await;
    }

    /// Has all shards look for what may start.
    pub async fn wake(&self) {
        for shard in 0..self.shards.len() {
            self.tell(shard, Command::Wake).await;
        }
    }

    /// Stops starting attempts and waits until all that were started are on disk.
    pub async fn drain(&self) {
        let mut drained = Vec::with_capacity(self.shards.len());
        for shard in 0..self.shards.len() {
            let (answer, receive) = oneshot::channel();
            self.tell(shard, Command::Drain { answer }).await;
            drained.push(receive);
        }
        for receive in drained {
            let _ = receive.await;
        }
    }

    /// What the lane of a target says; `None` when it has none yet.
    pub async fn health(&self, target: i64) -> Option<LaneHealth> {
        let (answer, receive) = oneshot::channel();
        self.send(target, Command::Health { target, answer }).await;
        receive.await.ok().flatten()
    }

    /// All lanes together.
    pub async fn sum(&self) -> LaneSum {
        let mut all = LaneSum::default();
        for shard in 0..self.shards.len() {
            let (answer, receive) = oneshot::channel();
            self.tell(shard, Command::Sum { answer }).await;
            let sum = receive.await.unwrap_or_default();
            all.backlog += sum.backlog;
            all.in_flight += sum.in_flight;
            all.oldest_ms = all.oldest_ms.into_iter().chain(sum.oldest_ms).min();
        }
        all
    }

    /// Targets for which something is queued, scheduled, under way or on its way to the disk, or was sent so lately that it counts for their rate.
    pub async fn busy(&self) -> Vec<i64> {
        let mut all = Vec::new();
        for shard in 0..self.shards.len() {
            let (answer, receive) = oneshot::channel();
            self.tell(shard, Command::Busy { answer }).await;
            all.extend(receive.await.unwrap_or_default());
        }
        all
    }

    /// What all lanes say, by target.
    pub async fn health_of_all(&self) -> BTreeMap<i64, LaneHealth> {
        let mut all = BTreeMap::new();
        for shard in 0..self.shards.len() {
            let (answer, receive) = oneshot::channel();
            self.tell(shard, Command::HealthOfAll { answer }).await;
            all.extend(receive.await.unwrap_or_default());
        }
        all
    }
}
