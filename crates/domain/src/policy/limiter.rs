//! Limits of rate: [`RateLimiter`] for what is sent to a target, [`IpLimiter`] for what a public
//! key may post from one address, [`KeyedWindows`] for the documented fixed windows of a vendor's keys.
//!
//! # Why a log and not a bucket
//!
//! "500 per minute" is read by people as: whichever minute you look at, no more than 500. A token
//! bucket (or GCRA) with a burst of 500 lets 1000 through in the minute after a rest, and with a
//! smaller burst it spreads what need not be spread. Fixed windows have the same hole at their
//! edge. The exact answer is a log of the last `limit` times, which costs memory by the limit.
//!
//! [`RateLimiter`] keeps that log in at most [`BUCKETS`] runs. A run counts takes that came close
//! together, and is forgotten as a whole when its *last* take is a window old. Hence the limit holds
//! exactly in every window, and the price is only that the first takes of a run come back up to 1/62
//! of a window late. With a limit of up to [`BUCKETS`] every take has its own run, and nothing
//! is late.
//!
//! A window is half open: takes at `t` and at `t + per` are in different ones.
//!
//! # Clocks
//!
//! When the clock goes back, the log goes back with it: the time that passed in truth is unknown
//! and counts as none. So the limit holds, and nothing waits longer than one window. When the clock jumps
//! ahead, the log is over early; no arithmetic can know better.

mod ip;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;

use super::Rate;
use super::units::millis;

pub use ip::{IpLimiter, IpSettings, host};
pub use window::{Grant, KeyedWindows, Standing, WindowLimiter, WindowRates};

/// Most runs that a [`RateLimiter`] remembers.
pub const BUCKETS: usize = 64;

/// At most `limit` takes in any window of `per`. See the module page.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    limit: u32,
    per_ms: i64,
    runs: VecDeque<Run>,
    used: u32,
    /// While a refusal comes no later than this, it belongs to the same episode.
    episode_until_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first_ms: i64,
    last_ms: i64,
    count: u32,
}

/// A take that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// A take then succeeds, unless another comes before it.
    pub until_ms: i64,
    /// The limit was met for the first time since things were calm: tell the owner once. An episode
    /// ends when a whole window has gone by, after the last wait, without a refusal.
    pub notice: bool,
}

impl RateLimiter {
    /// A limiter that has seen nothing. A limit of 0 counts as 1, a window of 0 as a millisecond.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { limit: rate.limit.max(1), per_ms: millis(rate.per).max(1), runs: VecDeque::new(), used: 0, episode_until_ms: None }
    }

    /// Follows a changed policy without forgetting what was taken.
    pub fn set_rate(&mut self, rate: Rate) {
        self.limit = rate.limit.max(1);
        self.per_ms = millis(rate.per).max(1);
    }

    /// Takes one, or says when one can be taken.
    ///
    /// # Errors
    /// [`Wait`] when the window is full. Nothing is taken then.
    pub fn take(&mut self, now_ms: i64) -> Result<(), Wait> {
        self.forget(now_ms);
        match self.runs.front() {
            Some(oldest) if self.used >= self.limit => {
                let until_ms = self.free_again_ms(oldest);
                let notice = self.episode_until_ms.is_none_or(|end_ms| now_ms > end_ms);
                self.episode_until_ms = Some(until_ms.saturating_add(self.per_ms));
                Err(Wait { until_ms, notice })
            }
            _ => {
                self.remember(now_ms);
                Ok(())
            }
        }
    }

    /// Whether the limit has been met lately, for a console that shows it.
    #[must_use]
    pub fn limited(&self, now_ms: i64) -> bool {
        self.episode_until_ms.is_some_and(|end_ms| now_ms <= end_ms)
    }

    /// When the limiter, asked for nothing more, will have forgotten everything.
    #[must_use]
    pub fn idle_at_ms(&self) -> i64 {
        self.runs.back().map_or(i64::MIN, |newest| newest.last_ms.saturating_add(self.per_ms))
    }

    /// When enough runs are over for one take. More than one only after the limit was lowered.
    fn free_again_ms(&self, oldest: &Run) -> i64 {
        let mut used = self.used;
        let over = self.runs.iter().find(|run| {
            used -= run.count;
            used < self.limit
        });
        over.unwrap_or(oldest).last_ms.saturating_add(self.per_ms)
    }

    fn forget(&mut self, now_ms: i64) {
        if let Some(ahead) = self.runs.back().map(|newest| newest.last_ms.saturating_sub(now_ms))
            && ahead > 0
        {
            for run in &mut self.runs {
                run.first_ms = run.first_ms.saturating_sub(ahead);
                run.last_ms = run.last_ms.saturating_sub(ahead);
            }
            self.episode_until_ms = self.episode_until_ms.map(|end_ms| end_ms.saturating_sub(ahead));
        }
        while let Some(oldest) = self.runs.front()
            && now_ms.saturating_sub(oldest.last_ms) >= self.per_ms
        {
            self.used -= oldest.count;
            self.runs.pop_front();
        }
    }

    fn remember(&mut self, now_ms: i64) {
        self.used += 1;
        // Two runs begin at least this far apart, so a window and the run it cuts hold at most 64.
        let width_ms = self.per_ms.div_euclid(62) + 1;
        if let Some(newest) = self.runs.back_mut()
            && self.limit as usize > BUCKETS
            && (now_ms.saturating_sub(newest.first_ms) < width_ms || newest.last_ms == now_ms)
        {
            newest.last_ms = now_ms;
            newest.count += 1;
            return;
        }
        self.runs.push_back(Run { first_ms: now_ms, last_ms: now_ms, count: 1 });
    }
}
