//! Requests that bins caught.

use bytes::Bytes;

use super::error::{Failure, unknown};
use super::link::Alone;
use super::words::{put, take};
use crate::{BinRequest, BinRoom, WhenFull};

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// See `Bins::put`. The bin's row is locked first, so requests of one bin follow each other on all nodes.
pub(super) async fn put_request(tx: &Alone, bin: i64, request: &BinRequest, room: BinRoom) -> Result<Option<i64>, Failure> {
    let lock = "INSERT INTO posthaste.bin AS b (bin, last) VALUES ($1, 0) ON CONFLICT (bin) DO UPDATE SET last = b.last RETURNING last";
    let number = tx.query(lock, &[&bin]).await?[0].get::<_, i64>(0) + 1;
    if room.when_full == WhenFull::Refuse {
        let held: i64 = tx.query("SELECT count(*) FROM posthaste.request WHERE bin = $1", &[&bin]).await?[0].get(0);
        if held >= count(room.requests) {
            return Ok(None);
        }
    }
    tx.execute("UPDATE posthaste.bin SET last = $2 WHERE bin = $1", &[&bin, &number]).await?;
    let headers = serde_json::to_string(&request.headers).expect("headers are plain strings");
    let ip = request.ip.as_deref().map(put);
    tx.execute(
        "INSERT INTO posthaste.request(bin, number, at_ms, method, target, headers, body, ip) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[&bin, &number, &request.at_ms, &put(&request.method), &put(&request.target), &headers, &&request.body[..], &ip],
    )
    .await?;
    if room.when_full == WhenFull::Refuse {
        return Ok(Some(number));
    }
    let oldest = number.saturating_sub(count(room.requests.max(1)));
    tx.execute("DELETE FROM posthaste.request WHERE bin = $1 AND number <= $2", &[&bin, &oldest]).await?;
    // The sum runs from the newest on: the first request that does not fit goes, and all older ones with it.
    let too_much = "DELETE FROM posthaste.request WHERE bin = $1 AND number < $2 AND number <= (
         SELECT max(number) FROM (
           SELECT number, sum(octet_length(body) + octet_length(headers) + octet_length(target)) OVER (ORDER BY number DESC) AS total
           FROM posthaste.request WHERE bin = $1) sums
         WHERE total > $3)";
    tx.execute(too_much, &[&bin, &number, &i64::try_from(room.bytes).unwrap_or(i64::MAX)]).await?;
    Ok(Some(number))
}

/// See `Bins::list`.
pub(super) async fn list(tx: &Alone, bin: i64, before: Option<i64>, limit: usize) -> Result<Vec<BinRequest>, Failure> {
    let sql = "SELECT number, at_ms, method, target, headers, body, ip FROM posthaste.request
               WHERE bin = $1 AND number < $2 ORDER BY number DESC LIMIT $3";
    let rows = tx.query(sql, &[&bin, &before.unwrap_or(i64::MAX), &count(limit)]).await?;
    rows.iter().map(request).collect()
}

/// Reads `number, at_ms, method, target, headers, body, ip`.
pub(super) fn request(row: &tokio_postgres::Row) -> Result<BinRequest, Failure> {
    Ok(BinRequest {
        number: row.get(0),
        at_ms: row.get(1),
        method: take(row.get(2)).into_owned(),
        target: take(row.get(3)).into_owned(),
        headers: serde_json::from_str(row.get(4)).map_err(|_| unknown("headers of a request"))?,
        body: Bytes::copy_from_slice(row.get(5)),
        ip: row.get::<_, Option<&str>>(6).map(|ip| take(ip).into_owned()),
    })
}

/// See `Bins::clear`.
pub(super) async fn clear(tx: &Alone, bin: i64) -> Result<(), Failure> {
    tx.execute("DELETE FROM posthaste.request WHERE bin = $1", &[&bin]).await?;
    Ok(())
}
