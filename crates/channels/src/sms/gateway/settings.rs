//! The description of a gateway, as the operator writes it.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Uri};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

use super::rules::GatewayRules;
use crate::settings::{Fields, http_url, refuse};
use crate::{SettingsError, Sms};

/// Statuses from and to which an answer is a success, if the description does not say.
const SUCCESS: std::ops::RangeInclusive<u16> = 200..=299;
/// Work that a template may do; a request needs a few dozen steps.
const FUEL: u64 = 100_000;

/// A provider's way to take a message.
pub(in crate::sms) struct GatewaySettings {
    templates: Environment<'static>,
    pub(super) method: Method,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) success: Vec<u16>,
    /// JSON pointer of the provider's id in the answer.
    pub(super) id: Option<String>,
    /// JSON pointer of the reason in an answer that is no success.
    pub(super) error: Option<String>,
}

/// A request made for one message.
pub(super) struct Rendered {
    pub(super) url: Uri,
    pub(super) body: String,
}

impl GatewaySettings {
    /// The request of a message.
    pub(super) fn render(&self, sms: &Sms) -> Result<Rendered, String> {
        let values = minijinja::context! {
            message_id => sms.message_id, to => sms.to, from => sms.from, text => sms.text,
        };
        let make =
            |name: &str| self.templates.get_template(name).and_then(|template| template.render(&values)).map_err(|error| reason(&error));
        let url = make("url")?;
        let url = http_url("url", url.trim()).map_err(|error| format!("made the URL wrong: {}", error.reason))?;
        Ok(Rendered { url, body: make("body")? })
    }
}

/// The reason with its place, without the source that may hold credentials.
fn reason(error: &minijinja::Error) -> String {
    match error.line() {
        Some(line) => format!("{error} in line {line}"),
        None => error.to_string(),
    }
}

/// Reads the description of a gateway and, if it has one, of its callbacks.
pub(in crate::sms) fn parse(path: &str, value: &Value) -> Result<(GatewaySettings, Option<GatewayRules>), SettingsError> {
    let known = ["url", "method", "headers", "body", "content_type", "success", "id", "error", "callback"];
    let fields = Fields::of(value, path, &known)?;
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_auto_escape_callback(|_| AutoEscape::None);
    templates.set_fuel(Some(FUEL));
    let body = fields.text("body")?;
    for (name, source) in [("url", fields.required("url")?), ("body", body.unwrap_or_default())] {
        templates
            .add_template_owned(name, source.to_owned())
            .map_err(|error| refuse(fields.path(name), format!("is no template: {}", reason(&error))))?;
    }
    let method = match fields.text("method")?.unwrap_or("POST").to_ascii_uppercase().as_str() {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "GET" if body.is_none() => Method::GET,
        "GET" => return Err(refuse(fields.path("body"), "must be left out with GET")),
        _ => return Err(refuse(fields.path("method"), "must be one of POST, PUT, GET")),
    };
    let headers = headers(&fields)?;
    let content_type = match fields.text("content_type")? {
        Some(text) => Some(text.parse().map_err(|_| refuse(fields.path("content_type"), "must be visible ASCII"))?),
        None => None,
    };
    let success = success(&fields)?;
    let pointer = |name: &str| match fields.text(name)? {
        Some(text) if !text.starts_with('/') => Err(refuse(fields.path(name), "must be a JSON pointer such as /messages/0/id")),
        text => Ok(text.map(str::to_owned)),
    };
    let rules = fields.get("callback").map(|callback| GatewayRules::parse(&fields.path("callback"), callback)).transpose()?;
    let (id, error) = (pointer("id")?, pointer("error")?);
    let mut settings = GatewaySettings { templates, method, headers, content_type, success, id, error };
    // A message with everything that templates trip over: what works for it works for all.
    let sample = Sms {
        message_id: "msg_1".to_owned(),
        from: "+15551230000".to_owned(),
        to: "+15551230001".to_owned(),
        text: "Ünï \"quotes\" & more\n".to_owned(),
        test: true,
    };
    let made =
        settings.render(&sample).map_err(|reason| refuse(path, format!("has a template that fails for a sample message: {reason}")))?;
    if settings.content_type.is_none() && body.is_some() && !settings.headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
        let json = serde_json::from_str::<serde::de::IgnoredAny>(&made.body).is_ok();
        let guess = if json { "application/json" } else { "application/x-www-form-urlencoded" };
        settings.content_type = Some(HeaderValue::from_static(guess));
    }
    Ok((settings, rules))
}

fn headers(fields: &Fields<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, SettingsError> {
    let Some(value) = fields.get("headers") else { return Ok(Vec::new()) };
    let path = fields.path("headers");
    let map = value.as_object().ok_or_else(|| refuse(&path, "must be a table of texts"))?;
    map.iter()
        .map(|(name, value)| {
            let field = format!("{path}.{name}");
            let text = value.as_str().ok_or_else(|| refuse(&field, "must be a text"))?;
            let name = name.parse().map_err(|_| refuse(&field, "is no name of a header"))?;
            let mut value: HeaderValue = text.parse().map_err(|_| refuse(&field, "must be visible ASCII"))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

fn success(fields: &Fields<'_>) -> Result<Vec<u16>, SettingsError> {
    let Some(value) = fields.get("success") else { return Ok(SUCCESS.collect()) };
    let wrong = || refuse(fields.path("success"), "must be a list of HTTP statuses such as [200, 202]");
    let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
    let status = |value: &Value| value.as_u64().and_then(|status| u16::try_from(status).ok()).filter(|status| (100..600).contains(status));
    list.iter().map(|value| status(value).ok_or_else(wrong)).collect()
}
