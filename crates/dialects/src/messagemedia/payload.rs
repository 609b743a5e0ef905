//! Bodies: what is sent when a webhook has no template, and how the encodings write it (MessageMedia 6.4, 6.5).

use posthaste_domain::message::MessageData;
use serde_json::{Map, Value, json};

use super::event::EventKind;
use super::facts::Facts;
use super::input::Encoding;

/// The documented payload of an event. What is not known is left out.
pub(super) fn default_payload(facts: &Facts) -> Map<String, Value> {
    let mut payload = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        payload.extend(value.map(|value| (name.to_owned(), value)));
    };
    let text = |value: &Option<String>| value.as_deref().map(Value::from);
    let metadata = Value::Object(facts.metadata.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect());
    match facts.kind {
        Some(kind @ (EventKind::ReceivedSms | EventKind::ReceivedMms | EventKind::OptOutSms)) => {
            if kind == EventKind::OptOutSms {
                set("notification_id", text(&facts.notification_id));
            }
            set("account_id", text(&facts.account_id));
            if kind != EventKind::OptOutSms {
                set("reply_id", text(&facts.reply_id));
            }
            set("destination_number", text(&facts.destination));
            set("source_number", text(&facts.source));
            set("date_received", text(&facts.received));
            set("message_id", text(&facts.message_id));
            if facts.attachments.is_empty() {
                set("content", text(&facts.reply));
            } else {
                let files = facts
                    .attachments
                    .iter()
                    .map(|media| json!({ "content_type": media.content_type, "content": media.content, "original_name": media.name }));
                set("attachments", Some(files.collect()));
            }
        }
        _ => {
            set("delivery_report_id", text(&facts.report_id));
            set("source_number", text(&facts.source));
            set("date_received", text(&facts.received));
            set("status", facts.status.map(Value::from));
            set("delay", Some(Value::from("0")));
            set("submitted_date", text(&facts.submitted));
            set("message_id", text(&facts.message_id));
            set("original_text", text(&facts.message));
            set("vendor_account_id", Some(json!({ "vendor_id": facts.vendor_id, "account_id": facts.account_id })));
            set("error_code", facts.status_code.map(|code| Value::from(code.to_string())));
        }
    }
    set("metadata", Some(metadata));
    payload
}

/// A payload in an encoding.
pub(super) fn encoded(payload: Map<String, Value>, encoding: Encoding) -> String {
    match encoding {
        Encoding::Json => Value::Object(payload).to_string(),
        Encoding::Form => form(&Value::Object(payload).to_string()),
        Encoding::Xml => {
            let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
            element(&mut xml, "webhook", &Value::Object(payload));
            xml
        }
    }
}

/// The members of a JSON object as a form, texts as they are and anything else as JSON; any other text as it is.
pub(super) fn form(rendered: &str) -> String {
    let Some(members) = MessageData::parse(rendered.as_bytes()) else { return rendered.to_owned() };
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, raw) in members.fields() {
        match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => pairs.append_pair(name, &text),
            Err(_) => pairs.append_pair(name, raw.get()),
        };
    }
    pairs.finish()
}

/// An element for a value: of an object its members, of a list one element for each item. Names that XML has no room for, which only
/// metadata can bring, become `<entry key="…">`.
fn element(xml: &mut String, name: &str, value: &Value) {
    if let Value::Array(items) = value {
        for item in items {
            element(xml, name, item);
        }
        return;
    }
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let tag = if is_name { name } else { "entry" };
    xml.push('<');
    xml.push_str(tag);
    if !is_name {
        xml.push_str(" key=\"");
        escape(xml, name);
        xml.push('"');
    }
    xml.push('>');
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| element(xml, name, value)),
        Value::String(text) => escape(xml, text),
        Value::Null => {}
        other => xml.push_str(&other.to_string()),
    }
    xml.push_str("</");
    xml.push_str(tag);
    xml.push('>');
}

fn escape(xml: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            // XML cannot hold other control characters at all.
            control if control.is_ascii_control() && !matches!(control, '\t' | '\n' | '\r') => {}
            other => xml.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // MESSAGEMEDIA-67, the part of it that is the encoding's.
    #[test]
    fn a_json_object_becomes_a_form_and_anything_else_stays() {
        assert_eq!(
            form(r#"{"id":"87 7c","status":220,"m":{"a":[1, 2]},"n":null}"#),
            "id=87+7c&status=220&m=%7B%22a%22%3A%5B1%2C+2%5D%7D&n=null"
        );
        for text in ["a=1&b=2", "[1]", "{", ""] {
            assert_eq!(form(text), text);
        }
    }

    #[test]
    fn xml_is_well_formed_whatever_the_metadata_is_called() {
        let payload = json!({ "a": "<&\"\u{1}", "m": { "1 x": "é", "ok": 2 }, "list": [{ "n": null }, { "n": "b" }] });
        let Value::Object(payload) = payload else { unreachable!() };
        assert_eq!(
            encoded(payload, Encoding::Xml),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><webhook><a>&lt;&amp;&quot;</a><m><entry key=\"1 x\">é</entry><ok>2</ok></m>\
             <list><n></n></list><list><n>b</n></list></webhook>"
        );
    }
}
