//! The query string of the page that is shown: filters and cursor, kept when one of them changes.

use axum::extract::FromRequestParts;
use http::request::Parts;
use std::convert::Infallible;

use crate::form::{Form, moment};

/// Filters that are times.
const TIMES: [&str; 2] = ["from", "to"];

/// Path and query of the present page.
#[derive(Clone, Debug, Default)]
pub struct Query {
    path: String,
    form: Form,
}

impl Query {
    /// A page without filters.
    pub fn of(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// A filter that was filled in.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.form.given(name)
    }

    /// A filter, `""` if it is not set.
    pub fn text(&self, name: &str) -> &str {
        self.form.text(name)
    }

    /// Whether any of these filters is set.
    pub fn any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.given(name).is_some())
    }

    /// The address of this page with one filter changed. What was just done ([`crate::ui::Flash`]) is no part of it; the cursor goes unless it is what changes, because it belongs to the old list.
    pub fn with(&self, name: &str, value: Option<&str>) -> String {
        let keep = |(known, value): &(&str, &str)| *known != name && !matches!(*known, "cursor" | "done") && !value.is_empty();
        let pairs = self.form.pairs().filter(keep).chain(value.map(|value| (name, value)));
        link(&self.path, pairs)
    }

    /// The address of an API path with those of the present filters that it knows. Of times ([`TIMES`]) those without a zone, as browsers send
    /// them without the script, are UTC.
    pub fn pass(&self, path: &str, names: &[&str]) -> String {
        let value = |name: &str| {
            let given = self.given(name)?;
            Some(if TIMES.contains(&name) { moment(given) } else { given.to_owned() })
        };
        let values: Vec<(&str, String)> = names.iter().filter_map(|name| Some((*name, value(name)?))).collect();
        link(path, values.iter().map(|(name, value)| (*name, value.as_str())))
    }
}

/// An address with a query string, percent-encoded.
pub fn link<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() {
        return path.to_owned();
    }
    format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' })
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A router that is nested sees the rest of the path alone; links need all of it.
        let original = parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |uri| &uri.0);
        Ok(Self { path: original.path().to_owned(), form: Form::parse(original.query().unwrap_or_default().as_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_filter_changes_and_the_cursor_goes() {
        let query = Query { path: "/console/inbox".into(), form: Form::parse(b"type=a%20b&cursor=x&source=") };
        assert_eq!(query.with("state", Some("failed")), "/console/inbox?type=a+b&state=failed");
        assert_eq!(query.with("cursor", Some("y")), "/console/inbox?type=a+b&cursor=y");
        assert_eq!(query.pass("/events", &["type", "source"]), "/events?type=a+b");
        let query = Query { path: "/console/inbox".into(), form: Form::parse(b"search=2026-01-01T10:00&from=2026-01-01T10:00") };
        let expected = "/events?search=2026-01-01T10%3A00&from=2026-01-01T10%3A00%3A00Z";
        assert_eq!(query.pass("/events", &["search", "from"]), expected, "a time that is looked for in texts stays as it is");
        let query = Query { path: "/console/inbox".into(), form: Form::parse(b"done=sent&type=a") };
        assert_eq!(query.with("state", Some("failed")), "/console/inbox?type=a&state=failed");
    }
}
