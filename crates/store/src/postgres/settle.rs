//! Outcomes as columns, and the statements that store them.
//!
//! Each statement locks the claims that it needs and leaves out what this node does not hold; it answers the claims that it had, and how
//! the counts of queued deliveries changed.

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::DeliveryKey;
use tokio_postgres::types::ToSql;

use super::append::Text;
use super::pending::{self, Claim, chunk_of, part_of};
use super::words;
use crate::Settlement;

/// The claims among those of the input `i` that this node, `$1`, holds and keeps until the transaction ends.
macro_rules! held {
    () => {
        "h AS MATERIALIZED (SELECT stream, part FROM posthaste.claim
           WHERE holder = $1 AND (stream, part) IN (SELECT stream, (target & 7)::int2 FROM i) FOR SHARE)"
    };
}

/// What follows a change `c` of deliveries: their rows in `due`, and the answer.
macro_rules! after {
    () => {
        "gone AS (
           DELETE FROM posthaste.due u USING c WHERE c.prior = 1 AND (c.now <> 1 OR c.now_due_ms <> c.prior_due_ms)
             AND u.target = c.target AND u.stream = c.stream AND u.due_ms = c.prior_due_ms AND u.key = c.key),
         new AS (
           INSERT INTO posthaste.due(target, stream, due_ms, key) SELECT target, stream, now_due_ms, key FROM c
           WHERE now = 1 AND (prior <> 1 OR now_due_ms <> prior_due_ms)),
         back AS (
           INSERT INTO posthaste.arrival(part, target, first, last, pending, queued)
           SELECT (target & 7)::int2, target, key, key, 0, 0 FROM c WHERE stream = 0 AND now = 0 AND prior <> 0)
         SELECT stream, part, NULL::int8, NULL::int8 FROM h
         UNION ALL
         SELECT stream, (target & 7)::int2, key >> 32, sum((now = 0)::int - (prior = 0)::int)::int8 FROM c GROUP BY 1, 2, 3"
    };
}

/// Stores outcomes; no delivery twice in one statement. One of an attempt that is stored already comes late, and changes nothing: the delivery may have
/// been opened again since. (Attempts of one number may be two, when a delivery is cancelled while it is under way and opened again while the outcome of that is being
/// stored. Both count, the first one is kept, and only that one is known when it comes again.)
pub(super) const SETTLE: &str = concat!(
    "WITH i AS MATERIALIZED (
       SELECT * FROM unnest($2::int8[], $3::int4[], $4::int8[], $5::int2[], $6::int8[], $7::int8[], $8::int4[], $9::int8[], $10::int8[],
                            $11::int4[], $12::int2[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bytea[])
         AS i(target, stream, key, state, due_ms, at_ms, number, attempt_ms, duration_us,
              status, fault, error, message, request, response, body)),
     ",
    held!(),
    ",
     c AS (
       UPDATE posthaste.delivery_$_ d SET prior = d.state, prior_due_ms = d.due_ms,
         state = CASE WHEN d.state < 2 THEN i.state ELSE d.state END,
         due_ms = CASE WHEN d.state < 2 THEN i.due_ms ELSE d.due_ms END,
         updated_ms = CASE WHEN d.state < 2 THEN i.at_ms ELSE d.updated_ms END,
         attempts = greatest(d.attempts, i.number),
         first_attempt_ms = CASE WHEN d.attempts = 0 AND i.number > 0 THEN i.attempt_ms ELSE d.first_attempt_ms END
       FROM i JOIN h ON h.stream = i.stream AND h.part = (i.target & 7)
       WHERE d.target = i.target AND d.stream = i.stream AND d.key = i.key AND (d.state < 2 OR i.number > 0)
         AND (i.number = 0 OR i.number > d.attempts OR NOT EXISTS (
           SELECT 1 FROM posthaste.attempt_$_ a WHERE a.delivery = i.key AND a.number = i.number AND a.at_ms = i.attempt_ms))
       RETURNING d.prior, d.prior_due_ms, d.state AS now, d.due_ms AS now_due_ms, i.*),
     tried AS (
       INSERT INTO posthaste.attempt_$_(delivery, at_ms, duration_us, number, status, fault, error, message, request, response, body)
       SELECT key, attempt_ms, duration_us, number, status, fault, error, message, request, response, body FROM c WHERE number > 0
       ON CONFLICT DO NOTHING),
     ",
    after!()
);

/// Pulls the due times of full batches forward.
pub(super) const CLOSE: &str = concat!(
    "WITH i AS MATERIALIZED (
       SELECT * FROM unnest($2::int8[], $3::int4[], $4::int8[], $5::int8[]) AS i(target, stream, key, due_ms)),
     ",
    held!(),
    ",
     c AS (
       UPDATE posthaste.delivery_$_ d SET prior = d.state, prior_due_ms = d.due_ms, due_ms = i.due_ms
       FROM i JOIN h ON h.stream = i.stream AND h.part = (i.target & 7)
       WHERE d.target = i.target AND d.stream = i.stream AND d.key = i.key AND d.state = 1 AND d.due_ms > i.due_ms
       RETURNING d.prior, d.prior_due_ms, d.state AS now, d.due_ms AS now_due_ms, d.target, d.stream, d.key),
     ",
    after!()
);

/// Queues terminal deliveries again; answers them.
pub(super) const REOPEN: &str = concat!(
    "WITH i AS MATERIALIZED (SELECT * FROM unnest($2::int8[], $3::int4[], $4::int8[]) AS i(target, stream, key)),
     ",
    held!(),
    ",
     c AS (
       UPDATE posthaste.delivery_$_ d SET prior = d.state, prior_due_ms = d.due_ms, state = 0, due_ms = 0, updated_ms = $5
       FROM i JOIN h ON h.stream = i.stream AND h.part = (i.target & 7)
       WHERE d.target = i.target AND d.stream = i.stream AND d.key = i.key AND d.state >= 2
       RETURNING d.target, d.key, d.workspace, d.subscription, d.first_attempt_ms, d.due_ms, d.updated_ms, d.received_ms, d.attempts, d.state,
                 d.is_batch, d.stream),
     back AS (
       INSERT INTO posthaste.arrival(part, target, first, last, pending, queued)
       SELECT (target & 7)::int2, target, key, key, 0, 0 FROM c WHERE stream = 0)
     SELECT * FROM c"
);

/// Keys from which on something may be queued, for `n(stream, part, key)` of one bucket: lowered.
pub(super) const LOWER: &str = "UPDATE posthaste.low l SET key = least(l.key, n.key)
     FROM unnest($2::int4[], $3::int2[], $4::int8[]) AS n(stream, part, key)
     WHERE l.bucket = $1 AND l.stream = n.stream AND l.part = n.part";

/// The same, set, as far as the claims are still held.
pub(super) const SET_LOW: &str = "UPDATE posthaste.low l SET key = n.key
     FROM unnest($2::int4[], $3::int4[], $4::int2[], $5::int8[]) AS n(bucket, stream, part, key)
     WHERE l.bucket = n.bucket AND l.stream = n.stream AND l.part = n.part
       AND EXISTS (SELECT 1 FROM posthaste.claim c WHERE c.stream = n.stream AND c.part = n.part AND c.holder = $1)";

/// Outcomes for one bucket, each delivery at most once.
#[derive(Default)]
pub(super) struct Outcomes<'a> {
    pub(super) claims: Vec<Claim>,
    target: Vec<i64>,
    stream: Vec<i32>,
    key: Vec<i64>,
    state: Vec<i16>,
    due_ms: Vec<i64>,
    at_ms: Vec<i64>,
    number: Vec<i32>,
    attempt_ms: Vec<i64>,
    duration_us: Vec<i64>,
    status: Vec<Option<i32>>,
    fault: Vec<Option<i16>>,
    error: Vec<Option<Text>>,
    message: Vec<Option<Text>>,
    request: Vec<Option<Text>>,
    response: Vec<Option<Text>>,
    body: Vec<&'a [u8]>,
}

impl<'a> Outcomes<'a> {
    /// Adds one.
    pub(super) fn add(&mut self, outcome: &'a Settlement, stream: i32) {
        let claim = (stream, part_of(outcome.target));
        if !self.claims.contains(&claim) {
            self.claims.push(claim);
        }
        self.target.push(outcome.target);
        self.stream.push(stream);
        self.key.push(outcome.key.0);
        self.state.push(words::state_code(outcome.state));
        self.due_ms.push(if outcome.state == DeliveryState::Scheduled { outcome.due_ms } else { 0 });
        self.at_ms.push(outcome.at_ms);
        let attempt = outcome.attempt.as_ref();
        self.number.push(attempt.map_or(0, |attempt| i32::try_from(attempt.number).unwrap_or(i32::MAX)));
        self.attempt_ms.push(attempt.map_or(0, |attempt| attempt.at_ms));
        self.duration_us.push(attempt.map_or(0, |attempt| attempt.duration_us));
        self.status.push(attempt.and_then(|attempt| attempt.status).map(i32::from));
        self.fault.push(attempt.and_then(|attempt| attempt.fault).map(words::fault_code));
        self.error.push(attempt.and_then(|attempt| attempt.error.clone()).map(Text));
        self.message.push(attempt.and_then(|attempt| attempt.message.clone()).map(Text));
        self.request.push(attempt.map(|attempt| Text(attempt.request.clone())));
        self.response.push(attempt.map(|attempt| Text(attempt.response.clone())));
        self.body.push(attempt.map_or(&[], |attempt| &attempt.response_body));
    }

    /// Where they are counted, by their keys.
    pub(super) fn places(&self) -> impl Iterator<Item = (i64, pending::Place)> {
        places(&self.stream, &self.target, &self.key)
    }

    /// The values of [`SETTLE`].
    pub(super) fn values<'q>(&'q self, node: &'q i64) -> Vec<&'q (dyn ToSql + Sync)> {
        vec![
            node,
            &self.target,
            &self.stream,
            &self.key,
            &self.state,
            &self.due_ms,
            &self.at_ms,
            &self.number,
            &self.attempt_ms,
            &self.duration_us,
            &self.status,
            &self.fault,
            &self.error,
            &self.message,
            &self.request,
            &self.response,
            &self.body,
        ]
    }
}

/// Deliveries of one bucket, by all that their row is found by.
#[derive(Default)]
pub(super) struct Places {
    pub(super) target: Vec<i64>,
    pub(super) stream: Vec<i32>,
    pub(super) key: Vec<i64>,
    /// New due times, where they are needed.
    pub(super) due_ms: Vec<i64>,
}

impl Places {
    /// Adds one.
    pub(super) fn add(&mut self, key: DeliveryKey, place: Place) {
        self.target.push(place.target);
        self.stream.push(place.stream);
        self.key.push(key.0);
    }

    /// Where they are counted, by their keys.
    pub(super) fn places(&self) -> impl Iterator<Item = (i64, pending::Place)> {
        places(&self.stream, &self.target, &self.key)
    }
}

fn places(stream: &[i32], target: &[i64], key: &[i64]) -> impl Iterator<Item = (i64, pending::Place)> {
    let all = stream.iter().zip(target).zip(key);
    all.map(|((stream, target), key)| (*key, ((*stream, part_of(*target)), chunk_of(*key))))
}

/// Where the row of a delivery is, besides its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) target: i64,
    pub(super) stream: i32,
}
