//! A Postgres of this test program's own: on a socket in a temporary directory, ended with the program however that ends.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::secrets::MasterKeys;
use tokio_postgres::{Client, NoTls};

/// A user without rights: Postgres does not run as root.
const NOBODY: &str = "65534";

/// Waits until nobody holds the other end of its input any more, then stops the server and removes it.
const GUARD: &str = r#"cat >/dev/null; $1 "$2/pg_ctl" -D "$3/data" -m immediate -w stop >/dev/null 2>&1; rm -rf "$3""#;

/// A running server.
pub struct Server {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
}

fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = versions.chain(std::env::split_paths(&path).collect::<Vec<_>>());
    places.find(|bin| bin.join("initdb").exists() && bin.join("pg_ctl").exists()).expect("Postgres: tests/install.sh installs it")
}

impl Server {
    /// The one that all tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new one.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory").keep();
        // Chosen by the system, and free again at once: the socket file is what counts.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let server = Self { bin: bin(), dir, port };
        let is_root = server.is_root();
        if is_root {
            run(Command::new("chown").arg(NOBODY).arg(&server.dir));
        }
        run(server.command("initdb").args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(server.data()));
        server.resume();
        let prefix = if is_root { format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups") } else { String::new() };
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "sh", &prefix]).arg(&server.bin).arg(&server.dir).stdin(Stdio::piped());
        // Its input closes when this program ends. In a group of its own: whoever ends this program's ends not the guard before it did its work.
        guard.process_group(0);
        std::mem::forget(guard.spawn().expect("a guard"));
        server
    }

    fn is_root(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.dir).is_ok_and(|data| data.uid() == 0 || data.uid().to_string() == NOBODY)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = if self.is_root() {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/");
        command
    }

    /// Starts it, after [`Self::stop`].
    pub fn resume(&self) {
        // A test's disk may be slow; what is proved here does not need its flushes.
        let options = format!(
            "-k {} -p {} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300 -c shared_buffers=64MB -c log_min_messages=error",
            self.dir.display(),
            self.port
        );
        let log = self.dir.join("data/log");
        run(self.command("pg_ctl").args(["-w", "-o", &options, "-l"]).arg(log).arg("-D").arg(self.data()).arg("start"));
    }

    /// Stops it at once, as a crash would.
    pub fn stop(&self) {
        run(self.command("pg_ctl").args(["-w", "-m", "immediate", "-D"]).arg(self.data()).arg("stop"));
    }

    /// Has it offer TLS with this certificate and key, in PEM; answers how to reach a database with it, verified.
    pub async fn secure(&self, certificate: &str, key: &str, database: &str) -> String {
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let file = self.data().join(name);
            std::fs::write(&file, pem).expect("a file");
            run(Command::new("chmod").arg("600").arg(&file));
            if self.is_root() {
                run(Command::new("chown").arg(NOBODY).arg(&file));
            }
        }
        let admin = self.connect("postgres").await;
        admin.batch_execute("ALTER SYSTEM SET ssl = on").await.expect("a setting");
        self.stop();
        self.resume();
        format!("host=localhost hostaddr=127.0.0.1 port={} user=postgres dbname='{database}' sslmode=require", self.port)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("data/log")).expect("a log")).into_owned()
    }

    /// How to reach a database of it.
    pub fn url(&self, database: &str) -> String {
        format!("host='{}' port={} user=postgres dbname='{database}'", self.dir.display(), self.port)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{}", self.port))
    }

    /// A connection of the test's own.
    #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
    pub async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }

    /// The database that a directory stands for.
    pub async fn database(&self, dir: &Path) -> String {
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        let admin = self.connect("postgres").await;
        let known = admin.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await.expect("a list");
        if known.is_empty() {
            admin.batch_execute(&format!("CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")).await.expect("a database");
        }
        name
    }

    /// Opens the store that a directory stands for.
    pub async fn open(&self, dir: &Path, options: PostgresOptions) -> Arc<PostgresStore> {
        let database = self.database(dir).await;
        Arc::new(PostgresStore::open(&self.url(&database), options).await.expect("the store opens"))
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Options with a master key.
pub fn options() -> PostgresOptions {
    let keys = MasterKeys::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("a key");
    PostgresOptions::new("test", keys)
}
