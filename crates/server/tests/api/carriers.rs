//! Callbacks of an SMS gateway: from the provider's request to events.

use axum::Router;
use axum::routing::post;
use posthaste_channels::sms::SmsDefaults;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::rig::{Answer, Made, Rig};

const PATH: &str = "/posthaste/v1/carriers/a-token-at-random-1";
const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

/// A server whose gateway is a provider on loopback that takes everything as `SM1`.
async fn rig() -> (Rig, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let provider = Router::new().route("/send", post(|| async { r#"{"sid":"SM1"}"# }));
    let mut running = JoinSet::new();
    running.spawn(async move { axum::serve(listener, provider).await.expect("the provider runs") });
    let carrier = json!({
        "url": format!("http://127.0.0.1:{port}/send"),
        "body": "To={{ to|urlencode }}&Body={{ text|urlencode }}",
        "id": "/sid",
        "callback": {
            "token": "a-token-at-random-1",
            "receipt": {"id": "MessageSid", "status": "MessageStatus", "code": "ErrorCode"},
            "inbound": {"from": "From", "to": "To", "text": "Body"},
        },
    });
    let sms = SmsDefaults { carrier, ..SmsDefaults::default() };
    (Rig::of(Made { is_real: true, sms, ..Made::default() }).await, running)
}

/// The data of the first event of a type, as soon as it is there.
async fn event(rig: &Rig, kind: &str) -> Value {
    let path = format!("/events?type={kind}");
    let page = rig.until(&path, |page| page["items"].as_array().is_some_and(|items| !items.is_empty())).await;
    page["items"][0]["data"].clone()
}

async fn call(rig: &Rig, path: &str, body: &str) -> Answer {
    rig.raw("POST", path, "", FORM, body.to_owned()).await
}

#[tokio::test]
async fn callbacks_become_events_once_and_durably() {
    let (rig, _provider) = rig().await;
    let body = json!({"to": "+256701521269", "from": "12345", "message": "Hello"}).to_string();
    let sent = rig.raw("POST", "/api/v1/messages/sms", &rig.token, &[("content-type", "application/json")], body).await;
    assert!(sent.status.is_success(), "{}", sent.text());
    let taken = event(&rig, "message.sent").await;
    assert_eq!(taken["recipient"], "+256701521269");

    for _ in 0..2 {
        assert_eq!(call(&rig, PATH, "MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003").await.status, 200);
    }
    let failed = event(&rig, "message.failed").await;
    assert_eq!((&failed["message_id"], &failed["error_code"]), (&taken["message_id"], &json!("30003")));

    assert_eq!(call(&rig, PATH, "From=%2B256701521269&To=12345&Body=Thanks").await.status, 200);
    let reply = event(&rig, "message.received").await;
    assert_eq!((&reply["text"], &reply["original_text"]), (&json!("Thanks"), &json!("Hello")));

    // By GET as well, everything in the query.
    let stop = rig.raw("GET", &format!("{PATH}?From=%2B256701521269&To=12345&Body=STOP"), "", &[], "").await;
    assert_eq!(stop.status, 200);
    assert_eq!(event(&rig, "message.unsubscribed").await["recipient"], "+256701521269");
    let all = rig.get("/events?type=message.failed").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "a receipt that comes twice is told once");
}

#[tokio::test]
async fn what_is_no_callback_is_refused() {
    let (rig, _provider) = rig().await;
    let wrong = call(&rig, "/posthaste/v1/carriers/another-token-here", "MessageSid=SM1&MessageStatus=delivered").await;
    assert_eq!(wrong.problem().0, 404);
    assert_eq!(call(&rig, PATH, "a=b").await.problem(), (422, "invalid_field".to_owned(), None));
    // A receipt of a message that is not known (yet): the provider is to call again.
    tokio::time::pause();
    assert_eq!(call(&rig, PATH, "MessageSid=SM9&MessageStatus=delivered").await.problem().0, 503);
    tokio::time::resume();
    // Without a gateway nobody calls back.
    let plain = Rig::new().await;
    assert_eq!(call(&plain, PATH, "MessageSid=SM1&MessageStatus=delivered").await.problem().0, 404);
}
