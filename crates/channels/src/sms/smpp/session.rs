//! One bound connection.
//!
//! Invariants: at most `window` requests wait for answers, and no more are taken from the queue; a `deliver_sm` is answered only when its news
//! are durable; parts of a message are answered with the whole, or after [`HOLD`] if the centre sends no more before that; neither direction
//! waits for the other, and what waits is bounded: beyond, nothing is read.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream::StreamExt;
use posthaste_domain::sms::{MessageKey, decode};
use rusmpp::pdus::{DeliverSm, DeliverSmResp};
use rusmpp::{CommandId, CommandStatus, Pdu};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::frame::{self, Incoming};
use super::inbound::{Delivered, read};
use super::link::{Memory, Offered};
use super::settings::SmppSettings;
use super::{Answer, Submission, status};
use crate::NewsKind;
use crate::dial::NetStream;
use crate::sms::told_to_stop;

/// News under way at once; beyond, the centre has to wait.
const MOST_OFFERS: usize = 1000;
/// Octets waiting to be written; beyond, nothing is read.
const MOST_UNWRITTEN: usize = 256 * 1024;
/// How long the answer to a part is held back for the rest of its message.
const HOLD: Duration = Duration::from_secs(2);
/// How long good-byes take at most.
const FAREWELL: Duration = Duration::from_secs(3);
/// The last sequence number before 1 follows.
const LAST_SEQUENCE: u32 = 0x7FFF_FFFF;

/// How a connection ended.
pub(super) enum Ended {
    /// As it was told.
    Stopped,
    /// Otherwise.
    Lost(String),
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    message: std::sync::Arc<str>,
    number: usize,
    total: usize,
    until: Instant,
}

/// A part whose answer is held back.
struct Held {
    key: MessageKey,
    sequence: u32,
    until: Instant,
}

pub(super) struct Session<'a> {
    connection: u64,
    settings: &'a SmppSettings,
    reader: ReadHalf<Box<dyn NetStream>>,
    writer: WriteHalf<Box<dyn NetStream>>,
    read: BytesMut,
    out: BytesMut,
    sequence: u32,
    waiting: BTreeMap<u32, Waiting>,
    held: Vec<Held>,
    heard: Instant,
    /// Until when the answer to an `enquire_link` is waited for.
    enquiry: Option<Instant>,
    /// The centre asked for fewer messages.
    paused: Option<Instant>,
    /// Until when the farewell may take; whether `unbind` is on its way.
    leaving: Option<(Instant, bool)>,
    /// The centre has said good-bye; the answer may still have to be written.
    unbound: bool,
}

impl<'a> Session<'a> {
    /// A session on a connection that was bound with sequence number 1; `read` is what came after the answer to that.
    pub(super) fn new(connection: u64, settings: &'a SmppSettings, stream: Box<dyn NetStream>, read: BytesMut) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            connection,
            settings,
            reader,
            writer,
            read,
            out: BytesMut::new(),
            sequence: 1,
            waiting: BTreeMap::new(),
            held: Vec::new(),
            heard: Instant::now(),
            enquiry: None,
            paused: None,
            leaving: None,
            unbound: false,
        }
    }

    /// Talks until the connection ends.
    pub(super) async fn run(
        mut self,
        submissions: &mut mpsc::Receiver<Submission>,
        memory: &mut Memory,
        stop: &mut watch::Receiver<bool>,
    ) -> Ended {
        if let Some(ended) = self.take_in(memory) {
            return ended;
        }
        loop {
            let room = memory.offers.len() < MOST_OFFERS && self.out.len() < MOST_UNWRITTEN;
            let free = self.waiting.len() < self.settings.window && self.paused.is_none() && self.leaving.is_none() && !self.unbound;
            let wake = self.wake(memory);
            tokio::select! {
                () = told_to_stop(stop), if self.leaving.is_none() => self.leaving = Some((Instant::now() + FAREWELL, false)),
                got = self.reader.read_buf(&mut self.read), if room => match got {
                    Ok(0) => return Ended::Lost("it closed the connection".to_owned()),
                    Ok(_) => {
                        self.heard = Instant::now();
                        if let Some(ended) = self.take_in(memory) {
                            return ended;
                        }
                    }
                    Err(error) => return Ended::Lost(error.to_string()),
                },
                wrote = self.writer.write_buf(&mut self.out), if !self.out.is_empty() => if let Err(error) = wrote {
                    return Ended::Lost(error.to_string());
                },
                Some(offered) = memory.offers.next(), if !memory.offers.is_empty() => self.finish(offered, memory),
                Some(submission) = submissions.recv(), if free => self.submit(submission),
                () = sleep_until(wake) => {}
            }
            if let Some(ended) = self.on_time(memory) {
                return ended;
            }
        }
    }

    /// The next moment at which [`Session::on_time`] has something to do.
    fn wake(&self, memory: &Memory) -> Instant {
        let enquire = self.enquiry.unwrap_or(self.heard + self.settings.enquire_link);
        let parts = memory.reassembly.due_ms().map(|at_ms| memory.instant(at_ms));
        let held = self.held.iter().map(|held| held.until).min();
        let answer = self.waiting.values().map(|waiting| waiting.until).min();
        let leaving = self.leaving.map(|(until, _)| until);
        [self.paused, parts, held, answer, leaving].into_iter().flatten().fold(enquire, Instant::min)
    }

    fn on_time(&mut self, memory: &mut Memory) -> Option<Ended> {
        let now = Instant::now();
        if self.unbound && self.out.is_empty() {
            return Some(Ended::Lost("it unbound".to_owned()));
        }
        if self.enquiry.is_some_and(|until| until <= now) {
            return Some(Ended::Lost("it did not answer enquire_link".to_owned()));
        }
        if self.enquiry.is_none() && self.heard + self.settings.enquire_link <= now {
            self.enquiry = Some(now + self.settings.response_timeout);
            let sequence = self.next_sequence();
            frame::put(&mut self.out, CommandStatus::EsmeRok, sequence, Pdu::EnquireLink);
        }
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
        }
        let late: Vec<u32> = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now).map(|(sequence, _)| *sequence).collect();
        for waiting in late.into_iter().filter_map(|sequence| self.waiting.remove(&sequence)) {
            // Whoever waited may have gone.
            let _ = waiting.answer.send(Answer::Late);
        }
        // The centre sends one part at a time: it hears that this one is here, which is in memory alone.
        for held in self.held.extract_if(.., |held| held.until <= now).collect::<Vec<_>>() {
            self.respond(held.sequence, CommandStatus::EsmeRok);
        }
        for whole in memory.reassembly.expire(memory.now_ms()) {
            tracing::warn!(from = whole.key.from, to = whole.key.to, "parts of an inbound SMS never came; it is passed on as it is");
            let answers = self.release(&whole.key);
            memory.offer(NewsKind::Received { from: whole.key.from, to: whole.key.to, text: whole.text }, answers, None);
        }
        self.leave(now)
    }

    fn leave(&mut self, now: Instant) -> Option<Ended> {
        let (until, unbinding) = self.leaving?;
        if until <= now {
            return Some(Ended::Stopped);
        }
        if !unbinding && self.waiting.is_empty() {
            let sequence = self.next_sequence();
            frame::put(&mut self.out, CommandStatus::EsmeRok, sequence, Pdu::Unbind);
            self.leaving = Some((until, true));
        }
        None
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = if self.sequence >= LAST_SEQUENCE { 1 } else { self.sequence + 1 };
        self.sequence
    }

    fn submit(&mut self, submission: Submission) {
        // Whoever asked has gone: his time was up while this waited.
        if submission.answer.is_closed() {
            return;
        }
        let sequence = self.next_sequence();
        frame::put(&mut self.out, CommandStatus::EsmeRok, sequence, Pdu::SubmitSm(submission.pdu));
        let Submission { message, number, total, answer, .. } = submission;
        let until = Instant::now() + self.settings.response_timeout;
        self.waiting.insert(sequence, Waiting { answer, message, number, total, until });
    }

    /// Handles every whole PDU that was read.
    fn take_in(&mut self, memory: &mut Memory) -> Option<Ended> {
        loop {
            match frame::take(&mut self.read) {
                Ok(None) => return None,
                Ok(Some(incoming)) => {
                    if let Some(ended) = self.handle(incoming, memory) {
                        return Some(ended);
                    }
                }
                Err(error) => return Some(Ended::Lost(error.to_string())),
            }
        }
    }

    fn handle(&mut self, incoming: Incoming, memory: &mut Memory) -> Option<Ended> {
        let Incoming { id, status, sequence, pdu } = incoming;
        match (id, pdu) {
            (CommandId::SubmitSmResp, pdu) if status == 0 => {
                let id = match &pdu {
                    Some(Pdu::SubmitSmResp(response)) => response.message_id().as_str(),
                    _ => "",
                };
                self.taken(sequence, id, memory);
            }
            (CommandId::SubmitSmResp | CommandId::GenericNack, _) => self.refused(sequence, status),
            (CommandId::DeliverSm, Some(Pdu::DeliverSm(pdu))) => self.delivered(sequence, &pdu, memory),
            (CommandId::DeliverSm, _) => {
                tracing::warn!("the SMS message centre delivered something that cannot be read");
                self.respond(sequence, CommandStatus::EsmeRxPAppn);
            }
            (CommandId::EnquireLink, _) => frame::put(&mut self.out, CommandStatus::EsmeRok, sequence, Pdu::EnquireLinkResp),
            (CommandId::EnquireLinkResp, _) => self.enquiry = None,
            (CommandId::UnbindResp, _) if self.leaving.is_some() => return Some(Ended::Stopped),
            (CommandId::Unbind, _) => {
                frame::put(&mut self.out, CommandStatus::EsmeRok, sequence, Pdu::UnbindResp);
                self.unbound = true;
            }
            // Answers to nothing, and notes that need no answer.
            (CommandId::AlertNotification | CommandId::Outbind, _) => {}
            (other, _) if u32::from(other) & 0x8000_0000 != 0 => {}
            _ => frame::put(&mut self.out, CommandStatus::EsmeRinvcmdid, sequence, Pdu::GenericNack),
        }
        None
    }

    fn taken(&mut self, sequence: u32, id: &str, memory: &mut Memory) {
        let Some(waiting) = self.waiting.remove(&sequence) else { return };
        let now_ms = memory.now_ms();
        if !id.is_empty()
            && let Some(news) = memory.tally.taken(&waiting.message, waiting.number, waiting.total, id, now_ms)
        {
            memory.tell(news, None, None, Vec::new());
        }
        // Whoever waited may have gone: then the message is sent again, and the centre has it twice.
        let _ = waiting.answer.send(Answer::Taken(id.to_owned()));
    }

    fn refused(&mut self, sequence: u32, status: u32) {
        if status::slows_down(status) {
            self.paused = Some(Instant::now() + self.settings.throttle_pause);
        }
        if let Some(waiting) = self.waiting.remove(&sequence) {
            let _ = waiting.answer.send(Answer::Refused(status));
        }
    }

    fn delivered(&mut self, sequence: u32, pdu: &DeliverSm, memory: &mut Memory) {
        let now_ms = memory.now_ms();
        match read(pdu, self.settings.alphabet) {
            Delivered::Receipt(receipt, text) => match memory.tally.receipt(&receipt.id, receipt.state, now_ms) {
                Some(news) => memory.tell(news, receipt.code, Some(text), vec![(self.connection, sequence)]),
                None => self.respond(sequence, CommandStatus::EsmeRok),
            },
            Delivered::UnreadableReceipt(text) => {
                tracing::warn!(text, "the SMS message centre sent a receipt that names no message or no state");
                self.respond(sequence, CommandStatus::EsmeRok);
            }
            Delivered::Message { from, to, piece } => {
                let text = decode(piece.coding, &piece.octets);
                memory.offer(NewsKind::Received { from, to, text }, vec![(self.connection, sequence)], None);
            }
            Delivered::Part(key, number, piece) => {
                let until = Instant::now() + HOLD;
                let complete = memory.reassembly.add(&key, number, piece, now_ms);
                for held in self.held.iter_mut().filter(|held| held.key == key) {
                    held.until = until;
                }
                self.held.push(Held { key: key.clone(), sequence, until });
                if let Some(text) = complete {
                    let answers = self.release(&key);
                    memory.offer(NewsKind::Received { from: key.from.clone(), to: key.to.clone(), text }, answers, Some(key));
                }
            }
        }
    }

    /// The requests whose answers wait for a message in parts.
    fn release(&mut self, key: &MessageKey) -> Vec<(u64, u32)> {
        let connection = self.connection;
        self.held.extract_if(.., |held| held.key == *key).map(|held| (connection, held.sequence)).collect()
    }

    fn finish(&mut self, offered: Offered, memory: &mut Memory) {
        if offered.durable {
            if let Some(key) = &offered.key {
                memory.reassembly.forget(key);
            }
            if let Some(settled) = &offered.settled {
                memory.tally.settled(settled);
            }
        }
        let status = if offered.durable { CommandStatus::EsmeRok } else { CommandStatus::EsmeRxTAppn };
        for (connection, sequence) in offered.answers {
            // Of an older connection nobody waits for the answer any more.
            if connection == self.connection {
                self.respond(sequence, status);
            }
        }
    }

    fn respond(&mut self, sequence: u32, status: CommandStatus) {
        frame::put(&mut self.out, status, sequence, Pdu::DeliverSmResp(DeliverSmResp::default()));
    }
}
