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
use crate::usage::{Usage, disk_bytes, machine_cpu_us};

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
    cpu: Cpu,
}

/// CPU time in microseconds.
struct Cpu {
    at: Instant,
    machine: u64,
    bench: u64,
}

impl Cpu {
    fn now() -> Result<Self, BenchError> {
        Ok(Self { at: Instant::now(), machine: machine_cpu_us()?, bench: Usage::of(std::process::id())?.cpu_us })
    }
}

impl Bench {
    /// Starts a server and makes its targets.
    pub async fn start(&self, shape: Shape) -> Result<Run, BenchError> {
        let server = self.launch.start()?;
        let mut run = self.prepare(server, shape, Tail::new(self.bytes), self.via).await?;
        run.api.make_event_type().await?;
        if shape.targets > 0 {
            api::make_targets(run.server.address(), 0..shape.targets, |target| run.sink.url(target)).await?;
        }
        Ok(run)
    }

    /// Starts a server with one Momentum webhook.
    pub async fn start_momentum(&self, connections: usize, batch: usize) -> Result<Run, BenchError> {
        let mut launch = self.launch.clone();
        // The first minute of a webhook is not what is measured. What the caller says comes after this, and counts.
        launch.settings.insert(0, ("dialect.momentum.activation".to_owned(), "0s".to_owned()));
        let shape = Shape { targets: 1, connections, batch };
        let mut run = self.prepare(launch.start()?, shape, Tail::momentum(), Via::Native).await?;
        run.api.make_momentum_webhook(&run.sink.url(0)).await?;
        Ok(run)
    }

    /// Starts a server with one Mailgun webhook.
    pub async fn start_mailgun(&self, connections: usize, batch: usize) -> Result<Run, BenchError> {
        let shape = Shape { targets: 1, connections, batch };
        let mut run = self.prepare(self.launch.start()?, shape, Tail::mailgun(), Via::Native).await?;
        run.api.make_mailgun_webhook(&run.sink.url(0)).await?;
        Ok(run)
    }

    /// A receiver, a ledger and a load for a server.
    async fn prepare(&self, server: Server, shape: Shape, tail: Tail, via: Via) -> Result<Run, BenchError> {
        let clock = Clock::start();
        let ledger = Arc::new(Ledger::new(shape.targets));
        let sink = Sink::start(Arc::clone(&ledger), tail.clone(), clock)?;
        let api = Api::open(server.address()).await?;
        let load = Load {
            address: server.address(),
            request: Request::new(server.address(), via, &tail, shape.batch),
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

    /// Pauses or resumes (`pause`, `resume`) the only target.
    pub async fn switch_target(&mut self, action: &str) -> Result<(), BenchError> {
        self.api.switch_target(action).await
    }

    /// The load begins now.
    pub async fn begin(&mut self) -> Result<(), BenchError> {
        let metrics = self.api.metrics().await?;
        self.before = Some(Before { usage: self.server.usage()?, disk: disk_bytes(self.server.data())?, metrics, cpu: Cpu::now()? });
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
        let Some(before) = self.before.take() else { unreachable!("every scenario begins before it finishes") };
        let verdict = self.drain().await;
        let usage = self.server.usage()?;
        let cpu = Cpu::now()?;
        let metrics = self.api.metrics().await?;
        let receipts = self.sink.receipts();
        let per_event = |amount: u64| amount as f64 / verdict.accepted.max(1) as f64;
        let per_second = |count: u64, until_us: u64| {
            let span = until_us.saturating_sub(published.began_us.min(until_us));
            (span > 0).then(|| count as f64 * 1e6 / span as f64)
        };
        let grown = |name: &str| Some(metric(&metrics, name)? - metric(&before.metrics, name).unwrap_or(0.0));
        let commits = grown("posthaste_commit_events_count").filter(|count| *count > 0.0);
        let (server_cpu, bench_cpu) = (usage.cpu_us - before.usage.cpu_us, cpu.bench - before.cpu.bench);
        let others_cpu = (cpu.machine - before.cpu.machine).saturating_sub(server_cpu + bench_cpu);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
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
            cpu_us_per_event: per_event(server_cpu),
            bench_cpu_us_per_event: per_event(bench_cpu),
            others_cpu_percent: others_cpu as f64 * 100.0 / (cpu.at - before.cpu.at).as_micros().max(1) as f64 / cores,
            peak_mib: usage.peak_kib as f64 / 1024.0,
            resident_mib: usage.resident_kib as f64 / 1024.0,
            disk_bytes_per_event: per_event(disk_bytes(self.server.data())?.saturating_sub(before.disk)),
            written_bytes_per_event: per_event(usage.written.saturating_sub(before.usage.written)),
            events_per_commit: commits.and_then(|commits| Some(grown("posthaste_commit_events_sum")? / commits)),
            commit_ms: commits.and_then(|commits| Some(grown("posthaste_commit_seconds_sum")? * 1e3 / commits)),
            receiver_connections: receipts.connections.load(Ordering::Relaxed),
            pending: metric(&metrics, "posthaste_target_pending"),
            idle_cpu_percent: None,
        })
    }
}
