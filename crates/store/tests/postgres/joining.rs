//! Batches of targets with an owner: what any node accepts for them, one node puts together.

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::delivery::{DeliveryState, PendingDelivery};
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::policy::Batch;
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::{
    Append, BatchPart, Cluster, History, Join, Joined, Joiner, Joining, Journal, NewDelivery, NewEvent, Opened, RetentionRule, Settlement,
    StoreError,
};

use super::server::{Server, options};
use super::support::{ALL, delivered, delivered_at, event, key};

const LIMITS: Batch = Batch { events: 3, bytes: 1 << 40, wait: Duration::from_millis(1_234) };

/// The first owns everything; nobody is taken for gone.
async fn pair() -> (Arc<PostgresStore>, Arc<PostgresStore>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let of_all = || PostgresOptions { lapse: Duration::from_secs(3_600), ..options() };
    let owner = Server::shared().open(dir.path(), of_all()).await;
    owner.recover().await.expect("recover");
    let other = Server::shared().open(dir.path(), of_all()).await;
    other.recover().await.expect("recover");
    (owner, other, dir)
}

/// An event that may open a batch.
fn joins(sequence: i64, target: i64) -> NewEvent {
    let mut event = event(sequence, target);
    event.deliveries = vec![NewDelivery { is_batch: true, for_owner: true, ..event.deliveries[0].clone() }];
    event
}

fn join(target: i64, sequences: &[i64]) -> Join {
    let joiner = |n: &i64| Joiner { sequence: Sequence(*n), ordinal: 0, bytes: 7 };
    let members = sequences.iter().map(joiner).collect();
    Join { workspace: 1, subscription: 6, target, limits: LIMITS, is_ordered: true, at_ms: 1_000 + sequences[0], members }
}

/// Events of one commit for the batches of one target.
pub async fn append(store: &PostgresStore, target: i64, sequences: &[i64]) {
    let events = sequences.iter().map(|n| joins(*n, target)).collect();
    store.append(Append { events, joins: vec![join(target, sequences)], ..Append::default() }).await.expect("append");
}

pub fn opened(n: i64, target: i64, due_ms: i64) -> Opened {
    Opened { key: key(n), workspace: 1, subscription: 6, target, due_ms, received_ms: 1_000 + n }
}

pub fn part(target: i64, batch: i64, members: &[i64], closed_due_ms: Option<i64>) -> (i64, BatchPart) {
    (target, BatchPart { batch: key(batch), members: members.iter().copied().map(Sequence).collect(), closed_due_ms })
}

/// Puts all that waits, these events, into a batch of target 5 that the first opens.
async fn open_batch(owner: &PostgresStore, sequences: &[i64]) {
    let found = owner.joining().await.expect("joining");
    let first = sequences[0];
    let joined = Joined { ids: ids(&found), opened: vec![opened(first, 5, 50)], parts: vec![part(5, first, sequences, None)] };
    owner.join(joined).await.expect("join");
}

pub async fn members(store: &PostgresStore, batch: i64) -> Vec<i64> {
    let members = store.members(key(batch), Sequence(0), ALL).await.expect("members");
    members.iter().map(|event| event.sequence.0).collect()
}

/// What is scheduled: its event and its time.
pub async fn due(store: &PostgresStore, target: i64) -> Vec<(i64, i64)> {
    let found = store.due(target, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due");
    found.iter().map(|pending| (pending.delivery.key.sequence().0, pending.delivery.due_ms)).collect()
}

pub fn ids(found: &[Joining]) -> Vec<i64> {
    found.iter().map(|one| one.id).collect()
}

/// The owner, and nobody else, finds what all nodes accepted, in the order in which it was stored, and takes it once.
#[tokio::test]
async fn the_owner_puts_together_what_all_accept() {
    let (owner, other, _dir) = pair().await;
    let first = owner.lease(10).await.expect("a lease").0;
    let mut bell = owner.bells().arrivals;
    bell.mark_unchanged();
    append(&other, 5, &[first, first + 1]).await;
    tokio::time::timeout(Duration::from_secs(10), bell.changed()).await.expect("it rings").expect("it is there");
    append(&owner, 5, &[first + 2]).await;
    assert!(other.joining().await.expect("joining").is_empty());
    let found = owner.joining().await.expect("joining");
    let expected = [join(5, &[first, first + 1]), join(5, &[first + 2])];
    assert_eq!(found.iter().map(|one| one.join.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(owner.deliveries_of(1, Sequence(first)).await.expect("deliveries"), [], "nothing was opened yet");

    let work = Joined {
        ids: ids(&found)[..1].to_vec(),
        opened: vec![opened(first, 5, 50)],
        parts: vec![part(5, first, &[first, first + 1], None)],
    };
    assert!(matches!(other.join(work.clone()).await, Err(StoreError::Fenced)), "it is not the owner");
    owner.join(work.clone()).await.expect("join");
    assert!(matches!(owner.join(work).await, Err(StoreError::Fenced)), "it was taken");
    assert_eq!((due(&owner, 5).await, due(&other, 5).await), (vec![(first, 50)], vec![]));

    // The batch gains another one, which fills it.
    let work = Joined { ids: ids(&found)[1..].to_vec(), opened: Vec::new(), parts: vec![part(5, first, &[first + 2], Some(20))] };
    owner.join(work).await.expect("join");
    assert!(owner.joining().await.expect("joining").is_empty());
    assert_eq!(due(&owner, 5).await, [(first, 20)]);
    assert_eq!(members(&owner, first).await, [first, first + 1, first + 2]);
    let batches: Vec<PendingDelivery> = owner.gathered(vec![(5, key(first)), (5, key(first + 1))]).await.expect("gathered");
    assert_eq!(
        batches.iter().map(|one| (one.delivery.key, one.delivery.due_ms, one.event.sequence.0)).collect::<Vec<_>>(),
        [(key(first), 20, first)]
    );

    // Each of its events shows it, whichever node is asked.
    for n in first..first + 3 {
        let shown = other.deliveries_of(1, Sequence(n)).await.expect("deliveries");
        assert_eq!(shown.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), [key(first)], "of {n}");
    }
    assert!(matches!(other.settle([delivered(first, 5)].into()).await, Err(StoreError::Fenced)));
    owner.settle([delivered(first, 5)].into()).await.expect("settle");
    assert!(due(&owner, 5).await.is_empty() && owner.gathered(vec![(5, key(first))]).await.expect("gathered").is_empty());
    owner.close().await;
    other.close().await;
}

/// A batch that is full within the commit that opens it is due at once; members far from each other, and of one commit with those of another
/// batch, are found from their events.
#[tokio::test]
async fn members_are_found_however_far_they_lie() {
    let (owner, other, _dir) = pair().await;
    let first = owner.lease(30_000).await.expect("a lease").0;
    let far = [first, first + 4_095, first + 4_096, first + 20_000];
    append(&other, 5, &far).await;
    append(&owner, 13, &[first + 1, first + 20_001]).await;
    let found = owner.joining().await.expect("joining");
    let joined = Joined {
        ids: ids(&found),
        opened: vec![opened(first, 5, 50), opened(first + 1, 13, 60)],
        parts: vec![part(5, first, &far, Some(7)), part(13, first + 1, &[first + 1, first + 20_001], None)],
    };
    owner.join(joined).await.expect("join");
    assert_eq!((due(&owner, 5).await, due(&owner, 13).await), (vec![(first, 7)], vec![(first + 1, 60)]));
    assert_eq!(members(&owner, first).await, far);
    for (n, batch) in far.into_iter().map(|n| (n, first)).chain([(first + 1, first + 1), (first + 20_001, first + 1)]) {
        let shown = owner.deliveries_of(1, Sequence(n)).await.expect("deliveries");
        assert_eq!(shown.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), [key(batch)], "of {n}");
    }
    owner.close().await;
    other.close().await;
}

/// A part with an open batch stays; one for which something only waits may go, and its next holder finds it.
#[tokio::test]
async fn what_waits_goes_with_its_part() {
    let (owner, other, _dir) = pair().await;
    let first = owner.lease(10).await.expect("a lease").0;
    for (place, target) in (0..).zip(0..8) {
        append(&owner, target, &[first + place]).await;
    }
    let found = owner.joining().await.expect("joining");
    let open = found.iter().find(|one| one.join.target == 0).expect("it waits");
    let joined = Joined { ids: vec![open.id], opened: vec![opened(first, 0, i64::MAX)], parts: vec![part(0, first, &[first], None)] };
    owner.join(joined).await.expect("join");
    while owner.give(Vec::new(), Vec::new()).await.expect("give") {}
    assert!(owner.owns(0) && !owner.owns(1));
    let late = found.iter().find(|one| one.join.target == 1).expect("it waits");
    let joined = Joined { ids: vec![late.id], opened: vec![opened(first + 1, 1, 5)], parts: vec![part(1, first + 1, &[first + 1], None)] };
    assert!(matches!(owner.join(joined.clone()).await, Err(StoreError::Fenced)), "it is another one's");
    other.adopt(0).await.expect("adopt");
    assert_eq!(other.joining().await.expect("joining").iter().map(|one| one.id).filter(|id| *id == late.id).count(), 1);
    other.join(joined).await.expect("join");
    assert_eq!(due(&other, 1).await, [(first + 1, 5)]);
    owner.close().await;
    other.close().await;
}

/// Whoever takes over settles what it accepted itself and another had put into a batch.
#[tokio::test]
async fn a_batch_is_settled_by_who_takes_it_over() {
    let (owner, heir, _dir) = pair().await;
    let first = heir.lease(10).await.expect("a lease").0;
    append(&heir, 5, &[first, first + 1]).await;
    open_batch(&owner, &[first, first + 1]).await;
    owner.close().await;
    let lanes = heir.adopt(100).await.expect("adopt");
    assert_eq!(lanes.iter().map(|lane| (lane.target, lane.queued, lane.scheduled)).collect::<Vec<_>>(), [(5, 0, 1)]);
    assert_eq!(due(&heir, 5).await, [(first, 50)]);
    let again = Settlement { state: DeliveryState::Scheduled, due_ms: 70, ..delivered(first, 5) };
    heir.settle([again].into()).await.expect("settle");
    assert_eq!(due(&heir, 5).await, [(first, 70)]);
    heir.settle([delivered_at(2, first, 5)].into()).await.expect("settle");
    assert!(due(&heir, 5).await.is_empty());
    heir.close().await;
}

/// A bucket stays while events of it wait to be put into a batch.
#[tokio::test]
async fn what_waits_is_not_dropped() {
    let (owner, other, _dir) = pair().await;
    let first = owner.lease(1).await.expect("a lease").0;
    append(&owner, 5, &[first]).await;
    let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    owner.retire(keep, i64::MAX / 2).await.expect("retire");
    let nothing = RetentionRule { max_age_ms: i64::MAX, max_bytes: 0 };
    let kept = owner.retire(nothing, i64::MAX / 2).await.expect("retire");
    assert_eq!((kept.buckets, kept.kept_for_pending), (0, 1));
    open_batch(&owner, &[first]).await;
    assert_eq!(owner.retire(nothing, i64::MAX / 2).await.expect("retire").kept_for_pending, 1, "now the batch is pending");
    owner.settle([delivered(first, 5)].into()).await.expect("settle");
    assert_eq!(owner.retire(nothing, i64::MAX / 2).await.expect("retire").buckets, 1);
    owner.close().await;
    other.close().await;
}

/// The owner learns of a new bucket from what it finds: it is told of no other way at once.
#[tokio::test]
async fn what_was_stored_in_a_new_bucket_is_found_there() {
    let (owner, other, _dir) = pair().await;
    let first = owner.lease(1).await.expect("a lease").0;
    append(&other, 5, &[first]).await;
    open_batch(&owner, &[first]).await;
    other.retire(RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX }, i64::MAX / 2).await.expect("retire");
    let next = other.lease(3).await.expect("a lease").0;
    append(&other, 5, &[next]).await;
    append(&other, 13, &[next + 1]).await;
    let single = NewDelivery { for_owner: true, ..event(next + 2, 21).deliveries[0].clone() };
    other.append(super::support::append(vec![NewEvent { deliveries: vec![single], ..event(next + 2, 21) }])).await.expect("append");
    // A batch of the old bucket gains one of the new one; another is opened there.
    let found = owner.joining().await.expect("joining");
    let parts = vec![part(5, first, &[next], Some(7)), part(13, next + 1, &[next + 1], None)];
    owner.join(Joined { ids: ids(&found), opened: vec![opened(next + 1, 13, 60)], parts }).await.expect("join");
    assert_eq!(members(&owner, first).await, [first, next]);
    let batches = owner.gathered(vec![(5, key(first)), (13, key(next + 1))]).await.expect("gathered");
    assert_eq!(batches.iter().map(|one| one.delivery.due_ms).collect::<Vec<_>>(), [7, 60]);
    assert_eq!((due(&owner, 5).await, due(&owner, 13).await), (vec![(first, 7)], vec![(next + 1, 60)]));
    owner.close().await;
    other.close().await;
}

/// The same of deliveries that are sent one by one.
#[tokio::test]
async fn an_owner_finds_single_deliveries_in_a_new_bucket() {
    let (owner, other, _dir) = pair().await;
    other.retire(RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX }, i64::MAX / 2).await.expect("retire");
    let first = other.lease(1).await.expect("a lease").0;
    other.append(super::support::append(vec![event(first, 5)])).await.expect("append");
    other.retire(RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX }, i64::MAX / 2).await.expect("retire");
    let next = other.lease(1).await.expect("a lease").0;
    let single = NewDelivery { for_owner: true, ..event(next, 21).deliveries[0].clone() };
    other.append(super::support::append(vec![NewEvent { deliveries: vec![single], ..event(next, 21) }])).await.expect("append");
    assert_eq!(owner.arrivals().await.expect("arrivals").len(), 1);
    assert_eq!(super::support::queued(&owner, 21).await, [next]);
    owner.close().await;
    other.close().await;
}

/// Whoever accepted the first event of a batch does not settle it for that.
#[tokio::test]
async fn who_accepted_is_not_the_owner() {
    let (owner, other, _dir) = pair().await;
    let first = owner.lease(1).await.expect("a lease").0;
    append(&other, 5, &[first]).await;
    open_batch(&owner, &[first]).await;
    let cancelled = Settlement { state: DeliveryState::Cancelled, attempt: None, ..delivered(first, 5) };
    assert!(matches!(other.settle([cancelled.clone()].into()).await, Err(StoreError::Fenced)));
    assert_eq!(due(&owner, 5).await, [(first, 50)]);
    owner.settle([cancelled].into()).await.expect("settle");
    assert!(due(&owner, 5).await.is_empty());
    owner.close().await;
    other.close().await;
}

/// A batch that was sent or cancelled meanwhile gains nothing: the events wait for the next one.
#[tokio::test]
async fn a_finished_batch_gains_nothing() {
    let (owner, other, _dir) = pair().await;
    let first = owner.lease(2).await.expect("a lease").0;
    append(&other, 5, &[first]).await;
    open_batch(&owner, &[first]).await;
    owner.settle([delivered(first, 5)].into()).await.expect("settle");
    append(&other, 5, &[first + 1]).await;
    let found = owner.joining().await.expect("joining");
    let joined = Joined { ids: ids(&found), opened: Vec::new(), parts: vec![part(5, first, &[first + 1], None)] };
    assert!(matches!(owner.join(joined).await, Err(StoreError::Fenced)));
    assert_eq!(ids(&owner.joining().await.expect("joining")), ids(&found));
    assert_eq!(members(&owner, first).await, [first]);
    owner.close().await;
    other.close().await;
}
