//! MSGGO-82: the documented clients of the MsgGO inbox, T1 to T20, unmodified.

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::server::{KEY, Server};
use crate::tools::run;

/// What the clients call their events.
const NAMES: [&str; 12] = [
    "deploy_done",
    "user_registered",
    "payment_processed",
    "form_submission",
    "backup_completed",
    "contact-form",
    "new_order",
    "system_alert",
    "your-event-name",
    "user-action",
    "my-event",
    "button_click",
];

/// Runs a client. The events of its cases, and no others, must be stored in their order, with the type that their name asks for; those
/// with a type must be delivered.
async fn check(script: &str, cases: &[&str]) {
    let server = Server::start();
    let mut receiver = Receiver::start().await;
    for name in NAMES {
        server.post("/event-types", json!({ "name": name })).await;
    }
    server.subscribe("webhook", json!({ "url": receiver.url }), json!({ "format": "raw" })).await;
    let public = server.post("/keys", json!({ "kind": "public", "allowed_domains": ["shop.example.com"] })).await;
    let public = public["token"].as_str().unwrap();

    let lines = run(script, &[("POSTHASTE_URL", &server.url), ("POSTHASTE_KEY", KEY), ("POSTHASTE_PUBLIC_KEY", public)], "");
    for case in cases {
        assert!(lines.iter().any(|line| line["case"] == *case), "{script} has no case {case}");
    }
    let expected: Vec<Value> = lines.iter().filter_map(|line| line.get("event").filter(|event| !event.is_null())).cloned().collect();
    let stored = server.events().await;
    let documents: Vec<Value> = stored.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(documents, expected, "{script}: what is stored is what the client meant");
    let mut matched = Vec::new();
    for event in &stored {
        let name = event["data"].get("event").or(event["data"].get("event_name")).and_then(Value::as_str).unwrap_or_default();
        let is_known = NAMES.contains(&name);
        assert_eq!(event["type"], if is_known { json!(name) } else { Value::Null }, "{event}");
        assert_eq!(event["source"]["via"], "inbox");
        if is_known {
            matched.push(event["data"].clone());
        }
    }

    let sorted = |documents: Vec<Value>| {
        let mut texts: Vec<String> = documents.iter().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    let delivered = receiver.take(matched.len()).await;
    assert!(delivered.iter().all(|request| !request.text().contains("msggo-key")), "MSGGO-27");
    assert_eq!(sorted(delivered.iter().map(|request| request.json()).collect()), sorted(matched), "{script}: and what is delivered");
}

// MSGGO-1 to MSGGO-39, MSGGO-85, as command lines send them.
#[tokio::test(flavor = "multi_thread")]
async fn curl_and_wget() {
    let cases = ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11-get", "T11-post", "T21", "still-up"];
    check("msggo/curl.sh", &cases).await;
}

// MSGGO-41, MSGGO-42, MSGGO-43, MSGGO-44, MSGGO-46, MSGGO-47, MSGGO-48
#[tokio::test(flavor = "multi_thread")]
async fn curl_with_a_public_key() {
    check("msggo/curl_public.sh", &["preflight", "public-5", "public-6", "private-unaffected"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_requests() {
    check("msggo/requests_client.py", &["T12", "T13", "T13-escaped", "requests-huge", "urllib"]).await;
}

// MSGGO-83
#[tokio::test(flavor = "multi_thread")]
async fn the_flask_proxy() {
    check("msggo/flask_client.py", &["T19", "T19-bad-key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_fetch() {
    check("msggo/fetch.mjs", &["T16", "T17", "fetch-form-data"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_express_and_axios_proxy() {
    check("msggo/express_client.mjs", &["T18", "T18-bad-key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn php_file_get_contents() {
    check("msggo/file_get_contents.php", &["T14", "http-build-query"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn php_curl_with_an_array() {
    check("msggo/curl_array.php", &["T15"]).await;
}

// MSGGO-84
#[tokio::test(flavor = "multi_thread")]
async fn the_php_sdk() {
    check("msggo/event_sdk.php", &["T20", "T20-bad-key"]).await;
}
