//! The first visit: from an empty installation to a first delivery.

use serde_json::{Value, json};

use crate::rig::{Rig, read_until};

#[tokio::test]
async fn the_guide_leads_from_nothing_to_a_delivery() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    assert_eq!(browser.get("/console/").await.to(), "/console/start");
    browser.get("/console/start").await.expect(200).has("Create a key").has("Send a first event").is_inert();

    // A key, shown this once, and put into the line to copy.
    let page = browser.post("/console/start/key", &[]).await.expect(200);
    let token = page.text.split("Bearer ").nth(1).and_then(|rest| rest.split('&').next()).expect("a token").to_owned();
    assert!(token.starts_with("phk_"), "{token}");
    page.has("http://posthaste.test/posthaste/v1/events").is_inert();
    browser.get("/console/start").await.lacks(&token);

    // What is wrong is said at the field, and what was typed is still there.
    let page = browser.post("/console/start/event", &[("type", "order.created"), ("data", "{\"a\": }")]).await.expect(422);
    page.has("role=\"alert\"").has("{&quot;a&quot;: }").is_inert();

    // The event arrives in the list that is open.
    let mut stream = browser.open("/console/inbox/live").await.into_body();
    read_until(&mut stream, "retry: 1000").await;
    let page = browser.post("/console/start/event", &[("type", "order.created"), ("data", "{\"total\": 42.50}")]).await;
    assert_eq!(page.to(), "/console/start");
    let row = read_until(&mut stream, "</tr>").await;
    assert!(row.contains("event: event\nid: ") && row.contains("order.created") && row.contains("42.50"), "{row}");
    browser.get("/console/start").await.expect(200).has("42.50").is_inert();

    // A target by its URL, refused at its field first.
    let page = browser.post("/console/start/target", &[("settings.url", "ftp://x")]).await.expect(422);
    page.has("aria-invalid=\"true\"").has("must be an http").has("value=\"ftp://x\"").is_inert();
    assert_eq!(rig.api("GET", "/targets", Value::Null).await["items"], json!([]));
    let page = browser.post("/console/start/target", &[("settings.url", "https://example.com/hook")]).await;
    assert_eq!(page.to(), "/console/start");
    browser.post("/console/start/event", &[("type", "order.created"), ("data", "{\"n\": 1.0}")]).await.to();
    let sent = rig.receiver.wait_for(1).await;
    assert!(String::from_utf8_lossy(&sent[0]).contains("1.0"), "{sent:?}");
    assert_eq!(browser.get("/console/").await.to(), "/console/overview");
}

#[tokio::test]
async fn a_target_without_a_receiver_gets_a_bin() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.post("/console/start/target", &[("settings.url", "")]).await.to();
    let targets = rig.api("GET", "/targets", Value::Null).await;
    let url = targets["items"][0]["settings"]["url"].as_str().expect("a URL");
    assert!(url.starts_with("http://posthaste.test/bin/"), "{url}");
    // A second try takes the bin that the first one has left.
    browser.post("/console/start/target", &[("settings.url", "")]).await.to();
    assert_eq!(rig.api("GET", "/bins", Value::Null).await["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_overview_counts_shows_trouble_and_is_live() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/overview").await.expect(200).has("All is well").is_inert();
    let target = rig.target("Warehouse <script>alert(1)</script>", "https://example.com/ok", &["order.*"]).await;
    let mut stream = browser.open("/console/overview/live?over=1h").await.into_body();
    read_until(&mut stream, "All is well").await;
    rig.publish("order.paid", json!({"n": 1})).await;
    rig.receiver.wait_for(1).await;
    read_until(&mut stream, "1 <small>events").await;
    rig.api("POST", &format!("/targets/{target}/pause"), json!({"reason": "<script>why"})).await;
    let part = read_until(&mut stream, "is paused").await;
    assert!(part.contains("Warehouse &lt;script&gt;") && !part.contains("<script"), "{part}");
    for over in ["1h", "24h", "7d", "30d", "nonsense"] {
        let page = browser.get(&format!("/console/overview?over={over}")).await.expect(200);
        page.has("1 <small>events").has("&lt;script&gt;why").is_inert();
    }
}
