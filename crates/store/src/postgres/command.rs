//! What the writer is asked to do.

use std::sync::Arc;

use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;
use tokio::sync::oneshot;

use crate::{Append, Recovered, RetentionRule, Retired, Settlement, StoreError};

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Command {
    Append(Append, Reply<()>),
    Settle(Arc<[Settlement]>, Reply<()>),
    Reopen(Vec<DeliveryKey>, i64, Reply<Vec<PendingDelivery>>),
    Recover(Reply<Recovered>),
    /// Takes over at most so many claims of nodes that are gone.
    Adopt(i64, Reply<()>),
    /// Has every append that was begun be stored or undone.
    Decide(Reply<()>),
    Retire(RetentionRule, i64, Reply<Retired>),
    Close(oneshot::Sender<()>),
}

impl Command {
    /// Whether it may share a commit with others.
    pub(super) fn is_of_groups(&self) -> bool {
        matches!(self, Self::Append(..) | Self::Settle(..))
    }

    /// Whether nobody waits for it.
    pub(super) fn has_time(&self) -> bool {
        matches!(self, Self::Settle(outcomes, _) if outcomes.iter().all(|outcome| !outcome.is_awaited))
    }

    /// Weight in a group.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(group, _) => group.events.iter().map(|event| event.payload.len()).sum(),
            Self::Settle(outcomes, _) => outcomes.iter().filter_map(|o| o.attempt.as_ref()).map(|a| a.response_body.len()).sum(),
            _ => 0,
        }
    }

    /// Answers a command of a group.
    pub(super) fn answer(self, result: Result<(), StoreError>) {
        // A caller that went away needs no answer.
        if let Self::Append(_, reply) | Self::Settle(_, reply) = self {
            reply.send(result).ok();
        }
    }
}
