//! JSON text as a value, with everything refused that a value would silently lose or bend: fields given twice, numbers beyond a double,
//! escapes that are no character. Every refusal has the path of the field and its place in the text.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::value::join_path;
use crate::codes::Code;
use crate::problem::Problem;

/// Deepest nesting of what becomes configuration. Payloads, which stay text, have a limit of their own.
pub(super) const MAX_CONFIGURATION_DEPTH: usize = 64;

/// Reads text that is JSON already, at most [`MAX_CONFIGURATION_DEPTH`] deep. `root` is the field of the body that the text is the value of;
/// empty for the whole body.
pub(super) fn read(json: &[u8], root: &str) -> Result<Value, Problem> {
    let fault = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let seed = Seed { place: None, depth: 0, fault: &fault };
    seed.deserialize(&mut deserializer).map_err(|error| {
        let Fault { path, is_too_deep } = fault.take().unwrap_or_default();
        let text = error.to_string();
        let reason = match text.split(" at line ").next().unwrap_or(&text) {
            // The text is JSON: no escape is broken, but one of them may be half a character.
            reason if reason.contains("hex escape") || reason.contains("surrogate") => "half of a surrogate pair is not a character",
            reason => reason,
        };
        let code = if is_too_deep { Code::JsonTooDeep } else { Code::InvalidField };
        match join_path(root, &path).as_str() {
            "" => Problem::new(code, format!("the body: {reason}")).position(error.line(), error.column()),
            path if root.is_empty() => Problem::new(code, format!("{path}: {reason}")).at(path).position(error.line(), error.column()),
            // The place is one within the value: for the body it would mislead.
            path => Problem::new(code, format!("{path}: {reason}")).at(path),
        }
    })
}

/// Where the innermost failure was.
#[derive(Default)]
struct Fault {
    path: String,
    is_too_deep: bool,
}

/// A place in the document, as a list that leads outwards.
struct Place<'p> {
    outer: Option<&'p Place<'p>>,
    step: Step<'p>,
}

enum Step<'p> {
    Field(&'p str),
    Item(usize),
}

impl Place<'_> {
    fn path(&self) -> String {
        let outer = self.outer.map(Place::path).unwrap_or_default();
        match self.step {
            Step::Field(name) => join_path(&outer, &name.chars().take(64).collect::<String>()),
            Step::Item(index) => format!("{outer}[{index}]"),
        }
    }

    /// The field of the document that holds this place.
    fn top(&self) -> String {
        self.outer.map_or_else(|| self.path(), Place::top)
    }
}

#[derive(Clone, Copy)]
struct Seed<'p> {
    place: Option<&'p Place<'p>>,
    depth: usize,
    fault: &'p RefCell<Option<Fault>>,
}

impl Seed<'_> {
    fn note(&self, path: impl FnOnce() -> String, is_too_deep: bool) {
        self.fault.borrow_mut().get_or_insert_with(|| Fault { path: path(), is_too_deep });
    }

    fn deeper<E: de::Error>(&self) -> Result<usize, E> {
        if self.depth == MAX_CONFIGURATION_DEPTH {
            self.note(|| self.place.map(Place::top).unwrap_or_default(), true);
            return Err(E::custom(format_args!("lists and objects of configuration may be nested {MAX_CONFIGURATION_DEPTH} deep")));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self).inspect_err(|_| self.note(|| self.place.map(Place::path).unwrap_or_default(), false))
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        loop {
            let place = Place { outer: self.place, step: Step::Item(list.len()) };
            match items.next_element_seed(Seed { place: Some(&place), depth, fault: self.fault })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let place = Place { outer: self.place, step: Step::Field(&name) };
            if map.contains_key(&name) {
                self.note(|| place.path(), false);
                return Err(de::Error::custom("this field is given twice"));
            }
            let value = entries.next_value_seed(Seed { place: Some(&place), depth, fault: self.fault })?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_a_value_can_hold() {
        let text = r#" {"a": [1, -2, 0.5, 18446744073709551615, null, true, "é\n\ud83d\ude00"], "b": {"c": {}}} "#;
        assert_eq!(read(text.as_bytes(), ""), Ok(serde_json::from_str(text).expect("JSON")));
        assert_eq!(read(b"3", ""), Ok(json!(3)));
    }

    #[test]
    fn names_what_it_cannot() {
        let deep = |depth: usize| format!("{{\"a\":{{\"b\":{}{}}}}}", "[".repeat(depth), "]".repeat(depth));
        for (text, code, field, reason) in [
            (r#"{"a":1,"a":2}"#.to_owned(), Code::InvalidField, Some("a"), "this field is given twice"),
            (r#"{"a":[{"b":1},{"c":{"d":1,"d":1}}]}"#.to_owned(), Code::InvalidField, Some("a[1].c.d"), "this field is given twice"),
            (r#"{"a":{"n":[1,1e400]}}"#.to_owned(), Code::InvalidField, Some("a.n[1]"), "number out of range"),
            (r#"{"a":"\ud800"}"#.to_owned(), Code::InvalidField, Some("a"), "half of a surrogate pair"),
            (r#"[{"a":1,"a":1}]"#.to_owned(), Code::InvalidField, Some("[0].a"), "this field is given twice"),
            (r#"{"\ud800":1}"#.to_owned(), Code::InvalidField, None, "half of a surrogate pair"),
            (deep(63), Code::JsonTooDeep, Some("a"), "nested 64 deep"),
            (deep(128), Code::JsonTooDeep, Some("a"), "nested 64 deep"),
        ] {
            let problem = read(text.as_bytes(), "").expect_err("refused");
            assert_eq!((problem.code(), problem.field()), (code, field), "{text}: {}", problem.detail());
            assert!(problem.detail().contains(reason), "{text}: {}", problem.detail());
        }
        assert!(read(deep(62).as_bytes(), "").is_ok());
        let within = read(br#"[{"a":1,"a":2}]"#, "blocks").expect_err("refused");
        assert_eq!(within.field(), Some("blocks[0].a"));
    }
}
