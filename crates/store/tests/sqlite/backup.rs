//! A backup of a store that goes on writing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use posthaste_domain::resource::Kind;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore, backup};
use posthaste_store::{Catalog, Change, History, Journal};
use serde_json::json;

use super::support::{self, WORKSPACE, assert_sound, delivered, event, events, key, open, queued, roll, target};

/// The copy opens, is sound, has all events up to some point, and each with its delivery.
async fn assert_complete(copy: &Path, at_least: i64) -> i64 {
    assert_sound(copy);
    let store = open(copy);
    let last = store.recover().await.expect("recover").last_sequence;
    assert!(last >= at_least, "{last} of {at_least}");
    assert_eq!(events(&store).await, (1..=last).collect::<Vec<_>>(), "no gap");
    for n in 1..=last {
        assert!(store.delivery(WORKSPACE, key(n)).await.expect("delivery").is_some(), "delivery of {n}");
    }
    // It can be served: what is pending is found, and it goes on after it.
    let pending = queued(&store).await;
    store.append(event(last + 1, 10)).await.expect("append");
    assert_eq!(queued(&store).await.len(), pending.len() + 1);
    store.close().await;
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_busy_store_is_whole() {
    let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let options = SqliteOptions { segment_bytes: 200_000, ..SqliteOptions::default() };
    let store = SqliteStore::open(from.path(), options).expect("the store opens");
    let workspace =
        Change::Create { id: "wsp_1".into(), kind: Kind::Workspace, workspace: None, doc: json!({}), secrets: vec![], at_ms: 1 };
    store.write(vec![workspace, target("tgt_1", 10)], Vec::new()).await.expect("write");
    let (written, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (store, written, stop) = (store.clone(), written.clone(), stop.clone());
        async move {
            for n in 1.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                store.append(event(n, 3_000)).await.expect("append");
                if n % 2 == 0 {
                    store.settle(delivered(n, 10)).await.expect("settle");
                }
                written.store(n, Ordering::SeqCst);
            }
        }
    };
    let copier = async {
        let mut copied = 0;
        for round in 0..4 {
            while written.load(Ordering::SeqCst) < copied + 50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let answered = written.load(Ordering::SeqCst);
            let (from, copy) = (from.path().to_owned(), to.path().join(round.to_string()));
            let made = copy.clone();
            tokio::task::spawn_blocking(move || backup(&from, &made, |_| {})).await.expect("it ends").expect("a backup");
            copied = assert_complete(&copy, answered).await;
            assert_eq!(open(&copy).load().await.expect("load").len(), 2, "the secrets can be opened");
        }
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(writer, copier);
    assert!(support::databases(from.path()).len() > 4, "segments were started meanwhile");
    store.close().await;
}

/// A segment that is appended to after it was copied, and sealed before the next one is: the worst moment there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_sealed_during_a_backup_leaves_no_gap() {
    let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let store = open(from.path());
    store.append(event(1, 10)).await.expect("append");
    let runtime = tokio::runtime::Handle::current();
    let (source, copy, writing) = (from.path().to_owned(), to.path().join("copy"), store.clone());
    let made = copy.clone();
    let copied = tokio::task::spawn_blocking(move || {
        let mut n = 1;
        backup(&source, &made, |progress| {
            // Told when a file is copied but for its end.
            if n < 9 && progress.file.starts_with("journal/") {
                runtime.block_on(async {
                    for _ in 0..2 {
                        n += 1;
                        writing.append(event(n, 10)).await.expect("append");
                        roll(&writing).await;
                    }
                });
            }
        })
    });
    copied.await.expect("it ends").expect("a backup");
    store.close().await;
    assert_complete(&copy, 9).await;
}

#[tokio::test]
async fn a_backup_wants_a_source_and_room() {
    let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let refused = backup(from.path(), &to.path().join("a"), |_| {}).expect_err("there is nothing");
    assert!(refused.to_string().contains("storage failed"), "{refused}");
    open(from.path()).close().await;
    std::fs::write(to.path().join("mine"), "x").expect("a file");
    backup(from.path(), to.path(), |_| {}).expect_err("it is not empty");
    assert!(!to.path().join("catalog.db").exists());
    backup(from.path(), &to.path().join("deep/down"), |_| {}).expect("a backup");
    open(&to.path().join("deep/down")).close().await;
}
