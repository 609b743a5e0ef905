//! MessageMedia: the Webhooks Management API with templates in Velocity, and signature keys (`docs/dialects/messagemedia.md`).
//!
//! A webhook is one target and one subscription, both marked as MessageMedia's; the mark holds what the API shows. Invariants: a refused
//! request changes nothing; two webhooks of an account never have the same URL and method; every answer with a body is JSON; a private
//! signature key never leaves the server.

mod account;
mod answer;
mod auth;
pub mod event;
mod facts;
mod format;
pub mod hmac;
mod ids;
mod input;
mod keys;
mod payload;
mod signer;
mod time;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use posthaste_domain::resource::Scope;
use posthaste_engine::Engine;
use tokio::sync::Semaphore;

use answer::Refusal;

pub use account::MessageMediaAccounts;
pub use format::MessageMediaFormat;

/// Name of the dialect, of its format and of its accounts.
pub const DIALECT: &str = "messagemedia";

/// Numbers of the dialect; each has the documented value by default.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageMediaSettings {
    /// Whether the server speaks it.
    pub enabled: bool,
    /// Whether accounts that chose nothing have the signature-keys feature.
    pub signature_keys: bool,
    /// How far the `Date` of a request signed by HMAC may be off, either way.
    pub date_tolerance: Duration,
    /// Time of an attempt for webhooks that name no `read_timeout`.
    pub read_timeout: Duration,
    /// Wait before a retry for webhooks that name no `retry_delay`.
    pub retry_delay: Duration,
    /// Most webhooks of an account.
    pub max_webhooks: usize,
    /// Most signature keys of an account.
    pub max_signature_keys: usize,
    /// Most bytes of a request body.
    pub max_body_bytes: usize,
    /// Longest time for a request body to arrive.
    pub body_timeout: Duration,
}

impl Default for MessageMediaSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            signature_keys: false,
            date_tolerance: Duration::from_secs(300),
            read_timeout: Duration::from_secs(20),
            retry_delay: Duration::from_secs(5),
            max_webhooks: 1000,
            max_signature_keys: 20,
            max_body_bytes: 256 << 10,
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// What the dialect's handlers share. A cheap clone.
#[derive(Clone)]
pub struct MessageMediaState {
    engine: Engine,
    settings: Arc<MessageMediaSettings>,
    /// One key is made at a time: it takes a processor for a second.
    making_keys: Arc<Semaphore>,
}

impl MessageMediaState {
    /// The dialect in front of an engine.
    pub fn new(engine: Engine, settings: MessageMediaSettings) -> Self {
        Self { engine, settings: Arc::new(settings), making_keys: Arc::new(Semaphore::new(1)) }
    }
}

/// The routes below `/v1/webhooks/messages` and `/v1/iam/signature_keys`; none if the dialect is switched off.
pub fn router(state: MessageMediaState) -> Router {
    if !state.settings.enabled {
        return Router::new();
    }
    let no_id = |place: fn(String) -> Place| move |state, request| serve(state, place(String::new()), request);
    let with_id = |place: fn(String) -> Place| {
        move |state, path: Result<Path<String>, PathRejection>, request| {
            // A segment that does not decode is an id that nothing has.
            serve(state, place(path.map(|Path(id)| id).unwrap_or_default()), request)
        }
    };
    Router::new()
        .route("/v1/webhooks/messages", any(no_id(|_| Place::Webhooks)))
        .route("/v1/webhooks/messages/", any(no_id(|_| Place::Webhooks)))
        .route("/v1/webhooks/messages/{id}", any(with_id(Place::Webhook)))
        .route("/v1/iam/signature_keys", any(no_id(|_| Place::Keys)))
        .route("/v1/iam/signature_keys/", any(no_id(|_| Place::Keys)))
        .route("/v1/iam/signature_keys/enabled", any(no_id(|_| Place::EnabledKey)))
        .route("/v1/iam/signature_keys/{id}", any(with_id(Place::Key)))
        .with_state(state)
}

/// What a path names.
enum Place {
    Webhooks,
    Webhook(String),
    Keys,
    Key(String),
    EnabledKey,
}

/// A request whose caller is known and may make it.
struct Call {
    parts: Parts,
    body: Bytes,
    /// Number of the workspace that it acts for.
    workspace: i64,
    /// The engine in the hands of the key: what is changed through it is recorded as the key's doing.
    by: Engine,
}

async fn serve(State(state): State<MessageMediaState>, place: Place, request: Request) -> Response {
    state.answer(place, request).await.unwrap_or_else(Refusal::into_response)
}

impl MessageMediaState {
    async fn answer(&self, place: Place, request: Request) -> Result<Response, Refusal> {
        let method = if *request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
        let call = self.admit(request, if method == Method::GET { Scope::Read } else { Scope::Manage }).await?;
        if matches!(place, Place::Keys | Place::Key(_) | Place::EnabledKey) && !self.has_signature_keys(call.workspace) {
            return Err(Refusal::FeatureOff);
        }
        match (place, method.as_str()) {
            (Place::Webhooks, "GET") => self.list_webhooks(&call),
            (Place::Webhooks, "POST") => self.create_webhook(&call).await,
            (Place::Webhook(id), "GET") => self.show_webhook(&call, &id),
            (Place::Webhook(id), "PATCH") => self.update_webhook(&call, id).await,
            (Place::Webhook(id), "DELETE") => self.delete_webhook(&call, id).await,
            (Place::Keys, "GET") => self.list_keys(&call),
            (Place::Keys, "POST") => self.create_key(&call).await,
            (Place::Key(id), "GET") => self.show_key(&call, &id),
            (Place::Key(id), "DELETE") => self.delete_key(&call, id).await,
            (Place::EnabledKey, "GET") => self.show_enabled_key(&call),
            (Place::EnabledKey, "PATCH") => self.enable_key(&call).await,
            (Place::EnabledKey, "DELETE") => self.disable_keys(&call).await,
            (Place::Webhooks | Place::Keys, _) => Err(Refusal::MethodNotAllowed("GET, POST")),
            (Place::Webhook(_) | Place::EnabledKey, _) => Err(Refusal::MethodNotAllowed("GET, PATCH, DELETE")),
            (Place::Key(_), _) => Err(Refusal::MethodNotAllowed("GET, DELETE")),
        }
    }
}
