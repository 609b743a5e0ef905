//! A Postgres of the bench's own: in a temporary directory, on a port of loopback, ended with the bench however that ends.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::BenchError;
use crate::usage;

/// A user without rights: Postgres does not run as root.
const NOBODY: &str = "65534";

/// Waits until nobody holds the other end of its input any more; then ends the nodes, which name the directory on their command lines, and the
/// server, and removes the directory.
const GUARD: &str = r#"trap '' INT TERM HUP; cat >/dev/null
for process in /proc/[0-9]*; do
  if grep -qsF -- "$3/node" "$process/cmdline"; then kill -9 "${process#/proc/}"; fi
done 2>/dev/null
$1 "$2/pg_ctl" -D "$3/data" -m immediate -w stop >/dev/null 2>&1; rm -rf "$3""#;

/// A running server; its directory also takes what belongs to the nodes.
pub struct Postgres {
    bin: PathBuf,
    directory: Option<TempDir>,
    path: PathBuf,
    address: SocketAddr,
    is_root: bool,
    keep: bool,
    guard: Child,
    /// Of the server, beside its own.
    options: &'static str,
}

/// A connection of the bench's own, past all proxies.
pub struct Session {
    client: Client,
    _connection: JoinSet<Result<(), tokio_postgres::Error>>,
}

fn bin() -> Result<PathBuf, BenchError> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = versions.chain(std::env::split_paths(&path).collect::<Vec<_>>());
    let found = places.find(|bin| bin.join("initdb").exists() && bin.join("pg_ctl").exists());
    found.ok_or_else(|| BenchError::Postgres("it is not installed (Debian: postgresql)".to_owned()))
}

fn run(command: &mut Command) -> Result<(), BenchError> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::io(program))?;
    if output.status.success() {
        return Ok(());
    }
    Err(BenchError::Postgres(format!(
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

impl Postgres {
    /// Makes a server and starts it.
    pub fn start(keep: bool) -> Result<Self, BenchError> {
        Self::start_with(keep, "")
    }

    /// Makes one that counts statements.
    pub fn start_counting(keep: bool) -> Result<Self, BenchError> {
        Self::start_with(keep, " -c shared_preload_libraries=pg_stat_statements")
    }

    fn start_with(keep: bool, options: &'static str) -> Result<Self, BenchError> {
        let directory =
            tempfile::Builder::new().prefix("posthaste-bench-").tempdir().map_err(BenchError::io("cannot make a temporary directory"))?;
        let path = directory.path().to_owned();
        // Free again at once, and likely to stay so.
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(BenchError::io("no free port"))?.port();
        let is_root = rustix::process::geteuid().is_root();
        let bin = bin()?;
        let prefix = if is_root { format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups") } else { String::new() };
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "sh", &prefix]).arg(&bin).arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = guard.spawn().map_err(BenchError::io("cannot start sh"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = Self { bin, directory: Some(directory), path, address, is_root, keep, guard, options };
        if is_root {
            run(Command::new("chown").arg(NOBODY).arg(&server.path))?;
        }
        run(server.command("initdb").args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(server.data()))?;
        server.resume()?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    fn command(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = if self.is_root {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/");
        command
    }

    /// Starts it again after [`Self::stop`].
    pub fn resume(&self) -> Result<(), BenchError> {
        let options = format!(
            "-k {} -p {} -c listen_addresses=127.0.0.1 -c max_connections=200 -c shared_buffers=256MB{}",
            self.path.display(),
            self.address.port(),
            self.options
        );
        let log = self.path.join("data/log");
        // What it inherits stays open as long as it runs: nobody must wait for the end of that.
        let mut command = self.command("pg_ctl");
        command.args(["-w", "-o", &options, "-l"]).arg(log).arg("-D").arg(self.data()).arg("start");
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let status = status.map_err(BenchError::io("cannot start Postgres"))?;
        if status.success() { Ok(()) } else { Err(BenchError::Postgres(format!("it does not start: {}", self.log()))) }
    }

    /// Ends it at once, as a crash of its machine would but for what the disk had not written.
    pub fn stop(&self) -> Result<(), BenchError> {
        run(self.command("pg_ctl").args(["-w", "-m", "immediate", "-D"]).arg(self.data()).arg("stop"))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path.join("data/log")).unwrap_or_default()).into_owned()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory for what belongs to it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// CPU time of all its processes so far, those that ended included, in microseconds.
    pub fn cpu_us(&self) -> Result<u64, BenchError> {
        let file = self.path.join("data/postmaster.pid");
        let text = std::fs::read_to_string(&file).map_err(BenchError::io(file.display().to_string()))?;
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        pid.and_then(usage::family_cpu_us).ok_or_else(|| BenchError::Proc(file.display().to_string()))
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Session, BenchError> {
        let config = format!("host={} port={} user=postgres dbname=postgres", self.address.ip(), self.address.port());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.map_err(failed)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Session { client, _connection: tasks })
    }
}

/// How to reach a Postgres of the bench's at an address.
pub fn url(address: SocketAddr) -> String {
    format!("postgres://postgres@{address}/postgres")
}

fn failed(error: tokio_postgres::Error) -> BenchError {
    use std::error::Error;
    BenchError::Postgres(error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
}

impl Session {
    /// The only number that a query answers.
    pub async fn number(&self, sql: &str) -> Result<i64, BenchError> {
        Ok(self.client.query_one(sql, &[]).await.map_err(failed)?.get(0))
    }

    /// Runs a statement.
    pub async fn run(&self, sql: &str) -> Result<(), BenchError> {
        self.client.batch_execute(sql).await.map_err(failed)
    }

    /// Texts that a query answers, one in each row.
    pub async fn texts(&self, sql: &str) -> Result<Vec<String>, BenchError> {
        Ok(self.client.query(sql, &[]).await.map_err(failed)?.iter().map(|row| row.get(0)).collect())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.keep
            && let Some(directory) = self.directory.take()
        {
            // The guard would remove it.
            let _ = self.guard.kill();
            let _ = self.stop();
            eprintln!("kept {}", directory.keep().display());
        }
        drop(self.guard.stdin.take());
        // It ends by itself once its input did.
        let _ = self.guard.wait();
    }
}
