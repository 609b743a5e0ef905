//! Where attempts run.
//!
//! An ordinary webhook is sent within the shard's own task: nothing is spawned, no other thread is woken, and outcomes of the moment go to the
//! settler together. What may take long to write (a batch, a template, a mail) gets a task of its own, so that it does not keep
//! the shard's other lanes waiting.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::DeliveryKey;

use super::LaneVerdict;
use super::shard::ShardParts;
use crate::attempt::Conclusion;
use crate::routing::{TargetRoute, WorkspaceRoutes};
use crate::settle::{Room, Unsettled};

/// Payloads up to this are copied, signed and sent without delaying anybody.
const SMALL: usize = 64 << 10;

/// An attempt that may start.
pub(super) struct Start {
    pub delivery: PendingDelivery,
    pub target: Arc<TargetRoute>,
    pub routes: Arc<WorkspaceRoutes>,
}

/// How an attempt ended. Its outcome is not on disk yet.
pub(crate) struct Ended {
    pub target: i64,
    pub key: DeliveryKey,
    pub verdict: LaneVerdict,
    pub outcome: Unsettled,
}

impl Start {
    /// Whether it may run within the shard's task.
    pub fn is_quick(&self) -> bool {
        let is_small = !self.delivery.delivery.is_batch && self.delivery.event.payload.len() <= SMALL;
        is_small && self.routes.subscriptions.get(&self.delivery.delivery.subscription).is_some_and(|subscription| subscription.is_quick())
    }

    /// Makes the attempt. The settler has room for the outcome before the place is given back: what is not on disk is bounded.
    pub async fn run(self, parts: Arc<ShardParts>) -> Ended {
        let Self { delivery, target, routes } = self;
        let (number, key, workspace, failed) = (target.number, delivery.delivery.key, target.workspace, delivery.clone());
        let received_ms = delivery.delivery.received_ms;
        let attempt = AssertUnwindSafe(parts.sender.attempt(delivery, &target, &routes)).catch_unwind().await;
        let Conclusion { settlement, verdict, retry, .. } = attempt.unwrap_or_else(|_| {
            tracing::error!(workspace, target = number, delivery = failed.delivery.id(), "an attempt panicked; it counts as failed");
            parts.sender.panicked(failed, &target, &routes)
        });
        let room: Room = parts.settler.room().await;
        Ended { target: number, key, verdict, outcome: Unsettled { settlement, workspace: Some(workspace), received_ms, retry, room } }
    }
}
