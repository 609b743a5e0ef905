//! Messages that the workspace sends: the form, the list, the life of one.

use serde_json::{Value, json};

use crate::rig::{Browser, Page, Rig, fields};

#[tokio::test]
async fn a_message_is_written_sent_and_watched() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/messages").await.expect(200).has("No e-mail yet").is_inert();
    browser.get("/console/messages?channel=sms").await.expect(200).has("No text messages yet").is_inert();
    // What is wrong is said at its field, and nothing that was typed is lost.
    let bad = [("channel", "email"), ("from", "nobody"), ("to", "bob@example.com"), ("subject", "Hi <i>why"), ("text", "Hello")];
    let page = browser.post("/console/messages/new", &bad).await.expect(422);
    page.has("aria-invalid=\"true\"").has("value=\"Hi &lt;i&gt;why\"").has("value=\"nobody\"").is_inert();
    let bad = [("channel", "sms"), ("from", "+15551230001"), ("to", "+15551230002\r\n12"), ("text", "Hello"), ("subject", "ignored")];
    browser.post("/console/messages/new", &bad).await.expect(422).has("E.164").is_inert();

    let text = "Hello </pre><script>alert('mail')</script>";
    let good = [
        ("channel", "email"),
        ("from", "Ann <ann@mail.example.com>"),
        ("to", "bob@example.com\r\nfail@example.com"),
        ("subject", "Hi <i>why"),
        ("text", text),
        ("html", "<p onclick=\"x\"><script>alert('html')</script>"),
        ("tags", "one, two"),
    ];
    let page = browser.post("/console/messages/new", &good).await;
    let path = page.to().strip_suffix("?done=queued").expect("it was taken").to_owned();
    browser.get_with(&path, ">Failed for good</strong>").await;
    let page = browser.get_with(&path, ">Delivered</strong>").await;
    page.has("Hi &lt;i&gt;why").has("Taken").has("alert('mail')").has("one, two").has("Send again");
    page.lacks("<p onclick").is_inert();
    browser.get("/console/messages?channel=email").await.expect(200).has("bob@example.com and 1 more").lacks("Test").is_inert();
    // A copy has what was written.
    let id = path.rsplit('/').next().expect("an id");
    let page = browser.get(&format!("/console/messages/new?like={id}")).await.expect(200);
    page.has("bob@example.com\nfail@example.com").has("value=\"Hi &lt;i&gt;why\"").has("alert('html')").is_inert();
    // A test is delivered to nobody, whoever its recipient.
    let test = [("channel", "email"), ("from", "ann@mail.example.com"), ("to", "fail2@example.com"), ("text", "Hello"), ("test", "true")];
    let path = browser.post("/console/messages/new", &test).await.to().to_owned();
    browser.get_with(&path, ">Delivered</strong>").await.has("never really sent").is_inert();
    browser.get("/console/messages?channel=email").await.expect(200).has("Test");
    browser.get("/console/messages?from=yesterday").await.expect(200).has("aria-invalid=\"true\"").is_inert();
}

/// What the form of a copy holds.
async fn copied(browser: &mut Browser, id: &str) -> (Page, Vec<(String, String)>) {
    let page = browser.get(&format!("/console/messages/new?like={id}")).await.expect(200);
    page.is_inert();
    let fields = fields(&page.text, "/console/messages/new");
    (page, fields)
}

#[tokio::test]
async fn a_copy_discloses_nobody_and_says_what_it_lacks() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let sent = json!({
        "channel": "email", "from": "ann@mail.example.com", "to": ["Bob <bob@example.com>"], "cc": ["cc@example.com"],
        "bcc": ["secret@example.com"], "reply_to": "answers@example.com", "subject": "Hi", "text": "Hello", "test": true
    });
    let id = rig.api("POST", "/messages", sent.clone()).await["id"].as_str().expect("an id").to_owned();
    let (page, form) = copied(&mut browser, &id).await;
    let value = |form: &[(String, String)], name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    for (name, wanted) in [
        ("to", "Bob <bob@example.com>"),
        ("cc", "cc@example.com"),
        ("bcc", "secret@example.com"),
        ("reply_to", "answers@example.com"),
        ("test", "true"),
    ] {
        assert_eq!(value(&form, name).as_deref(), Some(wanted), "{name}");
    }
    page.lacks("It lacks");

    // What the form has no field for is said, also when it is refused.
    let mut more = sent.clone();
    more["headers"] = json!({"X-Case": "7"});
    more["attachments"] = json!([{"filename": "<b>list.txt", "content": "aGk="}]);
    more["metadata"] = json!({"order": 7});
    let id = rig.api("POST", "/messages", more).await["id"].as_str().expect("an id").to_owned();
    let (page, form) = copied(&mut browser, &id).await;
    page.has("It lacks").has("X-Case").has("&lt;b&gt;list.txt").has("its metadata");
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), if name == "from" { "nobody" } else { value })).collect();
    browser.post("/console/messages/new", &form).await.expect(422).has("aria-invalid=\"true\"").has("It lacks").has("X-Case").is_inert();

    // Recipients who saw no other address are not named to each other by a copy.
    let mut own = sent;
    own["to"] = json!(["one@example.com", "two@example.com"]);
    own["variables"] = json!({"one@example.com": {"name": "One"}, "two@example.com": {"name": "Two"}});
    let id = rig.api("POST", "/messages", own).await["id"].as_str().expect("an id").to_owned();
    let (page, form) = copied(&mut browser, &id).await;
    assert_eq!((value(&form, "to").as_deref(), value(&form, "bcc").as_deref()), (Some(""), Some("")));
    page.has("each of them saw no address but its own").lacks("one@example.com");
}

#[tokio::test]
async fn a_message_from_a_handset_is_simulated() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/messages/incoming").await.expect(200).has("message.received").is_inert();
    let fields = [("sender", "+9990000006"), ("recipient", "+15551230001"), ("text", "Yes <i>why")];
    assert!(browser.post("/console/messages/incoming", &fields).await.to().starts_with("/console/inbox/evt_"));
    let events = rig.api("GET", "/events?type=message.received", Value::Null).await;
    assert_eq!(events["items"][0]["data"]["text"], json!("Yes <i>why"));
}
