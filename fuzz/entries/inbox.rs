//! Bytes as a request to the MsgGO inbox: a letter for the content type, the query, and the body, parted by 0xFF, which UTF-8 never has.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_dialects::msggo::MsggoFormat;
use posthaste_dialects::msggo::document::{KEY_FIELD, Side, merge};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::Sequence;
use posthaste_domain::matching::document::{count_characters, top_level_fields};
use posthaste_engine::{Format, FormatInput};

const LIMIT: usize = 10_000;

/// What becomes of it must be an event document: an object within the limit, without the key, that can be delivered.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == 0xFF);
    let mut part = || parts.next().unwrap_or_default();
    let (kind, query, body) = (part(), part(), part());
    let content_type = match kind {
        b"" => None,
        b"j" => Some("application/json"),
        b"f" => Some("application/x-www-form-urlencoded"),
        b"m" => Some("multipart/form-data; boundary=b"),
        b"t" => Some("text/plain"),
        other => std::str::from_utf8(other).ok(),
    };
    let Ok(query) = Side::from_query(std::str::from_utf8(query).ok()) else { return };
    let Ok(body) = Side::from_body(content_type, Bytes::copy_from_slice(body)) else { return };
    let Ok(payload) = merge(&query, &body, LIMIT) else { return };
    assert!(count_characters(&payload) <= LIMIT);
    let fields = top_level_fields(&payload).expect("a payload is an object");
    assert!(fields.iter().all(|(name, _)| name != KEY_FIELD));
    deliver(payload);
}

/// The MsgGO format makes a body that is the same when it is made again, and a query that can be read.
fn deliver(payload: Bytes) {
    let body = send(payload, "POST").0;
    assert!(top_level_fields(&body).is_ok());
    assert_eq!(send(body.clone(), "POST").0, body);
    let query = send(body, "GET").1.expect("GET has a query");
    drop(Side::from_query(Some(&query)));
}

fn send(payload: Bytes, method: &str) -> (Bytes, Option<String>) {
    let source = Arc::new(Source { via: "inbox".to_owned(), key: None, ip: None });
    let event = Event { sequence: Sequence(1), workspace: 1, type_name: None, payload, source, received_ms: 0 };
    let event = Arc::new(event);
    let input = FormatInput { method, ..FormatInput::of(&event) };
    let made = MsggoFormat.body(&input).expect("one event fits every method");
    (made.body, made.query)
}
