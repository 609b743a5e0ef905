//! Records and batches, from events as they lie in the journal.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::fixture::event;

fn format() -> MomentumFormat {
    MomentumFormat::new(&MomentumSettings::default())
}

/// The class and the content of the record of one event.
fn record(type_name: &str, payload: &'static str) -> (String, Value) {
    let mut out = Vec::new();
    assert!(record::write(&mut out, &event(7, Some(type_name), payload)), "{type_name}");
    let record: Value = serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)));
    let msys = record.as_object().filter(|record| record.len() == 1).unwrap()["msys"].as_object().unwrap();
    assert_eq!(msys.len(), 1, "one class key");
    let (class, content) = msys.iter().next().unwrap();
    (class.clone(), content.clone())
}

const BOUNCE: &str = r#"{"channel":"email","message_id":"m1","recipient":"Rec.Ipient@Example.COM","sender":"Bob \"B\" <bob@shop.example>",
    "subject":"Grüße","reason":"bounce","status_code":550,"description":"550 5.1.1 no mailbox (10.1.2.3)","attempt":3,"size":1337,
    "tags":["a","b"],"metadata":{"order": 7},"occurred_at":"2014-12-12T17:34:34.5Z","ip_pool":"blue","unknown":{"x":1}}"#;

// MOMENTUM-63, MOMENTUM-107, MOMENTUM-108
#[test]
fn a_bounce_has_every_field_in_the_vendors_form() {
    let (class, bounce) = record("message.failed", BOUNCE);
    assert_eq!(class, "message_event");
    assert_eq!(
        bounce,
        json!({
            "type": "bounce", "timestamp": "1418405674", "customer_id": "1", "event_id": event(7, None, "{}").id(), "message_id": "m1",
            "rcpt_to": "rec.ipient@example.com", "raw_rcpt_to": "Rec.Ipient@Example.COM", "rcpt_meta": {"order": 7}, "rcpt_tags": ["a", "b"],
            "error_code": "550", "reason": "550 5.1.1 no mailbox (a.b.c.d)", "raw_reason": "550 5.1.1 no mailbox (10.1.2.3)",
            "bounce_class": "10", "delv_method": "esmtp", "friendly_from": "Bob \"B\" <bob@shop.example>", "ip_pool": "blue",
            "msg_from": "bob@shop.example", "msg_size": "1337", "num_retries": "2", "routing_domain": "example.com", "subject": "Grüße"
        })
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    let (class, open) = record("message.opened", "{\"message_id\":null,\"recipient\":\"a@b\"}");
    assert_eq!(class, "track_event");
    let id = event(7, None, "{}").id();
    assert_eq!(
        open,
        json!({"type": "open", "timestamp": "1795262406", "customer_id": "1", "event_id": id, "rcpt_to": "a@b", "raw_rcpt_to": "a@b"})
    );
    // A payload that is no object says nothing.
    assert_eq!(record("open", "[1]").1.as_object().unwrap().len(), 4);
}

#[test]
fn the_vendors_own_fields_pass_through_in_their_types() {
    let (class, click) = record(
        "click",
        r#"{"type":"lie","timestamp":1460989507,"customer_id":12,"event_id":"92356927693813856","rcpt_to":"A@B.C","raw_rcpt_to":"A@B.C",
            "geo_ip":{"country":"US","latitude":1.5},"rcpt_meta":"no object","rcpt_tags":["x"],"target_link_url":"https://e.example/\u00fc",
            "user_agent":"x","ip_address":"1.2.3.4","queue_time":5,"template_version":1,"sending_ip":{"not":"a text"}}"#,
    );
    assert_eq!(class, "track_event");
    assert_eq!(
        click,
        json!({
            "type": "click", "timestamp": "1460989507", "customer_id": "12", "event_id": "92356927693813856", "rcpt_to": "a@b.c",
            "raw_rcpt_to": "A@B.C", "geo_ip": {"country": "US", "latitude": 1.5}, "rcpt_tags": ["x"], "target_link_url": "https://e.example/ü",
            "user_agent": "x", "ip_address": "1.2.3.4", "template_version": "1"
        })
    );
    let (class, adjust) = record("ad_adjust", r#"{"binding":"b","reason":"rule 10.0.0.1","start":1,"duration":60.5}"#);
    assert_eq!(class, "ad_event");
    assert_eq!((&adjust["start"], &adjust["duration"], &adjust["reason"]), (&json!("1"), &json!("60.5"), &json!("rule 10.0.0.1")));
    let (_, status) = record("sms_status", r#"{"sms_remoteids":"0001","sms_text":"lol","stat_type":"SMSC Delivery"}"#);
    assert_eq!((&status["sms_remoteids"], &status["sms_text"]), (&json!(["0001"]), &json!("lol")));
    assert!(status.get("event_id").is_none(), "{status}");
}

#[test]
fn engagement_tells_of_the_client() {
    let payload = r#"{"channel":"email","recipient":"a@b.c","url":"https://s.example/?a=1&b=\"2\"",
        "client":{"ip":"203.0.113.9","user_agent":"Mozilla","accept_language":"de","country":"DE","city":"Köln"}}"#;
    let (_, click) = record("message.clicked", payload);
    assert_eq!(click["target_link_url"], "https://s.example/?a=1&b=\"2\"");
    assert_eq!(
        (&click["ip_address"], &click["user_agent"], &click["accept_language"]),
        (&json!("203.0.113.9"), &json!("Mozilla"), &json!("de"))
    );
    assert_eq!(click["geo_ip"], json!({"country": "DE", "city": "Köln"}));
    let (class, left) = record("message.unsubscribed", payload);
    assert_eq!((class.as_str(), &left["type"], &left["user_agent"]), ("unsubscribe_event", &json!("link_unsubscribe"), &json!("Mozilla")));
    let (_, complaint) = record("message.complained", r#"{"recipient":"a@b.c"}"#);
    assert_eq!((&complaint["type"], &complaint["fbtype"]), (&json!("spam_complaint"), &json!("abuse")));
}

#[test]
fn an_sms_has_sms_fields_and_none_of_an_email() {
    let payload = r#"{"channel":"sms","message_id":"m1","recipient":"+4917012345","sender":"Shop","text":"Hi \"you\"","segments":2,"carrier_id":"77",
        "size":12}"#;
    let (_, injection) = record("message.accepted", payload);
    let expected = ["+4917012345", "Shop", "Hi \"you\""];
    assert_eq!(["sms_dst", "sms_src", "sms_text"].map(|name| injection[name].as_str().unwrap()), expected);
    assert_eq!((&injection["sms_segments"], &injection["rcpt_to"]), (&json!(2), &json!("+4917012345")));
    let (_, delivery) = record("message.delivered", payload);
    assert_eq!((&delivery["sms_remoteids"], &delivery["delv_method"]), (&json!(["77"]), &json!("smpp")));
    for name in ["friendly_from", "msg_from", "msg_size", "routing_domain", "subject"] {
        assert!(delivery.get(name).is_none(), "{name}");
    }
}

// MOMENTUM-65, MOMENTUM-66, MOMENTUM-67, MOMENTUM-68, MOMENTUM-69
#[test]
fn every_key_has_its_class_on_the_wire() {
    for (class, keys) in [
        ("message_event", "delivery injection bounce delay policy_rejection out_of_band spam_complaint sms_status"),
        ("track_event", "open click"),
        ("gen_event", "generation_failure generation_rejection"),
        ("unsubscribe_event", "list_unsubscribe link_unsubscribe"),
        ("ad_event", "ad_status ad_adjust"),
    ] {
        for key in keys.split(' ') {
            let (found, content) = record(key, "{}");
            assert_eq!((found.as_str(), content["type"].as_str().unwrap()), (class, key));
        }
    }
}

#[test]
fn a_webhook_wants_its_keys_alone() {
    let format = format();
    let prepared = format.prepare(&json!({"events": ["bounce", "list_unsubscribe", "ad_status"]}), &Value::Null).unwrap();
    let wants = |type_name: &str, data: Value| format.wants(&prepared, type_name, &mut || Some(Box::leak(Box::new(data.clone()))));
    assert!(wants("message.failed", json!({"reason": "bounce"})) && wants("message.failed", json!({})) && wants("ad_status", json!([])));
    assert!(!wants("message.failed", json!({"reason": "policy"})) && !wants("delivery", json!({})) && !wants("message.sent", json!({})));
    assert!(wants("message.unsubscribed", json!({"client": {}})));
    assert!(!wants("message.unsubscribed", json!({"client": {"ip": "1.2.3.4"}})));
    let all = format.prepare(&Value::Null, &Value::Null).unwrap();
    assert!(format.wants(&all, "click", &mut || None) && !format.wants(&all, "message.received", &mut || None));
    for bad in [json!({"events": "bounce"}), json!({"events": ["nothing"]}), json!({"events": [7]})] {
        assert_eq!(format.prepare(&bad, &Value::Null).unwrap_err().field, "events", "{bad}");
    }
}

#[test]
fn what_is_wanted_and_what_is_written_agree() {
    let payloads =
        ["{}", r#"{"reason":"policy"}"#, r#"{"reason":"out-of-band"}"#, r#"{"client":{"ip":"x"}}"#, r#"{"client":{}}"#, r#"{"url":"x"}"#];
    for type_name in ["message.failed", "message.unsubscribed", "message.accepted"] {
        for payload in payloads {
            let document: Value = serde_json::from_str(payload).unwrap();
            let key = record(type_name, payload).1["type"].clone();
            let prepared = format().prepare(&json!({"events": [key]}), &Value::Null).unwrap();
            assert!(format().wants(&prepared, type_name, &mut || Some(&document)), "{type_name} {payload} {key}");
        }
    }
}

// MOMENTUM-61, MOMENTUM-62
#[test]
fn a_batch_is_an_array_of_records() {
    let events: Vec<Arc<Event>> = [("bounce", "{}"), ("message.opened", "{}"), ("order.paid", "{}")]
        .into_iter()
        .enumerate()
        .map(|(i, (name, payload))| event(i as i64 + 1, Some(name), payload))
        .collect();
    let input = FormatInput { is_batch: true, delivery_id: "dlv_1", ..FormatInput::of(&events[0]) };
    let mut body = Vec::new();
    format().open(&input, &mut body).unwrap();
    events.iter().enumerate().for_each(|(index, event)| format().member(&input, event, index, &mut body));
    format().close(&input, &mut body);
    let records: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let classes: Vec<Vec<&str>> =
        records.iter().map(|record| record["msys"].as_object().unwrap().keys().map(String::as_str).collect()).collect();
    assert_eq!(classes, [vec!["message_event"], vec!["track_event"], vec![]]);
    let single = format().body(&FormatInput { is_batch: false, ..input }).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&single.body).unwrap(), json!([records[0]]));
}

// MOMENTUM-71, MOMENTUM-72, MOMENTUM-73: the header's part of it.
#[test]
fn the_batch_id_belongs_to_the_delivery_and_not_to_the_attempt() {
    let event = event(1, Some("bounce"), "{}");
    let id = |delivery_id: &'static str, number: u32| {
        let mut input = FormatInput { delivery_id, ..FormatInput::of(&event) };
        input.attempt.number = number;
        let headers = format().headers(&input, &FormatBody::default());
        assert_eq!(headers[0], (header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        assert_eq!(headers[1].0.as_str(), "x-messagesystems-batch-id");
        headers[1].1.to_str().unwrap().to_owned()
    };
    assert_eq!(id("dlv_1", 1), id("dlv_1", 9));
    assert_ne!(id("dlv_1", 1), id("dlv_2", 1));
    assert_eq!(id("dlv_1", 1).split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
}

// MOMENTUM-60, MOMENTUM-85, MOMENTUM-86, MOMENTUM-87: the numbers; the engine keeps them.
#[test]
fn the_policy_is_the_documented_one() {
    let policy = format().default_policy().resolve();
    assert_eq!(policy.batch, Some(Batch { events: 10_000, bytes: 32 << 20, wait: Duration::from_secs(30) }));
    assert_eq!(
        (policy.timeout, policy.success.as_slice(), policy.stop.as_slice()),
        (Duration::from_secs(6), &[StatusMatch::Class(2)][..], &[][..])
    );
    let Retry::Exponential(retry) = policy.retry else { panic!("a window") };
    assert_eq!((retry.first, retry.window), (Duration::from_secs(30), Duration::from_secs(4 * 3600)));
    assert_eq!(
        Policy::from_json(&serde_json::to_value(format().default_policy()).unwrap()).unwrap(),
        format().default_policy(),
        "within bounds"
    );
}

mod properties {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::super::{events, fields, record};
    use crate::fixture;

    /// Names that mean something, and some that do not.
    fn names() -> impl Strategy<Value = String> {
        let ours = [
            "attempt",
            "carrier_id",
            "channel",
            "client",
            "description",
            "metadata",
            "occurred_at",
            "recipient",
            "segments",
            "sender",
            "size",
            "status_code",
            "tags",
            "text",
            "transport",
            "url",
            "é\"\\",
        ];
        let known = fields::FIELDS.iter().map(|field| field.name).chain(ours).map(str::to_owned).collect::<Vec<_>>();
        proptest::sample::select(known)
    }

    /// JSON as people may spell it.
    fn values() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            "[ -~é]{0,20}".prop_map(|text| Value::from(text).to_string()),
            proptest::sample::select(vec![
                "null",
                "true",
                "1.5e3",
                "-0",
                "12",
                "\"\\u00e9 \\\"A@B.C\\\"\"",
                "\"sms\"",
                "\"email\"",
                "\"10.0.0.1\""
            ])
            .prop_map(str::to_owned),
        ];
        let nested = scalar.clone().prop_map(|inner| format!("{{ \"ip\": {inner}, \"city\":{inner}}}"));
        let list = scalar.clone().prop_map(|inner| format!("[{inner} , {{\"a\":{inner}}}]"));
        prop_oneof![4 => scalar, 1 => nested, 1 => list]
    }

    proptest! {
        /// Whatever the data, a record is one JSON object with one class, and its fields are those of the event, each in its type.
        #[test]
        fn every_record_is_well_formed(
            type_name in proptest::sample::select(vec![
                "message.accepted", "message.delivered", "message.deferred", "message.failed", "message.opened", "message.clicked",
                "message.unsubscribed", "message.complained", "injection", "sms_status", "generation_rejection", "ad_adjust", "click",
            ]),
            data in proptest::collection::vec((names(), values()), 0..20),
        ) {
            let members: Vec<String> = data.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
            let payload: &'static str = Box::leak(format!("{{{}}}", members.join(",")).into_boxed_str());
            let mut out = Vec::new();
            prop_assert!(record::write(&mut out, &fixture::event(1, Some(type_name), payload)));
            let text = String::from_utf8(out).expect("UTF-8");
            let parsed: Value = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            let msys = parsed["msys"].as_object().expect("an object");
            prop_assert_eq!((parsed.as_object().map(serde_json::Map::len), msys.len()), (Some(1), 1));
            let (class, content) = msys.iter().next().expect("one class");
            let key = content["type"].as_str().expect("a type");
            let event = events::EVENTS.iter().find(|event| event.key == key).expect("a key");
            prop_assert_eq!(class, event.class);
            let content = content.as_object().expect("an object");
            prop_assert!(text.matches("\":").count() >= content.len(), "no field twice");
            for (name, value) in content {
                prop_assert!(event.field_names().any(|field| field == name), "{} has no {}", key, name);
                let fits = match fields::FIELDS[fields::index(name).expect("a field")].kind {
                    fields::Kind::Text => value.is_string(),
                    fields::Kind::Lower => value.as_str().is_some_and(|text| text == text.to_lowercase()),
                    fields::Kind::Integer => value.is_i64(),
                    fields::Kind::Object => value.is_object(),
                    fields::Kind::Array => value.is_array(),
                };
                prop_assert!(fits, "{}: {}", name, value);
            }
        }
    }
}
