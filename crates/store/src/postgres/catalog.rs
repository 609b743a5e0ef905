//! Configuration documents, secrets sealed.
//!
//! Every write raises the catalog's version first. So writes follow each other, and whoever knows a version knows whether it has them all.

use async_trait::async_trait;
use posthaste_domain::people::audit::Entry;
use posthaste_domain::resource::Kind;
use serde_json::Value;
use tokio_postgres::Row;

use super::error::{Failure, unknown};
use super::link::Alone;
use super::listen::Bell;
use super::nodes;
use super::people;
use super::shared::Shared;
use crate::secrets::MasterKeys;
use crate::{CatalogError, CatalogNews, Change, Pen, Record, StoreError};

const COLUMNS: &str = "number, id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed";

impl From<Failure> for CatalogError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.error)
    }
}

/// What the seal of the master key is bound to.
const SEAL: &str = "posthaste";

/// Refuses other master keys than those that the database was made with, and seals anew what was sealed under an older one.
pub(super) async fn seal_anew(tx: &Alone, keys: &MasterKeys) -> Result<(), StoreError> {
    match tx.query("SELECT sealed FROM posthaste.seal", &[]).await?.first().map(|row| keys.open(SEAL, row.get(0))).transpose()? {
        Some((_, true)) => {}
        _ => {
            let sealed = keys.seal(SEAL, b"")?;
            tx.execute("DELETE FROM posthaste.seal", &[]).await?;
            tx.execute("INSERT INTO posthaste.seal VALUES ($1)", &[&sealed]).await?;
        }
    }
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

/// Begins a change: nobody else changes anything until the transaction ends. Answers the version with it.
pub(super) async fn begin(tx: &Alone) -> Result<i64, Failure> {
    let sql = "UPDATE posthaste.counter SET value = value + 1 WHERE name = 'catalog' RETURNING value";
    tx.query(sql, &[]).await?.first().map(|row| row.get(0)).ok_or_else(|| unknown("counter"))
}

/// What changed since a version, up to one that this transaction knows.
pub(super) async fn news(tx: &Alone, keys: &MasterKeys, known: i64) -> Result<CatalogNews, StoreError> {
    let counters = "SELECT name, value FROM posthaste.counter WHERE name IN ('catalog', 'session')";
    let mut news = CatalogNews::default();
    for row in tx.query(counters, &[]).await? {
        match row.get(0) {
            "catalog" => news.version = row.get(1),
            _ => news.sessions = row.get::<_, i64>(1) > known,
        }
    }
    let changed = format!("SELECT {COLUMNS} FROM posthaste.resource WHERE changed > $1 ORDER BY changed, number");
    for row in tx.query(&changed, &[&known]).await? {
        news.records.push(record(&row, keys)?);
    }
    Ok(news)
}

/// The right to change the catalog, as a transaction that has begun to.
pub(super) struct PostgresPen {
    tx: Alone,
    node: i64,
    keys: MasterKeys,
    version: i64,
    news: CatalogNews,
}

/// See `Cluster::pen`.
pub(super) async fn pen(shared: &Shared, known: i64) -> Result<PostgresPen, StoreError> {
    let tx = shared.alone().await?;
    let keys = shared.options.master_keys.clone();
    let begun = async {
        // All others wait for it: whoever freezes with it loses it before it is taken for gone.
        tx.script("SET LOCAL idle_in_transaction_session_timeout=2000").await?;
        let version = begin(&tx).await?;
        let mut news = news(&tx, &keys, known).await?;
        // The one that has begun here may come to nothing.
        news.version = version - 1;
        Ok::<_, StoreError>((version, news))
    };
    match begun.await {
        Ok((version, news)) => Ok(PostgresPen { tx, node: shared.identity.node, keys, version, news }),
        Err(error) => tx.finish(Err(error)).await,
    }
}

#[async_trait]
impl Pen for PostgresPen {
    fn news(&mut self) -> CatalogNews {
        std::mem::take(&mut self.news)
    }

    async fn write(self: Box<Self>, changes: Vec<Change>, entries: Vec<Entry>) -> Result<(i64, Vec<Record>), CatalogError> {
        let Self { tx, node, keys, version, .. } = *self;
        let written = write_in(&tx, node, &keys, version, changes, &entries).await;
        Ok((version, tx.finish(written).await?))
    }

    async fn put_back(self: Box<Self>) {
        // Undone in any case.
        self.tx.finish(Err::<(), _>(Failure::other(StoreError::Closed))).await.ok();
    }
}

/// See `Catalog::write`.
pub(super) async fn write(shared: &Shared, changes: Vec<Change>, entries: &[Entry]) -> Result<Vec<Record>, CatalogError> {
    let tx = shared.alone().await?;
    let written = async {
        let version = begin(&tx).await?;
        write_in(&tx, shared.identity.node, &shared.options.master_keys, version, changes, entries).await
    };
    let written = written.await;
    tx.finish(written).await
}

/// Says that sessions changed, in a change that has begun.
pub(super) async fn sessions_changed(tx: &Alone) -> Result<(), Failure> {
    let version = begin(tx).await?;
    tx.execute("UPDATE posthaste.counter SET value = $1 WHERE name = 'session'", &[&version]).await?;
    tx.script(Bell::News.ring()).await
}

async fn write_in(
    tx: &Alone,
    node: i64,
    keys: &MasterKeys,
    catalog: i64,
    changes: Vec<Change>,
    entries: &[Entry],
) -> Result<Vec<Record>, CatalogError> {
    let mut records = Vec::with_capacity(changes.len());
    for change in changes {
        let rows = match change {
            Change::Create { id, kind, workspace, doc, secrets, at_ms } => {
                let (doc, sealed) = keys.hide(&id, doc, secrets)?;
                // A workspace owns itself.
                let sql = format!(
                    "INSERT INTO posthaste.resource(id, kind, workspace, version, created_ms, updated_ms, deleted, doc, sealed, changed)
                     VALUES ($1, $2, coalesce($3::int8, currval(pg_get_serial_sequence('posthaste.resource', 'number'))), 1, $4, $4, false, $5, $6, $7)
                     ON CONFLICT (id) DO NOTHING RETURNING {COLUMNS}"
                );
                let rows = tx.query(&sql, &[&id, &kind.name(), &workspace, &at_ms, &doc, &sealed, &catalog]).await?;
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
                    "UPDATE posthaste.resource SET version = version + 1, updated_ms = $2, doc = $3, sealed = $4, changed = $5
                     WHERE number = $1 RETURNING {COLUMNS}"
                );
                tx.query(&sql, &[&number, &at_ms, &doc, &sealed, &catalog]).await?
            }
            Change::Delete { number, at_ms } => {
                let sql = format!(
                    "UPDATE posthaste.resource SET version = version + 1, updated_ms = $2, deleted = true, sealed = NULL, changed = $3
                     WHERE number = $1 AND NOT deleted RETURNING {COLUMNS}"
                );
                tx.query(&sql, &[&number, &at_ms, &catalog]).await?
            }
        };
        records.push(record(rows.first().ok_or(CatalogError::NotFound)?, keys)?);
    }
    people::record(tx, entries, records.first().map(|record| record.workspace)).await?;
    tx.script(Bell::News.ring()).await?;
    // Last, because the node's heartbeat waits for it.
    nodes::living(tx, node).await?;
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
