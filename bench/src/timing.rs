//! Time of a run and how long things took.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

/// Microseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins a run.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn us(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Collects durations in microseconds, to three digits.
pub struct Timings(Mutex<Histogram<u64>>);

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Timings {
    /// Empty.
    pub fn new() -> Self {
        Self(Mutex::new(empty()))
    }

    /// Adds one duration.
    pub fn record(&self, us: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record(us).expect("the histogram grows as needed");
    }

    /// What was collected; nothing if that is nothing.
    pub fn percentiles(&self) -> Option<Percentiles> {
        Percentiles::of(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what was collected, and begins anew.
    pub fn take(&self) -> Histogram<u64> {
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *histogram, empty())
    }
}

impl Percentiles {
    /// Of a histogram of microseconds; nothing if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / 1e3 })
    }
}

/// A histogram of microseconds, to three digits.
pub fn empty() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

/// The time of day, in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a measurement is about the time that it really is")]
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Median of some numbers; nothing if there are none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!((median(vec![]), median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (None, Some(2.0), Some(2.5)));
    }

    #[test]
    fn long_and_short_durations_both_count() {
        let timings = Timings::new();
        assert!(timings.percentiles().is_none());
        (1..=1000).for_each(|i| timings.record(i * 1000));
        let found = timings.percentiles().expect("there are some");
        assert!((499.0..=501.0).contains(&found.p50) && (989.0..=991.5).contains(&found.p99) && found.max >= 999.0, "{found:?}");
    }
}
