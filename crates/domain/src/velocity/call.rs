//! What can be asked of a value: properties, elements, methods, comparison, its text.
//!
//! Every method answers `None` where Java would have none or throw; the reference then stays as it was written.

use regex::{Regex, RegexBuilder};

use super::run::{Outcome, Run};
use super::value::Loop;
use super::{Value, number};

/// Most bytes that a compiled pattern takes.
const MAX_PATTERN_BYTES: usize = 64 << 10;
/// Steps that compiling a pattern counts for, on top of one for each of its bytes.
const PATTERN_STEPS: usize = 500;

fn loop_property(place: &std::sync::Arc<Loop>, name: &str) -> Option<Value> {
    Some(match name {
        "count" => size(place.index + 1),
        "index" => size(place.index),
        "hasNext" => Value::Bool(place.index + 1 < place.count),
        "first" => Value::Bool(place.index == 0),
        "last" => Value::Bool(place.index + 1 == place.count),
        "parent" => Value::Loop(place.parent.clone()?),
        "topmost" => {
            let mut top = place;
            while let Some(parent) = &top.parent {
                top = parent;
            }
            Value::Loop(top.clone())
        }
        _ => return None,
    })
}

fn size(count: usize) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A place in something of this length; negative ones count from its end.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let place = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(place).ok().filter(|_| place < length)
}

impl Run<'_> {
    /// `value.name`.
    pub(super) fn property(&mut self, value: &Value, name: &str) -> Outcome<Option<Value>> {
        Ok(match value {
            Value::Map(map) => {
                self.visit(map.entries().len())?;
                map.get(&Value::from(name))
            }
            Value::Entry(entry) => match name {
                "key" => Some(entry.0.clone()),
                "value" => Some(entry.1.clone()),
                _ => None,
            },
            Value::Loop(place) => loop_property(place, name),
            Value::Text(text) if name == "empty" => Some(Value::Bool(text.is_empty())),
            Value::List(list) if name == "empty" => Some(Value::Bool(list.items().is_empty())),
            _ => None,
        })
    }

    /// `value[key]`.
    pub(super) fn element(&mut self, value: &Value, key: &Value) -> Outcome<Option<Value>> {
        Ok(match (value, key) {
            (Value::List(list), Value::Integer(index)) => place(*index, list.items().len()).map(|at| list.items()[at].clone()),
            (Value::Map(map), key) => {
                self.visit(map.entries().len())?;
                map.get(key)
            }
            _ => None,
        })
    }

    /// `value.name(given)`.
    pub(super) fn method(&mut self, value: &Value, name: &str, given: &[Option<Value>]) -> Outcome<Option<Value>> {
        match value {
            Value::Escape => self.escaped(name, given),
            Value::Text(text) => self.text_method(text, name, given),
            Value::Map(map) => {
                let entries = map.entries();
                self.visit(entries.len())?;
                Ok(match (name, given) {
                    ("get", [Some(key)]) => map.get(key),
                    ("getOrDefault", [Some(key), default]) => map.get(key).or_else(|| default.clone()),
                    ("containsKey", [Some(key)]) => Some(Value::Bool(map.get(key).is_some())),
                    ("keySet", []) => Some(Value::list(entries.iter().map(|(key, _)| key.clone()).collect())),
                    ("values", []) => Some(Value::list(entries.iter().map(|(_, value)| value.clone()).collect())),
                    ("entrySet", []) => Some(Value::list(entries.iter().map(|entry| Value::Entry(entry.clone().into())).collect())),
                    ("size", []) => Some(size(entries.len())),
                    ("isEmpty", []) => Some(Value::Bool(entries.is_empty())),
                    _ => self.common_method(value, name, given)?,
                })
            }
            Value::List(list) => match (name, given) {
                ("get", [Some(Value::Integer(index))]) if *index >= 0 => {
                    Ok(place(*index, list.items().len()).map(|at| list.items()[at].clone()))
                }
                ("size", []) => Ok(Some(size(list.items().len()))),
                ("isEmpty", []) => Ok(Some(Value::Bool(list.items().is_empty()))),
                ("contains", [Some(wanted)]) => {
                    for item in list.items() {
                        if self.is_equal(item, wanted)? {
                            return Ok(Some(Value::Bool(true)));
                        }
                    }
                    Ok(Some(Value::Bool(false)))
                }
                _ => self.common_method(value, name, given),
            },
            Value::Entry(entry) => match (name, given) {
                ("getKey", []) => Ok(Some(entry.0.clone())),
                ("getValue", []) => Ok(Some(entry.1.clone())),
                _ => self.common_method(value, name, given),
            },
            Value::Loop(place) => Ok(match (name, given) {
                ("hasNext" | "getHasNext", []) => loop_property(place, "hasNext"),
                ("getIndex", []) => loop_property(place, "index"),
                ("getCount", []) => loop_property(place, "count"),
                ("isFirst", []) => loop_property(place, "first"),
                ("isLast", []) => loop_property(place, "last"),
                _ => None,
            }),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => self.common_method(value, name, given),
            Value::Null => Ok(None),
        }
    }

    /// What every Java object can do.
    fn common_method(&mut self, value: &Value, name: &str, given: &[Option<Value>]) -> Outcome<Option<Value>> {
        Ok(match (name, given) {
            ("toString", []) => Some(Value::from(self.text_of(value)?)),
            ("equals", [Some(other)]) => Some(Value::Bool(self.is_equal(value, other)?)),
            ("equals", [None]) => Some(Value::Bool(false)),
            _ => None,
        })
    }

    /// `$esc.name(value)`.
    fn escaped(&mut self, name: &str, given: &[Option<Value>]) -> Outcome<Option<Value>> {
        let [Some(value)] = given else { return Ok(None) };
        let text = self.text_of(value)?;
        let escaped = match name {
            "json" => {
                // A JSON string without its quotes.
                let quoted = serde_json::Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            "xml" => replaced(&text, |c| match c {
                '\'' => Some("&apos;"),
                // What XML cannot hold at all.
                '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F' | '\u{FFFE}' | '\u{FFFF}' => Some(""),
                other => markup(other),
            }),
            "html" => replaced(&text, |c| if c == '\'' { Some("&#39;") } else { markup(c) }),
            "url" => percent_encoded(&text),
            _ => return Ok(None),
        };
        self.copy(escaped.len())?;
        Ok(Some(Value::from(escaped)))
    }

    fn text_method(&mut self, text: &str, name: &str, given: &[Option<Value>]) -> Outcome<Option<Value>> {
        self.copy(text.len())?;
        let mut words = Vec::with_capacity(given.len());
        for value in given {
            let Some(value) = value else { return Ok(None) };
            words.push(if let Value::Text(word) = value { Some(&**word) } else { None });
        }
        let made = match (name, &words[..], given) {
            ("length", [], _) => size(text.encode_utf16().count()),
            ("isEmpty", [], _) => Value::Bool(text.is_empty()),
            ("toUpperCase", [], _) => Value::from(text.to_uppercase()),
            ("toLowerCase", [], _) => Value::from(text.to_lowercase()),
            ("trim", [], _) => Value::from(text.trim_matches(|c: char| c <= ' ')),
            ("substring", [_], [Some(Value::Integer(from))]) => return Ok(substring(text, *from, None)),
            ("substring", [_, _], [Some(Value::Integer(from)), Some(Value::Integer(to))]) => return Ok(substring(text, *from, Some(*to))),
            ("contains", [Some(word)], _) => Value::Bool(text.contains(word)),
            ("startsWith", [Some(word)], _) => Value::Bool(text.starts_with(word)),
            ("endsWith", [Some(word)], _) => Value::Bool(text.ends_with(word)),
            ("equalsIgnoreCase", [Some(word)], _) => Value::Bool(text.to_lowercase() == word.to_lowercase()),
            ("indexOf", [Some(word)], _) => text.find(word).map_or(Value::Integer(-1), |at| size(text[..at].encode_utf16().count())),
            ("lastIndexOf", [Some(word)], _) => text.rfind(word).map_or(Value::Integer(-1), |at| size(text[..at].encode_utf16().count())),
            ("concat", [Some(word)], _) => Value::from(self.joined(&[text, word])?),
            ("replace", [Some(from), Some(to)], _) => {
                // A longer text than fits is refused before it is made.
                self.copy(to.len().saturating_mul(text.matches(from).count()))?;
                Value::from(text.replace(from, to))
            }
            ("replaceAll" | "replaceFirst", [Some(pattern), Some(with)], _) => {
                let Some(pattern) = self.pattern(pattern)? else { return Ok(None) };
                return self.replaced(text, &pattern, with, name == "replaceFirst");
            }
            ("matches", [Some(pattern)], _) => {
                let Some(pattern) = self.pattern(&format!("^(?:{pattern})$"))? else { return Ok(None) };
                Value::Bool(pattern.is_match(text))
            }
            ("split", [Some(pattern)], _) => {
                let Some(pattern) = self.pattern(pattern)? else { return Ok(None) };
                let mut parts: Vec<Value> = Vec::new();
                for part in pattern.split(text) {
                    self.visit(1)?;
                    parts.push(Value::from(part));
                }
                // As in Java, empty parts at the end are left out.
                while parts.len() > 1 && matches!(parts.last(), Some(Value::Text(part)) if part.is_empty()) {
                    parts.pop();
                }
                Value::list(parts)
            }
            _ => return self.common_method(&Value::from(text), name, given),
        };
        Ok(Some(made))
    }

    fn pattern(&mut self, pattern: &str) -> Outcome<Option<Regex>> {
        self.visit(PATTERN_STEPS + pattern.len())?;
        Ok(RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES).build().ok())
    }

    /// As `Matcher.replaceAll`: `$1` is a group, a backslash takes the next character as it is.
    fn replaced(&mut self, text: &str, pattern: &Regex, with: &str, is_first_only: bool) -> Outcome<Option<Value>> {
        let mut out = String::new();
        let mut end = 0;
        for found in pattern.captures_iter(text) {
            self.visit(1)?;
            let whole = found.get(0).expect("a match has a whole");
            // A search may look at all that is left.
            self.copy((text.len() - whole.start()) / 8)?;
            self.write(&mut out, &text[end..whole.start()])?;
            let mut characters = with.chars();
            while let Some(character) = characters.next() {
                let mut buffer = [0; 4];
                match character {
                    '\\' => {
                        let Some(next) = characters.next() else { return Ok(None) };
                        self.write(&mut out, next.encode_utf8(&mut buffer))?;
                    }
                    '$' => {
                        let Some(group) = characters.next().and_then(|digit| digit.to_digit(10)) else { return Ok(None) };
                        if group as usize >= found.len() {
                            return Ok(None);
                        }
                        self.write(&mut out, found.get(group as usize).map_or("", |group| group.as_str()))?;
                    }
                    other => self.write(&mut out, other.encode_utf8(&mut buffer))?,
                }
            }
            end = whole.end();
            if is_first_only {
                break;
            }
        }
        self.write(&mut out, &text[end..])?;
        Ok(Some(Value::from(out)))
    }

    fn joined(&mut self, parts: &[&str]) -> Outcome<String> {
        let mut out = String::new();
        for part in parts {
            self.write(&mut out, part)?;
        }
        Ok(out)
    }

    /// Whether two values are the same: numbers by value, things of one kind by content, others by their text.
    pub(super) fn is_equal(&mut self, left: &Value, right: &Value) -> Outcome<bool> {
        self.visit(1)?;
        Ok(match (left, right) {
            (Value::Text(left), Value::Text(right)) => left == right,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::Integer(_) | Value::Float(_), Value::Integer(_) | Value::Float(_)) => {
                number::compare(left, right).is_some_and(std::cmp::Ordering::is_eq)
            }
            _ => self.text_of(left)? == self.text_of(right)?,
        })
    }

    /// The text of a value.
    pub(super) fn text_of(&mut self, value: &Value) -> Outcome<String> {
        let mut text = String::new();
        self.print(value, &mut text)?;
        Ok(text)
    }

    /// Writes a value as `toString` does.
    pub(super) fn print(&mut self, value: &Value, out: &mut String) -> Outcome<()> {
        self.visit(1)?;
        match value {
            Value::Null => self.write(out, "null"),
            Value::Text(text) => self.write(out, text),
            Value::List(list) => {
                self.write(out, "[")?;
                for (at, item) in list.items().iter().enumerate() {
                    self.write(out, if at > 0 { ", " } else { "" })?;
                    self.print(item, out)?;
                }
                self.write(out, "]")
            }
            Value::Map(map) => {
                self.write(out, "{")?;
                for (at, (name, value)) in map.entries().iter().enumerate() {
                    self.write(out, if at > 0 { ", " } else { "" })?;
                    self.print(name, out)?;
                    self.write(out, "=")?;
                    self.print(value, out)?;
                }
                self.write(out, "}")
            }
            Value::Entry(entry) => {
                self.print(&entry.0, out)?;
                self.write(out, "=")?;
                self.print(&entry.1, out)
            }
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Loop(_) | Value::Escape => {
                let text = value.plain().unwrap_or_default();
                self.write(out, &text)
            }
        }
    }
}

/// A part of a text, counted in UTF-16 units as Java does; `None` outside of it. Half a character becomes `U+FFFD`.
fn substring(text: &str, from: i64, to: Option<i64>) -> Option<Value> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let from = usize::try_from(from).ok()?;
    let to = to.map_or(Some(units.len()), |to| usize::try_from(to).ok())?;
    units.get(from..to).map(|part| Value::from(String::from_utf16_lossy(part)))
}

/// Percent-encoded for any place of a URL: all but letters, digits and `-._~`.
pub(super) fn percent_encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', char::from(DIGITS[usize::from(byte >> 4)]), char::from(DIGITS[usize::from(byte & 0xF)])]);
        }
    }
    out
}

/// What stands for a character in XML and HTML alike.
fn markup(character: char) -> Option<&'static str> {
    Some(match character {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        _ => return None,
    })
}

fn replaced(text: &str, replacement: impl Fn(char) -> Option<&'static str>) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match replacement(character) {
            Some(other) => out.push_str(other),
            None => out.push(character),
        }
    }
    out
}
