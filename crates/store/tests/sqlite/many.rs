//! Months of segments: a start looks at each, so that look must be short.

use std::time::Duration;

use posthaste_store::{History, Journal};
use tokio::time::Instant;

use super::support::{delivered, event, events, open, queued, roll};

const SEGMENTS: i64 = 120;

#[tokio::test]
async fn many_segments_open_quickly() {
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
    let began = Instant::now();
    let store = open(dir.path());
    let took = began.elapsed();
    // A few milliseconds each on a slow disk; a mistake (a flush or a scan of each) is far from that.
    assert!(took < Duration::from_secs(6), "{SEGMENTS} segments took {took:?}");
    assert_eq!(store.size().await.expect("size").buckets as i64, SEGMENTS + 1);
    assert_eq!(queued(&store).await, (1..=SEGMENTS / 10).map(|n| n * 10).collect::<Vec<_>>());
    assert_eq!(events(&store).await.len() as i64, SEGMENTS);
    store.close().await;
}
