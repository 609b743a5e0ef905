//! Texts and small codes as columns have them.

use std::borrow::Cow;
use std::sync::Arc;

use posthaste_domain::delivery::{DeliveryState, Fault};

use super::error::{Failure, unknown};

/// Stands before what stands for another character. Nobody may use it in a text (it is no character), but some do.
const ESCAPE: char = '\u{10FFFF}';

/// A text without the one character that Postgres does not take; [`take`] gives it back exactly.
pub(super) fn put(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', ESCAPE]) {
        let escaped = text.replace(ESCAPE, "\u{10FFFF}1").replace('\0', "\u{10FFFF}0");
        Cow::Owned(escaped)
    } else {
        Cow::Borrowed(text)
    }
}

/// The text that was put.
pub(super) fn take(text: &str) -> Cow<'_, str> {
    if text.contains(ESCAPE) {
        Cow::Owned(text.replace("\u{10FFFF}0", "\0").replace("\u{10FFFF}1", "\u{10FFFF}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The same, shared.
pub(super) fn shared(text: &str) -> Arc<str> {
    take(text).into()
}

/// The code of a state.
pub(super) fn state_code(state: DeliveryState) -> i16 {
    state as i16
}

/// The state of a code.
pub(super) fn state(code: i16) -> Result<DeliveryState, Failure> {
    DeliveryState::from_code(i64::from(code)).ok_or_else(|| unknown("state of a delivery"))
}

/// The code of a fault.
pub(super) fn fault_code(fault: Fault) -> i16 {
    match fault {
        Fault::Ours => 0,
        Fault::Theirs => 1,
        Fault::Network => 2,
    }
}

/// The fault of a code.
pub(super) fn fault(code: i16) -> Result<Fault, Failure> {
    match code {
        0 => Ok(Fault::Ours),
        1 => Ok(Fault::Theirs),
        2 => Ok(Fault::Network),
        _ => Err(unknown("fault of an attempt")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for text in ["", "plain", "a\0b", "\u{10FFFF}", "\u{10FFFF}0", "\0\u{10FFFF}1\0", "\u{10FFFF}\u{10FFFF}0"] {
            let stored = put(text);
            assert!(!stored.contains('\0'), "{text:?}");
            assert_eq!(take(&stored), text, "{stored:?}");
        }
    }
}
