//! Momentum: webhooks that get batches of email events (`docs/dialects/momentum.md`).
//!
//! A webhook is one target and one subscription, marked as Momentum's with the webhook's id. An update that changes anything a batch
//! carries makes a new pair and retires the old one, which drains; so a batch goes where it was formed for.
//!
//! Invariants: what a refused request asked for is not done in part; a webhook is saved only after its target answered 200 to a test;
//! what a client sees of one workspace never comes from another.

mod answer;
mod api;
mod document;
mod documentation;
mod events;
mod fields;
mod format;
mod handlers;
mod outcomes;
mod reason;
mod record;
mod uuid;
mod webhooks;

use std::time::Duration;

use ipnet::IpNet;

pub use api::{MomentumState, router};
pub use format::MomentumFormat;

/// Numbers of the dialect; each has the documented value by default.
#[derive(Clone, Debug, PartialEq)]
pub struct MomentumSettings {
    /// Whether its routes and its format are served at all.
    pub enabled: bool,
    /// Whether calls need a key. Without, they act on the oldest workspace.
    pub auth_required: bool,
    /// How long after its creation a webhook begins to collect events.
    pub activation: Duration,
    /// Most events in a batch.
    pub batch_events: u32,
    /// Most payload bytes in a batch.
    pub batch_bytes: u64,
    /// Longest time that the first event of a batch waits for company.
    pub batch_wait: Duration,
    /// Batches under way to one webhook at once.
    pub concurrency: u32,
    /// Longest time for one attempt, and for the test of a target.
    pub timeout: Duration,
    /// Delay before the second attempt.
    pub retry_first: Duration,
    /// What each delay is multiplied by.
    pub retry_factor: f64,
    /// Where the delay stops growing.
    pub retry_max: Duration,
    /// How long after the first attempt a batch is tried again; then it is dropped.
    pub retry_window: Duration,
    /// How far back the batch status looks.
    pub status_window: Duration,
    /// Most bytes of a request body.
    pub max_body_bytes: usize,
    /// Longest time for a request body to arrive.
    pub body_timeout: Duration,
    /// Proxies whose `X-Forwarded-Proto` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for MomentumSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            auth_required: true,
            activation: Duration::from_secs(60),
            batch_events: 10_000,
            batch_bytes: 32 << 20,
            batch_wait: Duration::from_secs(30),
            concurrency: 8,
            timeout: Duration::from_secs(6),
            retry_first: Duration::from_secs(30),
            retry_factor: 2.0,
            retry_max: Duration::from_secs(30 * 60),
            retry_window: Duration::from_secs(4 * 3600),
            status_window: Duration::from_secs(24 * 3600),
            max_body_bytes: 1 << 20,
            body_timeout: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
        }
    }
}
