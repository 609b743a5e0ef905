//! What one recipient gets: placeholders filled, links signed, ways to unsubscribe in the headers.

use std::borrow::Cow;

use super::outgoing::Outgoing;
use super::placeholders::{asks_to_unsubscribe, fill};
use super::rewrite::{add_picture, rewrite_html, rewrite_text};
use super::ticket::{Deed, Links, PATH, Ticket};

/// The content of an e-mail for one recipient. A message that was given as a whole (MIME) has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
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
    /// # Panics
    /// If there is no such recipient.
    pub fn letter(&self, recipient: usize, links: &Links) -> Letter {
        let to = &self.recipients[recipient];
        let ticket = |deed| Ticket {
            workspace: links.workspace,
            accepted: links.accepted,
            message_id: self.id.clone(),
            recipient: to.address.clone(),
            domain: self.domain.clone().unwrap_or_default(),
            deed,
        };
        let Some(email) = &self.email else { return Letter::default() };
        let unsubscribe = links.url(&ticket(Deed::Unsubscribe));
        let own = format!("{}{PATH}", links.base_url);
        let redirect = |url: &str| (!url.starts_with(&own)).then(|| links.url(&ticket(Deed::Click(url.to_owned()))));
        let fill_body = |text: &String| fill(text, &to.variables, Some(&unsubscribe)).into_owned();

        let bodies = [self.text.as_ref(), email.html.as_ref(), email.amp_html.as_ref()];
        let offered = email.track.unsubscribe || bodies.into_iter().flatten().any(|body| asks_to_unsubscribe(body));
        let mut text = self.text.as_ref().map(fill_body);
        let mut html = email.html.as_ref().map(fill_body);
        if email.track.clicks {
            html = html.map(|html| rewrite_html(&html, redirect));
            if !email.track.html_clicks_only {
                text = text.map(|text| rewrite_text(&text, redirect));
            }
        }
        if let Some(html) = html.as_mut().filter(|_| email.track.opens) {
            add_picture(html, &links.url(&ticket(Deed::Open)));
        }
        let line = |text: &str| one_line(&fill(text, &to.variables, Some(&unsubscribe))).into_owned();
        let headers: Vec<_> = email.headers.iter().map(|(name, value)| (name.clone(), line(value))).collect();
        let own_header = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("list-unsubscribe"));
        Letter {
            subject: self.subject.as_deref().map(line).unwrap_or_default(),
            text,
            html,
            amp_html: email.amp_html.as_ref().map(fill_body),
            headers,
            unsubscribe: (offered && !own_header).then_some(unsubscribe),
        }
    }
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
        let letter = watched(Track::default()).letter(1, &links());
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
        assert_eq!(plain.letter(1, &links()).unsubscribe, None);
    }

    #[test]
    fn what_is_asked_for_is_watched() {
        let all = Track { opens: true, clicks: true, unsubscribe: true, html_clicks_only: false };
        let letter = watched(all).letter(1, &links());
        let html = letter.html.expect("html");
        let urls: Vec<&str> = html.split('"').filter(|part| part.starts_with("https://")).collect();
        let deeds: Vec<Deed> = urls.iter().map(|url| deed(url)).collect();
        assert_eq!(deeds, [Deed::Click("https://x.example/7".into()), Deed::Unsubscribe, Deed::Open]);
        let text = letter.text.expect("text");
        let deeds: Vec<Deed> = text.split(' ').map(deed).collect();
        assert_eq!(deeds, [Deed::Click("https://x.example/7".into()), Deed::Unsubscribe]);
        let letter = watched(Track { html_clicks_only: true, ..all }).letter(1, &links());
        assert!(letter.text.expect("text").starts_with("https://x.example/7 "));
    }

    #[test]
    fn a_senders_own_way_to_unsubscribe_stays() {
        let mut message = watched(Track { unsubscribe: true, ..Track::default() });
        message.email.as_mut().expect("e-mail").headers.push(("list-unsubscribe".into(), "<mailto:off@d.example>".into()));
        assert_eq!(message.letter(1, &links()).unsubscribe, None);
    }
}
