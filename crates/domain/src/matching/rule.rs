//! Rules: a JSON object that an event must contain.
//!
//! A rule matches when each of its keys is in the event with an equal value; other fields of the event do not matter.
//! Objects inside compare the same way, arrays must agree in length and element by element, scalars compare by text
//! (`"100"` of a form meets the number `100`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::value::{nesting, scalar_equal};

/// Largest compact JSON text of a rule, in bytes.
pub const MAX_RULE_BYTES: usize = 16 * 1024;
/// Deepest nesting of objects and arrays in a rule, the outer object included.
pub const MAX_RULE_DEPTH: usize = 16;
/// Most scalars, arrays and empty objects in a rule.
pub const MAX_RULE_VALUES: usize = 64;

/// Why a JSON value cannot be a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// Not a JSON object.
    #[error("rule: expected a JSON object of keys and values")]
    NotAnObject,
    /// An object without keys, which would match every event.
    #[error("rule: at least one key is needed")]
    Empty,
    /// More than [`MAX_RULE_DEPTH`] levels.
    #[error("rule: nested more than {MAX_RULE_DEPTH} levels deep")]
    TooDeep,
    /// More than [`MAX_RULE_VALUES`] values.
    #[error("rule: more than {MAX_RULE_VALUES} values")]
    TooManyValues,
    /// More than [`MAX_RULE_BYTES`] bytes.
    #[error("rule: {bytes} bytes of JSON, at most {MAX_RULE_BYTES} are allowed")]
    TooLarge {
        /// Size of the compact text.
        bytes: usize,
    },
}

/// A non-empty JSON object that an event must contain. Serialises as that object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Rule(Map<String, Value>);

impl Rule {
    /// Takes a JSON object as a rule.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when it is not an object, is empty or exceeds a limit.
    pub fn parse(value: Value) -> Result<Self, RuleError> {
        if !value.is_object() {
            return Err(RuleError::NotAnObject);
        }
        if nesting(&value) > MAX_RULE_DEPTH {
            return Err(RuleError::TooDeep);
        }
        if count_values(&value) > MAX_RULE_VALUES {
            return Err(RuleError::TooManyValues);
        }
        let bytes = value.to_string().len();
        if bytes > MAX_RULE_BYTES {
            return Err(RuleError::TooLarge { bytes });
        }
        match value {
            Value::Object(object) if object.is_empty() => Err(RuleError::Empty),
            Value::Object(object) => Ok(Self(object)),
            _ => Err(RuleError::NotAnObject),
        }
    }

    /// A rule from an object that is known to be non-empty and small.
    pub(super) fn from_object(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// The keys and values of the rule.
    #[must_use]
    pub fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether an event contains the rule. What is not an object contains nothing.
    #[must_use]
    pub fn matches(&self, document: &Value) -> bool {
        document.as_object().is_some_and(|fields| contains(fields, &self.0))
    }

    /// Like [`Rule::matches`], and when the rule is the unedited one of its definition, also if the event has the same
    /// text under `event` instead of `event_name`.
    #[must_use]
    pub fn matches_definition(&self, document: &Value, is_default: bool) -> bool {
        self.matches(document) || (is_default && self.under_event().is_some_and(|alternative| alternative.matches(document)))
    }

    /// What an unedited rule also accepts: the value of its only key `event_name` under `event`.
    pub(super) fn under_event(&self) -> Option<Self> {
        let name = self.0.get("event_name").filter(|_| self.0.len() == 1)?;
        Some(Self(Map::from_iter([("event".to_owned(), name.clone())])))
    }

    /// Whether some event could match both rules, so that only one of their definitions would get it.
    ///
    /// Symmetric. Rules are taken literally: what unedited rules accept besides is not considered, since any two of
    /// them would overlap in an event that has both fields.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        compatible_objects(&self.0, &other.0)
    }
}

impl TryFrom<Value> for Rule {
    type Error = RuleError;

    fn try_from(value: Value) -> Result<Self, RuleError> {
        Self::parse(value)
    }
}

impl From<Rule> for Value {
    fn from(rule: Rule) -> Self {
        Self::Object(rule.0)
    }
}

fn contains(fields: &Map<String, Value>, rule: &Map<String, Value>) -> bool {
    rule.iter().all(|(key, wanted)| fields.get(key).is_some_and(|found| value_contains(found, wanted)))
}

fn value_contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => contains(found, wanted),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| value_contains(found, wanted))
        }
        _ => scalar_equal(found, wanted),
    }
}

fn compatible_objects(left: &Map<String, Value>, right: &Map<String, Value>) -> bool {
    left.iter().all(|(key, value)| right.get(key).is_none_or(|other| compatible(value, other)))
}

/// Whether one value can contain both.
fn compatible(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => compatible_objects(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| compatible(left, right))
        }
        _ => scalar_equal(left, right),
    }
}

fn count_values(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(count_values).sum::<usize>().max(1),
        Value::Array(items) => 1 + items.iter().map(count_values).sum::<usize>(),
        _ => 1,
    }
}
