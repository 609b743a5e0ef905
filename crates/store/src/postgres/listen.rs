//! The bells: what nodes tell each other at once, beside what they look up at each heartbeat.
//!
//! A ring says that there may be something, never what: so one that is lost (while the connection is, or where a pool in transaction mode
//! keeps it from coming at all) delays and loses nothing. After each connecting all bells ring.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_util::sync::CancellationToken;

use super::link::{Address, connect};
use super::tls::Stream;

/// Pause before connecting again.
const PAUSE: Duration = Duration::from_millis(500);

/// What rings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bell {
    /// Deliveries for owners.
    Arrivals,
    /// The catalog changed, or somebody asks for something, or left.
    News,
    /// A node works with a newer version of the catalog.
    Seen,
    /// A call was answered.
    Answers,
}

const ALL: [Bell; 4] = [Bell::Arrivals, Bell::News, Bell::Seen, Bell::Answers];

impl Bell {
    /// The statement that rings it, when its transaction commits.
    pub(super) fn ring(self) -> &'static str {
        match self {
            Self::Arrivals => "SELECT pg_notify('posthaste', 'arrivals')",
            Self::News => "SELECT pg_notify('posthaste', 'news')",
            Self::Seen => "SELECT pg_notify('posthaste', 'seen')",
            Self::Answers => "SELECT pg_notify('posthaste', 'answers')",
        }
    }

    fn of(payload: &str) -> Option<Self> {
        ALL.into_iter().find(|bell| bell.ring().split('\'').nth(3) == Some(payload))
    }
}

/// The ends that ring.
#[derive(Debug)]
pub(super) struct Tower([watch::Sender<u64>; 4]);

impl Default for Tower {
    fn default() -> Self {
        Self(std::array::from_fn(|_| watch::channel(0).0))
    }
}

impl Tower {
    /// Hears one of them from now on.
    pub(super) fn hear(&self, bell: Bell) -> watch::Receiver<u64> {
        self.0[bell as usize].subscribe()
    }

    /// Rings one, in this process.
    pub(super) fn ring(&self, bell: Bell) {
        self.0[bell as usize].send_modify(|rings| *rings += 1);
    }
}

/// Passes rings on until `stop`.
pub(super) async fn run(address: Address, tower: std::sync::Arc<Tower>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Ok((client, connection)) = connect(&address).await {
            tokio::select! {
                () = hear(client, connection, &tower) => {}
                () = stop.cancelled() => return,
            }
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Passes rings on until the connection ends.
async fn hear(client: Client, mut connection: Connection<Socket, Stream>, tower: &Tower) {
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    let listen = client.batch_execute("LISTEN posthaste");
    let begun = async {
        tokio::pin!(listen);
        loop {
            tokio::select! {
                listening = &mut listen => return listening.is_ok(),
                message = messages.next() => if !matches!(message, Some(Ok(_))) { return false },
            }
        }
    };
    if !begun.await {
        return;
    }
    ALL.into_iter().for_each(|bell| tower.ring(bell));
    while let Some(Ok(message)) = messages.next().await {
        if let AsyncMessage::Notification(note) = message
            && let Some(bell) = Bell::of(note.payload())
        {
            tower.ring(bell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rung_is_heard() {
        for bell in ALL {
            let payload = bell.ring().trim_end_matches("')").rsplit('\'').next().expect("a payload");
            assert!(matches!(Bell::of(payload), Some(heard) if heard as usize == bell as usize), "{payload}");
        }
        assert!(Bell::of("other").is_none());
    }
}
