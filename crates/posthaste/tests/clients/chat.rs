//! One event to Slack, Discord and a webhook, through receivers that insist on the documented shape of a request.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver};
use crate::server::Server;

const DATA: &str = r#"{"order":"A-17","total":1250,"customer":{"name":"Ann <!channel> & @everyone <script>"},"items":[{"name":"Product A","quantity":2},{"name":"Product B","quantity":1}]}"#;

fn blocks() -> Value {
    json!([
        { "kind": "text", "text": "**{{ event.name }}** {{ data.order|upper }}: {% if data.total > 1000 %}big{% else %}small{% endif %}\n\nfrom {{ data.customer.name }}{{ data.missing }}" },
        { "kind": "table", "path": "data.items", "columns": [{ "heading": "Name", "field": "name" }, { "heading": "Qty", "field": "quantity" }] },
    ])
}

const TABLE: &str = "```\nName       Qty\n---------  ---\nProduct A  2\nProduct B  1\n```";

/// As Slack's incoming webhooks do: a JSON object with a `text`, answered with `ok`.
fn slack_webhook(_: usize, request: &Received) -> Response {
    let is_fine = request.method == "POST"
        && request.header("content-type").starts_with("application/json")
        && request.uri.path() == "/services/T000/B000/secret"
        && request.json()["text"].as_str().is_some_and(|text| !text.is_empty());
    if is_fine { "ok".into_response() } else { (StatusCode::BAD_REQUEST, "invalid_payload").into_response() }
}

/// As Slack's `chat.postMessage` does: errors come with status 200.
fn slack_api(_: usize, request: &Received) -> Response {
    let error = match request.json() {
        _ if request.uri.path() != "/api/chat.postMessage" => Some("unknown_method"),
        _ if request.header("authorization") != "Bearer xoxb-1" => Some("invalid_auth"),
        _ if request.header("content-type") != "application/json; charset=utf-8" => Some("missing_charset"),
        body if body["channel"] != "C024BE91L" => Some("channel_not_found"),
        body if body["text"].as_str().is_none_or(str::is_empty) => Some("no_text"),
        _ => None,
    };
    let answer = match error {
        Some(error) => json!({ "ok": false, "error": error }),
        None => json!({ "ok": true, "channel": "C024BE91L", "ts": "1503435956.000247" }),
    };
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], answer.to_string()).into_response()
}

/// As Discord's webhooks do: with `wait` the message comes back, without it there would be a 204.
fn discord(number: usize, request: &Received) -> Response {
    let body = request.json();
    let is_fine = request.uri.path() == "/api/webhooks/1/token"
        && request.header("content-type") == "application/json"
        && body["content"].as_str().is_some_and(|content| !content.is_empty() && content.chars().count() <= 2000);
    if !is_fine {
        return (StatusCode::BAD_REQUEST, json!({ "code": 50006, "message": "Cannot send an empty message" }).to_string()).into_response();
    }
    let message = json!({ "id": number.to_string(), "content": body["content"] }).to_string();
    ([(header::CONTENT_TYPE, "application/json")], message).into_response()
}

// MSGGO-61, MSGGO-67, MSGGO-68, MSGGO-69, MSGGO-71, MSGGO-72, MSGGO-73
#[tokio::test(flavor = "multi_thread")]
async fn one_template_reaches_every_channel_in_its_own_language() {
    let server = Server::start();
    let template = server.post("/templates", json!({ "name": "order", "blocks": blocks() })).await;
    let (mut hook, mut bot, mut channel) =
        (Receiver::answering(slack_webhook).await, Receiver::answering(slack_api).await, Receiver::answering(discord).await);
    let mut broken = Receiver::answering(|_, _| StatusCode::GONE.into_response()).await;
    // Not `*`, which would also ask for the operational event about the target that is disabled.
    let orders = json!({ "event_types": ["order received"] });
    let with_template = json!({ "event_types": ["order received"], "template_id": template["id"] });
    let dead = server.subscribe("webhook", json!({ "url": broken.url }), orders).await;
    let by_hook = json!({ "webhook_url": format!("{}/services/T000/B000/secret", hook.url) });
    let to_hook = server.subscribe("slack", by_hook, with_template.clone()).await;
    let by_bot = json!({ "token": "xoxb-1", "channel": "C024BE91L", "api_url": format!("{}/api", bot.url) });
    let to_bot = server.subscribe("slack", by_bot, with_template.clone()).await;
    let by_discord = json!({ "webhook_url": format!("{}/api/webhooks/1/token", channel.url) });
    let to_discord = server.subscribe("discord", by_discord, with_template).await;
    server.post_text("/events", &format!(r#"{{"type":"order received","data":{DATA}}}"#)).await;

    let slack = format!("*order received* A-17: big\nfrom Ann &lt;!channel&gt; &amp; @everyone &lt;script&gt;\n\n{TABLE}");
    let by_hook = hook.next().await;
    assert_eq!(by_hook.json()["text"], json!(slack));
    let by_bot = bot.next().await;
    assert_eq!(by_bot.json(), json!({ "channel": "C024BE91L", "text": slack, "unfurl_links": false }));
    let post = channel.next().await;
    assert_eq!(post.uri.query(), Some("wait=true"));
    assert_eq!(post.json()["allowed_mentions"], json!({ "parse": [] }));
    let content = post.json()["content"].as_str().unwrap().to_owned();
    assert!(content.starts_with("**order received** A-17: big\nfrom Ann ") && content.ends_with(TABLE), "{content}");
    assert!(!content.contains("@everyone"), "{content}");
    broken.next().await;

    for target in [&to_hook, &to_bot, &to_discord] {
        let delivery = server.delivery(target, "delivered").await;
        assert_eq!(delivery["attempt_count"], 1, "{delivery}");
    }
    // Its failure is its own: 410 disables it, and nobody else notices.
    assert_eq!(server.delivery(&dead, "failed").await["last_attempt"]["status"], 410);
    // No secret comes out again.
    for (target, secret) in [(&to_hook, "secret"), (&to_bot, "xoxb-1"), (&to_discord, "token\"")] {
        let path = format!("/deliveries?target_id={}", target["id"].as_str().unwrap());
        let id = server.get(&path).await["items"][0]["id"].as_str().unwrap().to_owned();
        let log = server.get(&format!("/deliveries/{id}")).await.to_string();
        let shown = server.get(&format!("/targets/{}", target["id"].as_str().unwrap())).await["settings"].to_string();
        assert!(!log.contains(secret) && !shown.contains(secret), "{log} {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_becomes_several_discord_posts() {
    let server = Server::start();
    let mut channel = Receiver::answering(discord).await;
    let template = server.post("/templates", json!({ "name": "long", "blocks": [{ "kind": "text", "text": "{{ data.text }}" }] })).await;
    let settings = json!({ "webhook_url": format!("{}/api/webhooks/1/token", channel.url) });
    let target = server.subscribe("discord", settings, json!({ "template_id": template["id"] })).await;
    let text = "müde Wörter ".repeat(400);
    server.post("/events", json!({ "type": "long", "data": { "text": text } })).await;
    server.delivery(&target, "delivered").await;
    let posts = channel.take(3).await;
    let joined: String = posts.iter().map(|post| post.json()["content"].as_str().unwrap().trim().to_owned() + " ").collect();
    assert_eq!(joined.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_call_reports_what_came_back() {
    let server = Server::start();
    let bot = Receiver::answering(slack_api).await;
    let settings = json!({ "token": "xoxb-1", "channel": "elsewhere", "api_url": format!("{}/api", bot.url) });
    let target = server.post("/targets", json!({ "name": "slack", "channel": "slack", "settings": settings })).await;
    let report = server.post(&format!("/targets/{}/test", target["id"].as_str().unwrap()), json!({})).await;
    assert_eq!((&report["delivered"], &report["attempt"]["error"]), (&json!(false), &json!("slack_rejected")), "{report}");
    assert!(report["attempt"]["message"].as_str().unwrap().contains("channel_not_found"), "{report}");
    assert!(report["attempt"]["response_body"].as_str().unwrap().contains("channel_not_found"), "{report}");
    assert_eq!(server.events().await.len(), 0, "nothing is stored");
}

// MSGGO-70
#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_cannot_work_is_refused_on_save_with_its_line() {
    let server = Server::start();
    let body = json!({ "name": "bad", "blocks": [{ "kind": "text", "text": "one\n{% if data.status = 'x' %}two{% endif %}" }] });
    let (status, problem) = server.call(http::Method::POST, "/templates", Some(body.to_string().into())).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem.to_string().contains("line 2"), "{problem}");
}
