//! PHP 8 arithmetic, comparison and containment, which Twig's operators are defined by.

use std::cmp::Ordering;

use minijinja::value::Value;

use super::value::{self, Fault, Meter, View, view};

/// A number as arithmetic sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Num {
    Int(i64),
    Float(f64),
}

impl Num {
    /// The number as a float; integers beyond 2^53 are rounded.
    pub fn float(self) -> f64 {
        match self {
            Num::Int(number) => number as f64,
            Num::Float(number) => number,
        }
    }

    /// The number cut to an integer; out of range saturates, NaN is 0.
    pub fn int(self) -> i64 {
        match self {
            Num::Int(number) => number,
            Num::Float(number) => number as i64,
        }
    }
}

/// The number that a numeric string means: blanks around it are allowed, anything else is not.
pub(super) fn numeric(text: &str) -> Option<Num> {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return None;
    }
    match trimmed.parse::<i64>() {
        Ok(number) => Some(Num::Int(number)),
        Err(_) => trimmed.parse().ok().map(Num::Float),
    }
}

/// The number a value stands for in arithmetic: nothing is 0, booleans are 0 and 1.
///
/// # Errors
/// [`Fault::Bad`] for arrays and for texts that are not numeric.
pub(super) fn number(value: &Value) -> Result<Num, Fault> {
    Ok(match view(value) {
        View::Undefined | View::Null => Num::Int(0),
        View::Bool(b) => Num::Int(i64::from(b)),
        View::Int(number) => Num::Int(number),
        View::Float(number) => Num::Float(number),
        View::Big(text) => Num::Float(text.parse().unwrap_or(f64::NAN)),
        View::Str(text) => numeric(&text).ok_or_else(|| Fault::bad(format!("\"{}\" is not a number", excerpt(&text))))?,
        other @ (View::List(_) | View::Map(_)) => {
            return Err(Fault::bad(format!("{} cannot be used as a number", other.kind())));
        }
    })
}

/// The first characters of a text, for messages.
pub(super) fn excerpt(text: &str) -> String {
    let mut out: String = text.chars().take(40).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

fn arithmetic(args: &[Value], exact: fn(i64, i64) -> Option<i64>, inexact: fn(f64, f64) -> f64) -> Result<Value, Fault> {
    let (a, b) = (number(&args[0])?, number(&args[1])?);
    if let (Num::Int(a), Num::Int(b)) = (a, b)
        && let Some(result) = exact(a, b)
    {
        return Ok(result.into());
    }
    Ok(inexact(a.float(), b.float()).into())
}

/// `a + b`; an integer overflow becomes a float, as in PHP.
pub(super) fn add(args: &[Value]) -> Result<Value, Fault> {
    arithmetic(args, i64::checked_add, |a, b| a + b)
}

/// `a - b`.
pub(super) fn sub(args: &[Value]) -> Result<Value, Fault> {
    arithmetic(args, i64::checked_sub, |a, b| a - b)
}

/// `a * b`.
pub(super) fn mul(args: &[Value]) -> Result<Value, Fault> {
    arithmetic(args, i64::checked_mul, |a, b| a * b)
}

/// `a ** b`.
pub(super) fn pow(args: &[Value]) -> Result<Value, Fault> {
    arithmetic(args, |a, b| a.checked_pow(u32::try_from(b).ok()?), f64::powf)
}

/// `-a`.
pub(super) fn neg(args: &[Value]) -> Result<Value, Fault> {
    Ok(match number(&args[0])? {
        Num::Int(number) => number.checked_neg().map_or_else(|| (-(number as f64)).into(), Value::from),
        Num::Float(number) => (-number).into(),
    })
}

fn divisor(value: &Value) -> Result<Num, Fault> {
    let by = number(value)?;
    if by.float() == 0.0 { Err(Fault::bad("division by zero")) } else { Ok(by) }
}

/// `a / b`: an integer when it divides evenly.
pub(super) fn div(args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = (number(&args[0])?, divisor(&args[1])?);
    if let (Num::Int(a), Num::Int(b)) = (a, b)
        && a.checked_rem(b) == Some(0)
    {
        return Ok((a / b).into());
    }
    Ok((a.float() / b.float()).into())
}

/// `a // b`: rounded down to an integer.
pub(super) fn floor_div(args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = (number(&args[0])?, divisor(&args[1])?);
    Ok(((a.float() / b.float()).floor() as i64).into())
}

/// `a % b` on integers, with the sign of `a`.
pub(super) fn rem(args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = (number(&args[0])?.int(), number(&args[1])?.int());
    if b == 0 {
        return Err(Fault::bad("division by zero"));
    }
    Ok(a.checked_rem(b).unwrap_or(0).into())
}

/// PHP's `<=>`: `None` when the two cannot be ordered.
///
/// # Errors
/// [`Fault::TooSlow`] when the meter runs out on large values.
pub(super) fn compare(a: &Value, b: &Value, meter: &Meter) -> Result<Option<Ordering>, Fault> {
    meter.take(1)?;
    let (left, right) = (view(a), view(b));
    Ok(match (&left, &right) {
        (View::Str(x), View::Str(y)) => {
            meter.take(x.len().min(y.len()))?;
            match (numeric(x), numeric(y)) {
                (Some(x), Some(y)) => order(x, y),
                _ => Some(x.as_bytes().cmp(y.as_bytes())),
            }
        }
        (View::Undefined | View::Null, View::Str(y)) => Some("".cmp(y)),
        (View::Str(x), View::Undefined | View::Null) => Some((**x).cmp("")),
        (View::Bool(_) | View::Undefined | View::Null, _) | (_, View::Bool(_) | View::Undefined | View::Null) => {
            Some(left.is_true().cmp(&right.is_true()))
        }
        (View::List(x), View::List(y)) => match x.items.len().cmp(&y.items.len()) {
            Ordering::Equal => {
                for (p, q) in x.items.iter().zip(&y.items) {
                    match compare(p, q, meter)? {
                        Some(Ordering::Equal) => {}
                        other => return Ok(other),
                    }
                }
                Some(Ordering::Equal)
            }
            other => Some(other),
        },
        (View::Map(x), View::Map(y)) => match x.entries.len().cmp(&y.entries.len()) {
            Ordering::Equal => {
                for (key, p) in &x.entries {
                    let Some(q) = y.get(key) else { return Ok(None) };
                    match compare(p, q, meter)? {
                        Some(Ordering::Equal) => {}
                        other => return Ok(other),
                    }
                }
                Some(Ordering::Equal)
            }
            other => Some(other),
        },
        (View::List(x), View::Map(y)) => empty_equal(x.items.is_empty(), y.entries.is_empty()),
        (View::Map(x), View::List(y)) => empty_equal(x.entries.is_empty(), y.items.is_empty()),
        (View::List(_) | View::Map(_), _) => Some(Ordering::Greater),
        (_, View::List(_) | View::Map(_)) => Some(Ordering::Less),
        (View::Str(x), _) => match numeric(x) {
            Some(x) => order(x, number(b)?),
            None => Some((**x).cmp(&*value::text(b, meter)?)),
        },
        (_, View::Str(y)) => match numeric(y) {
            Some(y) => order(number(a)?, y),
            None => Some((*value::text(a, meter)?).cmp(&**y)),
        },
        (View::Big(x), View::Big(y)) if x == y => Some(Ordering::Equal),
        _ => order(number(a)?, number(b)?),
    })
}

fn order(a: Num, b: Num) -> Option<Ordering> {
    match (a, b) {
        (Num::Int(a), Num::Int(b)) => Some(a.cmp(&b)),
        _ => a.float().partial_cmp(&b.float()),
    }
}

fn empty_equal(a: bool, b: bool) -> Option<Ordering> {
    match (a, b) {
        (true, true) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (false, false) => None,
    }
}

/// PHP's `==`.
pub(super) fn equal(a: &Value, b: &Value, meter: &Meter) -> Result<bool, Fault> {
    Ok(compare(a, b, meter)? == Some(Ordering::Equal))
}

/// Twig's `same as`: equal and of one type.
pub(super) fn same(a: &Value, b: &Value, meter: &Meter) -> Result<bool, Fault> {
    let one_type = match (view(a), view(b)) {
        (View::Undefined | View::Null, View::Undefined | View::Null) => return Ok(true),
        (View::Str(x), View::Str(y)) => return Ok(x == y),
        (x, y) => std::mem::discriminant(&x) == std::mem::discriminant(&y),
    };
    Ok(one_type && equal(a, b, meter)?)
}

/// Twig's `needle in haystack`: an element of an array, or a part of a text.
///
/// # Errors
/// [`Fault::TooSlow`] when the meter runs out.
pub(super) fn contains(needle: &Value, haystack: &Value, meter: &Meter) -> Result<bool, Fault> {
    let found = |items: &mut dyn Iterator<Item = &Value>| -> Result<bool, Fault> {
        for item in items {
            if equal(needle, item, meter)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match view(haystack) {
        View::List(list) => found(&mut list.items.iter()),
        View::Map(map) => found(&mut map.entries.iter().map(|(_, value)| value)),
        View::Str(text) if !matches!(view(needle), View::List(_) | View::Map(_) | View::Undefined | View::Null) => {
            meter.take(text.len())?;
            Ok(text.contains(&*value::text(needle, meter)?))
        }
        _ => Ok(false),
    }
}
