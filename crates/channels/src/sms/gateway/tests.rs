use serde_json::json;

use super::*;
use crate::{NewsKind, ReceiptState};

fn twilio() -> Value {
    json!({
        "url": "https://gateway.example/Accounts/AC1/Messages.json",
        "headers": {"authorization": "Basic QUM6c2VjcmV0"},
        "body": "To={{ to|urlencode }}&From={{ from|urlencode }}&Body={{ text|urlencode }}",
        "id": "/sid",
        "error": "/message",
        "callback": {
            "token": "0123456789abcdef",
            "receipt": {"id": "MessageSid", "status": "MessageStatus", "code": "ErrorCode", "states": {"canceled": "failed"}},
            "inbound": {"from": "From", "to": "To", "text": "Body"},
        },
    })
}

fn sms(text: &str) -> Sms {
    Sms { message_id: "msg_7".into(), from: "Shop".into(), to: "+15551230001".into(), text: text.into(), test: false }
}

#[test]
fn requests_are_made_from_templates() {
    let (settings, _) = parse("sms.carrier", &twilio()).expect("a gateway");
    let made = settings.render(&sms("a&b = ü")).expect("a request");
    assert_eq!(made.url.host(), Some("gateway.example"));
    assert_eq!(made.body, "To=%2B15551230001&From=Shop&Body=a%26b%20%3D%20%C3%BC");
    assert_eq!(settings.content_type.expect("guessed"), "application/x-www-form-urlencoded");
    let json = json!({"url": "https://g.example/{{ message_id }}", "body": r#"{"to": {{ to[1:]|tojson }}, "text": {{ text|tojson }}}"#, "method": "put"});
    let (settings, rules) = parse("sms.carrier", &json).expect("a gateway");
    assert!(rules.is_none());
    let made = settings.render(&sms("\"quoted\"\n")).expect("a request");
    assert_eq!((made.url.path(), settings.method.as_str()), ("/msg_7", "PUT"));
    let body: Value = serde_json::from_str(&made.body).expect("JSON");
    assert_eq!(body, json!({"to": "15551230001", "text": "\"quoted\"\n"}));
    assert_eq!(settings.content_type.expect("guessed"), "application/json");
}

#[test]
fn what_cannot_be_meant_is_refused_by_field() {
    for (field, change) in [
        ("url", json!({"url": "ftp://x"})),
        ("url", json!({"url": "https://x/{{ to "})),
        ("body", json!({"body": "{% if %}"})),
        ("", json!({"body": "{{ recipient }}"})),
        ("body", json!({"method": "GET"})),
        ("method", json!({"method": "DELETE"})),
        ("success", json!({"success": [99]})),
        ("success", json!({"success": []})),
        ("id", json!({"id": "sid"})),
        ("headers.a b", json!({"headers": {"a b": "c"}})),
        ("headers.x", json!({"headers": {"x": "c\n"}})),
        ("callback.token", json!({"callback": {"token": "short", "inbound": {"from": "a", "to": "b", "text": "c"}}})),
        ("callback", json!({"callback": {"token": "0123456789abcdef"}})),
        ("callback.inbound.text", json!({"callback": {"token": "0123456789abcdef", "inbound": {"from": "a", "to": "b"}}})),
        (
            "callback.receipt.states.x",
            json!({"callback": {"token": "0123456789abcdef", "receipt": {"id": "a", "status": "b", "states": {"x": "gone"}}}}),
        ),
        (
            "callback.list",
            json!({"callback": {"token": "0123456789abcdef", "list": "a", "inbound": {"from": "a", "to": "b", "text": "c"}}}),
        ),
        ("bodi", json!({"bodi": ""})),
    ] {
        let mut description = twilio();
        for (name, value) in change.as_object().expect("a change") {
            description[name] = value.clone();
        }
        let error = parse("sms.carrier", &description).err().unwrap_or_else(|| panic!("{change} must be refused"));
        let place = if field.is_empty() { "sms.carrier".to_owned() } else { format!("sms.carrier.{field}") };
        let right = error.field == place || (field == "url" && error.field == "sms.carrier");
        assert!(right, "{change}: {error}");
        assert!(!error.to_string().contains("QUM6"), "{error}");
    }
}

fn receipt(id: &str, state: ReceiptState, code: Option<&str>) -> NewsKind {
    NewsKind::Receipt { carrier_id: id.into(), state, code: code.map(str::to_owned), text: None }
}

fn received(from: &str, to: &str, text: &str) -> NewsKind {
    NewsKind::Received { from: from.into(), to: to.into(), text: text.into() }
}

const FORM: Option<&str> = Some("application/x-www-form-urlencoded; charset=utf-8");
const JSON: Option<&str> = Some("application/json");

#[test]
fn forms_are_read() {
    let rules = parse("sms.carrier", &twilio()).expect("a gateway").1.expect("rules");
    assert!(rules.token_is("0123456789abcdef") && !rules.token_is("0123456789abcdeg") && !rules.token_is(""));
    let read = |body: &str| rules.read(FORM, None, body.as_bytes());
    assert_eq!(read("MessageSid=SM1&MessageStatus=delivered"), Ok(vec![receipt("SM1", ReceiptState::Delivered, None)]));
    let failed = receipt("SM1", ReceiptState::Failed, Some("30003"));
    assert_eq!(read("MessageSid=SM1&MessageStatus=Undelivered&ErrorCode=30003"), Ok(vec![failed]));
    assert_eq!(read("MessageSid=SM1&MessageStatus=canceled"), Ok(vec![receipt("SM1", ReceiptState::Failed, None)]));
    assert_eq!(read("MessageSid=SM1&MessageStatus=sideways"), Ok(vec![]), "a word that nobody knows tells nothing");
    let inbound = "MessageSid=SM2&MessageStatus=received&From=%2B15551230001&To=%2B15550000&Body=Hi+there";
    assert_eq!(read(inbound), Ok(vec![received("+15551230001", "+15550000", "Hi there")]));
    // Providers write numbers in many ways; a plus that was not encoded is a space.
    for from in ["15551230001", "0015551230001", "+15551230001", "%2B1+(555)+123-0001", "1.555.123.0001"] {
        let stop = read(&format!("From={from}&To=15550000000&Body=STOP"));
        assert_eq!(stop, Ok(vec![received("+15551230001", "+15550000000", "STOP")]), "{from}");
    }
    assert_eq!(read("From=My+Shop&To=12345&Body=Hi"), Ok(vec![received("My Shop", "12345", "Hi")]));
    assert_eq!(read("a=b"), Err(CallbackError::NothingFound));
    assert_eq!(rules.read(FORM, None, &[0xFF]), Err(CallbackError::Unreadable));
    // Everything in the query, as some gateways do.
    assert_eq!(rules.read(None, Some("MessageSid=SM1&MessageStatus=sent"), b""), Ok(vec![receipt("SM1", ReceiptState::Enroute, None)]));
}

#[test]
fn documents_are_read_alone_and_in_lists() {
    let description = json!({
        "url": "https://g.example/",
        "callback": {
            "token": "0123456789abcdef",
            "list": "/results",
            "receipt": {"id": "/messageId", "status": "/status/groupName", "text": "/status/description"},
            "inbound": {"from": "from", "to": "to", "text": "text"},
        },
    });
    let rules = parse("sms.carrier", &description).expect("a gateway").1.expect("rules");
    let body = json!({"results": [
        {"messageId": 17, "status": {"groupName": "DELIVERED", "description": "done"}},
        {"from": 15551230001_u64, "to": 12345, "text": "STOP"},
        {"other": true},
    ]});
    let delivered = NewsKind::Receipt { carrier_id: "17".into(), state: ReceiptState::Delivered, code: None, text: Some("done".into()) };
    assert_eq!(rules.read(JSON, None, body.to_string().as_bytes()), Ok(vec![delivered.clone(), received("+15551230001", "12345", "STOP")]));
    assert_eq!(
        rules.read(None, None, body["results"].to_string().as_bytes()).map(|news| news.len()),
        Ok(2),
        "a list itself, no type given"
    );
    assert_eq!(rules.read(JSON, None, body["results"][0].to_string().as_bytes()), Ok(vec![delivered]));
    assert_eq!(rules.read(JSON, None, b"{}"), Err(CallbackError::NothingFound));
    assert_eq!(rules.read(JSON, None, b"{\"results\":[]}"), Ok(vec![]));
    assert_eq!(rules.read(JSON, None, b"{"), Err(CallbackError::Unreadable));
    let many = format!("[{}{{}}]", "{},".repeat(1000));
    assert_eq!(rules.read(JSON, None, many.as_bytes()), Err(CallbackError::TooMany));
}
