//! One life cycle, five ways to say it (design section 2): whatever sends a message, every vendor's webhook tells of it in its own words.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::http::id;
use crate::receiver::{Hit, Receiver, Reply};
use crate::server::{KEY, Server};

/// Vendor, its word, and the id of the message.
type Told = (String, String, String);

const FORM: &str = "application/x-www-form-urlencoded";

/// Type of an event, and what Momentum, Mailgun, MsGine and MessageMedia call it; empty where a vendor has no word for it.
const WORDS: [(&str, [&str; 4]); 10] = [
    ("message.accepted", ["injection", "accepted", "", "enroute"]),
    ("message.sent", ["", "", "message.sent", "submitted"]),
    ("message.delivered", ["delivery", "delivered", "message.delivered", "delivered"]),
    ("message.deferred", ["delay", "failed/temporary", "", "enroute"]),
    ("message.failed", ["bounce", "failed/permanent", "message.failed", "failed"]),
    ("message.opened", ["open", "opened", "", ""]),
    ("message.clicked", ["click", "clicked", "", ""]),
    ("message.unsubscribed", ["list_unsubscribe", "unsubscribed", "", "opt-out"]),
    ("message.complained", ["spam_complaint", "complained", "", ""]),
    ("message.received", ["", "", "", "reply"]),
];
const VENDORS: [&str; 4] = ["momentum", "mailgun", "msgine", "messagemedia"];

/// What all vendors are to tell of an event.
fn expected(type_name: &str, message: &str) -> impl Iterator<Item = Told> {
    let words = WORDS.iter().find(|(name, _)| *name == type_name).expect("a type of the life cycle").1;
    let (type_name, message) = (type_name.to_owned(), message.to_owned());
    let vendors =
        VENDORS.into_iter().zip(words).filter(|(_, word)| !word.is_empty()).map(|(vendor, word)| (vendor.to_owned(), word.to_owned()));
    let all = vendors.chain([("native".to_owned(), type_name)]).collect::<Vec<_>>();
    all.into_iter().map(move |(vendor, word)| (vendor, word, message.clone()))
}

/// What a request tells.
fn told(hit: &Hit) -> Vec<Told> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let vendor = hit.path.trim_start_matches('/').to_owned();
    let one = |word: String, message: String| vec![(vendor.clone(), word, message)];
    match vendor.as_str() {
        "momentum" => {
            let records = hit.json().as_array().cloned().unwrap_or_default();
            let inner = records.iter().filter_map(|record| record["msys"].as_object()?.values().next().cloned());
            inner.map(|event| (vendor.clone(), text(&event["type"]), text(&event["message_id"]))).collect()
        }
        "mailgun" => {
            let event = &hit.json()["event-data"];
            let severity = event["severity"].as_str().map(|severity| format!("/{severity}")).unwrap_or_default();
            one(format!("{}{severity}", text(&event["event"])), text(&event["message"]["headers"]["message-id"]))
        }
        "msgine" => one(text(&hit.json()["event"]), text(&hit.json()["messageId"])),
        "messagemedia" => {
            let body = String::from_utf8_lossy(&hit.body).into_owned();
            let (word, message) = body.split_once('|').unwrap_or_else(|| panic!("{body}"));
            one(word.to_owned(), message.to_owned())
        }
        "native" => one(text(&hit.json()["type"]), text(&hit.json()["data"]["message_id"])),
        other => panic!("nobody asked for {other}"),
    }
}

/// Makes one webhook in every vendor's way, for everything it can tell.
async fn watch_all(server: &Server, receiver: &Receiver) {
    let api = &server.api;
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{KEY}")));
    let url = |vendor: &str| receiver.url(&format!("/{vendor}"));
    let all = [
        "injection",
        "delivery",
        "policy_rejection",
        "bounce",
        "delay",
        "out_of_band",
        "spam_complaint",
        "open",
        "click",
        "list_unsubscribe",
        "link_unsubscribe",
    ];
    let webhook = json!({"name": "matrix", "target": url("momentum"), "events": all}).to_string();
    let headers = [("authorization", KEY), ("content-type", "application/json")];
    api.call(Method::POST, "/api/v1/webhooks", &headers, webhook).await.expect(200);

    api.make("/domains", json!({"name": "d.example"})).await;
    let (mailgun, names) =
        (basic("api"), ["accepted", "delivered", "opened", "clicked", "unsubscribed", "complained", "permanent_fail", "temporary_fail"]);
    for name in names {
        let form = format!("id={name}&url={}", url("mailgun"));
        api.call(Method::POST, "/v3/domains/d.example/webhooks", &[("authorization", &mailgun), ("content-type", FORM)], form)
            .await
            .expect(200);
    }

    let target = id(&server.target(&url("msgine")).await);
    let types = ["message.sent", "message.delivered", "message.failed"];
    api.make("/subscriptions", json!({"event_types": types, "target_id": target, "format": "msgine"})).await;

    let template = "#if($status)$status|$mtId#elseif($notificationId)opt-out|$mtId#{else}reply|$mtId#end";
    let events = [
        "RECEIVED_SMS",
        "OPT_OUT_SMS",
        "RECEIVED_MMS",
        "ENROUTE_DR",
        "SUBMITTED_DR",
        "DELIVERED_DR",
        "EXPIRED_DR",
        "REJECTED_DR",
        "FAILED_DR",
    ];
    let webhook = json!({"url": url("messagemedia"), "method": "POST", "encoding": "JSON", "events": events, "template": template});
    let headers = [("authorization", basic(KEY)), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    api.call(Method::POST, "/v1/webhooks/messages", &headers, webhook.to_string()).await.expect(201);

    server.subscribed(&url("native"), &["message.*"], json!({})).await;
}

/// Sends one message in every way; answers what is to be told of it.
async fn send_all(server: &Server) -> BTreeSet<Told> {
    let api = &server.api;
    let mut wanted = BTreeSet::new();
    let mut wants = |types: &[&str], message: &str| wanted.extend(types.iter().flat_map(|name| expected(name, message)));

    // Mailgun's and MsGine's own sending, and ours.
    let mail = "from=ann@d.example&to=bob@x.example&subject=Hi&text=Hello";
    let basic = format!("Basic {}", STANDARD.encode(format!("api:{KEY}")));
    let sent =
        api.call(Method::POST, "/v3/d.example/messages", &[("authorization", &basic), ("content-type", FORM)], mail).await.expect(200);
    let message = sent["id"].as_str().expect("an id").trim_matches(['<', '>']).to_owned();
    wants(&["message.accepted", "message.delivered"], &message);
    let sms = json!({"to": "+256701521269", "message": "Hello"}).to_string();
    let headers = [("authorization", KEY), ("content-type", "application/json")];
    for path in ["/api/v1/messages/sms", "/api/v1/developers/sms"] {
        let sent = api.call(Method::POST, path, &headers, sms.clone()).await.expect(201);
        wants(&["message.accepted", "message.sent", "message.delivered"], sent["id"].as_str().expect("an id"));
    }
    let sent = api
        .post("/messages", json!({"channel": "email", "from": "ann@d.example", "to": ["bob@x.example"], "subject": "Hi", "text": "Hello"}))
        .await;
    wants(&["message.accepted", "message.delivered"], &id(&sent.expect(202)));
    let sent = api.post("/messages", json!({"channel": "sms", "from": "MyApp", "to": ["+256701521269"], "text": "Hello"})).await;
    wants(&["message.accepted", "message.sent", "message.delivered"], &id(&sent.expect(202)));

    // What another system says, through the native API and through the inbox, with the least that an event can hold.
    for (name, _) in WORDS {
        for (channel, recipient) in [("email", "bob@x.example"), ("sms", "+15550100")] {
            let message = format!("{name}-{channel}");
            api.post("/events", json!({"type": name, "data": {"channel": channel, "message_id": message, "recipient": recipient}}))
                .await
                .expect(202);
            wants(&[name], &message);
        }
        api.make("/event-types", json!({"name": name, "rule": {"event": name}})).await;
        let message = format!("{name}-inbox");
        let body = json!({"event": name, "channel": "email", "message_id": message, "recipient": "bob@x.example"}).to_string();
        let headers = [("x-msggo-key", KEY), ("content-type", "application/json")];
        assert_eq!(api.call(Method::POST, &format!("/inbox/{KEY}"), &headers, body).await.status, 200);
        wants(&[name], &message);
    }
    wanted
}

/// MOMENTUM-120 among them: every webhook gets every event that its vendor has a word for, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_in_any_way_is_told_in_every_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let variables = [
        ("POSTHASTE_KEY", KEY),
        ("POSTHASTE_DIALECT_MOMENTUM_ACTIVATION", "0s"),
        ("POSTHASTE_DIALECT_MOMENTUM_BATCH_WAIT", "50ms"),
        ("POSTHASTE_DIALECT_MSGINE_ALLOW_HTTP", "true"),
    ];
    let server = Server::start_with(dir.path(), &["--allow-network", "127.0.0.1"], &variables).await;
    let mut receiver = Receiver::scripted(|_| Reply::Now(200)).await;
    watch_all(&server, &receiver).await;
    let test_post = receiver.next().await;
    assert_eq!(test_post.json(), json!([{"msys": {}}]));
    let wanted = send_all(&server).await;
    let mut seen = BTreeSet::new();
    while !wanted.is_subset(&seen) {
        seen.extend(told(&receiver.next().await));
    }
    seen.extend(receiver.rest().iter().flat_map(told));
    let extra: Vec<_> = seen.difference(&wanted).collect();
    assert!(extra.is_empty(), "told without being asked: {extra:?}");
    server.stop().await;
}
