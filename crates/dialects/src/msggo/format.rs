//! Wire format `msggo`: the event document as compact JSON with an `X-signature` (MsgGO 7.1).

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use posthaste_domain::event::Event;
use posthaste_domain::matching::document::top_level_fields;
use posthaste_domain::policy::{Policy, Rate, Retry, StatusMatch};
use posthaste_domain::signature::{hex, hmac_sha256};
use posthaste_engine::{Format, FormatBody, FormatError, FormatInput, Prepared};
use serde_json::Value;

use super::compact::compact;

const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// The format of a MsgGO URL delivery.
///
/// `POST`, `PUT` and `DELETE` carry the document in compact form, because a documented receiver verifies over `JSON.stringify` of what
/// it parsed. `GET` carries the fields in the query and signs the empty body (O-10). A batch, which MsgGO does not know, is a JSON
/// array of documents. Without a secret (an event of no type) there is no signature.
#[derive(Clone, Copy, Debug, Default)]
pub struct MsggoFormat;

impl Format for MsggoFormat {
    fn name(&self) -> &'static str {
        "msggo"
    }

    /// Two seconds, 500 a minute, any 2xx, one attempt; resending is by hand.
    fn default_policy(&self) -> Policy {
        Policy {
            timeout: Some(Duration::from_secs(2)),
            connect_timeout: Some(Duration::from_secs(2)),
            retry: Some(Retry::Delays(Vec::new())),
            success: Some(vec![StatusMatch::Class(2)]),
            stop: Some(Vec::new()),
            rate: Some(Rate { limit: 500, per: Duration::from_secs(60) }),
            ..Policy::default()
        }
    }

    fn prepare(&self, _: &Value, target: &Value) -> Result<Prepared, FormatError> {
        let method = target.get("method").and_then(Value::as_str).unwrap_or("POST");
        if METHODS.iter().any(|known| known.eq_ignore_ascii_case(method)) {
            return Ok(Prepared::none());
        }
        let reason = format!("the msggo format allows {}, not {method}", METHODS.join(", "));
        Err(FormatError { field: "settings.method".to_owned(), reason })
    }

    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        if input.method.eq_ignore_ascii_case("GET") {
            return Ok(FormatBody { query: Some(query(&input.event.payload)), ..FormatBody::default() });
        }
        Ok(FormatBody::new(compact(&input.event.payload)))
    }

    fn open(&self, input: &FormatInput<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if input.method.eq_ignore_ascii_case("GET") {
            let reason = "the msggo format cannot send a batch by GET; use POST or PUT, or switch batching off".to_owned();
            return Err(FormatError { field: "policy.batch".to_owned(), reason });
        }
        out.push(b'[');
        Ok(())
    }

    fn member(&self, _: &FormatInput<'_>, event: &Event, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&compact(&event.payload));
    }

    fn headers(&self, input: &FormatInput<'_>, made: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(2);
        // Only GET has no body: the smallest document is `{}`.
        if !made.body.is_empty() {
            headers.push((header::CONTENT_TYPE, crate::json::CONTENT_TYPE));
        }
        if let Some(secret) = input.event_type_secret {
            let signature = format!("sha256={}", hex(&hmac_sha256(secret.as_bytes(), &made.body)));
            headers.push((SIGNATURE, HeaderValue::try_from(signature).expect("hexadecimal digits are visible ASCII")));
        }
        headers
    }
}

/// The fields as a query: strings as they are, everything else as compact JSON. A payload that is no object is one field, `data`.
fn query(payload: &[u8]) -> String {
    let fields = top_level_fields(payload).unwrap_or_else(|_| vec![("data".to_owned(), payload)]);
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        match serde_json::from_slice::<String>(value) {
            Ok(text) => query.append_pair(&name, &text),
            Err(_) => query.append_pair(&name, &String::from_utf8_lossy(&compact(value))),
        };
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{batch, event, input};

    fn body(payload: &'static str, method: &str) -> (String, Option<String>) {
        let event = event(1, Some("order"), payload);
        let made = MsggoFormat.body(&FormatInput { method, ..input(&event) }).unwrap();
        (String::from_utf8(made.body.to_vec()).unwrap(), made.query)
    }

    fn headers(secret: Option<&str>, body: &[u8]) -> Vec<(String, String)> {
        let event = event(1, Some("order"), "{}");
        let input = FormatInput { event_type_secret: secret, ..input(&event) };
        let made = MsggoFormat.headers(&input, &FormatBody::new(body.to_vec()));
        made.into_iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    // MSGGO-62
    #[test]
    fn the_body_is_the_document_as_compact_json() {
        let sent = "{\n  \"b\": 1.25,\n  \"a\": [ \"x  y\", {\"é\" : null} ]\n}\n";
        assert_eq!(body(sent, "POST"), ("{\"b\":1.25,\"a\":[\"x  y\",{\"é\":null}]}".to_owned(), None));
        assert_eq!(headers(None, b"{}"), [("content-type".to_owned(), "application/json".to_owned())]);
    }

    // MSGGO-63: both documented vectors.
    #[test]
    fn the_signature_is_the_hmac_of_the_raw_body() {
        let signed = headers(Some("your_secret_key"), br#"{"example":"data"}"#);
        assert_eq!(signed[1].1, "sha256=8a9301390224ddfb7f8dc3c330d5354cdaefdb08a0babad69385a5b54fdb72e5");
        assert_eq!(signed[1].0, "x-signature");
        let empty = headers(Some("your_secret_key"), b"");
        let expected = "sha256=c7130c8efd702d217e36a92fb992c2c3692b24e57c8b09778dd4c53e11fb8996";
        assert_eq!(empty, [("x-signature".to_owned(), expected.to_owned())]);
    }

    // MSGGO-64
    #[test]
    fn get_carries_the_fields_in_the_query() {
        let (body, query) = body(r#"{"event":"a b&c","n":1.5,"ok":true,"none":null,"list":[ 1, "x" ],"é":"ü"}"#, "GET");
        assert_eq!(body, "");
        let expected = "event=a+b%26c&n=1.5&ok=true&none=null&list=%5B1%2C%22x%22%5D&%C3%A9=%C3%BC";
        assert_eq!(query.as_deref(), Some(expected));
        assert_eq!(super::query(b" [1, 2] "), "data=%5B1%2C2%5D");
        for method in ["PUT", "DELETE"] {
            assert_eq!(self::body("{ }", method), ("{}".to_owned(), None));
        }
    }

    // MSGGO-64
    #[test]
    fn only_four_methods_can_be_chosen() {
        for method in ["GET", "POST", "PUT", "DELETE", "post"] {
            assert!(MsggoFormat.prepare(&Value::Null, &serde_json::json!({ "method": method })).is_ok());
        }
        assert!(MsggoFormat.prepare(&Value::Null, &serde_json::json!({})).is_ok());
        let error = MsggoFormat.prepare(&Value::Null, &serde_json::json!({ "method": "PATCH" })).unwrap_err();
        assert_eq!(error.field, "settings.method");
        assert_eq!(error.reason, "the msggo format allows GET, POST, PUT, DELETE, not PATCH");
    }

    #[test]
    fn a_batch_is_an_array_and_cannot_be_a_query() {
        let events = [event(1, Some("order"), "{ \"n\": 1 }"), event(2, None, "{\"n\":2}")];
        assert_eq!(batch(&MsggoFormat, &events), r#"[{"n":1},{"n":2}]"#);
        let by_get = FormatInput { method: "GET", is_batch: true, ..input(&events[0]) };
        assert_eq!(MsggoFormat.open(&by_get, &mut Vec::new()).unwrap_err().field, "policy.batch");
    }

    // MSGGO-65, MSGGO-66: the numbers; the engine keeps them.
    #[test]
    fn the_default_policy_is_the_documented_one() {
        let policy = MsggoFormat.default_policy().resolve();
        assert_eq!(policy.timeout, Duration::from_millis(2000));
        assert_eq!(policy.rate, Some(Rate { limit: 500, per: Duration::from_secs(60) }));
        assert_eq!(policy.retry, Retry::Delays(Vec::new()));
        assert_eq!(policy.success, [StatusMatch::Class(2)]);
        assert!(policy.stop.is_empty());
    }
}
