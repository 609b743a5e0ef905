//! One HTTP/1.1 connection, driven by whoever sends over it.
//!
//! Invariants:
//! - The connection has no task of its own: it moves only while a try polls it. While it is idle it holds no waker of a task; what
//!   arrives meanwhile is found when it is next used, before anything is written.
//! - It is used again only if the request was written and the answer read, both to the end, and nothing came after.
//! - While idle it holds little: one read buffer of [`READ_BUFFER`] and what a head takes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::HEAD_BUFFER;
use super::answer::{Broken, Taken};
use super::framing::{Draft, Framing, Head, Parsed, parse};
use super::origin::Target;
use crate::connector::Stream;

/// Bytes read at once.
const READ_BUFFER: usize = 8 * 1024;
/// Bodies up to this size are written together with the head; longer ones are not copied.
const COPIED: usize = 8 * 1024;
/// What is kept of the buffer that requests are put together in.
const KEPT_TO_WRITE: usize = 2 * COPIED;

/// A connection over which one request at a time is sent.
pub(crate) struct Http1 {
    stream: Stream,
    writing: Writing,
    reading: Reading,
    /// What is left of the answer's body.
    body: Framing,
    /// Whether the peer leaves the connection open.
    keeps: bool,
    /// Whether an answer has come over it.
    pub(crate) is_used: bool,
}

/// A request on its way out.
#[derive(Default)]
struct Writing {
    /// The head, and a short body.
    start: Vec<u8>,
    /// A long body.
    rest: Bytes,
    written: usize,
    is_flushed: bool,
}

/// What has been read and not yet used.
struct Reading {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

/// How far the search for the head of an answer has come.
#[derive(Default)]
struct Progress {
    /// Bytes of the head that were looked at.
    seen: usize,
    /// Bytes of interim answers before it.
    skipped: usize,
}

/// Why no answer came.
pub(crate) enum Unanswered {
    /// No byte of the request was written: it can go over another connection.
    Unsent,
    /// The connection had carried an answer before, and was closed without one byte of this one: nearly always because the peer closes what
    /// it has answered, and had not said so. Whether it took the request nobody knows.
    Stale,
    /// It was written, in part at least.
    Broken(Broken),
}

impl Http1 {
    /// Over a new connection.
    pub(crate) fn new(stream: Stream) -> Self {
        let reading = Reading { buffer: vec![0; READ_BUFFER], from: 0, to: 0 };
        Self { stream, writing: Writing::default(), reading, body: Framing::Sized(0), keeps: true, is_used: false }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&mut self, target: &Target, draft: Draft<'_>) -> Result<Head, Unanswered> {
        self.writing.begin(target, draft);
        let mut progress = Progress::default();
        poll_fn(|cx| self.poll_head(&mut progress, cx)).await
    }

    fn poll_head(&mut self, progress: &mut Progress, cx: &mut Context<'_>) -> Poll<Result<Head, Unanswered>> {
        // Whatever comes before the request was sent is the end, or no answer to it.
        if self.writing.written == 0 && self.reading.poll_more(&mut self.stream, cx).is_ready() {
            return Poll::Ready(Err(Unanswered::Unsent));
        }
        let writing = self.writing.poll(&mut self.stream, cx);
        if self.writing.written == 0 && matches!(writing, Poll::Ready(Err(_))) {
            return Poll::Ready(Err(Unanswered::Unsent));
        }
        // After any other failure to write an answer may still be there: that this was too much, for example.
        loop {
            let bytes = self.reading.bytes();
            let seen = progress.seen;
            if bytes.len() > seen && (seen == 0 || may_hold_end(bytes, seen)) {
                match parse(bytes).map_err(|error| Unanswered::Broken(Broken::Malformed(error)))? {
                    Parsed::Partial => {}
                    Parsed::Interim(length) => {
                        self.reading.from += length;
                        *progress = Progress { seen: 0, skipped: progress.skipped + length };
                        if progress.skipped < HEAD_BUFFER {
                            continue;
                        }
                    }
                    Parsed::Head { length, head, body, keeps } => {
                        self.reading.from += length;
                        (self.body, self.keeps) = (body, keeps);
                        return Poll::Ready(Ok(head));
                    }
                }
            }
            progress.seen = self.reading.bytes().len();
            if progress.seen.max(progress.skipped) >= HEAD_BUFFER {
                return Poll::Ready(Err(Unanswered::Broken(Broken::TooLarge)));
            }
            match ready!(self.reading.poll_more(&mut self.stream, cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) if self.is_used && progress.seen == 0 && progress.skipped == 0 => {
                    return Poll::Ready(Err(Unanswered::Stale));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(Unanswered::Broken(Broken::Lost))),
            }
        }
    }

    /// The next part of the body; false at its end.
    pub(crate) fn poll_part(&mut self, taken: &mut Taken, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        loop {
            if self.body.is_over() {
                return Poll::Ready(Ok(false));
            }
            let bytes = self.reading.bytes();
            if !bytes.is_empty() {
                let (used, content) = self.body.take(bytes).map_err(Broken::Malformed)?;
                taken.take(&bytes[used - content..used]);
                self.reading.from += used;
                if content > 0 {
                    return Poll::Ready(Ok(true));
                }
                continue;
            }
            // A peer may read the rest of the request while it answers.
            if let Poll::Ready(Err(_)) = self.writing.poll(&mut self.stream, cx) {
                self.keeps = false;
            }
            match ready!(self.reading.poll_more(&mut self.stream, cx)) {
                Ok(1..) => {}
                Ok(0) if self.body == Framing::UntilClosed => {
                    self.body = Framing::Sized(0);
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Lost)),
            }
        }
    }

    /// Bytes of the body that are still to come, as far as was announced.
    pub(crate) fn announced(&self) -> u64 {
        self.body.announced()
    }

    /// Whether the next request can be sent, now that the body has been read to its end. Lets go of the task that polled before.
    pub(crate) fn park(&mut self) -> bool {
        if !(self.keeps && self.body.is_over() && self.writing.is_flushed && self.reading.bytes().is_empty()) {
            return false;
        }
        self.is_used = true;
        self.writing.clear();
        self.reading.clear();
        // The waker takes the place of the task's.
        self.reading.poll_more(&mut self.stream, &mut Context::from_waker(Waker::noop())).is_pending()
    }
}

/// Whether the end of a head can be among what came after the first `seen` bytes.
fn may_hold_end(bytes: &[u8], seen: usize) -> bool {
    let new = &bytes[seen.saturating_sub(3)..];
    new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

impl Writing {
    fn begin(&mut self, target: &Target, draft: Draft<'_>) {
        self.clear();
        draft.write_head(target.line(), &mut self.start);
        if draft.body.len() <= COPIED {
            self.start.extend_from_slice(draft.body);
        } else {
            self.rest = draft.body.clone();
        }
    }

    fn clear(&mut self) {
        self.start.clear();
        self.start.shrink_to(KEPT_TO_WRITE);
        (self.rest, self.written, self.is_flushed) = (Bytes::new(), 0, false);
    }

    /// Writes all there is; ready once it is out.
    fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.start.len() + self.rest.len() {
            let written = match self.written.checked_sub(self.start.len()) {
                Some(of_rest) => Pin::new(&mut *stream).poll_write(cx, &self.rest[of_rest..]),
                None if self.rest.is_empty() => Pin::new(&mut *stream).poll_write(cx, &self.start[self.written..]),
                None => {
                    let both = [IoSlice::new(&self.start[self.written..]), IoSlice::new(&self.rest)];
                    Pin::new(&mut *stream).poll_write_vectored(cx, &both)
                }
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if !self.is_flushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Reading {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    fn clear(&mut self) {
        (self.from, self.to) = (0, 0);
        if self.buffer.len() > READ_BUFFER {
            self.buffer.truncate(READ_BUFFER);
            self.buffer.shrink_to_fit();
        }
    }

    /// Reads once, up to [`HEAD_BUFFER`] in all: how many bytes came, 0 at the end.
    fn poll_more(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        if self.to == self.buffer.len() {
            if self.from > 0 {
                self.buffer.copy_within(self.from..self.to, 0);
                (self.from, self.to) = (0, self.to - self.from);
            } else {
                self.buffer.resize((2 * self.to).min(HEAD_BUFFER), 0);
            }
        }
        let mut space = ReadBuf::new(&mut self.buffer[self.to..]);
        ready!(Pin::new(stream).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        self.to += read;
        Poll::Ready(Ok(read))
    }
}
