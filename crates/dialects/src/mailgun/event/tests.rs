use super::*;
use crate::fixture;
use posthaste_domain::message;
use serde_json::json;

/// The object of an event, and that it is JSON at all.
fn shown(type_name: &str, payload: Value) -> Option<Value> {
    let text: &'static str = Box::leak(payload.to_string().into_boxed_str());
    let event = fixture::event(7, Some(type_name), text);
    let made = render(&Facts::of(&event)?, "https://posthaste.test");
    Some(serde_json::from_str(&made).unwrap_or_else(|error| panic!("{error}: {made}")))
}

fn message(type_name: &str, mut more: Value) -> Value {
    let mut payload = json!({"channel": "email", "message_id": "<1.2@d.test>", "recipient": "Bob@X.test"});
    payload.as_object_mut().expect("an object").append(more.as_object_mut().expect("an object"));
    shown(type_name, payload).expect("an event of Mailgun's")
}

// MAILGUN-117, MAILGUN-129: no other names, and every type is shown though nothing but the least is known.
#[test]
fn the_least_is_enough_for_every_type() {
    let mut words = std::collections::BTreeSet::new();
    for type_name in TYPES {
        let event = message(type_name, json!({}));
        let (id, at) = (event["id"].as_str().expect("an id"), &event["timestamp"]);
        assert!(id.len() == 22 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{id}");
        assert_eq!(at.as_f64(), Some(1_795_262_406.123), "{type_name}");
        assert!(["info", "warn", "error"].contains(&event["log-level"].as_str().expect("a level")));
        words.insert(event["event"].as_str().expect("a name").to_owned());
        if !event["event"].as_str().expect("a name").starts_with("list_") {
            assert_eq!((&event["tags"], &event["campaigns"], &event["user-variables"]), (&json!([]), &json!([]), &json!({})));
            assert_eq!(event["message"]["headers"]["message-id"], "1.2@d.test", "without brackets");
        }
    }
    let expected = [
        "accepted",
        "clicked",
        "complained",
        "delivered",
        "failed",
        "list_member_upload_error",
        "list_member_uploaded",
        "list_uploaded",
        "opened",
        "rejected",
        "stored",
        "unsubscribed",
    ];
    assert_eq!(words.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn what_has_no_place_at_mailgun_is_not_shown() {
    for (type_name, payload) in [
        (message::SENT, json!({"channel": "email"})),
        ("order.created", json!({})),
        ("delivered", json!({"channel": "email"})),
        (message::DELIVERED, json!({"channel": "email", "severity": "internal"})),
        (message::DELIVERED, json!([])),
    ] {
        assert_eq!(shown(type_name, payload.clone()), None, "{type_name} {payload}");
    }
    assert!(shown(message::DELIVERED, json!({"channel": "sms", "message_id": "1"})).is_some());
}

// MAILGUN-119
#[test]
fn an_accepted_event_tells_all_of_the_message() {
    let event = message(
        message::ACCEPTED,
        json!({
            "domain": "d.test", "sender": "ann@d.test", "from": "Ann \"A\" <ann@d.test>", "to": "bob@x.test", "subject": "Hi\n", "size": 42,
            "tags": ["a", "b"], "metadata": {"k": "1", "j": "{\"x\":1}"}, "recipients": ["bob@x.test", "cy@y.test"], "test": true,
            "attachments": [{"filename": "a.txt", "content_type": "text/plain", "size": 5}], "storage_key": "k-1",
            "scheduled_for": "2026-11-22T00:00:00Z", "transport": "smtp"
        }),
    );
    let expected = json!({
        "event": "accepted", "id": event["id"], "timestamp": 1_795_262_406.123, "log-level": "info",
        "account": {"id": "000000000000000000000001"}, "domain": {"name": "d.test"},
        "recipient": "Bob@X.test", "recipient-domain": "x.test", "method": "smtp", "tags": ["a", "b"], "campaigns": [],
        "user-variables": {"k": "1", "j": "{\"x\":1}"},
        "message": {
            "headers": {"to": "bob@x.test", "message-id": "1.2@d.test", "from": "Ann \"A\" <ann@d.test>", "subject": "Hi\n"},
            "attachments": [{"filename": "a.txt", "content-type": "text/plain", "size": 5}], "size": 42,
            "recipients": ["bob@x.test", "cy@y.test"], "scheduled-for": "2026-11-22T00:00:00Z"
        },
        "envelope": {"sender": "ann@d.test", "transport": "smtp", "targets": "Bob@X.test"},
        "flags": {"is-authenticated": true, "is-routed": false, "is-system-test": false, "is-test-mode": true},
        "storage": {"url": "https://posthaste.test/v3/domains/d.test/messages/k-1", "key": "k-1", "region": "local", "env": "production"}
    });
    assert_eq!(event, expected);
}

#[test]
fn failures_are_told_by_their_reason() {
    let status = |event: &Value| event["delivery-status"].clone();
    let delivered = message(message::DELIVERED, json!({}));
    assert_eq!((&status(&delivered)["code"], &status(&delivered)["message"]), (&json!(250), &json!("OK")));

    let bounced =
        message(message::FAILED, json!({"reason": "bounce", "status_code": 550, "description": "No user", "error_code": "5.1.1"}));
    assert_eq!((&bounced["severity"], &bounced["reason"], &bounced["log-level"]), (&json!("permanent"), &json!("bounce"), &json!("error")));
    let expected = json!({
        "code": 550, "message": "No user", "description": "", "attempt-no": 1, "session-seconds": 0.0, "enhanced-code": "5.1.1"
    });
    assert_eq!(status(&bounced), expected);
    assert_eq!(bounced["flags"]["is-delayed-bounce"], false);

    let suppressed = message(message::FAILED, json!({"reason": "suppress-bounce"}));
    assert_eq!(
        (&status(&suppressed)["code"], &status(&suppressed)["description"], &suppressed["reason"]),
        (&json!(605), &json!("Not delivering to previously bounced address"), &json!("suppress-bounce"))
    );
    assert_eq!(status(&message(message::FAILED, json!({"reason": "expired"})))["description"], "Too old");

    let late = message(message::FAILED, json!({"reason": "out_of_band"}));
    assert_eq!((&late["flags"]["is-delayed-bounce"], &late["envelope"], &late["reason"]), (&json!(true), &json!({}), &json!("bounce")));
    assert!(status(&late).get("attempt-no").is_none());

    let deferred = message(message::DEFERRED, json!({"reason": "mailbox is full", "attempt": 2, "retry_seconds": 900}));
    assert_eq!(
        (&deferred["severity"], &deferred["reason"], &deferred["log-level"]),
        (&json!("temporary"), &json!("generic"), &json!("warn"))
    );
    let (told, next) = (&status(&deferred)["message"], &status(&deferred)["retry-seconds"]);
    assert_eq!((told, next, &status(&deferred)["attempt-no"]), (&json!("mailbox is full"), &json!(900), &json!(2)));
    assert_eq!(status(&message(message::DEFERRED, json!({})))["retry-seconds"], 600);

    let rejected = message(message::FAILED, json!({"reason": "rejected", "description": "Sandbox"}));
    assert_eq!((&rejected["event"], &rejected["reject"]["description"]), (&json!("rejected"), &json!("Sandbox")));
    assert!(rejected.get("recipient").is_none());
}

#[test]
fn people_are_told_by_address_place_and_program() {
    let client = json!({"ip": "192.0.2.1", "user_agent": "curl/8", "city": "Bern"});
    let clicked = message(message::CLICKED, json!({"client": client, "url": "https://a.test/?q=\"1\"", "subject": "s"}));
    assert_eq!((&clicked["ip"], &clicked["url"]), (&json!("192.0.2.1"), &json!("https://a.test/?q=\"1\"")));
    assert_eq!(clicked["geolocation"], json!({"country": "Unknown", "region": "Unknown", "city": "Bern"}));
    let program = json!({
        "client-type": "library", "client-os": "unknown", "device-type": "unknown", "client-name": "curl", "user-agent": "curl/8", "bot": ""
    });
    assert_eq!(clicked["client-info"], program);
    assert!(clicked.get("flags").is_none() && clicked["message"].get("size").is_none());
    assert!(message(message::UNSUBSCRIBED, json!({}))["client-info"].get("bot").is_none());
}

#[test]
fn the_vendors_own_fields_from_outside_are_handed_on() {
    let given = json!({
        "geolocation": {"country": "CH"}, "client-info": {"bot": "apple"}, "user-variables": {"n": 1}, "ip": "192.0.2.9",
        "mailing-list": {"address": "l@d.test"}, "template": {"name": "t"}, "recipient-domain": "y.test", "occurred_at": "2026-11-21T11:00:00.000001Z",
        "message": {"headers": {"subject": "own"}}, "flags": "no object"
    });
    let event = message(message::OPENED, given);
    assert_eq!((&event["geolocation"], &event["client-info"]), (&json!({"country": "CH"}), &json!({"bot": "apple"})));
    assert_eq!(
        (&event["user-variables"], &event["ip"], &event["recipient-domain"]),
        (&json!({"n": 1}), &json!("192.0.2.9"), &json!("y.test"))
    );
    assert_eq!((&event["mailing-list"]["address"], &event["template"]["name"]), (&json!("l@d.test"), &json!("t")));
    assert_eq!(event["message"]["headers"], json!({"to": "Bob@X.test", "message-id": "1.2@d.test", "subject": "own"}));
    assert_eq!(event["timestamp"].to_string(), "1795258800.000001");
    let uploaded = shown("list_member_uploaded", json!({"member": {"address": "a@b"}, "task-id": "7", "other": 1})).expect("a list event");
    assert_eq!((&uploaded["member"]["address"], &uploaded["task-id"], uploaded.get("other")), (&json!("a@b"), &json!("7"), None));
}

// MAILGUN-118
#[test]
fn too_many_variables_are_told_as_text() {
    let event = message(message::DELIVERED, json!({"metadata": {"k": "x".repeat(4097)}}));
    assert_eq!(event["user-variables"], "Could not load user-variables. They were either truncated or invalid JSON");
    assert_eq!(message(message::DELIVERED, json!({"metadata": "text"}))["user-variables"], json!({}));
}

// MAILGUN-114
#[test]
fn ids_are_unique_and_stay() {
    let id = |sequence| event_id(&fixture::event(sequence, None, "{}"));
    let all: std::collections::HashSet<String> = (1..1000).map(id).collect();
    assert_eq!((all.len(), id(1)), (999, id(1)));
}

// What happened cannot lie after its report.
#[test]
fn times_from_the_future_are_the_time_of_receipt() {
    let event = message(message::OPENED, json!({"occurred_at": "2050-01-01T00:00:00Z"}));
    assert_eq!(event["timestamp"], 1_795_262_406.123);
    assert_eq!(message(message::OPENED, json!({"occurred_at": "yesterday"}))["timestamp"], 1_795_262_406.123);
}
