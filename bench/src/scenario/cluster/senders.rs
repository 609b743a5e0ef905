//! Who publishes: each event until it is acknowledged, at whichever node answers, and the next one after that.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{STREAMS, Shared, Stream};
use crate::BenchError;
use crate::api::refused;
use crate::client::Connection;
use crate::event::{Envelope, Request, Via};
use crate::rng::Rng;

/// How long to wait for an answer before another node is asked.
const ANSWER: Duration = Duration::from_secs(3);
/// Pause after a node that did not take it.
const PAUSE: Duration = Duration::from_millis(20);
/// In parts of a hundred, how often a sender goes on to another node for no reason.
const WANDER: u64 = 5;

/// What the senders saw.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Numbers of the senders of each stream, in the order in which each sent them.
    pub numbers: Vec<(usize, Vec<u64>)>,
    /// Answers 429 and 503.
    pub refused: u64,
    /// Requests whose connection broke, or could not be made.
    pub broken: u64,
    /// Requests that nobody answered in time.
    pub unanswered: u64,
    /// Events that were accepted at another node than the first that was asked.
    pub moved: u64,
    /// Events that were never acknowledged.
    pub given_up: u64,
    /// From the first try to the success, at most.
    pub slowest: Duration,
}

/// Somebody who publishes events of one type.
pub struct Sender {
    shared: Arc<Shared>,
    rng: Rng,
    event_type: String,
    stream: usize,
    node: usize,
    connection: Option<Connection>,
    /// What it saw.
    pub published: Published,
}

/// Starts the senders of all streams that last.
pub fn start(shared: &Arc<Shared>, rng: &mut Rng) -> JoinSet<Result<Published, BenchError>> {
    let mut senders = JoinSet::new();
    for (stream, plan) in STREAMS.iter().enumerate() {
        for _ in 0..plan.senders {
            let sender = Sender::new(shared, Rng::new(rng.next()), stream, plan.event_type);
            senders.spawn(sender.go_on(*plan));
        }
    }
    senders
}

/// Waits for all.
pub async fn join(mut senders: JoinSet<Result<Published, BenchError>>) -> Result<Published, BenchError> {
    let mut all = Published::default();
    while let Some(ended) = senders.join_next().await {
        all.add(ended.expect("senders do not panic")?);
    }
    Ok(all)
}

impl Published {
    /// Adds what another sender saw.
    pub fn add(&mut self, mut other: Self) {
        self.numbers.append(&mut other.numbers);
        self.refused += other.refused;
        self.broken += other.broken;
        self.unanswered += other.unanswered;
        self.moved += other.moved;
        self.given_up += other.given_up;
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl Sender {
    /// Somebody who begins at some node.
    pub fn new(shared: &Arc<Shared>, mut rng: Rng, stream: usize, event_type: &str) -> Self {
        let node = rng.below(shared.members.len() as u64) as usize;
        let published = Published { numbers: vec![(stream, Vec::new())], ..Published::default() };
        Self { shared: Arc::clone(shared), rng, event_type: event_type.to_owned(), stream, node, connection: None, published }
    }

    async fn go_on(mut self, plan: Stream) -> Result<Published, BenchError> {
        loop {
            let pause = Duration::from_millis(self.rng.between(plan.pause_ms.0, plan.pause_ms.1));
            if !self.shared.rest(pause).await {
                return Ok(self.published);
            }
            if self.rng.below(100) < WANDER {
                self.move_to(None);
            }
            let number = self.publish().await?;
            if let Some(number) = number {
                self.shared.ledger.accept(self.stream, number, 1);
            } else {
                return Ok(self.published);
            }
        }
    }

    /// Begins at this node, or at some other one.
    pub fn move_to(&mut self, node: Option<usize>) {
        let others = self.shared.members.len().max(2) as u64 - 1;
        self.node = node.unwrap_or(self.node + 1 + self.rng.below(others) as usize) % self.shared.members.len();
        self.connection = None;
    }

    /// Publishes the next event until it is acknowledged; answers its number. `None`: it was not, and time is up.
    pub async fn publish(&mut self) -> Result<Option<u64>, BenchError> {
        let number = self.shared.ledger.take(1);
        self.published.numbers[0].1.push(number);
        let (began, at_us, first) = (Instant::now(), self.shared.clock.us(), self.node);
        loop {
            if self.attempt(number, at_us).await? {
                self.published.moved += u64::from(self.node != first);
                self.published.slowest = self.published.slowest.max(began.elapsed());
                return Ok(Some(number));
            }
            if Instant::now() >= self.shared.until {
                self.published.given_up += 1;
                return Ok(None);
            }
            sleep(PAUSE).await;
            self.move_to(None);
        }
    }

    /// One request; whether it was answered with success.
    async fn attempt(&mut self, number: u64, at_us: u64) -> Result<bool, BenchError> {
        let address = self.shared.members[self.node].address;
        let envelope = Envelope { event_type: Some(&self.event_type), has_key: true, ..Envelope::new(Via::Native) };
        let mut request = Request::new(address, envelope, &self.shared.tail, 1);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match timeout(ANSWER, Connection::open(address)).await {
                Ok(Ok(connection)) => connection,
                _ => {
                    self.published.broken += 1;
                    return Ok(false);
                }
            },
        };
        let is_taken = match timeout(ANSWER, connection.exchange(request.stamp(number, at_us))).await {
            Err(_) => {
                self.published.unanswered += 1;
                return Ok(false);
            }
            Ok(Err(BenchError::Io { .. })) => {
                self.published.broken += 1;
                return Ok(false);
            }
            Ok(Err(error)) => return Err(error),
            Ok(Ok(answer)) => match answer.status {
                200..300 => true,
                429 | 503 => {
                    self.published.refused += 1;
                    false
                }
                status => return Err(refused(format!("a publish of {} at {address}", self.event_type), status, answer.body)),
            },
        };
        self.connection = Some(connection);
        Ok(is_taken)
    }
}
