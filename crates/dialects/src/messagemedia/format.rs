//! Wire format `messagemedia`: the body that a template makes, the URL with its variables, and the signature (MessageMedia 6, 7).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, header};
use posthaste_domain::policy::{Jitter, Policy, Retry, StatusMatch};
use posthaste_domain::velocity::{Form, Limits, RenderError, Template};
use posthaste_engine::{Format, FormatBody, FormatError, FormatInput, Prepared};
use serde::Deserialize;
use serde_json::Value;

use super::account::{keys, private_key};
use super::event::{EventKind, field_of, told};
use super::facts::Facts;
use super::input::Encoding;
use super::payload::{default_payload, encoded, form};
use super::signer::Signer;
use super::time::http_date;
use super::webhooks::Hook;
use super::{DIALECT, MessageMediaSettings};

const SIGNATURE: HeaderName = HeaderName::from_static("x-messagemedia-signature");
const DIGEST_TYPE: HeaderName = HeaderName::from_static("x-messagemedia-digest-type");
const CIPHER_TYPE: HeaderName = HeaderName::from_static("x-messagemedia-cipher-type");
const KEY_ID: HeaderName = HeaderName::from_static("x-messagemedia-key-id");

/// Private keys that are kept ready.
const MAX_SIGNERS: usize = 256;

/// The format of a MessageMedia webhook.
///
/// A native subscription may use it too: without a template it sends the documented payloads as JSON, for every event that
/// MessageMedia knows.
pub struct MessageMediaFormat {
    read_timeout: Duration,
    /// Private keys by id, the latest last.
    signers: Mutex<Vec<(String, Arc<Signer>)>>,
}

/// A webhook, its templates parsed.
struct Ready {
    events: Vec<EventKind>,
    encoding: Encoding,
    template: Option<Template>,
    /// Of URLs with something to replace.
    url: Option<Template>,
    account_id: String,
}

impl MessageMediaFormat {
    /// The format with these numbers.
    pub fn new(settings: &MessageMediaSettings) -> Self {
        Self { read_timeout: settings.read_timeout, signers: Mutex::default() }
    }

    /// A private key, read when it is first used.
    fn signer(&self, account: &Value, key_id: &str) -> Option<Arc<Signer>> {
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, signer)) = signers.iter().find(|(id, _)| id == key_id) {
            return Some(Arc::clone(signer));
        }
        let signer = match Signer::parse(&private_key(account, key_id)?) {
            Ok(signer) => Arc::new(signer),
            Err(error) => {
                tracing::error!(key_id, %error, "a stored signature key cannot be used");
                return None;
            }
        };
        if signers.len() >= MAX_SIGNERS {
            signers.remove(0);
        }
        signers.push((key_id.to_owned(), Arc::clone(&signer)));
        Some(signer)
    }

    /// The four headers and the date, if the account has an enabled key.
    fn signature(&self, input: &FormatInput<'_>, made: &FormatBody) -> Option<[(HeaderName, HeaderValue); 5]> {
        // Whoever has keys has the feature, unless it was taken away.
        if input.account.get("signature_keys").and_then(Value::as_bool) == Some(false) {
            return None;
        }
        let key = keys(input.account).into_iter().find(|key| key.enabled)?;
        let signer = self.signer(input.account, &key.key_id)?;
        let uri: Uri = made.url.as_deref().unwrap_or(input.url).parse().ok()?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let date = http_date(input.attempt.at_ms);
        let request_line = format!("{} {path} HTTP/1.1", input.method);
        let signed = signer.sign(key.digest, &[request_line.as_bytes(), date.as_bytes(), &made.body]);
        let signature = signed.inspect_err(|error| tracing::error!(key.key_id, %error, "a delivery could not be signed")).ok()?;
        let visible = |text: String| HeaderValue::try_from(text).ok();
        Some([
            (SIGNATURE, visible(signature)?),
            (DIGEST_TYPE, HeaderValue::from_static(key.digest.name())),
            (CIPHER_TYPE, HeaderValue::from_static("RSA")),
            (KEY_ID, visible(key.key_id)?),
            (header::DATE, visible(date)?),
        ])
    }
}

impl Format for MessageMediaFormat {
    fn name(&self) -> &'static str {
        DIALECT
    }

    /// One attempt of 20 s, any 2xx; nothing stops the retries of a webhook that asks for some, and nothing moves them.
    fn default_policy(&self) -> Policy {
        Policy {
            timeout: Some(self.read_timeout),
            retry: Some(Retry::Delays(Vec::new())),
            jitter: Some(Jitter::UpTo(0.0)),
            success: Some(vec![StatusMatch::Class(2)]),
            stop: Some(Vec::new()),
            retry_after_max: Some(Duration::ZERO),
            ..Policy::default()
        }
    }

    /// Its templates are the owner's.
    fn is_quick(&self) -> bool {
        false
    }

    fn prepare(&self, settings: &Value, _target: &Value) -> Result<Prepared, FormatError> {
        let hook = if settings.is_null() {
            let events = EventKind::ALL.map(|kind| kind.name().to_owned()).to_vec();
            Hook { events, ..Hook::default() }
        } else {
            Hook::deserialize(settings).map_err(|error| FormatError { field: "dialect".to_owned(), reason: error.to_string() })?
        };
        let parse = |field: &str, source: &str| {
            Template::parse(source).map_err(|error| FormatError { field: field.to_owned(), reason: error.to_string() })
        };
        Ok(Prepared::new(Ready {
            events: hook.events.iter().filter_map(|name| EventKind::from_name(name)).collect(),
            encoding: hook.encoding,
            template: hook.template.as_deref().map(|source| parse("template", source)).transpose()?,
            url: Some(&*hook.url).filter(|url| url.contains(['$', '#'])).map(|source| parse("url", source)).transpose()?,
            account_id: hook.account_id,
        }))
    }

    fn wants<'d>(&self, prepared: &Prepared, type_name: &str, document: &mut dyn FnMut() -> Option<&'d Value>) -> bool {
        let (Some(ready), Some(document)) = (prepared.get::<Ready>(), document()) else { return false };
        told(type_name, |name| field_of(document, name)).is_some_and(|told| ready.events.contains(&told.kind))
    }

    fn body(&self, input: &FormatInput<'_>) -> Result<FormatBody, FormatError> {
        if input.is_batch {
            let reason = "the messagemedia format sends every event by itself; switch batching off".to_owned();
            return Err(FormatError { field: "policy.batch".to_owned(), reason });
        }
        let unknown = |reason: &str| FormatError { field: "event".to_owned(), reason: reason.to_owned() };
        let ready = input.prepared.get::<Ready>().ok_or_else(|| unknown("the webhook's settings cannot be used"))?;
        let facts =
            Facts::of(input.event, input.account, &ready.account_id).ok_or_else(|| unknown("it is none of MessageMedia's events"))?;
        let variables = facts.variables(input.attempt.number.saturating_sub(1));
        let render = |field: &str, template: &Template, form: Form| {
            let rendered = template.render(&variables, form, &Limits::DEFAULT);
            rendered.map_err(|error: RenderError| FormatError { field: field.to_owned(), reason: error.to_string() })
        };
        let url = ready.url.as_ref().map(|url| render("url", url, Form::Url)).transpose()?.map(|url| sendable(&url));
        let text = match &ready.template {
            _ if input.method == "GET" => String::new(),
            Some(template) => {
                let text = render("template", template, Form::Raw)?;
                if ready.encoding == Encoding::Form { form(&text) } else { text }
            }
            None if input.method == "DELETE" => String::new(),
            None => encoded(default_payload(&facts), ready.encoding),
        };
        Ok(FormatBody { body: Bytes::from(text), query: None, url })
    }

    fn headers(&self, input: &FormatInput<'_>, made: &FormatBody) -> Vec<(HeaderName, HeaderValue)> {
        let encoding = input.prepared.get::<Ready>().map(|ready| ready.encoding).unwrap_or_default();
        let content_type = match encoding {
            Encoding::Json => "application/json",
            Encoding::Form => "application/x-www-form-urlencoded",
            Encoding::Xml => "application/xml",
        };
        let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        headers.extend(self.signature(input, made).into_iter().flatten());
        headers
    }
}

/// A URL that can be sent: what no URL may hold is percent-encoded, and a fragment, which is never sent, is left out.
pub(super) fn sendable(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let mut out = String::with_capacity(url.len());
    for byte in url.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
