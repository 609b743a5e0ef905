//! Operators, tests and the helpers that the compiler emits.

use std::cmp::Ordering;

use minijinja::value::Value;

use super::{Body, elements};
use crate::template::ops;
use crate::template::run::Run;
use crate::template::value::{self, Fault, Text, View, view};

pub(super) const BODIES: &[(&str, Body)] = &[
    ("_bool", Body::Plain(|_, a| Ok(view(&a[0]).is_true().into()))),
    ("_not", Body::Plain(|_, a| Ok((!view(&a[0]).is_true()).into()))),
    ("_add", Body::Plain(|_, a| ops::add(a))),
    ("_sub", Body::Plain(|_, a| ops::sub(a))),
    ("_mul", Body::Plain(|_, a| ops::mul(a))),
    ("_div", Body::Plain(|_, a| ops::div(a))),
    ("_floor_div", Body::Plain(|_, a| ops::floor_div(a))),
    ("_mod", Body::Plain(|_, a| ops::rem(a))),
    ("_pow", Body::Plain(|_, a| ops::pow(a))),
    ("_neg", Body::Plain(|_, a| ops::neg(a))),
    ("_cat", Body::Plain(concat)),
    ("_eq", Body::Plain(|run, a| Ok(ops::equal(&a[0], &a[1], &run.meter)?.into()))),
    ("_ne", Body::Plain(|run, a| Ok((!ops::equal(&a[0], &a[1], &run.meter)?).into()))),
    ("_lt", Body::Plain(|run, a| ordered(run, a, Ordering::is_lt))),
    ("_le", Body::Plain(|run, a| ordered(run, a, Ordering::is_le))),
    ("_gt", Body::Plain(|run, a| ordered(run, a, Ordering::is_gt))),
    ("_ge", Body::Plain(|run, a| ordered(run, a, Ordering::is_ge))),
    ("_cmp", Body::Plain(|run, a| Ok(ops::compare(&a[0], &a[1], &run.meter)?.map_or(1, |o| o as i64).into()))),
    ("_in", Body::Plain(|run, a| Ok(ops::contains(&a[0], &a[1], &run.meter)?.into()))),
    ("_not_in", Body::Plain(|run, a| Ok((!ops::contains(&a[0], &a[1], &run.meter)?).into()))),
    ("_starts", Body::Plain(|run, a| affix(run, a, |text, part| text.starts_with(part)))),
    ("_ends", Body::Plain(|run, a| affix(run, a, |text, part| text.ends_with(part)))),
    ("_matches", Body::Plain(matches)),
    ("_coalesce", Body::Plain(|_, a| Ok(pick(a, !view(&a[0]).is_nothing())))),
    ("_elvis", Body::Plain(|_, a| Ok(pick(a, view(&a[0]).is_true())))),
    ("default", Body::Plain(default)),
    ("_is_defined", Body::Plain(|_, a| Ok((!a[0].is_undefined()).into()))),
    ("_is_empty", Body::Plain(|_, a| Ok(view(&a[0]).is_empty().into()))),
    ("_is_null", Body::Plain(|_, a| Ok(view(&a[0]).is_nothing().into()))),
    ("_is_even", Body::Plain(|_, a| Ok((ops::number(&a[0])?.int() % 2 == 0).into()))),
    ("_is_odd", Body::Plain(|_, a| Ok((ops::number(&a[0])?.int() % 2 != 0).into()))),
    ("_is_iterable", Body::Plain(|_, a| Ok(elements(&a[0]).is_some().into()))),
    ("_is_same", Body::Plain(|run, a| Ok(ops::same(&a[0], &a[1], &run.meter)?.into()))),
    ("_is_divisible", Body::Plain(|_, a| Ok((ops::number(&ops::rem(a)?)?.int() == 0).into()))),
    ("_text", Body::Plain(|_, a| Ok(Value::from_object(Text(a[0].as_str().unwrap_or_default().into()))))),
    ("_captured", Body::Plain(|_, a| Ok(Value::from_object(Text(a[0].as_str().unwrap_or_default().into()))))),
];

fn pick(args: &[Value], first: bool) -> Value {
    args[usize::from(!first)].clone()
}

fn concat(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let (a, b) = (value::text(&args[0], &run.meter)?, value::text(&args[1], &run.meter)?);
    Ok(Value::from(format!("{a}{b}")))
}

fn ordered(run: &Run, args: &[Value], wanted: fn(Ordering) -> bool) -> Result<Value, Fault> {
    Ok(ops::compare(&args[0], &args[1], &run.meter)?.is_some_and(wanted).into())
}

fn affix(run: &Run, args: &[Value], test: fn(&str, &str) -> bool) -> Result<Value, Fault> {
    let (View::Str(text), View::Str(part)) = (view(&args[0]), view(&args[1])) else {
        return Ok(false.into());
    };
    run.meter.take(part.len())?;
    Ok(test(&text, &part).into())
}

/// Units per byte that a pattern is run over.
const MATCH_COST: usize = 8;

fn matches(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let text = value::text(&args[0], &run.meter)?;
    run.meter.take(text.len().saturating_mul(MATCH_COST))?;
    let pattern = args[1].as_usize().and_then(|at| run.parts.patterns.get(at));
    Ok(pattern.is_some_and(|pattern| pattern.is_match(&text)).into())
}

fn default(_: &Run, args: &[Value]) -> Result<Value, Fault> {
    if !view(&args[0]).is_empty() {
        return Ok(args[0].clone());
    }
    Ok(args.get(1).cloned().unwrap_or_else(|| "".into()))
}
