//! Whether two stores answer the same to everything.

use std::fmt::Debug;
use std::future::Future;

use posthaste_domain::delivery::{Delivery, DeliveryState, PendingDelivery};
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_store::contract::Store;
use posthaste_store::{AuditFilter, DeliveryFilter, EventFilter, LaneSummary, Order, PageLimit, Range};

use super::filled::{Known, TARGETS, WORKSPACES};

const ALL: PageLimit = PageLimit { items: 1_000_000, bytes: usize::MAX };

async fn same<T: PartialEq + Debug, F: Future<Output = T>>(what: &str, stores: [&Store; 2], ask: impl Fn(Store) -> F) {
    let (one, other) = (ask(stores[0].clone()).await, ask(stores[1].clone()).await);
    if one != other {
        let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
        let (one, other): (Vec<&str>, Vec<&str>) = (one.lines().collect(), other.lines().collect());
        let first = one.iter().zip(&other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
        let near = |lines: &[&str]| lines[first.saturating_sub(30)..lines.len().min(first + 20)].join("\n");
        panic!("{what}, {} and {} lines:\n{}\n\n{}", one.len(), other.len(), near(&one), near(&other));
    }
}

fn pending(found: Vec<PendingDelivery>) -> Vec<(Delivery, posthaste_domain::event::Event)> {
    found.into_iter().map(|pending| (pending.delivery, (*pending.event).clone())).collect()
}

/// Asks both stores everything; panics at the first difference. Answers the lanes that both recovered.
pub async fn assert_alike(one: &Store, other: &Store, known: &Known) -> Vec<LaneSummary> {
    let stores = [one, other];
    let mut recovered = Vec::new();
    for store in stores {
        let mut found = store.journal.recover().await.expect("recover");
        found.lanes.sort_unstable_by_key(|lane| lane.target);
        found.lanes.retain(|lane| lane.queued + lane.scheduled > 0);
        recovered.push(found);
    }
    assert_eq!(recovered[0], recovered[1]);
    catalog(stores).await;
    for bin in &known.bins {
        same("bin", stores, |store| async move { store.bins.list(*bin, None, 100).await.expect("list") }).await;
    }
    lanes(stores, known).await;
    lists(stores).await;
    for sequence in &known.events {
        for workspace in WORKSPACES {
            let event = |store: Store| async move { store.history.event(workspace, Sequence(*sequence)).await.expect("event") };
            same("event", stores, event).await;
        }
    }
    for workspace in WORKSPACES {
        let events: Vec<Sequence> = known.events.iter().copied().map(Sequence).collect();
        let of_each = |store: Store| {
            let events = events.clone();
            async move { store.history.deliveries_of_each(workspace, events).await.expect("deliveries") }
        };
        same("deliveries of events", stores, of_each).await;
    }
    for key in &known.deliveries {
        for workspace in WORKSPACES {
            same("delivery", stores, |store| async move { store.history.delivery(workspace, *key).await.expect("delivery") }).await;
        }
        same("attempts", stores, |store| async move { store.history.attempts(*key).await.expect("attempts") }).await;
    }
    let keys = known.deliveries.clone();
    let last = |store: Store| {
        let keys = keys.clone();
        async move { store.history.last_attempts(keys).await.expect("attempts") }
    };
    same("last attempts", stores, last).await;
    recovered.remove(0).lanes
}

async fn catalog(stores: [&Store; 2]) {
    same("catalog", stores, |store| async move { store.catalog.load().await.expect("load") }).await;
    let sessions = |store: Store| async move {
        let mut sessions = store.catalog.sessions().await.expect("sessions");
        sessions.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        sessions
    };
    same("sessions", stores, sessions).await;
    for workspace in WORKSPACES {
        let audit = |store: Store| async move { store.catalog.audit(workspace, AuditFilter::default(), None, 1000).await.expect("audit") };
        same("audit log", stores, audit).await;
        let suppressed =
            |store: Store| async move { store.suppressions.suppressions(workspace, None, None, 1000).await.expect("suppressions") };
        same("suppressions", stores, suppressed).await;
    }
}

async fn lanes(stores: [&Store; 2], known: &Known) {
    for target in TARGETS {
        let queued = |store: Store| async move { pending(store.journal.queued(target, DeliveryKey(0), ALL).await.expect("queued")) };
        same("queued", stores, queued).await;
        let due = |store: Store| async move { pending(store.journal.due(target, (0, DeliveryKey(0)), i64::MAX, ALL).await.expect("due")) };
        same("due", stores, due).await;
    }
    for batch in &known.batches {
        // Nothing joins a batch that is settled, so a store need not look for more.
        let mut until_ms = i64::MAX;
        for workspace in WORKSPACES {
            let delivery = stores[0].history.delivery(workspace, *batch).await.expect("delivery");
            until_ms = delivery.filter(|delivery| delivery.state.is_terminal()).map_or(until_ms, |delivery| delivery.updated_ms);
        }
        let members = |store: Store| async move {
            let mut members = store.journal.members(*batch, Sequence(0), ALL).await.expect("members");
            members.retain(|member| member.received_ms <= until_ms);
            members
        };
        same("members", stores, members).await;
    }
    for (workspace, key) in &known.idempotency {
        let record = |store: Store| async move { store.journal.idempotent(*workspace, key, known.now_ms).await.expect("idempotent") };
        same("idempotency key", stores, record).await;
    }
    for subject in &known.subjects {
        for workspace in [None, Some(1), Some(2)] {
            let range = Range { order: Order::Asc, after: None, limit: 1000, from_ms: None, to_ms: None };
            same("about", stores, |store| async move { store.history.about(workspace, subject, range).await.expect("about") }).await;
        }
    }
}

async fn lists(stores: [&Store; 2]) {
    use posthaste_domain::message::{OPENED, SENT};
    for (order, from_ms, to_ms) in
        [(Order::Asc, None, None), (Order::Desc, None, None), (Order::Asc, Some(20), None), (Order::Desc, Some(10), Some(60))]
    {
        let range = Range { order, after: None, limit: 10_000, from_ms, to_ms };
        for workspace in WORKSPACES {
            for filter in
                [EventFilter::default(), EventFilter::of_type(SENT), EventFilter { type_name: Some(None), ..EventFilter::default() }]
            {
                let events = |store: Store| {
                    let filter = filter.clone();
                    async move { store.history.events(workspace, filter, range).await.expect("events") }
                };
                same(&format!("events {filter:?} {range:?}"), stores, events).await;
            }
            let filters = [
                DeliveryFilter::default(),
                DeliveryFilter { targets: Some(TARGETS.step_by(3).collect()), ..DeliveryFilter::default() },
                DeliveryFilter { states: Some(vec![DeliveryState::Failed, DeliveryState::Queued]), ..DeliveryFilter::default() },
                DeliveryFilter { type_name: Some(OPENED.into()), ..DeliveryFilter::default() },
            ];
            for filter in filters {
                let deliveries = |store: Store| {
                    let filter = filter.clone();
                    async move { store.history.deliveries(workspace, filter, range).await.expect("deliveries") }
                };
                same("deliveries", stores, deliveries).await;
            }
        }
    }
    for workspace in WORKSPACES {
        for name in [SENT, OPENED, "type.3", "none"] {
            same("count", stores, |store| async move { store.history.count(workspace, name).await.expect("count") }).await;
        }
    }
}
