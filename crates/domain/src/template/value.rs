//! What a template computes with: a thin PHP-like view over minijinja values.
//!
//! Invariants: arrays are always [`List`] or [`Map`] (never minijinja's own containers), so their depth is known and dropping
//! them cannot exhaust the stack; strings never hold a mark of [`marks`], only [`Text`] does; all work on values is charged
//! to a [`Meter`], so that a template can use neither unbounded time nor unbounded memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};

use super::json;

/// Non-characters that carry structure from the template engine to the formatter. They are removed from every template
/// source and from all data, so that nothing outside this module can forge them.
pub(super) mod marks {
    /// Opens a run of data inside rendered text.
    pub const OPEN: char = '\u{FDD0}';
    /// Closes a run of data.
    pub const CLOSE: char = '\u{FDD1}';
    /// Separates the text blocks of a template.
    pub const BLOCK: char = '\u{FDD2}';

    /// True for every code point of the reserved range.
    pub fn is_mark(c: char) -> bool {
        ('\u{FDD0}'..='\u{FDEF}').contains(&c)
    }

    /// `text` without any mark.
    pub fn strip(text: &str) -> std::borrow::Cow<'_, str> {
        if text.contains(is_mark) { text.replace(is_mark, "").into() } else { text.into() }
    }
}

/// Deepest nesting of arrays, in the event's data or made by a template.
pub(super) const MAX_DEPTH: usize = 128;

/// Why a rendering stops. The text is for the customer who wrote the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The template asked for something impossible.
    #[error("{0}")]
    Bad(String),
    /// It wrote more than the limit.
    #[error("the output is too long")]
    TooLong,
    /// It used up its work allowance.
    #[error("the template does too much work")]
    TooSlow,
}

impl Fault {
    /// A [`Fault::Bad`] with this text.
    pub fn bad(reason: impl Into<String>) -> Self {
        Self::Bad(reason.into())
    }
}

/// The work allowance of one rendering, in units of about one byte copied or one array element visited.
#[derive(Debug)]
pub(super) struct Meter(AtomicI64);

impl Meter {
    /// An allowance of `units`.
    pub fn new(units: u64) -> Self {
        Self(AtomicI64::new(i64::try_from(units).unwrap_or(i64::MAX)))
    }

    /// Takes `units` before the work is done; [`Fault::TooSlow`] when they are not there.
    pub fn take(&self, units: usize) -> Result<(), Fault> {
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        let left = self.0.load(Ordering::Relaxed);
        if left < units {
            self.0.store(0, Ordering::Relaxed);
            return Err(Fault::TooSlow);
        }
        self.0.store(left - units, Ordering::Relaxed);
        Ok(())
    }
}

/// A sequence.
#[derive(Debug)]
pub(super) struct List {
    /// The elements in order.
    pub items: Vec<Value>,
    depth: usize,
}

/// A mapping that keeps the order of its keys.
#[derive(Debug)]
pub(super) struct Map {
    /// Keys and values in order; keys are unique.
    pub entries: Vec<(Arc<str>, Value)>,
    index: HashMap<Arc<str>, usize>,
    depth: usize,
}

/// A number that neither `i64` nor `f64` holds exactly enough: printed as it was sent.
#[derive(Debug)]
pub(super) struct BigNumber(pub Box<str>);

/// Text of the template's author (a captured block or a literal): may hold marks, and may make markup.
#[derive(Debug)]
pub(super) struct Text(pub Box<str>);

/// Below this many keys a scan is cheaper than a hash index.
const INDEX_FROM: usize = 9;

fn depth_of(value: &Value) -> usize {
    match view(value) {
        View::List(list) => list.depth,
        View::Map(map) => map.depth,
        _ => 0,
    }
}

fn depth_above<'a>(children: impl Iterator<Item = &'a Value>) -> Result<usize, Fault> {
    let depth = 1 + children.map(depth_of).max().unwrap_or(0);
    if depth > MAX_DEPTH {
        return Err(Fault::bad(format!("arrays are nested more than {MAX_DEPTH} levels deep")));
    }
    Ok(depth)
}

/// A list value; fails when it would nest deeper than [`MAX_DEPTH`].
pub(super) fn list(items: Vec<Value>) -> Result<Value, Fault> {
    let depth = depth_above(items.iter())?;
    Ok(Value::from_object(List { items, depth }))
}

/// A map value; of equal keys the last wins and keeps the place of the first.
pub(super) fn map(pairs: Vec<(Arc<str>, Value)>) -> Result<Value, Fault> {
    let depth = depth_above(pairs.iter().map(|(_, value)| value))?;
    let mut entries: Vec<(Arc<str>, Value)> = Vec::with_capacity(pairs.len());
    let mut index = HashMap::new();
    let indexed = pairs.len() >= INDEX_FROM;
    for (key, value) in pairs {
        let known = if indexed { index.get(&key).copied() } else { entries.iter().position(|(k, _)| *k == key) };
        match known {
            Some(at) => entries[at].1 = value,
            None => {
                if indexed {
                    index.insert(key.clone(), entries.len());
                }
                entries.push((key, value));
            }
        }
    }
    Ok(Value::from_object(Map { entries, index, depth }))
}

impl Map {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = if self.index.is_empty() { self.entries.iter().position(|(k, _)| &**k == key)? } else { *self.index.get(key)? };
        Some(&self.entries[at].1)
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = match key.as_str() {
            Some(text) => text.parse().ok()?,
            None => key.as_usize()?,
        };
        self.items.get(at).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match view(key) {
            View::Str(text) => self.get(&text).cloned(),
            View::Int(number) => self.get(&number.to_string()).cloned(),
            _ => None,
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.get(key).cloned()
    }
}

impl Object for BigNumber {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

impl Object for Text {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// One value, by the kinds that the template language knows.
#[derive(Debug, Clone)]
pub(super) enum View<'a> {
    Undefined,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Cow<'a, str>),
    Big(&'a str),
    List(&'a List),
    Map(&'a Map),
}

/// Looks at a value.
pub(super) fn view(value: &Value) -> View<'_> {
    match value.kind() {
        ValueKind::Undefined => View::Undefined,
        ValueKind::None => View::Null,
        ValueKind::Bool => View::Bool(value.is_true()),
        ValueKind::Number => match (value.is_integer(), value.as_i64()) {
            (true, Some(number)) => View::Int(number),
            _ => View::Float(f64::try_from(value.clone()).unwrap_or(f64::NAN)),
        },
        ValueKind::String => View::Str(value.as_str().unwrap_or_default().into()),
        _ => {
            if let Some(list) = value.downcast_object_ref::<List>() {
                View::List(list)
            } else if let Some(map) = value.downcast_object_ref::<Map>() {
                View::Map(map)
            } else if let Some(big) = value.downcast_object_ref::<BigNumber>() {
                View::Big(&big.0)
            } else if let Some(text) = value.downcast_object_ref::<Text>() {
                View::Str(marks::strip(&text.0))
            } else {
                View::Undefined
            }
        }
    }
}

impl View<'_> {
    /// True for a missing value and for `null`.
    pub fn is_nothing(&self) -> bool {
        matches!(self, View::Undefined | View::Null)
    }

    /// PHP's truth: nothing, `false`, zero, `""`, `"0"` and empty arrays are false.
    pub fn is_true(&self) -> bool {
        match self {
            View::Undefined | View::Null => false,
            View::Bool(b) => *b,
            View::Int(n) => *n != 0,
            View::Float(n) => *n != 0.0,
            View::Str(text) => !text.is_empty() && text != "0",
            View::Big(_) => true,
            View::List(list) => !list.items.is_empty(),
            View::Map(map) => !map.entries.is_empty(),
        }
    }

    /// What `is empty` means: nothing, `false`, `""` and empty arrays; not zero.
    pub fn is_empty(&self) -> bool {
        match self {
            View::Undefined | View::Null => true,
            View::Bool(b) => !b,
            View::Str(text) => text.is_empty(),
            View::List(list) => list.items.is_empty(),
            View::Map(map) => map.entries.is_empty(),
            View::Int(_) | View::Float(_) | View::Big(_) => false,
        }
    }

    /// The kind in words, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            View::Undefined => "a missing value",
            View::Null => "null",
            View::Bool(_) => "a boolean",
            View::Int(_) | View::Float(_) | View::Big(_) => "a number",
            View::Str(_) => "a text",
            View::List(_) => "a list",
            View::Map(_) => "an object",
        }
    }
}

/// The text that `{{ value }}` prints: `true` is `1`, `false` and nothing are empty, arrays are compact JSON.
pub(super) fn text<'a>(value: &'a Value, meter: &Meter) -> Result<Cow<'a, str>, Fault> {
    let out: Cow<'a, str> = match view(value) {
        View::Undefined | View::Null | View::Bool(false) => Cow::Borrowed(""),
        View::Bool(true) => Cow::Borrowed("1"),
        View::Int(number) => number.to_string().into(),
        View::Float(number) => float_text(number).into(),
        View::Str(text) => text,
        View::Big(text) => text.into(),
        View::List(_) | View::Map(_) => return json::encode(value, meter).map(Cow::Owned),
    };
    meter.take(out.len())?;
    Ok(out)
}

/// Significant digits of a printed float: every decimal of this length survives, and `0.1 + 0.2` prints `0.3`.
const FLOAT_DIGITS: usize = 15;

/// A float the way PHP prints it: no trailing zeros, `1.0E+25` for very large or small ones.
pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "NAN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:.*e}", FLOAT_DIGITS - 1, number);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    if (-5..FLOAT_DIGITS as i32).contains(&exponent) {
        let decimals = usize::try_from(FLOAT_DIGITS as i32 - 1 - exponent).unwrap_or(0);
        let fixed = format!("{number:.decimals$}");
        if fixed.contains('.') { fixed.trim_end_matches('0').trim_end_matches('.').to_owned() } else { fixed }
    } else {
        let point = if mantissa.contains('.') { "" } else { ".0" };
        format!("{mantissa}{point}E{exponent:+}")
    }
}
