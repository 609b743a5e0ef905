//! Query parameters: pages, numbers of days, dates. Unknown ones are ignored, of a repeated one the first counts.

use posthaste_domain::clock::parse_rfc3339;

use super::answer::Refusal;

fn value(query: &str, name: &str) -> Option<String> {
    let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    found.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// A whole number within bounds.
pub fn number(query: &str, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
    let Some(text) = value(query, name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    let wanted = if most == u64::MAX { format!("of at least {least}") } else { format!("from {least} to {most}") };
    number.map(Some).ok_or_else(|| Refusal::field(name, format!("{name} must be a whole number {wanted}")))
}

/// The start of a day, in UTC: of `2026-01-31`, or of a whole time.
pub fn day_ms(query: &str, name: &'static str) -> Result<Option<i64>, Refusal> {
    let Some(text) = value(query, name) else { return Ok(None) };
    let at_ms = parse_rfc3339(&format!("{text}T00:00:00Z")).or_else(|| parse_rfc3339(&text));
    at_ms.map(|at_ms| Some(at_ms - at_ms.rem_euclid(DAY_MS))).ok_or_else(|| Refusal::field(name, format!("{name} must be a date")))
}

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(number("page=3&limit=", "page", 1, u64::MAX), Ok(Some(3)));
        assert_eq!(number("page=3&limit=", "limit", 1, u64::MAX), Ok(None));
        for wrong in ["days=0", "days=91", "days=x", "days=-1", "days=1.5"] {
            assert!(number(wrong, "days", 1, 90).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates_are_days() {
        for text in ["from=2026-04-06", "from=2026-04-06T13:00:00Z", "to=x&from=2026-04-06"] {
            assert_eq!(day_ms(text, "from"), Ok(Some(1_775_433_600_000)), "{text}");
        }
        assert_eq!(day_ms("", "from"), Ok(None));
        for wrong in ["from=yesterday", "from=2026-13-01", "from=06.04.2026"] {
            assert!(day_ms(wrong, "from").is_err(), "{wrong}");
        }
    }
}
