//! What is collected, when it is sent, and in which form.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::rig::{Rig, SECOND, is_uuid, webhook};

const ALL: [&str; 16] = [
    "injection",
    "delivery",
    "policy_rejection",
    "bounce",
    "delay",
    "out_of_band",
    "spam_complaint",
    "sms_status",
    "generation_failure",
    "generation_rejection",
    "open",
    "click",
    "list_unsubscribe",
    "link_unsubscribe",
    "ad_status",
    "ad_adjust",
];

// MOMENTUM-56, MOMENTUM-57
#[tokio::test]
async fn the_first_minute_is_not_collected() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.create(webhook(&receiver, &["bounce"])).await;
    rig.publish("bounce", json!({ "subject": "at once" })).await;
    rig.pass(58 * SECOND).await;
    rig.publish("bounce", json!({ "subject": "after 58 s" })).await;
    assert_eq!(rig.deliveries().await.len(), 0);
    rig.pass(2 * SECOND).await;
    rig.publish("bounce", json!({ "subject": "after a minute" })).await;
    rig.pass(31 * SECOND).await;
    let batches = receiver.take(1).await;
    let subjects: Vec<Value> = batches.iter().flat_map(|batch| batch.records()).map(|record| record["subject"].clone()).collect();
    assert_eq!(subjects, ["after a minute"]);
}

// MOMENTUM-58, MOMENTUM-70
#[tokio::test]
async fn a_lone_event_waits_half_a_minute() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["bounce"]).await;
    rig.publish("bounce", json!({})).await;
    rig.pass(29 * SECOND).await;
    rig.nudge().await;
    assert_eq!((rig.deliveries().await[0].attempts, receiver.batches().len()), (0, 0));
    rig.pass(SECOND).await;
    assert_eq!(receiver.take(1).await[0].records().len(), 1);
    // Then there is nothing to send, and nothing is.
    rig.first_delivery("succeeded", |delivery| delivery.state.is_terminal()).await;
    rig.pass(120 * SECOND).await;
    rig.nudge().await;
    assert_eq!((rig.deliveries().await.len(), receiver.batches().len()), (1, 1));
}

// MOMENTUM-59, MOMENTUM-60, MOMENTUM-72
#[tokio::test]
async fn ten_thousand_events_are_sent_at_once_and_no_more_in_one_batch() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["open"]).await;
    for thousand in 0..10 {
        let payloads: Vec<Value> = (0..1000).map(|i| json!({ "message_id": (thousand * 1000 + i).to_string() })).collect();
        rig.publish_many("message.opened", &payloads).await;
    }
    let first = receiver.take(1).await.remove(0);
    let ids: Vec<u32> = first.records().iter().map(|record| record["message_id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ids, (0..10_000).collect::<Vec<_>>());
    rig.publish("open", json!({})).await;
    rig.pass(31 * SECOND).await;
    let batches = receiver.take(2).await;
    assert_eq!(batches[1].records().len(), 1);
    assert_ne!(batches[0].batch_id(), batches[1].batch_id());
}

// MOMENTUM-61, MOMENTUM-62, MOMENTUM-63, MOMENTUM-65, MOMENTUM-66, MOMENTUM-67, MOMENTUM-68, MOMENTUM-69, MOMENTUM-71, MOMENTUM-74
#[tokio::test]
async fn every_key_is_delivered_in_its_class() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &ALL).await;
    for key in ALL {
        rig.publish(key, json!({ "subject": "s" })).await;
    }
    rig.pass(31 * SECOND).await;
    let batch = receiver.take(1).await.remove(0);
    assert_eq!((batch.method.as_str(), batch.path.as_str()), ("POST", "/hook"));
    assert!(is_uuid(batch.batch_id()));
    assert_eq!(batch.header("x-messagesystems-webhook-token"), None);
    let records = batch.json();
    let pairs: Vec<(String, String)> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            assert_eq!(record.as_object().unwrap().len(), 1);
            let msys = record["msys"].as_object().unwrap();
            assert_eq!(msys.len(), 1);
            let (class, content) = msys.iter().next().unwrap();
            (content["type"].as_str().unwrap().to_owned(), class.clone())
        })
        .collect();
    let class = |key: &str| match key {
        "open" | "click" => "track_event",
        "generation_failure" | "generation_rejection" => "gen_event",
        "list_unsubscribe" | "link_unsubscribe" => "unsubscribe_event",
        "ad_status" | "ad_adjust" => "ad_event",
        _ => "message_event",
    };
    assert_eq!(pairs, ALL.map(|key| (key.to_owned(), class(key).to_owned())));
}

// MOMENTUM-64
#[tokio::test]
async fn only_what_was_subscribed_to_is_delivered() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["bounce", "link_unsubscribe"]).await;
    for key in ALL {
        rig.publish(key, json!({})).await;
    }
    for (type_name, data) in [
        ("message.failed", json!({ "reason": "policy" })),
        ("message.failed", json!({ "reason": "out_of_band" })),
        ("message.failed", json!({ "reason": "bounce", "subject": "told" })),
        ("message.unsubscribed", json!({ "reason": "list" })),
        ("message.unsubscribed", json!({ "client": { "ip": "192.0.2.1" } })),
        ("message.delivered", json!({})),
        ("message.sent", json!({})),
        ("message.received", json!({})),
        ("order.paid", json!({ "type": "bounce" })),
    ] {
        rig.publish(type_name, data).await;
    }
    rig.pass(31 * SECOND).await;
    let batch = receiver.take(1).await.remove(0);
    assert_eq!(batch.types(), ["bounce", "link_unsubscribe", "bounce", "link_unsubscribe"]);
    assert_eq!(batch.records()[2]["subject"], "told");
    assert_eq!(rig.deliveries().await.len(), 1);
}

// MOMENTUM-107, MOMENTUM-108
#[tokio::test]
async fn numbers_are_strings_and_recipients_come_in_two_spellings() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["delivery", "injection"]).await;
    let data = json!({ "channel": "email", "recipient": "Jane.DOE@Example.com", "size": 1337, "attempt": 3, "occurred_at": "2014-12-12T18:04:34Z" });
    rig.publish("message.delivered", data).await;
    rig.publish("injection", json!({ "rcpt_to": "Jane.DOE@Example.com", "timestamp": 1418407074.5, "msg_size": 7 })).await;
    rig.pass(31 * SECOND).await;
    let records = receiver.take(1).await[0].records();
    let fields =
        |record: &Value| ["timestamp", "msg_size", "num_retries", "rcpt_to", "raw_rcpt_to", "customer_id"].map(|name| record[name].clone());
    let workspace = rig.workspace.to_string();
    let expected = ["1418407474", "1337", "2", "jane.doe@example.com", "Jane.DOE@Example.com", &workspace].map(|text| json!(text));
    assert_eq!(fields(&records[0]), expected);
    let expected =
        [json!("1418407074.5"), json!("7"), Value::Null, json!("jane.doe@example.com"), json!("Jane.DOE@Example.com"), json!(workspace)];
    assert_eq!(fields(&records[1]), expected);
}

// MOMENTUM-120
#[tokio::test]
async fn two_webhooks_get_their_own_batches() {
    let (rig, receiver, other) = (Rig::start().await, Receiver::start().await, Receiver::start().await);
    rig.create(webhook(&receiver, &["bounce"])).await;
    rig.ready(&other, &["open", "bounce"]).await;
    rig.publish("bounce", json!({ "message_id": "m1" })).await;
    rig.pass(31 * SECOND).await;
    let batches = [receiver.take(1).await.remove(0), other.take(1).await.remove(0)];
    assert!(batches.iter().all(|batch| batch.records()[0]["message_id"] == "m1"));
    assert_eq!(batches[0].records()[0]["event_id"], batches[1].records()[0]["event_id"]);
    let ids: BTreeSet<&str> = batches.iter().map(|batch| batch.batch_id()).collect();
    assert_eq!(ids.len(), 2);
}
