//! Messages: e-mails and SMS, and the one life cycle that every dialect tells in its own words.
//!
//! Everything that happens to a message is an event of one of the [types](TYPES) whose payload is a flat JSON object, the *message data*
//! ([`MessageData`] reads it, `docs/messages.md` lists its fields). Such events come from messages that this server sends
//! ([`Outgoing`]) or are posted from outside, and mean the same in both cases.
//!
//! Invariants: message data is read leniently and never changed; a field of an unexpected type counts as absent, not as an error.

pub mod address;
pub mod data;
pub mod letter;
pub mod mime;
pub mod outgoing;
pub mod placeholders;
pub mod rewrite;
pub mod ticket;

use serde::Deserialize;

pub use data::MessageData;
pub use letter::Letter;
pub use outgoing::{Attachment, EmailParts, MessageChannel, Outgoing, Recipient, Track};
pub use ticket::{Deed, Links, Ticket};

/// Taken for one recipient, not sent yet.
pub const ACCEPTED: &str = "message.accepted";
/// Taken by the carrier (SMS).
pub const SENT: &str = "message.sent";
/// Taken by the recipient's server (e-mail) or on the handset (SMS).
pub const DELIVERED: &str = "message.delivered";
/// Not taken for now; will be tried again.
pub const DEFERRED: &str = "message.deferred";
/// Given up.
pub const FAILED: &str = "message.failed";
/// The recipient looked at it.
pub const OPENED: &str = "message.opened";
/// The recipient followed a link.
pub const CLICKED: &str = "message.clicked";
/// The recipient wants no more.
pub const UNSUBSCRIBED: &str = "message.unsubscribed";
/// The recipient called it spam.
pub const COMPLAINED: &str = "message.complained";
/// A message or a reply came in.
pub const RECEIVED: &str = "message.received";

/// All types of the life cycle.
pub const TYPES: [&str; 10] = [ACCEPTED, SENT, DELIVERED, DEFERRED, FAILED, OPENED, CLICKED, UNSUBSCRIBED, COMPLAINED, RECEIVED];

/// Type of the hidden event that holds an outgoing e-mail ([`Outgoing`] is its payload).
pub const OUTGOING_EMAIL: &str = "posthaste.message.email";
/// Type of the hidden event that holds an outgoing SMS ([`Outgoing`] is its payload).
pub const OUTGOING_SMS: &str = "posthaste.message.sms";

/// Bytes of a subject at most: longer ids are not indexed.
const MAX_SUBJECT_BYTES: usize = 1024;

/// Whether events of this type tell of a message.
pub fn is_message_type(type_name: &str) -> bool {
    TYPES.contains(&type_name)
}

/// What an event is about, for the index that finds the events of one message.
///
/// - an event of the life cycle: its `message_id`, and `carrier:` + its `carrier_id`;
/// - an outgoing message itself: its `id`; for SMS also `sms:` + each recipient, by which a reply finds what it answers.
///
/// Nothing for other types, for payloads that are no object, and for ids longer than 1,024 bytes. No subject comes twice.
pub fn subjects(type_name: &str, payload: &[u8]) -> Vec<String> {
    let outgoing = type_name == OUTGOING_EMAIL || type_name == OUTGOING_SMS;
    if !outgoing && !is_message_type(type_name) {
        return Vec::new();
    }
    let Some(data) = MessageData::parse(payload) else { return Vec::new() };
    let mut subjects = Vec::new();
    let mut add = |subject: String| {
        if !subject.is_empty() && subject.len() <= MAX_SUBJECT_BYTES && !subjects.contains(&subject) {
            subjects.push(subject);
        }
    };
    if outgoing {
        add(data.text("id").unwrap_or_default().into_owned());
        if type_name == OUTGOING_SMS {
            let recipients = data.raw("recipients").and_then(|raw| serde_json::from_str::<Vec<Addressed>>(raw.get()).ok());
            for recipient in recipients.unwrap_or_default() {
                add(format!("sms:{}", recipient.address));
            }
        }
    } else {
        add(data.text("message_id").unwrap_or_default().into_owned());
        if let Some(id) = data.text("carrier_id").filter(|id| !id.is_empty()) {
            add(format!("carrier:{id}"));
        }
    }
    subjects
}

/// Scope of suppressed numbers.
pub const SMS_SCOPE: &str = "sms";

/// Whom an event forbids to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// A mail domain of the sender, or [`SMS_SCOPE`].
    pub scope: String,
    /// Address or number.
    pub address: String,
    /// `bounce`, `unsubscribe` or `complaint`.
    pub reason: &'static str,
    /// Whether it is about mail.
    pub is_mail: bool,
}

/// What an event means for later messages (Mailgun 11.2): after a bounce, a complaint or the wish to get no more, nothing more is sent from
/// that domain to that address; after an opt-out, no SMS to that number.
pub fn suppression(type_name: &str, payload: &[u8]) -> Option<Suppressed> {
    if ![FAILED, COMPLAINED, UNSUBSCRIBED].contains(&type_name) {
        return None;
    }
    let data = MessageData::parse(payload)?;
    let is_mail = data.text("channel").as_deref() == Some(MessageChannel::Email.name());
    let reason = match type_name {
        FAILED if data.text("reason").as_deref() == Some("bounce") => "bounce",
        FAILED => return None,
        COMPLAINED => "complaint",
        _ => "unsubscribe",
    };
    let scope = if is_mail { data.text("domain")?.to_ascii_lowercase() } else { SMS_SCOPE.to_owned() };
    let address = data.text("recipient").filter(|address| !address.is_empty())?.into_owned();
    (is_mail || reason == "unsubscribe").then_some(Suppressed { scope, address, reason, is_mail })
}

#[derive(Deserialize)]
struct Addressed {
    address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_cycle_events_are_found_by_message_and_carrier() {
        let found = subjects(DELIVERED, br#"{"channel":"sms","message_id":"m-1","recipient":"+1","carrier_id":77}"#);
        assert_eq!(found, ["m-1", "carrier:77"]);
        assert_eq!(subjects(OPENED, br#"{"message_id":"m-1","carrier_id":null}"#), ["m-1"]);
        assert!(subjects("order.created", br#"{"message_id":"m-1"}"#).is_empty());
        assert!(subjects(OPENED, b"[1]").is_empty());
        assert!(subjects(OPENED, br#"{"message_id":""}"#).is_empty());
        let long = format!(r#"{{"message_id":"{}"}}"#, "x".repeat(MAX_SUBJECT_BYTES + 1));
        assert!(subjects(OPENED, long.as_bytes()).is_empty());
    }

    #[test]
    fn some_events_forbid_to_write_again() {
        let of =
            |type_name, payload: &str| suppression(type_name, payload.as_bytes()).map(|found| (found.scope, found.address, found.reason));
        let mail = r#"{"channel":"email","message_id":"m","recipient":"b@x.example","domain":"D.example","reason":"bounce"}"#;
        assert_eq!(of(FAILED, mail), Some(("d.example".into(), "b@x.example".into(), "bounce")));
        assert_eq!(of(COMPLAINED, mail).map(|found| found.2), Some("complaint"));
        assert_eq!(of(UNSUBSCRIBED, mail).map(|found| found.2), Some("unsubscribe"));
        assert_eq!(of(FAILED, &mail.replace("bounce", "old")), None);
        assert_eq!(of(DELIVERED, mail), None);
        assert_eq!(of(COMPLAINED, &mail.replace("domain", "d")), None, "without a domain nobody knows whose mail it was");
        let sms = r#"{"channel":"sms","message_id":"m","recipient":"+15550100"}"#;
        assert_eq!(of(UNSUBSCRIBED, sms), Some(("sms".into(), "+15550100".into(), "unsubscribe")));
        assert_eq!(of(COMPLAINED, sms), None);
    }

    #[test]
    fn outgoing_sms_are_found_by_their_recipients() {
        let payload = br#"{"id":"m-1","channel":"sms","recipients":[{"address":"+1"},{"address":"+2"},{"address":"+1"}]}"#;
        assert_eq!(subjects(OUTGOING_SMS, payload), ["m-1", "sms:+1", "sms:+2"]);
        assert_eq!(subjects(OUTGOING_EMAIL, payload), ["m-1"]);
    }
}
