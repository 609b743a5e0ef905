//! What receivers get, and what their answers lead to.

use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use posthaste_dialects::mailgun::MailgunSettings;
use posthaste_domain::delivery::DeliveryState;
use serde_json::json;

use crate::rig::{HOOKS, Rig, data, is_signed};
use crate::support::receiver::Receiver;

/// The documented schedule, a minute being a millisecond.
fn scaled() -> MailgunSettings {
    MailgunSettings { retry: [10, 10, 15, 30, 60, 120, 240].map(Duration::from_millis).to_vec(), ..MailgunSettings::default() }
}

// MAILGUN-80, MAILGUN-81, MAILGUN-82, MAILGUN-84, MAILGUN-88, MAILGUN-90, MAILGUN-91, MAILGUN-94
#[tokio::test]
async fn all_urls_of_a_name_get_what_the_events_api_shows() {
    let rig = Rig::start().await;
    let mut receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    rig.hook("clicked", &receivers.iter().collect::<Vec<_>>()).await;
    let key = rig.signing_key().await;
    rig.event("message.clicked", json!({"url": "https://a.test/", "tags": ["t"], "metadata": {"k": "v"}})).await;
    let [item] = &rig.items("").await[..] else { panic!("one event") };
    let mut tokens = std::collections::HashSet::new();
    for receiver in &mut receivers {
        let received = receiver.next().await;
        assert_eq!((received.method.as_str(), received.headers["content-type"].to_str().unwrap()), ("POST", "application/json"));
        let body = received.json();
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["signature", "event-data"]);
        assert_eq!(&body["event-data"], item);
        assert!(body["event-data"]["timestamp"].is_f64() && is_signed(&received, &key));
        let signed_at: i64 = body["signature"]["timestamp"].as_str().unwrap().parse().unwrap();
        assert!((signed_at - rig.stage.engine.now_ms() / 1000).abs() < 30);
        assert!(tokens.insert(body["signature"]["token"].as_str().unwrap().to_owned()));
    }
    assert!(rig.stage.settled().await.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
    assert!(receivers.iter_mut().all(|receiver| receiver.rest().is_empty()));
}

// MAILGUN-95, MAILGUN-96, MAILGUN-97, MAILGUN-98, MAILGUN-99, MAILGUN-104
#[tokio::test]
async fn a_200_and_a_406_end_it_and_nothing_else_does() {
    for (statuses, attempts, state) in [
        (&[200][..], 1, DeliveryState::Delivered),
        (&[406], 1, DeliveryState::Failed),
        (&[201, 204, 202, 200], 4, DeliveryState::Delivered),
        (&[301, 404, 500, 410, 429, 200], 6, DeliveryState::Delivered),
        (&[503, 406], 2, DeliveryState::Failed),
    ] {
        let rig = Rig::with(scaled()).await;
        let answer = |number: usize| StatusCode::from_u16(statuses[number.min(statuses.len() - 1)]).unwrap();
        let mut receiver = Receiver::answering(move |number, _| (answer(number), [("location", "/elsewhere")]).into_response()).await;
        rig.hook("clicked", &[&receiver]).await;
        rig.event("message.clicked", json!({})).await;
        let [delivery] = &rig.stage.settled().await[..] else { panic!("one delivery") };
        assert_eq!((delivery.attempts, delivery.state), (attempts, state), "{statuses:?}");
        let requests = receiver.rest();
        assert_eq!(requests.len(), attempts as usize);
        assert!(requests.iter().all(|request| request.uri.path() == "/hook"), "a redirect is not followed");
    }
}

// MAILGUN-88, MAILGUN-89, MAILGUN-102, MAILGUN-103
#[tokio::test]
async fn seven_retries_follow_the_schedule_and_then_nothing() {
    let rig = Rig::with(scaled()).await;
    let mut receiver = Receiver::statuses(&[500]).await;
    rig.hook("permanent_fail", &[&receiver]).await;
    let key = rig.signing_key().await;
    rig.event("message.failed", json!({"reason": "bounce", "status_code": 550})).await;
    let [delivery] = &rig.stage.settled().await[..] else { panic!("one delivery") };
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Failed, 8));
    let attempts = rig.stage.engine.history().attempts(delivery.key).await.unwrap();
    let waits: Vec<i64> = attempts.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
    assert!(waits.iter().zip([10, 10, 15, 30, 60, 120, 240]).all(|(wait, least)| *wait >= least), "{waits:?}");
    let requests = receiver.take(8).await;
    let first = requests[0].json();
    let mut tokens = std::collections::HashSet::new();
    for request in &requests {
        assert!(is_signed(request, &key));
        let text = String::from_utf8(request.body.to_vec()).unwrap();
        let event = text.split_once(r#""event-data":"#).unwrap().1;
        assert_eq!(event, String::from_utf8(requests[0].body.to_vec()).unwrap().split_once(r#""event-data":"#).unwrap().1);
        assert!(tokens.insert(request.json()["signature"]["token"].as_str().unwrap().to_owned()));
    }
    assert_eq!((&first["event-data"]["event"], &first["event-data"]["severity"]), (&json!("failed"), &json!("permanent")));
    assert!(receiver.rest().is_empty());
}

// MAILGUN-100, MAILGUN-101
#[tokio::test]
async fn no_answer_is_tried_again() {
    let rig = Rig::with(MailgunSettings { timeout: Duration::from_millis(200), ..scaled() }).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}/", closed.local_addr().unwrap());
    let refusing = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", gone.local_addr().unwrap())
    };
    rig.post(HOOKS, &[("id", "clicked"), ("url", &hanging), ("url", &refusing)]).await.expect(200);
    rig.event("message.clicked", json!({})).await;
    let deliveries = rig.stage.settled().await;
    assert!(deliveries.iter().all(|delivery| delivery.attempts == 8 && delivery.state == DeliveryState::Failed), "{deliveries:?}");
    let mut codes = std::collections::BTreeSet::new();
    for delivery in &deliveries {
        codes.extend(rig.stage.engine.history().attempts(delivery.key).await.unwrap().into_iter().filter_map(|attempt| attempt.error));
    }
    assert_eq!(codes.iter().map(|code| &**code).collect::<Vec<_>>(), ["connect_refused", "timeout"]);
}

// MAILGUN-105
#[tokio::test]
async fn the_delivered_webhook_is_sent_once_unless_switched_on() {
    for (retry_delivered, attempts) in [(false, 1), (true, 8)] {
        let rig = Rig::with(MailgunSettings { retry_delivered, ..scaled() }).await;
        let receiver = Receiver::statuses(&[500]).await;
        rig.hook("delivered", &[&receiver]).await;
        rig.event("message.delivered", json!({})).await;
        let [delivery] = &rig.stage.settled().await[..] else { panic!("one delivery") };
        assert_eq!((delivery.attempts, delivery.state), (attempts, DeliveryState::Failed));
    }
}

// MAILGUN-106
#[tokio::test]
async fn a_failing_url_does_not_delay_the_others() {
    let rig = Rig::start().await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failing = Receiver::statuses(&[500]).await;
    let mut good = Receiver::start().await;
    let silent = format!("http://{}/", hanging.local_addr().unwrap());
    rig.post(HOOKS, &[("id", "clicked"), ("url", &silent), ("url", &failing.url), ("url", &good.url)]).await.expect(200);
    for number in 0..50 {
        rig.event("message.clicked", json!({"metadata": {"n": number}})).await;
    }
    assert_eq!(good.take(50).await.len(), 50);
}

// MAILGUN-107
#[tokio::test]
async fn pending_retries_survive_a_restart() {
    let delay = MailgunSettings { retry: vec![Duration::from_secs(3600)], ..MailgunSettings::default() };
    let rig = Rig::with(delay).await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    rig.hook("clicked", &[&receiver]).await;
    rig.event("message.clicked", json!({})).await;
    let first = receiver.next().await;
    let stored = || async { rig.stage.deliveries().await.iter().any(|delivery| delivery.state == DeliveryState::Scheduled) };
    while !stored().await {
        tokio::task::yield_now().await;
    }
    rig.stage.clock.advance(Duration::from_secs(3600));
    let rig = rig.restart().await;
    let second = receiver.next().await;
    assert_eq!(first.json()["event-data"], second.json()["event-data"]);
    assert!(is_signed(&second, &rig.signing_key().await));
    rig.stage.settled().await;
}

// MAILGUN-108, MAILGUN-120, MAILGUN-121
#[tokio::test]
async fn each_name_fires_for_its_events_and_domain_only() {
    let rig = Rig::start().await;
    rig.domain(rig.stage.workspace, "other.test").await;
    let mut permanent = Receiver::start().await;
    let mut temporary = Receiver::start().await;
    rig.hook("permanent_fail", &[&permanent]).await;
    rig.hook("temporary_fail", &[&temporary]).await;
    for type_name in ["message.accepted", "message.delivered", "message.opened", "message.clicked", "message.sent", "message.received"] {
        rig.event(type_name, json!({})).await;
    }
    rig.stage.publish("message.failed", &[data(json!({"domain": "other.test"}))]).await;
    rig.event("message.failed", json!({"reason": "rejected"})).await;
    rig.event("message.failed", json!({"message_id": "p"})).await;
    rig.event("message.deferred", json!({"message_id": "t"})).await;
    let (failed, deferred) = (permanent.next().await.json(), temporary.next().await.json());
    for (body, id, severity, level) in [(&failed, "p", "permanent", "error"), (&deferred, "t", "temporary", "warn")] {
        let event = &body["event-data"];
        assert_eq!((&event["message"]["headers"]["message-id"], &event["severity"]), (&json!(id), &json!(severity)));
        assert_eq!(event["log-level"], level);
    }
    assert_eq!(deferred["event-data"]["delivery-status"]["retry-seconds"], 600);
    assert_eq!(rig.stage.settled().await.len(), 2);
    assert!(permanent.rest().is_empty() && temporary.rest().is_empty());
}

// MAILGUN-77, MAILGUN-78, MAILGUN-79
#[tokio::test]
async fn account_webhooks_fire_for_every_domain_and_each_url_once() {
    let rig = Rig::start().await;
    rig.domain(rig.stage.workspace, "other.test").await;
    let (mut both, mut of_account, mut of_domain) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    rig.hook("clicked", &[&both, &of_domain]).await;
    for url in [&both.url, &of_account.url] {
        rig.post("/v1/webhooks", &[("url", url), ("event_types", "clicked")]).await.expect(200);
    }
    for domain in ["d.test", "other.test"] {
        rig.stage.publish("message.clicked", &[data(json!({"domain": domain}))]).await;
    }
    let domains = |requests: Vec<crate::support::receiver::Received>| {
        let mut names: Vec<String> =
            requests.iter().map(|request| request.json()["event-data"]["domain"]["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(rig.stage.settled().await.len(), 5);
    assert_eq!(domains(both.rest()), ["d.test", "other.test"]);
    assert_eq!(domains(of_account.rest()), ["d.test", "other.test"]);
    assert_eq!(domains(of_domain.rest()), ["d.test"]);
}

// MAILGUN-93
#[tokio::test]
async fn a_new_signing_key_signs_what_comes_later() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    rig.hook("clicked", &[&receiver]).await;
    let old = rig.signing_key().await;
    rig.event("message.clicked", json!({})).await;
    assert!(is_signed(&receiver.next().await, &old));
    let made = rig.post("/v5/accounts/http_signing_key", &[]).await.expect(200);
    rig.event("message.clicked", json!({})).await;
    let received = receiver.next().await;
    assert!(is_signed(&received, made["http_signing_key"].as_str().unwrap()) && !is_signed(&received, &old));
}

// A removed URL gets nothing any more, not what waits to be tried again either.
#[tokio::test]
async fn taking_a_url_off_cancels_its_retries() {
    let delay = MailgunSettings { retry: vec![Duration::from_millis(300)], ..MailgunSettings::default() };
    let rig = Rig::with(delay).await;
    let (mut gone, mut kept) = (Receiver::statuses(&[500]).await, Receiver::statuses(&[500, 200]).await);
    rig.hook("clicked", &[&gone, &kept]).await;
    rig.event("message.clicked", json!({})).await;
    gone.next().await;
    rig.put(&format!("{HOOKS}/clicked"), &[("url", &kept.url)]).await.expect(200);
    let mut states: Vec<DeliveryState> = rig.stage.settled().await.iter().map(|delivery| delivery.state).collect();
    states.sort_by_key(|state| *state as u8);
    assert_eq!(states, [DeliveryState::Delivered, DeliveryState::Cancelled]);
    assert_eq!((kept.rest().len(), gone.rest().len()), (2, 0));
}
