//! `kill -9` under load, at random moments, again and again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::load::Until;
use crate::report::Report;
use crate::rng::{Rng, fresh_seed};
use crate::run::{Bench, Run, Shape};
use crate::table::{Cell, Table};
use crate::timing::median;

/// Longest wait for a delivery of what was pending.
const PATIENCE: Duration = Duration::from_secs(30);
/// Attempts of one target at once, by the default policy of the server.
const CONCURRENCY: u64 = 32;
/// How long what the dead server sent may lie unread.
const READ: Duration = Duration::from_millis(30);
/// Until the publishers have found the server again.
const RECONNECT: Duration = Duration::from_secs(60);

/// Publishes as fast as answers come, kills the server at random moments, starts it again on its directory, and compares what was acknowledged
/// with what arrived.
#[derive(Clone, Debug, clap::Args)]
pub struct Kill {
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub kills: u16,
    /// Shortest and longest time between a start and a kill, in milliseconds.
    #[arg(long, value_name = "MS", default_values_t = [300, 3000], num_args = 2)]
    pub between: Vec<u64>,
    /// Events in a request.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: u16,
}

/// What the kills showed.
#[derive(Clone, Debug, Default)]
pub struct Kills {
    /// Deliveries of acknowledged events that never came.
    pub lost: u64,
    /// Deliveries that came again.
    pub duplicates: u64,
    /// Most deliveries under way or not known on disk as ended at a kill, as the server's metrics told just before.
    pub in_flight: u64,
    /// Most of these whose outcome was on its way to the disk.
    pub unsettled: u64,
    /// How many there can be at most: attempts that the target's policy lets run, and outcomes that the server lets wait for the disk.
    pub bound: u64,
    /// Most deliveries that were owed at a kill.
    pub pending: u64,
    /// Most duplicates that one kill brought.
    pub most_duplicates: u64,
    /// From the start of the process until `/readyz` said yes, in ms.
    pub ready_ms: Vec<f64>,
    /// From the start of the process until the first receipt of what was pending or interrupted, in ms.
    pub delivering_ms: Vec<f64>,
    /// Why the ledger is not even.
    pub void: Option<String>,
}

impl Kill {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let kills = self.measure(bench, report).await?;
        report.add_table(kills.table(self.kills));
        if kills.most_duplicates > kills.bound {
            report.add_void(format!("kill: {} duplicates of one kill, where the limits allow {}", kills.most_duplicates, kills.bound));
        }
        if let Some(problem) = kills.void {
            report.add_void(format!("kill: {problem}"));
        }
        Ok(())
    }

    /// Measures it; the figures of the whole run are in the report.
    pub async fn measure(&self, bench: &Bench, report: &mut Report) -> Result<Kills, BenchError> {
        let seed = bench.seed.unwrap_or_else(fresh_seed);
        eprintln!("kill: --seed {seed}");
        let mut rng = Rng::new(seed);
        let shape = Shape { targets: 1, connections: super::CONNECTIONS, batch: self.batch.into() };
        let mut run = bench.start(shape).await?;
        run.load.patience = RECONNECT;
        run.begin().await?;
        let mut kills = Kills::default();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let load = run.load.clone();
        let publishing = async move { load.closed_loop(Until::Told(stopped)).await };
        let killing = async {
            let result = self.kill_often(&mut run, &mut rng, &mut kills).await;
            // The publishers may have ended with an error of their own.
            let _ = stop.send(true);
            result
        };
        let (published, killed) = tokio::join!(publishing, killing);
        killed?;
        let figures = run.finish(format!("{} kills", self.kills), published?).await?;
        (kills.lost, kills.duplicates, kills.void) = (figures.lost, figures.duplicates, figures.void());
        report.add(figures);
        Ok(kills)
    }

    async fn kill_often(&self, run: &mut Run, rng: &mut Rng, kills: &mut Kills) -> Result<(), BenchError> {
        for _ in 0..self.kills {
            sleep(Duration::from_millis(rng.between(self.between[0], self.between[1]))).await;
            let metrics = run.metrics().await?;
            let read = |name: &str| crate::api::metric(&metrics, name).unwrap_or_default() as u64;
            let in_flight = read("posthaste_target_in_flight");
            kills.unsettled = kills.unsettled.max(read("posthaste_outcomes_unsettled"));
            kills.bound = kills.bound.max(CONCURRENCY + read("posthaste_outcomes_unsettled_limit"));
            let duplicates = run.load.ledger.duplicates();
            run.server.kill();
            // The receiver may still have to read what the server sent.
            sleep(READ).await;
            let pending = run.load.ledger.close().lost;
            kills.in_flight = kills.in_flight.max(in_flight);
            kills.pending = kills.pending.max(pending);
            // What is acknowledged from now on has a higher number.
            run.receipts().watch_for(run.load.ledger.sent());
            let began_us = run.load.clock.us();
            kills.ready_ms.push(run.start_again().await?.as_secs_f64() * 1e3);
            let since = Instant::now();
            while pending.max(in_flight) > 0 && since.elapsed() < PATIENCE {
                if let Some(us) = run.receipts().watched() {
                    kills.delivering_ms.push(us.saturating_sub(began_us) as f64 / 1e3);
                    break;
                }
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_millis(300)).await;
            kills.most_duplicates = kills.most_duplicates.max(run.load.ledger.duplicates() - duplicates);
        }
        Ok(())
    }
}

impl Kills {
    /// As a table.
    pub fn table(&self, count: u16) -> Table {
        let mut table = Table::new(format!("kill -9 under load, {count} times"), &["", "median", "most"]);
        let one = |value: u64| vec![Cell::Whole(value as f64)];
        let many = |values: &[f64]| {
            let most = values.iter().copied().reduce(f64::max);
            vec![Cell::Empty, Cell::of(median(values.to_vec())), Cell::of(most)]
        };
        table.row("acknowledged and lost", one(self.lost));
        table.row("duplicates", one(self.duplicates));
        table.row("most duplicates of one kill", one(self.most_duplicates));
        table.row("most under way or unsettled at a kill", one(self.in_flight));
        table.row("… of these unsettled", one(self.unsettled));
        table.row("under way and unsettled at most, by the limits", one(self.bound));
        table.row("most acknowledged and not delivered at a kill", one(self.pending));
        table.row("ms until ready", many(&self.ready_ms));
        table.row("ms until the first interrupted delivery came", many(&self.delivering_ms));
        table.note("times are from the start of the process; what is under way is of the last metrics, some milliseconds before a kill, and changes by the \
             millisecond: the limits are what duplicates cannot exceed");
        table
    }
}
