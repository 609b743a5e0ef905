//! How fast late lanes may be worked off beside live ones.
//!
//! Work that has waited for long can wait a little more; what has just come in cannot. While live lanes have something to send, late ones
//! may start only so many attempts a second, spread evenly. How many is found out: the shell tells how long live deliveries waited
//! for their start after they were on disk. As long as nearly none waited longer than [`PaceSettings::patience_us`], the pace doubles
//! within a second if late lanes use it up; when more than one in a hundred did, it is halved, up to ten times a second. That
//! is the processor's load, whoever makes it: targets that are far away cost little, and late lanes send to them as fast as ever.
//!
//! It never grows beyond [`PaceSettings::most`]: not all that late ones cost shows in how long live ones wait for their start. A commit that they
//! cause is waited for as well, and so is whoever shares the machine with this server.
//!
//! It never goes below [`PaceSettings::least`], nor below five fourths of what comes in for late lanes meanwhile: a lane that fell
//! behind for a moment catches up, however much comes in for it and for others. Alone, late lanes have no limit.
//!
//! One of these serves all shards, since they share the machine.

#[cfg(test)]
mod tests;

const SECOND_US: i64 = 1_000_000;

/// How often the pace is changed.
const STEP_US: i64 = 100_000;

/// What the pace grows by in a step: a doubling in ten.
const GROWTH: u32 = 14;

/// Of so many live deliveries one may wait for too long.
const ONE_OF: u64 = 100;

/// What a live delivery counts for. It is an eighth less with every step.
const WEIGHT: u64 = 1 << 10;

/// What may be saved up of the pace: more would be spent at once.
const SAVED_US: i64 = 2_000;

/// The numbers of a [`Pace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceSettings {
    /// Late deliveries that may start in a second, whatever the others feel. At least 1.
    pub least: u32,
    /// What the pace grows to at most.
    pub most: u32,
    /// How long a live delivery may wait for its start, in microseconds.
    pub patience_us: i64,
    /// How long after the last start of a live delivery late ones still take care, in microseconds.
    pub quiet_us: i64,
}

impl Default for PaceSettings {
    /// 1,000 a second, 4,000 a second, 1 ms, 1 s.
    fn default() -> Self {
        Self { least: 1_000, most: 4_000, patience_us: 1_000, quiet_us: SECOND_US }
    }
}

/// How many late deliveries may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// As many as there are.
    All,
    /// So many, at least one.
    Some(u32),
    /// None before this time.
    Until(i64),
}

/// The pace of late lanes. Times are microseconds of any clock that does not go back. See the module page.
#[derive(Debug)]
pub struct Pace {
    settings: PaceSettings,
    /// Starts in a second.
    per_second: u32,
    /// Saved up, in millionths of a start; negative: owed.
    saved: i64,
    saved_at_us: i64,
    last_live_us: Option<i64>,
    step_from_us: i64,
    /// Live deliveries of the last steps, and those of them that waited for too long; the older the less they count.
    live: u64,
    slow: u64,
    /// Live ones started in this step.
    has_live: bool,
    /// Late ones had to wait in this step.
    is_used: bool,
    /// What came in for late lanes in this step, and in a second as far as the last steps tell.
    came: u32,
    came_per_second: u32,
}

impl Pace {
    /// No live delivery has been seen.
    #[must_use]
    pub fn new(settings: PaceSettings) -> Self {
        Self {
            settings,
            per_second: settings.least.max(1),
            saved: 0,
            saved_at_us: 0,
            last_live_us: None,
            step_from_us: 0,
            live: 0,
            slow: 0,
            has_live: false,
            is_used: false,
            came: 0,
            came_per_second: 0,
        }
    }

    /// A live delivery started after it had waited so long.
    pub fn live(&mut self, waited_us: i64, now_us: i64) {
        self.step(now_us);
        self.last_live_us = Some(now_us);
        self.has_live = true;
        self.live += WEIGHT;
        if waited_us > self.settings.patience_us {
            self.slow += WEIGHT;
        }
    }

    /// Deliveries came in for late lanes.
    pub fn came(&mut self, count: u32, now_us: i64) {
        self.step(now_us);
        self.came = self.came.saturating_add(count);
    }

    /// How many late deliveries may start now.
    pub fn room(&mut self, now_us: i64) -> Room {
        self.step(now_us);
        let Some(per_second) = self.limit(now_us) else { return Room::All };
        let per_second = i64::from(per_second);
        let elapsed_us = now_us.saturating_sub(self.saved_at_us).clamp(0, SECOND_US);
        self.saved_at_us = now_us;
        let most = (per_second * SAVED_US).max(SECOND_US);
        self.saved = (self.saved + per_second * elapsed_us).min(most);
        if self.saved >= SECOND_US {
            return Room::Some(u32::try_from(self.saved / SECOND_US).unwrap_or(u32::MAX));
        }
        self.is_used = true;
        Room::Until(now_us + (SECOND_US - self.saved) / per_second + 1)
    }

    /// So many late deliveries started.
    pub fn started(&mut self, count: u32) {
        // What is owed is bounded: what started without a limit is not paid for later.
        self.saved = (self.saved - i64::from(count) * SECOND_US).max(-SECOND_US);
    }

    /// Late deliveries that may start in a second; `None`: no limit.
    #[must_use]
    pub fn limit(&self, now_us: i64) -> Option<u32> {
        self.last_live_us.filter(|at_us| now_us.saturating_sub(*at_us) < self.settings.quiet_us)?;
        Some(self.per_second.max(self.came_per_second.saturating_add(self.came_per_second / 4)))
    }

    /// Ends a step when it is over.
    fn step(&mut self, now_us: i64) {
        let elapsed_us = now_us.saturating_sub(self.step_from_us);
        if elapsed_us < STEP_US {
            return;
        }
        if self.has_live && self.slow * ONE_OF > self.live {
            self.per_second = (self.per_second / 2).max(self.settings.least).max(1);
            // What is to halve it again has to be seen anew.
            self.slow = 0;
        } else if self.is_used {
            let more = self.per_second.div_ceil(GROWTH);
            self.per_second = self.per_second.saturating_add(more).min(self.settings.most.max(self.settings.least));
        }
        for _ in 0..(elapsed_us / STEP_US).min(64) {
            (self.live, self.slow) = (self.live - self.live / 8, self.slow - self.slow / 8);
            self.came_per_second -= self.came_per_second / 4;
        }
        let came = i64::from(self.came) * SECOND_US / elapsed_us / 4;
        self.came_per_second = self.came_per_second.saturating_add(u32::try_from(came).unwrap_or(u32::MAX));
        (self.step_from_us, self.has_live, self.is_used, self.came) = (now_us, false, false, 0);
    }
}
