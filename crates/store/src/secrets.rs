//! Secrets of the catalog, sealed under a master key.
//!
//! The first key seals; the others only open what was sealed before, and a start seals that anew. So a key is rotated by putting a new one
//! before the old one, restarting, and removing the old one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::{Map, Value};

use crate::StoreError;

const NONCE_BYTES: usize = 24;

/// What is wrong with the text of master keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A line, counted from 1.
    #[error("line {0} is not a base64 key of 32 bytes")]
    Line(usize),
    /// Nothing is there.
    #[error("it holds no key")]
    Empty,
}

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the document of resource {id} is damaged")]
struct Damaged {
    id: String,
    source: serde_json::Error,
}

/// Seals and opens secrets. Never empty.
#[derive(Clone)]
pub struct MasterKeys(Vec<XChaCha20Poly1305>);

impl MasterKeys {
    /// One base64 key of 32 bytes per line; empty lines are passed over.
    ///
    /// # Errors
    /// The first line that is no key, or that there is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let keys = lines.map(|(i, line)| {
            let bytes = STANDARD.decode(line.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            bytes.map(|key| XChaCha20Poly1305::new(&key.into())).ok_or(KeyError::Line(i + 1))
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self(keys)) }
    }

    /// A fresh key, and the line that stands for it.
    pub(crate) fn generate() -> Result<(Self, String), StoreError> {
        let key: [u8; 32] = random()?;
        Ok((Self(vec![XChaCha20Poly1305::new(&key.into())]), STANDARD.encode(key)))
    }

    /// Seals under the first key, bound to `id`.
    pub(crate) fn seal(&self, id: &str, secret: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let sealed = self.0[0]
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: secret, aad: id.as_bytes() })
            .expect("a document is far smaller than what the cipher takes");
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed under any of the keys; also answers whether it was the first.
    pub(crate) fn open(&self, id: &str, sealed: &[u8]) -> Result<(Vec<u8>, bool), StoreError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or(StoreError::MasterKey)?;
        let payload = || Payload { msg: sealed, aad: id.as_bytes() };
        let opened = self.0.iter().enumerate().find_map(|(i, key)| Some((key.decrypt(XNonce::from_slice(nonce), payload()).ok()?, i == 0)));
        opened.ok_or(StoreError::MasterKey)
    }

    /// Takes the secrets out of a document and seals them.
    pub(crate) fn hide(&self, id: &str, mut doc: Value, pointers: Vec<String>) -> Result<(String, Option<Vec<u8>>), StoreError> {
        let mut secrets = Map::new();
        for pointer in pointers {
            if let Some(place) = doc.pointer_mut(&pointer)
                && !place.is_null()
            {
                secrets.insert(pointer, place.take());
            }
        }
        let sealed = if secrets.is_empty() { None } else { Some(self.seal(id, Value::Object(secrets).to_string().as_bytes())?) };
        Ok((doc.to_string(), sealed))
    }

    /// Reads a document and puts its secrets back.
    pub(crate) fn reveal(&self, id: &str, doc: &str, sealed: Option<&[u8]>) -> Result<Value, StoreError> {
        let damaged = |source| StoreError::Engine(Damaged { id: id.to_owned(), source }.into());
        let mut doc: Value = serde_json::from_str(doc).map_err(damaged)?;
        if let Some(sealed) = sealed {
            let (secrets, _) = self.open(id, sealed)?;
            let secrets: Map<String, Value> = serde_json::from_slice(&secrets).map_err(damaged)?;
            // In reverse: a secret inside another was taken out before it.
            for (pointer, secret) in secrets.into_iter().rev() {
                if let Some(place) = doc.pointer_mut(&pointer) {
                    *place = secret;
                }
            }
        }
        Ok(doc)
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Engine(error.into()))?;
    Ok(bytes)
}
