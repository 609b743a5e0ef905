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
//! Lanes are of two classes, and each has its own turns: *live* ones, which keep up with what comes in, and *late* ones, whose deliveries
//! have waited. The shell asks for live ones first, and decides by [`Pace`](super::Pace) how many late ones may start beside them.
//! Slots are counted over both.
//!
//! A lane is *ready* until the shell has asked it and heard that it has nothing to run; then it is taken
//! off with [`Fair::not_ready`] and put back when something happens. Memory: one entry for each ready
//! lane, and one for each workspace with ready lanes or deliveries in flight; a debt ends with it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque, btree_map};

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

/// Whether a lane keeps up with what comes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It does: its deliveries start soon after they came.
    #[default]
    Live,
    /// Its deliveries have waited: what they need can wait a little more.
    Late,
}

/// The scheduler over all lanes. See the module page.
#[derive(Debug)]
pub struct Fair<W, L> {
    settings: FairSettings,
    /// Of each class.
    turns: [VecDeque<W>; 2],
    workspaces: BTreeMap<W, Workspace<L>>,
    in_flight: u32,
}

#[derive(Debug)]
struct Workspace<L> {
    /// Of each class.
    lanes: [Turns<L>; 2],
    ready: BTreeMap<L, Class>,
    in_flight: u32,
}

#[derive(Debug)]
struct Turns<L> {
    lanes: VecDeque<L>,
    /// Units left in this turn; negative: owed.
    credit: i64,
}

impl<W: Ord + Copy, L: Ord + Copy> Fair<W, L> {
    /// Nobody is ready.
    #[must_use]
    pub fn new(settings: FairSettings) -> Self {
        Self { settings, turns: [VecDeque::new(), VecDeque::new()], workspaces: BTreeMap::new(), in_flight: 0 }
    }

    /// A lane may have something to run. Saying so twice is harmless; one that is ready already stays in its class.
    pub fn ready(&mut self, workspace: W, lane: L, class: Class) {
        let entry = self.entry(workspace);
        if let btree_map::Entry::Vacant(slot) = entry.ready.entry(lane) {
            slot.insert(class);
            let lanes = &mut entry.lanes[class as usize].lanes;
            lanes.push_back(lane);
            if lanes.len() == 1 {
                self.turns[class as usize].push_back(workspace);
            }
        }
    }

    /// A lane has nothing to run for now, or not in the class that it is ready in.
    pub fn not_ready(&mut self, workspace: W, lane: L) {
        let Some(entry) = self.workspaces.get_mut(&workspace) else { return };
        let Some(class) = entry.ready.remove(&lane) else { return };
        let lanes = &mut entry.lanes[class as usize].lanes;
        // Nearly always the lane that was named last, which is at the end.
        if lanes.back() == Some(&lane) {
            lanes.pop_back();
        } else {
            lanes.retain(|other| *other != lane);
        }
        if lanes.is_empty() {
            self.turns[class as usize].retain(|other| *other != workspace);
            self.forget_idle(workspace);
        }
    }

    /// The lane of a class to ask next. `None`: nobody of it is ready, or nobody may start before something
    /// finishes. The same lane is named again only after the others of its workspace. The shell
    /// answers with [`Fair::started`] or [`Fair::not_ready`] before it asks again.
    pub fn next_lane(&mut self, class: Class) -> Option<(W, L)> {
        let quantum = self.quantum();
        let free = self.settings.in_flight.saturating_sub(self.in_flight);
        let turns = &mut self.turns[class as usize];
        let mut refused = 0;
        // Ends: each round either gives every debtor a quantum, and debts are bounded, or refuses all.
        while refused < turns.len() {
            let workspace = *turns.front()?;
            let entry = self.workspaces.get_mut(&workspace)?;
            let own = &mut entry.lanes[class as usize];
            if entry.in_flight >= free.saturating_mul(SHARE) {
                refused += 1;
            } else if own.credit > 0 {
                own.lanes.rotate_left(1);
                return own.lanes.back().map(|lane| (workspace, *lane));
            } else {
                refused = 0;
                own.credit = own.credit.saturating_add(quantum);
            }
            turns.rotate_left(1);
        }
        None
    }

    /// A delivery of `workspace` was started, at this cost, by a lane of this class.
    pub fn started(&mut self, workspace: W, class: Class, cost: u32) {
        let most_owed = DEBT_TURNS * self.quantum();
        self.in_flight = self.in_flight.saturating_add(1);
        let entry = self.entry(workspace);
        entry.in_flight = entry.in_flight.saturating_add(1);
        let own = &mut entry.lanes[class as usize];
        own.credit = own.credit.saturating_sub(i64::from(cost.max(1))).max(-most_owed);
    }

    /// A delivery of `workspace` has ended.
    pub fn finished(&mut self, workspace: W) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(entry) = self.workspaces.get_mut(&workspace) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
        self.forget_idle(workspace);
    }

    /// Whether any lane of a class is ready.
    #[must_use]
    pub fn has_ready(&self, class: Class) -> bool {
        !self.turns[class as usize].is_empty()
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
        let turns = || Turns { lanes: VecDeque::new(), credit };
        self.workspaces.entry(workspace).or_insert_with(|| Workspace { lanes: [turns(), turns()], ready: BTreeMap::new(), in_flight: 0 })
    }

    fn forget_idle(&mut self, workspace: W) {
        if self.workspaces.get(&workspace).is_some_and(|entry| entry.ready.is_empty() && entry.in_flight == 0) {
            self.workspaces.remove(&workspace);
        }
    }
}
