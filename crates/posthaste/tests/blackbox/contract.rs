//! The contract for outside tools: these names stay.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::http::id;
use crate::process::run;
use crate::receiver::{Hit, Receiver, Reply};
use crate::server::{KEY, Server};

/// Asks for members of an object.
#[track_caller]
fn has(object: &Value, members: &[&str]) {
    for member in members {
        assert!(object.get(member).is_some(), "{member} is missing in {object}");
    }
}

/// The signature that Standard Webhooks asks for, made with nothing of ours.
fn standard_signature(secret: &str, hit: &Hit) -> String {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(format!("{}.{}.", hit.header("webhook-id"), hit.header("webhook-timestamp")).as_bytes());
    mac.update(&hit.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_made_with_the_promised_fields_and_answer_the_whole_object() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let api = &server.api;

    // MSGGO-53: the default rule.
    let event_type = api.make("/event-types", json!({"name": "Daily Database Backup"})).await;
    assert_eq!(event_type["rule"], json!({"event_name": "daily-database-backup"}));
    let full = json!({"name": "order.created", "rule": {"type": "order"}, "group": "Shop", "description": "an order"});
    let event_type = api.make("/event-types", full.clone()).await;
    has(&event_type, &["id", "name", "rule", "group", "description"]);
    for (name, value) in full.as_object().expect("an object") {
        assert_eq!(event_type[name], *value);
    }

    let settings = json!({"url": "https://example.com/hook", "method": "PUT", "headers": {"x-team": "blue"}});
    let target = api.make("/targets", json!({"name": "hook", "channel": "webhook", "settings": settings})).await;
    assert_eq!((&target["name"], &target["channel"], &target["settings"]), (&json!("hook"), &json!("webhook"), &settings));

    let blocks = json!([
        {"kind": "text", "text": "Hello {{ data.name }}"},
        {"kind": "table", "path": "data.items", "columns": [{"heading": "Name", "field": "name"}]},
    ]);
    let template = api.make("/templates", json!({"name": "hello", "blocks": blocks})).await;
    assert_eq!(template["blocks"], blocks);

    let exponential = json!({"exponential": {"first": "5s", "factor": 2, "max": "1h", "window": "1d"}});
    for retry in [json!({"delays": ["5s", "5m"]}), exponential] {
        let policy = json!({
            "timeout": "15s", "retry": retry, "success": ["2xx"], "stop": [410], "batch": {"events": 10, "bytes": "64KiB", "wait": "1s"},
            "rate": {"limit": 100, "per": "1m"}, "concurrency": 4, "order": "none",
        });
        let subscription = json!({
            "event_types": ["order.*"], "target_id": id(&target), "template_id": id(&template), "filter": {"total": {"$gte": 10}}, "policy": policy,
        });
        let made = api.make("/subscriptions", subscription).await;
        has(&made, &["id", "event_types", "target_id", "template_id", "filter", "policy"]);
        has(&made["policy"], &["timeout", "retry", "success", "stop", "batch", "rate", "concurrency", "order"]);
        assert_eq!(made["policy"]["timeout"], "15s");
    }
    let fifo = json!({"event_types": ["*"], "target_id": id(&target), "format": "standard", "policy": {"order": "fifo"}});
    assert_eq!(api.make("/subscriptions", fifo).await["format"], "standard");

    let private = api.make("/keys", json!({"kind": "private", "description": "reader", "scopes": ["read"]})).await;
    has(&private, &["id", "kind", "description", "scopes", "token"]);
    let public = api.make("/keys", json!({"kind": "public", "allowed_domains": ["example.com"]})).await;
    has(&public, &["id", "allowed_domains", "token"]);
    let keys = api.get("/keys").await.expect(200);
    assert!(!keys.to_string().contains(public["token"].as_str().expect("a token")), "a token was shown a second time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_pause_resume_and_test() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    let server = Server::start(dir.path()).await;
    let api = &server.api;
    let target = server.subscribed(&receiver.url("/hook"), &["*"], json!({})).await;
    let act = async |action: &str| api.post(&format!("/targets/{target}/{action}"), Value::Null).await.expect(200);

    let report = act("test").await;
    assert_eq!((&report["delivered"], &report["attempt"]["status"]), (&json!(true), &json!(204)));
    receiver.next().await;
    assert!(api.all("/deliveries").await.is_empty(), "a test is no delivery");

    assert_eq!(act("pause").await["status"], "paused");
    api.post("/events", json!({"type": "held", "data": {}})).await.expect(202);
    let held = api.until("/deliveries?state=held", |page| page["items"].get(0).cloned()).await;
    assert_eq!(act("resume").await["status"], "active");
    assert_eq!(receiver.next().await.header("webhook-id"), id(&held));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_posted_one_or_many_and_listed_newest_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let api = &server.api;
    api.make("/event-types", json!({"name": "signup"})).await;

    let one = api.post("/events", json!({"type": "a.b", "data": {"x": 1}})).await.expect(202);
    assert_eq!(one["ids"].as_array().map(Vec::len), Some(1));
    let many: Vec<Value> = (0..1000).map(|number| json!({"type": "many", "data": number})).collect();
    let many = api.post("/events", Value::Array(many)).await.expect(202);
    let ids = many["ids"].as_array().expect("ids");
    assert_eq!(ids.len(), 1000);
    let too_many: Vec<Value> = (0..1001).map(|_| json!({"type": "many", "data": 0})).collect();
    let refused = api.post("/events", Value::Array(too_many)).await;
    assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("too_many_events")));
    api.call(Method::POST, "/inbox?source=web", &[("x-msggo-key", KEY)], r#"{"event":"signup","n":1.50}"#).await.expect(200);

    let events = api.all("/events").await;
    assert_eq!(events.len(), 1002);
    let listed: Vec<&Value> = events[1..1001].iter().map(|event| &event["id"]).collect();
    assert_eq!(listed, ids.iter().collect::<Vec<_>>(), "the ids are not in the order of the request");
    has(&events[0], &["id", "sequence", "type", "data", "source", "received_at"]);
    assert_eq!((&events[0]["type"], &events[0]["data"]), (&json!("a.b"), &json!({"x": 1})));
    // What came through the inbox has its document in `data`.
    let inbox = events.last().expect("there are some");
    assert_eq!((&inbox["type"], &inbox["data"]), (&json!("signup"), &json!({"source": "web", "event": "signup", "n": 1.50})));

    let page = api.get("/events?limit=2").await.expect(200);
    assert_eq!(page["items"][0]["id"], inbox["id"], "the newest is not first");
    let next = api.get(&format!("/events?limit=2&cursor={}", page["next"].as_str().expect("there is more"))).await.expect(200);
    assert_eq!(next["items"][0]["id"], events[999]["id"]);
    assert_eq!(api.get("/deliveries").await.expect(200), json!({"items": [], "next": null}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_up_to_one_mebibyte_are_taken_and_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let body = |length: usize| {
        let frame = r#"{"type":"a","data":""}"#.len();
        format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(length - frame))
    };
    server.api.native(Method::POST, "/events", body(1 << 20)).await.expect(202);
    let refused = server.api.native(Method::POST, "/events", body((1 << 20) + 1)).await;
    assert_eq!((refused.status, &refused.json()["code"]), (413, &json!("body_too_large")));
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    for wrong in ["", "{", "[]", "null", r#"{"type":"a"}"#, r#"{"data":1}"#, r#"{"type":"a","data":1,"dta":2}"#, r#"{"type":7,"data":1}"#] {
        let refused = server.api.native(Method::POST, "/events", wrong).await;
        assert!((400..500).contains(&refused.status), "{wrong:?}: {refused:?}");
        has(&refused.json(), &["type", "title", "status", "code", "detail"]);
    }
    assert_eq!(server.api.all("/events").await.len(), 1, "something that was refused was stored");
    for wrong in ["", "Bearer", "Bearer wrong", "Basic YTpi"] {
        let refused = server.api.call(Method::GET, "/posthaste/v1/events", &[("authorization", wrong)], "").await;
        assert_eq!(refused.status, 401, "{wrong:?}");
    }
    server.stop().await;
}

/// The default body is `{"type","timestamp","data"}`, `data` byte for byte, signed as Standard Webhooks asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_a_signed_standard_webhook_with_its_data_byte_for_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    let server = Server::start(dir.path()).await;
    let api = &server.api;
    let target = server.subscribed(&receiver.url("/hook?x=1"), &["order.*"], json!({})).await;
    let secret = api.get(&format!("/targets/{target}/secret")).await.expect(200)["secret"].as_str().expect("a secret").to_owned();
    let data = r#"{ "b":1.0,"a":12345678901234567890,  "s":"\u00e9é\/", "big":1e400, "b":2 }"#;
    let answer = api.native(Method::POST, "/events", format!(r#"{{"type":"order.paid","data":{data}}}"#)).await.expect(202);
    let hit = receiver.next().await;
    assert_eq!((hit.method.as_str(), hit.path.as_str(), hit.header("content-type")), ("POST", "/hook?x=1", "application/json"));
    let event = api.get("/events?limit=1").await;
    let event = String::from_utf8_lossy(&event.body).into_owned();
    assert!(event.contains(data), "the API shows other bytes: {event}");
    let (_, received_at) = event.split_once(r#""received_at":""#).expect("a time");
    let received_at = &received_at[..24];
    assert_eq!(hit.body, format!(r#"{{"type":"order.paid","timestamp":"{received_at}","data":{data}}}"#));
    assert_eq!(hit.header("webhook-signature"), standard_signature(&secret, &hit));

    let delivery = api.until("/deliveries?state=delivered", |page| page["items"].get(0).cloned()).await;
    assert_eq!((&delivery["id"], &delivery["event_id"]), (&json!(hit.header("webhook-id")), &answer["ids"][0]));
    let delivery = api.get(&format!("/deliveries/{}", id(&delivery))).await.expect(200);
    assert_eq!(
        (&delivery["state"], &delivery["target_id"], &delivery["attempts"][0]["status"]),
        (&json!("delivered"), &json!(target), &json!(204))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_filters_do_what_they_say() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::scripted(|hit| Reply::Now(if hit.path == "/stop" { 418 } else { 200 })).await;
    let server = Server::start(dir.path()).await;
    let api = &server.api;
    // Three events make a batch before the wait is over.
    server.subscribed(&receiver.url("/batch"), &["batch.*"], json!({"batch": {"events": 3, "bytes": "1MiB", "wait": "1m"}})).await;
    let numbers: Vec<Value> = (0..3).map(|number| json!({"type": "batch.one", "data": number})).collect();
    api.post("/events", Value::Array(numbers)).await.expect(202);
    let batch = receiver.next().await.json();
    let inside: Vec<&Value> = batch["data"].as_array().expect("a list").iter().map(|event| &event["data"]).collect();
    assert_eq!(inside, [0, 1, 2]);

    // A status to stop at: one attempt, failed; the same status called a success: delivered.
    server.subscribed(&receiver.url("/stop"), &["stop"], json!({"stop": [418]})).await;
    server.subscribed(&receiver.url("/stop"), &["teapot"], json!({"success": [418]})).await;
    for (name, state) in [("stop", "failed"), ("teapot", "delivered")] {
        let event = api.post("/events", json!({"type": name, "data": {}})).await.expect(202)["ids"][0].clone();
        receiver.next().await;
        let of_event = |page: &Value| page["items"].as_array()?.iter().find(|delivery| delivery["event_id"] == event).cloned();
        let ended = api.until(&format!("/deliveries?state={state}"), of_event).await;
        assert_eq!(ended["attempt_count"], 1, "{ended}");
    }

    // A filter lets through what fulfils it.
    let target = id(&server.target(&receiver.url("/filtered")).await);
    api.make("/subscriptions", json!({"event_types": ["sale"], "target_id": target, "filter": {"total": {"$gte": 100}}})).await;
    let sales: Vec<Value> = [5, 500, 50].into_iter().map(|total| json!({"type": "sale", "data": {"total": total}})).collect();
    api.post("/events", Value::Array(sales)).await.expect(202);
    assert_eq!(receiver.next().await.json()["data"]["total"], 500);
    api.until("/deliveries?state=queued", |page| page["items"].as_array().filter(|items| items.is_empty()).map(|_| ())).await;
    assert!(receiver.rest().is_empty(), "an event passed the filter that should not");
    server.stop().await;
}

/// `POSTHASTE_URL` and `POSTHASTE_KEY` are what the client commands use.
#[tokio::test(flavor = "multi_thread")]
async fn client_commands_take_address_and_key_from_the_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    run(dir.path(), &["send", "a", "1"], &server.variables()).await.good();
    assert_eq!(server.api.all("/events").await.len(), 1);
    server.stop().await;
}
