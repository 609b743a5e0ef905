//! What is refused of a body: text that is no JSON, fields that are wrong, and the parts of fields.

use serde_json::{Map, Value, json};

use super::{Stage, assert_problem, body_schema, without_helpers, wrong};
use crate::openapi::operations;

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
            let answer = stage.rig.raw(&operation.method.to_uppercase(), &stage.path(&operation), &stage.rig.token, &headers, "{}").await;
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
        (
            "/targets",
            json!({"name": "t", "channel": "webhook", "settings": {"url": "http://a"}, "policy": {"rate": {}}}),
            "policy.rate.limit",
        ),
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
