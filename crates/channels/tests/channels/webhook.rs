//! The webhook channel and the HTTP client against receivers on loopback.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use posthaste_channels::http_client::{BODY_KEPT, HttpStats};
use posthaste_channels::{Content, Outcome};
use posthaste_domain::delivery::Fault;
use serde_json::json;
use tokio::net::TcpListener;

use crate::receiver::{Receiver, Reply, status};
use crate::{AMPLE, failure, loopback_channels, message, try_once, try_within};

/// Time that a receiver may take where the test is about running out of it.
const SHORT: Duration = Duration::from_millis(80);

fn wire(body: &'static [u8]) -> Content {
    let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let headers = vec![header("content-type", "application/json"), header("webhook-id", "msg_1")];
    Content::Wire { body: Bytes::from_static(body), headers, query: None, url: None }
}

/// Incident 14, the part of it that is this channel's: the very bytes arrive.
#[tokio::test]
async fn body_bytes_and_headers_arrive_as_given() {
    let receiver = Receiver::start(|_, _| status(202, "x-answer: yes\r\n", "thanks")).await;
    let channels = loopback_channels();
    let settings = json!({"url": receiver.url("/hook?a=1"), "auth": {"bearer": "sesame"}, "headers": {"X-Team": "blue"}});
    let body = br#"{"b":1,"a":1.0,"n":1e400,"dup":1,"dup":2} "#;
    let report = try_once(&channels, "webhook", &settings, wire(body)).await;
    assert_eq!((&report.outcome, report.status), (&Outcome::Answered, Some(202)));
    assert_eq!(&*report.response, "HTTP/1.1 202 Accepted\ncontent-length: 6\nx-answer: yes");
    assert_eq!(report.response_body, "thanks");
    assert!(!report.request.contains("sesame"), "{}", report.request);
    let seen = &receiver.seen()[0];
    assert_eq!(seen.line(), "POST /hook?a=1 HTTP/1.1");
    assert_eq!(seen.body, body);
    assert_eq!(seen.header("webhook-id"), Some("msg_1"));
    assert_eq!(seen.header("authorization"), Some("Bearer sesame"));
    assert_eq!(seen.header("x-team"), Some("blue"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("Posthaste/")));
}

#[tokio::test]
async fn every_method_goes_out_as_such() {
    let receiver = Receiver::start(|_, _| status(200, "", "")).await;
    let channels = loopback_channels();
    for (version, method) in ["POST", "PUT", "DELETE", "PATCH", "GET"].into_iter().enumerate() {
        let settings = json!({"url": receiver.url("/m"), "method": method});
        let dispatch = posthaste_channels::Dispatch {
            delivery_id: "dlv_test",
            settings: &settings,
            settings_key: (1, version as i64),
            content: message("{}"),
            connect_timeout: AMPLE,
            timeout: AMPLE,
        };
        let report = channels.get("webhook").expect("webhook").send(dispatch).await;
        assert_eq!(report.status, Some(200));
        let seen = receiver.seen().pop().expect("a request");
        assert_eq!(seen.line(), format!("{method} /m HTTP/1.1"));
        assert_eq!(seen.body.is_empty(), method == "GET");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let receiver = Receiver::start(|_, _| status(200, "", "ok")).await;
    let channels = loopback_channels();
    let settings = json!({"url": receiver.url("/")});
    for _ in 0..5 {
        assert_eq!(try_once(&channels, "webhook", &settings, wire(b"{}")).await.status, Some(200));
    }
    assert_eq!(receiver.connections(), 1);
    assert_eq!(channels.http_stats(), HttpStats { opened: 1, reused: 4, ..HttpStats::default() });
}

/// STDWH-49, MSGGO-65's neighbour and incident 8: a redirect is an answer, and what it points to sees nothing.
#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Receiver::start(|_, _| status(200, "", "")).await;
    for code in [301, 302, 303, 307, 308] {
        let location = format!("location: {}\r\n", elsewhere.url("/stolen"));
        let receiver = Receiver::start(move |_, _| status(code, &location, "")).await;
        let settings = json!({"url": receiver.url("/")});
        let report = try_once(&loopback_channels(), "webhook", &settings, wire(b"{}")).await;
        assert_eq!((report.outcome, report.status), (Outcome::Answered, Some(code)));
        assert_eq!(receiver.seen().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// Incident 7, the part of it that is this channel's: the header is handed on as it was sent.
#[tokio::test]
async fn retry_after_is_handed_on_as_sent() {
    for text in ["86400", "-1", "0", "Wed, 21 Oct 2015 07:28:00 GMT", "120.6"] {
        let header = format!("retry-after: {text}\r\n");
        let receiver = Receiver::start(move |_, _| status(503, &header, "")).await;
        let report = try_once(&loopback_channels(), "webhook", &json!({"url": receiver.url("/")}), wire(b"{}")).await;
        assert_eq!((report.status, report.retry_after.as_deref()), (Some(503), Some(text)));
    }
}

#[tokio::test]
async fn the_excerpt_is_capped_and_the_connection_survives_a_middling_body() {
    let receiver = Receiver::start(|_, _| status(500, "", &"x".repeat(40_000))).await;
    let channels = loopback_channels();
    let settings = json!({"url": receiver.url("/")});
    for _ in 0..2 {
        let report = try_once(&channels, "webhook", &settings, wire(b"{}")).await;
        assert_eq!((report.status, report.response_body.len()), (Some(500), BODY_KEPT));
    }
    assert_eq!(channels.http_stats(), HttpStats { opened: 1, reused: 1, ..HttpStats::default() });
}

#[tokio::test]
async fn a_refused_connection() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("an address")
    };
    let report = try_once(&loopback_channels(), "webhook", &json!({"url": format!("http://{address}/")}), wire(b"{}")).await;
    let error = failure(&report);
    assert_eq!((error.code, error.fault, error.retryable), ("connect_refused", Fault::Network, true));
    assert_eq!(error.message, "no connection to 127.0.0.1: connection refused");
}

#[tokio::test]
async fn a_receiver_that_hangs_before_its_headers() {
    let receiver = Receiver::start(|_, _| Reply::Hang(Vec::new())).await;
    let report = try_within(&loopback_channels(), "webhook", &json!({"url": receiver.url("/")}), wire(b"{}"), SHORT, SHORT).await;
    assert_eq!((failure(&report).code, report.status), ("timeout", None));
    assert!(report.duration >= SHORT);
}

#[tokio::test]
async fn a_receiver_that_closes_or_breaks_off() {
    for (answer, expected) in
        [(&b""[..], None), (b"HTTP/1.1 200 OK\r\ncontent-le", None), (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", Some(200))]
    {
        let receiver = Receiver::start(move |_, _| Reply::Close(answer.to_vec())).await;
        let report = try_once(&loopback_channels(), "webhook", &json!({"url": receiver.url("/")}), wire(b"{}")).await;
        assert_eq!((failure(&report).code, report.status), ("connection_lost", expected), "{}", String::from_utf8_lossy(answer));
        assert_eq!(receiver.seen().len(), 1, "one try is one request");
    }
}

/// Closing with unread bytes in the buffer makes the kernel send a reset.
#[tokio::test]
async fn a_reset_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let settings = json!({"url": format!("http://{}/", listener.local_addr().expect("an address"))});
    let channels = loopback_channels();
    let resetting = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.readable().await.expect("a request");
    };
    let (report, ()) = tokio::join!(try_once(&channels, "webhook", &settings, wire(b"{}")), resetting);
    assert_eq!(failure(&report).code, "connection_lost");
}

#[tokio::test]
async fn answers_that_are_not_http() {
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000)).into_bytes();
    for answer in [b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(), b"HTTP/1.1 banana\r\n\r\n".to_vec(), huge] {
        let receiver = Receiver::start(move |_, _| Reply::Close(answer.clone())).await;
        let report = try_once(&loopback_channels(), "webhook", &json!({"url": receiver.url("/")}), wire(b"{}")).await;
        let error = failure(&report);
        assert_eq!((error.code, error.fault), ("response_invalid", Fault::Theirs), "{}", error.message);
    }
}

#[tokio::test]
async fn unusable_settings_fail_without_a_connection() {
    let report = try_once(&loopback_channels(), "webhook", &json!({"url": "gopher://x"}), wire(b"{}")).await;
    let error = failure(&report);
    assert_eq!((error.code, error.retryable), ("settings_invalid", false));
    assert!(error.message.starts_with("settings.url: "));
}

#[tokio::test]
async fn dropping_a_try_closes_its_connection() {
    let receiver = Receiver::start(|_, _| Reply::Hang(Vec::new())).await;
    let channels = loopback_channels();
    let settings = json!({"url": receiver.url("/")});
    {
        let trying = try_once(&channels, "webhook", &settings, wire(b"{}"));
        tokio::pin!(trying);
        while receiver.seen().is_empty() {
            tokio::select! {
                report = &mut trying => panic!("ended early: {report:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    while receiver.desk.closed.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}
