//! The HTML of a message, shown inside a page.
//!
//! It is read as the few tags that messages are made of and written anew: no attribute but the address of a link is kept, and what is no such
//! tag is text. So nothing in it can do anything, whatever it holds.

use maud::{Markup, html};

/// How deep tags may stand in each other; deeper ones are text.
const MAX_DEPTH: usize = 32;

enum Node {
    Text(String),
    Element(Tag, Vec<Node>),
}

enum Tag {
    Plain(&'static str),
    Link(String),
}

const TAGS: [&str; 14] = ["div", "p", "ul", "li", "strong", "em", "s", "del", "code", "table", "thead", "tbody", "tr", "th"];

/// A message's HTML as part of a page.
pub fn message(html_text: &str) -> Markup {
    let mut rest = html_text;
    let nodes = read(&mut rest, None, 0);
    html! { div.message { (write(&nodes)) } }
}

fn tag_of(name: &str, attributes: &str) -> Option<Tag> {
    if name == "a" {
        let address = attributes.split("href=\"").nth(1)?.split('"').next()?;
        return Some(Tag::Link(unescape(address)));
    }
    TAGS.iter().chain(&["td"]).find(|known| **known == name).map(|known| Tag::Plain(known))
}

/// Reads until the end tag of `within`, or to the end.
fn read<'t>(rest: &mut &'t str, within: Option<&'t str>, depth: usize) -> Vec<Node> {
    let mut nodes = Vec::new();
    while !rest.is_empty() {
        let text = *rest;
        let Some(at) = text.find('<') else {
            nodes.push(Node::Text(unescape(rest)));
            *rest = "";
            break;
        };
        if at > 0 {
            nodes.push(Node::Text(unescape(&text[..at])));
            *rest = &text[at..];
        }
        let text = *rest;
        let Some(end) = text.find('>') else {
            nodes.push(Node::Text(unescape(rest)));
            *rest = "";
            break;
        };
        let inner = &text[1..end];
        let (name, attributes) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
        if let Some(closed) = name.strip_prefix('/') {
            *rest = &text[end + 1..];
            if within == Some(closed) {
                break;
            }
            continue;
        }
        let tag = tag_of(name, attributes).filter(|_| depth < MAX_DEPTH);
        match tag {
            _ if name == "br" => {
                *rest = &text[end + 1..];
                nodes.push(Node::Element(Tag::Plain("br"), Vec::new()));
            }
            Some(tag) => {
                *rest = &text[end + 1..];
                let children = read(rest, Some(name), depth + 1);
                nodes.push(Node::Element(tag, children));
            }
            None => {
                nodes.push(Node::Text("<".to_owned()));
                *rest = &text[1..];
            }
        }
    }
    nodes
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

fn write(nodes: &[Node]) -> Markup {
    html! {
        @for node in nodes {
            @match node {
                Node::Text(text) => (text),
                Node::Element(Tag::Link(address), inner) => {
                    @if address.starts_with("https://") || address.starts_with("http://") || address.starts_with("mailto:") {
                        a href=(address) rel="noopener noreferrer" { (write(inner)) }
                    } @else { (write(inner)) }
                }
                Node::Element(Tag::Plain(name), inner) => (element(name, write(inner))),
            }
        }
    }
}

fn element(name: &str, inner: Markup) -> Markup {
    match name {
        "br" => html! { br; },
        "p" => html! { p { (inner) } },
        "ul" => html! { ul { (inner) } },
        "li" => html! { li { (inner) } },
        "strong" => html! { strong { (inner) } },
        "em" => html! { em { (inner) } },
        "s" | "del" => html! { s { (inner) } },
        "code" => html! { code { (inner) } },
        "table" => html! { table { (inner) } },
        "thead" => html! { thead { (inner) } },
        "tbody" => html! { tbody { (inner) } },
        "tr" => html! { tr { (inner) } },
        "th" => html! { th scope="col" { (inner) } },
        "td" => html! { td { (inner) } },
        _ => html! { div { (inner) } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_tags_stay_without_attributes_and_others_are_text() {
        let shown = message(
            "<div style=\"x\"><p onclick=\"a()\"><strong>Hi</strong> &lt;b&gt; &amp;amp;<br>\n<a style=\"y\" href=\"https://x.example/?a&amp;b\">x</a></p></div>",
        );
        let expected = "<div class=\"message\"><div><p><strong>Hi</strong> &lt;b&gt; &amp;amp;<br>\n<a href=\"https://x.example/?a&amp;b\" rel=\"noopener noreferrer\">x</a></p></div></div>";
        assert_eq!(shown.into_string(), expected);
    }

    // MSGGO-75: whatever a template writes is inert in the preview.
    #[test]
    fn nothing_runs() {
        for bad in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<svg/onload=alert(1)>",
            "<p <script>alert(1)</script>",
            "<iframe srcdoc=\"<script>alert(1)</script>\">",
            "<",
            "</p></div></div><style>",
            &"<div>".repeat(5000),
        ] {
            let shown = message(bad).into_string();
            for tag in ["<script", "<img", "<svg", "<iframe", "<style", "href=\"javascript"] {
                assert!(!shown.contains(tag), "{bad}: {shown}");
            }
        }
    }
}
