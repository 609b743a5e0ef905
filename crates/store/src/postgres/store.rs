//! The store as others see it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use posthaste_domain::delivery::{Attempt, Delivery, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::people::Session;
use posthaste_domain::people::audit::Entry;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::{Command, Reply};
use super::error::{Failure, Kind};
use super::link::{Address, Alone, Conn, Link};
use super::nodes::{self, Held, Identity};
use super::shared::{Links, Shared};
use super::tls::Tls;
use super::writer::Writer;
use super::{PostgresOptions, bins, buckets, catalog, deliveries, listen, lists, moving, pages, people, rows, schema, suppressions};
use crate::{
    Append, AuditFilter, AuditRecord, BinRequest, BinRoom, Bins, Catalog, CatalogError, Change, DeliveryFilter, EventFilter, History,
    IdempotencyRecord, Inherited, Journal, PageLimit, Piece, Range, Record, Recovered, RetentionRule, Retired, Settlement, StoreError,
    StoreSize, Suppression, Suppressions,
};

/// Commands that may wait for the writer.
const WAITING_COMMANDS: usize = 1024;
/// What a commit takes where nobody else keeps the database busy. One that took longer competes with others, and small transactions are dear: each
/// costs nearly a millisecond of processors, however little is in it.
const QUIET: Duration = Duration::from_micros(700);
/// How long a group may wait for company.
const COMPANY: Duration = Duration::from_millis(4);
/// How often a node that is still starting says that it lives.
const PULSE: Duration = Duration::from_secs(1);

/// A database. Cheap to clone; all clones are the same node.
#[derive(Clone)]
pub struct PostgresStore {
    commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
    /// For connections that are needed for a while.
    address: Address,
    tasks: TaskTracker,
}

impl PostgresStore {
    /// Opens a database as a node of its own, and brings the schema up. `url` is as `libpq` has it: `postgres://user@host/database`, or
    /// `host=… user=…`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached, [`StoreError::TooNew`] when a newer release needs its own kind,
    /// [`StoreError::MasterKey`] when the keys do not open its secrets, [`StoreError::Moving`] when it is being moved or was, [`StoreError::Engine`] for a URL that is none and all else.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let mut config: tokio_postgres::Config = url.parse().map_err(|error: tokio_postgres::Error| StoreError::Engine(error.into()))?;
        config.application_name(format!("posthaste {}", options.name));
        config.connect_timeout(options.connect_timeout).tcp_user_timeout(options.answer_timeout);
        let place = moving::name_of(&config);
        let address = Address {
            config,
            tls: Tls::new(options.authorities.as_deref())?,
            connect_timeout: options.connect_timeout,
            answer_timeout: options.answer_timeout,
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let link = || Link::open(address.clone(), &tasks, stop.clone());
        // If it fails from here on, the connections go.
        let guard = stop.clone().drop_guard();
        let side = link().await?;
        let identity = prepare(&side, &options, &place).await?;
        let mut history = Vec::new();
        for _ in 0..options.list_connections.max(1) {
            history.push(link().await?);
        }
        let (writing, lanes, visitors, keeping) = (link().await?, link().await?, link().await?, link().await?);
        let shared = Arc::new(Shared::new(options, identity, Links { writing, lanes, history, side, visitors, keeping }));
        shared.refresh(&*shared.lane()?).await?;
        let mut pending = shared.pending.lock();
        (0..super::pending::PARTS).for_each(|part| pending.hold((identity.stream, part)));
        drop(pending);
        let (commands, queue) = mpsc::channel(WAITING_COMMANDS);
        guard.disarm();
        tasks.spawn(listen::run(address.clone(), Arc::clone(&shared.tower), stop.clone()));
        tasks.spawn(pulse(Arc::clone(&shared), stop.clone()));
        tasks.spawn(Writer::new(shared.clone(), stop).run(queue));
        tasks.close();
        Ok(Self { commands, shared, address, tasks })
    }

    /// Which node this is.
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// What this node holds, as the database knows it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn held(&self) -> Result<Vec<Held>, StoreError> {
        Ok(nodes::held(&*self.shared.lane()?, self.shared.identity.node).await?)
    }

    pub(super) async fn lease_sequences(&self, count: u32) -> Result<Sequence, StoreError> {
        let conn = self.shared.lane()?;
        let first = nodes::lease(&conn, i64::from(count)).await?;
        if self.shared.buckets().current().is_none_or(|current| current.until.is_some_and(|until| first + i64::from(count) > until)) {
            self.shared.refresh(&conn).await?;
        }
        Ok(Sequence(first))
    }

    /// A read, again if the buckets changed below it.
    async fn read<T, F: Future<Output = Result<T, Failure>>>(&self, conn: &Conn, read: impl Fn() -> F) -> Result<T, StoreError> {
        match read().await {
            Err(Failure { kind: Kind::Moved, .. }) => {
                self.shared.refresh(conn).await?;
                Ok(read().await?)
            }
            other => Ok(other?),
        }
    }

    /// Counts what was taken over. That may take long, so it is done on a connection of its own.
    pub(super) async fn count(&self) -> Result<Vec<Inherited>, StoreError> {
        let claims = self.shared.uncounted.lock().clone();
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let link = Link::open(self.address.clone(), &self.tasks, stop).await?;
        let lanes = self.shared.count(&*link.conn()?, &claims, false).await?;
        self.shared.uncounted.lock().retain(|claim| !claims.contains(claim));
        Ok(lanes)
    }

    pub(super) async fn command<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// A transaction that goes on when whoever asked for it hangs up: in the middle of it, its connection would have to be given up.
    async fn whole<T, F>(&self, link: fn(&Shared) -> &Link, work: impl FnOnce(Alone) -> F + Send + 'static) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        self.shared.check_open()?;
        let shared = Arc::clone(&self.shared);
        self.to_its_end(async move { Ok(work(link(&shared).alone().await?).await?) }).await
    }

    /// Ends the epoch if something may come late that was begun in it.
    pub(super) async fn out_of_doubt(&self) -> Result<(), StoreError> {
        if self.shared.in_doubt.load(Ordering::Acquire) { self.command(Command::Decide).await } else { Ok(()) }
    }

    /// Work that goes on when nobody waits for it any more.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.tasks.spawn(work).await.unwrap_or_else(|panicked| Err(StoreError::Engine(panicked.into())))
    }

    /// Tells the writer something that nobody waits for.
    pub(super) async fn tell(&self, command: Command) {
        // A writer that is gone needs to know nothing.
        self.commands.send(command).await.ok();
    }
}

/// Says that the node lives, until somebody else does: what it has to read before it can work may take longer than silence is forgiven.
async fn pulse(shared: Arc<Shared>, stop: CancellationToken) {
    while !shared.is_beating.load(Ordering::Relaxed) {
        if let Ok(conn) = shared.lanes.conn() {
            let pulse = nodes::pulse(&conn, shared.identity.node).await;
            shared.beaten(pulse.is_ok());
        }
        tokio::select! {
            () = tokio::time::sleep(PULSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Brings the schema up and makes a node.
async fn prepare(side: &Link, options: &PostgresOptions, place: &str) -> Result<Identity, StoreError> {
    let tx = side.alone().await?;
    let prepared = async {
        schema::migrate(&tx).await?;
        moving::check(&tx, place).await?;
        buckets::begin(&tx).await?;
        catalog::seal_anew(&tx, &options.master_keys).await.map_err(Failure::other)?;
        nodes::register(&tx, &options.name).await
    };
    let prepared = prepared.await;
    Ok(tx.finish(prepared).await?)
}

#[async_trait]
impl Journal for PostgresStore {
    async fn recover(&self) -> Result<Recovered, StoreError> {
        self.command(Command::Recover).await
    }

    async fn append(&self, group: Append) -> Result<(), StoreError> {
        self.command(|reply| Command::Append(group, reply)).await
    }

    fn crowd(&self) -> usize {
        2
    }

    fn company(&self, took: Duration) -> Duration {
        took.saturating_sub(QUIET).min(COMPANY)
    }

    async fn settle(&self, outcomes: Arc<[Settlement]>) -> Result<(), StoreError> {
        self.command(|reply| Command::Settle(outcomes, reply)).await
    }

    async fn queued(&self, target: i64, after: DeliveryKey, limit: PageLimit) -> Result<Vec<PendingDelivery>, StoreError> {
        let conn = self.shared.lane()?;
        self.read(&conn, || pages::queued(&self.shared, &conn, target, after, limit)).await
    }

    async fn due(
        &self,
        target: i64,
        after: (i64, DeliveryKey),
        until_ms: i64,
        limit: PageLimit,
    ) -> Result<Vec<PendingDelivery>, StoreError> {
        let conn = self.shared.lane()?;
        self.read(&conn, || pages::due(&self.shared, &conn, target, after, until_ms, limit)).await
    }

    async fn members(&self, batch: DeliveryKey, after: Sequence, limit: PageLimit) -> Result<Vec<Arc<Event>>, StoreError> {
        let conn = self.shared.lane()?;
        self.read(&conn, || pages::members(&self.shared, &conn, batch, after, limit)).await
    }

    async fn idempotent(&self, workspace: i64, key: &str, now_ms: i64) -> Result<Option<IdempotencyRecord>, StoreError> {
        let conn = self.shared.lane()?;
        self.read(&conn, || pages::idempotent(&self.shared, &conn, workspace, key, now_ms)).await
    }

    async fn reopen(&self, keys: Vec<DeliveryKey>, at_ms: i64) -> Result<Vec<PendingDelivery>, StoreError> {
        self.command(|reply| Command::Reopen(keys, at_ms, reply)).await
    }

    async fn retire(&self, rule: RetentionRule, now_ms: i64) -> Result<Retired, StoreError> {
        let store = self.clone();
        self.to_its_end(async move { Ok(store.drop_old(rule, now_ms).await?) }).await
    }

    async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).await.is_ok() {
            done.await.ok();
        }
        self.tasks.wait().await;
    }
}

#[async_trait]
impl History for PostgresStore {
    async fn event(&self, workspace: i64, sequence: Sequence) -> Result<Option<Arc<Event>>, StoreError> {
        let conn = self.shared.list()?;
        let event = self.read(&conn, || rows::event(&self.shared, &conn, sequence)).await?;
        Ok(event.filter(|event| event.workspace == workspace))
    }

    async fn events_piece(&self, workspace: i64, filter: EventFilter, range: Range, bytes: usize) -> Result<Piece<Arc<Event>>, StoreError> {
        let conn = self.shared.list()?;
        self.read(&conn, || lists::events(&self.shared, &conn, workspace, &filter, &range, bytes)).await
    }

    async fn about(&self, workspace: Option<i64>, subject: &str, range: Range) -> Result<Vec<Arc<Event>>, StoreError> {
        let conn = self.shared.list()?;
        self.read(&conn, || lists::about(&self.shared, &conn, workspace, subject, &range)).await
    }

    async fn count(&self, workspace: i64, type_name: &str) -> Result<u64, StoreError> {
        let conn = self.shared.list()?;
        self.read(&conn, || lists::count(&self.shared, &conn, workspace, type_name)).await
    }

    async fn delivery(&self, workspace: i64, key: DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        let conn = self.shared.list()?;
        let keys = [key];
        let found = self.read(&conn, || rows::by_key(&self.shared, &conn, &keys)).await?.remove(&key);
        Ok(found.filter(|delivery| delivery.workspace == workspace))
    }

    async fn deliveries_piece(&self, workspace: i64, filter: DeliveryFilter, range: Range) -> Result<Piece<Delivery>, StoreError> {
        let conn = self.shared.list()?;
        self.read(&conn, || deliveries::deliveries(&self.shared, &conn, workspace, &filter, &range)).await
    }

    async fn deliveries_of_each(&self, workspace: i64, events: Vec<Sequence>) -> Result<Vec<Vec<Delivery>>, StoreError> {
        let conn = self.shared.list()?;
        self.read(&conn, || deliveries::deliveries_of_each(&self.shared, &conn, workspace, &events)).await
    }

    async fn attempts(&self, key: DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        let conn = self.shared.list()?;
        self.read(&conn, || deliveries::attempts(&self.shared, &conn, key)).await
    }

    async fn last_attempts(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<Attempt>>, StoreError> {
        let conn = self.shared.list()?;
        self.read(&conn, || deliveries::last_attempts(&self.shared, &conn, &keys)).await
    }

    async fn size(&self) -> Result<StoreSize, StoreError> {
        let sizes = buckets::sizes(&*self.shared.list()?, self.shared.options.answer_timeout).await?;
        Ok(StoreSize { buckets: sizes.len(), bytes: sizes.iter().map(|(_, bytes)| bytes).sum(), ..StoreSize::default() })
    }
}

#[async_trait]
impl Catalog for PostgresStore {
    async fn load(&self) -> Result<Vec<Record>, StoreError> {
        catalog::load(&self.shared).await
    }

    async fn write(&self, changes: Vec<Change>, entries: Vec<Entry>) -> Result<Vec<Record>, CatalogError> {
        catalog::write(&self.shared, changes, &entries).await
    }

    async fn audit(&self, workspace: i64, filter: AuditFilter, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.whole(
            |shared| &shared.visitors,
            move |tx| async move {
                let found = people::list(&tx, workspace, &filter, before, limit).await;
                tx.finish(found).await
            },
        )
        .await
    }

    async fn drop_audit(&self, before_ms: i64) -> Result<usize, StoreError> {
        let own = self.shared.identity;
        self.whole(
            |shared| &shared.side,
            move |tx| async move {
                let dropped = async {
                    nodes::holding(&tx, own).await?;
                    people::drop_before(&tx, before_ms).await
                };
                let dropped = dropped.await;
                tx.finish(dropped).await
            },
        )
        .await
    }

    async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        self.whole(
            |shared| &shared.side,
            move |tx| async move {
                let found = people::sessions(&tx).await;
                tx.finish(found).await
            },
        )
        .await
    }

    async fn put_session(&self, session: Session) -> Result<(), StoreError> {
        let own = self.shared.identity;
        self.whole(
            |shared| &shared.side,
            move |tx| async move {
                let put = async {
                    nodes::holding(&tx, own).await?;
                    people::put_session(&tx, &session).await
                };
                let put = put.await;
                tx.finish(put).await
            },
        )
        .await
    }

    async fn end_sessions(&self, ids: Vec<String>, entries: Vec<Entry>) -> Result<(), StoreError> {
        let own = self.shared.identity;
        self.whole(
            |shared| &shared.side,
            move |tx| async move {
                let ended = async {
                    nodes::holding(&tx, own).await?;
                    people::end_sessions(&tx, &ids, &entries).await
                };
                let ended = ended.await;
                tx.finish(ended).await
            },
        )
        .await
    }
}

#[async_trait]
impl Bins for PostgresStore {
    async fn put(&self, bin: i64, request: BinRequest, room: BinRoom) -> Result<Option<i64>, StoreError> {
        let own = self.shared.identity;
        self.whole(
            |shared| &shared.visitors,
            move |tx| async move {
                let put = async {
                    nodes::holding(&tx, own).await?;
                    bins::put_request(&tx, bin, &request, room).await
                };
                let put = put.await;
                tx.finish(put).await
            },
        )
        .await
    }

    async fn list(&self, bin: i64, before: Option<i64>, limit: usize) -> Result<Vec<BinRequest>, StoreError> {
        self.whole(
            |shared| &shared.visitors,
            move |tx| async move {
                let found = bins::list(&tx, bin, before, limit).await;
                tx.finish(found).await
            },
        )
        .await
    }

    async fn clear(&self, bin: i64) -> Result<(), StoreError> {
        let own = self.shared.identity;
        self.whole(
            |shared| &shared.visitors,
            move |tx| async move {
                let cleared = async {
                    nodes::holding(&tx, own).await?;
                    bins::clear(&tx, bin).await
                };
                let cleared = cleared.await;
                tx.finish(cleared).await
            },
        )
        .await
    }
}

#[async_trait]
impl Suppressions for PostgresStore {
    async fn suppress(&self, workspace: i64, suppression: Suppression) -> Result<(), StoreError> {
        Ok(suppressions::suppress(&*self.shared.lane()?, self.shared.identity, workspace, &suppression).await?)
    }

    async fn suppressed(
        &self,
        workspace: i64,
        scopes: Vec<String>,
        addresses: Vec<String>,
    ) -> Result<Vec<Option<Suppression>>, StoreError> {
        Ok(suppressions::find(&*self.shared.lane()?, workspace, &scopes, &addresses).await?)
    }

    async fn suppressions(
        &self,
        workspace: i64,
        scope: Option<String>,
        after: Option<(String, String)>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        Ok(suppressions::list(&*self.shared.list()?, workspace, scope.as_deref(), after.as_ref(), limit).await?)
    }

    async fn unsuppress(&self, workspace: i64, scope: &str, address: &str) -> Result<bool, StoreError> {
        Ok(suppressions::remove(&*self.shared.lane()?, self.shared.identity, workspace, scope, address).await?)
    }
}
