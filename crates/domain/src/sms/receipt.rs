//! Delivery receipts: the text that SMPP 3.4 suggests (appendix B), read leniently, and the fields beside it.

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReceiptState {
    /// On its way; nothing final.
    Enroute,
    /// On the handset.
    Delivered,
    /// It could not be delivered.
    Failed,
    /// Nobody took it within its time.
    Expired,
    /// The carrier or the network refused it.
    Rejected,
}

impl ReceiptState {
    /// Whether no other state can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Self::Enroute
    }

    /// The state that a carrier's word means: those of SMPP (`DELIVRD`, `UNDELIV`, …) and what gateways commonly say.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let word: String = word.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
        Some(match word.as_str() {
            "delivrd" | "delivered" | "deliverd" | "read" => Self::Delivered,
            "expired" => Self::Expired,
            "undeliv" | "undelivered" | "undeliverable" | "undelivrd" | "deleted" | "failed" | "error" | "skipped" => Self::Failed,
            "rejectd" | "rejected" | "blocked" | "blacklisted" => Self::Rejected,
            "enroute" | "acceptd" | "accepted" | "scheduled" | "buffered" | "queued" | "sending" | "sent" | "pending" | "submitted"
            | "unknown" => Self::Enroute,
            _ => return None,
        })
    }

    /// The state of the field `message_state` (SMPP 3.4, 5.2.28).
    #[must_use]
    pub fn of_message_state(state: u8) -> Option<Self> {
        Some(match state {
            0 | 1 | 6 | 7 => Self::Enroute,
            2 => Self::Delivered,
            3 => Self::Expired,
            4 | 5 | 9 => Self::Failed,
            8 => Self::Rejected,
            _ => return None,
        })
    }
}

/// A delivery receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The carrier's id of the message.
    pub id: String,
    /// What became of it.
    pub state: ReceiptState,
    /// The carrier's error code, if it names one that is not zero.
    pub code: Option<String>,
    /// The carrier's word for the state, if there is one.
    pub word: Option<String>,
}

/// Names of the text's fields, in lower case. `text` goes to the end.
const FIELDS: [&str; 8] = ["id", "sub", "dlvrd", "submit date", "done date", "stat", "err", "text"];

/// Reads a receipt. The fields `receipted_message_id` and `message_state` count before the text; `None` if neither tells which message or what
/// became of it.
#[must_use]
pub fn parse_receipt(text: &str, receipted_message_id: Option<&str>, message_state: Option<u8>) -> Option<Receipt> {
    let fields = fields_of(text);
    let get = |name: &str| fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value).filter(|value| !value.is_empty());
    let id = receipted_message_id.map(str::trim).filter(|id| !id.is_empty()).or_else(|| get("id"))?;
    let word = get("stat");
    let state = message_state.and_then(ReceiptState::of_message_state).or_else(|| word.and_then(ReceiptState::of_word))?;
    let code = get("err").filter(|code| code.bytes().any(|byte| byte != b'0'));
    Some(Receipt { id: id.to_owned(), state, code: code.map(str::to_owned), word: word.map(str::to_owned) })
}

/// The fields of the text in their order, names in lower case, values without the space around them.
fn fields_of(text: &str) -> Vec<(&'static str, &str)> {
    let mut found: Vec<(&'static str, usize, usize)> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let starts_word = at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric();
        match starts_word.then(|| field_at(&text.as_bytes()[at..])).flatten() {
            Some((name, length)) => {
                found.push((name, at, at + length));
                if name == "text" {
                    break;
                }
                at += length;
            }
            None => at += 1,
        }
    }
    let ends = found.iter().skip(1).map(|(_, start, _)| *start).chain([text.len()]).collect::<Vec<_>>();
    // A field begins and ends at an ASCII character, so these are character boundaries.
    found.iter().zip(ends).map(|((name, _, value), end)| (*name, text[*value..end].trim())).collect()
}

/// The name that `bytes` begin with, and its length with the colon.
fn field_at(bytes: &[u8]) -> Option<(&'static str, usize)> {
    FIELDS.iter().find_map(|name| {
        let head = bytes.get(..name.len())?;
        // Some centres write `submit_date`.
        let same =
            head.iter().zip(name.bytes()).all(|(byte, wanted)| byte.to_ascii_lowercase() == wanted || (*byte == b'_' && wanted == b' '));
        let spaces = bytes[name.len()..].iter().take_while(|byte| **byte == b' ').count();
        (same && bytes.get(name.len() + spaces) == Some(&b':')).then_some((*name, name.len() + spaces + 1))
    })
}
