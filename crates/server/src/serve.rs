//! Accepts connections and serves them until told to stop.
//!
//! Every connection is a tracked task. On shutdown no new connection is accepted, idle ones close at once, requests under way finish
//! within the grace period, and what is left then is cut.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use posthaste_domain::event::Source;
use posthaste_domain::resource::Scope;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::inbound::{self, Inbound, Rest};
use crate::problem::Problem;
use crate::{AppState, auth};

/// Tells long-lived answers that the server closes. In the extensions of every request.
#[derive(Clone, Debug, Default)]
pub struct Closing(pub CancellationToken);

/// One connection, for all requests that come over it.
#[derive(Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Tells long-lived answers that the server closes.
    pub closing: Closing,
    /// Who asked last: nearly always who asks next too.
    last: Mutex<Option<Known>>,
    /// Of the body of the request under way, what its handler did not read.
    rest: Mutex<Option<Rest>>,
}

/// Somebody whose key was found, and what is made from that.
#[derive(Debug)]
struct Known {
    /// The key as it was presented.
    token: Box<str>,
    /// The configuration that it was found in.
    configuration: u64,
    publisher: Publishing,
}

/// Somebody who may publish.
#[derive(Clone, Debug)]
pub(crate) struct Publishing {
    /// Number of the key's workspace.
    pub workspace: i64,
    /// What the events carry.
    pub source: Arc<Source>,
}

impl Peer {
    fn new(address: SocketAddr, closing: Closing) -> Self {
        Self { address, closing, last: Mutex::default(), rest: Mutex::default() }
    }

    /// Takes over what is left of a body.
    pub(crate) fn leave(&self, rest: Rest) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }

    fn take_rest(&self) -> Option<Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Who presents this key, if it may publish.
    ///
    /// The last answer holds as long as nothing at all was changed in the configuration: a deleted key is refused at once.
    pub(crate) fn publisher(&self, headers: &HeaderMap, state: &AppState) -> Result<Publishing, Problem> {
        let token = auth::token(headers)?;
        let configuration = state.engine.configuration();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|known| known.configuration == configuration && *known.token == *token) {
            return Ok(known.publisher.clone());
        }
        let caller = auth::find(token, Some(self.address.ip().to_canonical()), state, Scope::Publish)?;
        let publisher = Publishing { workspace: caller.workspace(), source: caller.source() };
        *last = Some(Known { token: token.into(), configuration, publisher: publisher.clone() });
        Ok(publisher)
    }
}

/// What requests are handed to.
pub trait Surface: Clone + Send + Sync + 'static {
    /// Answers one request. `peer` is the same value for all requests of a connection.
    fn answer(&self, peer: &Arc<Peer>, request: Request<Inbound>) -> impl Future<Output = Response<Body>> + Send;
}

/// Handlers find the peer's address in `ConnectInfo<SocketAddr>` and [`Closing`] in the extensions.
impl Surface for Router {
    async fn answer(&self, peer: &Arc<Peer>, mut request: Request<Inbound>) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo(peer.address));
        request.extensions_mut().insert(peer.closing.clone());
        match self.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Limits of the listener.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Time for a client to send its request head; also how long an idle connection is kept.
    pub header_time: Duration,
    /// Connections at once; more wait in the backlog of the system.
    pub max_connections: usize,
    /// Time for requests under way to finish after the shutdown began.
    pub grace: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self { header_time: Duration::from_secs(60), max_connections: 16_384, grace: Duration::from_secs(10) }
    }
}

/// Bytes of request head that are read before the request is refused with 431. hyper refuses more than 100 headers by itself.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// How long a peer may take to answer a ping on an idle HTTP/2 connection.
const PING_TIME: Duration = Duration::from_secs(20);
/// Pause after a failure to accept, usually a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `app` on `listener` until `shutdown` resolves and the requests under way are done.
pub async fn serve(listener: TcpListener, app: impl Surface, shutdown: impl Future<Output = ()>) {
    serve_with(listener, app, shutdown, ServeSettings::default()).await;
}

/// [`serve`] with other limits.
pub async fn serve_with(listener: TcpListener, app: impl Surface, shutdown: impl Future<Output = ()>, settings: ServeSettings) {
    let tasks = TaskTracker::new();
    let (closing, cut) = (Closing::default(), CancellationToken::new());
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.header_time).max_buf_size(MAX_HEAD_BYTES);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEAD_BYTES as u32);
    builder.http2().keep_alive_interval(settings.header_time).keep_alive_timeout(PING_TIME);
    let builder = Arc::new(builder);

    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // The permit is taken before the connection is: what cannot be served is not accepted.
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, accept(&listener).await)
        };
        let (permit, (stream, peer)) = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => break,
        };
        let app = app.clone();
        let from = Arc::new(Peer::new(peer, closing.clone()));
        let heard = CancellationToken::new();
        let (has_asked, asked, discarding) = (AtomicBool::new(false), heard.clone(), tasks.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            if !has_asked.swap(true, Ordering::Relaxed) {
                asked.cancel();
            }
            let (app, from, discarding) = (app.clone(), Arc::clone(&from), discarding.clone());
            async move { Ok::<_, Infallible>(answered(&app, &from, request, &discarding).await) }
        });
        let builder = Arc::clone(&builder);
        let watcher = graceful.watcher();
        let cut = cut.clone();
        // hyper measures the time of a request's head only once it knows the version of HTTP: before that, this does.
        let silent = async move {
            tokio::select! {
                () = heard.cancelled() => std::future::pending().await,
                () = tokio::time::sleep(settings.header_time) => {}
            }
        };
        tasks.spawn(async move {
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                result = watcher.watch(connection) => {
                    if let Err(error) = result {
                        // Broken connections are the peer's business.
                        tracing::debug!(%peer, error = &*error as &dyn std::error::Error, "a connection ended with an error");
                    }
                }
                () = silent => tracing::debug!(%peer, "a connection was closed that sent no request in time"),
                () = cut.cancelled() => tracing::debug!(%peer, "a connection was cut at the end of the grace period"),
            }
            drop(permit);
        });
    }

    drop(listener);
    closing.0.cancel();
    tasks.close();
    let finish = async {
        graceful.shutdown().await;
        tasks.wait().await;
    };
    if tokio::time::timeout(settings.grace, finish).await.is_err() {
        tracing::warn!(connections = tasks.len(), "requests under way did not finish in time and are cut");
        cut.cancel();
        tasks.wait().await;
    }
}

/// The answer to one request. What is left of the body is read behind it, until the server closes.
async fn answered(app: &impl Surface, peer: &Arc<Peer>, request: Request<Incoming>, tasks: &TaskTracker) -> Response<Body> {
    if request.version() >= Version::HTTP_2 {
        return app.answer(peer, request.map(|body| Inbound::new(body, None))).await;
    }
    let waits = inbound::waits(request.headers());
    let mut answer = app.answer(peer, request.map(|body| Inbound::new(body, Some(peer)))).await;
    if let Some(rest) = peer.take_rest().and_then(|rest| rest.announce(waits, &mut answer)) {
        let closing = peer.closing.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = rest.discard() => {}
                () = closing.0.cancelled() => {}
            }
        });
    }
    answer
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small answers must not wait for an acknowledgement of the one before.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
                }
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
