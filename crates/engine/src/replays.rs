//! Deliveries that somebody wants sent again, or not at all: one by one, or in bulk behind live traffic.

use std::collections::HashSet;
use std::sync::Arc;

use posthaste_domain::delivery::{Delivery, DeliveryState, PendingDelivery};
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::people::Actor;
use posthaste_domain::resource::{Replay, ReplayState, Target};
use posthaste_store::{CallKind, DeliveryFilter, Order, Range, StoreError};

use crate::catalogue::Entry;
use crate::edit::Fresh;
use crate::engine::{Engine, shown_state};
use crate::error::ResourceError;
use crate::lanes::{Arrival, Command, How, Reread};
use crate::manage::Managed;

/// Deliveries that a replay looks at before it looks whether it should stop.
const REPLAY_PAGE: usize = 200;

/// Deliveries read at once to be counted.
const COUNT_PAGE: usize = 1000;
/// Deliveries up to which is counted how many a replay has before it.
const MOST_COUNTED: u64 = 50_000;

impl Engine {
    /// Sends a finished delivery again: the same id, a fresh schedule.
    pub async fn resend(&self, workspace: i64, key: DeliveryKey) -> Result<Delivery, ResourceError> {
        let delivery = self.inner().history.delivery(workspace, key).await?.ok_or(ResourceError::NotFound)?;
        if !delivery.state.is_terminal() {
            return Err(ResourceError::State { reason: "the delivery is still pending" });
        }
        if self.by_number::<Target>(delivery.target).is_none() {
            return Err(ResourceError::State { reason: "the target of the delivery was deleted" });
        }
        let engine = self.clone();
        let reopen = async move {
            if engine.reopen(vec![key]).await?.is_empty() {
                return Err(ResourceError::State { reason: "the delivery is still pending" });
            }
            engine.inner().history.delivery(workspace, key).await?.ok_or(ResourceError::NotFound)
        };
        self.to_the_end(reopen).await
    }

    /// Cancels a pending delivery. One that is in flight may still arrive.
    pub async fn cancel(&self, workspace: i64, key: DeliveryKey) -> Result<Delivery, ResourceError> {
        let delivery = self.inner().history.delivery(workspace, key).await?.ok_or(ResourceError::NotFound)?;
        if delivery.state.is_terminal() {
            return Err(ResourceError::State { reason: "the delivery is finished" });
        }
        let (engine, target) = (self.clone(), delivery.target);
        let cancel = async move {
            match (engine.cancel_here(key, target, engine.now_ms()).await, &engine.inner().cluster) {
                (Err(StoreError::Fenced), Some(cluster)) => {
                    let done = cluster.call(CallKind::Cancel, vec![key], target, engine.now_ms()).await?;
                    if done.is_empty() {
                        return Err(ResourceError::Store(StoreError::Fenced));
                    }
                }
                (outcome, _) => outcome?,
            }
            Ok(())
        };
        self.to_the_end(cancel).await?;
        let delivery = self.inner().history.delivery(workspace, key).await?.ok_or(ResourceError::NotFound)?;
        match delivery.state {
            // Its attempt was over first.
            DeliveryState::Delivered | DeliveryState::Failed => Err(ResourceError::State { reason: "the delivery is finished" }),
            _ => {
                self.inner().metrics.cancelled();
                Ok(delivery)
            }
        }
    }

    /// Cancels a delivery that this node holds.
    pub(crate) async fn cancel_here(&self, key: DeliveryKey, target: i64, now_ms: i64) -> Result<(), StoreError> {
        // An open batch takes no more members from now on.
        let was_open = self.inner().gate.close(key);
        let settlement = crate::lanes::cancellation(key, target, now_ms);
        let settled = self.inner().journal.settle([settlement].into()).await;
        if settled.is_ok() {
            self.inner().lanes.send(target, Command::Cancelled { target, key }).await;
        } else if was_open && let Some(entry) = self.by_number::<Target>(target) {
            // Nobody else knows of the batch any more. If it is still there, it is to be sent.
            let lane = Reread { workspace: entry.workspace, count: 1, lowest: key, last_key: key };
            self.inner().lanes.send(target, Command::Reread { target, lane }).await;
        }
        settled
    }

    /// Sends finished deliveries that this node holds again; answers which were.
    pub(crate) async fn reopen_here(&self, mut keys: Vec<DeliveryKey>, now_ms: i64) -> Result<Vec<DeliveryKey>, StoreError> {
        let mut done = Vec::new();
        // One call may answer only some of them when the store fails in between.
        while !keys.is_empty() {
            let reopened = self.inner().journal.reopen(keys.clone(), now_ms).await?;
            if reopened.is_empty() {
                break;
            }
            let changed: HashSet<DeliveryKey> = reopened.iter().map(|pending| pending.delivery.key).collect();
            keys.retain(|key| !changed.contains(key));
            done.extend(changed);
            self.inner().lanes.arrived(reopened.into_iter().map(again).collect()).await;
        }
        Ok(done)
    }

    /// Sends finished deliveries again, whichever node holds them; answers which were.
    async fn reopen(&self, keys: Vec<DeliveryKey>) -> Result<Vec<DeliveryKey>, StoreError> {
        let now_ms = self.now_ms();
        let mut done = self.reopen_here(keys.clone(), now_ms).await?;
        if let Some(cluster) = &self.inner().cluster {
            let rest: Vec<DeliveryKey> = keys.into_iter().filter(|key| !done.contains(key)).collect();
            if !rest.is_empty() {
                done.extend(cluster.call(CallKind::Reopen, rest, 0, now_ms).await?);
            }
        }
        Ok(done)
    }

    /// Starts a bulk replay in the background, unless a request of the same key did.
    pub async fn start_replay(&self, workspace: i64, mut replay: Replay) -> Result<StartedReplay, ResourceError> {
        if let Some(started) = self.started_by(workspace, &replay)? {
            return Ok(started);
        }
        let (count, is_all) = self.count_replay(workspace, replay.clone()).await?;
        replay.total = is_all.then_some(count);
        match self.create(workspace, replay.clone()).await {
            Ok(entry) => {
                self.continue_replay(&entry);
                Ok(StartedReplay { entry, replayed: false })
            }
            // The same request came twice at once.
            Err(error @ ResourceError::Duplicate { .. }) => self.started_by(workspace, &replay)?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// What the request of this replay started before.
    fn started_by(&self, workspace: i64, replay: &Replay) -> Result<Option<StartedReplay>, ResourceError> {
        let Some(request) = &replay.request else { return Ok(None) };
        match self.inner().catalogue.named::<Replay>(workspace, &request.key) {
            Some(entry) if entry.doc.request.as_ref() != Some(request) => Err(ResourceError::AnotherBody),
            entry => Ok(entry.map(|entry| StartedReplay { entry, replayed: true })),
        }
    }

    /// How many deliveries a bulk replay would look at now, and whether that is all: it counts no further than [`MOST_COUNTED`].
    pub async fn count_replay(&self, workspace: i64, mut replay: Replay) -> Result<(u64, bool), ResourceError> {
        replay.check(&self.context(&self.inner().catalogue, &Fresh::default(), workspace, None))?;
        let filter = self.replay_filter(workspace, &replay);
        let mut range =
            Range { order: Order::Asc, after: None, limit: COUNT_PAGE, from_ms: Some(replay.from_ms), to_ms: Some(replay.to_ms) };
        let mut count = 0;
        while count < MOST_COUNTED {
            let piece = self.inner().history.deliveries_piece(workspace, filter.clone(), range).await?;
            count += piece.items.len() as u64;
            match piece.rest {
                Some(rest) => range.after = Some(rest),
                None => return Ok((count, true)),
            }
        }
        Ok((count, false))
    }

    fn replay_filter(&self, workspace: i64, replay: &Replay) -> DeliveryFilter {
        let targets = replay.target_id.as_ref().map(|t| self.number_of(workspace, t).into_iter().collect());
        let states = [DeliveryState::Delivered, DeliveryState::Failed, DeliveryState::Cancelled]
            .into_iter()
            .filter(|s| replay.states.iter().any(|name| *name == shown_state(*s, false)))
            .collect();
        DeliveryFilter { targets, states: Some(states), type_name: replay.event_type.clone() }
    }

    /// Stops a bulk replay.
    pub async fn cancel_replay(&self, workspace: i64, id: &str) -> Result<Arc<Entry<Replay>>, ResourceError> {
        loop {
            let entry = self.get::<Replay>(workspace, id).ok_or(ResourceError::NotFound)?;
            if entry.doc.state != ReplayState::Running {
                return Ok(entry);
            }
            let doc = Replay { state: ReplayState::Cancelled, ..entry.doc.clone() };
            match self.update(workspace, id, Some(entry.version), doc).await {
                // The job saved its progress in between.
                Err(ResourceError::Conflict { .. }) => {}
                other => return other,
            }
        }
    }

    /// Goes on with the replays that a stop interrupted, or that another node left.
    pub(crate) fn continue_replays(&self) {
        for workspace in self.workspaces() {
            self.list::<Replay>(workspace).iter().for_each(|entry| self.continue_replay(entry));
        }
    }

    /// Whether this node is the one that works for what has this number.
    fn owns(&self, number: i64) -> bool {
        self.inner().cluster.as_ref().is_none_or(|cluster| cluster.owns(number))
    }

    /// Runs a replay, unless it is over, runs already, or is another node's.
    pub(crate) fn continue_replay(&self, entry: &Entry<Replay>) {
        if entry.doc.state != ReplayState::Running || !self.inner().replays.lock().begin(entry.number) {
            return;
        }
        // From here on it is not given away.
        if !self.owns(entry.number) {
            self.inner().replays.lock().running.remove(&entry.number);
            return;
        }
        let (workspace, id, number) = (entry.workspace, entry.id.clone(), entry.number);
        // Its progress is nobody's doing.
        let engine = self.held_by(Actor::Server);
        self.tasks().spawn("replay", async move {
            let _running = Running { engine: &engine, number };
            while !engine.tasks().is_cancelled() && engine.owns(number) {
                match engine.replay_page(workspace, &id).await {
                    Ok(true) => {}
                    Ok(false) | Err(ResourceError::NotFound) => return,
                    Err(ResourceError::Conflict { .. }) => {}
                    Err(error) => {
                        tracing::error!(%error, replay = id, "a replay waits because the store failed");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
            }
        });
    }

    /// Does one page of a replay; answers whether there is more. Waits for the lanes, so that live traffic goes first.
    async fn replay_page(&self, workspace: i64, id: &str) -> Result<bool, ResourceError> {
        let entry = self.get::<Replay>(workspace, id).ok_or(ResourceError::NotFound)?;
        let doc = &entry.doc;
        if doc.state != ReplayState::Running {
            return Ok(false);
        }
        let filter = self.replay_filter(workspace, doc);
        let after = (doc.position != 0).then_some(doc.position);
        let range = Range { order: Order::Asc, after, limit: REPLAY_PAGE, from_ms: Some(doc.from_ms), to_ms: Some(doc.to_ms) };
        let page = self.inner().history.deliveries(workspace, filter, range).await?;
        self.yield_to_live(&page).await;
        // It may have been stopped while it waited.
        if self.get::<Replay>(workspace, id).is_none_or(|now| now.version != entry.version) {
            return Ok(true);
        }
        // Messages are sent again only when they are asked for by name: whoever replays webhooks does not mean to write to people twice.
        let routes = self.inner().routing.of(&self.inner().catalogue, workspace);
        let carried = |d: &&Delivery| routes.subscriptions.get(&d.subscription).is_some_and(|s| s.carrier.is_some());
        let wanted = |d: &&Delivery| (doc.target_id.is_some() || !carried(d)) && d.updated_ms <= entry.created_ms;
        // What changed since the replay began was sent again by it: a page whose end could not be stored is done a second time, perhaps elsewhere.
        let keys: Vec<DeliveryKey> = page.iter().filter(wanted).map(|d| d.key).collect();
        let resent = self.reopen(keys).await?.len() as u64;
        // What was sent is counted, even if the replay was stopped in this moment.
        loop {
            let entry = self.get::<Replay>(workspace, id).ok_or(ResourceError::NotFound)?;
            let mut doc = entry.doc.clone();
            doc.scanned += page.len() as u64;
            doc.resent += resent;
            doc.position = page.last().map_or(doc.position, |d| d.key.0);
            if page.len() < REPLAY_PAGE && doc.state == ReplayState::Running {
                doc.state = ReplayState::Done;
            }
            let is_running = doc.state == ReplayState::Running;
            match self.update(workspace, id, Some(entry.version), doc).await {
                Err(ResourceError::Conflict { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(is_running),
            }
        }
    }

    /// Waits until the targets of a page have worked off most of what waits, but not for ever: a dead target must not stop the job.
    async fn yield_to_live(&self, page: &[Delivery]) {
        for _ in 0..50 {
            let mut busy = false;
            let mut targets: Vec<i64> = page.iter().map(|d| d.target).collect();
            targets.dedup();
            for target in targets {
                let health = self.health(target).await;
                busy |= health.backlog > 2 * REPLAY_PAGE as u64 && health.breaker == "active";
            }
            if !busy {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

/// A replay that was asked for.
#[derive(Debug)]
pub struct StartedReplay {
    /// It.
    pub entry: Arc<Entry<Replay>>,
    /// Whether an earlier request of the same key started it.
    pub replayed: bool,
}

/// Numbers of the replays that this node works for.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    running: HashSet<i64>,
    /// How many are giving away what they are part of: none begins meanwhile, or two nodes would work for it.
    giving: u32,
}

impl Replays {
    /// Whether one begins; it does not if it runs already.
    fn begin(&mut self, number: i64) -> bool {
        self.giving == 0 && self.running.insert(number)
    }
}

/// No replay begins here while this is held.
pub(crate) struct Giving<'a>(&'a Engine);

impl<'a> Giving<'a> {
    /// Answers those that run.
    pub fn begin(engine: &'a Engine) -> (Self, Vec<i64>) {
        let mut replays = engine.inner().replays.lock();
        replays.giving += 1;
        (Self(engine), replays.running.iter().copied().collect())
    }
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        self.0.inner().replays.lock().giving -= 1;
        // Those that would have begun meanwhile.
        self.0.continue_replays();
    }
}

/// A replay that runs in this process.
struct Running<'a> {
    engine: &'a Engine,
    number: i64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.engine.inner().replays.lock().running.remove(&self.number);
    }
}

fn again(delivery: PendingDelivery) -> Arrival {
    Arrival { delivery, how: How::Again }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_begins_while_something_is_given_away() {
        let mut replays = Replays::default();
        assert!(replays.begin(1) && !replays.begin(1));
        replays.giving += 1;
        assert!(!replays.begin(2));
        replays.giving -= 1;
        assert!(replays.begin(2));
    }
}
