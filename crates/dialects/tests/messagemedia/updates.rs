//! Updating and deleting: sections 4.4 and 4.5.

use serde_json::{Value, json};

use crate::rig::{Receiver, Rig, WEBHOOKS, report};

async fn with_one() -> (Rig, Value, String) {
    let rig = Rig::start().await;
    let body = json!({
        "url": "http://webhook.com", "method": "POST", "encoding": "JSON", "events": ["RECEIVED_SMS"], "headers": { "X-A": "1" },
        "template": "{\"id\":\"$mtId\"}", "read_timeout": 5000, "retries": 3, "retry_delay": 30
    });
    let webhook = rig.create(body).await;
    let target = format!("{WEBHOOKS}/{}", webhook["id"].as_str().unwrap());
    (rig, webhook, target)
}

// MESSAGEMEDIA-50, MESSAGEMEDIA-51, MESSAGEMEDIA-56
#[tokio::test]
async fn given_fields_change_and_others_stay() {
    let (rig, mut expected, target) = with_one().await;
    for (field, value) in [
        ("url", json!("https://other.example/$mtId")),
        ("method", json!("PUT")),
        ("encoding", json!("FORM_ENCODED")),
        ("events", json!(["FAILED_DR", "OPT_OUT_SMS"])),
        ("headers", json!({ "X-B": "2" })),
        ("template", json!("$statusCode")),
    ] {
        expected[field] = value.clone();
        assert_eq!(rig.call("PATCH", &target, json!({ field: value })).await, (200, expected.clone()), "{field}");
    }
    // As a generated client sends it.
    let nulls = json!({ "url": null, "method": null, "encoding": "XML", "events": null, "headers": null, "template": null });
    expected["encoding"] = json!("XML");
    assert_eq!(rig.call("PATCH", &target, nulls).await, (200, expected.clone()));
    let all = json!({
        "url": "http://third.example", "method": "DELETE", "encoding": "JSON", "events": ["DELIVERED_DR"], "headers": {}, "template": "x"
    });
    expected.as_object_mut().unwrap().extend(all.as_object().unwrap().clone());
    assert_eq!(rig.call("PATCH", &target, all).await, (200, expected.clone()));
    assert_eq!(rig.call("GET", &target, Value::Null).await, (200, expected));
}

// `null` leaves the template (MESSAGEMEDIA-51), so something else must be able to take it away.
#[tokio::test]
async fn an_empty_template_is_none() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    let id = rig.hook(&receiver, &["DELIVERED_DR"], json!({ "template": "mine" })).await;
    let target = format!("{WEBHOOKS}/{id}");
    let (status, now) = rig.call("PATCH", &target, json!({ "template": "" })).await;
    assert_eq!((status, now.get("template")), (200, None));
    assert_eq!(rig.call("GET", &target, Value::Null).await, (200, now));
    rig.publish("message.delivered", report()).await;
    let received = receiver.first().await;
    let body: Value = serde_json::from_str(received.text()).expect("the documented form");
    assert_eq!(body["message_id"], "877c19ef-fa2e-4cec-827a-e1df9b5509f7", "{body}");
    let made = json!({ "url": "http://other.example", "method": "POST", "encoding": "JSON", "events": ["RECEIVED_SMS"], "template": "" });
    assert_eq!(rig.create(made).await.get("template"), None);
    rig.finish().await;
}

// MESSAGEMEDIA-52, MESSAGEMEDIA-53, MESSAGEMEDIA-54
#[tokio::test]
async fn an_update_changes_something_that_can_change() {
    let (rig, webhook, target) = with_one().await;
    for bad in [
        json!({}),
        json!({ "url": null, "events": null }),
        json!({ "events": [] }),
        json!({ "url": "nowhere" }),
        json!({ "method": "HEAD" }),
        json!({ "headers": { "CONTENT-TYPE": "x" } }),
        json!({ "read_timeout": 7 }),
        json!({ "retries": 0, "retry_delay": 5 }),
        json!({ "unknown": 1 }),
        Value::Null,
        json!([]),
    ] {
        assert_eq!(rig.call("PATCH", &target, bad.clone()).await.0, 400, "{bad}");
    }
    let mixed = json!({ "encoding": "JSON", "read_timeout": 7, "retries": 0, "retry_delay": 5 });
    assert_eq!(rig.call("PATCH", &target, mixed).await, (200, webhook));
}

// MESSAGEMEDIA-55
#[tokio::test]
async fn what_does_not_exist_cannot_be_updated() {
    let rig = Rig::start().await;
    for id in ["76fa7010-8c1f-4a24-917a-4d62a54e744d", "WEBHOOK_ID", "1"] {
        let (status, answer) = rig.call("PATCH", &format!("{WEBHOOKS}/{id}"), json!({ "encoding": "XML" })).await;
        assert_eq!(status, 404, "{id}: {answer}");
        assert_eq!(rig.call("PATCH", &format!("{WEBHOOKS}/{id}"), json!({})).await.0, 404);
    }
}

// The proposed 409 of section 4.4.
#[tokio::test]
async fn an_update_cannot_collide() {
    let (rig, _, target) = with_one().await;
    rig.create(json!({ "url": "http://other.example", "method": "POST", "encoding": "JSON", "events": ["RECEIVED_SMS"] })).await;
    assert_eq!(rig.call("PATCH", &target, json!({ "url": "http://other.example" })).await.0, 409);
    assert_eq!(rig.call("PATCH", &target, json!({ "url": "http://other.example", "method": "PUT" })).await.0, 200);
    assert_eq!(rig.call("PATCH", &target, json!({ "method": "PUT" })).await.0, 200, "itself is no collision");
}

// MESSAGEMEDIA-57, MESSAGEMEDIA-58, MESSAGEMEDIA-59
#[tokio::test]
async fn a_webhook_is_deleted_once() {
    let (rig, _, target) = with_one().await;
    assert_eq!(rig.call("DELETE", &target, Value::Null).await, (204, Value::Null));
    for gone in [target.as_str(), &format!("{WEBHOOKS}/WEBHOOK_ID")] {
        let (status, answer) = rig.call("DELETE", gone, Value::Null).await;
        assert_eq!((status, answer["message"].as_str().unwrap()), (404, "The resource does not exist."));
    }
    assert_eq!(rig.call("GET", WEBHOOKS, Value::Null).await.1["pageData"], json!([]));
    rig.create(json!({ "url": "http://webhook.com", "method": "POST", "encoding": "JSON", "events": ["RECEIVED_SMS"] })).await;
}

// MESSAGEMEDIA-60: also of what still waits for its retry.
#[tokio::test]
async fn a_deleted_webhook_is_called_no_more() {
    let rig = Rig::start().await;
    let (receiver, other) = (Receiver::answering(&[500]).await, Receiver::start().await);
    let id = rig.hook(&receiver, &["DELIVERED_DR"], json!({ "retries": 1 })).await;
    rig.hook(&other, &["DELIVERED_DR"], json!({})).await;
    rig.publish("message.delivered", report()).await;
    receiver.first().await;
    other.first().await;
    assert_eq!(rig.call("DELETE", &format!("{WEBHOOKS}/{id}"), Value::Null).await.0, 204);
    rig.publish("message.delivered", report()).await;
    other.take(2).await;
    rig.pass(std::time::Duration::from_secs(6)).await;
    rig.publish("message.delivered", report()).await;
    other.take(3).await;
    rig.finish().await;
    assert_eq!(receiver.seen().len(), 1);
}

// An update is in force for what is not sent yet (section 7).
#[tokio::test]
async fn an_updated_webhook_is_called_in_its_new_form() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    let id = rig.hook(&receiver, &["FAILED_DR"], json!({ "template": "old" })).await;
    let changed = json!({ "events": ["DELIVERED_DR"], "method": "PUT", "template": "new $mtId", "url": format!("{}/x", receiver.url) });
    assert_eq!(rig.call("PATCH", &format!("{WEBHOOKS}/{id}"), changed).await.0, 200);
    rig.publish("message.failed", report()).await;
    rig.publish("message.delivered", report()).await;
    let received = receiver.first().await;
    assert_eq!((received.method.as_str(), received.uri.path(), received.text()), ("PUT", "/x", "new 877c19ef-fa2e-4cec-827a-e1df9b5509f7"));
    rig.finish().await;
    assert_eq!(receiver.seen().len(), 1);
}
