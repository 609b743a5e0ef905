//! The `email` channel: one mail per delivery, plain text and HTML, through a relay.
//!
//! Settings are `{"to": [..], "from"?, "reply_to"?, "cc"?, "smtp"?: {"url", "tls"?}}`. Without `smtp` the operator's relay is used, without
//! `from` the operator's address. A target with `{"carrier": true, "smtp"?}` carries the e-mail of clients ([`crate::mail`]) instead,
//! which brings its own addresses; without any relay a simulated one takes it.
//!
//! Invariants: the `Message-ID` is made of the delivery's id, so that a repeated mail can be recognised; `Auto-Submitted` keeps
//! responders silent (RFC 3834); no header can be injected: addresses are parsed on save and control characters never reach a
//! header. A mail is taken for all its recipients or for none.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use posthaste_domain::template::{Form, Rendered, message_page};
use serde_json::Value;
use tokio::time::Instant;

use crate::carrier::CarrierInbox;
use crate::chat::message_of;
use crate::dial::Outlet;
use crate::failure::Code;
use crate::mail::{Mail, SIMULATOR, Simulator};
use crate::prepared::Prepared;
use crate::relay::Relay;
use crate::settings::{Fields, refuse, without_nulls};
use crate::smtp::{Smtp, Taken};
use crate::tls::Tls;
use crate::{Channel, CheckedSettings, Content, ContentKind, Dispatch, Outcome, Report, SendError, SettingsError};

/// Addresses in `to` and in `cc` at most, each.
const MAX_ADDRESSES: usize = 50;
/// Characters of a subject; longer ones are cut.
const MAX_SUBJECT: usize = 250;

const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// What the operator provides for targets that do not bring their own.
#[derive(Clone, Debug, Default)]
pub struct EmailDefaults {
    /// URL of the relay, e.g. `smtp://user:pass@mail.example:587?tls=required`. It is trusted: its address is not vetted.
    pub relay: Option<String>,
    /// Sender, e.g. `Posthaste <posthaste@example.com>`.
    pub from: Option<String>,
}

/// The channel.
pub struct Email {
    relay: Option<Arc<Relay>>,
    from: Option<Mailbox>,
    smtp: Smtp,
    simulator: Simulator,
    prepared: Prepared<Ready>,
}

struct Ready {
    /// Without one, the simulated relay takes the mail of clients.
    relay: Option<Arc<Relay>>,
    /// Of targets that carry rendered messages.
    letterhead: Option<Letterhead>,
}

/// Sender and recipients, and the mail.
type Posted = (Envelope, Vec<u8>);

/// Whom the mails of a target are from and to.
struct Letterhead {
    from: Mailbox,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    reply_to: Option<Mailbox>,
    text: Arc<str>,
}

impl Email {
    /// A channel with the operator's defaults that connects through `outlet`; complaints go to `inbox`.
    ///
    /// # Errors
    /// If a default cannot be used; the fields are `email.relay` and `email.from`.
    pub fn new(defaults: &EmailDefaults, outlet: Arc<Outlet>, tls: Arc<Tls>, inbox: CarrierInbox) -> Result<Self, SettingsError> {
        let relay = defaults.relay.as_deref().map(|url| Relay::parse("email.relay", url, None, true)).transpose()?.map(Arc::new);
        let from = defaults.from.as_deref().map(|text| mailbox("email.from", text)).transpose()?;
        Ok(Self { relay, from, smtp: Smtp::new(outlet, tls), simulator: Simulator::new(inbox), prepared: Prepared::default() })
    }

    fn parse(&self, settings: &Value) -> Result<(Ready, Vec<String>), SettingsError> {
        let fields = Fields::of(settings, "settings", &["to", "from", "reply_to", "cc", "smtp", "carrier"])?;
        let mut secrets = Vec::new();
        let relay = match fields.get("smtp") {
            None => self.relay.clone(),
            Some(smtp) => {
                let smtp = Fields::of(smtp, "settings.smtp", &["url", "tls"])?;
                let tls_field = smtp.path("tls");
                let tls = smtp.text("tls")?.map(|word| (tls_field.as_str(), word));
                let relay = Relay::parse(&smtp.path("url"), smtp.required("url")?, tls, false)?;
                if relay.login.is_some() {
                    secrets.push("/smtp/url".to_owned());
                }
                Some(Arc::new(relay))
            }
        };
        match fields.get("carrier") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => {
                if let Some(name) = ["to", "from", "reply_to", "cc"].into_iter().find(|name| fields.get(name).is_some()) {
                    return Err(refuse(fields.path(name), "is not for a carrier, whose mails bring their own addresses"));
                }
                return Ok((Ready { relay, letterhead: None }, secrets));
            }
            Some(_) => return Err(refuse(fields.path("carrier"), "must be true or false")),
        }
        let to = mailboxes(&fields, "to")?;
        if to.is_empty() {
            return Err(refuse(fields.path("to"), "must name at least one address"));
        }
        let cc = mailboxes(&fields, "cc")?;
        let reply_to = fields.text("reply_to")?.map(|text| mailbox(&fields.path("reply_to"), text)).transpose()?;
        let from = match fields.text("from")? {
            Some(text) => mailbox(&fields.path("from"), text)?,
            None => self.from.clone().ok_or_else(|| refuse(fields.path("from"), "is required, as the server has no default sender"))?,
        };
        let relay = relay.ok_or_else(|| refuse(fields.path("smtp"), "is required, as the server has no mail relay"))?;
        let text = request_text(&relay, &from, &to, &cc);
        Ok((Ready { relay: Some(relay), letterhead: Some(Letterhead { from, to, cc, reply_to, text }) }, secrets))
    }

    /// What the log shows, the sender and recipients, and the mail itself.
    fn compose(&self, ready: &Ready, dispatch: Dispatch<'_>) -> (Arc<str>, Result<Posted, SendError>) {
        match (dispatch.content, &ready.letterhead) {
            (Content::Mail(mail), _) => {
                let via = if mail.message.test { TEST.to_owned() } else { ready.via() };
                (mail.request_text(&via), envelope(&mail).and_then(|envelope| Ok((envelope, mail.mime()?))))
            }
            (content, Some(letterhead)) => {
                let composed = message_of(content).and_then(|message| letterhead.compose(dispatch.delivery_id, message));
                (Arc::clone(&letterhead.text), composed.map(|mail| (mail.envelope().clone(), mail.formatted())))
            }
            (_, None) => (Arc::default(), Err(Code::ContentUnsupported.error("this target carries the mail of clients alone"))),
        }
    }
}

/// How mails that are only tried out go.
const TEST: &str = "test mode: not sent";

fn envelope(mail: &Mail) -> Result<Envelope, SendError> {
    let address = |text: &str| {
        text.parse().map_err(|_| Code::ContentUnsupported.error(format!("the mail could not be composed: {text} is not an address")))
    };
    Envelope::new(Some(address(&mail.envelope_from)?), vec![address(mail.to())?])
        .map_err(|error| Code::ContentUnsupported.error(error.to_string()))
}

/// The mail as the log shows it: the same for every try of a target.
fn request_text(relay: &Relay, from: &Mailbox, to: &[Mailbox], cc: &[Mailbox]) -> Arc<str> {
    let mut text = format!("{}\nfrom: {from}", via(relay));
    for (name, mailbox) in to.iter().map(|to| ("to", to)).chain(cc.iter().map(|cc| ("cc", cc))) {
        text.push_str(&format!("\n{name}: {mailbox}"));
    }
    text.push_str(&format!("\nsubject: {{subject}}\nmessage-id: <{{id}}@{}>", from.email.domain()));
    text.into()
}

fn via(relay: &Relay) -> String {
    if relay.trusted { format!("SMTP via {}", relay.label()) } else { format!("SMTP via {}:{}", relay.host, relay.port) }
}

/// A list of addresses.
fn mailboxes(fields: &Fields<'_>, name: &str) -> Result<Vec<Mailbox>, SettingsError> {
    let Some(value) = fields.get(name) else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| refuse(fields.path(name), "must be a list of addresses"))?;
    if list.len() > MAX_ADDRESSES {
        return Err(refuse(fields.path(name), format!("must not have more than {MAX_ADDRESSES} addresses")));
    }
    let one = |(place, value): (usize, &Value)| {
        let field = format!("{}[{place}]", fields.path(name));
        mailbox(&field, value.as_str().ok_or_else(|| refuse(&field, "must be a text"))?)
    };
    list.iter().enumerate().map(one).collect()
}

/// `user@host` or `Name <user@host>`: exactly one address, nothing before or after that could be read as another.
fn mailbox(field: &str, text: &str) -> Result<Mailbox, SettingsError> {
    let invalid = || refuse(field, "must be an address such as ann@example.com or Ann <ann@example.com>");
    if text.chars().any(char::is_control) {
        return Err(invalid());
    }
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (Some(name.trim().trim_matches('"').trim()), address),
        None => (None, text),
    };
    let name = name.filter(|name| !name.is_empty());
    if name.is_some_and(|name| name.contains(['<', '>', '"'])) {
        return Err(invalid());
    }
    let address = address.parse().map_err(|_| invalid())?;
    Ok(Mailbox::new(name.map(str::to_owned), address))
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn form(&self) -> Form {
        Form::Html
    }

    fn takes(&self, kind: ContentKind) -> bool {
        matches!(kind, ContentKind::Message | ContentKind::Mail)
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        let (_, secrets) = self.parse(settings)?;
        Ok(CheckedSettings { settings: without_nulls(settings), secrets })
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let started = Instant::now();
        let made = self.prepared.get_or_make(dispatch.settings_key, || self.parse(dispatch.settings).map(|(ready, _)| ready));
        let ready = match made {
            Ok(ready) => ready,
            Err(error) => return Report::failed(Code::SettingsInvalid.error(error.to_string()), Arc::default(), started),
        };
        let (delivery_id, connect_timeout, timeout) = (dispatch.delivery_id, dispatch.connect_timeout, dispatch.timeout);
        let of_client = if let Content::Mail(mail) = &dispatch.content { Some(mail.clone()) } else { None };
        let is_test = of_client.as_ref().is_some_and(|mail| mail.message.test);
        let (text, composed) = self.compose(&ready, dispatch);
        let (envelope, mail) = match composed {
            Ok(composed) => composed,
            Err(error) => return Report::failed(error, text, started),
        };
        let sending = match &ready.relay {
            _ if is_test => Ok(Taken { status: 250, text: "OK (test mode: not sent)".to_owned() }),
            Some(relay) => self.smtp.send(relay, &envelope, &mail, connect_timeout, timeout).await,
            None => match &of_client {
                Some(mail) => self.simulator.offer(delivery_id, mail),
                None => Err(Code::SettingsInvalid.error("there is no mail relay").into()),
            },
        };
        match sending {
            Ok(taken) => Report {
                outcome: Outcome::Delivered,
                status: Some(taken.status),
                request: text,
                response: format!("{} {}", taken.status, taken.text).into(),
                response_body: Bytes::new(),
                retry_after: None,
                carrier_id: None,
                duration: started.elapsed(),
            },
            Err(not_taken) => Report { status: not_taken.status, ..Report::failed(not_taken.error, text, started) },
        }
    }
}

impl Ready {
    fn via(&self) -> String {
        self.relay.as_deref().map_or_else(|| format!("SMTP via {}", SIMULATOR), via)
    }
}

impl Letterhead {
    fn compose(&self, delivery_id: &str, message: Rendered) -> Result<Message, SendError> {
        let id = format!("<{delivery_id}@{}>", self.from.email.domain());
        let subject = subject(&message);
        let mut builder = Message::builder()
            .message_id(Some(id))
            .from(self.from.clone())
            .subject(subject.clone())
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        for cc in &self.cc {
            builder = builder.cc(cc.clone());
        }
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let composed = match message.html {
            Some(html) => builder.multipart(MultiPart::alternative_plain_html(message.text, message_page(&subject, &html))),
            None => builder.singlepart(SinglePart::plain(message.text)),
        };
        composed.map_err(|error| Code::ContentUnsupported.error(format!("the mail could not be composed: {error}")))
    }
}

/// The title, or the first line of the text, as one line.
fn subject(message: &Rendered) -> String {
    let title = message.title.trim();
    let source = if title.is_empty() { message.text.lines().find(|line| !line.trim().is_empty()).unwrap_or("Notification") } else { title };
    let words: Vec<&str> = source.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    if line.chars().count() <= MAX_SUBJECT { line } else { line.chars().take(MAX_SUBJECT - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::NewsPort;
    use serde_json::json;

    fn channel(relay: Option<&str>, from: Option<&str>) -> Email {
        let defaults = EmailDefaults { relay: relay.map(str::to_owned), from: from.map(str::to_owned) };
        let outlet = Arc::new(Outlet::new(AddressGuard::default()));
        Email::new(&defaults, outlet, Arc::new(Tls::default()), NewsPort::default().inbox()).expect("defaults")
    }
    use crate::address::AddressGuard;

    #[test]
    fn defaults_fill_in_and_what_is_missing_is_named() {
        let bare = channel(None, None);
        let reason = |channel: &Email, settings: Value| channel.check(&settings).expect_err("must be refused").to_string();
        assert_eq!(reason(&bare, json!({"to": ["a@b.example"]})), "settings.from: is required, as the server has no default sender");
        assert_eq!(
            reason(&bare, json!({"to": ["a@b.example"], "from": "c@d.example"})),
            "settings.smtp: is required, as the server has no mail relay"
        );
        let full = channel(Some("smtp://relay.example"), Some("Posthaste <p@d.example>"));
        assert!(full.check(&json!({"to": ["a@b.example"]})).is_ok());
        assert_eq!(reason(&full, json!({"to": []})), "settings.to: must name at least one address");
        assert_eq!(reason(&full, json!({"to": "a@b.example"})), "settings.to: must be a list of addresses");
        assert_eq!(reason(&full, json!({"to": ["a@b.example"], "form": "x"})), "settings.form: unknown field; did you mean `from`?");
        let own = json!({"to": ["a@b.example"], "smtp": {"url": "smtps://u:p@m.example"}});
        assert_eq!(full.check(&own).expect("own relay").secrets, ["/smtp/url"]);
        assert!(
            Email::new(
                &EmailDefaults { relay: Some("http://x".into()), from: None },
                Arc::new(Outlet::new(AddressGuard::default())),
                Arc::default(),
                NewsPort::default().inbox()
            )
            .is_err()
        );
    }

    /// Header injection: an address is one address, a subject is one line.
    #[test]
    fn no_header_can_be_injected() {
        for bad in [
            "",
            "a",
            "@b.example",
            "a@b.example\r\nBcc: c@d.example",
            "a@b.example, c@d.example",
            "A <a@b.example> <c@d.example>",
            "A\n <a@b.example>",
            "a@b.example>",
            "<a@b.example",
            "A <a@b.example>, C <c@d.example>",
            "a@b.example\0",
        ] {
            assert!(mailbox("to", bad).is_err(), "{bad:?}");
        }
        for good in ["a@b.example", "Ann <a@b.example>", "\"Ann, of B\" <a@b.example>", "<a@b.example>", "Åsa <a@b.example>"] {
            assert!(mailbox("to", good).is_ok(), "{good}");
        }
        let titled = |title: &str| subject(&Rendered { title: title.to_owned(), text: "\nfirst line\nmore".to_owned(), html: None });
        assert_eq!(titled("Hi\r\nBcc: x@y.example\u{85}\u{2028}z"), "Hi Bcc: x@y.example z");
        assert_eq!(titled(" "), "first line");
        assert_eq!(titled(&"é".repeat(400)).chars().count(), MAX_SUBJECT);
    }
}
