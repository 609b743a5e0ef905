//! Bulk replays of one target, begun at some node while nodes die: all that was sent again is received again, and each comes to its end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{CHANGE, LOOK, READY, Shared};
use crate::BenchError;
use crate::api::{Api, Replayed};
use crate::rng::Rng;

/// Between two of them.
const PAUSE_MS: (u64, u64) = (3_000, 7_000);

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replays {
    /// How many there are, what they sent again, and how many are not at their end.
    pub replayed: Replayed,
    /// Requests for one without a success.
    pub unsure: u64,
}

impl Replays {
    /// Begins one after the other until it is time to stop.
    pub async fn run(&mut self, shared: &Shared, target: &str, mut rng: Rng) -> Result<(), BenchError> {
        while shared.rest(Duration::from_millis(rng.between(PAUSE_MS.0, PAUSE_MS.1))).await {
            let address = shared.members[rng.below(shared.members.len() as u64) as usize].address;
            let asked = async { Api::open(address).await?.replay(target).await };
            self.unsure += u64::from(!matches!(timeout(CHANGE, asked).await, Ok(Ok(()))));
        }
        Ok(())
    }

    /// Waits until all are at their end.
    pub async fn finish(&mut self, shared: &Shared) -> Result<(), BenchError> {
        let since = Instant::now();
        loop {
            // The node may have been started a moment ago.
            let asked = async { Api::open(shared.members[0].address).await?.replayed().await };
            let answer = timeout(CHANGE, asked).await;
            if let Ok(Ok(replayed)) = &answer {
                self.replayed = *replayed;
            }
            match answer {
                Ok(Ok(replayed)) if replayed.running == 0 => return Ok(()),
                Ok(answer) if since.elapsed() > READY => return answer.map(drop),
                Err(_) if since.elapsed() > READY => return Ok(()),
                _ => sleep(LOOK).await,
            }
        }
    }
}
