//! Expressions: from their tree to minijinja source.

use std::collections::HashMap;

use super::{Arrow, Compiler, Scope, ScopeKind};
use crate::template::lex::SyntaxError;
use crate::template::parse::Expr;

impl Compiler {
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
    pub(super) fn output(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
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
    pub(super) fn condition(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
        match expr {
            Expr::Bool(_) | Expr::Not(_) => self.expr(expr, line),
            Expr::And(..) | Expr::Or(..) => Ok(format!("({})", self.expr(expr, line)?)),
            Expr::Call(name, _) if is_boolean(name) => self.expr(expr, line),
            Expr::Matches(..) => self.expr(expr, line),
            _ => Ok(format!("{}|_bool", self.chain(expr, line)?)),
        }
    }

    /// Code that filters and attributes can follow.
    pub(super) fn chain(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
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

    pub(super) fn expr(&mut self, expr: &Expr, line: usize) -> Result<String, SyntaxError> {
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

/// A minijinja string literal.
pub(super) fn literal(text: &str) -> String {
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
