//! Request bins of the server as targets, with the settings that it starts with.

use serde_json::{Value, json};

use crate::http::id;
use crate::server::{KEY, Server};

async fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(dir.path(), &[], &[("POSTHASTE_KEY", KEY)]).await;
    (dir, server)
}

fn requests(page: &Value) -> Option<Vec<Value>> {
    page["items"].as_array().filter(|items| !items.is_empty()).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bin_of_the_server_is_delivered_to_without_any_setting() {
    let (_dir, server) = started().await;
    let bin = server.api.make("/bins", json!({"name": "caught"})).await;
    let target = server.subscribed(bin["url"].as_str().expect("a URL"), &["*"], json!({})).await;
    server.api.post("/events", json!({"type": "order.paid", "data": {"order": "A-17"}})).await.expect(202);
    let caught = server.api.until(&format!("/bins/{}/requests", id(&bin)), requests).await;
    let (headers, body) = (caught[0]["headers"].to_string(), caught[0]["body"].as_str().expect("text"));
    assert!(
        body.contains("\"order\":\"A-17\"") && headers.contains("webhook-signature") && headers.contains("content-length"),
        "{caught:?}"
    );
    assert_eq!((&caught[0]["method"], &caught[0]["target"], &caught[0]["ip"]), (&json!("POST"), &json!("/"), &Value::Null));
    let delivered = |page: &Value| Some(page["items"].as_array()?.first()?["state"] == "delivered").filter(|is| *is);
    server.api.until(&format!("/deliveries?target_id={target}"), delivered).await;
    // The answer is a bin's own, and a bin that refuses is retried as any receiver.
    let refusing = server.api.make("/bins", json!({"name": "refusing", "status": 503})).await;
    let target = id(&server.target(refusing["url"].as_str().expect("a URL")).await);
    let report = server.api.post(&format!("/targets/{target}/test"), json!({})).await.expect(200);
    assert_eq!((&report["delivered"], &report["attempt"]["status"]), (&json!(false), &json!(503)), "{report}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_of_the_server_stays_closed() {
    let (_dir, server) = started().await;
    let (_, port) = server.api.url.rsplit_once(':').expect("a port");
    let bin = server.api.make("/bins", json!({})).await;
    let below = bin["url"].as_str().and_then(|url| url.strip_prefix(&server.api.url)).expect("a URL of this server").to_owned();
    for url in [
        format!("{}/posthaste/v1/events", server.api.url),
        format!("{}/api/v1/webhooks", server.api.url),
        format!("{}/inbox/{KEY}", server.api.url),
        format!("{}/console{below}", server.api.url),
        format!("{}/?{below}", server.api.url),
        // The same machine under another name is another address.
        format!("http://localhost:{port}{below}"),
        format!("http://127.1:{port}{below}"),
        format!("http://127.0.0.1:9{below}"),
    ] {
        let target = id(&server.target(&url).await);
        let report = server.api.post(&format!("/targets/{target}/test"), json!({})).await.expect(200);
        assert_eq!((&report["delivered"], &report["attempt"]["error"]), (&json!(false), &json!("address_blocked")), "{url}: {report}");
    }
    // What begins as a bin's address and means something else is nobody's bin.
    let target = id(&server.target(&format!("{}/bin/../posthaste/v1/events", server.api.url)).await);
    let report = server.api.post(&format!("/targets/{target}/test"), json!({})).await.expect(200);
    assert_eq!(report["attempt"]["status"], 404, "{report}");
    server.stop().await;
}
