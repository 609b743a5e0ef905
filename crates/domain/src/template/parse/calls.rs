//! Filters with their arguments and arrow functions, functions and tests.

use super::{Expr, Parser};
use crate::template::filters::{self, Arrow};
use crate::template::lex::{SyntaxError, Token};

impl Parser<'_> {
    pub(super) fn filter(&mut self, base: Expr) -> Result<Expr, SyntaxError> {
        let name = self.name()?;
        let Some(spec) = filters::find(&name) else {
            self.at -= 1;
            return Err(self.error(format!("there is no filter \"{name}\"")));
        };
        let mut args = vec![base];
        let mut arrow = None;
        if self.sign("(") {
            arrow = self.arguments(spec, &mut args)?;
        }
        if args.len() < 1 + spec.required {
            return Err(self.error(format!("the filter \"{name}\" needs {}", spec.params[..spec.required].join(" and "))));
        }
        match (spec.arrow, arrow) {
            (Arrow::Required | Arrow::Optional(_), Some((params, body))) => {
                // The number of the arrow function and its captures follow the arguments, so none may be left out.
                args.resize(1 + spec.params.len(), Expr::Null);
                let filter = if let Arrow::Optional(other) = spec.arrow { other } else { spec.run };
                Ok(Expr::CallArrow(filter, args, params, Box::new(body)))
            }
            (Arrow::Required, None) => Err(self.error(format!("the filter \"{name}\" needs an arrow function such as v => v.name"))),
            (_, None) => Ok(Expr::Call(spec.run, args)),
            (Arrow::None, Some(_)) => Err(self.error(format!("the filter \"{name}\" takes no arrow function"))),
        }
    }

    /// Arguments after `(`, by place or by name; an arrow function may stand among them.
    fn arguments(&mut self, spec: &filters::Spec, args: &mut Vec<Expr>) -> Result<Option<(Vec<String>, Expr)>, SyntaxError> {
        let mut arrow = None;
        let mut first = true;
        while !self.sign(")") {
            if !first {
                self.need(",")?;
                if self.sign(")") {
                    break;
                }
            }
            first = false;
            if arrow.is_none()
                && let Some(found) = self.arrow()?
            {
                arrow = Some(found);
                continue;
            }
            let named = match (self.peek(), self.tokens.get(self.at + 1)) {
                (Some(Token::Name(name)), Some((Token::Sign("="), _))) => {
                    let place = spec.params.iter().position(|param| param == name);
                    let place = place.ok_or_else(|| self.error(format!("there is no argument \"{name}\" here")))?;
                    self.at += 2;
                    Some(place + 1)
                }
                _ => None,
            };
            let value = self.expr()?;
            let place = named.unwrap_or(args.len());
            if place > spec.params.len() {
                return Err(self.error(format!("too many arguments for \"{}\"", spec.name)));
            }
            while args.len() <= place {
                args.push(Expr::Null);
            }
            args[place] = value;
        }
        Ok(arrow)
    }

    /// `v => body` or `(a, b) => body`, if one is next.
    fn arrow(&mut self) -> Result<Option<(Vec<String>, Expr)>, SyntaxError> {
        let start = self.at;
        let mut params = Vec::new();
        if self.sign("(") {
            while let Some(Token::Name(name)) = self.peek() {
                params.push(name.clone());
                self.at += 1;
                if !self.sign(",") {
                    break;
                }
            }
            if !self.sign(")") {
                params.clear();
            }
        } else if let Some(Token::Name(name)) = self.peek() {
            params.push(name.clone());
            self.at += 1;
        }
        if params.is_empty() || !self.sign("=>") {
            self.at = start;
            return Ok(None);
        }
        if params.len() > 2 {
            return Err(self.error("an arrow function takes one or two values"));
        }
        Ok(Some((params, self.expr()?)))
    }

    pub(super) fn function(&mut self, name: &str) -> Result<Expr, SyntaxError> {
        let Some(spec) = filters::find_function(name) else {
            self.at -= 1;
            return Err(self.error(match name {
                "include" | "source" | "template_from_string" | "block" | "parent" => {
                    format!("{name}() is not available: a template cannot read other templates or files")
                }
                _ => format!("there is no function \"{name}\""),
            }));
        };
        self.need("(")?;
        let mut args = Vec::new();
        while !self.sign(")") {
            if !args.is_empty() {
                self.need(",")?;
            }
            args.push(self.expr()?);
        }
        if args.len() < spec.required || args.len() > spec.most {
            return Err(self.error(format!("the function \"{name}\" takes {} to {} arguments", spec.required, spec.most)));
        }
        Ok(Expr::Call(spec.run, args))
    }

    pub(super) fn test(&mut self, left: Expr) -> Result<Expr, SyntaxError> {
        let mut name = self.name()?;
        if matches!(name.as_str(), "same" | "divisible")
            && let Some(Token::Name(second)) = self.peek()
        {
            name = format!("{name} {second}");
            self.at += 1;
        }
        let (filter, takes) = match name.as_str() {
            "defined" => ("_is_defined", false),
            "empty" => ("_is_empty", false),
            "null" | "none" => ("_is_null", false),
            "even" => ("_is_even", false),
            "odd" => ("_is_odd", false),
            "iterable" => ("_is_iterable", false),
            "same as" => ("_is_same", true),
            "divisible by" => ("_is_divisible", true),
            _ => return Err(self.error(format!("there is no test \"{name}\""))),
        };
        let mut args = vec![left];
        if takes {
            self.need("(")?;
            args.push(self.expr()?);
            self.need(")")?;
        }
        Ok(Expr::Call(filter, args))
    }
}
