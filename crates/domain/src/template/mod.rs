//! Message templates: ordered blocks of text and tables, written once, rendered for every channel (MsgGO specification 6).
//!
//! Text blocks are light Markdown with Twig inside. The way of a message: Twig is translated to minijinja when the template is
//! saved ([`Template::compile`] refuses what cannot work); rendering runs it with data kept apart from the author's text
//! by reserved code points; the result is read as Markdown, of which data is never part; each channel writes that in its own
//! language and escapes what is not markup.
//!
//! Invariants: no input panics; time and memory of a rendering are bounded by [`Limits`] whatever the template and the
//! data are; nothing is read from outside; data can make neither markup nor tags, links or mentions in any form but
//! [`Form::Raw`].

mod channel;
mod compile;
mod filters;
mod json;
mod lex;
mod markup;
mod ops;
mod parse;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use jiff::Timestamp;
use minijinja::Environment;
use minijinja::value::Value;
use serde::{Deserialize, Serialize};

pub use channel::{message_page, split_for_discord};

use channel::Part;
use run::{MAIN, Parts, Run};
use value::{Fault, Meter, marks};

/// Most blocks of a template.
pub const MAX_BLOCKS: usize = 50;
/// Longest source of one text block, in bytes.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;
/// Longest source of all text blocks together, in bytes.
pub const MAX_TOTAL_SOURCE_BYTES: usize = 256 * 1024;

/// A block as stored and as in the API: `{"kind":"text","text":"…"}` or
/// `{"kind":"table","path":"data.items","columns":[{"heading":"Name","field":"name"}]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Block {
    /// Light Markdown with Twig inside.
    Text {
        /// The source.
        text: String,
    },
    /// One row per element of an array in the event's data.
    Table {
        /// Where the array is, e.g. `data.items` or `data['order-lines']`.
        path: String,
        /// What is shown of each element, left to right.
        columns: Vec<Column>,
    },
}

/// A column of a table block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Text above the column.
    pub heading: String,
    /// Field of an element, e.g. `name` or `product.name`.
    pub field: String,
}

/// Why a template is refused on save.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {}{}: {reason}", .block + 1, .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct TemplateError {
    /// Index of the block, from 0 (shown from 1).
    pub block: usize,
    /// Line in the block, from 1; `None` where a block has no lines.
    pub line: Option<usize>,
    /// What is wrong, for its author.
    pub reason: String,
}

/// Why a message could not be rendered: always the customer's to mend, by changing the template or what is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template did something impossible with this event's data.
    #[error("the template failed in block {}{}: {reason}", .block + 1, .line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Failed {
        /// Index of the block, from 0 (shown from 1).
        block: usize,
        /// Line in the block, from 1.
        line: Option<usize>,
        /// What happened.
        reason: String,
    },
    /// The message would be longer than [`Limits::max_output_bytes`].
    #[error("the template writes more than {limit} bytes; shorten the message or loop over fewer elements")]
    TooLong {
        /// The limit that was passed.
        limit: usize,
    },
    /// The template used up [`Limits::max_steps`] or [`Limits::max_work`].
    #[error("the template does too much work for one message; loop over fewer elements")]
    TooSlow,
}

impl RenderError {
    /// The stable code of this error: `template_failed`, `template_too_long` or `template_too_slow`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "template_failed",
            Self::TooLong { .. } => "template_too_long",
            Self::TooSlow => "template_too_slow",
        }
    }
}

/// Bounds of one rendering. The defaults keep it well under a fifth of a second and under a few tens of megabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of rendered text over all blocks, before a channel adds its own markup.
    pub max_output_bytes: usize,
    /// Most instructions of the template engine.
    pub max_steps: u64,
    /// Most bytes copied and elements visited by filters and operators.
    pub max_work: u64,
    /// Most rows of a table; what is beyond is counted under it.
    pub max_table_rows: usize,
}

impl Limits {
    /// The default bounds.
    pub const DEFAULT: Self = Self { max_output_bytes: 256 * 1024, max_steps: 150_000, max_work: 8 * 1024 * 1024, max_table_rows: 500 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a message is about.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// Display name of the event's definition: `event.name`.
    pub event_name: &'a str,
    /// When the event was received, in milliseconds since the Unix epoch: `event.receivedAt`. Also what `now` means.
    pub received_at: i64,
    /// The event document as JSON bytes: `data`.
    pub data: &'a [u8],
    /// Address of the page with the full message, for [`Form::Short`].
    pub full_message_url: Option<&'a str>,
}

/// What a message is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Styled HTML, with plain text beside it.
    Html,
    /// Slack mrkdwn.
    SlackMrkdwn,
    /// Discord Markdown; [`split_for_discord`] makes posts of it.
    DiscordMarkdown,
    /// Plain text.
    Plain,
    /// A summary of at most 140 characters on one line, then the link to the full message.
    Short,
    /// Text blocks exactly as rendered, nothing escaped and no markup read: for webhook bodies.
    Raw,
}

/// A message in one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The first line with text, else the event's name: one line of at most 200 characters, for e-mail subjects.
    pub title: String,
    /// The message; for [`Form::Html`] its plain text.
    pub text: String,
    /// For [`Form::Html`] a `<div>` with inline styles, ready for [`message_page`]; otherwise `None`.
    pub html: Option<String>,
}

/// A compiled template, to be shared by `Arc` between threads.
#[derive(Debug)]
pub struct Template {
    env: Environment<'static>,
    parts: Arc<Parts>,
    blocks: Vec<CompiledBlock>,
    /// For each line of the compiled source: block and line.
    lines: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum CompiledBlock {
    Text,
    Table(table::Table),
}

impl Template {
    /// Compiles a template, and refuses one that cannot work: syntax errors, unknown filters, tags that read other templates.
    /// No blocks at all is a valid template of nothing. Variables set in one text block are known in those after it.
    ///
    /// # Errors
    /// The first error, with its block and line.
    pub fn compile(blocks: &[Block]) -> Result<Self, TemplateError> {
        let refuse = |block: usize, reason: String| TemplateError { block, line: None, reason };
        if blocks.len() > MAX_BLOCKS {
            return Err(refuse(MAX_BLOCKS, format!("a template has at most {MAX_BLOCKS} blocks")));
        }
        let mut compiler = compile::Compiler::new();
        let mut compiled = Vec::with_capacity(blocks.len());
        let mut total = 0;
        for (at, block) in blocks.iter().enumerate() {
            compiled.push(match block {
                Block::Text { text } => {
                    total += text.len();
                    if text.len() > MAX_SOURCE_BYTES || total > MAX_TOTAL_SOURCE_BYTES {
                        return Err(refuse(
                            at,
                            format!("a text has at most {MAX_SOURCE_BYTES} bytes, and all texts together {MAX_TOTAL_SOURCE_BYTES}"),
                        ));
                    }
                    compiler.block(at, text).map_err(|error| TemplateError { block: at, line: Some(error.line), reason: error.reason })?;
                    CompiledBlock::Text
                }
                Block::Table { path, columns } => {
                    let columns = columns.iter().map(|column| (column.heading.as_str(), column.field.as_str()));
                    CompiledBlock::Table(table::Table::compile(path, columns).map_err(|reason| refuse(at, reason))?)
                }
            });
        }
        let result = compiler.finish();
        let patterns = result.patterns.iter().map(|pattern| filters::regex(pattern)).collect::<Result<_, _>>();
        let patterns = patterns.map_err(|reason| refuse(0, reason))?;
        let mut env = run::environment();
        env.set_fuel(Some(Limits::DEFAULT.max_steps));
        let located = |error: &minijinja::Error| {
            let (block, line) = error.line().and_then(|line| result.lines.get(line.checked_sub(1)?)).copied().unwrap_or((0, 1));
            TemplateError { block, line: Some(line), reason: error.detail().unwrap_or("the template is not understood").to_owned() }
        };
        for (number, arrow) in result.arrows.iter().enumerate() {
            env.add_template_owned(run::arrow_name(number), arrow.source.clone()).map_err(|error| located(&error))?;
        }
        env.add_template_owned(MAIN, result.source).map_err(|error| located(&error))?;
        let parts = Arc::new(Parts { arrows: result.arrows, patterns });
        Ok(Self { env, parts, blocks: compiled, lines: result.lines })
    }

    /// Renders a message.
    ///
    /// # Errors
    /// See [`RenderError`]. What was rendered until then is dropped.
    pub fn render(&self, input: &RenderInput<'_>, form: Form, limits: &Limits) -> Result<Rendered, RenderError> {
        let failed = |fault: Fault, block: usize, line: Option<usize>| match fault {
            Fault::Bad(reason) => RenderError::Failed { block, line, reason },
            Fault::TooLong => RenderError::TooLong { limit: limits.max_output_bytes },
            Fault::TooSlow => RenderError::TooSlow,
        };
        let run = self.context(input, form, limits).map_err(|fault| failed(fault, 0, None))?;
        let rendered = self.run_twig(&run, limits).map_err(|(fault, block, line)| failed(fault, block, line))?;
        let (rendered, mut left) = rendered;
        let mut texts = rendered.split(marks::BLOCK);
        let mut parts = Vec::with_capacity(self.blocks.len());
        for (at, block) in self.blocks.iter().enumerate() {
            parts.push(match block {
                CompiledBlock::Text => {
                    let text = texts.next().unwrap_or_default();
                    Part::Text { lines: markup::parse(text), raw: markup::unmarked(text) }
                }
                CompiledBlock::Table(table) => {
                    let grid = table.fill(&run.data, limits.max_table_rows, left, &run.meter);
                    let grid = grid.map_err(|fault| failed(fault, at, None))?;
                    left -= grid.rows.iter().flatten().map(|cell| cell.len() + 1).sum::<usize>();
                    Part::Table(grid)
                }
            });
        }
        Ok(channel::write(&parts, input, form))
    }

    fn context(&self, input: &RenderInput<'_>, form: Form, limits: &Limits) -> Result<Arc<Run>, Fault> {
        let name = Value::from(marks::strip(input.event_name).into_owned());
        let now = Timestamp::from_millisecond(input.received_at)
            .map_err(|_| Fault::bad("the time of receipt is outside of what can be written"))?;
        let received = now.strftime("%Y/%m/%d %H:%M:%S").to_string();
        let event = value::map(vec![("name".into(), name), ("receivedAt".into(), received.into())])?;
        Ok(Arc::new(Run {
            form,
            now,
            meter: Meter::new(limits.max_work),
            parts: self.parts.clone(),
            data: json::parse(input.data)?,
            event,
        }))
    }

    /// Runs the text blocks; the result has marks around data and between blocks. Also says how many bytes may still be written.
    fn run_twig(&self, run: &Arc<Run>, limits: &Limits) -> Result<(String, usize), (Fault, usize, Option<usize>)> {
        let limited;
        let env = if self.env.fuel() == Some(limits.max_steps) {
            &self.env
        } else {
            let mut own = self.env.clone();
            own.set_fuel(Some(limits.max_steps));
            limited = own;
            &limited
        };
        // The marks that end blocks are not output.
        let texts = self.blocks.iter().filter(|block| matches!(block, CompiledBlock::Text)).count();
        let block_marks = marks::BLOCK.len_utf8() * texts;
        let mut output = run::CappedOutput::new(limits.max_output_bytes.saturating_add(block_marks));
        let result = env
            .get_template(MAIN)
            .and_then(|template| template.render_captured_to(Value::from_dyn_object(run.clone()), &mut output).map(drop));
        match result {
            Ok(()) => Ok(output.finish()),
            Err(error) => {
                let place = error.line().and_then(|line| self.lines.get(line.checked_sub(1)?)).copied();
                Err((run::fault_of(&error), place.map_or(0, |(block, _)| block), place.map(|(_, line)| line)))
            }
        }
    }
}
