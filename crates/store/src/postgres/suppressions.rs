//! Addresses that nothing more is sent to.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::append::HOLD;
use super::error::{Failure, unknown};
use super::link::{BEGIN_KEYED, Conn};
use super::nodes::Identity;
use super::words::{put, take};
use crate::{Suppression, SuppressionReason};

/// As it is stored: in lower case.
fn stored(text: &str) -> String {
    put(&text.to_lowercase()).into_owned()
}

/// See `Suppressions::suppress`.
pub(super) async fn suppress(conn: &Conn, own: Identity, workspace: i64, suppression: &Suppression) -> Result<(), Failure> {
    let sql = "INSERT INTO posthaste.suppression(workspace, scope, address, reason, at_ms) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (workspace, scope, address) DO UPDATE SET reason = excluded.reason";
    let (scope, address) = (stored(&suppression.scope), stored(&suppression.address));
    change(conn, own, sql, &[&workspace, &scope, &address, &suppression.reason.name(), &suppression.at_ms]).await.map(drop)
}

/// See `Suppressions::suppressed`.
pub(super) async fn find(
    conn: &Conn,
    workspace: i64,
    scopes: &[String],
    addresses: &[String],
) -> Result<Vec<Option<Suppression>>, Failure> {
    let scopes: Vec<String> = scopes.iter().map(|scope| stored(scope)).collect();
    let addresses: Vec<String> = addresses.iter().map(|address| stored(address)).collect();
    let sql = "SELECT s.scope, s.address, s.reason, s.at_ms FROM unnest($2::text[]) AS i(scope) CROSS JOIN unnest($3::text[]) AS j(address)
               JOIN posthaste.suppression s ON s.workspace = $1 AND s.scope = i.scope AND s.address = j.address";
    let mut found = HashMap::new();
    for row in conn.keyed(sql, &[&workspace, &scopes, &addresses]).await? {
        found.insert((row.get::<_, String>(0), row.get::<_, String>(1)), read(&row)?);
    }
    let first = |address: &String| scopes.iter().find_map(|scope| found.get(&(scope.clone(), address.clone())).cloned());
    Ok(addresses.iter().map(first).collect())
}

/// See `Suppressions::suppressions`.
pub(super) async fn list(
    conn: &Conn,
    workspace: i64,
    scope: Option<&str>,
    after: Option<&(String, String)>,
    limit: usize,
) -> Result<Vec<Suppression>, Failure> {
    let (after_scope, after_address) = after.map_or(("", ""), |(scope, address)| (scope.as_str(), address.as_str()));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let scope = scope.map(stored);
    let sql = "SELECT scope, address, reason, at_ms FROM posthaste.suppression
               WHERE workspace = $1 AND (scope, address) > ($2, $3) AND scope <= coalesce($4, scope) AND scope >= coalesce($4, scope)
               ORDER BY scope, address LIMIT $5";
    // Of one scope, nothing comes before it.
    let (after_scope, after_address) = match &scope {
        Some(scope) if after_scope < scope.as_str() => (scope.as_str(), ""),
        _ => (after_scope, after_address),
    };
    let rows = conn.keyed(sql, &[&workspace, &put(after_scope), &put(after_address), &scope, &limit]).await?;
    rows.iter().map(read).collect()
}

/// See `Suppressions::unsuppress`.
pub(super) async fn remove(conn: &Conn, own: Identity, workspace: i64, scope: &str, address: &str) -> Result<bool, Failure> {
    let sql = "DELETE FROM posthaste.suppression WHERE workspace = $1 AND scope = $2 AND address = $3 RETURNING 1";
    Ok(!change(conn, own, sql, &[&workspace, &stored(scope), &stored(address)]).await?.is_empty())
}

/// A statement of a node that others do not take for gone.
async fn change(conn: &Conn, own: Identity, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
    let (hold, statement) = (conn.prepare(HOLD).await?, conn.prepare(sql).await?);
    let answers = conn.transaction(BEGIN_KEYED, &[(hold, vec![&own.stream, &own.node]), (statement, values.to_vec())]).await;
    Ok(answers?.pop().unwrap_or_default())
}

fn read(row: &Row) -> Result<Suppression, Failure> {
    let reason = SuppressionReason::from_name(row.get(2)).ok_or_else(|| unknown("reason of a suppression"))?;
    Ok(Suppression { scope: take(row.get(0)).into_owned(), address: take(row.get(1)).into_owned(), reason, at_ms: row.get(3) })
}
