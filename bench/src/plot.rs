//! Curves as SVG, readable on light and dark pages alike.

use std::fmt::Write as _;

use crate::table::whole;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 60.0;
/// From this ratio of most to least on, the upright axis is logarithmic.
const WIDE: f64 = 30.0;

/// How a place on an axis follows from a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal distances are equal differences.
    Linear,
    /// Equal distances are equal ratios; values are above 0.
    Log,
    /// Every point is as far from the next.
    Even,
}

/// A line of the chart; points that were not measured are absent.
pub struct Line {
    /// Its name.
    pub name: &'static str,
    /// One value for each point of the chart.
    pub values: Vec<Option<f64>>,
}

/// A chart.
pub struct Chart {
    /// Heading.
    pub title: String,
    /// What the level axis shows.
    pub x_title: &'static str,
    /// What the upright axis shows.
    pub y_title: &'static str,
    /// Value and label of each point, in order.
    pub points: Vec<(f64, String)>,
    /// Scale of the level axis.
    pub scale: Scale,
    /// What was measured.
    pub lines: Vec<Line>,
}

impl Chart {
    /// The SVG document.
    pub fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"system-ui,sans-serif\" font-size=\"13\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n",
            escaped(&self.title)
        );
        text(&mut out, LEFT, 26.0, "start", "heading", &self.title);
        let values = || self.lines.iter().flat_map(|line| line.values.iter().flatten().copied());
        let most = values().fold(0.0, f64::max).max(1e-9);
        let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
        let upright = Upright::new(least, most);
        for (value, label) in upright.ticks() {
            let y = upright.place(value);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/>", WIDTH - RIGHT);
            text(&mut out, LEFT - 8.0, y + 4.5, "end", "label", &label);
        }
        for (index, (_, label)) in self.points.iter().enumerate() {
            let x = self.x(index);
            let _ = writeln!(out, "<path class=\"axis\" d=\"M{x:.1} {}v5\"/>", HEIGHT - BOTTOM);
            text(&mut out, x, HEIGHT - BOTTOM + 20.0, "middle", "label", label);
        }
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{}H{}\"/>", HEIGHT - BOTTOM, WIDTH - RIGHT);
        text(&mut out, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 14.0, "middle", "label", self.x_title);
        text(&mut out, LEFT, TOP - 10.0, "start", "label", self.y_title);
        let mut legend = WIDTH - RIGHT;
        for (number, line) in self.lines.iter().enumerate().rev() {
            self.draw(&mut out, number, line, &upright);
            text(&mut out, legend, TOP - 10.0, "end", "label", line.name);
            legend -= line.name.len() as f64 * 7.5 + 10.0;
            let _ = writeln!(out, "<path class=\"line line{number}\" d=\"M{:.1} {}h24\"/>", legend - 24.0, TOP - 14.5);
            legend -= 44.0;
        }
        out.push_str("</svg>\n");
        out
    }

    fn draw(&self, out: &mut String, number: usize, line: &Line, upright: &Upright) {
        let places: Vec<(f64, f64)> =
            line.values.iter().enumerate().filter_map(|(index, value)| value.map(|value| (self.x(index), upright.place(value)))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        if !path.is_empty() {
            let _ = writeln!(out, "<path class=\"line line{number}\" d=\"M{}\"/>", path.join("L"));
        }
        for (x, y) in places {
            let _ = writeln!(out, "<circle class=\"dot{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
        }
    }

    fn x(&self, index: usize) -> f64 {
        let (room, start) = (WIDTH - LEFT - RIGHT - 40.0, LEFT + 20.0);
        let (first, last) = (self.points[0].0, self.points[self.points.len() - 1].0);
        let value = self.points[index].0;
        let part = match self.scale {
            Scale::Linear => (value - first) / (last - first),
            Scale::Log => (value / first).ln() / (last / first).ln(),
            Scale::Even => index as f64 / (self.points.len() - 1) as f64,
        };
        start + if part.is_finite() { part * room } else { 0.0 }
    }
}

/// The upright axis.
struct Upright {
    from: f64,
    to: f64,
    is_log: bool,
}

impl Upright {
    fn new(least: f64, most: f64) -> Self {
        if most / least >= WIDE {
            return Self { from: 10f64.powf(least.log10().floor()), to: 10f64.powf(most.log10().ceil()), is_log: true };
        }
        Self { from: 0.0, to: (most / step(most)).ceil() * step(most), is_log: false }
    }

    fn place(&self, value: f64) -> f64 {
        let part = if self.is_log { (value.max(self.from) / self.from).ln() / (self.to / self.from).ln() } else { value / self.to };
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let mut values = Vec::new();
        let mut value = self.from;
        while value <= self.to * 1.0001 {
            values.push((value, if value < 10.0 && value.fract() > 0.0 { format!("{value}") } else { whole(value) }));
            value = if self.is_log { value * 10.0 } else { value + step(self.to) };
        }
        values
    }
}

/// A round distance of which about five make up the whole.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 5.0).log10().floor());
    let rest = most / 5.0 / power;
    power * [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|step| rest <= *step * 1.0001).unwrap_or(10.0)
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words));
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

const STYLE: &str = "\
.page{fill:#fff}.heading{fill:#1f2328;font-size:16px;font-weight:600}.label{fill:#59636e}
.grid{stroke:#d8dee4;fill:none}.axis{stroke:#8c959f;fill:none}.line{fill:none;stroke-width:2.5;stroke-linejoin:round}
.line0{stroke:#0969da}.dot0{fill:#0969da}.line1{stroke:#8c959f;stroke-dasharray:6 4}.dot1{fill:#8c959f}.line2{stroke:#1a7f37}.dot2{fill:#1a7f37}
@media (prefers-color-scheme:dark){.page{fill:#0d1117}.heading{fill:#f0f6fc}.label{fill:#9198a1}.grid{stroke:#2b3138}.axis{stroke:#656c76}
.line0{stroke:#58a6ff}.dot0{fill:#58a6ff}.line1{stroke:#9198a1}.dot1{fill:#9198a1}.line2{stroke:#3fb950}.dot2{fill:#3fb950}}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose_what_is_shown() {
        let linear = Upright::new(4000.0, 23_000.0);
        let ticks: Vec<f64> = linear.ticks().into_iter().map(|(value, _)| value).collect();
        assert_eq!(ticks, [0.0, 5000.0, 10_000.0, 15_000.0, 20_000.0, 25_000.0]);
        let log = Upright::new(7.0, 9000.0);
        assert_eq!(log.ticks().into_iter().map(|(_, label)| label).collect::<Vec<_>>(), ["1", "10", "100", "1 000", "10 000"]);
        assert!((log.place(10_000.0) - TOP).abs() < 0.01 && (linear.place(0.0) - (HEIGHT - BOTTOM)).abs() < 0.01);
    }

    #[test]
    fn a_chart_has_its_lines_and_labels() {
        let chart = Chart {
            title: "a < b".into(),
            x_title: "bytes",
            y_title: "events/s",
            points: vec![(1.0, "1".into()), (10.0, "10".into()), (100.0, "100".into())],
            scale: Scale::Log,
            lines: vec![Line { name: "server", values: vec![Some(5.0), None, Some(7.0)] }],
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && svg.matches("<circle").count() == 2 && svg.ends_with("</svg>\n"));
        assert!((chart.x(1) - (chart.x(0) + chart.x(2)) / 2.0).abs() < 0.01, "a power of ten is as far as the next");
    }
}
