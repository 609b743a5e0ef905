//! The exact account of a run: which numbers were given out, which were accepted, and which arrived at which target how often.
//!
//! Events belong to a *stream* (a type with the targets that are to get it); numbers are unique over all streams. A target that is not *owed*
//! anything (one that is meant to hang, say) is not part of the account. Bitmaps grow by pages, so a run needs no size in advance and ten
//! million events take a few megabytes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Numbers in a page.
const PAGE: u64 = 1 << 16;
/// Pages of a bitmap at most: room for four thousand million events.
const PAGES: u64 = 1 << 16;

type Page = Arc<[AtomicU64]>;

/// A set of numbers.
#[derive(Default)]
pub struct Bitmap(RwLock<Vec<Option<Page>>>);

impl Bitmap {
    /// Marks a number; false if it was marked before, or is beyond all bounds.
    pub fn mark(&self, number: u64) -> bool {
        let (index, bit) = ((number / PAGE) as usize, 1 << (number % 64));
        let set = |page: &Page| page[(number % PAGE / 64) as usize].fetch_or(bit, Ordering::Relaxed) & bit == 0;
        if let Some(Some(page)) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(index) {
            return set(page);
        }
        if index as u64 >= PAGES {
            return false;
        }
        let mut pages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if pages.len() <= index {
            pages.resize(index + 1, None);
        }
        set(pages[index].get_or_insert_with(|| (0..PAGE / 64).map(|_| AtomicU64::new(0)).collect()))
    }

    fn has(&self, number: u64) -> bool {
        let pages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let page = pages.get((number / PAGE) as usize).and_then(Option::as_ref);
        page.is_some_and(|page| page[(number % PAGE / 64) as usize].load(Ordering::Relaxed) & 1 << (number % 64) != 0)
    }

    /// The pages as they are; marks made later show in them.
    fn pages(&self) -> Vec<Option<Page>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Numbers marked here and not in `other`.
    fn without(&self, other: &Self) -> u64 {
        let others = other.pages();
        let mut count = 0;
        for (index, page) in self.pages().iter().enumerate() {
            let Some(page) = page else { continue };
            let other = others.get(index).and_then(Option::as_ref);
            for (at, word) in page.iter().enumerate() {
                let taken = other.map_or(0, |other| other[at].load(Ordering::Relaxed));
                count += u64::from((word.load(Ordering::Relaxed) & !taken).count_ones());
            }
        }
        count
    }
}

#[derive(Default)]
struct Stream {
    accepted: Bitmap,
    count: AtomicU64,
}

struct Target {
    stream: usize,
    owed: AtomicBool,
    received: Bitmap,
    count: AtomicU64,
}

/// The ledger of one run.
pub struct Ledger {
    next: AtomicU64,
    streams: Vec<Stream>,
    targets: Vec<Target>,
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
    /// One stream, and this many targets, each of which should get every event.
    pub fn new(targets: usize) -> Self {
        Self::with_streams(&[targets])
    }

    /// Streams with so many targets each; targets are numbered from the first stream on.
    pub fn with_streams(targets: &[usize]) -> Self {
        let of_stream = |(stream, count): (usize, &usize)| {
            (0..*count).map(move |_| Target { stream, owed: true.into(), received: Bitmap::default(), count: 0.into() })
        };
        Self {
            next: AtomicU64::new(0),
            streams: targets.iter().map(|_| Stream::default()).collect(),
            targets: targets.iter().enumerate().flat_map(of_stream).collect(),
            duplicates: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        }
    }

    /// Targets of all streams.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Takes a target out of the account, or puts it back.
    pub fn set_owed(&self, target: usize, owed: bool) {
        self.targets[target].owed.store(owed, Ordering::Relaxed);
    }

    /// Whether what arrives at a target counts.
    pub fn is_owed(&self, target: usize) -> bool {
        self.targets.get(target).is_none_or(|target| target.owed.load(Ordering::Relaxed))
    }

    /// Gives out `count` numbers and answers the first.
    pub fn take(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// Numbers given out so far.
    pub fn sent(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Notes that the server took these events of a stream.
    pub fn accept(&self, stream: usize, first: u64, count: u64) {
        for number in first..first + count {
            self.streams[stream].accepted.mark(number);
        }
        self.streams[stream].count.fetch_add(count, Ordering::Relaxed);
    }

    /// Notes an event that arrived at a target; false if it arrived there before or does not belong there.
    pub fn receive(&self, target: usize, number: u64) -> bool {
        let Some(target) = self.targets.get(target).filter(|_| number < self.sent()) else {
            self.damage();
            return false;
        };
        let is_new = target.received.mark(number);
        let counter = if is_new { &target.count } else { &self.duplicates };
        counter.fetch_add(1, Ordering::Relaxed);
        is_new
    }

    /// Notes a body that is not what was sent.
    pub fn damage(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// Events accepted so far.
    pub fn accepted(&self) -> u64 {
        self.streams.iter().map(|stream| stream.count.load(Ordering::Relaxed)).sum()
    }

    /// Events of a stream accepted so far.
    pub fn accepted_in(&self, stream: usize) -> u64 {
        self.streams[stream].count.load(Ordering::Relaxed)
    }

    /// Deliveries that arrived so far where they were owed.
    pub fn delivered(&self) -> u64 {
        self.owed().map(|target| target.count.load(Ordering::Relaxed)).sum()
    }

    /// Deliveries that arrived so far at a target.
    pub fn delivered_to(&self, target: usize) -> u64 {
        self.targets[target].count.load(Ordering::Relaxed)
    }

    /// Deliveries that arrived again, so far.
    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    fn owed(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.owed.load(Ordering::Relaxed))
    }

    /// Deliveries that are owed and have not arrived, going by the counts.
    pub fn outstanding(&self) -> u64 {
        self.owed().map(|t| self.accepted_in(t.stream).saturating_sub(t.count.load(Ordering::Relaxed))).sum()
    }

    /// Whether as much arrived everywhere as was accepted. Only [`Ledger::close`] says whether it was the same.
    pub fn is_drained(&self) -> bool {
        self.outstanding() == 0
    }

    /// Accepted events of its stream that a target did not get.
    pub fn missing_at(&self, target: usize) -> u64 {
        let target = &self.targets[target];
        self.streams[target.stream].accepted.without(&target.received)
    }

    /// Targets, and numbers of accepted events that they are owed and did not get.
    pub fn missing(&self) -> Vec<(usize, u64)> {
        let owed = self.targets.iter().enumerate().filter(|(_, target)| target.owed.load(Ordering::Relaxed));
        let missing = |(at, target): (usize, &Target)| {
            let of = |number: &u64| self.streams[target.stream].accepted.has(*number) && !target.received.has(*number);
            (0..self.sent()).filter(of).map(move |number| (at, number)).collect::<Vec<_>>()
        };
        owed.flat_map(missing).collect()
    }

    /// Compares both sides, number by number.
    pub fn close(&self) -> Verdict {
        let over = |count: fn(&Bitmap, &Bitmap) -> u64| self.owed().map(|t| count(&self.streams[t.stream].accepted, &t.received)).sum();
        Verdict {
            sent: self.sent(),
            accepted: self.accepted(),
            delivered: self.delivered(),
            lost: over(|accepted, received| accepted.without(received)),
            duplicates: self.duplicates(),
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
        ledger.accept(0, 0, 2);
        ledger.accept(0, PAGE, 1);
        assert!(ledger.receive(0, 0) && !ledger.receive(0, 0), "a second arrival is a duplicate");
        assert!(ledger.receive(0, PAGE) && ledger.receive(1, 0) && ledger.receive(1, 2));
        assert!(!ledger.is_drained());
        assert!(!ledger.receive(2, 0) && !ledger.receive(0, PAGE + 3), "no such target, no such number");
        assert_eq!(ledger.missing(), [(0, 1), (1, 1), (1, PAGE)]);
        let verdict = ledger.close();
        let expected = Verdict { sent: PAGE + 3, accepted: 3, delivered: 4, lost: 3, duplicates: 1, unacknowledged: 1, damaged: 2 };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn a_stream_owes_only_its_own_targets() {
        let ledger = Ledger::with_streams(&[1, 2]);
        ledger.take(10);
        ledger.accept(0, 0, 2);
        ledger.accept(1, 2, 3);
        (0..2).for_each(|n| assert!(ledger.receive(0, n)));
        (2..5).for_each(|n| assert!(ledger.receive(1, n)));
        assert_eq!((ledger.outstanding(), ledger.missing_at(2), ledger.close().lost), (3, 3, 3));
        ledger.set_owed(2, false);
        assert!(ledger.is_drained() && !ledger.is_owed(2));
        assert_eq!(ledger.close(), Verdict { sent: 10, accepted: 5, delivered: 5, ..Verdict::default() });
        assert!(ledger.receive(0, 4));
        assert_eq!(ledger.close().unacknowledged, 1, "an event of another stream");
    }
}
