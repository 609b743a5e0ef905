//! Signatures of deliveries: the Standard Webhooks scheme, and the plain HMAC that vendor formats build on.
//!
//! # Invariants
//!
//! - The signed bytes are `id.timestamp.body`, the body byte for byte as it is sent.
//! - Secrets never show in `Debug` output, and nothing secret-dependent is compared in variable time.
//! - What is written is standard base64 with padding and single spaces, since the strictest receiver decides; what is
//!   read may be sloppier only where every published library is.

mod secret;
mod seen;
mod standard;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

pub use secret::{Ed25519Secret, MAX_SECRET_BYTES, MIN_SECRET_BYTES, PublicKey, SecretError, SigningSecret, SymmetricSecret};
pub use seen::{SEEN_SECONDS, SeenIds};
pub use standard::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, TOLERANCE_SECONDS, VerifyError, VerifyingKey, sign, valid_id, verify};

/// HMAC-SHA256 of `body` under a key of any length.
#[must_use]
pub fn hmac_sha256(key: &[u8], body: &[u8]) -> [u8; 32] {
    let mut mac = hmac_state(key);
    mac.update(body);
    mac.finalize().into_bytes().into()
}

/// Lower-case hexadecimal text.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xF)]));
    }
    text
}

/// Compares in a time that depends on the lengths alone.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// The state of an HMAC with the key taken in, ready for bytes.
fn hmac_state(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[cfg(test)]
mod tests;
