//! What the Events API lists: range, direction, filters.

use std::time::Duration;

use posthaste_domain::clock::rfc3339;
use serde_json::{Value, json};

use crate::rig::{Rig, data, items, stranger};

const EVENTS: &str = "/v3/d.test/events";

/// Message ids in the order of a list.
fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["message"]["headers"]["message-id"].as_str().unwrap()).collect()
}

async fn found(rig: &Rig, filters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(filters).finish();
    let mut found = rig.items(&format!("?{query}")).await;
    found.reverse();
    ids(&found).concat()
}

/// Events `a`, `b`, … of different kinds.
async fn various(rig: &Rig) {
    for (id, type_name, more) in [
        ("a", "message.accepted", json!({"from": "Bob <bob@d.test>", "subject": "Hello Rachel", "size": 50})),
        ("b", "message.delivered", json!({"recipient": "Cy@y.test", "subject": "foo and bar", "size": 150, "tags": ["red", "blue"]})),
        ("c", "message.failed", json!({"subject": "foo bar", "size": 2500, "reason": "bounce"})),
        (
            "d",
            "message.deferred",
            json!({"subject": "Hello Ross", "sender": "bob@d.test", "size": 1999, "recipients": ["x@y.test", "z@y.test"]}),
        ),
        ("e", "rejected", json!({"subject": "Farewell, Monica"})),
        (
            "f",
            "message.opened",
            json!({"tags": ["Blue"], "attachments": [{"filename": "plan.pdf"}], "mailing-list": {"address": "l@d.test"}}),
        ),
    ] {
        let mut payload = data(more);
        payload["message_id"] = json!(id);
        rig.stage.publish(type_name, &[payload]).await;
    }
}

// MAILGUN-130, MAILGUN-131
#[tokio::test]
async fn a_bare_list_is_newest_first_and_has_a_hundred() {
    let rig = Rig::start().await;
    let payloads: Vec<Value> = (0..150).map(|number| data(json!({"message_id": number.to_string()}))).collect();
    rig.stage.publish("message.delivered", &payloads).await;
    let all = rig.items("").await;
    let expected: Vec<String> = (50..150).rev().map(|number: i32| number.to_string()).collect();
    assert_eq!(ids(&all), expected);
    assert_eq!(rig.items("?limit=1000").await.len(), 150);
}

// MAILGUN-132, MAILGUN-133, MAILGUN-143, MAILGUN-144, MAILGUN-146, MAILGUN-161
#[tokio::test]
async fn limits_are_kept_and_wrong_questions_refused() {
    let rig = Rig::start().await;
    let payloads: Vec<Value> = (0..310).map(|_| data(json!({}))).collect();
    rig.stage.publish("message.delivered", &payloads).await;
    assert_eq!((rig.items("?limit=5").await.len(), rig.items("?limit=1000").await.len()), (5, 300));
    for bad in [
        "limit=0",
        "limit=-3",
        "limit=ten",
        "begin=100",
        "begin=100&end=200&ascending=no",
        "begin=200&end=100&ascending=yes",
        "begin=soon&ascending=yes",
        "begin=1&end=32+May+2013",
        "ascending=up",
        "page=garbage",
        "size=big",
        "subject=(a",
    ] {
        let refused = rig.get(&format!("{EVENTS}?{bad}")).await.expect(400);
        assert!(!refused["message"].as_str().unwrap().is_empty(), "{bad}");
    }
    rig.get(&format!("{EVENTS}/garbage")).await.expect(400);
}

// MAILGUN-140, MAILGUN-142, MAILGUN-145
#[tokio::test]
async fn a_range_has_the_direction_of_its_ends() {
    let rig = Rig::start().await;
    let start = rig.stage.engine.now_ms() / 1000 - 3600;
    for (id, seconds) in [("a", 0), ("b", 10), ("c", 20), ("d", 30)] {
        let at = rfc3339((start + seconds) * 1000);
        rig.stage.publish("message.delivered", &[data(json!({"message_id": id, "occurred_at": at}))]).await;
    }
    let list = |query: String| {
        let rig = &rig;
        async move { ids(&rig.items(&query).await).concat() }
    };
    assert_eq!(list(format!("?ascending=yes&begin={}", start + 10)).await, "bcd", "begin is included");
    assert_eq!(list(format!("?begin={}&end={}", start + 10, start + 30)).await, "bc", "end is not");
    assert_eq!(list(format!("?begin={}&end={}", start + 30, start + 10)).await, "dc");
    assert_eq!(list(format!("?begin={}.5&ascending=no", start + 20)).await, "cba");
    assert_eq!(list(format!("?end={}", start + 20)).await, "d", "from now down");
    assert_eq!(list("?ascending=yes".to_owned()).await, "abcd");
    let date = |seconds: i64| {
        let at = jiff::Timestamp::from_second(start + seconds).unwrap();
        form_urlencoded::byte_serialize(jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap().as_bytes())
            .collect::<String>()
    };
    assert_eq!(list(format!("?begin={}&end={}", date(10), date(30))).await, "bc");
    assert_eq!(list(format!("?begin={}&ascending=yes", date(10).replace("%2B0000", "-0000"))).await, "bcd");
}

// Events that were reported in another order than they happened are shown in the order of their times.
#[tokio::test]
async fn late_reports_have_their_own_times() {
    let rig = Rig::start().await;
    let start = rig.stage.engine.now_ms() / 1000 - 3600;
    for (id, seconds) in [("c", 20), ("a", 0), ("d", 30), ("b", 10)] {
        let at = rfc3339((start + seconds) * 1000);
        rig.stage.publish("message.delivered", &[data(json!({"message_id": id, "occurred_at": at}))]).await;
    }
    assert_eq!(ids(&rig.items("").await).concat(), "dcba");
    assert_eq!(ids(&rig.items(&format!("?begin={start}&end={}", start + 25)).await).concat(), "abc");
}

// MAILGUN-147, MAILGUN-148, MAILGUN-149, MAILGUN-156, MAILGUN-157, MAILGUN-158
#[tokio::test]
async fn filters_choose() {
    let rig = Rig::start().await;
    various(&rig).await;
    for (filters, expected) in [
        (&[("event", "failed")][..], "cd"),
        (&[("event", "rejected OR failed")], "cde"),
        (&[("event", "NOT accepted")], "bcdef"),
        (&[("severity", "temporary")], "d"),
        (&[("tags", "blue")], "bf"),
        (&[("tags", "red")], "b"),
        (&[("attachment", "plan.pdf")], "f"),
        (&[("list", "l@d.test")], "f"),
        (&[("recipients", "z@y.test")], "d"),
        (&[("event", "failed"), ("severity", "permanent")], "c"),
        (&[("tags", "blue"), ("tags", "red")], "b"),
        (&[("pretty", "yes"), ("unknown", "("), ("skip", "3")], "abcdef"),
    ] {
        assert_eq!(found(&rig, filters).await, expected, "{filters:?}");
    }
}

// MAILGUN-150, MAILGUN-151, MAILGUN-152, MAILGUN-153, MAILGUN-154, MAILGUN-155
#[tokio::test]
async fn expressions_choose() {
    let rig = Rig::start().await;
    various(&rig).await;
    for (name, expression, expected) in [
        ("recipient", "cy@y.test", "b"),
        ("from", "bob@d.test", "ad"),
        ("subject", "\"foo bar\"", "c"),
        ("subject", "foo bar", "bc"),
        ("subject", "(Hello AND NOT Rachel) OR (Farewell AND Monica)", "de"),
        ("size", ">100 <2000", "bd"),
        ("size", "50", "a"),
        ("message-id", "c", "c"),
        ("message-id", "<c>", "c"),
    ] {
        assert_eq!(found(&rig, &[(name, expression)]).await, expected, "{name}={expression}");
    }
}

// MAILGUN-162, MAILGUN-163
#[tokio::test]
async fn other_domains_and_old_events_are_not_there() {
    let rig = Rig::start().await;
    rig.domain(rig.stage.workspace, "other.test").await;
    rig.event("message.delivered", json!({"message_id": "mine"})).await;
    rig.stage.publish("message.delivered", &[data(json!({"message_id": "theirs", "domain": "other.test"}))]).await;
    rig.stage
        .publish(
            "message.delivered",
            &[json!({"channel": "email", "message_id": "nobody's", "recipient": "a@b", "sender": "x@elsewhere.test"})],
        )
        .await;
    rig.stage.publish("order.created", &[data(json!({}))]).await;
    assert_eq!(ids(&rig.items("").await), ["mine"]);
    let (number, other) = stranger(&rig).await;
    other.domain(number, "d.test").await;
    assert_eq!(items(&other.get(EVENTS).await.expect(200)), [Value::Null; 0]);

    rig.stage.clock.advance(Duration::from_secs(30 * 86_400 - 3600));
    assert_eq!(rig.items("").await.len(), 1);
    assert_eq!(rig.items("?ascending=yes").await.len(), 1);
    rig.stage.clock.advance(Duration::from_secs(2 * 3600));
    assert!(rig.items("").await.is_empty() && rig.items("?ascending=yes").await.is_empty());
}
