//! Accounts: what a workspace chose in a dialect, and what follows from it at once.

use http::header;
use posthaste_server::ServerSettings;
use serde_json::{Value, json};

use crate::rig::{Made, Rig, id};

const MSGINE: &str = "/accounts/msgine";

async fn read_with(rig: &Rig, token: &str) -> Value {
    rig.raw("GET", &format!("/posthaste/v1{MSGINE}"), token, &[], "").await.expect(200)
}

// MSGINE-64: the secret is visible, stays, and a new one is made on request.
#[tokio::test]
async fn a_webhook_secret_is_shown_and_made_anew() {
    let rig = Rig::new().await;
    let (reader, manager) = (rig.key(&["read"]).await, rig.key(&["manage", "read"]).await);
    let untouched = read_with(&rig, &reader).await;
    assert_eq!((&untouched["version"], &untouched["settings"]["webhook_secret"]), (&json!(0), &Value::Null));
    assert_eq!(untouched["settings"]["generation_1"], json!({ "price": "0.05", "currency": "USD" }));

    let made = rig.get(MSGINE).await.expect(200);
    let secret = made["settings"]["webhook_secret"].as_str().expect("a secret").to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    assert_eq!(rig.get(MSGINE).await.expect(200), made);
    assert_eq!(read_with(&rig, &manager).await["settings"]["webhook_secret"], secret.as_str());
    assert_eq!(read_with(&rig, &reader).await["settings"]["webhook_secret"], "********");

    for keeps in [json!({ "tier": "free" }), json!({ "tier": "free", "webhook_secret": "********" })] {
        let kept = rig.call("PUT", MSGINE, json!({ "settings": keeps })).await.expect(200);
        assert_eq!((kept["settings"]["webhook_secret"].as_str(), &kept["settings"]["per_minute"]), (Some(secret.as_str()), &json!(60)));
    }
    let renewed = rig.call("PUT", MSGINE, json!({ "settings": { "webhook_secret": null } })).await.expect(200);
    let new = renewed["settings"]["webhook_secret"].as_str().expect("a secret");
    assert!(new != secret && new.starts_with("whsec_"));
    assert_eq!(renewed["settings"]["tier"], "starter", "what is left out is the server's default again");

    let rig = rig.restart().await;
    assert_eq!(rig.get(MSGINE).await.expect(200), renewed);
}

#[tokio::test]
async fn accounts_are_checked_by_their_dialect() {
    let rig = Rig::new().await;
    for (settings, field) in [
        (json!({ "tier": "gold" }), "tier"),
        (json!({ "sender_id": "My App" }), "sender_id"),
        (json!({ "generation_1": { "price": "cheap", "currency": "USD" } }), "generation_1.price"),
        (json!({ "colour": 1 }), "colour"),
    ] {
        let refused = rig.call("PUT", MSGINE, json!({ "settings": settings })).await.expect(422);
        assert_eq!(refused["field"], field, "{refused}");
    }
    rig.call("PUT", MSGINE, json!({ "setting": {} })).await.expect(422);
    let first = rig.call("PUT", MSGINE, json!({ "settings": {}, "version": 0 })).await;
    assert_eq!(first.headers[header::ETAG], "\"1\"");
    rig.call("PUT", MSGINE, json!({ "settings": {}, "version": 7 })).await.expect(412);
    rig.get("/accounts/nobody").await.expect(404);
    let reader = rig.key(&["read"]).await;
    let headers = [("content-type", "application/json")];
    let body = json!({ "settings": {} }).to_string();
    rig.raw("PUT", &format!("/posthaste/v1{MSGINE}"), &reader, &headers, body).await.expect(403);
}

#[tokio::test]
async fn a_dialect_that_is_switched_off_has_no_account() {
    let mut settings = ServerSettings::default();
    settings.dialects.msgine.enabled = false;
    Rig::with(settings).await.get(MSGINE).await.expect(404);
}

// MSGINE-62, MSGINE-63: what the console will do through this API.
#[tokio::test]
async fn msgine_webhooks_need_https_and_tokens_are_shown_once() {
    let rig = Rig::of(Made { is_real: true, ..Made::default() }).await;
    let webhook = |url: &str| json!({ "name": "Dashboard webhook", "channel": "webhook", "settings": { "url": url } });
    let subscription = |target: &str| json!({ "event_types": ["message.delivered"], "target_id": target, "format": "msgine" });
    let plain = id(&rig.post("/targets", webhook("http://shop.example/hook")).await.expect(201));
    let refused = rig.post("/subscriptions", subscription(&plain)).await.expect(422);
    assert_eq!(refused["field"], "settings.url", "{refused}");
    let safe = id(&rig.post("/targets", webhook("https://shop.example/hook")).await.expect(201));
    let reader = rig.key(&["read"]).await;
    assert_eq!(read_with(&rig, &reader).await["version"], 0);
    let made = rig.post("/subscriptions", subscription(&safe)).await.expect(201);
    assert_eq!(read_with(&rig, &reader).await["version"], 1, "what signs is there before anything is sent");
    let told = rig.call("PATCH", &format!("/subscriptions/{}", id(&made)), json!({ "notify": "ann@example.com" })).await.expect(200);
    assert_eq!(told["notify"], "ann@example.com");
    let nobody = rig.call("PATCH", &format!("/subscriptions/{}", id(&made)), json!({ "notify": "everybody" })).await.expect(422);
    assert_eq!(nobody["field"], "notify");
    // Nor can a webhook that is in use be moved to a plain URL.
    let moved = rig.call("PATCH", &format!("/targets/{safe}"), json!({ "settings": { "url": "http://shop.example/hook" } })).await;
    assert_eq!(moved.expect(422)["field"], "settings.url");

    let made = rig.post("/keys", json!({ "kind": "private", "scopes": ["publish", "read"] })).await.expect(201);
    let token = made["token"].as_str().expect("a token");
    for path in ["/keys".to_owned(), format!("/keys/{}", id(&made))] {
        let shown = rig.get(&path).await.expect(200).to_string();
        assert!(!shown.contains(token) && shown.contains(&token[token.len() - 4..]), "{path}");
    }
}
