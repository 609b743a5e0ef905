//! The default alphabet of GSM (3GPP TS 23.038, 6.2.1) with its extension table, and septets in octets.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Leads to the extension table.
pub(super) const ESCAPE: u8 = 0x1B;
/// Fills seven spare bits, so that nobody reads them as `@` (3GPP TS 23.038, 6.1.2.3.1).
const FILLER: u8 = 0x0D;

/// The character of each septet; the escape stands for itself.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1B}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// Septets after an escape.
const EXTENSION: [(u8, char); 10] = [
    (0x0A, '\u{0C}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2F, '\\'),
    (0x3C, '['),
    (0x3D, '~'),
    (0x3E, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

struct Tables {
    characters: Vec<char>,
    septets: HashMap<char, (bool, u8)>,
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let characters: Vec<char> = BASIC.chars().collect();
        let basic = (0u8..).zip(&characters).filter(|(septet, _)| *septet != ESCAPE).map(|(septet, c)| (*c, (false, septet)));
        let septets = basic.chain(EXTENSION.iter().map(|(septet, c)| (*c, (true, *septet)))).collect();
        Tables { characters, septets }
    })
}

/// A text in septets, one an octet; `None` if a character is not in the alphabet.
#[must_use]
pub fn encode_gsm7(text: &str) -> Option<Vec<u8>> {
    let tables = tables();
    let mut septets = Vec::with_capacity(text.len());
    for c in text.chars() {
        let (extended, septet) = tables.septets.get(&c)?;
        if *extended {
            septets.push(ESCAPE);
        }
        septets.push(*septet);
    }
    Some(septets)
}

/// Septets, one an octet, as text. An unknown extension shows its basic character, an escape at the end a space, an octet above 127
/// the replacement character.
#[must_use]
pub fn decode_gsm7(septets: &[u8]) -> String {
    let tables = tables();
    let basic = |septet: u8| tables.characters.get(usize::from(septet)).copied().unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut text = String::with_capacity(septets.len());
    let mut rest = septets.iter();
    while let Some(&septet) = rest.next() {
        if septet != ESCAPE {
            text.push(basic(septet));
            continue;
        }
        match rest.next() {
            None | Some(&ESCAPE) => text.push(' '),
            Some(&septet) => {
                let extended = EXTENSION.iter().find(|row| row.0 == septet).map(|row| row.1);
                text.push(extended.unwrap_or_else(|| basic(septet)));
            }
        }
    }
    text
}

/// Septets put together without gaps, least significant bits first, after `fill` bits of zero (0 to 6: what a user data header needs to end on
/// a septet).
#[must_use]
pub fn pack_septets(septets: &[u8], fill: u8) -> Vec<u8> {
    let fill = usize::from(fill);
    let bits = fill + septets.len() * 7;
    let mut octets = vec![0u8; bits.div_ceil(8)];
    let spare = octets.len() * 8 - bits;
    let filler = (spare == 7).then_some(&FILLER);
    for (place, septet) in septets.iter().chain(filler).enumerate() {
        let bit = fill + place * 7;
        let shifted = u16::from(septet & 0x7F) << (bit % 8);
        let [low, high] = shifted.to_le_bytes();
        octets[bit / 8] |= low;
        if high != 0 {
            octets[bit / 8 + 1] |= high;
        }
    }
    octets
}

/// The septets in packed octets, one an octet, after `fill` bits. A filler in the last seven bits is left out.
#[must_use]
pub fn unpack_septets(octets: &[u8], fill: u8) -> Vec<u8> {
    let fill = usize::from(fill);
    let bits = octets.len() * 8;
    let count = bits.saturating_sub(fill) / 7;
    let septet = |place: usize| {
        let bit = fill + place * 7;
        let low = octets[bit / 8];
        let high = octets.get(bit / 8 + 1).copied().unwrap_or_default();
        (u16::from_le_bytes([low, high]) >> (bit % 8)) as u8 & 0x7F
    };
    let mut septets: Vec<u8> = (0..count).map(septet).collect();
    if fill + count * 7 == bits && septets.last() == Some(&FILLER) {
        septets.pop();
    }
    septets
}
