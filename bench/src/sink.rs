//! The receiver: an HTTP/1.1 server on a thread of its own that writes the ledger and answers as each target is told to.
//!
//! `/t/NUMBER` is a target. What arrives at a target that is owed nothing is answered and not noted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::BenchError;
use crate::event::{Found, Tail, find};
use crate::http::{Frame, WireError, path};
use crate::ledger::{Bitmap, Ledger};
use crate::timing::{Clock, Timings};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const FAILED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const GONE: &[u8] = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n";
const READ: usize = 64 << 10;
/// What a Momentum webhook is tested with when it is made.
const TEST: &[u8] = br#"[{"msys":{}}]"#;

/// How a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 200 at once.
    Ok,
    /// 200 after so many milliseconds.
    Slow(u16),
    /// 500.
    Fail,
    /// 410.
    Gone,
    /// Never, until the mode changes; then the connection closes.
    Hang,
    /// 500 to this part in a hundred of the events when they come for the first time, and 200 otherwise.
    Flaky(u16),
}

impl Mode {
    fn code(self) -> u32 {
        let (kind, value) = match self {
            Self::Ok => (0, 0),
            Self::Slow(ms) => (1, ms),
            Self::Fail => (2, 0),
            Self::Hang => (3, 0),
            Self::Flaky(percent) => (4, percent),
            Self::Gone => (5, 0),
        };
        kind << 16 | u32::from(value)
    }

    fn of(code: u32) -> Self {
        let value = code as u16;
        match code >> 16 {
            0 => Self::Ok,
            1 => Self::Slow(value),
            2 => Self::Fail,
            3 => Self::Hang,
            4 => Self::Flaky(value),
            _ => Self::Gone,
        }
    }
}

#[derive(Default)]
struct Target {
    mode: AtomicU32,
    /// Requests answered with 200.
    answered: AtomicU64,
    changed: Notify,
    /// What a flaky target has refused already.
    refused: Bitmap,
    /// Whether what arrives is late by nature and its time says nothing.
    is_untimed: AtomicBool,
}

/// One event of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The target.
    pub target: usize,
    /// The event's number.
    pub number: u64,
    /// When it came.
    pub at_us: u64,
}

/// What the receiver writes.
pub struct Receipts {
    /// Who got what.
    pub ledger: Arc<Ledger>,
    /// From the time in the event to its first receipt at a target that is owed it.
    pub timings: Timings,
    /// Time of the last first receipt.
    pub last_us: AtomicU64,
    /// Connections that were opened to the receiver.
    pub connections: AtomicU64,
    /// First receipt, or repetition, of an event below [`Receipts::watch_for`]'s number; 0 while there was none.
    watched_us: AtomicU64,
    watch_below: AtomicU64,
    log: Option<Mutex<Vec<Receipt>>>,
    targets: Vec<Target>,
    tail: Tail,
    clock: Clock,
}

/// A running receiver; it ends when this is dropped.
pub struct Sink {
    address: SocketAddr,
    receipts: Arc<Receipts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens on a free port of loopback.
    pub fn start(ledger: Arc<Ledger>, tail: Tail, clock: Clock) -> Result<Self, BenchError> {
        Self::open(ledger, tail, clock, None)
    }

    /// The same; it also remembers every receipt, in order.
    pub fn start_logging(ledger: Arc<Ledger>, tail: Tail, clock: Clock) -> Result<Self, BenchError> {
        Self::open(ledger, tail, clock, Some(Mutex::default()))
    }

    fn open(ledger: Arc<Ledger>, tail: Tail, clock: Clock, log: Option<Mutex<Vec<Receipt>>>) -> Result<Self, BenchError> {
        let failed = || BenchError::io("cannot start the receiver");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let receipts = Arc::new(Receipts {
            targets: (0..ledger.targets()).map(|_| Target::default()).collect(),
            ledger,
            timings: Timings::new(),
            last_us: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            watched_us: AtomicU64::new(0),
            watch_below: AtomicU64::new(0),
            log,
            tail,
            clock,
        });
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&receipts);
        let thread = std::thread::Builder::new().name("receiver".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it is a non-blocking socket and this is a runtime");
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, receipts, stop: Some(stop), thread: Some(thread.map_err(failed())?) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of a target.
    pub fn url(&self, target: usize) -> String {
        format!("http://{}/t/{target}", self.address)
    }

    /// What it wrote so far.
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// From now on the times of what arrives at a target are not collected.
    pub fn leave_untimed(&self, target: usize) {
        self.receipts.targets[target].is_untimed.store(true, Ordering::Relaxed);
    }

    /// From now on a target answers so.
    pub fn set_mode(&self, target: usize, mode: Mode) {
        let target = &self.receipts.targets[target];
        target.mode.store(mode.code(), Ordering::Relaxed);
        target.changed.notify_waiters();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A receiver that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, receipts: Arc<Receipts>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    receipts.connections.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(stream, Arc::clone(&receipts)));
                }
                Err(error) => eprintln!("the receiver could not accept a connection: {error}"),
            },
            Some(ended) = connections.join_next() => {
                if let Ok(Err(error)) = ended {
                    eprintln!("the receiver was sent what it cannot read: {error}");
                    receipts.ledger.damage();
                }
            }
        }
    }
}

async fn serve(mut stream: TcpStream, receipts: Arc<Receipts>) -> Result<(), WireError> {
    // Without it small answers may wait; the measurement would show it.
    let _ = stream.set_nodelay(true);
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        while let Some(frame) = Frame::of(&buffer)?
            && buffer.len() >= frame.total()
        {
            let (head, body) = buffer[..frame.total()].split_at(frame.head);
            let Some(answer) = receipts.answer(number(path(head)?), body).await else { return Ok(()) };
            buffer.advance(frame.total());
            if stream.write_all(answer).await.is_err() {
                return Ok(());
            }
        }
        buffer.reserve(READ);
        // The server may close a connection whenever it likes.
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return Ok(());
        }
    }
}

/// The last two digits of a number, shuffled, so that neighbours differ.
fn spread(number: u64) -> u64 {
    number % 100 * 37 % 100
}

/// Number of the target that a path names.
fn number(path: &[u8]) -> Option<usize> {
    std::str::from_utf8(path.strip_prefix(b"/t/")?).ok()?.parse().ok()
}

impl Receipts {
    /// What to answer, once it is time to; nothing if the connection is to close.
    async fn answer(&self, number: Option<usize>, body: &[u8]) -> Option<&'static [u8]> {
        let Some((number, target)) = number.and_then(|number| Some((number, self.targets.get(number)?))) else {
            self.ledger.damage();
            return Some(FAILED);
        };
        match Mode::of(target.mode.load(Ordering::Relaxed)) {
            Mode::Ok => {}
            Mode::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms.into())).await,
            Mode::Fail => return Some(FAILED),
            Mode::Gone => return Some(GONE),
            Mode::Hang => {
                let changed = target.changed.notified();
                if Mode::of(target.mode.load(Ordering::Relaxed)) == Mode::Hang {
                    changed.await;
                }
                return None;
            }
            Mode::Flaky(percent) => {
                let refuse = |found| match found {
                    Found::Whole { number, .. } => spread(number) < percent.into() && target.refused.mark(number),
                    Found::Damaged => false,
                };
                if find(body, &self.tail).any(refuse) {
                    return Some(FAILED);
                }
            }
        }
        target.answered.fetch_add(1, Ordering::Relaxed);
        if self.ledger.is_owed(number) {
            self.note(number, body);
        }
        Some(OK)
    }

    fn note(&self, target: usize, body: &[u8]) {
        if body == TEST {
            return;
        }
        let now_us = self.clock.us();
        let mut found_any = false;
        for found in find(body, &self.tail) {
            found_any = true;
            match found {
                Found::Whole { number, at_us } => {
                    if let Some(log) = &self.log {
                        log.lock().unwrap_or_else(PoisonError::into_inner).push(Receipt { target, number, at_us: now_us });
                    }
                    if number < self.watch_below.load(Ordering::Relaxed) && self.watched_us.load(Ordering::Relaxed) == 0 {
                        self.watched_us.store(now_us, Ordering::Relaxed);
                    }
                    if self.ledger.receive(target, number) {
                        if !self.targets[target].is_untimed.load(Ordering::Relaxed) {
                            self.timings.record(now_us.saturating_sub(at_us));
                        }
                        self.last_us.store(now_us, Ordering::Relaxed);
                    }
                }
                Found::Damaged => self.ledger.damage(),
            }
        }
        if !found_any {
            self.ledger.damage();
        }
    }

    /// All receipts so far, if they are remembered.
    pub fn log(&self) -> Vec<Receipt> {
        self.log.as_ref().map(|log| log.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// Requests that a target has answered with 200.
    pub fn answered(&self, target: usize) -> u64 {
        self.targets[target].answered.load(Ordering::Relaxed)
    }

    /// Watches for the first receipt, or repetition, of an event below this number.
    pub fn watch_for(&self, below: u64) {
        self.watch_below.store(below, Ordering::Relaxed);
        self.watched_us.store(0, Ordering::Relaxed);
    }

    /// When what is watched for came.
    pub fn watched(&self) -> Option<u64> {
        Some(self.watched_us.load(Ordering::Relaxed)).filter(|us| *us > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_survives_its_code() {
        for mode in [Mode::Ok, Mode::Slow(1000), Mode::Fail, Mode::Hang, Mode::Flaky(40), Mode::Gone] {
            assert_eq!(Mode::of(mode.code()), mode);
        }
        assert_eq!((number(b"/t/17"), number(b"/t/x"), number(b"/hang")), (Some(17), None, None));
    }
}
