//! What those who publish and receive feel of retention.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Compared;
use crate::BenchError;
use crate::api::EVENT_TYPE;
use crate::event::{Envelope, Via};
use crate::load::Until;
use crate::report::Report;
use crate::run::{Bench, Shape};

/// Longer than the server's pause between two looks.
const TIME: Duration = Duration::from_secs(75);
const RATE: f64 = 500.0;
/// Arrays of a thousand that nobody gets, in a second: they fill segments.
const FILLERS: f64 = 5.0;
const LOOK: Duration = Duration::from_millis(500);
/// Events of the first filling, at most, and after how many segments it ends.
const FILL: (u64, usize) = (4_000_000, 4);

/// Fills a store with more than it may keep, then publishes at a steady rate. Half seconds in which segments went away, and the ones after
/// them, are *with*; all others are *alone*.
pub async fn measure(bench: &Bench, report: &mut Report) -> Result<Compared, BenchError> {
    let mut bench = bench.clone();
    let mut settings = vec![("retention.bytes".to_owned(), "64MiB".to_owned())];
    for (name, value) in [("retention.segment", "16MiB"), ("retention.every", "2s")] {
        if bench.launch.knows_setting(name) {
            settings.push((name.to_owned(), value.to_owned()));
        }
    }
    // What the caller says comes last, and counts.
    settings.append(&mut bench.launch.settings);
    bench.launch.settings = settings;
    let mut run = bench.start_streams(&[1, 0], Shape { targets: 1, connections: crate::scenario::CONNECTIONS, batch: 1 }).await?;
    run.make_targets(0..1, EVENT_TYPE, None).await?;
    let filler = run.stream(1, Envelope { event_type: Some("bench.filler"), ..Envelope::new(Via::Native) }, 4, 1000);
    let journal = run.server.data().join("journal");
    while segments(&journal).len() < FILL.1 && filler.ledger.accepted_in(1) < FILL.0 {
        filler.closed_loop(Until::Accepted(filler.ledger.accepted_in(1) + 50_000)).await?;
    }

    run.begin().await?;
    let mut compared = Compared::new("");
    let time = bench.time_or(TIME);
    let mut dropped = 0;
    let watch = async {
        let since = Instant::now();
        let (mut files, mut recent) = (segments(&journal), 0);
        run.receipts().timings.take();
        while since.elapsed() < time {
            sleep(LOOK).await;
            let now = segments(&journal);
            let gone = files.iter().filter(|file| !now.contains(file)).count();
            dropped += gone;
            recent = if gone > 0 { 2 } else { recent - i32::from(recent > 0) };
            files = now;
            compared.side(recent > 0).add(&run.receipts().timings.take());
        }
    };
    let (published, filled, ()) = tokio::join!(run.load.open_loop(RATE, time), filler.open_loop(FILLERS, time), watch);
    filled?;
    compared.name = format!("retention drops {dropped} segments");
    let figures = run.finish(compared.name.clone(), published?).await?;
    if let Some(problem) = figures.void() {
        report.add_void(format!("{}: {problem}", compared.name));
    }
    Ok(compared)
}

fn segments(journal: &Path) -> Vec<std::ffi::OsString> {
    let files = fs::read_dir(journal).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name()));
    files.filter(|name| Path::new(name).extension().is_some_and(|end| end == "db")).collect()
}
