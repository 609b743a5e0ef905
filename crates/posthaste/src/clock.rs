//! The real clock: the one place that reads the machine's time.
//!
//! Invariants: it never runs backwards, and it never stands still. It follows the wall clock; when somebody sets that back, it goes on
//! at half speed until the wall clock has caught up, so timers keep firing and times of receipt keep their order. A step forward (the
//! machine slept, or its clock was wrong) is taken at once, because receivers refuse signatures that are minutes old.
//!
//! Nodes that share a database follow the database's clock in the same way: what they agree on is kept as a difference to the wall clock. Only
//! the first agreement, before which a node has stored nothing, is taken at once in either direction.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_domain::clock::Clock;
use tokio::time::Instant;

/// Wall-clock time for the whole process. One per process is enough; several agree only as far as the wall clock does.
///
/// It is asked many times per event, from all threads: while the wall clock runs forward, that is one atomic read.
#[derive(Debug)]
pub struct SystemClock {
    /// The latest millisecond that was answered.
    last_ms: AtomicI64,
    /// Where it goes on from while the wall clock is behind; `None` while it is not.
    behind: Mutex<Option<Reading>>,
    /// How far what was agreed on is ahead of the wall clock, in microseconds.
    ahead_us: AtomicI64,
    has_agreed: AtomicBool,
}

/// Smaller differences are the way of the answer, not the clock.
const NOISE_US: u64 = 50_000;

/// What was answered, and when by the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    time_us: i64,
    taken: Instant,
}

impl SystemClock {
    /// Starts from the wall clock as it stands.
    pub fn start() -> Self {
        Self::from(wall_us())
    }

    fn from(wall_us: i64) -> Self {
        let (last_ms, behind) = (AtomicI64::new(wall_us / 1_000), Mutex::new(None));
        Self { last_ms, behind, ahead_us: AtomicI64::new(0), has_agreed: AtomicBool::new(false) }
    }

    fn agree_at(&self, now_ms: i64, wall_us: i64) {
        let ahead_us = now_ms.saturating_mul(1_000).saturating_sub(wall_us);
        if !self.has_agreed.swap(true, Ordering::Relaxed) {
            self.ahead_us.store(ahead_us, Ordering::Relaxed);
            self.last_ms.store(now_ms, Ordering::Relaxed);
        } else if ahead_us.abs_diff(self.ahead_us.load(Ordering::Relaxed)) > NOISE_US {
            self.ahead_us.store(ahead_us, Ordering::Relaxed);
        }
    }

    /// Answers a time that is not before the latest, and remembers it.
    fn answer(&self, time_ms: i64) -> i64 {
        // Written once a millisecond only: every write takes the value out of the caches of the other cores.
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        if time_ms > last_ms { self.last_ms.fetch_max(time_ms, Ordering::Relaxed).max(time_ms) } else { last_ms }
    }

    fn read(&self, wall_us: i64) -> i64 {
        let wall_us = wall_us.saturating_add(self.ahead_us.load(Ordering::Relaxed));
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        // Two threads may read the wall clock in one order and come here in the other: a millisecond is no step back.
        if wall_us / 1_000 + 1 >= last_ms {
            return self.answer(wall_us / 1_000);
        }
        let mut behind = self.behind.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let taken = Instant::now();
        let from = behind.filter(|reading| reading.time_us / 1_000 >= last_ms);
        let from = from.unwrap_or(Reading { time_us: last_ms * 1_000, taken });
        let time_us = follow(from.time_us, taken.saturating_duration_since(from.taken), wall_us);
        *behind = (time_us > wall_us).then_some(Reading { time_us, taken });
        self.answer(time_us / 1_000)
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        self.read(wall_us())
    }

    fn agree(&self, now_ms: i64) {
        self.agree_at(now_ms, wall_us());
    }
}

/// The next reading after `last_us`, `elapsed` later, while the wall clock says `wall_us`.
fn follow(last_us: i64, elapsed: Duration, wall_us: i64) -> i64 {
    let at_half_speed = i64::try_from(elapsed.as_micros() / 2).unwrap_or(i64::MAX);
    wall_us.max(last_us.saturating_add(at_half_speed))
}

#[expect(clippy::disallowed_methods, reason = "this is the door that time comes through")]
fn wall_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn follows_the_wall_clock_and_its_steps_forward() {
        assert_eq!(follow(1_000_000, SECOND, 2_000_000), 2_000_000);
        assert_eq!(follow(1_000_000, SECOND, 9_000_000_000), 9_000_000_000);
    }

    #[test]
    fn a_step_back_slows_it_down_until_the_wall_clock_has_caught_up() {
        let (mut ours, mut wall) = (100_000_000, 90_000_000);
        for _ in 0..20 {
            wall += 1_000_000;
            let next = follow(ours, SECOND, wall);
            assert!(next >= ours + 500_000, "it stood still or ran back: {ours} -> {next}");
            ours = next;
        }
        assert_eq!(ours, wall);
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_back_wall_clock_is_not_seen() {
        let clock = SystemClock::from(0);
        assert_eq!(clock.read(100_000_000), 100_000);
        let mut last_ms = 100_000;
        let mut wall_us = 90_000_000;
        for _ in 0..30 {
            tokio::time::advance(SECOND).await;
            wall_us += 1_000_000;
            let now_ms = clock.read(wall_us);
            assert!(now_ms >= last_ms, "{last_ms} -> {now_ms}");
            last_ms = now_ms;
        }
        assert_eq!(last_ms, wall_us / 1_000, "it has caught up");
        tokio::time::advance(SECOND * 3600).await;
        assert_eq!(clock.read(wall_us - 60_000_000), last_ms, "an hour of running forward is not made up for at the next step back");
    }

    /// A machine whose clock is five minutes off says what the others say, and follows them when they agree anew.
    #[tokio::test(start_paused = true)]
    async fn nodes_agree_on_the_time() {
        let mut wall_us = 400_000_000;
        let clock = SystemClock::from(wall_us);
        clock.agree_at(100_000, wall_us);
        assert_eq!(clock.read(wall_us), 100_000, "the first agreement is taken at once");
        wall_us += 1_000_000;
        clock.agree_at(101_020, wall_us);
        assert_eq!(clock.read(wall_us), 101_000, "noise");
        clock.agree_at(131_000, wall_us);
        assert_eq!(clock.read(wall_us), 131_000, "forward at once");
        clock.agree_at(121_000, wall_us);
        let mut last_ms = clock.read(wall_us);
        for _ in 0..10 {
            tokio::time::advance(SECOND).await;
            wall_us += 1_000_000;
            let now_ms = clock.read(wall_us);
            assert!(now_ms > last_ms && now_ms <= last_ms + 1_000, "{last_ms} -> {now_ms}");
            last_ms = now_ms;
        }
        for _ in 0..15 {
            tokio::time::advance(SECOND).await;
            wall_us += 1_000_000;
            last_ms = clock.read(wall_us);
        }
        assert_eq!(last_ms, 146_000, "back at half speed, until it says the same");
    }

    #[test]
    fn readings_never_run_backwards() {
        let clock = SystemClock::start();
        let first = clock.now_ms();
        assert!(first > 1_700_000_000_000);
        assert!(clock.now_ms() >= first);
    }
}
