//! Names of webhooks, and the events that they fire for (section 4 of the documents).

use posthaste_domain::message;

/// The eight webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Accepted,
    Delivered,
    Opened,
    Clicked,
    Unsubscribed,
    Complained,
    PermanentFail,
    TemporaryFail,
}

impl Name {
    /// All names.
    pub(crate) const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Delivered,
        Self::Opened,
        Self::Clicked,
        Self::Unsubscribed,
        Self::Complained,
        Self::PermanentFail,
        Self::TemporaryFail,
    ];

    /// By its text.
    pub(crate) fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.text() == text)
    }

    /// As clients write it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Opened => "opened",
            Self::Clicked => "clicked",
            Self::Unsubscribed => "unsubscribed",
            Self::Complained => "complained",
            Self::PermanentFail => "permanent_fail",
            Self::TemporaryFail => "temporary_fail",
        }
    }

    /// The type of the events that it fires for.
    pub(crate) fn event_type(self) -> &'static str {
        match self {
            Self::Accepted => message::ACCEPTED,
            Self::Delivered => message::DELIVERED,
            Self::Opened => message::OPENED,
            Self::Clicked => message::CLICKED,
            Self::Unsubscribed => message::UNSUBSCRIBED,
            Self::Complained => message::COMPLAINED,
            Self::PermanentFail => message::FAILED,
            Self::TemporaryFail => message::DEFERRED,
        }
    }
}

/// The name that took the place of one that is read-only since April 15, 2023.
pub(crate) fn successor(legacy: &str) -> Option<Name> {
    match legacy {
        "bounce" | "drop" => Some(Name::PermanentFail),
        "deliver" => Some(Name::Delivered),
        "spam" => Some(Name::Complained),
        "unsubscribe" => Some(Name::Unsubscribed),
        "click" => Some(Name::Clicked),
        "open" => Some(Name::Opened),
        _ => None,
    }
}
