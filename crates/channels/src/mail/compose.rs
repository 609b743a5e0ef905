//! Writing a mail from its parts.
//!
//! `mixed(related(alternative(text, amp, html), inline files), attached files)`, without the layers that a mail does not need.

use std::time::{Duration, SystemTime};

use lettre::address::Envelope;
use lettre::message::header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment as Part, Body, Mailbox, Mailboxes, Message, MessageBuilder, MultiPart, SinglePart};
use posthaste_domain::message::letter::one_line;
use posthaste_domain::message::{Attachment, Letter};

use super::Mail;
use crate::SendError;
use crate::failure::Code;

/// Headers that are written from the parts of a message and not taken from the sender's own list, and those that belong to servers.
const RESERVED: [&str; 13] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "return-path",
    "received",
    "dkim-signature",
];

/// Characters of a line of base 64 (RFC 2045).
const LINE: usize = 76;

const LIST_UNSUBSCRIBE: HeaderName = HeaderName::new_from_ascii_str("List-Unsubscribe");
const LIST_UNSUBSCRIBE_POST: HeaderName = HeaderName::new_from_ascii_str("List-Unsubscribe-Post");

/// The mail for its recipient.
pub(super) fn compose(mail: &Mail) -> Result<Vec<u8>, SendError> {
    let refused = |what: String| Code::ContentUnsupported.error(format!("the mail could not be composed: {what}"));
    let message = &*mail.message;
    let email = message.email.as_ref().ok_or_else(|| refused("it is no e-mail".to_owned()))?;
    let letter = message.letter(mail.recipient, &mail.links).map_err(|error| refused(error.to_string()))?;
    let address = |text: &str| text.parse().map_err(|_| refused(format!("{text} is not an address")));

    let from: Mailboxes = letter.from.parse().map_err(|_| refused(format!("{} is not a sender", letter.from)))?;
    let envelope = Envelope::new(Some(address(&mail.envelope_from)?), vec![address(mail.to())?]).map_err(|e| refused(e.to_string()))?;
    let date = SystemTime::UNIX_EPOCH + Duration::from_millis(message.created_ms.max(0).unsigned_abs());
    let mut builder = Message::builder()
        .envelope(envelope)
        .message_id(Some(format!("<{}>", message.id)))
        .date(date)
        .mailbox(header::From::from(from))
        .subject(letter.subject.clone());
    let individual = Mailbox::new(message.recipients[mail.recipient].name.clone(), address(mail.to())?);
    builder = match email.individual {
        true => builder.to(individual),
        false => list(builder, "To", &email.to),
    };
    if !email.cc.is_empty() && !email.individual {
        builder = list(builder, "Cc", &email.cc);
    }
    if let Some(reply_to) = &letter.reply_to {
        builder = list(builder, "Reply-To", reply_to);
    }
    if let Some(url) = &letter.unsubscribe {
        let (link, one_click) = (format!("<{url}>"), "List-Unsubscribe=One-Click".to_owned());
        builder = builder
            .raw_header(HeaderValue::dangerous_new_pre_encoded(LIST_UNSUBSCRIBE, link.clone(), link))
            .raw_header(HeaderValue::new(LIST_UNSUBSCRIBE_POST, one_click));
    }
    for (name, value) in &letter.headers {
        if !RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
            && let Ok(name) = HeaderName::new_from_ascii(name.clone())
        {
            builder = builder.raw_header(HeaderValue::new(name, value.clone()));
        }
    }
    let made = match body(&letter, &email.attachments) {
        Content::One(part) => builder.singlepart(part),
        Content::Many(parts) => builder.multipart(parts),
    };
    made.map(|message| message.formatted()).map_err(|error| refused(error.to_string()))
}

/// A header of addresses; one that cannot be read as such goes out as it is written.
fn list(builder: MessageBuilder, name: &'static str, text: &str) -> MessageBuilder {
    let text = one_line(text);
    match (name, text.parse::<Mailboxes>()) {
        ("To", Ok(list)) if list.iter().next().is_some() => builder.mailbox(header::To::from(list)),
        ("Cc", Ok(list)) if list.iter().next().is_some() => builder.mailbox(header::Cc::from(list)),
        ("Reply-To", Ok(list)) if list.iter().next().is_some() => builder.mailbox(header::ReplyTo::from(list)),
        _ => {
            let text = if text.trim().is_empty() { "undisclosed-recipients:;".to_owned() } else { text.into_owned() };
            builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), text))
        }
    }
}

enum Content {
    One(SinglePart),
    Many(MultiPart),
}

fn body(letter: &Letter, files: &[Attachment]) -> Content {
    let mut texts = Vec::new();
    texts.extend(letter.text.as_ref().map(|text| SinglePart::plain(text.clone())));
    texts.extend(letter.amp_html.as_ref().map(|html| {
        let kind = ContentType::parse("text/x-amp-html; charset=utf-8").expect("a media type");
        SinglePart::builder().header(kind).body(html.clone())
    }));
    texts.extend(letter.html.as_ref().map(|html| SinglePart::html(html.clone())));
    let mut content = match texts.len() {
        0 => Content::One(SinglePart::plain(String::new())),
        1 => Content::One(texts.remove(0)),
        _ => Content::Many(gather(MultiPart::alternative().build(), texts)),
    };
    let (inline, attached): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.inline);
    if !inline.is_empty() {
        content = Content::Many(gather(within(MultiPart::related().build(), content), inline.into_iter().map(part)));
    }
    if !attached.is_empty() {
        content = Content::Many(gather(within(MultiPart::mixed().build(), content), attached.into_iter().map(part)));
    }
    content
}

fn within(outer: MultiPart, inner: Content) -> MultiPart {
    match inner {
        Content::One(part) => outer.singlepart(part),
        Content::Many(parts) => outer.multipart(parts),
    }
}

fn gather(outer: MultiPart, parts: impl IntoIterator<Item = SinglePart>) -> MultiPart {
    parts.into_iter().fold(outer, MultiPart::singlepart)
}

/// A file. It is stored in base 64 and goes out in base 64: only its lines are broken.
fn part(file: &Attachment) -> SinglePart {
    let kind = ContentType::parse(&file.content_type).ok();
    let kind = kind.unwrap_or_else(|| ContentType::parse("application/octet-stream").expect("a media type"));
    let name = one_line(&file.filename).into_owned();
    let disposition = if file.inline { Part::new_inline_with_name(name.clone(), name) } else { Part::new(name) };
    disposition.body(Body::dangerous_pre_encoded(broken(&file.content), ContentTransferEncoding::Base64), kind)
}

fn broken(base64: &str) -> Vec<u8> {
    let mut lines = Vec::with_capacity(base64.len() + base64.len() / LINE * 2 + 2);
    for line in base64.as_bytes().chunks(LINE) {
        if !lines.is_empty() {
            lines.extend_from_slice(b"\r\n");
        }
        lines.extend_from_slice(line);
    }
    lines
}
