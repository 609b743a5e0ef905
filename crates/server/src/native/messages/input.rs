//! A message as clients write it, and what is checked before it is taken.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_domain::clock::parse_rfc3339;
use posthaste_domain::id;
use posthaste_domain::message::address::{self, Mailbox};
use posthaste_domain::message::letter::one_line;
use posthaste_domain::message::{Attachment, EmailParts, MessageChannel, Outgoing, Recipient, Track};
use posthaste_domain::sms::{Sender, is_e164};
use posthaste_engine::MAX_RECIPIENTS;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::ChannelName;
use crate::AppState;
use crate::problem::Problem;

/// Characters of a subject at most.
const MAX_SUBJECT: usize = 998;
/// Tags of a message at most, and characters of each.
const MAX_TAGS: usize = 10;
const MAX_TAG: usize = 128;
/// Bytes of metadata at most, as JSON.
const MAX_METADATA: usize = 16 << 10;
/// Bytes of text and HTML at most, once the variables of a recipient are filled in.
const MAX_FILLED: usize = 25 << 20;
/// How far ahead a message may be scheduled.
const MAX_AHEAD_MS: i64 = 366 * 86_400_000;
/// A file of an e-mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AttachmentInput {
    /// Its name.
    filename: String,
    /// Media type; `application/octet-stream` unless given.
    #[serde(default = "octets")]
    content_type: String,
    /// Its bytes in base 64.
    content: String,
    /// Shown within the HTML (`cid:` and the file name) instead of attached.
    #[serde(default)]
    inline: bool,
}

fn octets() -> String {
    "application/octet-stream".to_owned()
}

/// What of an e-mail is watched; what is left out is as the domain is set.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct TrackChoice {
    opens: Option<bool>,
    clicks: Option<bool>,
    unsubscribe: Option<bool>,
}

/// A message to send.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageInput {
    /// `email` or `sms`.
    pub(super) channel: ChannelName,
    /// Address, with a name if wanted; for SMS a number, a short code or a name.
    #[schema(example = "Ann <ann@example.com>")]
    from: String,
    /// Recipients.
    #[schema(min_items = 1, max_items = 10000, example = json!(["bob@example.com"]))]
    to: Vec<String>,
    /// E-mail only.
    #[serde(default)]
    cc: Vec<String>,
    /// E-mail only.
    #[serde(default)]
    bcc: Vec<String>,
    /// E-mail only.
    #[serde(default)]
    reply_to: Option<String>,
    /// E-mail only.
    #[serde(default)]
    subject: Option<String>,
    /// Plain text. An SMS must have it, an e-mail this or `html`.
    #[serde(default)]
    text: Option<String>,
    /// E-mail only.
    #[serde(default)]
    html: Option<String>,
    /// E-mail only: more headers.
    #[serde(default)]
    #[schema(value_type = Object)]
    headers: BTreeMap<String, String>,
    /// E-mail only.
    #[serde(default)]
    attachments: Vec<AttachmentInput>,
    /// By recipient: what fills `%recipient.NAME%`. With any of them each recipient sees only its own address.
    #[serde(default)]
    #[schema(value_type = Object)]
    variables: BTreeMap<String, Map<String, Value>>,
    /// E-mail only.
    #[serde(default)]
    track: TrackChoice,
    /// Labels, at most 10 of at most 128 characters.
    #[serde(default)]
    tags: Vec<String>,
    /// Handed back in every event.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Goes through everything but is never really sent.
    #[serde(default)]
    test: bool,
    /// Not before this; at most a year ahead.
    #[serde(default)]
    #[schema(format = DateTime)]
    deliver_at: Option<String>,
    /// Kept in every event of this message, for subscriptions that deliver by it.
    #[serde(default)]
    callback_url: Option<String>,
}

impl MessageInput {
    /// The message that is stored.
    ///
    /// # Errors
    /// The field at fault.
    pub(super) fn message(self, state: &AppState, workspace: i64) -> Result<Outgoing, Problem> {
        let now_ms = state.engine.now_ms();
        if self.tags.len() > MAX_TAGS {
            return Err(Problem::invalid("tags", format!("at most {MAX_TAGS}")));
        }
        if let Some(place) =
            self.tags.iter().position(|tag| tag.is_empty() || tag.chars().count() > MAX_TAG || tag.chars().any(char::is_control))
        {
            return Err(Problem::invalid(format!("tags[{place}]"), "expected 1 to 128 characters, none of them a control character"));
        }
        if serde_json::to_vec(&self.metadata).map_or(0, |bytes| bytes.len()) > MAX_METADATA {
            return Err(Problem::invalid("metadata", "at most 16 KiB as JSON"));
        }
        let deliver_at_ms = match self.deliver_at.as_deref() {
            None => None,
            Some(text) => {
                let at = parse_rfc3339(text)
                    .ok_or_else(|| Problem::invalid("deliver_at", "expected an RFC 3339 time such as 2026-11-21T12:00:00Z"))?;
                if at - now_ms > MAX_AHEAD_MS {
                    return Err(Problem::invalid("deliver_at", "at most a year ahead"));
                }
                Some(at).filter(|at| *at > now_ms)
            }
        };
        if let Some(url) = self.callback_url.as_deref()
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            return Err(Problem::invalid("callback_url", "expected an http or https URL"));
        }
        let id = id::resource_id("msg", now_ms, rand::random());
        let mut message = Outgoing {
            id,
            channel: MessageChannel::Email,
            dialect: "api".to_owned(),
            sender: String::new(),
            recipients: Vec::new(),
            subject: None,
            text: self.text.clone(),
            email: None,
            domain: None,
            tags: self.tags.clone(),
            metadata: self.metadata.clone(),
            test: self.test,
            deliver_at_ms,
            callback_url: self.callback_url.clone(),
            extra: Map::new(),
            created_ms: now_ms,
        };
        match self.channel {
            ChannelName::Email => self.email(state, workspace, &mut message)?,
            ChannelName::Sms => self.sms(&mut message)?,
        }
        if message.recipients.is_empty() || message.recipients.len() > MAX_RECIPIENTS {
            return Err(Problem::invalid("to", format!("expected 1 to {MAX_RECIPIENTS} recipients")));
        }
        if !message.fits(MAX_FILLED) {
            return Err(Problem::invalid("variables", "too long for the placeholders that they fill"));
        }
        Ok(message)
    }

    fn sms(self, message: &mut Outgoing) -> Result<(), Problem> {
        let mail_only = [
            ("cc", !self.cc.is_empty()),
            ("bcc", !self.bcc.is_empty()),
            ("reply_to", self.reply_to.is_some()),
            ("subject", self.subject.is_some()),
            ("html", self.html.is_some()),
            ("headers", !self.headers.is_empty()),
            ("attachments", !self.attachments.is_empty()),
            ("variables", !self.variables.is_empty()),
        ];
        if let Some((name, _)) = mail_only.into_iter().find(|(_, given)| *given) {
            return Err(Problem::invalid(name, "an SMS has none"));
        }
        if Sender::parse(&self.from).is_none() {
            return Err(Problem::invalid(
                "from",
                "expected a number such as +15551230001, a short code, or a name of at most 11 characters",
            ));
        }
        if self.text.as_deref().is_none_or(|text| text.is_empty()) {
            return Err(Problem::invalid("text", "an SMS must have a text"));
        }
        for (place, number) in self.to.into_iter().enumerate() {
            if !is_e164(&number) {
                return Err(Problem::invalid(format!("to[{place}]"), "expected a number in E.164 such as +15551230001"));
            }
            if !message.recipients.iter().any(|known| known.address == number) {
                message.recipients.push(Recipient::of(number));
            }
        }
        message.channel = MessageChannel::Sms;
        message.sender = self.from;
        Ok(())
    }

    fn email(self, state: &AppState, workspace: i64, message: &mut Outgoing) -> Result<(), Problem> {
        let from = address::parse(&self.from).map_err(|error| Problem::invalid("from", error.to_string()))?;
        let reply_to = self.reply_to.as_deref().map(address::parse).transpose();
        let reply_to = reply_to.map_err(|error| Problem::invalid("reply_to", error.to_string()))?;
        if self.text.is_none() && self.html.is_none() {
            return Err(Problem::invalid("text", "an e-mail must have a text or html"));
        }
        let subject = self.subject.unwrap_or_default();
        if subject.chars().count() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(Problem::invalid("subject", format!("at most {MAX_SUBJECT} characters, none of them a control character")));
        }
        let (to, cc, bcc) = (addresses("to", &self.to)?, addresses("cc", &self.cc)?, addresses("bcc", &self.bcc)?);
        for mailbox in to.iter().chain(&cc).chain(&bcc) {
            if !message.recipients.iter().any(|known| known.address.eq_ignore_ascii_case(&mailbox.address)) {
                let named = self.variables.iter().find(|(address, _)| address.eq_ignore_ascii_case(&mailbox.address));
                let variables = named.map(|(_, variables)| variables.clone()).unwrap_or_default();
                message.recipients.push(Recipient { name: mailbox.name.clone(), variables, ..Recipient::of(&mailbox.address) });
            }
        }
        let domain = from.address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
        let set = state.engine.find_domain(workspace, &domain).map(|entry| entry.doc.track).unwrap_or_default();
        let track = Track {
            opens: self.track.opens.unwrap_or(set.opens),
            clicks: self.track.clicks.unwrap_or(set.clicks),
            unsubscribe: self.track.unsubscribe.unwrap_or(set.unsubscribe),
            ..set
        };
        let mut headers = Vec::new();
        for (name, value) in self.headers {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
                return Err(Problem::invalid(format!("headers.{name}"), "is not the name of a header"));
            }
            headers.push((name, one_line(&value).into_owned()));
        }
        let mut attachments = Vec::new();
        for (place, file) in self.attachments.into_iter().enumerate() {
            let bytes = STANDARD.decode(file.content.trim());
            let bytes = bytes.map_err(|_| Problem::invalid(format!("attachments[{place}].content"), "is not base 64"))?;
            attachments.push(Attachment::new(file.filename, file.content_type, &bytes, file.inline));
        }
        message.email = Some(EmailParts {
            from: from.to_string(),
            to: Mailbox::header(&to),
            cc: Mailbox::header(&cc),
            reply_to: reply_to.map(|mailbox| mailbox.to_string()),
            html: self.html,
            headers,
            attachments,
            individual: !self.variables.is_empty(),
            track,
            ..EmailParts::default()
        });
        message.id = format!("{}@{domain}", message.id);
        message.sender = from.address;
        message.subject = Some(subject);
        message.domain = Some(domain);
        Ok(())
    }
}

fn addresses(name: &str, texts: &[String]) -> Result<Vec<Mailbox>, Problem> {
    let one = |(place, text): (usize, &String)| {
        address::parse(text).map_err(|error| Problem::invalid(format!("{name}[{place}]"), error.to_string()))
    };
    texts.iter().enumerate().map(one).collect()
}
