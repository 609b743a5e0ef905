//! The exact account of a run: which numbers were given out, which were accepted, and which arrived at which target how often.
//!
//! Bitmaps grow by pages, so a run needs no size in advance and ten million events take a few megabytes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers in a page.
const PAGE: u64 = 1 << 20;
/// Pages of a bitmap: room for four thousand million events.
const PAGES: usize = 4096;

struct Bitmap(Box<[OnceLock<Box<[AtomicU64]>>]>);

impl Bitmap {
    fn new() -> Self {
        Self((0..PAGES).map(|_| OnceLock::new()).collect())
    }

    /// Marks a number; false if it was marked before. The number must be below `PAGE * PAGES`.
    fn mark(&self, number: u64) -> bool {
        let page = self.0[(number / PAGE) as usize].get_or_init(|| (0..PAGE / 64).map(|_| AtomicU64::new(0)).collect());
        let bit = 1 << (number % 64);
        page[(number % PAGE / 64) as usize].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// The words of a page; nothing if no number of it was marked.
    fn page(&self, index: usize) -> Option<&[AtomicU64]> {
        self.0[index].get().map(|page| &**page)
    }

    /// Numbers marked here and not in `other`.
    fn without(&self, other: &Self) -> u64 {
        let mut count = 0;
        for index in 0..PAGES {
            let Some(page) = self.page(index) else { continue };
            let others = other.page(index);
            for (at, word) in page.iter().enumerate() {
                let taken = others.map_or(0, |others| others[at].load(Ordering::Relaxed));
                count += u64::from((word.load(Ordering::Relaxed) & !taken).count_ones());
            }
        }
        count
    }
}

/// The ledger of one run.
pub struct Ledger {
    next: AtomicU64,
    accepted: Bitmap,
    accepted_count: AtomicU64,
    received: Vec<Bitmap>,
    received_count: AtomicU64,
    duplicates: AtomicU64,
    damaged: AtomicU64,
}

/// What the ledger says when all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Numbers given out.
    pub sent: u64,
    /// Events answered with success.
    pub accepted: u64,
    /// Deliveries that arrived, each counted once.
    pub delivered: u64,
    /// Deliveries of accepted events that did not arrive.
    pub lost: u64,
    /// Deliveries that arrived again.
    pub duplicates: u64,
    /// Deliveries of events whose sender got no success: allowed only when an answer was lost on its way.
    pub unacknowledged: u64,
    /// Bodies that were not what was sent, or had no place in this run.
    pub damaged: u64,
}

impl Ledger {
    /// For this many targets, each of which should get every event.
    pub fn new(targets: usize) -> Self {
        Self {
            next: AtomicU64::new(0),
            accepted: Bitmap::new(),
            accepted_count: AtomicU64::new(0),
            received: (0..targets).map(|_| Bitmap::new()).collect(),
            received_count: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        }
    }

    /// Gives out `count` numbers and answers the first.
    pub fn take(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// Numbers given out so far.
    pub fn sent(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Notes that the server took these events.
    pub fn accept(&self, first: u64, count: u64) {
        for number in first..first + count {
            self.accepted.mark(number);
        }
        self.accepted_count.fetch_add(count, Ordering::Relaxed);
    }

    /// Notes an event that arrived at a target; false if it arrived there before or does not belong there.
    pub fn receive(&self, target: usize, number: u64) -> bool {
        let Some(received) = self.received.get(target).filter(|_| number < self.sent()) else {
            self.damage();
            return false;
        };
        let is_new = received.mark(number);
        let counter = if is_new { &self.received_count } else { &self.duplicates };
        counter.fetch_add(1, Ordering::Relaxed);
        is_new
    }

    /// Notes a body that is not what was sent.
    pub fn damage(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// Events accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted_count.load(Ordering::Relaxed)
    }

    /// Deliveries that arrived so far.
    pub fn delivered(&self) -> u64 {
        self.received_count.load(Ordering::Relaxed)
    }

    /// Whether as much arrived as was accepted. Only [`Ledger::close`] says whether it was the same.
    pub fn is_drained(&self) -> bool {
        self.delivered() >= self.accepted() * self.received.len() as u64
    }

    /// Compares both sides, number by number.
    pub fn close(&self) -> Verdict {
        let over = |count: fn(&Bitmap, &Bitmap) -> u64| self.received.iter().map(|received| count(&self.accepted, received)).sum();
        Verdict {
            sent: self.sent(),
            accepted: self.accepted(),
            delivered: self.delivered(),
            lost: over(|accepted, received| accepted.without(received)),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            unacknowledged: over(|accepted, received| received.without(accepted)),
            damaged: self.damaged.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_accounted_for() {
        let ledger = Ledger::new(2);
        assert_eq!((ledger.take(3), ledger.take(PAGE), ledger.sent()), (0, 3, PAGE + 3));
        ledger.accept(0, 2);
        ledger.accept(PAGE, 1);
        assert!(ledger.receive(0, 0) && !ledger.receive(0, 0), "a second arrival is a duplicate");
        assert!(ledger.receive(0, PAGE) && ledger.receive(1, 0) && ledger.receive(1, 2));
        assert!(!ledger.is_drained());
        assert!(!ledger.receive(2, 0) && !ledger.receive(0, PAGE + 3), "no such target, no such number");
        let verdict = ledger.close();
        let expected = Verdict { sent: PAGE + 3, accepted: 3, delivered: 4, lost: 3, duplicates: 1, unacknowledged: 1, damaged: 2 };
        assert_eq!(verdict, expected);
    }
}
