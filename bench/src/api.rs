//! The few calls of the native API that a scenario needs before it measures.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::BenchError;
use crate::client::{Answer, Connection};
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
    used: Instant,
    address: SocketAddr,
    key: String,
}

/// Deliveries of a target by their state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// Taken by the target.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Queued or held.
    pub pending: u64,
}

/// Bulk replays, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many there are.
    pub count: u64,
    /// How many are not at their end.
    pub running: u64,
    /// Deliveries that they sent again.
    pub resent: u64,
}

/// How long a connection may lie unused; the server closes it after a minute.
const FRESH: Duration = Duration::from_secs(30);

/// Ids of a target and its subscription.
#[derive(Clone, Debug)]
pub struct Made {
    /// The target.
    pub target: String,
    /// The subscription.
    pub subscription: String,
}

impl Api {
    /// Connects, with the key of the first workspace.
    pub async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        Self::open_as(address, KEY).await
    }

    /// Connects with a key.
    pub async fn open_as(address: SocketAddr, key: &str) -> Result<Self, BenchError> {
        Ok(Self { connection: Connection::open(address).await?, used: Instant::now(), address, key: key.to_owned() })
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Answer<'_>, BenchError> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.key,
            body.len()
        );
        if self.used.elapsed() > FRESH {
            self.connection.reopen(Duration::ZERO).await?;
        }
        self.used = Instant::now();
        self.connection.exchange(request.as_bytes()).await
    }

    async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>, BenchError> {
        let answer = self.ask(method, path, body).await?;
        if !(200..300).contains(&answer.status) {
            return Err(refused(format!("{method} {path}"), answer.status, answer.body));
        }
        Ok(answer.body.to_vec())
    }

    /// Reads a path.
    pub async fn get(&mut self, path: &str) -> Result<Vec<u8>, BenchError> {
        self.call("GET", path, "").await
    }

    /// Whether `/readyz` says so.
    pub async fn is_ready(&mut self) -> Result<bool, BenchError> {
        Ok(self.ask("GET", "/readyz", "").await?.status == 200)
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

    /// Makes a webhook target and its subscription to an event type.
    pub async fn make_target(&mut self, name: &str, url: &str, event_type: &str, policy: Option<&Value>) -> Result<Made, BenchError> {
        let target = json!({"name": name, "channel": "webhook", "settings": {"url": url}, "policy": policy});
        let target = self.make("targets", &target).await?;
        let subscription = self.subscribe(&target, event_type).await?;
        Ok(Made { target, subscription })
    }

    /// Makes one more subscription of a target and answers its id.
    pub async fn subscribe(&mut self, target: &str, event_type: &str) -> Result<String, BenchError> {
        self.make("subscriptions", &json!({"event_types": [event_type], "target_id": target})).await
    }

    /// Makes a workspace and answers the token of its administrator.
    pub async fn make_workspace(&mut self, name: &str) -> Result<String, BenchError> {
        let answer = self.call("POST", "/posthaste/v1/workspaces", &json!({"name": name}).to_string()).await?;
        let made: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let token = made.get("token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| refused("POST /posthaste/v1/workspaces".to_owned(), 200, &answer))
    }

    /// Switches a subscription on or off.
    pub async fn set_subscription(&mut self, id: &str, enabled: bool) -> Result<(), BenchError> {
        self.call("PATCH", &format!("/posthaste/v1/subscriptions/{id}"), &json!({"enabled": enabled}).to_string()).await.map(drop)
    }

    /// Deletes a target or a subscription (`targets`, `subscriptions`).
    pub async fn delete(&mut self, kind: &str, id: &str) -> Result<(), BenchError> {
        self.call("DELETE", &format!("/posthaste/v1/{kind}/{id}"), "").await.map(drop)
    }

    /// How many deliveries a target has in each state; reads all pages.
    pub async fn deliveries_of(&mut self, target: &str) -> Result<States, BenchError> {
        let mut states = States::default();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/posthaste/v1/deliveries?target_id={target}&limit=1000{cursor}")).await?;
            let page: Value = serde_json::from_slice(&page).unwrap_or_default();
            for item in page["items"].as_array().into_iter().flatten() {
                match item["state"].as_str() {
                    Some("delivered") => states.delivered += 1,
                    Some("failed") => states.failed += 1,
                    Some("cancelled") => states.cancelled += 1,
                    _ => states.pending += 1,
                }
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(states),
            }
        }
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
        let list = self.get("/posthaste/v1/targets").await?;
        let list: Value = serde_json::from_slice(&list).unwrap_or_default();
        let id = list["items"][0]["id"].as_str().unwrap_or_default();
        self.switch(id, action).await
    }

    /// Pauses or resumes (`pause`, `resume`) a target.
    pub async fn switch(&mut self, target: &str, action: &str) -> Result<(), BenchError> {
        self.call("POST", &format!("/posthaste/v1/targets/{target}/{action}"), "{}").await.map(drop)
    }

    /// Begins to send again what was delivered to a target.
    pub async fn replay(&mut self, target: &str) -> Result<(), BenchError> {
        self.make("replays", &json!({"target_id": target, "states": ["delivered"]})).await.map(drop)
    }

    /// What became of the last thousand replays.
    pub async fn replayed(&mut self) -> Result<Replayed, BenchError> {
        let list = self.get("/posthaste/v1/replays?limit=1000").await?;
        let list: Value = serde_json::from_slice(&list).unwrap_or_default();
        let add = |sum: Replayed, replay: &Value| Replayed {
            count: sum.count + 1,
            running: sum.running + u64::from(replay["state"] == "running"),
            resent: sum.resent + replay["resent"].as_u64().unwrap_or_default(),
        };
        Ok(list["items"].as_array().into_iter().flatten().fold(Replayed::default(), add))
    }

    /// The text of `/metrics`.
    pub async fn metrics(&mut self) -> Result<String, BenchError> {
        let body = self.get("/metrics").await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// Makes targets, each with a name, a URL and a subscription to the event type; answers their ids in the same order.
pub async fn make_targets(
    address: SocketAddr,
    plans: Vec<(String, String)>,
    event_type: &str,
    policy: Option<&Value>,
) -> Result<Vec<Made>, BenchError> {
    let count = plans.len();
    let mut shares: Vec<Vec<(usize, String, String)>> = vec![Vec::new(); MAKERS.min(count)];
    for (number, (name, url)) in plans.into_iter().enumerate() {
        let share = number % shares.len();
        shares[share].push((number, name, url));
    }
    let mut makers = JoinSet::new();
    for share in shares {
        let (event_type, policy) = (event_type.to_owned(), policy.cloned());
        makers.spawn(async move {
            let mut api = Api::open(address).await?;
            let mut made = Vec::with_capacity(share.len());
            for (number, name, url) in share {
                made.push((number, api.make_target(&name, &url, &event_type, policy.as_ref()).await?));
            }
            Ok::<_, BenchError>(made)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(made) = makers.join_next().await {
        all.extend(made.expect("makers do not panic")?);
    }
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, made)| made).collect())
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
