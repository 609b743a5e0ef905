//! The webhooks API: of a domain in its older ([`v3`]) and newer form ([`v4`]), of the whole account ([`v1`]), and the test call.

mod store;
mod test_call;
mod v1;
mod v3;
mod v4;

use axum::Router;
use axum::routing::{get, put};
use http::Uri;
use serde_json::{Map, Value, json};

use super::MailgunState;
use super::answer::Refusal;
use super::names::{Name, successor};
use store::Hook;

/// The routes of the webhooks API.
pub(super) fn router() -> Router<MailgunState> {
    Router::new()
        .route("/v3/domains/{domain}/webhooks", get(v3::list).post(v3::create).put(v4::replace).delete(v4::remove))
        .route("/v3/domains/{domain}/webhooks/{name}", get(v3::show).put(v3::update).delete(v3::remove))
        .route("/v3/domains/{domain}/webhooks/{name}/test", put(test_call::send))
        .route("/v4/domains/{domain}/webhooks", axum::routing::post(v4::add).put(v4::replace).delete(v4::remove))
        .route("/v1/webhooks", get(v1::list).post(v1::create).delete(v1::remove_many))
        .route("/v1/webhooks/{id}", get(v1::show).put(v1::update).delete(v1::remove))
}

/// Checks a URL: absolute, `http` or `https`, with a host. No name is looked up: receivers may have local names (O-4).
///
/// # Errors
/// What is wrong with it, in the words of the documents.
fn check_url(url: &str) -> Result<(), String> {
    let complaint = |tail: &str| Err(format!("{url} is not a valid url: {tail}"));
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return complaint("invalid URL scheme");
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return complaint("characters other than printable ASCII are written with %, and host names in their xn-- form");
    }
    match url.parse::<Uri>() {
        Ok(parsed) if parsed.scheme().is_some() && parsed.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        Ok(_) => complaint("host not found"),
        Err(error) => complaint(&error.to_string()),
    }
}

/// A name that webhooks may be made of.
///
/// # Errors
/// What to say of a name that is unknown, or read-only since April 15, 2023.
fn writable_name(text: &str) -> Result<Name, String> {
    Name::of(text).ok_or_else(|| match successor(text) {
        Some(name) => format!("webhook '{text}' is read-only, use '{}'", name.text()),
        None => format!("'{text}' is not a webhook name"),
    })
}

/// URLs of a name of a domain, in their order.
fn urls_of(hooks: &[Hook], domain: &str, name: Name) -> Vec<String> {
    hooks.iter().filter(|hook| hook.is_of(domain) && hook.name == name).map(|hook| hook.url.clone()).collect()
}

/// `{"urls": […]}`.
fn urls_value(urls: &[String]) -> Value {
    json!({ "urls": urls })
}

/// The names of a domain with their URLs; names without any are left out, or `null` if `all` are asked for.
fn webhooks_value(hooks: &[Hook], domain: &str, all: bool) -> Value {
    let mut webhooks = Map::new();
    for name in Name::ALL {
        let urls = urls_of(hooks, domain, name);
        match urls.is_empty() {
            false => webhooks.insert(name.text().to_owned(), urls_value(&urls)),
            true if all => webhooks.insert(name.text().to_owned(), Value::Null),
            true => None,
        };
    }
    json!({ "webhooks": webhooks })
}

/// The values of a parameter, each once.
fn distinct(values: Vec<&str>) -> Vec<&str> {
    let mut kept: Vec<&str> = Vec::new();
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// The refusal of one URL too many.
fn too_many_urls(limit: usize, name: Name) -> String {
    format!("unable to add more than {limit} urls for event type {}", name.text())
}

/// The one value that a parameter must have.
fn one<'a>(values: &[&'a str], name: &str) -> Result<&'a str, Refusal> {
    match values {
        [value] if !value.trim().is_empty() => Ok(value),
        [] | [_] => Err(Refusal::bad(format!("Missing parameter '{name}'"))),
        _ => Err(Refusal::bad(format!("Only one '{name}' is allowed in a request"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // MAILGUN-25
    #[test]
    fn urls_are_absolute_and_have_a_host() {
        for good in ["http://a", "https://a.test:8443/x?y=z", "HTTP://LOCALHOST/", "http://[::1]:1/", "http://10.0.0.1/"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for (bad, tail) in [
            ("ftp://a/", "invalid URL scheme"),
            ("/hook", "invalid URL scheme"),
            ("a.test", "invalid URL scheme"),
            ("", "invalid URL scheme"),
        ] {
            assert_eq!(check_url(bad), Err(format!("{bad} is not a valid url: {tail}")));
        }
        for bad in ["http://", "http:///x", "http:a", "https://a b/"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn read_only_names_tell_their_successors() {
        assert_eq!(writable_name("clicked"), Ok(Name::Clicked));
        assert_eq!(writable_name("bounce"), Err("webhook 'bounce' is read-only, use 'permanent_fail'".to_owned()));
        assert_eq!(writable_name("rejected"), Err("'rejected' is not a webhook name".to_owned()));
    }
}
