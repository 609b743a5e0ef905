//! `posthaste listen`: delivers events to a program on this machine, without a tunnel.
//!
//! It follows the event stream like `tail` and posts each event to the given URL in Standard Webhooks form, one at a time and in order. Nothing is
//! changed on the server: no target, no subscription, no delivery in its log.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use posthaste_domain::clock::Clock;
use posthaste_domain::signature::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, SigningSecret, sign};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::follow::Follower;
use super::say_json;
use crate::client::{Client, ClientError, Remote};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::signals::Stop;
use crate::sse::ShownEvent;
use crate::term::{Style, cut, harmless, paint, say};

/// Time between tries while nothing listens at the URL: a program that is being started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Such tries for one event.
const RESTART_TRIES: u32 = 10;

/// Delivers events to a program on this machine: `posthaste listen --forward http://localhost:3000/hook`.
///
/// Each event is posted as a signed Standard Webhook, in order. The secret for checking the signature is printed at the start.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// Where to post events.
    #[arg(long, value_name = "URL")]
    forward: String,
    /// Only these event types; wildcards such as `order.*` are fine. May be repeated.
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<String>,
    /// Sign with this secret (`whsec_…`) instead of a new one.
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Stop after so many events.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

/// The body of a Standard Webhook.
#[derive(serde::Serialize)]
struct Webhook<'a> {
    #[serde(rename = "type")]
    name: &'a str,
    timestamp: &'a str,
    data: &'a RawValue,
}

struct Forwarder {
    local: Client,
    secret: SigningSecret,
    clock: SystemClock,
}

impl Listen {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        let local = Client::new(&Remote { url: self.forward.clone(), key: None })?;
        let secret_text = self.secret.unwrap_or_else(|| posthaste_engine::new_secret(false));
        let secret = SigningSecret::parse(&secret_text).map_err(|error| Failure::refused(format!("--secret cannot be used: {error}")))?;
        let mut stop = Stop::listen()?;
        let mut follower = Follower::open(&client, &self.types).await?;
        if json {
            say_json(&json!({"forwarding": local.base(), "secret": secret_text}));
        } else {
            say(format!("forwarding events of {} to {}", client.base(), local.base()));
            say(format!("signed with {}\n{}", paint(Style::Bold, &secret_text), paint(Style::Dim, "Ctrl-C ends")));
        }
        let forwarder = Forwarder { local, secret, clock: SystemClock::start() };
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let one = async {
                let message = follower.next().await?;
                let event: ShownEvent<'_> = serde_json::from_slice(&message.data)
                    .map_err(|error| client.unexpected(format!("an event cannot be read: {error}")))?;
                let started = Instant::now();
                let outcome = forwarder.forward(&event).await;
                tell(&event, &outcome, started.elapsed(), json);
                Ok::<_, Failure>(())
            };
            tokio::select! {
                done = one => done?,
                () = stop.requested() => return Ok(()),
            }
            left -= 1;
        }
        Ok(())
    }
}

impl Forwarder {
    /// Posts one event; waits a little for a program that is not there at the moment.
    async fn forward(&self, event: &ShownEvent<'_>) -> Result<StatusCode, ClientError> {
        let body = Webhook { name: event.type_name.as_deref().unwrap_or("unmatched"), timestamp: event.received_at, data: event.data };
        let body = Bytes::from(serde_json::to_vec(&body).expect("names and documents always serialise"));
        for attempt in 1.. {
            match self.post(event.id, body.clone()).await {
                Err(ClientError::NotRunning { .. }) if attempt < RESTART_TRIES => {
                    if attempt == 1 {
                        eprintln!("nothing listens at {}; waiting for it", self.local.base());
                    }
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
        unreachable!("the last try answers")
    }

    async fn post(&self, id: &str, body: Bytes) -> Result<StatusCode, ClientError> {
        let seconds = self.clock.now_ms().div_euclid(1000);
        let visible = |text: String| HeaderValue::try_from(text).expect("ids, numbers and base64 are visible ASCII");
        let mut request = self.local.request(Method::POST, "")?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HEADER_ID, visible(id.to_owned()));
        headers.insert(HEADER_TIMESTAMP, HeaderValue::from(seconds));
        headers.insert(HEADER_SIGNATURE, visible(sign(id, seconds, &body, std::slice::from_ref(&self.secret))));
        *request.body_mut() = body.into();
        Ok(self.local.exchange(request).await?.0)
    }
}

fn tell(event: &ShownEvent<'_>, outcome: &Result<StatusCode, ClientError>, took: Duration, json: bool) {
    let ms = took.as_secs_f64() * 1000.0;
    if json {
        let (status, error) = match outcome {
            Ok(status) => (Some(status.as_u16()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        say_json(&json!({"id": event.id, "type": event.type_name, "status": status, "error": error, "duration_ms": ms}));
        return;
    }
    let time = paint(Style::Dim, event.received_at.get(11..23).unwrap_or(event.received_at));
    let result = match outcome {
        Ok(status) if status.is_success() => paint(Style::Good, format!("{} in {ms:.0} ms", status.as_u16())),
        Ok(status) => paint(Style::Bad, format!("{} in {ms:.0} ms", status.as_u16())),
        Err(error) => paint(Style::Bad, harmless(&error.to_string())),
    };
    let name = event.type_name.as_deref().unwrap_or("(no event type matched)");
    say(format!("{time}  {:24}  {result}  {}", cut(name, 40), paint(Style::Dim, event.id)));
}
