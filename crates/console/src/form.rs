//! What a person typed: forms as sent, and drafts as shown again.
//!
//! A [`Draft`] is the state of a form: values by field name, and what the native API said about them. Components in [`crate::ui`] take a
//! draft and a field's name, and show value and error of that field. So a page with a form is: make a draft (empty, or of the resource that
//! is edited), show it; on `POST`, make a draft of the form, send it to the API, and show the draft again with the problem if there was one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::api::{Failure, Problem};
use crate::{Console, kept};

/// Largest form that is read, in bytes: the largest payload of an event has three times its size if each byte of it is sent as `%XX`.
const MAX_FORM: usize = 4 << 20;
/// Largest form of anybody that takes no room: an address, a password.
const SMALL: usize = 64 << 10;
/// Bytes of larger forms that are read of people without a session at one time.
const STRANGERS: usize = 32 << 20;
/// How long one may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(30);

/// Fields that hold a secret, or may hold one among other things. Browsers do not fill them in, and what was typed into them is not shown
/// away from its form.
const SECRETS: [&str; 26] = [
    // People, keys, domains.
    "password",
    "old",
    "current",
    "code",
    "token",
    "secret",
    "dkim.private_key",
    // Targets.
    "settings.headers",
    "settings.auth.bearer",
    "settings.auth.basic.password",
    "settings.auth.oauth2.body",
    "settings.webhook_url",
    "settings.token",
    "settings.smtp.url",
    // Targets that are made with a delivery.
    "slack.webhook_url",
    "slack.token",
    "discord.webhook_url",
    "email.smtp.url",
    // Webhooks of the vendors' APIs.
    "auth_token",
    "custom_headers",
    "auth_credentials.password",
    "auth_request_details.body",
    "headers",
    // Documents of the API.
    "body",
    "json",
    "ticket",
];

/// Whether a field holds a secret, or may.
pub(crate) fn is_secret(name: &str) -> bool {
    SECRETS.contains(&name)
}

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

    /// The lines of a text area as names and values, with this between them.
    pub fn named_lines(&self, name: &str, between: char) -> Map<String, Value> {
        let pair = |line: &String| {
            let (name, value) = line.split_once(between).unwrap_or((line, ""));
            (name.trim().to_owned(), Value::from(value.trim()))
        };
        self.lines(name).iter().map(pair).collect()
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

/// Room for the larger forms of people without a session, for all of them together: what is read of strangers is bounded.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STRANGERS >> 10)))
    }
}

/// Why a form was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is larger than this, or broke off.
    TooLarge(usize),
    /// It did not arrive in time.
    Slow,
    /// Too many large ones are read at this moment.
    Busy,
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        let (status, title, why) = match self {
            Self::TooLarge(most) => {
                let most = if most < 1 << 20 { format!("{} KiB", most >> 10) } else { format!("{} MiB", most >> 20) };
                (StatusCode::PAYLOAD_TOO_LARGE, "The form is too large", format!("it is larger than {most}, or it broke off."))
            }
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "The form was too slow", "it took longer than 30 seconds to arrive.".to_owned()),
            Self::Busy => {
                let why = "too many large forms of people without a session arrive at this moment.".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, "The server is busy", why)
            }
        };
        let detail = format!("Nothing was changed: {why} The browser's way back leads to the form, with what you typed.");
        let problem = Problem { status: status.as_u16(), title: title.into(), detail, ..Problem::default() };
        Failure::Refused(Box::new(problem)).into_response()
    }
}

impl Form {
    /// Reads a form of somebody who is logged in.
    pub(crate) async fn read(body: Body) -> Result<Self, Unread> {
        Self::read_within(body, MAX_FORM, None).await
    }

    /// Reads a form of anybody, of at most so many bytes.
    pub(crate) async fn read_of_stranger(body: Body, most: usize, room: &Room) -> Result<Self, Unread> {
        Self::read_within(body, most, Some(room)).await
    }

    async fn read_within(mut body: Body, most: usize, room: Option<&Room>) -> Result<Self, Unread> {
        let reading = async {
            let (mut bytes, mut permit) = (Vec::new(), None);
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(drop).and_then(|frame| frame.into_data().map_err(drop)) else {
                    return Err(Unread::TooLarge(most));
                };
                if bytes.len() + data.len() > most {
                    return Err(Unread::TooLarge(most));
                }
                if let Some(Room(room)) = room.filter(|_| permit.is_none() && bytes.len() + data.len() > SMALL) {
                    let kibibytes = u32::try_from(most >> 10).unwrap_or(u32::MAX);
                    permit = Some(room.try_acquire_many(kibibytes).map_err(|_| Unread::Busy)?);
                }
                bytes.extend_from_slice(&data);
            }
            Ok(Self::parse(&bytes))
        };
        tokio::time::timeout(FORM_TIME, reading).await.unwrap_or(Err(Unread::Slow))
    }
}

/// A form of anybody that holds a few lines: a name, a password.
pub(crate) struct Small(pub Form);

impl FromRequest<Console> for Small {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let form = Form::read_of_stranger(request.into_body(), SMALL, &console.room).await;
        form.map(Self).map_err(IntoResponse::into_response)
    }
}

/// A form of a log-in, which may carry another one.
pub(crate) struct LogIn(pub Form);

impl FromRequest<Console> for LogIn {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let form = Form::read_of_stranger(request.into_body(), kept::MOST_CARRIED, &console.room).await;
        form.map(Self).map_err(IntoResponse::into_response)
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

    /// A form with a version of its own: a number for what it holds, for what has no version at the API.
    #[must_use]
    pub fn versioned(self) -> Self {
        let version = self.fingerprint().to_string();
        self.set("version", version)
    }

    fn fingerprint(&self) -> i64 {
        let mut hasher = Sha256::new();
        for text in self.values.iter().flat_map(|(name, value)| [name, value]) {
            hasher.update(text.len().to_be_bytes());
            hasher.update(text);
        }
        let digest = hasher.finalize();
        // It is read back as a version, which is not negative.
        i64::from_be_bytes(std::array::from_fn(|at| digest[at])) & i64::MAX
    }

    /// Refuses a form that was made from something else than what is stored now, as the API does it by versions. `stored` is the form that
    /// would be made now.
    ///
    /// # Errors
    /// If somebody else saved meanwhile.
    pub fn check_version(stored: &Self, form: &Form) -> Result<(), Failure> {
        let version = stored.fingerprint();
        if form.version().is_none_or(|read| read == version) {
            return Ok(());
        }
        Err(Failure::Refused(Box::new(Problem {
            status: StatusCode::PRECONDITION_FAILED.as_u16(),
            title: "It has changed".into(),
            detail: "somebody else saved this meanwhile".into(),
            code: "version_conflict".into(),
            stored_version: Some(version),
            ..Problem::default()
        })))
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
    capital(text)
}

/// A text with a capital letter at its beginning.
pub(crate) fn capital(text: &str) -> String {
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
    capital(&words.join(" "))
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

    #[tokio::test]
    async fn large_forms_of_strangers_share_their_room() {
        let (most, room) = (1 << 20, Room(Arc::new(Semaphore::new(1 << 10))));
        let large = || Body::from(format!("a={}", "x".repeat(SMALL)));
        let other = room.0.try_acquire_many(1).expect("there is room");
        assert_eq!(Form::read_of_stranger(large(), most, &room).await.err(), Some(Unread::Busy));
        // A log-in that carries nothing needs no room, and people with a session need none at all.
        let form = Form::read_of_stranger(Body::from("a=b"), most, &room).await.expect("it is small");
        assert_eq!(form.text("a"), "b");
        assert!(Form::read(large()).await.is_ok());
        drop(other);
        assert!(Form::read_of_stranger(large(), most, &room).await.is_ok());
        assert_eq!(room.0.available_permits(), 1 << 10, "the room is given back");
        assert_eq!(Form::read_of_stranger(large(), SMALL, &room).await.err(), Some(Unread::TooLarge(SMALL)));
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
