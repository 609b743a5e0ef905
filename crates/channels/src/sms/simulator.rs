//! The simulator: a carrier without a network, named as such, which tells fortunes by number.
//!
//! Numbers that begin with `+999`, a country code that nobody has, behave by their last four digits (`docs/sms.md`); to every other number a
//! message is sent and delivered at once. Its receipts live in memory alone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Carrier, Handed, Handover, INVALID_RECIPIENT, SYSTEM_ERROR, offer_patiently, told_to_stop};
use crate::carrier::CarrierInbox;
use crate::failure::Code;
use crate::{NewsKind, ReceiptState};

/// The numbers that behave.
const PREFIX: &str = "+999";
/// Receipts and replies that are under way at once, and as many that wait for them.
const UNDER_WAY: usize = 4096;
/// How often a number ending in 0003 refuses a message.
const REFUSALS: u32 = 2;
/// Deliveries whose refusals are counted.
const COUNTED: usize = 10_000;

/// How fast the simulator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatorSettings {
    /// From taking a message to its receipt.
    pub receipt_after: Duration,
    /// The same for numbers that end in 0004.
    pub late_receipt_after: Duration,
    /// From the receipt to the reply of numbers that reply.
    pub reply_after: Duration,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self { receipt_after: Duration::ZERO, late_receipt_after: Duration::from_secs(5), reply_after: Duration::ZERO }
    }
}

/// What a number does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Deliver,
    Invalid,
    Fail,
    RefuseTwice,
    DeliverLate,
    Expire,
    Reply(&'static str),
    Silent,
    Reject,
}

impl Behaviour {
    fn of(number: &str) -> Self {
        let Some(rest) = number.strip_prefix(PREFIX) else { return Self::Deliver };
        match rest.get(rest.len().saturating_sub(4)..) {
            Some("0001") => Self::Invalid,
            Some("0002") => Self::Fail,
            Some("0003") => Self::RefuseTwice,
            Some("0004") => Self::DeliverLate,
            Some("0005") => Self::Expire,
            Some("0006") => Self::Reply("YES"),
            Some("0007") => Self::Reply("STOP"),
            Some("0008") => Self::Silent,
            Some("0009") => Self::Reject,
            Some("0010") => Self::Reply("START"),
            _ => Self::Deliver,
        }
    }
}

/// Something to tell, in order, each at its time.
struct Errand(Vec<(Instant, NewsKind)>);

/// The carrier.
pub(super) struct Simulator {
    settings: SimulatorSettings,
    errands: mpsc::Sender<Errand>,
    refused: Mutex<Refused>,
}

#[derive(Default)]
struct Refused {
    times: HashMap<String, u32>,
    order: VecDeque<String>,
}

/// The part that tells.
pub(super) struct Errands {
    coming: mpsc::Receiver<Errand>,
    inbox: CarrierInbox,
}

pub(super) fn make(settings: &SimulatorSettings, inbox: CarrierInbox) -> (Simulator, Errands) {
    let (errands, coming) = mpsc::channel(UNDER_WAY);
    (Simulator { settings: settings.clone(), errands, refused: Mutex::default() }, Errands { coming, inbox })
}

impl Simulator {
    /// Whether this try is one of those that are refused.
    fn refuses(&self, delivery_id: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let times = refused.times.get(delivery_id).copied().unwrap_or_default();
        if times >= REFUSALS {
            return false;
        }
        if times == 0 {
            refused.order.push_back(delivery_id.to_owned());
            if refused.order.len() > COUNTED
                && let Some(oldest) = refused.order.pop_front()
            {
                refused.times.remove(&oldest);
            }
        }
        refused.times.insert(delivery_id.to_owned(), times + 1);
        true
    }
}

#[async_trait]
impl Carrier for Simulator {
    fn label(&self) -> &str {
        "SMS to the simulator: nothing leaves this server"
    }

    async fn hand_over(&self, handover: Handover<'_>) -> Handed {
        use ReceiptState::{Delivered, Expired, Failed, Rejected};
        let sms = handover.sms;
        let behaviour = Behaviour::of(&sms.to);
        let (state, reply) = match behaviour {
            Behaviour::Invalid => {
                return Handed::refused(Code::SmsRejected.error("the simulator calls this number invalid"), Some(INVALID_RECIPIENT));
            }
            Behaviour::RefuseTwice if self.refuses(handover.delivery_id) => {
                return Handed::refused(Code::SmsDeferred.error("the simulator refuses this number twice"), Some(SYSTEM_ERROR));
            }
            Behaviour::Silent => (None, None),
            Behaviour::Fail => (Some(Failed), None),
            Behaviour::Expire => (Some(Expired), None),
            Behaviour::Reject => (Some(Rejected), None),
            Behaviour::Reply(text) => (Some(Delivered), Some(text)),
            Behaviour::Deliver | Behaviour::DeliverLate | Behaviour::RefuseTwice => (Some(Delivered), None),
        };
        // The same for every try, as a crash after taking must not make two messages of one.
        let carrier_id = format!("sim-{}", handover.delivery_id);
        let wait = if behaviour == Behaviour::DeliverLate { self.settings.late_receipt_after } else { self.settings.receipt_after };
        let at = Instant::now() + wait;
        let receipt = state.map(|state| {
            let code = (state != Delivered).then(|| "simulated".to_owned());
            (at, NewsKind::Receipt { carrier_id: carrier_id.clone(), state, code, text: None })
        });
        let reply = reply.map(|text| {
            let kind = NewsKind::Received { from: sms.to.clone(), to: sms.from.clone(), text: text.to_owned() };
            (at + self.settings.reply_after, kind)
        });
        let news: Vec<_> = receipt.into_iter().chain(reply).collect();
        if !news.is_empty() && self.errands.try_send(Errand(news)).is_err() {
            return Handed::refused(Code::SmsDeferred.error("the simulator has too many receipts to tell"), None);
        }
        Handed::taken(Some(carrier_id), "taken by the simulator")
    }
}

impl Errands {
    /// Tells everything at its time, until told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => return,
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                errand = self.coming.recv(), if under_way.len() < UNDER_WAY => match errand {
                    Some(errand) => under_way.push(tell(self.inbox.clone(), errand)),
                    None => {
                        while under_way.next().await.is_some() {}
                        return;
                    }
                }
            }
        }
    }
}

async fn tell(inbox: CarrierInbox, errand: Errand) {
    for (at, kind) in errand.0 {
        sleep_until(at).await;
        offer_patiently(&inbox, kind).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No number of the vendors' samples misbehaves.
    #[test]
    fn only_numbers_of_no_country_behave() {
        for usual in ["+15005550006", "+15005550001", "+256701521269", "+61491570156", "+15551230001", "+99912345678", "+9981230001"] {
            assert_eq!(Behaviour::of(usual), Behaviour::Deliver, "{usual}");
        }
        assert_eq!(Behaviour::of("+9990000001"), Behaviour::Invalid);
        assert_eq!(Behaviour::of("+999123450007"), Behaviour::Reply("STOP"));
        assert_eq!(Behaviour::of("+999"), Behaviour::Deliver);
    }
}
