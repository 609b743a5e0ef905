//! A journal of which a part does not answer for a while, as when a database is away.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_engine::EngineSettings;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{Append, IdempotencyRecord, Journal, PageLimit, Recovered, RetentionRule, Retired, Settlement, StoreError};

use super::{Rig, Script};

/// All of a journal, except that members of batches may not be had, or that no outcome is stored.
pub struct Away {
    journal: Arc<dyn Journal>,
    keeps_members: AtomicBool,
    keeps_outcomes: AtomicBool,
    keeps_attempts: AtomicBool,
    refused: AtomicUsize,
}

impl Away {
    /// It answers everything.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        let [keeps_members, keeps_outcomes, keeps_attempts] = std::array::from_fn(|_| AtomicBool::new(false));
        Self { journal, keeps_members, keeps_outcomes, keeps_attempts, refused: AtomicUsize::new(0) }
    }

    /// Members of batches cannot be read from now on.
    pub fn keep_members(&self) {
        self.keeps_members.store(true, Ordering::Relaxed);
    }

    /// Outcomes cannot be stored from now on.
    pub fn keep_outcomes(&self) {
        self.keeps_outcomes.store(true, Ordering::Relaxed);
    }

    /// Outcomes of attempts cannot be stored from now on, cancellations can.
    pub fn keep_attempts(&self) {
        self.keeps_attempts.store(true, Ordering::Relaxed);
    }

    /// Everything can be done from now on.
    pub fn come_back(&self) {
        self.keeps_members.store(false, Ordering::Relaxed);
        self.keeps_outcomes.store(false, Ordering::Relaxed);
        self.keeps_attempts.store(false, Ordering::Relaxed);
    }

    fn answer(&self, is_away: &AtomicBool) -> Result<(), StoreError> {
        if is_away.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(())
    }

    /// How often something could not be done.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Journal for Away {
    async fn recover(&self) -> Result<Recovered, StoreError> {
        self.journal.recover().await
    }

    async fn append(&self, group: Append) -> Result<(), StoreError> {
        self.journal.append(group).await
    }

    async fn settle(&self, outcomes: Arc<[Settlement]>) -> Result<(), StoreError> {
        self.answer(&self.keeps_outcomes)?;
        if outcomes.iter().any(|outcome| outcome.attempt.is_some()) {
            self.answer(&self.keeps_attempts)?;
        }
        self.journal.settle(outcomes).await
    }

    async fn queued(&self, target: i64, after: DeliveryKey, limit: PageLimit) -> Result<Vec<PendingDelivery>, StoreError> {
        self.journal.queued(target, after, limit).await
    }

    async fn due(
        &self,
        target: i64,
        after: (i64, DeliveryKey),
        until_ms: i64,
        limit: PageLimit,
    ) -> Result<Vec<PendingDelivery>, StoreError> {
        self.journal.due(target, after, until_ms, limit).await
    }

    async fn members(&self, batch: DeliveryKey, after: Sequence, limit: PageLimit) -> Result<Vec<Arc<Event>>, StoreError> {
        self.answer(&self.keeps_members)?;
        self.journal.members(batch, after, limit).await
    }

    async fn idempotent(&self, workspace: i64, key: &str, now_ms: i64) -> Result<Option<IdempotencyRecord>, StoreError> {
        self.journal.idempotent(workspace, key, now_ms).await
    }

    async fn reopen(&self, keys: Vec<DeliveryKey>, at_ms: i64) -> Result<Vec<PendingDelivery>, StoreError> {
        self.journal.reopen(keys, at_ms).await
    }

    async fn retire(&self, rule: RetentionRule, now_ms: i64) -> Result<Retired, StoreError> {
        self.journal.retire(rule, now_ms).await
    }

    async fn close(&self) {
        self.journal.close().await;
    }
}

/// An engine on such a journal.
pub async fn rig(dir: &Path) -> (Rig, Arc<Away>) {
    let store = Arc::new(SqliteStore::open(dir, SqliteOptions::default()).expect("the store opens"));
    let journal = Arc::new(Away::new(Arc::clone(&store) as Arc<dyn Journal>));
    let rig = Rig::start_on(Arc::clone(&journal) as Arc<dyn Journal>, store, &Script::default(), EngineSettings::default()).await;
    (rig, journal)
}
