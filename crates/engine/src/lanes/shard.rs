//! A shard: the one task that owns a part of the lanes.
//!
//! It takes commands, wakes at the earliest time any lane asked for, and runs attempts. It never waits for a store, a target or
//! another task: pages and long attempts run elsewhere and report back, quick ones are polled side by side.
//!
//! Who is next among the lanes is decided by [`Fair`]; what is next in a lane by the lane.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::{Delivery, DeliveryState, PendingDelivery};
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::breaker::{Breaker, Effect, Settings as BreakerSettings};
use posthaste_domain::policy::lane::{Class, Fair, FairSettings, Next};
use posthaste_store::{Journal, Settlement, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::attempts::{Ended, Start};
use super::state::{LaneNext, LaneState};
use super::{Arrival, Budget, Command, How, LaneSum, Lanes, Page, Reread, Yielding};
use crate::attempt::Sender;
use crate::batches::Gate;
use crate::catalogue::Catalogue;
use crate::lanes::large::LargeEvents;
use crate::membership::Tenure;
use crate::routing::Routing;
use crate::settle::{Settler, Unsettled};
use crate::steward::{News, Steward};
use crate::tasks::Tasks;

/// Bytes that a workspace may start before it is the next one's turn.
const QUANTUM: u32 = 64 << 10;

/// The longest sleep. The clock may step forward, after the machine itself slept for one, and no timer of the runtime notices that.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Commands, and ended attempts, that are handled before others may start.
const TURN: usize = 256;

/// How long a lane waits after the journal failed to answer a page.
const PAGE_RETRY: Duration = Duration::from_secs(1);

/// How often lanes give back what they hold above their share.
const TRIM_MS: i64 = 1_000;

/// While what waited gives way, pages are read for this part of a second: reading much at once takes the processor for long.
const BITES: u32 = 16;

/// How long an open batch is put off.
const OPEN_BATCH_MS: i64 = 1_000;

/// What shards are made of.
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
    /// Attempts under way at once in this shard.
    pub capacity: u32,
    /// Memory of the lanes.
    pub budget: Arc<Budget>,
    /// How much what waited gives way to what comes in.
    pub yielding: Arc<Yielding>,
    pub breaker: BreakerSettings,
    pub gate: Gate,
    pub large: LargeEvents,
    /// Nodes that live, this one included.
    pub nodes: Arc<AtomicU32>,
    /// Until when what the lanes hold is this node's.
    pub tenure: Tenure,
}

struct Shard {
    /// Shared with the tasks of attempts and pages.
    parts: Arc<ShardParts>,
    lanes: HashMap<i64, LaneState>,
    fair: Fair<i64, i64>,
    timers: BTreeSet<(i64, i64)>,
    timer_of: HashMap<i64, i64>,
    /// Attempts that may start.
    started: Vec<Start>,
    /// Since when the deliveries that this turn brought to live lanes are on disk.
    live_since: Option<Instant>,
    /// Whether a live delivery started in this turn.
    has_live: bool,
    /// Deliveries that this turn brought to late lanes.
    late_came: u32,
    /// When late lanes may go on.
    late_at: Option<Instant>,
    /// Outcomes of this turn.
    outcomes: Vec<Unsettled>,
    /// Outcomes on their way to the disk, over all lanes.
    settling: usize,
    /// When lanes are looked through next for what they hold above their share.
    trim_at_ms: i64,
    /// Set at shutdown: nothing is started any more.
    draining: bool,
    /// Who waits for everything to be on disk.
    drained: Option<oneshot::Sender<()>>,
}

impl ShardParts {
    /// Runs until the tasks are cancelled.
    pub async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let cancelled = self.tasks.cancelled();
        let fair = Fair::new(FairSettings { in_flight: self.capacity, quantum: QUANTUM });
        let mut shard = Shard {
            parts: Arc::new(self),
            lanes: HashMap::new(),
            fair,
            timers: BTreeSet::new(),
            timer_of: HashMap::new(),
            started: Vec::new(),
            live_since: None,
            has_live: false,
            late_came: 0,
            late_at: None,
            outcomes: Vec::new(),
            settling: 0,
            trim_at_ms: 0,
            draining: false,
            drained: None,
        };
        let mut attempts = FuturesUnordered::new();
        let (mut waiting, mut ended) = (Vec::with_capacity(TURN), Vec::with_capacity(TURN));
        tokio::pin!(cancelled);
        loop {
            let now_ms = shard.parts.clock.now_ms();
            let sleep = shard.timers.first().map(|(at, _)| Duration::from_millis((at - now_ms).max(0) as u64).min(LONGEST_SLEEP));
            let late = shard.late_at.map(|at| at.saturating_duration_since(Instant::now()));
            let sleep = sleep.into_iter().chain(late).min();
            let timer = async {
                match sleep {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(timer);
            // All sources are asked each time: commands that keep coming must not keep attempts from going on.
            let is_over = poll_fn(|cx| {
                let is_over = cancelled.as_mut().poll(cx).is_ready();
                let has_commands = commands.poll_recv_many(cx, &mut waiting, TURN);
                let has_ended = poll_ended(&mut attempts, &mut ended, cx);
                let is_due = timer.as_mut().poll(cx).is_ready();
                let is_over = is_over || matches!(has_commands, Poll::Ready(0));
                if is_over || has_commands.is_ready() || has_ended || is_due { Poll::Ready(is_over) } else { Poll::Pending }
            })
            .await;
            if is_over {
                return;
            }
            for one in ended.drain(..) {
                shard.ended(one);
            }
            for command in waiting.drain(..) {
                shard.handle(command);
            }
            shard.wake();
            shard.trim();
            shard.dispatch();
            for start in shard.started.drain(..) {
                if start.is_quick() {
                    attempts.push(start.run(Arc::clone(&shard.parts)));
                } else {
                    spawn_attempt(&shard.parts, start);
                }
            }
            shard.parts.settler.settle(&mut shard.outcomes);
            shard.tell_drained();
        }
    }
}

/// Moves what has ended to `ended`; answers whether that was anything.
fn poll_ended<F>(attempts: &mut FuturesUnordered<F>, ended: &mut Vec<Ended>, cx: &mut Context<'_>) -> bool
where
    F: Future<Output = Ended>,
{
    while !attempts.is_empty() && ended.len() < TURN {
        match attempts.poll_next_unpin(cx) {
            Poll::Ready(Some(one)) => ended.push(one),
            Poll::Ready(None) | Poll::Pending => break,
        }
    }
    !ended.is_empty()
}

/// Runs an attempt in a task of its own.
fn spawn_attempt(parts: &Arc<ShardParts>, start: Start) {
    let parts = Arc::clone(parts);
    let tasks = parts.tasks.clone();
    tasks.spawn("attempt", async move {
        let target = start.target.number;
        let ended: Pin<Box<dyn Future<Output = Ended> + Send>> = Box::pin(start.run(Arc::clone(&parts)));
        let ended = Box::new(ended.await);
        parts.lanes.send(target, Command::Ended(ended)).await;
    });
}

impl Shard {
    fn handle(&mut self, command: Command) {
        let now_ms = self.parts.clock.now_ms();
        match command {
            Command::Arrivals(arrivals, since) => {
                for arrival in arrivals {
                    self.arrived(arrival, since, now_ms);
                }
            }
            Command::Ended(ended) => self.ended(*ended),
            Command::Settled(settled) => {
                for one in settled {
                    self.change(one.target, |lane| lane.settled(one.key, one.attempt, one.retry));
                }
            }
            Command::Cancelled { target, key } => self.change(target, |lane| lane.cancelled(key)),
            Command::QueuedPage { target, page } => self.change(target, |lane| lane.queued_page(page)),
            Command::ScheduledPage { target, page } => self.change(target, |lane| lane.scheduled_page(page)),
            Command::Refresh { target } => self.change(target, |_| ()),
            Command::Recover { workspace, summary, last_key } => {
                let lane = self.lane(summary.target, workspace, now_ms);
                lane.recover(last_key, summary.queued, summary.scheduled);
                let class = lane.class();
                self.fair.ready(workspace, summary.target, class);
            }
            Command::Reread { target, lane } => {
                let workspace = lane.workspace;
                let state = self.lane(target, workspace, now_ms);
                state.reread(lane);
                let class = state.class();
                self.fair.ready(workspace, target, class);
            }
            Command::Heard { workspace, target, snapshot } => {
                let settings = self.parts.breaker;
                if let Some(lane) = self.lanes.get_mut(&target)
                    && lane.heard(settings, snapshot, now_ms)
                {
                    self.fair.ready(workspace, target, lane.class());
                }
            }
            Command::Busy { answer } => {
                let busy = self.lanes.iter().filter(|(_, lane)| !lane.is_idle(now_ms));
                let _ = answer.send(busy.map(|(target, _)| *target).collect());
            }
            Command::Sum { answer } => {
                let add = |sum: LaneSum, lane: &LaneState| lane.add_to(sum, now_ms);
                let _ = answer.send(self.lanes.values().fold(LaneSum::default(), add));
            }
            Command::Restore { workspace, target, snapshot } => {
                let breaker = Breaker::restore(self.parts.breaker, snapshot, now_ms);
                self.lane(target, workspace, now_ms).restore(breaker);
            }
            Command::Health { target, answer } => {
                let _ = answer.send(self.lanes.get(&target).map(|lane| lane.health(now_ms)));
            }
            Command::HealthOfAll { answer } => {
                let _ = answer.send(self.lanes.iter().map(|(target, lane)| (*target, lane.health(now_ms))).collect());
            }
            // The turn that it begins is what it is for.
            Command::Wake => {}
            Command::Drain { answer } => {
                self.draining = true;
                self.drained = Some(answer);
            }
        }
    }

    fn lane(&mut self, target: i64, workspace: i64, now_ms: i64) -> &mut LaneState {
        let parts = &self.parts;
        self.lanes
            .entry(target)
            .or_insert_with(|| LaneState::new(workspace, Arc::clone(&parts.budget), Breaker::new(parts.breaker, now_ms)))
    }

    fn arrived(&mut self, arrival: Arrival, since: Instant, now_ms: i64) {
        let Delivery { target, workspace, key, is_batch, .. } = arrival.delivery.delivery;
        // From here on the lane may send it.
        let is_cancelled = is_batch && arrival.how != How::Again && !self.parts.gate.close(key);
        let lane = self.lane(target, workspace, now_ms);
        if is_cancelled {
            // Or will be, and is not counted. If that fails, it is there to be sent: the lane looks.
            lane.reread(Reread { workspace, count: 0, lowest: key, last_key: key });
        } else {
            lane.arrived(arrival);
        }
        let class = lane.class();
        match class {
            Class::Live => self.live_since = Some(self.live_since.map_or(since, |earlier| earlier.min(since))),
            Class::Late => self.late_came += 1,
        }
        self.fair.ready(workspace, target, class);
    }

    /// Lets something happen to a lane, which may then have something to run.
    fn change(&mut self, target: i64, change: impl FnOnce(&mut LaneState)) {
        let Some(lane) = self.lanes.get_mut(&target) else { return };
        self.settling -= lane.settling();
        change(lane);
        self.settling += lane.settling();
        self.fair.ready(lane.workspace, target, lane.class());
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { target, key, verdict, outcome } = ended;
        self.outcomes.push(outcome);
        let now_ms = self.parts.clock.now_ms();
        let mut effects = Vec::new();
        self.change(target, |lane| effects = lane.ended(key, verdict, now_ms, rand::random()));
        let Some(lane) = self.lanes.get(&target) else { return };
        self.fair.finished(lane.workspace);
        let (workspace, snapshot) = (lane.workspace, lane.breaker().snapshot());
        for effect in effects {
            match effect {
                Effect::StateChanged { from, to, reason } => {
                    self.parts.steward.tell(News::Breaker { workspace, target, from, to, reason, snapshot });
                }
                Effect::ProbeAt(at_ms) | Effect::SlowedUntil(at_ms) => self.wake_at(target, at_ms),
            }
        }
    }

    fn tell_drained(&mut self) {
        if self.drained.is_some() && self.fair.in_flight() == 0 && self.settling == 0 {
            let _ = self.drained.take().map(|answer| answer.send(()));
        }
    }

    fn wake(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        while let Some(&(at_ms, target)) = self.timers.first() {
            if at_ms > now_ms {
                break;
            }
            self.timers.pop_first();
            self.timer_of.remove(&target);
            self.change(target, |_| ());
        }
    }

    /// Wakes the lane at a time, or earlier if it already asked for that.
    fn wake_at(&mut self, target: i64, at_ms: i64) {
        match self.timer_of.get(&target) {
            Some(set) if *set <= at_ms => return,
            Some(set) => drop(self.timers.remove(&(*set, target))),
            None => {}
        }
        self.timers.insert((at_ms, target));
        self.timer_of.insert(target, at_ms);
    }

    /// Serves ready lanes while there is room: live ones first, and beside them as many late ones as do not disturb them.
    fn dispatch(&mut self) {
        self.late_at = None;
        // Without a tenure others may be sending it already.
        if self.draining || !self.parts.tenure.holds() {
            return;
        }
        while let Some((workspace, target)) = self.fair.next_lane(Class::Live) {
            if !self.serve(target, Class::Live) {
                self.fair.not_ready(workspace, target);
            }
        }
        let live_since = self.live_since.take().filter(|_| std::mem::take(&mut self.has_live));
        self.parts.yielding.saw(live_since, std::mem::take(&mut self.late_came));
        while self.fair.has_ready(Class::Late) {
            match self.parts.yielding.room() {
                Ok(room) => {
                    if !self.dispatch_late(room as usize) {
                        return;
                    }
                }
                Err(until) => {
                    self.late_at = Some(until);
                    return;
                }
            }
        }
    }

    /// Lets late lanes start so many; answers whether they did.
    fn dispatch_late(&mut self, room: usize) -> bool {
        let before = self.started.len();
        while self.started.len() - before < room {
            let Some((workspace, target)) = self.fair.next_lane(Class::Late) else { break };
            if !self.serve(target, Class::Late) {
                self.fair.not_ready(workspace, target);
            }
        }
        let started = self.started.len() - before;
        self.parts.yielding.started(u32::try_from(started).unwrap_or(u32::MAX));
        started == room
    }

    /// Starts the next attempt of a lane that was named in this class; answers whether there was one.
    fn serve(&mut self, target: i64, named: Class) -> bool {
        let now_ms = self.parts.clock.now_ms();
        let Some(workspace) = self.lanes.get(&target).map(|lane| lane.workspace) else { return false };
        let routes = self.parts.routing.of(&self.parts.catalogue, workspace);
        let Some(route) = routes.targets.get(&target) else {
            self.cancel_all(target, now_ms);
            return false;
        };
        let nodes = self.parts.nodes.load(Ordering::Relaxed);
        // However many a policy allows, a part of what is free stays so: a target that hangs must not take the last place.
        let most = ((self.parts.capacity - self.fair.in_flight().min(self.parts.capacity)) / 2).max(1);
        loop {
            let Some(lane) = self.lanes.get_mut(&target) else { return false };
            lane.follow(route.lane.shared_by(nodes), route.status, now_ms);
            if lane.classify(now_ms) == Class::Late && named == Class::Live {
                self.fair.not_ready(workspace, target);
                self.fair.ready(workspace, target, Class::Late);
                return true;
            }
            let next = lane.next(now_ms, most);
            if let Next::Run { item, .. } = next {
                if item.delivery.is_batch && self.parts.gate.is_open(item.delivery.key) {
                    // It came in a page of the journal. The committer will hand it over.
                    lane.postpone(item, now_ms + OPEN_BATCH_MS);
                    continue;
                }
                let cost = u32::try_from(item.event.payload.len()).unwrap_or(u32::MAX);
                self.fair.started(workspace, named, cost);
                self.has_live |= named == Class::Live;
                self.started.push(Start { delivery: item, target: Arc::clone(route), routes: Arc::clone(&routes) });
                return true;
            }
            if let Next::WakeAt { at_ms, rate_notice: true } = next {
                self.parts.steward.tell(News::RateLimited { workspace, target, until_ms: at_ms });
            }
            if !self.fetched(target, &next) {
                if let Some(lane) = self.lanes.get_mut(&target) {
                    lane.rest();
                }
                if let Next::WakeAt { at_ms, .. } = next {
                    self.wake_at(target, at_ms.max(now_ms + 1));
                }
                return false;
            }
        }
    }

    /// Reads what a lane asked for, if it asked.
    fn fetched(&mut self, target: i64, next: &LaneNext) -> bool {
        let Some(lane) = self.lanes.get_mut(&target) else { return false };
        if !matches!(next, Next::NeedPage { .. } | Next::NeedScheduled { .. }) {
            return false;
        }
        // What gives way is read in small bites too.
        let most = self.parts.yielding.limit().filter(|_| lane.class() == Class::Late).map_or(usize::MAX, |limit| (limit / BITES) as usize);
        let limit = lane.room(next, most.max(1));
        let parts = Arc::clone(&self.parts);
        match *next {
            Next::NeedPage { after_key } => self.parts.tasks.spawn("page", async move {
                let after = after_key.unwrap_or(DeliveryKey(0));
                let page = checked(parts.journal.queued(target, after, limit).await, &parts.large).await;
                parts.lanes.send(target, Command::QueuedPage { target, page }).await;
            }),
            Next::NeedScheduled { after } => self.parts.tasks.spawn("page", async move {
                let after = after.unwrap_or((i64::MIN, DeliveryKey(0)));
                let page = checked(parts.journal.due(target, after, i64::MAX, limit).await, &parts.large).await;
                parts.lanes.send(target, Command::ScheduledPage { target, page }).await;
            }),
            Next::Run { .. } | Next::Idle | Next::WakeAt { .. } => return false,
        }
        true
    }

    /// While memory is short, lanes that hold more than their share give the rest back, once in a while.
    fn trim(&mut self) {
        if !self.parts.budget.is_short() {
            return;
        }
        let now_ms = self.parts.clock.now_ms();
        if now_ms >= self.trim_at_ms {
            self.trim_at_ms = now_ms + TRIM_MS;
            self.lanes.values_mut().for_each(LaneState::trim);
        }
    }

    /// The target is gone: nothing of it will be sent.
    fn cancel_all(&mut self, target: i64, now_ms: i64) {
        let mut cancelled = Vec::new();
        loop {
            let Some(lane) = self.lanes.get_mut(&target) else { return };
            self.settling -= lane.settling();
            let next = lane.next_of_deleted(now_ms);
            self.settling += lane.settling();
            if let Next::Run { key, .. } = next {
                cancelled.push(cancellation(key, target, now_ms));
            } else if !self.fetched(target, &next) {
                break;
            }
        }
        if self.lanes.get(&target).is_some_and(LaneState::is_empty) {
            self.lanes.remove(&target);
        }
        if !cancelled.is_empty() {
            let settler = self.parts.settler.clone();
            self.parts.tasks.spawn("cancel", async move {
                for settlement in cancelled {
                    let room = settler.room().await;
                    settler.settle(&mut vec![Unsettled { settlement, workspace: None, received_ms: 0, retry: None, room }]);
                }
            });
        }
    }
}

/// A page, and whether the journal has no more: only an empty page says so, since one ends before an item that would be too much. After a
/// failure it waits a little: the lane will ask again at once.
async fn checked(page: Result<Vec<PendingDelivery>, StoreError>, large: &LargeEvents) -> Option<Page> {
    match page {
        Ok(mut page) => {
            let reached_end = page.is_empty();
            page.iter_mut().for_each(|delivery| large.share(&mut delivery.event));
            Some((page, reached_end))
        }
        Err(error) => {
            tracing::error!(%error, "the journal did not answer a page; it will be asked again");
            tokio::time::sleep(PAGE_RETRY).await;
            None
        }
    }
}

pub(crate) fn cancellation(key: DeliveryKey, target: i64, now_ms: i64) -> Settlement {
    Settlement { key, target, attempt: None, state: DeliveryState::Cancelled, due_ms: 0, at_ms: now_ms, is_awaited: false }
}
