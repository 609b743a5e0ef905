//! `POST /events`: the hot route.
//!
//! The body is walked once by serde, which borrows type and data from it; payloads are copied out so that a queued event does not pin the
//! buffer of its request. Only a refused body is looked at again, to say exactly what is wrong with it.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use posthaste_domain::clock::{parse_rfc3339, rfc3339};
use posthaste_domain::matching::document;
use posthaste_engine::{AcceptRequest, AcceptedEvent, Idempotency, Incoming, IncomingKind};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::AppState;
use crate::auth::Publisher;
use crate::codes::Code;
use crate::input::{JsonBytes, MAX_DEPTH, check_json, join_path, raw_fields};
use crate::native::json_bytes;
use crate::problem::{FieldProblem, MAX_LISTED_ERRORS, Problem};
use crate::serve::Publishing;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub(in crate::native) static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Most characters of an event type's name.
const MAX_TYPE: usize = 255;
/// How far ahead `deliver_at` may be.
const MAX_AHEAD_MS: i64 = 366 * 86_400_000;
const FIELDS: [&str; 3] = ["type", "data", "deliver_at"];

/// An event to publish.
#[derive(ToSchema)]
pub(super) struct EventInput {
    /// Name of the event type, 1 to 255 characters. It need not be defined.
    #[schema(min_length = 1, max_length = 255)]
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "describes what Written reads")]
    type_name: String,
    /// The payload: any JSON value, kept byte for byte.
    #[expect(dead_code, reason = "describes what Written reads")]
    data: Value,
    /// Deliver no earlier than this; at most a year ahead.
    #[schema(format = DateTime)]
    #[expect(dead_code, reason = "describes what Written reads")]
    deliver_at: Option<String>,
}

/// An event as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(rename = "type", borrow)]
    type_name: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default, borrow)]
    deliver_at: Option<Cow<'a, str>>,
}

/// An accepted event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what write_accepted writes")]
struct AcceptedItem {
    id: String,
    sequence: i64,
}

/// The answer to a publish.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what write_accepted writes")]
pub(super) struct Accepted {
    /// Of a single event.
    id: Option<String>,
    /// Of a single event.
    sequence: Option<i64>,
    /// Of a single event.
    #[schema(format = DateTime)]
    received_at: Option<String>,
    /// Ids in the order of the request.
    ids: Vec<String>,
    /// Of a list: ids and sequences in the order of the request.
    items: Option<Vec<AcceptedItem>>,
}

/// Writes an [`Accepted`]. Nothing in it needs escaping: ids, numbers and times.
fn write_accepted(events: &[AcceptedEvent], is_list: bool) -> Vec<u8> {
    let ids: Vec<String> = events.iter().map(AcceptedEvent::id).collect();
    let mut out = Vec::with_capacity(64 + 128 * events.len());
    out.push(b'{');
    // Writing to a Vec cannot fail.
    if let ([event], [id], false) = (events, &ids[..], is_list) {
        let _ = write!(out, r#""id":"{id}","sequence":{},"received_at":"{}","#, event.sequence.0, rfc3339(event.received_ms));
    }
    for (i, id) in ids.iter().enumerate() {
        let _ = write!(out, r#"{}"{id}""#, if i == 0 { r#""ids":["# } else { "," });
    }
    out.push(b']');
    if is_list {
        for (i, (event, id)) in events.iter().zip(&ids).enumerate() {
            let _ = write!(out, r#"{}{{"id":"{id}","sequence":{}}}"#, if i == 0 { r#","items":["# } else { "," }, event.sequence.0);
        }
        out.push(b']');
    }
    out.push(b'}');
    out
}

pub(super) async fn publish_route(
    State(state): State<AppState>,
    Publisher(caller): Publisher,
    headers: HeaderMap,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    publish(&state, Publishing { workspace: caller.workspace(), source: caller.source() }, &headers, body).await
}

/// A document to publish.
#[derive(ToSchema)]
pub(super) struct DocumentInput {
    /// The payload: any JSON value, kept byte for byte. Rules find objects alone.
    #[expect(dead_code, reason = "describes what publish_document reads")]
    data: Value,
}

/// Stores a document whose type the event types' rules find, as they do for the inbox.
pub(super) async fn publish_document(
    State(state): State<AppState>,
    Publisher(caller): Publisher,
    headers: HeaderMap,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let idempotency = idempotency(&headers, &body)?;
    check_json(&body)?;
    let payload = Bytes::copy_from_slice(raw_fields(&body, &["data"])?.need("data")?);
    drop(body);
    let events = vec![Incoming { kind: IncomingKind::ByRules, payload, deliver_at_ms: None }];
    let request = AcceptRequest { workspace: caller.workspace(), source: caller.source(), events, idempotency };
    accepted(&state, request, false).await
}

/// Stores the events of a body; answers once they are on disk.
pub(crate) async fn publish(state: &AppState, publisher: Publishing, headers: &HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let idempotency = idempotency(headers, &body)?;
    let (events, is_list) = read_events(&body, state.settings.max_array, state.engine.now_ms())?;
    // The request's buffer is not kept while its events wait for the disk.
    drop(body);
    let request = AcceptRequest { workspace: publisher.workspace, source: publisher.source, events, idempotency };
    accepted(state, request, is_list).await
}

async fn accepted(state: &AppState, request: AcceptRequest, is_list: bool) -> Result<Response, Problem> {
    let accepted = state.engine.accept(request).await?;
    let mut response = json_bytes(StatusCode::ACCEPTED, write_accepted(&accepted.events, is_list));
    if accepted.replayed {
        response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

pub(in crate::native) fn idempotency(headers: &HeaderMap, body: &Bytes) -> Result<Option<Idempotency>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refuse = |detail: &str| Problem::new(Code::InvalidIdempotencyKey, detail).at("Idempotency-Key");
    if values.next().is_some() {
        return Err(refuse("the Idempotency-Key header is given twice"));
    }
    let bytes = value.as_bytes();
    if bytes.is_empty() || bytes.len() > 255 || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(refuse("an Idempotency-Key has 1 to 255 visible ASCII characters"));
    }
    let key = String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Idempotency { key, body_hash: Sha256::digest(body).into() }))
}

/// The events of a body, and whether they came as a list.
fn read_events(body: &[u8], max_array: usize, now_ms: i64) -> Result<(Vec<Incoming>, bool), Problem> {
    let is_list = body.trim_ascii_start().first() == Some(&b'[');
    let written = if is_list {
        serde_json::from_slice::<Vec<Written<'_>>>(body)
    } else {
        serde_json::from_slice::<Written<'_>>(body).map(|one| vec![one])
    };
    let Ok(written) = written else { return Err(diagnose(body, max_array, now_ms)) };
    if written.is_empty() {
        return Err(Problem::new(Code::InvalidField, "the list is empty; at least one event is needed"));
    }
    if written.len() > max_array {
        return Err(too_many(written.len(), max_array));
    }
    let mut incoming = Vec::with_capacity(written.len());
    for event in &written {
        match check(event, now_ms) {
            Ok(event) => incoming.push(event),
            // The slow path finds all bad events of a list, not only the first.
            Err(_) => return Err(diagnose(body, max_array, now_ms)),
        }
    }
    Ok((incoming, is_list))
}

fn too_many(count: usize, max_array: usize) -> Problem {
    Problem::new(Code::TooManyEvents, format!("{count} events in one request; at most {max_array} are taken"))
}

fn check(event: &Written<'_>, now_ms: i64) -> Result<Incoming, Problem> {
    check_type(&event.type_name)?;
    let deliver_at_ms = event.deliver_at.as_deref().map(|text| check_time(text, now_ms)).transpose()?;
    let data = event.data.get().as_bytes();
    check_depth(data)?;
    Ok(Incoming {
        kind: IncomingKind::Named(Arc::from(&*event.type_name)),
        payload: Bytes::copy_from_slice(data),
        deliver_at_ms: deliver_at_ms.filter(|at| *at > now_ms),
    })
}

fn check_type(name: &str) -> Result<(), Problem> {
    // A string of so many bytes cannot have more characters: the count is only taken when it matters.
    if name.is_empty() || (name.len() > MAX_TYPE && name.chars().count() > MAX_TYPE) {
        return Err(Problem::invalid("type", format!("expected 1 to {MAX_TYPE} characters, found {}", name.chars().count())));
    }
    if name.chars().any(char::is_control) {
        return Err(Problem::invalid("type", "control characters cannot be part of a type"));
    }
    if name.starts_with("posthaste.") {
        return Err(Problem::invalid("type", "types that begin with posthaste. are the server's own"));
    }
    Ok(())
}

fn check_time(text: &str, now_ms: i64) -> Result<i64, Problem> {
    let at = parse_rfc3339(text).ok_or_else(|| Problem::invalid("deliver_at", "expected an RFC 3339 time such as 2026-11-21T12:00:00Z"))?;
    if at > now_ms + MAX_AHEAD_MS {
        return Err(Problem::invalid("deliver_at", "at most one year ahead"));
    }
    Ok(at)
}

fn check_depth(data: &[u8]) -> Result<(), Problem> {
    if document::is_too_deep(data, MAX_DEPTH) {
        return Err(Problem::new(Code::JsonTooDeep, format!("data: lists and objects may be nested {MAX_DEPTH} deep")).at("data"));
    }
    Ok(())
}

/// Says what is wrong with a body that was refused.
fn diagnose(body: &[u8], max_array: usize, now_ms: i64) -> Problem {
    // Depth is judged per event below; here only the syntax matters.
    if let Err(problem) = check_json(body)
        && problem.code() != Code::JsonTooDeep
    {
        return problem;
    }
    match body.trim_ascii_start().first() {
        Some(b'{') => match check_raw(body, now_ms) {
            Err(problem) => problem,
            Ok(()) => Problem::new(Code::InvalidField, "the event cannot be read"),
        },
        Some(b'[') => diagnose_list(body, max_array, now_ms),
        _ => Problem::new(Code::InvalidField, "the body: expected an event object or a list of them"),
    }
}

fn diagnose_list(body: &[u8], max_array: usize, now_ms: i64) -> Problem {
    let items: Vec<&RawValue> = match serde_json::from_slice(body) {
        Ok(items) => items,
        Err(error) => return Problem::new(Code::InvalidJson, error.to_string()),
    };
    if items.len() > max_array {
        return too_many(items.len(), max_array);
    }
    let bad = items.iter().enumerate().filter_map(|(index, item)| {
        let prefix = format!("[{index}]");
        check_raw(item.get().as_bytes(), now_ms).err().map(|problem| (prefix, problem))
    });
    let mut problems: Vec<(String, Problem)> = bad.take(MAX_LISTED_ERRORS).collect();
    let listed = problems
        .iter()
        .map(|(prefix, problem)| FieldProblem {
            field: join_path(prefix, problem.field().unwrap_or_default()),
            detail: problem.detail().to_owned(),
        })
        .collect();
    if problems.is_empty() {
        return Problem::new(Code::InvalidField, "the list cannot be read");
    }
    let (prefix, first) = problems.swap_remove(0);
    first.under(&prefix).listing(listed)
}

/// Checks one event the slow way, field by field.
fn check_raw(event: &[u8], now_ms: i64) -> Result<(), Problem> {
    let fields = raw_fields(event, &FIELDS)?;
    let text = |name: &'static str, raw: &[u8]| {
        let reason = if raw.starts_with(b"\"") { "expected a string without lone surrogates" } else { "expected a string" };
        serde_json::from_slice::<String>(raw).map_err(|_| Problem::invalid(name, reason))
    };
    check_type(&text("type", fields.need("type")?)?)?;
    if let Some(raw) = fields.get("deliver_at").filter(|raw| *raw != b"null") {
        check_time(&text("deliver_at", raw)?, now_ms)?;
    }
    let data = fields
        .get("data")
        .ok_or_else(|| Problem::new(Code::MissingField, "data: this field is needed; send null if there is nothing to say").at("data"))?;
    check_depth(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn refused(body: &str) -> (Code, Option<String>, String) {
        let problem = read_events(body.as_bytes(), 3, NOW).expect_err("refused");
        (problem.code(), problem.field().map(str::to_owned), problem.detail().to_owned())
    }

    #[test]
    fn data_is_taken_as_written() {
        let body = "{\"data\":  {\"b\":1,\"a\":1.0,\"n\":1e400,\"dup\":1,\"dup\":2,\"s\":\"\\ud800\" } ,\"type\":\"a.b\"}";
        let (events, is_list) = read_events(body.as_bytes(), 3, NOW).expect("reads");
        assert!(!is_list);
        assert_eq!(&events[0].payload[..], b"{\"b\":1,\"a\":1.0,\"n\":1e400,\"dup\":1,\"dup\":2,\"s\":\"\\ud800\" }");
        for data in ["null", "3", "\"x\"", "[1, 2]"] {
            let body = format!("[{{\"type\":\"a\",\"data\":{data}}}]");
            let (events, is_list) = read_events(body.as_bytes(), 3, NOW).expect("reads");
            assert_eq!((&events[0].payload[..], is_list), (data.as_bytes(), true));
        }
    }

    #[test]
    fn every_mistake_names_its_field() {
        let long = format!("{{\"type\":\"{}\",\"data\":1}}", "x".repeat(256));
        let deep = format!("{{\"type\":\"a\",\"data\":{}{}}}", "[".repeat(129), "]".repeat(129));
        for (body, code, field) in [
            ("", Code::InvalidJson, None),
            ("{\"type\":", Code::InvalidJson, None),
            ("7", Code::InvalidField, None),
            ("[]", Code::InvalidField, None),
            ("{}", Code::MissingField, Some("type")),
            (r#"{"type":"a"}"#, Code::MissingField, Some("data")),
            (r#"{"type":"","data":1}"#, Code::InvalidField, Some("type")),
            (r#"{"type":3,"data":1}"#, Code::InvalidField, Some("type")),
            (r#"{"type":"a\u0000","data":1}"#, Code::InvalidField, Some("type")),
            (r#"{"type":"a","data":1,"data":2}"#, Code::InvalidField, Some("data")),
            (r#"{"type":"a","dta":1}"#, Code::UnknownField, Some("dta")),
            (r#"{"type":"a","data":1,"deliver_at":"soon"}"#, Code::InvalidField, Some("deliver_at")),
            (r#"{"type":"a","data":1,"deliver_at":"2099-01-01T00:00:00Z"}"#, Code::InvalidField, Some("deliver_at")),
            (r#"[{"type":"a","data":1},{"data":1}]"#, Code::MissingField, Some("[1].type")),
            (r#"[{"type":"a","data":1},3]"#, Code::InvalidField, Some("[1]")),
            (r#"[1,2,3,4]"#, Code::TooManyEvents, None),
            (&long, Code::InvalidField, Some("type")),
            (&deep, Code::JsonTooDeep, Some("data")),
        ] {
            let (found, at, detail) = refused(body);
            assert_eq!((found, at.as_deref()), (code, field), "{body}: {detail}");
        }
        assert!(refused(r#"{"type":"a","dta":1}"#).2.contains("did you mean \"data\"?"));
    }

    #[test]
    fn the_answer_is_json_of_its_shape() {
        let event = |n| AcceptedEvent { sequence: posthaste_domain::id::Sequence(n), received_ms: NOW };
        let read = |events: &[AcceptedEvent], is_list| serde_json::from_slice::<Value>(&write_accepted(events, is_list)).expect("JSON");
        let id = event(7).id();
        let one = serde_json::json!({"id": id, "sequence": 7, "received_at": rfc3339(NOW), "ids": [id]});
        assert_eq!(read(&[event(7)], false), one);
        let item = |n| serde_json::json!({"id": event(n).id(), "sequence": n});
        let list = serde_json::json!({"ids": [event(7).id(), event(8).id()], "items": [item(7), item(8)]});
        assert_eq!(read(&[event(7), event(8)], true), list);
        assert_eq!(read(&[event(7)], true)["items"], serde_json::json!([item(7)]));
    }

    #[test]
    fn a_past_deliver_at_means_now() {
        let (events, _) = read_events(br#"{"type":"a","data":1,"deliver_at":"2001-01-01T00:00:00Z"}"#, 3, NOW).expect("reads");
        assert_eq!(events[0].deliver_at_ms, None);
        let (events, _) = read_events(br#"{"type":"a","data":1,"deliver_at":"2023-11-15T00:00:00+01:00"}"#, 3, NOW).expect("reads");
        assert_eq!(events[0].deliver_at_ms, parse_rfc3339("2023-11-14T23:00:00Z"));
    }
}
