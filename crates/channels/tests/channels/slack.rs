//! The Slack channel against a receiver that answers as Slack documents.

use posthaste_channels::{Outcome, Report};
use serde_json::{Value, json};

use crate::receiver::{Receiver, Seen, status};
use crate::{failure, loopback_channels, message, try_once};

async fn hook_answering(code: u16, headers: &'static str, body: &'static str) -> (Report, Vec<Seen>) {
    let receiver = Receiver::start(move |_, _| status(code, headers, body)).await;
    let settings = json!({"webhook_url": receiver.url("/services/T0/B0/secret")});
    (try_once(&loopback_channels(), "slack", &settings, message("*Hello* &amp; <http://a|b>")).await, receiver.seen())
}

async fn bot_answering(code: u16, headers: &'static str, body: String) -> (Report, Vec<Seen>) {
    let receiver = Receiver::start(move |_, _| status(code, headers, &body)).await;
    let settings = json!({"token": "xoxb-1", "channel": "C123", "api_url": receiver.url("/api/")});
    (try_once(&loopback_channels(), "slack", &settings, message("Hello")).await, receiver.seen())
}

#[tokio::test]
async fn an_incoming_webhook_gets_mrkdwn_text() {
    let (report, seen) = hook_answering(200, "", "ok").await;
    assert_eq!((&report.outcome, report.status), (&Outcome::Delivered, Some(200)));
    assert!(!report.request.contains("secret"), "{}", report.request);
    assert_eq!(seen[0].line(), "POST /services/T0/B0/secret HTTP/1.1");
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].json(), json!({"text": "*Hello* &amp; <http://a|b>", "unfurl_links": false}));
}

#[tokio::test]
async fn an_incoming_webhook_says_why_not() {
    for (code, body) in [(400, "invalid_payload"), (403, "action_prohibited"), (404, "channel_not_found"), (410, "channel_is_archived")] {
        let (report, _) = hook_answering(code, "", body).await;
        let error = failure(&report);
        assert_eq!((error.code, error.retryable, report.status), ("slack_rejected", false, Some(code)));
        assert_eq!(error.message, format!("Slack refused the message: {body}"));
    }
    let (report, _) = hook_answering(429, "retry-after: 30\r\n", "").await;
    assert_eq!((failure(&report).code, failure(&report).retryable, report.retry_after.as_deref()), ("rate_limited", true, Some("30")));
    let (report, _) = hook_answering(500, "", "rollup_error").await;
    assert_eq!((failure(&report).code, failure(&report).retryable), ("slack_unavailable", true));
}

#[tokio::test]
async fn a_bot_posts_with_its_token() {
    let echo = json!({"ok": true, "channel": "C123", "ts": "1.2", "message": {"text": "x".repeat(60_000)}}).to_string();
    let (report, seen) = bot_answering(200, "", echo).await;
    assert_eq!(report.outcome, Outcome::Delivered, "an echo beyond the excerpt is no obstacle");
    assert_eq!(seen[0].line(), "POST /api/chat.postMessage HTTP/1.1");
    assert_eq!(seen[0].header("authorization"), Some("Bearer xoxb-1"));
    assert_eq!(seen[0].header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(seen[0].json(), json!({"channel": "C123", "text": "Hello", "unfurl_links": false}));
    assert!(!report.request.contains("xoxb"), "{}", report.request);
}

#[tokio::test]
async fn a_bot_is_told_why_not_with_status_200() {
    let verdict = |reason: &str| json!({"ok": false, "error": reason}).to_string();
    for reason in ["invalid_auth", "channel_not_found", "is_archived", "msg_too_long", "anything_new"] {
        let (report, _) = bot_answering(200, "", verdict(reason)).await;
        let error = failure(&report);
        assert_eq!((error.code, error.retryable), ("slack_rejected", false), "{reason}");
        assert_eq!(error.message, format!("Slack refused the message: {reason}"));
    }
    let (report, _) = bot_answering(429, "retry-after: 7\r\n", verdict("ratelimited")).await;
    assert_eq!((failure(&report).code, report.retry_after.as_deref()), ("rate_limited", Some("7")));
    let (report, _) = bot_answering(200, "", verdict("ratelimited")).await;
    assert_eq!((failure(&report).code, failure(&report).retryable), ("rate_limited", true));
    let (report, _) = bot_answering(200, "", verdict("internal_error")).await;
    assert_eq!((failure(&report).code, failure(&report).retryable), ("slack_unavailable", true));
    let (report, _) = bot_answering(200, "", "<html>a proxy</html>".to_owned()).await;
    assert_eq!(failure(&report).code, "response_invalid");
}

#[tokio::test]
async fn long_texts_arrive_cut() {
    let receiver = Receiver::start(|_, _| status(200, "", "ok")).await;
    let settings = json!({"webhook_url": receiver.url("/")});
    let report = try_once(&loopback_channels(), "slack", &settings, message(&"é".repeat(50_000))).await;
    assert_eq!(report.outcome, Outcome::Delivered);
    let Value::String(text) = receiver.seen()[0].json()["text"].take() else { panic!("no text") };
    assert!(text.chars().count() <= 40_000 && text.ends_with('…'));
}
