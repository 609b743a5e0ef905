//! The path of an event through a real engine on a real store.

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::resource::{Health, Subscription, Target, TargetStatus};
use posthaste_engine::{AcceptError, EngineSettings};
use serde_json::json;
use support::{Rig, Script};

async fn rig() -> (Rig, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = Rig::start(dir.path(), &Script::default(), EngineSettings::default()).await;
    (rig, dir)
}

// MSGGO-61, STDWH-62, STDWH-63: every subscription that wants an event gets it; one that fails does not stop the others.
#[tokio::test]
async fn an_event_reaches_all_who_want_it() {
    let (rig, _dir) = rig().await;
    for url in ["a", "b", "c"] {
        rig.subscribe(url, &["order.*"], None).await;
    }
    rig.subscribe("other", &["invoice.*"], None).await;
    rig.script.answer("b", &[500]);
    rig.publish("order.created", &[r#"{"n":1e400}"#], None).await.expect("accepted");
    rig.until("a and c got it", |r| r.script.seen("a").len() == 1 && r.script.seen("c").len() == 1).await;
    assert_eq!(rig.script.seen("a")[0].body, r#"{"n":1e400}"#);
    rig.until("b was tried", |r| r.script.seen("b").len() == 1).await;
    assert!(rig.script.seen("other").is_empty());
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 2: a subscription created before a publish receives it, every time.
#[tokio::test]
async fn a_new_subscription_receives_the_very_next_event() {
    let (rig, _dir) = rig().await;
    for i in 0..50 {
        let url = format!("t{i}");
        rig.subscribe(&url, &["x"], None).await;
        rig.publish("x", &["{}"], None).await.expect("accepted");
        rig.until("the newest got it", |r| !r.script.seen(&url).is_empty()).await;
    }
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// STDWH-4, STDWH-50, STDWH-58: retried with the same id until it succeeds.
#[tokio::test]
async fn failures_are_retried_with_the_same_id() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"retry": {"delays": ["20ms", "20ms", "20ms"]}, "jitter": 0}))).await;
    rig.script.answer("a", &[500, 503]);
    let accepted = rig.publish("x", &["{}"], None).await.expect("accepted");
    let key = DeliveryKey::new(accepted.events[0].sequence, 0);
    let delivery = rig.until_state(key, DeliveryState::Delivered).await;
    assert_eq!(delivery.attempts, 3);
    let seen = rig.script.seen("a");
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|s| s.delivery_id == delivery.id()));
    let attempts = rig.engine.history().attempts(key).await.expect("attempts");
    assert_eq!(attempts.iter().map(|a| a.status).collect::<Vec<_>>(), [Some(500), Some(503), Some(200)]);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// STDWH-56: the schedule ends, and then the delivery has failed.
#[tokio::test]
async fn the_schedule_ends() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"retry": {"delays": ["10ms"]}, "jitter": 0}))).await;
    rig.script.answer("a", &[500, 500, 500]);
    let accepted = rig.publish("x", &["{}"], None).await.expect("accepted");
    let key = DeliveryKey::new(accepted.events[0].sequence, 0);
    assert_eq!(rig.until_state(key, DeliveryState::Failed).await.attempts, 2);
    assert_eq!(rig.script.seen("a").len(), 2);
    // STDWH-65: sent again by hand with the same id.
    rig.script.answer("a", &[]);
    rig.engine.resend(rig.workspace, key).await.expect("resent");
    rig.until_state(key, DeliveryState::Delivered).await;
    let seen = rig.script.seen("a");
    assert_eq!(seen[0].delivery_id, seen[2].delivery_id);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// STDWH-51, STDWH-68: 410 disables; later events are not for it; it can be enabled again.
#[tokio::test]
async fn gone_disables_the_target() {
    let (rig, _dir) = rig().await;
    let id = rig.subscribe("a", &["x"], None).await;
    rig.script.answer("a", &[410]);
    rig.publish("x", &["{}"], None).await.expect("accepted");
    let status = |r: &Rig| r.engine.get::<Target>(r.workspace, &id).expect("the target").doc.status;
    rig.until("it is disabled", |r| status(r) == TargetStatus::Disabled).await;
    rig.publish("x", &["{}"], None).await.expect("accepted");
    rig.engine.resume(rig.workspace, &id).await.expect("enabled");
    rig.publish("x", &[r#"{"after":1}"#], None).await.expect("accepted");
    rig.until("it gets the event after it was enabled", |r| r.script.seen("a").len() == 2).await;
    assert_eq!(rig.script.seen("a")[1].body, r#"{"after":1}"#);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Pause holds, resume drains everything; a backlog larger than the lane's memory is paged in, in order and once.
#[tokio::test]
async fn pause_holds_and_resume_drains_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = EngineSettings { lane_bytes: 16 * 330, lanes_bytes: 0, ..EngineSettings::default() };
    let rig = Rig::start(dir.path(), &Script::default(), settings).await;
    let id = rig.subscribe("a", &["x"], Some(json!({"order": "fifo"}))).await;
    rig.engine.pause(rig.workspace, &id, "by hand").await.expect("paused");
    for i in 0..500 {
        rig.publish("x", &[&i.to_string()], None).await.expect("accepted");
    }
    assert!(rig.script.seen("a").is_empty());
    rig.engine.resume(rig.workspace, &id).await.expect("resumed");
    rig.until("all arrived", |r| r.script.seen("a").len() >= 500).await;
    let bodies: Vec<String> = rig.script.seen("a").iter().map(|s| String::from_utf8_lossy(&s.body).into_owned()).collect();
    assert_eq!(bodies, (0..500).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(rig.script.peak("a"), 1);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// STDWH-59: what was pending is delivered after a restart, without being asked.
#[tokio::test]
async fn a_restart_goes_on_with_what_was_pending() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.subscribe("hung", &["x"], None).await;
    rig.subscribe("retry", &["x"], Some(json!({"retry": {"delays": ["50ms"]}, "jitter": 0}))).await;
    script.hang("hung");
    script.answer("retry", &[500]);
    rig.publish("x", &["{}"], None).await.expect("accepted");
    rig.until("both were tried", |r| r.script.seen("hung").len() == 1 && r.script.seen("retry").len() == 1).await;
    rig.engine.shutdown(Duration::from_millis(50)).await;
    drop(rig);

    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.until("both arrived", |r| r.script.seen("hung").len() == 1 && r.script.seen("retry").len() == 1).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// STDWH-60, needs row 6: one that hangs delays nobody.
#[tokio::test]
async fn a_hanging_target_delays_nobody() {
    let (rig, _dir) = rig().await;
    rig.subscribe("hung", &["x"], None).await;
    rig.subscribe("well", &["x"], None).await;
    rig.script.hang("hung");
    for _ in 0..300 {
        rig.publish("x", &["{}"], None).await.expect("accepted");
    }
    rig.until("the healthy one got all", |r| r.script.seen("well").len() == 300).await;
    assert!(rig.script.seen("hung").len() <= 32);
    rig.engine.shutdown(Duration::from_millis(50)).await;
}

// Incident 13 in the engine: the same idempotency key a hundred times at once makes one event.
#[tokio::test]
async fn one_idempotency_key_makes_one_event() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], None).await;
    let answers = join_all((0..100).map(|_| rig.publish("x", &["{}"], Some("k")))).await;
    let answers: Vec<_> = answers.into_iter().map(|a| a.expect("accepted")).collect();
    assert!(answers.iter().all(|a| a.events == answers[0].events));
    assert_eq!(answers.iter().filter(|a| !a.replayed).count(), 1);
    let mismatch = rig.publish("x", &[r#"{"other":"body"}"#], Some("k")).await;
    assert!(matches!(mismatch, Err(AcceptError::IdempotencyMismatch)));
    rig.until("it arrived", |r| !r.script.seen("a").is_empty()).await;
    assert_eq!(rig.script.seen("a").len(), 1);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Keys that are known, keys that are new and requests without one share groups, and each is answered for itself.
#[tokio::test]
async fn a_group_of_repeated_requests_is_answered_one_by_one() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], None).await;
    let keys: Vec<String> = (0..20).map(|key| key.to_string()).collect();
    let mut first = Vec::new();
    for key in &keys {
        first.push(rig.publish("x", &["{}"], Some(key)).await.expect("accepted"));
    }
    let same = keys.iter().map(|key| rig.publish("x", &["{}"], Some(key)));
    let other = keys.iter().map(|key| rig.publish("x", &[r#"{"other":"body"}"#], Some(key)));
    let new = (0..20).map(|key| rig.publish("x", &["{}"], Some(if key % 2 == 0 { "new" } else { "newer" })));
    let none = (0..20).map(|_| rig.publish("x", &["{}"], None));
    let (same, other, new, none) = tokio::join!(join_all(same), join_all(other), join_all(new), join_all(none));
    for (answer, first) in same.into_iter().zip(first) {
        let answer = answer.expect("accepted before");
        assert!(answer.replayed && answer.events == first.events);
    }
    assert!(other.iter().all(|answer| matches!(answer, Err(AcceptError::IdempotencyMismatch))));
    assert_eq!(new.iter().filter(|answer| !answer.as_ref().expect("accepted").replayed).count(), 2);
    assert!(none.iter().all(|answer| !answer.as_ref().expect("accepted").replayed));
    rig.until("all arrived", |r| r.script.seen("a").len() == 20 + 2 + 20).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Batches close by number and by time; every event is in exactly one.
#[tokio::test]
async fn events_are_delivered_in_batches() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"batch": {"events": 10, "wait": "100ms"}}))).await;
    for i in 0..25 {
        rig.publish("x", &[&i.to_string()], None).await.expect("accepted");
    }
    let batches = |r: &Rig| -> Vec<Vec<u32>> {
        let numbers = |body: &[u8]| String::from_utf8_lossy(body).split('|').map(|n| n.parse().expect("a number")).collect();
        r.script.seen("a").iter().map(|seen| numbers(&seen.body)).collect()
    };
    // On a machine that is busy elsewhere, time closes more of them.
    rig.until("all of them", |r| batches(r).concat().len() == 25).await;
    let batches = batches(&rig);
    assert!((3..25).contains(&batches.len()) && batches.iter().all(|batch| batch.len() <= 10), "{batches:?}");
    let mut all = batches.concat();
    all.sort_unstable();
    assert_eq!(all, (0..25).collect::<Vec<_>>());
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// A restart does not forget since when a target fails: five days without a success disable it, whatever happened to the process.
#[tokio::test]
async fn failing_since_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    let policy = json!({"retry": {"delays": ["1ms", "1ms", "1ms", "1ms", "1ms", "1ms", "1ms", "30d"]}, "jitter": 0});
    let id = rig.subscribe("a", &["x"], Some(policy)).await;
    let target = rig.engine.get::<Target>(rig.workspace, &id).expect("the target").number;
    script.answer("a", &[500; 100]);
    rig.publish("x", &["{}", "{}", "{}", "{}"], None).await.expect("accepted");
    rig.until_health(target, |health| health.breaker == "probing").await;
    rig.until("it is stored", |r| !r.engine.list::<Health>(r.workspace).is_empty()).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
    drop(rig);

    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.until_health(target, |health| health.breaker == "probing").await;
    rig.clock.advance(Duration::from_secs(6 * 86_400));
    rig.publish("x", &["{}"], None).await.expect("accepted");
    let status = |r: &Rig| r.engine.get::<Target>(r.workspace, &id).expect("the target").doc.status;
    rig.until("it is disabled", |r| status(r) == TargetStatus::Disabled).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Deliveries of a deleted target are cancelled, those that wait for a retry too; nothing is sent.
#[tokio::test]
async fn a_deleted_target_gets_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = EngineSettings { lane_bytes: 8 * 330, lanes_bytes: 0, ..EngineSettings::default() };
    let rig = Rig::start(dir.path(), &Script::default(), settings).await;
    let id = rig.subscribe("a", &["x"], Some(json!({"retry": {"delays": ["1h"]}, "jitter": 0}))).await;
    rig.script.answer("a", &[500]);
    let retried = rig.publish("x", &["{}"], None).await.expect("accepted");
    let retried = DeliveryKey::new(retried.events[0].sequence, 0);
    rig.until_state(retried, DeliveryState::Scheduled).await;
    rig.engine.pause(rig.workspace, &id, "by hand").await.expect("paused");
    let mut last = retried;
    for _ in 0..50 {
        let accepted = rig.publish("x", &["{}"], None).await.expect("accepted");
        last = DeliveryKey::new(accepted.events[0].sequence, 0);
    }
    for subscription in rig.engine.list::<Subscription>(rig.workspace) {
        rig.engine.delete::<Subscription>(rig.workspace, &subscription.id).await.expect("deleted");
    }
    rig.engine.delete::<Target>(rig.workspace, &id).await.expect("deleted");
    rig.until_state(retried, DeliveryState::Cancelled).await;
    rig.until_state(last, DeliveryState::Cancelled).await;
    assert_eq!(rig.script.seen("a").len(), 1);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// A delivery that is cancelled while it waits or while it is out is not tried again.
#[tokio::test]
async fn a_cancelled_delivery_is_not_tried_again() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"retry": {"delays": ["1ms", "1ms"]}, "jitter": 0}))).await;
    rig.script.answer("a", &[500]);
    rig.script.hang("a");
    let accepted = rig.publish("x", &["{}"], None).await.expect("accepted");
    let key = DeliveryKey::new(accepted.events[0].sequence, 0);
    rig.until("it is out", |r| r.script.seen("a").len() == 1).await;
    rig.engine.cancel(rig.workspace, key).await.expect("cancelled");
    rig.script.release("a");
    let target = rig.engine.list::<Target>(rig.workspace)[0].number;
    rig.until_health(target, |health| health.in_flight == 0 && health.backlog == 0).await;
    let later = rig.publish("x", &["{}"], None).await.expect("accepted");
    rig.until_state(DeliveryKey::new(later.events[0].sequence, 0), DeliveryState::Delivered).await;
    assert_eq!(rig.until_state(key, DeliveryState::Cancelled).await.attempts, 1);
    assert_eq!(rig.script.seen("a").len(), 2);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// An event may be for later, and a restart in between does not send it earlier.
#[tokio::test]
async fn deliver_at_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.subscribe("a", &["x"], None).await;
    let at_ms = rig.engine.now_ms() + 3_600_000;
    let accepted = rig.publish_at("x", "1", at_ms).await.expect("accepted");
    rig.publish("x", &["2"], None).await.expect("accepted");
    rig.until("the other arrived", |r| r.script.seen("a").len() == 1).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
    drop(rig);

    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    let key = DeliveryKey::new(accepted.events[0].sequence, 0);
    let delivery = rig.until_state(key, DeliveryState::Scheduled).await;
    assert_eq!(delivery.due_ms, at_ms);
    assert_eq!(rig.script.seen("a").len(), 1);
    rig.clock.advance(Duration::from_secs(3_601));
    rig.publish("x", &["3"], None).await.expect("accepted");
    rig.until("it arrived at its time", |r| r.script.seen("a").len() == 3).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 21 in the engine: windows that close while events join them. Nothing is dropped, nothing is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_between_batches() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"batch": {"events": 7, "wait": "3ms"}}))).await;
    let publish = async |first: u32| {
        for number in first..first + 100 {
            rig.publish("x", &[&number.to_string()], None).await.expect("accepted");
        }
    };
    futures_util::future::join_all((0..8).map(|task| publish(task * 100))).await;
    let numbers = |r: &Rig| {
        let bodies = r.script.seen("a");
        let texts = bodies.iter().flat_map(|seen| String::from_utf8_lossy(&seen.body).split('|').map(str::to_owned).collect::<Vec<_>>());
        let mut all: Vec<u32> = texts.map(|text| text.parse().expect("a number")).collect();
        all.sort_unstable();
        all
    };
    rig.until("all arrived", |r| numbers(r).len() >= 800).await;
    assert_eq!(numbers(&rig), (0..800).collect::<Vec<_>>());
    assert!(rig.script.seen("a").len() >= 800 / 7);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Batches that are open when the server stops are sent after the start; a cancelled one takes no more members.
#[tokio::test]
async fn open_batches_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.subscribe("a", &["x"], Some(json!({"batch": {"events": 10, "wait": "1h"}}))).await;
    let first = rig.publish("x", &["1", "2"], None).await.expect("accepted");
    rig.engine.cancel(rig.workspace, DeliveryKey::new(first.events[0].sequence, 0)).await.expect("cancelled");
    rig.publish("x", &["3"], None).await.expect("accepted");
    rig.publish("x", &["4"], None).await.expect("accepted");
    rig.engine.shutdown(Duration::from_secs(5)).await;
    drop(rig);

    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.clock.advance(Duration::from_secs(3_601));
    rig.publish("x", &["5"], None).await.expect("accepted");
    let target = rig.engine.list::<Target>(rig.workspace)[0].number;
    rig.engine.pause(rig.workspace, &rig.engine.list::<Target>(rig.workspace)[0].id, "to wake it").await.expect("paused");
    rig.engine.resume(rig.workspace, &rig.engine.list::<Target>(rig.workspace)[0].id).await.expect("resumed");
    rig.until("the old batch arrived", |r| r.script.seen("a").len() == 1).await;
    assert_eq!(rig.script.seen("a")[0].body, "3|4");
    rig.until_health(target, |health| health.in_flight == 0).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// A page of the journal ends before an item that would be too much: that is not the journal's end.
#[tokio::test]
async fn what_waits_for_a_paused_target_is_sent_to_the_last_whatever_its_size() {
    for bytes in [300, 30_000, 45_000, 400_000] {
        let (rig, _dir) = rig().await;
        let target = rig.subscribe("a", &["x"], None).await;
        rig.engine.pause(rig.workspace, &target, "test").await.expect("paused");
        let payload = format!(r#"{{"text":"{}"}}"#, "y".repeat(bytes));
        let count = if bytes > 100_000 { 20 } else { 120 };
        for _ in 0..count / 20 {
            rig.publish("x", &[payload.as_str(); 20], None).await.expect("accepted");
        }
        rig.engine.resume(rig.workspace, &target).await.expect("resumed");
        rig.until("all arrived", |r| r.script.seen("a").len() == count).await;
        rig.engine.shutdown(Duration::from_secs(5)).await;
    }
}
