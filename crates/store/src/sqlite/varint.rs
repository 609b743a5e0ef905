//! Ascending numbers as bytes: LEB128 of the first, then of each difference.

use posthaste_domain::id::Sequence;

/// Packs ascending sequences.
pub(super) fn pack(members: &[Sequence]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(members.len() * 2 + 6);
    let mut last = 0;
    for member in members {
        let mut delta = (member.0 - last) as u64;
        last = member.0;
        while delta >= 0x80 {
            bytes.push(delta as u8 | 0x80);
            delta >>= 7;
        }
        bytes.push(delta as u8);
    }
    bytes
}

/// Unpacks them. Bytes that were not made by [`pack`] end the list early.
pub(super) fn unpack(bytes: &[u8]) -> Vec<Sequence> {
    let mut members = Vec::new();
    let (mut last, mut delta, mut shift) = (0i64, 0u64, 0u32);
    for byte in bytes {
        if shift > 63 {
            break;
        }
        delta |= u64::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            last = last.wrapping_add(delta as i64);
            members.push(Sequence(last));
            (delta, shift) = (0, 0);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sequences_come_back(mut members in prop::collection::vec(1i64..1 << 43, 0..50)) {
            members.sort_unstable();
            let members: Vec<_> = members.into_iter().map(Sequence).collect();
            prop_assert_eq!(unpack(&pack(&members)), members);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            unpack(&bytes);
        }
    }
}
