//! What a provider calls back: receipts and inbound messages, found by the operator's mapping.

use std::borrow::Cow;
use std::collections::BTreeMap;

use posthaste_domain::signature::constant_time_eq;
use posthaste_domain::sms::normal_number;
use serde_json::Value;

use crate::settings::{Fields, refuse};
use crate::{NewsKind, ReceiptState, SettingsError};

/// Items of one callback that are read at most.
const MOST_ITEMS: usize = 1000;
/// The shortest token: 16 characters at random cannot be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Why a callback was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// The body is neither JSON nor a form.
    #[error("the body is neither JSON nor a form")]
    Unreadable,
    /// Nothing of what the mapping names is there.
    #[error("the callback has neither the fields of a receipt nor those of an inbound message")]
    NothingFound,
    /// The list of items is longer than is read at once.
    #[error("the callback has more than {MOST_ITEMS} items")]
    TooMany,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In a JSON body: a pointer.
    Pointer(String),
    /// In a form or query: a name. In a JSON body: a field of the top.
    Name(String),
}

#[derive(Clone, Debug)]
struct ReceiptRule {
    id: Place,
    status: Place,
    code: Option<Place>,
    text: Option<Place>,
    /// Words in lower case.
    states: BTreeMap<String, ReceiptState>,
}

#[derive(Clone, Debug)]
struct InboundRule {
    from: Place,
    to: Place,
    text: Place,
}

/// How the callbacks of the configured gateway are read. They come in at `/posthaste/v1/carriers/{token}`.
#[derive(Clone, Debug)]
pub struct GatewayRules {
    token: String,
    list: Option<String>,
    receipt: Option<ReceiptRule>,
    inbound: Option<InboundRule>,
}

/// One thing that a callback tells, as the mapping sees it.
enum Document<'a> {
    Json(&'a Value, &'a [(Cow<'a, str>, Cow<'a, str>)]),
    Pairs(&'a [(Cow<'a, str>, Cow<'a, str>)]),
}

impl Document<'_> {
    fn get(&self, place: &Place) -> Option<String> {
        let named = |pairs: &[(Cow<'_, str>, Cow<'_, str>)], name: &str| {
            pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone().into_owned())
        };
        let found = match (self, place) {
            (Self::Json(value, _), Place::Pointer(pointer)) => value.pointer(pointer).and_then(text_of),
            (Self::Json(value, query), Place::Name(name)) => value.get(name).and_then(text_of).or_else(|| named(query, name)),
            (Self::Pairs(pairs), Place::Name(name)) => named(pairs, name),
            (Self::Pairs(_), Place::Pointer(_)) => None,
        };
        found.filter(|text| !text.is_empty())
    }
}

/// A text, number or truth value as text.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

impl GatewayRules {
    pub(super) fn parse(path: &str, value: &Value) -> Result<Self, SettingsError> {
        let fields = Fields::of(value, path, &["token", "list", "receipt", "inbound"])?;
        let token = fields.required("token")?;
        let usable = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if token.len() < SHORTEST_TOKEN || !usable {
            return Err(refuse(
                fields.path("token"),
                format!("must have at least {SHORTEST_TOKEN} letters, digits, - and _, chosen at random"),
            ));
        }
        let list = fields.text("list")?.map(str::to_owned);
        if list.as_deref().is_some_and(|list| !list.starts_with('/')) {
            return Err(refuse(fields.path("list"), "must be a JSON pointer such as /results"));
        }
        let receipt = fields.get("receipt").map(|rule| receipt_rule(&fields.path("receipt"), rule)).transpose()?;
        let inbound = fields.get("inbound").map(|rule| inbound_rule(&fields.path("inbound"), rule)).transpose()?;
        if receipt.is_none() && inbound.is_none() {
            return Err(refuse(path, "must have a receipt or an inbound table"));
        }
        Ok(Self { token: token.to_owned(), list, receipt, inbound })
    }

    /// Whether a path's token is the configured one, in constant time.
    pub fn token_is(&self, token: &str) -> bool {
        constant_time_eq(self.token.as_bytes(), token.as_bytes())
    }

    /// Reads a callback: its content type, query and body, whatever its method. An item with a status that the mapping does not know, or
    /// nothing that it names, tells nothing; the answer is then empty as long as another item or the mapping's fields were there.
    ///
    /// # Errors
    /// If it cannot be read at all; a provider that made a mistake should hear 400.
    pub fn read(&self, content_type: Option<&str>, query: Option<&str>, body: &[u8]) -> Result<Vec<NewsKind>, CallbackError> {
        let mut pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        let json = kind.ends_with("json") || (kind != "application/x-www-form-urlencoded" && matches!(first, Some(b'{' | b'[')));
        let (mut news, mut found) = (Vec::new(), false);
        if json {
            let document: Value = serde_json::from_slice(body).map_err(|_| CallbackError::Unreadable)?;
            let one = std::slice::from_ref(&document);
            let items = match self.list.as_deref().and_then(|pointer| document.pointer(pointer)) {
                Some(Value::Array(items)) => items.as_slice(),
                _ => document.as_array().map_or(one, Vec::as_slice),
            };
            if items.len() > MOST_ITEMS {
                return Err(CallbackError::TooMany);
            }
            for item in items {
                self.read_one(&Document::Json(item, &pairs), &mut news, &mut found);
            }
            found |= items.is_empty();
        } else {
            std::str::from_utf8(body).map_err(|_| CallbackError::Unreadable)?;
            pairs.extend(form_urlencoded::parse(body));
            self.read_one(&Document::Pairs(&pairs), &mut news, &mut found);
        }
        if found { Ok(news) } else { Err(CallbackError::NothingFound) }
    }

    /// A receipt if its word is one, else an inbound message if it has those fields.
    fn read_one(&self, document: &Document<'_>, news: &mut Vec<NewsKind>, found: &mut bool) {
        let receipt = self.receipt.as_ref().and_then(|rule| Some((rule, document.get(&rule.id)?, document.get(&rule.status)?)));
        if let Some((rule, carrier_id, word)) = receipt {
            *found = true;
            let word = word.to_lowercase();
            if let Some(state) = rule.states.get(&word).copied().or_else(|| ReceiptState::of_word(&word)) {
                let optional = |place: &Option<Place>| place.as_ref().and_then(|place| document.get(place));
                news.push(NewsKind::Receipt { carrier_id, state, code: optional(&rule.code), text: optional(&rule.text) });
                return;
            }
        }
        let inbound = self
            .inbound
            .as_ref()
            .and_then(|rule| Some((document.get(&rule.from)?, document.get(&rule.to)?, document.get(&rule.text).unwrap_or_default())));
        if let Some((from, to, text)) = inbound {
            *found = true;
            // A reply finds its message, and an opt-out its number, by the number in E.164.
            news.push(NewsKind::Received { from: normal_number(&from), to: normal_number(&to), text });
        }
    }
}

fn place(fields: &Fields<'_>, name: &str) -> Result<Option<Place>, SettingsError> {
    let text = fields.text(name)?;
    Ok(text.map(|text| if text.starts_with('/') { Place::Pointer(text.to_owned()) } else { Place::Name(text.to_owned()) }))
}

fn required(fields: &Fields<'_>, name: &str) -> Result<Place, SettingsError> {
    place(fields, name)?.ok_or_else(|| refuse(fields.path(name), "is required: a JSON pointer such as /id, or the name of a form field"))
}

fn receipt_rule(path: &str, value: &Value) -> Result<ReceiptRule, SettingsError> {
    let fields = Fields::of(value, path, &["id", "status", "code", "text", "states"])?;
    let mut states = BTreeMap::new();
    if let Some(table) = fields.get("states") {
        let path = fields.path("states");
        let map = table.as_object().ok_or_else(|| refuse(&path, "must be a table of words and states"))?;
        for (word, state) in map {
            let state = match state.as_str() {
                Some("enroute") => ReceiptState::Enroute,
                Some("delivered") => ReceiptState::Delivered,
                Some("failed") => ReceiptState::Failed,
                Some("expired") => ReceiptState::Expired,
                Some("rejected") => ReceiptState::Rejected,
                _ => return Err(refuse(format!("{path}.{word}"), "must be one of enroute, delivered, failed, expired, rejected")),
            };
            states.insert(word.to_lowercase(), state);
        }
    }
    let (id, status) = (required(&fields, "id")?, required(&fields, "status")?);
    Ok(ReceiptRule { id, status, code: place(&fields, "code")?, text: place(&fields, "text")?, states })
}

fn inbound_rule(path: &str, value: &Value) -> Result<InboundRule, SettingsError> {
    let fields = Fields::of(value, path, &["from", "to", "text"])?;
    Ok(InboundRule { from: required(&fields, "from")?, to: required(&fields, "to")?, text: required(&fields, "text")? })
}
