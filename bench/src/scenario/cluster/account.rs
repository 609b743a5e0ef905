//! What a run comes to: what was lost, repeated, out of order or too fast, and what is left in the database.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::changes::Changes;
use super::faults::{Done, Fault, Faults};
use super::replays::Replays;
use super::senders::Published;
use super::{BATCH, CONCURRENCY, GATHERED, LIMITED, ORDERED, RATE, REPLAYED, STREAMS, Shared, locked};
use crate::BenchError;
use crate::api::Api;
use crate::ledger::Verdict;
use crate::sink::Receipt;
use crate::table::{Cell, Table};

/// How long the database may take to let go of the last rows, after everything arrived.
const SETTLED: Duration = Duration::from_secs(15);
/// How many of a kind of problem are shown.
const SHOWN: usize = 20;
const SECOND_US: u64 = 1_000_000;
/// Duplicates that come so long after a fault was over are of that fault.
const AFTERMATH_US: u64 = 6 * SECOND_US;
/// Of requests that are sent at the right moment some arrive in the wrong one: a busy machine delays one and not the next.
const JITTER: u64 = RATE / 5;
/// How many of the eight parts the node that owns most has beyond its share.
const SURPLUS: &str = "SELECT greatest(0, max(owned) - ceil(8.0 / count(*)))::int8 FROM (
    SELECT count(c.part) AS owned FROM posthaste.node n LEFT JOIN posthaste.claim c ON c.holder = n.id AND c.stream = 0
    WHERE NOT n.closed GROUP BY n.id) held";
/// Tables of deliveries.
const TABLES: &str = "SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'posthaste' AND c.relkind = 'r' AND relname ~ '^delivery_[0-9]+$'";
/// What a node logs when it begins anew.
const LOST: &str = "other nodes took this one for gone";

/// What is left in the database.
#[derive(Clone, Debug, Default)]
struct Left {
    pending: i64,
    given_up: i64,
    arrivals: i64,
    joining: i64,
    due: i64,
    orphans: i64,
    /// Parts that a node owns beyond its share.
    surplus: i64,
    /// Some of what is pending, and of the arrivals, as text.
    rows: Vec<String>,
}

/// The account.
pub struct Account {
    verdict: Verdict,
    missing: Vec<(usize, u64)>,
    published: Published,
    faults: BTreeMap<Fault, usize>,
    made: u64,
    unsure: u64,
    stale: u64,
    unknown: u64,
    began_anew: usize,
    replays: Replays,
    /// Receipts of the replayed target beyond the first of each event.
    received_again: u64,
    duplicates: BTreeMap<&'static str, u64>,
    unexplained: u64,
    bound: u64,
    /// Of single events, and of batches.
    order: [Order; 2],
    most_in_second: u64,
    most_in_calm_second: u64,
    forbidden: u64,
    slowest: Duration,
    left: Left,
    /// What went wrong.
    pub problems: Vec<String>,
}

impl Account {
    /// Adds everything up.
    pub async fn of(shared: &Shared, published: &Published, faults: &Faults, changes: &Changes, began_us: u64) -> Result<Self, BenchError> {
        let mut published = published.clone();
        published.add(changes.published.clone());
        let log = shared.sink.receipts().log();
        // A pause explains nothing: all nodes work meanwhile.
        let done: Vec<Done> = faults.done().into_iter().filter(|done| done.fault != Fault::Pause).collect();
        let counts = faults.counts();
        let (repeated, unexplained) = duplicates(&log, &done);
        let order = [ORDERED, GATHERED].map(|target| Order::of(target, &log, &published));
        let mut left = left(shared).await?;
        for (late, before) in order.iter().filter_map(|order| order.first_broken) {
            left.rows.extend(around(shared, late, before).await?);
        }
        let limited: Vec<u64> = log.iter().filter(|receipt| receipt.target == LIMITED).map(|receipt| receipt.at_us).collect();
        let forbidden: HashSet<(usize, u64)> = changes.forbidden.iter().copied().collect();
        let began_anew = shared.members.iter().map(|member| locked(&member.server).log().matches(LOST).count()).sum();
        // What a node had under way, or done and not stored, may be sent again by another; members of a batch each count.
        let at_once = CONCURRENCY * STREAMS.len() as u64 + shared.unsettled_limit().await?;
        let nodes = |fault: Fault| match fault {
            Fault::Database => shared.members.len() as u64,
            Fault::Slow | Fault::Pause => 0,
            _ => 1,
        };
        let harmful = counts.iter().map(|(fault, count)| *count as u64 * nodes(*fault)).sum::<u64>();
        Ok(Self {
            verdict: shared.ledger.close(),
            missing: shared.ledger.missing(),
            faults: counts,
            made: changes.made,
            unsure: changes.unsure,
            stale: changes.stale,
            unknown: unknown(shared, &changes.subscriptions).await?,
            began_anew,
            replays: Replays::default(),
            received_again: 0,
            bound: harmful * (at_once + CONCURRENCY * BATCH),
            duplicates: repeated,
            unexplained,
            order,
            most_in_second: most_within(&limited, |_| true),
            most_in_calm_second: most_within(&limited, |at_us| is_calm(&done, began_us, at_us)),
            forbidden: log.iter().filter(|receipt| forbidden.contains(&(receipt.target, receipt.number))).count() as u64,
            slowest: Duration::from_micros(shared.sink.receipts().timings.take().max()),
            left,
            published,
            problems: Vec::new(),
        })
    }

    /// Adds what was sent again. What came more often than that is duplicates.
    pub fn replayed(&mut self, shared: &Shared, replays: Replays) {
        let log = shared.sink.receipts().log();
        let numbers: Vec<u64> = log.iter().filter(|receipt| receipt.target == REPLAYED).map(|receipt| receipt.number).collect();
        let distinct = numbers.iter().collect::<HashSet<_>>().len();
        (self.replays, self.received_again) = (replays, (numbers.len() - distinct) as u64);
        let beyond = self.received_again.saturating_sub(replays.replayed.resent);
        self.duplicates.insert(STREAMS[REPLAYED].event_type, beyond);
    }

    /// Finds what should not be.
    pub fn judge(&mut self) {
        let Self { verdict, left, .. } = self;
        let all_duplicates: u64 = self.duplicates.values().sum();
        let zeros = [
            (verdict.lost, "acknowledged events were lost"),
            (verdict.damaged, "bodies were damaged"),
            (verdict.unacknowledged.saturating_sub(self.published.given_up + self.forbidden), "events arrived that nobody sent so"),
            (self.published.given_up, "events were never acknowledged"),
            (self.order[0].broken, "events of the ordered target came out of order"),
            (self.order[1].broken, "events came out of order in batches that are in order"),
            (self.forbidden, "events arrived although their subscription was switched off before they were published"),
            (left.pending.unsigned_abs(), "deliveries are still pending in the database"),
            (left.given_up.unsigned_abs(), "deliveries failed or were cancelled"),
            (left.arrivals.unsigned_abs(), "rows are left in posthaste.arrival"),
            (left.joining.unsigned_abs(), "rows are left in posthaste.joining"),
            (left.due.unsigned_abs(), "rows are left in posthaste.due"),
            (left.orphans.unsigned_abs(), "claims are held by nodes that are gone"),
            (left.surplus.unsigned_abs(), "parts of the targets with an owner are beyond their node's share"),
            (self.unknown, "subscriptions are not known to every node"),
            (self.replays.replayed.running, "replays are not at their end"),
            (
                self.replays.replayed.resent.saturating_sub(self.received_again),
                "deliveries were sent again by replays and not received again",
            ),
            (self.unexplained, "duplicates came long after any fault"),
        ];
        let mut problems: Vec<String> =
            zeros.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if all_duplicates > self.bound {
            problems.push(format!("{all_duplicates} duplicates, where the limits allow {}", self.bound));
        }
        if self.most_in_calm_second > RATE + JITTER {
            problems.push(format!("{} requests in a second of calm, where {RATE} are allowed", self.most_in_calm_second));
        }
        if self.most_in_second > 2 * RATE + JITTER {
            problems.push(format!(
                "{} requests in a second, where {RATE} are allowed, and twice that while nodes come and go",
                self.most_in_second
            ));
        }
        let name = |(target, number): &(usize, u64)| format!("event {number} did not arrive at target {target}");
        problems.extend(self.missing.iter().take(SHOWN).map(name));
        problems.extend(self.left.rows.iter().take(SHOWN).cloned());
        self.problems = problems;
    }

    /// As a table.
    pub fn table(&self, seed: u64, time: Duration) -> Table {
        let mut table = Table::new(format!("cluster under faults for {} s, --seed {seed}", time.as_secs()), &[""]);
        let mut row = |name: &str, value: u64| table.row(name, vec![Cell::Whole(value as f64)]);
        let fault = |fault: Fault| self.faults.get(&fault).copied().unwrap_or_default() as u64;
        row("nodes killed with -9 and started again", fault(Fault::Kill));
        row("nodes stalled (SIGSTOP) for longer than is forgiven", fault(Fault::Stall));
        row("links to the database cut", fault(Fault::Cut));
        row("links to the database frozen", fault(Fault::Freeze));
        row("links to the database slowed down", fault(Fault::Slow));
        row("Postgres ended and started again", fault(Fault::Database));
        row("pauses of the ordered target", fault(Fault::Pause));
        row("nodes that began anew in their process", self.began_anew as u64);
        row("subscriptions made or switched, then met at another node", self.made);
        row("… changes without a success, left alone", self.unsure);
        row("… of these, answered 404 by a node that was cut off", self.stale);
        row("events acknowledged", self.verdict.accepted);
        row("deliveries", self.verdict.delivered);
        row("acknowledged and lost", self.verdict.lost);
        row("events that another node than the first took", self.published.moved);
        row("requests answered 429 or 503", self.published.refused);
        row("requests whose connection broke", self.published.broken);
        row("requests without an answer in 3 s", self.published.unanswered);
        row("duplicates", self.duplicates.values().sum());
        for (name, count) in &self.duplicates {
            row(&format!("… of {name}"), *count);
        }
        row("… most that the limits allow", self.bound);
        row("bulk replays", self.replays.replayed.count);
        row("… requests for one without a success", self.replays.unsure);
        row("… deliveries sent again", self.replays.replayed.resent);
        row("… and received again", self.received_again);
        for (order, name) in self.order.iter().zip(["ordered events", "events in ordered batches"]) {
            row(name, order.events);
            row("… out of order", order.broken);
            row("… repeated after a later one", order.repeated_late);
        }
        row(&format!("most requests in a second, limit {RATE}"), self.most_in_second);
        row("… in a second without faults", self.most_in_calm_second);
        row("pending in the database at the end", self.left.pending.unsigned_abs());
        row("rows in posthaste.arrival at the end", self.left.arrivals.unsigned_abs());
        row("ms of the slowest publish, retries included", self.published.slowest.as_millis() as u64);
        row("ms of the slowest delivery", self.slowest.as_millis() as u64);
        table
    }
}

/// Receipts beyond the first, by target; and how many of them came when there had been no fault for long.
fn duplicates(log: &[Receipt], done: &[Done]) -> (BTreeMap<&'static str, u64>, u64) {
    let mut seen = HashSet::new();
    let (mut counts, mut unexplained) = (BTreeMap::new(), 0);
    // What is sent again on purpose has an account of its own.
    for receipt in log.iter().filter(|receipt| receipt.target != REPLAYED) {
        if !seen.insert((receipt.target, receipt.number)) {
            *counts.entry(STREAMS.get(receipt.target).map_or("cluster.change", |stream| stream.event_type)).or_default() += 1;
            let explains = |done: &Done| (done.from_us..done.until_us + AFTERMATH_US).contains(&receipt.at_us);
            unexplained += u64::from(!done.iter().any(explains));
        }
    }
    (counts, unexplained)
}

/// Whether a target got each sender's events in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Order {
    events: u64,
    /// Events whose first receipt came after that of a later one of the same sender.
    broken: u64,
    /// Later receipts of that kind.
    repeated_late: u64,
    /// When the first event came that was late, and which one had come before it.
    first_broken: Option<(Receipt, u64)>,
}

impl Order {
    fn of(target: usize, log: &[Receipt], published: &Published) -> Self {
        let ordered = published.numbers.iter().filter(|(stream, _)| *stream == target);
        let senders: HashMap<u64, usize> =
            ordered.enumerate().flat_map(|(sender, (_, numbers))| numbers.iter().map(move |number| (*number, sender))).collect();
        let (mut seen, mut last, mut order) = (HashSet::new(), HashMap::new(), Self::default());
        for receipt in log.iter().filter(|receipt| receipt.target == target) {
            let Some(sender) = senders.get(&receipt.number) else { continue };
            let last = last.entry(*sender).or_insert(0);
            let is_late = u64::from(receipt.number < *last);
            if seen.insert(receipt.number) {
                order.broken += is_late;
                if is_late > 0 && order.first_broken.is_none() {
                    order.first_broken = Some((*receipt, *last));
                }
            } else {
                order.repeated_late += is_late;
            }
            *last = receipt.number.max(*last);
        }
        order.events = seen.len() as u64;
        order
    }
}

/// The most of these ascending times in any second of which this is true at both ends.
fn most_within(times: &[u64], is_counted: impl Fn(u64) -> bool) -> u64 {
    let (mut first, mut most) = (0, 0);
    for (place, time) in times.iter().enumerate() {
        while time - times[first] >= SECOND_US {
            first += 1;
        }
        if is_counted(*time) && is_counted(times[first]) {
            most = most.max(place + 1 - first);
        }
    }
    most as u64
}

/// Whether all nodes had known each other for long.
fn is_calm(done: &[Done], began_us: u64, at_us: u64) -> bool {
    at_us > began_us + AFTERMATH_US && !done.iter().any(|done| (done.from_us..done.until_us + AFTERMATH_US).contains(&at_us))
}

/// How many subscriptions are missing, over all nodes.
async fn unknown(shared: &Shared, subscriptions: &[String]) -> Result<u64, BenchError> {
    let mut missing = 0;
    for member in &shared.members {
        let mut api = Api::open(member.address).await?;
        for id in subscriptions {
            missing += u64::from(api.get(&format!("/posthaste/v1/subscriptions/{id}")).await.is_err());
        }
    }
    Ok(missing)
}

/// What is left in the database, once it stays so.
async fn left(shared: &Shared) -> Result<Left, BenchError> {
    let session = shared.postgres.connect().await?;
    let since = Instant::now();
    loop {
        let mut left = Left {
            arrivals: session.number("SELECT count(*) FROM posthaste.arrival").await?,
            joining: session.number("SELECT count(*) FROM posthaste.joining").await?,
            due: session.number("SELECT count(*) FROM posthaste.due").await?,
            orphans: session
                .number("SELECT count(*) FROM posthaste.claim WHERE holder NOT IN (SELECT id FROM posthaste.node WHERE NOT closed)")
                .await?,
            surplus: session.number(SURPLUS).await?,
            ..Left::default()
        };
        for table in session.texts(TABLES).await? {
            left.pending += session.number(&format!("SELECT count(*) FROM posthaste.{table} WHERE state IN (0, 1)")).await?;
            left.given_up += session.number(&format!("SELECT count(*) FROM posthaste.{table} WHERE state IN (3, 4)")).await?;
        }
        if left.pending + left.arrivals + left.joining + left.due + left.orphans + left.surplus == 0 {
            return Ok(left);
        }
        if since.elapsed() > SETTLED {
            left.rows = session.texts("SELECT 'arrival ' || a::text FROM posthaste.arrival a ORDER BY id DESC LIMIT 3").await?;
            left.rows.extend(session.texts("SELECT 'due ' || d::text FROM posthaste.due d LIMIT 3").await?);
            let held = "SELECT 'target ' || number || ' ' || (doc::json ->> 'status') FROM posthaste.resource WHERE kind = 'target' AND NOT deleted
                        AND doc::json ->> 'status' <> 'active'";
            left.rows.extend(session.texts(held).await?);
            left.rows.extend(session.texts("SELECT 'node ' || n::text FROM posthaste.node n WHERE NOT closed").await?);
            for table in session.texts(TABLES).await? {
                let pending = format!(
                    "SELECT 'delivery ' || (d.key >> 20) || ' stream ' || d.stream || ' holder ' || coalesce(c.holder, -1) || ' ' || d::text \
                     FROM posthaste.{table} d LEFT JOIN posthaste.claim c ON c.stream = d.stream AND c.part = (d.target & 7)::int2 \
                     WHERE d.state IN (0, 1) ORDER BY d.key LIMIT 10"
                );
                left.rows.extend(session.texts(&pending).await?);
            }
            return Ok(left);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// An event that was late, the one that had come before it, and what was sent to their target at that time.
async fn around(shared: &Shared, late: Receipt, before: u64) -> Result<Vec<String>, BenchError> {
    let session = shared.postgres.connect().await?;
    let ago_ms = shared.clock.us().saturating_sub(late.at_us) / 1_000;
    let now_ms = session.number("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8").await?;
    let at_ms = now_ms - i64::try_from(ago_ms).unwrap_or_default();
    let mut rows = vec![format!("event {} came at {} ms, after {before}", late.number, at_ms)];
    for table in session.texts(TABLES).await? {
        let sent = format!(
            "SELECT 'sent ' || (d.key >> 20) || ' ' || d::text FROM posthaste.{table} d
             JOIN posthaste.resource r ON r.number = d.target AND r.doc::json ->> 'name' = 'target {}'
             WHERE d.updated_ms BETWEEN {at_ms} - 1500 AND {at_ms} + 300 ORDER BY d.updated_ms LIMIT 12",
            late.target,
        );
        rows.extend(session.texts(&sent).await?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipts(target: usize, numbers: &[u64]) -> Vec<Receipt> {
        (0..).zip(numbers).map(|(at_us, &number)| Receipt { target, number, at_us: at_us * 100 }).collect()
    }

    #[test]
    fn order_is_that_of_each_sender() {
        let published = Published { numbers: vec![(ORDERED, vec![0, 2, 5]), (0, vec![3]), (ORDERED, vec![1, 4])], ..Published::default() };
        let order = |numbers: &[u64]| Order::of(ORDERED, &receipts(ORDERED, numbers), &published);
        assert_eq!(order(&[1, 0, 0, 2, 4, 5]), Order { events: 5, ..Order::default() });
        let broken = Order { events: 4, broken: 1, repeated_late: 1, first_broken: Some((receipts(ORDERED, &[0, 5, 2])[2], 5)) };
        assert_eq!(order(&[0, 5, 2, 0, 1]), broken, "2 came after 5, and 0 again");
    }

    #[test]
    fn duplicates_belong_to_faults() {
        let done = [Done { fault: Fault::Kill, from_us: 150, until_us: 250 }];
        let (counts, unexplained) = duplicates(&receipts(0, &[1, 1, 1, 2]), &done);
        assert_eq!((counts.values().sum::<u64>(), unexplained), (2, 1));
    }

    #[test]
    fn a_second_slides() {
        let times = [0, 400_000, 900_000, 1_000_000, 1_300_000, 3_000_000];
        assert_eq!(most_within(&times, |_| true), 4);
        assert_eq!(most_within(&times, |at_us| at_us >= 3_000_000), 1);
    }
}
