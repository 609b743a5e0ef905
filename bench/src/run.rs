//! One run: a server, a receiver and a ledger, from before the first event until nothing moves any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::api::{self, Api, metric};
use crate::event::{Request, Tail, Via};
use crate::ledger::{Ledger, Verdict};
use crate::load::{Load, Published};
use crate::report::Figures;
use crate::server::{Launch, Server};
use crate::sink::Sink;
use crate::timing::{Clock, Timings};
use crate::usage::{Usage, disk_bytes};

/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to listen for duplicates after everything arrived.
const QUIET: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

/// What all scenarios share.
pub struct Bench {
    /// How to start servers.
    pub launch: Launch,
    /// The way in.
    pub via: Via,
    /// Bytes of an event's document.
    pub bytes: usize,
    /// How long to publish, if given.
    pub time: Option<Duration>,
    /// Connections that publish, if given.
    pub connections: Option<usize>,
}

/// What differs between runs.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Targets that answer; each gets every event.
    pub targets: usize,
    /// Connections, unless the caller says otherwise.
    pub connections: usize,
    /// Events in a request.
    pub batch: usize,
}

/// A server with its targets, ready for load.
pub struct Run {
    server: Server,
    sink: Sink,
    api: Api,
    targets: usize,
    before: Option<Before>,
    /// What publishes.
    pub load: Load,
}

/// What was used before the load, so that only the load is counted.
struct Before {
    usage: Usage,
    disk: u64,
    metrics: String,
}

impl Bench {
    /// Starts a server and makes its targets.
    pub async fn start(&self, shape: Shape) -> Result<Run, BenchError> {
        let server = self.launch.start()?;
        let clock = Clock::start();
        let tail = Tail::new(self.bytes);
        let ledger = Arc::new(Ledger::new(shape.targets));
        let sink = Sink::start(Arc::clone(&ledger), tail.clone(), clock)?;
        let mut api = Api::open(server.address()).await?;
        api.make_event_type().await?;
        if shape.targets > 0 {
            api::make_targets(server.address(), 0..shape.targets, |target| sink.url(target)).await?;
        }
        let load = Load {
            address: server.address(),
            request: Request::new(server.address(), self.via, &tail, shape.batch),
            connections: self.connections.unwrap_or(shape.connections),
            ledger,
            clock,
            timings: Arc::new(Timings::new()),
        };
        Ok(Run { server, sink, api, targets: shape.targets, before: None, load })
    }
}

impl Run {
    /// The receiver.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// Makes one more target, which the ledger knows nothing of.
    pub async fn add_target(&mut self, name: &str, url: &str) -> Result<(), BenchError> {
        self.api.make_target(name, url).await
    }

    /// What the server has used so far.
    pub fn usage(&self) -> Result<Usage, BenchError> {
        self.server.usage()
    }

    /// The load begins now.
    pub async fn begin(&mut self) -> Result<(), BenchError> {
        let metrics = self.api.metrics().await?;
        self.before = Some(Before { usage: self.server.usage()?, disk: disk_bytes(self.server.data())?, metrics });
        Ok(())
    }

    /// Waits until everything that was accepted has arrived, or nothing arrives any more.
    pub async fn drain(&self) -> Verdict {
        let ledger = &self.load.ledger;
        let (mut seen, mut since) = (ledger.delivered(), Instant::now());
        while since.elapsed() < PATIENCE {
            if ledger.is_drained() && ledger.close().lost == 0 {
                sleep(QUIET).await;
                break;
            }
            sleep(LOOK).await;
            if ledger.delivered() != seen {
                (seen, since) = (ledger.delivered(), Instant::now());
            }
        }
        ledger.close()
    }

    /// Waits for the end and adds everything up. `scenario` is the heading of the figures.
    pub async fn finish(mut self, scenario: String, published: Published) -> Result<Figures, BenchError> {
        let verdict = self.drain().await;
        let usage = self.server.usage()?;
        let metrics = self.api.metrics().await?;
        let before = self.before.take();
        let before = before.as_ref();
        let receipts = self.sink.receipts();
        let per_event = |amount: u64| amount as f64 / verdict.accepted.max(1) as f64;
        let per_second = |count: u64, until_us: u64| {
            let span = until_us.saturating_sub(published.began_us.min(until_us));
            (span > 0).then(|| count as f64 * 1e6 / span as f64)
        };
        let grown = |name: &str| Some(metric(&metrics, name)? - before.and_then(|b| metric(&b.metrics, name)).unwrap_or(0.0));
        let commits = grown("posthaste_commit_events_count").filter(|count| *count > 0.0);
        let before_disk = before.map_or(0, |b| b.disk);
        let (before_cpu, before_written) = before.map_or((0, 0), |b| (b.usage.cpu_us, b.usage.written));
        Ok(Figures {
            scenario,
            sent: verdict.sent,
            accepted: verdict.accepted,
            delivered: verdict.delivered,
            lost: verdict.lost,
            duplicates: verdict.duplicates,
            damaged: verdict.damaged,
            unacknowledged: verdict.unacknowledged,
            refused: published.refused,
            broken: published.broken,
            accepted_per_s: per_second(verdict.accepted, published.ended_us),
            delivered_per_s: per_second(verdict.delivered, receipts.last_us.load(Ordering::Relaxed)).filter(|_| self.targets > 0),
            publish_ms: self.load.timings.percentiles(),
            delivery_ms: receipts.timings.percentiles(),
            cpu_us_per_event: per_event(usage.cpu_us - before_cpu),
            peak_mib: usage.peak_kib as f64 / 1024.0,
            resident_mib: usage.resident_kib as f64 / 1024.0,
            disk_bytes_per_event: per_event(disk_bytes(self.server.data())?.saturating_sub(before_disk)),
            written_bytes_per_event: per_event(usage.written.saturating_sub(before_written)),
            events_per_commit: commits.and_then(|commits| Some(grown("posthaste_commit_events_sum")? / commits)),
            commit_ms: commits.and_then(|commits| Some(grown("posthaste_commit_seconds_sum")? * 1e3 / commits)),
            receiver_connections: receipts.connections.load(Ordering::Relaxed),
            pending: metric(&metrics, "posthaste_target_pending"),
            idle_cpu_percent: None,
        })
    }
}
