//! What can go wrong, as the surfaces see it.

use std::sync::Arc;

use posthaste_store::{CatalogError, StoreError};

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored document is not readable by this release.
    #[error("the {kind} {id} in the catalog cannot be read")]
    Document {
        /// Kind of resource.
        kind: &'static str,
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Why events were not accepted. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyMismatch,
    /// Too much waits for the disk; try again in a second.
    #[error("too many events wait to be stored")]
    Overloaded,
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// The database is away. If the connection was lost in the very moment of the commit, the events may be stored all the same.
    #[error("the database is not available")]
    Unavailable,
    /// The server shuts down.
    #[error("the server shuts down")]
    Closing,
    /// The store failed. Shared, since one commit holds many requests.
    #[error("storage failed")]
    Store(#[source] Arc<StoreError>),
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) => Self::Full,
            StoreError::Closed => Self::Closing,
            StoreError::Unavailable(_) | StoreError::Fenced => Self::Unavailable,
            other => Self::Store(Arc::new(other)),
        }
    }
}

/// Why a change of configuration or of a delivery was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// No such resource in this workspace.
    #[error("not found")]
    NotFound,
    /// It changed in the meantime.
    #[error("version {expected} was expected, {found} is stored")]
    Conflict {
        /// What the caller had read.
        expected: i64,
        /// What is stored.
        found: i64,
    },
    /// A field cannot be used.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which.
        field: String,
        /// Why.
        reason: String,
    },
    /// A value that must be unique is taken.
    #[error("{field} is taken")]
    Duplicate {
        /// Which.
        field: &'static str,
    },
    /// A request named itself by a key that belongs to another one.
    #[error("the Idempotency-Key was used with another body")]
    AnotherBody,
    /// A limit is reached.
    #[error("at most {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// Something else still uses it.
    #[error("in use by {by}")]
    InUse {
        /// Id of the user.
        by: String,
    },
    /// It is not in a state that allows this.
    #[error("{reason}")]
    State {
        /// Why.
        reason: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl ResourceError {
    /// An unusable field.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        // Some rules name the field themselves, for callers that have no other place for it.
        let reason = reason.strip_prefix(&format!("{field}: ")).map(str::to_owned).unwrap_or(reason);
        Self::Invalid { field, reason }
    }

    /// The same, with the field where it stands in what the caller was asked for.
    #[must_use]
    pub(crate) fn below(self, place: Option<&str>) -> Self {
        match (self, place) {
            (Self::Invalid { field, reason }, Some(place)) => Self::Invalid { field: format!("{place}.{field}"), reason },
            (other, _) => other,
        }
    }
}

impl From<CatalogError> for ResourceError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Conflict { expected, found } => Self::Conflict { expected, found },
            CatalogError::NotFound => Self::NotFound,
            CatalogError::Exists => Self::Duplicate { field: "id" },
            CatalogError::Store(e) => Self::Store(e),
        }
    }
}

impl From<StoreError> for ResourceError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
