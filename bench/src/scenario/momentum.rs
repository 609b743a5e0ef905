//! Batches of email events for one Momentum webhook.

use crate::BenchError;
use crate::load::Until;
use crate::report::{Figures, Report};
use crate::run::Bench;

/// Arrays of `message.delivered` for one Momentum webhook, made through Momentum's API: first as much as the server takes, then what it
/// queued while the webhook was paused.
#[derive(Debug, clap::Args)]
pub struct Momentum {
    /// Events in a request.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: u16,
    /// Events to queue before the webhook is resumed.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub queued: u64,
}

impl Momentum {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        self.measure(bench).await?.into_iter().for_each(|figures| report.add(figures));
        Ok(())
    }

    /// Runs it: as much as the server takes, and the drain of what it queued.
    pub async fn measure(&self, bench: &Bench) -> Result<[Figures; 2], BenchError> {
        let batch = usize::from(self.batch);
        let mut run = bench.start_momentum(super::ARRAY_CONNECTIONS, batch).await?;
        run.begin().await?;
        let end = run.load.clock.us() + bench.time.unwrap_or(super::TIME).as_micros() as u64;
        // Whole batches, so that none waits half a minute for company.
        let published = run.load.closed_loop_rounded(Until::Time(end), FULL_BATCH).await?;
        let live = run.finish("momentum".to_owned(), published).await?;

        let mut run = bench.start_momentum(super::ARRAY_CONNECTIONS, batch).await?;
        run.api().switch_target("pause").await?;
        let queued = self.queued.next_multiple_of(FULL_BATCH);
        let mut published = run.load.closed_loop_rounded(Until::Accepted(queued), FULL_BATCH).await?;
        run.begin().await?;
        // From here on it is only the way out that is measured.
        (published.began_us, published.ended_us) = (run.load.clock.us(), 0);
        run.api().switch_target("resume").await?;
        Ok([live, run.finish("momentum, drain".to_owned(), published).await?])
    }
}

/// Events of a batch that closes at once.
const FULL_BATCH: u64 = 10_000;
