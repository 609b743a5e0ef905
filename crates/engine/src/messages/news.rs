//! News of carriers made events: receipts find their message by the carrier's id, replies by the number that they come from.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use posthaste_channels::{CarrierNews, NewsKind, ReceiptState};
use posthaste_domain::clock::rfc3339;
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id;
use posthaste_domain::message::{self, Outgoing};
use posthaste_domain::sms::{Keyword, keyword};
use posthaste_store::{Order, Range, StoreError};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, MutexGuard, Semaphore, mpsc};

use super::actions::ActionError;
use super::{OWN_CARRIER, told};
use crate::accept::{AcceptRequest, Incoming};
use crate::engine::Engine;
use crate::error::AcceptError;

/// News that are worked on at once.
const AT_ONCE: usize = 64;
/// A receipt may be faster than the record that its message was sent: it waits this long for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Fields of an event that the next one does not inherit.
const OF_ITS_TIME: [&str; 8] =
    ["occurred_at", "attempt", "status_code", "error_code", "description", "reason", "retry_seconds", "transport"];

/// Turns of receipts: those of one message are told one after the other, so that each sees what was told before it. Messages share them.
struct Turns(Vec<Mutex<()>>);

impl Turns {
    fn new() -> Self {
        Self((0..AT_ONCE).map(|_| Mutex::new(())).collect())
    }

    /// Waits for the turn of a message, by the carrier's id.
    async fn of(&self, carrier_id: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        carrier_id.hash(&mut hasher);
        self.0[hasher.finish() as usize % self.0.len()].lock().await
    }
}

/// Works off news until the engine is gone.
pub(crate) async fn run(engine: Engine, mut news: mpsc::Receiver<CarrierNews>) {
    let (permits, turns) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Turns::new()));
    let cancelled = engine.tasks().cancelled();
    tokio::pin!(cancelled);
    loop {
        let one = tokio::select! {
            () = &mut cancelled => return,
            one = news.recv() => one,
        };
        let Some(CarrierNews { kind, ack }) = one else { return };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (worker, turns) = (engine.clone(), Arc::clone(&turns));
        engine.tasks().spawn("carrier news", async move {
            let kept = worker.take_news(&turns, kind).await.unwrap_or_else(|error| {
                tracing::error!(%error, "news of a carrier could not be stored; it is asked to offer them again");
                false
            });
            // A carrier that hung up offers them again.
            let _ = ack.send(kept);
            drop(permit);
        });
    }
}

/// Why news were not kept.
#[derive(Debug, thiserror::Error)]
enum NewsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Accept(#[from] AcceptError),
    #[error(transparent)]
    Action(#[from] ActionError),
}

impl Engine {
    /// Whether the news are durable now.
    async fn take_news(&self, turns: &Turns, kind: NewsKind) -> Result<bool, NewsError> {
        match kind {
            NewsKind::Receipt { state: ReceiptState::Enroute, .. } => Ok(true),
            NewsKind::Receipt { carrier_id, state, code, text } => self.take_receipt(turns, &carrier_id, state, code, text).await,
            NewsKind::Complaint { message_id, recipient } => Ok(self.take_carriers_complaint(&message_id, &recipient).await?),
            NewsKind::Received { from, to, text } => self.take_inbound(&from, &to, text).await.map(|()| true),
        }
    }

    async fn take_receipt(
        &self,
        turns: &Turns,
        carrier_id: &str,
        state: ReceiptState,
        code: Option<String>,
        text: Option<String>,
    ) -> Result<bool, NewsError> {
        let subject = format!("carrier:{carrier_id}");
        // Waited for before it takes its turn: what is not known may never be, and others share the turn.
        if self.await_event_about(&subject, PATIENCE).await?.is_none() {
            tracing::warn!(carrier_id, ?state, "a receipt for a message that is not known");
            return Ok(false);
        }
        // Kept until the event is stored.
        let _turn = turns.of(carrier_id).await;
        let last = self.last_about(&subject).await?;
        let Some(last) = last.filter(|last| last.type_name.as_deref() == Some(message::SENT)) else {
            // Told before: carriers repeat themselves when an answer was lost, and several may come at once.
            return Ok(true);
        };
        let mut data: Map<String, Value> = serde_json::from_slice(&last.payload).unwrap_or_default();
        data.retain(|name, _| !OF_ITS_TIME.contains(&name.as_str()));
        let type_name = match state {
            ReceiptState::Delivered => message::DELIVERED,
            ReceiptState::Failed | ReceiptState::Expired | ReceiptState::Rejected | ReceiptState::Enroute => {
                let reason = match state {
                    ReceiptState::Expired => "expired",
                    ReceiptState::Rejected => "rejected",
                    _ => "generic",
                };
                data.insert("reason".to_owned(), json!(reason));
                message::FAILED
            }
        };
        for (name, value) in [("error_code", code), ("description", text)] {
            if let Some(value) = value {
                data.insert(name.to_owned(), json!(value));
            }
        }
        self.tell(last.workspace, told(type_name, data, self.now_ms())).await?;
        Ok(true)
    }

    async fn take_inbound(&self, from: &str, to: &str, text: String) -> Result<(), NewsError> {
        let (workspace, original) = match self.message_to(from, to).await? {
            Some((workspace, original)) => (workspace, Some(original)),
            None => (self.workspaces().into_iter().min().unwrap_or_default(), None),
        };
        let word = keyword(&text);
        let mut data = Map::new();
        let mut set = |name: &str, value: Value| data.insert(name.to_owned(), value);
        set("channel", json!("sms"));
        let reply_id = id::uuid(rand::random());
        set("message_id", json!(original.as_ref().map_or(&reply_id, |message| &message.id)));
        let opts_out = word == Some(Keyword::OptOut);
        let (recipient, sender) = if opts_out { (from, to) } else { (to, from) };
        set("recipient", json!(recipient));
        set("sender", json!(sender));
        set("text", json!(text));
        if !opts_out {
            set("reply_id", json!(reply_id));
        }
        if let Some(message) = original {
            set("submitted_at", json!(rfc3339(message.created_ms)));
            if let Some(text) = message.text {
                set("original_text", json!(text));
            }
            if !message.metadata.is_empty() {
                set("metadata", Value::Object(message.metadata));
            }
            if let Some(url) = message.callback_url {
                set("callback_url", json!(url));
            }
        }
        if word == Some(Keyword::OptIn) {
            self.suppressions().unsuppress(workspace, message::SMS_SCOPE, from).await?;
        }
        let type_name = if opts_out { message::UNSUBSCRIBED } else { message::RECEIVED };
        self.tell(workspace, told(type_name, data, self.now_ms())).await?;
        Ok(())
    }

    /// The last message to a number, from the number that the answer came to if there is one.
    async fn message_to(&self, number: &str, sender: &str) -> Result<Option<(i64, Outgoing)>, StoreError> {
        let range = Range { order: Order::Desc, after: None, limit: 20, from_ms: None, to_ms: None };
        let sent = self.history().about(None, &format!("sms:{number}"), range).await?;
        let mut read = sent.iter().filter_map(|event| Some((event.workspace, serde_json::from_slice::<Outgoing>(&event.payload).ok()?)));
        let first = read.next();
        match first {
            Some((_, ref message)) if message.sender != sender => Ok(read.find(|(_, other)| other.sender == sender).or(first)),
            first => Ok(first),
        }
    }

    /// The last event about a subject, in any workspace.
    async fn last_about(&self, subject: &str) -> Result<Option<Arc<Event>>, StoreError> {
        let range = Range { order: Order::Desc, after: None, limit: 1, from_ms: None, to_ms: None };
        Ok(self.history().about(None, subject, range).await?.pop())
    }

    /// The same; one that is being stored is waited for.
    async fn await_event_about(&self, subject: &str, patience: Duration) -> Result<Option<Arc<Event>>, StoreError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut committed = self.stored();
        loop {
            committed.mark_unchanged();
            if let Some(event) = self.last_about(subject).await? {
                return Ok(Some(event));
            }
            match tokio::time::timeout_at(deadline, committed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(None),
            }
        }
    }

    /// Stores an event of the server's own.
    pub(super) async fn tell(&self, workspace: i64, event: Incoming) -> Result<(), AcceptError> {
        let source = Arc::new(Source { via: OWN_CARRIER.into(), key: None, ip: None });
        let request = AcceptRequest { workspace, source, events: vec![event], idempotency: None };
        self.inner().door.accept_inside(request).await.map(drop)
    }
}
