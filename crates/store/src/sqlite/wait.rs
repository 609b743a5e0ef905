//! Waiting for a message with a limit, on a thread that has no runtime.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::sync::mpsc;
use tokio::time::Instant;

/// Lets one thread wait.
pub(super) struct Wait {
    waker: Waker,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Wait {
    /// For the calling thread.
    pub(super) fn new() -> Self {
        Self { waker: Waker::from(Arc::new(Unpark(thread::current()))) }
    }

    /// The next message, if one comes before `deadline` and any can come. What is there already is taken even after it.
    pub(super) fn until<T>(&self, deadline: Instant, messages: &mut mpsc::Receiver<T>) -> Option<T> {
        let mut context = Context::from_waker(&self.waker);
        loop {
            if let Poll::Ready(message) = messages.poll_recv(&mut context) {
                return message;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // May return early for no reason; then the loop looks again.
            thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_ends_the_wait_and_so_does_the_deadline() {
        let wait = Wait::new();
        let (sender, mut messages) = mpsc::channel(4);
        let far = Instant::now() + Duration::from_secs(600);
        sender.try_send(1).expect("there is room");
        assert_eq!(wait.until(Instant::now(), &mut messages), Some(1), "what is there is taken");
        assert_eq!(wait.until(Instant::now() + Duration::from_millis(1), &mut messages), None);
        let late = thread::spawn(move || sender.blocking_send(2));
        assert_eq!(wait.until(far, &mut messages), Some(2));
        late.join().expect("no panic").expect("received");
        assert_eq!(wait.until(far, &mut messages), None, "nobody can send any more");
    }
}
