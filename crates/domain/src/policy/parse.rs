//! The API form of a policy, read by hand so that every error names its field and its bound.
//!
//! `null` counts as absent. Fields that do not exist are refused: a typing error in `concurency`
//! must not become "no limit".

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::units::{format_bytes, format_duration, parse_bytes, parse_duration};
use super::{Batch, Exponential, Jitter, Order, Policy, Rate, Retry, StatusMatch, bounds};

/// A policy that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct PolicyError {
    /// Path of the field at fault, from `policy` down: `policy.retry.exponential.factor`.
    pub field: String,
    /// What it must be, to follow the path and a colon: `must be at least 1`.
    pub reason: String,
}

type Parsed<T> = Result<T, PolicyError>;

pub(super) fn policy(value: &Value) -> Parsed<Policy> {
    let at = At::root(value);
    let map = at.object(&[
        "timeout",
        "connect_timeout",
        "retry",
        "jitter",
        "success",
        "stop",
        "batch",
        "rate",
        "concurrency",
        "order",
        "retry_after_max",
    ])?;
    Ok(Policy {
        timeout: map.read("timeout", |at| at.duration(bounds::TIMEOUT))?,
        connect_timeout: map.read("connect_timeout", |at| at.duration(bounds::CONNECT_TIMEOUT))?,
        retry: map.read("retry", retry)?,
        jitter: map.read("jitter", jitter)?,
        success: map.read("success", |at| statuses(at, 1))?,
        stop: map.read("stop", |at| statuses(at, 0))?,
        batch: map.read("batch", batch)?,
        rate: map.read("rate", rate)?,
        concurrency: map.read("concurrency", |at| at.small(bounds::CONCURRENCY))?,
        order: map.read("order", order)?,
        retry_after_max: map.read("retry_after_max", |at| at.duration(bounds::RETRY_AFTER_MAX))?,
    })
}

fn retry(at: At<'_>) -> Parsed<Retry> {
    let map = at.object(&["delays", "exponential"])?;
    let delays = map.read("delays", delays)?;
    let exponential = map.read("exponential", exponential)?;
    match (delays, exponential) {
        (Some(delays), None) => Ok(Retry::Delays(delays)),
        (None, Some(exponential)) => Ok(Retry::Exponential(exponential)),
        _ => Err(at.must("have either \"delays\" or \"exponential\"")),
    }
}

fn delays(at: At<'_>) -> Parsed<Vec<Duration>> {
    let items = at.array(0..=bounds::DELAYS)?;
    items.map(|item| item.duration(bounds::DELAY)).collect()
}

fn exponential(at: At<'_>) -> Parsed<Exponential> {
    let map = at.object(&["first", "factor", "max", "window"])?;
    let first = map.need("first", |at| at.duration(bounds::EXPONENTIAL_FIRST))?;
    let factor = map.read("factor", |at| at.float(bounds::EXPONENTIAL_FACTOR))?;
    let max = map.read("max", |at| {
        let max = at.duration(bounds::EXPONENTIAL_MAX)?;
        if max < first { Err(at.must("be at least \"first\"")) } else { Ok(max) }
    })?;
    let window = map.read("window", |at| at.duration(bounds::EXPONENTIAL_WINDOW))?;
    Ok(Exponential {
        first,
        factor: factor.unwrap_or(2.0),
        max: max.unwrap_or(first.max(Duration::from_secs(6 * 3600))),
        window: window.unwrap_or(Duration::from_secs(24 * 3600)),
    })
}

fn jitter(at: At<'_>) -> Parsed<Jitter> {
    match at.value {
        Value::String(text) if text == "full" => Ok(Jitter::Full),
        Value::Number(_) => at.float(bounds::JITTER).map(Jitter::UpTo),
        _ => Err(at.must("be a number from 0 to 1, or \"full\"")),
    }
}

fn statuses(at: At<'_>, least: usize) -> Parsed<Vec<StatusMatch>> {
    at.array(least..=bounds::STATUSES)?.map(status).collect()
}

fn status(at: At<'_>) -> Parsed<StatusMatch> {
    let known = match at.value {
        Value::String(text) => match text.as_bytes() {
            [class @ b'2'..=b'5', b'x', b'x'] => Some(StatusMatch::Class(class - b'0')),
            _ => None,
        },
        Value::Number(number) => {
            number.as_u64().filter(|code| bounds::STATUS.contains(code)).and_then(|code| u16::try_from(code).ok()).map(StatusMatch::Code)
        }
        _ => None,
    };
    known.ok_or_else(|| at.must("be a status from 200 to 599, or a class such as \"2xx\""))
}

fn batch(at: At<'_>) -> Parsed<Batch> {
    let map = at.object(&["events", "bytes", "wait"])?;
    let default = Batch::default();
    Ok(Batch {
        events: map.read("events", |at| at.small(bounds::BATCH_EVENTS))?.unwrap_or(default.events),
        bytes: map.read("bytes", |at| at.bytes(bounds::BATCH_BYTES))?.unwrap_or(default.bytes),
        wait: map.read("wait", |at| at.duration(bounds::BATCH_WAIT))?.unwrap_or(default.wait),
    })
}

fn rate(at: At<'_>) -> Parsed<Rate> {
    let map = at.object(&["limit", "per"])?;
    Ok(Rate { limit: map.need("limit", |at| at.small(bounds::RATE_LIMIT))?, per: map.need("per", |at| at.duration(bounds::RATE_PER))? })
}

fn order(at: At<'_>) -> Parsed<Order> {
    match at.value.as_str() {
        Some("none") => Ok(Order::None),
        Some("fifo") => Ok(Order::Fifo),
        _ => Err(at.must("be \"none\" or \"fifo\"")),
    }
}

/// A value and the way to it.
struct At<'a> {
    path: String,
    value: &'a Value,
}

/// An object whose names have been checked.
struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> At<'a> {
    fn root(value: &'a Value) -> Self {
        Self { path: "policy".into(), value }
    }

    fn must(&self, rule: impl Display) -> PolicyError {
        PolicyError { field: self.path.clone(), reason: format!("must {rule}") }
    }

    fn object(&self, known: &[&str]) -> Parsed<Fields<'a>> {
        let map = self.value.as_object().ok_or_else(|| self.must("be an object"))?;
        if let Some(stranger) = map.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(PolicyError {
                field: format!("{}.{stranger}", self.path),
                reason: format!("is not a known field; known are: {}", known.join(", ")),
            });
        }
        Ok(Fields { path: self.path.clone(), map })
    }

    fn array(&self, count: RangeInclusive<usize>) -> Parsed<impl Iterator<Item = At<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.must("be an array"))?;
        if items.len() < *count.start() {
            return Err(self.must(format_args!("have at least {} entries", count.start())));
        }
        if items.len() > *count.end() {
            return Err(self.must(format_args!("have at most {} entries", count.end())));
        }
        let path = self.path.clone();
        Ok(items.iter().enumerate().map(move |(index, value)| At { path: format!("{path}[{index}]"), value }))
    }

    fn within<T: PartialOrd>(&self, value: T, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Parsed<T> {
        if value < *range.start() {
            Err(self.must(format_args!("be at least {}", show(range.start()))))
        } else if value > *range.end() {
            Err(self.must(format_args!("be at most {}", show(range.end()))))
        } else {
            Ok(value)
        }
    }

    fn duration(&self, range: RangeInclusive<Duration>) -> Parsed<Duration> {
        let time = self
            .value
            .as_str()
            .and_then(parse_duration)
            .ok_or_else(|| self.must("be a whole number and a unit (ms, s, m, h, d), such as \"15s\""))?;
        self.within(time, &range, |time| format_duration(*time))
    }

    fn bytes(&self, range: RangeInclusive<u64>) -> Parsed<u64> {
        let bytes = match self.value {
            Value::String(text) => parse_bytes(text),
            other => other.as_u64(),
        };
        let bytes = bytes.ok_or_else(|| self.must("be a number of bytes, or a size such as \"1MiB\""))?;
        self.within(bytes, &range, |bytes| format_bytes(*bytes))
    }

    fn small(&self, range: RangeInclusive<u64>) -> Parsed<u32> {
        let number =
            self.value.as_u64().ok_or_else(|| self.must(format_args!("be a whole number from {} to {}", range.start(), range.end())))?;
        let number = self.within(number, &range, u64::to_string)?;
        Ok(u32::try_from(number).expect("every such range ends below u32::MAX"))
    }

    fn float(&self, range: RangeInclusive<f64>) -> Parsed<f64> {
        let number = self.value.as_f64().ok_or_else(|| self.must("be a number"))?;
        self.within(number, &range, f64::to_string)
    }
}

impl<'a> Fields<'a> {
    fn read<T>(&self, name: &str, read: impl FnOnce(At<'a>) -> Parsed<T>) -> Parsed<Option<T>> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(At { path: format!("{}.{name}", self.path), value }).map(Some),
        }
    }

    fn need<T>(&self, name: &str, read: impl FnOnce(At<'a>) -> Parsed<T>) -> Parsed<T> {
        self.read(name, read)?.ok_or_else(|| PolicyError { field: format!("{}.{name}", self.path), reason: "is required".into() })
    }
}
