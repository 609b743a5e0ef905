//! Reading: one message, its status in time, and the history.

use posthaste_domain::message;
use serde_json::{Value, json};

use crate::rig::{FAILING, INVALID, NUMBER, ONE, Rig, SILENT};

async fn read(rig: &Rig, id: &Value) -> Value {
    rig.get(&format!("/api/v1/messages/{}", id.as_str().unwrap())).await.expect(200)
}

// MSGINE-25, MSGINE-30
#[tokio::test]
async fn a_message_moves_on_in_time() {
    let rig = Rig::start().await;
    let sent = rig.sms(SILENT).await;
    let id = &sent["id"];
    rig.until_status(id.as_str().unwrap(), "sent").await;
    let shown = read(&rig, id).await;
    assert_eq!((&shown["status"], &shown["updatedAt"]), (&json!("sent"), &json!("2026-11-21T12:00:00Z")));
    for (name, value) in sent.as_object().unwrap() {
        if name != "status" {
            assert_eq!(&shown[name], value, "{name}");
        }
    }
    let delivered = rig.sms(NUMBER).await;
    rig.until_status(delivered["id"].as_str().unwrap(), "delivered").await;
    assert_eq!(read(&rig, &delivered["id"]).await["status"], "delivered");
    for (number, cost) in [(INVALID, 0.05), (FAILING, 0.05)] {
        let failed = rig.sms(number).await;
        rig.until_status(failed["id"].as_str().unwrap(), "failed").await;
        let shown = read(&rig, &failed["id"]).await;
        assert_eq!((&shown["status"], &shown["cost"]), (&json!("failed"), &json!(cost)));
    }
    // SDKs send a content type with no body.
    let path = format!("/api/v1/developers/{}", id.as_str().unwrap());
    let headers = [("x-api-key", rig.token.as_str()), ("content-type", "application/json")];
    let second = rig.call("GET", &path, &headers, "").await.expect(200);
    assert_eq!((&second["id"], second.get("message"), &second["sentAt"]), (id, None, &json!("2026-11-21T12:00:00Z")));
}

#[tokio::test]
async fn a_message_to_many_fails_only_for_all() {
    let rig = Rig::start().await;
    let mixed = rig.post(ONE, &json!({ "to": [INVALID, NUMBER], "message": "x" })).await.expect(201);
    let id = mixed["id"].as_str().unwrap();
    rig.until_status(id, "failed").await;
    rig.until_status(id, "delivered").await;
    assert_eq!(read(&rig, &mixed["id"]).await["status"], "delivered");
}

// MSGINE-26
#[tokio::test]
async fn only_ones_own_messages_are_found() {
    let rig = Rig::start().await;
    let sent = rig.sms(NUMBER).await;
    let stranger = rig.key_in(rig.other_workspace().await, None).await;
    let id = sent["id"].as_str().unwrap();
    for base in ["messages", "developers"] {
        for (token, id) in [(&stranger, id), (&rig.token, "msg_1234567890"), (&rig.token, "550e8400-e29b-41d4-a716-446655440000")] {
            let answer = rig.call("GET", &format!("/api/v1/{base}/{id}"), &[("x-api-key", token)], "").await;
            assert_eq!(answer.text, r#"{"error":{"code":"not_found","message":"Message not found"}}"#);
            assert_eq!((answer.status, answer.header("content-type")), (404, "application/json"));
        }
    }
    let path = "/api/v1/developers/sms/history";
    assert_eq!(rig.call("GET", path, &[("x-api-key", &stranger)], "").await.expect(200)["total"], 0);
}

// MSGINE-27
#[tokio::test]
async fn other_paths_and_methods_send_nothing() {
    let rig = Rig::start().await;
    let body = json!({ "to": NUMBER, "message": "x" }).to_string();
    for (method, path, status, allow) in [
        ("GET", "/api/v1/messages/sms", 405, "POST"),
        ("PUT", "/api/v1/developers/sms", 405, "POST"),
        ("POST", "/api/v1/developers/sms/history", 405, "GET"),
        ("POST", "/api/v1/messages", 404, ""),
        ("POST", "/api/v1/messages/", 404, ""),
        ("POST", "/api/v1/messages/sms/batch", 404, ""),
        ("POST", "/api/v1/developers/fax/send", 404, ""),
    ] {
        let answer = rig.call(method, path, &[("x-api-key", &rig.token)], body.clone()).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        assert!(answer.json()["error"]["code"].is_string());
    }
    assert_eq!(rig.events(message::OUTGOING_SMS).await.len(), 0);
}

// MSGINE-28, MSGINE-29
#[tokio::test]
async fn history_comes_in_pages_newest_first() {
    let rig = Rig::start().await;
    rig.choose(json!({ "webhook_secret": "whsec_test", "tier": "professional" })).await;
    let empty = rig.get("/api/v1/developers/sms/history").await.expect(200);
    assert_eq!(empty, json!({ "messages": [], "items": [], "total": 0, "page": 1, "pages": 0 }));
    let mut sent = Vec::new();
    for _ in 0..45 {
        sent.push(rig.sms(SILENT).await["id"].clone());
        rig.pass(std::time::Duration::from_secs(1));
    }
    sent.reverse();
    let ids = |page: &Value| page["messages"].as_array().unwrap().iter().map(|message| message["id"].clone()).collect::<Vec<_>>();
    for (query, page, from, to, pages) in [
        ("", 1, 0, 20, 3),
        ("?page=2", 2, 20, 40, 3),
        ("?page=3&limit=20", 3, 40, 45, 3),
        ("?page=4", 4, 45, 45, 3),
        ("?page=99999999999", 99_999_999_999_u64, 45, 45, 3),
        ("?limit=7&page=4", 4, 21, 28, 7),
        ("?limit=7&page=7", 7, 42, 45, 7),
        ("?limit=1&page=45", 45, 44, 45, 45),
        ("?limit=100", 1, 0, 45, 1),
        ("?limit=5000", 1, 0, 45, 1),
    ] {
        let shown = rig.get(&format!("/api/v1/developers/sms/history{query}")).await.expect(200);
        assert_eq!(ids(&shown), sent[from..to], "{query}");
        assert_eq!(shown["items"], shown["messages"]);
        assert_eq!([&shown["total"], &shown["page"], &shown["pages"]], [&json!(45), &json!(page), &json!(pages)], "{query}");
    }
    for wrong in ["page=0", "page=-1", "page=x", "limit=0", "limit=1.5"] {
        let error = rig.get(&format!("/api/v1/developers/sms/history?{wrong}")).await.error(400, "invalid_request");
        assert_eq!(error["details"]["field"], wrong.split_once('=').unwrap().0);
    }
    let newest = rig.get("/api/v1/developers/sms/history?limit=1").await.expect(200)["messages"][0].clone();
    assert_eq!(newest, rig.get(&format!("/api/v1/developers/{}", sent[0].as_str().unwrap())).await.expect(200));
}
