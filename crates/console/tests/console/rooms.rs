//! Other workspaces: nobody gets at what is theirs by its id.

use posthaste_domain::resource::{KeyKind, Workspace};
use posthaste_engine::NewKey;
use serde_json::{Value, json};

use crate::enter::{address, patterns};
use crate::rig::Rig;

/// Stands in everything of the other workspace that has a name.
const MARK: &str = "Foreign-7Z";

/// Vendors' webhooks are found by what the address names when they are asked for, not when a question about them is.
const WEBHOOKS: &str = "/console/webhooks/";

/// What the other workspace has one of.
const LISTS: [&str; 11] = [
    "/targets",
    "/subscriptions",
    "/templates",
    "/event-types",
    "/keys",
    "/bins",
    "/domains",
    "/replays",
    "/events",
    "/deliveries",
    "/messages?channel=email",
];

/// All of it, as the other workspace sees it.
async fn everything(rig: &Rig) -> Vec<Value> {
    let mut all = Vec::new();
    for list in LISTS {
        all.push(rig.api("GET", list, Value::Null).await["items"].clone());
    }
    all
}

async fn furnish(rig: &Rig) {
    let target = rig.target(MARK, "https://example.com/foreign", &["*"]).await;
    rig.api("POST", "/templates", json!({"name": MARK, "blocks": [{"kind": "text", "text": MARK}]})).await;
    rig.api("POST", "/event-types", json!({"name": "foreign.made", "description": MARK})).await;
    rig.api("POST", "/bins", json!({"name": MARK})).await;
    rig.api("POST", "/domains", json!({"name": "foreign.example.com"})).await;
    rig.publish("foreign.made", json!({"note": MARK})).await;
    let message = json!({"channel": "email", "from": "a@foreign.example.com", "to": ["b@example.com"], "subject": MARK, "text": MARK});
    rig.api("POST", "/messages", message).await;
    rig.api("POST", "/replays", json!({"target_id": target, "states": ["delivered"], "to": "2000-01-01T00:00:00Z"})).await;
    while rig.api("GET", "/messages?channel=email", Value::Null).await["items"].as_array().is_none_or(Vec::is_empty)
        || rig.api("GET", "/deliveries?state=queued", Value::Null).await["items"].as_array().is_none_or(|items| !items.is_empty())
        || rig.api("GET", "/replays", Value::Null).await["items"][0]["state"] == "running"
        // What is on disk, the lanes hear of a moment later.
        || !rig.api("GET", "/targets", Value::Null).await["items"].as_array().is_some_and(|items| items.iter().all(is_idle))
    {
        tokio::task::yield_now().await;
    }
}

fn is_idle(target: &Value) -> bool {
    target["health"]["queued"] == 0 && target["health"]["in_flight"] == 0
}

#[tokio::test]
async fn what_belongs_to_another_workspace_is_not_found() {
    let mut rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let other = rig.state.engine.create_workspace(Workspace { name: MARK.into(), parent: None }).await.expect("a workspace").number;
    rig.token = rig.state.engine.create_key(other, NewKey::new(KeyKind::Private)).await.expect("a key").1;
    furnish(&rig).await;
    let before = everything(&rig).await;
    let sent = rig.receiver.bodies.lock().len();
    let ids: Vec<String> =
        before.iter().map(|items| items[0]["id"].as_str().unwrap_or_else(|| panic!("one: {items}")).to_owned()).collect();
    let mut tried = 0;
    for (pattern, is_page, is_form) in patterns().into_iter().filter(|(pattern, ..)| pattern.contains('{')) {
        for id in &ids {
            let path = address(&pattern, id);
            if is_page {
                let page = browser.get(&path).await;
                // A part of a page tells within itself that there is nothing.
                let has_no_status = path.ends_with("/live") || path.starts_with(WEBHOOKS);
                assert!(has_no_status || page.status == 404, "{path}: {} {}", page.status, page.text);
                assert!(!page.text.contains(MARK), "{path}: {}", page.text);
                tried += 1;
            }
            if is_form {
                let page = browser.post(&path, &[("version", "1"), ("name", "Mine now"), ("confirm", "true")]).await;
                assert!(
                    path.starts_with(WEBHOOKS) || matches!(page.status.as_u16(), 303 | 404 | 422),
                    "{path}: {} {}",
                    page.status,
                    page.text
                );
                assert!(!page.text.contains(MARK), "{path}: {}", page.text);
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
    assert_eq!(everything(&rig).await, before);
    assert_eq!(rig.receiver.bodies.lock().len(), sent, "nothing was sent");
}
