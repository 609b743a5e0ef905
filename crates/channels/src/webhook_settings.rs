//! Settings of the `webhook` channel: `{"url", "method"?, "headers"?, "auth"?, "http_version"?}`, `auth` being one of `basic`, `bearer` and [`oauth2`](crate::oauth2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde_json::Value;

use crate::oauth2::OAuth2Settings;
use crate::settings::{Fields, http_url, looks_secret, pointer_step, refuse, without_nulls};
use crate::{CheckedSettings, SettingsError};

/// Headers of one's own at most.
const MAX_HEADERS: usize = 50;
/// Length of a header value at most.
const MAX_HEADER_VALUE: usize = 4096;

const METHODS: [Method; 5] = [Method::POST, Method::PUT, Method::DELETE, Method::GET, Method::PATCH];

/// Names that the connection, or the wire format, owns (RFC 9110 section 7.6.1 and what governs message framing).
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a webhook needs to be sent.
pub(crate) struct WebhookSettings {
    pub(crate) uri: Uri,
    pub(crate) method: Method,
    /// Own headers and credentials; secret ones are marked sensitive.
    pub(crate) headers: HeaderMap,
    /// Where access tokens come from.
    pub(crate) oauth2: Option<OAuth2Settings>,
    /// Whether HTTP/2 is not to be spoken even where it is offered.
    pub(crate) is_http1_only: bool,
    /// JSON pointers to the secrets.
    secrets: Vec<String>,
}

/// Checks settings and names their secrets.
pub(crate) fn check(settings: &Value) -> Result<CheckedSettings, SettingsError> {
    let parsed = parse(settings)?;
    let mut normal = without_nulls(settings);
    if let Some(method) = normal.get_mut("method") {
        *method = Value::from(parsed.method.as_str());
    }
    Ok(CheckedSettings { settings: normal, secrets: parsed.secrets })
}

/// Reads settings.
pub(crate) fn parse(settings: &Value) -> Result<WebhookSettings, SettingsError> {
    let fields = Fields::of(settings, "settings", &["url", "method", "headers", "auth", "http_version"])?;
    let uri = http_url(&fields.path("url"), fields.required("url")?)?;
    let method = match fields.text("method")? {
        None => Method::POST,
        Some(name) => METHODS
            .into_iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| refuse(fields.path("method"), "must be one of POST, PUT, DELETE, GET, PATCH"))?,
    };
    let is_http1_only = match fields.text("http_version")? {
        None => false,
        Some("1.1") => true,
        Some(_) => return Err(refuse(fields.path("http_version"), "must be \"1.1\", or left out")),
    };
    let mut parsed = WebhookSettings { uri, method, headers: HeaderMap::new(), oauth2: None, is_http1_only, secrets: Vec::new() };
    if let Some(headers) = fields.get("headers") {
        parsed.add_headers(headers)?;
    }
    if let Some(auth) = fields.get("auth") {
        parsed.add_auth(auth)?;
    }
    Ok(parsed)
}

impl WebhookSettings {
    fn add_headers(&mut self, headers: &Value) -> Result<(), SettingsError> {
        let map = headers.as_object().ok_or_else(|| refuse("settings.headers", "must be an object of names and values"))?;
        if map.len() > MAX_HEADERS {
            return Err(refuse("settings.headers", format!("must not be more than {MAX_HEADERS}")));
        }
        for (name, value) in map {
            let field = format!("settings.headers.{name}");
            let value = value.as_str().ok_or_else(|| refuse(&field, "must be a text"))?;
            let header: HeaderName = name.parse().map_err(|_| refuse(&field, "is not a valid header name"))?;
            if RESERVED.contains(&header.as_str()) || header.as_str().starts_with("webhook-") {
                return Err(refuse(&field, "is set by the server and cannot be chosen"));
            }
            let mut value = header_value(&field, value)?;
            if looks_secret(header.as_str()) {
                value.set_sensitive(true);
                self.secrets.push(format!("/headers/{}", pointer_step(name)));
            }
            if self.headers.insert(header, value).is_some() {
                return Err(refuse(&field, "is given twice"));
            }
        }
        Ok(())
    }

    fn add_auth(&mut self, auth: &Value) -> Result<(), SettingsError> {
        let fields = Fields::of(auth, "settings.auth", &["basic", "bearer", "oauth2"])?;
        if self.headers.contains_key(header::AUTHORIZATION) {
            return Err(refuse("settings.auth", "cannot be combined with an authorization header"));
        }
        let (text, pointer) = match (fields.get("basic"), fields.text("bearer")?, fields.get("oauth2")) {
            (None, None, Some(oauth2)) => {
                let mut oauth2 = OAuth2Settings::parse(oauth2)?;
                self.secrets.append(&mut oauth2.secrets);
                self.oauth2 = Some(oauth2);
                // The token takes its place in each try.
                ("Bearer".to_owned(), None)
            }
            (Some(basic), None, None) => {
                let basic = Fields::of(basic, "settings.auth.basic", &["username", "password"])?;
                let username = basic.required("username")?;
                if username.contains(':') {
                    return Err(refuse(basic.path("username"), "must not contain a colon"));
                }
                let password = match basic.get("password") {
                    None => "",
                    Some(password) => password.as_str().ok_or_else(|| refuse(basic.path("password"), "must be a text"))?,
                };
                if [username, password].iter().any(|part| part.chars().any(char::is_control)) {
                    return Err(refuse("settings.auth.basic", "must not contain control characters"));
                }
                (format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))), Some("/auth/basic/password"))
            }
            (None, Some(token), None) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                (format!("Bearer {token}"), Some("/auth/bearer"))
            }
            (None, Some(_), None) => return Err(refuse("settings.auth.bearer", "must be visible ASCII without spaces")),
            _ => return Err(refuse("settings.auth", "must hold one of basic, bearer and oauth2")),
        };
        let mut value = header_value("settings.auth", &text)?;
        value.set_sensitive(true);
        self.headers.insert(header::AUTHORIZATION, value);
        self.secrets.extend(pointer.map(str::to_owned));
        Ok(())
    }
}

/// Visible ASCII with inner spaces: nothing that could end the line or be read differently by another parser.
fn header_value(field: &str, text: &str) -> Result<HeaderValue, SettingsError> {
    if text.len() > MAX_HEADER_VALUE {
        return Err(refuse(field, format!("must not be longer than {MAX_HEADER_VALUE} characters")));
    }
    if text.trim() != text || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(refuse(field, "must be visible ASCII, without spaces around"));
    }
    HeaderValue::from_str(text).map_err(|_| refuse(field, "is not a valid header value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reason(settings: Value) -> String {
        match check(&settings) {
            Ok(_) => panic!("{settings} must be refused"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn oauth2_names_its_secrets_and_its_faults() {
        let body = json!({"client_id": "me", "client_secret": "s", "grant_type": "client_credentials", "n/m": 7});
        let settings =
            json!({"url": "http://a", "auth": {"oauth2": {"url": "https://t.example/token", "body": body, "access_token": "t"}}});
        let checked = check(&settings).expect("good settings");
        let secrets = ["/auth/oauth2/body/client_secret", "/auth/oauth2/body/n~1m", "/auth/oauth2/access_token"];
        assert_eq!(checked.secrets, secrets);
        assert!(secrets.iter().all(|pointer| settings.pointer(pointer).is_some()));
        let refused = |oauth2: Value| reason(json!({"url": "http://a", "auth": {"oauth2": oauth2}}));
        assert_eq!(refused(json!({"body": {"a": "b"}})), "settings.auth.oauth2.url: is required");
        assert!(refused(json!({"url": "ftp://x", "body": {"a": "b"}})).starts_with("settings.auth.oauth2.url"));
        assert_eq!(refused(json!({"url": "http://x"})), "settings.auth.oauth2.body: is required");
        assert!(refused(json!({"url": "http://x", "body": {}})).starts_with("settings.auth.oauth2.body: must have"));
        assert!(refused(json!({"url": "http://x", "body": {"a": []}})).starts_with("settings.auth.oauth2.body.a"));
        let spaced = json!({"url": "http://x", "body": {"a": "b"}, "access_token": "a b"});
        assert!(refused(spaced).starts_with("settings.auth.oauth2.access_token"));
        let both = json!({"url": "http://a", "auth": {"bearer": "x", "oauth2": {"url": "http://x", "body": {"a": "b"}}}});
        assert_eq!(reason(both), "settings.auth: must hold one of basic, bearer and oauth2");
    }

    #[test]
    fn normalises_and_points_at_secrets() {
        let settings = json!({
            "url": "https://a.example/hook", "method": "put", "auth": {"basic": {"username": "u", "password": "p"}},
            "headers": {"X-Api-Key": "k", "X-Plain": "v", "My~Token": "t"}
        });
        let checked = check(&settings).expect("good settings");
        assert_eq!(checked.settings["method"], "PUT");
        assert_eq!(checked.secrets, ["/headers/X-Api-Key", "/headers/My~0Token", "/auth/basic/password"]);
        assert!(checked.secrets.iter().all(|pointer| settings.pointer(pointer).is_some()));
        let again = check(&checked.settings).expect("what was normalised is good");
        assert_eq!(again, checked);
        assert_eq!(check(&json!({"url": "http://a", "auth": null})).expect("null").settings, json!({"url": "http://a"}));
    }

    /// Header injection: no value can end its line, no name can be smuggled in.
    #[test]
    fn refuses_what_could_break_the_request() {
        for (name, value) in [
            ("X-A", "a\r\nX-B: c"),
            ("X-A", "a\nb"),
            ("X-A", "a\u{0}"),
            ("X-A", "\u{7f}"),
            ("X-A", "é"),
            ("X-A", " a"),
            ("X A", "a"),
            ("X-A:", "a"),
            ("X-A\r\nX-B", "a"),
            ("", "a"),
        ] {
            let text = reason(json!({"url": "http://a", "headers": {name: value}}));
            assert!(text.starts_with(&format!("settings.headers.{name}: ")), "{text}");
        }
        for name in ["Host", "content-length", "Transfer-Encoding", "Connection", "webhook-id", "Webhook-Signature", "TE", "Upgrade"] {
            assert!(reason(json!({"url": "http://a", "headers": {name: "x"}})).ends_with("cannot be chosen"), "{name}");
        }
        assert!(reason(json!({"url": "http://a", "headers": {"X-A": "1", "x-a": "2"}})).ends_with("given twice"));
        assert!(reason(json!({"url": "http://a", "auth": {"bearer": "a\r\nb"}})).starts_with("settings.auth.bearer"));
        assert!(reason(json!({"url": "http://a", "auth": {"basic": {"username": "a:b"}}})).contains("colon"));
        assert!(reason(json!({"url": "http://a", "auth": {}})).starts_with("settings.auth"));
        assert!(
            reason(json!({"url": "http://a", "auth": {"bearer": "x"}, "headers": {"Authorization": "y"}})).starts_with("settings.auth")
        );
        assert_eq!(reason(json!({"url": "http://a", "http_version": "2"})), "settings.http_version: must be \"1.1\", or left out");
        assert_eq!(reason(json!({"url": "http://a", "method": "BREW"})), "settings.method: must be one of POST, PUT, DELETE, GET, PATCH");
        assert_eq!(reason(json!({"url": "http://a", "header": {}})), "settings.header: unknown field; did you mean `headers`?");
        assert_eq!(reason(json!({})), "settings.url: is required");
        assert_eq!(reason(json!({"url": 7})), "settings.url: must be a text");
        assert_eq!(reason(json!([])), "settings: must be an object");
    }
}
