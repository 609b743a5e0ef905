//! A node of the real program, and what others do on its database.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;

use crate::database::{database, postgres};
use crate::process::PATIENCE;
use crate::server::{KEY, Server};

/// What a node shows may be old. Whether there is something to change is asked of the database, with the right to change it.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_another_node_has_just_paused_is_resumed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (name, url) = database(dir.path()).await;
    let args = ["--allow-network", "127.0.0.1", "--database", &url];
    let server = Server::start_with(dir.path(), &args, &[("POSTHASTE_KEY", KEY)]).await;
    let target = crate::http::id(&server.target("http://127.0.0.1:9/").await);

    // As another node pauses it. Nobody hears of it before the transaction ends.
    let mut other = postgres::Server::shared().connect(&name).await;
    let pausing = other.transaction().await.expect("a transaction");
    pausing.batch_execute("UPDATE posthaste.counter SET value = value + 1 WHERE name = 'catalog'").await.expect("a version");
    let pause = "UPDATE posthaste.resource SET version = version + 1, doc = jsonb_set(doc::jsonb, '{status}', '\"paused\"')::text,
                   changed = (SELECT value FROM posthaste.counter WHERE name = 'catalog') WHERE id = $1";
    assert_eq!(pausing.execute(pause, &[&target]).await.expect("paused"), 1);

    let is_answered = Cell::new(false);
    let resume = async {
        let path = format!("/targets/{target}/resume");
        let answer = server.api.post(&path, json!({})).await;
        is_answered.set(true);
        answer
    };
    let watcher = postgres::Server::shared().connect(&name).await;
    let end_the_pause = async {
        let waiting = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = $1";
        while !is_answered.get() && watcher.query(waiting, &[&name]).await.expect("locks").is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pausing.commit().await.expect("committed");
    };
    let (answer, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(resume, end_the_pause) }).await.expect("an answer");
    assert_eq!(answer.expect(200)["status"], "active");
    let stored = watcher.query_one("SELECT doc::jsonb ->> 'status' FROM posthaste.resource WHERE id = $1", &[&target]).await;
    assert_eq!(stored.expect("a row").get::<_, &str>(0), "active");
    server.stop().await;
}

/// A node that others take for gone while it starts, since the machine or the database is slow, begins again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_takes_too_long_is_begun_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (name, url) = database(dir.path()).await;
    let (args, variables) = (["--database", &url], [("POSTHASTE_KEY", KEY)]);
    Server::start_with(dir.path(), &args, &variables).await.stop().await;

    let mut other = postgres::Server::shared().connect(&name).await;
    let slow = other.transaction().await.expect("a transaction");
    // A start waits for this when others know of it already.
    slow.batch_execute("SELECT FROM posthaste.counter WHERE name = 'sequence' FOR UPDATE").await.expect("a lock");
    let take_for_gone = async {
        let gone = "UPDATE posthaste.node SET closed = true WHERE NOT closed";
        while slow.execute(gone, &[]).await.expect("closed") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        slow.commit().await.expect("committed");
    };
    let started = async { tokio::join!(Server::start_with(dir.path(), &args, &variables), take_for_gone) };
    let (server, ()) = tokio::time::timeout(PATIENCE, started).await.expect("it starts");
    assert!(server.process.err.text().contains("another node took this over"), "{}", server.process.err.text());
    server.api.get("/targets").await.expect(200);
    server.stop().await;
}
