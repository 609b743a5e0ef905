//! A receiver on loopback that does what the test says and remembers what it got.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn batch_id(&self) -> &str {
        self.header("x-messagesystems-batch-id").unwrap()
    }

    /// The contents of the records, whatever their class.
    pub fn records(&self) -> Vec<Value> {
        let content = |record: &Value| record["msys"].as_object().unwrap().values().next().cloned().unwrap_or_default();
        self.json().as_array().unwrap().iter().map(content).collect()
    }

    /// The types of the records.
    pub fn types(&self) -> Vec<String> {
        self.records().iter().map(|record| record["type"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Status, headers, body.
pub type Reply = (u16, Vec<(&'static str, String)>, String);

pub fn reply(status: u16) -> Reply {
    (status, Vec::new(), String::new())
}

type Script = Box<dyn FnMut(&Received) -> Reply + Send>;

struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Received>>,
}

/// A running receiver.
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// One that answers 200 to everything.
    pub async fn start() -> Self {
        Self::with(|_| reply(200)).await
    }

    pub async fn with(script: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        let shared = Arc::new(Shared { script: Mutex::new(Box::new(script)), seen: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, _tasks: tasks }
    }

    /// What it does from now on.
    pub fn answer(&self, script: impl FnMut(&Received) -> Reply + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    /// Everything that came.
    pub fn seen(&self) -> Vec<Received> {
        self.shared.seen.lock().clone()
    }

    /// What came besides the tests `[{"msys":{}}]` and requests for tokens.
    pub fn batches(&self) -> Vec<Received> {
        self.seen().into_iter().filter(|request| &request.body[..] != br#"[{"msys":{}}]"# && request.path != "/token").collect()
    }

    /// Waits until so many batches are there.
    pub async fn take(&self, count: usize) -> Vec<Received> {
        for _ in 0..2000 {
            let batches = self.batches();
            if batches.len() >= count {
                return batches;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{count} batches were expected, {} came", self.batches().len());
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let received = Received { method: parts.method.to_string(), path: parts.uri.path().to_owned(), headers: parts.headers, body };
    let (status, headers, body) = (shared.script.lock())(&received);
    shared.seen.lock().push(received);
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
