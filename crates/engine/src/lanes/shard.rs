//! A shard: the one task that owns a part of the lanes.
//!
//! It takes commands, wakes at the earliest time any lane asked for, and starts attempts. It never waits for a store, a target or
//! another task: pages and attempts run elsewhere and report back.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::{DeliveryState, PendingDelivery};
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::breaker::{Effect, Settings as BreakerSettings, State};
use posthaste_store::{Journal, PageLimit, Settlement};
use tokio::sync::mpsc;

use super::lane::{Bounds, Lane, Next, Want};
use super::{Arrival, Command, Finished, LaneHealth, LaneVerdict, Lanes};
use crate::attempt::Sender;
use crate::catalogue::Catalogue;
use crate::routing::{Routing, TargetRoute};
use crate::settle::Settler;
use crate::steward::{News, Steward};
use crate::tasks::Tasks;

/// Starts of one lane before it is the next one's turn.
const QUANTUM: u32 = 8;

/// How long a lane waits after the journal failed to answer a page.
const PAGE_RETRY_MS: i64 = 1_000;

/// What a shard works with.
#[derive(Clone)]
pub(crate) struct ShardParts {
    pub journal: Arc<dyn Journal>,
    pub clock: Arc<dyn Clock>,
    pub catalogue: Arc<Catalogue>,
    pub routing: Arc<Routing>,
    pub sender: Arc<Sender>,
    pub settler: Settler,
    pub steward: Steward,
    pub lanes: Lanes,
    pub tasks: Tasks,
    /// Attempts of this shard under way at once.
    pub capacity: u32,
    pub lane_items: usize,
    pub lane_bytes: usize,
    pub breaker: BreakerSettings,
}

struct Shard {
    parts: ShardParts,
    lanes: HashMap<i64, Lane>,
    /// Workspaces with ready lanes, and those lanes: two round robins.
    ring: VecDeque<i64>,
    ready: HashMap<i64, VecDeque<i64>>,
    queued: HashSet<i64>,
    /// Wake-up times; one a lane at the most.
    timers: BTreeSet<(i64, i64)>,
    timer_of: HashMap<i64, i64>,
    in_flight: u32,
    draining: bool,
}

impl ShardParts {
    /// Runs until all senders are gone or the engine's tasks are cancelled.
    pub async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let tasks = self.tasks.clone();
        let mut shard = Shard {
            parts: self,
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            ready: HashMap::new(),
            queued: HashSet::new(),
            timers: BTreeSet::new(),
            timer_of: HashMap::new(),
            in_flight: 0,
            draining: false,
        };
        let mut buffer = Vec::with_capacity(256);
        let cancelled = tasks.cancelled();
        tokio::pin!(cancelled);
        loop {
            let now_ms = shard.parts.clock.now_ms();
            let sleep = shard.timers.first().map(|(at, _)| std::time::Duration::from_millis((at - now_ms).max(0) as u64));
            let timer = async {
                match sleep {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut cancelled => return,
                count = commands.recv_many(&mut buffer, 256) => {
                    if count == 0 {
                        return;
                    }
                    for command in buffer.drain(..) {
                        shard.handle(command);
                    }
                }
                () = timer => shard.wake(),
            }
            shard.dispatch();
        }
    }
}

impl Shard {
    fn handle(&mut self, command: Command) {
        let now_ms = self.parts.clock.now_ms();
        match command {
            Command::Arrivals(arrivals) => {
                for arrival in arrivals {
                    match arrival {
                        Arrival::Fresh(delivery) => {
                            let (target, workspace) = (delivery.delivery.target, delivery.delivery.workspace);
                            self.lane(target, workspace, now_ms).arrived(delivery);
                            self.ready(target, workspace);
                        }
                        Arrival::Due { workspace, target, due_ms } => {
                            let lane = self.lane(target, workspace, now_ms);
                            lane.backlog += 1;
                            lane.scheduled(due_ms);
                            self.arm(target);
                        }
                    }
                }
            }
            Command::Finished(finished) => self.finished(finished, now_ms),
            Command::Settled(settled) => {
                for one in settled {
                    if let Some(lane) = self.lanes.get_mut(&one.target) {
                        lane.settled(one.key, one.due_ms);
                        let workspace = lane.workspace;
                        if one.due_ms.is_some() {
                            self.arm(one.target);
                        }
                        self.ready(one.target, workspace);
                    }
                }
            }
            Command::QueuedPage { target, page, full } => {
                self.page(target, now_ms, |lane| match page {
                    Some(page) => lane.queued_page(page, full),
                    None => lane.page_failed(),
                });
            }
            Command::DuePage { target, page } => {
                self.page(target, now_ms, |lane| match page {
                    Some((page, next_due_ms)) => lane.due_page(page, next_due_ms),
                    None => lane.page_failed(),
                });
                self.arm(target);
            }
            Command::Refresh { target } => {
                if let Some(lane) = self.lanes.get(&target) {
                    self.ready(target, lane.workspace);
                }
            }
            Command::Recover { workspace, summary, blocked_on } => {
                let target = summary.target;
                let lane = self.lane(target, workspace, now_ms);
                lane.recovered(summary.last_queued, summary.next_due_ms, summary.queued + summary.scheduled);
                if let Some(key) = blocked_on {
                    lane.block_on(key);
                }
                self.arm(target);
                self.ready(target, workspace);
            }
            Command::Health { target, answer } => {
                let _ = answer.send(self.lanes.get(&target).map(health));
            }
            Command::HealthOfAll { answer } => {
                let _ = answer.send(self.lanes.iter().map(|(target, lane)| (*target, health(lane))).collect());
            }
            Command::Drain => self.draining = true,
        }
    }

    fn lane(&mut self, target: i64, workspace: i64, now_ms: i64) -> &mut Lane {
        let parts = &self.parts;
        self.lanes.entry(target).or_insert_with(|| {
            let bounds = Bounds { items: parts.lane_items, bytes: parts.lane_bytes };
            Lane::new(workspace, bounds, parts.breaker, now_ms)
        })
    }

    fn page(&mut self, target: i64, now_ms: i64, take: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(&target) {
            take(lane);
            let workspace = lane.workspace;
            // A failed page is asked for again a little later, not at once.
            if lane.waiting() == 0 && lane.spilled() {
                self.arm_at(target, now_ms + PAGE_RETRY_MS);
            }
            self.ready(target, workspace);
        }
    }

    fn finished(&mut self, finished: Finished, now_ms: i64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(lane) = self.lanes.get_mut(&finished.target) else { return };
        lane.finished(finished.key, finished.retried);
        let effects = match finished.verdict {
            LaneVerdict::Success => {
                lane.last_success_ms = now_ms;
                lane.breaker.success(now_ms)
            }
            LaneVerdict::Failure(failure) => {
                lane.last_failure_ms = now_ms;
                lane.breaker.failure(failure, lane.in_flight, now_ms, rand::random())
            }
            LaneVerdict::Gone => {
                lane.last_failure_ms = now_ms;
                lane.breaker.gone(now_ms)
            }
            LaneVerdict::Nothing => {
                lane.breaker.cancelled();
                Vec::new()
            }
        };
        let workspace = lane.workspace;
        for effect in effects {
            match effect {
                Effect::StateChanged { from, to, reason } => {
                    self.parts.steward.tell(News::Breaker { workspace, target: finished.target, from, to, reason });
                }
                Effect::ProbeAt(at_ms) | Effect::SlowedUntil(at_ms) => self.arm_at(finished.target, at_ms),
            }
        }
        self.ready(finished.target, workspace);
    }

    fn wake(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        while let Some(&(at_ms, target)) = self.timers.first() {
            if at_ms > now_ms {
                break;
            }
            self.timers.pop_first();
            self.timer_of.remove(&target);
            if let Some(lane) = self.lanes.get(&target) {
                self.ready(target, lane.workspace);
            }
        }
    }

    /// Sets the lane's timer to when its scheduled deliveries are due.
    fn arm(&mut self, target: i64) {
        if let Some(lane) = self.lanes.get(&target)
            && lane.next_due_ms < i64::MAX
        {
            self.arm_at(target, lane.next_due_ms);
        }
    }

    /// Wakes the lane at a time, or earlier if it already asked for that.
    fn arm_at(&mut self, target: i64, at_ms: i64) {
        match self.timer_of.get(&target) {
            Some(set) if *set <= at_ms => return,
            Some(set) => drop(self.timers.remove(&(*set, target))),
            None => {}
        }
        self.timers.insert((at_ms, target));
        self.timer_of.insert(target, at_ms);
    }

    fn ready(&mut self, target: i64, workspace: i64) {
        if self.queued.insert(target) {
            let lanes = self.ready.entry(workspace).or_default();
            if lanes.is_empty() {
                self.ring.push_back(workspace);
            }
            lanes.push_back(target);
        }
    }

    /// Serves ready lanes, workspace by workspace and lane by lane, while there is room.
    fn dispatch(&mut self) {
        while !self.draining && self.in_flight < self.parts.capacity {
            let Some(workspace) = self.ring.pop_front() else { return };
            let Some(lanes) = self.ready.get_mut(&workspace) else { continue };
            let target = lanes.pop_front();
            if lanes.is_empty() {
                self.ready.remove(&workspace);
            } else {
                self.ring.push_back(workspace);
            }
            if let Some(target) = target {
                self.queued.remove(&target);
                if self.serve(target) {
                    self.ready(target, workspace);
                }
            }
        }
    }

    /// Starts a lane's next attempts; answers whether it has more to start.
    fn serve(&mut self, target: i64) -> bool {
        let now_ms = self.parts.clock.now_ms();
        let Some(lane) = self.lanes.get_mut(&target) else { return false };
        let routes = self.parts.routing.of(&self.parts.catalogue, lane.workspace);
        let Some(route) = routes.targets.get(&target) else {
            self.cancel_all(target, now_ms);
            return false;
        };
        lane.follow(route.lane, route.status, now_ms);
        for _ in 0..QUANTUM {
            if self.in_flight >= self.parts.capacity {
                return true;
            }
            let crowded = self.in_flight > self.parts.capacity / 2;
            let Some(lane) = self.lanes.get_mut(&target) else { return false };
            match lane.next(now_ms, crowded) {
                Next::Run(delivery) => {
                    self.in_flight += 1;
                    self.start(*delivery, Arc::clone(route));
                }
                Next::Wait { until_ms, limited } => {
                    let workspace = lane.workspace;
                    if limited {
                        self.parts.steward.tell(News::RateLimited { workspace, target, until_ms });
                    }
                    self.fetch(target, now_ms);
                    self.arm_later(target, now_ms);
                    self.arm_at(target, until_ms.max(now_ms + 1));
                    return false;
                }
                Next::Idle => {
                    self.fetch(target, now_ms);
                    self.arm_later(target, now_ms);
                    return false;
                }
            }
        }
        self.fetch(target, now_ms);
        true
    }

    /// Re-arms the due timer of a lane that has nothing to do now, unless what is due waits for something else to happen first.
    fn arm_later(&mut self, target: i64, now_ms: i64) {
        if self.lanes.get(&target).is_some_and(|lane| lane.next_due_ms > now_ms) {
            self.arm(target);
        }
    }

    fn start(&mut self, delivery: PendingDelivery, route: Arc<TargetRoute>) {
        let parts = self.parts.clone();
        self.parts.tasks.spawn("attempt", async move {
            let (settlement, finished) = parts.sender.attempt(delivery, &route).await;
            // The outcome is handed to the settler before the permit comes back: unsettled outcomes are bounded by what may be in flight.
            parts.settler.settle(settlement).await;
            parts.lanes.send(finished.target, Command::Finished(finished)).await;
        });
    }

    fn fetch(&mut self, target: i64, now_ms: i64) {
        while let Some(want) = self.lanes.get_mut(&target).and_then(|lane| lane.want(now_ms)) {
            let parts = self.parts.clone();
            self.parts.tasks.spawn("page", async move {
                let command = match want {
                    Want::Queued { after, items, bytes } => {
                        let page = parts.journal.queued(target, after, PageLimit { items, bytes }).await;
                        let full = page
                            .as_ref()
                            .is_ok_and(|p| p.len() >= items || p.iter().map(|d| d.event.payload.len()).sum::<usize>() >= bytes);
                        Command::QueuedPage { target, page: logged(page), full }
                    }
                    Want::Due { items, bytes } => {
                        Command::DuePage { target, page: logged(due_page(&parts, target, now_ms, items, bytes).await) }
                    }
                };
                parts.lanes.send(target, command).await;
            });
        }
    }

    /// The target is gone: nothing of it will be sent.
    fn cancel_all(&mut self, target: i64, now_ms: i64) {
        let Some(lane) = self.lanes.get_mut(&target) else { return };
        let mut cancelled = Vec::new();
        while let Some(delivery) = lane.take_any() {
            cancelled.push(cancellation(delivery.delivery.key, target, now_ms));
        }
        let settler = self.parts.settler.clone();
        if !cancelled.is_empty() {
            self.parts.tasks.spawn("cancel", async move {
                for settlement in cancelled {
                    settler.settle(settlement).await;
                }
            });
        }
        self.fetch(target, now_ms);
        self.arm_later(target, now_ms);
    }
}

async fn due_page(
    parts: &ShardParts,
    target: i64,
    now_ms: i64,
    items: usize,
    bytes: usize,
) -> Result<(Vec<PendingDelivery>, i64), posthaste_store::StoreError> {
    let start = (i64::MIN, DeliveryKey(0));
    let page = parts.journal.due(target, start, now_ms, PageLimit { items, bytes }).await?;
    let cut = page.len() >= items || page.iter().map(|d| d.event.payload.len()).sum::<usize>() >= bytes;
    let next = if cut { now_ms } else { parts.journal.next_due(target, (now_ms, DeliveryKey(i64::MAX))).await?.unwrap_or(i64::MAX) };
    Ok((page, next))
}

fn logged<T>(page: Result<T, posthaste_store::StoreError>) -> Option<T> {
    page.inspect_err(|error| tracing::error!(%error, "the journal did not answer a page; it will be asked again")).ok()
}

pub(crate) fn cancellation(key: DeliveryKey, target: i64, now_ms: i64) -> Settlement {
    Settlement { key, target, attempt: None, state: DeliveryState::Cancelled, due_ms: 0, at_ms: now_ms }
}

fn health(lane: &Lane) -> LaneHealth {
    let breaker = match lane.breaker.state() {
        State::Active => "active",
        State::Probing => "probing",
        State::Paused => "paused",
        State::Disabled => "disabled",
    };
    LaneHealth {
        breaker: breaker.into(),
        backlog: lane.backlog,
        in_flight: lane.in_flight,
        oldest_ms: lane.oldest_ms(),
        last_success_ms: lane.last_success_ms,
        last_failure_ms: lane.last_failure_ms,
        limited_until_ms: lane.limited_until_ms,
    }
}
