//! Turns, slots and debts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[test]
fn small_ones_are_not_held_up_by_large_ones() {
    let mut fair = Fair::new(FairSettings { in_flight: 1000, quantum: 100 });
    fair.ready('a', 1);
    fair.ready('b', 1);
    let mut spent = BTreeMap::from([('a', 0), ('b', 0)]);
    for _ in 0..1000 {
        let (workspace, _) = fair.next_lane().unwrap();
        let cost = if workspace == 'a' { 1000 } else { 10 };
        fair.started(workspace, cost);
        fair.finished(workspace);
        *spent.get_mut(&workspace).unwrap() += i64::from(cost);
    }
    assert!((spent[&'a'] - spent[&'b']).abs() <= 1200, "{spent:?}");
}

#[test]
fn a_workspace_that_hangs_leaves_room() {
    let mut fair = Fair::new(FairSettings { in_flight: 100, quantum: 100 });
    for lane in 0..50 {
        fair.ready('a', lane);
    }
    while let Some((workspace, _)) = fair.next_lane() {
        fair.started(workspace, 1);
    }
    assert_eq!(fair.in_flight(), 80, "four fifths for one alone");
    fair.ready('b', 0);
    assert_eq!(fair.next_lane(), Some(('b', 0)));
}

proptest! {
    /// The model counts: never more in flight than allowed; whoever is ready comes within one
    /// round of the others' turns; nothing is named that is not ready; nothing stays behind.
    #[test]
    fn everyone_has_a_turn(
        cap in 1..30_u32,
        steps in prop::collection::vec((0..6_u8, 0..4_u8, 0..4_u8, 1..200_u32), 0..400),
    ) {
        let mut fair = Fair::new(FairSettings { in_flight: cap, quantum: 50 });
        let mut ready: BTreeSet<(u8, u8)> = BTreeSet::new();
        let mut out: Vec<u8> = Vec::new();
        for (kind, workspace, lane, cost) in steps {
            match kind {
                0 | 1 => {
                    fair.ready(workspace, lane);
                    ready.insert((workspace, lane));
                }
                2 => {
                    fair.not_ready(workspace, lane);
                    ready.remove(&(workspace, lane));
                }
                3 if !out.is_empty() => fair.finished(out.remove(usize::from(lane) % out.len())),
                _ => match fair.next_lane() {
                    Some(named) => {
                        prop_assert!(ready.contains(&named));
                        fair.started(named.0, cost);
                        out.push(named.0);
                    }
                    None => {
                        let free = cap - u32::try_from(out.len()).unwrap();
                        for (workspace, _) in &ready {
                            let theirs = out.iter().filter(|other| *other == workspace).count();
                            prop_assert!(theirs >= 4 * free as usize, "refused without need");
                        }
                    }
                },
            }
            prop_assert!(out.len() <= cap as usize);
            prop_assert_eq!(fair.in_flight() as usize, out.len());
        }
        for workspace in out {
            fair.finished(workspace);
        }
        // From here on everything is ready and ends at once: all lanes are named soon.
        let mut missing = ready.clone();
        for _ in 0..2000 {
            let Some(named) = fair.next_lane() else { break };
            missing.remove(&named);
            fair.started(named.0, 50);
            fair.finished(named.0);
        }
        prop_assert_eq!(missing, BTreeSet::new());
        for (workspace, lane) in ready {
            fair.not_ready(workspace, lane);
        }
        prop_assert_eq!(fair.next_lane(), None);
    }
}
