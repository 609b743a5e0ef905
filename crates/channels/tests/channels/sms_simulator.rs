//! The simulator, number by number, under paused time.

use std::time::Duration;

use posthaste_channels::sms::{SimulatorSettings, SmsDefaults};
use posthaste_channels::{NewsKind, Outcome, ReceiptState, Sms};
use serde_json::json;
use tokio::time::Instant;

use crate::failure;
use crate::sms_centre::{Rig, settle};

fn receipt(id: &str, state: ReceiptState) -> NewsKind {
    let code = (state != ReceiptState::Delivered).then(|| "simulated".to_owned());
    NewsKind::Receipt { carrier_id: id.into(), state, code, text: None }
}

fn received(from: &str, text: &str) -> NewsKind {
    NewsKind::Received { from: from.into(), to: "12345".into(), text: text.into() }
}

#[tokio::test(start_paused = true)]
async fn numbers_do_what_the_page_says() {
    let mut rig = Rig::with(SmsDefaults::default());
    // Every usual number.
    for number in ["+15005550006", "+256701521269", "+61491570156"] {
        let report = rig.send_to("dlv_1", number, "x").await;
        assert_eq!((report.outcome, report.carrier_id.as_deref()), (Outcome::Delivered, Some("sim-dlv_1")));
        assert_eq!(&*report.response, "taken by the simulator");
        assert_eq!(rig.told().await, receipt("sim-dlv_1", ReceiptState::Delivered));
    }
    let invalid = rig.send_to("dlv_1", "+9990000001", "x").await;
    assert_eq!((failure(&invalid).code, failure(&invalid).retryable, invalid.status), ("sms_rejected", false, Some(11)));
    for (number, state) in
        [("+9990000002", ReceiptState::Failed), ("+9990000005", ReceiptState::Expired), ("+9990000009", ReceiptState::Rejected)]
    {
        assert_eq!(rig.send_to("dlv_2", number, "x").await.outcome, Outcome::Delivered);
        assert_eq!(rig.told().await, receipt("sim-dlv_2", state));
    }
    for _ in 0..2 {
        let refused = rig.send_to("dlv_3", "+9990000003", "x").await;
        assert_eq!((failure(&refused).code, failure(&refused).retryable), ("sms_deferred", true));
    }
    assert_eq!(rig.send_to("dlv_3", "+9990000003", "x").await.outcome, Outcome::Delivered);
    assert_eq!(rig.told().await, receipt("sim-dlv_3", ReceiptState::Delivered));

    let start = Instant::now();
    rig.send_to("dlv_4", "+9990000004", "x").await;
    assert_eq!((rig.told().await, start.elapsed()), (receipt("sim-dlv_4", ReceiptState::Delivered), Duration::from_secs(5)));

    for (number, text) in [("+9990000006", "YES"), ("+9990000007", "STOP"), ("+9990000010", "START")] {
        rig.send_to("dlv_5", number, "x").await;
        assert_eq!(rig.told().await, receipt("sim-dlv_5", ReceiptState::Delivered));
        assert_eq!(rig.told().await, received(number, text));
    }
    rig.send_to("dlv_6", "+9990000008", "x").await;
    settle().await;
    assert!(rig.news.try_recv().is_err(), "it says nothing");
}

#[tokio::test(start_paused = true)]
async fn its_pace_can_be_set() {
    let simulator = SimulatorSettings {
        receipt_after: Duration::from_millis(10),
        late_receipt_after: Duration::from_millis(20),
        reply_after: Duration::from_millis(30),
    };
    let mut rig = Rig::with(SmsDefaults { simulator, ..SmsDefaults::default() });
    for (number, first, second) in [("+9990000004", 20, None), ("+9990000006", 10, Some(40))] {
        let start = Instant::now();
        rig.send_to("dlv_1", number, "x").await;
        rig.told().await;
        assert_eq!(start.elapsed().as_millis(), first);
        if let Some(second) = second {
            rig.told().await;
            assert_eq!(start.elapsed().as_millis(), second);
        }
    }
}

/// A receipt that comes before the record of its message is offered again.
#[tokio::test(start_paused = true)]
async fn news_that_are_not_taken_are_offered_again() {
    let mut rig = Rig::with(SmsDefaults::default());
    rig.send_to("dlv_1", "+15551230001", "x").await;
    rig.news.recv().await.expect("news").ack.send(false).expect("the simulator waits");
    drop(rig.news.recv().await.expect("news").ack);
    assert_eq!(rig.told().await, receipt("sim-dlv_1", ReceiptState::Delivered));
    settle().await;
    assert!(rig.news.try_recv().is_err());
}

/// Messages that are marked as tests go nowhere, whatever carrier there is.
#[tokio::test(start_paused = true)]
async fn tests_go_to_the_simulator() {
    let mut rig = Rig::with(SmsDefaults { carrier: json!("smpp://me:pw@centre"), ..SmsDefaults::default() });
    let sms = Sms { message_id: "m".into(), from: "12345".into(), to: "+15551230001".into(), text: "x".into(), test: true };
    assert_eq!(rig.send_sms("dlv_1", sms).await.carrier_id.as_deref(), Some("sim-dlv_1"));
    assert_eq!(rig.told().await, receipt("sim-dlv_1", ReceiptState::Delivered));
}
