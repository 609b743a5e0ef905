//! Standard Webhooks: formats `standard` and `raw` (`docs/dialects/standard-webhooks.md`).
//!
//! Both carry `webhook-id`, `webhook-timestamp` and `webhook-signature`. `standard` wraps the payload as the specification recommends;
//! `raw` sends it alone. The payload's bytes are copied, never re-serialised, and everything in a body is a fact about the event,
//! so every attempt sends the same bytes.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header};
use posthaste_domain::clock::rfc3339;
use posthaste_domain::event::Event;
use posthaste_domain::policy::Policy;
use posthaste_domain::signature::sign;
use posthaste_engine::{Format, FormatBody, FormatError, FormatInput, Prepared};
use serde_json::Value;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Type of an event that matched no event type.
const UNMATCHED: &str = "unmatched";
/// Bytes of an envelope beside its type and payload, and of an event id.
const ENVELOPE_BYTES: usize = 128;

/// `{"type":…,"timestamp":…,"data":…}` around the payload; the native format.
///
/// A batch is `{"type":"batch","timestamp":…,"data":[…]}` with the time of its first event; each member is an envelope with the event's
/// `id` in front.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardFormat;

/// The payload alone, its bytes as they came (STDWH-47); a batch is a JSON array of payloads.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawFormat;

impl Format for StandardFormat {
    fn name(&self) -> &'static str {
        "standard"
    }

    fn default_policy(&self) -> Policy {
        Policy::standard()
    }

    fn prepare(&self, _: &Value, target: &Value) -> Result<Prepared, FormatError> {
        needs_a_body(self.name(), target)
    }

    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        let event = input.event;
        let mut body = Vec::with_capacity(ENVELOPE_BYTES + type_bytes(event) + event.payload.len());
        write_envelope(&mut body, None, event);
        Ok(FormatBody::new(body))
    }

    fn open(&self, input: &FormatInput<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(br#"{"type":"batch","timestamp":""#);
        out.extend_from_slice(rfc3339(input.event.received_ms).as_bytes());
        out.extend_from_slice(br#"","data":["#);
        Ok(())
    }

    fn member(&self, _: &FormatInput<'_>, event: &Event, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        write_envelope(out, Some(&event.id()), event);
    }

    fn close(&self, _: &FormatInput<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"]}");
    }

    fn headers(&self, input: &FormatInput<'_>, made: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        headers(input, &made.body)
    }
}

impl Format for RawFormat {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn default_policy(&self) -> Policy {
        Policy::standard()
    }

    fn prepare(&self, _: &Value, target: &Value) -> Result<Prepared, FormatError> {
        needs_a_body(self.name(), target)
    }

    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        Ok(FormatBody::new(input.event.payload.clone()))
    }

    fn headers(&self, input: &FormatInput<'_>, made: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        headers(input, &made.body)
    }
}

/// A `GET` has no body, and these formats put everything there.
fn needs_a_body(format: &str, settings: &Value) -> Result<Prepared, FormatError> {
    match settings.get("method").and_then(Value::as_str) {
        Some(method) if method.eq_ignore_ascii_case("GET") => {
            let reason = format!("GET carries no body, which the {format} format needs; use POST, PUT or PATCH, or the msggo format");
            Err(FormatError { field: "settings.method".to_owned(), reason })
        }
        _ => Ok(Prepared::none()),
    }
}

/// The three headers of the specification and the type of the body. Without a secret there is nothing to sign with.
fn headers(input: &FormatInput<'_>, body: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let seconds = input.attempt.at_ms.div_euclid(1000);
    let visible = |text: String| HeaderValue::try_from(text).expect("ids, numbers and base64 are visible ASCII");
    let mut headers = Vec::with_capacity(4);
    headers.push((header::CONTENT_TYPE, crate::json::CONTENT_TYPE));
    headers.push((ID, visible(input.delivery_id.to_owned())));
    headers.push((TIMESTAMP, HeaderValue::from(seconds)));
    if !input.signing.is_empty() {
        headers.push((SIGNATURE, visible(sign(input.delivery_id, seconds, body, input.signing))));
    }
    headers
}

/// Nothing in it needs escaping: ids, times and type names are plain ASCII.
fn write_envelope(body: &mut Vec<u8>, id: Option<&str>, event: &Event) {
    body.push(b'{');
    if let Some(id) = id {
        body.extend_from_slice(br#""id":""#);
        body.extend_from_slice(id.as_bytes());
        body.extend_from_slice(br#"","#);
    }
    body.extend_from_slice(br#""type":""#);
    body.extend_from_slice(type_name(event).as_bytes());
    body.extend_from_slice(br#"","timestamp":""#);
    body.extend_from_slice(rfc3339(event.received_ms).as_bytes());
    body.extend_from_slice(br#"","data":"#);
    body.extend_from_slice(&event.payload);
    body.push(b'}');
}

fn type_bytes(event: &Event) -> usize {
    event.type_name.as_deref().map_or(UNMATCHED.len(), str::len)
}

fn type_name(event: &Event) -> Cow<'_, str> {
    event.type_name.as_deref().map_or(Cow::Borrowed(UNMATCHED), conforming)
}

/// The name itself when it is full-stop separated parts of `[a-zA-Z0-9_]` (STDWH-44); otherwise each run of anything else, full stops
/// without a part on either side included, becomes one `_`.
fn conforming(name: &str) -> Cow<'_, str> {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = name.as_bytes();
    let fits =
        |at: usize| is_part(bytes.get(at)) || (bytes[at] == b'.' && at > 0 && is_part(bytes.get(at - 1)) && is_part(bytes.get(at + 1)));
    if !bytes.is_empty() && (0..bytes.len()).all(fits) {
        return Cow::Borrowed(name);
    }
    let mut made = String::with_capacity(name.len().max(1));
    let mut in_run = false;
    for (at, &byte) in bytes.iter().enumerate() {
        if fits(at) {
            made.push(char::from(byte));
            in_run = false;
        } else if !in_run {
            made.push('_');
            in_run = true;
        }
    }
    if made.is_empty() {
        made.push('_');
    }
    Cow::Owned(made)
}

#[cfg(test)]
mod tests;
