//! Attempts at a carrier: what is offered to it, and what is told of the outcome.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use posthaste_channels::{Content, Mail, Report, Sms};
use posthaste_domain::delivery::{DeliveryState, Fault, PendingDelivery};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::message::{Links, MessageChannel, Outgoing};
use posthaste_domain::resource::Domain;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::OWN_CARRIER;
use super::outcome::{Told, events_of_attempt};
use crate::accept::AcceptRequest;
use crate::attempt::{Conclusion, Obstacle, Sender, Unsendable};
use crate::error::AcceptError;

/// How long an outcome waits before it is told again, when it could not be stored.
const PAUSE: Duration = Duration::from_millis(250);

/// Messages to many that are remembered; each may have tens of megabytes.
const MAX_RECENT: usize = 3;

/// Bytes from which on a message waits for room.
const HEAVY: usize = 1 << 20;
/// Bytes of heavy messages that are made ready or sent at once; one is always allowed.
const HEAVY_BYTES: usize = 128 << 20;
/// What a message takes while it is sent, in multiples of its stored size: as read, as composed, and on its way.
const COPIES: usize = 3;

/// Room for heavy messages, so that mails with large files do not fill the memory together. Small ones never wait for it.
pub(crate) struct Heavy(Semaphore);

impl Default for Heavy {
    fn default() -> Self {
        Self(Semaphore::new(HEAVY_BYTES >> 10))
    }
}

impl Heavy {
    /// Waits until there is room for a message of so many stored bytes.
    pub async fn room(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        if bytes < HEAVY {
            return None;
        }
        let wanted = (bytes * COPIES).min(HEAVY_BYTES) >> 10;
        self.0.acquire_many(u32::try_from(wanted).unwrap_or(u32::MAX)).await.ok()
    }
}

/// What an attempt leaves behind for its story.
pub(crate) struct Carried {
    message: Arc<Outgoing>,
    recipient: usize,
    workspace: i64,
    /// Of the event that holds the message. Those that tell of its acceptance follow it, one for each recipient.
    sequence: i64,
}

/// The messages to many recipients that are being sent: each is read once and not once for every recipient.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Vec<(i64, Arc<Outgoing>)>>);

impl Recent {
    fn read(&self, event: &Event) -> Option<Arc<Outgoing>> {
        let sequence = event.sequence.0;
        if let Some((_, message)) = self.0.lock().iter().find(|(known, _)| *known == sequence) {
            return Some(Arc::clone(message));
        }
        let message: Arc<Outgoing> = Arc::new(serde_json::from_slice(&event.payload).ok()?);
        if message.recipients.len() > 1 {
            let mut recent = self.0.lock();
            recent.retain(|(known, _)| *known != sequence);
            if recent.len() >= MAX_RECENT {
                recent.remove(0);
            }
            recent.push((sequence, Arc::clone(&message)));
        }
        Some(message)
    }
}

impl Sender {
    /// The message of a delivery, for its recipient.
    pub(crate) fn message(&self, pending: &PendingDelivery) -> Result<Carried, Unsendable> {
        let recipient = pending.delivery.key.ordinal() as usize;
        let message =
            self.recent.read(&pending.event).filter(|message| recipient < message.recipients.len()).ok_or_else(|| Unsendable {
                code: "message_unreadable",
                message: "the stored message cannot be read".into(),
                fault: Fault::Ours,
                obstacle: Obstacle::Lasting,
            })?;
        let (workspace, sequence) = (pending.delivery.workspace, pending.event.sequence.0);
        Ok(Carried { message, recipient, workspace, sequence })
    }

    /// What the carrier is offered.
    pub(crate) fn carried(&self, carried: &Carried) -> Content {
        let Carried { message, recipient, workspace, sequence } = carried;
        match message.channel {
            MessageChannel::Email => {
                let domain = message.domain.as_deref().and_then(|name| self.catalogue.named::<Domain>(*workspace, name));
                Content::Mail(Box::new(Mail {
                    message: Arc::clone(message),
                    recipient: *recipient,
                    links: Links {
                        base_url: self.public_base_url.clone(),
                        secret: self.page_secret,
                        workspace: *workspace,
                        accepted: *sequence + 1 + *recipient as i64,
                    },
                    dkim: domain.and_then(|domain| domain.doc.dkim.clone()),
                    envelope_from: message.sender.clone(),
                }))
            }
            MessageChannel::Sms => Content::Sms(Box::new(Sms {
                message_id: message.id.clone(),
                from: message.sender.clone(),
                to: message.recipients[*recipient].address.clone(),
                text: message.text.clone().unwrap_or_default(),
                test: message.test,
            })),
        }
    }

    /// Stores the event that tells an attempt's outcome, before the attempt is settled. Waits while that is not possible, unless the server
    /// stops taking events altogether.
    pub(crate) async fn tell_outcome(&self, carried: &Carried, carrier_id: Option<&str>, conclusion: &Conclusion) {
        let settlement = &conclusion.settlement;
        let Some(attempt) = &settlement.attempt else { return };
        let outcome = Told {
            attempt,
            state: settlement.state,
            due_ms: settlement.due_ms,
            carrier_id,
            gave_up: settlement.state == DeliveryState::Failed && conclusion.could_retry,
            now_ms: settlement.at_ms,
        };
        loop {
            let Some(event) = events_of_attempt(&carried.message, carried.recipient, &outcome) else { return };
            let source = Arc::new(Source { via: OWN_CARRIER.into(), key: None, ip: None });
            let request = AcceptRequest { workspace: carried.workspace, source, events: vec![event], idempotency: None };
            match self.door.accept_inside(request).await {
                Ok(_) => return,
                Err(AcceptError::Closing) => {
                    tracing::error!(message = carried.message.id, "the outcome of a message could not be told before the server stopped");
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, message = carried.message.id, "the outcome of a message could not be stored; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The carrier's id in a report.
pub(crate) fn carrier_id(report: &Result<Report, Unsendable>) -> Option<String> {
    report.as_ref().ok().and_then(|report| report.carrier_id.clone())
}
