//! Messages: e-mail and SMS that this server sends, and what became of them.

mod email;
mod input;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode};
use posthaste_dialects::msgine;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::event::Event;
use posthaste_domain::message::{self, MessageChannel, MessageData, Outgoing, Recipient};
use posthaste_domain::resource::Scope;
use posthaste_store::Range;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use email::EmailView;
use input::MessageInput;

use super::api::{Api, Op};
use super::events::{REPLAYED, idempotency};
use super::{json, list_page};
use crate::AppState;
use crate::auth::{Publisher, Reader};
use crate::cursor::List;
use crate::input::{Id, Input, JsonBytes, PAGE, Param, ParamKind, Params, parse_json, read_value};
use crate::problem::Problem;

/// Events that are shown with a message at most, the newest.
const SHOWN_EVENTS: usize = 1000;
/// Characters of the text that a list shows.
const PREVIEW: usize = 200;

const CHANNELS: &[&str] = &["email", "sms"];
const LIST: [Param; 6] = [
    PAGE[0],
    PAGE[1],
    PAGE[2],
    Param::new("channel", ParamKind::OneOf(CHANNELS), "`email` unless given, or `sms`."),
    Param::new("from", ParamKind::Time, "Sent at or after this."),
    Param::new("to", ParamKind::Time, "Sent before this."),
];

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MessageChannel)]
enum ChannelName {
    Email,
    Sms,
}

/// A message that was taken.
#[derive(Serialize, ToSchema)]
struct MessageAccepted {
    /// The message id, as in events.
    id: String,
    channel: ChannelName,
}

/// What became of a message for one recipient.
#[derive(Clone, Serialize, ToSchema)]
struct RecipientView {
    address: String,
    /// `accepted`, `sent`, `deferred`, `delivered` or `failed`.
    status: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it became so.
    #[schema(format = DateTime)]
    since: String,
    opened: bool,
    clicked: bool,
    unsubscribed: bool,
    complained: bool,
}

/// One event about a message.
#[derive(Serialize, ToSchema)]
struct MessageEvent {
    id: String,
    #[serde(rename = "type")]
    type_name: String,
    #[schema(format = DateTime)]
    received_at: String,
    /// Message data.
    #[schema(value_type = Object)]
    data: Value,
}

/// A message.
#[derive(Serialize, ToSchema)]
#[schema(as = Message)]
struct MessageView {
    id: String,
    channel: ChannelName,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    tags: Vec<String>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    test: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    deliver_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// Bytes of its content.
    size: usize,
    /// The API that it was sent through: `api`, `mailgun`, `msgine`.
    via: String,
    /// Its plain text; in a list the first 200 characters. Placeholders are in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Of one message alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<String>,
    /// What it costs, if the API that it was sent through has prices (MsGine).
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// Addresses of all recipients, also of those whom an e-mail does not name. With their status where one message is read.
    to: Vec<String>,
    /// Of one message alone, if it is an e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<EmailView>,
    /// Of one message alone: the address for its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
    /// Of one message alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<RecipientView>,
    /// Of one message alone: what became of it, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<MessageEvent>,
}

/// What a message costs.
#[derive(Serialize, ToSchema)]
struct Cost {
    /// A decimal, such as `0.15`.
    amount: String,
    /// Three capital letters.
    currency: String,
}

impl Cost {
    fn of(message: &Outgoing) -> Option<Self> {
        let currency = msgine::currency(message)?.to_owned();
        Some(Self { amount: msgine::cost(message).text(), currency })
    }
}

/// A complaint about a message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ComplaintInput {
    /// Who complained.
    recipient: String,
}

impl MessageView {
    fn of(message: &Outgoing) -> Self {
        let from = message.email.as_ref().map_or(&message.sender, |email| &email.from).clone();
        Self {
            id: message.id.clone(),
            channel: match message.channel {
                MessageChannel::Email => ChannelName::Email,
                MessageChannel::Sms => ChannelName::Sms,
            },
            from,
            subject: message.subject.clone(),
            tags: message.tags.clone(),
            metadata: message.metadata.clone(),
            test: message.test,
            deliver_at: message.deliver_at_ms.map(rfc3339),
            created_at: rfc3339(message.created_ms),
            size: message.size(),
            via: message.dialect.clone(),
            text: message.text.as_ref().map(|text| text.chars().take(PREVIEW).collect()),
            html: None,
            cost: Cost::of(message),
            to: message.recipients.iter().map(|to| to.address.clone()).collect(),
            email: None,
            callback_url: None,
            recipients: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// Folds the events about a message, oldest first, into the status of each recipient.
fn recipients(message: &Outgoing, events: &[std::sync::Arc<Event>]) -> Vec<RecipientView> {
    let fresh = |to: &Recipient| RecipientView {
        address: to.address.clone(),
        status: "accepted",
        reason: None,
        since: rfc3339(message.created_ms),
        opened: false,
        clicked: false,
        unsubscribed: false,
        complained: false,
    };
    let mut all: Vec<RecipientView> = message.recipients.iter().map(fresh).collect();
    for event in events {
        let Some(data) = MessageData::parse(&event.payload) else { continue };
        let Some(address) = data.text("recipient") else { continue };
        let Some(view) = all.iter_mut().find(|view| view.address == address) else { continue };
        let status = match event.type_name.as_deref() {
            Some(message::SENT) => "sent",
            Some(message::DEFERRED) => "deferred",
            Some(message::DELIVERED) => "delivered",
            Some(message::FAILED) => "failed",
            other => {
                view.opened |= other == Some(message::OPENED);
                view.clicked |= other == Some(message::CLICKED);
                view.unsubscribed |= other == Some(message::UNSUBSCRIBED);
                view.complained |= other == Some(message::COMPLAINED);
                continue;
            }
        };
        view.status = status;
        view.since = rfc3339(event.received_ms);
        view.reason = data.text("reason").filter(|_| status == "failed").map(std::borrow::Cow::into_owned);
    }
    all
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("messages", "E-mail and SMS that this server sends.");
    api.add(
        Op::post("/messages", "sendMessage", "Send")
            .about("The answer comes when the message is on disk. `message.*` events tell what becomes of it.")
            .scope(Scope::Publish)
            .header("Idempotency-Key", "Sends once, however often the same request comes within a day.")
            .body::<MessageInput>()
            .answer::<MessageAccepted>(StatusCode::ACCEPTED, "It is stored and will be sent."),
        send,
    );
    api.add(Op::get("/messages", "listMessages", "List, newest first").scope(Scope::Read).query(&[&LIST]).page_of::<MessageView>(), list);
    api.add(
        Op::get("/messages/{id}", "readMessage", "Read one, with the status of each recipient and what happened")
            .scope(Scope::Read)
            .answer::<MessageView>(StatusCode::OK, "The message."),
        read,
    );
    api.add(
        Op::post("/messages/{id}/complaints", "complain", "Tell that a recipient called it spam")
            .about("For whoever reads the feedback loop of a mail provider. The address gets nothing more from that domain.")
            .scope(Scope::Publish)
            .body::<ComplaintInput>()
            .empty(StatusCode::NO_CONTENT, "It is kept."),
        complain,
    );
}

async fn send(
    State(state): State<AppState>,
    Publisher(caller): Publisher,
    headers: HeaderMap,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let idempotency = idempotency(&headers, &body)?;
    let input: MessageInput = read_value(parse_json(&body)?)?;
    let channel = input.channel;
    let message = input.message(&state, caller.workspace())?;
    let sent = state.engine.send_message(caller.workspace(), caller.source(), message, idempotency).await?;
    let mut response = json(StatusCode::ACCEPTED, &MessageAccepted { id: sent.message.id, channel });
    if sent.replayed {
        response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn list(State(state): State<AppState>, Reader(caller): Reader, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    let (order, limit) = (params.order()?, params.limit()?);
    let channel = match params.words("channel", CHANNELS)?.as_slice() {
        [] | ["email"] => MessageChannel::Email,
        ["sms"] => MessageChannel::Sms,
        _ => return Err(Problem::invalid("channel", "expected email or sms")),
    };
    let after = params.cursor(List::Messages, order)?;
    let range = Range { order, after, limit: limit + 1, from_ms: params.time("from")?, to_ms: params.time("to")? };
    let mut found = state.engine.messages(caller.workspace(), channel, range).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|(event, _)| event.sequence.0).filter(|_| more);
    let items: Vec<MessageView> = found.iter().map(|(_, message)| MessageView::of(message)).collect();
    Ok(list_page(List::Messages, order, &items, next))
}

async fn read(State(state): State<AppState>, Reader(caller): Reader, Id(id): Id) -> Result<Response, Problem> {
    let found = state.engine.message(caller.workspace(), &id).await?;
    let record = found.ok_or_else(|| Problem::not_found("message", &id))?;
    let mut view = MessageView::of(&record.outgoing);
    view.text = record.outgoing.text.clone();
    view.html = record.outgoing.email.as_ref().and_then(|email| email.html.clone());
    view.email = EmailView::of(&record.outgoing);
    view.callback_url = record.outgoing.callback_url.clone();
    view.recipients = recipients(&record.outgoing, &record.events);
    let skipped = record.events.len().saturating_sub(SHOWN_EVENTS);
    let shown = |event: &std::sync::Arc<Event>| MessageEvent {
        id: event.id(),
        type_name: event.type_name.as_deref().unwrap_or_default().to_owned(),
        received_at: rfc3339(event.received_ms),
        data: serde_json::from_slice(&event.payload).unwrap_or_default(),
    };
    view.events = record.events.iter().skip(skipped).map(shown).collect();
    Ok(json(StatusCode::OK, &view))
}

async fn complain(
    State(state): State<AppState>,
    Publisher(caller): Publisher,
    Id(id): Id,
    Input(input): Input<ComplaintInput>,
) -> Result<StatusCode, Problem> {
    match state.engine.take_complaint(caller.workspace(), &id, &input.recipient).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("message to this recipient", &id)),
    }
}
