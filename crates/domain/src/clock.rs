//! The door that time comes through.

/// A source of wall-clock time. The engine owns the one real implementation; tests use their own.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. Never runs backwards within one process, but for the first time that it hears what others agree on.
    fn now_ms(&self) -> i64;

    /// Hears what time it is for all nodes that share a store, in milliseconds since the epoch: from now on it says about that.
    fn agree(&self, now_ms: i64) {
        let _ = now_ms;
    }
}

/// Formats milliseconds since the epoch as RFC 3339 in UTC with millisecond precision, e.g. `2026-11-21T12:00:00.123Z`.
/// Times outside the representable range are clamped to it.
pub fn rfc3339(ms: i64) -> String {
    let ts = jiff::Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX });
    format!("{ts:.3}")
}

/// Reads an RFC 3339 time into milliseconds since the epoch.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_reads_back() {
        assert_eq!(rfc3339(1_614_265_330_000), "2021-02-25T15:02:10.000Z");
        assert_eq!(parse_rfc3339("2021-02-25T15:02:10.5Z"), Some(1_614_265_330_500));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
