//! `posthaste migrate` between the real program's data directory and a real Postgres, killed at any moment: everything arrives, nothing twice.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::database::{database, postgres};
use crate::process::{PATIENCE, Process, run};
use crate::receiver::Receiver;
use crate::server::{KEY, Server};

/// Events that are published before the first move.
const EVENTS: usize = 300;
/// Times that a move is killed at a time that nobody chose, if it does not end before.
const KILLS: u64 = 5;

/// Runs a move that is killed when it is in the middle, and again and again, before it is left alone. It has to say that it went on.
async fn move_with_kills(dir: &Path, args: &[&str], variables: &[(&str, &str)], is_in_the_middle: impl AsyncFn() -> bool) {
    let mut moving = Process::start(dir, args, variables);
    let middle = async {
        while !is_in_the_middle().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, middle).await.unwrap_or_else(|_| panic!("it moves nothing: {}", moving.err.text()));
    moving.kill();
    for kill in 1..=KILLS {
        let mut moving = Process::start(dir, args, variables);
        // Later and later: in the start, and further on.
        tokio::time::sleep(Duration::from_millis(15 * kill * kill)).await;
        moving.kill();
    }
    let again = run(dir, args, variables).await;
    // The last one killed may have been done already.
    if again.code == 2 && again.err.contains("already") {
        return;
    }
    let report: Value = serde_json::from_str(&again.good().out).expect("JSON");
    assert_eq!(report["resumed"], true, "{report}");
}

fn event(kind: &str, n: usize) -> Value {
    json!({"type": kind, "data": {"n": n}})
}

/// The next requests, by the number of their event.
async fn numbers(receiver: &mut Receiver, kind: &str, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let hit = receiver.next().await.json();
        assert_eq!(hit["type"], kind, "{hit}");
        numbers.push(hit["data"]["n"].as_u64().expect("a number"));
    }
    numbers
}

async fn all(server: &Server) -> (Vec<Value>, Vec<Value>) {
    (server.api.all("/events").await, server.api.all("/deliveries").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_moves_to_a_database_and_back_however_often_that_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let (name, url) = database(dir).await;
    let mut receiver = Receiver::start().await;
    let server = Server::start(dir).await;
    let target = server.subscribed(&receiver.url("/hook"), &["a"], json!({})).await;
    let held = server.subscribed(&receiver.url("/held"), &["held"], json!({})).await;
    let ordered = server.subscribed(&receiver.url("/ordered"), &["ordered"], json!({"order": "fifo"})).await;
    let secret = server.api.get(&format!("/targets/{target}/secret")).await.expect(200);
    for paused in [&held, &ordered] {
        server.api.post(&format!("/targets/{paused}/pause"), json!({})).await.expect(200);
    }
    let kind = |n: usize| ["held", "ordered", "ordered"].get(n % 10).copied().unwrap_or("a");
    let of = |wanted: &str| (0..EVENTS).filter(|n| kind(*n) == wanted).map(|n| n as u64).collect::<Vec<u64>>();
    for first in (0..EVENTS).step_by(20) {
        let events: Vec<Value> = (first..first + 20).map(|n| event(kind(n), n)).collect();
        server.api.post("/events", json!(events)).await.expect(202);
    }
    let mut arrived = numbers(&mut receiver, "a", of("a").len()).await;
    arrived.sort_unstable();
    assert_eq!(arrived, of("a"));

    // Wrong ends are named before anything is done.
    let up = ["--json", "migrate", "--from", "data", "--to", url.as_str(), "--rows", "1"];
    let pid = format!("(pid {})", server.process.id());
    run(dir, &[&up[..], &["--dry-run"]].concat(), &[]).await.refused(2, &["in use by another Posthaste process", &pid, "kill"]);
    server.stop().await;
    for (from, to, said) in [
        ("nothing", url.as_str(), "nothing is not a data directory"),
        ("data", "back", "one end has to be a data directory and the other a database"),
        ("data", "mysql://db/x", "mysql:// is neither a directory nor a Postgres"),
        ("data", "postgres://db:port/x", "the address of the database cannot be used"),
        ("data", "postgres://postgres@127.0.0.1:1/x", "127.0.0.1:1"),
        ("data", &url.replace(&name, "none"), "\"none\" does not exist"),
    ] {
        run(dir, &["migrate", "--from", from, "--to", to], &[]).await.refused(2, &[said]);
    }
    let nothing = ["migrate", "--from", &url, "--to", "back", "--master-key", "data/master.key"];
    run(dir, &nothing, &[]).await.refused(2, &["has no store"]);
    assert!(!dir.join("back").exists());
    run(dir, &["migrate", "--from", "data"], &[]).await.refused(2, &["--to is missing, and the configuration names no database"]);

    // As it is when nothing runs any more.
    let server = Server::start(dir).await;
    let before = all(&server).await;
    server.stop().await;
    let counted = run(dir, &[&up[..], &["--dry-run"]].concat(), &[]).await.good().out;
    let counted: Value = serde_json::from_str(&counted).expect("JSON");
    let pending = of("held").len() + of("ordered").len();
    assert_eq!((&counted["would_move"]["events"], &counted["would_move"]["pending"]), (&json!(EVENTS), &json!(pending)), "{counted}");
    let client = postgres::Server::shared().connect(&name).await;
    let is_at_events = async || {
        let rows = client.query("SELECT position FROM posthaste.move", &[]).await.unwrap_or_default();
        rows.first().is_some_and(|row| row.get::<_, &str>(0).contains(r#""phase":"events""#))
    };
    move_with_kills(dir, &up, &[], is_at_events).await;
    run(dir, &["serve", "--data", "data"], &[]).await.refused(2, &["was moved by `posthaste migrate` to postgres://", "moved.json"]);
    run(dir, &up, &[]).await.refused(2, &["was moved to postgres://", "already"]);

    // Two nodes go on with it, the target with an order at one of them.
    let keys = std::fs::read_to_string(dir.join("data/master.key")).expect("a key");
    let keys = keys.trim();
    let node = async |place: &str| {
        let place = dir.join(place);
        std::fs::create_dir_all(&place).expect("a directory");
        let args = ["--allow-network", "127.0.0.1", "--database", &url];
        Server::start_with(&place, &args, &[("POSTHASTE_KEY", KEY), ("POSTHASTE_DATABASE_MASTER_KEY", keys)]).await
    };
    let (one, two) = (node("one").await, node("two").await);
    assert_eq!(all(&one).await, before);
    let (back, key_file) = (dir.join("back"), ["--master-key", "data/master.key"]);
    let down = ["--json", "migrate", "--to", "back/data", "--rows", "1"];
    let variables = [("POSTHASTE_DATABASE_URL", url.as_str()), ("POSTHASTE_DATABASE_MASTER_KEY", keys)];
    run(dir, &down, &variables).await.refused(2, &["is in use by", "stop all nodes"]);
    let mut order = of("ordered");
    for n in EVENTS..EVENTS + 20 {
        let at = if n % 2 == 0 { &one } else { &two };
        at.api.post("/events", json!([event("ordered", n), event("held", n)])).await.expect(202);
        order.push(n as u64);
    }
    two.api.post(&format!("/targets/{ordered}/resume"), json!({})).await.expect(200);
    assert_eq!(numbers(&mut receiver, "ordered", order.len()).await, order);
    two.stop().await;
    one.stop().await;
    let one = node("one").await;
    let before = all(&one).await;
    one.stop().await;

    run(dir, &["migrate", "--from", &url, "--to", "back/data"], &[])
        .await
        .refused(2, &["the master key cannot be used", "--master-key FILE"]);
    run(dir, &[&["migrate", "--from", &url, "--to", "one"][..], &key_file].concat(), &[]).await.refused(2, &["is not empty"]);
    let has_journal = async || std::fs::read_dir(back.join("data/journal")).is_ok_and(|mut files| files.next().is_some());
    move_with_kills(dir, &down, &variables, has_journal).await;
    let serve = ["serve", "--data", "two", "--database", &url];
    run(dir, &serve, &variables[1..]).await.refused(2, &["was moved by `posthaste migrate` to", "posthaste.move"]);

    let server = Server::start(&back).await;
    assert_eq!(all(&server).await, before);
    assert_eq!(server.api.get(&format!("/targets/{target}/secret")).await.expect(200), secret);
    server.api.post(&format!("/targets/{held}/resume"), json!({})).await.expect(200);
    let wanted = [of("held"), (EVENTS..EVENTS + 20).map(|n| n as u64).collect()].concat();
    let mut arrived = numbers(&mut receiver, "held", wanted.len()).await;
    arrived.sort_unstable();
    assert_eq!(arrived, wanted);
    server.stop().await;
    let twice = receiver.rest();
    assert!(twice.is_empty(), "{twice:?}");
}

/// The server goes on until little is left to move, and is told apart by its process.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_moved_while_it_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let (_, url) = database(dir).await;
    let mut receiver = Receiver::start().await;
    let server = Server::start(dir).await;
    server.subscribed(&receiver.url("/hook"), &["a"], json!({})).await;
    let held = server.subscribed(&receiver.url("/held"), &["held"], json!({})).await;
    server.api.post(&format!("/targets/{held}/pause"), json!({})).await.expect(200);
    let publish = async |range: std::ops::Range<usize>| {
        let count = range.len();
        let events: Vec<Value> = range.flat_map(|n| [event("a", n), event("held", n)]).collect();
        server.api.post("/events", json!(events)).await.expect(202);
        count
    };
    let first = publish(0..100).await;
    numbers(&mut receiver, "a", first).await;
    let up = ["--json", "migrate", "--from", "data", "--to", url.as_str(), "--rows", "7"];
    // Killed while the server runs, it goes on later, and the server may have ended and begun in between.
    let mut moving = Process::start(dir, &up, &[]);
    moving.err.line(|line| line.contains("Stop the server")).await;
    moving.kill();
    let second = publish(100..150).await;
    numbers(&mut receiver, "a", second).await;
    let pid = server.process.id();
    let mut moving = Process::start(dir, &up, &[]);
    let asked = moving.err.line(|line| line.contains("Stop the server")).await;
    assert!(asked.contains(&format!("process {pid}")), "{asked}");
    let third = publish(150..200).await;
    numbers(&mut receiver, "a", third).await;
    let before = all(&server).await;
    let keys = std::fs::read_to_string(dir.join("data/master.key")).expect("a key");
    server.stop().await;
    let report = moving.finish().await.good().out;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["resumed"], report["seconds_stopped"].is_number()), (&json!(true), true), "{report}");
    assert!(report["moved"]["changes"].as_u64().is_some_and(|changes| changes >= 100), "{report}");
    run(dir, &["serve", "--data", "data"], &[]).await.refused(2, &["was moved by `posthaste migrate` to postgres://"]);

    let place = dir.join("one");
    std::fs::create_dir_all(&place).expect("a directory");
    let variables = [("POSTHASTE_KEY", KEY), ("POSTHASTE_DATABASE_MASTER_KEY", keys.trim())];
    let node = Server::start_with(&place, &["--allow-network", "127.0.0.1", "--database", &url], &variables).await;
    assert_eq!(all(&node).await, before);
    node.api.post(&format!("/targets/{held}/resume"), json!({})).await.expect(200);
    let mut arrived = numbers(&mut receiver, "held", 200).await;
    arrived.sort_unstable();
    assert_eq!(arrived, (0..200).collect::<Vec<u64>>());
    node.stop().await;
    let twice = receiver.rest();
    assert!(twice.is_empty(), "{twice:?}");
}
