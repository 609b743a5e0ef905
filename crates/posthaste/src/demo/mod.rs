//! `posthaste demo`: everything in one go, on this machine alone.
//!
//! A real server on an embedded store; sample events sent to it over HTTP, in the ways that MsgGO clients do; a request bin and a webhook
//! receiver that get them. Nothing is simulated but the people. Only here are targets on loopback allowed without being asked for.

mod receiver;
mod recipes;
mod samples;
mod show;

use std::path::PathBuf;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Remote};
use crate::clock::SystemClock;
use crate::config::value::{Field, Listen, LogLevel, Raw};
use crate::config::{Config, Log};
use crate::failure::Failure;
use crate::logging;
use crate::node::Node;
use crate::signals::Stop;
use receiver::Receiver;
use show::Show;

/// Ports that are tried, in order.
const PORTS: std::ops::Range<u16> = 8080..8100;

/// Shows everything at once: a server, sample events, a request bin and a webhook receiver that get them.
///
/// Leaves nothing behind. Prints copy-ready commands for every way of sending an event, and shows what they do, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Keep the data in this directory instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:8080, or the next free port].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// End when everything has arrived; fails if something has not.
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let mut stop = Stop::listen()?;
        let temporary = tempfile::tempdir().map_err(Failure::io("cannot make a temporary directory"))?;
        let loopback = ["127.0.0.0/8", "::1/128"].map(|net| net.parse::<IpNet>().expect("both are networks"));
        let listen = self.listen.unwrap_or_else(free_address);
        let listen = Listen::read(&Raw::Text(listen)).map_err(|reason| Failure::refused(format!("--listen: {reason}")))?;
        let config = Config {
            data: self.data.unwrap_or_else(|| temporary.path().join("data")),
            listen,
            allow_network: loopback.to_vec(),
            log: Log { level: LogLevel("warn".into()), ..Config::default().log },
            ..Config::default()
        };
        logging::start(&config.log);
        let node = Node::start(&config).await?;
        let receiver = Receiver::bind().await?;
        let token = samples::workspace(node.engine()).await?;
        let show = Show {
            client: Client::new(&Remote { url: node.url(), key: Some(token.clone()) })?,
            url: node.url(),
            console_url: node.console_url(),
            setup_url: node.setup_url(),
            token,
            receiver_url: receiver.url().to_owned(),
            secret: receiver.secret().to_owned(),
            clock: SystemClock::start(),
            once: self.once,
            json,
        };

        let stopping = CancellationToken::new();
        let (arrivals, receiving) = receiver.run(stopping.clone());
        let mut serving = std::pin::pin!(futures_util::future::join(node.run(stopping.cancelled()), receiving));
        let outcome = tokio::select! {
            outcome = show.run(arrivals, &mut stop) => outcome,
            _ = &mut serving => Ok(()),
        };
        stopping.cancel();
        tokio::select! {
            _ = serving => outcome,
            () = stop.requested() => Err(Failure::Interrupted),
        }
    }
}

/// `127.0.0.1` with the first free port of [`PORTS`], else any.
fn free_address() -> String {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    format!("127.0.0.1:{}", PORTS.into_iter().find(is_free).unwrap_or(0))
}
