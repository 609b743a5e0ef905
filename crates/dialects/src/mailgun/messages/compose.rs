//! From a form to a message, with every refusal of section 11.1. Pure but for the randomness of new ids.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use posthaste_domain::message::address::{self, Mailbox};
use posthaste_domain::message::placeholders::asks_to_unsubscribe;
use posthaste_domain::message::{Attachment, EmailParts, MessageChannel, Outgoing, Recipient, mime};
use posthaste_domain::resource::Domain;
use posthaste_domain::signature::hex;
use serde_json::{Map, Value};

use super::super::MailgunSettings;
use super::super::answer::Refusal;
use super::super::format::DIALECT;
use super::super::tracking;
use super::form::{SendForm, SentFile};
use super::options::{Options, message_id};

/// Characters of base 64 that hold the headers of a mail: 256 KiB of it.
const HEAD: usize = 256 * 1024 / 3 * 4;

/// A fresh message id, without brackets.
pub(in super::super) fn new_id(domain: &str, now_ms: i64) -> String {
    let time = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y%m%d%H%M%S");
    let random: [u8; 8] = rand::random();
    format!("{time}.{}@{domain}", hex(&random))
}

/// A message from texts and files.
pub(super) fn from_parts(mut form: SendForm, domain: &Domain, settings: &MailgunSettings, now_ms: i64) -> Result<Outgoing, Refusal> {
    let from = sender(form.text("from"))?;
    let addressed = Addressed::read(&form, settings.max_recipients)?;
    let body = |name: &str| form.text(name).map(str::to_owned);
    let (mut text, mut html, amp_html) = (body("text"), body("html"), body("amp-html"));
    let template = form.text("template");
    if text.is_none() && html.is_none() && amp_html.is_none() && template.is_none() {
        return Err(Refusal::bad("Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified"));
    }
    if let Some(name) = template {
        if html.is_some() {
            return Err(Refusal::bad("Only one parameters 'html' or 'template' is allowed"));
        }
        return Err(Refusal::bad(format!("template '{name}' is not known: templates of the Mailgun API are not kept here")));
    }
    let options = read_options(&form, domain, settings, now_ms)?;
    if options.track.unsubscribe && ![&text, &html].into_iter().flatten().any(|body| asks_to_unsubscribe(body)) {
        let footers = tracking::Footers::of(domain);
        text.as_mut().map(|text| text.push_str(&footers.text)).unwrap_or_default();
        html.as_mut().map(|html| html.push_str(&footers.html)).unwrap_or_default();
    }
    let mut files = form.take_files("attachment").into_iter().map(|file| attachment(file, false)).collect::<Vec<_>>();
    files.extend(form.take_files("inline").into_iter().map(|file| attachment(file, true)));
    let email = EmailParts {
        from: from.to_string(),
        to: Mailbox::header(&addressed.to),
        cc: Mailbox::header(&addressed.cc),
        reply_to: options.reply_to.clone(),
        html,
        amp_html,
        headers: options.headers.clone(),
        attachments: files,
        mime: None,
        individual: addressed.individual,
        track: options.track,
    };
    let subject = Some(form.all("subject").next().unwrap_or_default().to_owned());
    let id = options.message_id.clone().unwrap_or_else(|| new_id(&domain.name, now_ms));
    let message = outgoing(id, from.address, addressed, options, domain, now_ms, Outline { subject, text, email });
    if !message.fits(usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX)) {
        return Err(Refusal::bad("Message is too large once recipient-variables are filled in"));
    }
    Ok(message)
}

/// A message that its sender wrote as a whole.
pub(super) fn from_mime(mut form: SendForm, domain: &Domain, settings: &MailgunSettings, now_ms: i64) -> Result<Outgoing, Refusal> {
    let addressed = Addressed::read(&form, settings.max_recipients)?;
    let file = form.take_files("message").into_iter().next().map(|file| file.base64);
    let written = file.or_else(|| form.text("message").map(|text| STANDARD.encode(text)));
    let mime_text = written.ok_or_else(|| Refusal::bad("message parameter is missing"))?;
    let head = &mime_text[..mime_text.len().min(HEAD)];
    let headers = mime::headers(&STANDARD.decode(head).unwrap_or_default());
    let header = |name: &str| mime::header(&headers, name).filter(|value| !value.is_empty());
    let from = sender(header("from"))?;
    let options = read_options(&form, domain, settings, now_ms)?;
    let email = EmailParts {
        from: from.to_string(),
        to: header("to").map_or_else(|| Mailbox::header(&addressed.to), str::to_owned),
        cc: header("cc").unwrap_or_default().to_owned(),
        mime: Some(mime_text),
        ..EmailParts::default()
    };
    let id = header("message-id").and_then(message_id).unwrap_or_else(|| new_id(&domain.name, now_ms));
    let subject = Some(header("subject").unwrap_or_default().to_owned());
    Ok(outgoing(id, from.address, addressed, options, domain, now_ms, Outline { subject, text: None, email }))
}

/// What is said.
struct Outline {
    subject: Option<String>,
    text: Option<String>,
    email: EmailParts,
}

fn outgoing(
    id: String,
    sender: String,
    addressed: Addressed,
    options: Options,
    domain: &Domain,
    now_ms: i64,
    outline: Outline,
) -> Outgoing {
    Outgoing {
        id,
        channel: MessageChannel::Email,
        dialect: DIALECT.to_owned(),
        sender,
        recipients: addressed.recipients,
        subject: outline.subject,
        text: outline.text,
        email: Some(outline.email),
        domain: Some(domain.name.clone()),
        tags: options.tags,
        metadata: options.variables,
        test: options.test,
        deliver_at_ms: options.deliver_at_ms,
        callback_url: None,
        extra: Map::new(),
        created_ms: now_ms,
    }
}

fn read_options(form: &SendForm, domain: &Domain, settings: &MailgunSettings, now_ms: i64) -> Result<Options, Refusal> {
    let max_ahead_ms = i64::try_from(settings.max_schedule.as_millis()).unwrap_or(i64::MAX);
    Options::read(form, domain.track, now_ms, max_ahead_ms)
}

/// The one that a message is from: a mail of several would need a `Sender` besides.
fn sender(text: Option<&str>) -> Result<Mailbox, Refusal> {
    let text = text.ok_or_else(|| Refusal::bad("from parameter is missing"))?;
    address::parse(text).map_err(|_| Refusal::bad("from parameter is not a valid address. please check documentation"))
}

fn attachment(file: SentFile, inline: bool) -> Attachment {
    let filename = if file.filename.is_empty() { "attachment".to_owned() } else { file.filename };
    Attachment { filename, content_type: file.content_type, content: file.base64, inline }
}

/// To whom a message goes.
#[derive(Debug, Default)]
struct Addressed {
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    /// Everybody once: `to`, `cc`, `bcc`.
    recipients: Vec<Recipient>,
    /// Whether each sees only itself: a batch with variables of each recipient.
    individual: bool,
}

impl Addressed {
    fn read(form: &SendForm, max_recipients: usize) -> Result<Self, Refusal> {
        if form.text("to").is_none() {
            return Err(Refusal::bad("to parameter is missing"));
        }
        let read = |name| addresses(form, name, max_recipients);
        let (to, cc, bcc) = (read("to")?, read("cc")?, read("bcc")?);
        let variables = recipient_variables(form)?;
        let mut seen = std::collections::HashSet::new();
        let mut recipients = Vec::new();
        for mailbox in to.iter().chain(&cc).chain(&bcc) {
            if seen.insert(mailbox.address.to_lowercase()) {
                let of_it = variables.as_ref().and_then(|all| all.get(&mailbox.address.to_lowercase())).and_then(Value::as_object);
                let variables = of_it.cloned().unwrap_or_default();
                recipients.push(Recipient { name: mailbox.name.clone(), variables, ..Recipient::of(&mailbox.address) });
            }
        }
        if recipients.len() > max_recipients {
            return Err(too_many(max_recipients));
        }
        Ok(Self { to, cc, recipients, individual: variables.is_some() })
    }
}

/// More recipients than a message may have.
pub(in super::super) fn too_many(max_recipients: usize) -> Refusal {
    Refusal::bad(format!("to parameter has too many recipients: at most {max_recipients} are taken"))
}

/// The addresses of one parameter, each once. None is read after one too many, repeated ones included.
fn addresses(form: &SendForm, name: &str, max: usize) -> Result<Vec<Mailbox>, Refusal> {
    let invalid = || Refusal::bad(format!("{name} parameter is not a valid address. please check documentation"));
    let mut all: Vec<Mailbox> = Vec::new();
    for (count, mailbox) in form.all(name).flat_map(address::each).enumerate() {
        if count == max {
            return Err(too_many(max));
        }
        let mailbox = mailbox.map_err(|_| invalid())?;
        if !all.iter().any(|known| known.address.eq_ignore_ascii_case(&mailbox.address)) {
            all.push(mailbox);
        }
    }
    if all.is_empty() && name == "to" { Err(invalid()) } else { Ok(all) }
}

/// `recipient-variables` by address in lower case.
fn recipient_variables(form: &SendForm) -> Result<Option<Map<String, Value>>, Refusal> {
    let Some(text) = form.text("recipient-variables") else { return Ok(None) };
    let Ok(Value::Object(given)) = serde_json::from_str(text) else {
        return Err(Refusal::bad("recipient-variables parameter is not a valid JSON object"));
    };
    Ok(Some(given.into_iter().map(|(address, value)| (address.trim().to_lowercase(), value)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_domain::message::Track;
    use serde_json::json;

    const NOW: i64 = 1_700_000_000_000;

    fn domain(track: Track) -> Domain {
        Domain { name: "d.example".into(), track, dkim: None, extra: Map::new() }
    }

    fn form(fields: &[(&str, &str)]) -> SendForm {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SendForm { fields, ..SendForm::default() }
    }

    fn made(fields: &[(&str, &str)]) -> Result<Outgoing, Refusal> {
        from_parts(form(fields), &domain(Track::default()), &MailgunSettings::default(), NOW)
    }

    const FROM: (&str, &str) = ("from", "Ann <ann@d.example>");
    const TO: (&str, &str) = ("to", "bob@x.example");
    const TEXT: (&str, &str) = ("text", "hi");

    // MAILGUN-167, MAILGUN-168, MAILGUN-169, MAILGUN-170
    #[test]
    fn each_refusal_has_its_text() {
        let invalid_to = "to parameter is not a valid address. please check documentation";
        let no_body = "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified";
        for (fields, text) in [
            (vec![TO, TEXT], "from parameter is missing"),
            (vec![("from", " "), TO, TEXT], "from parameter is missing"),
            (vec![("from", "nobody"), TO, TEXT], "from parameter is not a valid address. please check documentation"),
            (vec![("from", "a@d.example, c@e.example"), TO, TEXT], "from parameter is not a valid address. please check documentation"),
            (vec![FROM, TEXT], "to parameter is missing"),
            (vec![FROM, TEXT, ("to", "")], "to parameter is missing"),
            (vec![FROM, TEXT, ("to", "nobody")], invalid_to),
            (vec![FROM, TEXT, ("to", "bob@x.example, nobody")], invalid_to),
            (vec![FROM, TEXT, ("to", ",")], invalid_to),
            (vec![FROM, TEXT, TO, ("cc", "x")], "cc parameter is not a valid address. please check documentation"),
            (vec![FROM, TO], no_body),
            (vec![FROM, TO, ("text", "")], no_body),
            (vec![FROM, TO, ("html", "<p>"), ("template", "t")], "Only one parameters 'html' or 'template' is allowed"),
            (vec![FROM, TO, TEXT, ("recipient-variables", "[1]")], "recipient-variables parameter is not a valid JSON object"),
        ] {
            assert_eq!(made(&fields).expect_err(text), Refusal::bad(text));
        }
        assert!(made(&[FROM, TO, ("template", "t")]).is_err());
        for body in ["text", "html", "amp-html"] {
            assert!(made(&[FROM, TO, (body, "hi")]).is_ok(), "{body}");
        }
    }

    // MAILGUN-173
    #[test]
    fn everybody_counts_once() {
        let fields = [
            FROM,
            TEXT,
            ("to", "bob@x.example, Cy <cy@y.example>"),
            ("to", "BOB@x.example"),
            ("cc", "cy@y.example"),
            ("cc", "dee@z.example"),
            ("bcc", "eve@z.example"),
        ];
        let message = made(&fields).expect("a message");
        let addresses: Vec<&str> = message.recipients.iter().map(|to| to.address.as_str()).collect();
        assert_eq!(addresses, ["bob@x.example", "cy@y.example", "dee@z.example", "eve@z.example"]);
        let email = message.email.expect("e-mail");
        assert_eq!((email.to.as_str(), email.cc.as_str()), ("bob@x.example, Cy <cy@y.example>", "cy@y.example, dee@z.example"));
        assert!(!format!("{} {} {:?}", email.to, email.cc, email.headers).contains("eve"));
        assert_eq!((message.sender.as_str(), email.from.as_str()), ("ann@d.example", "Ann <ann@d.example>"));
    }

    // MAILGUN-174
    #[test]
    fn a_thousand_recipients_are_enough() {
        let list = |count: usize| (0..count).map(|n| format!("a{n}@x.example")).collect::<Vec<_>>().join(",");
        let (thousand, more) = (list(1000), list(1001));
        assert_eq!(made(&[FROM, TEXT, ("to", &thousand)]).expect("a message").recipients.len(), 1000);
        assert!(made(&[FROM, TEXT, ("to", &more)]).is_err());
        // What follows is not read: it would be refused for another reason.
        let endless = format!("{more},nobody");
        assert_eq!(made(&[FROM, TEXT, ("to", &endless)]).expect_err("too many"), too_many(1000));
        assert_eq!(made(&[FROM, TEXT, TO, ("cc", &endless)]).expect_err("too many"), too_many(1000));
    }

    // MAILGUN-177
    #[test]
    fn ids_are_given_or_made() {
        let message = made(&[FROM, TO, TEXT, ("h:Message-Id", "<mine@elsewhere.example>")]).expect("a message");
        assert_eq!(message.id, "mine@elsewhere.example");
        let (one, two) = (made(&[FROM, TO, TEXT]).expect("a message").id, made(&[FROM, TO, TEXT]).expect("a message").id);
        assert!(one != two && one.starts_with("20231114221320.") && one.ends_with("@d.example"), "{one}");
        assert_eq!(message_id(&one), Some(one));
    }

    #[test]
    fn recipient_variables_make_a_batch() {
        let variables = r#"{"BOB@x.example": {"n": 1}, "other@x.example": {"n": 2}}"#;
        let message = made(&[FROM, TO, ("to", "cy@y.example"), TEXT, ("recipient-variables", variables)]).expect("a message");
        assert_eq!(Value::Object(message.recipients[0].variables.clone()), json!({"n": 1}));
        assert!(message.recipients[1].variables.is_empty() && message.email.expect("e-mail").individual);
        assert!(!made(&[FROM, TO, TEXT]).expect("a message").email.expect("e-mail").individual);
    }

    #[test]
    fn what_variables_make_too_large_is_refused() {
        let variables = json!({"bob@x.example": {"x": "y".repeat(100_000), "name": "Bob"}}).to_string();
        let (many, batch) = ("%recipient.x%".repeat(100_000), ("recipient-variables", variables.as_str()));
        let too_large = Refusal::bad("Message is too large once recipient-variables are filled in");
        for (name, value) in [("text", many.as_str()), ("html", many.as_str()), ("subject", "%recipient.x%"), ("h:X-A", "%recipient.x%")] {
            let refusal = made(&[FROM, TO, ("amp-html", "hi"), (name, value), batch]).expect_err(name);
            assert_eq!(refusal, too_large, "{name}");
        }
        assert!(made(&[FROM, TO, ("text", "%recipient.x%"), ("subject", "%recipient.name%"), batch]).is_ok());
        // Nobody has a value for it.
        assert!(made(&[FROM, ("to", "cy@y.example"), ("text", &many), batch]).is_ok());
    }

    #[test]
    fn footers_offer_to_unsubscribe_where_nothing_else_does() {
        let track = Track { unsubscribe: true, ..Track::default() };
        let text = |body: &str| {
            let message = from_parts(form(&[FROM, TO, ("text", body)]), &domain(track), &MailgunSettings::default(), NOW);
            message.expect("a message").text.expect("text")
        };
        assert!(text("hi").starts_with("hi") && text("hi").contains("%unsubscribe_url%"));
        assert_eq!(text("here: %unsubscribe_url%"), "here: %unsubscribe_url%");
        assert_eq!(made(&[FROM, TO, TEXT]).expect("a message").text.as_deref(), Some("hi"));
    }

    // MAILGUN-178
    #[test]
    fn a_whole_mail_is_a_file_or_a_field() {
        let mail =
            "From: =?utf-8?q?=C3=85sa?= <a@d.example>\r\nTo: list@x.example\r\nSubject: s\r\nMessage-Id: <own@d.example>\r\n\r\nbody";
        let read = |form| from_mime(form, &domain(Track::default()), &MailgunSettings::default(), NOW);
        let field = read(form(&[TO, ("message", mail), ("o:tag", "t")])).expect("a message");
        let mut with_file = form(&[TO, ("o:tag", "t")]);
        let (name, filename, content_type) = ("message".into(), "m".into(), "message/rfc822".into());
        with_file.files.push(SentFile { name, filename, content_type, base64: STANDARD.encode(mail) });
        assert_eq!(read(with_file).expect("a message"), field);
        assert_eq!((field.id.as_str(), field.sender.as_str(), field.subject.as_deref()), ("own@d.example", "a@d.example", Some("s")));
        assert_eq!((field.recipients.len(), field.recipients[0].address.as_str()), (1, "bob@x.example"));
        let email = field.email.expect("e-mail");
        assert_eq!((email.from.as_str(), email.to.as_str()), ("Åsa <a@d.example>", "list@x.example"));
        assert_eq!(STANDARD.decode(email.mime.expect("MIME")).expect("base 64"), mail.as_bytes());
        assert_eq!(read(form(&[TO])).expect_err("no message"), Refusal::bad("message parameter is missing"));
        assert_eq!(read(form(&[("message", mail)])).expect_err("no to"), Refusal::bad("to parameter is missing"));
        assert_eq!(read(form(&[TO, ("message", "Subject: x\n\nbody")])).expect_err("no from"), Refusal::bad("from parameter is missing"));
        let of_two = read(form(&[TO, ("message", "From: a@d.example, c@e.example\n\nbody")])).expect_err("from two");
        assert_eq!(of_two, Refusal::bad("from parameter is not a valid address. please check documentation"));
    }
}
