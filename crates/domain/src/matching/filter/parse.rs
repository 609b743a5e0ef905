//! Reads a filter from JSON and says where it is wrong.

use serde_json::{Map, Value};

use super::super::value::nesting;
use super::error::{FilterError, FilterProblem};
use super::operator::{Operator, Test};
use super::path::FieldPath;
use super::{Clause, Group, MAX_FILTER_BYTES, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};

const COMBINATORS: [&str; 3] = ["$and", "$or", "$not"];

/// Reads the outermost filter, which alone may be empty.
pub(super) fn filter(value: &Value) -> Result<(Map<String, Value>, Group), FilterError> {
    let place = Place("filter".to_owned());
    let Value::Object(written) = value else {
        return Err(place.wrong(FilterProblem::NotAnObject { found: kind(value) }));
    };
    // Two levels of JSON for each level of a filter, one for the condition, and the operand. Asked first, so that no
    // later step recurses further.
    if nesting(value) > 3 * MAX_FILTER_DEPTH + 1 {
        return Err(place.wrong(FilterProblem::TooDeep));
    }
    let bytes = value.to_string().len();
    if bytes > MAX_FILTER_BYTES {
        return Err(place.wrong(FilterProblem::TooLarge { bytes }));
    }
    let mut parser = Parser { conditions: 0 };
    Ok((written.clone(), parser.entries(written, &place, 1)?))
}

struct Parser {
    conditions: usize,
}

impl Parser {
    /// A filter inside a combinator.
    fn group(&mut self, value: &Value, place: &Place, depth: usize) -> Result<Group, FilterError> {
        let Value::Object(entries) = value else {
            return Err(place.wrong(FilterProblem::NotAnObject { found: kind(value) }));
        };
        if entries.is_empty() {
            return Err(place.wrong(FilterProblem::Empty));
        }
        if depth > MAX_FILTER_DEPTH {
            return Err(place.wrong(FilterProblem::TooDeep));
        }
        self.entries(entries, place, depth)
    }

    fn entries(&mut self, entries: &Map<String, Value>, place: &Place, depth: usize) -> Result<Group, FilterError> {
        entries.iter().map(|(key, value)| self.entry(key, value, &place.field(key), depth)).collect::<Result<_, _>>().map(Group)
    }

    fn entry(&mut self, key: &str, value: &Value, place: &Place, depth: usize) -> Result<Clause, FilterError> {
        match key {
            "$and" => self.list(value, place, depth).map(Clause::And),
            "$or" => self.list(value, place, depth).map(Clause::Or),
            "$not" => self.group(value, place, depth + 1).map(Clause::Not),
            _ if key.starts_with('$') => Err(place.wrong(match Operator::from_name(key) {
                Some(operator) => FilterProblem::OperatorWithoutField { name: operator.name() },
                None => FilterProblem::UnknownCombinator { name: key.to_owned(), suggestion: closest(key, COMBINATORS.into_iter()) },
            })),
            _ => {
                let path = FieldPath::parse(key).map_err(|problem| place.wrong(problem))?;
                Ok(Clause::Field { path, tests: self.condition(key, value, place)? })
            }
        }
    }

    fn list(&mut self, value: &Value, place: &Place, depth: usize) -> Result<Vec<Group>, FilterError> {
        let Value::Array(members) = value else {
            return Err(place.wrong(FilterProblem::NotAList { found: kind(value) }));
        };
        if members.is_empty() {
            return Err(place.wrong(FilterProblem::Empty));
        }
        let groups = members.iter().enumerate();
        groups.map(|(at, member)| self.group(member, &place.member(at), depth + 1)).collect()
    }

    fn condition(&mut self, key: &str, value: &Value, place: &Place) -> Result<Vec<Test>, FilterError> {
        match value {
            Value::Array(_) => Err(place.wrong(FilterProblem::ListCondition)),
            Value::Object(operators) if operators.is_empty() => Err(place.wrong(FilterProblem::Empty)),
            Value::Object(operators) => operators
                .iter()
                .map(|(name, operand)| {
                    let place = place.field(name);
                    let operator = Operator::from_name(name).ok_or_else(|| place.wrong(not_an_operator(key, name)))?;
                    self.test(operator, operand, &place)
                })
                .collect(),
            scalar => Ok(vec![self.test(Operator::Eq, scalar, place)?]),
        }
    }

    fn test(&mut self, operator: Operator, operand: &Value, place: &Place) -> Result<Test, FilterError> {
        self.conditions += 1;
        if self.conditions > MAX_FILTER_CONDITIONS {
            return Err(place.wrong(FilterProblem::TooManyConditions));
        }
        if nesting(operand) > MAX_FILTER_DEPTH {
            return Err(place.wrong(FilterProblem::TooDeep));
        }
        Test::new(operator, operand.clone()).map_err(|expected| {
            let odd = operand.as_array().and_then(|items| items.iter().enumerate().find(|(_, item)| item.is_array() || item.is_object()));
            match odd {
                Some((at, item)) if matches!(operator, Operator::In | Operator::Nin) => {
                    place.member(at).wrong(FilterProblem::BadOperand { expected: "a scalar", found: kind(item) })
                }
                _ => place.wrong(FilterProblem::BadOperand { expected, found: kind(operand) }),
            }
        })
    }
}

/// Where in the filter the parser is.
struct Place(String);

impl Place {
    fn field(&self, key: &str) -> Self {
        Self(format!("{}.{key}", self.0))
    }

    fn member(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }

    fn wrong(&self, problem: FilterProblem) -> FilterError {
        FilterError { path: self.0.clone(), problem }
    }
}

/// Says what an unknown key of a condition probably was meant to be.
fn not_an_operator(field: &str, name: &str) -> FilterProblem {
    if let Some(name) = COMBINATORS.into_iter().find(|&combinator| combinator == name) {
        return FilterProblem::MisplacedCombinator { name };
    }
    let suggestion = closest(name, Operator::ALL.into_iter().map(Operator::name));
    if name.starts_with('$') || suggestion.is_some() {
        return FilterProblem::UnknownOperator { name: name.to_owned(), suggestion };
    }
    FilterProblem::NestedField { name: name.to_owned(), field: format!("{field}.{name}") }
}

/// The candidate that differs from `name` the least, in letter case or at most two letters (one, if it is short).
fn closest(name: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    candidates
        .map(|candidate| (edit_distance(&name, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= if candidate.len() > 4 { 2 } else { 1 })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete or replace to make one text of the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// The kind of a value, with its article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
