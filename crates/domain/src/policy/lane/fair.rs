//! Whose turn it is: workspaces in turn, and within each its lanes in turn.
//!
//! Deficit round robin: each turn a workspace is given [`FairSettings::quantum`] units, and may start
//! deliveries until it has spent them; what a delivery cost (its bytes, say) is told after it was started,
//! so a workspace may overdraw, and then sits out turns until it has paid. Small deliveries of one workspace
//! are thus not held up by large ones of another.
//!
//! In flight at once are at most [`FairSettings::in_flight`]. Slots are shared in proportion to what
//! is free: a workspace may hold at most [`SHARE`] times the free ones. Alone it gets four fifths of all,
//! two get four ninths each, and there is always one left for whoever comes next: a
//! workspace whose targets all hang cannot take the last.
//!
//! A lane is *ready* until the shell has asked it and heard that it has nothing to run; then it is taken
//! off with [`Fair::not_ready`] and put back when something happens. Memory: one entry for each ready
//! lane, and one for each workspace with ready lanes or deliveries in flight; a debt ends with it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many times the free slots one workspace may hold.
pub const SHARE: u32 = 4;

/// The most turns that one delivery can cost, however large it was.
const DEBT_TURNS: i64 = 16;

/// The numbers of a [`Fair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FairSettings {
    /// Deliveries in flight at once, over all workspaces.
    pub in_flight: u32,
    /// Units of cost that a workspace may spend in one turn.
    pub quantum: u32,
}

impl Default for FairSettings {
    /// 1024 in flight; 64 KiB a turn.
    fn default() -> Self {
        Self { in_flight: 1024, quantum: 64 << 10 }
    }
}

/// The scheduler over all lanes. See the module page.
#[derive(Debug)]
pub struct Fair<W, L> {
    settings: FairSettings,
    turns: VecDeque<W>,
    workspaces: BTreeMap<W, Workspace<L>>,
    in_flight: u32,
}

#[derive(Debug)]
struct Workspace<L> {
    turns: VecDeque<L>,
    ready: BTreeSet<L>,
    /// Units left in this turn; negative: owed.
    credit: i64,
    in_flight: u32,
}

impl<W: Ord + Copy, L: Ord + Copy> Fair<W, L> {
    /// Nobody is ready.
    #[must_use]
    pub fn new(settings: FairSettings) -> Self {
        Self { settings, turns: VecDeque::new(), workspaces: BTreeMap::new(), in_flight: 0 }
    }

    /// A lane may have something to run. Saying so twice is harmless.
    pub fn ready(&mut self, workspace: W, lane: L) {
        let entry = self.entry(workspace);
        if entry.ready.insert(lane) {
            entry.turns.push_back(lane);
            if entry.turns.len() == 1 {
                self.turns.push_back(workspace);
            }
        }
    }

    /// A lane has nothing to run for now.
    pub fn not_ready(&mut self, workspace: W, lane: L) {
        let Some(entry) = self.workspaces.get_mut(&workspace) else { return };
        if !entry.ready.remove(&lane) {
            return;
        }
        // Nearly always the lane that was named last, which is at the end.
        if entry.turns.back() == Some(&lane) {
            entry.turns.pop_back();
        } else {
            entry.turns.retain(|other| *other != lane);
        }
        if entry.turns.is_empty() {
            self.turns.retain(|other| *other != workspace);
            self.forget_idle(workspace);
        }
    }

    /// The lane to ask next. `None`: nobody is ready, or nobody may start before something
    /// finishes. The same lane is named again only after the others of its workspace. The shell
    /// answers with [`Fair::started`] or [`Fair::not_ready`] before it asks again.
    pub fn next_lane(&mut self) -> Option<(W, L)> {
        let quantum = self.quantum();
        let free = self.settings.in_flight.saturating_sub(self.in_flight);
        let mut refused = 0;
        // Ends: each round either gives every debtor a quantum, and debts are bounded, or refuses all.
        while refused < self.turns.len() {
            let workspace = *self.turns.front()?;
            let entry = self.workspaces.get_mut(&workspace)?;
            if entry.in_flight >= free.saturating_mul(SHARE) {
                refused += 1;
            } else if entry.credit > 0 {
                entry.turns.rotate_left(1);
                return entry.turns.back().map(|lane| (workspace, *lane));
            } else {
                refused = 0;
                entry.credit = entry.credit.saturating_add(quantum);
            }
            self.turns.rotate_left(1);
        }
        None
    }

    /// A delivery of `workspace` was started, at this cost.
    pub fn started(&mut self, workspace: W, cost: u32) {
        let most_owed = DEBT_TURNS * self.quantum();
        self.in_flight = self.in_flight.saturating_add(1);
        let entry = self.entry(workspace);
        entry.in_flight = entry.in_flight.saturating_add(1);
        entry.credit = entry.credit.saturating_sub(i64::from(cost.max(1))).max(-most_owed);
    }

    /// A delivery of `workspace` has ended.
    pub fn finished(&mut self, workspace: W) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(entry) = self.workspaces.get_mut(&workspace) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
        self.forget_idle(workspace);
    }

    /// Deliveries in flight, over all workspaces.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn quantum(&self) -> i64 {
        i64::from(self.settings.quantum.max(1))
    }

    fn entry(&mut self, workspace: W) -> &mut Workspace<L> {
        let credit = self.quantum();
        let fresh = || Workspace { turns: VecDeque::new(), ready: BTreeSet::new(), credit, in_flight: 0 };
        self.workspaces.entry(workspace).or_insert_with(fresh)
    }

    fn forget_idle(&mut self, workspace: W) {
        if self.workspaces.get(&workspace).is_some_and(|entry| entry.turns.is_empty() && entry.in_flight == 0) {
            self.workspaces.remove(&workspace);
        }
    }
}
