//! Velocity templates as Apache Velocity 1.7 understands them (MessageMedia specification 6).
//!
//! The way of a template: [`Template::parse`] turns the text into a tree once, with line and column of what is wrong;
//! [`Template::render`] walks the tree with the variables of one event. Values go out raw: escaping is the author's, with `$esc.json(…)`
//! and its kin. A reference without a value stays as it was written, a quiet one (`$!name`) vanishes.
//!
//! Invariants: no input panics; the time and memory of a rendering are bounded by [`Limits`] whatever the template and the variables are;
//! nothing is read from outside: `#include` and `#parse` write nothing; values cannot be changed, only variables can be set.
//!
//! Left out, and refused when parsing: `#macro`, `#define`, `#evaluate`, block macros, `#set` of anything but a variable.

mod call;
mod expression;
mod number;
mod parse;
mod run;
#[cfg(test)]
mod tests;
mod value;

use run::Run;

pub use value::{Value, Variables};

/// Longest source of a template, in bytes.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, for the author.
    pub reason: String,
}

/// Why a template did not render: its author's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A text would be longer than [`Limits::max_output_bytes`].
    #[error("the template writes more than {limit} bytes")]
    TooLong {
        /// The limit that was passed.
        limit: usize,
    },
    /// The template used up [`Limits::max_steps`] or [`Limits::max_work`].
    #[error("the template does too much work; loop over fewer elements")]
    TooSlow,
}

/// Bounds of one rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the result, and of every text made on the way.
    pub max_output_bytes: usize,
    /// Most parts of the tree walked, elements visited and calls made.
    pub max_steps: u64,
    /// Most bytes written and copied in all.
    pub max_work: u64,
}

impl Limits {
    /// The default bounds: room for the media of a message, and well under a fifth of a second.
    pub const DEFAULT: Self = Self { max_output_bytes: 4 << 20, max_steps: 150_000, max_work: 32 << 20 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the result is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Values as they are.
    Raw,
    /// Values percent-encoded, unless they come from `$esc.url(…)`.
    Url,
}

/// A parsed template. A cheap thing to keep and to render often.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The first mistake: a directive or comment that is not closed, an expression that is none, a source of more than
    /// [`MAX_SOURCE_BYTES`], nesting without measure, a directive that is left out here.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        parse::template(source).map(|nodes| Self { nodes })
    }

    /// Renders with the variables of one event.
    ///
    /// # Errors
    /// See [`RenderError`].
    pub fn render(&self, variables: &Variables, form: Form, limits: &Limits) -> Result<String, RenderError> {
        Run::new(variables, form, limits).template(&self.nodes)
    }
}

/// A part of a template.
#[derive(Clone, Debug)]
enum Node {
    Text(Box<str>),
    Reference(Reference),
    If { branches: Vec<(Expression, Vec<Node>)>, otherwise: Vec<Node> },
    ForEach { name: Box<str>, elements: Expression, body: Vec<Node> },
    Set { name: Box<str>, value: Expression },
    Break,
    Stop,
}

/// `$name.property.method(1)['key']`.
#[derive(Clone, Debug)]
struct Reference {
    name: Box<str>,
    steps: Vec<Step>,
    /// `$!`: nothing stands for no value.
    is_quiet: bool,
    /// Backslashes before it.
    escapes: usize,
    /// As it was written, from the `$`.
    literal: Box<str>,
}

#[derive(Clone, Debug)]
enum Step {
    Property(Box<str>),
    Method(Box<str>, Vec<Expression>),
    Index(Expression),
}

#[derive(Clone, Debug)]
enum Expression {
    Constant(Value),
    /// A text in double quotes with references or directives inside.
    Text(Vec<Node>),
    Reference(Box<Reference>),
    List(Vec<Expression>),
    Map(Vec<(Expression, Expression)>),
    Range(Box<(Expression, Expression)>),
    Not(Box<Expression>),
    /// Operators of one rank from left to right: kept flat, so that a long sum is no deep tree.
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    Different,
    Less,
    More,
    AtMost,
    AtLeast,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}
