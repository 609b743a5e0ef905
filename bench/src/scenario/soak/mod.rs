//! Everything at once, for long: mixed traffic, kills, sick targets, changes of configuration, retention; with an exact ledger, and memory and
//! file handles watched.
//!
//! Kills come in the first half; the second half is one life of the process, and growth would show in its last two
//! thirds. (A soak of less than two minutes goes on killing.) What a target that was deleted or disabled was owed is accounted for by the states that the server gives for its deliveries.

mod churn;
mod sample;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::BenchError;
use crate::api::Api;
use crate::ledger::Ledger;
use crate::report::Report;
use crate::rng::{Rng, fresh_seed};
use crate::run::{Bench, Run, Shape};
use crate::server::Server;
use crate::sink::{Mode, Sink};
use crate::table::{Cell, Table};

use churn::Churn;
use sample::Samples;
use traffic::{FANNED, SICK};

const TIME: Duration = Duration::from_secs(3600);
/// Between two changes of a sick target.
const MOODS: (u64, u64) = (1_500, 6_000);
/// A shorter soak says nothing about growth, and is there for the ledger.
const SHORT: Duration = Duration::from_secs(120);
/// Until publishers have found the server again.
const RECONNECT: Duration = Duration::from_secs(60);
/// Fewer samples say nothing about growth.
const SAMPLES_AT_LEAST: usize = 10;

/// An hour of everything at once, with kills, sick targets, changes and retention.
#[derive(Clone, Debug, clap::Args)]
pub struct Soak {
    /// Traffic in parts of the usual one, which is about 500 deliveries a second.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub load: f64,
    /// Shortest and longest time between two kills, in milliseconds [default: 2500 5000 below two minutes, else 15000 45000].
    #[arg(long, value_name = "MS", num_args = 2)]
    pub kills: Option<Vec<u64>>,
}

/// What the tasks of a soak share.
struct Soaking<'a> {
    server: Mutex<&'a mut Server>,
    sink: &'a Sink,
    ledger: Arc<Ledger>,
    stop: watch::Receiver<bool>,
}

impl Soak {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let seed = bench.seed.unwrap_or_else(fresh_seed);
        eprintln!("soak: --seed {seed}");
        let mut rng = Rng::new(seed);
        let time = bench.time_or(TIME);
        let churned = (time.as_secs() / 2).clamp(4, 1500) as usize;
        let mut run = self.start(bench, churned).await?;
        traffic::make_targets(&mut run).await?;
        run.load.patience = RECONNECT;
        run.begin().await?;
        let (stop, stopped) = watch::channel(false);
        let loads = traffic::loads(&run, self.load);
        let churn_load = run.stream(traffic::CHURN, crate::event::Envelope::new(crate::event::Via::Native), 1, 1);
        let made = run.made.clone();
        let began_us = run.load.clock.us();

        let mut samples = Samples::new(time);
        let (result, kills, churn) = {
            let soaking =
                Soaking { server: Mutex::new(&mut run.server), sink: &run.sink, ledger: Arc::clone(&churn_load.ledger), stop: stopped };
            let ending = async {
                sleep(time).await;
                // Everybody may have ended with an error of their own.
                let _ = stop.send(true);
            };
            let mut churn = Churn::new(churned, Rng::new(rng.next()), churn_load);
            let mut killer =
                Killer { rng: Rng::new(rng.next()), between: self.between(time), until: Instant::now() + self.killing(time), kills: 0 };
            let (moods, pauses) = (Rng::new(rng.next()), Rng::new(rng.next()));
            let all = tokio::join!(
                ending,
                stopping(&stop, traffic::publish(&soaking, loads, time)),
                stopping(&stop, killer.run(&soaking)),
                stopping(&stop, churn.run(&soaking)),
                stopping(&stop, sick(&soaking, moods)),
                stopping(&stop, pause_and_resume(&soaking, &made, pauses)),
                stopping(&stop, samples.run(&soaking)),
            );
            let result =
                all.1.and_then(|published| [all.2, all.3, all.4, all.5, all.6].into_iter().collect::<Result<(), _>>().map(|()| published));
            (result, killer.kills, churn)
        };
        let mut published = result?;
        published.began_us = began_us;
        // Whoever was sick is well now, and is told so: the server would find out by itself, in up to five minutes.
        SICK.for_each(|target| run.sink.set_mode(target, Mode::Ok));
        run.reconnect().await?;
        for target in SICK {
            let target = run.made[target].target.clone();
            run.api().switch(&target, "pause").await?;
            run.api().switch(&target, "resume").await?;
        }
        for problem in &churn.problems {
            report.add_void(format!("soak: {problem}"));
        }
        report.add_table(self.table(kills, &churn, &samples));
        report.add(run.finish(format!("soak of {} s", time.as_secs()), published).await?);
        Ok(())
    }

    async fn start(&self, bench: &Bench, churned: usize) -> Result<Run, BenchError> {
        let mut bench = bench.clone();
        let mut settings = vec![("retention.bytes".to_owned(), "48MiB".to_owned())];
        for (name, value) in [("retention.segment", "8MiB"), ("retention.every", "5s")] {
            if bench.launch.knows_setting(name) {
                settings.push((name.to_owned(), value.to_owned()));
            }
        }
        // What the caller says comes last, and counts.
        settings.append(&mut bench.launch.settings);
        bench.launch.settings = settings;
        let mut streams = traffic::STREAMS.to_vec();
        streams.resize(streams.len() + churned, 1);
        bench.start_streams(&streams, Shape { targets: 0, connections: 4, batch: 1 }).await
    }

    fn between(&self, time: Duration) -> (u64, u64) {
        match self.kills.as_deref() {
            Some([from, to]) => (*from, *to),
            _ if time < SHORT => (2_500, 5_000),
            _ => (15_000, 45_000),
        }
    }

    /// For how long there are kills.
    fn killing(&self, time: Duration) -> Duration {
        if time < SHORT { time * 4 / 5 } else { time / 2 }
    }

    fn table(&self, kills: u32, churn: &Churn, samples: &Samples) -> Table {
        let mut table = Table::new("soak", &["", "verdict"]);
        let count = |value: u64| vec![Cell::Whole(value as f64)];
        table.row("kills", count(kills.into()));
        table.row("targets made and deleted", count(churn.lives));
        table.row("… deliveries cancelled with them", count(churn.cancelled));
        table.row("… deliveries failed when they were gone (410)", count(churn.failed));
        table.row("… events while they were disabled, for nobody", count(churn.unmatched));
        for (name, values) in [("memory MiB", samples.memory()), ("file handles", samples.handles()), ("disk MiB", samples.disk())] {
            let (first, last) = (values.first().map(|(_, value)| *value), values.last().map(|(_, value)| *value));
            let verdict = sample::verdict(&values, SAMPLES_AT_LEAST);
            let shown =
                format!("{} … {}", first.map_or(String::new(), crate::table::short), last.map_or(String::new(), crate::table::short));
            table.row(format!("{name}, last third"), vec![Cell::Text(shown), Cell::Text(verdict)]);
        }
        table
    }
}

/// Runs something; if it ends with an error, so does everything else.
async fn stopping<T>(stop: &watch::Sender<bool>, task: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let result = task.await;
    if result.is_err() {
        // Everybody may have stopped already.
        let _ = stop.send(true);
    }
    result
}

impl Soaking<'_> {
    /// Sleeps; false if it is time to stop.
    async fn rest(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = sleep(time) => !*self.stop.borrow(),
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }
}

struct Killer {
    rng: Rng,
    between: (u64, u64),
    until: Instant,
    kills: u32,
}

impl Killer {
    /// Kills the server and starts it again. Nobody changes the configuration meanwhile, so that it is known what was changed.
    async fn run(&mut self, soaking: &Soaking<'_>) -> Result<(), BenchError> {
        loop {
            let at = Instant::now() + Duration::from_millis(self.rng.between(self.between.0, self.between.1));
            if at > self.until {
                return Ok(());
            }
            if !soaking.rest(at - Instant::now()).await {
                return Ok(());
            }
            let mut server = soaking.server.lock().await;
            server.kill();
            // Publishers meet a server that is not there.
            sleep_until(Instant::now() + Duration::from_millis(self.rng.below(300))).await;
            server.start_again()?;
            self.kills += 1;
        }
    }
}

/// Targets that fail, hang, dawdle and come back.
async fn sick(soaking: &Soaking<'_>, mut rng: Rng) -> Result<(), BenchError> {
    let moods = [Mode::Ok, Mode::Fail, Mode::Hang, Mode::Slow(200), Mode::Flaky(40), Mode::Ok];
    loop {
        let target = SICK.start + rng.below(SICK.len() as u64) as usize;
        soaking.sink.set_mode(target, moods[rng.below(moods.len() as u64) as usize]);
        if !soaking.rest(Duration::from_millis(rng.between(MOODS.0, MOODS.1))).await {
            return Ok(());
        }
    }
}

/// Pauses one of the targets of the fan-out, and resumes it.
async fn pause_and_resume(soaking: &Soaking<'_>, made: &[crate::api::Made], mut rng: Rng) -> Result<(), BenchError> {
    loop {
        let target = &made[FANNED.start + rng.below(FANNED.len() as u64) as usize].target;
        for action in ["pause", "resume"] {
            let server = soaking.server.lock().await;
            Api::open(server.address()).await?.switch(target, action).await?;
            drop(server);
            let is_over = !soaking.rest(Duration::from_millis(rng.between(500, 3_000))).await;
            if is_over && action == "resume" {
                return Ok(());
            }
        }
    }
}
