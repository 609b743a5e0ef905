//! The bounds that [`Policy::from_json`](super::Policy::from_json) checks, in one place so that
//! documentation and errors quote the same numbers.

use std::ops::RangeInclusive;
use std::time::Duration;

/// `timeout`.
pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);
/// `connect_timeout`.
pub const CONNECT_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// Number of `retry.delays`.
pub const DELAYS: usize = 50;
/// Each of `retry.delays`.
pub const DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30 * DAY);
/// `retry.exponential.first`.
pub const EXPONENTIAL_FIRST: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(DAY);
/// `retry.exponential.factor`; below 1 the delays would shrink.
pub const EXPONENTIAL_FACTOR: RangeInclusive<f64> = 1.0..=10.0;
/// `retry.exponential.max`; also at least `first`.
pub const EXPONENTIAL_MAX: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(7 * DAY);
/// `retry.exponential.window`.
pub const EXPONENTIAL_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * DAY);
/// `jitter` as a number.
pub const JITTER: RangeInclusive<f64> = 0.0..=1.0;
/// Number of entries in `success` and in `stop`.
pub const STATUSES: usize = 64;
/// A status as a number. There is no final answer below 200.
pub const STATUS: RangeInclusive<u64> = 200..=599;
/// `batch.events`.
pub const BATCH_EVENTS: RangeInclusive<u64> = 1..=10_000;
/// `batch.bytes`.
pub const BATCH_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 20;
/// `batch.wait`.
pub const BATCH_WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// `rate.limit`.
pub const RATE_LIMIT: RangeInclusive<u64> = 1..=1_000_000;
/// `rate.per`.
pub const RATE_PER: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(DAY);
/// `concurrency`.
pub const CONCURRENCY: RangeInclusive<u64> = 1..=1000;
/// `retry_after_max`.
pub const RETRY_AFTER_MAX: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * DAY);

const DAY: u64 = 24 * 60 * 60;
