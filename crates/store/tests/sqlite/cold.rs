//! Compression of segments: every byte comes back, a crash at any moment loses nothing, and whatever comes late finds its place.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use posthaste_domain::delivery::{Delivery, DeliveryState};
use posthaste_domain::event::Event;
use posthaste_domain::id::Sequence;
use posthaste_store::sqlite::{CommitObserver, CompressStep, SqliteOptions, SqliteStore, backup};
use posthaste_store::{Append, DeliveryFilter, History, Journal, Order, Range, RetentionRule, StoreError};
use rusqlite::Connection;

use super::support::{
    KEEP, LATER, WORKSPACE, assert_sound, copy_dir, databases, delivered, event, integrity, key, look, queued, roll, segment,
};

/// Events of a segment: more than a block, and no multiple of it.
const EVENTS: i64 = 300;

type Hook = Box<dyn Fn(u32, CompressStep) + Send + Sync>;

/// Tells the steps of a compression, after doing what a test wants to be done then.
struct Watch {
    steps: Mutex<Sender<CompressStep>>,
    hook: OnceLock<Hook>,
}

impl CommitObserver for Watch {
    fn committed(&self, _: usize, _: usize, _: Duration) {}

    fn compressing(&self, segment: u32, step: CompressStep) {
        if let Some(hook) = self.hook.get() {
            hook(segment, step);
        }
        self.steps.lock().send(step).ok();
    }
}

/// A store that compresses what is drained.
struct Rig {
    store: SqliteStore,
    watch: Arc<Watch>,
    steps: Receiver<CompressStep>,
}

fn rig(dir: &Path) -> Rig {
    let (sender, steps) = channel();
    let watch = Arc::new(Watch { steps: Mutex::new(sender), hook: OnceLock::new() });
    let options =
        SqliteOptions { compress_after: Some(Duration::from_secs(60)), observer: Some(watch.clone()), ..SqliteOptions::default() };
    Rig { store: SqliteStore::open(dir, options).expect("the store opens"), watch, steps }
}

impl Rig {
    fn on(&self, hook: impl Fn(u32, CompressStep) + Send + Sync + 'static) {
        assert!(self.watch.hook.set(Box::new(hook)).is_ok(), "one hook");
    }

    /// Has one segment compressed, or tried to; answers how it ended.
    async fn compress(&self) -> CompressStep {
        roll(&self.store).await;
        loop {
            let step = self.steps.recv_timeout(Duration::from_secs(30)).expect("a step");
            if matches!(step, CompressStep::Done { .. } | CompressStep::GivenUp) {
                return step;
            }
        }
    }
}

fn cold(dir: &Path, n: u32) -> std::path::PathBuf {
    dir.join(format!("journal/{n:08}.cold.db"))
}

/// Payloads of all sorts: documents that resemble each other, nothing, bytes that are no text, and some larger than a pack.
fn payload(n: i64) -> Vec<u8> {
    match n % 50 {
        7 => Vec::new(),
        13 => (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(n as u32 * 97) >> 13) as u8).collect(),
        19 if n < 100 => format!("{n}").repeat(200_000).into_bytes(),
        _ => format!(r#"{{"id":"ord_{:08x}","amount":{}.50,"note":"n° {n}"}}"#, n * 7919, n % 977).into_bytes(),
    }
}

async fn fill(store: &SqliteStore, numbers: std::ops::RangeInclusive<i64>) {
    let mut group = Append::default();
    for n in numbers.clone() {
        let mut one = event(n, 0);
        one.events[0].payload = payload(n).into();
        one.events[0].about = vec![format!("order {n}")];
        group.events.append(&mut one.events);
        group.idempotency.append(&mut one.idempotency);
    }
    store.append(group).await.expect("append");
    for n in numbers {
        store.settle(delivered(n, (n % 90) as usize)).await.expect("settle");
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<Arc<Event>>,
    deliveries: Vec<Delivery>,
    attempts: usize,
    idempotent: usize,
}

/// Everything that can be read of the first events.
async fn seen(store: &SqliteStore, last: i64) -> Seen {
    let mut seen = Seen { events: Vec::new(), deliveries: Vec::new(), attempts: 0, idempotent: 0 };
    let range = |after| Range { order: Order::Desc, after, limit: 100, from_ms: None, to_ms: None };
    loop {
        let after = seen.events.last().map(|event| event.sequence.0);
        let page = store.events(WORKSPACE, Default::default(), range(after)).await.expect("events");
        if page.is_empty() {
            break;
        }
        seen.events.extend(page);
    }
    let all = Range { limit: usize::MAX, ..range(None) };
    seen.deliveries = store.deliveries(WORKSPACE, DeliveryFilter::default(), all).await.expect("deliveries");
    for n in 1..=last {
        seen.attempts += store.attempts(key(n)).await.expect("attempts").len();
        seen.idempotent += usize::from(store.idempotent(WORKSPACE, &n.to_string(), 2_000).await.expect("idempotent").is_some());
        let alone = store.event(WORKSPACE, Sequence(n)).await.expect("event").expect("is there");
        assert_eq!(alone.payload[..], payload(n)[..], "payload {n}");
    }
    seen
}

#[tokio::test]
async fn every_byte_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let plain = rig(dir.path());
    fill(&plain.store, 1..=EVENTS).await;
    let before = seen(&plain.store, EVENTS).await;
    assert_eq!((before.events.len() as i64, before.attempts as i64, before.idempotent as i64), (EVENTS, EVENTS, EVENTS));
    let CompressStep::Done { before: large, after: small } = plain.compress().await else { panic!("it is compressed") };
    assert!(small < large / 2, "{large} to {small}");
    assert!(!segment(dir.path(), 1).exists() && cold(dir.path(), 1).exists());
    assert_eq!(seen(&plain.store, EVENTS).await, before);
    let size = plain.store.size().await.expect("size");
    assert_eq!((size.buckets, size.compressed, size.compressed_bytes, size.plain_bytes), (2, 1, small, large));
    plain.store.close().await;
    assert_sound(dir.path());
    // Also after a start, and what is in the file can be looked at.
    let again = rig(dir.path());
    assert_eq!(again.store.size().await.expect("size"), size);
    assert_eq!(seen(&again.store, EVENTS).await, before);
    again.store.close().await;
    let conn = look(&cold(dir.path(), 1));
    let (count, bytes): (i64, i64) =
        conn.query_row("SELECT count(*), sum(payload) FROM event", [], |row| Ok((row.get(0)?, row.get(1)?))).expect("lengths");
    assert_eq!((count, bytes), (EVENTS, (1..=EVENTS).map(|n| payload(n).len() as i64).sum()));
    let lines: i64 =
        conn.query_row("SELECT count(*) FROM log WHERE state = 'delivered' AND status = 200", [], |row| row.get(0)).expect("log");
    assert_eq!(lines, EVENTS);
}

/// A machine that stops at any step leaves the one file or the other to be believed, and the next start has neither more nor less.
#[tokio::test]
async fn a_crash_at_any_step_loses_nothing() {
    let (dir, copies) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let rig = rig(dir.path());
    fill(&rig.store, 1..=EVENTS).await;
    let whole = seen(&rig.store, EVENTS).await;
    let (from, to) = (dir.path().to_owned(), copies.path().to_owned());
    rig.on(move |_, step| {
        let name = format!("{step:?}").split_whitespace().next().map(str::to_owned).expect("a name");
        copy_dir(&from, &to.join(name));
    });
    assert!(matches!(rig.compress().await, CompressStep::Done { .. }));
    rig.store.close().await;
    for (step, is_cold) in [("Written", false), ("Verified", false), ("Renamed", false), ("Replaced", true), ("Done", true)] {
        let copy = copies.path().join(step);
        let unfinished = copy.join("journal/00000001.cold.tmp");
        assert_eq!(unfinished.exists(), matches!(step, "Written" | "Verified"), "{step}");
        let both = segment(&copy, 1).exists() && cold(&copy, 1).exists();
        assert_eq!(both, matches!(step, "Renamed" | "Replaced"), "{step}");
        let store = super::support::open(&copy);
        assert_eq!(seen(&store, EVENTS).await, whole, "{step}");
        assert_eq!((segment(&copy, 1).exists(), cold(&copy, 1).exists()), (!is_cold, is_cold), "{step}");
        assert!(!unfinished.exists(), "{step}");
        store.close().await;
        assert_sound(&copy);
    }
}

/// A file that was cut short anywhere is removed at the start, with what SQLite may have had beside it.
#[tokio::test]
async fn a_half_written_file_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = rig(dir.path());
    fill(&first.store, 1..=EVENTS).await;
    let whole = seen(&first.store, EVENTS).await;
    roll(&first.store).await;
    first.store.close().await;
    let unfinished: Vec<_> = ["", "-wal", "-shm", "-journal"].map(|end| dir.path().join(format!("journal/00000001.cold.tmp{end}"))).into();
    for file in &unfinished {
        std::fs::write(file, b"SQLite format 3\0 and then the power went").expect("a file");
    }
    let store = super::support::open(dir.path());
    assert!(unfinished.iter().all(|file| !file.exists()));
    assert_eq!(seen(&store, EVENTS).await, whole);
    store.close().await;
}

/// Changes that come while a segment is compressed are not lost: the old file stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_meanwhile_keeps_the_old_file() {
    for when in [CompressStep::Written, CompressStep::Verified, CompressStep::Renamed] {
        let dir = tempfile::tempdir().expect("a directory");
        let rig = rig(dir.path());
        fill(&rig.store, 1..=EVENTS).await;
        let runtime = tokio::runtime::Handle::current();
        let store = rig.store.clone();
        rig.on(move |_, step| {
            if step == when {
                let mut late = delivered(9, 5).to_vec();
                late[0].attempt.as_mut().expect("an attempt").number = 2;
                runtime.block_on(store.settle(late.into())).expect("settle");
            }
        });
        assert_eq!(rig.compress().await, CompressStep::GivenUp, "{when:?}");
        assert!(segment(dir.path(), 1).exists() && !cold(dir.path(), 1).exists(), "{when:?}");
        assert_eq!(rig.store.attempts(key(9)).await.expect("attempts").len(), 2, "{when:?}");
        // It is compressed another time.
        rig.store.close().await;
        let again = self::rig(dir.path());
        assert!(matches!(again.compress().await, CompressStep::Done { .. }), "{when:?}");
        assert_eq!(again.store.attempts(key(9)).await.expect("attempts").len(), 2, "{when:?}");
        again.store.close().await;
    }
}

/// Late outcomes, resends and their outcomes go to the compressed file as to any other.
#[tokio::test]
async fn what_comes_late_finds_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path());
    fill(&rig.store, 1..=EVENTS).await;
    assert!(matches!(rig.compress().await, CompressStep::Done { .. }));
    // Told twice, and an attempt that ended after its delivery did.
    rig.store.settle(delivered(3, 3)).await.expect("settle");
    let mut late = delivered(4, 5).to_vec();
    late[0].attempt.as_mut().expect("an attempt").number = 2;
    rig.store.settle(late.into()).await.expect("settle");
    let attempts = |n| rig.store.attempts(key(n));
    assert_eq!((attempts(3).await.expect("attempts").len(), attempts(4).await.expect("attempts").len()), (1, 2));
    // Sent again, with the very payload.
    let reopened = rig.store.reopen(vec![key(5), key(63)], 5_000).await.expect("reopen");
    let payloads: Vec<_> = reopened.iter().map(|pending| pending.event.payload.to_vec()).collect();
    assert_eq!(payloads, [payload(5), payload(63)]);
    assert_eq!(queued(&rig.store).await, [5, 63]);
    let retired = rig.store.retire(RetentionRule { max_bytes: 0, ..KEEP }, LATER).await.expect("retire");
    assert_eq!((retired.buckets, retired.kept_for_pending), (0, 1), "pending ones keep it");
    // A crash now, and they are found.
    let copy = tempfile::tempdir().expect("a directory");
    copy_dir(dir.path(), copy.path());
    let restarted = super::support::open(copy.path());
    assert_eq!(queued(&restarted).await, [5, 63]);
    restarted.close().await;
    for n in [5, 63] {
        let mut second = delivered(n, 7).to_vec();
        (second[0].attempt.as_mut().expect("an attempt").number, second[0].state) = (2, DeliveryState::Failed);
        rig.store.settle(second.into()).await.expect("settle");
    }
    assert_eq!((attempts(5).await.expect("attempts").len(), queued(&rig.store).await.len()), (2, 0));
    let filter = DeliveryFilter { states: Some(vec![DeliveryState::Failed]), ..DeliveryFilter::default() };
    let range = Range { order: Order::Asc, after: None, limit: 10, from_ms: None, to_ms: None };
    let failed = rig.store.deliveries(WORKSPACE, filter, range).await.expect("deliveries");
    assert_eq!(failed.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), [key(5), key(63)]);
    rig.store.close().await;
    assert_sound(dir.path());
}

#[tokio::test]
async fn retention_drops_compressed_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path());
    fill(&rig.store, 1..=EVENTS).await;
    assert!(matches!(rig.compress().await, CompressStep::Done { .. }));
    fill(&rig.store, EVENTS + 1..=EVENTS + 10).await;
    let bytes = rig.store.size().await.expect("size").compressed_bytes;
    let retired = rig.store.retire(RetentionRule { max_bytes: 1, ..KEEP }, 2_000).await.expect("retire");
    assert_eq!((retired.buckets, retired.bytes), (1, bytes));
    assert!(rig.store.event(WORKSPACE, Sequence(1)).await.expect("event").is_none());
    assert!(!cold(dir.path(), 1).exists());
    rig.store.close().await;
    assert_eq!(databases(dir.path()).len(), 3);
    super::support::open(dir.path()).close().await;
}

/// A segment that retention drops while it is compressed is gone, whatever was made of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_dropped_meanwhile_stays_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path());
    fill(&rig.store, 1..=EVENTS).await;
    let (runtime, store) = (tokio::runtime::Handle::current(), rig.store.clone());
    rig.on(move |_, step| {
        if step == CompressStep::Renamed {
            let everything = RetentionRule { max_bytes: 0, ..KEEP };
            assert_eq!(runtime.block_on(store.retire(everything, 2_000)).expect("retire").buckets, 1);
        }
    });
    assert_eq!(rig.compress().await, CompressStep::GivenUp);
    rig.store.close().await;
    assert_eq!(databases(dir.path()), [dir.path().join("bins.db"), dir.path().join("catalog.db"), segment(dir.path(), 2)]);
}

/// Closing does not wait for a segment to be finished, and what was made of it is not left behind.
#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_a_compression() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path());
    fill(&rig.store, 1..=EVENTS).await;
    let (runtime, store) = (tokio::runtime::Handle::current(), rig.store.clone());
    rig.on(move |_, step| {
        if step == CompressStep::Renamed {
            let closing = store.clone();
            runtime.spawn(async move { closing.close().await });
            // Until the writer takes no more commands: then it waits for this thread, which must not wait for it.
            while runtime.block_on(store.settle(Vec::new().into())).is_ok() {}
        }
    });
    assert_eq!(rig.compress().await, CompressStep::GivenUp);
    rig.store.close().await;
    assert_eq!(databases(dir.path()).iter().filter(|file| file.starts_with(dir.path().join("journal"))).count(), 2);
    let store = super::support::open(dir.path());
    seen(&store, EVENTS).await;
    store.close().await;
}

/// At whatever step a backup comes, its copy is whole.
#[tokio::test]
async fn a_backup_at_any_step_is_whole() {
    let (dir, copies) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let rig = rig(dir.path());
    fill(&rig.store, 1..=EVENTS).await;
    let whole = seen(&rig.store, EVENTS).await;
    let (from, to) = (dir.path().to_owned(), copies.path().to_owned());
    rig.on(move |_, step| {
        let name = format!("{step:?}").split_whitespace().next().map(str::to_owned).expect("a name");
        backup(&from, &to.join(name), |_| {}).expect("a backup");
    });
    assert!(matches!(rig.compress().await, CompressStep::Done { .. }));
    rig.store.close().await;
    for step in ["Written", "Verified", "Renamed", "Replaced", "Done"] {
        let copy = copies.path().join(step);
        assert!(!copy.join("journal/00000001.cold.tmp").exists(), "{step}");
        let store = super::support::open(&copy);
        assert_eq!(seen(&store, EVENTS).await, whole, "{step}");
        store.close().await;
        assert_sound(&copy);
    }
}

/// A segment whose place is taken between two files of a backup is in the copy all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_during_a_replacement_is_whole() {
    let (dir, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let rig = rig(dir.path());
    fill(&rig.store, 1..=EVENTS).await;
    assert!(matches!(rig.compress().await, CompressStep::Done { .. }));
    fill(&rig.store, EVENTS + 1..=2 * EVENTS).await;
    let whole = seen(&rig.store, 2 * EVENTS).await;
    let runtime = tokio::runtime::Handle::current();
    let mut once = Some(rig);
    let (from, copy) = (dir.path().to_owned(), to.path().join("copy"));
    let made = copy.clone();
    let rig = tokio::task::spawn_blocking(move || {
        let mut rig = None;
        backup(&from, &made, |progress| {
            // The first file was copied; now the one after it is sealed and compressed.
            if progress.file == "journal/00000001.cold.db"
                && let Some(now) = once.take()
            {
                assert!(matches!(runtime.block_on(now.compress()), CompressStep::Done { .. }));
                rig = Some(now);
            }
        })
        .expect("a backup");
        rig.expect("the first file was copied")
    });
    rig.await.expect("it ends").store.close().await;
    let store = super::support::open(&copy);
    assert_eq!(seen(&store, 2 * EVENTS).await, whole);
    store.close().await;
    assert_sound(&copy);
}

/// What is damaged in a compressed file is said, and is never another payload.
#[tokio::test]
async fn damage_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = rig(dir.path());
    fill(&first.store, 1..=EVENTS).await;
    assert!(matches!(first.compress().await, CompressStep::Done { .. }));
    first.store.close().await;
    let conn = Connection::open(cold(dir.path(), 1)).expect("a file");
    let (pack, data): (i64, Vec<u8>) = conn
        .query_row("SELECT first, data FROM pack WHERE first >= 128 ORDER BY first LIMIT 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a pack");
    let mut flipped = data;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    conn.execute("UPDATE pack SET data = ?1 WHERE first = ?2", (flipped, pack)).expect("an update");
    assert_eq!(integrity(&conn), "ok", "nothing that SQLite would see");
    drop(conn);
    let store = super::support::open(dir.path());
    let error = store.event(WORKSPACE, Sequence(pack)).await.expect_err("it is damaged");
    assert!(matches!(&error, StoreError::File { file, .. } if file.ends_with("00000001.cold.db")), "{error}");
    assert_eq!(store.event(WORKSPACE, Sequence(1)).await.expect("event").expect("is there").payload[..], payload(1)[..]);
    store.close().await;
}

/// A segment that cannot be read is left as it is, and the next one is compressed.
#[tokio::test]
async fn a_damaged_segment_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = rig(dir.path());
    fill(&first.store, 1..=EVENTS).await;
    roll(&first.store).await;
    first.store.close().await;
    let conn = Connection::open(segment(dir.path(), 1)).expect("a file");
    conn.execute("UPDATE event SET payload = 5 WHERE sequence = 200", []).expect("an update");
    drop(conn);
    let rig = rig(dir.path());
    fill(&rig.store, EVENTS + 1..=EVENTS + 200).await;
    let mut ends = vec![rig.compress().await];
    ends.push(rig.compress().await);
    assert_eq!(ends[0], CompressStep::GivenUp);
    assert!(matches!(ends[1], CompressStep::Done { .. }), "{ends:?}");
    assert!(segment(dir.path(), 1).exists() && cold(dir.path(), 2).exists());
    rig.store.close().await;
}
