//! The one [`Pace`] of all shards, and the clock that it goes by.

use std::time::Duration;

use parking_lot::Mutex;
use posthaste_domain::policy::lane::{Pace, PaceSettings, Room};
use tokio::time::Instant;

/// Late deliveries that may start in a second for each core, whatever live ones feel: about a fortieth of its time.
const LEAST_PER_CORE: u32 = 250;
/// The same, beside live ones that feel nothing of it: about a twentieth. Four times as many move the p99 of live ones by a third.
const MOST_PER_CORE: u32 = 500;

/// How fast late lanes may go, for all shards together.
#[derive(Debug)]
pub(crate) struct Yielding {
    since: Instant,
    pace: Mutex<Pace>,
}

impl Yielding {
    /// On a machine with so many cores.
    pub fn new(cores: usize) -> Self {
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        let (least, most) = (cores.saturating_mul(LEAST_PER_CORE), cores.saturating_mul(MOST_PER_CORE));
        let pace = Pace::new(PaceSettings { least, most, ..PaceSettings::default() });
        Self { since: Instant::now(), pace: Mutex::new(pace) }
    }

    /// What a turn of a shard saw: since when the live deliveries were on disk that it started, and how many came in for late lanes.
    pub(super) fn saw(&self, live_since: Option<Instant>, late_came: u32) {
        if live_since.is_none() && late_came == 0 {
            return;
        }
        let now = Instant::now();
        let now_us = self.us(now);
        let mut pace = self.pace.lock();
        if let Some(since) = live_since {
            pace.live(micros(now.duration_since(since)), now_us);
        }
        if late_came > 0 {
            pace.came(late_came, now_us);
        }
    }

    /// How many late deliveries may start; or when to ask again.
    pub(super) fn room(&self) -> Result<u32, Instant> {
        match self.pace.lock().room(self.us(Instant::now())) {
            Room::All => Ok(u32::MAX),
            Room::Some(count) => Ok(count),
            Room::Until(at_us) => Err(self.since + Duration::from_micros(at_us.unsigned_abs())),
        }
    }

    /// So many late deliveries started.
    pub(super) fn started(&self, count: u32) {
        self.pace.lock().started(count);
    }

    /// Late deliveries that may start in a second; `None`: no limit.
    pub fn limit(&self) -> Option<u32> {
        self.pace.lock().limit(self.us(Instant::now()))
    }

    fn us(&self, at: Instant) -> i64 {
        micros(at.duration_since(self.since))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
