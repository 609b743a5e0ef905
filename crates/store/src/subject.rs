//! What stands for a subject in an index.

use sha2::{Digest, Sha256};

/// The first 8 bytes of its SHA-256. The event tells whether it really is meant.
pub(crate) fn hash(subject: &str) -> i64 {
    let digest = Sha256::digest(subject.as_bytes());
    i64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 has 32 bytes"))
}
