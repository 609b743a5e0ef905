//! Placeholders that are filled for each recipient: `%recipient.NAME%` and the links to unsubscribe.
//!
//! Invariants: what is filled in is not looked at again; what has no value stays as it is written.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Placeholders of links to unsubscribe. All lead to the same place: this server knows no mailing lists, and a recipient who wants
/// no more of one tag is taken to want no more at all.
pub const UNSUBSCRIBE: [&str; 3] = ["%unsubscribe_url%", "%tag_unsubscribe_url%", "%mailing_list_unsubscribe_url%"];

/// Begin of the placeholder of a recipient's own value.
const RECIPIENT: &str = "%recipient.";
/// Bytes of a name at most.
const MAX_NAME: usize = 256;

/// Fills the placeholders of `text`. `unsubscribe` is the address that takes the place of the links, which stay without it.
pub fn fill<'a>(text: &'a str, variables: &Map<String, Value>, unsubscribe: Option<&str>) -> Cow<'a, str> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        match placeholder(from, variables, unsubscribe) {
            Some((length, value)) => {
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
        return Cow::Borrowed(text);
    }
    filled.push_str(rest);
    Cow::Owned(filled)
}

/// The same for every text within a value.
pub fn fill_value(value: &Value, variables: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, variables, None).into_owned()),
        Value::Array(list) => list.iter().map(|member| fill_value(member, variables)).collect(),
        Value::Object(map) => map.iter().map(|(name, member)| (name.clone(), fill_value(member, variables))).collect(),
        other => other.clone(),
    }
}

/// Whether `text` asks for a link to unsubscribe.
pub fn asks_to_unsubscribe(text: &str) -> bool {
    UNSUBSCRIBE.iter().any(|placeholder| text.contains(placeholder))
}

/// The placeholder at the start of `text`: its length and its value.
fn placeholder<'a>(text: &str, variables: &'a Map<String, Value>, unsubscribe: Option<&'a str>) -> Option<(usize, Cow<'a, str>)> {
    if let Some(rest) = text.strip_prefix(RECIPIENT) {
        let end = rest.bytes().take(MAX_NAME).position(|byte| byte == b'%')?;
        let value = match variables.get(&rest[..end])? {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            Value::Null => Cow::Borrowed(""),
            other => Cow::Owned(other.to_string()),
        };
        return Some((RECIPIENT.len() + end + 1, value));
    }
    let link = unsubscribe?;
    let found = UNSUBSCRIBE.iter().find(|placeholder| text.starts_with(**placeholder))?;
    Some((found.len(), Cow::Borrowed(link)))
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
        let filled = |text| fill(text, &variables(), Some("https://u")).into_owned();
        assert_eq!(filled("Hi %recipient.name%, no. %recipient.n%!"), "Hi Bob %recipient.n%, no. 7!");
        assert_eq!(filled("[%recipient.none%] %recipient.o%"), "[] {\"a\":1}");
        assert_eq!(filled("100% %recipient.other% %recipient. %recipient.n"), "100% %recipient.other% %recipient. %recipient.n");
        assert_eq!(filled("%unsubscribe_url% %tag_unsubscribe_url% %mailing_list_unsubscribe_url%"), "https://u https://u https://u");
        assert_eq!(fill("%unsubscribe_url%", &variables(), None), "%unsubscribe_url%");
        assert!(matches!(fill("plain", &variables(), None), Cow::Borrowed(_)));
        let nested = fill_value(&json!({"%recipient.n%": ["%recipient.n%", 1]}), &variables());
        assert_eq!(nested, json!({"%recipient.n%": ["7", 1]}));
    }

    proptest! {
        #[test]
        fn without_values_nothing_changes(text in "(%|recipient\\.|é|a|unsubscribe_url){0,20}") {
            prop_assert_eq!(fill(&text, &Map::new(), None), text.as_str());
        }
    }
}
