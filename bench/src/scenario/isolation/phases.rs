//! Two sides of a comparison, each measured several times.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::BenchError;
use crate::load::Published;
use crate::run::Run;
use crate::table::Cell;
use crate::timing::{Percentiles, empty, median};

/// What one side showed.
pub struct Side {
    /// Of delivery to the healthy, all turns together.
    pub timings: Histogram<u64>,
    /// p99 of each turn.
    p99: Vec<f64>,
    /// Deliveries to the healthy in a second, for each turn.
    pub per_second: Vec<f64>,
}

impl Side {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { timings: empty(), p99: Vec::new(), per_second: Vec::new() }
    }

    /// Adds the timings of one turn.
    pub fn add(&mut self, timings: &Histogram<u64>) {
        self.timings.add(timings).expect("both have three digits and grow as needed");
        self.p99.extend(Percentiles::of(timings).map(|p| p.p99));
    }

    /// Median over the turns of each one's p99: one bad moment of the machine is not a turn's doing.
    fn p99(&self) -> Option<f64> {
        median(self.p99.clone())
    }
}

/// Alone and with.
pub struct Compared {
    /// What stood beside the healthy.
    pub name: String,
    /// Without it.
    pub alone: Side,
    /// With it.
    pub with: Side,
}

impl Compared {
    /// Headings for [`Compared::cells`].
    pub const COLUMNS: [&'static str; 9] =
        ["alone p50 ms", "p99 ms", "with p50 ms", "p99 ms ", "p99 moves %", "alone del/s", "with del/s", "moves %", "deliveries timed"];

    /// Nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), alone: Side::new(), with: Side::new() }
    }

    /// Adds the timings of one turn, and shows them.
    pub fn add(&mut self, with: bool, timings: &Histogram<u64>) {
        let at = |quantile| timings.value_at_quantile(quantile) as f64 / 1e3;
        let side = if with { "with" } else { "alone" };
        eprintln!("{} {side}: p50 {:.2}, p90 {:.2}, p99 {:.2}, max {:.1} ms", self.name, at(0.5), at(0.9), at(0.99), at(1.0));
        self.side(with).add(timings);
    }

    /// The side to add to.
    pub fn side(&mut self, with: bool) -> &mut Side {
        if with { &mut self.with } else { &mut self.alone }
    }

    /// How much the healthy targets' p99 moved, in percent.
    pub fn p99_change(&self) -> Option<f64> {
        change(self.alone.p99(), self.with.p99())
    }

    /// How much their throughput moved, in percent.
    pub fn throughput_change(&self) -> Option<f64> {
        change(median(self.alone.per_second.clone()), median(self.with.per_second.clone()))
    }

    /// The row of the table.
    pub fn cells(&self) -> Vec<Cell> {
        let sign = |value: Option<f64>| value.map_or(Cell::Empty, |percent| Cell::Text(format!("{percent:+.1}")));
        let p50 = |side: &Side| Cell::of(Percentiles::of(&side.timings).map(|p| p.p50));
        let rate = |side: &Side| median(side.per_second.clone()).map_or(Cell::Empty, Cell::Whole);
        vec![
            p50(&self.alone),
            Cell::of(self.alone.p99()),
            p50(&self.with),
            Cell::of(self.with.p99()),
            sign(self.p99_change()),
            rate(&self.alone),
            rate(&self.with),
            sign(self.throughput_change()),
            Cell::Whole((self.alone.timings.len() + self.with.timings.len()) as f64),
        ]
    }
}

fn change(from: Option<f64>, to: Option<f64>) -> Option<f64> {
    from.zip(to).filter(|(from, _)| *from > 0.0).map(|(from, to)| (to / from - 1.0) * 100.0)
}

/// Publishes at a rate and answers how long deliveries took, once all have arrived.
pub async fn timed(run: &Run, rate: f64, time: Duration) -> Result<(Histogram<u64>, Published), BenchError> {
    run.receipts().timings.take();
    let published = run.load.open_loop(rate, time).await?;
    run.drain().await;
    Ok((run.receipts().timings.take(), published))
}

/// Waits until the disk has what was stored so far, so that writing it back is not measured. A machine without `sync` does not wait.
pub fn written() {
    let _ = std::process::Command::new("sync").status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_in_percent_of_what_was() {
        assert_eq!((change(Some(2.0), Some(3.0)), change(Some(4.0), Some(3.0)), change(None, Some(1.0))), (Some(50.0), Some(-25.0), None));
        let mut compared = Compared::new("x");
        for (with, us) in [(false, 1000), (true, 1500), (false, 1000), (true, 9000), (true, 1500), (false, 1000)] {
            let mut timings = empty();
            timings.record(us).expect("it grows");
            compared.side(with).add(&timings);
        }
        let moved = compared.p99_change().expect("both sides have some");
        assert!((49.0..51.0).contains(&moved), "{moved}: one bad turn in three does not count");
        assert_eq!(compared.cells().len(), Compared::COLUMNS.len());
    }
}
