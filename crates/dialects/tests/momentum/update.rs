//! Changing and deleting webhooks.

use posthaste_domain::resource::{Subscription, Target};
use serde_json::{Value, json};

use crate::create::oauth2;
use crate::receiver::{Receiver, reply};
use crate::rig::{BASE, HOUR, MINUTE, Rig, SECOND, webhook, with};

// MOMENTUM-37, MOMENTUM-38, MOMENTUM-39
#[tokio::test]
async fn only_the_fields_of_the_request_change() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(with(webhook(&receiver, &["bounce"]), "custom_headers", json!({ "X-A": "b" }))).await;
    let before = rig.get(&format!("/{id}")).await;
    let results = rig.put(&id, json!({ "name": "Renamed" })).await.results();
    let href = format!("http://momentum.example:8080{BASE}/{id}/validate");
    assert_eq!(results, json!({ "id": id, "links": [{ "href": href, "rel": "urn.msys.webhooks.validate", "method": ["POST"] }] }));
    assert_eq!(rig.get(&format!("/{id}")).await, with(before.clone(), "name", json!("Renamed")));
    // The stored target is no change either.
    let target = before["target"].clone();
    let answer = rig.put(&id, json!({ "target": target, "auth_token": "t", "events": ["open"], "active": true })).await;
    assert_eq!((answer.status.as_u16(), receiver.seen().len()), (200, 1), "no test");
    let shown = rig.get(&format!("/{id}")).await;
    assert_eq!((&shown["auth_token"], &shown["events"], &shown["custom_headers"]), (&json!("t"), &json!(["open"]), &json!({ "X-A": "b" })));
    assert_eq!(rig.get("").await.as_array().unwrap().len(), 1);
    assert_eq!(rig.put(&id, json!({ "events": [] })).await.error(422)["code"], "1300");
    assert_eq!(rig.put(&id, json!({ "name": "" })).await.error(422)["code"], "1400");
}

// MOMENTUM-40, MOMENTUM-41, MOMENTUM-42
#[tokio::test]
async fn a_new_target_has_to_pass_a_test() {
    let (rig, receiver, other) = (Rig::start().await, Receiver::start().await, Receiver::start().await);
    let id = rig.create(with(webhook(&receiver, &["bounce"]), "auth_token", json!("t"))).await;
    let before = rig.get(&format!("/{id}")).await;
    other.answer(|_| reply(202));
    let change = json!({ "target": other.url, "name": "Other", "events": ["open"] });
    let error = rig.put(&id, change.clone()).await.error(400);
    assert_eq!((&error["message"], &error["response"]["status"]), (&json!("POST to webhook target URL failed"), &json!(202)));
    assert_eq!(rig.get(&format!("/{id}")).await, before);
    other.answer(|_| reply(200));
    assert_eq!(rig.put(&id, change).await.status, 200);
    let tests = other.seen();
    assert_eq!((tests.len(), &tests[1].body[..]), (2, &br#"[{"msys":{}}]"#[..]));
    assert_eq!(tests[1].header("x-messagesystems-webhook-token"), Some("t"));
    assert_eq!(receiver.seen().len(), 1);
    let shown = rig.get(&format!("/{id}")).await;
    assert_eq!((&shown["target"], &shown["name"], &shown["events"]), (&json!(other.url), &json!("Other"), &json!(["open"])));
    assert_eq!(rig.put("1cc94ef0-ab17-11e4-b135-0ff9de159aa7", json!({ "name": "n" })).await.error(404)["code"], "1600");
}

// MOMENTUM-44
#[tokio::test]
async fn the_vendors_own_example_of_an_update_works() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.ready(&receiver, &["bounce"]).await;
    let body =
        json!({ "name": "New Name", "target": format!("{}/v2", receiver.url), "auth_token": "new", "events": ["rejection", "delay"] });
    assert_eq!(rig.put(&id, body).await.status, 200);
    assert_eq!(rig.get(&format!("/{id}")).await["events"], json!(["policy_rejection", "delay"]));
    rig.publish("message.failed", json!({ "reason": "policy" })).await;
    rig.pass(31 * SECOND).await;
    assert_eq!(receiver.take(1).await[0].types(), ["policy_rejection"]);
}

// MOMENTUM-43
#[tokio::test]
async fn what_was_queued_before_a_change_goes_where_it_was_queued_for() {
    let (rig, receiver, other) = (Rig::start().await, Receiver::start().await, Receiver::start().await);
    let id = rig.create(with(webhook(&receiver, &["bounce"]), "auth_token", json!("old"))).await;
    rig.pass(61 * SECOND).await;
    rig.publish("bounce", json!({ "subject": "before" })).await;
    assert_eq!(rig.put(&id, json!({ "target": other.url, "auth_token": "new", "events": ["bounce", "open"] })).await.status, 200);
    rig.publish("bounce", json!({ "subject": "after" })).await;
    rig.publish("open", json!({})).await;
    rig.pass(31 * SECOND).await;
    let (old, new) = (receiver.take(1).await, other.take(1).await);
    assert_eq!((old[0].records()[0]["subject"].as_str(), old[0].header("x-messagesystems-webhook-token")), (Some("before"), Some("old")));
    assert_eq!((new[0].records()[0]["subject"].as_str(), new[0].header("x-messagesystems-webhook-token")), (Some("after"), Some("new")));
    assert_eq!(new[0].types(), ["bounce", "open"]);
    assert_eq!((receiver.batches().len(), other.batches().len()), (1, 1));
}

// MOMENTUM-45, MOMENTUM-46, MOMENTUM-47, MOMENTUM-48
#[tokio::test]
async fn a_deleted_webhook_drains_and_gets_nothing_new() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.ready(&receiver, &["bounce"]).await;
    rig.publish("bounce", json!({ "subject": "queued" })).await;
    let answer = rig.call("DELETE", &format!("/{id}"), None).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    assert_eq!(rig.call("GET", &format!("/{id}"), None).await.status, 404);
    assert_eq!(rig.get("").await, json!([]));
    assert_eq!(rig.call("DELETE", &format!("/{id}"), None).await.status, 404);
    rig.publish("bounce", json!({ "subject": "late" })).await;
    assert_eq!(rig.deliveries().await.len(), 1, "only what was queued");
    rig.pass(31 * SECOND).await;
    let batches = receiver.take(1).await;
    assert_eq!(batches[0].records().len(), 1);
    assert_eq!(batches[0].records()[0]["subject"], "queued");
}

// MOMENTUM-84
#[tokio::test]
async fn an_inactive_webhook_neither_collects_nor_sends() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.ready(&receiver, &["bounce"]).await;
    assert_eq!(rig.get(&format!("/{id}")).await["active"], true, "by default");
    rig.publish("bounce", json!({ "subject": "queued" })).await;
    assert_eq!(rig.put(&id, json!({ "active": false })).await.status, 200);
    assert_eq!(rig.get(&format!("/{id}")).await["active"], false);
    rig.publish("bounce", json!({ "subject": "meanwhile" })).await;
    rig.pass(31 * SECOND).await;
    rig.nudge().await;
    let held = rig.deliveries().await;
    assert_eq!((held.len(), held[0].attempts, receiver.batches().len()), (1, 0, 0));
    assert_eq!(rig.put(&id, json!({ "active": true })).await.status, 200);
    rig.nudge().await;
    assert_eq!(receiver.take(1).await[0].records()[0]["subject"], "queued");
    rig.publish("bounce", json!({ "subject": "again" })).await;
    rig.pass(31 * SECOND).await;
    assert_eq!(receiver.take(2).await[1].records()[0]["subject"], "again");
    // What is held is dropped after four hours as well.
    rig.publish("bounce", json!({})).await;
    assert_eq!(rig.put(&id, json!({ "active": false })).await.status, 200);
    rig.pass(4 * HOUR + 2 * MINUTE).await;
    assert_eq!(rig.put(&id, json!({ "active": true })).await.status, 200);
    rig.nudge().await;
    rig.all_deliveries("ended", |delivery| delivery.state.is_terminal()).await;
    assert_eq!(receiver.batches().len(), 2);
}

// MOMENTUM-84
#[tokio::test]
async fn a_webhook_can_be_created_inactive() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(with(webhook(&receiver, &["bounce"]), "active", json!(false))).await;
    rig.pass(61 * SECOND).await;
    rig.publish("bounce", json!({})).await;
    assert_eq!((receiver.seen().len(), rig.deliveries().await.len()), (1, 0));
    assert_eq!(rig.put(&id, json!({ "active": true })).await.status, 200);
    rig.publish("bounce", json!({})).await;
    assert_eq!(rig.deliveries().await.len(), 1);
}

#[tokio::test]
async fn an_update_fetches_a_new_access_token() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let mut given = 0;
    receiver.answer(move |request| {
        given += usize::from(request.path == "/token");
        (200, vec![], json!({ "access_token": format!("t{given}") }).to_string())
    });
    let id = rig.create(oauth2(&receiver)).await;
    assert_eq!(rig.put(&id, json!({ "custom_headers": { "x-a": "b" } })).await.status, 200);
    assert_eq!(rig.get(&format!("/{id}")).await["auth_credentials"], json!({ "access_token": "t2" }));
    // What a client read may be sent back as it is.
    let shown = rig.get(&format!("/{id}")).await;
    assert_eq!(rig.put(&id, shown.clone()).await.status, 200);
    assert_eq!(rig.get(&format!("/{id}")).await, shown);
    receiver.answer(|request| reply(if request.path == "/token" { 500 } else { 200 }));
    let error = rig.put(&id, json!({ "auth_token": "x" })).await.error(400);
    assert_eq!(error["message"], "POST to webhook tokens URL failed");
    assert_eq!(rig.put(&id, json!({ "auth_type": "none" })).await.status, 200);
    let shown = rig.get(&format!("/{id}")).await;
    assert_eq!((&shown["auth_type"], &shown["auth_credentials"], &shown["auth_token"]), (&json!("none"), &json!({}), &json!("")));
}

#[tokio::test]
async fn old_versions_are_removed_once_nothing_of_them_can_be_sent_or_shown() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    let count = || (rig.engine.list::<Target>(rig.workspace).len(), rig.engine.list::<Subscription>(rig.workspace).len());
    for token in ["a", "b", "c"] {
        assert_eq!(rig.put(&id, json!({ "auth_token": token })).await.status, 200);
    }
    assert_eq!(count(), (4, 4));
    rig.pass(28 * HOUR).await;
    assert_eq!(rig.put(&id, json!({ "name": "n" })).await.status, 200);
    assert_eq!(count(), (4, 4));
    rig.pass(MINUTE).await;
    assert_eq!(rig.put(&id, json!({ "name": "m" })).await.status, 200);
    assert_eq!(count(), (1, 1));
    assert_eq!(rig.get(&format!("/{id}")).await["auth_token"], "c");
}

#[tokio::test]
async fn updates_at_once_all_count() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    let (a, b, c) = tokio::join!(
        rig.put(&id, json!({ "auth_token": "t" })),
        rig.put(&id, json!({ "name": "n" })),
        rig.put(&id, json!({ "custom_headers": { "x-a": "b" } }))
    );
    assert!([&a, &b, &c].iter().all(|answer| answer.status == 200), "{a:?} {b:?} {c:?}");
    let shown = rig.get(&format!("/{id}")).await;
    assert_eq!((&shown["auth_token"], &shown["name"], &shown["custom_headers"]), (&json!("t"), &json!("n"), &json!({ "x-a": "b" })));
    let list: Value = rig.get("").await;
    assert_eq!(list.as_array().unwrap().len(), 1);
}
