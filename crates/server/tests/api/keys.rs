//! Keys: who may make them, what they may do.

use serde_json::{Value, json};

use crate::rig::{Rig, id, ids};

// MSGGO-49
#[tokio::test]
async fn a_public_key_needs_a_domain() {
    let rig = Rig::new().await;
    let refused = rig.post("/keys", json!({"kind": "public"})).await;
    assert_eq!(refused.problem(), (422, "invalid_field".into(), Some("allowed_domains".into())));
    let wide = rig.post("/keys", json!({"kind": "public", "allowed_domains": ["example.com"], "scopes": ["read"]})).await;
    assert_eq!(wide.problem().2.as_deref(), Some("scopes"));
    assert_eq!(ids(&rig.get("/keys").await.expect(200)).len(), 1);
}

// MSGGO-50
#[tokio::test]
async fn the_101st_key_is_refused_until_one_is_deleted() {
    let rig = Rig::new().await;
    let mut last = String::new();
    for n in 1..100 {
        last = id(&rig.post("/keys", json!({"kind": "private", "description": format!("{n}")})).await.expect(201));
    }
    let refused = rig.post("/keys", json!({"kind": "private"})).await;
    assert_eq!((refused.problem().0, refused.problem().1.as_str()), (409, "limit_reached"));
    rig.call("DELETE", &format!("/keys/{last}"), Value::Null).await.expect(204);
    rig.post("/keys", json!({"kind": "private"})).await.expect(201);
}

// MSGGO-51
#[tokio::test]
async fn only_administrators_make_keys() {
    let rig = Rig::new().await;
    let token = rig.key(&["publish", "read", "manage"]).await;
    let headers = [("content-type", "application/json")];
    let refused = rig.raw("POST", "/posthaste/v1/keys", &token, &headers, r#"{"kind":"private"}"#).await;
    assert_eq!((refused.problem().0, refused.problem().1.as_str()), (403, "scope_missing"));
    assert!(refused.json()["detail"].as_str().is_some_and(|d| d.contains("admin")));
    assert_eq!(rig.raw("GET", "/posthaste/v1/keys", &token, &[], "").await.problem().1, "scope_missing");
}

#[tokio::test]
async fn a_token_is_shown_once_and_dies_with_its_key() {
    let rig = Rig::new().await;
    let made = rig.post("/keys", json!({"kind": "private", "scopes": ["read"], "description": "reader"})).await.expect(201);
    let token = made["token"].as_str().expect("a token").to_owned();
    assert!(token.ends_with(made["token_hint"].as_str().expect("a hint")));
    let path = format!("/keys/{}", id(&made));
    let shown = rig.get(&path).await;
    assert!(!shown.text().contains(&token) && shown.expect(200).get("token").is_none());
    let changed = rig.call("PATCH", &path, json!({"scopes": ["read", "publish"]})).await.expect(200);
    assert_eq!(changed["scopes"], json!(["read", "publish"]));
    assert_eq!(rig.call("PATCH", &path, json!({"kind": "public"})).await.problem().2.as_deref(), Some("kind"));
    rig.raw("GET", "/posthaste/v1/targets", &token, &[], "").await.expect(200);
    rig.call("DELETE", &path, Value::Null).await.expect(204);
    assert_eq!(rig.raw("GET", "/posthaste/v1/targets", &token, &[], "").await.problem().1, "key_invalid");
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let rig = Rig::new().await;
    let own = ids(&rig.get("/keys").await.expect(200)).remove(0);
    for answer in [
        rig.call("DELETE", &format!("/keys/{own}"), Value::Null).await,
        rig.call("PATCH", &format!("/keys/{own}"), json!({"scopes": ["read"]})).await,
    ] {
        assert_eq!(answer.problem().1, "wrong_state");
    }
}

#[tokio::test]
async fn keys_are_asked_for_and_told_apart() {
    let rig = Rig::new().await;
    let path = "/posthaste/v1/events";
    let missing = rig.raw("GET", path, "", &[], "").await;
    assert_eq!((missing.problem().0, missing.problem().1.as_str()), (401, "key_missing"));
    assert!(missing.headers.contains_key("www-authenticate"));
    assert_eq!(rig.raw("GET", path, "nonsense", &[], "").await.problem().1, "key_invalid");
    assert_eq!(rig.raw("GET", path, "", &[("authorization", "Basic abc")], "").await.problem().1, "key_invalid");
    rig.raw("GET", path, "", &[("x-posthaste-key", &rig.token)], "").await.expect(200);
    rig.raw("GET", path, "", &[("authorization", &format!("bearer {}", rig.token))], "").await.expect(200);
    let public = rig.post("/keys", json!({"kind": "public", "allowed_domains": ["example.com"]})).await.expect(201);
    let token = public["token"].as_str().expect("a token");
    let headers = [("content-type", "application/json"), ("origin", "https://example.com")];
    let refused = rig.raw("POST", path, token, &headers, r#"{"type":"a","data":1}"#).await;
    assert_eq!((refused.problem().0, refused.problem().1.as_str()), (403, "public_key_refused"));
    assert!(ids(&rig.get("/events").await.expect(200)).is_empty());
}
