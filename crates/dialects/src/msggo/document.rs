//! How the event document is built from the query and the body (MsgGO 3.2 and 3.3).
//!
//! Pure: bytes in, bytes out. Invariants:
//! - a body that is one JSON object without `msggo-key`, sent without query fields, is the payload byte for byte, white space included;
//! - otherwise the payload is a new compact object whose values are still the sender's own bytes;
//! - `msggo-key` is never in the payload;
//! - no input makes it panic.

use std::collections::HashMap;

use bytes::Bytes;
use posthaste_domain::matching::document::{MAX_DOCUMENT_DEPTH, build_object, count_characters, is_too_deep, top_level_fields};

use super::multipart;
use super::names::{self, Fields};

/// Name of the query and body field that may carry the key.
pub const KEY_FIELD: &str = "msggo-key";

/// Why no event document could be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The body cannot be read, is JSON but no object, or is nested too deep.
    #[error("the body is not a JSON object or a form")]
    Unreadable,
    /// More characters or fields than an event may have.
    #[error("the event is too large")]
    TooLarge,
}

/// One side of a request, query or body, as event fields and maybe a key.
#[derive(Debug, Default)]
pub struct Side {
    /// The value of `msggo-key`; the last one if it repeats, `None` if it is no text.
    key: Option<String>,
    /// Name and JSON text of each field, the key taken out; names may repeat, the last one counts.
    fields: Vec<(String, Bytes)>,
    /// The very text, when it is a JSON object that held no key.
    whole: Option<Bytes>,
}

impl Side {
    /// Reads a raw query.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`] when it has too many fields.
    pub fn from_query(query: Option<&str>) -> Result<Self, DocumentError> {
        Self::from_pairs(form_urlencoded::parse(query.unwrap_or_default().as_bytes()))
    }

    /// Reads a body by the rules for its type; a blank body is no body, whatever its type.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn from_body(content_type: Option<&str>, body: Bytes) -> Result<Self, DocumentError> {
        // Some tools put a byte order mark before their JSON; it says nothing in UTF-8.
        let text = if body.starts_with(b"\xEF\xBB\xBF") { body.slice(3..) } else { body };
        let Some(first) = text.iter().find(|byte| !byte.is_ascii_whitespace()) else {
            return Ok(Self::default());
        };
        let full_type = content_type.unwrap_or_default();
        let essence = full_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            // `curl -d`, wget and urllib send JSON under this type.
            "application/x-www-form-urlencoded" if !matches!(first, b'{' | b'[') => Self::from_pairs(form_urlencoded::parse(&text)),
            "multipart/form-data" => {
                let pairs = multipart::fields(full_type, text).map_err(|_| DocumentError::Unreadable)?;
                Self::from_pairs(pairs.into_iter())
            }
            _ => Self::from_json(text),
        }
    }

    fn from_pairs<S: AsRef<str> + Into<String>>(pairs: impl Iterator<Item = (S, S)>) -> Result<Self, DocumentError> {
        let mut key = None;
        let mut fields = Fields::default();
        for (name, value) in pairs {
            let name = name.as_ref();
            if names::head(name) != KEY_FIELD {
                fields.push(name, value.into()).map_err(|_| DocumentError::TooLarge)?;
            } else if name == KEY_FIELD {
                key = Some(value.into());
            }
        }
        Ok(Self { key, fields: fields.finish(), whole: None })
    }

    fn from_json(text: Bytes) -> Result<Self, DocumentError> {
        // Deeper ones would match nothing, and no reader of the log could parse the page that they are on.
        if is_too_deep(&text, MAX_DOCUMENT_DEPTH) {
            return Err(DocumentError::Unreadable);
        }
        let mut key = None;
        let mut keyless = true;
        let mut fields = Vec::new();
        for (name, value) in top_level_fields(&text).map_err(|_| DocumentError::Unreadable)? {
            if name == KEY_FIELD {
                keyless = false;
                key = serde_json::from_slice(value).ok();
            } else {
                fields.push((name, text.slice_ref(value)));
            }
        }
        Ok(Self { key, fields, whole: keyless.then_some(text) })
    }

    /// The key that this side carries.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// Merges both sides, the body's fields winning, into the payload of the event.
///
/// # Errors
/// [`DocumentError::TooLarge`] when its compact form has more than `max_characters` Unicode characters.
pub fn merge(query: &Side, body: &Side, max_characters: usize) -> Result<Bytes, DocumentError> {
    let payload = match &body.whole {
        Some(text) if query.fields.is_empty() => text.clone(),
        _ => {
            let mut places: HashMap<&str, usize> = HashMap::new();
            let mut merged: Vec<(&str, &[u8])> = Vec::new();
            for (name, value) in query.fields.iter().chain(&body.fields) {
                let place = *places.entry(name).or_insert(merged.len());
                match merged.get_mut(place) {
                    Some(field) => field.1 = value,
                    None => merged.push((name, value)),
                }
            }
            Bytes::from(build_object(merged.into_iter()))
        }
    };
    if count_characters(&payload) > max_characters { Err(DocumentError::TooLarge) } else { Ok(payload) }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
