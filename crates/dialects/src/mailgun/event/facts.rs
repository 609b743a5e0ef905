//! What an event says in Mailgun's terms. The renderer and the filters of the Events API both read it, so they never disagree.

use std::borrow::Cow;
use std::time::Duration;

use posthaste_domain::event::Event;
use posthaste_domain::message::{self, MessageData};
use serde_json::{Map, Value};

/// Types of events that Mailgun has a name for.
pub(crate) const TYPES: [&str; 14] = [
    message::ACCEPTED,
    message::DELIVERED,
    message::DEFERRED,
    message::FAILED,
    message::OPENED,
    message::CLICKED,
    message::UNSUBSCRIBED,
    message::COMPLAINED,
    message::RECEIVED,
    "rejected",
    "stored",
    "list_member_uploaded",
    "list_member_upload_error",
    "list_uploaded",
];

/// Mailgun's name of an event; `failed` has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accepted,
    Rejected,
    Delivered,
    PermanentFail,
    TemporaryFail,
    Opened,
    Clicked,
    Unsubscribed,
    Complained,
    Stored,
    ListMemberUploaded,
    ListMemberUploadError,
    ListUploaded,
}

impl Kind {
    /// The value of `event`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Delivered => "delivered",
            Self::PermanentFail | Self::TemporaryFail => "failed",
            Self::Opened => "opened",
            Self::Clicked => "clicked",
            Self::Unsubscribed => "unsubscribed",
            Self::Complained => "complained",
            Self::Stored => "stored",
            Self::ListMemberUploaded => "list_member_uploaded",
            Self::ListMemberUploadError => "list_member_upload_error",
            Self::ListUploaded => "list_uploaded",
        }
    }

    /// The value of `log-level`.
    pub(super) fn log_level(self) -> &'static str {
        match self {
            Self::PermanentFail | Self::ListMemberUploadError => "error",
            Self::Rejected | Self::TemporaryFail | Self::Complained => "warn",
            _ => "info",
        }
    }

    /// The value of `severity`.
    pub(crate) fn severity(self) -> Option<&'static str> {
        match self {
            Self::PermanentFail => Some("permanent"),
            Self::TemporaryFail => Some("temporary"),
            _ => None,
        }
    }

    /// What a person did with the message.
    pub(super) fn is_user_action(self) -> bool {
        matches!(self, Self::Opened | Self::Clicked | Self::Unsubscribed)
    }

    /// What happened to a mailing list and not to a message.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::ListMemberUploaded | Self::ListMemberUploadError | Self::ListUploaded)
    }
}

/// An event read as Mailgun's.
pub(crate) struct Facts<'a> {
    pub(super) event: &'a Event,
    pub(super) data: MessageData<'a>,
    pub(crate) kind: Kind,
    /// When it happened, in microseconds since the epoch; never after its receipt.
    pub(crate) at_us: i64,
    /// A vendor's own `message` object, from outside.
    pub(super) message: Option<Map<String, Value>>,
}

/// Whether an event is shown to a domain: it names it, or comes from an address of it. What tells neither (events from outside that hold
/// the least, text messages) is shown to every domain of its workspace.
pub(crate) fn belongs_to<'t>(domain: &str, text: impl Fn(&str) -> Option<Cow<'t, str>>) -> bool {
    if let Some(own) = text("domain").filter(|own| !own.is_empty()) {
        return own.eq_ignore_ascii_case(domain);
    }
    match text("sender").as_deref().and_then(|sender| sender.rsplit_once('@')) {
        Some((_, own)) => own.trim_end_matches('>').eq_ignore_ascii_case(domain),
        None => true,
    }
}

/// Whether a failure is Mailgun's `rejected`: refused before it was queued. A carrier that rejects a text message had it queued.
pub(crate) fn is_rejection<'t>(text: impl Fn(&str) -> Option<Cow<'t, str>>) -> bool {
    let is_mail = text("channel").is_none_or(|channel| channel == "email");
    is_mail && text("reason").is_some_and(|reason| reason == "rejected")
}

impl<'a> Facts<'a> {
    /// Reads an event; `None` if Mailgun has no place for it: other types, internal failures, payloads that are no object.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        let type_name = event.type_name.as_deref().filter(|name| TYPES.contains(name))?;
        let data = MessageData::parse(&event.payload)?;
        if data.text("severity").is_some_and(|severity| severity == "internal") {
            return None;
        }
        let kind = match type_name {
            message::ACCEPTED => Kind::Accepted,
            message::DELIVERED => Kind::Delivered,
            message::DEFERRED => Kind::TemporaryFail,
            message::FAILED if is_rejection(|name| data.text(name)) => Kind::Rejected,
            message::FAILED => Kind::PermanentFail,
            message::OPENED => Kind::Opened,
            message::CLICKED => Kind::Clicked,
            message::UNSUBSCRIBED => Kind::Unsubscribed,
            message::COMPLAINED => Kind::Complained,
            message::RECEIVED | "stored" => Kind::Stored,
            "rejected" => Kind::Rejected,
            "list_member_uploaded" => Kind::ListMemberUploaded,
            "list_member_upload_error" => Kind::ListMemberUploadError,
            _ => Kind::ListUploaded,
        };
        let received_us = event.received_ms.saturating_mul(1000);
        let occurred = data.text("occurred_at").and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let at_us = occurred.map_or(received_us, |at| at.as_microsecond().clamp(0, received_us.max(0)));
        let message = data.raw("message").filter(|raw| raw.get().starts_with('{')).map(|_| data.object("message"));
        Some(Self { event, data, kind, at_us, message })
    }

    /// How much later than it happened it came in.
    pub(crate) fn lateness(&self) -> Duration {
        Duration::from_micros(self.event.received_ms.saturating_mul(1000).saturating_sub(self.at_us).max(0).unsigned_abs())
    }

    /// The sending domain, if it has one.
    pub(crate) fn domain(&self) -> Option<Cow<'a, str>> {
        self.text("domain")
    }

    /// Whether it is shown to a domain.
    pub(crate) fn belongs_to(&self, domain: &str) -> bool {
        belongs_to(domain, |name| self.text(name))
    }

    /// A field that is a text and not empty.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.data.text(name).filter(|text| !text.is_empty())
    }

    /// The recipient's bare address.
    pub(crate) fn recipient(&self) -> Option<Cow<'a, str>> {
        self.text("recipient")
    }

    /// Its labels.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.data.list("tags")
    }

    /// A header of the message: `to`, `from`, `subject` or `message-id` (without angle brackets).
    pub(crate) fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let given = self.message.as_ref().and_then(|message| message.get("headers")?.get(name)?.as_str()).map(Cow::Borrowed);
        let found = given.or_else(|| match name {
            "to" => self.text("to").or_else(|| self.text("recipient")),
            "from" => self.text("from").or_else(|| self.text("sender")),
            "message-id" => self.text("message_id"),
            other => self.text(other),
        })?;
        if name != "message-id" {
            return Some(found);
        }
        Some(match found.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            Some(bare) => Cow::Owned(bare.to_owned()),
            None => found,
        })
    }

    /// All recipients of the message, as far as known.
    pub(crate) fn recipients(&self) -> Vec<String> {
        if let Some(given) = self.message.as_ref().and_then(|message| message.get("recipients")?.as_array()) {
            return given.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        let listed = self.data.list("recipients");
        if listed.is_empty() { self.recipient().map(Cow::into_owned).into_iter().collect() } else { listed }
    }

    /// Bytes of the message; 0 if unknown.
    pub(crate) fn size(&self) -> i64 {
        let given = self.message.as_ref().and_then(|message| message.get("size")?.as_i64());
        given.or_else(|| self.data.integer("size")).unwrap_or(0)
    }

    /// Its files.
    pub(super) fn attachments(&self) -> Vec<Map<String, Value>> {
        let given = self.message.as_ref().and_then(|message| message.get("attachments")).cloned();
        let listed = given.or_else(|| self.data.raw("attachments").and_then(|raw| serde_json::from_str(raw.get()).ok()));
        let Some(Value::Array(files)) = listed else { return Vec::new() };
        files.into_iter().filter_map(|file| if let Value::Object(file) = file { Some(file) } else { None }).collect()
    }

    /// Names of its files.
    pub(crate) fn attachment_names(&self) -> Vec<String> {
        let name = |file: Map<String, Value>| file.get("filename").and_then(Value::as_str).map(str::to_owned);
        self.attachments().into_iter().filter_map(name).collect()
    }

    /// Address of the mailing list that it went through.
    pub(crate) fn list(&self) -> Option<String> {
        self.data.object("mailing-list").get("address").and_then(Value::as_str).map(str::to_owned)
    }
}
