//! As much as the server takes.

use crate::BenchError;
use crate::load::Until;
use crate::report::Figures;
use crate::run::{Bench, Shape};

/// As many events as the server takes, until all are delivered.
#[derive(Clone, Debug, clap::Args)]
pub struct Throughput {
    /// Events in a request; more than one are sent as an array.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: u16,
    /// Targets that each event goes to.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub fan_out: u16,
}

impl Throughput {
    /// Runs it once.
    pub async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        let shape = Shape { targets: self.fan_out.into(), connections: super::CONNECTIONS, batch: self.batch.into() };
        let mut run = bench.start(shape).await?;
        run.begin().await?;
        let end = run.load.clock.us() + bench.time_or(super::TIME).as_micros() as u64;
        let published = run.load.closed_loop(Until::Time(end)).await?;
        run.finish(self.name(), published).await
    }

    /// What is special about it.
    pub fn name(&self) -> String {
        match (self.batch, self.fan_out) {
            (1, 1) => "throughput".to_owned(),
            (batch, 1) => format!("arrays of {batch}"),
            (1, targets) => format!("{targets} targets"),
            (batch, targets) => format!("arrays of {batch}, {targets} targets"),
        }
    }
}
