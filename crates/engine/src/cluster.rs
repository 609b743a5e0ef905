//! One node among others: says that it lives, hears what the others changed, takes over what they left, and does what they ask for.
//!
//! Invariants:
//! - What was taken over reaches the lanes by way of the committer, after which nothing is appended below it.
//! - A node starts no attempt once its last heartbeat is so old that others may take it for gone: its [`Tenure`](crate::membership::Tenure) is over. The next heartbeat that is
//!   answered renews it. A node that others took for gone does nothing more; whoever runs it begins anew.
//! - Heartbeats wait for nothing but the database. What they bring is followed by a task of its own; a node that cannot follow falls silent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste_domain::id::{DeliveryKey, MAX_ORDINAL, Sequence};
use posthaste_domain::resource::{Health, Kind, Replay, Subscription, Target};
use posthaste_store::{Beat, Call, CallKind, Cluster, Inherited, StoreError};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::accept::Takeover;
use crate::batches::{Batches, Gate};
use crate::engine::Engine;
use crate::gatherer::{Gatherer, TookOver};
use crate::lanes::{Command, Reread};
use crate::replays::Giving;
use crate::visible::Visible;

/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// After how long nothing is stored any more below what was leased.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);
/// After how long the answer to a heartbeat is late: before others take this node for gone.
const LATE: Duration = Duration::from_secs(2);
/// Up to which time an answer to a heartbeat tells the time well enough.
const PROMPT: Duration = Duration::from_millis(250);
/// How often what a node says of itself is counted anew.
const REPORT: Duration = Duration::from_secs(5);
/// Pause before something is tried again that the database did not answer.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

impl Engine {
    /// Nodes that live and share the store with this one, itself included.
    pub fn living_nodes(&self) -> u32 {
        self.inner().membership.nodes().load(Ordering::Relaxed)
    }

    /// The other nodes, unless this one is alone on its store.
    pub fn cluster(&self) -> Option<&Arc<dyn Cluster>> {
        self.inner().cluster.as_ref()
    }

    /// Resolves when other nodes took this one for gone. It has to begin anew then: nothing that it does is stored any more.
    pub async fn lost(&self) {
        self.inner().membership.lost().await;
    }

    fn reread(&self, lane: &Inherited, last_key: DeliveryKey) -> (i64, Reread) {
        let workspace = self.by_number::<Target>(lane.target).map_or(0, |target| target.workspace);
        (lane.target, Reread { workspace, count: lane.queued + lane.scheduled, lowest: lane.lowest, last_key })
    }
}

/// What may be stored, or not: the answer to a commit did not come.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    lanes: Vec<Inherited>,
    /// Batches among it that nobody sends before it is known what they have.
    batches: Vec<DeliveryKey>,
}

impl Doubt {
    /// Deliveries by target, and batches among others.
    pub fn of(deliveries: impl Iterator<Item = (i64, DeliveryKey)>, batches: Vec<(i64, DeliveryKey)>) -> Self {
        let mut lanes: BTreeMap<i64, Inherited> = BTreeMap::new();
        for (target, lowest) in deliveries.chain(batches.iter().copied()) {
            let lane = lanes.entry(target).or_insert(Inherited { target, queued: 0, scheduled: 0, lowest });
            lane.lowest = lane.lowest.min(lowest);
        }
        Self { lanes: lanes.into_values().collect(), batches: batches.into_iter().map(|(_, key)| key).collect() }
    }

    /// Has it looked for once that is decided. If too many wait for that already, the next start finds it.
    pub fn tell(self, doubts: &mpsc::Sender<Self>, gate: &Gate) {
        if self.lanes.is_empty() {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(doubt) | mpsc::error::TrySendError::Closed(doubt)) = doubts.try_send(self) {
            doubt.release(gate);
        }
    }

    /// Its batches may be sent.
    fn release(&self, gate: &Gate) {
        for batch in &self.batches {
            gate.close(*batch);
        }
    }
}

/// What a node of a cluster needs besides its engine.
pub(crate) struct Shared {
    pub cluster: Arc<dyn Cluster>,
    pub takeovers: mpsc::Sender<Takeover>,
    pub doubts: mpsc::Receiver<Doubt>,
    pub visible: Visible,
    /// Of targets with an owner.
    pub batches: Batches,
}

/// Starts what a node of a cluster does.
pub(crate) fn start(engine: &Engine, shared: Shared) {
    let Shared { cluster, takeovers, doubts, visible, batches } = shared;
    let bell = cluster.bells().arrivals;
    let member = Member { engine: engine.clone(), cluster, takeovers, visible, in_order: Arc::default(), took_over: TookOver::default() };
    let (took_over, in_order) = (member.took_over.clone(), Arc::clone(&member.in_order));
    let gatherer = Gatherer { engine: engine.clone(), cluster: Arc::clone(&member.cluster), batches, took_over, in_order };
    engine.tasks().spawn("gatherer", gatherer.run(bell));
    let (beats, beaten) = watch::channel(None);
    engine.tasks().spawn("heartbeat", member.clone().live(beats));
    engine.tasks().spawn("hearing", member.clone().follow_beats(beaten));
    engine.tasks().spawn("owner", member.clone().own());
    engine.tasks().spawn("doubts", member.resolve(doubts));
}

#[derive(Clone)]
struct Member {
    engine: Engine,
    cluster: Arc<dyn Cluster>,
    takeovers: mpsc::Sender<Takeover>,
    visible: Visible,
    /// Held from asking the store what there is to send until it is on its way to the lanes: what came later must not get there first, or
    /// a target with order would get it first.
    in_order: Arc<Mutex<()>>,
    took_over: TookOver,
}

impl Member {
    /// Lives until the engine's tasks are cancelled, or it is lost.
    async fn live(self, beats: watch::Sender<Option<Beat>>) {
        let cancelled = self.engine.tasks().cancelled();
        tokio::pin!(cancelled);
        let mut news = self.cluster.bells().news;
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut report, mut reported) = (String::from("{}"), None);
        // Since when this node has not heard of which version of the catalog.
        let mut behind: Option<(Instant, i64)> = None;
        let is_adopting = Arc::new(AtomicBool::new(false));
        let mut leased: VecDeque<(Instant, i64)> = VecDeque::new();
        loop {
            tokio::select! {
                () = &mut cancelled => return,
                _ = ticks.tick() => {}
                Ok(()) = news.changed() => {}
            }
            if reported.is_none_or(|at: Instant| at.elapsed() >= REPORT) {
                report = self.report().await;
                reported = Some(Instant::now());
            }
            // Who cannot follow the others is no longer one of them: they would wait for it whenever they change something.
            behind = behind.filter(|(_, version)| self.engine.inner().catalogue.version() < *version);
            if behind.is_some_and(|(since, _)| since.elapsed() >= self.cluster.lapse()) {
                if !self.engine.inner().membership.is_away() {
                    tracing::error!("what other nodes changed cannot be read: this node says no more that it lives until it can");
                }
                self.set_away(true);
                continue;
            }
            let (sent, met) = (Instant::now(), self.visible.met());
            match self.beat(&report).await {
                Ok(beat) => {
                    self.set_away(false);
                    let membership = &self.engine.inner().membership;
                    let had_ended = membership.heard(sent, beat.nodes);
                    self.visible.heard(met);
                    if had_ended {
                        self.engine.inner().lanes.wake().await;
                    }
                    self.agree(&beat, sent.elapsed());
                    leased.push_back((Instant::now(), beat.leased));
                    while let Some((_, last)) = leased.front().copied().filter(|(at, _)| at.elapsed() >= SETTLED) {
                        leased.pop_front();
                        self.visible.raise(last);
                    }
                    beats.send_replace(Some(beat));
                    if self.engine.inner().catalogue.version() < beat.catalog {
                        behind.get_or_insert((sent, beat.catalog));
                    }
                    if (beat.orphans > 0 || beat.has_gifts) && !is_adopting.swap(true, Ordering::AcqRel) {
                        self.adopt(beat, Arc::clone(&is_adopting));
                    }
                }
                Err(StoreError::Fenced) => return self.engine.inner().membership.lose(),
                Err(StoreError::Closed) => return,
                Err(error) => {
                    if !self.engine.inner().membership.is_away() {
                        tracing::warn!(%error, "the database does not answer; events are refused until it does");
                    }
                    self.set_away(true);
                }
            }
        }
    }

    /// Takes the time from the database, which all nodes share. What was long under way tells little.
    fn agree(&self, beat: &Beat, took: Duration) {
        if took <= PROMPT {
            self.engine.clock().agree(beat.now_ms + i64::try_from(took.as_millis() / 2).unwrap_or(0));
        }
    }

    /// Follows what heartbeats bring, the latest first.
    async fn follow_beats(self, mut beats: watch::Receiver<Option<Beat>>) {
        let cancelled = self.engine.tasks().cancelled();
        tokio::pin!(cancelled);
        let mut again = tokio::time::interval(BEAT);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_behind = beats.borrow().is_some_and(|beat| self.engine.inner().catalogue.version() < beat.catalog);
            tokio::select! {
                () = &mut cancelled => return,
                changed = beats.changed() => if changed.is_err() { return },
                // Also while no heartbeat is answered.
                _ = again.tick(), if is_behind => {}
            }
            let beat = *beats.borrow_and_update();
            if let Some(beat) = beat {
                self.heard(beat).await;
            }
        }
    }

    /// One heartbeat. An answer that is late is waited for, and the database is away meanwhile.
    async fn beat(&self, report: &str) -> Result<Beat, StoreError> {
        let beat = self.cluster.beat(self.engine.inner().catalogue.version(), report);
        tokio::pin!(beat);
        if let Ok(answer) = tokio::time::timeout(LATE, &mut beat).await {
            return answer;
        }
        self.set_away(true);
        beat.await
    }

    fn set_away(&self, is_away: bool) {
        self.engine.inner().membership.set_away(is_away);
    }

    /// What this node says of itself.
    async fn report(&self) -> String {
        let sum = self.engine.inner().lanes.sum().await;
        let oldest_ms = sum.oldest_ms.map(|since| (self.engine.now_ms() - since).max(0));
        let url = &self.engine.settings().public_base_url;
        serde_json::json!({ "url": url, "pending": sum.backlog, "in_flight": sum.in_flight, "waiting_ms": oldest_ms }).to_string()
    }

    async fn heard(&self, beat: Beat) {
        if beat.catalog > self.engine.inner().catalogue.version()
            && let Err(error) = self.engine.inner().catalogue.hear().await
        {
            tracing::warn!(%error, "what other nodes changed could not be read; it is tried again");
        }
        self.follow().await;
        if beat.has_surplus {
            self.give();
        }
        if beat.has_calls {
            match self.cluster.calls().await {
                Ok(calls) => calls.into_iter().for_each(|call| self.engine.tasks().spawn("call", self.clone().answer(call))),
                Err(error) => tracing::warn!(%error, "what other nodes ask for could not be read; it is tried again"),
            }
        }
    }

    /// Does what follows from others' changes.
    async fn follow(&self) {
        let heard = self.engine.inner().catalogue.heard();
        if heard.sessions
            && let Err(error) = self.engine.inner().sessions.hear().await
        {
            tracing::warn!(%error, "sessions of other nodes could not be read");
        }
        for (kind, workspace, number) in heard.records {
            match kind {
                Kind::Health => {
                    if let Some(Health { target, breaker: snapshot }) =
                        self.engine.by_number::<Health>(number).map(|entry| entry.doc.clone())
                    {
                        self.engine.inner().lanes.send(target, Command::Heard { workspace, target, snapshot }).await;
                    }
                }
                Kind::Replay => {
                    if let Some(entry) = self.engine.by_number::<Replay>(number) {
                        self.engine.continue_replay(&entry);
                    }
                }
                Kind::Subscription => {
                    let entry = self.engine.by_number::<Subscription>(number);
                    let target = entry.and_then(|entry| self.engine.number_of(workspace, &entry.doc.target_id));
                    if let Some(target) = target {
                        self.engine.refresh_kind(Kind::Target, target).await;
                    }
                }
                other => self.engine.refresh_kind(other, number).await,
            }
        }
    }

    /// Lets go of a part of the targets that this node owns beyond its share, once nothing is left to be sent to any of them: their
    /// lanes begin anew elsewhere. Nobody waits for it.
    fn give(&self) {
        let member = self.clone();
        self.engine.tasks().spawn("gift", async move {
            // Whoever takes something over, or gives already, goes first.
            let Ok(_order) = member.in_order.try_lock() else { return };
            // What is on its way to the lanes has to be there before they are asked.
            let (told, heard) = oneshot::channel();
            let nothing = Takeover { lanes: Vec::new(), gives_up_block: false, told: Some(told) };
            if member.takeovers.send(nothing).await.is_err() || heard.await.is_err() {
                return;
            }
            let targets = member.engine.inner().lanes.busy().await;
            let (_giving, replays) = Giving::begin(&member.engine);
            match member.cluster.give(targets, replays).await {
                Ok(true) => tracing::info!("gave an eighth of the targets with an owner to a node that has fewer"),
                Ok(false) | Err(StoreError::Closed) => {}
                // The next heartbeat asks again.
                Err(error) => tracing::debug!(%error, "could not give up what is owned beyond the share"),
            }
        });
    }

    /// Takes over a share of what others left, and what they gave, beside the heartbeat.
    fn adopt(&self, beat: Beat, is_adopting: Arc<AtomicBool>) {
        let share = beat.orphans.div_ceil(beat.nodes.max(1) as usize);
        let member = self.clone();
        self.engine.tasks().spawn("takeover", async move {
            let (mut limit, mut is_said) = (share, false);
            loop {
                let order = member.in_order.lock().await;
                match member.cluster.adopt(limit).await {
                    Ok(lanes) => {
                        // Some of it may be batches that were open there.
                        if lanes.iter().any(|lane| lane.scheduled > 0) {
                            member.took_over.note(member.engine.now_ms());
                        }
                        member.hand_over(lanes, true).await;
                        member.engine.continue_replays();
                        break;
                    }
                    Err(StoreError::Closed | StoreError::Fenced) => break,
                    Err(error) => {
                        if !std::mem::replace(&mut is_said, true) {
                            tracing::warn!(%error, "what gone nodes left could not be taken over; it is tried again");
                        }
                        // What was taken has still to be counted.
                        limit = 0;
                        drop(order);
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            is_adopting.store(false, Ordering::Release);
        });
    }

    /// Has lanes read what was taken over, or may have been stored.
    async fn hand_over(&self, lanes: Vec<Inherited>, is_from_others: bool) {
        if lanes.is_empty() {
            return;
        }
        // All that anybody was given before lies below this.
        let bound = loop {
            match self.cluster.lease(1).await {
                Ok(first) => break first,
                Err(StoreError::Closed) => return,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        if is_from_others {
            let pending: u64 = lanes.iter().map(|lane| lane.queued + lane.scheduled).sum();
            tracing::info!(targets = lanes.len(), pending, "took over what another node left");
        }
        let last_key = DeliveryKey::new(Sequence(bound.0), MAX_ORDINAL);
        let lanes = lanes.iter().map(|lane| self.engine.reread(lane, last_key)).collect();
        // What this node appends from now on has to lie above `bound` as well.
        let (told, heard) = oneshot::channel();
        if self.takeovers.send(Takeover { lanes, gives_up_block: true, told: Some(told) }).await.is_ok() {
            let _ = heard.await;
        }
    }

    /// Sends what all nodes accept for the targets that this one owns.
    async fn own(self) {
        let cancelled = self.engine.tasks().cancelled();
        tokio::pin!(cancelled);
        let mut bell = self.cluster.bells().arrivals;
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_behind = true;
        loop {
            tokio::select! {
                () = &mut cancelled => return,
                _ = ticks.tick() => if !is_behind && !self.cluster.is_unsettled() { continue },
                Ok(()) = bell.changed() => {}
            }
            let _order = self.in_order.lock().await;
            // If that fails the next tick asks again.
            is_behind = true;
            let arrived = match self.cluster.arrivals().await {
                Ok(arrived) => arrived,
                Err(StoreError::Closed) => return,
                Err(_) => continue,
            };
            is_behind = false;
            let lane = |one: &posthaste_store::Arrived| {
                let scheduled = u64::from(one.count == 0);
                let inherited = Inherited { target: one.target, queued: one.count, scheduled, lowest: one.first };
                self.engine.reread(&inherited, one.last)
            };
            if !arrived.is_empty() {
                let lanes = arrived.iter().map(lane).collect();
                let _ = self.takeovers.send(Takeover { lanes, gives_up_block: false, told: None }).await;
            }
        }
    }

    /// Looks for deliveries of commits of which nobody knows how they ended.
    async fn resolve(self, mut doubts: mpsc::Receiver<Doubt>) {
        let cancelled = self.engine.tasks().cancelled();
        tokio::pin!(cancelled);
        loop {
            let doubt = tokio::select! {
                () = &mut cancelled => return,
                Some(doubt) = doubts.recv() => doubt,
            };
            // Whatever was begun is stored or undone first: until then a look would tell nothing.
            loop {
                match self.cluster.decided().await {
                    Ok(()) => break,
                    Err(StoreError::Closed | StoreError::Fenced) => return,
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
            doubt.release(&self.engine.inner().gate);
            self.hand_over(doubt.lanes, false).await;
        }
    }

    /// Does what another node asks for.
    async fn answer(self, call: Call) {
        let Call { id, kind, keys, target, at_ms } = call;
        let done = match kind {
            CallKind::Reopen => self.engine.reopen_here(keys, at_ms).await,
            CallKind::Cancel => {
                let mut done = Vec::new();
                for key in keys {
                    if self.engine.cancel_here(key, target, at_ms).await.is_ok() {
                        done.push(key);
                    }
                }
                Ok(done)
            }
        };
        let answered = match done {
            Ok(done) => self.cluster.answer(id, done).await,
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "a call of another node could not be answered");
        }
    }
}
