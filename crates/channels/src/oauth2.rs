//! OAuth 2.0 for webhooks: access tokens from a token URL (RFC 6749 section 4.4 and its like), sent as `Authorization: Bearer`.
//!
//! `auth.oauth2` of the settings: `url` (where tokens come from), `body` (fields of the form that is posted there: client id, secret,
//! grant type, ...), and, if somebody fetched a token already, `access_token` and `expires_in`, which serve until they are refused.
//!
//! Invariants: tokens are kept per version of the settings and never written to a log; one fetch at a time per version, and whoever
//! waited for it uses what it brought; the token URL is reached through the same guarded client as every target.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::failure::Code;
use crate::http_client::HttpClient;
use crate::settings::{Fields, http_url, looks_secret, masked_path, pointer_step, refuse};
use crate::{Report, SettingsError};

/// Fields of the form at most.
const MAX_FIELDS: usize = 50;
/// Length of a token at most.
const MAX_TOKEN: usize = 8192;
/// A token is renewed this long before it expires, or a tenth of its life if that is shorter.
const MARGIN: Duration = Duration::from_secs(30);
/// Fields of the form that are no secrets; all others are.
const PLAIN: [&str; 6] = ["audience", "client_id", "grant_type", "resource", "scope", "username"];

/// What a token URL answered.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The token: visible ASCII.
    pub token: String,
    /// Seconds until it expires, as the token URL said.
    pub expires_in: Option<u64>,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// `auth.oauth2`, read.
pub(crate) struct OAuth2Settings {
    uri: Uri,
    form: Bytes,
    given: Option<AccessToken>,
    /// JSON pointers to the secrets, from the settings' root.
    pub(crate) secrets: Vec<String>,
}

impl OAuth2Settings {
    /// Reads the object at `settings.auth.oauth2`.
    pub(crate) fn parse(value: &Value) -> Result<Self, SettingsError> {
        let fields = Fields::of(value, "settings.auth.oauth2", &["url", "body", "access_token", "expires_in"])?;
        let uri = http_url(&fields.path("url"), fields.required("url")?)?;
        let body = fields.get("body").ok_or_else(|| refuse(fields.path("body"), "is required"))?;
        let body = body.as_object().ok_or_else(|| refuse(fields.path("body"), "must be an object of names and values"))?;
        if body.is_empty() || body.len() > MAX_FIELDS {
            return Err(refuse(fields.path("body"), format!("must have 1 to {MAX_FIELDS} fields")));
        }
        let mut secrets = Vec::new();
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in body {
            match value {
                Value::String(text) => form.append_pair(name, text),
                Value::Number(_) | Value::Bool(_) => form.append_pair(name, &value.to_string()),
                _ => return Err(refuse(format!("settings.auth.oauth2.body.{name}"), "must be a text, a number or a truth value")),
            };
            if !PLAIN.contains(&name.as_str()) || looks_secret(name) {
                secrets.push(format!("/auth/oauth2/body/{}", pointer_step(name)));
            }
        }
        let expires_in = match fields.get("expires_in") {
            None => None,
            Some(value) => Some(seconds(value).ok_or_else(|| refuse(fields.path("expires_in"), "must be a number of seconds"))?),
        };
        let given = match fields.text("access_token")? {
            None => None,
            Some(token) if is_token(token) => Some(AccessToken { token: token.to_owned(), expires_in }),
            Some(_) => return Err(refuse(fields.path("access_token"), "must be visible ASCII without spaces")),
        };
        if given.is_some() {
            secrets.push("/auth/oauth2/access_token".to_owned());
        }
        Ok(Self { uri, form: form.finish().into(), given, secrets })
    }
}

/// Seconds as a number, or as a text as some token URLs write them.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The tokens of one version of a target's settings.
pub(crate) struct OAuth2 {
    settings: OAuth2Settings,
    user_agent: HeaderValue,
    current: Mutex<Option<Arc<Held>>>,
    fetching: tokio::sync::Mutex<()>,
}

/// A token in use.
pub(crate) struct Held {
    access: AccessToken,
    /// Value of the `Authorization` header, marked sensitive.
    pub(crate) bearer: HeaderValue,
    /// When it should be renewed; unknown for tokens that came with the settings.
    until: Option<Instant>,
}

/// A token for one try.
pub(crate) struct Lent {
    pub(crate) held: Arc<Held>,
    /// Whether it was fetched for this very try: another fetch would bring nothing better.
    pub(crate) is_fresh: bool,
}

impl OAuth2 {
    /// Begins with the token of the settings, if there is one.
    pub(crate) fn new(settings: OAuth2Settings, user_agent: HeaderValue) -> Self {
        let given = settings.given.clone().and_then(|access| Held::new(access, None)).map(Arc::new);
        Self { settings, user_agent, current: Mutex::new(given), fetching: tokio::sync::Mutex::new(()) }
    }

    /// The token in use, if there is one.
    pub(crate) fn current(&self) -> Option<AccessToken> {
        self.held().map(|held| held.access.clone())
    }

    /// The same with its header.
    pub(crate) fn held(&self) -> Option<Arc<Held>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token that is good as far as one can tell and is not `refused`.
    ///
    /// # Errors
    /// The report of the failed fetch.
    pub(crate) async fn token(
        &self,
        http: &HttpClient,
        refused: Option<&Arc<Held>>,
        connect_timeout: Duration,
        deadline: Instant,
    ) -> Result<Lent, Report> {
        let started = Instant::now();
        let good =
            |held: &Arc<Held>| held.until.is_none_or(|until| started < until) && refused.is_none_or(|refused| !Arc::ptr_eq(held, refused));
        if let Some(held) = self.held().filter(good) {
            return Ok(Lent { held, is_fresh: false });
        }
        let late = || Report::failed(self.late(), self.request_text(), started);
        let _one = timeout_at(deadline, self.fetching.lock()).await.map_err(|_| late())?;
        // Somebody else may have fetched one meanwhile.
        if let Some(held) = self.held().filter(good) {
            return Ok(Lent { held, is_fresh: false });
        }
        let held = Arc::new(self.fetch(http, connect_timeout, deadline).await?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&held));
        Ok(Lent { held, is_fresh: true })
    }

    async fn fetch(&self, http: &HttpClient, connect_timeout: Duration, deadline: Instant) -> Result<Held, Report> {
        let started = Instant::now();
        let mut request = Request::new(Full::new(self.settings.form.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, self.user_agent.clone());
        let text = self.request_text();
        let total = deadline.saturating_duration_since(started);
        let exchange = match http.exchange(request, connect_timeout, total).await {
            Ok(exchange) => exchange,
            Err(error) => {
                let error = Code::TokenUnreachable.error(format!("no access token: {}", error.message));
                return Err(Report::failed(error, text, started));
            }
        };
        let host = self.settings.uri.host().unwrap_or_default();
        let refuse = |message: String, body: Bytes| Report {
            status: Some(exchange.status),
            response: Arc::clone(&exchange.response),
            response_body: body,
            ..Report::failed(Code::TokenRefused.error(message), Arc::clone(&text), started)
        };
        if let Some(error) = &exchange.broken {
            return Err(refuse(format!("no access token: {}", error.message), Bytes::new()));
        }
        if !(200..300).contains(&exchange.status) {
            return Err(refuse(format!("no access token: {host} answered {}", exchange.status), exchange.body.clone()));
        }
        let access = read_token(&exchange.body);
        let until = access.as_ref().and_then(|access| access.expires_in).map(|seconds| {
            // A hundred years is as good as for ever, and never overflows.
            let life = Duration::from_secs(seconds.min(100 * 365 * 24 * 60 * 60));
            started + (life - MARGIN.min(life / 10))
        });
        match access.and_then(|access| Held::new(access, until)) {
            Some(held) => Ok(held),
            // The body stays out of the log: it may hold a token in a form that is not understood.
            None => Err(refuse(format!("no access token: the answer of {host} holds no usable `access_token`"), Bytes::new())),
        }
    }

    fn late(&self) -> crate::SendError {
        Code::TokenUnreachable.error("no access token: another request for one had no answer in time")
    }

    /// The request as the log shows it, without its body.
    fn request_text(&self) -> Arc<str> {
        let uri = &self.settings.uri;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        format!("POST {}\nhost: {host}\ncontent-type: application/x-www-form-urlencoded", masked_path(uri)).into()
    }
}

impl Held {
    fn new(access: AccessToken, until: Option<Instant>) -> Option<Self> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", access.token)).ok()?;
        bearer.set_sensitive(true);
        Some(Self { access, bearer, until })
    }
}

fn read_token(body: &[u8]) -> Option<AccessToken> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let token = answer.get("access_token")?.as_str().filter(|token| is_token(token))?.to_owned();
    Some(AccessToken { token, expires_in: answer.get("expires_in").and_then(seconds) })
}
