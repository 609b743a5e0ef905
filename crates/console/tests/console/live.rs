//! Live parts: who gets them, how many, and when they end.

use std::time::Duration;

use axum::body::Body;
use http::header;
use http_body_util::BodyExt;
use posthaste_domain::people::{Member, Role};
use posthaste_engine::ResourceError;
use serde_json::{Value, json};

use crate::rig::{Browser, PATIENCE, Rig, read_until};

/// Streams of both kinds: events as they arrive, and a part that is looked at.
const STREAMS: [&str; 2] = ["/console/inbox/live", "/console/overview/live"];
/// Most live parts of one person.
const MOST: usize = 16;

async fn opened(browser: &mut Browser, path: &str) -> Body {
    let answer = browser.open(path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.into_body()
}

/// Waits until the streams have ended; what came before that.
async fn ended(streams: Vec<Body>) -> String {
    let mut last = String::new();
    for mut stream in streams {
        let reading = async {
            while let Some(frame) = stream.frame().await {
                last.push_str(&String::from_utf8_lossy(frame.expect("no error").data_ref().expect("data")));
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the stream ends");
    }
    last
}

async fn both(browser: &mut Browser) -> Vec<Body> {
    let mut streams = Vec::new();
    for path in STREAMS {
        streams.push(opened(browser, path).await);
    }
    // Both are under way.
    read_until(&mut streams[0], "retry:").await;
    read_until(&mut streams[1], "event: part").await;
    streams
}

async fn change(rig: &Rig, id: &str, change: impl Fn(&Member) -> Member + Send + 'static) {
    let change = move |old: &Member| Ok::<_, ResourceError>(change(old));
    rig.state.engine.change_member(id, change).await.expect("the member is changed");
}

#[tokio::test]
async fn whoever_may_not_see_a_part_any_more_gets_no_more_of_it() {
    let rig = Rig::new().await;
    let mut administrator = rig.administrator().await;
    let mut browser = rig.member().await;
    let id = rig.state.engine.member_by_email("mia@example.com").expect("a member").id.clone();
    let workspace = rig.state.engine.id_of(rig.state.engine.workspaces()[0]).expect("an id");
    let other = opened(&mut administrator, STREAMS[0]).await;

    // Another role begins anew, with what it may see.
    let streams = both(&mut browser).await;
    let room = workspace.clone();
    change(&rig, &id, move |old| {
        let mut new = old.clone();
        new.roles.insert(room.clone(), Role::Administrator);
        new
    })
    .await;
    ended(streams).await;

    let streams = both(&mut browser).await;
    change(&rig, &id, |old| Member { disabled: true, ..old.clone() }).await;
    rig.publish("order.secret", json!({"n": 1})).await;
    let last = ended(streams).await;
    assert!(!last.contains("order.secret"), "{last}");
    assert_eq!(browser.open(STREAMS[0]).await.status(), 401);

    change(&rig, &id, |old| Member { disabled: false, ..old.clone() }).await;
    let streams = both(&mut browser).await;
    browser.get("/console/inbox").await.expect(200);
    browser.post("/console/logout", &[]).await.to();
    ended(streams).await;

    // Everybody else goes on.
    let mut other = other;
    read_until(&mut other, "order.secret").await;
}

#[tokio::test]
async fn a_session_that_an_administrator_ends_ends_its_streams() {
    let rig = Rig::new().await;
    let mut administrator = rig.administrator().await;
    let mut browser = rig.member().await;
    let id = rig.state.engine.member_by_email("mia@example.com").expect("a member").id.clone();
    let streams = both(&mut browser).await;
    administrator.get(&format!("/console/members/{id}")).await.expect(200);
    administrator.post(&format!("/console/members/{id}/sessions"), &[]).await.to();
    ended(streams).await;
}

#[tokio::test]
async fn nobody_takes_the_live_parts_of_the_others() {
    let rig = Rig::new().await;
    let mut administrator = rig.administrator().await;
    let mut browser = rig.member().await;
    let mut streams = Vec::new();
    for at in 0..MOST {
        streams.push(opened(&mut browser, STREAMS[at % 2]).await);
    }
    for path in STREAMS {
        let answer = browser.open(path).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()[header::RETRY_AFTER]), (429, &"30".parse().expect("a value")), "{path}");
        let text = answer.into_body().collect().await.expect("whole").to_bytes();
        assert!(String::from_utf8_lossy(&text).starts_with("16 live parts of your pages are open"), "{text:?}");
    }
    // The pages are there all the same, and so are the parts of others.
    browser.get("/console/overview").await.expect(200).has("Accepted events");
    drop(opened(&mut administrator, STREAMS[0]).await);
    // A page that is closed makes room.
    streams.pop();
    drop(opened(&mut browser, STREAMS[1]).await);
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.target("Shop", "https://example.com/hook", &["order.paid"]).await;
    let event = rig.publish("order.paid", json!({"n": 1})).await;
    let path = format!("/console/inbox/{event}");
    browser.get_with(&path, "Request and response").await;
    // A part is sent again when its markup is another one: the boxes of its attempts must be the same each time.
    let (one, two) = (browser.get(&path).await.expect(200).text, browser.get(&path).await.expect(200).text);
    assert_eq!(one, two);
    // Something else may still become of one that waits.
    let waits = rig.api("POST", "/events", json!({"type": "order.paid", "data": 2, "deliver_at": "2026-01-01T00:00:00Z"})).await;
    let path = format!("/console/inbox/{}", waits["id"].as_str().expect("an id"));
    let mut stream = opened(&mut browser, &format!("{path}/live")).await;
    read_until(&mut stream, "\n\n").await;
    rig.pass(Duration::from_secs(20)).await;
    assert_eq!(read_until(&mut stream, "\n\n").await, ": still here\n\n");
}

/// The whole of a stream that ends by itself.
async fn told(browser: &mut Browser, path: &str) -> String {
    let stream = opened(browser, path).await;
    ended(vec![stream]).await
}

#[tokio::test]
async fn a_part_that_cannot_change_any_more_ends() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    rig.target("Shop", "https://example.com/hook", &["order.paid"]).await;
    let event = rig.publish("order.paid", json!({"n": 1})).await;
    browser.get_with(&format!("/console/inbox/{event}"), "Request and response").await;
    let delivery = rig.api("GET", "/deliveries", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let unwanted = rig.publish("order.lost", json!(1)).await;
    let replay = rig.api("POST", "/replays", json!({"states": ["failed"]})).await["id"].as_str().expect("an id").to_owned();
    for path in [format!("inbox/{event}"), format!("deliveries/{delivery}"), format!("inbox/{unwanted}"), format!("replays/{replay}")] {
        let text = told(&mut browser, &format!("/console/{path}/live")).await;
        assert!(text.starts_with("event: part\n") && text.ends_with("\n\nevent: end\ndata: Final\n\n"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_part_whose_thing_is_deleted_says_so_and_ends() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let gone = "event: end\ndata: Gone\n\n";
    let bin = rig.api("POST", "/bins", json!({"name": "Short"})).await["id"].as_str().expect("an id").to_owned();
    let target = json!({"name": "Short", "channel": "webhook", "settings": {"url": "https://example.com/hook"}});
    let target = rig.api("POST", "/targets", target).await["id"].as_str().expect("an id").to_owned();
    for (kind, id) in [("bins", bin), ("targets", target)] {
        let path = format!("/console/{kind}/{id}/live");
        let mut stream = opened(&mut browser, &path).await;
        read_until(&mut stream, "\n\n").await;
        rig.api("DELETE", &format!("/{kind}/{id}"), Value::Null).await;
        let last = ended(vec![stream]).await;
        assert!(last.contains("This was deleted.") && last.ends_with(gone), "{path}: {last}");
        // Whoever asks again hears it once more, and that it is over.
        let again = told(&mut browser, &path).await;
        assert!(again.contains("This was deleted.") && again.ends_with(gone), "{path}: {again}");
    }
    let bin = rig.api("POST", "/bins", json!({"name": "Old", "expires_in": "1h"})).await["id"].as_str().expect("an id").to_owned();
    let stream = opened(&mut browser, &format!("/console/bins/{bin}/live")).await;
    rig.pass(Duration::from_secs(3601)).await;
    drop(stream);
    let expired = told(&mut browser, &format!("/console/bins/{bin}/live")).await;
    assert!(expired.contains("This has expired.") && expired.ends_with(gone), "{expired}");
}

// A screen reader says an alert whenever it is put into the page, and parts are put there again and again.
#[tokio::test]
async fn notices_in_live_parts_are_not_alerts() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let target = rig.target("Shop", "https://example.com/hook", &["order.paid"]).await;
    rig.api("POST", &format!("/targets/{target}/pause"), json!({})).await;
    let event = rig.publish("order.paid", json!(1)).await;
    let delivery = rig.api("GET", "/deliveries", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let is_paused = [format!("targets/{target}"), "overview".into(), format!("inbox/{event}"), format!("deliveries/{delivery}")];
    for path in is_paused {
        let mut stream = opened(&mut browser, &format!("/console/{path}/live")).await;
        let part = read_until(&mut stream, "\n\n").await;
        assert!(part.contains(" paused") && part.contains("data-says"), "{path}: {part}");
        assert!(!part.contains("role=\"alert\"") && !part.contains("role=\"status\""), "{path}: {part}");
        browser.get(&format!("/console/{path}")).await.expect(200).has("id=\"news\" role=\"status\"");
    }
}

#[tokio::test]
async fn the_button_of_a_target_follows_its_state() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let target = rig.target("Shop", "https://example.com/hook", &["order.paid"]).await;
    let (path, pause, resume) =
        (format!("/console/targets/{target}"), format!("/console/targets/{target}/pause"), format!("/console/targets/{target}/resume"));
    let mut stream = opened(&mut browser, &format!("{path}/live")).await;
    let part = read_until(&mut stream, "\n\n").await;
    assert!(part.contains(&pause) && !part.contains(&resume), "{part}");
    rig.api("POST", &format!("/targets/{target}/pause"), json!({})).await;
    let part = read_until(&mut stream, "This target is paused").await;
    assert!(part.contains(&resume) && !part.contains(&pause), "{part}");
    let page = browser.get(&path).await.expect(200);
    page.lacks(&pause);
    assert_eq!(page.text.matches(&resume).count(), 1, "{}", page.text);
}
