//! The catalog: versioned configuration documents.

use async_trait::async_trait;
use posthaste_domain::resource::Kind;
use serde_json::Value;

use crate::StoreError;

/// One resource as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Small number, never reused; what the journal refers to.
    pub number: i64,
    /// Public id.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Number of the owning workspace; a workspace's own number for itself.
    pub workspace: i64,
    /// 1 at creation, one more at each update.
    pub version: i64,
    /// Time of creation.
    pub created_ms: i64,
    /// Time of the last change.
    pub updated_ms: i64,
    /// Deleted resources stay as tombstones (document kept, secrets dropped), so that history can name them.
    pub deleted: bool,
    /// The document, with secrets in place.
    pub doc: Value,
}

/// One change. A `write` of several is atomic.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds a resource. The id must be new.
    Create {
        /// Public id.
        id: String,
        /// What it is.
        kind: Kind,
        /// Owning workspace; `None` for a workspace, which owns itself.
        workspace: Option<i64>,
        /// The document, with secrets in place.
        doc: Value,
        /// JSON pointers into `doc` to encrypt.
        secrets: Vec<String>,
        /// Now.
        at_ms: i64,
    },
    /// Replaces a document.
    Update {
        /// Which.
        number: i64,
        /// Fails with [`CatalogError::Conflict`] when the stored version differs; `None` overwrites.
        version: Option<i64>,
        /// The new document.
        doc: Value,
        /// JSON pointers into `doc` to encrypt.
        secrets: Vec<String>,
        /// Now.
        at_ms: i64,
    },
    /// Deletes a resource.
    Delete {
        /// Which.
        number: i64,
        /// Now.
        at_ms: i64,
    },
}

/// Why a write was refused. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The resource changed in the meantime.
    #[error("version {expected} was expected, {found} is stored")]
    Conflict {
        /// What the writer had read.
        expected: i64,
        /// What is stored.
        found: i64,
    },
    /// No such (living) resource.
    #[error("no such resource")]
    NotFound,
    /// The id exists.
    #[error("the id exists")]
    Exists,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Configuration documents: few and small.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// All records, tombstones included, by number.
    async fn load(&self) -> Result<Vec<Record>, StoreError>;

    /// Applies all changes or none, durably; answers the new records in order (the tombstone for a deletion).
    async fn write(&self, changes: Vec<Change>) -> Result<Vec<Record>, CatalogError>;
}
