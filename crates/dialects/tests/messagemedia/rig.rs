//! A server and receivers of what it delivers.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use posthaste_channels::address::AddressGuard;
use posthaste_channels::{ChannelOptions, Channels};
use posthaste_dialects::DialectSettings;
use posthaste_dialects::messagemedia::MessageMediaSettings;
use posthaste_domain::clock::Clock;
use posthaste_domain::event::Source;
use posthaste_domain::resource::{KeyKind, Scope, Workspace};
use posthaste_engine::{AcceptRequest, Engine, EngineSettings, Incoming, IncomingKind, NewKey, Parts};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;

pub const WEBHOOKS: &str = "/v1/webhooks/messages";
pub const KEYS: &str = "/v1/iam/signature_keys";
/// How long anything may take that should be there at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time that runs, plus what the test adds.
#[derive(Default)]
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
        let start = START.get_or_init(tokio::time::Instant::now);
        1_795_262_400_123 + start.elapsed().as_millis() as i64 + self.0.load(Ordering::SeqCst)
    }
}

/// A key as its owner has it.
#[derive(Clone)]
pub struct Credentials {
    pub id: String,
    pub token: String,
}

impl Credentials {
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.id, self.token)))
    }
}

pub struct Rig {
    pub engine: Engine,
    routes: Router,
    clock: Arc<TestClock>,
    pub workspace: i64,
    pub key: Credentials,
    directory: Arc<tempfile::TempDir>,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(MessageMediaSettings::default()).await
    }

    pub async fn with_signature_keys() -> Self {
        Self::with(MessageMediaSettings { signature_keys: true, ..MessageMediaSettings::default() }).await
    }

    pub async fn with(settings: MessageMediaSettings) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(TestClock::default());
        let (engine, routes) = open(directory.path(), &clock, settings).await;
        let workspace = engine.create_workspace(Workspace { name: "Test".to_owned(), parent: None }).await.unwrap().number;
        let key = Credentials { id: String::new(), token: String::new() };
        let mut rig = Self { engine, routes, clock, workspace, key, directory };
        rig.key = rig.new_key(workspace, None).await;
        rig
    }

    /// The same server after a stop and a start.
    pub async fn restarted(self) -> Self {
        self.engine.shutdown(Duration::from_secs(5)).await;
        let Self { engine, routes, clock, workspace, key, directory } = self;
        drop((engine, routes));
        let (engine, routes) = open(directory.path(), &clock, MessageMediaSettings::default()).await;
        Self { engine, routes, clock, workspace, key, directory }
    }

    pub async fn new_key(&self, workspace: i64, scopes: Option<Vec<Scope>>) -> Credentials {
        let key = NewKey { scopes, may_sign: true, ..NewKey::new(KeyKind::Private) };
        let (entry, token) = self.engine.create_key(workspace, key).await.unwrap();
        Credentials { id: entry.id.clone(), token }
    }

    /// Another workspace with a key of its own: number, id, key.
    pub async fn new_workspace(&self, parent: Option<i64>) -> (i64, String, Credentials) {
        let parent = parent.map(|number| self.engine.id_of(number).unwrap());
        let workspace = self.engine.create_workspace(Workspace { name: "Other".to_owned(), parent }).await.unwrap();
        (workspace.number, workspace.id.clone(), self.new_key(workspace.number, None).await)
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.routes.clone().oneshot(request.body(Body::from(body.to_vec())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        // MESSAGEMEDIA-115: of every answer that any test here gets.
        if !body.is_empty() {
            assert_eq!(parts.headers["content-type"], "application/json", "{method} {target}: {body}");
            let parsed: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{method} {target}: {error}: {body}"));
            assert!(parts.status.is_success() || parsed["message"].is_string(), "{method} {target}: {body}");
        }
        (parts.status, parts.headers, body)
    }

    /// A call by the key of a workspace; answers status and JSON (null without a body).
    pub async fn call_as(&self, key: &Credentials, method: &str, target: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("authorization", key.basic()), ("content-type", "application/json; charset=utf-8".to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, _, text) = self.send(method, target, &headers, body.as_bytes()).await;
        (status.as_u16(), if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    pub async fn call(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        self.call_as(&self.key, method, target, body).await
    }

    /// Makes a webhook; answers it.
    pub async fn create(&self, body: Value) -> Value {
        let (status, webhook) = self.call("POST", WEBHOOKS, body.clone()).await;
        assert_eq!(status, 201, "{body}: {webhook}");
        webhook
    }

    /// Makes a webhook at a receiver, with JSON, `POST` and these fields instead or besides; answers its id.
    pub async fn hook(&self, receiver: &Receiver, events: &[&str], extra: Value) -> String {
        let mut body = json!({ "url": receiver.url, "method": "POST", "encoding": "JSON", "events": events });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.create(body).await["id"].as_str().unwrap().to_owned()
    }

    pub async fn publish(&self, type_name: &str, payload: Value) {
        let event =
            Incoming { kind: IncomingKind::Named(type_name.into()), payload: Bytes::from(payload.to_string()), deliver_at_ms: None };
        let source = Arc::new(Source { via: "test".to_owned(), key: None, ip: None });
        let request = AcceptRequest { workspace: self.workspace, source, events: vec![event], idempotency: None };
        self.engine.accept(request).await.unwrap();
    }

    /// Lets time pass, and has all lanes look at the clock as any traffic would.
    pub async fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as i64, Ordering::SeqCst);
        self.engine.metrics().await;
    }

    /// Lets everything that is due be sent, and stops.
    pub async fn finish(self) {
        self.engine.shutdown(Duration::from_secs(5)).await;
    }

    /// Waits until so many deliveries of the workspace are in no waiting state.
    pub async fn until_settled(&self, count: u64) {
        let wait = async {
            loop {
                let totals = self.engine.totals();
                if totals.delivered + totals.failed >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the deliveries end");
    }
}

async fn open(directory: &Path, clock: &Arc<TestClock>, settings: MessageMediaSettings) -> (Engine, Router) {
    let store = Arc::new(SqliteStore::open(directory, SqliteOptions::default()).unwrap());
    let settings = DialectSettings { messagemedia: settings, ..DialectSettings::default() };
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let parts = Parts {
        catalog: store.clone(),
        journal: store.clone(),
        history: store.clone(),
        bins: store.clone(),
        suppressions: store,
        cluster: None,
        channels: Channels::standard(&ChannelOptions { guard, ..ChannelOptions::default() }).unwrap(),
        formats: posthaste_dialects::formats(&settings),
        clock: clock.clone(),
        settings: EngineSettings::default(),
    };
    let engine = Engine::start(parts).await.unwrap();
    let routes = posthaste_dialects::router(engine.clone(), settings);
    (engine, routes)
}

/// A request as a receiver got it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub version: http::Version,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

#[derive(Default)]
struct Desk {
    /// Statuses for the next requests; 0 never answers. Then 200.
    statuses: Mutex<Vec<u16>>,
    seen: Mutex<Vec<Received>>,
    count: AtomicUsize,
}

/// A receiver of webhooks on loopback.
pub struct Receiver {
    pub url: String,
    desk: Arc<Desk>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::answering(&[]).await
    }

    pub async fn answering(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Desk { statuses: Mutex::new(statuses.to_vec()), ..Desk::default() });
        let app = Router::new().fallback(take).with_state(desk.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, desk, _serving: serving }
    }

    pub fn seen(&self) -> Vec<Received> {
        self.desk.seen.lock().unwrap().clone()
    }

    /// All requests, as soon as there are so many.
    pub async fn take(&self, count: usize) -> Vec<Received> {
        let wait = async {
            while self.desk.count.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{count} requests, not {:?}", self.seen()));
        self.seen()
    }

    pub async fn first(&self) -> Received {
        self.take(1).await.remove(0)
    }
}

async fn take(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    desk.seen.lock().unwrap().push(Received { method: parts.method, uri: parts.uri, headers: parts.headers, body, version: parts.version });
    desk.count.fetch_add(1, Ordering::SeqCst);
    let status = {
        let mut statuses = desk.statuses.lock().unwrap();
        if statuses.is_empty() { 200 } else { statuses.remove(0) }
    };
    if status == 0 {
        std::future::pending::<()>().await;
    }
    Response::builder().status(status).body(Body::empty()).unwrap()
}

/// A delivery report's message data.
pub fn report() -> Value {
    json!({
        "channel": "sms", "message_id": "877c19ef-fa2e-4cec-827a-e1df9b5509f7", "recipient": "+61491570156", "sender": "+61491593156",
        "text": "Hi Derp", "metadata": { "key": "name", "second": "va\"l/1" }, "occurred_at": "2016-12-07T08:44:00.85Z",
        "submitted_at": "2016-12-07T19:43:00.850+11:00", "segments": 2
    })
}

/// A reply's message data.
pub fn reply() -> Value {
    json!({
        "channel": "sms", "message_id": "877c19ef-fa2e-4cec-827a-e1df9b5509f7", "recipient": "+61491593156", "sender": "+61491570156",
        "text": "Hello \"Derpina\"\\\nnext", "original_text": "Hi Derp", "reply_id": "a175e797-2b54-468b-9850-41a3eab32f74",
        "metadata": { "key": "name" }, "occurred_at": "2016-12-07T08:43:00.850Z"
    })
}

/// An opt-out's message data.
pub fn opt_out() -> Value {
    json!({ "channel": "sms", "message_id": "m-1", "recipient": "+61491570156", "sender": "+61491593156", "text": "STOP" })
}
