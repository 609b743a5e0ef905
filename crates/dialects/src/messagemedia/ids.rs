//! UUIDs: random ones for resources, and ones made from a name for what an event is called.

use posthaste_domain::id;
use posthaste_domain::signature::hmac_sha256;

/// A random one.
pub(super) fn random() -> String {
    id::uuid(rand::random())
}

/// The one of a name: the same in every attempt.
pub(super) fn of_name(name: &str) -> String {
    let hash = hmac_sha256(b"messagemedia id", name.as_bytes());
    id::uuid(hash[..16].try_into().expect("a hash has 32 bytes"))
}

/// Whether a text is a UUID, in any case of letters.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_look_like_uuids() {
        let (random, named) = (random(), of_name("evt_1"));
        assert!(is_uuid(&random) && is_uuid(&named), "{random} {named}");
        assert_eq!(named, of_name("evt_1"));
        assert_ne!(named, of_name("evt_2"));
        for bad in ["", "76fa7010", "76fa7010-8c1f-4a24-917a-4d62a54e744", "76fa7010-8c1f-4a24-917a-4d62a54e744g"] {
            assert!(!is_uuid(bad), "{bad}");
        }
        assert!(is_uuid("76FA7010-8C1F-4A24-917A-4D62A54E744D"));
    }
}
