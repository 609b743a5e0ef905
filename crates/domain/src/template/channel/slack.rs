//! Slack mrkdwn. `& < >` are escaped everywhere, which is all that mrkdwn lets be escaped: no data can mention or link.

use super::plain::aligned;
use super::{Part, joined, visible};
use crate::template::markup::Inline;

/// Text in mrkdwn; tables as code blocks.
pub(super) fn write(parts: &[Part]) -> String {
    joined(parts.iter().map(|part| match part {
        Part::Text { lines, .. } => {
            let mut out = String::new();
            for line in lines {
                out.push_str(if line.bullet { "• " } else { "" });
                inline(&line.content, &mut out);
                out.push('\n');
            }
            out
        }
        Part::Table(grid) => {
            let table = aligned(grid);
            if table.is_empty() { table } else { format!("```\n{}```", code(&table)) }
        }
    }))
}

fn escape(text: &str, out: &mut String) {
    for c in visible(text) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

/// Text inside code, which a back quote would end.
fn code(text: &str) -> String {
    let mut out = String::new();
    escape(&text.replace('`', "'"), &mut out);
    out
}

fn inline(parts: &[Inline], out: &mut String) {
    for part in parts {
        match part {
            Inline::Text(text) | Inline::Data(text) => escape(text, out),
            Inline::Code(text) => out.push_str(&format!("`{}`", code(text).replace('\n', " "))),
            Inline::Bold(inner) => wrapped(inner, '*', out),
            Inline::Italic(inner) => wrapped(inner, '_', out),
            Inline::Link { url, label } => {
                out.push('<');
                escape(url, out);
                out.push('|');
                let mut text = String::new();
                inline(label, &mut text);
                out.push_str(&text.replace('\n', " "));
                out.push('>');
            }
        }
    }
}

fn wrapped(inner: &[Inline], sign: char, out: &mut String) {
    out.push(sign);
    inline(inner, out);
    out.push(sign);
}
