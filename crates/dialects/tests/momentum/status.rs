//! The batch status.

use serde_json::{Value, json};

use crate::receiver::{Receiver, reply};
use crate::rig::{HOUR, MINUTE, Rig, SECOND, webhook};

async fn status(rig: &Rig, id: &str) -> Vec<Value> {
    rig.get(&format!("/{id}/batch-status")).await.as_array().unwrap().clone()
}

// MOMENTUM-92, MOMENTUM-93, MOMENTUM-94, MOMENTUM-95, MOMENTUM-96
#[tokio::test]
async fn batches_that_failed_are_listed() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.ready(&receiver, &["bounce"]).await;
    assert_eq!(status(&rig, &id).await, Vec::<Value>::new());
    rig.publish("bounce", json!({})).await;
    rig.pass(31 * SECOND).await;
    rig.first_delivery("succeeded", |delivery| delivery.state.is_terminal()).await;
    assert_eq!(status(&rig, &id).await, Vec::<Value>::new(), "it succeeded at once");

    receiver.answer(|_| reply(503));
    rig.publish("bounce", json!({})).await;
    rig.pass(31 * SECOND).await;
    rig.all_deliveries("were tried", |delivery| delivery.attempts == 1).await;
    let failing = status(&rig, &id).await;
    assert_eq!(failing.len(), 1);
    assert_eq!((&failing[0]["attempts"], &failing[0]["response_code"], &failing[0]["failure_code"]), (&json!(1), &json!(503), &json!(503)));
    assert_eq!(failing[0]["batch_id"], receiver.batches()[1].batch_id());
    assert_eq!(failing[0]["webhook_id"], id);
    let ts = failing[0]["ts"].as_str().unwrap();
    assert_eq!((ts.len(), &ts[10..11], &ts[19..20], &ts[23..]), (24, "T", ".", "Z"), "{ts}");
    let at: jiff::Timestamp = ts.parse().unwrap();
    assert!((rig.now_ms() - at.as_millisecond()).abs() < 60_000);

    receiver.answer(|_| reply(202));
    rig.pass(MINUTE).await;
    rig.all_deliveries("succeeded", |delivery| delivery.state.is_terminal()).await;
    let succeeded = status(&rig, &id).await;
    assert_eq!((&succeeded[0]["attempts"], &succeeded[0]["response_code"]), (&json!(1), &json!(202)));
    assert_eq!((succeeded.len(), succeeded[0].get("failure_code")), (1, None));
    assert_eq!(succeeded[0]["batch_id"], failing[0]["batch_id"]);
}

// MOMENTUM-97, MOMENTUM-98, MOMENTUM-99
#[tokio::test]
async fn the_list_is_limited_and_forgets_after_a_day() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.ready(&receiver, &["bounce"]).await;
    receiver.answer(|_| reply(500));
    for _ in 0..3 {
        rig.publish("bounce", json!({})).await;
        rig.pass(31 * SECOND).await;
        rig.all_deliveries("were tried", |delivery| delivery.attempts > 0).await;
    }
    let all = status(&rig, &id).await;
    assert_eq!(all.len(), 3);
    let times: Vec<&str> = all.iter().map(|batch| batch["ts"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let path = format!("/{id}/batch-status");
    assert_eq!(rig.get(&format!("{path}?limit=1")).await, json!([all[0]]));
    for bad in ["0", "-1", "x", ""] {
        let error = rig.call("GET", &format!("{path}?limit={bad}"), None).await.error(400);
        assert_eq!((&error["message"], &error["code"]), (&json!("invalid params"), &json!("1200")), "{bad}");
    }
    // A changed webhook still knows what its older version did.
    assert_eq!(rig.put(&id, json!({ "auth_token": "t" })).await.status, 200);
    assert_eq!(status(&rig, &id).await.len(), 3);
    receiver.answer(|_| reply(200));
    rig.pass(MINUTE).await;
    for _ in 0..100 {
        rig.pass(MINUTE).await;
        if rig.deliveries().await.iter().all(|delivery| delivery.state.is_terminal()) {
            break;
        }
    }
    rig.all_deliveries("ended", |delivery| delivery.state.is_terminal()).await;
    assert_eq!(status(&rig, &id).await.len(), 3);
    rig.pass(21 * HOUR).await;
    assert_eq!(status(&rig, &id).await.len(), 3);
    rig.pass(3 * HOUR).await;
    assert_eq!(status(&rig, &id).await, Vec::<Value>::new());
    for unknown in ["1cc94ef0-ab17-11e4-b135-0ff9de159aa7", "x"] {
        assert_eq!(rig.call("GET", &format!("/{unknown}/batch-status"), None).await.error(404)["code"], "1600");
    }
}

// MOMENTUM-97: the default.
#[tokio::test]
async fn a_thousand_records_are_listed_unless_the_client_says_otherwise() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let settings = posthaste_dialects::momentum::MomentumSettings { batch_events: 1, ..Default::default() };
    drop(rig);
    let rig = Rig::with(settings).await;
    let id = rig.create(webhook(&receiver, &["open"])).await;
    rig.pass(61 * SECOND).await;
    receiver.answer(|_| reply(500));
    let payloads = vec![json!({}); 1005];
    rig.publish_many("open", &payloads).await;
    for _ in 0..3000 {
        rig.pass(MINUTE).await;
        if rig.deliveries().await.iter().filter(|delivery| delivery.attempts > 0).count() == 1005 {
            break;
        }
    }
    assert_eq!(status(&rig, &id).await.len(), 1000);
    assert_eq!(rig.get(&format!("/{id}/batch-status?limit=1003")).await.as_array().unwrap().len(), 1003);
}
