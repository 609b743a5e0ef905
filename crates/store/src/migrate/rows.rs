//! What is moved: rows as neither store has them, and how far a move is.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use posthaste_domain::delivery::{Attempt, Delivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, ORDINAL_BITS, Sequence};
use posthaste_domain::people::Session;
use serde::{Deserialize, Serialize};

use super::Counts;
use crate::{BinRequest, IdempotencyRecord};

/// What is moved, in this order: the catalog is there before what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Events, and what lies with them, while a server runs on the source.
    Ahead,
    /// Idempotency keys of segments that nothing is appended to any more, while a server runs on the source.
    KeysAhead,
    Resources,
    Audit,
    Sessions,
    Suppressions,
    Bins,
    Requests,
    /// What became of what was moved while a server ran.
    Changes,
    /// Events with all that lies with them.
    Events,
    Idempotency,
    Done,
}

impl Phase {
    /// The one after it.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Ahead => Self::KeysAhead,
            Self::KeysAhead => Self::Resources,
            Self::Resources => Self::Audit,
            Self::Audit => Self::Sessions,
            Self::Sessions => Self::Suppressions,
            Self::Suppressions => Self::Bins,
            Self::Bins => Self::Requests,
            Self::Requests => Self::Changes,
            Self::Changes => Self::Events,
            Self::Events => Self::Idempotency,
            Self::Idempotency | Self::Done => Self::Done,
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ahead => "events, beside the server",
            Self::KeysAhead => "idempotency keys, beside the server",
            Self::Resources => "catalog",
            Self::Audit => "audit log",
            Self::Sessions => "sessions",
            Self::Suppressions => "suppressions",
            Self::Bins => "bins",
            Self::Requests => "caught requests",
            Self::Changes => "what changed since",
            Self::Events => "events",
            Self::Idempotency => "idempotency keys",
            Self::Done => "done",
        }
    }
}

/// The key of the last row that was moved; what its parts mean is the source's business.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) a: i64,
    pub(crate) b: i64,
    pub(crate) text: String,
    pub(crate) more: String,
}

/// What was moved while a server ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The last event.
    pub(crate) events: i64,
    /// The last idempotency key, as a cursor of its phase.
    pub(crate) keys: Cursor,
}

/// How far a move is. Stored with the rows before it, in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) phase: Phase,
    pub(crate) cursor: Cursor,
    /// What need not be moved again.
    #[serde(default)]
    pub(crate) done: Done,
}

impl Position {
    /// Before everything.
    pub(crate) fn start() -> Self {
        Self::of(Phase::Resources)
    }

    /// Before everything of a phase.
    pub(crate) fn of(phase: Phase) -> Self {
        Self { phase, cursor: Cursor::default(), done: Done::default() }
    }

    /// Behind an event.
    pub(crate) fn behind(sequence: i64) -> Self {
        Self { cursor: Cursor { a: sequence, ..Cursor::default() }, ..Self::of(Phase::Events) }
    }

    /// Before what is left of a phase.
    pub(crate) fn before(&self, phase: Phase) -> Self {
        let cursor = match phase {
            Phase::Ahead | Phase::Events => Cursor { a: self.done.events, ..Cursor::default() },
            Phase::KeysAhead | Phase::Idempotency => self.done.keys.clone(),
            _ => Cursor::default(),
        };
        Self { phase, cursor, done: self.done.clone() }
    }

    /// Behind rows of the same phase.
    pub(crate) fn at(&self, cursor: Cursor) -> Self {
        let mut done = self.done.clone();
        match self.phase {
            Phase::Ahead => done.events = cursor.a,
            Phase::KeysAhead => done.keys = cursor.clone(),
            _ => {}
        }
        Self { phase: self.phase, cursor, done }
    }

    /// As it is stored.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a position is plain strings and numbers")
    }
}

/// A resource, its secrets as they are sealed.
#[derive(Clone, Debug)]
pub(crate) struct ResourceRow {
    pub(crate) number: i64,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) workspace: i64,
    pub(crate) version: i64,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) deleted: bool,
    pub(crate) doc: String,
    pub(crate) sealed: Option<Vec<u8>>,
}

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub(crate) struct AuditRow {
    pub(crate) number: i64,
    pub(crate) workspace: i64,
    pub(crate) at_ms: i64,
    pub(crate) actor_kind: String,
    pub(crate) actor_id: Option<String>,
    pub(crate) actor_label: String,
    pub(crate) action: String,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) fields: String,
}

/// An address that nothing is sent to.
#[derive(Clone, Debug)]
pub(crate) struct SuppressionRow {
    pub(crate) workspace: i64,
    pub(crate) scope: String,
    pub(crate) address: String,
    pub(crate) reason: String,
    pub(crate) at_ms: i64,
}

/// What a batch gained in one commit.
#[derive(Clone, Debug)]
pub(crate) struct PartRow {
    pub(crate) batch: DeliveryKey,
    /// First sequence of the commit.
    pub(crate) first: i64,
    pub(crate) members: Vec<Sequence>,
}

/// Where a bucket begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// Its first sequence.
    pub(crate) first: i64,
    /// All of it was received at or after this.
    pub(crate) floor_ms: i64,
}

/// Events that came one after the other, and all that lies with them. Keys ascend in each list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// The bucket that it belongs to.
    pub(crate) bucket: Start,
    /// Its last sequence.
    pub(crate) end: i64,
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) attempts: Vec<(DeliveryKey, Attempt)>,
    pub(crate) parts: Vec<PartRow>,
    /// Hashes of what events are about, with the sequence of the event.
    pub(crate) subjects: Vec<(i64, i64)>,
}

impl Chunk {
    /// Leaves out what lies behind a sequence.
    pub(crate) fn cut(&mut self, end: i64) {
        if end < self.end {
            self.end = end;
            self.events.truncate(self.events.partition_point(|event| event.sequence.0 <= end));
            self.deliveries.truncate(self.deliveries.partition_point(|delivery| delivery.key.0 >> ORDINAL_BITS <= end));
        }
    }

    /// The deliveries of each event, in the order of the events.
    pub(crate) fn with_deliveries(&self) -> impl Iterator<Item = (&Arc<Event>, &[Delivery])> {
        let mut rest = &self.deliveries[..];
        self.events.iter().map(move |event| {
            let before = rest.partition_point(|delivery| delivery.key.sequence() < event.sequence);
            let end = rest.partition_point(|delivery| delivery.key.sequence() <= event.sequence);
            let own = &rest[before..end];
            rest = &rest[end..];
            (event, own)
        })
    }
}

/// What has to be known of a chunk that was moved while a server ran, to find what changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// The last sequence that the chunk covers. The first is the one behind the note before.
    pub(crate) end: i64,
    /// How many events it had. They never change.
    pub(crate) events: i64,
    /// Whether a delivery was pending.
    pub(crate) has_pending: bool,
    /// What the files looked like before it was read, if that tells whether they were written to since.
    pub(crate) stamp: Option<String>,
    /// The [`Delivery`]s as they were, by key: [`mark_of`] each.
    pub(crate) marks: Vec<u32>,
}

/// A number that changes with whatever may change of a delivery that has ended; 0, which no such has, of one that is pending.
pub(crate) fn mark_of(delivery: &Delivery) -> u32 {
    if !delivery.state.is_terminal() {
        return 0;
    }
    let Delivery { key, state, attempts, first_attempt_ms, due_ms, updated_ms, .. } = delivery;
    let mut hasher = DefaultHasher::new();
    (key, state, attempts, first_attempt_ms, due_ms, updated_ms).hash(&mut hasher);
    (hasher.finish() as u32).max(1)
}

/// What became of deliveries of a chunk that was moved while a server ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// The last sequence that the chunk covers.
    pub(crate) end: i64,
    /// What changed, and what is pending.
    pub(crate) deliveries: Vec<Delivery>,
    /// All attempts of these.
    pub(crate) attempts: Vec<(DeliveryKey, Attempt)>,
    /// Deliveries from the first to the last key are not there any more: retention dropped them, so none was pending.
    pub(crate) dropped: Option<(DeliveryKey, DeliveryKey)>,
}

/// Rows of one kind.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Resources(Vec<ResourceRow>),
    Audit(Vec<AuditRow>),
    Sessions(Vec<Session>),
    Suppressions(Vec<SuppressionRow>),
    /// Bins with the last number that each has given.
    Bins(Vec<(i64, i64)>),
    Requests(Vec<(i64, BinRequest)>),
    Chunk(Box<Chunk>),
    /// One that a server may still change.
    Ahead(Box<Chunk>, Note),
    Changes(Box<Changes>),
    Idempotency(Vec<IdempotencyRecord>),
}

impl Body {
    /// Counts its rows.
    pub(crate) fn count(&self, counts: &mut Counts) {
        let len = |rows: usize| rows as u64;
        let pending = |deliveries: &[Delivery]| len(deliveries.iter().filter(|delivery| !delivery.state.is_terminal()).count());
        match self {
            Self::Resources(rows) => counts.resources += len(rows.len()),
            Self::Audit(rows) => counts.audit += len(rows.len()),
            Self::Sessions(rows) => counts.sessions += len(rows.len()),
            Self::Suppressions(rows) => counts.suppressions += len(rows.len()),
            Self::Bins(rows) => counts.bins += len(rows.len()),
            Self::Requests(rows) => counts.requests += len(rows.len()),
            Self::Idempotency(rows) => counts.idempotency += len(rows.len()),
            Self::Changes(changes) => {
                counts.changes += len(changes.deliveries.len());
                counts.pending += pending(&changes.deliveries);
            }
            Self::Chunk(chunk) | Self::Ahead(chunk, _) => {
                counts.events += len(chunk.events.len());
                counts.deliveries += len(chunk.deliveries.len());
                // What is pending beside a server is told once that has ended.
                counts.pending += if matches!(self, Self::Chunk(_)) { pending(&chunk.deliveries) } else { 0 };
                counts.attempts += len(chunk.attempts.len());
                counts.members += chunk.parts.iter().map(|part| len(part.members.len())).sum::<u64>();
                counts.subjects += len(chunk.subjects.len());
            }
        }
    }
}

/// Rows, and how far the move is with them.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) body: Body,
    pub(crate) next: Position,
}

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Rows, and events of a chunk.
    pub(crate) rows: usize,
    /// Deliveries, and attempts, of a chunk, unless one event alone has more.
    pub(crate) wide: usize,
    /// Bytes of documents or answers, unless one row alone has more.
    pub(crate) bytes: usize,
}

/// What new rows are numbered from in the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The last number that a resource got.
    pub(crate) resource: i64,
    /// The last number that an entry of the audit log got.
    pub(crate) audit: i64,
    /// The largest sequence ever appended, and when that was.
    pub(crate) sequence: i64,
    pub(crate) received_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_by_phase_and_come_back() {
        let mut phase = Phase::Ahead;
        while phase != Phase::Done {
            assert!(Position::of(phase) < Position::of(phase.next()));
            phase = phase.next();
        }
        assert!(Position::behind(7) < Position::behind(8) && Position::behind(8) < Position::of(Phase::Idempotency));
        let text = Position::behind(7).text();
        assert_eq!(serde_json::from_str::<Position>(&text).expect("a position"), Position::behind(7));
    }

    #[test]
    fn what_was_moved_ahead_is_not_moved_again() {
        let key = Cursor { a: 3, b: 1, text: "k".into(), more: String::new() };
        let ahead = Position::of(Phase::Ahead).at(Cursor { a: 7, ..Cursor::default() });
        let keys = ahead.before(Phase::KeysAhead).at(key.clone());
        let later = keys.before(Phase::Resources).at(Cursor { a: 99, ..Cursor::default() });
        assert_eq!(later.before(Phase::Events).cursor.a, 7);
        assert_eq!((later.before(Phase::Idempotency).cursor, later.before(Phase::Changes).cursor), (key, Cursor::default()));
        let text = later.text();
        assert_eq!(serde_json::from_str::<Position>(&text).expect("a position"), later);
    }
}
