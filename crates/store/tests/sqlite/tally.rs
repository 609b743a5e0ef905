//! How many events of each type there are: known without asking files, and found again when a file does not tell.

use std::path::Path;

use posthaste_store::{History, Journal};

use super::support::{WORKSPACE, event, look, open, roll, segment};

/// Workspace, type and count of each row; `None` when there is no table.
fn tally(dir: &Path, n: u32) -> Option<Vec<(i64, i64, i64)>> {
    let conn = look(&segment(dir, n));
    let mut select = conn.prepare("SELECT workspace, type, count FROM tally ORDER BY workspace").ok()?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    Some(rows.collect::<Result<_, _>>().expect("numbers"))
}

#[tokio::test]
async fn sealed_segments_tell_how_many_events_they_have() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for n in 1..=300 {
        store.append(event(n, 10)).await.expect("append");
        if n == 200 {
            roll(&store).await;
        }
    }
    assert_eq!(store.count(WORKSPACE, "order.created").await.expect("count"), 300);
    assert_eq!(store.count(WORKSPACE + 1, "order.created").await.expect("count"), 0);
    store.close().await;
    let whole = vec![(0, 0, 200), (WORKSPACE, 1, 200)];
    assert_eq!((tally(dir.path(), 1), tally(dir.path(), 2)), (Some(whole.clone()), None));

    // It is believed, and where it is missing, or was not completed, counted anew.
    for (change, expected) in
        [("UPDATE tally SET count = 7 WHERE workspace > 0", 107), ("DELETE FROM tally WHERE workspace = 0", 300), ("DROP TABLE tally", 300)]
    {
        look(&segment(dir.path(), 1)).execute_batch(change).expect("a change");
        let store = open(dir.path());
        assert_eq!(store.count(WORKSPACE, "order.created").await.expect("count"), expected, "{change}");
        store.close().await;
    }
    assert_eq!(tally(dir.path(), 1), Some(whole));
}
