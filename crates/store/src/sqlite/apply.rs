//! What one command changes in one segment, inside a transaction that somebody else opened and will commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState, Fault};
use posthaste_domain::id::{DeliveryKey, Sequence};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, params};

use super::about;
use super::marks::{Marker, Marks, Name};
use super::rows;
use super::segments::{Pending, Segment};
use super::tally::Pair;
use super::varint;
use super::words::Interner;
use crate::{Append, Settlement};

// The same outcome may be told twice, when the first answer was lost.
pub(super) const FIRST_ATTEMPT: &str = "INSERT OR IGNORE INTO first_attempt(delivery, at_ms, duration_us, error, message, fault, status,
                                                                request, request_values, response, response_values, body)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
pub(super) const LATER_ATTEMPT: &str = "INSERT OR IGNORE INTO attempt(delivery, at_ms, duration_us, error, message, fault, status,
                                                           request, request_values, response, response_values, body, number)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// About what a row takes besides its payload or body.
const ROW_BYTES: usize = 64;

/// Why an append cannot be stored, however often it is tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Its place is in a segment that was sealed in the meantime.
    #[error("sequence {0} is not above all that were appended before")]
    OutOfOrder(i64),
    /// A [`crate::BatchPart`] names an event that this append does not hold.
    #[error("batch member {0} is not an event of the same append")]
    ForeignMember(i64),
    /// A [`crate::Join`] has nobody who would take it.
    #[error("sequence {0} is for a batch of an owner, and there are no owners here")]
    NoOwner(i64),
}

/// Why a change was not made.
pub(super) enum ApplyError {
    Sql(rusqlite::Error),
    Refused(Refusal),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl ApplyError {
    /// Whether it may be the fault of one command among several, so that the others can be stored without it.
    pub(super) fn is_of_one(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            // A large one does not fit on the disk where small ones do.
            Self::Sql(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::DiskFull))
            }
        }
    }
}

/// What a transaction changed, to be made known once it is committed.
#[derive(Default)]
pub(super) struct Changes {
    /// Differences of the counts, by target.
    pending: HashMap<i64, Pending>,
    pub(super) first: Option<(i64, i64)>,
    pub(super) last: Option<(i64, i64)>,
    /// Batches of older segments that gained members.
    pub(super) joined: BTreeSet<DeliveryKey>,
    /// Names that were marked, perhaps for the first time.
    pub(super) marked: Vec<Name>,
    /// How many events of each workspace and type, in runs.
    counted: Vec<(Pair, i64)>,
    /// Types that were added.
    pub(super) types: Vec<(Arc<str>, i64)>,
    /// About how much the file grew.
    pub(super) bytes: u64,
    /// Rows written.
    pub(super) rows: usize,
    /// Deliveries that were reopened, with the number of the command that asked.
    pub(super) reopened: Vec<(usize, Delivery)>,
}

impl Changes {
    /// `workspace` may be 0 where the target's is known already.
    pub(super) fn count(&mut self, target: i64, workspace: i64, state: DeliveryState, by: i64) {
        let pending = self.pending.entry(target).or_default();
        pending.workspace = pending.workspace.max(workspace);
        match state {
            DeliveryState::Queued => pending.queued += by,
            DeliveryState::Scheduled => pending.scheduled += by,
            DeliveryState::Delivered | DeliveryState::Failed | DeliveryState::Cancelled => {}
        }
    }

    /// Counts an event. Events of one type often come one after the other.
    pub(super) fn count_event(&mut self, pair: Pair) {
        match self.counted.last_mut() {
            Some((last, count)) if *last == pair => *count += 1,
            _ => self.counted.push((pair, 1)),
        }
    }

    /// Makes it known. Answers whether nothing is pending in the segment any more because of this.
    pub(super) fn publish(&self, segment: &Segment, bytes: u64) -> bool {
        segment.with(|state| {
            let had_pending = !state.pending.is_empty();
            for (target, change) in &self.pending {
                let pending = state.pending.entry(*target).or_default();
                pending.workspace = pending.workspace.max(change.workspace);
                pending.queued += change.queued;
                pending.scheduled += change.scheduled;
                if pending.total() == 0 {
                    state.pending.remove(target);
                }
            }
            if let Some((sequence, ms)) = self.first
                && (state.first_sequence == 0 || sequence < state.first_sequence)
            {
                (state.first_sequence, state.first_ms) = (sequence, ms);
            }
            if let Some((sequence, ms)) = self.last
                && sequence > state.last_sequence
            {
                (state.last_sequence, state.last_ms) = (sequence, ms.max(state.last_ms));
            }
            state.joined.extend(&self.joined);
            self.marked.iter().for_each(|name| state.summary.add(*name));
            self.counted.iter().for_each(|(pair, count)| state.tally.add(*pair, *count));
            self.types.iter().for_each(|(name, id)| state.summary.add_type(name, *id));
            state.bytes = bytes;
            had_pending && state.pending.is_empty()
        })
    }
}

/// What is remembered of a segment from transaction to transaction.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) words: Interner,
    pub(super) marks: Marks,
}

impl Memory {
    /// Forgets what may not be on disk, after a transaction was rolled back.
    pub(super) fn forget(&mut self) {
        self.words.forget();
        self.marks.forget();
    }
}

/// Stores a group.
pub(super) fn append(tx: &Connection, memory: &mut Memory, group: &Append, floor: i64, changes: &mut Changes) -> Result<(), ApplyError> {
    let Memory { words, marks } = memory;
    let mut event_row =
        tx.prepare_cached("INSERT INTO event(sequence, workspace, type, received_ms, source, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut delivery_row = tx.prepare_cached(
        "INSERT INTO delivery(key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch, updated_ms, received_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?6, ?6)",
    )?;
    let mut about_row = tx.prepare_cached(about::INSERT)?;
    let mut marker = Marker::new(tx)?;
    for event in &group.events {
        if event.sequence.0 < floor {
            return Err(ApplyError::Refused(Refusal::OutOfOrder(event.sequence.0)));
        }
        let type_id = event.type_name.as_ref().map(|name| words.type_id(tx, name, &mut changes.types)).transpose()?;
        let source = words.source(tx, &event.source)?;
        event_row.execute(params![event.sequence.0, event.workspace, type_id, event.received_ms, source, &event.payload[..]])?;
        changes.count_event((event.workspace, type_id.unwrap_or(0)));
        marks.event(&mut marker, event.workspace, type_id, event.sequence, &mut changes.marked)?;
        for subject in &event.about {
            about_row.execute((event.sequence.0, about::hash(subject)))?;
        }
        for delivery in &event.deliveries {
            let state = if delivery.due_ms.is_some() { DeliveryState::Scheduled } else { DeliveryState::Queued };
            delivery_row.execute(params![
                DeliveryKey::new(event.sequence, delivery.ordinal).0,
                event.workspace,
                delivery.subscription,
                delivery.target,
                rows::state_code(state),
                event.received_ms,
                delivery.due_ms.unwrap_or(0),
                delivery.is_batch,
            ])?;
            changes.count(delivery.target, event.workspace, state, 1);
            marks.owned(delivery.target, event.workspace);
        }
        changes.bytes += (event.payload.len() + ROW_BYTES * (1 + event.deliveries.len())) as u64;
        changes.rows += 1 + event.about.len() + event.deliveries.len();
    }
    if let (Some(first), Some(last)) = (group.events.first(), group.events.last()) {
        changes.first.get_or_insert((first.sequence.0, first.received_ms));
        changes.last = changes.last.max(Some((last.sequence.0, last.received_ms)));
    }
    batch_parts(tx, group, floor, changes)?;
    let mut idempotency_row =
        tx.prepare_cached("INSERT OR REPLACE INTO idempotency(workspace, key, hash, first, count, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for record in &group.idempotency {
        idempotency_row.execute(params![record.workspace, record.key, record.body_hash, record.first.0, record.count, record.at_ms])?;
    }
    changes.rows += group.idempotency.len();
    Ok(())
}

fn batch_parts(tx: &Connection, group: &Append, floor: i64, changes: &mut Changes) -> Result<(), ApplyError> {
    if let Some(joiner) = group.joins.iter().find_map(|join| join.members.first()) {
        return Err(ApplyError::Refused(Refusal::NoOwner(joiner.sequence.0)));
    }
    let Some(first) = group.events.first() else {
        return match group.batches.iter().find_map(|part| part.members.first()) {
            Some(member) => Err(ApplyError::Refused(Refusal::ForeignMember(member.0))),
            None => Ok(()),
        };
    };
    let mut parts: BTreeMap<DeliveryKey, Vec<Sequence>> = BTreeMap::new();
    for part in &group.batches {
        for member in &part.members {
            // Sequences are given one after the other, so nearly always the place is known.
            let place = usize::try_from(member.0 - first.sequence.0).ok();
            let is_there = place.and_then(|place| group.events.get(place)).is_some_and(|event| event.sequence == *member);
            if !is_there && group.events.binary_search_by_key(member, |event| event.sequence).is_err() {
                return Err(ApplyError::Refused(Refusal::ForeignMember(member.0)));
            }
        }
        parts.entry(part.batch).or_default().extend(&part.members);
    }
    let mut part_row = tx.prepare_cached("INSERT INTO batch_part(batch, first, members) VALUES (?1, ?2, ?3)")?;
    for (batch, mut members) in parts {
        if members.is_empty() {
            continue;
        }
        members.sort_unstable();
        members.dedup();
        part_row.execute(params![batch.0, first.sequence.0, varint::pack(&members)])?;
        if batch.sequence().0 < floor {
            changes.joined.insert(batch);
        }
        changes.rows += 1;
    }
    Ok(())
}

/// Pulls the due time of a full batch forward.
pub(super) fn close_batch(tx: &Connection, batch: DeliveryKey, due_ms: i64, changes: &mut Changes) -> Result<(), ApplyError> {
    changes.rows +=
        tx.prepare_cached("UPDATE delivery SET due_ms = ?2 WHERE key = ?1 AND state = 3 AND due_ms > ?2")?.execute((batch.0, due_ms))?;
    Ok(())
}

/// Stores outcomes. Those of one row stay in their order; apart from that the order is that of the rows on disk.
pub(super) fn settle(tx: &Connection, memory: &mut Memory, outcomes: &[&Settlement], changes: &mut Changes) -> Result<(), ApplyError> {
    let Memory { words, marks } = memory;
    // The old state is tried and not asked for: one look at the row in nearly every case.
    let mut update = tx.prepare_cached(
        "UPDATE delivery SET state = ?3, due_ms = ?4, updated_ms = ?5, attempts = max(attempts, ?6),
                             first_attempt_ms = iif(attempts = 0 AND ?6 > 0, ?7, first_attempt_ms)
         WHERE key = ?1 AND state = ?2",
    )?;
    let mut first_row = tx.prepare_cached(FIRST_ATTEMPT)?;
    let mut marker = Marker::new(tx)?;
    let mut outcomes = outcomes.to_vec();
    outcomes.sort_by_key(|outcome| outcome.key);
    for outcome in outcomes {
        let key = outcome.key.0;
        let due_ms = if outcome.state == DeliveryState::Scheduled { outcome.due_ms } else { 0 };
        let (number, attempt_ms) = outcome.attempt.as_ref().map_or((0, 0), |attempt| (attempt.number, attempt.at_ms));
        let mut exists = false;
        for old in [DeliveryState::Queued, DeliveryState::Scheduled] {
            let (from, to) = (rows::state_code(old), rows::state_code(outcome.state));
            if update.execute(params![key, from, to, due_ms, outcome.at_ms, number, attempt_ms])? > 0 {
                changes.count(outcome.target, 0, old, -1);
                changes.count(outcome.target, 0, outcome.state, 1);
                changes.rows += 1;
                exists = true;
                break;
            }
        }
        if exists && outcome.state.is_terminal() {
            marks.outcome(&mut marker, outcome.target, outcome.state, outcome.key, &mut changes.marked)?;
        }
        let Some(attempt) = &outcome.attempt else { continue };
        // Too late to change anything, but what was tried is still part of the log.
        if exists || note_late(tx, outcome.key, attempt)? {
            if attempt.number == 1 {
                insert_attempt(tx, &mut first_row, None, words, outcome.key, attempt)?;
            } else {
                insert_attempt(tx, &mut tx.prepare_cached(LATER_ATTEMPT)?, Some(attempt.number), words, outcome.key, attempt)?;
            }
            changes.rows += 1;
            changes.bytes += (attempt.response_body.len() + ROW_BYTES) as u64;
        }
    }
    Ok(())
}

/// Counts an attempt that ended after its delivery did; `false` if there is no such delivery.
fn note_late(tx: &Connection, key: DeliveryKey, attempt: &Attempt) -> rusqlite::Result<bool> {
    let mut note = tx.prepare_cached(
        "UPDATE delivery SET attempts = max(attempts, ?2), first_attempt_ms = iif(attempts = 0, ?3, first_attempt_ms) WHERE key = ?1",
    )?;
    Ok(note.execute((key.0, attempt.number, attempt.at_ms))? > 0)
}

/// Binds an attempt to one of the two statements, its number last.
pub(super) fn insert_attempt(
    tx: &Connection,
    row: &mut CachedStatement<'_>,
    number: Option<u32>,
    words: &mut Interner,
    key: DeliveryKey,
    attempt: &Attempt,
) -> rusqlite::Result<()> {
    let error = attempt.error.as_ref().map(|text| words.word(tx, text)).transpose()?;
    let message = attempt.message.as_ref().map(|text| words.word(tx, text)).transpose()?;
    let (request, request_values) = words.request(tx, &attempt.request)?;
    let (response, response_values) = words.response(tx, &attempt.response)?;
    row.raw_bind_parameter(1, key.0)?;
    row.raw_bind_parameter(2, attempt.at_ms)?;
    row.raw_bind_parameter(3, attempt.duration_us)?;
    row.raw_bind_parameter(4, error)?;
    row.raw_bind_parameter(5, message)?;
    row.raw_bind_parameter(6, attempt.fault.map(fault_code))?;
    row.raw_bind_parameter(7, attempt.status)?;
    row.raw_bind_parameter(8, request)?;
    row.raw_bind_parameter(9, request_values)?;
    row.raw_bind_parameter(10, response)?;
    row.raw_bind_parameter(11, response_values)?;
    row.raw_bind_parameter(12, (!attempt.response_body.is_empty()).then_some(&attempt.response_body[..]))?;
    if let Some(number) = number {
        row.raw_bind_parameter(13, number)?;
    }
    row.raw_execute()?;
    Ok(())
}

fn fault_code(fault: Fault) -> i64 {
    match fault {
        Fault::Ours => 0,
        Fault::Theirs => 1,
        Fault::Network => 2,
    }
}

/// Puts terminal deliveries back to queued.
pub(super) fn reopen(tx: &Connection, command: usize, keys: &[DeliveryKey], at_ms: i64, changes: &mut Changes) -> Result<(), ApplyError> {
    let mut find = tx.prepare_cached(rows::DELIVERY_BY_KEY)?;
    let mut update = tx.prepare_cached("UPDATE delivery SET state = 2, due_ms = 0, updated_ms = ?2 WHERE key = ?1")?;
    for key in keys {
        let Some(mut delivery) = find.query_row([key.0], rows::delivery).optional()? else { continue };
        if !delivery.state.is_terminal() {
            continue;
        }
        update.execute((key.0, at_ms))?;
        (delivery.state, delivery.due_ms, delivery.updated_ms) = (DeliveryState::Queued, 0, at_ms);
        changes.count(delivery.target, delivery.workspace, DeliveryState::Queued, 1);
        changes.rows += 1;
        changes.reopened.push((command, delivery));
    }
    if !changes.reopened.is_empty() {
        tx.prepare_cached("DELETE FROM meta WHERE name = 'drained'")?.execute([])?;
    }
    Ok(())
}
