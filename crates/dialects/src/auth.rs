//! Keys as the vendors' clients present them. One key model: a credential is a key's token, or a key's id beside it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::{Engine, Entry};

/// The private key of a token.
pub fn private_key(engine: &Engine, token: &str) -> Option<Arc<Entry<Key>>> {
    engine.find_key(token).filter(|key| key.doc.kind == KeyKind::Private)
}

/// Whether a key may do something.
pub fn may(key: &Key, scope: Scope) -> bool {
    key.scopes.iter().any(|own| *own == scope || *own == Scope::Admin)
}

/// The text of `Authorization`, if it is there and visible ASCII.
pub fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok().map(str::trim)
}

/// What follows a scheme word, which is compared without case (RFC 9110 section 11.1).
pub fn after_scheme<'a>(authorization: &'a str, scheme: &str) -> Option<&'a str> {
    let (word, rest) = authorization.split_once(' ')?;
    word.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// User and password of Basic credentials (RFC 7617).
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = after_scheme(authorization(headers)?, "Basic")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn basic_credentials_are_split_at_the_first_colon() {
        let credentials = |value: &str| basic(&headers(value));
        assert_eq!(credentials("Basic YXBpOmtleTpi"), Some(("api".into(), "key:b".into())));
        assert_eq!(credentials("basic  a2V5Og=="), Some(("key".into(), String::new())));
        for bad in ["Basic", "Basic !!", "Bearer YXBpOmtleQ==", "Basic a2V5", "Basic /w=="] {
            assert_eq!(credentials(bad), None, "{bad}");
        }
        assert_eq!(basic(&HeaderMap::new()), None);
    }

    #[test]
    fn scheme_words_have_no_case() {
        assert_eq!(after_scheme("BEARER  t", "bearer"), Some("t"));
        assert_eq!(after_scheme("t", "bearer"), None);
    }
}
