//! Scenes from the life of a target, then a model.

use proptest::prelude::*;

use super::*;

const S: i64 = 1000;
const M: i64 = 60 * S;
const DAY: i64 = 24 * 60 * M;
const DOWN: Failure = Failure { kind: FailureKind::Connection, slow_down: false, retry_after: None };
const BUSY: Failure = Failure { kind: FailureKind::Status(429), slow_down: true, retry_after: None };

fn fresh() -> Breaker {
    Breaker::new(Settings::default(), 0)
}

fn probing() -> Breaker {
    let mut breaker = fresh();
    for _ in 0..10 {
        let _ = breaker.failure(DOWN, 0, 0, 0);
    }
    assert_eq!(breaker.state(), State::Probing);
    breaker
}

fn changed(effects: &[Effect]) -> Option<(State, State)> {
    effects.iter().find_map(|effect| match effect {
        Effect::StateChanged { from, to, .. } => Some((*from, *to)),
        _ => None,
    })
}

#[test]
fn ten_failures_in_a_row_begin_probing() {
    let mut breaker = fresh();
    for _ in 0..9 {
        assert_eq!(breaker.failure(DOWN, 0, 5, 0), []);
    }
    let _ = breaker.success(5);
    for _ in 0..9 {
        assert_eq!(breaker.failure(DOWN, 0, M, 0), []);
    }
    let effects = breaker.failure(DOWN, 0, M, 0);
    assert_eq!(
        effects[0],
        Effect::StateChanged { from: State::Active, to: State::Probing, reason: Reason::ConsecutiveFailures { count: 10 } }
    );
    assert!(matches!(effects[1], Effect::ProbeAt(at) if (M + 1..=M + S + 1).contains(&at)));
}

#[test]
fn a_sick_target_is_found_by_its_rate() {
    let mut breaker = fresh();
    for round in 0..9 {
        let _ = breaker.success(round);
        assert_eq!(breaker.failure(DOWN, 0, round, 0), []);
    }
    let _ = breaker.success(10);
    let effects = breaker.failure(DOWN, 0, 10, 0);
    assert!(matches!(effects[0], Effect::StateChanged { reason: Reason::FailureRate { failed: 10, total: 20 }, .. }));
    // The same spread over more than a minute does not.
    let mut slow = fresh();
    for round in 0..100 {
        let _ = slow.success(round * 10 * S);
        assert_eq!(slow.failure(DOWN, 0, round * 10 * S, 0), []);
    }
}

#[test]
fn probes_become_rarer_up_to_five_minutes() {
    let mut breaker = probing();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..12 {
        let Permit::Wait { until_ms: Some(until) } = breaker.permits(0, 32, now) else {
            panic!("a probe at once");
        };
        waits.push(until - now);
        now = until;
        assert_eq!(breaker.permits(0, 32, now), Permit::Now);
        breaker.started(now);
        assert_eq!(breaker.permits(1, 32, now), Permit::Wait { until_ms: None });
        let _ = breaker.failure(DOWN, 0, now, u64::MAX);
    }
    assert!(waits[0] <= S);
    assert!(waits.is_sorted());
    assert_eq!(waits.last(), Some(&(5 * M)));
}

#[test]
fn late_failures_do_not_postpone_the_probe() {
    let mut breaker = probing();
    let before = breaker.snapshot().next_probe_ms;
    for _ in 0..30 {
        assert_eq!(breaker.failure(DOWN, 5, 10, u64::MAX), []);
    }
    assert_eq!(breaker.snapshot().next_probe_ms, before);
    assert_eq!(breaker.permits(1, 32, before), Permit::Wait { until_ms: None });
    assert_eq!(breaker.permits(0, 32, before), Permit::Now);
}

// Incident 6 of the needs list: a target comes back to fifty thousand deliveries.
#[test]
fn recovery_is_a_ramp() {
    let mut breaker = probing();
    breaker.started(2 * S);
    assert_eq!(changed(&breaker.success(2 * S)), Some((State::Probing, State::Active)));
    let start = 2 * S;
    let (mut left, mut per_second) = (50_000_u32, Vec::new());
    for second in 0..10 {
        let mut sent = 0;
        for now in (start + second * S)..(start + (second + 1) * S) {
            // Every answer takes less than a millisecond.
            while left > 0 && sent < 100_000 && breaker.permits(0, 32, now) == Permit::Now {
                breaker.started(now);
                sent += 1;
                left -= 1;
                let _ = breaker.success(now);
            }
        }
        per_second.push(sent);
    }
    assert_eq!(per_second[..5], [10, 20, 40, 80, 160]);
    assert_eq!(left, 0, "at full speed in the end");
    // In flight, too.
    let mut slow = probing();
    let _ = slow.success(0);
    assert_eq!(slow.permits(0, 32, 0), Permit::Now);
    assert_eq!(slow.permits(1, 32, 0), Permit::Wait { until_ms: None });
}

#[test]
fn paused_holds_and_resume_drains_gently() {
    let mut breaker = fresh();
    assert_eq!(changed(&breaker.pause(1)), Some((State::Active, State::Paused)));
    assert_eq!(breaker.pause(2), []);
    assert_eq!(breaker.permits(0, 32, i64::MAX), Permit::Held);
    let _ = breaker.success(3);
    for _ in 0..20 {
        assert_eq!(breaker.failure(DOWN, 0, 4, 0), []);
    }
    assert_eq!(breaker.state(), State::Paused);
    assert_eq!(changed(&breaker.resume(5)), Some((State::Paused, State::Active)));
    assert_eq!(breaker.permits(0, 32, 5), Permit::Now);
    assert_eq!(breaker.permits(1, 32, 5), Permit::Wait { until_ms: None });
    assert_eq!(breaker.resume(6), []);
}

// O-8
#[test]
fn five_days_without_a_success_disable() {
    let mut breaker = probing();
    assert_eq!(changed(&breaker.failure(DOWN, 0, 5 * DAY - 1, 0)), None);
    let effects = breaker.failure(DOWN, 0, 5 * DAY, 0);
    assert_eq!(
        effects,
        [Effect::StateChanged { from: State::Probing, to: State::Disabled, reason: Reason::FailingTooLong { since_ms: 0 } }]
    );
    assert_eq!(breaker.permits(0, 32, i64::MAX), Permit::Held);
    // One success on the way starts the five days anew.
    let mut lucky = probing();
    let _ = lucky.success(4 * DAY);
    for _ in 0..20 {
        let _ = lucky.failure(DOWN, 0, 6 * DAY, 0);
    }
    assert_eq!(lucky.state(), State::Probing);
    // Two failures a week apart on a quiet target are no reason.
    let mut quiet = fresh();
    let _ = quiet.failure(DOWN, 0, 0, 0);
    let _ = quiet.failure(DOWN, 0, 7 * DAY, 0);
    assert_eq!(quiet.state(), State::Active);
}

// STDWH-51
#[test]
fn gone_disables_from_every_state() {
    let mut paused = fresh();
    let _ = paused.pause(0);
    for mut breaker in [fresh(), probing(), paused] {
        let effects = breaker.gone(7);
        assert!(matches!(effects[..], [Effect::StateChanged { to: State::Disabled, reason: Reason::Gone, .. }]));
        assert_eq!(breaker.gone(8), []);
        assert_eq!(changed(&breaker.resume(9)), Some((State::Disabled, State::Active)));
    }
}

// STDWH-52
#[test]
fn a_burst_of_refusals_is_one_sign_and_strikes_add_up() {
    let mut breaker = fresh();
    assert_eq!(breaker.failure(BUSY, 3, 0, u64::MAX), [Effect::SlowedUntil(S)]);
    assert_eq!(breaker.failure(BUSY, 2, 1, u64::MAX), []);
    assert_eq!(breaker.permits(0, 32, S - 1), Permit::Wait { until_ms: Some(S) });
    assert_eq!(breaker.permits(0, 32, S), Permit::Now);
    assert_eq!(breaker.failure(BUSY, 0, S, u64::MAX), [Effect::SlowedUntil(3 * S)]);
    let _ = breaker.success(3 * S);
    let asked = Failure { retry_after: Some(Duration::from_secs(86_400)), ..BUSY };
    assert_eq!(breaker.failure(asked, 0, 4 * S, 0), [Effect::SlowedUntil(4 * S + 5 * M)]);
}

// Incident 9 of the needs list.
#[test]
fn a_clock_that_goes_back_does_not_hold_the_target() {
    let mut breaker = probing();
    assert_eq!(breaker.permits(0, 32, -60 * M), Permit::Now);
    breaker.started(-60 * M);
    let _ = breaker.success(-60 * M);
    let _ = breaker.failure(BUSY, 0, 0, 0);
    assert_eq!(breaker.permits(0, 32, -60 * M), Permit::Now);
}

#[test]
fn a_snapshot_survives_the_process() {
    let mut breaker = probing();
    breaker.started(S);
    let _ = breaker.failure(DOWN, 0, S, 0);
    let text = serde_json::to_string(&breaker.snapshot()).unwrap();
    let read: Snapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(read, breaker.snapshot());
    let again = Breaker::restore(Settings::default(), read, 2 * S);
    assert_eq!(again.state(), State::Probing);
    assert_eq!(again.permits(0, 8, S), breaker.permits(0, 8, S));
    let _ = breaker.success(2 * S);
    let ramping = Breaker::restore(Settings::default(), breaker.snapshot(), 3 * S);
    assert_eq!(ramping.permits(1, 8, 3 * S), Permit::Wait { until_ms: None });
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Succeed,
    Fail(bool),
    Cancel,
    Pause,
    Resume,
    Disable,
    Gone,
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let step = prop_oneof![
        10 => Just(Step::Start),
        4 => Just(Step::Succeed),
        12 => any::<bool>().prop_map(Step::Fail),
        1 => Just(Step::Cancel),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => Just(Step::Disable),
        1 => Just(Step::Gone),
        8 => prop_oneof![0..2000_i64, 0..600_000_i64, -4_000_000..4_000_000_i64].prop_map(Step::Pass),
    ];
    prop::collection::vec((step, any::<u64>()), 0..300)
}

proptest! {
    /// The model is a list of what is out, each with the state it started in, and the three rules
    /// that matter: held means silent, at most one probe, never stuck.
    #[test]
    fn the_breaker_keeps_its_promises(steps in steps(), limit in 1..40_u32) {
        let mut breaker = Breaker::new(Settings::default(), 0);
        let (mut now, mut out, mut last_state) = (0_i64, Vec::new(), State::Active);
        for (step, random) in steps {
            let in_flight = u32::try_from(out.len()).unwrap();
            let effects = match step {
                Step::Pass(millis) => {
                    now += millis;
                    vec![]
                }
                Step::Start => {
                    match breaker.permits(in_flight, limit, now) {
                        Permit::Now => {
                            prop_assert!(!matches!(last_state, State::Paused | State::Disabled));
                            prop_assert!(in_flight < limit);
                            prop_assert!(last_state != State::Probing || in_flight == 0);
                            breaker.started(now);
                            out.push(last_state);
                        }
                        Permit::Wait { until_ms: Some(until) } => {
                            prop_assert!(until > now && until - now <= 5 * M + 1);
                            prop_assert_ne!(
                                breaker.permits(in_flight, limit, until),
                                Permit::Wait { until_ms: Some(until) }
                            );
                        }
                        Permit::Wait { until_ms: None } => prop_assert!(in_flight > 0, "stuck"),
                        Permit::Held => {
                            prop_assert!(matches!(last_state, State::Paused | State::Disabled));
                        }
                    }
                    let probes = out.iter().filter(|state| **state == State::Probing).count();
                    prop_assert!(probes <= 1);
                    vec![]
                }
                Step::Succeed if out.pop().is_some() => breaker.success(now),
                Step::Fail(slow) if out.pop().is_some() => {
                    let failure = if slow { BUSY } else { DOWN };
                    breaker.failure(failure, in_flight - 1, now, random)
                }
                Step::Gone if out.pop().is_some() => breaker.gone(now),
                Step::Cancel if out.pop().is_some() => {
                    breaker.cancelled();
                    vec![]
                }
                Step::Pause => breaker.pause(now),
                Step::Resume => breaker.resume(now),
                Step::Disable => breaker.disable(now),
                _ => vec![],
            };
            for effect in effects {
                match effect {
                    Effect::StateChanged { from, to, .. } => {
                        prop_assert_eq!(from, last_state);
                        prop_assert_ne!(from, to);
                        last_state = to;
                    }
                    Effect::ProbeAt(at) | Effect::SlowedUntil(at) => prop_assert!(at > now),
                }
            }
            prop_assert_eq!(breaker.state(), last_state, "every change is told");
            if random % 16 == 0 && out.is_empty() {
                breaker = Breaker::restore(Settings::default(), breaker.snapshot(), now);
            }
        }
    }
}
