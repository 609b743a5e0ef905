//! Nodes that fight for the same deliveries: each stalls at the worst moments, by a seed, and wakes after others took its work over.
//!
//! The ledger: whatever an append said is stored is settled exactly once; nobody settles what another took; a node that was taken for gone
//! stores nothing any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::id::DeliveryKey;
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::{Cluster, Journal, StoreError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::server::{Server, options};
use super::support::{ALL, append, delivered, event};

/// Targets of the fight; of two parts.
const TARGETS: [i64; 3] = [5, 6, 13];

struct Fighter {
    store: Arc<PostgresStore>,
    is_lost: bool,
    /// Sent and not settled: it stalled in between.
    sent: Vec<(i64, i64)>,
}

async fn join(dir: &std::path::Path) -> Fighter {
    // Others are gone as soon as somebody says so.
    let store = Server::shared().open(dir, PostgresOptions { lapse: Duration::ZERO, ..options() }).await;
    store.recover().await.expect("recover");
    Fighter { store, is_lost: false, sent: Vec::new() }
}

#[derive(Default)]
struct Ledger {
    /// Sequence and target of what was stored.
    stored: BTreeMap<i64, i64>,
    settled: BTreeSet<i64>,
    sends: BTreeMap<i64, u32>,
    takeovers: u32,
    refused: u32,
}

async fn step(rng: &mut StdRng, fighter: &mut Fighter, ledger: &mut Ledger) {
    match rng.random_range(0..10) {
        0..3 => {
            let count = rng.random_range(1..5);
            let Ok(first) = fighter.store.lease(count).await else { return };
            let events: Vec<(i64, i64)> =
                (0..i64::from(count)).map(|n| (first.0 + n, TARGETS[rng.random_range(0..TARGETS.len())])).collect();
            match fighter.store.append(append(events.iter().map(|(n, target)| event(*n, *target)).collect())).await {
                Ok(()) => {
                    assert!(!fighter.is_lost, "a lost node stored events");
                    ledger.stored.extend(events);
                }
                Err(StoreError::Fenced) => {
                    assert!(fighter.is_lost, "a node was refused that nobody took anything from");
                    ledger.refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        3..7 => {
            let target = TARGETS[rng.random_range(0..TARGETS.len())];
            let page = fighter.store.queued(target, DeliveryKey(0), ALL).await.expect("a page");
            let sent: BTreeSet<i64> = fighter.sent.iter().map(|(n, _)| *n).collect();
            let free: Vec<i64> = page.iter().map(|one| one.delivery.key.sequence().0).filter(|n| !sent.contains(n)).collect();
            for n in free.into_iter().take(rng.random_range(1..4)) {
                *ledger.sends.entry(n).or_default() += 1;
                fighter.sent.push((n, target));
            }
        }
        _ => {
            for (n, target) in std::mem::take(&mut fighter.sent) {
                match fighter.store.settle([delivered(n, target)].into()).await {
                    Ok(()) => assert!(ledger.settled.insert(n) || !fighter.is_lost, "a lost node settled {n}"),
                    Err(StoreError::Fenced) => ledger.refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

async fn fight(dir: &std::path::Path, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut ledger = Ledger::default();
    let mut fighters = vec![join(dir).await];
    for _ in 0..160 {
        if rng.random_range(0..12) == 0 {
            // One takes everything; all others have just stalled, and wake without knowing.
            if fighters.len() == 1 || rng.random_range(0..3) == 0 {
                fighters.push(join(dir).await);
            } else {
                let winner = rng.random_range(0..fighters.len());
                if fighters[winner].is_lost {
                    continue;
                }
                fighters[winner].store.adopt(1_000).await.expect("a takeover");
                fighters.swap_remove(winner).keep(&mut fighters);
            }
            let last = fighters.len() - 1;
            fighters[..last].iter_mut().for_each(|other| other.is_lost = true);
            ledger.takeovers += 1;
        }
        let index = rng.random_range(0..fighters.len());
        step(&mut rng, &mut fighters[index], &mut ledger).await;
    }
    // The last one works off what is there.
    let winner = fighters.last().expect("one");
    for target in TARGETS {
        for one in winner.store.queued(target, DeliveryKey(0), ALL).await.expect("a page") {
            let n = one.delivery.key.sequence().0;
            winner.store.settle([delivered(n, target)].into()).await.expect("settled");
            ledger.settled.insert(n);
        }
    }
    let lost: Vec<_> = ledger.stored.keys().filter(|n| !ledger.settled.contains(n)).collect();
    assert!(lost.is_empty(), "seed {seed}: never settled: {lost:?}");
    assert!(ledger.settled.iter().all(|n| ledger.stored.contains_key(n)), "seed {seed}: settled and never stored");
    println!(
        "seed {seed}: {} stored, {} takeovers, {} refused, {} sent twice",
        ledger.stored.len(),
        ledger.takeovers,
        ledger.refused,
        ledger.sends.values().filter(|sends| **sends > 1).count()
    );
    for fighter in fighters {
        fighter.store.close().await;
    }
}

impl Fighter {
    /// Puts it last.
    fn keep(self, all: &mut Vec<Self>) {
        all.push(self);
    }
}

#[tokio::test]
async fn whoever_wakes_too_late_changes_nothing() {
    let base: u64 = std::env::var("POSTHASTE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("POSTHASTE_SEED={base}");
    for round in 0..3 {
        let dir = tempfile::tempdir().expect("a directory");
        fight(dir.path(), base.wrapping_add(round)).await;
    }
}
