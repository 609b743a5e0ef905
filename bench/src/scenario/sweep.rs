//! Where cost grows: one thing is changed step by step, and everything else stays.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::BenchError;
use crate::api::{Api, EVENT_TYPE};
use crate::load::Until;
use crate::plot::{Chart, Line, Scale};
use crate::report::Report;
use crate::run::{Bench, Pushed, Run, Shape, Subject};
use crate::sink::Mode;
use crate::table::{Cell, Table};

const TIME: Duration = Duration::from_secs(3);
/// Deliveries in a second of a point whose events are counted beforehand.
const DELIVERIES: u64 = 30_000;
/// Targets of the sweep of dead ones.
const GROUP: usize = 10;
/// Connections that make subscriptions.
const MAKERS: u64 = 16;

/// Curves: what is accepted and delivered in a second while one thing grows. Writes a CSV file and an SVG picture for each.
#[derive(Clone, Debug, clap::Args)]
pub struct Sweep {
    /// What grows.
    #[arg(value_enum, default_value_t = What::All)]
    pub what: What,
    /// Where the files go.
    #[arg(long, value_name = "DIR", default_value = "docs/performance")]
    pub out: PathBuf,
    /// Leave out points above this.
    #[arg(long, value_name = "N")]
    pub most: Option<u64>,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Bytes of an event: 100 B to 256 KiB.
    Payload,
    /// Targets of an event: 1 to 1,000.
    FanOut,
    /// Subscriptions, of which one matches: 1 to 100,000.
    Subscriptions,
    /// Percentage of ten targets that never answer: 0 to 90.
    Dead,
    /// Milliseconds until the receiver answers: 0 to 1,000.
    Delay,
    /// Connections that publish: 1 to 1,000.
    Connections,
    /// All of these.
    All,
}

struct Plan {
    file: &'static str,
    title: &'static str,
    x_title: &'static str,
    y_title: &'static str,
    scale: Scale,
    points: &'static [u64],
    with_relay: bool,
}

fn plan(what: What) -> Plan {
    let plan = Plan { file: "", title: "", x_title: "", y_title: "events delivered/s", scale: Scale::Log, points: &[], with_relay: true };
    match what {
        What::Payload => Plan {
            file: "payload",
            title: "Size of an event (64 connections, one target)",
            x_title: "bytes",
            points: &[100, 300, 1000, 4096, 16_384, 65_536, 262_144],
            ..plan
        },
        What::FanOut => Plan {
            file: "fan-out",
            title: "Targets of an event (300 bytes)",
            x_title: "targets",
            y_title: "deliveries/s",
            points: &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
            ..plan
        },
        What::Subscriptions => Plan {
            file: "subscriptions",
            title: "Subscriptions, of which one matches",
            x_title: "subscriptions",
            points: &[1, 10, 100, 1000, 10_000, 100_000],
            with_relay: false,
            ..plan
        },
        What::Dead => Plan {
            file: "dead-targets",
            title: "Targets of ten that never answer",
            x_title: "percent",
            y_title: "deliveries/s to the others",
            scale: Scale::Linear,
            points: &[0, 10, 20, 30, 40, 50, 60, 70, 80, 90],
            with_relay: false,
        },
        What::Delay => Plan {
            file: "receiver-delay",
            title: "Delay of the receiver (the server sends 32 at once, the relay 64)",
            x_title: "milliseconds",
            scale: Scale::Even,
            points: &[0, 1, 2, 5, 10, 50, 100, 500, 1000],
            ..plan
        },
        What::Connections | What::All => Plan {
            file: "connections",
            title: "Connections that publish (300 bytes, one target)",
            x_title: "connections",
            points: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000],
            ..plan
        },
    }
}

/// What one point gave.
#[derive(Clone, Debug, Default)]
struct Point {
    value: u64,
    server: Option<Pushed>,
    relay: Option<Pushed>,
}

impl Sweep {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let all = [What::Payload, What::FanOut, What::Subscriptions, What::Dead, What::Delay, What::Connections];
        let asked = [self.what];
        for what in if self.what == What::All { &all[..] } else { &asked[..] } {
            let plan = plan(*what);
            let points: Vec<u64> = plan.points.iter().copied().filter(|point| self.most.is_none_or(|most| *point <= most)).collect();
            let points = if *what == What::Subscriptions {
                subscriptions(bench, &points, report).await?
            } else {
                let mut measured = Vec::new();
                for value in points {
                    let mut point = Point { value, ..Point::default() };
                    point.server = measure(&bench.of(Subject::Server), *what, value, report).await?;
                    if plan.with_relay {
                        point.relay = measure(&bench.of(Subject::Relay), *what, value, report).await?;
                    }
                    measured.push(point);
                }
                measured
            };
            self.write(&plan, &points)?;
            report.add_table(table(&plan, &points));
        }
        Ok(())
    }

    fn write(&self, plan: &Plan, points: &[Point]) -> Result<(), BenchError> {
        fs::create_dir_all(&self.out).map_err(BenchError::io(self.out.display().to_string()))?;
        let write = |path: PathBuf, text: String| fs::write(&path, text).map_err(BenchError::io(path.display().to_string()));
        write(self.out.join(Path::new(plan.file).with_extension("csv")), csv(plan, points))?;
        if points.len() > 1 {
            write(self.out.join(Path::new(plan.file).with_extension("svg")), chart(plan, points).svg())?;
        }
        Ok(())
    }
}

/// One point of a sweep that begins with a fresh server each time; nothing if the run is void.
async fn measure(bench: &Bench, what: What, value: u64, report: &mut Report) -> Result<Option<Pushed>, BenchError> {
    let mut bench = bench.clone();
    let mut shape = Shape { targets: 1, connections: super::CONNECTIONS, batch: 1 };
    match what {
        What::Payload => bench.bytes = value as usize,
        What::FanOut => shape.targets = value as usize,
        What::Connections => bench.connections = Some(value as usize),
        What::Dead => shape.targets = GROUP,
        What::Delay | What::Subscriptions | What::All => {}
    }
    let time = bench.time_or(TIME);
    let mut run = bench.start(shape).await?;
    if what == What::Dead {
        for target in 0..value as usize * GROUP / 100 {
            run.load.ledger.set_owed(target, false);
            run.sink.set_mode(target, Mode::Hang);
        }
    }
    run.begin().await?;
    let until = match what {
        What::FanOut => Until::Accepted((DELIVERIES * time.as_millis() as u64 / 1000 / value).max(20)),
        _ => Until::Time(run.load.clock.us() + time.as_micros() as u64),
    };
    let pushed = if what == What::Delay { delayed(&run, value as u16, time).await? } else { run.push(until).await? };
    let figures = run.finish(format!("{what:?} {value}, {:?}", bench.subject), pushed.published).await?;
    eprintln!("{}: {:.0}/s delivered", figures.scenario, pushed.delivered_per_s);
    match figures.void() {
        Some(problem) => {
            report.add_void(format!("{}: {problem}", figures.scenario));
            Ok(None)
        }
        None => Ok(Some(pushed)),
    }
}

/// What arrives while the receiver is slow; what is left over then arrives without delay.
async fn delayed(run: &Run, ms: u16, time: Duration) -> Result<Pushed, BenchError> {
    run.sink.set_mode(0, if ms == 0 { Mode::Ok } else { Mode::Slow(ms) });
    let begun = run.push_begin()?;
    let published = run.load.closed_loop(Until::Time(run.load.clock.us() + time.as_micros() as u64)).await?;
    let pushed = run.push_end(&begun, published, published.ended_us)?;
    run.sink.set_mode(0, Mode::Ok);
    run.drain().await;
    Ok(pushed)
}

/// All points in one and the same server, which has ever more subscriptions.
async fn subscriptions(bench: &Bench, points: &[u64], report: &mut Report) -> Result<Vec<Point>, BenchError> {
    let shape = Shape { targets: 1, connections: super::CONNECTIONS, batch: 1 };
    let mut run = bench.of(Subject::Server).start_streams(&[1], shape).await?;
    run.make_targets(0..1, EVENT_TYPE, None).await?;
    let target = run.made[0].target.clone();
    run.begin().await?;
    let (mut measured, mut there) = (Vec::new(), 1);
    let mut all = crate::load::Published { began_us: run.load.clock.us(), ..crate::load::Published::default() };
    for &value in points {
        let mut makers = JoinSet::new();
        for maker in 0..MAKERS {
            let (address, target) = (run.server.address(), target.clone());
            makers.spawn(async move {
                let mut api = Api::open(address).await?;
                for number in (there..value).filter(|number| number % MAKERS == maker) {
                    api.subscribe(&target, &format!("other.{number}")).await?;
                }
                Ok::<_, BenchError>(())
            });
        }
        while let Some(made) = makers.join_next().await {
            made.expect("makers do not panic")?;
        }
        there = there.max(value);
        let end = run.load.clock.us() + bench.time_or(TIME).as_micros() as u64;
        let pushed = run.push(Until::Time(end)).await?;
        eprintln!("Subscriptions {value}: {:.0}/s delivered", pushed.delivered_per_s);
        all = all.merge(pushed.published);
        measured.push(Point { value, server: Some(pushed), relay: None });
    }
    let figures = run.finish("Subscriptions".to_owned(), all).await?;
    if let Some(problem) = figures.void() {
        report.add_void(format!("Subscriptions: {problem}"));
    }
    Ok(measured)
}

type Column = (&'static str, fn(&Pushed) -> f64);

const COLUMNS: [Column; 4] = [
    ("accepted/s", |p| p.accepted_per_s),
    ("delivered/s", |p| p.delivered_per_s),
    ("CPU µs/event", |p| p.cpu_us_per_event),
    ("peak memory MiB", |p| p.peak_mib),
];

fn csv(plan: &Plan, points: &[Point]) -> String {
    let mut out = plan.x_title.to_owned();
    for subject in ["server", "relay"] {
        COLUMNS.iter().for_each(|(name, _)| {
            let _ = write!(out, ",{subject} {name}");
        });
    }
    for point in points {
        let _ = write!(out, "\n{}", point.value);
        for pushed in [&point.server, &point.relay] {
            for (_, read) in COLUMNS {
                let _ = match pushed {
                    Some(pushed) => write!(out, ",{:.1}", read(pushed)),
                    None => write!(out, ","),
                };
            }
        }
    }
    out.push('\n');
    out
}

fn table(plan: &Plan, points: &[Point]) -> Table {
    let mut table =
        Table::new(plan.title, &["accepted/s", "delivered/s", "CPU µs/event", "peak MiB", "relay accepted/s", "relay delivered/s"]);
    for point in points {
        let cells = |pushed: &Option<Pushed>, columns: usize| -> Vec<Cell> {
            COLUMNS[..columns].iter().map(|(_, read)| Cell::of(pushed.as_ref().map(read))).collect()
        };
        let mut row = cells(&point.server, 4);
        row.extend(cells(&point.relay, 2));
        table.row(format!("{} {}", crate::table::whole(point.value as f64), plan.x_title), row);
    }
    table
}

fn chart(plan: &Plan, points: &[Point]) -> Chart {
    let line = |name, read: fn(&Point) -> &Option<Pushed>| Line {
        name,
        values: points.iter().map(|point| read(point).as_ref().map(|pushed| pushed.delivered_per_s)).collect(),
    };
    let mut lines = vec![line("server", |point| &point.server)];
    if plan.with_relay {
        lines.push(line("relay", |point| &point.relay));
    }
    let label = |value: u64| {
        if value >= 1024 && value.is_multiple_of(1024) { format!("{} Ki", value / 1024) } else { crate::table::whole(value as f64) }
    };
    Chart {
        title: plan.title.to_owned(),
        x_title: plan.x_title,
        y_title: plan.y_title,
        points: points.iter().map(|point| (point.value as f64, label(point.value))).collect(),
        scale: plan.scale,
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_column_for_each_figure() {
        let pushed = Pushed { accepted_per_s: 10.0, delivered_per_s: 9.5, ..Pushed::default() };
        let points =
            [Point { value: 1, server: Some(pushed.clone()), relay: None }, Point { value: 10, server: Some(pushed), relay: None }];
        let plan = plan(What::Subscriptions);
        let csv = csv(&plan, &points);
        let widths: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(widths, [9, 9, 9]);
        assert!(csv.ends_with("\n10,10.0,9.5,0.0,0.0,,,,\n"), "{csv}");
        assert!(chart(&plan, &points).svg().contains("subscriptions"));
    }
}
