//! Months of segments: a start looks at each, and goes on with all.

use posthaste_store::{History, Journal};

use super::support::{delivered, event, events, open, queued, roll};

const SEGMENTS: i64 = 120;

#[tokio::test]
async fn many_segments_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for n in 1..=SEGMENTS {
        store.append(event(n, 10)).await.expect("append");
        if n % 10 != 0 {
            store.settle(delivered(n, 10)).await.expect("settle");
        }
        roll(&store).await;
    }
    store.close().await;
    let store = open(dir.path());
    assert_eq!(store.size().await.expect("size").buckets as i64, SEGMENTS + 1);
    assert_eq!(queued(&store).await, (1..=SEGMENTS / 10).map(|n| n * 10).collect::<Vec<_>>());
    assert_eq!(events(&store).await.len() as i64, SEGMENTS);
    store.close().await;
}
