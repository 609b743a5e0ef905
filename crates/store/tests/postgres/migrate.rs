//! Moves between a data directory and a database: nothing is lost, nothing changes, at whatever point they are interrupted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::resource::Kind;
use posthaste_store::contract::Store;
use posthaste_store::migrate::{
    Counts, MigrateError, MigrateOptions, MoveState, Moving, Report, count_database, count_directory, down, up,
};
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::secrets::MasterKeys;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{Append, BatchPart, Catalog, Change, Cluster, Journal, StoreError};
use serde_json::json;

use super::alike::assert_alike;
use super::filled::{Dice, Known, TARGETS, configure, fill, group, outcomes};
use super::joining;
use super::server::{Server, options};
use super::support::{ALL, append, delivered, event, key, queued};

/// Small steps, many buckets and segments.
pub fn small() -> MigrateOptions {
    MigrateOptions { rows: 5, bytes: 2_000, bucket_bytes: 200_000, segment_bytes: 90_000, ..MigrateOptions::default() }
}

pub fn sqlite(dir: &Path) -> Store {
    faces(Arc::new(SqliteStore::open(dir, SqliteOptions::default()).expect("the store opens")))
}

pub fn faces<S>(store: Arc<S>) -> Store
where
    S: posthaste_store::Catalog
        + posthaste_store::Journal
        + posthaste_store::History
        + posthaste_store::Bins
        + posthaste_store::Suppressions
        + 'static,
{
    Store { catalog: store.clone(), journal: store.clone(), history: store.clone(), bins: store.clone(), suppressions: store }
}

/// The key file of a directory.
fn keys(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("master.key")).expect("a key")
}

pub async fn node(url: &str, dir: &Path) -> Result<Arc<PostgresStore>, StoreError> {
    let keys = MasterKeys::parse(&keys(dir)).expect("keys");
    PostgresStore::open(url, PostgresOptions { master_keys: keys, ..options() }).await.map(Arc::new)
}

pub struct Rig {
    pub dir: tempfile::TempDir,
    pub url: String,
    pub known: Known,
    /// Targets that have an owner once they are moved up.
    pub owned: BTreeSet<i64>,
}

impl Rig {
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A data directory with some of everything, and an empty database.
    pub async fn filled(seed: u64) -> Self {
        println!("seed {seed}");
        let rig = Self::empty().await;
        let (mut dice, mut known) = (Dice::new(seed), Known { now_ms: 1, ..Known::default() });
        let store = sqlite(&rig.path());
        configure(&store, &mut dice, &mut known).await;
        fill(&store, &mut dice, &mut known, 24).await;
        store.journal.close().await;
        Self { known, ..rig }
    }

    pub async fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::shared();
        let url = server.url(&server.database(dir.path()).await);
        Self { dir, url, known: Known::default(), owned: TARGETS.filter(|target| target % 3 == 0).collect() }
    }

    /// The data directory as it was, beside it.
    pub fn copy(&self) -> PathBuf {
        let copy = self.dir.path().join("copy");
        copy_dir(&self.path(), &copy);
        copy
    }

    pub async fn up(&self, options: &MigrateOptions) -> Result<Report, MigrateError> {
        up(&self.path(), &self.url, options, &|_| Ok(self.owned.clone()), &mut |_| {}).await
    }

    async fn down(&self, to: &Path, options: &MigrateOptions) -> Result<Report, MigrateError> {
        down(&self.url, to, &keys(&self.path()), options, &mut |_| {}).await
    }
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        match entry.file_type().expect("a type").is_dir() {
            true => copy_dir(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy")),
        }
    }
}

/// Both go on with the same numbers.
async fn assert_goes_on_alike(one: &Store, other: &Store, known: &mut Known) {
    let mut made = Vec::new();
    for store in [one, other] {
        let change = Change::Create {
            id: "tgt_new".into(),
            kind: Kind::Target,
            workspace: Some(1),
            doc: json!({"secret": "s"}),
            secrets: vec!["/secret".into()],
            at_ms: 99,
        };
        made.push(store.catalog.write(vec![change], Vec::new()).await.expect("write"));
    }
    assert_eq!(made[0], made[1]);
    let last = known.events.last().copied().unwrap_or(0);
    let more = group(last + 1, 9, &mut Dice::new(77), known);
    let outcomes = outcomes(&more, &mut Dice::new(78));
    for store in [one, other] {
        store.journal.append(more.clone()).await.expect("append");
        for outcome in &outcomes {
            store.journal.settle([outcome.clone()].into()).await.expect("settle");
        }
    }
}

/// Everything answers as before, the first node finds what is pending, and both go on.
#[tokio::test]
async fn what_moves_up_is_all_there() {
    for seed in 1..=4 {
        let mut rig = Rig::filled(seed).await;
        let copy = rig.copy();
        let options = if seed % 2 == 0 { MigrateOptions::default() } else { small() };
        let counted = count_directory(&rig.path(), &options).await.expect("counted");
        let mut told = Vec::new();
        let report =
            up(&rig.path(), &rig.url, &options, &|_| Ok(rig.owned.clone()), &mut |progress| told.push(progress)).await.expect("moved");
        assert_eq!((report.moved, report.resumed), (counted, false));
        assert!(told.is_sorted_by_key(|progress| progress.done) && told.last().is_some_and(|last| last.done == last.total), "{told:?}");

        let (before, after) = (sqlite(&copy), node(&rig.url, &copy).await.expect("a node"));
        let held = faces(after.clone());
        let lanes = assert_alike(&before, &held, &rig.known).await;
        assert!(lanes.iter().any(|lane| lane.queued > 0) && lanes.iter().any(|lane| lane.scheduled > 0));
        let last = *rig.known.events.last().expect("events");
        assert_eq!(after.lease(10).await.expect("a lease"), Sequence(last + 1));
        assert_goes_on_alike(&before, &held, &mut rig.known).await;
        before.journal.close().await;
        held.journal.close().await;
        // What is settled by the first node stays so, and another one finds the rest.
        let (before, after) = (sqlite(&copy), faces(node(&rig.url, &copy).await.expect("a node")));
        assert_alike(&before, &after, &rig.known).await;
        before.journal.close().await;
        after.journal.close().await;
    }
}

/// Payloads that were compressed come back as they were.
#[tokio::test]
async fn compressed_segments_move() {
    let rig = Rig::filled(9).await;
    let chill = SqliteOptions { compress_after: Some(std::time::Duration::ZERO), ..SqliteOptions::default() };
    let store = SqliteStore::open(&rig.path(), chill).expect("the store opens");
    let rule = posthaste_store::RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    let cancelled = rig.known.deliveries.iter();
    for key in cancelled {
        use posthaste_store::History;
        for workspace in [1, 2] {
            if let Some(delivery) = store.delivery(workspace, *key).await.expect("delivery") {
                let outcome = posthaste_store::Settlement {
                    key: *key,
                    target: delivery.target,
                    attempt: None,
                    state: posthaste_domain::delivery::DeliveryState::Cancelled,
                    due_ms: 0,
                    at_ms: 9,
                    is_awaited: true,
                };
                store.settle([outcome].into()).await.expect("settle");
            }
        }
    }
    loop {
        store.retire(rule, i64::MAX / 2).await.expect("retire");
        use posthaste_store::History;
        let size = store.size().await.expect("size");
        if size.compressed > 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    store.close().await;
    let copy = rig.copy();
    rig.up(&small()).await.expect("moved");
    let (before, after) = (sqlite(&copy), faces(node(&rig.url, &copy).await.expect("a node")));
    assert_alike(&before, &after, &rig.known).await;
    before.journal.close().await;
    after.journal.close().await;
}

/// Up and down again is what it was.
#[tokio::test]
async fn there_and_back_is_the_same() {
    for seed in 11..=13 {
        let mut rig = Rig::filled(seed).await;
        let copy = rig.copy();
        let options = if seed % 2 == 0 { MigrateOptions::default() } else { small() };
        let went = rig.up(&options).await.expect("moved up");
        let back = rig.dir.path().join("deep/back");
        // Of a key that was used in several segments of one bucket, the newest record is kept.
        let kept = |counts: Counts| Counts { idempotency: 0, ..counts };
        assert_eq!(kept(count_database(&rig.url, &options).await.expect("counted")), kept(went.moved));
        let came = rig.down(&back, &options).await.expect("moved down");
        assert_eq!(kept(came.moved), kept(went.moved));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(back.join("master.key")).expect("a key").permissions());
        assert_eq!(mode & 0o777, 0o600);
        let (before, after) = (sqlite(&copy), sqlite(&back));
        assert_alike(&before, &after, &rig.known).await;
        assert_goes_on_alike(&before, &after, &mut rig.known).await;
        before.journal.close().await;
        after.journal.close().await;
        let (before, after) = (sqlite(&copy), sqlite(&back));
        assert_alike(&before, &after, &rig.known).await;
        before.journal.close().await;
        after.journal.close().await;
    }
}

/// What several nodes wrote, their sequences and batches between each other, is one stream afterwards.
#[tokio::test]
async fn what_several_nodes_wrote_moves_down() {
    for seed in 21..=23 {
        println!("seed {seed}");
        let rig = Rig::empty().await;
        std::fs::create_dir(rig.path()).expect("a directory");
        std::fs::write(rig.path().join("master.key"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").expect("a key");
        let (mut dice, mut known) = (Dice::new(seed), Known { now_ms: 1, ..Known::default() });
        let nodes = [node(&rig.url, &rig.path()).await.expect("a node"), node(&rig.url, &rig.path()).await.expect("a node")];
        for node in &nodes {
            node.recover().await.expect("recover");
        }
        nodes[0].adopt(8).await.expect("adopt");
        configure(&faces(nodes[0].clone()), &mut dice, &mut known).await;
        // A group of one node surrounds one of the other.
        let mut groups: Vec<(usize, Append)> = Vec::new();
        for n in 0..30 {
            let first = known.events.last().map_or(1, |last| last + 1);
            let (of, keys) = (n % 2, known.idempotency.len());
            let mut own = group(first, 1 + dice.roll(8) as i64, &mut dice, &mut known);
            // Each node has keys of its own, since what one appends twice within a day is refused, in whatever order the others do.
            for (record, known) in own.idempotency.iter_mut().zip(&mut known.idempotency[keys..]) {
                record.key = format!("{of} {}", record.key);
                known.1.clone_from(&record.key);
            }
            groups.push((of, own));
        }
        let mut merged: Vec<(usize, Append)> = Vec::new();
        for (of, own) in groups {
            match merged.iter_mut().rev().take(2).find(|(known, _)| *known == of) {
                Some((_, last)) if dice.roll(2) == 0 => {
                    last.events.extend(own.events);
                    last.batches.extend(own.batches);
                    last.idempotency.extend(own.idempotency);
                }
                _ => merged.push((of, own)),
            }
        }
        for (of, own) in merged {
            let outcomes = outcomes(&own, &mut dice);
            nodes[of].append(own).await.expect("append");
            for outcome in outcomes {
                // What is for the owner of a target is settled by that one.
                if matches!(nodes[of].settle([outcome.clone()].into()).await, Err(StoreError::Fenced)) {
                    nodes[1 - of].settle([outcome].into()).await.expect("settle");
                }
            }
        }
        for node in &nodes {
            node.close().await;
        }
        let back = rig.dir.path().join("back");
        // To be compared with, before the mark is there.
        let before = node(&rig.url, &rig.path()).await.expect("a node");
        before.recover().await.expect("recover");
        before.close().await;
        rig.down(&back, &small()).await.expect("moved down");
        let client = Server::shared().connect(rig.dir.path().file_name().expect("a name").to_str().expect("a name")).await;
        client.batch_execute("DROP TABLE posthaste.move").await.expect("the mark is taken away");
        let (before, after) = (faces(node(&rig.url, &rig.path()).await.expect("a node")), sqlite(&back));
        assert_alike(&before, &after, &known).await;
        before.journal.close().await;
        after.journal.close().await;
    }
}

/// The backlog of a target with an owner waits for the owner, in its order, before what any node accepts later; and so it comes back.
#[tokio::test]
async fn what_waits_for_an_owner_keeps_its_order() {
    /// Both of one part: one node may hold both.
    const OWNED: i64 = 13;
    const FREE: i64 = 21;
    let rig = Rig { owned: [OWNED].into(), ..Rig::empty().await };
    let store = sqlite(&rig.path());
    for n in 1..=40 {
        let mut event = event(n, if n % 2 == 0 { OWNED } else { FREE });
        // One is scheduled, and one opened a batch.
        event.deliveries[0].due_ms = [6, 8].contains(&n).then_some(5_000 + n);
        event.deliveries[0].is_batch = n == 8;
        let batches = if n == 8 { vec![BatchPart { batch: key(n), members: vec![Sequence(n)], closed_due_ms: None }] } else { Vec::new() };
        store.journal.append(Append { batches, ..append(vec![event]) }).await.expect("append");
    }
    store.journal.settle([delivered(2, OWNED)].into()).await.expect("settle");
    store.journal.close().await;
    let copy = rig.copy();
    rig.up(&small()).await.expect("moved up");

    let (one, two) = (node(&rig.url, &copy).await.expect("a node"), node(&rig.url, &copy).await.expect("a node"));
    // The first takes half of the claims, which are those of the owners, and the second the rest.
    one.recover().await.expect("recover");
    two.recover().await.expect("recover");
    two.adopt(100).await.expect("adopt");
    let even = |from: i64| (from..=40).step_by(2).filter(|n| ![6, 8].contains(n)).collect::<Vec<i64>>();
    assert_eq!((queued(&one, OWNED).await, queued(&two, OWNED).await), (even(4), vec![]));
    assert_eq!((queued(&one, FREE).await, queued(&two, FREE).await), (vec![], (1..=40).step_by(2).collect()));
    let due = async |node: &PostgresStore| {
        let due = node.due(OWNED, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due");
        due.iter().map(|pending| pending.delivery.key.sequence().0).collect::<Vec<i64>>()
    };
    assert_eq!((due(&one).await, due(&two).await), (vec![6, 8], vec![]));
    // What the other node accepts comes behind it.
    let new = two.lease(1).await.expect("a lease").0;
    let mut later = event(new, OWNED);
    later.deliveries[0].for_owner = true;
    two.append(append(vec![later])).await.expect("append");
    one.arrivals().await.expect("arrivals");
    assert_eq!(queued(&one, OWNED).await, [even(4), vec![new]].concat());
    assert!(matches!(two.settle([delivered(4, OWNED)].into()).await, Err(StoreError::Fenced)));
    one.settle([delivered(4, OWNED)].into()).await.expect("settle");
    // What was settled before the move is its owner's as well.
    assert!(two.reopen(vec![key(2)], 9).await.expect("reopen").is_empty());
    assert_eq!(one.reopen(vec![key(2)], 9).await.expect("reopen").len(), 1);
    one.close().await;
    two.adopt(100).await.expect("adopt");
    let left = [vec![2], even(6), vec![new]].concat();
    assert_eq!(queued(&two, OWNED).await, left);
    // Nobody puts these into a batch any more.
    let waiting = two.lease(2).await.expect("a lease").0;
    joining::append(&two, OWNED, &[waiting, waiting + 1]).await;
    two.close().await;

    let back = rig.dir.path().join("back");
    rig.down(&back, &small()).await.expect("moved down");
    let store = sqlite(&back);
    let lane = store.journal.queued(OWNED, DeliveryKey(0), ALL).await.expect("queued");
    assert_eq!(lane.iter().map(|pending| pending.delivery.key.sequence().0).collect::<Vec<i64>>(), left);
    let scheduled = store.journal.due(OWNED, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due");
    let scheduled: Vec<(i64, bool)> = scheduled.iter().map(|one| (one.delivery.key.sequence().0, one.delivery.is_batch)).collect();
    assert_eq!(scheduled, [(6, false), (8, true), (waiting, true)]);
    let members = store.journal.members(key(waiting), Sequence(0), ALL).await.expect("members");
    assert_eq!(members.iter().map(|event| event.sequence.0).collect::<Vec<i64>>(), [waiting, waiting + 1]);
    store.journal.close().await;
}

/// Interrupted anywhere, again and again, it goes on and ends as if it had not been.
#[tokio::test]
async fn interrupted_moves_go_on() {
    for seed in 31..=32 {
        let rig = Rig::filled(seed).await;
        let copy = rig.copy();
        let mut dice = Dice::new(seed);
        let back = rig.dir.path().join("back");
        let mut runs = 0;
        loop {
            runs += 1;
            let step = MigrateOptions { give_up_after: Some(1 + dice.roll(4)), ..small() };
            match rig.up(&step).await {
                Ok(report) => break assert!(report.resumed),
                Err(MigrateError::Store(StoreError::Closed)) => {}
                Err(other) => panic!("{other:?}"),
            }
            // Neither end can be served meanwhile.
            let Err(refused) = SqliteStore::open(&rig.path(), SqliteOptions::default()) else { panic!("it was served") };
            assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Leaving, .. })), "{refused}");
            let refused = node(&rig.url, &copy).await.err().expect("it is not complete");
            assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Filling, .. })), "{refused}");
        }
        assert!(runs > 5, "{runs}");
        let Err(refused) = SqliteStore::open(&rig.path(), SqliteOptions::default()) else { panic!("it was served") };
        assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Left, .. })), "{refused}");
        let before = sqlite(&copy);
        let after = faces(node(&rig.url, &copy).await.expect("it is complete"));
        assert_alike(&before, &after, &rig.known).await;
        after.journal.close().await;

        loop {
            let step = MigrateOptions { give_up_after: Some(1 + dice.roll(4)), ..small() };
            match rig.down(&back, &step).await {
                Ok(report) => break assert!(report.resumed),
                Err(MigrateError::Store(StoreError::Closed)) => {}
                Err(other) => panic!("{other:?}"),
            }
            let Err(refused) = SqliteStore::open(&back, SqliteOptions::default()) else { panic!("it was served") };
            assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Filling, .. })), "{refused}");
            let refused = node(&rig.url, &copy).await.err().expect("it is being left");
            assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Leaving, .. })), "{refused}");
        }
        let refused = node(&rig.url, &copy).await.err().expect("it was left");
        assert!(matches!(&refused, StoreError::Moving(Moving { state: MoveState::Left, .. })), "{refused}");
        let after = sqlite(&back);
        assert_alike(&before, &after, &rig.known).await;
        before.journal.close().await;
        after.journal.close().await;
    }
}

/// What is in use, or holds something else, is left alone.
#[tokio::test]
async fn ends_that_do_not_fit_are_refused() {
    let rig = Rig::filled(41).await;
    let (options, path) = (MigrateOptions::default(), rig.path());
    let nothing = rig.dir.path().join("nothing");
    assert!(matches!(up(&nothing, &rig.url, &options, &|_| Ok(BTreeSet::new()), &mut |_| {}).await, Err(MigrateError::NoDirectory(_))));
    assert!(!nothing.exists());
    assert!(matches!(rig.down(&nothing, &options).await, Err(MigrateError::NoDatabase(_))));

    let server = sqlite(&path);
    let refused = count_directory(&path, &options).await.expect_err("a server runs");
    assert!(matches!(&refused, MigrateError::Store(StoreError::Locked { pid: Some(pid), .. }) if *pid == std::process::id()), "{refused}");
    server.journal.close().await;

    let living = node(&rig.url, &path).await.expect("a node");
    let refused = rig.up(&options).await.expect_err("a node lives").to_string();
    assert!(refused.contains("is in use by test (node 1, heard of"), "{refused}");
    assert!(matches!(count_database(&rig.url, &options).await, Err(MigrateError::Living { .. })));
    let change =
        Change::Create { id: "wsp_1".into(), kind: Kind::Workspace, workspace: None, doc: json!({}), secrets: Vec::new(), at_ms: 1 };
    living.write(vec![change], Vec::new()).await.expect("write");
    living.close().await;
    assert!(matches!(rig.up(&options).await, Err(MigrateError::NotEmpty(_))));
    // Nothing was marked: the directory can still be served.
    sqlite(&path).journal.close().await;

    let name = rig.dir.path().file_name().expect("a name").to_str().expect("a name");
    let client = Server::shared().connect(name).await;
    client.batch_execute("DROP SCHEMA posthaste CASCADE").await.expect("emptied");
    // A node that looked at it and made nothing does not matter.
    node(&rig.url, &path).await.expect("a node").close().await;
    rig.up(&MigrateOptions { give_up_after: Some(3), ..small() }).await.expect_err("interrupted");
    // Another directory does not go on with it.
    let other = Rig::filled(42).await;
    let refused = up(&other.path(), &rig.url, &options, &|_| Ok(BTreeSet::new()), &mut |_| {}).await;
    assert!(matches!(&refused, Err(MigrateError::Foreign { .. })), "{refused:?}");
    // Nor does this one once it was used in between.
    let mark = std::fs::read(path.join("moved.json")).expect("a mark");
    std::fs::remove_file(path.join("moved.json")).expect("removed");
    sqlite(&path).journal.close().await;
    assert!(matches!(rig.up(&options).await, Err(MigrateError::Restarted { .. })));
    std::fs::write(path.join("moved.json"), mark).expect("a mark");
    // Emptied, it begins anew.
    client.batch_execute("DROP SCHEMA posthaste CASCADE").await.expect("emptied");
    assert!(!rig.up(&options).await.expect("moved").resumed);
    assert!(matches!(rig.up(&options).await, Err(MigrateError::Done { .. })));
    assert!(matches!(count_directory(&path, &options).await, Err(MigrateError::Store(StoreError::Moving(_)))));

    let back = rig.dir.path().join("back");
    let foreign = down(&rig.url, &back, &keys(&other.path()), &options, &mut |_| {}).await;
    assert!(matches!(foreign, Err(MigrateError::Store(StoreError::MasterKey))), "{foreign:?}");
    let bad = down(&rig.url, &back, "no key", &options, &mut |_| {}).await;
    assert!(matches!(bad, Err(MigrateError::Key(_))), "{bad:?}");
    std::fs::write(back.join("file"), "x").expect("a file");
    assert!(matches!(rig.down(&back, &options).await, Err(MigrateError::NotEmpty(_))));
    // Nothing was marked: nodes can still serve it.
    node(&rig.url, &path).await.expect("a node").close().await;
    std::fs::remove_file(back.join("file")).expect("removed");
    // What a newer release added would be left behind.
    client.batch_execute("INSERT INTO posthaste.migration(number, oldest) VALUES (9, 1)").await.expect("a newer release");
    let newer = rig.down(&back, &options).await;
    assert!(matches!(newer, Err(MigrateError::Store(StoreError::TooNew { found: 9, .. }))), "{newer:?}");
    client.batch_execute("DELETE FROM posthaste.migration WHERE number = 9").await.expect("gone");
    rig.down(&back, &options).await.expect("moved down");
    assert!(matches!(rig.down(&rig.dir.path().join("more"), &options).await, Err(MigrateError::Done { .. })));
    let after = sqlite(&back);
    after.journal.close().await;
}

/// A store with nothing in it moves as well, and goes on from where it was.
#[tokio::test]
async fn an_empty_store_moves() {
    let rig = Rig::empty().await;
    sqlite(&rig.path()).journal.close().await;
    let copy = rig.copy();
    rig.up(&MigrateOptions::default()).await.expect("moved");
    let back = rig.dir.path().join("back");
    let store = node(&rig.url, &copy).await.expect("a node");
    assert_eq!(store.recover().await.expect("recover").last_sequence, 0);
    assert_eq!(store.lease(1).await.expect("a lease"), Sequence(1));
    store.close().await;
    rig.down(&back, &MigrateOptions::default()).await.expect("moved down");
    let store = sqlite(&back);
    assert_eq!(store.journal.recover().await.expect("recover").last_sequence, 0);
    store.journal.close().await;
}
