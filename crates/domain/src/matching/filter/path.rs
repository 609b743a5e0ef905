//! Paths to a place in a document: `data.items[0].name`, `["key.with.dots"].id`.

use std::fmt;

use serde_json::Value;

use super::error::FilterProblem;

/// A path, kept with the text it was written in.
#[derive(Debug, Clone)]
pub(super) struct FieldPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl FieldPath {
    pub(super) fn parse(text: &str) -> Result<Self, FilterProblem> {
        let bad = |reason: &'static str| FilterProblem::BadPath { reason };
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let named = if let Some(inner) = rest.strip_prefix('[') {
                rest = parse_bracket(inner, &mut steps)?;
                true
            } else {
                let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
                let (name, behind) = rest.split_at(end);
                if !name.is_empty() {
                    steps.push(Step::Key(name.to_owned()));
                }
                rest = behind;
                !name.is_empty()
            };
            if !named {
                return Err(bad("a name is missing before, between or after the dots"));
            }
            if rest.is_empty() {
                return Ok(Self { text: text.to_owned(), steps });
            }
            if let Some(behind) = rest.strip_prefix('.') {
                rest = behind;
                if rest.starts_with('[') {
                    return Err(bad("a bracket follows its list or object without a dot"));
                }
            } else if !rest.starts_with('[') {
                return Err(bad("a dot or a bracket is missing, or a bracket was not opened"));
            }
        }
    }

    /// The value that the path leads to.
    pub(super) fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(document, |value, step| match step {
            Step::Key(key) => value.as_object()?.get(key),
            Step::Index(index) => value.as_array()?.get(*index),
        })
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Reads what stands behind `[` and returns what stands behind the `]`.
fn parse_bracket<'a>(inner: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, FilterProblem> {
    let bad = |reason: &'static str| FilterProblem::BadPath { reason };
    if inner.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let Some(Ok(key)) = strings.next() else {
            return Err(bad("a quoted name in brackets is a JSON string"));
        };
        let behind = &inner[strings.byte_offset()..];
        steps.push(Step::Key(key));
        return behind.strip_prefix(']').ok_or_else(|| bad("a bracket is not closed"));
    }
    let (number, behind) = inner.split_once(']').ok_or_else(|| bad("a bracket is not closed"))?;
    let index = Some(number)
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| bad("brackets hold a place in a list, counted from 0, or a name in double quotes"))?;
    steps.push(Step::Index(index));
    Ok(behind)
}
