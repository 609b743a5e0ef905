//! What the healthy feel of the sick, the slow and the busy beside them.
//!
//! Each case compares *alone* and *with* in one and the same run of the server, in turns whose order alternates, so that a machine that grows
//! slower or faster cancels out. Where a sick target stands beside healthy ones, a healthy spare stands there in its place the rest of the
//! time: the number of deliveries is the same in both.

mod cases;
mod phases;
mod recovery;
mod retention;

use crate::BenchError;
use crate::report::Report;
use crate::run::Bench;
use crate::table::Table;

pub use phases::Compared;

/// The healthy alone, and beside targets that hang or fail, retries, backlogs, retention and a recovery.
#[derive(Clone, Debug, clap::Args)]
pub struct Isolation {
    /// Only these cases; may be repeated [default: all].
    #[arg(long = "case", value_enum, value_name = "CASE")]
    pub cases: Vec<Case>,
    /// How often alone and with are measured, in turns (not: retention).
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub turns: u8,
    /// Deliveries queued in the other workspace (backlog).
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub queued: u64,
    /// Deliveries due when a target comes back (recovery).
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub due: u64,
    /// Events published in a second while latency is measured (not: retention) [default: 500; beside sick targets, 1,000 deliveries].
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
}

/// What stands beside the healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// One of ten targets takes requests and never answers.
    OneOfTen,
    /// One of a hundred does.
    OneOfHundred,
    /// Three of ten targets answer 500.
    Failing,
    /// A busy target refuses four events in ten at first, and gets each again.
    Retries,
    /// Another workspace works off a long queue.
    Backlog,
    /// Retention drops segments.
    Retention,
    /// A target comes back to a long queue; its pace is shown too.
    Recovery,
    /// Nothing: how far two equal turns are apart on this machine (only if named).
    Nothing,
}

impl Case {
    /// All that put something beside them.
    pub const ALL: [Self; 7] =
        [Self::OneOfTen, Self::OneOfHundred, Self::Failing, Self::Retries, Self::Backlog, Self::Retention, Self::Recovery];
}

impl Isolation {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let compared = self.measure(bench, report).await?;
        let mut table = Table::new(format!("isolation: {} turns of alone and with", self.turns), &Compared::COLUMNS);
        compared.iter().for_each(|compared| table.row(compared.name.clone(), compared.cells()));
        report.add_table(table);
        Ok(())
    }

    /// Measures the cases that were asked for; what is void is in the report.
    pub async fn measure(&self, bench: &Bench, report: &mut Report) -> Result<Vec<Compared>, BenchError> {
        let mut all = Vec::new();
        let cases = if self.cases.is_empty() { &Case::ALL[..] } else { &self.cases };
        for case in cases {
            let compared = match case {
                Case::Retention => retention::measure(bench, report).await?,
                Case::Recovery => recovery::measure(bench, self, report).await?,
                case => cases::measure(bench, self, *case, report).await?,
            };
            eprintln!("{}: p99 {} %", compared.name, compared.p99_change().map_or("?".to_owned(), |percent| format!("{percent:+.1}")));
            all.push(compared);
        }
        Ok(all)
    }
}
