//! What the writer is asked to do.

use std::sync::Arc;

use posthaste_domain::delivery::Delivery;
use posthaste_domain::id::DeliveryKey;
use tokio::sync::oneshot;

use super::compress::Replacement;
use super::readers::Panicked;
use crate::gathering::{Weighed, Weight};
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
}

impl Weighed for Command {
    fn weight(&self) -> Option<Weight> {
        match self {
            Self::Append(group, _) => Some(Weight::of_append(group)),
            Self::Settle(outcomes, _) => Some(Weight::of_outcomes(outcomes)),
            Self::Reopen(..) => Some(Weight::default()),
            _ => None,
        }
    }
}
