//! How much happened over time, for each workspace: counted as it happens, in buckets of fixed size and number, never computed by a query.
//!
//! Invariants:
//! - Bounded: each workspace has at most the buckets of [`Span::ALL`] (444, some 25 KiB), and only those in which something happened.
//! - A bucket counts what was on disk when it was counted: an event after its commit, an outcome after it was settled.
//! - What is asked for is answered from memory. The program keeps the counts over restarts ([`crate::Engine::series_text`]); what
//!   happened between the last save and a crash is missing here, and here alone.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use posthaste_domain::delivery::DeliveryState;
use serde::{Deserialize, Serialize};

/// A range of time, and the steps that it is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The last hour, by the minute.
    Hour,
    /// The last 24 hours, by the quarter of an hour.
    Day,
    /// The last 7 days, by the hour.
    Week,
    /// The last 30 days, by 6 hours.
    Month,
}

impl Span {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// Length of a step in milliseconds.
    pub fn step_ms(self) -> i64 {
        match self {
            Self::Hour => 60_000,
            Self::Day => 15 * 60_000,
            Self::Week => 3_600_000,
            Self::Month => 6 * 3_600_000,
        }
    }

    /// How many steps it has.
    pub fn steps(self) -> usize {
        match self {
            Self::Hour => 60,
            Self::Day => 96,
            Self::Week => 168,
            Self::Month => 120,
        }
    }
}

/// What happened in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Number of the step since the epoch.
    #[serde(rename = "n")]
    step: i64,
    /// Events stored.
    #[serde(rename = "a")]
    pub accepted: u64,
    /// Deliveries taken by their targets.
    #[serde(rename = "d")]
    pub delivered: u64,
    /// Deliveries given up.
    #[serde(rename = "f")]
    pub failed: u64,
    /// Attempts that are followed by another.
    #[serde(rename = "r")]
    pub retried: u64,
    /// Sum over the delivered ones of the milliseconds from receipt to delivery.
    #[serde(rename = "l")]
    pub lag_sum_ms: u64,
    /// The longest of these.
    #[serde(rename = "m")]
    pub lag_max_ms: u64,
}

impl Bucket {
    fn add(&mut self, more: &Self) {
        self.accepted += more.accepted;
        self.delivered += more.delivered;
        self.failed += more.failed;
        self.retried += more.retried;
        self.lag_sum_ms += more.lag_sum_ms;
        self.lag_max_ms = self.lag_max_ms.max(more.lag_max_ms);
    }
}

/// A point of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Start of the step, in milliseconds since the epoch.
    pub at_ms: i64,
    /// What happened in it.
    pub bucket: Bucket,
}

/// Buckets of one workspace, by [`Span::ALL`]; each ascending.
type Tiers = [VecDeque<Bucket>; 4];

#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    /// Since when everything is counted.
    since_ms: i64,
    /// By the number of the workspace.
    workspaces: HashMap<i64, Tiers>,
}

/// The counts of all workspaces.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Book>);

impl Counts {
    /// Counts from now on.
    pub fn new(now_ms: i64) -> Self {
        Self(Mutex::new(Book { since_ms: now_ms, ..Book::default() }))
    }

    /// Events of these workspaces were stored.
    pub fn accepted(&self, workspaces: impl Iterator<Item = i64>, now_ms: i64) {
        let mut book = self.0.lock();
        let mut run: Option<(i64, u64)> = None;
        // Neighbours are mostly of one workspace: they are counted together.
        for workspace in workspaces {
            match &mut run {
                Some((current, count)) if *current == workspace => *count += 1,
                _ => {
                    if let Some((workspace, accepted)) = run.replace((workspace, 1)) {
                        book.add(workspace, now_ms, &Bucket { accepted, ..Bucket::default() });
                    }
                }
            }
        }
        if let Some((workspace, accepted)) = run {
            book.add(workspace, now_ms, &Bucket { accepted, ..Bucket::default() });
        }
    }

    /// Outcomes were settled: workspace, time of receipt, new state.
    pub fn settled(&self, outcomes: &[(i64, i64, DeliveryState)], now_ms: i64) {
        let mut book = self.0.lock();
        for part in outcomes.chunk_by(|a, b| a.0 == b.0) {
            let mut sum = Bucket::default();
            for (_, received_ms, state) in part {
                match state {
                    DeliveryState::Delivered => {
                        let lag = u64::try_from(now_ms - received_ms).unwrap_or_default();
                        sum.add(&Bucket { delivered: 1, lag_sum_ms: lag, lag_max_ms: lag, ..Bucket::default() });
                    }
                    DeliveryState::Failed => sum.failed += 1,
                    DeliveryState::Cancelled => {}
                    DeliveryState::Scheduled | DeliveryState::Queued => sum.retried += 1,
                }
            }
            if sum != Bucket::default() {
                book.add(part[0].0, now_ms, &sum);
            }
        }
    }

    /// The points of a span up to now, without gaps, and since when they are whole.
    pub fn points(&self, workspace: i64, span: Span, now_ms: i64) -> (Vec<Point>, i64) {
        let book = self.0.lock();
        let last = now_ms.div_euclid(span.step_ms());
        let first = last - span.steps() as i64 + 1;
        let tier = book.workspaces.get(&workspace).map(|tiers| &tiers[span as usize]);
        let at = |step: i64| tier.and_then(|tier| tier.binary_search_by_key(&step, |bucket| bucket.step).ok().map(|at| tier[at]));
        let point = |step| Point { at_ms: step * span.step_ms(), bucket: at(step).unwrap_or_default() };
        ((first..=last).map(point).collect(), book.since_ms)
    }

    /// Everything as text, to be kept.
    pub fn text(&self) -> String {
        serde_json::to_string(&*self.0.lock()).expect("numbers always serialise")
    }

    /// Takes up what [`Counts::text`] gave. What was counted meanwhile is added; a text that cannot be read changes nothing.
    pub fn restore(&self, text: &str) -> Result<(), serde_json::Error> {
        let old: Book = serde_json::from_str(text)?;
        let mut book = self.0.lock();
        let new = std::mem::replace(&mut *book, old);
        for (workspace, tiers) in new.workspaces {
            for (span, tier) in Span::ALL.into_iter().zip(tiers) {
                tier.iter().for_each(|bucket| book.add_to(workspace, span, bucket.step, bucket));
            }
        }
        Ok(())
    }
}

impl Book {
    fn add(&mut self, workspace: i64, now_ms: i64, more: &Bucket) {
        for span in Span::ALL {
            self.add_to(workspace, span, now_ms.div_euclid(span.step_ms()), more);
        }
    }

    fn add_to(&mut self, workspace: i64, span: Span, step: i64, more: &Bucket) {
        let tier = &mut self.workspaces.entry(workspace).or_default()[span as usize];
        match tier.back_mut() {
            // A clock that was set back counts in the newest step: buckets ascend.
            Some(last) if last.step >= step => last.add(more),
            _ => {
                let oldest = step - span.steps() as i64 + 1;
                while tier.front().is_some_and(|bucket| bucket.step < oldest) {
                    tier.pop_front();
                }
                tier.push_back(Bucket { step, ..*more });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_760_000_000_000;

    #[test]
    fn every_span_counts_the_same_and_stays_bounded() {
        let counts = Counts::new(NOW);
        for minute in 0..3000 {
            let now = NOW + minute * 60_000;
            counts.accepted([1, 1, 2].into_iter(), now);
            counts
                .settled(&[(1, now - 40, DeliveryState::Delivered), (1, now, DeliveryState::Queued), (2, now, DeliveryState::Failed)], now);
        }
        let now = NOW + 2999 * 60_000;
        for span in Span::ALL {
            let (points, since) = counts.points(1, span, now);
            assert_eq!((points.len(), since), (span.steps(), NOW));
            let whole = (span.step_ms() / 60_000) as u64;
            let full = points[points.len() / 2].bucket;
            if span != Span::Month && span != Span::Week {
                assert_eq!(
                    (full.accepted, full.delivered, full.retried, full.lag_sum_ms, full.lag_max_ms),
                    (2 * whole, whole, whole, 40 * whole, 40)
                );
            }
            assert!(counts.0.lock().workspaces[&1][span as usize].len() <= span.steps());
        }
        let (points, _) = counts.points(2, Span::Hour, now);
        assert!(points.iter().all(|point| point.bucket.failed == 1 && point.bucket.delivered == 0));
        let (points, _) = counts.points(3, Span::Hour, now);
        assert!(points.iter().all(|point| point.bucket == Bucket::default()), "nothing happened there");
    }

    #[test]
    fn counts_survive_a_restart_and_add_up() {
        let counts = Counts::new(NOW);
        counts.accepted([1].into_iter(), NOW);
        let text = counts.text();
        let again = Counts::new(NOW + 60_000);
        again.accepted([1].into_iter(), NOW + 60_000);
        again.restore(&text).expect("readable");
        let (points, since) = again.points(1, Span::Hour, NOW + 60_000);
        assert_eq!((points.iter().map(|point| point.bucket.accepted).sum::<u64>(), since), (2, NOW));
        assert!(again.restore("{").is_err());
        assert_eq!(again.points(1, Span::Hour, NOW + 60_000).0.iter().map(|point| point.bucket.accepted).sum::<u64>(), 2);
    }

    #[test]
    fn a_clock_set_back_loses_nothing() {
        let counts = Counts::new(NOW);
        counts.accepted([1].into_iter(), NOW);
        counts.accepted([1].into_iter(), NOW - 600_000);
        assert_eq!(counts.points(1, Span::Hour, NOW).0.iter().map(|point| point.bucket.accepted).sum::<u64>(), 2);
    }
}
