//! Rate limits: what every answer says of them, and what happens beyond.

use std::time::Duration;

use serde_json::json;

use crate::rig::{Answer, NUMBER, ONE, Rig, START_MS};

const PATH: &str = "/api/v1/developers/sms/history";

async fn ask(rig: &Rig, token: &str) -> Answer {
    rig.call("GET", PATH, &[("x-api-key", token)], "").await
}

/// Makes so many good requests, a tenth of a second apart.
async fn use_up(rig: &Rig, token: &str, count: u32) {
    for _ in 0..count {
        assert_eq!(ask(rig, token).await.status, 200);
        rig.pass(Duration::from_millis(100));
    }
}

// MSGINE-33, MSGINE-34
#[tokio::test]
async fn every_answer_tells_the_allowance() {
    let rig = Rig::start().await;
    let reset = (START_MS / 1000 + 60).to_string();
    let mut left = 100;
    for (method, path, body, status) in [
        ("GET", PATH, "", 200),
        ("POST", ONE, r#"{"to":"+256701521269","message":"x"}"#, 201),
        ("POST", ONE, "{", 400),
        ("GET", "/api/v1/messages/msg_1", "", 404),
        ("GET", "/api/v1/nothing", "", 404),
        ("GET", ONE, "", 405),
    ] {
        let answer = rig.call(method, path, &[("x-api-key", &rig.token)], body).await;
        assert_eq!(answer.status, status, "{path}");
        if path == "/api/v1/nothing" {
            continue;
        }
        left -= 1;
        let told = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| answer.header(name).to_owned());
        assert_eq!(told, ["100".to_owned(), left.to_string(), reset.clone()], "{path}");
    }
}

// MSGINE-35
#[tokio::test]
async fn the_hundred_and_first_request_of_a_minute_is_refused() {
    let rig = Rig::start().await;
    use_up(&rig, &rig.token, 100).await;
    let refused = ask(&rig, &rig.token).await;
    assert_eq!(refused.status, 429);
    let expected = r#"{"error":{"code":"rate_limit_exceeded","message":"Too many requests. Please try again later.","retryAfter":50}}"#;
    assert_eq!(refused.text, expected);
    let told = ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| refused.header(name));
    assert_eq!(told, ["50", "100", "0", &(START_MS / 1000 + 60).to_string()]);
    // Nothing is sent, and refused requests do not lengthen the wait.
    assert_eq!(rig.post(ONE, &json!({ "to": NUMBER, "message": "x" })).await.status, 429);
    assert_eq!(rig.events("message.accepted").await.len(), 0);
    rig.pass(Duration::from_secs(50));
    let fresh = ask(&rig, &rig.token).await;
    assert_eq!((fresh.status, fresh.header("x-ratelimit-remaining")), (200, "99"));
}

// MSGINE-36
#[tokio::test]
async fn the_twenty_first_request_of_a_second_is_refused() {
    let rig = Rig::start().await;
    for _ in 0..20 {
        assert_eq!(ask(&rig, &rig.token).await.status, 200);
    }
    let refused = ask(&rig, &rig.token).await;
    assert_eq!((refused.status, refused.header("retry-after"), refused.header("x-ratelimit-remaining")), (429, "1", "80"));
    assert_eq!(refused.json()["error"]["retryAfter"], 1);
    rig.pass(Duration::from_secs(1));
    assert_eq!(ask(&rig, &rig.token).await.status, 200);
}

// MSGINE-37
#[tokio::test]
async fn tokens_do_not_share_an_allowance() {
    let rig = Rig::start().await;
    let other = rig.key(None).await;
    use_up(&rig, &rig.token, 100).await;
    assert_eq!(ask(&rig, &rig.token).await.status, 429);
    assert_eq!(ask(&rig, &other).await.header("x-ratelimit-remaining"), "99");
}

// MSGINE-38
#[tokio::test]
async fn tiers_have_their_own_limits() {
    for (tier, minute, second) in [("free", 60, 10), ("starter", 100, 20), ("professional", 500, 50)] {
        let rig = Rig::start().await;
        rig.choose(json!({ "webhook_secret": "whsec_test", "tier": tier })).await;
        for _ in 0..second {
            assert_eq!(ask(&rig, &rig.token).await.header("x-ratelimit-limit"), minute.to_string());
        }
        assert_eq!(ask(&rig, &rig.token).await.status, 429, "{tier}");
        rig.pass(Duration::from_secs(1));
        use_up(&rig, &rig.token, minute - second).await;
        assert_eq!(ask(&rig, &rig.token).await.header("x-ratelimit-remaining"), "0", "{tier}");
    }
    // A change holds at once, and what was used stays used.
    let rig = Rig::start().await;
    use_up(&rig, &rig.token, 100).await;
    assert_eq!(ask(&rig, &rig.token).await.status, 429);
    rig.choose(json!({ "webhook_secret": "whsec_test", "tier": "enterprise", "per_minute": 1000, "per_second": 100 })).await;
    let answer = ask(&rig, &rig.token).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, "899"));
}
