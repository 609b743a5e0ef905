//! The Standard Webhooks 1.0.0 scheme: three headers, one signed string, the identifiers `v1` and `v1a`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::secret::{PublicKey, SigningSecret, SymmetricSecret};

/// Header of the message id, the same on every retry.
pub const HEADER_ID: &str = "webhook-id";
/// Header of the time of the attempt in Unix seconds.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// Header of the signatures, separated by single spaces.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

/// How far a timestamp may be from now, in both directions, in seconds.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Signatures of one header that are looked at, so that a hostile header cannot buy unlimited public key operations.
const MAX_SIGNATURES: usize = 32;

const SYMMETRIC: &str = "v1";
const ASYMMETRIC: &str = "v1a";

/// Why a webhook is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// A required header is absent or empty.
    #[error("the header {name} is missing")]
    MissingHeader {
        /// Its name.
        name: &'static str,
    },
    /// The timestamp is not a decimal integer.
    #[error("webhook-timestamp: expected an integer of Unix seconds")]
    BadTimestamp,
    /// The timestamp lies further in the past than tolerated.
    #[error("webhook-timestamp: {seconds} seconds old, more than is tolerated")]
    TooOld {
        /// Its age.
        seconds: i64,
    },
    /// The timestamp lies further in the future than tolerated.
    #[error("webhook-timestamp: {seconds} seconds in the future, more than is tolerated")]
    TooNew {
        /// Its distance.
        seconds: i64,
    },
    /// No signature fits any of the keys.
    #[error("webhook-signature: no signature matches")]
    NoMatch,
}

/// Whether an id can be sent: printable ASCII without spaces and without the dot that separates the signed parts.
/// Stable per message, unique, and not chosen by users.
#[must_use]
pub fn valid_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.')
}

/// The value of `webhook-signature`: one signature for each secret, in their order, separated by single spaces.
///
/// `id` should be a [`valid_id`]; `unix_seconds` is the time of this attempt; `body` the bytes that are sent.
#[must_use]
pub fn sign(id: &str, unix_seconds: i64, body: &[u8], secrets: &[SigningSecret]) -> String {
    let timestamp = unix_seconds.to_string();
    let message = Message { id, timestamp: &timestamp, body };
    let mut header = String::with_capacity(secrets.len() * 48);
    for secret in secrets {
        if !header.is_empty() {
            header.push(' ');
        }
        match secret {
            SigningSecret::Symmetric(secret) => {
                header.push_str("v1,");
                STANDARD.encode_string(message.mac(secret), &mut header);
            }
            SigningSecret::Ed25519(secret) => {
                header.push_str("v1a,");
                STANDARD.encode_string(secret.signature(&message.joined()), &mut header);
            }
        }
    }
    header
}

/// Checks a received webhook against keys of which any may fit.
///
/// `headers` is asked with lower-case names and must ignore the case of the names it holds. Entries of the signature
/// header that have an unknown identifier or no comma are passed over. Whether the id was seen before is for
/// [`super::SeenIds`] to say, after this check.
///
/// # Errors
///
/// [`VerifyError`] when a header is missing, the timestamp is not an integer within `tolerance_seconds` of
/// `now_seconds`, or no signature fits.
pub fn verify<'h, K: VerifyingKey>(
    headers: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    keys: &[K],
    now_seconds: i64,
    tolerance_seconds: i64,
) -> Result<(), VerifyError> {
    let header = |name: &'static str| headers(name).filter(|value| !value.is_empty()).ok_or(VerifyError::MissingHeader { name });
    let id = header(HEADER_ID)?;
    let timestamp = header(HEADER_TIMESTAMP)?;
    let signatures = header(HEADER_SIGNATURE)?;

    let seconds = read_timestamp(timestamp).ok_or(VerifyError::BadTimestamp)?;
    let age = now_seconds.saturating_sub(seconds);
    if age > tolerance_seconds {
        return Err(VerifyError::TooOld { seconds: age });
    }
    if age < tolerance_seconds.saturating_neg() {
        return Err(VerifyError::TooNew { seconds: age.saturating_neg() });
    }

    let message = Message { id, timestamp, body };
    let checks: Vec<Check<'_>> = keys.iter().map(|key| key.check(&message)).collect();
    let fits = signatures
        .split(' ')
        .filter_map(|entry| entry.split_once(','))
        .take(MAX_SIGNATURES)
        .any(|(identifier, signature)| checks.iter().any(|check| check.accepts(&message, identifier, signature)));
    if fits { Ok(()) } else { Err(VerifyError::NoMatch) }
}

/// Digits only, with a minus for times before 1970: no fraction, no plus, no spaces.
fn read_timestamp(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A key that [`verify`] can use: a [`SigningSecret`] or a [`PublicKey`].
pub trait VerifyingKey: sealed::Check {}

impl VerifyingKey for SigningSecret {}
impl VerifyingKey for PublicKey {}

mod sealed {
    /// Prepares the check of one message under a key.
    pub trait Check {
        fn check(&self, message: &super::Message<'_>) -> super::Check<'_>;
    }
}

impl sealed::Check for SigningSecret {
    fn check(&self, message: &Message<'_>) -> Check<'_> {
        match self {
            Self::Symmetric(secret) => Check::Symmetric(STANDARD.encode(message.mac(secret))),
            Self::Ed25519(secret) => Check::Ed25519(std::borrow::Cow::Owned(secret.public_key())),
        }
    }
}

impl sealed::Check for PublicKey {
    fn check(&self, _message: &Message<'_>) -> Check<'_> {
        Check::Ed25519(std::borrow::Cow::Borrowed(self))
    }
}

/// What a signature must be under one key.
pub enum Check<'a> {
    /// Exactly this base64 text.
    Symmetric(String),
    /// Valid under this key.
    Ed25519(std::borrow::Cow<'a, PublicKey>),
}

impl Check<'_> {
    fn accepts(&self, message: &Message<'_>, identifier: &str, signature: &str) -> bool {
        match self {
            Self::Symmetric(expected) => identifier == SYMMETRIC && super::constant_time_eq(expected.as_bytes(), signature.as_bytes()),
            Self::Ed25519(key) => {
                let decoded = (identifier == ASYMMETRIC).then(|| STANDARD.decode(signature).ok()).flatten();
                let signature = decoded.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
                signature.is_some_and(|signature| key.accepts(&message.joined(), &signature))
            }
        }
    }
}

/// The three parts that are signed.
pub struct Message<'a> {
    id: &'a str,
    timestamp: &'a str,
    body: &'a [u8],
}

impl Message<'_> {
    fn parts(&self) -> [&[u8]; 5] {
        [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", self.body]
    }

    fn mac(&self, secret: &SymmetricSecret) -> [u8; 32] {
        secret.mac(&self.parts())
    }

    /// The signed bytes in one piece, which Ed25519 needs because it reads them twice.
    fn joined(&self) -> Vec<u8> {
        self.parts().concat()
    }
}
