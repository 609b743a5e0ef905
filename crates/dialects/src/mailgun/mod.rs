//! Mailgun: webhooks, events, sending (`docs/dialects/mailgun.md`).
//!
//! A webhook of a name is one target per URL and one subscription per level, name and URL, marked as Mailgun's; an event is rendered
//! by one function for webhooks and the Events API alike. Invariants: what a client sees of one domain or workspace never comes from
//! another; a refused change changes nothing.

mod access;
mod account;
mod answer;
mod domains;
mod event;
mod events;
pub mod filter;
mod format;
mod messages;
mod names;
pub mod params;
mod pretty;
mod stored;
mod tracking;
mod webhooks;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use http::{Method, header};
use http_body_util::BodyExt;
use posthaste_engine::Engine;
use tokio::sync::Semaphore;

pub use account::MailgunAccounts;
pub use format::MailgunFormat;
use params::Params;

/// Numbers of the dialect; each has the documented value by default.
#[derive(Clone, Debug, PartialEq)]
pub struct MailgunSettings {
    /// Whether its routes are served at all.
    pub enabled: bool,
    /// Requests that the webhooks API takes from one workspace within a minute; 0 takes any number.
    pub webhook_requests_per_minute: u32,
    /// URLs of one webhook name, at one level.
    pub max_urls: usize,
    /// Longest time for one attempt of a delivery, and for the test call.
    pub timeout: Duration,
    /// Delays between the attempts of a delivery.
    pub retry: Vec<Duration>,
    /// Whether deliveries of the webhook `delivered` are retried too: the documents except them.
    pub retry_delivered: bool,
    /// How much later than it happened an event may come in and still be found by its own time in a range that ended before.
    pub events_late: Duration,
    /// Most bytes of a request body of the webhooks API.
    pub max_body_bytes: usize,
    /// Longest time for a request body to arrive.
    pub body_timeout: Duration,
    /// Most bytes of a message to send: its texts and files.
    pub max_message_bytes: u64,
    /// Longest time for a message to send to arrive.
    pub message_timeout: Duration,
    /// Recipients of one call.
    pub max_recipients: usize,
    /// How far ahead a message may be scheduled.
    pub max_schedule: Duration,
    /// How long a message can be read again, if retention does not drop it sooner.
    pub stored_messages: Duration,
}

impl Default for MailgunSettings {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self {
            enabled: true,
            webhook_requests_per_minute: 300,
            max_urls: 3,
            timeout: Duration::from_secs(15),
            retry: [10, 10, 15, 30, 60, 120, 240].map(minutes).to_vec(),
            retry_delivered: false,
            events_late: Duration::from_secs(24 * 3600),
            max_body_bytes: 256 << 10,
            body_timeout: Duration::from_secs(30),
            max_message_bytes: 25 << 20,
            message_timeout: Duration::from_secs(300),
            max_recipients: 1000,
            max_schedule: Duration::from_secs(3 * 24 * 3600),
            stored_messages: Duration::from_secs(3 * 24 * 3600),
        }
    }
}

/// What the dialect's handlers share. A cheap clone.
#[derive(Clone)]
pub struct MailgunState {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    settings: MailgunSettings,
    rates: Mutex<access::Rates>,
    /// Pages of events that may be read at once.
    readers: Semaphore,
}

impl MailgunState {
    /// The dialect in front of an engine.
    pub fn new(engine: Engine, settings: MailgunSettings) -> Self {
        Self { shared: Arc::new(Shared { engine, settings, rates: Mutex::default(), readers: Semaphore::new(events::READERS) }) }
    }
}

/// The routes of the dialect; none if it is switched off.
pub fn router(state: MailgunState) -> Router {
    if !state.shared.settings.enabled {
        return Router::new();
    }
    Router::new()
        .merge(webhooks::router())
        .merge(events::router())
        .merge(messages::router())
        .merge(stored::router())
        .merge(tracking::router())
        .merge(domains::router())
        .route("/v5/accounts/http_signing_key", get(account::show).post(account::regenerate))
        .layer(middleware::from_fn(spread))
        .with_state(state)
}

/// `pretty=yes` on any `GET`: the same JSON with white space for people.
async fn spread(request: Request, next: Next) -> Response {
    let wanted =
        request.method() == Method::GET && Params::query(request.uri().query()).first("pretty").and_then(params::truth) == Some(true);
    let response = next.run(request).await;
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if !wanted || !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Answers of this surface are in memory as a whole: reading them neither waits nor fails.
    let text = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, pretty::pretty(&text).into())
}
