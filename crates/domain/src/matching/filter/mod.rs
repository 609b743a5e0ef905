//! Filters: conditions on the payload of an event, written as JSON.
//!
//! ```text
//! filter     = { entry, ... }                 every entry must hold; {} holds always
//! entry      = "path": condition
//!            | "$and": [filter, ...]          all hold
//!            | "$or":  [filter, ...]          at least one holds
//!            | "$not": filter                 does not hold
//! path       = name { "." name | "[0]" | "[\"any name\"]" }
//! condition  = scalar                         the same as {"$eq": scalar}
//!            | { operator: operand, ... }     every operator must hold
//! ```
//!
//! | Operator | Operand | Holds when the value at the path |
//! |---|---|---|
//! | `$eq`, `$ne` | anything | equals, does not equal the operand |
//! | `$gt`, `$gte`, `$lt`, `$lte` | number or string | is greater, at least, less, at most |
//! | `$in`, `$nin` | list of scalars | equals one, equals none |
//! | `$exists` | boolean | is there (`null` is there), is not there |
//! | `$prefix`, `$suffix` | string | is text that begins, ends with it |
//! | `$contains` | scalar | is text with it inside, or a list with an equal element |
//!
//! Scalars are equal when their texts are (`"100"` equals `100`); lists and objects are equal when they are all the way
//! down. Strings are ordered as text and numbers by exact value; a number and a string that spells a number are ordered
//! by value, all else has no order and no ordering operator holds. Numbers count as text for `$prefix`, `$suffix` and
//! `$contains`. Where the path leads nowhere only `$ne`, `$nin` and `{"$exists": false}` hold.
//!
//! # Invariants
//!
//! - `$ne` is the negation of `$eq`, `$nin` of `$in`, for every document.
//! - A filter is bounded by [`MAX_FILTER_BYTES`], [`MAX_FILTER_DEPTH`] and [`MAX_FILTER_CONDITIONS`], so a match costs at
//!   most that many look-ups.

mod error;
mod operator;
mod parse;
mod path;

pub use error::{FilterError, FilterProblem};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use operator::Test;
use path::FieldPath;

/// Largest compact JSON text of a filter, in bytes.
pub const MAX_FILTER_BYTES: usize = 16 * 1024;
/// Deepest nesting of filters inside `$and`, `$or` and `$not`, the outer filter included; also the deepest nesting of
/// an operand.
pub const MAX_FILTER_DEPTH: usize = 16;
/// Most operators in a filter.
pub const MAX_FILTER_CONDITIONS: usize = 256;

/// A condition on a payload. Serialises as the JSON it was written in; the default holds always.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Filter {
    written: Map<String, Value>,
    group: Group,
}

/// What one operator of a filter found in a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Where the condition stands in the filter, such as `$or[1].amount`.
    pub path: String,
    /// The condition with its operator, such as `{"$gt":5}`.
    pub condition: Value,
    /// Whether this condition alone holds; a `$not` around it is not considered.
    pub held: bool,
    /// The value at the path, if there is one.
    pub found: Option<Value>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// [`FilterError`] with the place of the offending part.
    pub fn parse(value: &Value) -> Result<Self, FilterError> {
        let (written, group) = parse::filter(value)?;
        Ok(Self { written, group })
    }

    /// Whether the filter holds for a payload.
    #[must_use]
    pub fn matches(&self, document: &Value) -> bool {
        self.group.holds(document)
    }

    /// What each operator found in a payload, in the order of writing.
    #[must_use]
    pub fn explain(&self, document: &Value) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.group.explain("", document, &mut findings);
        findings
    }

    /// Whether the filter has no conditions and so holds always.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.group.0.is_empty()
    }
}

/// Filters are equal when they are written the same, key order aside.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Filter {}

impl TryFrom<Value> for Filter {
    type Error = FilterError;

    fn try_from(value: Value) -> Result<Self, FilterError> {
        Self::parse(&value)
    }
}

impl From<Filter> for Value {
    fn from(filter: Filter) -> Self {
        Self::Object(filter.written)
    }
}

/// Clauses that must all hold.
#[derive(Debug, Clone, Default)]
struct Group(Vec<Clause>);

#[derive(Debug, Clone)]
enum Clause {
    Field { path: FieldPath, tests: Vec<Test> },
    And(Vec<Group>),
    Or(Vec<Group>),
    Not(Group),
}

impl Group {
    fn holds(&self, document: &Value) -> bool {
        self.0.iter().all(|clause| match clause {
            Clause::Field { path, tests } => {
                let found = path.find(document);
                tests.iter().all(|test| test.holds(found))
            }
            Clause::And(groups) => groups.iter().all(|group| group.holds(document)),
            Clause::Or(groups) => groups.iter().any(|group| group.holds(document)),
            Clause::Not(group) => !group.holds(document),
        })
    }

    /// `place` is where the group stands in the filter, empty or ending in a dot.
    fn explain(&self, place: &str, document: &Value, findings: &mut Vec<Finding>) {
        let each = |name: &str, groups: &[Self], findings: &mut Vec<Finding>| {
            for (at, group) in groups.iter().enumerate() {
                group.explain(&format!("{place}{name}[{at}]."), document, findings);
            }
        };
        for clause in &self.0 {
            match clause {
                Clause::Field { path, tests } => {
                    let found = path.find(document);
                    findings.extend(tests.iter().map(|test| Finding {
                        path: format!("{place}{path}"),
                        condition: test.to_json(),
                        held: test.holds(found),
                        found: found.cloned(),
                    }));
                }
                Clause::And(groups) => each("$and", groups, findings),
                Clause::Or(groups) => each("$or", groups, findings),
                Clause::Not(group) => group.explain(&format!("{place}$not."), document, findings),
            }
        }
    }
}
