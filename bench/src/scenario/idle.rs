//! What many targets cost while nothing happens.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::load::Until;
use crate::report::Figures;
use crate::run::{Bench, Shape};

/// How long the server may settle before it is watched.
const SETTLE: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(30);

/// CPU of a server with many targets when nothing is due; each of them got one event before.
#[derive(Debug, clap::Args)]
pub struct Idle {
    /// Targets, each with a subscription.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub targets: u32,
}

impl Idle {
    /// Runs it.
    pub async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        let shape = Shape { targets: self.targets as usize, connections: 1, batch: 1 };
        let mut run = bench.start(shape).await?;
        run.begin().await?;
        run.load.connections = 1;
        let made = run.server.usage()?;
        let published = run.load.closed_loop(Until::Accepted(1)).await?;
        run.drain().await;
        sleep(SETTLE).await;
        let sent = run.server.usage()?;
        let (before, since) = (run.server.usage()?, Instant::now());
        sleep(bench.time.unwrap_or(WATCH)).await;
        let used = run.server.usage()?.cpu_us - before.cpu_us;
        let percent = used as f64 / since.elapsed().as_micros() as f64 * 100.0;
        let left = run.server.usage()?;
        let mib = |kib: u64| kib as f64 / 1024.0;
        eprintln!(
            "idle: {} targets: {:.1} MiB when they were made, {:.1} after one event each, {:.1} when left alone",
            self.targets,
            mib(made.resident_kib),
            mib(sent.resident_kib),
            mib(left.resident_kib)
        );
        let mut figures = run.finish(format!("idle, {} targets", self.targets), published).await?;
        figures.idle_cpu_percent = Some(percent);
        Ok(figures)
    }
}
