//! Deliveries and bulk replays.

use serde_json::{Value, json};

use crate::rig::Rig;

#[tokio::test]
async fn deliveries_are_filtered_shown_whole_and_sent_again() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/deliveries").await.expect(200).has("Nothing was delivered yet").is_inert();
    browser.get("/console/deliveries?scheduled=true").await.expect(200).has("Nothing is scheduled").is_inert();
    rig.target("Good </script>", "https://example.com/ok", &["order.*"]).await;
    let bad = rig.target("Bad", "https://example.com/status/500", &["order.*"]).await;
    rig.publish("order.paid", json!({"n": "<script>alert(1)</script>"})).await;
    rig.receiver.wait_for(2).await;
    let page = browser.get_with("/console/deliveries", "status_refused").await;
    page.has("Good &lt;/script&gt;").is_inert();
    browser.get_with("/console/deliveries?state=delivered", "/console/deliveries/dlv_").await.lacks("status_refused");
    let page = browser.get(&format!("/console/deliveries?target_id={bad}&type=order.paid")).await.expect(200);
    page.has("(500)").lacks("</svg>Delivered");
    // It waits for its second attempt.
    let page = browser.get("/console/deliveries?scheduled=true").await.expect(200);
    page.has("(500)").lacks("</svg>Delivered").is_inert();
    browser.get("/console/deliveries?from=yesterday").await.expect(200).has("aria-invalid=\"true\"").is_inert();

    let all = rig.api("GET", "/deliveries", Value::Null).await;
    let with = |state: &str| {
        let one = all["items"].as_array().expect("a list").iter().find(|one| one["state"] == state).expect("one");
        format!("/console/deliveries/{}", one["id"].as_str().expect("an id"))
    };
    let (done, waiting) = (with("delivered"), with("queued"));
    let page = browser.get(&done).await.expect(200);
    page.has("Delivery of order.paid").has("Attempt 1").has("&lt;script&gt;alert(1)").has("Good &lt;/script&gt;").is_inert();
    assert_eq!(browser.post(&format!("{done}/resend"), &[]).await.to(), format!("{done}?done=resent"));
    rig.receiver.wait_for(3).await;
    browser.get_with(&done, "Attempt 2").await.is_inert();
    assert_eq!(browser.post(&format!("{waiting}/cancel"), &[]).await.to(), format!("{waiting}?done=cancelled"));
    browser.get(&waiting).await.expect(200).has("Cancelled").has("Resend").is_inert();
}

#[tokio::test]
async fn a_replay_is_counted_before_it_starts_and_watched_until_it_ends() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/replays").await.expect(200).has("No replay yet").is_inert();
    let target = rig.target("Shop", "https://example.com/ok", &["*"]).await;
    for n in 0..5 {
        rig.publish("order.paid", json!({ "n": n })).await;
    }
    rig.receiver.wait_for(5).await;
    browser.get_with("/console/deliveries?state=delivered", "5 deliveries").await;
    let new = "/console/replays/new";
    browser
        .get(&format!("{new}?target_id={target}"))
        .await
        .expect(200)
        .has(&format!("value=\"{target}\" selected"))
        .lacks("Start")
        .is_inert();
    browser.post(new, &[]).await.expect(422).has("role=\"alert\"").is_inert();
    let none = browser.post(new, &[("states", "failed")]).await.expect(200);
    none.has("nothing to send again").lacks("name=\"start\"").is_inert();
    let fields = [("states", "delivered"), ("target_id", target.as_str()), ("event_type", "order.paid")];
    let page = browser.post(new, &fields).await.expect(200);
    page.has("<strong>5 deliveries</strong>").has("name=\"start\"").is_inert();
    assert_eq!(rig.receiver.bodies.lock().len(), 5, "counting sends nothing");
    let (_, counted) = page.text.split_once("name=\"counted\" value=\"").expect("what was counted");
    let counted = counted.split('"').next().unwrap_or_default().replace("&quot;", "\"");
    let (_, request) = page.text.split_once("name=\"request\" value=\"").expect("a name of the request");
    let request = request.split('"').next().unwrap_or_default();
    let mut start = fields.to_vec();
    start.extend([("start", "true"), ("counted", counted.as_str()), ("request", request)]);
    // Another choice than the one that was counted is counted first.
    let other = [&start[..], &[("states", "failed")]].concat();
    browser.post(new, &other).await.expect(200).has("name=\"start\"");
    assert_eq!(rig.receiver.bodies.lock().len(), 5, "nothing was started");
    let address = browser.post(new, &start).await.to().strip_suffix("?done=started").expect("it started").to_owned();
    rig.receiver.wait_for(10).await;
    let page = browser.get_with(&address, "Done").await;
    page.has("Shop").has("5 of 5").lacks("Stop").is_inert();
    let again = browser.post(new, &start).await;
    assert_eq!(again.to(), format!("{address}?done=started"), "whoever goes back and sends the form again starts nothing new");
    assert_eq!(rig.receiver.bodies.lock().len(), 10);
    browser.get("/console/replays").await.expect(200).has(&address).has("delivered deliveries of order.paid").is_inert();
    // What is done cannot be stopped; nobody is left on an error page for being late.
    assert_eq!(browser.post(&format!("{address}/cancel"), &[]).await.to(), address);
}
