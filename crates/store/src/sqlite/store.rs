//! The store as others see it: each method is a message to the thread that does the work.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use posthaste_domain::delivery::{Attempt, Delivery, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::people::Session;
use posthaste_domain::people::audit::Entry;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::bins::BinsDb;
use super::catalog::CatalogDb;
use super::checkpoint::Checkpointer;
use super::command::{Command, Reply};
use super::compress::Compressor;
use super::effort::Effort;
use super::lock::DirectoryLock;
use super::readers::{Pool, Threads};
use super::segments::Segments;
use super::writer::{Limits, Writer};
use super::{SqliteOptions, about, lists, members, pages, people, schema, suppressions};
use crate::migrate;
use crate::{
    Append, AuditFilter, AuditRecord, BinRequest, BinRoom, Bins, Catalog, CatalogError, Change, DeliveryFilter, EventFilter, History,
    IdempotencyRecord, Journal, PageLimit, Piece, Range, Record, Recovered, RetentionRule, Retired, Settlement, StoreError, StoreSize,
    Suppression, Suppressions,
};

/// Commands that may wait for the writer.
const WAITING_COMMANDS: usize = 1024;

/// A data directory. Cheap to clone; all clones are the same store. When the last one goes, it is closed.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    writer: mpsc::Sender<Command>,
    writer_thread: Option<JoinHandle<()>>,
    segments: Arc<Segments>,
    pool: Arc<Pool>,
    /// Reads of the delivery path do not queue behind those of people.
    journal_reads: Threads,
    history_reads: Threads,
    piece_effort: u32,
    catalog: Arc<Mutex<Option<CatalogDb>>>,
    catalog_thread: Threads,
    bins: Arc<Mutex<Option<BinsDb>>>,
    bins_thread: Threads,
    closed: AtomicBool,
    lock: Mutex<Option<DirectoryLock>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a sender the writer finishes what it has and ends; only then may the lock go.
        self.writer = mpsc::channel(1).0;
        if let Some(thread) = self.writer_thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal writer panicked");
        }
    }
}

impl SqliteStore {
    /// Opens a data directory, creating it at the first start. Blocks for as long as it takes to look at each segment.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process serves it, [`StoreError::Moving`] when it is being moved or was, [`StoreError::TooNew`] when a newer release wrote it,
    /// [`StoreError::MasterKey`] when `master.key` does not fit, [`StoreError::File`] when a file is missing or damaged or the key is open
    /// to everybody, [`StoreError::Full`] when the directory cannot be written.
    pub fn open(dir: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        super::create_dir(dir)?;
        let lock = DirectoryLock::take(dir)?;
        migrate::marker::check(dir)?;
        let journal = dir.join("journal");
        let catalog = CatalogDb::open(dir, Segments::exist(&journal)?)?;
        let bins = BinsDb::open(dir)?;
        let segments = Arc::new(Segments::open(&journal)?);
        let pool = Arc::new(Pool::default());
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let limits = Limits {
            segment_bytes: options.segment_bytes,
            segment_age_ms: millis(options.segment_age),
            compress_after_ms: options.compress_after.map(millis),
        };
        let (commands, queue) = mpsc::channel(WAITING_COMMANDS);
        let compressor = options.compress_after.map(|_| Compressor::start(commands.downgrade(), options.observer.clone())).transpose()?;
        let mut writer = Writer::new(segments.clone(), pool.clone(), Checkpointer::start()?, compressor, options.observer, limits);
        writer.prepare();
        let writer_thread =
            std::thread::Builder::new().name("posthaste-journal".into()).spawn(move || writer.run(queue)).map_err(schema::file_error)?;
        let inner = Inner {
            writer: commands,
            writer_thread: Some(writer_thread),
            segments,
            pool,
            journal_reads: Threads::start("posthaste-lanes", 2)?,
            history_reads: Threads::start("posthaste-history", 2)?,
            piece_effort: options.piece_effort,
            catalog: Arc::new(Mutex::new(Some(catalog))),
            catalog_thread: Threads::start("posthaste-catalog", 1)?,
            bins: Arc::new(Mutex::new(Some(bins))),
            bins_thread: Threads::start("posthaste-bins", 1)?,
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Keeps the catalog and every journal file from growing beyond so many pages, which looks like a full disk. `None` lifts it.
    #[doc(hidden)]
    pub async fn cap_pages(&self, pages: Option<u32>) -> Result<(), StoreError> {
        self.command(|reply| Command::CapPages(pages, reply)).await?;
        let catalog = self.inner.catalog.clone();
        let cap = move || catalog.lock().as_ref().map_or(Err(StoreError::Closed), |catalog| catalog.cap_pages(pages));
        self.inner.catalog_thread.run(cap).await
    }

    async fn command<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inner.writer.send(command(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.inner.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// A read of the delivery path.
    async fn page<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Segments, &Arc<Pool>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let (segments, pool) = (self.inner.segments.clone(), self.inner.pool.clone());
        self.inner.journal_reads.run(move || read(&segments, &pool)).await
    }

    /// A read for people.
    async fn list<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Segments, &Arc<Pool>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let (segments, pool) = (self.inner.segments.clone(), self.inner.pool.clone());
        self.inner.history_reads.run(move || read(&segments, &pool)).await
    }

    /// Work on the tables beside the catalog's documents.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let catalog = self.inner.catalog.clone();
        let work = move || catalog.lock().as_ref().map_or(Err(StoreError::Closed), |catalog| catalog.beside(work));
        self.inner.catalog_thread.run(work).await
    }

    async fn bins<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut BinsDb) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let bins = self.inner.bins.clone();
        self.inner.bins_thread.run(move || bins.lock().as_mut().map_or(Err(StoreError::Closed), work)).await
    }
}

#[async_trait]
impl Journal for SqliteStore {
    async fn recover(&self) -> Result<Recovered, StoreError> {
        self.page(|segments, _| Ok(pages::recover(segments))).await
    }

    async fn append(&self, group: Append) -> Result<(), StoreError> {
        self.command(|reply| Command::Append(group, Some(reply))).await
    }

    async fn settle(&self, outcomes: Arc<[Settlement]>) -> Result<(), StoreError> {
        self.command(|reply| Command::Settle(outcomes, reply)).await
    }

    async fn queued(&self, target: i64, after: DeliveryKey, limit: PageLimit) -> Result<Vec<PendingDelivery>, StoreError> {
        self.page(move |segments, pool| pages::queued(segments, pool, target, after, limit)).await
    }

    async fn due(
        &self,
        target: i64,
        after: (i64, DeliveryKey),
        until_ms: i64,
        limit: PageLimit,
    ) -> Result<Vec<PendingDelivery>, StoreError> {
        self.page(move |segments, pool| pages::due(segments, pool, target, after, until_ms, limit)).await
    }

    async fn members(&self, batch: DeliveryKey, after: Sequence, limit: PageLimit) -> Result<Vec<Arc<Event>>, StoreError> {
        self.page(move |segments, pool| members::members(segments, pool, batch, after, limit)).await
    }

    async fn idempotent(&self, workspace: i64, key: &str, now_ms: i64) -> Result<Option<IdempotencyRecord>, StoreError> {
        let key = key.to_owned();
        self.page(move |segments, pool| pages::idempotent(segments, pool, workspace, &key, now_ms)).await
    }

    async fn reopen(&self, keys: Vec<DeliveryKey>, at_ms: i64) -> Result<Vec<PendingDelivery>, StoreError> {
        // The events are read first: what is reopened and could then not be told would wait until the next start.
        let read = self.page(move |segments, pool| pages::events_of(segments, pool, &keys).map(|events| (keys, events)));
        let (mut keys, events) = read.await?;
        keys.retain(|key| events.contains_key(&key.sequence()));
        let mut reopened = self.command(|reply| Command::Reopen(keys, at_ms, reply)).await?;
        reopened.sort_unstable_by_key(|delivery| delivery.key);
        let with_event = |delivery: Delivery| Some(PendingDelivery { event: events.get(&delivery.key.sequence())?.clone(), delivery });
        Ok(reopened.into_iter().filter_map(with_event).collect())
    }

    async fn retire(&self, rule: RetentionRule, now_ms: i64) -> Result<Retired, StoreError> {
        self.command(|reply| Command::Retire(rule, now_ms, reply)).await
    }

    async fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        let (reply, done) = oneshot::channel();
        // Readers first: the last checkpoint can only empty a WAL that nobody reads.
        self.inner.pool.close();
        if self.inner.writer.send(Command::Close(reply)).await.is_ok() {
            done.await.ok();
        }
        let (catalog, bins) = (self.inner.catalog.clone(), self.inner.bins.clone());
        let catalog_closed = self
            .inner
            .catalog_thread
            .run(move || {
                drop(catalog.lock().take());
                Ok(())
            })
            .await;
        let bins_closed = self
            .inner
            .bins_thread
            .run(move || {
                drop(bins.lock().take());
                Ok(())
            })
            .await;
        if let Err(error) = catalog_closed.and(bins_closed) {
            tracing::warn!(%error, "a file of the store was not closed in order");
        }
        self.inner.lock.lock().take();
    }
}

#[async_trait]
impl History for SqliteStore {
    async fn event(&self, workspace: i64, sequence: Sequence) -> Result<Option<Arc<Event>>, StoreError> {
        self.list(move |segments, pool| lists::event(segments, pool, workspace, sequence)).await
    }

    async fn events_piece(&self, workspace: i64, filter: EventFilter, range: Range, bytes: usize) -> Result<Piece<Arc<Event>>, StoreError> {
        let effort = Effort::new(self.inner.piece_effort);
        self.list(move |segments, pool| lists::events(segments, pool, &effort, workspace, &filter, &range, bytes)).await
    }

    async fn about(&self, workspace: Option<i64>, subject: &str, range: Range) -> Result<Vec<Arc<Event>>, StoreError> {
        let subject = subject.to_owned();
        self.list(move |segments, pool| about::about(segments, pool, workspace, &subject, &range)).await
    }

    async fn count(&self, workspace: i64, type_name: &str) -> Result<u64, StoreError> {
        let type_name = type_name.to_owned();
        self.list(move |segments, pool| about::count(segments, pool, workspace, &type_name)).await
    }

    async fn delivery(&self, workspace: i64, key: DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        self.list(move |segments, pool| lists::delivery(segments, pool, workspace, key)).await
    }

    async fn deliveries_piece(&self, workspace: i64, filter: DeliveryFilter, range: Range) -> Result<Piece<Delivery>, StoreError> {
        let effort = Effort::new(self.inner.piece_effort);
        self.list(move |segments, pool| lists::deliveries(segments, pool, &effort, workspace, &filter, &range)).await
    }

    async fn deliveries_of_each(&self, workspace: i64, events: Vec<Sequence>) -> Result<Vec<Vec<Delivery>>, StoreError> {
        self.list(move |segments, pool| lists::deliveries_of_each(segments, pool, workspace, &events)).await
    }

    async fn attempts(&self, key: DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        self.list(move |segments, pool| lists::attempts(segments, pool, key)).await
    }

    async fn last_attempts(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<Attempt>>, StoreError> {
        self.list(move |segments, pool| lists::last_attempts(segments, pool, &keys)).await
    }

    async fn size(&self) -> Result<StoreSize, StoreError> {
        self.check_open()?;
        let mut size = StoreSize::default();
        for segment in self.inner.segments.all() {
            let bytes = segment.with(|state| state.bytes);
            size.buckets += 1;
            size.bytes += bytes;
            if let Some(before) = segment.plain_bytes {
                size.compressed += 1;
                size.compressed_bytes += bytes;
                size.plain_bytes += before;
            }
        }
        Ok(size)
    }
}

#[async_trait]
impl Catalog for SqliteStore {
    async fn load(&self) -> Result<Vec<Record>, StoreError> {
        let catalog = self.inner.catalog.clone();
        self.inner.catalog_thread.run(move || catalog.lock().as_ref().map_or(Err(StoreError::Closed), CatalogDb::load)).await
    }

    async fn write(&self, changes: Vec<Change>, entries: Vec<Entry>) -> Result<Vec<Record>, CatalogError> {
        let catalog = self.inner.catalog.clone();
        let written = self.inner.catalog_thread.run(move || match catalog.lock().as_mut() {
            // A refusal is an answer too.
            Some(catalog) => Ok(catalog.write(changes, &entries)),
            None => Err(StoreError::Closed),
        });
        written.await?
    }

    async fn audit(&self, workspace: i64, filter: AuditFilter, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.beside(move |conn| people::list(conn, workspace, &filter, before, limit)).await
    }

    async fn drop_audit(&self, before_ms: i64) -> Result<usize, StoreError> {
        self.beside(move |conn| people::drop_before(conn, before_ms)).await
    }

    async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        self.beside(people::sessions).await
    }

    async fn put_session(&self, session: Session) -> Result<(), StoreError> {
        self.beside(move |conn| people::put_session(conn, &session)).await
    }

    async fn end_sessions(&self, ids: Vec<String>, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.beside(move |conn| people::end_sessions(conn, &ids, &entries)).await
    }
}

#[async_trait]
impl Bins for SqliteStore {
    async fn put(&self, bin: i64, request: BinRequest, room: BinRoom) -> Result<Option<i64>, StoreError> {
        self.bins(move |bins| bins.put(bin, &request, room)).await
    }

    async fn list(&self, bin: i64, before: Option<i64>, limit: usize) -> Result<Vec<BinRequest>, StoreError> {
        self.bins(move |bins| bins.list(bin, before, limit)).await
    }

    async fn clear(&self, bin: i64) -> Result<(), StoreError> {
        self.bins(move |bins| bins.clear(bin)).await
    }
}

#[async_trait]
impl Suppressions for SqliteStore {
    async fn suppress(&self, workspace: i64, suppression: Suppression) -> Result<(), StoreError> {
        self.beside(move |conn| suppressions::put(conn, workspace, &suppression)).await
    }

    async fn suppressed(
        &self,
        workspace: i64,
        scopes: Vec<String>,
        addresses: Vec<String>,
    ) -> Result<Vec<Option<Suppression>>, StoreError> {
        self.beside(move |conn| suppressions::find(conn, workspace, &scopes, &addresses)).await
    }

    async fn suppressions(
        &self,
        workspace: i64,
        scope: Option<String>,
        after: Option<(String, String)>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        self.beside(move |conn| suppressions::list(conn, workspace, scope.as_deref(), after.as_ref(), limit)).await
    }

    async fn unsuppress(&self, workspace: i64, scope: &str, address: &str) -> Result<bool, StoreError> {
        let (scope, address) = (scope.to_owned(), address.to_owned());
        self.beside(move |conn| suppressions::remove(conn, workspace, &scope, &address)).await
    }
}
