//! The one relation of equality and order between JSON values that rules, filters and indexes share.
//!
//! Scalars are equal when their texts are equal. The text of a number is plain decimal notation without exponent and
//! trailing zeros, so that numbers compare by value. Order is exact: decimal digits are compared, never doubles that
//! integers were squeezed into.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

/// The text of a scalar; `None` for arrays and objects.
pub(super) fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Null => Cow::Borrowed("null"),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::String(text) => Cow::Borrowed(text),
        Value::Number(number) => Cow::Owned(number_text(number)),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

fn number_text(number: &Number) -> String {
    match number.as_f64() {
        // Zero has one text, whatever its sign.
        Some(0.0) => "0".to_owned(),
        Some(double) if number.is_f64() => double.to_string(),
        _ => number.to_string(),
    }
}

/// Whether two scalars are equal; arrays and objects equal nothing here.
pub(super) fn scalar_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::String(left), Value::String(right)) => left == right,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Number(left), Value::Number(right)) if left == right => true,
        _ => matches!((scalar_text(left), scalar_text(right)), (Some(left), Some(right)) if left == right),
    }
}

/// Whether two values are equal all the way down: same keys, same lengths, equal scalars.
pub(super) fn deep_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| deep_equal(value, other)))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| deep_equal(left, right))
        }
        _ => scalar_equal(left, right),
    }
}

/// Levels of arrays and objects in a value; a scalar has none.
pub(super) fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

/// The order of two values. Strings compare as text, numbers by value; when one is a number and the other a string that
/// spells a JSON number, they compare by value too. Everything else has no order.
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => numbers(left, right),
        (Value::Number(left), Value::String(right)) => decimals(&left.to_string(), right),
        (Value::String(left), Value::Number(right)) => decimals(left, &right.to_string()),
        _ => None,
    }
}

fn numbers(left: &Number, right: &Number) -> Option<Ordering> {
    let integer = |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => decimals(&left.to_string(), &right.to_string()),
    }
}

fn decimals(left: &str, right: &str) -> Option<Ordering> {
    Some(Decimal::parse(left)?.compare(&Decimal::parse(right)?))
}

/// `0.digits × 10^exponent`, where `digits` neither begins nor ends with a zero; zero has no digits and no sign.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads a number as JSON spells it.
    fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) || !fraction.is_none_or(all_digits) {
            return None;
        }
        let written: Vec<u8> = whole.bytes().chain(fraction.unwrap_or_default().bytes()).collect();
        let Some(first) = written.iter().position(|&digit| digit != b'0') else {
            return Some(Self { negative: false, digits: Vec::new(), exponent: 0 });
        };
        let last = written.iter().rposition(|&digit| digit != b'0').unwrap_or(first);
        // `whole` and `first` are lengths of text in memory, so they fit.
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(first).ok()?;
        Some(Self { negative, digits: written[first..=last].to_vec(), exponent: point.saturating_add(exponent) })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let sign = |decimal: &Self| match (decimal.digits.is_empty(), decimal.negative) {
            (true, _) => 0_i8,
            (false, true) => -1,
            (false, false) => 1,
        };
        let magnitude = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        match sign(self).cmp(&sign(other)) {
            Ordering::Equal if self.digits.is_empty() => Ordering::Equal,
            Ordering::Equal if self.negative => magnitude().reverse(),
            Ordering::Equal => magnitude(),
            unequal => unequal,
        }
    }
}

/// The exponent of a number; one that no 64-bit integer holds counts as the largest or smallest.
fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Half the range leaves room to add the length of the digits.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX).min(i64::MAX / 2);
    Some(if negative { -magnitude } else { magnitude })
}
