//! The server under test: the real binary in a process of its own, on a fresh data directory.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::BenchError;
use crate::usage::Usage;

/// The first workspace's private key.
pub const KEY: &str = "bench-key-0123456789abcdef";
/// How much of the log is shown when the server does not start.
const LOG_TAIL: usize = 2000;

/// How to start servers.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary.
    pub binary: PathBuf,
    /// Directory in which each server gets a data directory of its own.
    pub data: PathBuf,
    /// Settings as `section.name=value`, over the defaults.
    pub settings: Vec<(String, String)>,
    /// Whether data directories stay.
    pub keep: bool,
}

/// A running server; it is killed when this is dropped.
pub struct Server {
    child: Child,
    /// Held so that a late line does not break the server's pipe.
    _output: BufReader<ChildStdout>,
    directory: Option<TempDir>,
    data: PathBuf,
    address: SocketAddr,
    keep: bool,
}

impl Launch {
    /// Starts a server and waits until it listens.
    pub fn start(&self) -> Result<Server, BenchError> {
        fs::create_dir_all(&self.data).map_err(BenchError::io(format!("cannot make {}", self.data.display())))?;
        let directory = tempfile::Builder::new()
            .prefix("posthaste-bench-")
            .tempdir_in(&self.data)
            .map_err(BenchError::io(format!("cannot make a directory in {}", self.data.display())))?;
        let data = directory.path().join("data");
        let log_path = directory.path().join("log");
        let log = File::create(&log_path).map_err(BenchError::io(log_path.display().to_string()))?;
        let mut command = Command::new(&self.binary);
        // Settings of the caller's shell are not part of a measurement.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POSTHASTE_")) {
            command.env_remove(name);
        }
        for (name, value) in &self.settings {
            command.env(format!("POSTHASTE_{}", name.to_uppercase().replace('.', "_")), value);
        }
        let mut child = command
            .args(["--json", "serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8", "--data"])
            .arg(&data)
            .env("POSTHASTE_KEY", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(BenchError::io(format!("cannot start {}", self.binary.display())))?;
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let address = listening(&mut output);
        let server = |address| Server { child, _output: output, directory: Some(directory), data, address, keep: self.keep };
        match address {
            Some(address) => Ok(server(address)),
            None => {
                drop(server(SocketAddr::from(([127, 0, 0, 1], 0))));
                Err(BenchError::Start { log: tail(&log_path) })
            }
        }
    }
}

/// The address in the first line that the server prints.
fn listening(output: &mut impl BufRead) -> Option<SocketAddr> {
    let mut line = String::new();
    output.read_line(&mut line).ok()?;
    let greeting: Value = serde_json::from_str(&line).ok()?;
    greeting.get("listening")?.as_str()?.strip_prefix("http://")?.parse().ok()
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let from = text.char_indices().rev().take(LOG_TAIL).last().map_or(0, |(at, _)| at);
    if text.is_empty() { String::new() } else { format!("; its log:\n{}", &text[from..]) }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What its process has used so far.
    pub fn usage(&self) -> Result<Usage, BenchError> {
        Usage::of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.keep
            && let Some(directory) = self.directory.take()
        {
            eprintln!("kept {}", directory.keep().display());
        }
    }
}
