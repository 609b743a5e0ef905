//! A target that comes back to a long queue: how its pace goes up, and what another target feels of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::phases::{timed, written};
use super::{Compared, Isolation};
use crate::BenchError;
use crate::api::EVENT_TYPE;
use crate::event::{Envelope, Via};
use crate::load::{Published, Until};
use crate::report::Report;
use crate::run::{Bench, Run, Shape};
use crate::sink::Mode;
use crate::table::{Cell, Table};

const OTHER: &str = "bench.other";
const RATE: f64 = 500.0;
const TIME: Duration = Duration::from_secs(10);
/// Events that fail first, so that the target counts as failing.
const FAILURES: u64 = 40;
/// Longest time until everything due has come.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);
/// What docs/policy.md and the engine promise of a target that comes back: so many in the first second, and twice as many in each that
/// follows, until its concurrency is reached.
const FIRST_SECOND: u64 = 10;
/// Seconds after which the promise is kept by concurrency alone: the level has reached the 32 of the default policy.
const RAMP_SECONDS: usize = 5;

/// Lets a target fail until much is due, lets it come back, and watches; as often as there are turns.
pub async fn measure(bench: &Bench, isolation: &Isolation, report: &mut Report) -> Result<Compared, BenchError> {
    let due = isolation.due;
    let rate = isolation.rate.unwrap_or(RATE);
    let shape = Shape { targets: 2, connections: crate::scenario::CONNECTIONS, batch: 1 };
    let mut run = bench.start_streams(&[1, 1], shape).await?;
    run.make_targets(0..1, EVENT_TYPE, None).await?;
    run.make_targets(1..2, OTHER, None).await?;
    let other = run.stream(1, Envelope { event_type: Some(OTHER), ..Envelope::new(Via::Native) }, 4, 1);
    let arrays = run.stream(1, Envelope { event_type: Some(OTHER), ..Envelope::new(Via::Native) }, 4, 1000);
    // What waited is late by nature.
    run.sink.leave_untimed(1);
    run.begin().await?;
    let mut compared = Compared::new(format!("target comes back to {due} due"));
    let mut table = Table::new(format!("recovery: deliveries in each second after the first, {due} due"), &["seen", "at most"]);
    let mut over = 0;
    let (_, mut published) = timed(&run, rate, Duration::from_secs(1)).await?;
    for turn in 0..isolation.turns {
        let (alone, one) = timed(&run, rate, bench.time_or(TIME)).await?;
        compared.add(false, &alone);

        run.sink.set_mode(1, Mode::Fail);
        let before = run.load.ledger.accepted_in(1);
        other.closed_loop(Until::Accepted(before + FAILURES)).await?;
        arrays.closed_loop(Until::Accepted(before + due)).await?;
        written();
        run.sink.set_mode(1, Mode::Ok);
        run.receipts().timings.take();
        let (seconds, beside) = tokio::join!(pace(&run), steady(&run, rate));
        published = published.merge(one).merge(beside?);
        compared.add(true, &run.receipts().timings.take());
        let allowed = allowed(seconds.len());
        over += seconds.iter().zip(&allowed).filter(|(seen, allowed)| allowed.is_some_and(|allowed| **seen > allowed)).count();
        for (second, (seen, allowed)) in seconds.iter().zip(&allowed).enumerate() {
            let allowed = allowed.map_or_else(|| Cell::Text("-".to_owned()), |allowed| Cell::Whole(allowed as f64));
            table.row(format!("turn {}, second {}", turn + 1, second + 1), vec![Cell::Whole(*seen as f64), allowed]);
        }
    }
    table.note(if over == 0 { "never above the ramp".to_owned() } else { format!("above the ramp in {over} seconds") });
    report.add_table(table);
    let figures = run.finish(compared.name.clone(), published).await?;
    if let Some(problem) = figures.void() {
        report.add_void(format!("{}: {problem}", compared.name));
    }
    Ok(compared)
}

/// Deliveries to the target that came back, for each second from the first on, until all have come.
async fn pace(run: &Run) -> Vec<u64> {
    let answered = || run.receipts().answered(1);
    let mut before = answered();
    let deadline = Instant::now() + PATIENCE;
    while answered() == before && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    let since = Instant::now();
    let mut seconds = Vec::new();
    while Instant::now() < deadline {
        sleep(Duration::from_secs(seconds.len() as u64 + 1).saturating_sub(since.elapsed())).await;
        let now = answered();
        seconds.push(now - before);
        before = now;
        if now >= run.load.ledger.accepted_in(1) {
            break;
        }
    }
    seconds
}

/// A steady load until the other target has got everything.
async fn steady(run: &Run, rate: f64) -> Result<Published, BenchError> {
    let mut published = Published { began_us: run.load.clock.us(), ..Published::default() };
    let deadline = Instant::now() + PATIENCE;
    while run.receipts().answered(1) < run.load.ledger.accepted_in(1) && Instant::now() < deadline {
        published = published.merge(run.load.open_loop(rate, Duration::from_secs(1)).await?);
    }
    Ok(published)
}

/// The most that each second may see. A second of ours may hold one of the server's and the beginning of the next, where all that it allows
/// is sent at once; and the try that found the target well is seen too.
fn allowed(seconds: usize) -> Vec<Option<u64>> {
    (0..seconds).map(|second| (second < RAMP_SECONDS).then(|| ((3 * FIRST_SECOND) << second) + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_doubles_until_concurrency_rules() {
        assert_eq!(allowed(7), [Some(31), Some(61), Some(121), Some(241), Some(481), None, None]);
    }
}
