//! Nodes of a cluster that die, stall and lose their database at random, under load, with an exact ledger.
//!
//! The nodes are real servers; each reaches the one Postgres over a link of its own that can be cut, frozen and slowed down. Senders publish
//! over all nodes and repeat what was not answered with success, with the same `Idempotency-Key`, wherever somebody answers. So at the
//! end everything must have been accepted once and delivered, and nothing may be pending in the database.

mod account;
mod changes;
mod faults;
mod replays;
mod senders;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::BenchError;
use crate::api::{self, Api, metric};
use crate::event::Tail;
use crate::ledger::Ledger;
use crate::postgres::{Postgres, url};
use crate::proxy::Link;
use crate::report::Report;
use crate::rng::{Rng, fresh_seed};
use crate::run::Bench;
use crate::server::Server;
use crate::sink::{Mode, Sink};
use crate::timing::Clock;

use account::Account;
use faults::Faults;
use replays::Replays;

const TIME: Duration = Duration::from_secs(30);
/// The end of it without faults, so that what is left is not all of it.
const CALM: Duration = Duration::from_secs(4);
/// How long publishing may go on afterwards, until the last is acknowledged.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to listen for duplicates after everything arrived.
const QUIET: Duration = Duration::from_millis(1_500);
/// How long a node may take until it is ready.
const READY: Duration = Duration::from_secs(30);
/// Longest answer to a change: the longest silence of a node that is forgiven, and some more.
const CHANGE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// Attempts at once to each target, by its policy.
const CONCURRENCY: u64 = 32;
/// Events of a batch.
const BATCH: u64 = 20;
/// Events of a batch where order is kept.
const GATHER: u64 = 6;
/// Requests to the limited target, in any second, over all nodes.
const RATE: u64 = 30;
/// In parts of a hundred, how many events targets refuse once.
const REFUSED: u16 = 20;

/// Streams that last; each has the target of the same number. Those of [`changes`] follow.
const STREAMS: [Stream; 7] = [
    Stream { event_type: "cluster.plain", senders: 8, pause_ms: (2, 20) },
    Stream { event_type: "cluster.order", senders: 4, pause_ms: (20, 60) },
    Stream { event_type: "cluster.rate", senders: 2, pause_ms: (20, 80) },
    Stream { event_type: "cluster.batch", senders: 2, pause_ms: (5, 20) },
    Stream { event_type: "cluster.flaky", senders: 2, pause_ms: (20, 60) },
    Stream { event_type: "cluster.gather", senders: 4, pause_ms: (10, 40) },
    Stream { event_type: "cluster.replay", senders: 2, pause_ms: (40, 100) },
];
const ORDERED: usize = 1;
const LIMITED: usize = 2;
const FLAKY: usize = 4;
/// Batches in order.
const GATHERED: usize = 5;
/// What was sent there is sent again.
const REPLAYED: usize = 6;

#[derive(Clone, Copy)]
struct Stream {
    event_type: &'static str,
    senders: usize,
    pause_ms: (u64, u64),
}

/// Nodes of a cluster that die, stall and lose their database at random, under load.
#[derive(Clone, Debug, clap::Args)]
pub struct Cluster {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub nodes: u16,
    /// Faults that may happen; may be repeated [default: all].
    #[arg(long = "fault", value_enum, value_name = "FAULT")]
    pub faults: Vec<faults::Fault>,
}

/// A node, its way to the database, and where it listens.
struct Member {
    server: Arc<Mutex<Server>>,
    link: Link,
    address: SocketAddr,
}

/// What the tasks of a run share.
struct Shared {
    members: Vec<Member>,
    postgres: Postgres,
    sink: Sink,
    ledger: Arc<Ledger>,
    tail: Tail,
    clock: Clock,
    /// True when no new event is to be published any more.
    stop: watch::Receiver<bool>,
    /// When to give up what is not acknowledged.
    until: Instant,
}

impl Cluster {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let seed = bench.seed.unwrap_or_else(fresh_seed);
        eprintln!("cluster: --seed {seed}");
        let mut rng = Rng::new(seed);
        let time = bench.time_or(TIME);
        let lives = (time.as_secs() as usize).clamp(4, 500);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(self.prepare(bench, time, lives, stopped).await?);
        let targets = self.make_targets(&shared).await?;

        let began_us = shared.clock.us();
        let mut faults = Faults::new(&self.faults, Instant::now() + time.saturating_sub(CALM), targets[ORDERED].clone());
        let (mut changes, mut replays) = (changes::Changes::new(lives), Replays::default());
        let senders = senders::start(&shared, &mut rng);
        let ending = async {
            sleep(time).await;
            // Whoever listened may have failed; then that is told.
            let _ = stop.send(true);
            Ok(())
        };
        let (fault_rng, change_rng, replay_rng) = (Rng::new(rng.next()), Rng::new(rng.next()), Rng::new(rng.next()));
        let published = tokio::try_join!(
            ending,
            stopping(&stop, faults.run(&shared, fault_rng)),
            stopping(&stop, changes.run(&shared, change_rng)),
            stopping(&stop, replays.run(&shared, &targets[REPLAYED], replay_rng)),
            stopping(&stop, senders::join(senders)),
        );
        let ((), (), (), (), published) = published.inspect_err(|_| keep_logs(&shared, bench, seed))?;
        // Whoever refused takes everything now.
        [ORDERED, FLAKY, GATHERED].into_iter().for_each(|target| shared.sink.set_mode(target, Mode::Ok));
        replays.finish(&shared).await?;
        drain(&shared).await;
        let mut account = Account::of(&shared, &published, &faults, &changes, began_us).await?;
        account.replayed(&shared, replays);
        account.judge();
        report.add_table(account.table(seed, time));
        if !account.problems.is_empty() {
            keep_logs(&shared, bench, seed);
        }
        for problem in &account.problems {
            report.add_void(format!("cluster --seed {seed}: {problem}"));
        }
        Ok(())
    }

    async fn prepare(&self, bench: &Bench, time: Duration, lives: usize, stop: watch::Receiver<bool>) -> Result<Shared, BenchError> {
        let keep = bench.launch.keep;
        let postgres = tokio::task::spawn_blocking(move || Postgres::start(keep)).await.expect("it does not panic")?;
        let (tail, clock) = (Tail::new(bench.bytes), Clock::start());
        let ledger = Arc::new(Ledger::with_streams(&vec![1; STREAMS.len() + lives]));
        let sink = Sink::start_logging(Arc::clone(&ledger), tail.clone(), clock)?;
        let mut members = Vec::new();
        let mut launch = bench.launch.clone();
        // The tables of what is retired are another test's matter.
        launch.settings.insert(0, ("limits.shutdown".to_owned(), "2s".to_owned()));
        for number in 1..=self.nodes {
            let link = Link::to(postgres.address())?;
            let server = launch.node(postgres.path(), &format!("node-{number}"), &url(link.address()))?;
            members.push(Member { address: server.address(), server: Arc::new(Mutex::new(server)), link });
        }
        let until = Instant::now() + time + READY + LAST_WORDS;
        let shared = Shared { members, postgres, sink, ledger, tail, clock, stop, until };
        // All at once: the first start of each has to do with that of the others.
        let mut starts = JoinSet::new();
        for member in &shared.members {
            let server = Arc::clone(&member.server);
            starts.spawn_blocking(move || locked(&server).start_again());
        }
        while let Some(started) = starts.join_next().await {
            started.expect("a start does not panic")?;
        }
        for member in &shared.members {
            shared.ready(member).await?;
        }
        Ok(shared)
    }

    /// Answers the ids of all.
    async fn make_targets(&self, shared: &Shared) -> Result<Vec<String>, BenchError> {
        let soon: Vec<&str> = vec!["200ms"; 20];
        let policies = [
            json!({"concurrency": CONCURRENCY}),
            json!({"order": "fifo", "retry": {"delays": soon}, "jitter": 0}),
            json!({"rate": {"limit": RATE, "per": "1s"}}),
            json!({"batch": {"events": BATCH, "bytes": "1MiB", "wait": "500ms"}}),
            json!({"retry": {"delays": soon}, "jitter": 0}),
            json!({"order": "fifo", "batch": {"events": GATHER, "bytes": "1MiB", "wait": "300ms"}, "retry": {"delays": soon}, "jitter": 0}),
            json!({}),
        ];
        let mut targets = Vec::new();
        for (target, policy) in policies.iter().enumerate() {
            let address = shared.members[target % shared.members.len()].address;
            let plan = vec![(format!("target {target}"), shared.sink.url(target))];
            let made = api::make_targets(address, plan, STREAMS[target].event_type, Some(policy)).await?;
            targets.extend(made.into_iter().map(|made| made.target));
        }
        shared.sink.set_mode(ORDERED, Mode::Flaky(REFUSED / 4));
        shared.sink.set_mode(FLAKY, Mode::Flaky(REFUSED));
        shared.sink.set_mode(GATHERED, Mode::Flaky(REFUSED / 20));
        Ok(targets)
    }
}

/// Runs something; if it ends with an error, nobody publishes any more.
async fn stopping<T>(stop: &watch::Sender<bool>, task: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let result = task.await;
    if result.is_err() {
        // Everybody may have stopped already.
        let _ = stop.send(true);
    }
    result
}

fn locked(server: &Mutex<Server>) -> std::sync::MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Sleeps; false if it is time to stop.
    async fn rest(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = sleep(time) => !*self.stop.borrow(),
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }

    /// Waits until a node says that it is ready.
    async fn ready(&self, member: &Member) -> Result<(), BenchError> {
        let since = Instant::now();
        loop {
            let asked = async { Api::open(member.address).await?.is_ready().await };
            if matches!(timeout(CHANGE, asked).await, Ok(Ok(true))) {
                return Ok(());
            }
            if since.elapsed() > READY {
                return Err(BenchError::Start { log: tail(&locked(&member.server).log()) });
            }
            sleep(LOOK).await;
        }
    }

    /// The most outcomes that one node may have under way or not stored: what it may send again after it died.
    async fn unsettled_limit(&self) -> Result<u64, BenchError> {
        let metrics = Api::open(self.members[0].address).await?.metrics().await?;
        Ok(metric(&metrics, "posthaste_outcomes_unsettled_limit").unwrap_or_default() as u64)
    }
}

/// Waits until everything that was accepted has arrived, or nothing arrives any more.
async fn drain(shared: &Shared) {
    let ledger = &shared.ledger;
    let (mut seen, mut since) = (ledger.delivered(), Instant::now());
    while since.elapsed() < PATIENCE {
        if ledger.is_drained() && ledger.close().lost == 0 {
            sleep(QUIET).await;
            return;
        }
        sleep(LOOK).await;
        if ledger.delivered() != seen {
            (seen, since) = (ledger.delivered(), Instant::now());
        }
    }
}

/// Leaves the logs of all, for whoever has to find out what went wrong.
fn keep_logs(shared: &Shared, bench: &Bench, seed: u64) {
    for (number, member) in (1..).zip(&shared.members) {
        let file = bench.launch.data.join(format!("cluster-{seed}-node-{number}.log"));
        match std::fs::write(&file, locked(&member.server).log()) {
            Ok(()) => eprintln!("the log of node {number}: {}", file.display()),
            Err(error) => eprintln!("cannot write {}: {error}", file.display()),
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].iter().fold(String::new(), |text, line| text + "\n" + line)
}
