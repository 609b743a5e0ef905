//! UUIDs in their usual spelling.

use posthaste_domain::signature::hmac_sha256;

/// A random one.
pub fn random() -> String {
    text(rand::random())
}

/// The one of a delivery: the same in all its attempts, another one for each delivery.
pub fn of_delivery(delivery_id: &str) -> String {
    let hash = hmac_sha256(b"momentum batch id", delivery_id.as_bytes());
    text(hash[..16].try_into().expect("a hash has 32 bytes"))
}

/// Version 4 and the usual variant (RFC 9562), so that strict receivers take it.
fn text(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let hex = posthaste_domain::signature::hex(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_look_like_uuids_and_are_stable() {
        let id = of_delivery("dlv_1");
        assert_eq!(id, of_delivery("dlv_1"));
        assert_ne!(id, of_delivery("dlv_2"));
        for id in [id, random()] {
            assert_eq!(id.len(), 36);
            assert_eq!((id.as_bytes()[14], id.as_bytes()[8], id.as_bytes()[23]), (b'4', b'-', b'-'));
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        }
    }
}
