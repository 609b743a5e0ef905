//! A node that owns more of the targets than its share gives what it has nothing to do for.

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::DeliveryKey;
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::{Arrived, Cluster, Journal, NewDelivery, NewEvent, Settlement, StoreError};

use super::server::{Server, options};
use super::support::{ALL, append, delivered, event, key, queued};

/// The first owns everything; nobody is taken for gone.
async fn pair() -> (Arc<PostgresStore>, Arc<PostgresStore>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let of_all = || PostgresOptions { lapse: Duration::from_secs(3_600), ..options() };
    let rich = Server::shared().open(dir.path(), of_all()).await;
    rich.recover().await.expect("recover");
    let poor = Server::shared().open(dir.path(), of_all()).await;
    poor.recover().await.expect("recover");
    (rich, poor, dir)
}

/// An event with a delivery for the owner of its target.
fn owned(sequence: i64, target: i64) -> NewEvent {
    let mut event = event(sequence, target);
    event.deliveries = vec![NewDelivery { for_owner: true, ..event.deliveries[0].clone() }];
    event
}

async fn settle(store: &PostgresStore, outcome: Settlement) -> Result<(), StoreError> {
    store.settle([outcome].into()).await
}

/// Gives while these are busy.
async fn give(store: &PostgresStore, busy: &[i64]) -> Result<bool, StoreError> {
    store.give(Vec::new(), busy.to_vec()).await
}

/// Which of eight targets, one of each part, it is the owner of.
fn owns(store: &PostgresStore) -> Vec<i64> {
    (0..8).filter(|target| store.owns(*target)).collect()
}

/// Parts are given until both have the same, and the other hears of them, reads them and settles what is of them.
#[tokio::test]
async fn what_is_too_much_is_given() {
    let (rich, poor, _dir) = pair().await;
    assert!(rich.beat(0, "{}").await.expect("a heartbeat").has_surplus);
    let beat = poor.beat(0, "{}").await.expect("a heartbeat");
    assert!(!beat.has_surplus && !beat.has_gifts);
    let first = rich.lease(1).await.expect("a lease").0;
    // Nobody was told of this one yet.
    rich.append(append(vec![owned(first, 0)])).await.expect("append");
    let mut bell = poor.bells().news;
    bell.mark_unchanged();
    for _ in 0..4 {
        assert!(give(&rich, &[]).await.expect("give"));
    }
    assert!(!give(&rich, &[]).await.expect("give"), "it has no more than the other");
    tokio::time::timeout(Duration::from_secs(10), bell.changed()).await.expect("it rings").expect("it is there");
    assert!(!rich.beat(0, "{}").await.expect("a heartbeat").has_surplus);
    assert_eq!(owns(&rich), [4, 5, 6, 7]);
    assert!(owns(&poor).is_empty(), "it was not told yet");
    assert!(poor.beat(0, "{}").await.expect("a heartbeat").has_gifts);
    let lanes = poor.adopt(0).await.expect("adopt");
    assert_eq!(lanes.iter().map(|lane| (lane.target, lane.queued, lane.lowest)).collect::<Vec<_>>(), [(0, 1, key(first))]);
    assert_eq!(owns(&poor), [0, 1, 2, 3]);
    assert!(!poor.beat(0, "{}").await.expect("a heartbeat").has_gifts);
    assert!(rich.arrivals().await.expect("arrivals").is_empty());
    assert!(poor.arrivals().await.expect("arrivals").is_empty(), "it was told when it took the part");
    assert!(matches!(settle(&rich, delivered(first, 0)).await, Err(StoreError::Fenced)));
    settle(&poor, delivered(first, 0)).await.expect("settle");
    assert!(poor.held().await.expect("held").iter().filter(|held| held.stream == 0).all(|held| held.fence == 3));
    rich.close().await;
    poor.close().await;
}

/// What has something left to be sent stays where it is: queued, scheduled, or as the caller says.
#[tokio::test]
async fn what_is_in_use_stays() {
    let (rich, poor, _dir) = pair().await;
    let first = rich.lease(2).await.expect("a lease").0;
    rich.append(append(vec![owned(first, 0), owned(first + 1, 1)])).await.expect("append");
    rich.arrivals().await.expect("arrivals");
    let later = Settlement { state: DeliveryState::Scheduled, due_ms: 9, attempt: None, ..delivered(first + 1, 1) };
    settle(&rich, later).await.expect("settle");
    rich.arrivals().await.expect("arrivals");
    let busy: Vec<i64> = (2..8).map(|part| part + 80).collect();
    // Targets that never had a delivery for an owner do not count.
    assert!(!rich.give(vec![0, 1], busy.clone()).await.expect("give"));
    assert!(!give(&rich, &busy).await.expect("give"));
    assert_eq!(owns(&rich).len(), 8);
    assert_eq!(queued(&rich, 0).await, [first]);
    assert_eq!(rich.due(1, (0, DeliveryKey(0)), 10, ALL).await.expect("due").len(), 1);

    settle(&rich, delivered(first, 0)).await.expect("settle");
    assert!(give(&rich, &busy).await.expect("give"), "all of it is settled");
    assert!(!rich.owns(0));
    settle(&rich, delivered(first + 1, 1)).await.expect("settle");
    assert!(give(&rich, &busy).await.expect("give"));
    assert!(!rich.owns(1));
    assert!(poor.adopt(0).await.expect("adopt").iter().all(|lane| lane.queued == 0));
    // What comes next is the other's.
    rich.append(append(vec![owned(rich.lease(1).await.expect("a lease").0, 1)])).await.expect("append");
    assert!(rich.arrivals().await.expect("arrivals").is_empty());
    let told: Vec<Arrived> = poor.arrivals().await.expect("arrivals");
    assert_eq!(told.iter().map(|one| (one.target, one.count)).collect::<Vec<_>>(), [(1, 1)]);
    rich.close().await;
    poor.close().await;
}
