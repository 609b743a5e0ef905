//! Climbing back to full speed.
//!
//! A ramp has a level: 1, 2, 4, … While it is below the policy's concurrency, at most *level*
//! attempts are in flight, and at most [`STARTS_PER_LEVEL`] times *level* start within a second
//! (concurrency alone would not hold back a target that answers in a millisecond). The level
//! doubles when *level* successes have come and a second has passed. At the policy's concurrency
//! the ramp has no say any more.
//!
//! So a target that comes back to fifty thousand waiting deliveries sees 10 requests in the first
//! second, 20 in the next, 40, 80, … as long as it keeps succeeding.

use super::Permit;

/// Attempts that may start within a second, for each level.
pub const STARTS_PER_LEVEL: u32 = 10;

const SECOND_MS: i64 = 1000;

/// Where a ramp is seen as climbed, whatever the policy: above any concurrency allowed.
const TOP: u32 = 1024;

/// A limit that grows with success. See the module page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    /// `None`: no limit.
    level: Option<u32>,
    level_since_ms: i64,
    successes: u32,
    second_from_ms: i64,
    starts: u32,
}

impl Ramp {
    /// No ramp.
    #[must_use]
    pub fn full() -> Self {
        Self { level: None, level_since_ms: 0, successes: 0, second_from_ms: 0, starts: 0 }
    }

    /// A ramp that begins at `level` (at least 1).
    #[must_use]
    pub fn from(level: u32, now_ms: i64) -> Self {
        Self { level: Some(level.max(1)), level_since_ms: now_ms, successes: 0, second_from_ms: now_ms, starts: 0 }
    }

    /// The level; `None` if there is no ramp.
    #[must_use]
    pub fn level(&self) -> Option<u32> {
        self.level
    }

    /// Whether one more may start.
    #[must_use]
    pub fn permits(&self, in_flight: u32, limit: u32, now_ms: i64) -> Permit {
        let level = self.level.filter(|level| *level < limit);
        if in_flight >= level.unwrap_or(limit) {
            // A limit of nothing would never be asked again; the policy's bounds begin at 1.
            return Permit::Wait { until_ms: None };
        }
        match level {
            Some(level) if self.starts >= level.saturating_mul(STARTS_PER_LEVEL) && within_second(self.second_from_ms, now_ms) => {
                Permit::Wait { until_ms: Some(self.second_from_ms.saturating_add(SECOND_MS)) }
            }
            _ => Permit::Now,
        }
    }

    /// One started.
    pub fn started(&mut self, now_ms: i64) {
        if !within_second(self.second_from_ms, now_ms) {
            self.second_from_ms = now_ms;
            self.starts = 0;
        }
        self.starts = self.starts.saturating_add(1);
    }

    /// One succeeded.
    pub fn success(&mut self, now_ms: i64) {
        let Some(level) = self.level else { return };
        self.successes = self.successes.saturating_add(1);
        if self.successes >= level && !within_second(self.level_since_ms, now_ms) {
            let doubled = level.saturating_mul(2);
            self.level = (doubled < TOP).then_some(doubled);
            self.level_since_ms = now_ms;
            self.successes = 0;
        }
    }
}

/// Whether `now_ms` is in the second that began at `from_ms`. A clock that went back has left it.
fn within_second(from_ms: i64, now_ms: i64) -> bool {
    (0..SECOND_MS).contains(&now_ms.saturating_sub(from_ms))
}
