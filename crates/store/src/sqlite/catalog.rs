//! `catalog.db`: configuration documents, secrets sealed.

use std::path::{Path, PathBuf};

use posthaste_domain::people::audit::Entry;
use posthaste_domain::resource::Kind;
use rusqlite::{Connection, Error, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde_json::Value;

use super::schema::{self, Access, Misfit};
use super::{people, suppressions};
use crate::StoreError;
use crate::catalog::{CatalogError, Change, Record};
use crate::master;
use crate::secrets::MasterKeys;

/// The open catalog.
pub(super) struct CatalogDb {
    conn: Connection,
    path: PathBuf,
    keys: MasterKeys,
}

impl CatalogDb {
    /// Opens `catalog.db` and `master.key` in a directory, and seals anew what was sealed under an older master key. Both are created at
    /// the first start; where there is a journal already, a catalog has to be there too: beside an empty one, all that is pending
    /// would be of targets that nobody knows.
    pub(super) fn open(dir: &Path, has_journal: bool) -> Result<Self, StoreError> {
        let path = dir.join("catalog.db");
        let mut conn = if has_journal { schema::connect(&path, Access::Write)? } else { schema::create(&path, Access::Write)? };
        if has_journal && !schema::is_prepared(&conn).map_err(schema::failed(&path))? {
            return Err(Misfit::Empty.of(&path));
        }
        schema::prepare(&path, &mut conn, schema::CATALOG, &[])?;
        conn.execute_batch(suppressions::TABLE).map_err(schema::failed(&path))?;
        conn.execute_batch(people::TABLES).map_err(schema::failed(&path))?;
        // Few and small changes: this file may checkpoint by itself.
        conn.pragma_update(None, "wal_autocheckpoint", 1000).map_err(schema::failed(&path))?;
        let has_secrets: bool = conn
            .query_row("SELECT EXISTS(SELECT 1 FROM resource WHERE sealed IS NOT NULL)", [], |row| row.get(0))
            .map_err(schema::failed(&path))?;
        let key_file = dir.join("master.key");
        let keys = match master::load(&key_file)? {
            Some(keys) => keys,
            // A fresh key would not open what is there.
            None if has_secrets => return Err(StoreError::MasterKey),
            None => master::create(&key_file)?,
        };
        let mut catalog = Self { conn, path, keys };
        catalog.seal_anew()?;
        Ok(catalog)
    }

    /// Opens what another process may be writing, to read it.
    pub(super) fn look(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("catalog.db");
        let conn = schema::connect(&path, Access::Read)?;
        schema::check(&path, &conn, schema::FORMAT)?;
        let keys = master::load(&dir.join("master.key"))?.ok_or(StoreError::MasterKey)?;
        Ok(Self { conn, path, keys })
    }

    /// Keeps the file from growing beyond so many pages.
    pub(super) fn cap_pages(&self, pages: Option<u32>) -> Result<(), StoreError> {
        schema::cap(&self.conn, pages).map_err(schema::failed(&self.path))
    }

    /// Works on the tables beside the documents: suppressions, audit log, sessions.
    pub(super) fn beside<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.conn).map_err(schema::failed(&self.path))
    }

    fn seal_anew(&mut self) -> Result<(), StoreError> {
        let failed = schema::failed(&self.path);
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let sealed: Vec<(i64, String, Vec<u8>)> = {
            let mut select = tx.prepare("SELECT number, id, sealed FROM resource WHERE sealed IS NOT NULL").map_err(&failed)?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(&failed)?;
            rows.collect::<rusqlite::Result<_>>().map_err(&failed)?
        };
        for (number, id, sealed) in sealed {
            let (secrets, current) = self.keys.open(&id, &sealed)?;
            if !current {
                let sealed = self.keys.seal(&id, &secrets)?;
                tx.execute("UPDATE resource SET sealed = ?2 WHERE number = ?1", params![number, sealed]).map_err(&failed)?;
            }
        }
        tx.commit().map_err(&failed)
    }

    /// See `Catalog::load`.
    pub(super) fn load(&self) -> Result<Vec<Record>, StoreError> {
        let failed = schema::failed(&self.path);
        let mut select = self.conn.prepare_cached(&select("ORDER BY number")).map_err(&failed)?;
        let rows = select.query_map([], Stored::read).map_err(&failed)?;
        rows.map(|row| row.map_err(&failed)?.open(&self.keys)).collect()
    }

    /// See `Catalog::write`.
    pub(super) fn write(&mut self, changes: Vec<Change>, entries: &[Entry]) -> Result<Vec<Record>, CatalogError> {
        let failed = schema::failed(&self.path);
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let mut records = Vec::with_capacity(changes.len());
        for change in changes {
            let number = match change {
                Change::Create { id, kind, workspace, doc, secrets, at_ms } => {
                    create(&tx, &self.keys, &id, kind, workspace, doc, secrets, at_ms)?
                }
                Change::Update { number, version, doc, secrets, at_ms } => {
                    let stored = living(&tx, number)?;
                    if let Some(expected) = version
                        && expected != stored.version
                    {
                        return Err(CatalogError::Conflict { expected, found: stored.version });
                    }
                    let (doc, sealed) = self.keys.hide(&stored.id, doc, secrets)?;
                    tx.execute(
                        "UPDATE resource SET version = version + 1, updated_ms = ?2, doc = ?3, sealed = ?4 WHERE number = ?1",
                        params![number, at_ms, doc, sealed],
                    )
                    .map_err(&failed)?;
                    number
                }
                Change::Delete { number, at_ms } => {
                    living(&tx, number)?;
                    tx.execute(
                        "UPDATE resource SET version = version + 1, updated_ms = ?2, deleted = 1, sealed = NULL WHERE number = ?1",
                        params![number, at_ms],
                    )
                    .map_err(&failed)?;
                    number
                }
            };
            let stored = stored(&tx, number)?.ok_or(CatalogError::NotFound)?;
            records.push(stored.open(&self.keys)?);
        }
        people::record(&tx, entries, records.first().map(|record| record.workspace)).map_err(&failed)?;
        tx.commit().map_err(&failed)?;
        Ok(records)
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of Change::Create")]
fn create(
    tx: &Transaction<'_>,
    keys: &MasterKeys,
    id: &str,
    kind: Kind,
    workspace: Option<i64>,
    doc: Value,
    secrets: Vec<String>,
    at_ms: i64,
) -> Result<i64, CatalogError> {
    let exists: bool = tx.query_row("SELECT EXISTS(SELECT 1 FROM resource WHERE id = ?1)", [id], |row| row.get(0)).map_err(failed(tx))?;
    if exists {
        return Err(CatalogError::Exists);
    }
    let (doc, sealed) = keys.hide(id, doc, secrets)?;
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO resource(id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed)
             VALUES (?1, ?2, ?3, 1, ?4, ?4, 0, ?5, ?6)",
        )
        .map_err(failed(tx))?;
    let number = insert.insert(params![id, kind.name(), workspace.unwrap_or(0), at_ms, doc, sealed]).map_err(failed(tx))?;
    if workspace.is_none() {
        tx.execute("UPDATE resource SET workspace = number WHERE number = ?1", [number]).map_err(failed(tx))?;
    }
    Ok(number)
}

fn select(rest: &str) -> String {
    format!("SELECT number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed FROM resource {rest}")
}

fn stored(tx: &Transaction<'_>, number: i64) -> Result<Option<Stored>, StoreError> {
    let mut select = tx.prepare_cached(&select("WHERE number = ?1")).map_err(failed(tx))?;
    select.query_row([number], Stored::read).optional().map_err(failed(tx))
}

fn failed(tx: &Transaction<'_>) -> impl Fn(Error) -> StoreError {
    schema::failed(Path::new(tx.path().unwrap_or("catalog.db")))
}

fn living(tx: &Transaction<'_>, number: i64) -> Result<Stored, CatalogError> {
    stored(tx, number)?.filter(|stored| !stored.deleted).ok_or(CatalogError::NotFound)
}

/// A row.
struct Stored {
    number: i64,
    id: String,
    kind: Kind,
    workspace: i64,
    version: i64,
    created_ms: i64,
    updated_ms: i64,
    deleted: bool,
    doc: String,
    sealed: Option<Vec<u8>>,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let kind: String = row.get(2)?;
        let kind = Kind::from_name(&kind).ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, format!("unknown kind of resource {kind}").into())
        })?;
        Ok(Self {
            number: row.get(0)?,
            id: row.get(1)?,
            kind,
            workspace: row.get(3)?,
            version: row.get(4)?,
            created_ms: row.get(5)?,
            updated_ms: row.get(6)?,
            deleted: row.get(7)?,
            doc: row.get(8)?,
            sealed: row.get(9)?,
        })
    }

    /// Puts the secrets back.
    fn open(self, keys: &MasterKeys) -> Result<Record, StoreError> {
        let doc = keys.reveal(&self.id, &self.doc, self.sealed.as_deref())?;
        Ok(Record {
            number: self.number,
            id: self.id,
            kind: self.kind,
            workspace: self.workspace,
            version: self.version,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            deleted: self.deleted,
            doc,
        })
    }
}
