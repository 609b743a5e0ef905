//! One HTTP/1.1 connection, driven by whoever sends over it.
//!
//! Invariants:
//! - The connection has no task of its own: it moves only while a try polls it, and nothing else wakes that try. So what the try waits
//!   for (answer, body) is polled right after the connection, with a waker that does nothing.
//! - While it is idle it holds no waker of a task: what arrives meanwhile is found when it is next used.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::unconstrained;

use super::HEAD_BUFFER;
use crate::connector::Stream;

/// A connection over which one request at a time is sent.
pub(crate) struct Http1 {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<Stream>, Full<Bytes>>>,
    /// Whether an answer has come over it.
    pub(crate) is_used: bool,
}

/// Why no answer came.
pub(crate) enum Unanswered {
    /// No byte of the request had been written: it can go over another connection.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Anything else.
    Lost(hyper::Error),
}

impl From<TrySendError<Request<Full<Bytes>>>> for Unanswered {
    fn from(mut error: TrySendError<Request<Full<Bytes>>>) -> Self {
        match error.take_message() {
            Some(request) => Self::Unsent(Box::new(request)),
            None => Self::Lost(error.into_error()),
        }
    }
}

impl Http1 {
    /// Over a new connection.
    pub(crate) async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let (sender, connection) = Builder::new().max_buf_size(HEAD_BUFFER).handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, connection: Some(connection), is_used: false })
    }

    /// Reads and writes what can be read and written.
    fn poll_connection(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else { return };
        // How it ended is told to whoever waits for an answer; without one it does not matter.
        if Pin::new(connection).poll(cx).is_ready() {
            self.connection = None;
        }
    }

    /// Sends a request in origin form and waits for the head of its answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unanswered> {
        // Outside of the task's budget, since running out of it is told to the waker that does nothing.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let answer = std::future::poll_fn(|cx| {
            let Some(connection) = &mut self.connection else { return answer.as_mut().poll(cx) };
            if Pin::new(connection).poll(cx).is_ready() {
                // Dropping it settles what is still open.
                self.connection = None;
            }
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        Ok(answer.await?)
    }

    /// The next part of an answer's body.
    pub(crate) fn poll_frame(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.poll_connection(cx);
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether the next request can be sent, now that an answer has been read to its end. Lets go of the task that polled before.
    pub(crate) fn park(&mut self) -> bool {
        let parking = pin!(unconstrained(std::future::poll_fn(|cx| {
            self.poll_connection(cx);
            Poll::Ready(())
        })));
        let _ready = parking.poll(&mut Context::from_waker(Waker::noop()));
        self.is_used = true;
        self.connection.is_some() && self.sender.is_ready()
    }
}
