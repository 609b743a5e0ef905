//! Templates: the builder without a script, the preview, and what strangers write into either.

use serde_json::{Value, json};

use crate::events::{HOSTILE, inert};
use crate::rig::Rig;

#[tokio::test]
async fn a_template_is_built_with_buttons_alone() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/templates").await.expect(200).has("No templates yet");
    browser.get("/console/templates/new").await.expect(200).has("name=\"blocks[0].text\"").has("Subject: ").has("SMS and push");
    let new = "/console/templates/new";
    let typed = [
        ("name", "Order"),
        ("blocks[0].kind", "text"),
        ("blocks[0].text", "# Order {{ data.id }}"),
        ("data", "{\"id\": 7, \"items\": [{\"name\": \"A<b>\"}]}"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&typed[..], more].concat();
    let page = browser.post(new, &with(&[("do", "add-table")])).await.expect(200);
    page.has("name=\"blocks[1].path\"").has("value=\"Order\"").has("# Order {{ data.id }}").has("Order 7");
    let table = [
        ("blocks[1].kind", "table"),
        ("blocks[1].path", "data.items"),
        ("blocks[1].columns[0].heading", "Name"),
        ("blocks[1].columns[0].field", "name"),
    ];
    let page = browser.post(new, &with(&[&table[..], &[("do", "column:1")]].concat())).await.expect(200);
    page.has("name=\"blocks[1].columns[1].heading\"").has("A&lt;b&gt;");
    let page = browser.post(new, &with(&[&table[..], &[("do", "up:1")]].concat())).await.expect(200);
    page.has("name=\"blocks[0].path\"").has("name=\"blocks[1].text\"");
    let page = browser.post(new, &with(&[&table[..], &[("do", "remove:0")]].concat())).await.expect(200);
    page.has("name=\"blocks[0].path\"").lacks("name=\"blocks[1].text\"");

    // What is wrong is said at its block, with its line.
    let bad = [("blocks[2].kind", "text"), ("blocks[2].text", "fine\n{% if x = 1 %}"), ("do", "save")];
    let page = browser.post(new, &with(&[&table[..], &bad[..]].concat())).await.expect(422);
    page.has("id=\"f-blocks-2--text-error\"").has("Block 3").has("line 2").has("{% if x = 1 %}");
    browser
        .post(new, &[("name", ""), ("blocks[0].kind", "text"), ("blocks[0].text", "x"), ("do", "save")])
        .await
        .expect(422)
        .has("id=\"f-name-error\"");
    browser.post(new, &[("name", "Empty"), ("do", "save")]).await.expect(422).has("at least one block");

    let page = browser.post(new, &with(&[&table[..], &[("do", "save")]].concat())).await;
    let path = page.to().strip_suffix("?done=created").expect("it was made").to_owned();
    browser.get("/console/templates").await.expect(200).has("1 template in all");
    let made = rig.api("GET", "/templates", Value::Null).await["items"][0].clone();
    let table = json!({"kind": "table", "path": "data.items", "columns": [{"heading": "Name", "field": "name"}]});
    assert_eq!(made["blocks"], json!([{"kind": "text", "text": "# Order {{ data.id }}"}, table]));
    browser.get(&path).await.expect(200).has("# Order {{ data.id }}").has("data.items");
    // Moved by a script: the numbers stay, the order is the form's.
    let moved = [
        ("name", "Order"),
        ("version", "1"),
        ("blocks[1].kind", "text"),
        ("blocks[1].text", "second"),
        ("blocks[0].kind", "text"),
        ("blocks[0].text", "first"),
        ("do", "save"),
    ];
    assert_eq!(browser.post(&path, &moved).await.to(), format!("{path}?done=saved"));
    let made = rig.api("GET", "/templates", Value::Null).await["items"][0].clone();
    assert_eq!(made["blocks"], json!([{"kind": "text", "text": "second"}, {"kind": "text", "text": "first"}]));
    browser.post(&path, &moved).await.expect(422).has("role=\"alert\"");

    // A template that is used cannot go, and the page says where it is used.
    let target = rig.target("Shop", "https://example.com/hook", &["order.paid"]).await;
    let used = json!({"event_types": ["order.paid"], "target_id": target, "template_id": made["id"]});
    let subscription = rig.api("POST", "/subscriptions", used).await;
    browser.get(&format!("{path}/delete")).await.expect(200).has("order.paid");
    let page = browser.post(&format!("{path}/delete"), &[]).await;
    assert!(page.status.is_client_error(), "{}", page.text);
    page.has("role=\"alert\"");
    // Its preview begins with an event that it is sent for, though others came after.
    let event = rig.publish("order.paid", json!({"id": 4712})).await;
    rig.publish("user.seen", json!({})).await;
    browser.get(&path).await.expect(200).has(&format!("<option value=\"{event}\" selected>"));
    rig.api("DELETE", &format!("/subscriptions/{}", subscription["id"].as_str().expect("an id")), Value::Null).await;
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.to(), "/console/templates?done=deleted");
}

#[tokio::test]
async fn the_preview_is_of_a_real_event_or_a_sample() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let event = rig.publish("order.paid", json!({"id": 4711})).await;
    browser.get("/console/templates/new").await.expect(200).has(&event);
    let blocks = [("blocks[0].kind", "text"), ("blocks[0].text", "**{{ event.name }}** {{ data.id }}")];
    let path = "/console/templates/preview";
    let page = browser.post(path, &[&blocks[..], &[("sample", event.as_str())]].concat()).await.expect(200);
    page.has("<strong>order.paid</strong> 4711").has("*order.paid* 4711").has("**order.paid** 4711").lacks("<html");
    let page = browser.post(path, &[&blocks[..], &[("data", "{\"id\": 8}")]].concat()).await.expect(200);
    page.has("<strong>sample</strong> 8");
    let wrong = [("blocks[5].kind", "text"), ("blocks[5].text", "a\n{{ data.id|nonsense }}")];
    let page = browser.post(path, &wrong).await.expect(200);
    page.has("id=\"wrong-5\"").has("Block 1").has("line 2");
    browser.post(path, &[&blocks[..], &[("data", "{")]].concat()).await.expect(200).has("This is not JSON");
}

// MSGGO-75: payloads and template output are inert in the builder and its preview.
#[tokio::test]
async fn nothing_that_a_template_writes_runs() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    for text in HOSTILE {
        let event = rig.publish(text, json!({"x": text, "items": [{text: text, "n": text}]})).await;
        let fields = |action: &'static str, sample: &str, source: &str| {
            let pairs = [
                ("do", action),
                ("name", text),
                ("version", text),
                ("sample", sample),
                ("data", text),
                ("blocks[0].kind", "text"),
                ("blocks[0].text", source),
                ("blocks[1].kind", "table"),
                ("blocks[1].path", "data.items"),
                ("blocks[1].columns[0].heading", text),
                ("blocks[1].columns[0].field", "n"),
            ];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let plain = format!("{text} {{{{ data.x }}}} {{{{ event.name }}}} {{{{ data.x|raw }}}} [x](javascript:alert(1)) `{text}`");
        let broken = format!("{{{{ {text} }}}} {{% {text} %}}");
        for source in [plain.as_str(), broken.as_str()] {
            for sample in [event.as_str(), "", text] {
                for (path, action) in
                    [("/console/templates/new", "preview"), ("/console/templates/new", "up:1"), ("/console/templates/preview", "preview")]
                {
                    let fields = fields(action, sample, source);
                    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                    let page = browser.post(path, &fields).await;
                    inert(&page);
                    page.lacks("href=\"javascript");
                }
            }
        }
        let made = fields("save", &event, &plain);
        let made: Vec<(&str, &str)> = made.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let path = browser.post("/console/templates/new", &made).await.to().split('?').next().expect("a path").to_owned();
        inert(&browser.get(&path).await.expect(200));
        inert(&browser.get(&format!("{path}/delete")).await.expect(200));
        inert(&browser.get("/console/templates").await.expect(200));
        let hostile_keys = [
            (format!("blocks[{text}].kind"), "text"),
            (format!("blocks[{text}].text"), "x"),
            (format!("blocks[{text}].columns[{text}].heading"), "y"),
        ];
        let hostile_keys: Vec<(&str, &str)> = hostile_keys.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        inert(&browser.post("/console/templates/preview", &hostile_keys).await.expect(200));
    }
}
