//! Messages through a real engine on a real store, to a carrier that answers by number.

mod support;

use std::sync::Arc;
use std::time::Duration;

use posthaste_channels::{NewsKind, ReceiptState};
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::event::Source;
use posthaste_domain::message::{MessageChannel, Outgoing, Recipient};
use posthaste_domain::resource::{Replay, ReplayState, Target};
use posthaste_engine::{CarrierSettings, EngineSettings, Idempotency, MessageRecord};
use posthaste_store::{DeliveryFilter, Order, Range};
use serde_json::{Map, Value, json};
use support::{Rig, Script};

fn sms(id: &str, to: &[&str]) -> Outgoing {
    Outgoing {
        id: id.into(),
        channel: MessageChannel::Sms,
        dialect: "test".into(),
        sender: "+15550199".into(),
        recipients: to.iter().copied().map(Recipient::of).collect(),
        subject: None,
        text: Some("hi".into()),
        email: None,
        domain: None,
        tags: vec!["t".into()],
        metadata: Map::from_iter([("order".to_owned(), json!("7"))]),
        test: false,
        deliver_at_ms: None,
        callback_url: None,
        extra: Map::new(),
        created_ms: 1,
    }
}

fn source() -> Arc<Source> {
    Arc::new(Source { via: "test".into(), key: None, ip: None })
}

async fn rig(dir: &std::path::Path) -> Rig {
    let carriers = CarrierSettings { sms_retry: vec![Duration::from_millis(20)], ..CarrierSettings::default() };
    Rig::start(dir, &Script::default(), EngineSettings { carriers, ..EngineSettings::default() }).await
}

/// Waits until the story of a message has so many events.
async fn story(rig: &Rig, id: &str, events: usize) -> MessageRecord {
    for _ in 0..2000 {
        let record = rig.engine.message(rig.workspace, id).await.expect("the store answers").expect("the message is there");
        if record.events.len() >= events {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the story of {id} never had {events} events");
}

fn told(record: &MessageRecord) -> Vec<(String, String)> {
    let one = |event: &Arc<posthaste_domain::event::Event>| {
        let data: Value = serde_json::from_slice(&event.payload).expect("JSON");
        (event.type_name.as_deref().unwrap_or_default().to_owned(), data["recipient"].as_str().unwrap_or_default().to_owned())
    };
    let mut told: Vec<_> = record.events.iter().map(one).collect();
    told.sort();
    told
}

#[tokio::test]
async fn each_recipient_has_its_own_story() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path()).await;
    rig.subscribe("watcher", &["message.*"], None).await;
    rig.subscribe("everything", &["*"], None).await;
    let to = ["+15550101", "+15550100", "+15550109"];
    let sent = rig.engine.send_message(rig.workspace, source(), sms("m-1", &to), None).await.expect("sent");
    assert!(!sent.replayed);
    let record = story(&rig, "m-1", 7).await;
    assert_eq!(record.outgoing.recipients.len(), 3);
    let pair = |name: &str, number: &str| (format!("message.{name}"), number.to_owned());
    let expected = [
        pair("accepted", to[1]),
        pair("accepted", to[0]),
        pair("accepted", to[2]),
        pair("deferred", to[2]),
        pair("failed", to[1]),
        pair("sent", to[0]),
        pair("sent", to[2]),
    ];
    assert_eq!(told(&record), expected);
    // Webhooks see what happens, and never the message itself.
    rig.until("the watchers saw all", |r| r.script.seen("watcher").len() == 7 && r.script.seen("everything").len() == 7).await;
    assert!(rig.script.seen("everything").iter().all(|seen| !String::from_utf8_lossy(&seen.body).contains("recipients")));
    assert_eq!(rig.script.seen("sms").len(), 4);
    assert_eq!(rig.engine.count_messages(rig.workspace, MessageChannel::Sms).await.expect("count"), 1);
    assert!(rig.other_workspace().await.engine.message(99, "m-1").await.expect("the store answers").is_none());
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_idempotent_request_sends_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path()).await;
    let key = || Some(Idempotency { key: "k".into(), body_hash: [1; 32] });
    let first = rig.engine.send_message(rig.workspace, source(), sms("m-1", &["+15550101"]), key()).await.expect("sent");
    let again = rig.engine.send_message(rig.workspace, source(), sms("m-2", &["+15550101"]), key()).await.expect("sent");
    assert_eq!((again.replayed, again.message.id.as_str(), again.sequence), (true, "m-1", first.sequence));
    story(&rig, "m-1", 2).await;
    assert_eq!(rig.script.seen("sms").len(), 1);
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn receipts_and_replies_find_their_message() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path()).await;
    let inbox = rig.engine.channels().carrier_inbox();
    rig.engine.send_message(rig.workspace, source(), sms("m-1", &["+15550101"]), None).await.expect("sent");
    story(&rig, "m-1", 2).await;
    let receipt = |state| NewsKind::Receipt { carrier_id: "c-+15550101".into(), state, code: Some("000".into()), text: None };
    assert!(inbox.offer(receipt(ReceiptState::Enroute)).await);
    assert!(inbox.offer(receipt(ReceiptState::Delivered)).await);
    assert!(inbox.offer(receipt(ReceiptState::Delivered)).await, "a carrier may repeat itself");
    let from = |text: &str| NewsKind::Received { from: "+15550101".into(), to: "+15550199".into(), text: text.into() };
    assert!(inbox.offer(from("yes")).await);
    assert!(inbox.offer(from(" stop. ")).await);
    let record = story(&rig, "m-1", 5).await;
    let types: Vec<_> = record.events.iter().map(|event| event.type_name.as_deref().unwrap_or_default()).collect();
    assert_eq!(types, ["message.accepted", "message.sent", "message.delivered", "message.received", "message.unsubscribed"]);
    let data = |n: usize| serde_json::from_slice::<Value>(&record.events[n].payload).expect("JSON");
    assert_eq!((&data(2)["carrier_id"], &data(2)["tags"]), (&json!("c-+15550101"), &json!(["t"])));
    assert_eq!(
        (&data(3)["sender"], &data(3)["recipient"], &data(3)["original_text"]),
        (&json!("+15550101"), &json!("+15550199"), &json!("hi"))
    );
    assert_eq!((&data(3)["metadata"], &data(4)["recipient"]), (&json!({"order": "7"}), &json!("+15550101")));

    // Who opted out gets nothing more, until asked for again.
    rig.engine.send_message(rig.workspace, source(), sms("m-2", &["+15550101"]), None).await.expect("taken");
    let record = story(&rig, "m-2", 2).await;
    let failed: Value = serde_json::from_slice(&record.events[1].payload).expect("JSON");
    assert_eq!(failed["reason"], "suppress-unsubscribe");
    assert!(inbox.offer(from("START")).await);
    rig.engine.send_message(rig.workspace, source(), sms("m-3", &["+15550101"]), None).await.expect("taken");
    assert_eq!(told(&story(&rig, "m-3", 2).await)[1].0, "message.sent");
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn receipts_that_come_at_once_are_told_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path()).await;
    let inbox = rig.engine.channels().carrier_inbox();
    rig.engine.send_message(rig.workspace, source(), sms("m-1", &["+15550101"]), None).await.expect("sent");
    story(&rig, "m-1", 2).await;
    let mut offers = tokio::task::JoinSet::new();
    for n in 0..40 {
        let inbox = inbox.clone();
        let state = if n % 2 == 0 { ReceiptState::Delivered } else { ReceiptState::Failed };
        let receipt = NewsKind::Receipt { carrier_id: "c-+15550101".into(), state, code: None, text: None };
        offers.spawn(async move { inbox.offer(receipt).await });
    }
    assert!(offers.join_all().await.into_iter().all(|kept| kept), "each is answered");
    let record = story(&rig, "m-1", 3).await;
    let told = record.events.iter().filter_map(|event| event.type_name.as_deref());
    let told = told.filter(|name| matches!(*name, "message.delivered" | "message.failed")).count();
    assert_eq!((told, record.events.len()), (1, 3));
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn messages_survive_a_restart_and_wait_for_their_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = rig(dir.path()).await;
    let later = first.engine.now_ms() + 3_600_000;
    let message = Outgoing { deliver_at_ms: Some(later), ..sms("m-1", &["+15550101"]) };
    first.engine.send_message(first.workspace, source(), message, None).await.expect("taken");
    first.engine.shutdown(Duration::from_secs(5)).await;
    let second = rig(dir.path()).await;
    assert_eq!(story(&second, "m-1", 1).await.events.len(), 1);
    assert!(second.script.seen("sms").is_empty());
    second.clock.advance(Duration::from_secs(3_601));
    second.nudge().await;
    story(&second, "m-1", 2).await;
    assert_eq!(second.script.seen("sms").len(), 1);
    second.engine.shutdown(Duration::from_secs(5)).await;
}

/// Waits until so many deliveries are delivered.
async fn settled(rig: &Rig, count: usize) {
    let filter = DeliveryFilter { states: Some(vec![DeliveryState::Delivered]), ..DeliveryFilter::default() };
    let range = Range { order: Order::Asc, after: None, limit: 100, from_ms: None, to_ms: None };
    for _ in 0..2000 {
        if rig.engine.history().deliveries(rig.workspace, filter.clone(), range).await.expect("history answers").len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never were {count} deliveries delivered");
}

/// Whoever replays webhooks does not mean to write to people twice.
#[tokio::test]
async fn a_replay_does_not_send_messages_again_unless_their_carrier_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path()).await;
    rig.subscribe("watcher", &["message.*"], None).await;
    rig.engine.send_message(rig.workspace, source(), sms("m-1", &["+15550101"]), None).await.expect("sent");
    settled(&rig, 3).await;
    let replay = |target_id: Option<String>| Replay {
        target_id,
        event_type: None,
        states: vec!["delivered".into()],
        from_ms: 0,
        to_ms: i64::MAX,
        state: ReplayState::Running,
        total: None,
        scanned: 0,
        resent: 0,
        position: 0,
        request: None,
    };
    rig.engine.start_replay(rig.workspace, replay(None)).await.expect("a replay");
    rig.until("the watcher saw all again", |r| r.script.seen("watcher").len() == 4).await;
    settled(&rig, 3).await;
    assert_eq!(rig.script.seen("sms").len(), 1);
    let carriers = rig.engine.list::<Target>(rig.workspace);
    let carrier = carriers.iter().find(|target| target.doc.channel == "sms").expect("the carrier").id.clone();
    rig.engine.start_replay(rig.workspace, replay(Some(carrier))).await.expect("a replay");
    rig.until("it was sent again", |r| r.script.seen("sms").len() == 2).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}

/// A lane that cannot hold all recipients of a message reads the rest from the journal, to the last one.
#[tokio::test]
async fn a_message_reaches_all_of_a_thousand_recipients() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = rig(dir.path()).await;
    let numbers: Vec<String> = (0..1000).map(|n| format!("+1555{n:05}1")).collect();
    let to: Vec<&str> = numbers.iter().map(String::as_str).collect();
    rig.engine.send_message(rig.workspace, source(), sms("m-1", &to), None).await.expect("sent");
    rig.until("all were sent to", |r| r.script.seen("sms").len() == 1000).await;
    rig.engine.shutdown(Duration::from_secs(5)).await;
}
