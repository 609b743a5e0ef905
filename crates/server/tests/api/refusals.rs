//! Bad input everywhere: whatever is wrong, the answer is a problem document with a stable code that names the field, nothing is stored, and
//! the server goes on. What there is to try comes from the API's own description, so that a new route is tried as well.

use std::collections::{BTreeMap, BTreeSet};

use http::header;
use posthaste_server::{ATTEMPT_PAGES, Code, ServerSettings};
use serde_json::{Map, Value, json};

use crate::openapi::{Operation, document, operations};
use crate::resources::input;
use crate::rig::{Answer, Rig, id, ids};

const PREFIX: &str = "/posthaste/v1";
const LISTS: [&str; 9] =
    ["/events", "/deliveries", "/event-types", "/targets", "/templates", "/subscriptions", "/bins", "/keys", "/replays"];

/// A workspace that has one of everything, and one beside it.
struct Stage {
    rig: Rig,
    /// By the first part of the path below the prefix.
    ids: BTreeMap<&'static str, String>,
    /// Token of the other workspace's administrator.
    stranger: String,
}

impl Stage {
    async fn set() -> Self {
        // No test needs more to be too much.
        let rig = Rig::with(ServerSettings { max_body_bytes: 64 << 10, ..ServerSettings::default() }).await;
        let mut made = BTreeMap::new();
        for path in ["/event-types", "/targets", "/templates", "/subscriptions", "/bins", "/keys"] {
            made.insert(&path[1..], id(&rig.post(path, input(&rig, path, 1).await).await.expect(201)));
        }
        let event = rig.publish("order.paid", json!({"amount": 5})).await;
        made.insert("deliveries", id(&rig.delivery_in(&event, "delivered").await));
        made.insert("events", event);
        let replay = id(&rig.post("/replays", json!({})).await.expect(201));
        rig.until(&format!("/replays/{replay}"), |replay| replay["state"] == "done").await;
        made.insert("replays", replay);
        let stranger = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
        made.insert("workspaces", ids(&rig.get("/workspaces?order=asc").await.expect(200)).remove(0));
        Self { rig, ids: made, stranger: stranger["token"].as_str().expect("a token").to_owned() }
    }

    /// The path of an operation with the id of what is there.
    fn path(&self, operation: &Operation) -> String {
        match operation.path.contains('{') {
            true => operation.path.replace("{id}", &self.ids[family(operation)]),
            false => operation.path.clone(),
        }
    }

    async fn ask(&self, operation: &Operation, body: impl Into<axum::body::Body>) -> Answer {
        self.ask_at(operation, &self.path(operation), body).await
    }

    async fn ask_at(&self, operation: &Operation, path: &str, body: impl Into<axum::body::Body>) -> Answer {
        self.rig.raw(&operation.method.to_uppercase(), path, &self.rig.token, &[("content-type", "application/json")], body).await
    }

    /// Everything that is stored, as text.
    async fn snapshot(&self) -> Vec<String> {
        let mut all = Vec::new();
        for path in LISTS.iter().chain(&["/workspaces"]) {
            all.push(self.rig.get(&format!("{path}?limit=1000")).await.text().to_owned());
        }
        all
    }

    /// A good body of an operation that takes one.
    async fn body(&self, operation: &Operation) -> Map<String, Value> {
        let blocks = json!([{"kind": "text", "text": "x"}]);
        let body = match operation.body["operationId"].as_str().expect("an id") {
            "publishEvents" => json!({"type": "order.paid", "data": 1, "deliver_at": "2025-01-01T00:00:00Z"}),
            "pauseTarget" => json!({"reason": "x"}),
            "rotateTargetSecret" => json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "asymmetric": false}),
            "testTarget" => json!({"data": 1}),
            "previewTemplate" => json!({"blocks": blocks, "event": {"type": "a"}}),
            "testFilter" => json!({"filter": {"a": 1}, "sample": {}}),
            "createReplay" => json!({"states": ["failed"]}),
            _ => input(&self.rig, &format!("/{}", family(operation)), 2).await,
        };
        body.as_object().expect("an object").clone()
    }
}

/// The part of the path that names the kind of resource.
fn family(operation: &Operation) -> &str {
    operation.path.strip_prefix(PREFIX).and_then(|rest| rest.split('/').nth(1)).expect("a path below the prefix")
}

/// The schema of the JSON body, with references followed; of a list, the schema of its items.
fn body_schema(operation: &Operation) -> Option<Value> {
    let mut schema = operation.body.get("requestBody")?["content"]["application/json"]["schema"].clone();
    loop {
        if let Some(first) = schema.get("oneOf").map(|choices| choices[0].clone()) {
            schema = first;
        } else if let Some(reference) = schema["$ref"].as_str() {
            schema = document().pointer(&reference[1..]).expect("the reference leads somewhere").clone();
        } else {
            return Some(schema);
        }
    }
}

/// A value that a schema does not allow, if it disallows any.
fn wrong(schema: &Value) -> Option<Value> {
    let types: BTreeSet<&str> = match &schema["type"] {
        Value::String(name) => [name.as_str()].into(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        // References are to enumerations of names; whatever else has no type takes anything.
        _ if schema.get("$ref").is_some() || schema.get("oneOf").is_some() => ["string"].into(),
        _ => return None,
    };
    [("integer", json!(-7.5)), ("string", json!("x")), ("object", json!({}))]
        .into_iter()
        .find(|(name, _)| !types.contains(name) && !(*name == "integer" && types.contains("number")))
        .map(|(_, value)| value)
}

#[track_caller]
fn assert_problem(answer: &Answer, what: &str, status: u16, code: &str, field: Option<&str>) {
    let found = if answer.status.is_success() { (answer.status.as_u16(), String::new(), None) } else { answer.problem() };
    assert_eq!((found.0, found.1.as_str(), found.2.as_deref()), (status, code, field), "{what}: {}", answer.text());
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {}", answer.text());
}

// The scope in the description is the one that the handler asks for.
#[tokio::test]
async fn every_route_asks_for_a_key_with_its_scope() {
    let stage = Stage::set().await;
    let rig = &stage.rig;
    let before = stage.snapshot().await;
    let public = rig.post("/keys", json!({"kind": "public", "allowed_domains": ["example.com"]})).await.expect(201);
    let mut tokens = BTreeMap::new();
    for scope in ["publish", "read", "manage"] {
        tokens.insert(scope, rig.key(&[scope]).await);
    }
    let headers = [("content-type", "application/json")];
    for operation in operations() {
        let what = format!("{} {}", operation.method, operation.path);
        let (method, path) = (operation.method.to_uppercase(), stage.path(&operation));
        assert_problem(&rig.raw(&method, &path, "", &headers, "{}").await, &what, 401, "key_missing", Some("Authorization"));
        assert_problem(&rig.raw(&method, &path, "phk_wrong", &headers, "{}").await, &what, 401, "key_invalid", None);
        let token = public["token"].as_str().expect("a token");
        assert_problem(&rig.raw(&method, &path, token, &headers, "{}").await, &what, 403, "public_key_refused", None);
        let needed = operation.body["security"][0]["key"][0].as_str().expect("a scope");
        for (scope, token) in &tokens {
            if *scope == needed {
                // Nothing is there to be changed, and the body is no JSON: only the key is good.
                let path = operation.path.replace("{id}", "nothing");
                if !path.ends_with("/stream") {
                    let answer = rig.raw(&method, &path, token, &headers, "{").await;
                    assert!(!matches!(answer.status.as_u16(), 401 | 403), "{what} with {scope}: {}", answer.text());
                }
            } else {
                let refused = rig.raw(&method, &path, token, &headers, "{}").await;
                assert_problem(&refused, &what, 403, "scope_missing", None);
                assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains(needed)), "{what}: {}", refused.text());
            }
        }
    }
    let after = stage.snapshot().await;
    let keys = LISTS.iter().position(|path| *path == "/keys").expect("it is there");
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(at == keys || before == after, "something was stored:\n{before}\n{after}");
    }
}

#[tokio::test]
async fn ids_of_others_and_of_nothing_are_not_found() {
    let stage = Stage::set().await;
    let before = stage.snapshot().await;
    let mut tried = 0;
    for operation in operations().iter().filter(|operation| operation.path.contains("{id}")) {
        let what = format!("{} {}", operation.method, operation.path);
        let (method, path) = (operation.method.to_uppercase(), stage.path(operation));
        // The body is good, so that it is the id that is refused.
        let body = match operation.body.get("requestBody") {
            Some(_) => Value::Object(stage.body(operation).await).to_string(),
            None => String::new(),
        };
        let headers = [("content-type", "application/json")];
        let strange = stage.rig.raw(&method, &path, &stage.stranger, &headers, body.clone()).await;
        assert_problem(&strange, &what, 404, "not_found", None);
        let own = &stage.ids[family(operation)];
        let (prefix, rest) = own.split_once('_').expect("a prefix");
        let mistyped: String = rest.chars().rev().collect();
        let other_kind = &stage.ids[if family(operation) == "targets" { "templates" } else { "targets" }];
        let long = "x".repeat(10_000);
        for wrong in ["nothing", &format!("{prefix}_{mistyped}"), &own.to_lowercase(), other_kind, "%00", "%2e%2e%2f", &long] {
            let answer = stage.ask_at(operation, &operation.path.replace("{id}", wrong), body.clone()).await;
            assert_problem(&answer, &format!("{what} with {wrong}"), 404, "not_found", None);
            assert!(answer.bytes.len() < 1000, "{what}: the id is echoed whole");
        }
        let answer = stage.ask_at(operation, &operation.path.replace("{id}", "%ff"), body.clone()).await;
        assert_problem(&answer, &what, 404, "route_not_found", None);
        tried += 1;
    }
    assert!(tried > 30, "{tried} operations with an id");
    assert_eq!(without_helpers(stage.snapshot().await), without_helpers(before));
}

/// The targets that [`input`] makes for subscriptions are not what these tests look for.
fn without_helpers(snapshot: Vec<String>) -> Vec<String> {
    let targets = LISTS.iter().position(|path| *path == "/targets").expect("it is there");
    snapshot.into_iter().enumerate().filter(|(at, _)| *at != targets).map(|(_, text)| text).collect()
}

#[tokio::test]
async fn bad_query_parameters_are_named() {
    let stage = Stage::set().await;
    let cursors: BTreeMap<&str, String> = {
        let mut cursors = BTreeMap::new();
        stage.rig.publish("a", json!(1)).await;
        stage.rig.target("ok").await;
        for path in ["/events", "/targets"] {
            let page = stage.rig.get(&format!("{path}?limit=1")).await.expect(200);
            cursors.insert(path, page["next"].as_str().expect("more").to_owned());
        }
        cursors
    };
    let mut tried = 0;
    for operation in operations() {
        let named: Vec<&str> = match operation.body["parameters"].as_array() {
            Some(list) => list.iter().filter(|p| p["in"] == "query").filter_map(|p| p["name"].as_str()).collect(),
            None => continue,
        };
        if named.is_empty() {
            continue;
        }
        let has = |name: &str| named.contains(&name);
        let foreign = if operation.path.ends_with("/targets") { &cursors["/events"] } else { &cursors["/targets"] };
        let mut bad: Vec<(String, &str, Option<&str>)> = vec![
            ("nonsense=1".into(), "invalid_parameter", Some("nonsense")),
            ("cursr=1".into(), "invalid_parameter", Some("cursr")),
            ("%ff=1".into(), "invalid_parameter", None),
            ("cursor=%ff".into(), "invalid_parameter", Some("cursor")),
            ("cursor=%zz".into(), "invalid_parameter", Some("cursor")),
            ("cursor=a&cursor=b".into(), "invalid_parameter", Some("cursor")),
            ("cursor=nonsense".into(), "invalid_cursor", Some("cursor")),
            (format!("cursor={}", "A".repeat(5000)), "invalid_cursor", Some("cursor")),
            (format!("cursor={foreign}"), "invalid_cursor", Some("cursor")),
        ];
        if has("limit") {
            for limit in ["0", "-1", "1001", "1.5", "x", "99999999999999999999", "1e2"] {
                bad.push((format!("limit={limit}"), "invalid_parameter", Some("limit")));
            }
        }
        if has("order") {
            bad.push(("order=up".into(), "invalid_parameter", Some("order")));
            if operation.path.ends_with("/targets") {
                bad.push((format!("order=asc&cursor={}", cursors["/targets"]), "invalid_cursor", Some("cursor")));
            }
        }
        for (name, values) in [
            ("from", &["yesterday", "2026-13-01T00:00:00Z", "1700000000"][..]),
            ("to", &["2026-01-01"]),
            ("wait", &["61s", "-1s", "1y", "99999999999999999999s"]),
            ("deliveries", &["maybe"]),
            ("unmatched", &["2"]),
            ("state", &["lost", "failed,lost"]),
            ("target_id", &["nothing"]),
            ("type", &["order.*"]),
        ] {
            // The stream takes wildcards.
            if has(name) && !(name == "type" && operation.path.ends_with("/stream")) {
                bad.extend(values.iter().map(|value| (format!("{name}={value}"), "invalid_parameter", Some(name))));
            }
        }
        if operation.path.ends_with("/stream") {
            bad.push(("type=or*der".into(), "invalid_parameter", Some("type")));
            bad.push((format!("type={}", "a,".repeat(30)), "invalid_parameter", Some("type")));
        }
        for (query, code, field) in bad {
            let path = format!("{}?{query}", stage.path(&operation));
            let answer = stage.ask_at(&operation, &path, "").await;
            assert_problem(&answer, &format!("{} {path}", operation.method), 400, code, field);
        }
        tried += 1;
    }
    assert!(tried > 10, "{tried} operations with a query");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused_with_their_place() {
    let stage = Stage::set().await;
    let before = stage.snapshot().await;
    let mut tried = 0;
    for operation in operations() {
        let Some(schema) = body_schema(&operation) else { continue };
        let what = format!("{} {}", operation.method, operation.path);
        let is_optional = operation.body["requestBody"]["required"] != true;
        for empty in ["", " \n"] {
            if !is_optional {
                assert_problem(&stage.ask(&operation, empty).await, &what, 400, "invalid_json", None);
            }
        }
        for (bad, line) in [
            (&b"{"[..], 1),
            (b"{\n\"a\": 1,\n}", 3),
            (b"{\"a\": 01}", 1),
            (b"{'a': 1}", 1),
            (b"{\"a\": NaN}", 1),
            (b"{} {}", 1),
            (b"nonsense", 1),
            (b"{\"a\": \"\xff\"}", 1),
            (b"{\"a\n\": 1}", 1),
            (b"{\"a\": \"\\x\"}", 1),
            (b"\xef\xbb\xbf{}", 1),
            (b"\xff\xfe{\0}\0", 1),
        ] {
            let answer = stage.ask(&operation, bad).await;
            assert_problem(&answer, &format!("{what} {:?}", String::from_utf8_lossy(bad)), 400, "invalid_json", None);
            assert_eq!(answer.json()["line"], line, "{what}: {}", answer.text());
            assert!(answer.json()["column"].is_u64(), "{what}: {}", answer.text());
        }
        for body in ["7", "\"x\"", "true", "null"] {
            let answer = stage.ask(&operation, body).await;
            assert_problem(&answer, &format!("{what} {body}"), 422, "invalid_field", None);
        }
        let (first, _) = schema["properties"].as_object().and_then(|map| map.iter().next()).expect("a field");
        // Nested so deep that a reader which follows it would run out of stack.
        for depth in [200, 30_000] {
            let deep = format!("{{\"{first}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            let answer = stage.ask(&operation, deep).await;
            assert!(matches!(answer.problem().0, 400 | 422), "{what}: {}", answer.text());
            let code = answer.problem().1;
            assert!(matches!(code.as_str(), "json_too_deep" | "invalid_field"), "{what}: {}", answer.text());
        }
        let long = format!("{{\"{first}\": \"{}\"}}", "x".repeat(64 << 10));
        assert_problem(&stage.ask(&operation, long).await, &what, 413, "body_too_large", None);
        for kind in ["text/plain", "text/html; charset=utf-8", "multipart/form-data; boundary=x", "jsonish"] {
            let headers = [("content-type", kind)];
            let answer =
                stage.rig.raw(&operation.method.to_uppercase(), &stage.path(&operation), &stage.rig.token, &headers, "{}").await;
            assert_problem(&answer, &format!("{what} {kind}"), 415, "content_type_unsupported", Some("Content-Type"));
        }
        // `curl -d` calls everything a form: that passes as JSON, a real form does not.
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = stage.rig.raw(&operation.method.to_uppercase(), &stage.path(&operation), &stage.rig.token, &headers, "a=1").await;
        assert_problem(&answer, &what, 400, "invalid_json", None);
        tried += 1;
    }
    assert!(tried > 20, "{tried} operations with a body");
    assert_eq!(stage.snapshot().await, before, "something was stored");
}

#[tokio::test]
async fn bad_fields_are_named() {
    let stage = Stage::set().await;
    let before = stage.snapshot().await;
    for operation in operations() {
        let Some(schema) = body_schema(&operation) else { continue };
        let what = format!("{} {}", operation.method, operation.path);
        let good = stage.body(&operation).await;
        let properties = schema["properties"].as_object().expect("fields");
        let ask = async |body: &Map<String, Value>| stage.ask(&operation, Value::Object(body.clone()).to_string()).await;

        let mut body = good.clone();
        body.insert("nonsense".into(), json!(1));
        assert_problem(&ask(&body).await, &what, 422, "unknown_field", Some("nonsense"));
        let long = "n".repeat(3000);
        let answer = ask(&Map::from_iter([(long, json!(1))])).await;
        assert!(answer.problem().1 == "unknown_field" && answer.bytes.len() < 2000, "{what}: {}", answer.text());
        // One letter too few: the right name is told.
        let (first, _) = properties.iter().next().expect("a field");
        let typo = &first[..first.len() - 1];
        let answer = ask(&Map::from_iter([(typo.to_owned(), json!(1))])).await;
        assert_problem(&answer, &what, 422, "unknown_field", Some(typo));
        assert!(answer.text().contains(&format!("did you mean \\\"{first}\\\"?")), "{what}: {}", answer.text());

        for (name, property) in properties {
            if let Some(bad) = wrong(property) {
                let mut body = good.clone();
                body.insert(name.clone(), bad.clone());
                let answer = ask(&body).await;
                assert_problem(&answer, &format!("{what} {name}={bad}"), 422, "invalid_field", Some(name));
            }
            // The last of two would win in most readers: a mistake that nobody sees.
            let value = good.get(name).cloned().unwrap_or_else(|| json!("x"));
            let twice = format!("{{\"{name}\": {value}, \"{name}\": {value}}}");
            let answer = stage.ask(&operation, twice).await;
            assert_problem(&answer, &format!("{what} {name} twice"), 422, "invalid_field", Some(name));
            // Payloads keep every number as it is written.
            if !matches!(name.as_str(), "data" | "sample" | "event") && wrong(property).is_some() {
                let mut rest = good.clone();
                rest.remove(name);
                let rest = Value::Object(rest).to_string();
                let huge = format!("{{\"{name}\": 1e400{}{}", if rest == "{}" { "" } else { "," }, &rest[1..]);
                let answer = stage.ask(&operation, huge).await;
                assert_problem(&answer, &format!("{what} {name}=1e400"), 422, "invalid_field", Some(name));
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut body = good.clone();
            body.remove(name);
            // A resource keeps what is not sent only with PATCH, whose description requires nothing.
            assert_problem(&ask(&body).await, &format!("{what} without {name}"), 422, "missing_field", Some(name));
        }
    }
    assert_eq!(without_helpers(stage.snapshot().await), without_helpers(before), "something was stored");
}

#[tokio::test]
async fn bad_values_are_named_down_to_the_innermost_field() {
    let stage = Stage::set().await;
    let before = stage.snapshot().await;
    let target = &stage.ids["targets"];
    let hook = |settings: Value| json!({"name": "t", "channel": "webhook", "settings": settings});
    let policy = |policy: Value| json!({"event_types": ["a"], "target_id": target, "policy": policy});
    let subscription = |name: &str, value: Value| {
        let mut body = json!({"event_types": ["a"], "target_id": target});
        body[name] = value;
        body
    };
    let long = "x".repeat(256);
    let template = |blocks: Value| json!({"name": "t", "blocks": blocks});
    for (path, body, field) in [
        ("/event-types", json!({"name": "ab"}), "name"),
        ("/event-types", json!({"name": long}), "name"),
        ("/event-types", json!({"name": "abc", "group": "a/b/c"}), "group"),
        ("/event-types", json!({"name": "abc", "group": "a/"}), "group"),
        ("/event-types", json!({"name": "abc", "rule": [1]}), "rule"),
        ("/event-types", json!({"name": "abc", "schema": "x"}), "schema"),
        ("/targets", json!({"name": "", "channel": "webhook", "settings": {"url": "http://a"}}), "name"),
        ("/targets", json!({"name": "a\u{7}b", "channel": "webhook", "settings": {"url": "http://a"}}), "name"),
        ("/targets", json!({"name": "t", "channel": "pigeon", "settings": {}}), "channel"),
        ("/targets", hook(json!({})), "settings.url"),
        ("/targets", hook(json!({"url": "ftp://a"})), "settings.url"),
        ("/targets", hook(json!({"url": "http://a", "colour": 1})), "settings.colour"),
        ("/targets", json!({"name": "t", "channel": "webhook", "settings": {"url": "http://a"}, "secret": "short"}), "secret"),
        ("/targets", json!({"name": "t", "channel": "webhook", "settings": {"url": "http://a"}, "policy": {"rate": {}}}), "policy.rate.limit"),
        ("/subscriptions", subscription("event_types", json!([])), "event_types"),
        ("/subscriptions", subscription("event_types", json!(["a", "or*der"])), "event_types[1]"),
        ("/subscriptions", subscription("event_types", json!(["a", 3])), "event_types[1]"),
        ("/subscriptions", subscription("target_id", json!("nothing")), "target_id"),
        ("/subscriptions", subscription("template_id", json!("nothing")), "template_id"),
        ("/subscriptions", subscription("format", json!("morse")), "format"),
        ("/subscriptions", subscription("filter", json!({"a": {"$gtt": 1}})), "filter.a.$gtt"),
        ("/subscriptions", subscription("filter", json!({"$or": [{"a": 1}, {}]})), "filter.$or[1]"),
        ("/subscriptions", policy(json!({"timeout": "1y"})), "policy.timeout"),
        ("/subscriptions", policy(json!({"timeout": 1e300})), "policy.timeout"),
        ("/subscriptions", policy(json!({"concurency": 1})), "policy.concurency"),
        ("/subscriptions", policy(json!({"retry": {"delays": ["1s", "x"]}})), "policy.retry.delays[1]"),
        ("/subscriptions", policy(json!({"retry": {"exponential": {"first": "1s", "factor": 0}}})), "policy.retry.exponential.factor"),
        ("/subscriptions", policy(json!({"success": ["9xx"]})), "policy.success[0]"),
        ("/subscriptions", policy(json!({"batch": {"events": 0}})), "policy.batch.events"),
        ("/subscriptions", policy(json!({"rate": {"limit": 18_446_744_073_709_551_615_u64, "per": "1s"}})), "policy.rate.limit"),
        ("/subscriptions", policy(json!({"order": "lifo"})), "policy.order"),
        ("/templates", template(json!([])), "blocks"),
        ("/templates", template(json!([{"kind": "picture"}])), "blocks[0].kind"),
        ("/templates", template(json!([{"kind": "text"}])), "blocks[0].text"),
        ("/templates", template(json!([{"kind": "text", "text": "x", "path": "y"}])), "blocks[0].path"),
        ("/templates", template(json!([{"kind": "table", "path": "data.x"}])), "blocks[0].columns"),
        ("/templates", template(json!([{"kind": "table", "path": "x", "columns": [{"heading": "H"}]}])), "blocks[0].columns[0].field"),
        ("/templates", template(json!([{"kind": "text", "text": "{{ x"}])), "blocks[0]"),
        ("/keys", json!({"kind": "secret"}), "kind"),
        ("/keys", json!({"kind": "private", "scopes": []}), "scopes"),
        ("/keys", json!({"kind": "private", "scopes": ["read", "write"]}), "scopes[1]"),
        ("/keys", json!({"kind": "public", "allowed_domains": ["https://example.com"]}), "allowed_domains[0]"),
        ("/keys", json!({"kind": "private", "description": "x".repeat(1001)}), "description"),
        ("/bins", json!({"status": 70_000}), "status"),
        ("/bins", json!({"name": "a\nb"}), "name"),
        ("/bins", json!({"expires_in": "99999999999999999999d"}), "expires_in"),
        ("/replays", json!({"states": []}), "states"),
        ("/replays", json!({"states": ["queued"]}), "states[0]"),
        ("/replays", json!({"from": "soon"}), "from"),
        ("/replays", json!({"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}), "from"),
        ("/replays", json!({"target_id": "nothing"}), "target_id"),
        ("/workspaces", json!({"name": " "}), "name"),
        ("/events", json!({"type": "", "data": 1}), "type"),
        ("/events", json!({"type": long, "data": 1}), "type"),
        ("/events", json!({"type": "a", "data": 1, "deliver_at": "2999-01-01T00:00:00Z"}), "deliver_at"),
        ("/events", json!([{"type": "a", "data": 1}, {"type": "a", "data": 1, "deliver_at": 5}]), "[1].deliver_at"),
    ] {
        let answer = stage.rig.post(path, body.clone()).await;
        let (status, code, found) = answer.problem();
        assert_eq!((status, found.as_deref()), (422, Some(field)), "{path} {body}: {}", answer.text());
        // Names that are not known within a part of a body count as values of that part.
        assert!(matches!(code.as_str(), "invalid_field" | "missing_field"), "{path} {body}: {code}");
    }
    // All bad events of a list are named, and the good ones are not stored.
    let many = json!([{"type": "a", "data": 1}, {"data": 1}, {"type": "b", "data": 1}, {"type": "", "data": 1}]);
    let answer = stage.rig.post("/events", many).await;
    let errors = answer.json()["errors"].as_array().expect("all of them").iter().map(|error| error["field"].clone()).collect::<Vec<_>>();
    assert_eq!(errors, [json!("[1].type"), json!("[3].type")]);
    let answer = stage.rig.post("/events", Value::Array(vec![json!({"type": "a", "data": 1}); 1001])).await;
    assert_problem(&answer, "1001 events", 422, "too_many_events", None);
    assert_eq!(stage.snapshot().await, before, "something was stored");
}

#[tokio::test]
async fn states_that_do_not_allow_it_are_told() {
    let stage = Stage::set().await;
    for (path, field) in [
        (format!("/deliveries/{}/cancel", stage.ids["deliveries"]), "finished"),
        (format!("/replays/{}/cancel", stage.ids["replays"]), "finished"),
    ] {
        let answer = stage.rig.call("POST", &path, Value::Null).await;
        assert_problem(&answer, &path, 409, "wrong_state", None);
        assert!(answer.text().contains(field), "{}", answer.text());
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told() {
    let rig = Rig::new().await;
    for path in ["/nothing", "/posthaste/v1/nothing", "/posthaste/v1/targets/", "/posthaste/v2/events", "/v1/events", "/%ff", "//"] {
        let answer = rig.raw("GET", path, &rig.token, &[], "").await;
        assert_problem(&answer, path, 404, "route_not_found", None);
    }
    for (method, path, allowed) in
        [("DELETE", "/posthaste/v1/events", "GET"), ("PATCH", "/healthz", "GET"), ("BREW", "/posthaste/v1/targets", "POST")]
    {
        let answer = rig.raw(method, path, &rig.token, &[], "").await;
        assert_problem(&answer, path, 405, "method_not_allowed", None);
        assert!(answer.headers[header::ALLOW].to_str().is_ok_and(|allow| allow.contains(allowed)), "{path}: {:?}", answer.headers);
    }
    let answer = rig.raw("GET", "/posthaste/v1/errors/nothing", "", &[], "").await;
    assert_problem(&answer, "an unknown code", 404, "not_found", None);
}

// Every code has a page that says what it means and what to do, and there is no page without a code.
#[tokio::test]
async fn every_code_has_its_page_and_every_page_its_code() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    let pages: BTreeSet<String> = std::fs::read_dir(directory)
        .expect("the pages are there")
        .filter_map(|entry| entry.expect("an entry").file_name().to_str()?.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .collect();
    let answers = Code::ALL.iter().map(|code| code.name());
    let attempts = ATTEMPT_PAGES.iter().map(|(name, _)| *name);
    let channels = posthaste_channels::failure::Code::all();
    let codes: BTreeSet<String> = answers.chain(attempts).chain(channels).map(str::to_owned).collect();
    assert_eq!(pages, codes);
    let rig = Rig::new().await;
    for code in &codes {
        let page = rig.raw("GET", &format!("{PREFIX}/errors/{code}"), "", &[], "").await;
        assert_eq!(page.status, 200, "{code}");
        let text = page.text();
        assert!(text.starts_with(&format!("# `{code}`\n")), "{text}");
        for part in ["**What it means.**", "**Whose fault.**", "**What to do.**"] {
            assert!(text.contains(part), "{code} does not say: {part}");
        }
    }
}
