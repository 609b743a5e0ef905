//! What a writer commits together: the rules, without waiting.
//!
//! A group is everything that waits, but for outcomes that nobody waits for. Those wait a moment for an append to share its flush with: a flush
//! of their own would make the next append wait. Beside an append they take no more room than it does, or [`OUTCOMES`] if that is more. So
//! whoever appends waits for the commit of a few outcomes at most, however many there are: those of a backlog, say, that was worked off alone
//! until now. How many there can be is bounded by whoever settles.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Append, Settlement};

/// Commands in one group, but for outcomes that have time.
const COMMANDS: usize = 2048;
/// Payload bytes in one group, unless one command alone has more.
const BYTES: usize = 16 << 20;
/// How long outcomes wait for an append.
const COMPANY: Duration = Duration::from_millis(5);
/// Outcomes that have time in one group, unless one command alone has more, or the appends have more events and deliveries: about two milliseconds
/// of work.
const OUTCOMES: usize = 128;

/// What a command weighs in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Bytes of payloads and answers.
    pub bytes: usize,
    /// New events and their deliveries.
    pub rows: usize,
    /// Outcomes.
    pub outcomes: usize,
    /// Whether nobody waits for it.
    pub has_time: bool,
}

impl Weight {
    /// Of new events.
    pub(crate) fn of_append(append: &Append) -> Self {
        let each = append.events.iter().map(|event| (event.payload.len(), 1 + event.deliveries.len()));
        let (bytes, rows) = each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Self { bytes, rows, ..Self::default() }
    }

    /// Of outcomes.
    pub(crate) fn of_outcomes(outcomes: &[Settlement]) -> Self {
        Self {
            bytes: outcomes.iter().filter_map(|outcome| outcome.attempt.as_ref()).map(|attempt| attempt.response_body.len()).sum(),
            rows: 0,
            outcomes: outcomes.len(),
            has_time: outcomes.iter().all(|outcome| !outcome.is_awaited),
        }
    }
}

/// What writers are asked to do.
pub(crate) trait Weighed {
    /// What it weighs; `None`: it shares its commit with nothing.
    fn weight(&self) -> Option<Weight>;
}

/// A group that grows.
pub(crate) struct Gathering<C> {
    group: Vec<C>,
    sum: Weight,
    /// Outcomes that have time, in their order.
    patient: VecDeque<(C, Weight)>,
    /// How many outcomes that is.
    outcomes: usize,
    /// Until when the first of them waits.
    patience: Instant,
    /// A command that shares its commit with nothing waits for all before it.
    alone: Option<C>,
}

/// What the group waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The first command, however long it takes.
    First,
    /// The next command, until then.
    Until(Instant),
    /// What is there already.
    Present,
    /// Nothing more.
    Nothing,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work<C> {
    /// Commit the group.
    Group,
    /// Do this.
    Alone(C),
}

impl<C: Weighed> Gathering<C> {
    /// Nothing waits.
    pub(crate) fn new(now: Instant) -> Self {
        Self { group: Vec::new(), sum: Weight::default(), patient: VecDeque::new(), outcomes: 0, patience: now, alone: None }
    }

    /// What to wait for before [`Self::take`].
    pub(crate) fn wanted(&self) -> Wanted {
        if self.alone.is_some() || self.group.len() >= COMMANDS || self.sum.bytes >= BYTES {
            Wanted::Nothing
        } else if !self.group.is_empty() || self.outcomes >= OUTCOMES {
            Wanted::Present
        } else if self.patient.is_empty() {
            Wanted::First
        } else {
            Wanted::Until(self.patience)
        }
    }

    /// A command came.
    pub(crate) fn add(&mut self, command: C, now: Instant) {
        match command.weight() {
            Some(weight) if weight.has_time => {
                if self.patient.is_empty() {
                    self.patience = now + COMPANY;
                }
                self.outcomes += weight.outcomes;
                self.patient.push_back((command, weight));
            }
            Some(weight) => {
                self.sum.bytes += weight.bytes;
                self.sum.rows += weight.rows;
                self.group.push(command);
            }
            None => self.alone = Some(command),
        }
    }

    /// What is to be done now. A group is moved to `group`, which is empty.
    pub(crate) fn take(&mut self, group: &mut Vec<C>) -> Work<C> {
        let Weight { mut bytes, rows, .. } = std::mem::take(&mut self.sum);
        group.append(&mut self.group);
        let mut room = rows.max(OUTCOMES);
        let mut is_first = true;
        while let Some((command, weight)) = self.patient.pop_front_if(|(_, weight)| is_first || (weight.outcomes <= room && bytes < BYTES))
        {
            is_first = false;
            room = room.saturating_sub(weight.outcomes);
            bytes += weight.bytes;
            self.outcomes -= weight.outcomes;
            group.push(command);
        }
        self.alone.take_if(|_| group.is_empty()).map_or(Work::Group, Work::Alone)
    }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::delivery::DeliveryState;
    use posthaste_domain::id::DeliveryKey;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Named(&'static str, Option<Weight>);

    impl Weighed for Named {
        fn weight(&self) -> Option<Weight> {
            self.1
        }
    }

    fn append(rows: usize) -> Named {
        Named("append", Some(Weight { rows, bytes: rows, ..Weight::default() }))
    }

    fn outcomes(name: &'static str, outcomes: usize) -> Named {
        Named(name, Some(Weight { outcomes, has_time: true, ..Weight::default() }))
    }

    fn names(gathering: &mut Gathering<Named>) -> Vec<&'static str> {
        let mut group = Vec::new();
        match gathering.take(&mut group) {
            Work::Group => group.iter().map(|command| command.0).collect(),
            Work::Alone(command) => vec![command.0],
        }
    }

    #[test]
    fn outcomes_alone_wait_for_an_append() {
        let now = Instant::now();
        let mut gathering = Gathering::new(now);
        assert_eq!(gathering.wanted(), Wanted::First);
        gathering.add(outcomes("first", 1), now);
        gathering.add(outcomes("second", 1), now + COMPANY / 2);
        assert_eq!(gathering.wanted(), Wanted::Until(now + COMPANY), "the first one waited for longest");
        gathering.add(append(1), now);
        assert_eq!(gathering.wanted(), Wanted::Present, "an append waits for nobody");
        assert_eq!(names(&mut gathering), ["append", "first", "second"]);
        assert_eq!(gathering.wanted(), Wanted::First);
    }

    #[test]
    fn beside_an_append_only_some_outcomes_are_committed() {
        let now = Instant::now();
        let mut gathering = Gathering::new(now);
        ["a", "b", "c", "d"].into_iter().for_each(|name| gathering.add(outcomes(name, OUTCOMES / 2), now));
        assert_eq!(gathering.wanted(), Wanted::Present, "there are enough for a commit");
        gathering.add(append(1), now);
        assert_eq!(names(&mut gathering), ["append", "a", "b"]);
        gathering.add(append(OUTCOMES / 2 * 3), now);
        gathering.add(outcomes("e", 1), now);
        assert_eq!(names(&mut gathering), ["append", "c", "d", "e"], "as many as it has rows");
    }

    #[test]
    fn a_list_that_is_too_long_is_committed_whole() {
        let mut gathering = Gathering::new(Instant::now());
        gathering.add(outcomes("long", OUTCOMES * 9), Instant::now());
        gathering.add(outcomes("next", 1), Instant::now());
        assert_eq!(names(&mut gathering), ["long"]);
        assert_eq!(names(&mut gathering), ["next"]);
    }

    #[test]
    fn what_shares_nothing_waits_for_all_before_it() {
        let mut gathering = Gathering::new(Instant::now());
        ["a", "b"].into_iter().for_each(|name| gathering.add(outcomes(name, OUTCOMES), Instant::now()));
        gathering.add(Named("close", None), Instant::now());
        assert_eq!(gathering.wanted(), Wanted::Nothing);
        assert_eq!([names(&mut gathering), names(&mut gathering), names(&mut gathering)], [["a"], ["b"], ["close"]]);
        assert_eq!(gathering.wanted(), Wanted::First);
    }

    #[test]
    fn a_group_has_its_bounds() {
        let mut gathering = Gathering::new(Instant::now());
        gathering.add(append(BYTES), Instant::now());
        assert_eq!(gathering.wanted(), Wanted::Nothing);
        assert_eq!(names(&mut gathering), ["append"]);
        (0..COMMANDS).for_each(|_| gathering.add(append(1), Instant::now()));
        assert_eq!(gathering.wanted(), Wanted::Nothing);
    }

    #[test]
    fn only_outcomes_that_nobody_waits_for_have_time() {
        let outcome = |is_awaited| Settlement {
            key: DeliveryKey(1),
            target: 1,
            attempt: None,
            state: DeliveryState::Delivered,
            due_ms: 0,
            at_ms: 1,
            is_awaited,
        };
        assert!(Weight::of_outcomes(&[outcome(false), outcome(false)]).has_time);
        assert!(!Weight::of_outcomes(&[outcome(false), outcome(true)]).has_time);
        assert!(!Weight::of_append(&Append::default()).has_time);
    }
}
