//! The `webhook` channel: an HTTP request to a URL of the target's owner.
//!
//! Invariants: body bytes go out as they came in; a header of the wire format is never replaced by one of the settings, except
//! `content-type`; exactly one request per try, save one more with a new access token when the first was refused for an old one.
//!
//! The request as the log shows it is the same text for every try of a target, so that it exists once in memory and can be stored
//! cheaply: of the wire format's headers `content-type` is shown as sent and all others as a placeholder that says what stood
//! there (`webhook-id: {id}`, `webhook-signature: {signature}`), a query that a format appends as `{query}`, and secrets as `[masked]`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, header};
use posthaste_domain::template::Form;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::Instant;

use crate::failure::Code;
use crate::http_client::{Draft, HttpClient, Target, Times};
use crate::oauth2::{AccessToken, OAuth2};
use crate::prepared::Prepared;
use crate::settings::{MASK, absolute_url, masked_path, refuse};
use crate::webhook_settings::{self, WebhookSettings};
use crate::{Channel, CheckedSettings, Content, ContentKind, Dispatch, Outcome, Preview, Report, SendError, SettingsError};

/// Texts of requests kept per target: one per wire format and content type, more than any target sees in practice.
const MAX_SHAPES: usize = 8;

/// The channel.
pub struct Webhook {
    http: Arc<HttpClient>,
    user_agent: HeaderValue,
    prepared: Prepared<Ready>,
}

impl Webhook {
    /// Sends through `http`, presenting itself as `user_agent` unless a target's settings say otherwise.
    pub fn new(http: Arc<HttpClient>, user_agent: HeaderValue) -> Self {
        Self { http, user_agent, prepared: Prepared::default() }
    }

    /// Fetches an access token for settings with `auth.oauth2`, for whoever wants to know before they are saved that it works.
    ///
    /// # Errors
    /// The report of the failed fetch: its error has the code `token_refused` or `token_unreachable` (or `settings_invalid`), and
    /// status, headers and body are those of the token URL.
    pub async fn fetch_token(&self, settings: &Value, connect_timeout: Duration, timeout: Duration) -> Result<AccessToken, Report> {
        let started = Instant::now();
        let unusable = |text: String| Report::failed(Code::SettingsInvalid.error(text), Arc::default(), started);
        let ready = self.ready(settings).map_err(|error| unusable(error.to_string()))?;
        let oauth2 = ready.oauth2.ok_or_else(|| unusable("settings.auth.oauth2: is required".to_owned()))?;
        let refused = oauth2.held();
        oauth2.token(&self.http, refused.as_ref(), connect_timeout, started + timeout).await?;
        oauth2.current().ok_or_else(|| unusable("settings.auth.oauth2: gave no token".to_owned()))
    }

    /// The access token in use for a version of a target's settings (the numbers of [`Dispatch::settings_key`]), if this process has
    /// one.
    pub fn token_in_use(&self, settings_key: (i64, i64)) -> Option<AccessToken> {
        self.prepared.peek(settings_key)?.oauth2.as_ref()?.current()
    }

    fn ready(&self, settings: &Value) -> Result<Ready, SettingsError> {
        let settings = webhook_settings::parse(settings)?;
        let target = self.http.target(settings.uri.clone(), settings.is_http1_only);
        let target = target.map_err(|error| refuse("settings.url", error.to_string()))?;
        Ok(Ready::new(settings, target, &self.user_agent))
    }

    /// One try with an access token, and a second one with another if the first was refused as expired (400 or 401).
    async fn exchange(&self, oauth2: &OAuth2, target: &Target, draft: Draft<'_>, text: Arc<str>, started: Instant, times: Times) -> Report {
        let mut refused = None;
        let mut own: Vec<_> = draft.own.iter().filter(|(name, _)| *name != header::AUTHORIZATION).cloned().collect();
        let before = own.len();
        loop {
            let lent = match oauth2.token(&self.http, refused.as_ref(), times.connect, times.deadline).await {
                Ok(lent) => lent,
                Err(report) => return report,
            };
            own.truncate(before);
            own.push((header::AUTHORIZATION, lent.held.bearer.clone()));
            match self.http.send(target, Draft { own: &own, ..draft }, times).await {
                Ok(exchange) if matches!(exchange.status, 400 | 401) && refused.is_none() && !lent.is_fresh => refused = Some(lent.held),
                Ok(exchange) => return Report::answered(exchange, Outcome::Answered, text, started),
                Err(error) => return Report::failed(error, text, started),
            }
        }
    }
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn form(&self) -> Form {
        Form::Raw
    }

    fn takes(&self, kind: ContentKind) -> bool {
        matches!(kind, ContentKind::Wire | ContentKind::Message)
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        webhook_settings::check(settings)
    }

    fn preview(&self, settings: &Value, content: Content) -> Result<Preview, SendError> {
        let ready = self.ready(settings).map_err(|error| Code::SettingsInvalid.error(error.to_string()))?;
        let Call { body, text, .. } = ready.call(content)?;
        Ok(Preview { request: text.to_string(), body })
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let started = Instant::now();
        let made = self.prepared.get_or_make(dispatch.settings_key, || self.ready(dispatch.settings));
        let ready = match made {
            Ok(ready) => ready,
            Err(error) => return Report::failed(Code::SettingsInvalid.error(error.to_string()), Arc::default(), started),
        };
        let Call { own, body, text, elsewhere } = match ready.call(dispatch.content) {
            Ok(call) => call,
            Err(error) => return Report::failed(error, Arc::default(), started),
        };
        let other;
        let target = match elsewhere.map(|uri| self.http.target_like(&ready.target, uri)) {
            None => &ready.target,
            Some(Ok(target)) => {
                other = target;
                &other
            }
            Some(Err(error)) => return Report::failed(error.to_send_error(), text, started),
        };
        let times = Times::new(started, dispatch.connect_timeout, dispatch.timeout);
        let draft = Draft { method: &ready.method, settled: &ready.headers, own: &own, body: &body, is_repeatable: true };
        if let Some(oauth2) = &ready.oauth2 {
            // Boxed: rare, and large.
            return Box::pin(self.exchange(oauth2, target, draft, text, started, times)).await;
        }
        match self.http.send(target, draft, times).await {
            Ok(exchange) => Report::answered(exchange, Outcome::Answered, text, started),
            Err(error) => Report::failed(error, text, started),
        }
    }
}

/// Settings made ready for any number of tries.
struct Ready {
    method: Method,
    target: Target,
    /// The settings' own, and `user-agent`.
    headers: Vec<(HeaderName, HeaderValue)>,
    oauth2: Option<OAuth2>,
    shapes: Mutex<Vec<Shape>>,
}

/// One request to make.
struct Call {
    /// The content's own headers.
    own: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// As the log shows it.
    text: Arc<str>,
    /// Where it goes, if not to the very URL of the settings.
    elsewhere: Option<Uri>,
}

/// What the text of a request depends on besides the settings.
struct Shape {
    names: Vec<HeaderName>,
    content_type: Option<HeaderValue>,
    has_query: bool,
    text: Arc<str>,
}

impl Ready {
    fn new(settings: WebhookSettings, target: Target, user_agent: &HeaderValue) -> Self {
        let mut headers = settings.headers;
        headers.entry(header::USER_AGENT).or_insert_with(|| user_agent.clone());
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let oauth2 = settings.oauth2.map(|oauth2| OAuth2::new(oauth2, user_agent.clone()));
        Self { method: settings.method, target, headers, oauth2, shapes: Mutex::default() }
    }

    /// The request of one try.
    fn call(&self, content: Content) -> Result<Call, SendError> {
        let (body, mut own, query, url) = match content {
            Content::Wire { body, headers, query, url } => (body, headers, query, url),
            Content::Message(message) => {
                let is_json = serde_json::from_str::<IgnoredAny>(&message.text).is_ok();
                let content_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
                (Bytes::from(message.text), vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], None, None)
            }
            Content::Mail(_) | Content::Sms(_) => {
                return Err(Code::ContentUnsupported.error("this channel carries no mail and no text messages"));
            }
        };
        let has_body = self.method != Method::GET;
        let settings_choose_type = self.headers.iter().any(|(name, _)| *name == header::CONTENT_TYPE);
        own.retain(|(name, _)| *name != header::CONTENT_TYPE || (has_body && !settings_choose_type));
        let query = query.filter(|query| !has_body && !query.is_empty());
        let own_uri =
            url.map(|url| absolute_url("url", &url)).transpose().map_err(|error| Code::ContentUnsupported.error(error.to_string()))?;

        let text = match &own_uri {
            None => self.text(&own, query.is_some()),
            // No two events may have the same one: nothing to share.
            Some(uri) => self.render_text(uri, &own, query.is_some()).into(),
        };
        let elsewhere = match query {
            None => own_uri,
            Some(query) => Some(with_query(own_uri.as_ref().unwrap_or(&self.target.absolute), &query)?),
        };
        Ok(Call { own, body: if has_body { body } else { Bytes::new() }, text, elsewhere })
    }

    fn text(&self, own: &[(HeaderName, HeaderValue)], has_query: bool) -> Arc<str> {
        let content_type = own.iter().find(|(name, _)| *name == header::CONTENT_TYPE).map(|(_, value)| value);
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |shape: &&Shape| {
            shape.has_query == has_query
                && shape.content_type.as_ref() == content_type
                && shape.names.iter().eq(own.iter().map(|(name, _)| name))
        };
        if let Some(shape) = shapes.iter().find(same) {
            return Arc::clone(&shape.text);
        }
        let text: Arc<str> = self.render_text(&self.target.absolute, own, has_query).into();
        if shapes.len() < MAX_SHAPES {
            let names = own.iter().map(|(name, _)| name.clone()).collect();
            shapes.push(Shape { names, content_type: content_type.cloned(), has_query, text: Arc::clone(&text) });
        }
        text
    }

    fn render_text(&self, uri: &Uri, own: &[(HeaderName, HeaderValue)], has_query: bool) -> String {
        let mut path = masked_path(uri);
        if has_query {
            path.push_str(if uri.query().is_some() { "&{query}" } else { "?{query}" });
        }
        let mut text = format!("{} {path}\nhost: {}", self.method, uri.authority().map_or("", |authority| authority.as_str()));
        let mut line = |name: &HeaderName, value: &str| {
            text.push('\n');
            text.push_str(name.as_str());
            text.push_str(": ");
            text.push_str(value);
        };
        for (name, value) in &self.headers {
            if own.iter().all(|(own, _)| own != name) {
                line(name, if value.is_sensitive() { MASK } else { value.to_str().unwrap_or_default() });
            }
        }
        for (name, value) in own {
            line(name, if *name == header::CONTENT_TYPE { value.to_str().unwrap_or_default() } else { placeholder(name.as_str()) });
        }
        text
    }
}

/// What stands in the log for the value of a format's header.
fn placeholder(name: &str) -> &'static str {
    match name {
        _ if name.contains("signature") => "{signature}",
        _ if name.contains("timestamp") || name.contains("date") => "{timestamp}",
        _ if name.ends_with("-id") => "{id}",
        _ => "{value}",
    }
}

/// The URL with more of a query.
fn with_query(uri: &Uri, query: &str) -> Result<Uri, SendError> {
    let path = uri.path();
    let path_and_query = match uri.query() {
        Some(before) if !before.is_empty() => format!("{path}?{before}&{query}"),
        _ => format!("{path}?{query}"),
    };
    let mut parts = uri.clone().into_parts();
    let unsuitable = || Code::ContentUnsupported.error("the event does not fit in the query of a URL; choose another method than GET");
    parts.path_and_query = Some(path_and_query.parse().map_err(|_| unsuitable())?);
    Uri::from_parts(parts).map_err(|_| unsuitable())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::{AddressGuard, Outlet, tls::Tls};

    fn ready(settings: Value) -> Ready {
        let outlet = Outlet::new(AddressGuard::default());
        let http = Arc::new(HttpClient::new(Arc::new(outlet), Arc::new(Tls::new(Vec::new()))));
        Webhook::new(http, HeaderValue::from_static("Posthaste/test")).ready(&settings).expect("settings")
    }

    /// The headers that go out, and the text of the request.
    fn call(ready: &Ready, content: Content) -> (HeaderMap, Arc<str>) {
        let Call { own, body, text, .. } = ready.call(content).expect("a call");
        let draft = Draft { method: &ready.method, settled: &ready.headers, own: &own, body: &body, is_repeatable: true };
        (draft.headers().cloned().collect(), text)
    }

    fn wire(id: &'static str, query: Option<&str>) -> Content {
        Content::Wire {
            body: Bytes::from_static(b"{}"),
            headers: vec![
                (HeaderName::from_static("content-type"), HeaderValue::from_static("application/json")),
                (HeaderName::from_static("webhook-id"), HeaderValue::from_static(id)),
                (HeaderName::from_static("webhook-timestamp"), HeaderValue::from_static("1")),
                (HeaderName::from_static("webhook-signature"), HeaderValue::from_static("v1,x")),
            ],
            query: query.map(str::to_owned),
            url: None,
        }
    }

    #[test]
    fn every_try_shares_one_text_without_secrets() {
        let ready = ready(json!({
            "url": "https://a.example/hook?token=abc", "auth": {"bearer": "sesame"}, "headers": {"X-Team": "blue", "X-Api-Key": "k"}
        }));
        let (first, text) = call(&ready, wire("msg_1", None));
        let (second, again) = call(&ready, wire("msg_2", None));
        assert!(Arc::ptr_eq(&text, &again));
        assert_eq!((&first["webhook-id"], &second["webhook-id"]), (&"msg_1".parse().expect("v"), &"msg_2".parse().expect("v")));
        assert_eq!(first["authorization"], "Bearer sesame");
        assert_eq!(
            &*text,
            "POST /hook?token=[masked]\nhost: a.example\nx-team: blue\nx-api-key: [masked]\nauthorization: [masked]\n\
             user-agent: Posthaste/test\ncontent-type: application/json\nwebhook-id: {id}\nwebhook-timestamp: {timestamp}\n\
             webhook-signature: {signature}"
        );
    }

    /// It is allocated and moved for every try.
    #[test]
    fn the_future_of_a_try_is_small() {
        let outlet = Outlet::new(AddressGuard::default());
        let http = Arc::new(HttpClient::new(Arc::new(outlet), Arc::new(Tls::new(Vec::new()))));
        let webhook = Webhook::new(http, HeaderValue::from_static("Posthaste/test"));
        let settings = json!({"url": "http://a/"});
        let (content, second) = (wire("msg_1", None), Duration::from_secs(1));
        let dispatch =
            Dispatch { delivery_id: "dlv", settings: &settings, settings_key: (1, 1), content, connect_timeout: second, timeout: second };
        let size = size_of_val(&*webhook.send(dispatch));
        assert!(size <= 2048, "{size} bytes");
    }

    #[test]
    fn the_format_wins_over_the_settings_except_for_the_content_type() {
        let ready = ready(json!({"url": "http://a/", "headers": {"Content-Type": "application/cloudevents+json", "X-Signature": "mine"}}));
        let mut headers = vec![(HeaderName::from_static("x-signature"), HeaderValue::from_static("sha256=1"))];
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        let content = Content::Wire { body: Bytes::from_static(b"{}"), headers, query: None, url: None };
        let (request, text) = call(&ready, content);
        assert_eq!(request["content-type"], "application/cloudevents+json");
        assert_eq!(request["x-signature"], "sha256=1");
        assert!(text.contains("x-signature: {signature}") && !text.contains("sha256"));
    }

    /// MSGGO-64, the part of it that is this channel's.
    #[test]
    fn get_has_no_body_and_the_event_in_its_query() {
        let ready = ready(json!({"url": "http://a/hook?x=1", "method": "GET"}));
        let Call { own, body, text, elsewhere } = ready.call(wire("msg_1", Some("event=sale&n=2"))).expect("a call");
        assert_eq!(elsewhere.expect("a URL with the event"), "http://a/hook?x=1&event=sale&n=2");
        assert!(own.iter().all(|(name, _)| *name != header::CONTENT_TYPE));
        assert!(body.is_empty());
        assert!(text.starts_with("GET /hook?x=1&{query}\n"), "{text}");
        let Content::Wire { body, headers, query, .. } = wire("msg_1", None) else { unreachable!() };
        let elsewhere = Content::Wire { body, headers, query, url: Some("https://b.example/cb?id=7&token=t".into()) };
        let Call { text, elsewhere, .. } = ready.call(elsewhere).expect("a call");
        assert_eq!(elsewhere.expect("the event's own URL"), "https://b.example/cb?id=7&token=t");
        assert!(text.starts_with("GET /cb?id=7&token=[masked]\nhost: b.example\n"), "{text}");
        let too_long = "x".repeat(70_000);
        assert_eq!(ready.call(wire("msg_1", Some(&too_long))).err().expect("too long").code, "content_unsupported");
    }

    #[test]
    fn a_message_is_json_if_it_parses() {
        let ready = ready(json!({"url": "http://a/"}));
        let sent_as = |text: &str| {
            let message = posthaste_domain::template::Rendered { title: String::new(), text: text.to_owned(), html: None };
            call(&ready, Content::Message(message)).0["content-type"].clone()
        };
        assert_eq!(sent_as(r#"{"a":1}"#), "application/json");
        assert_eq!(sent_as("Hello {"), "text/plain; charset=utf-8");
    }
}
