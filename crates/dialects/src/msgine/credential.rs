//! Where the key may be (MsGine 2): `X-Api-Key`, `Authorization: Bearer KEY`, or `Authorization: KEY` as SDK 1 sends it.

use http::{HeaderMap, HeaderName, header};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The presented key. `X-Api-Key` wins even if what it holds is no good key; an empty header is no header.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|text| !text.is_empty());
    text(API_KEY).or_else(|| text(header::AUTHORIZATION).map(without_scheme))
}

fn without_scheme(text: &str) -> &str {
    match text.split_once(char::is_whitespace) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // MSGINE-1, MSGINE-2, MSGINE-3: the forms; that they work is shown over HTTP.
    #[test]
    fn a_key_is_found_in_every_form() {
        for (sent, found) in [
            (&[("authorization", "Bearer k")][..], Some("k")),
            (&[("authorization", "bEARER   k ")], Some("k")),
            (&[("authorization", "k")], Some("k")),
            (&[("x-api-key", "k")], Some("k")),
            (&[("x-api-key", "k"), ("authorization", "Bearer other")], Some("k")),
            (&[("x-api-key", " "), ("authorization", "Bearer k")], Some("k")),
            (&[("authorization", "Basic k")], Some("Basic k")),
            (&[("authorization", "Bearer")], Some("Bearer")),
            (&[("authorization", "")], None),
            (&[], None),
        ] {
            let headers = sent.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect();
            assert_eq!(token(&headers), found, "{sent:?}");
        }
    }
}
