//! The `posthaste` program: command line, configuration, wiring, shutdown.
//!
//! One file per command under `command/`; `serve.rs` and `demo/` start a server in this process, everything else speaks to one over HTTP.

mod allocator;
mod client;
mod clock;
mod command;
mod config;
mod demo;
mod failure;
mod logging;
mod node;
mod series;
mod serve;
mod signals;
mod sse;
mod storage;
mod term;

use std::process::ExitCode;

use clap::Parser;

use command::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let json = cli.json;
    let outcome = runtime.block_on(cli.run());
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let hint = failure.hint();
            if json {
                eprintln!("{}", serde_json::json!({"error": failure.to_string(), "hint": hint}));
            } else {
                eprintln!("error: {failure}");
                if let Some(hint) = hint {
                    eprintln!("  help: {hint}");
                }
            }
            failure.exit_code()
        }
    }
}
