//! Reading answers: the head as text, the body within its bounds, and what went wrong.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, Version};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, timeout_at};

use super::origin::Way;
use super::{BODY_KEPT, BODY_READ};
use crate::SendError;
use crate::connector::bare_host;
use crate::failure::Code;

/// How long the rest of a body beyond [`BODY_KEPT`] is waited for.
const DRAIN_TIME: Duration = Duration::from_millis(250);

/// The deadline has passed.
pub(crate) struct Late;

/// The output of `work`, unless the deadline comes first.
pub(crate) async fn within<F: Future>(mut deadline: Pin<&mut Sleep>, work: F) -> Result<F::Output, Late> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => deadline.as_mut().poll(cx).map(|()| Err(Late)),
    })
    .await
}

/// Why a body ended early.
pub(crate) enum BodyError {
    Late,
    Broken(hyper::Error),
}

impl Way {
    fn poll_frame(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Http1(http1) => http1.poll_frame(body, cx),
            Self::Http2(_) => Pin::new(body).poll_frame(cx),
        }
    }
}

/// Reads up to [`BODY_KEPT`] bytes into `kept`, then reads on (within reason) so that the connection can be reused: true if the body
/// was read to its end.
///
/// Bytes are copied: a slice would keep the connection's whole read buffer alive as long as the attempt's record.
pub(crate) async fn read_body(
    way: &mut Way,
    mut body: Incoming,
    kept: &mut Vec<u8>,
    mut deadline: Pin<&mut Sleep>,
) -> Result<bool, BodyError> {
    if body.is_end_stream() {
        return Ok(true);
    }
    if let Some(length) = body.size_hint().exact() {
        kept.reserve_exact(usize::try_from(length).unwrap_or(BODY_KEPT).min(BODY_KEPT));
    }
    let mut read = 0;
    while kept.len() < BODY_KEPT {
        let data = match within(deadline.as_mut(), poll_fn(|cx| way.poll_frame(&mut body, cx))).await {
            Err(Late) => return Err(BodyError::Late),
            Ok(None) => return Ok(true),
            Ok(Some(Err(error))) => return Err(BodyError::Broken(error)),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        read += data.len();
        kept.extend_from_slice(&data[..data.len().min(BODY_KEPT - kept.len())]);
        // Every byte that was announced is here: the end need not be waited for.
        if body.is_end_stream() {
            return Ok(true);
        }
    }
    if body.size_hint().lower() > (BODY_READ - read.min(BODY_READ)) as u64 {
        return Ok(false);
    }
    let until = deadline.deadline().min(Instant::now() + DRAIN_TIME);
    while read < BODY_READ {
        match timeout_at(until, poll_fn(|cx| way.poll_frame(&mut body, cx))).await {
            Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
            Ok(None) => return Ok(true),
            _ => break,
        }
    }
    Ok(body.is_end_stream())
}

/// The name of a URL's host for messages.
pub(crate) fn host_of(uri: &Uri) -> &str {
    bare_host(uri).unwrap_or("the target")
}

/// An error of the connection as the owner of the target gets it.
pub(crate) fn classify(error: &hyper::Error, uri: &Uri) -> SendError {
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
    lost(uri)
}

/// The connection ended before the answer did.
pub(crate) fn lost(uri: &Uri) -> SendError {
    Code::ConnectionLost.error(format!("the connection to {} was lost before the full answer was here", host_of(uri)))
}

thread_local! {
    /// Where heads are put together: one exact allocation for each remains.
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Status line and headers, one a line.
pub(crate) fn head_text(version: Version, status: StatusCode, headers: &HeaderMap) -> Arc<str> {
    SCRATCH.with_borrow_mut(|text| {
        text.clear();
        text.push_str(if version == Version::HTTP_2 { "HTTP/2 " } else { "HTTP/1.1 " });
        text.push_str(status.as_str());
        if let Some(reason) = status.canonical_reason() {
            text.push(' ');
            text.push_str(reason);
        }
        for (name, value) in headers {
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
