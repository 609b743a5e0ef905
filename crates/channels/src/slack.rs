//! The `slack` channel: an incoming webhook, or a bot's `chat.postMessage`.
//!
//! Settings are `{"webhook_url"}` or `{"token", "channel", "api_url"?}`. Text is mrkdwn, links are not unfolded.
//! Sources: Slack's documentation of incoming webhooks, `chat.postMessage` and rate limits.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use posthaste_domain::template::{Form, Rendered};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::chat::{Answer, answer_fields, excerpt, message_of};
use crate::failure::Code;
use crate::http_client::{Exchange, HttpClient};
use crate::prepared::Prepared;
use crate::settings::{Fields, MASK, http_url, refuse, without_nulls};
use crate::{Channel, CheckedSettings, ContentKind, Dispatch, Outcome, Report, SendError, SettingsError};

/// Slack cuts longer texts without a word; so the cut is made here, visibly.
const MAX_TEXT: usize = 40_000;
const API: &str = "https://slack.com/api";
/// Errors of the Web API behind which Slack itself is in trouble.
const TROUBLE: [&str; 5] = ["internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"];

/// The channel.
pub struct Slack {
    http: Arc<HttpClient>,
    user_agent: HeaderValue,
    prepared: Prepared<Ready>,
}

impl Slack {
    /// Sends through `http`.
    pub fn new(http: Arc<HttpClient>, user_agent: HeaderValue) -> Self {
        Self { http, user_agent, prepared: Prepared::default() }
    }
}

struct Ready {
    uri: Uri,
    bot: Option<Bot>,
    text: Arc<str>,
}

struct Bot {
    authorization: HeaderValue,
    channel: String,
}

/// The body of both ways in; unknown fields are refused by neither.
#[derive(Serialize)]
struct Post<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    text: &'a str,
    unfurl_links: bool,
}

fn parse(settings: &Value) -> Result<(Ready, Vec<String>), SettingsError> {
    let fields = Fields::of(settings, "settings", &["webhook_url", "token", "channel", "api_url"])?;
    if let Some(url) = fields.text("webhook_url")? {
        if let Some(other) = ["token", "channel", "api_url"].into_iter().find(|name| fields.get(name).is_some()) {
            return Err(refuse(fields.path(other), "cannot be combined with webhook_url"));
        }
        let uri = http_url(&fields.path("webhook_url"), url)?;
        let text = format!("POST /{MASK}\nhost: {}\ncontent-type: application/json", uri.authority().map_or("", |a| a.as_str()));
        return Ok((Ready { uri, bot: None, text: text.into() }, vec!["/webhook_url".to_owned()]));
    }
    if fields.get("token").is_none() && fields.get("channel").is_none() {
        return Err(refuse(fields.path("webhook_url"), "is required, or else token and channel"));
    }
    let token = fields.required("token")?;
    let authorization = Some(token)
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
        .and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let mut authorization = authorization.ok_or_else(|| refuse(fields.path("token"), "must be visible ASCII without spaces"))?;
    authorization.set_sensitive(true);
    let channel = fields.required("channel")?.to_owned();
    let api = fields.text("api_url")?.unwrap_or(API);
    let uri = http_url(&fields.path("api_url"), &format!("{}/chat.postMessage", api.trim_end_matches('/')))?;
    let text = format!(
        "POST {}\nhost: {}\nauthorization: {MASK}\ncontent-type: application/json; charset=utf-8",
        uri.path(),
        uri.authority().map_or("", |authority| authority.as_str())
    );
    Ok((Ready { uri, bot: Some(Bot { authorization, channel }), text: text.into() }, vec!["/token".to_owned()]))
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn form(&self) -> Form {
        Form::SlackMrkdwn
    }

    fn takes(&self, kind: ContentKind) -> bool {
        kind == ContentKind::Message
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        let (_, secrets) = parse(settings)?;
        Ok(CheckedSettings { settings: without_nulls(settings), secrets })
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let started = Instant::now();
        let made = self.prepared.get_or_make(dispatch.settings_key, || parse(dispatch.settings).map(|(ready, _)| ready));
        let ready = match made {
            Ok(ready) => ready,
            Err(error) => return Report::failed(Code::SettingsInvalid.error(error.to_string()), Arc::default(), started),
        };
        let request_text = Arc::clone(&ready.text);
        let message = match message_of(dispatch.content) {
            Ok(message) => message,
            Err(error) => return Report::failed(error, request_text, started),
        };
        let request = request(&ready, &message, &self.user_agent);
        match self.http.exchange(request, dispatch.connect_timeout, dispatch.timeout).await {
            Ok(exchange) => {
                let outcome = judge(&exchange, ready.bot.is_some()).map_or_else(Outcome::Failed, |()| Outcome::Delivered);
                Report::answered(exchange, outcome, request_text, started)
            }
            Err(error) => Report::failed(error, request_text, started),
        }
    }
}

fn request(ready: &Ready, message: &Rendered, user_agent: &HeaderValue) -> Request<Full<Bytes>> {
    let text = if message.text.trim().is_empty() { &message.title } else { &message.text };
    let text = cut(text);
    let channel = ready.bot.as_ref().map(|bot| bot.channel.as_str());
    let post = Post { channel, text: &text, unfurl_links: false };
    let body = serde_json::to_vec(&post).expect("texts and a flag are always JSON");
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = ready.uri.clone();
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, user_agent.clone());
    match &ready.bot {
        Some(bot) => {
            // Without the character set the Web API answers with a warning.
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
            headers.insert(header::AUTHORIZATION, bot.authorization.clone());
        }
        None => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }
    request
}

/// At most [`MAX_TEXT`] characters; a cut ends in an ellipsis, splits no `&amp;` and closes a code block.
fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    const CLOSE: &str = "\n```";
    if text.len() <= MAX_TEXT || text.chars().count() <= MAX_TEXT {
        return text.into();
    }
    let room = MAX_TEXT - 1 - CLOSE.len();
    let end = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
    let mut kept = &text[..end];
    if let Some(start) = kept.rfind('&').filter(|start| kept.len() - start < "&quot;".len() && !kept[*start..].contains(';')) {
        kept = &kept[..start];
    }
    let close = if kept.matches("```").count() % 2 == 1 { CLOSE } else { "" };
    format!("{kept}…{close}").into()
}

/// The verdict on Slack's answer.
fn judge(exchange: &Exchange, is_bot: bool) -> Result<(), SendError> {
    let refused = |what: &str| Code::SlackRejected.error(format!("Slack refused the message: {what}"));
    match exchange.status {
        200..=299 if !is_bot => Ok(()),
        200..=299 => match answer_fields(&exchange.body) {
            Answer { ok: Some(true), .. } => Ok(()),
            Answer { ok: Some(false), error, .. } => match error.as_deref().unwrap_or("no reason given") {
                "ratelimited" | "rate_limited" => Err(Code::RateLimited.error("Slack asks for fewer messages")),
                trouble if TROUBLE.contains(&trouble) => Err(Code::SlackUnavailable.error(format!("Slack has trouble: {trouble}"))),
                reason => Err(refused(reason)),
            },
            Answer { ok: None, .. } => Err(Code::ResponseInvalid.error("the answer is not one of Slack's Web API")),
        },
        429 => Err(Code::RateLimited.error("Slack asks for fewer messages")),
        500..=599 => Err(Code::SlackUnavailable.error(format!("Slack has trouble: status {}", exchange.status))),
        status => match excerpt(&exchange.body) {
            text if text.is_empty() => Err(refused(&format!("status {status}"))),
            text => Err(refused(&text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_one_way_or_the_other() {
        let reason = |settings: Value| parse(&settings).map(|_| ()).expect_err("must be refused").to_string();
        assert_eq!(parse(&json!({"webhook_url": "https://hooks.slack.com/services/T/B/x"})).expect("hook").1, ["/webhook_url"]);
        let (bot, secrets) = parse(&json!({"token": "xoxb-1", "channel": "#ops"})).expect("bot");
        assert_eq!((bot.uri.to_string().as_str(), secrets), ("https://slack.com/api/chat.postMessage", vec!["/token".to_owned()]));
        assert_eq!(reason(json!({})), "settings.webhook_url: is required, or else token and channel");
        assert_eq!(reason(json!({"token": "x"})), "settings.channel: is required");
        assert_eq!(reason(json!({"webhook_url": "http://a", "channel": "x"})), "settings.channel: cannot be combined with webhook_url");
        assert_eq!(reason(json!({"webhookUrl": "http://a"})), "settings.webhookUrl: unknown field; did you mean `webhook_url`?");
        assert_eq!(reason(json!({"token": "x\ny", "channel": "c"})), "settings.token: must be visible ASCII without spaces");
    }

    #[test]
    fn long_texts_are_cut_visibly() {
        assert_eq!(cut(&"é".repeat(MAX_TEXT)).chars().count(), MAX_TEXT);
        let long = cut(&"é".repeat(MAX_TEXT + 1)).into_owned();
        assert!(long.ends_with('…') && long.chars().count() <= MAX_TEXT);
        let entity = format!("{}&amp;tail", "x".repeat(MAX_TEXT - 7));
        assert!(cut(&entity).ends_with("x…"), "{}", &cut(&entity)[MAX_TEXT - 20..]);
        let fenced = cut(&format!("```{}", "y".repeat(MAX_TEXT))).into_owned();
        assert!(fenced.ends_with("y…\n```") && fenced.chars().count() <= MAX_TEXT);
    }
}
