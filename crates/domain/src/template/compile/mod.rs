//! From Twig to minijinja: statements, scopes, and the source that minijinja runs.
//!
//! The emitted source uses little of minijinja's own language: lookups, loops, conditions and filters of [`super::filters`].
//! Variables of `{% set %}` live in one namespace object per loop (`L3.s0`), which gives Twig's scoping: a variable set inside a
//! loop is seen by its later rounds and dropped after it, unless it existed before. Every block must close its own tags.

mod expr;

use std::collections::HashMap;

use super::lex::{self, Piece, SyntaxError};
use super::parse::Parser;
use super::value::marks;
use expr::literal;

/// Deepest nesting of `{% if %}`, `{% for %}` and `{% set %}`.
const MAX_OPEN: usize = 20;
/// Most `{% elseif %}` of one `{% if %}`.
const MAX_ELSEIF: usize = 50;

/// What the text blocks of a template compile to.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// The minijinja source; [`marks::BLOCK`] separates the blocks.
    pub source: String,
    /// For each line of `source`: which block and which line of it.
    pub lines: Vec<(usize, usize)>,
    /// Arrow functions by number.
    pub arrows: Vec<Arrow>,
    /// Patterns of `matches` by number.
    pub patterns: Vec<String>,
}

/// An arrow function: a small template of its own that is evaluated once per element.
#[derive(Debug)]
pub(super) struct Arrow {
    /// minijinja source that leaves its result in the variable `r`.
    pub source: String,
    /// Names of the parameters, then of the variables captured where it stands.
    pub names: Vec<String>,
    /// How many of `names` are parameters.
    pub params: usize,
    /// Its size, as a measure of what one evaluation costs.
    pub cost: usize,
}

/// A scope of variables.
struct Scope {
    kind: ScopeKind,
    /// Twig names to their places, e.g. `s0` or `A1_0`.
    names: HashMap<String, String>,
}

enum ScopeKind {
    /// The template or a loop, with its number; its variables live in the namespace `L<number>`.
    Namespace(usize),
    /// An arrow function: its variables are minijinja variables. Holds what it captures, in order.
    Arrow { captured: Vec<String> },
}

enum Open {
    If { line: usize, elseifs: usize, has_else: bool },
    For { line: usize, has_else: bool },
    Capture { line: usize, name: String, number: usize },
}

/// Compiles blocks one after another.
pub(super) struct Compiler {
    out: Compiled,
    scopes: Vec<Scope>,
    /// Numbers of the loops that are open around the current tag, outermost first.
    loops: Vec<usize>,
    open: Vec<Open>,
    next: usize,
    /// Where the tag being compiled begins.
    here: (usize, usize),
}

impl Compiler {
    /// A compiler with nothing compiled.
    pub fn new() -> Self {
        let root = Scope { kind: ScopeKind::Namespace(0), names: HashMap::new() };
        let mut compiler =
            Self { out: Compiled::default(), scopes: vec![root], loops: Vec::new(), open: Vec::new(), next: 1, here: (0, 1) };
        compiler.out.lines.push((0, 1));
        compiler.emit("{% set L0 = _namespace() %}");
        compiler
    }

    /// Adds text block number `block`, and ends it with a mark.
    ///
    /// # Errors
    /// The first syntax error, with its line in this block.
    pub fn block(&mut self, block: usize, source: &str) -> Result<(), SyntaxError> {
        for piece in lex::split(source)? {
            match piece {
                Piece::Text(text) => self.text(&text),
                Piece::Output(tokens, line) => {
                    self.here = (block, line);
                    let mut parser = Parser::new(&tokens, line);
                    let expr = parser.expr()?;
                    parser.end()?;
                    let code = self.output(&expr, line)?;
                    self.emit(&format!("{{{{{code}}}}}"));
                }
                Piece::Tag(tokens, line) => {
                    self.here = (block, line);
                    self.tag(&mut Parser::new(&tokens, line), line)?;
                }
            }
        }
        if let Some(open) = self.open.last() {
            let (line, tag, end) = match open {
                Open::If { line, .. } => (*line, "if", "endif"),
                Open::For { line, .. } => (*line, "for", "endfor"),
                Open::Capture { line, .. } => (*line, "set", "endset"),
            };
            return Err(SyntaxError::new(line, format!("\"{{% {tag} %}}\" has no \"{{% {end} %}}\"")));
        }
        self.out.source.push(marks::BLOCK);
        Ok(())
    }

    /// The result.
    pub fn finish(self) -> Compiled {
        self.out
    }

    /// Emits a tag at the start of a line of its own, without a newline that would be printed.
    fn emit(&mut self, tag: &str) {
        let (head, tail) = tag.split_at(2);
        for part in [head, "\n", tail] {
            self.raw(part);
        }
    }

    fn raw(&mut self, text: &str) {
        self.out.source.push_str(text);
        let lines = self.out.lines.len() + text.matches('\n').count();
        self.out.lines.resize(lines, self.here);
    }

    fn text(&mut self, text: &str) {
        let captured = self.open.iter().any(|open| matches!(open, Open::Capture { .. }));
        // Inside a capture every byte must pass the formatter, which meters it; a brace could join a tag that follows.
        if captured || text.contains('{') {
            self.emit(&format!("{{{{{}|_text}}}}", literal(text)));
        } else {
            self.raw(text);
        }
    }

    fn tag(&mut self, parser: &mut Parser<'_>, line: usize) -> Result<(), SyntaxError> {
        if parser.at_end() {
            return Err(parser.error("an empty tag"));
        }
        let keyword = parser.name()?;
        match keyword.as_str() {
            "if" => {
                let test = parser.expr()?;
                parser.end()?;
                let code = self.condition(&test, line)?;
                self.push(Open::If { line, elseifs: 0, has_else: false }, line)?;
                self.emit(&format!("{{% if {code} %}}"));
            }
            "elseif" => {
                let test = parser.expr()?;
                parser.end()?;
                let code = self.condition(&test, line)?;
                match self.open.last_mut() {
                    Some(Open::If { elseifs, has_else: false, .. }) if *elseifs < MAX_ELSEIF => *elseifs += 1,
                    Some(Open::If { has_else: false, .. }) => {
                        return Err(SyntaxError::new(line, format!("an \"if\" has more than {MAX_ELSEIF} \"elseif\"")));
                    }
                    _ => return Err(misplaced("elseif", line)),
                }
                self.emit(&format!("{{% elif {code} %}}"));
            }
            "else" => {
                parser.end()?;
                match self.open.last_mut() {
                    Some(Open::If { has_else: has_else @ false, .. }) => *has_else = true,
                    Some(Open::For { has_else: has_else @ false, .. }) => {
                        *has_else = true;
                        self.leave_loop();
                    }
                    _ => return Err(misplaced("else", line)),
                }
                self.emit("{% else %}");
            }
            "endif" => {
                parser.end()?;
                match self.open.pop() {
                    Some(Open::If { .. }) => self.emit("{% endif %}"),
                    _ => return Err(misplaced("endif", line)),
                }
            }
            "for" => self.begin_for(parser, line)?,
            "endfor" => {
                parser.end()?;
                match self.open.pop() {
                    Some(Open::For { has_else, .. }) => {
                        if !has_else {
                            self.leave_loop();
                        }
                        self.emit("{% endfor %}");
                    }
                    _ => return Err(misplaced("endfor", line)),
                }
            }
            "set" => self.set(parser, line)?,
            "endset" => {
                parser.end()?;
                match self.open.pop() {
                    Some(Open::Capture { name, number, .. }) => {
                        let place = self.assign(&name);
                        self.emit("{% endset %}");
                        self.emit(&format!("{{% set {place} = C{number}|_captured %}}"));
                    }
                    _ => return Err(misplaced("endset", line)),
                }
            }
            other => return Err(SyntaxError::new(line, unknown_tag(other))),
        }
        Ok(())
    }

    fn push(&mut self, open: Open, line: usize) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_OPEN {
            return Err(SyntaxError::new(line, format!("tags are nested more than {MAX_OPEN} levels deep")));
        }
        self.open.push(open);
        Ok(())
    }

    fn leave_loop(&mut self) {
        self.scopes.pop();
        self.loops.pop();
    }

    fn begin_for(&mut self, parser: &mut Parser<'_>, line: usize) -> Result<(), SyntaxError> {
        let first = parser.variable()?;
        let second = if parser.sign(",") { Some(parser.variable()?) } else { None };
        if !parser.word("in") {
            return Err(parser.error("expected \"in\" after the name of a \"for\""));
        }
        let over = parser.expr()?;
        if parser.word("if") {
            return Err(parser.error("\"for … if\" is not available: use |filter(v => …) or an \"if\" inside the loop"));
        }
        parser.end()?;
        let code = self.chain(&over, line)?;
        if let Some(outer) = self.loops.last().copied() {
            self.emit(&format!("{{% set O{outer} = loop %}}"));
        }
        self.push(Open::For { line, has_else: false }, line)?;
        let number = self.number();
        self.emit(&format!("{{% set L{number} = _namespace() %}}"));
        self.loops.push(number);
        self.scopes.push(Scope { kind: ScopeKind::Namespace(number), names: HashMap::new() });
        let (key, value) = match second {
            Some(value) => (Some(first), value),
            None => (None, first),
        };
        match key {
            Some(key) => {
                self.emit(&format!("{{% for K{number}, T{number} in {code}|_pairs %}}"));
                let place = self.declare(&key);
                self.emit(&format!("{{% set {place} = K{number} %}}"));
            }
            None => self.emit(&format!("{{% for T{number} in {code}|_items %}}")),
        }
        let place = self.declare(&value);
        self.emit(&format!("{{% set {place} = T{number} %}}"));
        Ok(())
    }

    fn set(&mut self, parser: &mut Parser<'_>, line: usize) -> Result<(), SyntaxError> {
        let mut names = vec![parser.variable()?];
        while parser.sign(",") {
            names.push(parser.variable()?);
        }
        if parser.at_end() {
            let Ok([name]) = <[String; 1]>::try_from(names) else {
                return Err(parser.error("only one name can be set to a block"));
            };
            let number = self.number();
            self.push(Open::Capture { line, name, number }, line)?;
            self.emit(&format!("{{% set C{number} %}}"));
            return Ok(());
        }
        parser.need("=")?;
        let mut values = vec![parser.expr()?];
        while parser.sign(",") {
            values.push(parser.expr()?);
        }
        parser.end()?;
        if names.len() != values.len() {
            return Err(SyntaxError::new(line, format!("{} names are set to {} values", names.len(), values.len())));
        }
        let codes = values.iter().map(|value| self.expr(value, line)).collect::<Result<Vec<_>, _>>()?;
        for (name, code) in names.iter().zip(codes) {
            let place = self.assign(name);
            self.emit(&format!("{{% set {place} = {code} %}}"));
        }
        Ok(())
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// A new variable of the innermost scope.
    fn declare(&mut self, name: &str) -> String {
        let number = self.number();
        let scope = self.scopes.last_mut().expect("the root scope is never left");
        scope.names.insert(name.to_owned(), format!("s{number}"));
        match &scope.kind {
            ScopeKind::Namespace(scope) => format!("L{scope}.s{number}"),
            ScopeKind::Arrow { .. } => format!("s{number}"),
        }
    }

    /// The place that `{% set name %}` writes to: where the name is known, or new in the innermost scope.
    fn assign(&mut self, name: &str) -> String {
        self.find(name).unwrap_or_else(|| self.declare(name))
    }

    fn find(&mut self, name: &str) -> Option<String> {
        let at = self.scopes.iter().rposition(|scope| scope.names.contains_key(name))?;
        let place = self.scopes[at].names[name].clone();
        Some(match self.scopes[at].kind {
            ScopeKind::Namespace(number) => {
                self.capture(at, &format!("L{number}"));
                format!("L{number}.{place}")
            }
            ScopeKind::Arrow { .. } => {
                self.capture(at, &place);
                place
            }
        })
    }

    /// Notes that the arrow functions inside scope `owner` use the minijinja variable `symbol` of it.
    fn capture(&mut self, owner: usize, symbol: &str) {
        for scope in &mut self.scopes[owner + 1..] {
            if let ScopeKind::Arrow { captured } = &mut scope.kind
                && !captured.iter().any(|known| known == symbol)
            {
                captured.push(symbol.to_owned());
            }
        }
    }
}

fn misplaced(tag: &str, line: usize) -> SyntaxError {
    SyntaxError::new(line, format!("\"{{% {tag} %}}\" does not belong here"))
}

fn unknown_tag(name: &str) -> String {
    match name {
        "include" | "import" | "from" | "extends" | "embed" | "use" => {
            format!("the tag \"{name}\" is not available: a template cannot read other templates or files")
        }
        "block" | "macro" | "apply" | "autoescape" | "with" | "do" | "flush" | "sandbox" | "deprecated" | "cache" => {
            format!("the tag \"{name}\" is not available in message templates")
        }
        "elif" => "there is no tag \"elif\": use \"elseif\"".to_owned(),
        "endverbatim" => misplaced(name, 0).reason,
        _ => format!("there is no tag \"{name}\""),
    }
}
