//! What a group of requests becomes: rows for the journal, and deliveries for the lanes once they are on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_domain::delivery::{Delivery, DeliveryState, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::policy::Batch;
use posthaste_store::{Append, Join, Joiner, NewDelivery};

use crate::batches::Changes;
use crate::lanes::{Arrival, How};
use crate::routing::SubscriptionRoute;

/// The place of a batch that the owner of its target may open.
pub(crate) fn owner_batch(subscription: &SubscriptionRoute, ordinal: u32) -> NewDelivery {
    let (subscription, target) = (subscription.number, subscription.target);
    NewDelivery { ordinal, subscription, target, due_ms: None, is_batch: true, for_owner: true }
}

/// A delivery of one event.
pub(crate) fn single(subscription: &SubscriptionRoute, ordinal: u32, due_ms: Option<i64>) -> NewDelivery {
    NewDelivery {
        ordinal,
        subscription: subscription.number,
        target: subscription.target,
        due_ms,
        is_batch: false,
        for_owner: subscription.for_owner,
    }
}

/// One delivery for each ordinal of an addressed event.
pub(crate) fn addressed(
    group: &mut Group,
    ordinals: &[u32],
    subscription: &SubscriptionRoute,
    deliver_at_ms: Option<i64>,
    event: &Arc<Event>,
    now_ms: i64,
) -> Vec<NewDelivery> {
    let due_ms = deliver_at_ms.filter(|at| *at > now_ms);
    let deliveries: Vec<NewDelivery> = ordinals.iter().map(|ordinal| single(subscription, *ordinal, due_ms)).collect();
    if subscription.for_owner {
        return deliveries;
    }
    let how = || due_ms.map_or(How::Fresh, How::Later);
    group.arrivals.extend(deliveries.iter().map(|new| Arrival { delivery: pending(event, new, now_ms), how: how() }));
    deliveries
}

/// What one commit stores, and whom it tells.
#[derive(Default)]
pub(crate) struct Group {
    pub append: Append,
    pub arrivals: Vec<Arrival>,
    pub batches: Changes,
    /// What owners put into batches, by subscription.
    pub joins: BTreeMap<i64, Join>,
}

impl Group {
    /// Leaves an event to the owner of its target, for a batch.
    pub fn join(&mut self, subscription: &SubscriptionRoute, limits: Batch, event: &Event, ordinal: u32) {
        let joiner = Joiner { sequence: event.sequence, ordinal, bytes: event.payload.len().try_into().unwrap_or(u32::MAX) };
        let join = || Join {
            workspace: event.workspace,
            subscription: subscription.number,
            target: subscription.target,
            limits,
            is_ordered: subscription.is_ordered,
            at_ms: event.received_ms,
            members: Vec::new(),
        };
        self.joins.entry(subscription.number).or_insert_with(join).members.push(joiner);
    }
}

/// A new delivery as its lane has it.
pub(crate) fn pending(event: &Arc<Event>, new: &NewDelivery, now_ms: i64) -> PendingDelivery {
    PendingDelivery {
        delivery: Delivery {
            key: DeliveryKey::new(event.sequence, new.ordinal),
            workspace: event.workspace,
            subscription: new.subscription,
            target: new.target,
            state: if new.due_ms.is_some() { DeliveryState::Scheduled } else { DeliveryState::Queued },
            attempts: 0,
            first_attempt_ms: 0,
            due_ms: new.due_ms.unwrap_or(0),
            is_batch: new.is_batch,
            updated_ms: now_ms,
            received_ms: event.received_ms,
        },
        event: Arc::clone(event),
    }
}
