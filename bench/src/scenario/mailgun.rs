//! Events about messages for one Mailgun webhook.

use crate::BenchError;
use crate::load::Until;
use crate::report::Report;
use crate::run::Bench;

/// `message.delivered` for one Mailgun webhook, made through Mailgun's API, as many as the server takes: each is written anew, signed, and
/// sent in a request of its own.
#[derive(Debug, clap::Args)]
pub struct Mailgun {
    /// Events in a request that publishes; more than one are sent as an array.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: u16,
}

impl Mailgun {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let mut run = bench.start_mailgun(super::CONNECTIONS, self.batch.into()).await?;
        run.begin().await?;
        let end = run.load.clock.us() + bench.time.unwrap_or(super::TIME).as_micros() as u64;
        let published = run.load.closed_loop(Until::Time(end)).await?;
        report.add(run.finish("mailgun".to_owned(), published).await?);
        Ok(())
    }
}
