//! STDWH-67 and incident 8: nothing reaches an internal address, by no spelling, no redirect and no change of DNS answers.

use std::time::Duration;

use posthaste_channels::Channels;
use posthaste_domain::delivery::Fault;
use serde_json::json;
use tokio::net::TcpListener;

use crate::memory::{Memory, Plan};
use crate::receiver::{Desk, status};
use crate::{failure, message, try_once};

fn guarded_channels() -> Channels {
    Channels::standard(&Default::default()).expect("options")
}

/// STDWH-67: odd spellings go through the system's resolver, so that what is vetted is what would be connected to.
#[tokio::test]
async fn internal_addresses_are_refused_in_every_spelling() {
    let listener = TcpListener::bind("[::]:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let channels = guarded_channels();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "100.100.100.200",
        "192.168.1.1",
        "[fe80::1]",
    ] {
        let settings = json!({"url": format!("http://{host}:{port}/")});
        // A key of (0, 0): nothing is kept of the settings from one to the next.
        let dispatch = posthaste_channels::Dispatch {
            delivery_id: "dlv_test",
            settings: &settings,
            settings_key: (0, 0),
            content: message("{}"),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
        };
        let report = channels.get("webhook").expect("webhook").send(dispatch).await;
        let error = failure(&report);
        assert_eq!((error.code, error.fault, report.status), ("address_blocked", Fault::Theirs, None), "{host}");
        let bare = host.trim_matches(['[', ']']);
        assert_eq!(error.message, format!("{bare} has no address that this server may connect to"));
        assert!(report.response_body.is_empty() && report.response.is_empty());
    }
    let untouched = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(untouched.is_err(), "somebody connected");
}

#[tokio::test]
async fn chat_and_mail_go_through_the_same_guard() {
    for (channel, settings) in [
        ("slack", json!({"webhook_url": "http://127.0.0.1:9/"})),
        ("slack", json!({"token": "x", "channel": "c", "api_url": "http://169.254.169.254/latest"})),
        ("discord", json!({"webhook_url": "http://[::1]:9/"})),
        ("email", json!({"to": ["a@b.example"], "from": "c@d.example", "smtp": {"url": "smtp://127.0.0.1:9"}})),
        ("email", json!({"to": ["a@b.example"], "from": "c@d.example", "smtp": {"url": "smtps://[::ffff:10.0.0.1]:9"}})),
    ] {
        // Fresh channels for each, since the settings share a key.
        let report = try_once(&guarded_channels(), channel, &settings, message("hello")).await;
        assert_eq!(failure(&report).code, "address_blocked", "{settings}");
    }
}

/// Incident 8: the name answers with a public address when it is vetted and with an internal one the next time it is asked.
#[tokio::test(start_paused = true)]
async fn an_answer_that_changes_between_vetting_and_connecting_changes_nothing() {
    // Closes after each answer, so that every try needs a connection of its own.
    let desk = Desk::new(|_, _| status(200, "connection: close\r\n", ""));
    let memory = Memory::new(&[&["93.184.216.34"], &["127.0.0.1"], &["169.254.169.254", "10.0.0.1"]], move |_| Plan::Serve(desk.clone()));
    let channels = memory.channels();
    let settings = json!({"url": "http://rebind.example/"});
    assert_eq!(try_once(&channels, "webhook", &settings, message("{}")).await.status, Some(200));
    assert_eq!((memory.lookups(), memory.dialled()), (1, vec!["93.184.216.34:80".to_owned()]));
    for lookups in [2, 3] {
        let report = try_once(&channels, "webhook", &settings, message("{}")).await;
        let error = failure(&report);
        assert_eq!(error.code, "address_blocked");
        assert_eq!(error.message, "rebind.example has no address that this server may connect to");
        assert_eq!((memory.lookups(), memory.dialled().len()), (lookups, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_mixed_answer_only_the_vetted_addresses_are_tried() {
    let memory = Memory::new(&[&["10.0.0.1", "93.184.216.34", "::1", "::ffff:127.0.0.1"]], |_| Plan::Refuse);
    let report = try_once(&memory.channels(), "webhook", &json!({"url": "http://mixed.example/"}), message("{}")).await;
    assert_eq!(failure(&report).code, "connect_refused");
    assert_eq!(memory.dialled(), ["93.184.216.34:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_without_addresses_is_a_dns_failure() {
    let memory = Memory::new(&[&[]], |_| Plan::Refuse);
    let report = try_once(&memory.channels(), "webhook", &json!({"url": "http://nothing.example/"}), message("{}")).await;
    let error = failure(&report);
    assert_eq!((error.code, error.fault, error.retryable), ("dns_failed", Fault::Network, true));
}
