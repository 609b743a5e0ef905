//! Code, JSON and secrets, with copying.
//!
//! Invariant: the same text is the same markup each time. A live part is sent anew when its markup changed, and what was sent anew loses the
//! place where somebody was reading.

use maud::{Markup, html};

use super::icon;

/// Largest document that is coloured; larger ones are shown as they are.
const MAX_COLOURED: usize = 128 << 10;
/// How large a document may become by colours and indentation: this much, and so many times its own size. Strangers write documents of nothing
/// but brackets.
const MOST_MADE: usize = 16 << 10;
const MOST_TIMES: usize = 8;
/// Deepest indentation.
const MAX_DEPTH: usize = 64;

/// Copies the `data-source` of the box that it is in.
fn copy_button(what: &str) -> Markup {
    html! { button.button.slim type="button" data-copy { (icon("copy")) "Copy" span.unseen { " " (what) } } }
}

/// A block of text in a fixed font. `what` names it for people who cannot see it, such as "request".
pub fn code(what: &str, text: &str) -> Markup {
    html! {
        div.code-box {
            div.tools { (copy_button(what)) }
            pre.wrap data-source tabindex="0" aria-label=(what) { (text) }
        }
    }
}

/// A command line that does the same from a shell.
pub fn curl(text: &str) -> Markup {
    code("curl command", text)
}

/// A secret that is shown this once, or again on purpose.
pub fn secret(what: &str, text: &str) -> Markup {
    html! { div.secret { code data-source { (text) } (copy_button(what)) } }
}

/// JSON text: indented and coloured for reading. Copying gives the exact bytes that are stored. Text that is no JSON is shown as it is.
pub fn json(what: &str, text: &str) -> Markup {
    let coloured = coloured(text);
    // The exact text travels twice only if it is not what is shown.
    let raw = coloured.as_ref().map(|_| text);
    html! {
        div.code-box {
            div.tools { (copy_button(what)) }
            pre.json.wrap data-source tabindex="0" aria-label=(what) data-raw=[raw] {
                @if let Some(coloured) = coloured { (coloured) } @else { (text) }
            }
        }
    }
}

/// Text that somebody sent: as [`json`] if it may be that, and of a long one the first `most` bytes. `whole` is where all of it is.
pub fn payload(what: &str, text: &str, most: usize, whole: &str) -> Markup {
    if text.len() <= most {
        return json(what, text);
    }
    let shown = &text[..text.floor_char_boundary(most)];
    html! {
        div.code-box {
            pre.json.wrap tabindex="0" aria-label=(format!("Beginning of {what}")) { (shown) "…" }
        }
        p.small { "The first " (super::bytes(shown.len() as u64)) " of " (super::bytes(text.len() as u64)) " are shown. " a href=(whole) { "All of it" } }
    }
}

/// The tokens of JSON text, laid out anew; `None` if it is too large for that, or would become so. It reads tokens, not values: number
/// spellings, duplicate keys and odd escapes are shown as they are, and what is no JSON comes out as it went in.
fn coloured(text: &str) -> Option<Markup> {
    if text.len() > MAX_COLOURED {
        return None;
    }
    let mut out: Vec<(&str, &str)> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let class = match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                "s"
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                at += 1;
                "p"
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            first => {
                while at < bytes.len() && !b"{}[],: \t\r\n\"".contains(&bytes[at]) {
                    at += 1;
                }
                if first == b'-' || first.is_ascii_digit() { "n" } else { "b" }
            }
        };
        out.push((class, text.get(start..at)?));
    }
    (size(&out) <= MOST_MADE + MOST_TIMES * text.len()).then(|| lay_out(&out))
}

/// How large [`lay_out`] makes them, or a little less than this.
fn size(tokens: &[(&str, &str)]) -> usize {
    let escaped = |token: &str| token.bytes().map(|byte| if matches!(byte, b'"' | b'<' | b'>' | b'&') { 6 } else { 1 }).sum::<usize>();
    let mut depth = 0usize;
    let of = |(_, token): &(&str, &str)| {
        match *token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth = depth.saturating_sub(1),
            "," => {}
            ":" => return 2,
            other => return "<span class=\"k\"></span>".len() + escaped(other),
        }
        2 + 2 * depth.min(MAX_DEPTH)
    };
    tokens.iter().map(of).sum()
}

fn lay_out(tokens: &[(&str, &str)]) -> Markup {
    let line = |depth: usize| format!("\n{}", "  ".repeat(depth.min(MAX_DEPTH)));
    let mut depth = 0usize;
    html! {
        @for (at, (class, token)) in tokens.iter().enumerate() {
            @let next = tokens.get(at + 1).map_or("", |(_, token)| token);
            @let before = at.checked_sub(1).and_then(|at| tokens.get(at)).map_or("", |(_, token)| token);
            @match *token {
                "{" | "[" => {
                    ({ depth += 1; *token })
                    @if !matches!(next, "}" | "]") { (line(depth)) }
                }
                "}" | "]" => {
                    ({ depth = depth.saturating_sub(1); "" })
                    @if !matches!(before, "{" | "[") { (line(depth)) }
                    (token)
                }
                "," => { "," (line(depth)) }
                ":" => { ": " }
                _ => {
                    @let class = if *class == "s" && next == ":" { "k" } else { *class };
                    span class=(class) { (token) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_without_being_changed_and_cannot_break_out() {
        let text = r#"{"a":[1.0,{}],"b":"</pre><script>alert(1)</script>","a":null}"#;
        let shown = coloured(text).expect("small").into_string();
        assert!(shown.contains("<span class=\"n\">1.0</span>,\n    {}"), "{shown}");
        assert!(!shown.contains("<script"), "{shown}");
        assert!(shown.contains("&lt;script&gt;"), "{shown}");
        assert_eq!(shown.matches("<span class=\"k\">&quot;a&quot;</span>").count(), 2, "{shown}");
        let whole = json("payload", text).into_string();
        assert!(!whole.contains("<script"), "{whole}");
    }

    #[test]
    fn what_is_no_json_is_shown_all_the_same() {
        for text in ["", "\"open", "\\", "{\"a\":\"\\", "plain text é", "]]]}}}", "\"é\\é"] {
            assert!(json("payload", text).into_string().contains("<pre"), "{text}");
        }
    }

    #[test]
    fn no_document_becomes_many_times_larger_by_being_shown() {
        let deep = format!("{}{}", "[".repeat(64), "0,".repeat(60 << 10));
        let braces = "[{}]".repeat(30 << 10);
        let quotes = format!("[{}]", "\"\",".repeat(30 << 10));
        for text in [deep, braces, quotes] {
            let shown = json("payload", &text).into_string();
            // What is copied is in it too, with escapes.
            assert!(shown.len() < 16 * text.len(), "{} bytes of {}", shown.len(), text.len());
        }
        // What people send is coloured.
        let common = format!("[{}]", r#"{"id":1234,"name":"Ann","tags":["a","b"],"address":{"city":"Rome","zip":null}},"#.repeat(1 << 10));
        assert!(json("payload", &common).into_string().contains("<span class=\"k\">"), "a list of orders is plain");
        assert!(json("payload", "[[[[0,0,0]]]]").into_string().contains("<span class=\"n\">"), "a small document is plain");
    }

    #[test]
    fn only_what_is_cut_says_so() {
        let long = "a".repeat(300 << 10);
        let whole = payload("payload", &long, 512 << 10, "/whole").into_string();
        assert!(!whole.contains('…') && !whole.contains("data-raw") && whole.matches(&long).count() == 1, "it is there once, and whole");
        let cut = payload("payload", &"é".repeat(100), 99, "/whole").into_string();
        assert!(cut.contains(&format!(">{}…<", "é".repeat(49))) && cut.contains("98 B") && cut.contains("href=\"/whole\""), "{cut}");
        assert!(!cut.contains("data-copy"), "a beginning is not to be copied for the whole: {cut}");
        assert_eq!(payload("payload", "{}", 2, "/whole").into_string(), json("payload", "{}").into_string());
    }
}
