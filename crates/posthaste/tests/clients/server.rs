//! The binary on a directory and a port of its own, and its native API.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// The private key of every server here.
pub const KEY: &str = "a-key-of-the-client-tests";
/// How long anything may take that should be there at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; it is killed with its owner.
pub struct Server {
    process: Child,
    pub url: String,
    /// Where the first member of the console makes itself.
    pub setup_url: String,
    http: Client<HttpConnector, Full<Bytes>>,
    _data: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With the settings that it has by itself: this machine is closed to targets.
    pub fn by_default() -> Self {
        Self::launch(&[], &[])
    }

    /// `variables` are settings such as `POSTHASTE_INBOX_BLOCK`.
    pub fn with(variables: &[(&str, &str)]) -> Self {
        Self::launch(&["--allow-network", "127.0.0.0/8"], variables)
    }

    fn launch(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POSTHASTE_")) {
            command.env_remove(name);
        }
        command
            .args(["--json", "serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .args(arguments)
            .env("POSTHASTE_KEY", KEY)
            .env("POSTHASTE_LOG_LEVEL", "error")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).expect("the server says where it listens");
        let text = |name: &str| started[name].as_str().unwrap().to_owned();
        let (url, setup_url) = (text("listening"), text("setup_url"));
        Self { process, url, setup_url, http: Client::builder(TokioExecutor::new()).build_http(), _data: data }
    }

    /// What a request answers: its status, and its body if that is JSON.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, String)], body: Bytes) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = self.http.request(request.body(Full::new(body)).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// What a call of the native API answers.
    pub async fn call(&self, method: Method, path: &str, body: Option<Bytes>) -> (StatusCode, Value) {
        let headers = [("authorization", format!("Bearer {KEY}")), ("content-type", "application/json".to_owned())];
        self.send(method, &format!("/posthaste/v1{path}"), &headers, body.unwrap_or_default()).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, None).await;
        assert!(status.is_success(), "GET {path}: {status} {answer}");
        answer
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.post_text(path, &body.to_string()).await
    }

    /// Posts JSON spelled exactly so.
    pub async fn post_text(&self, path: &str, body: &str) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(Bytes::copy_from_slice(body.as_bytes()))).await;
        assert!(status.is_success(), "POST {path} {body}: {status} {answer}");
        answer
    }

    /// Makes a target and a subscription of it to events of every kind; answers the target. `extra` goes into the subscription.
    pub async fn subscribe(&self, channel: &str, settings: Value, extra: Value) -> Value {
        let target = self.post("/targets", json!({ "name": channel, "channel": channel, "settings": settings })).await;
        let mut subscription = json!({ "event_types": ["*"], "target_id": target["id"] });
        for (name, value) in extra.as_object().into_iter().flatten() {
            subscription[name] = value.clone();
        }
        self.post("/subscriptions", subscription).await;
        target
    }

    /// All stored events, oldest first.
    pub async fn events(&self) -> Vec<Value> {
        let page = self.get("/events?order=asc&limit=1000").await;
        page["items"].as_array().unwrap().clone()
    }

    /// The delivery to a target as soon as it is in a state; there must be one delivery only.
    pub async fn delivery(&self, target: &Value, state: &str) -> Value {
        let path = format!("/deliveries?target_id={}", target["id"].as_str().unwrap());
        let wait = async {
            loop {
                let page = self.get(&path).await;
                if let [delivery] = &page["items"].as_array().unwrap()[..]
                    && delivery["state"] == state
                {
                    return delivery.clone();
                }
                // Another process has the clock: nothing to await but its answer.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(delivery) => delivery,
            Err(_) => panic!("no {state} delivery: {}", self.get(&path).await),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has then noticed already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
