//! Both limiters against the plain list of everything that happened.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const S: i64 = 1000;
const M: i64 = 60 * S;

fn limiter(limit: u32, per_ms: u64) -> RateLimiter {
    RateLimiter::new(Rate { limit, per: Duration::from_millis(per_ms) })
}

#[test]
fn five_hundred_a_minute_is_what_it_says() {
    let mut limiter = limiter(500, 60_000);
    for _ in 0..500 {
        assert_eq!(limiter.take(30 * S), Ok(()));
    }
    let wait = limiter.take(31 * S).unwrap_err();
    assert_eq!(wait, Wait { until_ms: 90 * S, notice: true });
    assert_eq!(limiter.take(90 * S - 1).unwrap_err().until_ms, 90 * S);
    assert_eq!(limiter.take(90 * S), Ok(()));
}

#[test]
fn one_notice_for_each_episode() {
    let mut limiter = limiter(2, 1000);
    let mut notices = Vec::new();
    let mut now = 0;
    // Ten seconds of pressure by somebody who waits as told, a rest, then pressure again.
    for start in [0, 30 * S] {
        assert!(!limiter.limited(start));
        now = now.max(start);
        while now < start + 10 * S {
            match limiter.take(now) {
                Ok(()) => now += 1,
                Err(wait) => {
                    notices.extend(wait.notice.then_some(now));
                    assert!(limiter.limited(now));
                    now = wait.until_ms;
                }
            }
        }
    }
    assert_eq!(notices, [2, 30 * S + 2]);
}

// Incident 9 of the needs list.
#[test]
fn a_clock_that_goes_back_neither_opens_nor_closes_the_limit() {
    let mut limiter = limiter(100, 60_000);
    for _ in 0..100 {
        limiter.take(60 * M).unwrap();
    }
    let wait = limiter.take(0).unwrap_err();
    assert_eq!(wait.until_ms, M);
    assert_eq!(limiter.take(M), Ok(()));
}

#[test]
fn a_lowered_limit_is_kept_by_what_was_taken_before() {
    let mut limiter = limiter(10, 1000);
    for now in 0..10 {
        limiter.take(now).unwrap();
    }
    limiter.set_rate(Rate { limit: 3, per: Duration::from_secs(1) });
    let wait = limiter.take(10).unwrap_err();
    assert_eq!(wait.until_ms, 1007, "two of the newest three must remain");
    assert_eq!(limiter.take(1007), Ok(()));
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

// MSGGO-44, MSGGO-45
#[test]
fn the_sixth_event_in_a_minute_blocks_for_five() {
    let mut limiter = IpLimiter::new(IpSettings::default());
    let ip = address("192.0.2.7");
    for second in 0..5 {
        assert_eq!(limiter.check(1, ip, second * S), Ok(()));
    }
    assert_eq!(limiter.check(1, ip, 59 * S), Err(Duration::from_secs(300)));
    assert_eq!(limiter.check(1, ip, 60 * S), Err(Duration::from_secs(299)));
    assert_eq!(limiter.check(1, ip, 359 * S - 1), Err(Duration::from_millis(1)));
    // Another key, another address: not touched.
    assert_eq!(limiter.check(2, ip, 60 * S), Ok(()));
    assert_eq!(limiter.check(1, address("192.0.2.8"), 60 * S), Ok(()));
    for _ in 0..5 {
        assert_eq!(limiter.check(1, ip, 359 * S), Ok(()));
    }
    assert!(limiter.check(1, ip, 359 * S).is_err());
    // Five, a pause, five: never six within a minute.
    let calm = address("192.0.2.9");
    for now in [0, 0, 0, 0, 0, M, M, M, M, M] {
        assert_eq!(limiter.check(1, calm, now), Ok(()));
    }
}

#[test]
fn an_ipv6_host_is_its_network() {
    let mut limiter = IpLimiter::new(IpSettings::default());
    for host in ["2001:db8::1", "2001:db8::2", "2001:db8::3:4", "2001:db8::5", "2001:db8:0:0:ffff::"] {
        assert_eq!(limiter.check(1, address(host), 0), Ok(()));
    }
    assert!(limiter.check(1, address("2001:db8::6"), 0).is_err());
    assert_eq!(limiter.check(1, address("2001:db8:0:1::6"), 0), Ok(()));
    for _ in 0..5 {
        assert_eq!(limiter.check(1, address("::ffff:192.0.2.1"), 0), Ok(()));
    }
    assert!(limiter.check(1, address("192.0.2.1"), 0).is_err());
}

#[test]
fn memory_is_bounded_and_comes_back() {
    let mut limiter = IpLimiter::new(IpSettings { entries: 10, ..IpSettings::default() });
    for host in 0..100_u8 {
        assert_eq!(limiter.check(1, IpAddr::from([10, 0, 0, host]), 0), Ok(()));
        assert!(limiter.len() <= 10);
    }
    for _ in 0..20 {
        let _ = limiter.check(1, address("10.1.1.1"), 10 * M);
    }
    assert_eq!(limiter.len(), 1);
    assert!(!limiter.is_empty());
}

proptest! {
    /// The model is the list of all takes: no window of `per` may hold more than `limit`; a
    /// refusal names a time at which a take succeeds, at most a window away.
    #[test]
    fn no_window_ever_holds_more(
        limit in prop_oneof![1..10_u32, 50..200_u32],
        per in 1..5000_u64,
        steps in prop::collection::vec((0..300_i64, 1..40_u32, any::<bool>()), 1..150),
    ) {
        let mut limiter = limiter(limit, per);
        let per = i64::try_from(per).unwrap();
        let (mut now, mut taken) = (0_i64, Vec::new());
        for (pass, wanted, obey) in steps {
            now += pass;
            for _ in 0..wanted {
                match limiter.take(now) {
                    Ok(()) => taken.push(now),
                    Err(wait) => {
                        prop_assert!(wait.until_ms > now && wait.until_ms <= now + per);
                        // Exact as long as there is a run for every take.
                        if limit as usize <= BUCKETS {
                            let oldest = taken[taken.len() - limit as usize];
                            prop_assert_eq!(wait.until_ms, oldest + per);
                        }
                        if obey {
                            now = wait.until_ms;
                            prop_assert_eq!(limiter.take(now), Ok(()), "stuck");
                            taken.push(now);
                        }
                        break;
                    }
                }
                prop_assert!(limiter.runs.len() <= BUCKETS, "{} runs", limiter.runs.len());
            }
        }
        for pair in taken.windows(limit as usize + 1) {
            prop_assert!(pair[pair.len() - 1] - pair[0] >= per);
        }
    }

    /// With clocks that jump about, truth is a second clock that never does: the limit holds in
    /// true time as long as the jumps go back, and a wait is never longer than a window.
    #[test]
    fn clocks_that_go_back_do_not_open_it(
        limit in 1..100_u32,
        steps in prop::collection::vec((0..400_i64, 0..5000_i64, any::<bool>()), 1..200),
    ) {
        let mut limiter = limiter(limit, 1000);
        let (mut truth, mut shown, mut taken) = (0_i64, 0_i64, Vec::new());
        for (pass, back, jump) in steps {
            truth += pass;
            shown += pass - if jump { back } else { 0 };
            for _ in 0..30 {
                match limiter.take(shown) {
                    Ok(()) => taken.push(truth),
                    Err(wait) => prop_assert!(wait.until_ms > shown && wait.until_ms <= shown + 1000),
                }
            }
        }
        for pair in taken.windows(limit as usize + 1) {
            prop_assert!(pair[pair.len() - 1] - pair[0] >= 1000);
        }
    }

    /// The model keeps every accepted time of every pair for ever.
    #[test]
    fn the_address_limiter_is_its_description(
        steps in prop::collection::vec((0..3_u64, 0..3_u8, 0..40_000_i64), 1..300),
    ) {
        let mut limiter = IpLimiter::new(IpSettings::default());
        let mut model: BTreeMap<(u64, u8), (Vec<i64>, i64)> = BTreeMap::new();
        let mut now = 0;
        for (key, host, pass) in steps {
            now += pass;
            let (times, blocked_until) = model.entry((key, host)).or_insert((vec![], i64::MIN));
            let recent = times.iter().filter(|time| now - **time < M).count();
            let expected = if now < *blocked_until {
                Err(Duration::from_millis((*blocked_until - now).unsigned_abs()))
            } else if recent >= 5 {
                *blocked_until = now + 5 * M;
                Err(Duration::from_secs(300))
            } else {
                times.push(now);
                Ok(())
            };
            prop_assert_eq!(limiter.check(key, IpAddr::from([10, 0, 0, host]), now), expected);
        }
    }
}
