//! The one HTTP client: pooled by origin, bounded in time and bytes.
//!
//! Invariants:
//! - One deadline covers everything: lookup, connection, request, answer and its body.
//! - No redirects: a `3xx` is an answer like any other.
//! - At most 16 KiB of a response body are kept and at most 64 KiB read. What fits in 64 KiB is read to its end, so that the connection
//!   can be used again; of anything longer the connection is dropped.
//! - A body that breaks off or drips past the deadline before 16 KiB of it are here makes the try fail, its status notwithstanding;
//!   after 16 KiB the status counts whatever the rest does.
//! - A request whose sending began is not sent twice here, with one exception: one that may be repeated ([`Draft::is_repeatable`]) goes once
//!   more, over a new connection, if a connection that was used before is closed without one byte of an answer. Many servers close after
//!   each answer without saying so; that is no failure of theirs. (One that a pooled connection closed on before its first byte went
//!   out is moved to another connection, too.)
//!
//! Over HTTP/1.1 the try itself drives its connection: no task of the connection's own, and so no wake-ups from task to task. Over
//! HTTP/2, which is spoken where a TLS server offers it, the tries of an origin share connections that tasks of the client drive.

mod answer;
mod framing;
#[cfg(test)]
#[path = "../../../fuzz/entries/answer.rs"]
mod fuzz_entry;
mod http1;
mod http2;
mod origin;
mod pool;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, Sleep, sleep_until};

use self::answer::{Answer, Broken, Late, Taken, host_of, within};
pub(crate) use self::framing::Draft;
use self::framing::Head;
use self::http1::Unanswered;
pub(crate) use self::origin::Target;
use self::origin::{Origin, Way};
use self::pool::Pool;
use crate::SendError;
use crate::connector::{Connector, Place};
use crate::dial::{ConnectError, Outlet};
use crate::failure::Code;
use crate::own::{self, OwnAddresses};
use crate::tls::Tls;

/// Bytes of a response body that are kept.
pub const BODY_KEPT: usize = 16 * 1024;
/// Bytes of a response body that are read at most.
pub const BODY_READ: usize = 64 * 1024;
/// Bytes of a response's head, and of what is buffered of a request, at most.
const HEAD_BUFFER: usize = 64 * 1024;
/// Idle connections are closed after this.
const IDLE: Duration = Duration::from_secs(60);
/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(15);
/// Idle connections kept per origin.
const IDLE_PER_ORIGIN: usize = 512;
/// Idle connections kept in all. Each holds about 9 KiB of buffers and a socket.
const IDLE_IN_ALL: usize = 4096;

/// A pooled HTTP client behind the guard. Connections live as long as it does.
pub struct HttpClient {
    pool: Arc<Pool>,
    own: Option<Arc<dyn OwnAddresses>>,
}

/// Connections by reading, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpStats {
    /// Connections opened, handshake included.
    pub opened: u64,
    /// Answers that came over a connection on which another answer had come before.
    pub reused: u64,
    /// Full TLS handshakes.
    pub handshakes: u64,
    /// TLS handshakes that took up an earlier session.
    pub resumed: u64,
    /// Answers that came by HTTP/2.
    pub http2: u64,
}

/// Connections to one origin, since it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginStats {
    /// Scheme, host and port.
    pub origin: String,
    /// Connections opened.
    pub opened: u64,
    /// Answers that came over a connection on which another answer had come before.
    pub reused: u64,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its status.
    pub status: u16,
    /// Status line and headers as text, one a line.
    pub response: Arc<str>,
    /// At most the first [`BODY_KEPT`] bytes of the body.
    pub body: Bytes,
    /// `Retry-After` as sent.
    pub retry_after: Option<String>,
    /// Why the body ended early, if it did: the try then failed.
    pub broken: Option<SendError>,
}

/// The head of an answer as it is kept.
pub(crate) fn head_text<'a>(status: StatusCode, headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Arc<str> {
    framing::text("HTTP/1.1 ", status, headers)
}

/// The times of one try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// For connecting.
    pub(crate) connect: Duration,
    /// For everything.
    pub(crate) total: Duration,
    /// When everything has to be over.
    pub(crate) deadline: Instant,
}

impl Times {
    /// `total` from `start` on.
    pub(crate) fn new(start: Instant, connect: Duration, total: Duration) -> Self {
        Self { connect, total, deadline: start + total }
    }

    fn late(&self, uri: &Uri) -> SendError {
        Code::Timeout.error(format!("no answer from {} within {:?}", host_of(uri), self.total))
    }
}

impl HttpClient {
    /// A client that connects through `outlet`.
    pub fn new(outlet: Arc<Outlet>, tls: Arc<Tls>) -> Self {
        Self { pool: Arc::new(Pool::new(Connector::new(outlet, tls))), own: None }
    }

    /// The same, which hands requests to these addresses over in this process.
    #[must_use]
    pub fn with_own(mut self, own: Option<Arc<dyn OwnAddresses>>) -> Self {
        self.own = own;
        self
    }

    /// Connections so far.
    pub fn stats(&self) -> HttpStats {
        let counts = &self.pool.counts;
        HttpStats {
            opened: counts.opened.load(Ordering::Relaxed),
            reused: counts.reused.load(Ordering::Relaxed),
            handshakes: counts.handshakes.load(Ordering::Relaxed),
            resumed: counts.resumed.load(Ordering::Relaxed),
            http2: counts.http2_requests.load(Ordering::Relaxed),
        }
    }

    /// Connections of the busiest origins, at most `most` of them.
    pub fn busiest_origins(&self, most: usize) -> Vec<OriginStats> {
        self.pool.busiest(most)
    }

    /// Makes a URL ready for many requests. By HTTP/1.1 alone if `is_http1_only`.
    ///
    /// # Errors
    /// If the URL has no host, or is not one of `http` and `https`.
    pub(crate) fn target(&self, uri: Uri, is_http1_only: bool) -> Result<Target, ConnectError> {
        let origin = self.pool.origin(Place::of(&uri, is_http1_only)?);
        Ok(self.target_at(origin, uri, !is_http1_only))
    }

    /// Makes another URL ready, under the same rules as `target`.
    ///
    /// # Errors
    /// As [`Self::target`].
    pub(crate) fn target_like(&self, target: &Target, uri: Uri) -> Result<Target, ConnectError> {
        let place = Place::of(&uri, !target.may_use_http2)?;
        let origin = if place == target.origin.place { Arc::clone(&target.origin) } else { self.pool.origin(place) };
        Ok(self.target_at(origin, uri, target.may_use_http2))
    }

    fn target_at(&self, origin: Arc<Origin>, uri: Uri, may_use_http2: bool) -> Target {
        let is_own = self.own.as_ref().is_some_and(|own| own.has(&uri));
        Target::new(origin, uri, may_use_http2, is_own)
    }

    /// Sends `request` (its URI absolute) and reads the answer, all within `total`. Dropping the future closes what it opened.
    ///
    /// # Errors
    /// Any that comes before a status; later ones are in [`Exchange::broken`].
    pub async fn exchange(&self, request: Request<Full<Bytes>>, connect_timeout: Duration, total: Duration) -> Result<Exchange, SendError> {
        let times = Times::new(Instant::now(), connect_timeout, total);
        let (head, body) = request.into_parts();
        let target = self.target(head.uri, false).map_err(|error| error.to_send_error())?;
        let own: Vec<_> = head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let Ok(body) = body.collect().await;
        let draft = Draft { method: &head.method, settled: &[], own: &own, body: &body.to_bytes(), is_repeatable: false };
        self.send(&target, draft, times).await
    }

    /// Sends a request to `target` and reads the answer. Dropping the future closes what it opened.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub(crate) async fn send(&self, target: &Target, draft: Draft<'_>, times: Times) -> Result<Exchange, SendError> {
        let (uri, origin) = (&target.absolute, &*target.origin);
        let mut deadline = pin!(sleep_until(times.deadline));
        if let Some(own) = self.own.as_ref().filter(|_| target.is_own) {
            // Boxed: rare, and large.
            let mut answer = Box::pin(own.answer(own::request(target, draft)));
            return within(deadline.as_mut(), answer.as_mut()).await.map(own::exchange).map_err(|Late| times.late(uri));
        }
        let mut is_second = false;
        loop {
            let at_hand = if is_second { None } else { self.pool.at_hand(origin) };
            let (way, is_new) = match at_hand {
                Some(way) => (way, false),
                None if is_second => {
                    let mut opening = Box::pin(self.pool.open_anew(origin, times.connect));
                    let opened = within(deadline.as_mut(), opening.as_mut()).await.map_err(|Late| times.late(uri))?;
                    (opened.map_err(|error| error.to_send_error())?, true)
                }
                None => {
                    // Boxed: rare, and large.
                    let mut opening = Box::pin(self.pool.open(origin, times.connect));
                    let opened = within(deadline.as_mut(), opening.as_mut()).await.map_err(|Late| times.late(uri))?;
                    opened.map_err(|error| error.to_send_error())?
                }
            };
            let answer = match way {
                Way::Http1(mut http1) => {
                    let head = within(deadline.as_mut(), pin!(http1.send(target, draft))).await;
                    head.map(|head| head.map(|head| Answer { way: Way::Http1(http1), head, incoming: None }))
                }
                Way::Http2(mut lease) => {
                    let head = within(deadline.as_mut(), Box::pin(lease.send(target, draft)).as_mut()).await;
                    head.map(|head| head.map(|(head, body)| Answer { way: Way::Http2(lease), head, incoming: Some(body) }))
                }
            };
            return match answer.map_err(|Late| times.late(uri))? {
                Ok(answer) => Ok(self.read(target, answer, deadline, times).await),
                Err(Unanswered::Stale) if draft.is_repeatable && !is_second => {
                    is_second = true;
                    continue;
                }
                Err(Unanswered::Stale) => Err(Broken::Lost.to_send_error(uri)),
                Err(Unanswered::Broken(broken)) => Err(broken.to_send_error(uri)),
                Err(Unanswered::Unsent) if is_new => Err(Broken::Lost.to_send_error(uri)),
                Err(Unanswered::Unsent) => continue,
            };
        }
    }

    /// Reads the body of an answer, and keeps its connection if it can be used again.
    async fn read(&self, target: &Target, mut answer: Answer, deadline: Pin<&mut Sleep>, times: Times) -> Exchange {
        let counts = &self.pool.counts;
        let was_used = match &answer.way {
            Way::Http1(http1) => http1.is_used,
            Way::Http2(lease) => {
                counts.http2_requests.fetch_add(1, Ordering::Relaxed);
                lease.mark()
            }
        };
        if was_used {
            counts.reused.fetch_add(1, Ordering::Relaxed);
            target.origin.reused.fetch_add(1, Ordering::Relaxed);
        }
        let mut taken = Taken::default();
        let broken = match answer.read_body(&mut taken, deadline).await {
            Ok(Ok(is_whole)) => {
                match answer.way {
                    Way::Http1(http1) if is_whole => self.pool.give_back(&target.origin, http1),
                    Way::Http1(_) | Way::Http2(_) => {}
                }
                None
            }
            Ok(Err(Late)) => {
                let host = host_of(&target.absolute);
                Some(Code::Timeout.error(format!("the answer of {host} had not ended after {:?}", times.total)))
            }
            Err(broken) => Some(broken.to_send_error(&target.absolute)),
        };
        let Head { status, text, retry_after } = answer.head;
        Exchange { status, response: text, body: Bytes::from(taken.kept), retry_after, broken }
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        self.pool.stop();
    }
}
