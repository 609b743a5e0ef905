//! Answers of the database that never come: what was asked for may be done or not, and the node finds out.

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::id::DeliveryKey;
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::{Arrived, Cluster, Inherited, Journal, NewDelivery, NewEvent, RetentionRule, Settlement, StoreError};

use super::proxy::Proxy;
use super::server::{Server, options};
use super::support::{append, delivered, delivered_at, event, key, queued};

/// Nobody is taken for gone.
pub const NEVER: Duration = Duration::from_secs(3_600);

/// A node that reaches its database through a proxy, another that does not, and that database.
pub struct Pair {
    pub node: Arc<PostgresStore>,
    pub proxy: Proxy,
    pub other: Arc<PostgresStore>,
    pub database: String,
    pub dir: tempfile::TempDir,
}

impl Pair {
    /// The other one begins, so what has an owner is the other's.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::shared();
        let other = server.open(dir.path(), PostgresOptions { lapse: NEVER, ..options() }).await;
        other.recover().await.expect("recover");
        let database = server.database(dir.path()).await;
        let proxy = Proxy::start(server.socket()).await;
        let node = PostgresStore::open(&proxy.url(&database), PostgresOptions { lapse: NEVER, ..options() }).await.expect("it opens");
        node.recover().await.expect("recover");
        // From here on nothing is said to the database but what the test asks for.
        node.beat(0, "{}").await.expect("a heartbeat");
        other.beat(0, "{}").await.expect("a heartbeat");
        Self { node: Arc::new(node), proxy, other, database, dir }
    }

    /// The other one is gone, so what has an owner is the node's.
    pub async fn owning() -> Self {
        let pair = Self::start().await;
        pair.other.close().await;
        adopt(&pair.node).await;
        pair
    }

    /// Rows that tell owners.
    async fn told(&self) -> i64 {
        let admin = Server::shared().connect(&self.database).await;
        admin.query_one("SELECT count(*) FROM posthaste.arrival", &[]).await.expect("a count").get(0)
    }

    /// All is settled: no row is left when the node has let go of what it took.
    pub async fn leaves_nothing(&self) {
        for _ in 0..2 {
            self.node.arrivals().await.expect("arrivals");
        }
        assert_eq!(self.told().await, 0);
    }

    /// From which sequence on something may be queued for a target in the node's own stream, as the next holder is told.
    async fn low(&self, target: i64) -> i64 {
        let admin = Server::shared().connect(&self.database).await;
        let low = "SELECT max(key) FROM posthaste.low WHERE stream = $1 AND part = $2";
        let part = (target & 7) as i16;
        let key: i64 = admin.query_one(low, &[&self.node.identity().stream, &part]).await.expect("a low").get(0);
        DeliveryKey(key).sequence().0
    }

    pub async fn close(self) {
        self.node.close().await;
        self.other.close().await;
    }
}

/// The same event with a delivery for the owner of its target.
pub fn owned(sequence: i64, target: i64) -> NewEvent {
    let mut event = event(sequence, target);
    event.deliveries = vec![NewDelivery { for_owner: true, ..event.deliveries[0].clone() }];
    event
}

pub fn arrived(target: i64, sequence: i64) -> Arrived {
    Arrived { target, count: 1, first: key(sequence), last: key(sequence) }
}

/// What a call answers once the connection is there again.
pub async fn again<T, F: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> F) -> Result<T, StoreError> {
    let answer = async {
        loop {
            match call().await {
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                answer => return answer,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("the connection comes back")
}

pub async fn settle(store: &PostgresStore, outcome: Settlement) -> Result<(), StoreError> {
    store.settle([outcome].into()).await
}

pub async fn adopt(node: &PostgresStore) -> Vec<Inherited> {
    again(|| node.adopt(100)).await.expect("adopt")
}

/// A takeover whose answer does not come was made: the next one finds what it brought, though nothing is left to take.
#[tokio::test]
async fn a_takeover_whose_answer_is_lost_is_found_again() {
    let pair = Pair::start().await;
    let first = pair.other.lease(2).await.expect("a lease").0;
    pair.other.append(append(vec![event(first, 5), owned(first + 1, 6)])).await.expect("append");
    pair.other.close().await;
    pair.proxy.lose_commit_after("UPDATE posthaste.claim");
    let lost = pair.node.adopt(100).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(pair.proxy.is_over());
    let lanes = adopt(&pair.node).await;
    assert_eq!(lanes.iter().map(|lane| (lane.target, lane.queued)).collect::<Vec<_>>(), [(5, 1), (6, 1)]);
    assert_eq!((queued(&pair.node, 5).await, queued(&pair.node, 6).await), (vec![first], vec![first + 1]));
    settle(&pair.node, delivered(first, 5)).await.expect("settle");
    settle(&pair.node, delivered(first + 1, 6)).await.expect("settle");
    pair.close().await;
}

/// What was taken over and could not be counted is not forgotten: neither what retention notes nor what the end does.
#[tokio::test]
async fn what_was_not_counted_is_found_by_the_next() {
    let pair = Pair::start().await;
    let first = pair.other.lease(1).await.expect("a lease").0;
    pair.other.append(append(vec![event(first, 5)])).await.expect("append");
    pair.other.close().await;
    pair.proxy.cut_at("GROUPING SETS");
    assert!(pair.node.adopt(100).await.is_err());
    assert!(pair.proxy.is_over());
    let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    again(|| pair.node.retire(keep, 1)).await.expect("retire");
    pair.node.close().await;
    let next = Server::shared().open(pair.dir.path(), PostgresOptions { lapse: NEVER, ..options() }).await;
    let lanes = next.recover().await.expect("recover").lanes;
    assert_eq!(lanes.iter().map(|lane| (lane.target, lane.queued)).collect::<Vec<_>>(), [(5, 1)]);
    assert_eq!(queued(&next, 5).await, [first]);
    next.close().await;
}

/// A gift whose answer does not come was made, and of the other parts none: the node finds out what it has.
#[tokio::test]
async fn a_gift_whose_answer_is_lost_is_not_kept_twice() {
    let pair = Pair::owning().await;
    let third = Server::shared().open(pair.dir.path(), PostgresOptions { lapse: NEVER, ..options() }).await;
    pair.proxy.lose_commit_after("living AS MATERIALIZED");
    let lost = pair.node.give(Vec::new(), Vec::new()).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(pair.proxy.is_over());
    assert!((0..8).all(|target| !pair.node.owns(target)), "it may be any");
    assert!(again(|| pair.node.beat(0, "{}")).await.expect("a heartbeat").has_gifts, "it does not know what it has");
    assert!(adopt(&pair.node).await.is_empty());
    assert_eq!((0..8).filter(|target| pair.node.owns(*target)).count(), 7);
    assert!(third.beat(0, "{}").await.expect("a heartbeat").has_gifts);
    third.adopt(0).await.expect("adopt");
    assert!((0..8).all(|target| pair.node.owns(target) != third.owns(target)));
    third.close().await;
    pair.close().await;
}

/// What is new for parts that were taken over is not told before what was there: also when counting that fails.
#[tokio::test]
async fn what_is_new_waits_until_a_takeover_is_counted() {
    let pair = Pair::start().await;
    let third = Server::shared().open(pair.dir.path(), PostgresOptions { lapse: NEVER, ..options() }).await;
    let first = pair.other.lease(1).await.expect("a lease").0;
    pair.other.append(append(vec![owned(first, 6)])).await.expect("append");
    pair.other.close().await;
    pair.proxy.cut_at("GROUPING SETS");
    let failed = pair.node.adopt(100).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    assert!(pair.proxy.is_over());
    let next = third.lease(1).await.expect("a lease").0;
    third.append(append(vec![owned(next, 6)])).await.expect("append");
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [], "the one before it was not told yet");
    let lanes = adopt(&pair.node).await;
    assert_eq!(lanes.iter().map(|lane| (lane.target, lane.queued, lane.lowest)).collect::<Vec<_>>(), [(6, 2, key(first))]);
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [], "told once");
    let last = third.lease(1).await.expect("a lease").0;
    third.append(append(vec![owned(last, 6)])).await.expect("append");
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [arrived(6, last)]);
    third.close().await;
    pair.close().await;
}

/// Outcomes for an owner whose answer does not come are stored and were not counted: after they were stored again nothing stays behind.
#[tokio::test]
async fn what_an_owner_settled_without_an_answer_leaves_nothing_behind() {
    let pair = Pair::owning().await;
    let first = pair.node.lease(2).await.expect("a lease").0;
    pair.node.append(append(vec![owned(first, 6), owned(first + 1, 6)])).await.expect("append");
    assert_eq!(pair.node.arrivals().await.expect("arrivals").len(), 1);
    pair.proxy.lose_commit_after("UPDATE posthaste.delivery");
    let lost = settle(&pair.node, delivered(first, 6)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(pair.proxy.is_over());
    again(|| settle(&pair.node, delivered(first, 6))).await.expect("settle");
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), []);
    assert_eq!((queued(&pair.node, 6).await, pair.told().await), (vec![first + 1], 1), "one is still to do");
    settle(&pair.node, delivered(first + 1, 6)).await.expect("settle");
    pair.leaves_nothing().await;
    pair.close().await;
}

/// A node that lost its claims before it knows how its last taking of rows ended takes nothing more: the new holder is told.
#[tokio::test]
async fn who_lost_its_claims_takes_no_rows() {
    let pair = Pair::owning().await;
    let first = pair.node.lease(1).await.expect("a lease").0;
    pair.node.append(append(vec![owned(first, 6)])).await.expect("append");
    pair.proxy.lose_commit_after("UPDATE posthaste.arrival a SET taken");
    pair.node.arrivals().await.expect_err("the answer is lost");
    let next = Server::shared().open(pair.dir.path(), PostgresOptions { lapse: Duration::ZERO, ..options() }).await;
    let recovered = next.recover().await.expect("recover");
    assert_eq!(recovered.lanes.iter().map(|lane| (lane.target, lane.queued)).collect::<Vec<_>>(), [(6, 1)]);
    let third = Server::shared().open(pair.dir.path(), PostgresOptions { lapse: NEVER, ..options() }).await;
    let second = third.lease(1).await.expect("a lease").0;
    third.append(append(vec![owned(second, 6)])).await.expect("append");
    let refused = again(|| pair.node.arrivals()).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    assert_eq!(next.arrivals().await.expect("arrivals"), [arrived(6, second)]);
    next.close().await;
    third.close().await;
    pair.close().await;
}

/// However many rows there are, all are taken over.
#[tokio::test]
async fn a_takeover_reads_rows_in_pages() {
    let pair = Pair::start().await;
    let first = pair.other.lease(2).await.expect("a lease").0;
    pair.other.append(append(vec![owned(first, 6), owned(first + 1, 14)])).await.expect("append");
    let admin = Server::shared().connect(&pair.database).await;
    let many = "INSERT INTO posthaste.arrival(part, target, first, last, pending, queued)
                SELECT part, target, first, last, 0, 0 FROM posthaste.arrival, generate_series(1, 10005)";
    admin.execute(many, &[]).await.expect("rows");
    pair.other.close().await;
    let lanes = adopt(&pair.node).await;
    assert_eq!(lanes.iter().map(|lane| (lane.target, lane.queued)).collect::<Vec<_>>(), [(6, 1), (14, 1)]);
    let left: i64 = admin.query_one("SELECT count(*) FROM posthaste.arrival WHERE NOT taken", &[]).await.expect("a count").get(0);
    assert_eq!(left, 0);
    settle(&pair.node, delivered(first, 6)).await.expect("settle");
    settle(&pair.node, delivered(first + 1, 14)).await.expect("settle");
    pair.leaves_nothing().await;
    pair.close().await;
}

/// A taking of rows whose answer does not come took them: they are told by the next one.
#[tokio::test]
async fn rows_taken_without_an_answer_are_told() {
    let pair = Pair::owning().await;
    let first = pair.node.lease(1).await.expect("a lease").0;
    pair.node.append(append(vec![owned(first, 6)])).await.expect("append");
    pair.proxy.lose_commit_after("UPDATE posthaste.arrival a SET taken");
    let lost = pair.node.arrivals().await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(pair.proxy.is_over());
    let told = again(|| pair.node.arrivals()).await.expect("arrivals");
    assert_eq!(told, [arrived(6, first)]);
    settle(&pair.node, delivered(first, 6)).await.expect("settle");
    pair.leaves_nothing().await;
    pair.close().await;
}

/// An owner has something to do when what it took is settled; and a ring that is lost comes with the next heartbeat.
#[tokio::test]
async fn a_heartbeat_rings_for_what_waits() {
    let pair = Pair::owning().await;
    let first = pair.node.lease(2).await.expect("a lease").0;
    pair.node.append(append(vec![owned(first, 6)])).await.expect("append");
    assert!(!pair.node.is_unsettled());
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [arrived(6, first)]);
    assert!(!pair.node.is_unsettled());
    settle(&pair.node, delivered(first, 6)).await.expect("settle");
    assert!(pair.node.is_unsettled());
    pair.leaves_nothing().await;
    assert!(!pair.node.is_unsettled());

    pair.node.append(append(vec![owned(first + 1, 6)])).await.expect("append");
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [arrived(6, first + 1)]);
    // As if it had come since, and nobody had rung.
    let admin = Server::shared().connect(&pair.database).await;
    admin.execute("UPDATE posthaste.arrival SET taken = false", &[]).await.expect("an update");
    let mut bell = pair.node.bells().arrivals;
    bell.mark_unchanged();
    pair.node.beat(0, "{}").await.expect("a heartbeat");
    assert!(bell.has_changed().expect("it rings in this process"));
    pair.close().await;
}

/// What was opened again without an answer is told to its lane as soon as that is known; what was not is counted no more.
#[tokio::test]
async fn what_is_opened_again_without_an_answer_is_told() {
    let pair = Pair::start().await;
    let first = pair.node.lease(2).await.expect("a lease").0;
    pair.node.append(append(vec![event(first, 5), event(first + 1, 13)])).await.expect("append");
    settle(&pair.node, delivered(first, 5)).await.expect("settle");
    settle(&pair.node, delivered(first + 1, 13)).await.expect("settle");
    pair.proxy.lose_commit_after("state = 0, due_ms = 0");
    let lost = pair.node.reopen(vec![key(first)], 9).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(pair.proxy.is_over());
    assert_eq!(again(|| pair.node.arrivals()).await.expect("arrivals"), [arrived(5, first)]);
    assert_eq!(queued(&pair.node, 5).await, [first]);
    again(|| settle(&pair.node, delivered_at(2, first, 5))).await.expect("settle");
    // This time the database hears nothing of it.
    pair.proxy.cut_commit_after("state = 0, due_ms = 0");
    let lost = pair.node.reopen(vec![key(first + 1)], 9).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(pair.proxy.is_over());
    assert_eq!(again(|| pair.node.arrivals()).await.expect("arrivals"), []);
    pair.node.arrivals().await.expect("arrivals");
    again(|| pair.node.decided()).await.expect("the writer's connection is there");
    pair.node.close().await;
    assert_eq!(pair.low(5).await, first + 2, "nothing is queued any more, and nothing is counted");
    pair.close().await;
}

/// Outcomes of a node's own stream whose answer did not come: nobody has to look for them again later.
#[tokio::test]
async fn what_is_settled_without_an_answer_is_not_looked_for() {
    let pair = Pair::start().await;
    let first = pair.node.lease(1).await.expect("a lease").0;
    pair.node.append(append(vec![event(first, 5)])).await.expect("append");
    pair.proxy.lose_commit_after("UPDATE posthaste.delivery");
    settle(&pair.node, delivered(first, 5)).await.expect_err("the answer is lost");
    assert!(pair.proxy.is_over());
    again(|| settle(&pair.node, delivered(first, 5))).await.expect("settle");
    pair.node.arrivals().await.expect("arrivals");
    pair.node.close().await;
    assert_eq!(pair.low(5).await, first + 1);
    pair.close().await;
}

/// Whether an append without an answer is stored is known once its transaction has ended, and not before.
#[tokio::test]
async fn an_append_without_an_answer_is_decided() {
    let pair = Pair::start().await;
    let first = pair.node.lease(4).await.expect("a lease").0;
    pair.proxy.lose_commit_after("INSERT INTO posthaste.event");
    pair.node.append(append(vec![event(first, 5)])).await.expect_err("the answer is lost");
    assert!(pair.proxy.is_over());
    // As its transaction would, if it were still under way.
    let mut admin = Server::shared().connect(&pair.database).await;
    let under_way = admin.transaction().await.expect("a transaction");
    let lock = "SELECT 1 FROM posthaste.stream WHERE stream = $1 FOR SHARE";
    under_way.execute(lock, &[&pair.node.identity().stream]).await.expect("a lock");
    // The connection has to come back first.
    again(|| pair.node.append(append(vec![event(first + 1, 6)]))).await.expect("append");
    let undecided = pair.node.decided().await;
    assert!(matches!(undecided, Err(StoreError::Unavailable(_))), "{undecided:?}");
    under_way.commit().await.expect("it ends");
    again(|| pair.node.decided()).await.expect("decided");
    assert_eq!(queued(&pair.node, 5).await, [first]);
    settle(&pair.node, delivered(first, 5)).await.expect("settle");
    // One of which the database heard nothing.
    pair.proxy.cut_at("COMMIT\0");
    pair.node.append(append(vec![event(first + 2, 5)])).await.expect_err("it is cut");
    again(|| pair.node.decided()).await.expect("decided");
    pair.node.arrivals().await.expect("arrivals");
    assert!(queued(&pair.node, 5).await.is_empty());
    pair.node.append(append(vec![event(first + 3, 5)])).await.expect("append");
    settle(&pair.node, delivered(first + 3, 5)).await.expect("settle");
    pair.node.close().await;
    assert_eq!(pair.low(5).await, first + 4, "nothing is looked for any more");
    pair.close().await;
}

/// After the database was away everybody has the time to be heard: who has just come takes nobody for gone.
#[tokio::test]
async fn only_who_is_heard_for_long_says_that_others_are_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let lapse = Duration::from_secs(2);
    let silent = Server::shared().open(dir.path(), PostgresOptions { lapse, ..options() }).await;
    silent.recover().await.expect("recover");
    silent.beat(0, "{}").await.expect("a heartbeat");
    tokio::time::sleep(lapse + Duration::from_millis(200)).await;
    let next = Server::shared().open(dir.path(), PostgresOptions { lapse, ..options() }).await;
    next.recover().await.expect("recover");
    assert_eq!(next.held().await.expect("held").len(), 8, "its own");
    assert!(next.beat(0, "{}").await.expect("a heartbeat").orphans > 0);
    assert!(next.adopt(100).await.expect("adopt").is_empty());
    silent.beat(0, "{}").await.expect("it was not gone");
    tokio::time::sleep(lapse + Duration::from_millis(200)).await;
    next.beat(0, "{}").await.expect("a heartbeat");
    next.adopt(100).await.expect("adopt");
    assert!(matches!(silent.beat(0, "{}").await, Err(StoreError::Fenced)));
    next.close().await;
    silent.close().await;
}
