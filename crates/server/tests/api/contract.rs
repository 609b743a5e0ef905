//! The contract for outside tools, and what Standard Webhooks and MsgGO ask of the API.

use serde_json::json;

use crate::rig::{Rig, id, ids};

#[tokio::test]
async fn the_contract_keeps_its_names() {
    let rig = Rig::new().await;
    let event_type = rig.post("/event-types", json!({"name": "Order Paid", "group": "Sales", "description": "d"})).await.expect(201);
    assert_eq!(event_type["rule"], json!({"event_name": "order-paid"}));
    let target = json!({"name": "t", "channel": "webhook", "settings": {"url": "http://receiver.test/ok", "method": "POST", "headers": {"x-a": "b"}}});
    let target = rig.post("/targets", target).await.expect(201);
    for action in ["pause", "resume", "test"] {
        rig.call("POST", &format!("/targets/{}/{action}", id(&target)), json!(null)).await.expect(200);
    }
    let blocks = json!([
        {"kind": "text", "text": "Hello {{ data.name }}"},
        {"kind": "table", "path": "data.items", "columns": [{"heading": "Name", "field": "name"}]},
    ]);
    let template = rig.post("/templates", json!({"name": "tpl", "blocks": blocks})).await.expect(201);
    let policy = json!({
        "timeout": "15s", "retry": {"exponential": {"first": "1s", "factor": 2, "max": "1m", "window": "1h"}}, "success": ["2xx"], "stop": [410],
        "batch": {"events": 10, "bytes": "1MiB", "wait": "1s"}, "rate": {"limit": 10, "per": "1s"}, "concurrency": 4, "order": "none",
    });
    let subscription = json!({
        "event_types": ["order.*"], "target_id": id(&target), "template_id": id(&template), "format": "standard",
        "filter": {"amount": {"$gt": 1}}, "policy": policy,
    });
    rig.post("/subscriptions", subscription).await.expect(201);
    let key = rig.post("/keys", json!({"kind": "public", "description": "shop", "allowed_domains": ["example.com"]})).await.expect(201);
    assert!(key["token"].is_string() && key["id"].is_string(), "{key}");

    let one = rig.post("/events", json!({"type": "a.b", "data": {"x": 1}})).await.expect(202);
    assert_eq!(one["ids"], json!([one["id"]]));
    assert!(one["sequence"].is_i64() && one["received_at"].is_string(), "{one}");
    let many = rig.post("/events", json!([{"type": "a", "data": 1}, {"type": "b", "data": 2}])).await.expect(202);
    assert_eq!(many["ids"].as_array().expect("ids").len(), 2);
    assert_eq!(many["items"][1]["id"], many["ids"][1]);

    let list = rig.get("/events").await.expect(200);
    assert_eq!(ids(&list), [many["ids"][1].as_str(), many["ids"][0].as_str(), one["id"].as_str()].map(|id| id.expect("an id").to_owned()));
    assert!(list["next"].is_null());
    let event = &list["items"][2];
    for name in ["id", "sequence", "type", "data", "source", "received_at"] {
        assert!(event.get(name).is_some(), "{name} in {event}");
    }
    assert_eq!((&event["source"]["via"], &event["source"]["ip"]), (&json!("api"), &json!("192.0.2.7")));
    let ascending = rig.get("/events?order=asc").await.expect(200);
    assert_eq!(ids(&ascending).first(), one["id"].as_str().map(str::to_owned).as_ref());
    rig.get("/deliveries").await.expect(200);
}

// STDWH-61: endpoints can be added, listed and removed by API.
#[tokio::test]
async fn endpoints_are_added_listed_and_removed() {
    let rig = Rig::new().await;
    let (first, second) = (rig.target("ok").await, rig.target("other").await);
    assert_eq!(ids(&rig.get("/targets").await.expect(200)), [second.clone(), first.clone()]);
    rig.call("DELETE", &format!("/targets/{first}"), json!(null)).await.expect(204);
    assert_eq!(ids(&rig.get("/targets").await.expect(200)), [second]);
    assert_eq!(rig.get(&format!("/targets/{first}")).await.problem().1, "not_found");
}

// STDWH-62, STDWH-63: chosen types only; several endpoints receive the same event.
#[tokio::test]
async fn endpoints_receive_the_types_they_chose() {
    let rig = Rig::new().await;
    for (place, types) in [("one", &["order.*"][..]), ("two", &["order.paid", "user.*"]), ("three", &["user.*"])] {
        let target = rig.target(place).await;
        rig.subscribe(&target, types).await;
    }
    let event = rig.publish("order.paid", json!({"n": 1})).await;
    let mut places: Vec<String> = rig.recorder.wait_for(2).await.into_iter().map(|sent| sent.url).collect();
    places.sort();
    assert_eq!(places, ["http://receiver.test/one", "http://receiver.test/two"]);
    let shown = rig.get(&format!("/events/{event}")).await.expect(200);
    assert_eq!(shown["deliveries"].as_array().expect("deliveries").len(), 2);
}

// STDWH-64, MSGGO-80: failed messages can be listed with status or error, and the log has every attempt.
#[tokio::test]
async fn failures_are_listed_with_their_reason() {
    let rig = Rig::new().await;
    let (refusing, gone) = (rig.target("status/500").await, rig.target("refused").await);
    rig.subscribe(&refusing, &["a"]).await;
    rig.subscribe(&gone, &["b"]).await;
    let (a, b) = (rig.publish("a", json!(1)).await, rig.publish("b", json!(2)).await);
    rig.delivery_in(&a, "failed").await;
    rig.delivery_in(&b, "failed").await;
    let failed = rig.get("/deliveries?state=failed&order=asc").await.expect(200);
    let last: Vec<_> = failed["items"].as_array().expect("items").iter().map(|item| &item["last_attempt"]).collect();
    assert_eq!((&last[0]["status"], &last[0]["error"], &last[0]["fault"]), (&json!(500), &json!("status_refused"), &json!("theirs")));
    assert_eq!((&last[1]["status"], &last[1]["error"], &last[1]["fault"]), (&json!(null), &json!("connect_refused"), &json!("network")));
    let one = rig.get(&format!("/deliveries/{}", id(&failed["items"][0]))).await.expect(200);
    let attempt = &one["attempts"][0];
    assert_eq!((&attempt["response_body"], &attempt["response"]), (&json!("thanks"), &json!("content-type: text/plain")));
    assert_eq!(one["attempt_count"], 1);
    // Every code of an attempt has a page.
    let page = rig.raw("GET", "/posthaste/v1/errors/connect_refused", "", &[], "").await;
    assert!(page.text().starts_with("# `connect_refused`"), "{}", page.text());
    // By target and by type, as by state.
    let of_target = rig.get(&format!("/deliveries?target_id={gone}&state=failed,delivered")).await.expect(200);
    assert_eq!(ids(&of_target), [id(&failed["items"][1])]);
    assert_eq!(ids(&rig.get("/deliveries?type=a").await.expect(200)), [id(&failed["items"][0])]);
    assert!(ids(&rig.get("/deliveries?state=delivered").await.expect(200)).is_empty());
}

// STDWH-65: one failed message is sent again with the same id and a fresh timestamp.
#[tokio::test]
async fn a_failed_delivery_is_resent_with_its_id() {
    let rig = Rig::new().await;
    let target = rig.target("status/500").await;
    rig.subscribe(&target, &["a"]).await;
    let event = rig.publish("a", json!({"n": 1})).await;
    let delivery = rig.delivery_in(&event, "failed").await;
    let settings = json!({"settings": {"url": "http://receiver.test/ok"}});
    rig.call("PATCH", &format!("/targets/{target}"), settings).await.expect(200);
    rig.clock.advance(std::time::Duration::from_secs(5));
    let resent = rig.call("POST", &format!("/deliveries/{}/resend", id(&delivery)), json!(null)).await.expect(202);
    assert_eq!(id(&resent), id(&delivery));
    let sent = rig.recorder.wait_for(2).await;
    let header = |at: usize, name: &str| {
        sent[at].headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.to_str().expect("ASCII").to_owned())
    };
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"));
    assert_eq!(header(0, "webhook-id"), Some(id(&delivery)));
    let time = |at| header(at, "webhook-timestamp").and_then(|t| t.parse::<i64>().ok()).expect("a timestamp");
    assert!(time(1) >= time(0) + 5, "{} then {}", time(0), time(1));
    rig.delivery_in(&event, "delivered").await;
    // A pending delivery is not sent twice, a finished one cannot be cancelled.
    let again = rig.call("POST", &format!("/deliveries/{}/cancel", id(&delivery)), json!(null)).await;
    assert_eq!(again.problem().1, "wrong_state");
}

// STDWH-66: a time range can be replayed.
#[tokio::test]
async fn a_time_range_is_replayed() {
    let rig = Rig::new().await;
    let target = rig.target("status/503").await;
    rig.subscribe(&target, &["a"]).await;
    let mut events = Vec::new();
    let mut times = Vec::new();
    for n in 0..3 {
        let event = rig.post("/events", json!({"type": "a", "data": n})).await.expect(202);
        times.push(event["received_at"].as_str().expect("a time").to_owned());
        events.push(id(&event));
        rig.delivery_in(&events[n], "failed").await;
        rig.clock.advance(std::time::Duration::from_secs(60));
    }
    rig.call("PATCH", &format!("/targets/{target}"), json!({"settings": {"url": "http://receiver.test/ok"}})).await.expect(200);
    let range = json!({"target_id": target, "from": times[1], "to": times[2], "states": ["failed"]});
    let replay = rig.post("/replays", range).await.expect(201);
    rig.delivery_in(&events[1], "delivered").await;
    for (event, state) in [(&events[0], "failed"), (&events[2], "failed")] {
        rig.delivery_in(event, state).await;
    }
    let shown = rig.until(&format!("/replays/{}", id(&replay)), |replay| replay["state"] != "running").await;
    assert_eq!((&shown["state"], &shown["scanned"], &shown["resent"]), (&json!("done"), &json!(1), &json!(1)));
    let cancelled = rig.call("POST", &format!("/replays/{}/cancel", id(&replay)), json!(null)).await;
    assert_eq!(cancelled.problem().1, "wrong_state");
}

// STDWH-68: a disabled endpoint can be enabled again.
#[tokio::test]
async fn a_disabled_endpoint_is_enabled_again() {
    let rig = Rig::new().await;
    let target = rig.target("status/410").await;
    rig.subscribe(&target, &["a"]).await;
    let event = rig.publish("a", json!(1)).await;
    rig.delivery_in(&event, "failed").await;
    let shown = rig.until(&format!("/targets/{target}"), |target| target["status"] == "disabled").await;
    assert_eq!(shown["health"]["state"], "disabled", "{shown}");
    assert!(shown["status_reason"].is_string());
    rig.call("PATCH", &format!("/targets/{target}"), json!({"settings": {"url": "http://receiver.test/ok"}})).await.expect(200);
    let shown = rig.call("POST", &format!("/targets/{target}/resume"), json!(null)).await.expect(200);
    assert_eq!((&shown["status"], &shown["status_reason"]), (&json!("active"), &json!(null)));
    let event = rig.publish("a", json!(2)).await;
    rig.delivery_in(&event, "delivered").await;
}

// A paused target holds its deliveries, and the lists say so.
#[tokio::test]
async fn a_paused_target_holds() {
    let rig = Rig::new().await;
    let (paused, other) = (rig.target("ok").await, rig.target("other").await);
    rig.subscribe(&paused, &["a"]).await;
    rig.subscribe(&other, &["a"]).await;
    rig.call("POST", &format!("/targets/{paused}/pause"), json!({"reason": "maintenance"})).await.expect(200);
    let event = rig.publish("a", json!(1)).await;
    let held = rig.delivery_in(&event, "held").await;
    let delivered = rig.delivery_in(&event, "delivered").await;
    assert_eq!(ids(&rig.get("/deliveries?state=held").await.expect(200)), [id(&held)]);
    assert!(ids(&rig.get("/deliveries?state=queued").await.expect(200)).is_empty());
    assert_eq!(ids(&rig.get("/deliveries?state=held,delivered").await.expect(200)).len(), 2);
    assert_eq!(ids(&rig.get(&format!("/deliveries?state=held&target_id={other}")).await.expect(200)), Vec::<String>::new());
    assert_ne!(id(&held), id(&delivered));
    let numbers = rig.get("/statistics").await.expect(200);
    assert_eq!((&numbers["deliveries"]["held"], &numbers["resources"]["targets"]), (&json!(1), &json!(2)), "{numbers}");
    rig.call("POST", &format!("/targets/{paused}/resume"), json!(null)).await.expect(200);
    rig.recorder.wait_for(2).await;
}

// MSGGO-77: an event definition can hold several templates, one per subscription.
#[tokio::test]
async fn an_event_type_holds_several_templates() {
    let rig = Rig::new().await;
    rig.post("/event-types", json!({"name": "order-paid"})).await.expect(201);
    let target = rig.target("ok").await;
    for text in ["A {{ data.n }}", "B {{ data.n }}"] {
        let template = rig.post("/templates", json!({"name": text, "blocks": [{"kind": "text", "text": text}]})).await.expect(201);
        let body = json!({"event_types": ["order-paid"], "target_id": target, "template_id": id(&template)});
        rig.post("/subscriptions", body).await.expect(201);
    }
    rig.publish("order-paid", json!({"n": 7})).await;
    let mut bodies: Vec<String> =
        rig.recorder.wait_for(2).await.into_iter().map(|sent| String::from_utf8_lossy(&sent.body).trim().to_owned()).collect();
    bodies.sort();
    assert_eq!(bodies, ["A 7", "B 7"]);
}

// MSGGO-79: payload, time and outcome of each event.
#[tokio::test]
async fn the_inbox_shows_payload_time_and_outcome() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let event = rig.publish("a", json!({"n": 1})).await;
    rig.delivery_in(&event, "delivered").await;
    let list = rig.get("/events?deliveries=true").await.expect(200);
    let item = &list["items"][0];
    assert_eq!(item["data"], json!({"n": 1}));
    assert!(item["received_at"].is_string());
    assert_eq!(item["deliveries"][0]["state"], "delivered");
    assert_eq!(item["deliveries"][0]["last_attempt"]["status"], 200);
}
