//! The one owner of background tasks. Shutdown cancels them and waits for them; nothing is spawned past it.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A clonable handle to the tasks of one engine.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// Runs a future until it ends. It should watch [`Tasks::cancelled`] if it does not end by itself.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tracing::trace!(task = name, "started");
        self.tracker.spawn(future);
    }

    /// Resolves when the tasks are to end.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cancel.clone().cancelled_owned()
    }

    /// Whether the tasks are to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Tells all tasks to end.
    pub fn cancel(&self) {
        self.cancel.cancel();
        self.tracker.close();
    }

    /// Waits for all of them. Call [`Tasks::cancel`] first.
    pub async fn finished(&self) {
        self.tracker.wait().await;
    }
}
