//! Targets: made, listed with how they fare, tested, changed, paused, deleted; their secrets and subscriptions.

use posthaste_domain::resource::{Target, TemplateDoc};
use posthaste_engine::{Desk, Edit};
use serde_json::{Value, json};

use crate::rig::{ANSWER, Browser, Rig, fields};

const FORM: [(&str, &str); 5] =
    [("name", "Orders <script>"), ("channel", "webhook"), ("settings.url", "https://example.com/ok"), ("events", "all"), ("retry", "")];

/// Makes a target by its form; answers the address of its page.
async fn make(browser: &mut Browser, url: &str) -> String {
    let fields: Vec<(&str, &str)> = FORM.iter().map(|(name, value)| (*name, if *name == "settings.url" { url } else { value })).collect();
    let page = browser.post("/console/targets/new", &fields).await;
    page.to().strip_suffix("?done=created").expect("it was made").to_owned()
}

#[tokio::test]
async fn a_target_is_made_with_what_it_gets_and_its_outcome_is_listed() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/targets").await.expect(200).has("No target yet").has("/console/targets/new").is_inert();
    let page = browser.get("/console/targets/new").await.expect(200);
    page.has("All event types")
        .has("value=\"all\" checked")
        .has("Messages of this server")
        .has("data-when-channel=\"email sms\"")
        .is_inert();
    // What was typed stays, and the problem is at its field.
    let mut fields = FORM.to_vec();
    fields[2].1 = "ftp://nowhere";
    fields.push(("policy.timeout", "15"));
    let page = browser.post("/console/targets/new", &fields).await.expect(422);
    page.has("value=\"ftp://nowhere\"")
        .has("value=\"15\"")
        .has("Orders &lt;script&gt;")
        .has("aria-invalid=\"true\"")
        .has("role=\"alert\"")
        .is_inert();
    assert_eq!(rig.api("GET", "/targets", Value::Null).await["items"], json!([]));

    let address = make(&mut browser, "https://example.com/ok").await;
    browser.get("/console/targets").await.expect(200).has("Pending").has("Orders &lt;script&gt;").has(&address).is_inert();
    rig.publish("order.paid", json!({"n": 1})).await;
    browser.get_with("/console/targets", "</svg>OK").await.lacks("</svg>Pending").is_inert();
    let bad = make(&mut browser, "https://example.com/status/500").await;
    rig.publish("order.paid", json!({"n": 2})).await;
    browser.get_with("/console/targets", "</svg>Failed").await.is_inert();
    let page = browser.get_with(&bad, "status_refused").await;
    page.has("Delivery log").has("(500)").has("All event types").has("sse-connect").is_inert();
    let page = browser.get("/console/targets?search=ORDERS&status=paused").await.expect(200);
    page.has("Nothing found").is_inert();
}

#[tokio::test]
async fn a_test_shows_the_request_before_and_the_answer_after() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let address = make(&mut browser, "https://example.com/status/500").await;
    let test = format!("{address}/test");
    let page = browser.get(&test).await.expect(200);
    page.has("Submit test").has("This is a test from Posthaste").has("nothing was sent yet").lacks("id=\"response\"").is_inert();
    assert!(rig.receiver.bodies.lock().is_empty(), "looking sends nothing");
    let shown = browser.post(&test, &[("type", "order.paid"), ("data", "{\"n\": 1.50}"), ("show", "true")]).await.expect(200);
    shown.has("1.50").lacks("id=\"response\"").is_inert();
    assert!(rig.receiver.bodies.lock().is_empty());
    let page = browser.post(&test, &[("type", "order.paid"), ("data", "{\"n\": 1.50}")]).await.expect(200);
    page.has("id=\"response\"").has("status 500").has("alert('response')").is_inert();
    assert!(!page.text.contains(ANSWER));
    assert_eq!(rig.receiver.bodies.lock().len(), 1);
    page.has("value=\"true\" formnovalidate");
    let page = browser.post(&test, &[("data", "{broken")]).await.expect(422);
    page.has("{broken").has("role=\"alert\"").is_inert();
    // A payload is one document: nothing is smuggled into the request around it.
    let page = browser.post(&test, &[("data", "1,\"type\":\"order.other\"")]).await.expect(422);
    page.has("aria-invalid=\"true\"").has("This is not JSON").is_inert();
    assert_eq!(rig.receiver.bodies.lock().len(), 1);
}

#[tokio::test]
async fn a_target_is_changed_paused_and_deleted_after_a_question() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let address = make(&mut browser, "https://example.com/ok").await;
    let id = address.rsplit('/').next().expect("an id").to_owned();
    let edit = format!("{address}/edit");
    browser.get(&edit).await.expect(200).has("value=\"https://example.com/ok\"").is_inert();
    let fields = [
        ("version", "1"),
        ("name", "Renamed"),
        ("channel", "webhook"),
        ("settings.url", "https://example.com/other"),
        ("policy.timeout", "7s"),
        ("retry", "delays"),
        ("policy.retry.delays", "5s 1m"),
        ("policy.rate.limit", "5"),
        ("policy.rate.per", "1s"),
    ];
    assert_eq!(browser.post(&edit, &fields).await.to(), format!("{address}?done=saved"));
    let target = rig.api("GET", &format!("/targets/{id}"), Value::Null).await;
    let policy = json!({"timeout": "7s", "retry": {"delays": ["5s", "1m"]}, "rate": {"limit": 5, "per": "1s"}});
    assert_eq!((&target["name"], &target["policy"]), (&json!("Renamed"), &policy));
    // A form that was open meanwhile does not overwrite it.
    let mut late = fields.to_vec();
    late[1].1 = "Late";
    browser.post(&edit, &late).await.expect(422).has("value=\"Late\"").has("role=\"alert\"").is_inert();

    browser.get(&format!("{address}/pause")).await.expect(200).has("held").is_inert();
    assert_eq!(browser.post(&format!("{address}/pause"), &[("reason", "</p><b>moving")]).await.to(), format!("{address}?done=paused"));
    browser.get(&address).await.expect(200).has("&lt;/p&gt;&lt;b&gt;moving").has("Resume").is_inert();
    browser.get("/console/targets?status=paused").await.expect(200).has("Renamed");
    assert_eq!(browser.post(&format!("{address}/resume"), &[]).await.to(), format!("{address}?done=resumed"));

    let delete = format!("{address}/delete");
    browser.get(&delete).await.expect(200).has("Delete Renamed?").has("Keep it").is_inert();
    browser.get(&address).await.expect(200);
    assert_eq!(browser.post(&delete, &[]).await.to(), "/console/targets?done=deleted");
    browser.get(&address).await.expect(404);
    assert_eq!(rig.api("GET", "/subscriptions", Value::Null).await["items"], json!([]));
}

#[tokio::test]
async fn secrets_are_shown_on_demand_and_rotated_with_overlap() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let address = make(&mut browser, "https://example.com/ok").await;
    browser.get(&address).await.expect(200).lacks("whsec_");
    let path = format!("{address}/secret");
    let page = browser.get(&path).await.expect(200);
    page.has("whsec_").lacks("An older one signs").is_inert();
    browser.post(&path, &[("secret", "short")]).await.expect(422).has("aria-invalid=\"true\"").is_inert();
    assert_eq!(browser.post(&path, &[("asymmetric", "true")]).await.to(), format!("{path}?done=rotated"));
    browser.get(&path).await.expect(200).has("whsk_").has("whpk_").has("An older one signs beside it until").is_inert();
}

#[tokio::test]
async fn subscriptions_are_picked_from_groups_changed_and_deleted() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.api("POST", "/event-types", json!({"name": "order.paid", "group": "Shop <b>"})).await;
    rig.api("POST", "/event-types", json!({"name": "order.sent", "group": "Shop <b>"})).await;
    let mut fields = FORM.to_vec();
    fields[3].1 = "none";
    let address = browser.post("/console/targets/new", &fields).await.to().split('?').next().expect("a path").to_owned();
    browser.get(&address).await.expect(200).has("It gets nothing yet").is_inert();
    let new = format!("{address}/subscriptions/new");
    browser.get(&new).await.expect(200).has("Shop &lt;b&gt;").has("value=\"order.paid\"").has("value=\"message.failed\"").is_inert();
    // Nothing picked, and no JSON: said at the fields.
    browser.post(&new, &[("events", "chosen")]).await.expect(422).has("role=\"alert\"").is_inert();
    let page = browser.post(&new, &[("events", "all"), ("filter", "{nothing")]).await.expect(422);
    page.has("{nothing").has("aria-invalid=\"true\"").is_inert();
    let fields = [
        ("events", "chosen"),
        ("event_types_groups", "Shop <b>"),
        ("event_types", "message.failed"),
        ("event_names", "user.*\r\n"),
        ("filter", "{\"n\": {\"$gt\": 1}}"),
        ("enabled", "true"),
    ];
    assert_eq!(browser.post(&new, &fields).await.to(), format!("{address}?done=created"));
    let all = rig.api("GET", "/subscriptions", Value::Null).await;
    let one = &all["items"][0];
    assert_eq!(one["event_types"], json!(["order.paid", "order.sent", "message.failed", "user.*"]));
    assert_eq!((&one["filter"], &one["enabled"]), (&json!({"n": {"$gt": 1}}), &json!(true)));
    let edit = format!("{address}/subscriptions/{}", one["id"].as_str().expect("an id"));
    browser.get(&edit).await.expect(200).has("value=\"order.paid\" checked").has("user.*").has("&quot;$gt&quot;: 1").is_inert();
    assert_eq!(browser.post(&edit, &[("events", "all"), ("enabled", "true")]).await.to(), format!("{address}?done=saved"));
    browser.get(&address).await.expect(200).has("All event types").is_inert();
    // Under another target it is not there: saving there would move it.
    let other = make(&mut browser, "https://example.com/other").await;
    let wrong = format!("{other}/subscriptions/{}", one["id"].as_str().expect("an id"));
    browser.get(&wrong).await.expect(404);
    browser.post(&wrong, &[("events", "all"), ("enabled", "true")]).await.expect(404);
    browser.get(&format!("{wrong}/delete")).await.expect(404);
    browser.post(&format!("{wrong}/delete"), &[]).await.expect(404);
    let now = rig.api("GET", &format!("/subscriptions/{}", one["id"].as_str().expect("an id")), Value::Null).await;
    assert_eq!(now["target_id"], one["target_id"]);
    browser.get(&format!("{edit}/delete")).await.expect(200).has("Keep it").is_inert();
    assert_eq!(browser.post(&format!("{edit}/delete"), &[]).await.to(), format!("{address}?done=deleted"));
    browser.get(&address).await.expect(200).has("It gets nothing yet");
}

// What a channel keeps as a secret is shown nowhere; a form that is saved as it came leaves it as it is.
#[tokio::test]
async fn secrets_of_settings_are_stars_and_stay() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let mut made = FORM.to_vec();
    made.extend([
        ("settings.headers", "X-Team: blue\r\nX-Api-Key: first-s3cret"),
        ("auth", "bearer"),
        ("settings.auth.bearer", "other-s3cret"),
    ]);
    let address = browser.post("/console/targets/new", &made).await.to().split('?').next().expect("a path").to_owned();
    let stored = |rig: &Rig| {
        let id = address.rsplit('/').next().expect("an id");
        let found = rig.state.engine.workspaces().into_iter().find_map(|workspace| rig.state.engine.get::<Target>(workspace, id));
        found.expect("the target").doc.settings.clone()
    };
    let edit = format!("{address}/edit");
    for path in [&address, &edit, &"/console/targets".to_owned(), &"/console/audit".to_owned()] {
        browser.get(path).await.expect(200).lacks("s3cret").is_inert();
    }
    let page = browser.get(&edit).await.expect(200);
    page.has("X-Api-Key: ********").has("X-Team: blue").has("value=\"********\"");
    let form = fields(&page.text, &edit);
    let sent = |changes: &[(&str, &str)]| {
        let value = |name: &str| changes.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let own = form.iter().filter(|(name, _)| name != "csrf" && name != "version");
        own.map(|(name, old)| (name.clone(), value(name).unwrap_or_else(|| old.clone()))).collect::<Vec<_>>()
    };
    for (changes, key, bearer) in [
        (vec![("name", "Renamed")], "first-s3cret", "other-s3cret"),
        (vec![("settings.auth.bearer", "third-s3cret")], "first-s3cret", "third-s3cret"),
        (vec![("settings.headers", "X-Team: red\r\nX-Api-Key: ********")], "first-s3cret", "third-s3cret"),
        (vec![("settings.headers", "X-Api-Key: fourth-s3cret")], "fourth-s3cret", "third-s3cret"),
    ] {
        let sent = sent(&changes);
        let all: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(browser.post(&edit, &all).await.to(), format!("{address}?done=saved"), "{changes:?}");
        let now = stored(&rig);
        assert_eq!((&now["headers"]["X-Api-Key"], &now["auth"]["bearer"]), (&json!(key), &json!(bearer)), "{changes:?}");
        browser.get(&edit).await.expect(200).lacks("s3cret");
    }
    // Stars where nothing is stored are no secret.
    let sent = sent(&[("settings.headers", "X-Other: ********")]);
    let all: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(&edit, &all).await.expect(422).has("mask of a secret").is_inert();
}

// Lists are cut at a thousand; what is chosen is there all the same, and saving keeps it.
#[tokio::test]
async fn what_is_beyond_the_end_of_a_list_is_named_and_kept() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let workspace = rig.state.engine.workspaces()[0];
    let template = |n: usize| TemplateDoc { name: format!("Template {n}"), blocks: json!([{"kind": "text", "text": "x"}]) };
    let target = |n: usize| Target::new(format!("Target {n}"), "webhook", json!({"url": "https://example.com/ok"}));
    let plan = move |desk: &Desk<'_>| {
        let templates = (0..=1000).map(|n| Edit::template(desk.new_id::<TemplateDoc>(), template(n)));
        let targets = (0..=1000).map(|n| Edit::target(desk.new_id::<Target>(), target(n)));
        Ok(templates.chain(targets).collect())
    };
    rig.state.engine.edit(workspace, plan).await.expect("all are made");
    let last = |list: Value| list["items"][0]["id"].as_str().expect("an id").to_owned();
    let template = last(rig.api("GET", "/templates?limit=1", Value::Null).await);
    let target = last(rig.api("GET", "/targets?limit=1", Value::Null).await);
    let made = json!({"event_types": ["order.paid"], "target_id": target, "template_id": template});
    let subscription = rig.api("POST", "/subscriptions", made).await["id"].as_str().expect("an id").to_owned();
    let path = format!("/console/targets/{target}/subscriptions/{subscription}");
    let page = browser.get(&path).await.expect(200);
    page.has(&format!("value=\"{template}\" selected")).has("Template 1000");
    let form = fields(&page.text, &path);
    let all: Vec<(&str, &str)> =
        form.iter().filter(|(name, _)| name != "csrf").map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(&path, &all).await.to();
    assert_eq!(rig.api("GET", &format!("/subscriptions/{subscription}"), Value::Null).await["template_id"], json!(template));

    rig.publish("order.paid", json!({})).await;
    let page = browser.get_with("/console/deliveries", "dlv_").await;
    page.has("Target 1000").lacks("deleted since").has("The first 1000");
    let page = browser.get(&format!("/console/deliveries?target_id={target}")).await.expect(200);
    page.has(&format!("value=\"{target}\" selected"));
}
