//! What a variable can hold, and how it prints.

use std::collections::HashMap;
use std::sync::Arc;

use super::number;

/// Deepest nesting of lists and maps; what would be deeper is no value.
const MAX_DEPTH: usize = 16;

/// A value of a template. A cheap clone.
#[derive(Clone, Debug)]
pub enum Value {
    /// An element without a value; prints as `null` inside a list, and is undefined by itself.
    Null,
    /// A text.
    Text(Arc<str>),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false: the only value that is false is `false`.
    Bool(bool),
    /// A list.
    List(List),
    /// Names and values in the order they were given.
    Map(Map),
    /// One name and value of a map, as `entrySet()` gives it.
    Entry(Arc<(Value, Value)>),
    /// Where a `#foreach` is.
    Loop(Arc<Loop>),
    /// `$esc`.
    Escape,
}

/// The elements of a list.
#[derive(Clone, Debug)]
pub struct List {
    items: Arc<Vec<Value>>,
    depth: usize,
}

/// The entries of a map.
#[derive(Clone, Debug)]
pub struct Map {
    entries: Arc<Vec<(Value, Value)>>,
    depth: usize,
}

/// State of a loop, for `$foreach`.
#[derive(Debug)]
pub struct Loop {
    pub(super) index: usize,
    pub(super) count: usize,
    pub(super) parent: Option<Arc<Loop>>,
}

impl Value {
    /// A list of values. [`Value::Null`] if it would be nested too deeply.
    #[must_use]
    pub fn list(items: Vec<Self>) -> Self {
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or(0);
        if depth > MAX_DEPTH { Self::Null } else { Self::List(List { items: Arc::new(items), depth }) }
    }

    /// A map with these entries; of equal names the last one counts, at the place of the first. [`Value::Null`] if it would be nested too
    /// deeply.
    #[must_use]
    pub fn map(given: Vec<(Self, Self)>) -> Self {
        let depth = 1 + given.iter().map(|(name, value)| name.depth().max(value.depth())).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Self::Null;
        }
        let mut entries: Vec<(Self, Self)> = Vec::with_capacity(given.len());
        let mut places: HashMap<Arc<str>, usize> = HashMap::with_capacity(given.len());
        for (name, value) in given {
            if let Some(key) = name.plain() {
                if let Some(place) = places.get(&key) {
                    entries[*place].1 = value;
                    continue;
                }
                places.insert(key, entries.len());
            }
            entries.push((name, value));
        }
        Self::Map(Map { entries: Arc::new(entries), depth })
    }

    /// The text of something that is no collection.
    pub(super) fn plain(&self) -> Option<Arc<str>> {
        Some(match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string().into(),
            Self::Float(number) => number::print(*number).into(),
            Self::Bool(value) => value.to_string().into(),
            Self::Null | Self::List(_) | Self::Map(_) | Self::Entry(_) | Self::Loop(_) | Self::Escape => return None,
        })
    }

    /// Itself, if it is something.
    pub(super) fn known(self) -> Option<Self> {
        if matches!(self, Self::Null) { None } else { Some(self) }
    }

    fn depth(&self) -> usize {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            Self::Entry(entry) => 1 + entry.0.depth().max(entry.1.depth()),
            _ => 0,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl List {
    /// The elements.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Map {
    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    /// The value of a name; a number finds the text that it prints as.
    pub(super) fn get(&self, name: &Value) -> Option<Value> {
        let name = name.plain()?;
        self.entries.iter().find(|(own, _)| own.plain().is_some_and(|own| own == name)).and_then(|(_, value)| value.clone().known())
    }
}

/// The variables of one event, by name without the `$`.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: HashMap<&'static str, Value>,
}

impl Variables {
    /// Sets a variable. [`Value::Null`] leaves it undefined.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.values.insert(name, value.into());
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        self.values.get(name).cloned().and_then(Value::known)
    }
}
