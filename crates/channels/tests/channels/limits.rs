//! Time and bytes, under paused time: the seconds here are exact and cost nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_channels::http_client::{BODY_KEPT, BODY_READ};
use posthaste_channels::{Content, Outcome};
use serde_json::{Value, json};

use crate::memory::{Memory, Plan};
use crate::receiver::{Desk, Reply, status};
use crate::{failure, message, try_within};

const SECOND: Duration = Duration::from_secs(1);

fn hook() -> Value {
    json!({"url": "http://hooks.example/in"})
}

fn content() -> Content {
    message("{}")
}

/// MSGGO-65: a target that answers after 2 s is a time-out at exactly 2 s; one that answers before is not.
#[tokio::test(start_paused = true)]
async fn two_seconds_are_two_seconds() {
    let answer = |after| Desk::new(move |_, _| Reply::After(after, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()));
    let late = Memory::serving(&answer(Duration::from_millis(2001)));
    let report = try_within(&late.channels(), "webhook", &hook(), content(), SECOND, 2 * SECOND).await;
    assert_eq!((failure(&report).code, report.status, report.duration), ("timeout", None, 2 * SECOND));
    let timely = Memory::serving(&answer(Duration::from_millis(1999)));
    let report = try_within(&timely.channels(), "webhook", &hook(), content(), SECOND, 2 * SECOND).await;
    assert_eq!((report.outcome, report.status), (Outcome::Answered, Some(200)));
}

/// Incident 3: headers, then a byte every 10 s. The try ends at its deadline and is not repeated.
#[tokio::test(start_paused = true)]
async fn a_dripping_body_ends_at_the_deadline() {
    let desk = Desk::new(|_, _| Reply::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec(), 10 * SECOND));
    let memory = Memory::serving(&desk);
    let channels = memory.channels();
    let report = try_within(&channels, "webhook", &hook(), content(), SECOND, 30 * SECOND).await;
    assert_eq!((failure(&report).code, report.status, report.duration), ("timeout", Some(200), 30 * SECOND));
    assert_eq!(report.response_body.len(), 3);
    assert_eq!(desk.seen().len(), 1);
    // The dripping connection is not used again.
    let _ = try_within(&channels, "webhook", &hook(), content(), SECOND, SECOND).await;
    assert_eq!(channels.http_stats().opened, 2);
}

/// Incident 4: a body without end. At most the cap is read, and the status counts.
#[tokio::test(start_paused = true)]
async fn an_endless_body_is_cut_and_its_status_counts() {
    for framing in ["transfer-encoding: identity", "content-length: 10737418240"] {
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").into_bytes();
        let desk = Desk::new(move |_, _| Reply::Flood(head.clone()));
        let memory = Memory::serving(&desk);
        let report = try_within(&memory.channels(), "webhook", &hook(), content(), SECOND, 30 * SECOND).await;
        assert_eq!((&report.outcome, report.status, report.response_body.len()), (&Outcome::Answered, Some(200), BODY_KEPT));
        assert!(report.duration < SECOND);
        while desk.closed.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // What was read, what lay in the pipe, and one read buffer.
        let bound = BODY_READ + 64 * 1024 + 64 * 1024;
        assert!(desk.flooded.load(Ordering::SeqCst) <= bound, "{}", desk.flooded.load(Ordering::SeqCst));
    }
}

/// Past the excerpt a slow rest costs a moment, not the try.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_after_the_excerpt_does_not_fail_the_try() {
    let mut head = b"HTTP/1.1 204 x\r\ncontent-length: 50000\r\n\r\n".to_vec();
    head[9..12].copy_from_slice(b"200");
    head.extend(vec![b'x'; BODY_KEPT]);
    let memory = Memory::serving(&Desk::new(move |_, _| Reply::Hang(head.clone())));
    let report = try_within(&memory.channels(), "webhook", &hook(), content(), SECOND, 30 * SECOND).await;
    assert_eq!((report.outcome, report.status, report.response_body.len()), (Outcome::Answered, Some(200), BODY_KEPT));
    assert!(report.duration < SECOND);
}

#[tokio::test(start_paused = true)]
async fn connecting_has_a_time_of_its_own_for_each_try() {
    let memory = Memory::new(&[&["93.184.216.34"]], |_| Plan::Hang);
    let channels = memory.channels();
    for seconds in [1, 3] {
        let report = try_within(&channels, "webhook", &hook(), content(), seconds * SECOND, 10 * SECOND).await;
        assert_eq!((failure(&report).code, report.duration), ("connect_timeout", seconds * SECOND));
    }
    // A resolver that never answers is part of connecting, too.
    let mute = Memory::new(&[], |_| Plan::Hang);
    let report = try_within(&mute.channels(), "webhook", &hook(), content(), SECOND, 10 * SECOND).await;
    assert_eq!((failure(&report).code, report.duration), ("connect_timeout", SECOND));
    // And the whole is never longer than the whole.
    let report = try_within(&channels, "webhook", &hook(), content(), 10 * SECOND, 2 * SECOND).await;
    assert_eq!((failure(&report).code, report.duration), ("timeout", 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_address_is_overtaken_by_the_next() {
    let desk = Desk::new(|_, _| status(200, "", ""));
    let memory = Memory::new(&[&["2606:4700::1", "2606:4700::2", "93.184.216.34"]], move |address| match address.is_ipv4() {
        true => Plan::Serve(desk.clone()),
        false => Plan::Hang,
    });
    let report = try_within(&memory.channels(), "webhook", &hook(), content(), 5 * SECOND, 5 * SECOND).await;
    assert_eq!((report.status, report.duration), (Some(200), Duration::from_millis(250)));
    assert_eq!(memory.dialled(), ["[2606:4700::1]:80", "93.184.216.34:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusing_address_gives_way_at_once() {
    let desk = Desk::new(|_, _| status(200, "", ""));
    let memory = Memory::new(&[&["93.184.216.1", "93.184.216.2"]], move |address| match address.ip().to_string().ends_with(".2") {
        true => Plan::Serve(desk.clone()),
        false => Plan::Refuse,
    });
    let report = try_within(&memory.channels(), "webhook", &hook(), content(), 5 * SECOND, 5 * SECOND).await;
    assert_eq!((report.status, report.duration), (Some(200), Duration::ZERO));
    let refusing = Memory::new(&[&["93.184.216.1", "93.184.216.2"]], |_| Plan::Refuse);
    let report = try_within(&refusing.channels(), "webhook", &hook(), content(), 5 * SECOND, 5 * SECOND).await;
    assert_eq!((failure(&report).code, refusing.dialled().len()), ("connect_refused", 2));
}
