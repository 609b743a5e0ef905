//! Webhooks: who gets which, what they look like, and which answers are good.

use std::collections::BTreeSet;
use std::time::Duration;

use posthaste_dialects::msgine::MsgineSettings;
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::message;
use posthaste_domain::resource::{Subscription, Target};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::rig::{FAILING, INVALID, NUMBER, ONE, Receiver, Reply, Rig, TWO};

async fn send_to(rig: &Rig, to: Value, callback: &str) -> Value {
    rig.post(ONE, &json!({ "to": to, "message": "Hi", "callbackUrl": callback })).await.expect(201)
}

// MSGINE-39, MSGINE-42, MSGINE-43, MSGINE-44, MSGINE-45
#[tokio::test]
async fn a_callback_hears_sent_then_delivered() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    let url = format!("{}/hook/sms?order=17", receiver.url);
    let sent = rig.post(ONE, &json!({ "to": NUMBER, "message": "Hi", "from": "MyApp", "callbackUrl": url })).await.expect(201);
    let mut seen = receiver.take(2).await;
    // Two deliveries may overtake each other on the way; what they tell says which is which.
    seen.sort_by_key(|webhook| webhook.event() == "message.delivered");
    let secret = rig.secret();
    let mut ids = BTreeSet::new();
    for (webhook, event, status) in [(&seen[0], "message.sent", "sent"), (&seen[1], "message.delivered", "delivered")] {
        assert_eq!((webhook.method.as_str(), webhook.uri.to_string().as_str()), ("POST", "/hook/sms?order=17"));
        assert_eq!((webhook.header("content-type"), webhook.header("user-agent")), ("application/json", "MsGine-Webhook/1.0"));
        let body = webhook.json();
        let names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["id", "event", "status", "to", "from", "timestamp", "messageId", "sid"]);
        let expected = json!({
            "id": sent["id"], "event": event, "status": status, "to": NUMBER, "from": "MyApp", "timestamp": "2026-11-21T12:00:00Z",
            "messageId": sent["id"], "sid": sent["sid"]
        });
        assert_eq!(body, expected);
        let signature = webhook.header("x-msgine-signature");
        assert!(signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert!(webhook.is_signed_with(&secret) && !webhook.is_signed_with("another"));
        ids.insert(webhook.header("x-msgine-delivery").to_owned());
    }
    assert_eq!(ids.len(), 2, "every event has an id of its own");
}

// MSGINE-40
#[tokio::test]
async fn a_failure_says_why() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    send_to(&rig, json!(INVALID), &receiver.url).await;
    let refused = receiver.next().await.json();
    assert_eq!((&refused["event"], &refused["status"], &refused["to"]), (&json!("message.failed"), &json!("failed"), &json!(INVALID)));
    let names: Vec<&str> = refused.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names[6..], ["messageId", "sid", "failureReason", "errorCode"]);
    assert!(refused["failureReason"].as_str().is_some_and(|reason| reason.contains("invalid")), "{refused}");
    assert!(refused["errorCode"].as_str().is_some_and(|code| !code.is_empty()), "{refused}");
    send_to(&rig, json!(FAILING), &receiver.url).await;
    let both = receiver.take(2).await;
    let failed = both.iter().find(|webhook| webhook.event() == "message.failed").expect("it failed").json();
    assert!(failed["failureReason"].is_string() && failed["errorCode"].is_string(), "{failed}");
}

// MSGINE-41
#[tokio::test]
async fn every_recipient_has_webhooks_of_its_own() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    let three = ["+256701521269", "+256701234567", "+256709876543"];
    send_to(&rig, json!(three), &receiver.url).await;
    let told: BTreeSet<(String, String)> =
        receiver.take(6).await.iter().map(|w| (w.json()["to"].as_str().expect("a string").to_owned(), w.event())).collect();
    let expected = three.iter().flat_map(|to| ["message.delivered", "message.sent"].map(|event| ((*to).to_owned(), event.to_owned())));
    assert_eq!(told, expected.collect());
}

// MSGINE-46: here as serde writes and reads it; the client tests ask Node itself.
#[tokio::test]
async fn bodies_are_what_a_json_writer_would_write() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    rig.webhook(&format!("{}/hook", receiver.url), &["message.failed"]).await;
    let data = json!({
        "channel": "sms", "message_id": "ext/1", "recipient": "+1", "sender": "Zü/ri🚀", "description": "не \"доставлено\" </a>\u{2028}\t"
    });
    let event = posthaste_engine::Incoming {
        kind: posthaste_engine::IncomingKind::Named(message::FAILED.into()),
        // As PHP and Python write JSON.
        payload: data.to_string().replace('/', "\\/").replace('ü', "\\u00fc").into(),
        deliver_at_ms: None,
    };
    rig.sms(NUMBER).await;
    let source = std::sync::Arc::new(posthaste_domain::event::Source { via: "api".into(), key: None, ip: None });
    let request = posthaste_engine::AcceptRequest { workspace: rig.workspace, source, events: vec![event], idempotency: None };
    rig.engine.accept(request).await.unwrap();
    let webhook = receiver.next().await;
    assert_eq!(webhook.body, serde_json::to_vec(&webhook.json()).unwrap());
    let text = String::from_utf8(webhook.body.to_vec()).unwrap();
    assert!(text.contains(r#""from":"Zü/ri🚀""#) && text.contains("не \\\"доставлено\\\" </a>\u{2028}\\t"), "{text}");
    assert!(webhook.is_signed_with(&rig.secret()));
}

// MSGINE-49, MSGINE-50, MSGINE-51
#[tokio::test]
async fn callbacks_win_and_dashboards_get_what_they_ticked() {
    let rig = Rig::start().await;
    // Nowhere to tell anything: it is sent all the same.
    let quiet = rig.sms(NUMBER).await;
    rig.until_status(quiet["id"].as_str().unwrap(), "delivered").await;

    let (mut all, mut delivered, mut failed, mut callback) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await);
    rig.webhook(&all.url, &["message.sent", "message.delivered", "message.failed"]).await;
    rig.webhook(&delivered.url, &["message.delivered"]).await;
    rig.webhook(&failed.url, &["message.failed"]).await;
    let own = send_to(&rig, json!([NUMBER, INVALID]), &format!("{}/own", callback.url)).await;
    let told: BTreeSet<String> = callback.take(3).await.iter().map(|webhook| webhook.event()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    rig.until_status(own["id"].as_str().unwrap(), "delivered").await;

    let plain = rig.post(ONE, &json!({ "to": [NUMBER, INVALID], "message": "Hi" })).await.expect(201);
    let everything = all.take(3).await;
    let told: BTreeSet<String> = everything.iter().map(|webhook| webhook.event()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    let (one, other) = (delivered.next().await, failed.next().await);
    assert_eq!((one.event().as_str(), other.event().as_str()), ("message.delivered", "message.failed"));
    for webhook in everything.iter().chain([&one, &other]) {
        assert_eq!(webhook.json()["id"], plain["id"], "only the message without a callback URL");
    }
    assert!(callback.rest().is_empty() && all.rest().is_empty() && delivered.rest().is_empty() && failed.rest().is_empty());
}

// MSGINE-52, MSGINE-53
#[tokio::test]
async fn any_2xx_is_good_and_everything_else_is_tried_again() {
    let rig = Rig::with(MsgineSettings { retry_delays: vec![Duration::from_millis(1)], ..MsgineSettings::default() }).await;
    let mut receiver = Receiver::start().await;
    for (status, attempts, state) in [
        (200, 1, DeliveryState::Delivered),
        (201, 1, DeliveryState::Delivered),
        (204, 1, DeliveryState::Delivered),
        (299, 1, DeliveryState::Delivered),
        (301, 2, DeliveryState::Delivered),
        (302, 2, DeliveryState::Delivered),
        (400, 2, DeliveryState::Delivered),
        (404, 2, DeliveryState::Delivered),
        (410, 2, DeliveryState::Delivered),
        (429, 2, DeliveryState::Delivered),
        (500, 2, DeliveryState::Delivered),
    ] {
        let path = format!("/{status}");
        receiver.answer(&path, &[Reply::Status(status), Reply::Status(200)]);
        let target = rig.webhook(&format!("{}{path}", receiver.url), &["message.failed"]).await;
        rig.sms(INVALID).await;
        // The clock stands still unless it is pushed: the retry is due a millisecond later. Who answers 429 is left alone for a second.
        let first = receiver.next().await;
        rig.until_attempts(&target, 1).await;
        if attempts == 2 {
            rig.pass(Duration::from_secs(if status == 429 { 1 } else { 0 }) + Duration::from_millis(1));
            rig.nudge().await;
            assert_eq!(receiver.next().await.body, first.body, "{status}");
        }
        let delivery = rig.until_attempts(&target, attempts).await;
        assert_eq!(delivery.state, state, "{status}");
        for (entry, engine) in rig.engine.list::<Subscription>(rig.workspace).into_iter().map(|entry| (entry, &rig.engine)) {
            if entry.doc.target_id == target.id {
                engine.delete::<Subscription>(rig.workspace, &entry.id).await.unwrap();
            }
        }
        rig.pass(Duration::from_secs(1));
    }
    assert!(receiver.rest().is_empty());
}

// MSGINE-54, MSGINE-55
#[tokio::test]
async fn silence_and_closed_ports_are_failures() {
    // Five seconds by default: that number is pinned beside the format.
    let settings = MsgineSettings { webhook_timeout: Duration::from_millis(300), ..MsgineSettings::default() };
    let rig = Rig::with(settings).await;
    let mut receiver = Receiver::start().await;
    receiver.answer("/slow", &[Reply::Hang]);
    let slow = rig.webhook(&format!("{}/slow", receiver.url), &["message.failed"]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let refused = rig.webhook(&format!("http://{address}/"), &["message.failed"]).await;
    rig.sms(INVALID).await;
    for (target, error) in [(&slow, "timeout"), (&refused, "connect_refused")] {
        let delivery = rig.until_attempts(target, 1).await;
        assert_eq!(delivery.state, DeliveryState::Scheduled, "{error}");
        let attempts = rig.engine.history().attempts(delivery.key).await.unwrap();
        assert_eq!(attempts[0].error.as_deref(), Some(error));
    }
    receiver.next().await;
    rig.pass(Duration::from_secs(60));
    rig.nudge().await;
    receiver.next().await;
    assert_eq!(rig.until_attempts(&slow, 2).await.state, DeliveryState::Delivered);
}

// MSGINE-61
#[tokio::test]
async fn a_hanging_receiver_delays_nobody_else() {
    let rig = Rig::start().await;
    rig.choose(json!({ "webhook_secret": "whsec_test", "tier": "professional" })).await;
    let (mut hanging, mut well) = (Receiver::start().await, Receiver::start().await);
    hanging.answer("/", &[Reply::Hang; 1000]);
    rig.webhook(&format!("{}/", hanging.url), &["message.failed"]).await;
    rig.webhook(&format!("{}/", well.url), &["message.failed"]).await;
    for _ in 0..40 {
        rig.sms(INVALID).await;
    }
    let started = tokio::time::Instant::now();
    well.take(40).await;
    assert!(started.elapsed() < Duration::from_secs(5), "nobody waited for the time-out of the other");
    assert!(!hanging.rest().is_empty());
}

// Callback URLs: one target for each origin, however many paths and messages.
#[tokio::test]
async fn callback_hosts_are_few_and_forgotten() {
    let settings = MsgineSettings { max_callback_hosts: 3, callback_idle: Duration::from_secs(30 * 86_400), ..MsgineSettings::default() };
    let rig = Rig::with(settings).await;
    let mut receiver = Receiver::start().await;
    let url = |n: u32| format!("http://127.0.0.1:{}/hook", 20_000 + n);
    for n in 0..3 {
        send_to(&rig, json!(INVALID), &format!("{}/{n}", receiver.url)).await;
    }
    assert_eq!(receiver.take(3).await.len(), 3);
    assert_eq!(rig.callback_targets().len(), 1);
    let scheduled = json!({ "to": NUMBER, "message": "x", "callbackUrl": url(1), "scheduledFor": "2027-01-20T00:00:00Z" });
    rig.post(TWO, &scheduled).await.expect(201);
    send_to(&rig, json!(INVALID), &url(2)).await;
    let refused = rig.post(ONE, &json!({ "to": NUMBER, "message": "x", "callbackUrl": url(3) })).await;
    refused.error(400, "invalid_callback_url");

    // What is being stored while the clock jumps would look stuck for days.
    rig.until_events(message::FAILED, 4).await;
    rig.pass(Duration::from_secs(29 * 86_400));
    send_to(&rig, json!(INVALID), &receiver.url).await;
    rig.until_events(message::FAILED, 5).await;
    rig.pass(Duration::from_secs(2 * 86_400));
    send_to(&rig, json!(INVALID), &url(3)).await;
    let names: BTreeSet<String> = rig.callback_targets().iter().map(|target| target.doc.name.clone()).collect();
    let own = receiver.url.trim_start_matches("http://").to_owned();
    // The second was idle for 31 days; the first was used two days ago, and a message of January still needs the other.
    let expected = [own.clone(), "127.0.0.1:20001".to_owned(), "127.0.0.1:20003".to_owned()];
    assert_eq!(names, expected.into_iter().map(|origin| format!("Callbacks to http://{origin}")).collect());

    // Whoever deletes what the server made gets it again.
    receiver.take(1).await;
    let target = rig.callback_targets().into_iter().find(|target| target.doc.name.ends_with(&own)).unwrap();
    let of_target = rig.engine.list::<Subscription>(rig.workspace).into_iter().find(|s| s.doc.target_id == target.id).unwrap();
    rig.engine.delete::<Subscription>(rig.workspace, &of_target.id).await.unwrap();
    rig.engine.delete::<Target>(rig.workspace, &target.id).await.unwrap();
    send_to(&rig, json!(INVALID), &receiver.url).await;
    receiver.next().await;
}

// MSGINE-64: a new secret takes effect for later requests.
#[tokio::test]
async fn a_new_secret_signs_from_now_on() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    rig.webhook(&receiver.url, &["message.failed"]).await;
    rig.sms(INVALID).await;
    let old = rig.secret();
    assert!(receiver.next().await.is_signed_with(&old));
    rig.choose(json!({ "webhook_secret": "whsec_renewed" })).await;
    rig.sms(INVALID).await;
    let webhook = receiver.next().await;
    assert!(webhook.is_signed_with("whsec_renewed") && !webhook.is_signed_with(&old));
}

// MSGINE-65: a signed sample, and what came back.
#[tokio::test]
async fn a_test_sends_a_signed_sample_and_shows_the_answer() {
    let rig = Rig::start().await;
    let earlier = rig.sms(NUMBER).await;
    rig.until_status(earlier["id"].as_str().unwrap(), "delivered").await;
    let mut receiver = Receiver::start().await;
    receiver.answer("/hook", &[Reply::Status(202), Reply::Status(500)]);
    let target = rig.webhook(&format!("{}/hook", receiver.url), &["message.delivered"]).await;
    for (event, status, delivered) in [("message.failed", 202, true), ("message.sent", 500, false)] {
        let sample = json!({ "event": event, "recipient": NUMBER }).to_string();
        let report = rig
            .engine
            .test_target(rig.workspace, &target.id, posthaste_engine::Sample { data: Some(sample.into()), type_name: None })
            .await
            .unwrap();
        assert_eq!((report.delivered, report.attempt.status), (delivered, Some(status)));
        let webhook = receiver.next().await;
        assert_eq!((webhook.event().as_str(), webhook.json()["to"].as_str()), (event, Some(NUMBER)));
        assert!(webhook.is_signed_with(&rig.secret()));
    }
    assert!(rig.deliveries(&target).await.is_empty(), "nothing is stored");
}
