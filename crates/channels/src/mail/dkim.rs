//! DKIM signatures (RFC 6376; Ed25519 by RFC 8463), relaxed in header and body.
//!
//! Written here because the signature must cover any mail, also one that its sender composed, and because the keys are those of the
//! library that TLS uses already. `tests/clients` has them judged by dkimpy.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_domain::resource::Dkim;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use ring::{digest, signature};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::raw::{fields, name_of, split};

/// Headers that are signed where they are present.
const SIGNED: [&str; 15] = [
    "from",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "sender",
];

/// Characters of the signature per line.
const LINE: usize = 72;

/// Why a mail cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    /// The text holds no private key.
    #[error("the private key is no PEM of a PKCS#8 or PKCS#1 key")]
    NotAKey,
    /// The key is none that this can sign with.
    #[error("the private key is neither RSA of 2048 to 4096 bits nor Ed25519")]
    Unsupported,
    /// The library refused to sign.
    #[error("signing failed")]
    Failed,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    fn read(pem: &str) -> Result<Self, DkimError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| DkimError::NotAKey)?;
        match &der {
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).map(|key| Self::Rsa(Box::new(key))),
            PrivateKeyDer::Pkcs8(key) => {
                let der = key.secret_pkcs8_der();
                let rsa = RsaKeyPair::from_pkcs8(der).map(|key| Self::Rsa(Box::new(key)));
                rsa.or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519))
            }
            _ => return Err(DkimError::NotAKey),
        }
        .map_err(|_| DkimError::Unsupported)
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// `k` and the decoded `p` of the record that holds the public key.
    fn public(&self) -> (&'static str, Vec<u8>) {
        match self {
            // What verifiers read is a SubjectPublicKeyInfo, as OpenSSL writes it.
            Self::Rsa(key) => {
                let mut bits = vec![0];
                bits.extend_from_slice(key.public().as_ref());
                ("rsa", der(0x30, &[RSA_ENCRYPTION, &der(0x03, &bits)].concat()))
            }
            Self::Ed25519(key) => ("ed25519", key.public_key().as_ref().to_vec()),
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, DkimError> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let padding: &'static dyn signature::RsaEncoding = &RSA_PKCS1_SHA256;
                key.sign(padding, &SystemRandom::new(), text, &mut signature).map_err(|_| DkimError::Failed)?;
                Ok(signature)
            }
            // RFC 8463 signs the hash.
            Self::Ed25519(key) => Ok(key.sign(digest::digest(&digest::SHA256, text).as_ref()).as_ref().to_vec()),
        }
    }
}

/// The AlgorithmIdentifier of RSA keys: SEQUENCE { OID 1.2.840.113549.1.1.1, NULL }.
const RSA_ENCRYPTION: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A value of ASN.1 in DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(digits.len()).expect("a length has few digits"));
    }
    out.extend_from_slice(digits);
    out.extend_from_slice(content);
    out
}

/// The text of the TXT record under `SELECTOR._domainkey.DOMAIN` that belongs to a private key (RFC 6376 section 3.6.1).
///
/// # Errors
/// The key cannot sign.
pub fn public_record(pem: &str) -> Result<String, DkimError> {
    let (kind, key) = Key::read(pem)?.public();
    Ok(format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(key)))
}

/// Checks that a key can sign.
///
/// # Errors
/// Why it cannot.
pub fn check_key(pem: &str) -> Result<(), DkimError> {
    Key::read(pem).map(|_| ())
}

/// The `DKIM-Signature` header, line end included, to be put before `mail`, whose lines must end by CRLF.
pub(super) fn sign(mail: &[u8], domain: &str, dkim: &Dkim, at_seconds: i64) -> Result<String, DkimError> {
    let key = Key::read(&dkim.private_key)?;
    let (head, body) = split(mail);
    let (names, mut signed) = chosen(head);
    let body_hash = STANDARD.encode(digest::digest(&digest::SHA256, &relaxed_body(body)));
    let (algorithm, selector) = (key.algorithm(), &dkim.selector);
    let mut header = format!(
        "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector}; t={at_seconds};\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=",
        names.join(":\r\n\t ")
    );
    let own = relaxed_field(header.as_bytes());
    signed.extend_from_slice(own.strip_suffix(b"\r\n").unwrap_or(&own));
    let signature = STANDARD.encode(key.sign(&signed)?);
    let lines: Vec<&str> = (0..signature.len()).step_by(LINE).map(|at| &signature[at..signature.len().min(at + LINE)]).collect();
    header.push_str(&lines.join("\r\n\t "));
    header.push_str("\r\n");
    Ok(header)
}

/// The fields to sign: names in the order of signing, and the fields themselves in canonical form. Fields of a name are signed from the
/// last to the first, and `From` once more than it is there, so that none can be added.
fn chosen(head: &[u8]) -> (Vec<&'static str>, Vec<u8>) {
    let mut by_name: HashMap<&str, Vec<&[u8]>> = HashMap::new();
    for field in fields(head) {
        if let Some(name) = SIGNED.iter().find(|name| name_of(field).eq_ignore_ascii_case(name.as_bytes())) {
            by_name.entry(name).or_default().push(field);
        }
    }
    let (mut names, mut signed) = (Vec::new(), Vec::new());
    for name in SIGNED {
        for field in by_name.remove(name).unwrap_or_default().into_iter().rev() {
            names.push(name);
            signed.extend(relaxed_field(field));
        }
        if name == "from" {
            names.push(name);
        }
    }
    (names, signed)
}

/// RFC 6376 section 3.4.2.
fn relaxed_field(field: &[u8]) -> Vec<u8> {
    let (name, value) = field.split_at(field.iter().position(|byte| *byte == b':').unwrap_or(field.len()));
    let mut out = name.trim_ascii().to_ascii_lowercase();
    out.push(b':');
    let words = value.get(1..).unwrap_or_default().split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    for (place, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// RFC 6376 section 3.4.4.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 2);
    let mut empty_lines = 0;
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let start = out.len();
        let mut space = false;
        for byte in line {
            match byte {
                b' ' | b'\t' => space = true,
                byte => {
                    if out.len() == start {
                        // Empty lines count only if something follows them.
                        out.extend(std::iter::repeat_n(*b"\r\n", empty_lines).flatten());
                        empty_lines = 0;
                        if space {
                            out.push(b' ');
                        }
                    } else if space {
                        out.push(b' ');
                    }
                    space = false;
                    out.push(*byte);
                }
            }
        }
        match out.len() == start {
            true => empty_lines += 1,
            false => out.extend_from_slice(b"\r\n"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    /// The example of RFC 6376 section 3.4.5.
    #[test]
    fn relaxed_is_relaxed_as_in_the_standard() {
        assert_eq!(relaxed_field(b"A: X\r\n"), b"a:X\r\n");
        assert_eq!(relaxed_field(b"B : Y\t\r\n\tZ  \r\n"), b"b:Y Z\r\n");
        assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        assert_eq!(relaxed_body(b"a\r\n \t\r\n\r\nb"), b"a\r\n\r\n\r\nb\r\n");
        assert_eq!((relaxed_body(b""), relaxed_body(b"\r\n\r\n"), relaxed_body(b" \r\n")), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_signature_covers_head_and_body() {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let public = Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a key").public_key().as_ref().to_vec();
        let dkim = Dkim { selector: "s1".into(), private_key: pem("PRIVATE KEY", der.as_ref()) };
        let mail = b"From: a@d.example\r\nTo: b@x.example\r\nSubject: one\r\nSubject: two\r\nX-Other: y\r\n\r\nbody\r\n";
        let header = sign(mail, "d.example", &dkim, 7).expect("a signature");
        let (unsigned, signature) = header.rsplit_once("b=").expect("b");
        assert!(unsigned.starts_with("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=d.example; s=s1; t=7;"), "{header}");
        assert!(unsigned.contains("h=from:\r\n\t from:\r\n\t to:\r\n\t subject:\r\n\t subject;"), "{header}");
        let mut text = b"from:a@d.example\r\nto:b@x.example\r\nsubject:two\r\nsubject:one\r\n".to_vec();
        let own = relaxed_field(format!("{unsigned}b=").as_bytes());
        text.extend_from_slice(own.strip_suffix(b"\r\n").expect("a line end"));
        let signature = STANDARD.decode(signature.replace(char::is_whitespace, "")).expect("base 64");
        let hash = digest::digest(&digest::SHA256, &text);
        UnparsedPublicKey::new(&ED25519, public).verify(hash.as_ref(), &signature).expect("a good signature");
        assert!(header.lines().all(|line| line.len() < 130), "{header}");
    }

    #[test]
    fn other_keys_are_refused() {
        assert_eq!(check_key("secret"), Err(DkimError::NotAKey));
        assert_eq!(check_key(&pem("PRIVATE KEY", b"123")), Err(DkimError::Unsupported));
        assert_eq!(check_key(&pem("CERTIFICATE", b"123")), Err(DkimError::NotAKey));
    }
}
