//! The Discord channel against a receiver that answers as Discord documents.

use std::time::Duration;

use posthaste_channels::Outcome;
use serde_json::json;

use crate::memory::Memory;
use crate::receiver::{Desk, Receiver, Reply, status};
use crate::{AMPLE, failure, loopback_channels, message, try_once, try_within};

const LIMITED: &str = r#"{"message":"You are being rate limited.","retry_after":0.3,"global":false}"#;

fn three_parts() -> String {
    ["a", "b", "c"].map(|letter| letter.repeat(1_500)).join("\n")
}

#[tokio::test]
async fn a_short_message_is_one_post_that_mentions_nobody() {
    let receiver = Receiver::start(|_, _| status(200, "", r#"{"id":"1"}"#)).await;
    let settings = json!({"webhook_url": receiver.url("/api/webhooks/1/secret")});
    let report = try_once(&loopback_channels(), "discord", &settings, message("Hello @everyone")).await;
    assert_eq!((&report.outcome, report.status), (&Outcome::Delivered, Some(200)));
    assert!(!report.request.contains("secret"));
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line(), "POST /api/webhooks/1/secret?wait=true HTTP/1.1");
    assert_eq!(seen[0].json(), json!({"content": "Hello @everyone", "allowed_mentions": {"parse": []}}));
}

#[tokio::test]
async fn a_long_message_is_several_posts_in_order() {
    let receiver = Receiver::start(|_, _| status(200, "", "{}")).await;
    let settings = json!({"webhook_url": receiver.url("/")});
    let report = try_once(&loopback_channels(), "discord", &settings, message(&three_parts())).await;
    assert_eq!(report.outcome, Outcome::Delivered);
    let posts: Vec<String> = receiver.seen().iter().map(|seen| seen.json()["content"].as_str().expect("content").to_owned()).collect();
    assert!(posts.len() > 1 && posts.iter().all(|post| post.chars().count() <= 2_000));
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
    assert_eq!(letters(&posts.concat()), letters(&three_parts()));
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_boundless_message_becomes_ten_posts() {
    let receiver = Receiver::start(|_, _| status(204, "", "")).await;
    let settings = json!({"webhook_url": receiver.url("/")});
    let report = try_once(&loopback_channels(), "discord", &settings, message(&"word ".repeat(20_000))).await;
    assert_eq!(report.outcome, Outcome::Delivered);
    let seen = receiver.seen();
    assert_eq!(seen.len(), 10);
    assert!(seen[9].json()["content"].as_str().expect("content").contains("left out"));
}

#[tokio::test]
async fn a_failure_midway_says_which_part() {
    let receiver = Receiver::start(|number, _| match number {
        0 => status(200, "", "{}"),
        _ => status(404, "", r#"{"message":"Unknown Webhook","code":10015}"#),
    })
    .await;
    let settings = json!({"webhook_url": receiver.url("/")});
    let report = try_once(&loopback_channels(), "discord", &settings, message(&three_parts())).await;
    let error = failure(&report);
    assert_eq!((error.code, error.retryable, report.status), ("discord_rejected", false, Some(404)));
    assert!(error.message.starts_with("part 2 of "), "{}", error.message);
    assert!(error.message.ends_with("Discord refused the message: Unknown Webhook (status 404)"), "{}", error.message);
    assert_eq!(receiver.seen().len(), 2);
    let receiver = Receiver::start(|number, _| if number == 0 { status(200, "", "{}") } else { Reply::Close(Vec::new()) }).await;
    let report = try_once(&loopback_channels(), "discord", &json!({"webhook_url": receiver.url("/")}), message(&three_parts())).await;
    assert_eq!(failure(&report).code, "connection_lost");
    assert!(failure(&report).message.starts_with("part 2 of "));
}

#[tokio::test]
async fn a_rate_limit_at_the_start_is_handed_on_in_whole_seconds() {
    for (body, expected) in [(LIMITED, "1"), (r#"{"retry_after":64.57}"#, "65"), ("{}", "9")] {
        let receiver = Receiver::start(move |_, _| status(429, "retry-after: 9\r\n", body)).await;
        let report = try_once(&loopback_channels(), "discord", &json!({"webhook_url": receiver.url("/")}), message("hi")).await;
        let error = failure(&report);
        assert_eq!((error.code, error.retryable, report.retry_after.as_deref()), ("rate_limited", true, Some(expected)));
        assert_eq!(receiver.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_midway_is_waited_out_if_the_time_suffices() {
    let desk = Desk::new(|number, _| if number == 1 { status(429, "", LIMITED) } else { status(200, "", "{}") });
    let memory = Memory::serving(&desk);
    let settings = json!({"webhook_url": "http://discord.example/w"});
    let report = try_within(&memory.channels(), "discord", &settings, message(&three_parts()), AMPLE, AMPLE).await;
    assert_eq!((&report.outcome, report.duration), (&Outcome::Delivered, Duration::from_millis(300)));
    let seen = desk.seen();
    assert_eq!(seen[1].body, seen[2].body, "the limited part was posted again");

    let desk = Desk::new(|number, _| if number == 1 { status(429, "", LIMITED) } else { status(200, "", "{}") });
    let memory = Memory::serving(&desk);
    let little = Duration::from_millis(200);
    let report = try_within(&memory.channels(), "discord", &settings, message(&three_parts()), little, little).await;
    assert_eq!((failure(&report).code, report.retry_after.as_deref()), ("rate_limited", Some("1")));
    assert_eq!(desk.seen().len(), 2);
}
