//! How events, deliveries and attempts look to clients.

use posthaste_domain::clock::rfc3339;
use posthaste_domain::delivery::{Attempt, Delivery, Fault};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::event_id;
use posthaste_engine::Engine;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Where an event came from.
#[derive(Serialize, ToSchema)]
#[schema(as = Source)]
pub(crate) struct SourceView<'a> {
    /// The surface: `api`, `inbox`, `system`, …
    via: &'a str,
    /// Id of the key that was presented.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
}

impl<'a> From<&'a Source> for SourceView<'a> {
    fn from(source: &'a Source) -> Self {
        Self { via: &source.via, key: source.key.as_deref(), ip: source.ip.as_deref() }
    }
}

/// An event without its payload.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventHead<'a> {
    /// Public id.
    id: String,
    /// Position in the journal: ascends with acceptance.
    sequence: i64,
    /// Its event type; null for an inbox event that matched none.
    #[serde(rename = "type")]
    type_name: Option<&'a str>,
    source: SourceView<'a>,
    /// Time of receipt.
    #[schema(format = DateTime)]
    received_at: String,
}

/// An event.
// Written by `write_event`, which puts the payload in byte for byte.
#[derive(ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    #[schema(inline)]
    #[serde(flatten)]
    #[expect(dead_code, reason = "describes what is written by hand")]
    head: EventHead<'static>,
    /// The payload, byte for byte as it was received.
    #[expect(dead_code, reason = "describes what is written by hand")]
    data: Value,
    /// Its deliveries; when one event is read, or with `deliveries=true`.
    #[expect(dead_code, reason = "describes what is written by hand")]
    deliveries: Option<Vec<DeliveryView>>,
}

/// Appends an event as JSON. The payload is copied as it lies in the journal, which holds nothing but JSON documents.
pub(crate) fn write_event(event: &Event, deliveries: Option<&[DeliveryView]>, out: &mut Vec<u8>) {
    let head = EventHead {
        id: event.id(),
        sequence: event.sequence.0,
        type_name: event.type_name.as_deref(),
        source: SourceView::from(&*event.source),
        received_at: rfc3339(event.received_ms),
    };
    out.reserve(event.payload.len() + 256);
    serde_json::to_writer(&mut *out, &head).expect("strings and numbers always serialise");
    out.pop();
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(&event.payload);
    if let Some(deliveries) = deliveries {
        out.extend_from_slice(b",\"deliveries\":");
        serde_json::to_writer(&mut *out, deliveries).expect("strings and numbers always serialise");
    }
    out.push(b'}');
}

/// A delivery.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    /// Public id: stable over retries and restarts; sent as `webhook-id`.
    id: String,
    /// The event it carries; the first one of a batch.
    event_id: String,
    /// The subscription that asked for it.
    subscription_id: Option<String>,
    /// Where it goes.
    target_id: Option<String>,
    /// `queued`, `held` (its target is paused or disabled), `delivered`, `failed` or `cancelled`.
    #[schema(pattern = "^(queued|held|delivered|failed|cancelled)$")]
    state: &'static str,
    /// Finished attempts.
    attempt_count: u32,
    /// Whether it carries a batch of events.
    is_batch: bool,
    /// The events of a batch, at most the first 1,000; when one delivery is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_ids: Option<Vec<String>>,
    /// Time of the first attempt.
    #[schema(format = DateTime)]
    first_attempt_at: Option<String>,
    /// When it is tried next, if it waits for a time.
    #[schema(format = DateTime)]
    next_attempt_at: Option<String>,
    /// When its (first) event was received.
    #[schema(format = DateTime)]
    received_at: String,
    /// Last change of its state.
    #[schema(format = DateTime)]
    updated_at: String,
    /// How the last attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<AttemptSummary>,
    /// All attempts, the first one first; when one delivery is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptView>>,
}

impl DeliveryView {
    /// A delivery as a list shows it.
    pub(crate) fn of(engine: &Engine, delivery: &Delivery) -> Self {
        let time = |ms: i64| (ms > 0).then(|| rfc3339(ms));
        Self {
            id: delivery.id(),
            event_id: event_id(delivery.key.sequence(), delivery.received_ms),
            subscription_id: engine.id_of(delivery.subscription),
            target_id: engine.id_of(delivery.target),
            state: engine.public_state(delivery),
            attempt_count: delivery.attempts,
            is_batch: delivery.is_batch,
            event_ids: None,
            first_attempt_at: time(delivery.first_attempt_ms),
            next_attempt_at: time(delivery.due_ms),
            received_at: rfc3339(delivery.received_ms),
            updated_at: rfc3339(delivery.updated_ms),
            last_attempt: None,
            attempts: None,
        }
    }

    /// Adds how the last attempt ended.
    pub(crate) fn with_last(mut self, last: Option<&Attempt>) -> Self {
        self.last_attempt = last.map(AttemptSummary::of);
        self
    }

    /// Adds the events of a batch.
    pub(crate) fn with_events(mut self, ids: Vec<String>) -> Self {
        self.event_ids = Some(ids);
        self
    }

    /// Adds the whole log.
    pub(crate) fn with_attempts(mut self, attempts: &[Attempt]) -> Self {
        self.last_attempt = attempts.last().map(AttemptSummary::of);
        self.attempts = Some(attempts.iter().map(|attempt| AttemptView::of(attempt, Some(&self.id))).collect());
        self
    }
}

/// How an attempt ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptSummary {
    /// From 1.
    number: u32,
    /// Its start.
    #[schema(format = DateTime)]
    at: String,
    /// Its length in milliseconds.
    duration_ms: f64,
    /// HTTP status, or SMTP code, of the answer.
    status: Option<u16>,
    /// Stable code of the failure, with a page under `/posthaste/v1/errors/`; null on success.
    error: Option<String>,
    /// What the owner of the target may read about the failure.
    message: Option<String>,
    /// Whose fault: `ours`, `theirs` or `network`.
    #[schema(pattern = "^(ours|theirs|network)$")]
    fault: Option<&'static str>,
}

impl AttemptSummary {
    fn of(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            at: rfc3339(attempt.at_ms),
            duration_ms: attempt.duration_us as f64 / 1000.0,
            status: attempt.status,
            error: attempt.error.as_deref().map(str::to_owned),
            message: attempt.message.as_deref().map(str::to_owned),
            fault: attempt.fault.map(fault_name),
        }
    }
}

/// An attempt with what was sent and what came back.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    #[serde(flatten)]
    summary: AttemptSummary,
    /// Request line and headers, one a line, secrets masked.
    request: String,
    /// Response headers, one a line.
    response: String,
    /// At most the first 16 KiB of the response body; bytes that are not UTF-8 are replaced.
    response_body: String,
}

impl AttemptView {
    /// An attempt as the log shows it.
    pub(crate) fn of(attempt: &Attempt, delivery_id: Option<&str>) -> Self {
        Self {
            summary: AttemptSummary::of(attempt),
            request: request_text(attempt, delivery_id),
            response: attempt.response.to_string(),
            response_body: String::from_utf8_lossy(&attempt.response_body).into_owned(),
        }
    }
}

/// What was sent. The log holds one text for all attempts of a target; what differed and is known is put back.
fn request_text(attempt: &Attempt, delivery_id: Option<&str>) -> String {
    let seconds = (attempt.at_ms / 1000).to_string();
    let line = |line: &str| match (line, delivery_id) {
        ("webhook-id: {id}", Some(id)) => format!("webhook-id: {id}"),
        ("webhook-timestamp: {timestamp}", _) => format!("webhook-timestamp: {seconds}"),
        (line, Some(id)) if line.starts_with("message-id: ") => line.replace("{id}", id),
        _ => line.to_owned(),
    };
    attempt.request.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::Ours => "ours",
        Fault::Theirs => "theirs",
        Fault::Network => "network",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use posthaste_domain::id::Sequence;

    use super::*;

    #[test]
    fn payloads_come_out_byte_for_byte() {
        // Incident 14: number spellings, duplicate keys and lone surrogates survive.
        let payload = r#"{"b":1,"a":1.0,"n":1e400,"dup":1,"dup":2,"s":"\ud800",  "t":"é" }"#;
        let event = Event {
            sequence: Sequence(3),
            workspace: 1,
            type_name: Some("order.paid".into()),
            payload: Bytes::from_static(payload.as_bytes()),
            source: Arc::new(Source { via: "api".into(), key: None, ip: None }),
            received_ms: 1_700_000_000_000,
        };
        let mut out = Vec::new();
        write_event(&event, None, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let expected = format!(
            "{{\"id\":\"{}\",\"sequence\":3,\"type\":\"order.paid\",\"source\":{{\"via\":\"api\"}},\"received_at\":\"2023-11-14T22:13:20.000Z\",\"data\":{payload}}}",
            event.id()
        );
        assert_eq!(text, expected);
    }
}
