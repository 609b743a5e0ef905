//! A panic in a thread of the store is the error of those who met it, and the end of nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste_store::sqlite::{CommitObserver, SqliteOptions, SqliteStore};
use posthaste_store::{Journal, StoreError};

use super::support::{assert_sound, delivered, event, events, open, queued};

/// Panics once, on the thread that writes the journal.
#[derive(Default)]
struct Clumsy(AtomicBool);

impl CommitObserver for Clumsy {
    fn committed(&self, _: usize, _: usize, _: Duration) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "on purpose");
    }
}

#[tokio::test]
async fn a_panic_is_not_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let clumsy = Arc::new(Clumsy::default());
    let options = SqliteOptions { observer: Some(clumsy.clone()), ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options).expect("the store opens");
    store.append(event(1, 10)).await.expect("append");
    clumsy.0.store(true, Ordering::SeqCst);
    let met = store.append(event(2, 10)).await;
    assert!(matches!(&met, Err(StoreError::Engine(_))), "{met:?}");
    // It may have been stored or not, as after every error that is not about room; all that follows is.
    store.append(event(3, 10)).await.expect("append");
    store.settle(delivered(1, 10)).await.expect("settle");
    let (events_before, queued_before) = (events(&store).await, queued(&store).await);
    assert!(events_before.contains(&1) && events_before.contains(&3));
    store.close().await;
    let store = open(dir.path());
    assert_eq!((events(&store).await, queued(&store).await), (events_before, queued_before));
    store.close().await;
    assert_sound(dir.path());
}
