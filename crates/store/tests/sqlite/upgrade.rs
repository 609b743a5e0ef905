//! Segments of earlier releases are opened, brought up to the present format, and used on.

use std::collections::BTreeMap;
use std::path::Path;

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::{DeliveryFilter, EventFilter, History, Journal, Order, PageLimit, Range};
use rusqlite::{Connection, params};

use crate::support::{self, KEEP, LATER, integrity, look, open, segment};

const FORMAT_1: &str = include_str!("format1.sql");
const EVENTS: i64 = 1000;
const ALL: PageLimit = PageLimit { items: 100_000, bytes: usize::MAX };

/// Workspace, type and deliveries (target, state) of an event. Every 100th goes to more targets than its block looks at together.
fn shape(n: i64) -> (i64, Option<i64>, Vec<(i64, i64)>) {
    let workspace = 1 + n % 2;
    let type_id = (n % 5 != 0).then_some(1 + n % 3);
    let count = if n % 100 == 0 { 40 } else { n % 4 };
    let state = |i: i64| match (n * 7 + i * 3) % 11 {
        state @ 0..=4 => state,
        _ => 2,
    };
    (workspace, type_id, (0..count).map(|i| (workspace * 100 + i % 7, state(i))).collect())
}

/// Puts a segment of format 1 in the place of the first.
fn write_format_1(dir: &Path) {
    let file = segment(dir, 1);
    std::fs::remove_file(&file).expect("the first segment");
    let mut conn = Connection::open(&file).expect("a file");
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("a WAL");
    let tx = conn.transaction().expect("a transaction");
    tx.execute_batch(FORMAT_1).expect("tables");
    tx.execute_batch("INSERT INTO meta VALUES ('format', 1), ('floor', 1), ('floor_ms', 0)").expect("meta");
    tx.execute_batch("INSERT INTO type VALUES (1, 'type.1'), (2, 'type.2'), (3, 'type.3')").expect("types");
    tx.execute_batch(r#"INSERT INTO word VALUES (1, '{"via":"api"}'), (2, 'POST / HTTP/1.1'), (3, 'HTTP/1.1 200 OK')"#).expect("words");
    for n in 1..=EVENTS {
        let (workspace, type_id, deliveries) = shape(n);
        tx.execute(
            "INSERT INTO event VALUES (?1, ?2, ?3, ?4, 1, ?5)",
            params![n, workspace, type_id, 1000 + n, format!("{{\"n\":{n}}}").as_bytes()],
        )
        .expect("an event");
        for (ordinal, (target, state)) in (0..).zip(deliveries) {
            let key = DeliveryKey::new(Sequence(n), ordinal).0;
            let due_ms = if state == 1 { 5000 - n } else { 0 };
            let attempts = i64::from(state == 2);
            let values = params![key, workspace, target, state, attempts, 1000 + n, due_ms];
            tx.execute("INSERT INTO delivery VALUES (?1, ?2, 6, ?3, ?4, ?5, ?6, ?7, 0, ?6, ?6)", values).expect("a delivery");
            if attempts > 0 {
                let sql = "INSERT INTO attempt VALUES (?1, 1, ?2, 10, NULL, NULL, NULL, 200, 2, NULL, 3, NULL, NULL)";
                tx.execute(sql, params![key, 2000 + n]).expect("an attempt");
            }
        }
    }
    tx.commit().expect("a commit");
}

/// All pages of a list of deliveries.
async fn deliveries(store: &impl History, workspace: i64, filter: &DeliveryFilter, order: Order) -> Vec<i64> {
    let mut keys: Vec<i64> = Vec::new();
    loop {
        let range = Range { order, after: keys.last().copied(), limit: 37, from_ms: None, to_ms: None };
        let page = store.deliveries(workspace, filter.clone(), range).await.expect("deliveries");
        keys.extend(page.iter().map(|delivery| delivery.key.0));
        if page.len() < 37 {
            return keys;
        }
    }
}

#[tokio::test]
async fn a_segment_of_format_1_is_used_on() {
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path()).close().await;
    write_format_1(dir.path());
    let store = open(dir.path());
    let recovered = store.recover().await.expect("recover");
    assert_eq!((recovered.last_sequence, recovered.last_received_ms), (EVENTS, 1000 + EVENTS));

    let mut queued: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut due: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    let mut all: Vec<(i64, i64, i64, Option<i64>, i64)> = Vec::new();
    for n in 1..=EVENTS {
        let (workspace, type_id, deliveries) = shape(n);
        for (ordinal, (target, state)) in (0..).zip(deliveries) {
            let key = DeliveryKey::new(Sequence(n), ordinal).0;
            match state {
                0 => queued.entry(target).or_default().push(key),
                1 => due.entry(target).or_default().push((5000 - n, key)),
                _ => {}
            }
            all.push((workspace, target, state, type_id, key));
        }
    }
    due.values_mut().for_each(|due| due.sort_unstable());
    for lane in &recovered.lanes {
        assert_eq!(lane.queued as usize, queued.get(&lane.target).map_or(0, Vec::len), "queued of {}", lane.target);
        assert_eq!(lane.scheduled as usize, due.get(&lane.target).map_or(0, Vec::len), "scheduled of {}", lane.target);
        let page = store.queued(lane.target, DeliveryKey(0), ALL).await.expect("queued");
        let keys: Vec<i64> = page.iter().map(|pending| pending.delivery.key.0).collect();
        assert_eq!(keys, queued.get(&lane.target).cloned().unwrap_or_default());
        let page = store.due(lane.target, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due");
        let keys: Vec<_> = page.iter().map(|pending| (pending.delivery.due_ms, pending.delivery.key.0)).collect();
        assert_eq!(keys, due.get(&lane.target).cloned().unwrap_or_default());
    }

    for workspace in [1, 2] {
        for type_id in [None, Some(1), Some(3)] {
            for state in [None, Some(0), Some(1), Some(2), Some(3), Some(4)] {
                for target in [None, Some(workspace * 100 + 2)] {
                    let filter = DeliveryFilter {
                        targets: target.map(|target| vec![target]),
                        states: state.map(|code| vec![DeliveryState::from_code(code).expect("one of five")]),
                        type_name: type_id.map(|id| format!("type.{id}")),
                    };
                    let is_meant = |(own, to, in_state, of_type, _): &&(i64, i64, i64, Option<i64>, i64)| {
                        *own == workspace
                            && target.is_none_or(|target| target == *to)
                            && state.is_none_or(|state| state == *in_state)
                            && type_id.is_none_or(|id| *of_type == Some(id))
                    };
                    let mut expected: Vec<i64> = all.iter().filter(is_meant).map(|row| row.4).collect();
                    assert_eq!(deliveries(&store, workspace, &filter, Order::Asc).await, expected, "{workspace} {filter:?}");
                    expected.reverse();
                    assert_eq!(deliveries(&store, workspace, &filter, Order::Desc).await, expected, "{workspace} {filter:?}");
                }
            }
            let mine = |n: &i64| shape(*n).0 == workspace && type_id.is_none_or(|id| shape(*n).1 == Some(id));
            let filter = type_id.map_or(EventFilter::default(), |id| EventFilter::of_type(format!("type.{id}")));
            let range = Range { order: Order::Asc, after: None, limit: 5000, from_ms: None, to_ms: None };
            let listed = store.events(workspace, filter, range).await.expect("events");
            let listed: Vec<i64> = listed.iter().map(|event| event.sequence.0).collect();
            assert_eq!(listed, (1..=EVENTS).filter(mine).collect::<Vec<_>>());
            if let Some(id) = type_id {
                let count = store.count(workspace, &format!("type.{id}")).await.expect("count");
                assert_eq!(count as usize, listed.len());
            }
        }
    }

    // It goes on: more events in the block that was begun, outcomes of old deliveries, deliveries that come back.
    let n = EVENTS + 1;
    store.append(support::event(n, 10)).await.expect("append");
    store.settle(support::delivered(n, 10)).await.expect("settle");
    let delivered = DeliveryFilter { targets: Some(vec![support::TARGET]), states: Some(vec![DeliveryState::Delivered]), type_name: None };
    assert_eq!(deliveries(&store, support::WORKSPACE, &delivered, Order::Desc).await, [support::key(n).0]);
    let done = all.iter().find(|row| row.2 == 3).expect("one that failed");
    assert_eq!(store.reopen(vec![DeliveryKey(done.4)], 9000).await.expect("reopen").len(), 1);
    store.retire(KEEP, LATER).await.expect("retire");
    store.close().await;
    let store = open(dir.path());
    let again = store.recover().await.expect("recover");
    let pending = |lanes: &[posthaste_store::LaneSummary]| lanes.iter().map(|lane| lane.queued + lane.scheduled).sum::<u64>();
    assert_eq!(pending(&again.lanes), pending(&recovered.lanes) + 1);
    store.close().await;
    assert_eq!(integrity(&look(&segment(dir.path(), 1))), "ok");
}
