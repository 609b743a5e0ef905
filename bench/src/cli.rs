//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches, Parser, Subcommand};

use crate::BenchError;
use crate::event::Via;
use crate::relay::RelayProcess;
use crate::report::Report;
use crate::run::{Bench, Subject};
use crate::scenario::beside::{Pair, Yardstick};
use crate::scenario::{
    cluster, cluster_throughput, history, idle, isolation, kill, latency, mailgun, momentum, queued, slow_target, soak, startup, sweep,
    targets, throughput,
};
use crate::server::Launch;

/// Measures a Posthaste server: publishes, receives, and keeps an exact ledger of what was accepted and what arrived.
///
/// Every scenario starts the release binary on a fresh data directory with all defaults, and takes it down afterwards. Exit code 1: an accepted
/// event was lost or damaged, so the figures are void.
#[derive(Debug, Parser)]
#[command(name = "posthaste-bench", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Args)]
struct Common {
    /// The server to measure [default: `posthaste` beside this program].
    #[arg(long, value_name = "FILE", global = true)]
    server: Option<PathBuf>,
    /// Where data directories are made; a real disk, or flushes cost nothing [default: `bench-data` beside this program].
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Leave the data directories and logs of the servers in place.
    #[arg(long, global = true)]
    keep: bool,
    /// A setting of the server over its default, e.g. limits.in_flight=64. May be repeated.
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting, global = true)]
    settings: Vec<(String, String)>,
    /// How long to publish (idle: to watch) [default: 10; idle: 30].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400), global = true)]
    seconds: Option<u32>,
    /// Connections that publish [default: 64; momentum, queued: 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), global = true)]
    connections: Option<u16>,
    /// Size of an event's document, at least 90.
    #[arg(long, value_name = "N", default_value_t = 300, global = true)]
    bytes: usize,
    /// Where to publish.
    #[arg(long, value_enum, default_value_t = Via::Native, global = true)]
    via: Via,
    /// Also write the figures as JSON; `-` is standard output, with the table on standard error.
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// Run each scenario so many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..), global = true)]
    runs: u16,
    /// Seed of random choices [default: another one each time; it is printed].
    #[arg(long, value_name = "N", global = true)]
    seed: Option<u64>,
    /// throughput, latency: measure the relay beside the server, in turns, and print the ratio.
    #[arg(long, global = true)]
    beside_relay: bool,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Throughput(throughput::Throughput),
    Latency(latency::Latency),
    Idle(idle::Idle),
    Queued(queued::Queued),
    SlowTarget(slow_target::SlowTarget),
    Isolation(isolation::Isolation),
    Kill(kill::Kill),
    Startup(startup::Startup),
    History(history::History),
    Targets(targets::Targets),
    Sweep(sweep::Sweep),
    Soak(soak::Soak),
    Cluster(cluster::Cluster),
    ClusterThroughput(cluster_throughput::ClusterThroughput),
    Momentum(momentum::Momentum),
    Mailgun(mailgun::Mailgun),
    /// The minimal relay in place of the server: append, flush, answer, sign, post, and nothing else.
    Relay {
        /// What to measure [default: throughput].
        #[command(subcommand)]
        yardstick: Option<Yardstick>,
    },
    /// Everything up to here but the relay, each with its defaults.
    All,
    #[command(hide = true)]
    RelayProcess(RelayProcess),
}

impl Cli {
    /// The relay's own process, if that is what was asked for.
    pub fn relay_process(self) -> Result<RelayProcess, Box<Self>> {
        match self.scenario {
            Scenario::RelayProcess(process) => Ok(process),
            scenario => Err(Box::new(Self { scenario, ..self })),
        }
    }

    /// Runs the scenarios and prints the report; false if a run is void.
    pub async fn run(self) -> Result<bool, BenchError> {
        let beside = |name: &str| {
            let own = std::env::current_exe().map_err(BenchError::io("cannot find this program"))?;
            Ok::<_, BenchError>(own.with_file_name(name))
        };
        let Common { server, data_dir, keep, settings, seconds, connections, bytes, via, json, runs, seed, beside_relay } = self.common;
        let launch = Launch {
            binary: server.map_or_else(|| beside("posthaste"), Ok)?,
            data: data_dir.map_or_else(|| beside("bench-data"), Ok)?,
            settings,
            keep,
        };
        let time = seconds.map(|n| Duration::from_secs(n.into()));
        let bench = Bench { launch, subject: Subject::Server, via, bytes, time, connections: connections.map(usize::from), runs, seed };
        let mut report = Report::new(&bench)?;
        self.scenario.run(&bench, beside_relay, &mut report).await?;
        report.print(json.as_deref())?;
        Ok(report.is_valid())
    }
}

impl Scenario {
    async fn run(self, bench: &Bench, beside_relay: bool, report: &mut Report) -> Result<(), BenchError> {
        let (yardstick, subject) = match self {
            Self::Throughput(scenario) => (Yardstick::Throughput(scenario), Subject::Server),
            Self::Latency(scenario) => (Yardstick::Latency(scenario), Subject::Server),
            Self::Relay { yardstick } => (yardstick.unwrap_or_else(|| Yardstick::Throughput(defaults())), Subject::Relay),
            // It repeats what it has medians of by itself.
            Self::Targets(scenario) => return scenario.run(bench, report).await,
            other => {
                for _ in 0..bench.runs {
                    other.run_once(bench, report).await?;
                }
                return Ok(());
            }
        };
        if beside_relay {
            Pair::measure(bench, &yardstick).await?.report(report);
            return Ok(());
        }
        for _ in 0..bench.runs {
            report.add(yardstick.measure(&bench.of(subject)).await?);
        }
        Ok(())
    }

    async fn run_once(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        match self {
            Self::Idle(scenario) => {
                report.add(scenario.measure(bench).await?);
                Ok(())
            }
            Self::Queued(scenario) => scenario.run(bench, report).await,
            Self::SlowTarget(scenario) => scenario.run(bench, report).await,
            Self::Isolation(scenario) => scenario.run(bench, report).await,
            Self::Kill(scenario) => scenario.run(bench, report).await,
            Self::Startup(scenario) => scenario.run(bench, report).await,
            Self::History(scenario) => scenario.run(bench, report).await,
            Self::Sweep(scenario) => scenario.run(bench, report).await,
            Self::Soak(scenario) => scenario.run(bench, report).await,
            Self::ClusterThroughput(scenario) => scenario.run(bench, report).await,
            Self::Cluster(scenario) => scenario.run(bench, report).await,
            Self::Momentum(scenario) => scenario.run(bench, report).await,
            Self::Mailgun(scenario) => scenario.run(bench, report).await,
            Self::All => {
                report.add(defaults::<throughput::Throughput>().measure(bench).await?);
                report.add(defaults::<latency::Latency>().measure(bench).await?);
                defaults::<slow_target::SlowTarget>().run(bench, report).await?;
                defaults::<mailgun::Mailgun>().run(bench, report).await?;
                defaults::<momentum::Momentum>().run(bench, report).await?;
                defaults::<queued::Queued>().run(bench, report).await?;
                report.add(defaults::<idle::Idle>().measure(bench).await?);
                Ok(())
            }
            Self::Throughput(_) | Self::Latency(_) | Self::Targets(_) | Self::Relay { .. } | Self::RelayProcess(_) => {
                unreachable!("these go another way")
            }
        }
    }
}

/// A scenario as it is without flags.
pub fn defaults<T: Args + FromArgMatches>() -> T {
    let matches = T::augment_args(clap::Command::new("defaults")).get_matches_from(["defaults"]);
    T::from_arg_matches(&matches).expect("every argument of a scenario has a default")
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, for example limits.in_flight=64")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        assert_eq!(defaults::<throughput::Throughput>().batch, 1);
        assert_eq!(setting("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert!(Cli::try_parse_from(["posthaste-bench", "throughput", "--seconds", "0"]).is_err());
    }
}
