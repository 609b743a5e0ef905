//! `kill -9` at random points under load, with a ledger: what was answered with 2xx arrives, whatever happened in between.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Api;
use crate::process::Process;
use crate::receiver::{Receiver, Reply};
use crate::server::{KEY, Server};

/// Times that the server is killed under load.
const KILLS: u32 = 32;
/// After every so many of them, the next server is killed while it is only just starting.
const EARLY: u32 = 4;
/// It is killed at most this long after its start, in milliseconds.
const LONGEST_START_MS: u64 = 80;
/// What lets it deliver to this machine.
const ALLOWED: [&str; 2] = ["--allow-network", "127.0.0.1"];
/// Publishers at once.
const PUBLISHERS: u64 = 8;
/// Most answers between two kills.
const MOST_ANSWERS: u64 = 150;

/// What both sides saw.
#[derive(Default)]
struct Ledger {
    /// Numbers of the events that were answered with 2xx.
    answered: HashSet<u64>,
    /// How often each number arrived.
    arrived: HashMap<u64, u32>,
    /// Requests that arrived since the server at hand was started.
    arrived_now: u64,
}

/// A small generator of numbers that are random enough for picking moments. Its seed is printed when the test fails.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Publishes until it is stopped, each event with a number of its own; half through the native API, half through the inbox.
async fn publish(publisher: u64, mut api: watch::Receiver<Option<Api>>, ledger: Arc<Mutex<Ledger>>, answers: watch::Sender<u64>, stop: CancellationToken) {
    let bearer = format!("Bearer {KEY}");
    for turn in 0.. {
        let number = turn * PUBLISHERS + publisher;
        // Nobody is asked while there is no server; the next one says so.
        let server = tokio::select! {
            () = stop.cancelled() => return,
            there = api.wait_for(Option::is_some) => there.expect("the test lives").clone().expect("waited for"),
        };
        let (path, key, body) = match number % 2 {
            0 => ("/posthaste/v1/events", ("authorization", bearer.as_str()), format!(r#"{{"type":"load","data":{{"event":"load","n":{number}}}}}"#)),
            _ => ("/inbox", ("x-msggo-key", KEY), format!(r#"{{"event":"load","n":{number}}}"#)),
        };
        match server.try_call(Method::POST, path, &[key, ("content-type", "application/json")], body).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                ledger.lock().expect("no panic").answered.insert(number);
                answers.send_modify(|count| *count += 1);
            }
            // It was killed before it answered: whether the event is stored is open.
            Err(_) => {}
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
        }
    }
}

/// The value of a counter in the metrics of a server, as far as it still answers.
async fn counter(api: &Api, name: &str) -> u64 {
    let Ok(answer) = api.try_call(Method::GET, "/metrics", &[], "").await else { return 0 };
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_kills_under_load_lose_nothing_that_was_answered() {
    let seed = u64::from(std::process::id()) * 0x9E37_79B9 + 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let (arrivals, mut arrived) = watch::channel(());
    let receiver_ledger = Arc::clone(&ledger);
    let mut receiver = Receiver::scripted(move |hit| {
        let number = hit.json()["data"]["n"].as_u64().expect("a number");
        let mut ledger = receiver_ledger.lock().expect("no panic");
        *ledger.arrived.entry(number).or_default() += 1;
        ledger.arrived_now += 1;
        arrivals.send_replace(());
        // A little work, so that something is in flight at every moment.
        Reply::After(Duration::from_millis(number % 8), 204)
    })
    .await;

    let mut server = Server::start(dir.path()).await;
    server.api.make("/event-types", json!({"name": "load"})).await;
    server.subscribed(&receiver.url("/hook"), &["load"], json!({})).await;

    let (there, api) = watch::channel(None);
    let (answers, mut answered) = watch::channel(0);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    for publisher in 0..PUBLISHERS {
        tasks.spawn(publish(publisher, api.clone(), Arc::clone(&ledger), answers.clone(), stop.clone()));
    }
    tasks.close();

    // Attempts whose outcome was not on disk when their server died: the only ones that may be made again.
    let mut in_flight = 0;
    for kill in 1..=KILLS {
        there.send_replace(Some(server.api.clone()));
        let until = *answered.borrow() + 1 + dice.roll(MOST_ANSWERS);
        answered.wait_for(|count| *count >= until).await.expect("publishers live");
        let settled = counter(&server.api, "posthaste_deliveries_delivered_total ").await;
        server.process.kill();
        there.send_replace(None);
        receiver.quiet().await;
        in_flight += std::mem::take(&mut ledger.lock().expect("no panic").arrived_now) - settled;
        if kill % EARLY == 0 {
            let mut starting = Process::start(dir.path(), &["serve", "--data", "data", "--listen", "127.0.0.1:0", ALLOWED[0], ALLOWED[1]], &[]);
            tokio::time::sleep(Duration::from_millis(dice.roll(LONGEST_START_MS))).await;
            starting.kill();
            receiver.quiet().await;
            in_flight += std::mem::take(&mut ledger.lock().expect("no panic").arrived_now);
        }
        server = Server::start_with(dir.path(), &ALLOWED, &[]).await;
    }
    there.send_replace(Some(server.api.clone()));
    let until = *answered.borrow() + MOST_ANSWERS;
    answered.wait_for(|count| *count >= until).await.expect("publishers live");
    stop.cancel();
    tasks.wait().await;

    // Without being asked, the last server delivers what is left.
    let everything = async {
        while { let ledger = ledger.lock().expect("no panic"); ledger.answered.iter().any(|number| !ledger.arrived.contains_key(number)) } {
            arrived.changed().await.expect("the receiver lives");
        }
    };
    let in_time = tokio::time::timeout(crate::process::PATIENCE, everything).await;
    for state in ["queued", "held", "failed", "cancelled"] {
        server.api.until(&format!("/deliveries?state={state}"), |page| page["items"].as_array()?.is_empty().then_some(())).await;
    }
    let stored = server.api.all("/events?limit=500").await;
    server.stop().await;

    let ledger = ledger.lock().expect("no panic");
    let lost: Vec<_> = ledger.answered.iter().filter(|number| !ledger.arrived.contains_key(number)).collect();
    let duplicates: u64 = ledger.arrived.values().map(|times| u64::from(times - 1)).sum();
    println!(
        "{KILLS} kills; {} answered, {} stored, {} arrived, {} lost, {duplicates} duplicates, {in_flight} in flight",
        ledger.answered.len(), stored.len(), ledger.arrived.len(), lost.len(),
    );
    assert!(lost.is_empty() && in_time.is_ok(), "seed {seed}: lost {lost:?}");
    assert!(duplicates <= in_flight, "seed {seed}: {duplicates} duplicates, but only {in_flight} were in flight");
    // Accepted = delivered + still queued, and nothing is queued any more: each stored event arrived, and nothing else did.
    let stored: HashSet<u64> = stored.iter().map(|event| event["data"]["n"].as_u64().expect("a number")).collect();
    assert_eq!(stored, ledger.arrived.keys().copied().collect::<HashSet<_>>(), "seed {seed}");
}
