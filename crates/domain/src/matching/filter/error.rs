//! What can be wrong with a filter, always with the place.

use thiserror::Error;

use super::{MAX_FILTER_BYTES, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};

/// A filter that cannot be used, such as `filter.$or[1].amount.$gtt: unknown operator "$gtt"; did you mean "$gt"?`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {problem}")]
pub struct FilterError {
    /// Where the offending part stands, beginning with `filter`.
    pub path: String,
    /// What is wrong with it.
    pub problem: FilterProblem,
}

/// What is wrong with a part of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FilterProblem {
    /// A filter is not a JSON object.
    #[error("expected an object of conditions, found {found}")]
    NotAnObject {
        /// What stands there instead.
        found: &'static str,
    },
    /// A filter inside `$and`, `$or` or `$not`, or an object of operators, is empty.
    #[error("at least one condition is needed")]
    Empty,
    /// `$and` or `$or` without a list.
    #[error("expected a list of filters, found {found}")]
    NotAList {
        /// What stands there instead.
        found: &'static str,
    },
    /// A list as a condition.
    #[error("expected a scalar or an object of operators, found a list; for one of several values use \"$in\"")]
    ListCondition,
    /// A key that begins with `$` among fields and is no combinator.
    #[error("unknown combinator {name:?}{}", did_you_mean(*suggestion))]
    UnknownCombinator {
        /// The key as written.
        name: String,
        /// The combinator that resembles it.
        suggestion: Option<&'static str>,
    },
    /// An operator that stands where a field is expected.
    #[error("the operator {name:?} belongs under a field, as in {{\"amount\": {{{name:?}: ...}}}}")]
    OperatorWithoutField {
        /// The operator.
        name: &'static str,
    },
    /// A key of a condition that is no operator.
    #[error("unknown operator {name:?}{}", did_you_mean(*suggestion))]
    UnknownOperator {
        /// The key as written.
        name: String,
        /// The operator that resembles it.
        suggestion: Option<&'static str>,
    },
    /// A field name inside a condition.
    #[error("unknown operator {name:?}; a nested field is written with a dot, as \"{field}\"")]
    NestedField {
        /// The key as written.
        name: String,
        /// The path that was probably meant.
        field: String,
    },
    /// A combinator under a field.
    #[error("{name:?} joins whole filters and cannot stand under a field")]
    MisplacedCombinator {
        /// The combinator.
        name: &'static str,
    },
    /// An operand of a kind that its operator cannot use.
    #[error("expected {expected}, found {found}")]
    BadOperand {
        /// What the operator takes.
        expected: &'static str,
        /// What stands there instead.
        found: &'static str,
    },
    /// A path that cannot be read.
    #[error("the path cannot be read: {reason}")]
    BadPath {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// More than [`MAX_FILTER_DEPTH`] levels.
    #[error("nested more than {MAX_FILTER_DEPTH} levels deep")]
    TooDeep,
    /// More than [`MAX_FILTER_CONDITIONS`] operators.
    #[error("more than {MAX_FILTER_CONDITIONS} conditions")]
    TooManyConditions,
    /// More than [`MAX_FILTER_BYTES`] bytes.
    #[error("{bytes} bytes of JSON, at most {MAX_FILTER_BYTES} are allowed")]
    TooLarge {
        /// Size of the compact text.
        bytes: usize,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}
