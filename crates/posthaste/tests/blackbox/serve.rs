//! `posthaste serve`: keys, directories, addresses, shutdown, restart.

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http::{Answer, id};
use crate::process::{Process, run};
use crate::receiver::{Receiver, Reply};
use crate::server::{KEY, Server};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_the_value_of_posthaste_key_a_private_key_and_later_ones_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    assert!(!server.process.out.text().contains(KEY), "the given key was printed");
    let keys = server.api.all("/keys").await;
    assert_eq!((keys.len(), &keys[0]["kind"], &keys[0]["scopes"]), (1, &json!("private"), &json!(["admin"])));
    server.stop().await;

    let other = "another-key-0123456789";
    let mut server = Server::start_with(dir.path(), &[], &[("POSTHASTE_KEY", other)]).await;
    server.process.err.line(|line| line.contains("POSTHASTE_KEY is not a key of this server")).await;
    assert_eq!(server.api.get("/events").await.status, 200, "the key of the first start is gone");
    assert_eq!(server.api.with_key(other).get("/events").await.status, 401);
    assert_eq!(server.api.all("/keys").await.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_setting_the_first_start_makes_a_key_up_and_prints_it_once() {
    let dir = tempfile::tempdir().expect("a directory");
    // The port is the only thing that the machine may have taken.
    let start = || Process::start(dir.path(), &["serve"], &[("POSTHASTE_LISTEN", "127.0.0.1:0")]);
    let mut first = start();
    let key = first.out.line(|line| line.trim().starts_with("phk_")).await.trim().to_owned();
    let url = first.out.line(|line| line.starts_with("listening on ")).await.replace("listening on ", "");
    let api = crate::http::Api::new(&url, &key);
    assert_eq!(api.get("/events").await.status, 200);
    assert!(dir.path().join("posthaste-data/master.key").is_file());
    first.signal("TERM");
    assert!(first.ended().await.success());

    let mut again = start();
    let url = again.out.line(|line| line.starts_with("listening on ")).await.replace("listening on ", "");
    assert_eq!(crate::http::Api::new(&url, &key).get("/events").await.status, 200);
    again.signal("TERM");
    assert!(again.ended().await.success());
    assert!(!again.out.text().contains("phk_"), "{}", again.out.text());
    // The link for the first member is another at each start, until there is one.
    let link = |process: &Process| {
        let text = process.out.text();
        let line = text.lines().map(str::trim).find(|line| line.contains("/console/setup?token=")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no link in {text}"))
    };
    assert_ne!(link(&first), link(&again));
    assert!(again.out.text().contains(&format!("console at {url}/console/")), "{}", again.out.text());

    let mut without =
        Process::start(dir.path(), &["serve"], &[("POSTHASTE_LISTEN", "127.0.0.1:0"), ("POSTHASTE_CONSOLE_ENABLED", "false")]);
    let url = without.out.line(|line| line.starts_with("listening on ")).await.replace("listening on ", "");
    assert_eq!(crate::http::Api::new(&url, &key).call(Method::GET, "/console/", &[], "").await.status, 404);
    without.signal("TERM");
    assert!(without.ended().await.success());
    assert!(!without.out.text().contains("/console/"), "{}", without.out.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_one_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let args = ["serve", "--data", "data", "--listen", "127.0.0.1:0"];
    run(dir.path(), &args, &[("POSTHASTE_KEY", "a b")]).await.refused(2, &["POSTHASTE_KEY cannot be a key"]);
    assert!(!dir.path().join("data").exists(), "something was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_directory_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let pid = format!("pid {}", server.process.id());
    let second = run(dir.path(), &["serve", "--data", "data", "--listen", "127.0.0.1:0"], &[]).await;
    second.refused(2, &["data directory data is in use by another Posthaste process", &pid, "--data"]);
    assert_eq!(server.api.get("/events").await.status, 200, "the first one suffered");
    server.stop().await;
    // Once it is gone, the directory is free.
    Server::start(dir.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_and_an_unusable_directory_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path()).await;
    let busy = server.api.url.trim_start_matches("http://").to_owned();
    let second = run(dir.path(), &["serve", "--data", "other", "--listen", &busy], &[]).await;
    second.refused(2, &[&format!("{busy} is in use by another program"), "--listen"]);
    std::fs::write(dir.path().join("file"), "").expect("written");
    let wrong = run(dir.path(), &["serve", "--data", "file", "--listen", "127.0.0.1:0"], &[]).await;
    wrong.refused(2, &["the data directory file cannot be used", "--data"]);
    server.stop().await;
}

/// SIGTERM while a delivery and a long poll are under way: both end well, and nothing is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_what_is_under_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let (open, gate) = watch::channel(false);
    let mut receiver = Receiver::scripted(move |_| Reply::When(gate.clone(), 204)).await;
    let mut server = Server::start(dir.path()).await;
    server.subscribed(&receiver.url("/hook"), &["*"], json!({})).await;
    server.api.post("/events", json!({"type": "a", "data": 1})).await.expect(202);
    receiver.next().await;

    let polling = server.api.clone();
    let newest = polling.get("/events").await.json()["items"][0]["id"].clone();
    assert!(newest.is_string());
    server.process.signal("TERM");
    server.process.err.line(|line| line.contains("stopping")).await;
    open.send_replace(true);
    assert!(server.process.ended().await.success());
    assert!(server.api.try_call(Method::GET, "/healthz", &[], "").await.is_err(), "it still answers");

    let server = Server::start(dir.path()).await;
    let deliveries = server.api.all("/deliveries").await;
    assert_eq!((deliveries.len(), &deliveries[0]["state"], &deliveries[0]["attempt_count"]), (1, &json!("delivered"), &json!(1)));
    server.stop().await;
    assert!(receiver.rest().is_empty(), "it was sent twice");
}

/// A receiver that never answers does not hold a shutdown up: the delivery is handed back, and sent again with its id.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_hands_back_what_does_not_finish() {
    let dir = tempfile::tempdir().expect("a directory");
    let (open, gate) = watch::channel(false);
    let mut receiver = Receiver::scripted(move |_| Reply::When(gate.clone(), 204)).await;
    let variables = [("POSTHASTE_KEY", KEY), ("POSTHASTE_LIMITS_SHUTDOWN", "500ms")];
    let mut server = Server::start_with(dir.path(), &["--allow-network", "127.0.0.1"], &variables).await;
    server.subscribed(&receiver.url("/hook"), &["*"], json!({})).await;
    server.api.post("/events", json!({"type": "a", "data": 1})).await.expect(202);
    let first = receiver.next().await;
    server.process.signal("TERM");
    assert!(server.process.ended().await.success());
    open.send_replace(true);

    let server = Server::start(dir.path()).await;
    let second = receiver.next().await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    let delivered = server.api.until("/deliveries?state=delivered", |page| page["items"].get(0).cloned()).await;
    assert_eq!(delivered["id"], json!(second.header("webhook-id")));
    server.stop().await;
}

/// A second signal does not wait for anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (open, gate) = watch::channel(false);
    let mut receiver = Receiver::scripted(move |_| Reply::When(gate.clone(), 204)).await;
    let mut server = Server::start(dir.path()).await;
    server.subscribed(&receiver.url("/hook"), &["*"], json!({})).await;
    server.api.post("/events", json!({"type": "a", "data": 1})).await.expect(202);
    receiver.next().await;
    server.process.signal("TERM");
    server.process.err.line(|line| line.contains("once more stops at once")).await;
    server.process.signal("INT");
    assert_eq!(server.process.ended().await.code(), Some(130));
    open.send_replace(true);
    let server = Server::start(dir.path()).await;
    receiver.next().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_unless_they_are_allowed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    let server = Server::start_with(dir.path(), &[], &[("POSTHASTE_KEY", KEY)]).await;
    let target = id(&server.target(&receiver.url("/hook")).await);
    let report = server.api.post(&format!("/targets/{target}/test"), Value::Null).await.expect(200);
    assert_eq!((&report["delivered"], &report["attempt"]["error"]), (&json!(false), &json!("address_blocked")));
    // The same by a name that leads there.
    let named = receiver.url("/hook").replace("127.0.0.1", "localhost");
    let named = id(&server.target(&named).await);
    let report = server.api.post(&format!("/targets/{named}/test"), Value::Null).await.expect(200);
    assert_eq!(report["attempt"]["error"], "address_blocked", "{report}");
    server.stop().await;
    assert!(receiver.rest().is_empty(), "something was sent");

    // Allowing another network does not help; allowing this one does.
    let server = Server::start_with(dir.path(), &["--allow-network", "10.0.0.0/8"], &[]).await;
    let report = server.api.post(&format!("/targets/{target}/test"), Value::Null).await.expect(200);
    assert_eq!(report["attempt"]["error"], "address_blocked", "{report}");
    server.stop().await;
    let server = Server::start_with(dir.path(), &["--allow-network", "10.0.0.0/8", "--allow-network", "127.0.0.0/8"], &[]).await;
    let report = server.api.post(&format!("/targets/{target}/test"), Value::Null).await.expect(200);
    assert_eq!(report["delivered"], true, "{report}");
    assert_eq!(receiver.next().await.path, "/hook");
    server.stop().await;
}

// MSGGO-86
#[tokio::test(flavor = "multi_thread")]
async fn keys_definitions_and_history_survive_a_restart() {
    const LISTS: [&str; 8] =
        ["/keys", "/event-types", "/targets", "/templates", "/subscriptions", "/events", "/deliveries", "/deliveries?state=delivered"];
    let dir = tempfile::tempdir().expect("a directory");
    let mut receiver = Receiver::start().await;
    let server = Server::start(dir.path()).await;
    let api = &server.api;
    let public = api.make("/keys", json!({"kind": "public", "allowed_domains": ["example.com"]})).await["token"].clone();
    let private = api.make("/keys", json!({"kind": "private", "scopes": ["read"]})).await["token"].clone();
    api.make("/event-types", json!({"name": "Nightly Backup", "group": "Jobs", "description": "every night"})).await;
    api.make("/templates", json!({"name": "Short", "blocks": [{"kind": "text", "text": "Hello {{ data.name }}"}]})).await;
    let target = server.subscribed(&receiver.url("/hook"), &["Nightly Backup"], json!({"timeout": "3s"})).await;
    let secret = api.get(&format!("/targets/{target}/secret")).await.expect(200);
    let send = |query: &str| format!("/inbox/{KEY}?{query}");
    for query in ["event=nightly-backup&status=success", "event=unknown"] {
        api.call(Method::GET, &send(query), &[], "").await.expect(200);
    }
    receiver.next().await;
    api.until("/deliveries?state=delivered", |page| page["items"].get(0).map(|_| ())).await;
    let look = async |server: &Server| {
        let mut seen = Vec::new();
        for list in LISTS {
            let mut items = server.api.all(list).await;
            // How a target fares is told of the running process.
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| drop(item.remove("health")));
            seen.push(items);
        }
        let delivery = id(&seen[6][0]);
        seen.push(vec![server.api.get(&format!("/deliveries/{delivery}")).await.expect(200)]);
        seen
    };
    let before = look(&server).await;
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 1, 1, 1, 2, 1, 1, 1]);
    server.stop().await;

    let server = Server::start(dir.path()).await;
    assert_eq!(look(&server).await, before);
    assert_eq!(server.api.get(&format!("/targets/{target}/secret")).await.expect(200), secret);
    let token = |token: &Value| token.as_str().expect("a token").to_owned();
    assert_eq!(server.api.with_key(&token(&private)).get("/events").await.status, 200);
    let public = format!("/inbox/{}?event=nightly-backup", token(&public));
    let browser: Answer = server.api.call(Method::GET, &public, &[("origin", "https://example.com")], "").await;
    assert_eq!(browser.status, 200, "{browser:?}");
    // And it goes on where it was: the next event is the next in order, and is delivered.
    assert_eq!(server.api.all("/events").await.last().expect("three")["sequence"], 3);
    receiver.next().await;
    server.stop().await;
}
