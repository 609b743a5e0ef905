//! From Twig to minijinja: statements, scopes, and the source that minijinja runs.
//!
//! The emitted source uses little of minijinja's own language: lookups, loops, conditions and filters of [`super::filters`].
//! Variables of `{% set %}` live in one namespace object per loop (`L3.s0`), which gives Twig's scoping: a variable set inside a
//! loop is seen by its later rounds and dropped after it, unless it existed before. Every block must close its own tags.

use std::collections::HashMap;

use super::lex::{self, Piece, SyntaxError};
use super::parse::{Expr, Parser};
use super::value::marks;

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

    fn variable(&mut self, name: &str, line: usize) -> Result<String, SyntaxError> {
        if let Some(place) = self.find(name) {
            return Ok(place);
        }
        match name {
            "data" | "event" => Ok(name.to_owned()),
            "loop" => Err(SyntaxError::new(line, "\"loop\" is only known inside a \"for\", as loop.index, loop.first, …")),
            "_context" | "_self" | "_charset" => Err(SyntaxError::new(line, format!("\"{name}\" is not available"))),
            // Read before it is set: empty now, but a later round of the loop may see it.
            _ if matches!(self.scopes.last(), Some(Scope { kind: ScopeKind::Namespace(_), .. })) => Ok(self.declare(name)),
            _ => Ok("undefined".to_owned()),
        }
    }

    /// `loop.x`, `loop.parent.loop.x`.
    fn loop_attribute(&mut self, base: &Expr, key: &Expr, line: usize) -> Result<Option<String>, SyntaxError> {
        let Some(up) = loop_level(base) else { return Ok(None) };
        let Expr::Str(name) = key else {
            return Err(SyntaxError::new(line, "\"loop\" must be followed by a name such as loop.index"));
        };
        let Some(at) = self.loops.len().checked_sub(up + 1) else {
            return Err(SyntaxError::new(line, "\"loop\" is only known inside a \"for\""));
        };
        if !matches!(name.as_str(), "index" | "index0" | "revindex" | "revindex0" | "first" | "last" | "length") {
            return Err(SyntaxError::new(line, format!("there is no loop.{name}")));
        }
        let number = self.loops[at];
        let symbol = if up == 0 { "loop".to_owned() } else { format!("O{number}") };
        let owner = self.scopes.iter().position(|s| matches!(s.kind, ScopeKind::Namespace(n) if n == number));
        self.capture(owner.unwrap_or(0), &symbol);
        Ok(Some(format!("{symbol}.{name}")))
    }

    /// Code of an expression whose result is printed. Literals are the author's text and may make markup; all else is data.
    fn output(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
        match expr {
            Expr::Str(text) => Ok(format!("{}|_text", literal(text))),
            Expr::Cond(test, then, other) => {
                let test = self.condition(test, line)?;
                Ok(format!("({} if {test} else {})", self.output(then, line)?, self.output(other, line)?))
            }
            _ => self.expr(expr, line),
        }
    }

    /// Code of an expression that is a boolean for minijinja.
    fn condition(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
        match expr {
            Expr::Bool(_) | Expr::Not(_) => self.expr(expr, line),
            Expr::And(..) | Expr::Or(..) => Ok(format!("({})", self.expr(expr, line)?)),
            Expr::Call(name, _) if is_boolean(name) => self.expr(expr, line),
            Expr::Matches(..) => self.expr(expr, line),
            _ => Ok(format!("{}|_bool", self.chain(expr, line)?)),
        }
    }

    /// Code that filters and attributes can follow.
    fn chain(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
        let code = self.expr(expr, line)?;
        let whole = match expr {
            Expr::And(..) | Expr::Or(..) => false,
            Expr::Int(number) => *number >= 0,
            Expr::Float(number) => *number >= 0.0,
            _ => true,
        };
        Ok(if whole { code } else { format!("({code})") })
    }

    fn call(&mut self, name: &str, args: &[Expr], line: usize) -> Result<String, SyntaxError> {
        let mut code = format!("{}|{name}", self.chain(&args[0], line)?);
        if args.len() > 1 {
            let rest = args[1..].iter().map(|arg| self.expr(arg, line)).collect::<Result<Vec<_>, _>>()?;
            code.push_str(&format!("({})", rest.join(",")));
        }
        Ok(code)
    }

    fn expr(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
        Ok(match expr {
            Expr::Null => "none".to_owned(),
            Expr::Bool(b) => b.to_string(),
            Expr::Int(number) => number.to_string(),
            Expr::Float(number) => float_literal(*number),
            Expr::Str(text) => literal(text),
            Expr::Name(name) => self.variable(name, line)?,
            Expr::Attr(base, key) => match self.loop_attribute(base, key, line)? {
                Some(code) => code,
                None => {
                    let code = self.expr(base, line)?;
                    let key = self.expr(key, line)?;
                    // Only names and attributes can be followed by a subscript as they are.
                    if matches!(**base, Expr::Name(_) | Expr::Attr(..)) { format!("{code}[{key}]") } else { format!("({code})[{key}]") }
                }
            },
            Expr::List(items) => {
                let items = items.iter().map(|item| self.expr(item, line)).collect::<Result<Vec<_>, _>>()?;
                format!("[{}]|_list", items.join(","))
            }
            Expr::Hash(pairs) => {
                let mut flat = Vec::with_capacity(pairs.len() * 2);
                for (key, value) in pairs {
                    flat.push(self.expr(key, line)?);
                    flat.push(self.expr(value, line)?);
                }
                format!("[{}]|_hash", flat.join(","))
            }
            Expr::Not(inner) => format!("{}|_not", self.chain(inner, line)?),
            Expr::And(a, b) => format!("{} and {}", self.operand(a, true, line)?, self.operand(b, true, line)?),
            Expr::Or(a, b) => format!("{} or {}", self.operand(a, false, line)?, self.operand(b, false, line)?),
            Expr::Cond(test, then, other) => {
                let test = self.condition(test, line)?;
                format!("({} if {test} else {})", self.expr(then, line)?, self.expr(other, line)?)
            }
            Expr::Call(name, args) => self.call(name, args, line)?,
            Expr::CallArrow(name, args, params, body) => self.call_arrow(name, args, params, body, line)?,
            Expr::Matches(subject, pattern) => {
                let number = self.out.patterns.iter().position(|known| known == pattern).unwrap_or_else(|| {
                    self.out.patterns.push(pattern.clone());
                    self.out.patterns.len() - 1
                });
                format!("{}|_matches({number})", self.chain(subject, line)?)
            }
        })
    }

    /// An operand of a chain of `and` or `or`: chains of one kind need no parentheses.
    fn operand(&mut self, expr: &Expr, and: bool, line: usize) -> Result<String, SyntaxError> {
        match expr {
            Expr::And(..) if and => self.expr(expr, line),
            Expr::Or(..) if !and => self.expr(expr, line),
            _ => self.condition(expr, line),
        }
    }

    fn call_arrow(&mut self, name: &str, args: &[Expr], params: &[String], body: &Expr, line: usize) -> Result<String, SyntaxError> {
        let mut code = self.chain(&args[0], line)?;
        let mut rest = args[1..].iter().map(|arg| self.expr(arg, line)).collect::<Result<Vec<_>, _>>()?;
        self.scopes.push(Scope { kind: ScopeKind::Arrow { captured: Vec::new() }, names: HashMap::new() });
        let mut names: Vec<String> = params.iter().map(|param| self.declare(param)).collect();
        let body = self.expr(body, line)?;
        let Some(Scope { kind: ScopeKind::Arrow { captured }, .. }) = self.scopes.pop() else {
            unreachable!("the scope pushed above is an arrow's, and expressions leave the scopes as they were");
        };
        rest.push(self.out.arrows.len().to_string());
        rest.extend(captured.iter().cloned());
        let params = names.len();
        names.extend(captured);
        self.out.arrows.push(Arrow { cost: body.len(), source: format!("{{% set r = {body} %}}"), names, params });
        code.push_str(&format!("|{name}({})", rest.join(",")));
        Ok(code)
    }
}

fn loop_level(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Name(name) if name == "loop" => Some(0),
        Expr::Attr(base, key) if matches!(&**key, Expr::Str(k) if k == "loop") => match &**base {
            Expr::Attr(base, key) if matches!(&**key, Expr::Str(k) if k == "parent") => Some(loop_level(base)? + 1),
            _ => None,
        },
        _ => None,
    }
}

fn is_boolean(name: &str) -> bool {
    name.starts_with("_is_") || matches!(name, "_eq" | "_ne" | "_lt" | "_gt" | "_le" | "_ge" | "_in" | "_not_in" | "_starts" | "_ends")
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

/// A minijinja string literal.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A minijinja float literal, which must not look like an integer and has no exponent.
fn float_literal(number: f64) -> String {
    let text = format!("{number}");
    if text.contains('.') { text } else { format!("{text}.0") }
}
