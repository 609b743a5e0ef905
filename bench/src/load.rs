//! Publishing: as fast as the answers come (closed loop), or at a fixed rate whatever the answers do (open loop).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use crate::BenchError;
use crate::api::refused;
use crate::client::Connection;
use crate::event::{Envelope, Request, Tail};
use crate::ledger::Ledger;
use crate::timing::{Clock, Timings};

/// Pause after the server said that it has too much to do.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Ticks of an open loop that may wait for a free connection.
const TICKS: usize = 1 << 16;

/// What publishes.
#[derive(Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// The request, its array included.
    pub request: Request,
    /// What the documents look like.
    pub tail: Tail,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// The ledger of the run.
    pub ledger: Arc<Ledger>,
    /// Stream of the ledger that the events belong to.
    pub stream: usize,
    /// How long to go on looking for a server that is not there.
    pub patience: Duration,
    /// The clock of the run.
    pub clock: Clock,
    /// From the start of a request (closed loop), or from when it should have started (open loop), to its answer.
    pub timings: Arc<Timings>,
}

/// When a closed loop ends.
#[derive(Clone, Debug)]
pub enum Until {
    /// At this time of the run's clock, in microseconds.
    Time(u64),
    /// When so many events of the stream are accepted.
    Accepted(u64),
    /// When this becomes true.
    Told(watch::Receiver<bool>),
}

/// How publishing went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Published {
    /// Requests that the server refused for want of room (429 or 503).
    pub refused: u64,
    /// Requests whose connection broke before the answer.
    pub broken: u64,
    /// When the first request began.
    pub began_us: u64,
    /// When the last answer came.
    pub ended_us: u64,
}

impl Published {
    /// Both together.
    pub fn merge(self, other: Self) -> Self {
        Self {
            refused: self.refused + other.refused,
            broken: self.broken + other.broken,
            began_us: self.began_us.min(other.began_us),
            ended_us: self.ended_us.max(other.ended_us),
        }
    }
}

impl Load {
    /// From now on requests are these.
    pub fn set_envelope(&mut self, envelope: Envelope<'_>, batch: usize) {
        self.request = Request::new(self.address, envelope, &self.tail, batch);
    }

    /// Publishes as fast as the answers come.
    pub async fn closed_loop(&self, until: Until) -> Result<Published, BenchError> {
        let mut publishers = JoinSet::new();
        for _ in 0..self.connections {
            let mut publisher = Publisher::open(self).await?;
            let until = until.clone();
            publishers.spawn(async move {
                loop {
                    let now = publisher.load.clock.us();
                    let is_over = match &until {
                        Until::Time(end) => now >= *end,
                        Until::Accepted(count) => publisher.load.ledger.accepted_in(publisher.load.stream) >= *count,
                        Until::Told(stop) => *stop.borrow(),
                    };
                    if is_over {
                        return Ok(publisher.published);
                    }
                    publisher.publish(now).await?;
                }
            });
        }
        join(publishers).await
    }

    /// The same, and then on until the number of accepted events is a multiple of `whole`, which the events of a request have to divide.
    pub async fn closed_loop_rounded(&self, until: Until, whole: u64) -> Result<Published, BenchError> {
        let published = self.closed_loop(until).await?;
        if self.ledger.accepted_in(self.stream).is_multiple_of(whole) {
            return Ok(published);
        }
        let single = Self { connections: 1, ..self.clone() };
        let rest = single.closed_loop(Until::Accepted(self.ledger.accepted_in(self.stream).next_multiple_of(whole))).await?;
        Ok(published.merge(rest))
    }

    /// Publishes `rate` requests a second for so long. A request that finds no free connection waits, and its wait counts.
    pub async fn open_loop(&self, rate: f64, time: Duration) -> Result<Published, BenchError> {
        let (ticks, receiver) = mpsc::channel(TICKS);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut publishers = JoinSet::new();
        for _ in 0..self.connections {
            let mut publisher = Publisher::open(self).await?;
            let receiver = Arc::clone(&receiver);
            publishers.spawn(async move {
                loop {
                    let tick = receiver.lock().await.recv().await;
                    let Some(at_us) = tick else { return Ok(publisher.published) };
                    publisher.publish(at_us).await?;
                }
            });
        }
        drop(receiver);
        let clock = self.clock;
        // The runtime's timers are a millisecond coarse, which is more than what is measured: a thread keeps the time.
        let pacer = std::thread::Builder::new().name("pacer".to_owned()).spawn(move || pace(clock, rate, time, &ticks));
        let published = join(publishers).await;
        pacer.map_err(BenchError::io("cannot start the pacer"))?.join().expect("the pacer does not panic");
        published
    }
}

fn pace(clock: Clock, rate: f64, time: Duration, ticks: &mpsc::Sender<u64>) {
    let start = clock.us();
    let count = (rate * time.as_secs_f64()) as u64;
    for tick in 0..count {
        let at_us = start + (tick as f64 * 1e6 / rate) as u64;
        std::thread::sleep(Duration::from_micros(at_us.saturating_sub(clock.us())));
        if ticks.blocking_send(at_us).is_err() {
            return;
        }
    }
}

async fn join(mut publishers: JoinSet<Result<Published, BenchError>>) -> Result<Published, BenchError> {
    let mut all = Published { began_us: u64::MAX, ..Published::default() };
    while let Some(ended) = publishers.join_next().await {
        all = all.merge(ended.expect("publishers do not panic")?);
    }
    Ok(all)
}

struct Publisher {
    load: Load,
    connection: Connection,
    published: Published,
}

impl Publisher {
    async fn open(load: &Load) -> Result<Self, BenchError> {
        let connection = Connection::open_within(load.address, load.patience).await?;
        Ok(Self { load: load.clone(), connection, published: Published { began_us: u64::MAX, ..Published::default() } })
    }

    /// Publishes the next events; `at_us` is when this begins or should have begun.
    async fn publish(&mut self, at_us: u64) -> Result<(), BenchError> {
        let load = &mut self.load;
        let count = load.request.events();
        let first = load.ledger.take(count);
        self.published.began_us = self.published.began_us.min(at_us);
        match self.connection.exchange(load.request.stamp(first, at_us)).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let now = load.clock.us();
                load.ledger.accept(load.stream, first, count);
                load.timings.record(now.saturating_sub(at_us));
                self.published.ended_us = now;
            }
            Ok(answer) if matches!(answer.status, 429 | 503) => {
                self.published.refused += 1;
                tokio::time::sleep(BACK_OFF).await;
            }
            Ok(answer) => return Err(refused("a publish".to_owned(), answer.status, answer.body)),
            Err(BenchError::Io { .. }) => {
                self.published.broken += 1;
                self.connection.reopen(load.patience).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
