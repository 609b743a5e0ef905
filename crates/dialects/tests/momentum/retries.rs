//! Batches that fail: when they are tried again, and when no more.

use std::time::Duration;

use posthaste_domain::delivery::DeliveryState;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::receiver::{Receiver, reply};
use crate::rig::{HOUR, MINUTE, Rig, SECOND, webhook};

impl Rig {
    /// Passes to the next attempt of the oldest delivery and waits for its end; `false` if there is none to come.
    async fn next_attempt(&self) -> bool {
        let before = self.deliveries().await[0].clone();
        if before.state.is_terminal() {
            return false;
        }
        let wait = (before.due_ms - self.now_ms()).max(0) as u64 + 1;
        self.pass(Duration::from_millis(wait)).await;
        for _ in 0..200 {
            // A target that fails again and again is probed, which may be later than the attempt is due.
            for _ in 0..20 {
                if self.deliveries().await[0].attempts > before.attempts {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.pass(30 * SECOND).await;
        }
        panic!("no attempt: {before:?}");
    }
}

// MOMENTUM-73, MOMENTUM-88, MOMENTUM-89
#[tokio::test]
async fn a_failing_batch_is_tried_for_four_hours_with_growing_gaps() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["bounce"]).await;
    receiver.answer(|_| reply(500));
    rig.publish("bounce", json!({ "subject": "s" })).await;
    rig.pass(31 * SECOND).await;
    let first = rig.first_delivery("was tried", |delivery| delivery.attempts == 1).await;
    while rig.next_attempt().await {}
    let last = rig.deliveries().await[0].clone();
    assert_eq!(last.state, DeliveryState::Failed);
    let attempts = rig.engine.history().attempts(first.key).await.unwrap();
    let at: Vec<i64> = attempts.iter().map(|attempt| attempt.at_ms).collect();
    let gaps: Vec<i64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((30_000..60_000).contains(&gaps[0]), "the second attempt is within a minute: {gaps:?}");
    assert!(gaps[..6].is_sorted() && gaps[5] >= 15 * 60_000, "{gaps:?}");
    let whole = at.last().unwrap() - at[0];
    assert!(whole > 3 * 3_600_000 && whole <= 4 * 3_600_000 + 10_000, "{whole}");
    let batches = receiver.batches();
    assert_eq!(batches.len(), attempts.len());
    assert!(batches.iter().all(|batch| batch.batch_id() == batches[0].batch_id() && batch.body == batches[0].body));
    receiver.answer(|_| reply(200));
    rig.pass(5 * HOUR).await;
    rig.nudge().await;
    assert_eq!((rig.deliveries().await[0].attempts, receiver.batches().len()), (last.attempts, batches.len()));
}

// MOMENTUM-90
#[tokio::test]
async fn one_failing_batch_does_not_hold_up_the_next_ones() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["bounce"]).await;
    receiver.answer(|request| reply(if request.records()[0]["subject"] == "poison" { 500 } else { 200 }));
    rig.publish("bounce", json!({ "subject": "poison" })).await;
    rig.pass(31 * SECOND).await;
    rig.first_delivery("was tried", |delivery| delivery.attempts == 1).await;
    for round in 0..20 {
        rig.publish("bounce", json!({ "subject": round.to_string() })).await;
        rig.pass(31 * SECOND).await;
        for _ in 0..2000 {
            if rig.deliveries().await[round + 1].state == DeliveryState::Delivered {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(rig.deliveries().await[round + 1].state, DeliveryState::Delivered, "batch {round}");
    }
    let poison = rig.deliveries().await[0].clone();
    assert!(poison.state == DeliveryState::Scheduled && poison.attempts > 3, "{poison:?}");
}

// MOMENTUM-90: a target that is away for a while gets what was meant for it meanwhile.
#[tokio::test]
async fn a_target_that_comes_back_gets_everything_of_the_last_four_hours() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["bounce"]).await;
    receiver.answer(|_| reply(410));
    for round in 0..20 {
        rig.publish("bounce", json!({ "subject": round.to_string() })).await;
        rig.pass(31 * SECOND).await;
    }
    rig.first_delivery("was tried", |delivery| delivery.attempts > 0).await;
    receiver.answer(|_| reply(200));
    for _ in 0..400 {
        rig.pass(30 * SECOND).await;
        if rig.deliveries().await.iter().all(|delivery| delivery.state == DeliveryState::Delivered) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{:?}", rig.deliveries().await);
}

// MOMENTUM-85, MOMENTUM-86
#[tokio::test]
async fn any_2xx_is_success_and_a_redirect_is_not_followed() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["bounce"]).await;
    let elsewhere = format!("{}/elsewhere", receiver.url);
    receiver.answer(move |_| (302, vec![("location", elsewhere.clone())], String::new()));
    rig.publish("bounce", json!({})).await;
    rig.pass(31 * SECOND).await;
    let failed = rig.first_delivery("was tried", |delivery| delivery.attempts == 1).await;
    assert_eq!(failed.state, DeliveryState::Scheduled);
    receiver.answer(|_| reply(202));
    rig.pass(MINUTE).await;
    assert_eq!(rig.first_delivery("ended", |delivery| delivery.state.is_terminal()).await.state, DeliveryState::Delivered);
    assert!(receiver.seen().iter().all(|request| request.path == "/hook"));
    let attempts = rig.engine.history().attempts(failed.key).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(302), Some(202)]);
}

// MOMENTUM-87: the six seconds are a setting; that they are the default is in the tests of the format.
#[tokio::test]
async fn a_silent_target_is_a_failed_attempt_and_its_connection_is_closed() {
    let (rig, receiver) = (Rig::impatient().await, Receiver::start().await);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    // The test of the new target is answered, what comes after is not.
    let answered = async {
        let (mut stream, _) = silent.accept().await.unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        assert!(read > 0);
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
    };
    let (updated, ()) = tokio::join!(rig.put(&id, json!({ "target": url })), answered);
    assert_eq!(updated.status, 200);
    rig.pass(61 * SECOND).await;
    rig.publish("bounce", json!({})).await;
    rig.pass(31 * SECOND).await;
    let (mut stream, _) = silent.accept().await.unwrap();
    let mut all = Vec::new();
    // Ends when the other side closes.
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&all).ends_with("}}}]"));
    let failed = rig.first_delivery("was tried", |delivery| delivery.attempts == 1).await;
    assert_eq!(failed.state, DeliveryState::Scheduled);
    let attempts = rig.engine.history().attempts(failed.key).await.unwrap();
    assert_eq!((attempts[0].error.as_deref(), attempts[0].status), (Some("timeout"), None));
    // It waited for as long as it may, no longer and no shorter.
    assert!((250_000..5_000_000).contains(&attempts[0].duration_us), "{}", attempts[0].duration_us);
}

// MOMENTUM-73, MOMENTUM-91
#[tokio::test]
async fn a_failed_batch_outlives_a_restart() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    rig.ready(&receiver, &["bounce"]).await;
    receiver.answer(|_| reply(503));
    rig.publish_many("bounce", &[json!({ "subject": "a" }), json!({ "subject": "b" })]).await;
    rig.pass(31 * SECOND).await;
    rig.first_delivery("was tried", |delivery| delivery.attempts == 1).await;
    let rig = rig.restart().await;
    receiver.answer(|_| reply(200));
    rig.pass(MINUTE).await;
    let batches = receiver.take(2).await;
    assert_eq!((batches[0].batch_id(), &batches[0].body), (batches[1].batch_id(), &batches[1].body));
    assert_eq!(batches[1].records().len(), 2);
    assert_eq!(rig.first_delivery("ended", |delivery| delivery.state.is_terminal()).await.attempts, 2);
}
