//! The commands against a running server, and what a person who types a wrong thing is told.

use std::path::Path;

use serde_json::{Value, json};

use crate::http::id;
use crate::process::{Process, run};
use crate::receiver::{Receiver, Reply};
use crate::server::{KEY, Server};

/// A JSON document on standard output.
#[track_caller]
fn document(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn send_takes_the_document_from_an_argument_a_file_or_a_pipe_and_keeps_its_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let variables = server.variables();
    let text = r#"{"b": 1.10,  "a": 12345678901234567890}"#;
    let sent = run(dir.path(), &["send", "order.created", text], &variables).await.good();
    assert!(sent.out.starts_with("accepted order.created evt_"), "{}", sent.out);
    std::fs::write(dir.path().join("order.json"), text).expect("written");
    run(dir.path(), &["send", "order.created", "@order.json"], &variables).await.good();
    Process::start_with_input(dir.path(), &["send", "order.created"], &variables, text).finish().await.good();
    Process::start_with_input(dir.path(), &["send", "--inbox", "-"], &variables, text).finish().await.good();
    let events = server.api.get("/events").await;
    assert_eq!(String::from_utf8_lossy(&events.body).matches(text).count(), 4, "{events:?}");
    let types: Vec<Value> = server.api.all("/events").await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, [json!("order.created"), json!("order.created"), json!("order.created"), Value::Null]);

    // The same idempotency key publishes once.
    let again = ["--json", "send", "once", "1", "--idempotency-key", "k-1"];
    let first = run(dir.path(), &again, &variables).await.good();
    assert_eq!(document(&run(dir.path(), &again, &variables).await.good().out)["ids"], document(&first.out)["ids"]);
    assert_eq!(server.api.all("/events").await.len(), 5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_answered_with_the_right_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let variables = server.variables();
    let cases: [(&[&str], i32, &[&str]); 15] = [
        (&["sned"], 2, &["unrecognized subcommand 'sned'", "'send'"]),
        (&["serve", "--dta", "x"], 2, &["--dta", "'--data'"]),
        (&["completions", "basch"], 2, &["'bash'"]),
        (&["listen"], 2, &["--forward <URL>"]),
        (&["send"], 1, &["the type of the event is missing", "posthaste send order.created"]),
        (&["send", "order.created", "{id: 7}"], 1, &["the argument is not valid JSON", "single quotes"]),
        (&["send", "order.created", "@nofile"], 1, &["cannot read nofile"]),
        (&["send", "--inbox", "a", "{}"], 1, &["with --inbox there is no TYPE"]),
        (&["target", "create", "x", "--url", "ftp://a.example"], 1, &["settings.url: must begin with http:// or https://"]),
        (&["target", "create", "x", "--url", "http://a.example", "--channel", "webhok"], 1, &["channel", "webhook"]),
        (&["target", "pause", "tgt_none"], 1, &["there is no target"]),
        (&["key", "create", "--scope", "pubish"], 1, &["scopes[0]", "publish"]),
        (&["key", "create", "--public"], 2, &["--allow-domain <DOMAIN>"]),
        (&["replay", "--state", "faild"], 1, &["states", "failed"]),
        (&["tail", "--server", "127.0.0.1:8080"], 2, &["http://127.0.0.1:8080"]),
    ];
    for (args, code, said) in cases {
        run(dir.path(), args, &variables).await.refused(code, said);
    }
    // The same for programs: one JSON document.
    let refused = run(dir.path(), &["--json", "send", "order.created", "{id: 7}"], &variables).await;
    has_error(&document(&refused.err));
    assert!(server.api.all("/events").await.is_empty(), "something was sent");

    let url = ("POSTHASTE_URL", server.api.url.as_str());
    run(dir.path(), &["key", "list"], &[url, ("POSTHASTE_KEY", "wrong")]).await.refused(4, &["does not know this key", "POSTHASTE_KEY"]);
    run(dir.path(), &["key", "list"], &[url]).await.refused(4, &["asks for a key", "POSTHASTE_KEY"]);
    let reader = server.api.make("/keys", json!({"kind": "private", "scopes": ["publish"]})).await["token"].clone();
    let reader = [url, ("POSTHASTE_KEY", reader.as_str().expect("a token"))];
    run(dir.path(), &["key", "list"], &reader).await.refused(4, &["needs the scope admin"]);
    let gone = server.api.url.clone();
    server.stop().await;
    let nobody = [("POSTHASTE_URL", gone.as_str()), ("POSTHASTE_KEY", KEY)];
    run(dir.path(), &["send", "a", "1"], &nobody).await.refused(3, &["nothing answers at", "posthaste serve"]);
}

fn has_error(document: &Value) {
    assert!(document["error"].is_string() && document["hint"].is_string(), "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_what_was_and_what_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let variables = server.variables();
    for name in ["order.a", "other", "order.b"] {
        server.api.post("/events", json!({"type": name, "data": {"n": 1}})).await.expect(202);
    }
    let mut tail = Process::start(dir.path(), &["tail", "--type", "order.*", "--last", "10", "--count", "3"], &variables);
    tail.err.line(|line| line.contains("waiting for events")).await;
    for name in ["other", "order.c"] {
        server.api.post("/events", json!({"type": name, "data": {"n": 2}})).await.expect(202);
    }
    let shown = tail.finish().await.good().out;
    let names: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names, ["order.a", "order.b", "order.c"], "{shown}");

    let last = run(dir.path(), &["--json", "tail", "--last", "1", "--count", "1"], &variables).await.good();
    assert_eq!(document(&last.out)["type"], "order.c");
    assert!(last.err.is_empty(), "{}", last.err);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_forwards_signed_events_to_a_program_on_this_machine() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    let server = Server::start(dir.path()).await;
    let url = receiver.url("/hook");
    let mut listen = Process::start(dir.path(), &["listen", "--forward", &url, "--type", "order.*", "--count", "2"], &server.variables());
    listen.out.line(|line| line.starts_with("signed with whsec_")).await;
    for name in ["order.a", "other", "order.b"] {
        server.api.post("/events", json!({"type": name, "data": {"n": 1}})).await.expect(202);
    }
    let shown = listen.finish().await.good().out;
    assert!(shown.contains("order.a") && shown.contains("204 in ") && shown.contains("order.b"), "{shown}");
    for name in ["order.a", "order.b"] {
        let hit = receiver.next().await;
        assert_eq!((&hit.json()["type"], &hit.json()["data"]), (&json!(name), &json!({"n": 1})));
        assert!(hit.header("webhook-signature").starts_with("v1,") && hit.header("webhook-id").starts_with("evt_"), "{hit:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_invited_listed_and_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let variables = server.variables();
    let link = |out: &str, page: &str| {
        let line = out.lines().map(str::trim).find(|line| line.contains(page)).unwrap_or_else(|| panic!("no link in {out}"));
        assert!(line.starts_with(&format!("{}{page}", server.api.url)), "{line}");
        line.to_owned()
    };
    let setup = run(dir.path(), &["member", "setup-link"], &variables).await.good();
    link(&setup.out, "/console/setup?token=");
    let added = run(dir.path(), &["member", "add", "Bob", "Bob@example.com"], &variables).await.good();
    let first = link(&added.out, "/console/password?token=");
    let listed = run(dir.path(), &["member", "list"], &variables).await.good();
    let row = listed.out.lines().find(|line| line.contains("Bob@example.com")).expect("it is listed");
    assert!(row.contains(" member ") && row.contains("invited") && !listed.out.contains("token"), "{row}");
    let again = run(dir.path(), &["member", "reset-password", "bob@example.com"], &variables).await.good();
    assert_ne!(link(&again.out, "/console/password?token="), first);
    let cases: [(&[&str], i32, &[&str]); 5] = [
        (&["member", "add", "Eve", "eve"], 1, &["email: must be an e-mail address"]),
        (&["member", "add", "Bob", "bob@example.com"], 1, &["email"]),
        (&["member", "add", "Eve", "eve@example.com", "--role", "king"], 2, &["'king'", "administrator"]),
        (&["member", "link", "eve@example.com"], 1, &["there is no member eve@example.com"]),
        (&["member", "setup-link"], 1, &["it has members"]),
    ];
    for (args, code, said) in cases {
        run(dir.path(), args, &variables).await.refused(code, said);
    }
    run(dir.path(), &["member", "remove", "bob@example.com"], &variables).await.good();
    assert!(server.api.all("/members").await.is_empty());
    let log = server.api.get("/audit?kind=member").await.expect(200);
    let actions: Vec<&Value> = log["items"].as_array().expect("entries").iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["delete", "rotate", "create"], "{log}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let variables = server.variables();
    let made = run(dir.path(), &["key", "create", "--scope", "publish", "the shop"], &variables).await.good();
    let token = made.out.lines().map(str::trim).find(|line| line.starts_with("phk_")).expect("a token").to_owned();
    let publish = server.api.with_key(&token).post("/events", json!({"type": "a", "data": 1})).await;
    assert_eq!(publish.status, 202);
    let listed = run(dir.path(), &["key", "list"], &variables).await.good();
    let row = listed.out.lines().find(|line| line.ends_with("the shop")).expect("it is listed");
    assert!(row.contains("publish") && !row.contains(&token), "{row}");
    let key = row.split_whitespace().next().expect("an id");
    run(dir.path(), &["key", "delete", key], &variables).await.good();
    // MSGGO-13: at once, everywhere.
    assert_eq!(server.api.with_key(&token).get("/events").await.status, 401);
    let inbox = server.api.call(http::Method::GET, &format!("/inbox/{token}?event=a"), &[], "").await;
    assert_eq!(inbox.status, 401);
    let public = run(dir.path(), &["--json", "key", "create", "--public", "--allow-domain", "example.com"], &variables).await.good();
    assert_eq!(document(&public.out)["allowed_domains"], json!(["example.com"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_made_tested_paused_resumed_and_deleted_and_failed_deliveries_replayed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (works, answer) = tokio::sync::watch::channel(false);
    let mut receiver = Receiver::scripted(move |_| Reply::Now(if *answer.borrow() { 200 } else { 418 })).await;
    let server = Server::start(dir.path()).await;
    let variables = server.variables();
    let url = receiver.url("/hook");
    let command = async |args: &[&str]| run(dir.path(), args, &variables).await;
    let settings = r#"{"headers":{"x-api-key":"s3cret"}}"#;
    let made = command(&["target", "create", "hook", "--url", &url, "--settings", settings, "--events", "order.*"]).await.good();
    assert!(made.out.contains("subscribed sub_") && made.out.contains("try it: posthaste target test tgt_"), "{}", made.out);
    let targets = document(&command(&["--json", "target", "list"]).await.good().out);
    let target = id(&targets["items"][0]);
    assert_eq!(targets["items"][0]["settings"]["url"], json!(url));
    assert!(!targets.to_string().contains("s3cret"), "{targets}");

    let refused = command(&["target", "test", &target]).await.refused(1, &["the sample was not taken", "status_refused"]);
    assert!(refused.out.contains("POST /hook") && refused.out.contains("418") && !refused.out.contains("s3cret"), "{}", refused.out);
    assert_eq!(receiver.next().await.header("x-api-key"), "s3cret");

    // A delivery that fails for good, and is replayed when the receiver works.
    let patch = json!({"policy": {"stop": [418]}}).to_string();
    server.api.native(http::Method::PATCH, &format!("/targets/{target}"), patch).await.expect(200);
    command(&["send", "order.a", "1"]).await.good();
    let sent = receiver.next().await.header("webhook-id").to_owned();
    server.api.until("/deliveries?state=failed", |page| page["items"].get(0).map(|_| ())).await;
    works.send_replace(true);
    let replayed = command(&["replay", "--target", &target]).await.good();
    assert!(replayed.out.starts_with("done: 1 deliveries looked at, 1 sent again"), "{}", replayed.out);
    assert_eq!(receiver.next().await.header("webhook-id"), sent);
    server.api.until("/deliveries?state=delivered", |page| page["items"].get(0).map(|_| ())).await;

    command(&["target", "pause", &target]).await.good();
    let listed = command(&["target", "list"]).await.good().out;
    assert!(listed.contains("paused"), "{listed}");
    command(&["send", "order.b", "2"]).await.good();
    server.api.until("/deliveries?state=held", |page| page["items"].get(0).map(|_| ())).await;
    assert!(receiver.rest().is_empty(), "a paused target was sent to");
    command(&["target", "resume", &target]).await.good();
    receiver.next().await;

    command(&["target", "delete", &target]).await.refused(1, &["sub_", "--subscriptions"]);
    command(&["target", "delete", &target, "--subscriptions"]).await.good();
    assert!(server.api.all("/targets").await.is_empty() && server.api.all("/subscriptions").await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_server_is_a_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    let server = Server::start(dir.path()).await;
    let target = server.subscribed(&receiver.url("/hook"), &["*"], json!({})).await;
    let secret = server.api.get(&format!("/targets/{target}/secret")).await.expect(200);
    server.api.post("/events", json!({"type": "a", "data": {"n": 1}})).await.expect(202);
    receiver.next().await;
    server.api.until("/deliveries?state=delivered", |page| page["items"].get(0).map(|_| ())).await;
    let copied = run(dir.path(), &["backup", "copy", "--data", "data"], &[]).await.good();
    assert!(copied.out.starts_with("copied "), "{}", copied.out);
    run(dir.path(), &["backup", "copy", "--data", "data"], &[]).await.refused(1, &["no backup was made: copy is not empty"]);
    run(dir.path(), &["backup", "other", "--data", "nothing"], &[]).await.refused(1, &["nothing is not a data directory"]);
    let before = (server.api.all("/events").await, server.api.all("/deliveries").await);
    server.stop().await;

    let restored = tempfile::tempdir().expect("a directory");
    std::fs::rename(dir.path().join("copy"), restored.path().join("data")).expect("renamed");
    let server = Server::start(restored.path()).await;
    assert_eq!((server.api.all("/events").await, server.api.all("/deliveries").await), before);
    assert_eq!(server.api.get(&format!("/targets/{target}/secret")).await.expect(200), secret);
    server.api.post("/events", json!({"type": "b", "data": {"n": 2}})).await.expect(202);
    assert_eq!(receiver.next().await.json()["type"], "b");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_shows_where_values_come_from_and_tells_all_mistakes_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("good.toml"), "listen = \"127.0.0.1:9\"\n[retention]\nage = \"7d\"\n").expect("written");
    let variables = [("POSTHASTE_CONFIG", "good.toml"), ("POSTHASTE_LISTEN", "127.0.0.1:10"), ("POSTHASTE_LIMITS_MAXPAYLOAD", "1")];
    let good = run(dir.path(), &["check"], &variables).await.good();
    assert!(good.out.contains("# POSTHASTE_LISTEN") && good.out.contains("# good.toml:3"), "{}", good.out);
    assert!(good.err.contains("did you mean POSTHASTE_LIMITS_MAX_PAYLOAD?"), "{}", good.err);
    std::fs::write(dir.path().join("bad.toml"), "lisen = \"x\"\n[limits]\nmax_payload = true\n").expect("written");
    let told = ["bad.toml:1: there is no setting lisen; did you mean listen?", "bad.toml:3: limits.max_payload: \"true\" is not a size"];
    run(dir.path(), &["check", "--config", "bad.toml"], &[]).await.refused(2, &told);
    run(dir.path(), &["serve", "--config", "bad.toml"], &[]).await.refused(2, &told);
    run(dir.path(), &["serve", "--config", "none.toml"], &[]).await.refused(2, &["cannot read none.toml"]);
    run(dir.path(), &["serve", "--listen", "8080"], &[]).await.refused(2, &["--listen", "HOST:PORT"]);
    run(dir.path(), &["serve", "--allow-network", "10.0.0.0/99"], &[]).await.refused(2, &["--allow-network", "is not a network"]);
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 2, "a refused start left something behind");
    let example = run(dir.path(), &["check", "--example"], &[]).await.good();
    assert_eq!(example.out.trim_end(), include_str!("../../../../posthaste.example.toml").trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn help_completions_and_the_api_description_are_there() {
    let dir = Path::new(".");
    let help = run(dir, &["--help"], &[]).await.good().out;
    for command in
        ["serve", "demo", "send", "tail", "listen", "key", "target", "replay", "backup", "migrate", "check", "openapi", "completions"]
    {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in\n{help}");
        run(dir, &[command, "--help"], &[]).await.good();
    }
    run(dir, &[], &[]).await.refused(2, &["Usage: posthaste"]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(dir, &["completions", shell], &[]).await.good().out;
        assert!(script.contains("posthaste") && script.contains("replay"), "{shell}: {script}");
    }
    let openapi = run(dir, &["openapi"], &[]).await.good().out;
    let kept = include_str!("../../../../docs/openapi.json");
    assert!(openapi.trim_end() == kept.trim_end(), "write it anew with: posthaste openapi > docs/openapi.json");
    assert_eq!(document(&openapi)["openapi"], "3.1.0");
}
