//! What recipients do: opening, following links, unsubscribing, complaining.

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::Sequence;
use posthaste_domain::message::{self, Deed, MessageData, Ticket};
use posthaste_store::{Order, Range, StoreError};
use serde_json::{Map, Value, json};

use super::told;
use crate::accept::AcceptRequest;
use crate::engine::Engine;
use crate::error::AcceptError;

/// Fields of the event that told of acceptance which later ones repeat.
const REPEATED: [&str; 12] =
    ["channel", "message_id", "recipient", "sender", "from", "to", "subject", "domain", "tags", "metadata", "test", "callback_url"];
/// [`Source::via`] of what recipients do.
pub(crate) const OWN_TRACKING: &str = "tracking";
/// Characters of a `User-Agent` that are kept.
const MAX_USER_AGENT: usize = 500;
/// How long a complaint waits for the event that tells of the delivery.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who acted, as far as a request tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Address of the client.
    pub ip: Option<String>,
    /// `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// Whether a machine acted on its owner's word: unsubscribing with one click (RFC 8058).
    pub one_click: bool,
}

/// Why an action was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The event could not be stored.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Keeps what a recipient did with a link of a mail as an event, which for unsubscribing also suppresses the address. The link works for as long as
    /// the server's secret stays, also when the message itself was forgotten.
    ///
    /// # Errors
    /// [`ActionError`]; the recipient should try again.
    pub async fn take_action(&self, ticket: &Ticket, actor: Actor) -> Result<(), ActionError> {
        let mut data = match self.accepted(ticket).await? {
            Some(event) => repeated(&event),
            None => {
                let known = json!({ "channel": "email", "message_id": ticket.message_id, "recipient": ticket.recipient });
                let mut data = known.as_object().cloned().unwrap_or_default();
                if !ticket.domain.is_empty() {
                    data.insert("domain".to_owned(), json!(ticket.domain));
                }
                data
            }
        };
        let mut client = Map::new();
        if let Some(ip) = actor.ip {
            client.insert("ip".to_owned(), json!(ip));
        }
        if let Some(text) = actor.user_agent {
            client.insert("user_agent".to_owned(), json!(text.chars().take(MAX_USER_AGENT).collect::<String>()));
        }
        let type_name = match &ticket.deed {
            Deed::Open => message::OPENED,
            Deed::Click(url) => {
                data.insert("url".to_owned(), json!(url));
                message::CLICKED
            }
            Deed::Unsubscribe => {
                client.insert("one_click".to_owned(), json!(actor.one_click));
                message::UNSUBSCRIBED
            }
        };
        if !client.is_empty() {
            data.insert("client".to_owned(), Value::Object(client));
        }
        let source = Arc::new(Source { via: OWN_TRACKING.into(), key: None, ip: None });
        let events = vec![told(type_name, data, self.now_ms())];
        self.accept(AcceptRequest { workspace: ticket.workspace, source, events, idempotency: None }).await?;
        Ok(())
    }

    /// Keeps that a recipient called a message spam as an event, which also suppresses the address. `false` if this workspace sent no such message to it.
    ///
    /// # Errors
    /// [`ActionError`]; whoever tells it should do so again.
    pub async fn take_complaint(&self, workspace: i64, message_id: &str, recipient: &str) -> Result<bool, ActionError> {
        let Some(record) = self.message(workspace, message_id).await? else { return Ok(false) };
        let all = &record.outgoing.recipients;
        let Some(index) = all.iter().position(|to| to.address.eq_ignore_ascii_case(recipient)) else { return Ok(false) };
        let mut data = record.outgoing.data(index);
        data.retain(|name, _| REPEATED.contains(&name.as_str()));
        self.tell(workspace, told(message::COMPLAINED, data, self.now_ms())).await?;
        Ok(true)
    }

    /// A complaint of a carrier about a mail that it has just taken: kept behind the event that tells so.
    pub(super) async fn take_carriers_complaint(&self, message_id: &str, recipient: &str) -> Result<bool, ActionError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut committed = self.stored();
        loop {
            committed.mark_unchanged();
            let range = Range { order: Order::Desc, after: None, limit: 100, from_ms: None, to_ms: None };
            let events = self.history().about(None, message_id, range).await?;
            let of_recipient = |event: &&Arc<Event>| {
                event.type_name.as_deref() == Some(message::DELIVERED)
                    && MessageData::parse(&event.payload).and_then(|data| data.text("recipient")).is_some_and(|to| to == recipient)
            };
            if let Some(delivered) = events.iter().find(of_recipient) {
                return self.take_complaint(delivered.workspace, message_id, recipient).await;
            }
            if !matches!(tokio::time::timeout_at(deadline, committed.changed()).await, Ok(Ok(()))) {
                return Ok(false);
            }
        }
    }

    /// The event that told of the acceptance of what a ticket is about.
    async fn accepted(&self, ticket: &Ticket) -> Result<Option<Arc<Event>>, StoreError> {
        let event = self.history().event(ticket.workspace, Sequence(ticket.accepted)).await?;
        let fits = |event: &Arc<Event>| {
            event.type_name.as_deref() == Some(message::ACCEPTED)
                && MessageData::parse(&event.payload).is_some_and(|data| {
                    data.text("message_id").is_some_and(|id| id == ticket.message_id)
                        && data.text("recipient").is_some_and(|to| to == ticket.recipient)
                })
        };
        Ok(event.filter(fits))
    }
}

fn repeated(event: &Event) -> Map<String, Value> {
    let mut data: Map<String, Value> = serde_json::from_slice(&event.payload).unwrap_or_default();
    data.retain(|name, _| REPEATED.contains(&name.as_str()));
    data
}
