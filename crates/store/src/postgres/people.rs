//! The audit log and the sessions.

use posthaste_domain::people::audit::{Action, Entry};
use posthaste_domain::people::{Actor, Session};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::catalog;
use super::error::{Failure, unknown};
use super::link::Alone;
use super::words::{put, take};
use crate::{AuditFilter, AuditRecord};

/// Adds entries; `made` is the workspace that entries without one are of.
pub(super) async fn record(tx: &Alone, entries: &[Entry], made: Option<i64>) -> Result<(), Failure> {
    let sql = "INSERT INTO posthaste.audit(workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    for entry in entries {
        let fields = serde_json::to_string(&entry.fields).expect("fields are plain strings");
        let actor_id = entry.actor.id().map(put);
        let values: [&(dyn ToSql + Sync); 10] = [
            &entry.workspace.or(made).unwrap_or(0),
            &entry.at_ms,
            &entry.actor.kind(),
            &actor_id,
            &put(entry.actor.label()),
            &entry.action.name(),
            &put(&entry.kind),
            &put(&entry.id),
            &put(&entry.name),
            &fields,
        ];
        tx.execute(sql, &values).await?;
    }
    Ok(())
}

/// See `Catalog::audit`.
pub(super) async fn list(
    tx: &Alone,
    workspace: i64,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<AuditRecord>, Failure> {
    // The server has no id.
    let sql = "SELECT number, workspace, at_ms, actor_kind, actor_id, actor_label, action, kind, id, name, fields FROM posthaste.audit
               WHERE workspace = $1 AND number < $2 AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR coalesce(actor_id, actor_kind) = $4)
                 AND ($5::text IS NULL OR action = $5) AND ($6::text IS NULL OR id = $6)
                 AND ($7::int8 IS NULL OR at_ms >= $7) AND ($8::int8 IS NULL OR at_ms < $8)
               ORDER BY number DESC LIMIT $9";
    let (kind, actor, id) = (filter.kind.as_deref().map(put), filter.actor.as_deref().map(put), filter.id.as_deref().map(put));
    let values: [&(dyn ToSql + Sync); 9] = [
        &workspace,
        &before.unwrap_or(i64::MAX),
        &kind,
        &actor,
        &filter.action.map(Action::name),
        &id,
        &filter.from_ms,
        &filter.to_ms,
        &i64::try_from(limit).unwrap_or(i64::MAX),
    ];
    tx.query(sql, &values).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<AuditRecord, Failure> {
    let text = |place: usize| take(row.get(place)).into_owned();
    let actor_id = row.get::<_, Option<&str>>(4).map(|id| take(id).into_owned());
    let entry = Entry {
        at_ms: row.get(2),
        workspace: Some(row.get(1)),
        actor: Actor::from_parts(row.get(3), actor_id, text(5)).ok_or_else(|| unknown("actor in the audit log"))?,
        action: Action::from_name(row.get(6)).ok_or_else(|| unknown("action in the audit log"))?,
        kind: text(7),
        id: text(8),
        name: text(9),
        fields: serde_json::from_str(row.get(10)).map_err(|_| unknown("fields in the audit log"))?,
    };
    Ok(AuditRecord { number: row.get(0), entry })
}

/// See `Catalog::drop_audit`.
pub(super) async fn drop_before(tx: &Alone, before_ms: i64) -> Result<usize, Failure> {
    let dropped = tx.execute("DELETE FROM posthaste.audit WHERE at_ms < $1", &[&before_ms]).await?;
    Ok(usize::try_from(dropped).unwrap_or(usize::MAX))
}

/// See `Catalog::sessions`.
pub(super) async fn sessions(tx: &Alone) -> Result<Vec<Session>, Failure> {
    let rows = tx.query("SELECT id, token_hash, member, user_agent, ip, created_ms, seen_ms FROM posthaste.session", &[]).await?;
    let session = |row: &Row| {
        let text = |place: usize| take(row.get(place)).into_owned();
        Session {
            id: text(0),
            token_hash: text(1),
            member: text(2),
            user_agent: text(3),
            ip: text(4),
            created_ms: row.get(5),
            seen_ms: row.get(6),
        }
    };
    Ok(rows.iter().map(session).collect())
}

/// See `Catalog::put_session`.
pub(super) async fn put_session(tx: &Alone, session: &Session) -> Result<(), Failure> {
    let sql =
        "INSERT INTO posthaste.session(id, token_hash, member, user_agent, ip, created_ms, seen_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms";
    let Session { id, token_hash, member, user_agent, ip, created_ms, seen_ms } = session;
    let values: [&(dyn ToSql + Sync); 7] = [&put(id), &put(token_hash), &put(member), &put(user_agent), &put(ip), created_ms, seen_ms];
    tx.execute(sql, &values).await?;
    catalog::sessions_changed(tx).await
}

/// See `Catalog::end_sessions`.
pub(super) async fn end_sessions(tx: &Alone, ids: &[String], entries: &[Entry]) -> Result<(), Failure> {
    let ids: Vec<_> = ids.iter().map(|id| put(id)).collect();
    tx.execute("DELETE FROM posthaste.session WHERE id = ANY($1)", &[&ids]).await?;
    catalog::sessions_changed(tx).await?;
    record(tx, entries, None).await
}
