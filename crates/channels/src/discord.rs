//! The `discord` channel: a channel's webhook. Settings are `{"webhook_url"}`.
//!
//! Invariants: nobody is ever mentioned (`allowed_mentions` is empty), whatever an event contains; a text above 2,000 characters goes out
//! as several posts in order.
//!
//! Delivery is at least once for the text as a whole: a try that fails midway says which part failed, and the next try begins with the
//! first part again. To make that rare, a rate limit met midway is waited out within the try's time where it fits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use posthaste_domain::template::{Form, Rendered, split_for_discord};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::chat::{answer_fields, excerpt, message_of};
use crate::failure::Code;
use crate::http_client::{Exchange, HttpClient};
use crate::prepared::Prepared;
use crate::settings::{Fields, MASK, http_url, refuse, without_nulls};
use crate::{Channel, CheckedSettings, ContentKind, Dispatch, Outcome, Report, SendError, SettingsError};

/// Posts that one message may become; the rest of a longer text is left out, and the last post says so.
const MAX_POSTS: usize = 10;
/// Closes the last post of a text that was too long.
const MORE: &str = "*(the rest was left out)*";

/// The channel.
pub struct Discord {
    http: Arc<HttpClient>,
    user_agent: HeaderValue,
    prepared: Prepared<Ready>,
}

impl Discord {
    /// Sends through `http`.
    pub fn new(http: Arc<HttpClient>, user_agent: HeaderValue) -> Self {
        Self { http, user_agent, prepared: Prepared::default() }
    }
}

struct Ready {
    uri: Uri,
    text: Arc<str>,
}

#[derive(Serialize)]
struct Post<'a> {
    content: &'a str,
    allowed_mentions: Mentions,
}

#[derive(Serialize)]
struct Mentions {
    parse: [&'static str; 0],
}

fn parse(settings: &Value) -> Result<Ready, SettingsError> {
    let fields = Fields::of(settings, "settings", &["webhook_url"])?;
    let field = fields.path("webhook_url");
    let uri = http_url(&field, fields.required("webhook_url")?)?;
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let text = format!("POST /{MASK}?wait=true\nhost: {host}\ncontent-type: application/json").into();
    // With `wait` Discord answers after it has stored the message, and tells errors.
    let asked: Vec<&str> = uri.query().into_iter().flat_map(|query| query.split('&')).filter(|p| !p.starts_with("wait=")).collect();
    let query = asked.into_iter().filter(|parameter| !parameter.is_empty()).chain(["wait=true"]).collect::<Vec<_>>().join("&");
    let path_and_query = format!("{}?{query}", uri.path()).parse().map_err(|_| refuse(&field, "is not a valid URL"))?;
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(path_and_query);
    let uri = Uri::from_parts(parts).map_err(|_| refuse(&field, "is not a valid URL"))?;
    Ok(Ready { uri, text })
}

#[async_trait]
impl Channel for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn form(&self) -> Form {
        Form::DiscordMarkdown
    }

    fn takes(&self, kind: ContentKind) -> bool {
        kind == ContentKind::Message
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        parse(settings)?;
        Ok(CheckedSettings { settings: without_nulls(settings), secrets: vec!["/webhook_url".to_owned()] })
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let started = Instant::now();
        let deadline = started + dispatch.timeout;
        let ready = match self.prepared.get_or_make(dispatch.settings_key, || parse(dispatch.settings)) {
            Ok(ready) => ready,
            Err(error) => return Report::failed(Code::SettingsInvalid.error(error.to_string()), Arc::default(), started),
        };
        let parts = match message_of(dispatch.content) {
            Ok(message) => parts_of(&message),
            Err(error) => return Report::failed(error, Arc::clone(&ready.text), started),
        };
        let (mut at, total) = (0, parts.len());
        loop {
            let request = self.request(&ready.uri, &parts[at]);
            let left = deadline.saturating_duration_since(Instant::now());
            let mut exchange = match self.http.exchange(request, dispatch.connect_timeout, left).await {
                Ok(exchange) => exchange,
                Err(error) => return Report::failed(at_part(error, at, total), Arc::clone(&ready.text), started),
            };
            exchange.broken = exchange.broken.map(|error| at_part(error, at, total));
            match judge(&exchange) {
                _ if exchange.broken.is_some() => {
                    return Report::answered(exchange, Outcome::Delivered, Arc::clone(&ready.text), started);
                }
                Ok(()) if at + 1 == total => {
                    return Report::answered(exchange, Outcome::Delivered, Arc::clone(&ready.text), started);
                }
                Ok(()) => at += 1,
                Err(error) => {
                    let wait = retry_after(&exchange);
                    if let Some(wait) = wait.filter(|wait| at > 0 && Instant::now() + *wait < deadline) {
                        sleep(wait).await;
                        continue;
                    }
                    // In whole seconds, rounded up, as the header of that name is written.
                    exchange.retry_after = wait.map(|wait| wait.as_secs_f64().ceil().to_string()).or(exchange.retry_after);
                    let outcome = Outcome::Failed(at_part(error, at, total));
                    return Report::answered(exchange, outcome, Arc::clone(&ready.text), started);
                }
            }
        }
    }
}

impl Discord {
    fn request(&self, uri: &Uri, content: &str) -> Request<Full<Bytes>> {
        let post = Post { content, allowed_mentions: Mentions { parse: [] } };
        let body = serde_json::to_vec(&post).expect("texts and a list are always JSON");
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        request.headers_mut().insert(header::USER_AGENT, self.user_agent.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }
}

/// The posts of a message: never none, at most [`MAX_POSTS`].
fn parts_of(message: &Rendered) -> Vec<String> {
    let text = if message.text.trim().is_empty() { &message.title } else { &message.text };
    let mut parts = split_for_discord(text);
    if parts.len() > MAX_POSTS {
        parts.truncate(MAX_POSTS - 1);
        parts.push(MORE.to_owned());
    }
    if parts.is_empty() {
        parts.push(String::new());
    }
    parts
}

/// Says which part of several failed.
fn at_part(mut error: SendError, at: usize, total: usize) -> SendError {
    if total > 1 {
        error.message = format!("part {} of {total}: {}", at + 1, error.message);
    }
    error
}

/// How long Discord wants to be left alone: `retry_after` of the body, which has fractions, or the header.
fn retry_after(exchange: &Exchange) -> Option<Duration> {
    if exchange.status != 429 {
        return None;
    }
    let seconds = answer_fields(&exchange.body).retry_after.or_else(|| exchange.retry_after.as_deref()?.parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The verdict on Discord's answer.
fn judge(exchange: &Exchange) -> Result<(), SendError> {
    match exchange.status {
        200..=299 => Ok(()),
        429 => Err(Code::RateLimited.error("Discord asks for fewer messages")),
        500..=599 => Err(Code::DiscordUnavailable.error(format!("Discord has trouble: status {}", exchange.status))),
        status => {
            let reason = answer_fields(&exchange.body).message.unwrap_or_else(|| excerpt(&exchange.body));
            let reason = if reason.is_empty() { format!("status {status}") } else { format!("{reason} (status {status})") };
            Err(Code::DiscordRejected.error(format!("Discord refused the message: {reason}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_url_asks_to_wait_and_keeps_the_thread() {
        let uri = |url: &str| parse(&json!({"webhook_url": url})).expect("settings").uri.to_string();
        assert_eq!(uri("https://d.example/api/webhooks/1/x"), "https://d.example/api/webhooks/1/x?wait=true");
        assert_eq!(uri("https://d.example/w?wait=false&thread_id=7"), "https://d.example/w?thread_id=7&wait=true");
        let text = parse(&json!({"webhook_url": "https://d.example/api/webhooks/1/secret"})).expect("settings").text;
        assert!(!text.contains("secret"));
        assert!(parse(&json!({"url": "https://d.example"})).is_err());
    }
}
