//! Whether one target that never answers is felt by the others.

use crate::BenchError;
use crate::report::Report;
use crate::run::{Bench, Shape};
use crate::sink::Mode;

/// Latency of healthy targets, first alone, then with targets beside them that take requests and never answer.
#[derive(Debug, clap::Args)]
pub struct SlowTarget {
    /// Targets that answer; each gets every event.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub healthy: u16,
    /// Targets that never answer.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub hanging: u16,
    /// Events a second.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
}

impl SlowTarget {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let shape = Shape { targets: self.healthy.into(), connections: super::CONNECTIONS, batch: 1 };
        for (name, hanging) in [("all answer".to_owned(), 0), (format!("{} hang", self.hanging), usize::from(self.hanging))] {
            let mut run = bench.start(Shape { targets: shape.targets + hanging, ..shape }).await?;
            for target in shape.targets..shape.targets + hanging {
                run.load.ledger.set_owed(target, false);
                run.sink.set_mode(target, Mode::Hang);
            }
            run.begin().await?;
            let published = run.load.open_loop(self.rate.into(), bench.time.unwrap_or(super::TIME)).await?;
            report.add(run.finish(format!("{} targets, {name}", self.healthy), published).await?);
        }
        Ok(())
    }
}
