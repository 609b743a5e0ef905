//! Event types: adding, trying rules, sending, and deliveries with their targets and templates.

use serde_json::{Value, json};

use crate::rig::{Browser, Page, Rig};

/// Names and texts of strangers that must stay text: as elements, as attributes in either quotes, as addresses.
pub const HOSTILE: [&str; 4] =
    ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "\" autofocus onfocus=\"alert(1)", "' onmouseover='alert(1)' x='"];

/// Checks that nothing of a stranger became an element or an attribute of the page.
#[track_caller]
pub fn inert(page: &Page) {
    page.is_inert();
}

async fn add_type(rig: &Rig, body: Value) -> String {
    rig.api("POST", "/event-types", body).await["id"].as_str().expect("an id").to_owned()
}

async fn count(rig: &Rig, family: &str) -> usize {
    rig.api("GET", family, Value::Null).await["items"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn an_event_type_is_added_and_refused_at_its_fields() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/events").await.expect(200).has("No event types yet").has("/console/events/new");
    browser.get("/console/events/new").await.expect(200).has("Try the rule").has("name=\"rule\"");
    let page = browser.post("/console/events/new", &[("do", "save"), ("name", "ab"), ("description", "kept")]).await.expect(422);
    page.has("id=\"f-name-error\"").has("value=\"ab\"").has("kept");
    let page = browser.post("/console/events/new", &[("do", "save"), ("name", "Daily"), ("group", "a/b/c")]).await.expect(422);
    page.has("id=\"f-group-error\"");
    let page = browser.post("/console/events/new", &[("do", "save"), ("name", "Daily"), ("rule", "{\"a\": }")]).await.expect(422);
    page.has("id=\"f-rule-error\"").has("This is not JSON").has("{&quot;a&quot;: }");

    // The rule that is shown for a name, sent back, goes on following the name.
    let shown = browser.post("/console/events/check", &[("name", "Daily Database Backup")]).await.expect(200);
    shown.has("data-prefill=\"f-rule\"").has("daily-database-backup");
    let fields = [
        ("do", "save"),
        ("name", "Daily Database Backup"),
        ("group", "Ops/Nightly"),
        ("rule", "{ \"event_name\": \"daily-database-backup\" }"),
    ];
    let page = browser.post("/console/events/new", &fields).await;
    let path = page.to().strip_suffix("?done=created").expect("it was made").to_owned();
    let made = rig.api("GET", "/event-types", Value::Null).await["items"][0].clone();
    assert_eq!((&made["rule_is_default"], &made["group"]), (&json!(true), &json!("Ops/Nightly")));
    browser.get(&path).await.expect(200).has("It goes nowhere yet").has("Made from the name").has("Show the secret").lacks("whsec_");
    let secret = rig.api("GET", &format!("/event-types/{}/secret", made["id"].as_str().expect("an id")), Value::Null).await;
    browser.post(&format!("{path}/secret"), &[]).await.expect(200).has(secret["secret"].as_str().expect("a secret"));

    // Renamed, its rule follows; with a rule of its own it does not.
    let page = browser.get(&format!("{path}/edit")).await.expect(200);
    page.has("daily-database-backup").has("name=\"version\" value=\"1\"");
    let rule = "{\"event_name\": \"daily-database-backup\"}";
    let fields = [("do", "save"), ("name", "Nightly Backup"), ("rule", rule), ("version", "1")];
    assert_eq!(browser.post(&format!("{path}/edit"), &fields).await.to(), format!("{path}?done=saved"));
    let made = rig.api("GET", "/event-types", Value::Null).await["items"][0].clone();
    assert_eq!(made["rule"], json!({"event_name": "nightly-backup"}));
    // Somebody who read an older version does not overwrite it.
    browser.post(&format!("{path}/edit"), &[("do", "save"), ("name", "Other"), ("version", "1")]).await.expect(422).has("role=\"alert\"");

    let page = browser.get(&format!("{path}/delete")).await.expect(200);
    page.has("Delete the event Nightly Backup?");
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.to(), "/console/events?done=deleted");
    assert_eq!(count(&rig, "/event-types").await, 0);
    browser.get(&path).await.expect(404);
}

#[tokio::test]
async fn rules_are_tried_on_samples_and_overlaps_are_told() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    add_type(&rig, json!({"name": "Any database", "rule": {"event_name": "database"}})).await;
    let event = rig.api("POST", "/events/document", json!({"data": {"event_name": "database", "status": "success"}})).await;
    let event = event["id"].as_str().expect("an id").to_owned();
    let fields = [
        ("do", "check"),
        ("name", "Good database"),
        ("rule", "{\"event_name\":\"database\",\"status\":\"success\"}"),
        ("sample", event.as_str()),
    ];
    let page = browser.post("/console/events/new", &fields).await.expect(200);
    page.has("Overlap: ").has("Any database").has("and so does").has("value=\"Good database\"");
    let fields = [("name", "Elsewhere"), ("data", "{\"event\": \"elsewhere\"}")];
    browser.post("/console/events/check", &fields).await.expect(200).has("The rule matches the sample.").lacks("Overlap");
    let fields = [("name", "Elsewhere"), ("data", "{\"event_name\": \"database\"}")];
    browser.post("/console/events/check", &fields).await.expect(200).has("does not match").has("Any database");
}

#[tokio::test]
async fn event_types_are_listed_by_groups_of_two_levels() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    for (name, group) in [("Paid", Some("Sales/Orders")), ("Visit", Some("Sales")), ("Crash", Some("Ops")), ("Alone", None)] {
        add_type(&rig, json!({"name": name, "group": group})).await;
    }
    let page = browser.get("/console/events").await.expect(200);
    let at = |text: &str| page.text.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    assert!(at(">Alone<") < at(">Crash<") && at(">Crash<") < at(">Visit<") && at(">Visit<") < at(">Paid<"));
    page.has("Sales<span class=\"muted\"> › </span>Orders");
    let page = browser.get("/console/events?group=Sales").await.expect(200);
    page.has(">Visit<").has(">Paid<").lacks(">Crash<");
    browser.get("/console/events?group=Sales%2FOrders").await.expect(200).has(">Paid<").lacks(">Visit<");
    browser.get("/console/events?search=zzz").await.expect(200).has("Nothing found");
}

// MSGGO-78: edited test data goes through the real pipeline.
#[tokio::test]
async fn a_test_event_takes_the_way_of_the_inbox() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let id = add_type(&rig, json!({"name": "Daily Database Backup"})).await;
    rig.target("Shop", "https://example.com/hook", &["Daily Database Backup"]).await;
    let path = format!("/console/events/{id}/send");
    browser.get("/console/events").await.expect(200).has(&path);
    browser.get(&path).await.expect(200).has("&quot;event_name&quot;: &quot;daily-database-backup&quot;");
    let page = browser.post(&path, &[("data", "{\"event_name\": \"daily-database-backup\", \"size\": 12.50}")]).await;
    let sent = page.to().to_owned();
    let bodies = rig.receiver.wait_for(1).await;
    assert!(String::from_utf8_lossy(&bodies[0]).contains("12.50"), "{bodies:?}");
    let page = browser.get(&sent).await.expect(200);
    page.has("It goes out as 1 delivery.").has("/console/inbox/").has("12.50");
    // What the rule does not find is stored, and goes nowhere.
    let sent = browser.post(&path, &[("data", "{\"size\": 1}")]).await.to().to_owned();
    browser.get(&sent).await.expect(200).has("no rule found it");
    browser.post(&path, &[("data", "{\"size\": }")]).await.expect(422).has("id=\"f-data-error\"").has("{&quot;size&quot;: }");
}

// MSGGO-76: target and template come to be in one save, or neither does.
#[tokio::test]
async fn a_delivery_is_added_whole_or_not_at_all() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let id = add_type(&rig, json!({"name": "order-received"})).await;
    let path = format!("/console/events/{id}/delivery");
    browser.get(&path).await.expect(200).has("New target").has("New message template").has("Format: MsgGO").has("name=\"webhook.url\"");
    let good = [
        ("target", "new"),
        ("target.name", "Shop"),
        ("channel", "webhook"),
        ("webhook.url", "https://example.com/hook"),
        ("webhook.method", "POST"),
        ("content", "new"),
        ("template.name", "Short"),
        ("template.text", "Order {{ data.id }}"),
        ("filter", "{\"id\": {\"$gt\": 3}}"),
    ];
    let but = |name: &'static str, value: &'static str| good.map(|(known, old)| (known, if known == name { value } else { old }));
    for (name, value, field) in [
        ("target.name", "", "f-target-name-error"),
        ("webhook.url", "ftp://x", "f-webhook-url-error"),
        ("template.name", "", "f-template-name-error"),
        ("template.text", "{% if x = 1 %}", "f-template-text-error"),
        ("content", "format:nonsense", "f-content-error"),
        ("content", "template:nonsense", "f-content-error"),
        ("target", "nonsense", "f-target-error"),
        ("filter", "{\"id\": {\"$nope\": 3}}", "f-filter-error"),
        ("filter", "{", "f-filter-error"),
    ] {
        let page = browser.post(&path, &but(name, value)).await.expect(422);
        page.has(&format!("id=\"{field}\""));
        for family in ["/targets", "/templates", "/subscriptions"] {
            assert_eq!(count(&rig, family).await, 0, "{name}={value} left something in {family}");
        }
    }
    assert_eq!(browser.post(&path, &good).await.to(), format!("/console/events/{id}?done=created"));
    for family in ["/targets", "/templates", "/subscriptions"] {
        assert_eq!(count(&rig, family).await, 1, "{family}");
    }
    browser.get(&format!("/console/events/{id}")).await.expect(200).has("Shop").has("Short").has("with a filter");
    browser.post(&format!("/console/events/{id}/send"), &[("data", "{\"event\":\"order-received\",\"id\":7}")]).await.to();
    assert_eq!(rig.receiver.wait_for(1).await[0], "Order 7");

    // MSGGO-77: another message for the same event type, to the target that is there.
    let target = rig.api("GET", "/targets", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let second = [("target", target.as_str()), ("content", "new"), ("template.name", "Long"), ("template.text", "Long {{ data.id }}")];
    assert_eq!(browser.post(&path, &second).await.to(), format!("/console/events/{id}?done=created"));
    browser.get(&format!("/console/events/{id}")).await.expect(200).has("Short").has("Long");
    browser.post(&format!("/console/events/{id}/send"), &[("data", "{\"event\":\"order-received\",\"id\":8}")]).await.to();
    let bodies = rig.receiver.wait_for(3).await;
    assert!(bodies.iter().any(|body| body == "Order 8") && bodies.iter().any(|body| body == "Long 8"), "{bodies:?}");
}

#[tokio::test]
async fn deliveries_of_a_type_are_switched_off_filtered_and_deleted() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let id = add_type(&rig, json!({"name": "order.paid"})).await;
    rig.target("Shop", "https://example.com/hook", &["order.*"]).await;
    let subscription = rig.api("GET", "/subscriptions?event_type=order.paid", Value::Null).await["items"][0].clone();
    assert_eq!(rig.api("GET", "/subscriptions?event_type=user.seen", Value::Null).await["items"], json!([]));
    let of_type = format!("/console/events/{id}");
    let path = format!("{of_type}/deliveries/{}", subscription["id"].as_str().expect("an id"));
    browser.get(&of_type).await.expect(200).has("takes order.* too").has(&path);
    // Switched off it takes nothing: that is no pause, and the page says what it means and for which types.
    let page = browser.get(&format!("{path}/off")).await.expect(200);
    page.has("not sent later either").has("concerned as well: order.*.").is_inert();
    assert_eq!(browser.post(&format!("{path}/off"), &[]).await.to(), format!("{of_type}?done=saved"));
    browser.get(&of_type).await.expect(200).has("</svg>Off</span>").has(&format!("{path}/on")).lacks("Paused");
    browser.post(&format!("{path}/on"), &[]).await.to();

    let filter = "{\"amount\": {\"$gt\": 100}}";
    let page = browser.post(&path, &[("do", "test"), ("filter", filter), ("data", "{\"amount\": 7}")]).await.expect(200);
    page.has("The filter does not take the sample.").has("{&quot;amount&quot;: {&quot;$gt&quot;: 100}}");
    let page = browser.post(&path, &[("do", "test"), ("filter", filter), ("data", "{\"amount\": 700}")]).await.expect(200);
    page.has("The filter takes the sample.");
    browser.post(&path, &[("do", "test"), ("filter", filter), ("data", "nonsense")]).await.expect(422).has("id=\"f-data-error\"");
    browser.post(&path, &[("do", "save"), ("filter", "{\"a\": {\"$x\": 1}}")]).await.expect(422).has("id=\"f-filter-error\"");
    assert_eq!(
        browser.post(&path, &[("do", "save"), ("filter", filter), ("description", "big ones")]).await.to(),
        format!("{of_type}?done=saved")
    );
    // Another filter takes the place of the first, all of it.
    browser.post(&path, &[("do", "save"), ("filter", "{\"amount\": 5}")]).await.to();
    let kept = rig.api("GET", "/subscriptions", Value::Null).await["items"][0].clone();
    assert_eq!((&kept["filter"], &kept["enabled"]), (&json!({"amount": 5}), &json!(true)));
    browser.post(&path, &[("do", "save"), ("filter", "")]).await.to();
    assert_eq!(rig.api("GET", "/subscriptions", Value::Null).await["items"][0].get("filter"), None);

    // With a script it is a dialog of the page of the delivery, without one a page of its own: both say the same.
    for page in [&path, &format!("{path}/delete")] {
        browser.get(page).await.expect(200).has("what waits because of it is cancelled").has("concerned as well: order.*.");
    }
    browser.post(&format!("{path}/delete"), &[]).await.to();
    assert_eq!(count(&rig, "/subscriptions").await, 0);
}

/// All pages about one event type.
async fn look_around(browser: &mut Browser, id: &str, subscription: &str) {
    for path in [
        "",
        "/edit",
        "/send",
        "/delivery",
        "/delete",
        &format!("/deliveries/{subscription}"),
        &format!("/deliveries/{subscription}/delete"),
        &format!("/deliveries/{subscription}/off"),
    ] {
        inert(&browser.get(&format!("/console/events/{id}{path}")).await.expect(200));
    }
}

// MSGGO-75: what strangers wrote is inert on every page about event types.
#[tokio::test]
async fn texts_of_strangers_stay_text() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    for text in HOSTILE {
        let body = json!({"name": text, "group": "a", "description": text, "rule": {text: text}, "schema": {"title": text}});
        let id = add_type(&rig, body).await;
        let other = add_type(&rig, json!({"name": format!("other {text}"), "rule": {text: text, "b": text}})).await;
        rig.target(text, "https://example.com/hook", &[text]).await;
        let template = rig.api("POST", "/templates", json!({"name": text, "blocks": [{"kind": "text", "text": text}]})).await;
        let found = rig.api("GET", "/subscriptions?order=desc&limit=1", Value::Null).await["items"][0].clone();
        let subscription = found["id"].as_str().expect("an id");
        let change = json!({"filter": {text: text}, "description": text, "template_id": template["id"]});
        rig.api("PATCH", &format!("/subscriptions/{subscription}"), change).await;
        let event = rig.api("POST", "/events/document", json!({"data": {text: text}})).await;
        let event = event["id"].as_str().expect("an id");
        inert(&browser.get("/console/events").await.expect(200));
        look_around(&mut browser, &id, subscription).await;
        inert(&browser.get(&format!("/console/events/{other}/send?event={event}")).await.expect(200));

        // Each field shows again what was typed, and what is wrong with it.
        let all = ["name", "group", "description", "rule", "schema", "data", "sample", "version", "id", "do"].map(|name| (name, text));
        for path in ["/console/events/new", &format!("/console/events/{id}/edit")] {
            for action in ["save", "check"] {
                let fields = all.map(|(name, value)| (name, if name == "do" { action } else { value }));
                inert(&browser.post(path, &fields).await);
                let fields =
                    fields.map(|(name, value)| (name, if matches!(name, "rule" | "schema" | "data" | "sample") { "" } else { value }));
                inert(&browser.post(path, &fields).await);
            }
        }
        inert(&browser.post("/console/events/check", &all).await.expect(200));
        let data = json!({text: text}).to_string();
        let data = data.as_str();
        inert(&browser.post("/console/events/check", &[("rule", data), ("data", data)]).await.expect(200));
        inert(&browser.post(&format!("/console/events/{id}/send"), &[("data", text)]).await.expect(422));
        let filter = [("do", "test"), ("filter", data), ("data", data)];
        inert(&browser.post(&format!("/console/events/{id}/deliveries/{subscription}"), &filter).await.expect(200));
        let filter = [("do", "save"), ("filter", text), ("data", text), ("description", text), ("version", text)];
        inert(&browser.post(&format!("/console/events/{id}/deliveries/{subscription}"), &filter).await.expect(422));
        for target in ["new", text] {
            for channel in ["webhook", text] {
                let fields = [
                    ("target", target),
                    ("target.name", text),
                    ("channel", channel),
                    ("webhook.url", text),
                    ("webhook.method", text),
                    ("content", "new"),
                    ("template.name", text),
                    ("template.text", text),
                ];
                let page = browser.post(&format!("/console/events/{id}/delivery"), &fields).await.expect(422);
                inert(&page);
            }
        }
        let page = browser.post(&format!("/console/events/{id}/delivery"), &[("target", "new"), ("filter", text)]).await.expect(422);
        inert(&page);
    }
}
