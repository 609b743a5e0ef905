//! Receipts of messages that went out in several segments: one word for all of them.
//!
//! The message has the carrier's id of its last segment. It is delivered when all segments are; the first final failure counts for the whole.
//! After a restart nothing is known of the segments, and the last one's receipt speaks for the message.

use std::collections::{HashMap, VecDeque};

use super::receipt::ReceiptState;

/// Messages whose receipts are waited for at most; beyond, the oldest is forgotten.
const MAX_MESSAGES: usize = 100_000;

/// What to tell of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TallyNews {
    /// The id of its last segment.
    pub carrier_id: String,
    /// What became of it.
    pub state: ReceiptState,
}

#[derive(Debug)]
struct Message {
    since_ms: i64,
    ids: Vec<Option<String>>,
    delivered: Vec<bool>,
    failed: Option<ReceiptState>,
    told: bool,
}

/// The segments whose receipts are waited for. A message of one segment is not kept: its receipt speaks for itself.
#[derive(Debug)]
pub struct Tally {
    keep_ms: i64,
    messages: HashMap<String, Message>,
    segments: HashMap<String, (String, usize)>,
    order: VecDeque<(i64, String)>,
}

impl Tally {
    /// Waits for receipts for `keep_ms`.
    #[must_use]
    pub fn new(keep_ms: i64) -> Self {
        Self { keep_ms, messages: HashMap::new(), segments: HashMap::new(), order: VecDeque::new() }
    }

    /// The carrier took segment `number` (from 0) of `total` and called it `id`. `message` is any key that tells messages apart.
    pub fn taken(&mut self, message: &str, number: usize, total: usize, id: &str, now_ms: i64) -> Option<TallyNews> {
        self.forget_old(now_ms);
        if total < 2 || number >= total {
            return None;
        }
        let order = &mut self.order;
        let entry = self.messages.entry(message.to_owned()).or_insert_with(|| {
            order.push_back((now_ms, message.to_owned()));
            Message { since_ms: now_ms, ids: vec![None; total], delivered: vec![false; total], failed: None, told: false }
        });
        if let Some(slot) = entry.ids.get_mut(number) {
            *slot = Some(id.to_owned());
            self.segments.insert(id.to_owned(), (message.to_owned(), number));
        }
        self.news(message)
    }

    /// A receipt of the segment `id` came. What to tell of its message, if there is something now; an id that is not of a kept message speaks
    /// for itself.
    pub fn receipt(&mut self, id: &str, state: ReceiptState, now_ms: i64) -> Option<TallyNews> {
        self.forget_old(now_ms);
        let known = self.segments.get(id).and_then(|(message, number)| Some((message.clone(), *number, self.messages.get_mut(message)?)));
        let Some((message, number, entry)) = known else { return Some(TallyNews { carrier_id: id.to_owned(), state }) };
        match state {
            ReceiptState::Enroute => return None,
            ReceiptState::Delivered => entry.delivered[number] = true,
            failure => entry.failed = entry.failed.or(Some(failure)),
        }
        self.news(&message)
    }

    /// The final word on a message, as long as it was not taken note of by [`Tally::settled`].
    fn news(&mut self, message: &str) -> Option<TallyNews> {
        let entry = self.messages.get_mut(message)?;
        let state = entry.failed.or_else(|| entry.delivered.iter().all(|delivered| *delivered).then_some(ReceiptState::Delivered))?;
        let carrier_id = entry.ids.last().cloned().flatten()?;
        (!entry.told).then_some(TallyNews { carrier_id, state })
    }

    /// The news of the message with this id are durable: no receipt of it needs to be told any more.
    pub fn settled(&mut self, carrier_id: &str) {
        if let Some(entry) = self.segments.get(carrier_id).and_then(|(message, _)| self.messages.get_mut(message)) {
            entry.told = true;
        }
    }

    fn forget_old(&mut self, now_ms: i64) {
        while let Some((since_ms, _)) = self.order.front() {
            if now_ms.saturating_sub(*since_ms) < self.keep_ms && self.order.len() <= MAX_MESSAGES {
                break;
            }
            let Some((since_ms, message)) = self.order.pop_front() else { break };
            if self.messages.get(&message).is_some_and(|entry| entry.since_ms == since_ms)
                && let Some(entry) = self.messages.remove(&message)
            {
                for id in entry.ids.into_iter().flatten() {
                    self.segments.remove(&id);
                }
            }
        }
    }
}
