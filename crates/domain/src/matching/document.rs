//! Tools on JSON *text*: the bytes a sender wrote are measured, cut and joined, never re-serialised.
//!
//! Everything works on UTF-8 bytes and keeps values byte for byte: number spelling (`1.0`, `1e400`), escapes, key order
//! and duplicate keys survive. [`valid_json`] is the gate; the other functions never panic on text that did not pass it.

use serde::de::IgnoredAny;
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Deepest nesting of arrays and objects that [`parse_document`] follows.
pub const MAX_DOCUMENT_DEPTH: usize = 128;

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason} at line {line} column {column}")]
pub struct JsonError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in bytes, counted from 1; 0 when the text ended right after a line break.
    pub column: usize,
    /// What was wrong, in words, without the position.
    pub reason: String,
}

/// Why a text has no top-level fields.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAnObject {
    /// The text is not JSON.
    #[error(transparent)]
    Invalid(#[from] JsonError),
    /// The text is JSON, but an array or a scalar.
    #[error("expected a JSON object, found {found}")]
    OtherKind {
        /// What stands there instead, with its article: `an array`, `a string`, …
        found: &'static str,
    },
}

/// Accepts every text that RFC 8259 allows, of any nesting: numbers of any magnitude, duplicate keys and escaped lone
/// surrogates included. A byte order mark is refused.
///
/// # Errors
///
/// [`JsonError`] with the place of the first byte that does not fit, also when the bytes are not UTF-8.
pub fn valid_json(raw: &[u8]) -> Result<(), JsonError> {
    if let Err(error) = std::str::from_utf8(raw) {
        let before = &raw[..error.valid_up_to()];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        return Err(JsonError {
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: before.len() - line_start + 1,
            reason: "the text is not UTF-8".to_owned(),
        });
    }
    // `IgnoredAny` walks the grammar without evaluating numbers or surrogates and without recursion.
    serde_json::from_slice::<IgnoredAny>(raw).map(drop).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let position = format!(" at line {line} column {column}");
        JsonError { line, column, reason: text.strip_suffix(&position).unwrap_or(&text).to_owned() }
    })
}

/// Whether lists and objects of a JSON text are nested more than `limit` deep.
pub fn is_too_deep(json: &[u8], limit: usize) -> bool {
    // Nearly every document has too few brackets to be deep, and counting them is much cheaper than following them.
    // Bytes are counted in bytes, which processors do many at a time.
    let opening = |chunk: &[u8]| chunk.iter().fold(0u8, |count, byte| count + u8::from(matches!(byte, b'{' | b'[')));
    if json.chunks(255).map(|chunk| usize::from(opening(chunk))).sum::<usize>() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Drops whitespace outside strings and keeps every other byte.
#[must_use]
pub fn minify(raw: &[u8]) -> Vec<u8> {
    let mut compact = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'"' => {
                let end = string_end(raw, at);
                compact.extend_from_slice(&raw[at..end]);
                at = end;
            }
            byte => {
                if !is_space(byte) {
                    compact.push(byte);
                }
                at += 1;
            }
        }
    }
    compact
}

/// Counts the Unicode characters of the compact form of a JSON text, as `JSON.stringify` prints it.
///
/// Whitespace outside strings counts nothing. A `\uXXXX` escape counts as the character it stands for, a surrogate pair
/// as one. Quote, backslash and control characters count as their shortest escape (2 or 6); a lone surrogate can only be
/// escaped, so it counts 6. Numbers count as they are written, because they are stored that way.
#[must_use]
pub fn count_characters(raw: &[u8]) -> usize {
    let mut count = 0;
    let mut at = 0;
    let mut in_string = false;
    while at < raw.len() {
        let byte = raw[at];
        if byte == b'"' {
            in_string = !in_string;
            count += 1;
            at += 1;
        } else if in_string && byte == b'\\' {
            let (escape, length) = read_escape(&raw[at..]);
            count += match escape {
                Escape::Character(character) => printed_length(character),
                Escape::LoneSurrogate => 6,
            };
            at += length;
        } else {
            // Continuation bytes belong to a character that is counted already.
            if (in_string || !is_space(byte)) && byte & 0xC0 != 0x80 {
                count += 1;
            }
            at += 1;
        }
    }
    count
}

/// The fields of a JSON object: keys decoded (lone surrogates become U+FFFD), values byte for byte as written, in the
/// order of the text, duplicates kept.
///
/// # Errors
///
/// [`NotAnObject`] when the text is not JSON or not an object.
pub fn top_level_fields(raw: &[u8]) -> Result<Vec<(String, &[u8])>, NotAnObject> {
    valid_json(raw)?;
    let mut at = skip_space(raw, 0);
    let found = match raw.get(at) {
        Some(b'{') => None,
        Some(b'[') => Some("an array"),
        Some(b'"') => Some("a string"),
        Some(b't' | b'f') => Some("a boolean"),
        Some(b'n') => Some("null"),
        _ => Some("a number"),
    };
    if let Some(found) = found {
        return Err(NotAnObject::OtherKind { found });
    }
    let mut fields = Vec::new();
    at = skip_space(raw, at + 1);
    while raw.get(at) == Some(&b'"') {
        let key_end = string_end(raw, at);
        let key = decode_string(&raw[at..key_end]);
        let colon = skip_space(raw, key_end);
        let start = skip_space(raw, colon + 1);
        let end = value_end(raw, start);
        fields.push((key, &raw[start..end]));
        at = skip_space(raw, end);
        if raw.get(at) == Some(&b',') {
            at = skip_space(raw, at + 1);
        }
    }
    Ok(fields)
}

/// Joins fields to a compact JSON object: keys are escaped, values are copied verbatim and must be JSON themselves.
#[must_use]
pub fn build_object<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut object = vec![b'{'];
    for (key, value) in fields {
        if object.len() > 1 {
            object.push(b',');
        }
        serde_json::to_writer(&mut object, key).expect("writing a string to memory cannot fail");
        object.push(b':');
        object.extend_from_slice(value);
    }
    object.push(b'}');
    object
}

/// Reads a payload for matching, more leniently than a strict reader would: the last of duplicate keys wins, lone
/// surrogates become U+FFFD, and a number too large for a double becomes a string of its own spelling.
///
/// Integers beyond 64 bits are rounded like every other number; integers up to 64 bits are exact.
/// `None` when the text is not JSON or nests deeper than [`MAX_DOCUMENT_DEPTH`].
#[must_use]
pub fn parse_document(raw: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(raw) {
        return Some(value);
    }
    valid_json(raw).ok()?;
    let mut reader = Reader { raw, at: skip_space(raw, 0) };
    reader.value(0)
}

/// Builds values from text that [`valid_json`] has accepted.
struct Reader<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        let start = self.at;
        match self.raw.get(start)? {
            b'{' | b'[' if depth == MAX_DOCUMENT_DEPTH => None,
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => Some(Value::String(self.string())),
            _ => {
                self.at = value_end(self.raw, start);
                Some(match std::str::from_utf8(&self.raw[start..self.at]).ok()? {
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    "null" => Value::Null,
                    number => number.parse::<Number>().map_or_else(|_| Value::String(number.to_owned()), Value::Number),
                })
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut object = Map::new();
        self.step();
        while self.raw.get(self.at) == Some(&b'"') {
            let key = self.string();
            self.at = skip_space(self.raw, self.at);
            self.step();
            let value = self.value(depth)?;
            object.insert(key, value);
            self.separator();
        }
        self.at += 1;
        Some(Value::Object(object))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut array = Vec::new();
        self.step();
        while self.raw.get(self.at)? != &b']' {
            array.push(self.value(depth)?);
            self.separator();
        }
        self.at += 1;
        Some(Value::Array(array))
    }

    fn string(&mut self) -> String {
        let start = self.at;
        self.at = string_end(self.raw, start);
        decode_string(&self.raw[start..self.at])
    }

    /// Passes one structural byte and the space behind it.
    fn step(&mut self) {
        self.at = skip_space(self.raw, self.at + 1);
    }

    /// Passes the comma behind an element, if there is one.
    fn separator(&mut self) {
        self.at = skip_space(self.raw, self.at);
        if self.raw.get(self.at) == Some(&b',') {
            self.step();
        }
    }
}

enum Escape {
    Character(char),
    LoneSurrogate,
}

/// Reads the escape that begins with the backslash at the front of `raw`: what it stands for and how many bytes it takes.
/// An escape that JSON does not know stands for the character behind the backslash.
fn read_escape(raw: &[u8]) -> (Escape, usize) {
    let simple = match raw.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return read_unicode_escape(raw),
        Some(&other) if other.is_ascii() => char::from(other),
        _ => return (Escape::Character('\\'), 1),
    };
    (Escape::Character(simple), 2)
}

fn read_unicode_escape(raw: &[u8]) -> (Escape, usize) {
    let unit = |at: usize| -> Option<u32> {
        let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |sum, &digit| Some(sum * 16 + char::from(digit).to_digit(16)?))
    };
    let Some(first) = unit(0) else {
        return (Escape::Character('u'), 2);
    };
    if let Some(character) = char::from_u32(first) {
        return (Escape::Character(character), 6);
    }
    // `first` is a surrogate, since four hex digits exceed no other range.
    let pair = match (first, unit(6)) {
        (0xD800..=0xDBFF, Some(second @ 0xDC00..=0xDFFF)) => char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)),
        _ => None,
    };
    pair.map_or((Escape::LoneSurrogate, 6), |character| (Escape::Character(character), 12))
}

/// How many characters `JSON.stringify` prints for `character` inside a string.
fn printed_length(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
        '\0'..='\u{1f}' => 6,
        _ => 1,
    }
}

/// Decodes a string literal with its quotes.
fn decode_string(literal: &[u8]) -> String {
    let inner = literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default();
    let mut decoded = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(backslash) = rest.iter().position(|&byte| byte == b'\\') {
        decoded.push_str(&String::from_utf8_lossy(&rest[..backslash]));
        let (escape, length) = read_escape(&rest[backslash..]);
        decoded.push(match escape {
            Escape::Character(character) => character,
            Escape::LoneSurrogate => char::REPLACEMENT_CHARACTER,
        });
        rest = &rest[backslash + length..];
    }
    decoded.push_str(&String::from_utf8_lossy(rest));
    decoded
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn skip_space(raw: &[u8], mut at: usize) -> usize {
    while raw.get(at).is_some_and(|&byte| is_space(byte)) {
        at += 1;
    }
    at
}

/// The place behind the string literal whose opening quote stands at `at`; the end of the text when it is not closed.
fn string_end(raw: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = raw.get(end) {
        match byte {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    raw.len()
}

/// The place behind the value that begins at `at`.
fn value_end(raw: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut end = at;
    while let Some(&byte) = raw.get(end) {
        match byte {
            b'"' => end = string_end(raw, end),
            b'{' | b'[' => {
                depth += 1;
                end += 1;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                end += 1;
            }
            _ if depth > 0 => end += 1,
            // Numbers and words end where something else begins.
            b',' | b'}' | b']' => return end,
            _ if is_space(byte) => return end,
            _ => {
                end += 1;
                continue;
            }
        }
        if depth == 0 {
            return end;
        }
    }
    raw.len()
}
