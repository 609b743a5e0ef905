//! The one HTTP client: pooled by origin, bounded in time and bytes.
//!
//! Invariants:
//! - One deadline covers everything: lookup, connection, request, answer and its body.
//! - No redirects: a `3xx` is an answer like any other.
//! - At most 16 KiB of a response body are kept and at most 64 KiB read. What fits in 64 KiB is read to its end, so that the connection
//!   can be used again; of anything longer the connection is dropped.
//! - A body that breaks off or drips past the deadline before 16 KiB of it are here makes the try fail, its status notwithstanding;
//!   after 16 KiB the status counts whatever the rest does.
//! - A request whose sending began is never sent twice here. (One that a pooled connection closed on before its first byte went out
//!   is moved to another connection by the pool.)

use std::cell::RefCell;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, Version, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::SendError;
use crate::connector::{CONNECT_TIMEOUT, GuardedConnector, Used, bare_host};
use crate::dial::{ConnectError, Outlet};
use crate::failure::Code;
use crate::tls::Tls;

/// Bytes of a response body that are kept.
pub const BODY_KEPT: usize = 16 * 1024;
/// Bytes of a response body that are read at most.
pub const BODY_READ: usize = 64 * 1024;
/// How long the rest of a body beyond [`BODY_KEPT`] is waited for.
const DRAIN_TIME: Duration = Duration::from_millis(250);
/// Bytes of a response's head, and of what is buffered of a request, at most.
const HEAD_BUFFER: usize = 64 * 1024;
/// Idle connections are closed after this.
const IDLE: Duration = Duration::from_secs(60);
/// Idle connections kept per origin.
const IDLE_PER_ORIGIN: usize = 256;

/// A pooled HTTP client behind the guard. Connections live as long as it does.
pub struct HttpClient {
    client: Client<GuardedConnector, Full<Bytes>>,
    /// For requests marked [`Http1Only`].
    http1: Client<GuardedConnector, Full<Bytes>>,
    connector: GuardedConnector,
    reused: AtomicU64,
}

/// Marks a request, as an extension, that must be sent by HTTP/1.1.
#[derive(Clone, Copy, Debug)]
pub struct Http1Only;

/// Connections by reading, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpStats {
    /// Connections opened, handshake included.
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

impl HttpClient {
    /// A client that connects through `outlet`.
    pub fn new(outlet: Arc<Outlet>, tls: Arc<Tls>) -> Self {
        let connector = GuardedConnector::new(outlet, tls);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_ORIGIN)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http1_max_buf_size(HEAD_BUFFER)
            .http2_adaptive_window(true)
            .http2_max_header_list_size(HEAD_BUFFER as u32);
        let (client, http1) = (builder.build(connector.clone()), builder.build(connector.http1_only()));
        Self { client, http1, connector, reused: AtomicU64::new(0) }
    }

    /// Connections so far.
    pub fn stats(&self) -> HttpStats {
        HttpStats { opened: self.connector.opened(), reused: self.reused.load(Ordering::Relaxed) }
    }

    /// Sends `request` (its URI absolute) and reads the answer, all within `total`. Dropping the future closes what it opened.
    ///
    /// # Errors
    /// Any that comes before a status; later ones are in [`Exchange::broken`].
    pub async fn exchange(&self, request: Request<Full<Bytes>>, connect_timeout: Duration, total: Duration) -> Result<Exchange, SendError> {
        let deadline = Instant::now() + total;
        let uri = request.uri().clone();
        let client = if request.extensions().get::<Http1Only>().is_some() { &self.http1 } else { &self.client };
        let sending = CONNECT_TIMEOUT.scope(connect_timeout, client.request(request));
        let response = match timeout_at(deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(classify_client(&error, &uri)),
            Err(_) => return Err(Code::Timeout.error(format!("no answer from {} within {total:?}", host_of(&uri)))),
        };
        if response.extensions().get::<Used>().is_some_and(Used::mark) {
            self.reused.fetch_add(1, Ordering::Relaxed);
        }
        let head = head_text(&response);
        let retry_after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(|text| text.trim().to_owned());
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let broken = match read_body(response.into_body(), &mut body, deadline).await {
            Ok(()) => None,
            Err(BodyError::Late) => Some(Code::Timeout.error(format!("the answer of {} had not ended after {total:?}", host_of(&uri)))),
            Err(BodyError::Broken(error)) => Some(classify_hyper(&error, &uri)),
        };
        Ok(Exchange { status, response: head, body: Bytes::from(body), retry_after, broken })
    }
}

enum BodyError {
    Late,
    Broken(hyper::Error),
}

/// Reads up to [`BODY_KEPT`] bytes into `kept`, then reads on (within reason) so that the connection can be reused.
///
/// Bytes are copied: a slice would keep the connection's whole read buffer alive as long as the attempt's record.
async fn read_body(mut body: Incoming, kept: &mut Vec<u8>, deadline: Instant) -> Result<(), BodyError> {
    if body.is_end_stream() {
        return Ok(());
    }
    if let Some(length) = body.size_hint().exact() {
        kept.reserve_exact(usize::try_from(length).unwrap_or(BODY_KEPT).min(BODY_KEPT));
    }
    let mut read = 0;
    while kept.len() < BODY_KEPT {
        let data = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(BodyError::Late),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(BodyError::Broken(error)),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        read += data.len();
        kept.extend_from_slice(&data[..data.len().min(BODY_KEPT - kept.len())]);
    }
    if body.size_hint().lower() > (BODY_READ - read.min(BODY_READ)) as u64 {
        return Ok(());
    }
    let until = deadline.min(Instant::now() + DRAIN_TIME);
    while read < BODY_READ {
        match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => break,
        }
    }
    Ok(())
}

fn host_of(uri: &Uri) -> &str {
    bare_host(uri).unwrap_or("the target")
}

/// The first error of type `T` in the chain of causes.
fn source_of<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn classify_client(error: &ClientError, uri: &Uri) -> SendError {
    if let Some(connect) = source_of::<ConnectError>(error) {
        return connect.to_send_error();
    }
    match source_of::<hyper::Error>(error) {
        Some(error) => classify_hyper(error, uri),
        None => Code::ConnectionLost.error(format!("the connection to {} was lost", host_of(uri))),
    }
}

fn classify_hyper(error: &hyper::Error, uri: &Uri) -> SendError {
    let host = host_of(uri);
    if error.is_parse_too_large() {
        return Code::ResponseInvalid.error(format!("the headers of the answer of {host} are too large"));
    }
    if error.is_parse() {
        return Code::ResponseInvalid.error(format!("{host} did not answer in HTTP: {error}"));
    }
    if error.is_user() {
        return Code::ContentUnsupported.error(format!("the request to {host} could not be made: {error}"));
    }
    Code::ConnectionLost.error(format!("the connection to {host} was lost before the full answer was here"))
}

thread_local! {
    /// Where heads are put together: one exact allocation for each remains.
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Status line and headers, one a line.
fn head_text(response: &Response<Incoming>) -> Arc<str> {
    SCRATCH.with_borrow_mut(|text| {
        text.clear();
        let version = if response.version() == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{version} {}", response.status().as_u16());
        if let Some(reason) = response.status().canonical_reason() {
            text.push(' ');
            text.push_str(reason);
        }
        for (name, value) in response.headers() {
            text.push('\n');
            text.push_str(name.as_str());
            text.push_str(": ");
            match value.to_str() {
                Ok(value) => text.push_str(value),
                Err(_) => text.push_str(&String::from_utf8_lossy(value.as_bytes())),
            }
        }
        Arc::from(text.as_str())
    })
}
