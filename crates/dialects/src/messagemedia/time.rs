//! Times as HTTP writes them.

use jiff::Timestamp;
use jiff::fmt::{rfc2822, strtime};

/// `Sat, 30 Jul 2016 05:13:23 GMT`.
pub(super) fn http_date(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    strtime::format("%a, %d %b %Y %H:%M:%S GMT", time).unwrap_or_default()
}

/// Milliseconds since the epoch of an HTTP date.
pub(super) fn parse_http_date(text: &str) -> Option<i64> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read() {
        assert_eq!(http_date(1_469_855_603_850), "Sat, 30 Jul 2016 05:13:23 GMT");
        assert_eq!(parse_http_date("Sat, 30 Jul 2016 05:13:23 GMT"), Some(1_469_855_603_000));
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        for bad in ["", "yesterday", "2016-07-30T05:13:23Z"] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }
}
