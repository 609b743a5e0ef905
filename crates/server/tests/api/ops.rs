//! Health and metrics.

use std::time::Duration;

use http::header;
use serde_json::{Value, json};

use crate::rig::Rig;

/// The value of a sample, by its name with labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let rig = Rig::new().await;
    let ask = async |path| rig.raw("GET", path, "", &[], "").await;
    assert_eq!((ask("/healthz").await.status.as_u16(), ask("/healthz").await.text()), (200, "ok\n"));
    assert_eq!((ask("/readyz").await.status.as_u16(), ask("/readyz").await.text()), (200, "ready\n"));
    rig.engine.shutdown(Duration::from_secs(5)).await;
    assert_eq!((ask("/readyz").await.status.as_u16(), ask("/readyz").await.text()), (503, "shutting down\n"));
    assert_eq!(ask("/healthz").await.status, 200, "the process itself is well");
    // What cannot be done any more is a 503 that says so, and when to come back.
    let refused = rig.post("/events", json!({"type": "a", "data": 1})).await;
    assert_eq!((refused.problem().0, refused.problem().1.as_str()), (503, "shutting_down"));
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(rig.post("/event-types", json!({"name": "abc"})).await.problem().1, "shutting_down");
    assert_eq!(rig.get("/events").await.problem().1, "shutting_down");
}

// Everything that the contract names is counted as it happens.
#[tokio::test]
async fn metrics_count_what_happened() {
    let rig = Rig::new().await;
    let (good, bad, held) = (rig.target("ok").await, rig.target("status/500").await, rig.target("held").await);
    rig.subscribe(&good, &["*"]).await;
    let policy = json!({"retry": {"delays": ["1ms"]}, "jitter": 0});
    rig.post("/subscriptions", json!({"event_types": ["a"], "target_id": bad, "policy": policy})).await.expect(201);
    rig.subscribe(&held, &["a"]).await;
    rig.call("POST", &format!("/targets/{held}/pause"), Value::Null).await.expect(200);
    let event = rig.publish("a", json!(1)).await;
    for state in ["delivered", "failed", "held"] {
        rig.delivery_in(&event, state).await;
    }
    rig.clock.advance(Duration::from_secs(90));
    let answer = rig.raw("GET", "/metrics", "", &[], "").await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    for (name, value) in [
        ("posthaste_events_accepted_total".to_owned(), 1.0),
        ("posthaste_attempts_total".to_owned(), 3.0),
        ("posthaste_deliveries_delivered_total".to_owned(), 1.0),
        ("posthaste_deliveries_failed_total".to_owned(), 1.0),
        ("posthaste_deliveries_retried_total".to_owned(), 1.0),
        ("posthaste_commit_seconds_count".to_owned(), 1.0),
        ("posthaste_commit_seconds_bucket{le=\"+Inf\"}".to_owned(), 1.0),
        ("posthaste_commit_events_sum".to_owned(), 1.0),
        ("posthaste_commit_events_bucket{le=\"1\"}".to_owned(), 1.0),
        (format!("posthaste_target_pending{{target=\"{held}\"}}"), 1.0),
        (format!("posthaste_target_pending{{target=\"{good}\"}}"), 0.0),
        (format!("posthaste_target_in_flight{{target=\"{good}\"}}"), 0.0),
        ("posthaste_watchers".to_owned(), 0.0),
        // The rig's channel makes no connections.
        ("posthaste_http_connections_opened_total".to_owned(), 0.0),
        ("posthaste_http_connections_reused_total".to_owned(), 0.0),
        ("posthaste_http2_answers_total".to_owned(), 0.0),
        ("posthaste_tls_handshakes_total".to_owned(), 0.0),
        ("posthaste_tls_resumed_total".to_owned(), 0.0),
    ] {
        assert_eq!(sample(text, &name), Some(value), "{name} in {text}");
    }
    for bound in ["0.0001", "0.00025", "0.05", "1"] {
        assert!(sample(text, &format!("posthaste_commit_seconds_bucket{{le=\"{bound}\"}}")).is_some(), "{bound} in {text}");
    }
    let lag = sample(text, &format!("posthaste_target_lag_seconds{{target=\"{held}\"}}")).expect("a lag");
    assert!((90.0..120.0).contains(&lag), "{lag}");
    // The text keeps to the format: every sample has its help and its type.
    let mut described = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            described = rest.split(' ').next().expect("a name");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("name and kind");
            assert!(name == described && matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
        } else {
            assert!(line.starts_with(described) && line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok()), "{line}");
        }
    }
    assert!(text.ends_with('\n'));
}

#[tokio::test]
async fn every_answer_has_its_request_id() {
    let rig = Rig::new().await;
    for path in ["/healthz", "/nothing", "/posthaste/v1/events", "/inbox"] {
        let own = rig.raw("GET", path, "", &[("x-request-id", "trace-1")], "").await;
        assert_eq!(own.headers["x-request-id"], "trace-1", "{path}");
        let made = rig.raw("GET", path, "", &[("x-request-id", "not one\tword")], "").await;
        assert!(made.headers["x-request-id"].len() == 16, "{path}: {:?}", made.headers);
    }
}

#[tokio::test]
async fn statistics_add_up() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let event = rig.publish("a", json!(1)).await;
    rig.delivery_in(&event, "delivered").await;
    let numbers = rig.until("/statistics", |numbers| numbers["server"]["delivered"] == 1).await;
    assert_eq!(
        (&numbers["server"]["accepted"], &numbers["server"]["attempts"], &numbers["server"]["failed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let resources = &numbers["resources"];
    assert_eq!((&resources["keys"], &resources["targets"], &resources["subscriptions"]), (&json!(1), &json!(1), &json!(1)));
    assert!(numbers["workspace_id"].is_string() && numbers["server"]["journal_bytes"].as_u64() > Some(0), "{numbers}");
}
