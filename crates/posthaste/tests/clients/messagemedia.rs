//! MessageMedia's own SDKs, unmodified, and a receiver that verifies signed calls.

use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver};
use crate::server::{KEY, Server};
use crate::tools::run;

fn report() -> Value {
    json!({
        "type": "message.delivered",
        "data": { "channel": "sms", "message_id": "877c19ef", "recipient": "+61491570156", "sender": "+61491593156", "text": "Hi Derp" }
    })
}

/// What a script says happened.
fn cases(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["case"].as_str().unwrap()).collect()
}

// MESSAGEMEDIA-116, MESSAGEMEDIA-117, MESSAGEMEDIA-119, MESSAGEMEDIA-31
#[tokio::test(flavor = "multi_thread")]
async fn the_python_webhooks_sdk() {
    let server = Server::start();
    let mut receiver = Receiver::start().await;
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY), ("RECEIVER_URL", receiver.url.as_str())];
    let lines = run("messagemedia/webhooks_sdk.py", &variables, "");
    let expected = [
        "create",
        "conflict",
        "create-400",
        "retrieve-0-0",
        "retrieve",
        "retrieve-400",
        "update-model",
        "update-dict",
        "update-400",
        "update-404",
        "delete",
        "delete-404",
        "wrong-secret",
        "left",
    ];
    assert_eq!(cases(&lines), expected);

    server.post("/events", report()).await;
    let received = receiver.next().await;
    assert_eq!(received.json(), json!({ "id": "877c19ef", "status": "220" }));
    assert_eq!((received.header("x-from"), received.header("content-type")), ("sdk", "application/json"));
}

/// A signed call as the verifying script reads it.
fn signed(case: &str, public_key: &str, request: &Received, expect: &str) -> String {
    let headers: serde_json::Map<String, Value> =
        request.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    let line = format!("{} {} HTTP/1.1", request.method, request.uri.path_and_query().unwrap());
    let body = base64::engine::general_purpose::STANDARD.encode(&request.body);
    format!("{}\n", json!({ "case": case, "secret": public_key, "headers": headers, "body": body, "line": line, "expect": expect }))
}

// MESSAGEMEDIA-120, MESSAGEMEDIA-112, MESSAGEMEDIA-113
#[tokio::test(flavor = "multi_thread")]
async fn the_node_signing_keys_sdk() {
    let server = Server::start();
    let mut receiver = Receiver::start().await;
    let on = json!({ "settings": { "signature_keys": true } }).to_string();
    let (status, account) = server.call(Method::PUT, "/accounts/messagemedia", Some(on.into())).await;
    assert!(status.is_success(), "{status} {account}");
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY), ("RECEIVER_URL", receiver.url.as_str())];
    let lines = run("messagemedia/signingkeys_sdk.mjs", &variables, "");
    assert_eq!(cases(&lines), ["create", "list", "detail", "enable", "enabled", "disable", "delete", "create-400", "left"]);
    let left = lines.last().unwrap();

    server.post("/events", report()).await;
    let received = receiver.next().await;
    assert_eq!(received.header("x-messagemedia-key-id"), left["key_id"]);
    let mut changed = received.clone();
    changed.body = b"{}".as_slice().into();
    let key = left["public_key"].as_str().unwrap();
    let input = signed("as sent", key, &received, "valid") + &signed("changed", key, &changed, "invalid");
    assert_eq!(run("messagemedia/verify_signature.mjs", &[], &input).len(), 2);
}
