//! Retention, on a timer of its own: drops whole buckets of the journal by age and size, request bins past their time, old entries of the
//! audit log, and sessions that are over.

use std::collections::HashSet;

use posthaste_domain::resource::Bin;

use crate::engine::Engine;
use crate::error::ResourceError;

/// Runs until the engine's tasks are cancelled.
pub(crate) async fn run(engine: Engine) {
    let tasks = engine.tasks().clone();
    let cancelled = tasks.cancelled();
    tokio::pin!(cancelled);
    let every = engine.settings().retention_every;
    let mut emptied = HashSet::new();
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
        let audit_from_ms = engine.now_ms().saturating_sub(i64::try_from(engine.settings().audit_age.as_millis()).unwrap_or(i64::MAX));
        match engine.inner().catalogue.store().drop_audit(audit_from_ms).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "retention dropped old entries of the audit log"),
            Err(error) => tracing::error!(%error, "old entries of the audit log could not be dropped; it is tried again"),
        }
        if let Err(error) = engine.sweep_sessions(engine.settings().sessions).await {
            tracing::error!(%error, "sessions that are over could not be forgotten; it is tried again");
        }
        if let Err(error) = retire_bins(&engine, &mut emptied).await {
            tracing::error!(%error, "expired request bins could not be emptied; it is tried again");
        }
    }
}

/// Empties bins as they expire, and deletes them once they have said so for long enough. `emptied` remembers which need no more work.
async fn retire_bins(engine: &Engine, emptied: &mut HashSet<i64>) -> Result<(), ResourceError> {
    let now_ms = engine.now_ms();
    let grace_ms = engine.settings().bin_grace.as_millis() as i64;
    for workspace in engine.workspaces() {
        for bin in engine.list::<Bin>(workspace) {
            if bin.doc.expires_ms > now_ms {
                // It may have been emptied before its life was prolonged.
                emptied.remove(&bin.number);
                continue;
            }
            if !emptied.contains(&bin.number) {
                engine.bins().clear(bin.number).await?;
                emptied.insert(bin.number);
            }
            if bin.doc.expires_ms.saturating_add(grace_ms) <= now_ms {
                engine.delete::<Bin>(workspace, &bin.id).await?;
                emptied.remove(&bin.number);
            }
        }
    }
    Ok(())
}
