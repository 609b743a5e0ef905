//! Sending mail and SMS natively, links of mails, suppressions. Real channels: mail goes to the simulated relay.

use http::header;
use posthaste_domain::message::{Deed, Ticket};
use posthaste_engine::EngineSettings;
use serde_json::{Value, json};

use crate::rig::{Answer, Made, PATIENCE, Rig};

const SECRET: [u8; 32] = [5; 32];

async fn rig() -> Rig {
    let engine = EngineSettings { public_base_url: "http://posthaste.test".into(), page_secret: SECRET, ..EngineSettings::default() };
    let rig = Rig::of(Made { engine, is_real: true, ..Made::default() }).await;
    rig.post("/domains", json!({"name": "d.test", "track": {"opens": true, "clicks": true, "unsubscribe": true}})).await.expect(201);
    rig
}

/// The message once it has so many events.
async fn told(rig: &Rig, id: &str, count: usize) -> Value {
    let mut committed = rig.engine.committed();
    let wait = async {
        loop {
            committed.mark_unchanged();
            let message = rig.get(&format!("/messages/{id}")).await.expect(200);
            if message["events"].as_array().is_some_and(|events| events.len() >= count) {
                return message;
            }
            committed.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("events are told in time")
}

fn types(message: &Value) -> Vec<&str> {
    message["events"].as_array().expect("events").iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

async fn send(rig: &Rig, more: Value) -> String {
    let mut body = json!({"channel": "email", "from": "Ann <ann@d.test>", "to": ["bob@x.test"], "subject": "Hi", "text": "hello"});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    rig.post("/messages", body).await.expect(202)["id"].as_str().expect("an id").to_owned()
}

/// The links of the mail as its recipient finds them: picture, link, unsubscribing.
async fn links(rig: &Rig, id: &str) -> [String; 3] {
    let path = format!("/v3/domains/d.test/messages/{}", {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id)
    });
    let basic = {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("api:{}", rig.token)))
    };
    let stored = rig.raw("GET", &path, "", &[("authorization", basic.as_str())], "").await.expect(200);
    let html = stored["body-html"].as_str().expect("html").to_owned();
    let paths: Vec<String> = html.split('"').filter_map(|part| part.strip_prefix("http://posthaste.test")).map(str::to_owned).collect();
    let of = |wanted: fn(&Deed) -> bool| {
        let found = paths.iter().find(|path| Ticket::read(&path[3..], &SECRET).is_some_and(|ticket| wanted(&ticket.deed)));
        found.unwrap_or_else(|| panic!("in {html}")).clone()
    };
    [of(|deed| *deed == Deed::Open), of(|deed| matches!(deed, Deed::Click(_))), of(|deed| *deed == Deed::Unsubscribe)]
}

async fn visit(rig: &Rig, method: &str, path: &str, body: &'static str) -> Answer {
    let headers = [("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"), ("content-type", "application/x-www-form-urlencoded")];
    rig.raw(method, path, "", &headers, body).await
}

const HTML: &str = r#"<a href="https://x.test/a?b=1&amp;c=2">x</a> <a href="https://y.test" disable-tracking=true>y</a> <a href="%unsubscribe_url%">no more</a>"#;

// MAILGUN-122, MAILGUN-123, MAILGUN-124, MAILGUN-125
#[tokio::test]
async fn what_recipients_do_is_told() {
    let rig = rig().await;
    let id = send(&rig, json!({"html": HTML, "tags": ["t"], "metadata": {"k": "v"}})).await;
    told(&rig, &id, 2).await;
    let [picture, link, unsubscribe] = links(&rig, &id).await;

    // Looking ahead is not acting.
    for path in [&picture, &link, &unsubscribe] {
        assert!(visit(&rig, "HEAD", path, "").await.bytes.is_empty());
    }
    let page = visit(&rig, "GET", &unsubscribe, "").await;
    assert!(page.status == 200 && page.text().contains("<form method=\"post\">") && page.text().contains("bob@x.test"), "{}", page.text());
    assert_eq!(types(&told(&rig, &id, 2).await), ["message.accepted", "message.delivered"]);

    let png = visit(&rig, "GET", &picture, "").await;
    assert_eq!(
        (png.status.as_u16(), &png.headers[header::CONTENT_TYPE]),
        (200, &"image/png".parse::<http::HeaderValue>().expect("a value"))
    );
    assert!(png.bytes.starts_with(b"\x89PNG") && png.headers[header::CACHE_CONTROL].to_str().expect("text").contains("no-store"));
    let there = visit(&rig, "GET", &link, "").await;
    assert_eq!((there.status.as_u16(), there.headers[header::LOCATION].to_str().expect("text")), (302, "https://x.test/a?b=1&c=2"));
    assert_eq!(visit(&rig, "POST", &link, "").await.status, 405);
    let done = visit(&rig, "POST", &unsubscribe, "List-Unsubscribe=One-Click").await;
    assert!(done.status == 200 && done.text().contains("Unsubscribed"), "{}", done.text());

    let message = told(&rig, &id, 5).await;
    assert_eq!(types(&message)[2..], ["message.opened", "message.clicked", "message.unsubscribed"]);
    let events = message["events"].as_array().expect("events");
    for event in &events[2..] {
        let data = &event["data"];
        assert_eq!((&data["recipient"], &data["tags"], &data["metadata"]), (&json!("bob@x.test"), &json!(["t"]), &json!({"k": "v"})));
        assert!(data["client"]["user_agent"].as_str().expect("an agent").contains("Firefox"), "{data}");
        assert!(data["size"].is_null() && data["transport"].is_null(), "{data}");
    }
    assert_eq!(events[3]["data"]["url"], "https://x.test/a?b=1&c=2");
    assert_eq!(events[4]["data"]["client"]["one_click"], true);
    let recipient = &message["recipients"][0];
    assert_eq!(
        (&recipient["status"], &recipient["opened"], &recipient["clicked"], &recipient["unsubscribed"]),
        (&json!("delivered"), &json!(true), &json!(true), &json!(true))
    );

    // Mailgun tells the same.
    let basic = {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("api:{}", rig.token)))
    };
    let events = rig.raw("GET", "/v3/d.test/events", "", &[("authorization", basic.as_str())], "").await.expect(200);
    let find = |name: &str| {
        let all = events["items"].as_array().expect("items");
        all.iter().find(|event| event["event"] == name).unwrap_or_else(|| panic!("{name} in {all:#?}")).clone()
    };
    let opened = find("opened");
    assert_eq!((&opened["client-info"]["client-name"], &opened["geolocation"]["country"]), (&json!("Firefox"), &json!("Unknown")));
    assert!(opened["ip"].is_string(), "{opened}");
    assert_eq!(find("clicked")["url"], "https://x.test/a?b=1&c=2");
    assert_eq!(find("unsubscribed")["recipient"], "bob@x.test");

    // Nothing more is sent to who unsubscribed.
    let again = send(&rig, json!({})).await;
    let message = told(&rig, &again, 2).await;
    assert_eq!(
        (&message["recipients"][0]["status"], &message["recipients"][0]["reason"]),
        (&json!("failed"), &json!("suppress-unsubscribe"))
    );
}

#[tokio::test]
async fn links_cannot_be_forged() {
    let rig = rig().await;
    let ticket = Ticket {
        workspace: 1,
        accepted: 1,
        message_id: "1@d.test".into(),
        recipient: "bob@x.test".into(),
        domain: "d.test".into(),
        deed: Deed::Click("https://evil.test".into()),
    };
    let forged = format!("/t/{}", ticket.token(&[6; 32]));
    let good = format!("/t/{}", ticket.token(&SECRET));
    let long = format!("/t/{}", "A".repeat(9000));
    for path in [forged.as_str(), &good[..good.len() - 1], "/t/x", "/t/%ff", long.as_str()] {
        for method in ["GET", "POST"] {
            let answer = visit(&rig, method, path, "").await;
            assert_eq!(answer.status, 404, "{path}");
            assert!(answer.headers.get(header::LOCATION).is_none());
        }
    }
    // A good link leads on although its message is not known any more, and what is known is told.
    assert_eq!(visit(&rig, "GET", &good, "").await.headers[header::LOCATION], "https://evil.test");
}

#[tokio::test]
async fn messages_are_sent_listed_and_read() {
    let rig = rig().await;
    let headers = [("idempotency-key", "k1"), ("content-type", "application/json")];
    let body =
        json!({"channel": "sms", "from": "+15550100000", "to": ["+15550100001", "+15550100001"], "text": "hi", "tags": ["t"]}).to_string();
    let first = rig.raw("POST", "/posthaste/v1/messages", &rig.token, &headers, body.clone()).await;
    let again = rig.raw("POST", "/posthaste/v1/messages", &rig.token, &headers, body).await;
    assert_eq!(first.expect(202), again.expect(202));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let sms = first.expect(202)["id"].as_str().expect("an id").to_owned();
    let message = told(&rig, &sms, 2).await;
    assert_eq!(types(&message)[..2], ["message.accepted", "message.sent"]);
    assert_eq!(message["to"], json!(["+15550100001"]));

    let one = send(&rig, json!({"to": ["bob@x.test", "Bob <BOB@x.test>"], "cc": ["cy@x.test"], "bcc": ["Dee <dee@x.test>"], "reply_to": "eve@x.test", "headers": {"X-A": "b"}, "attachments": [{"filename": "a", "content": "aGk="}]})).await;
    let message = told(&rig, &one, 6).await;
    assert_eq!(message["recipients"].as_array().expect("recipients").len(), 3);
    let email = json!({
        "to": ["bob@x.test"], "cc": ["cy@x.test"], "bcc": ["Dee <dee@x.test>"], "reply_to": "eve@x.test", "individual": false, "composed": false,
        "headers": [{"name": "X-A", "value": "b"}],
        "attachments": [{"filename": "a", "content_type": "application/octet-stream", "size": 2, "inline": false}],
        "track": {"opens": true, "clicks": true, "unsubscribe": true}
    });
    assert_eq!(message["email"], email);
    assert_eq!((&message["from"], &message["subject"]), (&json!("Ann <ann@d.test>"), &json!("Hi")));
    let two = send(&rig, json!({})).await;
    let page = rig.get("/messages?limit=1").await.expect(200);
    assert_eq!(page["items"][0]["id"], json!(two));
    let next = page["next"].as_str().expect("a cursor");
    let page = rig.get(&format!("/messages?limit=1&cursor={next}")).await.expect(200);
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!(one), &Value::Null));
    assert_eq!(rig.get("/messages?channel=sms").await.expect(200)["items"].as_array().expect("items").len(), 1);
    assert_eq!(rig.get("/messages/none").await.status, 404);
}

#[tokio::test]
async fn each_refusal_names_its_field() {
    let rig = rig().await;
    let mail = |more: Value| {
        let mut body = json!({"channel": "email", "from": "a@d.test", "to": ["b@x.test"], "text": "t"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    for (more, field) in [
        (json!({"from": "nobody"}), "from"),
        (json!({"from": "a@d.test, c@e.test"}), "from"),
        (json!({"to": ["b@x.test", "b"]}), "to[1]"),
        (json!({"to": []}), "to"),
        (json!({"cc": ["x"]}), "cc[0]"),
        (json!({"text": null}), "text"),
        (json!({"subject": "a\nb"}), "subject"),
        (json!({"reply_to": "x"}), "reply_to"),
        (json!({"headers": {"a b": "c"}}), "headers.a b"),
        (json!({"attachments": [{"filename": "a", "content": "!"}]}), "attachments[0].content"),
        (json!({"text": "%recipient.x%".repeat(1000), "variables": {"b@x.test": {"x": "y".repeat(100_000)}}}), "variables"),
        (json!({"tags": [""]}), "tags[0]"),
        (json!({"deliver_at": "soon"}), "deliver_at"),
        (json!({"callback_url": "ftp://x"}), "callback_url"),
        (json!({"channel": "sms", "from": "much too long a name"}), "from"),
        (json!({"channel": "sms", "from": "Shop"}), "to[0]"),
        (json!({"channel": "sms", "from": "Shop", "html": "x"}), "html"),
    ] {
        let answer = rig.post("/messages", mail(more.clone())).await;
        let (status, _, found) = answer.problem();
        assert_eq!((status, found.as_deref()), (422, Some(field)), "{more}");
    }
    assert_eq!(rig.get("/messages").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn complaints_and_suppressions_are_kept() {
    let rig = rig().await;
    let id = send(&rig, json!({})).await;
    told(&rig, &id, 2).await;
    let complaints = format!("/messages/{id}/complaints");
    rig.post(&complaints, json!({"recipient": "Bob@x.test"})).await.expect(204);
    assert_eq!(rig.post(&complaints, json!({"recipient": "other@x.test"})).await.status, 404);
    let message = told(&rig, &id, 3).await;
    assert_eq!(message["recipients"][0]["complained"], true);
    rig.post("/suppressions", json!({"scope": "sms", "address": "+15550100001", "reason": "unsubscribe"})).await.expect(204);
    let all = rig.get("/suppressions?limit=1").await.expect(200);
    assert_eq!((&all["items"][0]["address"], &all["items"][0]["reason"]), (&json!("bob@x.test"), &json!("complaint")));
    let rest = rig.get(&format!("/suppressions?cursor={}", all["next"].as_str().expect("a cursor"))).await.expect(200);
    assert_eq!((&rest["items"][0]["scope"], &rest["next"]), (&json!("sms"), &Value::Null));
    assert_eq!(rig.get("/suppressions?scope=d.test").await.expect(200)["items"].as_array().expect("items").len(), 1);
    rig.call("DELETE", "/suppressions?scope=d.test&address=bob%40x.test", Value::Null).await.expect(204);
    assert_eq!(rig.get("/suppressions?scope=d.test").await.expect(200)["items"], json!([]));
    assert_eq!(rig.get("/suppressions?cursor=x").await.status, 400);
    assert_eq!(rig.call("DELETE", "/suppressions?scope=d.test", Value::Null).await.status, 400);
    let again = send(&rig, json!({})).await;
    assert_eq!(types(&told(&rig, &again, 2).await), ["message.accepted", "message.delivered"]);
}
