//! Filters, functions, tests and operators: their names and arguments for the parser, their bodies for the engine.
//!
//! Internal names begin with `_` and cannot be written in a template. An argument that was left out, or named later, is
//! missing or `null`. Bodies never panic, and charge the meter for what they copy.

mod date;
mod lists;
mod logic;
mod numbers;
mod sprintf;
mod texts;

use std::sync::Arc;

use minijinja::State;
use minijinja::value::Value;
use regex::{Regex, RegexBuilder};

use super::run::Run;
use super::value::{Fault, View, view};

/// Whether a filter takes an arrow function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::template) enum Arrow {
    None,
    Required,
    /// With an arrow function, this other body is called.
    Optional(&'static str),
}

/// A filter as the parser knows it.
#[derive(Debug)]
pub(in crate::template) struct Spec {
    /// As written in templates.
    pub name: &'static str,
    /// Name of the body.
    pub run: &'static str,
    /// Names of the arguments after the value.
    pub params: &'static [&'static str],
    /// How many of them must be given.
    pub required: usize,
    pub arrow: Arrow,
}

/// A function as the parser knows it.
#[derive(Debug)]
pub(in crate::template) struct FunctionSpec {
    pub name: &'static str,
    pub run: &'static str,
    pub required: usize,
    pub most: usize,
}

/// A body that works on its arguments alone.
type Plain = fn(&Run, &[Value]) -> Result<Value, Fault>;
/// A body that evaluates an arrow function for elements of its first argument.
type WithArrow = fn(&State<'_, '_>, &Arc<Run>, &[Value]) -> Result<Value, Fault>;

/// What an engine calls: the first argument is the value before `|`.
#[derive(Clone, Copy)]
pub(in crate::template) enum Body {
    Plain(Plain),
    /// Gets the number of the arrow function and what it captured at the end of its arguments.
    Arrow(WithArrow),
}

const fn spec(name: &'static str, params: &'static [&'static str], required: usize) -> Spec {
    Spec { name, run: name, params, required, arrow: Arrow::None }
}

const FILTERS: [Spec; 33] = [
    spec("abs", &[], 0),
    spec("capitalize", &[], 0),
    spec("column", &["name"], 1),
    spec("date", &["format", "timezone"], 0),
    spec("default", &["default"], 0),
    Spec { name: "e", run: "escape", params: &["strategy"], required: 0, arrow: Arrow::None },
    spec("escape", &["strategy"], 0),
    Spec { name: "filter", run: "filter", params: &[], required: 0, arrow: Arrow::Required },
    spec("first", &[], 0),
    spec("format", &["a", "b", "c", "d", "e", "f", "g", "h"], 0),
    spec("join", &["glue", "and"], 0),
    spec("json_encode", &[], 0),
    spec("keys", &[], 0),
    spec("last", &[], 0),
    spec("length", &[], 0),
    spec("lower", &[], 0),
    Spec { name: "map", run: "map", params: &[], required: 0, arrow: Arrow::Required },
    spec("merge", &["arr"], 1),
    spec("nl2br", &[], 0),
    spec("number_format", &["decimal", "decimal_point", "thousand_sep"], 0),
    spec("raw", &[], 0),
    Spec { name: "reduce", run: "reduce", params: &["initial"], required: 0, arrow: Arrow::Required },
    spec("replace", &["from"], 1),
    spec("reverse", &["preserve_keys"], 0),
    spec("round", &["precision", "method"], 0),
    spec("slice", &["start", "length", "preserve_keys"], 1),
    Spec { name: "sort", run: "sort", params: &[], required: 0, arrow: Arrow::Optional("sort_by") },
    spec("split", &["delimiter", "limit"], 1),
    spec("striptags", &[], 0),
    spec("title", &[], 0),
    spec("trim", &["character_mask", "side"], 0),
    spec("upper", &[], 0),
    spec("url_encode", &[], 0),
];

const FUNCTIONS: [FunctionSpec; 4] = [
    FunctionSpec { name: "range", run: "range", required: 2, most: 3 },
    FunctionSpec { name: "max", run: "max", required: 1, most: 50 },
    FunctionSpec { name: "min", run: "min", required: 1, most: 50 },
    FunctionSpec { name: "cycle", run: "cycle", required: 2, most: 2 },
];

/// The filter of this name.
pub(in crate::template) fn find(name: &str) -> Option<&'static Spec> {
    static TABLE: &[Spec] = &FILTERS;
    TABLE.iter().find(|spec| spec.name == name)
}

/// The function of this name.
pub(in crate::template) fn find_function(name: &str) -> Option<&'static FunctionSpec> {
    static TABLE: &[FunctionSpec] = &FUNCTIONS;
    TABLE.iter().find(|spec| spec.name == name)
}

/// All bodies by name.
pub(in crate::template) fn bodies() -> impl Iterator<Item = (&'static str, Body)> {
    [logic::BODIES, numbers::BODIES, texts::BODIES, lists::BODIES, date::BODIES, sprintf::BODIES].into_iter().flatten().copied()
}

/// Largest compiled size of a `matches` pattern, in bytes.
const REGEX_SIZE: usize = 256 * 1024;

/// Compiles a PHP-style pattern: delimiters around it, modifiers `i m s x u` after.
///
/// # Errors
/// A reason for the author: not delimited, an unknown modifier, or syntax that the engine lacks (look-around, back references).
pub(in crate::template) fn regex(pattern: &str) -> Result<Regex, String> {
    let open = pattern.chars().next().filter(|c| !c.is_alphanumeric() && *c != '\\' && !c.is_whitespace());
    let open = open.ok_or("a pattern needs delimiters, as in '/^a/'")?;
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        '<' => '>',
        other => other,
    };
    let inside = &pattern[open.len_utf8()..];
    let end = inside.rfind(close).ok_or_else(|| format!("the pattern has no closing {close}"))?;
    let mut builder = RegexBuilder::new(&inside[..end].replace(&format!("\\{open}"), &open_escaped(open)));
    builder.size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE);
    for modifier in inside[end + close.len_utf8()..].chars() {
        match modifier {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            'u' => &mut builder,
            other => return Err(format!("unknown pattern modifier \"{other}\"")),
        };
    }
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
        _ => "the pattern is not understood (look-around and back references are not available)".to_owned(),
    })
}

/// An escaped delimiter as the engine takes it: some characters must not be escaped, others must stay so.
fn open_escaped(delimiter: char) -> String {
    regex::escape(&delimiter.to_string())
}

/// The optional argument `at`: `None` when it was left out or is `null`.
fn optional(args: &[Value], at: usize) -> Option<&Value> {
    args.get(at).filter(|value| !view(value).is_nothing())
}

/// An optional integer argument.
fn integer(args: &[Value], at: usize) -> Result<Option<i64>, Fault> {
    optional(args, at).map(|value| super::ops::number(value).map(super::ops::Num::int)).transpose()
}

/// The elements of an array, whatever its kind; `None` for anything else.
fn elements(value: &Value) -> Option<Vec<&Value>> {
    match view(value) {
        View::List(list) => Some(list.items.iter().collect()),
        View::Map(map) => Some(map.entries.iter().map(|(_, value)| value).collect()),
        _ => None,
    }
}
