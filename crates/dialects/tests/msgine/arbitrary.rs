//! Requests and events that no client sends: the entry point of the fuzzer, driven with pieces of what they are made of.

#[path = "../../../../fuzz/entries/msgine.rs"]
mod entry;

use proptest::prelude::*;

const FIELDS: &[&str] = &[
    "\"to\"",
    "\"message\"",
    "\"from\"",
    "\"callbackUrl\"",
    "\"scheduledFor\"",
    "\"idempotencyKey\"",
    "\"cc\"",
    "\"bcc\"",
    "\"subject\"",
    "\"text\"",
    "\"html\"",
    "\"message_id\"",
    "\"recipient\"",
    "\"sender\"",
    "\"sid\"",
    "\"reason\"",
    "\"description\"",
    "\"error_code\"",
    "\"occurred_at\"",
    "\"event\"",
    "\"callback_url\"",
];
const VALUES: &[&str] = &[
    "\"+256701521269\"",
    "\"+256701521269,+256701234567\"",
    "[\"+256701521269\"]",
    "\"0701521269\"",
    "\"MyApp\"",
    "\"My App\"",
    "\"https://a.example/\"",
    "\"http://a.example/\"",
    "\"https://u@a/\"",
    "\"2026-12-01T00:00:00Z\"",
    "\"2020-01-01\"",
    "\"a@b.example\"",
    "\"A <a@b.example>, c@d.example\"",
    "\"a@b\\r\\nBcc: x@y\"",
    "\"message.failed\"",
    "\"\\u00e9\\/\\ud83d\\ude80\"",
    "\"\\ud800\"",
    "\"\"",
    "null",
    "1",
    "-0.0",
    "1e400",
    "[]",
    "{}",
    "true",
    "\" \"",
    "\"\\u0000\"",
];

/// An object of known fields with odd values, now and then broken.
fn object() -> impl Strategy<Value = Vec<u8>> {
    let field = (prop::sample::select(FIELDS), prop::sample::select(VALUES)).prop_map(|(name, value)| format!("{name}:{value}"));
    let stray = prop::collection::vec(any::<u8>(), 0..4);
    (prop::collection::vec(field, 0..8), prop_oneof![8 => Just(Vec::new()), 1 => stray])
        .prop_map(|(fields, stray)| [b"{", fields.join(",").as_bytes(), &stray, b"}"].concat())
}

/// A good send with one field replaced, so that most of the checks are reached.
fn nearly_good() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(FIELDS), prop::sample::select(VALUES)).prop_map(|(name, value)| {
        let good = r#"{"to":"+256701521269","message":"x","subject":"s","text":"t","#;
        format!("{good}{name}:{value}}}").into_bytes()
    })
}

proptest! {
    #[test]
    fn any_request_and_event_keep_their_promises(
        endpoint in prop::sample::select(&["1", "2", "e"][..]),
        body in prop_oneof![object(), nearly_good()],
        event in object(),
    ) {
        entry::check(&[endpoint.as_bytes(), &body, &event].join(&b"\xFF"[..]));
    }
}
