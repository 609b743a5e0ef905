//! From text to tree: references, and what stands inside the parentheses of directives.

use super::parse::{Parsed, Parser};
use super::{Expression, Operator, Reference, Step, Value};

/// Operators by rank, the loosest first; of two that begin alike the longer one stands first. Words must end where a name would.
const RANKS: [&[(&str, Operator)]; 6] = [
    &[("||", Operator::Or), ("or", Operator::Or)],
    &[("&&", Operator::And), ("and", Operator::And)],
    &[("==", Operator::Equal), ("!=", Operator::Different), ("eq", Operator::Equal), ("ne", Operator::Different)],
    &[
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::More),
        ("le", Operator::AtMost),
        ("ge", Operator::AtLeast),
        ("lt", Operator::Less),
        ("gt", Operator::More),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)],
];

/// Whether a name can begin so.
pub(super) fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

impl Parser<'_> {
    /// `$name`, `$!name`, `${name}`, `$!{name}` and what follows a name; on `None` it is only a `$`, and nothing is consumed.
    pub(super) fn reference(&mut self) -> Parsed<Option<Reference>> {
        let start = self.at;
        if !self.eat("$") {
            return Ok(None);
        }
        let is_quiet = self.eat("!");
        let is_formal = self.eat("{");
        let Some(name) = self.name() else {
            self.at = start;
            return Ok(None);
        };
        let mut steps = Vec::new();
        loop {
            if self.eat("[") {
                let key = self.deeper(Self::parameter)?;
                self.expect("]")?;
                steps.push(Step::Index(key));
            } else if self.rest().starts_with('.') && self.rest().as_bytes().get(1).is_some_and(u8::is_ascii_alphabetic) {
                self.at += 1;
                let Some(name) = self.name() else { break };
                if self.eat("(") {
                    let arguments = self.deeper(|parser| parser.parameters(")"))?;
                    steps.push(Step::Method(name, arguments));
                } else {
                    steps.push(Step::Property(name));
                }
            } else {
                break;
            }
        }
        if is_formal && !self.eat("}") {
            return Err(self.fault_at(start, "this reference has no closing brace"));
        }
        Ok(Some(Reference { name, steps, is_quiet, escapes: 0, literal: self.source[start..self.at].into() }))
    }

    fn name(&mut self) -> Option<Box<str>> {
        let start = self.at;
        if !self.rest().bytes().next().is_some_and(is_letter) {
            return None;
        }
        self.skip(is_in_name);
        Some(self.source[start..self.at].into())
    }

    /// An expression with operators.
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.deeper(|parser| parser.rank(0))
    }

    fn rank(&mut self, rank: usize) -> Parsed<Expression> {
        let Some(operators) = RANKS.get(rank) else { return self.unary() };
        let first = self.rank(rank + 1)?;
        let mut others = Vec::new();
        while let Some(operator) = self.operator(operators) {
            others.push((operator, self.rank(rank + 1)?));
        }
        Ok(if others.is_empty() { first } else { Expression::Chain(Box::new(first), others) })
    }

    fn operator(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        self.skip_space();
        operators.iter().find(|(text, _)| self.eat_operator(text)).map(|(_, operator)| *operator)
    }

    fn eat_operator(&mut self, text: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(text) else { return false };
        let is_word = text.as_bytes()[0].is_ascii_alphabetic();
        if is_word && after.bytes().next().is_some_and(is_in_name) {
            return false;
        }
        self.eat(text)
    }

    fn unary(&mut self) -> Parsed<Expression> {
        self.skip_space();
        if self.eat_operator("!") || self.eat_operator("not") {
            return Ok(Expression::Not(Box::new(self.deeper(Self::unary)?)));
        }
        if self.eat("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.parameter()
    }

    /// What can be handed to a method: anything but operators.
    pub(super) fn parameter(&mut self) -> Parsed<Expression> {
        self.skip_space();
        let start = self.at;
        let expression = match self.rest().bytes().next() {
            Some(b'"') => self.double_quoted()?,
            Some(b'\'') => {
                let rest = &self.rest()[1..];
                let length = rest.find('\'').ok_or_else(|| self.fault_at(start, "this text has no closing quote"))?;
                self.at += length + 2;
                Expression::Constant(Value::from(&rest[..length]))
            }
            Some(b'$') => match self.reference()? {
                Some(reference) => Expression::Reference(Box::new(reference)),
                None => return Err(self.fault_at(start, "a name must follow the $")),
            },
            Some(b'[') => self.deeper(Self::list)?,
            Some(b'{') => self.deeper(Self::map)?,
            Some(byte) if byte.is_ascii_digit() || matches!(byte, b'-' | b'.') => self.number()?,
            _ if self.eat_operator("true") => Expression::Constant(Value::Bool(true)),
            _ if self.eat_operator("false") => Expression::Constant(Value::Bool(false)),
            _ => return Err(self.fault_at(start, "a value must be here: a reference, a text in quotes, a number, a list")),
        };
        self.skip_space();
        Ok(expression)
    }

    /// Values parted by commas up to `close`.
    fn parameters(&mut self, close: &str) -> Parsed<Vec<Expression>> {
        let mut all = Vec::new();
        self.skip_space();
        if self.eat(close) {
            return Ok(all);
        }
        loop {
            all.push(self.parameter()?);
            if self.eat(close) {
                return Ok(all);
            }
            if !self.eat(",") {
                return Err(self.fault_at(self.at, format!("`,` or `{close}` must be here")));
            }
        }
    }

    /// `[a, b]` or `[from..to]`.
    fn list(&mut self) -> Parsed<Expression> {
        self.expect("[")?;
        self.skip_space();
        if self.eat("]") {
            return Ok(Expression::List(Vec::new()));
        }
        let first = self.parameter()?;
        if self.eat("..") {
            let last = self.parameter()?;
            self.expect("]")?;
            return Ok(Expression::Range(Box::new((first, last))));
        }
        let mut items = vec![first];
        if !self.eat("]") {
            self.expect(",")?;
            items.extend(self.parameters("]")?);
        }
        Ok(Expression::List(items))
    }

    /// `{ name: value }`.
    fn map(&mut self) -> Parsed<Expression> {
        self.expect("{")?;
        self.skip_space();
        let mut entries = Vec::new();
        if self.eat("}") {
            return Ok(Expression::Map(entries));
        }
        loop {
            let name = self.parameter()?;
            self.expect(":")?;
            entries.push((name, self.parameter()?));
            if self.eat("}") {
                return Ok(Expression::Map(entries));
            }
            self.expect(",")?;
        }
    }

    fn number(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.eat("-");
        self.skip(|byte| byte.is_ascii_digit());
        // Two points are a range.
        if self.rest().starts_with('.') && !self.rest().starts_with("..") {
            self.at += 1;
            self.skip(|byte| byte.is_ascii_digit());
        }
        let mantissa = self.at;
        if self.eat("e") || self.eat("E") {
            let _ = self.eat("+") || self.eat("-");
            let digits = self.at;
            self.skip(|byte| byte.is_ascii_digit());
            if self.at == digits {
                self.at = mantissa;
            }
        }
        let text = &self.source[start..self.at];
        let value = match text.parse() {
            Ok(number) => Some(Value::Integer(number)),
            Err(_) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float),
        };
        value.map(Expression::Constant).ok_or_else(|| self.fault_at(start, "this is no number"))
    }

    /// A text in double quotes; references and directives inside are kept as a template of its own.
    fn double_quoted(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let inner = &self.rest()[1..];
        let length = closing_quote(inner).ok_or_else(|| self.fault_at(start, "this text has no closing quote"))?;
        self.at += length + 2;
        let text = unescape(&inner[..length]);
        if text.contains(['$', '#']) {
            return Ok(Expression::Text(self.within(&text, start + 1).whole()?));
        }
        Ok(Expression::Constant(Value::from(text)))
    }

    pub(super) fn expect(&mut self, text: &str) -> Parsed<()> {
        self.skip_space();
        if self.eat(text) { Ok(()) } else { Err(self.fault_at(self.at, format!("`{text}` must be here"))) }
    }
}

/// Where a text in double quotes ends. A quote after a backslash ends it only if no later one does.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = None;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !is_escaped => return Some(at),
            b'"' => escaped = Some(at),
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    escaped
}

/// The one escape that Velocity replaces: `\uXXXX`. Other backslashes stay.
fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        result.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let code = after.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match code.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32) {
            Some(character) => {
                result.push(character);
                rest = &after[4..];
            }
            None => {
                result.push_str("\\u");
                rest = after;
            }
        }
    }
    result.push_str(rest);
    result
}
