//! What is refused before a body is read: keys, ids, query parameters, paths; and the pages of the codes.

use std::collections::{BTreeMap, BTreeSet};

use http::header;
use posthaste_server::{ATTEMPT_PAGES, Code};
use serde_json::{Value, json};

use super::{LISTS, PREFIX, Stage, assert_problem, family, without_helpers};
use crate::openapi::operations;
use crate::rig::Rig;

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
        ];
        let of_lists = [
            ("cursor=%ff".into(), "invalid_parameter", Some("cursor")),
            ("cursor=%zz".into(), "invalid_parameter", Some("cursor")),
            ("cursor=a&cursor=b".into(), "invalid_parameter", Some("cursor")),
            ("cursor=nonsense".into(), "invalid_cursor", Some("cursor")),
            (format!("cursor={}", "A".repeat(5000)), "invalid_cursor", Some("cursor")),
            (format!("cursor={foreign}"), "invalid_cursor", Some("cursor")),
        ];
        if has("cursor") {
            bad.extend(of_lists);
        }
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
            ("template_id", &["nothing"]),
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
