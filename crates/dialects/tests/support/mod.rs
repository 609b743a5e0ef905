//! A dialect over a real engine and store, with real receivers on this machine.

#![allow(dead_code, reason = "each test program uses its part of this")]

pub mod receiver;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use posthaste_channels::{AddressGuard, ChannelOptions, Channels};
use posthaste_dialects::DialectSettings;
use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::{Delivery, DeliveryState};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::resource::{KeyKind, Scope, Workspace};
use posthaste_engine::{AcceptRequest, Engine, EngineSettings, Incoming, IncomingKind, NewKey, Parts};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{DeliveryFilter, EventFilter, Order, Range};
use serde_json::Value;
use tower::ServiceExt;

/// How long anything may take that should be there at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Time that passes, and that a test can push ahead.
pub struct TestClock {
    began: tokio::time::Instant,
    offset_ms: AtomicI64,
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        1_795_262_400_000 + self.began.elapsed().as_millis() as i64 + self.offset_ms.load(Ordering::SeqCst)
    }
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.offset_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

/// All dialects on an engine.
pub struct Stage {
    pub engine: Engine,
    pub routes: Router,
    pub clock: Arc<TestClock>,
    /// Number of a workspace.
    pub workspace: i64,
    /// Token of a key of it that may do everything.
    pub token: String,
    settings: DialectSettings,
    directory: Arc<tempfile::TempDir>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The JSON of an answer that has to have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

async fn open(directory: &Path, clock: &Arc<TestClock>, settings: &DialectSettings) -> Engine {
    let store = Arc::new(SqliteStore::open(directory, SqliteOptions::default()).unwrap());
    let options = ChannelOptions { guard: AddressGuard::open(), ..ChannelOptions::default() };
    let parts = Parts {
        catalog: store.clone(),
        journal: store.clone(),
        history: store.clone(),
        bins: store.clone(),
        suppressions: store,
        cluster: None,
        channels: Channels::standard(&options).unwrap(),
        formats: posthaste_dialects::formats(settings),
        clock: clock.clone(),
        settings: EngineSettings { public_base_url: "http://posthaste.test".to_owned(), ..EngineSettings::default() },
    };
    Engine::start(parts).await.unwrap()
}

impl Stage {
    pub async fn start() -> Self {
        Self::with(DialectSettings::default()).await
    }

    pub async fn with(settings: DialectSettings) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(TestClock { began: tokio::time::Instant::now(), offset_ms: AtomicI64::new(0) });
        let engine = open(directory.path(), &clock, &settings).await;
        let workspace = engine.create_workspace(Workspace { name: "Test".to_owned(), parent: None }).await.unwrap().number;
        let routes = posthaste_dialects::router(engine.clone(), settings.clone());
        let mut stage = Self { engine, routes, clock, workspace, token: String::new(), settings, directory };
        stage.token = stage.key(workspace, None).await;
        stage
    }

    /// Stops the engine and starts another on the same data.
    pub async fn restart(self) -> Self {
        let Self { engine, routes, clock, workspace, token, settings, directory } = self;
        engine.shutdown(Duration::from_secs(5)).await;
        drop((engine, routes));
        let engine = open(directory.path(), &clock, &settings).await;
        let routes = posthaste_dialects::router(engine.clone(), settings.clone());
        Self { engine, routes, clock, workspace, token, settings, directory }
    }

    /// The same stage with the key of another workspace.
    pub fn seen_by(&self, workspace: i64, token: String) -> Self {
        let Self { engine, routes, clock, settings, directory, .. } = self;
        Self {
            engine: engine.clone(),
            routes: routes.clone(),
            clock: clock.clone(),
            workspace,
            token,
            settings: settings.clone(),
            directory: directory.clone(),
        }
    }

    /// A private key; with all scopes if none are named.
    pub async fn key(&self, workspace: i64, scopes: Option<Vec<Scope>>) -> String {
        self.engine.create_key(workspace, NewKey { scopes, ..NewKey::new(KeyKind::Private) }).await.unwrap().1
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// Stores events of a type as an outside system posts them.
    pub async fn publish(&self, type_name: &str, payloads: &[Value]) {
        let incoming = |payload: &Value| Incoming {
            kind: IncomingKind::Named(Arc::from(type_name)),
            payload: payload.to_string().into(),
            deliver_at_ms: None,
        };
        let source = Arc::new(Source { via: "api".to_owned(), key: None, ip: None });
        let events = payloads.iter().map(incoming).collect();
        self.engine.accept(AcceptRequest { workspace: self.workspace, source, events, idempotency: None }).await.unwrap();
    }

    /// What is stored, oldest first.
    pub async fn events(&self) -> Vec<Arc<Event>> {
        let range = Range { order: Order::Asc, after: None, limit: 10_000, from_ms: None, to_ms: None };
        self.engine.history().events(self.workspace, EventFilter::default(), range).await.unwrap()
    }

    /// All deliveries, oldest first.
    pub async fn deliveries(&self) -> Vec<Delivery> {
        let range = Range { order: Order::Asc, after: None, limit: 10_000, from_ms: None, to_ms: None };
        self.engine.history().deliveries(self.workspace, DeliveryFilter::default(), range).await.unwrap()
    }

    /// Waits until no delivery is to be tried any more; answers all of them.
    pub async fn settled(&self) -> Vec<Delivery> {
        let wait = async {
            loop {
                let all = self.deliveries().await;
                if all.iter().all(|delivery| !matches!(delivery.state, DeliveryState::Queued | DeliveryState::Scheduled)) {
                    return all;
                }
                // Deliveries have no notice to await; the wait is bounded by the patience above.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("deliveries settle")
    }
}
