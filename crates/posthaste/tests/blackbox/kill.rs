//! Ends of the server under load, with a ledger (incident 1): what was answered with 2xx arrives, whatever happened in between.

use std::time::Duration;

use http::Method;

use crate::http::Api;
use crate::load::{ALLOWED, Load};
use crate::process::Process;
use crate::server::Server;

/// Times that the server is killed under load.
const KILLS: u32 = 32;
/// After every so many of them, the next server is killed while it is only just starting.
const EARLY: u32 = 4;
/// It is killed at most this long after its start, in milliseconds.
const LONGEST_START_MS: u64 = 80;
/// Most answers between two ends.
const MOST_ANSWERS: u64 = 150;
/// Times that it is stopped gracefully under load.
const STOPS: u32 = 8;

/// A small generator of numbers that are random enough for picking moments.
struct Dice(u64);

impl Dice {
    /// Another one for every process; its seed is shown when the test fails.
    fn new() -> Self {
        let seed = u64::from(std::process::id()) * 0x9E37_79B9 + 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Deliveries whose success this process of the server has on disk, by its metrics.
async fn settled(api: &Api) -> u64 {
    let answer = api.call(Method::GET, "/metrics", &[], "").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix("posthaste_deliveries_delivered_total ")?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("the counter is not in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_lose_nothing_that_was_answered_and_repeat_only_what_was_in_flight() {
    let mut dice = Dice::new();
    let dir = tempfile::tempdir().expect("a directory");
    let (mut load, mut server) = Load::start(dir.path()).await;
    // Attempts whose outcome was not on disk when their server died: the only ones that may be made again.
    let mut in_flight = 0;
    for kill in 1..=KILLS {
        load.publish_to(Some(&server));
        load.answers(1 + dice.roll(MOST_ANSWERS)).await;
        let settled = settled(&server.api).await;
        server.process.kill();
        load.publish_to(None);
        in_flight += load.count_arrivals().await - settled;
        if kill % EARLY == 0 {
            let serve = ["serve", "--data", "data", "--listen", "127.0.0.1:0", ALLOWED[0], ALLOWED[1]];
            let mut starting = Process::start(dir.path(), &serve, &[]);
            tokio::time::sleep(Duration::from_millis(dice.roll(LONGEST_START_MS))).await;
            starting.kill();
            in_flight += load.count_arrivals().await;
        }
        server = Server::start_with(dir.path(), &ALLOWED, &[]).await;
    }
    load.publish_to(Some(&server));
    load.answers(MOST_ANSWERS).await;
    let outcome = load.finish(server).await;
    println!("{KILLS} kills: {outcome:?}, {in_flight} were in flight");
    assert!(outcome.lost.is_empty(), "{outcome:?}");
    assert!(outcome.duplicates <= in_flight, "only {in_flight} were in flight: {outcome:?}");
    assert!(outcome.answered as u64 >= u64::from(KILLS), "{outcome:?}");
}

/// A server that is asked to stop finishes what is under way: nothing is lost, and nothing is sent twice either.
#[tokio::test(flavor = "multi_thread")]
async fn graceful_stops_under_load_lose_nothing_and_repeat_nothing() {
    let mut dice = Dice::new();
    let dir = tempfile::tempdir().expect("a directory");
    let (mut load, mut server) = Load::start(dir.path()).await;
    for _ in 0..STOPS {
        load.publish_to(Some(&server));
        load.answers(1 + dice.roll(MOST_ANSWERS)).await;
        server.process.signal("TERM");
        server.process.err.line(|line| line.contains("stopping")).await;
        load.publish_to(None);
        assert!(server.process.ended().await.success());
        server = Server::start_with(dir.path(), &ALLOWED, &[]).await;
    }
    let outcome = load.finish(server).await;
    println!("{STOPS} stops: {outcome:?}");
    assert!(outcome.lost.is_empty() && outcome.duplicates == 0, "{outcome:?}");
    assert!(outcome.stored >= outcome.answered, "{outcome:?}");
}
