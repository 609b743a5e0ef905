//! What is cancelled, and what is sent again.

mod support;

use std::time::Duration;

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::resource::Target;
use posthaste_engine::{Accepted, EngineSettings};
use serde_json::json;
use support::{Rig, Script};

async fn rig() -> (Rig, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = Rig::start(dir.path(), &Script::default(), EngineSettings::default()).await;
    (rig, dir)
}

fn key(accepted: &Accepted) -> DeliveryKey {
    DeliveryKey::new(accepted.events[0].sequence, 0)
}

fn number_of(rig: &Rig, id: &str) -> i64 {
    rig.engine.get::<Target>(rig.workspace, id).expect("the target").number
}

// Cancelled while it was under way, and sent again before that was over: the attempt that is under way is the one that was asked for.
#[tokio::test]
async fn what_is_sent_again_while_it_is_under_way_is_sent_once() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"retry": {"delays": ["20ms"]}, "jitter": 0}))).await;
    for statuses in [[200], [500]] {
        let before = rig.script.seen("a").len();
        rig.script.answer("a", &statuses);
        rig.script.hang("a");
        let accepted = rig.publish("x", &["{}"], None).await.expect("accepted");
        let key = DeliveryKey::new(accepted.events[0].sequence, 0);
        rig.until("it is out", |r| r.script.seen("a").len() == before + 1).await;
        rig.engine.cancel(rig.workspace, key).await.expect("cancelled");
        rig.engine.resend(rig.workspace, key).await.expect("sent again");
        rig.script.release("a");
        rig.until_state(key, DeliveryState::Delivered).await;
        let attempts = rig.engine.history().attempts(key).await.expect("attempts");
        let expected: &[Option<u16>] = if statuses == [200] { &[Some(200)] } else { &[Some(500), Some(200)] };
        assert_eq!(attempts.iter().map(|a| a.status).collect::<Vec<_>>(), expected);
        assert_eq!(rig.script.seen("a").len(), before + expected.len());
        let target = rig.engine.history().delivery(rig.workspace, key).await.expect("history").expect("exists").target;
        rig.until_health(target, |health| (health.backlog, health.in_flight) == (0, 0)).await;
    }
    assert!(rig.engine.metrics().await.contains("\nposthaste_deliveries_cancelled_total 2\n"));
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Answered, and cancelled and sent again before that is on disk: the answer is that of what was sent again.
#[tokio::test]
async fn what_is_sent_again_before_its_outcome_is_stored_is_sent_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (rig, journal) = support::away::rig(dir.path()).await;
    let id = rig.subscribe("a", &["x"], Some(json!({"retry": {"delays": ["20ms"]}, "jitter": 0}))).await;
    for statuses in [[200], [500]] {
        let (before, refused) = (rig.script.seen("a").len(), journal.refused());
        rig.script.answer("a", &statuses);
        journal.keep_attempts();
        let key = key(&rig.publish("x", &["{}"], None).await.expect("accepted"));
        rig.until("its outcome is not stored", |_| journal.refused() > refused).await;
        rig.engine.cancel(rig.workspace, key).await.expect("cancelled");
        rig.engine.resend(rig.workspace, key).await.expect("sent again");
        journal.come_back();
        rig.until_state(key, DeliveryState::Delivered).await;
        rig.until_health(number_of(&rig, &id), |health| (health.backlog, health.in_flight) == (0, 0)).await;
        let expected: &[Option<u16>] = if statuses == [200] { &[Some(200)] } else { &[Some(500), Some(200)] };
        let attempts = rig.engine.history().attempts(key).await.expect("attempts");
        assert_eq!(attempts.iter().map(|a| a.status).collect::<Vec<_>>(), expected);
        assert_eq!(rig.script.seen("a").len(), before + expected.len());
    }
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// What is cancelled twice at once is counted once, and a batch that nobody counted not at all.
#[tokio::test]
async fn a_cancellation_counts_once() {
    let (rig, _dir) = rig().await;
    let id = rig.subscribe("a", &["x"], None).await;
    rig.subscribe("b", &["y"], Some(json!({"batch": {"events": 100, "wait": "50ms"}}))).await;
    rig.engine.pause(rig.workspace, &id, "by hand").await.expect("paused");
    let mut keys = Vec::new();
    for _ in 0..10 {
        keys.push(key(&rig.publish("x", &["{}"], None).await.expect("accepted")));
    }
    for key in &keys[..4] {
        let twice = futures_util::future::join(rig.engine.cancel(rig.workspace, *key), rig.engine.cancel(rig.workspace, *key)).await;
        assert!(twice.0.is_ok() || twice.1.is_ok(), "{twice:?}");
    }
    rig.until_health(number_of(&rig, &id), |health| health.backlog == 6).await;
    let batch = key(&rig.publish("y", &["{}"], None).await.expect("accepted"));
    rig.engine.cancel(rig.workspace, batch).await.expect("cancelled");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.engine.health(number_of(&rig, &id)).await.backlog, 6);
    assert!(rig.script.seen("b").is_empty());
    rig.engine.shutdown(Duration::from_secs(5)).await;
}
