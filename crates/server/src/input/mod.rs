//! What comes in: bodies under a cap, JSON with the place of every mistake, query parameters.
//!
//! Invariant: this is the only place of this crate that reads request bodies, and it never holds more than the cap.

mod closest;
mod json;
mod params;
mod value;

use std::fmt::Display;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use posthaste_domain::matching::document::{self, NotAnObject};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use closest::suggestion;
pub(crate) use params::{Kind as ParamKind, PAGE, Param, Params, parse_length};
pub(crate) use value::{join_path, kind_of, read_value};

use crate::AppState;
use crate::codes::Code;
use crate::problem::Problem;

/// Deepest nesting of lists and objects that is taken.
pub(crate) const MAX_DEPTH: usize = document::MAX_DOCUMENT_DEPTH;

/// Reads a whole body of at most `cap` bytes, which may take `time` to arrive. What is refused is refused at once: whoever serves the connection
/// deals with the rest of the body.
pub(crate) async fn read_body<B>(headers: &HeaderMap, mut body: B, cap: usize, time: Duration) -> Result<Bytes, Problem>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let too_large = || Problem::new(Code::BodyTooLarge, format!("at most {cap} bytes are taken"));
    // A declared length over the cap is refused before the client has sent it.
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|length| length > cap as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(time, collect(&mut body, cap)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a body broke off");
            Err(Problem::new(Code::BodyIncomplete, "the connection ended before the body did"))
        }
        Err(_) => Err(Problem::new(Code::BodyTimeout, format!("the body did not arrive within {} seconds", time.as_secs_f64()))),
    }
}

/// All bytes of a body; `None` if they are more than `cap`. What came in one piece is not copied.
async fn collect<B: http_body::Body<Data = Bytes> + Unpin>(body: &mut B, cap: usize) -> Result<Option<Bytes>, B::Error> {
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + all.len() + data.len() > cap {
            return Ok(None);
        }
        match (first.is_empty(), all.is_empty()) {
            (true, true) => first = data,
            (false, _) => {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
            (true, false) => all.extend_from_slice(&data),
        }
    }
    Ok(Some(if all.is_empty() { first } else { all.into() }))
}

/// The bytes of a JSON body: type and size are checked, syntax is not.
pub(crate) struct JsonBytes(pub Bytes);

impl FromRequest<AppState> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        json_bytes(&parts.headers, body, state).await.map(Self)
    }
}

/// See [`JsonBytes`].
pub(crate) async fn json_bytes<B>(headers: &HeaderMap, body: B, state: &AppState) -> Result<Bytes, Problem>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    check_content_type(headers)?;
    read_body(headers, body, state.settings.max_body_bytes, state.settings.body_time).await
}

/// Refuses what is said to be something else than JSON. Form data passes, because `curl -d` calls everything that; its syntax decides.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || essence.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
        || essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        || essence.is_empty();
    if is_json {
        return Ok(());
    }
    let detail = format!("the body is {essence:?}; send JSON with Content-Type: application/json");
    Err(Problem::new(Code::ContentTypeUnsupported, detail).at("Content-Type"))
}

/// The one variable part of a path.
pub(crate) struct Id(pub String);

impl FromRequestParts<AppState> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Problem::new(Code::RouteNotFound, "the path is not percent-encoded UTF-8")),
        }
    }
}

/// A JSON object read into a type.
pub(crate) struct Input<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        Ok(Self(read_value(parse_json(&bytes)?)?))
    }
}

/// Like [`Input`], but no body at all reads as `{}`.
pub(crate) struct OptionalInput<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for OptionalInput<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        let value = if bytes.trim_ascii().is_empty() { Value::Object(serde_json::Map::new()) } else { parse_json(&bytes)? };
        Ok(Self(read_value(value)?))
    }
}

/// Reads JSON text that becomes configuration. Numbers must fit a double or 64 bits, and no field may be given twice.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Value, Problem> {
    check_syntax(bytes)?;
    json::read(bytes, "")
}

/// Reads the value of one field of a body that passed [`check_json`], as [`parse_json`] does.
pub(crate) fn parse_field(name: &str, raw: &[u8]) -> Result<Value, Problem> {
    json::read(raw, name)
}

/// Refuses what is not JSON, with the place, and what is nested deeper than [`MAX_DEPTH`].
pub(crate) fn check_json(bytes: &[u8]) -> Result<(), Problem> {
    check_syntax(bytes)?;
    if document::is_too_deep(bytes, MAX_DEPTH) {
        return Err(Problem::new(Code::JsonTooDeep, format!("lists and objects may be nested {MAX_DEPTH} deep")));
    }
    Ok(())
}

fn check_syntax(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.trim_ascii().is_empty() {
        return Err(Problem::new(Code::InvalidJson, "the body is empty; JSON is needed"));
    }
    document::valid_json(bytes).map_err(|error| {
        Problem::new(Code::InvalidJson, format!("line {}, column {}: {}", error.line, error.column, error.reason))
            .position(error.line, error.column)
    })
}

/// The fields of a JSON object with their values as written. Unknown and repeated fields are refused.
pub(crate) fn raw_fields<'a>(json: &'a [u8], known: &[&'static str]) -> Result<RawFields<'a>, Problem> {
    let fields = document::top_level_fields(json).map_err(|error| match error {
        NotAnObject::Invalid(error) => {
            Problem::new(Code::InvalidJson, format!("line {}, column {}: {}", error.line, error.column, error.reason))
                .position(error.line, error.column)
        }
        other => Problem::new(Code::InvalidField, other.to_string()),
    })?;
    let mut seen: Vec<(&'static str, &'a [u8])> = Vec::with_capacity(known.len());
    for (name, value) in fields {
        let Some(known_name) = known.iter().find(|k| **k == name) else {
            let typed: String = name.chars().take(64).collect();
            let detail = format!("{typed}: this field is not known{}", suggestion(&typed, known));
            return Err(Problem::new(Code::UnknownField, detail).at(typed));
        };
        if seen.iter().any(|(name, _)| name == known_name) {
            return Err(Problem::invalid(*known_name, "this field is given twice"));
        }
        seen.push((known_name, value));
    }
    Ok(RawFields(seen))
}

/// See [`raw_fields`].
pub(crate) struct RawFields<'a>(Vec<(&'static str, &'a [u8])>);

impl<'a> RawFields<'a> {
    /// A value as written.
    pub(crate) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// A value as written that must be there.
    pub(crate) fn need(&self, name: &'static str) -> Result<&'a [u8], Problem> {
        self.get(name).ok_or_else(|| Problem::new(Code::MissingField, format!("{name}: this field is needed")).at(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(!document::is_too_deep(br#"{"a":["]]]}}}[[[[\"[[["]}"#, 2));
        assert!(document::is_too_deep(br#"{"a":[{}]}"#, 2));
        assert!(!document::is_too_deep(br#"{"a":[1],"b":[2],"c":{}}"#, 2));
        assert!(!document::is_too_deep(b"[][][][]", 1));
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let problem = parse_json(b"{\n  \"a\": 1,\n  \"b\" 2\n}").expect_err("refused");
        assert_eq!(problem.code(), Code::InvalidJson);
        assert!(problem.detail().starts_with("line 3, column "), "{}", problem.detail());
        assert_eq!(parse_json(b"{\"a\":\"\xff\"}").expect_err("refused").code(), Code::InvalidJson);
        assert_eq!(parse_json("[".repeat(200).as_bytes()).expect_err("refused").code(), Code::InvalidJson);
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        assert_eq!(parse_json(deep.as_bytes()).expect_err("refused").code(), Code::JsonTooDeep);
    }
}
