//! What the embedded journal costs: CPU, bytes and flushes per event, time to start, time of lists.
//!
//! ```text
//! cargo run --release -p posthaste-store --example journal -- DIR groups [EVENTS] [G,G,…]   appends and settlements of G events in flight together
//! cargo run --release -p posthaste-store --example journal -- DIR fan EVENTS WIDTH          the same in groups of 64, WIDTH deliveries an event
//! cargo run --release -p posthaste-store --example journal -- DIR queue N [TARGETS]         N queued deliveries, then a start that finds them
//! cargo run --release -p posthaste-store --example journal -- DIR fill N [SEGMENT_MIB]      N delivered events, one in 1,000 of a rare type and failed
//! cargo run --release -p posthaste-store --example journal -- DIR lists [ROUNDS]            times of history pages over what is there, beside a publisher
//! cargo run --release -p posthaste-store --example journal -- DIR open                      time and memory of a start
//! cargo run --release -p posthaste-store --example journal -- DIR cold [EVENTS] [SEGMENT_MIB] what compression of segments takes and gives
//! ```
//!
//! `DIR` has to be on the kind of disk that is meant: a file system in memory has free flushes. `groups` removes what it finds there.
//! Events are JSON of 300 bytes (those of `cold` differ more: ids, names, addresses, amounts); attempts carry the texts that a webhook makes. CPU is that of the journal thread where it says so, as
//! the kernel counts it; bytes written are those that the process had written to the disk (`/proc/self/io`).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, DeliveryState};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::sqlite::{CommitObserver, CompressStep, SqliteOptions, SqliteStore};
use posthaste_store::{
    Append, DeliveryFilter, EventFilter, History, Journal, NewDelivery, NewEvent, Order, PageLimit, Range, RetentionRule, Settlement,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WORKSPACE: i64 = 3;
const TARGET: i64 = 17;
const START_MS: i64 = 1_790_000_000_000;
const RARE: i64 = 1000;

#[derive(Default)]
struct Commits(AtomicU64);

impl CommitObserver for Commits {
    fn committed(&self, _: usize, _: usize, _: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the process has used so far.
#[derive(Clone, Copy)]
struct Used {
    process_us: f64,
    journal_us: f64,
    written: f64,
}

/// Nanoseconds on a CPU of the threads whose name begins so.
fn cpu_us(prefix: &str) -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let of = |path: PathBuf| -> Option<f64> {
        std::fs::read_to_string(path.join("comm")).ok()?.starts_with(prefix).then_some(())?;
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        Some(text.split_whitespace().next()?.parse::<f64>().ok()? / 1000.0)
    };
    tasks.flatten().filter_map(|task| of(task.path())).sum()
}

fn field(file: &str, name: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

fn used() -> Used {
    // Names of threads are cut to 15 bytes.
    Used { process_us: cpu_us(""), journal_us: cpu_us("posthaste-journ"), written: field("/proc/self/io", "write_bytes") }
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.metadata().map_or(0, |data| data.len())).sum()
}

/// Makes events and outcomes that look like those of a server at work.
struct Maker {
    source: Arc<Source>,
    common: Arc<str>,
    rare: Arc<str>,
    request: Arc<str>,
}

impl Maker {
    fn new() -> Self {
        let request = "POST /hooks/orders\nhost: receiver.example.com\nuser-agent: Posthaste/1.0\ncontent-type: application/json\n\
                       webhook-id: {id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}";
        Self {
            source: Arc::new(Source { via: "api".into(), key: Some("key_01HZX4T6".into()), ip: Some("192.0.2.7".into()) }),
            common: "order.created".into(),
            rare: "order.disputed".into(),
            request: request.into(),
        }
    }

    /// A document of 300 bytes.
    fn payload(n: i64) -> Bytes {
        let mut text = format!(
            r#"{{"id":"ord_{n:016x}","customer":{{"id":"cus_{:08x}","name":"Ada Lovelace","country":"GB"}},"items":[{{"sku":"SKU-{:05}","quantity":{},"price":{}}}],"currency":"EUR","note":""#,
            n.wrapping_mul(0x9E37_79B9) & 0xFFFF_FFFF,
            n % 90_000,
            n % 7 + 1,
            n % 10_000,
        );
        while text.len() < 298 {
            text.push(char::from(b'a' + (n % 23) as u8));
        }
        text.push_str("\"}");
        text.into()
    }

    fn event(&self, n: i64, width: u32, targets: i64) -> NewEvent {
        let type_name = if n % RARE == 0 { &self.rare } else { &self.common };
        let target = |ordinal: u32| TARGET + (n + i64::from(ordinal)) % targets;
        let delivery = |ordinal| NewDelivery {
            ordinal,
            subscription: 40 + target(ordinal),
            target: target(ordinal),
            due_ms: None,
            is_batch: false,
            for_owner: false,
        };
        NewEvent {
            sequence: Sequence(n),
            workspace: WORKSPACE,
            type_name: Some(type_name.clone()),
            received_ms: START_MS + n / 20,
            source: self.source.clone(),
            payload: Self::payload(n),
            about: Vec::new(),
            deliveries: (0..width).map(delivery).collect(),
        }
    }

    fn outcome(&self, key: DeliveryKey, target: i64, response: &Arc<str>) -> Settlement {
        let n = key.sequence().0;
        let at_ms = START_MS + n / 20 + 1;
        let failed = n % RARE == 0;
        let attempt = Attempt {
            number: 1,
            at_ms,
            duration_us: 700 + n % 300,
            error: failed.then(|| "status".into()),
            message: failed.then(|| "the target answered 410 Gone".into()),
            fault: failed.then_some(posthaste_domain::delivery::Fault::Theirs),
            status: Some(if failed { 410 } else { 200 }),
            request: self.request.clone(),
            response: response.clone(),
            response_body: Bytes::from_static(b"ok"),
        };
        let state = if failed { DeliveryState::Failed } else { DeliveryState::Delivered };
        Settlement { key, target, attempt: Some(attempt), state, due_ms: 0, at_ms: at_ms + 1, is_awaited: false }
    }

    /// The head of an answer as it is received: a text of its own each time.
    fn response(n: i64) -> Arc<str> {
        let second = n / 20_000;
        format!(
            "HTTP/1.1 200 OK\ncontent-type: text/plain\ncontent-length: 2\nserver: receiver\ndate: Sat, 21 Nov 2026 {:02}:{:02}:{:02} GMT",
            second / 3600 % 24,
            second / 60 % 60,
            second % 60
        )
        .into()
    }
}

/// Appends `events` events in groups and settles them behind it, one append and one settlement in flight at a time, as the engine does.
async fn publish(store: &SqliteStore, first: i64, events: i64, group: i64, width: u32, targets: i64, settle: bool) -> Result<()> {
    let maker = Arc::new(Maker::new());
    let (sent, mut arrived) = mpsc::channel::<(i64, i64)>(8);
    let settler = {
        let (store, maker) = (store.clone(), maker.clone());
        async move {
            let mut waiting = Vec::new();
            while arrived.recv_many(&mut waiting, 4).await > 0 {
                let mut outcomes = Vec::new();
                for (from, to) in waiting.drain(..) {
                    for n in from..to {
                        for ordinal in 0..width {
                            let target = TARGET + (n + i64::from(ordinal)) % targets;
                            outcomes.push(maker.outcome(DeliveryKey::new(Sequence(n), ordinal), target, &Maker::response(n)));
                        }
                    }
                }
                store.settle(outcomes.into()).await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        }
    };
    let appender = async {
        let mut n = first;
        while n < first + events {
            let end = (n + group).min(first + events);
            let group = (n..end).map(|n| maker.event(n, width, targets)).collect();
            store.append(Append { events: group, ..Append::default() }).await.map_err(|error| error.to_string())?;
            if settle {
                sent.send((n, end)).await.map_err(|error| error.to_string())?;
            }
            n = end;
        }
        drop(sent);
        Ok::<_, String>(())
    };
    let (appended, settled) = tokio::join!(appender, settler);
    appended?;
    settled?;
    Ok(())
}

fn open(dir: &Path, commits: &Arc<Commits>, segment_bytes: u64) -> Result<SqliteStore> {
    let options = SqliteOptions { segment_bytes, observer: Some(commits.clone()), ..SqliteOptions::default() };
    Ok(SqliteStore::open(dir, options)?)
}

async fn groups(dir: &Path, events: i64, sizes: &[i64], width: u32) -> Result<()> {
    println!("group  events  journal µs/ev  process µs/ev  events/s  written B/ev  stored B/ev  amplification  commits  events/commit");
    for group in sizes {
        std::fs::remove_dir_all(dir).ok();
        let commits = Arc::new(Commits::default());
        let store = open(dir, &commits, SqliteOptions::default().segment_bytes)?;
        store.recover().await?;
        // The smallest groups are as slow as the disk is: fewer of them.
        let events = if *group == 1 { events / 20 } else { events };
        publish(&store, 1, events / 10, *group, width, 10.max(i64::from(width)), true).await?;
        let (before, committed, started) = (used(), commits.0.load(Ordering::Relaxed), Instant::now());
        let stored = bytes_stored(&store).await?;
        publish(&store, 1 + events / 10, events, *group, width, 10.max(i64::from(width)), true).await?;
        let (after, elapsed) = (used(), started.elapsed());
        let done = commits.0.load(Ordering::Relaxed) - committed;
        let count = events as f64;
        let stored = (bytes_stored(&store).await? - stored) as f64;
        store.close().await;
        // What the checkpoints at the end write belongs to it too.
        let written = used().written - before.written;
        println!(
            "{group:5} {events:7} {:14.2} {:14.2} {:9.0} {:13.0} {:12.0} {:14.2} {done:8} {:14.1}",
            (after.journal_us - before.journal_us) / count,
            (after.process_us - before.process_us) / count,
            count / elapsed.as_secs_f64(),
            written / count,
            stored / count,
            written / stored,
            count / done as f64,
        );
        drop(store);
        println!("       files after close: {:.0} bytes an event", bytes_in(&dir.join("journal")) as f64 / (events + events / 10) as f64);
    }
    Ok(())
}

async fn bytes_stored(store: &SqliteStore) -> Result<u64> {
    Ok(store.size().await?.bytes)
}

async fn queue(dir: &Path, count: i64, targets: i64) -> Result<()> {
    let commits = Arc::new(Commits::default());
    let store = open(dir, &commits, SqliteOptions::default().segment_bytes)?;
    let last = store.recover().await?.last_sequence;
    let started = Instant::now();
    publish(&store, last + 1, count, 1000, 1, targets, false).await?;
    println!("appended {count} in {:.1} s; {} bytes", started.elapsed().as_secs_f64(), bytes_stored(&store).await?);
    drop(store);
    start(dir).await
}

async fn start(dir: &Path) -> Result<()> {
    let resident = || field("/proc/self/status", "VmRSS") / 1024.0;
    let before = resident();
    let started = Instant::now();
    let store = open(dir, &Arc::new(Commits::default()), SqliteOptions::default().segment_bytes)?;
    let recovered = store.recover().await?;
    let ready = started.elapsed();
    let queued: u64 = recovered.lanes.iter().map(|lane| lane.queued).sum();
    let Some(lane) = recovered.lanes.first().copied() else {
        println!("started in {:.3} s: nothing queued; resident {before:.0} → {:.0} MiB", ready.as_secs_f64(), resident());
        return Ok(());
    };
    let page = store.queued(lane.target, DeliveryKey(0), PageLimit { items: 256, bytes: 1 << 20 }).await?;
    println!(
        "started in {:.3} s: {queued} queued for {} targets; first page of {} after {:.3} s; resident {before:.0} → {:.0} MiB",
        ready.as_secs_f64(),
        recovered.lanes.len(),
        page.len(),
        started.elapsed().as_secs_f64(),
        resident()
    );
    store.close().await;
    Ok(())
}

async fn fill(dir: &Path, count: i64, segment_bytes: u64) -> Result<()> {
    let store = open(dir, &Arc::new(Commits::default()), segment_bytes)?;
    let last = store.recover().await?.last_sequence;
    let started = Instant::now();
    publish(&store, last + 1, count, 1000, 1, 10, true).await?;
    println!("filled {count} in {:.1} s; {:?}", started.elapsed().as_secs_f64(), store.size().await?);
    store.close().await;
    Ok(())
}

/// Tells how each compression ended.
struct Ends(Sender<Option<(u64, u64)>>);

impl CommitObserver for Ends {
    fn committed(&self, _: usize, _: usize, _: Duration) {}

    fn compressing(&self, _: u32, step: CompressStep) {
        let end = match step {
            CompressStep::Done { before, after } => Some((before, after)),
            CompressStep::GivenUp => None,
            _ => return,
        };
        self.0.send(end).ok();
    }
}

/// A document of about 300 bytes in which about a third is like in no other.
fn varied(n: i64) -> Bytes {
    const NAMES: [&str; 12] =
        ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Radia", "Alan", "Frances", "Niklaus", "Margaret", "Dennis", "Lynn"];
    const CITIES: [&str; 9] = ["Berlin", "Lyon", "Porto", "Leeds", "Turku", "Graz", "Ghent", "Brno", "Malmö"];
    let mut state = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        // splitmix64: the same documents in each run.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 8
    };
    let (first, last) = (NAMES[next() as usize % 12], NAMES[next() as usize % 12]);
    format!(
        r#"{{"id":"ord_{:014x}{:014x}","created":"2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z","customer":{{"id":"cus_{:014x}","name":"{first} {last}","email":"{}.{}@mail{}.example"}},"items":[{{"sku":"SKU-{:06}","quantity":{},"price":{}.{:02}}}],"city":"{}","currency":"EUR","paid":{}}}"#,
        next(),
        next(),
        next() % 28 + 1,
        next() % 24,
        next() % 60,
        next() % 60,
        next() % 1000,
        next(),
        first.to_lowercase(),
        next() % 10_000,
        next() % 50,
        next() % 900_000,
        next() % 9 + 1,
        next() % 900,
        next() % 100,
        CITIES[next() as usize % 9],
        next() % 2 == 0,
    )
    .into()
}

async fn cold(dir: &Path, count: i64, segment_bytes: u64) -> Result<()> {
    std::fs::remove_dir_all(dir).ok();
    let (sender, ends) = channel();
    let options = SqliteOptions {
        segment_bytes,
        compress_after: Some(Duration::ZERO),
        observer: Some(Arc::new(Ends(sender))),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(dir, options)?;
    let maker = Maker::new();
    let mut bytes = 0;
    for first in (1..=count).step_by(1000) {
        let numbers = first..(first + 1000).min(count + 1);
        let mut events: Vec<NewEvent> = numbers.clone().map(|n| maker.event(n, 1, 10)).collect();
        for event in &mut events {
            event.payload = varied(event.sequence.0);
            bytes += event.payload.len();
        }
        store.append(Append { events, ..Append::default() }).await?;
        let outcome = |n| maker.outcome(DeliveryKey::new(Sequence(n), 0), TARGET + n % 10, &Maker::response(n));
        store.settle(numbers.map(outcome).collect::<Vec<_>>().into()).await?;
    }
    println!("{count} events, {:.0} bytes of payload each, {:?}", bytes as f64 / count as f64, store.size().await?);
    println!("{:<40} {:>5} {:>9} {:>9} {:>9}", "page of 100", "found", "p50 ms", "p99 ms", "max ms");
    time_pages(&store, "plain", count).await?;
    let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    let (started, cpu, written) = (Instant::now(), cpu_us("posthaste-compr"), used().written);
    store.retire(keep, i64::MAX / 2).await?;
    let segments = store.size().await?.buckets - 1;
    let (mut before, mut after) = (0, 0);
    for _ in 0..segments {
        let (plain, cold) = ends.recv()?.ok_or("a segment was not compressed")?;
        (before, after) = (before + plain, after + cold);
    }
    let each = |total: f64| total / count as f64;
    println!(
        "{segments} segments: {:.1} → {:.1} bytes an event; {:.2} µs of CPU an event, {:.1} s in all; {:.1} bytes written an event",
        each(before as f64),
        each(after as f64),
        each(cpu_us("posthaste-compr") - cpu),
        started.elapsed().as_secs_f64(),
        each(used().written - written),
    );
    time_pages(&store, "compressed", count).await?;
    store.close().await;
    Ok(())
}

/// Pages of 100, and single events, all over the journal.
async fn time_pages(store: &SqliteStore, name: &str, count: i64) -> Result<()> {
    let (mut pages, mut singles, mut found) = (Vec::new(), Vec::new(), 0);
    for i in 1..=200 {
        let place = count / 201 * i;
        let range = Range { order: Order::Desc, after: Some(place), limit: 100, from_ms: None, to_ms: None };
        let started = Instant::now();
        found = store.events(WORKSPACE, EventFilter::default(), range).await?.len();
        pages.push(started.elapsed());
        let started = Instant::now();
        let event = store.event(WORKSPACE, Sequence((place + count / 2) % count + 1)).await?.ok_or("an event")?;
        singles.push(started.elapsed());
        assert_eq!(event.payload, varied(event.sequence.0), "the very bytes");
    }
    row(&format!("{name}: events"), found, pages);
    row(&format!("{name}: one event"), 1, singles);
    Ok(())
}

async fn lists(dir: &Path, rounds: usize) -> Result<()> {
    let store = open(dir, &Arc::new(Commits::default()), SqliteOptions::default().segment_bytes)?;
    let last = store.recover().await?.last_sequence;
    println!("{last} events, {:?}", store.size().await?);
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicI64::new(last + 1));
    let publisher = {
        let (store, stop, next) = (store.clone(), stop.clone(), next.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let first = next.fetch_add(200, Ordering::Relaxed);
                publish(&store, first, 200, 50, 1, 10, true).await.expect("the publisher goes on");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let reader = async {
        let done = time_lists(&store, last, rounds).await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let (timed, ()) = tokio::join!(reader, publisher);
    timed?;
    println!("{} events were published meanwhile", next.load(Ordering::Relaxed) - last - 1);
    store.close().await;
    Ok(())
}

async fn time_lists(store: &SqliteStore, last: i64, rounds: usize) -> Result<()> {
    let of = |targets: Option<i64>, states: &[DeliveryState], type_name: Option<&str>| DeliveryFilter {
        targets: targets.map(|target| vec![target]),
        states: (!states.is_empty()).then(|| states.to_vec()),
        type_name: type_name.map(str::to_owned),
    };
    let failed = [DeliveryState::Failed];
    let delivered = [DeliveryState::Delivered];
    let event_lists = [
        ("events", EventFilter::default()),
        ("events of the common type", EventFilter::of_type("order.created")),
        ("events of the rare type", EventFilter::of_type("order.disputed")),
        ("events of no type there is", EventFilter::of_type("order.none")),
        ("events without a type", EventFilter { type_name: Some(None), ..EventFilter::default() }),
    ];
    let delivery_lists = [
        ("deliveries", of(None, &[], None)),
        ("deliveries that failed", of(None, &failed, None)),
        ("deliveries of a target", of(Some(TARGET), &[], None)),
        ("deliveries of a target, delivered", of(Some(TARGET + 1), &delivered, None)),
        ("deliveries of a target, failed", of(Some(TARGET), &failed, None)),
        ("deliveries of a target, queued", of(Some(TARGET), &[DeliveryState::Queued], None)),
        ("deliveries of the rare type", of(None, &[], Some("order.disputed"))),
        ("deliveries of the rare type, failed", of(None, &failed, Some("order.disputed"))),
    ];
    println!("{:<40} {:>5} {:>9} {:>9} {:>9}", "page of 100", "found", "p50 ms", "p99 ms", "max ms");
    let places = |order: Order| (0..rounds as i64).map(move |i| (order, (i > 0).then_some(last / rounds as i64 * i)));
    let page = |order, after| Range { order, after, limit: 100, from_ms: None, to_ms: None };
    for (name, filter) in event_lists {
        let mut times = Vec::new();
        let mut found = 0;
        for (order, after) in places(Order::Desc).chain(places(Order::Asc)) {
            let started = Instant::now();
            found = found.max(store.events(WORKSPACE, filter.clone(), page(order, after)).await?.len());
            times.push(started.elapsed());
        }
        row(name, found, times);
    }
    for (name, filter) in delivery_lists {
        let mut times = Vec::new();
        let mut found = 0;
        for (order, after) in places(Order::Desc).chain(places(Order::Asc)) {
            let after = after.map(|sequence| DeliveryKey::new(Sequence(sequence), 0).0);
            let started = Instant::now();
            found = found.max(store.deliveries(WORKSPACE, filter.clone(), page(order, after)).await?.len());
            times.push(started.elapsed());
        }
        row(name, found, times);
    }
    for type_name in ["order.disputed", "order.created"] {
        let started = Instant::now();
        let count = store.count(WORKSPACE, type_name).await?;
        row(&format!("count of {type_name}"), count as usize, vec![started.elapsed()]);
    }
    Ok(())
}

fn row(name: &str, found: usize, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!("{name:<40} {found:>5} {:>9.2} {:>9.2} {:>9.2}", ms(times.len() / 2), ms(times.len() * 99 / 100), ms(times.len() - 1));
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: i64| args.get(at).map_or(Ok(default), |text| text.parse::<i64>());
    let usage = "usage: journal DIR groups|fan|queue|fill|lists|open|cold …";
    let (dir, mode) = (args.first().map(PathBuf::from).ok_or(usage)?, args.get(1).ok_or(usage)?);
    match mode.as_str() {
        "groups" => {
            let sizes = args.get(3).map_or("1,20,64,1000", String::as_str);
            let sizes = sizes.split(',').map(str::parse).collect::<std::result::Result<Vec<i64>, _>>()?;
            groups(&dir, number(2, 100_000)?, &sizes, 1).await
        }
        "fan" => groups(&dir, number(2, 10_000)?, &[64], number(3, 10)?.try_into()?).await,
        "queue" => queue(&dir, number(2, 1_000_000)?, number(3, 10)?).await,
        "fill" => fill(&dir, number(2, 1_000_000)?, u64::try_from(number(3, 256)?)? << 20).await,
        "lists" => lists(&dir, usize::try_from(number(2, 50)?)?).await,
        "open" => start(&dir).await,
        "cold" => cold(&dir, number(2, 500_000)?, u64::try_from(number(3, 64)?)? << 20).await,
        _ => Err(usage.into()),
    }
}
