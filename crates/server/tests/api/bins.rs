//! Request bins.

use std::time::Duration;

use http::header;
use serde_json::{Value, json};

use crate::rig::{Made, Rig, id};

fn path_of(bin: &Value) -> String {
    bin["url"].as_str().and_then(|url| url.strip_prefix("http://posthaste.test")).expect("a URL of this server").to_owned()
}

#[tokio::test]
async fn a_bin_takes_anything_and_shows_it() {
    let rig = Rig::new().await;
    let bin = rig.post("/bins", json!({"name": "try", "status": 418})).await.expect(201);
    let path = path_of(&bin);
    for (method, below, body) in [("POST", "", "hello"), ("GET", "/a/b?x=%3Cscript%3E&y='", ""), ("BREW", "/", "\u{1F600}")] {
        let answer = rig.raw(method, &format!("{path}{below}"), "", &[("x-test", "<b>")], body).await;
        assert_eq!(answer.status, 418);
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
    let list = rig.get(&format!("/bins/{}/requests", id(&bin))).await.expect(200);
    let items = list["items"].as_array().expect("items");
    assert_eq!(items.len(), 3);
    assert_eq!((&items[0]["method"], &items[0]["body"]), (&json!("BREW"), &json!("\u{1F600}")));
    assert_eq!((&items[1]["target"], &items[2]["body"]), (&json!("/a/b?x=%3Cscript%3E&y='"), &json!("hello")));
    assert_eq!(items[2]["ip"], "192.0.2.7");
    assert!(items[2]["headers"].as_array().expect("headers").contains(&json!(["x-test", "<b>"])));
    let page = rig.raw("GET", &format!("{path}/_"), "", &[], "").await;
    assert!(page.text().contains("hello") && !page.text().contains("<script") && page.text().contains("&lt;b&gt;"));
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
    assert!(policy.contains("default-src 'none'") && !policy.contains("script"));
    assert_eq!(page.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let json = rig.raw("GET", &format!("{path}/_.json"), "", &[], "").await.expect(200);
    assert_eq!(json["items"], list["items"]);
}

#[tokio::test]
async fn a_bin_pages_clears_and_keeps_the_last() {
    let settings = posthaste_server::ServerSettings { bin_keep: 5, max_bin_body_bytes: 10, ..Default::default() };
    let rig = Rig::with(settings).await;
    let bin = rig.post("/bins", json!({})).await.expect(201);
    let (path, requests) = (path_of(&bin), format!("/bins/{}/requests", id(&bin)));
    for n in 0..8 {
        rig.raw("POST", &path, "", &[], n.to_string()).await.expect(200);
    }
    let first = rig.get(&format!("{requests}?limit=3")).await.expect(200);
    let second = rig.get(&format!("{requests}?limit=3&cursor={}", first["next"].as_str().expect("more"))).await.expect(200);
    let bodies = |list: &Value| list["items"].as_array().expect("items").iter().map(|item| item["body"].clone()).collect::<Vec<_>>();
    assert_eq!((bodies(&first), bodies(&second)), (vec![json!("7"), json!("6"), json!("5")], vec![json!("4"), json!("3")]));
    assert!(second["next"].is_null());
    let large = rig.raw("POST", &path, "", &[], "12345678901").await;
    assert_eq!((large.problem().0, large.problem().1.as_str()), (413, "body_too_large"));
    rig.call("DELETE", &requests, Value::Null).await.expect(204);
    assert!(bodies(&rig.get(&requests).await.expect(200)).is_empty());
}

#[tokio::test]
async fn a_bin_takes_what_is_no_text_and_what_browsers_ask() {
    let rig = Rig::new().await;
    let bin = rig.post("/bins", json!({"status": 500})).await.expect(201);
    let path = path_of(&bin);
    let bytes = rig.raw("PUT", &format!("{path}/%ff%00//x"), "", &[], vec![0xff, 0x00, 0x7b]).await;
    assert_eq!((bytes.status.as_u16(), bytes.json()), (500, json!({"ok": false, "number": 1})));
    let head = rig.raw("HEAD", &path, "", &[], "").await;
    assert!(head.status == 500 && head.bytes.is_empty());
    // A preflight is answered whatever the bin's status, and not kept; any other OPTIONS request is.
    let headers = [
        ("origin", "https://example.com"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-a, authorization"),
    ];
    let preflight = rig.raw("OPTIONS", &path, "", &headers, "").await;
    assert_eq!((preflight.status.as_u16(), &preflight.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN]), (204, &"*".parse().expect("a value")));
    assert_eq!(preflight.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "PUT");
    assert_eq!(preflight.headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-a, authorization");
    assert_eq!(rig.raw("OPTIONS", &path, "", &[], "").await.status, 500);
    let list = rig.get(&format!("/bins/{}/requests?limit=1000", id(&bin))).await.expect(200);
    let items = list["items"].as_array().expect("items");
    assert_eq!(items.iter().map(|item| item["method"].clone()).collect::<Vec<_>>(), ["OPTIONS", "HEAD", "PUT"]);
    assert_eq!((&items[2]["target"], &items[2]["body_base64"]), (&json!("/%ff%00//x"), &json!("/wB7")));
    assert!(items[1].get("body_base64").is_none());
}

// What a bin holds is bounded in bytes too.
#[tokio::test]
async fn a_bin_keeps_what_it_has_room_for() {
    let settings = posthaste_server::ServerSettings { bin_keep_bytes: 2500, ..Default::default() };
    let rig = Rig::with(settings).await;
    let bin = rig.post("/bins", json!({})).await.expect(201);
    for n in 0..5 {
        rig.raw("POST", &path_of(&bin), "", &[], n.to_string().repeat(1000)).await.expect(200);
    }
    let list = rig.get(&format!("/bins/{}/requests", id(&bin))).await.expect(200);
    assert_eq!(list["items"].as_array().expect("items").iter().map(|item| item["number"].clone()).collect::<Vec<_>>(), [5, 4]);
}

#[tokio::test]
async fn too_many_bins_are_refused() {
    let mut made_of = Made::default();
    made_of.engine.max_bins = 2;
    let rig = Rig::of(made_of).await;
    let first = rig.post("/bins", json!({})).await.expect(201);
    rig.post("/bins", json!({})).await.expect(201);
    let refused = rig.post("/bins", json!({})).await;
    assert_eq!((refused.problem().0, refused.problem().1.as_str()), (409, "limit_reached"));
    rig.call("PATCH", &format!("/bins/{}", id(&first)), json!({"name": "still mine"})).await.expect(200);
    rig.call("DELETE", &format!("/bins/{}", id(&first)), Value::Null).await.expect(204);
    rig.post("/bins", json!({})).await.expect(201);
}

// An expired bin is emptied, says for a while that it has expired, and is deleted then.
#[tokio::test]
async fn expired_bins_go_away() {
    let mut made_of = Made::default();
    made_of.engine.retention_every = Duration::from_millis(5);
    made_of.engine.bin_grace = Duration::from_secs(3600);
    let rig = Rig::of(made_of).await;
    let (short, long) = (rig.post("/bins", json!({"expires_in": "1m"})).await.expect(201), rig.post("/bins", json!({})).await.expect(201));
    for bin in [&short, &long] {
        rig.raw("POST", &path_of(bin), "", &[], "x").await.expect(200);
    }
    let numbers: Vec<i64> =
        rig.engine.list::<posthaste_domain::resource::Bin>(rig.engine.workspaces()[0]).iter().map(|bin| bin.number).collect();
    let caught = async |number| rig.engine.bins().list(number, None, 10).await.expect("a list").len();
    rig.clock.advance(Duration::from_secs(61));
    while caught(numbers[0]).await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(caught(numbers[1]).await, 1);
    assert_eq!(rig.raw("POST", &path_of(&short), "", &[], "x").await.problem().1, "bin_expired");
    rig.clock.advance(Duration::from_secs(3600));
    rig.until("/bins", |list| list["items"].as_array().is_some_and(|items| items.len() == 1)).await;
    assert_eq!(rig.raw("POST", &path_of(&short), "", &[], "x").await.problem().1, "not_found");
    // A bin that is deleted by hand takes along what it caught.
    rig.call("DELETE", &format!("/bins/{}", id(&long)), Value::Null).await.expect(204);
    assert_eq!(caught(numbers[1]).await, 0);
}

#[tokio::test]
async fn bins_expire_and_cannot_be_guessed() {
    let rig = Rig::new().await;
    let bin = rig.post("/bins", json!({"expires_in": "1h"})).await.expect(201);
    let path = path_of(&bin);
    rig.raw("POST", &path, "", &[], "x").await.expect(200);
    for wrong in [&path[..path.len() - 1], "/bin/1", "/bin/zzzzzzzzzzzzzzzzzzzz-x", "/bin/-"] {
        assert_eq!(rig.raw("POST", wrong, "", &[], "x").await.problem().1, "not_found", "{wrong}");
    }
    for bad in ["31d", "0s", "soon"] {
        assert_eq!(rig.post("/bins", json!({"expires_in": bad})).await.problem().2.as_deref(), Some("expires_in"));
    }
    assert_eq!(rig.post("/bins", json!({"status": 99})).await.problem().2.as_deref(), Some("status"));
    rig.clock.advance(Duration::from_secs(3601));
    assert_eq!(rig.raw("POST", &path, "", &[], "x").await.problem().1, "bin_expired");
    assert_eq!(rig.raw("GET", &format!("{path}/_"), "", &[], "").await.status, 410);
    assert_eq!(rig.get(&format!("/bins/{}/requests", id(&bin))).await.problem().0, 410);
}
