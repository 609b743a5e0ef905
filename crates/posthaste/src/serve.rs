//! `posthaste serve`: runs the server.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::client::DEFAULT_URL;
use crate::command::{environment, say_json};
use crate::config::load::{Layers, Loaded};
use crate::config::value::Raw;
use crate::failure::Failure;
use crate::logging;
use crate::node::{Ended, FirstKey, Node};
use crate::signals::Stop;
use crate::term::{Style, paint, say};

/// What tells a process that it begins anew.
const ANEW: &str = "--anew";
/// The option that makes one more key.
const NEW_ADMIN_KEY: &str = "--new-admin-key";
/// Before a node that was lost tries again to begin anew.
const PAUSE: Duration = Duration::from_millis(500);
/// Fewest characters of a token that somebody else made up.
const SHORT_TOKEN: usize = 16;

/// Runs the server. No setting is needed.
///
/// The first start makes the data directory, a workspace and a private key, and prints what to do next. With POSTHASTE_KEY set, that key has this
/// value. Until there is a member, each start prints a link with which the first one makes itself. Ctrl-C or SIGTERM finishes what is under way
/// and stops; a second one stops at once.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Data directory [default: ./posthaste-data].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Postgres that this node shares with others: postgres://user@host/database. Everything else stays as it is.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Address to listen on [default: 127.0.0.1:8080]; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Configuration file; POSTHASTE_CONFIG otherwise.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A private network that targets may be in, e.g. 10.0.0.0/8. May be repeated.
    #[arg(long = "allow-network", value_name = "CIDR")]
    allow_networks: Vec<String>,
    /// Make one more administrator's key and print it: for when all others are lost.
    #[arg(long)]
    new_admin_key: bool,
    /// This is a node that was lost and begins anew, or one that did not get to begin: it waits for a database that is away.
    #[arg(long, hide = true)]
    anew: bool,
}

impl Serve {
    /// The configuration with this command's flags on top.
    fn load(&self) -> Result<Loaded, Failure> {
        let mut flags = Vec::new();
        if let Some(data) = &self.data {
            flags.push(("data", Raw::Text(data.clone()), "--data"));
        }
        if let Some(url) = &self.database {
            flags.push(("database.url", Raw::Text(url.clone()), "--database"));
        }
        if let Some(listen) = &self.listen {
            flags.push(("listen", Raw::Text(listen.clone()), "--listen"));
        }
        if !self.allow_networks.is_empty() {
            flags.push(("allow_network", Raw::List(self.allow_networks.clone()), "--allow-network"));
        }
        Ok(Layers::gather(self.config.as_deref(), environment(), flags)?.load()?)
    }

    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let loaded = self.load()?;
        logging::start(&loaded.config.log);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let mut stop = Stop::listen()?;
        let given = given_token()?;
        let start = async {
            let node = match Node::start(&loaded.config).await {
                Err(error) if error.was_lost() || self.anew && error.may_pass() => {
                    tracing::warn!(%error, "cannot begin yet; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                    // In a fresh process: nothing of this try must live on.
                    return Err(begin_anew(self.new_admin_key));
                }
                started => started?,
            };
            let key = node.first_key(given.clone(), self.new_admin_key).await?;
            Ok::<_, Failure>((node, key))
        };
        let (node, key) = tokio::select! {
            started = start => started?,
            () = stop.requested() => return Err(Failure::Interrupted),
        };
        if key.is_none() && given.is_some_and(|token| node.engine().find_key(&token).is_none()) {
            tracing::warn!(
                "POSTHASTE_KEY is not a key of this server, and only the first start makes it one; `posthaste key create` makes keys"
            );
        }
        tracing::info!(data = %loaded.config.data.display(), url = node.url(), version = env!("CARGO_PKG_VERSION"), "serving");
        for (what, setting) in loaded.config.simulated() {
            tracing::info!("{what} of clients go to a simulator, which sends nothing, until {setting} is set");
        }
        greet(&node, key.as_ref(), json);

        let stopping = CancellationToken::new();
        let mut running = std::pin::pin!(node.run(stopping.cancelled()));
        tokio::select! {
            ended = &mut running => return anew(ended),
            () = stop.requested() => {}
        }
        tracing::info!("stopping: finishing what is under way; once more stops at once");
        stopping.cancel();
        tokio::select! {
            _ = &mut running => tracing::info!("stopped"),
            () = stop.requested() => return Err(Failure::Interrupted),
        }
        Ok(())
    }
}

/// Begins anew, in this process, if the node was lost: with the same arguments, as if it had just been started.
fn anew(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ended::Stopped => Ok(()),
        // The key that was asked for was made.
        Ended::Lost => Err(begin_anew(false)),
    }
}

/// Becomes a new process with the same arguments, except that it may make no key; answers why it could not.
fn begin_anew(makes_key: bool) -> Failure {
    let failed = |error| Failure::Io { what: "beginning anew".into(), error };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(error),
    };
    let given = std::env::args_os().skip(1).filter(|argument| argument != ANEW && (makes_key || argument != NEW_ADMIN_KEY));
    failed(std::process::Command::new(program).args(given).arg(ANEW).exec())
}

/// The token that the environment gives to the first key.
fn given_token() -> Result<Option<String>, Failure> {
    let token = environment().remove("POSTHASTE_KEY").filter(|token| !token.is_empty());
    let Some(token) = token else { return Ok(None) };
    if token.len() > 255 || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)) {
        return Err(Failure::Start {
            message: "POSTHASTE_KEY cannot be a key: it must be 1 to 255 letters, digits and `-_.~`, since it travels in URLs".into(),
            hint: Some("unset it, and the first start makes a key up".into()),
        });
    }
    if token.len() < SHORT_TOKEN {
        tracing::warn!("POSTHASTE_KEY is short enough to be guessed; use at least {SHORT_TOKEN} random characters outside of tests");
    }
    Ok(Some(token))
}

/// Says where the server listens, and after the first start what to do next.
fn greet(node: &Node, key: Option<&FirstKey>, json: bool) {
    let (url, console_url, setup_url) = (node.url(), node.console_url(), node.setup_url());
    if json {
        let key = key.map(|key| json!({"id": key.entry.id, "token": (!key.was_given).then_some(&key.token)}));
        say_json(&json!({"listening": url, "new_key": key, "console_url": console_url, "setup_url": setup_url}));
        return;
    }
    say(format!("listening on {url}"));
    if let Some(console_url) = console_url {
        say(format!("console at {console_url}"));
    }
    if let Some(key) = key {
        next_steps(&url, key);
    }
    if let Some(setup_url) = setup_url {
        say(format!("\nSet the console up, with you as its first member. The link works once:\n\n  {setup_url}\n"));
    }
}

fn next_steps(url: &str, key: &FirstKey) {
    let token = if key.was_given { "$POSTHASTE_KEY" } else { key.token.as_str() };
    if key.was_given {
        say("\nA private key was made: the value of POSTHASTE_KEY.\n");
    } else {
        say(format!("\nA private key was made. {}:\n\n  {}\n", paint(Style::Bold, "It is shown this once"), paint(Style::Bold, token)));
    }
    say("Send an event:\n");
    say(format!("  curl {url}/inbox -H \"X-MsgGO-Key: {token}\" -d '{{\"event\":\"hello\",\"name\":\"World\"}}'\n"));
    say("Look at it, follow what comes, and deliver it somewhere:\n");
    if url != DEFAULT_URL {
        say(format!("  export POSTHASTE_URL={url}"));
    }
    if !key.was_given {
        say(format!("  export POSTHASTE_KEY={token}"));
    }
    say(format!("  curl {url}/posthaste/v1/events -H \"Authorization: Bearer $POSTHASTE_KEY\""));
    say("  posthaste tail");
    say("  posthaste target create my-hook --url https://example.com/hook --events '*'\n");
}
