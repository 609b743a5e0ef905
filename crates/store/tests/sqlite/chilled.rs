//! The contract suite against a store in which all that can be compressed is, before each read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use posthaste_domain::delivery::{Attempt, Delivery, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::contract::Store;
use posthaste_store::sqlite::{CommitObserver, CompressStep, SqliteOptions, SqliteStore};
use posthaste_store::{
    Append, DeliveryFilter, EventFilter, History, IdempotencyRecord, Journal, PageLimit, Piece, Range, Recovered, RetentionRule, Retired,
    Settlement, StoreError, StoreSize,
};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::support::{KEEP, LATER, WORKSPACE, databases, delivered, event};

/// Waits that end without a compression are no failure: the loop looks again.
const PATIENCE: Duration = Duration::from_millis(200);

struct Ends(Mutex<Sender<()>>);

impl CommitObserver for Ends {
    fn committed(&self, _: usize, _: usize, _: Duration) {}

    fn compressing(&self, _: u32, step: CompressStep) {
        if matches!(step, CompressStep::Done { .. }) {
            self.0.lock().send(()).ok();
        }
    }
}

struct Chilled {
    store: Arc<SqliteStore>,
    dir: PathBuf,
    ends: Mutex<Receiver<()>>,
    is_changed: AtomicBool,
}

impl Chilled {
    fn changed(&self) -> &SqliteStore {
        self.is_changed.store(true, Ordering::SeqCst);
        &self.store
    }

    /// Seals the newest segment and compresses all that have nothing pending.
    async fn chilled(&self) -> &SqliteStore {
        if self.is_changed.swap(false, Ordering::SeqCst) {
            while self.store.retire(KEEP, LATER).await.is_ok() && self.has_warm() {
                self.ends.lock().recv_timeout(PATIENCE).ok();
            }
        }
        &self.store
    }

    /// Whether a segment is yet to be compressed.
    fn has_warm(&self) -> bool {
        let is_warm = |file: &Path| -> rusqlite::Result<bool> {
            // Not created, should it be gone by now.
            let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            let noted = |name: &str| conn.query_row("SELECT count(*) FROM meta WHERE name = ?1", [name], |row| row.get::<_, i64>(0));
            Ok(noted("drained")? > 0 && conn.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0))? > 0)
        };
        let is_plain = |file: &PathBuf| file.starts_with(self.dir.join("journal")) && !file.to_string_lossy().ends_with(".cold.db");
        databases(&self.dir).iter().filter(|file| is_plain(file)).any(|file| is_warm(file).unwrap_or(false))
    }
}

#[async_trait]
impl Journal for Chilled {
    async fn recover(&self) -> Result<Recovered, StoreError> {
        self.chilled().await.recover().await
    }

    async fn append(&self, group: Append) -> Result<(), StoreError> {
        self.changed().append(group).await
    }

    async fn settle(&self, outcomes: Arc<[Settlement]>) -> Result<(), StoreError> {
        self.changed().settle(outcomes).await
    }

    async fn queued(&self, target: i64, after: DeliveryKey, limit: PageLimit) -> Result<Vec<PendingDelivery>, StoreError> {
        self.chilled().await.queued(target, after, limit).await
    }

    async fn due(
        &self,
        target: i64,
        after: (i64, DeliveryKey),
        until_ms: i64,
        limit: PageLimit,
    ) -> Result<Vec<PendingDelivery>, StoreError> {
        self.chilled().await.due(target, after, until_ms, limit).await
    }

    async fn members(&self, batch: DeliveryKey, after: Sequence, limit: PageLimit) -> Result<Vec<Arc<Event>>, StoreError> {
        self.chilled().await.members(batch, after, limit).await
    }

    async fn idempotent(&self, workspace: i64, key: &str, now_ms: i64) -> Result<Option<IdempotencyRecord>, StoreError> {
        self.chilled().await.idempotent(workspace, key, now_ms).await
    }

    async fn reopen(&self, keys: Vec<DeliveryKey>, at_ms: i64) -> Result<Vec<PendingDelivery>, StoreError> {
        let reopened = self.chilled().await.reopen(keys, at_ms).await;
        self.changed();
        reopened
    }

    async fn retire(&self, rule: RetentionRule, now_ms: i64) -> Result<Retired, StoreError> {
        self.changed().retire(rule, now_ms).await
    }

    async fn close(&self) {
        Journal::close(&*self.store).await;
    }
}

#[async_trait]
impl History for Chilled {
    async fn event(&self, workspace: i64, sequence: Sequence) -> Result<Option<Arc<Event>>, StoreError> {
        self.chilled().await.event(workspace, sequence).await
    }

    async fn events_piece(&self, workspace: i64, filter: EventFilter, range: Range, bytes: usize) -> Result<Piece<Arc<Event>>, StoreError> {
        self.chilled().await.events_piece(workspace, filter, range, bytes).await
    }

    async fn about(&self, workspace: Option<i64>, subject: &str, range: Range) -> Result<Vec<Arc<Event>>, StoreError> {
        self.chilled().await.about(workspace, subject, range).await
    }

    async fn count(&self, workspace: i64, type_name: &str) -> Result<u64, StoreError> {
        self.chilled().await.count(workspace, type_name).await
    }

    async fn delivery(&self, workspace: i64, key: DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        self.chilled().await.delivery(workspace, key).await
    }

    async fn deliveries_piece(&self, workspace: i64, filter: DeliveryFilter, range: Range) -> Result<Piece<Delivery>, StoreError> {
        self.chilled().await.deliveries_piece(workspace, filter, range).await
    }

    async fn deliveries_of_each(&self, workspace: i64, events: Vec<Sequence>) -> Result<Vec<Vec<Delivery>>, StoreError> {
        self.chilled().await.deliveries_of_each(workspace, events).await
    }

    async fn last_attempts(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<Attempt>>, StoreError> {
        self.chilled().await.last_attempts(keys).await
    }

    async fn attempts(&self, key: DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        self.chilled().await.attempts(key).await
    }

    async fn size(&self) -> Result<StoreSize, StoreError> {
        self.store.size().await
    }
}

async fn open(dir: &Path) -> Store {
    let (sender, ends) = channel();
    let options = SqliteOptions {
        compress_after: Some(Duration::from_secs(60)),
        observer: Some(Arc::new(Ends(Mutex::new(sender)))),
        ..SqliteOptions::default()
    };
    let store = Arc::new(SqliteStore::open(dir, options).expect("the store opens"));
    let chilled =
        Arc::new(Chilled { store: store.clone(), dir: dir.to_owned(), ends: Mutex::new(ends), is_changed: AtomicBool::new(true) });
    Store { catalog: store.clone(), journal: chilled.clone(), history: chilled, bins: store.clone(), suppressions: store }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                posthaste_store::contract::$name(&open).await;
            }
        )*
    };
}

contract!(
    appends_are_atomic,
    one_bad_append_fails_alone,
    payloads_come_back_exactly,
    settled_is_settled,
    pages_are_bounded,
    due_is_ordered,
    batches_are_found,
    members_come_in_pages,
    idempotency_keys_last_a_day,
    reopening_queues_again,
    survives_a_restart,
    history_belongs_to_its_workspace,
    lists_match_a_model,
    last_attempts_are_found,
    events_are_found_by_their_subject,
    outgoing_messages_are_listed_only_by_type,
    closed_is_closed,
);

/// The suite above reads compressed segments, and not by chance none.
#[tokio::test]
async fn it_is_cold_in_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    store.journal.append(event(1, 100)).await.expect("append");
    store.journal.settle(delivered(1, 10)).await.expect("settle");
    store.history.event(WORKSPACE, Sequence(1)).await.expect("event").expect("is there");
    assert_eq!(store.history.size().await.expect("size").compressed, 1);
    store.journal.close().await;
}
