//! Ascending numbers as bytes: LEB128 of the first, then of each difference.

use posthaste_domain::id::Sequence;

/// Packs ascending sequences.
pub(crate) fn pack(members: &[Sequence]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(members.len() * 2 + 6);
    let mut last = 0;
    for member in members {
        put(&mut bytes, (member.0 - last) as u64);
        last = member.0;
    }
    bytes
}

/// Adds one number.
pub(crate) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes one number off; `None` when there is none.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Unpacks them. Bytes that were not made by [`pack`] end the list early.
pub(crate) fn unpack(bytes: &[u8]) -> Vec<Sequence> {
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
