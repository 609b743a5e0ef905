//! Messages that this server sends: one commit takes a message with all its recipients, lanes carry it, and events tell what became of it.
//!
//! ```text
//! send_message ─▶ one commit: the message (a hidden event, one delivery per recipient) + message.accepted per recipient
//!                     │
//!                     ▼
//!        the carrier's lane ─▶ attempt ─▶ message.sent | delivered | deferred | failed ─▶ settled
//!                                                   ▲
//!                  receipts and replies of carriers ┘
//! ```
//!
//! Invariants:
//! - A message is on disk, whole, before its sender hears so. Its document never changes; what became of it are events about it.
//! - An attempt's event is stored before the attempt is settled: what was sent and is not known to be is sent again, never forgotten.
//! - Nothing here knows a vendor. Whoever sends and whoever listens meet in the events.

pub mod actions;
mod carry;
mod news;
mod outcome;

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::Sequence;
use posthaste_domain::message::{self, MessageChannel, Outgoing};
use posthaste_domain::resource::{Mark, Subscription, Target};
use posthaste_store::{EventFilter, Order, Range, StoreError};
use serde_json::{Map, Value, json};

use crate::accept::{AcceptRequest, Idempotency, Incoming, IncomingKind};
use crate::edit::Edit;
use crate::engine::Engine;
use crate::error::{AcceptError, ResourceError};

pub(crate) use actions::OWN_TRACKING;
pub(crate) use carry::{Heavy, Recent, carrier_id};
pub(crate) use news::run as run_news;

/// The dialect of marks on what the server makes for itself.
const OWN: &str = "posthaste";

/// [`Source::via`] of what carriers tell.
pub(crate) const OWN_CARRIER: &str = "carrier";

/// Events about one message that are read at most.
const MAX_EVENTS: usize = 20_000;

/// Why a message was not taken. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The events could not be stored.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The way to the carrier could not be made.
    #[error(transparent)]
    Carrier(#[from] ResourceError),
    /// What was stored before could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has no recipient, or more than a message can have.
    #[error("a message has 1 to {MAX_RECIPIENTS} recipients")]
    Recipients,
}

/// Recipients of one message at most: their deliveries share an event.
pub const MAX_RECIPIENTS: usize = 10_000;

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message; the earlier one if `replayed`.
    pub message: Outgoing,
    /// The hidden event that holds it.
    pub sequence: Sequence,
    /// Whether an earlier request with the same idempotency key sent it.
    pub replayed: bool,
}

/// A message and what became of it.
#[derive(Clone, Debug)]
pub struct MessageRecord {
    /// The message as it was taken.
    pub outgoing: Outgoing,
    /// The hidden event that holds it.
    pub event: Arc<Event>,
    /// Events about it, oldest first.
    pub events: Vec<Arc<Event>>,
}

/// What says that a subscription leads to a carrier.
pub(crate) fn carrier_of(mark: Option<&Mark>) -> Option<MessageChannel> {
    let mark = mark.filter(|mark| mark.dialect == OWN)?;
    match mark.data.get("carrier").and_then(Value::as_str) {
        Some("email") => Some(MessageChannel::Email),
        Some("sms") => Some(MessageChannel::Sms),
        _ => None,
    }
}

/// An event about a message. `data` has the fields beside the time.
pub(crate) fn told(type_name: &str, mut data: Map<String, Value>, at_ms: i64) -> Incoming {
    data.entry("occurred_at").or_insert_with(|| json!(rfc3339(at_ms)));
    let payload = Bytes::from(Value::Object(data).to_string());
    Incoming { kind: IncomingKind::Named(type_name.into()), payload, deliver_at_ms: None }
}

impl Engine {
    /// Takes a message: stores it, its deliveries to the carrier and one `message.accepted` for each recipient in one commit. Recipients
    /// that are suppressed get a `message.failed` instead of a delivery.
    ///
    /// # Errors
    /// [`SendError`]; nothing was stored.
    pub async fn send_message(
        &self,
        workspace: i64,
        source: Arc<Source>,
        mut message: Outgoing,
        idempotency: Option<Idempotency>,
    ) -> Result<Sent, SendError> {
        if message.recipients.is_empty() || message.recipients.len() > MAX_RECIPIENTS {
            return Err(SendError::Recipients);
        }
        let subscription = self.carrier(workspace, message.channel).await?;
        self.mark_suppressed(workspace, &mut message).await?;
        let now_ms = self.now_ms();
        let open = |(ordinal, to): (usize, &message::Recipient)| to.suppressed.is_none().then_some(ordinal as u32);
        let ordinals: Vec<u32> = message.recipients.iter().enumerate().filter_map(open).collect();
        let payload = serde_json::to_vec(&message).map_err(|error| AcceptError::Store(Arc::new(StoreError::Engine(error.into()))))?;
        let kind = IncomingKind::Addressed { type_name: message.channel.outgoing_type().into(), subscription, ordinals };
        let mut events = vec![Incoming { kind, payload: payload.into(), deliver_at_ms: message.deliver_at_ms }];
        for index in 0..message.recipients.len() {
            let mut data = message.data(index);
            data.insert("transport".to_owned(), json!("http"));
            events.push(told(message::ACCEPTED, data, now_ms));
        }
        for (index, recipient) in message.recipients.iter().enumerate() {
            if let Some(reason) = &recipient.suppressed {
                events.push(outcome::suppressed(&message, index, reason, now_ms));
            }
        }
        let accepted = self.accept(AcceptRequest { workspace, source, events, idempotency }).await?;
        let sequence = accepted.events.first().map_or(Sequence(0), |event| event.sequence);
        if accepted.replayed {
            let event = self.history().event(workspace, sequence).await?;
            if let Some(earlier) = event.and_then(|event| serde_json::from_slice(&event.payload).ok()) {
                message = earlier;
            }
        }
        Ok(Sent { message, sequence, replayed: accepted.replayed })
    }

    /// A message by its id, with what became of it; `None` if this workspace sent no such message or it was forgotten (retention).
    pub async fn message(&self, workspace: i64, id: &str) -> Result<Option<MessageRecord>, StoreError> {
        let range = Range { order: Order::Asc, after: None, limit: MAX_EVENTS, from_ms: None, to_ms: None };
        let mut events = self.history().about(Some(workspace), id, range).await?;
        let is_outgoing = |event: &Arc<Event>| event.type_name.as_deref().is_some_and(|name| !message::is_message_type(name));
        let Some(at) = events.iter().position(is_outgoing) else { return Ok(None) };
        let event = events.remove(at);
        events.retain(|event| !is_outgoing(event));
        let outgoing = serde_json::from_slice(&event.payload).map_err(|error| StoreError::Engine(error.into()))?;
        Ok(Some(MessageRecord { outgoing, event, events }))
    }

    /// Messages of a channel without what became of them, by the events that hold them.
    pub async fn messages(&self, workspace: i64, channel: MessageChannel, range: Range) -> Result<Vec<(Arc<Event>, Outgoing)>, StoreError> {
        let filter = EventFilter::of_type(channel.outgoing_type());
        let events = self.history().events(workspace, filter, range).await?;
        let read = |event: Arc<Event>| Some((Arc::clone(&event), serde_json::from_slice(&event.payload).ok()?));
        Ok(events.into_iter().filter_map(read).collect())
    }

    /// How many messages of a channel a workspace sent, as far as they are kept.
    pub async fn count_messages(&self, workspace: i64, channel: MessageChannel) -> Result<u64, StoreError> {
        self.history().count(workspace, channel.outgoing_type()).await
    }

    /// Marks the recipients that nothing is sent to any more.
    async fn mark_suppressed(&self, workspace: i64, message: &mut Outgoing) -> Result<(), StoreError> {
        let scopes = match message.channel {
            MessageChannel::Email => {
                let domain = message.domain.as_deref().or_else(|| message.sender.rsplit_once('@').map(|(_, domain)| domain));
                vec![domain.unwrap_or_default().to_owned()]
            }
            MessageChannel::Sms => vec![message::SMS_SCOPE.to_owned()],
        };
        let addresses = message.recipients.iter().map(|to| to.address.clone()).collect();
        let found = self.suppressions().suppressed(workspace, scopes, addresses).await?;
        for (to, suppression) in message.recipients.iter_mut().zip(found) {
            let found = suppression.map(|found| format!("suppress-{}", found.reason.name()));
            to.suppressed = to.suppressed.take().or(found);
        }
        Ok(())
    }

    /// Number of the subscription that leads to a workspace's carrier; made when it is first needed.
    async fn carrier(&self, workspace: i64, channel: MessageChannel) -> Result<i64, ResourceError> {
        let find = |engine: &Self| {
            let all = engine.list::<Subscription>(workspace);
            all.into_iter().find(|s| carrier_of(s.doc.dialect.as_ref()) == Some(channel)).map(|s| s.number)
        };
        if let Some(number) = find(self) {
            return Ok(number);
        }
        self.edit(workspace, move |desk| {
            if desk.list::<Subscription>().iter().any(|s| carrier_of(s.doc.dialect.as_ref()) == Some(channel)) {
                return Ok(Vec::new());
            }
            let (target_id, subscription_id) = (desk.new_id::<Target>(), desk.new_id::<Subscription>());
            let mark = || Some(Mark { dialect: OWN.to_owned(), data: json!({ "carrier": channel.name() }) });
            let name = match channel {
                MessageChannel::Email => "Outgoing e-mail",
                MessageChannel::Sms => "Outgoing SMS",
            };
            let target = Target { dialect: mark(), ..Target::new(name, channel.name(), json!({ "carrier": true })) };
            let types = vec![channel.outgoing_type().to_owned()];
            let subscription = Subscription { dialect: mark(), ..Subscription::new(types, target_id.clone()) };
            Ok(vec![Edit::target(target_id, target), Edit::subscription(subscription_id, subscription)])
        })
        .await?;
        find(self).ok_or(ResourceError::NotFound)
    }
}
