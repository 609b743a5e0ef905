//! Placeholders that are filled for each recipient: `%recipient.NAME%` and the links to unsubscribe.
//!
//! Invariants: what is filled in is not looked at again; what has no value stays as it is written; no text grows by more than its room.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

/// Placeholders of links to unsubscribe. All lead to the same place: this server knows no mailing lists, and a recipient who wants
/// no more of one tag is taken to want no more at all.
pub const UNSUBSCRIBE: [&str; 3] = ["%unsubscribe_url%", "%tag_unsubscribe_url%", "%mailing_list_unsubscribe_url%"];

/// Begin of the placeholder of a recipient's own value.
const RECIPIENT: &str = "%recipient.";
/// Bytes of a name at most.
const MAX_NAME: usize = 256;
/// Bytes of a link to unsubscribe as [`Growth`] counts it, which does not know the links.
const LINK: usize = 512;

/// Bytes by which placeholders may lengthen the bodies of one mail, all together.
pub const BODY_ROOM: usize = 32 << 20;
/// The same for subject and headers of one mail, and for the metadata of one event.
pub const LINE_ROOM: usize = 64 << 10;

/// What fills the placeholders is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what fills its placeholders is too long")]
pub struct Overfull;

/// Fills the placeholders of `text`. `unsubscribe` is the address that takes the place of the links, which stay without it. `room` is how
/// many bytes longer the text may become; what it takes of that is taken off.
///
/// # Errors
/// If there is not room enough. Nothing is taken off then.
pub fn fill<'a>(
    text: &'a str,
    variables: &Map<String, Value>,
    unsubscribe: Option<&str>,
    room: &mut usize,
) -> Result<Cow<'a, str>, Overfull> {
    let max = text.len().saturating_add(*room);
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        match placeholder(from, variables, unsubscribe) {
            Some((length, value)) => {
                if filled.len().saturating_add(value.len()) > max {
                    return Err(Overfull);
                }
                filled.push_str(&value);
                rest = &from[length..];
            }
            None => {
                filled.push('%');
                rest = &from[1..];
            }
        }
    }
    if filled.is_empty() && rest.len() == text.len() {
        return Ok(Cow::Borrowed(text));
    }
    filled.push_str(rest);
    if filled.len() > max {
        return Err(Overfull);
    }
    *room -= filled.len().saturating_sub(text.len());
    Ok(Cow::Owned(filled))
}

/// The same for every text within the values of `map`, which share the room.
///
/// # Errors
/// If there is not room enough.
pub fn fill_map(map: &Map<String, Value>, variables: &Map<String, Value>, room: &mut usize) -> Result<Map<String, Value>, Overfull> {
    map.iter().map(|(name, member)| Ok((name.clone(), fill_value(member, variables, room)?))).collect()
}

fn fill_value(value: &Value, variables: &Map<String, Value>, room: &mut usize) -> Result<Value, Overfull> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text, variables, None, room)?.into_owned()),
        Value::Array(list) => {
            let filled: Result<Vec<Value>, Overfull> = list.iter().map(|member| fill_value(member, variables, room)).collect();
            Value::Array(filled?)
        }
        Value::Object(map) => Value::Object(fill_map(map, variables, room)?),
        other => other.clone(),
    })
}

/// How much placeholders lengthen some texts: the texts are read once, and not again for each recipient.
#[derive(Debug, Default)]
pub struct Growth<'a> {
    /// How often each recipient's own values are asked for, by name.
    names: HashMap<&'a str, usize>,
    /// How often a link to unsubscribe is asked for.
    links: usize,
}

impl<'a> Growth<'a> {
    /// Counts the placeholders of the texts.
    pub fn of(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut counted = Self::default();
        for text in texts {
            for (at, _) in text.match_indices('%') {
                let from = &text[at..];
                if let Some(name) = recipient_name(from) {
                    *counted.names.entry(name).or_default() += 1;
                } else if UNSUBSCRIBE.iter().any(|placeholder| from.starts_with(*placeholder)) {
                    counted.links += 1;
                }
            }
        }
        counted
    }

    /// Bytes by which the texts become longer for a recipient with these variables, at most.
    pub fn with(&self, variables: &Map<String, Value>) -> usize {
        let mut bytes = self.links.saturating_mul(LINK);
        for (name, value) in variables {
            let Some(count) = self.names.get(name.as_str()) else { continue };
            let longer = text_of(value).len().saturating_sub(RECIPIENT.len() + name.len() + 1);
            bytes = bytes.saturating_add(count.saturating_mul(longer));
        }
        bytes
    }
}

/// Whether `text` asks for a link to unsubscribe.
pub fn asks_to_unsubscribe(text: &str) -> bool {
    UNSUBSCRIBE.iter().any(|placeholder| text.contains(placeholder))
}

/// The placeholder at the start of `text`: its length and its value.
fn placeholder<'a>(text: &str, variables: &'a Map<String, Value>, unsubscribe: Option<&'a str>) -> Option<(usize, Cow<'a, str>)> {
    if let Some(name) = recipient_name(text) {
        return Some((RECIPIENT.len() + name.len() + 1, text_of(variables.get(name)?)));
    }
    let link = unsubscribe?;
    let found = UNSUBSCRIBE.iter().find(|placeholder| text.starts_with(**placeholder))?;
    Some((found.len(), Cow::Borrowed(link)))
}

/// The name of the value that the placeholder at the start of `text` asks for.
fn recipient_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(RECIPIENT)?;
    let end = rest.bytes().take(MAX_NAME).position(|byte| byte == b'%')?;
    Some(&rest[..end])
}

/// A value as it is filled in.
fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn variables() -> Map<String, Value> {
        let made = json!({"name": "Bob %recipient.n%", "n": 7, "none": null, "o": {"a": 1}});
        made.as_object().expect("an object").clone()
    }

    #[test]
    fn each_recipient_gets_its_own() {
        let filled = |text: &str| fill(text, &variables(), Some("https://u"), &mut 1000).expect("room").into_owned();
        assert_eq!(filled("Hi %recipient.name%, no. %recipient.n%!"), "Hi Bob %recipient.n%, no. 7!");
        assert_eq!(filled("[%recipient.none%] %recipient.o%"), "[] {\"a\":1}");
        assert_eq!(filled("100% %recipient.other% %recipient. %recipient.n"), "100% %recipient.other% %recipient. %recipient.n");
        assert_eq!(filled("%unsubscribe_url% %tag_unsubscribe_url% %mailing_list_unsubscribe_url%"), "https://u https://u https://u");
        assert_eq!(fill("%unsubscribe_url%", &variables(), None, &mut 0).expect("room"), "%unsubscribe_url%");
        assert!(matches!(fill("plain", &variables(), None, &mut 0), Ok(Cow::Borrowed(_))));
        let nested = fill_value(&json!({"%recipient.n%": ["%recipient.n%", 1]}), &variables(), &mut 0);
        assert_eq!(nested, Ok(json!({"%recipient.n%": ["7", 1]})));
    }

    #[test]
    fn nothing_grows_beyond_its_room() {
        let made = json!({"x": "y".repeat(100_000), "short": "z"});
        let variables = made.as_object().expect("an object");
        let text = "%recipient.x%".repeat(100_000);
        let mut room = BODY_ROOM;
        assert_eq!(fill(&text, variables, None, &mut room), Err(Overfull));
        assert_eq!(room, BODY_ROOM);
        // To the byte, and what is left is for the next text.
        let growth = 100_000 - "%recipient.x%".len();
        assert_eq!(fill("a %recipient.x% b", variables, None, &mut (growth - 1)), Err(Overfull));
        let mut room = growth + 5;
        assert_eq!(fill("a %recipient.x% b", variables, None, &mut room).map(|filled| filled.len()), Ok(100_004));
        assert_eq!(fill("%recipient.short%", variables, None, &mut room).expect("shorter"), "z");
        assert_eq!(room, 5);
        let texts = json!({"a": ["%recipient.x%"], "b": "%recipient.x%"});
        let texts = texts.as_object().expect("an object");
        assert!(fill_map(texts, variables, &mut (2 * growth)).is_ok());
        assert_eq!(fill_map(texts, variables, &mut (2 * growth - 1)), Err(Overfull));
        // What has no placeholders always has room.
        assert_eq!(fill(&"a".repeat(100), variables, None, &mut 0).map(|filled| filled.len()), Ok(100));
    }

    #[test]
    fn growth_is_counted_without_filling() {
        let made = json!({"x": "y".repeat(1000), "n": 7, "unused": "u".repeat(1000)});
        let variables = made.as_object().expect("an object");
        let counted = Growth::of(["%recipient.x% %recipient.n% 100%", "%recipient.x%%recipient.none%"]);
        assert_eq!(counted.with(variables), 2 * (1000 - "%recipient.x%".len()));
        assert_eq!(counted.with(&Map::new()), 0);
        assert_eq!(Growth::of(["%unsubscribe_url% %tag_unsubscribe_url%"]).with(variables), 2 * LINK);
    }

    proptest! {
        #[test]
        fn without_values_nothing_changes(text in "(%|recipient\\.|é|a|unsubscribe_url){0,20}") {
            prop_assert_eq!(fill(&text, &Map::new(), None, &mut 0).expect("room"), text.as_str());
        }

        #[test]
        fn growth_is_never_counted_short(text in "(%|recipient\\.|a%|b%|é){0,20}", a in "a{0,30}", b in "b{0,30}") {
            let variables = Map::from_iter([("a".to_owned(), json!(a)), ("b".to_owned(), json!(b))]);
            prop_assert!(fill(&text, &variables, None, &mut Growth::of([text.as_str()]).with(&variables)).is_ok());
        }
    }
}
