//! A webhook receiver in the test's own process.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::process::PATIENCE;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Hit {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Hit {
    /// A header's text; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// How a request is answered.
pub enum Reply {
    /// At once.
    Now(u16),
    /// After a while.
    After(Duration, u16),
    /// When the gate opens.
    When(watch::Receiver<bool>, u16),
}

type Script = Arc<dyn Fn(&Hit) -> Reply + Send + Sync>;

/// A listener on a free port of this machine.
pub struct Receiver {
    address: String,
    hits: mpsc::Receiver<Hit>,
    open: watch::Receiver<usize>,
    _stops_when_dropped: DropGuard,
}

impl Receiver {
    /// Answers everything with 204.
    pub async fn start() -> Self {
        Self::scripted(|_| Reply::Now(204)).await
    }

    /// Answers as the script says.
    pub async fn scripted(script: impl Fn(&Hit) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (sender, hits) = mpsc::channel(1 << 16);
        let (connections, open) = watch::channel(0);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let script: Script = Arc::new(script);
        let token = stop.clone();
        tasks.clone().spawn(async move {
            let connections = Arc::new(connections);
            while let Some(Ok((stream, _))) = token.run_until_cancelled(listener.accept()).await {
                let (script, sender, connections, token) = (Arc::clone(&script), sender.clone(), Arc::clone(&connections), token.clone());
                connections.send_modify(|count| *count += 1);
                tasks.spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&script), sender.clone()));
                    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // Servers under test are killed: broken connections are expected.
                    let _broken = token.run_until_cancelled(connection).await;
                    connections.send_modify(|count| *count -= 1);
                });
            }
        });
        Self { address, hits, open, _stops_when_dropped: stop.drop_guard() }
    }

    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request, as soon as it is there.
    pub async fn next(&mut self) -> Hit {
        let hit = tokio::time::timeout(PATIENCE, self.hits.recv()).await;
        hit.expect("nothing came").expect("the receiver lives")
    }

    /// Requests that came and were not looked at yet.
    pub fn rest(&mut self) -> Vec<Hit> {
        std::iter::from_fn(|| self.hits.try_recv().ok()).collect()
    }

    /// Waits until no connection is open: all that a dead sender sent has been read.
    pub async fn quiet(&mut self) {
        let closed = tokio::time::timeout(PATIENCE, self.open.wait_for(|open| *open == 0)).await;
        closed.expect("connections stay open").expect("the receiver lives");
    }
}

async fn answer(request: Request<Incoming>, script: Script, hits: mpsc::Sender<Hit>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Full::default());
    let Ok(body) = body.collect().await else {
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let hit = Hit { method: head.method.to_string(), path: head.uri.to_string(), headers: head.headers, body: body.to_bytes() };
    let reply = script(&hit);
    // A test that does not look at its hits may leave them.
    let _full = hits.try_send(hit);
    let status = match reply {
        Reply::Now(status) => status,
        Reply::After(pause, status) => {
            tokio::time::sleep(pause).await;
            status
        }
        Reply::When(mut gate, status) => {
            let _opened_or_gone = gate.wait_for(|open| *open).await;
            status
        }
    };
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    Ok(response)
}
