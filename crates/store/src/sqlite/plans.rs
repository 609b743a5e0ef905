//! Every read of the journal walks a key range of an index: none looks at a whole table, none sorts (incident 16, needs row 5).

use rusqlite::Connection;

use super::{about, cold, lists, members, pages, rows, schema, segments, walk};

fn reads() -> Vec<&'static str> {
    let mut reads = vec![
        about::ABOUT_ASCENDING,
        about::ABOUT_DESCENDING,
        about::COUNTS,
        about::COUNT_BLOCK,
        cold::PACK,
        rows::EVENT,
        rows::DELIVERY_BY_KEY,
        rows::FIRST_ATTEMPT,
        rows::ATTEMPTS,
        rows::LAST_ATTEMPT,
        pages::QUEUED,
        pages::DUE_AT,
        pages::DUE_AFTER,
        members::PART_BEFORE,
        members::PARTS_FROM,
        members::EVENTS_BETWEEN,
        pages::IDEMPOTENT,
        lists::NEXT_EVENT,
        lists::TYPE_ID,
        lists::HAS_TYPE,
        lists::OWN_DELIVERIES,
        lists::COMMIT_OF,
        lists::PARTS_OF_COMMIT,
        segments::NEXT_TARGET,
        segments::COUNT_IN_LANE,
        segments::OWNER_OF_LANE,
        segments::JOINED,
        walk::NEXT_MARK,
        walk::LAST_MARK,
        walk::MARKS_ASCENDING,
        walk::MARKS_DESCENDING,
        walk::IS_MARKED,
        walk::STATES,
    ];
    for list in [lists::ASCENDING, lists::DESCENDING] {
        reads.extend([list.events, list.deliveries, list.lane]);
    }
    reads
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement that SQLite understands");
    explain.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().expect("its lines")
}

fn walks_keys_only(plan: &[String]) -> bool {
    !plan.is_empty() && plan.iter().all(|line| line.starts_with("SEARCH ") && !line.contains("AUTOMATIC"))
}

#[test]
fn every_read_is_a_key_range() {
    let conn = Connection::open_in_memory().expect("a database");
    conn.execute_batch(schema::SEGMENT).expect("tables");
    conn.execute_batch(schema::INDEXES).expect("indexes");
    conn.execute_batch(schema::ABOUT).expect("the index of subjects");
    conn.execute_batch(schema::COLD).expect("packs");
    for sql in reads() {
        let plan = plan(&conn, sql);
        assert!(walks_keys_only(&plan), "{sql}\n{plan:#?}");
    }
    // The check can fail: no index is ordered by payload, and none has a time.
    for sql in ["SELECT key FROM delivery WHERE updated_ms > 5", "SELECT sequence FROM event WHERE workspace = 1 ORDER BY payload"] {
        assert!(!walks_keys_only(&plan(&conn, sql)), "{sql}");
    }
}
