//! A store with some of everything, at random.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, DeliveryState, Fault};
use posthaste_domain::event::Source;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::message::{OPENED, SENT, subjects};
use posthaste_domain::people::audit::{Action, Entry, FieldChange};
use posthaste_domain::people::{Actor, Session};
use posthaste_domain::resource::Kind;
use posthaste_store::contract::Store;
use posthaste_store::{
    Append, BatchPart, BinRequest, BinRoom, Change, IdempotencyRecord, NewDelivery, NewEvent, RetentionRule, Settlement, Suppression,
    SuppressionReason, WhenFull,
};
use serde_json::json;

/// Numbers that are random enough, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn is(&mut self, of_ten: u64) -> bool {
        self.roll(10) < of_ten
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }
}

/// Targets that are used.
pub const TARGETS: std::ops::Range<i64> = 10..26;
/// Workspaces that are used.
pub const WORKSPACES: std::ops::Range<i64> = 1..3;
/// Keeps everything, and begins a new bucket.
const KEEP: RetentionRule = RetentionRule { max_age_ms: i64::MAX, max_bytes: u64::MAX };
const LATER: i64 = i64::MAX / 2;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Some text that is hard to keep.
const ODD: &str = "ä\0b\u{10FFFF}c\"\\\n";

/// What was put in and can be asked for.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub events: Vec<i64>,
    pub deliveries: Vec<DeliveryKey>,
    pub batches: Vec<DeliveryKey>,
    pub subjects: Vec<String>,
    pub idempotency: Vec<(i64, String)>,
    pub bins: Vec<i64>,
    pub now_ms: i64,
}

/// Configuration, people, suppressions, bins.
pub async fn configure(store: &Store, dice: &mut Dice, known: &mut Known) {
    let entry = |workspace, id: &str, at_ms| Entry {
        at_ms,
        workspace,
        actor: Actor::Key { id: "key_1".into(), description: ODD.into() },
        action: Action::Create,
        kind: "target".into(),
        id: id.into(),
        name: ODD.into(),
        fields: vec![FieldChange { field: "name".into(), before: None, after: Some("\"ä\"".into()), secret: false }],
    };
    for n in 1..=2 {
        let change = Change::Create {
            id: format!("wsp_{n}"),
            kind: Kind::Workspace,
            workspace: None,
            doc: json!({"name": ODD}),
            secrets: Vec::new(),
            at_ms: n,
        };
        store.catalog.write(vec![change], vec![entry(None, "w", n)]).await.expect("write");
    }
    for n in 0..8 + dice.roll(20) as i64 {
        let doc = json!({"z": n, "secret": format!("whsec_{n}"), "a": {"b": [ODD]}});
        let change = Change::Create {
            id: format!("tgt_{n}"),
            kind: Kind::Target,
            workspace: Some(1 + n % 2),
            doc: doc.clone(),
            secrets: vec!["/secret".into()],
            at_ms: n,
        };
        let made = store.catalog.write(vec![change], vec![entry(Some(1), "t", n)]).await.expect("write").remove(0);
        if dice.is(3) {
            let change = Change::Update { number: made.number, version: Some(1), doc, secrets: vec!["/secret".into()], at_ms: 50 };
            store.catalog.write(vec![change], Vec::new()).await.expect("write");
        } else if dice.is(3) {
            let change = Change::Delete { number: made.number, at_ms: 60 };
            store.catalog.write(vec![change], vec![Entry { actor: Actor::Server, ..entry(Some(2), "d", 60) }]).await.expect("write");
        }
    }
    store.catalog.drop_audit(3).await.expect("drop");
    for n in 0..5 {
        let session = Session {
            id: format!("ses_{n}"),
            token_hash: format!("{n:064x}"),
            member: "mem_1".into(),
            user_agent: ODD.into(),
            ip: "::1".into(),
            created_ms: n,
            seen_ms: n + 1,
        };
        store.catalog.put_session(session).await.expect("session");
    }
    store.catalog.end_sessions(vec!["ses_3".into()], vec![entry(Some(1), "s", 70)]).await.expect("end");
    for n in 0..20 + dice.roll(30) {
        let reason = *dice.pick(&[SuppressionReason::Bounce, SuppressionReason::Complaint, SuppressionReason::Unsubscribe]);
        let scope = dice.pick(&["a.example", "sms", "sms:1"]).to_string();
        let suppression = Suppression { scope, address: format!("{n}@x.example{ODD}"), reason, at_ms: n as i64 };
        store.suppressions.suppress(1 + (n % 2) as i64, suppression).await.expect("suppress");
    }
    let room = BinRoom { requests: 7, bytes: 1 << 20, when_full: WhenFull::DropOldest };
    for n in 0..30 {
        let bin = 40 + dice.roll(3) as i64;
        let request = BinRequest {
            number: 0,
            at_ms: n,
            method: "POST".into(),
            target: format!("/{ODD}"),
            headers: vec![("x".into(), ODD.into())],
            body: Bytes::from(vec![n as u8; dice.roll(50) as usize]),
            ip: dice.is(5).then(|| "1.2.3.4".into()),
        };
        store.bins.put(bin, request, room).await.expect("put");
        known.bins.push(bin);
    }
    store.bins.clear(41).await.expect("clear");
}

pub fn attempt(number: u32, at_ms: i64, dice: &mut Dice) -> Attempt {
    let failed = dice.is(5);
    Attempt {
        number,
        at_ms,
        duration_us: 1234,
        error: failed.then(|| "status_refused".into()),
        message: failed.then(|| ODD.into()),
        fault: failed.then(|| *dice.pick(&[Fault::Ours, Fault::Theirs, Fault::Network])),
        status: dice.is(8).then_some(500),
        request: format!("POST /hook HTTP/1.1\nhost: a.example\nwebhook-id: dlv_{at_ms}\nx: {ODD}").into(),
        response: if dice.is(5) { "\u{1}\n\u{1}".into() } else { "content-type: text/plain\ndate: now".into() },
        response_body: Bytes::from(vec![0xFF; dice.roll(40) as usize]),
    }
}

/// One group of events with all that may belong to them, from a sequence on.
pub fn group(first: i64, count: i64, dice: &mut Dice, known: &mut Known) -> Append {
    let mut group = Append::default();
    let mut next = first;
    for _ in 0..count {
        let workspace = 1 + dice.roll(2) as i64;
        let sequence = Sequence(next);
        let (type_name, payload): (Option<Arc<str>>, Bytes) = match dice.roll(5) {
            0 => (None, Bytes::from(vec![dice.roll(256) as u8; dice.roll(60) as usize])),
            1 => (Some(SENT.into()), format!(r#"{{"message_id":"m-{}","carrier_id":"c-{next}"}}"#, next % 7).into()),
            2 => (Some(OPENED.into()), format!(r#"{{"message_id":"m-{}"}}"#, next % 7).into()),
            n => (Some(format!("type.{n}{ODD}").into()), format!(r#"{{"n":{next},"t":"{}"}}"#, "y".repeat(dice.roll(300) as usize)).into()),
        };
        let about = type_name.as_ref().map(|name| subjects(name, &payload)).unwrap_or_default();
        known.subjects.extend(about.iter().cloned());
        let mut deliveries = Vec::new();
        let mut ordinal = 0;
        for _ in 0..if dice.is(9) { dice.roll(4) } else { dice.roll(40) } {
            let is_batch = dice.is(2);
            let delivery = NewDelivery {
                ordinal,
                subscription: 100 + dice.roll(5) as i64,
                target: TARGETS.start + 8 * (workspace - 1) + dice.roll(8) as i64,
                due_ms: (is_batch || dice.is(3)).then(|| 5_000 + dice.roll(1000) as i64),
                is_batch,
                for_owner: dice.is(2) && !is_batch,
            };
            let key = DeliveryKey::new(sequence, ordinal);
            known.deliveries.push(key);
            if is_batch {
                known.batches.push(key);
                group.batches.push(BatchPart { batch: key, members: vec![sequence], closed_due_ms: None });
            }
            deliveries.push(delivery);
            ordinal += 1 + dice.roll(3) as u32;
        }
        // It may join a batch of before.
        if !known.batches.is_empty() && dice.is(5) {
            let batch = *dice.pick(&known.batches);
            if batch.sequence() < sequence {
                group.batches.push(BatchPart { batch, members: vec![sequence], closed_due_ms: dice.is(2).then_some(4_000) });
            }
        }
        known.now_ms += dice.roll(5) as i64;
        known.events.push(next);
        group.events.push(NewEvent {
            sequence,
            workspace,
            type_name,
            received_ms: known.now_ms,
            source: Arc::new(Source { via: "api".into(), key: dice.is(5).then(|| ODD.into()), ip: None }),
            payload,
            about,
            deliveries,
        });
        next += 1 + if dice.is(9) { 0 } else { dice.roll(30_000) as i64 };
    }
    let first_key = dice.roll(9);
    for n in 0..dice.roll(3) {
        let key = format!("key {}{ODD}", (first_key + n) % 9);
        // A key is free again after a day.
        let uses = known.idempotency.iter().filter(|(_, known)| known.ends_with(&key)).count() as i64;
        let at_ms = known.now_ms + uses * (DAY_MS + 1);
        known.idempotency.push((1, key.clone()));
        let body_hash = [dice.roll(256) as u8; 32];
        group.idempotency.push(IdempotencyRecord { workspace: 1, key, body_hash, first: Sequence(first), count: count as u32, at_ms });
    }
    group
}

/// Outcomes of some deliveries of a group.
pub fn outcomes(group: &Append, dice: &mut Dice) -> Vec<Settlement> {
    let mut outcomes = Vec::new();
    for event in &group.events {
        for delivery in &event.deliveries {
            let tries = dice.roll(4) as u32;
            for number in 1..=tries {
                let at_ms = event.received_ms + i64::from(number);
                let is_last = number == tries;
                let state = match dice.roll(4) {
                    _ if !is_last => DeliveryState::Scheduled,
                    0 => DeliveryState::Scheduled,
                    1 => DeliveryState::Failed,
                    2 => DeliveryState::Cancelled,
                    _ => DeliveryState::Delivered,
                };
                outcomes.push(Settlement {
                    key: DeliveryKey::new(event.sequence, delivery.ordinal),
                    target: delivery.target,
                    attempt: dice.is(9).then(|| attempt(number, at_ms, dice)),
                    state,
                    due_ms: if state == DeliveryState::Scheduled { 6_000 + at_ms } else { 0 },
                    at_ms,
                    is_awaited: true,
                });
            }
        }
    }
    outcomes
}

/// Events with what became of them, in several buckets.
pub async fn fill(store: &Store, dice: &mut Dice, known: &mut Known, groups: u64) {
    for _ in 0..groups {
        let first = known.events.last().map_or(1, |last| last + 1 + dice.roll(3) as i64);
        let count = 1 + dice.roll(12) as i64;
        let group = group(first, count, dice, known);
        let outcomes = outcomes(&group, dice);
        store.journal.append(group).await.expect("append");
        for outcome in outcomes {
            store.journal.settle([outcome].into()).await.expect("settle");
        }
        if dice.is(1) {
            store.journal.retire(KEEP, LATER).await.expect("retire");
        }
        if dice.is(2) && !known.deliveries.is_empty() {
            let key = *dice.pick(&known.deliveries);
            store.journal.reopen(vec![key], known.now_ms).await.expect("reopen");
        }
    }
}
