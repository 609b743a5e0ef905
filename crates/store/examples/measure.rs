#![allow(clippy::all, missing_docs)]
use posthaste_domain::delivery::*;
use posthaste_domain::event::*;
use posthaste_domain::id::*;
use posthaste_store::sqlite::*;
use posthaste_store::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
struct Obs(AtomicU64, AtomicU64, AtomicU64);
impl CommitObserver for Obs {
    fn committed(&self, c: usize, r: usize, d: std::time::Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.fetch_add(r as u64, Ordering::Relaxed);
        self.2.fetch_add(d.as_micros() as u64, Ordering::Relaxed);
        let _ = c;
    }
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let total: i64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let inflight: usize = std::env::args().nth(3).unwrap().parse().unwrap();
    let obs = Arc::new(Obs(Default::default(), Default::default(), Default::default()));
    let s = SqliteStore::open(std::path::Path::new(&dir), SqliteOptions { observer: Some(obs.clone()), ..Default::default() }).unwrap();
    let src = Arc::new(Source { via: "api".into(), key: Some("key_01".into()), ip: Some("127.0.0.1".into()) });
    let payload: bytes::Bytes = vec![b'x'; 300].into();
    let start = tokio::time::Instant::now();
    let mut appends = tokio::task::JoinSet::new();
    let mut settles = tokio::task::JoinSet::new();
    let ms0 = 1_790_000_000_000i64;
    let mut n = 1;
    let types: Vec<Arc<str>> = (0..5).map(|i| format!("type.number.{i}").into()).collect();
    while n <= total || !appends.is_empty() || !settles.is_empty() {
        while n <= total && appends.len() + settles.len() < inflight {
            let events = (n..n + 100)
                .map(|q| NewEvent {
                    sequence: Sequence(q),
                    workspace: 1,
                    type_name: Some(types[q as usize % 5].clone()),
                    received_ms: ms0 + q / 60,
                    source: src.clone(),
                    payload: payload.clone(),
                    deliveries: vec![NewDelivery {
                        ordinal: 0,
                        subscription: 100 + q % 10,
                        target: 50 + q % 10,
                        due_ms: None,
                        is_batch: false,
                    }],
                })
                .collect();
            let st = s.clone();
            let first = n;
            appends.spawn(async move {
                st.append(Append { events, ..Default::default() }).await.unwrap();
                first
            });
            n += 100;
        }
        tokio::select! {
            Some(first) = appends.join_next() => { let first = first.unwrap();
                let out = (first..first + 100).map(|q| { let key = DeliveryKey::new(Sequence(q), 0); let id = delivery_id(key, ms0 + q / 60);
                    Settlement { key, target: 50 + q % 10, state: DeliveryState::Delivered, due_ms: 0, at_ms: ms0 + q / 60 + 5, attempt: Some(Attempt { number: 1, at_ms: ms0 + q / 60 + 2, duration_us: 1500 + q % 3000, error: None, message: None, fault: None, status: Some(200),
                    request: format!("POST /hooks/{} HTTP/1.1\nhost: target{}.example.com\ncontent-type: application/json\nuser-agent: posthaste/0.1\nwebhook-id: {id}\nwebhook-timestamp: {}\nwebhook-signature: v1,***\ncontent-length: 300", q % 10, q % 10, (ms0 + q / 60) / 1000).into(),
                    response: format!("content-type: text/plain\ncontent-length: 2\ndate: Sat, 21 Nov 2026 12:00:{:02} GMT", (q / 60000) % 60).into(), response_body: bytes::Bytes::from_static(b"ok") }) } }).collect();
                let st = s.clone(); settles.spawn(async move { st.settle(out).await.unwrap(); }); }
            Some(r) = settles.join_next() => r.unwrap(),
        }
    }
    let e = start.elapsed();
    println!(
        "{} events in {:?}: {:.0}/s; writer busy {:.0}% ; events per busy second {:.0}; commits {} ; rows {}",
        total,
        e,
        total as f64 / e.as_secs_f64(),
        obs.2.load(Ordering::Relaxed) as f64 / 10000.0 / e.as_secs_f64(),
        total as f64 * 1e6 / obs.2.load(Ordering::Relaxed) as f64,
        obs.0.load(Ordering::Relaxed),
        obs.1.load(Ordering::Relaxed)
    );
    println!("size {:?} per event {}", s.size().await.unwrap(), s.size().await.unwrap().bytes / total as u64);
    s.close().await;
}
