//! The test call.

use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use posthaste_dialects::mailgun::MailgunSettings;
use serde_json::{Value, json};

use crate::rig::{HOOKS, Rig, is_signed};
use crate::support::receiver::Receiver;

async fn test(rig: &Rig, name: &str, url: &str) -> Value {
    rig.put(&format!("{HOOKS}/{name}/test"), &[("url", url)]).await.expect(200)
}

// MAILGUN-41, MAILGUN-42, MAILGUN-43, MAILGUN-47, MAILGUN-48, MAILGUN-49
#[tokio::test]
async fn a_sample_is_sent_once_as_a_delivery_would_be() {
    let rig = Rig::start().await;
    let body = r#"{"message":"Post received. Thanks!"}"#;
    let mut receiver = Receiver::answering(move |_, _| body.into_response()).await;
    let key = rig.signing_key().await;
    let mut ids = std::collections::HashSet::new();
    for (name, event) in [
        ("accepted", "accepted"),
        ("delivered", "delivered"),
        ("opened", "opened"),
        ("clicked", "clicked"),
        ("unsubscribed", "unsubscribed"),
        ("complained", "complained"),
        ("permanent_fail", "failed"),
        ("temporary_fail", "failed"),
    ] {
        let answer = test(&rig, name, &receiver.url).await;
        assert_eq!(answer, json!({"code": null, "message": body}), "{name}");
        let received = receiver.next().await;
        assert_eq!((received.method.as_str(), received.headers["content-type"].to_str().unwrap()), ("POST", "application/json"));
        assert!(is_signed(&received, &key));
        let sent = received.json();
        assert_eq!((&sent["event-data"]["event"], &sent["event-data"]["domain"]["name"]), (&json!(event), &json!("d.test")));
        let severity = name.strip_suffix("_fail").map_or(Value::Null, Value::from);
        assert_eq!(sent["event-data"]["severity"], severity);
        assert!(ids.insert(sent["event-data"]["id"].as_str().unwrap().to_owned()), "every sample has an id of its own");
    }
    assert!(receiver.rest().is_empty());
    assert_eq!(rig.get(HOOKS).await.expect(200), json!({"webhooks": {}}));
}

// MAILGUN-44, MAILGUN-45, MAILGUN-46, MAILGUN-50
#[tokio::test]
async fn whatever_the_receiver_does_is_told_with_200() {
    let rig = Rig::with(MailgunSettings { timeout: Duration::from_millis(300), ..MailgunSettings::default() }).await;
    for status in [500u16, 204, 302, 201, 406] {
        let answer = StatusCode::from_u16(status).unwrap();
        let mut receiver = Receiver::answering(move |_, _| (answer, [("location", "/elsewhere")]).into_response()).await;
        assert_eq!(test(&rig, "clicked", &receiver.url).await, json!({"code": status, "message": ""}));
        receiver.next().await;
        assert!(receiver.rest().is_empty(), "{status} is not tried again and leads nowhere");
    }
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/", closed.local_addr().unwrap());
    let silent = test(&rig, "clicked", &nobody).await;
    drop(closed);
    for answer in [silent, test(&rig, "clicked", &nobody).await] {
        assert_eq!(answer["code"], 0);
        assert!(!answer["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(rig.items("").await, [Value::Null; 0]);
    assert!(rig.stage.events().await.is_empty() && rig.stage.deliveries().await.is_empty());
}

// MAILGUN-51, MAILGUN-52
#[tokio::test]
async fn a_test_wants_one_url_and_a_known_name() {
    let rig = Rig::start().await;
    let target = format!("{HOOKS}/clicked/test");
    rig.put(&target, &[]).await.expect(400);
    rig.put(&target, &[("url", "http://a/"), ("url", "http://b/")]).await.expect(400);
    assert!(rig.put(&target, &[("url", "ftp://a/")]).await.expect(400)["Reason"].is_string());
    for name in ["unknown", "bounce", "rejected"] {
        let answer = rig.put(&format!("{HOOKS}/{name}/test"), &[("url", "http://a/")]).await;
        assert_eq!(answer.expect(404), json!({"message": "Webhook not found"}));
    }
    let nowhere = rig.put("/v3/domains/nowhere.test/webhooks/clicked/test", &[("url", "http://a/")]).await;
    assert_eq!(nowhere.expect(404), json!({"message": "Domain not found"}));
}
