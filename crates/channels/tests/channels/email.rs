//! The e-mail channel in conversation with scripted mail servers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_channels::email::EmailDefaults;
use posthaste_channels::{ChannelOptions, Channels, Content, Outcome, Report};
use posthaste_domain::delivery::Fault;
use posthaste_domain::template::Rendered;
use serde_json::{Value, json};

use crate::smtp_server::{Behaviour, SmtpServer};
use crate::tls::Identity;
use crate::{AMPLE, failure, loopback_channels, loopback_guard, message, try_once, try_within};

fn settings(server: &SmtpServer) -> Value {
    json!({"to": ["Ann <ann@a.example>"], "from": "Posthaste <p@d.example>", "smtp": {"url": server.url(), "tls": "none"}})
}

fn letter() -> Content {
    Content::Message(Rendered {
        title: "Order 7\r\nBcc: spy@x.example".to_owned(),
        text: "Hello Ann\n.\nthe dot stays".to_owned(),
        html: Some("<p>Hello <b>Ann</b></p>".to_owned()),
    })
}

async fn answered(command: &'static str, answer: &'static str) -> (Report, SmtpServer) {
    let server = SmtpServer::start(Behaviour { answers: vec![(command, answer)], ..Default::default() }).await;
    (try_once(&loopback_channels(), "email", &settings(&server), letter()).await, server)
}

#[tokio::test]
async fn a_mail_is_taken_with_both_parts_and_no_injected_header() {
    let server = SmtpServer::start(Behaviour::default()).await;
    let mut settings = settings(&server);
    settings["cc"] = json!(["bob@b.example"]);
    settings["reply_to"] = json!("Desk <desk@d.example>");
    let report = try_once(&loopback_channels(), "email", &settings, letter()).await;
    assert_eq!((&report.outcome, report.status), (&Outcome::Delivered, Some(250)));
    assert_eq!(&*report.response, "250 2.0.0 queued as 42");
    assert!(report.request.contains("to: Ann <ann@a.example>\ncc: bob@b.example\nsubject: {subject}"), "{}", report.request);
    let commands = server.commands();
    let said: Vec<&str> = commands.iter().map(String::as_str).filter(|command| !command.starts_with("EHLO")).collect();
    assert_eq!(said, ["MAIL FROM:<p@d.example>", "RCPT TO:<ann@a.example>", "RCPT TO:<bob@b.example>", "DATA"]);
    let mail = &server.mails()[0];
    let (head, body) = mail.split_once("\r\n\r\n").expect("a head and a body");
    for line in [
        "Message-ID: <dlv_test@d.example>",
        "From: \"Posthaste\" <p@d.example>",
        "To: \"Ann\" <ann@a.example>",
        "Cc: bob@b.example",
        "Reply-To: \"Desk\" <desk@d.example>",
        "Subject: Order 7 Bcc: spy@x.example",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
    ] {
        let plain = |text: &str| text.replace('"', "");
        assert!(head.lines().any(|found| plain(found) == plain(line)), "{line} is not in\n{head}");
    }
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    assert!(head.contains("multipart/alternative"), "{head}");
    let (plain, html) = (body.find("text/plain").expect("plain"), body.find("text/html").expect("html"));
    assert!(plain < html, "the plain part comes first");
    assert!(body.contains("\r\n..\r\nthe dot stays") && body.contains("<p>Hello <b>Ann</b></p>"), "{body}");
}

#[tokio::test]
async fn a_connection_carries_several_mails() {
    let server = SmtpServer::start(Behaviour::default()).await;
    let (channels, settings) = (loopback_channels(), settings(&server));
    for _ in 0..3 {
        assert_eq!(try_once(&channels, "email", &settings, letter()).await.outcome, Outcome::Delivered);
    }
    assert_eq!((server.mails().len(), server.log.connections.load(Ordering::SeqCst)), (3, 1));
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced() {
    let server = SmtpServer::start(Behaviour { answers: vec![("NOOP", "")], ..Default::default() }).await;
    let (channels, settings) = (loopback_channels(), settings(&server));
    for _ in 0..2 {
        assert_eq!(try_once(&channels, "email", &settings, letter()).await.outcome, Outcome::Delivered);
    }
    assert_eq!((server.mails().len(), server.log.connections.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test]
async fn four_hundreds_are_for_now_and_five_hundreds_for_good() {
    for command in ["MAIL", "RCPT", "DATA"] {
        let (report, _) = answered(command, "450 4.2.0 try later\r\n").await;
        let error = failure(&report);
        assert_eq!((error.code, error.retryable, report.status), ("smtp_deferred", true, Some(450)), "{command}");
        assert_eq!(error.message, "127.0.0.1 answered 450 4.2.0 try later");
        let (report, server) = answered(command, "550-5.1.1 no\r\n550 such user\r\n").await;
        let error = failure(&report);
        assert_eq!((error.code, error.retryable, report.status), ("smtp_rejected", false, Some(550)), "{command}");
        assert_eq!((error.fault, server.mails().len()), (Fault::Theirs, 0));
    }
    let server = SmtpServer::start(Behaviour { greeting: Some("421 busy\r\n"), ..Default::default() }).await;
    let report = try_once(&loopback_channels(), "email", &settings(&server), letter()).await;
    assert_eq!((failure(&report).code, report.status), ("smtp_deferred", Some(421)));
}

#[tokio::test]
async fn servers_that_are_none() {
    for (behaviour, code) in [
        (Behaviour { greeting: Some("HTTP/1.1 400 Bad Request\r\n"), ..Default::default() }, "response_invalid"),
        (Behaviour { endless: true, ..Default::default() }, "response_invalid"),
        (Behaviour { answers: vec![("EHLO", "")], ..Default::default() }, "connection_lost"),
    ] {
        let server = SmtpServer::start(behaviour).await;
        let report = try_once(&loopback_channels(), "email", &settings(&server), letter()).await;
        assert_eq!((failure(&report).code, failure(&report).retryable), (code, true), "{}", failure(&report).message);
    }
    let mute = SmtpServer::start(Behaviour { greeting: Some(""), ..Default::default() }).await;
    let short = Duration::from_millis(80);
    let report = try_within(&loopback_channels(), "email", &settings(&mute), letter(), AMPLE, short).await;
    assert_eq!(failure(&report).code, "timeout");
}

#[tokio::test]
async fn the_operators_relay_is_trusted_and_its_trouble_is_ours() {
    let server = SmtpServer::start(Behaviour { extensions: vec!["AUTH PLAIN LOGIN"], ..Default::default() }).await;
    let relay = format!("smtp://me:pw@{}?tls=none", server.address);
    // The guard allows nothing: the relay on loopback is reached all the same.
    let email = EmailDefaults { relay: Some(relay), from: Some("Posthaste <p@d.example>".to_owned()) };
    let channels = Channels::standard(&ChannelOptions { email: email.clone(), ..Default::default() }).expect("options");
    let settings = json!({"to": ["ann@a.example"]});
    let report = try_once(&channels, "email", &settings, message("plain only")).await;
    assert_eq!(report.outcome, Outcome::Delivered);
    assert!(report.request.contains("SMTP via this server's mail relay") && !report.request.contains("127.0.0.1"));
    assert!(server.commands().contains(&"AUTH PLAIN AG1lAHB3".to_owned()), "{:?}", server.commands());
    assert!(server.mails()[0].contains("Content-Type: text/plain"));

    let refusing = SmtpServer::start(Behaviour {
        extensions: vec!["AUTH PLAIN"],
        answers: vec![("AUTH", "535 5.7.8 wrong\r\n")],
        ..Default::default()
    })
    .await;
    let email = EmailDefaults { relay: Some(format!("smtp://me:pw@{}?tls=none", refusing.address)), ..email };
    let channels = Channels::standard(&ChannelOptions { email: email.clone(), ..Default::default() }).expect("options");
    let report = try_once(&channels, "email", &settings, letter()).await;
    assert_eq!((failure(&report).code, failure(&report).fault), ("smtp_rejected", Fault::Ours));

    let gone = EmailDefaults { relay: Some("smtp://127.0.0.1:1".to_owned()), ..email };
    let channels = Channels::standard(&ChannelOptions { email: gone, ..Default::default() }).expect("options");
    let report = try_once(&channels, "email", &settings, letter()).await;
    let error = failure(&report);
    assert_eq!((error.code, error.fault, error.retryable), ("connect_refused", Fault::Ours, true));
    assert_eq!(error.message, "this server's mail relay cannot be reached (connect_refused)");
}

#[tokio::test]
async fn the_operators_relay_that_lets_nobody_in_is_tried_again() {
    let sent = async |behaviour: Behaviour| {
        let server = SmtpServer::start(behaviour).await;
        let relay = Some(format!("smtp://me:pw@{}?tls=none", server.address));
        let email = EmailDefaults { relay, from: Some("p@d.example".to_owned()) };
        let channels = Channels::standard(&ChannelOptions { email, ..Default::default() }).expect("options");
        try_once(&channels, "email", &json!({"to": ["ann@a.example"]}), letter()).await
    };
    let with_login = Behaviour { extensions: vec!["AUTH PLAIN"], ..Default::default() };
    for behaviour in [
        Behaviour { greeting: Some("554 5.7.1 go away\r\n"), ..Default::default() },
        Behaviour { answers: vec![("EHLO", "550 5.1.1 who are you\r\n")], ..Default::default() },
        Behaviour { answers: vec![("AUTH", "535 5.7.8 wrong\r\n")], ..with_login.clone() },
        Behaviour { answers: vec![("AUTH", "530 5.7.0 no\r\n")], ..with_login.clone() },
        // It does not take passwords at all.
        Behaviour::default(),
    ] {
        let report = sent(behaviour).await;
        let error = failure(&report);
        let found = (error.code, error.fault, error.retryable, report.status);
        assert_eq!(found, ("smtp_rejected", Fault::Ours, true, None), "{}", error.message);
    }
    // What it says of a mail stays a word about the mail.
    let report = sent(Behaviour { answers: vec![("RCPT", "550 5.1.1 no such user\r\n")], ..with_login }).await;
    let error = failure(&report);
    assert_eq!((error.fault, error.retryable, report.status), (Fault::Theirs, false, Some(550)), "{}", error.message);
}

#[tokio::test]
async fn tls_is_required_where_it_is_asked_for_and_checks_the_name() {
    let identity = Identity::of("localhost");
    let options = ChannelOptions { guard: loopback_guard(), extra_roots: vec![identity.certificate()], ..Default::default() };
    let with_tls = Behaviour { extensions: vec!["STARTTLS"], tls: Some(identity.acceptor(&[])), ..Default::default() };
    let wrapped = Behaviour { wrapped: true, ..with_tls.clone() };
    let send = async |behaviour: &Behaviour, host: &str, tls: &str, options: &ChannelOptions| {
        let server = SmtpServer::start(behaviour.clone()).await;
        let mut settings = settings(&server);
        settings["smtp"] = json!({"url": format!("smtp://{host}:{}", server.address.port()), "tls": tls});
        let channels = Channels::standard(options).expect("options");
        (try_once(&channels, "email", &settings, letter()).await, server)
    };
    for (behaviour, tls) in [(&with_tls, "required"), (&with_tls, "opportunistic"), (&wrapped, "wrapper")] {
        let (report, server) = send(behaviour, "localhost", tls, &options).await;
        assert_eq!(report.outcome, Outcome::Delivered, "{tls}");
        assert_eq!(server.commands().contains(&"STARTTLS".to_owned()), tls != "wrapper");
        // Another name, and a certificate that nobody vouches for.
        let (report, server) = send(behaviour, "127.0.0.1", tls, &options).await;
        assert_eq!((failure(&report).code, server.mails().len()), ("tls_failed", 0), "{tls}");
        let unknowing = ChannelOptions { extra_roots: Vec::new(), ..options.clone() };
        let (report, server) = send(behaviour, "localhost", tls, &unknowing).await;
        assert_eq!((failure(&report).code, server.mails().len()), ("tls_failed", 0), "{tls}");
    }
    let plain = Behaviour::default();
    let (report, server) = send(&plain, "localhost", "required", &options).await;
    assert_eq!((failure(&report).code, server.mails().len()), ("tls_failed", 0));
    let (report, _) = send(&plain, "localhost", "opportunistic", &options).await;
    assert_eq!(report.outcome, Outcome::Delivered);
}
