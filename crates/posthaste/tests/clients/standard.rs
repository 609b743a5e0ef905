//! What is sent by default satisfies the official Standard Webhooks libraries.

use axum::response::IntoResponse;
use http::StatusCode;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver};
use crate::server::Server;
use crate::tools::verify;

const LIBRARIES: [&str; 2] = ["standard/verify.py", "standard/verify.mjs"];

fn secret(target: &Value) -> &str {
    target["secret"].as_str().unwrap()
}

async fn publish(server: &Server, data: Value) {
    server.post("/events", json!({ "type": "contact.created", "data": data })).await;
}

fn seconds(request: &Received) -> i64 {
    request.header("webhook-timestamp").parse().unwrap()
}

// STDWH-1, STDWH-12, STDWH-13, STDWH-14, STDWH-15, STDWH-16, STDWH-21
#[tokio::test(flavor = "multi_thread")]
async fn both_libraries_accept_deliveries_and_refuse_forgeries() {
    let server = Server::start();
    let (mut standard, mut raw, mut batch) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let to_standard = server.subscribe("webhook", json!({ "url": standard.url }), json!({})).await;
    let to_raw = server.subscribe("webhook", json!({ "url": raw.url }), json!({ "format": "raw" })).await;
    let policy = json!({ "batch": { "events": 3, "wait": "20s" } });
    let to_batch = server.subscribe("webhook", json!({ "url": batch.url }), json!({ "policy": policy })).await;
    let events: Vec<Value> = [json!({ "n": 1 }), json!({ "name": "Zürich 🚀 <&>" }), json!({ "text": "\u{7f}\u{2028}" })]
        .into_iter()
        .map(|data| json!({ "type": "contact.created", "data": data }))
        .collect();
    server.post("/events", json!(events)).await;

    let (standard, raw, batch) = (standard.take(3).await, raw.take(3).await, batch.take(1).await);
    assert_ne!(secret(&to_standard), secret(&to_raw));
    let mut cases = Vec::new();
    for (name, target, other, requests) in
        [("standard", &to_standard, &to_raw, &standard), ("raw", &to_raw, &to_batch, &raw), ("batch", &to_batch, &to_standard, &batch)]
    {
        for request in requests {
            cases.push((name, secret(target), request, true));
            cases.push((name, secret(other), request, false));
        }
    }
    let forge = |change: fn(&mut Received)| {
        let mut forged = standard[0].clone();
        change(&mut forged);
        forged
    };
    let forged = [
        forge(|request| request.body = request.text().replace("contact", "contacT").into()),
        forge(|request| drop(request.headers.insert("webhook-id", "msg_another".parse().unwrap()))),
        forge(|request| drop(request.headers.insert("webhook-timestamp", (seconds(request) - 1).to_string().parse().unwrap()))),
        forge(|request| drop(request.headers.remove("webhook-signature"))),
    ];
    cases.extend(forged.iter().map(|request| ("forged", secret(&to_standard), request, false)));
    for script in LIBRARIES {
        verify(script, &cases);
    }
    assert_eq!(batch[0].json()["data"].as_array().map(Vec::len), Some(3));
}

// STDWH-4, STDWH-5, STDWH-6
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_signed_anew_for_the_same_message() {
    let server = Server::start();
    let status = |number| if number == 0 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let mut receiver = Receiver::answering(move |number, _| status(number).into_response()).await;
    let policy = json!({ "retry": { "delays": ["1100ms"] } });
    let target = server.subscribe("webhook", json!({ "url": receiver.url }), json!({ "policy": policy })).await;
    publish(&server, json!({ "name": "Zürich" })).await;

    let both = receiver.take(2).await;
    let [first, second] = &both[..] else { panic!("{both:?}") };
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    assert!(seconds(first) < seconds(second), "{} {}", seconds(first), seconds(second));
    assert_ne!(first.header("webhook-signature"), second.header("webhook-signature"));
    for script in LIBRARIES {
        verify(script, &[("first", secret(&target), first, true), ("second", secret(&target), second, true)]);
    }
    let delivery = server.delivery(&target, "delivered").await;
    assert_eq!((&delivery["id"], &delivery["attempt_count"]), (&json!(first.header("webhook-id")), &json!(2)));
}

// STDWH-17, STDWH-24, STDWH-26, STDWH-30
#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_old_and_new_secrets_verify() {
    let server = Server::start();
    let mut receiver = Receiver::start().await;
    let target = server.subscribe("webhook", json!({ "url": receiver.url }), json!({})).await;
    let rotate = format!("/targets/{}/rotate-secret", target["id"].as_str().unwrap());
    let rotated = server.post(&rotate, json!({})).await;
    publish(&server, json!({ "n": 1 })).await;
    let two = receiver.next().await;
    let entries: Vec<&str> = two.header("webhook-signature").split(' ').collect();
    assert!(entries.len() == 2 && entries.iter().all(|entry| entry.starts_with("v1,") && entry.len() == 47), "{entries:?}");

    let asymmetric = server.post(&rotate, json!({ "asymmetric": true })).await;
    assert!(asymmetric["public_key"].as_str().unwrap().starts_with("whpk_"), "{asymmetric}");
    publish(&server, json!({ "n": 2 })).await;
    let three = receiver.next().await;
    let schemes: Vec<&str> = three.header("webhook-signature").split(' ').map(|entry| entry.split_once(',').unwrap().0).collect();
    assert_eq!(schemes, ["v1a", "v1", "v1"]);
    for script in LIBRARIES {
        verify(
            script,
            &[
                ("new", secret(&rotated), &two, true),
                ("old", secret(&target), &two, true),
                ("beside v1a", secret(&rotated), &three, true),
                ("oldest beside v1a", secret(&target), &three, true),
            ],
        );
    }
}

// STDWH-25
#[tokio::test(flavor = "multi_thread")]
async fn after_the_overlap_only_the_new_secret_verifies() {
    let server = Server::with(&[("POSTHASTE_DELIVERY_ROTATION_OVERLAP", "1ms")]);
    let mut receiver = Receiver::start().await;
    let target = server.subscribe("webhook", json!({ "url": receiver.url }), json!({})).await;
    let rotated = server.post(&format!("/targets/{}/rotate-secret", target["id"].as_str().unwrap()), json!({})).await;
    publish(&server, json!({ "n": 1 })).await;
    let request = receiver.next().await;
    for script in LIBRARIES {
        verify(script, &[("new", secret(&rotated), &request, true), ("old", secret(&target), &request, false)]);
    }
}
