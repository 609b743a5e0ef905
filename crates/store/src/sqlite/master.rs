//! The master key, and sealing of secrets under it.
//!
//! `master.key` holds one base64 key of 32 bytes per line. The first seals; the others only open what was sealed before, and a start
//! seals that anew. So a key is rotated by putting a new line above the old one, restarting, and removing the old line.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRngCore;
use rand::rngs::OsRng;

use super::schema::file_error;
use crate::StoreError;

const NONCE_BYTES: usize = 24;
/// Permissions of users that are neither the owner nor of the file's group.
const OTHERS: u32 = 0o007;

/// What is wrong with the key file.
#[derive(Debug, thiserror::Error)]
enum KeyFileError {
    #[error("line {0} is not a base64 key of 32 bytes")]
    Line(usize),
    #[error("it holds no key")]
    Empty,
    #[error("its permissions ({0:03o}) let every user of this machine at it; chmod 600 it")]
    Open(u32),
}

impl KeyFileError {
    fn of(self, path: &Path) -> StoreError {
        StoreError::File { file: path.display().to_string(), source: self.into() }
    }
}

/// Seals and opens secrets.
pub(super) struct MasterKeys(Vec<XChaCha20Poly1305>);

impl MasterKeys {
    /// Reads the key file; `None` when there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, StoreError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error(error)),
        };
        let mode = file.metadata().map_err(file_error)?.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(KeyFileError::Open(mode).of(path));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(file_error)?;
        let mut keys = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let key: [u8; 32] = STANDARD
                .decode(line.trim())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| KeyFileError::Line(i + 1).of(path))?;
            keys.push(XChaCha20Poly1305::new(&key.into()));
        }
        if keys.is_empty() {
            return Err(KeyFileError::Empty.of(path));
        }
        Ok(Some(Self(keys)))
    }

    /// Makes a key file that only its owner can read, durably: it is there with its key or not at all.
    pub(super) fn create(path: &Path) -> Result<Self, StoreError> {
        let key: [u8; 32] = random()?;
        let unfinished = path.with_extension("new");
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(error)),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(file_error)?;
        writeln!(file, "{}", STANDARD.encode(key)).map_err(file_error)?;
        file.sync_all().map_err(file_error)?;
        std::fs::rename(&unfinished, path).map_err(file_error)?;
        super::sync_dir(path.parent().expect("a file has a directory"))?;
        Ok(Self(vec![XChaCha20Poly1305::new(&key.into())]))
    }

    /// Seals under the first key, bound to `id`.
    pub(super) fn seal(&self, id: &str, secret: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let sealed = self.0[0]
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: secret, aad: id.as_bytes() })
            .expect("a document is far smaller than what the cipher takes");
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed under any of the keys; also answers whether it was the first.
    pub(super) fn open(&self, id: &str, sealed: &[u8]) -> Result<(Vec<u8>, bool), StoreError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or(StoreError::MasterKey)?;
        let payload = || Payload { msg: sealed, aad: id.as_bytes() };
        let opened = self.0.iter().enumerate().find_map(|(i, key)| Some((key.decrypt(XNonce::from_slice(nonce), payload()).ok()?, i == 0)));
        opened.ok_or(StoreError::MasterKey)
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Engine(error.into()))?;
    Ok(bytes)
}
