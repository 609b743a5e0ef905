//! `posthaste replay`: sends past deliveries again, behind live traffic.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{say_json, text};
use crate::client::{Client, Remote, encode};
use crate::failure::Failure;
use crate::signals::Stop;
use crate::term::{Style, paint, say};

/// Pause between two looks at the replay.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Sends past deliveries again, behind live traffic; the failed ones, unless --state says otherwise.
///
/// The server does the work: it goes on when this command is stopped, unless it is told to cancel.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// Only deliveries to this target (id).
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Deliveries in this state: failed, delivered or cancelled. May be repeated.
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// Events received at or after this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Events received before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Start it and do not wait for its end.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Replay {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        let mut stop = Stop::listen()?;
        let mut body = serde_json::Map::new();
        let fields = [("target_id", self.target), ("event_type", self.event_type), ("from", self.from), ("to", self.to)];
        body.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
        if !self.states.is_empty() {
            body.insert("states".into(), json!(self.states));
        }
        let mut replay = client.post("/replays", &body.into()).await?;
        let id = text(&replay, "/id").to_owned();
        if self.detach {
            if json {
                say_json(&replay)
            } else {
                say(format!("{} {id}", paint(Style::Good, "started")))
            }
            return Ok(());
        }
        let bar = spinner();
        while text(&replay, "/state") == "running" {
            bar.set_message(counts(&replay));
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.requested() => {
                    let cancelled = bar.suspend(wants_to_cancel);
                    if !cancelled {
                        bar.finish_and_clear();
                        eprintln!("{id} goes on; look at it with GET /posthaste/v1/replays/{id}");
                        return Err(Failure::Interrupted);
                    }
                    client.post_bytes(&format!("/replays/{}/cancel", encode(&id)), bytes::Bytes::new()).await?;
                }
            }
            replay = client.get(&format!("/replays/{}", encode(&id))).await?;
        }
        bar.finish_and_clear();
        if json {
            say_json(&replay);
            return Ok(());
        }
        let (style, ended) = match text(&replay, "/state") {
            "done" => (Style::Good, "done"),
            other => (Style::Wait, other),
        };
        say(format!("{}: {}", paint(style, ended), counts(&replay)));
        Ok(())
    }
}

fn counts(replay: &Value) -> String {
    let count = |name: &str| replay.get(name).and_then(Value::as_u64).unwrap_or(0);
    format!("{} deliveries looked at, {} sent again", count("scanned"), count("resent"))
}

/// How many deliveries there are is not known before the end, so there is no percentage to show.
fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    bar.set_style(ProgressStyle::with_template("{spinner} replay {elapsed}: {msg}").expect("the template is constant and valid"));
    bar.enable_steady_tick(Duration::from_millis(125));
    bar
}

/// Asks after Ctrl-C. Where nobody can answer, the replay goes on.
fn wants_to_cancel() -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    eprint!("\nCancel the replay on the server, too? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
