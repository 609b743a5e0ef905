//! What the chat channels share: taking a message out of a dispatch and reading short JSON answers.

use posthaste_domain::template::Rendered;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::failure::Code;
use crate::{Content, SendError};

/// Characters of an answer that are quoted in a message.
const QUOTED: usize = 200;

/// The rendered message; these channels carry nothing else.
pub(crate) fn message_of(content: Content) -> Result<Rendered, SendError> {
    match content {
        Content::Message(message) => Ok(message),
        Content::Wire { .. } | Content::Mail(_) | Content::Sms(_) => {
            Err(Code::ContentUnsupported.error("this channel carries rendered messages alone"))
        }
    }
}

/// The start of an answer on one line, for quoting.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut quoted = String::new();
    for word in text.split_whitespace() {
        if quoted.chars().count() >= QUOTED {
            break;
        }
        if !quoted.is_empty() {
            quoted.push(' ');
        }
        quoted.push_str(word);
    }
    quoted.chars().filter(|c| !c.is_control()).take(QUOTED).collect()
}

/// The fields that vendors answer with.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// `ok` of Slack.
    pub(crate) ok: Option<bool>,
    /// `error` of Slack.
    pub(crate) error: Option<String>,
    /// `message` of Discord.
    pub(crate) message: Option<String>,
    /// `retry_after` of Discord, in seconds.
    pub(crate) retry_after: Option<f64>,
}

/// Reads what is there of an answer. Answers echo the message and may have been cut for length: fields before the cut still count.
pub(crate) fn answer_fields(body: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    // An error means that the text was cut or is no JSON; what was seen before it is in `answer`.
    let _ = Seen(&mut answer).deserialize(&mut reader);
    answer
}

struct Seen<'a>(&'a mut Answer);

impl<'de> DeserializeSeed<'de> for Seen<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seen<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "ok" => self.0.ok = map.next_value::<Value>()?.as_bool(),
                "error" => self.0.error = map.next_value::<Value>()?.as_str().map(str::to_owned),
                "retry_after" => self.0.retry_after = map.next_value::<Value>()?.as_f64(),
                // Slack echoes an object under this name, Discord explains in a text.
                "message" => self.0.message = map.next_value::<Value>()?.as_str().map(str::to_owned),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_before_a_cut_count() {
        let answer = answer_fields(br#"{"ok":true,"channel":"C1","message":{"text":"cut he"#);
        assert_eq!(answer.ok, Some(true));
        assert_eq!(answer_fields(br#"{"ok":false,"error":"is_archived"}"#).error.as_deref(), Some("is_archived"));
        assert_eq!(answer_fields(br#"{"message":"slow","retry_after":0.25}"#).retry_after, Some(0.25));
        assert_eq!(answer_fields(b"ok"), Answer::default());
        assert_eq!(answer_fields(b"[1]"), Answer::default());
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt(b" no\r\n service\x07 "), "no service");
        assert_eq!(excerpt(&[b'x'; 1000]).len(), QUOTED);
    }
}
