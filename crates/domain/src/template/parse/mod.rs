//! Expressions: from tokens to a small tree, with Twig 3's precedences.
//!
//! Every operator with a meaning of its own becomes a [`Expr::Call`] of a filter of [`super::filters`], so that what is
//! computed is decided there; only what must not be evaluated eagerly (`and`, `or`, conditions, arrows) has its own node.
//! Size and depth are bounded, so that no later stage can exhaust the stack.

mod calls;

use super::filters;
use super::lex::{Located, SyntaxError, Token};

/// Most nodes of one expression.
const MAX_NODES: usize = 300;
/// Deepest nesting of one expression.
const MAX_NESTING: usize = 24;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// A variable.
    Name(String),
    /// `a.b`, `a['b']`, `a[i]`.
    Attr(Box<Expr>, Box<Expr>),
    List(Vec<Expr>),
    Hash(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// `a ? b : c`.
    Cond(Box<Expr>, Box<Expr>, Box<Expr>),
    /// A filter, test, function or operator under its internal name.
    Call(&'static str, Vec<Expr>),
    /// A call whose last argument is an arrow function.
    CallArrow(&'static str, Vec<Expr>, Vec<String>, Box<Expr>),
    /// `a matches 'pattern'`; the pattern was checked.
    Matches(Box<Expr>, String),
}

/// Reads the tokens of one tag.
pub(super) struct Parser<'t> {
    tokens: &'t [Located],
    at: usize,
    line: usize,
    nodes: usize,
    nesting: usize,
}

/// Binary operators: sign, binding power, whether right-associative, internal filter.
const BINARY: [(&str, u8, bool, &str); 21] = [
    ("==", 20, false, "_eq"),
    ("!=", 20, false, "_ne"),
    ("<=>", 20, false, "_cmp"),
    ("<", 20, false, "_lt"),
    (">", 20, false, "_gt"),
    ("<=", 20, false, "_le"),
    (">=", 20, false, "_ge"),
    ("in", 20, false, "_in"),
    ("not in", 20, false, "_not_in"),
    ("starts with", 20, false, "_starts"),
    ("ends with", 20, false, "_ends"),
    ("..", 25, false, "range"),
    ("+", 30, false, "_add"),
    ("-", 30, false, "_sub"),
    ("~", 40, false, "_cat"),
    ("*", 60, false, "_mul"),
    ("/", 60, false, "_div"),
    ("//", 60, false, "_floor_div"),
    ("%", 60, false, "_mod"),
    ("**", 200, true, "_pow"),
    ("??", 250, true, "_coalesce"),
];
const OR: u8 = 10;
const AND: u8 = 15;
const MATCHES: u8 = 20;
const NOT: u8 = 50;
const IS: u8 = 100;
const SIGN: u8 = u8::MAX;

/// Words that cannot be variables.
const RESERVED: [&str; 6] = ["and", "or", "in", "is", "matches", "if"];

impl<'t> Parser<'t> {
    /// A parser over a tag that begins on `line`.
    pub fn new(tokens: &'t [Located], line: usize) -> Self {
        Self { tokens, at: 0, line, nodes: 0, nesting: 0 }
    }

    /// An error at the current token.
    pub fn error(&self, reason: impl Into<String>) -> SyntaxError {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(self.line, |(_, line)| *line);
        SyntaxError::new(line, reason)
    }

    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn peek_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some((Token::Name(name), _)) if name == word)
    }

    /// Consumes this sign if it is next.
    pub fn sign(&mut self, sign: &str) -> bool {
        let hit = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(hit);
        hit
    }

    /// Consumes this word if it is next.
    pub fn word(&mut self, word: &str) -> bool {
        let hit = self.peek_word(0, word);
        self.at += usize::from(hit);
        hit
    }

    /// Requires this sign.
    pub fn need(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("\"{sign}\""))) }
    }

    /// Requires a name.
    pub fn name(&mut self) -> Result<String, SyntaxError> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.at += 1;
                Ok(name.clone())
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    /// Requires a name that may be a variable.
    pub fn variable(&mut self) -> Result<String, SyntaxError> {
        let name = self.name()?;
        if RESERVED.contains(&name.as_str()) || matches!(name.as_str(), "not" | "loop" | "true" | "false" | "null" | "none") {
            self.at -= 1;
            return Err(self.error(format!("\"{name}\" cannot be the name of a variable")));
        }
        Ok(name)
    }

    /// Requires the end of the tag.
    pub fn end(&self) -> Result<(), SyntaxError> {
        match self.peek() {
            None => Ok(()),
            Some(Token::Sign("=")) => Err(self.error("unexpected \"=\": compare with \"==\"")),
            Some(token) => Err(self.error(format!("unexpected {token}"))),
        }
    }

    /// True at the end of the tag.
    pub fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn unexpected(&self, wanted: &str) -> SyntaxError {
        match self.peek() {
            Some(token) => self.error(format!("unexpected {token}, expected {wanted}")),
            None => self.error(format!("unexpected end of the tag, expected {wanted}")),
        }
    }

    /// A whole expression.
    pub fn expr(&mut self) -> Result<Expr, SyntaxError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error(format!("the expression is nested more than {MAX_NESTING} levels deep")));
        }
        let mut expr = self.binary(0)?;
        while self.sign("?") {
            self.node()?;
            expr = if self.sign(":") {
                let other = self.expr()?;
                Expr::Call("_elvis", vec![expr, other])
            } else {
                let then = self.expr()?;
                let other = if self.sign(":") { self.expr()? } else { Expr::Str(String::new()) };
                Expr::Cond(Box::new(expr), Box::new(then), Box::new(other))
            };
        }
        self.nesting -= 1;
        Ok(expr)
    }

    fn node(&mut self) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error(format!("the expression has more than {MAX_NODES} parts")));
        }
        Ok(())
    }

    /// The binary operator that is next: its text, binding power and length in tokens.
    fn operator(&self) -> Option<(&'static str, u8, usize)> {
        let known = |text: &str, len: usize| BINARY.iter().find(|row| row.0 == text).map(|row| (row.0, row.1, len));
        match self.peek()? {
            Token::Sign(sign) => known(sign, 1),
            Token::Name(name) => match name.as_str() {
                "or" => Some(("or", OR, 1)),
                "and" => Some(("and", AND, 1)),
                "matches" => Some(("matches", MATCHES, 1)),
                "in" => known("in", 1),
                "not" if self.peek_word(1, "in") => known("not in", 2),
                "starts" if self.peek_word(1, "with") => known("starts with", 2),
                "ends" if self.peek_word(1, "with") => known("ends with", 2),
                "is" if self.peek_word(1, "not") => Some(("is not", IS, 2)),
                "is" => Some(("is", IS, 1)),
                _ => None,
            },
            _ => None,
        }
    }

    fn binary(&mut self, floor: u8) -> Result<Expr, SyntaxError> {
        let mut left = self.unary()?;
        while let Some((operator, power, len)) = self.operator() {
            if power < floor {
                break;
            }
            self.node()?;
            self.at += len;
            left = match operator {
                "is" => self.test(left)?,
                "is not" => Expr::Not(Box::new(self.test(left)?)),
                "or" => Expr::Or(Box::new(left), Box::new(self.deeper(power + 1)?)),
                "and" => Expr::And(Box::new(left), Box::new(self.deeper(power + 1)?)),
                "matches" => match self.deeper(power + 1)? {
                    Expr::Str(pattern) => {
                        filters::regex(&pattern).map_err(|reason| self.error(reason))?;
                        Expr::Matches(Box::new(left), pattern)
                    }
                    _ => return Err(self.error("the pattern after \"matches\" must be a literal text")),
                },
                _ => {
                    let (_, _, right_associative, filter) =
                        BINARY.into_iter().find(|row| row.0 == operator).expect("operator() only returns rows of BINARY");
                    let right = self.deeper(if right_associative { power } else { power + 1 })?;
                    Expr::Call(filter, vec![left, right])
                }
            };
        }
        Ok(left)
    }

    /// An operand, counted against the nesting bound: chains of right operands recurse.
    fn deeper(&mut self, floor: u8) -> Result<Expr, SyntaxError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error(format!("the expression is nested more than {MAX_NESTING} levels deep")));
        }
        let expr = self.binary(floor)?;
        self.nesting -= 1;
        Ok(expr)
    }

    fn unary(&mut self) -> Result<Expr, SyntaxError> {
        self.node()?;
        let expr = if self.word("not") {
            Expr::Not(Box::new(self.deeper(NOT)?))
        } else if self.sign("-") {
            match self.deeper(SIGN)? {
                Expr::Int(number) => Expr::Int(-number),
                Expr::Float(number) => Expr::Float(-number),
                expr => Expr::Call("_neg", vec![expr]),
            }
        } else if self.sign("+") {
            Expr::Call("_add", vec![Expr::Int(0), self.deeper(SIGN)?])
        } else {
            self.primary()?
        };
        self.postfix(expr)
    }

    fn primary(&mut self) -> Result<Expr, SyntaxError> {
        let Some(token) = self.peek() else { return Err(self.unexpected("an expression")) };
        self.at += 1;
        match token {
            Token::Int(number) => Ok(Expr::Int(*number)),
            Token::Float(number) => Ok(Expr::Float(*number)),
            Token::Str(text) => Ok(Expr::Str(text.clone())),
            Token::Sign("(") => {
                let expr = self.expr()?;
                self.need(")")?;
                Ok(expr)
            }
            Token::Sign("[") => Ok(Expr::List(self.list("]")?)),
            Token::Sign("{") => self.hash(),
            Token::Name(name) => match name.as_str() {
                "true" | "TRUE" => Ok(Expr::Bool(true)),
                "false" | "FALSE" => Ok(Expr::Bool(false)),
                "null" | "NULL" | "none" | "NONE" => Ok(Expr::Null),
                reserved if RESERVED.contains(&reserved) => {
                    self.at -= 1;
                    Err(self.unexpected("an expression"))
                }
                _ if matches!(self.peek(), Some(Token::Sign("("))) => self.function(name),
                _ => Ok(Expr::Name(name.clone())),
            },
            Token::Sign(_) => {
                self.at -= 1;
                Err(self.unexpected("an expression"))
            }
        }
    }

    /// Expressions up to the closing sign, which is consumed; a trailing comma is allowed.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, SyntaxError> {
        let mut items = Vec::new();
        while !self.sign(close) {
            if !items.is_empty() {
                self.need(",")?;
                if self.sign(close) {
                    break;
                }
            }
            items.push(self.expr()?);
        }
        Ok(items)
    }

    fn hash(&mut self) -> Result<Expr, SyntaxError> {
        let mut pairs = Vec::new();
        while !self.sign("}") {
            if !pairs.is_empty() {
                self.need(",")?;
                if self.sign("}") {
                    break;
                }
            }
            self.node()?;
            let key = match self.peek() {
                Some(Token::Name(name)) => Expr::Str(name.clone()),
                Some(Token::Str(text)) => Expr::Str(text.clone()),
                Some(Token::Int(number)) => Expr::Str(number.to_string()),
                Some(Token::Sign("(")) => {
                    self.at += 1;
                    let key = self.expr()?;
                    self.need(")")?;
                    self.need(":")?;
                    pairs.push((key, self.expr()?));
                    continue;
                }
                _ => return Err(self.unexpected("a key")),
            };
            self.at += 1;
            let value = match &key {
                Expr::Str(name) if matches!(self.peek(), Some(Token::Sign("," | "}"))) => Expr::Name(name.clone()),
                _ => {
                    self.need(":")?;
                    self.expr()?
                }
            };
            pairs.push((key, value));
        }
        Ok(Expr::Hash(pairs))
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr, SyntaxError> {
        loop {
            if self.sign(".") {
                self.node()?;
                let key = match self.peek() {
                    Some(Token::Name(name)) => Expr::Str(name.clone()),
                    Some(Token::Int(number)) => Expr::Int(*number),
                    _ => return Err(self.unexpected("a name after \".\"")),
                };
                self.at += 1;
                if matches!(self.peek(), Some(Token::Sign("("))) {
                    return Err(self.error("methods cannot be called in a message template"));
                }
                expr = Expr::Attr(Box::new(expr), Box::new(key));
            } else if self.sign("[") {
                self.node()?;
                expr = self.subscript(expr)?;
            } else if self.sign("|") {
                self.node()?;
                expr = self.filter(expr)?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// After `[`: a key, or a slice `from:length`.
    fn subscript(&mut self, base: Expr) -> Result<Expr, SyntaxError> {
        let from = if matches!(self.peek(), Some(Token::Sign(":"))) { Expr::Int(0) } else { self.expr()? };
        if self.sign("]") {
            return Ok(Expr::Attr(Box::new(base), Box::new(from)));
        }
        self.need(":")?;
        let length = if matches!(self.peek(), Some(Token::Sign("]"))) { Expr::Null } else { self.expr()? };
        self.need("]")?;
        Ok(Expr::Call("slice", vec![base, from, length]))
    }
}
