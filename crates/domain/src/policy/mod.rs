//! How deliveries behave, as data: timeouts, retries, verdicts, batching, limits, order.
//!
//! A [`Policy`] is what an owner writes: every field optional. Policies stack field by field
//! (subscription over target over workspace over dialect) with [`Policy::or`], and
//! [`Policy::resolve`] fills what nobody named from [`Policy::standard`].
//!
//! Everything in this module and below is a pure function of `(state, input, now)`:
//!
//! | Module | Question it answers |
//! |---|---|
//! | [`retry`] | when is the next attempt, if any |
//! | [`mod@classify`] | what does this status mean |
//! | [`breaker`] | may this target be sent to at all, and how eagerly |
//! | [`limiter`] | may one more be sent in this window; may this address post |
//! | [`batch`] | which batch does this event join, and when does it close |
//! | [`lane`] | which delivery of this target is next; which lane of which workspace is next |
//!
//! Invariants:
//! - times are `i64` Unix milliseconds named `*_ms`; no input makes the arithmetic overflow;
//! - a `Policy` that came through [`Policy::from_json`] (serde goes that way too) is within every
//!   bound of [`bounds`]. An [`EffectivePolicy`] may also be built by hand: a dialect whose own
//!   document allows more (a timeout of one millisecond, say) is not held to ours.

pub mod batch;
pub mod bounds;
pub mod breaker;
pub mod classify;
pub mod lane;
pub mod limiter;
mod parse;
pub mod retry;
pub mod units;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

pub use classify::{StatusMatch, Verdict, classify};
pub use parse::PolicyError;
pub use retry::{Decision, RetryAfter, next_attempt};

/// What an owner wrote. Absent fields are inherited, see [`Policy::or`].
///
/// The JSON form is the one of the API: durations as `"15s"`, sizes as `"1MiB"`; unknown fields
/// are refused. Reading goes through [`Policy::from_json`], so a bad value names its field.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Policy {
    /// Total time for one attempt, from the start of the connection to the end of the answer.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "units::serialize_optional_duration")]
    pub timeout: Option<Duration>,
    /// Time for DNS, TCP and TLS together.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "units::serialize_optional_duration")]
    pub connect_timeout: Option<Duration>,
    /// When failed attempts are repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How the delays are spread. When absent, the shape of `retry` decides, see [`Jitter::of`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// Statuses that mean "delivered".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<Vec<StatusMatch>>,
    /// Statuses after which this delivery is not tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<StatusMatch>>,
    /// How events are gathered into one delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How many requests the target takes in a rolling window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many requests may be in flight to the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Whether deliveries keep the order of their events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The longest wait that a `Retry-After` header can ask for; zero ignores the header.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "units::serialize_optional_duration")]
    pub retry_after_max: Option<Duration>,
}

/// A policy with every question answered.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectivePolicy {
    /// See [`Policy::timeout`].
    pub timeout: Duration,
    /// See [`Policy::connect_timeout`]; never longer than `timeout`.
    pub connect_timeout: Duration,
    /// See [`Policy::retry`].
    pub retry: Retry,
    /// See [`Policy::jitter`].
    pub jitter: Jitter,
    /// See [`Policy::success`].
    pub success: Vec<StatusMatch>,
    /// See [`Policy::stop`].
    pub stop: Vec<StatusMatch>,
    /// `None`: every event is its own delivery. A policy that asks for batches of one event
    /// resolves to `None`, which is how an inherited batching is switched off.
    pub batch: Option<Batch>,
    /// `None`: no limit of rate.
    pub rate: Option<Rate>,
    /// See [`Policy::concurrency`]; 1 when `order` is [`Order::Fifo`].
    pub concurrency: u32,
    /// See [`Policy::order`].
    pub order: Order,
    /// See [`Policy::retry_after_max`].
    pub retry_after_max: Duration,
}

/// When failed attempts are repeated.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The delay before the second, third, … attempt; one attempt more than there are delays.
    #[serde(serialize_with = "units::serialize_durations")]
    Delays(Vec<Duration>),
    /// A delay that grows, until a window that starts with the first attempt closes.
    Exponential(Exponential),
}

/// A delay that grows by a factor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Exponential {
    /// Delay before the second attempt.
    #[serde(serialize_with = "units::serialize_duration")]
    pub first: Duration,
    /// What each delay is multiplied by; at least 1.
    pub factor: f64,
    /// Where the delay stops growing.
    #[serde(serialize_with = "units::serialize_duration")]
    pub max: Duration,
    /// No attempt starts later than this after the first one.
    #[serde(serialize_with = "units::serialize_duration")]
    pub window: Duration,
}

/// How a delay is spread, so that deliveries that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Jitter {
    /// Anywhere between zero and the delay.
    Full,
    /// The delay and up to this fraction of it more; `UpTo(0.0)` is none.
    UpTo(f64),
}

impl Jitter {
    /// The jitter of a schedule whose owner named none: a list of delays is a promise about times,
    /// so it is only stretched by up to 10 % (O-7); an exponential one is only a shape, so it
    /// gets full jitter.
    #[must_use]
    pub fn of(retry: &Retry) -> Self {
        match retry {
            Retry::Delays(_) => Self::UpTo(0.1),
            Retry::Exponential(_) => Self::Full,
        }
    }
}

impl Serialize for Jitter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Full => serializer.serialize_str("full"),
            Self::UpTo(part) => serializer.serialize_f64(*part),
        }
    }
}

/// How events are gathered: a batch closes at whichever limit is met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// Most events in one delivery.
    pub events: u32,
    /// Most payload bytes in one delivery; one event larger than this travels alone.
    #[serde(serialize_with = "units::serialize_bytes")]
    pub bytes: u64,
    /// Longest time that the first event waits for company.
    #[serde(serialize_with = "units::serialize_duration")]
    pub wait: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { events: 100, bytes: 1 << 20, wait: Duration::from_secs(5) }
    }
}

/// At most `limit` requests in any window of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Requests in one window.
    pub limit: u32,
    /// Length of the rolling window.
    #[serde(serialize_with = "units::serialize_duration")]
    pub per: Duration,
}

/// Whether deliveries keep the order of their events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they come; a delivery that waits for its retry is overtaken.
    None,
    /// One in flight, and a delivery that waits for its retry holds up those behind it.
    Fifo,
}

impl Policy {
    /// The native default: the example schedule of Standard Webhooks (section 7), timeout 15 s
    /// (O-9), 410 stops, `Retry-After` within 24 h (O-7). `jitter` stays open so that a policy
    /// that only changes the shape of the schedule gets the jitter of its shape.
    #[must_use]
    pub fn standard() -> Self {
        const S: u64 = 1;
        const M: u64 = 60 * S;
        const H: u64 = 60 * M;
        let delays = [5 * S, 5 * M, 30 * M, 2 * H, 5 * H, 10 * H, 14 * H, 20 * H, 24 * H];
        Self {
            timeout: Some(Duration::from_secs(15)),
            connect_timeout: Some(Duration::from_secs(5)),
            retry: Some(Retry::Delays(delays.map(Duration::from_secs).to_vec())),
            jitter: None,
            success: Some(vec![StatusMatch::Class(2)]),
            stop: Some(vec![StatusMatch::Code(410)]),
            batch: None,
            rate: None,
            concurrency: Some(32),
            order: Some(Order::None),
            retry_after_max: Some(Duration::from_secs(24 * H)),
        }
    }

    /// Reads the API form, checking every bound of [`bounds`].
    ///
    /// # Errors
    /// The first field at fault and what it must be.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, PolicyError> {
        parse::policy(value)
    }

    /// This policy, with the fields that it leaves open taken from `fallback`.
    #[must_use]
    pub fn or(&self, fallback: &Self) -> Self {
        Self {
            timeout: self.timeout.or(fallback.timeout),
            connect_timeout: self.connect_timeout.or(fallback.connect_timeout),
            retry: self.retry.clone().or_else(|| fallback.retry.clone()),
            jitter: self.jitter.or(fallback.jitter),
            success: self.success.clone().or_else(|| fallback.success.clone()),
            stop: self.stop.clone().or_else(|| fallback.stop.clone()),
            batch: self.batch.or(fallback.batch),
            rate: self.rate.or(fallback.rate),
            concurrency: self.concurrency.or(fallback.concurrency),
            order: self.order.or(fallback.order),
            retry_after_max: self.retry_after_max.or(fallback.retry_after_max),
        }
    }

    /// This policy over [`Policy::standard`], every field concrete.
    #[must_use]
    pub fn resolve(&self) -> EffectivePolicy {
        const STATED: &str = "the standard policy states this field";
        let full = self.or(&Self::standard());
        let timeout = full.timeout.expect(STATED);
        let retry = full.retry.expect(STATED);
        let order = full.order.expect(STATED);
        EffectivePolicy {
            timeout,
            connect_timeout: full.connect_timeout.expect(STATED).min(timeout),
            jitter: full.jitter.unwrap_or_else(|| Jitter::of(&retry)),
            retry,
            success: full.success.expect(STATED),
            stop: full.stop.expect(STATED),
            batch: full.batch.filter(|batch| batch.events > 1),
            rate: full.rate,
            concurrency: match order {
                Order::Fifo => 1,
                Order::None => full.concurrency.expect(STATED),
            },
            order,
            retry_after_max: full.retry_after_max.expect(STATED),
        }
    }
}

impl TryFrom<serde_json::Value> for Policy {
    type Error = PolicyError;

    fn try_from(value: serde_json::Value) -> Result<Self, PolicyError> {
        Self::from_json(&value)
    }
}

impl EffectivePolicy {
    /// The same policy with its days of waiting multiplied by `factor`: retry delays, window and
    /// the cap of `Retry-After`. Timeouts, batches and rates stay. For tests and demonstrations
    /// that want a schedule of three days in a second (STDWH-55).
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |time: Duration| Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        let retry = match &self.retry {
            Retry::Delays(delays) => Retry::Delays(delays.iter().copied().map(scale).collect()),
            Retry::Exponential(e) => {
                Retry::Exponential(Exponential { first: scale(e.first), factor: e.factor, max: scale(e.max), window: scale(e.window) })
            }
        };
        Self { retry, retry_after_max: scale(self.retry_after_max), ..self.clone() }
    }
}
