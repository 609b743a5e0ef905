//! Events and inputs for the tests of the formats.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::Sequence;
use posthaste_engine::{Format, FormatInput, Try};

/// Time of receipt of the first event, 2026-11-21T12:00:00.123Z; each later event is a second younger.
pub const RECEIVED_MS: i64 = 1_795_262_400_123;

/// The id that [`input`] carries.
pub const DELIVERY_ID: &str = "dlv_0000000000000000000000001";

/// An event of workspace 1.
pub fn event(sequence: i64, type_name: Option<&str>, payload: &'static str) -> Arc<Event> {
    Arc::new(Event {
        sequence: Sequence(sequence),
        workspace: 1,
        type_name: type_name.map(Arc::from),
        payload: Bytes::from_static(payload.as_bytes()),
        source: Arc::new(Source { via: "api".to_owned(), key: None, ip: None }),
        received_ms: RECEIVED_MS + (sequence - 1) * 1000,
    })
}

/// What a format gets for a `POST`, 2.5 s after the first event.
pub fn input(event: &Arc<Event>) -> FormatInput<'_> {
    let attempt = Try { number: 1, at_ms: RECEIVED_MS + 2_500, nonce: [7; 32] };
    FormatInput { delivery_id: DELIVERY_ID, url: "https://receiver.example/hook", attempt, ..FormatInput::of(event) }
}

/// A batch as the engine has it written.
pub fn batch(format: &dyn Format, events: &[Arc<Event>]) -> String {
    let input = FormatInput { is_batch: true, ..input(&events[0]) };
    let mut body = Vec::new();
    format.open(&input, &mut body).expect("the format takes batches");
    for (index, event) in events.iter().enumerate() {
        format.member(&input, event, index, &mut body);
    }
    format.close(&input, &mut body);
    String::from_utf8(body).expect("UTF-8")
}
