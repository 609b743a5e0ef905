//! Values of settings as people write them: durations, sizes, networks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use posthaste_channels::sms::SmsDefaults;

/// A value before it has a type: text from a flag or the environment, or what the file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// Text; lists are separated by commas.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML array of strings.
    List(Vec<String>),
    /// A TOML table, of a setting that takes one.
    Table(serde_json::Value),
    /// Something no setting takes, by its TOML name (`table`, `float`, …).
    Other(&'static str),
}

/// A type that a setting can have.
pub trait Field: Sized {
    /// Reads it, or says what is expected instead.
    fn read(raw: &Raw) -> Result<Self, String>;
    /// Writes it as a TOML value that [`Field::read`] takes back.
    fn show(&self) -> String;
}

fn text(raw: &Raw, expected: &str) -> Result<String, String> {
    match raw {
        Raw::Text(text) => Ok(text.trim().to_owned()),
        Raw::Integer(number) => Ok(number.to_string()),
        Raw::List(_) => Err(format!("expected {expected}, found a list")),
        Raw::Table(_) => Err(format!("expected {expected}, found a table")),
        Raw::Other(found) => Err(format!("expected {expected}, found a {found}")),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A length of time, written `500ms`, `15s`, `5m`, `24h`, `30d`, or several of them together (`1h30m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// In whole milliseconds.
    pub fn as_millis_i64(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

const SPAN_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a duration; write for example \"500ms\", \"15s\", \"5m\", \"24h\" or \"30d\"");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total = 0u64;
        while !rest.is_empty() {
            let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
            let tail = tail.trim_start();
            let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
            let (_, factor) = SPAN_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let part = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = tail.trim_start();
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        // Up to two days people say hours: `24h`, not `1d`.
        let units = if ms <= 2 * SPAN_UNITS[0].1 { &SPAN_UNITS[1..] } else { &SPAN_UNITS[..] };
        match units.iter().find(|(_, factor)| ms > 0 && ms.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", ms / factor),
            None => write!(f, "0s"),
        }
    }
}

impl Field for Span {
    fn read(raw: &Raw) -> Result<Self, String> {
        text(raw, "a duration such as \"15s\"")?.parse()
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A number of bytes, written `512`, `64KiB`, `1MiB`, `10GB` (powers of 1024 with an `i`, of 1000 without).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// For in-memory limits.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size; write for example \"64KiB\", \"1MiB\" or \"10GiB\"");
        let text = text.trim();
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = unit.trim();
        let factor = match unit {
            "" => 1,
            unit => SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, f)| *f).ok_or_else(wrong)?,
        };
        digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = SIZE_UNITS.iter().filter(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match fitting.max_by_key(|(_, factor)| *factor) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "0B"),
        }
    }
}

impl Field for Size {
    fn read(raw: &Raw) -> Result<Self, String> {
        text(raw, "a size such as \"1MiB\"")?.parse()
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Where to listen: `HOST:PORT`. Port 0 takes any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(pub String);

impl Field for Listen {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text(raw, "an address such as \"127.0.0.1:8080\"")?;
        let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok()
        });
        if valid {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is not HOST:PORT; write for example \"127.0.0.1:8080\" or \"[::1]:8080\""))
        }
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// An `http://` or `https://` URL without a slash at the end, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseUrl(pub String);

impl Field for BaseUrl {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text(raw, "a URL such as \"https://events.example.com\"")?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        let uri = text.parse::<http::Uri>().ok();
        let valid = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() && uri.host().is_some_and(|h| !h.is_empty())
        });
        if valid { Ok(Self(text.trim_end_matches('/').to_owned())) } else { Err(format!("{text:?} is not an http:// or https:// URL")) }
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One short line for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Field for LogFormat {
    fn read(raw: &Raw) -> Result<Self, String> {
        match text(raw, "\"human\" or \"json\"")?.as_str() {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(format!("expected \"human\" or \"json\", found {other:?}")),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// What to log: a level, or directives such as `info,posthaste_engine=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(pub String);

impl Field for LogLevel {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text(raw, "a level such as \"info\"")?;
        let known = ["off", "error", "warn", "info", "debug", "trace"];
        let bare = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        // A bare word that is no level would be taken for the name of a module, and nothing would be logged.
        if text.is_empty() || (bare && !known.contains(&text.as_str())) {
            return Err(format!("{text:?} is not a log level; use one of {}", known.join(", ")));
        }
        tracing_subscriber::EnvFilter::try_new(&text).map_err(|e| format!("{text:?} cannot be used: {e}"))?;
        Ok(Self(text))
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

impl Field for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        text(raw, "text")
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Field for PathBuf {
    fn read(raw: &Raw) -> Result<Self, String> {
        match text(raw, "a path")? {
            path if path.is_empty() => Err("a path is needed, found nothing".into()),
            path => Ok(Self::from(path)),
        }
    }

    fn show(&self) -> String {
        quoted(&self.display().to_string())
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Field for $number {
            fn read(raw: &Raw) -> Result<Self, String> {
                let text = text(raw, "a whole number")?;
                match text.parse::<$number>() {
                    Ok(number) if number > 0 => Ok(number),
                    _ => Err(format!("{text:?} is not a whole number from 1 to {}", <$number>::MAX)),
                }
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

numbers!(u32, usize);

/// A whole number that may be zero, which switches something off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrNone(pub u32);

impl Field for OrNone {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text(raw, "a whole number")?;
        text.parse().map(Self).map_err(|_| format!("{text:?} is not a whole number from 0 to {}", u32::MAX))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Field for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        match text(raw, "true or false")?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(true),
            "false" | "no" | "0" => Ok(false),
            other => Err(format!("expected true or false, found {other:?}")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A factor, at least 1.
impl Field for f64 {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text(raw, "a number")?;
        match text.parse::<Self>() {
            Ok(number) if (1.0..=10.0).contains(&number) => Ok(number),
            _ => Err(format!("{text:?} is not a number from 1 to 10")),
        }
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Field for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        Span::read(raw).map(|span| span.0)
    }

    fn show(&self) -> String {
        Span(*self).show()
    }
}

impl Field for Vec<Duration> {
    fn read(raw: &Raw) -> Result<Self, String> {
        let parts: Vec<String> = match raw {
            Raw::List(items) => items.clone(),
            other => text(other, "a list of durations such as [\"1m\", \"5m\"]")?.split(',').map(str::to_owned).collect(),
        };
        parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(|part| part.parse::<Span>().map(|span| span.0)).collect()
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(|span| span.show()).collect::<Vec<_>>().join(", "))
    }
}

/// The carrier of text messages: a word, a URL, or a table (in a variable: JSON).
#[derive(Clone, Debug, PartialEq)]
pub struct Carrier(pub serde_json::Value);

impl Field for Carrier {
    fn read(raw: &Raw) -> Result<Self, String> {
        let carrier = match raw {
            Raw::Table(table) => table.clone(),
            other => {
                let text = text(other, "\"simulator\", an smpp:// URL or a table")?;
                match text.starts_with('{') {
                    true => serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?,
                    false => serde_json::Value::String(text),
                }
            }
        };
        let defaults = SmsDefaults { carrier, ..SmsDefaults::default() };
        match defaults.check() {
            Ok(()) => Ok(Self(defaults.carrier)),
            // The place within the table; the setting itself is named by whoever reads it.
            Err(error) => Err(match error.field.strip_prefix("sms.carrier.") {
                Some(place) => format!("{place}: {}", error.reason),
                None => error.reason,
            }),
        }
    }

    fn show(&self) -> String {
        toml::Value::try_from(&self.0).map_or_else(|_| String::new(), |value| value.to_string())
    }
}

impl Field for Vec<IpNet> {
    fn read(raw: &Raw) -> Result<Self, String> {
        let parts: Vec<String> = match raw {
            Raw::List(items) => items.clone(),
            other => text(other, "a list of networks such as [\"10.0.0.0/8\"]")?.split(',').map(str::to_owned).collect(),
        };
        parts
            .iter()
            .map(|part| part.trim())
            .filter(|part| !part.is_empty())
            .map(|part| {
                let network = part.parse::<IpNet>().ok().or_else(|| part.parse::<std::net::IpAddr>().ok().map(IpNet::from));
                network.ok_or_else(|| format!("{part:?} is not a network; write for example \"10.0.0.0/8\" or \"127.0.0.1\""))
            })
            .collect()
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(|net| quoted(&net.to_string())).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Result<String, String> {
        text.parse::<Span>().map(|s| s.to_string())
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, shown) in
            [("500ms", "500ms"), ("15s", "15s"), ("90s", "90s"), ("24h", "24h"), ("1h30m", "90m"), ("30d", "30d"), ("0s", "0s")]
        {
            assert_eq!(span(text).as_deref(), Ok(shown), "{text}");
        }
        for wrong in ["", "5", "5 weeks", "-1s", "s", "1.5h", "99999999999999999999d"] {
            assert!(span(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, shown) in [("512", "512B"), ("1MiB", "1MiB"), ("64 kib", "64KiB"), ("10GB", "10GB"), ("1024", "1KiB"), ("0", "0B")] {
            assert_eq!(text.parse::<Size>().map(|s| s.to_string()).as_deref(), Ok(shown), "{text}");
        }
        for wrong in ["", "1X", "MiB", "-1", "99999999999TiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn addresses_urls_and_networks_are_checked() {
        let read = |text: &str| Raw::Text(text.into());
        assert!(Listen::read(&read("127.0.0.1:0")).is_ok() && Listen::read(&read("[::1]:80")).is_ok());
        for wrong in ["8080", ":8080", "127.0.0.1", "localhost:port", "::1:80", "host:70000"] {
            assert!(Listen::read(&read(wrong)).is_err(), "{wrong:?} was taken");
        }
        assert_eq!(BaseUrl::read(&read("https://a.example/")), Ok(BaseUrl("https://a.example".into())));
        assert!(BaseUrl::read(&read("a.example")).is_err() && BaseUrl::read(&read("ftp://a.example")).is_err());
        let networks = Vec::<IpNet>::read(&read("10.0.0.0/8, ::1")).expect("both are networks");
        assert_eq!(networks.show(), r#"["10.0.0.0/8", "::1/128"]"#);
        assert!(Vec::<IpNet>::read(&Raw::List(vec!["10.0.0.0/99".into()])).is_err());
    }

    #[test]
    fn a_misspelled_log_level_is_not_taken_for_a_module() {
        assert!(LogLevel::read(&Raw::Text("inof".into())).is_err());
        assert!(LogLevel::read(&Raw::Text("info,posthaste_engine=debug".into())).is_ok());
    }
}
