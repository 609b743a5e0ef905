//! Webhooks of the whole account, and the signing key.

use posthaste_domain::clock::parse_rfc3339;
use posthaste_domain::resource::Account;
use serde_json::{Value, json};

use crate::rig::{HOOKS, Rig};

const ALL: &str = "/v1/webhooks";

async fn create(rig: &Rig, url: &str, types: &[&str]) -> String {
    let types = types.iter().map(|name| ("event_types", *name));
    let fields: Vec<(&str, &str)> = std::iter::once(("url", url)).chain(types).collect();
    rig.post(ALL, &fields).await.expect(200)["webhook_id"].as_str().unwrap().to_owned()
}

async fn ids(rig: &Rig, query: &str) -> Vec<String> {
    let list = rig.get(&format!("{ALL}{query}")).await.expect(200);
    list["webhooks"].as_array().unwrap().iter().map(|one| one["webhook_id"].as_str().unwrap().to_owned()).collect()
}

// MAILGUN-65, MAILGUN-66, MAILGUN-67, MAILGUN-68
#[tokio::test]
async fn webhooks_are_made_shown_and_replaced() {
    let rig = Rig::start().await;
    let made = rig.post(ALL, &[("url", "http://a/"), ("event_types", "opened"), ("event_types", "clicked"), ("description", "d")]).await;
    let made = made.expect(200);
    let id = made["webhook_id"].as_str().unwrap().to_owned();
    assert_eq!(made.as_object().unwrap().len(), 1);
    assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)), "{id}");
    let one = format!("{ALL}/{id}");
    let shown = rig.get(&one).await.expect(200);
    let created_at = shown["created_at"].as_str().unwrap().to_owned();
    assert!(parse_rfc3339(&created_at).is_some() && created_at.ends_with('Z') && created_at.len() == 20, "{created_at}");
    let expected = json!({
        "webhook_id": id, "description": "d", "url": "http://a/", "event_types": ["opened", "clicked"], "created_at": created_at
    });
    assert_eq!(shown, expected);
    assert_eq!(rig.get(ALL).await.expect(200), json!({"webhooks": [expected]}));
    assert_eq!(rig.get(HOOKS).await.expect(200), json!({"webhooks": {}}), "a domain shows its own only");

    let second = create(&rig, "http://b/", &["clicked"]).await;
    let third = create(&rig, "http://c/", &["clicked"]).await;
    assert_eq!(ids(&rig, &format!("?webhook_ids={third}%2C{id}")).await.len(), 2);
    assert_eq!(ids(&rig, &format!("?webhook_ids={second}")).await, [second]);
    assert_eq!(ids(&rig, "").await.len(), 3);

    let put = rig.put(&one, &[("url", "http://z/"), ("event_types", "delivered"), ("event_types", "opened")]).await;
    assert_eq!((put.status.as_u16(), put.body.len()), (204, 0));
    let changed = rig.get(&one).await.expect(200);
    assert_eq!((&changed["url"], &changed["description"]), (&json!("http://z/"), &json!("")));
    assert_eq!((&changed["event_types"], &changed["created_at"]), (&json!(["delivered", "opened"]), &json!(created_at)));
}

// MAILGUN-69, MAILGUN-70, MAILGUN-71, MAILGUN-72, MAILGUN-73
#[tokio::test]
async fn webhooks_are_taken_off() {
    let rig = Rig::start().await;
    let (a, b, c) = (
        create(&rig, "http://a/", &["clicked"]).await,
        create(&rig, "http://b/", &["clicked", "opened"]).await,
        create(&rig, "http://c/", &["clicked"]).await,
    );
    let gone = rig.call("DELETE", &format!("{ALL}/{a}")).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    let again = rig.call("DELETE", &format!("{ALL}/{a}")).await.expect(404);
    assert_eq!(again["Description"], format!("webhook_id not found: {a}"));
    assert_eq!(rig.get(&format!("{ALL}/{a}")).await.expect(404)["Description"], "webhook not found");
    assert_eq!(rig.put(&format!("{ALL}/{a}"), &[("url", "http://a/"), ("event_types", "clicked")]).await.status, 404);

    rig.call("DELETE", ALL).await.expect(400);
    rig.call("DELETE", &format!("{ALL}?all=no")).await.expect(400);
    rig.call("DELETE", &format!("{ALL}?webhook_ids={b}&all=true")).await.expect(204);
    assert_eq!(ids(&rig, "").await, std::slice::from_ref(&c));
    for method in ["GET", "DELETE"] {
        let refused = rig.call(method, &format!("{ALL}?webhook_ids={c},,{b}")).await.expect(400);
        let expected = "Invalid parameter: webhook_ids malformed webhook_ids parameter: empty values not allowed";
        assert_eq!(refused, json!({ "message": expected }));
    }
    rig.call("DELETE", &format!("{ALL}?webhook_ids={c},{b}")).await.expect(404);
    assert_eq!(ids(&rig, "").await, [c], "all or nothing");
    let malformed = rig.get(&format!("{ALL}/not-an-id")).await.expect(400);
    assert_eq!((&malformed["Field"], &malformed["Value"]), (&json!("webhook_id"), &json!("is not valid")));

    rig.post(HOOKS, &[("id", "clicked"), ("url", "http://a/")]).await.expect(200);
    rig.call("DELETE", &format!("{ALL}?all=true")).await.expect(204);
    assert_eq!(ids(&rig, "").await, [""; 0]);
    assert_eq!(rig.call("DELETE", &format!("{ALL}?all=true")).await.expect(404)["Description"], "no webhooks found for account");
    rig.get(&format!("{HOOKS}/clicked")).await.expect(200);
}

// MAILGUN-74, MAILGUN-75, MAILGUN-76
#[tokio::test]
async fn wrong_wishes_are_refused() {
    let rig = Rig::start().await;
    let refuse = |fields: Vec<(&'static str, &'static str)>, status: u16| {
        let rig = &rig;
        async move { rig.post(ALL, &fields).await.expect(status) }
    };
    let url = ("url", "http://a/");
    let unknown = refuse(vec![url, ("event_types", "x")], 404).await;
    assert_eq!(unknown["Description"], "event_type 'x' is invalid");
    let twice = refuse(vec![url, ("event_types", "accepted"), ("event_types", "accepted")], 400).await;
    assert_eq!((&twice["Field"], &twice["Value"]), (&json!("event_types"), &json!("duplicate event types: 'accepted'")));
    assert!(twice["message"].is_string());
    assert_eq!(refuse(vec![("event_types", "clicked")], 400).await["Field"], "url");
    assert_eq!(refuse(vec![url], 400).await["Field"], "event_types");
    assert_eq!(refuse(vec![("url", "ftp://a/"), ("event_types", "clicked")], 400).await["Field"], "url");

    for url in ["http://1/", "http://2/", "http://3/"] {
        create(&rig, url, &["delivered"]).await;
    }
    let fourth = refuse(vec![("url", "http://4/"), ("event_types", "opened"), ("event_types", "delivered")], 409).await;
    assert_eq!(fourth["Description"], "unable to add more than 3 urls for event type delivered");
    // It is unique URLs that count, and a refusal leaves nothing behind.
    create(&rig, "http://3/", &["delivered"]).await;
    assert_eq!(ids(&rig, "").await.len(), 4);
}

// MAILGUN-92
#[tokio::test]
async fn the_signing_key_is_made_once_and_regenerated_on_request() {
    let rig = Rig::start().await;
    let first = rig.signing_key().await;
    assert!(first.strip_prefix("key-").is_some_and(|hex| hex.len() == 32), "{first}");
    assert_eq!(rig.signing_key().await, first);
    let made = rig.post("/v5/accounts/http_signing_key", &[]).await.expect(200);
    assert_eq!(made["message"], "regenerated HTTP signing key for account");
    let second = made["http_signing_key"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let rig = rig.restart().await;
    assert_eq!(rig.signing_key().await, second);
    assert_eq!(rig.stage.engine.list::<Account>(rig.stage.workspace).len(), 1);
    let pointers: &Value = &json!(rig.stage.engine.account(rig.stage.workspace, "mailgun").unwrap().doc.secret_settings);
    assert_eq!(pointers, &json!(["/signing_key"]), "it is kept encrypted");
}
