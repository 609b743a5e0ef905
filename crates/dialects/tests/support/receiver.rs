//! A receiver of webhooks on this machine: what came, in the order it came, and a scripted answer for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::PATIENCE;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = dyn Fn(usize, &Received) -> Response + Send + Sync;

struct Desk {
    script: Box<Script>,
    count: AtomicUsize,
    seen: mpsc::Sender<Received>,
}

/// Serves until it is dropped.
pub struct Receiver {
    pub url: String,
    seen: mpsc::Receiver<Received>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// Takes everything with an empty 200.
    pub async fn start() -> Self {
        Self::answering(|_, _| StatusCode::OK.into_response()).await
    }

    /// Answers with these statuses, then with the last of them for ever.
    pub async fn statuses(statuses: &'static [u16]) -> Self {
        let status = |number: usize| StatusCode::from_u16(statuses[number.min(statuses.len() - 1)]).unwrap();
        Self::answering(move |number, _| status(number).into_response()).await
    }

    /// The script gets the number of the request, from 0, and the request.
    pub async fn answering(script: impl Fn(usize, &Received) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::channel(10_000);
        let desk = Desk { script: Box::new(script), count: AtomicUsize::new(0), seen: sender };
        let app = Router::new().fallback(take).with_state(Arc::new(desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, _serving: serving }
    }

    /// The next request.
    pub async fn next(&mut self) -> Received {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.expect("a request within the time").unwrap()
    }

    /// So many requests, in the order they came.
    pub async fn take(&mut self, count: usize) -> Vec<Received> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.next().await);
        }
        all
    }

    /// What came and was not taken yet.
    pub fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

async fn take(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let received = Received { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    let answer = (desk.script)(desk.count.fetch_add(1, Ordering::SeqCst), &received);
    desk.seen.send(received).await.unwrap();
    answer
}
