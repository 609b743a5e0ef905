//! `posthaste cluster`: shows the nodes that share a database.

use serde_json::Value;

use super::{say_json, text};
use crate::client::{Client, Remote};
use crate::failure::Failure;
use crate::term::{say, table};

/// Shows the nodes that share a database: who lives, who holds what, how much waits where.
#[derive(Debug, clap::Args)]
pub struct Cluster {
    #[command(flatten)]
    remote: Remote,
}

impl Cluster {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        let answer = client.get("/cluster").await?;
        if json {
            say_json(&answer);
            return Ok(());
        }
        if !answer.pointer("/is_shared").and_then(Value::as_bool).unwrap_or_default() {
            say("This server keeps everything in its own data directory. Start it with --database to share a Postgres with others.");
            return Ok(());
        }
        let rows: Vec<Vec<String>> = answer.pointer("/items").and_then(Value::as_array).into_iter().flatten().map(row).collect();
        table(&["NODE", "NAME", "STATE", "RELEASE", "HEARD", "LEASES", "CONFIG", "PENDING", "IN FLIGHT", "WAITS", "URL"], &rows);
        Ok(())
    }
}

fn row(node: &Value) -> Vec<String> {
    let number = |pointer: &str| node.pointer(pointer).and_then(Value::as_i64);
    let shown = |pointer: &str| number(pointer).map_or_else(|| "-".to_owned(), |value| value.to_string());
    let mark = if node.pointer("/answers").and_then(Value::as_bool).unwrap_or_default() { "*" } else { "" };
    vec![
        format!("{}{mark}", shown("/number")),
        text(node, "/name").to_owned(),
        text(node, "/state").to_owned(),
        text(node, "/release").to_owned(),
        format!("{} ago", duration(number("/silent_ms").unwrap_or_default())),
        format!("{} own, {} taken over, {} owner", shown("/leases/own"), shown("/leases/taken_over"), shown("/leases/owner")),
        shown("/configuration"),
        shown("/pending"),
        shown("/in_flight"),
        number("/waiting_ms").map_or_else(|| "-".to_owned(), duration),
        text(node, "/url").to_owned(),
    ]
}

fn duration(ms: i64) -> String {
    match ms {
        ..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..600_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!([140, 9_960, 12_000, 3_600_000].map(duration), ["0.1 s", "9.9 s", "12 s", "60 min"]);
    }
}
