//! Validating a webhook, and what tests carry.

use serde_json::{Value, json};

use crate::create::oauth2;
use crate::receiver::{Receiver, reply};
use crate::rig::{BASE, Rig, SECOND, is_uuid, webhook, with};

async fn validate(rig: &Rig, id: &str, body: Option<Value>) -> crate::rig::Answer {
    rig.call("POST", &format!("/{id}/validate"), body).await
}

// MOMENTUM-49, MOMENTUM-50
#[tokio::test]
async fn the_message_is_sent_as_a_batch() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    let array = json!([{ "msys": { "track_event": { "type": "open" } } }, { "b": [1.0, { "z": 1, "a": 2 }] }]);
    let cases = [
        (Some(json!({ "message": { "msys": {} } })), r#"[{"msys":{}}]"#.to_owned()),
        (Some(json!({ "message": array })), array.to_string()),
        (Some(array.clone()), array.to_string()),
        (Some(json!({})), r#"[{"msys":{}}]"#.to_owned()),
        (None, r#"[{"msys":{}}]"#.to_owned()),
    ];
    for (body, expected) in cases {
        validate(&rig, &id, body).await.results();
        let sent = receiver.seen().pop().unwrap();
        assert_eq!((sent.method.as_str(), std::str::from_utf8(&sent.body).unwrap()), ("POST", expected.as_str()));
        assert_eq!(sent.header("content-type"), Some("application/json"));
        assert!(is_uuid(sent.batch_id()));
    }
    assert_eq!(receiver.seen().len(), 6);
    assert_eq!(validate(&rig, &id, Some(json!({ "message": 7 }))).await.error(422)["code"], "1300");
    let path = format!("{BASE}/{id}/validate");
    let answer = rig.send("203.0.113.9:1", "POST", &path, &[("authorization", &rig.token)], "{").await;
    assert_eq!(answer.error(400)["code"], "1200");
}

// MOMENTUM-51, MOMENTUM-52
#[tokio::test]
async fn success_shows_the_whole_answer() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    receiver.answer(|_| (200, vec![("content-type", "text/plain".into()), ("x-two", "a".into()), ("x-two", "b".into())], "OK".into()));
    let results = validate(&rig, &id, Some(json!({ "message": { "msys": {} } }))).await.results();
    assert_eq!(results["msg"], "Test POST to endpoint succeeded");
    let response = &results["response"];
    assert_eq!((&response["status"], &response["body"]), (&json!(200), &json!("OK")));
    assert_eq!((&response["headers"]["content-type"], &response["headers"]["x-two"]), (&json!("text/plain"), &json!("a, b")));
}

// MOMENTUM-53, MOMENTUM-54
#[tokio::test]
async fn any_other_answer_is_an_error() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    for status in [404, 202, 302, 500] {
        receiver.answer(move |_| (status, vec![("location", "/elsewhere".into())], "gone fishing".into()));
        let error = validate(&rig, &id, None).await.error(400);
        assert_eq!((&error["code"], &error["message"]), (&json!(400), &json!("POST to webhook target URL failed")));
        assert_eq!((&error["response"]["status"], &error["response"]["body"]), (&json!(status), &json!("gone fishing")));
        assert_eq!(error["response"]["headers"]["location"], "/elsewhere");
    }
    assert_eq!(validate(&rig, "1cc94ef0-ab17-11e4-b135-0ff9de159aa7", None).await.error(404)["code"], "1600");
}

// MOMENTUM-55, MOMENTUM-75, MOMENTUM-76, MOMENTUM-81
#[tokio::test]
async fn tests_and_batches_carry_the_same_headers() {
    for (credentials, expected) in
        [(json!({ "username": "user", "password": "pass" }), "Basic dXNlcjpwYXNz"), (json!({ "username": "user" }), "Basic dXNlcjo=")]
    {
        let (rig, receiver) = (Rig::start().await, Receiver::start().await);
        let mut body = with(webhook(&receiver, &["bounce"]), "auth_token", json!("token"));
        body = with(body, "custom_headers", json!({ "X-Team": "blue", "Accept": "text/plain" }));
        body = with(with(body, "auth_type", json!("basic")), "auth_credentials", credentials);
        let id = rig.create(body).await;
        validate(&rig, &id, None).await.results();
        rig.pass(61 * SECOND).await;
        rig.publish("bounce", json!({})).await;
        rig.pass(31 * SECOND).await;
        receiver.take(1).await;
        let seen = receiver.seen();
        assert_eq!(seen.len(), 3);
        for request in &seen {
            assert_eq!(request.header("x-messagesystems-webhook-token"), Some("token"));
            assert_eq!(request.header("authorization"), Some(expected));
            assert_eq!((request.header("x-team"), request.header("accept")), (Some("blue"), Some("text/plain")));
            assert_eq!(request.header("content-type"), Some("application/json"));
        }
        let ids: std::collections::BTreeSet<&str> = seen.iter().map(|request| request.batch_id()).collect();
        assert_eq!(ids.len(), 3);
    }
}

// MOMENTUM-55, MOMENTUM-77, MOMENTUM-79, MOMENTUM-80
#[tokio::test]
async fn a_bearer_token_is_renewed_when_it_is_refused() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let (mut given, good) = (0, std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(1)));
    let wanted = good.clone();
    receiver.answer(move |request| {
        if request.path == "/token" {
            given += 1;
            return (200, vec![], json!({ "access_token": format!("t{given}"), "expires_in": 60 + given }).to_string());
        }
        let wanted = format!("Bearer t{}", wanted.load(std::sync::atomic::Ordering::SeqCst));
        reply(if request.header("authorization") == Some(&wanted) { 200 } else { 401 })
    });
    let id = rig.create(oauth2(&receiver)).await;
    validate(&rig, &id, None).await.results();
    rig.pass(61 * SECOND).await;
    good.store(2, std::sync::atomic::Ordering::SeqCst);
    rig.publish("bounce", json!({})).await;
    rig.pass(31 * SECOND).await;
    let batches = receiver.take(2).await;
    let sent: Vec<_> = batches.iter().map(|batch| (batch.header("authorization").unwrap(), batch.batch_id())).collect();
    let batch = sent[0].1;
    assert_eq!(sent, [("Bearer t1", batch), ("Bearer t2", batch)]);
    assert_eq!(rig.first_delivery("succeeded", |delivery| delivery.state.is_terminal()).await.attempts, 1);
    let credentials = json!({ "access_token": "t2", "expires_in": 62 });
    assert_eq!(rig.get(&format!("/{id}")).await["auth_credentials"], credentials);
    validate(&rig, &id, None).await.results();
    assert_eq!(receiver.seen().pop().unwrap().header("authorization"), Some("Bearer t2"));
}
