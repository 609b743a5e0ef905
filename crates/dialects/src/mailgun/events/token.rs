//! Page tokens: a query and a place in its walk, in one URL-safe word without `/`.
//!
//! Nothing is kept on the server: whoever has a token can come back with it at any time, and is answered by what is there then. Tokens
//! say nothing of domain or workspace, which come from the request, so one that was made up opens nothing. The check at their beginning
//! is there to tell apart a token that was cut or mistyped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posthaste_domain::signature::hmac_sha256;
use serde::{Deserialize, Serialize};

use super::fields::Field;
use super::query::{MAX_LIMIT, Query};

/// Longest token that is read.
const MAX_BYTES: usize = 64 << 10;
/// Bytes of the check.
const CHECK: usize = 6;

/// A place in a walk through the events. Numbers are sequences in the journal; where a page is, does not depend on what its neighbours
/// hold by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    /// The first page.
    First,
    /// The page behind a sequence, in the direction of the walk.
    After(i64),
    /// The page that ends before a sequence.
    Before(i64),
    /// The last page.
    Last,
}

/// What a token holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Walk {
    /// What is asked for.
    pub(super) query: Query,
    /// The newest event that a descending walk can reach: those that come later do not push others to the next page.
    pub(super) ceiling: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    a: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<i64>,
    l: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    f: Vec<(Field, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<i64>,
    p: Place,
}

impl Walk {
    /// The token of a place in this walk.
    pub(super) fn token(&self, place: Place) -> String {
        let query = &self.query;
        let filters = query.filters().map(|(field, text)| (field, text.to_owned())).collect();
        let wire = Wire { a: query.ascending, b: query.from_us, e: query.to_us, l: query.limit, f: filters, c: self.ceiling, p: place };
        let text = serde_json::to_vec(&wire).expect("numbers and texts can be written");
        let mut bytes = check(&text).to_vec();
        bytes.extend_from_slice(&text);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token; `None` if it is none.
    pub(super) fn read(token: &str) -> Option<(Self, Place)> {
        // Some clients send back what stands behind the last `/` of a link, query and all (O-10).
        let token = token.split('?').next().unwrap_or_default();
        if token.len() > MAX_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (found, text) = bytes.split_at_checked(CHECK)?;
        if found != check(text) {
            return None;
        }
        let Wire { a: ascending, b: from_us, e: to_us, l: limit, f: filters, c: ceiling, p: place } = serde_json::from_slice(text).ok()?;
        if limit == 0 || limit > MAX_LIMIT {
            return None;
        }
        let query = Query::plain(ascending, from_us, to_us, limit).with_filters(filters).ok()?;
        Some((Self { query, ceiling }, place))
    }
}

fn check(text: &[u8]) -> [u8; CHECK] {
    *hmac_sha256(b"mailgun page token", text).first_chunk().expect("32 bytes begin with 6")
}

#[cfg(test)]
mod tests {
    use super::super::super::params::Params;
    use super::*;
    use proptest::prelude::*;

    // MAILGUN-160
    #[test]
    fn tokens_come_back_and_are_one_segment_of_a_path() {
        let texts = ["", "begin=1&end=2.5&limit=7&event=a+OR+b&event=%22%3F%2F%22", "ascending=yes&subject=%F0%9F%98%80%FF%2F%2F%2F"];
        for (text, place) in texts.into_iter().zip([Place::First, Place::After(i64::MAX), Place::Before(7)]) {
            let walk = Walk { query: Query::read(&Params::query(Some(text)), 0).expect(text), ceiling: Some(9) };
            let token = walk.token(place);
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{token}");
            assert_eq!(Walk::read(&token), Some((walk.clone(), place)));
            assert_eq!(Walk::read(&format!("{token}?page={token}")), Some((walk, place)));
            assert_eq!(Walk::read(&token[..token.len() - 1]), None);
        }
    }

    proptest! {
        // MAILGUN-161
        #[test]
        fn garbage_is_no_token(garbage in "[A-Za-z0-9_/?=.-]{0,120}") {
            prop_assert_eq!(Walk::read(&garbage), None);
        }
    }
}
