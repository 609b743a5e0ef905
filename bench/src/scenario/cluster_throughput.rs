//! One node on a directory beside some on one Postgres: what an event costs, and what the others cost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::api::{self, Api};
use crate::event::{Envelope, Request, Tail};
use crate::ledger::{Ledger, Verdict};
use crate::load::{Load, Published, Until};
use crate::postgres::{Postgres, Session, url};
use crate::report::{Figures, Report};
use crate::run::Bench;
use crate::scenario::throughput::Throughput;
use crate::server::Server;
use crate::sink::Sink;
use crate::table::{Cell, Table};
use crate::timing::{Clock, Percentiles, Timings};

/// Before it counts: statements are prepared, and caches filled.
const WARM: Duration = Duration::from_secs(1);
/// Without load, to count what nodes ask the database anyway.
const IDLE: Duration = Duration::from_secs(3);
/// Until the database has counted its transactions.
const COUNTED: Duration = Duration::from_millis(1_500);
/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// As much as one node on a directory takes, and as one, two and four on one Postgres do; one target.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterThroughput {
    /// How many nodes; may be repeated [default: 1, 2, 4].
    #[arg(long = "nodes", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub nodes: Vec<u16>,
    /// Leave the node on a directory out.
    #[arg(long)]
    pub no_embedded: bool,
    /// Count statements, too. That costs the database some of its speed.
    #[arg(long)]
    pub statements: bool,
}

/// What some nodes did.
struct Measured {
    nodes: u16,
    verdict: Verdict,
    refused: u64,
    accepted_per_s: f64,
    delivered_per_s: f64,
    publish: Option<Percentiles>,
    delivery: Option<Percentiles>,
    nodes_cpu: f64,
    database_cpu: f64,
    commits: f64,
    /// Transactions that there would have been without any event, in parts of all.
    idle_share: f64,
    /// Statements for each event, and those that there would have been without any, in parts of all.
    statements: Option<(f64, f64)>,
    peak_mib: f64,
}

impl ClusterThroughput {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        let embedded = if self.no_embedded { None } else { Some(Throughput { batch: 1, fan_out: 1 }.measure(bench).await?) };
        let mut measured = Vec::new();
        for nodes in if self.nodes.is_empty() { &[1, 2, 4][..] } else { &self.nodes } {
            measured.push(measure(bench, *nodes, self.statements).await?);
        }
        for one in &measured {
            if one.verdict.lost + one.verdict.damaged > 0 {
                report.add_void(format!("{} nodes: {} lost, {} damaged", one.nodes, one.verdict.lost, one.verdict.damaged));
            }
        }
        report.add_table(table(embedded.as_ref(), &measured));
        embedded.into_iter().for_each(|figures| report.add(figures));
        Ok(())
    }
}

async fn measure(bench: &Bench, count: u16, counts: bool) -> Result<Measured, BenchError> {
    let keep = bench.launch.keep;
    let (clock, tail, ledger) = (Clock::start(), Tail::new(bench.bytes), Arc::new(Ledger::new(1)));
    let sink = Sink::start(Arc::clone(&ledger), tail.clone(), clock)?;
    let postgres = if counts { Postgres::start_counting(keep)? } else { Postgres::start(keep)? };
    let mut nodes = Vec::new();
    for number in 1..=count {
        let mut node = bench.launch.node(postgres.path(), &format!("node-{number}"), &url(postgres.address()))?;
        node.start_again()?;
        while !Api::open(node.address()).await?.is_ready().await? {
            sleep(LOOK).await;
        }
        nodes.push(node);
    }
    api::make_targets(nodes[0].address(), vec![("target 0".to_owned(), sink.url(0))], api::EVENT_TYPE, None).await?;
    let session = postgres.connect().await?;
    if counts {
        session.run("CREATE EXTENSION pg_stat_statements").await?;
    }
    let timings = Arc::new(Timings::new());
    let connections = bench.connections.unwrap_or(super::CONNECTIONS).div_ceil(nodes.len());
    let load = |node: &Server| Load {
        address: node.address(),
        request: Request::new(node.address(), Envelope::new(bench.via), &tail, 1),
        tail: tail.clone(),
        connections,
        ledger: Arc::clone(&ledger),
        stream: 0,
        patience: Duration::ZERO,
        clock,
        timings: Arc::clone(&timings),
    };
    let loads: Vec<Load> = nodes.iter().map(load).collect();

    push(&loads, WARM).await?;
    drain(&ledger).await;
    // What was counted so far is of the warming up.
    drop((timings.take(), sink.receipts().timings.take()));
    let (idle_from, idle_since) = (done(&session, counts).await?, Instant::now());
    sleep(IDLE).await;
    let idle = done(&session, counts).await?.since(idle_from).per(idle_since.elapsed().as_secs_f64());

    let cpu = || -> Result<(u64, u64), BenchError> {
        let nodes = nodes.iter().map(|node| Ok(node.usage()?.cpu_us)).sum::<Result<u64, BenchError>>()?;
        Ok((nodes, postgres.cpu_us()?))
    };
    let (before, done_before, since) = (cpu()?, done(&session, counts).await?, Instant::now());
    let (accepted, delivered) = (ledger.accepted(), ledger.delivered());
    let published = push(&loads, bench.time_or(super::TIME)).await?;
    drain(&ledger).await;
    let after = cpu()?;
    let Done { commits, statements } = done(&session, counts).await?.since(done_before);
    let idle = idle.per(1.0 / since.elapsed().as_secs_f64());
    let (accepted, delivered) = (ledger.accepted() - accepted, ledger.delivered() - delivered);
    let rate = |count: u64, until_us: u64| count as f64 * 1e6 / until_us.saturating_sub(published.began_us).max(1) as f64;
    let per_event = |amount: u64| amount as f64 / accepted.max(1) as f64;
    let peaks = nodes.iter().map(|node| Ok(node.usage()?.peak_kib)).collect::<Result<Vec<u64>, BenchError>>()?;
    Ok(Measured {
        nodes: count,
        verdict: ledger.close(),
        refused: published.refused + published.broken,
        accepted_per_s: rate(accepted, published.ended_us),
        delivered_per_s: rate(delivered, sink.receipts().last_us.load(Ordering::Relaxed)),
        publish: timings.percentiles(),
        delivery: sink.receipts().timings.percentiles(),
        nodes_cpu: per_event(after.0 - before.0),
        database_cpu: per_event(after.1 - before.1),
        commits: commits / accepted.max(1) as f64,
        idle_share: idle.commits / commits.max(1.0),
        statements: counts.then(|| (statements / accepted.max(1) as f64, idle.statements / statements.max(1.0))),
        peak_mib: peaks.into_iter().max().unwrap_or_default() as f64 / 1024.0,
    })
}

async fn push(loads: &[Load], time: Duration) -> Result<Published, BenchError> {
    let mut pushes = JoinSet::new();
    for load in loads {
        let load = load.clone();
        pushes.spawn(async move { load.closed_loop(Until::Time(load.clock.us() + time.as_micros() as u64)).await });
    }
    let mut all = Published { began_us: u64::MAX, ..Published::default() };
    while let Some(ended) = pushes.join_next().await {
        all = all.merge(ended.expect("publishers do not panic")?);
    }
    Ok(all)
}

async fn drain(ledger: &Ledger) {
    let (mut seen, mut since) = (ledger.delivered(), Instant::now());
    while since.elapsed() < PATIENCE && !(ledger.is_drained() && ledger.close().lost == 0) {
        sleep(LOOK).await;
        if ledger.delivered() != seen {
            (seen, since) = (ledger.delivered(), Instant::now());
        }
    }
}

/// What a database did.
#[derive(Clone, Copy)]
struct Done {
    commits: f64,
    /// 0 where they are not counted.
    statements: f64,
}

impl Done {
    fn since(self, before: Self) -> Self {
        Self { commits: self.commits - before.commits, statements: self.statements - before.statements }
    }

    fn per(self, amount: f64) -> Self {
        Self { commits: self.commits / amount, statements: self.statements / amount }
    }
}

/// What the database did so far.
async fn done(session: &Session, counts: bool) -> Result<Done, BenchError> {
    sleep(COUNTED).await;
    let commits = session.number("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await? as f64;
    let statements =
        "SELECT sum(calls)::int8 FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let statements = if counts { session.number(statements).await? as f64 } else { 0.0 };
    Ok(Done { commits, statements })
}

fn table(embedded: Option<&Figures>, measured: &[Measured]) -> Table {
    let names: Vec<String> = measured.iter().map(|one| format!("{} on Postgres", one.nodes)).collect();
    let columns: Vec<&str> = embedded.map(|_| "on a directory").into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new("nodes of a cluster, one target, the connections spread over all of them", &columns);
    let mut row = |name: &str, alone: Option<f64>, read: &dyn Fn(&Measured) -> Option<f64>| {
        let alone = embedded.map(|_| Cell::of(alone));
        table.row(name, alone.into_iter().chain(measured.iter().map(|one| Cell::of(read(one)))).collect());
    };
    let of = |read: fn(&Figures) -> Option<f64>| embedded.and_then(read);
    let total = |one: &Measured| one.nodes_cpu + one.database_cpu;
    let base = measured.iter().find(|one| one.nodes == 1).map(total);
    row("accepted/s", of(|f| f.accepted_per_s), &|one| Some(one.accepted_per_s));
    row("delivered/s", of(|f| f.delivered_per_s), &|one| Some(one.delivered_per_s));
    row("publish p50 ms", of(|f| f.publish_ms.map(|p| p.p50)), &|one| one.publish.map(|p| p.p50));
    row("publish p99 ms", of(|f| f.publish_ms.map(|p| p.p99)), &|one| one.publish.map(|p| p.p99));
    row("delivery p50 ms", of(|f| f.delivery_ms.map(|p| p.p50)), &|one| one.delivery.map(|p| p.p50));
    row("delivery p99 ms", of(|f| f.delivery_ms.map(|p| p.p99)), &|one| one.delivery.map(|p| p.p99));
    row("CPU µs/event of the nodes", of(|f| Some(f.cpu_us_per_event)), &|one| Some(one.nodes_cpu));
    row("CPU µs/event of Postgres", None, &|one| Some(one.database_cpu));
    row("CPU µs/event, sum", of(|f| Some(f.cpu_us_per_event)), &|one| Some(total(one)));
    row("… % above one node", None, &|one| base.map(|base| (total(one) / base - 1.0) * 100.0));
    row("transactions/event", None, &|one| Some(one.commits));
    row("% of them without any event", None, &|one| Some(one.idle_share * 100.0));
    if measured.iter().any(|one| one.statements.is_some()) {
        row("statements/event", None, &|one| one.statements.map(|(per_event, _)| per_event));
        row("% of them without any event", None, &|one| one.statements.map(|(_, idle)| idle * 100.0));
    }
    row("peak memory MiB of a node", of(|f| Some(f.peak_mib)), &|one| Some(one.peak_mib));
    row("requests refused or broken", of(|f| Some((f.refused + f.broken) as f64)), &|one| Some(one.refused as f64));
    row("accepted", of(|f| Some(f.accepted as f64)), &|one| Some(one.verdict.accepted as f64));
    row("lost", of(|f| Some(f.lost as f64)), &|one| Some(one.verdict.lost as f64));
    row("duplicates", of(|f| Some(f.duplicates as f64)), &|one| Some(one.verdict.duplicates as f64));
    table.note(
        "transactions and statements without any event: those of heartbeats, leases and looks for work, counted before the load for 3 s",
    );
    table
}
