//! The command line.

mod backup;
mod check;
mod cluster;
mod completions;
mod domain;
pub mod follow;
mod key;
mod listen;
mod member;
mod migrate;
mod openapi;
mod replay;
mod send;
pub mod tail;
mod target;

use std::collections::BTreeMap;

use clap::{Parser, Subcommand};

use crate::failure::{EXIT_CODES, Failure};

/// Turns events into delivered messages: one self-hosted server, and the commands that speak to it.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, after_help = EXIT_CODES, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    /// Answer in JSON, for scripts.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(crate::demo::Demo),
    Serve(crate::serve::Serve),
    Send(send::Send),
    Tail(tail::Tail),
    Listen(listen::Listen),
    Key(key::Keys),
    Member(member::Members),
    Target(target::Targets),
    Domain(domain::Domains),
    Replay(replay::Replay),
    Cluster(cluster::Cluster),
    Backup(backup::Backup),
    Migrate(migrate::Migrate),
    Check(check::Check),
    Openapi(openapi::Openapi),
    Completions(completions::Completions),
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> Result<(), Failure> {
        let json = self.json;
        match self.command {
            Command::Demo(command) => command.run(json).await,
            Command::Serve(command) => command.run(json).await,
            Command::Send(command) => command.run(json).await,
            Command::Tail(command) => command.run(json).await,
            Command::Listen(command) => command.run(json).await,
            Command::Key(command) => command.run(json).await,
            Command::Member(command) => command.run(json).await,
            Command::Target(command) => command.run(json).await,
            Command::Domain(command) => command.run(json).await,
            Command::Replay(command) => command.run(json).await,
            Command::Cluster(command) => command.run(json).await,
            Command::Backup(command) => command.run(json),
            Command::Migrate(command) => command.run(json).await,
            Command::Check(command) => command.run(json),
            Command::Openapi(command) => command.run(),
            Command::Completions(command) => command.run(),
        }
    }
}

/// The environment as text; what is not Unicode is left out.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Prints a JSON document on one line.
pub fn say_json(value: &serde_json::Value) {
    crate::term::say(value.to_string());
}

/// A text member of an answer; empty when it is absent.
pub fn text<'a>(value: &'a serde_json::Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// All items of a list of the native API, page by page.
pub async fn all_items(client: &crate::client::Client, path: &str) -> Result<Vec<serde_json::Value>, Failure> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = match &cursor {
            None => client.get(path).await?,
            Some(cursor) => {
                let separator = if path.contains('?') { '&' } else { '?' };
                client.get(&format!("{path}{separator}cursor={}", crate::client::encode(cursor))).await?
            }
        };
        let found = page.get("items").and_then(serde_json::Value::as_array).ok_or_else(|| client.unexpected("it has no items"))?;
        items.extend(found.iter().cloned());
        match page.get("next").and_then(serde_json::Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(items),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
