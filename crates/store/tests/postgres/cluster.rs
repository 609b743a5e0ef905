//! Several nodes on one database, and a database that goes away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::people::Session;
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::{
    Arrived, BinRequest, BinRoom, Bins, CallKind, Catalog, CatalogError, Change, Cluster, History, Journal, NewDelivery, RetentionRule,
    Settlement, StoreError, Suppression, SuppressionReason, Suppressions, VisitRule, WhenFull,
};
use tokio::time::timeout;

use super::server::{Server, options};
use super::support::{ALL, append, delivered, delivered_at, event, key, queued};

/// A node that takes others for gone at once, or practically never.
fn lapse(lapse: Duration) -> PostgresOptions {
    PostgresOptions { lapse, ..options() }
}

const NEVER: Duration = Duration::from_secs(3_600);

fn request() -> BinRequest {
    let text = |text: &str| text.to_owned();
    BinRequest { number: 0, at_ms: 1, method: text("GET"), target: text("/"), headers: Vec::new(), body: Bytes::new(), ip: None }
}

fn session(id: &str) -> Session {
    let text = |text: &str| text.to_owned();
    Session { id: text(id), token_hash: text(id), member: text("m"), user_agent: text("a"), ip: text("i"), created_ms: 1, seen_ms: 1 }
}

fn suppression() -> Suppression {
    Suppression { scope: String::new(), address: "a@b.example".to_owned(), reason: SuppressionReason::Bounce, at_ms: 1 }
}

async fn settle(store: &PostgresStore, outcome: Settlement) -> Result<(), StoreError> {
    store.settle([outcome].into()).await
}

/// What a stalled node wakes up with is refused once another took over, and the other finds all of it.
#[tokio::test]
async fn who_lost_its_claims_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let stalled = Server::shared().open(dir.path(), lapse(NEVER)).await;
    stalled.append(append(vec![event(1, 5), event(2, 6), event(3, 5)])).await.expect("append");
    let later = Settlement { state: DeliveryState::Scheduled, due_ms: 9, attempt: None, ..delivered(3, 5) };
    settle(&stalled, later).await.expect("settle");
    let other = Server::shared().open(dir.path(), lapse(Duration::ZERO)).await;
    assert!(queued(&other, 5).await.is_empty(), "what another holds is not read");
    assert!(matches!(settle(&other, delivered(1, 5)).await, Err(StoreError::Fenced)));

    let recovered = other.recover().await.expect("recover");
    assert_eq!((recovered.last_sequence, recovered.lanes.len()), (3, 2));
    assert_eq!((recovered.lanes[0].queued, recovered.lanes[0].scheduled), (1, 1));
    assert_eq!((queued(&other, 5).await, queued(&other, 6).await), (vec![1], vec![2]));
    assert_eq!(other.due(5, (0, DeliveryKey(0)), 10, ALL).await.expect("due").len(), 1);

    assert!(matches!(stalled.append(append(vec![event(4, 5)])).await, Err(StoreError::Fenced)));
    assert!(matches!(settle(&stalled, delivered(1, 5)).await, Err(StoreError::Fenced)));
    assert!(matches!(stalled.beat(0, "{}").await, Err(StoreError::Fenced)));
    let changed = stalled.pen(0).await.expect("a pen").write(Vec::new(), Vec::new()).await;
    assert!(matches!(changed, Err(CatalogError::Store(StoreError::Fenced))));
    assert!(matches!(stalled.reopen(vec![key(1)], 5).await, Err(StoreError::Fenced)));
    let late: [Result<(), StoreError>; 6] = [
        stalled.put_session(session("s1")).await,
        stalled.end_sessions(vec!["s1".into()], Vec::new()).await,
        stalled.put(1, request(), BinRoom { requests: 9, bytes: 1 << 20, when_full: WhenFull::DropOldest }).await.map(drop),
        stalled.clear(1).await,
        stalled.suppress(1, suppression()).await,
        stalled.unsuppress(1, "", "a@b.example").await.map(drop),
    ];
    for (place, late) in late.into_iter().enumerate() {
        assert!(matches!(late, Err(StoreError::Fenced)), "{place}: {late:?}");
    }
    assert!(matches!(stalled.call(CallKind::Reopen, vec![key(1)], 5, 5).await, Err(StoreError::Fenced)));
    assert!(stalled.held().await.expect("held").is_empty());
    assert_eq!(other.attempts(key(1)).await.expect("attempts"), []);
    assert_eq!(other.event(1, Sequence(4)).await.expect("event"), None);
    let held = other.held().await.expect("held");
    assert_eq!(
        (held.len(), held.iter().filter(|held| held.fence == 2).count()),
        (24, 16),
        "its own, those of the stalled one, and those of owners"
    );

    settle(&other, delivered(1, 5)).await.expect("settle");
    settle(&other, delivered(3, 5)).await.expect("settle");
    other.append(append(vec![event(4, 5)])).await.expect("append");
    assert_eq!(queued(&other, 5).await, [4]);
    assert!(other.due(5, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due").is_empty());
    other.close().await;
}

/// Outcomes of a group that are still its own are stored; only what was lost is told to be.
#[tokio::test]
async fn a_group_keeps_what_is_still_held() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = Server::shared().open(dir.path(), lapse(NEVER)).await;
    one.append(append(vec![event(1, 5), event(2, 6)])).await.expect("append");
    let database = Server::shared().database(dir.path()).await;
    let admin = Server::shared().connect(&database).await;
    // As a takeover of one part would.
    admin.execute("UPDATE posthaste.claim SET holder = 0, fence = fence + 1 WHERE part = 5", &[]).await.expect("update");
    let (lost, kept) = tokio::join!(settle(&one, delivered(1, 5)), settle(&one, delivered(2, 6)));
    assert!(matches!(lost, Err(StoreError::Fenced)), "{lost:?}");
    assert!(kept.is_ok(), "{kept:?}");
    assert_eq!(one.attempts(key(1)).await.expect("attempts"), []);
    assert_eq!(one.attempts(key(2)).await.expect("attempts").len(), 1);
    one.close().await;
}

/// Nobody takes what is held by a node that lives; those that share what a dead one left get different parts.
#[tokio::test]
async fn takeovers_are_shared() {
    let dir = tempfile::tempdir().expect("a directory");
    let nodes: Vec<Arc<PostgresStore>> = vec![
        Server::shared().open(dir.path(), lapse(NEVER)).await,
        Server::shared().open(dir.path(), lapse(NEVER)).await,
        Server::shared().open(dir.path(), lapse(NEVER)).await,
    ];
    let first = nodes[0].lease(16).await.expect("a lease");
    nodes[0].append(append((0..16).map(|n| event(first.0 + n, n)).collect())).await.expect("append");
    assert!(nodes[1].adopt(100).await.expect("adopt").is_empty(), "what nobody had is all there is");
    nodes[0].close().await;
    let few = nodes[1].adopt(3).await.expect("adopt");
    let rest = nodes[2].adopt(100).await.expect("adopt");
    assert_eq!((few.len(), rest.len()), (6, 10));
    for (node, lane) in few.iter().map(|lane| (&nodes[1], lane)).chain(rest.iter().map(|lane| (&nodes[2], lane))) {
        assert_eq!((lane.queued, lane.lowest), (1, key(first.0 + lane.target)));
        assert_eq!(queued(node, lane.target).await, [first.0 + lane.target]);
    }
    nodes[1].close().await;
    nodes[2].close().await;
}

/// Blocks of sequences do not overlap, and a node that does not know of a new bucket finds it when it needs it.
#[tokio::test]
async fn a_bucket_begins_on_one_node_and_is_met_on_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let two = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let (a, b) = (one.lease(10).await.expect("a lease"), two.lease(10).await.expect("a lease"));
    assert_eq!((a.0, b.0), (1, 11));
    one.append(append(vec![event(a.0, 5)])).await.expect("append");
    two.append(append(vec![event(b.0, 5)])).await.expect("append");
    let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    one.retire(keep, i64::MAX / 2).await.expect("retire");
    assert_eq!(one.size().await.expect("size").buckets, 2);
    // Leased before, it still belongs to the first bucket; leased after, to the second, of which the other node was not told. One that is
    // not leased at all, as a node alone counts on, meets the constraint.
    two.append(append(vec![event(b.0 + 1, 5)])).await.expect("append");
    two.append(append(vec![event(25, 5)])).await.expect("append");
    let c = two.lease(10).await.expect("a lease");
    assert_eq!(c.0, 21);
    two.append(append(vec![event(c.0, 5)])).await.expect("append");
    one.beat(0, "{}").await.expect("a heartbeat");
    for n in [1, 11, 12, 21, 25] {
        assert!(one.event(1, Sequence(n)).await.expect("event").is_some(), "event {n}");
    }
    let database = Server::shared().database(dir.path()).await;
    let admin = Server::shared().connect(&database).await;
    let counts = "SELECT (SELECT count(*) FROM posthaste.event_1), (SELECT count(*) FROM posthaste.event_2)";
    let row = admin.query_one(counts, &[]).await.expect("counts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 2));
    assert_eq!(queued(&two, 5).await, [11, 12, 21, 25]);
    one.close().await;
    two.close().await;
}

/// A newer release's database is refused, a foreign master key too; several nodes may bring a schema up at once.
#[tokio::test]
async fn opening_is_safe() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::shared();
    let database = server.database(dir.path()).await;
    let url = server.url(&database);
    let open = || PostgresStore::open(&url, options());
    let (a, b, c) = tokio::join!(open(), open(), open());
    for store in [a, b, c] {
        store.expect("the store opens").close().await;
    }
    let admin = server.connect(&database).await;
    let row =
        admin.query_one("SELECT count(*), (SELECT count(*) FROM posthaste.migration) FROM posthaste.bucket", &[]).await.expect("counts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2, 3), "one bucket and one made ahead, and each migration once");
    admin.execute("INSERT INTO posthaste.migration(number, oldest) VALUES (900, 7)", &[]).await.expect("insert");
    assert!(matches!(open().await, Err(StoreError::TooNew { found: 7, known: 3 })));
}

/// While the database is away, calls fail at once; when it comes back, so does everything.
#[tokio::test]
async fn a_database_that_goes_away_comes_back() {
    let server = Server::start();
    let dir = tempfile::tempdir().expect("a directory");
    let store = server.open(dir.path(), lapse(NEVER)).await;
    store.append(append(vec![event(1, 5)])).await.expect("append");
    server.stop();
    let patience = Duration::from_secs(2);
    for n in 2..5 {
        let refused = tokio::time::timeout(patience, store.append(append(vec![event(n, 5)]))).await.expect("an answer at once");
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(matches!(store.queued(5, DeliveryKey(0), ALL).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(PostgresStore::open(&server.url("postgres"), options()).await.err(), Some(StoreError::Unavailable(_))));
    server.resume();
    let back = async {
        while let Err(error) = store.append(append(vec![event(5, 5)])).await {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it comes back");
    settle(&store, delivered(1, 5)).await.expect("settle");
    let back = async {
        while store.queued(5, DeliveryKey(0), ALL).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it comes back");
    assert_eq!(queued(&store, 5).await, [5]);
    store.close().await;
}

/// What any node accepts for a target with an owner, the owner alone hears of, reads and settles, and after it the next one.
#[tokio::test]
async fn owners_are_told_and_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = Server::shared().open(dir.path(), lapse(NEVER)).await;
    // Alone, it is the owner of all.
    one.recover().await.expect("recover");
    let two = Server::shared().open(dir.path(), lapse(NEVER)).await;
    two.recover().await.expect("recover");
    assert_eq!(one.beat(0, "{}").await.expect("a heartbeat").nodes, 2);
    let mut bell = one.bells().arrivals;
    bell.mark_unchanged();
    let owned = |sequence: i64, due_ms: Option<i64>| {
        let mut event = event(sequence, 5);
        event.deliveries = vec![NewDelivery { for_owner: true, due_ms, ..event.deliveries[0].clone() }];
        event
    };
    let (a, b) = (one.lease(3).await.expect("a lease").0, two.lease(3).await.expect("a lease").0);
    one.append(append(vec![owned(a, None), owned(a + 1, Some(7))])).await.expect("append");
    two.append(append(vec![owned(b, None)])).await.expect("append");
    tokio::time::timeout(Duration::from_secs(10), bell.changed()).await.expect("it rings").expect("it is there");
    assert!(two.arrivals().await.expect("arrivals").is_empty(), "the second owns nothing");
    let told = |target, count, first, last| Arrived { target, count, first: key(first), last: key(last) };
    assert_eq!(one.arrivals().await.expect("arrivals"), [told(5, 2, a, a + 1), told(5, 1, b, b)]);
    assert!(one.arrivals().await.expect("arrivals").is_empty(), "each is told once");
    assert_eq!((queued(&one, 5).await, queued(&two, 5).await), (vec![a, b], vec![]));
    assert_eq!(one.due(5, (0, DeliveryKey(0)), 10, ALL).await.expect("due").len(), 1);
    assert!(matches!(settle(&two, delivered(b, 5)).await, Err(StoreError::Fenced)));
    settle(&one, delivered(a, 5)).await.expect("settle");
    assert_eq!(queued(&one, 5).await, [b]);
    one.arrivals().await.expect("arrivals");

    one.close().await;
    let left = two.adopt(100).await.expect("adopt");
    assert_eq!(left.iter().map(|lane| (lane.queued, lane.scheduled, lane.lowest)).collect::<Vec<_>>(), [(1, 1, key(b))]);
    assert_eq!(queued(&two, 5).await, [b]);
    settle(&two, delivered(b, 5)).await.expect("settle");
    assert_eq!(two.reopen(vec![key(a)], 9).await.expect("reopen").len(), 1);
    settle(&two, delivered(a + 1, 5)).await.expect("settle");
    two.arrivals().await.expect("arrivals");
    assert_eq!(queued(&two, 5).await, [a], "what was opened again is found again");
    settle(&two, delivered_at(2, a, 5)).await.expect("settle");
    two.arrivals().await.expect("arrivals");
    two.arrivals().await.expect("arrivals");
    let admin = Server::shared().connect(&Server::shared().database(dir.path()).await).await;
    let left: i64 = admin.query_one("SELECT count(*) FROM posthaste.arrival", &[]).await.expect("a count").get(0);
    assert_eq!(left, 0, "what is settled leaves nothing behind");
    two.close().await;
}

/// A change of the catalog is made upon all changes before it, and is known to all before it is said to be made.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "they end with the test")]
async fn the_catalog_is_changed_by_one_and_known_to_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let two = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let create = |id: &str| Change::Create {
        id: id.into(),
        kind: posthaste_domain::resource::Kind::Workspace,
        workspace: None,
        doc: serde_json::json!({"name": id}),
        secrets: Vec::new(),
        at_ms: 1,
    };
    let version = one.news(-1).await.expect("news").version;
    one.seen(version).await.expect("seen");
    let first = two.pen(version).await.expect("the pen");
    let waits = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.pen(version).await.map(|mut pen| (pen.news(), pen)) }
    });
    tokio::task::yield_now().await;
    let (written, records) = first.write(vec![create("wsp_a")], Vec::new()).await.expect("written");
    assert_eq!((written, records.len()), (version + 1, 1));
    let (news, pen) = waits.await.expect("it ends").expect("the pen");
    assert_eq!((news.version, news.records.len()), (written, 1), "the second writer knows of the first");
    pen.put_back().await;
    let confirmed = tokio::spawn({
        let two = Arc::clone(&two);
        async move { two.confirmed().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!confirmed.is_finished(), "the first does not work with it yet");
    one.seen(written).await.expect("seen");
    tokio::time::timeout(Duration::from_secs(10), confirmed).await.expect("in time").expect("it ends").expect("confirmed");
    let session = posthaste_domain::people::Session {
        id: "ses_1".into(),
        token_hash: "hash".into(),
        member: "mem_1".into(),
        user_agent: String::new(),
        ip: String::new(),
        created_ms: 1,
        seen_ms: 1,
    };
    two.put_session(session).await.expect("a session");
    let news = one.news(written).await.expect("news");
    assert_eq!((news.version, news.records.len(), news.sessions), (written + 1, 0, true));
    assert_eq!(one.sessions().await.expect("sessions").len(), 1);
    one.close().await;
    two.close().await;
}

/// A visitor is counted by all nodes together.
#[tokio::test]
async fn visitors_are_counted_over_all_nodes() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let two = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let rule = VisitRule { limit: 3, per_ms: 60_000, block_ms: 30_000 };
    let mut waits = Vec::new();
    for node in [&one, &two, &one, &two, &one] {
        waits.push(node.visit(7, "192.0.2.1", rule).await.expect("counted"));
    }
    assert_eq!(waits[..3], [0, 0, 0]);
    assert!(waits[3..].iter().all(|wait| (29_000..=30_000).contains(wait)), "{waits:?}");
    assert_eq!(two.visit(7, "192.0.2.2", rule).await.expect("counted"), 0, "somebody else");
    assert_eq!(two.visit(8, "192.0.2.1", rule).await.expect("counted"), 0, "another key");
    // Over at once, and then from the beginning.
    let short = VisitRule { limit: 1, per_ms: 1, block_ms: 1 };
    for _ in 0..3 {
        one.visit(9, "192.0.2.1", short).await.expect("counted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(one.visit(9, "192.0.2.1", short).await.expect("counted"), 0);
    one.close().await;
    two.close().await;
}

/// Whoever hangs up in the middle of something takes no connection along: what others ask for is done at once.
#[tokio::test]
async fn who_hangs_up_takes_nothing_along() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let admin = Server::shared().connect(&Server::shared().database(dir.path()).await).await;
    let room = BinRoom { requests: 5, bytes: 1 << 20, when_full: WhenFull::DropOldest };
    admin.batch_execute("BEGIN; LOCK TABLE posthaste.bin, posthaste.session").await.expect("locked");
    let soon = Duration::from_millis(200);
    let (put, listed) = tokio::join!(timeout(soon, store.put(1, request(), room)), timeout(soon, store.sessions()));
    assert!(put.is_err() && listed.is_err(), "both wait for the lock");
    admin.batch_execute("COMMIT").await.expect("unlocked");
    assert_eq!(store.put(1, request(), room).await.expect("kept"), Some(2), "the first one was kept as well");
    assert!(store.sessions().await.expect("sessions").is_empty());
    store.close().await;
}

/// What one node holds, others can have it do.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "they end with the test")]
async fn nodes_do_for_each_other_what_they_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let two = Server::shared().open(dir.path(), lapse(NEVER)).await;
    let first = one.lease(2).await.expect("a lease").0;
    one.append(append(vec![event(first, 5), event(first + 1, 6)])).await.expect("append");
    settle(&one, delivered(first, 5)).await.expect("settle");
    let mut bell = one.bells().news;
    bell.mark_unchanged();
    let answers = tokio::spawn({
        let one = Arc::clone(&one);
        async move {
            bell.changed().await.expect("it rings");
            while !one.beat(0, "{}").await.expect("a heartbeat").has_calls {
                bell.changed().await.expect("it rings");
            }
            let calls = one.calls().await.expect("calls");
            assert!(one.calls().await.expect("calls").is_empty(), "each is answered once");
            for call in &calls {
                assert_eq!(call.kind, CallKind::Reopen);
                let done = one.reopen(call.keys.clone(), call.at_ms).await.expect("reopen");
                one.answer(call.id, done.iter().map(|pending| pending.delivery.key).collect()).await.expect("an answer");
            }
            calls.len()
        }
    });
    assert!(two.reopen(vec![key(first)], 5).await.expect("reopen").is_empty());
    let done = two.call(CallKind::Reopen, vec![key(first), key(first + 1)], 0, 5).await.expect("a call");
    assert_eq!((done, answers.await.expect("it ends")), (vec![key(first)], 1));
    let known = two.nodes().await.expect("nodes");
    assert_eq!(
        known.iter().map(|node| (node.is_own, node.is_gone, node.claims)).collect::<Vec<_>>(),
        [(false, false, [8, 0, 0]), (true, false, [8, 0, 0])]
    );
    one.close().await;
    assert!(two.call(CallKind::Cancel, vec![key(first)], 5, 5).await.expect("a call").is_empty(), "nobody holds it");
    two.close().await;
}
