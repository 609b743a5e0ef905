//! Send options: what parameters that begin with `o:`, `h:`, `v:` and `t:` mean.

use jiff::fmt::rfc2822::DateTimeParser;
use posthaste_domain::message::Track;
use posthaste_domain::message::letter::one_line;
use serde_json::{Map, Value};

use super::super::answer::Refusal;
use super::super::params::truth;
use super::form::SendForm;

/// Bytes of all send options together.
const MAX_OPTIONS: usize = 16 * 1024;
/// Tags of a message; more are dropped (O-17).
const MAX_TAGS: usize = 10;
/// Characters of a tag; longer ones are cut.
const MAX_TAG: usize = 128;
/// Bytes of a message id.
const MAX_ID: usize = 250;

/// The options of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    /// Labels, without doubles.
    pub(super) tags: Vec<String>,
    /// User variables.
    pub(super) variables: Map<String, Value>,
    /// Headers, names as written.
    pub(super) headers: Vec<(String, String)>,
    /// `h:Reply-To`.
    pub(super) reply_to: Option<String>,
    /// `h:Message-Id` without brackets.
    pub(super) message_id: Option<String>,
    /// Never really sent.
    pub(super) test: bool,
    /// Not before this time.
    pub(super) deliver_at_ms: Option<i64>,
    /// What is watched.
    pub(super) track: Track,
}

impl Options {
    /// Reads the options; `track` is what the domain is set to.
    pub(super) fn read(form: &SendForm, track: Track, now_ms: i64, max_ahead_ms: i64) -> Result<Self, Refusal> {
        let is_option = |name: &str| ["o:", "h:", "v:", "t:"].iter().any(|prefix| name.starts_with(prefix));
        let bytes: usize = form.fields.iter().filter(|(name, _)| is_option(name)).map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_OPTIONS {
            return Err(Refusal::bad("Send options (parameters starting with o:, h:, or v:) are limited to 16KB total"));
        }
        let mut options = Self { track, ..Self::default() };
        for (name, value) in &form.fields {
            if let Some(name) = name.strip_prefix("v:") {
                options.variables.insert(name.to_owned(), Value::String(value.clone()));
            } else if let Some(name) = name.strip_prefix("h:") {
                options.header(name, value)?;
            }
        }
        for tag in form.all("o:tag") {
            let tag: String = one_line(tag.trim()).chars().take(MAX_TAG).collect();
            if !tag.is_empty() && options.tags.len() < MAX_TAGS && !options.tags.iter().any(|known| known.eq_ignore_ascii_case(&tag)) {
                options.tags.push(tag);
            }
        }
        options.test = form.text("o:testmode").and_then(truth).unwrap_or(false);
        options.watch(form);
        if let Some(text) = form.text("o:deliverytime") {
            let at = DateTimeParser::new().parse_timestamp(text.trim());
            let at_ms = at.map_err(|_| Refusal::bad("o:deliverytime parameter is not a valid RFC 2822 date"))?.as_millisecond();
            if at_ms - now_ms > max_ahead_ms {
                return Err(Refusal::bad(format!("o:deliverytime parameter is more than {} hours ahead", max_ahead_ms / 3_600_000)));
            }
            options.deliver_at_ms = Some(at_ms).filter(|at_ms| *at_ms > now_ms);
        }
        Ok(options)
    }

    fn header(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let valid = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if !valid {
            return Err(Refusal::bad(format!("h:{name} parameter is not a valid header name")));
        }
        let value = one_line(value).trim().to_owned();
        if name.eq_ignore_ascii_case("message-id") {
            self.message_id = Some(message_id(&value).ok_or_else(|| Refusal::bad("h:Message-Id parameter is not a valid message id"))?);
        } else if name.eq_ignore_ascii_case("reply-to") {
            self.reply_to = Some(value);
        } else if name.eq_ignore_ascii_case("x-mailgun-variables") {
            // What is no object is not lost on purpose: the documents say that events tell so.
            if let Ok(Value::Object(given)) = serde_json::from_str(&value) {
                self.variables.extend(given);
            }
        } else {
            self.headers.push((name.to_owned(), value));
        }
        Ok(())
    }

    fn watch(&mut self, form: &SendForm) {
        let html_only = |text: &str| text.trim().eq_ignore_ascii_case("htmlonly");
        if let Some(on) = form.text("o:tracking").and_then(|text| truth(text).or_else(|| html_only(text).then_some(true))) {
            self.track.opens = on;
            self.track.clicks = on;
        }
        if let Some(on) = form.text("o:tracking-opens").and_then(truth) {
            self.track.opens = on;
        }
        if let Some(text) = form.text("o:tracking-clicks") {
            self.track.clicks = truth(text).unwrap_or(html_only(text) || self.track.clicks);
        }
        self.track.html_clicks_only = ["o:tracking", "o:tracking-clicks"].iter().any(|name| form.text(name).is_some_and(html_only));
    }
}

/// A message id without its brackets, if it can be one.
pub(super) fn message_id(text: &str) -> Option<String> {
    let id = text.trim();
    let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    let (left, right) = id.split_once('@')?;
    let good = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>@()\",;\\".contains(&byte));
    (id.len() <= MAX_ID && good(left) && good(right)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const DAY: i64 = 86_400_000;

    fn read(fields: &[(&str, &str)], track: Track) -> Result<Options, Refusal> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options::read(&SendForm { fields, ..SendForm::default() }, track, NOW, 3 * DAY)
    }

    fn options(fields: &[(&str, &str)]) -> Options {
        read(fields, Track::default()).expect("good options")
    }

    // MAILGUN-115, MAILGUN-116
    #[test]
    fn tags_and_variables_are_kept_as_texts() {
        let made = options(&[("o:tag", "a"), ("o:tag", "B"), ("o:tag", "A"), ("v:n", "123"), ("v:json", "{\"a\":1}")]);
        assert_eq!(made.tags, ["a", "B"]);
        assert_eq!(Value::Object(made.variables), serde_json::json!({"n": "123", "json": "{\"a\":1}"}));
        let many: Vec<(String, String)> = (0..12).map(|n| ("o:tag".to_owned(), format!("{n}{}", "x".repeat(200)))).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let made = options(&many);
        assert_eq!((made.tags.len(), made.tags[0].len()), (MAX_TAGS, MAX_TAG));
        let merged = options(&[("v:a", "1"), ("h:X-Mailgun-Variables", r#"{"b": {"c": 2}}"#), ("h:x-mailgun-variables", "no")]);
        assert_eq!(Value::Object(merged.variables), serde_json::json!({"a": "1", "b": {"c": 2}}));
    }

    // MAILGUN-171
    #[test]
    fn options_have_16_kb_together() {
        let text = "x".repeat(MAX_OPTIONS - 6);
        assert!(read(&[("v:a", &text), ("o:x", "")], Track::default()).is_ok());
        let refusal = read(&[("v:a", &text), ("t:x", "y")], Track::default()).expect_err("too much");
        assert_eq!(refusal, Refusal::bad("Send options (parameters starting with o:, h:, or v:) are limited to 16KB total"));
    }

    // MAILGUN-176
    #[test]
    fn test_mode_has_many_words() {
        for (word, test) in
            [("yes", true), ("true", true), ("True", true), ("YES", true), ("no", false), ("False", false), ("maybe", false)]
        {
            assert_eq!(options(&[("o:testmode", word)]).test, test, "{word}");
        }
    }

    #[test]
    fn headers_are_one_line_and_some_have_a_meaning() {
        let made = options(&[("h:X-A", " b\r\nBcc: c "), ("h:reply-to", "d@e"), ("h:Message-Id", "<f@g>")]);
        assert_eq!(made.headers, [("X-A".to_owned(), "b Bcc: c".to_owned())]);
        assert_eq!((made.reply_to.as_deref(), made.message_id.as_deref()), (Some("d@e"), Some("f@g")));
        for (name, value) in
            [("h:", "x"), ("h:a b", "x"), ("h:a:b", "x"), ("h:é", "x"), ("h:Message-Id", "no"), ("h:Message-Id", "<a@b@c>")]
        {
            assert!(read(&[(name, value)], Track::default()).is_err(), "{name}");
        }
    }

    #[test]
    fn the_message_overrides_the_domain() {
        let on = Track { opens: true, clicks: true, unsubscribe: true, html_clicks_only: false };
        let track = |fields: &[(&str, &str)], domain| read(fields, domain).expect("good options").track;
        assert_eq!(track(&[], on), on);
        assert_eq!(track(&[("o:tracking", "no")], on), Track { opens: false, clicks: false, ..on });
        assert_eq!(
            track(&[("o:tracking", "True"), ("o:tracking-opens", "false")], Track::default()),
            Track { clicks: true, ..Track::default() }
        );
        let html = track(&[("o:tracking-clicks", "htmlonly")], Track::default());
        assert_eq!(html, Track { clicks: true, html_clicks_only: true, ..Track::default() });
    }

    #[test]
    fn delivery_times_are_dates_not_too_far_ahead() {
        let at = |text: &str| read(&[("o:deliverytime", text)], Track::default()).map(|made| made.deliver_at_ms);
        assert_eq!(at("Tue, 14 Nov 2023 22:13:50 +0000"), Ok(Some(NOW + 30_000)));
        assert_eq!(at("Tue, 14 Nov 2023 22:13:50 GMT"), Ok(Some(NOW + 30_000)));
        assert_eq!(at("Mon, 13 Nov 2023 22:13:50 -0000"), Ok(None), "the past is now");
        assert!(at("2023-11-14").is_err() && at("Tue, 21 Nov 2023 22:13:50 +0000").is_err());
    }
}
