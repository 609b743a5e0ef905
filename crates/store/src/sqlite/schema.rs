//! What the files look like, and how connections to them are opened.
//!
//! All keys are integers ordered by time, so that appending is always at the right edge of a tree and every list is a key range.
//! The comments inside the SQL are stored by SQLite: `.schema` in the `sqlite3` shell shows them to whoever looks at a data directory.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ffi};

use crate::StoreError;

/// Format of all files that this release writes; files of a larger one are refused. Segments of a smaller one are brought up to it when
/// they are opened ([`super::upgrade`]); the other files did not change.
pub(super) const FORMAT: i64 = 2;

/// Format of segments whose payloads are compressed ([`super::cold`]); all else in them is of [`FORMAT`].
pub(super) const COLD_FORMAT: i64 = 3;

/// Bytes of a page. Larger ones pack payloads better, smaller ones make commits of few rows cheaper: each touches about ten pages.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Tables of a journal segment.
pub(super) const SEGMENT: &str = "
CREATE TABLE meta(
  name TEXT PRIMARY KEY, -- format; floor, floor_ms: everything here is later; drained: 1 when sealed and nothing is pending;
                         -- older:<number>, next: other segments that have to be there; superseded: 1 when <number>.cold.db took the
                         -- place of this file; plain_bytes: how large it was before that
  value INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE type(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE word(id INTEGER PRIMARY KEY, text TEXT NOT NULL); -- texts that repeat; doubles are harmless
CREATE TABLE event(
  sequence INTEGER PRIMARY KEY,
  workspace INTEGER NOT NULL,
  type INTEGER,                    -- type.id
  received_ms INTEGER NOT NULL,
  source INTEGER NOT NULL,         -- word.id, JSON
  payload BLOB NOT NULL            -- the document, byte for byte
);
CREATE TABLE delivery(
  key INTEGER PRIMARY KEY,         -- sequence of the (first) event << 20 | ordinal
  workspace INTEGER NOT NULL,
  subscription INTEGER NOT NULL,
  target INTEGER NOT NULL,
  state INTEGER NOT NULL,          -- 2 queued, 3 scheduled, 4 delivered, 5 failed, 6 cancelled; a 0 or a 1 would take one byte less,
                                   -- and a row that grows makes its full page split
  attempts INTEGER NOT NULL,
  first_attempt_ms INTEGER NOT NULL, -- means something when attempts > 0; set before, so that the row keeps its size
  due_ms INTEGER NOT NULL,         -- 0 unless scheduled
  is_batch INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL
);
CREATE TABLE attempt(              -- those after the first
  delivery INTEGER NOT NULL,
  number INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  duration_us INTEGER NOT NULL,
  error INTEGER,                   -- word.id
  message INTEGER,                 -- word.id
  fault INTEGER,                   -- 0 ours, 1 theirs, 2 network
  status INTEGER,
  request INTEGER NOT NULL,        -- word.id; each char(1) in it stands for one line of request_values
  request_values TEXT,
  response INTEGER NOT NULL,       -- the same
  response_values TEXT,
  body BLOB,
  PRIMARY KEY(delivery, number)
) WITHOUT ROWID;
CREATE TABLE batch_part(           -- lies where its members lie
  batch INTEGER NOT NULL,          -- delivery.key, perhaps of an older segment
  first INTEGER NOT NULL,          -- first sequence of the commit that wrote it; commits do not overlap
  members BLOB NOT NULL,           -- sequences: LEB128 of the first, then of the differences
  PRIMARY KEY(batch, first)
) WITHOUT ROWID;
CREATE INDEX batch_part_first ON batch_part(first);
CREATE TABLE idempotency(
  workspace INTEGER NOT NULL,
  key TEXT NOT NULL,
  hash BLOB NOT NULL,              -- SHA-256 of the request body
  first INTEGER NOT NULL,
  count INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY(workspace, key)
) WITHOUT ROWID;
";

/// First attempts, what finds pending deliveries, what lists for people go by, and the views of the log. With [`SEGMENT`] it is all of a segment, but
/// for [`ABOUT`].
///
/// An index row for each event and delivery in each order that people list them in would cost more than the rows themselves. So lists go
/// by *blocks* of events that came one after the other: `mark` says which blocks hold something, once for each, and the rows of a block
/// are looked through. [`super::marks`] has the rules. What one commit writes of it lies together, because the epoch comes first in the key.
pub(super) const INDEXES: &str = "
CREATE TABLE first_attempt(        -- attempts with the number 1: one row after the other, as the deliveries
  delivery INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,          -- these as in attempt
  duration_us INTEGER NOT NULL,
  error INTEGER,
  message INTEGER,
  fault INTEGER,
  status INTEGER,
  request INTEGER NOT NULL,
  request_values TEXT,
  response INTEGER NOT NULL,
  response_values TEXT,
  body BLOB
);
CREATE VIEW attempts AS            -- for people with a shell
  SELECT delivery, 1 AS number, at_ms, duration_us, error, message, fault, status, request, request_values, response, response_values, body
  FROM first_attempt UNION ALL
  SELECT delivery, number, at_ms, duration_us, error, message, fault, status, request, request_values, response, response_values, body
  FROM attempt;
CREATE INDEX lane ON delivery(target, state) WHERE state < 4; -- what is pending, by key; an entry goes when its delivery is settled
CREATE INDEX due ON delivery(target, due_ms) WHERE state = 3;
CREATE TABLE mark(
  epoch INTEGER NOT NULL,          -- sequence >> 12
  kind INTEGER NOT NULL,           -- 0 events of workspace a, 1 those of type b (0: none) among them,
                                   -- 2 deliveries of workspace a that came to the final state b, 3 the same of target a
  a INTEGER NOT NULL,
  b INTEGER NOT NULL,
  at INTEGER NOT NULL,             -- where the block begins: a sequence, or a delivery.key
  count INTEGER,                   -- kind 1: how many, once the block is complete
  PRIMARY KEY(epoch, kind, a, b, at)
) WITHOUT ROWID;
CREATE TABLE name(                 -- what there are marks for
  kind INTEGER NOT NULL,
  a INTEGER NOT NULL,
  b INTEGER NOT NULL,
  PRIMARY KEY(kind, a, b)
) WITHOUT ROWID;
CREATE VIEW log AS                 -- the same
  SELECT d.key, t.name AS type, d.workspace, d.subscription, d.target,
         CASE d.state WHEN 2 THEN 'queued' WHEN 3 THEN 'scheduled' WHEN 4 THEN 'delivered' WHEN 5 THEN 'failed' ELSE 'cancelled' END AS state,
         a.number AS attempt, datetime(a.at_ms / 1000.0, 'unixepoch', 'subsec') AS at, a.duration_us, a.status,
         (SELECT text FROM word WHERE id = a.error) AS error, (SELECT text FROM word WHERE id = a.message) AS message
  FROM delivery d JOIN event e ON e.sequence = d.key >> 20 LEFT JOIN type t ON t.id = e.type LEFT JOIN attempts a ON a.delivery = d.key;
";

/// Events of a block of [`ABOUT`], as a power of two.
pub(super) const BLOCK_BITS: u32 = 14;

/// What finds events by their subject. Added to segments of releases that did not have it when they are opened.
///
/// Hashes come in no order. The block before them keeps what one commit writes together: within a block the tree is small, and older
/// blocks are not touched again.
pub(super) const ABOUT: &str = "
CREATE TABLE IF NOT EXISTS subject(
  block INTEGER NOT NULL,          -- sequence >> 14
  hash INTEGER NOT NULL,           -- first 8 bytes of the SHA-256 of what the event is about; the event tells whether it really is
  sequence INTEGER NOT NULL,
  PRIMARY KEY(block, hash, sequence)
) WITHOUT ROWID;
";

/// What a compressed segment has besides.
pub(super) const COLD: &str = "
CREATE TABLE pack(                 -- payloads of events that came one after the other: event.payload is the length of a payload that is here
  first INTEGER PRIMARY KEY,       -- sequence of the first event
  bytes INTEGER NOT NULL,          -- size of what is compressed
  data BLOB NOT NULL               -- zstd of: count, differences of sequences, lengths (all LEB128), the payloads
);
";

/// Tables of `catalog.db`.
pub(super) const CATALOG: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE resource(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  workspace INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  doc TEXT NOT NULL,               -- JSON, null in place of each secret
  sealed BLOB                      -- the secrets: nonce || XChaCha20-Poly1305 of a JSON map from pointer to value, bound to the id
);
";

/// Tables of `bins.db`.
pub(super) const BINS: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE bin(bin INTEGER PRIMARY KEY, last INTEGER NOT NULL); -- numbers are never given twice
CREATE TABLE request(
  bin INTEGER NOT NULL,
  number INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  method TEXT NOT NULL,
  target TEXT NOT NULL,
  headers TEXT NOT NULL,           -- JSON: [[name, value], ...]
  body BLOB NOT NULL,
  ip TEXT,
  PRIMARY KEY(bin, number)
) WITHOUT ROWID;
";

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Commits survive power loss. Checkpoints are left to the one who opened it.
    Write,
    /// Commits survive `kill -9`, the last ones perhaps not a power loss. Checkpoints run by themselves.
    WriteRelaxed,
    /// Reads only, and never checkpoints.
    Read,
}

/// What is wrong with a file as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misfit {
    #[error("it is missing")]
    Missing,
    #[error("it has no tables")]
    Empty,
    #[error("what was written is not in the file")]
    Unfinished,
    #[error("it is of an older release: start the server of this one first")]
    Old,
}

impl Misfit {
    /// The error that names the file.
    pub(super) fn of(self, path: &Path) -> StoreError {
        StoreError::File { file: path.display().to_string(), source: self.into() }
    }
}

/// Opens a file that has to be there. Creating one here would take the place of one that was lost.
pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, StoreError> {
    open(path, access, OpenFlags::empty()).map_err(|error| if path.exists() { failed(path)(error) } else { Misfit::Missing.of(path) })
}

/// Opens a file, creating it if it is not there.
pub(super) fn create(path: &Path, access: Access) -> Result<Connection, StoreError> {
    open(path, access, OpenFlags::SQLITE_OPEN_CREATE).map_err(failed(path))
}

fn open(path: &Path, access: Access, create: OpenFlags) -> rusqlite::Result<Connection> {
    // Readers open the file read-write as well: a WAL file left by a crash can only be read by one who may recover it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.set_prepared_statement_cache_capacity(64);
    match access {
        Access::Read => {
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -1024;")?;
        }
        Access::Write | Access::WriteRelaxed => {
            conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
            conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
            conn.execute_batch("PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -4096;")?;
            if access == Access::Write {
                conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
            } else {
                conn.execute_batch("PRAGMA synchronous = NORMAL;")?;
            }
        }
    }
    Ok(conn)
}

/// Creates the tables if the file is empty, and checks the format. `meta`, if there is any, takes the place of what an earlier
/// attempt stored. All of it is one transaction.
pub(super) fn prepare(path: &Path, conn: &mut Connection, tables: &str, meta: &[(String, i64)]) -> Result<(), StoreError> {
    let failed = failed(path);
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&failed)?;
    if !is_prepared(&tx).map_err(&failed)? {
        tx.execute_batch(tables).map_err(&failed)?;
        tx.execute("INSERT INTO meta(name, value) VALUES ('format', ?1)", [FORMAT]).map_err(&failed)?;
    }
    check(path, &tx, FORMAT)?;
    if !meta.is_empty() {
        tx.execute("DELETE FROM meta WHERE name <> 'format'", []).map_err(&failed)?;
    }
    for (name, value) in meta {
        tx.execute("INSERT INTO meta(name, value) VALUES (?1, ?2)", (name, value)).map_err(&failed)?;
    }
    tx.commit().map_err(&failed)
}

/// Refuses a file of a newer release: one whose format is larger than `known`.
pub(super) fn check(path: &Path, conn: &Connection, known: i64) -> Result<(), StoreError> {
    let found = meta_value(conn, "format").map_err(failed(path))?.unwrap_or(0);
    if found > known { Err(StoreError::TooNew { found, known }) } else { Ok(()) }
}

/// Whether the file has its tables; one whose creation was cut short has none.
pub(super) fn is_prepared(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = 'meta')", [], |row| row.get(0))
}

/// A value of the `meta` table.
pub(super) fn meta_value(conn: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut select = conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    let mut rows = select.query([name])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

/// Has a connection to a sealed segment keep few pages, and give back what it has: only settlements come to it, and there may be several.
pub(super) fn cache_little(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA cache_size = -2048; PRAGMA shrink_memory;")
}

/// Keeps a file from growing beyond so many pages, which looks like a full disk; `None` lifts it.
pub(super) fn cap(conn: &Connection, pages: Option<u32>) -> rusqlite::Result<()> {
    // The largest number there is means no limit.
    conn.query_row(&format!("PRAGMA max_page_count = {}", pages.unwrap_or(u32::MAX - 1)), [], |_| Ok(()))
}

/// Says what went wrong with a database file.
pub(super) fn failed(path: &Path) -> impl Fn(Error) -> StoreError {
    move |error| {
        if is_damage(&error) {
            return StoreError::File { file: path.display().to_string(), source: error.into() };
        }
        match error.sqlite_error_code() {
            // A WAL cannot be read without room for its index either.
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                StoreError::Full(error.into())
            }
            _ => StoreError::Engine(error.into()),
        }
    }
}

/// Whether the file holds something else than was written. All statements are constants, so one that cannot be understood is a sign of
/// tables that are not there.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(code, _) => {
            matches!(code.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || matches!(
                    code.extended_code,
                    ffi::SQLITE_ERROR | ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS
                )
        }
        Error::SqlInputError { .. }
        | Error::QueryReturnedNoRows
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// Names what went wrong with a file beside the databases.
pub(crate) fn file_error(error: std::io::Error) -> StoreError {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied => StoreError::Full(error.into()),
        _ => StoreError::Engine(error.into()),
    }
}
