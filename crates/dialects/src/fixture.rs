//! Events and inputs for the tests of the formats.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::Sequence;
use posthaste_domain::signature::SigningSecret;
use posthaste_engine::{FormatInput, SignInput};

/// Time of receipt of the first event, 2026-11-21T12:00:00.123Z; each later event is a second younger.
pub const RECEIVED_MS: i64 = 1_795_262_400_123;

/// The id that [`input`] and [`sign_input`] carry.
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

/// What a format gets for a `POST` of events that are no batch.
pub fn input(events: &[Arc<Event>]) -> FormatInput<'_> {
    FormatInput { events, is_batch: false, delivery_id: DELIVERY_ID, method: "POST" }
}

/// What a format gets to sign an attempt 2.5 s after the first event.
pub fn sign_input(signing: &[SigningSecret]) -> SignInput<'_> {
    SignInput { delivery_id: DELIVERY_ID, attempt_ms: RECEIVED_MS + 2_500, signing, event_type_secret: None }
}
