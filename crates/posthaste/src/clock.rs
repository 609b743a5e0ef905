//! The real clock: the one place that reads the machine's time.
//!
//! Invariants: it never runs backwards, and it never stands still. It follows the wall clock; when somebody sets that back, it goes on
//! at half speed until the wall clock has caught up, so timers keep firing and times of receipt keep their order. A step forward (the
//! machine slept, or its clock was wrong) is taken at once, because receivers refuse signatures that are minutes old.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_domain::clock::Clock;
use tokio::time::Instant;

/// Wall-clock time for the whole process. One per process is enough; several agree only as far as the wall clock does.
#[derive(Debug)]
pub struct SystemClock {
    last: Mutex<Reading>,
}

/// What was answered last, and when by the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    time_us: i64,
    taken: Instant,
}

impl SystemClock {
    /// Starts from the wall clock as it stands.
    pub fn start() -> Self {
        Self { last: Mutex::new(Reading { time_us: wall_us(), taken: Instant::now() }) }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let mut last = self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let taken = Instant::now();
        let time_us = follow(last.time_us, taken.saturating_duration_since(last.taken), wall_us());
        *last = Reading { time_us, taken };
        time_us / 1_000
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

    #[test]
    fn readings_never_run_backwards() {
        let clock = SystemClock::start();
        let first = clock.now_ms();
        assert!(first > 1_700_000_000_000);
        assert!(clock.now_ms() >= first);
    }
}
