//! The simulated relay: what takes the mail of clients until a relay is configured. Nothing is sent anywhere.
//!
//! The local part of the recipient's address decides: `fail…` is refused for good, `defer…` is refused for now and taken at the next try
//! (`defer3…`: at the fourth), everything else is taken; of what is sent to `complain…` its recipient complains.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::carrier::{CarrierInbox, NewsKind};
use crate::failure::Code;
use crate::mail::Mail;
use crate::smtp::{NotTaken, Taken};

/// How it is called in reports.
pub(crate) const NAME: &str = "the simulated relay (no mail relay is configured; nothing is sent)";

/// Deferred mails remembered at most; then the count starts anew, which means another try or two.
const REMEMBERED: usize = 10_000;
/// Tries that `defer…` may refuse.
const MAX_DEFERRALS: u32 = 100;

/// Remembers how often it deferred which mail.
pub(crate) struct Simulator {
    inbox: CarrierInbox,
    deferred: Mutex<HashMap<String, u32>>,
}

impl Simulator {
    /// Complaints go to `inbox`.
    pub(crate) fn new(inbox: CarrierInbox) -> Self {
        Self { inbox, deferred: Mutex::default() }
    }

    /// What it answers to a mail: code and text, as a mail server would.
    pub(crate) fn offer(&self, delivery_id: &str, mail: &Mail) -> Result<Taken, NotTaken> {
        let to = mail.to();
        let local = to.split('@').next().unwrap_or_default().to_ascii_lowercase();
        if local.starts_with("fail") {
            let text = "550 5.1.1 no such mailbox (simulated)";
            let error = Code::SmtpRejected.error(format!("{NAME} refused the mail: {text}"));
            return Err(NotTaken { error, status: Some(550) });
        }
        if let Some(rest) = local.strip_prefix("defer") {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let times = rest[..digits].parse().unwrap_or(1).min(MAX_DEFERRALS);
            let mut deferred = self.deferred.lock().unwrap_or_else(PoisonError::into_inner);
            if deferred.len() >= REMEMBERED {
                deferred.clear();
            }
            let count = deferred.entry(delivery_id.to_owned()).or_default();
            if *count < times {
                *count += 1;
                let text = "451 4.3.0 try again later (simulated)";
                let error = Code::SmtpDeferred.error(format!("{NAME} did not take the mail for now: {text}"));
                return Err(NotTaken { error, status: Some(451) });
            }
            deferred.remove(delivery_id);
        }
        if local.starts_with("complain") {
            self.inbox.mention(NewsKind::Complaint { message_id: mail.message.id.clone(), recipient: to.to_owned() });
        }
        Ok(Taken { status: 250, text: "2.0.0 OK (simulated)".to_owned() })
    }
}
