//! Counters of the engine and their Prometheus text. Nothing here is ever computed by a query.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use posthaste_domain::delivery::DeliveryState;
use posthaste_store::{Settlement, StoreSize};

use crate::lanes::LaneHealth;

/// Upper bounds of the commit time histogram in microseconds.
const COMMIT_US: [u64; 10] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];
/// Upper bounds of the commit size histogram in events.
const COMMIT_EVENTS: [u64; 7] = [1, 4, 16, 64, 256, 1_024, 16_384];

/// A histogram with fixed bounds.
#[derive(Debug)]
struct Histogram<const N: usize> {
    bounds: [u64; N],
    counts: [AtomicU64; N],
    total: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [u64; N]) -> Self {
        Self { bounds, counts: std::array::from_fn(|_| AtomicU64::new(0)), total: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    fn observe(&self, value: u64) {
        if let Some(i) = self.bounds.iter().position(|b| value <= *b) {
            self.counts[i].fetch_add(1, Ordering::Relaxed);
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Observed values are divided by `unit`.
    fn render(&self, out: &mut String, name: &str, help: &str, unit: f64) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut cumulative = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            cumulative += count.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {cumulative}", *bound as f64 / unit);
        }
        let total = self.total.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum {}\n{name}_count {total}", self.sum.load(Ordering::Relaxed) as f64 / unit);
    }
}

/// The engine's counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    accepted: AtomicU64,
    refused: AtomicU64,
    /// When the last commit of events failed; 0 if it succeeded.
    failed_ms: AtomicI64,
    attempts: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    retried: AtomicU64,
    commit_us: Histogram<10>,
    commit_events: Histogram<7>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed_ms: AtomicI64::new(0),
            attempts: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            commit_us: Histogram::new(COMMIT_US),
            commit_events: Histogram::new(COMMIT_EVENTS),
        }
    }
}

/// Totals since the start, for the statistics page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Events stored.
    pub accepted: u64,
    /// Attempts made.
    pub attempts: u64,
    /// Deliveries taken by their targets.
    pub delivered: u64,
    /// Deliveries given up.
    pub failed: u64,
    /// Attempts that will be followed by another.
    pub retried: u64,
}

/// A gauge of a lane: name, help, and how to read it at a time.
type Gauge = (&'static str, &'static str, fn(&LaneHealth, i64) -> f64);

/// Adds gauges of the journal's size, which the store keeps in memory.
pub(crate) fn render_size(out: &mut String, size: &StoreSize) {
    for (name, help, value) in [
        ("posthaste_journal_files", "Files of the journal.", size.buckets as u64),
        ("posthaste_journal_bytes", "Bytes of the journal on disk.", size.bytes),
        ("posthaste_journal_compressed_files", "Files of the journal that are compressed.", size.compressed as u64),
        ("posthaste_journal_compressed_bytes", "Bytes on disk of compressed files of the journal.", size.compressed_bytes),
        ("posthaste_journal_plain_bytes", "Bytes that compressed files of the journal took before.", size.plain_bytes),
    ] {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
}

impl Metrics {
    pub fn committed(&self, events: usize, took: Duration) {
        self.failed_ms.store(0, Ordering::Relaxed);
        self.accepted.fetch_add(events as u64, Ordering::Relaxed);
        self.commit_events.observe(events as u64);
        self.commit_us.observe(took.as_micros() as u64);
    }

    /// Whether the last commit of events failed, and not before this time.
    pub fn fails_since(&self, since_ms: i64) -> bool {
        let failed_ms = self.failed_ms.load(Ordering::Relaxed);
        failed_ms != 0 && failed_ms >= since_ms
    }

    pub fn accept_failed(&self, now_ms: i64) {
        self.failed_ms.store(now_ms, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn settled(&self, outcomes: &[Settlement]) {
        for outcome in outcomes {
            if outcome.attempt.is_some() {
                self.attempts.fetch_add(1, Ordering::Relaxed);
            }
            let counter = match outcome.state {
                DeliveryState::Delivered => &self.delivered,
                DeliveryState::Failed => &self.failed,
                DeliveryState::Cancelled => &self.cancelled,
                DeliveryState::Scheduled | DeliveryState::Queued => &self.retried,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody cancelled a delivery.
    pub fn cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    pub fn totals(&self) -> Totals {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Totals {
            accepted: read(&self.accepted),
            attempts: read(&self.attempts),
            delivered: read(&self.delivered),
            failed: read(&self.failed),
            retried: read(&self.retried),
        }
    }

    /// Prometheus text. `lanes` are by the target's public id, `levels` are gauges of the whole engine: name, help, value.
    pub fn render(&self, lanes: &BTreeMap<String, LaneHealth>, levels: &[(&str, &str, usize)], now_ms: i64) -> String {
        let mut out = String::with_capacity(4096 + lanes.len() * 256);
        for (name, help, counter) in [
            ("posthaste_events_accepted_total", "Events stored and answered.", &self.accepted),
            ("posthaste_accept_failures_total", "Commits of events that failed.", &self.refused),
            ("posthaste_attempts_total", "Attempts made.", &self.attempts),
            ("posthaste_deliveries_delivered_total", "Deliveries taken by their targets.", &self.delivered),
            ("posthaste_deliveries_failed_total", "Deliveries given up.", &self.failed),
            ("posthaste_deliveries_cancelled_total", "Deliveries cancelled.", &self.cancelled),
            ("posthaste_deliveries_retried_total", "Attempts that will be followed by another.", &self.retried),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", counter.load(Ordering::Relaxed));
        }
        self.commit_us.render(&mut out, "posthaste_commit_seconds", "Time of a group commit, flush included.", 1e6);
        self.commit_events.render(&mut out, "posthaste_commit_events", "Events in a group commit.", 1.0);
        for (name, help, value) in levels {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let gauges: [Gauge; 3] = [
            ("posthaste_target_pending", "Pending deliveries of a target.", |h, _| h.backlog as f64),
            ("posthaste_target_in_flight", "Deliveries of a target under way, or not known on disk as ended yet.", |h, _| {
                f64::from(h.in_flight)
            }),
            ("posthaste_target_lag_seconds", "How long a target's oldest delivery that could be sent has been waiting.", |h, now| {
                h.oldest_ms.map_or(0.0, |at| (now - at).max(0) as f64 / 1e3)
            }),
        ];
        for (name, help, read) in gauges {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (target, health) in lanes {
                let _ = writeln!(out, "{name}{{target=\"{target}\"}} {}", read(health, now_ms));
            }
        }
        out
    }
}
