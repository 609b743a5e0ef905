//! E-mail of clients: what a recipient's mail looks like on the wire.
//!
//! Invariants: one mail has one recipient, whoever else its headers name; `Bcc` never leaves the server; no header can be injected;
//! every try of a mail has the same `Message-ID` and `Date`.

mod compose;
pub mod dkim;
mod raw;
mod simulator;

use std::sync::Arc;

use posthaste_domain::message::{Links, Outgoing};
use posthaste_domain::resource;

pub use dkim::{DkimError, check_key, public_record};
pub(crate) use simulator::{NAME as SIMULATOR, Simulator};

use crate::SendError;
use crate::failure::Code;

/// One e-mail to one recipient.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The message as its sender gave it.
    pub message: Arc<Outgoing>,
    /// Which of its recipients.
    pub recipient: usize,
    /// What its links are made with.
    pub links: Links,
    /// Signature of the sending domain.
    pub dkim: Option<resource::Dkim>,
    /// Address that bounces go to.
    pub envelope_from: String,
}

impl Mail {
    /// Address of the recipient.
    pub(crate) fn to(&self) -> &str {
        &self.message.recipients[self.recipient].address
    }

    /// The mail as it goes over the wire, signed if there is a key. Its lines end by CRLF but the last one, whose end belongs to the
    /// end of the data (RFC 5321).
    ///
    /// # Errors
    /// If its parts make no mail, or its domain's key cannot sign.
    pub fn mime(&self) -> Result<Vec<u8>, SendError> {
        let mut mail = match self.message.email.as_ref().and_then(|email| email.mime.as_deref()) {
            Some(mime) => raw::prepare(mime, &self.message.id)?,
            None => compose::compose(self)?,
        };
        if let Some(key) = &self.dkim {
            let domain = self.message.domain.as_deref().unwrap_or_else(|| domain_of(&self.message.sender));
            let signature = dkim::sign(&mail, domain, key, self.message.created_ms / 1000)
                .map_err(|error| Code::SettingsInvalid.error(format!("the mail could not be signed for {domain}: {error}")))?;
            mail.splice(..0, signature.into_bytes());
        }
        if mail.ends_with(b"\r\n") {
            mail.truncate(mail.len() - 2);
        }
        Ok(mail)
    }

    /// The mail as the log shows it.
    pub(crate) fn request_text(&self, via: &str) -> Arc<str> {
        let subject = self.message.subject.as_deref().unwrap_or_default();
        let subject = posthaste_domain::message::letter::one_line(subject).into_owned();
        format!("{via}\nfrom: {}\nto: {}\nsubject: {subject}\nmessage-id: <{}>", self.envelope_from, self.to(), self.message.id).into()
    }
}

/// What stands behind the last `@`.
fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, domain)| domain)
}
