//! Rows into domain types.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState, Fault};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Error, Row};

use super::readers::Reader;
use super::words;

/// A delivery by its key; its columns are what [`delivery`] reads.
pub(super) const DELIVERY_BY_KEY: &str = "SELECT key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch, \
     updated_ms, received_ms FROM delivery WHERE key = ?1";

pub(super) const EVENT: &str = "SELECT sequence, workspace, type, received_ms, source, payload FROM event WHERE sequence = ?1";
pub(super) const FIRST_ATTEMPT: &str = "SELECT 1, at_ms, duration_us, error, message, fault, status, request, request_values, response, \
     response_values, body FROM first_attempt WHERE delivery = ?1";
pub(super) const LAST_ATTEMPT: &str = "SELECT number, at_ms, duration_us, error, message, fault, status, request, request_values, response, \
     response_values, body FROM attempt WHERE delivery = ?1 ORDER BY number DESC LIMIT 1";
pub(super) const ATTEMPTS: &str = "SELECT number, at_ms, duration_us, error, message, fault, status, request, request_values, response, \
     response_values, body FROM attempt WHERE delivery = ?1 ORDER BY number";

/// What the codes of states begin with: the numbers 0 and 1 take no byte in a row, and all states have to take the same.
const FIRST_STATE: i64 = 2;

/// The code of a state in a row.
pub(super) fn state_code(state: DeliveryState) -> i64 {
    state as i64 + FIRST_STATE
}

/// The state of a code.
fn state(column: usize, code: i64) -> rusqlite::Result<DeliveryState> {
    DeliveryState::from_code(code - FIRST_STATE).ok_or(Error::IntegralValueOutOfRange(column, code))
}

/// Reads the columns `key, workspace, subscription, target, state, attempts, first_attempt_ms, due_ms, is_batch, updated_ms, received_ms`.
pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let attempts: u32 = row.get(5)?;
    Ok(Delivery {
        key: DeliveryKey(row.get(0)?),
        workspace: row.get(1)?,
        subscription: row.get(2)?,
        target: row.get(3)?,
        state: state(4, row.get(4)?)?,
        attempts,
        first_attempt_ms: if attempts == 0 { 0 } else { row.get(6)? },
        due_ms: row.get(7)?,
        is_batch: row.get(8)?,
        updated_ms: row.get(9)?,
        received_ms: row.get(10)?,
    })
}

/// Where the payload of an event is.
enum Payload {
    Here(Bytes),
    /// In a pack ([`super::cold`]); its length.
    Packed(usize),
}

/// An event whose type and source are still numbers, and whose payload may still be in a pack.
pub(super) struct RawEvent {
    /// Position.
    pub(super) sequence: i64,
    workspace: i64,
    type_id: Option<i64>,
    received_ms: i64,
    source: i64,
    payload: Payload,
}

impl RawEvent {
    /// Reads the columns `sequence, workspace, type, received_ms, source, payload`.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            workspace: row.get(1)?,
            type_id: row.get(2)?,
            received_ms: row.get(3)?,
            source: row.get(4)?,
            payload: match row.get_ref(5)? {
                ValueRef::Integer(length) => Payload::Packed(length.try_into().map_err(|_| Error::IntegralValueOutOfRange(5, length))?),
                other => Payload::Here(Bytes::copy_from_slice(other.as_blob()?)),
            },
        })
    }

    /// Size of the payload.
    pub(super) fn bytes(&self) -> usize {
        match &self.payload {
            Payload::Here(bytes) => bytes.len(),
            Payload::Packed(length) => *length,
        }
    }

    /// The document, which is unpacked if it is in a pack.
    pub(super) fn document(&mut self, reader: &Reader) -> rusqlite::Result<&[u8]> {
        if let Payload::Packed(length) = self.payload {
            self.payload = Payload::Here(reader.packed(self.sequence, length)?);
        }
        match &self.payload {
            Payload::Here(bytes) => Ok(bytes),
            Payload::Packed(_) => Ok(&[]),
        }
    }

    /// Looks up what is not there yet.
    pub(super) fn resolve(self, reader: &mut Reader) -> rusqlite::Result<Arc<Event>> {
        Ok(Arc::new(Event {
            sequence: Sequence(self.sequence),
            workspace: self.workspace,
            type_name: self.type_id.map(|id| reader.type_name(id)).transpose()?,
            payload: match self.payload {
                Payload::Here(bytes) => bytes,
                Payload::Packed(length) => reader.packed(self.sequence, length)?,
            },
            source: reader.source(self.source)?,
            received_ms: self.received_ms,
        }))
    }
}

/// The event at a sequence, its document included.
pub(super) fn raw_event(reader: &Reader, sequence: Sequence) -> rusqlite::Result<Option<RawEvent>> {
    let mut select = reader.conn.prepare_cached(EVENT)?;
    let mut rows = select.query([sequence.0])?;
    rows.next()?.map(RawEvent::read).transpose()
}

/// The event at a sequence.
pub(super) fn event(reader: &mut Reader, sequence: Sequence) -> rusqlite::Result<Option<Arc<Event>>> {
    raw_event(reader, sequence)?.map(|raw| raw.resolve(reader)).transpose()
}

/// The delivery with a key.
pub(super) fn delivery_by_key(reader: &Reader, key: DeliveryKey) -> rusqlite::Result<Option<Delivery>> {
    let mut select = reader.conn.prepare_cached(DELIVERY_BY_KEY)?;
    let mut rows = select.query([key.0])?;
    rows.next()?.map(delivery).transpose()
}

/// An attempt whose texts are still numbers.
pub(super) struct RawAttempt {
    attempt: Attempt,
    error: Option<i64>,
    message: Option<i64>,
    request: (i64, Option<String>),
    response: (i64, Option<String>),
}

impl RawAttempt {
    /// Reads the columns `number, at_ms, duration_us, error, message, fault, status, request, request_values, response, response_values, body`.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let nothing: Arc<str> = "".into();
        let attempt = Attempt {
            number: row.get(0)?,
            at_ms: row.get(1)?,
            duration_us: row.get(2)?,
            error: None,
            message: None,
            fault: row.get::<_, Option<i64>>(5)?.map(fault).transpose()?,
            status: row.get(6)?,
            request: nothing.clone(),
            response: nothing,
            response_body: row.get::<_, Option<Vec<u8>>>(11)?.unwrap_or_default().into(),
        };
        Ok(Self {
            attempt,
            error: row.get(3)?,
            message: row.get(4)?,
            request: (row.get(7)?, row.get(8)?),
            response: (row.get(9)?, row.get(10)?),
        })
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        self.attempt.number
    }

    /// Size of the body.
    pub(super) fn bytes(&self) -> usize {
        self.attempt.response_body.len()
    }

    /// Looks the numbers up.
    pub(super) fn resolve(self, reader: &mut Reader) -> rusqlite::Result<Attempt> {
        let mut attempt = self.attempt;
        attempt.error = self.error.map(|id| reader.word(id)).transpose()?;
        attempt.message = self.message.map(|id| reader.word(id)).transpose()?;
        attempt.request = words::join(&reader.word(self.request.0)?, self.request.1.as_deref());
        attempt.response = words::join(&reader.word(self.response.0)?, self.response.1.as_deref());
        Ok(attempt)
    }
}

/// Attempts of a delivery, ascending.
pub(super) fn attempts(reader: &mut Reader, key: DeliveryKey) -> rusqlite::Result<Vec<Attempt>> {
    let mut raws: Vec<RawAttempt> = Vec::new();
    for sql in [FIRST_ATTEMPT, ATTEMPTS] {
        let mut select = reader.conn.prepare_cached(sql)?;
        for raw in select.query_map([key.0], RawAttempt::read)? {
            raws.push(raw?);
        }
    }
    // A segment of an earlier release has its first attempts among the others; one of them may have been told again since.
    raws.dedup_by_key(|raw| raw.attempt.number);
    raws.into_iter().map(|raw| raw.resolve(reader)).collect()
}

/// The last attempt of a delivery.
pub(super) fn last_attempt(reader: &mut Reader, key: DeliveryKey) -> rusqlite::Result<Option<Attempt>> {
    let read = |sql| {
        let mut select = reader.conn.prepare_cached(sql)?;
        let mut rows = select.query([key.0])?;
        rows.next()?.map(RawAttempt::read).transpose()
    };
    let raw = match read(LAST_ATTEMPT)? {
        // One of an earlier release, which may have been told again since.
        Some(raw) if raw.attempt.number == 1 => read(FIRST_ATTEMPT)?.or(Some(raw)),
        Some(raw) => Some(raw),
        None => read(FIRST_ATTEMPT)?,
    };
    raw.map(|raw| raw.resolve(reader)).transpose()
}

fn fault(code: i64) -> rusqlite::Result<Fault> {
    match code {
        0 => Ok(Fault::Ours),
        1 => Ok(Fault::Theirs),
        2 => Ok(Fault::Network),
        _ => Err(Error::FromSqlConversionFailure(5, Type::Integer, format!("{code} is no fault").into())),
    }
}
