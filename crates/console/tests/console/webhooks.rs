//! Webhooks in the vendors' words.

use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_domain::resource::Subscription;
use posthaste_engine::{Desk, Edit};
use serde_json::{Value, json};

use crate::rig::{ANSWER, Browser, Rig, fields};

const HERE: &str = "/console/webhooks/momentum";
const FORM: [(&str, &str); 6] = [
    ("name", "Mail <script>"),
    ("target", "https://example.com/hook"),
    ("auth_token", "to</p>ken"),
    ("which", "all"),
    ("auth_type", "none"),
    ("active", "true"),
];

async fn only(browser: &mut Browser) -> String {
    let page = browser.get(HERE).await.expect(200);
    let at = page.text.find(&format!("{HERE}/")).map(|at| &page.text[at..]).into_iter();
    let all = at.flat_map(|text| text.split('"')).filter(|part| part.starts_with(&format!("{HERE}/")) && part.len() == HERE.len() + 37);
    all.map(str::to_owned).next().expect("a webhook")
}

#[tokio::test]
async fn momentum_webhooks_are_made_tested_changed_and_deleted() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    assert_eq!(browser.get("/console/webhooks").await.to(), HERE);
    browser.get(HERE).await.expect(200).has("No webhook yet").is_inert();
    // MOMENTUM-113: all event types by default, groups of boxes otherwise.
    let new = format!("{HERE}/new");
    let page = browser.get(&new).await.expect(200);
    page.has("value=\"all\" checked").has("Send all event types").has("Let me choose event types");
    for group in ["Message Events", "Generation Events", "Engagement Events"] {
        page.has(&format!("name=\"events_groups\" value=\"{group}\""));
    }
    page.has("name=\"events\" value=\"bounce\"").is_inert();
    // MOMENTUM-114: the form stays open when the test fails, and nothing is saved.
    let mut refused = FORM.to_vec();
    refused[1].1 = "https://example.com/status/500";
    let page = browser.post(&new, &refused).await.expect(422);
    page.has("POST to webhook target URL failed")
        .has("500")
        .has("value=\"https://example.com/status/500\"")
        .has("aria-invalid=\"true\"")
        .is_inert();
    let page = browser.post(&new, &[("name", "x"), ("which", "chosen")]).await.expect(422);
    page.has("value=\"x\"").has("role=\"alert\"").is_inert();
    browser.get(HERE).await.expect(200).has("No webhook yet");

    assert_eq!(browser.post(&new, &FORM).await.to(), format!("{HERE}?done=created"));
    // MOMENTUM-109, MOMENTUM-110
    let page = browser.get(HERE).await.expect(200);
    page.has("Pending").has("Mail &lt;script&gt;").has("https://example.com/hook").has("Subscribed to: all events").is_inert();
    let address = only(&mut browser).await;

    // MOMENTUM-115: the whole request first, the raw answer after.
    let test = format!("{address}/test");
    let sent = rig.receiver.bodies.lock().len();
    let page = browser.get(&test).await.expect(200);
    page.has("POST /hook HTTP/1.1").has("Host: example.com").has("Content-Type: application/json").has("Connection:").has("msys");
    page.has("X-MessageSystems-Webhook-Token: to&lt;/p&gt;ken").lacks("<h2>Response").is_inert();
    assert_eq!(rig.receiver.bodies.lock().len(), sent, "looking sends nothing");
    let page = browser.post(&test, &[]).await.expect(200);
    page.has("Response").has("Test POST to endpoint succeeded").has("HTTP/1.1 200").is_inert();
    assert!(!page.text.contains(ANSWER));
    assert!(rig.receiver.bodies.lock().last().is_some_and(|body| body.starts_with(b"[{\"msys\":")), "a batch with a sample");
    rig.receiver.is_down.store(true, Ordering::Relaxed);
    browser.post(&test, &[]).await.expect(200).has("POST to webhook target URL failed").has("HTTP/1.1 503").is_inert();
    rig.receiver.is_down.store(false, Ordering::Relaxed);

    // MOMENTUM-117: every field can be changed.
    let edit = format!("{address}/edit");
    browser.get(&edit).await.expect(200).has("value=\"https://example.com/hook\"").has("value=\"all\" checked").is_inert();
    let changed = [
        ("name", "Other"),
        ("target", "https://example.com/other"),
        ("auth_token", ""),
        ("which", "chosen"),
        ("events_groups", "Engagement Events"),
        ("events", "bounce"),
        ("custom_headers", "X-Team: blue"),
        ("auth_type", "basic"),
        ("auth_credentials.username", "u"),
        ("auth_credentials.password", "p"),
    ];
    assert_eq!(browser.post(&edit, &changed).await.to(), format!("{address}?done=saved"));
    let page = browser.get(&edit).await.expect(200);
    page.has("value=\"Other\"").has("value=\"https://example.com/other\"").has("value=\"bounce\" checked").has("value=\"open\" checked");
    page.has("X-Team: blue").has("value=\"basic\" selected").has("value=\"u\"").has("value=\"chosen\" checked").is_inert();
    let page = browser.get(&address).await.expect(200);
    page.has("Bounce").has("no: batches are held").has("None failed").is_inert();
    // What a person did through a vendor's API is recorded as theirs.
    let audit = rig.api("GET", "/audit?kind=target", Value::Null).await;
    assert_eq!(
        (&audit["items"][0]["actor"]["type"], &audit["items"][0]["actor"]["name"]),
        (&json!("member"), &json!("Ada <script>Lovelace"))
    );
    // The targets know who manages them.
    browser.get("/console/targets").await.expect(200).has("made through Momentum").is_inert();
    let target = rig.api("GET", "/targets", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    browser.get(&format!("/console/targets/{target}")).await.expect(200).has(&format!("href=\"{address}\""));

    // MOMENTUM-116: a question comes first.
    let delete = format!("{address}/delete");
    browser.get(&delete).await.expect(200).has("Delete Other?").has("Delivery does not stop at once").is_inert();
    browser.get(&address).await.expect(200);
    assert_eq!(browser.post(&delete, &[]).await.to(), format!("{HERE}?done=deleted"));
    browser.get(HERE).await.expect(200).has("No webhook yet");
}

// MOMENTUM-111, MOMENTUM-112
#[tokio::test]
async fn the_status_follows_the_batches_of_the_day() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.post(&format!("{HERE}/new"), &FORM).await.to();
    browser.get(HERE).await.expect(200).has("</svg>Pending");
    rig.pass(Duration::from_secs(61)).await;
    rig.publish("message.delivered", json!({"channel": "email", "recipient": "a@example.com"})).await;
    rig.pass(Duration::from_secs(31)).await;
    browser.get_with(HERE, "</svg>OK").await.is_inert();
    rig.receiver.is_down.store(true, Ordering::Relaxed);
    rig.publish("message.delivered", json!({"channel": "email", "recipient": "b@example.com"})).await;
    rig.pass(Duration::from_secs(31)).await;
    browser.get_with(HERE, "</svg>Failed").await.is_inert();
    let address = only(&mut browser).await;
    browser.get(&address).await.expect(200).has("503").has("Failed attempts").is_inert();
}

#[tokio::test]
async fn mailgun_webhooks_belong_to_a_domain_and_are_tested() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let here = "/console/webhooks/mailgun";
    browser.get(here).await.expect(200).has("No domain yet").is_inert();
    rig.api("POST", "/domains", json!({"name": "mail.example.com"})).await;
    browser.get(here).await.expect(200).has("Permanent failure").has("Not set").is_inert();
    let page = format!("{here}/mail.example.com/delivered");
    browser.post(&page, &[("url.1", "ftp://x")]).await.expect(422).has("value=\"ftp://x\"").has("aria-invalid=\"true\"").is_inert();
    // Of several URLs the vendor's API does not say which is wrong: none of them is accused.
    let refused = browser.post(&page, &[("url.1", "https://example.com/a"), ("url.2", "ftp://x")]).await.expect(422);
    refused.has("role=\"alert\"").lacks("aria-invalid=\"true\"").is_inert();
    let back = format!("{here}?domain=mail.example.com&done=saved");
    assert_eq!(browser.post(&page, &[("url.1", "https://example.com/a"), ("url.2", "https://example.com/b")]).await.to(), back);
    browser.get(here).await.expect(200).has("https://example.com/a").has("https://example.com/b");
    let target = rig.api("GET", "/targets", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let shown = browser.get(&format!("/console/targets/{target}")).await.expect(200);
    shown.has(&format!("href=\"{here}\">Change it there")).is_inert();
    assert_eq!(browser.post(&page, &[("url.1", "https://example.com/c")]).await.to(), back);
    browser.get(here).await.expect(200).has("https://example.com/c").lacks("https://example.com/b");
    let test = format!("{page}/test");
    browser.get(&test).await.expect(200).has("value=\"https://example.com/c\"").is_inert();
    browser
        .post(&test, &[("url.1", "https://example.com/c")])
        .await
        .expect(200)
        .has("The receiver answered 200")
        .has("&lt;/pre&gt;")
        .is_inert();
    browser.post(&test, &[("url.1", "https://example.com/status/500")]).await.expect(200).has("The receiver answered 500").is_inert();
    browser.get(&format!("{page}/delete")).await.expect(200).has("Keep it").is_inert();
    browser.post(&format!("{page}/delete"), &[]).await.to();
    browser.get(here).await.expect(200).lacks("https://example.com/c");
}

// MSGINE-64: the secret is visible, and a new one takes its place. MSGINE-62: no plain HTTP.
#[tokio::test]
async fn msgine_webhooks_are_added_tested_and_share_a_secret() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let here = "/console/webhooks/msgine";
    browser.get(here).await.expect(200).has("No webhook yet").is_inert();
    let new = format!("{here}/new");
    let http = [("settings.url", "http://example.com/sms"), ("event_types", "message.failed")];
    browser.post(&new, &http).await.expect(422).has("https").has("aria-invalid=\"true\"").is_inert();
    assert_eq!(rig.api("GET", "/targets", Value::Null).await["items"], json!([]), "half of a webhook stays");
    let fields = [("settings.url", "https://example.com/sms"), ("event_types", "message.failed"), ("event_types", "message.sent")];
    assert_eq!(browser.post(&new, &fields).await.to(), format!("{here}?done=created"));
    // However many subscriptions there are besides.
    let workspace = rig.state.engine.workspaces()[0];
    let target = rig.target("Others", "https://example.com/ok", &["order.paid"]).await;
    let plan = move |desk: &Desk<'_>| {
        let other = || Edit::subscription(desk.new_id::<Subscription>(), Subscription::new(vec!["order.paid".to_owned()], target.clone()));
        Ok((0..1000).map(|_| other()).collect())
    };
    rig.state.engine.edit(workspace, plan).await.expect("all are made");
    let more = [("settings.url", "https://example.com/more"), ("event_types", "message.failed")];
    assert_eq!(browser.post(&new, &more).await.to(), format!("{here}?done=created"));
    let page = browser.get(here).await.expect(200);
    page.has("https://example.com/more").has("https://example.com/sms").has("message.failed").lacks("No webhook yet").is_inert();
    let secret = |account: &Value| account["settings"]["webhook_secret"].as_str().expect("a secret").to_owned();
    let old = secret(&rig.api("GET", "/accounts/msgine", Value::Null).await);
    page.has(&old);
    browser.get(&format!("{here}/secret")).await.expect(200).has("Keep it").is_inert();
    assert_eq!(browser.post(&format!("{here}/secret"), &[]).await.to(), format!("{here}?done=rotated"));
    browser.get(here).await.expect(200).lacks(&old);
    let id = rig.api("GET", "/targets", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    browser.get(&format!("{here}/{id}/test?event=message.failed")).await.expect(200).has("message.failed").has("+256701521269").is_inert();
    assert!(rig.receiver.bodies.lock().is_empty());
    let page = browser.post(&format!("{here}/{id}/test/send"), &[("event", "message.failed")]).await.expect(200);
    page.has("The receiver took it").has("status 200").is_inert();
    assert_eq!(rig.receiver.bodies.lock().len(), 1);
}

#[tokio::test]
async fn messagemedia_webhooks_have_a_template_and_show_what_it_makes() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let here = "/console/webhooks/messagemedia";
    browser.get(here).await.expect(200).has("No webhook yet").is_inert();
    let new = format!("{here}/new");
    browser.get(&new).await.expect(200).has("$metadata.get('key')").has("DELIVERED_DR").is_inert();
    let mut fields = vec![
        ("url", "https://example.com/replies"),
        ("method", "POST"),
        ("encoding", "JSON"),
        ("events", "DELIVERED_DR"),
        ("events", "RECEIVED_SMS"),
        ("template", "{\"who\":\"$sourceAddress\",\"is\":\"#if($x\"}"),
    ];
    let page = browser.post(&new, &fields).await.expect(422);
    page.has("role=\"alert\"").has("#if($x").has("value=\"RECEIVED_SMS\" checked").is_inert();
    fields[5].1 = "{\"who\":\"$sourceAddress\",\"status\":\"$!status\",\"<b>\":1}";
    let address = browser.post(&new, &fields).await.to().strip_suffix("?done=created").expect("it was made").to_owned();
    let target = rig.api("GET", "/targets", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let page = browser.get(&format!("/console/targets/{target}")).await.expect(200);
    assert!(page.text.to_lowercase().contains(&format!("href=\"{}\"", address.to_lowercase())), "{}", page.text);
    let page = browser.get(&address).await.expect(200);
    page.has("&quot;who&quot;:&quot;+61491570156&quot;").has("&quot;status&quot;:&quot;delivered&quot;").has("Delivery log").is_inert();
    let edit = format!("{address}/edit");
    let page = browser.get(&edit).await.expect(200);
    page.has("value=\"https://example.com/replies\"").has("value=\"DELIVERED_DR\" checked").is_inert();
    page.has(&format!("<li><a href=\"{address}\">Webhook</a></li>"));
    let changed = [
        ("url", "https://example.com/new"),
        ("method", "PUT"),
        ("encoding", "XML"),
        ("events_groups", "Delivery reports"),
        ("template", "<s>$status</s>"),
    ];
    assert_eq!(browser.post(&edit, &changed).await.to(), format!("{address}?done=saved"));
    browser.get(&address).await.expect(200).has("https://example.com/new").has("REJECTED_DR").has("&lt;s&gt;rejected&lt;/s&gt;").is_inert();
    // Emptied, there is none any more, and the documented form is sent.
    let mut emptied = changed;
    emptied[4].1 = " ";
    assert_eq!(browser.post(&edit, &emptied).await.to(), format!("{address}?done=saved"));
    browser.get(&address).await.expect(200).lacks("&lt;s&gt;").has("vendor_account_id").is_inert();
    browser.get(&edit).await.expect(200).lacks("&lt;s&gt;$status");
    browser.get(&format!("{address}/delete")).await.expect(200).has("Keep it").is_inert();
    assert_eq!(browser.post(&format!("{address}/delete"), &[]).await.to(), format!("{here}?done=deleted"));
    browser.get(&address).await.expect(404);
}

/// The form at an address as it is there, with some fields as somebody typed them.
fn typed<'a>(page: &'a [(String, String)], changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let value = |name: &str| changes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let own = page.iter().filter(|(name, _)| name != "csrf");
    own.map(|(name, old)| (name.as_str(), value(name).unwrap_or(old))).collect()
}

// The vendors' webhooks have no versions: a form that is late is told apart by what it was made from.
#[tokio::test]
async fn what_two_people_change_in_a_vendors_words_is_not_lost() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.api("POST", "/domains", json!({"name": "mail.example.com"})).await;
    let mailgun = "/console/webhooks/mailgun/mail.example.com/delivered".to_owned();
    browser.post(&mailgun, &[("url.1", "https://example.com/a"), ("url.2", "https://example.com/b")]).await.to();
    browser.post(&format!("{HERE}/new"), &FORM).await.to();
    let momentum = format!("{}/edit", only(&mut browser).await);
    let fields_of_new = [("url", "https://example.com/a"), ("method", "POST"), ("encoding", "JSON"), ("events", "DELIVERED_DR")];
    let made = browser.post("/console/webhooks/messagemedia/new", &fields_of_new).await;
    let messagemedia = format!("{}/edit", made.to().strip_suffix("?done=created").expect("it was made"));
    for (path, field) in [(mailgun, "url.2"), (momentum, "name"), (messagemedia, "url")] {
        let page = browser.get(&path).await.expect(200);
        let read = fields(&page.text, &path);
        let theirs = typed(&read, &[(field, "https://example.com/theirs")]);
        assert!(browser.post(&path, &theirs).await.to().contains("done=saved"), "{path}");
        let mine = typed(&read, &[(field, "https://example.com/mine")]);
        let page = browser.post(&path, &mine).await.expect(422);
        page.has("Somebody else saved this while you were at it").has("value=\"https://example.com/mine\"").is_inert();
        browser.get(&path).await.expect(200).has("https://example.com/theirs").lacks("https://example.com/mine");
        let anyway = page.text.split("name=\"anyway\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a way on");
        let mut again = mine.clone();
        again.push(("anyway", anyway));
        assert!(browser.post(&path, &again).await.to().contains("done=saved"), "{path}");
        browser.get(&path).await.expect(200).has("https://example.com/mine");
    }
}
