//! What goes wrong, and when: one series of faults for each node, and one for the database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{CHANGE, Member, READY, Shared, locked};
use crate::BenchError;
use crate::api::Api;
use crate::proxy::LinkState;
use crate::rng::Rng;

/// How long a node's silence is forgiven by default, and how much later all have surely noticed.
const LAPSE_MS: u64 = 3_500;
/// Between two faults of one node.
const PAUSE_MS: (u64, u64) = (700, 2_500);
/// Between two crashes of the database.
const DATABASE_PAUSE_MS: (u64, u64) = (8_000, 16_000);
/// Between two pauses of the ordered target.
const CALLS_PAUSE_MS: (u64, u64) = (2_000, 5_000);
/// How long it is paused.
const PAUSED_MS: (u64, u64) = (1_000, 5_000);
/// How long to go on starting a node: the database may be away.
const START: Duration = Duration::from_secs(30);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// kill -9 of a node, and a start some time later.
    Kill,
    /// SIGSTOP of a node for longer than its silence is forgiven, then SIGCONT.
    Stall,
    /// A node's connections to the database break, and new ones too.
    Cut,
    /// Nothing passes between a node and the database, and nobody is told.
    Freeze,
    /// What passes between a node and the database takes its time.
    Slow,
    /// Postgres ends at once and is started again.
    Database,
    /// The ordered target is paused, so that much waits for it, and resumed.
    Pause,
}

/// Those of nodes.
const OF_NODES: [Fault; 5] = [Fault::Kill, Fault::Stall, Fault::Cut, Fault::Freeze, Fault::Slow];

/// What went wrong.
pub struct Faults {
    chosen: Vec<Fault>,
    until: Instant,
    /// Id of the ordered target.
    ordered: String,
    done: Mutex<Vec<Done>>,
}

/// A fault that is over.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// What.
    pub fault: Fault,
    /// When it began, by the run's clock.
    pub from_us: u64,
    /// When it was over.
    pub until_us: u64,
}

impl Faults {
    /// These, or all; until then.
    pub fn new(chosen: &[Fault], until: Instant, ordered: String) -> Self {
        let all = [&OF_NODES[..], &[Fault::Database, Fault::Pause]].concat();
        Self { chosen: if chosen.is_empty() { all } else { chosen.to_vec() }, until, ordered, done: Mutex::default() }
    }

    /// Does harm until it is time to stop, and mends everything.
    pub async fn run(&mut self, shared: &Arc<Shared>, mut rng: Rng) -> Result<(), BenchError> {
        let nodes = shared.members.iter().map(|member| self.plague(shared, member, Rng::new(rng.next())));
        let nodes: Vec<_> = nodes.collect();
        let database = self.crash(shared, Rng::new(rng.next()));
        let pauses = self.pauses(shared, Rng::new(rng.next()));
        let (nodes, database, pauses) = tokio::join!(all(nodes), database, pauses);
        nodes.and(database).and(pauses)?;
        // A pause that was not answered in time may have come to pass after it was resumed. Each node does what it was asked for in order.
        if self.chosen.contains(&Fault::Pause) {
            for member in &shared.members {
                if !self.resume(&mut || member, Instant::now() + READY).await {
                    return Err(BenchError::Start { log: ", and a node does not resume the target with an order".to_owned() });
                }
            }
        }
        Ok(())
    }

    /// What went wrong, in the order in which it was over.
    pub fn done(&self) -> Vec<Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each of them happened.
    pub fn counts(&self) -> BTreeMap<Fault, usize> {
        self.done().iter().fold(BTreeMap::new(), |mut counts, done| {
            *counts.entry(done.fault).or_default() += 1;
            counts
        })
    }

    /// Sleeps; false if it is time to stop.
    async fn rest(&self, shared: &Shared, rng: &mut Rng, between: (u64, u64)) -> bool {
        shared.rest(Duration::from_millis(rng.between(between.0, between.1))).await && Instant::now() < self.until
    }

    /// Faults of one node, each kind once before any comes again.
    async fn plague(&self, shared: &Shared, member: &Member, mut rng: Rng) -> Result<(), BenchError> {
        let kinds: Vec<Fault> = OF_NODES.into_iter().filter(|fault| self.chosen.contains(fault)).collect();
        let mut deck: Vec<Fault> = Vec::new();
        while !kinds.is_empty() && self.rest(shared, &mut rng, PAUSE_MS).await {
            if deck.is_empty() {
                deck.clone_from(&kinds);
            }
            let fault = deck.swap_remove(rng.below(deck.len() as u64) as usize);
            let from_us = shared.clock.us();
            strike(shared, member, fault, &mut rng).await?;
            self.note(shared, fault, from_us);
        }
        Ok(())
    }

    async fn crash(&self, shared: &Arc<Shared>, mut rng: Rng) -> Result<(), BenchError> {
        while self.chosen.contains(&Fault::Database) && self.rest(shared, &mut rng, DATABASE_PAUSE_MS).await {
            let from_us = shared.clock.us();
            blocking(shared, |shared| shared.postgres.stop()).await?;
            sleep(Duration::from_millis(rng.between(0, 4_500))).await;
            blocking(shared, |shared| shared.postgres.resume()).await?;
            self.note(shared, Fault::Database, from_us);
        }
        Ok(())
    }

    /// Pauses the ordered target at one node and resumes it at another.
    async fn pauses(&self, shared: &Shared, mut rng: Rng) -> Result<(), BenchError> {
        while self.chosen.contains(&Fault::Pause) && self.rest(shared, &mut rng, CALLS_PAUSE_MS).await {
            let from_us = shared.clock.us();
            // Whatever became of it, it is resumed.
            self.switch(some(shared, &mut rng), "pause").await;
            sleep(Duration::from_millis(rng.between(PAUSED_MS.0, PAUSED_MS.1))).await;
            // If nobody can before that, all are asked when nothing goes wrong any more.
            self.resume(&mut || some(shared, &mut rng), self.until).await;
            self.note(shared, Fault::Pause, from_us);
        }
        Ok(())
    }

    /// Asks one node after the other until one does it; answers whether one did before `until`.
    async fn resume<'a>(&self, next: &mut (dyn FnMut() -> &'a Member + Send), until: Instant) -> bool {
        while !self.switch(next(), "resume").await {
            if Instant::now() >= until {
                return false;
            }
            sleep(Duration::from_millis(100)).await;
        }
        true
    }

    /// Asks a node; answers whether it did.
    async fn switch(&self, member: &Member, action: &str) -> bool {
        let asked = async { Api::open(member.address).await?.switch(&self.ordered, action).await };
        matches!(timeout(CHANGE, asked).await, Ok(Ok(())))
    }

    fn note(&self, shared: &Shared, fault: Fault, from_us: u64) {
        let done = Done { fault, from_us, until_us: shared.clock.us() };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    }
}

fn some<'a>(shared: &'a Shared, rng: &mut Rng) -> &'a Member {
    &shared.members[rng.below(shared.members.len() as u64) as usize]
}

async fn all(series: Vec<impl Future<Output = Result<(), BenchError>>>) -> Result<(), BenchError> {
    let mut series: Vec<_> = series.into_iter().map(Box::pin).collect();
    let mut results = Vec::new();
    std::future::poll_fn(|context| {
        series.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                results.push(result);
                false
            }
            std::task::Poll::Pending => true,
        });
        if series.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    results.into_iter().collect()
}

async fn blocking(shared: &Arc<Shared>, work: fn(&Shared) -> Result<(), BenchError>) -> Result<(), BenchError> {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || work(&shared)).await.expect("it does not panic")
}

async fn strike(shared: &Shared, member: &Member, fault: Fault, rng: &mut Rng) -> Result<(), BenchError> {
    let mut short = |from: u64, to: u64| Duration::from_millis(rng.between(from, to));
    match fault {
        Fault::Kill => {
            locked(&member.server).kill();
            // Sometimes longer than until others take its work over.
            sleep(short(0, 2 * LAPSE_MS)).await;
            start(shared, member).await?;
        }
        Fault::Stall => {
            locked(&member.server).set_stalled(true);
            sleep(short(LAPSE_MS + 100, LAPSE_MS + 2_500)).await;
            locked(&member.server).set_stalled(false);
            // It may have to begin anew, in its own process.
            sleep(Duration::from_millis(500)).await;
            if locked(&member.server).has_ended() {
                return Err(BenchError::Start { log: format!(", but ended; its log:{}", super::tail(&locked(&member.server).log())) });
            }
        }
        Fault::Cut | Fault::Freeze => {
            member.link.set(if fault == Fault::Cut { LinkState::Cut } else { LinkState::Frozen });
            // Now and then longer than a node waits for an answer of the database.
            let is_long = short(0, 3).is_zero();
            sleep(if is_long { short(10_000, 14_000) } else { short(200, 2 * LAPSE_MS) }).await;
            member.link.set(LinkState::Open);
        }
        Fault::Slow => {
            member.link.set(LinkState::Slow(short(5, 100)));
            sleep(short(1_000, 4_000)).await;
            member.link.set(LinkState::Open);
        }
        Fault::Database | Fault::Pause => {}
    }
    Ok(())
}

/// Starts a node; tries again while the database is away.
async fn start(shared: &Shared, member: &Member) -> Result<(), BenchError> {
    let since = Instant::now();
    loop {
        let server = Arc::clone(&member.server);
        match tokio::task::spawn_blocking(move || locked(&server).start_again()).await.expect("a start does not panic") {
            Ok(()) => return Ok(()),
            Err(error) if since.elapsed() > START || *shared.stop.borrow() && since.elapsed() > START / 2 => return Err(error),
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}
