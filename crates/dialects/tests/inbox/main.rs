//! The MsgGO inbox over a real engine and store: what is answered and what is stored.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod arbitrary;
mod rig;

use http::header;
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::{NewKey, ResourceError};
use posthaste_store::{EventFilter, Order, Range};
use serde_json::json;

use rig::{Headers, Inbox, PAGE, STRANGER, text};

const UNAUTHORIZED: &str = r#"{"ok":false,"statusCode":401,"message":"API key missing in the request"}"#;

// MSGGO-1 to MSGGO-6
#[tokio::test]
async fn a_key_is_found_in_all_four_places() {
    let inbox = Inbox::start().await;
    let token = inbox.token.clone();
    let form = ("content-type", "application/x-www-form-urlencoded");
    let multipart = ("content-type", "multipart/form-data; boundary=b");
    let part = |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let requests: [(&str, String, Headers<'_>, String); 7] = [
        ("GET", format!("/inbox/{token}?event=1"), &[], String::new()),
        ("GET", format!("/inbox?msggo-key={token}&event=2"), &[], String::new()),
        ("POST", "/inbox".to_owned(), &[], format!(r#"{{"event":"3","msggo-key":"{token}"}}"#)),
        ("POST", "/inbox".to_owned(), &[form], format!("event=4&msggo-key={token}")),
        ("POST", "/inbox".to_owned(), &[multipart], format!("{}{}--b--\r\n", part("msggo-key", &token), part("event", "5"))),
        ("GET", "/inbox?event=6".to_owned(), &[("X-MsgGO-Key", &token)], String::new()),
        ("POST", "/inbox/".to_owned(), &[("x-msggo-key", &token)], r#"{"event":"7"}"#.to_owned()),
    ];
    for (method, target, headers, body) in requests {
        let response = inbox.send(None, method, &target, headers, &body).await;
        assert_eq!(response.status(), 200, "{method} {target}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(text(response).await, r#"{"ok":true,"statusCode":200}"#);
    }
    let expected: Vec<String> = (1..=7).map(|number| format!(r#"{{"event":"{number}"}}"#)).collect();
    assert_eq!(inbox.payloads().await, expected);
    let key = &inbox.engine.list::<Key>(inbox.workspace)[0];
    let source = &inbox.events().await[0].source;
    assert_eq!((source.via.as_str(), source.key.as_deref(), &source.ip), ("inbox", Some(key.id.as_str()), &None));
}

// MSGGO-8, MSGGO-11, MSGGO-12, MSGGO-15, MSGGO-16
#[tokio::test]
async fn a_refused_request_stores_nothing() {
    let inbox = Inbox::start().await;
    let token = inbox.token.clone();
    let good = ("x-msggo-key", token.as_str());
    let huge = "x".repeat((256 << 10) + 1);
    let requests: [(&str, String, Headers<'_>, &str, u16); 12] = [
        ("GET", "/inbox?event=x".to_owned(), &[], "", 401),
        ("GET", "/inbox?event=x".to_owned(), &[("x-msggo-key", "nobody")], "", 401),
        ("POST", format!("/inbox/{token}?msggo-key={token}"), &[("x-msggo-key", "bad")], "{}", 401),
        ("GET", format!("/inbox/bad?msggo-key={token}"), &[], "", 401),
        ("GET", "/inbox/%ff?event=x".to_owned(), &[], "", 401),
        ("POST", "/inbox".to_owned(), &[], r#"{"event":"#, 401),
        ("POST", "/inbox".to_owned(), &[good], r#"{"event":"#, 400),
        ("POST", "/inbox".to_owned(), &[good], "[]", 400),
        ("POST", "/inbox".to_owned(), &[good], &huge, 413),
        ("POST", "/inbox".to_owned(), &[], &huge, 413),
        ("POST", "/inbox".to_owned(), &[good, ("expect", "100-continue")], &huge, 413),
        ("OPTIONS", format!("/inbox/{token}?event=x"), &[], "", 204),
    ];
    for (method, target, headers, body, status) in requests {
        let response = inbox.send(Some(STRANGER), method, &target, headers, body).await;
        assert_eq!(response.status(), status, "{method} {target} {headers:?}");
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        if status == 401 {
            assert_eq!(text(response).await, UNAUTHORIZED);
        }
    }
    assert_eq!(inbox.payloads().await, [""; 0]);
}

// MSGGO-39
#[tokio::test]
async fn other_methods_are_refused_and_store_nothing() {
    let inbox = Inbox::start().await;
    let target = format!("/inbox/{}?event=x", inbox.token);
    for method in ["PUT", "PATCH", "DELETE", "HEAD", "BREW"] {
        let response = inbox.send(Some(STRANGER), method, &target, &[], "").await;
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.headers()[header::ALLOW], "GET, POST, OPTIONS");
    }
    assert_eq!(inbox.events().await.len(), 0);
}

// MSGGO-13
#[tokio::test]
async fn a_deleted_key_is_refused_at_once() {
    let inbox = Inbox::start().await;
    let (entry, token) = inbox.engine.create_key(inbox.workspace, NewKey::new(KeyKind::Private)).await.unwrap();
    assert_eq!(inbox.post(&token, &[], "{}").await, 200);
    inbox.engine.delete::<Key>(inbox.workspace, &entry.id).await.unwrap();
    let response = inbox.send(Some(STRANGER), "GET", &format!("/inbox/{token}?event=x"), &[], "").await;
    assert_eq!(response.status(), 401);
    assert_eq!(text(response).await, UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_without_the_right_to_publish_is_refused() {
    let inbox = Inbox::start().await;
    let reader = inbox.key(KeyKind::Private, Some(vec![Scope::Read, Scope::Manage]), &[]).await.unwrap();
    let publisher = inbox.key(KeyKind::Private, Some(vec![Scope::Publish]), &[]).await.unwrap();
    assert_eq!(inbox.post(&reader, &[], "{}").await, 403);
    assert_eq!(inbox.post(&publisher, &[], "{}").await, 200);
    assert_eq!(inbox.events().await.len(), 1);
}

// MSGGO-38, MSGGO-54, MSGGO-55, MSGGO-59, MSGGO-85
#[tokio::test]
async fn events_find_their_type_or_are_kept_without_one() {
    let inbox = Inbox::start().await;
    inbox.event_type("Daily Database Backup", None).await;
    inbox.event_type("Hundred", Some(json!({ "amount": 100 }))).await;
    for (query, expected) in [
        ("event_name=daily-database-backup", Some("Daily Database Backup")),
        ("event=daily-database-backup", Some("Daily Database Backup")),
        ("amount=100", Some("Hundred")),
        ("amount=101", None),
        ("", None),
    ] {
        let target = format!("/inbox/{}?{query}", inbox.token);
        assert_eq!(inbox.send(Some(STRANGER), "POST", &target, &[], "").await.status(), 200);
        let events = inbox.events().await;
        assert_eq!(events.last().unwrap().type_name.as_deref(), expected, "{query}");
    }
    assert_eq!(inbox.payloads().await.last().unwrap(), "{}");
    let unmatched = EventFilter { type_name: Some(None), ..EventFilter::default() };
    let range = Range { order: Order::Desc, after: None, limit: 10, from_ms: None, to_ms: None };
    assert_eq!(inbox.engine.history().events(inbox.workspace, unmatched, range).await.unwrap().len(), 2);
}

// MSGGO-40
#[tokio::test]
async fn a_private_key_is_not_limited() {
    let inbox = Inbox::start().await;
    for _ in 0..50 {
        assert_eq!(inbox.post(&inbox.token, &[], "{}").await, 200);
    }
    assert_eq!(inbox.events().await.len(), 50);
}

// MSGGO-41, MSGGO-42, MSGGO-43
#[tokio::test]
async fn a_public_key_works_from_its_pages_only() {
    let inbox = Inbox::start().await;
    let token = inbox.public_key().await;
    assert_eq!(inbox.post(&token, &[PAGE], "{}").await, 200);
    assert_eq!(inbox.post(&token, &[("referer", "https://shop.example.com/cart")], "{}").await, 200);
    let stored = inbox.events().await.len();
    let refused: [Headers<'_>; 5] = [
        &[("origin", "https://evil.example.org")],
        &[("origin", "https://evil.example.org"), ("referer", "https://shop.example.com/")],
        &[("origin", "null"), ("referer", "https://shop.example.com/")],
        &[("origin", "https://shop.ex\u{e4}mple.com"), ("referer", "https://shop.example.com/")],
        &[],
    ];
    for headers in refused {
        assert_eq!(inbox.post(&token, headers, "{}").await, 403, "{headers:?}");
    }
    // No address is anonymous as well.
    let response = inbox.send(None, "POST", "/inbox", &[("x-msggo-key", &token), PAGE], "{}").await;
    assert_eq!(response.status(), 403);
    assert_eq!(text(response).await, r#"{"ok":false,"statusCode":403,"message":"Domain not allowed"}"#);
    assert_eq!(inbox.events().await.len(), stored);
}

// MSGGO-44, MSGGO-45, MSGGO-46
#[tokio::test]
async fn a_public_key_takes_five_events_a_minute_then_blocks_for_five() {
    let inbox = Inbox::start().await;
    let token = inbox.public_key().await;
    for _ in 0..5 {
        assert_eq!(inbox.post(&token, &[PAGE], "{}").await, 200);
        inbox.pass(5);
    }
    let headers = [("x-msggo-key", token.as_str()), PAGE];
    let sixth = inbox.send(Some(STRANGER), "POST", "/inbox", &headers, "{}").await;
    assert_eq!(sixth.status(), 429);
    assert_eq!(sixth.headers()[header::RETRY_AFTER], "300");
    assert_eq!(text(sixth).await, r#"{"ok":false,"statusCode":429,"message":"Too many requests"}"#);

    inbox.pass(120);
    let blocked = inbox.send(Some(STRANGER), "POST", "/inbox", &headers, "{}").await;
    assert_eq!(blocked.headers()[header::RETRY_AFTER], "180", "knocking does not lengthen the block");
    assert_eq!(inbox.post(&inbox.token, &[PAGE], "{}").await, 200, "a private key is unaffected");
    let elsewhere = inbox.send(Some("198.51.100.1:80"), "POST", "/inbox", &headers, "{}").await;
    assert_eq!(elsewhere.status(), 200, "another address is unaffected");
    let other_key = inbox.public_key().await;
    assert_eq!(inbox.post(&other_key, &[PAGE], "{}").await, 200, "another key is unaffected");

    inbox.pass(179);
    assert_eq!(inbox.post(&token, &[PAGE], "{}").await, 429);
    inbox.pass(1);
    assert_eq!(inbox.post(&token, &[PAGE], "{}").await, 200);
    assert_eq!(inbox.events().await.len(), 9);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_forwarded_address_is_limited() {
    let inbox = Inbox::start().await;
    let token = inbox.public_key().await;
    for visitor in 0..8 {
        let forwarded = format!("203.0.113.77, 198.51.100.{visitor}");
        let headers = [("x-msggo-key", token.as_str()), PAGE, ("x-forwarded-for", forwarded.as_str())];
        assert_eq!(inbox.send(Some("10.0.0.1:80"), "POST", "/inbox", &headers, "{}").await.status(), 200);
    }
    assert_eq!(inbox.events().await[7].source.ip.as_deref(), Some("198.51.100.7"));
    // Without the proxy the header is a stranger's word.
    for visitor in 0..6 {
        let forwarded = format!("198.51.100.{}", 100 + visitor);
        let status = inbox.post(&token, &[PAGE, ("x-forwarded-for", &forwarded)], "{}").await;
        assert_eq!(status, if visitor < 5 { 200 } else { 429 });
    }
}

// MSGGO-49
#[tokio::test]
async fn a_public_key_needs_a_domain() {
    let inbox = Inbox::start().await;
    let error = inbox.key(KeyKind::Public, None, &[]).await.unwrap_err();
    assert!(matches!(&error, ResourceError::Invalid { field, .. } if field == "allowed_domains"), "{error:?}");
}

// MSGGO-50
#[tokio::test]
async fn a_workspace_has_at_most_a_hundred_keys() {
    let inbox = Inbox::start().await;
    for _ in 1..100 {
        inbox.key(KeyKind::Private, None, &[]).await.unwrap();
    }
    let error = inbox.key(KeyKind::Private, None, &[]).await.unwrap_err();
    assert!(matches!(error, ResourceError::Limit { limit: 100, .. }), "{error:?}");
    let oldest = &inbox.engine.list::<Key>(inbox.workspace)[0];
    inbox.engine.delete::<Key>(inbox.workspace, &oldest.id).await.unwrap();
    inbox.key(KeyKind::Private, None, &[]).await.unwrap();
}

#[tokio::test]
async fn a_stopping_server_asks_to_try_again() {
    let inbox = Inbox::start().await;
    inbox.engine.shutdown(std::time::Duration::from_secs(1)).await;
    let response = inbox.send(None, "POST", "/inbox", &[("x-msggo-key", &inbox.token)], "{}").await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
}
