//! The engine: the path of an event, and the handle that every surface holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use posthaste_channels::Channels;
use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::{DeliveryKey, MAX_ORDINAL, Sequence};
use posthaste_domain::people::Actor;
use posthaste_domain::policy::breaker::{Settings as BreakerSettings, State};
use posthaste_domain::resource::{Health, Target, TargetStatus};
use posthaste_store::{Bins, Catalog, Cluster, History, Journal, LaneSummary, Suppressions};
use tokio::sync::{mpsc, watch};

use crate::accept::{AcceptRequest, Accepted, Committer};
use crate::attempt::Sender;
use crate::batches::{Batches, Gate};
use crate::catalogue::Catalogue;
use crate::cluster::Shared;
use crate::door::Door;
use crate::error::{AcceptError, EngineError};
use crate::format::Formats;
use crate::lanes::large::LargeEvents;
use crate::lanes::{Budget, Command, LaneHealth, Lanes, ShardParts, Yielding};
use crate::membership::Membership;
use crate::messages::Heavy;
use crate::metrics::{Metrics, Totals};
use crate::replays::Replays;
use crate::routing::Routing;
use crate::seldom::Seldom;
use crate::sequences::Sequences;
use crate::series::{Counts, Point, Span};
use crate::sessions::Sessions;
use crate::settings::EngineSettings;
use crate::settle::{self, Level, Settler};
use crate::steward::{self, Steward};
use crate::tasks::Tasks;
use crate::visible::Visible;

/// How long a commit that failed keeps the server from being ready. Short, because only a commit can show that it is over.
const FAILURE_MEMORY_MS: i64 = 10_000;

/// How often the log is told of commits that fail.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Messages between the committer and what listens to other nodes.
const TAKEOVERS: usize = 64;

/// Time for the last commit of a shutdown.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// What an engine is made of.
pub struct Parts {
    /// Configuration.
    pub catalog: Arc<dyn Catalog>,
    /// The hot path.
    pub journal: Arc<dyn Journal>,
    /// What people look at.
    pub history: Arc<dyn History>,
    /// Requests caught by bins.
    pub bins: Arc<dyn Bins>,
    /// Addresses that nothing more is sent to.
    pub suppressions: Arc<dyn Suppressions>,
    /// The other nodes that share all this; `None` for one that is alone.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Kinds of targets.
    pub channels: Channels,
    /// Wire formats.
    pub formats: Formats,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Numbers.
    pub settings: EngineSettings,
}

/// A handle to one running engine. Clones are cheap and mean the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// Whose hands it is in; nobody's means the server's.
    actor: Arc<Actor>,
}

pub(crate) struct Inner {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) sessions: Sessions,
    pub(crate) routing: Arc<Routing>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) history: Arc<dyn History>,
    bins: Arc<dyn Bins>,
    suppressions: Arc<dyn Suppressions>,
    pub(crate) channels: Channels,
    pub(crate) formats: Formats,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: EngineSettings,
    pub(crate) lanes: Lanes,
    pub(crate) sender: Arc<Sender>,
    pub(crate) gate: Gate,
    unsettled: Level,
    budget: Arc<Budget>,
    yielding: Arc<Yielding>,
    pub(crate) metrics: Arc<Metrics>,
    counts: Arc<Counts>,
    pub(crate) door: Arc<Door>,
    committed: watch::Receiver<i64>,
    visible: watch::Receiver<i64>,
    tasks: Tasks,
    pub(crate) cluster: Option<Arc<dyn Cluster>>,
    pub(crate) membership: Membership,
    /// Replays that run in this process.
    pub(crate) replays: Mutex<Replays>,
}

impl Engine {
    /// Loads the catalog, finds what is pending and goes on with it. Among other nodes this takes two seconds more.
    pub async fn start(parts: Parts) -> Result<Self, EngineError> {
        let Parts { catalog, journal, history, bins, suppressions, cluster, channels, formats, clock, settings } = parts;
        let recovered = journal.recover().await?;
        let met = cluster.as_ref().and_then(|cluster| cluster.met()).unwrap_or_default();
        if met.now_ms > 0 {
            clock.agree(met.now_ms);
        }
        let catalogue = Arc::new(Catalogue::load(Arc::clone(&catalog), cluster.clone()).await?);
        // After the catalogue: from its loading on, no other node begins or ends one that this one does not hear of.
        let sessions = Sessions::load(catalog, cluster.clone(), catalogue.standing().clone()).await?;
        let is_shared = cluster.is_some();
        let routing = Arc::new(Routing::new(channels.clone(), formats.clone(), settings.carriers.clone(), is_shared));
        let membership = Membership::new(met.nodes, cluster.as_ref().map(|cluster| cluster.lapse()));
        let metrics = Arc::new(Metrics::default());
        let counts = Arc::new(Counts::new(clock.now_ms()));
        let tasks = Tasks::default();
        let shards = std::thread::available_parallelism().map_or(1, usize::from).min(16);
        let (lanes, receivers) = Lanes::new(shards);
        let (settler, outcomes) = Settler::new();
        let unsettled = settler.level();
        let (steward, news) = Steward::new();
        let gate = Gate::default();
        let busy_since = Arc::default();
        let (door, ticket_queue) = Door::new(
            Arc::clone(&catalogue),
            Arc::clone(&routing),
            Arc::clone(&clock),
            Arc::clone(&suppressions),
            Arc::clone(&busy_since),
            settings.commit_patience,
            settings.accept_queue_bytes,
        );
        let door = Arc::new(door);
        let sender = Arc::new(Sender {
            door: Arc::clone(&door),
            journal: Arc::clone(&journal),
            clock: Arc::clone(&clock),
            catalogue: Arc::clone(&catalogue),
            routing: Arc::clone(&routing),
            public_base_url: settings.public_base_url.clone(),
            page_secret: settings.page_secret,
            recent: crate::messages::Recent::default(),
            steward: steward.clone(),
            heavy: Heavy::default(),
            tenure: membership.tenure(),
        });
        let budget = Arc::new(Budget::new(settings.lane_bytes, settings.lanes_bytes));
        let yielding = Arc::new(Yielding::new(shards));
        let breaker = BreakerSettings { disable_after: settings.disable_after, ..BreakerSettings::default() };
        let shard_parts = ShardParts {
            journal: Arc::clone(&journal),
            clock: Arc::clone(&clock),
            catalogue: Arc::clone(&catalogue),
            routing: Arc::clone(&routing),
            sender: Arc::clone(&sender),
            settler,
            steward,
            lanes: lanes.clone(),
            tasks: tasks.clone(),
            capacity: (settings.global_in_flight / shards).max(1) as u32,
            budget: Arc::clone(&budget),
            yielding: Arc::clone(&yielding),
            breaker,
            gate: gate.clone(),
            large: LargeEvents::default(),
            nodes: membership.nodes(),
            tenure: membership.tenure(),
        };
        for receiver in receivers {
            tasks.spawn("shard", shard_parts.clone().run(receiver));
        }
        drop(shard_parts);
        tasks.spawn(
            "settler",
            settle::run(Arc::clone(&journal), lanes.clone(), Arc::clone(&metrics), Arc::clone(&counts), membership.clone(), outcomes),
        );

        // Other nodes may have stored some of what was taken over after the last sequence was read. All that anybody was given lies below this.
        let bound = match &cluster {
            Some(cluster) => cluster.lease(1).await?.0,
            None => recovered.last_sequence,
        };
        let (committed_tx, committed) = watch::channel(recovered.last_sequence);
        let (visible, visible_up_to) = Visible::new(recovered.last_sequence, &membership);
        let (takeover, takeovers) = mpsc::channel(TAKEOVERS);
        let (doubts, doubtful) = mpsc::channel(TAKEOVERS);
        // Some of what is scheduled may be batches that were open when the process before this one ended.
        let others_since_ms = recovered.lanes.iter().any(|lane| lane.scheduled > 0).then(|| clock.now_ms());
        let committer = Committer {
            journal: Arc::clone(&journal),
            clock: Arc::clone(&clock),
            lanes: lanes.clone(),
            metrics: Arc::clone(&metrics),
            counts: Arc::clone(&counts),
            committed: committed_tx,
            visible: visible.clone(),
            sequences: Sequences::new(recovered.last_sequence, cluster.clone()),
            last_received_ms: recovered.last_received_ms,
            busy_since: Arc::clone(&busy_since),
            batches: Batches::new(gate.clone(), others_since_ms),
            company: 0,
            last_took: Duration::ZERO,
            complaint: Seldom::new(COMPLAINT),
            takeovers,
            doubts: is_shared.then_some(doubts),
            gate: gate.clone(),
        };
        tasks.spawn("committer", committer.run(ticket_queue));

        let engine = Self {
            inner: Arc::new(Inner {
                catalogue,
                sessions,
                routing,
                journal,
                history,
                bins,
                suppressions,
                channels,
                formats,
                clock,
                settings,
                lanes,
                sender,
                gate,
                unsettled,
                budget,
                yielding,
                metrics,
                counts,
                door,
                committed,
                visible: visible_up_to,
                tasks,
                cluster: cluster.clone(),
                membership,
                replays: Mutex::default(),
            }),
            actor: Arc::default(),
        };
        engine.recover_lanes(recovered.lanes, Sequence(bound)).await;
        engine.tasks().spawn("steward", steward::run(engine.clone(), news));
        if let Some(news) = engine.inner.channels.carrier_news() {
            engine.tasks().spawn("carrier news", crate::messages::run_news(engine.clone(), news));
        }
        if let Some(work) = engine.inner.channels.carrier_work() {
            engine.tasks().spawn("carrier", work.run(engine.tasks().cancelled()));
        }
        engine.tasks().spawn("retention", crate::retention::run(engine.clone()));
        engine.continue_replays();
        if let Some(cluster) = cluster {
            let batches = Batches::new(engine.inner().gate.clone(), others_since_ms);
            let shared = Shared { cluster, takeovers: takeover, doubts: doubtful, visible, batches };
            crate::cluster::start(&engine, shared);
            if engine.living_nodes() > 1 {
                // Others may still be storing what lies before the last event that was found. Who followed events from here on would miss it.
                tokio::time::sleep(crate::cluster::SETTLED).await;
            }
        }
        Ok(engine)
    }

    /// Another handle to the same engine, in the hands of this actor.
    pub(crate) fn held_by(&self, actor: Actor) -> Self {
        Self { inner: Arc::clone(&self.inner), actor: Arc::new(actor) }
    }

    /// Who is recorded to have done what is changed through this handle.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Has lanes read what a start found; no key of it is above `last`.
    async fn recover_lanes(&self, lanes: Vec<LaneSummary>, last: Sequence) {
        for workspace in self.workspaces() {
            for health in self.list::<Health>(workspace) {
                let Health { target, breaker: snapshot } = health.doc;
                // Paused and disabled are facts of the target's document; it may have changed after the snapshot.
                let sends = matches!(snapshot.state, State::Active | State::Probing);
                if sends && self.by_number::<Target>(target).is_some_and(|t| t.doc.status == TargetStatus::Active) {
                    self.inner.lanes.send(target, Command::Restore { workspace, target, snapshot }).await;
                }
            }
        }
        let last_key = DeliveryKey::new(last, MAX_ORDINAL);
        for summary in lanes {
            let workspace = self.inner.catalogue.by_number::<Target>(summary.target).map_or(0, |target| target.workspace);
            self.inner.lanes.send(summary.target, Command::Recover { workspace, summary, last_key }).await;
        }
    }

    /// Stops accepting, lets what is in flight finish within the deadline, flushes and closes the store. What does not finish stays in
    /// the journal and is sent after the next start.
    pub async fn shutdown(&self, deadline: Duration) {
        if self.inner.door.close() {
            return;
        }
        // Who lost what it held has nothing to bring to an end.
        let is_lost = self.inner.membership.is_lost();
        if !is_lost && tokio::time::timeout(deadline, self.inner.lanes.drain()).await.is_err() {
            tracing::warn!("some attempts did not end in time; their deliveries are sent again after the next start");
        }
        // Only now: what attempts had as consequences was still to be stored. The committer says goodbye when it has stored all.
        self.inner.door.lock();
        let mut committed = self.inner.committed.clone();
        let last = async { while committed.changed().await.is_ok() {} };
        if tokio::time::timeout(LAST_COMMIT, last).await.is_err() {
            tracing::warn!("the last events could not be stored in time; their senders were not told that they are");
        }
        self.inner.tasks.cancel();
        self.inner.journal.close().await;
    }

    /// Stores events and their deliveries; answers once they are on disk.
    pub async fn accept(&self, request: AcceptRequest) -> Result<Accepted, AcceptError> {
        if self.inner.membership.is_away() {
            // At once, instead of when the database's answer is late.
            return Err(AcceptError::Unavailable);
        }
        self.inner.door.accept(request).await
    }

    /// Wakes whoever follows events: holds the sequence up to which all of them are there, those of other nodes included.
    pub fn committed(&self) -> watch::Receiver<i64> {
        self.inner.visible.clone()
    }

    /// Wakes whoever waits for events that this node stores.
    pub(crate) fn stored(&self) -> watch::Receiver<i64> {
        self.inner.committed.clone()
    }

    /// Time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Now, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }

    /// What people look at.
    pub fn history(&self) -> &Arc<dyn History> {
        &self.inner.history
    }

    /// Requests caught by bins.
    pub fn bins(&self) -> &Arc<dyn Bins> {
        &self.inner.bins
    }

    /// Addresses that nothing more is sent to.
    pub fn suppressions(&self) -> &Arc<dyn Suppressions> {
        &self.inner.suppressions
    }

    /// Kinds of targets.
    pub fn channels(&self) -> &Channels {
        &self.inner.channels
    }

    /// Wire formats.
    pub fn formats(&self) -> &Formats {
        &self.inner.formats
    }

    /// Numbers.
    pub fn settings(&self) -> &EngineSettings {
        &self.inner.settings
    }

    /// The owner of background tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Whether this server can take events; otherwise why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.inner.door.is_closing() {
            return Err("shutting down");
        }
        if self.inner.door.is_stuck() {
            return Err("the disk does not keep up");
        }
        if self.inner.membership.is_away() {
            return Err("the database is not available");
        }
        if self.inner.metrics.fails_since(self.now_ms() - FAILURE_MEMORY_MS) {
            return Err("events could not be stored a moment ago");
        }
        Ok(())
    }

    /// Whether the database does not answer: what other nodes changed is not known here then.
    pub fn is_cut_off(&self) -> bool {
        self.inner.membership.is_away()
    }

    /// Totals since the start.
    pub fn totals(&self) -> Totals {
        self.inner.metrics.totals()
    }

    /// What happened in a workspace over time, without gaps up to now; and since when it was counted, in milliseconds since the epoch.
    pub fn series(&self, workspace: i64, span: Span) -> (Vec<Point>, i64) {
        self.inner.counts.points(workspace, span, self.now_ms())
    }

    /// The counts over time of all workspaces as text, to be kept over restarts.
    pub fn series_text(&self) -> String {
        self.inner.counts.text()
    }

    /// Takes up counts that were kept. What was counted since the start is added; a text that cannot be read changes nothing.
    pub fn restore_series(&self, text: &str) -> Result<(), serde_json::Error> {
        self.inner.counts.restore(text)
    }

    /// Prometheus text, from counters only.
    pub async fn metrics(&self) -> String {
        let lanes: BTreeMap<String, LaneHealth> = self
            .inner
            .lanes
            .health_of_all()
            .await
            .into_iter()
            .filter_map(|(target, health)| Some((self.inner.catalogue.id_of(target)?, health)))
            .collect();
        let (unsettled, room) = self.inner.unsettled.read();
        let levels = [
            ("posthaste_outcomes_unsettled", "Outcomes of attempts that are not on disk yet.", unsettled),
            ("posthaste_lanes_lent_bytes", "Memory that waiting deliveries hold beyond each target's own share.", self.inner.budget.lent()),
            (
                "posthaste_late_starts_limit",
                "Deliveries that have waited may start in a second, to leave the rest to what comes in; 0: no limit.",
                self.inner.yielding.limit().unwrap_or(0) as usize,
            ),
            ("posthaste_outcomes_unsettled_limit", "How many outcomes may be on their way to the disk.", room),
        ];
        let mut text = self.inner.metrics.render(&lanes, &levels, self.now_ms());
        // A store that is being closed has nothing to tell.
        if let Ok(size) = self.inner.history.size().await {
            crate::metrics::render_size(&mut text, &size);
        }
        text
    }

    /// HTML of a delivery's public page, by its token; `None` when there is none.
    pub async fn message_page(&self, token: &str) -> Option<String> {
        let (id, _) = token.rsplit_once('-')?;
        let expected = crate::attempt::page_token(&self.inner.settings.page_secret, id);
        if !posthaste_domain::signature::constant_time_eq(expected.as_bytes(), token.as_bytes()) {
            return None;
        }
        let (key, _) = posthaste_domain::id::parse_delivery_id(id)?;
        for workspace in self.inner.catalogue.workspaces() {
            let Ok(Some(delivery)) = self.inner.history.delivery(workspace, key).await else { continue };
            let event = self.inner.history.event(workspace, key.sequence()).await.ok()??;
            let pending = posthaste_domain::delivery::PendingDelivery { delivery, event: Arc::clone(&event) };
            let rendered = self.inner.sender.page(&pending, &[event])?;
            return Some(posthaste_domain::template::message_page(&rendered.title, rendered.html.as_deref().unwrap_or_default()));
        }
        None
    }
}

/// The state that the API shows: pending deliveries of a paused or disabled target are held.
pub(crate) fn shown_state(state: DeliveryState, target_holds: bool) -> &'static str {
    match state {
        DeliveryState::Queued | DeliveryState::Scheduled if target_holds => "held",
        DeliveryState::Queued | DeliveryState::Scheduled => "queued",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Failed => "failed",
        DeliveryState::Cancelled => "cancelled",
    }
}
