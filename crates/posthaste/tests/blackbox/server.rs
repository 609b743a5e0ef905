//! `posthaste serve` as a process.

use std::path::Path;

use serde_json::{Value, json};

use crate::http::{Api, id};
use crate::process::Process;

/// Value of `POSTHASTE_KEY` on the first start.
pub const KEY: &str = "blackbox-key-0123456789";

/// A running server.
pub struct Server {
    pub process: Process,
    pub api: Api,
}

impl Server {
    /// Starts one on `data` below `dir` that may deliver to this machine, with [`KEY`].
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, &["--allow-network", "127.0.0.1"], &[("POSTHASTE_KEY", KEY)]).await
    }

    /// Starts one with these arguments and variables; it listens when this returns. Its port is free unless `args` name one.
    pub async fn start_with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut all = vec!["serve", "--data", "data"];
        if !args.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(args);
        let mut process = Process::start(dir, &all, variables);
        let line = process.out.line(|line| line.starts_with("listening on ")).await;
        let api = Api::new(line.trim_start_matches("listening on "), KEY);
        Self { process, api }
    }

    /// Variables for the client commands.
    pub fn variables(&self) -> [(&str, &str); 2] {
        [("POSTHASTE_URL", &self.api.url), ("POSTHASTE_KEY", KEY)]
    }

    /// Stops it the way a service manager does; it must end well.
    pub async fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.ended().await;
        assert!(status.success(), "{status}: {}", self.process.err.text());
    }

    /// A webhook target.
    pub async fn target(&self, url: &str) -> Value {
        self.api.make("/targets", json!({"name": "receiver", "channel": "webhook", "settings": {"url": url}})).await
    }

    /// A webhook target that is subscribed to these types; answers its id.
    pub async fn subscribed(&self, url: &str, types: &[&str], policy: Value) -> String {
        let target = id(&self.target(url).await);
        self.api.make("/subscriptions", json!({"event_types": types, "target_id": target, "policy": policy})).await;
        target
    }
}
