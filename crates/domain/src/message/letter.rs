//! What one recipient gets: placeholders filled, links signed, ways to unsubscribe in the headers.

use std::borrow::Cow;

use super::address::{Mailbox, is_address, parse_list};
use super::outgoing::Outgoing;
use super::placeholders::{BODY_ROOM, Growth, LINE_ROOM, Overfull, asks_to_unsubscribe, fill};
use super::rewrite::{add_picture, rewrite_html, rewrite_text};
use super::ticket::{Deed, Links, PATH, Ticket};

/// The content of an e-mail for one recipient. A message that was given as a whole (MIME) has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Text of the `From` header, on one line.
    pub from: String,
    /// Text of the `Reply-To` header, on one line.
    pub reply_to: Option<String>,
    /// Subject on one line.
    pub subject: String,
    /// Plain text.
    pub text: Option<String>,
    /// HTML.
    pub html: Option<String>,
    /// AMP HTML; its links are not watched, since AMP allows no redirects.
    pub amp_html: Option<String>,
    /// Headers of the sender, placeholders filled, no line break in any.
    pub headers: Vec<(String, String)>,
    /// Address for unsubscribing with one click (RFC 8058), unless the sender's headers name their own.
    pub unsubscribe: Option<String>,
}

impl Outgoing {
    /// The content for one recipient.
    ///
    /// # Errors
    /// If what fills its placeholders is too long. It will be so at every try.
    ///
    /// # Panics
    /// If there is no such recipient.
    pub fn letter(&self, recipient: usize, links: &Links) -> Result<Letter, Overfull> {
        let to = &self.recipients[recipient];
        let ticket = |deed| Ticket {
            workspace: links.workspace,
            accepted: links.accepted,
            message_id: self.id.clone(),
            recipient: to.address.clone(),
            domain: self.domain.clone().unwrap_or_default(),
            deed,
        };
        let Some(email) = &self.email else { return Ok(Letter::default()) };
        let unsubscribe = links.url(&ticket(Deed::Unsubscribe));
        let own = format!("{}{PATH}", links.base_url);
        let redirect = |url: &str| (!url.starts_with(&own)).then(|| links.url(&ticket(Deed::Click(url.to_owned()))));

        let bodies = [self.text.as_ref(), email.html.as_ref(), email.amp_html.as_ref()];
        let offered = email.track.unsubscribe || bodies.into_iter().flatten().any(|body| asks_to_unsubscribe(body));
        let mut room = BODY_ROOM;
        let mut fill_body = |text: &str| fill(text, &to.variables, Some(&unsubscribe), &mut room).map(Cow::into_owned);
        let mut text = self.text.as_deref().map(&mut fill_body).transpose()?;
        let mut html = email.html.as_deref().map(&mut fill_body).transpose()?;
        let amp_html = email.amp_html.as_deref().map(&mut fill_body).transpose()?;
        if email.track.clicks {
            html = html.map(|html| rewrite_html(&html, redirect));
            if !email.track.html_clicks_only {
                text = text.map(|text| rewrite_text(&text, redirect));
            }
        }
        if let Some(html) = html.as_mut().filter(|_| email.track.opens) {
            add_picture(html, &links.url(&ticket(Deed::Open)));
        }
        let mut room = LINE_ROOM;
        let mut line = |text: &str| {
            let filled = fill(text, &to.variables, Some(&unsubscribe), &mut room)?;
            Ok::<_, Overfull>(one_line(&filled).into_owned())
        };
        let subject = self.subject.as_deref().map(&mut line).transpose()?.unwrap_or_default();
        let from = mailboxes(&email.from, &mut line)?;
        let reply_to = email.reply_to.as_deref().map(|text| mailboxes(text, &mut line)).transpose()?;
        let mut headers = Vec::with_capacity(email.headers.len());
        for (name, value) in &email.headers {
            headers.push((name.clone(), line(value)?));
        }
        let own_header = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("list-unsubscribe"));
        let unsubscribe = (offered && !own_header).then_some(unsubscribe);
        Ok(Letter { from, reply_to, subject, text, html, amp_html, headers, unsubscribe })
    }

    /// Whether every recipient's placeholders can be filled, with at most `max` bytes of text, HTML and AMP HTML for each. Counted and not
    /// tried: close to the bounds it may say no too early, never too late unless links are very long.
    pub fn fits(&self, max: usize) -> bool {
        let Some(email) = self.email.as_ref().filter(|email| email.mime.is_none()) else { return true };
        let bodies = [self.text.as_deref(), email.html.as_deref(), email.amp_html.as_deref()];
        let size: usize = bodies.into_iter().flatten().map(str::len).sum();
        let room = max.saturating_sub(size).min(BODY_ROOM);
        let bodies = Growth::of(bodies.into_iter().flatten());
        let lines = [self.subject.as_deref(), Some(email.from.as_str()), email.reply_to.as_deref()];
        let lines = Growth::of(lines.into_iter().flatten().chain(email.headers.iter().map(|(_, value)| value.as_str())));
        self.recipients.iter().all(|to| bodies.with(&to.variables) <= room && lines.with(&to.variables) <= LINE_ROOM)
    }
}

/// A header of addresses with `line` filling each name and each address, so that what is filled in cannot end a name and begin another
/// address. An address that would be none stays as it is written; what is no list of addresses is filled as a whole.
fn mailboxes(text: &str, line: &mut impl FnMut(&str) -> Result<String, Overfull>) -> Result<String, Overfull> {
    if !text.contains('%') {
        return Ok(one_line(text).into_owned());
    }
    let list = match parse_list(text) {
        Ok(list) if !list.is_empty() => list,
        _ => return line(text),
    };
    let mut filled = Vec::with_capacity(list.len());
    for Mailbox { name, address } in list {
        let name = name.map(|name| line(&name)).transpose()?;
        let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let own = line(&address)?;
        filled.push(Mailbox { name, address: if is_address(&own) { own } else { address } });
    }
    Ok(Mailbox::header(&filled))
}

/// A text without line breaks and other control characters, which could begin a header of their own.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let breaks = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    if !text.contains(breaks) {
        return Cow::Borrowed(text);
    }
    let pieces: Vec<&str> = text.split(breaks).filter(|piece| !piece.is_empty()).collect();
    Cow::Owned(pieces.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::outgoing::tests::mail;
    use super::super::{Recipient, Track};
    use super::*;
    use serde_json::{Map, json};

    fn links() -> Links {
        Links { base_url: "https://p.example".into(), secret: [1; 32], workspace: 4, accepted: 9 }
    }

    fn deed(url: &str) -> Deed {
        let token = url.strip_prefix("https://p.example/t/").expect("one of our links");
        let ticket = Ticket::read(token, &[1; 32]).expect("a good proof");
        assert_eq!((ticket.workspace, ticket.message_id.as_str(), ticket.recipient.as_str()), (4, "1@d.example", "cy@y.example"));
        assert_eq!(ticket.domain, "d.example");
        ticket.deed
    }

    fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
        let start = text.find(before).expect("begin") + before.len();
        &text[start..start + text[start..].find(after).expect("end")]
    }

    fn watched(track: Track) -> Outgoing {
        let mut message = mail();
        let email = message.email.as_mut().expect("e-mail");
        email.track = track;
        email.html = Some(r#"<a href="https://x.example/%recipient.id%">x</a> <a href="%unsubscribe_url%">no more</a>"#.into());
        email.headers = vec![("X-Id".into(), "%recipient.id%\r\nBcc: spy@x.example".into())];
        message.text = Some("https://x.example/%recipient.id% %unsubscribe_url%".into());
        message.subject = Some("Hi %recipient.id%\nBcc: spy@x.example".into());
        let variables = Map::from_iter([("id".to_owned(), json!("7"))]);
        message.recipients[1] = Recipient { variables, ..Recipient::of("cy@y.example") };
        message
    }

    #[test]
    fn nothing_is_watched_unless_asked_for() {
        let letter = watched(Track::default()).letter(1, &links()).expect("room");
        let html = letter.html.expect("html");
        assert!(
            html.starts_with(r#"<a href="https://x.example/7">x</a> <a href="https://p.example/t/"#) && !html.contains("<img"),
            "{html}"
        );
        assert_eq!(deed(between(&html, "</a> <a href=\"", "\"")), Deed::Unsubscribe);
        assert_eq!(letter.subject, "Hi 7 Bcc: spy@x.example");
        assert_eq!(letter.headers, [("X-Id".to_owned(), "7 Bcc: spy@x.example".to_owned())]);
        // The body offers it, so the header does as well.
        assert_eq!(deed(&letter.unsubscribe.expect("a link")), Deed::Unsubscribe);
        let mut plain = mail();
        plain.recipients[1] = Recipient::of("cy@y.example");
        assert_eq!(plain.letter(1, &links()).expect("room").unsubscribe, None);
    }

    #[test]
    fn what_is_asked_for_is_watched() {
        let all = Track { opens: true, clicks: true, unsubscribe: true, html_clicks_only: false };
        let letter = watched(all).letter(1, &links()).expect("room");
        let html = letter.html.expect("html");
        let urls: Vec<&str> = html.split('"').filter(|part| part.starts_with("https://")).collect();
        let deeds: Vec<Deed> = urls.iter().map(|url| deed(url)).collect();
        assert_eq!(deeds, [Deed::Click("https://x.example/7".into()), Deed::Unsubscribe, Deed::Open]);
        let text = letter.text.expect("text");
        let deeds: Vec<Deed> = text.split(' ').map(deed).collect();
        assert_eq!(deeds, [Deed::Click("https://x.example/7".into()), Deed::Unsubscribe]);
        let letter = watched(Track { html_clicks_only: true, ..all }).letter(1, &links()).expect("room");
        assert!(letter.text.expect("text").starts_with("https://x.example/7 "));
    }

    #[test]
    fn a_senders_own_way_to_unsubscribe_stays() {
        let mut message = watched(Track { unsubscribe: true, ..Track::default() });
        message.email.as_mut().expect("e-mail").headers.push(("list-unsubscribe".into(), "<mailto:off@d.example>".into()));
        assert_eq!(message.letter(1, &links()).expect("room").unsubscribe, None);
    }

    #[test]
    fn who_writes_and_who_gets_answers_is_each_recipients_own() {
        let headers = |name: &str, from: &str, reply_to: &str| {
            let mut message = watched(Track::default());
            message.recipients[1].variables.insert("name".into(), json!(name));
            let email = message.email.as_mut().expect("e-mail");
            (email.from, email.reply_to) = (from.to_owned(), Some(reply_to.to_owned()));
            message.letter(1, &links()).map(|letter| (letter.from, letter.reply_to.expect("a header")))
        };
        let own = |from: &str, reply_to: &str| Ok((from.to_owned(), reply_to.to_owned()));
        let (from, reply_to) = ("\"%recipient.name%\" <ann@d.example>", "re+%recipient.id%@d.example");
        assert_eq!(headers("Bob", from, reply_to), own("Bob <ann@d.example>", "re+7@d.example"));
        // One line, one address.
        let evil = "B\" <spy@x.example>,\r\nBcc: spy@x.example";
        let quoted = "\"B\\\" <spy@x.example>, Bcc: spy@x.example\" <ann@d.example>";
        assert_eq!(headers(evil, from, "%recipient.name%@d.example"), own(quoted, "%recipient.name%@d.example"));
        assert_eq!(headers("Bob", "Ann <ann@d.example>", "%recipient.name%"), own("Ann <ann@d.example>", "Bob"));
        assert_eq!(headers(&"y".repeat(100_000), from, reply_to), Err(Overfull));
    }

    #[test]
    fn what_grows_too_long_is_no_letter() {
        let mut message = watched(Track::default());
        message.recipients[1].variables.insert("long".into(), json!("y".repeat(100_000)));
        assert!(message.fits(25 << 20) && message.letter(1, &links()).is_ok());
        let in_body = Outgoing { text: Some("%recipient.long%".repeat(1000)), ..message.clone() };
        assert!(!in_body.fits(25 << 20));
        assert_eq!(in_body.letter(1, &links()), Err(Overfull));
        // Nobody else has such a value.
        assert!(in_body.letter(0, &links()).is_ok());
        let shorter = Outgoing { text: Some("%recipient.long%".repeat(100)), ..message.clone() };
        assert!(shorter.fits(25 << 20) && !shorter.fits(5 << 20) && shorter.letter(1, &links()).is_ok());
        let in_subject = Outgoing { subject: Some("%recipient.long%".into()), ..message.clone() };
        assert!(!in_subject.fits(usize::MAX));
        assert_eq!(in_subject.letter(1, &links()), Err(Overfull));
        message.email.as_mut().expect("e-mail").headers = vec![("X-A".into(), "%recipient.long%".into())];
        assert!(!message.fits(usize::MAX));
        assert_eq!(message.letter(1, &links()), Err(Overfull));
    }
}
