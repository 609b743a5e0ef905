//! Reading a big store while it is written to.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::api::{Api, EVENT_TYPE};
use crate::event::{Envelope, Via};
use crate::load::{Load, Until};
use crate::report::Report;
use crate::run::{Bench, Run, Shape};
use crate::table::{Cell, Table};
use crate::timing::{Percentiles, empty};

const TIME: Duration = Duration::from_secs(60);
/// How long the greatest rate is looked for.
const PUSH: Duration = Duration::from_secs(4);
/// Types of events that nobody gets.
const COMMON: [&str; 4] = ["bench.a", "bench.b", "bench.c", "bench.d"];
const RARE: &str = "bench.rare";
const HELD: &str = "bench.held";
/// One event in so many has the rare type.
const RARITY: u64 = 20_000;
/// Rounds of filling, so that types are mixed over the store.
const ROUNDS: u64 = 20;
/// Pages that one walk through a list reads before it begins anew.
const WALK: u32 = 200;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);

/// Fills a store, then publishes at half of the greatest rate and reads pages of its history, metrics and readiness.
#[derive(Clone, Debug, clap::Args)]
pub struct History {
    /// Events to store first.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100_000..=50_000_000))]
    pub events: u64,
    /// Percentage of them that is delivered to a target.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=90))]
    pub delivered: u64,
}

/// What one question cost.
pub struct Asked {
    /// What was asked.
    pub name: &'static str,
    /// Microseconds until the answer was there.
    pub timings: Histogram<u64>,
}

impl History {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, report: &mut Report) -> Result<(), BenchError> {
        self.measure(bench, report).await.map(drop)
    }

    /// Measures it; tables and figures are in the report.
    pub async fn measure(&self, bench: &Bench, report: &mut Report) -> Result<Vec<Asked>, BenchError> {
        let shape = Shape { targets: 2, connections: super::CONNECTIONS, batch: 1 };
        let mut run = bench.start_streams(&[1, 0, 1], shape).await?;
        run.make_targets(0..1, EVENT_TYPE, None).await?;
        run.make_targets(1..2, HELD, None).await?;
        let (target, held) = (run.made[0].target.clone(), run.made[1].target.clone());
        run.api().switch(&held, "pause").await?;
        run.load.ledger.set_owed(1, false);
        let began = Instant::now();
        self.fill(&run).await?;
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("history: {} events accepted in {seconds:.0} s, {:.0}/s", self.events, self.events as f64 / seconds);
        run.drain().await;
        let disk = crate::usage::disk_bytes(run.server.data())?;
        eprintln!("history: delivered after {:.0} s, {:.0} MiB", began.elapsed().as_secs_f64(), disk as f64 / f64::from(1 << 20));

        run.begin().await?;
        let before = run.load.ledger.accepted_in(0);
        let since = Instant::now();
        let end = run.load.clock.us() + PUSH.as_micros() as u64;
        let pushed = run.load.closed_loop(Until::Time(end)).await?;
        run.drain().await;
        let rate = (run.load.ledger.accepted_in(0) - before) as f64 / since.elapsed().as_secs_f64();
        run.load.timings.take();
        run.receipts().timings.take();

        let (stop, stopped) = watch::channel(false);
        let address = run.server.address();
        let publishing = async {
            let published = run.load.open_loop(rate / 2.0, bench.time_or(TIME)).await;
            // The reader may have ended with an error of its own.
            let _ = stop.send(true);
            published
        };
        let (published, asked) = tokio::join!(publishing, ask(Api::open(address).await?, &target, stopped));
        let (published, asked) = (pushed.merge(published?), asked?);
        report.add(run.finish(format!("history of {}", self.events), published).await?);
        let title =
            format!("{} events stored, publishing {} events/s", crate::table::whole(self.events as f64), crate::table::whole(rate / 2.0));
        let mut table = Table::new(title, &["answers", "p50 ms", "p99 ms", "most ms"]);
        for asked in &asked {
            let Some(p) = Percentiles::of(&asked.timings) else { continue };
            table.row(
                asked.name,
                vec![Cell::Whole(asked.timings.len() as f64), Cell::Number(p.p50), Cell::Number(p.p99), Cell::Number(p.max)],
            );
        }
        report.add_table(table);
        Ok(asked)
    }

    async fn fill(&self, run: &Run) -> Result<(), BenchError> {
        let load = |stream, event_type, batch| {
            run.stream(stream, Envelope { event_type: Some(event_type), ..Envelope::new(Via::Native) }, super::ARRAY_CONNECTIONS, batch)
        };
        let delivered = load(0, EVENT_TYPE, 1000);
        let common = COMMON.map(|name| load(1, name, 1000));
        let (held, rare) = (load(2, HELD, 100), Load { connections: 1, ..load(1, RARE, 1) });
        let in_round = self.events / ROUNDS;
        for round in 1..=ROUNDS {
            delivered.closed_loop(Until::Accepted(in_round * round * self.delivered / 100)).await?;
            held.closed_loop(Until::Accepted(in_round * round / 100)).await?;
            let rest = in_round * (99 - self.delivered) / 100;
            for load in &common {
                load.closed_loop(Until::Accepted(load.ledger.accepted_in(1) + rest / COMMON.len() as u64)).await?;
            }
            rare.closed_loop(Until::Accepted(rare.ledger.accepted_in(1) + (in_round / RARITY).max(1))).await?;
        }
        Ok(())
    }
}

/// One kind of question. A list is walked page by page, from the newest on.
struct Question {
    path: String,
    cursor: Option<String>,
    is_walk: bool,
    pages: u32,
    asked: Asked,
}

fn questions(target: &str) -> Vec<Question> {
    let ask = |name, path: &str, is_walk| Question {
        path: path.to_owned(),
        cursor: None,
        is_walk,
        pages: 0,
        asked: Asked { name, timings: empty() },
    };
    let of_target = format!("/posthaste/v1/deliveries?limit=100&target_id={target}");
    vec![
        ask("events, newest", "/posthaste/v1/events?limit=100", false),
        ask("events, next pages", "/posthaste/v1/events?limit=100", true),
        ask("events, oldest", "/posthaste/v1/events?limit=100&order=asc", false),
        ask("events of a type", "/posthaste/v1/events?limit=100&type=bench.a", false),
        ask("events of a type, next pages", "/posthaste/v1/events?limit=100&type=bench.a", true),
        ask("events of a rare type", "/posthaste/v1/events?limit=100&type=bench.rare", false),
        ask("events of no such type", "/posthaste/v1/events?limit=100&type=bench.none", false),
        ask("events with deliveries", "/posthaste/v1/events?limit=100&type=bench.load&deliveries=true", false),
        ask("events, newest 20 with deliveries", "/posthaste/v1/events?limit=20&deliveries=true", false),
        ask("events with a text (all have it)", "/posthaste/v1/events?limit=100&search=BENCH.LOAD", false),
        ask("events with a text (none), next pages", "/posthaste/v1/events?limit=100&search=no-such-text", true),
        ask("deliveries, newest", "/posthaste/v1/deliveries?limit=100", false),
        ask("deliveries delivered", "/posthaste/v1/deliveries?limit=100&state=delivered", true),
        ask("deliveries failed (none)", "/posthaste/v1/deliveries?limit=100&state=failed", false),
        ask("deliveries held", "/posthaste/v1/deliveries?limit=100&state=held", true),
        ask("deliveries of a target", &of_target, true),
        ask("deliveries of a type", "/posthaste/v1/deliveries?limit=100&type=bench.held", false),
        ask("deliveries of a type held", "/posthaste/v1/deliveries?limit=100&type=bench.held&state=held", true),
        ask("deliveries of a type failed (none)", "/posthaste/v1/deliveries?limit=100&type=bench.load&state=failed", false),
        ask("statistics", "/posthaste/v1/statistics", false),
        ask("/metrics", "/metrics", false),
        ask("/readyz", "/readyz", false),
    ]
}

/// Asks one question after the other until told to stop.
async fn ask(mut api: Api, target: &str, stopped: watch::Receiver<bool>) -> Result<Vec<Asked>, BenchError> {
    let mut questions = questions(target);
    while !*stopped.borrow() {
        for question in &mut questions {
            question.ask(&mut api).await?;
            sleep(PAUSE).await;
        }
    }
    Ok(questions.into_iter().map(|question| question.asked).collect())
}

impl Question {
    async fn ask(&mut self, api: &mut Api) -> Result<(), BenchError> {
        let path = match &self.cursor {
            Some(cursor) => format!("{}&cursor={cursor}", self.path),
            None => self.path.clone(),
        };
        let since = Instant::now();
        let answer = api.get(&path).await?;
        self.asked.timings.record(since.elapsed().as_micros() as u64).expect("the histogram grows as needed");
        if self.is_walk {
            let page: Value = serde_json::from_slice(&answer).unwrap_or_default();
            self.pages += 1;
            self.cursor = page["next"].as_str().filter(|_| !self.pages.is_multiple_of(WALK)).map(str::to_owned);
        }
        Ok(())
    }
}
