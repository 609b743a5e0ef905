//! What a move costs: rows a second, and CPU of this process and of the database.
//!
//! ```text
//! cargo run --release -p posthaste-store --example migrate -- fill DIR [EVENTS] [PENDING]
//! cargo run --release -p posthaste-store --example migrate -- up DIR URL POSTMASTER
//! cargo run --release -p posthaste-store --example migrate -- down URL NEW_DIR POSTMASTER DIR
//! ```
//!
//! Events are JSON of 300 bytes, one delivery each to one of 8 targets; two of these have an owner. The last `PENDING` are queued, the others were
//! delivered at the first attempt. `POSTMASTER` is the process id of the database's server: the CPU of its children counts. `DIR` of `down` is where
//! the master key is.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, DeliveryState};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::migrate::{MigrateOptions, Report, down, up};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{Append, Journal, NewDelivery, NewEvent, Settlement};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TARGET: i64 = 17;
const NOW_MS: i64 = 1_790_000_000_000;
const GROUP: i64 = 500;

/// Seconds of CPU of a process, and of those it started.
fn cpu_s(pid: &str) -> (f64, f64) {
    let of = |pid: &str| -> Option<(f64, String)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?;
        Some((ticks / 100.0, fields[1].to_owned()))
    };
    // A child that ended is in its parent's `cutime`, so those of connections that are closed by now count as well.
    let reaped = || -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some((fields[13].parse::<f64>().ok()? + fields[14].parse::<f64>().ok()?) / 100.0)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let living: f64 = names.filter_map(|name| of(&name)).filter(|(_, parent)| parent == pid).map(|(seconds, _)| seconds).sum();
    (of(pid).map_or(0.0, |(seconds, _)| seconds), living + reaped().unwrap_or(0.0))
}

fn payload(n: i64) -> Bytes {
    let mut text = format!(r#"{{"id":"ord_{n:016x}","customer":{{"name":"Ada Lovelace","country":"GB"}},"currency":"EUR","note":""#);
    while text.len() < 298 {
        text.push(char::from(b'a' + (n % 23) as u8));
    }
    text.push_str("\"}");
    text.into()
}

fn outcome(n: i64, request: &Arc<str>, response: &Arc<str>) -> Settlement {
    let attempt = Attempt {
        number: 1,
        at_ms: NOW_MS + n,
        duration_us: 900,
        error: None,
        message: None,
        fault: None,
        status: Some(200),
        request: request.clone(),
        response: response.clone(),
        response_body: Bytes::from_static(b"ok"),
    };
    let (key, target) = (DeliveryKey::new(Sequence(n), 0), TARGET + n % 8);
    Settlement { key, target, attempt: Some(attempt), state: DeliveryState::Delivered, due_ms: 0, at_ms: NOW_MS + n, is_awaited: false }
}

async fn fill(dir: &Path, events: i64, pending: i64) -> Result<()> {
    let store = SqliteStore::open(dir, SqliteOptions::default())?;
    let first = store.recover().await?.last_sequence + 1;
    let source = Arc::new(Source { via: "api".into(), key: Some("key_01HZX4T6".into()), ip: Some("192.0.2.7".into()) });
    let kind: Arc<str> = "order.created".into();
    let request: Arc<str> = "POST /hooks/orders\nhost: receiver.example.com\nuser-agent: Posthaste/1.0\ncontent-type: application/json\n\
                             webhook-id: {id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}"
        .into();
    let response: Arc<str> = "HTTP/1.1 200 OK\ncontent-type: text/plain\ndate: now".into();
    for from in (0..events).step_by(GROUP as usize) {
        let group = first + from..first + (from + GROUP).min(events);
        let event = |n| NewEvent {
            sequence: Sequence(n),
            workspace: 3,
            type_name: Some(kind.clone()),
            received_ms: NOW_MS + n,
            source: source.clone(),
            payload: payload(n),
            about: Vec::new(),
            deliveries: vec![NewDelivery {
                ordinal: 0,
                subscription: 6,
                target: TARGET + n % 8,
                due_ms: None,
                is_batch: false,
                for_owner: false,
            }],
        };
        store.append(Append { events: group.clone().map(event).collect(), ..Append::default() }).await?;
        let settled = group.filter(|n| *n < first + events - pending);
        store.settle(settled.map(|n| outcome(n, &request, &response)).collect()).await?;
    }
    store.close().await;
    println!("{events} events, {pending} of them pending");
    Ok(())
}

async fn measured(what: &str, postmaster: &str, moving: impl Future<Output = Result<Report>>) -> Result<()> {
    let own = std::process::id().to_string();
    let (before, database_before, started) = (cpu_s(&own).0, cpu_s(postmaster).1, Instant::now());
    let moved = moving.await?.moved;
    let seconds = started.elapsed().as_secs_f64();
    let (cpu, database) = (cpu_s(&own).0 - before, cpu_s(postmaster).1 - database_before);
    let (rows, events) = (moved.rows() as f64, moved.events as f64);
    println!("{what}: {} events, {} pending, {rows} rows in {seconds:.1} s", moved.events, moved.pending);
    println!("  {:.0} rows/s, {:.0} events/s", rows / seconds, events / seconds);
    println!("  CPU per event: {:.1} µs here, {:.1} µs in the database", cpu * 1e6 / events, database * 1e6 / events);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let options = MigrateOptions::default();
    let mut told = |_| {};
    match &arguments[..] {
        ["fill", dir, rest @ ..] => {
            let number = |place: usize, usual: i64| rest.get(place).map_or(Ok(usual), |text| text.parse::<i64>());
            fill(Path::new(dir), number(0, 300_000)?, number(1, 100_000)?).await
        }
        ["up", dir, url, postmaster] => {
            let owned = |_| Ok([TARGET, TARGET + 1].into());
            measured("up", postmaster, async { Ok(up(Path::new(dir), url, &options, &owned, &mut told).await?) }).await
        }
        ["down", url, dir, postmaster, from] => {
            let key = std::fs::read_to_string(Path::new(from).join("master.key"))?;
            measured("down", postmaster, async { Ok(down(url, Path::new(dir), &key, &options, &mut told).await?) }).await
        }
        _ => Err("fill DIR [EVENTS] [PENDING], up DIR URL POSTMASTER, or down URL NEW_DIR POSTMASTER DIR".into()),
    }
}
