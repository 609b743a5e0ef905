//! Amounts of money, exact: no binary fraction ever holds one, so 3 × 0.05 is 0.15 and nothing else.
//!
//! Invariants: an amount is not negative, counts billionths, and saturates instead of overflowing; [`Money::text`] writes the shortest
//! decimal, which is a JSON number too.

use serde_json::value::RawValue;

/// Billionths in one.
const ONE: u128 = 1_000_000_000;
/// Digits after the point at most.
const DECIMALS: usize = 9;
/// Digits before the point at most.
const WHOLE_DIGITS: usize = 12;

/// An amount in some currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    billionths: u128,
}

impl Money {
    /// Reads a plain decimal such as `30` or `0.05`: at most twelve digits before the point and nine after it, no sign, no exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole, WHOLE_DIGITS) || !digits(fraction, DECIMALS) {
            return None;
        }
        let whole: u128 = whole.parse().ok()?;
        let fraction: u128 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
        Some(Self { billionths: whole * ONE + fraction })
    }

    /// So many of it.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self { billionths: self.billionths.saturating_mul(count as u128) }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { billionths: self.billionths.saturating_add(other.billionths) }
    }

    /// The shortest decimal: `0.15`, `90`.
    pub fn text(self) -> String {
        let (whole, fraction) = (self.billionths / ONE, self.billionths % ONE);
        if fraction == 0 {
            return whole.to_string();
        }
        let digits = format!("{fraction:0DECIMALS$}");
        format!("{whole}.{}", digits.trim_end_matches('0'))
    }

    /// As a JSON number with exactly these digits.
    pub fn json(self) -> Box<RawValue> {
        RawValue::from_string(self.text()).expect("a decimal is a JSON number")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(text: &str) -> Money {
        Money::parse(text).expect("an amount")
    }

    // MSGINE-10
    #[test]
    fn products_are_exact() {
        assert_eq!(money("0.05").times(3).text(), "0.15");
        assert_eq!(money("30").times(3).json().get(), "90");
        assert_eq!(money("0.10").times(7).plus(money("0.3")).text(), "1");
        assert_eq!(money("007.50").text(), "7.5");
        assert_eq!(money("999999999999").times(usize::MAX).times(usize::MAX).times(usize::MAX).plus(money("1")).billionths, u128::MAX);
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        for wrong in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", " 1", "1.0000000001", "1234567890123", "٣"] {
            assert_eq!(Money::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        /// The model is whole billionths.
        #[test]
        fn amounts_add_up(whole in 0..1_000_000_u64, fraction in 0..1_000_000_000_u64, count in 0..10_000_usize) {
            let amount = money(&format!("{whole}.{fraction:09}"));
            let expected = (u128::from(whole) * ONE + u128::from(fraction)) * count as u128;
            prop_assert_eq!(amount.times(count).billionths, expected);
            prop_assert_eq!(money(&amount.text()), amount);
            prop_assert_eq!((0..count.min(50)).fold(Money::default(), |sum, _| sum.plus(amount)), amount.times(count.min(50)));
        }
    }
}
