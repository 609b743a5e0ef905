//! Calls to webhooks: sections 5 and 7.

use std::time::Duration;

use posthaste_domain::event::Source;
use posthaste_domain::message::{MessageChannel, Outgoing, Recipient};
use posthaste_engine::Engine;
use posthaste_store::{DeliveryFilter, Order, Range};
use serde_json::{Map, Value, json};

use crate::rig::{Receiver, Rig, WEBHOOKS, opt_out, reply, report};

/// States of all deliveries of a workspace, oldest first, with their numbers of attempts.
async fn deliveries(engine: &Engine, workspace: i64) -> Vec<(&'static str, u32)> {
    let range = Range { order: Order::Asc, after: None, limit: 100, from_ms: None, to_ms: None };
    let all = engine.history().deliveries(workspace, DeliveryFilter::default(), range).await.unwrap();
    all.iter().map(|delivery| (engine.public_state(delivery), delivery.attempts)).collect()
}

// MESSAGEMEDIA-61, MESSAGEMEDIA-62, MESSAGEMEDIA-63
#[tokio::test]
async fn every_webhook_with_the_event_is_called_once() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        let extra = json!({ "method": method, "headers": { "X-A": "b", "Account": "developer", "Authorization": "Bearer t" }, "template": "$status" });
        rig.hook(&receiver, &["DELIVERED_DR", "FAILED_DR"], extra).await;
    }
    rig.hook(
        &receiver,
        &["SUBMITTED_DR", "RECEIVED_SMS", "RECEIVED_MMS", "OPT_OUT_SMS"],
        json!({ "url": format!("{}/other", receiver.url) }),
    )
    .await;
    rig.publish("message.delivered", report()).await;
    let mut received = receiver.take(5).await;
    received.sort_by_key(|request| request.method.to_string());
    let methods: Vec<&str> = received.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["DELETE", "GET", "PATCH", "POST", "PUT"]);
    for request in &received {
        assert_eq!([request.header("x-a"), request.header("account"), request.header("authorization")], ["b", "developer", "Bearer t"]);
        assert_eq!(request.text(), if request.method == "GET" { "" } else { "delivered" });
        assert_eq!(request.version, http::Version::HTTP_11);
    }
    rig.finish().await;
    assert_eq!(receiver.seen().len(), 5);
}

// MESSAGEMEDIA-62, MESSAGEMEDIA-75: each of the nine events from the event of this server that it is.
#[tokio::test]
async fn each_event_reaches_its_own_webhook() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    let names = [
        "RECEIVED_SMS",
        "OPT_OUT_SMS",
        "RECEIVED_MMS",
        "ENROUTE_DR",
        "SUBMITTED_DR",
        "DELIVERED_DR",
        "EXPIRED_DR",
        "REJECTED_DR",
        "FAILED_DR",
    ];
    for name in names {
        rig.hook(&receiver, &[name], json!({ "url": format!("{}/{name}", receiver.url), "template": "$!status" })).await;
    }
    let with = |mut payload: Value, name: &str, value: &str| {
        payload[name] = json!(value);
        payload
    };
    let events = [
        ("message.received", reply(), "RECEIVED_SMS"),
        ("message.unsubscribed", opt_out(), "OPT_OUT_SMS"),
        ("message.received", with(reply(), "channel", "mms"), "RECEIVED_MMS"),
        ("message.accepted", report(), "ENROUTE_DR"),
        ("message.deferred", report(), "ENROUTE_DR"),
        ("message.sent", report(), "SUBMITTED_DR"),
        ("message.delivered", report(), "DELIVERED_DR"),
        ("message.failed", with(report(), "reason", "expired"), "EXPIRED_DR"),
        ("message.failed", with(report(), "reason", "rejected"), "REJECTED_DR"),
        ("message.failed", with(report(), "reason", "bounce"), "FAILED_DR"),
        // Mail has the same life and is told in the same words.
        ("message.delivered", with(report(), "channel", "email"), "DELIVERED_DR"),
        ("message.opened", report(), ""),
        ("order.created", report(), ""),
    ];
    let mut expected: Vec<String> = Vec::new();
    for (type_name, payload, name) in events {
        rig.publish(type_name, payload).await;
        if !name.is_empty() {
            expected.push(format!("/{name}"));
        }
    }
    let mut called: Vec<String> = receiver.take(expected.len()).await.iter().map(|request| request.uri.path().to_owned()).collect();
    called.sort();
    expected.sort();
    assert_eq!(called, expected);
    rig.finish().await;
    assert_eq!(receiver.seen().len(), expected.len());
}

// MESSAGEMEDIA-92, MESSAGEMEDIA-93: and a redirect is a failure that is not followed.
#[tokio::test]
async fn any_2xx_is_delivered_and_without_retries_one_attempt_is_made() {
    let rig = Rig::start().await;
    let statuses = [
        (200, "delivered"),
        (201, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (500, "failed"),
        (404, "failed"),
        (410, "failed"),
        (302, "failed"),
    ];
    let receiver = Receiver::answering(&statuses.map(|(status, _)| status)).await;
    rig.hook(&receiver, &["DELIVERED_DR"], json!({})).await;
    for (index, _) in statuses.iter().enumerate() {
        rig.publish("message.delivered", report()).await;
        receiver.take(index + 1).await;
        rig.until_settled(index as u64 + 1).await;
    }
    let expected: Vec<(&str, u32)> = statuses.iter().map(|(_, state)| (*state, 1)).collect();
    assert_eq!(deliveries(&rig.engine, rig.workspace).await, expected);
    assert_eq!(receiver.seen().len(), statuses.len());
    // 410 switches nothing off.
    rig.publish("message.delivered", report()).await;
    receiver.take(statuses.len() + 1).await;
    rig.finish().await;
}

// MESSAGEMEDIA-94, MESSAGEMEDIA-95, MESSAGEMEDIA-99
#[tokio::test]
async fn retries_come_after_their_delay_and_no_more_than_asked_for() {
    let rig = Rig::start().await;
    let receiver = Receiver::answering(&[500, 410, 503, 500]).await;
    rig.hook(&receiver, &["FAILED_DR"], json!({ "retries": 2, "retry_delay": 7, "template": "{\"n\":$retryCount}" })).await;
    rig.publish("message.failed", report()).await;
    for attempt in 1..=3_usize {
        let received = receiver.take(attempt).await;
        assert_eq!(received.len(), attempt);
        assert_eq!(received[attempt - 1].json(), json!({ "n": attempt - 1 }));
        if attempt < 3 {
            // Not before its time.
            until_scheduled(&rig, attempt).await;
            rig.pass(Duration::from_millis(6_000)).await;
            tokio::task::yield_now().await;
            assert_eq!(receiver.seen().len(), attempt);
            rig.pass(Duration::from_millis(1_100)).await;
        }
    }
    rig.until_settled(1).await;
    assert_eq!(deliveries(&rig.engine, rig.workspace).await, [("failed", 3)]);
    rig.pass(Duration::from_secs(600)).await;
    rig.finish().await;
    assert_eq!(receiver.seen().len(), 3);
}

/// Waits until the only delivery waits for its next attempt.
async fn until_scheduled(rig: &Rig, attempts: usize) {
    for _ in 0..2000 {
        if deliveries(&rig.engine, rig.workspace).await == [("queued", attempts as u32)] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never waited: {:?}", deliveries(&rig.engine, rig.workspace).await);
}

// MESSAGEMEDIA-96
#[tokio::test]
async fn a_success_ends_the_retries() {
    let rig = Rig::start().await;
    let receiver = Receiver::answering(&[500, 202]).await;
    rig.hook(&receiver, &["FAILED_DR"], json!({ "retries": 5 })).await;
    rig.publish("message.failed", report()).await;
    receiver.first().await;
    until_scheduled(&rig, 1).await;
    rig.pass(Duration::from_millis(5_100)).await;
    receiver.take(2).await;
    rig.until_settled(1).await;
    assert_eq!(deliveries(&rig.engine, rig.workspace).await, [("delivered", 2)]);
    rig.pass(Duration::from_secs(600)).await;
    rig.finish().await;
    assert_eq!(receiver.seen().len(), 2);
}

// MESSAGEMEDIA-97, MESSAGEMEDIA-98: the time is the webhook's own; the other half is in api.rs.
#[tokio::test]
async fn a_slow_target_has_failed() {
    let rig = Rig::start().await;
    let receiver = Receiver::answering(&[0]).await;
    rig.hook(&receiver, &["FAILED_DR"], json!({ "read_timeout": 50 })).await;
    rig.publish("message.failed", report()).await;
    receiver.first().await;
    rig.until_settled(1).await;
    let range = Range { order: Order::Asc, after: None, limit: 1, from_ms: None, to_ms: None };
    let delivery = rig.engine.history().deliveries(rig.workspace, DeliveryFilter::default(), range).await.unwrap().remove(0);
    let attempts = rig.engine.history().attempts(delivery.key).await.unwrap();
    assert_eq!((rig.engine.public_state(&delivery), attempts.len(), attempts[0].error.as_deref()), ("failed", 1, Some("timeout")));
    assert!(attempts[0].duration_us >= 50_000, "{:?}", attempts[0]);
    rig.finish().await;
}

// MESSAGEMEDIA-100
#[tokio::test]
async fn pending_retries_survive_a_restart() {
    let rig = Rig::start().await;
    let receiver = Receiver::answering(&[500]).await;
    rig.hook(&receiver, &["FAILED_DR"], json!({ "retries": 2, "retry_delay": 5, "template": "$retryCount $drId" })).await;
    rig.publish("message.failed", report()).await;
    receiver.first().await;
    until_scheduled(&rig, 1).await;
    let rig = rig.restarted().await;
    rig.pass(Duration::from_millis(5_100)).await;
    let received = receiver.take(2).await;
    let texts: Vec<(&str, &str)> = received.iter().map(|request| request.text().split_once(' ').unwrap()).collect();
    assert_eq!((texts[0].0, texts[1].0, texts[0].1), ("0", "1", texts[1].1));
    rig.until_settled(1).await;
    assert_eq!(deliveries(&rig.engine, rig.workspace).await, [("delivered", 2)]);
    assert_eq!(rig.call("GET", WEBHOOKS, Value::Null).await.1["pageData"][0]["retries"], 2);
    rig.finish().await;
}

// MESSAGEMEDIA-61, MESSAGEMEDIA-68, MESSAGEMEDIA-72, MESSAGEMEDIA-76, MESSAGEMEDIA-78: of messages that this server sends.
#[tokio::test]
async fn the_life_of_a_message_that_this_server_sends() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    let template = r##"{"id":"$mtId","status":"$!status","code":"$!statusCode","text":"$esc.json($!mtContent)","reply":"$esc.json($!moContent)","order":"$!metadata.get('order')","from":"$sourceAddress","submitted":"$!submittedTimestamp","note":"$!notificationId"}"##;
    let events = ["RECEIVED_SMS", "OPT_OUT_SMS", "ENROUTE_DR", "SUBMITTED_DR", "DELIVERED_DR", "EXPIRED_DR", "REJECTED_DR", "FAILED_DR"];
    for event in events {
        rig.hook(&receiver, &[event], json!({ "url": format!("{}/{event}", receiver.url), "template": template })).await;
    }
    // Numbers of the simulator: one that replies, one that opts out, one whose messages expire.
    for (id, number) in [("m-1", "+9990000006"), ("m-2", "+9990000007"), ("m-3", "+9990000005")] {
        let message = Outgoing {
            id: id.to_owned(),
            channel: MessageChannel::Sms,
            dialect: "test".to_owned(),
            sender: "+61491593156".to_owned(),
            recipients: vec![Recipient::of(number)],
            subject: None,
            text: Some("Hi \"Derp\"".to_owned()),
            email: None,
            domain: None,
            tags: Vec::new(),
            metadata: Map::from_iter([("order".to_owned(), json!("7"))]),
            test: false,
            deliver_at_ms: None,
            callback_url: None,
            extra: Map::new(),
            created_ms: 1_481_100_180_850,
        };
        let source = std::sync::Arc::new(Source { via: "test".to_owned(), key: None, ip: None });
        rig.engine.send_message(rig.workspace, source, message, None).await.unwrap();
    }
    let mut received = receiver.take(11).await;
    received.sort_by_key(|request| (request.json()["id"].to_string(), request.uri.path().to_owned()));
    let told: Vec<(String, String)> =
        received.iter().map(|request| (request.json()["id"].as_str().unwrap().to_owned(), request.uri.path()[1..].to_owned())).collect();
    let expected = [
        ("m-1", "DELIVERED_DR"),
        ("m-1", "ENROUTE_DR"),
        ("m-1", "RECEIVED_SMS"),
        ("m-1", "SUBMITTED_DR"),
        ("m-2", "DELIVERED_DR"),
        ("m-2", "ENROUTE_DR"),
        ("m-2", "OPT_OUT_SMS"),
        ("m-2", "SUBMITTED_DR"),
        ("m-3", "ENROUTE_DR"),
        ("m-3", "EXPIRED_DR"),
        ("m-3", "SUBMITTED_DR"),
    ];
    assert_eq!(told, expected.map(|(id, event)| (id.to_owned(), event.to_owned())));
    for request in &received {
        let body = request.json();
        let number = match body["id"].as_str().unwrap() {
            "m-1" => "+9990000006",
            "m-2" => "+9990000007",
            _ => "+9990000005",
        };
        assert_eq!((&body["from"], &body["order"]), (&json!(number), &json!("7")), "{body}");
        let (status, reply) = match &request.uri.path()[1..] {
            "ENROUTE_DR" => ("enroute 101", ""),
            "SUBMITTED_DR" => ("submitted 200", ""),
            "DELIVERED_DR" => ("delivered 220", ""),
            "EXPIRED_DR" => ("expired 320", ""),
            "RECEIVED_SMS" => (" ", "YES"),
            _ => (" ", "STOP"),
        };
        assert_eq!(format!("{} {}", body["status"].as_str().unwrap(), body["code"].as_str().unwrap()), status, "{body}");
        assert_eq!(body["reply"], reply, "{body}");
        let is_opt_out = reply == "STOP";
        assert_eq!(body["text"], if is_opt_out { "" } else { "Hi \"Derp\"" }, "{body}");
        assert_eq!(body["submitted"], if is_opt_out { "" } else { "2016-12-07T08:43:00.850Z" }, "{body}");
        assert_eq!(body["note"].as_str().unwrap().len(), if is_opt_out { 36 } else { 0 }, "{body}");
    }
    rig.finish().await;
    assert_eq!(receiver.seen().len(), 11);
}
