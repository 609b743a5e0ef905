//! One-time passwords by time (RFC 6238, with HMAC-SHA-1, six digits and steps of 30 seconds, which every authenticator speaks), and the recovery
//! codes that stand in for them.

use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::Totp;
use crate::signature::constant_time_eq;

/// Seconds of a step.
pub const STEP_SECONDS: i64 = 30;
/// Steps before and after the present one that are taken: clocks differ.
pub const TOLERANCE_STEPS: i64 = 1;
/// Bytes of a secret (RFC 4226 section 4).
pub const SECRET_BYTES: usize = 20;
/// Recovery codes that a member gets.
pub const RECOVERY_CODES: usize = 10;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The step of a time.
pub fn step_at(now_ms: i64) -> i64 {
    now_ms.div_euclid(1000 * STEP_SECONDS)
}

/// The code of a step, six digits.
pub fn code_at(secret: &[u8], step: i64) -> String {
    format!("{:06}", truncated(secret, step) % 1_000_000)
}

/// Dynamic truncation (RFC 4226 section 5.3).
fn truncated(secret: &[u8], step: i64) -> u32 {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 0xF);
    u32::from_be_bytes([hash[at] & 0x7F, hash[at + 1], hash[at + 2], hash[at + 3]])
}

/// The step that a code is of, if it is later than the last one that was used: no code works twice.
pub fn verify(secret: &str, last_step: i64, code: &str, now_ms: i64) -> Option<i64> {
    let secret = from_base32(secret)?;
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let now = step_at(now_ms);
    let mut found = None;
    // All are compared, whichever fits.
    for step in now - TOLERANCE_STEPS..=now + TOLERANCE_STEPS {
        if constant_time_eq(code_at(&secret, step).as_bytes(), code.as_bytes()) && step > last_step {
            found = Some(step);
        }
    }
    found
}

/// The secret as authenticators take it.
pub fn to_base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(BASE32[(bits >> count) as usize & 31]));
        }
    }
    if count > 0 {
        text.push(char::from(BASE32[(bits << (5 - count)) as usize & 31]));
    }
    text
}

/// Reads base 32 without padding, whatever the case.
pub fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.bytes() {
        let digit = BASE32.iter().position(|known| *known == byte.to_ascii_uppercase())?;
        bits = bits << 5 | digit as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    Some(bytes)
}

/// The address that a QR code holds.
pub fn uri(secret: &str, issuer: &str, account: &str) -> String {
    let (issuer, account) = (percent(issuer), percent(account));
    format!("otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period={STEP_SECONDS}")
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A recovery code as it is shown: 50 bits, in two groups of five.
pub fn recovery_code(entropy: [u8; 10]) -> String {
    let text: String = entropy.iter().map(|byte| char::from(BASE32[usize::from(byte & 31)])).collect();
    format!("{}-{}", &text[..5], &text[5..]).to_lowercase()
}

/// A recovery code as it is hashed: without what people add or leave out.
pub fn fold_recovery(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

impl Totp {
    /// The second factor after this code was used, if it is good: a code of the authenticator, or the recovery code with this hash.
    pub fn used(&self, code: &str, recovery_hash: &str, now_ms: i64) -> Option<Self> {
        if let Some(step) = verify(&self.secret, self.last_step, code, now_ms) {
            return Some(Self { last_step: step, ..self.clone() });
        }
        let at = self.recovery.iter().position(|known| constant_time_eq(known.as_bytes(), recovery_hash.as_bytes()))?;
        let mut left = self.clone();
        left.recovery.remove(at);
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        // Appendix B has eight digits; six are the last of them.
        let secret = b"12345678901234567890";
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000_i64, "65353130"),
        ] {
            let step = step_at(seconds * 1000);
            assert_eq!(format!("{:08}", truncated(secret, step) % 100_000_000), code);
            assert_eq!(code_at(secret, step), code[2..]);
        }
    }

    #[test]
    fn a_code_works_once_and_not_long() {
        let secret = to_base32(b"12345678901234567890");
        assert_eq!(secret, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let now_ms = 1_111_111_111_000;
        let step = step_at(now_ms);
        let code = code_at(b"12345678901234567890", step);
        assert_eq!(verify(&secret, 0, &code, now_ms), Some(step));
        assert_eq!(verify(&secret, 0, &format!(" {} {}", &code[..3], &code[3..]), now_ms), Some(step));
        assert_eq!(verify(&secret, 0, &code, now_ms + 30_000), Some(step));
        assert_eq!(verify(&secret, 0, &code, now_ms + 60_000), None, "too old");
        assert_eq!(verify(&secret, step, &code, now_ms), None, "used already");
        assert_eq!(verify(&secret, 0, "", now_ms), None);
    }

    #[test]
    fn recovery_codes_work_once() {
        let totp = Totp { secret: to_base32(b"12345678901234567890"), last_step: 0, recovery: vec!["aa".into(), "bb".into()] };
        let left = totp.used("nothing", "bb", 0).expect("good");
        assert_eq!(left.recovery, ["aa"]);
        assert_eq!(left.used("nothing", "bb", 0), None);
        let code = recovery_code([0, 1, 2, 3, 4, 31, 30, 29, 28, 255]);
        assert_eq!(code, "abcde-76547");
        assert_eq!(fold_recovery(" ABCDE 76547 "), fold_recovery(&code));
    }

    #[test]
    fn the_uri_is_escaped() {
        let uri = uri("ABC", "Ann & Co", "ann@x.example");
        assert_eq!(uri, "otpauth://totp/Ann%20%26%20Co:ann%40x.example?secret=ABC&issuer=Ann%20%26%20Co&algorithm=SHA1&digits=6&period=30");
    }

    proptest! {
        #[test]
        fn base_32_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(from_base32(&to_base32(&bytes)), Some(bytes));
        }
    }
}
