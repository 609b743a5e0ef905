//! From text to tree: what stands outside of expressions.
//!
//! Recursive descent with a bound on its depth. What only looks like a directive or a reference is text, as in Velocity.

use super::expression::is_letter;
use super::{Expression, MAX_SOURCE_BYTES, Node, ParseError};

/// Deepest nesting of directives, parentheses, lists and quoted texts.
const MAX_DEPTH: usize = 24;

/// Directives whose name alone makes them so; what begins otherwise is text.
const KNOWN: [&str; 13] =
    ["if", "elseif", "else", "end", "set", "foreach", "stop", "break", "include", "parse", "macro", "define", "evaluate"];

/// A mistake at a byte of the source.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: String,
}

pub(super) type Parsed<T> = Result<T, Fault>;

/// Why a block ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    End,
    Else,
    ElseIf,
    Eof,
}

/// Parses a whole source.
pub(super) fn template(source: &str) -> Result<Vec<Node>, ParseError> {
    let mut parser = Parser { source, at: 0, base: 0, depth: 0 };
    let parsed = if source.len() > MAX_SOURCE_BYTES {
        Err(Fault { at: 0, reason: format!("a template has at most {MAX_SOURCE_BYTES} bytes") })
    } else {
        parser.whole()
    };
    parsed.map_err(|fault| {
        let before = source.get(..fault.at).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ParseError {
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            reason: fault.reason,
        }
    })
}

pub(super) struct Parser<'s> {
    pub(super) source: &'s str,
    /// Always at a character boundary.
    pub(super) at: usize,
    /// Where this source begins in the whole, for messages.
    pub(super) base: usize,
    depth: usize,
}

impl<'s> Parser<'s> {
    /// A parser of a quoted text inside this source.
    pub(super) fn within<'t>(&self, source: &'t str, at: usize) -> Parser<'t> {
        Parser { source, at: 0, base: self.base + at, depth: self.depth }
    }

    pub(super) fn whole(&mut self) -> Parsed<Vec<Node>> {
        let (nodes, close) = self.deeper(|parser| parser.block(None))?;
        match close {
            Close::Eof => Ok(nodes),
            Close::End | Close::Else | Close::ElseIf => Err(self.fault_at(self.at, "there is no #if or #foreach for this #else or #end")),
        }
    }

    /// Runs a part one level deeper.
    pub(super) fn deeper<T>(&mut self, part: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fault_at(self.at, "this is nested too deeply"));
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    pub(super) fn fault_at(&self, at: usize, reason: impl Into<String>) -> Fault {
        Fault { at: self.base + at, reason: reason.into() }
    }

    pub(super) fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let is_next = self.rest().starts_with(text);
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    pub(super) fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        self.at += self.rest().bytes().take_while(|&byte| is_skipped(byte)).count();
    }

    pub(super) fn skip_space(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// A directive swallows the end of its line if nothing else is on it.
    fn swallow_line_end(&mut self) {
        let start = self.at;
        self.skip(|byte| matches!(byte, b' ' | b'\t'));
        if !(self.eat("\r\n") || self.eat("\n") || self.eat("\r")) {
            self.at = start;
        }
    }

    /// Nodes up to the directive that closes the block, which is consumed. `opened` is where the block's own directive is.
    fn block(&mut self, opened: Option<usize>) -> Parsed<(Vec<Node>, Close)> {
        let mut nodes = Writer::default();
        loop {
            let text = self.rest();
            let Some(length) = text.find(['$', '#', '\\']) else {
                nodes.text(text);
                self.at = self.source.len();
                return match opened {
                    None => Ok((nodes.finish(), Close::Eof)),
                    Some(at) => Err(self.fault_at(at, "this directive has no #end")),
                };
            };
            let run = &text[..length];
            self.at += length;
            // White space alone in front of a #set goes with it.
            if !(is_blank(run) && self.is_set()) {
                nodes.text(run);
            }
            let start = self.at;
            let escapes = self.rest().bytes().take_while(|&byte| byte == b'\\').count();
            self.at += escapes;
            match self.rest().bytes().next() {
                Some(b'$') => match self.reference()? {
                    Some(mut reference) => {
                        reference.escapes = escapes;
                        nodes.push(Node::Reference(reference));
                    }
                    None => {
                        self.at += 1;
                        nodes.text(&self.source[start..self.at]);
                    }
                },
                Some(b'#') => {
                    if let Some(close) = self.hash(escapes, &mut nodes)? {
                        return Ok((nodes.finish(), close));
                    }
                }
                _ => nodes.text(&self.source[start..self.at]),
            }
        }
    }

    /// What begins with `#`, after so many backslashes.
    fn hash(&mut self, escapes: usize, nodes: &mut Writer) -> Parsed<Option<Close>> {
        let start = self.at;
        let word = self.word();
        let is_known = word.is_some_and(|word| KNOWN.contains(&word));
        // An odd backslash makes the directive a text; of the others each pair stands for one.
        nodes.text(&"\\".repeat(if is_known { escapes / 2 } else { escapes }));
        if escapes % 2 == 1 && word.is_some() {
            nodes.text(&self.source[start..self.at]);
            return Ok(None);
        }
        match word {
            Some(word) if is_known => self.directive(word, start, nodes),
            Some(_) => {
                self.unknown(start, nodes);
                Ok(None)
            }
            None => {
                self.comment(start, nodes)?;
                Ok(None)
            }
        }
    }

    /// The name of a directive, `#name` or `#{name}`; on `None` nothing is consumed.
    fn word(&mut self) -> Option<&'s str> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@';
        let start = self.at;
        self.at += 1;
        let is_bracketed = self.eat("{");
        let from = self.at;
        if self.rest().bytes().next().is_some_and(is_letter) {
            self.skip(is_inner);
            let word = &self.source[from..self.at];
            if !is_bracketed || self.eat("}") {
                return Some(word);
            }
        }
        self.at = start;
        None
    }

    /// Whether `#set (` is next.
    fn is_set(&self) -> bool {
        let rest = self.rest();
        let after = rest.strip_prefix("#set").or_else(|| rest.strip_prefix("#{set}"));
        after.is_some_and(|after| after.trim_start_matches(' ').starts_with('('))
    }

    /// What begins with `#` and is no word.
    fn comment(&mut self, start: usize, nodes: &mut Writer) -> Parsed<()> {
        let rest = self.rest();
        if rest.starts_with("##") {
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            let _ = self.eat("\r\n") || self.eat("\n") || self.eat("\r");
        } else if let Some(inner) = rest.strip_prefix("#*") {
            let length = inner.find("*#").ok_or_else(|| self.fault_at(start, "this comment has no *#"))?;
            self.at += length + 4;
        } else if let Some(inner) = rest.strip_prefix("#[[") {
            let length = inner.find("]]#").ok_or_else(|| self.fault_at(start, "this text has no ]]#"))?;
            nodes.text(&inner[..length]);
            self.at += length + 6;
        } else {
            self.at += 1;
            nodes.text("#");
        }
        Ok(())
    }

    /// A name that is no directive: text, with its arguments if they are such.
    fn unknown(&mut self, start: usize, nodes: &mut Writer) {
        let after_word = self.at;
        if self.arguments().is_err() {
            self.at = after_word;
        }
        nodes.text(&self.source[start..self.at]);
    }

    fn directive(&mut self, word: &str, start: usize, nodes: &mut Writer) -> Parsed<Option<Close>> {
        match word {
            "if" => {
                let node = self.deeper(|parser| parser.condition(start))?;
                nodes.push(node);
            }
            "foreach" => match self.deeper(|parser| parser.for_each(start))? {
                Some(node) => nodes.push(node),
                None => nodes.text(&self.source[start..self.at]),
            },
            "set" => {
                if !self.rest().trim_start_matches(' ').starts_with('(') {
                    nodes.text(&self.source[start..self.at]);
                    return Ok(None);
                }
                let node = self.set()?;
                nodes.push(node);
            }
            "stop" => nodes.push(Node::Stop),
            "break" => nodes.push(Node::Break),
            "include" | "parse" => {
                if !self.arguments()? {
                    nodes.text(&self.source[start..self.at]);
                }
            }
            "end" => {
                self.swallow_line_end();
                return Ok(Some(Close::End));
            }
            "else" => {
                self.swallow_line_end();
                return Ok(Some(Close::Else));
            }
            "elseif" => return Ok(Some(Close::ElseIf)),
            other => return Err(self.fault_at(start, format!("#{other} is not supported"))),
        }
        Ok(None)
    }

    fn condition(&mut self, start: usize) -> Parsed<Node> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        let mut test = self.test()?;
        loop {
            let (body, close) = self.block(Some(start))?;
            branches.push((test, body));
            match close {
                Close::ElseIf => test = self.test()?,
                Close::Else => {
                    let at = self.at;
                    let (body, close) = self.block(Some(start))?;
                    if close != Close::End {
                        return Err(self.fault_at(at, "after #else only #end can follow"));
                    }
                    otherwise = body;
                    break;
                }
                Close::End | Close::Eof => break,
            }
        }
        Ok(Node::If { branches, otherwise })
    }

    /// `( expression )`, and the end of the line.
    fn test(&mut self) -> Parsed<Expression> {
        self.skip_space();
        self.expect("(")?;
        let test = self.expression()?;
        self.expect(")")?;
        self.swallow_line_end();
        Ok(test)
    }

    /// `( $name in elements ) … #end`; `None` if no parenthesis follows, which makes it text.
    fn for_each(&mut self, start: usize) -> Parsed<Option<Node>> {
        let after_word = self.at;
        self.skip_space();
        if !self.eat("(") {
            self.at = after_word;
            return Ok(None);
        }
        let name = self.variable()?;
        self.skip_space();
        self.expect("in")?;
        let elements = self.parameter()?;
        self.expect(")")?;
        self.swallow_line_end();
        let at = self.at;
        let (body, close) = self.block(Some(start))?;
        if close != Close::End {
            return Err(self.fault_at(at, "#foreach has no #else"));
        }
        Ok(Some(Node::ForEach { name, elements, body }))
    }

    fn set(&mut self) -> Parsed<Node> {
        self.skip_space();
        self.expect("(")?;
        let name = self.variable()?;
        self.skip_space();
        self.expect("=")?;
        let value = self.expression()?;
        self.expect(")")?;
        self.swallow_line_end();
        Ok(Node::Set { name, value })
    }

    /// A reference that is a variable and nothing else.
    fn variable(&mut self) -> Parsed<Box<str>> {
        self.skip_space();
        let at = self.at;
        match self.reference()? {
            Some(reference) if reference.steps.is_empty() => Ok(reference.name),
            Some(_) => Err(self.fault_at(at, "only a variable can be set, not a part of one")),
            None => Err(self.fault_at(at, "a variable such as $name must be here")),
        }
    }

    /// The arguments of a line directive; whether there were any. They are read and dropped.
    fn arguments(&mut self) -> Parsed<bool> {
        let start = self.at;
        self.skip_space();
        if !self.eat("(") {
            self.at = start;
            return Ok(false);
        }
        loop {
            self.skip_space();
            self.eat(",");
            self.skip_space();
            if self.eat(")") {
                self.swallow_line_end();
                return Ok(true);
            }
            let before = self.at;
            self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if self.at == before || self.source[before..].starts_with(|first: char| first.is_ascii_digit()) {
                self.at = before;
                self.parameter()?;
            }
        }
    }
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// Nodes, with neighbouring texts joined.
#[derive(Default)]
struct Writer {
    nodes: Vec<Node>,
    text: String,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn push(&mut self, node: Node) {
        self.flush();
        self.nodes.push(node);
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.nodes.push(Node::Text(std::mem::take(&mut self.text).into()));
        }
    }

    fn finish(mut self) -> Vec<Node> {
        self.flush();
        self.nodes
    }
}
