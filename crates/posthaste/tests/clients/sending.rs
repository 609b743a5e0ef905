//! Sending: Mailgun's clients against the binary, with a real mail server (aiosmtpd) as the relay and dkimpy as the judge of signatures.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::mail::{MailServer, plain};
use crate::server::{KEY, Server};
use crate::tools::run;

const DKIM_KEY: &str = include_str!("../../../../tests/clients/mail/dkim_rsa.pem");
/// The public half, as it would stand in the DNS.
const DKIM_RECORD: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxklQeo+g5TjHc4PVhD4lYr49h97XDoy40FXl69xMtZDqYVmoMPPyKeVPG8GkH/BboELPuY1n/v9lMszwxaH1XkOxfxTAJXte3DI4Ko0synxDv5igcNNw7DAzWUUoYmjJhyAG9ftNU5iWqGLGEcEDEJ/j4RntoXRAtE7NSqneHj10X0D3zKi7XTqDF1PwV1SVcwmU97SDeuYYUiVJl+G2xloyQ2eFKe+sKx8Vg1hrMR1Er4BGuH19t3eW68HnZjePhA2kWsIme9OVLySMHlKIenzDtqEmcBHjvCulptABvy6Qk5JyUFeKc1U++iP8WhE8L3OnGtuwOdSYCmLQ70lXRQIDAQAB";

/// A server whose relay is `mails`, with the domain `d.test`.
async fn server(mails: &MailServer) -> Server {
    let relay = format!("smtp://127.0.0.1:{}", mails.port);
    let server = Server::with(&[("POSTHASTE_EMAIL_RELAY", relay.as_str()), ("POSTHASTE_EMAIL_FROM", "events@example.com")]);
    server.post("/domains", json!({ "name": "d.test", "dkim": { "selector": "s1", "private_key": DKIM_KEY } })).await;
    server
}

/// The next mails by their recipient.
fn by_recipient(mails: &MailServer, count: usize) -> HashMap<String, Value> {
    let one = || {
        let mail = mails.next();
        let [to] = mail["to"].as_array().unwrap().as_slice() else { panic!("each has one recipient: {mail}") };
        (to.as_str().unwrap().to_owned(), mail)
    };
    (0..count).map(|_| one()).collect()
}

fn assert_signed<'a>(mails: impl Iterator<Item = (&'a String, &'a Value)>) {
    let line = |(case, mail): (&String, &Value)| {
        json!({ "case": case, "raw": mail["raw"], "name": "s1._domainkey.d.test", "record": DKIM_RECORD }).to_string() + "\n"
    };
    let input: String = mails.map(line).collect();
    let judged = run("mail/verify_dkim.py", &[], &input);
    assert_eq!(judged.len(), input.lines().count());
    assert!(judged.iter().all(|line| line["valid"] == true), "{judged:?}");
}

fn cases(lines: &[Value]) -> HashMap<&str, &Value> {
    lines.iter().map(|line| (line["case"].as_str().unwrap(), line)).collect()
}

fn id_of<'a>(answer: &'a Value, case: &str) -> &'a str {
    assert_eq!(answer["message"], "Queued. Thank you.", "{case}: {answer}");
    let id = answer["id"].as_str().unwrap();
    assert!(id.starts_with('<') && id.ends_with("@d.test>"), "{case}: {id}");
    id
}

// MAILGUN-166, MAILGUN-178, and the tables of sections 13.1 and 13.2
#[tokio::test(flavor = "multi_thread")]
async fn both_javascript_clients_send() {
    let mails = MailServer::start(&[]);
    let server = server(&mails).await;
    let lines = run("mailgun/sending.mjs", &[("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY)], "");
    let cases = cases(&lines);
    let sent = by_recipient(&mails, 6);
    for (case, to) in [
        ("new", "new@x.test"),
        ("new mime", "newmime@x.test"),
        ("old", "old@x.test"),
        ("old file", "oldfile@x.test"),
        ("old mime", "oldmime@x.test"),
    ] {
        let id = id_of(&cases[case]["result"], case);
        assert_eq!(sent[to]["headers"]["message-id"], id, "{case}");
        assert_eq!(sent[to]["from"], "ann@d.test");
    }
    let new = &sent["new@x.test"];
    assert_eq!(plain(new), "hello");
    assert_eq!((&new["headers"]["subject"], &new["headers"]["x-own"]), (&json!("Grüße"), &json!("yes")));
    assert_eq!(new["headers"]["to"], "new@x.test, Cy <cy@x.test>");
    assert_eq!(sent["cy@x.test"]["headers"]["message-id"], new["headers"]["message-id"]);
    assert!(new["parts"]["text/html"].as_str().unwrap().contains("cid:a.png"));
    assert_eq!(sent["newmime@x.test"]["headers"]["to"], "list@x.test");
    assert_eq!(sent["oldmime@x.test"]["headers"]["subject"], "whole");
    for (case, status, details) in [("new error", 400, "from parameter is missing"), ("new unknown", 404, "Domain not found: nowhere.test")]
    {
        let error = &cases[case]["error"];
        assert_eq!((&error["status"], &error["details"]), (&json!(status), &json!(details)), "{case}");
    }
    let error = &cases["old error"]["error"];
    assert_eq!(
        (&error["status"], &error["message"]),
        (&json!(400), &json!("to parameter is not a valid address. please check documentation"))
    );
    assert_signed(sent.iter());
}

// MAILGUN-128, and the table of section 13.3
#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_sends() {
    let mails = MailServer::start(&[]);
    let server = server(&mails).await;
    let lines = run("mailgun/sending.py", &[("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY)], "");
    let cases = cases(&lines);
    for case in ["text", "files", "test mode", "mime"] {
        assert_eq!(cases[case]["status"], 200, "{case}");
        id_of(&cases[case]["body"], case);
    }
    assert_eq!((&cases["missing"]["status"], &cases["missing"]["body"]["message"]), (&json!(400), &json!("to parameter is missing")));
    assert_eq!(cases["ping"]["status"], 200);
    let sent = by_recipient(&mails, 4);
    let mut recipients: Vec<&str> = sent.keys().map(String::as_str).collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["py@x.test", "pycc@x.test", "pyfile@x.test", "pymime@x.test"]);
    let files = &sent["pyfile@x.test"];
    assert!(files["type"] == "multipart/mixed", "{files}");
    assert_signed(sent.iter());
}

/// The native API through the same relay: personal texts, one-click unsubscribing, and what the relay says goes into the events.
#[tokio::test(flavor = "multi_thread")]
async fn native_mail_is_personal_and_can_be_unsubscribed_from() {
    let mails = MailServer::start(&[]);
    let server = server(&mails).await;
    let body = json!({
        "channel": "email", "from": "Ann <ann@d.test>", "to": ["bob@x.test", "Cy <cy@x.test>"], "subject": "Hi %recipient.name%",
        "text": "Dear %recipient.name%", "html": "<a href=\"https://x.test\">x</a>", "track": { "opens": true, "clicks": true, "unsubscribe": true },
        "variables": { "bob@x.test": { "name": "Bob" }, "cy@x.test": { "name": "Cy" } },
    });
    let id = server.post("/messages", body).await["id"].as_str().unwrap().to_owned();
    let sent = by_recipient(&mails, 2);
    for (to, name) in [("bob@x.test", "Bob"), ("cy@x.test", "Cy")] {
        let mail = &sent[to];
        assert_eq!((&mail["headers"]["subject"], plain(mail)), (&json!(format!("Hi {name}")), format!("Dear {name}")));
        assert!(
            mail["headers"]["to"].as_str().unwrap().ends_with(to) || mail["headers"]["to"].as_str().unwrap().ends_with(&format!("<{to}>"))
        );
        assert_eq!(mail["headers"]["list-unsubscribe-post"], "List-Unsubscribe=One-Click");
        let html = mail["parts"]["text/html"].as_str().unwrap();
        assert!(!html.contains("https://x.test") && html.contains("/t/") && html.contains("<img"), "{html}");
    }
    assert_signed(sent.iter());
    // As a mail program does it: one POST to the address of the header.
    let link = sent["bob@x.test"]["headers"]["list-unsubscribe"].as_str().unwrap();
    let path = link.trim_matches(['<', '>']).strip_prefix(server.url.as_str()).expect("a link of this server").to_owned();
    let form = [("content-type", "application/x-www-form-urlencoded".to_owned())];
    let (status, _) = server.send(http::Method::POST, &path, &form, "List-Unsubscribe=One-Click".into()).await;
    assert_eq!(status, 200);
    let message = server.get(&format!("/messages/{id}")).await;
    let bob = &message["recipients"][0];
    assert_eq!(
        (&bob["status"], &bob["unsubscribed"], &message["recipients"][1]["unsubscribed"]),
        (&json!("delivered"), &json!(true), &json!(false))
    );
    assert_eq!(server.get("/suppressions?scope=d.test").await["items"][0]["address"], "bob@x.test");
}
