//! E-mail to a real mail server (aiosmtpd), which hands over what Python's own parser made of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;

use axum::response::IntoResponse;
use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::server::{PATIENCE, Server};
use crate::tools::command;

/// A mail server; it ends with its owner.
pub struct MailServer {
    process: Child,
    pub port: u64,
    mails: mpsc::Receiver<Value>,
}

impl MailServer {
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = command("mail/server.py");
        let mut process = command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, mails) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sender.send(serde_json::from_str::<Value>(&line).unwrap()).unwrap();
            }
        });
        let port = mails.recv_timeout(PATIENCE).unwrap()["port"].as_u64().unwrap();
        Self { process, port, mails }
    }

    /// The next mail, which has to be well-formed.
    pub fn next(&self) -> Value {
        let mail = tokio::task::block_in_place(|| self.mails.recv_timeout(PATIENCE)).expect("a mail within the time");
        assert_eq!(mail["defects"], json!([]), "{mail}");
        mail
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The plain part, its lines ended as in Rust.
pub fn plain(mail: &Value) -> String {
    mail["parts"]["text/plain"].as_str().unwrap().replace("\r\n", "\n").trim_end().to_owned()
}

// MSGGO-73, MSGGO-75
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_has_a_plain_and_an_html_part_and_any_subject() {
    let mails = MailServer::start(&[]);
    let server = Server::start();
    let blocks = json!([
        { "kind": "text", "text": "Bestellung bestätigt 🚀 für {{ data.customer }}\n\n**{{ data.total|number_format(2, ',', '.') }} €**" },
        { "kind": "table", "path": "data.items", "columns": [{ "heading": "Größe", "field": "size" }] },
    ]);
    let template = server.post("/templates", json!({ "name": "order", "blocks": blocks })).await;
    let settings = json!({
        "from": "Läden <shop@example.com>",
        "to": ["Ann Lee <ann@example.com>", "bob@example.com"],
        "cc": ["carl@example.com"],
        "reply_to": "help@example.com",
        "smtp": { "url": format!("smtp://127.0.0.1:{}", mails.port) },
    });
    let target = server.subscribe("email", settings, json!({ "template_id": template["id"] })).await;
    let data = json!({ "customer": "Åsa <script>alert(1)</script>", "total": 1234.5, "items": [{ "size": "XL" }, { "size": "<b>M" }] });
    server.post("/events", json!({ "type": "order received", "data": data })).await;

    let mail = mails.next();
    assert_eq!(mail["from"], "shop@example.com");
    assert_eq!(mail["to"], json!(["ann@example.com", "bob@example.com", "carl@example.com"]));
    assert_eq!((&mail["type"], &mail["tls"], &mail["login"]), (&json!("multipart/alternative"), &json!(false), &Value::Null));
    let headers = &mail["headers"];
    assert_eq!(headers["subject"], "Bestellung bestätigt 🚀 für Åsa <script>alert(1)</script>");
    assert_eq!((&headers["from"], &headers["reply-to"]), (&json!("Läden <shop@example.com>"), &json!("help@example.com")));
    assert_eq!((&headers["cc"], &headers["auto-submitted"]), (&json!("carl@example.com"), &json!("auto-generated")));
    let delivery = server.delivery(&target, "delivered").await;
    assert_eq!(headers["message-id"], json!(format!("<{}@example.com>", delivery["id"].as_str().unwrap())));
    assert_eq!(delivery["last_attempt"]["status"], 250);
    let expected = "Bestellung bestätigt 🚀 für Åsa <script>alert(1)</script>\n\n1.234,50 €\n\nGröße\n-----\nXL\n<b>M";
    assert_eq!(plain(&mail), expected);
    let html = mail["parts"]["text/html"].as_str().unwrap();
    assert!(html.contains("<strong>1.234,50 €</strong>") && html.contains(">XL</td>"), "{html}");
    assert!(!html.contains("<script") && !html.contains("<b>M"), "{html}");
    assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
}

/// A certificate for `localhost` that is its own root, as PEM files: certificate, key.
fn certificate(folder: &std::path::Path) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let path = folder.join(name);
        std::fs::write(&path, format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (write("certificate.pem", "CERTIFICATE", made.cert.der()), write("key.pem", "PRIVATE KEY", &made.signing_key.serialize_der()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_relay_is_used_with_starttls_and_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let login = [("MAIL_USER", "posthaste"), ("MAIL_PASSWORD", "p@ss word"), ("MAIL_CERT", &certificate), ("MAIL_KEY", &key)];
    let mails = MailServer::start(&login);
    let relay = format!("smtp://posthaste:p%40ss%20word@localhost:{}?tls=required", mails.port);
    let settings = [("POSTHASTE_EMAIL_RELAY", relay.as_str()), ("POSTHASTE_EMAIL_FROM", "Events <events@example.com>")];
    let trusting = [&settings[..], &[("SSL_CERT_FILE", certificate.as_str())]].concat();
    let server = Server::with(&trusting);
    let target = server.subscribe("email", json!({ "to": ["ann@example.com"] }), json!({})).await;
    server.post("/events", json!({ "type": "größe", "data": { "n": 1 } })).await;
    let mail = mails.next();
    assert_eq!((&mail["tls"], &mail["login"], &mail["from"]), (&json!(true), &json!("posthaste"), &json!("events@example.com")));
    assert_eq!(mail["headers"]["subject"], "größe");
    assert_eq!(plain(&mail), "größe\n\n{\"n\":1}");
    server.delivery(&target, "delivered").await;
    let shown = server.get(&format!("/targets/{}", target["id"].as_str().unwrap())).await.to_string();
    assert!(!shown.contains("word"), "{shown}");

    // A server that does not trust the certificate sends neither the password nor the mail.
    let server = Server::with(&settings);
    let target = server.post("/targets", json!({ "name": "mail", "channel": "email", "settings": { "to": ["ann@example.com"] } })).await;
    let report = server.post(&format!("/targets/{}/test", target["id"].as_str().unwrap()), json!({})).await;
    assert_eq!((&report["delivered"], &report["attempt"]["error"]), (&json!(false), &json!("tls_failed")), "{report}");
    assert!(mails.mails.try_recv().is_err(), "nothing more came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_not_shown() {
    let mails = MailServer::start(&[("MAIL_USER", "posthaste"), ("MAIL_PASSWORD", "right")]);
    let server = Server::start();
    let url = format!("smtp://posthaste:wrong-password@127.0.0.1:{}?tls=none", mails.port);
    let settings = json!({ "from": "a@example.com", "to": ["b@example.com"], "smtp": { "url": url } });
    let target = server.post("/targets", json!({ "name": "mail", "channel": "email", "settings": settings })).await;
    let report = server.post(&format!("/targets/{}/test", target["id"].as_str().unwrap()), json!({})).await;
    assert_eq!((&report["delivered"], &report["attempt"]["status"]), (&json!(false), &json!(535)), "{report}");
    assert!(!report.to_string().contains("wrong-password") && !target.to_string().contains("wrong-password"), "{report} {target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_by_mail_that_a_target_was_disabled() {
    let mails = MailServer::start(&[]);
    let relay = format!("smtp://127.0.0.1:{}", mails.port);
    let server = Server::with(&[
        ("POSTHASTE_EMAIL_RELAY", relay.as_str()),
        ("POSTHASTE_EMAIL_FROM", "events@example.com"),
        ("POSTHASTE_DELIVERY_NOTIFY_EMAIL", "owner@example.com"),
    ]);
    let gone = Receiver::answering(|_, _| StatusCode::GONE.into_response()).await;
    server.subscribe("webhook", json!({ "url": gone.url }), json!({ "event_types": ["order"] })).await;
    server.post("/events", json!({ "type": "order", "data": {} })).await;
    let mail = mails.next();
    assert_eq!(mail["to"], json!(["owner@example.com"]));
    assert!(mail["headers"]["subject"].as_str().unwrap().contains("disabled"), "{mail}");
    assert!(plain(&mail).contains("webhook"), "{mail}");
}
