//! The figures of all runs: a table for people, JSON for machines.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::BenchError;
use crate::run::Bench;
use crate::table::{Cell, Table};
use crate::timing::{Percentiles, median};
use crate::usage::file_system;

/// What one run gave. What it does not measure is absent.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Name of the scenario and what is special about the run.
    pub scenario: String,
    /// Events sent.
    pub sent: u64,
    /// Events answered with success.
    pub accepted: u64,
    /// Deliveries that arrived, each counted once.
    pub delivered: u64,
    /// Deliveries of accepted events that never arrived.
    pub lost: u64,
    /// Deliveries that arrived again.
    pub duplicates: u64,
    /// Bodies that were not what was sent.
    pub damaged: u64,
    /// Deliveries of events whose answer did not arrive.
    pub unacknowledged: u64,
    /// Requests refused for want of room.
    pub refused: u64,
    /// Requests whose connection broke.
    pub broken: u64,
    /// From the first request to the last answer.
    pub accepted_per_s: Option<f64>,
    /// From the first request to the last receipt.
    pub delivered_per_s: Option<f64>,
    /// Of publishing.
    pub publish_ms: Option<Percentiles>,
    /// From the start of publishing to receipt.
    pub delivery_ms: Option<Percentiles>,
    /// CPU time of the server process, user and system.
    pub cpu_us_per_event: f64,
    /// CPU time of load generator and receiver.
    pub bench_cpu_us_per_event: f64,
    /// CPU time of everything else on the machine, the kernel's threads included, in percent of all cores: the noise.
    pub others_cpu_percent: f64,
    /// Most resident memory of the server.
    pub peak_mib: f64,
    /// Its resident memory at the end.
    pub resident_mib: f64,
    /// Growth of the data directory.
    pub disk_bytes_per_event: f64,
    /// Bytes that the server wrote to the disk, log and data.
    pub written_bytes_per_event: f64,
    /// Events that shared a flush, from the server's metrics.
    pub events_per_commit: Option<f64>,
    /// Mean time of a commit, from the server's metrics.
    pub commit_ms: Option<f64>,
    /// Allocations of the server, where it counts them.
    pub allocations_per_event: Option<f64>,
    /// Connections that the server opened to the receiver.
    pub receiver_connections: u64,
    /// Deliveries still pending at the end, from the server's metrics.
    pub pending: Option<f64>,
    /// CPU of the server while nothing happened, in percent of one core.
    pub idle_cpu_percent: Option<f64>,
}

impl Figures {
    /// Why the run proves nothing, if it does not.
    pub fn void(&self) -> Option<String> {
        let problem = match self {
            Self { accepted: 0, .. } => "nothing was accepted".to_owned(),
            Self { lost: 1.., .. } => format!("{} deliveries lost", self.lost),
            Self { damaged: 1.., .. } => format!("{} bodies damaged", self.damaged),
            Self { unacknowledged, broken: 0, .. } if *unacknowledged > 0 => format!("{unacknowledged} refused events delivered"),
            _ => return None,
        };
        Some(problem)
    }
}

/// All figures of one call of the program.
pub struct Report {
    machine: String,
    runs: Vec<Figures>,
    tables: Vec<Table>,
    /// What is void, besides runs with figures.
    void: Vec<String>,
}

impl Report {
    /// Empty; notes the machine.
    pub fn new(bench: &Bench) -> Result<Self, BenchError> {
        let data = &bench.launch.data;
        fs::create_dir_all(data).map_err(BenchError::io(format!("cannot make {}", data.display())))?;
        let data = data.canonicalize().map_err(BenchError::io(data.display().to_string()))?;
        let disk = file_system(&data);
        if disk == "tmpfs" {
            eprintln!("warning: {} is in memory; flushes cost nothing there, so name a real disk with --data-dir", data.display());
        }
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, model)| model.trim()));
        let machine = format!("{cores} cores ({}), {disk}; load generator and receiver on the same cores", model.unwrap_or("unknown"));
        Ok(Self { machine, runs: Vec::new(), tables: Vec::new(), void: Vec::new() })
    }

    /// Adds a run.
    pub fn add(&mut self, figures: Figures) {
        match figures.void() {
            Some(problem) => eprintln!("{}: VOID: {problem}", figures.scenario),
            None => eprintln!("{}: done", figures.scenario),
        }
        self.runs.push(figures);
    }

    /// Adds a table.
    pub fn add_table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Notes that a ledger did not come out even.
    pub fn add_void(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("VOID: {what}");
        self.void.push(what);
    }

    /// Whether all runs count.
    pub fn is_valid(&self) -> bool {
        self.void.is_empty() && self.runs.iter().all(|run| run.void().is_none())
    }

    /// Prints the tables, and the JSON where it is wanted.
    pub fn print(&self, json: Option<&Path>) -> Result<(), BenchError> {
        let mut text = format!("\n{}\n", self.machine);
        if !self.runs.is_empty() {
            text.push_str(&self.figures().text());
        }
        for table in &self.tables {
            text.push_str(&table.text());
            text.push('\n');
        }
        for void in &self.void {
            text.push_str(&format!("\nVOID: {void}"));
        }
        let Some(path) = json else {
            println!("{text}");
            return Ok(());
        };
        let runs = self.runs.iter().map(|run| {
            let mut value = serde_json::to_value(run).expect("figures are plain numbers and strings");
            value["void"] = json!(run.void());
            value
        });
        let tables: Vec<Value> = self.tables.iter().map(Table::json).collect();
        let document = json!({"machine": self.machine, "runs": runs.collect::<Vec<Value>>(), "tables": tables, "void": self.void});
        let document = format!("{document:#}\n");
        if path == Path::new("-") {
            eprintln!("{text}");
            print!("{document}");
            return Ok(());
        }
        println!("{text}");
        fs::write(path, document).map_err(BenchError::io(format!("cannot write {}", path.display())))
    }

    /// One column for each run, and one with the median of those that have the same name; one row for each figure that any of them has.
    fn figures(&self) -> Table {
        let mut names: Vec<&str> = self.runs.iter().map(|run| run.scenario.as_str()).collect();
        names.sort_unstable();
        let repeated: Vec<&str> = names.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).map(|same| same[0]).collect();
        let medians: Vec<String> = repeated.iter().map(|name| format!("{name}, median")).collect();
        let columns: Vec<&str> = self.runs.iter().map(|run| run.scenario.as_str()).chain(medians.iter().map(String::as_str)).collect();
        let mut table = Table::new("", &columns);
        for row in ROWS {
            let mut cells: Vec<Cell> = self.runs.iter().map(|run| Cell::of((row.read)(run))).collect();
            cells.extend(repeated.iter().map(|name| {
                let same = self.runs.iter().filter(|run| run.scenario == *name && run.void().is_none());
                Cell::of(median(same.filter_map(row.read).collect()))
            }));
            if row.is_whole {
                cells.iter_mut().for_each(|cell| {
                    if let Cell::Number(value) = *cell {
                        *cell = Cell::Whole(value);
                    }
                });
            }
            if cells.iter().any(|cell| *cell != Cell::Empty) {
                table.row(row.name, cells);
            }
        }
        if self.runs.iter().any(|run| run.void().is_some()) {
            table.row("void", self.runs.iter().map(|run| run.void().map_or(Cell::Empty, Cell::Text)).collect());
        }
        table
    }
}

/// A row of the table of runs.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    is_whole: bool,
    /// The figure of a run.
    pub read: fn(&Figures) -> Option<f64>,
}

const fn row(name: &'static str, read: fn(&Figures) -> Option<f64>) -> Row {
    Row { name, is_whole: false, read }
}

const fn count(name: &'static str, read: fn(&Figures) -> Option<f64>) -> Row {
    Row { name, is_whole: true, read }
}

impl Figures {
    fn busy(&self, value: f64) -> Option<f64> {
        self.idle_cpu_percent.is_none().then_some(value)
    }

    /// CPU time of the server for each delivery, where there are more of them than events.
    pub fn cpu_us_per_delivery(&self) -> Option<f64> {
        (self.delivered > self.accepted).then(|| self.cpu_us_per_event * self.accepted as f64 / self.delivered as f64)
    }

    /// Bytes written for each byte that was kept.
    pub fn write_amplification(&self) -> Option<f64> {
        (self.disk_bytes_per_event > 0.0).then(|| self.written_bytes_per_event / self.disk_bytes_per_event)
    }
}

/// The figures that are shown, in order.
pub const ROWS: &[Row] = &[
    count("accepted/s", |f| f.accepted_per_s),
    count("delivered/s", |f| f.delivered_per_s),
    row("publish p50 ms", |f| f.publish_ms.map(|p| p.p50)),
    row("publish p99 ms", |f| f.publish_ms.map(|p| p.p99)),
    row("publish p99.9 ms", |f| f.publish_ms.map(|p| p.p999)),
    row("delivery p50 ms", |f| f.delivery_ms.map(|p| p.p50)),
    row("delivery p99 ms", |f| f.delivery_ms.map(|p| p.p99)),
    row("delivery p99.9 ms", |f| f.delivery_ms.map(|p| p.p999)),
    row("delivery max ms", |f| f.delivery_ms.map(|p| p.max)),
    row("CPU µs/event", |f| f.busy(f.cpu_us_per_event)),
    row("CPU µs/delivery", Figures::cpu_us_per_delivery),
    row("CPU µs/event of the bench", |f| f.busy(f.bench_cpu_us_per_event)),
    row("CPU % of others", |f| Some(f.others_cpu_percent)),
    row("CPU % when idle", |f| f.idle_cpu_percent),
    row("allocations/event", |f| f.allocations_per_event),
    row("peak memory MiB", |f| Some(f.peak_mib)),
    row("memory at end MiB", |f| Some(f.resident_mib)),
    count("disk bytes/event", |f| f.busy(f.disk_bytes_per_event)),
    count("written bytes/event", |f| f.busy(f.written_bytes_per_event)),
    row("written/stored", |f| f.busy(f.write_amplification()?)),
    row("events/commit", |f| f.events_per_commit),
    row("commit ms", |f| f.commit_ms),
    count("connections to receiver", |f| (f.delivered > 0).then_some(f.receiver_connections as f64)),
    count("pending at end", |f| f.pending.filter(|n| *n > 0.0)),
    count("requests refused", |f| (f.refused > 0).then_some(f.refused as f64)),
    count("connections broken", |f| (f.broken > 0).then_some(f.broken as f64)),
    count("accepted", |f| Some(f.accepted as f64)),
    count("delivered", |f| Some(f.delivered as f64)),
    count("lost", |f| Some(f.lost as f64)),
    count("duplicates", |f| Some(f.duplicates as f64)),
];
