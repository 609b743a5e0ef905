//! Gathering events into batches: the state of one batching subscription.
//!
//! A batch opens with its first event and closes at whichever comes first: it holds
//! [`Batch::events`] events; the next event would take it over [`Batch::bytes`]; [`Batch::wait`]
//! has passed since it opened. An event larger than the byte limit is a batch of its own.
//!
//! The shell stores each member under the key of its batch in the commit that accepts the event, and
//! wakes at `due_ms` to call [`Batcher::close_due`]. After a crash it counts the members of the
//! open batch and calls [`Batcher::restore`]. If a commit fails, the shell puts back the clone it
//! took before: nothing here has effects elsewhere.
//!
//! Keys are whatever the journal uses (`K`); they are only handed back.
//!
//! Invariants (incident 21 of the needs list): every join answers with exactly one batch; a batch is
//! reported closed exactly once, either by a join or by `close_due`; nothing joins a batch that
//! is closed or due, whoever comes first, the event or the timer; closing twice is harmless.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::Batch;
use super::units::millis;

/// A batch that takes members; what the journal knows of it after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBatch<K = u64> {
    /// The key that its members are stored under.
    pub key: K,
    /// How many members it has.
    pub events: u32,
    /// Their payload bytes together.
    pub bytes: u64,
    /// When the first came.
    pub opened_ms: i64,
}

/// A batch that is complete and ready to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed<K = u64> {
    /// The key that its members are stored under.
    pub key: K,
    /// How many members it has.
    pub events: u32,
    /// Their payload bytes together.
    pub bytes: u64,
    /// The newest member; `None` if nothing joined since a restart.
    pub last_sequence: Option<u64>,
}

/// Where an event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined<K = u64> {
    /// The event's batch.
    pub batch_key: K,
    /// The event is the first of that batch.
    pub opened: bool,
    /// The event is the last of that batch: deliver it.
    pub closed: bool,
    /// A batch before this one, which the event found full or due: deliver it too.
    pub closed_before: Option<Closed<K>>,
    /// When the batch closes if nothing else comes; now, if `closed`.
    pub due_ms: i64,
}

/// The batches of one subscription. See the module page.
#[derive(Debug, Clone)]
pub struct Batcher<K = u64> {
    limits: Batch,
    open: Option<OpenBatch<K>>,
    last_sequence: Option<u64>,
}

impl<K: Copy> Batcher<K> {
    /// Nothing open.
    #[must_use]
    pub fn new(limits: Batch) -> Self {
        Self { limits, open: None, last_sequence: None }
    }

    /// Goes on with a batch that was open before a restart.
    #[must_use]
    pub fn restore(limits: Batch, open: OpenBatch<K>) -> Self {
        Self { limits, open: Some(open), last_sequence: None }
    }

    /// Follows a changed policy. An open batch that is over the new limits closes at the next join
    /// or [`Batcher::close_due`].
    pub fn set_limits(&mut self, limits: Batch) {
        self.limits = limits;
    }

    /// The batch that takes members now, if any.
    #[must_use]
    pub fn open(&self) -> Option<&OpenBatch<K>> {
        self.open.as_ref()
    }

    /// When to call [`Batcher::close_due`]; `None` while nothing is open.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        self.open.as_ref().map(|open| self.due(open))
    }

    /// Puts an event of `bytes` payload bytes into a batch. `new_key` is called if one has to be
    /// opened.
    pub fn join(&mut self, event_sequence: u64, bytes: u32, now_ms: i64, new_key: impl FnOnce() -> K) -> Joined<K> {
        let bytes = u64::from(bytes);
        let mut closed_before = self.close_due(now_ms);
        if self.open.is_some_and(|open| open.bytes.saturating_add(bytes) > self.limits.bytes) {
            closed_before = self.close();
        }
        let opened = self.open.is_none();
        let open = self.open.get_or_insert_with(|| OpenBatch { key: new_key(), events: 0, bytes: 0, opened_ms: now_ms });
        open.events = open.events.saturating_add(1);
        open.bytes = open.bytes.saturating_add(bytes);
        self.last_sequence = Some(event_sequence);
        let open = *open;
        let closed = self.full(&open);
        let due_ms = if closed { now_ms } else { self.due(&open) };
        if closed {
            self.open = None;
            self.last_sequence = None;
        }
        Joined { batch_key: open.key, opened, closed, closed_before, due_ms }
    }

    /// Closes the open batch if its time has come. Call it when [`Batcher::due_ms`] has passed;
    /// calling it at any other time is harmless.
    pub fn close_due(&mut self, now_ms: i64) -> Option<Closed<K>> {
        let open = self.open.as_mut()?;
        // A clock that went back must not keep the batch open for longer than its wait.
        open.opened_ms = open.opened_ms.min(now_ms);
        let open = *open;
        if self.due(&open) <= now_ms || self.full(&open) { self.close() } else { None }
    }

    /// Closes the open batch whatever its time: its subscription ends, or somebody flushes it.
    pub fn close(&mut self) -> Option<Closed<K>> {
        let last_sequence = self.last_sequence.take();
        let OpenBatch { key, events, bytes, .. } = self.open.take()?;
        Some(Closed { key, events, bytes, last_sequence })
    }

    fn due(&self, open: &OpenBatch<K>) -> i64 {
        open.opened_ms.saturating_add(millis(self.limits.wait))
    }

    fn full(&self, open: &OpenBatch<K>) -> bool {
        open.events >= self.limits.events || open.bytes >= self.limits.bytes
    }
}
