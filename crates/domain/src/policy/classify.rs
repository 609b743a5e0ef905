//! What the status of an answer means under a policy.
//!
//! | Status | Verdict |
//! |---|---|
//! | in `success` | [`Verdict::Success`], even if also in `stop` |
//! | 410, in `stop` | stop, and disable the target (STDWH-51); a dialect with its own rules leaves 410 out of `stop` (O-12) |
//! | another in `stop` | stop this delivery only |
//! | 429, 502, 504 | retry, and send less to this target (STDWH-52) |
//! | anything else, 3xx included | retry; redirects are never followed (STDWH-49) |
//!
//! An attempt that brings no status (timeout, refused or reset connection, bad TLS) is
//! [`NO_ANSWER`].

use serde::{Serialize, Serializer};

use super::EffectivePolicy;

/// One status or one class of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMatch {
    /// Hundreds digit: `Class(2)` is `"2xx"`.
    Class(u8),
    /// Exactly this status.
    Code(u16),
}

impl StatusMatch {
    /// Whether `status` is meant.
    #[must_use]
    pub fn matches(self, status: u16) -> bool {
        match self {
            Self::Class(class) => status / 100 == u16::from(class),
            Self::Code(code) => status == code,
        }
    }
}

impl Serialize for StatusMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Class(class) => serializer.collect_str(&format_args!("{class}xx")),
            Self::Code(code) => serializer.serialize_u16(*code),
        }
    }
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered; the schedule ends (STDWH-58).
    Success,
    /// Failed; the schedule says when it is tried again.
    Retry {
        /// The target asked for less, or its gateway is short of breath.
        slow_down: bool,
    },
    /// Failed for good.
    Stop {
        /// The target is gone: nothing more is to be sent to it.
        disable: bool,
    },
}

/// The verdict on an attempt that brought no status (STDWH-54).
pub const NO_ANSWER: Verdict = Verdict::Retry { slow_down: false };

/// The verdict on `status`.
#[must_use]
pub fn classify(policy: &EffectivePolicy, status: u16) -> Verdict {
    let listed = |list: &[StatusMatch]| list.iter().any(|entry| entry.matches(status));
    if listed(&policy.success) {
        Verdict::Success
    } else if listed(&policy.stop) {
        Verdict::Stop { disable: status == 410 }
    } else {
        Verdict::Retry { slow_down: matches!(status, 429 | 502 | 504) }
    }
}
