//! MsGine: the documented clients and receivers against the binary.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::server::{KEY, PATIENCE, Server};
use crate::tools::{command, run};

const ALLOW_HTTP: (&str, &str) = ("POSTHASTE_DIALECT_MSGINE_ALLOW_HTTP", "true");
const SECRET: &str = "whsec_test";

async fn choose(server: &Server, settings: Value) {
    let body = json!({ "settings": settings }).to_string();
    let (status, answer) = server.call(Method::PUT, "/accounts/msgine", Some(body.into())).await;
    assert_eq!(status, 200, "{answer}");
}

fn by_case(lines: Vec<Value>) -> HashMap<String, Value> {
    lines.into_iter().map(|line| (line["case"].as_str().unwrap().to_owned(), line)).collect()
}

// Section 7 of the specification, C1 to C22. MSGINE-66, MSGINE-67: the requests that SDK 1 and SDK 2 make; the packages themselves are in
// no public registry. MSGINE-23, MSGINE-27, MSGINE-30.
#[tokio::test(flavor = "multi_thread")]
async fn documented_clients_are_served() {
    let server = Server::with(&[ALLOW_HTTP]);
    let mut callbacks = Receiver::start().await;
    choose(&server, json!({ "webhook_secret": SECRET, "tier": "professional" })).await;
    let callback = format!("{}/webhooks/msgine", callbacks.url);
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY), ("CALLBACK_URL", callback.as_str())];
    let mut cases = HashMap::new();
    for script in ["msgine/curl.sh", "msgine/sample.php", "msgine/requests_client.py", "msgine/wire.mjs"] {
        cases.extend(by_case(run(script, &variables, "")));
    }
    let mut sent = 0;
    for (case, to, from, cost) in [
        ("C1", 1, "MsGine", 0.05),
        ("C2", 1, "MyApp", 0.05),
        ("C3", 3, "MsGine", 0.15),
        ("C5", 1, "MsGine", 0.05),
        ("C6", 1, "MsGine", 0.05),
        ("C8", 1, "MsGine", 0.05),
        ("C9", 1, "MsGine", 0.05),
        ("C10", 1, "MsGine", 0.05),
        ("C13", 1, "MsGine", 30.0),
        ("C13-array", 2, "MsGine", 60.0),
        ("C15", 1, "MsGine", 30.0),
        ("C15-python", 1, "MsGine", 30.0),
        ("C16", 2, "MsGine", 60.0),
        ("C21", 2, "MsGine", 60.0),
        ("C22", 2, "MsGine", 60.0),
        ("form", 1, "MsGine", 0.05),
    ] {
        let line = &cases[case];
        assert_eq!(line["status"], 201, "{line}");
        let body = &line["body"];
        assert_eq!((body["to"].as_array().map(Vec::len), body["from"].as_str()), (Some(to), Some(from)), "{line}");
        assert_eq!((body["cost"].as_f64(), &body["status"]), (Some(cost), &json!("pending")), "{line}");
        sent += 1;
    }
    assert_eq!(cases["C16"]["body"]["to"], json!(["+256701234567", "+256702345678"]));
    assert_eq!(cases["C8"]["body"]["content"], "Grüße https://example.com/");
    for (case, id) in [("C4", "C1"), ("C18", "C16")] {
        assert_eq!((&cases[case]["status"], &cases[case]["body"]["id"]), (&json!(200), &cases[id]["body"]["id"]), "{case}");
    }
    assert_eq!(cases["C7"]["status"], 405, "the sample without a body is a GET");
    for (case, pages) in [("C14", 1), ("C17", 1)] {
        let page = &cases[case]["body"];
        assert_eq!((&cases[case]["status"], &page["page"], &page["pages"]), (&json!(200), &json!(1), &json!(pages)), "{case}");
        assert!(page["total"].as_u64() > Some(3) && page["messages"] == page["items"], "{page}");
    }
    for (case, status) in [("C18-unknown", 404), ("C19", 404), ("C20-overview", 200), ("C20-daily", 200)] {
        assert_eq!(cases[case]["status"], status, "{case}");
    }
    assert_eq!(cases["C20-overview"]["body"]["period"], json!({ "from": "2026-01-01", "to": "2026-04-06" }));
    assert_eq!(cases["C20-daily"]["body"]["data"].as_array().map(Vec::len), Some(7));

    let lines = run("msgine/curl.sh", &variables, "");
    let total = by_case(lines)["C14"]["body"]["total"].as_u64().unwrap();
    assert_eq!(total, sent + 5, "every 201 is one message, and nothing else is");
    // C1 and C2, twice: sent and delivered, to the callback URL alone.
    for webhook in callbacks.take(8).await {
        assert_eq!((webhook.uri.path(), webhook.header("content-type")), ("/webhooks/msgine", "application/json"));
    }
}

// MSGINE-68, C11: over 20 entries meet the burst limit; who tries again after a second notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_of_the_sdk_succeeds() {
    let server = Server::start();
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY), ("BATCH", "30")];
    let line = run("msgine/batch.mjs", &variables, "").remove(0);
    assert_eq!((&line["statuses"], &line["ids"]), (&json!(vec![201; 30]), &json!(30)), "{line}");
    assert!(line["retried"].as_u64().is_some_and(|retried| retried >= 5), "{line}");
}

/// A documented receiver; it ends with its owner.
struct Documented {
    process: Child,
    url: String,
}

impl Documented {
    fn start(script: &str, secret: &str) -> Self {
        let mut command = command(script);
        let mut port = None;
        if script.ends_with(".php") {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let path = command.get_args().next().unwrap().to_owned();
            command = std::process::Command::new("php");
            command.args(["-S", &free.to_string()]).arg(path);
            port = Some(u64::from(free.port()));
        }
        let mut process = command.env("MSGINE_WEBHOOK_SECRET", secret).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let port = port.unwrap_or_else(|| {
            let mut line = String::new();
            BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).expect("the receiver says where it listens")["port"].as_u64().unwrap()
        });
        Self { process, url: format!("http://127.0.0.1:{port}/webhooks/msgine") }
    }

    async fn ready(&self) {
        let address = self.url.trim_start_matches("http://").split('/').next().unwrap();
        let wait = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the receiver listens");
    }
}

impl Drop for Documented {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

// MSGINE-45, MSGINE-46, MSGINE-47, MSGINE-48, C23: the documented receivers take what is genuine and refuse what is not. Express signs
// JSON.stringify of what it parsed, so it also proves that our bodies are exactly that.
#[tokio::test(flavor = "multi_thread")]
async fn documented_receivers_verify_webhooks() {
    let server = Server::with(&[ALLOW_HTTP]);
    choose(&server, json!({ "webhook_secret": SECRET })).await;
    let mut targets = Vec::new();
    let mut receivers = Vec::new();
    for script in ["msgine/receiver_express.mjs", "msgine/receiver_flask.py", "msgine/receiver.php"] {
        for (secret, status, answer) in
            [(SECRET, 200, json!({ "received": true })), ("another", 401, json!({ "error": "Invalid signature" }))]
        {
            let receiver = Documented::start(script, secret);
            receiver.ready().await;
            let extra = json!({ "event_types": ["message.*"], "format": "msgine", "policy": { "retry": { "delays": [] } } });
            let target = server.subscribe("webhook", json!({ "url": receiver.url }), extra).await;
            targets.push((script, status, answer, target));
            receivers.push(receiver);
        }
    }
    let odd = json!({
        "channel": "sms", "message_id": "ext/42", "recipient": "+256701521269", "sender": "Zürich/🚀",
        "description": "не \"доставлено\" </a> \u{2028}", "reason": "rejected", "occurred_at": "2024-01-15T10:30:15.5Z"
    });
    server.post_text("/events", &json!({ "type": "message.failed", "data": odd }).to_string().replace('/', "\\/")).await;
    for to in ["+256701521269", "+9990000001"] {
        run("msgine/wire_one.mjs", &[("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY), ("TO", to)], "");
    }
    for (script, status, answer, target) in &targets {
        let id = target["id"].as_str().unwrap();
        let wait = async {
            loop {
                let page = server.get(&format!("/deliveries?target_id={id}")).await;
                let items = page["items"].as_array().unwrap().clone();
                if items.len() == 4 && items.iter().all(|item| item["state"] == "delivered" || item["state"] == "failed") {
                    return items;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let deliveries = tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{script}: four deliveries"));
        for delivery in deliveries {
            let shown = server.get(&format!("/deliveries/{}", delivery["id"].as_str().unwrap())).await;
            let attempt = &shown["attempts"][0];
            let body: Value = serde_json::from_str(attempt["response_body"].as_str().unwrap()).unwrap_or_default();
            assert_eq!((&attempt["status"], &body), (&json!(status), answer), "{script}: {shown}");
        }
    }
}
