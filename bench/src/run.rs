//! One run: a server, a receiver and a ledger, from before the first event until nothing moves any more.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::api::{self, Api, Made, metric};
use crate::event::{Envelope, Request, Tail, Via};
use crate::ledger::{Ledger, Verdict};
use crate::load::{Load, Published, Until};
use crate::report::Figures;
use crate::server::{Launch, Server};
use crate::sink::{Receipts, Sink};
use crate::timing::{Clock, Timings};
use crate::usage::{Usage, disk_bytes, machine_cpu_us};

/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to listen for duplicates after everything arrived.
const QUIET: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The server.
    Server,
    /// The minimal relay.
    Relay,
}

/// What all scenarios share.
#[derive(Clone)]
pub struct Bench {
    /// How to start servers.
    pub launch: Launch,
    /// What to start.
    pub subject: Subject,
    /// The way in.
    pub via: Via,
    /// Bytes of an event's document.
    pub bytes: usize,
    /// How long to publish, if given.
    pub time: Option<Duration>,
    /// Connections that publish, if given.
    pub connections: Option<usize>,
    /// How often each measurement is made.
    pub runs: u16,
    /// Seed of random choices, if given.
    pub seed: Option<u64>,
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
    /// The server, or the relay.
    pub server: Server,
    /// The receiver.
    pub sink: Sink,
    /// Ids of the targets that were made for the run's streams.
    pub made: Vec<Made>,
    /// What publishes.
    pub load: Load,
    api: Option<Api>,
    before: Option<Before>,
}

/// What there was before a push.
pub struct Begun {
    accepted: u64,
    delivered: u64,
    cpu_us: u64,
}

/// What a part of a run gave.
#[derive(Clone, Debug, Default)]
pub struct Pushed {
    /// From the first request to the last answer.
    pub accepted_per_s: f64,
    /// From the first request to the last receipt.
    pub delivered_per_s: f64,
    /// CPU time of the server.
    pub cpu_us_per_event: f64,
    /// Its most resident memory so far.
    pub peak_mib: f64,
    /// How publishing went.
    pub published: Published,
}

/// What was used before the load, so that only the load is counted.
struct Before {
    usage: Usage,
    accepted: u64,
    delivered: u64,
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
    /// The same for another subject.
    pub fn of(&self, subject: Subject) -> Self {
        Self { subject, ..self.clone() }
    }

    /// How long to publish: what the caller says, or this.
    pub fn time_or(&self, default: Duration) -> Duration {
        self.time.unwrap_or(default)
    }

    /// Starts a server and makes its targets.
    pub async fn start(&self, shape: Shape) -> Result<Run, BenchError> {
        let mut run = self.start_streams(&[shape.targets], shape).await?;
        if self.subject == Subject::Server && shape.targets > 0 {
            run.make_targets(0..shape.targets, api::EVENT_TYPE, None).await?;
        }
        Ok(run)
    }

    /// Starts a server for streams with so many targets each, which the caller makes; the load publishes the first one.
    pub async fn start_streams(&self, streams: &[usize], shape: Shape) -> Result<Run, BenchError> {
        let mut run = self.prepare(&self.launch, Ledger::with_streams(streams), shape, Tail::new(self.bytes), self.via).await?;
        if let Some(api) = &mut run.api {
            api.make_event_type().await?;
        }
        Ok(run)
    }

    /// Starts a server with one Momentum webhook.
    pub async fn start_momentum(&self, connections: usize, batch: usize) -> Result<Run, BenchError> {
        let mut launch = self.launch.clone();
        // The first minute of a webhook is not what is measured. What the caller says comes after this, and counts.
        launch.settings.insert(0, ("dialect.momentum.activation".to_owned(), "0s".to_owned()));
        let shape = Shape { targets: 1, connections, batch };
        let mut run = self.of(Subject::Server).prepare(&launch, Ledger::new(1), shape, Tail::momentum(), Via::Native).await?;
        let url = run.sink.url(0);
        run.api().make_momentum_webhook(&url).await?;
        Ok(run)
    }

    /// Starts a server with one Mailgun webhook.
    pub async fn start_mailgun(&self, connections: usize, batch: usize) -> Result<Run, BenchError> {
        let shape = Shape { targets: 1, connections, batch };
        let mut run = self.of(Subject::Server).prepare(&self.launch, Ledger::new(1), shape, Tail::mailgun(), Via::Native).await?;
        let url = run.sink.url(0);
        run.api().make_mailgun_webhook(&url).await?;
        Ok(run)
    }

    /// A receiver, a ledger, a server and a load.
    async fn prepare(&self, launch: &Launch, ledger: Ledger, shape: Shape, tail: Tail, via: Via) -> Result<Run, BenchError> {
        let clock = Clock::start();
        let ledger = Arc::new(ledger);
        let sink = Sink::start(Arc::clone(&ledger), tail.clone(), clock)?;
        let (server, api) = match self.subject {
            Subject::Server => {
                let server = launch.start()?;
                let api = Api::open(server.address()).await?;
                (server, Some(api))
            }
            Subject::Relay => (launch.start_relay(sink.address(), shape.targets)?, None),
        };
        let load = Load {
            address: server.address(),
            request: Request::new(server.address(), Envelope::new(via), &tail, shape.batch),
            tail,
            connections: self.connections.unwrap_or(shape.connections),
            ledger,
            stream: 0,
            patience: Duration::ZERO,
            clock,
            timings: Arc::new(Timings::new()),
        };
        Ok(Run { server, sink, made: Vec::new(), load, api, before: None })
    }
}

impl Run {
    /// The native API.
    pub fn api(&mut self) -> &mut Api {
        self.api.as_mut().expect("a scenario that needs the API does not measure the relay")
    }

    /// Connects to a server that was started again.
    pub async fn reconnect(&mut self) -> Result<(), BenchError> {
        self.api = Some(Api::open(self.server.address()).await?);
        Ok(())
    }

    /// What the receiver wrote.
    pub fn receipts(&self) -> &Receipts {
        self.sink.receipts()
    }

    /// Makes webhooks and their subscriptions to an event type for these targets of the ledger.
    pub async fn make_targets(&mut self, targets: Range<usize>, event_type: &str, policy: Option<&Value>) -> Result<(), BenchError> {
        let plans = targets.map(|target| (format!("target {target}"), self.sink.url(target))).collect();
        let made = api::make_targets(self.server.address(), plans, event_type, policy).await?;
        self.made.extend(made);
        Ok(())
    }

    /// A load like this one that publishes another stream.
    pub fn stream(&self, stream: usize, envelope: Envelope<'_>, connections: usize, batch: usize) -> Load {
        let mut load = Load { connections, stream, timings: Arc::new(Timings::new()), ..self.load.clone() };
        load.set_envelope(envelope, batch);
        load
    }

    /// Kills the server and starts it again; answers how long it was from the start of the process until it was ready.
    pub async fn start_again(&mut self) -> Result<Duration, BenchError> {
        self.server.kill();
        let since = Instant::now();
        self.server.start_again()?;
        let mut api = Api::open(self.server.address()).await?;
        while !api.is_ready().await? {
            sleep(Duration::from_millis(1)).await;
        }
        self.api = Some(api);
        Ok(since.elapsed())
    }

    /// The load begins now.
    pub async fn begin(&mut self) -> Result<(), BenchError> {
        let metrics = self.metrics().await?;
        self.before = Some(Before {
            usage: self.server.usage()?,
            accepted: self.load.ledger.accepted(),
            delivered: self.load.ledger.delivered(),
            disk: disk_bytes(self.server.data())?,
            metrics,
            cpu: Cpu::now()?,
        });
        Ok(())
    }

    /// The text of `/metrics`; the relay has none.
    pub async fn metrics(&mut self) -> Result<String, BenchError> {
        match &mut self.api {
            Some(api) => api.metrics().await,
            None => Ok(String::new()),
        }
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

    /// Publishes as fast as answers come, and waits until all has arrived.
    pub async fn push(&self, until: Until) -> Result<Pushed, BenchError> {
        let begun = self.push_begin()?;
        let published = self.load.closed_loop(until).await?;
        self.drain().await;
        self.push_end(&begun, published, self.receipts().last_us.load(Ordering::Relaxed))
    }

    /// What there was before a push.
    pub fn push_begin(&self) -> Result<Begun, BenchError> {
        let ledger = &self.load.ledger;
        Ok(Begun { accepted: ledger.accepted(), delivered: ledger.delivered(), cpu_us: self.server.usage()?.cpu_us })
    }

    /// What a push gave, if its deliveries ended at this time.
    pub fn push_end(&self, begun: &Begun, published: Published, delivered_us: u64) -> Result<Pushed, BenchError> {
        let (ledger, usage) = (&self.load.ledger, self.server.usage()?);
        let (accepted, delivered) = (ledger.accepted() - begun.accepted, ledger.delivered() - begun.delivered);
        let rate = |count: u64, until_us: u64| count as f64 * 1e6 / until_us.saturating_sub(published.began_us).max(1) as f64;
        Ok(Pushed {
            accepted_per_s: rate(accepted, published.ended_us),
            delivered_per_s: rate(delivered, delivered_us),
            cpu_us_per_event: usage.cpu_us.saturating_sub(begun.cpu_us) as f64 / accepted.max(1) as f64,
            peak_mib: usage.peak_kib as f64 / 1024.0,
            published,
        })
    }

    /// Waits for the end and adds everything up. `scenario` is the heading of the figures.
    pub async fn finish(mut self, scenario: String, published: Published) -> Result<Figures, BenchError> {
        let verdict = self.drain().await;
        self.figures(scenario, published, verdict).await
    }

    /// Adds everything up as it is. What has not arrived is still owed, and not lost.
    pub async fn finish_early(mut self, scenario: String, published: Published) -> Result<Figures, BenchError> {
        let verdict = Verdict { lost: 0, ..self.load.ledger.close() };
        self.figures(scenario, published, verdict).await
    }

    async fn figures(&mut self, scenario: String, published: Published, verdict: Verdict) -> Result<Figures, BenchError> {
        let Some(before) = self.before.take() else { unreachable!("every scenario begins before it finishes") };
        let usage = self.server.usage()?;
        let cpu = Cpu::now()?;
        let metrics = self.metrics().await?;
        let receipts = self.sink.receipts();
        // What was stored before the load began counts only if nothing else did: then the load is its delivery.
        let since = |now: u64, then: u64| if now > then { now - then } else { now };
        let accepted = since(verdict.accepted, before.accepted);
        let per_event = |amount: u64| amount as f64 / accepted.max(1) as f64;
        let per_second = |count: u64, until_us: u64| {
            let span = until_us.saturating_sub(published.began_us.min(until_us));
            (span > 0).then(|| count as f64 * 1e6 / span as f64)
        };
        let grown = |name: &str| Some(metric(&metrics, name)? - metric(&before.metrics, name).unwrap_or(0.0));
        let commits = grown("posthaste_commit_events_count").filter(|count| *count > 0.0);
        let (server_cpu, bench_cpu) = (usage.cpu_us.saturating_sub(before.usage.cpu_us), cpu.bench - before.cpu.bench);
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
            accepted_per_s: per_second(accepted, published.ended_us),
            delivered_per_s: per_second(since(verdict.delivered, before.delivered), receipts.last_us.load(Ordering::Relaxed))
                .filter(|_| self.load.ledger.targets() > 0),
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
            allocations_per_event: grown("posthaste_allocations_total")
                .filter(|count| *count >= 0.0)
                .map(|count| count / accepted.max(1) as f64),
            receiver_connections: receipts.connections.load(Ordering::Relaxed),
            pending: metric(&metrics, "posthaste_target_pending"),
            idle_cpu_percent: None,
        })
    }
}
