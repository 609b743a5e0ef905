//! MsgGO URL deliveries, verified by the documented recipes of its receivers.

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::server::{KEY, Server};
use crate::tools::{run, verify};

const VERIFIERS: [&str; 2] = ["msggo/verify_signature.py", "msggo/verify_signature.mjs"];

// MSGGO-62, MSGGO-63, MSGGO-64: whatever way the sender spelled its JSON.
#[tokio::test(flavor = "multi_thread")]
async fn documented_receivers_verify_url_deliveries() {
    let server = Server::start();
    let mut receiver = Receiver::start().await;
    let order = server.post("/event-types", json!({ "name": "new order", "rule": { "event": "new_order" } })).await;
    server.post("/event-types", json!({ "name": "my-event" })).await;
    let other = server.post("/event-types", json!({ "name": "other" })).await;
    let secret = order["secret"].as_str().unwrap();
    for method in ["POST", "PUT", "DELETE", "GET"] {
        server.subscribe("webhook", json!({ "url": receiver.url, "method": method }), json!({ "format": "msggo" })).await;
    }
    // As PHP and Python spell it.
    let sent =
        r#"{ "event": "new_order", "url": "https:\/\/shop.example\/a", "name": "Andr\u00e9 \ud83d\ude80", "amount": 25.0, "rate": 0.50 }"#;
    let compact = r#"{"event":"new_order","url":"https://shop.example/a","name":"André 🚀","amount":25,"rate":0.5}"#;
    server.post_text("/events", &format!(r#"{{"type":"new order","data":{sent}}}"#)).await;

    let received = receiver.take(4).await;
    let mut cases = Vec::new();
    for request in &received {
        assert!(request.header("x-signature").starts_with("sha256="), "{request:?}");
        let method = request.method.as_str();
        if method == "GET" {
            assert_eq!(request.text(), "");
            let query = "event=new_order&url=https%3A%2F%2Fshop.example%2Fa&name=Andr%C3%A9+%F0%9F%9A%80&amount=25&rate=0.5";
            assert_eq!(request.uri.query(), Some(query));
        } else {
            assert_eq!(request.text(), compact);
            assert_eq!(request.header("content-type"), "application/json");
        }
        cases.push((method, secret, request, true));
        cases.push((method, other["secret"].as_str().unwrap(), request, false));
    }
    let mut changed = received.iter().find(|request| request.method == "POST").unwrap().clone();
    changed.body = compact.replace("25", "26").into();
    cases.push(("changed", secret, &changed, false));
    for script in VERIFIERS {
        verify(script, &cases);
    }
    // The inbox way in ends in the same delivery.
    let lines = run("msggo/event_sdk.php", &[("POSTHASTE_URL", &server.url), ("POSTHASTE_KEY", KEY)], "");
    assert_eq!(lines[0]["case"], "T20");
    let through = receiver.take(4).await;
    let sdk: Value = lines[0]["event"].clone();
    assert!(through.iter().filter(|request| request.method != "GET").all(|request| request.json() == sdk));
}

// MSGGO-64
#[tokio::test(flavor = "multi_thread")]
async fn another_method_cannot_be_chosen() {
    let server = Server::start();
    let target = server
        .post("/targets", json!({ "name": "patch", "channel": "webhook", "settings": { "url": "http://127.0.0.1:9/", "method": "PATCH" } }))
        .await;
    let body = json!({ "event_types": ["*"], "target_id": target["id"], "format": "msggo" }).to_string();
    let (status, problem) = server.call(http::Method::POST, "/subscriptions", Some(body.into())).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("PATCH"), "{problem}");
}

// MSGGO-65
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_longer_than_two_seconds_is_logged_as_timed_out() {
    let server = Server::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = server.subscribe("webhook", json!({ "url": url }), json!({ "format": "msggo" })).await;
    server.post("/events", json!({ "type": "slow", "data": {} })).await;
    // Connections are taken by the system and never answered.
    let delivery = server.delivery(&target, "failed").await;
    assert_eq!((&delivery["attempt_count"], &delivery["last_attempt"]["fault"]), (&json!(1), &json!("network")), "{delivery}");
    assert_eq!(delivery["last_attempt"]["error"], "timeout", "{delivery}");
    let took = delivery["last_attempt"]["duration_ms"].as_f64().unwrap();
    assert!((1_900.0..5_000.0).contains(&took), "{took}");
}

// MSGGO-60
#[tokio::test(flavor = "multi_thread")]
async fn groups_nest_two_levels() {
    let server = Server::start();
    for (group, wanted) in [("Sales", 201), ("Sales/Orders", 201), ("Sales/Orders/Paid", 422), ("Sales/", 422)] {
        let body = json!({ "name": format!("in {group}"), "group": group }).to_string();
        let (status, answer) = server.call(http::Method::POST, "/event-types", Some(body.into())).await;
        assert_eq!(status, wanted, "{group}: {answer}");
        assert!(
            status == 201 || answer["errors"][0]["field"] == "group" || answer["detail"].as_str().unwrap().contains("group"),
            "{answer}"
        );
    }
}
