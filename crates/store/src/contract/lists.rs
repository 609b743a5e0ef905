//! History against a model.

use std::collections::BTreeMap;

use posthaste_domain::delivery::{Delivery, DeliveryState};
use posthaste_domain::id::Sequence;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Factory, append, attempt, delivery, event, key, range, settlement};
use crate::{DeliveryFilter, EventFilter, NewEvent, Order, Range, RetentionRule};

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Append { workspace: i64, type_name: Option<u8>, gap: i64, skip: i64, deliveries: Vec<(i64, bool)> },
    Settle { which: prop::sample::Index, state: u8 },
    Roll,
}

fn step() -> impl Strategy<Value = Step> {
    // Sequences may have gaps, and some events go to many targets: a store may keep its lists in blocks of either.
    let skip = prop_oneof![5 => Just(0), 3 => 0..200i64, 1 => 0..20_000i64];
    let count = prop_oneof![9 => 0..4usize, 1 => 0..70usize];
    let deliveries = count.prop_flat_map(|count| prop::collection::vec((0..3i64, any::<bool>()), count));
    let append = (1..3i64, prop::option::weighted(0.8, 0..3u8), 0..3i64, skip, deliveries)
        .prop_map(|(workspace, type_name, gap, skip, deliveries)| Step::Append { workspace, type_name, gap, skip, deliveries });
    let settle = (any::<prop::sample::Index>(), 0..5u8).prop_map(|(which, state)| Step::Settle { which, state });
    prop_oneof![6 => append, 6 => settle, 1 => Just(Step::Roll)]
}

#[derive(Clone, Debug)]
struct Question {
    workspace: i64,
    type_name: Option<Option<u8>>,
    type_names: Option<Vec<u8>>,
    targets: Option<Vec<i64>>,
    states: Option<Vec<u8>>,
    ascending: bool,
    limit: usize,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    text: Option<u8>,
}

fn question() -> impl Strategy<Value = Question> {
    (
        1..3i64,
        prop::option::of(prop::option::weighted(0.8, 0..3u8)),
        prop::option::weighted(0.3, prop::collection::vec(0..4u8, 0..4)),
        prop::option::of(prop::collection::vec(10..26i64, 0..5)),
        prop::option::of(prop::collection::vec(0..5u8, 0..4)),
        any::<bool>(),
        1..6usize,
        prop::option::weighted(0.3, 0..40i64),
        prop::option::weighted(0.3, 0..40i64),
        prop::option::weighted(0.2, 0..10u8),
    )
        .prop_map(|(workspace, type_name, type_names, targets, states, ascending, limit, from_ms, to_ms, text)| Question {
            workspace,
            type_name,
            type_names,
            targets,
            states,
            ascending,
            limit,
            from_ms,
            to_ms,
            text,
        })
}

fn state(code: u8) -> DeliveryState {
    DeliveryState::from_code(i64::from(code)).expect("one of five")
}

fn type_name(n: u8) -> String {
    format!("type.{n}")
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    /// Sequence to workspace, type, time.
    events: BTreeMap<i64, (i64, Option<u8>, i64)>,
    deliveries: BTreeMap<i64, Delivery>,
}

impl Model {
    fn events(&self, q: &Question) -> Vec<i64> {
        let fits = |(workspace, kind, ms): &(i64, Option<u8>, i64)| {
            *workspace == q.workspace
                && q.type_name.is_none_or(|wanted| wanted == *kind)
                && q.type_names.as_ref().is_none_or(|wanted| kind.is_some_and(|kind| wanted.contains(&kind)))
                && q.from_ms.is_none_or(|from| *ms >= from)
                && q.to_ms.is_none_or(|to| *ms < to)
        };
        // The document is {"n":…}.
        let has_text = |n: &i64| q.text.is_none_or(|digit| n.to_string().starts_with(&digit.to_string()));
        ordered(q, self.events.iter().filter(|(n, event)| fits(event) && has_text(n)).map(|(n, _)| *n))
    }

    fn deliveries(&self, q: &Question) -> Vec<i64> {
        let fits = |d: &Delivery| {
            let kind = self.events[&d.key.sequence().0].1;
            d.workspace == q.workspace
                && q.type_name.flatten().is_none_or(|wanted| kind == Some(wanted))
                && q.targets.as_ref().is_none_or(|targets| targets.contains(&d.target))
                && q.states.as_ref().is_none_or(|states| states.contains(&(d.state as u8)))
                && q.from_ms.is_none_or(|from| d.received_ms >= from)
                && q.to_ms.is_none_or(|to| d.received_ms < to)
        };
        ordered(q, self.deliveries.values().filter(|d| fits(d)).map(|d| d.key.0))
    }
}

fn ordered(q: &Question, keys: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = keys.collect();
    if !q.ascending {
        keys.reverse();
    }
    keys
}

/// Every filter, order and page size answers what one look over everything would.
pub async fn lists_match_a_model(open: &impl Factory) {
    let config = Config::default();
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let histories = prop::collection::vec(step(), 20..60);
    let questions = prop::collection::vec(question(), 60);
    for _ in 0..12 {
        let steps = histories.new_tree(&mut runner).expect("a history").current();
        let questions = questions.new_tree(&mut runner).expect("questions").current();
        check(open, &steps, &questions).await;
    }
}

async fn check(open: &impl Factory, steps: &[Step], questions: &[Question]) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let mut model = Model::default();
    let mut now = 0;
    for step in steps {
        match step {
            Step::Append { workspace, type_name: kind, gap, skip, deliveries } => {
                now += gap;
                let n = model.events.last_key_value().map_or(0, |(last, _)| *last) + 1 + skip;
                let new =
                    (0..).zip(deliveries).map(|(i, (target, later))| delivery(i, workspace * 10 + target, later.then_some(1_000_000 - n)));
                let new: Vec<_> = new.collect();
                for d in &new {
                    let key = key(n, d.ordinal);
                    let state = if d.due_ms.is_some() { DeliveryState::Scheduled } else { DeliveryState::Queued };
                    let delivery = Delivery {
                        key,
                        workspace: *workspace,
                        subscription: d.subscription,
                        target: d.target,
                        state,
                        attempts: 0,
                        first_attempt_ms: 0,
                        due_ms: d.due_ms.unwrap_or(0),
                        is_batch: false,
                        updated_ms: now,
                        received_ms: now,
                    };
                    model.deliveries.insert(key.0, delivery);
                }
                model.events.insert(n, (*workspace, *kind, now));
                let event = NewEvent { type_name: kind.map(|kind| type_name(kind).into()), received_ms: now, ..event(n, *workspace, new) };
                store.journal.append(append(vec![event])).await.expect("append");
            }
            Step::Settle { which, state: code } => {
                let Some(keys) = Some(model.deliveries.keys().copied().collect::<Vec<_>>()).filter(|keys| !keys.is_empty()) else {
                    continue;
                };
                let found = model.deliveries.get_mut(which.get(&keys)).expect("a key of the model");
                let change = settlement(found.key, found.target, None, state(*code), 77, now);
                store.journal.settle([change].into()).await.expect("settle");
                if !found.state.is_terminal() {
                    (found.state, found.updated_ms) = (state(*code), now);
                    found.due_ms = if found.state == DeliveryState::Scheduled { 77 } else { 0 };
                }
            }
            Step::Roll => {
                let keep = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
                store.journal.retire(keep, i64::MAX / 2).await.expect("retire");
            }
        }
    }
    for (n, d) in &model.deliveries {
        assert_eq!(store.history.delivery(d.workspace, d.key).await.expect("delivery").as_ref(), Some(d), "delivery {n}");
    }
    for q in questions {
        let order = if q.ascending { Order::Asc } else { Order::Desc };
        let first = Range { from_ms: q.from_ms, to_ms: q.to_ms, ..range(order, q.limit) };

        let type_names = q.type_names.as_ref().map(|kinds| kinds.iter().map(|kind| type_name(*kind)).collect());
        let text = q.text.map(|digit| format!("\"N\":{digit}"));
        let filter = EventFilter { type_name: q.type_name.map(|kind| kind.map(type_name)), type_names, text };
        let expected = model.events(q);
        let (mut page, mut after) = (first, Vec::new());
        loop {
            let found = store.history.events(q.workspace, filter.clone(), page).await.expect("events");
            assert!(found.len() == q.limit || after.len() + found.len() == expected.len(), "a short page before the end: {q:?}");
            after.extend(found.iter().map(|event| event.sequence.0));
            page.after = after.last().copied();
            if found.len() < q.limit {
                break;
            }
        }
        assert_eq!(after, expected, "{q:?}");
        let (mut page, mut pieces) = (first, Vec::new());
        loop {
            let piece = store.history.events_piece(q.workspace, filter.clone(), page, 20).await.expect("a piece");
            let bytes: usize = piece.items.iter().map(|event| event.payload.len()).sum();
            assert!(piece.items.len() <= q.limit && (piece.items.len() <= 1 || bytes <= 20), "{q:?}: {piece:?}");
            pieces.extend(piece.items.iter().map(|event| event.sequence.0));
            let Some(rest) = piece.rest else { break };
            assert!(gets_on(&page, rest), "{q:?}: {rest} after {page:?}");
            page.after = Some(rest);
        }
        assert_eq!(pieces, expected, "in pieces: {q:?}");
        if let (Some(Some(kind)), None, None, None, None) = (q.type_name, &q.type_names, q.from_ms, q.to_ms, q.text) {
            let count = store.history.count(q.workspace, &type_name(kind)).await.expect("count");
            assert_eq!(count as usize, expected.len(), "count of {q:?}");
        }

        let filter = DeliveryFilter {
            targets: q.targets.clone(),
            states: q.states.as_ref().map(|codes| codes.iter().map(|code| state(*code)).collect()),
            type_name: q.type_name.flatten().map(type_name),
        };
        let expected = model.deliveries(q);
        let (mut page, mut after) = (first, Vec::new());
        loop {
            let found = store.history.deliveries(q.workspace, filter.clone(), page).await.expect("deliveries");
            assert!(found.len() == q.limit || after.len() + found.len() == expected.len(), "a short page before the end: {q:?}");
            for delivery in &found {
                assert_eq!(delivery, &model.deliveries[&delivery.key.0]);
            }
            after.extend(found.iter().map(|delivery| delivery.key.0));
            page.after = after.last().copied();
            if found.len() < q.limit {
                break;
            }
        }
        assert_eq!(after, expected, "{q:?}");
        let (mut page, mut pieces) = (first, Vec::new());
        loop {
            let piece = store.history.deliveries_piece(q.workspace, filter.clone(), page).await.expect("a piece");
            assert!(piece.items.len() <= q.limit, "{q:?}: {piece:?}");
            pieces.extend(piece.items.iter().map(|delivery| delivery.key.0));
            let Some(rest) = piece.rest else { break };
            assert!(gets_on(&page, rest), "{q:?}: {rest} after {page:?}");
            page.after = Some(rest);
        }
        assert_eq!(pieces, expected, "in pieces: {q:?}");
    }
    for workspace in [1, 2] {
        let sequences: Vec<Sequence> = model.events.keys().copied().map(Sequence).collect();
        let found = store.history.deliveries_of_each(workspace, sequences.clone()).await.expect("deliveries");
        let own = |sequence: &Sequence| {
            let of_event = model.deliveries.values().filter(|d| d.key.sequence() == *sequence && d.workspace == workspace);
            of_event.cloned().collect::<Vec<_>>()
        };
        assert_eq!(found, sequences.iter().map(own).collect::<Vec<_>>());
    }
    store.journal.close().await;
}

/// Whether a place lies behind that of the page before.
fn gets_on(before: &Range, rest: i64) -> bool {
    before.after.is_none_or(|after| if before.order == Order::Asc { rest > after } else { rest < after })
}

/// The last attempts of many deliveries are what each alone would tell.
pub async fn last_attempts_are_found(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let deliveries = vec![delivery(0, 5, None), delivery(1, 5, None), delivery(2, 5, None)];
    store.journal.append(append(vec![event(1, 1, deliveries)])).await.expect("append");
    let tried = |ordinal, number, state| settlement(key(1, ordinal), 5, Some(attempt(number, 100 + i64::from(number))), state, 9, 9);
    let outcomes = [tried(0, 1, DeliveryState::Delivered), tried(1, 1, DeliveryState::Scheduled), tried(1, 2, DeliveryState::Failed)];
    for outcome in outcomes {
        store.journal.settle([outcome].into()).await.expect("settle");
    }
    // In another bucket, and one that there never was.
    store.journal.retire(RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX }, i64::MAX / 2).await.expect("retire");
    store.journal.append(append(vec![event(2, 1, vec![delivery(0, 5, None)])])).await.expect("append");
    store.journal.settle([settlement(key(2, 0), 5, Some(attempt(1, 300)), DeliveryState::Delivered, 0, 9)].into()).await.expect("settle");
    let keys = vec![key(2, 0), key(1, 1), key(1, 0), key(1, 2), key(7, 0)];
    let found = store.history.last_attempts(keys.clone()).await.expect("attempts");
    assert_eq!(found.iter().map(|last| last.as_ref().map(|last| last.number)).collect::<Vec<_>>(), [Some(1), Some(2), Some(1), None, None]);
    for (key, last) in keys.into_iter().zip(found) {
        assert_eq!(last, store.history.attempts(key).await.expect("attempts").pop());
    }
    store.journal.close().await;
}

/// Nothing of another workspace is shown, whatever is asked for.
pub async fn history_belongs_to_its_workspace(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    store.journal.append(append(vec![event(1, 1, vec![delivery(0, 5, None)])])).await.expect("append");
    let history = &store.history;
    assert!(history.event(1, Sequence(1)).await.expect("event").is_some());
    assert!(history.event(2, Sequence(1)).await.expect("event").is_none());
    assert!(history.event(1, Sequence(0)).await.expect("event").is_none());
    assert!(history.event(1, Sequence(2)).await.expect("event").is_none());
    assert!(history.delivery(2, key(1, 0)).await.expect("delivery").is_none());
    assert!(history.deliveries_of(2, Sequence(1)).await.expect("deliveries").is_empty());
    let of_target = DeliveryFilter { targets: Some(vec![5]), ..DeliveryFilter::default() };
    assert!(history.deliveries(2, of_target, range(Order::Desc, 10)).await.expect("deliveries").is_empty());
    store.journal.close().await;
}
