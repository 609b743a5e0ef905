//! Keys as the vendors' clients present them. One key model: a credential is a key's token, or a key's id beside it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Extensions, HeaderMap, header};
use posthaste_domain::people::Actor;
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::{Engine, Entry};

/// A caller that code of this process vouches for: it stands in the extensions of a request where others present a key. Nothing that comes
/// over the network can carry one.
#[derive(Clone)]
pub struct Insider {
    key: Arc<Entry<Key>>,
    actor: Actor,
}

impl Insider {
    /// Somebody who may do this in a workspace.
    pub fn new(workspace: i64, scopes: Vec<Scope>, actor: Actor) -> Self {
        let doc = Key {
            kind: KeyKind::Private,
            description: actor.label().to_owned(),
            scopes,
            allowed_domains: Vec::new(),
            token_hash: String::new(),
            token_hint: String::new(),
            secret: None,
        };
        let id = actor.id().unwrap_or_default().to_owned();
        Self { key: Arc::new(Entry { number: 0, id, workspace, version: 0, created_ms: 0, updated_ms: 0, doc }), actor }
    }
}

/// What an insider has in the place of a key.
pub fn insider(extensions: &Extensions) -> Option<Arc<Entry<Key>>> {
    extensions.get::<Insider>().map(|insider| Arc::clone(&insider.key))
}

/// The engine in the hands of whoever sent a request: what is changed through it is recorded as theirs.
pub fn hand(engine: &Engine, extensions: &Extensions, key: &Entry<Key>) -> Engine {
    match extensions.get::<Insider>() {
        Some(insider) => engine.by(insider.actor.clone()),
        None => engine.by_key(key),
    }
}

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
