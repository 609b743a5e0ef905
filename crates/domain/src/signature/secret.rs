//! Signing secrets and public keys, and their texts.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;

/// Fewest bytes of a symmetric secret (Standard Webhooks).
pub const MIN_SECRET_BYTES: usize = 24;
/// Most bytes of a symmetric secret (Standard Webhooks).
pub const MAX_SECRET_BYTES: usize = 64;

const SYMMETRIC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// Secrets are pasted by people, who lose the padding; every library accepts that. The alphabet stays the standard one,
/// because some libraries decode the URL-safe one to another key.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Why a text is not a secret or key. Never holds the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Nothing, or a prefix alone.
    #[error("secret: it is empty")]
    Empty,
    /// Characters outside the standard alphabet, or a length that no bytes give.
    #[error("secret: expected standard base64 (A-Z a-z 0-9 + /) after the prefix")]
    NotBase64,
    /// A symmetric secret outside [`MIN_SECRET_BYTES`] to [`MAX_SECRET_BYTES`].
    #[error("secret: {bytes} bytes after decoding, expected {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}")]
    SymmetricLength {
        /// Bytes found.
        bytes: usize,
    },
    /// An Ed25519 secret key that is neither a seed nor a seed with its public key.
    #[error("secret: {bytes} bytes after decoding, expected 32 (seed) or 64 (seed and public key) for whsk_")]
    PrivateLength {
        /// Bytes found.
        bytes: usize,
    },
    /// The second half of an Ed25519 secret key is not the public key of the first.
    #[error("secret: the two halves of the whsk_ key do not belong together")]
    HalvesDiffer,
    /// A public key where a secret is expected.
    #[error("secret: this is a public key (whpk_), which cannot sign")]
    PublicKey,
    /// A public key of another length than 32, or not a point of the curve, or without its prefix.
    #[error("public key: expected whpk_ and base64 of the 32 bytes of an Ed25519 public key")]
    NotAPublicKey,
}

/// A secret that signs deliveries.
#[derive(Clone)]
pub enum SigningSecret {
    /// HMAC-SHA256, identifier `v1`.
    Symmetric(SymmetricSecret),
    /// Ed25519, identifier `v1a`.
    Ed25519(Ed25519Secret),
}

impl SigningSecret {
    /// Reads `whsec_` with base64, base64 alone, or `whsk_` with base64.
    ///
    /// # Errors
    ///
    /// [`SecretError`] when the text is empty, not standard base64, or of a wrong length.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.starts_with(PUBLIC_PREFIX) {
            return Err(SecretError::PublicKey);
        }
        if let Some(encoded) = text.strip_prefix(PRIVATE_PREFIX) {
            return Ed25519Secret::from_bytes(&decode(encoded)?).map(Self::Ed25519);
        }
        let bytes = decode(text.strip_prefix(SYMMETRIC_PREFIX).unwrap_or(text))?;
        SymmetricSecret::from_bytes(bytes).map(Self::Symmetric)
    }

    /// The text that [`SigningSecret::parse`] reads: `whsec_…` or `whsk_…`, padded.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Symmetric(secret) => format!("{SYMMETRIC_PREFIX}{}", STANDARD.encode(&secret.bytes)),
            Self::Ed25519(secret) => format!("{PRIVATE_PREFIX}{}", STANDARD.encode(secret.0.to_keypair_bytes())),
        }
    }

    /// The text of the public key, `whpk_…`; a symmetric secret has none.
    #[must_use]
    pub fn public_key_text(&self) -> Option<String> {
        match self {
            Self::Symmetric(_) => None,
            Self::Ed25519(secret) => Some(secret.public_key().to_text()),
        }
    }

    /// A new symmetric secret of 32 random bytes.
    #[must_use]
    pub fn generate_symmetric(entropy: [u8; 32]) -> Self {
        Self::Symmetric(SymmetricSecret::new(entropy.to_vec()))
    }

    /// A new Ed25519 key whose seed is 32 random bytes.
    #[must_use]
    pub fn generate_ed25519(entropy: [u8; 32]) -> Self {
        Self::Ed25519(Ed25519Secret(SigningKey::from_bytes(&entropy)))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Symmetric(_) => "SigningSecret(whsec_***)",
            Self::Ed25519(_) => "SigningSecret(whsk_***)",
        })
    }
}

/// A key for HMAC-SHA256, with the part of the work that does not depend on the message already done.
#[derive(Clone)]
pub struct SymmetricSecret {
    bytes: Vec<u8>,
    state: Hmac<Sha256>,
}

impl SymmetricSecret {
    /// Takes the decoded bytes of a secret.
    ///
    /// # Errors
    ///
    /// [`SecretError::SymmetricLength`] outside 24 to 64 bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SecretError> {
        if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&bytes.len()) {
            return Err(SecretError::SymmetricLength { bytes: bytes.len() });
        }
        Ok(Self::new(bytes))
    }

    fn new(bytes: Vec<u8>) -> Self {
        let state = super::hmac_state(&bytes);
        Self { bytes, state }
    }

    /// The decoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// HMAC-SHA256 over the parts one after the other.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.state.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SymmetricSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SymmetricSecret(***)")
    }
}

/// An Ed25519 secret key.
#[derive(Clone)]
pub struct Ed25519Secret(SigningKey);

impl Ed25519Secret {
    /// Takes a seed of 32 bytes, or 64 bytes: the seed and its public key.
    ///
    /// # Errors
    ///
    /// [`SecretError`] for other lengths, or when the public key is not that of the seed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        if let Ok(seed) = <&[u8; 32]>::try_from(bytes) {
            return Ok(Self(SigningKey::from_bytes(seed)));
        }
        let pair: &[u8; 64] = bytes.try_into().map_err(|_| SecretError::PrivateLength { bytes: bytes.len() })?;
        SigningKey::from_keypair_bytes(pair).map(Self).map_err(|_| SecretError::HalvesDiffer)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn signature(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for Ed25519Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ed25519Secret(***)")
    }
}

/// An Ed25519 public key: it verifies `v1a` signatures and is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads `whpk_` with base64 of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`SecretError::NotAPublicKey`] for everything else.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix(PUBLIC_PREFIX).ok_or(SecretError::NotAPublicKey)?;
        let bytes = decode(encoded).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.and_then(|bytes| ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok()).map(Self).ok_or(SecretError::NotAPublicKey)
    }

    /// The text that [`PublicKey::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PUBLIC_PREFIX}{}", STANDARD.encode(self.0.as_bytes()))
    }

    pub(super) fn accepts(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        // The strict check refuses weak keys, under which one signature fits many messages.
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

fn decode(text: &str) -> Result<Vec<u8>, SecretError> {
    if text.is_empty() {
        return Err(SecretError::Empty);
    }
    LENIENT.decode(text).map_err(|_| SecretError::NotBase64)
}
