//! Times, sizes and counts as people read them.

use maud::{Markup, html};

/// A time (RFC 3339) as `<time>`: UTC text, which the script writes in the viewer's zone. Today's times are shown without a date.
pub fn time(at: &str) -> Markup {
    html! { time datetime=(at) { (plain(at)) } }
}

/// A time with its date and zone.
pub fn full_time(at: &str) -> Markup {
    html! { time datetime=(at) data-style="full" { (plain(at)) } }
}

/// A time as its distance from now ("3 minutes ago"); UTC text without the script.
pub fn ago(at: &str) -> Markup {
    html! { time datetime=(at) data-style="ago" { (plain(at)) } }
}

/// A time to the minute, for the ends of a chart.
pub(super) fn short_time(at: &str) -> Markup {
    html! { time datetime=(at) data-style="short" { (plain(at)) } }
}

/// `2026-01-01T10:00:00.000Z` as `2026-01-01 10:00:00 UTC`.
fn plain(at: &str) -> String {
    match (at.get(..10), at.get(11..19)) {
        (Some(day), Some(clock)) if at.is_ascii() => format!("{day} {clock} UTC"),
        _ => at.to_owned(),
    }
}

/// A count with thin separators: `12 345 678`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A length of time given in milliseconds: `840 µs`, `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
pub fn duration_ms(ms: f64) -> String {
    let seconds = (ms / 1000.0) as u64;
    match ms {
        ms if ms <= 0.0 => "0".to_owned(),
        ms if ms < 1.0 => format!("{:.0} µs", ms * 1000.0),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1000.0),
        _ if seconds < 3600 => two(seconds / 60, "min", seconds % 60, "s"),
        _ if seconds < 86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Two units of a time, the smaller one only if there is any of it.
fn two(large: u64, of: &str, small: u64, rest: &str) -> String {
    if small == 0 { format!("{large} {of}") } else { format!("{large} {of} {small} {rest}") }
}

/// A size: `17 B`, `3.2 KiB`, `4.0 GiB`.
pub fn bytes(size: u64) -> String {
    if size < 1024 {
        return format!("{size} B");
    }
    let mut value = size as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        value /= 1024.0;
        unit = next;
        if value < 1024.0 {
            break;
        }
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!((count(7), count(1234567)), ("7".into(), "1\u{202f}234\u{202f}567".into()));
        assert_eq!(
            [0.25, 12.0, 3400.0, 125_000.0, 12_000_000.0, 360_000_000.0].map(duration_ms),
            ["250 µs", "12 ms", "3.4 s", "2 min 5 s", "3 h 20 min", "4 d 4 h"]
        );
        assert_eq!((bytes(17), bytes(3300), bytes(4 << 30)), ("17 B".into(), "3.2 KiB".into(), "4.0 GiB".into()));
        assert_eq!(
            time("2026-01-01T10:00:00.000Z").into_string(),
            "<time datetime=\"2026-01-01T10:00:00.000Z\">2026-01-01 10:00:00 UTC</time>"
        );
    }
}
