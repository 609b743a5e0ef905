//! Sending: credentials, fields, errors, and that a refused request sends nothing.

use posthaste_domain::message;
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::NewKey;
use serde_json::{Value, json};

use crate::rig::{NUMBER, ONE, Rig, TWO};

const UNAUTHORIZED: &str = r#"{"error":{"code":"unauthorized","message":"Invalid API token"}}"#;

fn hello() -> Value {
    json!({ "to": NUMBER, "message": "Hello from MsGine!" })
}

// MSGINE-1, MSGINE-2, MSGINE-3, MSGINE-4
#[tokio::test]
async fn every_credential_works_on_both_endpoints() {
    let rig = Rig::start().await;
    let bearer = format!("Bearer {}", rig.token);
    let lower = format!("bearer {}", rig.token);
    for path in [ONE, TWO] {
        for credential in [
            [("authorization", bearer.as_str()), ("accept", "*/*")],
            [("authorization", lower.as_str()), ("accept", "*/*")],
            [("authorization", rig.token.as_str()), ("accept", "*/*")],
            [("x-api-key", rig.token.as_str()), ("accept", "*/*")],
            [("x-api-key", rig.token.as_str()), ("authorization", "Bearer wrong")],
        ] {
            rig.call("POST", path, &credential, hello().to_string()).await.expect(201);
        }
    }
}

// MSGINE-5, MSGINE-6
#[tokio::test]
async fn without_a_good_credential_there_is_one_answer() {
    let rig = Rig::start().await;
    let (entry, revoked) = rig.engine.create_key(rig.workspace, NewKey::new(KeyKind::Private)).await.unwrap();
    rig.post_as(&revoked, ONE, &hello()).await.expect(201);
    rig.engine.delete::<Key>(rig.workspace, &entry.id).await.unwrap();
    for headers in [
        &[][..],
        &[("authorization", "Bearer wrong")],
        &[("authorization", revoked.as_str())],
        &[("x-api-key", revoked.as_str())],
        &[("x-api-key", "wrong"), ("authorization", rig.token.as_str())],
    ] {
        for (method, path) in [("POST", ONE), ("POST", TWO), ("GET", "/api/v1/messages/msg_1"), ("GET", "/api/v1/developers/sms/history")] {
            let answer = rig.call(method, path, headers, hello().to_string()).await;
            assert_eq!((answer.status, answer.text.as_str()), (401, UNAUTHORIZED), "{headers:?}");
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.header("x-ratelimit-limit"), "", "only those who are known have an allowance");
        }
    }
    assert_eq!(rig.events(message::OUTGOING_SMS).await.len(), 1);
}

// MSGINE-7
#[tokio::test]
async fn scopes_are_kept() {
    let rig = Rig::start().await;
    let (reader, sender) = (rig.key(Some(vec![Scope::Read])).await, rig.key(Some(vec![Scope::Publish])).await);
    for path in [ONE, TWO, "/api/v1/developers/email"] {
        let refused = rig.post_as(&reader, path, &hello()).await;
        assert_eq!(refused.text, r#"{"error":{"code":"forbidden","message":"Insufficient permissions"}}"#);
        assert_eq!((refused.status, refused.header("x-ratelimit-limit")), (403, "100"));
    }
    let sent = rig.post_as(&sender, ONE, &hello()).await.expect(201);
    let path = format!("/api/v1/messages/{}", sent["id"].as_str().unwrap());
    rig.call("GET", &path, &[("x-api-key", &sender)], "").await.error(403, "forbidden");
    rig.call("GET", &path, &[("x-api-key", &reader)], "").await.expect(200);
    assert_eq!(rig.events(message::OUTGOING_SMS).await.len(), 1);
}

// MSGINE-8, MSGINE-9, MSGINE-12
#[tokio::test]
async fn a_message_is_answered_as_documented() {
    let rig = Rig::start().await;
    let answer = rig.post(ONE, &hello()).await.expect(201);
    let names: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = ["id", "sid", "channel", "to", "from", "content", "message", "status", "cost", "currency", "createdAt"];
    assert_eq!(names, documented);
    assert!(answer["id"].as_str().unwrap().starts_with("msg_") && answer["sid"].as_str().unwrap().starts_with("SM"), "{answer}");
    let shown = |name: &str| answer[name].clone();
    assert_eq!(
        [shown("channel"), shown("to"), shown("from"), shown("content"), shown("status"), shown("cost"), shown("currency")],
        [json!("sms"), json!([NUMBER]), json!("MsGine"), json!("Hello from MsGine!"), json!("pending"), json!(0.05), json!("USD")]
    );
    assert_eq!(answer["createdAt"], "2026-11-21T12:00:00Z");
    let second = rig.post(TWO, &json!({ "to": NUMBER, "message": "x", "from": "MyApp" })).await.expect(201);
    assert_eq!((&second["from"], &second["cost"], &second["currency"]), (&json!("MyApp"), &json!(30), &json!("UGX")));
    assert!(second.get("message").is_none());
    rig.choose(json!({ "webhook_secret": "whsec_test", "sender_id": "Shop" })).await;
    assert_eq!(rig.sms(NUMBER).await["from"], "Shop");
}

// MSGINE-10, MSGINE-11
#[tokio::test]
async fn many_recipients_are_one_message() {
    let rig = Rig::start().await;
    let three = ["+256701521269", "+256701234567", "+256709876543"];
    for (path, cost) in [(ONE, r#""cost":0.15,"#), (TWO, r#""cost":90,"#)] {
        for to in [json!(three), json!(three.join(",")), json!(three.join(" , "))] {
            let answer = rig.post(path, &json!({ "to": to, "message": "Hi" })).await;
            assert!(answer.text.contains(cost), "{}", answer.text);
            assert_eq!(answer.expect(201)["to"], json!(three));
        }
    }
    assert_eq!(rig.events(message::OUTGOING_SMS).await.len(), 6);
    assert_eq!(rig.events(message::ACCEPTED).await.len(), 18);
}

// MSGINE-13, MSGINE-14, MSGINE-15, MSGINE-16, MSGINE-17, MSGINE-18, MSGINE-19, MSGINE-20, MSGINE-21, MSGINE-22
#[tokio::test]
async fn a_bad_field_is_named_and_nobody_gets_anything() {
    let rig = Rig::start().await;
    rig.choose(json!({ "webhook_secret": "whsec_test", "tier": "professional" })).await;
    let with = |name: &str, value: Value| {
        let mut body = hello();
        body[name] = value;
        body
    };
    for path in [ONE, TWO] {
        for (to, value) in [
            (json!("0701521269"), json!("0701521269")),
            (json!("256701521269"), json!("256701521269")),
            (json!([NUMBER, "0701521269"]), json!("0701521269")),
            (json!(format!("{NUMBER},256701521269")), json!("256701521269")),
            (json!(""), json!("")),
            (json!([]), json!([])),
            (Value::Null, Value::Null),
        ] {
            let error = rig.post(path, &with("to", to)).await.error(400, "invalid_phone_number");
            assert_eq!(error["message"], "The phone number must be in E.164 format");
            let details = json!({ "field": "to", "value": value, "expected": "+[country code][number]" });
            assert_eq!(error["details"], details);
        }
        let max = if path == ONE { 1600 } else { 1000 };
        rig.post(path, &with("message", json!("x".repeat(max)))).await.expect(201);
        let error = rig.post(path, &with("message", json!("x".repeat(max + 1)))).await.error(400, "invalid_message");
        assert_eq!(error["message"], format!("Message exceeds maximum length of {max} characters"));
        assert_eq!(error["details"], json!({ "field": "message", "maxLength": max, "actualLength": max + 1 }));
        for blank in [json!(""), json!("  \n"), Value::Null] {
            let error = rig.post(path, &with("message", blank)).await.error(400, "invalid_message");
            assert_eq!((&error["message"], &error["details"]), (&json!("Message is required"), &json!({ "field": "message" })));
        }
        for from in ["MyApp1234567", "My App"] {
            let error = rig.post(path, &with("from", json!(from))).await.error(400, "invalid_sender_id");
            assert_eq!(error["details"], json!({ "field": "from", "value": from, "maxLength": 11 }));
        }
        for broken in ["{", "", "[]", "null"] {
            let answer = rig.call("POST", path, &[("x-api-key", &rig.token)], broken).await;
            answer.error(400, "invalid_request");
        }
    }
    assert_eq!(rig.events(message::OUTGOING_SMS).await.len(), 2, "only the two at the limit");
}

// MSGINE-21: with the switch off, which it is unless a test turns it on.
#[tokio::test]
async fn a_plain_callback_url_is_refused() {
    use posthaste_dialects::msgine::{MsgineSettings, MsgineState, router};
    use tower::ServiceExt;

    let rig = Rig::start().await;
    let strict = router(MsgineState::new(rig.engine.clone(), MsgineSettings::default()));
    for path in [ONE, TWO] {
        let mut body = hello();
        body["callbackUrl"] = json!("http://shop.example/hook");
        let request = http::Request::post(path).header("x-api-key", &rig.token).body(axum::body::Body::from(body.to_string())).unwrap();
        let response = strict.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 400);
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let expected = r#"{"error":{"code":"invalid_callback_url","message":"Callback URL must use HTTPS","details":{"field":"callbackUrl","value":"http://shop.example/hook"}}}"#;
        assert_eq!(body, expected);
    }
    assert_eq!((rig.events(message::OUTGOING_SMS).await.len(), rig.callback_targets().len()), (0, 0));
}

// MSGINE-23, MSGINE-24
#[tokio::test]
async fn the_body_is_json_whatever_its_type_says() {
    let rig = Rig::start().await;
    let body = json!({ "to": NUMBER, "message": "x", "priority": "high", "metadata": { "a": [1, null] } }).to_string();
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"] {
        rig.call("POST", ONE, &[("x-api-key", &rig.token), ("content-type", content_type)], body.clone()).await.expect(201);
    }
    rig.call("POST", ONE, &[("x-api-key", &rig.token)], body).await.expect(201);
}

#[tokio::test]
async fn large_bodies_and_long_lists_are_refused() {
    let rig = Rig::start().await;
    let large = json!({ "to": NUMBER, "message": "x", "note": "y".repeat(300 << 10) });
    rig.post(ONE, &large).await.error(413, "invalid_request");
    let many: Vec<String> = (0..1001).map(|n| format!("+2567{n:08}")).collect();
    let error = rig.post(ONE, &json!({ "to": many, "message": "x" })).await.error(400, "invalid_request");
    assert_eq!(error["details"]["field"], "to");
    let answer = rig.post(ONE, &json!({ "to": many[..1000], "message": "x" })).await;
    assert!(answer.text.contains(r#""cost":50,"#), "{}", answer.text);
}

// MSGINE-31
#[tokio::test]
async fn a_repeat_is_the_first_message() {
    let rig = Rig::start().await;
    let body = json!({ "to": NUMBER, "message": "Once", "idempotencyKey": "order-17" });
    let first = rig.post(TWO, &body).await.expect(201);
    let id = first["id"].as_str().unwrap();
    rig.until_status(id, "delivered").await;
    let again = rig.post(TWO, &body).await.expect(201);
    assert_eq!((&again["id"], &again["status"]), (&first["id"], &json!("delivered")));
    let other = json!({ "to": NUMBER, "message": "Twice", "idempotencyKey": "order-17" });
    assert_eq!(rig.post(TWO, &other).await.error(400, "invalid_request")["details"]["field"], "idempotencyKey");
    let mail = json!({ "from": "a@x.example", "to": "b@x.example", "subject": "s", "text": "t", "idempotencyKey": "order-17" });
    rig.post("/api/v1/developers/email", &mail).await.expect(201);
    let elsewhere = rig.key_in(rig.other_workspace().await, None).await;
    assert_ne!(rig.post_as(&elsewhere, TWO, &body).await.expect(201)["id"], first["id"]);
    assert_eq!(rig.events(message::SENT).await.len(), 1);
}

// MSGINE-32
#[tokio::test]
async fn a_scheduled_message_waits() {
    let rig = Rig::start().await;
    let body = json!({ "to": NUMBER, "message": "Later", "scheduledFor": "2026-11-21T13:00:00Z" });
    let sent = rig.post(TWO, &body).await.expect(201);
    assert_eq!((&sent["status"], &sent["scheduledAt"]), (&json!("queued"), &json!("2026-11-21T13:00:00Z")));
    let id = sent["id"].as_str().unwrap();
    // Another message is through while this one waits.
    rig.until_status(rig.sms(NUMBER).await["id"].as_str().unwrap(), "delivered").await;
    rig.pass(std::time::Duration::from_secs(3599));
    rig.nudge().await;
    let other = rig.sms(NUMBER).await;
    rig.until_status(other["id"].as_str().unwrap(), "delivered").await;
    let waiting = rig.get(&format!("/api/v1/developers/{id}")).await.expect(200);
    assert_eq!((&waiting["status"], waiting.get("sentAt")), (&json!("queued"), None));
    rig.pass(std::time::Duration::from_secs(1));
    rig.nudge().await;
    let shown = rig.until_status(id, "delivered").await;
    assert_eq!((&shown["status"], &shown["sentAt"]), (&json!("delivered"), &json!("2026-11-21T13:00:00Z")));
    assert_eq!(shown["scheduledAt"], "2026-11-21T13:00:00Z");
}
