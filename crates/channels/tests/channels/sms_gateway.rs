//! The HTTP gateway against a provider on loopback, and the SMPP carrier over TLS: neither address is vetted, as the operator named it.

use std::sync::{Arc, Mutex};

use posthaste_channels::sms::SmsDefaults;
use posthaste_channels::{ChannelOptions, Channels, Outcome};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::receiver::{Receiver, status};
use crate::sms_centre::{Peer, Rig};
use crate::tls::Identity;
use crate::{failure, message, try_once};

fn channels(carrier: Value, from: Option<&str>) -> Channels {
    let sms = SmsDefaults { carrier, from: from.map(str::to_owned), ..SmsDefaults::default() };
    Channels::standard(&ChannelOptions { sms, ..ChannelOptions::default() }).expect("options")
}

#[tokio::test]
async fn a_provider_takes_a_message_and_names_it() {
    let receiver = Receiver::start(|_, _| status(201, "content-type: application/json\r\n", r#"{"messages":[{"id":42}]}"#)).await;
    let carrier = json!({
        "url": receiver.url("/v1/{{ message_id }}?key=s3cret"),
        "headers": {"authorization": "Bearer s3cret"},
        "body": r#"{"to": {{ to|tojson }}, "from": {{ from|tojson }}, "text": {{ text|tojson }}}"#,
        "id": "/messages/0/id",
    });
    let rig = Rig::of_channels(channels(carrier, None));
    let report = rig.send("dlv_1", "\"Hi\"\nthere ü").await;
    assert_eq!((&report.outcome, report.carrier_id.as_deref(), report.status), (&Outcome::Delivered, Some("42"), Some(201)));
    assert_eq!(&*report.request, "POST via this server's SMS gateway\nfrom: 12345\nto: +15551230001");
    let seen = &receiver.seen()[0];
    assert_eq!(seen.line(), "POST /v1/msg_dlv_1?key=s3cret HTTP/1.1");
    assert_eq!((seen.header("authorization"), seen.header("content-type")), (Some("Bearer s3cret"), Some("application/json")));
    assert_eq!(seen.json(), json!({"to": "+15551230001", "from": "12345", "text": "\"Hi\"\nthere ü"}));
    assert!(!format!("{report:?}").contains("s3cret"));
}

#[tokio::test]
async fn answers_are_judged_by_their_status() {
    let next = Arc::new(Mutex::new(200));
    let answer = Arc::clone(&next);
    let receiver =
        Receiver::start(move |_, _| status(*answer.lock().expect("lock"), "retry-after: 7\r\n", r#"{"message":"no credit"}"#)).await;
    let carrier = json!({"url": receiver.url("/"), "body": "x={{ text|urlencode }}", "success": [200], "error": "/message"});
    let channels = channels(carrier, Some("+15550000000"));
    for (code, expected) in [
        (200, None),
        (201, Some(("sms_rejected", false))),
        (400, Some(("sms_rejected", false))),
        (401, Some(("sms_deferred", true))),
        (429, Some(("rate_limited", true))),
        (503, Some(("sms_deferred", true))),
    ] {
        *next.lock().expect("lock") = code;
        let report = try_once(&channels, "sms", &json!({"to": "+15551230001"}), message("from a template")).await;
        assert_eq!((report.status, report.retry_after.as_deref()), (Some(code), Some("7")));
        match expected {
            None => assert_eq!((report.outcome, report.carrier_id), (Outcome::Delivered, None), "no id is asked for"),
            Some((name, retryable)) => {
                let error = failure(&report);
                assert_eq!((error.code, error.retryable), (name, retryable), "{code}");
                assert_eq!(error.message, format!("the SMS gateway answered {code}: no credit"));
            }
        }
    }
    assert_eq!(receiver.seen()[0].body, b"x=from%20a%20template");
    let unreachable = json!({"url": "http://127.0.0.1:9/", "body": "x"});
    let report = try_once(&self::channels(unreachable, None), "sms", &json!({"to": "+15551230001"}), message("x")).await;
    assert_eq!((failure(&report).code, failure(&report).retryable), ("connect_refused", true));
}

#[tokio::test]
async fn message_centres_are_reached_over_tls() {
    let identity = Identity::of("localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let sms = SmsDefaults { carrier: json!(format!("smpps://me:pw@localhost:{port}")), ..SmsDefaults::default() };
    let options = ChannelOptions { sms, extra_roots: vec![identity.certificate()], ..ChannelOptions::default() };
    let rig = Rig::of_channels(Channels::standard(&options).expect("options"));
    let (stream, _) = listener.accept().await.expect("a connection");
    let mut peer = Peer::new(identity.acceptor(&[]).accept(stream).await.expect("TLS"));
    peer.bind().await;
    let send = async {
        // The link may not have read the answer to its bind yet.
        loop {
            let report = rig.send("dlv_1", "x").await;
            if report.outcome == Outcome::Delivered {
                return report;
            }
            assert_eq!(failure(&report).code, "sms_unavailable");
            tokio::task::yield_now().await;
        }
    };
    let (report, _) = tokio::join!(send, peer.take("a"));
    assert_eq!(report.carrier_id.as_deref(), Some("a"));
}
