//! The API over HTTP: who asks, what is asked, how often, and the answer.
//!
//! Checks come in the documented order (MsGine 3.1): credential, rate limit, what the path is, scope, then the body.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::request::Parts;
use http::{Method, StatusCode, header};
use posthaste_domain::event::Source;
use posthaste_domain::policy::limiter::{Grant, KeyedWindows};
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::{Engine, Entry};
use serde_json::Value;

use super::account::MsgineAccount;
use super::answer::{Refusal, seconds_up, with_standing};
use super::callbacks::Callbacks;
use super::credential;
use super::input::Generation;
use super::{DIALECT, MsgineSettings};
use crate::body::{self, BodyError};
use crate::{auth, client};

/// What the dialect works with. A cheap clone.
#[derive(Clone)]
pub struct MsgineState {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) settings: MsgineSettings,
    pub(super) callbacks: Callbacks,
    limits: Mutex<KeyedWindows>,
}

impl MsgineState {
    /// The dialect in front of an engine; nobody has used any of their allowance.
    pub fn new(engine: Engine, settings: MsgineSettings) -> Self {
        Self { shared: Arc::new(Shared { engine, settings, callbacks: Callbacks::default(), limits: Mutex::default() }) }
    }
}

/// The routes below `/api/v1/messages` and `/api/v1/developers`; none when the dialect is switched off.
pub fn router(state: MsgineState) -> Router {
    let mut router = Router::new();
    if state.shared.settings.enabled {
        for base in ["/api/v1/messages", "/api/v1/developers"] {
            for path in [base.to_owned(), format!("{base}/"), format!("{base}/{{*rest}}")] {
                router = router.route(&path, any(serve));
            }
        }
    }
    router.with_state(state)
}

/// Whoever asks, known and within the limits.
pub(super) struct Caller {
    pub(super) key: Arc<Entry<Key>>,
    source: Arc<Source>,
}

impl Caller {
    pub(super) fn workspace(&self) -> i64 {
        self.key.workspace
    }

    pub(super) fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }

    fn needs(&self, scope: Scope) -> Result<(), Refusal> {
        let may = self.key.doc.kind == KeyKind::Private && auth::may(&self.key.doc, scope);
        may.then_some(()).ok_or(Refusal::Forbidden)
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    SendSms(Generation),
    SendEmail,
    Read(Generation, String),
    SmsHistory,
    EmailHistory,
    Overview,
    Daily,
}

impl Operation {
    /// The operation at a decoded path.
    fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        let rest = path.strip_prefix("/api/v1/").unwrap_or_default().trim_end_matches('/');
        let parts: Vec<&str> = rest.split('/').collect();
        let (allowed, operation) = match parts[..] {
            ["messages", "sms"] => ("POST", Self::SendSms(Generation::One)),
            ["messages", id] => ("GET", Self::Read(Generation::One, id.to_owned())),
            ["developers", "sms"] => ("POST", Self::SendSms(Generation::Two)),
            ["developers", "sms", "history"] => ("GET", Self::SmsHistory),
            ["developers", "email"] => ("POST", Self::SendEmail),
            ["developers", "email", "history"] => ("GET", Self::EmailHistory),
            ["developers", "analytics", "overview"] => ("GET", Self::Overview),
            ["developers", "analytics", "daily"] => ("GET", Self::Daily),
            ["developers", "push", ..] => return Err(Refusal::NotFound("Push notifications are not available on this server")),
            ["developers", id] => ("GET", Self::Read(Generation::Two, id.to_owned())),
            _ => return Err(Refusal::NotFound("Not found")),
        };
        if method.as_str() == allowed { Ok(operation) } else { Err(Refusal::MethodNotAllowed(allowed)) }
    }

    fn scope(&self) -> Scope {
        match self {
            Self::SendSms(_) | Self::SendEmail => Scope::Publish,
            Self::Read(..) | Self::SmsHistory | Self::EmailHistory | Self::Overview | Self::Daily => Scope::Read,
        }
    }
}

async fn serve(State(state): State<MsgineState>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let response = state.shared.answer(&parts, &mut body).await;
    if !response.status().is_success() && !parts.headers.contains_key(header::EXPECT) {
        body::discard(&mut body).await;
    }
    response
}

impl Shared {
    async fn answer(&self, parts: &Parts, body: &mut Body) -> Response {
        let Some(key) = credential::token(&parts.headers).and_then(|token| self.engine.find_key(token)) else {
            return Refusal::Unauthorized.into_response();
        };
        let Grant { standing, wait_ms } = self.count(&key);
        let result = match wait_ms {
            Some(wait_ms) => Err(Refusal::RateLimited(seconds_up(wait_ms))),
            None => {
                let ip = client::address(&parts.extensions, &parts.headers, &[]).map(|ip| ip.to_string());
                let source = Arc::new(Source { via: DIALECT.to_owned(), key: Some(key.id.clone()), ip });
                self.serve(&Caller { key, source }, parts, body).await
            }
        };
        with_standing(result.unwrap_or_else(IntoResponse::into_response), standing)
    }

    fn count(&self, key: &Entry<Key>) -> Grant {
        let account = self.engine.account(key.workspace, DIALECT);
        let stored = account.as_ref().map_or(&Value::Null, |account| &account.doc.settings);
        let rates = MsgineAccount::new(stored, &self.settings).rates();
        // The limiter stays usable whatever panicked while holding it: at worst one request was not counted.
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.take(key.number, rates, self.engine.now_ms())
    }

    async fn serve(&self, caller: &Caller, parts: &Parts, body: &mut Body) -> Result<Response, Refusal> {
        let operation = Operation::of(&parts.method, &decoded(parts.uri.path()))?;
        caller.needs(operation.scope())?;
        let query = parts.uri.query().unwrap_or_default();
        match operation {
            Operation::SendSms(generation) => self.send_sms(caller, generation, &self.read_body(body).await?).await,
            Operation::SendEmail => self.send_email(caller, &self.read_body(body).await?).await,
            Operation::Read(generation, id) => self.read_message(caller, generation, &id).await,
            Operation::SmsHistory => self.history(caller, posthaste_domain::message::MessageChannel::Sms, query).await,
            Operation::EmailHistory => self.history(caller, posthaste_domain::message::MessageChannel::Email, query).await,
            Operation::Overview => self.overview(caller, query).await,
            Operation::Daily => self.daily(caller, query).await,
        }
    }

    async fn read_body(&self, body: &mut Body) -> Result<bytes::Bytes, Refusal> {
        body::read(body, self.settings.max_body_bytes, self.settings.body_timeout).await.map_err(|error| match error {
            BodyError::TooLarge => Refusal::Body(StatusCode::PAYLOAD_TOO_LARGE, "The request body is too large"),
            BodyError::TimedOut => Refusal::Body(StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time"),
            BodyError::Broken => Refusal::request("The request body is incomplete"),
        })
    }
}

/// A path with its percent signs resolved; as it is when they make no text.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|_| first == b'%').and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        bytes.push(escape.unwrap_or(first));
        rest = &tail[if escape.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // MSGINE-27
    #[test]
    fn paths_lead_to_operations() {
        let of = |method: Method, path: &str| Operation::of(&method, path);
        assert_eq!(of(Method::POST, "/api/v1/messages/sms"), Ok(Operation::SendSms(Generation::One)));
        assert_eq!(of(Method::POST, "/api/v1/developers/sms/"), Ok(Operation::SendSms(Generation::Two)));
        assert_eq!(of(Method::GET, "/api/v1/messages/sms"), Err(Refusal::MethodNotAllowed("POST")));
        assert_eq!(of(Method::GET, "/api/v1/messages/msg_1"), Ok(Operation::Read(Generation::One, "msg_1".to_owned())));
        assert_eq!(of(Method::DELETE, "/api/v1/messages/msg_1"), Err(Refusal::MethodNotAllowed("GET")));
        assert_eq!(of(Method::GET, "/api/v1/developers/sms/history"), Ok(Operation::SmsHistory));
        for path in ["/api/v1/messages", "/api/v1/messages/a/b", "/api/v1/developers/", "/api/v1/developers/push/device"] {
            assert!(matches!(of(Method::GET, path), Err(Refusal::NotFound(_))), "{path}");
        }
    }

    proptest! {
        #[test]
        fn paths_are_decoded(text in "\\PC{0,30}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decoded(&encoded), text.clone());
            let _ = decoded(&text);
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decoded("/a%40b%zz%+%4"), "/a@b%zz%+%4");
        assert_eq!(decoded("/%ff"), "/%ff");
    }
}
