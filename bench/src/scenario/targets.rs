//! Everything that Posthaste promises about speed, measured in one go and held against the promise.

use std::time::Duration;

use crate::BenchError;
use crate::cli::defaults;
use crate::report::{Figures, Report};
use crate::run::Bench;
use crate::scenario::beside::{Pair, Yardstick};
use crate::scenario::history::History;
use crate::scenario::idle::Idle;
use crate::scenario::isolation::{Case, Isolation};
use crate::scenario::kill::Kill;
use crate::scenario::latency::Latency;
use crate::scenario::momentum::Momentum;
use crate::scenario::startup::Startup;
use crate::scenario::throughput::Throughput;
use crate::table::{Cell, Table, short, whole};
use crate::timing::{Percentiles, median};

/// Least part of the relay's throughput.
const OF_RELAY: f64 = 0.8;

/// The table of targets: what was promised, what was seen, and whether that keeps the promise.
#[derive(Clone, Debug, clap::Args)]
pub struct Targets {
    /// Only these parts; may be repeated [default: all].
    #[arg(long = "part", value_enum, value_name = "PART")]
    pub parts: Vec<Part>,
    /// Queued deliveries of the start.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub queued: u64,
    /// Stored events of the history.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100_000..=50_000_000))]
    pub events: u64,
}

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// One target beside the relay; CPU, memory and disk too.
    Throughput,
    /// Ten targets beside the relay.
    FanOut,
    /// Arrays of a hundred.
    Arrays,
    /// Momentum batches.
    Momentum,
    /// At 500/s and 5,000/s.
    Latency,
    /// Sick targets beside healthy ones.
    Isolation,
    /// kill -9.
    Kill,
    /// A start with a long queue.
    Startup,
    /// Ten thousand targets and nothing to do.
    Idle,
    /// Pages of a big store.
    History,
}

const ALL: [Part; 10] = [
    Part::Throughput,
    Part::FanOut,
    Part::Arrays,
    Part::Momentum,
    Part::Latency,
    Part::Isolation,
    Part::Kill,
    Part::Startup,
    Part::Idle,
    Part::History,
];

/// A promise about one figure.
#[derive(Clone, Copy, Debug)]
enum Promise {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Promise {
    fn is_kept(self, seen: f64) -> bool {
        match self {
            Self::AtLeast(value) => seen >= value,
            Self::AtMost(value) => seen <= value,
            Self::Below(value) => seen < value,
        }
    }

    fn show(self) -> String {
        let (sign, value) = match self {
            Self::AtLeast(value) => ("≥", value),
            Self::AtMost(value) => ("≤", value),
            Self::Below(value) => ("<", value),
        };
        if value >= 10.0 || value.fract() == 0.0 { format!("{sign} {}", whole(value)) } else { format!("{sign} {value}") }
    }
}

/// The table as it grows.
struct Verdicts {
    table: Table,
    kept: usize,
    broken: Vec<String>,
}

impl Verdicts {
    fn row(&mut self, what: &str, promise: Promise, seen: Option<f64>) {
        let met = seen.map(|seen| promise.is_kept(seen));
        match met {
            Some(true) => self.kept += 1,
            _ => self.broken.push(what.to_owned()),
        }
        let shown = seen.map_or_else(|| "no run counts".to_owned(), |seen| if seen.abs() >= 1000.0 { whole(seen) } else { short(seen) });
        let met = if met == Some(true) { "yes" } else { "NO" };
        eprintln!("{what}: {} {shown} {met}", promise.show());
        self.table.row(what, vec![Cell::Text(promise.show()), Cell::Text(shown), Cell::Text(met.to_owned())]);
    }
}

impl Targets {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let title = format!("targets, medians of {} runs that count", bench.runs);
        let mut verdicts = Verdicts { table: Table::new(title, &["target", "seen", "met?"]), kept: 0, broken: Vec::new() };
        for part in if self.parts.is_empty() { &ALL[..] } else { &self.parts } {
            self.part(*part, bench, report, &mut verdicts).await?;
        }
        let note = match verdicts.broken.len() {
            0 => format!("all {} are met", verdicts.kept),
            count => format!("{} met, {count} not: {}", verdicts.kept, verdicts.broken.join("; ")),
        };
        verdicts.table.note(note);
        report.add_table(verdicts.table);
        Ok(())
    }

    async fn part(&self, part: Part, bench: &Bench, report: &mut Report, verdicts: &mut Verdicts) -> Result<(), BenchError> {
        use Promise::{AtLeast, AtMost, Below};
        match part {
            Part::Throughput => {
                let pair = Pair::measure(bench, &Yardstick::Throughput(defaults())).await?;
                let (server, _, ratio) = pair.medians(|f| f.delivered_per_s);
                verdicts.row("delivered/s, one target, 64 connections, 300 B", AtLeast(20_000.0), server);
                verdicts.row("… in parts of the relay", AtLeast(OF_RELAY), ratio);
                verdicts.row("CPU µs/event", AtMost(60.0), pair.medians(|f| Some(f.cpu_us_per_event)).0);
                verdicts.row("peak memory MB under this load", AtMost(60.0), pair.medians(|f| Some(megabytes(f.peak_mib))).0);
                verdicts.row("disk bytes/delivered event", AtMost(700.0), pair.medians(|f| Some(f.disk_bytes_per_event)).0);
                verdicts.row("bytes written/stored", AtMost(3.0), pair.medians(Figures::write_amplification).0);
                pair.report(report);
            }
            Part::FanOut => {
                let pair = Pair::measure(bench, &Yardstick::Throughput(Throughput { batch: 1, fan_out: 10 })).await?;
                let (server, _, ratio) = pair.medians(|f| f.delivered_per_s);
                verdicts.row("deliveries/s, ten targets", AtLeast(30_000.0), server);
                verdicts.row("… in parts of the relay ", AtLeast(OF_RELAY), ratio);
                pair.report(report);
            }
            Part::Arrays => {
                let runs = repeat(bench, report, &Yardstick::Throughput(Throughput { batch: 100, fan_out: 1 })).await?;
                verdicts.row("accepted/s, arrays of 100", AtLeast(60_000.0), middle(&runs, |f| f.accepted_per_s));
                verdicts.row("delivered/s, arrays of 100", AtLeast(25_000.0), middle(&runs, |f| f.delivered_per_s));
            }
            Part::Momentum => {
                let mut drains = Vec::new();
                for _ in 0..bench.runs {
                    let [live, drain] = defaults::<Momentum>().measure(bench).await?;
                    drains.extend(drain.void().is_none().then(|| drain.clone()));
                    report.add(live);
                    report.add(drain);
                }
                verdicts.row("Momentum events/s into one webhook", AtLeast(200_000.0), middle(&drains, |f| f.delivered_per_s));
            }
            Part::Latency => {
                for (rate, p50, p99) in [(500, 1.0, 3.0), (5000, 2.0, 8.0)] {
                    let runs = repeat(bench, report, &Yardstick::Latency(Latency { rate })).await?;
                    let read = |read: fn(&Figures) -> Option<Percentiles>, p: fn(Percentiles) -> f64| {
                        median(runs.iter().filter_map(|run| read(run).map(p)).collect())
                    };
                    verdicts.row(&format!("publish p50 ms at {rate}/s"), AtMost(p50), read(|f| f.publish_ms, |p| p.p50));
                    verdicts.row(&format!("publish p99 ms at {rate}/s"), AtMost(p99), read(|f| f.publish_ms, |p| p.p99));
                    verdicts.row(&format!("delivery p50 ms at {rate}/s"), AtMost(p50), read(|f| f.delivery_ms, |p| p.p50));
                    verdicts.row(&format!("delivery p99 ms at {rate}/s"), AtMost(p99), read(|f| f.delivery_ms, |p| p.p99));
                }
            }
            Part::Isolation => {
                let cases = vec![Case::OneOfTen, Case::OneOfHundred, Case::Failing];
                for compared in (Isolation { cases, ..defaults() }).measure(bench, report).await? {
                    verdicts.row(&format!("{}: p99 of the healthy moves %", compared.name), Below(10.0), compared.p99_change());
                    let lost = compared.throughput_change().map(|percent| -percent);
                    verdicts.row(&format!("{}: throughput of the healthy lost %", compared.name), Below(5.0), lost);
                }
            }
            Part::Kill => {
                let scenario = defaults::<Kill>();
                let kills = scenario.measure(bench, report).await?;
                report.add_table(kills.table(scenario.kills));
                verdicts.row("kill -9: acknowledged and lost", AtMost(0.0), Some(kills.lost as f64));
                let limits = AtMost(kills.bound as f64);
                verdicts.row(
                    "kill -9: most duplicates of one kill, of those the limits let be under way",
                    limits,
                    Some(kills.most_duplicates as f64),
                );
                let slowest = kills.delivering_ms.iter().copied().reduce(f64::max);
                verdicts.row("kill -9: ms until delivering again, at most", AtMost(1000.0), slowest);
            }
            Part::Startup => {
                let start = Startup { queued: self.queued }.measure(bench, report).await?;
                let queued = whole(self.queued as f64);
                verdicts.row(&format!("ms until ready with {queued} queued"), Below(3000.0), Some(start.ready_ms));
                verdicts.row(&format!("ms until the first delivery with {queued} queued"), AtMost(1000.0), start.first_ms);
                let most = start.queueing_mib.max(start.peak_mib);
                verdicts.row(&format!("peak memory MB with {queued} queued"), AtMost(150.0), Some(megabytes(most)));
            }
            Part::Idle => {
                let figures = defaults::<Idle>().measure(bench).await?;
                verdicts.row("CPU % when idle, 10,000 targets", Below(0.2), figures.idle_cpu_percent);
                report.add(figures);
            }
            Part::History => {
                let events = self.events;
                let asked = History { events, ..defaults() }.measure(bench, report).await?;
                let slowest = asked
                    .iter()
                    .filter_map(|asked| Some((asked.name, Percentiles::of(&asked.timings)?.p99)))
                    .max_by(|a, b| a.1.total_cmp(&b.1));
                let name = slowest.map_or("no page", |(name, _)| name);
                let what = format!("p99 ms of the slowest page ({name}) with {} events", whole(events as f64));
                verdicts.row(&what, Below(50.0), slowest.map(|(_, p99)| p99));
            }
        }
        // The files of what was taken down are flushed by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// Runs that count, as often as the bench is set to.
async fn repeat(bench: &Bench, report: &mut Report, yardstick: &Yardstick) -> Result<Vec<Figures>, BenchError> {
    let mut runs = Vec::new();
    for _ in 0..bench.runs {
        let figures = yardstick.measure(bench).await?;
        runs.extend(figures.void().is_none().then(|| figures.clone()));
        report.add(figures);
    }
    Ok(runs)
}

fn middle(runs: &[Figures], read: fn(&Figures) -> Option<f64>) -> Option<f64> {
    median(runs.iter().filter_map(read).collect())
}

fn megabytes(mib: f64) -> f64 {
    mib * 1.048_576
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_or_broken() {
        let mut verdicts = Verdicts { table: Table::new("", &["target", "seen", "met?"]), kept: 0, broken: Vec::new() };
        verdicts.row("a", Promise::AtLeast(20_000.0), Some(20_000.0));
        verdicts.row("b", Promise::Below(0.2), Some(0.2));
        verdicts.row("c", Promise::AtMost(3.0), None);
        assert_eq!((verdicts.kept, verdicts.broken.join(" ")), (1, "b c".to_owned()));
        let rows = verdicts.table.json()["rows"].clone();
        assert_eq!(
            (&rows[0]["target"], &rows[1]["target"], &rows[2]["seen"]),
            (&"≥ 20 000".into(), &"< 0.2".into(), &"no run counts".into())
        );
    }
}
