//! Subscriptions that are made, switched off and on at one node, and meet events at another as soon as the change is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::senders::{Published, Sender};
use super::{CHANGE, STREAMS, Shared};
use crate::BenchError;
use crate::api::Api;
use crate::rng::Rng;

/// Events after each change.
const EVENTS: usize = 4;
/// Between two lives of a subscription.
const PAUSE_MS: (u64, u64) = (100, 600);

/// What was changed.
pub struct Changes {
    lives: usize,
    /// Changes that were answered with success, and met by events.
    pub made: u64,
    /// Changes whose answer was no success or did not come; what became of them is not known.
    pub unsure: u64,
    /// Answers that there is no such subscription, from nodes that do not know of it: they were cut off for long when it was made.
    pub stale: u64,
    /// Subscriptions that are there.
    pub subscriptions: Vec<String>,
    /// Targets, and numbers of events that must not have arrived there.
    pub forbidden: Vec<(usize, u64)>,
    /// What the senders saw.
    pub published: Published,
}

impl Changes {
    /// For at most so many subscriptions.
    pub fn new(lives: usize) -> Self {
        Self { lives, made: 0, unsure: 0, stale: 0, subscriptions: Vec::new(), forbidden: Vec::new(), published: Published::default() }
    }

    /// Changes one thing after the other until it is time to stop.
    pub async fn run(&mut self, shared: &Arc<Shared>, mut rng: Rng) -> Result<(), BenchError> {
        for life in 0..self.lives {
            if !shared.rest(Duration::from_millis(rng.between(PAUSE_MS.0, PAUSE_MS.1))).await {
                return Ok(());
            }
            self.live(shared, &mut rng, STREAMS.len() + life).await?;
        }
        Ok(())
    }

    /// One subscription. When it is not sure what became of a change, nothing is expected of it any more.
    async fn live(&mut self, shared: &Arc<Shared>, rng: &mut Rng, stream: usize) -> Result<(), BenchError> {
        let event_type = format!("cluster.change.{stream}");
        let mut sender = Sender::new(shared, Rng::new(rng.next()), stream, &event_type);
        let (name, url) = (format!("target {stream}"), shared.sink.url(stream));
        let made = self.ask(shared, rng, async |api: &mut Api| api.make_target(&name, &url, &event_type, None).await).await?;
        let Some((made, mut at)) = made else { return Ok(()) };
        self.subscriptions.push(made.subscription.clone());
        for is_on in [true, false, true] {
            if !is_on || !sender.published.numbers[0].1.is_empty() {
                let switched = self.ask(shared, rng, async |api: &mut Api| api.set_subscription(&made.subscription, is_on).await).await?;
                let Some(((), node)) = switched else { break };
                at = node;
            }
            self.made += 1;
            for event in 0..EVENTS {
                // The first ones at once and elsewhere.
                sender.move_to(Some(at + 1 + event));
                let Some(number) = sender.publish().await? else { break };
                if is_on {
                    shared.ledger.accept(stream, number, 1);
                } else {
                    self.forbidden.push((stream, number));
                }
            }
        }
        self.published.add(sender.published);
        Ok(())
    }

    /// Asks some node for a change; answers what it gave and which node it was.
    async fn ask<T>(
        &mut self,
        shared: &Shared,
        rng: &mut Rng,
        change: impl AsyncFnOnce(&mut Api) -> Result<T, BenchError>,
    ) -> Result<Option<(T, usize)>, BenchError> {
        let node = rng.below(shared.members.len() as u64) as usize;
        let asked = async { change(&mut Api::open(shared.members[node].address).await?).await };
        match timeout(CHANGE, asked).await {
            Ok(Ok(given)) => return Ok(Some((given, node))),
            Ok(Err(BenchError::Refused { status: 404, .. })) => self.stale += 1,
            Ok(Err(BenchError::Refused { status: 409 | 429 | 503, .. } | BenchError::Io { .. })) | Err(_) => {}
            Ok(Err(error)) => return Err(error),
        }
        self.unsure += 1;
        Ok(None)
    }
}
