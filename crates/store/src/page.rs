//! Collecting a page.

use crate::PageLimit;

/// Collects items up to a limit, at least one.
pub(crate) struct Page<T> {
    /// What was collected.
    pub(crate) items: Vec<T>,
    bytes: usize,
    limit: PageLimit,
}

impl<T> Page<T> {
    /// An empty page; a limit of no items is one of one.
    pub(crate) fn new(limit: PageLimit) -> Self {
        Self { items: Vec::new(), bytes: 0, limit: PageLimit { items: limit.items.max(1), bytes: limit.bytes } }
    }

    /// How many more items may come.
    pub(crate) fn room(&self) -> usize {
        self.limit.items - self.items.len()
    }

    /// Bytes that may still come.
    pub(crate) fn bytes_left(&self) -> usize {
        self.limit.bytes.saturating_sub(self.bytes)
    }

    /// Takes an item; `false` when it does not fit and the page is complete.
    pub(crate) fn push(&mut self, item: T, bytes: usize) -> bool {
        if self.room() == 0 || (!self.items.is_empty() && self.bytes.saturating_add(bytes) > self.limit.bytes) {
            return false;
        }
        self.bytes += bytes;
        self.items.push(item);
        true
    }
}
