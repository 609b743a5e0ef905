//! Reading the headers of a mail that its sender wrote as a whole.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// The headers of a mail in their order: names as written, values unfolded with encoded words (RFC 2047) read. Bytes that are not UTF-8
/// are replaced.
pub fn headers(mail: &[u8]) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in mail.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(line);
        if text.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(text.trim());
            }
        } else if let Some((name, value)) = text.split_once(':') {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    for (_, value) in &mut headers {
        *value = decode_words(value);
    }
    headers
}

/// The first header of a name.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Reads encoded words; what cannot be read stays as it is written.
fn decode_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Space between two encoded words belongs to neither.
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, from) = rest.split_at(at);
        let Some((word, length)) = encoded_word(from) else {
            out.push_str(before);
            out.push_str("=?");
            rest = &from[2..];
            after_word = false;
            continue;
        };
        if !(after_word && before.trim().is_empty()) {
            out.push_str(before);
        }
        out.push_str(&word);
        rest = &from[length..];
        after_word = true;
    }
    out.push_str(rest);
    out
}

/// The encoded word at the start of a text, and its length.
fn encoded_word(text: &str) -> Option<(String, usize)> {
    let mut parts = text.strip_prefix("=?")?.splitn(3, '?');
    let (charset, encoding, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (payload, behind) = rest.split_once("?=")?;
    if payload.contains(' ') {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => LENIENT.decode(payload).ok()?,
        "Q" | "q" => quoted(payload)?,
        _ => return None,
    };
    // RFC 2231 allows a language behind the character set.
    let charset = charset.split('*').next().unwrap_or_default().to_ascii_lowercase();
    let read = match charset.as_str() {
        "utf-8" | "utf8" | "us-ascii" => String::from_utf8_lossy(&bytes).into_owned(),
        "iso-8859-1" | "latin1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => return None,
    };
    Some((read.chars().filter(|c| !c.is_control()).collect(), text.len() - behind.len()))
}

fn quoted(payload: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(payload.len());
    let mut bytes = payload.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' => out.push(b' '),
            b'=' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
            }
            byte => out.push(byte),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_unfolded_and_decoded() {
        let mail = b"From: =?utf-8?q?=C3=85sa_L?= <a@b>\r\nSUBJECT: =?UTF-8?B?R3LDvMOf?=\r\n =?iso-8859-1*de?Q?e_=FC?= and\r\n\tmore\nodd\r\n: x\r\n\r\nTo: body";
        let read = headers(mail);
        assert_eq!(header(&read, "from"), Some("\u{c5}sa L <a@b>"));
        assert_eq!(header(&read, "Subject"), Some("Gr\u{fc}\u{df}e \u{fc} and more"));
        assert_eq!(header(&read, "to"), None);
    }

    #[test]
    fn what_cannot_be_read_stays() {
        for text in ["=?x?Q?a?=", "=?utf-8?X?a?=", "=?utf-8?Q?a b?=", "=?utf-8?Q?=zz?=", "=?utf-8?Q", "=? ?=", "a =?= b"] {
            assert_eq!(decode_words(text), text);
        }
        assert_eq!(decode_words("=?utf-8?q?a=0D=0Ab?="), "ab");
    }

    proptest! {
        #[test]
        fn nothing_panics(mail in prop::collection::vec(any::<u8>(), 0..200), text in "(=\\?|utf-8|\\?|Q|b|=C3|\\?=| |a){0,20}") {
            headers(&mail);
            decode_words(&text);
        }
    }
}
