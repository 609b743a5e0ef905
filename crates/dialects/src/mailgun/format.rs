//! The wire format `mailgun`: `{"signature": {…}, "event-data": {…}}` (section 8 of the documents).
//!
//! Invariants: every attempt carries a timestamp and a token of its own, so that no receiver takes a retry for a replay (O-2); the event
//! data is the same in all of them, and the same as in the Events API.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use posthaste_domain::policy::{Jitter, Policy, Retry, StatusMatch};
use posthaste_domain::signature::{hex, hmac_sha256};
use posthaste_engine::{Format, FormatBody, FormatError, FormatInput, Prepared};
use serde_json::Value;

use super::MailgunSettings;
use super::event::{Facts, Kind, belongs_to, is_rejection, render};
use super::names::Name;

/// Name of the dialect, of its format and of its account settings.
pub(crate) const DIALECT: &str = "mailgun";
/// The account setting that holds the signing key.
pub(crate) const SIGNING_KEY: &str = "signing_key";
/// Bytes of randomness in a token: 50 hexadecimal characters.
const TOKEN_BYTES: usize = 25;
/// Bytes of a body beside the event data.
const SIGNATURE_BYTES: usize = 240;

/// Writes and signs events as Mailgun does. Subscriptions need the account setting `signing_key`.
#[derive(Clone, Debug)]
pub struct MailgunFormat {
    timeout: Duration,
    retry: Vec<Duration>,
    retry_delivered: bool,
}

/// What a subscription is of.
struct Webhook {
    /// The webhook's name; `None` for a subscription that no webhook made.
    name: Option<Name>,
    /// The domain whose events it gets; `None` for all.
    domain: Option<String>,
}

impl MailgunFormat {
    /// With the schedule of these settings.
    pub fn new(settings: &MailgunSettings) -> Self {
        Self { timeout: settings.timeout, retry: settings.retry.clone(), retry_delivered: settings.retry_delivered }
    }
}

impl Default for MailgunFormat {
    fn default() -> Self {
        Self::new(&MailgunSettings::default())
    }
}

impl Format for MailgunFormat {
    fn name(&self) -> &'static str {
        DIALECT
    }

    /// 200 is success and 406 the end; the schedule is a promise about times, so nothing is added to it, not by a `Retry-After` either.
    fn default_policy(&self) -> Policy {
        Policy {
            timeout: Some(self.timeout),
            connect_timeout: Some(self.timeout.min(Duration::from_secs(5))),
            retry: Some(Retry::Delays(self.retry.clone())),
            jitter: Some(Jitter::UpTo(0.0)),
            success: Some(vec![StatusMatch::Code(200)]),
            stop: Some(vec![StatusMatch::Code(406)]),
            retry_after_max: Some(Duration::ZERO),
            ..Policy::default()
        }
    }

    fn policy_for(&self, prepared: &Prepared) -> Policy {
        let mut policy = self.default_policy();
        let is_delivered = prepared.get::<Webhook>().is_some_and(|webhook| webhook.name == Some(Name::Delivered));
        if is_delivered && !self.retry_delivered {
            policy.retry = Some(Retry::Delays(Vec::new()));
        }
        policy
    }

    fn prepare(&self, settings: &Value, target: &Value) -> Result<Prepared, FormatError> {
        if let Some(method) = target.get("method").and_then(Value::as_str).filter(|method| !method.eq_ignore_ascii_case("POST")) {
            let reason = format!("the mailgun format is sent by POST, not by {method}");
            return Err(FormatError { field: "settings.method".to_owned(), reason });
        }
        let name = settings.get("name").and_then(Value::as_str).and_then(Name::of);
        let domain = settings.get("domain").and_then(Value::as_str).map(str::to_owned);
        Ok(Prepared::new(Webhook { name, domain }))
    }

    fn wants<'d>(&self, prepared: &Prepared, _: &str, document: &mut dyn FnMut() -> Option<&'d Value>) -> bool {
        let Some(document) = document() else { return false };
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(Cow::Borrowed);
        let domain = prepared.get::<Webhook>().and_then(|webhook| webhook.domain.as_deref());
        // The same as in `Facts::of`, which decides again when the event is written. What was rejected has no webhook.
        text("severity").is_none_or(|severity| severity != "internal")
            && !is_rejection(text)
            && domain.is_none_or(|domain| belongs_to(domain, text))
    }

    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        let event = event_data(input)?;
        let key = input.account.get(SIGNING_KEY).and_then(Value::as_str).filter(|key| !key.is_empty()).ok_or_else(|| FormatError {
            field: "signing_key".to_owned(),
            reason: "the workspace has no Mailgun signing key yet; GET /v5/accounts/http_signing_key makes one".to_owned(),
        })?;
        let timestamp = input.attempt.at_ms.div_euclid(1000).to_string();
        let token = hex(&input.attempt.nonce[..TOKEN_BYTES]);
        let signature = signature(key, &timestamp, &token);
        let mut body = String::with_capacity(event.len() + SIGNATURE_BYTES);
        for part in [
            r#"{"signature":{"timestamp":""#,
            &timestamp,
            r#"","token":""#,
            &token,
            r#"","signature":""#,
            &signature,
            r#""},"event-data":"#,
            &event,
            "}",
        ] {
            body.push_str(part);
        }
        Ok(FormatBody::new(body))
    }

    fn open(&self, _: &FormatInput<'_>, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Err(FormatError { field: "policy.batch".to_owned(), reason: "the mailgun format carries one event in a request".to_owned() })
    }

    fn headers(&self, _: &FormatInput<'_>, _: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        vec![(header::CONTENT_TYPE, crate::json::CONTENT_TYPE)]
    }
}

fn event_data(input: &FormatInput<'_>) -> Result<String, FormatError> {
    let facts = Facts::of(input.event).filter(|facts| facts.kind != Kind::Rejected).ok_or_else(|| {
        let name = input.event.type_name.as_deref().unwrap_or("none");
        FormatError { field: "event".to_owned(), reason: format!("Mailgun has no webhook for an event of type {name}") }
    })?;
    Ok(render(&facts, input.base_url))
}

/// Lower-case hexadecimal HMAC-SHA256 of timestamp and token, one behind the other.
pub(crate) fn signature(key: &str, timestamp: &str, token: &str) -> String {
    hex(&hmac_sha256(key.as_bytes(), format!("{timestamp}{token}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{event, input};
    use posthaste_domain::policy::{Verdict, classify};
    use serde_json::json;

    const MESSAGE: &str = r#"{"channel":"email","message_id":"1@d.test","recipient":"bob@x.test"}"#;

    fn webhook(name: &str) -> Prepared {
        MailgunFormat::default().prepare(&json!({ "name": name }), &json!({ "url": "http://a/" })).unwrap()
    }

    // MAILGUN-85
    #[test]
    fn the_documented_vector_holds() {
        let made = signature("key-55c5c5c5c55f55ca5cd5f55d5c555c55", "1529006854", "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0");
        assert_eq!(made, "b27078a1ce4b5ec8416040232b242b1c682ef71248cdad5a811e7867ab1498a8");
    }

    // MAILGUN-81, MAILGUN-82, MAILGUN-83, MAILGUN-84, MAILGUN-88, MAILGUN-89
    #[test]
    fn every_attempt_is_signed_anew_around_the_same_event() {
        let (event, account) = (event(1, Some("message.clicked"), MESSAGE), json!({ "signing_key": "key-1" }));
        let first = FormatInput { account: &account, ..input(&event) };
        let mut second = FormatInput { account: &account, ..input(&event) };
        (second.attempt.number, second.attempt.at_ms, second.attempt.nonce) = (2, first.attempt.at_ms + 600_000, [9; 32]);
        let [first, second] = [first, second].map(|input| MailgunFormat::default().body(&input).unwrap().body);
        let data = |body: &[u8]| body.windows(14).position(|at| at == b"\"event-data\":{").map(|at| body[at..].to_vec());
        assert_eq!(data(&first).expect("event data"), data(&second).expect("event data"));
        let signatures = [first, second].map(|body| {
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["signature", "event-data"]);
            let [timestamp, token, made] =
                ["timestamp", "token", "signature"].map(|name| body["signature"][name].as_str().unwrap().to_owned());
            assert_eq!((token.len(), made.len()), (50, 64));
            assert!(made.bytes().chain(token.bytes()).all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
            assert_eq!(made, signature("key-1", &timestamp, &token));
            (timestamp, token)
        });
        assert_eq!((signatures[0].0.as_str(), signatures[1].0.as_str()), ("1795262402", "1795263002"));
        assert_ne!(signatures[0].1, signatures[1].1);
    }

    #[test]
    fn without_a_key_or_a_place_at_mailgun_nothing_is_written() {
        let refused = |type_name, payload, account: Value| {
            let event = event(1, Some(type_name), payload);
            MailgunFormat::default().body(&FormatInput { account: &account, ..input(&event) }).unwrap_err().field
        };
        let account = || json!({ "signing_key": "key-1" });
        assert_eq!(refused("message.clicked", MESSAGE, Value::Null), "signing_key");
        assert_eq!(refused("order.created", MESSAGE, account()), "event");
        assert_eq!(refused("message.clicked", "[]", account()), "event");
        let get = json!({ "url": "http://a/", "method": "GET" });
        assert_eq!(MailgunFormat::default().prepare(&Value::Null, &get).unwrap_err().field, "settings.method");
    }

    #[test]
    fn rejections_are_not_wanted() {
        let wants = |document: Value| MailgunFormat::default().wants(&Prepared::none(), "message.failed", &mut || Some(&document));
        assert!(wants(json!({ "channel": "email" })) && wants(json!({ "channel": "sms", "domain": "d.test" })) && wants(json!({})));
        assert!(wants(json!({ "channel": "sms", "reason": "rejected" })));
        assert!(!wants(json!({ "reason": "rejected" })) && !wants(json!({ "severity": "internal" })));
    }

    // MAILGUN-12
    #[test]
    fn a_domain_gets_its_own_events_and_those_that_tell_of_none() {
        let format = MailgunFormat::default();
        let of_domain = format.prepare(&json!({ "name": "clicked", "domain": "d.test" }), &Value::Null).unwrap();
        let wants = |document: Value| format.wants(&of_domain, "message.clicked", &mut || Some(&document));
        assert!(wants(json!({ "domain": "D.test" })) && wants(json!({ "sender": "Ann <ann@d.test>" })));
        assert!(wants(json!({})) && wants(json!({ "channel": "sms", "sender": "MyApp" })));
        assert!(!wants(json!({ "domain": "e.test", "sender": "ann@d.test" })) && !wants(json!({ "sender": "ann@e.test" })));
    }

    #[test]
    fn the_policy_is_the_documented_one() {
        let policy = MailgunFormat::default().policy_for(&webhook("clicked")).resolve();
        assert_eq!(policy.timeout, Duration::from_secs(15));
        let minutes: Vec<Duration> = [10, 10, 15, 30, 60, 120, 240].map(|minutes| Duration::from_secs(60 * minutes)).to_vec();
        assert_eq!((policy.retry.clone(), policy.jitter), (Retry::Delays(minutes.clone()), Jitter::UpTo(0.0)));
        assert_eq!((classify(&policy, 200), classify(&policy, 406)), (Verdict::Success, Verdict::Stop { disable: false }));
        for status in [201, 202, 204, 301, 400, 404, 410, 500] {
            assert!(matches!(classify(&policy, status), Verdict::Retry { .. }), "{status}");
        }
        let retry = |format: MailgunFormat| format.policy_for(&webhook("delivered")).retry;
        assert_eq!(retry(MailgunFormat::default()), Some(Retry::Delays(Vec::new())));
        let switched_on = MailgunSettings { retry_delivered: true, ..MailgunSettings::default() };
        assert_eq!(retry(MailgunFormat::new(&switched_on)), Some(Retry::Delays(minutes)));
    }
}
