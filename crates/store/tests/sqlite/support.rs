//! A workspace with one target, and looks at what is on disk.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use posthaste_domain::delivery::{Attempt, DeliveryState};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::resource::Kind;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{
    Append, Change, EventFilter, History, IdempotencyRecord, Journal, NewDelivery, NewEvent, Order, PageLimit, Range, RetentionRule,
    Settlement,
};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use serde_json::json;

/// Where a child process finds its data directory.
pub const DIRECTORY: &str = "POSTHASTE_TEST_DIRECTORY";
pub const WORKSPACE: i64 = 1;
pub const TARGET: i64 = 5;
/// Keeps everything; `retire` with it and [`LATER`] only starts a new segment.
pub const KEEP: RetentionRule = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
pub const LATER: i64 = i64::MAX / 2;

pub fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default()).expect("the store opens")
}

pub fn key(n: i64) -> DeliveryKey {
    DeliveryKey::new(Sequence(n), 0)
}

/// Event `n` with one delivery, of a request with the idempotency key `n`.
pub fn event(n: i64, payload_bytes: usize) -> Append {
    let delivery = NewDelivery { ordinal: 0, subscription: 6, target: TARGET, due_ms: None, is_batch: false, for_owner: false };
    let event = NewEvent {
        sequence: Sequence(n),
        workspace: WORKSPACE,
        type_name: Some("order.created".into()),
        received_ms: 1_000 + n,
        source: Arc::new(Source { via: "test".into(), key: None, ip: None }),
        payload: vec![b'x'; payload_bytes].into(),
        about: Vec::new(),
        deliveries: vec![delivery],
    };
    let idempotency =
        IdempotencyRecord { workspace: WORKSPACE, key: n.to_string(), body_hash: [7; 32], first: Sequence(n), count: 1, at_ms: 1_000 + n };
    Append { events: vec![event], idempotency: vec![idempotency], ..Append::default() }
}

/// The first attempt of event `n`'s delivery, which succeeded.
pub fn delivered(n: i64, response_bytes: usize) -> Arc<[Settlement]> {
    let attempt = Attempt {
        number: 1,
        at_ms: 2_000 + n,
        duration_us: 10,
        error: None,
        message: None,
        fault: None,
        status: Some(200),
        request: "POST / HTTP/1.1".into(),
        response: "HTTP/1.1 200 OK".into(),
        response_body: vec![b'y'; response_bytes].into(),
    };
    [Settlement {
        key: key(n),
        target: TARGET,
        attempt: Some(attempt),
        state: DeliveryState::Delivered,
        due_ms: 0,
        at_ms: 3_000,
        is_awaited: false,
    }]
    .into()
}

/// A target with a secret, of the workspace with number 1.
pub fn target(id: &str, bytes: usize) -> Change {
    let doc = json!({"url": "https://a.example", "secret": "x".repeat(bytes)});
    Change::Create { id: id.into(), kind: Kind::Target, workspace: Some(WORKSPACE), doc, secrets: vec!["/secret".into()], at_ms: 1 }
}

/// Sequences of all events, through history.
pub async fn events(store: &SqliteStore) -> Vec<i64> {
    let range = Range { order: Order::Asc, after: None, limit: usize::MAX, from_ms: None, to_ms: None };
    let events = store.events(WORKSPACE, EventFilter::default(), range).await.expect("events");
    events.iter().map(|event| event.sequence.0).collect()
}

/// Sequences of the deliveries that the target's lane would find.
pub async fn queued(store: &SqliteStore) -> Vec<i64> {
    let all = PageLimit { items: 1_000_000, bytes: usize::MAX };
    let pending = store.queued(TARGET, DeliveryKey(0), all).await.expect("queued");
    pending.iter().map(|pending| pending.delivery.key.sequence().0).collect()
}

/// Starts a new segment.
pub async fn roll(store: &SqliteStore) {
    store.retire(KEEP, LATER).await.expect("retire");
}

/// Opens a database as anybody could, leaving all files as they are.
pub fn look(file: &Path) -> Connection {
    let conn = Connection::open(file).expect("a file");
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("a setting");
    conn
}

pub fn integrity(conn: &Connection) -> String {
    conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap_or_else(|error| error.to_string())
}

/// All databases of a data directory that is not open.
pub fn databases(dir: &Path) -> Vec<PathBuf> {
    let mut files = vec![dir.join("catalog.db"), dir.join("bins.db")];
    let entries = std::fs::read_dir(dir.join("journal")).expect("a directory");
    files.extend(entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|e| e == "db")));
    files.sort_unstable();
    files
}

pub fn assert_sound(dir: &Path) {
    for file in databases(dir) {
        assert_eq!(integrity(&look(&file)), "ok", "{}", file.display());
    }
}

pub fn segment(dir: &Path, n: u32) -> PathBuf {
    dir.join(format!("journal/{n:08}.db"))
}

pub fn wal_of(file: &Path) -> PathBuf {
    file.with_extension("db-wal")
}

/// What a machine that stops now leaves of a directory, but for shared memory. The store may be at work beside it: a checkpoint, say, between the
/// copy of a database and that of its WAL would leave what no machine does. So all is read until two looks, one after the other, see the same.
pub fn copy_dir(from: &Path, to: &Path) {
    let mut seen = contents(from);
    loop {
        let again = contents(from);
        if again.is_some() && again == seen {
            break;
        }
        seen = again;
    }
    std::fs::create_dir_all(to).expect("a directory");
    for (name, (permissions, content)) in seen.into_iter().flatten() {
        let path = to.join(name);
        match content {
            Some(bytes) => std::fs::write(&path, bytes).expect("a copy"),
            None => std::fs::create_dir_all(&path).expect("a directory"),
        }
        std::fs::set_permissions(&path, permissions).expect("permissions");
    }
}

type Contents = BTreeMap<PathBuf, (Permissions, Option<Vec<u8>>)>;

/// Every file below a directory with its bytes, and every directory, by name; `None` when one went meanwhile.
fn contents(dir: &Path) -> Option<Contents> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).ok()? {
            let path = entry.ok()?.path();
            let name = path.strip_prefix(dir).expect("below it").to_owned();
            let about = path.metadata().ok()?;
            if about.is_dir() {
                found.insert(name, (about.permissions(), None));
                dirs.push(path);
            } else if !name.to_string_lossy().ends_with("-shm") {
                found.insert(name, (about.permissions(), Some(std::fs::read(&path).ok()?)));
            }
        }
    }
    Some(found)
}

/// This program again, running one test on a directory. Writes beyond a limit are errors there, not a signal.
pub fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(std::env::current_exe().expect("this program"));
    command.args([test, "--exact", "--nocapture"]).env(DIRECTORY, dir);
    command
}

/// The directory of a child; `None` when it runs with all the others: then it does nothing.
pub fn directory_of_child() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(Into::into)
}

/// Where the last frame of a WAL ends. Behind it are zeros: room that it was given from the beginning.
pub fn wal_end(wal: &Path) -> u64 {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + 4096;
    let bytes = std::fs::read(wal).unwrap_or_default();
    let frames = bytes.get(HEADER..).unwrap_or_default().chunks(FRAME);
    let used = frames.take_while(|frame| frame.iter().any(|byte| *byte != 0)).count();
    if bytes.iter().take(HEADER).all(|byte| *byte == 0) { 0 } else { (HEADER + used * FRAME) as u64 }
}
