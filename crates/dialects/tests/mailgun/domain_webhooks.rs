//! Webhooks of a domain, in both forms.

use posthaste_domain::resource::{Subscription, Target};
use serde_json::{Value, json};

use crate::rig::{Form, HOOKS, Rig};

const NAMES: [&str; 8] = ["accepted", "delivered", "opened", "clicked", "unsubscribed", "complained", "permanent_fail", "temporary_fail"];
const V4: &str = "/v4/domains/d.test/webhooks";

/// Numbers of targets and subscriptions that are kept.
fn kept(rig: &Rig) -> (usize, usize) {
    let engine = &rig.stage.engine;
    (engine.list::<Target>(rig.stage.workspace).len(), engine.list::<Subscription>(rig.stage.workspace).len())
}

async fn is(rig: &Rig, expected: Value) {
    assert_eq!(rig.get(HOOKS).await.expect(200)["webhooks"], expected);
}

// MAILGUN-14, MAILGUN-15, MAILGUN-16, MAILGUN-18, MAILGUN-27, MAILGUN-28, MAILGUN-29, MAILGUN-30
#[tokio::test]
async fn names_are_set_and_shown() {
    let rig = Rig::start().await;
    is(&rig, json!({})).await;
    let urls = ["http://c.test/?a=1,2", "http://a.test/", "http://b.test:8080/x"];
    let created = rig.post(HOOKS, &[("id", "clicked"), ("url", urls[0]), ("url", urls[1]), ("url", urls[2])]).await.expect(200);
    assert_eq!(created, json!({"message": "Webhook has been created", "webhook": {"urls": urls}}));
    for name in NAMES.into_iter().filter(|name| *name != "clicked") {
        let created = rig.post(HOOKS, &[("id", name), ("url", urls[1])]).await.expect(200);
        assert_eq!(created, json!({"message": "Webhook has been created", "webhook": {"urls": [urls[1]]}}));
    }
    let list = rig.get(&format!("{HOOKS}?limit=1&skip=2")).await.expect(200);
    assert_eq!(list["webhooks"].as_object().unwrap().len(), 8);
    assert_eq!((&list["webhooks"]["clicked"], &list["webhooks"]["opened"]), (&json!({"urls": urls}), &json!({"urls": [urls[1]]})));
    assert_eq!(rig.get(&format!("{HOOKS}/clicked")).await.expect(200), json!({"webhook": {"urls": urls}}));
    assert_eq!(kept(&rig), (3, 10), "one target for a URL, one subscription for a name and URL");
}

// MAILGUN-17, MAILGUN-19, MAILGUN-20, MAILGUN-21, MAILGUN-22, MAILGUN-23, MAILGUN-24, MAILGUN-26
#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let rig = Rig::start().await;
    rig.post(HOOKS, &[("id", "opened"), ("url", "http://old/")]).await.expect(200);
    let url = ("url", "http://a/");
    let message = |fields: Vec<(&'static str, &'static str)>| {
        let rig = &rig;
        async move { rig.post(HOOKS, &fields).await.expect(400)["message"].as_str().unwrap().to_owned() }
    };
    assert_eq!(message(vec![url]).await, "Missing parameter 'id'");
    assert_eq!(message(vec![("id", "clicked")]).await, "Missing parameter 'url'");
    assert_eq!(message(vec![("id", "opened"), url]).await, "Webhook already exists");
    message(vec![("id", "clicked"), ("id", "delivered"), url]).await;
    for unknown in ["rejected", "stored", "failed", "", "Clicked"] {
        message(vec![("id", unknown), url]).await;
    }
    for (legacy, now) in [("bounce", "permanent_fail"), ("deliver", "delivered"), ("drop", "permanent_fail"), ("spam", "complained")] {
        assert!(message(vec![("id", legacy), url]).await.contains(now), "{legacy}");
    }
    for legacy in ["unsubscribe", "click", "open"] {
        message(vec![("id", legacy), url]).await;
    }
    message(vec![("id", "clicked"), url, ("url", "http://b/"), ("url", "http://c/"), ("url", "http://d/")]).await;
    for bad in ["/relative", "ftp://a/", "a.test", "http://", "http://a b/"] {
        let refused = rig.post(HOOKS, &[("id", "clicked"), ("url", "http://good/"), ("url", bad)]).await.expect(400);
        assert!(refused["Reason"].as_str().unwrap().contains("is not a valid url: "), "{refused}");
        assert_eq!(refused["Reason"], refused["message"]);
    }
    is(&rig, json!({"opened": {"urls": ["http://old/"]}})).await;
    assert_eq!(kept(&rig), (1, 1));
}

// MAILGUN-25
#[tokio::test]
async fn plain_http_and_local_names_are_good() {
    let rig = Rig::start().await;
    rig.post(HOOKS, &[("id", "clicked"), ("url", "http://localhost:1/"), ("url", "http://no-such-host.invalid/")]).await.expect(200);
}

// MAILGUN-31, MAILGUN-32, MAILGUN-33, MAILGUN-34, MAILGUN-35, MAILGUN-36, MAILGUN-37, MAILGUN-38, MAILGUN-39
#[tokio::test]
async fn names_are_replaced_and_taken_off() {
    let rig = Rig::start().await;
    let clicked = format!("{HOOKS}/clicked");
    let gone = json!({"message": "Webhook not found"});
    for name in ["clicked", "opened", "unknown", "rejected"] {
        let target = format!("{HOOKS}/{name}");
        assert_eq!(rig.get(&target).await.expect(404), gone);
        assert_eq!(rig.put(&target, &[("url", "http://a/")]).await.expect(404), gone);
        assert_eq!(rig.call("DELETE", &target).await.expect(404), gone);
    }
    for (method, fields) in [("PUT", &[("url", "http://a/")][..]), ("DELETE", &[])] {
        let answer = rig.form(method, &format!("{HOOKS}/bounce"), Form::Url, fields).await;
        assert!(answer.expect(400)["message"].as_str().unwrap().contains("permanent_fail"));
    }
    assert_eq!(rig.get(&format!("{HOOKS}/bounce")).await.status, 404);

    rig.post(HOOKS, &[("id", "clicked"), ("url", "http://a/"), ("url", "http://b/")]).await.expect(200);
    let updated = rig.put(&clicked, &[("id", "clicked"), ("url", "http://c/"), ("url", "http://a/"), ("url", "http://c/")]).await;
    let urls = json!(["http://c/", "http://a/"]);
    assert_eq!(updated.expect(200), json!({"message": "Webhook has been updated", "webhook": {"urls": urls}}));
    assert_eq!(rig.get(&clicked).await.expect(200)["webhook"]["urls"], urls);
    rig.put(&clicked, &[]).await.expect(400);
    let four = ["http://1/", "http://2/", "http://3/", "http://4/"].map(|url| ("url", url));
    rig.put(&clicked, &four).await.expect(400);
    assert!(rig.put(&clicked, &[("url", "ftp://a/")]).await.expect(400)["Reason"].is_string());
    assert_eq!(rig.get(&clicked).await.expect(200)["webhook"]["urls"], urls);
    assert_eq!(kept(&rig), (2, 2), "what is not used any more is gone");

    let deleted = rig.call("DELETE", &clicked).await.expect(200);
    assert_eq!(deleted, json!({"message": "Webhook has been deleted", "webhook": {"urls": urls}}));
    assert_eq!(rig.get(&clicked).await.expect(404), gone);
    assert_eq!(rig.call("DELETE", &clicked).await.expect(404), gone);
    assert_eq!(kept(&rig), (0, 0));
}

// MAILGUN-40
#[tokio::test]
async fn webhooks_survive_a_restart() {
    let rig = Rig::start().await;
    rig.post(HOOKS, &[("id", "clicked"), ("url", "http://b/"), ("url", "http://a/")]).await.expect(200);
    rig.post("/v1/webhooks", &[("url", "http://c/"), ("event_types", "opened"), ("description", "d")]).await.expect(200);
    let account = rig.get("/v1/webhooks").await.expect(200);
    let rig = rig.restart().await;
    is(&rig, json!({"clicked": {"urls": ["http://b/", "http://a/"]}})).await;
    assert_eq!(rig.get("/v1/webhooks").await.expect(200), account);
}

// Whoever comes first wins, and the limit holds.
#[tokio::test]
async fn changes_at_once_keep_the_rules() {
    let rig = Rig::start().await;
    let urls: Vec<String> = (0..8).map(|number| format!("http://{number}/")).collect();
    let creations = urls.iter().map(|url| async { rig.post(HOOKS, &[("id", "clicked"), ("url", url)]).await.status });
    let statuses = futures_util::future::join_all(creations).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    let additions = urls.iter().map(|url| async { rig.post(V4, &[("url", url), ("event_types", "opened")]).await.status });
    let statuses = futures_util::future::join_all(additions).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 3, "{statuses:?}");
}

fn all_keys(set: Value) -> Value {
    let mut all = serde_json::Map::new();
    for name in NAMES {
        all.insert(name.to_owned(), set.get(name).cloned().unwrap_or_default());
    }
    json!({ "webhooks": all })
}

// MAILGUN-54, MAILGUN-55, MAILGUN-56, MAILGUN-57, MAILGUN-58, MAILGUN-62
#[tokio::test]
async fn the_newer_form_goes_by_urls() {
    let rig = Rig::start().await;
    let types = |names: &[&'static str]| names.iter().map(|name| ("event_types", *name)).collect::<Vec<_>>();
    let fields = |url: &'static str, names: &[&'static str]| [vec![("url", url)], types(names)].concat();
    let added = rig.post(V4, &fields("http://u/", &["clicked", "opened"])).await.expect(200);
    let u = json!({"urls": ["http://u/"]});
    assert_eq!(added, all_keys(json!({"clicked": u, "opened": u})));
    is(&rig, json!({"opened": u, "clicked": u})).await;

    let again = rig.post(V4, &fields("http://u/", &["delivered", "clicked"])).await.expect(400);
    assert_eq!(again["Reason"], "Webhook for event type 'clicked' with URL 'http://u/' already exists");
    is(&rig, json!({"opened": u, "clicked": u})).await;
    rig.post(V4, &fields("http://v/", &["clicked"])).await.expect(200);

    let moved = rig.put(V4, &fields("http://u/", &["clicked", "delivered"])).await.expect(200);
    let both = json!({"urls": ["http://u/", "http://v/"]});
    assert_eq!(moved, all_keys(json!({"clicked": both, "delivered": u})));
    let unknown = rig.put(V4, &fields("http://w/", &["clicked"])).await.expect(404);
    assert_eq!(unknown["Description"], "Webhook not found");

    rig.post(V4, &fields("http://w/", &["clicked"])).await.expect(200);
    let fourth = rig.post(V4, &fields("http://x/", &["opened", "clicked"])).await.expect(400);
    assert_eq!(fourth["Reason"], "unable to add more than 3 urls for event type clicked");
    rig.post(V4, &fields("http://x/", &["opened"])).await.expect(200);
    rig.put(V4, &fields("http://x/", &["clicked"])).await.expect(400);
    assert_eq!(rig.get(&format!("{HOOKS}/opened")).await.expect(200)["webhook"]["urls"], json!(["http://x/"]));
    let bad = rig.post(V4, &fields("ftp://x/", &["clicked"])).await.expect(400);
    assert_eq!(bad["Reason"], "invalid parameters: ftp://x/ is not a valid url: invalid URL scheme");
    rig.post(V4, &fields("http://y/", &[])).await.expect(400);
    rig.post(V4, &fields("http://y/", &["rejected"])).await.expect(400);
    rig.post(V4, &types(&["clicked"])).await.expect(400);
}

// MAILGUN-59, MAILGUN-60, MAILGUN-61
#[tokio::test]
async fn the_newer_form_takes_urls_off() {
    let rig = Rig::start().await;
    for query in ["url=http%3A%2F%2Fa%2F,http%3A%2F%2Fb%2F%3Fx%3D1,2", "url=http%3A%2F%2Fa%2F&url=http%3A%2F%2Fb%2F%3Fx%3D1%2C2"] {
        for name in ["clicked", "opened"] {
            rig.post(HOOKS, &[("id", name), ("url", "http://a/"), ("url", "http://b/?x=1,2"), ("url", "http://c/")]).await.expect(200);
        }
        let c = json!({"urls": ["http://c/"]});
        let left = rig.call("DELETE", &format!("{V4}?{query}")).await.expect(200);
        assert_eq!(left, all_keys(json!({"clicked": c, "opened": c})), "{query}");
        rig.call("DELETE", &format!("{V4}?url=http://c/")).await.expect(200);
    }
    let refused = rig.call("DELETE", V4).await.expect(400);
    assert_eq!(refused["Field"], "url");
}

// MAILGUN-63, MAILGUN-64
#[tokio::test]
async fn the_python_client_sends_the_newer_form_to_the_older_path() {
    let rig = Rig::start().await;
    let u = json!({"urls": ["http://u/"]});
    let added = rig.post(HOOKS, &[("url", "http://u/"), ("event_types", "clicked"), ("event_types", "opened")]).await.expect(200);
    assert_eq!(added, all_keys(json!({"clicked": u, "opened": u})));
    let moved = rig.put(HOOKS, &[("url", "http://u/"), ("event_types", "delivered")]).await.expect(200);
    assert_eq!(moved, all_keys(json!({"delivered": u})));
    let removed = rig.call("DELETE", &format!("{HOOKS}?url=http%3A%2F%2Fu%2F")).await.expect(200);
    assert_eq!(removed, all_keys(json!({})));
}
