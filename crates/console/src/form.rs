//! What a person typed: forms as sent, and drafts as shown again.
//!
//! A [`Draft`] is the state of a form: values by field name, and what the native API said about them. Components in [`crate::ui`] take a
//! draft and a field's name, and show value and error of that field. So a page with a form is: make a draft (empty, or of the resource that
//! is edited), show it; on `POST`, make a draft of the form, send it to the API, and show the draft again with the problem if there was one.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use crate::api::{Failure, Problem};

/// Largest form that is read, in bytes: the largest payload of an event has three times its size if each byte of it is sent as `%XX`.
const MAX_FORM: usize = 4 << 20;
/// How long one may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(30);

/// A form as sent (`application/x-www-form-urlencoded`), its fields in their order.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Fields of a query string or of a form's body.
    pub fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// A field without white space around it; `""` when it was not sent.
    pub fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field exactly as sent: passwords, payloads and templates.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// A field that was filled in.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// All values of a field: ticked boxes of one name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A time of [`crate::ui::Field::time`] as RFC 3339, if it was filled in. Without the script it is a time without a zone: UTC then.
    pub fn moment(&self, name: &str) -> Option<String> {
        self.given(name).map(moment)
    }

    /// Whether a box is ticked.
    pub fn is_ticked(&self, name: &str) -> bool {
        !matches!(self.text(name), "" | "false" | "off")
    }

    /// The version of a resource that a form was made from; with "Save mine anyway" the one that it was told of.
    pub fn version(&self) -> Option<i64> {
        self.given("anyway").or(self.given("version"))?.parse().ok()
    }

    /// Whether a form with several buttons is to be saved.
    pub fn is_to_be_saved(&self) -> bool {
        self.text("do") == "save" || self.given("anyway").is_some()
    }

    /// The lines of a text area, without empty ones.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.raw(name).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The same without a field.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(known, _)| known != name).cloned().collect())
    }

    /// As a browser sends it.
    pub fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(self.pairs()).finish()
    }

    /// All fields with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A JSON object of the fields that were filled in. Names with dots make objects within: `settings.url` is `{"settings": {"url": …}}`.
    pub fn object(&self, names: &[&str]) -> Value {
        let mut root = Map::new();
        for name in names {
            if let Some(text) = self.given(name) {
                put(&mut root, name, Value::from(text));
            }
        }
        Value::Object(root)
    }
}

/// `2026-01-01T10:00` as `2026-01-01T10:00:00Z`; anything else as it is.
pub(crate) fn moment(text: &str) -> String {
    let is_like = |form: &str| {
        let fits = |(have, want): (u8, u8)| if want == b'0' { have.is_ascii_digit() } else { have == want };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
    };
    match () {
        () if is_like("0000-00-00T00:00") => format!("{text}:00Z"),
        () if is_like("0000-00-00T00:00:00") => format!("{text}Z"),
        () => text.to_owned(),
    }
}

/// Puts a value at a path with dots.
fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(object.insert(path.to_owned(), value)),
        Some((head, rest)) => {
            let inner = object.entry(head).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let refuse = |status: StatusCode, title: &str, why: &str| {
            let detail = format!("Nothing was changed: {why} The browser's way back leads to the form, with what you typed.");
            let problem = Problem { status: status.as_u16(), title: title.into(), detail, ..Problem::default() };
            Failure::Refused(Box::new(problem)).into_response()
        };
        let body = http_body_util::Limited::new(request.into_body(), MAX_FORM);
        match tokio::time::timeout(FORM_TIME, body.collect()).await {
            Ok(Ok(body)) => Ok(Self::parse(&body.to_bytes())),
            Ok(Err(_)) => Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large", "it is larger than 4 MiB, or it broke off.")),
            Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The form was too slow", "it took longer than 30 seconds to arrive.")),
        }
    }
}

/// The state of a form on a page: values, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    values: Vec<(String, String)>,
    /// What the API said last.
    pub problem: Option<Problem>,
}

impl Draft {
    /// An empty form.
    pub fn new() -> Self {
        Self::default()
    }

    /// A form with what a resource holds, as the API shows it: `settings.url` finds the field within. Lists of texts become several values.
    pub fn of(resource: &Value) -> Self {
        let mut draft = Self::new();
        draft.flatten("", resource);
        draft
    }

    fn flatten(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.flatten(&path, value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.flatten(path, item)),
            Value::Null => {}
            Value::String(text) => self.values.push((path.to_owned(), text.clone())),
            other => self.values.push((path.to_owned(), other.to_string())),
        }
    }

    /// Sets the value of a field.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.retain(|(known, _)| known != name);
        self.values.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a value to a field that has several.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.push((name.to_owned(), value.into()));
        self
    }

    /// The form again with what the API refused. Failures that are no problem of the form (no permission, the store is down) are shown above it
    /// just as well.
    #[must_use]
    pub fn refused(mut self, failure: &Failure) -> Self {
        self.problem = Some(failure.problem());
        self
    }

    /// The form again with a problem.
    #[must_use]
    pub fn with_problem(mut self, problem: Problem) -> Self {
        self.problem = Some(problem);
        self
    }

    /// The value of a field.
    pub fn text(&self, name: &str) -> &str {
        self.values.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// All values, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether anything is filled in below a name: `policy.timeout` is below `policy`.
    pub fn has_below(&self, name: &str) -> bool {
        let is_below = |field: &str| field.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.values.iter().any(|(field, value)| is_below(field) && !value.is_empty())
    }

    /// Whether a field has this value, or is ticked.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.values.iter().any(|(known, has)| known == name && has == value)
    }

    /// What is wrong with a field, in words. An error at a part of it (`scopes[0]`, `settings.headers.x`) is an error of the field.
    pub fn error(&self, name: &str) -> Option<String> {
        let is_at = |field: &str| field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let problem = self.problem.as_ref()?;
        let listed = problem.errors.iter().find(|error| is_at(&error.field)).map(|error| reason(&error.field, &error.detail));
        listed.or_else(|| problem.field.as_deref().filter(|field| is_at(field)).map(|field| reason(field, &problem.detail)))
    }
}

/// What is wrong, for a place beside the field: without its path, which the API puts in front.
pub(crate) fn reason(field: &str, detail: &str) -> String {
    let text = detail.strip_prefix(field).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(detail);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What is wrong, for a place away from the field: with its name in words and not with its path.
pub(crate) fn sentence(field: Option<&str>, detail: &str) -> String {
    let own = field.and_then(|field| detail.strip_prefix(field)?.strip_prefix(": ").map(|reason| (field, reason)));
    own.map_or_else(|| detail.to_owned(), |(field, reason)| format!("{}: {reason}", called(field)))
}

/// A field of the API in words: `settings.token_url` is "Token URL".
pub(crate) fn called(field: &str) -> String {
    let last = field.rsplit('.').next().unwrap_or(field).split('[').next().unwrap_or_default();
    let upper = |word: &str| matches!(word, "url" | "id" | "ip" | "html" | "json" | "sms" | "api").then(|| word.to_ascii_uppercase());
    let words: Vec<String> = last.split('_').map(|word| upper(word).unwrap_or_else(|| word.to_owned())).collect();
    let mut letters = words.join(" ").chars().collect::<Vec<_>>().into_iter();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl From<Form> for Draft {
    fn from(form: Form) -> Self {
        Self { values: form.0, problem: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::FieldProblem;

    #[test]
    fn dots_make_objects_and_resources_become_drafts() {
        let form = Form::parse(b"name=+A+&settings.url=http%3A%2F%2Fx&settings.method=&scopes=read&scopes=publish");
        assert_eq!(form.object(&["name", "settings.url", "settings.method"]), json!({"name": "A", "settings": {"url": "http://x"}}));
        assert_eq!(form.all("scopes").collect::<Vec<_>>(), ["read", "publish"]);
        let draft = Draft::of(&json!({"name": "A", "settings": {"url": "http://x", "n": 3}, "scopes": ["read"], "none": null}));
        assert_eq!((draft.text("settings.url"), draft.text("settings.n"), draft.has("scopes", "read")), ("http://x", "3", true));
    }

    #[test]
    fn times_without_a_zone_are_utc() {
        assert_eq!(
            ["2026-01-01T10:00", "2026-01-01T10:00:01", "2026-01-01T10:00Z", "soon"].map(moment),
            ["2026-01-01T10:00:00Z", "2026-01-01T10:00:01Z", "2026-01-01T10:00Z", "soon"]
        );
    }

    #[test]
    fn problems_are_found_at_their_fields() {
        let errors = vec![FieldProblem { field: "settings.url".into(), detail: "must be a URL".into() }];
        let problem = Problem { detail: "2 fields".into(), field: Some("scopes[1]".into()), errors, ..Problem::default() };
        let draft = Draft { problem: Some(problem), ..Draft::new() };
        assert_eq!(
            (draft.error("settings.url"), draft.error("scopes"), draft.error("name")),
            (Some("Must be a URL".into()), Some("2 fields".into()), None)
        );
        assert_eq!(reason("settings.url", "settings.url: must be a URL"), "Must be a URL");
        assert_eq!(sentence(Some("settings.token_url"), "settings.token_url: is needed"), "Token URL: is needed");
        assert_eq!(sentence(Some("scopes[1]"), "2 fields"), "2 fields");
        assert_eq!((called("policy.retry"), called("event_types[0]"), called("")), ("Retry".into(), "Event types".into(), String::new()));
        assert_eq!(draft.error("scope"), None, "a longer name is another field");
    }
}
