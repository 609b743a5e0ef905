//! Bodies of requests, and what becomes of those that nobody reads to their end.
//!
//! An answer that needs no body (a 401, a 413) is sent at once. On HTTP/1.1 the body comes all the same, and stands before the next request. So the
//! rest is read and thrown away behind the answer, within [`MOST`] bytes and [`PATIENCE`], and the connection can be used again; a connection that
//! were closed while its client still sends would take the answer with it. Where it is known beforehand that the rest will not be read (it is
//! longer, or the client waits to be told to send it), the answer says `Connection: close`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::serve::Peer;

/// Bytes of a body without a reader that are read and thrown away.
const MOST: usize = 8 << 20;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The body of a request. Dropped before its end, it leaves the rest with its connection.
pub struct Inbound {
    /// `None` once it has ended.
    body: Option<Incoming>,
    /// Whether anybody asked for it: from then on a client that waited has been told to send.
    is_begun: bool,
    /// `None` where requests do not follow each other: HTTP/2 ends a stream by itself.
    peer: Option<Arc<Peer>>,
}

/// What was left of a body.
#[derive(Debug)]
pub(crate) struct Rest {
    body: Incoming,
    is_begun: bool,
}

impl Inbound {
    /// The body of a request that came over a connection, which gets the rest of it.
    pub(crate) fn new(body: Incoming, peer: Option<&Arc<Peer>>) -> Self {
        let peer = peer.filter(|_| !body.is_end_stream()).map(Arc::clone);
        Self { body: Some(body), is_begun: false, peer }
    }
}

impl HttpBody for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        self.is_begun = true;
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if let (Some(body), Some(peer)) = (self.body.take().filter(|body| !body.is_end_stream()), &self.peer) {
            peer.leave(Rest { body, is_begun: self.is_begun });
        }
    }
}

impl Rest {
    /// Says in the answer if the connection ends with it. What remains is to be read by [`Rest::discard`]; `None`: nothing.
    pub(crate) fn announce(self, waits: bool, answer: &mut Response<Body>) -> Option<Self> {
        let is_awaited = waits && !self.is_begun;
        if is_awaited || self.body.size_hint().lower() > MOST as u64 {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // To read it would tell the client to send it.
        (!is_awaited).then_some(self)
    }

    /// Reads it, within bounds.
    pub(crate) async fn discard(mut self) {
        let mut left = MOST;
        let read = async {
            while let Some(Ok(frame)) = self.body.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    return;
                }
            }
        };
        // Whatever came of it, there is nobody to tell.
        tokio::time::timeout(PATIENCE, read).await.ok();
    }
}

/// Whether a client waits to be told to send the body.
pub(crate) fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT)
}
