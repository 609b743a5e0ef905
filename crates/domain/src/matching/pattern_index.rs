//! Finds every owner of a pattern that matches an event type.
//!
//! Exact names cost one hash look-up, `prefix.*` one per dot of the name, whatever the number of patterns. Patterns
//! with a star before the end are few in practice and are tried one by one.

use std::collections::HashMap;

use super::pattern::{Kind, TypePattern};

/// An immutable index from event type names to the owners of patterns.
#[derive(Debug)]
pub struct PatternIndex<T> {
    exact: HashMap<Box<str>, Vec<T>>,
    prefixes: HashMap<Box<str>, Vec<T>>,
    everything: Vec<T>,
    segments: Vec<(TypePattern, T)>,
}

impl<T: Copy + Ord> PatternIndex<T> {
    /// Builds the index from pairs of owner and pattern; an owner may have several patterns.
    #[must_use]
    pub fn build(patterns: impl IntoIterator<Item = (T, TypePattern)>) -> Self {
        let mut index = Self { exact: HashMap::new(), prefixes: HashMap::new(), everything: Vec::new(), segments: Vec::new() };
        for (owner, pattern) in patterns {
            match pattern.kind() {
                Kind::Exact => index.exact.entry(pattern.as_str().into()).or_default().push(owner),
                Kind::Prefix(length) => {
                    index.prefixes.entry(pattern.as_str()[..length].into()).or_default().push(owner);
                }
                Kind::Everything => index.everything.push(owner),
                Kind::Segments => index.segments.push((pattern, owner)),
            }
        }
        index
    }

    /// Puts into `found` the owners of all patterns that match `name`, each once, in order. What `found` held before
    /// is dropped; its memory is kept, so that a caller can use one list again and again.
    pub fn find(&self, name: &str, found: &mut Vec<T>) {
        found.clear();
        found.extend(&self.everything);
        found.extend(self.exact.get(name).into_iter().flatten());
        if !self.prefixes.is_empty() {
            for (dot, _) in name.match_indices('.') {
                found.extend(self.prefixes.get(&name[..dot]).into_iter().flatten());
            }
        }
        found.extend(self.segments.iter().filter(|(pattern, _)| pattern.matches(name)).map(|&(_, owner)| owner));
        found.sort_unstable();
        found.dedup();
    }
}
