//! The log: deliveries with every attempt, and what sends them again.

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::rig::{Made, Rig, id, ids};

/// A receiver on loopback that answers 503 with a large body; its URL.
async fn refusing_receiver(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = service_fn(async |_: http::Request<hyper::body::Incoming>| {
                let body = Full::new(bytes::Bytes::from("é".repeat(20_000)));
                http::Response::builder().status(503).header("x-reason", "closed for today").body(body)
            });
            // One connection after the other is enough here.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        }
    });
    url
}

// MSGGO-80: every attempt is logged with what was sent, secrets masked, and what came back, the first 16 KiB of it.
#[tokio::test]
async fn every_attempt_is_logged() {
    let rig = Rig::of(Made { is_real: true, ..Made::default() }).await;
    let mut receivers = JoinSet::new();
    let settings = json!({
        "url": refusing_receiver(&mut receivers).await, "headers": {"X-Api-Key": "s3cret-key", "X-Plain": "shown"},
        "auth": {"bearer": "s3cret-token"},
    });
    let target = rig.post("/targets", json!({"name": "t", "channel": "webhook", "settings": settings})).await.expect(201);
    let policy = json!({"retry": {"delays": ["1ms"]}, "jitter": 0});
    rig.post("/subscriptions", json!({"event_types": ["a"], "target_id": id(&target), "policy": policy})).await.expect(201);
    let event = rig.publish("a", json!({"n": 1})).await;
    let delivery = rig.delivery_in(&event, "failed").await;
    let shown = rig.get(&format!("/deliveries/{}", id(&delivery))).await;
    assert!(!shown.text().contains("s3cret"), "{}", shown.text());
    let shown = shown.expect(200);
    assert_eq!((&shown["event_id"], &shown["target_id"], &shown["attempt_count"]), (&json!(event), &target["id"], &json!(2)));
    let attempts = shown["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2);
    for (at, attempt) in attempts.iter().enumerate() {
        assert_eq!((&attempt["number"], &attempt["status"]), (&json!(at + 1), &json!(503)));
        assert_eq!((&attempt["error"], &attempt["fault"]), (&json!("status_refused"), &json!("theirs")));
        assert!(attempt["at"].is_string() && attempt["duration_ms"].is_f64() && attempt["message"].is_string(), "{attempt}");
        let request = attempt["request"].as_str().expect("text");
        for line in ["POST /hook", "x-plain: shown", "authorization: [masked]", "x-api-key: [masked]"] {
            assert!(request.contains(line), "{line} in {request}");
        }
        assert!(attempt["response"].as_str().is_some_and(|response| response.contains("x-reason: closed for today")), "{attempt}");
        let body = attempt["response_body"].as_str().expect("text");
        assert_eq!(body.chars().filter(|c| *c == 'é').count(), 8192, "the first 16 KiB are kept, {} bytes", body.len());
    }
    let listed = &rig.get("/deliveries?state=failed").await.expect(200)["items"][0];
    assert_eq!((&listed["last_attempt"]["number"], &listed["last_attempt"]["status"]), (&json!(2), &json!(503)));
    assert!(listed.get("attempts").is_none());
}

// A delivery of a batch names its events, and every event names the delivery.
#[tokio::test]
async fn a_batch_shows_its_events() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    let policy = json!({"batch": {"events": 3, "wait": "10m"}});
    rig.post("/subscriptions", json!({"event_types": ["a"], "target_id": target, "policy": policy})).await.expect(201);
    let mut events = Vec::new();
    for n in 0..3 {
        events.push(rig.publish("a", json!(n)).await);
    }
    let delivery = rig.delivery_in(&events[0], "delivered").await;
    assert_eq!((&delivery["is_batch"], &delivery["event_id"]), (&json!(true), &json!(events[0])));
    assert!(delivery.get("event_ids").is_none(), "lists leave them out");
    let shown = rig.get(&format!("/deliveries/{}", id(&delivery))).await.expect(200);
    assert_eq!(shown["event_ids"], json!(events));
    for event in &events {
        assert_eq!(rig.get(&format!("/events/{event}")).await.expect(200)["deliveries"][0]["id"], delivery["id"]);
    }
}

// Pages of deliveries neither skip nor repeat while more are made.
#[tokio::test]
async fn the_list_of_deliveries_keeps_its_place() {
    let rig = Rig::new().await;
    let targets = [rig.target("ok").await, rig.target("other").await];
    for target in &targets {
        rig.subscribe(target, &["a"]).await;
    }
    for n in 0..6 {
        let event = rig.publish("a", json!(n)).await;
        rig.until(&format!("/events/{event}"), |event| {
            event["deliveries"].as_array().is_some_and(|all| all.iter().all(|d| d["state"] == "delivered"))
        })
        .await;
    }
    for filter in [String::new(), format!("&target_id={}", targets[0]), "&state=delivered&type=a".to_owned()] {
        let mut before = ids(&rig.get(&format!("/deliveries?order=asc&limit=1000{filter}")).await.expect(200));
        for order in ["desc", "asc"] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = rig.get(&format!("/deliveries?limit=5&order={order}{filter}{cursor}")).await.expect(200);
                seen.extend(ids(&page));
                // Something new for the first pages only, so that an ascending list ends.
                if seen.len() < 20 {
                    let event = rig.publish("a", json!("later")).await;
                    rig.delivery_in(&event, "delivered").await;
                }
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            if order == "desc" {
                seen.reverse();
                assert_eq!(seen, before, "{filter}");
            } else {
                assert_eq!(seen[..before.len()], before, "{filter}");
            }
            let mut unique = seen.clone();
            unique.dedup();
            assert_eq!(unique.len(), seen.len(), "{filter} {order}: something came twice");
            before = ids(&rig.get(&format!("/deliveries?order=asc&limit=1000{filter}")).await.expect(200));
        }
    }
}

// What is in a document is found, whatever type it has, with its deliveries and in pages.
#[tokio::test]
async fn events_are_searched_by_their_documents() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let one = rig.publish("a", json!({"customer": "Zoë Miller"})).await;
    let two = rig.publish("b", json!({"customer": "Smith"})).await;
    let three = rig.publish("a", json!({"note": ["of MILLER"]})).await;
    rig.delivery_in(&three, "delivered").await;
    assert_eq!(ids(&rig.get("/events?search=miller").await.expect(200)), [three.clone(), one.clone()]);
    assert_eq!(ids(&rig.get("/events?search=zo%C3%AB%20m&type=a").await.expect(200)), std::slice::from_ref(&one));
    assert!(ids(&rig.get("/events?search=miller&type=b").await.expect(200)).is_empty());
    let none = rig.get("/events?search=jones").await.expect(200);
    assert_eq!((ids(&none).len(), &none["next"]), (0, &Value::Null));
    let page = rig.get("/events?search=M&limit=2&order=asc&deliveries=true").await.expect(200);
    assert_eq!(ids(&page), [one, two]);
    let deliveries: Vec<usize> =
        page["items"].as_array().expect("items").iter().map(|item| item["deliveries"].as_array().map_or(9, Vec::len)).collect();
    assert_eq!(deliveries, [1, 0]);
    let next = page["next"].as_str().expect("there is one more");
    let last = rig.get(&format!("/events?search=M&limit=2&order=asc&deliveries=true&cursor={next}")).await.expect(200);
    assert_eq!(ids(&last), [three]);
    assert_eq!(last["items"][0]["deliveries"][0]["last_attempt"]["number"], 1);
}

/// Many deliveries that failed for good; their target.
async fn failures(rig: &Rig, count: usize) -> String {
    let target = rig.target("status/400").await;
    let policy = json!({"stop": [400]});
    rig.post("/subscriptions", json!({"event_types": ["a"], "target_id": target, "policy": policy})).await.expect(201);
    rig.post("/events", Value::Array((0..count).map(|n| json!({"type": "a", "data": n})).collect())).await.expect(202);
    rig.recorder.wait_for(count).await;
    rig.until(&format!("/targets/{target}"), |target| target["health"]["queued"] == 0).await;
    target
}

#[tokio::test]
async fn a_replay_shows_its_progress_and_survives_a_restart() {
    let rig = Rig::new().await;
    let target = failures(&rig, 450).await;
    rig.call("PATCH", &format!("/targets/{target}"), json!({"settings": {"url": "http://receiver.test/ok"}})).await.expect(200);
    let made = rig.post("/replays", json!({"target_id": target, "event_type": "a"})).await.expect(201);
    assert_eq!((&made["states"], &made["scanned"], &made["resent"]), (&json!(["failed"]), &json!(0), &json!(0)));
    assert!(made["to"].is_string() && made["state"] == "running", "{made}");
    let one = format!("/replays/{}", id(&made));
    let done = rig.until(&one, |replay| replay["state"] == "done").await;
    assert_eq!((&done["scanned"], &done["resent"]), (&json!(450), &json!(450)));
    rig.recorder.wait_for(900).await;
    let rig = rig.restart().await;
    assert_eq!(rig.get(&one).await.expect(200)["state"], "done");
    assert_eq!(ids(&rig.get("/replays").await.expect(200)), [id(&made)]);
    // Nothing is failed any more, so there is nothing to do.
    let again = rig.post("/replays", json!({"target_id": target})).await.expect(201);
    let done = rig.until(&format!("/replays/{}", id(&again)), |replay| replay["state"] == "done").await;
    assert_eq!(done["scanned"], 0);
}

// A request with an Idempotency-Key starts one replay, however often it comes, at once or after a restart.
#[tokio::test]
async fn a_replay_that_is_asked_for_twice_is_started_once() {
    let path = "/posthaste/v1/replays";
    let rig = Rig::new().await;
    let target = failures(&rig, 3).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "outage-7")];
    let body = json!({ "target_id": target }).to_string();
    let ask = |body: &str| rig.raw("POST", path, &rig.token, &headers, body.to_owned());
    let (one, two) = tokio::join!(ask(&body), ask(&body));
    let made = id(&one.expect(201));
    assert_eq!(id(&two.expect(201)), made);
    let repeated = [&one, &two].map(|answer| answer.headers.contains_key("idempotent-replayed"));
    assert_eq!(repeated.iter().filter(|is_repeated| **is_repeated).count(), 1, "{repeated:?}");
    rig.until(&format!("/replays/{made}"), |replay| replay["state"] == "done").await;
    assert_eq!(ask("{}").await.problem(), (422, "idempotency_mismatch".into(), Some("Idempotency-Key".into())));
    let rig = rig.restart().await;
    let again = rig.raw("POST", path, &rig.token, &headers, body).await;
    assert_eq!((id(&again.expect(201)), &again.expect(201)["state"]), (made.clone(), &json!("done")));
    assert_eq!(ids(&rig.get("/replays").await.expect(200)), [made]);
    let other = rig.post("/replays", json!({ "target_id": target })).await.expect(201);
    assert_eq!(ids(&rig.get("/replays").await.expect(200)).len(), 2, "without a key it is another one: {other}");
}

// A replay waits behind what its targets have to do, and can be stopped then.
#[tokio::test]
async fn a_replay_is_cancelled() {
    let rig = Rig::new().await;
    let target = failures(&rig, 1000).await;
    rig.call("PATCH", &format!("/targets/{target}"), json!({"settings": {"url": "http://receiver.test/hangs"}})).await.expect(200);
    let made = rig.post("/replays", json!({"target_id": target})).await.expect(201);
    let one = format!("/replays/{}", id(&made));
    let running = rig.until(&one, |replay| replay["scanned"].as_u64() >= Some(400)).await;
    assert_eq!(running["state"], "running", "{running}");
    let cancelled = rig.call("POST", &format!("{one}/cancel"), Value::Null).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["scanned"].as_u64() < Some(1000), "{cancelled}");
    // Every delivery is either failed as before or counted as sent again, also those that were on their way at that moment.
    let mut sums = Vec::new();
    while sums.last() != Some(&1000) {
        assert!(sums.len() < 10_000, "they do not add up: {sums:?}");
        let resent = rig.get(&one).await.expect(200)["resent"].as_u64().expect("a count");
        let failed = rig.get("/deliveries?state=failed&limit=1000").await.expect(200);
        sums.push(resent + failed["items"].as_array().expect("items").len() as u64);
    }
    assert_eq!(rig.get(&one).await.expect(200)["state"], "cancelled");
    let again = rig.call("POST", &format!("{one}/cancel"), Value::Null).await;
    assert_eq!(again.problem().1, "wrong_state");
}

#[tokio::test]
async fn a_pending_delivery_is_cancelled_and_not_sent_again_unasked() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    rig.call("POST", &format!("/targets/{target}/pause"), Value::Null).await.expect(200);
    let event = rig.publish("a", json!(1)).await;
    let held = rig.delivery_in(&event, "held").await;
    let one = format!("/deliveries/{}", id(&held));
    assert_eq!(rig.call("POST", &format!("{one}/resend"), Value::Null).await.problem().1, "wrong_state");
    assert_eq!(rig.call("POST", &format!("{one}/cancel"), Value::Null).await.expect(200)["state"], "cancelled");
    rig.call("POST", &format!("/targets/{target}/resume"), Value::Null).await.expect(200);
    let next = rig.publish("a", json!(2)).await;
    rig.delivery_in(&next, "delivered").await;
    assert_eq!(rig.recorder.sent.lock().len(), 1, "the cancelled one was not sent");
    // But it can be sent after all.
    assert_eq!(rig.call("POST", &format!("{one}/resend"), Value::Null).await.expect(202)["state"], "queued");
    rig.delivery_in(&event, "delivered").await;
}

// A delivery that waits for its time is sent then and not before.
#[tokio::test]
async fn a_later_delivery_comes_at_its_time() {
    let rig = Rig::new().await;
    let target = rig.target("ok").await;
    rig.subscribe(&target, &["a"]).await;
    let at_ms = posthaste_domain::clock::Clock::now_ms(&*rig.clock) + 250;
    let at = posthaste_domain::clock::rfc3339(at_ms);
    let later = id(&rig.post("/events", json!({"type": "a", "data": "later", "deliver_at": at})).await.expect(202));
    let delivery = rig.delivery_in(&later, "delivered").await;
    let started = delivery["first_attempt_at"].as_str().expect("a time");
    assert!(started >= at.as_str(), "sent at {started}, due at {at}");
}

/// What a deleted target is still owed is queued, in lists and in numbers, whatever else is paused.
#[tokio::test]
async fn deliveries_of_deleted_targets_are_found_and_counted() {
    let rig = Rig::new().await;
    let (hanging, paused) = (rig.target("hangs").await, rig.target("ok").await);
    rig.post(&format!("/targets/{}/pause", paused), json!({})).await.expect(200);
    let subscription = rig.subscribe(&hanging, &["a"]).await;
    rig.subscribe(&paused, &["a"]).await;
    rig.publish("a", json!(1)).await;
    rig.recorder.wait_for(1).await;
    rig.call("DELETE", &format!("/subscriptions/{subscription}"), Value::Null).await.expect(204);
    rig.call("DELETE", &format!("/targets/{hanging}"), Value::Null).await.expect(204);
    let targets = |list: &Value| -> Vec<String> {
        let data = list["items"].as_array().expect("a list").iter();
        data.map(|delivery| delivery["target_id"].as_str().expect("an id").to_owned()).collect()
    };
    for (query, found) in [
        (format!("state=queued&target_id={hanging}"), vec![&hanging]),
        ("state=queued".to_owned(), vec![&hanging]),
        ("state=held".to_owned(), vec![&paused]),
        (format!("state=held&target_id={hanging}"), vec![]),
        (format!("state=queued&target_id={paused}"), vec![]),
    ] {
        let list = rig.get(&format!("/deliveries?{query}")).await.expect(200);
        assert_eq!(targets(&list).iter().collect::<Vec<_>>(), found, "{query}: {list}");
    }
    let numbers = rig.get("/statistics").await.expect(200);
    assert_eq!(numbers["deliveries"], json!({"queued": 1, "held": 1, "in_flight": 1}));
}
