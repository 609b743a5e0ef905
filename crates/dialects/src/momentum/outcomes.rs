//! What became of a webhook's batches: its last success and failure, and the batches that failed. Key ranges of the history, newest
//! first; nothing is counted or kept beside it.

use posthaste_domain::delivery::{Delivery, DeliveryState};
use posthaste_domain::id::delivery_id;
use posthaste_engine::Engine;
use posthaste_store::{DeliveryFilter, Order, Range, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{MomentumSettings, uuid};

/// Deliveries in one page.
const PAGE: usize = 500;
/// Pages of delivered batches that are looked through for one that failed before: a hundred thousand batches. At the usual 30 s a batch
/// a day has 2,880.
const PAGES: usize = 200;
/// Newest batches of a state among which the last outcome is looked for.
const NEWEST: usize = 100;

/// When batches last succeeded and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_ms: Option<i64>,
    /// Last failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_ms: Option<i64>,
}

/// The history of one webhook.
pub struct Outcomes<'a> {
    engine: &'a Engine,
    workspace: i64,
    targets: Vec<i64>,
}

impl<'a> Outcomes<'a> {
    /// Of the batches to these targets.
    pub fn new(engine: &'a Engine, workspace: i64, targets: Vec<i64>) -> Self {
        Self { engine, workspace, targets }
    }

    async fn page(
        &self,
        states: &[DeliveryState],
        after: Option<i64>,
        limit: usize,
        from_ms: Option<i64>,
    ) -> Result<Vec<Delivery>, StoreError> {
        let filter = DeliveryFilter { targets: Some(self.targets.clone()), states: Some(states.to_vec()), ..DeliveryFilter::default() };
        let range = Range { order: Order::Desc, after, limit, from_ms, to_ms: None };
        self.engine.history().deliveries(self.workspace, filter, range).await
    }

    /// The last success and failure, `before` being those of targets that are no longer there. A failure before a success is found while
    /// its batch is among the newest of its webhook.
    pub async fn seen(&self, before: Seen) -> Result<Seen, StoreError> {
        let delivered = self.page(&[DeliveryState::Delivered], None, NEWEST, None).await?;
        let success_ms = delivered.iter().map(|delivery| delivery.updated_ms).max().max(before.success_ms);
        let mut failure_ms = before.failure_ms;
        for state in [DeliveryState::Scheduled, DeliveryState::Failed] {
            let failing = self.page(&[state], None, NEWEST, None).await?;
            let tried = failing.iter().filter(|delivery| delivery.attempts > 0);
            failure_ms = tried.map(|delivery| delivery.updated_ms).max().max(failure_ms);
        }
        for delivery in delivered.iter().filter(|delivery| delivery.attempts > 1) {
            let attempts = self.engine.history().attempts(delivery.key).await?;
            failure_ms = attempts.iter().filter(|attempt| attempt.error.is_some()).map(|attempt| attempt.at_ms).max().max(failure_ms);
        }
        Ok(Seen { success_ms, failure_ms })
    }

    /// Batches that failed at least once within the status window, the one tried last first.
    pub async fn failed(&self, webhook_id: &str, limit: usize, settings: &MomentumSettings) -> Result<Vec<Value>, StoreError> {
        let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4);
        let from_ms = self.engine.now_ms() - millis(settings.status_window);
        // A batch may have come in a window of retries before its last attempt.
        let received_from_ms = from_ms - millis(settings.retry_window + settings.batch_wait + settings.timeout);
        let mut batches = Vec::new();
        for state in [DeliveryState::Scheduled, DeliveryState::Failed, DeliveryState::Delivered] {
            let mut after = None;
            for _ in 0..PAGES {
                let page = self.page(&[state], after, PAGE, Some(received_from_ms)).await?;
                let fewest = if state == DeliveryState::Delivered { 2 } else { 1 };
                for delivery in page.iter().filter(|delivery| delivery.attempts >= fewest) {
                    batches.extend(self.batch(delivery, webhook_id, from_ms).await?);
                }
                after = page.last().map(|delivery| delivery.key.0);
                if page.len() < PAGE || batches.len() >= limit.saturating_mul(2).max(PAGE) {
                    break;
                }
            }
        }
        batches.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
        Ok(batches.into_iter().take(limit).map(|(_, batch)| batch).collect())
    }

    /// One batch with the time of its last attempt; `None` if it did not fail since `from_ms`.
    async fn batch(&self, delivery: &Delivery, webhook_id: &str, from_ms: i64) -> Result<Option<(i64, Value)>, StoreError> {
        let attempts = self.engine.history().attempts(delivery.key).await?;
        let failures = attempts.iter().filter(|attempt| attempt.error.is_some());
        let (failed, last_failure_ms) = (failures.clone().count(), failures.map(|attempt| attempt.at_ms).max());
        let Some(last) = attempts.last() else { return Ok(None) };
        if last_failure_ms.is_none_or(|at_ms| at_ms < from_ms) {
            return Ok(None);
        }
        let mut batch = json!({
            "batch_id": uuid::of_delivery(&delivery_id(delivery.key, delivery.received_ms)),
            "webhook_id": webhook_id,
            "ts": iso(last.at_ms),
            "attempts": failed,
            "latency": last.duration_us / 1000,
        });
        // The last answer there was: a time-out after it brings none.
        if let Some(status) = attempts.iter().rev().find_map(|attempt| attempt.status) {
            batch["response_code"] = status.into();
            if delivery.state != DeliveryState::Delivered {
                batch["failure_code"] = status.into();
            }
        }
        Ok(Some((last.at_ms, batch)))
    }
}

/// ISO 8601 in UTC with milliseconds.
pub fn iso(at_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// `YYYY-MM-DD HH:MM:SS` in a time zone.
pub fn local(at_ms: i64, zone: &jiff::tz::TimeZone) -> String {
    let time = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    // MOMENTUM-32, MOMENTUM-33, MOMENTUM-96: the forms.
    #[test]
    fn times_have_the_documented_forms() {
        let zone = |name| jiff::tz::TimeZone::get(name).unwrap();
        assert_eq!(iso(1_406_756_288_007), "2014-07-30T21:38:08.007Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(local(1_406_756_288_999, &zone("UTC")), "2014-07-30 21:38:08");
        assert_eq!(local(1_406_756_288_999, &zone("America/New_York")), "2014-07-30 17:38:08");
    }
}
