//! Whether a target may be sent to, and how eagerly: its health, in the open.
//!
//! ```text
//!            10 failures in a row, or half of >= 20 in a minute
//!   active ───────────────────────────────────────────────▶ probing
//!     ▲ ◀──────────────── first success (ramp) ─────────────┘ │
//!     │                                                       │ 5 days without a success
//!     │ resume (ramp)          pause (by hand)                ▼
//!     ├◀───────────── paused ◀──────────────── any        disabled ◀── 410, or by hand
//!     └◀────────────────────── resume ────────────────────────┘
//! ```
//!
//! # Choices, and why
//!
//! **Probing is sending, not waiting.** The textbook breaker has an *open* state that sends nothing,
//! and a *half-open* one that risks a call. Here they are one state: a target in `probing` always
//! has its next probe in the calendar, from one second after it broke to every five minutes. The
//! probe is an ordinary delivery that was waiting anyway; there is no synthetic ping, which would
//! prove that pings work. A delivery that fails as a probe has used up one attempt of its own
//! schedule and nobody else's: the hundred behind it keep theirs. Tripping therefore *saves*
//! attempts rather than wasting them.
//!
//! **One probe at a time.** A probe may start only when nothing at all is in flight to the target,
//! so requests that were out when it broke drain first. Their late failures are not counted
//! against the probe's back-off: they tell of the past. A late success does count: the target
//! answers. "In flight" is an argument and not a field, because the lane owns that number and two
//! copies of it would differ one day.
//!
//! **Two ways to break.** Ten failures in a row catch the dead target at any volume. Half of at
//! least twenty in a minute catch the sick one, whose occasional success would keep the first
//! count at zero for ever. Every failed attempt counts, whatever its status: a target that answers
//! each delivery with 401 is as useless to its owner as one that is away, and probing costs him
//! nothing but pace.
//!
//! **Back-off with half of it random.** Between half the delay and all of it: full jitter could
//! probe a struggling target at once, none would align thousands of targets behind one dead host.
//!
//! **Recovery is a ramp.** Fifty thousand deliveries may be due when the target comes back. It is
//! sent one at a time, then two, four, eight: see [`Ramp`]. The same ramp follows a resume by hand
//! and a restart, and any slow-down.
//!
//! **Slowing down is not breaking.** 429, 502 and 504 (STDWH-52) hold the target for a moment, one
//! second doubling to five minutes while they go on, or for its `Retry-After` within that; then at
//! most half of what was in flight is allowed and the ramp climbs from there. A day-long
//! `Retry-After` belongs to the delivery that earned it, not to the whole target, hence the cap of
//! five minutes. All answers of one burst count as one sign. They are failures too, and a target
//! that says nothing else will be probed.
//!
//! **Paused is a promise.** Whoever paused a target wants silence: no probe, no ramp, nothing
//! lost. Only a hand ends it. Results of what was in flight arrive and change nothing, except
//! 410, which is about the target and not about us.
//!
//! **Disabled is an end.** It takes five days without one success (O-8), and being in `probing`, so
//! that two failures a week apart on a quiet target do not kill it; or one 410 (STDWH-51). Every
//! change of state is an [`Effect::StateChanged`] with its reason, and the shell tells the owner.
//!
//! **Clocks jump.** Deadlines of the breaker are at most five minutes away. One that
//! is further away was set before the clock went back, and counts as passed.
//!
//! Invariants: never two probes; `paused` and `disabled` permit nothing at any time; every permit
//! that says wait names a time or follows from something in flight; [`Snapshot`] restores all that
//! outlives a process.

mod minute;
mod ramp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use minute::Minute;
pub use ramp::Ramp;

use super::retry::part;
use super::units::millis;

/// The numbers of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that begin probing.
    pub consecutive_failures: u32,
    /// Attempts within a minute below which their failure rate says nothing.
    pub window_attempts: u32,
    /// Percentage of failures among them that begins probing.
    pub window_failure_percent: u32,
    /// First delay of probes and of slow-downs.
    pub first_delay: Duration,
    /// Where that delay stops doubling.
    pub max_delay: Duration,
    /// How long without a success until the target is disabled.
    pub disable_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 10,
            window_attempts: 20,
            window_failure_percent: 50,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            disable_after: Duration::from_secs(5 * 24 * 60 * 60),
        }
    }
}

/// Health of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Sent to.
    Active,
    /// Failing: one delivery at a time is tried, ever more rarely.
    Probing,
    /// Held by hand; nothing is lost.
    Paused,
    /// Held until somebody enables it; new events are not for it.
    Disabled,
}

/// What a failed attempt met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// An answer with this status.
    Status(u16),
    /// No complete answer in time.
    Timeout,
    /// No connection, or it broke, or its TLS did not hold.
    Connection,
}

/// One failed attempt, as the breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What it met.
    pub kind: FailureKind,
    /// The verdict asked for less, see [`Verdict::Retry`](super::Verdict::Retry).
    pub slow_down: bool,
    /// What the answer asked for; only read with `slow_down`.
    pub retry_after: Option<Duration>,
}

/// Why a state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Reason {
    /// Too many failures in a row.
    ConsecutiveFailures {
        /// How many.
        count: u32,
    },
    /// Too many failures within a minute.
    FailureRate {
        /// Failed attempts of that minute.
        failed: u32,
        /// All attempts of that minute.
        total: u32,
    },
    /// An attempt succeeded while probing.
    Recovered,
    /// Somebody paused it.
    PausedByHand,
    /// Somebody resumed or enabled it.
    ResumedByHand,
    /// Somebody disabled it.
    DisabledByHand,
    /// It answered 410.
    Gone,
    /// No success for too long.
    FailingTooLong {
        /// The first failure after the last success.
        since_ms: i64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures { count } => write!(f, "{count} failures in a row"),
            Self::FailureRate { failed, total } => {
                write!(f, "{failed} of {total} attempts failed within a minute")
            }
            Self::Recovered => f.write_str("an attempt succeeded"),
            Self::PausedByHand => f.write_str("paused by hand"),
            Self::ResumedByHand => f.write_str("resumed by hand"),
            Self::DisabledByHand => f.write_str("disabled by hand"),
            Self::Gone => f.write_str("the target answered 410 Gone"),
            Self::FailingTooLong { .. } => f.write_str("no success for too long"),
        }
    }
}

/// What the shell has to do about an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Store the snapshot, tell the owner, count it.
    StateChanged {
        /// Before.
        from: State,
        /// After.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// The next probe may start at this time: wake the lane then.
    ProbeAt(i64),
    /// Nothing may start before this time: wake the lane then.
    SlowedUntil(i64),
}

/// Whether an attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Yes. Whoever uses it says so with [`Breaker::started`].
    Now,
    /// Not yet.
    Wait {
        /// Ask again then; `None`: when something that is in flight has finished.
        until_ms: Option<i64>,
    },
    /// Not until somebody resumes the target.
    Held,
}

/// What outlives a process. The failure rate of the last minute does not, nor does a probe that
/// was out: the process that would have seen its answer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Health.
    pub state: State,
    /// Since when.
    pub since_ms: i64,
    /// Why; `None` if it never changed.
    pub reason: Option<Reason>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// The first of them.
    pub failing_since_ms: Option<i64>,
    /// Failed probes since the last success.
    pub failed_probes: u32,
    /// When the next probe is due.
    pub next_probe_ms: i64,
    /// Where the ramp stood; `None`: no ramp.
    pub ramp_level: Option<u32>,
}

/// Health of one target. See the module page.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: Settings,
    kept: Snapshot,
    ramp: Ramp,
    probe_out: bool,
    slow_until_ms: Option<i64>,
    slow_strikes: u32,
    minute: Minute,
}

impl Breaker {
    /// An active target without a past.
    #[must_use]
    pub fn new(settings: Settings, now_ms: i64) -> Self {
        let kept = Snapshot {
            state: State::Active,
            since_ms: now_ms,
            reason: None,
            consecutive_failures: 0,
            failing_since_ms: None,
            failed_probes: 0,
            next_probe_ms: now_ms,
            ramp_level: None,
        };
        Self::restore(settings, kept, now_ms)
    }

    /// A target as it was when `snapshot` was taken.
    #[must_use]
    pub fn restore(settings: Settings, snapshot: Snapshot, now_ms: i64) -> Self {
        Self {
            settings,
            kept: snapshot,
            ramp: snapshot.ramp_level.map_or_else(Ramp::full, |level| Ramp::from(level, now_ms)),
            probe_out: false,
            slow_until_ms: None,
            slow_strikes: 0,
            minute: Minute::default(),
        }
    }

    /// What to store whenever the state has changed.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { ramp_level: self.ramp.level(), ..self.kept }
    }

    /// Health.
    #[must_use]
    pub fn state(&self) -> State {
        self.kept.state
    }

    /// Whether one more attempt may start, `in_flight` being out and `limit` being the policy's
    /// concurrency.
    #[must_use]
    pub fn permits(&self, in_flight: u32, limit: u32, now_ms: i64) -> Permit {
        match self.kept.state {
            State::Paused | State::Disabled => Permit::Held,
            State::Probing if in_flight > 0 => Permit::Wait { until_ms: None },
            State::Probing => match self.ahead(self.kept.next_probe_ms, now_ms) {
                Some(at_ms) => Permit::Wait { until_ms: Some(at_ms) },
                None => Permit::Now,
            },
            State::Active => match self.slow_until_ms.and_then(|until_ms| self.ahead(until_ms, now_ms)) {
                Some(until_ms) => Permit::Wait { until_ms: Some(until_ms) },
                None => self.ramp.permits(in_flight, limit, now_ms),
            },
        }
    }

    /// `at_ms` if it lies ahead, and is not left over from before the clock went back.
    fn ahead(&self, at_ms: i64, now_ms: i64) -> Option<i64> {
        let distance = at_ms.saturating_sub(now_ms);
        (1..=millis(self.settings.max_delay)).contains(&distance).then_some(at_ms)
    }

    /// An attempt started on a [`Permit::Now`].
    pub fn started(&mut self, now_ms: i64) {
        self.probe_out = self.kept.state == State::Probing;
        self.ramp.started(now_ms);
    }

    /// An attempt ended without saying anything about the target (its delivery was cancelled, or
    /// the fault was ours).
    pub fn cancelled(&mut self) {
        self.probe_out = false;
    }

    /// An attempt succeeded.
    #[must_use]
    pub fn success(&mut self, now_ms: i64) -> Vec<Effect> {
        self.minute.count(now_ms, true);
        self.kept.consecutive_failures = 0;
        self.kept.failing_since_ms = None;
        self.kept.failed_probes = 0;
        self.probe_out = false;
        if self.slow_until_ms.is_none_or(|until_ms| self.ahead(until_ms, now_ms).is_none()) {
            self.slow_until_ms = None;
            self.slow_strikes = 0;
        }
        match self.kept.state {
            State::Active => {
                self.ramp.success(now_ms);
                Vec::new()
            }
            State::Probing => {
                self.begin_again(now_ms);
                self.change(State::Active, Reason::Recovered, now_ms)
            }
            State::Paused | State::Disabled => Vec::new(),
        }
    }

    /// An attempt failed; `in_flight` are out besides it. `random` is any uniformly distributed
    /// number.
    #[must_use]
    pub fn failure(&mut self, failure: Failure, in_flight: u32, now_ms: i64, random: u64) -> Vec<Effect> {
        let was_probe = std::mem::take(&mut self.probe_out);
        if matches!(self.kept.state, State::Paused | State::Disabled) {
            return Vec::new();
        }
        self.minute.count(now_ms, false);
        self.kept.consecutive_failures = self.kept.consecutive_failures.saturating_add(1);
        let since_ms = *self.kept.failing_since_ms.get_or_insert(now_ms);
        if self.kept.state == State::Probing {
            if now_ms.saturating_sub(since_ms) >= millis(self.settings.disable_after) {
                return self.change(State::Disabled, Reason::FailingTooLong { since_ms }, now_ms);
            }
            if !was_probe {
                return Vec::new();
            }
            self.kept.failed_probes = self.kept.failed_probes.saturating_add(1);
            return vec![self.plan_probe(now_ms, random)];
        }
        if let Some(reason) = self.broken(now_ms) {
            let mut effects = self.change(State::Probing, reason, now_ms);
            effects.push(self.plan_probe(now_ms, random));
            return effects;
        }
        if failure.slow_down { self.slow_down(failure, in_flight, now_ms, random) } else { vec![] }
    }

    fn broken(&self, now_ms: i64) -> Option<Reason> {
        let count = self.kept.consecutive_failures;
        if count >= self.settings.consecutive_failures {
            return Some(Reason::ConsecutiveFailures { count });
        }
        let (failed, total) = self.minute.totals(now_ms);
        let share = u64::from(failed) * 100;
        let limit = u64::from(total) * u64::from(self.settings.window_failure_percent);
        (total >= self.settings.window_attempts && share >= limit).then_some(Reason::FailureRate { failed, total })
    }

    fn plan_probe(&mut self, now_ms: i64, random: u64) -> Effect {
        let delay = self.delay(self.kept.failed_probes, random);
        self.kept.next_probe_ms = now_ms.saturating_add(delay);
        Effect::ProbeAt(self.kept.next_probe_ms)
    }

    fn slow_down(&mut self, failure: Failure, in_flight: u32, now_ms: i64, random: u64) -> Vec<Effect> {
        if self.slow_until_ms.is_some_and(|until_ms| self.ahead(until_ms, now_ms).is_some()) {
            return Vec::new();
        }
        let asked = failure.retry_after.map_or(0, millis).min(millis(self.settings.max_delay));
        let until_ms = now_ms.saturating_add(self.delay(self.slow_strikes, random).max(asked));
        self.slow_strikes = self.slow_strikes.saturating_add(1);
        self.slow_until_ms = Some(until_ms);
        self.ramp = Ramp::from(in_flight.saturating_add(1) / 2, until_ms);
        vec![Effect::SlowedUntil(until_ms)]
    }

    /// The delay after `times` before it: doubled that often, and half of it random.
    fn delay(&self, times: u32, random: u64) -> i64 {
        let max = millis(self.settings.max_delay);
        let factor = 1_i64.checked_shl(times.min(62)).unwrap_or(i64::MAX);
        let delay = millis(self.settings.first_delay).saturating_mul(factor).clamp(1, max.max(1));
        // At least 1, so that a deadline is never already over; never above the cap of `ahead`.
        (delay / 2 + part(delay - delay / 2, 1.0, random) + 1).min(delay)
    }

    /// Somebody pauses the target. Does nothing to a disabled one: it is silent already, and a
    /// later resume must not be the way around its reason.
    #[must_use]
    pub fn pause(&mut self, now_ms: i64) -> Vec<Effect> {
        if self.kept.state == State::Disabled {
            return Vec::new();
        }
        self.change(State::Paused, Reason::PausedByHand, now_ms)
    }

    /// Somebody resumes or enables the target. It starts without a past, on the ramp. Does nothing
    /// to a target that is not held.
    #[must_use]
    pub fn resume(&mut self, now_ms: i64) -> Vec<Effect> {
        if matches!(self.kept.state, State::Active | State::Probing) {
            return Vec::new();
        }
        self.begin_again(now_ms);
        self.change(State::Active, Reason::ResumedByHand, now_ms)
    }

    /// Somebody disables the target.
    #[must_use]
    pub fn disable(&mut self, now_ms: i64) -> Vec<Effect> {
        self.change(State::Disabled, Reason::DisabledByHand, now_ms)
    }

    /// The target answered that it is gone, see [`Verdict::Stop`](super::Verdict::Stop).
    #[must_use]
    pub fn gone(&mut self, now_ms: i64) -> Vec<Effect> {
        self.probe_out = false;
        self.change(State::Disabled, Reason::Gone, now_ms)
    }

    fn begin_again(&mut self, now_ms: i64) {
        self.kept.consecutive_failures = 0;
        self.kept.failing_since_ms = None;
        self.kept.failed_probes = 0;
        self.ramp = Ramp::from(1, now_ms);
        self.slow_until_ms = None;
        self.slow_strikes = 0;
        self.minute = Minute::default();
    }

    fn change(&mut self, to: State, reason: Reason, now_ms: i64) -> Vec<Effect> {
        let from = self.kept.state;
        if from == to {
            return Vec::new();
        }
        self.kept.state = to;
        self.kept.since_ms = now_ms;
        self.kept.reason = Some(reason);
        vec![Effect::StateChanged { from, to, reason }]
    }
}
