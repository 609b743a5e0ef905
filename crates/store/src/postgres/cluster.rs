//! What nodes share, as `Cluster` has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use posthaste_domain::delivery::PendingDelivery;
use posthaste_domain::id::{DeliveryKey, Sequence};
use tokio::time::timeout;

use super::arrivals::OWNERS;
use super::error::Failure;
use super::listen::Bell;
use super::nodes::Heard;
use super::pending::part_of;
use super::shared::Busy;
use super::store::PostgresStore;
use super::{calls, catalog, joining, nodes, visits};
use crate::postgres::command::Command;
use crate::{Arrived, Beat, Bells, Call, CallKind, CatalogNews, Cluster, Inherited, Joined, Joining, NodeInfo, Pen, StoreError, VisitRule};

/// How often it is looked whether all know, where no bell rings.
const LOOK: Duration = Duration::from_millis(250);

#[async_trait]
impl Cluster for PostgresStore {
    async fn lease(&self, count: u32) -> Result<Sequence, StoreError> {
        self.lease_sequences(count).await
    }

    async fn beat(&self, catalog: i64, report: &str) -> Result<Beat, StoreError> {
        self.shared.is_beating.store(true, Ordering::Relaxed);
        let conn = self.shared.lane().inspect_err(|_| self.shared.beaten(false))?;
        let beat = nodes::beat(&conn, &self.shared, catalog, report).await;
        self.shared.beaten(matches!(beat, Ok(Some(_))));
        let Heard { beat, has_arrivals, buckets } = beat?.ok_or(StoreError::Fenced)?;
        if has_arrivals {
            // Somebody's ring may have been lost.
            self.shared.tower.ring(Bell::Arrivals);
        }
        if *self.shared.seen_buckets.lock() != buckets {
            self.shared.refresh(&conn).await?;
            *self.shared.seen_buckets.lock() = buckets;
        }
        Ok(beat)
    }

    fn met(&self) -> Option<Beat> {
        *self.shared.met.lock()
    }

    fn lapse(&self) -> Duration {
        self.shared.options.lapse
    }

    fn bells(&self) -> Bells {
        Bells { arrivals: self.shared.tower.hear(Bell::Arrivals), news: self.shared.tower.hear(Bell::News) }
    }

    async fn give(&self, targets: Vec<i64>, others: Vec<i64>) -> Result<bool, StoreError> {
        self.command(|reply| Command::Give(Busy { targets, others }, reply)).await
    }

    async fn adopt(&self, limit: usize) -> Result<Vec<Inherited>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // A part whose gift was not answered comes back: it must not be given late.
        self.out_of_doubt().await?;
        // Beside the writer, which goes on: whoever is gone may hold locks until the database notices.
        let shared = Arc::clone(&self.shared);
        let claims = self.to_its_end(async move { Ok(nodes::adopt(&shared, limit).await?) }).await?;
        self.command(|reply| Command::Hold(claims, reply)).await?;
        // It is counted beside the writer too. What could not be counted is when this is called again.
        let is_done = self.shared.uncounted.lock().is_empty();
        let lanes = if is_done { Vec::new() } else { self.count().await? };
        // Of what came for it meanwhile nobody was told.
        self.shared.tower.ring(Bell::Arrivals);
        Ok(lanes)
    }

    async fn decided(&self) -> Result<(), StoreError> {
        self.command(Command::Decide).await
    }

    fn owns(&self, number: i64) -> bool {
        self.shared.pending.lock().holds((OWNERS, part_of(number)))
    }

    fn is_unsettled(&self) -> bool {
        self.shared.is_unsettled()
    }

    async fn arrivals(&self) -> Result<Vec<Arrived>, StoreError> {
        self.out_of_doubt().await?;
        self.shared.take_arrivals().await
    }

    async fn joining(&self) -> Result<Vec<Joining>, StoreError> {
        Ok(joining::waiting(&self.shared, &*self.shared.lane()?).await?)
    }

    async fn join(&self, joined: Joined) -> Result<(), StoreError> {
        self.command(|reply| Command::Join(joined, reply)).await
    }

    async fn gathered(&self, batches: Vec<(i64, DeliveryKey)>) -> Result<Vec<PendingDelivery>, StoreError> {
        Ok(joining::gathered(&self.shared, &*self.shared.lane()?, &batches).await?)
    }

    async fn news(&self, known: i64) -> Result<CatalogNews, StoreError> {
        let tx = self.shared.alone().await?;
        let found = async {
            tx.one_moment().await?;
            catalog::news(&tx, &self.shared.options.master_keys, known).await
        };
        let found = found.await;
        tx.finish(found).await
    }

    async fn pen(&self, known: i64) -> Result<Box<dyn Pen>, StoreError> {
        Ok(Box::new(catalog::pen(&self.shared, known).await?))
    }

    async fn seen(&self, version: i64) -> Result<(), StoreError> {
        Ok(nodes::seen(&*self.shared.lane()?, self.shared.identity.node, version).await?)
    }

    async fn confirmed(&self) -> Result<(), StoreError> {
        let mut seen = self.shared.tower.hear(Bell::Seen);
        let mut version = None;
        loop {
            let (catalog, behind) = nodes::behind(&*self.shared.lane()?, &self.shared, version).await?;
            version.get_or_insert(catalog);
            if behind == 0 {
                return Ok(());
            }
            timeout(LOOK, seen.changed()).await.ok();
        }
    }

    async fn call(&self, kind: CallKind, keys: Vec<DeliveryKey>, target: i64, at_ms: i64) -> Result<Vec<DeliveryKey>, StoreError> {
        calls::call(&self.shared, kind, keys, target, at_ms).await
    }

    async fn calls(&self) -> Result<Vec<Call>, StoreError> {
        Ok(calls::take(&*self.shared.lane()?, self.shared.identity.node).await?)
    }

    async fn answer(&self, call: i64, keys: Vec<DeliveryKey>) -> Result<(), StoreError> {
        Ok(calls::answer(&*self.shared.lane()?, call, &keys).await?)
    }

    async fn visit(&self, place: i64, visitor: &str, rule: VisitRule) -> Result<i64, StoreError> {
        Ok(visits::count(&*self.shared.lane()?, place, visitor, rule).await?)
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, StoreError> {
        let conn = self.shared.list()?;
        nodes::all(&conn, &self.shared).await.map_err(|failure: Failure| failure.error)
    }
}
