//! Wire format `momentum`: batches of records.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use posthaste_domain::event::Event;
use posthaste_domain::policy::{Batch, Exponential, Jitter, Policy, Retry, StatusMatch};
use posthaste_engine::{Format, FormatBody, FormatError, FormatInput, Prepared};
use serde_json::Value;

use super::MomentumSettings;
use super::events::{depends_on_data, place, place_of};
use super::{record, uuid};

/// Carries the id of a batch, the same in all its attempts.
pub const BATCH_ID: HeaderName = HeaderName::from_static("x-messagesystems-batch-id");

/// Part of a delay that is added to it by chance.
const JITTER: f64 = 0.2;

/// The format of Momentum's batches: a JSON array of `{"msys":{"<class>":{…}}}`.
#[derive(Clone, Debug)]
pub struct MomentumFormat {
    policy: Policy,
    keeps_for: Duration,
}

impl MomentumFormat {
    /// With the numbers of the dialect.
    pub fn new(settings: &MomentumSettings) -> Self {
        let MomentumSettings { batch_events, batch_bytes, batch_wait, timeout, retry_first, retry_factor, retry_max, retry_window, .. } =
            *settings;
        let policy = Policy {
            timeout: Some(timeout),
            connect_timeout: Some(timeout),
            retry: Some(Retry::Exponential(Exponential { first: retry_first, factor: retry_factor, max: retry_max, window: retry_window })),
            // Upwards alone, so that the gaps grow.
            jitter: Some(Jitter::UpTo(JITTER)),
            success: Some(vec![StatusMatch::Class(2)]),
            // Nothing ends a batch early, 410 included.
            stop: Some(Vec::new()),
            batch: Some(Batch { events: batch_events, bytes: batch_bytes, wait: batch_wait }),
            concurrency: Some(settings.concurrency),
            ..Policy::default()
        };
        Self { policy, keeps_for: retry_window + batch_wait + timeout }
    }
}

/// The keys that a webhook subscribes to, a bit for each place in [`EVENTS`](super::events::EVENTS).
struct Wanted(u32);

impl Format for MomentumFormat {
    fn name(&self) -> &'static str {
        "momentum"
    }

    fn default_policy(&self) -> Policy {
        self.policy.clone()
    }

    fn keeps_for(&self) -> Option<Duration> {
        Some(self.keeps_for)
    }

    /// `events` of the mark; without one, whatever Momentum can tell.
    fn prepare(&self, settings: &Value, _target: &Value) -> Result<Prepared, FormatError> {
        let Some(events) = settings.get("events") else { return Ok(Prepared::new(Wanted(u32::MAX))) };
        let wrong = |reason: String| FormatError { field: "events".to_owned(), reason };
        let events = events.as_array().ok_or_else(|| wrong("must be an array of event keys".to_owned()))?;
        let mut wanted = 0;
        for event in events {
            let place = event.as_str().and_then(place).ok_or_else(|| wrong(format!("{event} is no event key")))?;
            wanted |= 1 << place;
        }
        Ok(Prepared::new(Wanted(wanted)))
    }

    fn wants<'d>(&self, prepared: &Prepared, type_name: &str, document: &mut dyn FnMut() -> Option<&'d Value>) -> bool {
        let place = if depends_on_data(type_name) {
            let document = document();
            let field = |name| document.and_then(|document| document.get(name)).filter(|value| !value.is_null());
            let client = field("url").is_some() || field("client").is_some_and(|client| client.as_object().is_none_or(|c| !c.is_empty()));
            place_of(type_name, field("reason").and_then(Value::as_str), client)
        } else {
            place_of(type_name, None, false)
        };
        place.is_some_and(|place| prepared.get::<Wanted>().is_none_or(|wanted| wanted.0 >> place & 1 == 1))
    }

    /// One event is a batch of one.
    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        let mut body = vec![b'['];
        self.member(input, input.event, 0, &mut body);
        body.push(b']');
        Ok(FormatBody::new(body))
    }

    fn member(&self, _input: &FormatInput<'_>, event: &Event, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        if !record::write(out, event) {
            // Only by a resend after the format of a subscription was changed.
            out.extend_from_slice(b"{\"msys\":{}}");
        }
    }

    fn headers(&self, input: &FormatInput<'_>, _made: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        headers(&uuid::of_delivery(input.delivery_id))
    }
}

/// The headers of a batch that do not come from the webhook's settings.
pub fn headers(batch_id: &str) -> Vec<(HeaderName, HeaderValue)> {
    let id = HeaderValue::from_str(batch_id).expect("a UUID is visible ASCII");
    vec![(header::CONTENT_TYPE, crate::json::CONTENT_TYPE), (BATCH_ID, id)]
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
