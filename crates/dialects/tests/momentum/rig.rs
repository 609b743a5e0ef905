//! The API in front of a real engine, with a clock that the test moves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use posthaste_channels::{AddressGuard, ChannelOptions, Channels};
use posthaste_dialects::DialectSettings;
use posthaste_dialects::momentum::{MomentumSettings, MomentumState, router};
use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::Delivery;
use posthaste_domain::event::Source;
use posthaste_domain::resource::{KeyKind, Scope, Workspace};
use posthaste_engine::{AcceptError, AcceptRequest, Engine, EngineSettings, Incoming, IncomingKind, NewKey, Parts};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{DeliveryFilter, Order, Range};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::receiver::Receiver;

pub const BASE: &str = "/api/v1/webhooks";
pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);

/// Wall time plus what the test adds.
#[derive(Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
        let start = START.get_or_init(tokio::time::Instant::now);
        1_800_000_000_000 + start.elapsed().as_millis() as i64 + self.0.load(Ordering::SeqCst)
    }
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// `results`, of an answer that has to be 200.
    pub fn results(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["results"].clone()
    }

    /// The first of `errors`, of an answer with this status.
    pub fn error(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/json");
        let body = self.json();
        assert!(body.get("results").is_none(), "{body}");
        body["errors"][0].clone()
    }
}

pub struct Rig {
    pub engine: Engine,
    routes: Router,
    clock: Arc<TestClock>,
    pub workspace: i64,
    pub token: String,
    settings: MomentumSettings,
    directory: tempfile::TempDir,
}

impl Rig {
    /// With the documented numbers.
    pub async fn start() -> Self {
        Self::with(MomentumSettings::default()).await
    }

    /// With these numbers.
    pub async fn with(settings: MomentumSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let (engine, routes) = open(&directory, &clock, &settings).await;
        let workspace = engine.create_workspace(Workspace { name: "Test".to_owned(), parent: None }).await.unwrap().number;
        let mut rig = Self { engine, routes, clock, workspace, token: String::new(), settings, directory };
        rig.token = rig.key(&[Scope::Admin]).await;
        rig
    }

    /// With attempts and tests that give up after a moment.
    pub async fn impatient() -> Self {
        Self::with(MomentumSettings { timeout: Duration::from_millis(250), ..MomentumSettings::default() }).await
    }

    /// The same server, stopped and started again.
    pub async fn restart(self) -> Self {
        self.engine.shutdown(Duration::from_secs(5)).await;
        let (engine, routes) = open(&self.directory, &self.clock, &self.settings).await;
        Self { engine, routes, ..self }
    }

    pub async fn key(&self, scopes: &[Scope]) -> String {
        let key = NewKey { scopes: Some(scopes.to_vec()), ..NewKey::new(KeyKind::Private) };
        self.engine.create_key(self.workspace, key).await.unwrap().1
    }

    /// Any request, from an address.
    pub async fn send(&self, from: &str, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).extension(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "momentum.example:8080");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.routes.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A request with the administrator's key.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut headers = vec![("authorization", self.token.as_str())];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send("203.0.113.9:4711", method, &format!("{BASE}{path}"), &headers, body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).await.results()
    }

    pub async fn post(&self, body: Value) -> Answer {
        self.call("POST", "", Some(body)).await
    }

    pub async fn put(&self, id: &str, body: Value) -> Answer {
        self.call("PUT", &format!("/{id}"), Some(body)).await
    }

    /// Creates a webhook; answers its id.
    pub async fn create(&self, body: Value) -> String {
        self.post(body).await.results()["id"].as_str().unwrap().to_owned()
    }

    /// A webhook for some events that is past its first minute.
    pub async fn ready(&self, receiver: &Receiver, events: &[&str]) -> String {
        let id = self.create(webhook(receiver, events)).await;
        self.pass(MINUTE + SECOND).await;
        id
    }

    pub async fn publish(&self, type_name: &str, payload: Value) {
        self.publish_many(type_name, &[payload]).await;
    }

    pub async fn publish_many(&self, type_name: &str, payloads: &[Value]) {
        let incoming = |payload: &Value| Incoming {
            kind: IncomingKind::Named(type_name.into()),
            payload: payload.to_string().into(),
            deliver_at_ms: None,
        };
        let source = Arc::new(Source { via: "test".into(), key: None, ip: None });
        loop {
            let events = payloads.iter().map(incoming).collect();
            let source = Arc::clone(&source);
            match self.engine.accept(AcceptRequest { workspace: self.workspace, source, events, idempotency: None }).await {
                // The clock jumped while a commit was under way, which looks like a disk that hangs.
                Err(AcceptError::Overloaded) => tokio::time::sleep(Duration::from_millis(1)).await,
                accepted => break drop(accepted.unwrap()),
            }
        }
    }

    /// Time goes by, and everybody notices.
    pub async fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as i64, Ordering::SeqCst);
        self.nudge().await;
    }

    /// Has the committer and all lanes look at the clock, as any traffic would.
    pub async fn nudge(&self) {
        self.publish("test.tick", json!({})).await;
        self.engine.metrics().await;
    }

    /// All deliveries, oldest first.
    pub async fn deliveries(&self) -> Vec<Delivery> {
        let range = Range { order: Order::Asc, after: None, limit: 10_000, from_ms: None, to_ms: None };
        self.engine.history().deliveries(self.workspace, DeliveryFilter::default(), range).await.unwrap()
    }

    /// Waits until the oldest delivery is as wanted.
    pub async fn first_delivery(&self, what: &str, wanted: impl Fn(&Delivery) -> bool) -> Delivery {
        for _ in 0..2000 {
            let delivery = self.deliveries().await.into_iter().next();
            if let Some(delivery) = delivery.filter(|delivery| wanted(delivery)) {
                return delivery;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no delivery that {what}: {:?}", self.deliveries().await);
    }

    /// Waits until every delivery is as wanted.
    pub async fn all_deliveries(&self, what: &str, wanted: impl Fn(&Delivery) -> bool) {
        for _ in 0..2000 {
            if self.deliveries().await.iter().all(&wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not all deliveries {what}: {:?}", self.deliveries().await);
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}

async fn open(directory: &tempfile::TempDir, clock: &Arc<TestClock>, settings: &MomentumSettings) -> (Engine, Router) {
    let store = Arc::new(SqliteStore::open(directory.path(), SqliteOptions::default()).unwrap());
    let guard = AddressGuard::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let formats = posthaste_dialects::formats(&DialectSettings { momentum: settings.clone(), ..DialectSettings::default() });
    let parts = Parts {
        catalog: store.clone(),
        journal: store.clone(),
        history: store.clone(),
        bins: store.clone(),
        suppressions: store,
        cluster: None,
        channels: Channels::standard(&ChannelOptions { guard, ..ChannelOptions::default() }).unwrap(),
        formats,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        settings: EngineSettings::default(),
    };
    let engine = Engine::start(parts).await.unwrap();
    let routes = router(MomentumState::new(engine.clone(), settings.clone()));
    (engine, routes)
}

/// A webhook document.
pub fn webhook(receiver: &Receiver, events: &[&str]) -> Value {
    json!({ "name": "A webhook", "target": format!("{}/hook?a=1", receiver.url), "events": events })
}

/// A document with one more field.
pub fn with(mut document: Value, field: &str, value: Value) -> Value {
    document[field] = value;
    document
}

/// Whether a text is a UUID.
pub fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
