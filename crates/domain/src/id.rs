//! Identifiers.
//!
//! Two families, both `prefix_` + 26 characters of Crockford base 32 that sort by time:
//! - *Journal ids* (events, deliveries) hold 48 bits of time, 16 bits of checksum and the 64-bit journal number, so a lookup needs no
//!   index and a mistyped or invented id is refused before the store is asked.
//! - *Resource ids* hold 48 bits of time and 80 random bits.
//!
//! No id contains a `.`, so each may serve as a `webhook-id` (Standard Webhooks section 3).

use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Position of an event in its journal: dense, starts at 1, below 2^43, assigned in commit order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub i64);

/// Identity of a delivery: the sequence of its (first) event and an ordinal among that event's deliveries.
///
/// Packed as `sequence << 20 | ordinal`, so that the deliveries of one event are one contiguous key range and the order of keys
/// is the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryKey(pub i64);

/// Bits of a [`DeliveryKey`] that hold the ordinal.
pub const ORDINAL_BITS: u32 = 20;
/// The most deliveries one event can have (1,048,575).
pub const MAX_ORDINAL: u32 = (1 << ORDINAL_BITS) - 1;

impl DeliveryKey {
    /// The key of delivery `ordinal` of the event at `sequence`.
    pub fn new(sequence: Sequence, ordinal: u32) -> Self {
        debug_assert!(ordinal <= MAX_ORDINAL && sequence.0 >= 0);
        Self(sequence.0 << ORDINAL_BITS | i64::from(ordinal))
    }

    /// The event, or first event of the batch, that this delivery carries.
    pub fn sequence(self) -> Sequence {
        Sequence(self.0 >> ORDINAL_BITS)
    }

    /// Which of the event's deliveries this is, from 0.
    pub fn ordinal(self) -> u32 {
        (self.0 & i64::from(MAX_ORDINAL)) as u32
    }

    /// The smallest and largest possible keys of an event.
    pub fn range_of(sequence: Sequence) -> (Self, Self) {
        (Self::new(sequence, 0), Self::new(sequence, MAX_ORDINAL))
    }
}

/// Public id of an event, `evt_…`; `received_ms` is its time of receipt.
pub fn event_id(sequence: Sequence, received_ms: i64) -> String {
    journal_id("evt", received_ms, sequence.0 as u64)
}

/// Public id of a delivery, `dlv_…`; `received_ms` is the time of receipt of its (first) event. Stable over retries and restarts.
pub fn delivery_id(key: DeliveryKey, received_ms: i64) -> String {
    journal_id("dlv", received_ms, key.0 as u64)
}

/// Reads an event id into its sequence and time; `None` when malformed.
pub fn parse_event_id(id: &str) -> Option<(Sequence, i64)> {
    parse_journal_id("evt", id).map(|(ms, n)| (Sequence(n), ms))
}

/// Reads a delivery id into its key and time; `None` when malformed.
pub fn parse_delivery_id(id: &str) -> Option<(DeliveryKey, i64)> {
    parse_journal_id("dlv", id).map(|(ms, n)| (DeliveryKey(n), ms))
}

/// A random UUID (RFC 9562 version 4) from 122 of these bits.
pub fn uuid(entropy: [u8; 16]) -> String {
    let value = u128::from_be_bytes(entropy) & !(0xF << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let hex = format!("{value:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A fresh resource id such as `tgt_…` from the time and 80 bits of entropy.
pub fn resource_id(prefix: &str, now_ms: i64, entropy: [u8; 10]) -> String {
    let mut value = u128::from(now_ms.max(0) as u64 & 0xFFFF_FFFF_FFFF) << 80;
    for (i, byte) in entropy.iter().enumerate() {
        value |= u128::from(*byte) << (8 * (9 - i));
    }
    encode(prefix, value)
}

/// 26 characters of base 32 for arbitrary 128-bit entropy: unguessable tokens in URLs.
pub fn token(prefix: &str, entropy: [u8; 16]) -> String {
    encode(prefix, u128::from_be_bytes(entropy))
}

fn checksum(ms: u64, number: u64) -> u16 {
    let mut x = ms ^ number.rotate_left(23) ^ 0x9E37_79B9_7F4A_7C15;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) as u16
}

fn journal_id(prefix: &str, ms: i64, number: u64) -> String {
    let ms = ms.max(0) as u64 & 0xFFFF_FFFF_FFFF;
    encode(prefix, u128::from(ms) << 80 | u128::from(checksum(ms, number)) << 64 | u128::from(number))
}

fn parse_journal_id(prefix: &str, id: &str) -> Option<(i64, i64)> {
    let value = decode(prefix, id)?;
    let (ms, number) = ((value >> 80) as u64, value as u64);
    let valid = (value >> 64) as u16 == checksum(ms, number) && number <= i64::MAX as u64;
    valid.then_some((ms as i64, number as i64))
}

fn encode(prefix: &str, mut value: u128) -> String {
    let mut digits = [0; 26];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[value as usize & 31];
        value >>= 5;
    }
    let mut out = String::with_capacity(prefix.len() + 27);
    out.push_str(prefix);
    out.push('_');
    out.push_str(std::str::from_utf8(&digits).expect("the alphabet is ASCII"));
    out
}

fn decode(prefix: &str, id: &str) -> Option<u128> {
    let digits = id.strip_prefix(prefix)?.strip_prefix('_')?.as_bytes();
    if digits.len() != 26 || digits[0] > b'7' {
        return None;
    }
    digits.iter().try_fold(0u128, |value, digit| {
        let digit = ALPHABET.iter().position(|c| c == digit)?;
        Some(value << 5 | digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn journal_ids_round_trip_and_sort_by_time(ms in 0i64..1 << 47, n in 0i64..i64::MAX, later in 1i64..1 << 40) {
            let id = delivery_id(DeliveryKey(n), ms);
            prop_assert_eq!(parse_delivery_id(&id), Some((DeliveryKey(n), ms)));
            prop_assert!(id < delivery_id(DeliveryKey(0), ms + later));
            // STDWH-3: a webhook-id holds no full stop.
            prop_assert!(!id.contains('.'));
        }

        #[test]
        fn foreign_text_is_refused(text in ".{0,40}") {
            prop_assert_eq!(parse_event_id(&text), None);
        }
    }

    #[test]
    fn a_changed_digit_is_refused() {
        let id = event_id(Sequence(42), 1_700_000_000_000);
        let wrong = format!("{}{}", &id[..id.len() - 1], if id.ends_with('3') { '4' } else { '3' });
        assert_eq!(parse_event_id(&wrong), None);
    }

    #[test]
    fn keys_of_one_event_are_contiguous() {
        let (low, high) = DeliveryKey::range_of(Sequence(7));
        assert_eq!(DeliveryKey::new(Sequence(8), 0).0, high.0 + 1);
        assert_eq!((low.ordinal(), high.ordinal(), high.sequence()), (0, MAX_ORDINAL, Sequence(7)));
    }
}
