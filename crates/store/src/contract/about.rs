//! Events by their subject, and outgoing messages in lists.

use posthaste_domain::message::{DELIVERED, OPENED, OUTGOING_EMAIL, OUTGOING_SMS, SENT, subjects};

use super::{Factory, Store, append, event, range};
use crate::{EventFilter, NewEvent, Order, Range, RetentionRule};

fn told(sequence: i64, workspace: i64, type_name: &str, payload: &str) -> NewEvent {
    let about = subjects(type_name, payload.as_bytes());
    NewEvent { type_name: Some(type_name.into()), payload: payload.to_owned().into(), about, ..event(sequence, workspace, Vec::new()) }
}

async fn found(store: &Store, workspace: Option<i64>, subject: &str, range: Range) -> Vec<i64> {
    store.history.about(workspace, subject, range).await.expect("about").iter().map(|event| event.sequence.0).collect()
}

/// Events are found by what they are about, in order, in pages, over buckets and restarts, in one workspace or in all.
pub async fn events_are_found_by_their_subject(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let first = vec![
        told(1, 1, SENT, r#"{"message_id":"m-1","carrier_id":"c-9"}"#),
        told(2, 1, SENT, r#"{"message_id":"m-2"}"#),
        told(3, 2, SENT, r#"{"message_id":"m-1"}"#),
    ];
    store.journal.append(append(first)).await.expect("append");
    // The next ones lie in another bucket.
    let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
    let later = 3 * 86_400_000;
    store.journal.retire(keep, later).await.expect("retire");
    let at = |event: NewEvent| NewEvent { received_ms: later, ..event };
    let second = vec![at(told(4, 1, DELIVERED, r#"{"message_id":"m-1"}"#)), at(told(5, 1, OPENED, r#"{"message_id":"m-1"}"#))];
    store.journal.append(append(second)).await.expect("append");
    // Far behind them, however the index is cut.
    let third = vec![at(told(100_000, 1, OPENED, r#"{"message_id":"m-1"}"#)), at(told(100_001, 1, OPENED, r#"{"message_id":"m-3"}"#))];
    store.journal.append(append(third)).await.expect("append");
    check(&store).await;
    store.journal.close().await;
    let store = open(dir.path()).await;
    store.journal.recover().await.expect("recover");
    check(&store).await;
}

async fn check(store: &Store) {
    assert_eq!(found(store, Some(1), "m-1", range(Order::Asc, 10)).await, [1, 4, 5, 100_000]);
    assert_eq!(found(store, Some(1), "m-1", range(Order::Desc, 3)).await, [100_000, 5, 4]);
    assert_eq!(found(store, None, "m-1", range(Order::Asc, 10)).await, [1, 3, 4, 5, 100_000]);
    assert_eq!(found(store, Some(1), "m-1", Range { after: Some(100_000), ..range(Order::Desc, 2) }).await, [5, 4]);
    let behind = Range { after: Some(1), ..range(Order::Asc, 1) };
    assert_eq!(found(store, Some(1), "m-1", behind).await, [4]);
    assert_eq!(found(store, None, "carrier:c-9", range(Order::Desc, 1)).await, [1]);
    assert!(found(store, Some(1), "m", range(Order::Asc, 10)).await.is_empty());
    assert_eq!(store.history.count(1, SENT).await.expect("count"), 2);
    assert_eq!(store.history.count(2, OPENED).await.expect("count"), 0);
}

/// The server's own documents are not among a workspace's events unless they are asked for.
pub async fn outgoing_messages_are_listed_only_by_type(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let events = vec![
        told(1, 1, OUTGOING_EMAIL, r#"{"id":"m-1"}"#),
        told(2, 1, SENT, r#"{"message_id":"m-1"}"#),
        told(3, 1, OUTGOING_SMS, r#"{"id":"m-2","recipients":[{"address":"+1"}]}"#),
        NewEvent { type_name: None, ..event(4, 1, Vec::new()) },
    ];
    store.journal.append(append(events)).await.expect("append");
    let listed = |type_name: Option<&str>| {
        let filter = EventFilter { type_name: type_name.map(|name| Some(name.to_owned())), ..EventFilter::default() };
        let history = store.history.clone();
        async move {
            let events = history.events(1, filter, range(Order::Asc, 10)).await.expect("events");
            events.iter().map(|event| event.sequence.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(None).await, [2, 4]);
    assert_eq!(listed(Some(OUTGOING_SMS)).await, [3]);
    assert_eq!(found(&store, None, "sms:+1", range(Order::Desc, 1)).await, [3]);
    assert_eq!(found(&store, Some(1), "m-1", range(Order::Asc, 9)).await, [1, 2]);
}
