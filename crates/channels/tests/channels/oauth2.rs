//! Webhooks with `auth.oauth2` against a receiver that is target and token URL at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use posthaste_channels::{Content, Dispatch, Outcome, Report};
use serde_json::{Value, json};

use crate::receiver::{Receiver, Reply, Seen, status};
use crate::{AMPLE, failure, loopback_channels, try_once};

fn wire() -> Content {
    let headers = vec![(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"))];
    Content::Wire { body: Bytes::from_static(b"[]"), headers, query: None, url: None }
}

/// `/token` gives `token-1`, `token-2`, …; `/hook` takes only what `good` says.
async fn start(good: Arc<Mutex<String>>, expires_in: Value) -> Receiver {
    let given = AtomicUsize::new(0);
    Receiver::start(move |_, seen| answer(seen, &given, &good.lock().expect("lock"), &expires_in)).await
}

fn answer(seen: &Seen, given: &AtomicUsize, good: &str, expires_in: &Value) -> Reply {
    if seen.line().contains("/token") {
        let number = given.fetch_add(1, Ordering::SeqCst) + 1;
        return status(200, "", &json!({"access_token": format!("token-{number}"), "expires_in": expires_in}).to_string());
    }
    let sent = seen.header("authorization").unwrap_or_default();
    let fits = good == "any" || sent == format!("Bearer {good}");
    status(if fits { 200 } else { 401 }, "", "")
}

fn settings(receiver: &Receiver) -> Value {
    let body = json!({"client_id": "me", "client_secret": "a&b", "grant_type": "client_credentials", "n": 7});
    json!({"url": receiver.url("/hook"), "auth": {"oauth2": {"url": receiver.url("/token"), "body": body}}})
}

fn lines(receiver: &Receiver) -> Vec<String> {
    let path = |seen: &Seen| seen.line().split(' ').nth(1).expect("a path").to_owned();
    receiver.seen().iter().map(|seen| [path(seen), seen.header("authorization").unwrap_or("-").to_owned()].join(" ")).collect()
}

#[tokio::test]
async fn a_token_is_fetched_by_a_form_and_kept() {
    let receiver = start(Arc::new(Mutex::new("token-1".to_owned())), json!(3600)).await;
    let channels = loopback_channels();
    let webhook = channels.webhook().expect("a standard channel").clone();
    assert_eq!(webhook.token_in_use((1, 1)), None);
    for _ in 0..3 {
        let report = try_once(&channels, "webhook", &settings(&receiver), wire()).await;
        assert_eq!((&report.outcome, report.status), (&Outcome::Answered, Some(200)));
        assert!(report.request.contains("authorization: [masked]") && !report.request.contains("token-"), "{}", report.request);
    }
    assert_eq!(lines(&receiver), ["/token -", "/hook Bearer token-1", "/hook Bearer token-1", "/hook Bearer token-1"]);
    let asked = &receiver.seen()[0];
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked.body, b"client_id=me&client_secret=a%26b&grant_type=client_credentials&n=7");
    let held = webhook.token_in_use((1, 1)).expect("a token");
    assert_eq!((held.token.as_str(), held.expires_in), ("token-1", Some(3600)));
    assert_eq!(webhook.token_in_use((1, 2)), None);
}

// MOMENTUM-79
#[tokio::test]
async fn a_refused_token_is_renewed_once_within_the_try() {
    let good = Arc::new(Mutex::new("token-1".to_owned()));
    let receiver = start(Arc::clone(&good), json!("3600")).await;
    let channels = loopback_channels();
    assert_eq!(try_once(&channels, "webhook", &settings(&receiver), wire()).await.status, Some(200));
    *good.lock().expect("lock") = "token-2".to_owned();
    assert_eq!(try_once(&channels, "webhook", &settings(&receiver), wire()).await.status, Some(200));
    assert_eq!(lines(&receiver)[2..], ["/hook Bearer token-1", "/token -", "/hook Bearer token-2"]);
    // What is refused although it is new is an answer like any other.
    *good.lock().expect("lock") = "none".to_owned();
    assert_eq!(try_once(&channels, "webhook", &settings(&receiver), wire()).await.status, Some(401));
    assert_eq!(lines(&receiver)[5..], ["/hook Bearer token-2", "/token -", "/hook Bearer token-3"]);
}

#[tokio::test]
async fn an_expired_token_is_renewed_before_it_is_sent() {
    let receiver = start(Arc::new(Mutex::new("any".to_owned())), json!(0)).await;
    let channels = loopback_channels();
    for _ in 0..2 {
        assert_eq!(try_once(&channels, "webhook", &settings(&receiver), wire()).await.status, Some(200));
    }
    assert_eq!(lines(&receiver), ["/token -", "/hook Bearer token-1", "/token -", "/hook Bearer token-2"]);
}

#[tokio::test]
async fn a_token_of_the_settings_serves_until_it_is_refused() {
    let good = Arc::new(Mutex::new("given".to_owned()));
    let receiver = start(Arc::clone(&good), json!(3600)).await;
    let channels = loopback_channels();
    let mut settings = settings(&receiver);
    settings["auth"]["oauth2"]["access_token"] = json!("given");
    assert_eq!(try_once(&channels, "webhook", &settings, wire()).await.status, Some(200));
    *good.lock().expect("lock") = "token-1".to_owned();
    assert_eq!(try_once(&channels, "webhook", &settings, wire()).await.status, Some(200));
    assert_eq!(lines(&receiver), ["/hook Bearer given", "/hook Bearer given", "/token -", "/hook Bearer token-1"]);
    let fetched = channels.webhook().expect("standard").fetch_token(&settings, AMPLE, AMPLE).await.expect("a token");
    assert_eq!(fetched.token, "token-2");
}

#[tokio::test]
async fn tries_at_once_share_one_fetch() {
    let receiver = start(Arc::new(Mutex::new("token-1".to_owned())), json!(3600)).await;
    let (channels, settings) = (loopback_channels(), settings(&receiver));
    let (a, b, c) = tokio::join!(
        try_once(&channels, "webhook", &settings, wire()),
        try_once(&channels, "webhook", &settings, wire()),
        try_once(&channels, "webhook", &settings, wire())
    );
    assert!([a, b, c].iter().all(|report| report.status == Some(200)));
    assert_eq!(lines(&receiver).iter().filter(|line| line.starts_with("/token")).count(), 1);
}

// MOMENTUM-78, the channel's part of it.
#[tokio::test]
async fn a_failing_token_url_fails_the_try_and_says_what_it_answered() {
    let channels = loopback_channels();
    let cases = [
        (status(502, "x-why: tired\r\n", "busy"), Some(502), "busy"),
        (status(200, "", "{\"token\":\"secret\"}"), Some(200), ""),
        (status(200, "", "{\"access_token\":\"a b\"}"), Some(200), ""),
    ];
    for (reply, answered, body) in cases {
        let reply = Mutex::new(Some(reply));
        let receiver = Receiver::start(move |_, _| reply.lock().expect("lock").take().expect("one request")).await;
        let report = try_once(&loopback_channels(), "webhook", &settings(&receiver), wire()).await;
        let error = failure(&report);
        assert_eq!((error.code, error.retryable, report.status), ("token_refused", true, answered));
        assert_eq!(report.response_body, body);
        assert!(report.request.starts_with("POST /token\n") && !report.request.contains("a&b"), "{}", report.request);
        assert_eq!(lines(&receiver), ["/token -"]);
    }
    let closed = json!({"url": "http://127.0.0.1:9/", "auth": {"oauth2": {"url": "http://127.0.0.1:9/token", "body": {"a": "b"}}}});
    let report: Report = try_once(&channels, "webhook", &closed, wire()).await;
    assert_eq!((failure(&report).code, report.status), ("token_unreachable", None));
}

#[tokio::test]
async fn the_token_url_has_to_answer_within_the_try() {
    let receiver = Receiver::start(|_, _| Reply::Hang(Vec::new())).await;
    let channels = loopback_channels();
    let settings = settings(&receiver);
    let dispatch = Dispatch {
        delivery_id: "dlv_test",
        settings: &settings,
        settings_key: (1, 1),
        content: wire(),
        connect_timeout: AMPLE,
        timeout: Duration::from_millis(80),
    };
    let report = channels.get("webhook").expect("standard").send(dispatch).await;
    assert_eq!(failure(&report).code, "token_unreachable");
}
