//! The receiver: an HTTP/1.1 server on a thread of its own that answers 200 and writes the ledger.
//!
//! `/t/NUMBER` is a target; `/hang` reads and never answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::BenchError;
use crate::event::{Found, Tail, find};
use crate::http::{Frame, WireError, path};
use crate::ledger::Ledger;
use crate::timing::{Clock, Timings};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const READ: usize = 64 << 10;
/// What a Momentum webhook is tested with when it is made.
const TEST: &[u8] = br#"[{"msys":{}}]"#;

/// What the receiver writes.
pub struct Receipts {
    /// Who got what.
    pub ledger: Arc<Ledger>,
    /// From the time in the event to its first receipt at a target.
    pub timings: Timings,
    /// Time of the last first receipt.
    pub last_us: AtomicU64,
    /// Connections that were opened to the receiver.
    pub connections: AtomicU64,
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
        let failed = || BenchError::io("cannot start the receiver");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
        let receipts =
            Arc::new(Receipts { ledger, timings: Timings::new(), last_us: AtomicU64::new(0), connections: AtomicU64::new(0), tail, clock });
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

    /// URL of a target.
    pub fn url(&self, target: usize) -> String {
        format!("http://{}/t/{target}", self.address)
    }

    /// URL of a target that takes requests and never answers.
    pub fn hanging_url(&self) -> String {
        format!("http://{}/hang", self.address)
    }

    /// What it wrote so far.
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
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
            let Some(target) = target(path(head)?) else {
                std::future::pending::<()>().await;
                return Ok(());
            };
            receipts.note(target, body);
            buffer.advance(frame.total());
            if stream.write_all(OK).await.is_err() {
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

/// Number of the target that a path names; none if it hangs.
fn target(path: &[u8]) -> Option<usize> {
    let number = path.strip_prefix(b"/t/")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

impl Receipts {
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
                    if self.ledger.receive(target, number) {
                        self.timings.record(now_us.saturating_sub(at_us));
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
}
