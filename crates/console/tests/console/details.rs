//! Details of many pages, each of which somebody stumbled over.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{PASSWORD, Rig};

#[tokio::test]
async fn times_without_a_script_are_utc() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let fields = [("channel", "sms"), ("from", "+15550100"), ("to", "+15550123"), ("text", "Later"), ("deliver_at", "2025-10-10T10:00")];
    let to = browser.post("/console/messages/new", &fields).await.to().to_owned();
    assert!(to.starts_with("/console/messages/msg_"), "{to}");
    let scheduled = rig.api("GET", "/deliveries?scheduled=true", Value::Null).await["items"][0].clone();
    assert_eq!(scheduled["next_attempt_at"], "2025-10-10T10:00:00.000Z", "{scheduled}");
}

#[tokio::test]
async fn a_mistake_in_a_payload_has_its_place_in_what_was_typed() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let mistaken = [("type", "order.paid"), ("data", "{\n  \"a\": }")];
    for path in ["/console/inbox/send", "/console/start/event"] {
        let page = browser.post(path, &mistaken).await.expect(422);
        page.has("(line 2, column 8)").has("id=\"f-data-error\"").lacks("at line").is_inert();
    }
    // What is typed does not get out of its place.
    browser
        .post("/console/inbox/send", &[("type", "a"), ("data", "1},\"deliver_at\":\"2030-01-01T00:00:00Z\",\"x\":{}")])
        .await
        .expect(422);
    assert_eq!(rig.api("GET", "/events", Value::Null).await["items"], json!([]));
}

#[tokio::test]
async fn problems_name_fields_in_words() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let fields = [("name", "Mine"), ("channel", "webhook"), ("settings.url", "nowhere"), ("events", "all")];
    let page = browser.post("/console/targets/new", &fields).await.expect(422);
    page.has("<strong>URL: must be an http or https URL</strong>").has("<span>Must be an http or https URL</span>");
    page.lacks("settings.url: ").is_inert();
}

#[tokio::test]
async fn what_was_done_is_said_once() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.get("/console/overview?over=7d&done=saved").await.expect(200);
    page.has("Saved.").has("/console/overview?over=1h").lacks("done=saved");
}

#[tokio::test]
async fn the_inbox_can_be_filtered_by_every_way_in() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let fields = [("channel", "sms"), ("from", "+15550100"), ("to", "+15550123"), ("text", "Hello"), ("test", "true")];
    browser.post("/console/messages/new", &fields).await.to();
    let page = browser.get_with("/console/inbox?source=carrier", "message.delivered").await;
    for source in ["api", "inbox", "console", "mailgun", "msgine", "carrier", "tracking", "system"] {
        page.has(&format!("<option value=\"{source}\""));
    }
}

#[tokio::test]
async fn sending_many_again_begins_with_the_filter_of_the_list() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.get("/console/deliveries?state=delivered&type=order.paid").await.expect(200);
    page.has("/console/replays/new?state=delivered&amp;type=order.paid");
    let chosen = |state: &str| format!("value=\"{state}\" checked");
    let page = browser.get("/console/replays/new?state=delivered&type=order.paid").await.expect(200);
    page.has(&chosen("delivered")).lacks(&chosen("failed")).has("value=\"order.paid\"");
    // What is still under way cannot be sent again.
    browser.get("/console/replays/new?state=queued").await.expect(200).has(&chosen("failed"));
}

#[tokio::test]
async fn a_set_up_link_that_was_used_leads_to_the_log_in() {
    let rig = Rig::new().await;
    let token = rig.state.people().new_setup_token().expect("nobody is there yet");
    let fields =
        [("token", token.as_str()), ("name", "Ada"), ("email", "ada@example.com"), ("password", PASSWORD), ("organisation", "Acme")];
    assert_eq!(rig.browser().post("/console/setup", &fields).await.to(), "/console/");
    let mut late = rig.browser();
    assert_eq!(late.post("/console/setup", &fields).await.to(), "/console/setup");
    assert_eq!(late.get("/console/setup").await.to(), "/console/login");
    late.get("/console/login").await.expect(200);
}

#[tokio::test]
async fn a_server_that_cannot_write_still_logs_the_browser_out() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.state.engine.shutdown(Duration::from_secs(5)).await;
    let page = browser.post("/console/logout", &[]).await.expect(503);
    page.has("This browser has forgotten the session").is_inert();
    let cookie = page.headers["set-cookie"].to_str().expect("text");
    assert!(cookie.contains("Max-Age=0"), "{cookie}");
}

#[tokio::test]
async fn the_overview_tells_what_a_disabled_target_misses() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.get("/console/overview").await.expect(200);
    page.has("Nothing is attached yet").is_inert();
    rig.target("Gone", "https://example.com/status/410", &["*"]).await;
    rig.publish("order.paid", json!({})).await;
    let page = browser.get_with("/console/overview", "1 target is disabled").await;
    page.has("events that come meanwhile are not for it").lacks("Nothing is attached yet").is_inert();
}

#[tokio::test]
async fn a_long_payload_is_shown_by_its_beginning_and_is_a_file() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.target("Shop", "https://example.com/hook", &["long"]).await;
    let long = rig.publish("long", json!("a".repeat(600 << 10))).await;
    let page = browser.get(&format!("/console/inbox/{long}")).await.expect(200);
    let file = format!("/console/inbox/{long}/payload");
    page.has("The first 512.0 KiB of 600.0 KiB are shown.").has(&format!("href=\"{file}\"")).is_inert();
    let page = browser.get(&file).await.expect(200);
    assert_eq!(page.text, format!("\"{}\"", "a".repeat(600 << 10)));
    assert_eq!(page.headers["content-disposition"], format!("attachment; filename=\"{long}.json\""));
    let delivery = rig.api("GET", "/deliveries", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    browser.get(&format!("/console/deliveries/{delivery}")).await.expect(200).has(&format!("href=\"{file}\""));
    // What is shown whole does not say that there is more.
    let whole = rig.publish("whole", json!("b".repeat(300 << 10))).await;
    browser.get(&format!("/console/inbox/{whole}")).await.expect(200).lacks("b&quot;…").lacks("are shown.");
}
