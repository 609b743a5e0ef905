//! Ctrl-C and SIGTERM.

use crate::failure::Failure;

/// Waits for requests to stop; each call of [`Stop::requested`] waits for one.
#[derive(Debug)]
pub struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    /// Takes over the process's handling of both signals.
    pub fn listen() -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let failed = || Failure::io("cannot listen for signals");
            Ok(Self {
                terminate: signal(SignalKind::terminate()).map_err(failed())?,
                interrupt: signal(SignalKind::interrupt()).map_err(failed())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Resolves when the next signal comes.
    pub async fn requested(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
