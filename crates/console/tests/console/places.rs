//! Domains, suppressions and bins.

use serde_json::{Value, json};

use crate::rig::{Rig, read_until};

const SCRIPT: &str = "</pre><script>alert('bin')</script>";

#[tokio::test]
async fn a_domain_is_added_signed_and_deleted() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/domains").await.expect(200).has("No domains yet").is_inert();
    let page = browser.post("/console/domains/new", &[("name", "not a domain!"), ("track.opens", "true")]).await.expect(422);
    page.has("aria-invalid=\"true\"").has("value=\"not a domain!\"").has("name=\"track.opens\" value=\"true\" checked").is_inert();
    let path = browser.post("/console/domains/new", &[("name", "mail.example.com"), ("track.opens", "true")]).await;
    let path = path.to().strip_suffix("?done=created").expect("it was made").to_owned();
    browser.get(&path).await.expect(200).has("is not signed").is_inert();
    let found = rig.api("GET", "/domains", Value::Null).await;
    assert_eq!(found["items"][0]["track"], json!({"opens": true, "clicks": false, "html_clicks_only": false, "unsubscribe": false}));
    assert_eq!(found["items"][0]["dns"], json!([]));

    // A key that is none is refused at its field; a good one makes the record to set.
    let bad = [("dkim.selector", "s1"), ("dkim.private_key", "secret"), ("track.clicks", "true")];
    let page = browser.post(&path, &bad).await.expect(422);
    page.has("is no PEM").has("aria-invalid=\"true\"").is_inert();
    let key = signing_key();
    let good = [("dkim.selector", "s1"), ("dkim.private_key", key.as_str()), ("track.clicks", "true")];
    assert!(browser.post(&path, &good).await.to().ends_with("?done=saved"));
    let page = browser.get(&path).await.expect(200);
    page.has("s1._domainkey.mail.example.com")
        .has("v=DKIM1; k=ed25519; p=")
        .has("_dmarc.mail.example.com")
        .lacks("BEGIN PRIVATE KEY-----\nM")
        .is_inert();
    // Another selector keeps the key; a tick takes it away.
    browser.post(&path, &[("dkim.selector", "s2")]).await.to();
    browser.get(&path).await.expect(200).has("s2._domainkey.mail.example.com");
    browser.post(&path, &[("dkim.selector", "s2"), ("unsigned", "true")]).await.to();
    browser.get(&path).await.expect(200).has("is not signed").lacks("_domainkey");

    browser.get(&format!("{path}/delete")).await.expect(200).has("Delete this domain?").is_inert();
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.to(), "/console/domains?done=deleted");
    browser.get(&path).await.expect(404);
}

/// An Ed25519 key as PEM: the seed of RFC 8410 section 10.3.
fn signing_key() -> String {
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n".to_owned()
}

#[tokio::test]
async fn addresses_are_suppressed_and_freed() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/suppressions").await.expect(200).has("Nobody is suppressed").is_inert();
    let bad = [("scope", "mail.example.com"), ("address", "a b"), ("reason", "bounce")];
    browser.post("/console/suppressions/new", &bad).await.expect(422).has("aria-invalid=\"true\"").has("value=\"a b\"").is_inert();
    let good = [("scope", "mail.example.com"), ("address", "bob<b>@example.com"), ("reason", "bounce")];
    assert_eq!(browser.post("/console/suppressions/new", &good).await.to(), "/console/suppressions?scope=mail.example.com&done=saved");
    let page = browser.get("/console/suppressions?scope=mail.example.com").await.expect(200);
    page.has("bob&lt;b&gt;@example.com").has("Bounced").is_inert();
    browser.get("/console/suppressions?scope=sms").await.expect(200).has("Nobody is suppressed").is_inert();
    let path = "/console/suppressions/delete?scope=mail.example.com&address=bob%3Cb%3E%40example.com";
    page.has("/console/suppressions/delete?scope=mail.example.com&amp;address=bob%3Cb%3E%40example.com");
    browser.get(path).await.expect(200).has("will get messages").is_inert();
    browser.post(path, &[]).await.to();
    assert_eq!(rig.api("GET", "/suppressions", Value::Null).await["items"], json!([]));
}

/// What is between two texts, after a third.
fn between<'a>(page: &'a str, after: &str, start: &str, end: &str) -> &'a str {
    let rest = &page[page.find(after).unwrap_or_else(|| panic!("no {after} in {page}"))..];
    rest.split_once(start).and_then(|(_, rest)| rest.split_once(end)).unwrap_or_else(|| panic!("no {start} in {rest}")).0
}

#[tokio::test]
async fn each_question_is_about_the_row_of_its_button() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let addresses = ["john.doe@x.com", "john-doe@x.com", "john_doe@x.com", "john.2edoe@x.com"];
    for address in addresses {
        rig.api("POST", "/suppressions", json!({"scope": "mail.example.com", "address": address, "reason": "bounce"})).await;
    }
    let page = browser.get("/console/suppressions").await.expect(200).text;
    for address in addresses {
        let dialog = between(&page, &format!("<code>{address}</code>"), "data-dialog=\"", "\"");
        let question = between(&page, &format!("<dialog id=\"{dialog}\""), "<p>", "</p>");
        assert!(question.starts_with(address), "the button of {address} asks: {question}");
    }
}

#[tokio::test]
async fn a_bin_shows_what_it_caught_as_text() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/bins").await.expect(200).has("No bins yet").is_inert();
    let page = browser.post("/console/bins/new", &[("name", "Try"), ("status", "99"), ("expires_in", "1h")]).await.expect(422);
    page.has("role=\"alert\"").has("value=\"99\"").is_inert();
    let page = browser.post("/console/bins/new", &[("name", "Try <i>why"), ("status", "202"), ("expires_in", "1h")]).await;
    let path = page.to().strip_suffix("?done=created").expect("it was made").to_owned();
    let page = browser.get(&path).await.expect(200);
    page.has("Nothing has arrived yet").has("Try &lt;i&gt;why").is_inert();
    let bins = rig.api("GET", "/bins", Value::Null).await;
    let url = bins["items"][0]["url"].as_str().expect("a URL").strip_prefix("http://posthaste.test").expect("ours").to_owned();
    page.has(&url);

    let mut stream = browser.open(&format!("{path}/live")).await.into_body();
    read_until(&mut stream, "Nothing has arrived yet").await;
    let sent = browser.post_as(&format!("{url}/below?q=%3Cscript%3E"), &[("a", SCRIPT)], &[("x-note", SCRIPT)]).await;
    assert_eq!(sent.status, 202);
    let part = read_until(&mut stream, "POST").await;
    assert!(part.contains("&lt;/pre&gt;") && !part.contains("<script"), "{part}");
    let page = browser.get(&path).await.expect(200);
    page.has("#1 POST").has("/below?q=").has("x-note: &lt;/pre&gt;&lt;script&gt;").is_inert();

    browser.get(&format!("{path}/clear")).await.expect(200).has("Drop all requests?").is_inert();
    assert_eq!(browser.post(&format!("{path}/clear"), &[]).await.to(), path);
    browser.get(&path).await.expect(200).has("Nothing has arrived yet");
    let page = browser.post(&format!("{path}/edit"), &[("name", "Other"), ("status", "500"), ("expires_in", "")]).await;
    assert_eq!(page.to(), format!("{path}?done=saved"));
    assert!(browser.post(&format!("{path}/example"), &[]).await.to().starts_with("/console/targets/"));
    assert_eq!(rig.api("GET", "/subscriptions", Value::Null).await["items"][0]["event_types"], json!(["*"]));
    browser.get(&format!("{path}/delete")).await.expect(200).has("Delete this bin?").is_inert();
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.to(), "/console/bins?done=deleted");
    browser.get(&path).await.expect(404).is_inert();
}

#[tokio::test]
async fn a_large_body_is_shown_by_its_beginning() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let bin = rig.api("POST", "/bins", json!({"name": "Large"})).await;
    let path = format!("/console/bins/{}", bin["id"].as_str().expect("an id"));
    let url = bin["url"].as_str().expect("a URL").strip_prefix("http://posthaste.test").expect("ours");
    // Each digit would become a line with much indentation.
    let deep = format!("{}{}1{}", "[".repeat(64), "0,".repeat(60 << 10), "]".repeat(64));
    for body in [deep.as_str(), r#"{"small":true}"#, "\u{1}"] {
        assert_eq!(browser.post_body(url, body).await.status, 200);
    }
    let page = browser.get(&path).await.expect(200);
    assert!(page.text.len() < 200 << 10, "{} bytes", page.text.len());
    let whole = format!("{path}/requests/1");
    page.has("The first 16.0 KiB of 120.1 KiB are shown.")
        .has(&format!("href=\"{whole}\""))
        .has("<span class=\"k\">&quot;small&quot;")
        .is_inert();
    let page = browser.get(&whole).await.expect(200);
    page.has("#1 POST").lacks("are shown.").is_inert();
    assert!(page.text.contains(&deep) && page.text.len() < 400 << 10, "{} bytes", page.text.len());
    browser.get(&format!("{path}/requests/7")).await.expect(404).is_inert();
}

// Its foot belongs to what is live: it would still offer what was the next page when the page was made.
#[tokio::test]
async fn the_foot_of_a_bin_is_live() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let bin = rig.api("POST", "/bins", json!({"name": "Busy"})).await;
    let path = format!("/console/bins/{}", bin["id"].as_str().expect("an id"));
    let url = bin["url"].as_str().expect("a URL").strip_prefix("http://posthaste.test").expect("ours");
    let mut stream = browser.open(&format!("{path}/live")).await.into_body();
    read_until(&mut stream, "0 requests in all").await;
    for _ in 0..21 {
        browser.post_body(url, "1").await.expect(200);
    }
    let part = read_until(&mut stream, "20 requests on this page").await;
    let next = between(&part, "20 requests on this page", "href=\"", "\"").to_owned();
    assert!(next.starts_with(&format!("{path}?cursor=")), "{next}");
    browser.get(&next).await.expect(200).has("#1 POST").lacks("#2 POST");
}
