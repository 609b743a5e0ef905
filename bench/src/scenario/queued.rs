//! What a long queue costs.

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::sleep;

use crate::BenchError;
use crate::api::EVENT_TYPE;
use crate::event::Via;
use crate::load::Until;
use crate::report::Report;
use crate::run::{Bench, Shape};

/// How long the server is left alone with its queue.
const SETTLE: Duration = Duration::from_secs(5);

/// Memory and disk of a server whose only target refuses connections, with a long queue for it.
#[derive(Debug, clap::Args)]
pub struct Queued {
    /// Deliveries to queue.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Events in a request; the inbox takes one.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: u16,
}

impl Queued {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let batch = if bench.via == Via::Inbox { 1 } else { self.batch.into() };
        let mut run = bench.start(Shape { targets: 0, connections: 4, batch }).await?;
        run.api().make_target("dead", &refusing_url()?, EVENT_TYPE, None).await?;
        run.begin().await?;
        let published = run.load.closed_loop(Until::Accepted(self.events)).await?;
        sleep(SETTLE).await;
        report.add(run.finish("queued".to_owned(), published).await?);
        Ok(())
    }
}

/// A URL of loopback where nobody listens.
fn refusing_url() -> Result<String, BenchError> {
    let failed = || BenchError::io("cannot find a free port");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed())?;
    Ok(format!("http://{}/", listener.local_addr().map_err(failed())?))
}
