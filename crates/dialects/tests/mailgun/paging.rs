//! Walks through the pages of the Events API.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::rig::{DOMAIN, Rig, data, items};

const EVENTS: &str = "/v3/d.test/events";

async fn publish(rig: &Rig, count: usize) {
    let payloads: Vec<Value> = (0..count).map(|number| data(json!({"message_id": number.to_string()}))).collect();
    rig.stage.publish("message.delivered", &payloads).await;
}

/// Follows a link of a page.
async fn follow(rig: &Rig, page: &Value, link: &str) -> Value {
    let url = page["paging"][link].as_str().unwrap();
    rig.get(url.strip_prefix("http://api.test").expect("the called host")).await.expect(200)
}

fn event_ids(page: &Value) -> Vec<String> {
    items(page).iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn open(rig: &Rig, query: &str) -> Value {
    rig.get(&format!("{EVENTS}{query}")).await.expect(200)
}

// MAILGUN-134, MAILGUN-135, MAILGUN-136, MAILGUN-137, MAILGUN-138, MAILGUN-139
#[tokio::test]
async fn every_event_is_on_one_page() {
    let rig = Rig::start().await;
    // One commit, so all have the same time.
    publish(&rig, 23).await;
    for query in ["?limit=5", "?limit=5&ascending=yes", "?limit=5&begin=1&end=9999999999", "?limit=5&event=delivered+OR+opened"] {
        let first = open(&rig, query).await;
        let before = follow(&rig, &first, "previous").await;
        let (mut pages, mut seen) = (vec![first.clone()], HashSet::new());
        loop {
            let page = follow(&rig, pages.last().unwrap(), "next").await;
            for link in ["next", "previous", "first", "last"] {
                let url = page["paging"][link].as_str().unwrap();
                assert!(url.starts_with(&format!("http://api.test/v3/{DOMAIN}/events/")), "{url}");
            }
            if items(&page).is_empty() {
                let back = event_ids(&follow(&rig, &page, "previous").await);
                assert!(back.len() == 5 && back.ends_with(&event_ids(pages.last().unwrap())), "{query}: back from the end");
                break;
            }
            pages.push(page);
        }
        assert!(pages.iter().flat_map(event_ids).all(|id| seen.insert(id)), "{query}: an event came twice");
        assert_eq!((seen.len(), pages.len()), (23, 5), "{query}");

        assert_eq!(items(&before), [Value::Null; 0], "{query}");
        assert_eq!(event_ids(&follow(&rig, &before, "next").await), event_ids(&first), "{query}: forth from the beginning");
        for (number, page) in pages.iter().enumerate().skip(1) {
            assert_eq!(event_ids(&follow(&rig, page, "previous").await), event_ids(&pages[number - 1]), "{query}: page {number}");
            assert_eq!(event_ids(&follow(&rig, page, "first").await), event_ids(&first));
            assert_eq!(event_ids(&follow(&rig, page, "last").await), event_ids(pages.last().unwrap()), "{query}");
        }
        // The same token again is the same page.
        assert_eq!(follow(&rig, &first, "next").await, pages[1]);
    }
}

// MAILGUN-134
#[tokio::test]
async fn empty_pages_have_links_that_work() {
    let rig = Rig::start().await;
    for query in ["", "?ascending=yes", "?begin=2&end=1", "?event=opened"] {
        let mut page = open(&rig, query).await;
        for link in ["next", "previous", "first", "last", "previous", "next", "last"] {
            assert_eq!(items(&page), [Value::Null; 0]);
            page = follow(&rig, &page, link).await;
        }
    }
}

// MAILGUN-141
#[tokio::test]
async fn an_exhausted_ascending_walk_goes_on_when_there_is_more() {
    let rig = Rig::start().await;
    let empty = open(&rig, "?ascending=yes&limit=3").await;
    publish(&rig, 4).await;
    let first = follow(&rig, &empty, "next").await;
    let second = follow(&rig, &first, "next").await;
    let end = follow(&rig, &second, "next").await;
    assert_eq!((items(&first).len(), items(&second).len(), items(&end).len()), (3, 1, 0));
    let end = follow(&rig, &end, "next").await;
    rig.event("message.opened", json!({"message_id": "new"})).await;
    for page in [&end, &second] {
        let more = follow(&rig, page, "next").await;
        assert_eq!(items(&more)[0]["message"]["headers"]["message-id"], "new");
        assert_eq!(items(&more).len(), 1);
    }
}

#[tokio::test]
async fn a_descending_walk_never_gains_newer_events() {
    let rig = Rig::start().await;
    publish(&rig, 7).await;
    let first = open(&rig, "?limit=3").await;
    publish(&rig, 5).await;
    assert_eq!(follow(&rig, &first, "first").await["items"], first["items"]);
    assert_eq!(items(&follow(&rig, &first, "previous").await), [Value::Null; 0]);
    let second = follow(&rig, &first, "next").await;
    assert_eq!(follow(&rig, &second, "previous").await["items"], first["items"]);
    assert_eq!(items(&open(&rig, "?limit=300").await).len(), 12);
}

// MAILGUN-159, MAILGUN-160
#[tokio::test]
async fn a_token_is_taken_in_three_places() {
    let rig = Rig::start().await;
    publish(&rig, 7).await;
    let first = open(&rig, "?limit=3&event=delivered").await;
    let link = first["paging"]["next"].as_str().unwrap();
    let (path, token) = link.split_once("?page=").unwrap();
    assert!(path.ends_with(&format!("/events/{token}")) && !token.contains('/'), "{link}");
    let expected = event_ids(&follow(&rig, &first, "next").await);
    assert_eq!(expected.len(), 3);
    for target in [
        format!("{EVENTS}/{token}"),
        format!("{EVENTS}?page={token}"),
        format!("{EVENTS}/{token}?page={token}"),
        // Clients repeat their first question, or send back what stands behind the last `/`.
        format!("{EVENTS}/{token}?limit=100&event=opened"),
        format!("{EVENTS}?page={token}&limit=100&begin=nonsense"),
        format!("{EVENTS}/{token}%3Fpage%3D{token}"),
    ] {
        assert_eq!(event_ids(&rig.get(&target).await.expect(200)), expected, "{target}");
    }
    for bad in [format!("{EVENTS}/{}", &token[..token.len() - 2]), format!("{EVENTS}?page=x{token}")] {
        assert_eq!(rig.get(&bad).await.status, 400);
    }
    let (_, other) = crate::rig::stranger(&rig).await;
    assert_eq!(other.get(&format!("{EVENTS}/{token}")).await.status, 404, "a token opens no other workspace");
}

// Readers see every event once while writers write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walks_are_whole_while_writers_write() {
    let rig = Rig::start().await;
    publish(&rig, 40).await;
    let writing = async {
        for _ in 0..30 {
            publish(&rig, 5).await;
        }
    };
    let descending = async {
        let mut page = open(&rig, "?limit=7").await;
        let mut walked = Vec::new();
        while !items(&page).is_empty() {
            walked.extend(event_ids(&page));
            page = follow(&rig, &page, "next").await;
        }
        walked
    };
    let ascending = async {
        let mut page = open(&rig, "?limit=7&ascending=yes").await;
        let mut walked = Vec::new();
        while walked.len() < 190 {
            walked.extend(event_ids(&page));
            page = follow(&rig, &page, "next").await;
        }
        walked
    };
    let ((), down, up) = tokio::join!(writing, descending, ascending);
    let mut all: Vec<String> = Vec::new();
    let mut page = open(&rig, "?limit=300&ascending=yes").await;
    while !items(&page).is_empty() {
        all.extend(event_ids(&page));
        page = follow(&rig, &page, "next").await;
    }
    assert_eq!((all.len(), &up), (190, &all));
    let mut expected: Vec<String> = all[..down.len()].to_vec();
    expected.reverse();
    assert_eq!(down, expected, "what was there when the walk began, newest first");
    assert!(down.len() >= 40);
}
