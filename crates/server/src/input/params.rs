//! Query parameters: one table per route says which there are, for the reader and for the OpenAPI document alike.

use std::time::Duration;

use posthaste_domain::clock::parse_rfc3339;
use posthaste_store::Order;

use super::suggestion;
use crate::codes::Code;
use crate::cursor::{self, List};
use crate::problem::Problem;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// One of these, or several with commas between.
    OneOf(&'static [&'static str]),
    /// A whole number from 1 to this.
    Count(u32),
    /// `true` or `false`.
    Flag,
    /// An RFC 3339 time.
    Time,
    /// A length of time such as `30s`.
    Length,
}

/// One parameter of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it does, for readers of the API description.
    pub about: &'static str,
}

impl Param {
    /// A row of a table.
    pub(crate) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, about }
    }
}

/// Page size of lists unless asked otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Largest page of a list.
pub(crate) const MAX_LIMIT: u32 = 1000;

/// The parameters of every list.
pub(crate) const PAGE: [Param; 3] = [
    Param::new("cursor", Kind::Text, "Where to go on: `next` of the page before."),
    Param::new("limit", Kind::Count(MAX_LIMIT), "Most items of the page; 100 unless given."),
    Param::new("order", Kind::OneOf(&["asc", "desc"]), "`desc` (newest first) unless given, or `asc`."),
];

/// Parameters as sent.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(&'static str, String)>);

impl Params {
    /// Reads a query string. Unknown and repeated parameters are refused.
    pub(crate) fn read(query: Option<&str>, known: &[Param]) -> Result<Self, Problem> {
        let mut values: Vec<(&'static str, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let refuse = || Problem::new(Code::InvalidParameter, "the query string is not percent-encoded UTF-8");
            let name = decode(name).ok_or_else(refuse)?;
            let Some(param) = known.iter().find(|param| param.name == name) else {
                let names: Vec<&str> = known.iter().map(|param| param.name).collect();
                let typed: String = name.chars().take(64).collect();
                let detail = format!("{typed}: this parameter is not known{}", suggestion(&typed, &names));
                return Err(Problem::new(Code::InvalidParameter, detail).at(typed));
            };
            let value = decode(value).ok_or_else(|| bad(param.name, "the value is not percent-encoded UTF-8"))?;
            match values.iter_mut().find(|(n, _)| *n == param.name) {
                Some((_, before)) if matches!(param.kind, Kind::OneOf(_)) => {
                    before.push(',');
                    before.push_str(&value);
                }
                Some(_) => return Err(bad(param.name, "this parameter is given twice")),
                None => values.push((param.name, value)),
            }
        }
        Ok(Self(values))
    }

    /// The text of a parameter; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The words of a [`Kind::OneOf`] parameter.
    pub(crate) fn words(&self, name: &'static str, known: &'static [&'static str]) -> Result<Vec<&'static str>, Problem> {
        let Some(text) = self.text(name) else { return Ok(Vec::new()) };
        text.split(',')
            .map(str::trim)
            .map(|word| {
                let known_word = known.iter().copied().find(|k| *k == word);
                known_word.ok_or_else(|| bad(name, &format!("{word:?} is not a value of this parameter{}", suggestion(word, known))))
            })
            .collect()
    }

    /// A whole number from 1 to `most`.
    fn count(&self, name: &'static str, most: u32) -> Result<Option<usize>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(count) if (1..=most).contains(&count) => Ok(Some(count as usize)),
            _ => Err(bad(name, &format!("expected a whole number from 1 to {most}"))),
        }
    }

    /// `true` or `false`; `false` when absent.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str()) {
            None | Some("false" | "0") => Ok(false),
            // `?unmatched` alone means yes.
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(bad(name, "expected true or false")),
        }
    }

    /// A time in milliseconds since the epoch.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<i64>, Problem> {
        // A `+` of an offset that was not percent-encoded arrives as a space.
        let Some(text) = self.text(name).map(|text| text.replace(' ', "+")) else { return Ok(None) };
        match parse_rfc3339(&text) {
            Some(ms) => Ok(Some(ms)),
            None => Err(bad(name, "expected an RFC 3339 time such as 2026-11-21T12:00:00Z")),
        }
    }

    /// A length of time, at most `most`.
    pub(crate) fn length(&self, name: &'static str, most: Duration) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match parse_length(text) {
            Some(length) if length <= most => Ok(Some(length)),
            _ => Err(bad(name, &format!("expected a length of time such as 30s, at most {}s", most.as_secs()))),
        }
    }

    /// The direction of a list.
    pub(crate) fn order(&self) -> Result<Order, Problem> {
        match self.words("order", &["asc", "desc"])?.as_slice() {
            [] | ["desc"] => Ok(Order::Desc),
            ["asc"] => Ok(Order::Asc),
            _ => Err(bad("order", "expected asc or desc")),
        }
    }

    /// The page size of a list.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        Ok(self.count("limit", MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT))
    }

    /// Where a list goes on.
    pub(crate) fn cursor(&self, list: List, order: Order) -> Result<Option<i64>, Problem> {
        self.text("cursor").map(|text| cursor::decode(list, order, text)).transpose()
    }
}

fn bad(name: &'static str, reason: &str) -> Problem {
    Problem::new(Code::InvalidParameter, format!("{name}: {reason}")).at(name)
}

/// `250ms`, `30s`, `5m`, `48h`, `30d`; a bare number is seconds.
pub(crate) fn parse_length(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Undoes percent encoding, `+` for a space included.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Param; 4] = [
        Param::new("type", Kind::Text, ""),
        Param::new("from", Kind::Time, ""),
        Param::new("limit", Kind::Count(1000), ""),
        Param::new("state", Kind::OneOf(&["queued", "failed"]), ""),
    ];

    fn read(query: &str) -> Params {
        Params::read(Some(query), &TABLE).expect("reads")
    }

    #[test]
    fn reads_encoded_values() {
        let params = read("type=order%2Epaid+%C3%A9&from=2026-11-21T12:00:00+01:00&state=queued&state=failed&limit=7");
        assert_eq!(params.text("type"), Some("order.paid é"));
        assert_eq!(params.time("from"), Ok(parse_rfc3339("2026-11-21T11:00:00Z")));
        assert_eq!(params.words("state", &["queued", "failed"]), Ok(vec!["queued", "failed"]));
        assert_eq!(params.limit(), Ok(7));
    }

    #[test]
    fn refuses_and_names_the_parameter() {
        for (query, field) in [("tpye=x", "tpye"), ("type=a&type=b", "type")] {
            assert_eq!(Params::read(Some(query), &TABLE).expect_err("refused").field(), Some(field));
        }
        for (query, field) in [("type=%zz", Some("type")), ("type=%ff", Some("type")), ("%ff=1", None)] {
            assert_eq!(Params::read(Some(query), &TABLE).expect_err("refused").field(), field, "{query}");
        }
        assert_eq!(read("limit=0").limit().expect_err("refused").field(), Some("limit"));
        assert_eq!(read("limit=1001").limit().expect_err("refused").field(), Some("limit"));
        assert_eq!(read("from=yesterday").time("from").expect_err("refused").field(), Some("from"));
    }

    #[test]
    fn reads_lengths() {
        assert_eq!(parse_length("48h"), Some(Duration::from_secs(172_800)));
        assert_eq!(parse_length("30"), Some(Duration::from_secs(30)));
        for bad in ["", "s", "1.5s", "-1s", "1y", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(parse_length(bad), None, "{bad}");
        }
    }
}
