//! A process of the program: its output as it comes, its end, and signals. It is killed when it is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

/// How long anything may take before a test fails. Generous: it is only ever reached by a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of a stream, kept whole and waited for.
pub struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    /// Counts lines; closed at the end of the stream.
    count: watch::Receiver<usize>,
}

impl Output {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, count) = watch::channel(0);
        let out = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let mut lines = out.lock().expect("no reader panics");
                lines.push(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
                sender.send_replace(lines.len());
            }
        });
        Self { lines, count }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.lines.lock().expect("no reader panics").join("\n")
    }

    /// The first line that fits, as soon as it is there.
    pub async fn line(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                let found = self.lines.lock().expect("no reader panics").iter().find(|line| fits(line)).cloned();
                match found {
                    Some(line) => return Some(line),
                    None if self.count.changed().await.is_err() => {
                        return self.lines.lock().expect("no reader panics").iter().find(|line| fits(line)).cloned();
                    }
                    None => {}
                }
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the stream ended without the line:\n{}", self.text()),
            Err(_) => panic!("the line did not come:\n{}", self.text()),
        }
    }

    async fn ended(&mut self) {
        while self.count.changed().await.is_ok() {}
    }
}

/// A started process.
pub struct Process {
    child: Child,
    pub out: Output,
    pub err: Output,
}

/// A process that ended by itself.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Finished {
    /// Fails the test unless it ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// Fails the test unless it ended with this code and said all of these on standard error.
    #[track_caller]
    pub fn refused(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for part in said {
            assert!(self.err.contains(part), "{part:?} is not in {self:#?}");
        }
        self
    }
}

/// The program with these arguments, in this directory; of the environment it sees the path and `variables`, nothing else.
fn command(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(args).current_dir(dir).env_clear().envs(variables.iter().copied());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    /// Starts the program.
    pub fn start(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::of(command(dir, args, variables).spawn().expect("the program starts"))
    }

    /// Starts it with something on standard input.
    pub fn start_with_input(dir: &Path, args: &[&str], variables: &[(&str, &str)], input: &str) -> Self {
        let mut child = command(dir, args, variables).stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A program that does not read its input may be gone already.
        let _gone = stdin.write_all(input.as_bytes());
        drop(stdin);
        Self::of(child)
    }

    fn of(mut child: Child) -> Self {
        let out = Output::read(child.stdout.take().expect("it is piped"));
        let err = Output::read(child.stderr.take().expect("it is piped"));
        Self { child, out, err }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status().expect("there is a kill command");
        assert!(status.success(), "the signal was not sent");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let streams = async { tokio::join!(self.out.ended(), self.err.ended()) };
        if tokio::time::timeout(PATIENCE, streams).await.is_err() {
            panic!("it does not end:\n{}\n{}", self.out.text(), self.err.text());
        }
        // Both streams are closed, so this waits for the kernel at most.
        self.child.wait().expect("it was started here")
    }

    /// Waits until it ends by itself, and takes what it said.
    pub async fn finish(mut self) -> Finished {
        let status = self.ended().await;
        let code = status.code().unwrap_or_else(|| panic!("it was killed: {status}"));
        Finished { code, out: self.out.text(), err: self.err.text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// Runs the program to its end.
pub async fn run(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Finished {
    Process::start(dir, args, variables).finish().await
}
