//! Incident 11: the machine stops while the last commit is being written. Whatever part of it is on the disk, everything before it is
//! there, nothing of it is, and the store goes on.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use posthaste_domain::id::Sequence;
use posthaste_store::{History, Journal};

use super::support::{
    WORKSPACE, assert_sound, copy_dir, delivered, event, events, integrity, look, open, queued, segment, wal_end, wal_of,
};

/// Bytes before the first frame of a WAL, and before the page in a frame.
const WAL_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
const FRAME: u64 = FRAME_HEADER + 4096;

/// A data directory whose store was not closed: events 1 to 3 were answered, the commit of event 4 lies in the WAL from `from` to `to`.
struct Torn {
    dir: tempfile::TempDir,
    from: u64,
    to: u64,
}

async fn torn() -> Torn {
    let live = tempfile::tempdir().expect("a directory");
    let store = open(live.path());
    store.append(event(1, 10)).await.expect("append");
    store.append(event(2, 10)).await.expect("append");
    store.close().await;
    // The WAL begins anew, so that it holds little else.
    let store = open(live.path());
    let wal = wal_of(&segment(live.path(), 1));
    store.append(event(3, 10)).await.expect("append");
    store.settle(delivered(1, 10)).await.expect("settle");
    let from = wal_end(&wal);
    store.append(event(4, 10)).await.expect("append");
    let to = wal_end(&wal);
    let dir = tempfile::tempdir().expect("a directory");
    copy_dir(live.path(), dir.path());
    store.close().await;
    assert!(to > from && (to - from).is_multiple_of(FRAME) && (from - WAL_HEADER).is_multiple_of(FRAME), "{from} to {to}");
    Torn { dir, from, to }
}

/// What SQLite finds in a segment: the events, and how many deliveries are pending. Fails the test when the file is not sound.
fn found(file: &Path, what: &str) -> (Vec<i64>, i64) {
    let conn = look(file);
    assert_eq!(integrity(&conn), "ok", "{what}");
    let mut select = conn.prepare("SELECT sequence FROM event ORDER BY sequence").expect("a statement");
    let events = select.query_map([], |row| row.get(0)).expect("events").collect::<Result<_, _>>().expect("events");
    let pending = conn.query_row("SELECT count(*) FROM delivery WHERE state < 4", [], |row| row.get(0)).expect("a count");
    (events, pending)
}

/// Which offsets in the tail are tried: all where something begins or ends, and some in the middle of pages. All of them with
/// `POSTHASTE_EXHAUSTIVE=1`, which takes a minute.
fn offsets(torn: &Torn, stride: u64) -> Vec<u64> {
    let all = std::env::var_os("POSTHASTE_EXHAUSTIVE").is_some();
    let wanted = |offset: &u64| {
        let within = (offset - torn.from) % FRAME;
        let middle = FRAME_HEADER + 8..FRAME - 8;
        all || !middle.contains(&within) || within.is_multiple_of(stride)
    };
    (torn.from..torn.to).filter(wanted).collect()
}

#[tokio::test]
async fn incident_11_cut_anywhere() {
    let torn = torn().await;
    let file = segment(torn.dir.path(), 1);
    let wal = OpenOptions::new().write(true).open(wal_of(&file)).expect("the WAL");
    assert_eq!(found(&file, "whole"), (vec![1, 2, 3, 4], 3));
    for cut in offsets(&torn, 61).into_iter().rev() {
        wal.set_len(cut).expect("cut");
        assert_eq!(found(&file, &format!("cut at {cut}")), (vec![1, 2, 3], 2), "cut at {cut}");
    }
}

#[tokio::test]
async fn incident_11_any_byte_flipped() {
    let torn = torn().await;
    let file = segment(torn.dir.path(), 1);
    let wal = OpenOptions::new().read(true).write(true).open(wal_of(&file)).expect("the WAL");
    for offset in offsets(&torn, 97) {
        let mut byte = [0];
        wal.read_exact_at(&mut byte, offset).expect("a byte");
        wal.write_all_at(&[byte[0] ^ 0x10], offset).expect("a flip");
        assert_eq!(found(&file, &format!("flipped at {offset}")), (vec![1, 2, 3], 2), "flipped at {offset}");
        wal.write_all_at(&byte, offset).expect("back");
    }
    assert_eq!(found(&file, "whole"), (vec![1, 2, 3, 4], 3));
}

/// The same through the store, which then goes on where it was.
#[tokio::test]
async fn incident_11_the_store_goes_on() {
    let torn = torn().await;
    let frames = (torn.from..torn.to).step_by(FRAME as usize);
    let cuts = frames.flat_map(|frame| [frame, frame + 1, frame + FRAME_HEADER, frame + FRAME / 2, frame + FRAME - 1]);
    let damages = cuts.map(Damage::Cut).chain([Damage::None, Damage::Blank(torn.from), Damage::Blank(torn.to - FRAME)]);
    for damage in damages {
        let dir = tempfile::tempdir().expect("a directory");
        copy_dir(torn.dir.path(), dir.path());
        let wal = OpenOptions::new().write(true).open(wal_of(&segment(dir.path(), 1))).expect("the WAL");
        let whole = damage.strike(&wal);

        let store = open(dir.path());
        let recovered = store.recover().await.expect("recover");
        assert_eq!(recovered.last_sequence, if whole { 4 } else { 3 }, "{damage:?}");
        assert_eq!(recovered.lanes[0].queued, if whole { 3 } else { 2 }, "{damage:?}");
        assert_eq!(store.attempts(super::support::key(1)).await.expect("attempts").len(), 1);
        assert_eq!(store.event(WORKSPACE, Sequence(4)).await.expect("event").is_some(), whole, "{damage:?}");
        if !whole {
            store.append(event(4, 10)).await.expect("append");
        }
        assert_eq!(events(&store).await, [1, 2, 3, 4], "{damage:?}");
        assert_eq!(queued(&store).await, [2, 3, 4], "{damage:?}");
        store.close().await;
        assert_sound(dir.path());
    }
}

#[derive(Debug)]
enum Damage {
    None,
    Cut(u64),
    /// The disk wrote all frames but this one.
    Blank(u64),
}

impl Damage {
    /// Answers whether the commit is still whole.
    fn strike(&self, wal: &File) -> bool {
        match self {
            Self::None => return true,
            Self::Cut(at) => wal.set_len(*at).expect("cut"),
            Self::Blank(at) => wal.write_all_at(&[0; FRAME as usize], *at).expect("zeros"),
        }
        false
    }
}
