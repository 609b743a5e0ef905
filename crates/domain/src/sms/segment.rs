//! A text as segments of 140 octets.

use super::alphabet::{ESCAPE, decode_gsm7, encode_gsm7};

/// Septets of a message that is one segment, and of each of several.
const GSM7: (usize, usize) = (160, 153);
/// The same in UTF-16 units.
const UCS2: (usize, usize) = (70, 67);
/// Segments that one message can have: the count is one octet.
pub const MAX_SEGMENTS: usize = 255;

/// How octets mean text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// GSM's default alphabet, one septet an octet.
    Gsm7,
    /// UTF-16, big end first. (UCS-2 by name; phones read surrogate pairs.)
    Ucs2,
    /// ISO 8859-1.
    Latin1,
    /// ASCII, or UTF-8, which is the same where it is ASCII.
    Utf8,
}

/// A text as segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// [`Coding::Gsm7`] if the whole text is in its alphabet, else [`Coding::Ucs2`].
    pub coding: Coding,
    /// The octets of each segment, without headers; at least one, empty for an empty text.
    pub parts: Vec<Vec<u8>>,
}

/// Splits a text, in the coding that needs the fewest segments.
#[must_use]
pub fn segment(text: &str) -> Segments {
    if let Some(septets) = encode_gsm7(text) {
        let parts = split(&septets, GSM7, |last| last == ESCAPE);
        return Segments { coding: Coding::Gsm7, parts: parts.into_iter().map(<[u8]>::to_vec).collect() };
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    let parts = split(&units, UCS2, |last| (0xD800..0xDC00).contains(&last));
    Segments {
        coding: Coding::Ucs2,
        parts: parts.into_iter().map(|part| part.iter().flat_map(|unit| unit.to_be_bytes()).collect()).collect(),
    }
}

/// Parts of at most so many units; none ends in a unit that belongs to the next.
fn split<T: Copy>(units: &[T], (single, several): (usize, usize), leads: impl Fn(T) -> bool) -> Vec<&[T]> {
    if units.len() <= single {
        return vec![units];
    }
    let mut parts = Vec::with_capacity(units.len() / several + 1);
    let mut rest = units;
    while !rest.is_empty() {
        let mut end = rest.len().min(several);
        if end < rest.len() && leads(rest[end - 1]) {
            end -= 1;
        }
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

/// Octets as text. What cannot be read shows as the replacement character.
#[must_use]
pub fn decode(coding: Coding, octets: &[u8]) -> String {
    match coding {
        Coding::Gsm7 => decode_gsm7(octets),
        Coding::Latin1 => octets.iter().map(|&octet| char::from(octet)).collect(),
        Coding::Utf8 => String::from_utf8_lossy(octets).into_owned(),
        Coding::Ucs2 => {
            let pairs = octets.chunks_exact(2);
            let odd = !pairs.remainder().is_empty();
            let units = pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            let mut text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
            if odd {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            text
        }
    }
}
