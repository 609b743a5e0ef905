//! When a failed attempt is repeated.
//!
//! The delay of the schedule is spread by jitter, then `Retry-After` is taken as a floor under it:
//! a receiver can ask for later, never for earlier, and never for later than
//! `retry_after_max` (O-7).
//!
//! The window of an exponential schedule is the owner's promise and outranks both: a delay that
//! would leave the window is cut to its end, so that the last attempt is made when the window
//! closes and a header cannot end a delivery early. An attempt finished at or after the end is
//! the last.
//!
//! Invariants, for any input whatever: an attempt is never planned before now; in a window it is
//! never planned after its end; nothing overflows (times saturate).

use std::time::Duration;

use jiff::civil;
use jiff::fmt::strtime;

use super::units::millis;
use super::{EffectivePolicy, Exponential, Jitter, Retry};

/// Whether and when a delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again.
    Retry {
        /// Not before this time.
        at_ms: i64,
    },
    /// The schedule is at its end.
    GiveUp,
}

/// When to try again after a failed attempt.
///
/// `finished_attempts` counts the one that just failed; 0 means that nothing was tried and gives
/// `now_ms`. `first_attempt_ms` is when the first attempt started. `random` is any uniformly
/// distributed number; equal inputs give equal decisions.
#[must_use]
pub fn next_attempt(
    policy: &EffectivePolicy,
    finished_attempts: u32,
    first_attempt_ms: i64,
    now_ms: i64,
    retry_after: Option<RetryAfter>,
    random: u64,
) -> Decision {
    let Some(retries) = finished_attempts.checked_sub(1) else {
        return Decision::Retry { at_ms: now_ms };
    };
    let (delay, end_ms) = match &policy.retry {
        Retry::Delays(delays) => match usize::try_from(retries).ok().and_then(|index| delays.get(index)) {
            Some(delay) => (millis(*delay), i64::MAX),
            None => return Decision::GiveUp,
        },
        Retry::Exponential(shape) => {
            let end_ms = first_attempt_ms.saturating_add(millis(shape.window));
            if now_ms >= end_ms {
                return Decision::GiveUp;
            }
            (grown(shape, retries), end_ms)
        }
    };
    let floor = retry_after.map_or(0, |wish| millis(wish.0.min(policy.retry_after_max)));
    let wait = floor.max(spread(delay, policy.jitter, random));
    Decision::Retry { at_ms: now_ms.saturating_add(wait).min(end_ms) }
}

/// Delay number `retries` of an exponential schedule, before jitter.
fn grown(shape: &Exponential, retries: u32) -> i64 {
    let grown = millis(shape.first) as f64 * shape.factor.powf(f64::from(retries));
    // `as` saturates, and takes NaN (a factor that no parser lets through) for 0.
    (grown.min(millis(shape.max) as f64) as i64).max(0)
}

fn spread(delay: i64, jitter: Jitter, random: u64) -> i64 {
    match jitter {
        Jitter::Full => part(delay, 1.0, random),
        Jitter::UpTo(most) => delay.saturating_add(part(delay, most, random)),
    }
}

/// A number from 0 up to `most` of `whole`, uniformly chosen by `random`.
pub(super) fn part(whole: i64, most: f64, random: u64) -> i64 {
    let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
    ((whole as f64 * most * fraction) as i64).clamp(0, whole.max(0))
}

/// What a receiver asked for in `Retry-After`: how long to wait from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// Nobody is asked to wait longer than this; policies cap it further.
    pub const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Reads a header value: seconds, whole or with a fraction (some servers send `120.6`; parts
    /// of a millisecond are rounded up), or an HTTP date in any of its three forms. A date that
    /// has passed and `0` ask for no wait. `None` for everything else, negative numbers included:
    /// then the schedule alone decides.
    #[must_use]
    pub fn parse(header: &str, now_ms: i64) -> Option<Self> {
        let text = header.trim();
        // No date is longer than `Wednesday, 09-Nov-94 08:49:37 GMT`, nor any sensible number.
        if text.len() > 40 {
            return None;
        }
        let wait = seconds(text).or_else(|| until(text, now_ms))?;
        Some(Self(wait.min(Self::MAX)))
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.parse().unwrap_or(u64::MAX);
    let digit = |index| fraction.as_bytes().get(index).map_or(0, |byte| u64::from(byte - b'0'));
    let rest = fraction.bytes().skip(3).any(|byte| byte != b'0');
    let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2) + u64::from(rest);
    Some(Duration::from_secs(whole).saturating_add(Duration::from_millis(thousandths)))
}

/// The forms of RFC 9110, section 5.6.7: the current one, then the two obsolete ones.
const DATES: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

fn until(text: &str, now_ms: i64) -> Option<Duration> {
    let date = DATES.iter().find_map(|form| strtime::parse(form, text).ok()?.to_datetime().ok())?;
    // Not by way of a time zone: that would refuse the last hours of the year 9999, which servers
    // send to mean "never".
    let since_epoch = date.duration_since(civil::date(1970, 1, 1).at(0, 0, 0, 0));
    let date_ms = i64::try_from(since_epoch.as_millis()).ok()?;
    let wait = date_ms.saturating_sub(now_ms).max(0);
    Some(Duration::from_millis(wait.unsigned_abs()))
}
