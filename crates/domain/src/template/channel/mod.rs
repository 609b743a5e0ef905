//! One rendered message, written for each kind of channel.

mod discord;
mod html;
mod plain;
mod slack;

pub use discord::split_for_discord;
pub use html::message_page;

use super::markup::Line;
use super::table::Grid;
use super::{Form, RenderInput, Rendered};

/// A block of a rendered message.
#[derive(Debug)]
pub(super) enum Part {
    Text { lines: Vec<Line>, raw: String },
    Table(Grid),
}

/// Longest title in characters.
const MAX_TITLE: usize = 200;

/// Writes `parts` in the given form.
pub(super) fn write(parts: &[Part], input: &RenderInput<'_>, form: Form) -> Rendered {
    let text = match form {
        Form::Html | Form::Plain => plain::write(parts),
        Form::SlackMrkdwn => slack::write(parts),
        Form::DiscordMarkdown => discord::write(parts),
        Form::Short => plain::short(parts, input),
        Form::Raw => plain::raw(parts),
    };
    Rendered { title: title(parts, input), text, html: (form == Form::Html).then(|| html::fragment(parts)) }
}

/// The first line with text, else the event's name.
fn title(parts: &[Part], input: &RenderInput<'_>) -> String {
    let lines = parts.iter().flat_map(|part| match part {
        Part::Text { lines, .. } => lines.as_slice(),
        Part::Table(_) => &[],
    });
    let first = lines
        .filter(|line| !line.is_blank())
        .map(|line| plain::without_links(&line.content))
        .flat_map(|text| text.lines().map(one_line).collect::<Vec<_>>())
        .find(|text| !text.is_empty());
    cut(&first.unwrap_or_else(|| one_line(input.event_name)), MAX_TITLE)
}

/// All white space and control characters collapsed to single spaces.
fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most `most` characters; what is cut ends in `…`.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(most.saturating_sub(1)).collect();
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// Data without control characters that no channel shows.
fn visible(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
}

/// Blocks as text, one blank line between them, each without blank lines at its ends.
fn joined(blocks: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    for block in blocks {
        let block = block.trim_matches('\n').trim_end();
        if block.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        out.push_str(block);
    }
    out
}
