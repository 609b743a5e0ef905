//! A real engine on a real store, with a channel that does what the test says.

#![allow(dead_code, reason = "each test program uses its part of this")]

pub mod away;

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use posthaste_channels::{Channel, Channels, CheckedSettings, Content, ContentKind, Dispatch, Outcome, Report, SendError, SettingsError};
use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::{Delivery, DeliveryState, Fault};
use posthaste_domain::event::Source;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::Policy;
use posthaste_domain::resource::{Subscription, Target, Workspace};
use posthaste_domain::template::Form;
use posthaste_engine::{
    AcceptError, AcceptRequest, Accepted, Engine, EngineSettings, Format, FormatBody, FormatError, FormatInput, Formats, Idempotency,
    Incoming, IncomingKind, LaneHealth, Parts,
};
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{Bins, Catalog, History, Journal, Suppressions};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Wall time plus what the test adds.
#[derive(Default)]
pub struct TestClock {
    ahead_ms: AtomicI64,
}

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    /// The machine's clock is set back, and ours does not soften it.
    pub fn set_back(&self, by: Duration) {
        self.ahead_ms.fetch_sub(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
        let start = START.get_or_init(tokio::time::Instant::now);
        1_800_000_000_000 + start.elapsed().as_millis() as i64 + self.ahead_ms.load(Ordering::SeqCst)
    }
}

/// What the fake target does with its next requests; 200 when the list is empty.
#[derive(Clone, Default)]
pub struct Script {
    inner: Arc<Mutex<ScriptState>>,
    released: Arc<Notify>,
}

#[derive(Default)]
struct ScriptState {
    statuses: HashMap<String, VecDeque<u16>>,
    bodies: HashMap<String, Bytes>,
    hanging: Vec<String>,
    seen: Vec<Seen>,
    in_flight: HashMap<String, (usize, usize)>,
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub url: String,
    pub delivery_id: String,
    pub body: Bytes,
    /// When it came.
    pub at: Instant,
    /// Requests to this URL that were under way then, this one included.
    pub in_flight: usize,
}

impl Script {
    pub fn answer(&self, url: &str, statuses: &[u16]) {
        self.inner.lock().statuses.insert(url.into(), statuses.iter().copied().collect());
    }

    /// Has every answer of a target carry a body of so many bytes.
    pub fn answer_at_length(&self, url: &str, bytes: usize) {
        self.inner.lock().bodies.insert(url.into(), vec![b'z'; bytes].into());
    }

    pub fn hang(&self, url: &str) {
        self.inner.lock().hanging.push(url.into());
    }

    /// Ends the hanging of a target.
    pub fn release(&self, url: &str) {
        self.inner.lock().hanging.retain(|hanging| hanging != url);
        self.released.notify_waiters();
    }

    pub fn seen(&self, url: &str) -> Vec<Seen> {
        self.inner.lock().seen.iter().filter(|s| s.url == url).cloned().collect()
    }

    /// The most requests that were under way at once.
    pub fn peak(&self, url: &str) -> usize {
        self.inner.lock().in_flight.get(url).map_or(0, |(_, peak)| *peak)
    }
}

struct ScriptedChannel(Script);

#[async_trait]
impl Channel for ScriptedChannel {
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
        match settings.get("url") {
            Some(_) => Ok(CheckedSettings { settings: settings.clone(), secrets: vec![] }),
            None => Err(SettingsError { field: "settings.url".into(), reason: "is missing".into() }),
        }
    }
    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let url = dispatch.settings["url"].as_str().unwrap_or_default().to_owned();
        let body = match dispatch.content {
            Content::Wire { body, .. } => body,
            Content::Message(rendered) => rendered.text.into(),
            other => unreachable!("the kind is not taken: {:?}", other.kind()),
        };
        let (status, response_body) = {
            let mut state = self.0.inner.lock();
            let flight = state.in_flight.entry(url.clone()).or_default();
            flight.0 += 1;
            flight.1 = flight.1.max(flight.0);
            let in_flight = flight.0;
            state.seen.push(Seen { url: url.clone(), delivery_id: dispatch.delivery_id.into(), body, at: Instant::now(), in_flight });
            let status = state.statuses.get_mut(&url).and_then(VecDeque::pop_front).unwrap_or(200);
            (status, state.bodies.get(&url).cloned().unwrap_or_default())
        };
        loop {
            let released = self.0.released.notified();
            if !self.0.inner.lock().hanging.contains(&url) {
                break;
            }
            released.await;
        }
        tokio::task::yield_now().await;
        self.0.inner.lock().in_flight.entry(url).or_default().0 -= 1;
        Report {
            outcome: Outcome::Answered,
            status: Some(status),
            request: "POST /".into(),
            response: "".into(),
            response_body,
            retry_after: None,
            carrier_id: None,
            duration: Duration::from_millis(1),
        }
    }
}

/// Takes mails as the fake target takes requests: what it was sent is seen under the recipient's address.
struct ScriptedMail(Script);

#[async_trait]
impl Channel for ScriptedMail {
    fn name(&self) -> &'static str {
        "email"
    }
    fn form(&self) -> Form {
        Form::Raw
    }
    fn takes(&self, kind: ContentKind) -> bool {
        kind == ContentKind::Message
    }
    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        Ok(CheckedSettings { settings: settings.clone(), secrets: vec![] })
    }
    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let url = dispatch.settings["to"][0].as_str().unwrap_or_default().to_owned();
        let Content::Message(rendered) = dispatch.content else { unreachable!("only messages are taken") };
        let body = format!("{}\n{}", rendered.title, rendered.text).into();
        let seen = Seen { url, delivery_id: dispatch.delivery_id.into(), body, at: Instant::now(), in_flight: 1 };
        self.0.inner.lock().seen.push(seen);
        Report {
            outcome: Outcome::Delivered,
            status: Some(250),
            request: "".into(),
            response: "".into(),
            response_body: Bytes::new(),
            retry_after: None,
            carrier_id: None,
            duration: Duration::from_millis(1),
        }
    }
}

/// A carrier of SMS: notes `from>to:text`, and refuses numbers that end in 0 for good and in 9 once.
struct ScriptedCarrier(Script);

#[async_trait]
impl Channel for ScriptedCarrier {
    fn name(&self) -> &'static str {
        "sms"
    }
    fn form(&self) -> Form {
        Form::Raw
    }
    fn takes(&self, kind: ContentKind) -> bool {
        kind == ContentKind::Sms
    }
    fn check(&self, _: &Value) -> Result<CheckedSettings, SettingsError> {
        Err(SettingsError { field: "settings.to".into(), reason: "is missing".into() })
    }
    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let Content::Sms(sms) = dispatch.content else { unreachable!("the kind is not taken") };
        let tries = self.0.seen("sms").iter().filter(|seen| seen.body.ends_with(sms.to.as_bytes())).count();
        let body = format!("{}:{}>{}", sms.text, sms.from, sms.to).into();
        self.0.inner.lock().seen.push(Seen {
            url: "sms".into(),
            delivery_id: dispatch.delivery_id.into(),
            body,
            at: Instant::now(),
            in_flight: 1,
        });
        let refused =
            |retryable| Outcome::Failed(SendError { code: "carrier_refused", message: "no".into(), fault: Fault::Theirs, retryable });
        let outcome = match sms.to.as_bytes().last() {
            Some(b'0') => refused(false),
            Some(b'9') if tries == 0 => refused(true),
            _ => Outcome::Delivered,
        };
        Report {
            status: matches!(outcome, Outcome::Failed(_)).then_some(11),
            carrier_id: (outcome == Outcome::Delivered).then(|| format!("c-{}", sms.to)),
            outcome,
            request: "SMS".into(),
            response: "".into(),
            response_body: Bytes::new(),
            retry_after: None,
            duration: Duration::from_millis(1),
        }
    }
}

struct PlainFormat;

impl Format for PlainFormat {
    fn name(&self) -> &'static str {
        "standard"
    }
    fn default_policy(&self) -> Policy {
        Policy::standard()
    }
    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        Ok(FormatBody::new(input.event.payload.clone()))
    }
    fn open(&self, _: &FormatInput<'_>, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
    fn member(&self, _: &FormatInput<'_>, event: &posthaste_domain::event::Event, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b'|');
        }
        out.extend_from_slice(&event.payload);
    }
    fn close(&self, _: &FormatInput<'_>, _: &mut Vec<u8>) {}
    fn headers(&self, _: &FormatInput<'_>, _: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        Vec::new()
    }
}

#[derive(Clone)]
pub struct Rig {
    pub engine: Engine,
    pub store: Arc<SqliteStore>,
    pub script: Script,
    pub clock: Arc<TestClock>,
    pub workspace: i64,
}

impl Rig {
    /// Starts an engine on a directory; makes a workspace if it has none.
    pub async fn start(dir: &Path, script: &Script, settings: EngineSettings) -> Self {
        let store = Arc::new(SqliteStore::open(dir, SqliteOptions::default()).expect("the store opens"));
        Self::start_on(Arc::clone(&store) as Arc<dyn Journal>, store, script, settings).await
    }

    /// Starts an engine on a store, whose journal it sees as the test wants it to.
    pub async fn start_on(journal: Arc<dyn Journal>, store: Arc<SqliteStore>, script: &Script, settings: EngineSettings) -> Self {
        let clock = Arc::new(TestClock::default());
        let parts = Parts {
            catalog: Arc::clone(&store) as Arc<dyn Catalog>,
            journal,
            history: Arc::clone(&store) as Arc<dyn History>,
            bins: Arc::clone(&store) as Arc<dyn Bins>,
            suppressions: Arc::clone(&store) as Arc<dyn Suppressions>,
            cluster: None,
            channels: Channels::default()
                .with(ScriptedChannel(script.clone()))
                .with(ScriptedCarrier(script.clone()))
                .with(ScriptedMail(script.clone())),
            formats: Formats::default().with(PlainFormat),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            settings,
        };
        let engine = Engine::start(parts).await.expect("the engine starts");
        let workspace = match engine.workspaces().first() {
            Some(number) => *number,
            None => engine.create_workspace(Workspace { name: "test".into(), parent: None }).await.expect("a workspace").number,
        };
        Self { engine, store, script: script.clone(), clock, workspace }
    }

    /// The same engine, seen from another workspace.
    pub async fn other_workspace(&self) -> Self {
        let workspace = self.engine.create_workspace(Workspace { name: "other".into(), parent: None }).await.expect("a workspace").number;
        Self { workspace, ..self.clone() }
    }

    /// Has all lanes look at the clock, as any traffic would.
    pub async fn nudge(&self) {
        self.engine.metrics().await;
    }

    /// A target and a subscription to it; answers the target's id.
    pub async fn subscribe(&self, url: &str, types: &[&str], policy: Option<Value>) -> String {
        let target = Target::new(url, "webhook", json!({ "url": url }));
        let target = self.engine.create(self.workspace, target).await.expect("a target");
        let types = types.iter().map(|t| (*t).to_owned()).collect();
        let subscription = Subscription { policy, ..Subscription::new(types, target.id.clone()) };
        self.engine.create(self.workspace, subscription).await.expect("a subscription");
        target.id.clone()
    }

    pub async fn publish(&self, type_name: &str, payloads: &[&str], key: Option<&str>) -> Result<Accepted, AcceptError> {
        let events = payloads.iter().map(|payload| incoming(type_name, payload, None)).collect();
        let idempotency = key.map(|k| Idempotency { key: k.into(), body_hash: [payloads.join(",").len() as u8; 32] });
        self.accept(events, idempotency).await
    }

    /// Publishes one event for later.
    pub async fn publish_at(&self, type_name: &str, payload: &str, at_ms: i64) -> Result<Accepted, AcceptError> {
        self.accept(vec![incoming(type_name, payload, Some(at_ms))], None).await
    }

    async fn accept(&self, events: Vec<Incoming>, idempotency: Option<Idempotency>) -> Result<Accepted, AcceptError> {
        let source = Arc::new(Source { via: "test".into(), key: None, ip: None });
        self.engine.accept(AcceptRequest { workspace: self.workspace, source, events, idempotency }).await
    }

    /// Waits until a condition holds; fails the test when it does not within ten seconds of real time.
    pub async fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        for _ in 0..2000 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("did not happen: {what}");
    }

    /// Waits until the lane of a target says so.
    pub async fn until_health(&self, target: i64, wanted: impl Fn(&LaneHealth) -> bool) {
        let mut health = LaneHealth::default();
        for _ in 0..2000 {
            health = self.engine.health(target).await;
            if wanted(&health) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never happened; now {health:?}");
    }

    /// Waits until a delivery is in a state.
    pub async fn until_state(&self, key: DeliveryKey, state: DeliveryState) -> Delivery {
        for _ in 0..2000 {
            if let Some(delivery) = self.engine.history().delivery(self.workspace, key).await.expect("history answers")
                && delivery.state == state
            {
                return delivery;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("delivery {key:?} never became {state:?}");
    }
}

fn incoming(type_name: &str, payload: &str, deliver_at_ms: Option<i64>) -> Incoming {
    Incoming { kind: IncomingKind::Named(type_name.into()), payload: Bytes::copy_from_slice(payload.as_bytes()), deliver_at_ms }
}
