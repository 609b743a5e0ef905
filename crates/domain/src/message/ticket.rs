//! Signed links: what opening, following a link and unsubscribing lead to.
//!
//! A link is `BASE/t/TOKEN`; the token holds all that its handling needs and a proof that this server made it, so that no link can be
//! forged, none leads anywhere but where the sender of the mail wrote, and none needs a lookup to be followed.
//!
//! Token: URL-safe base 64 without padding of `body | proof`. Body: version (1), kind (1), workspace and accepted (varints), then message id,
//! recipient and domain, each with its length (varint) before it, then the URL of a click to the end. Proof: the first 16 bytes of
//! HMAC-SHA256(secret, `posthaste link ` + body).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Path under which links are served.
pub const PATH: &str = "/t/";
/// Characters of a token at most; the server answers 404 to longer ones.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Bytes of a followed URL at most: longer links are not watched.
pub const MAX_URL: usize = 4 * 1024;

const VERSION: u8 = 1;
const PROOF: usize = 16;
const PURPOSE: &[u8] = b"posthaste link ";

/// What links are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct Links {
    /// Public address of this server without a slash at its end, e.g. `https://mail.example.com`.
    pub base_url: String,
    /// Secret of this server for links.
    pub secret: [u8; 32],
    /// Number of the workspace.
    pub workspace: i64,
    /// Sequence of the event that told of the acceptance for this recipient: the one that later events repeat.
    pub accepted: i64,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("base_url", &self.base_url).field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

impl Links {
    /// The address that `ticket` is presented at.
    pub fn url(&self, ticket: &Ticket) -> String {
        format!("{}{PATH}{}", self.base_url, ticket.token(&self.secret))
    }
}

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The picture was loaded.
    Open,
    /// A link was followed, which leads to this URL.
    Click(String),
    /// The recipient wants no more.
    Unsubscribe,
}

/// The content of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Number of the workspace.
    pub workspace: i64,
    /// Sequence of the event that told of the acceptance.
    pub accepted: i64,
    /// Message id as in events.
    pub message_id: String,
    /// Address of the recipient.
    pub recipient: String,
    /// Sending domain, for suppressions; empty without.
    pub domain: String,
    /// What it is for.
    pub deed: Deed,
}

impl Ticket {
    /// The ticket as it stands in a link.
    pub fn token(&self, secret: &[u8; 32]) -> String {
        let (kind, url) = match &self.deed {
            Deed::Open => (b'o', ""),
            Deed::Click(url) => (b'c', url.as_str()),
            Deed::Unsubscribe => (b'u', ""),
        };
        let mut body = vec![VERSION, kind];
        put_varint(&mut body, self.workspace as u64);
        put_varint(&mut body, self.accepted as u64);
        for text in [&self.message_id, &self.recipient, &self.domain] {
            put_varint(&mut body, text.len() as u64);
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(url.as_bytes());
        let proof = prover(secret, &body).finalize().into_bytes();
        body.extend_from_slice(&proof[..PROOF]);
        URL_SAFE_NO_PAD.encode(body)
    }

    /// Reads a token; `None` unless this server made it. The comparison takes the same time for every wrong proof.
    pub fn read(token: &str, secret: &[u8; 32]) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, proof) = bytes.split_at_checked(bytes.len().checked_sub(PROOF)?)?;
        prover(secret, body).verify_truncated_left(proof).ok()?;
        let mut rest = body.strip_prefix(&[VERSION])?;
        let (kind, tail) = rest.split_first()?;
        rest = tail;
        let workspace = i64::try_from(take_varint(&mut rest)?).ok()?;
        let accepted = i64::try_from(take_varint(&mut rest)?).ok()?;
        let (message_id, recipient, domain) = (take_text(&mut rest)?, take_text(&mut rest)?, take_text(&mut rest)?);
        let deed = match (kind, rest) {
            (b'o', []) => Deed::Open,
            (b'u', []) => Deed::Unsubscribe,
            (b'c', url) => Deed::Click(String::from_utf8(url.to_vec()).ok()?),
            _ => return None,
        };
        Some(Self { workspace, accepted, message_id, recipient, domain, deed })
    }
}

fn prover(secret: &[u8; 32], body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(PURPOSE);
    mac.update(body);
    mac
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: [u8; 32] = [7; 32];

    fn ticket(deed: Deed) -> Ticket {
        Ticket {
            workspace: 3,
            accepted: 300,
            message_id: "1.2@d.example".into(),
            recipient: "bob@x.example".into(),
            domain: "d.example".into(),
            deed,
        }
    }

    #[test]
    fn links_are_short_enough_and_url_safe() {
        let links = Links { base_url: "https://p.example".into(), secret: SECRET, workspace: 3, accepted: 300 };
        let url = links.url(&ticket(Deed::Open));
        assert!(url.starts_with("https://p.example/t/") && url.len() < 120, "{url}");
        assert!(url[20..].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{url}");
        assert!(!format!("{links:?}").contains('7'));
    }

    #[test]
    fn no_byte_can_be_changed() {
        let token = ticket(Deed::Click("https://shop.example/?a=1".into())).token(&SECRET);
        assert!(Ticket::read(&token, &SECRET).is_some());
        assert_eq!(Ticket::read(&token, &[8; 32]), None);
        let bytes = URL_SAFE_NO_PAD.decode(&token).expect("base 64");
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[place] ^= 1 << bit;
                assert_eq!(Ticket::read(&URL_SAFE_NO_PAD.encode(&wrong), &SECRET), None, "byte {place}, bit {bit}");
            }
        }
        for cut in 0..bytes.len() {
            assert_eq!(Ticket::read(&URL_SAFE_NO_PAD.encode(&bytes[..cut]), &SECRET), None, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(workspace in 0i64..i64::MAX, accepted in 0i64..i64::MAX, id in ".{0,40}", to in ".{0,40}", domain in ".{0,20}", url in ".{0,60}", kind in 0..3) {
            let deed = match kind { 0 => Deed::Open, 1 => Deed::Click(url), _ => Deed::Unsubscribe };
            let ticket = Ticket { workspace, accepted, message_id: id, recipient: to, domain, deed };
            prop_assert_eq!(Ticket::read(&ticket.token(&SECRET), &SECRET), Some(ticket));
        }

        #[test]
        fn strangers_tokens_are_refused(token in "[A-Za-z0-9_-]{0,200}") {
            prop_assert_eq!(Ticket::read(&token, &SECRET), None);
        }
    }
}
