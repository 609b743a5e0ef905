//! The same measurement of the server and of the relay, in turns.

use crate::BenchError;
use crate::report::{Figures, ROWS, Report};
use crate::run::{Bench, Subject};
use crate::scenario::latency::Latency;
use crate::scenario::throughput::Throughput;
use crate::table::{Cell, Table};
use crate::timing::median;

/// What the relay can be measured by.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Yardstick {
    /// As many events as it takes.
    Throughput(Throughput),
    /// A fixed rate.
    Latency(Latency),
}

impl Yardstick {
    /// Measures what the bench is set to, once.
    pub async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        match self {
            Self::Throughput(scenario) => scenario.measure(bench).await,
            Self::Latency(scenario) => scenario.measure(bench).await,
        }
    }
}

/// Runs that count, of both.
pub struct Pair {
    /// What was measured.
    pub name: String,
    /// The server's.
    pub server: Vec<Figures>,
    /// The relay's.
    pub relay: Vec<Figures>,
    /// Void runs, in words.
    pub void: Vec<String>,
}

impl Pair {
    /// Measures both as often as the bench is set to. Who begins changes from time to time, so that a machine that grows slower favours nobody.
    pub async fn measure(bench: &Bench, yardstick: &Yardstick) -> Result<Self, BenchError> {
        let mut pair = Self { name: String::new(), server: Vec::new(), relay: Vec::new(), void: Vec::new() };
        for run in 0..bench.runs {
            let order = if run % 2 == 0 { [Subject::Server, Subject::Relay] } else { [Subject::Relay, Subject::Server] };
            for subject in order {
                let figures = yardstick.measure(&bench.of(subject)).await?;
                eprintln!("{}, {subject:?}: {:.0}/s delivered", figures.scenario, figures.delivered_per_s.unwrap_or_default());
                pair.name.clone_from(&figures.scenario);
                match (figures.void(), subject) {
                    (Some(problem), _) => pair.void.push(format!("{}, {subject:?}, run {}: {problem}", figures.scenario, run + 1)),
                    (None, Subject::Server) => pair.server.push(figures),
                    (None, Subject::Relay) => pair.relay.push(figures),
                }
            }
        }
        Ok(pair)
    }

    /// Median of the server's, of the relay's, and the one in parts of the other.
    pub fn medians(&self, read: fn(&Figures) -> Option<f64>) -> (Option<f64>, Option<f64>, Option<f64>) {
        let of = |runs: &[Figures]| median(runs.iter().filter_map(read).collect());
        let (server, relay) = (of(&self.server), of(&self.relay));
        (server, relay, server.zip(relay).and_then(|(server, relay)| (relay > 0.0).then(|| server / relay)))
    }

    /// Medians with least and most, and the ratio of the medians.
    pub fn table(&self) -> Table {
        let title = format!("{}: {} runs of the server and {} of the relay that count", self.name, self.server.len(), self.relay.len());
        let mut table = Table::new(title, &["server", "least", "most", "relay", "least", "most", "server/relay"]);
        for row in ROWS {
            let (server, relay, ratio) = self.medians(row.read);
            if server.or(relay).is_none() {
                continue;
            }
            let mut cells = Vec::new();
            for (runs, middle) in [(&self.server, server), (&self.relay, relay)] {
                let values = || runs.iter().filter_map(row.read);
                cells.extend([middle, values().reduce(f64::min), values().reduce(f64::max)].map(Cell::of));
            }
            cells.push(ratio.map_or(Cell::Empty, |ratio| Cell::Text(format!("{ratio:.2}"))));
            table.row(row.name, cells);
        }
        for void in &self.void {
            table.note(format!("void, not counted: {void}"));
        }
        table
    }

    /// Adds the table, and what was void.
    pub fn report(&self, report: &mut Report) {
        report.add_table(self.table());
        self.void.iter().for_each(|void| report.add_void(void));
    }
}
