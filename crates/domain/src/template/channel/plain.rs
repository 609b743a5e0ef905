//! Plain text, the aligned table that the chat channels share, the short form and the raw form.

use super::{Part, cut, joined, one_line, visible};
use crate::template::RenderInput;
use crate::template::markup::{self, Inline};
use crate::template::table::Grid;

/// Widest column of an aligned table in characters.
const MAX_WIDTH: usize = 40;
/// Longest summary of the short form in characters, the link not counted.
const MAX_SUMMARY: usize = 140;

/// Text without markup.
pub(super) fn write(parts: &[Part]) -> String {
    joined(parts.iter().map(|part| match part {
        Part::Text { lines, .. } => {
            let mut out = String::new();
            for line in lines {
                out.push_str(if line.bullet { "- " } else { "" });
                out.extend(visible(&markup::plain(&line.content)));
                out.push('\n');
            }
            out
        }
        Part::Table(grid) => aligned(grid),
    }))
}

/// Parts as text, of a link only its label.
pub(super) fn without_links(parts: &[Inline]) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Inline::Text(text) | Inline::Data(text) | Inline::Code(text) => out.push_str(text),
            Inline::Bold(inner) | Inline::Italic(inner) | Inline::Link { label: inner, .. } => {
                out.push_str(&without_links(inner));
            }
        }
    }
    out
}

/// A summary on one line, then the link to the full message.
pub(super) fn short(parts: &[Part], input: &RenderInput<'_>) -> String {
    let mut words: Vec<String> = Vec::new();
    for part in parts {
        match part {
            Part::Text { lines, .. } => words.extend(lines.iter().map(|line| without_links(&line.content))),
            Part::Table(grid) => words.extend(grid.rows.iter().map(|row| row.join(" ") + ";")),
        }
    }
    let mut summary = one_line(&words.join(" "));
    if summary.is_empty() {
        summary = one_line(input.event_name);
    }
    let mut out = cut(&summary, MAX_SUMMARY);
    if let Some(url) = input.full_message_url {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(url);
    }
    out
}

/// Text blocks exactly as rendered; a line break between blocks.
pub(super) fn raw(parts: &[Part]) -> String {
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 && !out.ends_with('\n') {
            out.push('\n');
        }
        match part {
            Part::Text { raw, .. } => out.push_str(raw),
            Part::Table(grid) => out.push_str(&aligned(grid)),
        }
    }
    out
}

/// Columns padded with blanks, a rule under the headings; nothing when there are no rows.
pub(super) fn aligned(grid: &Grid) -> String {
    if grid.rows.is_empty() {
        return String::new();
    }
    let shown = |cell: &String| cut(&one_line(cell), MAX_WIDTH);
    let headings: Vec<String> = grid.headings.iter().map(shown).collect();
    let rows: Vec<Vec<String>> = grid.rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.chain([&headings[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    let mut line = |cells: &[String]| {
        let start = out.len();
        for (cell, width) in cells.iter().zip(&widths) {
            if out.len() > start {
                out.push_str("  ");
            }
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        out.truncate(start + out[start..].trim_end().len());
        out.push('\n');
    };
    line(&headings);
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    for row in &rows {
        line(row);
    }
    if grid.more > 0 {
        out.push_str(&format!("… and {} more\n", grid.more));
    }
    out
}
