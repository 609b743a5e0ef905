//! Mailgun: webhooks, events, sending (`docs/dialects/mailgun.md`).
//!
//! A webhook of a name is one target per URL and one subscription per level, name and URL, marked as Mailgun's; an event is rendered
//! by one function for webhooks and the Events API alike. Invariants: what a client sees of one domain or workspace never comes from
//! another; a refused change changes nothing.

mod answer;
mod event;
pub mod filter;
mod format;
mod names;
pub mod params;
mod pretty;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use posthaste_engine::Engine;

pub use format::MailgunFormat;

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
}

impl MailgunState {
    /// The dialect in front of an engine.
    pub fn new(engine: Engine, settings: MailgunSettings) -> Self {
        Self { shared: Arc::new(Shared { engine, settings }) }
    }
}

/// The routes of the dialect; none if it is switched off.
pub fn router(state: MailgunState) -> Router {
    Router::new().with_state(state)
}
