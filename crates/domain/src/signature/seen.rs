//! Recognises messages that came before.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

/// How long an id is remembered, in seconds, unless the owner chooses otherwise (Standard Webhooks suggests 5 minutes).
pub const SEEN_SECONDS: i64 = 300;

/// A memory of message ids, bounded in number and time. Ids are kept as 32-byte digests, so their length costs nothing.
///
/// When it is full the oldest id is forgotten first. A message whose timestamp lies in the future stays acceptable for
/// twice the tolerance: remember ids that long where a replay must be impossible.
#[derive(Debug)]
pub struct SeenIds {
    capacity: usize,
    keep_seconds: i64,
    /// When each id was first seen.
    seen: HashMap<[u8; 32], i64>,
    /// The same ids, in the order of their coming.
    order: VecDeque<[u8; 32]>,
}

impl SeenIds {
    /// A memory of at most `capacity` ids (at least one), each for `keep_seconds`.
    #[must_use]
    pub fn new(capacity: usize, keep_seconds: i64) -> Self {
        Self { capacity: capacity.max(1), keep_seconds, seen: HashMap::new(), order: VecDeque::new() }
    }

    /// Remembers an id and says whether it is new. A repetition does not prolong the memory of the first.
    pub fn insert(&mut self, id: &str, now_seconds: i64) -> bool {
        while let Some(oldest) = self.order.front() {
            let expired = self.seen.get(oldest).is_none_or(|&at| now_seconds.saturating_sub(at) >= self.keep_seconds);
            if !expired {
                break;
            }
            self.forget_oldest();
        }
        let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        if self.seen.contains_key(&digest) {
            return false;
        }
        if self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        self.seen.insert(digest, now_seconds);
        self.order.push_back(digest);
        true
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.seen.remove(&oldest);
        }
    }
}
