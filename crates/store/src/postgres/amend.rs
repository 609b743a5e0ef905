//! What was moved to a database while a server ran on the source, and what became of it since.
//!
//! Deliveries that are pending then are rows like others, but no node would find them: nothing says that they wait. When the server has ended, what
//! changed is written again, and all that still waits is announced.

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::DeliveryKey;

use super::append::Text;
use super::arrivals::OWNERS;
use super::buckets::Bucket;
use super::error::{Failure, unknown};
use super::import::{Import, Waiting};
use super::link::Alone;
use super::moving::{self, Database};
use super::words;
use crate::StoreError;
use crate::migrate::rows::{Changes, Note};

/// Made when a move begins that may find a server on its source.
pub(super) const MAKE: &str = "CREATE TABLE posthaste.move_ahead( -- what was moved while a server ran, piece by piece
       last bigint PRIMARY KEY,      -- sequence
       events bigint NOT NULL,       -- how many
       has_pending boolean NOT NULL,
       stamp text,                   -- of the source's files
       marks bytea NOT NULL          -- a number of each delivery, as it was
     )";

const UPDATE: &str = "UPDATE posthaste.delivery_$_ d SET state = i.state, prior = i.state, attempts = i.attempts,
       first_attempt_ms = i.first_attempt_ms, due_ms = i.due_ms, prior_due_ms = 0, updated_ms = i.updated_ms
     FROM unnest($3::int8[], $4::int8[], $5::int2[], $6::int4[], $7::int8[], $8::int8[], $9::int8[])
       AS i(target, key, state, attempts, first_attempt_ms, due_ms, updated_ms)
     WHERE d.target = i.target AND d.stream IN ($1, $2) AND d.key = i.key
     RETURNING d.target, d.stream, d.key, d.state, d.due_ms";
const ATTEMPTS: &str = "INSERT INTO posthaste.attempt_$_(delivery, at_ms, duration_us, number, status, fault, error, message, request, response, body)
     SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int4[], $5::int4[], $6::int2[], $7::text[], $8::text[], $9::text[], $10::text[],
                          $11::bytea[])
     ON CONFLICT DO NOTHING";
/// What retention dropped in the meantime had an end, of which nothing is known any more.
const DROPPED: &str = "UPDATE posthaste.delivery_$_ SET state = $3, prior = $3, due_ms = 0 WHERE key BETWEEN $1 AND $2 AND state < 2";

/// Remembers what a chunk was like.
pub(super) async fn note(tx: &Alone, note: &Note) -> Result<(), Failure> {
    let marks: Vec<u8> = note.marks.iter().flat_map(|mark| mark.to_le_bytes()).collect();
    let sql = "INSERT INTO posthaste.move_ahead(last, events, has_pending, stamp, marks) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, &[&note.end, &note.events, &note.has_pending, &note.stamp, &marks]).await.map(drop)
}

impl Database {
    /// What was moved while a server ran, by ascending sequences.
    pub(crate) async fn notes(&self) -> Result<Vec<Note>, StoreError> {
        let tx = self.alone().await?;
        let read = async {
            if !moving::exists(&tx, "move_ahead").await? {
                return Ok(Vec::new());
            }
            let rows = tx.query("SELECT last, events, has_pending, stamp, marks FROM posthaste.move_ahead ORDER BY last", &[]).await?;
            let note = |row: &tokio_postgres::Row| {
                let marks = row.get::<_, &[u8]>(4).as_chunks().0.iter().map(|mark| u32::from_le_bytes(*mark)).collect();
                Note { end: row.get(0), events: row.get(1), has_pending: row.get(2), stamp: row.get(3), marks }
            };
            Ok::<_, Failure>(rows.iter().map(note).collect())
        };
        let read = read.await;
        Ok(tx.finish(read).await?)
    }
}

impl Import<'_> {
    /// Writes what changed.
    pub(super) async fn changes(&self, tx: &Alone, changes: &Changes) -> Result<(), Failure> {
        let bucket = self.buckets.of(changes.end).ok_or_else(|| unknown("bucket"))?;
        if let Some((first, last)) = changes.dropped {
            let state = words::state_code(DeliveryState::Cancelled);
            tx.execute(&bucket.sql(DROPPED), &[&first.0, &last.0, &state]).await?;
        }
        let rows = &changes.deliveries;
        if rows.is_empty() {
            return Ok(());
        }
        let longs = |read: fn(&posthaste_domain::delivery::Delivery) -> i64| -> Vec<i64> { rows.iter().map(read).collect() };
        let states: Vec<i16> = rows.iter().map(|row| words::state_code(row.state)).collect();
        let attempts: Vec<i32> = rows.iter().map(|row| i32::try_from(row.attempts).unwrap_or(i32::MAX)).collect();
        let (targets, keys) = (longs(|row| row.target), longs(|row| row.key.0));
        let (firsts, dues, updates) = (longs(|row| row.first_attempt_ms), longs(|row| row.due_ms), longs(|row| row.updated_ms));
        let stream = self.filling.stream;
        let updated =
            tx.query(&bucket.sql(UPDATE), &[&stream, &OWNERS, &targets, &keys, &states, &attempts, &firsts, &dues, &updates]).await?;
        if updated.len() != rows.len() {
            return Err(unknown("delivery"));
        }
        self.attempts(tx, changes, &bucket).await?;
        let waiting = |row: &tokio_postgres::Row| -> Result<Waiting, Failure> {
            let state = words::state(row.get(3))?;
            Ok(Waiting { target: row.get(0), stream: row.get(1), key: row.get(2), state, due_ms: row.get(4) })
        };
        let mut waiting = updated.iter().map(waiting).collect::<Result<Vec<_>, _>>()?;
        waiting.sort_unstable_by_key(|delivery| delivery.key);
        self.pending(tx, &bucket, waiting.into_iter()).await
    }

    async fn attempts(&self, tx: &Alone, changes: &Changes, bucket: &Bucket) -> Result<(), Failure> {
        let rows = &changes.attempts;
        let keys: Vec<i64> = rows.iter().map(|(DeliveryKey(key), _)| *key).collect();
        let times: Vec<i64> = rows.iter().map(|(_, attempt)| attempt.at_ms).collect();
        let durations: Vec<i64> = rows.iter().map(|(_, attempt)| attempt.duration_us).collect();
        let numbers: Vec<i32> = rows.iter().map(|(_, attempt)| i32::try_from(attempt.number).unwrap_or(i32::MAX)).collect();
        let statuses: Vec<Option<i32>> = rows.iter().map(|(_, attempt)| attempt.status.map(i32::from)).collect();
        let faults: Vec<Option<i16>> = rows.iter().map(|(_, attempt)| attempt.fault.map(words::fault_code)).collect();
        let errors: Vec<Option<Text>> = rows.iter().map(|(_, attempt)| attempt.error.clone().map(Text)).collect();
        let messages: Vec<Option<Text>> = rows.iter().map(|(_, attempt)| attempt.message.clone().map(Text)).collect();
        let requests: Vec<Text> = rows.iter().map(|(_, attempt)| Text(attempt.request.clone())).collect();
        let responses: Vec<Text> = rows.iter().map(|(_, attempt)| Text(attempt.response.clone())).collect();
        let bodies: Vec<&[u8]> = rows.iter().map(|(_, attempt)| &attempt.response_body[..]).collect();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 11] =
            [&keys, &times, &durations, &numbers, &statuses, &faults, &errors, &messages, &requests, &responses, &bodies];
        tx.execute(&bucket.sql(ATTEMPTS), &values).await.map(drop)
    }
}
