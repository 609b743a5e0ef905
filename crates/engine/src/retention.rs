//! Retention: drops whole buckets by age and size, on a timer of its own.

use crate::engine::Engine;

/// Runs until the engine's tasks are cancelled.
pub(crate) async fn run(engine: Engine) {
    let tasks = engine.tasks().clone();
    let cancelled = tasks.cancelled();
    tokio::pin!(cancelled);
    let every = engine.settings().retention_every;
    loop {
        tokio::select! {
            () = &mut cancelled => return,
            () = tokio::time::sleep(every) => {}
        }
        match engine.inner().journal.retire(engine.settings().retention, engine.now_ms()).await {
            Ok(retired) if retired.buckets > 0 => {
                tracing::info!(buckets = retired.buckets, bytes = retired.bytes, "retention dropped old events");
            }
            Ok(retired) if retired.kept_for_pending > 0 => {
                tracing::warn!(buckets = retired.kept_for_pending, "events past retention are kept for deliveries that are still pending");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "retention failed; it tries again"),
        }
    }
}
