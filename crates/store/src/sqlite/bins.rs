//! `bins.db`: requests that bins caught.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::schema::{self, Access};
use crate::StoreError;
use crate::history::{BinRequest, BinRoom, WhenFull};

/// The open file.
pub(super) struct BinsDb {
    conn: Connection,
    path: PathBuf,
}

impl BinsDb {
    /// Opens `bins.db` in a directory, creating it at the first start.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("bins.db");
        let mut conn = schema::create(&path, Access::WriteRelaxed)?;
        schema::prepare(&path, &mut conn, schema::BINS, &[])?;
        Ok(Self { conn, path })
    }

    /// Works on the tables.
    pub(super) fn beside<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.conn).map_err(schema::failed(&self.path))
    }

    /// See `Bins::put`.
    pub(super) fn put(&mut self, bin: i64, request: &BinRequest, room: BinRoom) -> Result<Option<i64>, StoreError> {
        let headers = serde_json::to_string(&request.headers).expect("headers are plain strings");
        let failed = schema::failed(&self.path);
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let number = (|| {
            if room.when_full == WhenFull::Refuse {
                let held: i64 = tx.prepare_cached("SELECT count(*) FROM request WHERE bin = ?1")?.query_row([bin], |row| row.get(0))?;
                if held >= super::sql_count(room.requests) {
                    return Ok(None);
                }
            }
            let number: i64 = tx
                .prepare_cached("INSERT INTO bin(bin, last) VALUES (?1, 1) ON CONFLICT(bin) DO UPDATE SET last = last + 1 RETURNING last")?
                .query_row([bin], |row| row.get(0))?;
            tx.prepare_cached(
                "INSERT INTO request(bin, number, at_ms, method, target, headers, body, ip) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                bin,
                number,
                request.at_ms,
                request.method,
                request.target,
                headers,
                &request.body[..],
                request.ip
            ])?;
            if room.when_full == WhenFull::Refuse {
                return Ok(Some(number));
            }
            let oldest = number.saturating_sub(i64::try_from(room.requests.max(1)).unwrap_or(i64::MAX));
            tx.prepare_cached("DELETE FROM request WHERE bin = ?1 AND number <= ?2")?.execute((bin, oldest))?;
            // The sum runs from the newest on: the first request that does not fit goes, and all older ones with it.
            tx.prepare_cached(
                "DELETE FROM request WHERE bin = ?1 AND number < ?2 AND number <= (
                   SELECT max(number) FROM (
                     SELECT number, sum(length(body) + octet_length(headers) + octet_length(target)) OVER (ORDER BY number DESC) AS total
                     FROM request WHERE bin = ?1)
                   WHERE total > ?3)",
            )?
            .execute((bin, number, i64::try_from(room.bytes).unwrap_or(i64::MAX)))?;
            Ok(Some(number))
        })()
        .map_err(&failed)?;
        tx.commit().map_err(&failed)?;
        Ok(number)
    }

    /// See `Bins::list`.
    pub(super) fn list(&self, bin: i64, before: Option<i64>, limit: usize) -> Result<Vec<BinRequest>, StoreError> {
        let failed = schema::failed(&self.path);
        let mut select = self
            .conn
            .prepare_cached(
                "SELECT number, at_ms, method, target, headers, body, ip FROM request
                 WHERE bin = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
            )
            .map_err(&failed)?;
        let rows = select.query_map(params![bin, before.unwrap_or(i64::MAX), super::sql_count(limit)], request).map_err(&failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(&failed)
    }

    /// See `Bins::clear`.
    pub(super) fn clear(&self, bin: i64) -> Result<(), StoreError> {
        self.conn.execute("DELETE FROM request WHERE bin = ?1", [bin]).map_err(schema::failed(&self.path))?;
        Ok(())
    }
}

/// Reads `number, at_ms, method, target, headers, body, ip`.
pub(super) fn request(row: &Row<'_>) -> rusqlite::Result<BinRequest> {
    let headers: String = row.get(4)?;
    let headers = serde_json::from_str(&headers)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, error.into()))?;
    Ok(BinRequest {
        number: row.get(0)?,
        at_ms: row.get(1)?,
        method: row.get(2)?,
        target: row.get(3)?,
        headers,
        body: row.get::<_, Vec<u8>>(5)?.into(),
        ip: row.get(6)?,
    })
}
