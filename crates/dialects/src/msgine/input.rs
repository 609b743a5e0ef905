//! What a request asks for: bodies of sends, checked in the documented order (MsGine 3.1, 4).
//!
//! Invariant: what comes out is sendable as it is; the first thing wrong is what is answered. Unknown fields are ignored, a field
//! that is `null` counts as absent.

use http::Uri;
use posthaste_domain::clock::parse_rfc3339;
use serde_json::{Map, Value};

use super::MsgineSettings;
use super::answer::Refusal;

/// Characters of a sender ID at most.
const SENDER_ID: usize = 11;
/// Characters of an idempotency key at most.
const IDEMPOTENCY_KEY: usize = 64;
/// Bytes of a callback URL at most.
const CALLBACK_URL: usize = 2048;
/// Characters of a subject at most.
const SUBJECT: usize = 200;
/// Characters of an e-mail text or its HTML at most.
const EMAIL_TEXT: usize = 200_000;

/// The two states of the API (MsGine 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// `/messages`.
    One,
    /// `/developers`.
    Two,
}

impl Generation {
    /// Characters of a text at most.
    pub fn max_characters(self) -> usize {
        match self {
            Self::One => 1600,
            Self::Two => 1000,
        }
    }
}

/// What both kinds of sends may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Not before this time.
    pub deliver_at_ms: Option<i64>,
    /// A repeat with the same key is the same message.
    pub idempotency_key: Option<String>,
}

/// An SMS to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sms {
    /// E.164 numbers in the order given.
    pub to: Vec<String>,
    /// The text.
    pub message: String,
    /// Sender ID, if named.
    pub from: Option<String>,
    /// Where its events go, if not to the dashboard webhooks.
    pub callback_url: Option<String>,
    /// Generation 2.
    pub options: Options,
}

/// An e-mail to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// `From` as given, and its bare address.
    pub from: (String, String),
    /// `To` as given, and the bare addresses.
    pub to: (String, Vec<String>),
    /// `Cc` likewise.
    pub cc: (String, Vec<String>),
    /// Bare addresses of `bcc`.
    pub bcc: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Plain text.
    pub text: Option<String>,
    /// HTML.
    pub html: Option<String>,
    /// When, and only once.
    pub options: Options,
}

/// Reads the body of an SMS send. Generation 1 has neither `scheduledFor` nor `idempotencyKey`: there they are unknown fields.
///
/// # Errors
/// The first thing wrong, as it is answered.
pub fn sms(body: &[u8], generation: Generation, settings: &MsgineSettings, now_ms: i64) -> Result<Sms, Refusal> {
    let fields = Fields::parse(body)?;
    let to = fields.numbers()?;
    if to.len() > settings.max_recipients {
        return Err(Refusal::field("to", format!("At most {} recipients are allowed", settings.max_recipients)));
    }
    let message = fields.text("message")?.filter(|text| !text.trim().is_empty()).ok_or_else(Refusal::message_required)?;
    let length = message.chars().count();
    if length > generation.max_characters() {
        return Err(Refusal::message_too_long(generation.max_characters(), length));
    }
    let from = fields.text("from")?.filter(|from| !from.is_empty());
    if let Some(from) = from
        && !is_sender_id(from)
    {
        return Err(Refusal::sender_id(from));
    }
    let callback_url = fields.text("callbackUrl")?.filter(|url| !url.is_empty());
    if let Some(url) = callback_url
        && !is_callback_url(url, settings.allow_http)
    {
        return Err(Refusal::callback_url(url));
    }
    let options = match generation {
        Generation::One => Options::default(),
        Generation::Two => fields.options(settings, now_ms)?,
    };
    Ok(Sms { to, message: message.to_owned(), from: from.map(str::to_owned), callback_url: callback_url.map(str::to_owned), options })
}

/// Reads the body of an e-mail send.
///
/// # Errors
/// The first thing wrong, as it is answered.
pub fn email(body: &[u8], settings: &MsgineSettings, now_ms: i64) -> Result<Email, Refusal> {
    let fields = Fields::parse(body)?;
    let (from, mut from_address) = fields.addresses("from")?;
    let (to, to_addresses) = fields.addresses("to")?;
    let (cc, cc_addresses) = fields.addresses("cc")?;
    let (_, bcc) = fields.addresses("bcc")?;
    if from_address.len() != 1 {
        return Err(Refusal::field("from", "Exactly one sender address is required"));
    }
    if to_addresses.is_empty() {
        return Err(Refusal::field("to", "At least one recipient is required"));
    }
    if to_addresses.len() + cc_addresses.len() + bcc.len() > settings.max_recipients {
        return Err(Refusal::field("to", format!("At most {} recipients are allowed", settings.max_recipients)));
    }
    let subject = fields.text("subject")?.map(str::trim).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or_else(|| Refusal::field("subject", "Subject is required"))?;
    if subject.chars().count() > SUBJECT {
        return Err(Refusal::field("subject", format!("Subject exceeds maximum length of {SUBJECT} characters")));
    }
    if subject.chars().any(char::is_control) {
        return Err(Refusal::field("subject", "Subject must not contain control characters"));
    }
    let part = |name: &'static str| -> Result<Option<String>, Refusal> {
        let text = fields.text(name)?.filter(|text| !text.trim().is_empty());
        match text {
            Some(text) if text.chars().count() > EMAIL_TEXT => {
                Err(Refusal::field(name, format!("At most {EMAIL_TEXT} characters are allowed")))
            }
            text => Ok(text.map(str::to_owned)),
        }
    };
    let (text, html) = (part("text")?, part("html")?);
    if text.is_none() && html.is_none() {
        return Err(Refusal::field("text", "Text or html is required"));
    }
    let options = fields.options(settings, now_ms)?;
    Ok(Email {
        from: (from, from_address.remove(0)),
        to: (to, to_addresses),
        cc: (cc, cc_addresses),
        bcc,
        subject: subject.to_owned(),
        text,
        html,
        options,
    })
}

/// The fields of a body.
struct Fields(Map<String, Value>);

impl Fields {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Refusal::request("The request body must be a JSON object")),
            Err(_) => Err(Refusal::request("The request body is not valid JSON")),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::field(name, format!("{name} must be a string"))),
        }
    }

    /// `to` in its three forms: a string, numbers separated by commas, an array.
    fn numbers(&self) -> Result<Vec<String>, Refusal> {
        let given: Vec<&str> = match self.get("to") {
            None => return Err(Refusal::phone_number(Value::Null)),
            Some(Value::String(text)) => text.split(',').collect(),
            Some(Value::Array(items)) if items.is_empty() => return Err(Refusal::phone_number(Value::Array(Vec::new()))),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.ok_or_else(|| Refusal::field("to", "to must be a string or an array of strings"))?
            }
            Some(_) => return Err(Refusal::field("to", "to must be a string or an array of strings")),
        };
        given
            .into_iter()
            .map(|number| match number.trim() {
                good if is_e164(good) => Ok(good.to_owned()),
                bad => Err(Refusal::phone_number(Value::from(bad))),
            })
            .collect()
    }

    /// A list of mailboxes, as a string separated by commas or an array: the header text and the bare addresses.
    fn addresses(&self, name: &'static str) -> Result<(String, Vec<String>), Refusal> {
        let text = match self.get(name) {
            Some(Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.ok_or_else(|| Refusal::field(name, format!("{name} must be a string or an array of strings")))?.join(", ")
            }
            _ => self.text(name)?.unwrap_or_default().to_owned(),
        };
        let wrong = || Refusal::field(name, format!("{name} holds an invalid e-mail address"));
        if text.trim().is_empty() {
            return Ok((String::new(), Vec::new()));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong());
        }
        let addresses: Option<Vec<String>> = text.split(',').map(bare_address).collect();
        Ok((text.trim().to_owned(), addresses.ok_or_else(wrong)?))
    }

    fn options(&self, settings: &MsgineSettings, now_ms: i64) -> Result<Options, Refusal> {
        let deliver_at_ms = match self.text("scheduledFor")? {
            None => None,
            Some(text) => {
                // Without an offset it is UTC, as every time of this API.
                let at_ms = parse_rfc3339(text).or_else(|| parse_rfc3339(&format!("{text}Z")));
                let at_ms = at_ms.ok_or_else(|| Refusal::field("scheduledFor", "scheduledFor must be an ISO 8601 time"))?;
                let latest_ms = now_ms.saturating_add(i64::try_from(settings.schedule_max.as_millis()).unwrap_or(i64::MAX));
                if at_ms > latest_ms {
                    return Err(Refusal::field("scheduledFor", "scheduledFor is too far in the future"));
                }
                // What is due already is an ordinary message.
                Some(at_ms).filter(|at_ms| *at_ms > now_ms)
            }
        };
        let idempotency_key = self.text("idempotencyKey")?.filter(|key| !key.is_empty());
        if idempotency_key.is_some_and(|key| key.chars().count() > IDEMPOTENCY_KEY) {
            return Err(Refusal::field("idempotencyKey", format!("At most {IDEMPOTENCY_KEY} characters are allowed")));
        }
        Ok(Options { deliver_at_ms, idempotency_key: idempotency_key.map(str::to_owned) })
    }
}

/// `^\+[1-9]\d{6,14}$`
fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// One to eleven letters and digits.
pub fn is_sender_id(text: &str) -> bool {
    (1..=SENDER_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_callback_url(text: &str, allow_http: bool) -> bool {
    text.len() <= CALLBACK_URL && origin(text).is_some_and(|origin| origin.starts_with("https://") || allow_http)
}

/// `scheme://host:port` of an absolute HTTP URL without credentials, in lower case and with the port always named.
pub fn origin(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())?;
    // What follows the host is a port or nothing: `host:` and ports that are no numbers are refused.
    let rest = authority.as_str().get(authority.host().len()..)?;
    let port = if rest.is_empty() { default_port } else { authority.port_u16()? };
    Some(format!("{scheme}://{}:{port}", authority.host().to_ascii_lowercase()))
}

/// The address of `Name <a@b.example>` or `a@b.example`.
pub fn bare_address(mailbox: &str) -> Option<String> {
    let mailbox = mailbox.trim();
    let bare = match mailbox.rsplit_once('<') {
        Some((_, rest)) => rest.strip_suffix('>')?.trim(),
        None => mailbox,
    };
    let (local, domain) = bare.rsplit_once('@')?;
    let plain = |part: &str| part.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"<>()[]\\,;:\"@".contains(c));
    let labels = |domain: &str| domain.split('.').all(|label| !label.is_empty());
    (!local.is_empty() && bare.len() <= 254 && plain(local) && plain(domain) && labels(domain)).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: i64 = 1_795_262_400_000;

    fn read(body: &Value, generation: Generation) -> Result<Sms, Refusal> {
        sms(body.to_string().as_bytes(), generation, &MsgineSettings::default(), NOW)
    }

    fn good() -> Value {
        json!({ "to": "+256701521269", "message": "Hello" })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = good();
        body[name] = value;
        body
    }

    // MSGINE-9, MSGINE-11
    #[test]
    fn recipients_come_in_three_forms() {
        for to in
            [json!("+256701521269,+256701234567"), json!(" +256701521269 , +256701234567 "), json!(["+256701521269", " +256701234567"])]
        {
            assert_eq!(read(&with("to", to), Generation::One).unwrap().to, ["+256701521269", "+256701234567"]);
        }
        assert_eq!(read(&good(), Generation::Two).unwrap().to, ["+256701521269"]);
    }

    // MSGINE-13, MSGINE-14, MSGINE-15, MSGINE-16
    #[test]
    fn what_is_no_number_is_named() {
        for (to, value) in [
            (json!("0701521269"), json!("0701521269")),
            (json!("256701521269"), json!("256701521269")),
            (json!(["+256701521269", "0701521269"]), json!("0701521269")),
            (json!("+256701521269,"), json!("")),
            (json!(""), json!("")),
            (json!([]), json!([])),
            (Value::Null, Value::Null),
            (json!("+123456"), json!("+123456")),
            (json!("+1234567890123456"), json!("+1234567890123456")),
            (json!("+0701521269"), json!("+0701521269")),
            (json!("+25670152126٩"), json!("+25670152126٩")),
        ] {
            assert_eq!(read(&with("to", to.clone()), Generation::Two), Err(Refusal::phone_number(value)), "{to}");
        }
        let wrong = Refusal::field("to", "to must be a string or an array of strings");
        for to in [json!(256701521269_i64), json!(["+256701521269", 7]), json!({})] {
            assert_eq!(read(&with("to", to), Generation::One), Err(wrong.clone()));
        }
    }

    // MSGINE-17, MSGINE-18, MSGINE-19: characters, not bytes.
    #[test]
    fn texts_have_a_length_by_generation() {
        for (generation, max) in [(Generation::One, 1600), (Generation::Two, 1000)] {
            assert!(read(&with("message", json!("ü".repeat(max))), generation).is_ok());
            let refused = read(&with("message", json!("x".repeat(max + 1))), generation);
            assert_eq!(refused, Err(Refusal::message_too_long(max, max + 1)));
        }
        for blank in [json!(""), json!(" \n"), Value::Null] {
            assert_eq!(read(&with("message", blank), Generation::One), Err(Refusal::message_required()));
        }
    }

    // MSGINE-20
    #[test]
    fn sender_ids_are_letters_and_digits() {
        assert_eq!(read(&with("from", json!("MyApp123456")), Generation::One).unwrap().from.as_deref(), Some("MyApp123456"));
        for absent in [Value::Null, json!("")] {
            assert_eq!(read(&with("from", absent), Generation::One).unwrap().from, None);
        }
        for wrong in ["MyApp1234567", "My App", "My-App", "Möbel", " "] {
            assert_eq!(read(&with("from", json!(wrong)), Generation::Two), Err(Refusal::sender_id(wrong)));
        }
    }

    // MSGINE-21
    #[test]
    fn callbacks_use_https() {
        let url = "https://example.com:8443/hook?a=b";
        assert_eq!(read(&with("callbackUrl", json!(url)), Generation::One).unwrap().callback_url.as_deref(), Some(url));
        for wrong in
            ["http://example.com/", "ftp://a", "example.com", "https://", "https://u:p@example.com/", "https://a:x/", "https://a:/"]
        {
            assert_eq!(read(&with("callbackUrl", json!(wrong)), Generation::One), Err(Refusal::callback_url(wrong)), "{wrong}");
        }
        let open = MsgineSettings { allow_http: true, ..MsgineSettings::default() };
        let body = with("callbackUrl", json!("http://127.0.0.1:9/")).to_string();
        assert!(sms(body.as_bytes(), Generation::One, &open, NOW).is_ok());
    }

    // The order of the checks (MsGine 3.1): to, message, from, callbackUrl.
    #[test]
    fn the_first_thing_wrong_is_answered() {
        let mut body = json!({ "to": "1", "message": "", "from": "a b", "callbackUrl": "http://a" });
        let mut seen = Vec::new();
        for (name, value) in [("to", json!("+256701521269")), ("message", json!("x")), ("from", json!("a")), ("callbackUrl", Value::Null)] {
            seen.push(read(&body, Generation::One).unwrap_err());
            body[name] = value;
        }
        let expected =
            [Refusal::phone_number(json!("1")), Refusal::message_required(), Refusal::sender_id("a b"), Refusal::callback_url("http://a")];
        assert_eq!(seen, expected);
        assert!(read(&body, Generation::One).is_ok());
    }

    // MSGINE-22, MSGINE-24
    #[test]
    fn bodies_are_objects_and_unknown_fields_are_ignored() {
        for wrong in ["", "{", "[]", "\"x\"", "to=%2B256701521269"] {
            let refused = sms(wrong.as_bytes(), Generation::One, &MsgineSettings::default(), NOW).unwrap_err();
            assert!(matches!(refused, Refusal::Invalid(_)), "{wrong}");
        }
        let body = json!({ "to": "+256701521269", "message": "x", "priority": 1, "scheduledFor": 7, "idempotencyKey": [] });
        assert_eq!(read(&body, Generation::One).unwrap().options, Options::default());
        assert!(read(&body, Generation::Two).is_err());
    }

    #[test]
    fn generation_two_schedules_and_repeats() {
        let options = |name: &str, value: Value| read(&with(name, value), Generation::Two).map(|sms| sms.options);
        for text in ["2026-11-21T13:00:00Z", "2026-11-21T13:00:00", "2026-11-21T15:00:00+02:00", "2026-11-21T13:00:00.000Z"] {
            assert_eq!(options("scheduledFor", json!(text)).unwrap().deliver_at_ms, Some(NOW + 3_600_000), "{text}");
        }
        assert_eq!(options("scheduledFor", json!("2020-01-01T00:00:00Z")).unwrap().deliver_at_ms, None);
        for wrong in [json!("tomorrow"), json!("2099-01-01T00:00:00Z"), json!(7)] {
            assert!(options("scheduledFor", wrong).is_err());
        }
        assert_eq!(options("idempotencyKey", json!("k".repeat(64))).unwrap().idempotency_key, Some("k".repeat(64)));
        assert!(options("idempotencyKey", json!("k".repeat(65))).is_err());
    }

    #[test]
    fn mails_need_addresses_a_subject_and_a_text() {
        let read = |body: Value| email(body.to_string().as_bytes(), &MsgineSettings::default(), NOW);
        let body = json!({ "from": "Shop <shop@example.com>", "to": "a@x.example, B <b@x.example>", "bcc": ["c@x.example"],
            "subject": "Hi", "html": "<p>Hi</p>" });
        let mail = read(body.clone()).unwrap();
        assert_eq!(
            (mail.from.1.as_str(), mail.to.1, mail.bcc),
            ("shop@example.com", vec!["a@x.example".into(), "b@x.example".into()], vec!["c@x.example".into()])
        );
        for (name, value) in [
            ("from", json!("")),
            ("from", json!("a@x.example,b@x.example")),
            ("to", json!("nobody")),
            ("to", json!("a@x..example")),
            ("cc", json!("a@x.example\r\nBcc: b@x.example")),
            ("subject", json!("x".repeat(201))),
            ("subject", json!("a\r\nb")),
            ("html", Value::Null),
        ] {
            let mut wrong = body.clone();
            wrong[name] = value;
            assert!(matches!(read(wrong.clone()), Err(Refusal::Invalid(_))), "{wrong}");
        }
    }

    #[test]
    fn origins_are_normal() {
        assert_eq!(origin("HTTPS://Example.COM/a").as_deref(), Some("https://example.com:443"));
        assert_eq!(origin("http://[::1]:8080/a").as_deref(), Some("http://[::1]:8080"));
    }

    proptest! {
        #[test]
        fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,60}") {
            let settings = MsgineSettings::default();
            let _ = (sms(&body, Generation::One, &settings, NOW), email(&body, &settings, NOW));
            let (number, url) = (with("to", json!(&text)), with("callbackUrl", json!(&text)));
            let _ = (read(&number, Generation::Two), read(&url, Generation::Two), origin(&text), bare_address(&text));
        }

        /// The model is the documented expression.
        #[test]
        fn numbers_are_the_documented_expression(text in "\\+?[0-9]{0,18}") {
            let digits = text.strip_prefix('+');
            let fits = digits.is_some_and(|digits| (7..=15).contains(&digits.len()) && digits.as_bytes()[0] != b'0');
            prop_assert_eq!(is_e164(&text), fits);
        }
    }
}
