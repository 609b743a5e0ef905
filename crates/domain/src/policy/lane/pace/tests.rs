//! A machine that late deliveries slow down, and what the pace makes of it.

use proptest::prelude::*;

use super::*;

const SETTINGS: PaceSettings = PaceSettings { least: 100, most: 1_000_000, patience_us: 1_000, quiet_us: SECOND_US };

/// Late lanes that start as much as they may until `until_us`, while a live delivery starts every `every_us`, having waited as long
/// as `wait` says of the late starts in the hundredth of a second before. Answers when the late ones started.
fn run(pace: &mut Pace, from_us: i64, until_us: i64, every_us: i64, wait: impl Fn(i64, u32) -> i64) -> Vec<i64> {
    let mut starts: Vec<i64> = Vec::new();
    let (mut now_us, mut next_live_us, mut next_late_us) = (from_us, from_us, from_us);
    while now_us < until_us {
        if next_live_us <= now_us {
            let recent = starts.iter().rev().take_while(|at_us| **at_us > now_us - 10_000).count();
            pace.live(wait(now_us, u32::try_from(recent).unwrap()), now_us);
            next_live_us += every_us;
        }
        if next_late_us <= now_us {
            match pace.room(now_us) {
                Room::All => panic!("no limit beside live ones"),
                Room::Some(count) => {
                    starts.extend((0..count).map(|_| now_us));
                    pace.started(count);
                }
                Room::Until(at_us) => {
                    assert!(at_us > now_us);
                    next_late_us = at_us;
                }
            }
        }
        now_us = (now_us + 1).max(next_live_us.min(next_late_us));
    }
    starts
}

fn in_second(starts: &[i64], second: i64) -> usize {
    starts.iter().filter(|at_us| *at_us / SECOND_US == second).count()
}

#[test]
fn alone_there_is_no_limit() {
    let mut pace = Pace::new(SETTINGS);
    assert_eq!(pace.room(0), Room::All);
    pace.started(1_000_000);
    pace.live(0, 5);
    assert!(matches!(pace.room(5), Room::Until(_)));
    assert_eq!(pace.limit(5), Some(100));
    assert_eq!(pace.room(5 + SECOND_US), Room::All, "nothing live for a second");
}

#[test]
fn it_doubles_in_a_second_while_nobody_waits() {
    let mut pace = Pace::new(SETTINGS);
    let starts = run(&mut pace, 0, 6 * SECOND_US, 2_000, |_, _| 50);
    for second in 0..5 {
        let (now, then) = (in_second(&starts, second), in_second(&starts, second + 1));
        assert!((then * 10).abs_diff(now * 20) <= now * 2, "second {second}: {now}, {then}");
    }
}

#[test]
fn what_nobody_uses_does_not_grow() {
    let mut pace = Pace::new(SETTINGS);
    for now_us in (20_000..10 * SECOND_US).step_by(20_000) {
        pace.live(50, now_us);
        assert!(matches!(pace.room(now_us), Room::Some(_)), "50 a second is less than it allows");
        pace.started(1);
    }
    assert_eq!(pace.limit(10 * SECOND_US - 1), Some(100));
}

#[test]
fn it_grows_to_what_is_allowed_at_most() {
    let mut pace = Pace::new(PaceSettings { most: 700, ..SETTINGS });
    let starts = run(&mut pace, 0, 8 * SECOND_US, 2_000, |_, _| 50);
    assert!((690..=710).contains(&in_second(&starts, 7)), "{}", in_second(&starts, 7));
}

/// Live ones wait as soon as more than 30 late ones start in a hundredth of a second: 3,000 a second.
#[test]
fn it_settles_where_live_ones_begin_to_wait() {
    let mut pace = Pace::new(SETTINGS);
    let starts = run(&mut pace, 0, 30 * SECOND_US, 2_000, |_, recent| if recent > 30 { 4_000 } else { 50 });
    let mean = (15..30).map(|second| in_second(&starts, second)).sum::<usize>() / 15;
    assert!((1_000..=3_000).contains(&mean), "{mean}");
}

#[test]
fn it_gives_way_at_once_and_never_stops() {
    let mut pace = Pace::new(SETTINGS);
    let starts = run(&mut pace, 0, 15 * SECOND_US, 2_000, |now_us, _| if now_us < 5 * SECOND_US { 50 } else { 9_000 });
    assert!(in_second(&starts, 4) > 1_000);
    assert!(in_second(&starts, 6) < 120);
    for second in 7..15 {
        assert!((95..=105).contains(&in_second(&starts, second)), "{}", in_second(&starts, second));
    }
}

/// One in two hundred is not worth giving way for: it is the machine's own noise.
#[test]
fn a_rare_hiccup_does_not_count() {
    let mut pace = Pace::new(SETTINGS);
    let starts = run(&mut pace, 0, 5 * SECOND_US, 2_000, |now_us, _| if now_us % 400_000 == 0 && now_us > 0 { 9_000 } else { 50 });
    assert!(in_second(&starts, 4) > 1_000, "{}", in_second(&starts, 4));
}

/// A lane that fell behind beside a live one gets more than comes in for it.
#[test]
fn who_fell_behind_catches_up() {
    let mut pace = Pace::new(SETTINGS);
    let mut started = 0;
    for now_us in (0..10 * SECOND_US).step_by(1_000) {
        pace.live(9_000, now_us);
        pace.came(20, now_us);
        if let Room::Some(count) = pace.room(now_us) {
            started += count;
            pace.started(count);
        }
    }
    let came = 10 * 20_000;
    assert!(started > came + came / 8 && started < came + came / 3, "{started}");
    // It ends with what comes in.
    for now_us in (10 * SECOND_US..15 * SECOND_US).step_by(1_000) {
        pace.live(9_000, now_us);
    }
    assert_eq!(pace.limit(15 * SECOND_US), Some(100));
}

#[test]
fn starts_are_spread() {
    let mut pace = Pace::new(PaceSettings { least: 5_000, ..SETTINGS });
    let starts = run(&mut pace, 0, 2 * SECOND_US, 2_000, |_, _| 9_000);
    for window in starts.windows(12) {
        assert!(window[11] - window[0] >= 200, "more than two milliseconds' worth at once");
    }
}

proptest! {
    /// Whatever the shell tells: there is room, or a time to ask again that is no more than a second away; asking then brings room; and
    /// what may start in a second is never less than the least.
    #[test]
    fn it_never_stops(
        least in 1..5_000_u32,
        steps in prop::collection::vec((0..4_u8, 0..300_000_i64, 0..20_000_i64, 0..5_000_u32), 1..300),
    ) {
        let mut pace = Pace::new(PaceSettings { least, ..SETTINGS });
        let mut now_us = 0;
        for (kind, later_us, waited_us, count) in steps {
            now_us += later_us;
            match kind {
                0 => pace.live(waited_us, now_us),
                1 => pace.came(count, now_us),
                2 => pace.started(count),
                _ => {
                    if let Room::Until(at_us) = pace.room(now_us) {
                        prop_assert!(at_us > now_us && at_us - now_us <= 2 * SECOND_US + 1);
                        now_us = at_us;
                        prop_assert!(!matches!(pace.room(now_us), Room::Until(_)));
                    }
                }
            }
            prop_assert!(pace.limit(now_us).is_none_or(|limit| limit >= least));
        }
    }
}
