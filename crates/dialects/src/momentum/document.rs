//! A webhook as clients write it: reading it, merging changes into it, and its form as settings of a target.

use posthaste_channels::SettingsError;
use serde_json::{Map, Value, json};

use super::answer::Refusal;
use super::events::canonical;

/// Carries the webhook's token.
pub const TOKEN_HEADER: &str = "X-MessageSystems-Webhook-Token";

/// Custom headers of one webhook.
const MAX_HEADERS: usize = 5;
/// Characters of their names and values together have to be fewer.
const HEADER_CHARACTERS: usize = 3000;

/// A webhook as its owner wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Display label.
    pub name: String,
    /// Where batches go.
    pub target: String,
    /// Event keys, none twice.
    pub events: Vec<String>,
    /// Empty: none.
    pub auth_token: String,
    /// In their order.
    pub custom_headers: Vec<(String, String)>,
    /// How requests to the target prove who sends them.
    pub auth: Auth,
    /// Whether it collects and sends.
    pub active: bool,
}

/// `auth_type` with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// `none`.
    None,
    /// `basic`.
    Basic {
        /// Never empty.
        username: String,
        /// May be empty.
        password: String,
    },
    /// `oauth2`.
    OAuth2 {
        /// Where tokens come from.
        url: String,
        /// Form that is posted there.
        body: Map<String, Value>,
        /// The token, once it was fetched, and the seconds that it is good for.
        token: Option<(String, Option<u64>)>,
    },
}

impl Auth {
    /// The value of `auth_type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic { .. } => "basic",
            Self::OAuth2 { .. } => "oauth2",
        }
    }

    /// Whether both are made from the same words of the owner: tokens come and go.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OAuth2 { url, body, .. }, Self::OAuth2 { url: other_url, body: other_body, .. }) => {
                url == other_url && body == other_body
            }
            (a, b) => a == b,
        }
    }
}

/// Fields of a request. `null` counts as not given.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| Refusal::format(name, "must be a string"))).transpose()
    }

    fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Refusal> {
        self.get(name).map(|value| value.as_object().ok_or_else(|| Refusal::format(name, "must be an object"))).transpose()
    }
}

impl Webhook {
    /// A new webhook.
    pub fn create(body: &Map<String, Value>) -> Result<Self, Refusal> {
        Self::merge(None, body)
    }

    /// This one with the fields of a request changed. A field that is `null` stays as it is.
    pub fn update(&self, body: &Map<String, Value>) -> Result<Self, Refusal> {
        Self::merge(Some(self), body)
    }

    fn merge(base: Option<&Self>, body: &Map<String, Value>) -> Result<Self, Refusal> {
        let fields = Fields(body);
        let required = |name: &str, old: Option<&String>| match fields.text(name)? {
            Some(text) if text.trim().is_empty() => Err(Refusal::Missing(name.to_owned())),
            Some(text) => Ok(text.to_owned()),
            None => old.cloned().ok_or_else(|| Refusal::Missing(name.to_owned())),
        };
        let name = required("name", base.map(|base| &base.name))?;
        let target = required("target", base.map(|base| &base.target))?;
        let events = match (fields.get("events"), base) {
            (Some(events), _) => event_keys(events)?,
            (None, Some(base)) => base.events.clone(),
            (None, None) => return Err(Refusal::Missing("events".to_owned())),
        };
        let auth_token = match fields.text("auth_token")? {
            Some(token) => token.to_owned(),
            None => base.map(|base| base.auth_token.clone()).unwrap_or_default(),
        };
        let custom_headers = match (fields.object("custom_headers")?, base) {
            (Some(headers), _) => custom_headers(headers)?,
            (None, base) => base.map(|base| base.custom_headers.clone()).unwrap_or_default(),
        };
        let active = match fields.get("active") {
            Some(active) => active.as_bool().ok_or_else(|| Refusal::format("active", "must be true or false"))?,
            None => base.is_none_or(|base| base.active),
        };
        let auth = auth(base.map(|base| &base.auth), &fields)?;
        Ok(Self { name, target, events, auth_token, custom_headers, auth, active })
    }

    /// Whether batches of both carry the same to the same place.
    pub fn sends_like(&self, other: &Self) -> bool {
        self.target == other.target
            && self.events == other.events
            && self.auth_token == other.auth_token
            && self.custom_headers == other.custom_headers
            && self.auth.same(&other.auth)
    }

    /// Settings of the target, for the `webhook` channel.
    pub fn settings(&self) -> Value {
        let mut headers = Map::new();
        if !self.auth_token.is_empty() {
            headers.insert(TOKEN_HEADER.to_owned(), self.auth_token.as_str().into());
        }
        headers.extend(self.custom_headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        let auth = match &self.auth {
            Auth::None => Value::Null,
            Auth::Basic { username, password } => json!({ "basic": { "username": username, "password": password } }),
            Auth::OAuth2 { url, body, token: None } => json!({ "oauth2": { "url": url, "body": body } }),
            Auth::OAuth2 { url, body, token: Some((token, expires_in)) } => {
                json!({ "oauth2": { "url": url, "body": body, "access_token": token, "expires_in": expires_in } })
            }
        };
        json!({ "url": self.target, "headers": headers, "auth": auth })
    }

    /// The webhook of a target's settings.
    pub fn of(name: &str, events: &[String], active: bool, settings: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = settings["headers"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value)));
        let (tokens, custom_headers): (Vec<_>, Vec<_>) = headers.partition(|(name, _)| name == TOKEN_HEADER);
        let (basic, oauth2) = (&settings["auth"]["basic"], &settings["auth"]["oauth2"]);
        let auth = if basic.is_object() {
            Auth::Basic { username: text(&basic["username"]), password: text(&basic["password"]) }
        } else if oauth2.is_object() {
            let token = oauth2["access_token"].as_str().map(|token| (token.to_owned(), oauth2["expires_in"].as_u64()));
            Auth::OAuth2 { url: text(&oauth2["url"]), body: oauth2["body"].as_object().cloned().unwrap_or_default(), token }
        } else {
            Auth::None
        };
        Self {
            name: name.to_owned(),
            target: text(&settings["url"]),
            events: events.to_vec(),
            auth_token: tokens.into_iter().next().map(|(_, token)| token).unwrap_or_default(),
            custom_headers,
            auth,
            active,
        }
    }
}

fn event_keys(events: &Value) -> Result<Vec<String>, Refusal> {
    let events = events.as_array().ok_or_else(|| Refusal::format("events", "must be an array of event keys"))?;
    if events.is_empty() {
        return Err(Refusal::format("events", "must name at least one event"));
    }
    let mut keys: Vec<String> = Vec::with_capacity(events.len());
    for (place, event) in events.iter().enumerate() {
        let key = event.as_str().and_then(canonical).ok_or_else(|| Refusal::format(format!("events[{place}]"), "is no known event key"))?;
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }
    Ok(keys)
}

fn custom_headers(headers: &Map<String, Value>) -> Result<Vec<(String, String)>, Refusal> {
    if headers.len() > MAX_HEADERS {
        return Err(Refusal::format("custom_headers", format!("must not hold more than {MAX_HEADERS} headers")));
    }
    let mut list = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let field = || format!("custom_headers.{name}");
        let value = value.as_str().ok_or_else(|| Refusal::format(field(), "must be a string"))?;
        if name.to_ascii_lowercase().starts_with("x-messagesystems-") {
            return Err(Refusal::format(field(), "is set by the server and cannot be chosen"));
        }
        list.push((name.clone(), value.to_owned()));
    }
    let characters: usize = list.iter().map(|(name, value)| name.len() + value.len()).sum();
    if characters >= HEADER_CHARACTERS {
        return Err(Refusal::format("custom_headers", format!("must hold fewer than {HEADER_CHARACTERS} bytes")));
    }
    Ok(list)
}

fn auth(old: Option<&Auth>, fields: &Fields<'_>) -> Result<Auth, Refusal> {
    let missing = |field: &str| Refusal::Missing(field.to_owned());
    match fields.text("auth_type")?.or(old.map(Auth::name)).unwrap_or("none") {
        "none" => Ok(Auth::None),
        "basic" => {
            let Some(given) = fields.object("auth_credentials")? else {
                return old.filter(|old| matches!(old, Auth::Basic { .. })).cloned().ok_or_else(|| missing("auth_credentials.username"));
            };
            let text = |name: &str| match given.get(name) {
                None | Some(Value::Null) => Ok(""),
                Some(value) => value.as_str().ok_or_else(|| Refusal::format(format!("auth_credentials.{name}"), "must be a string")),
            };
            let (username, password) = (text("username")?, text("password")?);
            if username.is_empty() {
                return Err(missing("auth_credentials.username"));
            }
            Ok(Auth::Basic { username: username.to_owned(), password: password.to_owned() })
        }
        "oauth2" => {
            let Some(given) = fields.object("auth_request_details")? else {
                return old.filter(|old| matches!(old, Auth::OAuth2 { .. })).cloned().ok_or_else(|| missing("auth_request_details"));
            };
            let url = match given.get("url") {
                None | Some(Value::Null) => return Err(missing("auth_request_details.url")),
                Some(url) => url.as_str().ok_or_else(|| Refusal::format("auth_request_details.url", "must be a string"))?,
            };
            let body = match given.get("body") {
                None | Some(Value::Null) => return Err(missing("auth_request_details.body")),
                Some(body) => body.as_object().ok_or_else(|| Refusal::format("auth_request_details.body", "must be an object"))?,
            };
            let new = Auth::OAuth2 { url: url.to_owned(), body: body.clone(), token: None };
            Ok(old.filter(|old| old.same(&new)).cloned().unwrap_or(new))
        }
        _ => Err(Refusal::format("auth_type", "must be none, basic or oauth2")),
    }
}

/// A fault in a target's settings, in the words of the webhook.
pub fn refused_settings(field: &str, reason: &str) -> Refusal {
    let inner = field.strip_prefix("settings.").unwrap_or(field);
    let ours = if inner == "url" {
        "target".to_owned()
    } else if inner == format!("headers.{TOKEN_HEADER}") {
        "auth_token".to_owned()
    } else if let Some(header) = inner.strip_prefix("headers.") {
        format!("custom_headers.{header}")
    } else if let Some(rest) = inner.strip_prefix("auth.basic") {
        format!("auth_credentials{rest}")
    } else if let Some(rest) = inner.strip_prefix("auth.oauth2") {
        format!("auth_request_details{rest}")
    } else if inner == "auth" {
        "custom_headers.Authorization".to_owned()
    } else {
        inner.to_owned()
    };
    Refusal::format(ours, reason)
}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        refused_settings(&error.field, &error.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(body: Value) -> Result<Webhook, Refusal> {
        Webhook::create(body.as_object().unwrap())
    }

    fn minimal() -> Value {
        json!({"name": "n", "target": "https://a.example/", "events": ["bounce"]})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = minimal();
        body[field] = value;
        body
    }

    fn field(body: Value) -> String {
        match create(body.clone()).expect_err(&body.to_string()) {
            Refusal::Missing(field) => format!("missing {field}"),
            Refusal::Format { field, .. } => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let webhook = create(minimal()).unwrap();
        assert_eq!((webhook.auth_token.as_str(), webhook.active, &webhook.auth), ("", true, &Auth::None));
        assert_eq!(webhook.settings(), json!({"url": "https://a.example/", "headers": {}, "auth": null}));
        assert_eq!(create(with("auth_token", Value::Null)), Ok(webhook.clone()));
        assert_eq!(
            create(with("events", json!(["rejection", "bounce", "policy_rejection"]))).unwrap().events,
            ["policy_rejection", "bounce"]
        );
        assert_eq!(Webhook::of("n", &webhook.events, true, &webhook.settings()), webhook);
    }

    // MOMENTUM-16, MOMENTUM-17, MOMENTUM-18, MOMENTUM-19, MOMENTUM-82, MOMENTUM-83: the rules; the answers are in tests/momentum.
    #[test]
    fn faults_are_named() {
        for name in ["name", "target", "events"] {
            let mut body = minimal();
            body.as_object_mut().unwrap().remove(name);
            assert_eq!(field(body), format!("missing {name}"));
        }
        assert_eq!(field(with("name", json!(" "))), "missing name");
        assert_eq!(field(with("name", json!(7))), "name");
        assert_eq!(field(with("events", json!([]))), "events");
        assert_eq!(field(with("events", json!("bounce"))), "events");
        assert_eq!(field(with("events", json!(["bounce", "Bounce"]))), "events[1]");
        assert_eq!(field(with("active", json!("yes"))), "active");
        assert_eq!(field(with("auth_type", json!("digest"))), "auth_type");
        assert_eq!(field(with("auth_type", json!("basic"))), "missing auth_credentials.username");
        assert_eq!(field(with("auth_type", json!("oauth2"))), "missing auth_request_details");
        assert_eq!(field(with("custom_headers", json!({"a": 1}))), "custom_headers.a");
        assert_eq!(
            field(with("custom_headers", json!({"X-MessageSystems-Webhook-Token": "a"}))),
            "custom_headers.X-MessageSystems-Webhook-Token"
        );
        let six: Map<String, Value> = (0..6).map(|i| (format!("x-{i}"), json!("v"))).collect();
        assert_eq!(field(with("custom_headers", six.into())), "custom_headers");
        assert_eq!(field(with("custom_headers", json!({"x-a": "v".repeat(2997)}))), "custom_headers");
        assert!(create(with("custom_headers", json!({"x-a": "v".repeat(2996)}))).is_ok());
    }

    #[test]
    fn changes_are_merged_into_what_was_there() {
        let mut body = with("auth_type", json!("basic"));
        body["auth_credentials"] = json!({"username": "u"});
        body["auth_token"] = json!("t");
        let old = create(body).unwrap();
        let change = |body: Value| old.update(body.as_object().unwrap()).unwrap();
        assert_eq!(change(json!({})), old);
        assert!(change(json!({"name": "m", "active": false})).sends_like(&old));
        for changed in
            [json!({"auth_token": ""}), json!({"auth_type": "none"}), json!({"events": ["delay"]}), json!({"target": "http://b"})]
        {
            assert!(!change(changed.clone()).sends_like(&old), "{changed}");
        }
        let new = change(json!({"auth_credentials": {"username": "u", "password": "p"}, "auth_type": "basic"}));
        assert_eq!(new.auth, Auth::Basic { username: "u".into(), password: "p".into() });
        assert_eq!(Webhook::of("n", &new.events, true, &new.settings()), new);
    }

    #[test]
    fn a_token_stays_while_its_source_is_the_same() {
        let details = json!({"url": "https://t.example/", "body": {"client_id": "a"}});
        let mut body = with("auth_type", json!("oauth2"));
        body["auth_request_details"] = details.clone();
        let mut old = create(body).unwrap();
        let Auth::OAuth2 { token, .. } = &mut old.auth else { panic!() };
        *token = Some(("t".into(), Some(60)));
        let same =
            old.update(json!({"auth_request_details": details, "auth_credentials": {"access_token": "x"}}).as_object().unwrap()).unwrap();
        assert_eq!(same, old);
        assert_eq!(Webhook::of("n", &old.events, true, &old.settings()), old);
        let other = json!({"auth_request_details": {"url": "https://t.example/", "body": {"client_id": "b"}}});
        assert!(!old.update(other.as_object().unwrap()).unwrap().sends_like(&old));
    }

    #[test]
    fn faults_of_settings_are_told_in_the_webhooks_words() {
        for (field, expected) in [
            ("settings.url", "target"),
            ("settings.headers.X-MessageSystems-Webhook-Token", "auth_token"),
            ("settings.headers.Host", "custom_headers.Host"),
            ("settings.auth.basic.username", "auth_credentials.username"),
            ("settings.auth.oauth2.url", "auth_request_details.url"),
            ("settings.auth", "custom_headers.Authorization"),
        ] {
            assert_eq!(refused_settings(field, "x"), Refusal::format(expected, "x"));
        }
    }
}
