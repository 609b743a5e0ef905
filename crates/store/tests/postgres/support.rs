//! Events with one delivery to one target, and what becomes of them.

use std::sync::Arc;

use posthaste_domain::delivery::{Attempt, DeliveryState};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::postgres::PostgresStore;
use posthaste_store::{Append, Journal, NewDelivery, NewEvent, PageLimit, Settlement};

/// No limit worth the name.
pub const ALL: PageLimit = PageLimit { items: 1_000_000, bytes: usize::MAX };

pub fn key(n: i64) -> DeliveryKey {
    DeliveryKey::new(Sequence(n), 0)
}

/// Event `n` with a delivery to a target.
pub fn event(n: i64, target: i64) -> NewEvent {
    NewEvent {
        sequence: Sequence(n),
        workspace: 1,
        type_name: Some("order.created".into()),
        received_ms: 1_000 + n,
        source: Arc::new(Source { via: "test".into(), key: None, ip: None }),
        payload: format!(r#"{{"n":{n}}}"#).into(),
        about: Vec::new(),
        deliveries: vec![NewDelivery { ordinal: 0, subscription: 6, target, due_ms: None, is_batch: false, for_owner: false }],
    }
}

/// Events in one append.
pub fn append(events: Vec<NewEvent>) -> Append {
    Append { events, ..Append::default() }
}

/// The first attempt of event `n`'s delivery, which succeeded.
pub fn delivered(n: i64, target: i64) -> Settlement {
    let attempt = Attempt {
        number: 1,
        at_ms: 2_000 + n,
        duration_us: 10,
        error: None,
        message: None,
        fault: None,
        status: Some(200),
        request: "POST / HTTP/1.1".into(),
        response: "HTTP/1.1 200 OK\nx: \0".into(),
        response_body: "yes".into(),
    };
    Settlement { key: key(n), target, attempt: Some(attempt), state: DeliveryState::Delivered, due_ms: 0, at_ms: 3_000, is_awaited: true }
}

/// The same after another attempt than the first.
pub fn delivered_at(number: u32, n: i64, target: i64) -> Settlement {
    let first = delivered(n, target);
    Settlement { attempt: first.attempt.map(|attempt| Attempt { number, ..attempt }), ..first }
}

/// Sequences of what a lane would find.
pub async fn queued(store: &PostgresStore, target: i64) -> Vec<i64> {
    let pending = store.queued(target, DeliveryKey(0), ALL).await.expect("queued");
    pending.iter().map(|pending| pending.delivery.key.sequence().0).collect()
}
