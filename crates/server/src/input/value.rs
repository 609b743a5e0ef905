//! Reads a JSON value into a type and says which field is wrong.
//!
//! A deserializer over [`Value`] that keeps the path: serde's own errors name neither the field nor, for unknown ones, the field that was
//! meant. It knows structs, lists, options, scalars and enums of plain names, which is all that requests are made of.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde_json::Value;

use super::closest::suggestion;
use crate::codes::Code;
use crate::problem::Problem;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub(crate) struct InputError {
    code: Code,
    path: String,
    reason: String,
}

impl InputError {
    fn new(code: Code, path: &str, reason: impl Into<String>) -> Self {
        Self { code, path: path.to_owned(), reason: reason.into() }
    }

    fn expected(what: &str, found: &Value) -> Self {
        Self::new(Code::InvalidField, "", format!("expected {what}, found {}", kind_of(found)))
    }

    /// The same fault, seen from outside of the field `prefix`.
    pub(crate) fn under(mut self, prefix: &str) -> Self {
        self.path = join_path(prefix, &self.path);
        self
    }
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        if error.path.is_empty() {
            return Problem::new(error.code, format!("the body: {}", error.reason));
        }
        Problem::new(error.code, format!("{}: {}", error.path, error.reason)).at(error.path)
    }
}

impl de::Error for InputError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(Code::InvalidField, "", message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Code::InvalidField, "", format!("expected {expected}, found {unexpected}"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let typed: String = variant.chars().take(64).collect();
        Self::new(Code::InvalidField, "", format!("{typed:?} is not a value of this field{}", suggestion(&typed, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let typed: String = field.chars().take(64).collect();
        Self::new(Code::UnknownField, &typed, format!("this field is not known{}", suggestion(&typed, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Code::MissingField, field, "this field is needed")
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Code::InvalidField, field, "this field is given twice")
    }
}

/// `settings` and `url` give `settings.url`; `errors` and `[3]` give `errors[3]`.
pub(crate) fn join_path(prefix: &str, path: &str) -> String {
    match path {
        "" => prefix.to_owned(),
        path if path.starts_with('[') || prefix.is_empty() => format!("{prefix}{path}"),
        path => format!("{prefix}.{path}"),
    }
}

/// A JSON value's kind with its article.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads `value` as `T`.
pub(crate) fn read_value<T: de::DeserializeOwned>(value: Value) -> Result<T, InputError> {
    T::deserialize(Node(value))
}

struct Node(Value);

macro_rules! whole_numbers {
    ($($method:ident: $type:ident),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InputError> {
            match self.0.as_number().map(|n| (n.as_u64(), n.as_i64())) {
                Some((Some(n), _)) if $type::try_from(n).is_ok() => visitor.visit_u64(n),
                Some((_, Some(n))) if $type::try_from(n).is_ok() => visitor.visit_i64(n),
                Some(_) => {
                    let reason = format!("expected a whole number from {} to {}", $type::MIN, $type::MAX);
                    Err(InputError::new(Code::InvalidField, "", reason))
                }
                None => Err(InputError::expected("a whole number", &self.0)),
            }
        })+
    };
}

impl<'de> de::Deserializer<'de> for Node {
    type Error = InputError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InputError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(n), ..) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (.., Some(n)) => visitor.visit_f64(n),
                _ => Err(de::Error::custom("this number cannot be used")),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            Value::Object(map) => visitor.visit_map(Fields { entries: map.into_iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InputError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, InputError> {
        if self.0.is_object() { self.deserialize_any(visitor) } else { Err(InputError::expected("an object", &self.0)) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InputError> {
        if self.0.is_array() { self.deserialize_any(visitor) } else { Err(InputError::expected("a list", &self.0)) }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InputError> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            other => Err(InputError::expected("a string", &other)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InputError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InputError> {
        if self.0.is_boolean() { self.deserialize_any(visitor) } else { Err(InputError::expected("true or false", &self.0)) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InputError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            other => Err(InputError::expected(&format!("one of {}", names.join(", ")), &other)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, InputError> {
        visitor.visit_newtype_struct(self)
    }

    whole_numbers!(deserialize_u16: u16, deserialize_u32: u32, deserialize_u64: u64, deserialize_i64: i64);

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items {
    type Error = InputError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, InputError> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|error| error.under(&format!("[{index}]")))
    }
}

struct Fields {
    entries: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
}

impl<'de> de::MapAccess<'de> for Fields {
    type Error = InputError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, InputError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key.clone(), value));
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, InputError> {
        let (key, value) = self.value.take().ok_or_else(|| <InputError as de::Error>::custom("a value was asked for before its key"))?;
        seed.deserialize(Node(value)).map_err(|error| error.under(&key))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Large,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Column {
        heading: String,
        #[serde(default)]
        width: Option<u16>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        columns: Vec<Column>,
        size: Size,
        anything: Value,
    }

    #[test]
    fn reads_what_fits() {
        let table: Table = read_value(json!({
            "columns": [{"heading": "a", "width": null}, {"heading": "b", "width": 7}], "size": "large", "anything": {"x": [1, -2, 0.5, null, true]},
        }))
        .expect("reads");
        assert_eq!((table.columns[0].width, table.columns[1].width), (None, Some(7)));
        assert_eq!(table.columns[1].heading, "b");
        assert!(matches!(table.size, Size::Large));
        assert!(!matches!(table.size, Size::Small));
        assert_eq!(table.anything, json!({"x": [1, -2, 0.5, null, true]}));
    }

    #[test]
    fn names_the_field_and_the_one_that_was_meant() {
        let good = json!({"columns": [{"heading": "a"}], "size": "small", "anything": 1});
        for (pointer, value, path, reason) in [
            ("/columns", json!({}), "columns", "expected a list, found an object"),
            ("/columns/0", json!([]), "columns[0]", "expected an object, found a list"),
            ("/columns/0/heading", json!(3), "columns[0].heading", "expected a string, found a number"),
            ("/columns/0", json!({"heading": "a", "widht": 3}), "columns[0].widht", "this field is not known; did you mean \"width\"?"),
            ("/columns/0", json!({}), "columns[0].heading", "this field is needed"),
            ("/columns/0", json!({"heading": "a", "width": 70000}), "columns[0].width", "expected a whole number from 0 to 65535"),
            ("/size", json!("smal"), "size", "\"smal\" is not a value of this field; did you mean \"small\"?"),
            ("/size", json!(1), "size", "expected one of small, large, found a number"),
            ("", json!([]), "", "expected an object, found a list"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect("the place exists") = value;
            let error = read_value::<Table>(bad).expect_err("refused");
            assert_eq!((error.path.as_str(), error.reason.as_str()), (path, reason));
        }
    }
}
