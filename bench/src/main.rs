//! Measures a real Posthaste server from outside.
//!
//! One process publishes, receives and keeps the ledger; the server under test is the release binary in a process of its own, on a fresh
//! data directory, with every default in place (so with a flush on every commit). Nothing here asserts on time: a run prints what it saw.
//!
//! Invariants:
//! - Every event carries a number that no other event of the run has, and both sides mark it in a bitmap: lost and duplicated deliveries
//!   are counted, not estimated. A run that lost or damaged one is void, says so, and makes the exit code 1.
//! - The generator is cheap: requests are formatted once and only their digits are written anew; bodies are compared, not parsed.
//! - Publishing and receiving are one thread each, so that they leave the rest of the machine to the server.

mod api;
mod cli;
mod client;
mod event;
mod http;
mod ledger;
mod load;
mod plot;
mod postgres;
mod proxy;
mod relay;
mod report;
mod rng;
mod run;
mod scenario;
mod server;
mod sink;
mod table;
mod timing;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cli::Cli;

/// The server's allocator, so that the relay is no slower for want of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a measurement ends early.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// A file, a socket or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server does not start.
    #[error("the server did not start{log}")]
    Start {
        /// The end of its log.
        log: String,
    },
    /// Bytes that are not the HTTP that this program understands.
    #[error("the server's answer cannot be read: {0}")]
    Wire(#[from] http::WireError),
    /// The server refused what it should take.
    #[error("{request} was answered {status}: {body}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Beginning of the body.
        body: String,
    },
    /// The database under test, or a program of it.
    #[error("Postgres: {0}")]
    Postgres(String),
    /// Somebody wants no more of it.
    #[error("stopped")]
    Stopped,
    /// A file of `/proc` is not as expected.
    #[error("cannot read {0}")]
    Proc(String),
}

impl BenchError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

/// Waits for SIGINT or SIGTERM, so that servers and directories of a run that is broken off do not stay.
async fn told_to_stop() -> Result<(), BenchError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(BenchError::io("cannot listen for signals"))?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(BenchError::io("cannot listen for signals")),
        _ = terminate.recv() => Ok(()),
    }
}

fn main() -> ExitCode {
    let cli = match Cli::parse().relay_process() {
        Ok(process) => {
            return match process.run() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: the relay: {error}");
                    ExitCode::FAILURE
                }
            };
        }
        Err(cli) => cli,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let measured = runtime.block_on(async {
        tokio::select! {
            measured = cli.run() => measured,
            stopped = told_to_stop() => stopped.and(Err(BenchError::Stopped)),
        }
    });
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
