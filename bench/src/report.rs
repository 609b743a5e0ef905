//! The figures of all runs: a table for people, JSON for machines.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::BenchError;
use crate::run::Bench;
use crate::timing::Percentiles;
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
        Ok(Self { machine, runs: Vec::new() })
    }

    /// Adds a run.
    pub fn add(&mut self, figures: Figures) {
        match figures.void() {
            Some(problem) => eprintln!("{}: VOID: {problem}", figures.scenario),
            None => eprintln!("{}: done", figures.scenario),
        }
        self.runs.push(figures);
    }

    /// Whether all runs count.
    pub fn is_valid(&self) -> bool {
        self.runs.iter().all(|run| run.void().is_none())
    }

    /// Prints the table, and the JSON where it is wanted.
    pub fn print(&self, json: Option<&Path>) -> Result<(), BenchError> {
        let Some(path) = json else {
            println!("{}", self.table());
            return Ok(());
        };
        let runs = self.runs.iter().map(|run| {
            let mut value = serde_json::to_value(run).expect("figures are plain numbers and strings");
            value["void"] = json!(run.void());
            value
        });
        let text = format!("{:#}\n", json!({"machine": self.machine, "runs": runs.collect::<Vec<Value>>()}));
        if path == Path::new("-") {
            eprintln!("{}", self.table());
            print!("{text}");
            return Ok(());
        }
        println!("{}", self.table());
        fs::write(path, text).map_err(BenchError::io(format!("cannot write {}", path.display())))
    }

    /// One column for each run, one row for each figure that any of them has.
    fn table(&self) -> String {
        let mut rows: Vec<Vec<String>> =
            vec![std::iter::once(String::new()).chain(self.runs.iter().map(|run| run.scenario.clone())).collect()];
        for (name, read) in ROWS {
            let cells: Vec<String> = self.runs.iter().map(|run| read(run).unwrap_or_default()).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
            }
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..=self.runs.len()).map(width).collect();
        let mut out = format!("\n{}\n", self.machine);
        for row in &rows {
            let mut line = format!("{:<width$}", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                line.push_str(&format!("  {cell:>width$}"));
            }
            out.push('\n');
            out.push_str(line.trim_end());
        }
        out
    }
}

type Row = (&'static str, fn(&Figures) -> Option<String>);

const ROWS: &[Row] = &[
    ("accepted/s", |f| f.accepted_per_s.map(whole)),
    ("delivered/s", |f| f.delivered_per_s.map(whole)),
    ("publish p50 ms", |f| f.publish_ms.map(|p| short(p.p50))),
    ("publish p99 ms", |f| f.publish_ms.map(|p| short(p.p99))),
    ("publish p99.9 ms", |f| f.publish_ms.map(|p| short(p.p999))),
    ("delivery p50 ms", |f| f.delivery_ms.map(|p| short(p.p50))),
    ("delivery p99 ms", |f| f.delivery_ms.map(|p| short(p.p99))),
    ("delivery p99.9 ms", |f| f.delivery_ms.map(|p| short(p.p999))),
    ("delivery max ms", |f| f.delivery_ms.map(|p| short(p.max))),
    ("CPU µs/event", |f| f.idle_cpu_percent.is_none().then(|| short(f.cpu_us_per_event))),
    ("CPU µs/event of the bench", |f| f.idle_cpu_percent.is_none().then(|| short(f.bench_cpu_us_per_event))),
    ("CPU % of others", |f| Some(short(f.others_cpu_percent))),
    ("CPU % when idle", |f| f.idle_cpu_percent.map(|percent| format!("{percent:.3}"))),
    ("peak memory MiB", |f| Some(short(f.peak_mib))),
    ("memory at end MiB", |f| Some(short(f.resident_mib))),
    ("disk bytes/event", |f| f.idle_cpu_percent.is_none().then(|| whole(f.disk_bytes_per_event))),
    ("written bytes/event", |f| f.idle_cpu_percent.is_none().then(|| whole(f.written_bytes_per_event))),
    ("events/commit", |f| f.events_per_commit.map(short)),
    ("commit ms", |f| f.commit_ms.map(short)),
    ("connections to receiver", |f| (f.delivered > 0).then(|| f.receiver_connections.to_string())),
    ("pending at end", |f| f.pending.filter(|n| *n > 0.0).map(whole)),
    ("requests refused", |f| (f.refused > 0).then(|| f.refused.to_string())),
    ("connections broken", |f| (f.broken > 0).then(|| f.broken.to_string())),
    ("accepted", |f| Some(whole(f.accepted as f64))),
    ("delivered", |f| Some(whole(f.delivered as f64))),
    ("lost", |f| Some(f.lost.to_string())),
    ("duplicates", |f| Some(f.duplicates.to_string())),
    ("void", |f| f.void()),
];

/// With spaces between the thousands.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

fn short(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!((whole(999.4), whole(1234567.0), short(0.123)), ("999".into(), "1 234 567".into(), "0.12".into()));
    }
}
