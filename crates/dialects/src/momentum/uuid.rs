//! UUIDs in their usual spelling.

use posthaste_domain::id;
use posthaste_domain::signature::hmac_sha256;

/// A random one.
pub fn random() -> String {
    id::uuid(rand::random())
}

/// The one of a delivery: the same in all its attempts, another one for each delivery.
pub fn of_delivery(delivery_id: &str) -> String {
    let hash = hmac_sha256(b"momentum batch id", delivery_id.as_bytes());
    id::uuid(hash[..16].try_into().expect("a hash has 32 bytes"))
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
