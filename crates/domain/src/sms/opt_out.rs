//! The words by which people stop and start messages.

/// What an inbound message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keyword {
    /// No more messages.
    OptOut,
    /// Messages again.
    OptIn,
}

/// The keyword that a message consists of, whatever its case and the marks around it. A word among others is none: "stop by at five" is talk.
#[must_use]
pub fn keyword(text: &str) -> Option<Keyword> {
    let word = text.trim_matches(|c: char| !c.is_alphanumeric());
    // The longest word has eleven letters; nothing longer is worth a copy.
    if word.len() > 16 {
        return None;
    }
    match word.to_ascii_uppercase().as_str() {
        "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" => Some(Keyword::OptOut),
        "START" | "UNSTOP" => Some(Keyword::OptIn),
        _ => None,
    }
}
