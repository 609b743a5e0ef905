//! Creating webhooks: every rule and answer of sections 3 and 4.1.

use posthaste_domain::policy::Policy;
use posthaste_domain::resource::Subscription;
use serde_json::{Value, json};

use crate::rig::{Receiver, Rig, WEBHOOKS, report};

/// A good request with these fields instead or besides.
fn body(extra: Value) -> Value {
    let mut body = json!({ "url": "http://webhook.com", "method": "POST", "encoding": "JSON", "events": ["RECEIVED_SMS"] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.chars().enumerate().all(|(at, c)| if [8, 13, 18, 23].contains(&at) { c == '-' } else { c.is_ascii_hexdigit() })
}

// MESSAGEMEDIA-1, MESSAGEMEDIA-2, MESSAGEMEDIA-3, MESSAGEMEDIA-4, MESSAGEMEDIA-5, MESSAGEMEDIA-6, MESSAGEMEDIA-8
#[tokio::test]
async fn a_webhook_is_answered_as_it_was_asked_for() {
    let rig = Rig::start().await;
    let template = r#"{"id":"$mtId","status":"$statusCode"}"#;
    let webhook = rig.create(body(json!({ "events": ["ENROUTE_DR", "DELIVERED_DR"], "template": template }))).await;
    let id = webhook["id"].as_str().unwrap();
    assert!(is_uuid(id), "{id}");
    let expected = json!({
        "id": id, "url": "http://webhook.com", "method": "POST", "encoding": "JSON", "headers": {},
        "events": ["ENROUTE_DR", "DELIVERED_DR"], "template": template, "retries": 0
    });
    assert_eq!(webhook, expected);

    let bare = rig.create(body(json!({ "url": "http://bare.example/" }))).await;
    assert_eq!((&bare["headers"], &bare["retries"]), (&json!({}), &json!(0)));
    for absent in ["template", "read_timeout", "retry_delay"] {
        assert!(bare.get(absent).is_none(), "{absent}: {bare}");
    }
    let full = json!({
        "url": "http://full.example/", "headers": { "Account": "developer@example.com" }, "read_timeout": 5000, "retries": 3, "retry_delay": 30
    });
    let full = rig.create(body(full)).await;
    assert_eq!(
        [&full["headers"]["Account"], &full["read_timeout"], &full["retries"], &full["retry_delay"]],
        [&json!("developer@example.com"), &json!(5000), &json!(3), &json!(30)]
    );
    let retried = rig.create(body(json!({ "url": "http://retried.example/", "retries": 1 }))).await;
    assert_eq!(retried["retry_delay"], 5);
    let idle = rig.create(body(json!({ "url": "http://idle.example/", "retry_delay": 30 }))).await;
    assert!(idle.get("retry_delay").is_none(), "{idle}");
}

// MESSAGEMEDIA-7
#[tokio::test]
async fn null_is_not_given() {
    let rig = Rig::start().await;
    let nulls = json!({ "headers": null, "template": null, "read_timeout": null, "retries": null, "retry_delay": null });
    let webhook = rig.create(body(nulls)).await;
    assert_eq!(webhook["headers"], json!({}));
    assert!(webhook.get("template").is_none());
}

// MESSAGEMEDIA-9
#[tokio::test]
async fn creating_calls_nobody() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    rig.hook(&receiver, &["DELIVERED_DR"], json!({})).await;
    rig.publish("message.delivered", report()).await;
    assert_eq!(receiver.first().await.json()["status"], "delivered");
    rig.finish().await;
    assert_eq!(receiver.seen().len(), 1);
}

/// Bodies that must be refused with a text that names the field.
#[track_caller]
fn check_refused(field: &str, answered: (u16, Value)) {
    assert_eq!(answered.0, 400, "{field}: {}", answered.1);
    assert!(answered.1["message"].as_str().unwrap().contains(field), "{field}: {}", answered.1);
}

// MESSAGEMEDIA-10, MESSAGEMEDIA-13, MESSAGEMEDIA-15, MESSAGEMEDIA-17
#[tokio::test]
async fn required_fields_are_required() {
    let rig = Rig::start().await;
    for field in ["url", "method", "encoding", "events"] {
        let mut missing = body(json!({}));
        missing.as_object_mut().unwrap().remove(field);
        check_refused(field, rig.call("POST", WEBHOOKS, missing).await);
        check_refused(field, rig.call("POST", WEBHOOKS, body(json!({ field: null }))).await);
        check_refused(field, rig.call("POST", WEBHOOKS, body(json!({ field: 7 }))).await);
    }
    check_refused("events", rig.call("POST", WEBHOOKS, body(json!({ "events": [] }))).await);
}

// MESSAGEMEDIA-11, MESSAGEMEDIA-12
#[tokio::test]
async fn urls_are_absolute_and_short() {
    let rig = Rig::start().await;
    for url in ["", "/relative", "webhook.com", "ftp://webhook.com", "http://", "https:webhook.com", "http://#if(", "mailto:a@b.example"] {
        check_refused("url", rig.call("POST", WEBHOOKS, body(json!({ "url": url }))).await);
    }
    let long = |length: usize| format!("http://webhook.com/{}", "x".repeat(length - 19));
    assert_eq!(long(1000).len(), 1000);
    rig.create(body(json!({ "url": long(1000) }))).await;
    check_refused("url", rig.call("POST", WEBHOOKS, body(json!({ "url": long(1001) }))).await);
    for url in [
        "https://a.example:8443/x?y=1",
        "HTTP://b.example",
        "http://c.example/?reply=$moContent&to=${sourceAddress}",
        "http://d.example/é ü",
    ] {
        assert_eq!(rig.create(body(json!({ "url": url }))).await["url"], url);
    }
}

// MESSAGEMEDIA-14, MESSAGEMEDIA-16, MESSAGEMEDIA-18, MESSAGEMEDIA-19
#[tokio::test]
async fn only_known_words_are_taken() {
    let rig = Rig::start().await;
    for (field, bad) in [
        ("method", json!("HEAD")),
        ("method", json!("post")),
        ("encoding", json!("TEXT")),
        ("encoding", json!("json")),
        ("OPT_OUT_SMS", json!(["OPT_OUT"])),
        ("event", json!(["RECEIVED_SMS", "CLICKED"])),
        ("event", json!([7])),
    ] {
        let name = if bad.is_array() { "events" } else { field };
        check_refused(field, rig.call("POST", WEBHOOKS, body(json!({ name: bad }))).await);
    }
    for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
        for encoding in ["JSON", "FORM_ENCODED", "XML"] {
            let url = format!("http://{}.example/", encoding.to_lowercase());
            let webhook = rig.create(body(json!({ "url": url, "method": method, "encoding": encoding }))).await;
            assert_eq!((&webhook["method"], &webhook["encoding"]), (&json!(method), &json!(encoding)));
        }
    }
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
    for event in events {
        let webhook = rig.create(body(json!({ "url": format!("http://{event}.example/"), "events": [event] }))).await;
        assert_eq!(webhook["events"], json!([event]));
    }
    // Open point 23: the same name twice is once.
    let twice = rig.create(body(json!({ "url": "http://twice.example/", "events": ["FAILED_DR", "SUBMITTED_DR", "FAILED_DR"] }))).await;
    assert_eq!(twice["events"], json!(["FAILED_DR", "SUBMITTED_DR"]));
}

// MESSAGEMEDIA-20, MESSAGEMEDIA-21
#[tokio::test]
async fn headers_have_rules() {
    let rig = Rig::start().await;
    let (name, value) = ("X".repeat(200), "v".repeat(1000));
    for bad in [
        json!({ "Content-Type": "text/plain" }),
        json!({ "content-type": "text/plain" }),
        json!({ "X-A": 1 }),
        json!({ format!("{name}X"): "v" }),
        json!({ "X-A": format!("{value}v") }),
        json!({ "X A": "b" }),
        json!({ "X-A": "a\r\nX-B: c" }),
        json!([]),
        json!("X-A: b"),
    ] {
        check_refused("headers", rig.call("POST", WEBHOOKS, body(json!({ "headers": bad }))).await);
    }
    let webhook = rig.create(body(json!({ "headers": { (name.as_str()): "v", "X-A": value, "Authorization": "Bearer x" } }))).await;
    assert_eq!((&webhook["headers"][&name], &webhook["headers"]["Authorization"]), (&json!("v"), &json!("Bearer x")));
}

// MESSAGEMEDIA-22, MESSAGEMEDIA-23, MESSAGEMEDIA-24
#[tokio::test]
async fn numbers_have_bounds() {
    let rig = Rig::start().await;
    for (field, bad, good) in [
        ("read_timeout", vec![json!(0), json!(60_001), json!(-1), json!(1.5), json!("5000")], vec![1, 60_000]),
        ("retries", vec![json!(-1), json!(6), json!(true)], vec![0, 5]),
        ("retry_delay", vec![json!(4), json!(61)], vec![5, 60]),
    ] {
        for value in bad {
            check_refused(field, rig.call("POST", WEBHOOKS, body(json!({ field: value }))).await);
        }
        for value in good {
            let webhook =
                rig.create(body(json!({ "url": format!("http://{field}{value}.example/").replace('_', "-"), field: value }))).await;
            assert!(field == "retry_delay" || webhook[field] == value, "{webhook}");
        }
    }
}

// MESSAGEMEDIA-25
#[tokio::test]
async fn a_body_is_a_json_object() {
    let rig = Rig::start().await;
    let key = rig.key.basic();
    for bad in ["", "{", "url=http://webhook.com", "[]", "\"a\"", "null", "{} {}"] {
        let (status, _, answer) = rig.send("POST", WEBHOOKS, &[("authorization", key.as_str())], bad.as_bytes()).await;
        assert_eq!(status, 400, "{bad}: {answer}");
    }
    let (status, _, _) = rig.send("POST", WEBHOOKS, &[("authorization", key.as_str())], &vec![b' '; 300 << 10]).await;
    assert_eq!(status, 413);
}

// MESSAGEMEDIA-26, MESSAGEMEDIA-27, MESSAGEMEDIA-28
#[tokio::test]
async fn url_and_method_are_unique() {
    let rig = Rig::start().await;
    rig.create(body(json!({}))).await;
    let again = body(json!({ "encoding": "XML", "events": ["FAILED_DR"] }));
    assert_eq!(
        rig.call("POST", WEBHOOKS, again).await,
        (409, json!({ "message": "A webhook with the given url and method already exists." }))
    );
    assert_eq!(rig.call("GET", WEBHOOKS, Value::Null).await.1["pageData"].as_array().unwrap().len(), 1);
    rig.create(body(json!({ "method": "PUT" }))).await;
    // Of many at once one is made.
    let many =
        futures_util::future::join_all((0..8).map(|_| rig.call("POST", WEBHOOKS, body(json!({ "url": "http://many.example/" }))))).await;
    assert_eq!(many.iter().filter(|(status, _)| *status == 201).count(), 1, "{many:?}");
}

// MESSAGEMEDIA-89
#[tokio::test]
async fn a_template_must_parse() {
    let rig = Rig::start().await;
    for template in ["#if($mtId)", "#foreach($a in $b) #else #end", "#if($x", "$esc.json($x"] {
        let (status, answer) = rig.call("POST", WEBHOOKS, body(json!({ "template": template }))).await;
        assert_eq!(status, 400, "{template}");
        assert!(answer["message"].as_str().unwrap().contains("line 1, column"), "{answer}");
    }
    let id = rig.create(body(json!({}))).await["id"].as_str().unwrap().to_owned();
    let (status, _) = rig.call("PATCH", &format!("{WEBHOOKS}/{id}"), json!({ "template": "#if($mtId)" })).await;
    assert_eq!(status, 400);
}

// MESSAGEMEDIA-98; that an attempt is given the time of its webhook is in deliveries.rs.
#[tokio::test]
async fn the_default_timeout_is_twenty_seconds() {
    let rig = Rig::start().await;
    rig.create(body(json!({}))).await;
    rig.create(body(json!({ "url": "http://own.example/", "read_timeout": 1 }))).await;
    let timeouts: Vec<u128> = rig
        .engine
        .list::<Subscription>(rig.workspace)
        .iter()
        .map(|entry| Policy::from_json(entry.doc.policy.as_ref().unwrap()).unwrap().timeout.unwrap().as_millis())
        .collect();
    assert_eq!(timeouts, [20_000, 1]);
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_webhooks() {
    let settings = posthaste_dialects::messagemedia::MessageMediaSettings { max_webhooks: 2, ..Default::default() };
    let rig = Rig::with(settings).await;
    for n in 0..2 {
        rig.create(body(json!({ "url": format!("http://{n}.example/") }))).await;
    }
    check_refused("at most 2", rig.call("POST", WEBHOOKS, body(json!({}))).await);
}
