//! Incident 12: two processes on one data directory.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{Journal, StoreError};

use super::support::{self, event, events, open};

const HOLDING: &str = "holding the directory";

#[tokio::test]
async fn incident_12_the_second_is_refused_and_a_dead_one_holds_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut holder =
        support::child("lock::child_that_holds", dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
    let output = BufReader::new(holder.stdout.take().expect("its output"));
    let holds = output.lines().map_while(Result::ok).any(|line| line.contains(HOLDING));
    assert!(holds, "the child opened the directory");

    let Err(StoreError::Locked { path, pid }) = SqliteStore::open(dir.path(), SqliteOptions::default()) else {
        panic!("two processes serve one directory");
    };
    assert_eq!((path, pid), (dir.path().display().to_string(), Some(holder.id())));

    // SIGKILL: it closes nothing and says nothing.
    holder.kill().expect("killed");
    holder.wait().expect("its end");
    let store = open(dir.path());
    assert_eq!(events(&store).await, [1], "what it had answered is there");

    // Twice in one process is refused too, and the message names who it is.
    let again = SqliteStore::open(dir.path(), SqliteOptions::default()).err().expect("refused");
    assert!(again.to_string().contains(&format!("(pid {})", std::process::id())), "{again}");
    store.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn child_that_holds() {
    let Some(dir) = support::directory_of_child() else { return };
    let store = open(&dir);
    store.append(event(1, 10)).await.expect("append");
    println!("{HOLDING}");
    // Until killed, or until whoever started it is gone.
    std::io::stdin().read_line(&mut String::new()).expect("input");
}
