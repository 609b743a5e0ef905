//! Retention, the catalog, bins, closing.

use bytes::Bytes;
use posthaste_domain::delivery::DeliveryState::{Delivered, Failed};
use posthaste_domain::id::Sequence;
use posthaste_domain::resource::Kind;
use serde_json::{Value, json};

use super::{Factory, append, attempt, delivery, event, key, queued, settlement};
use crate::{Append, BatchPart, BinRequest, BinRoom, CatalogError, Change, NewDelivery, NewEvent, RetentionRule, StoreError, WhenFull};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Incident 15, needs row 4: whole buckets go, by age and by bytes; pending work and its batches keep theirs.
pub async fn retention_drops_whole_buckets(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let journal = &store.journal;
    let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    let at = |n: i64, deliveries| NewEvent { received_ms: n * DAY, ..event(n, 1, deliveries) };
    // Five buckets of a day: 1 is done, 2 has a pending batch, 3 is done but holds a member of it, 4 is done, 5 is the current one.
    let batch = NewDelivery { is_batch: true, ..delivery(0, 6, Some(100 * DAY)) };
    let part = |n| BatchPart { batch: key(2, 0), members: vec![Sequence(n)], closed_due_ms: None };
    for n in 1..=5 {
        let deliveries = if n == 2 { vec![batch.clone()] } else { vec![delivery(0, 5, None)] };
        let batches = if n == 2 || n == 3 { vec![part(n)] } else { vec![] };
        journal.append(Append { events: vec![at(n, deliveries)], batches, ..Append::default() }).await.expect("append");
        let nothing = journal.retire(keep, n * DAY + DAY + 1).await.expect("retire");
        assert_eq!((nothing.buckets, nothing.kept_for_pending), (0, 0));
    }
    let done = |n| settlement(key(n, 0), 5, Some(attempt(1, n * DAY)), Delivered, 0, n * DAY + 1);
    journal.settle([1, 3, 4, 5].map(done).into()).await.expect("settle");
    let size = store.history.size().await.expect("size");

    let retired = journal.retire(RetentionRule { max_age_ms: 3 * DAY, ..keep }, 6 * DAY + 1).await.expect("retire");
    assert_eq!((retired.buckets, retired.kept_for_pending), (1, 2));
    let smaller = store.history.size().await.expect("size");
    assert!(retired.bytes > 0 && smaller.bytes + retired.bytes <= size.bytes && smaller.buckets + 1 == size.buckets);
    for (n, lives) in [(1, false), (2, true), (3, true), (4, true)] {
        assert_eq!(store.history.event(1, Sequence(n)).await.expect("event").is_some(), lives, "event {n}");
        assert_eq!(store.history.delivery(1, key(n, 0)).await.expect("delivery").is_some(), lives);
        assert_eq!(store.history.attempts(key(n, 0)).await.expect("attempts").is_empty(), !lives || n == 2);
    }
    // What refers to a dropped bucket is no error.
    journal.settle([done(1)].into()).await.expect("settle");
    assert!(journal.reopen(vec![key(1, 0)], 6 * DAY).await.expect("reopen").is_empty());
    let members = journal.members(key(2, 0), Sequence(0), super::ALL).await.expect("members");
    assert_eq!(members.len(), 2, "members of a pending batch are kept");

    // Settled, it holds nothing any more. No bytes may stay, but the current bucket does.
    journal.settle([settlement(key(2, 0), 6, None, Failed, 0, 6 * DAY)].into()).await.expect("settle");
    let retired = journal.retire(RetentionRule { max_bytes: 0, ..keep }, 6 * DAY + 2).await.expect("retire");
    assert!(retired.buckets >= 3 && retired.kept_for_pending == 0, "{retired:?}");
    journal.append(append(vec![at(6, vec![delivery(0, 5, None)])])).await.expect("append");
    journal.close().await;

    let store = open(dir.path()).await;
    let recovered = store.journal.recover().await.expect("recover");
    assert_eq!((recovered.last_sequence, recovered.last_received_ms), (6, 6 * DAY));
    assert_eq!(queued(&store, 5).await, [key(6, 0)]);
    assert!(store.history.event(1, Sequence(3)).await.expect("event").is_none());
    store.journal.close().await;
}

fn create(id: &str, kind: Kind, workspace: Option<i64>, doc: Value, secrets: &[&str]) -> Change {
    Change::Create { id: id.into(), kind, workspace, doc, secrets: secrets.iter().map(|s| (*s).into()).collect(), at_ms: 10 }
}

fn update(number: i64, version: Option<i64>, doc: Value, secrets: &[&str]) -> Change {
    Change::Update { number, version, doc, secrets: secrets.iter().map(|s| (*s).into()).collect(), at_ms: 20 }
}

/// MSGGO-86: documents with their secrets, versions, tombstones; also after a restart.
pub async fn catalog_is_versioned(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let catalog = &store.catalog;
    let workspace =
        catalog.write(vec![create("wsp_1", Kind::Workspace, None, json!({"name": "a"}), &[])], Vec::new()).await.expect("write");
    assert_eq!((workspace[0].workspace, workspace[0].version), (workspace[0].number, 1));
    let owner = Some(workspace[0].number);
    let doc = json!({"z": 1, "url": "https://a.example", "secret": "whsec_x", "auth": {"user": "u", "password": ["p", 1]}, "none": null});
    let pointers = ["/secret", "/auth/password", "/auth", "/absent", "/none"];
    let target =
        catalog.write(vec![create("tgt_1", Kind::Target, owner, doc.clone(), &pointers)], Vec::new()).await.expect("write").remove(0);
    assert_eq!(target.doc, doc);
    assert_eq!((target.created_ms, target.updated_ms, target.deleted, target.kind), (10, 10, false, Kind::Target));
    assert_eq!(target.doc.to_string(), doc.to_string(), "members keep their order");

    let taken = catalog.write(vec![create("tgt_1", Kind::Target, owner, json!({}), &[])], Vec::new()).await;
    assert!(matches!(taken, Err(CatalogError::Exists)), "{taken:?}");
    let stale = catalog.write(vec![update(target.number, Some(7), json!({}), &[])], Vec::new()).await;
    assert!(matches!(stale, Err(CatalogError::Conflict { expected: 7, found: 1 })), "{stale:?}");
    let changed = json!({"secret": "whsec_y"});
    let target =
        catalog.write(vec![update(target.number, Some(1), changed.clone(), &["/secret"])], Vec::new()).await.expect("write").remove(0);
    assert_eq!((target.version, target.created_ms, target.updated_ms, &target.doc), (2, 10, 20, &changed));
    let target =
        catalog.write(vec![update(target.number, None, changed.clone(), &["/secret"])], Vec::new()).await.expect("write").remove(0);
    assert_eq!(target.version, 3);

    let key = catalog
        .write(vec![create("key_1", Kind::Key, owner, json!({"token": "t", "name": "n"}), &["/token"])], Vec::new())
        .await
        .expect("write");
    let gone = catalog.write(vec![Change::Delete { number: key[0].number, at_ms: 30 }], Vec::new()).await.expect("write").remove(0);
    assert_eq!((gone.deleted, gone.updated_ms, &gone.doc), (true, 30, &json!({"token": null, "name": "n"})), "secrets go with it");
    for change in
        [Change::Delete { number: gone.number, at_ms: 40 }, update(gone.number, None, json!({}), &[]), update(99, None, json!({}), &[])]
    {
        let refused = catalog.write(vec![change], Vec::new()).await;
        assert!(matches!(refused, Err(CatalogError::NotFound)), "{refused:?}");
    }
    store.journal.close().await;

    let store = open(dir.path()).await;
    assert_eq!(store.catalog.load().await.expect("load"), [workspace[0].clone(), target, gone.clone()]);
    let next = store.catalog.write(vec![create("bin_1", Kind::Bin, owner, json!(null), &[])], Vec::new()).await.expect("write");
    assert!(next[0].number > gone.number, "numbers are never reused");
    store.journal.close().await;
}

/// A write is all or nothing.
pub async fn writes_are_atomic(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let refused = store
        .catalog
        .write(vec![create("wsp_1", Kind::Workspace, None, json!({}), &[]), Change::Delete { number: 99, at_ms: 1 }], Vec::new())
        .await;
    assert!(matches!(refused, Err(CatalogError::NotFound)));
    assert_eq!(store.catalog.load().await.expect("load"), []);
    let both = vec![create("wsp_1", Kind::Workspace, None, json!({}), &[]), create("wsp_2", Kind::Workspace, None, json!({}), &[])];
    assert_eq!(store.catalog.write(both, Vec::new()).await.expect("write").len(), 2);
    store.journal.close().await;
}

/// Bins keep the newest requests under numbers that are never given twice.
pub async fn bins_keep_the_newest(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let request = |at_ms| BinRequest {
        number: 0,
        at_ms,
        method: "POST".into(),
        target: "/a?b=c".into(),
        headers: vec![("x-a".into(), "1".into()), ("x-a".into(), "2".into())],
        body: Bytes::from_static(b"\x00\xff{}"),
        ip: Some("127.0.0.1".into()),
    };
    let room = BinRoom { requests: 3, bytes: 1 << 20, when_full: WhenFull::DropOldest };
    for n in 1..=5 {
        assert_eq!(store.bins.put(1, request(n), room).await.expect("put"), Some(n));
    }
    assert_eq!(store.bins.put(2, BinRequest { ip: None, ..request(9) }, room).await.expect("put"), Some(1));
    let numbered = |n| BinRequest { number: n, ..request(n) };
    assert_eq!(store.bins.list(1, None, 10).await.expect("list"), [numbered(5), numbered(4), numbered(3)]);
    assert_eq!(store.bins.list(1, Some(5), 1).await.expect("list"), [numbered(4)]);
    // Bytes count as requests do; the newest one stays even if it is larger than all the room.
    let large = |at_ms, bytes: usize| BinRequest { body: vec![b'x'; bytes].into(), ..request(at_ms) };
    let small_room = BinRoom { bytes: 1000, ..room };
    for (n, bytes, kept) in [(1, 300, vec![1]), (2, 300, vec![2, 1]), (3, 600, vec![3, 2]), (4, 5000, vec![4]), (5, 10, vec![5])] {
        store.bins.put(3, large(n, bytes), small_room).await.expect("put");
        let numbers: Vec<i64> = store.bins.list(3, None, 10).await.expect("list").iter().map(|request| request.number).collect();
        assert_eq!(numbers, kept, "after {n}");
    }
    store.bins.clear(1).await.expect("clear");
    assert_eq!(store.bins.list(1, None, 10).await.expect("list"), []);
    assert_eq!(store.bins.put(1, request(6), room).await.expect("put"), Some(6));
    // One that refuses keeps what it has, whatever it was allowed before.
    let strict = BinRoom { requests: 2, bytes: 1, when_full: WhenFull::Refuse };
    for (n, kept) in [(7, Some(7)), (8, None), (9, None)] {
        assert_eq!(store.bins.put(1, request(n), strict).await.expect("put"), kept);
    }
    assert_eq!(store.bins.list(1, None, 10).await.expect("list"), [numbered(7), numbered(6)]);
    store.journal.close().await;
    let store = open(dir.path()).await;
    assert_eq!(store.bins.list(1, None, 10).await.expect("list").len(), 2);
    assert_eq!(store.bins.list(2, None, 10).await.expect("list").len(), 1);
    store.journal.close().await;
}

/// After `close`, everything answers so.
pub async fn closed_is_closed(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    store.journal.close().await;
    store.journal.close().await;
    assert!(matches!(store.journal.append(append(vec![event(1, 1, vec![])])).await, Err(StoreError::Closed)));
    assert!(matches!(store.journal.recover().await, Err(StoreError::Closed)));
    assert!(matches!(store.history.event(1, Sequence(1)).await, Err(StoreError::Closed)));
    assert!(matches!(store.history.size().await, Err(StoreError::Closed)));
    assert!(matches!(store.catalog.load().await, Err(StoreError::Closed)));
    assert!(matches!(store.bins.clear(1).await, Err(StoreError::Closed)));
    assert!(matches!(store.suppressions.unsuppress(1, "a", "b").await, Err(StoreError::Closed)));
}
