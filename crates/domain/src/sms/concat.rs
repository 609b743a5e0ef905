//! Messages in several parts: the user data header (3GPP TS 23.040, 9.2.3.24) and putting parts together.

use std::collections::{BTreeMap, HashMap};

use super::segment::{Coding, decode};

/// Messages that wait for parts at most; beyond, the oldest is given up.
pub const MAX_WAITING: usize = 1000;
/// Octets kept of waiting messages at most; beyond, the oldest is given up.
pub const MAX_KEPT_OCTETS: usize = 8 * 1024 * 1024;
/// Stands where a part never came.
const GAP: &str = "[…]";

/// Which part of which message a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Common to all parts of a message.
    pub reference: u16,
    /// How many there are, from 1.
    pub total: u8,
    /// Which one this is, from 1 to `total`.
    pub number: u8,
}

impl Part {
    /// The part, if its numbers fit together.
    #[must_use]
    pub fn new(reference: u16, total: u8, number: u8) -> Option<Self> {
        (1..=total).contains(&number).then_some(Self { reference, total, number })
    }
}

/// The header of one part, with a reference of 8 bits: six octets, which displace seven septets.
#[must_use]
pub fn user_data_header(reference: u8, total: u8, number: u8) -> [u8; 6] {
    [5, 0, 3, reference, total, number]
}

/// Reads the header that user data begins with: its length in octets and what it says of parts. `None` if it is longer than the data.
#[must_use]
pub fn parse_user_data_header(data: &[u8]) -> Option<(usize, Option<Part>)> {
    let length = usize::from(*data.first()?);
    let mut elements = data.get(1..=length)?;
    let mut part = None;
    while let [id, size, rest @ ..] = elements {
        let Some(value) = rest.get(..usize::from(*size)) else { break };
        match (id, value) {
            (0x00, [reference, total, number]) => part = Part::new(u16::from(*reference), *total, *number).or(part),
            (0x08, [high, low, total, number]) => part = Part::new(u16::from_be_bytes([*high, *low]), *total, *number).or(part),
            _ => {}
        }
        elements = &rest[value.len()..];
    }
    Some((length + 1, part))
}

/// What tells one message in parts from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageKey {
    /// Source.
    pub from: String,
    /// Destination.
    pub to: String,
    /// As in [`Part`].
    pub reference: u16,
    /// As in [`Part`].
    pub total: u8,
}

/// What a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How its octets mean text.
    pub coding: Coding,
    /// The octets, without a header.
    pub octets: Vec<u8>,
}

/// A message put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Which one.
    pub key: MessageKey,
    /// Its text; `[…]` where a part is missing.
    pub text: String,
}

#[derive(Debug)]
struct Waiting {
    since_ms: i64,
    order: u64,
    octets: usize,
    pieces: BTreeMap<u8, Piece>,
}

/// Messages whose parts are coming in.
///
/// A complete message stays until [`Reassembly::forget`], so that a part that is sent again because the whole could not be stored completes it
/// again.
#[derive(Debug)]
pub struct Reassembly {
    patience_ms: i64,
    waiting: HashMap<MessageKey, Waiting>,
    octets: usize,
    next: u64,
}

impl Reassembly {
    /// Waits for the missing parts of a message for `patience_ms` after its first.
    #[must_use]
    pub fn new(patience_ms: i64) -> Self {
        Self { patience_ms, waiting: HashMap::new(), octets: 0, next: 0 }
    }

    /// Takes a part; the text if it is the last one missing. A part that comes twice counts once, as it came last.
    pub fn add(&mut self, key: &MessageKey, number: u8, piece: Piece, now_ms: i64) -> Option<String> {
        let next = &mut self.next;
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| {
            *next += 1;
            Waiting { since_ms: now_ms, order: *next, octets: 0, pieces: BTreeMap::new() }
        });
        let added = piece.octets.len();
        let displaced = waiting.pieces.insert(number, piece).map_or(0, |old| old.octets.len());
        waiting.octets = waiting.octets + added - displaced;
        self.octets = self.octets + added - displaced;
        (waiting.pieces.len() == usize::from(key.total)).then(|| text_of(&waiting.pieces, key.total))
    }

    /// Drops a message, e.g. since it is stored.
    pub fn forget(&mut self, key: &MessageKey) {
        if let Some(gone) = self.waiting.remove(key) {
            self.octets -= gone.octets;
        }
    }

    /// Gives up messages that have waited too long, and the oldest while too many wait. What is there of them is returned.
    pub fn expire(&mut self, now_ms: i64) -> Vec<Whole> {
        let mut gone: Vec<(u64, MessageKey)> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| now_ms.saturating_sub(waiting.since_ms) >= self.patience_ms)
            .map(|(key, waiting)| (waiting.order, key.clone()))
            .collect();
        gone.sort_unstable_by_key(|(order, _)| *order);
        let mut given_up: Vec<Whole> = gone.into_iter().filter_map(|(_, key)| self.give_up(key)).collect();
        while self.waiting.len() > MAX_WAITING || self.octets > MAX_KEPT_OCTETS {
            let oldest = self.waiting.iter().min_by_key(|(_, waiting)| waiting.order).map(|(key, _)| key.clone());
            given_up.extend(oldest.and_then(|key| self.give_up(key)));
        }
        given_up
    }

    /// When [`Reassembly::expire`] has something to do, if nothing else happens.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        self.waiting.values().map(|waiting| waiting.since_ms.saturating_add(self.patience_ms)).min()
    }

    fn give_up(&mut self, key: MessageKey) -> Option<Whole> {
        let waiting = self.waiting.remove(&key)?;
        self.octets -= waiting.octets;
        // A complete message was returned when it became so.
        if waiting.pieces.len() == usize::from(key.total) {
            return None;
        }
        let text = text_of(&waiting.pieces, key.total);
        Some(Whole { key, text })
    }
}

/// Neighbours of one coding are read as one run of octets: a sender may have cut a character in two.
fn text_of(pieces: &BTreeMap<u8, Piece>, total: u8) -> String {
    let mut text = String::new();
    let mut run: Option<Piece> = None;
    for number in 1..=total {
        match (pieces.get(&number), &mut run) {
            (Some(piece), Some(run)) if run.coding == piece.coding => run.octets.extend_from_slice(&piece.octets),
            (piece, _) => {
                if let Some(run) = run.take() {
                    text.push_str(&decode(run.coding, &run.octets));
                }
                if piece.is_none() && !text.ends_with(GAP) {
                    text.push_str(GAP);
                }
                run = piece.cloned();
            }
        }
    }
    if let Some(run) = run {
        text.push_str(&decode(run.coding, &run.octets));
    }
    text
}
