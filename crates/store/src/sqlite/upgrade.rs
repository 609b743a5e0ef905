//! Brings the segments of earlier releases up to the present format.
//!
//! Format 1 had an index row for each order in which events and deliveries are listed, and states without an offset. Its first attempts
//! stay where they are, among the others. All of the change is one transaction: a segment has the one format or the other.

use rusqlite::{Connection, TransactionBehavior};

use super::schema::{self, INDEXES};

const FROM_1: &str = "
DROP VIEW log;
DROP INDEX event_workspace;
DROP INDEX event_type;
DROP INDEX lane;
DROP INDEX waiting;
DROP INDEX outcome;
UPDATE delivery SET state = state + 2;
";

/// The last block of events may still grow: its count is left open.
const MARKS: &str = "
INSERT INTO mark(epoch, kind, a, b, at) SELECT DISTINCT sequence >> 12, 0, workspace, 0, sequence & ~127 FROM event;
INSERT INTO mark(epoch, kind, a, b, at, count)
  SELECT sequence >> 12, 1, workspace, ifnull(type, 0), sequence & ~127, count(*) FROM event GROUP BY 1, 2, 3, 4, 5;
UPDATE mark SET count = NULL WHERE kind = 1 AND at = (SELECT max(sequence) & ~127 FROM event);
INSERT OR IGNORE INTO mark(epoch, kind, a, b, at)
  SELECT key >> 32, 2, workspace, state, iif(key & 1048575 < 16, (key >> 20 & ~127) << 20, key & ~15) FROM delivery WHERE state >= 4;
INSERT OR IGNORE INTO mark(epoch, kind, a, b, at)
  SELECT key >> 32, 3, target, state, iif(key & 1048575 < 16, (key >> 20 & ~127) << 20, key & ~15) FROM delivery WHERE state >= 4;
INSERT INTO name SELECT DISTINCT kind, a, b FROM mark;
";

/// Changes a segment of format 1; one of the present format is left as it is.
pub(super) fn segment(conn: &mut Connection) -> rusqlite::Result<()> {
    if schema::meta_value(conn, "format")? != Some(1) {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(FROM_1)?;
    tx.execute_batch(INDEXES)?;
    tx.execute_batch(MARKS)?;
    tx.execute("UPDATE meta SET value = ?1 WHERE name = 'format'", [schema::FORMAT])?;
    tx.commit()
}
