//! How long a start takes with a long queue.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::load::Until;
use crate::report::Report;
use crate::run::{Bench, Shape};
use crate::table::{Cell, Table};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long it delivers before it is measured a last time.
const WATCH: Duration = Duration::from_secs(10);

/// Queues deliveries for a paused target, kills the server, starts it again, and resumes the target.
#[derive(Clone, Debug, clap::Args)]
pub struct Startup {
    /// Deliveries to queue.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub queued: u64,
}

/// What the start showed.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Most resident memory while the queue was made.
    pub queueing_mib: f64,
    /// From the start of the process until `/readyz` said yes.
    pub ready_ms: f64,
    /// Resident memory then.
    pub ready_mib: f64,
    /// From the call that resumed the target until the first receipt.
    pub first_ms: Option<f64>,
    /// Most resident memory since the start, some seconds of delivering included.
    pub peak_mib: f64,
    /// Bytes that a queued delivery takes on the disk, with its event.
    pub disk_bytes: f64,
}

impl Startup {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let start = self.measure(bench, report).await?;
        let mut table = Table::new(format!("start with {} queued deliveries", crate::table::whole(self.queued as f64)), &["seen"]);
        for (name, value) in [
            ("ms until ready", Some(start.ready_ms)),
            ("ms from resume until the first delivery came", start.first_ms),
            ("peak memory MiB while queueing", Some(start.queueing_mib)),
            ("memory MiB when ready", Some(start.ready_mib)),
            ("peak memory MiB, ten seconds of delivering included", Some(start.peak_mib)),
            ("disk bytes/delivery", Some(start.disk_bytes)),
        ] {
            table.row(name, vec![Cell::of(value)]);
        }
        report.add_table(table);
        Ok(())
    }

    /// Measures it; the figures of the run are in the report.
    pub async fn measure(&self, bench: &Bench, report: &mut Report) -> Result<Start, BenchError> {
        let mut run = bench.start(Shape { targets: 1, connections: super::ARRAY_CONNECTIONS, batch: 1000 }).await?;
        run.api().switch_target("pause").await?;
        run.begin().await?;
        let disk = crate::usage::disk_bytes(run.server.data())?;
        let published = run.load.closed_loop(Until::Accepted(self.queued)).await?;
        let grown = crate::usage::disk_bytes(run.server.data())?.saturating_sub(disk);
        let queueing_mib = run.server.usage()?.peak_kib as f64 / 1024.0;
        let ready_ms = run.start_again().await?.as_secs_f64() * 1e3;
        let ready_mib = run.server.usage()?.resident_kib as f64 / 1024.0;

        run.receipts().watch_for(u64::MAX);
        let (began_us, since) = (run.load.clock.us(), Instant::now());
        run.api().switch_target("resume").await?;
        while run.receipts().watched().is_none() && since.elapsed() < PATIENCE {
            sleep(Duration::from_millis(1)).await;
        }
        let first_ms = run.receipts().watched().map(|us| us.saturating_sub(began_us) as f64 / 1e3);
        if first_ms.is_none() {
            report.add_void("startup: nothing came after the target was resumed");
        }
        sleep(WATCH).await;
        let peak_mib = run.server.usage()?.peak_kib as f64 / 1024.0;
        report.add(run.finish_early(format!("startup, {} queued", self.queued), published).await?);
        Ok(Start { queueing_mib, ready_ms, ready_mib, first_ms, peak_mib, disk_bytes: grown as f64 / self.queued as f64 })
    }
}
