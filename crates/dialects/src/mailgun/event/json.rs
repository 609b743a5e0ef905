//! A JSON document written front to back: no tree, no second pass.

use std::fmt::{Display, Write as _};

/// The document so far. Commas are put where they belong: after anything but an opening bracket or a colon.
pub(super) struct Json(String);

impl Json {
    /// An empty document with room for a usual event.
    pub(super) fn new() -> Self {
        Self(String::with_capacity(1536))
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// A field name; its value must follow.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        self.comma();
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
        self
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) {
        self.comma();
        if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            self.0.push_str(&serde_json::to_string(text).expect("a text can be written as JSON"));
        } else {
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
        }
    }

    /// A number or boolean, or JSON text that is complete.
    pub(super) fn raw(&mut self, value: impl Display) {
        self.comma();
        write!(self.0, "{value}").expect("writing to a string succeeds");
    }

    /// An object whose fields `fields` writes.
    pub(super) fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.comma();
        self.0.push('{');
        fields(self);
        self.0.push('}');
    }

    /// A list of texts.
    pub(super) fn texts<S: AsRef<str>>(&mut self, texts: &[S]) {
        self.list(|json| texts.iter().for_each(|text| json.text(text.as_ref())));
    }

    /// A list whose members `members` writes.
    pub(super) fn list(&mut self, members: impl FnOnce(&mut Self)) {
        self.comma();
        self.0.push('[');
        members(self);
        self.0.push(']');
    }

    fn comma(&mut self) {
        if !matches!(self.0.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn commas_and_escapes_are_right() {
        let mut json = Json::new();
        json.object(|json| {
            json.name("a").text("x:{[");
            json.name("b").texts(&["\"q\"", "\u{1}"]);
            json.name("c").object(|_| ());
            json.name("d").list(|json| {
                json.raw(1);
                json.object(|json| json.name("e").raw(true));
            });
        });
        assert_eq!(json.finish(), r#"{"a":"x:{[","b":["\"q\"","\u0001"],"c":{},"d":[1,{"e":true}]}"#);
    }
}
