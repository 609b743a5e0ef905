//! Text messages through a real message centre (node-smpp), which reads and answers in its own way.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::server::{KEY, PATIENCE, Server};
use crate::tools::command;

/// A message centre; it ends with its owner.
struct Centre {
    process: Child,
    commands: ChildStdin,
    port: u64,
    lines: mpsc::Receiver<Value>,
}

impl Centre {
    fn start() -> Self {
        let mut process = command("sms/centre.mjs").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = process.stdin.take().unwrap();
        let read = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in read.map_while(Result::ok) {
                sender.send(serde_json::from_str::<Value>(&line).unwrap()).unwrap();
            }
        });
        let port = lines.recv_timeout(PATIENCE).unwrap()["port"].as_u64().unwrap();
        Self { process, commands, port, lines }
    }

    fn url(&self) -> String {
        format!("smpp://me:pw@127.0.0.1:{}?window=5&reconnect_max=1s", self.port)
    }

    /// The next line of a kind; lines of other kinds are skipped.
    fn next(&self, kind: &str) -> Value {
        tokio::task::block_in_place(|| {
            loop {
                let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {kind} in time"));
                if !line[kind].is_null() {
                    return line[kind].clone();
                }
            }
        })
    }

    fn tell(&mut self, command: &Value) {
        writeln!(self.commands, "{command}").unwrap();
        self.commands.flush().unwrap();
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

const NUMBER: &str = "+256701521269";

/// Sends a text through the MsGine API.
async fn send(server: &Server, to: &str, text: &str) -> Value {
    let body = json!({ "to": to, "from": "12345", "message": text }).to_string();
    let headers = [("authorization", format!("Bearer {KEY}")), ("content-type", "application/json".to_owned())];
    let (status, answer) = server.send(Method::POST, "/api/v1/messages/sms", &headers, Bytes::from(body)).await;
    assert!(status.is_success(), "{status} {answer}");
    answer
}

/// The events of a type, as soon as there are so many.
async fn events(server: &Server, kind: &str, count: usize) -> Vec<Value> {
    let wait = async {
        loop {
            let found: Vec<Value> = server.events().await.into_iter().filter(|event| event["type"] == kind).collect();
            if found.len() >= count {
                assert_eq!(found.len(), count, "{found:#?}");
                return found;
            }
            // Another process has the clock: nothing to await but its answer.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(found) => found,
        Err(_) => panic!("no {count} events {kind}: {:#?}", server.events().await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_receipts_and_replies_go_through_a_message_centre() {
    let mut centre = Centre::start();
    let server = Server::with(&[("POSTHASTE_SMS_CARRIER", &centre.url())]);
    assert_eq!(centre.next("bound"), "me");

    // One segment, and its receipt.
    send(&server, NUMBER, "Hello [€]").await;
    let submit = centre.next("submit");
    let expected = json!({
        "id": "node-1", "from": "12345", "to": "256701521269", "text": "Hello [€]", "coding": 0, "receipt": 1, "part": null,
    });
    assert_eq!(submit, expected);
    assert_eq!(centre.next("answered"), 0);
    let delivered = events(&server, "message.delivered", 1).await;
    assert_eq!((&delivered[0]["data"]["recipient"], &delivered[0]["data"]["channel"]), (&json!(NUMBER), &json!("sms")));
    let sent = events(&server, "message.sent", 1).await;
    assert_eq!(sent[0]["data"]["message_id"], delivered[0]["data"]["message_id"]);

    // Long texts of either alphabet: one message each, delivered when all its segments are.
    for (count, (coding, text)) in (2..).zip([(0, "0123456789".repeat(40)), (8, format!("я{}", "😀".repeat(40)))]) {
        send(&server, NUMBER, &text).await;
        let first = centre.next("submit");
        let total = first["part"][3].as_u64().unwrap();
        let mut whole = first["text"].as_str().unwrap().to_owned();
        for number in 2..=total {
            let part = centre.next("submit");
            assert_eq!((&part["part"][4], &part["coding"]), (&json!(number), &json!(coding)));
            whole.push_str(part["text"].as_str().unwrap());
        }
        assert_eq!(whole, text);
        events(&server, "message.delivered", count).await;
    }

    // The connection is cut, and comes back.
    centre.tell(&json!({ "drop": true }));
    assert_eq!(centre.next("bound"), "me");
    send(&server, NUMBER, "Again").await;
    assert_eq!(centre.next("submit")["text"], "Again");
    events(&server, "message.delivered", 4).await;

    // Replies, short and in parts; each is answered when it is stored.
    let reply = "A long answer, ".repeat(20);
    for (count, (text, parts)) in (1..).zip([("Да", 1), (reply.trim_end(), 3)]) {
        centre.tell(&json!({ "deliver": { "from": "256701521269", "to": "12345", "text": text, "parts": parts } }));
        for _ in 0..parts {
            assert_eq!(centre.next("answered"), 0);
        }
        let received = events(&server, "message.received", count).await;
        let data = &received[count - 1]["data"];
        assert_eq!((&data["text"], &data["sender"], &data["recipient"]), (&json!(text), &json!(NUMBER), &json!("12345")));
    }

    // Who says STOP gets nothing more.
    centre.tell(&json!({ "deliver": { "from": "256701521269", "to": "12345", "text": "Stop" } }));
    assert_eq!(centre.next("answered"), 0);
    let stopped = events(&server, "message.unsubscribed", 1).await;
    assert_eq!(stopped[0]["data"]["recipient"], NUMBER);
    send(&server, NUMBER, "More?").await;
    let failed = events(&server, "message.failed", 1).await;
    assert_eq!(failed[0]["data"]["reason"], "suppress-unsubscribe");
    // Others do.
    send(&server, "+61491570156", "More!").await;
    assert_eq!(centre.next("submit")["text"], "More!");
    events(&server, "message.delivered", 5).await;
}
