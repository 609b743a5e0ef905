//! What only e-mail has, as one message shows it: enough to see whom it names, and what a copy of it would lack.

use std::collections::HashSet;

use posthaste_domain::message::address::{self, Mailbox};
use posthaste_domain::message::{Attachment, EmailParts, Outgoing, Recipient};
use serde::Serialize;
use utoipa::ToSchema;

/// What only e-mail has.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageEmail)]
pub(super) struct EmailView {
    /// Recipients that the mail names in `To`.
    to: Vec<String>,
    /// Recipients that the mail names in `Cc`.
    cc: Vec<String>,
    /// Recipients that the mail does not name.
    bcc: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    /// Whether each recipient sees only its own address, and what is filled in for it.
    individual: bool,
    /// Whether the client composed the whole mail, so that its parts are not known.
    composed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    amp_html: Option<String>,
    /// More headers, in order.
    headers: Vec<HeaderView>,
    attachments: Vec<AttachmentView>,
    track: TrackView,
}

/// A header of an e-mail.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageHeader)]
struct HeaderView {
    name: String,
    value: String,
}

/// A file of an e-mail.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageAttachment)]
struct AttachmentView {
    filename: String,
    content_type: String,
    /// Bytes.
    size: usize,
    /// Shown within the HTML instead of attached.
    inline: bool,
}

/// What of an e-mail is watched.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageTrack)]
struct TrackView {
    opens: bool,
    clicks: bool,
    unsubscribe: bool,
}

impl EmailView {
    /// Of a message; nothing if it is no e-mail.
    pub(super) fn of(message: &Outgoing) -> Option<Self> {
        let EmailParts { to, cc, reply_to, amp_html, headers, attachments, mime, individual, track, .. } = message.email.as_ref()?;
        let mut unnamed: HashSet<String> = message.recipients.iter().map(|recipient| recipient.address.to_ascii_lowercase()).collect();
        // A header that the client wrote may name others than those to whom the mail goes.
        let mut named = |header: &str| -> Vec<String> {
            let known = address::each(header).flatten().filter(|mailbox| unnamed.remove(&mailbox.address.to_ascii_lowercase()));
            known.map(|mailbox| mailbox.to_string()).collect()
        };
        let (to, cc) = (named(to), named(cc));
        let mailbox = |recipient: &Recipient| Mailbox { name: recipient.name.clone(), address: recipient.address.clone() }.to_string();
        let hidden = message.recipients.iter().filter(|recipient| unnamed.contains(&recipient.address.to_ascii_lowercase()));
        let file = |file: &Attachment| AttachmentView {
            filename: file.filename.clone(),
            content_type: file.content_type.clone(),
            size: file.size(),
            inline: file.inline,
        };
        Some(Self {
            to,
            cc,
            bcc: hidden.map(mailbox).collect(),
            reply_to: reply_to.clone(),
            individual: *individual,
            composed: mime.is_some(),
            amp_html: amp_html.clone(),
            headers: headers.iter().map(|(name, value)| HeaderView { name: name.clone(), value: value.clone() }).collect(),
            attachments: attachments.iter().map(file).collect(),
            track: TrackView { opens: track.opens, clicks: track.clicks, unsubscribe: track.unsubscribe },
        })
    }
}
