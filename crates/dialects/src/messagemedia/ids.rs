//! UUIDs: random ones for resources, and ones made from a name for what an event is called.

use sha1::{Digest, Sha1};

/// Namespace of the ids of reports, replies and notifications.
const NAMESPACE: [u8; 16] = [0x3b, 0x9c, 0x1f, 0x60, 0x5d, 0x0e, 0x4e, 0x86, 0x9a, 0x17, 0x52, 0x6c, 0x0b, 0x7e, 0x44, 0xd1];

/// A random UUID (version 4).
pub(super) fn random() -> String {
    text(rand::random(), 4)
}

/// The UUID of a name (version 5): the same in every attempt.
pub(super) fn of_name(name: &str) -> String {
    let digest = Sha1::new().chain_update(NAMESPACE).chain_update(name.as_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    text(bytes, 5)
}

/// Whether a text is a UUID, in any case of letters.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

fn text(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0F | version << 4;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let hex = posthaste_domain::signature::hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_look_like_uuids() {
        let (random, named) = (random(), of_name("evt_1"));
        assert!(is_uuid(&random) && is_uuid(&named), "{random} {named}");
        assert_eq!((&random[14..15], &named[14..15]), ("4", "5"));
        assert_eq!(named, of_name("evt_1"));
        assert_ne!(named, of_name("evt_2"));
        for bad in ["", "76fa7010", "76fa7010-8c1f-4a24-917a-4d62a54e744", "76fa7010-8c1f-4a24-917a-4d62a54e744g"] {
            assert!(!is_uuid(bad), "{bad}");
        }
        assert!(is_uuid("76FA7010-8C1F-4A24-917A-4D62A54E744D"));
    }
}
