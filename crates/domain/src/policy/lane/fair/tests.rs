//! Turns, slots and debts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[test]
fn small_ones_are_not_held_up_by_large_ones() {
    let mut fair = Fair::new(FairSettings { in_flight: 1000, quantum: 100 });
    fair.ready('a', 1, Class::Live);
    fair.ready('b', 1, Class::Live);
    let mut spent = BTreeMap::from([('a', 0), ('b', 0)]);
    for _ in 0..1000 {
        let (workspace, _) = fair.next_lane(Class::Live).unwrap();
        let cost = if workspace == 'a' { 1000 } else { 10 };
        fair.started(workspace, Class::Live, cost);
        fair.finished(workspace);
        *spent.get_mut(&workspace).unwrap() += i64::from(cost);
    }
    assert!((spent[&'a'] - spent[&'b']).abs() <= 1200, "{spent:?}");
}

#[test]
fn a_workspace_that_hangs_leaves_room() {
    let mut fair = Fair::new(FairSettings { in_flight: 100, quantum: 100 });
    for lane in 0..50 {
        fair.ready('a', lane, Class::Live);
    }
    while let Some((workspace, _)) = fair.next_lane(Class::Live) {
        fair.started(workspace, Class::Live, 1);
    }
    assert_eq!(fair.in_flight(), 80, "four fifths for one alone");
    fair.ready('b', 0, Class::Live);
    assert_eq!(fair.next_lane(Class::Live), Some(('b', 0)));
}

#[test]
fn classes_have_turns_of_their_own_and_share_the_slots() {
    let mut fair = Fair::new(FairSettings { in_flight: 10, quantum: 100 });
    fair.ready('a', 1, Class::Late);
    fair.ready('a', 2, Class::Live);
    fair.ready('a', 1, Class::Live);
    assert!(fair.has_ready(Class::Live) && fair.has_ready(Class::Late));
    assert_eq!(fair.next_lane(Class::Late), Some(('a', 1)), "it stays in its class while it is ready");
    // However much late ones have spent, live ones of the workspace owe nothing.
    for _ in 0..8 {
        fair.started('a', Class::Late, 1000);
    }
    assert_eq!(fair.next_lane(Class::Live), None, "eight of ten slots are taken, which is all that one workspace gets");
    fair.ready('b', 7, Class::Live);
    assert_eq!(fair.next_lane(Class::Live), Some(('b', 7)));
    fair.finished('a');
    assert_eq!(fair.next_lane(Class::Live).map(|(_, lane)| lane), Some(7), "turns go on");
    fair.started('b', Class::Live, 1);
    fair.not_ready('b', 7);
    fair.finished('a');
    assert_eq!(fair.next_lane(Class::Live), Some(('a', 2)));
    fair.not_ready('a', 2);
    assert!(!fair.has_ready(Class::Live));
    fair.not_ready('a', 1);
    fair.ready('a', 1, Class::Live);
    assert!(fair.has_ready(Class::Live) && !fair.has_ready(Class::Late), "and may change it when it is not");
}

proptest! {
    /// The model counts: never more in flight than allowed; whoever is ready comes within one
    /// round of the others' turns; nothing is named that is not ready; nothing stays behind.
    #[test]
    fn everyone_has_a_turn(
        cap in 1..30_u32,
        steps in prop::collection::vec((0..6_u8, 0..4_u8, 0..4_u8, 1..200_u32, any::<bool>()), 0..400),
    ) {
        let mut fair = Fair::new(FairSettings { in_flight: cap, quantum: 50 });
        let mut ready: BTreeMap<(u8, u8), Class> = BTreeMap::new();
        let mut out: Vec<u8> = Vec::new();
        for (kind, workspace, lane, cost, is_late) in steps {
            let class = if is_late { Class::Late } else { Class::Live };
            match kind {
                0 | 1 => {
                    fair.ready(workspace, lane, class);
                    ready.entry((workspace, lane)).or_insert(class);
                }
                2 => {
                    fair.not_ready(workspace, lane);
                    ready.remove(&(workspace, lane));
                }
                3 if !out.is_empty() => fair.finished(out.remove(usize::from(lane) % out.len())),
                _ => match fair.next_lane(class) {
                    Some(named) => {
                        prop_assert_eq!(ready.get(&named), Some(&class));
                        fair.started(named.0, class, cost);
                        out.push(named.0);
                    }
                    None => {
                        let free = cap - u32::try_from(out.len()).unwrap();
                        for ((workspace, _), _) in ready.iter().filter(|(_, ready)| **ready == class) {
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
        let mut missing: BTreeSet<(u8, u8)> = ready.keys().copied().collect();
        for class in [Class::Live, Class::Late] {
            for _ in 0..2000 {
                let Some(named) = fair.next_lane(class) else { break };
                missing.remove(&named);
                fair.started(named.0, class, 50);
                fair.finished(named.0);
            }
        }
        prop_assert_eq!(missing, BTreeSet::new());
        for (workspace, lane) in ready.into_keys() {
            fair.not_ready(workspace, lane);
        }
        prop_assert_eq!(fair.next_lane(Class::Live), None);
        prop_assert_eq!(fair.next_lane(Class::Late), None);
    }
}
