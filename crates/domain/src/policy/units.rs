//! Durations and sizes as people write them: `"500ms"`, `"15s"`, `"5m"`, `"2h"`, `"1d"`;
//! `"1MiB"`, `"512KiB"`, `"64kB"`, `1048576`.
//!
//! One whole number and one unit, both ways: what is written here is read back as the same value.

use std::time::Duration;

use serde::Serializer;

/// Milliseconds of each unit, largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Bytes of each unit, as read. Only the binary ones are written.
const SIZES: [(&str, u64); 7] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000), ("B", 1)];

/// Reads `"15s"`. `None` if it is not one whole number directly followed by one of the units
/// `ms`, `s`, `m`, `h`, `d`, or does not fit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &TIMES).map(Duration::from_millis)
}

/// Writes a duration in the largest unit that divides it; parts of a millisecond are cut off.
#[must_use]
pub fn format_duration(time: Duration) -> String {
    let millis = millis(time).unsigned_abs();
    let (unit, size) = TIMES.into_iter().find(|(_, size)| millis > 0 && millis.is_multiple_of(*size)).unwrap_or(("s", 1000));
    format!("{}{unit}", millis / size)
}

/// Reads `"1MiB"`. `None` if it is not one whole number directly followed by one of the units
/// `B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`, or does not fit.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// Writes a size in the largest binary unit that divides it.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let (unit, size) = SIZES[..3].iter().copied().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

/// Whole milliseconds of a duration; what does not fit is the largest that does.
#[must_use]
pub fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn serialize_duration<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_duration(*time))
}

pub(super) fn serialize_durations<S: Serializer>(times: &[Duration], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(times.iter().copied().map(format_duration))
}

pub(super) fn serialize_bytes<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_bytes(*bytes))
}

/// For `#[serde(serialize_with)]` on an optional duration.
pub(super) fn serialize_optional_duration<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize_duration(time, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, millis) in [("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Some(time));
            assert_eq!(format_duration(time), text);
        }
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        for bad in ["", "s", "15", "1.5s", "-1s", " 1s", "1 s", "1h30m", "1S", "99999999999999d"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_read_and_write() {
        for (text, bytes) in [("1MiB", 1 << 20), ("512KiB", 512 << 10), ("1GiB", 1 << 30), ("10B", 10)] {
            assert_eq!(parse_bytes(text), Some(bytes));
            assert_eq!(format_bytes(bytes), text);
        }
        assert_eq!(parse_bytes("64kB"), Some(64_000));
        assert_eq!(parse_bytes("2MB"), Some(2_000_000));
        for bad in ["", "10", "1mib", "1.5MiB", "99999999999GiB"] {
            assert_eq!(parse_bytes(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn written_is_read_back(millis in 0..=i64::MAX.unsigned_abs(), bytes: u64) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(time)), Some(time));
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Some(bytes));
        }

        #[test]
        fn strangers_text_never_panics(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_bytes(&text);
        }
    }
}
