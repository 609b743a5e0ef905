//! Filters on numbers.

use std::cmp::Ordering;

use minijinja::value::Value;

use super::{Body, elements, integer, optional};
use crate::template::ops::{self, Num};
use crate::template::run::Run;
use crate::template::value::{self, Fault};

pub(super) const BODIES: &[(&str, Body)] = &[
    ("abs", Body::Plain(abs)),
    ("round", Body::Plain(round)),
    ("number_format", Body::Plain(number_format)),
    ("range", Body::Plain(range)),
    ("max", Body::Plain(|run, args| extreme(run, args, Ordering::Greater))),
    ("min", Body::Plain(|run, args| extreme(run, args, Ordering::Less))),
];

/// Most digits after the point, and most digits rounded away.
const MAX_PRECISION: i64 = 15;
/// Longest sequence that `a..b` makes.
const MAX_RANGE: i64 = 100_000;

fn abs(_: &Run, args: &[Value]) -> Result<Value, Fault> {
    Ok(match ops::number(&args[0])? {
        Num::Int(number) => number.checked_abs().map_or_else(|| (-(number as f64)).into(), Value::from),
        Num::Float(number) => number.abs().into(),
    })
}

/// `number` rounded to `precision` decimals; halves go away from zero, judged on the printed decimal as PHP does.
fn rounded(number: f64, precision: i64, method: &str) -> f64 {
    let scale = 10f64.powi(precision.clamp(-MAX_PRECISION, MAX_PRECISION) as i32);
    let scaled = number * scale;
    if !scaled.is_finite() {
        return number;
    }
    // 1.005 * 100 is 100.49999…: look at it with 15 significant digits.
    let seen: f64 = format!("{scaled:.14e}").parse().unwrap_or(scaled);
    let whole = match method {
        "ceil" => seen.ceil(),
        "floor" => seen.floor(),
        _ => seen.round(),
    };
    let result = whole / scale;
    if result == 0.0 { 0.0 } else { result }
}

fn round(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let number = ops::number(&args[0])?;
    let precision = integer(args, 1)?.unwrap_or(0);
    let method = match optional(args, 2) {
        Some(method) => value::text(method, &run.meter)?,
        None => "common".into(),
    };
    if !matches!(&*method, "common" | "ceil" | "floor") {
        return Err(Fault::bad(format!("\"{}\" is not a way to round: use common, ceil or floor", ops::excerpt(&method))));
    }
    Ok(match number {
        Num::Int(number) if precision >= 0 => number.into(),
        number => rounded(number.float(), precision, &method).into(),
    })
}

fn number_format(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let number = ops::number(&args[0])?.float();
    let decimals = integer(args, 1)?.unwrap_or(0).clamp(0, MAX_PRECISION);
    let text = |at: usize, otherwise: &'static str| match args.get(at) {
        None => Ok(otherwise.into()),
        Some(value) if value.is_none() => Ok(otherwise.into()),
        Some(value) => value::text(value, &run.meter),
    };
    let (point, separator) = (text(2, ".")?, text(3, ",")?);
    if !number.is_finite() {
        return Ok(value::float_text(number).into());
    }
    let places = usize::try_from(decimals).unwrap_or(0);
    let fixed = format!("{:.places$}", rounded(number, decimals, "common").abs());
    let (whole, fraction) = fixed.split_once('.').unwrap_or((&fixed, ""));
    run.meter.take(whole.len() * separator.len().max(1))?;
    let mut out = String::new();
    if rounded(number, decimals, "common") < 0.0 {
        out.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push_str(&separator);
        }
        out.push(digit);
    }
    if places > 0 {
        out.push_str(&point);
        out.push_str(fraction);
    }
    Ok(out.into())
}

fn range(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let (from, to) = (args[0].clone(), args[1].clone());
    let step = integer(args, 2)?.unwrap_or(1).unsigned_abs();
    if step == 0 {
        return Err(Fault::bad("the step of a range cannot be 0"));
    }
    if let (Some(from), Some(to)) = (letter(&from), letter(&to)) {
        let (low, high) = (from.min(to), from.max(to));
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let mut letters: Vec<Value> = (low..=high).step_by(step).map(|b| char::from(b).to_string().into()).collect();
        if from > to {
            letters = (low..=high).rev().step_by(step).map(|b| char::from(b).to_string().into()).collect();
        }
        return value::list(letters);
    }
    let (from, to) = (ops::number(&from)?.int(), ops::number(&to)?.int());
    let count = from.abs_diff(to) / step;
    if count >= MAX_RANGE.unsigned_abs() {
        return Err(Fault::TooSlow);
    }
    run.meter.take(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(24))?;
    let stride = i64::try_from(step).unwrap_or(i64::MAX);
    let signed = if from <= to { stride } else { -stride };
    let count = i64::try_from(count).unwrap_or(0);
    value::list((0..=count).map(|n| from.saturating_add(n.saturating_mul(signed)).into()).collect())
}

/// The byte of a text of one ASCII letter.
fn letter(value: &Value) -> Option<u8> {
    match value.as_str()?.as_bytes() {
        [byte] if byte.is_ascii_alphabetic() => Some(*byte),
        _ => None,
    }
}

fn extreme(run: &Run, args: &[Value], wanted: Ordering) -> Result<Value, Fault> {
    let candidates = match args {
        [only] => elements(only).ok_or_else(|| Fault::bad("max and min need an array or several values"))?,
        several => several.iter().collect(),
    };
    let mut best: Option<&Value> = None;
    for candidate in candidates {
        let better = match best {
            None => true,
            Some(best) => ops::compare(candidate, best, &run.meter)? == Some(wanted),
        };
        if better {
            best = Some(candidate);
        }
    }
    Ok(best.cloned().unwrap_or_else(|| Value::from(())))
}
