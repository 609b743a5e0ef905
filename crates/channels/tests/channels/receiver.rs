//! An HTTP receiver with scripted answers, good and bad.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// What to do with a request.
pub enum Reply {
    /// Write this and read on.
    Raw(Vec<u8>),
    /// Wait, then write this and read on.
    After(Duration, Vec<u8>),
    /// Write this, then nothing for ever.
    Hang(Vec<u8>),
    /// Write this, then close.
    Close(Vec<u8>),
    /// Write this, then one byte each time.
    Drip(Vec<u8>, Duration),
    /// Write this, then bytes as fast as they are taken.
    Flood(Vec<u8>),
}

/// A status with a body.
pub fn status(status: u16, headers: &str, body: &str) -> Reply {
    Reply::Raw(format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes())
}

type Script = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

/// What came in, and what to answer; shared by all connections.
#[derive(Clone)]
pub struct Desk {
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Bytes that a flood got rid of.
    pub flooded: Arc<AtomicUsize>,
    /// Connections whose other side went away.
    pub closed: Arc<AtomicUsize>,
}

impl Desk {
    /// The script gets the number of the request, from 0, and the request.
    pub fn new(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), seen: Arc::default(), flooded: Arc::default(), closed: Arc::default() }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }

    /// Serves one connection until its end.
    pub async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(request) = read_request(&mut stream).await {
            let number = {
                let mut seen = self.seen.lock().expect("lock");
                seen.push(request.clone());
                seen.len() - 1
            };
            let written = match (self.script)(number, &request) {
                Reply::Raw(bytes) => stream.write_all(&bytes).await,
                Reply::After(wait, bytes) => {
                    sleep(wait).await;
                    stream.write_all(&bytes).await
                }
                Reply::Close(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    return;
                }
                Reply::Hang(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    break;
                }
                Reply::Drip(bytes, every) => {
                    let _ = stream.write_all(&bytes).await;
                    while stream.write_all(b"x").await.is_ok() {
                        sleep(every).await;
                    }
                    break;
                }
                Reply::Flood(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    while let Ok(written) = stream.write(&[b'x'; 4096]).await {
                        self.flooded.fetch_add(written, Ordering::SeqCst);
                    }
                    break;
                }
            };
            if written.is_err() {
                break;
            }
        }
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(end + 4);
    let mut seen = Seen { head: String::from_utf8(bytes).ok()?.trim_end().to_owned(), body };
    let length: usize = seen.header("content-length").map_or(0, |text| text.parse().expect("a length"));
    while seen.body.len() < length {
        if stream.read_buf(&mut seen.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(seen)
}

/// A receiver on a port of loopback; it ends with its owner.
pub struct Receiver {
    pub address: SocketAddr,
    pub desk: Desk,
    connections: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Receiver {
    pub async fn start(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (desk, connections) = (Desk::new(script), Arc::new(AtomicUsize::new(0)));
        let mut accepting = JoinSet::new();
        let (serving, counting) = (desk.clone(), Arc::clone(&connections));
        accepting.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                counting.fetch_add(1, Ordering::SeqCst);
                open.spawn(serving.clone().serve(stream));
            }
        });
        Self { address, desk, connections, _accepting: accepting }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.desk.seen()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
