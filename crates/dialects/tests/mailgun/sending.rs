//! Sending through the API: answers, events, suppressions, stored messages. Mail goes to the simulated relay, which the local part of the
//! recipient decides.

use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, header};
use posthaste_dialects::mailgun::MailgunSettings;
use posthaste_domain::message::MessageChannel;
use posthaste_domain::resource::Scope;
use posthaste_store::{Order, Range};
use serde_json::{Value, json};

use crate::rig::{DOMAIN, Form, Rig, items, stranger};
use crate::support::receiver::Receiver;
use crate::support::{Answer, PATIENCE};

const MESSAGES: &str = "/v3/d.test/messages";
const FROM: (&str, &str) = ("from", "Ann <ann@d.test>");
const TEXT: (&str, &str) = ("text", "hello");

/// Sends a text with more fields and answers its id without brackets.
async fn send(rig: &Rig, to: &str, more: &[(&str, &str)]) -> String {
    let fields: Vec<_> = [FROM, ("to", to), TEXT].into_iter().chain(more.iter().copied()).collect();
    id_of(&rig.post(MESSAGES, &fields).await)
}

fn id_of(answer: &Answer) -> String {
    let answer = answer.expect(200);
    assert_eq!(answer["message"], "Queued. Thank you.");
    let id = answer["id"].as_str().expect("an id");
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).expect("angle brackets").to_owned()
}

/// Events about a message, oldest first, once there are so many.
async fn told(rig: &Rig, id: &str, count: usize) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut committed = rig.stage.engine.committed();
    loop {
        committed.mark_unchanged();
        let mut events = rig.items(&format!("?message-id={id}&limit=300")).await;
        if events.len() >= count {
            assert_eq!(events.len(), count, "{events:#?}");
            events.reverse();
            return events;
        }
        let changed = tokio::time::timeout_at(deadline, committed.changed()).await;
        changed.unwrap_or_else(|_| panic!("{count} events are told in time, not only {events:#?}")).unwrap();
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn find<'a>(events: &'a [Value], name: &str) -> &'a Value {
    events.iter().find(|event| event["event"] == name).unwrap_or_else(|| panic!("{name} in {events:#?}"))
}

// MAILGUN-110, MAILGUN-111, MAILGUN-113, MAILGUN-114, MAILGUN-117, MAILGUN-166
#[tokio::test]
async fn a_message_is_accepted_and_delivered() {
    let rig = Rig::start().await;
    let id = send(&rig, "bob@x.test", &[("subject", "Hi")]).await;
    assert!(id.ends_with("@d.test"), "{id}");
    let events = told(&rig, &id, 2).await;
    assert_eq!(names(&events), ["accepted", "delivered"]);
    assert_eq!(events[0]["method"], "http");
    assert_eq!((&events[1]["delivery-status"]["code"], &events[1]["delivery-status"]["attempt-no"]), (&json!(250), &json!(1)));
    for event in &events {
        assert_eq!((&event["recipient"], &event["recipient-domain"]), (&json!("bob@x.test"), &json!("x.test")));
        assert_eq!((&event["tags"], &event["user-variables"]), (&json!([]), &json!({})));
        let headers = &event["message"]["headers"];
        assert_eq!((&headers["message-id"], &headers["subject"]), (&json!(id), &json!("Hi")));
        assert_eq!((&headers["from"], &headers["to"]), (&json!("Ann <ann@d.test>"), &json!("bob@x.test")));
        assert_eq!((&event["envelope"]["sender"], &event["flags"]["is-test-mode"]), (&json!("ann@d.test"), &json!(false)));
        let event_id = event["id"].as_str().unwrap();
        assert!(event_id.len() == 22 && event_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{event_id}");
    }
    assert_ne!(events[0]["id"], events[1]["id"]);
}

// MAILGUN-112, MAILGUN-115, MAILGUN-116, MAILGUN-173, MAILGUN-175, MAILGUN-179
#[tokio::test]
async fn each_recipient_has_its_own_events() {
    let rig = Rig::start().await;
    let variables = r#"{"bob@x.test": {"n": "7"}, "cy@y.test": {"n": 8}}"#;
    let fields = [
        FROM,
        TEXT,
        ("to[]", "bob@x.test, Bob <BOB@x.test>"),
        ("to[]", "cy@y.test"),
        ("o:tag", "spring"),
        ("o:tag", "sale"),
        ("v:number", "no. %recipient.n%"),
        ("v:json", "{\"a\": 1}"),
        ("recipient-variables", variables),
    ];
    let id = id_of(&rig.form("POST", MESSAGES, Form::Multipart, &fields).await);
    let events = told(&rig, &id, 4).await;
    let accepted: Vec<_> = events.iter().filter(|event| event["event"] == "accepted").collect();
    assert_eq!(accepted.len(), 2);
    assert_ne!(accepted[0]["id"], accepted[1]["id"]);
    for event in &events {
        let number = if event["recipient"] == "bob@x.test" { "no. 7" } else { "no. 8" };
        assert_eq!(event["user-variables"], json!({"number": number, "json": "{\"a\": 1}"}));
        assert_eq!((&event["tags"], &event["message"]["headers"]["message-id"]), (&json!(["spring", "sale"]), &json!(id)));
    }
}

// MAILGUN-118
#[tokio::test]
async fn too_many_variables_are_lost_with_the_documented_words() {
    let rig = Rig::start().await;
    let id = send(&rig, "bob@x.test", &[("v:large", &"x".repeat(5000))]).await;
    for event in told(&rig, &id, 2).await {
        assert_eq!(event["user-variables"], "Could not load user-variables. They were either truncated or invalid JSON");
    }
}

// MAILGUN-119
#[tokio::test]
async fn files_are_listed_and_kept() {
    let rig = Rig::start().await;
    let field = |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let file = |name: &str, file: &str, kind: &str, text: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: {kind}\r\n\r\n{text}\r\n")
    };
    let body = [
        field("from", "ann@d.test"),
        field("to", "bob@x.test"),
        field("html", "<img src=\"cid:a.png\">"),
        file("attachment", "b.txt", "text/plain", "12345"),
        file("inline", "a.png", "image/png", "png"),
        "--b--\r\n".to_owned(),
    ]
    .concat();
    let answer = raw(&rig, "POST", MESSAGES, &[("content-type", "multipart/form-data; boundary=b")], body).await;
    let id = id_of(&answer);
    let files = json!([
        {"filename": "b.txt", "content-type": "text/plain", "size": 5},
        {"filename": "a.png", "content-type": "image/png", "size": 3}
    ]);
    let events = told(&rig, &id, 2).await;
    for event in &events {
        assert_eq!(event["message"]["attachments"], files);
        assert!(event["message"]["size"].as_u64().unwrap() > 8);
    }
    let path = stored_path(&events[0]);
    let stored = rig.get(&path).await.expect(200);
    let url = stored["attachments"][0]["url"].as_str().and_then(|url| url.strip_prefix("http://posthaste.test")).unwrap();
    let bytes = rig.get(url).await;
    assert_eq!(
        (bytes.text().as_str(), &bytes.headers[header::CONTENT_TYPE]),
        ("12345", &"text/plain".parse::<http::HeaderValue>().unwrap())
    );
    assert_eq!(rig.get(&url.replace("attachments/0", "attachments/9")).await.status, 404);
}

fn stored_path(event: &Value) -> String {
    event["storage"]["url"].as_str().and_then(|url| url.strip_prefix("http://posthaste.test")).unwrap().to_owned()
}

async fn raw(rig: &Rig, method: &str, target: &str, headers: &[(&str, &str)], body: String) -> Answer {
    let credentials = STANDARD.encode(format!("api:{}", rig.stage.token));
    let mut request = Request::builder().method(method).uri(target).header(header::AUTHORIZATION, format!("Basic {credentials}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    rig.stage.send(request.body(Body::from(body)).unwrap()).await
}

// MAILGUN-120, MAILGUN-127
#[tokio::test]
async fn a_bounced_address_gets_nothing_more() {
    let rig = Rig::start().await;
    let (mut permanent, mut temporary) = (Receiver::start().await, Receiver::start().await);
    rig.hook("permanent_fail", &[&permanent]).await;
    rig.hook("temporary_fail", &[&temporary]).await;
    let id = send(&rig, "fail@x.test", &[]).await;
    let events = told(&rig, &id, 2).await;
    let failed = find(&events, "failed");
    assert_eq!((&failed["severity"], &failed["log-level"], &failed["reason"]), (&json!("permanent"), &json!("error"), &json!("bounce")));
    assert_eq!(failed["delivery-status"]["code"], 550);
    let again = send(&rig, "Fail@X.test", &[]).await;
    let events = told(&rig, &again, 2).await;
    assert_eq!(names(&events), ["accepted", "failed"]);
    assert_eq!((&events[1]["severity"], &events[1]["reason"]), (&json!("permanent"), &json!("suppress-bounce")));
    let status = &events[1]["delivery-status"];
    assert_eq!((&status["code"], &status["description"]), (&json!(605), &json!("Not delivering to previously bounced address")));
    assert_eq!(permanent.take(2).await.len(), 2);
    assert!(temporary.rest().is_empty());
    // What bounced here is no matter of another domain.
    rig.domain(rig.stage.workspace, "other.test").await;
    let fields = [("from", "a@other.test"), ("to", "fail@x.test"), TEXT];
    let other = id_of(&rig.post("/v3/other.test/messages", &fields).await);
    let page = loop {
        let page = items(&rig.get(&format!("/v3/other.test/events?message-id={other}")).await.expect(200));
        if page.len() == 2 {
            break page;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(page[0]["reason"], "bounce");
}

// MAILGUN-121
#[tokio::test]
async fn a_deferred_message_is_tried_again() {
    let rig = Rig::start().await;
    let (mut permanent, mut temporary) = (Receiver::start().await, Receiver::start().await);
    rig.hook("permanent_fail", &[&permanent]).await;
    rig.hook("temporary_fail", &[&temporary]).await;
    let id = send(&rig, "defer@x.test", &[]).await;
    let events = told(&rig, &id, 2).await;
    let failed = find(&events, "failed");
    assert_eq!((&failed["severity"], &failed["log-level"]), (&json!("temporary"), &json!("warn")));
    let status = &failed["delivery-status"];
    assert_eq!((&status["code"], &status["retry-seconds"], &status["attempt-no"]), (&json!(451), &json!(600), &json!(1)));
    temporary.next().await;
    rig.stage.clock.advance(Duration::from_secs(601));
    // The next event makes every lane look at the clock.
    send(&rig, "bob@x.test", &[]).await;
    let events = told(&rig, &id, 3).await;
    assert_eq!(names(&events), ["accepted", "failed", "delivered"]);
    assert_eq!(events[2]["delivery-status"]["attempt-no"], 2);
    assert!(permanent.rest().is_empty());
}

// MAILGUN-126
#[tokio::test]
async fn a_complaint_is_told_and_heeded() {
    let rig = Rig::start().await;
    let id = send(&rig, "complain@x.test", &[("o:tag", "t")]).await;
    let events = told(&rig, &id, 3).await;
    assert_eq!(names(&events), ["accepted", "delivered", "complained"]);
    assert_eq!(
        (&events[2]["log-level"], &events[2]["tags"], &events[2]["recipient"]),
        (&json!("warn"), &json!(["t"]), &json!("complain@x.test"))
    );
    let again = send(&rig, "complain@x.test", &[]).await;
    let events = told(&rig, &again, 2).await;
    assert_eq!((&events[1]["reason"], &events[1]["delivery-status"]["code"]), (&json!("suppress-complaint"), &json!(607)));
}

// MAILGUN-128, MAILGUN-176
#[tokio::test]
async fn test_mode_is_delivered_without_being_sent() {
    let rig = Rig::start().await;
    for word in ["yes", "true", "True"] {
        // A relay would refuse this one.
        let id = send(&rig, "fail@x.test", &[("o:testmode", word)]).await;
        let events = told(&rig, &id, 2).await;
        assert_eq!(names(&events), ["accepted", "delivered"]);
        assert!(events.iter().all(|event| event["flags"]["is-test-mode"] == true), "{word}: {events:#?}");
    }
}

// MAILGUN-180
#[tokio::test]
async fn a_scheduled_message_is_accepted_now_and_delivered_then() {
    let rig = Rig::start().await;
    let at = jiff::Timestamp::from_millisecond(rig.stage.engine.now_ms() + 3_600_000).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_string(&at).unwrap();
    let id = send(&rig, "bob@x.test", &[("o:deliverytime", &date)]).await;
    let events = told(&rig, &id, 1).await;
    assert_eq!(events[0]["event"], "accepted");
    assert!(events[0]["message"]["scheduled-for"].is_string(), "{events:#?}");
    let other = send(&rig, "cy@x.test", &[]).await;
    told(&rig, &other, 2).await;
    told(&rig, &id, 1).await;
    rig.stage.clock.advance(Duration::from_secs(3601));
    send(&rig, "cy@x.test", &[]).await;
    assert_eq!(names(&told(&rig, &id, 2).await), ["accepted", "delivered"]);
}

// MAILGUN-167, MAILGUN-168, MAILGUN-169, MAILGUN-170, MAILGUN-171, MAILGUN-172, MAILGUN-174, MAILGUN-181
#[tokio::test]
async fn a_refused_message_leaves_nothing() {
    let rig = Rig::with(MailgunSettings { max_message_bytes: 64 << 10, ..MailgunSettings::default() }).await;
    let many = (0..1001).map(|n| format!("a{n}@x.test")).collect::<Vec<_>>().join(",");
    let (large, options) = ("x".repeat((64 << 10) + 1), "x".repeat(16 << 10));
    let to = ("to", "bob@x.test");
    for (fields, status, message) in [
        (vec![to, TEXT], 400, "from parameter is missing"),
        (vec![FROM, TEXT], 400, "to parameter is missing"),
        (vec![FROM, TEXT, ("to", "nobody")], 400, "to parameter is not a valid address. please check documentation"),
        (vec![FROM, to], 400, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified"),
        (vec![FROM, to, ("html", "x"), ("template", "t")], 400, "Only one parameters 'html' or 'template' is allowed"),
        (vec![FROM, to, TEXT, ("v:a", &options)], 400, "Send options (parameters starting with o:, h:, or v:) are limited to 16KB total"),
        (vec![FROM, TEXT, ("to", &many)], 400, "to parameter has too many recipients: at most 1000 are taken"),
        (vec![FROM, to, ("text", &large)], 413, "Message is too large: at most 65536 bytes are taken"),
    ] {
        for form in [Form::Url, Form::Multipart] {
            let answer = rig.form("POST", MESSAGES, form, &fields).await;
            assert_eq!(answer.expect(status), json!({"message": message}), "{form:?}");
            assert!(answer.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/json"));
        }
    }
    // Far too large: refused by its declared length, or on the way.
    let huge = "x".repeat(2 << 20);
    let answer = rig.post(MESSAGES, &[FROM, to, ("text", &huge)]).await;
    assert_eq!(answer.status, 413);
    assert!(rig.items("").await.is_empty());
    let range = Range { order: Order::Desc, after: None, limit: 10, from_ms: None, to_ms: None };
    assert!(rig.stage.engine.messages(rig.stage.workspace, MessageChannel::Email, range).await.unwrap().is_empty());
}

// MAILGUN-3, MAILGUN-4, MAILGUN-5
#[tokio::test]
async fn only_a_key_that_may_send_sends_from_a_known_domain() {
    let rig = Rig::start().await;
    let fields = [FROM, ("to", "bob@x.test"), TEXT];
    let (_, other) = stranger(&rig).await;
    let answer = other.post(MESSAGES, &fields).await;
    assert_eq!(answer.expect(404), json!({"message": "Domain not found: d.test"}));
    let wrong = Rig { stage: rig.stage.seen_by(rig.stage.workspace, "wrong".to_owned()) };
    let answer = wrong.post(MESSAGES, &fields).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, "Forbidden"));
    assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Basic realm=\"MG API\"");
    let reader = rig.stage.key(rig.stage.workspace, Some(vec![Scope::Read])).await;
    let reader = Rig { stage: rig.stage.seen_by(rig.stage.workspace, reader) };
    assert_eq!(reader.post(MESSAGES, &fields).await.expect(403), json!({"message": "Forbidden"}));
    let sender = rig.stage.key(rig.stage.workspace, Some(vec![Scope::Publish])).await;
    let sender = Rig { stage: rig.stage.seen_by(rig.stage.workspace, sender) };
    id_of(&sender.post(MESSAGES, &fields).await);
}

// MAILGUN-177, MAILGUN-178
#[tokio::test]
async fn a_whole_mail_keeps_its_id() {
    let rig = Rig::start().await;
    let mail = "From: Ann <ann@d.test>\r\nTo: list@x.test\r\nSubject: whole\r\nMessage-Id: <whole@d.test>\r\n\r\nbody\r\n";
    let target = "/v3/d.test/messages.mime";
    let by_field = rig.form("POST", target, Form::Multipart, &[("to", "bob@x.test"), ("message", mail)]).await;
    assert_eq!(id_of(&by_field), "whole@d.test");
    let events = told(&rig, "whole@d.test", 2).await;
    assert_eq!(names(&events), ["accepted", "delivered"]);
    assert_eq!((&events[0]["recipient"], &events[0]["message"]["headers"]["subject"]), (&json!("bob@x.test"), &json!("whole")));
    let without_id = mail.replace("Message-Id: <whole@d.test>\r\n", "");
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nbob@x.test\r\n\
         --b\r\nContent-Disposition: form-data; name=\"message\"; filename=\"message.mime\"\r\nContent-Type: message/rfc822\r\n\r\n{without_id}\r\n--b--\r\n"
    );
    let by_file = raw(&rig, "POST", target, &[("content-type", "multipart/form-data; boundary=b")], body).await;
    let id = id_of(&by_file);
    let events = told(&rig, &id, 2).await;
    let mime = raw(&rig, "GET", &stored_path(&events[0]), &[("accept", "message/rfc2822")], String::new()).await.expect(200);
    assert_eq!(mime["body-mime"], format!("Message-ID: <{id}>\r\n{}", without_id.strip_suffix("\r\n").unwrap()));
    let given = send(&rig, "bob@x.test", &[("h:Message-Id", "<given@elsewhere.test>")]).await;
    assert_eq!(given, "given@elsewhere.test");
}

#[tokio::test]
async fn a_stored_message_is_shown_and_sent_again() {
    let rig = Rig::start().await;
    let fields = [
        ("html", "<p>%recipient.name%</p>"),
        ("subject", "Grüße"),
        ("h:X-Own", "1"),
        ("recipient-variables", r#"{"bob@x.test": {"name": "Bob"}}"#),
    ];
    let id = send(&rig, "bob@x.test", &fields).await;
    let path = stored_path(&told(&rig, &id, 2).await[0]);
    let stored = rig.get(&path).await.expect(200);
    assert_eq!(
        (&stored["sender"], &stored["recipients"], &stored["subject"]),
        (&json!("ann@d.test"), &json!("bob@x.test"), &json!("Grüße"))
    );
    assert_eq!((&stored["body-plain"], &stored["body-html"]), (&json!("hello"), &json!("<p>Bob</p>")));
    assert!(stored["message-headers"].as_array().unwrap().contains(&json!(["X-Own", "1"])), "{stored:#}");
    let mime = raw(&rig, "GET", &path, &[("accept", "message/rfc2822")], String::new()).await.expect(200);
    assert!(mime["body-mime"].as_str().unwrap().contains(&format!("Message-ID: <{id}>")), "{mime}");
    let again = id_of(&rig.post(&path, &[("to", "cy@y.test")]).await);
    assert_ne!(again, id);
    let events = told(&rig, &again, 2).await;
    assert!(events.iter().all(|event| event["recipient"] == "cy@y.test"));
    assert_eq!(rig.post(&path, &[]).await.expect(400), json!({"message": "to parameter is missing"}));
    let missing = json!({"message": "Message not found"});
    assert_eq!(rig.get("/v3/domains/d.test/messages/nothing").await.expect(404), missing);
    rig.domain(rig.stage.workspace, "other.test").await;
    assert_eq!(rig.get(&path.replace("d.test", "other.test")).await.expect(404), missing);
    rig.stage.clock.advance(Duration::from_secs(3 * 24 * 3600 + 1));
    assert_eq!(rig.get(&path).await.expect(404), missing);
}

#[tokio::test]
async fn tracking_is_set_by_domain() {
    let rig = Rig::start().await;
    let target = "/v3/domains/d.test/tracking";
    let off = rig.get(target).await.expect(200);
    for name in ["open", "click", "unsubscribe"] {
        assert_eq!(off["tracking"][name]["active"], false);
    }
    for (name, value, active) in
        [("open", "yes", json!(true)), ("click", "htmlonly", json!("htmlonly")), ("unsubscribe", "true", json!(true))]
    {
        let answer = rig.put(&format!("{target}/{name}"), &[("active", value)]).await.expect(200);
        assert_eq!(answer["message"], "Domain tracking settings have been updated");
        assert_eq!(answer[name]["active"], active);
    }
    let footers = [("html_footer", "<i>%unsubscribe_url%</i>"), ("text_footer", "off: %unsubscribe_url%")];
    assert_eq!(rig.put(&format!("{target}/unsubscribe"), &footers).await.expect(200)["unsubscribe"]["active"], true);
    let on = rig.get(target).await.expect(200);
    assert_eq!(
        (&on["tracking"]["open"]["active"], &on["tracking"]["unsubscribe"]["text_footer"]),
        (&json!(true), &json!("off: %unsubscribe_url%"))
    );
    let id = send(&rig, "bob@x.test", &[("html", "<a href=\"https://x.test\">x</a>")]).await;
    let stored = rig.get(&stored_path(&told(&rig, &id, 2).await[0])).await.expect(200);
    let (text, html) = (stored["body-plain"].as_str().unwrap(), stored["body-html"].as_str().unwrap());
    assert!(text.starts_with("hellooff: http://posthaste.test/t/"), "{text}");
    assert!(
        html.starts_with("<a href=\"http://posthaste.test/t/") && html.contains("<i>http://posthaste.test/t/") && html.contains("<img"),
        "{html}"
    );
    for (name, fields) in [("open", vec![]), ("open", vec![("active", "maybe")])] {
        assert_eq!(rig.put(&format!("{target}/{name}"), &fields).await.status, 400);
    }
    assert_eq!(rig.put(&format!("{target}/other"), &[("active", "yes")]).await.status, 404);
}

#[tokio::test]
async fn domains_are_listed() {
    let rig = Rig::start().await;
    rig.domain(rig.stage.workspace, "other.test").await;
    let all = rig.get("/v3/domains").await.expect(200);
    assert_eq!(
        (&all["total_count"], &all["items"][0]["name"], &all["items"][1]["name"]),
        (&json!(2), &json!(DOMAIN), &json!("other.test"))
    );
    let one = rig.get("/v3/domains?limit=1&skip=1").await.expect(200);
    assert_eq!((&one["total_count"], one["items"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(rig.get("/v3/domains/d.test").await.expect(200)["domain"]["state"], "active");
    assert_eq!(rig.get("/v3/domains/none.test").await.expect(404), json!({"message": "Domain not found"}));
    assert_eq!(rig.get("/v3/domains?limit=x").await.status, 400);
}

// MAILGUN-109
#[tokio::test]
async fn a_failing_endpoint_holds_nobody_up() {
    let rig = Rig::start().await;
    let broken = Receiver::statuses(&[500]).await;
    rig.hook("accepted", &[&broken]).await;
    for _ in 0..20 {
        let id = send(&rig, "bob@x.test", &[]).await;
        assert_eq!(names(&told(&rig, &id, 2).await), ["accepted", "delivered"]);
    }
}
