//! Reading settings as people write them: every refusal names the field, every unknown field is refused with a suggestion.

use http::Uri;
use serde_json::{Map, Value};

use crate::SettingsError;

/// The longest URL that is taken, in characters.
pub(crate) const MAX_URL: usize = 2048;
/// The longest URL that a wire format can make, in characters.
const MAX_MADE_URL: usize = 60_000;

/// An object of known fields. `null` counts as not given.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
}

/// The error of one field.
pub(crate) fn refuse(field: impl Into<String>, reason: impl Into<String>) -> SettingsError {
    SettingsError { field: field.into(), reason: reason.into() }
}

impl<'a> Fields<'a> {
    /// Takes `value` apart; `path` is its place, e.g. `settings.auth`.
    pub(crate) fn of(value: &'a Value, path: &'a str, known: &[&str]) -> Result<Self, SettingsError> {
        let map = value.as_object().ok_or_else(|| refuse(path, "must be an object"))?;
        if let Some(unknown) = map.keys().find(|name| !known.contains(&name.as_str())) {
            let reason = match closest(unknown, known) {
                Some(guess) => format!("unknown field; did you mean `{guess}`?"),
                None => format!("unknown field; known are {}", known.join(", ")),
            };
            return Err(refuse(format!("{path}.{unknown}"), reason));
        }
        Ok(Self { map, path })
    }

    /// The place of a field, e.g. `settings.auth.bearer`.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// A field, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A text that is not empty, if it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, SettingsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Err(refuse(self.path(name), "must not be empty")),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(refuse(self.path(name), "must be a text")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, SettingsError> {
        self.text(name)?.ok_or_else(|| refuse(self.path(name), "is required"))
    }
}

/// A copy of an object without the fields that are `null`.
pub(crate) fn without_nulls(settings: &Value) -> Value {
    match settings {
        Value::Object(map) => Value::Object(map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()),
        other => other.clone(),
    }
}

/// An absolute `http` or `https` URL without user and password.
pub(crate) fn http_url(field: &str, text: &str) -> Result<Uri, SettingsError> {
    if text.len() > MAX_URL {
        return Err(refuse(field, "must not be longer than 2048 characters"));
    }
    absolute_url(field, text)
}

/// As [`http_url`], for a URL that a wire format made: it may hold what an event says, and so be longer.
pub(crate) fn absolute_url(field: &str, text: &str) -> Result<Uri, SettingsError> {
    let error = |reason: &str| refuse(field, reason);
    if text.len() > MAX_MADE_URL {
        return Err(error("must not be longer than 60000 characters"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(error("must be printable ASCII; write international host names in their xn-- form and encode the rest with %"));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| error("must be a URL that begins with http:// or https://"))?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(error("must begin with http:// or https://"));
    }
    let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|_| error("is not a valid URL"))?;
    let authority = uri.authority().ok_or_else(|| error("has no host"))?;
    if authority.as_str().contains('@') {
        return Err(error("must not contain a user name or password"));
    }
    let host = authority.host();
    if host.is_empty() || host == "[]" {
        return Err(error("has no host"));
    }
    if authority.as_str() != host && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(error("has an invalid port"));
    }
    Ok(uri)
}

/// Whether the name of a header or query parameter says that its value is a secret.
pub(crate) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("key")
        || ["authorization", "token", "secret", "password", "passwd", "cookie", "credential", "signature"]
            .iter()
            .any(|word| name.contains(word))
}

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "[masked]";

/// Path and query of a URL with secret-looking parameters masked.
pub(crate) fn masked_path(uri: &Uri) -> String {
    let mut text = uri.path().to_owned();
    for (place, parameter) in uri.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if place == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if looks_secret(name) => {
                text.push_str(name);
                text.push('=');
                text.push_str(MASK);
            }
            _ => text.push_str(parameter),
        }
    }
    text
}

/// A step of a JSON pointer (RFC 6901).
pub(crate) fn pointer_step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The known name that `name` most likely was meant to be.
fn closest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let wanted = plain(name);
    let (distance, guess) = known.iter().map(|known| (edits(&wanted, &plain(known)), *known)).min()?;
    (distance <= 2 && distance < wanted.len().max(2)).then_some(guess)
}

/// Single-character insertions, deletions and replacements between two texts.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_named_with_a_suggestion() {
        let reason = |name: &str| match Fields::of(&json!({ name: 1 }), "settings", &["url", "method", "headers"]) {
            Ok(_) => panic!("{name} must be refused"),
            Err(error) => error.to_string(),
        };
        assert_eq!(reason("uri"), "settings.uri: unknown field; did you mean `url`?");
        assert_eq!(reason("Header"), "settings.Header: unknown field; did you mean `headers`?");
        assert_eq!(reason("colour"), "settings.colour: unknown field; known are url, method, headers");
    }

    #[test]
    fn urls_are_http_with_a_host_and_no_user() {
        for good in ["http://a", "https://a.example:8443/x?y=%20z", "HTTP://A/", "http://[::1]:80/", "http://127.1/"] {
            assert!(http_url("url", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a.example/x",
            "ftp://a",
            "//a",
            "http://",
            "http:///x",
            "http://u:p@a/",
            "http://u@a",
            "http://a:0/",
            "http://a:99999/",
            "http://a:/",
            "http://a b/",
            "http://a/\r\nx",
            "http://münchen.example/",
            "http://[]/",
            "file:///etc/passwd",
            "http://a\\@b/",
        ] {
            assert!(http_url("url", bad).is_err(), "{bad}");
        }
        assert!(http_url("url", &format!("http://a/{}", "x".repeat(MAX_URL))).is_err());
    }

    #[test]
    fn secrets_in_queries_are_masked() {
        let uri = "http://a/p?x=1&api_key=abc&access_token=d=e&flag".parse().expect("uri");
        assert_eq!(masked_path(&uri), "/p?x=1&api_key=[masked]&access_token=[masked]&flag");
    }
}
