//! Finds the oldest matching definition among very many, at a cost that does not depend on those that do not match.
//!
//! A rule is a set of *facts*, such as "`data.type` is the scalar `x`" or "`items` is an array of 2"; it matches when the
//! event holds all of them. Building numbers every fact that occurs in some rule and arranges the rules in a tree: each
//! rule hangs under its rarest fact, and a place where many rules share a fact branches again on the next rarest. A
//! search reads from the event only what some rule mentions, keeps the facts that are known, and follows those alone.
//!
//! # Invariants
//!
//! - `find` agrees with [`Rule::matches_definition`] on every definition, taken oldest first.
//! - A handful of rules (`LEAF`) at most is compared at one place of the tree; all of them share facts that the event holds.

use std::collections::HashMap;

use serde_json::Value;

use super::Rule;
use super::value::scalar_text;

/// Rules that may stand at one place before it branches.
const LEAF: usize = 8;

type FactId = u32;

/// An immutable index from events to the definition that handles them.
#[derive(Debug)]
pub struct RuleIndex<T> {
    owners: Vec<T>,
    facts: FactTree,
    root: Node,
}

impl<T: Copy> RuleIndex<T> {
    /// Builds the index from definitions, oldest first: whose it is, its rule, and whether the rule is the unedited one
    /// of its name, which also accepts the name under `event`.
    #[must_use]
    pub fn build(definitions: Vec<(T, Rule, bool)>) -> Self {
        let mut facts = FactTree::default();
        let mut uses: Vec<u32> = Vec::new();
        let mut owners = Vec::with_capacity(definitions.len());
        let mut entries = Vec::with_capacity(definitions.len());
        for (order, (owner, rule, is_default)) in definitions.into_iter().enumerate() {
            owners.push(owner);
            let alternative = is_default.then(|| rule.under_event()).flatten();
            for rule in std::iter::once(rule).chain(alternative) {
                let mut wanted = Vec::new();
                for (key, value) in rule.as_object() {
                    facts.fields.entry(key.as_str().into()).or_default().intern(value, &mut uses, &mut wanted);
                }
                entries.push(Entry { order, wanted });
            }
        }
        for entry in &mut entries {
            // Every rule sorts by the same measure, so rules that share rare facts share branches.
            entry.wanted.sort_unstable_by_key(|&fact| (uses[fact as usize], fact));
        }
        Self { owners, facts, root: Node::branching(entries, 0) }
    }

    /// The oldest definition whose rule the event matches.
    #[must_use]
    pub fn find(&self, document: &Value) -> Option<T> {
        self.find_counting(document).0
    }

    /// Like [`RuleIndex::find`], with the number of rules that were compared with the event on the way: the cost of the
    /// search in units that do not depend on a clock.
    #[must_use]
    pub fn find_counting(&self, document: &Value) -> (Option<T>, usize) {
        let mut held = Vec::new();
        if let Value::Object(_) = document {
            self.facts.collect(document, &mut held);
        }
        held.sort_unstable();
        let mut search = Search { held, best: None, compared: 0 };
        search.visit(&self.root);
        (search.best.map(|order| self.owners[order]), search.compared)
    }

    /// How many definitions the index holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Whether the index holds no definition.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

/// The facts that rules know about one place of a document, and about the places inside it.
#[derive(Debug, Default)]
struct FactTree {
    /// The place holds a scalar of this text.
    scalars: HashMap<Box<str>, FactId>,
    /// The place holds an object (known only where a rule has an empty one).
    object: Option<FactId>,
    /// The place holds an array of this length.
    arrays: HashMap<usize, FactId>,
    fields: HashMap<Box<str>, FactTree>,
    elements: HashMap<usize, FactTree>,
}

impl FactTree {
    /// Numbers the facts of a rule's value, counts their use and adds them to `wanted`.
    fn intern(&mut self, value: &Value, uses: &mut Vec<u32>, wanted: &mut Vec<FactId>) {
        let mut number = |known: Option<FactId>| {
            let fact = known.unwrap_or_else(|| {
                uses.push(0);
                FactId::try_from(uses.len() - 1).expect("fewer facts than 2^32 fit into memory")
            });
            uses[fact as usize] += 1;
            wanted.push(fact);
            fact
        };
        match value {
            Value::Object(fields) if fields.is_empty() => self.object = Some(number(self.object)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.fields.entry(key.as_str().into()).or_default().intern(value, uses, wanted);
                }
            }
            Value::Array(items) => {
                let fact = number(self.arrays.get(&items.len()).copied());
                self.arrays.insert(items.len(), fact);
                for (at, item) in items.iter().enumerate() {
                    self.elements.entry(at).or_default().intern(item, uses, wanted);
                }
            }
            scalar => {
                if let Some(text) = scalar_text(scalar) {
                    let fact = number(self.scalars.get(text.as_ref()).copied());
                    self.scalars.insert(text.into(), fact);
                }
            }
        }
    }

    /// Adds the numbers of the known facts that a document holds. Each is added once, as each speaks of one place.
    fn collect(&self, value: &Value, held: &mut Vec<FactId>) {
        match value {
            Value::Object(fields) => {
                held.extend(self.object);
                if self.fields.len() < fields.len() {
                    for (key, facts) in &self.fields {
                        if let Some(value) = fields.get(key.as_ref()) {
                            facts.collect(value, held);
                        }
                    }
                } else {
                    for (key, value) in fields {
                        if let Some(facts) = self.fields.get(key.as_str()) {
                            facts.collect(value, held);
                        }
                    }
                }
            }
            Value::Array(items) => {
                held.extend(self.arrays.get(&items.len()));
                for (&at, facts) in &self.elements {
                    if let Some(item) = items.get(at) {
                        facts.collect(item, held);
                    }
                }
            }
            scalar if !self.scalars.is_empty() => {
                held.extend(scalar_text(scalar).and_then(|text| self.scalars.get(text.as_ref())));
            }
            _ => {}
        }
    }
}

/// A rule in the tree: the place of its definition in age, and its facts, rarest first.
#[derive(Debug)]
struct Entry {
    order: usize,
    wanted: Vec<FactId>,
}

#[derive(Debug)]
struct Node {
    /// The oldest definition here or below; a search that has an older one passes by.
    oldest: usize,
    /// Rules to compare here, oldest first.
    entries: Vec<Entry>,
    branches: HashMap<FactId, Node>,
}

impl Node {
    /// `entries` agree in their first `depth` facts and come oldest first.
    fn new(entries: Vec<Entry>, depth: usize) -> Self {
        if entries.len() > LEAF {
            return Self::branching(entries, depth);
        }
        Self { oldest: oldest(&entries), entries, branches: HashMap::new() }
    }

    fn branching(entries: Vec<Entry>, depth: usize) -> Self {
        let oldest = oldest(&entries);
        let mut complete = Vec::new();
        let mut groups: HashMap<FactId, Vec<Entry>> = HashMap::new();
        for entry in entries {
            match entry.wanted.get(depth) {
                Some(&fact) => groups.entry(fact).or_default().push(entry),
                // Rules with nothing left to check all match here: only the oldest can win.
                None if complete.is_empty() => complete.push(entry),
                None => {}
            }
        }
        let branches = groups.into_iter().map(|(fact, group)| (fact, Self::new(group, depth + 1))).collect();
        Self { oldest, entries: complete, branches }
    }
}

fn oldest(entries: &[Entry]) -> usize {
    entries.first().map_or(usize::MAX, |entry| entry.order)
}

struct Search {
    /// Known facts of the event, sorted.
    held: Vec<FactId>,
    best: Option<usize>,
    compared: usize,
}

impl Search {
    fn visit(&mut self, node: &Node) {
        if self.best.is_some_and(|best| best <= node.oldest) {
            return;
        }
        for entry in &node.entries {
            if self.best.is_some_and(|best| best <= entry.order) {
                break;
            }
            self.compared += 1;
            if entry.wanted.iter().all(|fact| self.held.binary_search(fact).is_ok()) {
                self.best = Some(entry.order);
                break;
            }
        }
        if node.branches.len() < self.held.len() {
            for (fact, branch) in &node.branches {
                if self.held.binary_search(fact).is_ok() {
                    self.visit(branch);
                }
            }
        } else {
            for at in 0..self.held.len() {
                if let Some(branch) = node.branches.get(&self.held[at]) {
                    self.visit(branch);
                }
            }
        }
    }
}
