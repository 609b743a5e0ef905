//! Two releases side by side: nodes of this one while a later one has brought the schema up.
//!
//! The first release has no predecessor to run beside, so the later one is played by what the rules of the schema allow it to do: it
//! adds columns, tables and indexes, and writes to them.

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::{Cluster, EventFilter, History, Journal, Order, Range, RetentionRule, Settlement, StoreError};
use tokio_postgres::Client;

use super::server::{Server, options};
use super::support::{ALL, append, delivered, event, key, queued};

const KEEP: RetentionRule = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };

fn lapse(seconds: u64) -> PostgresOptions {
    PostgresOptions { lapse: Duration::from_secs(seconds), ..options() }
}

/// Expands the schema as a later release may.
async fn expand(admin: &Client) {
    let tables = admin.query("SELECT tablename FROM pg_tables WHERE schemaname = 'posthaste'", &[]).await.expect("tables");
    let mut script = "CREATE TABLE posthaste.later(id bigint PRIMARY KEY, name text);".to_owned();
    for table in tables {
        let table: String = table.get(0);
        let add = "ADD COLUMN later_note text, ADD COLUMN later_count integer NOT NULL DEFAULT 7";
        script += &format!("ALTER TABLE posthaste.{table} {add};");
    }
    script += "CREATE INDEX later_node ON posthaste.node(later_count);
        UPDATE posthaste.delivery_1 SET later_note = 'kept';
        INSERT INTO posthaste.migration(number, oldest) VALUES (4, 2);";
    admin.batch_execute(&format!("BEGIN;{script}COMMIT")).await.expect("it expands");
}

/// All that a node does, with its own events from a number on; answers the keys that stay queued.
async fn work(store: &PostgresStore, target: i64) -> Vec<i64> {
    let first = store.lease(8).await.expect("a lease").0;
    store.append(append((0..4).map(|n| event(first + n, target)).collect())).await.expect("append");
    store.settle([delivered(first, target)].into()).await.expect("settle");
    let later = Settlement { state: DeliveryState::Scheduled, due_ms: 9, attempt: None, ..delivered(first + 1, target) };
    store.settle([later].into()).await.expect("settle");
    let reopened = store.reopen(vec![key(first)], 5).await.expect("reopen");
    assert_eq!(reopened.len(), 1);
    store.settle([Settlement { attempt: None, ..delivered(first, target) }].into()).await.expect("settle");
    assert_eq!(store.attempts(key(first)).await.expect("attempts").len(), 1);
    assert!(!store.due(target, (0, DeliveryKey(0)), 10, ALL).await.expect("due").is_empty());
    assert!(store.event(1, Sequence(first + 2)).await.expect("event").is_some());
    let range = Range { order: Order::Desc, after: None, limit: 10, from_ms: None, to_ms: None };
    assert!(store.events(1, EventFilter::default(), range).await.expect("a page").len() >= 4);
    store.beat(0, "{}").await.expect("a heartbeat");
    store.news(0).await.expect("the catalog");
    store.nodes().await.expect("nodes");
    queued(store, target).await
}

#[tokio::test]
async fn a_later_release_may_have_expanded_the_schema() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::shared();
    let one = server.open(dir.path(), lapse(3_600)).await;
    let two = server.open(dir.path(), lapse(3_600)).await;
    let before = (work(&one, 5).await, work(&two, 6).await);
    let admin = server.connect(&server.database(dir.path()).await).await;
    expand(&admin).await;

    // Statements that were prepared before are used again.
    let after = (work(&one, 5).await, work(&two, 6).await);
    assert_eq!((after.0.len(), after.1.len()), (4, 4), "{before:?} and {after:?}");
    let notes = "SELECT count(*) FROM posthaste.delivery_1 WHERE later_note = 'kept'";
    assert_eq!(admin.query_one(notes, &[]).await.expect("a count").get::<_, i64>(0), 8, "what is not known is left alone");

    // A node of this release joins, makes a bucket, and inherits from one that goes.
    let three = server.open(dir.path(), lapse(3_600)).await;
    three.recover().await.expect("recover");
    three.retire(KEEP, i64::MAX / 2).await.expect("a bucket");
    assert_eq!(work(&three, 7).await.len(), 2);
    one.close().await;
    let inherited = three.adopt(100).await.expect("adopt");
    assert_eq!(inherited.iter().map(|lane| (lane.target, lane.queued, lane.scheduled)).collect::<Vec<_>>(), [(5, 4, 2)]);
    assert_eq!(queued(&three, 5).await, after.0);

    // Once it has contracted the schema, nodes of this release do not start any more.
    admin.execute("UPDATE posthaste.migration SET oldest = 4 WHERE number = 4", &[]).await.expect("an update");
    let refused = PostgresStore::open(&server.url(&server.database(dir.path()).await), options()).await;
    assert!(matches!(refused.map(Arc::new), Err(StoreError::TooNew { found: 4, known: 3 })));
    for store in [two, three] {
        store.close().await;
    }
}
