//! SMPP 3.4: a message centre over one connection that is kept open.
//!
//! Two parts share a queue: [`Smpp`] cuts messages into segments and waits for their answers, [`Link`] owns the connection. A try waits a moment
//! for a link that has just been made or lost; one that has been down for longer makes tries fail at once, so that the lane holds them and
//! nothing piles up here.
//!
//! The conversation is written here over the codec crate `rusmpp`: its client `rusmppc` has queues without bounds, spawns its own task and
//! brings its own resolver.

mod frame;
mod inbound;
mod link;
mod session;
mod settings;
mod status;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use posthaste_domain::sms::{Coding, MAX_SEGMENTS, pack_septets, segment, user_data_header};
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::MessageSubmissionRequestTlvValue;
use rusmpp::types::{AnyOctetString, COctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, MessagePayload, Npi, RegisteredDelivery, Ton};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

pub(super) use self::link::Link;
pub(super) use self::settings::SmppSettings;
use self::settings::{Alphabet, Long};
use super::{Carrier, Handed, Handover};
use crate::carrier::CarrierInbox;
use crate::dial::Outlet;
use crate::failure::Code;
use crate::tls::Tls;
use crate::{SendError, Sms};

/// Messages of which some segments were taken and others not, kept for their next try.
const HALF_DONE: usize = 10_000;
/// How long tries wait for a connection that has just been made or lost.
const GRACE: Duration = Duration::from_secs(3);
/// A centre reads receipts asked for with this.
const FINAL_RECEIPT: u8 = 1;
/// `esm_class` of a message as it is, and of one whose text begins with a header.
const PLAIN: u8 = 0;
const WITH_HEADER: u8 = 0x40;
/// UTF-16 in `data_coding`.
const UCS2: u8 = 8;

/// A segment on its way to the link.
struct Submission {
    pdu: SubmitSm,
    /// Of which message (its delivery), which segment of how many.
    message: Arc<str>,
    number: usize,
    total: usize,
    answer: oneshot::Sender<Answer>,
}

/// What became of a segment. Dropped: the connection was lost.
enum Answer {
    /// Taken, with the centre's id.
    Taken(String),
    /// Refused with this command status.
    Refused(u32),
    /// No answer in time.
    Late,
}

/// The carrier.
pub(super) struct Smpp {
    settings: Arc<SmppSettings>,
    submissions: mpsc::Sender<Submission>,
    state: watch::Receiver<LinkState>,
    half_done: Mutex<HalfDone>,
}

/// Whether the link is bound, and since when it is or is not.
#[derive(Clone, Copy, Debug)]
struct LinkState {
    bound: bool,
    since: Instant,
}

impl LinkState {
    fn now(bound: bool) -> Self {
        Self { bound, since: Instant::now() }
    }
}

/// Ids of the segments that were taken, by delivery.
#[derive(Default)]
struct HalfDone {
    ids: HashMap<String, Vec<Option<String>>>,
    order: VecDeque<String>,
}

pub(super) fn make(settings: SmppSettings, outlet: Arc<Outlet>, tls: Arc<Tls>, inbox: CarrierInbox) -> (Smpp, Link) {
    let settings = Arc::new(settings);
    let (submissions, coming) = mpsc::channel(settings.window);
    let (tell_state, state) = watch::channel(LinkState::now(false));
    let link = Link::new(Arc::clone(&settings), outlet, tls, coming, tell_state, inbox);
    (Smpp { settings, submissions, state, half_done: Mutex::default() }, link)
}

#[async_trait]
impl Carrier for Smpp {
    fn label(&self) -> &str {
        "SMPP submit_sm via this server's message centre"
    }

    async fn hand_over(&self, handover: Handover<'_>) -> Handed {
        let deadline = Instant::now() + handover.timeout;
        if !self.is_bound(deadline).await {
            return Handed::refused(Code::SmsUnavailable.error("this server is not connected to its message centre"), None);
        }
        let pdus = match self.pdus(handover.sms, handover.delivery_id) {
            Ok(pdus) => pdus,
            Err(error) => return Handed::refused(error, None),
        };
        let total = pdus.len();
        let message: Arc<str> = handover.delivery_id.into();
        let mut tries = Vec::with_capacity(total);
        for ((number, pdu), taken) in pdus.into_iter().enumerate().zip(self.take_half_done(handover.delivery_id, total)) {
            let message = Arc::clone(&message);
            tries.push(async move {
                match taken {
                    Some(id) => Some(Answer::Taken(id)),
                    None => self.submit(pdu, message, number, total, deadline).await,
                }
            });
        }
        self.judge(handover.delivery_id, join_all(tries).await)
    }
}

impl Smpp {
    /// Whether the link is bound, now or within the moment that is granted to it.
    async fn is_bound(&self, deadline: Instant) -> bool {
        let mut state = self.state.clone();
        let LinkState { bound, since } = *state.borrow_and_update();
        bound || timeout_at(deadline.min(since + GRACE), state.wait_for(|state| state.bound)).await.is_ok_and(|found| found.is_ok())
    }

    /// The segments as requests: the same for every try of a delivery.
    fn pdus(&self, sms: &Sms, delivery_id: &str) -> Result<Vec<SubmitSm>, SendError> {
        let made = segment(&sms.text);
        let total = u8::try_from(made.parts.len())
            .map_err(|_| Code::ContentUnsupported.error(format!("the text needs more than {MAX_SEGMENTS} segments")))?;
        let several = total > 1;
        let packed = made.coding == Coding::Gsm7 && self.settings.alphabet == Alphabet::Packed;
        let mut template = self.template(sms, made.coding)?;
        if several && self.settings.long == Long::Payload {
            let whole = made.parts.concat();
            let payload = if packed { pack_septets(&whole, 0) } else { whole };
            template.push_tlv(MessageSubmissionRequestTlvValue::MessagePayload(MessagePayload::new(AnyOctetString::from_vec(payload))));
            return Ok(vec![template]);
        }
        let reference = reference(delivery_id);
        let pdu = |(number, part): (u8, Vec<u8>)| {
            let mut octets = Vec::with_capacity(part.len() + 6);
            if several {
                octets.extend_from_slice(&user_data_header(reference, total, number));
            }
            match packed {
                // After a header of six octets, one bit fills up to the next septet.
                true => octets.extend_from_slice(&pack_septets(&part, u8::from(several))),
                false => octets.extend_from_slice(&part),
            }
            let mut pdu = template.clone();
            if several {
                pdu.esm_class = EsmClass::from(WITH_HEADER);
            }
            pdu.set_short_message(OctetString::from_vec(octets).expect("a segment has at most 160 octets"));
            pdu
        };
        Ok((1..).zip(made.parts).map(pdu).collect())
    }

    /// A request with everything but the text.
    fn template(&self, sms: &Sms, coding: Coding) -> Result<SubmitSm, SendError> {
        let ((source_ton, source_npi), source) = self.settings.source_of(&sms.from);
        let (dest_ton, dest_npi) = self.settings.destination;
        let address = |text: &str| {
            COctetString::from_string(text.to_owned()).map_err(|_| Code::SmsRejected.error("an address is longer than 20 characters"))
        };
        Ok(SubmitSm::builder()
            .source_addr_ton(Ton::from(source_ton))
            .source_addr_npi(Npi::from(source_npi))
            .source_addr(address(source)?)
            .dest_addr_ton(Ton::from(dest_ton))
            .dest_addr_npi(Npi::from(dest_npi))
            .destination_addr(address(sms.to.trim_start_matches('+'))?)
            // Not the codec's default, which says that the message is an acknowledgement.
            .esm_class(EsmClass::from(PLAIN))
            .registered_delivery(RegisteredDelivery::from(FINAL_RECEIPT))
            .data_coding(DataCoding::from(if coding == Coding::Gsm7 { 0 } else { UCS2 }))
            .build())
    }

    /// Hands one segment to the link and waits for the answer; `None` if the connection was lost.
    async fn submit(&self, pdu: SubmitSm, message: Arc<str>, number: usize, total: usize, deadline: Instant) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        let submission = Submission { pdu, message, number, total, answer };
        let exchange = async {
            self.submissions.send(submission).await.ok()?;
            answered.await.ok()
        };
        timeout_at(deadline, exchange).await.unwrap_or(Some(Answer::Late))
    }

    /// All segments taken, or the gravest reason why not.
    fn judge(&self, delivery_id: &str, answers: Vec<Option<Answer>>) -> Handed {
        let mut ids = Vec::with_capacity(answers.len());
        let mut worst: Option<(SendError, Option<u32>)> = None;
        for answer in answers {
            let (id, error) = match answer {
                Some(Answer::Taken(id)) => (Some(id), None),
                Some(Answer::Refused(status)) => (None, Some((status::error(status), Some(status)))),
                Some(Answer::Late) => (None, Some((Code::Timeout.error("the message centre did not answer in time"), None))),
                None => {
                    (None, Some((Code::ConnectionLost.error("the connection to the message centre was lost before it answered"), None)))
                }
            };
            ids.push(id);
            if let Some(error) = error
                && worst.as_ref().is_none_or(|worst| worst.0.retryable && !error.0.retryable)
            {
                worst = Some(error);
            }
        }
        let Some((error, status)) = worst else {
            let ids: Vec<String> = ids.into_iter().flatten().collect();
            let response = format!("submit_sm_resp: {}", ids.join(", "));
            return Handed::taken(ids.into_iter().next_back().filter(|id| !id.is_empty()), response);
        };
        if error.retryable && ids.iter().any(Option::is_some) {
            self.keep_half_done(delivery_id, ids);
        }
        let mut handed = Handed::refused(error, status.and_then(|status| u16::try_from(status).ok()));
        if status.is_some_and(status::slows_down) {
            handed.retry_after = Some(self.settings.throttle_pause.as_secs().max(1).to_string());
        }
        handed
    }

    fn take_half_done(&self, delivery_id: &str, total: usize) -> Vec<Option<String>> {
        let mut half_done = self.half_done.lock().unwrap_or_else(PoisonError::into_inner);
        half_done.ids.remove(delivery_id).filter(|ids| ids.len() == total).unwrap_or_else(|| vec![None; total])
    }

    fn keep_half_done(&self, delivery_id: &str, ids: Vec<Option<String>>) {
        let mut half_done = self.half_done.lock().unwrap_or_else(PoisonError::into_inner);
        half_done.ids.insert(delivery_id.to_owned(), ids);
        half_done.order.push_back(delivery_id.to_owned());
        while half_done.order.len() > HALF_DONE {
            if let Some(oldest) = half_done.order.pop_front() {
                half_done.ids.remove(&oldest);
            }
        }
    }
}

/// The reference of a message in parts: eight bits that all tries of a delivery share and that neighbours do not.
fn reference(delivery_id: &str) -> u8 {
    delivery_id.bytes().fold(0xC5, |sum: u8, byte| sum.rotate_left(3) ^ byte.wrapping_mul(31))
}
