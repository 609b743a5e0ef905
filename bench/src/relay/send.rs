//! Signed posts over pooled keep-alive connections.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::append::Append;
use crate::timing::unix_seconds;

const SECRET: &[u8] = b"the relay's own signing secret..";

/// A connection and what moves its bytes, which the post that uses it drives: no task has to be woken for it.
struct Link {
    connection: SendRequest<Full<Bytes>>,
    driver: Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

/// Posts bodies, a bounded number at once.
pub struct Senders {
    sink: SocketAddr,
    host: String,
    paths: Vec<Uri>,
    permits: Semaphore,
    idle: Mutex<Vec<Link>>,
    append: Arc<Append>,
    key: Hmac<Sha256>,
}

impl Senders {
    /// For the targets `/t/0` and on of a receiver.
    pub fn new(sink: SocketAddr, targets: usize, in_flight: usize, append: Arc<Append>) -> Self {
        Self {
            sink,
            host: sink.to_string(),
            paths: (0..targets).map(|target| format!("/t/{target}").parse().expect("it is a path")).collect(),
            permits: Semaphore::new(in_flight),
            idle: Mutex::new(Vec::with_capacity(in_flight)),
            append,
            key: Hmac::new_from_slice(SECRET).expect("a key of any length will do"),
        }
    }

    /// Posts one body to one target, once, and notes how that went.
    pub async fn deliver(&self, target: usize, id: u64, body: Bytes) {
        let permit = self.permits.acquire().await.expect("it is never closed");
        let status = self.post(target, id, body).await.unwrap_or_default();
        drop(permit);
        let mut line = String::with_capacity(64);
        writeln!(line, "attempt {id:016x} {target} {status}").expect("text takes all");
        self.append.note(line.as_bytes());
    }

    async fn post(&self, target: usize, id: u64, body: Bytes) -> Option<u16> {
        let mut signed = String::with_capacity(64);
        write!(signed, "msg_{id:016x}.").expect("text takes all");
        let id_end = signed.len() - 1;
        let time_start = signed.len();
        write!(signed, "{}.", unix_seconds()).expect("text takes all");
        let time_end = signed.len() - 1;
        let mut mac = self.key.clone();
        mac.update(signed.as_bytes());
        mac.update(&body);
        let mut signature = String::with_capacity(48);
        signature.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut signature);

        let request = Request::builder()
            .method(Method::POST)
            .uri(self.paths[target].clone())
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("user-agent", "posthaste-bench-relay")
            .header("webhook-id", &signed[..id_end])
            .header("webhook-timestamp", &signed[time_start..time_end])
            .header("webhook-signature", signature)
            .body(Full::new(body))
            .ok()?;
        let mut link = self.link().await?;
        let answer = async {
            link.connection.ready().await.ok()?;
            let response = link.connection.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            response.into_body().collect().await.ok()?;
            Some(status)
        };
        let status = tokio::select! {
            biased;
            status = answer => status?,
            // Its end is that of the answer.
            _ = &mut link.driver => return None,
        };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        Some(status)
    }

    /// The connection that was used last, or a new one.
    async fn link(&self) -> Option<Link> {
        if let Some(link) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Some(link);
        }
        let stream = TcpStream::connect(self.sink).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await.ok()?;
        Some(Link { connection, driver: Box::pin(driver) })
    }
}
