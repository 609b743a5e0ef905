//! Reading answers: the body within its bounds, and what went wrong.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, timeout_at};

use super::framing::{Head, Malformed};
use super::origin::Way;
use super::{BODY_KEPT, BODY_READ};
use crate::SendError;
use crate::connector::bare_host;
use crate::failure::Code;

/// How long the rest of a body beyond [`BODY_KEPT`] is waited for.
const DRAIN_TIME: Duration = Duration::from_millis(250);

/// The deadline has passed.
pub(crate) struct Late;

/// The output of `work`, unless the deadline comes first. (`work` is lent: taken by value it would be held twice.)
pub(crate) async fn within<F: Future + ?Sized>(mut deadline: Pin<&mut Sleep>, mut work: Pin<&mut F>) -> Result<F::Output, Late> {
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => deadline.as_mut().poll(cx).map(|()| Err(Late)),
    })
    .await
}

/// Why an answer did not come whole.
pub(crate) enum Broken {
    /// The connection ended.
    Lost,
    /// The head is longer than is read.
    TooLarge,
    /// It is no HTTP/1.1.
    Malformed(Malformed),
    /// Any of these in HTTP/2.
    Http2(hyper::Error),
}

/// What was read of a body.
#[derive(Default)]
pub(crate) struct Taken {
    /// The first [`BODY_KEPT`] bytes.
    pub(crate) kept: Vec<u8>,
    read: usize,
}

impl Taken {
    pub(crate) fn take(&mut self, data: &[u8]) {
        self.read += data.len();
        self.kept.extend_from_slice(&data[..data.len().min(BODY_KEPT - self.kept.len())]);
    }
}

/// An answer whose head is here.
pub(crate) struct Answer {
    pub(crate) way: Way,
    pub(crate) head: Head,
    /// The body of an HTTP/2 answer.
    pub(crate) incoming: Option<Incoming>,
}

impl Answer {
    /// The next part of the body; false at its end.
    fn poll_part(&mut self, taken: &mut Taken, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        match (&mut self.way, &mut self.incoming) {
            (Way::Http1(http1), _) => http1.poll_part(taken, cx),
            (Way::Http2(_), None) => Poll::Ready(Ok(false)),
            (Way::Http2(_), Some(body)) => match ready!(Pin::new(body).poll_frame(cx)) {
                None => Poll::Ready(Ok(false)),
                Some(Ok(frame)) => {
                    taken.take(frame.data_ref().map_or(&[], |data| data));
                    Poll::Ready(Ok(true))
                }
                Some(Err(error)) => Poll::Ready(Err(Broken::Http2(error))),
            },
        }
    }

    /// Bytes of the body that are still to come, as far as was announced.
    fn announced(&self) -> u64 {
        match (&self.way, &self.incoming) {
            (Way::Http1(http1), _) => http1.announced(),
            (Way::Http2(_), body) => body.as_ref().map_or(0, |body| body.size_hint().lower()),
        }
    }

    /// Reads up to [`BODY_KEPT`] bytes to keep, then reads on (within reason) so that the connection can be used again: true if the body
    /// was read to its end.
    ///
    /// # Errors
    /// None for the deadline: `Ok(Err(Late))`.
    pub(crate) async fn read_body(&mut self, taken: &mut Taken, mut deadline: Pin<&mut Sleep>) -> Result<Result<bool, Late>, Broken> {
        let announced = usize::try_from(self.announced()).unwrap_or(BODY_KEPT).min(BODY_KEPT);
        if announced > 0 {
            taken.kept.reserve_exact(announced);
        }
        while taken.kept.len() < BODY_KEPT {
            match within(deadline.as_mut(), pin!(poll_fn(|cx| self.poll_part(taken, cx)))).await {
                Err(Late) => return Ok(Err(Late)),
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(Ok(true)),
                Ok(Err(broken)) => return Err(broken),
            }
        }
        if self.announced() > (BODY_READ - taken.read.min(BODY_READ)) as u64 {
            return Ok(Ok(false));
        }
        let until = deadline.deadline().min(Instant::now() + DRAIN_TIME);
        // One more look finds the end of a body that is exactly as long as is read.
        while taken.read <= BODY_READ {
            match timeout_at(until, poll_fn(|cx| self.poll_part(taken, cx))).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(Ok(true)),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Ok(Ok(false))
    }
}

/// The name of a URL's host for messages.
pub(crate) fn host_of(uri: &Uri) -> &str {
    bare_host(uri).unwrap_or("the target")
}

impl Broken {
    /// As the owner of the target gets it.
    pub(crate) fn to_send_error(&self, uri: &Uri) -> SendError {
        let host = host_of(uri);
        match self {
            Self::TooLarge | Self::Malformed(Malformed::TooLarge) => too_large(host),
            Self::Malformed(error) => no_http(host, error),
            Self::Http2(error) if error.is_parse_too_large() => too_large(host),
            Self::Http2(error) if error.is_parse() => no_http(host, error),
            Self::Http2(error) if error.is_user() => {
                Code::ContentUnsupported.error(format!("the request to {host} could not be made: {error}"))
            }
            Self::Lost | Self::Http2(_) => {
                Code::ConnectionLost.error(format!("the connection to {host} was lost before the full answer was here"))
            }
        }
    }
}

fn too_large(host: &str) -> SendError {
    Code::ResponseInvalid.error(format!("the headers of the answer of {host} are too large"))
}

fn no_http(host: &str, error: &dyn std::error::Error) -> SendError {
    Code::ResponseInvalid.error(format!("{host} did not answer in HTTP: {error}"))
}
