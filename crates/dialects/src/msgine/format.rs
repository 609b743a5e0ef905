//! Wire format `msgine`: one webhook per recipient and event (MsGine 5).
//!
//! Invariants: a body is what `JSON.stringify` prints of it, because the documented receiver signs that; everything in it is a fact of
//! the event, so retries carry the same bytes. Which events a subscription gets at all is decided by [`Format::wants`]: those with a
//! callback URL go to that URL's subscription only, all others to the dashboard webhooks.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use posthaste_domain::clock::{parse_rfc3339, rfc3339};
use posthaste_domain::event::Event;
use posthaste_domain::message::{self, MessageData};
use posthaste_domain::policy::{Jitter, Policy, Retry, StatusMatch};
use posthaste_domain::signature::{hex, hmac_sha256};
use posthaste_engine::{Format, FormatBody, FormatError, FormatInput, Prepared};
use serde::Serialize;
use serde_json::Value;

use super::input::origin;
use super::{DIALECT, MsgineSettings};

const SIGNATURE: HeaderName = HeaderName::from_static("x-msgine-signature");
const DELIVERY: HeaderName = HeaderName::from_static("x-msgine-delivery");
const USER_AGENT: HeaderValue = HeaderValue::from_static("MsGine-Webhook/1.0");

/// Type of the sample that a target's test sends.
const TEST: &str = "posthaste.test";
/// Name of the fact in a subscription's mark that makes it one for callback URLs.
pub const CALLBACK_ORIGIN: &str = "callback_origin";

/// The format of MsGine webhooks.
#[derive(Clone, Debug)]
pub struct MsgineFormat {
    allow_http: bool,
    timeout: Duration,
    retry_delays: Vec<Duration>,
}

/// What a subscription is for.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// Events of messages without a callback URL.
    Dashboard,
    /// Events whose callback URL has this origin.
    Callbacks(String),
}

impl MsgineFormat {
    /// With the server's numbers.
    pub fn new(settings: &MsgineSettings) -> Self {
        Self { allow_http: settings.allow_http, timeout: settings.webhook_timeout, retry_delays: settings.retry_delays.clone() }
    }
}

impl Format for MsgineFormat {
    fn name(&self) -> &'static str {
        DIALECT
    }

    /// Five seconds, any 2xx, five retries at the documented times; nothing a receiver answers changes them (MsGine 5.4).
    fn default_policy(&self) -> Policy {
        Policy {
            timeout: Some(self.timeout),
            connect_timeout: Some(self.timeout),
            retry: Some(Retry::Delays(self.retry_delays.clone())),
            jitter: Some(Jitter::UpTo(0.0)),
            success: Some(vec![StatusMatch::Class(2)]),
            stop: Some(Vec::new()),
            retry_after_max: Some(Duration::ZERO),
            ..Policy::default()
        }
    }

    fn notifies_owner(&self) -> bool {
        true
    }

    fn prepare(&self, settings: &Value, target: &Value) -> Result<Prepared, FormatError> {
        let refuse = |field: &str, reason: String| FormatError { field: field.to_owned(), reason };
        let method = target.get("method").and_then(Value::as_str).unwrap_or("POST");
        if !method.eq_ignore_ascii_case("POST") {
            return Err(refuse("settings.method", format!("the msgine format is sent by POST, not {method}")));
        }
        let url = target.get("url").and_then(Value::as_str).unwrap_or_default();
        if !self.allow_http && !url.to_ascii_lowercase().starts_with("https://") {
            return Err(refuse("settings.url", "the msgine format needs an https:// URL".to_owned()));
        }
        let role = settings.get(CALLBACK_ORIGIN).and_then(Value::as_str);
        Ok(Prepared::new(role.map_or(Role::Dashboard, |origin| Role::Callbacks(origin.to_owned()))))
    }

    fn wants<'d>(&self, prepared: &Prepared, type_name: &str, document: &mut dyn FnMut() -> Option<&'d Value>) -> bool {
        if status_of(type_name).is_none() {
            return false;
        }
        let callback = document().and_then(|event| event.get("callback_url")).and_then(Value::as_str);
        match (prepared.get::<Role>(), callback) {
            (Some(Role::Callbacks(own)), Some(url)) => origin(url).as_ref() == Some(own),
            (Some(Role::Callbacks(_)), None) => false,
            (Some(Role::Dashboard) | None, callback) => callback.is_none(),
        }
    }

    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        secret_of(input)?;
        let callback = MessageData::parse(&input.event.payload).and_then(|data| data.text("callback_url").map(String::from));
        let is_callback = matches!(input.prepared.get::<Role>(), Some(Role::Callbacks(_)));
        let mut body = Vec::with_capacity(256);
        write(input.event, &mut body)?;
        Ok(FormatBody { url: callback.filter(|_| is_callback), ..FormatBody::new(body) })
    }

    fn open(&self, input: &FormatInput<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        secret_of(input)?;
        out.push(b'[');
        Ok(())
    }

    fn member(&self, _: &FormatInput<'_>, event: &Event, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        // Only events that it wants are in a batch, and those can be written.
        if write(event, out).is_err() {
            out.extend_from_slice(b"null");
        }
    }

    fn headers(&self, input: &FormatInput<'_>, made: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        let visible = |text: &str| HeaderValue::from_str(text).expect("ids and hexadecimal digits are visible ASCII");
        let mut headers = vec![
            (header::CONTENT_TYPE, crate::json::CONTENT_TYPE),
            (header::USER_AGENT, USER_AGENT),
            (DELIVERY, visible(input.delivery_id)),
        ];
        if let Ok(secret) = secret_of(input) {
            headers.push((SIGNATURE, visible(&hex(&hmac_sha256(secret.as_bytes(), &made.body)))));
        }
        headers
    }
}

/// What signs. Every use of the dialect makes an account with a secret, so this fails only where somebody removed it.
fn secret_of<'a>(input: &FormatInput<'a>) -> Result<&'a str, FormatError> {
    let secret = input.account.get("webhook_secret").and_then(Value::as_str);
    let reason = "the workspace has no MsGine account, whose secret signs; reading /posthaste/v1/accounts/msgine makes one";
    secret.ok_or_else(|| FormatError { field: "account".to_owned(), reason: reason.to_owned() })
}

/// The status that an event tells of, if MsGine knows it.
fn status_of(type_name: &str) -> Option<&'static str> {
    match type_name {
        message::SENT => Some("sent"),
        message::DELIVERED => Some("delivered"),
        message::FAILED => Some("failed"),
        _ => None,
    }
}

/// The body, in the documented order of keys.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    id: &'a str,
    event: &'a str,
    status: &'a str,
    to: &'a str,
    from: &'a str,
    timestamp: String,
    message_id: &'a str,
    sid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
}

fn write(event: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let refuse = |field: &str, reason: &str| FormatError { field: field.to_owned(), reason: reason.to_owned() };
    let data = MessageData::parse(&event.payload).ok_or_else(|| refuse("payload", "the event is no JSON object"))?;
    let text = |name: &str| data.text(name).filter(|text| !text.is_empty());
    let type_name = event.type_name.as_deref().unwrap_or_default();
    let is_test = type_name == TEST;
    // A test names the event that it wants to see, and stands for a message that does not exist.
    let chosen = text("event").filter(|_| is_test);
    let type_name = chosen.as_deref().unwrap_or(if is_test { message::DELIVERED } else { type_name });
    let status = status_of(type_name).ok_or_else(|| refuse("type", "the msgine format knows message.sent, .delivered and .failed"))?;
    let or_sample = |name: &str, sample: &'static str| text(name).or_else(|| is_test.then(|| sample.into())).unwrap_or_default();
    let id = or_sample("message_id", "msg_test");
    let at_ms = text("occurred_at").and_then(|text| parse_rfc3339(&text)).unwrap_or(event.received_ms);
    let reason = (status == "failed").then(|| text("reason").unwrap_or("failed".into()));
    let failure_reason = reason.as_ref().map(|reason| text("description").unwrap_or_else(|| sentence(reason).into()));
    let error_code = reason.as_ref().map(|reason| text("error_code").unwrap_or_else(|| code(reason).into()));
    let sid = text("sid").map_or_else(|| super::sid(&id), String::from);
    let wire = Wire {
        id: &id,
        event: type_name,
        status,
        to: &or_sample("recipient", "+256700000000"),
        from: &or_sample("sender", "MsGine"),
        timestamp: seconds(at_ms),
        message_id: &id,
        sid: &sid,
        failure_reason: failure_reason.as_deref(),
        error_code: error_code.as_deref(),
    };
    serde_json::to_writer(out, &wire).map_err(|error| refuse("payload", &error.to_string()))
}

/// ISO 8601 in UTC with whole seconds: `2024-01-15T10:30:00Z`.
pub fn seconds(ms: i64) -> String {
    let text = rfc3339(ms);
    format!("{}Z", text.split('.').next().unwrap_or(&text))
}

/// What is told of a failure that came without a description.
fn sentence(reason: &str) -> &str {
    match reason {
        "rejected" => "Rejected by the carrier",
        "expired" => "Not delivered in time",
        "suppress-unsubscribe" => "The recipient has opted out",
        "suppress-bounce" => "Earlier messages to the recipient failed",
        "suppress-complaint" => "The recipient complained about earlier messages",
        "failed" | "generic" | "bounce" => "Message could not be delivered",
        other => other,
    }
}

/// A code of lower-case words for a failure that came without one.
fn code(reason: &str) -> &str {
    match reason {
        "rejected" => "rejected",
        "expired" => "expired",
        "suppress-unsubscribe" => "recipient_opted_out",
        "suppress-bounce" | "suppress-complaint" => "recipient_suppressed",
        _ => "delivery_failed",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fixture::event;

    const SECRET: &str = "whsec_test";
    const DELIVERED: &str = r#"{"channel":"sms","message_id":"msg_1234567890","recipient":"+256701521269","sender":"MyApp","occurred_at":"2024-01-15T10:30:15.678Z","sid":"SM1234567890abcdef"}"#;

    fn format() -> MsgineFormat {
        MsgineFormat::new(&MsgineSettings::default())
    }

    fn account() -> &'static Value {
        static ACCOUNT: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({ "webhook_secret": SECRET }));
        &ACCOUNT
    }

    /// The first attempt to send an event from a workspace that has an account.
    fn input(event: &std::sync::Arc<Event>) -> FormatInput<'_> {
        FormatInput { account: account(), ..FormatInput::of(event) }
    }

    fn body(type_name: &str, payload: &'static str) -> String {
        let event = event(1, Some(type_name), payload);
        String::from_utf8(format().body(&input(&event)).unwrap().body.to_vec()).unwrap()
    }

    #[test]
    fn nothing_is_sent_unsigned() {
        let event = event(1, Some(message::SENT), r#"{"message_id":"m"}"#);
        assert_eq!(format().body(&FormatInput::of(&event)).unwrap_err().field, "account");
        assert_eq!(format().open(&FormatInput::of(&event), &mut Vec::new()).unwrap_err().field, "account");
    }

    fn signature(body: &str) -> String {
        let event = event(1, None, "{}");
        let input = FormatInput { delivery_id: "dlv_1", ..input(&event) };
        let headers = format().headers(&input, &FormatBody::new(body.to_owned()));
        let shown: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let [("content-type", "application/json"), ("user-agent", "MsGine-Webhook/1.0"), ("x-msgine-delivery", "dlv_1"), (name, value)] =
            shown[..]
        else {
            panic!("{shown:?}")
        };
        assert_eq!(name, "x-msgine-signature");
        value.to_owned()
    }

    // MSGINE-43, MSGINE-44, MSGINE-45: the documented body, byte for byte, and both vectors.
    #[test]
    fn bodies_and_signatures_are_the_documented_ones() {
        let expected = r#"{"id":"msg_1234567890","event":"message.delivered","status":"delivered","to":"+256701521269","from":"MyApp","timestamp":"2024-01-15T10:30:15Z","messageId":"msg_1234567890","sid":"SM1234567890abcdef"}"#;
        let delivered = body(message::DELIVERED, DELIVERED);
        assert_eq!((delivered.as_str(), delivered.len()), (expected, 199));
        assert_eq!(signature(&delivered), "48bc60d16c5566ba52281fda8115bd9e253e89522e27fe6576f83d5bfe1a5cb7");
        let failed = r#"{"id":"msg_1234567890","event":"message.failed","status":"failed","to":"+256701521269","from":"MyApp","timestamp":"2024-01-15T10:30:15Z","failureReason":"Invalid phone number","errorCode":"invalid_phone_number"}"#;
        assert_eq!(signature(failed), "15b7e81ccefc826b2a33bb1d6ecb545a75b862f0c23d9341ccc8c6b9e30f80ef");
    }

    // MSGINE-40
    #[test]
    fn failures_say_why() {
        let told = body(
            message::FAILED,
            r#"{"message_id":"m","recipient":"+1","sender":"A","occurred_at":"2024-01-15T10:30:15Z","sid":"S","reason":"rejected","description":"Invalid phone number","error_code":"invalid_phone_number"}"#,
        );
        let expected = r#"{"id":"m","event":"message.failed","status":"failed","to":"+1","from":"A","timestamp":"2024-01-15T10:30:15Z","messageId":"m","sid":"S","failureReason":"Invalid phone number","errorCode":"invalid_phone_number"}"#;
        assert_eq!(told, expected);
        for (payload, reason, code) in [
            (r#"{"message_id":"m","reason":"suppress-unsubscribe"}"#, "The recipient has opted out", "recipient_opted_out"),
            (r#"{"message_id":"m","reason":"no route","error_code":34}"#, "no route", "34"),
            (r#"{"message_id":"m"}"#, "Message could not be delivered", "delivery_failed"),
        ] {
            let value: Value = serde_json::from_str(&body(message::FAILED, payload)).unwrap();
            assert_eq!((&value["failureReason"], &value["errorCode"]), (&json!(reason), &json!(code)));
        }
    }

    // MSGINE-46: what serde_json writes is what JSON.stringify writes (Node itself is asked in the client tests).
    #[test]
    fn bodies_are_compact_and_unescaped() {
        let told = body(
            message::SENT,
            r#"{"message_id":"m\/1","recipient":"+1","sender":"Z\u00fcri\ud83d\ude80","sid":"S","occurred_at":"2024-01-15T10:30:15Z"}"#,
        );
        let expected = r#"{"id":"m/1","event":"message.sent","status":"sent","to":"+1","from":"Züri🚀","timestamp":"2024-01-15T10:30:15Z","messageId":"m/1","sid":"S"}"#;
        assert_eq!(told, expected);
    }

    // MSGINE-49, MSGINE-50
    #[test]
    fn events_with_a_callback_url_go_there_only() {
        let format = format();
        let https = json!({ "url": "https://a.example/" });
        let dashboard = format.prepare(&Value::Null, &https).unwrap();
        let callbacks = format.prepare(&json!({ CALLBACK_ORIGIN: "https://a.example:443" }), &https).unwrap();
        let wants = |prepared: &Prepared, type_name: &str, event: &Value| format.wants(prepared, type_name, &mut || Some(event));
        let (plain, own, other) = (
            json!({ "message_id": "m" }),
            json!({ "message_id": "m", "callback_url": "https://A.example/hook?x=1" }),
            json!({ "message_id": "m", "callback_url": "https://a.example:8443/hook" }),
        );
        for (event, to_dashboard, to_callbacks) in [(&plain, true, false), (&own, false, true), (&other, false, false)] {
            assert_eq!(wants(&dashboard, message::SENT, event), to_dashboard, "{event}");
            assert_eq!(wants(&callbacks, message::SENT, event), to_callbacks, "{event}");
        }
        for strange in [message::ACCEPTED, message::OPENED, "order.paid"] {
            assert!(!wants(&dashboard, strange, &plain));
        }
        let sent = event(1, Some(message::SENT), r#"{"message_id":"m","callback_url":"https://a.example/hook?x=1"}"#);
        let url = |prepared| format.body(&FormatInput { prepared, ..input(&sent) }).unwrap().url;
        assert_eq!(url(&callbacks).as_deref(), Some("https://a.example/hook?x=1"));
        assert_eq!(url(&dashboard), None);
    }

    // MSGINE-62: what the native API refuses on save.
    #[test]
    fn plain_http_is_refused() {
        let refused = format().prepare(&Value::Null, &json!({ "url": "http://a.example/" })).unwrap_err();
        assert_eq!(refused.field, "settings.url");
        assert_eq!(format().prepare(&Value::Null, &json!({ "url": "https://a/", "method": "PUT" })).unwrap_err().field, "settings.method");
        let open = MsgineFormat::new(&MsgineSettings { allow_http: true, ..MsgineSettings::default() });
        assert!(open.prepare(&Value::Null, &json!({ "url": "http://a.example/" })).is_ok());
    }

    // MSGINE-65
    #[test]
    fn a_test_is_a_sample_of_the_chosen_event() {
        let sample: Value = serde_json::from_str(&body(TEST, r#"{"message":"This is a test."}"#)).unwrap();
        assert_eq!((&sample["event"], &sample["id"]), (&json!("message.delivered"), &json!("msg_test")));
        let sample: Value = serde_json::from_str(&body(TEST, r#"{"event":"message.failed","recipient":"+15550100"}"#)).unwrap();
        assert_eq!((&sample["status"], &sample["to"]), (&json!("failed"), &json!("+15550100")));
        assert!(sample["failureReason"].is_string() && sample["errorCode"].is_string());
        let wrong = event(1, Some(TEST), r#"{"event":"message.opened"}"#);
        assert_eq!(format().body(&input(&wrong)).unwrap_err().field, "type");
    }

    // MSGINE-53, MSGINE-54, MSGINE-56: the numbers; the engine keeps them.
    #[test]
    fn the_default_policy_is_the_documented_one() {
        let policy = format().default_policy().resolve();
        assert_eq!(policy.timeout, Duration::from_secs(5));
        assert_eq!(policy.retry, Retry::Delays([60, 300, 900, 3_600, 21_600].map(Duration::from_secs).to_vec()));
        assert_eq!((policy.jitter, policy.retry_after_max), (Jitter::UpTo(0.0), Duration::ZERO));
        assert_eq!((policy.success, policy.stop.is_empty()), (vec![StatusMatch::Class(2)], true));
    }

    #[test]
    fn batches_are_arrays() {
        let first = event(1, Some(message::SENT), r#"{"message_id":"m"}"#);
        let input = FormatInput { is_batch: true, ..input(&first) };
        let mut out = Vec::new();
        format().open(&input, &mut out).unwrap();
        for (index, event) in [&first, &event(2, Some("order.paid"), "[]")].into_iter().enumerate() {
            format().member(&input, event, index, &mut out);
        }
        format().close(&input, &mut out);
        let members: Vec<Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!((members.len(), &members[1]), (2, &Value::Null));
    }

    proptest! {
        /// Whatever is in an event: the body is compact JSON that reads back as the same texts.
        #[test]
        fn texts_come_through(sender in ".{0,20}", recipient in ".{0,20}", id in ".{1,20}") {
            let payload = json!({ "message_id": id, "recipient": recipient, "sender": sender }).to_string();
            let event = std::sync::Arc::new(Event { payload: payload.into(), ..(*event(1, Some(message::SENT), "{}")).clone() });
            let body = format().body(&input(&event)).unwrap().body;
            let value: Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!((&value["id"], &value["to"], &value["from"]), (&json!(id), &json!(recipient), &json!(sender)));
            prop_assert_eq!(serde_json::to_vec(&value).unwrap(), body.to_vec());
        }
    }
}
