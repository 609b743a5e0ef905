//! The hot path.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::delivery::DeliveryState::{self, Cancelled, Delivered, Failed, Queued, Scheduled};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};

use super::{ALL, Factory, Store, append, attempt, delivery, due, event, key, queued, settlement};
use crate::{Append, BatchPart, IdempotencyRecord, NewDelivery, NewEvent, PageLimit, StoreError};

/// Invariants 1 to 3: what was appended is found, all of it or nothing.
pub async fn appends_are_atomic(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let recovered = store.journal.recover().await.expect("recover");
    assert_eq!(recovered, crate::Recovered::default());

    store.journal.append(append(vec![event(1, 7, vec![delivery(0, 5, None), delivery(1, 6, Some(9_000))])])).await.expect("append");
    // The second event exists already: nothing of the first may stay.
    let refused =
        store.journal.append(append(vec![event(2, 7, vec![delivery(0, 5, None)]), event(1, 7, vec![delivery(0, 5, None)])])).await;
    assert!(matches!(refused, Err(StoreError::Engine(_))), "{refused:?}");
    assert_eq!(queued(&store, 5).await, [key(1, 0)]);
    assert_eq!(store.history.event(7, Sequence(2)).await.expect("event"), None);
    assert_eq!(due(&store, 6).await, [key(1, 1)]);
    let recovered = store.journal.recover().await.expect("recover");
    assert_eq!((recovered.last_sequence, recovered.last_received_ms), (1, 1_001));
    assert_eq!(recovered.lanes.len(), 2);
    assert_eq!((recovered.lanes[0].target, recovered.lanes[0].queued), (5, 1));
    assert_eq!((recovered.lanes[1].target, recovered.lanes[1].scheduled), (6, 1));

    // A refused append leaves its sequences free.
    store.journal.append(append(vec![event(2, 7, vec![])])).await.expect("append");
    store.journal.append(Append::default()).await.expect("nothing is no error");
    store.journal.close().await;
}

/// Incident 22: among many appends and settlements that share a commit, one that cannot be stored fails alone.
pub async fn one_bad_append_fails_alone(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    store.journal.append(append(vec![event(1, 1, vec![delivery(0, 5, None)])])).await.expect("append");
    let journal = &store.journal;
    // Joined futures are sent together and so meet in one group.
    let (a, bad, b, settled) = tokio::join!(
        journal.append(append(vec![event(2, 1, vec![delivery(0, 5, None)])])),
        journal.append(append(vec![event(1, 1, vec![])])),
        journal.append(append(vec![event(3, 1, vec![delivery(0, 5, None)])])),
        journal.settle([settlement(key(1, 0), 5, None, Delivered, 0, 2_000)].into()),
    );
    assert!(a.is_ok() && b.is_ok() && settled.is_ok(), "{a:?} {b:?} {settled:?}");
    assert!(bad.is_err());
    assert_eq!(queued(&store, 5).await, [key(2, 0), key(3, 0)]);
    store.journal.close().await;
}

/// Invariant 4 and incident 14: bytes are bytes.
pub async fn payloads_come_back_exactly(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let payloads: [Bytes; 6] = [
        Bytes::from_static(br#"{"b":1,"a":1.0,"n":1e400,"dup":1,"dup":2}"#),
        Bytes::from_static(br#""\ud800""#),
        Bytes::from_static(b" {\"a\" : 1 }  \r\n"),
        Bytes::from_static(b""),
        Bytes::from_static(b"\xff\xfe\x00"),
        Bytes::from(vec![b'x'; 3 << 20]),
    ];
    let events = payloads.iter().zip(1..).map(|(payload, n)| NewEvent {
        payload: payload.clone(),
        type_name: (n != 2).then(|| "a \u{1} type\n".into()),
        source: Arc::new(Source { via: "inbox".into(), key: None, ip: Some(format!("127.0.0.{n}")) }),
        ..event(n, 1, vec![delivery(0, 5, None)])
    });
    let events: Vec<_> = events.collect();
    store.journal.append(append(events.clone())).await.expect("append");
    let pending = store.journal.queued(5, DeliveryKey(0), ALL).await.expect("queued");
    assert_eq!(pending.len(), payloads.len());
    for (found, event) in pending.iter().zip(&events) {
        assert!(found.event.payload == event.payload, "payload of {:?}", event.sequence);
        assert_eq!((&found.event.source, &found.event.type_name), (&event.source, &event.type_name));
        assert_eq!((found.event.sequence, found.event.received_ms), (event.sequence, event.received_ms));
        let listed = store.history.event(1, event.sequence).await.expect("event").expect("exists");
        assert_eq!(&listed, &found.event);
    }
    store.journal.close().await;
}

/// Invariant 3, and what a settlement does to each state.
pub async fn settled_is_settled(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let deliveries = (0..6).map(|n| delivery(n, 5, None)).collect();
    store.journal.append(append(vec![event(1, 1, deliveries)])).await.expect("append");
    let settle = |n, state, due_ms, attempt| settlement(key(1, n), 5, attempt, state, due_ms, 5_000);
    store
        .journal
        .settle(Arc::new([
            settle(0, Delivered, 0, Some(attempt(1, 4_000))),
            settle(1, Scheduled, 60_000, Some(attempt(1, 4_001))),
            settle(2, Failed, 0, Some(attempt(1, 4_002))),
            settle(3, Cancelled, 0, None),
            settle(4, Scheduled, 50_000, None),
            settlement(key(99, 0), 5, Some(attempt(1, 1)), Delivered, 0, 5_000),
        ]))
        .await
        .expect("settle");
    assert_eq!(queued(&store, 5).await, [key(1, 5)]);
    assert_eq!(due(&store, 5).await, [key(1, 4), key(1, 1)]);
    assert_eq!(store.history.delivery(1, key(99, 0)).await.expect("delivery"), None);
    assert_eq!(store.history.attempts(key(99, 0)).await.expect("attempts"), []);

    // A terminal delivery does not change any more; its late attempt is recorded, and the same one told twice is one.
    let late = settle(0, Scheduled, 70_000, Some(attempt(2, 6_000)));
    store.journal.settle([late.clone(), late].into()).await.expect("settle");
    let found = store.history.delivery(1, key(1, 0)).await.expect("delivery").expect("exists");
    assert_eq!((found.state, found.due_ms, found.attempts), (Delivered, 0, 2));
    assert_eq!((found.first_attempt_ms, found.updated_ms, found.received_ms), (4_000, 5_000, 1_001));
    assert_eq!(store.history.attempts(key(1, 0)).await.expect("attempts"), [attempt(1, 4_000), attempt(2, 6_000)]);

    let retried = store.history.delivery(1, key(1, 1)).await.expect("delivery").expect("exists");
    assert_eq!((retried.state, retried.due_ms, retried.attempts, retried.first_attempt_ms), (Scheduled, 60_000, 1, 4_001));
    store.journal.settle([settle(1, Queued, 123, None), settle(4, Delivered, 0, Some(attempt(1, 9)))].into()).await.expect("settle");
    assert_eq!(queued(&store, 5).await, [key(1, 1), key(1, 5)]);
    let released = store.history.delivery(1, key(1, 1)).await.expect("delivery").expect("exists");
    assert_eq!((released.state, released.due_ms), (Queued, 0));
    let untried = store.history.delivery(1, key(1, 5)).await.expect("delivery").expect("exists");
    assert_eq!((untried.attempts, untried.first_attempt_ms), (0, 0));
    store.journal.close().await;
}

/// Pages hold at most what was asked for, at least one item, and paging over them meets each item once.
pub async fn pages_are_bounded(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let new = |n| NewEvent { payload: vec![b'x'; 100].into(), ..event(n, 1, vec![delivery(0, 5, None), delivery(1, 5, Some(n % 3))]) };
    for n in 1..=20 {
        store.journal.append(append(vec![new(n)])).await.expect("append");
    }
    for (limit, size) in [((3, 1_000_000), 3), ((10, 250), 2), ((10, 1), 1), ((0, 0), 1)] {
        let limit = PageLimit { items: limit.0, bytes: limit.1 };
        let mut after = DeliveryKey(0);
        let mut seen = Vec::new();
        loop {
            let page = store.journal.queued(5, after, limit).await.expect("queued");
            let Some(last) = page.last() else { break };
            assert!(page.len() == size || seen.len() + page.len() == 20, "{} of {size}", page.len());
            after = last.delivery.key;
            seen.extend(super::keys(&page));
        }
        assert_eq!(seen, (1..=20).map(|n| key(n, 0)).collect::<Vec<_>>());
        let mut after = (i64::MIN, DeliveryKey(0));
        let mut seen = 0;
        loop {
            let page = store.journal.due(5, after, i64::MAX, limit).await.expect("due");
            let Some(last) = page.last() else { break };
            assert!(page.len() == size || seen + page.len() == 20);
            after = (last.delivery.due_ms, last.delivery.key);
            seen += page.len();
        }
        assert_eq!(seen, 20);
    }
    store.journal.close().await;
}

/// Scheduled deliveries come by due time, then key, and only up to the time asked for.
pub async fn due_is_ordered(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let times = [50, 20, 20, 90, 10, 20];
    for (n, due_ms) in (1..).zip(times) {
        store.journal.append(append(vec![event(n, 1, vec![delivery(0, 5, Some(due_ms))])])).await.expect("append");
        store.journal.retire(never(), 2_000).await.expect("retire");
    }
    let journal = &store.journal;
    let page = async |after, until_ms, items| {
        super::keys(&journal.due(5, after, until_ms, PageLimit { items, bytes: usize::MAX }).await.expect("due"))
    };
    let start = (0, DeliveryKey(0));
    assert_eq!(page(start, 100, 10).await, [5, 2, 3, 6, 1, 4].map(|n| key(n, 0)));
    assert_eq!(page(start, 50, 10).await, [5, 2, 3, 6, 1].map(|n| key(n, 0)));
    assert_eq!(page((20, key(2, 0)), 100, 2).await, [3, 6].map(|n| key(n, 0)));
    assert_eq!(page(start, 9, 10).await, []);
    store.journal.close().await;
}

fn never() -> crate::RetentionRule {
    crate::RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX }
}

/// Batches: their members are found over commits and buckets, from the batch and from the member.
pub async fn batches_are_found(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let batch = |n| NewDelivery { is_batch: true, ..delivery(n, 5, Some(100_000)) };
    let part =
        |batch, members: &[i64], closed_due_ms| BatchPart { batch, members: members.iter().map(|n| Sequence(*n)).collect(), closed_due_ms };
    let (first, second) = (key(1, 1), key(2, 0));
    let opening = Append {
        events: vec![event(1, 1, vec![delivery(0, 6, None), batch(1)]), event(2, 1, vec![batch(0)]), event(3, 1, vec![])],
        batches: vec![part(first, &[1], None), part(second, &[2, 3], None), part(first, &[3], None)],
        ..Append::default()
    };
    store.journal.append(opening).await.expect("append");
    store.journal.retire(never(), i64::MAX / 2).await.expect("retire");
    let foreign = Append { events: vec![event(4, 1, vec![])], batches: vec![part(first, &[2], None)], ..Append::default() };
    assert!(store.journal.append(foreign).await.is_err(), "members are events of the same append");
    store.journal.append(append(vec![event(4, 1, vec![])])).await.expect("append");
    let closing = Append {
        events: vec![event(5, 1, vec![]), event(6, 1, vec![])],
        batches: vec![part(first, &[5, 6], Some(700)), part(second, &[], Some(200_000))],
        ..Append::default()
    };
    store.journal.append(closing).await.expect("append");

    let members = async |batch, after: i64, items| {
        let limit = PageLimit { items, bytes: usize::MAX };
        let found = store.journal.members(batch, Sequence(after), limit).await.expect("members");
        found.iter().map(|event| event.sequence.0).collect::<Vec<_>>()
    };
    assert_eq!(members(first, 0, 100).await, [1, 3, 5, 6]);
    assert_eq!(members(first, 1, 2).await, [3, 5]);
    assert_eq!(members(first, 5, 2).await, [6]);
    assert_eq!(members(second, 0, 100).await, [2, 3]);
    assert!(members(key(1, 0), 0, 100).await.is_empty());

    // A full batch is due at once; a later time does not push it back.
    assert_eq!(due(&store, 5).await, [first, second]);
    let found = store.history.delivery(1, second).await.expect("delivery").expect("exists");
    assert_eq!((found.due_ms, found.is_batch), (100_000, true));

    let of = async |sequence| {
        let found = store.history.deliveries_of(1, Sequence(sequence)).await.expect("deliveries");
        found.iter().map(|delivery| delivery.key).collect::<Vec<_>>()
    };
    assert_eq!(of(1).await, [key(1, 0), first]);
    assert_eq!(of(2).await, [second]);
    assert_eq!(of(3).await, [first, second]);
    assert_eq!(of(4).await, []);
    assert_eq!(of(6).await, [first]);

    let done = |batch| settlement(batch, 5, Some(attempt(1, 8_000)), Delivered, 0, 9_000);
    store.journal.settle([done(first), done(second)].into()).await.expect("settle");
    assert_eq!(members(first, 0, 100).await, [1, 3, 5, 6], "also after it was sent");
    store.journal.close().await;
}

/// Members come in pages of any size, whatever lies between them and however the commits fell.
pub async fn members_come_in_pages(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let batch = key(1, 0);
    let is_member = |n: i64| n == 1 || n % 3 == 0 || (200..260).contains(&n) || n % 97 == 0;
    let (mut next, mut all) = (1, Vec::new());
    for (commit, size) in [1, 2, 50, 1, 100, 7, 140, 99].into_iter().enumerate() {
        if commit == 4 {
            // The later members lie in another bucket.
            store.journal.retire(never(), i64::MAX / 2).await.expect("retire");
        }
        let sequences: Vec<i64> = (next..next + size).collect();
        next += size;
        let open = |n: i64| if n == 1 { vec![NewDelivery { is_batch: true, ..delivery(0, 5, Some(100_000)) }] } else { vec![] };
        let event = |n: i64| NewEvent { payload: Bytes::from(vec![b' '; (n * n % 41) as usize]), ..event(n, 1, open(n)) };
        let members: Vec<Sequence> = sequences.iter().copied().filter(|n| is_member(*n)).map(Sequence).collect();
        all.extend(members.iter().map(|member| member.0));
        let parts = if members.is_empty() { vec![] } else { vec![BatchPart { batch, members, closed_due_ms: None }] };
        let append = Append { events: sequences.iter().map(|n| event(*n)).collect(), batches: parts, ..Append::default() };
        store.journal.append(append).await.expect("append");
    }
    for (items, bytes) in [(1, usize::MAX), (7, usize::MAX), (64, 300), (1000, 90), (1000, 1), (1000, usize::MAX)] {
        let mut found: Vec<i64> = Vec::new();
        loop {
            let after = Sequence(found.last().copied().unwrap_or(0));
            let page = store.journal.members(batch, after, PageLimit { items, bytes }).await.expect("members");
            let size: usize = page.iter().map(|event| event.payload.len()).sum();
            assert!(page.len() <= items && (size <= bytes || page.len() == 1), "{} items, {size} bytes", page.len());
            if page.is_empty() {
                break;
            }
            found.extend(page.iter().map(|event| event.sequence.0));
        }
        assert_eq!(found, all, "pages of {items} items, {bytes} bytes");
    }
    store.journal.close().await;
}

/// Idempotency keys: durable, per workspace, newest first, for 24 hours.
pub async fn idempotency_keys_last_a_day(open: &impl Factory) {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let record = |workspace, n: i64, at_ms| IdempotencyRecord {
        workspace,
        key: "order-1".into(),
        body_hash: [n as u8; 32],
        first: Sequence(n),
        count: 1,
        at_ms,
    };
    let group = |n, workspace, at_ms| Append {
        events: vec![NewEvent { received_ms: at_ms, ..event(n, workspace, vec![]) }],
        idempotency: vec![record(workspace, n, at_ms)],
        ..Append::default()
    };
    store.journal.append(group(1, 1, DAY)).await.expect("append");
    store.journal.append(group(2, 2, DAY + 1)).await.expect("append");
    let ask = async |store: &Store, workspace, now_ms| store.journal.idempotent(workspace, "order-1", now_ms).await.expect("idempotent");
    assert_eq!(ask(&store, 1, DAY + 5).await, Some(record(1, 1, DAY)));
    assert_eq!(ask(&store, 2, DAY + 5).await, Some(record(2, 2, DAY + 1)));
    assert_eq!(ask(&store, 3, DAY + 5).await, None);
    assert_eq!(store.journal.idempotent(1, "order-2", DAY).await.expect("idempotent"), None);
    assert_eq!(ask(&store, 1, 2 * DAY).await, Some(record(1, 1, DAY)));
    assert_eq!(ask(&store, 1, 2 * DAY + 1).await, None);

    // Used again a day later, over a bucket's edge and a restart.
    store.journal.retire(never(), 3 * DAY).await.expect("retire");
    assert_eq!(ask(&store, 1, 2 * DAY).await, Some(record(1, 1, DAY)));
    store.journal.append(group(3, 1, 2 * DAY + 2)).await.expect("append");
    store.journal.close().await;
    let store = open(dir.path()).await;
    assert_eq!(ask(&store, 1, 2 * DAY + 5).await, Some(record(1, 3, 2 * DAY + 2)));
    assert_eq!(ask(&store, 2, DAY + 5).await, Some(record(2, 2, DAY + 1)));
    store.journal.close().await;
}

/// `reopen` queues terminal deliveries again and says which.
pub async fn reopening_queues_again(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let states = [Delivered, Failed, Cancelled, Queued, Scheduled];
    let deliveries = (0..5).map(|n| delivery(n, 5, (n == 4).then_some(9_000))).collect();
    store.journal.append(append(vec![event(1, 1, deliveries)])).await.expect("append");
    let settle = |n: u32, number, state: DeliveryState| settlement(key(1, n), 5, Some(attempt(number, 4_000)), state, 0, 5_000);
    store.journal.settle((0..3).map(|n| settle(n, 1, states[n as usize])).collect()).await.expect("settle");
    store.journal.retire(never(), i64::MAX / 2).await.expect("retire");

    let keys = (0..5).map(|n| key(1, n)).chain([key(1, 0), key(50, 0)]).collect();
    let reopened = store.journal.reopen(keys, 6_000).await.expect("reopen");
    assert_eq!(super::keys(&reopened), [key(1, 0), key(1, 1), key(1, 2)]);
    for pending in &reopened {
        assert_eq!((pending.delivery.state, pending.delivery.attempts, pending.delivery.updated_ms), (Queued, 1, 6_000));
        assert_eq!(pending.event.sequence, Sequence(1));
        assert_eq!(store.history.delivery(1, pending.delivery.key).await.expect("delivery").as_ref(), Some(&pending.delivery));
    }
    assert_eq!(queued(&store, 5).await, [0, 1, 2, 3].map(|n| key(1, n)));
    assert_eq!(due(&store, 5).await, [key(1, 4)]);

    // All done, the bucket forgotten as drained; then one comes back, and a restart still finds it.
    store.journal.settle((0..5).map(|n| settle(n, 2, Delivered)).collect()).await.expect("settle");
    assert_eq!(store.journal.recover().await.expect("recover").lanes, []);
    store.journal.reopen(vec![key(1, 2)], 7_000).await.expect("reopen");
    store.journal.close().await;
    let store = open(dir.path()).await;
    assert_eq!(store.journal.recover().await.expect("recover").lanes[0].queued, 1);
    assert_eq!(queued(&store, 5).await, [key(1, 2)]);
    store.journal.close().await;
}

/// MSGGO-86, invariant 1: all of it is there after a restart, and sequences go on.
pub async fn survives_a_restart(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    for n in 1..=9 {
        let deliveries = vec![delivery(0, 5, None), delivery(1, 6, Some(n * 100))];
        store.journal.append(append(vec![event(n, 1, deliveries)])).await.expect("append");
        if n % 3 == 0 {
            store.journal.retire(never(), i64::MAX / 2).await.expect("retire");
        }
    }
    store.journal.settle([settlement(key(2, 0), 5, Some(attempt(1, 4_000)), Delivered, 0, 5_000)].into()).await.expect("settle");
    let before = store.journal.recover().await.expect("recover");
    store.journal.close().await;

    let store = open(dir.path()).await;
    assert_eq!(store.journal.recover().await.expect("recover"), before);
    assert_eq!((before.last_sequence, before.last_received_ms), (9, 1_009));
    assert_eq!(queued(&store, 5).await, [1, 3, 4, 5, 6, 7, 8, 9].map(|n| key(n, 0)));
    assert_eq!(due(&store, 6).await.len(), 9);
    assert_eq!(store.history.attempts(key(2, 0)).await.expect("attempts"), [attempt(1, 4_000)]);
    store.journal.append(append(vec![event(10, 1, vec![delivery(0, 5, None)])])).await.expect("append");
    assert_eq!(queued(&store, 5).await.len(), 9);
    store.journal.close().await;
}
