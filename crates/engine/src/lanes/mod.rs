//! Lanes: who is sent what, when. One lane a target; lanes are spread over shards, each owned by one task, so there is no lock.

mod lane;
mod shard;

use std::sync::Arc;

use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::breaker::Failure;
use posthaste_store::LaneSummary;
use tokio::sync::{mpsc, oneshot};

pub(crate) use shard::{ShardParts, cancellation};

/// What a commit brings to the lanes.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// To be sent now.
    Fresh(PendingDelivery),
    /// The journal holds something for this target that is due at this time.
    Due { workspace: i64, target: i64, due_ms: i64 },
}

impl Arrival {
    fn target(&self) -> i64 {
        match self {
            Self::Fresh(delivery) => delivery.delivery.target,
            Self::Due { target, .. } => *target,
        }
    }
}

/// How an attempt ended, for the lane.
#[derive(Debug)]
pub(crate) struct Finished {
    pub target: i64,
    pub key: DeliveryKey,
    pub verdict: LaneVerdict,
    /// Whether the delivery will be tried again.
    pub retried: bool,
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

/// A settled delivery, for the lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub target: i64,
    pub key: DeliveryKey,
    /// When it is due again; `None` when it is terminal.
    pub due_ms: Option<i64>,
}

pub(crate) enum Command {
    Arrivals(Vec<Arrival>),
    Finished(Finished),
    Settled(Vec<Settled>),
    QueuedPage { target: i64, page: Option<Vec<PendingDelivery>>, full: bool },
    DuePage { target: i64, page: Option<(Vec<PendingDelivery>, i64)> },
    Refresh { target: i64 },
    Recover { workspace: i64, summary: LaneSummary, blocked_on: Option<DeliveryKey> },
    Health { target: i64, answer: oneshot::Sender<Option<LaneHealth>> },
    HealthOfAll { answer: oneshot::Sender<Vec<(i64, LaneHealth)>> },
    Drain,
}

/// What a lane knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneHealth {
    /// The breaker's state: `active`, `probing`, `paused`, `disabled`.
    pub breaker: String,
    /// Pending deliveries, in memory or not.
    pub backlog: u64,
    /// Attempts under way.
    pub in_flight: u32,
    /// Time of receipt of the oldest waiting delivery in memory.
    pub oldest_ms: Option<i64>,
    /// Last success; 0 for none since the start.
    pub last_success_ms: i64,
    /// Last failure; 0 for none since the start.
    pub last_failure_ms: i64,
    /// Until when the rate limit holds back; 0 when it does not.
    pub limited_until_ms: i64,
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

    fn shard_of(&self, target: i64) -> &mpsc::Sender<Command> {
        &self.shards[target as usize % self.shards.len()]
    }

    /// Hands a commit's deliveries over.
    pub async fn arrived(&self, arrivals: Vec<Arrival>) {
        if self.shards.len() == 1 {
            self.send(0, Command::Arrivals(arrivals)).await;
            return;
        }
        let mut split: Vec<Vec<Arrival>> = self.shards.iter().map(|_| Vec::new()).collect();
        for arrival in arrivals {
            split[arrival.target() as usize % self.shards.len()].push(arrival);
        }
        for (target, part) in split.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            self.send(target as i64, Command::Arrivals(part)).await;
        }
    }

    /// Tells the lanes what was settled.
    pub async fn settled(&self, settled: Vec<Settled>) {
        let mut split: Vec<Vec<Settled>> = self.shards.iter().map(|_| Vec::new()).collect();
        for one in settled {
            split[one.target as usize % self.shards.len()].push(one);
        }
        for (target, part) in split.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            self.send(target as i64, Command::Settled(part)).await;
        }
    }

    /// Sends a command to the shard of a target. Shards outlive everyone who sends; at shutdown nobody listens and that is fine.
    pub async fn send(&self, target: i64, command: Command) {
        let _ = self.shard_of(target).send(command).await;
    }

    /// Stops starting attempts.
    pub async fn drain(&self) {
        for shard in self.shards.iter() {
            let _ = shard.send(Command::Drain).await;
        }
    }

    /// What the lane of a target says; `None` when it has none yet.
    pub async fn health(&self, target: i64) -> Option<LaneHealth> {
        let (answer, receive) = oneshot::channel();
        self.send(target, Command::Health { target, answer }).await;
        receive.await.ok().flatten()
    }

    /// What all lanes say, by target.
    pub async fn health_of_all(&self) -> std::collections::BTreeMap<i64, LaneHealth> {
        let mut all = std::collections::BTreeMap::new();
        for shard in self.shards.iter() {
            let (answer, receive) = oneshot::channel();
            if shard.send(Command::HealthOfAll { answer }).await.is_ok() {
                all.extend(receive.await.unwrap_or_default());
            }
        }
        all
    }
}
