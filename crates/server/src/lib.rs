//! The HTTP surface: one axum application that puts every door of Posthaste together.
//!
//! - `/posthaste/v1/…`: the native API ([`native`](crate::openapi_json) describes it), problem documents on every error.
//! - `/posthaste/v1/carriers/…`: callbacks of the SMS gateway.
//! - Dialects: their routers are merged as they are; what they answer is theirs.
//! - `/bin/…`: request bins; what this server itself sends there stays in the process ([`OwnBins`]). `/m/…`: pages of full messages. `/t/…`: links of mails. `/healthz`, `/readyz`, `/metrics`: operations.
//!
//! Invariants:
//! - Nothing here decides what happens to an event: handlers read, ask the [`Engine`], and write an answer.
//! - Bodies are read under a byte cap in one place (`input`), streams and long polls are counted, and both end when the server closes.
//! - No handler buffers more than one page of a list.

mod auth;
mod bins;
mod carriers;
mod codes;
mod cursor;
mod front;
mod inbound;
mod input;
mod native;
mod ops;
mod own_bins;
mod pages;
pub mod people;
mod problem;
mod public_bins;
mod serve;
mod trace;
mod tracking;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap, Method, Uri};
use posthaste_dialects::accounts::Accounts;
use posthaste_dialects::client;
use posthaste_domain::policy::limiter::RateLimiter;
use posthaste_engine::Engine;
use tokio::sync::Semaphore;

pub use auth::Principal;
pub use bins::bin_url;
pub use codes::{ATTEMPT_PAGES, Code, page as error_page};
pub use front::App;
pub use inbound::Inbound;
pub use native::{EffectiveSetting, openapi_json};
pub use own_bins::{OpenBins, OwnBins};
pub use problem::{FieldProblem, MAX_LISTED_ERRORS, PROBLEM_JSON, Problem};
pub use public_bins::PublicBins;
pub use serve::{Closing, Peer, ServeSettings, Surface, serve, serve_with};

/// Limits of the surface. Every default is stated in [`ServerSettings::default`] and nowhere else.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Largest request body of the native API, in bytes.
    pub max_body_bytes: usize,
    /// How long a request body may take to arrive.
    pub body_time: Duration,
    /// Most events in one request.
    pub max_array: usize,
    /// Streams and long polls open at once.
    pub max_watchers: usize,
    /// Bytes of payload after which a page of events ends early.
    pub max_page_bytes: usize,
    /// Largest body that a request bin takes, in bytes.
    pub max_bin_body_bytes: usize,
    /// Requests that a bin keeps; the oldest go first.
    pub bin_keep: usize,
    /// Bytes that a bin keeps; the oldest requests go first.
    pub bin_keep_bytes: u64,
    /// Requests that bins store at once.
    pub max_bin_in_flight: usize,
    /// Limits of the bins for everybody.
    pub public_bins: PublicBins,
    /// What the dialects are told.
    pub dialects: posthaste_dialects::DialectSettings,
    /// Where `/` leads a browser; a page of its own without it.
    pub home: Option<&'static str>,
    /// The settings that the program read, to be shown. Nothing here acts by them.
    pub effective: Vec<EffectiveSetting>,
    /// Counts allocations of memory since the start, if the program can, for `/metrics`.
    pub allocations: Option<fn() -> u64>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            body_time: Duration::from_secs(30),
            max_array: 1000,
            max_watchers: 1024,
            max_page_bytes: 4 << 20,
            max_bin_body_bytes: 256 << 10,
            bin_keep: 500,
            bin_keep_bytes: 8 << 20,
            max_bin_in_flight: 64,
            public_bins: PublicBins::default(),
            dialects: posthaste_dialects::DialectSettings::default(),
            home: None,
            effective: Vec::new(),
            allocations: None,
        }
    }
}

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The engine behind everything.
    pub engine: Engine,
    /// Limits.
    pub settings: Arc<ServerSettings>,
    /// When this application was made, in milliseconds since the epoch.
    pub started_ms: i64,
    watchers: Arc<Semaphore>,
    bin_permits: Arc<Semaphore>,
    /// Bins that strangers made lately.
    bins_made: Arc<Mutex<RateLimiter>>,
    /// How accounts are read and written.
    accounts: Accounts,
    people: people::People,
}

impl AppState {
    /// The state of one application.
    pub fn new(engine: Engine, settings: ServerSettings) -> Self {
        Self {
            started_ms: engine.now_ms(),
            watchers: Arc::new(Semaphore::new(settings.max_watchers)),
            bin_permits: Arc::new(Semaphore::new(settings.max_bin_in_flight)),
            bins_made: Arc::new(Mutex::new(RateLimiter::new(settings.public_bins.rate()))),
            accounts: posthaste_dialects::accounts(&settings.dialects),
            settings: Arc::new(settings),
            people: people::People::new(engine.clone()),
            engine,
        }
    }

    /// The address of the client of a request: the peer's, or what trusted proxies say of whom they speak for. The same for every door of the server.
    pub(crate) fn client_ip(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        client::address(extensions, headers, &self.settings.dialects.msggo.trusted_proxies)
    }

    /// Who may sign in, and who is.
    pub fn people(&self) -> &people::People {
        &self.people
    }

    /// The same, in the hands of a caller: what is changed through its engine is recorded as theirs.
    pub(crate) fn by(&self, caller: &auth::Caller) -> Self {
        Self { engine: self.engine.by(caller.actor().clone()), ..self.clone() }
    }

    /// Streams and long polls open now.
    fn watching(&self) -> usize {
        self.settings.max_watchers.saturating_sub(self.watchers.available_permits())
    }

    /// Requests that bins store now.
    fn catching(&self) -> usize {
        self.settings.max_bin_in_flight.saturating_sub(self.bin_permits.available_permits())
    }
}

impl FromRef<AppState> for Engine {
    fn from_ref(state: &AppState) -> Self {
        state.engine.clone()
    }
}

/// The whole application.
pub fn app(state: AppState) -> Router {
    app_with(state, Router::new())
}

/// The whole application with more routes beside its own.
pub fn app_with(state: AppState, extra: Router) -> Router {
    let dialects = posthaste_dialects::router(state.engine.clone(), state.settings.dialects.clone());
    let public_bins = state.settings.public_bins.clone();
    Router::new()
        .merge(native::router())
        .merge(bins::router())
        .merge(public_bins::router(&public_bins))
        .merge(ops::router())
        .merge(pages::router())
        .merge(tracking::router())
        .merge(carriers::router())
        .with_state(state)
        .merge(dialects)
        .merge(extra)
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn(trace::observe))
}

/// The native API and those of the vendors, for code of this process that says with a [`Principal`] in the extensions of a request who asks.
/// They answer exactly as over the network.
pub fn native(state: AppState) -> Router {
    let dialects = posthaste_dialects::router(state.engine.clone(), state.settings.dialects.clone());
    let dialects = dialects.layer(axum::middleware::from_fn(auth::vouch));
    let native = native::router().with_state(state).merge(dialects);
    native.fallback(route_not_found).method_not_allowed_fallback(method_not_allowed)
}

async fn route_not_found(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let hint = match path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/api/posthaste/v1/")) {
        Some(rest) if !rest.is_empty() => "; the native API is under /posthaste/v1/",
        _ => "; /posthaste/v1/openapi.json lists the native API",
    };
    Problem::new(Code::RouteNotFound, format!("there is nothing at {path:?}{hint}")).into_response()
}

async fn method_not_allowed(method: Method) -> Response {
    Problem::new(Code::MethodNotAllowed, format!("this path does not take {method}; the Allow header lists what it takes")).into_response()
}
