//! The steady part of a soak's traffic: streams whose targets stay from beginning to end.

use std::ops::Range;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Soaking;
use crate::BenchError;
use crate::event::{Envelope, Via};
use crate::load::{Load, Published, Until};
use crate::run::Run;

/// Targets of the streams: single events, arrays, fan-out, a batching subscription, scheduled events, sick targets.
pub const STREAMS: [usize; 6] = [2, 1, 5, 1, 1, 3];
/// The targets of the fan-out.
pub const FANNED: Range<usize> = 3..8;
/// The sick targets.
pub const SICK: Range<usize> = 10..13;
/// The first stream of those that come and go; each has one target. Its number is the stream's plus [`CHURN_TARGET`].
pub const CHURN: usize = STREAMS.len();
/// See [`CHURN`].
pub const CHURN_TARGET: usize = SICK.end - CHURN;

const TYPES: [&str; 6] = ["soak.single", "soak.array", "soak.fan", "soak.batch", "soak.later", "soak.sick"];
/// Requests in a second, and events in each.
const RATES: [(f64, usize); 6] = [(100.0, 1), (1.0, 100), (20.0, 1), (50.0, 1), (0.0, 1), (20.0, 1)];
const LATER: usize = 4;
/// A soak that is told to stop so long before its time has failed.
const EARLY: Duration = Duration::from_secs(2);
/// Scheduled events in a group, every second.
const GROUP: u64 = 10;

/// Makes the targets of the streams, in their order.
pub async fn make_targets(run: &mut Run) -> Result<(), BenchError> {
    let batch = json!({"batch": {"events": 50, "bytes": "1MiB", "wait": "1s"}});
    // Tries enough for the longest illness.
    let delays: Vec<&str> = ["1s", "1s", "2s"].into_iter().chain(std::iter::repeat_n("3s", 22)).collect();
    let patient = json!({"timeout": "2s", "retry": {"delays": delays}, "jitter": 0});
    let mut first = 0;
    for (stream, count) in STREAMS.into_iter().enumerate() {
        let policy = match TYPES[stream] {
            "soak.batch" => Some(&batch),
            "soak.sick" => Some(&patient),
            _ => None,
        };
        run.make_targets(first..first + count, TYPES[stream], policy).await?;
        first += count;
    }
    Ok(())
}

/// What publishes the streams, with its rate.
pub fn loads(run: &Run, times: f64) -> Vec<(Load, f64)> {
    let load = |stream: usize| {
        let (rate, batch) = RATES[stream];
        (run.stream(stream, Envelope { event_type: Some(TYPES[stream]), ..Envelope::new(Via::Native) }, 4, batch), rate * times)
    };
    (0..STREAMS.len()).map(load).collect()
}

/// Publishes all streams for so long.
pub async fn publish(soaking: &Soaking<'_>, loads: Vec<(Load, f64)>, time: Duration) -> Result<Published, BenchError> {
    let mut publishers = JoinSet::new();
    let later = loads[LATER].0.clone();
    for (load, rate) in loads.into_iter().filter(|(_, rate)| *rate > 0.0) {
        publishers.spawn(async move { load.open_loop(rate, time).await });
    }
    let since = Instant::now();
    let mut published = schedule(soaking, later).await?;
    if since.elapsed() + EARLY < time {
        // Something else failed and tells why.
        publishers.shutdown().await;
    }
    while let Some(ended) = publishers.join_next().await {
        published = published.merge(ended.expect("publishers do not panic")?);
    }
    Ok(published)
}

/// Publishes groups of events that are to be delivered some seconds later.
async fn schedule(soaking: &Soaking<'_>, mut load: Load) -> Result<Published, BenchError> {
    load.connections = 1;
    let mut published = Published { began_us: u64::MAX, ..Published::default() };
    let mut delay = 1;
    while soaking.rest(Duration::from_secs(1)).await {
        delay = delay % 5 + 1;
        let time = later(delay);
        let envelope = Envelope { event_type: Some(TYPES[LATER]), deliver_at: Some(&time), ..Envelope::new(Via::Native) };
        load.set_envelope(envelope, 1);
        published = published.merge(load.closed_loop(Until::Accepted(load.ledger.accepted_in(LATER) + GROUP)).await?);
    }
    Ok(published)
}

/// The time of day some seconds from now.
fn later(seconds: i64) -> String {
    let now = crate::timing::unix_seconds() as i64;
    jiff::Timestamp::from_second(now + seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_numbered_in_the_order_of_the_streams() {
        let before = |stream: usize| STREAMS[..stream].iter().sum::<usize>();
        assert_eq!((before(2)..before(3), before(5)..before(6)), (FANNED, SICK));
        assert_eq!(before(6), CHURN + CHURN_TARGET);
        assert!(later(60).ends_with('Z'));
    }
}
