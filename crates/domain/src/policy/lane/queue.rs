//! A queue in bounded memory whose tail is in the journal.
//!
//! While something is spilled, `after` cuts the line of positions: what lies above the cut is only in
//! the journal, what lies at or below is in memory, or has left. The cut moves down when memory is full
//! (the highest positions are dropped) and up when a page arrives. `after: None` is the cut before the
//! first position. After [`Queue::reread`] some above the cut are in memory as well: a page passes over them.
//!
//! A page is a picture of the past. Whatever fell above the cut since it was asked for may be missing
//! in it, so a page counts only up to the lowest such position; the next one brings the rest.

use std::collections::BTreeMap;

/// How much a queue holds in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Deliveries; at least one is always held.
    pub items: usize,
    /// Their weight; a single delivery may be above it.
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) item: T,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Queue<P, T> {
    bound: Bound,
    items: BTreeMap<P, Held<T>>,
    bytes: usize,
    spill: Option<Spill<P>>,
}

#[derive(Debug)]
struct Spill<P> {
    after: Option<P>,
    asked: Option<Asked<P>>,
}

/// A page is being read.
#[derive(Debug)]
struct Asked<P> {
    /// The lowest position that went to the journal since.
    lowest: Option<P>,
}

/// A page on its way into the queue.
pub(super) struct Arrival<P> {
    lowest: Option<P>,
    covered: Option<P>,
    whole: bool,
}

impl<P: Ord + Copy, T> Queue<P, T> {
    pub(super) fn new(bound: Bound, spilled: bool) -> Self {
        let spill = spilled.then_some(Spill { after: None, asked: None });
        Self { bound, items: BTreeMap::new(), bytes: 0, spill }
    }

    pub(super) fn set_bound(&mut self, bound: Bound) {
        self.bound = bound;
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn spilled(&self) -> bool {
        self.spill.is_some()
    }

    pub(super) fn asked(&self) -> bool {
        self.spill.as_ref().is_some_and(|spill| spill.asked.is_some())
    }

    pub(super) fn first(&self) -> Option<&P> {
        self.items.first_key_value().map(|(position, _)| position)
    }

    pub(super) fn first_item(&self) -> Option<&T> {
        self.items.first_key_value().map(|(_, held)| &held.item)
    }

    pub(super) fn contains(&self, position: &P) -> bool {
        self.items.contains_key(position)
    }

    pub(super) fn pop(&mut self) -> Option<(P, Held<T>)> {
        let (position, held) = self.items.pop_first()?;
        self.bytes -= held.bytes;
        Some((position, held))
    }

    pub(super) fn remove(&mut self, position: &P) -> bool {
        let removed = self.items.remove(position);
        self.bytes -= removed.as_ref().map_or(0, |held| held.bytes);
        removed.is_some()
    }

    /// Takes one in and answers what is only in the journal now: itself, or others in its place.
    pub(super) fn put(&mut self, position: P, held: Held<T>) -> Vec<P> {
        if let Some(spill) = &mut self.spill
            && spill.after.is_none_or(|after| position > after)
        {
            spill.dropped(position);
            return vec![position];
        }
        self.insert(position, held);
        self.trim()
    }

    /// Leaves to the journal what is above the bound: the highest positions, which are answered. One is always kept.
    pub(super) fn trim(&mut self) -> Vec<P> {
        let mut evicted = Vec::new();
        while self.full() && self.items.len() > 1 {
            let Some((position, held)) = self.items.pop_last() else { break };
            self.bytes -= held.bytes;
            let last = self.items.last_key_value().map(|(position, _)| *position);
            let spill = self.spill.get_or_insert(Spill { after: last, asked: None });
            spill.after = spill.after.min(last);
            spill.dropped(position);
            evicted.push(position);
        }
        evicted
    }

    /// There may be positions in the journal that nobody brought, none below `lowest`: moves the cut down to `after`, which is below it.
    pub(super) fn reread(&mut self, after: Option<P>, lowest: P) {
        let spill = self.spill.get_or_insert(Spill { after, asked: None });
        spill.after = spill.after.min(after);
        spill.dropped(lowest);
    }

    fn full(&self) -> bool {
        self.items.len() > self.bound.items || self.bytes > self.bound.bytes
    }

    fn half_empty(&self) -> bool {
        self.items.len() <= self.bound.items / 2 && self.bytes <= self.bound.bytes / 2
    }

    fn insert(&mut self, position: P, held: Held<T>) {
        self.bytes += held.bytes;
        let before = self.items.insert(position, held);
        self.bytes -= before.map_or(0, |held| held.bytes);
    }

    /// Whether something is spilled and there is room for it.
    pub(super) fn wants_more(&self) -> bool {
        self.spilled() && self.half_empty()
    }

    /// Where to read from, if memory is at most half full, something is spilled and no page is
    /// being read. From now on one is.
    pub(super) fn ask(&mut self) -> Option<Option<P>> {
        if !self.half_empty() {
            return None;
        }
        let spill = self.spill.as_mut().filter(|spill| spill.asked.is_none())?;
        spill.asked = Some(Asked { lowest: None });
        Some(spill.after)
    }

    /// The page that was asked for is here, or failed. `None` if none was.
    pub(super) fn arrival(&mut self) -> Option<Arrival<P>> {
        let asked = self.spill.as_mut()?.asked.take()?;
        Some(Arrival { lowest: asked.lowest, covered: None, whole: true })
    }

    /// Takes one of a page in, unless it is `known`. `false`: this one and the rest stay in the
    /// journal.
    pub(super) fn admit(&mut self, arrival: &mut Arrival<P>, position: P, held: Held<T>, known: bool) -> bool {
        // Below half there is room for one of any size: whatever was asked for brings something.
        let room = self.half_empty() || (self.items.len() < self.bound.items && self.bytes.saturating_add(held.bytes) <= self.bound.bytes);
        if !known && !room {
            arrival.whole = false;
            return false;
        }
        if !self.cover(arrival, position) {
            return false;
        }
        if !known {
            self.insert(position, held);
        }
        true
    }

    /// Counts one of a page as being dealt with elsewhere. `false` as for [`Queue::admit`].
    pub(super) fn cover(&self, arrival: &mut Arrival<P>, position: P) -> bool {
        if arrival.lowest.is_some_and(|lowest| position >= lowest) {
            arrival.whole = false;
            return false;
        }
        arrival.covered = Some(position);
        true
    }

    /// The end of a page: moves the cut.
    pub(super) fn arrived(&mut self, arrival: Arrival<P>, reached_end: bool) {
        if reached_end && arrival.whole && arrival.lowest.is_none() {
            self.spill = None;
        } else if let Some(spill) = &mut self.spill {
            spill.after = spill.after.max(arrival.covered);
        }
    }
}

impl<P: Ord + Copy> Spill<P> {
    fn dropped(&mut self, position: P) {
        if let Some(asked) = &mut self.asked {
            asked.lowest = Some(asked.lowest.map_or(position, |lowest| lowest.min(position)));
        }
    }
}
