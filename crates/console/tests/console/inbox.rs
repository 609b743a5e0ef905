//! The inbox and one event whole.

use serde_json::json;

use crate::rig::{ANSWER, PATIENCE, Rig};

const SCRIPT: &str = "</script><script>alert('data')</script><img src=x onerror=alert(1)>";

/// Reads a page until texts are on it: what is asked for happens in its own time.
async fn page_with(browser: &mut crate::rig::Browser, path: &str, texts: &[&str]) -> crate::rig::Page {
    let looking = async {
        loop {
            let page = browser.get(path).await.expect(200);
            if texts.iter().all(|text| page.text.contains(text)) {
                return page;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{texts:?} did not come to {path}"))
}

/// The address of the page after this one.
fn next_page(page: &crate::rig::Page) -> Option<String> {
    let (before, _) = page.text.split_once("\" rel=\"next\"")?;
    Some(before.rsplit("href=\"").next()?.replace("&amp;", "&"))
}

/// Rows of a list, over all its pages: one may be short where looking took long.
async fn rows(browser: &mut crate::rig::Browser, path: &str) -> usize {
    let (mut count, mut path) = (0, Some(path.to_owned()));
    while let Some(at) = path {
        let page = browser.get(&at).await.expect(200);
        page.is_inert();
        let here = page.text.matches("<tr id=\"e-").count();
        assert!(here <= 50, "{at}");
        count += here;
        path = next_page(&page);
    }
    count
}

// MSGGO-75: script in event data is inert in the console, wherever it comes from.
// MSGGO-79: payload, time and outcome of each event. MSGGO-80: delivery errors are visible.
#[tokio::test]
async fn an_event_is_shown_whole_and_nothing_of_it_runs() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.target(&format!("Good {SCRIPT}"), "https://example.com/ok", &["*"]).await;
    rig.target("Bad", "https://example.com/status/500", &["*"]).await;
    let type_name = "order<script>alert(2)</script>";
    let id = rig.publish(type_name, json!({"customer": SCRIPT, SCRIPT: [1, null, true, 1.5]})).await;
    rig.receiver.wait_for(2).await;

    let path = format!("/console/inbox/{id}");
    let page = page_with(&mut browser, &path, &["status 500", "accepted, status 200", "Delivered"]).await;
    page.has("Good &lt;/script&gt;").has("order&lt;script&gt;alert(2)").is_inert();
    page.has("alert('answer')").has("alert('request')").has("alert('response')");
    page.has("Delivered").has("Attempt 1").has("accepted, status 200").has("status_refused");
    page.has("A subscription to ").has("&lt;i&gt;why").has("curl http://posthaste.test/posthaste/v1/events");
    assert!(!page.text.contains(ANSWER), "an answer is on the page as it came");

    let page = page_with(&mut browser, "/console/inbox", &["Queued"]).await;
    page.has("datetime=\"2025-10-09T").has("alert('data')").has(&path).is_inert();
    // What the stream of the page says about it is as harmless.
    let query = "/console/inbox/live?cursor=gWUAAAAAAAAAAA";
    let mut stream = browser.open(query).await.into_body();
    let row = crate::rig::read_until(&mut stream, "</tr>").await;
    assert!(row.contains("order&lt;script&gt;") && !row.contains("<script"), "{row}");
    // A copy to send again has the payload byte for byte.
    let page = browser.get(&format!("/console/inbox/send?like={id}")).await.expect(200);
    page.has("&lt;/script&gt;&lt;script&gt;alert('data')").is_inert();
}

#[tokio::test]
async fn deliveries_are_sent_again_one_by_one_or_all() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.target("A", "https://example.com/a", &["*"]).await;
    rig.target("B", "https://example.com/b", &["*"]).await;
    let id = rig.publish("order.paid", json!({"n": 1})).await;
    rig.receiver.wait_for(2).await;
    let path = format!("/console/inbox/{id}");
    let page = page_with(&mut browser, &path, &["Resend all", "accepted, status 200"]).await;
    page.is_inert();
    assert_eq!(browser.post(&format!("{path}/resend"), &[]).await.to(), format!("{path}?done=resent"));
    rig.receiver.wait_for(3).await;
    browser.get(&format!("{path}?done=resent")).await.expect(200).has("Queued to be sent again").is_inert();
    // What an address says is one of a few words.
    browser.get(&format!("{path}?done=%3Cscript%3E")).await.expect(200).is_inert();
}

#[tokio::test]
async fn events_are_sent_from_the_page_and_refused_at_the_field() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.post("/console/inbox/send", &[("type", ""), ("data", "{}")]).await.expect(422);
    page.has("aria-invalid=\"true\"").has("role=\"alert\"").is_inert();
    let page = browser.post("/console/inbox/send", &[("type", "a.b"), ("data", "{\"n\": 1.00, \"n\": 2}")]).await;
    let path = page.to().strip_suffix("?done=sent").expect("it was sent").to_owned();
    browser.get(&path).await.expect(200).has("data-raw=\"{&quot;n&quot;: 1.00, &quot;n&quot;: 2}\"").has("console").is_inert();
    // A duplicate made by hand from a payload that would be code.
    let page = browser.post("/console/inbox/send", &[("type", "a.b"), ("data", "1},{\"type\":\"x\",\"data\":2")]).await.expect(422);
    page.has("role=\"alert\"").is_inert();
}

#[tokio::test]
async fn the_list_is_filtered_and_paged_by_its_address() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.target("A", "https://example.com/a", &["order.*"]).await;
    for n in 0..60 {
        rig.publish(if n % 2 == 0 { "order.paid" } else { "user.seen" }, json!({"n": n, "word": format!("needle{n}")})).await;
    }
    let page = browser.get("/console/inbox").await.expect(200);
    page.has("sse-connect").is_inert();
    let next = next_page(&page).expect("a next page");
    browser.get(&next).await.expect(200).has("First page").lacks("sse-connect").is_inert();
    assert_eq!(rows(&mut browser, "/console/inbox").await, 60);
    let page = browser.get("/console/inbox?type=user.seen").await.expect(200);
    page.has("/console/inbox/live?type=user.seen&amp;cursor=");
    for (query, count) in [
        ("type=user.seen", 30),
        ("search=NEEDLE42%22", 1),
        ("state=none", 30),
        ("source=api&type=order.paid", 30),
        ("source=inbox", 0),
        ("from=2030-01-01T00:00", 0),
        ("to=2030-01-01T00:00", 60),
    ] {
        assert_eq!(rows(&mut browser, &format!("/console/inbox?{query}")).await, count, "{query}");
    }
    browser.get("/console/inbox?source=inbox").await.expect(200).has("Nothing found").is_inert();
    // What cannot be used is said at its field.
    let page = browser.get("/console/inbox?from=yesterday").await.expect(200);
    page.has("aria-invalid=\"true\"").is_inert();
    let page = browser.get("/console/inbox?type=order.*").await.expect(200);
    page.has("Wildcards").is_inert();
}
