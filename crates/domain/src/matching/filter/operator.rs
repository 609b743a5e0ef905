//! Operators: what a condition asks of the value at its path.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::super::value::{deep_equal, order, scalar_equal, scalar_text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Nin,
    Exists,
    Prefix,
    Suffix,
    Contains,
}

impl Operator {
    pub(super) const ALL: [Self; 12] = [
        Self::Eq,
        Self::Ne,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::In,
        Self::Nin,
        Self::Exists,
        Self::Prefix,
        Self::Suffix,
        Self::Contains,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Eq => "$eq",
            Self::Ne => "$ne",
            Self::Gt => "$gt",
            Self::Gte => "$gte",
            Self::Lt => "$lt",
            Self::Lte => "$lte",
            Self::In => "$in",
            Self::Nin => "$nin",
            Self::Exists => "$exists",
            Self::Prefix => "$prefix",
            Self::Suffix => "$suffix",
            Self::Contains => "$contains",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.name() == name)
    }

    /// What the operator wants, if `operand` is not it.
    fn refuses(self, operand: &Value) -> Option<&'static str> {
        let (fits, expected) = match self {
            Self::Eq | Self::Ne => return None,
            Self::Gt | Self::Gte | Self::Lt | Self::Lte => (operand.is_number() || operand.is_string(), "a number or a string"),
            Self::In | Self::Nin => {
                (operand.as_array().is_some_and(|items| items.iter().all(|item| scalar_text(item).is_some())), "a list of scalars")
            }
            Self::Exists => (operand.is_boolean(), "true or false"),
            Self::Prefix | Self::Suffix => (operand.is_string(), "a string"),
            Self::Contains => (scalar_text(operand).is_some(), "a scalar"),
        };
        (!fits).then_some(expected)
    }
}

/// An operator with its operand.
#[derive(Debug, Clone)]
pub(super) struct Test {
    operator: Operator,
    operand: Value,
    /// The operand's text, or the sorted texts of the members of a list operand.
    texts: Vec<String>,
}

impl Test {
    /// Joins an operator and its operand; the error says what the operator takes instead.
    pub(super) fn new(operator: Operator, operand: Value) -> Result<Self, &'static str> {
        if let Some(expected) = operator.refuses(&operand) {
            return Err(expected);
        }
        let members = operand.as_array().map_or_else(|| std::slice::from_ref(&operand), Vec::as_slice);
        let mut texts: Vec<String> = members.iter().filter_map(scalar_text).map(Into::into).collect();
        texts.sort_unstable();
        Ok(Self { operator, operand, texts })
    }

    pub(super) fn to_json(&self) -> Value {
        Value::Object(Map::from_iter([(self.operator.name().to_owned(), self.operand.clone())]))
    }

    pub(super) fn holds(&self, found: Option<&Value>) -> bool {
        match self.operator {
            Operator::Eq => self.equals(found),
            Operator::Ne => !self.equals(found),
            Operator::Gt => self.ordered(found, Ordering::is_gt),
            Operator::Gte => self.ordered(found, Ordering::is_ge),
            Operator::Lt => self.ordered(found, Ordering::is_lt),
            Operator::Lte => self.ordered(found, Ordering::is_le),
            Operator::In => self.is_member(found),
            Operator::Nin => !self.is_member(found),
            Operator::Exists => self.operand.as_bool() == Some(found.is_some()),
            Operator::Prefix => self.text_of(found, |text, part| text.starts_with(part)),
            Operator::Suffix => self.text_of(found, |text, part| text.ends_with(part)),
            Operator::Contains => match found {
                Some(Value::Array(items)) => items.iter().any(|item| scalar_equal(item, &self.operand)),
                other => self.text_of(other, |text, part| text.contains(part)),
            },
        }
    }

    fn equals(&self, found: Option<&Value>) -> bool {
        found.is_some_and(|found| deep_equal(found, &self.operand))
    }

    fn ordered(&self, found: Option<&Value>, wanted: fn(Ordering) -> bool) -> bool {
        found.and_then(|found| order(found, &self.operand)).is_some_and(wanted)
    }

    fn is_member(&self, found: Option<&Value>) -> bool {
        found.and_then(scalar_text).is_some_and(|text| self.texts.binary_search_by(|member| member.as_str().cmp(&text)).is_ok())
    }

    /// Compares the text of a string or number with the text of the operand.
    fn text_of(&self, found: Option<&Value>, holds: fn(&str, &str) -> bool) -> bool {
        let text = found.filter(|found| found.is_string() || found.is_number()).and_then(scalar_text);
        text.zip(self.texts.first()).is_some_and(|(text, part)| holds(&text, part))
    }
}
