//! A console over the real router, engine and store; a browser that keeps cookies and sends forms; receivers that answer by their URL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use posthaste_channels::{
    Channel, ChannelOptions, Channels, CheckedSettings, Content, ContentKind, Dispatch, Outcome, Report, SettingsError,
};
use posthaste_domain::clock::Clock;
use posthaste_domain::people::{Member, Role};
use posthaste_domain::resource::{KeyKind, Workspace};
use posthaste_domain::template::Form;
use posthaste_engine::{Engine, EngineSettings, NewKey, Parts};
use posthaste_server::{AppState, EffectiveSetting, ServerSettings, app_with};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use serde_json::Value;
use tower::ServiceExt;

/// Start of the tests' time.
const START_MS: i64 = 1_760_000_000_000;
/// How long a test waits for what must happen. Busy disks have been seen to take 20 seconds for a flush.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// What receivers answer: something that must stay text.
pub const ANSWER: &str = "</pre><script>alert('answer')</script>";
pub const PASSWORD: &str = "four unrelated words here";

/// Runs with tokio's time.
struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        START_MS + self.0.elapsed().as_millis() as i64
    }
}

/// Stands for every webhook. `/status/500` at the end of its URL answers that; anything else takes what comes.
#[derive(Clone)]
pub struct Receiver {
    pub bodies: Arc<Mutex<Vec<Bytes>>>,
    /// Answers 503 to everything while it is set.
    pub is_down: Arc<AtomicBool>,
    changed: Arc<tokio::sync::watch::Sender<usize>>,
}

impl Receiver {
    /// Waits until so many attempts were made.
    pub async fn wait_for(&self, count: usize) -> Vec<Bytes> {
        let mut changed = self.changed.subscribe();
        let waiting = changed.wait_for(|sent| *sent >= count);
        tokio::time::timeout(PATIENCE, waiting).await.expect("attempts are made in time").expect("the channel lives");
        self.bodies.lock().clone()
    }
}

#[async_trait]
impl Channel for Receiver {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn form(&self) -> Form {
        Form::Raw
    }

    fn takes(&self, kind: ContentKind) -> bool {
        kind == ContentKind::Wire
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        match settings["url"].as_str() {
            Some(url) if url.starts_with("http") => {
                // As the real one has them: they are kept sealed and shown as stars.
                let secrets = ["/headers/X-Api-Key", "/auth/bearer", "/auth/basic/password"];
                let secrets = secrets.into_iter().filter(|pointer| settings.pointer(pointer).is_some()).map(str::to_owned).collect();
                Ok(CheckedSettings { settings: settings.clone(), secrets })
            }
            _ => Err(SettingsError { field: "settings.url".into(), reason: "must be an http or https URL".into() }),
        }
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let url = dispatch.settings["url"].as_str().unwrap_or_default();
        let status = url.split_once("/status/").and_then(|(_, status)| status.parse().ok()).unwrap_or(200);
        let status = if self.is_down.load(Ordering::Relaxed) { 503 } else { status };
        let body = match dispatch.content {
            Content::Wire { body, .. } => body,
            Content::Message(message) => message.text.into(),
            other => unreachable!("{:?} is not sent to webhooks", other.kind()),
        };
        self.bodies.lock().push(body);
        self.changed.send_modify(|sent| *sent += 1);
        Report {
            outcome: Outcome::Answered,
            status: Some(status),
            request: "POST /hook\nx-note: <script>alert('request')</script>".into(),
            response: "x-note: <script>alert('response')</script>".into(),
            response_body: ANSWER.into(),
            retry_after: None,
            carrier_id: None,
            duration: Duration::from_millis(3),
        }
    }
}

pub struct Rig {
    pub state: AppState,
    pub app: Router,
    pub receiver: Receiver,
    /// Token of an administrator's key.
    pub token: String,
    _dir: tempfile::TempDir,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(ServerSettings::default()).await
    }

    pub async fn with(settings: ServerSettings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let receiver = Receiver { bodies: Arc::default(), is_down: Arc::default(), changed: Arc::new(tokio::sync::watch::Sender::new(0)) };
        let store = Arc::new(SqliteStore::open(dir.path(), SqliteOptions::default()).expect("the store opens"));
        let parts = Parts {
            catalog: store.clone(),
            journal: store.clone(),
            history: store.clone(),
            bins: store.clone(),
            suppressions: store,
            cluster: None,
            // The simulators of mail and SMS, and a receiver in place of the network.
            channels: Channels::standard(&ChannelOptions::default()).expect("the options are good").with(receiver.clone()),
            formats: posthaste_dialects::formats(&posthaste_dialects::DialectSettings::default()),
            clock: Arc::new(TestClock(tokio::time::Instant::now())),
            settings: EngineSettings { public_base_url: "http://posthaste.test".into(), ..EngineSettings::default() },
        };
        let engine = Engine::start(parts).await.expect("the engine starts");
        let workspace = engine.create_workspace(Workspace { name: "Test".into(), parent: None }).await.expect("a workspace").number;
        let (_, token) = engine.create_key(workspace, NewKey::new(KeyKind::Private)).await.expect("a key");
        let setting = |name: &str, value: &str, is_default| EffectiveSetting {
            name: name.into(),
            value: value.into(),
            is_default,
            about: "What it does".into(),
            variable: format!("POSTHASTE_{}", name.replace('.', "_").to_ascii_uppercase()),
        };
        let effective = vec![setting("retention.age", "\"30d\"", true), setting("email.relay", "\"smtps://***@mail.example.com\"", false)];
        let state = AppState::new(engine.clone(), ServerSettings { effective, ..settings });
        let app = app_with(state.clone(), posthaste_console::router(state.clone()));
        Self { state, app, receiver, token, _dir: dir }
    }

    /// A browser that nobody has logged in with.
    pub fn browser(&self) -> Browser {
        Browser { app: self.app.clone(), cookies: Vec::new(), csrf: String::new() }
    }

    /// A browser of the administrator, who set the installation up.
    pub async fn administrator(&self) -> Browser {
        let token = self.state.people().new_setup_token().expect("nobody is there yet");
        let mut browser = self.browser();
        let fields = [
            ("token", token.as_str()),
            ("organisation", "Acme <b>Corp</b>"),
            ("name", "Ada <script>Lovelace"),
            ("email", "ada@example.com"),
            ("password", PASSWORD),
        ];
        let page = browser.post("/console/setup", &fields).await;
        assert_eq!(page.to(), "/console/", "{}", page.text);
        browser.get("/console/inbox").await.expect(200);
        browser
    }

    /// A browser of somebody who is a member and no administrator. There must be an administrator already.
    pub async fn member(&self) -> Browser {
        let rooms = self.state.engine.workspaces().into_iter().filter_map(|number| self.state.engine.id_of(number));
        let roles = rooms.map(|id| (id, Role::Member)).collect();
        let doc =
            Member { name: "Mia".into(), email: "mia@example.com".into(), password: None, totp: None, link: None, roles, disabled: false };
        let member = self.state.engine.create_member(doc).await.expect("a member");
        let token = self.state.people().new_link(&self.state.engine, &member.id).await.expect("a link");
        let mut browser = self.browser();
        let page = browser.post("/console/password", &[("token", &token), ("password", PASSWORD)]).await;
        assert_eq!(page.to(), "/console/", "{}", page.text);
        browser.get("/console/inbox").await.expect(200);
        browser
    }

    /// A request to the native API with the administrator's key.
    pub async fn api(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .uri(format!("/posthaste/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json");
        let response = self.app.clone().oneshot(request.body(body).expect("a request")).await.expect("an answer");
        let (status, bytes) = (response.status(), response.into_body().collect().await.expect("whole").to_bytes());
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") }
    }

    /// A webhook and a subscription to these types.
    pub async fn target(&self, name: &str, url: &str, types: &[&str]) -> String {
        let target = self.api("POST", "/targets", serde_json::json!({"name": name, "channel": "webhook", "settings": {"url": url}})).await;
        let id = target["id"].as_str().expect("an id").to_owned();
        self.api("POST", "/subscriptions", serde_json::json!({"event_types": types, "target_id": id, "description": "<i>why</i>"})).await;
        id
    }

    /// Lets time pass without waiting for it.
    pub async fn pass(&self, time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    /// Publishes an event and answers its id.
    pub async fn publish(&self, type_name: &str, data: Value) -> String {
        let event = self.api("POST", "/events", serde_json::json!({"type": type_name, "data": data})).await;
        event["id"].as_str().expect("an id").to_owned()
    }
}

/// A page, read whole.
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Where it leads.
    #[track_caller]
    pub fn to(&self) -> &str {
        assert!(self.status.is_redirection(), "{} {}", self.status, self.text);
        self.headers[header::LOCATION].to_str().expect("text")
    }

    #[track_caller]
    pub fn has(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "{text:?} is not in {}", self.text);
        self
    }

    #[track_caller]
    pub fn lacks(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "{text:?} is in {}", self.text);
        self
    }

    /// Checks that it can run nothing but the scripts of the console.
    #[track_caller]
    pub fn is_inert(&self) -> &Self {
        assert_eq!(self.headers[header::CONTENT_SECURITY_POLICY], posthaste_console::CSP);
        assert_eq!(self.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        for tag in tags(&self.text) {
            let is_ours = tag.starts_with("script src=\"/console/assets/") || tag.starts_with("img src=\"/console/assets/");
            let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
            assert!(is_ours || !["script", "style", "img", "iframe", "object", "embed", "base", "b", "i"].contains(&name), "<{tag}>");
            // Without what stands in quotes, where anything may stand.
            let bare: String = tag.split('"').step_by(2).collect();
            assert!(!bare.contains('\'') && !bare.contains(" style=") && !bare.contains(" on") && !bare.contains('<'), "<{tag}>");
            assert!(!tag.contains("javascript:"), "<{tag}>");
        }
        self
    }
}

/// The inside of every opening tag. Quotes are respected, so that nothing hides in an attribute.
fn tags(text: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let mut is_quoted = false;
        let end = rest.find(|c: char| {
            is_quoted ^= c == '"';
            c == '>' && !is_quoted
        });
        let end = end.unwrap_or_else(|| panic!("a tag does not end: {rest}"));
        tags.push(&rest[..end]);
        rest = &rest[end..];
    }
    tags
}

/// What a browser would send of the form with this address: its fields as they are on the page. Buttons are the caller's.
pub fn fields(page: &str, action: &str) -> Vec<(String, String)> {
    let unescape = |text: &str| text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        rest.split('"').next().map(unescape)
    };
    let is = |tag: &str, word: &str| tag.split('"').step_by(2).any(|bare| bare.split_whitespace().any(|part| part == word));
    let start = page.find(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form {action} in {page}"));
    let form = &page[start..][..page[start..].find("</form>").expect("the form ends")];
    let mut fields = Vec::new();
    let mut rest = form;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let tag = if rest[1..].starts_with('/') { "" } else { tags(rest).first().copied().unwrap_or_default() };
        let behind = &rest[1 + tag.len()..];
        let kind = tag.split([' ', '>']).next().unwrap_or_default();
        if let Some(name) = attribute(tag, "name") {
            let value = attribute(tag, "value").unwrap_or_default();
            match kind {
                "input" if matches!(attribute(tag, "type").as_deref(), Some("checkbox" | "radio")) && !is(tag, "checked") => {}
                "input" => fields.push((name, value)),
                "textarea" => {
                    let (text, _) = behind.trim_start_matches('>').split_once("</textarea>").expect("the area ends");
                    fields.push((name, unescape(text.strip_prefix('\n').unwrap_or(text))));
                }
                "select" => {
                    let (choices, _) = behind.split_once("</select>").expect("the choices end");
                    let options: Vec<&str> = tags(choices).into_iter().filter(|tag| tag.starts_with("option")).collect();
                    let chosen = options.iter().find(|option| is(option, "selected")).or(options.first());
                    fields.push((name, chosen.and_then(|option| attribute(option, "value")).unwrap_or_default()));
                }
                _ => {}
            }
        }
        rest = &rest[1..];
    }
    fields
}

/// Keeps cookies and the token of the last page, like a browser with somebody in front of it.
pub struct Browser {
    app: Router,
    cookies: Vec<(String, String)>,
    pub csrf: String,
}

impl Browser {
    pub async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    /// Sends a form with the token of the last page, as a browser does.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf.clone();
        let mut fields = fields.to_vec();
        fields.push(("csrf", &csrf));
        self.post_as(path, &fields, &[("sec-fetch-site", "same-origin")]).await
    }

    /// Sends a form as it is.
    pub async fn post_as(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        self.send(Method::POST, path, &headers, body.into()).await
    }

    /// Sends text as a program does.
    pub async fn post_body(&mut self, path: &str, body: &str) -> Page {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_owned().into()).await
    }

    /// Reads a page until a text is on it: what is asked for happens in its own time.
    pub async fn get_with(&mut self, path: &str, text: &str) -> Page {
        let looking = async {
            loop {
                let page = self.get(path).await.expect(200);
                if page.text.contains(text) {
                    return page;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(page) => page,
            Err(_) => panic!("{text:?} did not come to {path}: {}", self.get(path).await.text),
        }
    }

    /// The answer while it is still coming.
    pub async fn open(&mut self, path: &str) -> http::Response<Body> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder().uri(path).header(header::COOKIE, cookies.join("; ")).header(header::ACCEPT, "text/event-stream");
        let request = request.body(Body::empty()).expect("a request");
        self.app.clone().oneshot(request).await.expect("an answer")
    }

    async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Page {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, "posthaste.test").header(header::COOKIE, cookies.join("; "));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).expect("a request");
        let peer: SocketAddr = ([192, 0, 2, 7], 40_000).into();
        request.extensions_mut().insert(ConnectInfo(peer));
        let (parts, body) = self.app.clone().oneshot(request).await.expect("an answer").into_parts();
        for cookie in parts.headers.get_all(header::SET_COOKIE) {
            let (pair, _) = cookie.to_str().expect("text").split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a value");
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        let bytes = body.collect().await.expect("whole").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        if let Some(at) = text.find("name=\"csrf\" value=\"") {
            self.csrf = text[at + 19..].split('"').next().unwrap_or_default().to_owned();
        }
        Page { status: parts.status, headers: parts.headers, text }
    }
}

/// Reads a stream until a text is in it.
pub async fn read_until(body: &mut Body, text: &str) -> String {
    let mut read = String::new();
    let reading = async {
        while !read.contains(text) {
            let frame = body.frame().await.expect("the stream goes on").expect("no error");
            read.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
        }
    };
    let found = tokio::time::timeout(PATIENCE, reading).await;
    assert!(found.is_ok(), "{text:?} did not come; {read}");
    read
}
