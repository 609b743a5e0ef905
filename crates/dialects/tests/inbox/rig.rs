//! An inbox over a real engine and store, with a clock that stands still.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use posthaste_channels::Channels;
use posthaste_dialects::msggo::{MsggoSettings, MsggoState, router};
use posthaste_domain::clock::Clock;
use posthaste_domain::event::Event;
use posthaste_domain::resource::{EventType, KeyKind, Scope, Workspace};
use posthaste_engine::{Engine, EngineSettings, NewKey, Parts, ResourceError};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{EventFilter, Order, Range};
use serde_json::{Value, json};
use tower::ServiceExt;

pub type Headers<'a> = &'a [(&'a str, &'a str)];

pub const STRANGER: &str = "203.0.113.9:4711";
pub const PAGE: (&str, &str) = ("origin", "https://shop.example.com");

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub struct Inbox {
    pub routes: Router,
    pub engine: Engine,
    clock: Arc<TestClock>,
    pub workspace: i64,
    pub token: String,
    _directory: tempfile::TempDir,
}

impl Inbox {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(directory.path(), SqliteOptions::default()).unwrap());
        let clock = Arc::new(TestClock(AtomicI64::new(1_795_262_400_000)));
        let parts = Parts {
            catalog: store.clone(),
            journal: store.clone(),
            history: store.clone(),
            bins: store.clone(),
            suppressions: store,
            cluster: None,
            channels: Channels::default(),
            formats: posthaste_dialects::formats(&posthaste_dialects::DialectSettings::default()),
            clock: clock.clone(),
            settings: EngineSettings::default(),
        };
        let engine = Engine::start(parts).await.unwrap();
        let workspace = engine.create_workspace(Workspace { name: "Test".to_owned(), parent: None }).await.unwrap().number;
        let settings = MsggoSettings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..MsggoSettings::default() };
        let routes = router(MsggoState::new(engine.clone(), settings));
        let mut inbox = Self { routes, engine, clock, workspace, token: String::new(), _directory: directory };
        inbox.token = inbox.key(KeyKind::Private, None, &[]).await.unwrap();
        inbox
    }

    pub async fn key(&self, kind: KeyKind, scopes: Option<Vec<Scope>>, domains: &[&str]) -> Result<String, ResourceError> {
        let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        self.engine
            .create_key(self.workspace, NewKey { scopes, allowed_domains: domains, ..NewKey::new(kind) })
            .await
            .map(|(_, token)| token)
    }

    pub async fn public_key(&self) -> String {
        self.key(KeyKind::Public, None, &["shop.example.com"]).await.unwrap()
    }

    /// Sends a request from an address and answers status, `Retry-After` and body.
    pub async fn send(&self, from: Option<&str>, method: &str, target: &str, headers: Headers<'_>, body: &str) -> Response {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(from) = from {
            request = request.extension(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
        }
        self.routes.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    /// Posts an event with a key in the header; answers the status.
    pub async fn post(&self, token: &str, headers: Headers<'_>, body: &str) -> StatusCode {
        let headers = [&[("x-msggo-key", token)], headers].concat();
        self.send(Some(STRANGER), "POST", "/inbox", &headers, body).await.status()
    }

    /// What is stored, oldest first.
    pub async fn events(&self) -> Vec<Arc<Event>> {
        let range = Range { order: Order::Asc, after: None, limit: 1000, from_ms: None, to_ms: None };
        self.engine.history().events(self.workspace, EventFilter::default(), range).await.unwrap()
    }

    pub async fn payloads(&self) -> Vec<String> {
        self.events().await.iter().map(|event| String::from_utf8(event.payload.to_vec()).unwrap()).collect()
    }

    pub async fn event_type(&self, name: &str, rule: Option<Value>) {
        let doc = EventType {
            name: name.to_owned(),
            group: None,
            description: String::new(),
            rule_is_default: rule.is_none(),
            rule: rule.unwrap_or_else(|| json!({})),
            secret: "secret".to_owned(),
            schema: None,
        };
        self.engine.create(self.workspace, doc).await.unwrap();
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

pub async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}
