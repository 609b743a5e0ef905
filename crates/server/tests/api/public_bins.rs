//! Bins for everybody, as Mailgun's were.

use std::time::Duration;

use base64::Engine as _;
use http::header;
use posthaste_domain::message::Track;
use posthaste_domain::resource::Domain;
use posthaste_server::{PublicBins, ServerSettings};
use serde_json::{Map, Value, json};

use crate::rig::{Answer, Made, Rig, id, ids};

const THANKS: &str = r#"{"message":"Post received. Thanks!"}"#;

async fn anyone(rig: &Rig, method: &str, path: &str, body: &str) -> Answer {
    rig.raw(method, path, "", &[], body.to_owned()).await
}

/// A new bin's path.
async fn create(rig: &Rig) -> String {
    let made = anyone(rig, "GET", "/bin/api/new", "").await.expect(200);
    made["url"].as_str().and_then(|url| url.strip_prefix("http://posthaste.test")).expect("a URL of this server").to_owned()
}

async fn arrivals(rig: &Rig, path: &str) -> Vec<Value> {
    let list = anyone(rig, "GET", &path.replace("/bin/", "/bin/api/"), "").await.expect(200);
    list.as_array().expect("a list").clone()
}

// MAILGUN-182, MAILGUN-183, MAILGUN-184, MAILGUN-186, MAILGUN-190
#[tokio::test]
async fn anyone_makes_a_bin_and_sees_what_arrives() {
    let rig = Rig::new().await;
    let path = create(&rig).await;
    let token = path.strip_prefix("/bin/").expect("a path of bins");
    assert!(token.len() == 8 && token.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)), "{token}");
    for base in ["/bin", "/bin/"] {
        let redirect = anyone(&rig, "GET", base, "").await;
        let to = redirect.headers[header::LOCATION].to_str().expect("a path").to_owned();
        assert_eq!(redirect.status, 302);
        assert!(anyone(&rig, "GET", &to, "").await.text().contains("Nothing has arrived yet"), "{to}");
    }
    let body = "{\"a\": 1.0}\n";
    let thanks = rig.raw("POST", &path, "", &[("x-test", "1")], body).await;
    assert_eq!((thanks.status.as_u16(), thanks.text()), (200, THANKS));
    assert_eq!(thanks.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(anyone(&rig, "POST", &format!("{path}/v3/d.test/messages?x=1"), "to=a").await.text(), THANKS);
    for (method, below) in [("PUT", ""), ("DELETE", ""), ("GET", "/below"), ("PATCH", "/")] {
        assert_eq!(anyone(&rig, method, &format!("{path}{below}"), "").await.text(), THANKS, "{method} {below}");
    }
    let all = arrivals(&rig, &path).await;
    assert_eq!(all.len(), 6, "newest first");
    assert_eq!((&all[5]["method"], &all[5]["target"], &all[5]["body"]), (&json!("POST"), &json!("/"), &json!(body)));
    assert!(all[5]["headers"].as_array().expect("headers").contains(&json!(["x-test", "1"])) && all[5]["at"].is_string());
    assert_eq!((&all[4]["target"], &all[4]["body"]), (&json!("/v3/d.test/messages?x=1"), &json!("to=a")));
    let page = anyone(&rig, "GET", &path, "").await;
    assert!(
        page.text().contains("&quot;a&quot;: 1.0") && page.headers[header::CONTENT_TYPE].to_str().expect("a type").starts_with("text/html")
    );
    // It is a bin as any other: the native API lists it, and shows the same.
    let bins = rig.get("/bins").await.expect(200);
    let ours = bins["items"].as_array().expect("items").iter().find(|bin| bin["url"].as_str().is_some_and(|url| url.ends_with(&path)));
    let native = rig.get(&format!("/bins/{}/requests", id(ours.expect("the bin")))).await.expect(200);
    assert_eq!(native["items"], json!(all));
}

// MAILGUN-187, MAILGUN-188
#[tokio::test]
async fn a_full_bin_and_a_large_post_are_refused() {
    let rig = Rig::new().await;
    let path = create(&rig).await;
    let large = anyone(&rig, "POST", &path, &"x".repeat((512 << 10) + 1)).await;
    assert_eq!((large.status.as_u16(), large.json()), (413, json!({"message": "Post too large. Try again!"})));
    assert_eq!(anyone(&rig, "POST", &path, &"x".repeat(512 << 10)).await.text(), THANKS);
    for _ in 1..20 {
        assert_eq!(anyone(&rig, "POST", &path, "x").await.text(), THANKS);
    }
    let refused = anyone(&rig, "POST", &path, "the last").await;
    assert_eq!((refused.status.as_u16(), refused.json()), (429, json!({"message": "Too many posts. Create a new bin!"})));
    let all = arrivals(&rig, &path).await;
    assert!(all.len() == 20 && all.iter().all(|arrival| arrival["body"] != "the last"));
}

// MAILGUN-189
#[tokio::test]
async fn expired_and_deleted_bins_are_gone() {
    let rig = Rig::new().await;
    let sorry = json!({"message": "Sorry, Bin has expired or deleted. Create a new one."});
    let (deleted, expired) = (create(&rig).await, create(&rig).await);
    let removal = anyone(&rig, "DELETE", &format!("{}/delete", deleted.replace("/bin/", "/bin/api/")), "").await;
    assert!(removal.expect(200)["message"].is_string());
    assert_eq!(anyone(&rig, "POST", &expired, "").await.text(), THANKS);
    rig.clock.advance(Duration::from_secs(5 * 86_400 - 60));
    assert_eq!(anyone(&rig, "POST", &expired, "").await.text(), THANKS);
    rig.clock.advance(Duration::from_secs(60));
    for path in [&deleted, &expired, "/bin/0123abcd"] {
        for (method, path) in [("POST", path.to_owned()), ("GET", path.to_owned()), ("GET", path.replace("/bin/", "/bin/api/"))] {
            let answer = anyone(&rig, method, &path, "").await;
            assert_eq!((answer.status.as_u16(), answer.json()), (404, sorry.clone()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn strangers_cannot_make_bins_without_end() {
    let few = PublicBins { most: 3, ..PublicBins::default() };
    let rig = Rig::with(ServerSettings { public_bins: few, ..ServerSettings::default() }).await;
    let path = create(&rig).await;
    create(&rig).await;
    create(&rig).await;
    for target in ["/bin/api/new", "/bin/"] {
        assert_eq!(anyone(&rig, "GET", target, "").await.status, 429);
    }
    rig.post("/bins", json!({})).await.expect(201);
    anyone(&rig, "DELETE", &format!("{}/delete", path.replace("/bin/", "/bin/api/")), "").await.expect(200);
    create(&rig).await;

    let slow = PublicBins { made_per_minute: 2, ..PublicBins::default() };
    let rig = Rig::with(ServerSettings { public_bins: slow, ..ServerSettings::default() }).await;
    create(&rig).await;
    create(&rig).await;
    assert_eq!(anyone(&rig, "GET", "/bin/api/new", "").await.status, 429);
    rig.clock.advance(Duration::from_secs(60));
    create(&rig).await;

    let none = PublicBins { enabled: false, ..PublicBins::default() };
    let rig = Rig::with(ServerSettings { public_bins: none, ..ServerSettings::default() }).await;
    assert_eq!(anyone(&rig, "GET", "/bin/api/new", "").await.status, 404);
    assert_eq!(ids(&rig.get("/bins").await.expect(200)), [""; 0]);
}

// MAILGUN-53, MAILGUN-185, MAILGUN-191
#[tokio::test]
async fn webhooks_go_to_bins_beside_other_urls() {
    let rig = Rig::of(Made { is_real: true, ..Made::default() }).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let here = format!("http://{}", listener.local_addr().expect("an address"));
    let app = rig.app.clone();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(listener, app).await.expect("serves") });

    let workspace = rig.engine.workspaces()[0];
    let domain = Domain { name: "d.test".to_owned(), track: Track::default(), dkim: None, extra: Map::new() };
    rig.engine.create(workspace, domain).await.expect("a domain");
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("api:{}", rig.token));
    let authorization = format!("Basic {credentials}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let (bin, second) = (create(&rig).await, create(&rig).await);
    let native = rig.post("/bins", json!({})).await.expect(201);
    let native_path = native["url"].as_str().and_then(|url| url.strip_prefix("http://posthaste.test")).expect("a path");

    let tested = rig.raw("PUT", "/v3/domains/d.test/webhooks/clicked/test", "", &headers, format!("url={here}{bin}")).await.expect(200);
    assert_eq!(tested, json!({"code": null, "message": THANKS}));

    let form = format!("id=clicked&url={here}{bin}&url={here}{second}&url={here}{native_path}");
    let created = rig.raw("POST", "/v3/domains/d.test/webhooks", "", &headers, form).await.expect(200);
    assert_eq!(created["webhook"]["urls"].as_array().map(Vec::len), Some(3));
    let data = json!({"channel": "email", "message_id": "1@d.test", "recipient": "a@b.test", "domain": "d.test", "url": "https://a.test/"});
    let event = rig.publish("message.clicked", data).await;
    let all_delivered = |event: &Value| {
        let deliveries = event["deliveries"].as_array().expect("deliveries");
        deliveries.len() == 3 && deliveries.iter().all(|delivery| delivery["state"] == "delivered")
    };
    rig.until(&format!("/events/{event}"), all_delivered).await;
    let [arrival, _test] = &arrivals(&rig, &bin).await[..] else { panic!("the test and the delivery") };
    let body: Value = serde_json::from_str(arrival["body"].as_str().expect("a text")).expect("JSON");
    assert_eq!((&body["event-data"]["event"], &body["event-data"]["url"]), (&json!("clicked"), &json!("https://a.test/")));
    assert!(body["signature"]["signature"].is_string());
    assert_eq!(arrivals(&rig, &second).await.len(), 1);
}
