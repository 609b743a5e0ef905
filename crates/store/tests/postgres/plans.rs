//! What the database does for the statements that matter, as it tells itself (`auto_explain`, and its statistics).

use posthaste_domain::id::DeliveryKey;
use posthaste_store::{Journal, PageLimit};

use super::server::{Server, options};
use super::support::{append, delivered, event, queued};

/// Plans with this in their statement, newest last, each with what was really read.
fn plans(server: &Server, part: &str) -> Vec<String> {
    let log = server.log();
    let plans = log.split("LOG:  duration").filter(|plan| plan.contains("Query Text") && plan.contains(part));
    plans.map(str::to_owned).collect()
}

/// With many queued and many settled deliveries, a page is a range of the primary key, and outcomes find their rows by it; also after the
/// plan was made for an empty table.
#[tokio::test]
async fn lanes_are_ranges_of_the_primary_key() {
    const MANY: i64 = 200_000;
    let server = Server::start();
    let dir = tempfile::tempdir().expect("a directory");
    let database = server.database(dir.path()).await;
    let admin = server.connect("postgres").await;
    for setting in ["session_preload_libraries = auto_explain", "auto_explain.log_min_duration = 0", "auto_explain.log_analyze = on"] {
        admin.batch_execute(&format!("ALTER DATABASE \"{database}\" SET {setting}")).await.expect("a setting");
    }
    let store = server.open(dir.path(), options()).await;
    // Prepared while there is nothing.
    store.append(append(vec![event(1, 5)])).await.expect("append");
    store.settle([delivered(1, 5)].into()).await.expect("settle");
    store.append(append(vec![event(2, 5)])).await.expect("append");
    assert_eq!(queued(&store, 5).await, [2]);
    let filler = server.connect(&database).await;
    let fill = format!(
        "INSERT INTO posthaste.event_1 SELECT n, 1, 1, 1, 1, '{{\"via\":\"test\"}}', '\\x000a', '{{}}' FROM generate_series(3, {MANY}::int8) n;
         INSERT INTO posthaste.delivery_1
         SELECT 5, n << 20, 1, 1, 0, 0, 0, 1, 1, 1, 0, CASE WHEN n < 1000 THEN 2 ELSE 0 END, 0, false FROM generate_series(3, {MANY}::int8) n"
    );
    filler.batch_execute(&fill).await.expect("rows");
    // Counted anew, because they came by another way.
    store.recover().await.expect("recover");
    let page = store.queued(5, DeliveryKey(150_000 << 20), PageLimit { items: 100, bytes: usize::MAX }).await.expect("queued");
    assert_eq!(page.len(), 100);
    assert_eq!(page[0].delivery.key.sequence().0, 150_001);
    store.settle((150_001..150_101).map(|n| delivered(n, 5)).collect()).await.expect("settle");

    let plan = plans(&server, "d.key > i.after").pop().expect("a plan");
    assert!(plan.contains("Index Scan using delivery_1_pkey") && plan.contains("Index Scan using event_1_pkey"), "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("Rows Removed"), "{plan}");
    assert!(plan.contains("Index Cond: ((target = ") && plan.contains("(key > "), "{plan}");
    let plan = plans(&server, "AS i(target, stream, key, state").pop().expect("a plan");
    assert!(plan.contains("Index Scan using delivery_1_pkey") && !plan.contains("Seq Scan"), "{plan}");
    // Each outcome one look.
    let looks = plan.lines().skip_while(|line| !line.contains("Index Scan using delivery_1_pkey")).take(2).collect::<String>();
    assert!(looks.contains("rows=1 loops=100") && looks.contains("(target = ") && looks.contains("(key = "), "{plan}");
    store.close().await;
}

/// Settling leaves no dead index entries behind, whatever the size of the groups.
#[tokio::test]
async fn outcomes_update_in_place() {
    const EVENTS: i64 = 3_000;
    let dir = tempfile::tempdir().expect("a directory");
    let store = Server::shared().open(dir.path(), options()).await;
    // As at work: each group is settled while the next is appended.
    for first in (1..=EVENTS).step_by(60) {
        let (appended, settled) = tokio::join!(
            store.append(append((first..first + 60).map(|n| event(n, n % 7)).collect())),
            store.settle((first - 60..first).filter(|n| *n > 0).map(|n| delivered(n, n % 7)).collect()),
        );
        assert!(appended.is_ok() && settled.is_ok(), "{appended:?} {settled:?}");
    }
    store.settle((EVENTS - 59..=EVENTS).map(|n| delivered(n, n % 7)).collect()).await.expect("settle");
    store.close().await;
    let admin = Server::shared().connect(&Server::shared().database(dir.path()).await).await;
    let sql = "SELECT relname, n_tup_upd, n_tup_hot_upd, n_tup_del FROM pg_stat_user_tables WHERE schemaname = 'posthaste' AND n_tup_upd + n_tup_del > 0";
    let mut seen = false;
    for row in admin.query(sql, &[]).await.expect("statistics") {
        let (table, updated, hot, deleted): (String, i64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        if table == "delivery_1" {
            assert_eq!((updated, hot, deleted), (EVENTS, EVENTS, 0), "{table}");
            seen = true;
        } else if table.starts_with("tally") {
            assert_eq!((updated, deleted), (hot, 0), "{table}");
        }
    }
    assert!(seen);
}
