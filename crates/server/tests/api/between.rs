//! What is settled between two reads of one answer.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::sqlite::SqliteStore;
use posthaste_store::{DeliveryFilter, EventFilter, History, Piece, Range, StoreError, StoreSize};
use serde_json::json;

use crate::rig::{Made, Rig, id};

/// A log in which every attempt is settled between the first read of its delivery and the next.
struct Late {
    store: Arc<SqliteStore>,
    /// How often each delivery was read.
    reads: Mutex<HashMap<i64, u32>>,
}

impl Late {
    /// The delivery as it was before its last attempt, every other time that it is read.
    fn before(&self, delivery: Delivery) -> Delivery {
        let mut reads = self.reads.lock();
        let read = reads.entry(delivery.key.0).or_default();
        *read += 1;
        match delivery.attempts > 0 && *read % 2 == 1 {
            true => Delivery { state: DeliveryState::Queued, attempts: delivery.attempts - 1, ..delivery },
            false => delivery,
        }
    }
}

#[async_trait]
impl History for Late {
    async fn event(&self, workspace: i64, sequence: Sequence) -> Result<Option<Arc<Event>>, StoreError> {
        self.store.event(workspace, sequence).await
    }

    async fn events_piece(&self, workspace: i64, filter: EventFilter, range: Range, bytes: usize) -> Result<Piece<Arc<Event>>, StoreError> {
        self.store.events_piece(workspace, filter, range, bytes).await
    }

    async fn about(&self, workspace: Option<i64>, subject: &str, range: Range) -> Result<Vec<Arc<Event>>, StoreError> {
        self.store.about(workspace, subject, range).await
    }

    async fn count(&self, workspace: i64, type_name: &str) -> Result<u64, StoreError> {
        self.store.count(workspace, type_name).await
    }

    async fn delivery(&self, workspace: i64, key: DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        Ok(self.store.delivery(workspace, key).await?.map(|delivery| self.before(delivery)))
    }

    async fn deliveries_piece(&self, workspace: i64, filter: DeliveryFilter, range: Range) -> Result<Piece<Delivery>, StoreError> {
        let Piece { items, rest } = self.store.deliveries_piece(workspace, filter, range).await?;
        Ok(Piece { items: items.into_iter().map(|delivery| self.before(delivery)).collect(), rest })
    }

    async fn deliveries_of_each(&self, workspace: i64, events: Vec<Sequence>) -> Result<Vec<Vec<Delivery>>, StoreError> {
        let all = self.store.deliveries_of_each(workspace, events).await?;
        Ok(all.into_iter().map(|some| some.into_iter().map(|delivery| self.before(delivery)).collect()).collect())
    }

    async fn attempts(&self, key: DeliveryKey) -> Result<Vec<Attempt>, StoreError> {
        self.store.attempts(key).await
    }

    async fn last_attempts(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<Attempt>>, StoreError> {
        self.store.last_attempts(keys).await
    }

    async fn size(&self) -> Result<StoreSize, StoreError> {
        self.store.size().await
    }
}

#[tokio::test]
async fn no_attempt_is_shown_beside_the_state_before_it() {
    let made = Made { history: |store| Arc::new(Late { store, reads: Mutex::default() }), ..Made::default() };
    let rig = Rig::of(made).await;
    let settings = json!({"url": "https://a.example/status/503"});
    let target = rig.post("/targets", json!({"name": "a", "channel": "webhook", "settings": settings})).await.expect(201);
    let policy = json!({"retry": {"delays": ["1ms"]}, "jitter": 0});
    rig.post("/subscriptions", json!({"event_types": ["*"], "target_id": id(&target), "policy": policy})).await.expect(201);
    let event = rig.publish("order.paid", json!({"n": 1})).await;
    let delivery = id(&rig.delivery_in(&event, "failed").await);
    for _ in 0..4 {
        let one = rig.get(&format!("/deliveries/{delivery}")).await.expect(200);
        assert_eq!(
            (&one["state"], &one["attempt_count"], &one["last_attempt"]["number"]),
            (&json!("failed"), &json!(2), &json!(2)),
            "{one}"
        );
        assert_eq!(one["attempts"].as_array().map(Vec::len), Some(2), "{one}");
        for path in ["/deliveries", &format!("/events/{event}")] {
            let list = rig.get(path).await.expect(200);
            let shown = &list.get("items").unwrap_or(&list["deliveries"])[0];
            assert_eq!((&shown["state"], &shown["last_attempt"]["number"]), (&json!("failed"), &json!(2)), "{path}: {shown}");
        }
    }
}
