//! Which definitions, subscriptions and filters want an event.
//!
//! Everything here is a pure function of an event's name and payload. Payload bytes are read through
//! [`document::parse_document`], a lenient *view*: it decides what matches and is never written anywhere, so the bytes
//! that are delivered stay the bytes that came in.
//!
//! - [`Rule`] is a JSON subset that picks the one definition that handles an inbox event; [`RuleIndex`] finds the oldest
//!   one without looking at the others.
//! - [`TypePattern`] names event types, with wildcards; [`PatternIndex`] finds every owner of a matching pattern.
//! - [`Filter`] is a condition on the payload, attached to a subscription.
//!
//! # Invariants
//!
//! - Two scalars are equal exactly when their texts are: `100` and `"100"`, `true` and `"true"`, `2.50` and `2.5`. Rules,
//!   filters and the index share this one relation, so an indexed search and a plain comparison never disagree.
//! - Matching never fails and never panics: what cannot be read does not match.
//! - Whatever an author may write (rule, pattern, filter) is bounded in size and nesting when it is parsed.

pub mod document;
mod filter;
mod naming;
mod pattern;
mod pattern_index;
mod rule;
mod rule_index;
mod value;

pub use document::parse_document;
pub use filter::{Filter, FilterError, FilterProblem, Finding, MAX_FILTER_BYTES, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};
pub use naming::{EventNameError, MAX_EVENT_NAME, MIN_EVENT_NAME, check_event_name, default_rule, slug};
pub use pattern::{MAX_PATTERN_CHARACTERS, PatternError, TypePattern};
pub use pattern_index::PatternIndex;
pub use rule::{MAX_RULE_BYTES, MAX_RULE_DEPTH, MAX_RULE_VALUES, Rule, RuleError};
pub use rule_index::RuleIndex;

#[cfg(test)]
mod tests;
