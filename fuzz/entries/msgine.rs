//! Bytes as a request to MsGine's API and as an event for its webhooks: `1`, `2` or `e` for the endpoint, the body, the event's data, parted
//! by 0xFF, which UTF-8 never has.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_dialects::msgine::input::{self, Generation};
use posthaste_dialects::msgine::{MsgineFormat, MsgineSettings};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::Sequence;
use posthaste_engine::{Format, FormatInput};
use serde_json::{Value, json};

const NOW_MS: i64 = 1_795_262_400_000;

/// What is taken is sendable, and what is told of any event is compact JSON.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == 0xFF);
    let mut part = || parts.next().unwrap_or_default();
    let (endpoint, body, event) = (part(), part(), part());
    let settings = MsgineSettings::default();
    match endpoint {
        b"1" => sms(body, Generation::One, &settings),
        b"2" => sms(body, Generation::Two, &settings),
        _ => email(body, &settings),
    }
    for type_name in ["message.sent", "message.delivered", "message.failed", "posthaste.test"] {
        webhook(type_name, event, &settings);
    }
}

fn sms(body: &[u8], generation: Generation, settings: &MsgineSettings) {
    let Ok(sms) = input::sms(body, generation, settings, NOW_MS) else { return };
    assert!((1..=settings.max_recipients).contains(&sms.to.len()));
    for number in &sms.to {
        let digits = number.strip_prefix('+').expect("E.164 begins with a plus sign");
        assert!((7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    }
    assert!(!sms.message.trim().is_empty() && sms.message.chars().count() <= generation.max_characters());
    assert!(sms.from.is_none_or(|from| from.bytes().all(|byte| byte.is_ascii_alphanumeric()) && (1..=11).contains(&from.len())));
    if let Some(url) = &sms.callback_url {
        assert!(input::origin(url).is_some_and(|origin| origin.starts_with("https://")));
    }
    assert!(sms.options.deliver_at_ms.is_none_or(|at_ms| at_ms > NOW_MS));
    assert!(generation == Generation::Two || sms.options == input::Options::default());
}

fn email(body: &[u8], settings: &MsgineSettings) {
    let Ok(mail) = input::email(body, settings, NOW_MS) else { return };
    let addresses = || mail.to.1.iter().chain(&mail.cc.1).chain(&mail.bcc).chain([&mail.from.1]);
    assert!(!mail.to.1.is_empty() && addresses().all(|address| address.contains('@') && !address.contains(char::is_whitespace)));
    // Nothing of it can begin another header.
    assert!([&mail.from.0, &mail.to.0, &mail.cc.0, &mail.subject].iter().all(|text| !text.contains(char::is_control)));
    assert!(mail.text.is_some() || mail.html.is_some());
}

fn webhook(type_name: &str, payload: &[u8], settings: &MsgineSettings) {
    let source = Arc::new(Source { via: "api".to_owned(), key: None, ip: None });
    let payload = Bytes::copy_from_slice(payload);
    let event = Event { sequence: Sequence(1), workspace: 1, type_name: Some(type_name.into()), payload, source, received_ms: NOW_MS };
    let (event, account) = (Arc::new(event), json!({ "webhook_secret": "whsec_test" }));
    let Ok(made) = MsgineFormat::new(settings).body(&FormatInput { account: &account, ..FormatInput::of(&event) }) else { return };
    let value: Value = serde_json::from_slice(&made.body).expect("a body is JSON");
    assert_eq!(serde_json::to_vec(&value).expect("serialises"), made.body);
    assert_eq!((value["status"] == "failed", made.url), (value.get("failureReason").is_some(), None));
}
