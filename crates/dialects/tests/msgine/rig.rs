//! The dialect over a real engine, store and simulated carrier, with a clock that stands still and receivers on loopback.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use posthaste_channels::{AddressGuard, ChannelOptions, Channels};
use posthaste_dialects::DialectSettings;
use posthaste_dialects::msgine::{DIALECT, MsgineSettings, MsgineState, router};
use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::Delivery;
use posthaste_domain::event::Event;
use posthaste_domain::resource::{Account, KeyKind, Scope, Subscription, Target, Workspace};
use posthaste_domain::signature::{hex, hmac_sha256};
use posthaste_engine::{Engine, EngineSettings, Entry, NewKey, Parts};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{DeliveryFilter, EventFilter, Order, Range};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Where the clock stands at first: 2026-11-21T12:00:00Z.
pub const START_MS: i64 = 1_795_262_400_000;
/// How long anything may take that should be there at once.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A number to which everything is delivered at once.
pub const NUMBER: &str = "+256701521269";
/// A number that the simulated carrier calls invalid.
pub const INVALID: &str = "+9990000001";
/// A number that takes a message and fails later.
pub const FAILING: &str = "+9990000002";
/// A number that takes a message and never says more.
pub const SILENT: &str = "+9990000008";

pub const ONE: &str = "/api/v1/messages/sms";
pub const TWO: &str = "/api/v1/developers/sms";

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub struct Rig {
    pub engine: Engine,
    pub workspace: i64,
    /// Token of a key that may do everything.
    pub token: String,
    routes: Router,
    clock: Arc<TestClock>,
    settings: MsgineSettings,
    directory: tempfile::TempDir,
}

/// An answer with its body.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/json");
        self.json()
    }

    /// The error of an answer that must have this status and code.
    #[track_caller]
    pub fn error(self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["error"]["code"], code, "{body}");
        body["error"].clone()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(MsgineSettings::default()).await
    }

    /// Webhooks may go to loopback whatever the settings say.
    pub async fn with(settings: MsgineSettings) -> Self {
        let settings = MsgineSettings { allow_http: true, ..settings };
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(START_MS)));
        let (engine, routes) = open(&directory, &clock, &settings).await;
        let workspace = engine.create_workspace(Workspace { name: "Test".to_owned(), parent: None }).await.unwrap().number;
        let mut rig = Self { engine, workspace, token: String::new(), routes, clock, settings, directory };
        rig.token = rig.key(None).await;
        rig
    }

    /// Stops everything and starts it again on the same data.
    pub async fn restart(self) -> Self {
        self.engine.shutdown(Duration::from_secs(10)).await;
        let (engine, routes) = open(&self.directory, &self.clock, &self.settings).await;
        Self { engine, routes, ..self }
    }

    pub async fn key(&self, scopes: Option<Vec<Scope>>) -> String {
        self.key_in(self.workspace, scopes).await
    }

    pub async fn key_in(&self, workspace: i64, scopes: Option<Vec<Scope>>) -> String {
        let key = NewKey { scopes, ..NewKey::new(KeyKind::Private) };
        self.engine.create_key(workspace, key).await.unwrap().1
    }

    pub async fn other_workspace(&self) -> i64 {
        self.engine.create_workspace(Workspace { name: "Other".to_owned(), parent: None }).await.unwrap().number
    }

    pub fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Has all lanes look at the clock.
    pub async fn nudge(&self) {
        self.engine.metrics().await;
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.routes.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[("x-api-key", &self.token)], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as(&self.token, path, body).await
    }

    pub async fn post_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.call("POST", path, &headers, body.to_string()).await
    }

    /// Sends to a number and answers the message.
    pub async fn sms(&self, to: &str) -> Value {
        self.post(ONE, &json!({ "to": to, "message": "Hello from MsGine!" })).await.expect(201)
    }

    /// What is stored of some types, oldest first.
    pub async fn events(&self, type_name: &str) -> Vec<Arc<Event>> {
        let range = Range { order: Order::Asc, after: None, limit: 10_000, from_ms: None, to_ms: None };
        let filter = EventFilter { type_name: Some(Some(type_name.to_owned())), ..EventFilter::default() };
        self.engine.history().events(self.workspace, filter, range).await.unwrap()
    }

    /// Waits until so many events of a type are stored.
    pub async fn until_events(&self, type_name: &str, count: usize) -> Vec<Arc<Event>> {
        let mut committed = self.engine.committed();
        let wait = async {
            loop {
                committed.mark_unchanged();
                let events = self.events(type_name).await;
                if events.len() >= count {
                    return events;
                }
                committed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{count} events {type_name}"))
    }

    /// Reads a message until its status is as wanted.
    pub async fn until_status(&self, id: &str, status: &str) -> Value {
        let mut committed = self.engine.committed();
        let mut last = Value::Null;
        let wait = async {
            loop {
                committed.mark_unchanged();
                let record = self.engine.message(self.workspace, id).await.unwrap().expect("the message");
                // Not through the API: that would use up the allowance.
                last = json!(record.events.iter().map(|event| event.type_name.as_deref()).collect::<Vec<_>>());
                let seen = |name: &str| record.events.iter().any(|event| event.type_name.as_deref() == Some(name));
                if seen(&format!("message.{status}")) {
                    return;
                }
                committed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("{id} never became {status}: {last}");
        }
        self.get(&format!("/api/v1/developers/{id}")).await.expect(200)
    }

    /// Waits until the one delivery of a target has had so many attempts and is settled.
    pub async fn until_attempts(&self, target: &Entry<Target>, attempts: u32) -> Delivery {
        let wait = async {
            loop {
                if let [delivery] = &self.deliveries(target).await[..]
                    && delivery.attempts == attempts
                {
                    return delivery.clone();
                }
                // Outcomes are stored by threads of the store, which tell nobody.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the attempts are made")
    }

    pub async fn deliveries(&self, target: &Entry<Target>) -> Vec<Delivery> {
        let range = Range { order: Order::Asc, after: None, limit: 1000, from_ms: None, to_ms: None };
        let filter = DeliveryFilter { targets: Some(vec![target.number]), ..DeliveryFilter::default() };
        self.engine.history().deliveries(self.workspace, filter, range).await.unwrap()
    }

    /// A dashboard webhook.
    pub async fn webhook(&self, url: &str, types: &[&str]) -> Arc<Entry<Target>> {
        let target = self.engine.create(self.workspace, Target::new("Dashboard", "webhook", json!({ "url": url }))).await.unwrap();
        let types = types.iter().map(|name| (*name).to_owned()).collect();
        let subscription = Subscription { format: Some(DIALECT.to_owned()), ..Subscription::new(types, &target.id) };
        self.engine.create(self.workspace, subscription).await.unwrap();
        target
    }

    /// The targets that callback URLs made.
    pub fn callback_targets(&self) -> Vec<Arc<Entry<Target>>> {
        let all = self.engine.list::<Target>(self.workspace);
        all.into_iter().filter(|target| target.doc.dialect.as_ref().is_some_and(|mark| mark.dialect == DIALECT)).collect()
    }

    /// Sets what the workspace chose.
    pub async fn choose(&self, settings: Value) {
        let doc = Account { dialect: DIALECT.to_owned(), settings, secret_settings: Vec::new() };
        match self.engine.account(self.workspace, DIALECT) {
            Some(entry) => drop(self.engine.update(self.workspace, &entry.id, None, doc).await.unwrap()),
            None => drop(self.engine.create(self.workspace, doc).await.unwrap()),
        }
    }

    /// The webhook secret.
    pub fn secret(&self) -> String {
        let account = self.engine.account(self.workspace, DIALECT).expect("an account");
        account.doc.settings["webhook_secret"].as_str().expect("a secret").to_owned()
    }
}

async fn open(directory: &tempfile::TempDir, clock: &Arc<TestClock>, settings: &MsgineSettings) -> (Engine, Router) {
    let store = Arc::new(SqliteStore::open(directory.path(), SqliteOptions::default()).unwrap());
    let options = ChannelOptions { guard: AddressGuard::open(), ..ChannelOptions::default() };
    let channels = Channels::standard(&options).unwrap();
    let work = channels.carrier_work();
    let parts = Parts {
        catalog: store.clone(),
        journal: store.clone(),
        history: store.clone(),
        bins: store.clone(),
        suppressions: store,
        cluster: None,
        channels,
        formats: posthaste_dialects::formats(&DialectSettings { msgine: settings.clone(), ..DialectSettings::default() }),
        clock: clock.clone(),
        settings: EngineSettings::default(),
    };
    let engine = Engine::start(parts).await.unwrap();
    if let Some(work) = work {
        engine.tasks().spawn("carrier", work.run(engine.tasks().cancelled()));
    }
    let routes = router(MsgineState::new(engine.clone(), settings.clone()));
    (engine, routes)
}

/// A webhook as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn event(&self) -> String {
        self.json()["event"].as_str().unwrap().to_owned()
    }

    /// Whether the signature is the HMAC of the body under a secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        self.header("x-msgine-signature") == hex(&hmac_sha256(secret.as_bytes(), &self.body))
    }
}

/// What a receiver answers.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    Status(u16),
    /// Nothing, ever.
    Hang,
}

struct Desk {
    script: Mutex<HashMap<String, Vec<Reply>>>,
    seen: mpsc::Sender<Received>,
}

/// A receiver on loopback; it answers 200 unless told otherwise.
pub struct Receiver {
    pub url: String,
    seen: mpsc::Receiver<Received>,
    desk: Arc<Desk>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::channel(10_000);
        let desk = Arc::new(Desk { script: Mutex::default(), seen: sender });
        let app = Router::new().fallback(take).with_state(Arc::clone(&desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, desk, _serving: serving }
    }

    /// What to answer to the next requests to a path.
    pub fn answer(&self, path: &str, replies: &[Reply]) {
        self.desk.script.lock().unwrap().insert(path.to_owned(), replies.iter().rev().copied().collect());
    }

    /// The next request.
    pub async fn next(&mut self) -> Received {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.expect("a webhook within the time").unwrap()
    }

    pub async fn take(&mut self, count: usize) -> Vec<Received> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.next().await);
        }
        all
    }

    /// Requests that are here and were not looked at yet.
    pub fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

async fn take(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let reply = desk.script.lock().unwrap().get_mut(parts.uri.path()).and_then(Vec::pop).unwrap_or(Reply::Status(200));
    let received = Received { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    desk.seen.send(received).await.unwrap();
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Hang => std::future::pending().await,
    }
}
