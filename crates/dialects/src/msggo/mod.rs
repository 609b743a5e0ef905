//! MsgGO: one inbox URL that takes an event in whatever shape a tool can produce (`docs/dialects/msggo.md`).
//!
//! Invariants: a refused request stores nothing; the answer is given after the event is durable and never waits for a delivery;
//! what a stranger without a good key can make the server hold is one body under the cap.

mod answer;
mod compact;
pub mod document;
mod format;
mod key;
mod multipart;
mod names;
mod origin;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::any;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use ipnet::IpNet;
use posthaste_domain::event::Source;
use posthaste_domain::policy::Rate;
use posthaste_domain::policy::limiter::{IpLimiter, IpSettings, host};
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::{AcceptError, AcceptRequest, Engine, Entry, Incoming, IncomingKind};
use posthaste_store::VisitRule;

use crate::body::{self, BodyError};
use crate::client;
use answer::{Accepts, Answer};
use document::{DocumentError, Side};

pub use format::MsggoFormat;

/// Numbers of the inbox; each has the documented value by default.
#[derive(Clone, Debug, PartialEq)]
pub struct MsggoSettings {
    /// Whether the inbox is served at all.
    pub enabled: bool,
    /// Events that a public key takes from one address within `public_per`.
    pub public_limit: u32,
    /// The rolling window of `public_limit`.
    pub public_per: Duration,
    /// How long an address is blocked after one event too many.
    pub block: Duration,
    /// Most Unicode characters of the compact event document.
    pub max_characters: usize,
    /// Most bytes of a request body.
    pub max_raw_bytes: usize,
    /// Longest time for a request body to arrive.
    pub body_timeout: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for MsggoSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            public_limit: 5,
            public_per: Duration::from_secs(60),
            block: Duration::from_secs(5 * 60),
            max_characters: 10_000,
            max_raw_bytes: 256 << 10,
            body_timeout: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
        }
    }
}

/// What the inbox works with. A cheap clone.
#[derive(Clone)]
pub struct MsggoState {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    settings: MsggoSettings,
    limiter: Mutex<IpLimiter>,
}

impl MsggoState {
    /// An inbox in front of an engine, with an empty limiter.
    pub fn new(engine: Engine, settings: MsggoSettings) -> Self {
        let rate = Rate { limit: settings.public_limit, per: settings.public_per };
        let limiter = IpLimiter::new(IpSettings { rate, block: settings.block, ..IpSettings::default() });
        Self { shared: Arc::new(Shared { engine, settings, limiter: Mutex::new(limiter) }) }
    }
}

/// The routes `/inbox` and `/inbox/{key}`.
///
/// The address of the client is taken from the `ConnectInfo<SocketAddr>` extension; without it every request is anonymous, which
/// only public keys mind.
pub fn router(state: MsggoState) -> Router {
    if !state.shared.settings.enabled {
        return Router::new();
    }
    Router::new().route("/inbox", any(bare)).route("/inbox/", any(bare)).route("/inbox/{key}", any(with_key)).with_state(state)
}

async fn bare(State(state): State<MsggoState>, request: Request) -> Response {
    state.shared.serve(None, request).await
}

async fn with_key(State(state): State<MsggoState>, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    // A segment that does not decode is a malformed key, and answered like one that no one has.
    let key = path.map_or_else(|_| char::REPLACEMENT_CHARACTER.to_string(), |Path(key)| key);
    state.shared.serve(Some(key), request).await
}

impl Shared {
    async fn serve(&self, path_key: Option<String>, request: Request) -> Response {
        let (parts, mut body) = request.into_parts();
        let accepts = Accepts::of(&parts.headers);
        let answer = match parts.method {
            Method::OPTIONS => Answer::Preflight,
            // Not HEAD: a link preview must not publish an event.
            Method::GET | Method::POST => match self.accept(path_key.as_deref(), &parts, &mut body).await {
                Ok(()) => Answer::Accepted,
                Err(refusal) => refusal,
            },
            _ => Answer::MethodNotAllowed,
        };
        if answer != Answer::Accepted && !parts.headers.contains_key(header::EXPECT) {
            body::discard(&mut body).await;
        }
        answer.into_response(accepts)
    }

    /// From request to stored event. A key in header, path or query is judged before the body is asked for.
    async fn accept(&self, path_key: Option<&str>, parts: &Parts, raw: &mut Body) -> Result<(), Answer> {
        let address = client::address(&parts.extensions, &parts.headers, &self.settings.trusted_proxies);
        let query = Side::from_query(parts.uri.query()).map_err(refuse_document)?;
        let header_key = parts.headers.get(key::KEY_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let outer = match key::first([header_key.as_deref(), path_key, query.key()]) {
            Some(token) => Some(self.authorise(token, &parts.headers, address).await?),
            None => None,
        };
        let bytes = body::read(raw, self.settings.max_raw_bytes, self.settings.body_timeout).await.map_err(refuse_body)?;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let body = Side::from_body(content_type, bytes);
        let entry = match outer {
            Some(entry) => entry,
            None => {
                // A body that cannot be read holds no key, and "key in the wrong format" is a documented cause of 401.
                let Some(token) = body.as_ref().ok().and_then(|side| key::first([side.key()])) else {
                    tracing::info!(ip = ?address, "inbox refused a request without a key");
                    return Err(Answer::Unauthorized);
                };
                self.authorise(token, &parts.headers, address).await?
            }
        };
        let payload = document::merge(&query, &body.map_err(refuse_document)?, self.settings.max_characters).map_err(refuse_document)?;
        let source = Source { via: "inbox".to_owned(), key: Some(entry.id.clone()), ip: address.map(|ip| ip.to_string()) };
        let event = Incoming { kind: IncomingKind::ByRules, payload, deliver_at_ms: None };
        let request = AcceptRequest { workspace: entry.workspace, source: Arc::new(source), events: vec![event], idempotency: None };
        self.engine.accept(request).await.map(drop).map_err(refuse_event)
    }

    /// Finds the key and asks whether it may publish from here and now.
    async fn authorise(&self, token: &str, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Arc<Entry<Key>>, Answer> {
        let Some(entry) = self.engine.find_key(token) else {
            // The client is told the same as without a key (O-2); the operator may know.
            tracing::info!(ip = ?address, "inbox refused a key that does not exist or was deleted");
            return Err(Answer::Unauthorized);
        };
        match entry.doc.kind {
            KeyKind::Private if entry.doc.scopes.iter().any(|scope| matches!(scope, Scope::Publish | Scope::Admin)) => Ok(entry),
            KeyKind::Private => Err(Answer::MayNotPublish),
            KeyKind::Public => {
                let address = self.authorise_page(&entry, headers, address)?;
                self.count_on_all_nodes(&entry, address).await?;
                Ok(entry)
            }
        }
    }

    fn authorise_page(&self, entry: &Entry<Key>, headers: &HeaderMap, address: Option<IpAddr>) -> Result<IpAddr, Answer> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // An unreadable origin is no reason to look at the referer instead.
        let origin = headers.contains_key(header::ORIGIN).then(|| text(header::ORIGIN).unwrap_or("null"));
        let host = origin::page_host(origin, text(header::REFERER));
        let (Some(host), Some(address)) = (host, address) else {
            tracing::info!(key = entry.id, ip = ?address, "inbox refused a public key without an origin or an address");
            return Err(Answer::DomainNotAllowed);
        };
        if !origin::allows(&entry.doc.allowed_domains, &host) {
            tracing::info!(key = entry.id, host, "inbox refused a public key from a domain that is not allowed");
            return Err(Answer::DomainNotAllowed);
        }
        // The limiter stays usable whatever panicked while holding it: at worst one event was not counted.
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.check(entry.number.unsigned_abs(), address, self.engine.now_ms()).map_err(|wait| refuse_visit(wait.as_millis()))?;
        Ok(address)
    }

    /// Where several nodes share a store, what one of them let through may be too much on all of them.
    async fn count_on_all_nodes(&self, entry: &Entry<Key>, address: IpAddr) -> Result<(), Answer> {
        let Some(cluster) = self.engine.cluster().filter(|_| self.engine.living_nodes() > 1) else { return Ok(()) };
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let settings = &self.settings;
        let rule = VisitRule { limit: settings.public_limit, per_ms: ms(settings.public_per), block_ms: ms(settings.block) };
        match cluster.visit(entry.number, &host(address).to_string(), rule).await {
            Ok(0) => Ok(()),
            Ok(wait_ms) => Err(refuse_visit(wait_ms.unsigned_abs().into())),
            Err(error) => Err(refuse_event(error.into())),
        }
    }
}

fn refuse_visit(wait_ms: u128) -> Answer {
    Answer::TooManyRequests { retry_after: u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX) }
}

fn refuse_document(error: DocumentError) -> Answer {
    match error {
        DocumentError::Unreadable => Answer::Unreadable,
        DocumentError::TooLarge => Answer::TooLarge,
    }
}

fn refuse_body(error: BodyError) -> Answer {
    match error {
        BodyError::TooLarge => Answer::TooLarge,
        BodyError::TimedOut => Answer::TimedOut,
        BodyError::Broken => Answer::Unreadable,
    }
}

fn refuse_event(error: AcceptError) -> Answer {
    match error {
        AcceptError::Overloaded => Answer::Unavailable { retry_after: 1 },
        AcceptError::Unavailable => Answer::Unavailable { retry_after: 2 },
        AcceptError::Closing => Answer::Unavailable { retry_after: 5 },
        AcceptError::Full => Answer::Unavailable { retry_after: 60 },
        error => {
            tracing::error!(%error, "inbox could not store an event");
            Answer::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_or_closing_server_asks_to_try_again() {
        for error in [AcceptError::Overloaded, AcceptError::Unavailable, AcceptError::Full, AcceptError::Closing] {
            let response = refuse_event(error).into_response(Accepts::default());
            assert_eq!(response.status(), 503);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
        }
    }
}
