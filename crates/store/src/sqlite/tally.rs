//! How many events of each workspace and type a segment has.
//!
//! All segments have it in memory. A sealed one has it on disk as well, in `tally`, because it does not change any more: a start then need not
//! count. Of the one that is appended to, a start adds up the marks.
//!
//! A tally on disk is complete, or it is not there: its row of workspace 0, which no workspace is, is written with the others.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::about::COUNT_BLOCK;
use super::marks::BLOCK;
use super::sql_count;

/// Pairs of a workspace and a type that are counted in one segment; one with more is asked each time.
const PAIRS: usize = 2048;

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS tally(   -- events of a sealed segment
  workspace INTEGER NOT NULL,      -- 0: of all
  type INTEGER NOT NULL,           -- type.id, 0: none
  count INTEGER NOT NULL,
  PRIMARY KEY(workspace, type)
) WITHOUT ROWID;
";
const EXISTS: &str = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = 'tally')";
const WHOLE: &str = "SELECT 1 FROM tally WHERE workspace = 0";
const READ: &str = "SELECT workspace, type, count FROM tally WHERE workspace > 0 LIMIT ?1";
const MARKS: &str = "SELECT a, b, at, count FROM mark WHERE kind = 1";
const INSERT: &str = "INSERT INTO tally(workspace, type, count) VALUES (?1, ?2, ?3)";

/// A workspace, and the number of a type in its segment (0: none).
pub(super) type Pair = (i64, i64);

/// The counts of one segment; `None` when there are too many.
#[derive(Clone, Debug)]
pub(super) struct Tally(Option<HashMap<Pair, i64>>);

impl Default for Tally {
    fn default() -> Self {
        Self(Some(HashMap::new()))
    }
}

impl Tally {
    /// The one on disk, if it is there.
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Option<Self>> {
        if !conn.query_row(EXISTS, [], |row| row.get(0))? || conn.query_row(WHOLE, [], |_| Ok(())).optional()?.is_none() {
            return Ok(None);
        }
        let mut tally = Self::default();
        let mut select = conn.prepare(READ)?;
        let mut rows = select.query([sql_count(PAIRS + 1)])?;
        while let Some(row) = rows.next()? {
            tally.add((row.get(0)?, row.get(1)?), row.get(2)?);
        }
        Ok(Some(tally))
    }

    /// Adds up the marks, and counts the rows of blocks whose marks do not tell.
    pub(super) fn count_up(conn: &Connection) -> rusqlite::Result<Self> {
        let mut tally = Self::default();
        let mut select = conn.prepare(MARKS)?;
        let mut block = conn.prepare(COUNT_BLOCK)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (workspace, type_id, at): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let count = match row.get::<_, Option<i64>>(3)? {
                Some(count) => count,
                None => {
                    let type_id = (type_id != 0).then_some(type_id);
                    block.query_row((at, at + BLOCK - 1, workspace, type_id), |row| row.get(0))?
                }
            };
            tally.add((workspace, type_id), count);
        }
        Ok(tally)
    }

    /// Events were added.
    pub(super) fn add(&mut self, pair: Pair, count: i64) {
        if let Some(counts) = &mut self.0 {
            *counts.entry(pair).or_default() += count;
            if counts.len() > PAIRS {
                self.0 = None;
            }
        }
    }

    /// How many events there are, if that is known.
    pub(super) fn count(&self, workspace: i64, type_id: i64) -> Option<i64> {
        self.0.as_ref().map(|counts| counts.get(&(workspace, type_id)).copied().unwrap_or(0))
    }

    /// How many events there are in all, if that is known.
    pub(super) fn total(&self) -> Option<i64> {
        self.0.as_ref().map(|counts| counts.values().sum())
    }

    /// Writes it to a sealed segment. One that is too large to be held is not written.
    pub(super) fn keep(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let Some(counts) = &self.0 else { return Ok(()) };
        let tx: Transaction<'_> = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(TABLE)?;
        tx.execute("DELETE FROM tally", [])?;
        {
            let mut insert = tx.prepare(INSERT)?;
            for ((workspace, type_id), count) in counts {
                insert.execute([*workspace, *type_id, *count])?;
            }
            insert.execute([0, 0, counts.values().sum()])?;
        }
        tx.commit()
    }
}
