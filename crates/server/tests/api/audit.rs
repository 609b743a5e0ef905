//! The audit log: every change has its entry, a refused one has none, and secrets stay out.

use serde_json::{Value, json};

use crate::rig::{Rig, id};

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn a_change_and_its_entry_are_one() {
    let rig = Rig::new().await;
    let target = json!({"name": "Hook", "channel": "webhook", "settings": {"url": "http://receiver.test/ok", "token": "s3cret"}});
    let made = rig.post("/targets", target).await.expect(201);
    let path = format!("/targets/{}", id(&made));
    rig.call("PATCH", &path, json!({"name": "Door", "settings": {"token": "an0ther"}})).await.expect(200);
    rig.call("POST", &format!("{path}/pause"), Value::Null).await.expect(200);
    rig.call("DELETE", &path, Value::Null).await.expect(204);
    let answer = rig.get(&format!("/audit?id={}", id(&made))).await;
    assert!(!answer.text().contains("s3cret") && !answer.text().contains("an0ther"), "{}", answer.text());
    let log = items(&answer.expect(200));
    let actions: Vec<&Value> = log.iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, [&json!("delete"), &json!("pause"), &json!("update"), &json!("create")]);
    let update = &log[2];
    let key = rig.get("/keys").await.expect(200)["items"][0]["id"].clone();
    assert_eq!(update["actor"], json!({"type": "key", "id": key, "name": "test"}));
    assert_eq!(update["resource"], json!({"kind": "target", "id": made["id"], "name": "Door"}));
    let changes = update["changes"].as_array().expect("changes");
    assert!(changes.contains(&json!({"field": "name", "before": "\"Hook\"", "after": "\"Door\"", "secret": false})), "{update}");
    assert!(changes.contains(&json!({"field": "settings.token", "before": null, "after": null, "secret": true})), "{update}");

    // What is refused leaves nothing: neither a field that is wrong nor a version that is stale nor a resource in use.
    let before = rig.get("/audit").await.text().to_owned();
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    assert_eq!(items(&rig.get("/audit").await.expect(200)).len(), items(&serde_json::from_str(&before).expect("JSON")).len() + 2);
    let before = rig.get("/audit").await.text().to_owned();
    let path = format!("/targets/{target}");
    rig.call("PATCH", &path, json!({"name": ""})).await.problem();
    rig.call("PATCH", &path, json!({"name": "x", "version": 7})).await.problem();
    rig.call("DELETE", &path, Value::Null).await.problem();
    rig.call("PATCH", &path, json!({})).await.expect(200);
    assert_eq!(rig.get("/audit").await.text(), before);
    // It is as durable as what it tells of.
    let rig = rig.restart().await;
    assert_eq!(rig.get("/audit").await.text(), before);
}

#[tokio::test]
async fn the_log_is_filtered_and_comes_in_pages() {
    let rig = Rig::new().await;
    let mut times = Vec::new();
    for n in 0..5 {
        rig.clock.advance(std::time::Duration::from_secs(60));
        let made = rig.post("/event-types", json!({"name": format!("Type {n}")})).await.expect(201);
        times.push(made["created_at"].as_str().expect("a time").to_owned());
    }
    let reader = rig.post("/keys", json!({"kind": "private", "scopes": ["manage"]})).await.expect(201);
    let headers = [("content-type", "application/json")];
    let token = reader["token"].as_str().expect("a token");
    rig.raw("POST", "/posthaste/v1/event-types", token, &headers, r#"{"name":"By another"}"#).await.expect(201);

    let names = |list: &Value| items(list).iter().map(|entry| entry["resource"]["name"].clone()).collect::<Vec<_>>();
    let all = names(&rig.get("/audit?kind=event_type").await.expect(200));
    assert_eq!(all, ["By another", "Type 4", "Type 3", "Type 2", "Type 1", "Type 0"]);
    let by_reader = rig.get(&format!("/audit?actor={}", id(&reader))).await.expect(200);
    assert_eq!(names(&by_reader), ["By another"]);
    let between = rig.get(&format!("/audit?kind=event_type&from={}&to={}", times[1], times[3])).await.expect(200);
    assert_eq!(names(&between), ["Type 2", "Type 1"]);
    assert_eq!(names(&rig.get("/audit?action=create&kind=key").await.expect(200)).len(), 2);
    assert_eq!(items(&rig.get("/audit?action=delete").await.expect(200)), Vec::<Value>::new());
    // The first key came from nobody's hands but the server's.
    assert_eq!(items(&rig.get("/audit?actor=server&kind=key").await.expect(200)).len(), 1);

    // Pages keep their place while the log grows.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = rig.get(&format!("/audit?kind=event_type&limit=2{cursor}")).await.expect(200);
        assert!(items(&page).len() <= 2);
        seen.extend(names(&page));
        rig.post("/event-types", json!({"name": format!("Later {}", seen.len())})).await.expect(201);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);

    for (query, field) in [
        ("kind=pigeon", "kind"),
        ("kind=health", "kind"),
        ("kind=key,target", "kind"),
        ("action=steal", "action"),
        ("action=create&action=delete", "action"),
        ("from=yesterday", "from"),
    ] {
        let refused = rig.get(&format!("/audit?{query}")).await;
        assert_eq!(refused.problem(), (400, "invalid_parameter".into(), Some(field.into())), "{query}");
    }
    // A workspace has its own log.
    let other = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
    let token = other["token"].as_str().expect("a token");
    let theirs = rig.raw("GET", "/posthaste/v1/audit", token, &[], "").await.expect(200);
    let kinds: Vec<Value> = items(&theirs).iter().map(|entry| entry["resource"]["kind"].clone()).collect();
    assert_eq!(kinds, ["key", "workspace"]);
}
