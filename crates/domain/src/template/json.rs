//! Event data in and out: a JSON reader that fails on no number and on no lone surrogate, and the `json_encode` writer.
//!
//! The payload of an event is kept byte for byte elsewhere; this is only what templates see of it. An integer beyond `i64`
//! and a number beyond `f64` print exactly as they were sent, a lone surrogate becomes U+FFFD, of equal keys the last wins.

use std::sync::Arc;

use minijinja::value::Value;

use super::value::{self, BigNumber, Fault, MAX_DEPTH, Meter, View, marks};

/// Reads one JSON document.
///
/// # Errors
/// [`Fault::Bad`] when it is not JSON or nests deeper than [`MAX_DEPTH`].
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader { text: &text, bytes: text.as_bytes(), at: 0 };
    let document = reader.value(0)?;
    reader.blank();
    if reader.at < reader.bytes.len() {
        return Err(reader.bad());
    }
    Ok(document)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bad(&self) -> Fault {
        Fault::bad(format!("the event's data is not valid JSON at byte {}", self.at))
    }

    fn blank(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Consumes `byte` if it is next after blanks.
    fn eat(&mut self, byte: u8) -> bool {
        self.blank();
        let hit = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(hit);
        hit
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { Err(self.bad()) }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.bad())
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        self.blank();
        match self.bytes.get(self.at) {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                Err(Fault::bad(format!("the event's data is nested more than {MAX_DEPTH} levels deep")))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::from),
            Some(b't') => self.word("true", Value::from(true)),
            Some(b'f') => self.word("false", Value::from(false)),
            Some(b'n') => self.word("null", Value::from(())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.bad()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        self.expect(b'{')?;
        let mut pairs: Vec<(Arc<str>, Value)> = Vec::new();
        if self.eat(b'}') {
            return value::map(pairs);
        }
        loop {
            self.blank();
            let key = self.string()?;
            self.expect(b':')?;
            pairs.push((key.into(), self.value(depth + 1)?));
            if self.eat(b'}') {
                return value::map(pairs);
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Fault> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        if self.eat(b']') {
            return value::list(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return value::list(items);
            }
            self.expect(b',')?;
        }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        if let Ok(number) = text.parse::<i64>() {
            return Ok(Value::from(number));
        }
        let number: f64 = text.parse().map_err(|_| self.bad())?;
        let integer = !text.contains(['.', 'e', 'E']);
        if integer || number.is_infinite() {
            return Ok(Value::from_object(BigNumber(text.into())));
        }
        Ok(Value::from(number))
    }

    fn string(&mut self) -> Result<String, Fault> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.bad());
        }
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\')).ok_or_else(|| self.bad())?;
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain + 1;
            if rest[plain] == b'"' {
                break;
            }
            let escape = self.bytes.get(self.at).copied().ok_or_else(|| self.bad())?;
            self.at += 1;
            out.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.unicode_escape()?,
                _ => return Err(self.bad()),
            });
        }
        Ok(match marks::strip(&out) {
            std::borrow::Cow::Borrowed(_) => out,
            std::borrow::Cow::Owned(stripped) => stripped,
        })
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let unit =
            digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| self.bad())?;
        self.at += 4;
        Ok(unit)
    }

    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let unit = self.hex4()?;
        if (0xD800..0xDC00).contains(&unit) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

/// Compact JSON with `/` and everything outside ASCII unescaped (MsgGO specification O-8).
///
/// # Errors
/// [`Fault::TooSlow`] when the meter runs out.
pub(super) fn encode(value: &Value, meter: &Meter) -> Result<String, Fault> {
    let mut out = String::new();
    write(value, &mut out, meter)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String, meter: &Meter) -> Result<(), Fault> {
    let before = out.len();
    match value::view(value) {
        View::Undefined | View::Null => out.push_str("null"),
        View::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        View::Int(number) => out.push_str(&number.to_string()),
        View::Float(number) if number.is_finite() => out.push_str(&format!("{number:?}")),
        View::Float(_) => out.push_str("null"),
        View::Big(text) => out.push_str(text),
        View::Str(text) => {
            meter.take(text.len())?;
            write_string(&text, out);
        }
        View::List(list) => {
            out.push('[');
            for (at, item) in list.items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out, meter)?;
            }
            out.push(']');
            return meter.take(2 + list.items.len());
        }
        View::Map(map) => {
            out.push('{');
            for (at, (key, item)) in map.entries.iter().enumerate() {
                meter.take(key.len() + 4)?;
                if at > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write(item, out, meter)?;
            }
            out.push('}');
            return meter.take(2);
        }
    }
    meter.take(out.len() - before)
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
