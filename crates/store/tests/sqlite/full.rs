//! Incident 10: the disk is full. Nothing of what was refused is there, nothing that was there is harmed, and the store goes on by
//! itself once there is space.

use std::path::Path;

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::Sequence;
use posthaste_domain::resource::Kind;
use posthaste_store::sqlite::SqliteStore;
use posthaste_store::{Catalog, CatalogError, Change, History, Journal, RetentionRule, StoreError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::support::{self, WORKSPACE, assert_sound, delivered, event, events, key, open, queued, roll, target};

/// More than any page that is there has room for.
const LARGE: usize = 100_000;

fn is_full<T: std::fmt::Debug>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Full(_)))
}

/// Nothing at all is left of event `n`.
async fn assert_absent(store: &SqliteStore, n: i64) {
    assert_eq!(store.event(WORKSPACE, Sequence(n)).await.expect("event"), None);
    assert_eq!(store.delivery(WORKSPACE, key(n)).await.expect("delivery"), None);
    assert_eq!(store.idempotent(WORKSPACE, &n.to_string(), 1_000).await.expect("idempotent"), None);
}

#[tokio::test]
async fn incident_10_append() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    store.append(event(1, 100)).await.expect("append");
    let before = store.recover().await.expect("recover");
    store.cap_pages(Some(1)).await.expect("cap");
    for _ in 0..3 {
        let refused = store.append(event(2, LARGE)).await;
        assert!(is_full(&refused), "{refused:?}");
        assert_absent(&store, 2).await;
        assert_eq!(store.recover().await.expect("recover"), before);
        assert_eq!(queued(&store).await, [1]);
    }
    store.cap_pages(None).await.expect("cap");
    // The very same append is taken now: its sequence was not used.
    store.append(event(2, LARGE)).await.expect("append");
    assert_eq!(queued(&store).await, [1, 2]);
    store.close().await;
    assert_sound(dir.path());
}

/// What fits is stored, also when it shares a commit with something that does not.
#[tokio::test]
async fn incident_10_small_outcomes_beside_large_events() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for n in 1..=2 {
        store.append(event(n, 10)).await.expect("append");
    }
    store.settle(delivered(1, 10)).await.expect("settle");
    store.cap_pages(Some(1)).await.expect("cap");
    let (refused, settled) = tokio::join!(store.append(event(3, LARGE)), store.settle(delivered(2, 10)));
    assert!(is_full(&refused), "{refused:?}");
    settled.expect("there is room for a few bytes");
    assert!(queued(&store).await.is_empty());
    assert_absent(&store, 3).await;
    store.close().await;
}

#[tokio::test]
async fn incident_10_settle() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    store.append(event(1, 10)).await.expect("append");
    store.cap_pages(Some(1)).await.expect("cap");
    let refused = store.settle(delivered(1, LARGE)).await;
    assert!(is_full(&refused), "{refused:?}");
    let delivery = store.delivery(WORKSPACE, key(1)).await.expect("delivery").expect("exists");
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Queued, 0));
    assert_eq!(store.attempts(key(1)).await.expect("attempts"), []);
    assert_eq!(store.recover().await.expect("recover").lanes[0].queued, 1);

    store.cap_pages(None).await.expect("cap");
    store.settle(delivered(1, LARGE)).await.expect("settle");
    let delivery = store.delivery(WORKSPACE, key(1)).await.expect("delivery").expect("exists");
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 1));
    assert_eq!(store.recover().await.expect("recover").lanes, []);
    store.close().await;
    assert_sound(dir.path());
}

#[tokio::test]
async fn incident_10_catalog() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let workspace =
        Change::Create { id: "wsp_1".into(), kind: Kind::Workspace, workspace: None, doc: json!({}), secrets: vec![], at_ms: 1 };
    store.write(vec![workspace, target("tgt_1", 10)], Vec::new()).await.expect("write");
    let before = store.load().await.expect("load");
    store.cap_pages(Some(1)).await.expect("cap");
    let refused = store.write(vec![Change::Delete { number: before[1].number, at_ms: 2 }, target("tgt_2", LARGE)], Vec::new()).await;
    assert!(matches!(refused, Err(CatalogError::Store(StoreError::Full(_)))), "{refused:?}");
    assert_eq!(store.load().await.expect("load"), before, "also the change that would have fitted");
    store.cap_pages(None).await.expect("cap");
    store.write(vec![target("tgt_2", LARGE)], Vec::new()).await.expect("write");
    store.close().await;
    assert_eq!(open(dir.path()).load().await.expect("load").len(), 3);
    assert_sound(dir.path());
}

/// A new segment cannot be made: the one at hand goes on.
#[tokio::test]
async fn incident_10_new_segment() {
    let dir = tempfile::tempdir().expect("a directory");
    support::child("full::child_without_room", dir.path()).status().map(|status| assert!(status.success(), "{status}")).expect("a child");
    let store = open(dir.path());
    let expected: Vec<i64> = events(&store).await;
    assert_eq!(expected.first(), Some(&100), "what retention dropped is gone");
    assert_eq!(expected, (100..100 + expected.len() as i64).collect::<Vec<_>>());
    store.close().await;
    assert_sound(dir.path());
}

/// No file may grow beyond so many bytes. The limit is the process's, so this runs in one of its own.
fn limit_files(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).expect("a limit");
}

fn wal_bytes(dir: &Path, segment: u32) -> u64 {
    support::wal_end(&support::wal_of(&support::segment(dir, segment)))
}

#[tokio::test]
async fn child_without_room() {
    let Some(dir) = support::directory_of_child() else { return };
    let store = open(&dir);
    store.append(event(1, 10)).await.expect("append");
    store.settle(delivered(1, 10)).await.expect("settle");

    // Writes that stop in the middle of the WAL, at any place of a frame.
    let mut next = 2;
    for room in [0, 1, 24, 25, 4_000, 4_119, 4_120, 4_121, 30_000, 60_000] {
        limit_files(Some(wal_bytes(&dir, 1) + room));
        let refused = store.append(event(next, LARGE)).await;
        assert!(is_full(&refused), "with room for {room} bytes: {refused:?}");
        assert_absent(&store, next).await;
        limit_files(None);
        store.append(event(next, LARGE)).await.expect("there is space again");
        store.settle(delivered(next, 10)).await.expect("settle");
        next += 1;
    }
    assert_eq!(events(&store).await, (1..next).collect::<Vec<_>>());

    // A segment is due, but there is no room for its file.
    limit_files(Some(0));
    roll(&store).await;
    assert_eq!(store.size().await.expect("size").buckets, 1);
    limit_files(None);
    roll(&store).await;
    assert_eq!(store.size().await.expect("size").buckets, 2);
    store.append(event(100, 10)).await.expect("append");
    store.close().await;

    // Retention makes room on a disk that has none: nothing can be written, not even the index of a WAL.
    let store = open(&dir);
    store.append(event(101, 10)).await.expect("append");
    limit_files(Some(0));
    assert!(is_full(&store.append(event(102, 10)).await));
    let retired = store.retire(RetentionRule { max_bytes: 0, ..support::KEEP }, 2_000).await.expect("retire");
    assert_eq!(retired.buckets, 1);
    assert!(!support::segment(&dir, 1).exists());
    limit_files(None);
    store.append(event(102, 10)).await.expect("append");
    store.close().await;
}
