//! Listing and retrieving webhooks.

use serde_json::json;

use crate::receiver::{Receiver, reply};
use crate::rig::{BASE, HOUR, Rig, SECOND, webhook, with};

// MOMENTUM-28, MOMENTUM-29, MOMENTUM-30, MOMENTUM-31
#[tokio::test]
async fn the_list_shows_every_webhook_with_its_link() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let empty = rig.call("GET", "", None).await;
    assert_eq!(empty.text, r#"{"results":[]}"#);
    let first = rig.create(with(webhook(&receiver, &["bounce", "delay"]), "name", json!("First"))).await;
    let second = rig.create(with(webhook(&receiver, &["open"]), "auth_token", json!("secret"))).await;
    let list = rig.get("").await;
    assert_eq!([&list[0]["id"], &list[1]["id"]], [&json!(first), &json!(second)]);
    let shown = &list[0];
    let href = format!("http://momentum.example:8080{BASE}/{first}");
    assert_eq!(
        shown,
        &json!({
            "id": first, "name": "First", "target": format!("{}/hook?a=1", receiver.url), "events": ["bounce", "delay"],
            "auth_type": "none", "auth_request_details": {}, "auth_credentials": {}, "auth_token": "", "custom_headers": {}, "active": true,
            "links": [{ "href": href, "rel": "urn.msys.webhooks.webhook", "method": ["GET", "PUT"] }]
        })
    );
    assert_eq!(list[1]["auth_token"], "secret");
}

// MOMENTUM-35, MOMENTUM-36
#[tokio::test]
async fn one_webhook_shows_where_to_go_on() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.create(webhook(&receiver, &["bounce"])).await;
    let shown = rig.get(&format!("/{id}")).await;
    let href = format!("http://momentum.example:8080{BASE}/{id}");
    assert_eq!(
        shown["links"],
        json!([
            { "href": format!("{href}/validate"), "rel": "urn.msys.webhooks.validate", "method": ["POST"] },
            { "href": format!("{href}/batch-status"), "rel": "urn.msys.webhooks.batches", "method": ["GET"] }
        ])
    );
    assert_eq!((&shown["id"], shown.get("last_successful"), shown.get("last_failure")), (&json!(id), None, None));
    for unknown in ["1cc94ef0-ab17-11e4-b135-0ff9de159aa7", "x", &id.to_uppercase()] {
        let error = rig.call("GET", &format!("/{unknown}"), None).await.error(404);
        assert_eq!(error, json!({ "message": "resource not found", "code": "1600" }));
    }
}

// MOMENTUM-31, MOMENTUM-32, MOMENTUM-33, MOMENTUM-34
#[tokio::test]
async fn the_last_outcomes_are_shown_in_the_time_zone_asked_for() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let id = rig.ready(&receiver, &["bounce"]).await;
    let path = format!("/{id}");
    rig.publish("bounce", json!({})).await;
    receiver.answer(|_| reply(500));
    rig.pass(31 * SECOND).await;
    let failed = rig.first_delivery("failed", |delivery| delivery.attempts == 1).await;
    let shown = rig.get(&path).await;
    assert!(shown.get("last_successful").is_none(), "{shown}");
    receiver.answer(|_| reply(200));
    rig.pass(60 * SECOND).await;
    let delivered = rig.first_delivery("succeeded", |delivery| delivery.attempts == 2).await;
    let at = |ms: i64, zone: &str| {
        let time = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(jiff::tz::TimeZone::get(zone).unwrap());
        time.strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    for (query, zone) in [("", "UTC"), ("?timezone=America%2FNew_York", "America/New_York"), ("?timezone=Asia/Kolkata", "Asia/Kolkata")] {
        let shown = rig.get(&format!("{path}{query}")).await;
        assert_eq!(shown["last_successful"], at(delivered.updated_ms, zone), "{zone}");
        let failure = shown["last_failure"].as_str().unwrap();
        // The attempt began a little before it was recorded.
        assert!([at(failed.updated_ms, zone), at(failed.updated_ms - 1000, zone)].contains(&failure.to_owned()), "{failure}");
        assert_eq!(rig.get(query).await[0]["last_successful"], shown["last_successful"]);
    }
    for bad in ["Nowhere/City", ""] {
        let error = rig.call("GET", &format!("{path}?timezone={bad}"), None).await.error(400);
        assert_eq!((&error["message"], &error["code"]), (&json!("invalid params"), &json!("1200")));
        assert_eq!(rig.call("GET", &format!("?timezone={bad}"), None).await.status, 400);
    }
    // Another version of the webhook knows it still, however old it gets.
    let last = rig.get(&path).await["last_successful"].clone();
    assert_eq!(rig.put(&id, json!({ "auth_token": "new" })).await.status, 200);
    rig.pass(60 * HOUR).await;
    assert_eq!(rig.put(&id, json!({ "name": "n" })).await.status, 200);
    assert_eq!(rig.get(&path).await["last_successful"], last);
}
