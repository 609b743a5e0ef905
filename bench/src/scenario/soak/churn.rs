//! Targets that come and go. Each lives once: it is made, published to, perhaps paused, sick or gone, and deleted; then every event that was
//! accepted for it has to have arrived, or to have a delivery that says why not.

use std::time::Duration;

use super::Soaking;
use super::traffic::{CHURN, CHURN_TARGET};
use crate::BenchError;
use crate::api::{Api, Made, States};
use crate::event::{Envelope, Via};
use crate::load::{Load, Until};
use crate::rng::Rng;
use crate::sink::Mode;

/// How long what is under way at a deletion may take to be settled.
const SETTLE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);

/// What happens to a target before it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing; all arrives.
    Good,
    /// It fails, and is deleted with what it is owed.
    Failing,
    /// It hangs, and is deleted.
    Hanging,
    /// It is paused, and is deleted.
    Paused,
    /// It is paused and resumed; all arrives.
    Resumed,
    /// It answers 410, is disabled, and resumed.
    Gone,
}

const FATES: [Fate; 6] = [Fate::Good, Fate::Failing, Fate::Hanging, Fate::Paused, Fate::Resumed, Fate::Gone];

/// The targets that come and go.
pub struct Churn {
    /// Lives so far.
    pub lives: u64,
    /// Deliveries that were cancelled when their target or subscription was deleted.
    pub cancelled: u64,
    /// Deliveries that failed because their target was gone.
    pub failed: u64,
    /// Events that came while their target was disabled.
    pub unmatched: u64,
    /// What nobody can explain.
    pub problems: Vec<String>,
    most: usize,
    rng: Rng,
    load: Load,
}

impl Churn {
    /// At most so many lives; `load` is a pattern for the loads.
    pub fn new(most: usize, rng: Rng, load: Load) -> Self {
        Self { lives: 0, cancelled: 0, failed: 0, unmatched: 0, problems: Vec::new(), most, rng, load }
    }

    /// One life after the other until the soak is over.
    pub async fn run(&mut self, soaking: &Soaking<'_>) -> Result<(), BenchError> {
        for life in 0..self.most {
            if !soaking.rest(Duration::from_millis(self.rng.between(100, 800))).await {
                break;
            }
            // All fates in turn, so that a short soak has seen most.
            self.live(soaking, life, FATES[life % FATES.len()]).await?;
            self.lives += 1;
        }
        Ok(())
    }

    async fn live(&mut self, soaking: &Soaking<'_>, life: usize, fate: Fate) -> Result<(), BenchError> {
        let (stream, target) = (CHURN + life, CHURN + life + CHURN_TARGET);
        let event_type = format!("soak.churn.{life}");
        let mode = match fate {
            Fate::Failing => Mode::Fail,
            Fate::Hanging => Mode::Hang,
            Fate::Gone => Mode::Gone,
            _ => Mode::Ok,
        };
        soaking.sink.set_mode(target, mode);
        let made = {
            let server = soaking.server.lock().await;
            let mut api = Api::open(server.address()).await?;
            let made = api.make_target(&event_type, &soaking.sink.url(target), &event_type, None).await?;
            if matches!(fate, Fate::Paused | Fate::Resumed) {
                api.switch(&made.target, "pause").await?;
            }
            made
        };
        let mut load = Load { stream, ..self.load.clone() };
        load.set_envelope(Envelope { event_type: Some(&event_type), ..Envelope::new(Via::Native) }, 10);
        for _ in 0..self.rng.between(2, 6) {
            load.closed_loop(Until::Accepted(load.ledger.accepted_in(stream) + 20)).await?;
            soaking.rest(Duration::from_millis(self.rng.below(300))).await;
        }
        // No kill from here on, so that what the lists say is about the same moment as what the receiver says.
        let server = soaking.server.lock().await;
        let mut api = Api::open(server.address()).await?;
        if matches!(fate, Fate::Resumed | Fate::Gone) {
            soaking.sink.set_mode(target, Mode::Ok);
            api.switch(&made.target, "resume").await?;
        }
        if matches!(fate, Fate::Good | Fate::Resumed) {
            wait_until(SETTLE * 4, || load.ledger.delivered_to(target) >= load.ledger.accepted_in(stream)).await;
        }
        if fate == Fate::Gone {
            settle(&mut api, &made).await?;
        }
        api.delete("subscriptions", &made.subscription).await?;
        api.delete("targets", &made.target).await?;
        soaking.sink.set_mode(target, Mode::Fail);
        settle(&mut api, &made).await?;
        self.account(&mut api, &made, &load, fate).await?;
        soaking.ledger.set_owed(target, false);
        Ok(())
    }

    /// Every accepted event has arrived, or its delivery says why not.
    async fn account(&mut self, api: &mut Api, made: &Made, load: &Load, fate: Fate) -> Result<(), BenchError> {
        let target = load.stream + CHURN_TARGET;
        let States { delivered, failed, cancelled, pending } = api.deliveries_of(&made.target).await?;
        let (accepted, missing) = (load.ledger.accepted_in(load.stream), load.ledger.missing_at(target));
        // Only a target that was disabled may have missed events; where an answer was lost, there may be more deliveries than that.
        let rows = delivered + failed + cancelled + pending;
        let unmatched = if fate == Fate::Gone { accepted.saturating_sub(rows) } else { 0 };
        let expects_all = matches!(fate, Fate::Good | Fate::Resumed);
        let is_explained = missing <= cancelled + failed + unmatched && rows + unmatched >= accepted && pending == 0;
        if !is_explained || (expects_all && missing > 0) {
            self.problems.push(format!(
                "{fate:?}: of {accepted} events {missing} did not arrive; their deliveries: {delivered} delivered, {failed} failed, \
                 {cancelled} cancelled, {pending} pending; {unmatched} had none"
            ));
        }
        self.cancelled += cancelled;
        self.failed += failed;
        self.unmatched += unmatched;
        Ok(())
    }
}

/// Waits until a target is owed nothing.
async fn settle(api: &mut Api, made: &Made) -> Result<(), BenchError> {
    let since = tokio::time::Instant::now();
    while since.elapsed() < SETTLE {
        if api.deliveries_of(&made.target).await?.pending == 0 {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn wait_until(time: Duration, is_so: impl Fn() -> bool) {
    let since = tokio::time::Instant::now();
    while !is_so() && since.elapsed() < time {
        tokio::time::sleep(LOOK).await;
    }
}
