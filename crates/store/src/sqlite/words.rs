//! Texts that repeat are stored once per segment and referred to by number.
//!
//! Request and response headers differ from attempt to attempt in a few lines only (an id, a time, a signature). A text is therefore
//! split into a *skeleton*, which is interned, and the values of the lines that vary. Which lines those are is learnt: a header
//! that was seen with more than [`CONSTANTS`] values in this segment varies. A text is always restored exactly.
//!
//! The writer's maps are bounded and only make things small: forgetting them costs a repeated row in `word`.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use posthaste_domain::event::Source;
use rusqlite::{Connection, OptionalExtension};

/// Stands in a skeleton for a line of the values.
const HOLE: char = '\u{1}';
/// How many values of a header are taken for constants.
const CONSTANTS: usize = 32;
/// Header names, and words, that the writer remembers.
const NAMES: usize = 1024;
const WORDS: usize = 8192;
const WORD_BYTES: usize = 4 << 20;
/// Whole texts that it remembers, and how large they may be.
const TEXTS: usize = 512;
const TEXT_BYTES: usize = 2048;

/// The writer's memory of one segment's words.
#[derive(Default)]
pub(super) struct Interner {
    words: HashMap<Box<str>, i64>,
    bytes: usize,
    sources: HashMap<Arc<Source>, i64>,
    types: HashMap<Arc<str>, i64>,
    names: HashMap<Box<str>, HashSet<u64>>,
    hasher: RandomState,
    texts: HashMap<Arc<str>, (i64, Option<Arc<str>>)>,
    last: [Option<Last>; 2],
}

/// A text that came last, and what it was split into.
struct Last {
    text: Arc<str>,
    skeleton: i64,
    values: Option<Arc<str>>,
}

impl Interner {
    /// Forgets what may not be on disk, after a transaction was rolled back.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Number of an event type. There is one row per type; `new` takes those that are added.
    pub(super) fn type_id(&mut self, tx: &Connection, name: &Arc<str>, new: &mut Vec<(Arc<str>, i64)>) -> rusqlite::Result<i64> {
        if let Some(id) = self.types.get(name) {
            return Ok(*id);
        }
        let known = tx.prepare_cached("SELECT id FROM type WHERE name = ?1")?.query_row([&**name], |row| row.get(0)).optional()?;
        let id = match known {
            Some(id) => id,
            None => {
                let id = tx.prepare_cached("INSERT INTO type(name) VALUES (?1)")?.insert([&**name])?;
                new.push((name.clone(), id));
                id
            }
        };
        if self.types.len() >= WORDS {
            self.types.clear();
        }
        self.types.insert(name.clone(), id);
        Ok(id)
    }

    /// Number of a source.
    pub(super) fn source(&mut self, tx: &Connection, source: &Arc<Source>) -> rusqlite::Result<i64> {
        if let Some(id) = self.sources.get(source) {
            return Ok(*id);
        }
        let text = serde_json::to_string(&**source).expect("a source is plain strings");
        let id = insert_word(tx, &text)?;
        if self.sources.len() >= WORDS {
            self.sources.clear();
        }
        self.sources.insert(source.clone(), id);
        Ok(id)
    }

    /// Number of a text.
    pub(super) fn word(&mut self, tx: &Connection, text: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.words.get(text) {
            return Ok(*id);
        }
        let id = insert_word(tx, text)?;
        if self.words.len() >= WORDS || self.bytes > WORD_BYTES {
            self.words.clear();
            self.bytes = 0;
        }
        self.bytes += text.len();
        self.words.insert(text.into(), id);
        Ok(id)
    }

    /// Number of the skeleton of a request's text, and the values that go into it.
    pub(super) fn request(&mut self, tx: &Connection, text: &Arc<str>) -> rusqlite::Result<(i64, Option<Arc<str>>)> {
        self.skeleton(tx, text, 0)
    }

    /// The same of a response.
    pub(super) fn response(&mut self, tx: &Connection, text: &Arc<str>) -> rusqlite::Result<(i64, Option<Arc<str>>)> {
        self.skeleton(tx, text, 1)
    }

    /// Equal texts come one after the other (all attempts at a target within a second), so most are only compared.
    fn skeleton(&mut self, tx: &Connection, text: &Arc<str>, kind: usize) -> rusqlite::Result<(i64, Option<Arc<str>>)> {
        if let Some(last) = &self.last[kind]
            && (Arc::ptr_eq(&last.text, text) || last.text == *text)
        {
            return Ok((last.skeleton, last.values.clone()));
        }
        let (skeleton, values) = match self.texts.get(text) {
            Some((skeleton, values)) => (*skeleton, values.clone()),
            None => {
                let (skeleton, values) = self.split(text);
                let (skeleton, values) = (self.word(tx, &skeleton)?, values.map(Arc::from));
                if text.len() <= TEXT_BYTES {
                    if self.texts.len() >= TEXTS {
                        self.texts.clear();
                    }
                    self.texts.insert(text.clone(), (skeleton, values.clone()));
                }
                (skeleton, values)
            }
        };
        self.last[kind] = Some(Last { text: text.clone(), skeleton, values: values.clone() });
        Ok((skeleton, values))
    }

    fn split(&mut self, text: &str) -> (String, Option<String>) {
        if text.contains(HOLE) {
            return (HOLE.to_string(), Some(text.to_owned()));
        }
        let mut skeleton = String::with_capacity(text.len());
        let mut values: Option<String> = None;
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                skeleton.push('\n');
            }
            // The first line is a request line or a status line: all of it is one value.
            let (name, value) = if i == 0 { ("", line) } else { line.split_at(line.find(':').map_or(0, |colon| colon + 1)) };
            skeleton.push_str(name);
            if self.is_constant(name, value) {
                skeleton.push_str(value);
            } else {
                skeleton.push(HOLE);
                match &mut values {
                    Some(values) => {
                        values.push('\n');
                        values.push_str(value);
                    }
                    None => values = Some(value.to_owned()),
                }
            }
        }
        (skeleton, values)
    }

    fn is_constant(&mut self, name: &str, value: &str) -> bool {
        let hash = self.hasher.hash_one(value);
        if let Some(seen) = self.names.get_mut(name) {
            return seen.contains(&hash) || (seen.len() < CONSTANTS && seen.insert(hash));
        }
        if self.names.len() >= NAMES {
            return false;
        }
        self.names.insert(name.into(), HashSet::from([hash]));
        true
    }
}

fn insert_word(tx: &Connection, text: &str) -> rusqlite::Result<i64> {
    tx.prepare_cached("INSERT INTO word(text) VALUES (?1)")?.insert([text])
}

/// The text that a skeleton and its values were made from.
pub(super) fn join(skeleton: &Arc<str>, values: Option<&str>) -> Arc<str> {
    let Some(values) = values else { return skeleton.clone() };
    let holes = skeleton.matches(HOLE).count().max(1);
    let mut values = values.splitn(holes, '\n');
    let mut text = String::with_capacity(skeleton.len() + 64);
    for (i, piece) in skeleton.split(HOLE).enumerate() {
        if i > 0 {
            text.push_str(values.next().unwrap_or_default());
        }
        text.push_str(piece);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back(texts in prop::collection::vec("([a-c]{0,2}:?[ -~\u{1}\r\n]{0,9}\n?){0,6}", 1..80)) {
            let mut interner = Interner::default();
            for text in texts {
                let (skeleton, values) = interner.split(&text);
                prop_assert_eq!(&*join(&skeleton.into(), values.as_deref()), &*text);
            }
        }
    }

    #[test]
    fn lines_that_vary_leave_the_skeleton() {
        let mut interner = Interner::default();
        let mut skeletons = HashSet::new();
        for i in 0..1000 {
            let text = format!("POST /hook HTTP/1.1\nhost: a.example\nwebhook-id: {i}\nwebhook-signature: v1,{}", i * 7);
            skeletons.insert(interner.split(&text).0);
        }
        assert_eq!(skeletons.len(), CONSTANTS + 1);
    }
}
