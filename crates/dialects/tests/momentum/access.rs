//! Who may call, and what is said to others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_dialects::momentum::MomentumSettings;
use posthaste_domain::resource::{KeyKind, Scope, Workspace};
use posthaste_engine::NewKey;
use serde_json::json;

use crate::receiver::Receiver;
use crate::rig::{Answer, BASE, Rig, webhook};

async fn list_with(rig: &Rig, authorization: Option<&str>) -> Answer {
    let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
    rig.send("203.0.113.9:1", "GET", BASE, &headers, "").await
}

// MOMENTUM-23, MOMENTUM-24
#[tokio::test]
async fn without_a_known_key_nothing_is_told() {
    let rig = Rig::start().await;
    let bearer = format!("Bearer {}", rig.token);
    let wrong = format!("Basic {}", STANDARD.encode("nobody:"));
    for authorization in [None, Some("nobody"), Some(""), Some(bearer.as_str()), Some(wrong.as_str()), Some("Basic !!")] {
        let error = list_with(&rig, authorization).await.error(401);
        assert_eq!(error, json!({ "message": "Unauthorized." }), "{authorization:?}");
    }
    // An unknown path is no way to learn more.
    assert_eq!(rig.send("203.0.113.9:1", "GET", &format!("{BASE}/a/b/c"), &[], "").await.status, 401);
}

// MOMENTUM-25, MOMENTUM-26
#[tokio::test]
async fn a_key_is_bare_or_the_user_of_basic() {
    let rig = Rig::start().await;
    assert_eq!(list_with(&rig, Some(&rig.token)).await.status, 200);
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:", rig.token)));
    assert_eq!(list_with(&rig, Some(&basic)).await.status, 200);
}

// MOMENTUM-27
#[tokio::test]
async fn a_view_key_reads_and_changes_nothing() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    let body = webhook(&receiver, &["bounce"]).to_string();
    let (item, validate, status) = (format!("{BASE}/{id}"), format!("{BASE}/{id}/validate"), format!("{BASE}/{id}/batch-status"));
    let send = async |token: &str, method: &str, path: &str| {
        let headers = [("authorization", token), ("content-type", "application/json")];
        rig.send("203.0.113.9:1", method, path, &headers, if method == "GET" { String::new() } else { body.clone() }).await
    };
    let view = rig.key(&[Scope::Read]).await;
    for path in [BASE, &item, &status] {
        assert_eq!(send(&view, "GET", path).await.status, 200, "{path}");
    }
    let secret = json!({"auth_token": "sesame", "custom_headers": {"X-Api-Key": "k"}}).to_string();
    let headers = [("authorization", rig.key(&[Scope::Manage]).await), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(rig.send("203.0.113.9:1", "PUT", &item, &headers, secret).await.status, 200);
    let seen = send(&view, "GET", &item).await.results();
    assert_eq!((&seen["auth_token"], &seen["custom_headers"]), (&json!("********"), &json!({"X-Api-Key": "********"})), "{seen}");
    for (method, path) in [("POST", BASE), ("PUT", item.as_str()), ("DELETE", item.as_str()), ("POST", validate.as_str())] {
        assert_eq!(send(&view, method, path).await.error(403), json!({ "message": "Forbidden." }), "{method} {path}");
    }
    let publisher = rig.key(&[Scope::Publish]).await;
    assert_eq!(send(&publisher, "GET", BASE).await.status, 403);
    let modify = rig.key(&[Scope::Manage]).await;
    assert_eq!(send(&modify, "GET", &item).await.status, 200);
    assert_eq!(send(&modify, "PUT", &item).await.status, 200);
    assert_eq!(send(&modify, "POST", &validate).await.status, 200);
    assert_eq!(send(&modify, "DELETE", &item).await.status, 204);
}

#[tokio::test]
async fn workspaces_do_not_see_each_other() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    let other = rig.engine.create_workspace(Workspace { name: "Other".to_owned(), parent: None }).await.unwrap().number;
    let (_, token) = rig.engine.create_key(other, NewKey::new(KeyKind::Private)).await.unwrap();
    assert_eq!(list_with(&rig, Some(&token)).await.results(), json!([]));
    let path = format!("{BASE}/{id}");
    for method in ["GET", "PUT", "DELETE"] {
        let answer = rig.send("203.0.113.9:1", method, &path, &[("authorization", &token)], if method == "PUT" { "{}" } else { "" }).await;
        assert_eq!(answer.status, 404, "{method}");
    }
    let public = NewKey { allowed_domains: vec!["a.example".to_owned()], ..NewKey::new(KeyKind::Public) };
    let (_, public) = rig.engine.create_key(rig.workspace, public).await.unwrap();
    assert_eq!(list_with(&rig, Some(&public)).await.status, 401);
}

#[tokio::test]
async fn authentication_can_be_switched_off() {
    let rig = Rig::with(MomentumSettings { auth_required: false, ..MomentumSettings::default() }).await;
    let receiver = Receiver::start().await;
    rig.create(webhook(&receiver, &["bounce"])).await;
    assert_eq!(list_with(&rig, None).await.results().as_array().unwrap().len(), 1);
    assert_eq!(list_with(&rig, Some("nobody")).await.status, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_have_their_errors() {
    let rig = Rig::start().await;
    for path in ["/x/y", "/events/nothing/more", "/a/Validate"] {
        assert_eq!(rig.call("GET", path, None).await.error(404), json!({ "message": "resource not found", "code": "1600" }));
    }
    for (method, path, allow) in [
        ("DELETE", "", "GET, POST"),
        ("POST", "/some-id", "GET, PUT, DELETE"),
        ("GET", "/some-id/validate", "POST"),
        ("PUT", "/some-id/batch-status", "GET"),
        ("POST", "/events/samples", "GET"),
    ] {
        let answer = rig.call(method, path, None).await;
        assert_eq!(answer.error(405), json!({ "message": "Method Not Allowed" }));
        assert_eq!(answer.headers["allow"], allow);
    }
}

#[tokio::test]
async fn a_dialect_that_is_switched_off_has_no_routes() {
    let rig = Rig::with(MomentumSettings { enabled: false, ..MomentumSettings::default() }).await;
    assert_eq!(list_with(&rig, Some(&rig.token)).await.status, 404);
}
