//! Charts over time: drawn on the server as SVG, in the colours of the theme, with the same numbers as a table beside them.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::time::short_time;
use super::{Head, full_time, table};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 132.0;
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 20.0;
const TOP: f64 = 8.0;

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartKind {
    /// Lines, the first one with the area below it.
    Lines,
    /// Bars, stacked.
    Bars,
}

/// Values of one kind, one for each time.
pub struct Series<'a> {
    /// What they are.
    pub name: &'a str,
    /// The values; as many as the chart has times.
    pub values: Vec<f64>,
    /// Which colour: 0 accent, 1 good, 2 bad, 3 warning.
    pub colour: usize,
}

/// A chart over time.
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// How.
    pub kind: ChartKind,
    /// The times (RFC 3339), at even distances.
    pub times: &'a [String],
    /// The values.
    pub series: &'a [Series<'a>],
    /// How a value is written.
    pub format: fn(f64) -> String,
}

/// The least round number that is not below: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value * 0.999_999).unwrap_or(10.0 * power)
}

impl Chart<'_> {
    fn top(&self) -> f64 {
        let sums = (0..self.times.len()).map(|at| {
            let values = self.series.iter().map(|series| series.values.get(at).copied().unwrap_or_default());
            if self.kind == ChartKind::Bars { values.sum() } else { values.fold(0.0, f64::max) }
        });
        round_up(sums.fold(0.0, f64::max))
    }

    fn x(&self, at: usize) -> f64 {
        let steps = self.times.len().saturating_sub(1).max(1) as f64;
        LEFT + (WIDTH - LEFT) * at as f64 / steps
    }

    fn drawing(&self) -> String {
        let top = self.top();
        let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
        let mut out = String::new();
        for part in [0.0, 0.5, 1.0] {
            let (line, label) = (y(top * part), (self.format)(top * part));
            let _ = write!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{line:.1}\" y2=\"{line:.1}\"/>");
            let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">", LEFT - 6.0, line + 3.5);
            let _ = write!(out, "{}</text>", html! { (label) }.into_string());
        }
        match self.kind {
            ChartKind::Lines => self.lines(&mut out, y),
            ChartKind::Bars => self.bars(&mut out, y),
        }
        out
    }

    fn lines(&self, out: &mut String, y: impl Fn(f64) -> f64) {
        for (order, series) in self.series.iter().enumerate().rev() {
            let mut path = String::new();
            for (at, value) in series.values.iter().enumerate() {
                let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { "M" } else { "L" }, self.x(at), y(*value));
            }
            let _ = write!(out, "<g class=\"series-{}\">", series.colour % 4);
            if order == 0 && !series.values.is_empty() {
                let (last, base) = (self.x(series.values.len() - 1), y(0.0));
                let _ = write!(out, "<path class=\"area fill\" d=\"{path}L{last:.1} {base:.1}L{LEFT} {base:.1}Z\"/>");
            }
            let _ = write!(out, "<path class=\"line stroke\" d=\"{path}\"/></g>");
        }
    }

    fn bars(&self, out: &mut String, y: impl Fn(f64) -> f64) {
        let slot = (WIDTH - LEFT) / self.times.len().max(1) as f64;
        let width = (slot - 1.5).max(slot * 0.6);
        let mut below = vec![0.0; self.times.len()];
        for series in self.series {
            let _ = write!(out, "<g class=\"series-{}\">", series.colour % 4);
            for (at, value) in series.values.iter().enumerate().filter(|(at, value)| **value > 0.0 && *at < self.times.len()) {
                let (from, to) = (y(below[at]), y(below[at] + value));
                below[at] += value;
                let left = LEFT + slot * at as f64;
                let _ = write!(
                    out,
                    "<rect class=\"fill\" x=\"{left:.1}\" y=\"{to:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"1\"/>",
                    (from - to).max(0.5)
                );
            }
            out.push_str("</g>");
        }
    }

    /// The chart with its legend and its numbers.
    pub fn show(&self) -> Markup {
        let sum = |series: &Series<'_>| (self.format)(series.values.iter().copied().fold(0.0, f64::max));
        let about: Vec<String> = self.series.iter().map(|series| format!("{}: at most {}", series.name, sum(series))).collect();
        let heads: Vec<Head<'_>> =
            std::iter::once(Head::new("Time")).chain(self.series.iter().map(|series| Head::num(series.name))).collect();
        let busy = |at: &usize| self.series.iter().any(|series| series.values.get(*at).is_some_and(|value| *value != 0.0));
        let rows = html! {
            @for at in (0..self.times.len()).filter(busy) {
                tr {
                    td.nowrap { (full_time(&self.times[at])) }
                    @for series in self.series { td.num { ((self.format)(series.values.get(at).copied().unwrap_or_default())) } }
                }
            }
        };
        html! {
            figure.chart {
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(format!("{}. {}", self.title, about.join("; "))) {
                    // Holds numbers that this module wrote, and text that was escaped.
                    (PreEscaped(self.drawing()))
                }
                figcaption.row.apart.small.muted {
                    @if let (Some(first), Some(last)) = (self.times.first(), self.times.last()) { span { (short_time(first)) } span { (short_time(last)) } }
                }
                @if self.series.len() > 1 {
                    ul.legend { @for series in self.series { li { span.swatch.(format!("series-{}", series.colour % 4)) {} (series.name) } } }
                }
                details.chart-data { summary { "Numbers" } (table("", self.title, &heads, rows)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_empty_charts_are_drawn() {
        assert_eq!([0.0, 1.0, 3.0, 7.0, 12.0, 0.03, 1000.0].map(round_up), [1.0, 1.0, 5.0, 10.0, 20.0, 0.05, 1000.0]);
        let times = ["2026-01-01T00:00:00Z".to_owned(), "2026-01-01T00:01:00Z".to_owned()];
        for (kind, values) in [(ChartKind::Lines, vec![1.0, 3.0]), (ChartKind::Bars, vec![0.0, 2.0]), (ChartKind::Lines, vec![])] {
            let series = [Series { name: "<b>", values, colour: 0 }];
            let chart = Chart { title: "t", kind, times: &times, series: &series, format: |value| format!("{value}") };
            let shown = chart.show().into_string();
            assert!(!shown.contains("<b>") && !shown.contains("NaN"), "{shown}");
        }
    }
}
