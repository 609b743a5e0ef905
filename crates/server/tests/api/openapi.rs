//! The OpenAPI document: checked in, complete, and true to what is served.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use crate::rig::Rig;

const CHECKED_IN: &str = include_str!("../../../../docs/openapi.json");

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The document as it is made now.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&posthaste_server::openapi_json()).expect("JSON"));
    &DOCUMENT
}

/// One operation of the document.
pub struct Operation {
    pub method: String,
    /// With its variable parts in braces.
    pub path: String,
    pub body: Value,
}

/// All operations of the document.
pub fn operations() -> Vec<Operation> {
    let paths = document()["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| {
        let item = item.as_object().expect("a path item").clone();
        let path = path.clone();
        item.into_iter().map(move |(method, body)| Operation { method, path: path.clone(), body })
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn the_document_is_the_checked_in_one() {
    let made = posthaste_server::openapi_json();
    if made == CHECKED_IN {
        return;
    }
    let (line, (new, old)) =
        made.lines().zip(CHECKED_IN.lines()).enumerate().find(|(_, (new, old))| new != old).unwrap_or((0, ("(one is longer)", "")));
    panic!(
        "the API has changed: docs/openapi.json says otherwise in line {}:\n  checked in: {old}\n  now:        {new}\n\
         If the change is meant, write it anew with: posthaste openapi > docs/openapi.json",
        line + 1
    );
}

#[test]
fn every_operation_is_described() {
    let operations = operations();
    assert!(operations.len() > 50, "{} operations", operations.len());
    let mut ids = BTreeSet::new();
    for Operation { method, path, body } in &operations {
        let name = format!("{method} {path}");
        assert!(METHODS.contains(&method.as_str()), "{name}");
        let id = body["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no operationId"));
        assert!(ids.insert(id.to_owned()), "{name}: {id} is taken");
        assert!(body["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name} has no summary");
        assert_eq!(body["tags"].as_array().map(Vec::len), Some(1), "{name}");
        let answers = body["responses"].as_object().unwrap_or_else(|| panic!("{name} has no answers"));
        assert_eq!(answers.keys().filter(|status| status.starts_with('2')).count(), 1, "{name} has one good answer");
        let mut errors = vec!["401", "403", "default"];
        errors.extend(path.contains('{').then_some("404"));
        errors.extend(body.get("requestBody").iter().flat_map(|_| ["400", "413", "415", "422"]));
        for status in errors {
            let answer = answers.get(status).unwrap_or_else(|| panic!("{name} has no answer {status}"));
            let pointer = answer["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')).expect("a shared answer");
            let content = &document().pointer(pointer).expect("it is there")["content"]["application/problem+json"];
            assert_eq!(content["schema"]["$ref"], "#/components/schemas/Problem", "{name} {status}");
        }
        let scopes = body["security"][0]["key"].as_array().unwrap_or_else(|| panic!("{name} names no scope"));
        assert!(matches!(scopes[0].as_str(), Some("admin" | "publish" | "read" | "manage")), "{name}");
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameters = body["parameters"].as_array().unwrap_or_else(|| panic!("{name} has no parameters"));
            assert!(parameters.iter().any(|p| p["name"] == part && p["in"] == "path" && p["required"] == true), "{name} {part}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    assert_eq!(document()["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(document(), &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document().pointer(pointer).is_some(), "{reference}");
    }
    for name in document()["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(found.contains(format!("#/components/schemas/{name}").as_str()), "nothing refers to {name}");
    }
    // A merge patch needs no field, the whole needs its own.
    assert!(document().pointer("/components/schemas/TargetPatch/required").is_none());
    assert!(document().pointer("/components/schemas/TargetInput/required").is_some());
}

#[tokio::test]
async fn it_is_served_without_a_key() {
    let rig = Rig::new().await;
    let served = rig.raw("GET", "/posthaste/v1/openapi.json", "", &[], "").await;
    assert_eq!((served.status.as_u16(), served.text()), (200, posthaste_server::openapi_json().as_str()));
}
