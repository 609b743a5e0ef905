//! HTTP/2 connections, each shared by many tries and driven by a task of the client's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HEAD_BUFFER;
use super::answer::Broken;
use super::framing::{Draft, Head, text};
use super::http1::Unanswered;
use super::origin::Target;
use crate::connector::Stream;

/// While answers are awaited a silent peer is pinged this often, so that a connection that died unnoticed does not take all tries along.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The tasks of the client: they end when it is dropped.
#[derive(Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new() }
    }

    pub(crate) fn spawn(&self, work: impl Future<Output: Send> + Send + 'static) {
        self.tracker.spawn(self.stop.clone().run_until_cancelled_owned(work));
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, work: F) {
        self.spawn(work);
    }
}

/// A connection that takes requests side by side.
pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    load: Arc<Load>,
    /// Requests begun when the sweeper last looked, and when it first saw that number.
    seen: (u64, Instant),
}

/// What goes on over a connection.
struct Load {
    /// Requests at once that the peer allows.
    limit: AtomicUsize,
    in_flight: AtomicUsize,
    begun: AtomicU64,
    is_used: AtomicBool,
}

impl Http2 {
    /// Over a new connection; `tasks` drive it.
    pub(crate) async fn new(stream: Stream, tasks: &Tasks) -> Result<Self, hyper::Error> {
        let (sender, mut connection) = Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .max_header_list_size(HEAD_BUFFER as u32)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        let load = Arc::new(Load {
            limit: AtomicUsize::new(connection.current_max_send_streams()),
            in_flight: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            is_used: AtomicBool::new(false),
        });
        let told = Arc::clone(&load);
        tasks.spawn(std::future::poll_fn(move |cx| {
            told.limit.store(connection.current_max_send_streams(), Ordering::Relaxed);
            Pin::new(&mut connection).poll(cx)
        }));
        Ok(Self { sender, load, seen: (0, Instant::now()) })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Since when nothing has been sent and nothing is awaited, as far as the sweeper can tell.
    pub(crate) fn idle_since(&mut self, now: Instant) -> Option<Instant> {
        let begun = self.load.begun.load(Ordering::Relaxed);
        if begun != self.seen.0 {
            self.seen = (begun, now);
        }
        (self.load.in_flight.load(Ordering::Relaxed) == 0).then_some(self.seen.1)
    }

    /// A place for one more request, unless the peer allows no more. Called by one at a time.
    pub(crate) fn lease(&self) -> Option<Lease> {
        if self.load.in_flight.load(Ordering::Relaxed) >= self.load.limit.load(Ordering::Relaxed).max(1) {
            return None;
        }
        self.load.in_flight.fetch_add(1, Ordering::Relaxed);
        self.load.begun.fetch_add(1, Ordering::Relaxed);
        Some(Lease { sender: self.sender.clone(), load: Arc::clone(&self.load) })
    }
}

/// A place for one request on a connection; free again when dropped.
pub(crate) struct Lease {
    sender: SendRequest<Full<Bytes>>,
    load: Arc<Load>,
}

impl Lease {
    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&mut self, target: &Target, draft: Draft<'_>) -> Result<(Head, Incoming), Unanswered> {
        let mut request = Request::new(Full::new(draft.body.clone()));
        *request.method_mut() = draft.method.clone();
        *request.uri_mut() = target.absolute.clone();
        for (name, value) in draft.headers() {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let response = self.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(_) => Unanswered::Unsent,
            None => Unanswered::Broken(Broken::Http2(error.into_error())),
        })?;
        let (parts, body) = response.into_parts();
        let headers = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let retry_after = parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let head = Head {
            status: parts.status.as_u16(),
            text: text("HTTP/2 ", parts.status, headers),
            retry_after: retry_after.map(|text| text.trim().to_owned()),
        };
        Ok((head, body))
    }

    /// Notes that an answer came; true if another had come over the connection before.
    pub(crate) fn mark(&self) -> bool {
        self.load.is_used.swap(true, Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
