//! Marks: which blocks of the journal hold something that a list asks for.
//!
//! A *block* of events is [`BLOCK`] sequences that begin at a multiple of it. A block of deliveries is the same for the first [`NARROW`]
//! deliveries of each event; those behind them, of events that go to many targets, lie in blocks of [`NARROW`] keys of one event. So no
//! block has more than a few thousand rows, and a list that finds one row in each block still reads a page in milliseconds.
//!
//! Invariants:
//! 1. What a list looks for lies in blocks that have the mark. A mark is written in the same transaction as the first row of its block.
//! 2. A mark is never removed, so a block may have one and hold nothing (any more).
//! 3. A mark that tells a count tells it of a complete block; one that tells none is counted in its rows.
//!
//! The writer remembers the marks that it wrote lately, within bounds; what it forgot costs a statement that changes nothing.

use std::collections::{HashMap, HashSet};

use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::{DeliveryKey, MAX_ORDINAL, ORDINAL_BITS, Sequence};
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::rows::state_code;

/// Events of a block.
pub(super) const BLOCK: i64 = 128;
/// Ordinals that are in the block of their event, and keys of the blocks behind them.
pub(super) const NARROW: i64 = 16;
/// Events of an epoch, as a power of two. Marks of an epoch lie together.
const EPOCH_BITS: u32 = 12;
/// Marks, and targets, that the writer remembers.
const REMEMBERED: usize = 1 << 16;

const INSERT: &str = "INSERT OR IGNORE INTO mark(epoch, kind, a, b, at) VALUES (?1, ?2, ?3, ?4, ?5)";
const INSERT_NAME: &str = "INSERT OR IGNORE INTO name(kind, a, b) VALUES (?1, ?2, ?3)";
const COMPLETE: &str = "UPDATE mark SET count = ?6 WHERE epoch = ?1 AND kind = ?2 AND a = ?3 AND b = ?4 AND at = ?5";
const OWNER: &str = "SELECT workspace FROM delivery WHERE key = ?1";

/// What a block is marked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) kind: i64,
    pub(super) a: i64,
    pub(super) b: i64,
}

impl Name {
    /// Events of a workspace.
    pub(super) fn of_events(workspace: i64) -> Self {
        Self { kind: 0, a: workspace, b: 0 }
    }

    /// Events of a workspace and type. Numbers of types begin at 1.
    pub(super) fn of_type(workspace: i64, type_id: Option<i64>) -> Self {
        Self { kind: 1, a: workspace, b: type_id.unwrap_or(0) }
    }

    /// Deliveries of a workspace that came to a final state.
    pub(super) fn of_outcome(workspace: i64, state: DeliveryState) -> Self {
        Self { kind: 2, a: workspace, b: state_code(state) }
    }

    /// Deliveries of a target that came to a final state.
    pub(super) fn of_target(target: i64, state: DeliveryState) -> Self {
        Self { kind: 3, a: target, b: state_code(state) }
    }

    /// The epoch of a place: a sequence, or a key of a delivery.
    pub(super) fn epoch(self, at: i64) -> i64 {
        if self.kind < 2 { at >> EPOCH_BITS } else { at >> (EPOCH_BITS + ORDINAL_BITS) }
    }
}

/// Where the block of an event begins.
pub(super) fn block_of(sequence: i64) -> i64 {
    sequence & !(BLOCK - 1)
}

/// Where the block of a delivery begins.
pub(super) fn block_of_delivery(key: i64) -> i64 {
    if is_wide(key) { block_of(key >> ORDINAL_BITS) << ORDINAL_BITS } else { key & !(NARROW - 1) }
}

/// Whether a delivery is among the first of its event.
pub(super) fn is_wide(key: i64) -> bool {
    key & i64::from(MAX_ORDINAL) < NARROW
}

/// The writer's memory of one segment's marks.
#[derive(Default)]
pub(super) struct Marks {
    written: HashSet<(Name, i64)>,
    names: HashSet<Name>,
    /// By workspace and type: the block that is being filled, and how many events it has if that is known.
    filling: HashMap<Name, (i64, Option<i64>)>,
    owners: HashMap<i64, i64>,
}

/// The statements of a transaction that writes marks.
pub(super) struct Marker<'a> {
    insert: CachedStatement<'a>,
    tx: &'a Connection,
}

impl<'a> Marker<'a> {
    /// Prepares them.
    pub(super) fn new(tx: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self { insert: tx.prepare_cached(INSERT)?, tx })
    }
}

impl Marks {
    /// Forgets what may not be on disk, after a transaction was rolled back.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Marks an event. `new` takes the names that may be new in the segment.
    pub(super) fn event(
        &mut self,
        marker: &mut Marker<'_>,
        workspace: i64,
        type_id: Option<i64>,
        sequence: Sequence,
        new: &mut Vec<Name>,
    ) -> rusqlite::Result<()> {
        let at = block_of(sequence.0);
        let name = Name::of_type(workspace, type_id);
        let before = self.filling.get_mut(&name);
        if let Some((block, count)) = before {
            if *block == at {
                *count = count.map(|count| count + 1);
                return Ok(());
            }
            if let Some(count) = *count {
                marker.tx.prepare_cached(COMPLETE)?.execute((name.epoch(*block), name.kind, name.a, name.b, *block, count))?;
            }
        } else if self.filling.len() >= REMEMBERED {
            self.filling.clear();
        }
        self.write(marker, Name::of_events(workspace), at, new)?;
        // Only a block whose first mark this is, is counted from its beginning.
        let is_first = self.write(marker, name, at, new)?;
        self.filling.insert(name, (at, is_first.then_some(1)));
        Ok(())
    }

    /// Remembers whom a target belongs to.
    pub(super) fn owned(&mut self, target: i64, workspace: i64) {
        if self.owners.len() >= REMEMBERED {
            self.owners.clear();
        }
        self.owners.insert(target, workspace);
    }

    /// Marks a delivery that came to a final state.
    pub(super) fn outcome(
        &mut self,
        marker: &mut Marker<'_>,
        target: i64,
        state: DeliveryState,
        key: DeliveryKey,
        new: &mut Vec<Name>,
    ) -> rusqlite::Result<()> {
        let at = block_of_delivery(key.0);
        let name = Name::of_target(target, state);
        // The mark of the workspace is written before it.
        if self.written.contains(&(name, at)) {
            return Ok(());
        }
        let owner = match self.owners.get(&target) {
            Some(owner) => Some(*owner),
            None => marker.tx.prepare_cached(OWNER)?.query_row([key.0], |row| row.get(0)).optional()?,
        };
        if let Some(owner) = owner {
            self.owned(target, owner);
            self.write(marker, Name::of_outcome(owner, state), at, new)?;
        }
        self.write(marker, name, at, new)?;
        Ok(())
    }

    /// Writes a mark that may be there already; answers whether it was not.
    fn write(&mut self, marker: &mut Marker<'_>, name: Name, at: i64, new: &mut Vec<Name>) -> rusqlite::Result<bool> {
        if self.written.len() >= REMEMBERED {
            self.written.clear();
        }
        if !self.written.insert((name, at)) {
            return Ok(false);
        }
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        if self.names.insert(name) {
            marker.tx.prepare_cached(INSERT_NAME)?.execute([name.kind, name.a, name.b])?;
            new.push(name);
        }
        Ok(marker.insert.execute([name.epoch(at), name.kind, name.a, name.b, at])? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_their_keys() {
        let key = |sequence, ordinal| DeliveryKey::new(Sequence(sequence), ordinal).0;
        assert_eq!(block_of_delivery(key(300, 0)), key(256, 0));
        assert_eq!(block_of_delivery(key(383, 15)), key(256, 0));
        assert_eq!(block_of_delivery(key(384, 15)), key(384, 0));
        // Behind the first, a block is of one event.
        assert_eq!(block_of_delivery(key(300, 16)), key(300, 16));
        assert_eq!(block_of_delivery(key(300, 31)), key(300, 16));
        assert_eq!(block_of_delivery(key(300, 1000)), key(300, 992));
    }
}
