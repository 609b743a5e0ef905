//! The first minute: the demo, and the README's quick start word for word.

use std::path::Path;
use std::process::Stdio;

use http::Method;
use serde_json::{Value, json};

use crate::http::Api;
use crate::process::{Process, run};
use crate::server::{KEY, Server};

const DEMO: [&str; 3] = ["demo", "--listen", "127.0.0.1:0"];

/// Runs shell text to its end.
fn shell(dir: &Path, text: &str, variables: &[(&str, &str)]) -> (bool, String, String) {
    let mut command = std::process::Command::new("bash");
    command.args(["-c", text]).current_dir(dir).envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().expect("bash is installed");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), said(&output.stdout), said(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_arrivals_a_key_every_way_and_where_to_look_and_ends_when_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let temporary = dir.path().to_str().expect("a plain name");
    let demo = run(dir.path(), &[&DEMO[..], &["--once"]].concat(), &[("TMPDIR", temporary)]).await.good();
    let arrived = |what: &str| demo.out.lines().filter(|line| line.starts_with("delivered") && line.contains(what)).count();
    assert_eq!(arrived("webhook receiver: signature verified"), 5, "{}", demo.out);
    assert_eq!(arrived("request bin"), 6, "{}", demo.out);
    let kinds: Vec<&str> =
        demo.out.lines().filter_map(|line| ["event ", "delivered "].into_iter().find(|kind| line.starts_with(kind))).collect();
    assert_eq!((kinds.iter().filter(|kind| **kind == "event ").count(), kinds[0]), (5, "event "), "{}", demo.out);
    for part in ["Everything arrived.", "Your key:", "  phk_", "Where to look:", "/bin/", "/posthaste/v1/events", "openapi.json"] {
        assert!(demo.out.contains(part), "{part:?} is missing in\n{}", demo.out);
    }
    for row in 1..=20 {
        let head = format!("# {:3}  ", format!("T{row}"));
        let at = demo.out.find(&head).unwrap_or_else(|| panic!("T{row} is missing in\n{}", demo.out));
        let command = demo.out[at..].lines().nth(1).expect("a command follows");
        assert!(command.starts_with("curl "), "T{row}: {command}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0, "the demo left something behind");
}

/// Everything that the demo prints works as it stands, and the demo goes on where there is no terminal, until it is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_the_demo_prints_sends_the_event_it_promises() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut demo = Process::start(dir.path(), &[&DEMO[..], &["--json"]].concat(), &[]);
    let shown: Value = serde_json::from_str(&demo.out.line(|line| line.starts_with('{')).await).expect("a JSON document");
    let api = Api::new(shown["url"].as_str().expect("an address"), shown["key"].as_str().expect("a key"));
    let before = api.all("/events").await.len();
    assert_eq!(before, 5);
    let recipes = shown["recipes"].as_array().expect("a list");
    for recipe in recipes {
        let (good, out, err) = shell(dir.path(), recipe["command"].as_str().expect("a command"), &[]);
        assert!(good, "{recipe}: {err}");
        let expected = if recipe["way"] == "T10" { "HTTP/1.1 200 OK" } else { r#"{"ok":true,"statusCode":200}"# };
        assert!(out.starts_with(expected), "{recipe}: {out}");
    }
    let events = api.all("/events").await.split_off(before);
    assert_eq!(events.len(), recipes.len());
    for (event, recipe) in events.iter().zip(recipes) {
        assert_eq!(event["data"], recipe["document"], "{recipe}");
        assert!(event["type"].is_string(), "{recipe} matched no event type");
    }
    let expected = |suffix: &str| format!("{}{suffix}", shown["look_url"].as_str().expect("an address"));
    let look = Api::new(&expected(""), "").call(Method::GET, "", &[("accept", "text/html")], "").await;
    assert!(look.status == 200 && String::from_utf8_lossy(&look.body).contains("deploy_done"), "{look:?}");
    demo.signal("INT");
    assert!(demo.ended().await.success(), "{}", demo.err.text());
}

/// Lines of the README that its comments promise to be tested, for another address.
fn tested_lines(url: &str) -> Vec<String> {
    let readme = include_str!("../../../../README.md");
    let blocks = readme.split("<!-- A test runs these lines. -->").skip(1);
    blocks
        .map(|block| {
            let (_, code) = block.split_once("```sh\n").expect("a block of shell follows");
            let (code, _) = code.split_once("```").expect("the block ends");
            code.replace("http://127.0.0.1:8080", url)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_of_the_readme_works_as_it_is_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let blocks = tested_lines(&server.api.url);
    assert_eq!(blocks.len(), 3);
    let script =
        format!("set -euo pipefail; curl() {{ command curl --silent --show-error --fail-with-body \"$@\"; echo; }}\n{}", blocks.concat());
    let (good, out, err) = shell(dir.path(), &script, &[("POSTHASTE_KEY", KEY)]);
    assert!(good, "{out}\n{err}");
    let mut events = server.api.all("/events").await;
    events.retain(|event| !event["type"].as_str().is_some_and(|name| name.starts_with("message.")));
    let shown: Vec<_> = events.iter().map(|event| (event["type"].clone(), event["data"].clone())).collect();
    let backup = (json!("Nightly Backup"), json!({"event": "nightly-backup", "status": "success"}));
    assert_eq!(shown, [(json!("order.paid"), json!({"order": "A-17", "total": 1250})), backup.clone(), backup]);
    let of_order = |page: &Value| page["items"].as_array()?.iter().find(|delivery| delivery["event_id"] == events[0]["id"]).cloned();
    server.api.until("/deliveries?state=delivered", of_order).await;
    assert!(out.contains("Queued. Thank you.") && out.contains("\"status\":\"pending\""), "{out}");
    let told = |channel: &'static str| {
        move |page: &Value| {
            let mut items = page["items"].as_array()?.iter();
            items.find(|event| event["data"]["channel"] == channel).cloned()
        }
    };
    for channel in ["email", "sms"] {
        server.api.until("/events?type=message.delivered", told(channel)).await;
    }
    server.stop().await;
}
