//! Configuration documents, secrets sealed.
//!
//! Every write raises the catalog's version first. So writes follow each other, and whoever knows a version knows whether it has them all.

use posthaste_domain::people::audit::Entry;
use posthaste_domain::resource::Kind;
use serde_json::Value;
use tokio_postgres::Row;

use super::error::{Failure, unknown};
use super::link::Alone;
use super::people;
use super::shared::Shared;
use crate::secrets::MasterKeys;
use crate::{CatalogError, Change, Record, StoreError};

const COLUMNS: &str = "number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed";

impl From<Failure> for CatalogError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.error)
    }
}

/// Seals anew what was sealed under an older master key.
pub(super) async fn seal_anew(tx: &Alone<'_>, keys: &MasterKeys) -> Result<(), StoreError> {
    for row in tx.query("SELECT number, id, sealed FROM posthaste.resource WHERE sealed IS NOT NULL", &[]).await? {
        let (number, id, sealed): (i64, &str, &[u8]) = (row.get(0), row.get(1), row.get(2));
        let (secrets, current) = keys.open(id, sealed)?;
        if !current {
            let again = keys.seal(id, &secrets)?;
            // One that changed meanwhile was sealed under the newest key.
            tx.execute("UPDATE posthaste.resource SET sealed = $2 WHERE number = $1 AND sealed = $3", &[&number, &again, &sealed]).await?;
        }
    }
    Ok(())
}

/// See `Catalog::load`.
pub(super) async fn load(shared: &Shared) -> Result<Vec<Record>, StoreError> {
    let tx = shared.alone().await?;
    let read = tx.query(&format!("SELECT {COLUMNS} FROM posthaste.resource ORDER BY number"), &[]).await;
    let rows = tx.finish(read).await?;
    rows.iter().map(|row| record(row, &shared.options.master_keys)).collect()
}

/// The number of the last write.
pub(super) async fn version(shared: &Shared) -> Result<i64, StoreError> {
    let rows = shared.lane()?.keyed("SELECT value FROM posthaste.counter WHERE name = 'catalog'", &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// See `Catalog::write`.
pub(super) async fn write(shared: &Shared, changes: Vec<Change>, entries: &[Entry]) -> Result<Vec<Record>, CatalogError> {
    let tx = shared.alone().await?;
    let written = write_in(&tx, &shared.options.master_keys, changes, entries).await;
    tx.finish(written).await
}

async fn write_in(tx: &Alone<'_>, keys: &MasterKeys, changes: Vec<Change>, entries: &[Entry]) -> Result<Vec<Record>, CatalogError> {
    tx.execute("UPDATE posthaste.counter SET value = value + 1 WHERE name = 'catalog'", &[]).await?;
    let mut records = Vec::with_capacity(changes.len());
    for change in changes {
        let rows = match change {
            Change::Create { id, kind, workspace, doc, secrets, at_ms } => {
                let (doc, sealed) = keys.hide(&id, doc, secrets)?;
                // A workspace owns itself.
                let sql = format!(
                    "INSERT INTO posthaste.resource(id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed)
                     VALUES ($1, $2, coalesce($3::int8, currval(pg_get_serial_sequence('posthaste.resource', 'number'))), 1, $4, $4, false, $5, $6)
                     ON CONFLICT (id) DO NOTHING RETURNING {COLUMNS}"
                );
                let rows = tx.query(&sql, &[&id, &kind.name(), &workspace, &at_ms, &doc, &sealed]).await?;
                if rows.is_empty() {
                    return Err(CatalogError::Exists);
                }
                rows
            }
            Change::Update { number, version, doc, secrets, at_ms } => {
                let found = tx.query("SELECT id, version FROM posthaste.resource WHERE number = $1 AND NOT deleted", &[&number]).await?;
                let found = found.first().ok_or(CatalogError::NotFound)?;
                let (id, stored): (&str, i64) = (found.get(0), found.get(1));
                if let Some(expected) = version
                    && expected != stored
                {
                    return Err(CatalogError::Conflict { expected, found: stored });
                }
                let (doc, sealed) = keys.hide(id, doc, secrets)?;
                let sql = format!(
                    "UPDATE posthaste.resource SET version = version + 1, updated_ms = $2, doc = $3, sealed = $4
                     WHERE number = $1 RETURNING {COLUMNS}"
                );
                tx.query(&sql, &[&number, &at_ms, &doc, &sealed]).await?
            }
            Change::Delete { number, at_ms } => {
                let sql = format!(
                    "UPDATE posthaste.resource SET version = version + 1, updated_ms = $2, deleted = true, sealed = NULL
                     WHERE number = $1 AND NOT deleted RETURNING {COLUMNS}"
                );
                tx.query(&sql, &[&number, &at_ms]).await?
            }
        };
        records.push(record(rows.first().ok_or(CatalogError::NotFound)?, keys)?);
    }
    people::record(tx, entries, records.first().map(|record| record.workspace)).await?;
    Ok(records)
}

fn record(row: &Row, keys: &MasterKeys) -> Result<Record, StoreError> {
    let (id, doc): (&str, &str) = (row.get(1), row.get(8));
    let doc: Value = keys.reveal(id, doc, row.get(9))?;
    Ok(Record {
        number: row.get(0),
        id: id.to_owned(),
        kind: Kind::from_name(row.get(2)).ok_or_else(|| unknown("kind of resource"))?,
        workspace: row.get(3),
        version: row.get(4),
        created_ms: row.get(5),
        updated_ms: row.get(6),
        deleted: row.get(7),
        doc,
    })
}
