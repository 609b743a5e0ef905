//! Event types as a whole: groups, rules that are tried, documents whose type the rules find; subscriptions of a type; channels.

use serde_json::{Value, json};

use crate::rig::{Rig, id, ids};

async fn names(rig: &Rig, path: &str) -> Vec<String> {
    let list = rig.get(path).await.expect(200);
    list["items"].as_array().expect("a list").iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn groups_are_listed_and_filter_the_list() {
    let rig = Rig::new().await;
    for (name, group) in [("Paid", Some("Sales/Orders")), ("Visit", Some("Sales")), ("Other", Some("Salesmen")), ("Alone", None)] {
        rig.post("/event-types", json!({"name": name, "group": group})).await.expect(201);
    }
    let groups = rig.get("/event-types/groups").await.expect(200);
    let group = |name: Option<&str>| json!({"name": name, "event_types": 1});
    assert_eq!(groups["items"], json!([group(None), group(Some("Sales")), group(Some("Sales/Orders")), group(Some("Salesmen"))]));
    assert_eq!(names(&rig, "/event-types?group=Sales").await, ["Visit", "Paid"]);
    assert_eq!(names(&rig, "/event-types?group=Sales/Orders").await, ["Paid"]);
    assert_eq!(names(&rig, "/event-types?group=Sal").await, Vec::<String>::new());
}

#[tokio::test]
async fn rules_are_tried_before_they_are_stored() {
    let rig = Rig::new().await;
    let database = rig.post("/event-types", json!({"name": "Database", "rule": {"event_name": "database"}})).await.expect(201);
    let wanted = json!({"rule": {"event_name": "database", "status": "ok"}, "data": {"event_name": "database", "status": "ok"}});
    let tested = rig.post("/event-types/test", wanted).await.expect(200);
    assert_eq!(
        (&tested["matched"], &tested["overlaps"][0]["id"], &tested["others"][0]["id"]),
        (&json!(true), &database["id"], &database["id"])
    );
    // A type is not compared with itself, and a rule that is made from a name takes the name under either field.
    let tested =
        rig.post("/event-types/test", json!({"id": id(&database), "name": "Database", "data": {"event": "database"}})).await.expect(200);
    assert_eq!(tested, json!({"rule": {"event_name": "database"}, "overlaps": [], "matched": true, "others": []}));
    let tested = rig.post("/event-types/test", json!({"rule": {"a": 1}, "data": null})).await.expect(200);
    assert_eq!((&tested["matched"], &tested["others"]), (&json!(false), &json!([])));
    assert_eq!(rig.post("/event-types/test", json!({"rule": {"a": 1}})).await.expect(200)["matched"], Value::Null);
    for (body, field) in [(json!({}), "rule"), (json!({"rule": {}}), "rule"), (json!({"name": "ab"}), "name")] {
        assert_eq!(rig.post("/event-types/test", body).await.problem().2.as_deref(), Some(field));
    }
}

#[tokio::test]
async fn documents_get_the_type_that_the_rules_find() {
    let rig = Rig::new().await;
    rig.post("/event-types", json!({"name": "Daily Backup"})).await.expect(201);
    let sent = rig.post("/events/document", json!({"data": {"event": "daily-backup", "size": 1.50}})).await.expect(202);
    let event = rig.get(&format!("/events/{}", id(&sent))).await.expect(200);
    assert_eq!((&event["type"], &event["data"]["size"]), (&json!("Daily Backup"), &json!(1.50)));
    let sent = rig.post("/events/document", json!({"data": {"event": "other"}})).await.expect(202);
    assert_eq!(rig.get(&format!("/events/{}", id(&sent))).await.expect(200)["type"], Value::Null);
}

#[tokio::test]
async fn subscriptions_are_found_by_type_target_and_template() {
    let rig = Rig::new().await;
    let (one, other) = (rig.target("ok").await, rig.target("ok").await);
    let exact = rig.subscribe(&one, &["order.paid"]).await;
    let wild = rig.subscribe(&other, &["order.*"]).await;
    rig.subscribe(&other, &["user.seen"]).await;
    let found = |path: String| {
        let rig = &rig;
        async move { ids(&rig.get(&path).await.expect(200)) }
    };
    assert_eq!(found("/subscriptions?event_type=order.paid&order=asc".into()).await, [exact.clone(), wild.clone()]);
    assert_eq!(found(format!("/subscriptions?event_type=order.paid&target_id={other}")).await, [wild]);
    let template = id(&rig.post("/templates", json!({"name": "T", "blocks": [{"kind": "text", "text": "x"}]})).await.expect(201));
    assert_eq!(found(format!("/subscriptions?template_id={template}")).await, Vec::<String>::new());
    rig.call("PATCH", &format!("/subscriptions/{exact}"), json!({"template_id": template})).await.expect(200);
    assert_eq!(found(format!("/subscriptions?template_id={template}")).await, [exact]);
}

#[tokio::test]
async fn channels_and_formats_are_listed() {
    let rig = Rig::new().await;
    let known = rig.get("/channels").await.expect(200);
    assert!(known["items"].as_array().is_some_and(|items| items.contains(&json!({"name": "webhook", "takes_formats": true}))), "{known}");
    assert!(known["formats"].as_array().is_some_and(|formats| formats.contains(&json!("standard"))), "{known}");
}
