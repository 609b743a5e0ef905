use bytes::Bytes;
use posthaste_domain::signature::SigningSecret;
use proptest::prelude::*;

use super::*;
use posthaste_engine::Try;

use crate::fixture::{DELIVERY_ID, RECEIVED_MS, batch, event, input};

fn text(body: &Bytes) -> &str {
    std::str::from_utf8(body).unwrap()
}

fn standard(input: &FormatInput<'_>) -> Bytes {
    StandardFormat.body(input).unwrap().body
}

// STDWH-43, STDWH-45
#[test]
fn the_body_wraps_the_payload_verbatim() {
    let event = event(1, Some("order.paid"), "{ \"n\": 1.0,\n\"big\":12345678901234567890123 }");
    insta::assert_snapshot!(text(&standard(&input(&event))), @r#"
    {"type":"order.paid","timestamp":"2026-11-21T12:00:00.123Z","data":{ "n": 1.0,
    "big":12345678901234567890123 }}
    "#);
}

#[test]
fn a_batch_names_each_event() {
    let events = [event(1, Some("Daily Backup"), "{\"n\":1}"), event(2, None, "[2]")];
    let body = batch(&StandardFormat, &events);
    let [first, second] = [events[0].id(), events[1].id()];
    let expected = format!(
        concat!(
            r#"{{"type":"batch","timestamp":"2026-11-21T12:00:00.123Z","data":["#,
            r#"{{"id":"{}","type":"Daily_Backup","timestamp":"2026-11-21T12:00:00.123Z","data":{{"n":1}}}},"#,
            r#"{{"id":"{}","type":"unmatched","timestamp":"2026-11-21T12:00:01.123Z","data":[2]}}]}}"#
        ),
        first, second
    );
    assert_eq!(body, expected);
    // A batch of one keeps the shape of a batch.
    let one = batch(&StandardFormat, &events[..1]);
    assert!(one.starts_with(r#"{"type":"batch""#));
}

// STDWH-46: one allocation, nothing but the payload's own white space.
#[test]
fn the_capacity_is_enough() {
    let name = "a".repeat(255);
    for event in [event(1, Some(&name), "{}"), event(2, None, "{}")] {
        assert!(standard(&input(&event)).len() <= ENVELOPE_BYTES + type_bytes(&event) + event.payload.len());
    }
}

// STDWH-47
#[test]
fn raw_is_the_payload_alone() {
    let events = [event(1, Some("order"), "{ \"n\": 1 }\n"), event(2, None, "2")];
    assert_eq!(text(&RawFormat.body(&input(&events[0])).unwrap().body), "{ \"n\": 1 }\n");
    assert_eq!(batch(&RawFormat, &events), "[{ \"n\": 1 }\n,2]");
}

// STDWH-1, STDWH-2, STDWH-3, STDWH-7, STDWH-17, STDWH-19
#[test]
fn the_three_headers_and_the_type() {
    let secrets = [
        SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        SigningSecret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap(),
    ];
    for format in [&StandardFormat as &dyn Format, &RawFormat] {
        let event = event(1, None, "{}");
        let headers = format.headers(&FormatInput { signing: &secrets, ..input(&event) }, &FormatBody::new("{}"));
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"]);
        assert_eq!(headers[0].1, "application/json");
        assert_eq!(headers[1].1, DELIVERY_ID);
        assert_eq!(headers[2].1, ((RECEIVED_MS + 2_500) / 1000).to_string());
        let signatures: Vec<_> = headers[3].1.to_str().unwrap().split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert!(signatures.iter().all(|entry| entry.strip_prefix("v1,").is_some_and(|base64| base64.len() == 44)));
    }
}

// STDWH-9: vector 1 through the format.
#[test]
fn a_vector_of_the_specification_holds() {
    let secrets = [SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()];
    let event = event(1, None, "{}");
    let attempt = Try { number: 1, at_ms: 1_614_265_330_999, nonce: [0; 32] };
    let input = FormatInput { delivery_id: "msg_p5jXN8AQM9LWM0D4loKWxJek", attempt, signing: &secrets, ..input(&event) };
    let headers = RawFormat.headers(&input, &FormatBody::new(r#"{"test": 2432232314}"#));
    assert_eq!(headers[3].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn without_a_secret_nothing_is_signed() {
    assert_eq!(StandardFormat.headers(&input(&event(1, None, "{}")), &FormatBody::new("{}")).len(), 3);
}

// STDWH-44
#[test]
fn type_names_conform() {
    for (name, expected) in [
        ("order.paid", "order.paid"),
        ("A_1", "A_1"),
        ("Daily Database Backup", "Daily_Database_Backup"),
        ("order..paid", "order_paid"),
        (".order.", "_order_"),
        ("a. b", "a_b"),
        ("größe!?", "gr_e_"),
        ("...", "_"),
        ("", "_"),
    ] {
        assert_eq!(conforming(name), expected, "{name}");
    }
}

fn is_conforming(name: &str) -> bool {
    name.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

proptest! {
    // STDWH-44
    #[test]
    fn any_name_is_made_to_conform(name in "[a-c._ -\u{e9}]{0,8}|\\PC{0,8}") {
        let made = conforming(&name);
        prop_assert!(is_conforming(&made), "{name:?} became {made:?}");
        prop_assert_eq!(is_conforming(&name), matches!(made, Cow::Borrowed(_)));
        prop_assert!(made.len() <= name.len().max(1));
    }
}
