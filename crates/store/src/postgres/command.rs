//! What the writer is asked to do.

use std::sync::Arc;

use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;
use tokio::sync::oneshot;

use super::pending::Claim;
use super::shared::Busy;
use crate::gathering::{Weighed, Weight};
use crate::{Append, Joined, Recovered, Settlement, StoreError};

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Command {
    Append(Append, Reply<()>),
    Settle(Arc<[Settlement]>, Reply<()>),
    Reopen(Vec<DeliveryKey>, i64, Reply<Vec<PendingDelivery>>),
    Recover(Reply<Recovered>),
    /// These claims are this node's: what it took over of nodes that are gone.
    Hold(Vec<Claim>, Reply<()>),
    /// Has every append that was begun be stored or undone.
    Decide(Reply<()>),
    /// Puts events into batches, see [`super::joining`].
    Join(Joined, Reply<()>),
    /// Gives a part of what this node owns away, see [`super::shared::Shared::give`].
    Give(Busy, Reply<bool>),
    /// Writes down from where on something may be queued.
    KeepLows(Reply<()>),
    /// A bucket went.
    Forget(i32),
    Close(oneshot::Sender<()>),
}

impl Command {
    /// Answers a command of a group.
    pub(super) fn answer(self, result: Result<(), StoreError>) {
        // A caller that went away needs no answer.
        if let Self::Append(_, reply) | Self::Settle(_, reply) = self {
            reply.send(result).ok();
        }
    }
}

impl Weighed for Command {
    fn weight(&self) -> Option<Weight> {
        match self {
            Self::Append(group, _) => Some(Weight::of_append(group)),
            Self::Settle(outcomes, _) => Some(Weight::of_outcomes(outcomes)),
            _ => None,
        }
    }
}
