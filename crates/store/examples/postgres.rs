//! What the shared store costs: CPU of this process and of the database per event.
//!
//! ```text
//! cargo run --release -p posthaste-store --example postgres -- URL POSTMASTER [EVENTS] [G,G,…]
//! ```
//!
//! Events are JSON of 300 bytes, one delivery each, settled at the first attempt, in groups of G in flight together. `POSTMASTER` is the process id of
//! the server: the CPU of its children counts. What it finds in the database stays; it counts on.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, DeliveryState};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::secrets::MasterKeys;
use posthaste_store::{Append, Journal, NewDelivery, NewEvent, Settlement};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TARGET: i64 = 17;

/// Microseconds of CPU of a process and, with `children`, of those it started.
fn cpu_us(pid: &str, children: bool) -> f64 {
    let of = |pid: &str| -> Option<(f64, String)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?;
        Some((ticks * 10_000.0, fields[1].to_owned()))
    };
    let own = of(pid).map_or(0.0, |(us, _)| us);
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let of_children = names.filter_map(|name| of(&name)).filter(|(_, parent)| parent == pid).map(|(us, _)| us);
    own + if children { of_children.sum() } else { 0.0 }
}

fn payload(n: i64) -> Bytes {
    let mut text = format!(r#"{{"id":"ord_{n:016x}","customer":{{"name":"Ada Lovelace","country":"GB"}},"currency":"EUR","note":""#);
    while text.len() < 298 {
        text.push(char::from(b'a' + (n % 23) as u8));
    }
    text.push_str("\"}");
    text.into()
}

struct Maker {
    source: Arc<Source>,
    kind: Arc<str>,
    request: Arc<str>,
    response: Arc<str>,
}

impl Maker {
    fn append(&self, n: i64) -> Append {
        let event = NewEvent {
            sequence: Sequence(n),
            workspace: 3,
            type_name: Some(self.kind.clone()),
            received_ms: 1_790_000_000_000 + n,
            source: self.source.clone(),
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
        Append { events: vec![event], ..Append::default() }
    }

    fn outcome(&self, n: i64) -> Settlement {
        let attempt = Attempt {
            number: 1,
            at_ms: 1_790_000_000_000 + n,
            duration_us: 900,
            error: None,
            message: None,
            fault: None,
            status: Some(200),
            request: self.request.clone(),
            response: self.response.clone(),
            response_body: Bytes::from_static(b"ok"),
        };
        let key = DeliveryKey::new(Sequence(n), 0);
        Settlement {
            key,
            target: TARGET + n % 8,
            attempt: Some(attempt),
            state: DeliveryState::Delivered,
            due_ms: 0,
            at_ms: 1_790_000_000_000 + n,
            is_awaited: false,
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, postmaster, rest @ ..] = &arguments[..] else { return Err("URL POSTMASTER [EVENTS] [G,G,…]".into()) };
    let events: i64 = rest.first().map_or(Ok(20_000), |text| text.parse())?;
    let sizes = rest.get(1).map_or("64", String::as_str);
    let keys = MasterKeys::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")?;
    let store = PostgresStore::open(url, PostgresOptions::new("example", keys)).await?;
    let mut n = store.recover().await?.last_sequence;
    let maker = Maker {
        source: Arc::new(Source { via: "api".into(), key: Some("key_01HZX4T6".into()), ip: Some("192.0.2.7".into()) }),
        kind: "order.created".into(),
        request: "POST /hooks/orders\nhost: receiver.example.com\nuser-agent: Posthaste/1.0\ncontent-type: application/json\n\
                  webhook-id: {id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}"
            .into(),
        response: "HTTP/1.1 200 OK\ncontent-type: text/plain\ndate: now".into(),
    };
    println!("{:>6} {:>10} {:>12} {:>12}", "group", "events/s", "client us/ev", "server us/ev");
    let me = std::process::id().to_string();
    for size in sizes.split(',') {
        let size: i64 = size.parse()?;
        let (started, client, server) = (Instant::now(), cpu_us(&me, false), cpu_us(postmaster, true));
        let mut settled: Option<i64> = None;
        for _ in 0..events / size {
            let mut work = tokio::task::JoinSet::new();
            // Each group is appended beside the outcomes of the one before.
            for i in n + 1..=n + size {
                let (store, group) = (store.clone(), maker.append(i));
                work.spawn(async move { store.append(group).await });
            }
            if let Some(before) = settled {
                let (store, outcomes) = (store.clone(), (before + 1..=before + size).map(|i| maker.outcome(i)).collect());
                work.spawn(async move { store.settle(outcomes).await });
            }
            while let Some(done) = work.join_next().await {
                done??;
            }
            settled = Some(n);
            n += size;
        }
        let count = (events / size * size) as f64;
        let rate = count / started.elapsed().as_secs_f64();
        let (client, server) = ((cpu_us(&me, false) - client) / count, (cpu_us(postmaster, true) - server) / count);
        println!("{size:>6} {rate:>10.0} {client:>12.1} {server:>12.1}");
    }
    store.close().await;
    Ok(())
}
