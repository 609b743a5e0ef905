//! What the engine does when disks, targets and clocks fail.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::DeliveryKey;
use posthaste_domain::resource::{Account, Replay, ReplayState, Subscription, Target, TargetStatus};
use posthaste_engine::{AcceptError, Accepted, EngineSettings, ResourceError};
use posthaste_store::{Catalog, EventFilter, Journal, Order, Range, RetentionRule};
use serde_json::json;
use support::{Rig, Script, Seen};

const HOUR: Duration = Duration::from_secs(3600);

/// More than a page of the store has room for.
const LARGE: usize = 100_000;

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

/// How many requests came, and for how many deliveries.
fn counts(seen: &[Seen]) -> (usize, usize) {
    (seen.len(), seen.iter().map(|seen| &seen.delivery_id).collect::<HashSet<_>>().len())
}

/// Waits for two batches.
async fn until_both_arrived(rig: &Rig, batches: [&str; 2]) {
    rig.until("both batches arrived", |r| r.script.seen("a").len() == 2).await;
    let mut bodies: Vec<_> = rig.script.seen("a").into_iter().map(|seen| seen.body).collect();
    // Which of them is first is not promised.
    bodies.sort_unstable();
    assert_eq!(bodies, batches);
}

/// Lets everything happen that would happen at once.
async fn settle_down() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

// Incident 10: nothing is accepted while the disk is full, and what was under way is neither lost nor sent twice.
#[tokio::test]
async fn incident_10_a_full_disk_and_space_again() {
    let (rig, _dir) = rig().await;
    let id = rig.subscribe("a", &["x"], Some(json!({"concurrency": 8}))).await;
    rig.script.answer_at_length("a", LARGE);
    rig.script.hang("a");
    let mut keys = Vec::new();
    for n in 0..20 {
        keys.push(key(&rig.publish("x", &[&n.to_string()], None).await.expect("accepted")));
    }
    rig.until("eight are out", |r| r.script.seen("a").len() == 8).await;

    rig.store.cap_pages(Some(1)).await.expect("the disk is full");
    let large = "x".repeat(LARGE);
    let payload = [large.as_str()];
    let refused = futures_util::future::join_all((0..50).map(|_| rig.publish("x", &payload, None))).await;
    assert!(refused.iter().all(|answer| matches!(answer, Err(AcceptError::Full))), "{refused:?}");
    let with_key = rig.publish("x", &payload, Some("k")).await;
    assert!(matches!(with_key, Err(AcceptError::Full)), "{with_key:?}");
    assert!(rig.engine.ready().is_err(), "whoever asks is told");
    rig.script.release("a");
    // All twenty are sent: an outcome that waits for the disk keeps nobody's place. None is on disk.
    rig.until("all were sent", |r| r.script.seen("a").len() == 20).await;
    settle_down().await;
    assert_eq!(counts(&rig.script.seen("a")), (20, 20));
    for key in &keys {
        let delivery = rig.engine.history().delivery(rig.workspace, *key).await.expect("history").expect("exists");
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Queued, 0));
    }
    let health = rig.engine.health(number_of(&rig, &id)).await;
    // A crash now would make all of them happen twice, and the gauge says so.
    assert_eq!((health.in_flight, health.backlog), (20, 20));

    rig.store.cap_pages(None).await.expect("there is space");
    for key in &keys {
        assert_eq!(rig.until_state(*key, DeliveryState::Delivered).await.attempts, 1);
    }
    let accepted = rig.publish("x", &payload, Some("k")).await.expect("accepted");
    assert!(!accepted.replayed, "what was refused was not remembered");
    rig.until_state(key(&accepted), DeliveryState::Delivered).await;
    assert_eq!(counts(&rig.script.seen("a")), (21, 21));
    let everything = Range { order: Order::Asc, after: None, limit: 1000, from_ms: None, to_ms: None };
    let events = rig.engine.history().events(rig.workspace, EventFilter::default(), everything).await.expect("history");
    assert_eq!(events.len(), 21, "of what was refused nothing is there");
    rig.engine.ready().expect("ready");
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 10 with batches: one that was open when a commit failed is sent with what it had.
#[tokio::test]
async fn incident_10_an_open_batch_keeps_what_it_had() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"batch": {"events": 100, "wait": "150ms"}}))).await;
    rig.publish("x", &["1"], None).await.expect("accepted");
    rig.store.cap_pages(Some(1)).await.expect("the disk is full");
    let refused = rig.publish("x", &[&"2".repeat(LARGE)], None).await;
    assert!(matches!(refused, Err(AcceptError::Full)), "{refused:?}");
    rig.store.cap_pages(None).await.expect("there is space");
    rig.publish("x", &["3"], None).await.expect("accepted");
    until_both_arrived(&rig, ["1", "3"]).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 10 with a cancellation that could not be stored: the batch is there, so it is sent, and the next event opens another one.
#[tokio::test]
async fn incident_10_an_open_batch_that_could_not_be_cancelled_is_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    let (rig, journal) = support::away::rig(dir.path()).await;
    rig.subscribe("a", &["x"], Some(json!({"batch": {"events": 100, "wait": "150ms"}}))).await;
    let opened = rig.publish("x", &["1"], None).await.expect("accepted");
    journal.keep_outcomes();
    let refused = rig.engine.cancel(rig.workspace, key(&opened)).await;
    assert!(matches!(refused, Err(ResourceError::Store(_))), "{refused:?}");
    journal.come_back();
    rig.publish("x", &["2"], None).await.expect("accepted");
    until_both_arrived(&rig, ["1", "2"]).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 10 at the end: a server that cannot store outcomes still ends in time, and the next one does what is left.
#[tokio::test]
async fn incident_10_shutdown_on_a_full_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.subscribe("a", &["x"], None).await;
    script.answer_at_length("a", LARGE);
    script.hang("a");
    let accepted = rig.publish("x", &["{}"], None).await.expect("accepted");
    rig.until("it is out", |r| r.script.seen("a").len() == 1).await;
    rig.store.cap_pages(Some(1)).await.expect("the disk is full");
    script.release("a");
    tokio::time::timeout(Duration::from_secs(10), rig.engine.shutdown(Duration::from_millis(200))).await.expect("it ends");
    drop(rig);

    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    let delivery = rig.until_state(key(&accepted), DeliveryState::Delivered).await;
    // Once more than the receiver needed, with the id that says so.
    assert_eq!(script.seen("a").iter().map(|seen| seen.delivery_id.clone()).collect::<Vec<_>>(), [delivery.id(), delivery.id()]);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// A replay whose progress could not be stored does its page again, and sends nothing again that it had sent.
#[tokio::test]
async fn a_page_of_a_replay_that_is_done_twice_sends_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.subscribe("a", &["x"], None).await;
    let accepted = rig.publish("x", &["1"], None).await.expect("accepted");
    rig.until_state(key(&accepted), DeliveryState::Delivered).await;
    rig.clock.advance(HOUR);
    let to_ms = rig.clock.now_ms();
    let replay = Replay {
        target_id: None,
        event_type: None,
        states: vec!["delivered".into()],
        from_ms: 0,
        to_ms,
        state: ReplayState::Running,
        total: None,
        scanned: 0,
        resent: 0,
        position: 0,
        request: None,
    };
    let done = |rig: &Rig| rig.engine.list::<Replay>(rig.workspace).iter().all(|entry| entry.doc.state == ReplayState::Done);
    rig.clock.advance(HOUR);
    let started = rig.engine.start_replay(rig.workspace, replay.clone()).await.expect("a replay");
    rig.clock.advance(HOUR);
    rig.until("it is done", done).await;
    rig.until("it was sent again", |r| r.script.seen("a").len() == 2).await;
    rig.until_state(key(&accepted), DeliveryState::Delivered).await;
    let again =
        rig.engine.update(rig.workspace, &started.entry.id, None, replay.clone()).await.expect("as it was before its progress was stored");
    rig.engine.shutdown(Duration::from_secs(5)).await;
    drop(rig);

    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.until("it is done again", done).await;
    let entry = rig.engine.get::<Replay>(rig.workspace, &again.id).expect("it is there");
    assert_eq!((entry.doc.scanned, entry.doc.resent), (1, 0));
    // Another one sends it once more.
    rig.clock.advance(HOUR + HOUR + HOUR + HOUR);
    rig.engine.start_replay(rig.workspace, replay).await.expect("a replay");
    rig.until("it was sent again", |_| script.seen("a").len() == 3).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// A batch that cannot be read while the database is away was not tried: it is sent once it can be read, at the time of the sending.
#[tokio::test]
async fn what_cannot_be_read_for_now_was_not_tried() {
    let dir = tempfile::tempdir().expect("a directory");
    let (rig, journal) = support::away::rig(dir.path()).await;
    journal.keep_members();
    rig.subscribe("a", &["x"], Some(json!({"batch": {"events": 2, "wait": "1h"}}))).await;
    let accepted = rig.publish("x", &["1", "2"], None).await.expect("accepted");
    rig.until("it was asked for", |_| journal.refused() > 0).await;
    let delivery = rig.engine.history().delivery(rig.workspace, key(&accepted)).await.expect("history").expect("exists");
    assert!(!delivery.state.is_terminal() && delivery.attempts == 0, "{delivery:?}");
    let back_ms = rig.clock.now_ms();
    journal.come_back();
    let delivery = rig.until_state(key(&accepted), DeliveryState::Delivered).await;
    assert_eq!((delivery.attempts, counts(&rig.script.seen("a"))), (1, (1, 1)));
    assert!(delivery.first_attempt_ms >= back_ms, "the attempt is as old as what was sent");
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// A file that is damaged for good is nobody else's problem: outcomes and deliveries of all others go on.
#[tokio::test]
async fn a_damaged_segment_holds_up_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Script::default();
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.subscribe("old", &["x"], None).await;
    rig.subscribe("new", &["y"], None).await;
    script.hang("old");
    let old = key(&rig.publish("x", &["{}"], None).await.expect("accepted"));
    rig.until("it is out", |r| r.script.seen("old").len() == 1).await;
    rig.store.retire(RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX }, i64::MAX / 2).await.expect("a new segment");
    rig.engine.shutdown(Duration::from_millis(50)).await;
    drop(rig);

    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.until("it is out again", |r| r.script.seen("old").len() == 2).await;
    let (file, away) = (dir.path().join("journal/00000001.db"), dir.path().join("away"));
    std::fs::rename(&file, &away).expect("moved");
    script.release("old");
    for _ in 0..20 {
        let new = key(&rig.publish("y", &["{}"], None).await.expect("accepted"));
        rig.until_state(new, DeliveryState::Delivered).await;
    }
    assert_eq!(script.seen("old").len(), 2, "it is not sent again by a server that knows how it ended");
    rig.engine.shutdown(Duration::from_secs(5)).await;
    drop(rig);

    std::fs::rename(&away, &file).expect("moved back");
    let rig = Rig::start(dir.path(), &script, EngineSettings::default()).await;
    rig.until_state(old, DeliveryState::Delivered).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// A client that hangs up in the middle of a change: what is on disk is in force, whatever the moment.
#[tokio::test]
async fn a_change_is_whole_when_nobody_waits_for_it() {
    let (rig, _dir) = rig().await;
    let id = rig.subscribe("a", &["x"], Some(json!({"retry": {"delays": ["1ms"]}, "jitter": 0}))).await;
    for patience in 0..30 {
        let paused = rig.engine.get::<Target>(rig.workspace, &id).expect("the target").doc.status == TargetStatus::Paused;
        let change = async {
            match paused {
                true => rig.engine.resume(rig.workspace, &id).await,
                false => rig.engine.pause(rig.workspace, &id, "by hand").await,
            }
        };
        hang_up(change, patience).await;
        let versions = async || {
            let stored = rig.store.load().await.expect("load").into_iter().find(|record| record.id == id).expect("the record");
            (rig.engine.get::<Target>(rig.workspace, &id).expect("the target").version, stored.version)
        };
        eventually("what is stored is known", async || matches!(versions().await, (known, stored) if known == stored)).await;
    }
    rig.engine.resume(rig.workspace, &id).await.expect("resumed");
    for patience in 0..30 {
        rig.script.answer("a", &[500, 500]);
        let failed = key(&rig.publish("x", &["{}"], None).await.expect("accepted"));
        rig.until_state(failed, DeliveryState::Failed).await;
        hang_up(rig.engine.resend(rig.workspace, failed), patience).await;
        eventually("what was put back is sent", async || {
            let delivery = rig.engine.history().delivery(rig.workspace, failed).await.expect("history").expect("exists");
            delivery.state.is_terminal()
        })
        .await;
        // Enough successes for the target not to be taken for broken.
        let well = rig.publish("x", &["{}"; 4], None).await.expect("accepted");
        for event in well.events {
            rig.until_state(DeliveryKey::new(event.sequence, 0), DeliveryState::Delivered).await;
        }
    }
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// MSGINE-58: a delivery that fails for good: an event, one mail, and no notice about a notice.
#[tokio::test]
async fn an_owner_is_told_once_of_a_delivery_that_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = EngineSettings { notify_email: Some("server@example.com".into()), ..EngineSettings::default() };
    let rig = Rig::start(dir.path(), &Script::default(), settings).await;
    let policy = json!({"retry": {"delays": ["1ms", "1ms"]}, "jitter": 0});
    let accounts = Account { dialect: "standard".into(), settings: json!({"owner_email": "ann@example.com"}), secret_settings: vec![] };
    for (url, type_name, notify) in [
        ("a", "x", Some("owner")),
        ("b", "x", Some("bob@example.com")),
        ("c", "x", None),
        ("d", "posthaste.delivery.failed", Some("owner")),
    ] {
        rig.script.answer(url, &[500; 30]);
        let id = rig.subscribe(url, &[type_name], Some(policy.clone())).await;
        let entry = rig.engine.list::<Subscription>(rig.workspace).into_iter().find(|s| s.doc.target_id == id).expect("the subscription");
        let doc = Subscription { notify: notify.map(str::to_owned), ..entry.doc.clone() };
        rig.engine.update(rig.workspace, &entry.id, None, doc).await.expect("updated");
    }
    let first = rig.publish("x", &["{}"], None).await.expect("accepted");
    rig.until_state(key(&first), DeliveryState::Failed).await;
    rig.until("both are told", |r| r.script.seen("server@example.com").len() + r.script.seen("bob@example.com").len() == 2).await;
    rig.engine.create(rig.workspace, accounts).await.expect("an account");
    let second = rig.publish("x", &["{}"], None).await.expect("accepted");
    rig.until_state(key(&second), DeliveryState::Failed).await;
    rig.until("the account's owner is told", |r| r.script.seen("ann@example.com").len() == 1).await;
    rig.until("notices were given up as well", |r| r.script.seen("d").len() == 12).await;
    settle_down().await;

    let mail = String::from_utf8(rig.script.seen("server@example.com")[0].body.to_vec()).expect("text");
    assert!(
        mail.starts_with("Delivery to a failed\nDelivery dlv_") && mail.contains("after 3 attempts: the target answered 500"),
        "{mail}"
    );
    // A target that is taken for broken is another matter, with mails of its own.
    let about_deliveries = |to: &str| rig.script.seen(to).iter().filter(|mail| mail.body.starts_with(b"Delivery")).count();
    let mails = ["server@example.com", "ann@example.com", "bob@example.com"].map(about_deliveries);
    assert_eq!(mails, [1, 1, 2]);
    let filter = EventFilter::of_type("posthaste.delivery.failed");
    let everything = Range { order: Order::Asc, after: None, limit: 1000, from_ms: None, to_ms: None };
    assert_eq!(rig.engine.history().events(rig.workspace, filter, everything).await.expect("history").len(), 4);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

/// Looks a little later first, so that what was begun can have happened.
async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if condition().await {
            return;
        }
    }
    panic!("did not happen: {what}");
}

/// Waits for a while only, then goes away.
async fn hang_up<T>(change: impl Future<Output = T>, patience: u32) {
    tokio::select! {
        biased;
        _ = change => {}
        () = async {
            for _ in 0..patience {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        } => {}
    }
}

// Incident 6: a target comes back to 5,000 deliveries. It is ramped up, and another workspace does not notice.
#[tokio::test]
async fn incident_6_a_recovery_is_a_ramp() {
    const HERD: usize = 5_000;
    const CONCURRENCY: usize = 32;
    let (rig, _dir) = rig().await;
    let other = rig.other_workspace().await;
    other.subscribe("well", &["x"], None).await;
    let policy = json!({"retry": {"delays": ["10m", "10m"]}, "jitter": 0, "concurrency": CONCURRENCY});
    let id = rig.subscribe("herd", &["x"], Some(policy)).await;
    let target = number_of(&rig, &id);
    rig.script.answer("herd", &[500; HERD]);
    for _ in 0..HERD / 100 {
        rig.publish("x", &["{}"; 100], None).await.expect("accepted");
    }
    rig.until_health(target, |health| health.breaker == "probing" && health.in_flight == 0).await;
    let failed = rig.script.seen("herd").len();
    assert!(failed <= 10 + CONCURRENCY, "{failed} attempts until it was taken for broken");

    // It is back, ten minutes later: the retries are due as well.
    rig.script.answer("herd", &[]);
    rig.clock.advance(Duration::from_secs(601));
    rig.nudge().await;
    for n in 0..40 {
        other.publish("x", &["{}"], None).await.expect("accepted");
        rig.until("the other workspace is served", |r| r.script.seen("well").len() == n + 1).await;
    }
    assert!(rig.script.seen("herd").len() < HERD, "all of that was before the herd was through");
    rig.until_health(target, |health| health.backlog == 0 && health.in_flight == 0).await;

    let seen = rig.script.seen("herd").split_off(failed);
    assert_eq!(counts(&seen), (HERD, HERD));
    let began = seen[0].at;
    for (n, seen) in seen.iter().enumerate() {
        // Up to the level there are as many at once, and ten times as many a second; it doubles each second.
        let second = (seen.at.duration_since(began) + Duration::from_millis(100)).as_secs().min(20) as u32;
        let level = 2usize.pow(second);
        assert!(seen.in_flight <= level.min(CONCURRENCY), "{} at once in second {second}", seen.in_flight);
        // (The first one is the probe.)
        assert!(level >= CONCURRENCY || n <= 10 * (2 * level - 1), "{n} by second {second}");
    }
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 9: the clock is set back an hour and forward again: no retry is lost, none comes before its time.
#[tokio::test]
async fn incident_9_clock_jumps() {
    let (rig, _dir) = rig().await;
    let mut targets = Vec::new();
    for (kind, delay) in [("soon", "30m"), ("late", "3h")] {
        for n in 0..10 {
            let (url, policy) = (format!("{kind}{n}"), json!({"retry": {"delays": [delay]}, "jitter": 0}));
            rig.subscribe(&url, &["x"], Some(policy)).await;
            // Fewer than it takes to be taken for broken.
            rig.script.answer(&url, &[500; 5]);
            targets.push(url);
        }
    }
    rig.subscribe("well", &["y"], None).await;
    rig.publish("x", &["{}"; 5], None).await.expect("accepted");
    let seen = |rig: &Rig, kind: &str| {
        let all = targets.iter().filter(|url| url.starts_with(kind)).flat_map(|url| rig.script.seen(url));
        counts(&all.collect::<Vec<_>>())
    };
    rig.until("all failed once", |r| seen(r, "soon").0 + seen(r, "late").0 == 100).await;
    settle_down().await;

    let before = rig.publish("y", &["{}"], None).await.expect("accepted");
    rig.clock.set_back(HOUR);
    rig.nudge().await;
    let after = rig.publish("y", &["{}"], None).await.expect("accepted");
    assert!(after.events[0].received_ms >= before.events[0].received_ms, "times of receipt never decrease");
    rig.until_state(key(&after), DeliveryState::Delivered).await;
    settle_down().await;
    assert_eq!((seen(&rig, "soon"), seen(&rig, "late")), ((50, 50), (50, 50)), "nothing is early");

    rig.clock.advance(HOUR + Duration::from_secs(29 * 60));
    rig.nudge().await;
    settle_down().await;
    assert_eq!((seen(&rig, "soon"), seen(&rig, "late")), ((50, 50), (50, 50)), "still not");

    // An hour forward at once: what is due in it comes, all of it, and nothing else.
    rig.clock.advance(HOUR);
    rig.nudge().await;
    rig.until("those that are due", |r| seen(r, "soon").0 == 100).await;
    settle_down().await;
    assert_eq!((seen(&rig, "soon"), seen(&rig, "late")), ((100, 50), (50, 50)));

    rig.clock.advance(2 * HOUR);
    rig.nudge().await;
    rig.until("the others", |r| seen(r, "late").0 == 100).await;
    settle_down().await;
    assert_eq!((seen(&rig, "soon"), seen(&rig, "late")), ((100, 50), (100, 50)), "each exactly twice");
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 9: events for later that all become due in one jump do not all go out at once.
#[tokio::test]
async fn incident_9_a_jump_is_not_a_flood() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], Some(json!({"concurrency": 4}))).await;
    let now_ms = rig.engine.now_ms();
    for n in 0..200 {
        let minutes = if n < 150 { n % 60 } else { 61 + n };
        rig.publish_at("x", "{}", now_ms + 1_000 + minutes * 60_000).await.expect("accepted");
    }
    rig.clock.set_back(HOUR);
    rig.nudge().await;
    settle_down().await;
    assert_eq!(rig.script.seen("a").len(), 0);
    rig.clock.advance(2 * HOUR);
    rig.nudge().await;
    rig.until("those of the hour", |r| r.script.seen("a").len() >= 150).await;
    settle_down().await;
    assert_eq!(counts(&rig.script.seen("a")), (150, 150));
    assert!(rig.script.peak("a") <= 4, "{} at once", rig.script.peak("a"));
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

// Incident 9: after the machine slept, nothing tells the lanes. They look at the clock at least once a minute.
#[tokio::test]
async fn incident_9_a_step_forward_is_noticed() {
    let (rig, _dir) = rig().await;
    rig.subscribe("a", &["x"], None).await;
    rig.publish_at("x", "{}", rig.engine.now_ms() + 10 * HOUR.as_millis() as i64).await.expect("accepted");
    settle_down().await;
    tokio::time::pause();
    rig.clock.advance(10 * HOUR);
    tokio::time::sleep(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(rig.script.seen("a").len(), 1);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}
