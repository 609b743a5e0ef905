//! Leading the links of a mail through this server, and the picture that tells of opening.
//!
//! Invariant: of HTML nothing changes but the values of `href` in `a` and `area` elements, byte for byte; the picture is one insertion.
//! HTML is read by a tokenizer of the standard's grammar; a link whose place in the source is in doubt is left alone.

use std::borrow::Cow;
use std::ops::Range;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use super::ticket::MAX_URL;

/// A link in the source of a page.
struct Link {
    /// Where its value stands.
    place: Range<usize>,
    /// What it says, entities read.
    url: String,
}

/// Replaces the target of every link to the web that is not marked `disable-tracking=true` by what `redirect` makes of it; `None`
/// leaves the link as it is. Links longer than [`MAX_URL`] stay as well.
pub fn rewrite_html(html: &str, mut redirect: impl FnMut(&str) -> Option<String>) -> String {
    let mut rewritten = String::with_capacity(html.len() + 256);
    let mut done = 0;
    for link in links(html) {
        if link.place.start < done || !is_exact(html, &link) {
            continue;
        }
        let Some(url) = web_address(&link.url).and_then(|url| redirect(&url)) else { continue };
        rewritten.push_str(&html[done..link.place.start]);
        rewritten.push_str(&attribute(&url));
        done = link.place.end;
    }
    rewritten.push_str(&html[done..]);
    rewritten
}

/// Replaces every web address in plain text by what `redirect` makes of it.
pub fn rewrite_text(text: &str, mut redirect: impl FnMut(&str) -> Option<String>) -> String {
    let mut rewritten = String::with_capacity(text.len() + 256);
    let mut rest = text;
    while let Some(at) = next_address(rest) {
        let (before, from) = rest.split_at(at);
        rewritten.push_str(before);
        let url = address_at(from);
        match web_address(url).and_then(|url| redirect(&url)) {
            Some(replaced) => rewritten.push_str(&replaced),
            None => rewritten.push_str(url),
        }
        rest = &from[url.len()..];
    }
    rewritten.push_str(rest);
    rewritten
}

/// Adds the picture at `url` at the end of the page.
pub fn add_picture(html: &mut String, url: &str) {
    let picture = format!(r#"<img width="1" height="1" alt="" src="{}">"#, attribute(url));
    let end = html.len() - html.trim_end().len();
    let page = html.len() - end;
    let closing = |tag: &str, before: usize| {
        let start = before.checked_sub(tag.len())?;
        html.is_char_boundary(start).then_some(())?;
        html[start..before].eq_ignore_ascii_case(tag).then_some(start)
    };
    let space_before = |at: usize| html[..at].trim_end().len();
    let html_end = closing("</html>", page).unwrap_or(page);
    let place = closing("</body>", space_before(html_end)).unwrap_or(html_end);
    html.insert_str(place, &picture);
}

/// The links of a page in the order of their places.
fn links(html: &str) -> Vec<Link> {
    #[derive(PartialEq)]
    enum Attribute {
        Href,
        Disable,
        Other,
    }
    let (mut is_link, mut disabled, mut href_seen) = (false, false, false);
    let mut attribute = Attribute::Other;
    let mut href: Option<Link> = None;
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, span: Span<usize>| -> Option<Link> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                is_link = name == b"a" || name == b"area";
                (disabled, href_seen, href, attribute) = (false, false, None, Attribute::Other);
            }
            CallbackEvent::AttributeName { name } => {
                attribute = match name {
                    b"href" if !href_seen => Attribute::Href,
                    b"disable-tracking" => Attribute::Disable,
                    _ => Attribute::Other,
                };
                href_seen |= name == b"href";
            }
            CallbackEvent::AttributeValue { value } => match attribute {
                Attribute::Href => {
                    href = std::str::from_utf8(value).ok().map(|url| Link { place: span.start..span.end, url: url.to_owned() });
                }
                Attribute::Disable => disabled |= value.eq_ignore_ascii_case(b"true"),
                Attribute::Other => {}
            },
            CallbackEvent::CloseStartTag { .. } if is_link && !disabled => {
                is_link = false;
                return href.take();
            }
            CallbackEvent::EndTag { .. } => is_link = false,
            _ => {}
        }
        None
    });
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(html, emitter).map(|link| link.unwrap_or_else(|never| match never {})).collect()
}

/// Whether the place of a link holds its value and nothing else.
fn is_exact(html: &str, link: &Link) -> bool {
    let (Some(before), Some(raw), Some(after)) = (html.get(..link.place.start), html.get(link.place.clone()), html.get(link.place.end..))
    else {
        return false;
    };
    let bounded = match before.as_bytes().last() {
        Some(quote @ (b'"' | b'\'')) => after.as_bytes().first() == Some(quote) && !raw.as_bytes().contains(quote),
        Some(byte) => {
            (*byte == b'=' || byte.is_ascii_whitespace())
                && after.bytes().next().is_some_and(|byte| byte == b'>' || byte.is_ascii_whitespace())
                && !raw.bytes().any(|byte| byte == b'>' || byte.is_ascii_whitespace())
        }
        None => false,
    };
    bounded && (raw == link.url || raw.contains(['&', '\r', '\0']))
}

/// A link to the web as a browser reads it: without space around it and without line breaks in it.
fn web_address(written: &str) -> Option<Cow<'_, str>> {
    let url = written.trim_matches(|c: char| c.is_ascii_whitespace() || c.is_ascii_control());
    let url = match url.contains(['\t', '\n', '\r']) {
        true => Cow::Owned(url.replace(['\t', '\n', '\r'], "")),
        false => Cow::Borrowed(url),
    };
    let scheme = |name: &str| url.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) && url.len() > name.len();
    ((scheme("http://") || scheme("https://")) && url.len() <= MAX_URL && !url.chars().any(char::is_control)).then_some(url)
}

/// Where the next web address of a text begins.
fn next_address(text: &str) -> Option<usize> {
    text.match_indices("://").find_map(|(at, _)| {
        let start = ["https", "http"].iter().find_map(|scheme| {
            let start = at.checked_sub(scheme.len())?;
            text.get(start..at)?.eq_ignore_ascii_case(scheme).then_some(start)
        })?;
        let alone = text[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        alone.then_some(start)
    })
}

/// The address that a text begins with: up to a space, a bracket or a quote, and without the punctuation of the sentence around it.
fn address_at(text: &str) -> &str {
    let end = text.find(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"')).unwrap_or(text.len());
    let mut url = &text[..end];
    loop {
        let Some(last) = url.chars().next_back() else { return url };
        let closes = last == ')' && !url.contains('(') || last == ']' && !url.contains('[');
        if !closes && !matches!(last, '.' | ',' | ';' | ':' | '!' | '?' | '\'') {
            return url;
        }
        url = &url[..url.len() - last.len_utf8()];
    }
}

/// A text as the value of an attribute, quoted or not.
fn attribute(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '"', '\'', '<', '>', ' ']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            ' ' => escaped.push_str("%20"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marked(html: &str) -> String {
        rewrite_html(html, |url| Some(format!("[{url}]")))
    }

    #[test]
    fn links_to_the_web_are_led_through() {
        for (html, expected) in [
            (r#"<a href="https://x.example/?a=1&amp;b=2">x</a>"#, r#"<a href="[https://x.example/?a=1&amp;b=2]">x</a>"#),
            ("<A class=b HREF='HTTP://X'>x</A>", "<A class=b HREF='[HTTP://X]'>x</A>"),
            ("<a href=http://x>x</a>", "<a href=[http://x]>x</a>"),
            ("<a href = \"\r\n http://x/\r\ny \" >x</a>", "<a href = \"[http://x/y]\" >x</a>"),
            ("é<p>\r\n\r\n<a\r\nhref=\"http://é/\">", "é<p>\r\n\r\n<a\r\nhref=\"[http://é/]\">"),
            ("<area href=http://x>", "<area href=[http://x]>"),
            ("<a href=http://x href=http://y>", "<a href=[http://x] href=http://y>"),
            ("<a title='href=\"http://t\"' href=\"http://x\">", "<a title='href=\"http://t\"' href=\"[http://x]\">"),
        ] {
            assert_eq!(marked(html), expected);
        }
    }

    // MAILGUN-124
    #[test]
    fn everything_else_stays() {
        for html in [
            r#"<a href="https://x.example" disable-tracking=true>x</a>"#,
            r#"<a disable-tracking="TRUE" href="https://x.example">x</a>"#,
            r#"<a href="mailto:a@b.example">x</a> <a href="tel:1"> <a href="ftp://x"> <a href="javascript:alert(1)">"#,
            r##"<a href="#top">x</a> <a href="/path"> <a href="//x.example"> <a href=""> <a href> <a name=x>"##,
            r#"<link href="https://x.example/a.css"> <img src="https://x.example/a.png"> <base href="https://x.example">"#,
            r#"<!-- <a href="https://x.example"> --> <script>"<a href='https://x.example'>"</script> <style>a[href="https://x"]{}</style>"#,
            r#"<title><a href="https://x.example"></title> <textarea><a href="https://x.example"></textarea>"#,
            r#"</a href="https://x.example"> <a href="https://never.closed"#,
            "https://x.example in the text",
        ] {
            assert_eq!(marked(html), html);
        }
        let long = format!("<a href=\"https://x.example/{}\">", "a".repeat(MAX_URL));
        assert_eq!(marked(&long), long);
        assert_eq!(rewrite_html("<a href=http://x>", |_| None), "<a href=http://x>");
    }

    #[test]
    fn a_replacement_cannot_leave_its_attribute() {
        let evil = rewrite_html("<a href=http://x>", |_| Some("http://y\"'> <b".to_owned()));
        assert_eq!(evil, "<a href=http://y&quot;&#39;&gt;%20&lt;b>");
    }

    #[test]
    fn addresses_in_text_end_where_people_end_them() {
        let marked = |text: &str| rewrite_text(text, |url| Some(format!("[{url}]")));
        assert_eq!(marked("See https://x.example/a?b=c, or (http://y/z)."), "See [https://x.example/a?b=c], or ([http://y/z]).");
        assert_eq!(marked("<http://x> \"HTTPS://y\" http://w/(a)\nhttp://z"), "<[http://x]> \"[HTTPS://y]\" [http://w/(a)]\n[http://z]");
        for plain in ["xhttp://y", "http://", "http:// x", "a://b", "://", "ftp://x", "mailto:a@b"] {
            assert_eq!(marked(plain), plain);
        }
    }

    #[test]
    fn the_picture_comes_last() {
        let with = |html: &str| {
            let mut html = html.to_owned();
            add_picture(&mut html, "u&v");
            html
        };
        let picture = r#"<img width="1" height="1" alt="" src="u&amp;v">"#;
        assert_eq!(with("<p>é"), format!("<p>é{picture}"));
        assert_eq!(with("<p></BODY> \n</html>\n"), format!("<p>{picture}</BODY> \n</html>\n"));
        assert_eq!(with("<p></body>"), format!("<p>{picture}</body>"));
        assert_eq!(with(""), picture);
    }

    /// Pieces that make confusing pages.
    fn page() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "<a ",
            "<area ",
            "href=",
            "href",
            "=",
            "\"",
            "'",
            "http://x.example/?a&amp;b",
            "https://é",
            " ",
            "\r\n",
            "\n",
            "\r",
            ">",
            "</a>",
            "<!--",
            "-->",
            "<script>",
            "</script>",
            "<style>",
            "</style>",
            "disable-tracking=true",
            "&lt;",
            "&",
            "é",
            "\0",
            "<",
            "/",
            "text",
            "<title>",
            "</title>",
            "<textarea>",
            "<![CDATA[",
            "]]>",
            "<?",
            "<p class='a'>",
        ]);
        prop::collection::vec(pieces, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Each replaced value is one of the page's links and everything between is untouched.
        #[test]
        fn nothing_but_href_values_changes(html in page()) {
            let mut urls = Vec::new();
            let rewritten = rewrite_html(&html, |url| { urls.push(url.to_owned()); Some("\u{1}".to_owned()) });
            let kept: Vec<&str> = rewritten.split('\u{1}').collect();
            prop_assert_eq!(kept.len(), urls.len() + 1);
            let mut rest = html.as_str();
            for (place, piece) in kept.iter().enumerate() {
                if place == 0 {
                    rest = rest.strip_prefix(piece).expect("the start is untouched");
                    continue;
                }
                let at = if place + 1 == kept.len() { rest.len().checked_sub(piece.len()).filter(|at| rest[*at..] == **piece) } else { rest.find(piece) };
                let at = at.expect("what stands between is untouched");
                prop_assert!(rest[..at].to_ascii_lowercase().contains("http"), "{:?} is no link", &rest[..at]);
                rest = &rest[at + piece.len()..];
            }
            prop_assert_eq!(rewrite_html(&html, |_| None), html);
        }

        #[test]
        fn rewritten_links_read_as_meant(html in page()) {
            let once = rewrite_html(&html, |_| Some("https://t.example/t/abc".to_owned()));
            let mut count = 0;
            rewrite_html(&html, |_| { count += 1; None });
            let mut found = 0;
            rewrite_html(&once, |url| { found += usize::from(url == "https://t.example/t/abc"); None });
            prop_assert_eq!(found, count);
        }

        #[test]
        fn text_without_redirects_stays(text in "(http://|https|://|a|\\.|\\)|é| |\n){0,20}") {
            prop_assert_eq!(rewrite_text(&text, |_| None), text);
        }
    }
}
