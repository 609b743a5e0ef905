//! The table of suppressions in `catalog.db`.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::suppressions::{Suppression, SuppressionReason};

/// Added to catalogs of older releases at their first start with this one; older releases leave it alone.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS suppression(
  workspace INTEGER NOT NULL,      -- resource.number
  scope TEXT NOT NULL,             -- a mail domain, 'sms', or 'sms:' and a sender
  address TEXT NOT NULL,           -- in lower case, as the scope
  reason TEXT NOT NULL,            -- bounce, unsubscribe, complaint
  at_ms INTEGER NOT NULL,
  PRIMARY KEY(workspace, scope, address)
) WITHOUT ROWID;
";

/// See `Suppressions::suppress`.
pub(super) fn put(conn: &Connection, workspace: i64, suppression: &Suppression) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO suppression(workspace, scope, address, reason, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT(workspace, scope, address) DO UPDATE SET reason = ?4",
    )?;
    let (scope, address) = (suppression.scope.to_lowercase(), suppression.address.to_lowercase());
    insert.execute(params![workspace, scope, address, suppression.reason.name(), suppression.at_ms])?;
    Ok(())
}

/// See `Suppressions::suppressed`.
pub(super) fn find(
    conn: &Connection,
    workspace: i64,
    scopes: &[String],
    addresses: &[String],
) -> rusqlite::Result<Vec<Option<Suppression>>> {
    let mut select =
        conn.prepare_cached("SELECT scope, address, reason, at_ms FROM suppression WHERE workspace = ?1 AND scope = ?2 AND address = ?3")?;
    let mut found = Vec::with_capacity(addresses.len());
    for address in addresses {
        let mut one = None;
        for scope in scopes {
            one = select.query_row(params![workspace, scope.to_lowercase(), address.to_lowercase()], read).optional()?;
            if one.is_some() {
                break;
            }
        }
        found.push(one);
    }
    Ok(found)
}

/// See `Suppressions::suppressions`.
pub(super) fn list(
    conn: &Connection,
    workspace: i64,
    scope: Option<&str>,
    after: Option<&(String, String)>,
    limit: usize,
) -> rusqlite::Result<Vec<Suppression>> {
    let (after_scope, after_address) = after.map_or(("", ""), |(scope, address)| (scope.as_str(), address.as_str()));
    let limit = super::sql_count(limit);
    match scope {
        Some(scope) => {
            // Behind an address of another scope means behind nothing or behind everything of this one.
            let scope = scope.to_lowercase();
            let after_address = match after_scope.cmp(&scope) {
                std::cmp::Ordering::Less => "",
                std::cmp::Ordering::Equal => after_address,
                std::cmp::Ordering::Greater => return Ok(Vec::new()),
            };
            let mut select = conn.prepare_cached(
                "SELECT scope, address, reason, at_ms FROM suppression
                 WHERE workspace = ?1 AND scope = ?2 AND address > ?3 ORDER BY address LIMIT ?4",
            )?;
            select.query_map(params![workspace, scope, after_address, limit], read)?.collect()
        }
        None => {
            let mut select = conn.prepare_cached(
                "SELECT scope, address, reason, at_ms FROM suppression
                 WHERE workspace = ?1 AND (scope, address) > (?2, ?3) ORDER BY scope, address LIMIT ?4",
            )?;
            select.query_map(params![workspace, after_scope, after_address, limit], read)?.collect()
        }
    }
}

/// See `Suppressions::unsuppress`.
pub(super) fn remove(conn: &Connection, workspace: i64, scope: &str, address: &str) -> rusqlite::Result<bool> {
    let mut delete = conn.prepare_cached("DELETE FROM suppression WHERE workspace = ?1 AND scope = ?2 AND address = ?3")?;
    Ok(delete.execute(params![workspace, scope.to_lowercase(), address.to_lowercase()])? > 0)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Suppression> {
    let reason: String = row.get(2)?;
    let reason = SuppressionReason::from_name(&reason).ok_or_else(|| {
        let text = format!("unknown reason of a suppression {reason}");
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, text.into())
    })?;
    Ok(Suppression { scope: row.get(0)?, address: row.get(1)?, reason, at_ms: row.get(3)? })
}
