//! Listing and retrieving: sections 4.2 and 4.3.

use serde_json::{Value, json};

use crate::rig::{Rig, WEBHOOKS};

async fn with_three() -> (Rig, Vec<Value>) {
    let rig = Rig::start().await;
    let mut all = Vec::new();
    for n in 1..=3 {
        let url = format!("http://{n}.example/");
        all.push(rig.create(json!({ "url": url, "method": "POST", "encoding": "JSON", "events": ["RECEIVED_SMS"] })).await);
    }
    (rig, all)
}

// MESSAGEMEDIA-38, MESSAGEMEDIA-39, MESSAGEMEDIA-40, MESSAGEMEDIA-41, MESSAGEMEDIA-42
#[tokio::test]
async fn the_list_has_pages() {
    let (rig, all) = with_three().await;
    let whole = (200, json!({ "page": 0, "pageSize": 100, "pageData": all }));
    for target in ["", "/", "/?", "?", "?page=0&pageSize=0", "/?page=0&pageSize=0", "?page_size=0", "?pageSize=5000", "?other=x"] {
        assert_eq!(rig.call("GET", &format!("{WEBHOOKS}{target}"), Value::Null).await, whole, "{target}");
    }
}

// MESSAGEMEDIA-43, MESSAGEMEDIA-44, MESSAGEMEDIA-45
#[tokio::test]
async fn pages_are_cut_in_order_of_creation() {
    let (rig, all) = with_three().await;
    for (query, page, size, data) in [
        ("pageSize=1&page=1", 1, 1, &all[1..2]),
        ("page_size=1&page=2", 2, 1, &all[2..]),
        ("page_size=2", 0, 2, &all[..2]),
        ("pageSize=2&page=1", 1, 2, &all[2..]),
        ("pageSize=2&page=2", 2, 2, &all[..0]),
        ("page=1", 1, 100, &all[..0]),
        ("page=18446744073709551615&pageSize=100", usize::MAX, 100, &all[..0]),
    ] {
        let answer = rig.call("GET", &format!("{WEBHOOKS}?{query}"), Value::Null).await;
        assert_eq!(answer, (200, json!({ "page": page, "pageSize": size, "pageData": data })), "{query}");
    }
}

// MESSAGEMEDIA-46
#[tokio::test]
async fn pages_are_whole_numbers() {
    let rig = Rig::start().await;
    for query in ["page=-1", "page=a", "page='0'", "pageSize=-1", "pageSize=1.5", "page_size=a", "page="] {
        let (status, answer) = rig.call("GET", &format!("{WEBHOOKS}?{}", query.replace('\'', "%27")), Value::Null).await;
        assert_eq!(status, 400, "{query}: {answer}");
    }
}

// MESSAGEMEDIA-47
#[tokio::test]
async fn one_webhook_is_found_by_its_id() {
    let (rig, all) = with_three().await;
    let target = format!("{WEBHOOKS}/{}", all[1]["id"].as_str().unwrap());
    assert_eq!(rig.call("GET", &target, Value::Null).await, (200, all[1].clone()));
    for unknown in ["76fa7010-8c1f-4a24-917a-4d62a54e744d", "x", "%ff", "a%2Fb"] {
        assert_eq!(rig.call("GET", &format!("{WEBHOOKS}/{unknown}"), Value::Null).await.0, 404, "{unknown}");
    }
    let (status, headers, _) = rig.send("PUT", &target, &[("authorization", rig.key.basic().as_str())], b"{}").await;
    assert_eq!((status.as_u16(), headers["allow"].to_str().unwrap()), (405, "GET, PATCH, DELETE"));
}
