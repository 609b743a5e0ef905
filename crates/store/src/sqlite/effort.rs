//! How much one piece of a list may look at before it answers with what it has.
//!
//! Effort is counted and not timed: the same question gives the same piece, and a test can make it small. A unit is about what a row costs that is looked
//! at and passed over, half a microsecond or so.
//!
//! A piece always gets on: whoever spends asks afterwards, and then has looked at something.

use std::cell::Cell;

/// To take a connection to a segment, which may have to be opened.
const SEGMENT: u32 = 500;
/// To go to a place in a tree.
const SEEK: u32 = 6;
/// Bytes of a document that are searched for the price of a row.
const TEXT_BYTES: usize = 1024;

/// What is left of it.
pub(super) struct Effort(Cell<u32>);

impl Effort {
    /// So much.
    pub(super) fn new(units: u32) -> Self {
        Self(Cell::new(units))
    }

    fn spend(&self, units: u32) {
        self.0.set(self.0.get().saturating_sub(units));
    }

    /// A segment was turned to.
    pub(super) fn segment(&self) {
        self.spend(SEGMENT);
    }

    /// A row was looked for.
    pub(super) fn seek(&self) {
        self.spend(SEEK);
    }

    /// A row was looked at.
    pub(super) fn row(&self) {
        self.spend(1);
    }

    /// A document was read and searched.
    pub(super) fn text(&self, bytes: usize) {
        self.spend(u32::try_from(bytes / TEXT_BYTES).unwrap_or(u32::MAX).saturating_add(2 * SEEK));
    }

    /// Whether it is time to answer.
    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}
