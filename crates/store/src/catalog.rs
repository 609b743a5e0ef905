//! The catalog: versioned configuration documents.

use async_trait::async_trait;
use posthaste_domain::people::Session;
use posthaste_domain::people::audit::{Action, Entry};
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

/// Which entries of the audit log are wanted; nothing means all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditFilter {
    /// Of this kind: the name of a [`Kind`], or `session`.
    pub kind: Option<String>,
    /// By the key or member with this id, or by the `server`.
    pub actor: Option<String>,
    /// Of this action.
    pub action: Option<Action>,
    /// About the resource with this id.
    pub id: Option<String>,
    /// Not earlier.
    pub from_ms: Option<i64>,
    /// Earlier.
    pub to_ms: Option<i64>,
}

/// An entry of the audit log as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its place: later entries have larger ones.
    pub number: i64,
    /// What it says.
    pub entry: Entry,
}

/// Configuration documents: few and small; what was done to them; and who is signed in to do so.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// All records, tombstones included, by number.
    async fn load(&self) -> Result<Vec<Record>, StoreError>;

    /// Applies all changes and adds the entries to the audit log, or does nothing at all, durably; answers the new records in order (the
    /// tombstone for a deletion).
    async fn write(&self, changes: Vec<Change>, entries: Vec<Entry>) -> Result<Vec<Record>, CatalogError>;

    /// Entries of the audit log of a workspace, newest first, with numbers below `before`.
    async fn audit(&self, workspace: i64, filter: AuditFilter, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;

    /// Drops the entries of the audit log from before a time; answers how many.
    async fn drop_audit(&self, before_ms: i64) -> Result<usize, StoreError>;

    /// All sessions, in no order.
    async fn sessions(&self) -> Result<Vec<Session>, StoreError>;

    /// Adds a session, or notes that the one with this id was seen.
    async fn put_session(&self, session: Session) -> Result<(), StoreError>;

    /// Removes the sessions with these ids and adds the entries to the audit log, or does nothing at all.
    async fn end_sessions(&self, ids: Vec<String>, entries: Vec<Entry>) -> Result<(), StoreError>;
}
