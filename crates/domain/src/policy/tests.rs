//! The checklist of Standard Webhooks for schedules and verdicts, the API form, and a model of the
//! retry rules.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::batch::Batcher;
use super::breaker::{Breaker, Failure, FailureKind, Permit, Settings, State};
use super::classify::NO_ANSWER;
use super::limiter::{IpLimiter, IpSettings, RateLimiter};
use super::*;

const S: i64 = 1000;
const M: i64 = 60 * S;
const H: i64 = 60 * M;
fn standard() -> EffectivePolicy {
    Policy::default().resolve()
}

fn failure(kind: FailureKind, slow_down: bool) -> Failure {
    Failure { kind, slow_down, retry_after: None }
}

// STDWH-48
#[test]
fn every_2xx_is_a_success() {
    for status in [200, 201, 202, 204, 299] {
        assert_eq!(classify(&standard(), status), Verdict::Success, "{status}");
    }
}

// STDWH-49 (that the target of the redirect is not requested is the connector's half)
#[test]
fn redirects_are_failures() {
    for status in [301, 302, 304, 307, 308] {
        assert_eq!(classify(&standard(), status), Verdict::Retry { slow_down: false }, "{status}");
    }
}

// STDWH-50
#[test]
fn client_and_server_errors_are_retried() {
    for status in [400, 404, 406, 500, 503] {
        assert_eq!(classify(&standard(), status), Verdict::Retry { slow_down: false }, "{status}");
    }
}

// STDWH-51
#[test]
fn gone_disables_the_target_and_nothing_later_is_sent() {
    assert_eq!(classify(&standard(), 410), Verdict::Stop { disable: true });
    let mut breaker = Breaker::new(Settings::default(), 0);
    let _ = breaker.gone(5);
    assert_eq!(breaker.state(), State::Disabled);
    assert_eq!(breaker.permits(0, 32, i64::MAX), Permit::Held);
}

// STDWH-52
#[test]
fn too_many_requests_and_tired_gateways_slow_the_target_down() {
    for status in [429, 502, 504] {
        assert_eq!(classify(&standard(), status), Verdict::Retry { slow_down: true }, "{status}");
        let mut breaker = Breaker::new(Settings::default(), 0);
        assert_eq!(breaker.permits(8, 32, 0), Permit::Now);
        let _ = breaker.failure(failure(FailureKind::Status(status), true), 16, 10, 0);
        let Permit::Wait { until_ms: Some(until) } = breaker.permits(0, 32, 10) else {
            panic!("not slowed down");
        };
        assert!(until > 10);
        // Afterwards half of what was in flight is allowed, and no more.
        assert_eq!(breaker.permits(7, 32, until), Permit::Now);
        assert_eq!(breaker.permits(8, 32, until), Permit::Wait { until_ms: None });
    }
}

// STDWH-53, O-7
#[test]
fn retry_after_is_a_floor_within_a_cap() {
    let policy = standard();
    let at = |attempts, header: &str| match next_attempt(&policy, attempts, 0, 0, RetryAfter::parse(header, 0), 0) {
        Decision::Retry { at_ms } => at_ms,
        Decision::GiveUp => panic!("gave up"),
    };
    assert_eq!(at(1, "120"), 120 * S);
    assert_eq!(at(1, "120.6"), 120_600);
    assert_eq!(at(2, "120"), 5 * M, "the schedule's delay is longer");
    for no_wish in ["0", "-1", "soon", "", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        assert_eq!(at(1, no_wish), 5 * S, "{no_wish:?}");
    }
    assert_eq!(at(1, "86400"), 24 * H);
    assert_eq!(at(1, "86401"), 24 * H, "capped");
    assert_eq!(at(1, "99999999999999999999999999"), 24 * H, "capped");
}

// Incident 7 of the needs list.
#[test]
fn retry_after_in_every_form() {
    let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
    let parse = |text| RetryAfter::parse(text, now).map(|wish| wish.0);
    let some = |millis| Some(Duration::from_millis(millis));
    assert_eq!(parse("86400"), some(86_400_000));
    assert_eq!(parse(" 7 "), some(7000));
    assert_eq!(parse("0"), some(0));
    assert_eq!(parse("0.0001"), some(1));
    assert_eq!(parse("Sun, 06 Nov 1994 08:49:47 GMT"), some(10_000));
    assert_eq!(parse("Sunday, 06-Nov-94 08:49:47 GMT"), some(10_000));
    assert_eq!(parse("Sun Nov  6 08:49:47 1994"), some(10_000));
    assert_eq!(parse("Sun, 06 Nov 1994 08:49:27 GMT"), some(0));
    assert_eq!(parse("Fri, 31 Dec 9999 23:59:59 GMT"), Some(RetryAfter::MAX));
    for bad in ["", "-1", "+1", "1e3", "1.", ".5", "1.2.3", "NaN", "inf", "0x10", "١", "tomorrow"] {
        assert_eq!(parse(bad), None, "{bad:?}");
    }
    assert_eq!(parse("Sun, 31 Feb 1994 08:49:37 GMT"), None);
}

// STDWH-54
#[test]
fn no_answer_in_time_is_a_failure_and_retried() {
    assert_eq!(standard().timeout, Duration::from_secs(15));
    assert_eq!(NO_ANSWER, Verdict::Retry { slow_down: false });
    let decision = next_attempt(&standard(), 1, 0, 15 * S, None, 0);
    assert_eq!(decision, Decision::Retry { at_ms: 20 * S });
}

/// Runs a schedule whose attempts fail at once, giving the times of the attempts.
fn attempts(policy: &EffectivePolicy, mut random: impl FnMut() -> u64) -> Vec<i64> {
    let mut times = vec![0];
    loop {
        let count = u32::try_from(times.len()).unwrap();
        match next_attempt(policy, count, 0, times[times.len() - 1], None, random()) {
            Decision::Retry { at_ms } => times.push(at_ms),
            Decision::GiveUp => return times,
        }
        assert!(times.len() < 10_000, "the schedule does not end");
    }
}

// STDWH-55
#[test]
fn attempts_follow_the_table() {
    let since_start = attempts(&standard(), || 0);
    let table = [
        0,
        5 * S,
        5 * M + 5 * S,
        35 * M + 5 * S,
        2 * H + 35 * M + 5 * S,
        7 * H + 35 * M + 5 * S,
        17 * H + 35 * M + 5 * S,
        31 * H + 35 * M + 5 * S,
        51 * H + 35 * M + 5 * S,
        75 * H + 35 * M + 5 * S,
    ];
    assert_eq!(since_start, table);
    let scaled = attempts(&standard().scaled(0.001), || 0);
    assert_eq!(scaled, table.map(|time| time / 1000));
}

// STDWH-56
#[test]
fn the_tenth_failure_is_the_last() {
    assert!(matches!(next_attempt(&standard(), 9, 0, 0, None, 7), Decision::Retry { .. }));
    for finished in [10, 11, u32::MAX] {
        assert_eq!(next_attempt(&standard(), finished, 0, 0, None, 7), Decision::GiveUp);
    }
}

// STDWH-57
#[test]
fn delays_differ_between_messages() {
    let delays: std::collections::BTreeSet<i64> = (0..100_u64)
        .map(|seed| match next_attempt(&standard(), 2, 0, 0, None, seed << 57) {
            Decision::Retry { at_ms } => at_ms,
            Decision::GiveUp => panic!("gave up"),
        })
        .collect();
    assert!(delays.len() > 50);
    assert!(delays.iter().all(|delay| (5 * M..=5 * M + 30 * S).contains(delay)));
}

// O-12
#[test]
fn another_systems_own_document_wins() {
    let policy = Policy::from_json(&json!({"success": [200], "stop": [406]})).unwrap().resolve();
    assert_eq!(classify(&policy, 406), Verdict::Stop { disable: false });
    assert_eq!(classify(&policy, 410), Verdict::Retry { slow_down: false });
    assert_eq!(classify(&policy, 204), Verdict::Retry { slow_down: false });
}

#[test]
fn windows_close_with_a_last_attempt() {
    let policy = Policy::from_json(&json!({
        "retry": {"exponential": {"first": "1m", "factor": 2.0, "max": "1h", "window": "4h"}},
        "jitter": 0,
    }))
    .unwrap()
    .resolve();
    let times = attempts(&policy, || 0);
    assert_eq!(times[..4], [0, M, 3 * M, 7 * M]);
    assert_eq!(times.last(), Some(&(4 * H)));
    // A receiver that asks for a day does not end the delivery: it gets the last attempt.
    let asked = next_attempt(&policy, 1, 0, 0, RetryAfter::parse("86400", 0), 0);
    assert_eq!(asked, Decision::Retry { at_ms: 4 * H });
}

#[test]
fn the_api_form_goes_both_ways() {
    let full = json!({
        "timeout": "15s", "connect_timeout": "500ms",
        "retry": {"exponential": {"first": "5s", "factor": 2.0, "max": "6h", "window": "1d"}},
        "jitter": 0.1, "success": ["2xx", 304], "stop": [410],
        "batch": {"events": 100, "bytes": "1MiB", "wait": "5s"},
        "rate": {"limit": 500, "per": "1m"}, "concurrency": 8, "order": "fifo",
        "retry_after_max": "1d",
    });
    let policy = Policy::from_json(&full).unwrap();
    assert_eq!(serde_json::to_value(&policy).unwrap(), full);
    let again: Policy = serde_json::from_value(full).unwrap();
    assert_eq!(again, policy);
    let list = json!({"retry": {"delays": ["5s", "5m"]}, "jitter": "full"});
    assert_eq!(serde_json::to_value(Policy::from_json(&list).unwrap()).unwrap(), list);
    assert_eq!(Policy::from_json(&json!({"timeout": null})).unwrap(), Policy::default());
    assert_eq!(serde_json::to_value(Policy::default()).unwrap(), json!({}));
    let standard = serde_json::to_value(Policy::standard()).unwrap();
    assert_eq!(Policy::from_json(&standard).unwrap(), Policy::standard());
}

#[test]
fn errors_name_the_field_and_the_bound() {
    let cases: Vec<(Value, &str)> = vec![
        (json!([]), "policy: must be an object"),
        (json!({"timeout": "0s"}), "policy.timeout: must be at least 1ms"),
        (json!({"timeout": "301s"}), "policy.timeout: must be at most 5m"),
        (json!({"timeout": 15}), "policy.timeout: must be a whole number and a unit (ms, s, m, h, d), such as \"15s\""),
        (json!({"retry": {"exponential": {"first": "5s", "factor": 0.5}}}), "policy.retry.exponential.factor: must be at least 1"),
        (json!({"retry": {"exponential": {"first": "5m", "max": "1m"}}}), "policy.retry.exponential.max: must be at least \"first\""),
        (json!({"retry": {"exponential": {}}}), "policy.retry.exponential.first: is required"),
        (json!({"retry": {}}), "policy.retry: must have either \"delays\" or \"exponential\""),
        (json!({"retry": {"delays": vec!["5s"; 51]}}), "policy.retry.delays: must have at most 50 entries"),
        (json!({"retry": {"delays": ["5s", "0s"]}}), "policy.retry.delays[1]: must be at least 1ms"),
        (json!({"jitter": "some"}), "policy.jitter: must be a number from 0 to 1, or \"full\""),
        (json!({"jitter": 1.5}), "policy.jitter: must be at most 1"),
        (json!({"success": []}), "policy.success: must have at least 1 entries"),
        (json!({"stop": ["1xx"]}), "policy.stop[0]: must be a status from 200 to 599, or a class such as \"2xx\""),
        (json!({"batch": {"events": 10_001}}), "policy.batch.events: must be at most 10000"),
        (json!({"batch": {"bytes": "1B"}}), "policy.batch.bytes: must be at least 1KiB"),
        (json!({"batch": {"wait": "2h"}}), "policy.batch.wait: must be at most 1h"),
        (json!({"rate": {"per": "1m"}}), "policy.rate.limit: is required"),
        (json!({"rate": {"limit": 0, "per": "1m"}}), "policy.rate.limit: must be at least 1"),
        (json!({"concurrency": 1001}), "policy.concurrency: must be at most 1000"),
        (json!({"concurrency": 1.5}), "policy.concurrency: must be a whole number from 1 to 1000"),
        (json!({"order": "lifo"}), "policy.order: must be \"none\" or \"fifo\""),
        (json!({"rate": {"limit": 1, "per": "1m", "burst": 2}}), "policy.rate.burst: is not a known field; known are: limit, per"),
    ];
    for (value, message) in cases {
        assert_eq!(Policy::from_json(&value).unwrap_err().to_string(), message);
        assert!(serde_json::from_value::<Policy>(value).unwrap_err().to_string().contains(message));
    }
}

#[test]
fn policies_inherit_field_by_field() {
    let parse = |value| Policy::from_json(&value).unwrap();
    let target = parse(json!({"timeout": "2s", "retry": {"delays": []}}));
    let workspace = parse(json!({"timeout": "9s", "concurrency": 3, "batch": {"events": 5}}));
    let effective = target.or(&workspace).resolve();
    assert_eq!(effective.timeout, Duration::from_secs(2));
    assert_eq!(effective.connect_timeout, Duration::from_secs(2), "never above the timeout");
    assert_eq!(effective.concurrency, 3);
    assert_eq!(effective.retry, Retry::Delays(vec![]));
    assert_eq!(next_attempt(&effective, 1, 0, 0, None, 0), Decision::GiveUp);
    assert_eq!(effective.batch.map(|batch| batch.events), Some(5));
    let single = parse(json!({"batch": {"events": 1}})).or(&workspace).resolve();
    assert_eq!(single.batch, None);
    let fifo = parse(json!({"order": "fifo", "concurrency": 9})).resolve();
    assert_eq!(fifo.concurrency, 1);
    assert_eq!(standard().jitter, Jitter::UpTo(0.1));
    let shape = parse(json!({"retry": {"exponential": {"first": "5s"}}})).resolve();
    assert_eq!(shape.jitter, Jitter::Full);
    assert_eq!(standard().concurrency, 32);
}

fn any_retry() -> impl Strategy<Value = Retry> {
    let time = prop_oneof![0_u64..100_000, any::<u64>()].prop_map(Duration::from_millis);
    prop_oneof![
        prop::collection::vec(time.clone(), 0..20).prop_map(Retry::Delays),
        (time.clone(), 1.0..20.0_f64, time.clone(), time)
            .prop_map(|(first, factor, max, window)| { Retry::Exponential(Exponential { first, factor, max, window }) }),
    ]
}

proptest! {
    /// The rules of the module page, said once more and more slowly: a delay of the table, or a
    /// power under a ceiling; stretched or shrunk within the jitter; not under the floor; not
    /// beyond the window.
    #[test]
    fn retries_obey_the_rules(
        retry in any_retry(),
        full: bool,
        up_to in 0.0..=1.0_f64,
        finished in prop_oneof![0_u32..30, any::<u32>()],
        first: i64,
        now: i64,
        wish in proptest::option::of(any::<u64>()),
        random: u64,
    ) {
        let jitter = if full { Jitter::Full } else { Jitter::UpTo(up_to) };
        let policy = EffectivePolicy { retry, jitter, ..standard() };
        let wish = wish.map(|millis| RetryAfter(Duration::from_millis(millis)));
        let decision = next_attempt(&policy, finished, first, now, wish, random);
        let (now, first) = (i128::from(now), i128::from(first));
        let cap = i128::from(i64::MAX);
        let ms = |time: Duration| i128::try_from(time.as_millis()).unwrap().min(cap);
        let (scheduled, end) = match &policy.retry {
            _ if finished == 0 => (Some(0), cap),
            Retry::Delays(list) => (list.get(finished as usize - 1).copied().map(ms), cap),
            Retry::Exponential(e) => {
                let end = cap.min(first + ms(e.window));
                let mut delay = ms(e.first) as f64;
                for _ in 1..finished.min(100_000) {
                    delay = (delay * e.factor).min(ms(e.max) as f64);
                }
                ((now < end).then_some(delay.min(ms(e.max) as f64) as i128), end)
            }
        };
        match (decision, scheduled) {
            (Decision::GiveUp, None) => {}
            (Decision::Retry { at_ms }, Some(delay)) => {
                let at = i128::from(at_ms);
                let floor = wish.map_or(0, |wish| ms(wish.0.min(policy.retry_after_max)));
                let (low, high) = match jitter {
                    _ if finished == 0 => (0, 0),
                    Jitter::Full => (floor, delay.max(floor)),
                    Jitter::UpTo(part) => {
                        (delay.max(floor), floor.max(delay + (delay as f64 * part) as i128))
                    }
                };
                // Floating point may be off by a few parts in 2^53.
                let slack = 1 + (delay >> 50);
                prop_assert!(at >= (now + low - slack).min(end), "too early: {at} {low}");
                prop_assert!(at <= (now + high + slack).min(end), "too late: {at} {high}");
                prop_assert!(at >= now, "in the past");
            }
            (decision, scheduled) => prop_assert!(false, "{decision:?} but {scheduled:?}"),
        }
    }

    /// Without jitter a longer history never makes for a shorter wait.
    #[test]
    fn exponential_delays_never_shrink(first in 0_u64..1_000_000, factor in 1.0..10.0_f64, max: u64) {
        let shape = Exponential {
            first: Duration::from_millis(first),
            factor,
            max: Duration::from_millis(max),
            window: Duration::MAX,
        };
        let policy =
            EffectivePolicy { retry: Retry::Exponential(shape), jitter: Jitter::UpTo(0.0), ..standard() };
        let times: Vec<i64> = (1..200)
            .map(|finished| match next_attempt(&policy, finished, 0, 0, None, u64::MAX) {
                Decision::Retry { at_ms } => at_ms,
                Decision::GiveUp => panic!("the window is endless"),
            })
            .collect();
        prop_assert!(times.is_sorted());
    }

    /// Whatever the clock says: nothing overflows, and nobody waits for a time that has passed.
    #[test]
    fn no_clock_overflows(
        times in prop::collection::vec(prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -5..5_i64], 1..60),
        random: u64,
    ) {
        let rate = Rate { limit: 2, per: Duration::from_secs(60) };
        let mut breaker = Breaker::new(Settings::default(), times[0]);
        let mut limiter = RateLimiter::new(rate);
        let mut addresses = IpLimiter::new(IpSettings { rate, ..IpSettings::default() });
        let mut batcher = Batcher::new(Batch::default());
        for (sequence, now) in (0..).zip(times) {
            if let Permit::Wait { until_ms: Some(until) } = breaker.permits(0, 9, now) {
                prop_assert!(until > now);
            }
            breaker.started(now);
            let _ = breaker.failure(failure(FailureKind::Timeout, random % 2 == 0), 3, now, random);
            if random % 3 == 0 {
                let _ = breaker.success(now);
            }
            if let Err(wait) = limiter.take(now) {
                prop_assert!(wait.until_ms > now || now == i64::MAX);
            }
            if let Err(wait) = addresses.check(1, [127, 0, 0, 1].into(), now) {
                prop_assert!(wait > Duration::ZERO);
            }
            prop_assert!(batcher.join(sequence, 1, now, || sequence).due_ms >= now);
            let _ = batcher.close_due(now);
        }
    }

    #[test]
    fn headers_of_strangers_never_panic(header in ".{0,50}", now: i64) {
        if let Some(wish) = RetryAfter::parse(&header, now) {
            prop_assert!(wish.0 <= RetryAfter::MAX);
        }
    }

    #[test]
    fn what_is_accepted_is_written_and_read_back(
        timeout in 100_u64..=300_000,
        delays in prop::collection::vec(1_u64..1_000_000_000, 0..=50),
        thousandths in proptest::option::of(0..=1000_u16),
        rate in proptest::option::of((1_u32..=1_000_000, 100_u64..=86_400_000)),
        batch in proptest::option::of((1_u32..=10_000, 1024_u64..=64 << 20, 1_u64..=3_600_000)),
    ) {
        let policy = Policy {
            timeout: Some(Duration::from_millis(timeout)),
            retry: Some(Retry::Delays(delays.into_iter().map(Duration::from_millis).collect())),
            jitter: thousandths.map(|part| Jitter::UpTo(f64::from(part) / 1000.0)),
            rate: rate.map(|(limit, per)| Rate { limit, per: Duration::from_millis(per) }),
            batch: batch
                .map(|(events, bytes, wait)| Batch { events, bytes, wait: Duration::from_millis(wait) }),
            ..Policy::default()
        };
        let text = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    }
}

// The page shows every field, with the defaults where it shows any.
#[test]
fn the_documentation_is_true() {
    let page = include_str!("../../../../docs/policy.md");
    let example = page.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    let written = Policy::from_json(&example).unwrap();
    let standard = Policy::standard();
    let full = Policy { retry: standard.retry.clone(), jitter: None, batch: None, rate: None, ..written.clone() };
    assert_eq!(full, standard);
    assert_eq!(written.batch, Some(Batch::default()));
    assert_eq!(written.jitter, Some(Jitter::of(&standard.retry.unwrap())));
    for field in example.as_object().unwrap().keys() {
        assert!(page.contains(&format!("| `{field}")), "{field} has no row");
    }
}
