//! What an event says, in MessageMedia's terms: the variables of templates and the members of default payloads (6.1, 6.5).

use posthaste_domain::clock::{parse_rfc3339, rfc3339};
use posthaste_domain::event::Event;
use posthaste_domain::message::MessageData;
use posthaste_domain::sms::segment;
use posthaste_domain::velocity::{Value as Variable, Variables};
use serde_json::Value;

use super::event::{EventKind, Told, told};
use super::ids;

/// `$vendorId` of accounts that chose none.
pub(super) const VENDOR: &str = "MessageMedia";

/// One event. What does not apply or is not known is `None`.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) kind: Option<EventKind>,
    pub(super) format: &'static str,
    pub(super) status: Option<&'static str>,
    pub(super) status_code: Option<u16>,
    pub(super) message_id: Option<String>,
    pub(super) report_id: Option<String>,
    pub(super) reply_id: Option<String>,
    pub(super) notification_id: Option<String>,
    pub(super) account_id: Option<String>,
    pub(super) vendor_id: Option<String>,
    pub(super) submitted: Option<String>,
    pub(super) received: Option<String>,
    pub(super) source: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) message: Option<String>,
    pub(super) reply: Option<String>,
    pub(super) billing_units: Option<i64>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) attachments: Vec<Media>,
}

/// A file of an MMS.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) content_type: Option<String>,
    /// Base64.
    pub(super) content: Option<String>,
    pub(super) name: Option<String>,
}

impl Facts {
    /// Reads an event; `None` if it is none of the nine. `account` are the workspace's settings, `account_id` its id.
    pub(super) fn of(event: &Event, account: &Value, account_id: &str) -> Option<Self> {
        let data = MessageData::parse(&event.payload)?;
        let text = |name: &str| data.text(name).map(|text| text.into_owned()).filter(|text| !text.is_empty());
        let Told { kind, code } = told(event.type_name.as_deref()?, |name| data.text(name).map(|text| text.into_owned()))?;
        let id = || Some(ids::of_name(&event.id()));
        let chosen = |name: &str| account.get(name).and_then(Value::as_str).map(str::to_owned);
        let time = |name: &str| text(name).and_then(|time| parse_rfc3339(&time));
        let happened = time("occurred_at").unwrap_or(event.received_ms);
        let mut facts = Self {
            kind: Some(kind),
            format: match text("channel").map(|channel| channel.to_ascii_lowercase()).as_deref() {
                Some("mms") => "MMS",
                Some("email") => "EMAIL",
                _ => "SMS",
            },
            message_id: text("message_id"),
            account_id: text("account_id")
                .or_else(|| chosen("account_id"))
                .or_else(|| Some(account_id.to_owned()).filter(|id| !id.is_empty())),
            received: Some(rfc3339(happened)),
            metadata: data.object("metadata").into_iter().filter_map(|(name, value)| Some((name, plain(value)?))).collect(),
            ..Self::default()
        };
        let submitted = Some(rfc3339(time("submitted_at").unwrap_or(happened)));
        match kind {
            EventKind::OptOutSms => {
                // Here the recipient is who opted out, and the sender whom they opted out of.
                facts.notification_id = text("notification_id").or_else(id);
                (facts.source, facts.destination) = (text("recipient"), text("sender"));
                facts.reply = text("text");
            }
            EventKind::ReceivedSms | EventKind::ReceivedMms => {
                facts.reply_id = text("reply_id").or_else(id);
                (facts.source, facts.destination) = (text("sender"), text("recipient"));
                facts.reply = text("text");
                facts.message = text("original_text");
                facts.submitted = submitted;
                if kind == EventKind::ReceivedMms {
                    facts.attachments = media(&data);
                }
            }
            _ => {
                facts.report_id = text("report_id").or_else(id);
                facts.vendor_id = text("vendor_id").or_else(|| chosen("vendor_id")).or_else(|| Some(VENDOR.to_owned()));
                facts.status = kind.status();
                facts.status_code = Some(code);
                // A report comes from the handset that the message went to.
                facts.source = text("recipient");
                facts.message = text("text");
                facts.submitted = submitted;
                let is_billed = account.get("billing_units").and_then(Value::as_bool).unwrap_or(false);
                if is_billed && facts.format == "SMS" {
                    let segments = || facts.message.as_deref().and_then(|text| i64::try_from(segment(text).parts.len()).ok());
                    facts.billing_units = data.integer("segments").or_else(segments);
                }
            }
        }
        Some(facts)
    }

    /// The variables of a template, for the try that had so many before it.
    pub(super) fn variables(&self, retry_count: u32) -> Variables {
        let mut variables = Variables::default();
        let mut set = |names: &[&'static str], value: Variable| {
            for name in names {
                variables.set(name, value.clone());
            }
        };
        let text = |value: &Option<String>| value.as_deref().map_or(Variable::Null, Variable::from);
        set(&["format", "type"], Variable::from(self.format));
        set(&["mtId", "messageId"], text(&self.message_id));
        set(&["drId", "reportId"], text(&self.report_id));
        set(&["moId", "replyId"], text(&self.reply_id));
        set(&["notificationId"], text(&self.notification_id));
        set(&["accountId"], text(&self.account_id));
        set(&["vendorId"], text(&self.vendor_id));
        set(&["submittedTimestamp"], text(&self.submitted));
        set(&["receivedTimestamp"], text(&self.received));
        set(&["status"], self.status.map_or(Variable::Null, Variable::from));
        set(&["statusCode"], self.status_code.map_or(Variable::Null, |code| Variable::from(code.to_string())));
        set(&["sourceAddress"], text(&self.source));
        set(&["destinationAddress"], text(&self.destination));
        set(&["mtContent", "messageContent"], text(&self.message));
        set(&["moContent", "replyContent"], text(&self.reply));
        set(&["retryCount"], Variable::Integer(i64::from(retry_count)));
        set(&["billingUnits"], self.billing_units.map_or(Variable::Null, Variable::Integer));
        let metadata = self.metadata.iter().map(|(name, value)| (Variable::from(name.as_str()), Variable::from(value.as_str())));
        set(&["metadata"], Variable::map(metadata.collect()));
        if !self.attachments.is_empty() {
            set(&["attachments"], Variable::list(self.attachments.iter().map(Media::variable).collect()));
        }
        variables
    }
}

impl Media {
    fn variable(&self) -> Variable {
        let text = |value: &Option<String>| value.as_deref().map_or(Variable::Null, Variable::from);
        Variable::map(vec![
            ("contentType".into(), text(&self.content_type)),
            ("base64".into(), text(&self.content)),
            ("originalName".into(), text(&self.name)),
        ])
    }
}

/// The files of a message, those without a content left out.
fn media(data: &MessageData<'_>) -> Vec<Media> {
    let files: Vec<Value> = data.raw("attachments").and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let text = |file: &Value, names: &[&str]| names.iter().find_map(|name| file.get(name).and_then(Value::as_str)).map(str::to_owned);
    let read = |file: Value| Media {
        content_type: text(&file, &["content_type"]),
        content: text(&file, &["content", "base64"]),
        name: text(&file, &["filename", "original_name", "name"]),
    };
    files.into_iter().map(read).filter(|media| media.content.is_some()).collect()
}

/// A metadata value as text.
fn plain(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}
