//! The retry schedule, its end, and restarts in the middle of it.

use std::time::Duration;

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::resource::Key;
use serde_json::json;

use crate::rig::{INVALID, NUMBER, Receiver, Reply, Rig};

/// The documented waits before the five retries.
const SCHEDULE: [u64; 5] = [60, 300, 900, 3_600, 21_600];

// MSGINE-56, MSGINE-58, MSGINE-59: six tries at their times, the same bytes each time, then one notice and no more.
#[tokio::test]
async fn five_retries_at_the_documented_times() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer("/hook", &[Reply::Status(500); 10]);
    let target = rig.webhook(&format!("{}/hook", receiver.url), &["message.failed"]).await;
    rig.sms(INVALID).await;
    let first = receiver.next().await;
    for (number, seconds) in SCHEDULE.into_iter().enumerate() {
        let waiting = rig.until_attempts(&target, number as u32 + 1).await;
        assert_eq!((waiting.state, waiting.due_ms - waiting.updated_ms), (DeliveryState::Scheduled, seconds as i64 * 1000));
        // A second early nothing comes.
        rig.pass(Duration::from_secs(seconds - 1));
        rig.nudge().await;
        assert_eq!(rig.deliveries(&target).await[0].attempts, number as u32 + 1);
        assert!(receiver.rest().is_empty());
        rig.pass(Duration::from_secs(1));
        rig.nudge().await;
        let again = receiver.next().await;
        assert_eq!(again.body, first.body);
        for name in ["x-msgine-signature", "x-msgine-delivery"] {
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
    }
    assert_eq!(rig.until_attempts(&target, 6).await.state, DeliveryState::Failed);
    rig.until_events("posthaste.delivery.failed", 1).await;
    rig.pass(Duration::from_secs(7 * 86_400));
    rig.nudge().await;
    assert_eq!(rig.until_attempts(&target, 6).await.state, DeliveryState::Failed);
    assert!(receiver.rest().is_empty());
    let notices = rig.events("posthaste.delivery.failed").await;
    assert_eq!(notices.len(), 1);
    let notice: serde_json::Value = serde_json::from_slice(&notices[0].payload).unwrap();
    assert_eq!((&notice["attempts"], &notice["target_id"]), (&json!(6), &json!(target.id)));
}

// MSGINE-57
#[tokio::test]
async fn a_success_ends_the_schedule() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer("/hook", &[Reply::Status(500), Reply::Status(503)]);
    let target = rig.webhook(&format!("{}/hook", receiver.url), &["message.failed"]).await;
    rig.sms(INVALID).await;
    for (number, seconds) in [(1, 60), (2, 300)] {
        rig.until_attempts(&target, number).await;
        rig.pass(Duration::from_secs(seconds));
        rig.nudge().await;
    }
    assert_eq!(rig.until_attempts(&target, 3).await.state, DeliveryState::Delivered);
    rig.pass(Duration::from_secs(86_400));
    rig.nudge().await;
    assert_eq!(receiver.take(3).await.len(), 3);
    assert!(receiver.rest().is_empty() && rig.events("posthaste.delivery.failed").await.is_empty());
}

// MSGINE-60, MSGINE-69
#[tokio::test]
async fn a_restart_forgets_nothing() {
    let rig = Rig::start().await;
    let mut receiver = Receiver::start().await;
    receiver.answer("/hook", &[Reply::Status(500)]);
    let target = rig.webhook(&format!("{}/hook", receiver.url), &["message.failed"]).await;
    let callback = format!("{}/hook?callback", receiver.url);
    let sent = rig.sms(NUMBER).await;
    rig.until_status(sent["id"].as_str().unwrap(), "delivered").await;
    let path = format!("/api/v1/messages/{}", sent["id"].as_str().unwrap());
    let shown = rig.get(&path).await.expect(200);
    rig.sms(INVALID).await;
    let first = receiver.next().await;
    let waiting = rig.until_attempts(&target, 1).await;
    let (secret, keys) = (rig.secret(), rig.engine.list::<Key>(rig.workspace).len());

    let rig = rig.restart().await;
    assert_eq!(rig.get(&path).await.expect(200), shown, "messages and tokens are there");
    assert_eq!((rig.secret(), rig.engine.list::<Key>(rig.workspace).len()), (secret.clone(), keys));
    assert_eq!(rig.deliveries(&target).await, std::slice::from_ref(&waiting), "and the log of webhooks");
    assert_eq!(rig.engine.history().attempts(waiting.key).await.unwrap()[0].status, Some(500));
    assert!(receiver.rest().is_empty());
    rig.pass(Duration::from_secs(60));
    rig.nudge().await;
    let again = receiver.next().await;
    assert_eq!((again.body, again.headers["x-msgine-signature"].clone()), (first.body, first.headers["x-msgine-signature"].clone()));
    assert_eq!(rig.until_attempts(&target, 2).await.state, DeliveryState::Delivered);
    // Callbacks are found again as well.
    rig.post(crate::rig::ONE, &json!({ "to": INVALID, "message": "x", "callbackUrl": callback })).await.expect(201);
    assert!(receiver.next().await.is_signed_with(&secret));
    let rig = rig.restart().await;
    rig.post(crate::rig::ONE, &json!({ "to": INVALID, "message": "x", "callbackUrl": callback })).await.expect(201);
    receiver.next().await;
    assert_eq!(rig.callback_targets().len(), 1);
}
