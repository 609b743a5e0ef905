//! One application per test: embedded store in a temporary directory, a clock that can be moved, a recording channel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use posthaste_channels::sms::SmsDefaults;
use posthaste_channels::{
    AddressGuard, Channel, ChannelOptions, Channels, CheckedSettings, Content, ContentKind, Dispatch, Outcome, Report, SettingsError,
    failure,
};
use posthaste_domain::clock::Clock;
use posthaste_domain::policy::Policy;
use posthaste_domain::resource::{KeyKind, Workspace};
use posthaste_domain::template::Form;
use posthaste_engine::{Engine, EngineSettings, Format, FormatBody, FormatError, FormatInput, Formats, NewKey, Parts};
use posthaste_server::{AppState, Principal, ServerSettings, app};
use posthaste_store::History;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Start of the tests' time.
pub const START_MS: i64 = 1_760_000_000_000;

/// How long a test waits for what must happen. Busy disks have been seen to take 20 seconds for a flush.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs with tokio's time and can be moved forward.
pub struct TestClock {
    began: tokio::time::Instant,
    offset_ms: AtomicI64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.offset_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        START_MS + self.offset_ms.load(Ordering::SeqCst) + self.began.elapsed().as_millis() as i64
    }
}

/// What a target was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub delivery_id: String,
    pub url: String,
    pub body: Bytes,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Stands for every target. The end of the URL decides: `/ok`, `/status/500`, `/refused`, `/hangs`.
#[derive(Clone)]
pub struct Recorder {
    pub sent: Arc<Mutex<Vec<Sent>>>,
    changed: Arc<tokio::sync::watch::Sender<usize>>,
}

/// The recorder as a channel that takes short messages instead of wire formats.
struct Pager(Recorder);

#[async_trait]
impl Channel for Pager {
    fn name(&self) -> &'static str {
        "pager"
    }

    fn form(&self) -> Form {
        Form::Short
    }

    fn takes(&self, kind: ContentKind) -> bool {
        kind == ContentKind::Message
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        self.0.check(settings)
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        self.0.send(dispatch).await
    }
}

impl Recorder {
    /// Waits until so many attempts were made.
    pub async fn wait_for(&self, count: usize) -> Vec<Sent> {
        let mut changed = self.changed.subscribe();
        let waiting = changed.wait_for(|sent| *sent >= count);
        tokio::time::timeout(PATIENCE, waiting).await.expect("attempts are made in time").expect("the channel lives");
        self.sent.lock().clone()
    }
}

#[async_trait]
impl Channel for Recorder {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn form(&self) -> Form {
        Form::Raw
    }

    fn takes(&self, kind: ContentKind) -> bool {
        matches!(kind, ContentKind::Wire | ContentKind::Message)
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        let refuse = |field: &str, reason: &str| Err(SettingsError { field: field.into(), reason: reason.into() });
        let Some(map) = settings.as_object() else { return refuse("settings", "must be an object") };
        if let Some(unknown) = map.keys().find(|name| !["url", "method", "headers", "token"].contains(&name.as_str())) {
            return refuse(&format!("settings.{unknown}"), "is not known");
        }
        if !map.get("url").and_then(Value::as_str).is_some_and(|url| url.starts_with("http")) {
            return refuse("settings.url", "must be an http or https URL");
        }
        let secrets = map.contains_key("token").then(|| "/token".to_owned()).into_iter().collect();
        Ok(CheckedSettings { settings: settings.clone(), secrets })
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let url = dispatch.settings["url"].as_str().unwrap_or_default().to_owned();
        let (body, headers) = match dispatch.content {
            Content::Wire { body, headers, .. } => (body, headers),
            Content::Message(message) => (Bytes::from(message.text), Vec::new()),
            other => unreachable!("the kind is not taken: {:?}", other.kind()),
        };
        let status = url.split_once("/status/").and_then(|(_, status)| status.parse().ok());
        let (outcome, status) = match status {
            _ if url.ends_with("/refused") => (Outcome::Failed(failure::Code::ConnectRefused.error("nobody listens there")), None),
            Some(status) => (Outcome::Answered, Some(status)),
            None => (Outcome::Answered, Some(200)),
        };
        self.sent.lock().push(Sent { delivery_id: dispatch.delivery_id.to_owned(), url, body, headers });
        self.changed.send_modify(|sent| *sent += 1);
        if dispatch.settings["url"].as_str().is_some_and(|url| url.ends_with("/hangs")) {
            std::future::pending::<()>().await;
        }
        Report {
            outcome,
            status,
            request: "POST /hook\nx-token: ***".into(),
            response: "content-type: text/plain".into(),
            response_body: Bytes::from_static(b"thanks"),
            retry_after: None,
            carrier_id: None,
            duration: Duration::from_millis(3),
        }
    }
}

/// The payload in the shape of the default delivery body, without a signature.
pub struct Plain;

impl Format for Plain {
    fn name(&self) -> &'static str {
        "standard"
    }

    fn default_policy(&self) -> Policy {
        Policy::standard()
    }

    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        Ok(FormatBody::new(input.event.payload.clone()))
    }

    fn headers(&self, input: &FormatInput<'_>, _: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        let value = |text: String| HeaderValue::from_str(&text).expect("visible ASCII");
        vec![
            (HeaderName::from_static("webhook-id"), value(input.delivery_id.to_owned())),
            (HeaderName::from_static("webhook-timestamp"), value((input.attempt.at_ms / 1000).to_string())),
        ]
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The JSON body of an answer with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// Status, code and field of a problem document.
    #[track_caller]
    pub fn problem(&self) -> (u16, String, Option<String>) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text());
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["type"], format!("/posthaste/v1/errors/{}", body["code"].as_str().expect("a code")));
        (self.status.as_u16(), body["code"].as_str().expect("a code").to_owned(), body["field"].as_str().map(str::to_owned))
    }
}

pub struct Rig {
    pub engine: Engine,
    /// What the application shares.
    pub state: AppState,
    pub app: Router,
    pub clock: Arc<TestClock>,
    pub recorder: Recorder,
    /// Token of an administrator's key.
    pub token: String,
    made_of: Made,
    dir: tempfile::TempDir,
}

/// What a rig is made of.
#[derive(Clone)]
pub struct Made {
    pub server: ServerSettings,
    pub engine: EngineSettings,
    /// The channels and formats that come with Posthaste, in place of the recorder; loopback is allowed.
    pub is_real: bool,
    /// The carrier of text messages of those channels.
    pub sms: SmsDefaults,
    /// Another way to read the log than the store's own.
    pub history: fn(Arc<SqliteStore>) -> Arc<dyn History>,
}

impl Default for Made {
    fn default() -> Self {
        let engine = EngineSettings { public_base_url: "http://posthaste.test".into(), ..EngineSettings::default() };
        Self { server: ServerSettings::default(), engine, is_real: false, sms: SmsDefaults::default(), history: |store| store }
    }
}

impl Made {
    fn channels(&self, recorder: &Recorder) -> Channels {
        if !self.is_real {
            return Channels::default().with(recorder.clone()).with(Pager(recorder.clone()));
        }
        let options = ChannelOptions { guard: AddressGuard::open(), sms: self.sms.clone(), ..ChannelOptions::default() };
        Channels::standard(&options).expect("the options are good")
    }

    async fn start(&self, dir: &std::path::Path, clock: &Arc<TestClock>, recorder: &Recorder) -> Engine {
        let store = Arc::new(SqliteStore::open(dir, SqliteOptions::default()).expect("the store opens"));
        let parts = Parts {
            catalog: store.clone(),
            journal: store.clone(),
            history: (self.history)(store.clone()),
            bins: store.clone(),
            suppressions: store,
            cluster: None,
            channels: self.channels(recorder),
            formats: if self.is_real { posthaste_dialects::formats(&Default::default()) } else { Formats::default().with(Plain) },
            clock: clock.clone(),
            settings: self.engine.clone(),
        };
        Engine::start(parts).await.expect("the engine starts")
    }
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(ServerSettings::default()).await
    }

    pub async fn with(settings: ServerSettings) -> Self {
        Self::of(Made { server: settings, ..Made::default() }).await
    }

    pub async fn of(made_of: Made) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(TestClock { began: tokio::time::Instant::now(), offset_ms: AtomicI64::new(0) });
        let recorder = Recorder { sent: Arc::default(), changed: Arc::new(tokio::sync::watch::Sender::new(0)) };
        let engine = made_of.start(dir.path(), &clock, &recorder).await;
        let workspace = engine.create_workspace(Workspace { name: "Test".into(), parent: None }).await.expect("a workspace").number;
        let made = engine.create_key(workspace, NewKey { description: "test".into(), ..NewKey::new(KeyKind::Private) }).await;
        let (_, token) = made.expect("a key");
        let state = AppState::new(engine.clone(), made_of.server.clone());
        Self { engine, app: app(state.clone()), state, clock, recorder, token, made_of, dir }
    }

    /// Stops the engine and starts another on the same data.
    pub async fn restart(self) -> Self {
        self.engine.shutdown(Duration::from_secs(5)).await;
        let engine = self.made_of.start(self.dir.path(), &self.clock, &self.recorder).await;
        let state = AppState::new(engine.clone(), self.made_of.server.clone());
        Self { engine, app: app(state.clone()), state, ..self }
    }

    /// Sends a request as it is.
    pub async fn send(&self, mut request: Request<Body>) -> Answer {
        let peer: SocketAddr = ([192, 0, 2, 7], 40_000).into();
        request.extensions_mut().insert(ConnectInfo(peer));
        Self::ask(self.app.clone(), request).await
    }

    /// A request to the native API alone by somebody who is known to this process, as the console makes them.
    pub async fn call_as(&self, who: Principal, method: &str, path: &str, body: Value) -> Answer {
        let builder = Request::builder().method(method).uri(format!("/posthaste/v1{path}")).extension(who);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = builder.header(header::CONTENT_TYPE, "application/json").body(body).expect("a request");
        Self::ask(posthaste_server::native(self.state.clone()), request).await
    }

    async fn ask(app: Router, request: Request<Body>) -> Answer {
        let response = app.oneshot(request).await.expect("the application always answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body is whole").to_bytes();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// A request with a key and a body as written.
    pub async fn raw(&self, method: &str, path: &str, token: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut builder = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(path);
        if !token.is_empty() {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        self.send(builder.body(body.into()).expect("a request")).await
    }

    /// A request below `/posthaste/v1` with the administrator's key.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let headers: &[(&str, &str)] = if body.is_null() { &[] } else { &[("content-type", "application/json")] };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.raw(method, &format!("/posthaste/v1{path}"), &self.token, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, body).await
    }

    /// Makes a webhook target at a URL of the recorder.
    pub async fn target(&self, place: &str) -> String {
        let body = json!({"name": place, "channel": "webhook", "settings": {"url": format!("http://receiver.test/{place}")}});
        id(&self.post("/targets", body).await.expect(201))
    }

    /// Subscribes a target to types. Failures are final at once.
    pub async fn subscribe(&self, target: &str, types: &[&str]) -> String {
        let body = json!({"event_types": types, "target_id": target, "policy": {"retry": {"delays": []}}});
        id(&self.post("/subscriptions", body).await.expect(201))
    }

    pub async fn publish(&self, type_name: &str, data: Value) -> String {
        id(&self.post("/events", json!({"type": type_name, "data": data})).await.expect(202))
    }

    /// A key with these scopes.
    pub async fn key(&self, scopes: &[&str]) -> String {
        let made = self.post("/keys", json!({"kind": "private", "scopes": scopes})).await.expect(201);
        made["token"].as_str().expect("a token").to_owned()
    }

    /// Looks until a delivery of the event has this state.
    pub async fn delivery_in(&self, event: &str, state: &str) -> Value {
        let path = format!("/events/{event}");
        let find = |event: &Value| event["deliveries"].as_array()?.iter().find(|delivery| delivery["state"] == state).cloned();
        let event = self.until(&path, |event| find(event).is_some()).await;
        find(&event).expect("it was there a moment ago")
    }

    /// Reads a path until what it shows is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let look = async {
            loop {
                last = self.get(path).await.expect(200);
                if wanted(&last) {
                    return;
                }
                // The store's threads work while this task lets others run.
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, look).await.is_err() {
            let metrics = tokio::time::timeout(Duration::from_secs(5), self.engine.metrics()).await;
            panic!(
                "it did not become as wanted: {last}\n{} attempts began\n{}",
                self.recorder.sent.lock().len(),
                metrics.unwrap_or_default()
            );
        }
        last
    }
}

/// The `id` of an answer.
#[track_caller]
pub fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned()
}

/// The ids of a list's items.
pub fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().expect("items").iter().map(id).collect()
}
