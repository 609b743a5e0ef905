//! Signature keys: RSA 2048 and PKCS#1 v1.5 (MessageMedia 4.6, 7.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use rsa::rand_core::OsRng;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde::{Deserialize, Serialize};
use sha2::{Sha224, Sha256, Sha512};

/// Bits of a key.
const BITS: usize = 2048;

/// Hash functions of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Digest {
    Sha224,
    Sha256,
    Sha512,
}

impl Digest {
    const ALL: [Self; 3] = [Self::Sha224, Self::Sha256, Self::Sha512];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|digest| digest.name() == name)
    }
}

/// A key pair as texts: base64 of PKCS#8, and base64 of the SubjectPublicKeyInfo.
pub(super) struct Pair {
    pub(super) private: String,
    pub(super) public: String,
}

/// Makes a key pair. Takes a processor for about a second.
pub(super) fn generate() -> Result<Pair, KeyError> {
    let key = RsaPrivateKey::new(&mut OsRng, BITS)?;
    let private = key.to_pkcs8_der()?;
    let public = key.to_public_key().to_public_key_der().map_err(rsa::pkcs8::Error::from)?;
    Ok(Pair { private: STANDARD.encode(private.as_bytes()), public: STANDARD.encode(public.as_bytes()) })
}

/// Why a key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Rsa(#[from] rsa::Error),
    #[error(transparent)]
    Form(#[from] rsa::pkcs8::Error),
    #[error(transparent)]
    Base64(#[from] base64::DecodeError),
}

/// A private key, read once.
pub(super) struct Signer(RsaPrivateKey);

impl Signer {
    pub(super) fn parse(private: &str) -> Result<Self, KeyError> {
        Ok(Self(RsaPrivateKey::from_pkcs8_der(&STANDARD.decode(private)?)?))
    }

    /// Base64 of the signature over the parts, one after the other.
    pub(super) fn sign(&self, digest: Digest, parts: &[&[u8]]) -> Result<String, KeyError> {
        fn hash<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
            parts.iter().fold(D::new(), |hash, part| hash.chain_update(part)).finalize().to_vec()
        }
        let (padding, hashed) = match digest {
            Digest::Sha224 => (Pkcs1v15Sign::new::<Sha224>(), hash::<Sha224>(parts)),
            Digest::Sha256 => (Pkcs1v15Sign::new::<Sha256>(), hash::<Sha256>(parts)),
            Digest::Sha512 => (Pkcs1v15Sign::new::<Sha512>(), hash::<Sha512>(parts)),
        };
        // Blinded, so that the time it takes tells nothing of the key.
        Ok(STANDARD.encode(self.0.sign_with_rng(&mut OsRng, padding, &hashed)?))
    }
}
