//! The suite that every implementation of the store passes.
//!
//! Each public function proves one promise of the traits against a fresh directory. A failure is a panic, as in any test; the functions
//! are here, and not under `tests/`, so that several test binaries can pass their factory.

mod about;
mod journal;
mod lists;
mod people;
mod rest;
mod suppressions;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, DeliveryState, Fault, PendingDelivery};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};

use crate::{Append, Bins, Catalog, History, Journal, NewDelivery, NewEvent, Order, PageLimit, Range, Settlement, Suppressions};

pub use about::{events_are_found_by_their_subject, outgoing_messages_are_listed_only_by_type};
pub use journal::{
    appends_are_atomic, batches_are_found, due_is_ordered, idempotency_keys_last_a_day, members_come_in_pages, one_bad_append_fails_alone,
    pages_are_bounded, payloads_come_back_exactly, reopening_queues_again, settled_is_settled, survives_a_restart,
};
pub use lists::{history_belongs_to_its_workspace, last_attempts_are_found, lists_match_a_model};
pub use people::{audit_entries_belong_to_their_change, audit_is_filtered_and_ends, sessions_are_kept};
pub use rest::{bins_keep_the_newest, catalog_is_versioned, closed_is_closed, retention_drops_whole_buckets, writes_are_atomic};
pub use suppressions::suppressions_are_kept;

/// The faces of one opened store.
#[derive(Clone)]
pub struct Store {
    /// Configuration.
    pub catalog: Arc<dyn Catalog>,
    /// The hot path.
    pub journal: Arc<dyn Journal>,
    /// Lists.
    pub history: Arc<dyn History>,
    /// Request bins.
    pub bins: Arc<dyn Bins>,
    /// Addresses that nothing is sent to.
    pub suppressions: Arc<dyn Suppressions>,
}

/// Opens the store that a directory stands for; for the same directory after `close`, the same store.
pub trait Factory: AsyncFn(&Path) -> Store {}

impl<F: AsyncFn(&Path) -> Store> Factory for F {}

/// No limit worth the name.
const ALL: PageLimit = PageLimit { items: 1_000_000, bytes: usize::MAX };

fn event(sequence: i64, workspace: i64, deliveries: Vec<NewDelivery>) -> NewEvent {
    NewEvent {
        sequence: Sequence(sequence),
        workspace,
        type_name: Some("user.created".into()),
        received_ms: 1_000 + sequence,
        source: Arc::new(Source { via: "api".into(), key: Some("key_1".into()), ip: None }),
        payload: Bytes::from(format!(r#"{{"n":{sequence}}}"#)),
        about: Vec::new(),
        deliveries,
    }
}

fn delivery(ordinal: u32, target: i64, due_ms: Option<i64>) -> NewDelivery {
    NewDelivery { ordinal, subscription: target + 100, target, due_ms, is_batch: false, for_owner: false }
}

fn append(events: Vec<NewEvent>) -> Append {
    Append { events, ..Append::default() }
}

fn key(sequence: i64, ordinal: u32) -> DeliveryKey {
    DeliveryKey::new(Sequence(sequence), ordinal)
}

fn attempt(number: u32, at_ms: i64) -> Attempt {
    Attempt {
        number,
        at_ms,
        duration_us: 1234,
        error: Some("status".into()),
        message: Some("the target answered 500".into()),
        fault: Some(Fault::Theirs),
        status: Some(500),
        request: format!("POST /hook HTTP/1.1\nhost: a.example\nwebhook-id: dlv_{at_ms}\nwebhook-signature: v1,{number}").into(),
        response: "content-type: text/plain\ndate: now".into(),
        response_body: Bytes::from_static(b"\xff\x00no"),
    }
}

fn settlement(key: DeliveryKey, target: i64, attempt: Option<Attempt>, state: DeliveryState, due_ms: i64, at_ms: i64) -> Settlement {
    Settlement { key, target, attempt, state, due_ms, at_ms, is_awaited: false }
}

fn keys(pending: &[PendingDelivery]) -> Vec<DeliveryKey> {
    pending.iter().map(|p| p.delivery.key).collect()
}

async fn queued(store: &Store, target: i64) -> Vec<DeliveryKey> {
    keys(&store.journal.queued(target, DeliveryKey(0), ALL).await.expect("queued"))
}

async fn due(store: &Store, target: i64) -> Vec<DeliveryKey> {
    keys(&store.journal.due(target, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due"))
}

fn range(order: Order, limit: usize) -> Range {
    Range { order, after: None, limit, from_ms: None, to_ms: None }
}
