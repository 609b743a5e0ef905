//! Publishers, a receiver and a ledger of what both saw, over any number of servers one after another.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Api;
use crate::process::PATIENCE;
use crate::receiver::{Receiver, Reply};
use crate::server::{KEY, Server};

/// Publishers at once.
const PUBLISHERS: u64 = 8;
/// What lets a server deliver to this machine.
pub const ALLOWED: [&str; 2] = ["--allow-network", "127.0.0.1"];

/// What both sides saw.
#[derive(Default)]
pub struct Ledger {
    /// Numbers of the events that were answered with 2xx.
    answered: HashSet<u64>,
    /// How often each number arrived.
    arrived: HashMap<u64, u32>,
    /// Requests that arrived since the last [`Load::count_arrivals`].
    arrived_now: u64,
}

/// The whole arrangement.
pub struct Load {
    ledger: Arc<Mutex<Ledger>>,
    receiver: Receiver,
    arrivals: watch::Receiver<()>,
    /// The server to publish to, while there is one.
    server: watch::Sender<Option<Api>>,
    /// Counts answers.
    answers: watch::Receiver<u64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How it came out.
#[derive(Debug)]
pub struct Outcome {
    pub answered: usize,
    pub stored: usize,
    pub lost: Vec<u64>,
    pub duplicates: u64,
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("nobody panics with it")
}

impl Load {
    /// Starts a server on `dir` with a subscribed receiver, and publishers that wait for [`Load::publish_to`].
    pub async fn start(dir: &Path) -> (Self, Server) {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (told, arrivals) = watch::channel(());
        let book = Arc::clone(&ledger);
        let receiver = Receiver::scripted(move |hit| {
            let number = hit.json()["data"]["n"].as_u64().expect("a number");
            let mut ledger = lock(&book);
            *ledger.arrived.entry(number).or_default() += 1;
            ledger.arrived_now += 1;
            told.send_replace(());
            // A little work, so that something is in flight at every moment.
            Reply::After(Duration::from_millis(number % 8), 204)
        })
        .await;
        let server = Server::start(dir).await;
        server.api.make("/event-types", json!({"name": "load"})).await;
        server.subscribed(&receiver.url("/hook"), &["load"], json!({})).await;

        let (current, watched) = watch::channel(None);
        let (counter, answers) = watch::channel(0);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for publisher in 0..PUBLISHERS {
            tasks.spawn(publish(publisher, watched.clone(), Arc::clone(&ledger), counter.clone(), stop.clone()));
        }
        tasks.close();
        (Self { ledger, receiver, arrivals, server: current, answers, stop, tasks }, server)
    }

    /// Publishes to this server from now on; to none, if there is none.
    pub fn publish_to(&self, server: Option<&Server>) {
        self.server.send_replace(server.map(|server| server.api.clone()));
    }

    /// Waits for so many more answers of 2xx.
    pub async fn answers(&mut self, more: u64) {
        let until = *self.answers.borrow() + more;
        let enough = tokio::time::timeout(PATIENCE, self.answers.wait_for(|count| *count >= until)).await;
        enough.expect("too few answers came").expect("publishers live");
    }

    /// After the end of a server: arrivals since the last count, all that it sent among them.
    pub async fn count_arrivals(&mut self) -> u64 {
        self.receiver.quiet().await;
        std::mem::take(&mut lock(&self.ledger).arrived_now)
    }

    /// Stops publishing, waits until `server` has delivered what is left, without being asked, and stops it.
    ///
    /// # Panics
    /// When deliveries stay pending, or what is stored is not what arrived.
    pub async fn finish(mut self, server: Server) -> Outcome {
        self.stop.cancel();
        self.tasks.wait().await;
        let is_missing = |ledger: &Ledger| ledger.answered.iter().any(|number| !ledger.arrived.contains_key(number));
        let everything = async {
            while is_missing(&lock(&self.ledger)) {
                self.arrivals.changed().await.expect("the receiver lives");
            }
        };
        let _what_is_lost_is_counted_below = tokio::time::timeout(PATIENCE, everything).await;
        for state in ["queued", "held", "failed", "cancelled"] {
            server.api.until(&format!("/deliveries?state={state}"), |page| page["items"].as_array()?.is_empty().then_some(())).await;
        }
        let stored = server.api.all("/events?limit=500").await;
        server.stop().await;
        let stored: HashSet<u64> = stored.iter().map(|event| event["data"]["n"].as_u64().expect("a number")).collect();
        let ledger = lock(&self.ledger);
        // Accepted = delivered + still queued, and nothing is queued any more: each stored event arrived, and nothing else did.
        assert_eq!(stored, ledger.arrived.keys().copied().collect::<HashSet<_>>());
        Outcome {
            answered: ledger.answered.len(),
            stored: stored.len(),
            lost: ledger.answered.iter().filter(|number| !ledger.arrived.contains_key(number)).copied().collect(),
            duplicates: ledger.arrived.values().map(|times| u64::from(times - 1)).sum(),
        }
    }
}

/// Publishes until it is stopped, each event with a number of its own; half through the native API, half through the inbox.
async fn publish(
    publisher: u64,
    mut server: watch::Receiver<Option<Api>>,
    ledger: Arc<Mutex<Ledger>>,
    answers: watch::Sender<u64>,
    stop: CancellationToken,
) {
    let bearer = format!("Bearer {KEY}");
    for turn in 0.. {
        let number = turn * PUBLISHERS + publisher;
        // Nobody is asked while there is no server; the next one says so.
        let api = tokio::select! {
            () = stop.cancelled() => return,
            there = server.wait_for(Option::is_some) => there.expect("the test lives").clone().expect("waited for"),
        };
        let (path, key, body) = match number % 2 {
            0 => (
                "/posthaste/v1/events",
                ("authorization", bearer.as_str()),
                format!(r#"{{"type":"load","data":{{"event":"load","n":{number}}}}}"#),
            ),
            _ => ("/inbox", ("x-msggo-key", KEY), format!(r#"{{"event":"load","n":{number}}}"#)),
        };
        match api.try_call(Method::POST, path, &[key, ("content-type", "application/json")], body).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                lock(&ledger).answered.insert(number);
                answers.send_modify(|count| *count += 1);
            }
            // It ended before it answered: whether the event is stored is open.
            Err(_) => tokio::task::yield_now().await,
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
        }
    }
}
