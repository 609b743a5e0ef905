//! Configuration: create, read, replace, change, delete; versions, lists, secrets; and what each resource adds to that.

use http::header;
use serde_json::{Value, json};

use crate::rig::{Made, Rig, id, ids};

/// A kind of resource as its clients know it.
struct Family {
    path: &'static str,
    /// Whether the whole can be replaced with PUT.
    has_put: bool,
    /// A field that a change sets, and what it is set to.
    field: &'static str,
    new: Value,
}

fn families() -> Vec<Family> {
    let family = |path, has_put, field, new| Family { path, has_put, field, new };
    vec![
        family("/event-types", true, "description", json!("changed")),
        family("/targets", true, "name", json!("changed")),
        family("/templates", true, "name", json!("changed")),
        family("/subscriptions", true, "enabled", json!(false)),
        family("/bins", true, "name", json!("changed")),
        family("/keys", false, "description", json!("changed")),
        family("/domains", true, "name", json!("changed.test")),
        family("/members", false, "name", json!("changed")),
        family("/workspaces", false, "name", json!("changed")),
    ]
}

/// A good input of a kind, the `n`th of them.
pub async fn input(rig: &Rig, path: &str, n: usize) -> Value {
    match path {
        "/event-types" => json!({"name": format!("Type {n}"), "group": "A/B", "schema": {"type": "object"}}),
        "/targets" => json!({
            "name": format!("Target {n}"), "channel": "webhook", "settings": {"url": "http://receiver.test/ok", "token": "s3cret"},
            "policy": {"timeout": "5s"},
        }),
        "/templates" => json!({"name": format!("Template {n}"), "blocks": [
            {"kind": "text", "text": "Hello {{ data.name }}"},
            {"kind": "table", "path": "data.items", "columns": [{"heading": "N", "field": "n"}]},
        ]}),
        "/subscriptions" => json!({
            "event_types": ["order.*"], "target_id": rig.target("ok").await, "filter": {"amount": {"$gt": n}}, "policy": {"concurrency": 2},
        }),
        "/bins" => json!({"name": format!("Bin {n}"), "status": 202}),
        "/keys" => json!({"kind": "private", "description": format!("Key {n}"), "scopes": ["read"]}),
        "/domains" => json!({
            "name": format!("d{n}.test"), "track": {"opens": true, "clicks": false, "html_clicks_only": false, "unsubscribe": true},
        }),
        "/members" => json!({"name": format!("Member {n}"), "email": format!("m{n}@example.com"), "role": "member"}),
        "/workspaces" => json!({"name": format!("Workspace {n}")}),
        other => panic!("what is made at {other}?"),
    }
}

#[tokio::test]
async fn every_resource_is_created_read_changed_and_deleted() {
    for Family { path, has_put, field, new } in families() {
        let rig = Rig::new().await;
        let given = input(&rig, path, 1).await;
        let created = rig.post(path, given.clone()).await;
        assert_eq!(created.headers[header::ETAG], "\"1\"", "{path}");
        let created = created.expect(201);
        assert_eq!(created["version"], 1);
        assert!(created["created_at"].is_string() && created["created_at"] == created["updated_at"], "{created}");
        for (name, value) in given.as_object().expect("an object") {
            if name != "settings" {
                assert_eq!(&created[name], value, "{path} {name}");
            }
        }
        let one = format!("{path}/{}", id(&created));
        let read = rig.get(&one).await;
        assert_eq!(read.headers[header::ETAG], "\"1\"");
        let read = read.expect(200);
        let in_list = rig.get(path).await.expect(200);
        assert!(in_list["items"].as_array().expect("items").contains(&read), "{path}: {in_list}");

        // What was read can be written back, and means no change but a new version.
        let mut version = 1;
        if has_put {
            let put = rig.call("PUT", &one, read.clone()).await;
            version += 1;
            assert_eq!(put.headers[header::ETAG], format!("\"{version}\"").as_str());
            let put = put.expect(200);
            let without_meta = |value: &Value| {
                let mut value = value.clone();
                for name in ["version", "updated_at"] {
                    value.as_object_mut().expect("an object").remove(name);
                }
                value
            };
            assert_eq!(without_meta(&put), without_meta(&read), "{path}");
        }
        let patched = rig.call("PATCH", &one, json!({field: new})).await.expect(200);
        version += 1;
        assert_eq!((&patched[field], &patched["version"]), (&new, &json!(version)), "{path}");

        // A version that is not the present one is refused, wherever it stands.
        let methods: &[&str] = if has_put { &["PUT", "PATCH"] } else { &["PATCH"] };
        for method in methods {
            let body = if *method == "PUT" { given.clone() } else { json!({field: new}) };
            for stale in ["\"1\"", "W/\"1\"", "\"x\"", "\"1\", \"2\""] {
                let headers = [("content-type", "application/json"), ("if-match", stale)];
                let path = format!("/posthaste/v1{one}");
                let refused = rig.raw(method, &path, &rig.token, &headers, body.to_string()).await;
                assert_eq!((refused.problem().0, refused.problem().1.as_str()), (412, "version_conflict"), "{method} {path} {stale}");
            }
            let mut with_version = body.clone();
            with_version["version"] = json!(1);
            let refused = rig.call(method, &one, with_version).await;
            assert_eq!(refused.problem(), (412, "version_conflict".into(), Some("version".into())), "{method} {path}");
            assert_eq!(refused.json()["stored_version"], version, "{method} {path}");
        }
        assert_eq!(rig.get(&one).await.expect(200)["version"], version, "{path}: a refused change changed something");
        let tag = format!("\"{version}\"");
        let headers = [("content-type", "application/json"), ("if-match", tag.as_str())];
        let body = json!({field: new, "version": 1}).to_string();
        rig.raw("PATCH", &format!("/posthaste/v1{one}"), &rig.token, &headers, body).await.expect(200);
        version += 1;

        // What only the server sets can be sent back as it is, and not otherwise.
        let refused = rig.call("PATCH", &one, json!({"id": "mine"})).await;
        assert_eq!(refused.problem(), (422, "invalid_field".into(), Some("id".into())), "{path}");

        // It is durable.
        let rig = rig.restart().await;
        let after = rig.get(&one).await.expect(200);
        assert_eq!((&after[field], &after["version"]), (&new, &json!(version)), "{path}");
        if path == "/workspaces" {
            continue;
        }
        let gone = rig.call("DELETE", &one, Value::Null).await;
        assert!(gone.status == 204 && gone.bytes.is_empty());
        for method in ["GET", "DELETE"] {
            assert_eq!(rig.call(method, &one, Value::Null).await.problem().1, "not_found", "{method} {one}");
        }
        assert_eq!(rig.call("PATCH", &one, json!({field: new})).await.problem().1, "not_found");
        assert!(!ids(&rig.get(path).await.expect(200)).contains(&id(&created)));
    }
}

// Pages of a list neither skip nor repeat while items come and go.
#[tokio::test]
async fn every_list_keeps_its_place() {
    for Family { path, .. } in families() {
        let rig = Rig::new().await;
        let mut before = ids(&rig.get(&format!("{path}?order=asc")).await.expect(200));
        for n in 0..7 {
            before.push(id(&rig.post(path, input(&rig, path, n).await).await.expect(201)));
        }
        for order in ["asc", "desc"] {
            let (mut seen, mut cursor, mut n) = (Vec::new(), String::new(), 0);
            loop {
                let page = rig.get(&format!("{path}?limit=2&order={order}{cursor}")).await.expect(200);
                assert!(ids(&page).len() <= 2);
                seen.extend(ids(&page));
                // One more comes with every page. The last one seen goes, so that the cursor stands on nothing.
                n += 1;
                let fresh = input(&rig, path, if order == "asc" { 100 + n } else { 200 + n }).await;
                rig.post(path, fresh).await.expect(201);
                if path != "/workspaces" && seen.len() == 4 {
                    rig.call("DELETE", &format!("{path}/{}", seen[3]), Value::Null).await.expect(204);
                }
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
                assert!(seen.len() < 100, "the list does not end");
            }
            let mut unique = seen.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), seen.len(), "{path} {order}: something came twice");
            if order == "desc" {
                seen.reverse();
                assert_eq!(seen, before, "{path}");
            } else {
                assert_eq!(seen[..before.len()], before, "{path}");
            }
            before = ids(&rig.get(&format!("{path}?order=asc&limit=1000")).await.expect(200));
        }
    }
}

#[tokio::test]
async fn lists_are_searched_by_name() {
    let rig = Rig::new().await;
    for name in ["Blue shop", "Red shop", "Warehouse"] {
        let body = json!({"name": name, "channel": "webhook", "settings": {"url": "http://receiver.test/ok"}});
        rig.post("/targets", body).await.expect(201);
    }
    let names = |list: &Value| list["items"].as_array().expect("items").iter().map(|item| item["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&rig.get("/targets?search=SHOP&order=asc").await.expect(200)), [json!("Blue shop"), json!("Red shop")]);
    let first = rig.get("/targets?search=shop&limit=1").await.expect(200);
    let second = rig.get(&format!("/targets?search=shop&limit=1&cursor={}", first["next"].as_str().expect("more"))).await.expect(200);
    assert_eq!((names(&first), names(&second), &second["next"]), (vec![json!("Red shop")], vec![json!("Blue shop")], &json!(null)));
}

#[tokio::test]
async fn secrets_are_masked_and_kept_when_the_mask_comes_back() {
    let rig = Rig::of(Made { is_real: true, ..Made::default() }).await;
    let settings = json!({
        "url": "http://127.0.0.1:9/hook", "headers": {"X-Api-Key": "k3y", "X-Plain": "shown"},
        "auth": {"basic": {"username": "u", "password": "p4ss"}},
    });
    let made = rig.post("/targets", json!({"name": "t", "channel": "webhook", "settings": settings})).await.expect(201);
    let one = format!("/targets/{}", id(&made));
    let stored = || {
        let entries = rig.engine.list::<posthaste_domain::resource::Target>(rig.engine.workspaces()[0]);
        entries[0].doc.settings.clone()
    };
    let masked = json!({
        "url": "http://127.0.0.1:9/hook", "headers": {"X-Api-Key": "********", "X-Plain": "shown"},
        "auth": {"basic": {"username": "u", "password": "********"}},
    });
    let read = rig.get(&one).await;
    for shown in [&made["settings"], &read.expect(200)["settings"], &rig.get("/targets").await.expect(200)["items"][0]["settings"]] {
        assert_eq!(shown, &masked);
    }
    assert!(!read.text().contains("whsec_") && made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    // Sent back whole, or one by one beside a change, the mask means what is stored.
    rig.call("PUT", &one, read.json()).await.expect(200);
    assert_eq!(stored(), settings);
    rig.call("PATCH", &one, json!({"settings": {"headers": {"X-Api-Key": "********", "X-Plain": "new"}}})).await.expect(200);
    assert_eq!((&stored()["headers"]["X-Api-Key"], &stored()["headers"]["X-Plain"]), (&json!("k3y"), &json!("new")));
    rig.call("PATCH", &one, json!({"settings": {"headers": {"X-Api-Key": "other"}}})).await.expect(200);
    assert_eq!(stored()["headers"]["X-Api-Key"], "other");
    assert_eq!(stored()["auth"]["basic"]["password"], "p4ss");
    // A mask that stands for nothing would become the secret itself.
    for (bad, field) in [
        (json!({"settings": {"headers": {"X-Other-Key": "********"}}}), "settings.headers.X-Other-Key"),
        (json!({"settings": {"headers": {"X-Plain": "********"}}}), "settings.headers.X-Plain"),
    ] {
        assert_eq!(rig.call("PATCH", &one, bad).await.problem(), (422, "invalid_field".into(), Some(field.into())));
    }
    let body = json!({"name": "t", "channel": "webhook", "settings": masked});
    assert_eq!(rig.post("/targets", body).await.problem().2.as_deref(), Some("settings.headers.X-Api-Key"));
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    let blocks = json!([{"kind": "text", "text": "x"}]);
    let template = id(&rig.post("/templates", json!({"name": "t", "blocks": blocks})).await.expect(201));
    let body = json!({"event_types": ["a"], "target_id": target, "template_id": template});
    let subscription = id(&rig.post("/subscriptions", body).await.expect(201));
    for path in [format!("/targets/{target}"), format!("/templates/{template}")] {
        let refused = rig.call("DELETE", &path, Value::Null).await;
        assert_eq!((refused.problem().0, refused.problem().1.as_str()), (409, "in_use"), "{path}");
        assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains(&subscription)), "{}", refused.text());
    }
    rig.call("DELETE", &format!("/subscriptions/{subscription}"), Value::Null).await.expect(204);
    for path in [format!("/targets/{target}"), format!("/templates/{template}")] {
        rig.call("DELETE", &path, Value::Null).await.expect(204);
    }
}

#[tokio::test]
async fn a_subscription_is_made_with_what_it_needs_and_a_target_deleted_with_it() {
    let rig = Rig::new().await;
    let count = async |path: &str| rig.get(path).await.expect(200)["items"].as_array().expect("items").len();
    let whole = json!({
        "event_types": ["order.*"],
        "target": {"name": "Mine", "channel": "webhook", "settings": {"url": "http://receiver.test/ok"}},
        "template": {"name": "Mine", "blocks": [{"kind": "text", "text": "Hello"}]},
    });
    // What is wrong in one part is named there, and no part is made.
    for (pointer, bad, field) in [
        ("/target/settings/url", json!("ftp://a"), "target.settings.url"),
        ("/target/name", json!(""), "target.name"),
        ("/target/channel", json!(7), "target.channel"),
        ("/template/name", json!(""), "template.name"),
        ("/template/blocks/0/text", json!("{{ x"), "template.blocks[0]"),
        ("/event_types", json!([]), "event_types"),
        ("/event_types/0", json!("or*der"), "event_types[0]"),
    ] {
        let mut body = whole.clone();
        *body.pointer_mut(pointer).expect("it is there") = bad;
        let problem = rig.post("/subscriptions", body).await.problem();
        assert_eq!((problem.0, problem.2.as_deref()), (422, Some(field)), "{pointer}");
    }
    let known = rig.target("ok").await;
    let mut twice = whole.clone();
    twice["target_id"] = json!(known);
    assert_eq!(rig.post("/subscriptions", twice).await.problem().2.as_deref(), Some("target"));
    let nothing = rig.post("/subscriptions", json!({"event_types": ["a"]})).await.problem();
    assert_eq!((nothing.1.as_str(), nothing.2.as_deref()), ("missing_field", Some("target_id")));
    assert_eq!((count("/targets").await, count("/templates").await, count("/subscriptions").await), (1, 0, 0));

    let made = rig.post("/subscriptions", whole).await.expect(201);
    let target = format!("/targets/{}", made["target_id"].as_str().expect("an id"));
    let template = format!("/templates/{}", made["template_id"].as_str().expect("an id"));
    assert_eq!(
        (&rig.get(&target).await.expect(200)["name"], &rig.get(&template).await.expect(200)["name"]),
        (&json!("Mine"), &json!("Mine"))
    );
    assert!(rig.get(&format!("{target}/secret")).await.expect(200)["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    rig.post("/subscriptions", json!({"event_types": ["a"], "target_id": made["target_id"]})).await.expect(201);
    rig.post("/subscriptions", json!({"event_types": ["a"], "target_id": known})).await.expect(201);

    assert_eq!(rig.call("DELETE", &target, Value::Null).await.problem().1, "in_use");
    assert_eq!(
        rig.call("DELETE", &format!("{target}?subscriptions=perhaps"), Value::Null).await.problem().2.as_deref(),
        Some("subscriptions")
    );
    assert_eq!(rig.call("DELETE", &format!("{target}?subscriptions=true"), Value::Null).await.status, 204);
    assert_eq!((rig.get(&target).await.status.as_u16(), count("/targets").await, count("/subscriptions").await), (404, 1, 1));
}

#[tokio::test]
async fn event_types_are_unique_and_their_rule_follows_the_name() {
    let rig = Rig::new().await;
    let made = rig.post("/event-types", json!({"name": "Order Paid"})).await.expect(201);
    assert_eq!((&made["rule"], &made["rule_is_default"]), (&json!({"event_name": "order-paid"}), &json!(true)));
    assert!(made["secret"].is_string());
    let refused = rig.post("/event-types", json!({"name": "Order Paid"})).await;
    assert_eq!(refused.problem(), (409, "duplicate".into(), Some("name".into())));
    let one = format!("/event-types/{}", id(&made));
    let renamed = rig.call("PATCH", &one, json!({"name": "Order Sent"})).await.expect(200);
    assert_eq!(renamed["rule"], json!({"event_name": "order-sent"}));
    let ruled = rig.call("PATCH", &one, json!({"rule": {"kind": "order"}})).await.expect(200);
    assert_eq!((&ruled["rule"], &ruled["rule_is_default"]), (&json!({"kind": "order"}), &json!(false)));
    let renamed = rig.call("PATCH", &one, json!({"name": "Order Lost"})).await.expect(200);
    assert_eq!(renamed["rule"], json!({"kind": "order"}), "an edited rule stays");
    let secret = rig.get(&format!("{one}/secret")).await.expect(200);
    assert_eq!(secret["secret"], made["secret"]);
    assert!(rig.get(&one).await.expect(200).get("secret").is_none());
}

// A target is tried with a sample, and everything that came back is shown.
#[tokio::test]
async fn a_target_is_tested() {
    let rig = Rig::new().await;
    for (place, delivered, status, error) in [
        ("ok", true, json!(200), json!(null)),
        ("status/500", false, json!(500), json!("status_refused")),
        ("refused", false, json!(null), json!("connect_refused")),
    ] {
        let target = rig.target(place).await;
        let body = r#"{"data": {"n": 1.0}}"#;
        let headers = [("content-type", "application/json")];
        let report = rig.raw("POST", &format!("/posthaste/v1/targets/{target}/test"), &rig.token, &headers, body).await.expect(200);
        assert_eq!(report["delivered"], delivered, "{report}");
        let attempt = &report["attempt"];
        assert_eq!((&attempt["status"], &attempt["error"]), (&status, &error), "{report}");
        assert_eq!((&attempt["response_body"], &attempt["number"]), (&json!("thanks"), &json!(1)));
        assert_eq!(rig.recorder.sent.lock().last().expect("it was sent").body, r#"{"n": 1.0}"#);
        rig.call("POST", &format!("/targets/{target}/test"), Value::Null).await.expect(200);
    }
    assert!(ids(&rig.get("/events").await.expect(200)).is_empty(), "nothing is stored");
    assert!(ids(&rig.get("/deliveries").await.expect(200)).is_empty());
}

#[tokio::test]
async fn a_target_is_paused_and_resumed() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let paused = rig.call("POST", &format!("/targets/{target}/pause"), json!({"reason": "moving house"})).await.expect(200);
    assert_eq!(
        (&paused["status"], &paused["status_reason"], &paused["health"]["state"]),
        (&json!("paused"), &json!("moving house"), &json!("paused"))
    );
    let again = rig.call("POST", &format!("/targets/{target}/pause"), Value::Null).await.expect(200);
    assert_eq!(
        (&again["version"], &again["status_reason"]),
        (&paused["version"], &json!("moving house")),
        "a second pause changes nothing"
    );
    let mut events = Vec::new();
    for n in 0..3 {
        events.push(rig.publish("a", json!(n)).await);
    }
    rig.until(&format!("/targets/{target}"), |target| target["health"]["queued"] == 3).await;
    // A pause survives a restart, and so does what it holds.
    let rig = rig.restart().await;
    assert_eq!(rig.get(&format!("/targets/{target}")).await.expect(200)["status"], "paused");
    rig.delivery_in(&events[0], "held").await;
    assert!(rig.recorder.sent.lock().is_empty());
    let resumed = rig.call("POST", &format!("/targets/{target}/resume"), Value::Null).await.expect(200);
    assert_eq!((&resumed["status"], &resumed["status_reason"]), (&json!("active"), &json!(null)));
    for event in &events {
        rig.delivery_in(event, "delivered").await;
    }
    let shown = rig.until(&format!("/targets/{target}"), |target| target["health"]["queued"] == 0).await;
    assert!(shown["health"]["last_success_at"].is_string(), "{shown}");
}

// Secrets are rotated, and the old one signs beside the new one for a while.
#[tokio::test]
async fn a_signing_secret_is_rotated() {
    let rig = Rig::new().await;
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({"name": "t", "channel": "webhook", "settings": {"url": "http://receiver.test/ok"}, "secret": given});
    let made = rig.post("/targets", body).await.expect(201);
    assert_eq!(made["secret"], given);
    let one = format!("/targets/{}", id(&made));
    let secret = rig.get(&format!("{one}/secret")).await.expect(200);
    assert_eq!((&secret["secret"], &secret["scheme"], &secret["previous"]), (&json!(given), &json!("v1"), &json!([])));
    let rotated = rig.call("POST", &format!("{one}/rotate-secret"), Value::Null).await.expect(200);
    assert!(rotated["secret"] != given && rotated["previous"][0]["expires_at"].is_string(), "{rotated}");
    let asymmetric = rig.call("POST", &format!("{one}/rotate-secret"), json!({"asymmetric": true})).await.expect(200);
    assert_eq!(asymmetric["scheme"], "v1a");
    assert!(asymmetric["secret"].as_str().is_some_and(|secret| secret.starts_with("whsk_")), "{asymmetric}");
    assert!(asymmetric["public_key"].as_str().is_some_and(|key| key.starts_with("whpk_")));
    assert_eq!(asymmetric["previous"].as_array().map(Vec::len), Some(2));
    assert_eq!(rig.get(&one).await.expect(200)["signing"].as_array().map(Vec::len), Some(3));
    rig.clock.advance(std::time::Duration::from_secs(86_401));
    assert_eq!(rig.get(&one).await.expect(200)["signing"].as_array().map(Vec::len), Some(1));
    let refused = rig.call("POST", &format!("{one}/rotate-secret"), json!({"secret": "nonsense"})).await;
    assert_eq!(refused.problem(), (422, "invalid_field".into(), Some("secret".into())));
    let refused = rig.call("PATCH", &one, json!({"secret": given})).await;
    assert_eq!(refused.problem().2.as_deref(), Some("secret"));
}

#[tokio::test]
async fn a_filter_is_tried_on_a_sample() {
    let rig = Rig::new().await;
    let body =
        r#"{"filter": {"$or": [{"amount": {"$gt": 100}}, {"country": {"$in": ["NO"]}}]}, "sample": {"amount": 5.0, "country": "NO"}}"#;
    let tried = rig.raw("POST", "/posthaste/v1/filters/test", &rig.token, &[], body).await.expect(200);
    assert_eq!(tried["matched"], true);
    let findings = tried["findings"].as_array().expect("findings");
    assert_eq!((&findings[0]["held"], &findings[0]["found"]), (&json!(false), &json!(5.0)));
    assert_eq!((&findings[1]["held"], &findings[1]["found"]), (&json!(true), &json!("NO")));
    assert!(findings[0]["path"].as_str().is_some_and(|path| path.contains("amount")));
    for sample in ["3", "null", "[]", "\"x\""] {
        let body = format!(r#"{{"filter": {{"amount": {{"$gt": 1}}}}, "sample": {sample}}}"#);
        let tried = rig.raw("POST", "/posthaste/v1/filters/test", &rig.token, &[], body).await.expect(200);
        assert_eq!(tried["matched"], false, "{sample}");
    }
    let wrong = rig.post("/filters/test", json!({"filter": {"amount": {"$gtt": 1}}, "sample": {}})).await;
    assert_eq!(wrong.problem(), (422, "invalid_field".into(), Some("filter.amount.$gtt".into())));
    assert!(wrong.text().contains("did you mean"), "{}", wrong.text());
}

#[tokio::test]
async fn a_template_is_previewed_in_every_form() {
    let rig = Rig::new().await;
    let blocks = json!([
        {"kind": "text", "text": "**Hello** {{ data.name }}"},
        {"kind": "table", "path": "data.items", "columns": [{"heading": "Item", "field": "n"}]},
    ]);
    let event = json!({"type": "order.paid", "data": {"name": "<script>alert(1)</script> & co", "items": [{"n": "<b>"}]}});
    let shown = rig.post("/templates/preview", json!({"blocks": blocks, "event": event})).await.expect(200);
    for form in ["subject", "html", "plain", "slack", "discord", "short", "raw", "page"] {
        assert!(shown[form].as_str().is_some_and(|text| !text.is_empty()), "{form} in {shown}");
    }
    for form in ["html", "page", "slack"] {
        assert!(!shown[form].as_str().unwrap_or_default().contains("<script"), "{form} in {shown}");
    }
    assert!(shown["page"].as_str().is_some_and(|page| page.contains("<strong>Hello</strong> &lt;script&gt;alert(1)")), "{shown}");
    assert!(shown["short"].as_str().is_some_and(|short| short.ends_with("http://posthaste.test/m/example")), "{shown}");
    rig.post("/templates/preview", json!({"blocks": blocks})).await.expect(200);
    // On save and on preview alike, the block and the line at fault are named.
    let bad = json!([{"kind": "text", "text": "x"}, {"kind": "text", "text": "one\n{% if %}"}]);
    for (path, body) in [("/templates/preview", json!({"blocks": bad})), ("/templates", json!({"name": "t", "blocks": bad}))] {
        let refused = rig.post(path, body).await;
        assert_eq!(refused.problem(), (422, "invalid_field".into(), Some("blocks[1]".into())), "{path}");
        assert_eq!(refused.json()["line"], 2, "{path}: {}", refused.text());
    }
    for (event, field) in [
        (json!({"type": 3}), "event.type"),
        (json!({"received_at": "soon"}), "event.received_at"),
        (json!({"tpye": "x"}), "event.tpye"),
        (json!([]), "event"),
    ] {
        let refused = rig.post("/templates/preview", json!({"blocks": blocks, "event": event})).await;
        assert_eq!((refused.problem().0, refused.problem().2.as_deref()), (422, Some(field)));
    }
}

#[tokio::test]
async fn a_subscription_brings_its_policy() {
    let rig = Rig::new().await;
    let target = rig.target("status/503").await;
    let policy = json!({"retry": {"delays": ["1ms", "1ms"]}, "jitter": 0, "success": ["2xx"], "stop": [410]});
    let body = json!({"event_types": ["a", "b.*"], "target_id": target, "filter": {"n": {"$gte": 2}}, "policy": policy});
    let made = rig.post("/subscriptions", body).await.expect(201);
    assert_eq!((&made["policy"], &made["enabled"], &made["description"]), (&policy, &json!(true), &json!("")));
    let one = format!("/subscriptions/{}", id(&made));
    let (small, large) = (rig.publish("a", json!({"n": 1})).await, rig.publish("b.c", json!({"n": 2})).await);
    let failed = rig.delivery_in(&large, "failed").await;
    assert_eq!(failed["attempt_count"], 3, "two retries follow the first attempt");
    assert_eq!(rig.get(&format!("/events/{small}")).await.expect(200)["deliveries"], json!([]));
    // Another status counts as success, from the very next event on.
    rig.call("PATCH", &one, json!({"policy": {"success": [503]}})).await.expect(200);
    let event = rig.publish("a", json!({"n": 3})).await;
    rig.delivery_in(&event, "delivered").await;
    rig.call("PATCH", &one, json!({"enabled": false})).await.expect(200);
    let event = rig.publish("a", json!({"n": 4})).await;
    assert_eq!(rig.get(&format!("/events/{event}")).await.expect(200)["deliveries"], json!([]));
}

#[tokio::test]
async fn a_workspace_sees_nothing_of_another() {
    let rig = Rig::new().await;
    let other = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
    let token = other["token"].as_str().expect("a token");
    for Family { path, .. } in families() {
        let made = id(&rig.post(path, input(&rig, path, 1).await).await.expect(201));
        let list = rig.raw("GET", &format!("/posthaste/v1{path}?limit=1000"), token, &[], "").await.expect(200);
        assert!(!ids(&list).contains(&made), "{path}");
        if path != "/workspaces" && path != "/keys" {
            assert!(ids(&list).is_empty(), "{path}: {list}");
        }
    }
    // Ids of one workspace are no references in another.
    let target = rig.target("ok").await;
    let headers = [("content-type", "application/json")];
    let body = json!({"event_types": ["a"], "target_id": target}).to_string();
    let refused = rig.raw("POST", "/posthaste/v1/subscriptions", token, &headers, body).await;
    assert_eq!(refused.problem().2.as_deref(), Some("target_id"));
    let refused = rig.raw("POST", "/posthaste/v1/replays", token, &headers, json!({"target_id": target}).to_string()).await;
    assert_eq!(refused.problem().2.as_deref(), Some("target_id"));
    let refused = rig.raw("GET", &format!("/posthaste/v1/deliveries?target_id={target}"), token, &[], "").await;
    assert_eq!(refused.problem().2.as_deref(), Some("target_id"));
}
