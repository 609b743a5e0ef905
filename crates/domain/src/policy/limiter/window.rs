//! Fixed windows with a burst: so many requests in a minute, and no more than so many in a second of it (MsGine 3.2).
//!
//! Vendors who print `limit`, `remaining` and `reset` in their answers promise a fixed window: it opens with the first request,
//! and everything comes back at once when it ends. What a fixed window allows at its edge is part of that promise; where the promise
//! is "any minute", use [`super::RateLimiter`].
//!
//! Invariants: in one window no more than `limit` requests are granted, and in one burst window no more than `burst`; a refused
//! request is not counted; a refusal names a wait that is never zero and never longer than its window. After a clock went back, no window
//! ends later than one that opens now.

use std::collections::BTreeMap;

use super::super::Rate;
use super::super::units::millis;

/// Numbers of a [`WindowLimiter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRates {
    /// The allowance that callers are told.
    pub window: Rate,
    /// The allowance within a short time; both must leave room.
    pub burst: Rate,
}

/// How a key stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests in one window.
    pub limit: u32,
    /// Requests left in the present one.
    pub remaining: u32,
    /// When the present window ends.
    pub reset_ms: i64,
}

/// Whether a request is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How the key stands after it.
    pub standing: Standing,
    /// `None` when it is granted; otherwise how many milliseconds to wait, at least 1.
    pub wait_ms: Option<i64>,
}

/// One key's windows.
#[derive(Debug, Clone, Default)]
pub struct WindowLimiter {
    window: Window,
    burst: Window,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    opened_ms: Option<i64>,
    used: u32,
}

impl Window {
    /// Forgets a window that is over. Answers when the present one, or one opened now, ends.
    fn at(&mut self, per_ms: i64, now_ms: i64) -> i64 {
        match self.opened_ms {
            // After a clock went back the window counts as opened now.
            Some(opened_ms) if opened_ms > now_ms => self.opened_ms = Some(now_ms),
            Some(opened_ms) if now_ms.saturating_sub(opened_ms) >= per_ms => *self = Self::default(),
            Some(_) | None => {}
        }
        self.opened_ms.unwrap_or(now_ms).saturating_add(per_ms)
    }

    fn count(&mut self, now_ms: i64) {
        self.opened_ms.get_or_insert(now_ms);
        self.used = self.used.saturating_add(1);
    }
}

impl WindowLimiter {
    /// Asks for one request. The rates may differ from call to call: what was used stays used. Limits and lengths of 0 count as 1.
    pub fn take(&mut self, rates: WindowRates, now_ms: i64) -> Grant {
        let (limit, burst) = (rates.window.limit.max(1), rates.burst.limit.max(1));
        let reset_ms = self.window.at(millis(rates.window.per).max(1), now_ms);
        let burst_end_ms = self.burst.at(millis(rates.burst.per).max(1), now_ms);
        let wait_ms = if self.window.used >= limit {
            Some(reset_ms)
        } else if self.burst.used >= burst {
            Some(burst_end_ms)
        } else {
            self.window.count(now_ms);
            self.burst.count(now_ms);
            None
        };
        let standing = Standing { limit, remaining: limit.saturating_sub(self.window.used), reset_ms };
        Grant { standing, wait_ms: wait_ms.map(|until_ms| until_ms.saturating_sub(now_ms).max(1)) }
    }

    /// Whether nothing of it matters any more: every window is over.
    #[must_use]
    pub fn is_over(&self, rates: WindowRates, now_ms: i64) -> bool {
        let over = |window: &Window, per| window.opened_ms.is_none_or(|opened| now_ms.saturating_sub(opened) >= millis(per).max(1));
        over(&self.window, rates.window.per) && over(&self.burst, rates.burst.per)
    }
}

/// A [`WindowLimiter`] for each of many keys. It holds at most twice the keys that were active in one window, and a few.
#[derive(Debug, Default)]
pub struct KeyedWindows {
    keys: BTreeMap<i64, (WindowLimiter, WindowRates)>,
    sweep_at: usize,
}

/// The least number of keys at which those are looked for that are over.
const SWEEP_FLOOR: usize = 1024;

impl KeyedWindows {
    /// Asks for one request of a key.
    pub fn take(&mut self, key: i64, rates: WindowRates, now_ms: i64) -> Grant {
        if self.keys.len() >= self.sweep_at.max(SWEEP_FLOOR) && !self.keys.contains_key(&key) {
            self.keys.retain(|_, (limiter, rates)| !limiter.is_over(*rates, now_ms));
            self.sweep_at = self.keys.len() * 2;
        }
        let (limiter, known) = self.keys.entry(key).or_insert_with(|| (WindowLimiter::default(), rates));
        *known = rates;
        limiter.take(rates, now_ms)
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn rates(limit: u32, burst: u32) -> WindowRates {
        WindowRates { window: Rate { limit, per: Duration::from_secs(60) }, burst: Rate { limit: burst, per: Duration::from_secs(1) } }
    }

    // MSGINE-34, MSGINE-35: the numbers that the answers are made from.
    #[test]
    fn the_window_opens_with_the_first_request_and_ends_a_minute_later() {
        let mut limiter = WindowLimiter::default();
        let first = limiter.take(rates(100, 20), 5_000);
        assert_eq!(first, Grant { standing: Standing { limit: 100, remaining: 99, reset_ms: 65_000 }, wait_ms: None });
        for used in 2..=100 {
            let grant = limiter.take(rates(100, 20), 5_000 + (used - 1) * 100);
            assert_eq!((grant.standing.remaining, grant.wait_ms), (100 - used as u32, None));
        }
        for _ in 0..3 {
            let refused = limiter.take(rates(100, 20), 20_000);
            assert_eq!(refused, Grant { standing: Standing { limit: 100, remaining: 0, reset_ms: 65_000 }, wait_ms: Some(45_000) });
        }
        assert_eq!(limiter.take(rates(100, 20), 64_999).wait_ms, Some(1));
        assert_eq!(limiter.take(rates(100, 20), 65_000).standing.remaining, 99);
    }

    // MSGINE-36
    #[test]
    fn a_burst_ends_with_its_second() {
        let mut limiter = WindowLimiter::default();
        for _ in 0..20 {
            assert_eq!(limiter.take(rates(100, 20), 400).wait_ms, None);
        }
        let refused = limiter.take(rates(100, 20), 900);
        assert_eq!((refused.wait_ms, refused.standing.remaining), (Some(500), 80));
        assert_eq!(limiter.take(rates(100, 20), 1_400).wait_ms, None);
    }

    // MSGINE-38: what was used stays used.
    #[test]
    fn other_rates_hold_at_once() {
        let mut limiter = WindowLimiter::default();
        for at in 0..60 {
            assert_eq!(limiter.take(rates(60, 10), at * 500).wait_ms, None);
        }
        assert!(limiter.take(rates(60, 10), 31_000).wait_ms.is_some());
        assert_eq!(limiter.take(rates(500, 50), 31_000).standing.remaining, 439);
    }

    #[test]
    fn keys_that_are_over_are_forgotten() {
        let mut windows = KeyedWindows::default();
        for key in 0..10_000 {
            windows.take(key, rates(100, 20), key * 1_000);
            assert!(windows.len() <= SWEEP_FLOOR);
        }
        assert!(!windows.is_empty());
    }

    // MSGINE-37
    #[test]
    fn keys_do_not_share() {
        let mut windows = KeyedWindows::default();
        for _ in 0..20 {
            assert_eq!(windows.take(1, rates(100, 20), 0).wait_ms, None);
        }
        assert!(windows.take(1, rates(100, 20), 0).wait_ms.is_some());
        assert_eq!(windows.take(2, rates(100, 20), 0).standing.remaining, 99);
    }

    proptest! {
        /// The model is the list of all grants, cut into windows as the description says.
        #[test]
        fn it_is_its_description(
            limit in 1..30_u32,
            burst in 1..8_u32,
            steps in prop::collection::vec((0..4_000_i64, 1..12_u32), 1..200),
        ) {
            let rates = rates(limit, burst);
            let mut limiter = WindowLimiter::default();
            let (mut now, mut window, mut second): (i64, Vec<i64>, Vec<i64>) = (0, vec![], vec![]);
            for (pass, wanted) in steps {
                now += pass;
                for _ in 0..wanted {
                    if window.first().is_some_and(|first| now - first >= 60_000) { window.clear(); }
                    if second.first().is_some_and(|first| now - first >= 1_000) { second.clear(); }
                    let expected = if window.len() >= limit as usize {
                        Some(window[0] + 60_000 - now)
                    } else if second.len() >= burst as usize {
                        Some(second[0] + 1_000 - now)
                    } else {
                        window.push(now);
                        second.push(now);
                        None
                    };
                    let grant = limiter.take(rates, now);
                    prop_assert_eq!(grant.wait_ms, expected);
                    let reset = window.first().map_or(now, |first| *first) + 60_000;
                    let standing = Standing { limit, remaining: limit - window.len() as u32, reset_ms: reset };
                    prop_assert_eq!(grant.standing, standing);
                }
            }
        }

        /// Whatever the clock does, a wait is positive and at most its window, and who waits as told is granted.
        #[test]
        fn waits_are_kept_promises(
            limit in 1..10_u32,
            burst in 1..10_u32,
            times in prop::collection::vec(any::<i64>(), 1..100),
        ) {
            let rates = rates(limit, burst);
            let mut limiter = WindowLimiter::default();
            for now in times {
                if let Some(wait) = limiter.take(rates, now).wait_ms {
                    prop_assert!((1..=60_000).contains(&wait));
                    let mut later = limiter.clone();
                    let again = later.take(rates, now.saturating_add(wait));
                    // The end of the minute may fall into a second that is full, and time ends at its last number.
                    prop_assert!(again.wait_ms.is_none_or(|wait| wait <= 1_000) || now > i64::MAX - 120_000);
                }
            }
        }
    }
}
