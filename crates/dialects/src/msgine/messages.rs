//! Sending and reading (MsGine 4).

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use posthaste_domain::clock::parse_rfc3339;
use posthaste_domain::event::Event;
use posthaste_domain::id::resource_id;
use posthaste_domain::message::{EmailParts, MessageChannel, MessageData, Outgoing, Recipient};
use posthaste_domain::signature::hmac_sha256;
use posthaste_engine::{Idempotency, MessageRecord, ResourceError, SendError};
use posthaste_store::{EventFilter, Order, Range, StoreError};
use serde_json::{Map, Value};

use super::account::{self, MsgineAccount};
use super::answer::{Refusal, json_answer};
use super::input::{self, Generation, Options};
use super::routes::{Caller, Shared};
use super::status::{Fold, Progress};
use super::view::{self, MessageView, PageView};
use super::{DIALECT, query};

/// Messages on a page at most.
const PAGE: u64 = 100;
/// Events that are skipped in one step on the way to a page.
const STEP: u64 = 1000;

impl Shared {
    /// `POST /messages/sms`, `POST /developers/sms`
    pub(super) async fn send_sms(&self, caller: &Caller, generation: Generation, body: &[u8]) -> Result<Response, Refusal> {
        let now_ms = self.engine.now_ms();
        let sms = input::sms(body, generation, &self.settings, now_ms)?;
        let by = self.engine.by_key(&caller.key);
        let account = account::ensure(&by, caller.workspace()).await.map_err(|error| failed(&error))?;
        let account = MsgineAccount::new(&account.doc.settings, &self.settings);
        if let Some(url) = &sms.callback_url {
            let origin = input::origin(url).ok_or_else(|| Refusal::callback_url(url))?;
            let until_ms = sms.options.deliver_at_ms.unwrap_or(now_ms);
            let ready = self.callbacks.ensure(&by, &self.settings, caller.workspace(), &origin, until_ms);
            ready.await.map_err(|error| match error {
                ResourceError::Limit { .. } => Refusal::callback_hosts(url),
                // The channel knows more about hosts than a look at the URL tells.
                ResourceError::Invalid { .. } => Refusal::callback_url(url),
                error => failed(&error),
            })?;
        }
        let message = Outgoing {
            id: resource_id("msg", now_ms, rand::random()),
            channel: MessageChannel::Sms,
            dialect: DIALECT.to_owned(),
            sender: sms.from.unwrap_or_else(|| account.sender_id().to_owned()),
            recipients: sms.to.into_iter().map(Recipient::of).collect(),
            subject: None,
            text: Some(sms.message),
            email: None,
            domain: None,
            tags: Vec::new(),
            metadata: Map::new(),
            test: false,
            deliver_at_ms: sms.options.deliver_at_ms,
            callback_url: sms.callback_url,
            extra: view::facts(&account.price(generation)),
            created_ms: now_ms,
        };
        self.send(caller, generation, message, &sms.options, body).await
    }

    /// `POST /developers/email`
    pub(super) async fn send_email(&self, caller: &Caller, body: &[u8]) -> Result<Response, Refusal> {
        let now_ms = self.engine.now_ms();
        let mail = input::email(body, &self.settings, now_ms)?;
        let (from, sender) = mail.from;
        let domain = sender.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase()).unwrap_or_default();
        let track = self.engine.find_domain(caller.workspace(), &domain).map(|entry| entry.doc.track).unwrap_or_default();
        let recipients = mail.to.1.into_iter().chain(mail.cc.1).chain(mail.bcc).map(Recipient::of).collect();
        let message = Outgoing {
            // Also the Message-ID of the mail, which has two sides.
            id: format!("{}@{domain}", resource_id("msg", now_ms, rand::random())),
            channel: MessageChannel::Email,
            dialect: DIALECT.to_owned(),
            sender,
            recipients,
            subject: Some(mail.subject),
            text: mail.text,
            email: Some(EmailParts { from, to: mail.to.0, cc: mail.cc.0, html: mail.html, track, ..EmailParts::default() }),
            domain: Some(domain),
            tags: Vec::new(),
            metadata: Map::new(),
            test: false,
            deliver_at_ms: mail.options.deliver_at_ms,
            callback_url: None,
            extra: Map::new(),
            created_ms: now_ms,
        };
        self.send(caller, Generation::Two, message, &mail.options, body).await
    }

    async fn send(
        &self,
        caller: &Caller,
        generation: Generation,
        message: Outgoing,
        options: &Options,
        body: &[u8],
    ) -> Result<Response, Refusal> {
        let scheduled = message.deliver_at_ms.is_some();
        let idempotency = options.idempotency_key.as_ref().map(|key| Idempotency {
            key: format!("{DIALECT}/{}/{key}", message.channel.name()),
            body_hash: hmac_sha256(DIALECT.as_bytes(), body),
        });
        let sent =
            self.engine.send_message(caller.workspace(), caller.source(), message, idempotency).await.map_err(|error| match error {
                SendError::Accept(error) => error.into(),
                SendError::Carrier(error) => failed(&error),
                SendError::Store(error) => unreadable(&error),
                SendError::Recipients => Refusal::field("to", "Too many recipients"),
            })?;
        // From here on the message is stored: whatever fails, the answer is good.
        let mut progress = nothing_yet(&sent.message, scheduled);
        if sent.replayed
            && let Ok(Some(record)) = self.engine.message(caller.workspace(), &sent.message.id).await
        {
            progress = self::progress(&record);
        }
        let currency = self.currency(caller, generation);
        Ok(json_answer(StatusCode::CREATED, &MessageView::new(&sent.message, progress, generation, &currency)))
    }

    /// `GET /messages/{id}`, `GET /developers/{id}`
    pub(super) async fn read_message(&self, caller: &Caller, generation: Generation, id: &str) -> Result<Response, Refusal> {
        let record = self.engine.message(caller.workspace(), id).await.map_err(|error| unreadable(&error))?;
        let record = record.ok_or(Refusal::NotFound("Message not found"))?;
        let currency = self.currency(caller, generation);
        Ok(json_answer(StatusCode::OK, &MessageView::new(&record.outgoing, progress(&record), generation, &currency)))
    }

    /// `GET /developers/sms/history`, `GET /developers/email/history`
    pub(super) async fn history(&self, caller: &Caller, channel: MessageChannel, query: &str) -> Result<Response, Refusal> {
        let page = query::number(query, "page", 1, u64::MAX)?.unwrap_or(1);
        let limit = query::number(query, "limit", 1, u64::MAX)?.unwrap_or(20).min(PAGE);
        let workspace = caller.workspace();
        let total = self.engine.count_messages(workspace, channel).await.map_err(|error| unreadable(&error))?;
        let pages = total.div_ceil(limit);
        let mut records = Vec::new();
        if page <= pages {
            let held = self.page_of(workspace, channel, total, (page - 1) * limit, limit).await.map_err(|error| unreadable(&error))?;
            for event in held {
                let id = MessageData::parse(&event.payload).and_then(|data| data.text("id").map(String::from));
                let Some(id) = id else { continue };
                records.extend(self.engine.message(workspace, &id).await.map_err(|error| unreadable(&error))?);
            }
        }
        let currency = self.currency(caller, Generation::Two);
        let messages: Vec<MessageView<'_>> =
            records.iter().map(|record| MessageView::new(&record.outgoing, progress(record), Generation::Two, &currency)).collect();
        Ok(json_answer(StatusCode::OK, &PageView { messages: &messages, items: &messages, total, page, pages }))
    }

    /// The events that hold the messages of a page, newest first. The list is walked from its nearer end.
    async fn page_of(
        &self,
        workspace: i64,
        channel: MessageChannel,
        total: u64,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let count = limit.min(total.saturating_sub(skip));
        let from_newest = skip <= total / 2;
        let (order, mut left) = if from_newest { (Order::Desc, skip) } else { (Order::Asc, total - skip - count) };
        let mut after = None;
        let mut step = async |limit: u64| {
            let range = Range { order, after, limit: usize::try_from(limit).unwrap_or(usize::MAX), from_ms: None, to_ms: None };
            let filter = EventFilter { type_name: Some(Some(channel.outgoing_type().to_owned())), ..EventFilter::default() };
            let events = self.engine.history().events(workspace, filter, range).await?;
            after = events.last().map(|event| event.sequence.0).or(after);
            Ok::<_, StoreError>(events)
        };
        while left > 0 {
            let skipped = step(left.min(STEP)).await?.len() as u64;
            if skipped == 0 {
                return Ok(Vec::new());
            }
            left -= skipped;
        }
        let mut events = step(count).await?;
        if !from_newest {
            events.reverse();
        }
        Ok(events)
    }

    /// The currency of what has no price of its own.
    pub(super) fn currency(&self, caller: &Caller, generation: Generation) -> String {
        let account = self.engine.account(caller.workspace(), DIALECT);
        let stored = account.as_ref().map_or(&Value::Null, |account| &account.doc.settings);
        MsgineAccount::new(stored, &self.settings).price(generation).currency
    }
}

fn nothing_yet(message: &Outgoing, scheduled: bool) -> Progress {
    Fold::new(message.recipients.iter().map(|to| to.address.as_str()), scheduled).progress()
}

/// What became of a message.
fn progress(record: &MessageRecord) -> Progress {
    let recipients = record.outgoing.recipients.iter().map(|to| to.address.as_str());
    let mut fold = Fold::new(recipients, record.outgoing.deliver_at_ms.is_some());
    for event in &record.events {
        let Some(data) = MessageData::parse(&event.payload) else { continue };
        let at_ms = data.text("occurred_at").and_then(|text| parse_rfc3339(&text)).unwrap_or(event.received_ms);
        fold.event(event.type_name.as_deref().unwrap_or_default(), &data.text("recipient").unwrap_or_default(), at_ms);
    }
    fold.progress()
}

/// The catalog could not do something that no client can mend.
fn failed(error: &ResourceError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "a message could not be prepared");
    match error {
        ResourceError::Store(StoreError::Full(_)) => Refusal::Unavailable(60),
        ResourceError::Store(StoreError::Closed) => Refusal::Unavailable(5),
        ResourceError::Store(StoreError::Unavailable(_)) => Refusal::Unavailable(2),
        _ => Refusal::Internal,
    }
}

/// The store could not be read.
pub(super) fn unreadable(error: &StoreError) -> Refusal {
    match error {
        StoreError::Closed => return Refusal::Unavailable(5),
        StoreError::Unavailable(_) => return Refusal::Unavailable(2),
        _ => {}
    }
    tracing::error!(error = error as &dyn std::error::Error, "messages could not be read");
    Refusal::Internal
}
