//! Transactions that reach the database after their node has given the connection up: once the node has found out what became of them, they come to
//! nothing.

use posthaste_domain::delivery::{Attempt, DeliveryState};
use posthaste_domain::id::Sequence;
use posthaste_store::postgres::PostgresOptions;
use posthaste_store::{Cluster, History, Joined, Journal, RetentionRule, Settlement, StoreError};

use super::joining::{self, due, ids, members, opened, part};
use super::lost::{NEVER, Pair, adopt, again, arrived, owned, settle};
use super::server::{Server, options};
use super::support::{append, delivered, event, key, queued};

/// Nobody knows what became of it.
#[track_caller]
fn is_lost<T: std::fmt::Debug>(answer: Result<T, StoreError>, pair: &Pair) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert!(pair.proxy.is_over());
}

#[tokio::test]
async fn events_that_were_found_missing_are_not_stored_later() {
    let pair = Pair::start().await;
    let first = pair.node.lease(2).await.expect("a lease").0;
    pair.proxy.delay_after("INSERT INTO posthaste.event");
    is_lost(pair.node.append(append(vec![event(first, 5)])).await, &pair);
    again(|| pair.node.decided()).await.expect("decided");
    assert!(queued(&pair.node, 5).await.is_empty());
    pair.proxy.arrive().await;
    assert_eq!(pair.node.event(1, Sequence(first)).await.expect("event"), None);
    pair.node.append(append(vec![event(first + 1, 5)])).await.expect("append");
    assert_eq!(queued(&pair.node, 5).await, [first + 1]);
    pair.close().await;
}

#[tokio::test]
async fn a_batch_that_was_found_missing_is_put_together_once() {
    let pair = Pair::owning().await;
    let first = pair.node.lease(2).await.expect("a lease").0;
    joining::append(&pair.node, 5, &[first, first + 1]).await;
    let found = pair.node.joining().await.expect("joining");
    let joined =
        |members: &[i64]| Joined { ids: ids(&found), opened: vec![opened(first, 5, 50)], parts: vec![part(5, first, members, None)] };
    pair.proxy.delay_after("DELETE FROM posthaste.joining");
    is_lost(pair.node.join(joined(&[first])).await, &pair);
    again(|| pair.node.decided()).await.expect("decided");
    assert!(again(|| pair.node.gathered(vec![(5, key(first))])).await.expect("gathered").is_empty());
    pair.proxy.arrive().await;
    assert_eq!(pair.node.joining().await.expect("joining").len(), 1, "it still waits");
    pair.node.join(joined(&[first, first + 1])).await.expect("join");
    assert_eq!((members(&pair.node, first).await, due(&pair.node, 5).await), (vec![first, first + 1], vec![(first, 50)]));
    pair.close().await;
}

#[tokio::test]
async fn rows_are_not_taken_later_unheard() {
    let pair = Pair::owning().await;
    let first = pair.node.lease(2).await.expect("a lease").0;
    pair.node.append(append(vec![owned(first, 6)])).await.expect("append");
    pair.proxy.delay_after("UPDATE posthaste.arrival a SET taken");
    is_lost(pair.node.arrivals().await, &pair);
    assert_eq!(again(|| pair.node.arrivals()).await.expect("arrivals"), [arrived(6, first)]);
    pair.node.append(append(vec![owned(first + 1, 6)])).await.expect("append");
    pair.proxy.arrive().await;
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [arrived(6, first + 1)]);
    pair.close().await;
}

#[tokio::test]
async fn a_part_that_came_back_is_not_given_later() {
    let pair = Pair::owning().await;
    let third = Server::shared().open(pair.dir.path(), PostgresOptions { lapse: NEVER, ..options() }).await;
    pair.proxy.delay_after("living AS MATERIALIZED");
    is_lost(pair.node.give(Vec::new(), Vec::new()).await, &pair);
    assert!(adopt(&pair.node).await.is_empty());
    assert!((0..8).all(|target| pair.node.owns(target)));
    pair.proxy.arrive().await;
    assert_eq!(pair.node.held().await.expect("held").iter().filter(|held| held.stream == 0).count(), 8);
    third.close().await;
    pair.close().await;
}

#[tokio::test]
async fn what_was_not_opened_again_is_not_later() {
    let pair = Pair::start().await;
    let first = pair.node.lease(1).await.expect("a lease").0;
    pair.node.append(append(vec![event(first, 5)])).await.expect("append");
    settle(&pair.node, delivered(first, 5)).await.expect("settle");
    pair.proxy.delay_after("state = 0, due_ms = 0");
    is_lost(pair.node.reopen(vec![key(first)], 9).await, &pair);
    assert_eq!(again(|| pair.node.arrivals()).await.expect("arrivals"), []);
    pair.proxy.arrive().await;
    let found = pair.node.delivery(1, key(first)).await.expect("a read").expect("a delivery");
    assert_eq!(found.state, DeliveryState::Delivered);
    pair.close().await;
}

/// An outcome that is stored a second time, since no answer came, does not end what was opened again meanwhile.
#[tokio::test]
async fn an_outcome_that_comes_late_is_not_that_of_the_next_attempt() {
    let pair = Pair::start().await;
    let first = pair.node.lease(1).await.expect("a lease").0;
    pair.node.append(append(vec![event(first, 5)])).await.expect("append");
    pair.proxy.delay_after("UPDATE posthaste.delivery");
    is_lost(settle(&pair.node, delivered(first, 5)).await, &pair);
    again(|| settle(&pair.node, delivered(first, 5))).await.expect("settle");
    pair.node.reopen(vec![key(first)], 9).await.expect("reopen");
    pair.proxy.arrive().await;
    assert_eq!(queued(&pair.node, 5).await, [first]);
    pair.close().await;
}

/// From where on something may be queued is not raised late, over what was opened again since.
#[tokio::test]
async fn a_start_does_not_look_too_far_up() {
    let pair = Pair::start().await;
    let first = pair.node.lease(1).await.expect("a lease").0;
    pair.node.append(append(vec![event(first, 5)])).await.expect("append");
    settle(&pair.node, delivered(first, 5)).await.expect("settle");
    pair.proxy.delay_after("UPDATE posthaste.low l SET key = n.key");
    let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    is_lost(pair.node.retire(keep, 1).await, &pair);
    again(|| pair.node.reopen(vec![key(first)], 9)).await.expect("reopen");
    pair.proxy.arrive().await;
    pair.node.close().await;
    let lanes = adopt(&pair.other).await;
    assert_eq!(lanes.iter().map(|lane| (lane.target, lane.queued)).collect::<Vec<_>>(), [(5, 1)]);
    pair.close().await;
}

/// A delivery may be cancelled and opened again while its attempt is under way: then two attempts have the same number, and both count.
#[tokio::test]
async fn two_attempts_of_one_number_are_told_apart() {
    let pair = Pair::start().await;
    let first = pair.node.lease(1).await.expect("a lease").0;
    pair.node.append(append(vec![event(first, 5)])).await.expect("append");
    let later = Settlement { state: DeliveryState::Scheduled, due_ms: 70, ..delivered(first, 5) };
    settle(&pair.node, later).await.expect("settle");
    let second = delivered(first, 5).attempt.map(|attempt| Attempt { at_ms: attempt.at_ms + 9, ..attempt });
    settle(&pair.node, Settlement { attempt: second, ..delivered(first, 5) }).await.expect("settle");
    assert!(due(&pair.node, 5).await.is_empty());
    let found = pair.node.delivery(1, key(first)).await.expect("a read").expect("a delivery");
    assert_eq!(found.state, DeliveryState::Delivered);
    pair.close().await;
}

/// What is to be let go of is let go of later, if the epoch ends at that moment.
#[tokio::test]
async fn nothing_is_forgotten_when_the_epoch_ends() {
    let pair = Pair::owning().await;
    let first = pair.node.lease(2).await.expect("a lease").0;
    pair.node.append(append(vec![owned(first, 6)])).await.expect("append");
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [arrived(6, first)]);
    settle(&pair.node, delivered(first, 6)).await.expect("settle");
    pair.node.append(append(vec![owned(first + 1, 6)])).await.expect("append");
    let admin = Server::shared().connect(&pair.database).await;
    let end = "UPDATE posthaste.stream SET epoch = epoch + 1 WHERE stream = $1";
    admin.execute(end, &[&pair.node.identity().stream]).await.expect("an update");
    pair.node.arrivals().await.expect_err("it is of the epoch before");
    again(|| pair.node.decided()).await.expect("decided");
    assert_eq!(pair.node.arrivals().await.expect("arrivals"), [arrived(6, first + 1)]);
    settle(&pair.node, delivered(first + 1, 6)).await.expect("settle");
    pair.leaves_nothing().await;
    pair.close().await;
}
