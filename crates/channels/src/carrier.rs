//! News from carriers: receipts and inbound messages, on their way to whoever makes events of them.
//!
//! Invariants: the queue is bounded; a carrier is told that its news were taken only after the listener said that they are durable.

use std::sync::{Arc, Mutex, PoisonError};

pub use posthaste_domain::sms::ReceiptState;
use tokio::sync::{mpsc, oneshot};

/// News that wait for the listener at most; then carriers wait.
const QUEUE: usize = 1024;

/// One piece of news with the place to answer.
#[derive(Debug)]
pub struct CarrierNews {
    /// What happened.
    pub kind: NewsKind,
    /// `true` once it is durable: only then the carrier is told that it was taken. `false` or dropped: it could not be kept, or belongs to
    /// a message that is not known (yet); the carrier offers it again.
    pub ack: oneshot::Sender<bool>,
}

/// What a carrier can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsKind {
    /// What became of a message that was sent.
    Receipt {
        /// The id that the carrier gave when it took the message ([`crate::Report::carrier_id`]).
        carrier_id: String,
        /// What became of it.
        state: ReceiptState,
        /// The carrier's error code, if there is one.
        code: Option<String>,
        /// The carrier's words.
        text: Option<String>,
    },
    /// The recipient of a mail that was taken called it spam.
    Complaint {
        /// Id of the message as in its events.
        message_id: String,
        /// Address of the recipient.
        recipient: String,
    },
    /// A message came in.
    Received {
        /// The handset, in E.164 where the carrier says so.
        from: String,
        /// Our number.
        to: String,
        /// What it says, put together from all its parts.
        text: String,
    },
}

/// The way in for news; cheap to clone.
#[derive(Clone, Debug)]
pub struct CarrierInbox(mpsc::Sender<CarrierNews>);

impl CarrierInbox {
    /// Offers one piece of news whose loss does not matter, without waiting.
    pub(crate) fn mention(&self, kind: NewsKind) {
        let (ack, _) = oneshot::channel();
        // A full queue is answered by silence.
        let _ = self.0.try_send(CarrierNews { kind, ack });
    }

    /// Offers one piece of news and waits for the answer: whether it is durable. `false` as well if nobody listens.
    pub async fn offer(&self, kind: NewsKind) -> bool {
        let (ack, answer) = oneshot::channel();
        self.0.send(CarrierNews { kind, ack }).await.is_ok() && answer.await.unwrap_or(false)
    }
}

/// Both ends of the queue, kept by [`crate::Channels`].
#[derive(Clone)]
pub(crate) struct NewsPort {
    inbox: CarrierInbox,
    listener: Arc<Mutex<Option<mpsc::Receiver<CarrierNews>>>>,
}

impl Default for NewsPort {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Self { inbox: CarrierInbox(sender), listener: Arc::new(Mutex::new(Some(receiver))) }
    }
}

impl NewsPort {
    pub(crate) fn inbox(&self) -> CarrierInbox {
        self.inbox.clone()
    }

    pub(crate) fn listen(&self) -> Option<mpsc::Receiver<CarrierNews>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_have_one_listener_and_wait_for_its_word() {
        let port = NewsPort::default();
        let mut news = port.listen().expect("the first listener");
        assert!(port.listen().is_none());
        let received = NewsKind::Received { from: "+15550100".into(), to: "+15550101".into(), text: "hi".into() };
        for word in [true, false] {
            let inbox = port.inbox();
            let (taken, ()) = tokio::join!(inbox.offer(received.clone()), async {
                let one = news.recv().await.expect("news");
                assert_eq!(one.kind, received);
                one.ack.send(word).expect("the carrier waits");
            });
            assert_eq!(taken, word);
        }
        drop(news);
        assert!(!port.inbox().offer(received).await, "nobody listens");
    }
}
