//! The audit log and the sessions in `catalog.db`.

use posthaste_domain::people::audit::{Action, Entry};
use posthaste_domain::people::{Actor, Session};
use rusqlite::types::{ToSqlOutput, Type, Value as Sql};
use rusqlite::{Connection, Error, Row, params, params_from_iter};

use crate::catalog::{AuditFilter, AuditRecord};

/// Added to catalogs of older releases at their first start with this one; older releases leave them alone.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS audit(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  workspace INTEGER NOT NULL,      -- resource.number
  at_ms INTEGER NOT NULL,
  actor_kind TEXT NOT NULL,        -- server, key, member
  actor_id TEXT,
  actor_label TEXT NOT NULL,       -- description of the key or name of the member at that time
  action TEXT NOT NULL,
  kind TEXT NOT NULL,              -- resource.kind, or session
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  fields TEXT NOT NULL             -- JSON: what changed, without secrets
);
CREATE INDEX IF NOT EXISTS audit_workspace ON audit(workspace, number);
CREATE INDEX IF NOT EXISTS audit_time ON audit(at_ms);
CREATE TABLE IF NOT EXISTS session(
  id TEXT PRIMARY KEY,
  token_hash TEXT NOT NULL UNIQUE, -- SHA-256 in hex; the token itself is nowhere
  member TEXT NOT NULL,            -- resource.id
  user_agent TEXT NOT NULL,
  ip TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL
) WITHOUT ROWID;
";

/// Adds entries; `made` is the workspace that entries without one are of.
pub(super) fn record(conn: &Connection, entries: &[Entry], made: Option<i64>) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO audit(workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for entry in entries {
        let fields = serde_json::to_string(&entry.fields).map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
        insert.execute(params![
            entry.workspace.or(made).unwrap_or(0),
            entry.at_ms,
            entry.actor.kind(),
            entry.actor.id(),
            entry.actor.label(),
            entry.action.name(),
            entry.kind,
            entry.id,
            entry.name,
            fields
        ])?;
    }
    Ok(())
}

/// See `Catalog::audit`.
pub(super) fn list(
    conn: &Connection,
    workspace: i64,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<AuditRecord>> {
    let mut sql = "SELECT number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields
                   FROM audit WHERE workspace = ?"
        .to_owned();
    let mut values: Vec<ToSqlOutput<'_>> = vec![workspace.into()];
    let mut and = |condition: &str, value: ToSqlOutput<'static>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    let text = |text: &String| ToSqlOutput::Owned(Sql::Text(text.clone()));
    if let Some(before) = before {
        and("number < ?", before.into());
    }
    if let Some(kind) = &filter.kind {
        and("kind = ?", text(kind));
    }
    if let Some(actor) = &filter.actor {
        // The server has no id.
        and("ifnull(actor_id, actor_kind) = ?", text(actor));
    }
    if let Some(action) = filter.action {
        and("action = ?", ToSqlOutput::Owned(Sql::Text(action.name().to_owned())));
    }
    if let Some(id) = &filter.id {
        and("id = ?", text(id));
    }
    if let Some(from_ms) = filter.from_ms {
        and("at_ms >= ?", from_ms.into());
    }
    if let Some(to_ms) = filter.to_ms {
        and("at_ms < ?", to_ms.into());
    }
    sql.push_str(" ORDER BY number DESC LIMIT ?");
    values.push(super::sql_count(limit).into());
    let mut select = conn.prepare_cached(&sql)?;
    select.query_map(params_from_iter(values), read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let unknown =
        |column: usize, what: &str| Error::FromSqlConversionFailure(column, Type::Text, format!("unknown {what} in the audit log").into());
    let (kind, action, fields): (String, String, String) = (row.get(3)?, row.get(6)?, row.get(10)?);
    let entry = Entry {
        at_ms: row.get(2)?,
        workspace: Some(row.get(1)?),
        actor: Actor::from_parts(&kind, row.get(4)?, row.get(5)?).ok_or_else(|| unknown(3, "actor"))?,
        action: Action::from_name(&action).ok_or_else(|| unknown(6, "action"))?,
        kind: row.get(7)?,
        id: row.get(8)?,
        name: row.get(9)?,
        fields: serde_json::from_str(&fields).map_err(|_| unknown(10, "fields"))?,
    };
    Ok(AuditRecord { number: row.get(0)?, entry })
}

/// See `Catalog::drop_audit`.
pub(super) fn drop_before(conn: &Connection, before_ms: i64) -> rusqlite::Result<usize> {
    conn.prepare_cached("DELETE FROM audit WHERE at_ms < ?1")?.execute([before_ms])
}

/// See `Catalog::sessions`.
pub(super) fn sessions(conn: &Connection) -> rusqlite::Result<Vec<Session>> {
    let mut select = conn.prepare_cached("SELECT id, token_hash, member, user_agent, ip, created_ms, seen_ms FROM session")?;
    let read = |row: &Row<'_>| {
        Ok(Session {
            id: row.get(0)?,
            token_hash: row.get(1)?,
            member: row.get(2)?,
            user_agent: row.get(3)?,
            ip: row.get(4)?,
            created_ms: row.get(5)?,
            seen_ms: row.get(6)?,
        })
    };
    select.query_map([], read)?.collect()
}

/// See `Catalog::put_session`.
pub(super) fn put_session(conn: &Connection, session: &Session) -> rusqlite::Result<()> {
    let mut put = conn.prepare_cached(
        "INSERT INTO session(id, token_hash, member, user_agent, ip, created_ms, seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT(id) DO UPDATE SET seen_ms = ?7",
    )?;
    let Session { id, token_hash, member, user_agent, ip, created_ms, seen_ms } = session;
    put.execute(params![id, token_hash, member, user_agent, ip, created_ms, seen_ms])?;
    Ok(())
}

/// See `Catalog::end_sessions`.
pub(super) fn end_sessions(conn: &Connection, ids: &[String], entries: &[Entry]) -> rusqlite::Result<()> {
    // Dropped without a commit, it rolls back.
    let tx = conn.unchecked_transaction()?;
    for id in ids {
        tx.prepare_cached("DELETE FROM session WHERE id = ?1")?.execute([id])?;
    }
    record(&tx, entries, None)?;
    tx.commit()
}
