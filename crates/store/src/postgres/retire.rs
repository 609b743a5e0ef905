//! Retention: whole buckets go. It works beside the writer, which never waits for it.

use super::buckets::{self, Buckets};
use super::command::Command;
use super::error::{Failure, Kind};
use super::shared::Shared;
use super::store::PostgresStore;
use crate::{RetentionRule, Retired};

impl PostgresStore {
    /// See `Journal::retire`.
    pub(super) async fn drop_old(&self, rule: RetentionRule, now_ms: i64) -> Result<Retired, Failure> {
        let shared = self.shared.clone();
        let conn = shared.list().map_err(Failure::other)?;
        shared.refresh(&conn).await?;
        let mut sizes = buckets::sizes(&conn, shared.options.answer_timeout).await?;
        let mut retired = Retired::default();
        let Some(current) = shared.buckets().current() else { return Ok(retired) };
        let size_of = |sizes: &[(i32, u64)], id: i32| sizes.iter().find(|(of, _)| *of == id).map_or(0, |(_, bytes)| *bytes);
        let oldest = current.sql("SELECT received_ms FROM posthaste.event_$_ ORDER BY sequence LIMIT 1");
        let first_ms: Option<i64> = conn.keyed(&oldest, &[]).await?.first().map(|row| row.get(0));
        let age_ms = i64::try_from(shared.options.bucket_age.as_millis()).unwrap_or(i64::MAX);
        let is_full = size_of(&sizes, current.id) >= shared.options.bucket_bytes;
        if first_ms.is_some_and(|first_ms| is_full || now_ms.saturating_sub(first_ms) > age_ms) {
            roll(&shared, &current).await?;
            sizes = buckets::sizes(&conn, shared.options.answer_timeout).await?;
        }
        self.command(Command::KeepLows).await.map_err(Failure::other)?;
        let all = shared.buckets();
        let mut total: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        let mut living = Buckets::clone(&all);
        for pair in all.0.windows(2) {
            let (bucket, next) = (pair[0], pair[1]);
            // The next one begins with the time of this one's last event.
            if total <= rule.max_bytes && now_ms.saturating_sub(next.floor_ms) <= rule.max_age_ms {
                break;
            }
            let tx = shared.keeping.alone().await.map_err(Failure::other)?;
            let dropped = buckets::drop_bucket(&tx, &bucket, &living).await;
            match tx.finish(dropped).await {
                Ok(true) => {
                    let bytes = size_of(&sizes, bucket.id);
                    total -= bytes;
                    retired.buckets += 1;
                    retired.bytes += bytes;
                    living.0.retain(|other| other.id != bucket.id);
                    self.tell(Command::Forget(bucket.id)).await;
                }
                Ok(false) => retired.kept_for_pending += 1,
                // Somebody reads it for long, or another node was quicker.
                Err(Failure { kind: Kind::Moved | Kind::Other, error }) => {
                    tracing::info!(%error, bucket = bucket.id, "a bucket could not be dropped now");
                }
                Err(failure) => return Err(failure),
            }
        }
        shared.refresh(&conn).await?;
        Ok(retired)
    }
}

/// Begins the next bucket. If that cannot be now, the current one simply goes on.
async fn roll(shared: &Shared, current: &buckets::Bucket) -> Result<(), Failure> {
    let tx = shared.keeping.alone().await.map_err(Failure::other)?;
    let rolled = buckets::roll(&tx, current).await;
    if let Err(failure) = tx.finish(rolled).await {
        tracing::warn!(error = %failure.error, "cannot begin a new bucket; the current one goes on");
        return Ok(());
    }
    let conn = shared.list().map_err(Failure::other)?;
    shared.refresh(&conn).await?;
    let tx = shared.keeping.alone().await.map_err(Failure::other)?;
    let made = super::schema::make_ahead(&tx).await;
    tx.finish(made).await
}
