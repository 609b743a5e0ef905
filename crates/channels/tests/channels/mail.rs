//! The mail of clients on the wire.

use std::sync::Arc;

use posthaste_channels::{Channels, Content, Mail, NewsKind, Outcome, Report};
use posthaste_domain::message::{Attachment, EmailParts, Links, MessageChannel, Outgoing, Recipient, Track};
use serde_json::{Map, Value, json};

use crate::smtp_server::{Behaviour, SmtpServer};
use crate::{failure, loopback_channels, try_once};

fn message() -> Outgoing {
    Outgoing {
        id: "1.2@d.example".into(),
        channel: MessageChannel::Email,
        dialect: "mailgun".into(),
        sender: "ann@d.example".into(),
        recipients: vec![Recipient::of("bob@x.example"), Recipient::of("cy@y.example"), Recipient::of("blind@z.example")],
        subject: Some("Grüße %recipient.name%".into()),
        text: Some("plain\n.\n".into()),
        email: Some(EmailParts {
            from: "Ann Lee <ann@d.example>".into(),
            to: "Bob <bob@x.example>".into(),
            cc: "cy@y.example".into(),
            html: Some("<p>html <img src=\"cid:a.png\"></p>".into()),
            ..EmailParts::default()
        }),
        domain: Some("d.example".into()),
        tags: Vec::new(),
        metadata: Map::new(),
        test: false,
        deliver_at_ms: None,
        callback_url: None,
        extra: Map::new(),
        created_ms: 1_700_000_000_000,
    }
}

fn mail(message: Outgoing, recipient: usize) -> Content {
    let links = Links { base_url: "https://p.example".into(), secret: [3; 32], workspace: 1, accepted: 2 };
    let envelope_from = "bounces@d.example".into();
    Content::Mail(Box::new(Mail { message: Arc::new(message), recipient, links, dkim: None, envelope_from }))
}

fn settings(server: &SmtpServer) -> Value {
    json!({"carrier": true, "smtp": {"url": server.url(), "tls": "none"}})
}

/// Sends it and answers head and body as the server got them.
async fn on_the_wire(message: Outgoing, recipient: usize) -> (SmtpServer, String, String) {
    let server = SmtpServer::start(Behaviour::default()).await;
    let report = try_once(&loopback_channels(), "email", &settings(&server), mail(message, recipient)).await;
    assert_eq!((&report.outcome, report.status), (&Outcome::Delivered, Some(250)), "{report:?}");
    let mail = server.mails().remove(0);
    let (head, body) = mail.split_once("\r\n\r\n").expect("a head and a body");
    (server, head.replace("\r\n ", " "), body.to_owned())
}

#[tokio::test]
async fn each_recipient_gets_a_mail_of_its_own() {
    let mut sent = message();
    sent.recipients[2].variables.insert("name".into(), json!("Zoë\r\nBcc: spy@x.example"));
    let email = sent.email.as_mut().expect("e-mail");
    email.headers =
        vec![("X-Campaign".into(), "spring".into()), ("Bcc".into(), "spy@x.example".into()), ("Subject".into(), "other".into())];
    email.reply_to = Some("Desk <desk@d.example>".into());
    let (server, head, body) = on_the_wire(sent, 2).await;
    let commands = server.commands();
    let said: Vec<&str> = commands.iter().map(String::as_str).filter(|command| !command.starts_with("EHLO")).collect();
    assert_eq!(said, ["MAIL FROM:<bounces@d.example>", "RCPT TO:<blind@z.example>", "DATA"]);
    for line in [
        "Message-ID: <1.2@d.example>",
        "Date: Tue, 14 Nov 2023 22:13:20 +0000",
        "From: \"Ann Lee\" <ann@d.example>",
        "To: Bob <bob@x.example>",
        "Cc: cy@y.example",
        "Reply-To: Desk <desk@d.example>",
        "X-Campaign: spring",
    ] {
        let plain = |text: &str| text.replace('"', "");
        assert!(head.lines().any(|found| plain(found) == plain(line)), "{line} is not in\n{head}");
    }
    assert!(!head.to_ascii_lowercase().contains("\nbcc"), "{head}");
    assert!(!head.contains("other") && !head.contains("blind@") && !head.contains("List-Unsubscribe"), "{head}");
    assert!(head.contains("multipart/alternative"), "{head}");
    assert!(body.find("text/plain") < body.find("text/html") && body.contains("\r\n..\r\n"), "{body}");
}

#[tokio::test]
async fn one_click_unsubscribing_is_offered() {
    let mut sent = message();
    sent.email.as_mut().expect("e-mail").track = Track { unsubscribe: true, ..Track::default() };
    let (_server, head, _) = on_the_wire(sent, 0).await;
    let link = head.lines().find_map(|line| line.strip_prefix("List-Unsubscribe: ")).expect("the header");
    assert!(link.starts_with("<https://p.example/t/") && link.ends_with('>') && !link.contains(' '), "{link}");
    assert!(head.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{head}");
}

// Stored before it was refused on acceptance: it fails once and is not tried again.
#[tokio::test]
async fn placeholders_that_grow_too_long_fail_for_good() {
    let mut sent = message();
    sent.text = Some("%recipient.x%".repeat(100_000));
    sent.recipients[0].variables.insert("x".into(), json!("y".repeat(100_000)));
    let server = SmtpServer::start(Behaviour::default()).await;
    let report = try_once(&loopback_channels(), "email", &settings(&server), mail(sent, 0)).await;
    assert_eq!((failure(&report).code, failure(&report).retryable), ("content_unsupported", false));
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn files_are_inline_or_attached() {
    let mut sent = message();
    let bytes: Vec<u8> = (0..200).collect();
    let email = sent.email.as_mut().expect("e-mail");
    email.attachments = vec![
        Attachment::new("Übersicht.pdf", "application/pdf", &bytes, false),
        Attachment::new("a.png", "image/png", b"png", true),
        Attachment::new("odd", "no media type", b"", false),
    ];
    email.amp_html = Some("<html amp4email>".into());
    let (_server, head, body) = on_the_wire(sent, 0).await;
    assert!(head.contains("multipart/mixed"), "{head}");
    let order =
        ["multipart/related", "multipart/alternative", "text/plain", "text/x-amp-html", "text/html", "image/png", "application/pdf"];
    let places: Vec<_> = order.iter().map(|kind| body.find(kind).unwrap_or_else(|| panic!("no {kind} in\n{body}"))).collect();
    assert!(places.is_sorted(), "{body}");
    assert!(body.contains("Content-ID: <a.png>") && body.contains("application/octet-stream"), "{body}");
    assert!(body.lines().all(|line| line.len() <= 998));
    let base64: String = body
        .split("application/pdf")
        .nth(1)
        .expect("the part")
        .lines()
        .skip(1)
        .skip_while(|line| !line.is_empty())
        .skip(1)
        .take(4)
        .collect();
    use base64::Engine as _;
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(base64).expect("base 64"), bytes);
}

// MAILGUN-178: what a sender wrote as a whole goes out as it is.
#[tokio::test]
async fn a_whole_mail_goes_out_as_it_is() {
    use base64::Engine as _;
    let mut sent = message();
    let email = sent.email.as_mut().expect("e-mail");
    email.track = Track { opens: true, clicks: true, unsubscribe: true, html_clicks_only: false };
    email.mime = Some(
        base64::engine::general_purpose::STANDARD.encode("From: a@b\nBcc: spy@x\nSubject: %recipient.name%\n\n<a href=\"http://x\">\n"),
    );
    let (_server, head, body) = on_the_wire(sent, 1).await;
    assert_eq!(head, "Message-ID: <1.2@d.example>\r\nFrom: a@b\r\nSubject: %recipient.name%");
    assert_eq!(body, "<a href=\"http://x\">\r\n.\r\n");
}

async fn simulated(to: &str, test: bool, channels: &Channels) -> Report {
    let mut sent = message();
    sent.recipients[0].address = to.to_owned();
    sent.test = test;
    try_once(channels, "email", &json!({"carrier": true}), mail(sent, 0)).await
}

#[tokio::test]
async fn without_a_relay_a_simulated_one_takes_the_mail_and_says_so() {
    let channels = loopback_channels();
    let taken = simulated("bob@x.example", false, &channels).await;
    assert_eq!((&taken.outcome, taken.status), (&Outcome::Delivered, Some(250)));
    assert!(taken.request.contains("simulated") && taken.response.contains("simulated"), "{taken:?}");
    let refused = simulated("fail@x.example", false, &channels).await;
    assert_eq!((failure(&refused).code, failure(&refused).retryable, refused.status), ("smtp_rejected", false, Some(550)));
    let deferred = simulated("defer@x.example", false, &channels).await;
    assert_eq!((failure(&deferred).code, failure(&deferred).retryable, deferred.status), ("smtp_deferred", true, Some(451)));
    assert_eq!(simulated("defer@x.example", false, &channels).await.outcome, Outcome::Delivered);
    let others = loopback_channels();
    for _ in 0..3 {
        assert!(matches!(simulated("Defer3.x@x.example", false, &others).await.outcome, Outcome::Failed(_)));
    }
    assert_eq!(simulated("Defer3.x@x.example", false, &others).await.outcome, Outcome::Delivered);
    assert_eq!(simulated("fai@defer", false, &channels).await.outcome, Outcome::Delivered);
}

// MAILGUN-126: recipients of the simulated relay can complain.
#[tokio::test]
async fn a_simulated_recipient_complains() {
    let channels = loopback_channels();
    let mut news = channels.carrier_news().expect("the listener");
    simulated("bob@x.example", false, &channels).await;
    assert_eq!(simulated("complain.a@x.example", false, &channels).await.outcome, Outcome::Delivered);
    let complaint = NewsKind::Complaint { message_id: "1.2@d.example".into(), recipient: "complain.a@x.example".into() };
    assert_eq!(news.recv().await.expect("news").kind, complaint);
}

// MAILGUN-128: test mode never sends.
#[tokio::test]
async fn a_mail_in_test_mode_is_not_sent() {
    let server = SmtpServer::start(Behaviour::default()).await;
    let mut sent = message();
    sent.test = true;
    let report = try_once(&loopback_channels(), "email", &settings(&server), mail(sent, 0)).await;
    assert_eq!((&report.outcome, report.status), (&Outcome::Delivered, Some(250)));
    assert!(report.request.contains("test mode") && report.response.contains("test mode"), "{report:?}");
    assert!(server.commands().is_empty());
    let refused = simulated("fail@x.example", true, &loopback_channels()).await;
    assert_eq!(refused.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn settings_of_carriers_name_no_addresses() {
    let channels = loopback_channels();
    let email = channels.get("email").expect("the channel");
    assert!(email.check(&json!({"carrier": true})).is_ok());
    let login = json!({"carrier": true, "smtp": {"url": "smtps://u:p@m.example"}});
    assert_eq!(email.check(&login).expect("a relay of its own").secrets, ["/smtp/url"]);
    let field = |settings: Value| email.check(&settings).expect_err("must be refused").field;
    assert_eq!(field(json!({"carrier": true, "to": ["a@b.example"]})), "settings.to");
    assert_eq!(field(json!({"carrier": 1})), "settings.carrier");
    assert_eq!(field(json!({"carrier": false})), "settings.to");
    let report = try_once(&channels, "email", &json!({"carrier": true}), crate::message("text")).await;
    assert_eq!(failure(&report).code, "content_unsupported");
}

/// What cannot be sent fails for good, with the reason.
#[tokio::test]
async fn what_cannot_be_composed_is_told() {
    for change in
        [|m: &mut Outgoing| m.recipients[0].address = "no address".into(), |m: &mut Outgoing| m.email.as_mut().unwrap().from = "x".into()]
    {
        let mut sent = message();
        change(&mut sent);
        let report = try_once(&loopback_channels(), "email", &json!({"carrier": true}), mail(sent, 0)).await;
        assert_eq!((failure(&report).code, failure(&report).retryable), ("content_unsupported", false));
    }
}
