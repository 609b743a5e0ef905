//! Accepting: prepared events are given their place, committed in groups, answered, and handed to the lanes.
//!
//! Invariants:
//! - One task gives out sequences, so the journal's order is the order of commits.
//! - Matching and parsing happen before, on the caller's task; the committer does neither.
//! - Nobody is answered before the commit that holds their events returned. A group takes whatever waited while the one before it was
//!   flushed: alone, an event waits for nobody.
//! - What waits is bounded in bytes; beyond that callers are refused at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use posthaste_domain::clock::Clock;
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::{self, DeliveryKey, MAX_ORDINAL, Sequence};
use posthaste_domain::policy::Batch;
use posthaste_store::{IdempotencyRecord, Journal, NewDelivery, NewEvent, StoreError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::batches::{Batches, Full, Gate, Member};
use crate::cluster::Doubt;
use crate::error::AcceptError;
use crate::group::{Group, addressed, owner_batch, pending, single};
use crate::lanes::{Arrival, Command, How, Lanes, Reread};
use crate::metrics::Metrics;
use crate::repeats::{self, Followers};
use crate::routing::SubscriptionRoute;
use crate::seldom::Seldom;
use crate::sequences::Sequences;
use crate::series::Counts;
use crate::visible::Visible;

/// Most requests in one group: bounds how long the first of them waits for the others to be written.
const GROUP: usize = 1024;

/// How often all tasks that can go on do so before a group is closed. With 64 connections that makes groups of 53 events instead of 32, so a fifth less
/// is written; more turns gain nothing (`docs/performance.md`, "Groups").
const TURNS: usize = 8;

/// How often a group is tried while other nodes use the same idempotency keys.
const TRIES: usize = 4;

/// Events of one request, from one workspace.
#[derive(Debug)]
pub struct AcceptRequest {
    /// Number of the workspace.
    pub workspace: i64,
    /// Where they come from.
    pub source: Arc<Source>,
    /// At least one.
    pub events: Vec<Incoming>,
    /// The request's `Idempotency-Key`, if it has one.
    pub idempotency: Option<Idempotency>,
}

/// One event as it came.
#[derive(Debug)]
pub struct Incoming {
    /// How its type is known.
    pub kind: IncomingKind,
    /// One JSON document; kept byte for byte.
    pub payload: Bytes,
    /// Not before this time.
    pub deliver_at_ms: Option<i64>,
}

/// How the type of an event is known.
#[derive(Clone, Debug)]
pub enum IncomingKind {
    /// The sender names it.
    Named(Arc<str>),
    /// The event types' rules find it in the payload; if none does, the event is kept as unmatched.
    ByRules,
    /// It is for one subscription and no other, once for each of these ordinals: a message with its recipients.
    Addressed {
        /// Its type.
        type_name: Arc<str>,
        /// Number of the subscription.
        subscription: i64,
        /// Ordinals of its deliveries, ascending.
        ordinals: Vec<u32>,
    },
}

/// A request's `Idempotency-Key`.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// As sent.
    pub key: String,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// In the order of the request.
    pub events: Vec<AcceptedEvent>,
    /// Whether an earlier request with the same idempotency key stored them.
    pub replayed: bool,
}

/// One stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// Its place.
    pub sequence: Sequence,
    /// Its time of receipt.
    pub received_ms: i64,
}

impl AcceptedEvent {
    /// Public id, `evt_…`.
    pub fn id(&self) -> String {
        id::event_id(self.sequence, self.received_ms)
    }
}

/// A matched event on its way to the committer.
pub(crate) struct Prepared {
    pub type_name: Option<Arc<str>>,
    pub payload: Bytes,
    pub about: Vec<String>,
    pub deliver_at_ms: Option<i64>,
    pub subscriptions: Vec<Arc<SubscriptionRoute>>,
    /// Ordinals of the deliveries to the one subscription, if the event is addressed.
    pub ordinals: Option<Vec<u32>>,
}

impl Prepared {
    /// Whether it makes deliveries for the owners of their targets.
    fn is_for_owner(&self) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.for_owner)
    }
}

/// What is to be read from the journal, by target.
pub(crate) struct Takeover {
    pub lanes: Vec<(i64, Reread)>,
    /// Whether whatever this node appends from now on has to lie above all that was leased before.
    pub gives_up_block: bool,
    /// Who waits until the lanes have been told.
    pub told: Option<oneshot::Sender<()>>,
}

/// A request on its way to the committer.
pub(crate) struct Ticket {
    pub workspace: i64,
    pub source: Arc<Source>,
    pub events: Vec<Prepared>,
    pub idempotency: Option<Idempotency>,
    pub answer: oneshot::Sender<Result<Accepted, AcceptError>>,
    /// Its share of the byte budget, given back when it is answered.
    pub _budget: OwnedSemaphorePermit,
}

impl Ticket {
    /// By what its repetitions are known.
    pub fn name(&self) -> Option<(i64, &str)> {
        self.idempotency.as_ref().map(|idempotency| (self.workspace, idempotency.key.as_str()))
    }
}

/// Gives out sequences and commits groups.
pub(crate) struct Committer {
    pub journal: Arc<dyn Journal>,
    pub clock: Arc<dyn Clock>,
    pub lanes: Lanes,
    pub metrics: Arc<Metrics>,
    pub counts: Arc<Counts>,
    pub committed: watch::Sender<i64>,
    /// The last sequence up to which everybody's events are there.
    pub visible: Visible,
    pub sequences: Sequences,
    pub last_received_ms: i64,
    /// When the group under way began, for the overload check.
    pub busy_since: Arc<Mutex<Option<Instant>>>,
    pub batches: Batches,
    /// Requests in the last group, if it had several.
    pub company: usize,
    /// How long the last commit took.
    pub last_took: Duration,
    /// Before the log is told of a commit that failed.
    pub complaint: Seldom,
    /// What is to be read from the journal because other nodes left it there.
    pub takeovers: mpsc::Receiver<Takeover>,
    /// Where deliveries go of which it is not known whether they are stored; `None` for an engine that is alone.
    pub doubts: Option<mpsc::Sender<Doubt>>,
    /// Tells lanes which batches are open.
    pub gate: Gate,
}

impl Committer {
    /// Runs until all senders are gone and everything they sent is committed.
    pub async fn run(mut self, mut tickets: mpsc::Receiver<Ticket>) {
        let mut waiting = Vec::with_capacity(GROUP);
        loop {
            let now_ms = self.clock.now_ms();
            let closed = self.batches.close_due(now_ms);
            if !closed.is_empty() {
                self.lanes.arrived(self.handed(closed)).await;
            }
            let next_due = self.batches.next_due_ms().map(|due_ms| Duration::from_millis((due_ms - now_ms).max(1) as u64));
            tokio::select! {
                biased;
                Some(takeover) = self.takeovers.recv() => {
                    self.take_over(takeover).await;
                    continue;
                }
                count = tickets.recv_many(&mut waiting, GROUP) => if count == 0 { return },
                () = tokio::time::sleep(next_due.unwrap_or_default()), if next_due.is_some() => continue,
            }
            *self.busy_since.lock() = Some(Instant::now());
            self.gather(&mut tickets, &mut waiting).await;
            self.commit(std::mem::take(&mut waiting)).await;
            *self.busy_since.lock() = None;
            waiting.reserve(GROUP);
        }
    }

    /// Has others go along. If the last group was a crowd, first those that come while all tasks that can go on have some [`TURNS`]. Then, where the
    /// store says so, the group waits a moment for as many requests as the last one had. Whoever is alone waits for nobody, and no second group waits
    /// for requests that do not come.
    async fn gather(&mut self, tickets: &mut mpsc::Receiver<Ticket>, waiting: &mut Vec<Ticket>) {
        if self.company >= self.journal.crowd() {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
                while waiting.len() < GROUP
                    && let Ok(ticket) = tickets.try_recv()
                {
                    waiting.push(ticket);
                }
            }
        }
        let until = Instant::now() + self.journal.company(self.last_took);
        while waiting.len() < self.company {
            match timeout_at(until, tickets.recv_many(waiting, GROUP - waiting.len())).await {
                Ok(count) if count > 0 => {}
                _ => break,
            }
        }
        self.company = if waiting.len() > 1 { waiting.len() } else { 0 };
    }

    async fn commit(&mut self, mut tickets: Vec<Ticket>) {
        for _ in 0..TRIES {
            match self.try_commit(tickets).await {
                Some(again) => tickets = again,
                None => return,
            }
        }
        tickets.into_iter().for_each(|ticket| drop(ticket.answer.send(Err(AcceptError::Overloaded))));
    }

    /// Commits a group; answers the requests that have to be looked at again, because another node used one of their idempotency keys in the same
    /// moment.
    async fn try_commit(&mut self, tickets: Vec<Ticket>) -> Option<Vec<Ticket>> {
        let now_ms = self.clock.now_ms().max(self.last_received_ms);
        self.last_received_ms = now_ms;
        let (tickets, mut followers) = repeats::answered(&*self.journal, tickets, now_ms).await;
        if tickets.is_empty() {
            return None;
        }
        let wanted = tickets.iter().map(|ticket| ticket.events.len()).sum();
        let for_owners = tickets.iter().flat_map(|ticket| &ticket.events).any(Prepared::is_for_owner);
        match self.sequences.prepare(wanted, for_owners).await {
            Ok(true) => self.visible.met_others(),
            Ok(false) => {}
            Err(error) => {
                self.refuse(tickets, followers, error, now_ms);
                return None;
            }
        }
        let mut group = Group::default();
        let mut answers = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let accepted = self.place(&mut group, &ticket, now_ms);
            answers.push((ticket, accepted));
        }
        let started = Instant::now();
        let Group { mut append, mut arrivals, mut batches, joins } = group;
        append.joins = joins.into_values().collect();
        append.batches = std::mem::take(&mut batches.parts).into_iter().map(|(_, part)| part).collect();
        let count = append.events.len();
        let workspaces: Vec<i64> = append.events.iter().map(|event| event.workspace).collect();
        let appended = self.journal.append(append).await;
        self.last_took = started.elapsed();
        match appended {
            Ok(()) => {
                self.metrics.committed(count, self.last_took);
                self.counts.accepted(workspaces.into_iter(), now_ms);
                let closed = self.batches.committed(batches);
                arrivals.extend(self.handed(closed));
                // Deliveries start before the senders hear the answer is written: both are after the flush.
                self.lanes.arrived(arrivals).await;
                self.committed.send_replace(self.sequences.last());
                self.visible.stored(self.sequences.last());
                for (ticket, accepted) in answers {
                    let behind = ticket.idempotency.and_then(|i| followers.remove(&(ticket.workspace, i.key))).unwrap_or_default();
                    for follower in behind {
                        let _ = follower.answer.send(Ok(Accepted { events: accepted.events.clone(), replayed: true }));
                    }
                    // A sender that hung up is no reason to fail: its events are stored.
                    let _ = ticket.answer.send(Ok(accepted));
                }
            }
            Err(error) => {
                let is_unsure = self.is_unsure(&error);
                let failed = self.batches.failed(batches, is_unsure, now_ms);
                self.lanes.arrived(self.handed(failed.closed)).await;
                let tickets = answers.into_iter().map(|(ticket, _)| ticket);
                if matches!(error, StoreError::Repeated) {
                    return Some(tickets.chain(followers.into_values().flatten()).collect());
                }
                if is_unsure {
                    let unsure = arrivals.iter().map(|arrival| (arrival.delivery.delivery.target, arrival.delivery.delivery.key));
                    self.doubt(unsure, failed.unsure);
                }
                self.refuse(tickets.collect(), followers, error, now_ms);
            }
        }
        None
    }

    /// Tells senders that what they sent is not stored, or not surely.
    fn refuse(&self, tickets: Vec<Ticket>, followers: Followers, error: StoreError, now_ms: i64) {
        self.metrics.accept_failed(now_ms);
        if let Some(unsaid) = self.complaint.turn() {
            tracing::error!(%error, requests = tickets.len(), unsaid, "a commit failed; its senders are told");
        }
        let error = Arc::new(error);
        for ticket in tickets {
            let _ = ticket.answer.send(Err(share(&error)));
        }
        // Their leader failed; they may try again.
        for follower in followers.into_values().flatten() {
            let _ = follower.answer.send(Err(AcceptError::Overloaded));
        }
    }

    /// Whether a commit may have been made nevertheless.
    fn is_unsure(&self, error: &StoreError) -> bool {
        self.doubts.is_some() && matches!(error, StoreError::Unavailable(_))
    }

    /// A commit of which nobody knows how it ended may have left deliveries that no lane has.
    fn doubt(&self, deliveries: impl Iterator<Item = (i64, DeliveryKey)>, batches: Vec<(i64, DeliveryKey)>) {
        if let Some(doubts) = &self.doubts {
            Doubt::of(deliveries, batches).tell(doubts, &self.gate);
        }
    }

    /// Closed batches, for their lanes.
    fn handed(&self, closed: Vec<Full>) -> Vec<Arrival> {
        closed.into_iter().filter_map(Full::hand).collect()
    }

    /// Tells lanes what to read: between two groups, so that each knows which keys will still be pushed.
    async fn take_over(&mut self, takeover: Takeover) {
        if takeover.gives_up_block {
            self.sequences.give_up();
        }
        for (target, lane) in takeover.lanes {
            self.lanes.send(target, Command::Reread { target, lane }).await;
        }
        // Whoever waited may have gone away.
        takeover.told.map(|told| told.send(()));
    }

    /// Gives the events of one request their sequences and deliveries.
    fn place(&mut self, group: &mut Group, ticket: &Ticket, now_ms: i64) -> Accepted {
        let mut events = Vec::with_capacity(ticket.events.len());
        for prepared in &ticket.events {
            let sequence = Sequence(self.sequences.next());
            events.push(AcceptedEvent { sequence, received_ms: now_ms });
            let event = Arc::new(Event {
                sequence,
                workspace: ticket.workspace,
                type_name: prepared.type_name.clone(),
                payload: prepared.payload.clone(),
                source: Arc::clone(&ticket.source),
                received_ms: now_ms,
            });
            let deliveries = self.deliveries(group, prepared, &event, now_ms);
            group.append.events.push(NewEvent {
                sequence,
                workspace: ticket.workspace,
                type_name: prepared.type_name.clone(),
                received_ms: now_ms,
                source: Arc::clone(&ticket.source),
                payload: prepared.payload.clone(),
                about: prepared.about.clone(),
                deliveries,
            });
        }
        if let (Some(idempotency), Some(first)) = (&ticket.idempotency, events.first()) {
            group.append.idempotency.push(IdempotencyRecord {
                workspace: ticket.workspace,
                key: idempotency.key.clone(),
                body_hash: idempotency.body_hash,
                first: first.sequence,
                count: events.len() as u32,
                at_ms: now_ms,
            });
        }
        Accepted { events, replayed: false }
    }

    /// Lets an event join its batch; answers the delivery of one that it opens.
    fn join(
        &mut self,
        group: &mut Group,
        subscription: &SubscriptionRoute,
        limits: Batch,
        event: &Arc<Event>,
        ordinal: u32,
        now_ms: i64,
    ) -> Option<NewDelivery> {
        let member = Member {
            subscription: subscription.number,
            target: subscription.target,
            limits,
            is_ordered: subscription.is_ordered,
            key: DeliveryKey::new(event.sequence, ordinal),
            bytes: event.payload.len(),
        };
        let new = |due_ms| NewDelivery { due_ms: Some(due_ms), for_owner: false, ..owner_batch(subscription, ordinal) };
        let opened = self.batches.join(&mut group.batches, &member, now_ms, |due_ms| Some(pending(event, &new(due_ms), now_ms)));
        opened.map(new)
    }

    fn deliveries(&mut self, group: &mut Group, prepared: &Prepared, event: &Arc<Event>, now_ms: i64) -> Vec<NewDelivery> {
        if let (Some(ordinals), [subscription]) = (&prepared.ordinals, &prepared.subscriptions[..]) {
            return addressed(group, ordinals, subscription, prepared.deliver_at_ms, event, now_ms);
        }
        let mut deliveries = Vec::with_capacity(prepared.subscriptions.len());
        for subscription in prepared.subscriptions.iter().take(MAX_ORDINAL as usize) {
            let ordinal = deliveries.len() as u32;
            let new = match (&subscription.policy.batch, prepared.deliver_at_ms) {
                (Some(limits), None) if subscription.for_owner => {
                    group.join(subscription, *limits, event, ordinal);
                    owner_batch(subscription, ordinal)
                }
                (Some(limits), None) => match self.join(group, subscription, *limits, event, ordinal, now_ms) {
                    Some(new) => new,
                    None => continue,
                },
                (_, deliver_at) => single(subscription, ordinal, deliver_at.filter(|at| *at > now_ms)),
            };
            // A batch is handed to its lane when it is closed; an owner hears of its own by the store.
            if !new.is_batch && !new.for_owner {
                let how = new.due_ms.map_or(How::Fresh, How::Later);
                group.arrivals.push(Arrival { delivery: pending(event, &new, now_ms), how });
            }
            deliveries.push(new);
        }
        deliveries
    }
}

/// One failure, told to several.
pub(crate) fn share(error: &Arc<StoreError>) -> AcceptError {
    match **error {
        StoreError::Full(_) => AcceptError::Full,
        StoreError::Closed => AcceptError::Closing,
        StoreError::Unavailable(_) | StoreError::Fenced => AcceptError::Unavailable,
        _ => AcceptError::Store(Arc::clone(error)),
    }
}
