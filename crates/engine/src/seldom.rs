//! Lines of the log that would come too often: one in a while is written, the others are counted.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Says when a line may be written again. One for each kind of line.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// At most one line in this time.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new(State { last: None, unsaid: 0 }) }
    }

    /// Asks before a line is written: how many were left out since the last one, or `None` if this one is left out too.
    pub fn turn(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.last.is_some_and(|last| now < last + self.every) {
            state.unsaid += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_in_between_are_counted() {
        let seldom = Seldom::new(Duration::from_secs(10));
        assert_eq!([seldom.turn(), seldom.turn(), seldom.turn()], [Some(0), None, None]);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!([seldom.turn(), seldom.turn()], [Some(2), None]);
    }
}
