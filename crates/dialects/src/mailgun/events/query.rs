//! What is asked of the Events API: range, direction, filters, limit (section 10.1 of the documents).
//!
//! Pure. Times are microseconds since the epoch.

use jiff::fmt::rfc2822::DateTimeParser;

use super::super::event::{Facts, TYPES};
use super::super::filter::{Expression, FieldKind, FilterError};
use super::super::params::{Params, truth};
use super::fields::Field;

/// Events of a page, if nothing is said.
pub(super) const DEFAULT_LIMIT: u32 = 100;
/// Events of a page at most; who asks for more gets these (O-8).
pub(super) const MAX_LIMIT: u32 = 300;
/// Filters of a request at most.
const MAX_FILTERS: usize = 50;

/// Why a query cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("{name} is not a date: expected Unix seconds or an RFC 2822 date such as Fri, 3 May 2013 09:00:00 -0000")]
    Date { name: &'static str },
    #[error("ascending must be yes or no")]
    Ascending,
    #[error("limit must be a whole number from 1 on")]
    Limit,
    #[error("ascending is required with begin and without end")]
    Direction,
    #[error("begin, end and ascending do not agree")]
    Disagree,
    #[error("{field}: {error}")]
    Filter { field: &'static str, error: FilterError },
    #[error("too many filters")]
    Filters,
}

/// A question to the Events API.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query {
    /// Oldest first.
    pub(super) ascending: bool,
    /// Only events at or after this.
    pub(super) from_us: Option<i64>,
    /// Only events before this.
    pub(super) to_us: Option<i64>,
    /// Most events of a page.
    pub(super) limit: u32,
    filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    field: Field,
    text: String,
    expression: Expression,
}

impl Query {
    /// Reads the parameters of a request; unknown ones are ignored.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(super) fn read(params: &Params, now_us: i64) -> Result<Self, QueryError> {
        let begin = date(params, "begin")?;
        let end = date(params, "end")?;
        let wish = match params.first("ascending") {
            None => None,
            Some(text) => Some(truth(text).ok_or(QueryError::Ascending)?),
        };
        let limit = match params.first("limit") {
            None => DEFAULT_LIMIT,
            Some(text) => {
                let number = text.trim().parse::<u64>().ok().filter(|number| *number > 0).ok_or(QueryError::Limit)?;
                u32::try_from(number).unwrap_or(MAX_LIMIT).min(MAX_LIMIT)
            }
        };
        let begin = if end.is_some() { begin.or(Some(now_us)) } else { begin };
        let (ascending, first, last) = match (begin, end, wish) {
            (None, _, wish) => (wish.unwrap_or(false), None, None),
            (Some(_), None, None) => return Err(QueryError::Direction),
            (Some(begin), None, Some(ascending)) => (ascending, Some(begin), None),
            (Some(begin), Some(end), wish) => {
                let ascending = if begin == end { wish.unwrap_or(true) } else { begin < end };
                if wish.is_some_and(|wish| wish != ascending) {
                    return Err(QueryError::Disagree);
                }
                (ascending, Some(begin), Some(end))
            }
        };
        // What comes first is included, what comes last is not.
        let (from_us, to_us) = if ascending { (first, last) } else { (last.map(|at| at + 1), first.map(|at| at + 1)) };
        let given = params.fields().filter_map(|(name, text)| Some((Field::of(name)?, text.to_owned())));
        let filters = given.filter(|(_, text)| !text.trim().is_empty()).collect();
        Self::plain(ascending, from_us, to_us, limit).with_filters(filters)
    }

    /// A query without filters.
    pub(super) fn plain(ascending: bool, from_us: Option<i64>, to_us: Option<i64>, limit: u32) -> Self {
        Self { ascending, from_us, to_us, limit, filters: Vec::new() }
    }

    /// With filters in place of those it has.
    ///
    /// # Errors
    /// [`QueryError::Filter`] and [`QueryError::Filters`].
    pub(super) fn with_filters(mut self, filters: Vec<(Field, String)>) -> Result<Self, QueryError> {
        if filters.len() > MAX_FILTERS {
            return Err(QueryError::Filters);
        }
        let parse = |(field, text): (Field, String)| match Expression::parse(field.kind(), &text) {
            Ok(expression) => Ok(Filter { field, text, expression }),
            Err(error) => Err(QueryError::Filter { field: field.name(), error }),
        };
        self.filters = filters.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The filters as they were written.
    pub(super) fn filters(&self) -> impl Iterator<Item = (Field, &str)> {
        self.filters.iter().map(|filter| (filter.field, filter.text.as_str()))
    }

    /// Types of the events that can fulfil the filters.
    pub(super) fn types(&self) -> Vec<String> {
        let fits = |name: &&str| {
            let words = Field::words_of_type(name);
            let of_event = self.filters.iter().filter(|filter| filter.field == Field::Event);
            words.iter().any(|word| of_event.clone().all(|filter| filter.expression.matches(&[word])))
        };
        TYPES.iter().copied().filter(|name| fits(name)).map(str::to_owned).collect()
    }

    /// Whether an event is in the range and fulfils the filters.
    pub(super) fn takes(&self, facts: &Facts<'_>) -> bool {
        self.from_us.is_none_or(|from| facts.at_us >= from)
            && self.to_us.is_none_or(|to| facts.at_us < to)
            && self.filters.iter().all(|filter| filter.expression.matches(&filter.field.values(facts)))
    }
}

fn date(params: &Params, name: &'static str) -> Result<Option<i64>, QueryError> {
    match params.first(name) {
        None => Ok(None),
        Some(text) => parse_date(text.trim()).map(Some).ok_or(QueryError::Date { name }),
    }
}

/// Unix seconds, whole or with a fraction, or an RFC 2822 date.
fn parse_date(text: &str) -> Option<i64> {
    if text.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.contains('.') {
            return None;
        }
        let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
        let whole: i64 = whole.parse().ok()?;
        return whole.checked_mul(1_000_000)?.checked_add(digits.parse().ok()?);
    }
    // A wrong day of the week is no reason to refuse a date that is clear without it.
    static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text).ok().map(|at| at.as_microsecond())
}

impl Field {
    /// What `event` can be for events of a type.
    fn words_of_type(name: &str) -> &'static [&'static str] {
        use posthaste_domain::message as types;
        match name {
            types::ACCEPTED => &["accepted"],
            types::DELIVERED => &["delivered"],
            types::DEFERRED => &["failed"],
            types::FAILED => &["failed", "rejected"],
            types::OPENED => &["opened"],
            types::CLICKED => &["clicked"],
            types::UNSUBSCRIBED => &["unsubscribed"],
            types::COMPLAINED => &["complained"],
            types::RECEIVED | "stored" => &["stored"],
            "rejected" => &["rejected"],
            "list_member_uploaded" => &["list_member_uploaded"],
            "list_member_upload_error" => &["list_member_upload_error"],
            _ => &["list_uploaded"],
        }
    }

    fn kind(self) -> FieldKind {
        match self {
            Self::Size => FieldKind::Number,
            Self::MessageId => FieldKind::MessageId,
            _ => FieldKind::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_262_400_000_000;

    fn read(query: &str) -> Result<Query, QueryError> {
        Query::read(&Params::query(Some(query)), NOW)
    }

    fn range(query: &str) -> (bool, Option<i64>, Option<i64>) {
        let query = read(query).expect(query);
        (query.ascending, query.from_us, query.to_us)
    }

    // MAILGUN-142, MAILGUN-143, MAILGUN-144
    #[test]
    fn range_and_direction_follow_from_each_other() {
        assert_eq!(range(""), (false, None, None));
        assert_eq!(range("ascending=no"), (false, None, None));
        assert_eq!(range("ascending=yes"), (true, None, None));
        assert_eq!(range("begin=1&end=2"), (true, Some(1_000_000), Some(2_000_000)));
        assert_eq!(range("begin=2&end=1"), (false, Some(1_000_001), Some(2_000_001)));
        assert_eq!(range("begin=2&end=1&ascending=no"), (false, Some(1_000_001), Some(2_000_001)));
        assert_eq!(range("begin=2&ascending=yes"), (true, Some(2_000_000), None));
        assert_eq!(range("begin=2&ascending=no"), (false, None, Some(2_000_001)));
        assert_eq!(range("end=1"), (false, Some(1_000_001), Some(NOW + 1)));
        assert_eq!(range("begin=1&end=1&ascending=no"), (false, Some(1_000_001), Some(1_000_001)));
        assert_eq!(read("begin=1"), Err(QueryError::Direction));
        assert_eq!(read("begin=1&end=2&ascending=no"), Err(QueryError::Disagree));
        assert_eq!(read("begin=2&end=1&ascending=yes"), Err(QueryError::Disagree));
        assert_eq!(read("ascending=maybe"), Err(QueryError::Ascending));
    }

    // MAILGUN-145, MAILGUN-146
    #[test]
    fn dates_come_in_two_forms() {
        let expected = Some(1_367_571_600_000_000);
        for text in [
            "1367571600",
            "1367571600.0",
            "Fri, 3 May 2013 09:00:00 -0000",
            "Fri, 03 May 2013 09:00:00 GMT",
            "Fri, 3 May 2013 11:00:00 +0200",
            "3 May 2013 09:00:00 +0000",
        ] {
            assert_eq!(parse_date(text), expected, "{text}");
        }
        assert_eq!(parse_date("1367571600.1234567"), Some(1_367_571_600_123_456));
        for bad in ["", "yesterday", "1.2.3", "-5", "1e9", "2013-05-03", "99999999999999999999", "9999999999999999"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
        assert_eq!(read("begin=soon&ascending=yes"), Err(QueryError::Date { name: "begin" }));
    }

    // MAILGUN-131, MAILGUN-133
    #[test]
    fn limits_are_counted_from_one_and_capped() {
        let limit = |query: &str| read(query).map(|query| query.limit);
        assert_eq!((limit(""), limit("limit=5"), limit("limit=300"), limit("limit=99999999999")), (Ok(100), Ok(5), Ok(300), Ok(300)));
        for bad in ["limit=0", "limit=-1", "limit=ten", "limit=", "limit=1.5"] {
            assert_eq!(limit(bad), Err(QueryError::Limit), "{bad}");
        }
    }

    #[test]
    fn filters_narrow_the_types() {
        let types = |query: &str| read(query).map(|query| query.types());
        assert_eq!(types("").map(|types| types.len()), Ok(TYPES.len()));
        assert_eq!(types("event=failed"), Ok(vec!["message.deferred".to_owned(), "message.failed".to_owned()]));
        assert_eq!(types("event=accepted&event=NOT+accepted"), Ok(Vec::new()));
        assert_eq!(types("event=NOT+failed").map(|types| types.contains(&"message.failed".to_owned())), Ok(true), "it may be rejected");
        assert!(matches!(read("subject=(a"), Err(QueryError::Filter { field: "subject", .. })));
        assert!(read("event=&pretty=yes&unknown=(").is_ok(), "blank filters and unknown parameters say nothing");
    }
}
