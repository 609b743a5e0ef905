//! What is under test: the real server in a process of its own, on a fresh data directory, or the relay in its place.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::BenchError;
use crate::rng::{Rng, fresh_seed};
use crate::usage::Usage;

/// The first workspace's private key.
pub const KEY: &str = "bench-key-0123456789abcdef";
/// What seals the secrets of a cluster's database: 32 bytes.
const MASTER_KEY: &str = "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmU=";
/// How much of the log is shown when the server does not start.
const LOG_TAIL: usize = 2000;
/// Ports to listen on: below those that systems give to clients, so that a server that is started again finds its port free.
const PORTS: std::ops::Range<u64> = 20_000..32_000;

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

/// How to start one server, as often as need be.
struct Recipe {
    program: PathBuf,
    arguments: Vec<OsString>,
    settings: Vec<(String, String)>,
    log: PathBuf,
}

/// A server; it is killed when this is dropped.
pub struct Server {
    recipe: Recipe,
    process: Option<Process>,
    directory: Option<TempDir>,
    data: PathBuf,
    address: SocketAddr,
    keep: bool,
    /// CPU time and written bytes of the processes that were killed.
    spent: (u64, u64),
}

struct Process {
    child: Child,
    /// Held so that a late line does not break the server's pipe.
    _output: BufReader<ChildStdout>,
}

impl Launch {
    /// Starts a server and waits until it listens.
    pub fn start(&self) -> Result<Server, BenchError> {
        let (directory, data) = self.directory()?;
        let port = free_port()?;
        let mut arguments: Vec<OsString> = ["--json", "serve", "--allow-network", "127.0.0.0/8"].map(OsString::from).into();
        arguments.extend(["--listen".into(), format!("127.0.0.1:{port}").into(), "--data".into(), data.clone().into()]);
        self.start_with(self.binary.clone(), arguments, directory, data)
    }

    /// A node of a cluster that is not started yet. Its files lie in `directory`, and go with it.
    pub fn node(&self, directory: &Path, name: &str, database: &str) -> Result<Server, BenchError> {
        let data = directory.join(name);
        let port = free_port()?;
        let mut arguments: Vec<OsString> = ["--json", "serve", "--allow-network", "127.0.0.0/8"].map(OsString::from).into();
        arguments.extend(["--listen".into(), format!("127.0.0.1:{port}").into(), "--data".into(), data.clone().into()]);
        arguments.extend(["--database".into(), database.into()]);
        let mut settings = self.settings.clone();
        settings.push(("database.node".to_owned(), name.to_owned()));
        settings.push(("database.master_key".to_owned(), MASTER_KEY.to_owned()));
        let recipe = Recipe { program: self.binary.clone(), arguments, settings, log: directory.join(format!("{name}.log")) };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Server { recipe, process: None, directory: None, data, address, keep: self.keep, spent: (0, 0) })
    }

    /// Starts the relay, which posts what it takes to the targets from 0 on of the receiver at `sink`.
    pub fn start_relay(&self, sink: SocketAddr, targets: usize) -> Result<Server, BenchError> {
        let (directory, data) = self.directory()?;
        fs::create_dir(&data).map_err(BenchError::io(data.display().to_string()))?;
        let own = std::env::current_exe().map_err(BenchError::io("cannot find this program"))?;
        let mut arguments: Vec<OsString> = vec!["relay-process".into(), "--file".into(), data.join("journal").into()];
        arguments.extend(["--sink".into(), sink.to_string().into(), "--targets".into(), targets.to_string().into()]);
        self.start_with(own, arguments, directory, data)
    }

    /// A directory for a run, and the data directory in it, which is not made yet.
    pub fn directory(&self) -> Result<(TempDir, PathBuf), BenchError> {
        fs::create_dir_all(&self.data).map_err(BenchError::io(format!("cannot make {}", self.data.display())))?;
        let directory = tempfile::Builder::new()
            .prefix("posthaste-bench-")
            .tempdir_in(&self.data)
            .map_err(BenchError::io(format!("cannot make a directory in {}", self.data.display())))?;
        let data = directory.path().join("data");
        Ok((directory, data))
    }

    fn start_with(&self, program: PathBuf, arguments: Vec<OsString>, directory: TempDir, data: PathBuf) -> Result<Server, BenchError> {
        let recipe = Recipe { program, arguments, settings: self.settings.clone(), log: directory.path().join("log") };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { recipe, process: None, directory: Some(directory), data, address, keep: self.keep, spent: (0, 0) };
        server.start_again()?;
        Ok(server)
    }

    /// Whether the server has a setting of this name.
    pub fn knows_setting(&self, name: &str) -> bool {
        let Ok(example) = Command::new(&self.binary).args(["check", "--example"]).output() else { return false };
        is_setting_in(&String::from_utf8_lossy(&example.stdout), name)
    }
}

impl Recipe {
    fn start(&self) -> Result<(Process, SocketAddr), BenchError> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(BenchError::io(self.log.display().to_string()))?;
        let mut child = self.command(log).spawn().map_err(BenchError::io(format!("cannot start {}", self.program.display())))?;
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let address = listening(&mut output);
        let mut process = Process { child, _output: output };
        match address {
            Some(address) => Ok((process, address)),
            None => {
                process.end();
                Err(BenchError::Start { log: tail(&self.log) })
            }
        }
    }

    fn command(&self, log: File) -> Command {
        let mut command = Command::new(&self.program);
        // Settings of the caller's shell are not part of a measurement.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POSTHASTE_")) {
            command.env_remove(name);
        }
        for (name, value) in &self.settings {
            command.env(format!("POSTHASTE_{}", name.to_uppercase().replace('.', "_")), value);
        }
        // The relay ends when its standard input does.
        command.args(&self.arguments).env("POSTHASTE_KEY", KEY).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        command
    }
}

/// The address in the first line that the server prints.
fn listening(output: &mut impl BufRead) -> Option<SocketAddr> {
    let mut line = String::new();
    output.read_line(&mut line).ok()?;
    let greeting: Value = serde_json::from_str(&line).ok()?;
    greeting.get("listening")?.as_str()?.strip_prefix("http://")?.parse().ok()
}

fn free_port() -> Result<u16, BenchError> {
    let mut rng = Rng::new(fresh_seed());
    let mut tries = (0..100).map(|_| rng.between(PORTS.start, PORTS.end) as u16);
    let free = tries.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| BenchError::io("cannot find a free port")(std::io::ErrorKind::AddrInUse.into()))
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

    /// What it wrote on standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.recipe.log).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.child.id())
    }

    /// What it has used so far: time and bytes over all its processes, memory of the present one.
    pub fn usage(&self) -> Result<Usage, BenchError> {
        let usage = Usage::of(self.pid())?;
        Ok(Usage { cpu_us: usage.cpu_us + self.spent.0, written: usage.written + self.spent.1, ..usage })
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Ok(usage) = self.usage() {
            self.spent = (usage.cpu_us, usage.written);
        }
        if let Some(mut process) = self.process.take() {
            process.end();
        }
    }

    /// Starts it on its directory and its port, and waits until it listens. It must not be running.
    pub fn start_again(&mut self) -> Result<(), BenchError> {
        let (process, address) = self.recipe.start()?;
        (self.process, self.address) = (Some(process), address);
        Ok(())
    }

    /// Stops its process for a while (`SIGSTOP`), or lets it go on (`SIGCONT`).
    pub fn set_stalled(&self, is_stalled: bool) {
        let signal = if is_stalled { Signal::STOP } else { Signal::CONT };
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself, which is noticed elsewhere.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether its process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.child.try_wait().is_ok_and(|status| status.is_some()))
    }
}

/// Whether a TOML file of all settings, commented out or not, has this one.
fn is_setting_in(example: &str, name: &str) -> bool {
    let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
    let mut here = "";
    example.lines().any(|line| {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            here = name.0;
        }
        here == section && line.split_once('=').is_some_and(|(left, _)| left.trim() == key)
    })
}

impl Process {
    fn end(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if self.keep
            && let Some(directory) = self.directory.take()
        {
            eprintln!("kept {}", directory.keep().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_in_its_section() {
        let example = "# data = \"./x\"\n[limits]\n# About b = 1\n#in_flight = 1024\n[retention]\nage = \"30d\"\n";
        let known = ["data", "limits.in_flight", "retention.age", "limits.age", "in_flight"].map(|name| is_setting_in(example, name));
        assert_eq!(known, [true, true, true, false, false]);
    }
}
