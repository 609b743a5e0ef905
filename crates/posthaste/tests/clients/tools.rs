//! The programs that `./test` installs, and how to run them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::receiver::Received;

const MISSING: &str = "run ./test once, it installs the clients that these tests need";

/// A folder or file below `tests`.
fn below_tests(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(path)
}

/// The command that runs a script of `tests/clients`, or of `tests/console`, by the end of its name.
pub fn command(script: &str) -> Command {
    let is_console = script.starts_with("console/");
    let path = if is_console { below_tests(script) } else { below_tests("clients").join(script) };
    let (program, installed) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("py") => (below_tests(".tools/venv/bin/python"), Some(".tools/venv/installed")),
        Some("mjs") if is_console => (PathBuf::from("node"), Some("console/node_modules/installed")),
        Some("mjs") => (PathBuf::from("node"), Some("clients/node_modules/installed")),
        Some("php") => (PathBuf::from("php"), None),
        Some("sh") => (PathBuf::from("bash"), None),
        _ => panic!("{script}: no program runs this"),
    };
    if let Some(installed) = installed.map(below_tests) {
        assert!(installed.exists(), "{MISSING} ({} is not there)", installed.display());
    }
    let mut command = Command::new(program);
    command.arg(path);
    command
}

/// Runs a script to its end, which must be a good one; answers the JSON lines that it prints.
pub fn run(script: &str, variables: &[(&str, &str)], input: &str) -> Vec<Value> {
    tokio::task::block_in_place(|| {
        let mut command = command(script);
        command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().unwrap_or_else(|error| panic!("{script}: {error}; {MISSING}"));
        let mut stdin = running.stdin.take().unwrap();
        // A script that takes no input may have ended before it was offered any.
        drop(stdin.write_all(input.as_bytes()));
        drop(stdin);
        let output = running.wait_with_output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{stderr}\n{stdout}", output.status);
        stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{script}: {error}: {line}"))).collect()
    })
}

/// Lets a verification script judge captured deliveries: the case, its secret, what was received, and whether it should be valid.
pub fn verify(script: &str, captured: &[(&str, &str, &Received, bool)]) {
    let mut input = String::new();
    for (case, secret, received, is_valid) in captured {
        use base64::Engine as _;
        let headers: serde_json::Map<String, Value> =
            received.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
        let body = base64::engine::general_purpose::STANDARD.encode(&received.body);
        let expect = if *is_valid { "valid" } else { "invalid" };
        input.push_str(&json!({ "case": case, "secret": secret, "headers": headers, "body": body, "expect": expect }).to_string());
        input.push('\n');
    }
    assert_eq!(run(script, &[], &input).len(), captured.len(), "{script} judged every case");
}
