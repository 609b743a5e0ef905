//! JSON schemas of the OpenAPI document as tables, and examples of what fits them.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::prose;
use crate::ui::{Head, table as table_of};

/// How deep schemas are looked into: references may go round.
const DEEPEST: usize = 5;

/// What a `$ref` points to; anything else is itself.
pub(super) fn resolve<'a>(doc: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|path| doc.pointer(path.trim_start_matches('#'))) {
        Some(found) => found,
        None => value,
    }
}

/// The choices of a schema that is one of several, without null.
fn choices(schema: &Value) -> Vec<&Value> {
    let all = ["oneOf", "anyOf"].into_iter().find_map(|name| schema[name].as_array());
    all.into_iter().flatten().filter(|choice| choice["type"] != "null").collect()
}

/// The type of a schema in words.
pub(super) fn kind(doc: &Value, schema: &Value) -> String {
    kind_within(doc, schema, 0)
}

fn kind_within(doc: &Value, schema: &Value, depth: usize) -> String {
    let schema = resolve(doc, schema);
    if depth > DEEPEST {
        return "…".to_owned();
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        let mut words: Vec<String> = choices.into_iter().map(|choice| kind_within(doc, choice, depth + 1)).collect();
        words.dedup();
        return words.join(" or ");
    }
    let word = |name: &str| match (name, schema["format"].as_str()) {
        ("array", _) => format!("list of {}", kind_within(doc, &schema["items"], depth + 1)),
        ("string", Some("date-time")) => "time (RFC 3339)".to_owned(),
        ("string", _) => "text".to_owned(),
        ("integer", _) => "whole number".to_owned(),
        ("boolean", _) => "true or false".to_owned(),
        ("null", _) => "null".to_owned(),
        (other, _) => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => word(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(word).collect::<Vec<_>>().join(" or "),
        _ if schema["allOf"].is_array() || schema["properties"].is_object() => "object".to_owned(),
        _ => "anything".to_owned(),
    }
}

/// What values a schema allows, in a line; nothing if it says nothing.
pub(super) fn limits(schema: &Value) -> Markup {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut words: Vec<(&str, String)> = Vec::new();
    if let Some(values) = schema["enum"].as_array() {
        words.push(("one of", values.iter().map(plain).collect::<Vec<_>>().join(", ")));
    }
    for (name, label) in [
        ("minimum", "from"),
        ("maximum", "to"),
        ("minLength", "characters from"),
        ("maxLength", "characters to"),
        ("minItems", "items from"),
        ("maxItems", "items to"),
        ("pattern", "pattern"),
        ("default", "default"),
        ("example", "example"),
    ] {
        if !schema[name].is_null() {
            words.push((label, plain(&schema[name])));
        }
    }
    html! { @if !words.is_empty() { div.small.muted { @for (at, (label, value)) in words.iter().enumerate() { @if at > 0 { "; " } (label) " " code { (value) } } } } }
}

/// A field of a schema: its path, whether it must be there, and what it is.
struct Row<'a> {
    path: String,
    is_required: bool,
    schema: &'a Value,
    /// As it stood in the parent: a description beside a reference.
    outer: &'a Value,
}

fn rows<'a>(doc: &'a Value, schema: &'a Value, path: &str, depth: usize, out: &mut Vec<Row<'a>>) {
    let schema = resolve(doc, schema);
    if depth > DEEPEST {
        return;
    }
    for part in schema["allOf"].as_array().into_iter().flatten().chain(choices(schema)) {
        rows(doc, part, path, depth + 1, out);
    }
    if schema["items"].is_object() {
        rows(doc, &schema["items"], &format!("{path}[]"), depth + 1, out);
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, outer) in schema["properties"].as_object().into_iter().flatten() {
        let own = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let is_known = out.iter().any(|row| row.path == own);
        if is_known {
            continue;
        }
        out.push(Row { path: own.clone(), is_required: required.contains(&name.as_str()), schema: resolve(doc, outer), outer });
        rows(doc, outer, &own, depth + 1, out);
    }
}

/// A schema as a table of its fields.
pub(super) fn table(doc: &Value, schema: &Value) -> Markup {
    let mut found = Vec::new();
    rows(doc, schema, "", 0, &mut found);
    if found.is_empty() {
        return html! { p { (kind(doc, schema)) } };
    }
    let heads = [Head::new("Field"), Head::new("Type"), Head::new("What it is")];
    let shown = html! {
        @for row in &found {
            @let about = row.outer["description"].as_str().or(row.schema["description"].as_str()).unwrap_or_default();
            tr {
                td { code { (row.path) } @if row.is_required { div.small.muted { "required" } } }
                td { (kind(doc, row.schema)) }
                td { (prose(about)) (limits(row.schema)) }
            }
        }
    };
    html! { @if kind(doc, schema).starts_with("list") { p { "A list; each item has:" } } (table_of("", "Fields", &heads, shown)) }
}

/// A small value that fits a schema: what must be there, and what has an example.
pub(super) fn example(doc: &Value, schema: &Value) -> Value {
    example_within(doc, schema, "", 0).unwrap_or(Value::Null)
}

/// A text that fits: one of the words of a pattern that lists some, else the name of the field, as long as it has to be.
fn text(schema: &Value, name: &str) -> String {
    let words = schema["pattern"].as_str().and_then(|pattern| pattern.strip_prefix("^(")?.strip_suffix(")$"));
    let is_plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(word) = words.and_then(|words| words.split('|').next()).filter(is_plain) {
        return word.to_owned();
    }
    let bound = |name: &str| schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let (least, most) = (bound("minLength").unwrap_or(0), bound("maxLength").unwrap_or(usize::MAX));
    let text = match name {
        "" => "text".to_owned(),
        "email" | "recipient" | "address" => "ann@example.com".to_owned(),
        name => name.to_owned(),
    };
    text.chars().chain(std::iter::repeat_n('x', least.saturating_sub(text.chars().count()))).take(most).collect()
}

/// `None` where nothing sensible can be made up.
fn example_within(doc: &Value, schema: &Value, name: &str, depth: usize) -> Option<Value> {
    let schema = resolve(doc, schema);
    if depth > DEEPEST {
        return None;
    }
    let mut given = ["example", "default"].into_iter().map(|name| &schema[name]).chain([&schema["examples"][0], &schema["enum"][0]]);
    if let Some(value) = given.find(|value| !value.is_null()) {
        return Some(value.clone());
    }
    if let Some(first) = choices(schema).first() {
        return example_within(doc, first, name, depth + 1);
    }
    let first_type = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match first_type {
        Some("string") if schema["format"] == "date-time" => Some(Value::from("2026-12-31T12:00:00Z")),
        Some("string") => Some(Value::from(text(schema, name))),
        Some("integer" | "number") => Some(schema["minimum"].as_i64().unwrap_or(0).into()),
        Some("boolean") => Some(Value::Bool(false)),
        Some("array") => Some(Value::Array(example_within(doc, &schema["items"], name, depth + 1).into_iter().collect())),
        _ if schema["properties"].is_object() || schema["allOf"].is_array() => {
            let mut object = Map::new();
            fill(doc, schema, depth, &mut object);
            Some(Value::Object(object))
        }
        Some("object") => Some(Value::Object(Map::new())),
        _ => None,
    }
}

fn fill(doc: &Value, schema: &Value, depth: usize, object: &mut Map<String, Value>) {
    let schema = resolve(doc, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fill(doc, part, depth, object);
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let has_example = !resolve(doc, inner)["example"].is_null();
        if required.contains(&name.as_str()) || has_example {
            object.insert(name.clone(), example_within(doc, inner, name, depth + 1).unwrap_or_else(|| Value::Object(Map::new())));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Where a value does not fit a schema, as far as examples need to know.
    fn misfit(doc: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
        let schema = resolve(doc, schema);
        let all = ["oneOf", "anyOf"].into_iter().find_map(|name| schema[name].as_array());
        if let Some(all) = all {
            let wrong: Vec<String> = all.iter().map_while(|one| misfit(doc, one, value, path)).collect();
            return (wrong.len() == all.len()).then(|| wrong.join(", and "));
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let is = |name: &str| match name {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => value.is_null(),
        };
        if !types.is_empty() && !types.iter().any(|name| is(name)) {
            return Some(format!("{path}: {value} is none of {types:?}"));
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            return Some(format!("{path}: {value} is none of {}", schema["enum"]));
        }
        let length = value.as_str().map(|text| text.chars().count()).or(value.as_array().map(Vec::len)).unwrap_or(usize::MAX) as u64;
        if ["minLength", "minItems"].iter().any(|name| schema[*name].as_u64().is_some_and(|least| length < least)) {
            return Some(format!("{path}: {value} is too short"));
        }
        let words = schema["pattern"].as_str().and_then(|pattern| pattern.strip_prefix("^(")?.strip_suffix(")$"));
        if let (Some(words), Some(text)) = (words, value.as_str())
            && !words.split('|').any(|word| word == text)
        {
            return Some(format!("{path}: {value} is none of {words}"));
        }
        let parts = schema["allOf"].as_array().into_iter().flatten().find_map(|part| misfit(doc, part, value, path));
        let items = || value.as_array().into_iter().flatten().find_map(|item| misfit(doc, &schema["items"], item, &format!("{path}[]")));
        let needed = || {
            let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.into_iter().find(|name| value.get(name).is_none()).map(|name| format!("{path}.{name} is missing"))
        };
        let fields = || {
            let own = schema["properties"].as_object().into_iter().flatten();
            own.filter_map(|(name, inner)| Some((name, inner, value.get(name)?)))
                .find_map(|(name, inner, value)| misfit(doc, inner, value, &format!("{path}.{name}")))
        };
        parts.or_else(items).or_else(needed).or_else(fields)
    }

    #[test]
    fn every_example_of_the_reference_fits_its_schema() {
        let doc: Value = serde_json::from_str(&posthaste_server::openapi_json()).expect("JSON");
        let mut bodies = 0;
        for (path, methods) in doc["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let body = resolve(&doc, &operation["requestBody"]);
                let schema = &body["content"]["application/json"]["schema"];
                if schema.is_null() {
                    continue;
                }
                bodies += 1;
                let value = example(&doc, schema);
                assert_eq!(misfit(&doc, schema, &value, ""), None, "{method} {path}: {value}");
            }
        }
        assert!(bodies > 30, "{bodies}");
        let short = json!({"type": "object", "properties": {"name": {"type": "string", "minLength": 3}}});
        assert!(misfit(&doc, &short, &json!({"name": ""}), "").is_some(), "the check checks nothing");
    }

    #[test]
    fn references_that_go_round_end_and_examples_fit() {
        let doc = json!({"components": {"schemas": {"Node": {
            "type": "object", "required": ["name", "next", "kind"],
            "properties": {
                "name": {"type": "string", "example": "<b>"},
                "next": {"$ref": "#/components/schemas/Node"},
                "kind": {"type": "string", "enum": ["a", "b"]},
                "rest": {"type": ["array", "null"], "items": {"type": "integer"}},
            },
        }}}});
        let schema = json!({"$ref": "#/components/schemas/Node"});
        let shown = table(&doc, &schema).into_string();
        assert!(shown.contains("next.next.name") && shown.contains("list of whole number or null") && !shown.contains("<b>"), "{shown}");
        let value = example(&doc, &schema);
        assert_eq!((&value["name"], &value["kind"], value.get("rest")), (&json!("<b>"), &json!("a"), None));
        assert_eq!(kind(&doc, &json!({"oneOf": [{"type": "null"}, {"type": "string"}]})), "text");
    }
}
