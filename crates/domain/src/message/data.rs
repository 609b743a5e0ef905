//! Reading message data without building it: names and raw values, borrowed from the payload.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The payload of an event about a message: a flat list of its fields in their order.
///
/// Lenient: a field that is absent, `null` or of another type than asked for is `None` (or empty). Of a name that comes twice the last
/// counts, as in other readers of JSON.
#[derive(Debug)]
pub struct MessageData<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> MessageData<'a> {
    /// Reads a payload; `None` if it is no JSON object.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_slice(payload);
        let fields = reader.deserialize_map(Fields).ok()?;
        reader.end().ok()?;
        Some(Self { fields })
    }

    /// A field as it is written.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.fields.iter().rev().find(|(field, _)| field == name);
        found.map(|(_, raw)| *raw).filter(|raw| raw.get() != "null")
    }

    /// A text; numbers and booleans as they are written. Borrowed unless it holds escapes.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text_of(self.raw(name)?)
    }

    /// A whole number, also if written as text or with a zero fraction.
    pub fn integer(&self, name: &str) -> Option<i64> {
        let text = self.text(name)?;
        let text = text.trim();
        text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number as i64)
        })
    }

    /// A truth: `true`, `yes`, `1` and their opposites, in any case.
    pub fn truth(&self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        match () {
            () if ["true", "yes", "1"].iter().any(|word| text.eq_ignore_ascii_case(word)) => Some(true),
            () if ["false", "no", "0"].iter().any(|word| text.eq_ignore_ascii_case(word)) => Some(false),
            () => None,
        }
    }

    /// A list of texts; a single text is a list of one. Members that are neither texts, numbers nor booleans are left out.
    pub fn list(&self, name: &str) -> Vec<String> {
        let Some(raw) = self.raw(name) else { return Vec::new() };
        if !raw.get().starts_with('[') {
            return text_of(raw).map(Cow::into_owned).into_iter().collect();
        }
        let members: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        members.into_iter().filter_map(text_of).map(Cow::into_owned).collect()
    }

    /// An object; empty if it is none.
    pub fn object(&self, name: &str) -> Map<String, Value> {
        self.raw(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    /// All fields in their order, those that are `null` included.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.fields.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }
}

/// A scalar as text. A raw value is valid JSON without space around it, so its first byte tells what it is.
fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => match text[1..text.len() - 1].contains('\\') {
            false => Some(Cow::Borrowed(&text[1..text.len() - 1])),
            true => serde_json::from_str(text).ok().map(Cow::Owned),
        },
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(16);
        while let Some(Name(name)) = map.next_key()? {
            fields.push((name, map.next_value()?));
        }
        Ok(fields)
    }
}

/// A name, borrowed where it can be.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_leniently() {
        let payload =
            br#" {"a":"x","b":"q\"\u00e9","n":12,"f":12.0,"g":1.5,"t":true,"z":null,"l":["x",1,null,{}],"o":{"k":[1]},"a":"y","s":" 7 "} "#;
        let data = MessageData::parse(payload).expect("an object");
        assert!(matches!(data.text("a"), Some(Cow::Borrowed("y"))), "the last of a name counts");
        assert_eq!(data.text("b").as_deref(), Some("q\"é"));
        assert_eq!((data.text("n").as_deref(), data.text("t").as_deref()), (Some("12"), Some("true")));
        assert_eq!((data.text("z"), data.text("l"), data.text("o"), data.text("none")), (None, None, None, None));
        assert_eq!(
            (data.integer("n"), data.integer("f"), data.integer("g"), data.integer("s"), data.integer("a")),
            (Some(12), Some(12), None, Some(7), None)
        );
        assert_eq!((data.truth("t"), data.truth("a")), (Some(true), None));
        assert_eq!((data.list("l"), data.list("a"), data.list("o")), (vec!["x".into(), "1".into()], vec!["y".into()], vec![]));
        assert_eq!(data.object("o").len(), 1);
        assert!(data.object("a").is_empty() && data.raw("z").is_none());
        assert_eq!(data.fields().map(|(name, _)| name).collect::<String>(), "abnfgtzloas");
    }

    #[test]
    fn only_objects_are_message_data() {
        for bad in ["", "[]", "1", "\"x\"", "{", "{} {}", "{\"a\":}"] {
            assert!(MessageData::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(MessageData::parse(b"{}").is_some());
    }

    proptest! {
        #[test]
        fn texts_and_names_come_back(name in ".{0,12}", text in ".{0,40}") {
            let payload = serde_json::to_vec(&serde_json::json!({ &name: text })).expect("serializes");
            let data = MessageData::parse(&payload).expect("an object");
            let read = data.text(&name);
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn nothing_panics(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(data) = MessageData::parse(&payload) {
                for (name, _) in data.fields() {
                    let _ = (data.text(name), data.integer(name), data.list(name), data.object(name), data.truth(name));
                }
            }
        }
    }
}
