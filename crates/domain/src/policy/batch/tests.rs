//! Batches against a ledger of who joined what.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn limits(events: u32, bytes: u64, wait_ms: u64) -> Batch {
    Batch { events, bytes, wait: Duration::from_millis(wait_ms) }
}

#[test]
fn closes_by_count() {
    let mut batcher = Batcher::new(limits(2, 1000, 5000));
    let first = batcher.join(1, 10, 100, || 7);
    assert_eq!(first, Joined { batch_key: 7, opened: true, closed: false, closed_before: None, due_ms: 5100 });
    let second = batcher.join(2, 10, 200, || unreachable!());
    assert_eq!(second, Joined { batch_key: 7, opened: false, closed: true, closed_before: None, due_ms: 200 });
    assert_eq!(batcher.due_ms(), None);
    assert_eq!(batcher.close_due(i64::MAX), None);
}

#[test]
fn a_member_that_would_overflow_opens_the_next() {
    let mut batcher = Batcher::new(limits(100, 1000, 5000));
    let _ = batcher.join(1, 600, 0, || 1);
    let joined = batcher.join(2, 600, 1, || 2);
    assert_eq!(joined.closed_before, Some(Closed { key: 1, events: 1, bytes: 600, last_sequence: Some(1) }));
    assert_eq!((joined.batch_key, joined.opened, joined.closed), (2, true, false));
    // Larger than a whole batch: alone, and at once.
    let giant = batcher.join(3, 5000, 2, || 3);
    assert_eq!(giant.closed_before.map(|closed| closed.key), Some(2));
    assert_eq!((giant.batch_key, giant.opened, giant.closed), (3, true, true));
}

// Incident 21 of the needs list.
#[test]
fn an_event_that_meets_the_closing_window() {
    let mut batcher = Batcher::new(limits(100, 1000, 5000));
    let _ = batcher.join(1, 1, 0, || 1);
    // The event comes first, although the batch is due: the timer finds nothing more to do.
    let late = batcher.join(2, 1, 5000, || 2);
    assert_eq!(late.closed_before.map(|closed| closed.key), Some(1));
    assert_eq!(late.batch_key, 2);
    assert_eq!(batcher.close_due(5000), None);
    // The timer comes first, twice.
    assert_eq!(batcher.close_due(10_000).map(|closed| closed.key), Some(2));
    assert_eq!(batcher.close_due(10_000), None);
    assert_eq!(batcher.join(3, 1, 10_000, || 3).batch_key, 3);
}

#[test]
fn goes_on_after_a_restart() {
    let mut batcher = Batcher::new(limits(3, 1000, 5000));
    let _ = batcher.join(1, 5, 100, || 1);
    let _ = batcher.join(2, 5, 200, || 1);
    let text = serde_json::to_string(batcher.open().unwrap()).unwrap();
    let mut again = Batcher::restore(limits(3, 1000, 5000), serde_json::from_str(&text).unwrap());
    assert_eq!(again.due_ms(), Some(5100));
    let joined = again.join(3, 5, 300, || unreachable!());
    assert_eq!((joined.batch_key, joined.opened, joined.closed), (1, false, true));
}

#[test]
fn follows_new_limits_and_clocks() {
    let mut batcher = Batcher::new(limits(100, 1000, 5000));
    let _ = batcher.join(1, 5, 3_600_000, || 1);
    let _ = batcher.join(2, 5, 3_600_000, || 1);
    assert_eq!(batcher.close_due(0), None);
    assert_eq!(batcher.due_ms(), Some(5000), "the clock went back an hour");
    batcher.set_limits(limits(2, 1000, 5000));
    assert_eq!(batcher.close_due(1).map(|closed| closed.events), Some(2));
}

#[derive(Debug, Clone)]
enum Step {
    Join(u32),
    Timer,
    Pass(i64),
    Restart,
    LostCommit(u32),
}

proptest! {
    /// The ledger knows for each key who joined, and whether it was reported closed. Every event is
    /// in exactly one batch; no batch is over a limit or closed twice; nothing stays open beyond
    /// its time; what a failed commit undid leaves no trace.
    #[test]
    fn every_event_is_in_exactly_one_batch(
        events in 1..6_u32,
        bytes in 1..200_u64,
        wait in 1..100_u64,
        steps in prop::collection::vec(prop_oneof![
            6 => (0..150_u32).prop_map(Step::Join),
            2 => Just(Step::Timer),
            3 => (0..60_i64).prop_map(Step::Pass),
            1 => Just(Step::Restart),
            1 => (0..150_u32).prop_map(Step::LostCommit),
        ], 0..300),
    ) {
        let limits = limits(events, bytes, wait);
        let mut batcher = Batcher::new(limits);
        let mut members: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        let mut opened_ms: BTreeMap<u64, i64> = BTreeMap::new();
        let mut closed = Vec::new();
        let (mut now, mut sequence, mut keys) = (0_i64, 0_u64, 0_u64);
        for step in steps {
            match step {
                Step::Pass(millis) => now += millis,
                Step::Timer => closed.extend(batcher.close_due(now).map(|batch| batch.key)),
                Step::Restart => {
                    if let Some(open) = batcher.open() {
                        let stored = &members[&open.key];
                        prop_assert_eq!(open.events as usize, stored.len());
                        prop_assert_eq!(open.bytes, stored.iter().map(|(_, bytes)| bytes).sum::<u64>());
                        batcher = Batcher::restore(limits, *open);
                    }
                }
                Step::LostCommit(size) => {
                    let before = batcher.clone();
                    let _ = batcher.join(u64::MAX, size, now, || u64::MAX);
                    batcher = before;
                }
                Step::Join(size) => {
                    sequence += 1;
                    let joined = batcher.join(sequence, size, now, || {
                        keys += 1;
                        keys
                    });
                    closed.extend(joined.closed_before.map(|batch| batch.key));
                    prop_assert!(!closed.contains(&joined.batch_key), "joined a closed batch");
                    prop_assert_eq!(joined.opened, !members.contains_key(&joined.batch_key));
                    members.entry(joined.batch_key).or_default().push((sequence, u64::from(size)));
                    let opened = *opened_ms.entry(joined.batch_key).or_insert(now);
                    prop_assert!(now - opened < i64::try_from(wait).unwrap(), "joined too late");
                    if joined.closed {
                        closed.push(joined.batch_key);
                    } else {
                        prop_assert_eq!(Some(joined.due_ms), batcher.due_ms());
                    }
                }
            }
            if let Some(due) = batcher.due_ms() {
                prop_assert!(due <= now + i64::try_from(wait).unwrap());
            }
        }
        closed.extend(batcher.close_due(i64::MAX).map(|batch| batch.key));
        closed.sort_unstable();
        let all: Vec<u64> = members.keys().copied().collect();
        prop_assert_eq!(closed, all, "closed each once, and all");
        let joined: Vec<u64> = members.values().flatten().map(|(sequence, _)| *sequence).collect();
        prop_assert_eq!(joined, (1..=sequence).collect::<Vec<u64>>());
        for batch in members.values() {
            prop_assert!(batch.len() <= events as usize);
            let total: u64 = batch.iter().map(|(_, bytes)| bytes).sum();
            prop_assert!(total <= bytes || batch.len() == 1);
        }
    }
}
