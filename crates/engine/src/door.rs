//! The way in for events: matched on the caller's task, bounded in bytes, answered after the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use posthaste_domain::clock::Clock;
use posthaste_domain::event::Source;
use posthaste_domain::matching::parse_document;
use posthaste_domain::message;
use posthaste_domain::resource::Domain;
use posthaste_store::{Suppression, SuppressionReason, Suppressions};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::accept::{AcceptRequest, Accepted, Incoming, IncomingKind, Prepared, Ticket};
use crate::catalogue::Catalogue;
use crate::error::AcceptError;
use crate::messages::{OWN_CARRIER, OWN_TRACKING};
use crate::routing::{Routing, WorkspaceRoutes};

/// Requests that may wait for the committer, besides the byte budget.
const TICKETS: usize = 65_536;

/// Takes events and hands them to the committer.
pub(crate) struct Door {
    catalogue: Arc<Catalogue>,
    routing: Arc<Routing>,
    clock: Arc<dyn Clock>,
    suppressions: Arc<dyn Suppressions>,
    budget: Arc<Semaphore>,
    patience: Duration,
    /// When the group that is being committed began. Not by the wall clock, which may jump.
    busy_since: Arc<Mutex<Option<Instant>>>,
    tickets: RwLock<Option<mpsc::Sender<Ticket>>>,
    closing: AtomicBool,
}

impl Door {
    /// A door, and the queue that the committer works off.
    pub fn new(
        catalogue: Arc<Catalogue>,
        routing: Arc<Routing>,
        clock: Arc<dyn Clock>,
        suppressions: Arc<dyn Suppressions>,
        busy_since: Arc<Mutex<Option<Instant>>>,
        patience: Duration,
        queue_bytes: usize,
    ) -> (Self, mpsc::Receiver<Ticket>) {
        let (tickets, queue) = mpsc::channel(TICKETS);
        let budget = Arc::new(Semaphore::new(queue_bytes.min(Semaphore::MAX_PERMITS)));
        let (tickets, closing) = (RwLock::new(Some(tickets)), AtomicBool::new(false));
        (Self { catalogue, routing, clock, suppressions, budget, patience, busy_since, tickets, closing }, queue)
    }

    /// Refuses what comes from outside from now on; answers whether it did so before.
    pub fn close(&self) -> bool {
        self.closing.swap(true, Ordering::SeqCst)
    }

    /// Whether events from outside are refused.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Refuses everything from now on: the committer ends when it has worked off what waits.
    pub fn lock(&self) {
        drop(self.tickets.write().take());
    }

    /// Whether a commit takes longer than anybody should wait.
    pub fn is_stuck(&self) -> bool {
        self.busy_since.lock().is_some_and(|since| since.elapsed() > self.patience)
    }

    /// Stores events from outside and their deliveries; answers once they are on disk.
    pub async fn accept(&self, request: AcceptRequest) -> Result<Accepted, AcceptError> {
        if self.is_closing() {
            return Err(AcceptError::Closing);
        }
        self.accept_inside(request).await
    }

    /// The same for events that this server itself makes, which are taken while it shuts down.
    pub async fn accept_inside(&self, request: AcceptRequest) -> Result<Accepted, AcceptError> {
        if self.is_stuck() {
            return Err(AcceptError::Overloaded);
        }
        let now_ms = self.clock.now_ms();
        let routes = self.routing.of(&self.catalogue, request.workspace);
        let bytes: usize = request.events.iter().map(|e| e.payload.len() + 128).sum();
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.budget).try_acquire_many_owned(permits).map_err(|_| AcceptError::Overloaded)?;
        let events: Vec<Prepared> = request.events.into_iter().map(|incoming| prepare(&routes, now_ms, incoming)).collect();
        self.suppress(request.workspace, &request.source, &events, now_ms).await?;
        let (answer, receive) = oneshot::channel();
        let ticket = Ticket {
            workspace: request.workspace,
            source: request.source,
            events,
            idempotency: request.idempotency,
            answer,
            _budget: budget,
        };
        {
            let tickets = self.tickets.read();
            let queue = tickets.as_ref().ok_or(AcceptError::Closing)?;
            queue.try_send(ticket).map_err(|_| AcceptError::Overloaded)?;
        }
        receive.await.unwrap_or(Err(AcceptError::Closing))
    }
}

impl Door {
    /// Remembers whom events of this request forbid to write to, before they are stored: whoever sees the event finds it heeded.
    async fn suppress(&self, workspace: i64, source: &Source, events: &[Prepared], now_ms: i64) -> Result<(), AcceptError> {
        let is_own = source.via == OWN_TRACKING || source.via == OWN_CARRIER;
        for event in events {
            let Some(name) = &event.type_name else { continue };
            let Some(found) = message::suppression(name, &event.payload) else { continue };
            // Events from outside of domains that are not the workspace's own tell of mail that others sent.
            if found.is_mail && !is_own && self.catalogue.named::<Domain>(workspace, &found.scope).is_none() {
                continue;
            }
            let reason = match found.reason {
                "unsubscribe" => SuppressionReason::Unsubscribe,
                "complaint" => SuppressionReason::Complaint,
                _ => SuppressionReason::Bounce,
            };
            let suppression = Suppression { scope: found.scope, address: found.address, reason, at_ms: now_ms };
            self.suppressions.suppress(workspace, suppression).await?;
        }
        Ok(())
    }
}

/// Finds an event's type, what it is about, and its subscriptions. The payload is parsed only if a rule or a filter needs it.
fn prepare(routes: &WorkspaceRoutes, now_ms: i64, incoming: Incoming) -> Prepared {
    let Incoming { kind, payload, deliver_at_ms } = incoming;
    let document = std::cell::OnceCell::new();
    let parsed = || document.get_or_init(|| parse_document(&payload)).as_ref();
    let mut ordinals = None;
    let mut subscriptions = Vec::new();
    let type_name = match kind {
        IncomingKind::Named(name) => Some(name),
        IncomingKind::ByRules => parsed().and_then(|d| routes.type_of(d)),
        IncomingKind::Addressed { type_name, subscription, ordinals: to } => {
            subscriptions.extend(routes.subscriptions.get(&subscription).cloned());
            ordinals = Some(to);
            Some(type_name)
        }
    };
    if let Some(name) = type_name.as_deref().filter(|_| ordinals.is_none()) {
        routes.matches(name, now_ms, parsed, &mut subscriptions);
    }
    let about = type_name.as_deref().map(|name| message::subjects(name, &payload)).unwrap_or_default();
    drop(document);
    Prepared { type_name, payload, about, deliver_at_ms, subscriptions, ordinals }
}
