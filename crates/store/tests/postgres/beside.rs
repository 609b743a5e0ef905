//! Moves of a data directory that a server runs on: whatever it does meanwhile, in the end all is there as it left it.

use std::path::Path;

use posthaste_domain::delivery::{Delivery, DeliveryState};
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::contract::Store;
use posthaste_store::migrate::{MigrateError, MigrateOptions, MoveState, Moving, Progress, Report, Server as Holder, up};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{Journal, RetentionRule, Settlement, StoreError};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;

use super::alike::assert_alike;
use super::filled::{Dice, Known, attempt, fill, group, outcomes};
use super::migrate::{Rig, copy_dir, faces, node, small, sqlite};
use super::support::ALL;

const KEEP: RetentionRule = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
const LATER: i64 = i64::MAX / 2;

/// A move beside a server.
struct Move {
    task: JoinHandle<Result<Report, MigrateError>>,
    waits: Receiver<Progress>,
}

impl Move {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    fn begin(rig: &Rig, options: MigrateOptions) -> Self {
        let (told, waits) = channel(1);
        let (path, url, owned) = (rig.path(), rig.url.clone(), rig.owned.clone());
        let task = tokio::spawn(async move {
            let mut tell = |progress: Progress| {
                if progress.waits_for.is_some() && progress.total == 0 {
                    told.try_send(progress).ok();
                }
            };
            up(&path, &url, &options, &|_| Ok(owned.clone()), &mut tell).await
        });
        Self { task, waits }
    }

    /// Until a round that begins from now on has ended.
    async fn round(&mut self) {
        // What was told before, and a round that may have begun before.
        while self.waits.try_recv().is_ok() {}
        for _ in 0..2 {
            let progress = self.waits.recv().await.expect("it waits");
            assert_eq!(progress.waits_for, Some(Holder { pid: Some(std::process::id()) }));
        }
    }
}

/// Appends, settles, sends again, and begins a new segment, so that hardly anything stays as it was.
async fn go_on(store: &SqliteStore, dice: &mut Dice, known: &mut Known) {
    let last = known.events.last().copied().unwrap_or(0);
    let more = group(last + 1, 6, dice, known);
    let outcomes = outcomes(&more, dice);
    store.append(more).await.expect("append");
    for outcome in outcomes {
        store.settle([outcome].into()).await.expect("settle");
    }
    for target in super::filled::TARGETS {
        for pending in store.queued(target, DeliveryKey(0), ALL).await.expect("queued") {
            if dice.roll(3) == 0 {
                let tried = Some(attempt(pending.delivery.attempts + 1, known.now_ms, dice));
                store.settle([Settlement { attempt: tried, ..ended(&pending.delivery, known.now_ms) }].into()).await.expect("settle");
            }
        }
    }
    let some: Vec<DeliveryKey> = known.deliveries.iter().filter(|_| dice.roll(8) == 0).copied().collect();
    store.reopen(some, known.now_ms).await.expect("reopen");
    if dice.roll(2) == 0 {
        store.retire(KEEP, LATER).await.expect("retire");
    }
}

fn ended(delivery: &Delivery, at_ms: i64) -> Settlement {
    let Delivery { key, target, .. } = *delivery;
    Settlement { key, target, attempt: None, state: DeliveryState::Cancelled, due_ms: 0, at_ms, is_awaited: true }
}

/// Has the journal's files look as if nobody had written to them for long.
fn age(dir: &Path) {
    for entry in std::fs::read_dir(dir.join("journal")).expect("a journal") {
        let file = std::fs::File::options().write(true).open(entry.expect("a file").path()).expect("a file");
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).expect("aged");
    }
}

fn serve(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default()).expect("the store opens")
}

/// The directory as the server left it.
fn left(rig: &Rig) -> std::path::PathBuf {
    let copy = rig.dir.path().join("left");
    copy_dir(&rig.path(), &copy);
    std::fs::remove_file(copy.join("moved.json")).expect("the mark");
    copy
}

async fn assert_moved(rig: &Rig, known: &Known) {
    let Err(refused) = SqliteStore::open(&rig.path(), SqliteOptions::default()) else { panic!("it was served") };
    assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Left, .. })), "{refused}");
    assert!(!rig.path().join("move-begun.json").exists());
    let copy = left(rig);
    let (before, after): (Store, Store) = (sqlite(&copy), faces(node(&rig.url, &copy).await.expect("a node")));
    let lanes = assert_alike(&before, &after, known).await;
    assert!(lanes.iter().any(|lane| lane.queued > 0) && lanes.iter().any(|lane| lane.scheduled > 0));
    before.journal.close().await;
    after.journal.close().await;
}

/// What a server does while it is moved is there in the end: what it accepted, what became of what was moved before, what it began to send again.
#[tokio::test]
async fn a_server_goes_on_while_it_is_moved() {
    for seed in 51..=53 {
        let mut rig = Rig::filled(seed).await;
        let (mut dice, mut known) = (Dice::new(seed), std::mem::take(&mut rig.known));
        // One look tells of most files that they are as they were.
        age(&rig.path());
        let store = serve(&rig.path());
        let mut moving = Move::begin(&rig, small());
        moving.round().await;
        for _ in 0..4 {
            go_on(&store, &mut dice, &mut known).await;
        }
        moving.round().await;
        for _ in 0..2 {
            go_on(&store, &mut dice, &mut known).await;
        }
        let store = faces(std::sync::Arc::new(store));
        fill(&store, &mut dice, &mut known, 3).await;
        store.journal.close().await;
        drop(store);
        let report = moving.task.await.expect("it runs").expect("moved");
        assert!(!report.resumed && report.stop.is_some() && report.ahead > 0, "{report:?}");
        assert!(report.moved.changes > 0 && report.moved.events == known.events.len() as u64, "{report:?}");
        assert_moved(&rig, &known).await;
    }
}

/// Interrupted anywhere, with the server and after it, it goes on; the server may start again in between.
#[tokio::test]
async fn interrupted_beside_a_server_it_goes_on() {
    for seed in 61..=62 {
        let mut rig = Rig::filled(seed).await;
        let (mut dice, mut known) = (Dice::new(seed), std::mem::take(&mut rig.known));
        for run in 0..8 {
            let store = serve(&rig.path());
            let step = MigrateOptions { give_up_after: Some(1 + dice.roll(9)), ..small() };
            let outcome = Move::begin(&rig, step).task.await.expect("it runs");
            assert!(matches!(outcome, Err(MigrateError::Store(StoreError::Closed))), "{run}: {outcome:?}");
            let refused = node(&rig.url, &rig.path()).await.err().expect("it is not complete");
            assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Filling, .. })), "{refused}");
            go_on(&store, &mut dice, &mut known).await;
            store.close().await;
        }
        let mut runs = 0;
        loop {
            runs += 1;
            let step = MigrateOptions { give_up_after: Some(1 + dice.roll(9)), ..small() };
            match rig.up(&step).await {
                Ok(report) => break assert!(report.resumed && report.stop.is_none()),
                Err(MigrateError::Store(StoreError::Closed)) => {}
                Err(other) => panic!("{other:?}"),
            }
            let Err(refused) = SqliteStore::open(&rig.path(), SqliteOptions::default()) else { panic!("it was served") };
            assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Leaving, .. })), "{refused}");
        }
        assert!(runs > 3, "{runs}");
        assert_moved(&rig, &known).await;
    }
}

/// What waits without any change is announced to the nodes as well.
#[tokio::test]
async fn what_waited_all_the_time_is_found() {
    let rig = Rig::filled(66).await;
    age(&rig.path());
    let store = serve(&rig.path());
    let mut moving = Move::begin(&rig, small());
    moving.round().await;
    store.close().await;
    drop(store);
    let report = moving.task.await.expect("it runs").expect("moved");
    assert!(report.moved.changes > 0, "{report:?}");
    assert_moved(&rig, &rig.known).await;
}

/// What retention drops meanwhile had an end: nothing of it is sent again, and the rest is where it is looked for.
#[tokio::test]
async fn what_is_dropped_meanwhile_is_not_sent() {
    // Waiting deliveries keep the oldest file, or the younger ones.
    for is_oldest_kept in [true, false] {
        let mut rig = Rig::filled(71).await;
        let (mut dice, mut known) = (Dice::new(71), std::mem::take(&mut rig.known));
        let store = serve(&rig.path());
        let mut firsts = Vec::new();
        for _ in 0..8 {
            firsts.push(known.events.last().expect("events") + 1);
            store.append(group(firsts[firsts.len() - 1], 6, &mut dice, &mut known)).await.expect("append");
            store.retire(KEEP, LATER).await.expect("retire");
        }
        let mut moving = Move::begin(&rig, MigrateOptions { bucket_bytes: 500_000, ..small() });
        moving.round().await;
        let mut waiting: Vec<Delivery> = Vec::new();
        for target in super::filled::TARGETS {
            waiting.extend(store.queued(target, DeliveryKey(0), ALL).await.expect("queued").into_iter().map(|pending| pending.delivery));
            let due = store.due(target, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due");
            waiting.extend(due.into_iter().map(|pending| pending.delivery));
        }
        waiting.sort_unstable_by_key(|delivery| delivery.key);
        let is_queued = |delivery: &&Delivery| delivery.state == DeliveryState::Queued && !rig.owned.contains(&delivery.target);
        let oldest = waiting.iter().find(is_queued).expect("one is queued").key;
        for delivery in &waiting {
            if if is_oldest_kept { delivery.key != oldest } else { delivery.key.sequence().0 < firsts[5] } {
                store.settle([ended(delivery, known.now_ms)].into()).await.expect("settle");
            }
        }
        store.retire(KEEP, LATER).await.expect("retire");
        let dropped = store.retire(RetentionRule { max_bytes: 0, ..KEEP }, LATER).await.expect("retire");
        assert!(dropped.buckets > 0 && dropped.kept_for_pending > 0, "{dropped:?}");
        let last = *known.events.last().expect("events");
        for n in 0..3 {
            let more = group(last + 1 + n * 1_000_000, 6, &mut dice, &mut known);
            store.append(more).await.expect("append");
            store.retire(KEEP, LATER).await.expect("retire");
        }
        store.close().await;
        drop(store);
        moving.task.await.expect("it runs").expect("moved");

        let copy = left(&rig);
        let (before, after) = (sqlite(&copy), faces(node(&rig.url, &copy).await.expect("a node")));
        let mut lanes = Vec::new();
        for store in [&before, &after] {
            let mut found = store.journal.recover().await.expect("recover").lanes;
            found.retain(|lane| lane.queued + lane.scheduled > 0);
            found.sort_unstable_by_key(|lane| lane.target);
            lanes.push(found);
        }
        assert_eq!(lanes[0], lanes[1]);
        let mut kept = 0;
        for sequence in known.events.iter().copied().map(Sequence) {
            for workspace in super::filled::WORKSPACES {
                let there = before.history.event(workspace, sequence).await.expect("event");
                if there.is_some() {
                    kept += 1;
                    assert_eq!(after.history.event(workspace, sequence).await.expect("event"), there, "{sequence:?}");
                    let mut found = Vec::new();
                    for store in [&before, &after] {
                        let mut own = store.history.deliveries_of(workspace, sequence).await.expect("deliveries");
                        // A batch that it joined may be of an event that is gone.
                        own.retain(|delivery| delivery.key.sequence() == sequence);
                        found.push(own);
                    }
                    assert_eq!(found[0], found[1], "{sequence:?}");
                }
            }
        }
        assert!(kept > 20, "{kept}");
        before.journal.close().await;
        after.journal.close().await;
    }
}

/// A server may start at any time before the stop; a destination of another move is left alone.
#[tokio::test]
async fn marks_beside_a_server() {
    let rig = Rig::filled(81).await;
    let path = rig.path();
    let store = serve(&path);
    let step = || MigrateOptions { give_up_after: Some(2), ..small() };
    Move::begin(&rig, step()).task.await.expect("it runs").expect_err("interrupted");
    store.close().await;
    drop(store);
    let store = serve(&path);
    // Another directory does not go on with it, with a server or without one.
    let other = Rig { url: rig.url.clone(), ..Rig::filled(82).await };
    let theirs = serve(&other.path());
    let refused = Move::begin(&other, step()).task.await.expect("it runs");
    assert!(matches!(&refused, Err(MigrateError::Foreign { .. })), "{refused:?}");
    theirs.close().await;
    drop(theirs);
    assert!(matches!(other.up(&small()).await, Err(MigrateError::Foreign { .. })));
    // This one goes nowhere else.
    let elsewhere = Rig { dir: tempfile::tempdir().expect("a directory"), url: Rig::empty().await.url, ..Rig::empty().await };
    let refused = up(&path, &elsewhere.url, &small(), &|_| Ok(Default::default()), &mut |_| {}).await;
    assert!(matches!(&refused, Err(MigrateError::Foreign { .. })), "{refused:?}");
    // Nor does this one without the note that it began.
    let note = std::fs::read(path.join("move-begun.json")).expect("a note");
    std::fs::remove_file(path.join("move-begun.json")).expect("removed");
    let refused = Move::begin(&rig, step()).task.await.expect("it runs");
    assert!(matches!(&refused, Err(MigrateError::Restarted { .. })), "{refused:?}");
    std::fs::write(path.join("move-begun.json"), note).expect("a note");
    store.close().await;
    drop(store);
    assert!(rig.up(&small()).await.expect("moved").resumed);
    assert_moved(&rig, &rig.known).await;
}
