//! A steady rate that leaves the server time.

use crate::BenchError;
use crate::report::Figures;
use crate::run::{Bench, Shape};

/// A fixed rate of events, whatever the answers do: how long publishing and delivery take.
#[derive(Clone, Debug, clap::Args)]
pub struct Latency {
    /// Events a second.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
}

impl Latency {
    /// Runs it once.
    pub async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        let shape = Shape { targets: 1, connections: super::CONNECTIONS, batch: 1 };
        let mut run = bench.start(shape).await?;
        run.begin().await?;
        let published = run.load.open_loop(self.rate.into(), bench.time_or(super::TIME)).await?;
        run.finish(format!("latency at {}/s", self.rate), published).await
    }
}
