//! What a client says of a webhook: every rule of MessageMedia 3, before anything is changed.

use std::fmt;

use posthaste_domain::velocity::{Form, Limits, Template, Variables};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::Refusal;
use super::event::EventKind;
use super::format::sendable;

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];
const MAX_URL: usize = 1000;
const MAX_HEADER_NAME: usize = 200;
const MAX_HEADER_VALUE: usize = 1000;
const READ_TIMEOUT: std::ops::RangeInclusive<u64> = 1..=60_000;
const RETRIES: std::ops::RangeInclusive<u64> = 0..=5;
const RETRY_DELAY: std::ops::RangeInclusive<u64> = 5..=60;

/// How the body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Encoding {
    /// `application/json`.
    #[default]
    #[serde(rename = "JSON")]
    Json,
    /// `application/x-www-form-urlencoded`.
    #[serde(rename = "FORM_ENCODED")]
    Form,
    /// `application/xml`.
    #[serde(rename = "XML")]
    Xml,
}

impl Encoding {
    const ALL: [(&'static str, Self); 3] = [("JSON", Self::Json), ("FORM_ENCODED", Self::Form), ("XML", Self::Xml)];
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, encoding)| encoding == self).map_or("", |(name, _)| name))
    }
}

/// The fields that a request gave; `null` is not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given {
    pub(super) url: Option<String>,
    pub(super) method: Option<&'static str>,
    pub(super) encoding: Option<Encoding>,
    pub(super) events: Option<Vec<EventKind>>,
    pub(super) headers: Option<Map<String, Value>>,
    /// Empty: none, whatever there was.
    pub(super) template: Option<String>,
    pub(super) read_timeout: Option<u64>,
    pub(super) retries: Option<u64>,
    pub(super) retry_delay: Option<u64>,
}

impl Given {
    /// Reads a request body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let document: Value = serde_json::from_slice(body).map_err(|_| Refusal::invalid("The request body is not valid JSON."))?;
        let Value::Object(fields) = document else { return Err(Refusal::invalid("The request body must be a JSON object.")) };
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let text = |name: &str| match given(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Refusal::invalid(format!("{name} must be a string."))),
        };
        Ok(Self {
            url: text("url")?.map(check_url).transpose()?,
            method: one_of("method", text("method")?, METHODS.map(|name| (name, name)))?,
            encoding: one_of("encoding", text("encoding")?, Encoding::ALL)?,
            events: given("events").map(check_events).transpose()?,
            headers: given("headers").map(check_headers).transpose()?,
            template: text("template")?.map(check_template).transpose()?,
            read_timeout: number("read_timeout", given("read_timeout"), READ_TIMEOUT)?,
            retries: number("retries", given("retries"), RETRIES)?,
            retry_delay: number("retry_delay", given("retry_delay"), RETRY_DELAY)?,
        })
    }

    /// Whether there is anything that an update changes.
    pub(super) fn changes_something(&self) -> bool {
        self.url.is_some()
            || self.method.is_some()
            || self.encoding.is_some()
            || self.events.is_some()
            || self.headers.is_some()
            || self.template.is_some()
    }
}

fn one_of<T: Copy, const N: usize>(field: &str, given: Option<&str>, known: [(&str, T); N]) -> Result<Option<T>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    match known.iter().find(|(name, _)| *name == given) {
        Some((_, value)) => Ok(Some(*value)),
        None => Err(Refusal::invalid(format!("{field} must be one of {}.", known.map(|(name, _)| name).join(", ")))),
    }
}

fn number(field: &str, given: Option<&Value>, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    match given.as_u64().filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(Refusal::invalid(format!("{field} must be a whole number from {} to {}.", range.start(), range.end()))),
    }
}

fn check_url(url: &str) -> Result<String, Refusal> {
    if url.chars().count() > MAX_URL {
        return Err(Refusal::invalid(format!("url must not be longer than {MAX_URL} characters.")));
    }
    let template = Template::parse(url).map_err(|error| Refusal::invalid(format!("url is not a valid template: {error}")))?;
    let is_absolute =
        ["http://", "https://"].iter().any(|scheme| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let plain = template.render(&Variables::default(), Form::Url, &Limits::DEFAULT).unwrap_or_default();
    let has_host = sendable(&plain).parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if !is_absolute || !has_host {
        return Err(Refusal::invalid("url must be an absolute http or https URL."));
    }
    Ok(url.to_owned())
}

fn check_events(events: &Value) -> Result<Vec<EventKind>, Refusal> {
    let names = events.as_array().filter(|names| !names.is_empty());
    let names = names.ok_or_else(|| Refusal::invalid("events must be an array of at least one event."))?;
    let mut kinds = Vec::with_capacity(EventKind::ALL.len());
    for name in names {
        let kind = name.as_str().and_then(EventKind::from_name);
        let kind = kind.ok_or_else(|| {
            Refusal::invalid(format!("{name} is not an event; there are {}.", EventKind::ALL.map(EventKind::name).join(", ")))
        })?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

fn check_headers(headers: &Value) -> Result<Map<String, Value>, Refusal> {
    let headers = headers.as_object().ok_or_else(|| Refusal::invalid("headers must be an object of strings."))?;
    for (name, value) in headers {
        let value = value.as_str().ok_or_else(|| Refusal::invalid(format!("headers: the value of {name} must be a string.")))?;
        if name.eq_ignore_ascii_case("content-type") {
            return Err(Refusal::invalid("headers must not hold Content-Type; encoding sets it."));
        }
        if name.chars().count() > MAX_HEADER_NAME {
            return Err(Refusal::invalid(format!("headers: a name must not be longer than {MAX_HEADER_NAME} characters.")));
        }
        if value.chars().count() > MAX_HEADER_VALUE {
            return Err(Refusal::invalid(format!("headers: the value of {name} must not be longer than {MAX_HEADER_VALUE} characters.")));
        }
    }
    Ok(headers.clone())
}

fn check_template(template: &str) -> Result<String, Refusal> {
    match Template::parse(template) {
        Ok(_) => Ok(template.to_owned()),
        Err(error) => Err(Refusal::invalid(format!("template is not valid: {error}"))),
    }
}
