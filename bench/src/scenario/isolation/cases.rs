//! Cases that can be switched on and off while the server runs.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::phases::{timed, written};
use super::{Case, Compared, Isolation};
use crate::BenchError;
use crate::api::{Api, EVENT_TYPE, Made};
use crate::event::{Envelope, Via};
use crate::load::{Load, Published, Until};
use crate::report::Report;
use crate::run::{Bench, Run, Shape};
use crate::sink::Mode;

const TIME: Duration = Duration::from_secs(5);
const PUSH: Duration = Duration::from_secs(3);
/// Between switching and measuring, as a rule.
const SETTLE: Duration = Duration::from_millis(500);
/// The same where a target is resumed, whose pace goes up step by step.
const RAMP: Duration = Duration::from_secs(7);
/// Type of the events beside the healthy.
const OTHER: &str = "bench.other";
/// Retries a second, more or less, are four tenths of this.
const FLOOD: f64 = 1000.0;

/// What is switched.
enum Beside {
    /// Sick targets, a fresh group for each turn, and the spares that stand in for them.
    Targets {
        mode: Mode,
        groups: Vec<Vec<(usize, Made)>>,
        spares: Vec<Made>,
    },
    /// A target that gets events of its own, and refuses some when switched on.
    Flaky {
        target: usize,
        load: Box<Load>,
    },
    /// A paused target of another workspace.
    Backlog {
        api: Box<Api>,
        target: String,
    },
    Nothing,
}

struct Plan {
    name: &'static str,
    healthy: usize,
    sick: usize,
    mode: Mode,
    rate: f64,
    push: bool,
    /// Between switching on and measuring.
    settle: Duration,
}

fn plan(case: Case) -> Plan {
    let plan = Plan { name: "", healthy: 9, sick: 1, mode: Mode::Hang, rate: 100.0, push: true, settle: SETTLE };
    match case {
        Case::OneOfTen => Plan { name: "1 of 10 never answers", ..plan },
        Case::OneOfHundred => Plan { name: "1 of 100 never answers", healthy: 99, rate: 10.0, ..plan },
        Case::Failing => Plan { name: "3 of 10 answer 500", healthy: 7, sick: 3, mode: Mode::Fail, ..plan },
        Case::Nothing => Plan { name: "nothing", healthy: 1, sick: 0, rate: 500.0, push: false, ..plan },
        Case::Retries => Plan { name: "flood of retries", healthy: 1, sick: 0, rate: 500.0, push: false, ..plan },
        _ => Plan { name: "other workspace works off its queue", healthy: 1, sick: 0, rate: 500.0, push: false, settle: RAMP, ..plan },
    }
}

/// Measures one case.
pub async fn measure(bench: &Bench, isolation: &Isolation, case: Case, report: &mut Report) -> Result<Compared, BenchError> {
    let mut plan = plan(case);
    plan.rate = isolation.rate.unwrap_or(plan.rate);
    let turns = usize::from(isolation.turns);
    let others = if plan.sick > 0 { plan.sick * (turns + 1) } else { 1 };
    let shape = Shape { targets: plan.healthy + others, connections: crate::scenario::CONNECTIONS, batch: 1 };
    let streams = if plan.sick > 0 { vec![shape.targets] } else { vec![plan.healthy, 1] };
    let mut run = bench.start_streams(&streams, shape).await?;
    run.make_targets(0..plan.healthy, EVENT_TYPE, None).await?;
    let mut beside = match case {
        Case::Retries => flaky(&mut run).await?,
        Case::Nothing => Beside::Nothing,
        Case::Backlog => backlog(&mut run, isolation.queued).await?,
        _ => targets(&mut run, &plan, turns).await?,
    };
    run.begin().await?;
    let mut compared = Compared::new(plan.name);
    let mut published = Published { began_us: run.load.clock.us(), ..Published::default() };
    // The first turn of a fresh process is not like the others.
    timed(&run, plan.rate, Duration::from_secs(1)).await?;
    for turn in 0..turns {
        for with in if turn % 2 == 0 { [false, true] } else { [true, false] } {
            beside.switch(&mut run, turn, with).await?;
            let settle = if with { plan.settle } else { SETTLE };
            let flood = beside.flood(bench.time_or(TIME) + settle);
            let measured = async {
                sleep(settle).await;
                timed(&run, plan.rate, bench.time_or(TIME)).await
            };
            let (flooded, measured) = tokio::join!(flood, measured);
            flooded?;
            let (timings, one) = measured?;
            compared.add(with, &timings);
            published = published.merge(one);
            if plan.push {
                let end = run.load.clock.us() + bench.time_or(PUSH).as_micros() as u64;
                let pushed = run.push(Until::Time(end)).await?;
                compared.side(with).per_second.push(pushed.delivered_per_s);
                published = published.merge(pushed.published);
            }
            beside.switch(&mut run, turn, false).await?;
        }
    }
    let figures = run.finish(plan.name.to_owned(), published).await?;
    if let Some(problem) = figures.void() {
        report.add_void(format!("{}: {problem}", plan.name));
    }
    Ok(compared)
}

async fn targets(run: &mut Run, plan: &Plan, turns: usize) -> Result<Beside, BenchError> {
    let spares = plan.healthy..plan.healthy + plan.sick;
    let sick = spares.end..spares.end + plan.sick * turns;
    (spares.start..sick.end).for_each(|target| run.load.ledger.set_owed(target, false));
    run.make_targets(spares.start..sick.end, EVENT_TYPE, None).await?;
    let made = run.made[plan.healthy..].to_vec();
    let (spare_ids, sick_ids) = made.split_at(plan.sick);
    for made in sick_ids {
        run.api().set_subscription(&made.subscription, false).await?;
    }
    let numbered: Vec<(usize, Made)> = sick.zip(sick_ids.iter().cloned()).collect();
    Ok(Beside::Targets { mode: plan.mode, groups: numbered.chunks(plan.sick).map(<[_]>::to_vec).collect(), spares: spare_ids.to_vec() })
}

async fn flaky(run: &mut Run) -> Result<Beside, BenchError> {
    let policy = json!({"retry": {"delays": ["1s", "1s", "2s", "5s", "10s"]}, "jitter": 0, "concurrency": 256});
    run.make_targets(1..2, OTHER, Some(&policy)).await?;
    run.sink.leave_untimed(1);
    let envelope = Envelope { event_type: Some(OTHER), ..Envelope::new(Via::Native) };
    Ok(Beside::Flaky { target: 1, load: Box::new(run.stream(1, envelope, 16, 1)) })
}

async fn backlog(run: &mut Run, queued: u64) -> Result<Beside, BenchError> {
    let token = run.api().make_workspace("with a long queue").await?;
    let mut api = Api::open_as(run.server.address(), &token).await?;
    let url = run.sink.url(1);
    let made = api.make_target("long queue", &url, OTHER, None).await?;
    api.switch(&made.target, "pause").await?;
    // It is not worked off within the run, so it is not part of the account.
    run.load.ledger.set_owed(1, false);
    let envelope = Envelope { event_type: Some(OTHER), key: &token, ..Envelope::new(Via::Native) };
    let load = run.stream(1, envelope, 4, 1000);
    load.closed_loop(Until::Accepted(queued)).await?;
    written();
    Ok(Beside::Backlog { api: Box::new(api), target: made.target })
}

impl Beside {
    async fn switch(&mut self, run: &mut Run, turn: usize, with: bool) -> Result<(), BenchError> {
        match self {
            Self::Targets { mode, groups, spares } => {
                for made in spares {
                    run.api().set_subscription(&made.subscription, !with).await?;
                }
                for (number, made) in &groups[turn] {
                    run.api().set_subscription(&made.subscription, with).await?;
                    run.sink.set_mode(*number, if with { *mode } else { Mode::Fail });
                    if !with {
                        run.api().switch(&made.target, "pause").await?;
                    }
                }
            }
            Self::Flaky { target, .. } => run.sink.set_mode(*target, if with { Mode::Flaky(40) } else { Mode::Ok }),
            Self::Backlog { api, target } => api.switch(target, if with { "resume" } else { "pause" }).await?,
            Self::Nothing => {}
        }
        Ok(())
    }

    /// The events beside the healthy, if there are any.
    async fn flood(&self, time: Duration) -> Result<(), BenchError> {
        match self {
            Self::Flaky { load, .. } => load.open_loop(FLOOD, time).await.map(drop),
            Self::Targets { .. } | Self::Backlog { .. } | Self::Nothing => Ok(()),
        }
    }
}
