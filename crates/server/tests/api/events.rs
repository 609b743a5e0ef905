//! Publishing, paging, waiting and watching.

use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt;
use posthaste_server::ServerSettings;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::rig::{Answer, PATIENCE, Rig, id, ids};

const EVENTS: &str = "/posthaste/v1/events";

async fn publish_with_key(rig: &Rig, key: &str, body: &str) -> Answer {
    rig.raw("POST", EVENTS, &rig.token, &[("content-type", "application/json"), ("idempotency-key", key)], body.to_owned()).await
}

// Incident 13: the same idempotency key from 100 connections at once gives one event and 100 equal answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_makes_one_event() {
    let rig = std::sync::Arc::new(Rig::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let rig = rig.clone();
        tasks.spawn(async move { publish_with_key(&rig, "k-1", r#"{"type":"a","data":{"n":1}}"#).await });
    }
    let answers: Vec<Answer> = tasks.join_all().await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.text()), (202, answers[0].text()));
    }
    let fresh = answers.iter().filter(|answer| !answer.headers.contains_key("idempotent-replayed")).count();
    assert_eq!(fresh, 1);
    assert_eq!(rig.get("/events").await.expect(200)["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn idempotency_keys_are_durable_and_compare_the_body() {
    let rig = Rig::new().await;
    let body = r#"[{"type":"a","data":1},{"type":"b","data":2}]"#;
    let first = publish_with_key(&rig, "k", body).await;
    let rig = rig.restart().await;
    let again = publish_with_key(&rig, "k", body).await;
    assert_eq!((first.expect(202), again.headers["idempotent-replayed"].to_str().ok()), (again.expect(202), Some("true")));
    let other = publish_with_key(&rig, "k", r#"[{"type":"a","data":1}, {"type":"b","data":2}]"#).await;
    assert_eq!(other.problem(), (422, "idempotency_mismatch".into(), Some("Idempotency-Key".into())));
    for bad in [" ", "a b", "é", &"x".repeat(256)] {
        assert_eq!(publish_with_key(&rig, bad, body).await.problem().1, "invalid_idempotency_key", "{bad}");
    }
    publish_with_key(&rig, &"x".repeat(255), body).await.expect(202);
    assert_eq!(ids(&rig.get("/events").await.expect(200)).len(), 4);
}

#[tokio::test]
async fn idempotency_keys_belong_to_their_workspace_and_good_requests() {
    let rig = Rig::new().await;
    let body = r#"{"type":"a","data":1}"#;
    // A refused request uses nothing up.
    assert_eq!(publish_with_key(&rig, "k", r#"{"type":"a"}"#).await.problem().1, "missing_field");
    let first = publish_with_key(&rig, "k", body).await.expect(202);
    let other = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
    let token = other["token"].as_str().expect("a token");
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let second = rig.raw("POST", EVENTS, token, &headers, body).await;
    assert!(!second.headers.contains_key("idempotent-replayed"));
    assert_ne!(id(&second.expect(202)), id(&first));
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(rig.raw("POST", EVENTS, &rig.token, &twice, body).await.problem().1, "invalid_idempotency_key");
}

// Incident 14: number spellings, duplicate keys and lone surrogates come back byte for byte, and go out so.
#[tokio::test]
async fn data_is_byte_identical() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let data = r#"{"b":1,"a":1.0,"n":1e400,"dup":1,"dup":2,"lone":"\ud800",  "big":123456789012345678901234567890 }"#;
    let body = format!("{{\"type\":\"a\",\"data\":  {data}  }}");
    let sent = rig.raw("POST", EVENTS, &rig.token, &[], body).await.expect(202);
    let list = rig.get("/events").await;
    assert!(list.text().contains(&format!("\"data\":{data}")), "{}", list.text());
    let one = rig.get(&format!("/events/{}", id(&sent))).await;
    assert!(one.text().contains(&format!("\"data\":{data}")), "{}", one.text());
    assert_eq!(rig.recorder.wait_for(1).await[0].body, data.as_bytes());
}

#[tokio::test]
async fn events_survive_a_restart_and_stay_in_their_workspace() {
    let rig = Rig::new().await;
    let event = rig.publish("a", json!({"n": 1})).await;
    let rig = rig.restart().await;
    assert_eq!(rig.get(&format!("/events/{event}")).await.expect(200)["data"], json!({"n": 1}));
    let other = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
    let token = other["token"].as_str().expect("a token");
    let path = format!("{EVENTS}/{event}");
    assert_eq!(rig.raw("GET", &path, token, &[], "").await.problem().1, "not_found");
    assert_eq!(ids(&rig.raw("GET", EVENTS, token, &[], "").await.expect(200)), Vec::<String>::new());
    // Only the first workspace makes others, and each sees itself.
    let headers = [("content-type", "application/json")];
    let refused = rig.raw("POST", "/posthaste/v1/workspaces", token, &headers, r#"{"name":"x"}"#).await;
    assert_eq!(refused.problem().1, "scope_missing");
    assert_eq!(ids(&rig.raw("GET", "/posthaste/v1/workspaces", token, &[], "").await.expect(200)), [id(&other)]);
    assert_eq!(ids(&rig.get("/workspaces").await.expect(200)).len(), 2);
}

// Pages neither skip nor repeat while events keep arriving.
#[tokio::test]
async fn cursors_are_stable_under_concurrent_writes() {
    let rig = Rig::new().await;
    let mut before = Vec::new();
    for n in 0..25 {
        before.push(rig.publish("a", json!(n)).await);
    }
    for order in ["desc", "asc"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = rig.get(&format!("/events?limit=7&order={order}{cursor}")).await.expect(200);
            seen.extend(ids(&page));
            rig.publish("a", json!("later")).await;
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        if order == "desc" {
            seen.reverse();
            assert_eq!(seen, before);
        } else {
            assert_eq!(seen[..before.len()], before);
            let mut unique = seen.clone();
            unique.dedup();
            assert_eq!(unique.len(), seen.len());
        }
        before = ids(&rig.get("/events?order=asc&limit=1000").await.expect(200));
    }
}

#[tokio::test]
async fn lists_filter_by_type_and_time() {
    let rig = Rig::new().await;
    let first = rig.post("/events", json!({"type": "a", "data": 1})).await.expect(202);
    rig.clock.advance(Duration::from_secs(10));
    let second = rig.post("/events", json!({"type": "b", "data": 2})).await.expect(202);
    assert_eq!(ids(&rig.get("/events?type=a").await.expect(200)), [id(&first)]);
    let from = second["received_at"].as_str().expect("a time");
    assert_eq!(ids(&rig.get(&format!("/events?from={from}")).await.expect(200)), [id(&second)]);
    assert_eq!(ids(&rig.get(&format!("/events?to={from}")).await.expect(200)), [id(&first)]);
    assert!(ids(&rig.get("/events?unmatched=true").await.expect(200)).is_empty());
    assert_eq!(rig.get("/events?type=a.*").await.problem().2.as_deref(), Some("type"));
}

// Whoever knows an event of a list goes on after it, in both orders.
#[tokio::test]
async fn the_id_of_an_event_is_a_cursor() {
    let rig = Rig::new().await;
    let mut sent = Vec::new();
    for n in 0..4 {
        sent.push(rig.publish(if n == 3 { "other" } else { "a" }, json!(n)).await);
    }
    let after = |order: &str| format!("/events?order={order}&type=a&cursor={}", sent[1]);
    assert_eq!(ids(&rig.get(&after("asc")).await.expect(200)), [sent[2].clone()]);
    assert_eq!(ids(&rig.get(&after("desc")).await.expect(200)), [sent[0].clone()]);
    assert_eq!(ids(&rig.get(&format!("/events?wait=1s&cursor={}", sent[2])).await.expect(200)), [sent[3].clone()]);
    assert_eq!(rig.get("/events?cursor=evt_nothing").await.problem().1, "invalid_cursor");
}

// A page of large events ends early and goes on where it ended.
#[tokio::test]
async fn pages_are_bounded_in_bytes() {
    let settings = ServerSettings { max_page_bytes: 20_000, ..ServerSettings::default() };
    let rig = Rig::with(settings).await;
    let mut sent = Vec::new();
    for _ in 0..100 {
        sent.push(rig.publish("a", json!("x".repeat(1000))).await);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let answer = rig.get(&format!("/events?order=asc{cursor}")).await;
        assert!(answer.bytes.len() < 120_000, "{} bytes", answer.bytes.len());
        let page = answer.expect(200);
        seen.extend(ids(&page));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, sent);
    assert!(pages > 1);
}

#[tokio::test]
async fn a_long_poll_returns_as_soon_as_something_arrives() {
    let rig = Rig::new().await;
    let old = rig.publish("a", json!(1)).await;
    let all = rig.get("/events?wait=30s").await.expect(200);
    assert_eq!(ids(&all), [old]);
    let cursor = all["next"].as_str().expect("a place to go on from").to_owned();
    let (path, begun) = (format!("/events?wait=30s&cursor={cursor}&type=b"), tokio::time::Instant::now());
    let (found, event) = tokio::join!(rig.get(&path), async {
        // The first is not for this watcher.
        rig.publish("a", json!(2)).await;
        rig.publish("b", json!(3)).await
    });
    assert_eq!(ids(&found.expect(200)), [event]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    // Nothing new: empty, but with a cursor.
    let nothing = rig.get("/events?wait=20ms&cursor=latest").await.expect(200);
    assert!(ids(&nothing).is_empty() && nothing["next"].is_string(), "{nothing}");
    assert_eq!(rig.get("/events?wait=30s&order=desc").await.problem().2.as_deref(), Some("order"));
    assert_eq!(rig.get("/events?wait=90s").await.problem().2.as_deref(), Some("wait"));
}

#[tokio::test]
async fn watchers_are_counted() {
    let rig = Rig::with(ServerSettings { max_watchers: 1, ..ServerSettings::default() }).await;
    let (first, second) = tokio::join!(rig.get("/events?wait=200ms"), rig.get("/events?wait=200ms"));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
    let refused = if first.status == 429 { first } else { second };
    assert_eq!((refused.problem().1.as_str(), refused.headers[header::RETRY_AFTER].to_str().ok()), ("too_many_requests", Some("1")));
}

/// Reads frames of a stream until one satisfies.
async fn frames_until(body: &mut axum::body::Body, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(wanted) {
            let frame = body.frame().await.expect("the stream goes on").expect("a frame");
            text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8"));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the stream sends in time");
    text
}

#[tokio::test]
async fn a_stream_sends_new_events_and_goes_on_after_a_break() {
    let rig = Rig::new().await;
    rig.publish("order.old", json!(0)).await;
    let open = |last: Option<String>| {
        let mut request = Request::builder().uri("/posthaste/v1/events/stream?type=order.*").header("x-posthaste-key", &rig.token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        rig.app.clone().oneshot(request.body(axum::body::Body::empty()).expect("a request"))
    };
    let response = open(None).await.expect("an answer");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream; charset=utf-8");
    let mut body = response.into_body();
    frames_until(&mut body, "retry:").await;
    rig.publish("user.created", json!(1)).await;
    let first = rig.publish("order.paid", json!({"n": 2})).await;
    let text = frames_until(&mut body, &first).await;
    assert!(!text.contains("user.created") && !text.contains("order.old"), "{text}");
    let cursor = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    drop(body);
    let second = rig.publish("order.sent", json!(3)).await;
    let mut body = open(Some(cursor)).await.expect("an answer").into_body();
    let text = frames_until(&mut body, &second).await;
    assert!(!text.contains(&first), "{text}");
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    assert_eq!(serde_json::from_str::<Value>(data).expect("JSON")["data"], 3);
}

// Middlemen close connections on which nothing happens.
#[tokio::test]
async fn a_quiet_stream_says_that_it_is_still_there() {
    let rig = Rig::new().await;
    let request = Request::builder().uri("/posthaste/v1/events/stream").header("x-posthaste-key", &rig.token);
    let response = rig.app.clone().oneshot(request.body(axum::body::Body::empty()).expect("a request")).await.expect("an answer");
    let mut body = response.into_body();
    // Once it has sent something, it waits and reads no more: only then may time run ahead.
    frames_until(&mut body, "retry:").await;
    let event = rig.publish("a", json!(1)).await;
    frames_until(&mut body, &event).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    frames_until(&mut body, ": still here").await;
    assert!((15..17).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn deliver_at_waits() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let at = posthaste_domain::clock::rfc3339(crate::rig::START_MS + 3_600_000);
    let event = rig.post("/events", json!({"type": "a", "data": 1, "deliver_at": at})).await.expect(202);
    let shown = rig.get(&format!("/events/{}", id(&event))).await.expect(200);
    let delivery = &shown["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["next_attempt_at"]), (&json!("queued"), &json!(at)));
    let cancelled = rig.call("POST", &format!("/deliveries/{}/cancel", id(delivery)), Value::Null).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
}

#[tokio::test]
async fn all_deliveries_of_an_event_are_resent() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let event = rig.publish("a", json!(1)).await;
    let delivery = rig.delivery_in(&event, "delivered").await;
    let resent = rig.call("POST", &format!("/events/{event}/resend"), Value::Null).await.expect(200);
    assert_eq!(ids(&resent), [id(&delivery)]);
    assert_eq!(rig.recorder.wait_for(2).await[1].delivery_id, id(&delivery));
}
