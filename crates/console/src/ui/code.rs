//! Code, JSON and secrets, with copying.
//!
//! Invariant: the same text is the same markup each time. A live part is sent anew when its markup changed, and what was sent anew loses the
//! place where somebody was reading.

use maud::{Markup, html};

use super::icon;

/// Largest document that is coloured; larger ones are shown as they are.
const MAX_COLOURED: usize = 128 << 10;
/// Largest document that is shown at all; the rest is a download.
const MAX_SHOWN: usize = 512 << 10;

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
    let shown = match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => &text[..at],
        None => text,
    };
    html! {
        div.code-box {
            div.tools { (copy_button(what)) }
            // The exact text travels once: as what is copied if it differs from what is shown.
            pre.json.wrap data-source tabindex="0" aria-label=(what) data-raw=(text) {
                @if shown.len() < MAX_COLOURED { (coloured(shown)) } @else { (shown) "…" }
            }
        }
    }
}

/// The tokens of JSON text, laid out anew. It reads tokens, not values: number spellings, duplicate keys and odd escapes are shown as they
/// are, and what is no JSON comes out as it went in.
fn coloured(text: &str) -> Markup {
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
        let Some(token) = text.get(start..at) else { return html! { (text) } };
        out.push((class, token));
    }
    lay_out(&out)
}

fn lay_out(tokens: &[(&str, &str)]) -> Markup {
    let line = |depth: usize| format!("\n{}", "  ".repeat(depth.min(64)));
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
        let shown = coloured(text).into_string();
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
            coloured(text).into_string();
        }
    }
}
