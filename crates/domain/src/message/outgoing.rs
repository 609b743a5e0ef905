//! Messages that this server sends: the document that is stored, and what its events say of it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::letter::one_line;
use super::placeholders::{LINE_ROOM, fill, fill_map};
use crate::clock::rfc3339;

/// Recipients that `recipients` of message data lists; of a message to more, each event lists its own only (else the events of a
/// message to 1,000 would hold a million addresses).
const MAX_LISTED: usize = 50;

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageChannel {
    /// Through a mail relay.
    Email,
    /// Through an SMS carrier.
    Sms,
}

impl MessageChannel {
    /// Its name in message data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }

    /// Type of the hidden event that holds such a message.
    pub fn outgoing_type(self) -> &'static str {
        match self {
            Self::Email => super::OUTGOING_EMAIL,
            Self::Sms => super::OUTGOING_SMS,
        }
    }
}

/// A message to send, as stored when it was accepted. Never changed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Message id as events tell it: without angle brackets.
    pub id: String,
    /// What carries it.
    pub channel: MessageChannel,
    /// Through which surface it came: `mailgun`, `msgine`, `api`, …
    pub dialect: String,
    /// Bare address or number that it is from.
    pub sender: String,
    /// To whom, in order: `to`, `cc`, `bcc`.
    pub recipients: Vec<Recipient>,
    /// Subject, placeholders in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Plain text, placeholders in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What only e-mail has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailParts>,
    /// Name of the sending domain: suppressions and domain webhooks go by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The sender's own data, handed back in every event; placeholders in texts are in place.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Goes through everything but is never really sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// Not before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_at_ms: Option<i64>,
    /// Address for events of this message alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// The dialect's own facts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// When it was accepted.
    pub created_ms: i64,
}

/// One recipient.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    /// Bare address or number.
    pub address: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What fills `%recipient.…%`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub variables: Map<String, Value>,
    /// Why nothing is sent to it (`suppress-bounce`, …), decided on acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<String>,
}

impl Recipient {
    /// A recipient with an address only.
    pub fn of(address: impl Into<String>) -> Self {
        Self { address: address.into(), ..Self::default() }
    }
}

/// What only e-mail has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EmailParts {
    /// Text of the `From` header.
    pub from: String,
    /// Text of the `To` header.
    pub to: String,
    /// Text of the `Cc` header; empty without.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cc: String,
    /// Text of the `Reply-To` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// HTML part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// AMP HTML part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amp_html: Option<String>,
    /// More headers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Attached and inline files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// A whole message made by the sender, in base 64: sent as it is instead of everything above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Whether each recipient sees only its own address in `To`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub individual: bool,
    /// What is watched.
    #[serde(default)]
    pub track: Track,
}

/// A file of an e-mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name, without a path.
    pub filename: String,
    /// Media type.
    pub content_type: String,
    /// Its bytes in standard base 64 with padding.
    pub content: String,
    /// Shown within the HTML (`cid:` + file name) instead of attached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inline: bool,
}

impl Attachment {
    /// From bytes.
    pub fn new(filename: impl Into<String>, content_type: impl Into<String>, content: &[u8], inline: bool) -> Self {
        Self { filename: filename.into(), content_type: content_type.into(), content: STANDARD.encode(content), inline }
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        let padding = self.content.bytes().rev().take_while(|byte| *byte == b'=').count();
        (self.content.len() / 4 * 3).saturating_sub(padding)
    }
}

/// What of an e-mail is watched. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// A picture in the HTML part tells of opening.
    #[serde(default)]
    pub opens: bool,
    /// Links lead through this server.
    #[serde(default)]
    pub clicks: bool,
    /// Links of the HTML part only; has a meaning with `clicks`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub html_clicks_only: bool,
    /// A link to unsubscribe is offered in the headers, and replaces `%unsubscribe_url%`.
    #[serde(default)]
    pub unsubscribe: bool,
}

impl Outgoing {
    /// Bytes of its content: texts, HTML and files, or the given MIME.
    pub fn size(&self) -> usize {
        let mut size = self.subject.as_ref().map_or(0, String::len) + self.text.as_ref().map_or(0, String::len);
        if let Some(email) = &self.email {
            if let Some(mime) = &email.mime {
                return mime.len() / 4 * 3;
            }
            size += email.html.as_ref().map_or(0, String::len) + email.amp_html.as_ref().map_or(0, String::len);
            size += email.attachments.iter().map(Attachment::size).sum::<usize>();
        }
        size
    }

    /// The fields that every event about this message and recipient holds (`docs/messages.md`); the event adds its own.
    /// Placeholders are filled for this recipient; a subject or metadata that would become too long stay as they are written.
    ///
    /// # Panics
    /// If there is no such recipient.
    pub fn data(&self, recipient: usize) -> Map<String, Value> {
        let to = &self.recipients[recipient];
        let mut data = Map::new();
        let mut set = |name: &str, value: Value| data.insert(name.to_owned(), value);
        set("channel", json!(self.channel.name()));
        set("message_id", json!(self.id));
        set("recipient", json!(to.address));
        set("sender", json!(self.sender));
        if let Some(email) = &self.email {
            set("from", json!(email.from));
            set("to", json!(if email.individual { &to.address } else { &email.to }));
        }
        if let Some(subject) = &self.subject {
            let mut room = LINE_ROOM;
            let filled = fill(subject, &to.variables, None, &mut room).unwrap_or(Cow::Borrowed(subject));
            set("subject", json!(one_line(&filled)));
        }
        if self.channel == MessageChannel::Sms {
            if let Some(text) = &self.text {
                set("text", json!(text));
            }
            set("submitted_at", json!(rfc3339(self.created_ms)));
        }
        if let Some(domain) = &self.domain {
            set("domain", json!(domain));
        }
        if !self.tags.is_empty() {
            set("tags", json!(self.tags));
        }
        if !self.metadata.is_empty() {
            let mut room = LINE_ROOM;
            let filled = fill_map(&self.metadata, &to.variables, &mut room);
            set("metadata", Value::Object(filled.unwrap_or_else(|_| self.metadata.clone())));
        }
        if self.test {
            set("test", json!(true));
        }
        if let Some(url) = &self.callback_url {
            set("callback_url", json!(url));
        }
        if let Some(email) = &self.email {
            set("size", json!(self.size()));
            let listed = if self.recipients.len() <= MAX_LISTED { &self.recipients[..] } else { &self.recipients[recipient..=recipient] };
            set("recipients", json!(listed.iter().map(|recipient| &recipient.address).collect::<Vec<_>>()));
            if !email.attachments.is_empty() {
                let fact = |file: &Attachment| json!({"filename": file.filename, "content_type": file.content_type, "size": file.size()});
                set("attachments", email.attachments.iter().map(fact).collect());
            }
        }
        if self.email.is_some() {
            set("storage_key", json!(URL_SAFE_NO_PAD.encode(&self.id)));
        }
        if let Some(at) = self.deliver_at_ms {
            set("scheduled_for", json!(rfc3339(at)));
        }
        data
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn mail() -> Outgoing {
        Outgoing {
            id: "1@d.example".into(),
            channel: MessageChannel::Email,
            dialect: "mailgun".into(),
            sender: "ann@d.example".into(),
            recipients: vec![Recipient::of("bob@x.example"), Recipient::of("cy@y.example")],
            subject: Some("Hi".into()),
            text: Some("text".into()),
            email: Some(EmailParts {
                from: "Ann <ann@d.example>".into(),
                to: "bob@x.example, cy@y.example".into(),
                html: Some("<p>".into()),
                attachments: vec![Attachment::new("a.txt", "text/plain", b"12345", false)],
                ..EmailParts::default()
            }),
            domain: Some("d.example".into()),
            tags: vec!["t".into()],
            metadata: Map::from_iter([("k".to_owned(), json!("v"))]),
            test: false,
            deliver_at_ms: Some(0),
            callback_url: None,
            extra: Map::new(),
            created_ms: 5,
        }
    }

    #[test]
    fn documents_come_back_as_they_were_stored() {
        let stored = serde_json::to_vec(&mail()).expect("serializes");
        assert_eq!(serde_json::from_slice::<Outgoing>(&stored).expect("reads back"), mail());
        let short = br#"{"id":"1","channel":"sms","dialect":"api","sender":"+1","recipients":[{"address":"+2"}],"created_ms":1}"#;
        let sms: Outgoing = serde_json::from_slice(short).expect("everything else may be missing");
        assert!(sms.email.is_none() && sms.recipients[0].variables.is_empty());
    }

    #[test]
    fn data_holds_the_common_fields() {
        let data = Value::Object(mail().data(1));
        let expected = json!({
            "channel": "email", "message_id": "1@d.example", "recipient": "cy@y.example", "sender": "ann@d.example",
            "from": "Ann <ann@d.example>", "to": "bob@x.example, cy@y.example", "subject": "Hi", "domain": "d.example", "tags": ["t"],
            "metadata": {"k": "v"}, "size": 14, "recipients": ["bob@x.example", "cy@y.example"],
            "attachments": [{"filename": "a.txt", "content_type": "text/plain", "size": 5}], "storage_key": "MUBkLmV4YW1wbGU", "scheduled_for": "1970-01-01T00:00:00.000Z"
        });
        assert_eq!(data, expected);
    }

    // MAILGUN-179: the variables of each recipient fill its own events.
    #[test]
    fn data_is_each_recipients_own() {
        let mut message = mail();
        message.metadata.insert("greeting".into(), json!("Hi %recipient.name%"));
        message.subject = Some("For %recipient.name%\r\nX: y".into());
        message.recipients[0].variables.insert("name".into(), json!("Bob"));
        message.email.as_mut().expect("e-mail").individual = true;
        let data = message.data(0);
        assert_eq!((&data["metadata"]["greeting"], &data["subject"]), (&json!("Hi Bob"), &json!("For Bob X: y")));
        assert_eq!(data["to"], "bob@x.example");
        assert_eq!(message.data(1)["metadata"]["greeting"], "Hi %recipient.name%");
    }

    #[test]
    fn data_does_not_grow_without_a_bound() {
        let mut message = mail();
        message.metadata.insert("long".into(), json!("%recipient.x%".repeat(1000)));
        message.subject = Some("%recipient.x%".repeat(10));
        message.recipients[0].variables.insert("x".into(), json!("y".repeat(10_000)));
        let data = message.data(0);
        assert_eq!(data["metadata"], json!({"k": "v", "long": "%recipient.x%".repeat(1000)}));
        assert_eq!(data["subject"], "%recipient.x%".repeat(10));
    }

    #[test]
    fn attachments_know_their_size() {
        for size in 0..20 {
            assert_eq!(Attachment::new("a", "b/c", &vec![7; size], false).size(), size);
        }
    }
}
