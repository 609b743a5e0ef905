//! Incident 15: retention while events are published.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste_domain::id::Sequence;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{History, Journal, RetentionRule};

use super::support::{KEEP, WORKSPACE, assert_sound, databases, delivered, event, events, open, queued, roll, segment, wal_of};

/// Not a multiple of what a segment takes: the last ones lie in the current segment, which stays.
const EVENTS: i64 = 610;
/// Never settled: their segments stay.
const PENDING: [i64; 2] = [5, 200];

/// Bytes of the segments. The room for the next one is made beside, and has nothing to do with them.
fn bytes_in(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    files.filter(|entry| entry.file_name() != "spare-room").map(|entry| entry.metadata().expect("a file").len()).sum()
}

#[tokio::test]
async fn incident_15_buckets_go_while_events_come() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = SqliteOptions { segment_bytes: 256 << 10, ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options).expect("the store opens");
    let done = AtomicBool::new(false);
    let rule = RetentionRule { max_bytes: 1 << 20, ..KEEP };
    let publish = async {
        for n in 1..=EVENTS {
            // Nothing that is published or settled may suffer.
            store.append(event(n, 8_000)).await.expect("append");
            if !PENDING.contains(&n) {
                store.settle(delivered(n, 100)).await.expect("settle");
            }
        }
        done.store(true, Ordering::SeqCst);
    };
    let retain = async {
        let (mut buckets, mut largest) = (0, 0);
        while !done.load(Ordering::SeqCst) {
            let retired = store.retire(rule, 1_000).await.expect("retire");
            buckets += retired.buckets;
            largest = largest.max(store.size().await.expect("size").bytes);
        }
        (buckets, largest)
    };
    let ((), (buckets, largest)) = tokio::join!(publish, retain);
    assert!(buckets >= 10, "{buckets} buckets went");
    assert!(largest < 3 << 20, "{largest} bytes at most");

    let everything = RetentionRule { max_bytes: 0, ..KEEP };
    let last = store.retire(everything, 1_000).await.expect("retire");
    assert_eq!(last.kept_for_pending, 2, "those with a pending delivery");
    assert_eq!(queued(&store).await, PENDING);
    let kept = events(&store).await;
    assert!(kept.len() < 250 && kept.ends_with(&[EVENTS - 1, EVENTS]), "{kept:?}");
    for n in PENDING {
        assert!(store.event(WORKSPACE, Sequence(n)).await.expect("event").is_some(), "the event of a pending delivery");
    }
    assert!(store.event(WORKSPACE, Sequence(100)).await.expect("event").is_none(), "whole buckets between them went");

    // Once they are settled, nothing is held, and the directory shrinks with it.
    let before = bytes_in(&dir.path().join("journal"));
    for n in PENDING {
        store.settle(delivered(n, 100)).await.expect("settle");
    }
    let retired = store.retire(everything, 1_000).await.expect("retire");
    assert_eq!(retired.kept_for_pending, 0);
    assert_eq!(store.size().await.expect("size").buckets, 1);
    let after = bytes_in(&dir.path().join("journal"));
    assert!(after + retired.bytes <= before, "{before} - {} is not {after}", retired.bytes);
    store.close().await;
    assert_sound(dir.path());
    assert_eq!(databases(dir.path()).len(), 3);
    assert_eq!(open(dir.path()).recover().await.expect("recover").last_sequence, EVENTS);
}

/// A sealed segment would keep its WAL at the length that it once had, beside the limit of bytes.
#[tokio::test]
async fn sealed_segments_give_the_space_of_their_wal_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for n in 1..=20 {
        store.append(event(n, 100_000)).await.expect("append");
    }
    roll(&store).await;
    let sealed = wal_of(&segment(dir.path(), 1));
    let emptied = async {
        while sealed.metadata().is_ok_and(|wal| wal.len() > 1 << 20) {
            store.retire(KEEP, 1_000).await.expect("retire");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), emptied).await.expect("the WAL is emptied beside the writer");

    // Outcomes of what is in it are still kept.
    store.settle(delivered(7, 100)).await.expect("settle");
    assert_eq!(events(&store).await, (1..=20).collect::<Vec<_>>());
    assert!(!queued(&store).await.contains(&7));
    store.close().await;
    assert_sound(dir.path());
}
