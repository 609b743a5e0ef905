//! Files of the data directory that are missing, damaged, of another release, or not secret: the store says which, and touches nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::resource::Kind;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{
    Bins, Catalog, Change, DeliveryFilter, EventFilter, History, Journal, Order, PageLimit, Range, RetentionRule, StoreError, Suppressions,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use super::support::{KEEP, TARGET, WORKSPACE, copy_dir, databases, delivered, event, events, key, open, roll, segment, target};

/// A closed store with a secret and three segments of three events; the first two events are settled.
async fn store_with_segments() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let workspace =
        Change::Create { id: "wsp_1".into(), kind: Kind::Workspace, workspace: None, doc: json!({}), secrets: vec![], at_ms: 1 };
    store.write(vec![workspace, target("tgt_1", 10)], Vec::new()).await.expect("write");
    for n in 1..=9 {
        store.append(event(n, 2_000)).await.expect("append");
        if n == 3 || n == 6 {
            roll(&store).await;
        }
    }
    store.settle(delivered(1, 10)).await.expect("settle");
    store.settle(delivered(2, 3_000)).await.expect("settle");
    store.close().await;
    dir
}

fn refused(dir: &Path) -> StoreError {
    SqliteStore::open(dir, SqliteOptions::default()).err().expect("it is refused")
}

/// Refused because of a file, which the error names.
fn assert_refused_for(dir: &Path, file: &Path, what: &str) {
    let error = refused(dir);
    let named = matches!(&error, StoreError::File { file: named, .. } if Path::new(named) == file);
    assert!(named && error.to_string().contains(what), "{error:?} is not about {} and {what}", file.display());
}

fn chmod(file: &Path, mode: u32) {
    fs::set_permissions(file, Permissions::from_mode(mode)).expect("permissions");
}

#[tokio::test]
async fn the_master_key_has_to_fit() {
    let dir = store_with_segments().await;
    let file = dir.path().join("master.key");
    let right = fs::read(&file).expect("a key");
    assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600);

    fs::remove_file(&file).expect("removed");
    assert!(matches!(refused(dir.path()), StoreError::MasterKey), "missing");
    assert!(!file.exists(), "no new key takes the place of a lost one");

    let other = tempfile::tempdir().expect("a directory");
    open(other.path()).close().await;
    let wrong = fs::read(other.path().join("master.key")).expect("a key");
    fs::write(&file, &wrong).expect("written");
    chmod(&file, 0o600);
    assert!(matches!(refused(dir.path()), StoreError::MasterKey), "wrong");

    for (text, what) in [("", "no key"), ("\n\n", "no key"), ("AAAA\n", "line 1"), ("\n*\n", "line 2")] {
        fs::write(&file, text).expect("written");
        assert_refused_for(dir.path(), &file, what);
    }

    // The right one below a new one: it opens what is there, and what is there is sealed anew.
    fs::write(&file, [&wrong[..], &right].concat()).expect("written");
    open(dir.path()).close().await;
    fs::write(&file, &wrong).expect("written");
    let store = open(dir.path());
    assert_eq!(store.load().await.expect("load")[1].doc["secret"], "xxxxxxxxxx");
    store.close().await;
}

#[tokio::test]
async fn the_master_key_is_not_for_everybody() {
    let dir = store_with_segments().await;
    let file = dir.path().join("master.key");
    for (mode, works) in [(0o644, false), (0o604, false), (0o602, false), (0o777, false), (0o640, true), (0o440, true), (0o400, true)] {
        chmod(&file, mode);
        if works {
            open(dir.path()).close().await;
        } else {
            assert_refused_for(dir.path(), &file, &format!("{mode:03o}"));
        }
    }
}

/// A first start that is killed leaves nothing that stops the next.
#[tokio::test]
async fn a_key_that_was_being_made_is_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("master.new"), "AAA").expect("written");
    open(dir.path()).close().await;
    assert!(!dir.path().join("master.new").exists());
    open(dir.path()).close().await;
}

#[tokio::test]
async fn files_of_a_newer_release_are_refused() {
    let dir = store_with_segments().await;
    for file in databases(dir.path()) {
        let conn = rusqlite::Connection::open(&file).expect("a file");
        let set = |format| conn.execute("UPDATE meta SET value = ?1 WHERE name = 'format'", [format]).expect("an update");
        set(7);
        let error = refused(dir.path());
        assert!(matches!(error, StoreError::TooNew { found: 7, known: 2 }), "{}: {error:?}", file.display());
        set(2);
    }
    open(dir.path()).close().await;
}

/// A catalog of a release that knew no suppressions gets their table.
#[tokio::test]
async fn an_older_catalog_gets_the_table_of_suppressions() {
    let dir = store_with_segments().await;
    let conn = rusqlite::Connection::open(dir.path().join("catalog.db")).expect("a file");
    conn.execute_batch("DROP TABLE suppression").expect("dropped");
    drop(conn);
    let store = open(dir.path());
    assert_eq!(store.suppressions(WORKSPACE, None, None, 10).await.expect("list"), []);
    store.close().await;
}

/// A start does not go on without a file that was there: what it held may be pending, and what an empty one would be taken for is worse.
#[tokio::test]
async fn a_missing_file_is_named() {
    let dir = store_with_segments().await;
    let away = dir.path().join("away");
    for file in [segment(dir.path(), 1), segment(dir.path(), 2), segment(dir.path(), 3), dir.path().join("catalog.db")] {
        fs::rename(&file, &away).expect("moved");
        assert_refused_for(dir.path(), &file, "missing");
        assert!(!file.exists(), "nothing took its place");
        fs::rename(&away, &file).expect("moved back");
    }
    let store = open(dir.path());
    assert_eq!(events(&store).await, (1..=9).collect::<Vec<_>>());
    // What retention drops is not missed.
    store.settle(delivered(3, 10)).await.expect("settle");
    let retired = store.retire(RetentionRule { max_bytes: 0, ..KEEP }, 2_000).await.expect("retire");
    assert_eq!((retired.buckets, retired.kept_for_pending), (1, 1));
    store.close().await;
    let store = open(dir.path());
    assert_eq!(events(&store).await, (4..=9).collect::<Vec<_>>());
    store.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let whole = store_with_segments().await;
    for name in ["catalog.db", "bins.db", "journal/00000001.db", "journal/00000003.db"] {
        let dir = tempfile::tempdir().expect("a directory");
        copy_dir(whole.path(), dir.path());
        let file = dir.path().join(name);
        let written = fs::read(&file).expect("a file");
        fs::write(&file, [&[b'?'; 512][..], &written[512..]].concat()).expect("written");
        assert_refused_for(dir.path(), &file, "not a database");
        // It was cut off: pages that it says it has are not there.
        fs::write(&file, &written[..4096]).expect("written");
        assert_refused_for(dir.path(), &file, "malformed");
        if name != "bins.db" {
            fs::write(&file, "").expect("written");
            assert_refused_for(dir.path(), &file, "no tables");
        }
        fs::write(&file, &written).expect("written");
        open(dir.path()).close().await;
    }
}

/// A segment that vanishes under a running store is an error to whoever needs it, not an empty one, and nobody else notices.
#[tokio::test]
async fn a_segment_that_vanishes_is_named() {
    let dir = store_with_segments().await;
    let store = open(dir.path());
    let file = segment(dir.path(), 2);
    let away = dir.path().join("away");
    fs::rename(&file, &away).expect("moved");
    let named = |error: StoreError| matches!(&error, StoreError::File { file: named, .. } if Path::new(named) == file);
    assert!(named(store.event(WORKSPACE, Sequence(4)).await.expect_err("it is gone")));
    assert!(named(store.settle(delivered(4, 10)).await.expect_err("it is gone")));
    assert!(named(store.reopen(vec![key(4)], 1).await.expect_err("it is gone")));
    assert!(!file.exists(), "no empty file took its place");
    // Its deliveries are left out of the target's lane; those of other segments go on, before it and after it.
    assert_eq!(super::support::queued(&store).await, [3, 7, 8, 9]);
    // One command for several segments stores what it can and is told again, with the same effect.
    let both: Vec<_> = [3, 4].into_iter().flat_map(|n| delivered(n, 10).to_vec()).collect();
    assert!(named(store.settle(both.clone().into()).await.expect_err("it is gone")));
    store.append(event(10, 10)).await.expect("append");
    assert!(store.event(WORKSPACE, Sequence(7)).await.expect("event").is_some());

    fs::rename(&away, &file).expect("moved back");
    store.settle(both.into()).await.expect("settle");
    assert_eq!(store.attempts(key(3)).await.expect("attempts").len(), 1);
    assert_eq!(super::support::queued(&store).await, (5..=10).collect::<Vec<_>>());
    store.close().await;
}

/// Whatever bytes a file has, the store answers, or it names the file. A panic in one of its threads would be another error.
#[tokio::test]
async fn no_bytes_make_it_panic() {
    let whole = store_with_segments().await;
    let names: Vec<PathBuf> =
        databases(whole.path()).iter().map(|file| file.strip_prefix(whole.path()).expect("inside").to_owned()).collect();
    let noise = prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..200)), 1..6);
    let damage = (prop::sample::select(names), noise);
    let mut runner = TestRunner::new_with_rng(Config::with_cases(150), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    for _ in 0..150 {
        let (name, noise) = damage.new_tree(&mut runner).expect("a tree").current();
        let dir = tempfile::tempdir().expect("a directory");
        copy_dir(whole.path(), dir.path());
        let file = fs::OpenOptions::new().read(true).write(true).open(dir.path().join(&name)).expect("a file");
        let size = file.metadata().expect("a file").len() as usize;
        for (at, bytes) in noise {
            file.write_all_at(&bytes, at.index(size) as u64).expect("noise");
        }
        let store = match SqliteStore::open(dir.path(), SqliteOptions::default()) {
            Ok(store) => store,
            Err(StoreError::File { .. } | StoreError::TooNew { .. } | StoreError::MasterKey) => continue,
            Err(error) => panic!("{}: {error:?}", name.display()),
        };
        for answer in read_all(&store).await {
            let named = match &answer {
                Ok(()) => true,
                Err(StoreError::File { file, .. }) => Path::new(file) == dir.path().join(&name),
                Err(StoreError::MasterKey) => true,
                Err(_) => false,
            };
            assert!(named, "{}: {answer:?}", name.display());
        }
        store.close().await;
    }
}

async fn read_all(store: &SqliteStore) -> Vec<Result<(), StoreError>> {
    let all = PageLimit { items: 1_000, bytes: usize::MAX };
    let range = Range { order: Order::Desc, after: None, limit: 1_000, from_ms: Some(1_002), to_ms: Some(1_009) };
    let of_type = EventFilter::of_type("order.created");
    let of_target = DeliveryFilter { targets: Some(vec![TARGET]), ..DeliveryFilter::default() };
    let mut answers = vec![
        store.load().await.map(drop),
        store.list(1, None, 10).await.map(drop),
        store.recover().await.map(drop),
        store.queued(TARGET, DeliveryKey(0), all).await.map(drop),
        store.due(TARGET, (0, DeliveryKey(0)), i64::MAX, all).await.map(drop),
        store.idempotent(WORKSPACE, "2", 1_000).await.map(drop),
        store.events(WORKSPACE, EventFilter::default(), range).await.map(drop),
        store.events(WORKSPACE, of_type, range).await.map(drop),
        store.deliveries(WORKSPACE, DeliveryFilter::default(), range).await.map(drop),
        store.deliveries(WORKSPACE, of_target, range).await.map(drop),
    ];
    for n in 1..=9 {
        answers.push(store.event(WORKSPACE, Sequence(n)).await.map(drop));
        answers.push(store.attempts(key(n)).await.map(drop));
        answers.push(store.deliveries_of(WORKSPACE, Sequence(n)).await.map(drop));
        answers.push(store.members(key(n), Sequence(0), all).await.map(drop));
    }
    answers
}
