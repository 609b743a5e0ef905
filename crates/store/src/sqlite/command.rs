//! What the writer is asked to do.

use std::sync::Arc;

use posthaste_domain::delivery::Delivery;
use posthaste_domain::id::DeliveryKey;
use tokio::sync::oneshot;

use super::compress::Replacement;
use super::readers::Panicked;
use crate::{Append, RetentionRule, Retired, Settlement, StoreError};

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Command {
    /// `None`: it has been answered.
    Append(Append, Option<Reply<()>>),
    Settle(Arc<[Settlement]>, Reply<()>),
    /// Answers the deliveries that were terminal.
    Reopen(Vec<DeliveryKey>, i64, Reply<Vec<Delivery>>),
    Retire(RetentionRule, i64, Reply<Retired>),
    /// Puts a compressed file in the place of a segment; answers `false` when that has changed since.
    Replace(Replacement, Reply<bool>),
    /// Limits the pages of each file from now on: a full disk for tests.
    CapPages(Option<u32>, Reply<()>),
    Close(oneshot::Sender<()>),
}

impl Command {
    /// Whether it may share a commit with others.
    pub(super) fn is_of_groups(&self) -> bool {
        matches!(self, Self::Append(..) | Self::Settle(..) | Self::Reopen(..))
    }

    /// Answers it after a panic.
    pub(super) fn fail(self) {
        let panicked = || StoreError::Engine(Panicked.into());
        match self {
            Self::Append(_, reply) => drop(reply.map(|reply| reply.send(Err(panicked())))),
            Self::Settle(_, reply) | Self::CapPages(_, reply) => drop(reply.send(Err(panicked()))),
            Self::Reopen(_, _, reply) => drop(reply.send(Err(panicked()))),
            Self::Retire(_, _, reply) => drop(reply.send(Err(panicked()))),
            Self::Replace(_, reply) => drop(reply.send(Err(panicked()))),
            Self::Close(reply) => drop(reply.send(())),
        }
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
}

#[cfg(test)]
mod tests {
    use posthaste_domain::delivery::DeliveryState;

    use super::*;

    #[test]
    fn only_outcomes_that_nobody_waits_for_have_time() {
        let outcome = |is_awaited| Settlement {
            key: DeliveryKey(1),
            target: 1,
            attempt: None,
            state: DeliveryState::Delivered,
            due_ms: 0,
            at_ms: 1,
            is_awaited,
        };
        let settle = |outcomes: Vec<Settlement>| Command::Settle(outcomes.into(), oneshot::channel().0);
        assert!(settle(vec![outcome(false), outcome(false)]).has_time());
        assert!(!settle(vec![outcome(false), outcome(true)]).has_time());
        assert!(!Command::Append(Append::default(), None).has_time());
    }
}
