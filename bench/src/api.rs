//! The few calls of the native API that a scenario needs before it measures.

use std::net::SocketAddr;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::BenchError;
use crate::client::Connection;
use crate::server::KEY;

/// Type of every event of the bench.
pub const EVENT_TYPE: &str = "bench.load";
/// Connections that make resources side by side.
const MAKERS: usize = 32;
/// How much of a refusal is shown.
const EXCERPT: usize = 300;

/// A client of the native API.
pub struct Api {
    connection: Connection,
    address: SocketAddr,
}

impl Api {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        Ok(Self { connection: Connection::open(address).await?, address })
    }

    async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>, BenchError> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let answer = self.connection.exchange(request.as_bytes()).await?;
        if !(200..300).contains(&answer.status) {
            return Err(refused(format!("{method} {path}"), answer.status, answer.body));
        }
        Ok(answer.body.to_vec())
    }

    /// Makes a resource and answers its id.
    async fn make(&mut self, kind: &str, body: &Value) -> Result<String, BenchError> {
        let path = format!("/posthaste/v1/{kind}");
        let answer = self.call("POST", &path, &body.to_string()).await?;
        let made: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let id = made.get("id").and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| refused(format!("POST {path}"), 200, &answer))
    }

    /// Makes the event type, with a rule so that the inbox finds it too.
    pub async fn make_event_type(&mut self) -> Result<(), BenchError> {
        self.make("event-types", &json!({"name": EVENT_TYPE, "rule": {"event": EVENT_TYPE}})).await.map(drop)
    }

    /// Makes a webhook target and its subscription to the event type.
    pub async fn make_target(&mut self, name: &str, url: &str) -> Result<(), BenchError> {
        let target = self.make("targets", &json!({"name": name, "channel": "webhook", "settings": {"url": url}})).await?;
        self.make("subscriptions", &json!({"event_types": [EVENT_TYPE], "target_id": target})).await.map(drop)
    }

    /// Makes a Momentum webhook for deliveries, through Momentum's own API.
    pub async fn make_momentum_webhook(&mut self, url: &str) -> Result<(), BenchError> {
        let body = json!({"name": "bench", "target": url, "events": ["delivery"]}).to_string();
        let request = format!(
            "POST /api/v1/webhooks HTTP/1.1\r\nHost: {}\r\nAuthorization: {KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let answer = self.connection.exchange(request.as_bytes()).await?;
        if answer.status == 200 { Ok(()) } else { Err(refused("POST /api/v1/webhooks".to_owned(), answer.status, answer.body)) }
    }

    /// Makes a Mailgun account webhook for deliveries, through Mailgun's own API.
    pub async fn make_mailgun_webhook(&mut self, url: &str) -> Result<(), BenchError> {
        let body = format!("url={url}&event_types=delivered");
        let credentials = STANDARD.encode(format!("api:{KEY}"));
        let request = format!(
            "POST /v1/webhooks HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let answer = self.connection.exchange(request.as_bytes()).await?;
        if answer.status == 200 { Ok(()) } else { Err(refused("POST /v1/webhooks".to_owned(), answer.status, answer.body)) }
    }

    /// Pauses or resumes (`pause`, `resume`) the only target.
    pub async fn switch_target(&mut self, action: &str) -> Result<(), BenchError> {
        let list = self.call("GET", "/posthaste/v1/targets", "").await?;
        let list: Value = serde_json::from_slice(&list).unwrap_or_default();
        let id = list["items"][0]["id"].as_str().unwrap_or_default();
        self.call("POST", &format!("/posthaste/v1/targets/{id}/{action}"), "{}").await.map(drop)
    }

    /// The text of `/metrics`.
    pub async fn metrics(&mut self) -> Result<String, BenchError> {
        let body = self.call("GET", "/metrics", "").await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// Makes a target for every number; `url` says where each leads.
pub async fn make_targets(address: SocketAddr, numbers: Range<usize>, url: impl Fn(usize) -> String) -> Result<(), BenchError> {
    let mut shares: Vec<Vec<(String, String)>> = vec![Vec::new(); MAKERS.min(numbers.len())];
    for number in numbers {
        let share = number % shares.len();
        shares[share].push((format!("target {number}"), url(number)));
    }
    let mut makers = JoinSet::new();
    for share in shares {
        makers.spawn(async move {
            let mut api = Api::open(address).await?;
            for (name, url) in share {
                api.make_target(&name, &url).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(made) = makers.join_next().await {
        made.expect("makers do not panic")?;
    }
    Ok(())
}

/// The error for an answer that should have been a success.
pub fn refused(request: String, status: u16, body: &[u8]) -> BenchError {
    BenchError::Refused { request, status, body: String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned() }
}

/// Value of a metric, over all its labels.
pub fn metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP a_count x\na_count_more 7\na_count 4.5\nb{t=\"x\"} 3\nb{t=\"{ }\"} 4\n";
        assert_eq!((metric(text, "a_count"), metric(text, "a"), metric(text, "b")), (Some(4.5), None, Some(7.0)));
    }
}
