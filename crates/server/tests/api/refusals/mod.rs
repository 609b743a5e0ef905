//! Bad input everywhere: whatever is wrong, the answer is a problem document with a stable code that names the field, nothing is stored, and
//! the server goes on. What there is to try comes from the API's own description, so that a new route is tried as well.

mod bodies;
mod routes;

use std::collections::{BTreeMap, BTreeSet};

use posthaste_server::ServerSettings;
use serde_json::{Map, Value, json};

use crate::openapi::{Operation, document};
use crate::resources::input;
use crate::rig::{Answer, Rig, id, ids};

const PREFIX: &str = "/posthaste/v1";
const LISTS: [&str; 13] = [
    "/events",
    "/deliveries",
    "/event-types",
    "/targets",
    "/templates",
    "/subscriptions",
    "/bins",
    "/keys",
    "/replays",
    "/domains",
    "/messages",
    "/suppressions",
    "/members",
];

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
        for path in ["/event-types", "/targets", "/templates", "/subscriptions", "/bins", "/keys", "/domains", "/members"] {
            made.insert(&path[1..], id(&rig.post(path, input(&rig, path, 1).await).await.expect(201)));
        }
        let event = rig.publish("order.paid", json!({"amount": 5})).await;
        made.insert("deliveries", id(&rig.delivery_in(&event, "delivered").await));
        made.insert("events", event);
        let replay = id(&rig.post("/replays", json!({})).await.expect(201));
        rig.until(&format!("/replays/{replay}"), |replay| replay["state"] == "done").await;
        made.insert("replays", replay);
        // Messages need a carrier, which this stage has not: whatever has this form is unknown.
        made.insert("messages", "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV@d.test".to_owned());
        let stranger = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
        made.insert("workspaces", ids(&rig.get("/workspaces?order=asc").await.expect(200)).remove(0));
        Self { rig, ids: made, stranger: stranger["token"].as_str().expect("a token").to_owned() }
    }

    /// The path of an operation with the id of what is there.
    fn path(&self, operation: &Operation) -> String {
        match operation.path.contains("{id}") {
            true => operation.path.replace("{id}", &self.ids[family(operation)]),
            false => operation.path.replace("{dialect}", "msgine"),
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
            "publishDocument" => json!({"data": {"event": "x"}}),
            "testEventTypeRule" => json!({"rule": {"a": 1}}),
            "pauseTarget" => json!({"reason": "x"}),
            "rotateTargetSecret" => json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "asymmetric": false}),
            "testTarget" | "previewTargetTest" => json!({"data": 1}),
            "previewTemplate" => json!({"blocks": blocks, "event": {"type": "a"}}),
            "testFilter" => json!({"filter": {"a": 1}, "sample": {}}),
            "replaceAccount" => json!({"settings": {"tier": "free"}}),
            "sendMessage" => json!({"channel": "email", "from": "a@d.test", "to": ["b@x.test"], "text": "x"}),
            "complain" => json!({"recipient": "b@x.test"}),
            "suppress" => json!({"scope": "d.test", "address": "b@x.test", "reason": "bounce"}),
            "createReplay" | "countReplay" => json!({"states": ["failed"]}),
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
    [("number", json!(-7.5)), ("string", json!("x")), ("object", json!({}))]
        .into_iter()
        .find(|(name, _)| !types.contains(name))
        .map(|(_, value)| value)
}

#[track_caller]
fn assert_problem(answer: &Answer, what: &str, status: u16, code: &str, field: Option<&str>) {
    let found = if answer.status.is_success() { (answer.status.as_u16(), String::new(), None) } else { answer.problem() };
    assert_eq!((found.0, found.1.as_str(), found.2.as_deref()), (status, code, field), "{what}: {}", answer.text());
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {}", answer.text());
}

/// The targets that [`input`] makes for subscriptions are not what these tests look for.
fn without_helpers(snapshot: Vec<String>) -> Vec<String> {
    let targets = LISTS.iter().position(|path| *path == "/targets").expect("it is there");
    snapshot.into_iter().enumerate().filter(|(at, _)| *at != targets).map(|(_, text)| text).collect()
}
