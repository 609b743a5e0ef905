//! Messages: e-mail and SMS that this server sends, and what became of them.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode};
use posthaste_domain::clock::{parse_rfc3339, rfc3339};
use posthaste_domain::event::Event;
use posthaste_domain::id;
use posthaste_domain::message::address::{self, Mailbox};
use posthaste_domain::message::letter::one_line;
use posthaste_domain::message::{self, Attachment, EmailParts, MessageChannel, MessageData, Outgoing, Recipient, Track};
use posthaste_domain::resource::Scope;
use posthaste_domain::sms::{Sender, is_e164};
use posthaste_engine::MAX_RECIPIENTS;
use posthaste_store::Range;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::events::{REPLAYED, idempotency};
use super::{json, list_page};
use crate::AppState;
use crate::auth::{Publisher, Reader};
use crate::cursor::List;
use crate::input::{Id, Input, JsonBytes, PAGE, Param, ParamKind, Params, parse_json, read_value};
use crate::problem::Problem;

/// Characters of a subject at most.
const MAX_SUBJECT: usize = 998;
/// Tags of a message at most, and characters of each.
const MAX_TAGS: usize = 10;
const MAX_TAG: usize = 128;
/// Bytes of metadata at most, as JSON.
const MAX_METADATA: usize = 16 << 10;
/// Bytes of text and HTML at most, once the variables of a recipient are filled in.
const MAX_FILLED: usize = 25 << 20;
/// How far ahead a message may be scheduled.
const MAX_AHEAD_MS: i64 = 366 * 86_400_000;
/// Events that are shown with a message at most, the newest.
const SHOWN_EVENTS: usize = 1000;

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

/// A file of an e-mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AttachmentInput {
    /// Its name.
    filename: String,
    /// Media type; `application/octet-stream` unless given.
    #[serde(default = "octets")]
    content_type: String,
    /// Its bytes in base 64.
    content: String,
    /// Shown within the HTML (`cid:` and the file name) instead of attached.
    #[serde(default)]
    inline: bool,
}

fn octets() -> String {
    "application/octet-stream".to_owned()
}

/// What of an e-mail is watched; what is left out is as the domain is set.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct TrackChoice {
    opens: Option<bool>,
    clicks: Option<bool>,
    unsubscribe: Option<bool>,
}

/// A message to send.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessageInput {
    /// `email` or `sms`.
    channel: ChannelName,
    /// Address, with a name if wanted; for SMS a number, a short code or a name.
    #[schema(example = "Ann <ann@example.com>")]
    from: String,
    /// Recipients.
    #[schema(min_items = 1, max_items = 10000, example = json!(["bob@example.com"]))]
    to: Vec<String>,
    /// E-mail only.
    #[serde(default)]
    cc: Vec<String>,
    /// E-mail only.
    #[serde(default)]
    bcc: Vec<String>,
    /// E-mail only.
    #[serde(default)]
    reply_to: Option<String>,
    /// E-mail only.
    #[serde(default)]
    subject: Option<String>,
    /// Plain text. An SMS must have it, an e-mail this or `html`.
    #[serde(default)]
    text: Option<String>,
    /// E-mail only.
    #[serde(default)]
    html: Option<String>,
    /// E-mail only: more headers.
    #[serde(default)]
    #[schema(value_type = Object)]
    headers: BTreeMap<String, String>,
    /// E-mail only.
    #[serde(default)]
    attachments: Vec<AttachmentInput>,
    /// By recipient: what fills `%recipient.NAME%`. With any of them each recipient sees only its own address.
    #[serde(default)]
    #[schema(value_type = Object)]
    variables: BTreeMap<String, Map<String, Value>>,
    /// E-mail only.
    #[serde(default)]
    track: TrackChoice,
    /// Labels, at most 10 of at most 128 characters.
    #[serde(default)]
    tags: Vec<String>,
    /// Handed back in every event.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Goes through everything but is never really sent.
    #[serde(default)]
    test: bool,
    /// Not before this; at most a year ahead.
    #[serde(default)]
    #[schema(format = DateTime)]
    deliver_at: Option<String>,
    /// Kept in every event of this message, for subscriptions that deliver by it.
    #[serde(default)]
    callback_url: Option<String>,
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
    /// Addresses; with their status where one message is read.
    to: Vec<String>,
    /// Of one message alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<RecipientView>,
    /// Of one message alone: what became of it, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<MessageEvent>,
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
            to: message.recipients.iter().map(|to| to.address.clone()).collect(),
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

impl MessageInput {
    fn message(self, state: &AppState, workspace: i64) -> Result<Outgoing, Problem> {
        let now_ms = state.engine.now_ms();
        if self.tags.len() > MAX_TAGS {
            return Err(Problem::invalid("tags", format!("at most {MAX_TAGS}")));
        }
        if let Some(place) =
            self.tags.iter().position(|tag| tag.is_empty() || tag.chars().count() > MAX_TAG || tag.chars().any(char::is_control))
        {
            return Err(Problem::invalid(format!("tags[{place}]"), "expected 1 to 128 characters, none of them a control character"));
        }
        if serde_json::to_vec(&self.metadata).map_or(0, |bytes| bytes.len()) > MAX_METADATA {
            return Err(Problem::invalid("metadata", "at most 16 KiB as JSON"));
        }
        let deliver_at_ms = match self.deliver_at.as_deref() {
            None => None,
            Some(text) => {
                let at = parse_rfc3339(text)
                    .ok_or_else(|| Problem::invalid("deliver_at", "expected an RFC 3339 time such as 2026-11-21T12:00:00Z"))?;
                if at - now_ms > MAX_AHEAD_MS {
                    return Err(Problem::invalid("deliver_at", "at most a year ahead"));
                }
                Some(at).filter(|at| *at > now_ms)
            }
        };
        if let Some(url) = self.callback_url.as_deref()
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            return Err(Problem::invalid("callback_url", "expected an http or https URL"));
        }
        let id = id::resource_id("msg", now_ms, rand::random());
        let mut message = Outgoing {
            id,
            channel: MessageChannel::Email,
            dialect: "api".to_owned(),
            sender: String::new(),
            recipients: Vec::new(),
            subject: None,
            text: self.text.clone(),
            email: None,
            domain: None,
            tags: self.tags.clone(),
            metadata: self.metadata.clone(),
            test: self.test,
            deliver_at_ms,
            callback_url: self.callback_url.clone(),
            extra: Map::new(),
            created_ms: now_ms,
        };
        match self.channel {
            ChannelName::Email => self.email(state, workspace, &mut message)?,
            ChannelName::Sms => self.sms(&mut message)?,
        }
        if message.recipients.is_empty() || message.recipients.len() > MAX_RECIPIENTS {
            return Err(Problem::invalid("to", format!("expected 1 to {MAX_RECIPIENTS} recipients")));
        }
        if !message.fits(MAX_FILLED) {
            return Err(Problem::invalid("variables", "too long for the placeholders that they fill"));
        }
        Ok(message)
    }

    fn sms(self, message: &mut Outgoing) -> Result<(), Problem> {
        let mail_only = [
            ("cc", !self.cc.is_empty()),
            ("bcc", !self.bcc.is_empty()),
            ("reply_to", self.reply_to.is_some()),
            ("subject", self.subject.is_some()),
            ("html", self.html.is_some()),
            ("headers", !self.headers.is_empty()),
            ("attachments", !self.attachments.is_empty()),
            ("variables", !self.variables.is_empty()),
        ];
        if let Some((name, _)) = mail_only.into_iter().find(|(_, given)| *given) {
            return Err(Problem::invalid(name, "an SMS has none"));
        }
        if Sender::parse(&self.from).is_none() {
            return Err(Problem::invalid(
                "from",
                "expected a number such as +15551230001, a short code, or a name of at most 11 characters",
            ));
        }
        if self.text.as_deref().is_none_or(|text| text.is_empty()) {
            return Err(Problem::invalid("text", "an SMS must have a text"));
        }
        for (place, number) in self.to.into_iter().enumerate() {
            if !is_e164(&number) {
                return Err(Problem::invalid(format!("to[{place}]"), "expected a number in E.164 such as +15551230001"));
            }
            if !message.recipients.iter().any(|known| known.address == number) {
                message.recipients.push(Recipient::of(number));
            }
        }
        message.channel = MessageChannel::Sms;
        message.sender = self.from;
        Ok(())
    }

    fn email(self, state: &AppState, workspace: i64, message: &mut Outgoing) -> Result<(), Problem> {
        let from = address::parse(&self.from).map_err(|error| Problem::invalid("from", error.to_string()))?;
        let reply_to = self.reply_to.as_deref().map(address::parse).transpose();
        let reply_to = reply_to.map_err(|error| Problem::invalid("reply_to", error.to_string()))?;
        if self.text.is_none() && self.html.is_none() {
            return Err(Problem::invalid("text", "an e-mail must have a text or html"));
        }
        let subject = self.subject.unwrap_or_default();
        if subject.chars().count() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(Problem::invalid("subject", format!("at most {MAX_SUBJECT} characters, none of them a control character")));
        }
        let (to, cc, bcc) = (addresses("to", &self.to)?, addresses("cc", &self.cc)?, addresses("bcc", &self.bcc)?);
        for mailbox in to.iter().chain(&cc).chain(&bcc) {
            if !message.recipients.iter().any(|known| known.address.eq_ignore_ascii_case(&mailbox.address)) {
                let named = self.variables.iter().find(|(address, _)| address.eq_ignore_ascii_case(&mailbox.address));
                let variables = named.map(|(_, variables)| variables.clone()).unwrap_or_default();
                message.recipients.push(Recipient { name: mailbox.name.clone(), variables, ..Recipient::of(&mailbox.address) });
            }
        }
        let domain = from.address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
        let set = state.engine.find_domain(workspace, &domain).map(|entry| entry.doc.track).unwrap_or_default();
        let track = Track {
            opens: self.track.opens.unwrap_or(set.opens),
            clicks: self.track.clicks.unwrap_or(set.clicks),
            unsubscribe: self.track.unsubscribe.unwrap_or(set.unsubscribe),
            ..set
        };
        let mut headers = Vec::new();
        for (name, value) in self.headers {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
                return Err(Problem::invalid(format!("headers.{name}"), "is not the name of a header"));
            }
            headers.push((name, one_line(&value).into_owned()));
        }
        let mut attachments = Vec::new();
        for (place, file) in self.attachments.into_iter().enumerate() {
            let bytes = STANDARD.decode(file.content.trim());
            let bytes = bytes.map_err(|_| Problem::invalid(format!("attachments[{place}].content"), "is not base 64"))?;
            attachments.push(Attachment::new(file.filename, file.content_type, &bytes, file.inline));
        }
        message.email = Some(EmailParts {
            from: from.to_string(),
            to: Mailbox::header(&to),
            cc: Mailbox::header(&cc),
            reply_to: reply_to.map(|mailbox| mailbox.to_string()),
            html: self.html,
            headers,
            attachments,
            individual: !self.variables.is_empty(),
            track,
            ..EmailParts::default()
        });
        message.id = format!("{}@{domain}", message.id);
        message.sender = from.address;
        message.subject = Some(subject);
        message.domain = Some(domain);
        Ok(())
    }
}

fn addresses(name: &str, texts: &[String]) -> Result<Vec<Mailbox>, Problem> {
    let one = |(place, text): (usize, &String)| {
        address::parse(text).map_err(|error| Problem::invalid(format!("{name}[{place}]"), error.to_string()))
    };
    texts.iter().enumerate().map(one).collect()
}
