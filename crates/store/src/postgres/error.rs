//! What the database's errors mean.

use std::error::Error as StdError;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::StoreError;

/// An answer that came too late.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(super) struct Late(pub(super) std::time::Duration);

/// There is no connection at the moment.
#[derive(Debug, thiserror::Error)]
#[error("not connected{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
pub(super) struct NotConnected(pub(super) Option<String>);

/// A value in the database that this release does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown {0} in the database")]
pub(super) struct Unknown(pub(super) &'static str);

/// Why an append cannot be stored, however often it is tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Its place is in a bucket that was dropped.
    #[error("sequence {0} is of a bucket that was dropped")]
    Dropped(i64),
    /// A [`crate::BatchPart`] names an event that this append does not hold.
    #[error("batch member {0} is not an event of the same append")]
    ForeignMember(i64),
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It may be the fault of one command among several: each is tried alone.
    OfOne,
    /// The buckets changed: they are looked up, and all is tried again.
    Moved,
    /// What was asked may have been done or not.
    Uncertain,
    /// Nothing was done.
    Other,
}

/// Makes a source the error that others see.
type Wrap = fn(Box<dyn StdError + Send + Sync>) -> StoreError;

/// A failure of a statement or transaction.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) kind: Kind,
}

impl Failure {
    /// Nothing was done, and it is not one command's fault.
    pub(super) fn other(error: StoreError) -> Self {
        Self { error, kind: Kind::Other }
    }

    /// No answer came.
    pub(super) fn uncertain(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { error: StoreError::Unavailable(error.into()), kind: Kind::Uncertain }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Some(state) = error.code().cloned() else {
            // Without a code it is not the database that speaks: the connection is gone, or a value does not fit its column.
            let is_connection = error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>());
            return if is_connection {
                Self::uncertain(error)
            } else {
                Self { error: StoreError::Engine(error.into()), kind: Kind::OfOne }
            };
        };
        let (wrap, kind): (Wrap, Kind) = match &state {
            // Only looks divide: at one's own stream (see `append`), and at what is joined (see `joining`).
            state if *state == SqlState::DIVISION_BY_ZERO => return Self { error: StoreError::Fenced, kind: Kind::OfOne },
            // Only the look at idempotency keys casts what cannot be.
            state if *state == SqlState::INVALID_TEXT_REPRESENTATION => return Self { error: StoreError::Repeated, kind: Kind::OfOne },
            state if *state == SqlState::CHECK_VIOLATION || *state == SqlState::UNDEFINED_TABLE => (StoreError::Engine, Kind::Moved),
            state if *state == SqlState::DISK_FULL => (StoreError::Full, Kind::Other),
            // The connection ends while something is under way: a pool says it for its own, too, also at a commit that was made.
            state if is_end(state) => (StoreError::Unavailable, Kind::Uncertain),
            // The database refuses connections or writes, or takes too long.
            state if is_absence(state) => (StoreError::Unavailable, Kind::Other),
            state if ["22", "23", "54"].contains(&&state.code()[..2]) => (StoreError::Engine, Kind::OfOne),
            _ => (StoreError::Engine, Kind::Other),
        };
        Self { error: wrap(error.into()), kind }
    }
}

fn is_end(state: &SqlState) -> bool {
    let code = state.code();
    // Connection exceptions; shutdowns, crashes and time limits of sessions.
    code.starts_with("08") || ["57P01", "57P02", "57P05"].contains(&code)
}

fn is_absence(state: &SqlState) -> bool {
    // A start; too many connections; a standby; a statement that was stopped; a lock that did not come; transactions that met.
    ["57P03", "53300", "25006", "57014", "55P03", "40001", "40P01"].contains(&state.code())
}

impl From<Failure> for crate::migrate::MigrateError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// A value of the database that cannot be read.
pub(super) fn unknown(what: &'static str) -> Failure {
    Failure::other(StoreError::Engine(Unknown(what).into()))
}
