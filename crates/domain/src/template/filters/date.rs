//! The filter `date`: PHP's format letters over the times that events carry. UTC unless an offset is asked for.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use minijinja::value::Value;

use super::{Body, optional};
use crate::template::ops;
use crate::template::run::Run;
use crate::template::value::{self, Fault, View, view};

pub(super) const BODIES: &[(&str, Body)] = &[("date", Body::Plain(date))];

/// Twig's default.
const DEFAULT_FORMAT: &str = "F j, Y H:i";
/// From here on an integer is taken for milliseconds: as seconds it would be after the year 5000.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

fn date(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    // Twig takes null for now; a missing field of an event is not now, so it prints empty like everywhere else.
    if view(&args[0]).is_empty() {
        return Ok("".into());
    }
    let time = timestamp(run, &args[0])?;
    let zone = match optional(args, 2) {
        Some(zone) => time_zone(&value::text(zone, &run.meter)?)?,
        None => TimeZone::UTC,
    };
    let pattern = match optional(args, 1) {
        Some(pattern) => value::text(pattern, &run.meter)?,
        None => DEFAULT_FORMAT.into(),
    };
    run.meter.take(pattern.len() * 16)?;
    Ok(formatted(&pattern, &time.to_zoned(zone)).into())
}

fn timestamp(run: &Run, value: &Value) -> Result<Timestamp, Fault> {
    let unknown = |text: &str| Fault::bad(format!("\"{}\" is not a date", ops::excerpt(text)));
    let from_number = |number: i64| {
        if number.unsigned_abs() >= MILLISECONDS_FROM { Timestamp::from_millisecond(number) } else { Timestamp::from_second(number) }
    };
    match view(value) {
        View::Int(number) => from_number(number).map_err(|_| unknown(&number.to_string())),
        View::Float(number) => from_number(number as i64).map_err(|_| unknown(&number.to_string())),
        View::Str(text) => {
            let text = text.trim();
            if text == "now" {
                return Ok(run.now);
            }
            let digits = text.strip_prefix('@').unwrap_or(text);
            if let Ok(number) = digits.parse::<i64>() {
                return from_number(number).map_err(|_| unknown(text));
            }
            parse(text).ok_or_else(|| unknown(text))
        }
        other => Err(Fault::bad(format!("{} is not a date", other.kind()))),
    }
}

/// RFC 3339, RFC 2822, and a date with or without a time (`-` or `/` between its parts), which is in UTC.
fn parse(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(time) = jiff::fmt::rfc2822::parse(text) {
        return Some(time.timestamp());
    }
    let civil: DateTime = text.replacen('/', "-", 2).parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp())
}

fn time_zone(name: &str) -> Result<TimeZone, Fault> {
    if matches!(name.to_ascii_uppercase().as_str(), "UTC" | "GMT" | "Z") {
        return Ok(TimeZone::UTC);
    }
    offset(name).map(TimeZone::fixed).ok_or_else(|| {
        Fault::bad(format!("the time zone \"{}\" is not known here: use UTC or an offset such as +02:00", ops::excerpt(name)))
    })
}

/// `+02:00`, `-0530`, `+2`.
fn offset(text: &str) -> Option<Offset> {
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits = text[1..].replacen(':', "", 1);
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = if digits.len() <= 2 { (&*digits, "0") } else { digits.split_at(digits.len() - 2) };
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Offset::from_seconds(sign * seconds).ok()
}

fn formatted(pattern: &str, time: &jiff::Zoned) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let hour12 = (time.hour() + 11) % 12 + 1;
        match c {
            'd' => out.push_str(&format!("{:02}", time.day())),
            'j' => out.push_str(&time.day().to_string()),
            'D' => out.push_str(&time.strftime("%a").to_string()),
            'l' => out.push_str(&time.strftime("%A").to_string()),
            'N' => out.push_str(&time.weekday().to_monday_one_offset().to_string()),
            'w' => out.push_str(&time.weekday().to_sunday_zero_offset().to_string()),
            'z' => out.push_str(&(time.day_of_year() - 1).to_string()),
            'S' => out.push_str(match time.day() {
                1 | 21 | 31 => "st",
                2 | 22 => "nd",
                3 | 23 => "rd",
                _ => "th",
            }),
            'W' => out.push_str(&format!("{:02}", time.date().iso_week_date().week())),
            'o' => out.push_str(&time.date().iso_week_date().year().to_string()),
            'F' => out.push_str(&time.strftime("%B").to_string()),
            'M' => out.push_str(&time.strftime("%b").to_string()),
            'm' => out.push_str(&format!("{:02}", time.month())),
            'n' => out.push_str(&time.month().to_string()),
            't' => out.push_str(&time.days_in_month().to_string()),
            'L' => out.push(if time.in_leap_year() { '1' } else { '0' }),
            'Y' => out.push_str(&format!("{:04}", time.year())),
            'y' => out.push_str(&format!("{:02}", time.year().rem_euclid(100))),
            'a' => out.push_str(if time.hour() < 12 { "am" } else { "pm" }),
            'A' => out.push_str(if time.hour() < 12 { "AM" } else { "PM" }),
            'g' => out.push_str(&hour12.to_string()),
            'h' => out.push_str(&format!("{hour12:02}")),
            'G' => out.push_str(&time.hour().to_string()),
            'H' => out.push_str(&format!("{:02}", time.hour())),
            'i' => out.push_str(&format!("{:02}", time.minute())),
            's' => out.push_str(&format!("{:02}", time.second())),
            'v' => out.push_str(&format!("{:03}", time.millisecond())),
            'u' => out.push_str(&format!("{:06}", time.subsec_nanosecond() / 1000)),
            'e' | 'T' if time.offset() == Offset::UTC => out.push_str("UTC"),
            'e' | 'T' | 'P' => out.push_str(&time.strftime("%:z").to_string()),
            'O' => out.push_str(&time.strftime("%z").to_string()),
            'Z' => out.push_str(&time.offset().seconds().to_string()),
            'I' => out.push('0'),
            'U' => out.push_str(&time.timestamp().as_second().to_string()),
            'c' => out.push_str(&formatted("Y-m-d\\TH:i:sP", time)),
            'r' => out.push_str(&formatted("D, d M Y H:i:s O", time)),
            '\\' => out.extend(chars.next()),
            other => out.push(other),
        }
    }
    out
}
