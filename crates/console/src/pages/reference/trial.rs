//! Trying an operation out: its form, the request in process as the person who is logged in, and the same as a line for a shell.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use maud::{Markup, html};
use serde_json::Value;
use tokio::time::Instant;

use super::Operation;
use crate::api::{Problem, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::Seat;
use crate::ui::{self, Choice, Field, Tone, errors, submit, tick};

/// Where the paths of the document begin.
const PREFIX: &str = "/posthaste/v1";
/// Bytes of an answer that are shown.
const MAX_SHOWN: usize = 256 << 10;
/// How long an answer is waited for: streams do not end by themselves.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was wrong with the form, before anything was sent.
pub(super) struct Refusal(pub Box<Problem>);

/// What the server answered.
pub(super) struct Outcome {
    pub status: StatusCode,
    pub headers: String,
    pub body: String,
    pub is_json: bool,
    /// Whether there was more than is shown.
    pub is_cut: bool,
    pub took_ms: f64,
}

fn name(parameter: &Value) -> &str {
    parameter["name"].as_str().unwrap_or_default()
}

/// The name of a parameter's field: `path.id`, `query.limit`, `header.If-Match`.
fn field(parameter: &Value) -> String {
    format!("{}.{}", parameter["in"].as_str().unwrap_or_default(), name(parameter))
}

/// The form.
pub(super) fn form(seat: &Seat, operation: &Operation<'_>, draft: &Draft) -> Markup {
    let action = format!("{}/{}#answer", super::HERE, segment(operation.id()));
    let is_deletion = operation.method == "delete";
    let fields: Vec<(String, &Value)> = operation.parameters().map(|parameter| (field(parameter), parameter)).collect();
    html! {
        form.form method="post" action=(action) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            @if operation.method != "get" {
                (ui::notice(Tone::Warn, html! { "This is carried out for real, in " strong { (seat.workspace.name) } "." }))
            }
            @for (id, parameter) in &fields { (parameter_field(draft, id, parameter)) }
            @if operation.body().is_some() { (Field::code(draft, "body", "Body (JSON)", 12)) }
            @if is_deletion { (tick(draft, "really", "Yes, delete it", "It cannot be undone.")) }
            div.actions {
                @if is_deletion { button.button.danger.primary type="submit" { "Send the request" } } @else { (submit("Send the request")) }
            }
            p.small.muted { "Sent as you, with what your role may do. Programs show a key instead." }
        }
    }
}

fn parameter_field(draft: &Draft, id: &str, parameter: &Value) -> Markup {
    let schema = &parameter["schema"];
    let values: Vec<&str> = match schema["type"].as_str() {
        Some("boolean") => vec!["true", "false"],
        _ => schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let choices: Vec<Choice<'_>> =
        std::iter::once(Choice::new("", "Not sent")).chain(values.iter().map(|value| Choice::new(value, value))).collect();
    let label = name(parameter);
    let about = parameter["description"].as_str().unwrap_or_default();
    let control = if values.is_empty() { Field::text(draft, id, label).mono() } else { Field::select(draft, id, label, &choices) };
    let control = if about.is_empty() { control } else { control.hint(super::prose(about)) };
    if parameter["required"] == true {
        html! { (control.required()) }
    } else {
        html! { (control.optional()) }
    }
}

/// The address of the request below the API's prefix. A part of the path that is empty stays as `{name}`.
fn target(operation: &Operation<'_>, value: impl Fn(&str) -> Option<String>) -> String {
    let mut path = operation.path.strip_prefix(PREFIX).unwrap_or(operation.path).to_owned();
    let mut query: Vec<(String, String)> = Vec::new();
    for parameter in operation.parameters() {
        let Some(value) = value(&field(parameter)) else { continue };
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{}}}", name(parameter)), &segment(&value)),
            Some("query") => query.push((name(parameter).to_owned(), value)),
            _ => {}
        }
    }
    link(&path, query.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Text within single quotes for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The line that does the same from a shell.
pub(super) fn curl(seat: &Seat, operation: &Operation<'_>, draft: &Draft) -> String {
    let given = |name: &str| Some(draft.text(name).trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let url = format!("{}{PREFIX}{}", seat.base_url, target(operation, given));
    let mut line = match operation.method {
        "get" => format!("curl {}", quoted(&url)),
        method => format!("curl -X {} {}", method.to_uppercase(), quoted(&url)),
    };
    if operation.scope().is_some() {
        line.push_str(" \\\n  -H 'Authorization: Bearer YOUR_KEY'");
    }
    for parameter in operation.parameters().filter(|parameter| parameter["in"] == "header") {
        if let Some(value) = given(&field(parameter)) {
            line.push_str(&format!(" \\\n  -H {}", quoted(&format!("{}: {value}", name(parameter)))));
        }
    }
    if operation.body().is_some() {
        line.push_str(&format!(" \\\n  -H 'Content-Type: application/json' \\\n  --data-binary {}", quoted(draft.text("body").trim())));
    }
    line
}

fn refuse(field: &str, detail: impl Into<String>) -> Refusal {
    Refusal(Box::new(Problem { status: 422, detail: detail.into(), field: Some(field.to_owned()), ..Problem::default() }))
}

/// Sends the request that the form says. What the API refuses is an outcome; what cannot be sent at all is a [`Refusal`].
pub(super) async fn send(seat: &Seat, operation: &Operation<'_>, form: &Form) -> Result<Outcome, Refusal> {
    if operation.method == "delete" && !form.is_ticked("really") {
        return Err(refuse("really", "Tick the box if it is to be deleted."));
    }
    let mut headers = HeaderMap::new();
    for parameter in operation.parameters() {
        let field = field(parameter);
        match (parameter["in"].as_str(), form.given(&field)) {
            (Some("path"), None) => return Err(refuse(&field, format!("{} is a part of the path and cannot be empty.", name(parameter)))),
            (Some("header"), Some(value)) => {
                let value = HeaderValue::from_str(value).map_err(|_| refuse(&field, "A header has visible ASCII characters alone."))?;
                let name = HeaderName::try_from(name(parameter)).map_err(|_| refuse(&field, "This is not the name of a header."))?;
                headers.insert(name, value);
            }
            _ => {}
        }
    }
    let method = Method::from_bytes(operation.method.to_uppercase().as_bytes()).unwrap_or_default();
    let text = form.raw("body");
    let body = (operation.body().is_some() && !text.trim().is_empty()).then(|| Bytes::from(text.to_owned()));
    let begin = Instant::now();
    let response = seat.api.send(method, &target(operation, |name| form.given(name).map(str::to_owned)), headers, body).await;
    let (parts, body) = response.into_parts();
    let (bytes, is_cut) = beginning(body).await;
    let is_json = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|media| media.contains("json"));
    let shown = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    Ok(Outcome {
        status: parts.status,
        headers: parts.headers.iter().map(shown).collect::<Vec<_>>().join("\n"),
        body: String::from_utf8_lossy(&bytes).into_owned(),
        is_json,
        is_cut,
        took_ms: begin.elapsed().as_secs_f64() * 1000.0,
    })
}

/// What comes of a body in a few seconds, and whether there was more.
async fn beginning(mut body: Body) -> (Vec<u8>, bool) {
    let (mut bytes, until) = (Vec::new(), Instant::now() + PATIENCE);
    while bytes.len() <= MAX_SHOWN {
        match tokio::time::timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref)),
            Ok(_) => return (bytes, false),
            Err(_) => return (bytes, true),
        }
    }
    bytes.truncate(MAX_SHOWN);
    (bytes, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stay_in_their_place() {
        let object = json!({"parameters": [{"name": "id", "in": "path"}, {"name": "search", "in": "query"}]});
        let operation = Operation { method: "get", path: "/posthaste/v1/keys/{id}", object: object.as_object().expect("an object") };
        let value = |name: &str| Some(if name == "path.id" { "a/../b?x=1" } else { "x&admin=1" }.to_owned());
        assert_eq!(target(&operation, value), "/keys/a%2F..%2Fb%3Fx%3D1?search=x%26admin%3D1");
        assert_eq!(target(&operation, |_| None), "/keys/{id}");
        assert_eq!(quoted("it's $(x)"), "'it'\\''s $(x)'");
    }
}
