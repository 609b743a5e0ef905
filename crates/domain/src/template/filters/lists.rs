//! Filters on arrays, and those that work on texts and arrays alike.

use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::State;
use minijinja::value::Value;

use super::{Body, elements, integer, optional};
use crate::template::ops;
use crate::template::run::{Run, call_arrow};
use crate::template::value::{self, Fault, View, view};

pub(super) const BODIES: &[(&str, Body)] = &[
    ("_list", Body::Plain(|run, args| value::list(native(run, &args[0])?))),
    ("_hash", Body::Plain(hash)),
    ("_items", Body::Plain(items)),
    ("_pairs", Body::Plain(pairs)),
    ("length", Body::Plain(length)),
    ("first", Body::Plain(|run, args| end(run, args, true))),
    ("last", Body::Plain(|run, args| end(run, args, false))),
    ("join", Body::Plain(join)),
    ("keys", Body::Plain(keys)),
    ("merge", Body::Plain(merge)),
    ("reverse", Body::Plain(reverse)),
    ("slice", Body::Plain(slice)),
    ("column", Body::Plain(column)),
    ("cycle", Body::Plain(cycle)),
    ("sort", Body::Plain(|run, args| sorted(run, &args[0], |a, b| Ok(ops::compare(a, b, &run.meter)?.unwrap_or(Ordering::Equal))))),
    ("sort_by", Body::Arrow(sort_by)),
    ("map", Body::Arrow(map)),
    ("filter", Body::Arrow(filter)),
    ("reduce", Body::Arrow(reduce)),
];

/// Units per element of a new array.
const ELEMENT_COST: usize = 24;

/// The elements of a list that minijinja built from a literal.
fn native(run: &Run, list: &Value) -> Result<Vec<Value>, Fault> {
    let items: Vec<Value> = list.try_iter().map(Iterator::collect).unwrap_or_default();
    run.meter.take(items.len() * ELEMENT_COST)?;
    Ok(items)
}

fn hash(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let flat = native(run, &args[0])?;
    let mut entries: Vec<(Arc<str>, Value)> = Vec::with_capacity(flat.len() / 2);
    for pair in flat.chunks_exact(2) {
        entries.push((value::text(&pair[0], &run.meter)?.as_ref().into(), pair[1].clone()));
    }
    value::map(entries)
}

fn not_array(filter: &str, value: &Value) -> Fault {
    Fault::bad(format!("\"{filter}\" needs an array, not {}", view(value).kind()))
}

/// What a `for` with one name goes through: values of arrays; nothing is empty.
fn items(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    match view(&args[0]) {
        View::List(_) => Ok(args[0].clone()),
        View::Map(map) => {
            run.meter.take(map.entries.len() * ELEMENT_COST)?;
            value::list(map.entries.iter().map(|(_, value)| value.clone()).collect())
        }
        View::Undefined | View::Null => value::list(Vec::new()),
        // PHP only warns when a scalar is iterated, and Twig goes through nothing.
        _ => value::list(Vec::new()),
    }
}

/// What a `for` with two names goes through: pairs of key and value.
fn pairs(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let pair = |key: Value, item: &Value| value::list(vec![key, item.clone()]);
    match view(&args[0]) {
        View::List(list) => {
            run.meter.take(list.items.len() * 3 * ELEMENT_COST)?;
            value::list(list.items.iter().enumerate().map(|(at, item)| pair(at.into(), item)).collect::<Result<_, _>>()?)
        }
        View::Map(map) => {
            run.meter.take(map.entries.len() * 3 * ELEMENT_COST)?;
            let pairs = map.entries.iter().map(|(key, item)| pair(Value::from(key.clone()), item));
            value::list(pairs.collect::<Result<_, _>>()?)
        }
        _ => value::list(Vec::new()),
    }
}

fn length(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    Ok(match view(&args[0]) {
        View::Undefined | View::Null => 0.into(),
        View::List(list) => list.items.len().into(),
        View::Map(map) => map.entries.len().into(),
        _ => value::text(&args[0], &run.meter)?.chars().count().into(),
    })
}

fn end(run: &Run, args: &[Value], first: bool) -> Result<Value, Fault> {
    let nothing = || Value::from("");
    Ok(match view(&args[0]) {
        View::List(list) => (if first { list.items.first() } else { list.items.last() }).cloned().unwrap_or_else(nothing),
        View::Map(map) => (if first { map.entries.first() } else { map.entries.last() }).map_or_else(nothing, |(_, v)| v.clone()),
        View::Undefined | View::Null => nothing(),
        _ => {
            let text = value::text(&args[0], &run.meter)?;
            let mut chars = text.chars();
            (if first { chars.next() } else { chars.next_back() }).map_or_else(nothing, |c| c.to_string().into())
        }
    })
}

fn join(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let Some(items) = elements(&args[0]) else {
        // Twig joins nothing to an empty text.
        return Ok("".into());
    };
    let glue = optional(args, 1).map_or(Ok("".into()), |glue| value::text(glue, &run.meter))?;
    let last = optional(args, 2).map(|last| value::text(last, &run.meter)).transpose()?;
    let mut out = String::new();
    let count = items.len();
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            let glue = if at + 1 == count { last.as_ref().unwrap_or(&glue) } else { &glue };
            run.meter.take(glue.len())?;
            out.push_str(glue);
        }
        run.meter.take(1)?;
        out.push_str(&value::text(item, &run.meter)?);
    }
    Ok(out.into())
}

fn keys(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let keys: Vec<Value> = match view(&args[0]) {
        View::List(list) => (0..list.items.len()).map(Value::from).collect(),
        View::Map(map) => map.entries.iter().map(|(key, _)| Value::from(key.clone())).collect(),
        _ => Vec::new(),
    };
    run.meter.take(keys.len() * ELEMENT_COST)?;
    value::list(keys)
}

/// Entries of any array; the places of a list are its keys.
fn entries(value: &Value) -> Option<Vec<(Arc<str>, Value)>> {
    match view(value) {
        View::List(list) => Some(list.items.iter().enumerate().map(|(at, item)| (at.to_string().into(), item.clone())).collect()),
        View::Map(map) => Some(map.entries.clone()),
        View::Undefined | View::Null => Some(Vec::new()),
        _ => None,
    }
}

fn merge(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let size = |value: &Value| elements(value).map_or(0, |items| items.len());
    run.meter.take((size(&args[0]) + size(&args[1])) * 2 * ELEMENT_COST)?;
    let lists = |value: &Value| match view(value) {
        View::List(list) => Some(list.items.clone()),
        View::Undefined | View::Null => Some(Vec::new()),
        View::Map(map) if map.entries.is_empty() => Some(Vec::new()),
        _ => None,
    };
    if let (Some(mut a), Some(b)) = (lists(&args[0]), lists(&args[1])) {
        a.extend(b);
        return value::list(a);
    }
    let mut all = entries(&args[0]).ok_or_else(|| not_array("merge", &args[0]))?;
    all.extend(entries(&args[1]).ok_or_else(|| not_array("merge", &args[1]))?);
    value::map(all)
}

fn reverse(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    match view(&args[0]) {
        View::List(list) => {
            run.meter.take(list.items.len() * ELEMENT_COST)?;
            value::list(list.items.iter().rev().cloned().collect())
        }
        View::Map(map) => {
            run.meter.take(map.entries.len() * 2 * ELEMENT_COST)?;
            value::map(map.entries.iter().rev().cloned().collect())
        }
        _ => Ok(value::text(&args[0], &run.meter)?.chars().rev().collect::<String>().into()),
    }
}

/// Start and end of PHP's `array_slice` and `mb_substr` over `count` things.
fn bounds(count: usize, start: i64, length: Option<i64>) -> (usize, usize) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let from = if start < 0 { (count.saturating_add(start)).max(0) } else { start.min(count) };
    let to = match length {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length).max(from),
        Some(length) => from.saturating_add(length).min(count),
    };
    (usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0))
}

fn slice(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let (start, length) = (integer(args, 1)?.unwrap_or(0), integer(args, 2)?);
    match view(&args[0]) {
        View::List(list) => {
            let (from, to) = bounds(list.items.len(), start, length);
            run.meter.take((to - from) * ELEMENT_COST)?;
            value::list(list.items[from..to].to_vec())
        }
        View::Map(map) => {
            let (from, to) = bounds(map.entries.len(), start, length);
            run.meter.take((to - from) * 2 * ELEMENT_COST)?;
            value::map(map.entries[from..to].to_vec())
        }
        _ => {
            let text = value::text(&args[0], &run.meter)?;
            let (from, to) = bounds(text.chars().count(), start, length);
            Ok(text.chars().skip(from).take(to - from).collect::<String>().into())
        }
    }
}

fn column(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let name = value::text(&args[1], &run.meter)?;
    let rows = elements(&args[0]).ok_or_else(|| not_array("column", &args[0]))?;
    run.meter.take(rows.len() * ELEMENT_COST)?;
    value::list(
        rows.into_iter()
            .filter_map(|row| match view(row) {
                View::Map(map) => map.get(&name).cloned(),
                _ => None,
            })
            .collect(),
    )
}

fn cycle(_: &Run, args: &[Value]) -> Result<Value, Fault> {
    let items = elements(&args[0]).filter(|items| !items.is_empty()).ok_or_else(|| not_array("cycle", &args[0]))?;
    let at = ops::number(&args[1])?.int().rem_euclid(i64::try_from(items.len()).unwrap_or(i64::MAX));
    Ok(items[usize::try_from(at).unwrap_or(0)].clone())
}

/// A stable merge sort that tolerates comparisons without order, and stops at the first fault.
fn merge_sort<T: Clone>(items: Vec<T>, compare: &mut dyn FnMut(&T, &T) -> Result<Ordering, Fault>) -> Result<Vec<T>, Fault> {
    if items.len() < 2 {
        return Ok(items);
    }
    let mut left = items;
    let right = left.split_off(left.len() / 2);
    let (left, right) = (merge_sort(left, compare)?, merge_sort(right, compare)?);
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare(a, b)? == Ordering::Greater { right.next() } else { left.next() };
        out.extend(next);
    }
    out.extend(left);
    out.extend(right);
    Ok(out)
}

fn sorted(run: &Run, array: &Value, mut compare: impl FnMut(&Value, &Value) -> Result<Ordering, Fault>) -> Result<Value, Fault> {
    match view(array) {
        View::List(list) => {
            run.meter.take(list.items.len() * ELEMENT_COST)?;
            value::list(merge_sort(list.items.clone(), &mut compare)?)
        }
        View::Map(map) => {
            run.meter.take(map.entries.len() * 2 * ELEMENT_COST)?;
            value::map(merge_sort(map.entries.clone(), &mut |a, b| compare(&a.1, &b.1))?)
        }
        View::Undefined | View::Null => value::list(Vec::new()),
        _ => Err(not_array("sort", array)),
    }
}

fn sort_by(state: &State<'_, '_>, run: &Arc<Run>, args: &[Value]) -> Result<Value, Fault> {
    sorted(run, &args[0], |a, b| {
        let order = call_arrow(state, run, &args[1..], &[a.clone(), b.clone()])?;
        Ok(ops::number(&order)?.float().partial_cmp(&0.0).unwrap_or(Ordering::Equal))
    })
}

fn map(state: &State<'_, '_>, run: &Arc<Run>, args: &[Value]) -> Result<Value, Fault> {
    let call = |key: Value, item: &Value| call_arrow(state, run, &args[1..], &[item.clone(), key]);
    match view(&args[0]) {
        View::List(list) => value::list(list.items.iter().enumerate().map(|(at, item)| call(at.into(), item)).collect::<Result<_, _>>()?),
        View::Map(map) => {
            let entries = map.entries.iter().map(|(key, item)| Ok((key.clone(), call(Value::from(key.clone()), item)?)));
            value::map(entries.collect::<Result<_, Fault>>()?)
        }
        View::Undefined | View::Null => value::list(Vec::new()),
        _ => Err(not_array("map", &args[0])),
    }
}

fn filter(state: &State<'_, '_>, run: &Arc<Run>, args: &[Value]) -> Result<Value, Fault> {
    let keep = |key: Value, item: &Value| -> Result<bool, Fault> {
        Ok(view(&call_arrow(state, run, &args[1..], &[item.clone(), key])?).is_true())
    };
    match view(&args[0]) {
        View::List(list) => {
            let mut kept = Vec::new();
            for (at, item) in list.items.iter().enumerate() {
                if keep(at.into(), item)? {
                    kept.push(item.clone());
                }
            }
            value::list(kept)
        }
        View::Map(map) => {
            let mut kept = Vec::new();
            for (key, item) in &map.entries {
                if keep(Value::from(key.clone()), item)? {
                    kept.push((key.clone(), item.clone()));
                }
            }
            value::map(kept)
        }
        View::Undefined | View::Null => value::list(Vec::new()),
        _ => Err(not_array("filter", &args[0])),
    }
}

/// `reduce((carry, v) => …, initial)`: the initial value comes first in the arguments, if there is one.
fn reduce(state: &State<'_, '_>, run: &Arc<Run>, args: &[Value]) -> Result<Value, Fault> {
    let items = match elements(&args[0]) {
        Some(items) => items,
        None if view(&args[0]).is_nothing() => Vec::new(),
        None => return Err(not_array("reduce", &args[0])),
    };
    items.into_iter().try_fold(args[1].clone(), |carry, item| call_arrow(state, run, &args[2..], &[carry, item.clone()]))
}
