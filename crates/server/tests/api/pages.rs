//! Pages for people: whatever strangers sent is shown as text, and no page runs or loads anything.

use http::header;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, id};

/// What strangers send who mean no good.
const HOSTILE: &str = "</pre></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>{{7*7}}<!--";

/// Refuses a page on which something of [`HOSTILE`] is alive, or that a browser would let do anything.
#[track_caller]
fn assert_harmless(page: &Answer) {
    assert_eq!(page.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert_eq!(page.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(page.headers[header::X_FRAME_OPTIONS], "DENY");
    assert_eq!(page.headers[header::REFERRER_POLICY], "no-referrer");
    assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
    for part in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("script"), "{policy}");
    let text = page.text().to_lowercase();
    for alive in ["<script", "<img", "<svg", "<!--"] {
        assert!(!text.contains(alive), "{alive} in {text}");
    }
    assert!(!text.contains(">49<"), "what was sent was run as a template");
}

// MSGGO-74, MSGGO-75: a short message links to its page, where data of the event is inert.
#[tokio::test]
async fn the_page_of_a_message_shows_data_as_text() {
    let rig = Rig::new().await;
    let target = json!({"name": "pager", "channel": "pager", "settings": {"url": "http://receiver.test/ok"}});
    let target = id(&rig.post("/targets", target).await.expect(201));
    let blocks = json!([
        {"kind": "text", "text": "**Order** {{ data.note }} [link]({{ data.link }})"},
        {"kind": "table", "path": "data.items", "columns": [{"heading": "Item", "field": "n"}]},
    ]);
    let template = id(&rig.post("/templates", json!({"name": HOSTILE, "blocks": blocks})).await.expect(201));
    let body = json!({"event_types": ["a"], "target_id": target, "template_id": template});
    rig.post("/subscriptions", body).await.expect(201);
    let data = json!({"note": HOSTILE, "link": "javascript:alert(4)", "items": [{"n": HOSTILE}]});
    rig.publish("a", data).await;
    let text = String::from_utf8(rig.recorder.wait_for(1).await[0].body.to_vec()).expect("UTF-8");
    let path = text.split_once("http://posthaste.test").map(|(_, path)| path.to_owned()).expect("a link");
    assert!(path.starts_with("/m/dlv_"), "{text}");
    let page = rig.raw("GET", &path, "", &[], "").await;
    assert_eq!(page.status, 200);
    assert_harmless(&page);
    assert!(page.text().contains("<strong>Order</strong>") && page.text().contains("&lt;script&gt;alert(1)"), "{}", page.text());
    assert!(!page.text().contains("href=\"javascript"), "{}", page.text());
    let rig = rig.restart().await;
    assert_eq!(rig.raw("GET", &path, "", &[], "").await.status, 200, "the link is still good after a restart");
    // It cannot be guessed: not even from a good one.
    let (delivery, mac) = path.rsplit_once('-').expect("id and code");
    let other: String = mac.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    for wrong in
        [format!("{delivery}-{other}"), format!("{delivery}-"), delivery.to_owned(), format!("{path}0"), "/m/%ff".into(), "/m/x".into()]
    {
        let page = rig.raw("GET", &wrong, "", &[], "").await;
        assert_eq!(page.status, 404, "{wrong}");
        assert_harmless(&page);
    }
}

#[tokio::test]
async fn the_page_of_a_bin_shows_requests_as_text() {
    let rig = Rig::new().await;
    let bin = rig.post("/bins", json!({"name": HOSTILE})).await.expect(201);
    let path = bin["url"].as_str().and_then(|url| url.strip_prefix("http://posthaste.test")).expect("a URL of this server").to_owned();
    for _ in 0..60 {
        let headers = [("x-hostile", HOSTILE), ("content-type", "text/html")];
        let kept = rig.raw("POST", &format!("{path}/%3Cscript%3E?a='b"), "", &headers, HOSTILE).await;
        assert_eq!(kept.headers[header::CONTENT_TYPE], "application/json");
        assert!(!kept.text().contains("script"));
    }
    let first = rig.raw("GET", &format!("{path}/_"), "", &[], "").await;
    assert_harmless(&first);
    assert!(first.text().contains("&lt;script&gt;alert(1)") && first.text().contains("#60 ") && !first.text().contains("#10 "));
    // Older requests are one link away.
    let link = first.text().split_once("href=\"?cursor=").and_then(|(_, rest)| rest.split('"').next()).expect("a link").to_owned();
    let second = rig.raw("GET", &format!("{path}/_?cursor={link}"), "", &[], "").await;
    assert_harmless(&second);
    assert!(second.text().contains("#10 ") && !second.text().contains("#11 ") && !second.text().contains("Older"));
    for wrong in ["?cursor=nonsense", "?nonsense=<script>1</script>"] {
        let page = rig.raw("GET", &format!("{path}/_{}", wrong.replace('<', "%3C").replace('>', "%3E")), "", &[], "").await;
        assert_eq!(page.status, 400, "{wrong}");
        assert_harmless(&page);
    }
    // The same for programs, in pages as all lists are.
    let list = rig.raw("GET", &format!("{path}/_.json?limit=7"), "", &[], "").await;
    assert_eq!(
        (&list.headers[header::CONTENT_TYPE], &list.headers[header::X_CONTENT_TYPE_OPTIONS]),
        (&"application/json".parse().expect("a value"), &"nosniff".parse().expect("a value"))
    );
    let list = list.expect(200);
    assert_eq!((list["items"].as_array().map(Vec::len), &list["items"][0]["body"]), (Some(7), &json!(HOSTILE)));
    let next = list["next"].as_str().expect("more");
    let list = rig.raw("GET", &format!("{path}/_.json?limit=1000&cursor={next}"), "", &[], "").await.expect(200);
    assert_eq!(
        (list["items"][0]["number"].clone(), list["items"].as_array().map(Vec::len), &list["next"]),
        (json!(53), Some(53), &Value::Null)
    );
}

#[tokio::test]
async fn the_first_page_leads_on() {
    let rig = Rig::new().await;
    let page = rig.raw("GET", "/", "", &[], "").await;
    assert_eq!(page.status, 200);
    assert_harmless(&page);
    for link in page.text().split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert_eq!(rig.raw("GET", link, "", &[], "").await.status, 200, "{link}");
    }
}
