//! Names of form and query fields: `a[b]`, `a[0]`, `a[]` become nested values, as PHP and Express senders expect (MsgGO O-7).
//!
//! - A plain name that repeats keeps its last value and its first place; so does any nested name.
//! - A level whose names are all indices (`0`, `17`, or empty for "the next one") becomes an array in order of index, gaps closed;
//!   any other level becomes an object in order of appearance.
//! - When a name is used both for a value and for a level, the later use wins.
//! - A name that is not well formed (`a[b`, `[a]`, `a[b]c`) or nests deeper than [`MAX_DEPTH`] is a plain name: nothing is lost.
//! - A field without a name is no field.

use std::collections::HashMap;

use bytes::Bytes;

/// Deepest nesting that a name can ask for.
pub const MAX_DEPTH: usize = 16;
/// Most fields of one form or query. An event of 10,000 characters cannot hold so many different ones.
pub const MAX_FIELDS: usize = 5_000;

/// There were more than [`MAX_FIELDS`] fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_FIELDS} fields")]
pub struct TooManyFields;

/// Collects fields in the order they were sent.
#[derive(Debug, Default)]
pub struct Fields {
    count: usize,
    root: Level,
}

impl Fields {
    /// Adds a field.
    ///
    /// # Errors
    /// [`TooManyFields`].
    pub fn push(&mut self, name: &str, value: String) -> Result<(), TooManyFields> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(TooManyFields);
        }
        if name.is_empty() {
            return Ok(());
        }
        let Some((head, path)) = split(name) else {
            self.root.put(name, Node::Text(value));
            return Ok(());
        };
        let mut level = &mut self.root;
        let mut step = head;
        for next in path {
            level = level.descend(step);
            step = next;
        }
        level.put(step, Node::Text(value));
        Ok(())
    }

    /// The top-level fields, each value as compact JSON.
    pub fn finish(self) -> Vec<(String, Bytes)> {
        let value = |node: Node| {
            let mut json = Vec::new();
            node.write(&mut json);
            Bytes::from(json)
        };
        self.root.children.into_iter().map(|(name, node)| (name, value(node))).collect()
    }
}

/// The first part of a bracketed name: `a` of `a[b][]`, the whole of a plain one.
pub fn head(name: &str) -> &str {
    split(name).map_or(name, |(head, _)| head)
}

/// `a[b][]` into `a` and `b`, ``; `None` for names that stand for themselves.
fn split(name: &str) -> Option<(&str, Vec<&str>)> {
    let open = name.find('[').filter(|&at| at > 0)?;
    let inner = name[open..].strip_prefix('[')?.strip_suffix(']')?;
    let path: Vec<&str> = inner.split("][").collect();
    let well_formed = path.len() <= MAX_DEPTH && path.iter().all(|part| !part.contains(['[', ']']));
    well_formed.then_some((&name[..open], path))
}

#[derive(Debug)]
enum Node {
    Text(String),
    Level(Level),
}

#[derive(Debug, Default)]
struct Level {
    children: Vec<(String, Node)>,
    places: HashMap<String, usize>,
    /// One more than the highest index so far: what an empty name means.
    next: u64,
    /// Whether a name came that is no index.
    named: bool,
}

impl Level {
    fn put(&mut self, step: &str, node: Node) {
        *self.place(step) = node;
    }

    fn descend(&mut self, step: &str) -> &mut Level {
        let node = self.place(step);
        if let Node::Text(_) = node {
            *node = Node::Level(Level::default());
        }
        match node {
            Node::Level(level) => level,
            Node::Text(_) => unreachable!("a text was replaced by a level just above"),
        }
    }

    fn place(&mut self, step: &str) -> &mut Node {
        let name = if step.is_empty() { self.next.to_string() } else { step.to_owned() };
        match index(step) {
            Some(index) => self.next = self.next.max(u64::from(index) + 1),
            None if step.is_empty() => self.next += 1,
            None => self.named = true,
        }
        let place = *self.places.entry(name).or_insert_with_key(|name| {
            self.children.push((name.clone(), Node::Text(String::new())));
            self.children.len() - 1
        });
        &mut self.children[place].1
    }
}

/// An index as written by `http_build_query` and its like: decimal, no leading zero, no sign.
fn index(step: &str) -> Option<u32> {
    let canonical = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|_| canonical)
}

impl Node {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Node::Text(text) => write_text(&text, out),
            Node::Level(level) if level.named => {
                for (at, (name, node)) in level.children.into_iter().enumerate() {
                    out.push(if at == 0 { b'{' } else { b',' });
                    write_text(&name, out);
                    out.push(b':');
                    node.write(out);
                }
                out.push(b'}');
            }
            Node::Level(mut level) => {
                level.children.sort_by_key(|(name, _)| name.parse::<u64>().expect("an array level holds indices only"));
                for (at, (_, node)) in level.children.into_iter().enumerate() {
                    out.push(if at == 0 { b'[' } else { b',' });
                    node.write(out);
                }
                out.push(b']');
            }
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing a string to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(pairs: &[(&str, &str)]) -> String {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push(name, (*value).to_owned()).unwrap();
        }
        let fields = fields.finish();
        let raw = posthaste_domain::matching::document::build_object(fields.iter().map(|(name, value)| (name.as_str(), &value[..])));
        String::from_utf8(raw).unwrap()
    }

    #[test]
    fn nested_names_become_nested_values() {
        for (pairs, expected) in [
            (&[("a", "1"), ("b", "2"), ("a", "3")][..], r#"{"a":"3","b":"2"}"#),
            (&[("a[b]", "c"), ("a[d][e]", "f")], r#"{"a":{"b":"c","d":{"e":"f"}}}"#),
            (&[("a[]", "x"), ("a[]", "y")], r#"{"a":["x","y"]}"#),
            (&[("a[0]", "x"), ("a[1]", "y")], r#"{"a":["x","y"]}"#),
            (&[("a[2]", "z"), ("a[0]", "x"), ("a[]", "end")], r#"{"a":["x","z","end"]}"#),
            (&[("a[10]", "ten"), ("a[9]", "nine")], r#"{"a":["nine","ten"]}"#),
            (&[("a[0]", "x"), ("a[0]", "y")], r#"{"a":["y"]}"#),
            (&[("a[]", "x"), ("a[b]", "y")], r#"{"a":{"0":"x","b":"y"}}"#),
            (&[("a[01]", "x")], r#"{"a":{"01":"x"}}"#),
            (&[("a[-1]", "x")], r#"{"a":{"-1":"x"}}"#),
            (&[("a[4294967295]", "x"), ("a[]", "y")], r#"{"a":["x","y"]}"#),
            (&[("a[4294967296]", "x")], r#"{"a":{"4294967296":"x"}}"#),
            (&[("items[0][name]", "A"), ("items[0][n]", "1"), ("items[1][name]", "B")], r#"{"items":[{"name":"A","n":"1"},{"name":"B"}]}"#),
            (&[("a[][n]", "1"), ("a[][n]", "2")], r#"{"a":[{"n":"1"},{"n":"2"}]}"#),
            (&[("a", "1"), ("a[b]", "2")], r#"{"a":{"b":"2"}}"#),
            (&[("a[b]", "2"), ("a", "1")], r#"{"a":"1"}"#),
        ] {
            assert_eq!(document(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn names_that_are_not_well_formed_stand_for_themselves() {
        for name in ["a[b", "a]b", "[a]", "a[b]c", "a[b]c[d]", "a[[b]]", "a[b]]", "[", "]"] {
            let expected = serde_json::json!({ name: "x" }).to_string();
            assert_eq!(document(&[(name, "x")]), expected, "{name}");
        }
        assert_eq!(document(&[("", "x")]), "{}");
    }

    #[test]
    fn depth_and_count_are_limited_without_loss() {
        let deepest = format!("a{}", "[b]".repeat(MAX_DEPTH));
        assert!(document(&[(&deepest, "x")]).starts_with(r#"{"a":{"b":{"#));
        let deeper = format!("a{}", "[b]".repeat(MAX_DEPTH + 1));
        assert_eq!(document(&[(&deeper, "x")]), serde_json::json!({ deeper.as_str(): "x" }).to_string());

        let mut fields = Fields::default();
        for at in 0..MAX_FIELDS {
            fields.push(&format!("f{at}"), String::new()).unwrap();
        }
        assert_eq!(fields.push("one more", String::new()), Err(TooManyFields));
    }

    proptest! {
        #[test]
        fn any_names_make_valid_json(pairs in prop::collection::vec(("[ab01\\[\\]\u{e9}\"]{0,9}", "\\PC{0,4}"), 0..24)) {
            let mut fields = Fields::default();
            for (name, value) in &pairs {
                fields.push(name, value.clone()).unwrap();
            }
            for (name, value) in fields.finish() {
                prop_assert!(pairs.iter().any(|(sent, _)| head(sent) == name));
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&value).is_ok());
            }
        }
    }
}
