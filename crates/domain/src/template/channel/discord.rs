//! Discord Markdown. Every sign of data that could begin markup or a mention is escaped.

use super::plain::aligned;
use super::{Part, joined, visible};
use crate::template::markup::Inline;

/// Longest post in UTF-16 units, the unit that Discord counts in.
const MAX_POST: usize = 2_000;
const FENCE: &str = "```";

/// Text in Discord Markdown; tables as code blocks.
pub(super) fn write(parts: &[Part]) -> String {
    joined(parts.iter().map(|part| match part {
        Part::Text { lines, .. } => {
            let mut out = String::new();
            for line in lines {
                out.push_str(if line.bullet { "- " } else { "" });
                inline(&line.content, &mut out);
                out.push('\n');
            }
            out
        }
        Part::Table(grid) => {
            let table = aligned(grid);
            if table.is_empty() { table } else { format!("{FENCE}\n{}{FENCE}", table.replace('`', "'")) }
        }
    }))
}

fn inline(parts: &[Inline], out: &mut String) {
    for part in parts {
        match part {
            Inline::Text(text) => out.extend(visible(text)),
            Inline::Data(text) => escape(text, out),
            Inline::Code(text) => {
                let text: String = visible(&text.replace('`', "'").replace('\n', " ")).collect();
                out.push_str(&format!("`{text}`"));
            }
            Inline::Bold(inner) => wrapped(inner, "**", out),
            Inline::Italic(inner) => wrapped(inner, "*", out),
            Inline::Link { url, label } => {
                out.push('[');
                inline(label, out);
                // A parenthesis would end the link early.
                out.push_str(&format!("]({})", url.replace('(', "%28").replace(')', "%29")));
            }
        }
    }
}

fn wrapped(inner: &[Inline], sign: &str, out: &mut String) {
    out.push_str(sign);
    inline(inner, out);
    out.push_str(sign);
}

/// Escapes data. A URL stands as it is, since a back slash would become part of it; its signs are not read as markup.
fn escape(data: &str, out: &mut String) {
    let text: String = visible(data).collect();
    let mut rest = text.as_str();
    let mut line_start = true;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("https://") || rest.starts_with("http://") {
            let end = rest.find(|c: char| c.is_whitespace() || "<>`|*\"'()[]".contains(c)).unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            line_start = false;
            continue;
        }
        let sign = matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']');
        if sign || (line_start && matches!(c, '-' | '+')) {
            out.push('\\');
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
        if c == '@' {
            // A blank of no width keeps "@everyone" and "<@1>" from being mentions.
            out.push('\u{200b}');
        }
        line_start = c == '\n' || (line_start && c.is_whitespace());
    }
}

/// Splits a text into posts that Discord takes (at most 2,000 UTF-16 units each), at line ends where it can. A code block that
/// is split is closed at the end of one post and opened again in the next. No post is empty.
pub fn split_for_discord(text: &str) -> Vec<String> {
    let units = |text: &str| text.encode_utf16().count();
    let mut posts = Vec::new();
    let mut post = String::new();
    let mut fenced = false;
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while !rest.is_empty() {
            // Room to close a block again: a newline and the fence.
            let room = MAX_POST - FENCE.len() - 1 - units(&post);
            if units(rest) <= room {
                post.push_str(rest);
                break;
            }
            let opened = if fenced { FENCE.len() + 1 } else { 0 };
            let head = if units(&post) > opened { "" } else { head(rest, room) };
            post.push_str(head);
            rest = &rest[head.len()..];
            finish(&mut posts, &mut post, fenced);
        }
        if line.trim_end().ends_with(FENCE) || line.starts_with(FENCE) {
            fenced = !fenced;
        }
    }
    if !post.trim().is_empty() {
        posts.push(post.trim_end_matches('\n').to_owned());
    }
    posts
}

fn finish(posts: &mut Vec<String>, post: &mut String, fenced: bool) {
    let mut done = std::mem::take(post);
    done.truncate(done.trim_end_matches('\n').len());
    if fenced {
        done.push('\n');
        done.push_str(FENCE);
        post.push_str(FENCE);
        post.push('\n');
    }
    if !done.trim().is_empty() {
        posts.push(done);
    }
}

/// The first part of a long line, cut at a blank if there is one, never between a back slash and what it escapes.
fn head(line: &str, room: usize) -> &str {
    let mut used = 0;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        used += c.len_utf16();
        if used > room {
            end = at;
            break;
        }
    }
    let blank = line[..end].rfind(' ').filter(|at| *at > 0).map(|at| at + 1);
    let mut end = blank.unwrap_or(end);
    let slashes = line[..end].bytes().rev().take_while(|b| *b == b'\\').count();
    if slashes % 2 == 1 && end > 1 {
        end -= 1;
    }
    &line[..end]
}
