//! Connections that come back by themselves.
//!
//! A [`Link`] is one place for a connection, with one task that connects, drives the connection until it ends, and connects again, with a
//! backoff that never gives up. Who asks while there is none gets an answer at once.
//!
//! Invariants:
//! 1. A transaction is handed to the connection in one piece, `BEGIN` to `COMMIT`, before anything is awaited: so several callers can share
//!    a connection, and it takes one round trip. The exception is [`Link::alone`].
//! 2. A connection whose answer did not come in time is given up: nobody waits for what it still owes.
//! 3. Nothing is set for longer than a transaction, so that a pool in transaction mode can stand between.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Connection, Row, Socket, Statement};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::copy::Rows;
use super::error::{Failure, Late, NotConnected};
use super::tls::{Stream, Tls};
use crate::StoreError;

/// The first and the longest pause before connecting again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 512;

/// Bytes of one message of a `COPY`.
const COPY_BYTES: usize = 256 << 10;

/// Begins a transaction of keyed work. Tables that were just made have no statistics, so what counts is made plain to the planner: look at
/// few rows. Plans are made once. Whoever freezes in the middle of it loses its locks: what is to take over its work must not wait for them.
pub(super) const BEGIN_KEYED: &str = "BEGIN;SET LOCAL enable_seqscan=off;SET LOCAL random_page_cost=0;SET LOCAL cpu_tuple_cost=1000;\
     SET LOCAL jit=off;SET LOCAL plan_cache_mode=force_generic_plan;SET LOCAL synchronous_commit=on;\
     SET LOCAL idle_in_transaction_session_timeout=3000";
/// Begins any other transaction.
pub(super) const BEGIN: &str = "BEGIN;SET LOCAL jit=off;SET LOCAL synchronous_commit=on;SET LOCAL idle_in_transaction_session_timeout=5000";

/// Values of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];
/// A statement with its values.
pub(super) type Query<'a> = (Statement, Vec<&'a (dyn ToSql + Sync)>);

/// How to reach the database, and for how long to wait for it.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) connect_timeout: Duration,
    pub(super) answer_timeout: Duration,
}

/// An open connection.
pub(super) struct Conn {
    client: Client,
    prepared: Mutex<HashMap<String, Statement>>,
    given_up: CancellationToken,
    answer_timeout: Duration,
}

enum State {
    Open(Arc<Conn>),
    Away(Option<String>),
}

/// A place for a connection.
pub(super) struct Link {
    state: watch::Receiver<State>,
    alone: Arc<AsyncMutex<()>>,
}

impl Link {
    /// Connects, and goes on doing so until `stop`.
    pub(super) async fn open(address: Address, tasks: &TaskTracker, stop: CancellationToken) -> Result<Self, StoreError> {
        let (client, connection) = connect(&address).await?;
        let conn = Arc::new(Conn::new(client, &address));
        let (sender, state) = watch::channel(State::Open(conn.clone()));
        tasks.spawn(async move {
            drive(connection, &conn, &stop).await;
            drop(conn);
            keep(&address, &sender, &stop).await;
        });
        Ok(Self { state, alone: Arc::default() })
    }

    /// The connection, if there is one now.
    pub(super) fn conn(&self) -> Result<Arc<Conn>, StoreError> {
        match &*self.state.borrow() {
            State::Open(conn) if !conn.client.is_closed() => Ok(conn.clone()),
            State::Open(_) => Err(StoreError::Unavailable(NotConnected(None).into())),
            State::Away(why) => Err(StoreError::Unavailable(NotConnected(why.clone()).into())),
        }
    }

    /// The connection for one caller, who may wait between statements.
    pub(super) async fn alone(&self) -> Result<Alone, StoreError> {
        let turn = Arc::clone(&self.alone).lock_owned().await;
        let conn = self.conn()?;
        conn.within(conn.client.batch_execute(BEGIN)).await?;
        Ok(Alone { conn, _turn: turn, is_done: false })
    }
}

/// Connects again and again.
async fn keep(address: &Address, sender: &watch::Sender<State>, stop: &CancellationToken) {
    let mut pause = PAUSES.0;
    let mut why = None;
    while !stop.is_cancelled() {
        sender.send_replace(State::Away(why.take()));
        // Some nodes lose the database at the same moment; they need not come back at the same one.
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::select! {
            () = sleep(pause.mul_f64(jitter)) => {}
            () = stop.cancelled() => break,
        }
        match connect(address).await {
            Ok((client, connection)) => {
                pause = PAUSES.0;
                tracing::info!("connected to the database again");
                let conn = Arc::new(Conn::new(client, address));
                sender.send_replace(State::Open(conn.clone()));
                drive(connection, &conn, stop).await;
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(%error, ?source, "the database cannot be reached");
                why = source;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
    sender.send_replace(State::Away(None));
}

pub(super) async fn connect(address: &Address) -> Result<(Client, Connection<Socket, Stream>), StoreError> {
    match timeout(address.connect_timeout, address.config.connect(address.tls.clone())).await {
        Ok(connected) => connected.map_err(|error| {
            let failure = Failure::from(error);
            failure.error
        }),
        Err(_) => Err(StoreError::Unavailable(Late(address.connect_timeout).into())),
    }
}

/// Moves bytes until the connection ends, is given up, or is no longer wanted.
async fn drive(connection: Connection<Socket, Stream>, conn: &Conn, stop: &CancellationToken) {
    let lost = tokio::select! {
        ended = connection => ended.err(),
        () = conn.given_up.cancelled() => None,
        () = stop.cancelled() => return,
    };
    tracing::warn!(error = lost.map(|error| error.to_string()), "the connection to the database is lost");
}

/// Polls all at each turn, in order, so that what they send is sent in that order.
pub(super) async fn in_order<T>(mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = Vec::new();
    results.resize_with(futures.len(), || None);
    poll_fn(|context| {
        let mut is_ready = true;
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => is_ready = false,
                }
            }
        }
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

impl Conn {
    fn new(client: Client, address: &Address) -> Self {
        Self { client, prepared: Mutex::default(), given_up: CancellationToken::new(), answer_timeout: address.answer_timeout }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
        self.within_time(self.answer_timeout, work).await
    }

    async fn within_time<T>(&self, limit: Duration, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
        match timeout(limit, work).await {
            Ok(done) => done.map_err(Failure::from),
            Err(_) => {
                self.given_up.cancel();
                Err(Failure::uncertain(Late(limit)))
            }
        }
    }

    /// A statement that stays prepared.
    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Failure> {
        let known = self.prepared.lock().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.within(self.client.prepare(sql)).await.map_err(|failure| Failure {
            // Nothing was asked to be done yet.
            kind: if failure.kind == super::error::Kind::Uncertain { super::error::Kind::Other } else { failure.kind },
            ..failure
        })?;
        let mut prepared = self.prepared.lock();
        if prepared.len() >= STATEMENTS {
            prepared.clear();
        }
        prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Forgets what is prepared, after tables went.
    pub(super) fn forget_prepared(&self) {
        self.prepared.lock().clear();
    }

    /// Several statements in one transaction and one round trip; answers the rows of each.
    pub(super) async fn transaction(&self, begin: &str, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        self.transaction_within(self.answer_timeout, begin, queries).await
    }

    /// The same, for work that takes its time.
    pub(super) async fn transaction_within(&self, limit: Duration, begin: &str, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        type Step<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send + 'a>>;
        let plain = |sql: &'static str| -> Step<'_> { Box::pin(async move { self.client.batch_execute(sql).await.map(|()| Vec::new()) }) };
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(queries.len() + 2);
        steps.push(Box::pin(async move { self.client.batch_execute(begin).await.map(|()| Vec::new()) }));
        for (statement, params) in queries {
            steps.push(Box::pin(self.client.query(statement, params)));
        }
        steps.push(plain("COMMIT"));
        let all = async {
            let mut done = in_order(steps).await.into_iter();
            done.next();
            let mut rows = Vec::with_capacity(queries.len());
            // The first failure is the one that tells; those after it only say that the transaction has failed.
            for step in done {
                rows.push(step?);
            }
            rows.pop();
            Ok(rows)
        };
        self.within_time(limit, all).await
    }

    /// One statement of keyed work.
    pub(super) async fn keyed(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql).await?;
        let mut rows = self.transaction(BEGIN_KEYED, &[(statement, params.to_vec())]).await?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// One statement that is a transaction of its own and is planned for what it finds.
    pub(super) async fn query(&self, limit: Duration, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql).await?;
        self.within_time(limit, self.client.query(&statement, params)).await
    }
}

/// A transaction that may wait between its statements. Dropped without a commit, the connection is given up, and with it the transaction.
pub(super) struct Alone {
    conn: Arc<Conn>,
    _turn: OwnedMutexGuard<()>,
    is_done: bool,
}

impl Alone {
    /// Rows of a statement.
    pub(super) async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.conn.prepare(sql).await?;
        self.conn.within(self.conn.client.query(&statement, params)).await
    }

    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Failure> {
        let statement = self.conn.prepare(sql).await?;
        self.conn.within(self.conn.client.execute(&statement, params)).await
    }

    /// Has all of it see the same moment. To be asked for first.
    pub(super) async fn one_moment(&self) -> Result<(), Failure> {
        self.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await
    }

    /// Writes many rows to a table: `table(columns)`.
    pub(super) async fn copy(&self, table: &str, rows: Rows) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut bytes = rows.finish();
        let sql = format!("COPY {table} FROM STDIN (FORMAT binary)");
        let copy = async {
            let mut sink = std::pin::pin!(self.conn.client.copy_in::<_, Bytes>(&sql).await?);
            while !bytes.is_empty() {
                sink.feed(bytes.split_to(bytes.len().min(COPY_BYTES))).await?;
            }
            sink.finish().await
        };
        self.conn.within(copy).await.map(drop)
    }

    /// Runs a script without values.
    pub(super) async fn script(&self, sql: &str) -> Result<(), Failure> {
        self.conn.within(self.conn.client.batch_execute(sql)).await
    }

    /// Makes it durable if the work went well, and undoes it otherwise.
    pub(super) async fn finish<T, E: From<Failure>>(self, worked: Result<T, E>) -> Result<T, E> {
        match worked {
            Ok(value) => {
                self.end("COMMIT").await?;
                Ok(value)
            }
            Err(error) => {
                // Without a connection it is undone already.
                self.end("ROLLBACK").await.ok();
                Err(error)
            }
        }
    }

    async fn end(mut self, how: &str) -> Result<(), Failure> {
        self.conn.within(self.conn.client.batch_execute(how)).await?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if !self.is_done {
            self.conn.given_up.cancel();
        }
    }
}
